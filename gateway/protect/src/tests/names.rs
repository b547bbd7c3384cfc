//! Names of members are values, containers are nothing by themselves, and places in a list say
//! something.

use super::*;

const MAIL: &str = "alice.smith@corp.example";

fn keeping(paths: &[&str]) -> Plan {
    plan(Unlisted::Drop, paths.iter().map(|p| field(p, Transform::Keep)))
}

#[test]
fn a_container_of_which_nothing_is_kept_goes_with_its_name() {
    let plan = knowing(&["a", "b"], keeping(&["**.login", "[].x"]));
    for (json, left) in [
        (r#"{"a":{"b":{"c":1}},"login":"x"}"#, r#"{"login":"x"}"#),
        (r#"{"a":{"b":{}},"login":"x"}"#, r#"{"login":"x"}"#),
        (r#"{"a":[[],[{}]],"login":"x"}"#, r#"{"login":"x"}"#),
        (
            r#"{"login":"x","a":{"b":{"login":"y","c":1}},"b":{"a":{}}}"#,
            r#"{"login":"x","a":{"b":{"login":"y"}}}"#,
        ),
        (r#"{"a":{"b":{}}}"#, "{}"),
        (r#"[{"z":1},{}]"#, "[]"),
        ("{}", "{}"),
    ] {
        assert_eq!(apply(&plan, json), left, "{json}");
    }
}

#[test]
fn an_empty_container_is_a_value() {
    let of = |unlisted, json: &str| {
        apply(
            &knowing(
                &["a"],
                plan(unlisted, [field("**.b", Transform::Drop), field("k.**", Transform::Keep)]),
            ),
            json,
        )
    };
    assert_eq!(of(Unlisted::Drop, r#"{"a":{},"k":[]}"#), r#"{"k":[]}"#);
    assert_eq!(of(Unlisted::Refuse, r#"{"a":{},"k":{}}"#), r#"{"k":{}}"#);
    assert_eq!(of(Unlisted::Refuse, r#"{"alice":{},"k":{}}"#), "refused  unknown-field");
    assert_eq!(of(Unlisted::Keep, r#"{"a":{},"c":[{}],"d":[{"b":1}]}"#), r#"{"a":{},"c":[{}]}"#);
}

#[test]
fn a_name_that_only_a_wildcard_matches_goes_with_all_below_it() {
    let json = format!(r#"{{"properties":{{"{MAIL}":{{"login":"x"}},"n":{{"login":"y"}}}}}}"#);
    let left = r#"{"properties":{"n":{"login":"y"}}}"#;
    for paths in [&["**.login"][..], &["properties.*.login"], &["properties.**"]] {
        let plan = knowing(&["properties", "n", "login"], keeping(paths));
        assert_eq!(apply(&plan, &json), left, "{paths:?}");
        let strict = Plan { unlisted: Unlisted::Refuse, ..plan.clone() };
        assert_eq!(apply(&strict, &json), "refused /properties unknown-field");
        assert_eq!(apply(&Plan { unlisted: Unlisted::Keep, ..plan }, &json), json);
    }
    // What a path writes at one place is no word at another.
    let plan = keeping(&["a.b", "c.*"]);
    assert_eq!(apply(&plan, r#"{"a":{"b":1},"c":{"b":1}}"#), r#"{"a":{"b":1}}"#);
    let plan = keeping(&["*"]);
    assert_eq!(apply(&plan, &format!(r#"{{"{MAIL}":1}}"#)), "{}");
    let redacted = plan_of_redact();
    assert_eq!(apply(&redacted, &format!(r#"{{"{MAIL}":{{"x":1}}}}"#)), "{}");
}

fn plan_of_redact() -> Plan {
    plan(Unlisted::Drop, [field("*", Transform::Redact)])
}

#[test]
fn a_name_with_a_category_is_kept_dropped_or_a_token() {
    let with = |transform| {
        let names = field("name:p.*", transform);
        plan(
            Unlisted::Drop,
            [field("p.*.n", Transform::Keep), field("p.k", Transform::Keep), names],
        )
    };
    let json = format!(r#"{{"p":{{"{MAIL}":{{"n":1}},"k":2,"\u0061da":{{"z":1}}}}}}"#);
    let kept = format!(r#"{{"p":{{"{MAIL}":{{"n":1}},"k":2}}}}"#);
    assert_eq!(apply(&with(Transform::Keep), &json), kept);
    for transform in [Transform::Drop, Transform::Redact, Transform::Mask(stars())] {
        assert_eq!(apply(&with(transform), &json), r#"{"p":{"k":2}}"#);
    }
    let program = compile(&with(Transform::Tokenize(token_use())));
    let mut out = Protected::default();
    program.apply(value(json.as_bytes()), &mut out).unwrap();
    let [token] = &out.tokens[..] else { panic!("the token of a dropped member is no token") };
    let expected = format!(r#"{{"p":{{"{}":{{"n":1}},"k":2}}}}"#, token.as_str());
    assert_eq!(std::str::from_utf8(&out.value).unwrap(), expected);
    let tokenizer = tokenizer(&token_use(), "acme", &keyring()).unwrap();
    let of_name = tokenizer.token(MAIL, 0, &mut String::new()).unwrap();
    assert_eq!(token.as_str(), of_name.as_str());
}

#[test]
fn two_names_never_become_one() {
    let by_digits = TokenUse { normalizer: Normalizer::DigitsV2, ..token_use() };
    let names = field("name:*", Transform::Tokenize(by_digits));
    let plan = plan(Unlisted::Drop, [field("*", Transform::Keep), names.clone()]);
    assert!(apply(&plan, r#"{"12":1,"13":2}"#).starts_with(r#"{"tk1_"#));
    assert_eq!(apply(&plan, r#"{"12":1,"1-2":2}"#), "refused  invalid-value");
    assert!(apply(&plan, r#"{"12":1,"1-2":{}}"#).ends_with(":1}"), "the second one goes");
    assert_eq!(apply(&plan, r#"{"no digits":1}"#), "{}");
    let strict = FieldPlan { on_invalid: OnInvalid::Refuse, ..names };
    let plan = super::plan(Unlisted::Drop, [field("*", Transform::Keep), strict]);
    assert_eq!(apply(&plan, r#"{"no digits":1}"#), "refused  invalid-value");
}

#[test]
fn names_in_a_key_are_values_too() {
    let keys = |names: &[&str]| {
        let plan = knowing(names, keeping(&["key:*.id", "key:id"]));
        let key = format!(r#"{{"{MAIL}":{{"id":1}},"id":2}}"#);
        let mut out = Protected::default();
        let record = RecordRef { key: Some(key.as_bytes()), headers: &[], value: b"" };
        compile(&plan).apply(record, &mut out).unwrap();
        String::from_utf8(out.key().unwrap().to_vec()).unwrap()
    };
    assert_eq!(keys(&[]), r#"{"id":2}"#);
    assert_eq!(keys(&[MAIL]), format!(r#"{{"{MAIL}":{{"id":1}},"id":2}}"#));
}

#[test]
fn a_dropped_element_leaves_null() {
    let plan = plan(
        Unlisted::Drop,
        [field("at[]", Transform::Geo(sluicegate_policies::Geo::Decimals(1)))],
    );
    assert_eq!(apply(&plan, r#"{"at":["x",48.25]}"#), r#"{"at":[null,48.2]}"#);
    assert_eq!(apply(&plan, r#"{"at":[48.25,"x" , {"a":1}]}"#), r#"{"at":[48.2,null , null]}"#);
    assert_eq!(apply(&plan, r#"{"at":["x"]}"#), "{}");
}

#[test]
fn a_header_that_is_read_is_there_once() {
    let header = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
    let headers = [header("x-a", "1"), header("x-b", "2"), header("X-A", "3"), header("x-b", "4")];
    let of = |paths: &[&str], n: usize| {
        let mut out = Protected::default();
        let record = RecordRef { key: None, headers: &headers[..n], value: b"" };
        let done = compile(&keeping(paths)).apply(record, &mut out);
        done.map(|()| out.headers.len()).map_err(|r| (r.pointer, r.malformed.unwrap().to_string()))
    };
    assert_eq!(of(&["header:x-a"], 2), Ok(1));
    let why = "a second header of the same name".to_owned();
    assert_eq!(of(&["header:x-a"], 3), Err(("header:x-a".into(), why)));
    assert_eq!(of(&["header:x-c"], 4), Ok(0));
    let record = RecordRef { key: None, headers: &headers, value: b"" };
    assert!(find(&path("header:x-a"), record).is_err());
    assert!(find(&path("header:x-c"), record).is_ok_and(|found| found.is_none()));
}
