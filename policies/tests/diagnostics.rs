//! What authors are told: the message, the underlined text and the help, word by word.

use sluicegate_policies::{Bundle, Severity, Source, UnixMillis, check, run_tests};

const NOW: UnixMillis = UnixMillis(1_795_392_000_000); // 2026-11-23

const WORDS: &str = "\
apiVersion: sluicegate/v1
kind: Vocabulary
metadata: { name: words }
categories: [{ id: user.email }, { id: user.name }]
recipients: [{ id: team.a }, { id: eu }]
principals: [{ id: app, member-of: [team.a] }]
jurisdictions: [{ code: DE }, { code: US }]
regions: [{ id: fra, jurisdiction: DE, recipient: eu }]
---
apiVersion: sluicegate/v1
kind: Purpose
metadata: { name: service }
---
apiVersion: sluicegate/v1
kind: TokenDomain
metadata: { name: mail }
normalize: email
scope: global
key: k
---
apiVersion: sluicegate/v1
kind: Dataset
metadata: { name: people }
topics: [people]
fields: { email: user.email, name: user.name }
jurisdiction: { fixed: DE }
deliver-to: [home]
---
apiVersion: sluicegate/v1
kind: AccessRule
metadata: { name: app-publishes, citations: [x] }
because: it must
who: [app]
may: [publish]
datasets: [people]
purposes: [service]
";

fn sources(more: &str) -> Vec<Source> {
    vec![Source::new("words.yaml", WORDS), Source::new("more.yaml", more)]
}

/// Every finding of one severity as `line: underlined: message / help`.
fn findings(more: &str, severity: Severity) -> Vec<String> {
    let report = check(&sources(more), NOW);
    let of = report.diagnostics.iter().filter(|d| d.severity == severity);
    of.map(|d| {
        let help = d.help.as_deref().unwrap_or("-");
        format!("{}: {}: {} / {help}", d.line, d.text, d.message)
    })
    .collect()
}

fn errors(more: &str, expected: &[&str]) {
    assert_eq!(findings(more, Severity::Error), expected);
}

fn rule(kind: &str, body: &str) -> String {
    format!(
        "apiVersion: sluicegate/v1\nkind: {kind}\nmetadata: {{ name: r, citations: [x] }}\nbecause: it must\n{body}"
    )
}

#[test]
fn the_base_has_nothing_to_say() {
    let report = check(&[Source::new("words.yaml", WORDS)], NOW);
    assert!(report.diagnostics.is_empty(), "{report}");
}

#[test]
fn unknown_words_get_a_suggestion_and_all_mistakes_come_at_once() {
    errors(
        &rule(
            "AccessRule",
            "who: [ap, team.a]\nmay: [reed]\ndataset: [people]\npurposes: [service]\n",
        ),
        &[
            "6: reed: `reed` is not valid here / did you mean `read`?",
            "7: dataset: the key `dataset` is not known here / did you mean `datasets`?",
        ],
    );
    errors(
        &rule(
            "AccessRule",
            "who: [ap, team.a]\nmay: [read]\ndatasets: [peple]\npurposes: [servise]\n",
        ),
        &[
            "5: ap: `ap` is neither a principal nor a team / did you mean `app`?",
            "7: peple: the dataset `peple` is not declared / did you mean `people`?",
            "8: servise: the purpose `servise` is not declared / did you mean `service`?",
        ],
    );
}

