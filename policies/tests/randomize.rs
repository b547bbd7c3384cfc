//! `as: randomize`, from what an author writes to what is said about it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop where something is not as it should be"
)]

use sluicegate_policies::{
    Bundle, Question, Response, Severity, Source, Spending, Transform, UnixMillis, check, explain,
};

const NOW: UnixMillis = UnixMillis(1_795_392_000_000); // 2026-11-23

const WORDS: &str = "\
apiVersion: sluicegate/v1
kind: Vocabulary
metadata: { name: words }
categories: [{ id: user.mood }]
recipients: [{ id: team.a }, { id: eu }]
principals: [{ id: app, member-of: [team.a] }]
jurisdictions: [{ code: DE }]
regions: [{ id: fra, jurisdiction: DE, recipient: eu }]
---
apiVersion: sluicegate/v1
kind: Purpose
metadata: { name: service }
---
apiVersion: sluicegate/v1
kind: Dataset
metadata: { name: people }
topics: [people]
fields: { mood: user.mood }
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

const DAILY: &str = "records-per-subject: 10, period: 24h";

/// The rules, each with one entry.
fn sources(entries: &[&str]) -> Vec<Source> {
    let rules = entries.iter().enumerate().map(|(i, entry)| {
        format!(
            "---\napiVersion: sluicegate/v1\nkind: ProtectionRule\n\
             metadata: {{ name: r{i}, citations: [x] }}\nbecause: it must\n\
             applies-to: {{ categories: [user.mood] }}\nprotect:\n  - {entry}\n"
        )
    });
    vec![Source::new("words.yaml", WORDS), Source::new("rules.yaml", rules.collect::<String>())]
}

fn with(settings: &str) -> String {
    format!("{{ as: randomize, with: {{ {settings} }} }}")
}

fn transform(settings: &str) -> Transform {
    let sources = sources(&[&with(settings)]);
    let bundle = Bundle::compile(&sources).unwrap_or_else(|r| panic!("{}", r.render(&sources)));
    let table = bundle.table(NOW).unwrap();
    let all = table.plans().iter().flat_map(|p| p.fields.iter());
    let mut all = all.map(|f| &f.transform).filter(|t| matches!(t, Transform::Randomize(_)));
    all.next().unwrap().clone()
}

/// `text: message / help` of the first mistake.
fn mistake(settings: &str) -> String {
    let report = check(&sources(&[&with(settings)]), NOW);
    let first = report.diagnostics.iter().find(|d| d.severity == Severity::Error);
    let d = first.unwrap_or_else(|| panic!("accepted {settings}"));
    format!("{} / {}", d.message, d.help.as_deref().unwrap_or("-"))
}

#[test]
fn each_method_compiles_to_its_numbers() {
    let all = |settings: &str| match transform(settings) {
        Transform::Randomize(r) => r,
        other => panic!("{other:?}"),
    };
    let r = all(&format!("method: k-rr, domain: [good, 5, true], epsilon: 1.5, {DAILY}"));
    let Response::KRr { categories, truth } = &r.response else { panic!() };
    let texts: Vec<_> = categories.values.iter().map(|v| (&*v.text, v.quoted)).collect();
    assert_eq!(texts, [("good", true), ("5", false), ("true", false)]);
    assert!(*truth > 1 << 63 && categories.other.is_none());
    let r = all(
        "method: oue, domain: [a, b], other: b, epsilon: 1, memoize: true, subject: user.id, key: answers-1",
    );
    let Response::Oue { categories, .. } = &r.response else { panic!() };
    assert_eq!(categories.other, Some(1));
    let Spending::Memoized { subject, key } = &r.spending else { panic!() };
    assert_eq!((&*subject.written, &**key), ("user.id", "answers-1"));
    let r = all(&format!(
        "method: numeric, clamp: [-2.5, 100], decimals: 1, other: 0, epsilon: 0.5, {DAILY}"
    ));
    let Response::Numeric(n) = &r.response else { panic!() };
    assert_eq!((n.lo, n.hi, n.scale, n.other, n.noise), (-25, 1000, 1, Some(0), (2050, 1)));
}

