//! The engine case by case: commas, containers, unlisted fields, keys, headers, refusals.

use super::*;

fn keeping(paths: &[&str]) -> Plan {
    plan(Unlisted::Drop, paths.iter().map(|p| field(p, Transform::Keep)))
}

#[test]
fn exactly_one_comma_stays_between_members() {
    for (paths, json, expected) in [
        (&["a"][..], r#"{"a":1,"b":2,"c":3}"#, r#"{"a":1}"#),
        (&["b"], r#"{"a":1,"b":2,"c":3}"#, r#"{"b":2}"#),
        (&["c"], r#"{"a":1,"b":2,"c":3}"#, r#"{"c":3}"#),
        (&["a", "c"], r#"{"a":1,"b":2,"c":3}"#, r#"{"a":1,"c":3}"#),
        (&["a", "d"], r#"{"a":1,"b":2,"c":3,"d":4}"#, r#"{"a":1,"d":4}"#),
        (&["z"], r#"{"a":1,"b":2}"#, r#"{}"#),
        (&["a", "c"], "{ \"a\" : 1 , \"b\" : 2 , \"c\":3\n}", "{ \"a\" : 1 , \"c\":3\n}"),
        (
            &["[].k"],
            r#"[{"k":1},2,{"x":1},[{"k":1}],{"k":3}]"#,
            r#"[{"k":1},null,null,null,{"k":3}]"#,
        ),
        (&["a"], " {\"a\":1.50E+2} \n", " {\"a\":1.50E+2} \n"),
    ] {
        assert_eq!(apply(&keeping(paths), json), expected, "{paths:?} {json}");
    }
}

#[test]
fn nested_unlisted_fields_do_not_ride_on_a_kept_neighbour() {
    let json = r#"{"a":{"keep":1,"leak":"x","deep":{"leak":2}},"leak":[{"leak":1}]}"#;
    assert_eq!(apply(&keeping(&["a.keep"]), json), r#"{"a":{"keep":1}}"#);
    // A plain path does not cover what is below it.
    assert_eq!(apply(&keeping(&["a"]), json), "{}");
    let names = ["a", "keep", "leak", "deep"];
    assert_eq!(apply(&knowing(&names, keeping(&["**"])), json), json);
}

#[test]
fn a_name_is_compared_after_its_escapes_are_off() {
    let plan = plan(Unlisted::Keep, [field("email", Transform::Drop)]);
    assert_eq!(apply(&plan, r#"{"\u0065mail":"ada@example.com","x":1}"#), r#"{"x":1}"#);
    assert_eq!(apply(&plan, r#"{"Email":1}"#), r#"{"Email":1}"#);
}

#[test]
fn a_member_twice_refuses_even_where_it_is_dropped() {
    let plan = keeping(&["a"]);
    for json in [
        r#"{"a":1,"a":2}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"x":{"y":1,"y":2},"a":1}"#,
        r#"[[{"y":1,"z":1,"y":2}]]"#,
    ] {
        assert!(apply(&plan, json).starts_with("refused"), "{json}");
    }
    let many = |last: &str| {
        let members: Vec<_> = (0..100).map(|i| format!(r#""m{i}":0"#)).collect();
        format!("{{{},\"{last}\":1}}", members.join(","))
    };
    assert_eq!(apply(&plan, &many("m7")), "refused  invalid-value");
    assert_eq!(apply(&plan, &many("m100")), "{}");
}

#[test]
fn the_last_entry_wins_and_a_trailing_wildcard_still_descends() {
    let keep_all_but = plan(
        Unlisted::Drop,
        [
            field("user.**", Transform::Keep),
            field("**.login", Transform::Redact),
            field("user.ssn", Transform::Drop),
        ],
    );
    let json = r#"{"user":{"login":"ada","n":[1,{"login":null,"k":2}],"ssn":{"x":1}},"login":{}}"#;
    let left =
        r#"{"user":{"login":"[redacted]","n":[1,{"login":null,"k":2}]},"login":"[redacted]"}"#;
    assert_eq!(apply(&knowing(&["n", "k"], keep_all_but), json), left);
}

#[test]
fn whole_transforms_take_containers_and_scalar_ones_do_not() {
    let constant = Transform::Constant(r#"{"was":"here"}"#.into());
    for (transform, expected) in [
        (Transform::Drop, "{}"),
        (Transform::Redact, r#"{"a":"[redacted]"}"#),
        (constant, r#"{"a":{"was":"here"}}"#),
        (Transform::Keep, "{}"),
        (Transform::Mask(stars()), "{}"),
        (Transform::Tokenize(token_use()), "{}"),
    ] {
        assert_eq!(
            apply(&plan(Unlisted::Keep, [field("a", transform)]), r#"{"a":{"b":1}}"#),
            expected
        );
    }
    let mut strict = field("a", Transform::Keep);
    strict.on_invalid = OnInvalid::Refuse;
    assert_eq!(apply(&plan(Unlisted::Keep, [strict]), r#"{"a":[1]}"#), "refused /a invalid-value");
}

#[test]
fn null_stays_null_and_is_dropped_by_drop() {
    for transform in [
        Transform::Keep,
        Transform::Redact,
        Transform::Constant("1".into()),
        Transform::Mask(stars()),
        Transform::Tokenize(token_use()),
    ] {
        assert_eq!(
            apply(&plan(Unlisted::Drop, [field("a", transform)]), r#"{"a":null}"#),
            r#"{"a":null}"#
        );
    }
    assert_eq!(apply(&plan(Unlisted::Keep, [field("a", Transform::Drop)]), r#"{"a":null}"#), "{}");
}

#[test]
fn a_refusal_points_only_along_names_the_plan_contains() {
    let refuse =
        |paths: &[&str]| plan(Unlisted::Refuse, paths.iter().map(|p| field(p, Transform::Keep)));
    for (paths, json, expected) in [
        (&["a.b", "x~y/z"][..], r#"{"a":{"b":1,"ada@example.com":2}}"#, "refused /a unknown-field"),
        (&["a[].b"], r#"{"a":[{"b":1},{"b":1,"a":2}]}"#, "refused /a/1/a unknown-field"),
        (&["*.b"], r#"{"ada":{"b":1}}"#, "refused  unknown-field"),
        (&["a.*.b"], r#"{"a":{"ada":{"b":1}}}"#, "refused /a unknown-field"),
        (&["*.b"], r#"{"ada":{"c":1}}"#, "refused  unknown-field"),
        (&["x~y/z.q"], r#"{"x~y/z":7}"#, "refused /x~0y~1z unknown-field"),
    ] {
        assert_eq!(apply(&refuse(paths), json), expected, "{json}");
    }
}

#[test]
fn a_value_of_which_nothing_is_left_is_no_tombstone() {
    assert_eq!(apply(&keeping(&["a"]), r#""all of it""#), "null");
    assert_eq!(apply(&keeping(&[]), "{\"a\":1}"), "null");
    assert_eq!(apply(&keeping(&["a"]), ""), "");
}

#[test]
fn keys_are_json_or_text() {
    let tokenized = plan(
        Unlisted::Drop,
        [field("key:id", Transform::Keep), field("key:", Transform::Mask(stars()))],
    );
    let program = compile(&tokenized);
    let key = |key: &[u8]| {
        let mut out = Protected::default();
        let record = RecordRef { key: Some(key), headers: &[], value: b"" };
        program
            .apply(record, &mut out)
            .map(|()| out.key().map(<[u8]>::to_vec))
            .map_err(|r| r.pointer)
    };
    let text = |s: &str| Ok(Some(s.as_bytes().to_vec()));
    assert_eq!(key(b"alice"), text("a***e"));
    assert_eq!(key(b"12345"), text("1***5"));
    assert_eq!(key(br#""alice""#), text(r#""a***e""#));
    assert_eq!(key(b"{tag}"), text("{***}"));
    assert_eq!(key(b"\xff\xfe"), Ok(None));
    // The whole key is a container, which a mask does not fit.
    assert_eq!(key(br#"{"id":7}"#), Ok(None));
    assert_eq!(key(br#"{"id":7,"id":8}"#), Err("key".into()));
    let by_member = compile(&plan(Unlisted::Refuse, [field("key:id", Transform::Keep)]));
    let mut out = Protected::default();
    let record = RecordRef { key: Some(br#"{"id":7,"n":8}"#), headers: &[], value: b"" };
    by_member.apply(record, &mut out).unwrap();
    assert_eq!(out.key(), Some(&br#"{"id":7}"#[..]));
}

#[test]
fn headers_match_without_case_and_unlisted_ones_go() {
    let mut strict = field("header:x-mail", Transform::Mask(Mask { email: true, ..stars() }));
    strict.on_invalid = OnInvalid::Refuse;
    let fields = [
        field("header:X-User", Transform::Tokenize(token_use())),
        field("header:x-tenant", Transform::Keep),
        field("header:x-c", Transform::Constant(r#""E\u0055""#.into())),
        strict,
    ];
    let program = compile(&plan(Unlisted::Refuse, fields));
    let header = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
    let mut out = Protected::default();
    let headers = [
        header("x-user", "ada"),
        header("X-TENANT", "acme"),
        header("x-other", "leak"),
        header("X-C", "DE"),
    ];
    program.apply(RecordRef { key: None, headers: &headers, value: b"" }, &mut out).unwrap();
    let names: Vec<_> = out.headers.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["x-user", "X-TENANT", "X-C"]);
    assert_eq!(out.headers[0].1.as_deref(), Some(out.tokens[0].as_str().as_bytes()));
    assert_eq!(out.headers[2].1.as_deref(), Some(&b"EU"[..]));
    let headers = [header("X-Mail", "no mail address")];
    let refused = program
        .apply(RecordRef { key: None, headers: &headers, value: b"" }, &mut out)
        .unwrap_err();
    assert_eq!(refused.pointer, "header:x-mail");
    assert_eq!(refused.rule.as_deref(), Some("the-rule"));
    assert!(out.headers.is_empty());
}

#[test]
fn find_takes_the_first_scalar() {
    let headers = [("X-Country".to_owned(), Some(b"FR".to_vec()))];
    let json =
        br#"{"a":{"c":{"x":1},"n":null},"b":[{"c":"D\u0045"},{"c":"IT"}],"n":7.50,"t":true}"#;
    let record = RecordRef { key: Some(br#"{"id":"k1"}"#), headers: &headers, value: json };
    let find = |written: &str| find(&path(written), record).unwrap().map(|c| c.into_owned());
    assert_eq!(find("b[].c").as_deref(), Some("DE"));
    assert_eq!(find("**.c").as_deref(), Some("DE"));
    assert_eq!(find("a.c"), None);
    assert_eq!(find("a.n"), None);
    assert_eq!(find("n").as_deref(), Some("7.5"));
    assert_eq!(find("t").as_deref(), Some("true"));
    assert_eq!(find("*.c.x").as_deref(), Some("1"));
    assert_eq!(find("header:x-country").as_deref(), Some("FR"));
    assert_eq!(find("key:id").as_deref(), Some("k1"));
    assert_eq!(find("key:"), None);
}

#[test]
fn a_plan_of_many_paths_spans_words() {
    let names: Vec<String> = (0..200).map(|i| format!("m{i}.**.x{i}.y")).collect();
    let plan = keeping(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let plan = knowing(&["a", "x"], plan);
    for i in 0..200 {
        let json =
            format!(r#"{{"m{i}":{{"a":[{{"x{i}":{{"y":1,"z":2}},"x":{{"y":3}}}}]}},"m":0}}"#);
        let left = format!(r#"{{"m{i}":{{"a":[{{"x{i}":{{"y":1}}}}]}}}}"#);
        assert_eq!(apply(&plan, &json), left);
        let near = format!(r#"{{"m{i}":{{"x{i}":{{"y":1}}}}}}"#);
        assert_eq!(apply(&plan, &near), near);
    }
}

/// A header without a value is not one with an empty value.
#[test]
fn a_null_header_stays_null_and_is_dropped_by_drop() {
    let transforms = [
        ("header:kept", Transform::Keep),
        ("header:token", Transform::Tokenize(token_use())),
        ("header:constant", Transform::Constant(r#""x""#.into())),
        ("header:gone", Transform::Drop),
    ];
    let fields = transforms.map(|(path, transform)| field(path, transform));
    let names = ["kept", "token", "constant", "gone", "unlisted"];
    let headers = names.map(|name| (name.to_owned(), None));
    let record = RecordRef { key: None, headers: &headers, value: b"" };
    for (unlisted, left) in [(Unlisted::Keep, vec![0, 1, 2, 4]), (Unlisted::Drop, vec![0, 1, 2])] {
        let mut out = Protected::default();
        compile(&plan(unlisted, fields.clone())).apply(record, &mut out).unwrap();
        let left: Vec<Header> = left.into_iter().map(|n: usize| headers[n].clone()).collect();
        assert_eq!(out.headers, left);
        assert_eq!(out.present, [0], "a null is no value that the record had");
    }
    assert_eq!(find(&path("header:kept"), record), Ok(None));
}

/// What the ledger says a record had.
#[test]
fn fields_that_a_record_had_are_marked() {
    let fields = [
        field("a", Transform::Keep),
        field("b", Transform::Drop),
        field("c.d", Transform::Tokenize(token_use())),
        field("e.**", Transform::Keep),
        field("key:", Transform::Keep),
        field("header:x", Transform::Redact),
        field("f[].g", Transform::Keep),
        field("h", Transform::Keep),
        field("i", Transform::Redact),
    ];
    let program = compile(&knowing(&["f", "g"], plan(Unlisted::Drop, fields)));
    let had = |key: Option<&[u8]>, headers: &[Header], value: &str| {
        let mut out = Protected::default();
        let record = RecordRef { key, headers, value: value.as_bytes() };
        program.apply(record, &mut out).unwrap();
        let bit = |n: &usize| out.present[n / 8] & (1 << (n % 8)) != 0;
        (0..9).filter(bit).collect::<Vec<_>>()
    };
    let x = [("X".to_owned(), Some(b"1".to_vec()))];
    let none: [usize; 0] = [];
    assert_eq!(had(None, &[], r#"{"z":1}"#), none);
    assert_eq!(had(None, &[], r#"{"a":null,"c":{},"e":{"f":[]}}"#), none);
    assert_eq!(had(Some(b"k"), &x, r#"{"a":1,"b":{"x":1}}"#), [0, 1, 4, 5]);
    assert_eq!(had(None, &[], r#"{"c":{"d":"u"},"e":{"f":{"g":1}}}"#), [2, 3]);
    assert_eq!(had(None, &[], r#"{"f":[{},{"g":2}],"h":{"x":1},"i":[1]}"#), [6, 7, 8]);
}