#[test]
fn a_dataset_that_protects_nothing_says_why_and_reads_nothing() {
    let dataset = |body: &str| {
        format!(
            "apiVersion: sluicegate/v1\nkind: Dataset\nmetadata: {{ name: prices }}\n{body}\ntopics: [prices]\ndeliver-to: [home]\n"
        )
    };
    let because = "because: \"about goods\"\nprotect: nothing\n";
    errors(&dataset(&format!("{because}jurisdiction: {{ fixed: DE }}")), &[]);
    errors(
        &dataset("protect: nothing\njurisdiction: { fixed: DE }"),
        &["4: nothing: the dataset `prices` protects nothing without saying why / add `because:`"],
    );
    let help = "leave one of the two out; `jurisdiction` is `fixed` or `principal` here";
    let reads = "fields: { a: user.name }\nevidence: record\njurisdiction: { field: a }";
    errors(
        &dataset(&format!("{because}{reads}")),
        &["evidence: record", "fields", "jurisdiction: { field }"].map(|what| {
            format!(
                "5: nothing: with `protect: nothing` no record is read, so `{what}` has no meaning / {help}"
            )
        })
        .each_ref()
        .map(String::as_str),
    );
    let batch = "fields: { a: user.name }\nlineage: { of: a }\nevidence: batch\njurisdiction: { fixed: DE }";
    errors(
        &dataset(batch),
        &[
            "6: batch: `evidence: batch` records no sources, so `lineage` finds nothing / leave out `lineage`, or set `evidence: record`",
        ],
    );
    // It has no categories, so no rule about all of them lets anybody in.
    let prices = dataset(&format!("{because}jurisdiction: {{ fixed: DE }}"));
    let all = "who: [app]\nmay: [read]\ncategories: [user.name, user.email]\npurposes: [service]\n";
    let more = format!("{prices}---\n{}", rule("AccessRule", all));
    let bundle = Bundle::compile(&sources(&more)).ok().unwrap();
    let table = bundle.table(NOW).unwrap();
    let may = |topic| {
        let read = sluicegate_policies::Operation::Read;
        table.admit("app", Some("service"), read, topic).is_ok()
    };
    assert!(may("people") && !may("prices"));
}

#[test]
fn a_dataset_that_leaves_stubs_says_why_and_reads_its_records() {
    let dataset = |body: &str| {
        format!(
            "apiVersion: sluicegate/v1\nkind: Dataset\nmetadata: {{ name: prices }}\n{body}\ntopics: [prices]\njurisdiction: {{ fixed: DE }}\ndeliver-to: [home]\n"
        )
    };
    errors(&dataset("because: they stay at home\nif-elsewhere: stub"), &[]);
    errors(&dataset("if-elsewhere: refuse"), &[]);
    let why = "4: stub: the dataset `prices` leaves stubs without saying why / add `because:`; a stub says that there was a record, when, and under which protected key";
    errors(&dataset("if-elsewhere: stub"), &[why]);
    let not_with = |what: &str| {
        format!(
            "5: stub: `if-elsewhere: stub` does not go with `{what}` / records that leave are read, and recorded singly: leave one of the two out"
        )
    };
    let batch = dataset("because: they stay at home\nif-elsewhere: stub\nevidence: batch");
    errors(&batch, &[&not_with("evidence: batch")]);
    let nothing = dataset("because: they stay at home\nif-elsewhere: stub\nprotect: nothing");
    errors(&nothing, &[&not_with("protect: nothing")]);
}

#[test]
fn a_network_is_an_address_or_its_beginning() {
    let vocabulary = "apiVersion: sluicegate/v1\nkind: Vocabulary\nmetadata: { name: more }\n";
    let help = "write an address, or its beginning with the number of bits that count, and zeros behind: `10.0.0.0/8`, `2001:db8::/32`";
    errors(
        &format!("{vocabulary}principals: [{{ id: desk, networks: [10.0.0.1/8, 10.0.0.0/8] }}]\n"),
        &[&format!("4: 10.0.0.1/8: `10.0.0.1/8` is not a network / {help}")],
    );
}

