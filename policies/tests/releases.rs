//! What authors of releases are told, word by word; and what a release compiles to.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop where something is not as it should be"
)]

use proptest::prelude::*;
use sluicegate_policies::{
    Bundle, EventUnit, Operation, Records, Severity, Source, UnixMillis, check,
    release::{
        Accounting, Calendar, Choose, Expected, Keys, Late, Noise, ReleasePlan, Smoothing, Unit,
        What, noise_sd,
    },
};

const NOW: UnixMillis = UnixMillis(1_795_392_000_000); // 2026-11-23

const WORDS: &str = "\
apiVersion: sluicegate/v1
kind: Vocabulary
metadata: { name: words }
categories: [{ id: user.id }, { id: user.email }, { id: commerce.campaign }, { id: commerce.amount }, { id: health.ward }]
recipients: [{ id: team.a }, { id: eu }]
principals: [{ id: app, member-of: [team.a] }, { id: ana }]
jurisdictions: [{ code: DE }]
regions: [{ id: fra, jurisdiction: DE, recipient: eu }]
---
apiVersion: sluicegate/v1
kind: Purpose
metadata: { name: service }
---
apiVersion: sluicegate/v1
kind: TokenDomain
metadata: { name: users }
normalise: exact
scope: global
key: k
rotation: 30d
---
apiVersion: sluicegate/v1
kind: Dataset
metadata: { name: clicks }
topics: [clicks]
fields: { user.id: user.id, campaign: commerce.campaign, mail: commerce.campaign, hidden: commerce.campaign, amount: commerce.amount, contact: user.email }
jurisdiction: { fixed: DE }
deliver-to: [home]
event-time: { field: at, unit: ms }
records: releases-only
---
apiVersion: sluicegate/v1
kind: AccessRule
metadata: { name: app-publishes, citations: [x] }
because: it must
who: [app]
may: [publish]
datasets: [clicks]
purposes: [service]
---
apiVersion: sluicegate/v1
kind: AccessRule
metadata: { name: ana-reads, citations: [x] }
because: it must
who: [ana]
may: [read]
datasets: [totals]
purposes: [service]
";

const RELEASE: &str = "\
apiVersion: sluicegate/v1
kind: Release
metadata: { name: totals, citations: [x] }
because: it must
dataset: clicks
topic: totals
unit: { subject: user.id, domain: users, period: 24h }
budget: { epsilon: 4.0, delta: 1e-9 }
window: { size: 5m }
bounds: { windows-per-period: 10, keys-per-window: 2, records-per-key: 3 }
keys: { field: campaign }
release:
  - { what: subjects, share: 0.5 }
  - { what: count, share: 0.25 }
  - { what: sum, share: 0.25, field: amount, decimals: 2, clamp: [0, 500.00] }
";

fn sources(words: &str, release: &str) -> Vec<Source> {
    vec![Source::new("words.yaml", words), Source::new("release.yaml", release)]
}

/// Every finding as `severity file:line: underlined: message / help`.
fn findings(sources: &[Source]) -> Vec<String> {
    let report = check(sources, NOW);
    let one = |d: &sluicegate_policies::Diagnostic| {
        let mark = if d.severity == Severity::Error { "E" } else { "W" };
        let file = d.path.chars().next().unwrap_or('?');
        let help = d.help.as_deref().unwrap_or("-");
        format!("{mark} {file}{}: {}: {} / {help}", d.line, d.text, d.message)
    };
    report.diagnostics.iter().map(one).collect()
}

fn edited(text: &str, edits: &[(&str, &str)]) -> String {
    edits.iter().fold(text.to_owned(), |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "`{from}` stands once in:\n{text}");
        text.replace(from, to)
    })
}

/// The release with edits, among the same words.
fn told(edits: &[(&str, &str)], expected: &[&str]) {
    assert_eq!(findings(&sources(WORDS, &edited(RELEASE, edits))), expected);
}

/// The release as it is, among edited words.
fn told_of_words(edits: &[(&str, &str)], expected: &[&str]) {
    assert_eq!(findings(&sources(&edited(WORDS, edits), RELEASE)), expected);
}

fn told_of_two(words: &[(&str, &str)], edits: &[(&str, &str)], expected: &[&str]) {
    assert_eq!(findings(&two(words, edits)), expected);
}