#[test]
fn mistakes_say_what_is_missing() {
    let good = format!("method: k-rr, domain: [a, b], epsilon: 1, {DAILY}");
    transform(&good);
    let but = |from: &str, to: &str| mistake(&good.replace(from, to));
    let spending = "`randomize` does not say what the answers about one subject cost together / \
                    add `records-per-subject: n` and `period: 24h`, which is a declaration; or \
                    `memoize: true` with the path of the `subject` and the name of a `key`";
    for (found, expected) in [
        (
            but("method: k-rr, ", ""),
            "`randomize` needs a method / add `method: k-rr`, `method: oue` or `method: numeric`",
        ),
        (
            but("epsilon: 1, ", ""),
            "`randomize` needs an `epsilon` / say what one answer may reveal: `epsilon: 1` is common",
        ),
        (
            but("epsilon: 1", "epsilon: 0"),
            "`0` is not a valid epsilon / write a number above 0 and at most 20",
        ),
        (
            but("epsilon: 1", "epsilon: 20.5"),
            "`20.5` is not a valid epsilon / write a number above 0 and at most 20",
        ),
        (
            but("domain: [a, b], ", ""),
            "`randomize` needs a closed list of values / add `domain: [one, two]`: values that \
             are public, not read from the data",
        ),
        (
            but("domain: [a, b]", "domain: people"),
            "`randomize` needs a closed list of values / add `domain: [one, two]`: values that \
             are public, not read from the data",
        ),
        (
            but("[a, b]", "[a, b, a]"),
            "this is not a list of distinct values / list 2 to 1024 different values of at most \
             256 bytes",
        ),
        (
            but("[a, b]", "[a, b], other: c"),
            "`c` is not in the domain / `other` is the value of the domain that stands for all others",
        ),
        (
            but("[a, b]", "[a, b], clamp: [0, 1]"),
            "the setting `clamp` does not fit the method / `clamp` belongs to `numeric`",
        ),
        (but(", period: 24h", ""), spending),
        (but(DAILY, "memoize: true, key: k"), spending),
        (but("period: 24h", "period: 24h, memoize: true, key: k, subject: s"), spending),
        (
            but("period: 24h", "period: daily"),
            "`daily` is not a length of time / write a number of minutes, hours or days: `90m`, \
             `24h`, `7d`",
        ),
        (
            but(DAILY, "memoize: true, key: k, subject: \"ids[]\""),
            "`ids[]` can match several places / the subject is in one place, such as `customer.id`",
        ),
        (
            but("[a, b]", "[a, b], first: 1"),
            "the setting `first` does not belong to `randomize` / `first` belongs to `mask`",
        ),
        (
            mistake(&format!("method: numeric, epsilon: 1, {DAILY}")),
            "`numeric` needs a `clamp`: the smallest and the largest number / add `clamp: [0, \
             100]`: bounds that are public, not read from the data",
        ),
        (
            mistake(&format!("method: numeric, clamp: [0, 1.5], epsilon: 1, {DAILY}")),
            "`clamp`, `decimals` and `other` do not fit together / the first bound is below the \
             second, `other` is within them, none has more decimals than `decimals`, and without \
             its point none is beyond 1000000000000000",
        ),
    ] {
        assert_eq!(found, expected);
    }
}

#[test]
fn a_list_is_no_token_domain_and_coordinates_stay_coarse() {
    let report = check(&sources(&["{ as: tokenize, with: { domain: [a, b] } }"]), NOW);
    assert_eq!(report.diagnostics[0].message, "`tokenize` needs a token domain");
    let report = check(&sources(&["{ as: geo, with: { decimals: 5 } }"]), NOW);
    let help = report.diagnostics[0].help.as_deref();
    assert_eq!(help, Some("write a whole number from 0 to 4"));
}

#[test]
fn it_does_not_meet_another_transform() {
    let one = with(&format!("method: k-rr, domain: [a, b], epsilon: 1, {DAILY}"));
    let two = one.replace("epsilon: 1", "epsilon: 2");
    for other in [two.as_str(), "{ as: mask }", "{ as: generalize, with: { postal-code: 2 } }"] {
        let report = check(&sources(&[&one, other]), NOW);
        assert!(report.diagnostics[0].message.contains("contradict each other"), "{other}");
    }
    for other in [one.as_str(), "{ as: keep }", "{ as: drop }", "{ as: redact }"] {
        let report = check(&sources(&[&one, other]), NOW);
        assert!(!report.has_errors(), "{other}: {report}");
    }
}

#[test]
fn the_label_says_what_is_declared_and_what_shows() {
    let said = |settings: &str| {
        let bundle = Bundle::compile(&sources(&[&with(settings)])).unwrap();
        let q = Question {
            principal: "app".into(),
            dataset: "people".into(),
            field: Some("mood".into()),
            ..Question::default()
        };
        explain(&bundle.table(NOW).unwrap(), &q).to_string()
    };
    let declared = said(&format!("method: k-rr, domain: [a, b], epsilon: 0.5, {DAILY}"));
    for part in [
        "`mood` (user.mood): randomize (k-rr, 2 categories, epsilon 0.5 per record; declared, \
         not enforced: 10 records, so epsilon 5.0, per subject in 24h), by `r0`.",
        "the gateway sees the true value",
        "epsilon 5.0 per subject in 24h rests on the declaration that a subject has at most 10 \
         records with one such value in that time; nothing enforces it",
        "whether a value is null or outside the domain is visible",
    ] {
        assert!(declared.contains(part), "{declared}");
    }
    let memoized = said(
        "method: oue, domain: [a, b], other: a, epsilon: 1, memoize: true, subject: id, key: k",
    );
    for part in [
        "epsilon 1 per value, memoized",
        "that a value has changed may be visible",
        "a value outside the domain is answered like any other",
    ] {
        assert!(memoized.contains(part), "{memoized}");
    }
}