#[test]
fn the_traps_of_yaml_are_caught() {
    let vocabulary = "apiVersion: sluicegate/v1\nkind: Vocabulary\nmetadata: { name: more }\n";
    errors(
        &format!("{vocabulary}jurisdictions: [{{ code: NO }}]\n"),
        &[
            "4: NO: `NO` without quotes means yes, no or nothing to many YAML tools / put it in quotes: `\"NO\"`",
        ],
    );
    errors(
        &format!("{vocabulary}subjects: [{{ id: 010 }}]\n"),
        &[
            "4: 010: `010` without quotes is a number to many YAML tools / put it in quotes: `\"010\"`",
        ],
    );
    errors(
        &format!("{vocabulary}subjects: []\nsubjects: []\n"),
        &["5: subjects: the key `subjects` is repeated here / -"],
    );
    errors(
        "apiVersion: sluicegate/v1\nkind: TokenDomain\nmetadata: { name: t }\nnormalize: email\nscope: global\nkey: k\nepoch: 010\n",
        &[
            "7: 010: `010` is read as different numbers by different tools / write the number without leading zeros, underscores or colons",
        ],
    );
    errors(
        &format!("{vocabulary}subjects:\n\t- id: x\n"),
        &["5: : YAML cannot be indented with tabs / indent with spaces"],
    );
    errors(
        &format!("{vocabulary}subjects:\n  - id: x\n    title: x\n\t  y: z\n"),
        &["7: : YAML cannot be indented with tabs / indent with spaces"],
    );
    errors(
        &format!("{vocabulary}subjects: [{{ id: “x” }}, {{ id: \"“y”\" }}]\n"),
        &[
            "4: “x”: typographic quotes are part of the text: they quote nothing / write straight ones: `\"` or `'`",
        ],
    );
    errors(
        &format!("{vocabulary}because: Words: those of the law\n"),
        &[
            "4: : this is not YAML: mapping values are not allowed in this context / keys of one mapping start in the same column, and text with `: ` in it needs quotes",
        ],
    );
    errors(
        "apiVersion: sluicegate/v1\nkind: Vocabulary\nmetadata: { name: more\nbecause: \"x\"\n",
        &[
            "4: : this is not YAML: while parsing a flow mapping, did not find expected ',' or '}' / a `{` or `[` before this is not closed",
        ],
    );
    let dataset = "apiVersion: sluicegate/v1\nkind: Dataset\nmetadata: { name: d }\ntopics: [t]\njurisdiction: { fixed: DE }\ndeliver-to: [fra]\nfields:\n";
    errors(
        &format!("{dataset}  a: user.name\n  **.email: user.email\n"),
        &[
            "9: : this is not YAML: simple key expected ':' / put a path that starts with `*` in quotes",
        ],
    );
    errors(
        &format!("{dataset}  **.email: user.email\n"),
        &[
            "8: **.email: `**.email` is a YAML alias, which the policy language does not support / a path that starts with `*` must be quoted: `\"**.email\"`",
        ],
    );
    errors(
        &format!("{dataset}  a: &x user.email\n"),
        &[
            "8: user.email: YAML anchors (`&`) are not part of the policy language / write the value out, or name it in a `Vocabulary`",
        ],
    );
}

#[test]
fn a_document_must_say_what_it_is() {
    errors(
        "kind: Dataset\n",
        &["1: kind: the key `apiVersion` is missing / start with `apiVersion: sluicegate/v1`"],
    );
    errors(
        "apiVersion: v2\nkind: Dataset\n",
        &[
            "1: v2: `v2` is not a supported version of the language / write `apiVersion: sluicegate/v1`",
        ],
    );
    errors(
        "apiVersion: sluicegate/v1\nkind: Datset\n",
        &["2: Datset: `Datset` is not a kind of document / did you mean `Dataset`?"],
    );
    errors(
        "apiVersion: sluicegate/v1\nkind: TransferRule\nmetadata: { name: x }\nfrom: [DE]\nto: [US]\ndeny: {}\n",
        &[
            "1: apiVersion: the key `because` is missing / `because`: Why this document exists, in a sentence that an auditor can read",
        ],
    );
}

#[test]
fn rules_that_contradict_each_other_are_both_named() {
    let a = rule(
        "ProtectionRule",
        "applies-to: { categories: [user] }\nprotect: [{ as: tokenize, with: { domain: mail } }]\n",
    );
    let b = a
        .replace("name: r", "name: s")
        .replace("tokenize, with: { domain: mail }", "mask, with: { last: 2 }");
    let s = sources(&format!("{a}---\n{b}"));
    let report = check(&s, NOW);
    assert_eq!(report.diagnostics.len(), 2, "{}", report.render(&s));
    let d = &report.diagnostics[0];
    assert_eq!(d.message, "the rules `r` and `s` contradict each other on the field `email`");
    assert_eq!((d.line, d.text.as_str()), (13, "mask"));
    assert_eq!(d.related[0].message, "the rule `r` asks for tokenize (mail, global)");
    assert_eq!((d.related[0].line, d.related[0].text.as_str()), (6, "tokenize"));
}

#[test]
fn paths_that_can_meet_must_not_contradict_either() {
    let dataset = "apiVersion: sluicegate/v1\nkind: Dataset\nmetadata: { name: d }\ntopics: [t]\njurisdiction: { fixed: DE }\ndeliver-to: [fra]\nfields: { \"**.x\": user.email, a.x: user.name }\n---\n";
    let access =
        rule("AccessRule", "who: [app]\nmay: [publish]\ndatasets: [d]\npurposes: [service]\n---\n");
    let a = rule("ProtectionRule", "applies-to: { categories: [user.email] }\nprotect: [{ as: tokenize, with: { domain: mail } }]\n---\n").replace("name: r", "name: p");
    let b = rule(
        "ProtectionRule",
        "applies-to: { categories: [user.name] }\nprotect: [{ as: mask }]\n",
    )
    .replace("name: r", "name: q");
    errors(
        &format!("{dataset}{access}{a}{b}"),
        &[
            "7: a.x: the paths `\"**.x\"` and `a.x` can match the same place, and the rules `p` and `q` contradict each other there / make one path narrower, or give both the same category",
        ],
    );
}