fn bundle(edits: &[(&str, &str)]) -> Bundle {
    let sources = sources(WORDS, &edited(RELEASE, edits));
    Bundle::compile(&sources).unwrap_or_else(|r| panic!("{}", r.render(&sources)))
}

fn plan(edits: &[(&str, &str)]) -> ReleasePlan {
    bundle(edits).releases(NOW)[0].as_ref().clone()
}

/// Two releases of `clicks`: the second is called `more`, with edits.
fn two(words: &[(&str, &str)], edits: &[(&str, &str)]) -> Vec<Source> {
    let second =
        edited(RELEASE, &[("name: totals", "name: more"), ("topic: totals", "topic: more")]);
    let words = edited(WORDS, words).replace("datasets: [totals]", "datasets: [totals, more]");
    sources(&words, &format!("{RELEASE}---\n{}", edited(&second, edits)))
}

#[test]
fn print_all() {
    show(&sources(WORDS, &edited(RELEASE, &[])));
    show(&sources(
        WORDS,
        &edited(
            RELEASE,
            &[
                ("keys: { field: campaign }\n", ""),
                ("delta: 1e-9", "accounting: pure"),
                ("keys-per-window: 2, ", ""),
            ],
        ),
    ));
    show(&sources(
        WORDS,
        &edited(RELEASE, &[("field: campaign", "field: campaign, min-subjects: 20, floor: noisy")]),
    ));
    show(&sources(
        WORDS,
        &edited(RELEASE, &[("field: campaign", "field: contact, public: [a, b]")]),
    ));
    show(&sources(
        WORDS,
        &edited(
            RELEASE,
            &[(
                "size: 5m",
                "size: 5m, every: 1m, lateness: 1m, max-skew: 1s, slack: 500ms, late: assign-to-open",
            )],
        ),
    ));
    show(&sources(
        WORDS,
        &edited(
            RELEASE,
            &[
                ("size: 5m", "size: 1d, timezone: Europe/Berlin"),
                ("windows-per-period: 10", "windows-per-period: 7"),
                ("period: 24h", "period: 7d"),
            ],
        ),
    ));
    show(&sources(
        WORDS,
        &edited(RELEASE, &[("size: 5m", "size: 5m, late: revise, revisions: 1, revise-after: 1h")]),
    ));
    show(&sources(WORDS, &edited(RELEASE, &[("dataset: clicks", "dataset: click")])));
    show(&sources(WORDS, &edited(RELEASE, &[("dataset: clicks", "dataset: totals")])));
    show(&sources(WORDS, &edited(RELEASE, &[("topic: totals", "topic: clicks")])));
    show(&sources(WORDS, &edited(RELEASE, &[("topic: totals", "topic: totals\nregion: fr")])));
    show(&sources(WORDS, &edited(RELEASE, &[("domain: users", "domain: user")])));
    show(&sources(WORDS, &edited(RELEASE, &[("field: campaign", "field: campain")])));
    show(&sources(WORDS, &edited(RELEASE, &[("subject: user.id", "subject: \"*.id\"")])));
    show(&sources(WORDS, &edited(RELEASE, &[("release:\n", "widen: { helth: 4 }\nrelease:\n")])));
    show(&sources(WORDS, &edited(RELEASE, &[("because: it must\n", "")])));
    show(&sources(WORDS, &edited(RELEASE, &[(", citations: [x]", "")])));
    show(&sources(
        WORDS,
        &edited(
            RELEASE,
            &[("unit: { subject: user.id, domain: users, period: 24h }", "unit: recrod")],
        ),
    ));
    show(&sources(
        WORDS,
        &edited(
            RELEASE,
            &[("unit: { subject: user.id, domain: users, period: 24h }", "unit: record")],
        ),
    ));
    show(&sources(
        WORDS,
        &edited(
            RELEASE,
            &[
                ("unit: { subject: user.id, domain: users, period: 24h }", "unit: record"),
                (
                    "bounds: { windows-per-period: 10, keys-per-window: 2, records-per-key: 3 }\n",
                    "",
                ),
            ],
        ),
    ));
    show(&sources(WORDS, &edited(RELEASE, &[("period: 24h", "period: 31d")])));
    show(&sources(WORDS, &edited(RELEASE, &[("period: 24h", "period: 1m")])));
    show(&sources(WORDS, &edited(RELEASE, &[("period: 24h", "period: 7m")])));
    show(&sources(WORDS, &edited(RELEASE, &[("period: 24h", "period: 400d")])));
    show(&sources(
        WORDS,
        &edited(RELEASE, &[("release:\n", "widen: { commerce: 7 }\nrelease:\n")]),
    ));
    show(&sources(
        WORDS,
        &edited(RELEASE, &[("release:\n", "widen: { commerce: 0 }\nrelease:\n")]),
    ));
    show(&sources(
        WORDS,
        &edited(
            RELEASE,
            &[
                ("release:\n", "widen: { commerce: 1000 }\nrelease:\n"),
                ("size: 5m", "size: 1d"),
                ("period: 24h", "period: 366d"),
            ],
        ),
    ));
    show(&sources(WORDS, &edited(RELEASE, &[("epsilon: 4.0", "epsilon: 0")])));
    show(&sources(WORDS, &edited(RELEASE, &[("epsilon: 4.0", "epsilon: -1")])));
    show(&sources(WORDS, &edited(RELEASE, &[("epsilon: 4.0", "epsilon: 50.1")])));
    show(&sources(WORDS, &edited(RELEASE, &[("epsilon: 4.0", "epsilon: 12")])));
    show(&sources(WORDS, &edited(RELEASE, &[("epsilon: 4.0", "epsilon: four")])));
    show(&sources(WORDS, &edited(RELEASE, &[("delta: 1e-9", "delta: 0")])));
    show(&sources(WORDS, &edited(RELEASE, &[(", delta: 1e-9", "")])));
    show(&sources(WORDS, &edited(RELEASE, &[(", delta: 1e-9", ", accounting: pure")])));
    show(&sources(
        WORDS,
        &edited(
            RELEASE,
            &[
                ("keys: { field: campaign }\n", ""),
                ("delta: 1e-9", "delta: 0"),
                ("keys-per-window: 2, ", ""),
            ],
        ),
    ));
    show(&sources(WORDS, &edited(RELEASE, &[("delta: 1e-9", "delta: 1e-4")])));
    show(&sources(WORDS, &edited(RELEASE, &[("delta: 1e-9", "delta: 2e-6")])));
    show(&sources(WORDS, &edited(RELEASE, &[("delta: 1e-9", "delta: 1e-19")])));
    show(&sources(WORDS, &edited(RELEASE, &[("delta: 1e-9", "delta: 1e-17")])));
    show(&sources(WORDS, &edited(RELEASE, &[("epsilon: 4.0", "epsilon: 0.0005")])));
    show(&sources(
        WORDS,
        &edited(
            RELEASE,
            &[("epsilon: 4.0", "epsilon: 0.01"), ("clamp: [0, 500.00]", "clamp: [0, 9999999.00]")],
        ),
    ));
    show(&sources(WORDS, &edited(RELEASE, &[("size: 5m", "size: 5")])));
    show(&sources(WORDS, &edited(RELEASE, &[("size: 5m", "size: 5min")])));
    show(&sources(WORDS, &edited(RELEASE, &[("size: 5m", "size: 9999d")])));
    show(&sources(WORDS, &edited(RELEASE, &[("size: 5m", "size: 500ms")])));
    show(&sources(WORDS, &edited(RELEASE, &[("size: 5m", "every: 1m")])));
    show(&sources(WORDS, &edited(RELEASE, &[("size: 5m", "size: 5m, type: session, gap: 30m")])));
    show(&sources(WORDS, &edited(RELEASE, &[("size: 5m", "size: 5m, gap: 30m")])));
    show(&sources(WORDS, &edited(RELEASE, &[("size: 5m", "size: 5m, type: sliding")])));
    show(&sources(WORDS, &edited(RELEASE, &[("size: 5m", "size: 5m, type: count")])));
    show(&sources(WORDS, &edited(RELEASE, &[("size: 5m", "size: 5m, type: hopping")])));
    show(&sources(WORDS, &edited(RELEASE, &[("size: 5m", "size: 5m, type: tumbling, every: 1m")])));
    show(&sources(WORDS, &edited(RELEASE, &[("size: 5m", "size: 5m, every: 2m")])));
    show(&sources(WORDS, &edited(RELEASE, &[("size: 5m", "size: 5m, every: 0s")])));
    show(&sources(WORDS, &edited(RELEASE, &[("size: 5m", "size: 1h, every: 1m")])));
    show(&sources(WORDS, &edited(RELEASE, &[("size: 5m", "size: 1d, every: 1s")])));
    show(&sources(WORDS, &edited(RELEASE, &[("size: 5m", "size: 5m, offset: 24h")])));
    show(&sources(
        WORDS,
        &edited(
            RELEASE,
            &[
                ("size: 5m", "size: 5m, offset: 5m"),
                ("unit: { subject: user.id, domain: users, period: 24h }", "unit: record"),
                (
                    "bounds: { windows-per-period: 10, keys-per-window: 2, records-per-key: 3 }\n",
                    "",
                ),
            ],
        ),
    ));
    show(&sources(WORDS, &edited(RELEASE, &[("size: 5m", "size: 5m, timezone: Europe/Berlin")])));
    show(&sources(
        WORDS,
        &edited(
            RELEASE,
            &[
                ("size: 5m", "size: 1d, timezone: Europe/Atlantis"),
                ("windows-per-period: 10", "windows-per-period: 1"),
            ],
        ),
    ));
    show(&sources(
        WORDS,
        &edited(
            RELEASE,
            &[
                ("size: 5m", "size: 1d, timezone: Europe/Berlin, offset: 1h"),
                ("windows-per-period: 10", "windows-per-period: 1"),
            ],
        ),
    ));
    show(&sources(
        WORDS,
        &edited(
            RELEASE,
            &[
                ("size: 5m", "size: 1d, timezone: Europe/Berlin"),
                ("windows-per-period: 10", "windows-per-period: 1"),
                ("period: 24h", "period: 36h"),
            ],
        ),
    ));
    show(&sources(WORDS, &edited(RELEASE, &[("size: 5m", "size: 5m, lateness: 0s")])));
    show(&sources(WORDS, &edited(RELEASE, &[("size: 5m", "size: 5m, lateness: 8d")])));
    show(&sources(WORDS, &edited(RELEASE, &[("size: 5m", "size: 5m, max-skew: 2d, slack: 2h")])));
    show(&sources(WORDS, &edited(RELEASE, &[("size: 5m", "size: 5m, late: revise")])));
    show(&sources(
        WORDS,
        &edited(
            RELEASE,
            &[("size: 5m", "size: 5m, late: revise, revisions: 11, revise-after: 1h")],
        ),
    ));
    show(&sources(
        WORDS,
        &edited(
            RELEASE,
            &[("size: 5m", "size: 5m, late: revise, revisions: 1, revise-after: 1ms")],
        ),
    ));
    show(&sources(WORDS, &edited(RELEASE, &[("size: 5m", "size: 5m, revisions: 1")])));
    show(&sources(
        WORDS,
        &edited(
            RELEASE,
            &[("bounds: { windows-per-period: 10, keys-per-window: 2, records-per-key: 3 }\n", "")],
        ),
    ));
    show(&sources(
        WORDS,
        &edited(RELEASE, &[("keys-per-window: 2, records-per-key: 3", "choose: first")]),
    ));
    show(&sources(WORDS, &edited(RELEASE, &[("windows-per-period: 10, ", "")])));
    show(&sources(
        WORDS,
        &edited(RELEASE, &[("windows-per-period: 10", "windows-per-period: 289")]),
    ));
    show(&sources(WORDS, &edited(RELEASE, &[("windows-per-period: 10", "windows-per-period: 0")])));
    show(&sources(WORDS, &edited(RELEASE, &[("keys: { field: campaign }\n", "")])));
    show(&sources(WORDS, &edited(RELEASE, &[("field: campaign", "field: user.id")])));
    show(&sources(WORDS, &edited(RELEASE, &[("field: campaign", "field: contact")])));
    show(&sources(WORDS, &edited(RELEASE, &[("field: campaign", "field: mail")])));
    show(&sources(WORDS, &edited(RELEASE, &[("field: campaign", "field: campaign, floor: raw")])));
    show(&sources(
        WORDS,
        &edited(RELEASE, &[("field: campaign", "field: campaign, min-subjects: 20, floor: raw")]),
    ));
    show(&sources(WORDS, &edited(RELEASE, &[("field: campaign", "field: campaign, public: []")])));
    show(&sources(
        WORDS,
        &edited(RELEASE, &[("field: campaign", "field: campaign, public: [a, b, a]")]),
    ));
    show(&sources(
        WORDS,
        &edited(
            RELEASE,
            &[(
                "field: campaign",
                "field: campaign, public: [a, b], min-subjects: 20, floor: raw, max-bytes: 9",
            )],
        ),
    ));
    show(&sources(WORDS, &edited(RELEASE, &[("share: 0.5", "share: 0.6")])));
    show(&sources(WORDS, &edited(RELEASE, &[("share: 0.5", "share: 0.4")])));
    show(&sources(WORDS, &edited(RELEASE, &[("share: 0.5", "share: 0")])));
    show(&sources(WORDS, &edited(RELEASE, &[("share: 0.5", "share: 0.0000001")])));
    show(&sources(WORDS, &edited(RELEASE, &[("what: subjects", "what: count")])));
    show(&sources(
        WORDS,
        &edited(
            RELEASE,
            &[
                ("  - { what: subjects, share: 0.5 }\n", "  - { what: count, share: 0.5 }\n"),
                ("what: count, share: 0.25", "what: subjects, share: 0.25"),
            ],
        ),
    ));
    show(&sources(WORDS, &edited(RELEASE, &[("  - { what: subjects, share: 0.5 }\n", "")])));
    show(&sources(WORDS, &edited(RELEASE, &[(", clamp: [0, 500.00]", "")])));
    show(&sources(WORDS, &edited(RELEASE, &[("clamp: [0, 500.00]", "clamp: [0, 500.001]")])));
    show(&sources(WORDS, &edited(RELEASE, &[("clamp: [0, 500.00]", "clamp: [0]")])));
    show(&sources(WORDS, &edited(RELEASE, &[("clamp: [0, 500.00]", "clamp: [5, 5]")])));
    show(&sources(WORDS, &edited(RELEASE, &[("clamp: [0, 500.00]", "clamp: [0, 10737418.24]")])));
    show(&sources(
        WORDS,
        &edited(
            RELEASE,
            &[
                (
                    "keys-per-window: 2, records-per-key: 3",
                    "keys-per-window: 10000, records-per-key: 1000000",
                ),
                ("clamp: [0, 500.00]", "clamp: [0, 9999999.00]"),
            ],
        ),
    ));
    show(&sources(WORDS, &edited(RELEASE, &[("field: amount, ", "")])));
    show(&sources(WORDS, &edited(RELEASE, &[("field: amount", "field: user.id")])));
    show(&sources(WORDS, &edited(RELEASE, &[("field: amount", "field: amount, name: count")])));
    show(&sources(WORDS, &edited(RELEASE, &[("field: amount", "field: amount, name: \"a b\"")])));
    show(&sources(
        WORDS,
        &edited(
            RELEASE,
            &[("what: count", "what: count, field: amount, decimals: 1, clamp: [0, 1], name: x")],
        ),
    ));
    show(&sources(
        WORDS,
        &edited(RELEASE, &[("release:\n", "smoothing: { half-life: 0 }\nrelease:\n")]),
    ));
    show(&sources(&edited(WORDS, &[("rotation: 30d", "rotation: 12h")]), RELEASE));
    show(&sources(
        &edited(
            WORDS,
            &[("event-time: { field: at, unit: ms }", "event-time: { field: at, unit: minutes }")],
        ),
        RELEASE,
    ));
    show(&sources(
        &edited(
            WORDS,
            &[("event-time: { field: at, unit: ms }", "event-time: { field: \"*\", unit: ms }")],
        ),
        RELEASE,
    ));
    show(&sources(
        &edited(
            WORDS,
            &[("regions: [", "regions: [{ id: nyc, jurisdiction: DE, recipient: eu }, ")],
        ),
        RELEASE,
    ));
    show(&sources(
        &edited(
            WORDS,
            &[
                ("deliver-to: [home]", "deliver-to: [fra]"),
                ("records: releases-only\n", "privacy-budget: { epsilon: 2.0, delta: 1e-9 }\n"),
            ],
        ),
        RELEASE,
    ));
    show(&sources(
        &edited(
            WORDS,
            &[("records: releases-only\n", "privacy-budget: { epsilon: 4.0, delta: 1e-9 }\n")],
        ),
        RELEASE,
    ));
    show(&sources(
        &edited(WORDS, &[("records: releases-only\n", "privacy-budget: { epsilon: 4.0 }\n")]),
        RELEASE,
    ));
    show(&sources(
        &edited(
            WORDS,
            &[("records: releases-only\n", "privacy-budget: { epsilon: 60, delta: 1 }\n")],
        ),
        RELEASE,
    ));
    show(&sources(
        &edited(
            WORDS,
            &[
                ("datasets: [totals]", "datasets: [totals, clicks]"),
                ("records: releases-only\n", ""),
                (
                    "kind: Purpose",
                    "kind: ProtectionRule\nmetadata: { name: shown, citations: [x] }\nbecause: it must\napplies-to: { categories: [commerce] }\nprotect: [{ as: keep }]\n---\napiVersion: sluicegate/v1\nkind: Purpose",
                ),
            ],
        ),
        RELEASE,
    ));
    show(&sources(
        &edited(
            WORDS,
            &[
                ("datasets: [totals]", "datasets: [totals, clicks]"),
                ("records: releases-only\n", ""),
            ],
        ),
        RELEASE,
    ));
    show(&sources(&edited(WORDS, &[("datasets: [totals]", "datasets: [clicks]")]), RELEASE));
    show(&sources(
        &edited(WORDS, &[("datasets: [totals]", "categories: [commerce, user, health]")]),
        RELEASE,
    ));
    show(&sources(
        &edited(
            WORDS,
            &[("may: [publish]\ndatasets: [clicks]", "may: [publish]\ndatasets: [clicks, totals]")],
        ),
        RELEASE,
    ));
    show(&sources(
        &edited(
            WORDS,
            &[(
                "kind: Purpose",
                "kind: ProtectionRule\nmetadata: { name: tokens, citations: [x] }\nbecause: it must\napplies-to: { categories: [commerce.campaign] }\nprotect: [{ as: tokenize, with: { domain: users } }]\n---\napiVersion: sluicegate/v1\nkind: Purpose",
            )],
        ),
        RELEASE,
    ));
    show(&two(&[], &[]));
    show(&two(
        &[(
            "records: releases-only\n",
            "records: releases-only\nprivacy-budget: { epsilon: 6.0, delta: 1e-9 }\n",
        )],
        &[],
    ));
    show(&two(
        &[(
            "records: releases-only\n",
            "records: releases-only\nprivacy-budget: { epsilon: 5.0, delta: 2e-9 }\n",
        )],
        &[],
    ));
    show(&two(
        &[(
            "records: releases-only\n",
            "records: releases-only\nprivacy-budget: { epsilon: 6.0, delta: 2e-9 }\n",
        )],
        &[],
    ));
    show(&two(&[], &[("because:", "mode: draft\nbecause:")]));
    show(&two(&[], &[("because:", "mode: shadow\nbecause:")]));
    show(&two(&[], &[("because:", "effective: { from: 2027-01-01 }\nbecause:")]));
    show(&two(
        &[(
            "records: releases-only\n",
            "records: releases-only\nprivacy-budget: { epsilon: 4.0, delta: 1e-9 }\n",
        )],
        &[("because:", "mode: draft\nbecause:"), ("epsilon: 4.0", "epsilon: 9.0")],
    ));
    show(&two(
        &[(
            "records: releases-only\n",
            "records: releases-only\nprivacy-budget: { epsilon: 8.0, delta: 2e-9 }\n",
        )],
        &[("period: 24h", "period: 12h")],
    ));
    show(&two(
        &[(
            "records: releases-only\n",
            "records: releases-only\nprivacy-budget: { epsilon: 8.0, delta: 2e-9 }\n",
        )],
        &[("subject: user.id", "subject: contact")],
    ));
    show(&two(
        &[(
            "records: releases-only\n",
            "records: releases-only\nprivacy-budget: { epsilon: 8.0, delta: 2e-9 }\n",
        )],
        &[("size: 5m", "size: 5m, offset: 1m")],
    ));
    show(&two(
        &[(
            "records: releases-only\n",
            "records: releases-only\nprivacy-budget: { epsilon: 8.0, delta: 2e-9 }\n",
        )],
        &[("delta: 1e-9", "delta: 1e-9, accounting: pure")],
    ));
    show(&two(
        &[(
            "records: releases-only\n",
            "records: releases-only\nprivacy-budget: { epsilon: 8.0, delta: 2e-9 }\n",
        )],
        &[
            ("unit: { subject: user.id, domain: users, period: 24h }", "unit: record"),
            ("bounds: { windows-per-period: 10, keys-per-window: 2, records-per-key: 3 }\n", ""),
        ],
    ));
}
fn show(s: &[Source]) {
    println!("@@{}", serde_json::to_string(&findings(s)).unwrap());
}