#[test]
fn what_compiles_but_needs_a_look_is_a_warning() {
    let late = "apiVersion: sluicegate/v1\nkind: Purpose\nmetadata: { name: old }\nreview-by: 2026-01-01\n---\n";
    let transfer = rule(
        "TransferRule",
        "from: [DE]\nto: [US]\nallow:\n  categories: [user]\n  recipients: [eu]\n  mechanism: { type: dpf, importer: X, expires: 2026-12-01 }\n",
    );
    assert_eq!(
        findings(&format!("{late}{}", transfer.replace(", citations: [x]", "")), Severity::Warning),
        [
            "4: 2026-01-01: `old` was due for review by `2026-01-01` / review it, and set a new `review-by`",
            "8: r: the rule `r` can never apply: no region is in its `to` / delete it, or declare the region",
            "8: r: the rule `r` has no citations / add `citations: […]` to its `metadata`, for example `gdpr:5(1)(c)`",
            "15: type: the mechanism of `r` expires on 2026-12-01 / from that day on, records under this rule stay home or are refused",
        ]
    );
}

const SPELLINGS: &str = "\
apiVersion: sluicegate/v1
kind: TokenDomain
metadata: { name: clicks }
normalize: exact
scope: global
key: k
---
apiVersion: sluicegate/v1
kind: Dataset
metadata: { name: clicks }
topics: [clicks]
fields: { zip: user.email, normalise: user.name }
jurisdiction: { fixed: DE }
deliver-to: [home]
---
apiVersion: sluicegate/v1
kind: ProtectionRule
metadata: { name: coarse, citations: [x] }
because: the zip says enough
applies-to: { categories: [user.email] }
protect: [{ as: \"generalize\", with: { 'postal-code': 3 } }]
---
apiVersion: sluicegate/v1
kind: ProtectionRule
metadata: { name: drawn, citations: [x] }
because: nobody needs to know
applies-to: { categories: [user.name] }
protect:
  - as: randomize
    with: { method: k-rr, domain: [zip, b], other: b, epsilon: 1, memoize: true, subject: zip, key: k }
---
apiVersion: sluicegate/v1
kind: Test
metadata: { name: t }
given: { principal: app, dataset: people, operation: publish, jurisdiction: DE }
expect: { decision: allow, fields: { email: generalize, name: randomize } }
";

#[test]
fn a_former_spelling_is_understood_where_the_new_one_is_and_names_the_same_bundle() {
    errors(SPELLINGS, &[]);
    let digest = |text: &str| Bundle::compile(&sources(text)).unwrap().digest();
    let former = |text: &str| -> Vec<String> {
        let all = findings(text, Severity::Warning).into_iter();
        all.filter(|w| w.contains("spelling")).collect()
    };
    assert_eq!(former(SPELLINGS), [""; 0]);
    let mut all = SPELLINGS.to_owned();
    for (old, new, places) in [
        ("normalise", "normalize", &["4: normalise"][..]),
        ("generalise", "generalize", &["21: \"generalise\"", "36: generalise"]),
        ("zip", "postal-code", &["21: 'zip'"]),
        ("randomise", "randomize", &["29: randomise", "36: randomise"]),
        ("memoise", "memoize", &["30: memoise"]),
    ] {
        let text = SPELLINGS.replace(new, old);
        all = all.replace(new, old);
        let said = |p: &&str| format!("{p}: `{old}` is a former spelling / write `{new}`");
        assert_eq!(former(&text), places.iter().map(said).collect::<Vec<_>>());
        assert_eq!(digest(&text), digest(SPELLINGS), "{old}");
    }
    assert_eq!(former(&all).len(), 7);
    assert_eq!(digest(&all), digest(SPELLINGS));
    assert_ne!(digest(&all.replace("the zip says", "the postal-code says")), digest(SPELLINGS));
    errors(
        &SPELLINGS.replace("normalize: exact", "normalize: exact\nnormalise: exact"),
        &["5: normalise: the key `normalize` is repeated here / `normalise` is a former spelling \
             of it: remove one"],
    );
}

#[test]
fn a_unit_of_time_belongs_to_a_date() {
    let generalize = |with: &str| {
        let applies = "applies-to: { categories: [user.email] }";
        rule(
            "ProtectionRule",
            &format!("{applies}\nprotect: [{{ as: generalize, with: {with} }}]\n"),
        )
    };
    for unit in ["s", "ms", "us", "rfc3339"] {
        errors(&generalize(&format!("{{ date: day, unit: {unit} }}")), &[]);
    }
    errors(
        &generalize("{ postal-code: 3, unit: ms }"),
        &[
            "6: postal-code: `unit` is for reading numbers as dates / add `date`, or leave `unit` out",
        ],
    );
    errors(
        &generalize("{ date: day, unit: min }"),
        &["6: min: `min` is not valid here / write one of `s`, `ms`, `us`, `rfc3339`"],
    );
}

/// What compiles, and would surprise its author.
fn warnings(more: &str, expected: &[&str]) {
    errors(more, &[]);
    assert_eq!(findings(more, Severity::Warning), expected);
}

fn dataset(body: &str) -> String {
    format!(
        "apiVersion: sluicegate/v1\nkind: Dataset\nmetadata: {{ name: d }}\ntopics: [t]\ndeliver-to: [fra]\n{body}"
    )
}

#[test]
fn a_wildcard_without_declared_names_is_doubtful() {
    let with = |more: &str| {
        dataset(&format!(
            "jurisdiction: {{ fixed: DE }}\nfields: {{ \"a.**.x\": user.name{more} }}\n"
        ))
    };
    let help = "names can be personal data: list the words of the format under `names`, or give them a category in `fields`: `\"name:a.**\": …`";
    let is = "7: \"a.**.x\": `a.**.x` matches members of any name: one that is not declared";
    let of =
        |more: &str, becomes: &str| warnings(&with(more), &[&format!("{is} {becomes} / {help}")]);
    of("", "is dropped with everything below it");
    of(", \"name:b.*\": user.name", "is dropped with everything below it");
    warnings(&with(", \"name:a.*\": user.name"), &[]);
    warnings(&format!("{}names: [b]\n", with("")), &[]);
    let refuse = format!("{}unlisted: refuse\n", with(""));
    warnings(&refuse, &[&format!("{is} refuses the record / {help}")]);
    let key = dataset("jurisdiction: { fixed: DE }\nfields: { \"key:*\": user.name }\n");
    warnings(
        &key,
        &[
            "7: \"key:*\": `key:*` matches members of any name: one that is not declared is dropped with everything below it / names can be personal data: list the words of the format under `names`",
        ],
    );
    errors(
        &dataset(
            "jurisdiction: { fixed: DE }\nfields: { \"name:a.b\": user.name }\nlineage: { x: \"name:*\" }\n",
        ),
        &[
            "7: \"name:a.b\": `name:a.b` does not end in `*` or `**`: a name written in the path is not a value / paths look like `customer.email`, `items[].sku`, `*.id`, `**.login`, `key:`, `key:customer.id`, `header:x-user`, `name:readings.*`; an unusual name is quoted: `'first name'.value`",
            "8: \"name:*\": `name:*` is a name, not a place in the record / `name:` is for `fields` only",
        ],
    );
}

#[test]
fn what_was_forgotten_is_told() {
    let rule = "---\napiVersion: sluicegate/v1\nkind: ProtectionRule\nmetadata: { name: p, citations: [x] }\nbecause: it must\napplies-to: { categories: [user.email], datasets: [d] }\nprotect: [{ as: keep }]\n";
    let two =
        dataset("jurisdiction: { fixed: DE }\nfields: { mail: user.email, name: user.name }\n");
    warnings(
        &format!("{two}{rule}"),
        &[
            "7: name: `name` is always dropped: no rule covers its category `user.name` / add a `ProtectionRule` for it (with `as: drop`, if that is meant)",
        ],
    );
    let typo =
        dataset("jurisdiction: { field: user.contry }\nfields: { user.country: user.name }\n");
    warnings(
        &typo,
        &[
            "6: user.contry: the jurisdiction is read from `user.contry`, which `fields` do not list / did you mean `user.country`?",
        ],
    );
    warnings(&dataset("jurisdiction: { header: x-where }\nfields: { name: user.name }\n"), &[]);
}

#[test]
fn what_cannot_be_meant_is_an_error() {
    let purpose = |kept: &str| {
        format!(
            "apiVersion: sluicegate/v1\nkind: Purpose\nmetadata: {{ name: q }}\nretention-max: {kept}\n"
        )
    };
    errors(
        &purpose("10 years"),
        &[
            "4: 10 years: `10 years` is not a period / write an ISO 8601 period: `P10Y`, `P6M`, `P90D`",
        ],
    );
    errors(&purpose("P1Y6M"), &[]);
    let two = purpose("P1Y");
    errors(
        &format!("{two}{}", two.replace("name: q", "name: r")),
        &[
            "5: apiVersion: another document begins here within this one / separate the two with a line `---`",
        ],
    );
    let vocabulary = "apiVersion: sluicegate/v1\nkind: Vocabulary\nmetadata: { name: more }\n";
    errors(
        &format!(
            "{vocabulary}jurisdictions: [{{ code: GB, aliases: [UK] }}]\nregions: [{{ id: lon, jurisdiction: UK, recipient: eu }}]\n"
        ),
        &["5: UK: `UK` is not the code of a jurisdiction / write `GB`"],
    );
}

#[test]
fn a_transfer_to_nobody_there_is_dead() {
    let rule = rule(
        "TransferRule",
        "from: [US]\nto: [DE]\nallow: { categories: [user], recipients: [team.a], mechanism: { type: bcr, reference: x, expires: 2030-01-01 } }\n",
    );
    let found = findings(&rule, Severity::Warning);
    assert_eq!(
        found,
        [
            "3: r: the rule `r` can never apply: none of its `recipients` runs a region in its `to` / name the `recipient` of a region there, or delete it"
        ]
    );
}

/// One category more in a dataset, and its records no longer cross: the rule still serves another.
#[test]
fn a_rule_that_lacks_a_category_of_one_dataset_is_doubtful() {
    let two = |lacking: &str| {
        let head = "apiVersion: sluicegate/v1\nkind: ";
        let dataset = |name: &str, fields: &str| {
            format!(
                "---\n{head}Dataset\nmetadata: {{ name: {name} }}\ntopics: [{name}]\n\
                 jurisdiction: {{ fixed: DE }}\ndeliver-to: [home, va]\nif-blocked: stay-home\n\
                 fields: {{ {fields} }}\n"
            )
        };
        let rule = |kind: &str, name: &str, body: &str| {
            format!(
                "---\n{head}{kind}\nmetadata: {{ name: {name}, citations: [x] }}\n\
                 because: it must\n{body}\n"
            )
        };
        [
            format!(
                "{head}Vocabulary\nmetadata: {{ name: more }}\nrecipients: [{{ id: inc }}]\n\
                 regions: [{{ id: va, jurisdiction: US, recipient: inc }}]\n"
            ),
            dataset("one", "name: user.name"),
            dataset("two", "name: user.name, mail: user.email"),
            rule(
                "AccessRule",
                "a",
                "who: [app]\nmay: [publish]\ndatasets: [one, two]\npurposes: [service]",
            ),
            rule("ProtectionRule", "p", "applies-to: { categories: [user] }\nprotect: [{ as: keep }]"),
            rule(
                "TransferRule",
                "leaves",
                &format!(
                    "from: [DE]\nto: [US]\nallow:\n  categories: [user.name{lacking}]\n  \
                     recipients: [inc]\n  mechanism: {{ type: scc, module: 1, tia: t, expires: 2028-01-01 }}"
                ),
            ),
        ]
        .concat()
    };
    warnings(&two(", user.email"), &[]);
    let told = "records of `two` do not go to `va` by the rule `leaves`: it lacks `user.email`";
    warnings(
        &two(""),
        &[&format!(
            "43: leaves: {told} / add to its `categories`, or have a `ProtectionRule` drop what must not leave"
        )],
    );
    let test = "---\napiVersion: sluicegate/v1\nkind: Test\nmetadata: { name: t }\n\
                given: { principal: app, dataset: two, operation: publish }\n\
                expect: { decision: allow, regions: [fra, va] }\n";
    let sources = sources(&format!("{}{test}", two("")));
    let report = run_tests(&Bundle::compile(&sources).unwrap(), &sources, NOW);
    let why = report.cases[0].failure.as_deref().unwrap();
    assert!(
        why.contains("not to `va`: no transfer rule in force lets `user.email`, `user.name`"),
        "{why}"
    );
    assert!(why.ends_with("(the rule `leaves` would, but it lacks `user.email`)"), "{why}");
}
