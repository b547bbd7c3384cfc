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
        Accounting, Calendar, Choose, Crowd, Expected, Keys, Late, Noise, ReleasePlan, Smoothing,
        Unit, What, Zone, noise_sd,
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
normalize: exact
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
        assert_eq!(text.matches(from).count(), 1, "`{from}` must be in this once:\n{text}");
        text.replace(from, to)
    })
}

/// Cases, one below the other: `from -> to` edits the release, `words| from -> to` its words, and
/// `more| from -> to` a second release, which is called `more`; then, indented, all that is said of them, or `-`.
fn told(cases: &str) {
    let is_said = |line: &&str| line.starts_with("    ");
    let mut lines = cases.lines().skip(1).peekable();
    while lines.peek().is_some() {
        let (mut words, mut release, mut more) = (WORDS.to_owned(), RELEASE.to_owned(), None);
        while let Some(line) = lines.next_if(|line| !is_said(line)) {
            let (of, edit) = line.split_once("| ").unwrap_or(("", line));
            let text = match of {
                "words" => &mut words,
                "more" => more.get_or_insert_with(second),
                _ => &mut release,
            };
            let Some((from, to)) = edit.split_once(" ->") else { panic!("{line}") };
            let [from, to] =
                [from, to.strip_prefix(' ').unwrap_or(to)].map(|t| t.replace("\\n", "\n"));
            *text = edited(text, &[(&from, &to)]);
        }
        let said: Vec<&str> =
            std::iter::from_fn(|| lines.next_if(is_said)).map(str::trim).collect();
        let sources = more.map_or_else(|| sources(&words, &release), |more| both(&words, &more));
        assert_eq!(findings(&sources), if said == ["-"] { vec![] } else { said });
    }
}

fn bundle(edits: &[(&str, &str)]) -> Bundle {
    let sources = sources(WORDS, &edited(RELEASE, edits));
    Bundle::compile(&sources).unwrap_or_else(|r| panic!("{}", r.render(&sources)))
}

fn plan(edits: &[(&str, &str)]) -> ReleasePlan {
    bundle(edits).releases(NOW)[0].as_ref().clone()
}

/// Another release of `clicks`.
fn second() -> String {
    edited(RELEASE, &[("name: totals", "name: more"), ("topic: totals", "topic: more")])
}

fn both(words: &str, more: &str) -> Vec<Source> {
    let words = words.replace("datasets: [totals]", "datasets: [totals, more]");
    sources(&words, &format!("{RELEASE}---\n{more}"))
}

#[test]
fn a_good_release_needs_no_word() {
    told(
        r#"
name: totals -> name: totals
    -
keys: { field: campaign }\n ->
delta: 1e-9 -> accounting: pure
keys-per-window: 2,  ->
    -
field: campaign -> field: campaign, min-subjects: 20, floor: noisy
    -
field: campaign -> field: contact, public: [a, b]
    -
size: 5m -> size: 5m, every: 1m, lateness: 1m, max-skew: 1s, slack: 500ms, late: assign-to-open
    -
size: 5m -> size: 1d, timezone: Europe/Berlin
windows-per-period: 10 -> windows-per-period: 7
period: 24h -> period: 7d
    -
size: 5m -> size: 5m, late: revise, revisions: 1, revise-after: 1h
    -
"#,
    );
}

#[test]
fn names_are_looked_up() {
    told(
        r#"
dataset: clicks -> dataset: click
    E r5: click: the dataset `click` is not declared / did you mean `clicks`?
dataset: clicks -> dataset: totals
    E w24: clicks: the dataset `clicks` is published only as releases, and has none / add a `Release` with `dataset: clicks`, or set `records: deliver`
    E r5: totals: `totals` is itself a release / what was released may be counted by anyone who reads it; a release counts records
words| records: releases-only -> evidence: batch
    E r5: clicks: records of `clicks` are not recorded singly, and a release counts them so / leave out `evidence: batch` and `protect: nothing` there
topic: totals -> topic: clicks
    E r6: clicks: the topic `clicks` belongs to two datasets / a topic belongs to one dataset: what its fields are must not be ambiguous
topic: totals -> topic: totals\nregion: fr
    E r7: fr: the region `fr` is not declared / did you mean `fra`?
domain: users -> domain: user
    E r7: user: the token domain `user` is not declared / did you mean `users`?
field: campaign -> field: campain
    E r11: campain: the dataset `clicks` does not list the field `campain` / did you mean `campaign`?
subject: user.id -> subject: "*.id"
    E r7: "*.id": `*.id` can match several places / name one place, without `*` and `[]`
release:\n -> widen: { helth: 4 }\nrelease:\n
    E r12: helth: the category `helth` is not declared / did you mean `health`?
"#,
    );
}

#[test]
fn a_release_is_a_rule() {
    told(
        r#"
because: it must\n ->
    E r1: apiVersion: the key `because` is missing / `because`: Why this document exists, in a sentence that an auditor can read
, citations: [x] ->
    W r3: totals: the rule `totals` has no citations / add `citations: […]` to its `metadata`, for example `gdpr:5(1)(c)`
"#,
    );
}

#[test]
fn units_and_periods() {
    told(
        r#"
unit: { subject: user.id, domain: users, period: 24h } -> unit: recrod
    E r7: recrod: `recrod` is not valid here / did you mean `record`?
unit: { subject: user.id, domain: users, period: 24h } -> unit: record
    W r7: record: `unit: record` protects single records, not the people behind them / write `unit: { subject: …, domain: …, period: 24h }` where records belong to people
    E r10: windows-per-period: `unit: record` has no `bounds` / a record counts once: remove them, or bound a subject
unit: { subject: user.id, domain: users, period: 24h } -> unit: record
bounds: { windows-per-period: 10, keys-per-window: 2, records-per-key: 3 }\n ->
    W r7: record: `unit: record` protects single records, not the people behind them / write `unit: { subject: …, domain: …, period: 24h }` where records belong to people
period: 24h -> period: 31d
    E r7: 31d: tokens of `users` change before the period `31d` ends / a subject would become another one within its period, and be counted twice: rotate less often, or make the period shorter
period: 24h -> period: 1m
    E r7: 1m: the period `1m` is shorter than one window of 5m / a subject is protected over whole windows: make the period longer
period: 24h -> period: 7m
    E r7: 7m: windows of 5m do not fill the period `7m` evenly / a window in two periods could not be charged to one: make the period a multiple of the window
period: 24h -> period: 400d
    E r7: 400d: the period `400d` is too long / at most `366d`: all records of a subject in it are bounded together
release:\n -> widen: { commerce: 7 }\nrelease:\n
    E r7: 24h: windows of 35m, widened 7 times, do not fill the period `24h` evenly / a window in two periods could not be charged to one: make the period a multiple of the window
release:\n -> widen: { commerce: 0 }\nrelease:\n
    E r12: 0: a window cannot be widened 0 times / from 1 to 1024
release:\n -> widen: { commerce: 1000 }\nrelease:\n
size: 5m -> size: 1d
period: 24h -> period: 366d
    E r9: 1d: a window of `1d`, widened 1000 times, is not possible / from `1s` to `366d`
"#,
    );
}

#[test]
fn budgets_that_promise_nothing() {
    told(
        r#"
epsilon: 4.0 -> epsilon: 0
    E r8: 0: an epsilon of `0` allows no release / write a number above 0: `1.0`
epsilon: 4.0 -> epsilon: -1
    E r8: -1: an epsilon of `-1` allows no release / write a number above 0: `1.0`
epsilon: 4.0 -> epsilon: 50.1
    E r8: 50.1: an epsilon of `50.1` promises nothing / at most 50; numbers up to about 1 protect well
epsilon: 4.0 -> epsilon: 12
    W r8: 12: an epsilon of `12` protects little / numbers up to about 1 protect well; say in `because` why it has to be so large
epsilon: 4.0 -> epsilon: four
    E r8: four: `four` is not a valid number here / write a number with at most nine decimals: `1.0`
delta: 1e-9 -> delta: 0
    E r8: 0: rows that are not known beforehand need a `delta` above 0 / write `delta: 1e-9`
, delta: 1e-9 ->
    E r8: epsilon: rows that are not known beforehand need a `delta` / add `delta: 1e-9`
, delta: 1e-9 -> , accounting: pure
    E r8: epsilon: rows that are not known beforehand need a `delta` / add `delta: 1e-9`
keys: { field: campaign }\n ->
delta: 1e-9 -> delta: 0
keys-per-window: 2,  ->
    E r8: 0: costs that add up by `zcdp` need a `delta` above 0 / write `delta: 1e-9`
delta: 1e-9 -> delta: 1e-4
    E r8: 1e-4: a delta of `1e-4` is too likely to fail someone / at most `1e-5`; well below one over the number of subjects: `1e-9`
delta: 1e-9 -> delta: 2e-6
    W r8: 2e-6: a delta of `2e-6` may fail someone among a million / choose it well below one over the number of subjects: `1e-9`
delta: 1e-9 -> delta: 1e-19
    E r8: 1e-19: `1e-19` is not a valid number here / write a small number, such as `1e-9`
"#,
    );
}

#[test]
fn budgets_that_do_not_reach() {
    told(
        r#"
delta: 1e-9 -> delta: 1e-17
    E r8: epsilon: nothing is left of `delta` when it is spread over 10 windows / raise it, or lower `windows-per-period`
epsilon: 4.0 -> epsilon: 0.0005
    E r13: 0.5: nothing is left of this share when it is spread over 10 windows / raise epsilon or the share, or lower `windows-per-period`
epsilon: 4.0 -> epsilon: 0.01
clamp: [0, 500.00] -> clamp: [0, 9999999.00]
    E r15: 0.25: this number would need so much noise that it would mean nothing / raise epsilon or the share, or tighten `clamp` and `bounds`
"#,
    );
}

#[test]
fn lengths_of_time() {
    told(
        r#"
size: 5m -> size: 5
    E r9: 5: `5` is a number without a unit of time / write `5s`, `5m` or `5h`
size: 5m -> size: 5min
    E r9: 5min: `5min` is not a length of time / write a whole number and its unit, `ms`, `s`, `m`, `h` or `d`: `500ms`, `30s`, `5m`, `24h`
size: 5m -> size: 9999d
    E r9: 9999d: `9999d` is too long / at most `3660d`
size: 5m -> size: 500ms
    E r9: 500ms: a window of `500ms` is not possible / from `1s` to `366d`
size: 5m -> every: 1m
    E r9: every: the window has no `size` / add `size: 5m`
"#,
    );
}

#[test]
fn windows_that_follow_data() {
    told(
        r#"
size: 5m -> size: 5m, type: session, gap: 30m
    E r9: session: session windows cannot be released: when one ends reveals a subject's pauses / boundaries must come from the clock: use `type: tumbling`, or `type: hopping` with `every`
size: 5m -> size: 5m, gap: 30m
    E r9: 30m: `gap` belongs to session windows, which cannot be released / remove it
size: 5m -> size: 5m, type: sliding
    E r9: sliding: sliding windows cannot be released: their boundaries depend on records / boundaries must come from the clock: use `type: tumbling`, or `type: hopping` with `every`
size: 5m -> size: 5m, type: count
    E r9: count: windows of a number of records cannot be released: their boundaries depend on records / boundaries must come from the clock: use `type: tumbling`, or `type: hopping` with `every`
"#,
    );
}

#[test]
fn windows_that_overlap() {
    told(
        r#"
size: 5m -> size: 5m, type: hopping
    E r9: hopping: hopping windows need `every` / add `every: 1m`
size: 5m -> size: 5m, type: tumbling, every: 1m
    E r9: 1m: tumbling windows have no `every` / remove it, or write `type: hopping`
size: 5m -> size: 5m, every: 2m
    E r9: 2m: the size 5m is not a multiple of `2m` / a hopping window is a sum of whole panes, each as long as `every`
size: 5m -> size: 5m, every: 0s
    E r9: 0s: the size 5m is not a multiple of `0s` / a hopping window is a sum of whole panes, each as long as `every`
size: 5m -> size: 1h, every: 1m
    W r9: 1m: windows of 1h are sums of 60 noisy panes: their error is about 7 times that of one / make `every` longer, or publish the long window as a tumbling release with a part of the budget
size: 5m -> size: 1d, every: 1s
    E r9: 1s: a window would be a sum of 86400 panes / at most 10000: make `every` longer
"#,
    );
}

#[test]
fn where_windows_begin() {
    told(
        r#"
size: 5m -> size: 5m, offset: 24h
    E r9: 24h: the offset `24h` is not shorter than what it moves / windows and periods repeat: a longer offset means the same as its remainder
size: 5m -> size: 5m, offset: 5m
unit: { subject: user.id, domain: users, period: 24h } -> unit: record
bounds: { windows-per-period: 10, keys-per-window: 2, records-per-key: 3 }\n ->
    W r7: record: `unit: record` protects single records, not the people behind them / write `unit: { subject: …, domain: …, period: 24h }` where records belong to people
    E r9: 5m: the offset `5m` is not shorter than what it moves / windows and periods repeat: a longer offset means the same as its remainder
size: 5m -> size: 5m, timezone: Europe/Berlin
    E r9: Europe/Berlin: windows of 5m do not follow a time zone / only whole days do, as `size: 1d`, and equal parts of a day from an hour on, as `size: 8h`: remove `timezone`
size: 5m -> size: 1d, timezone: Europe/Atlantis
windows-per-period: 10 -> windows-per-period: 1
    E r9: Europe/Atlantis: `Europe/Atlantis` is not a time zone / write its name in the IANA database: `Europe/Berlin`, `America/New_York`, `UTC`
size: 5m -> size: 1d, timezone: Europe/Berlin, week-starts: sunday
windows-per-period: 10 -> windows-per-period: 1
    E r9: sunday: neither windows nor periods are whole weeks / remove `week-starts`, or make `size` or `period` a multiple of `7d`
size: 5m -> size: 1d, timezone: Europe/Berlin
windows-per-period: 10 -> windows-per-period: 1
period: 24h -> period: 36h
    E r7: 36h: windows of 1d do not fill the period `36h` evenly / a window in two periods could not be charged to one: make the period a multiple of the window
"#,
    );
}

#[test]
fn what_comes_late() {
    told(
        r#"
size: 5m -> size: 5m, lateness: 0s
    W r9: 0s: a record that arrives a moment after its window ended is late / add some `lateness`: it delays the totals by as much, and costs nothing
size: 5m -> size: 5m, lateness: 8d
    E r9: 8d: `8d` is too long here / at most `7d`
size: 5m -> size: 5m, max-skew: 2d, slack: 2h
    E r9: 2d: `2d` is too long here / at most `1d`
    E r9: 2h: `2h` is too long here / at most `1h`
size: 5m -> size: 5m, late: revise
    E r9: size: `late: revise` does not say how often and when / add `revisions: 1` and `revise-after: 1h`
size: 5m -> size: 5m, late: revise, revisions: 11, revise-after: 1h
    E r9: 11: `11` is not a valid number of revisions / from 1 to 10; each costs as much as the window itself
size: 5m -> size: 5m, late: revise, revisions: 1, revise-after: 1ms
    E r9: 1ms: `1ms` is too soon for a revision / at least `1s`
size: 5m -> size: 5m, revisions: 1
    E r9: 1: windows are not published again without `late: revise` / add `late: revise`, or remove `revisions` and `revise-after`
"#,
    );
}

#[test]
fn bounds_that_are_missing_or_idle() {
    told(
        r#"
bounds: { windows-per-period: 10, keys-per-window: 2, records-per-key: 3 }\n ->
    E r3: totals: the release does not bound what one subject may contribute / add `bounds: { windows-per-period: 10, keys-per-window: 2, records-per-key: 3 }`
keys-per-window: 2, records-per-key: 3 -> choose: first
    E r10: windows-per-period: `bounds` lacks `keys-per-window` / add `keys-per-window: 2`: what one subject may change has to be known
    E r10: windows-per-period: `bounds` lacks `records-per-key` / add `records-per-key: 3`: what one subject may change has to be known
windows-per-period: 10,  ->
    W r10: keys-per-window: a subject may contribute to all 288 windows of a period / the budget is divided among them: `windows-per-period: 10` would need far less noise
windows-per-period: 10 -> windows-per-period: 289
    E r10: 289: a period has only 288 windows, not 289 / write at most that many; fewer need less noise
windows-per-period: 10 -> windows-per-period: 0
    E r10: 0: `0` is not a valid number here / write a whole number from 1 to 1000000
keys: { field: campaign }\n ->
    E r10: 2: `keys-per-window: 2` without `keys` / a window of one row has one: remove it, or add `keys`
"#,
    );
}

#[test]
fn rows_must_not_name_people() {
    told(
        r#"
field: campaign -> field: user.id
    E r11: user.id: `user.id` is the subject itself / its values would be published: choose a field that many subjects share
field: campaign -> field: contact
    E r11: contact: `contact` looks like an identifier: its category is `user.email` / values of rows are published as they are: choose a field that many subjects share, or list the rows under `public`
field: campaign -> field: mail
    E r11: mail: `mail` looks like an identifier: so is its name, `mail` / values of rows are published as they are: choose a field that many subjects share, or list the rows under `public`, or, if it does not identify people, say so in a `because` of `keys`
"#,
    );
}

/// The author knows better than a name's last word, but not better than the rest of the policy.
#[test]
fn a_because_lets_a_field_be_a_row_that_only_its_name_makes_an_identifier() {
    told(
        r#"
field: campaign -> field: mail, because: it numbers campaigns
    -
field: campaign -> field: contact, because: it numbers campaigns
    E r11: contact: `contact` looks like an identifier: its category is `user.email` / values of rows are published as they are: choose a field that many subjects share, or list the rows under `public`
field: campaign -> field: mail, because: " "
    E r11: mail: `mail` looks like an identifier: so is its name, `mail` / values of rows are published as they are: choose a field that many subjects share, or list the rows under `public`, or, if it does not identify people, say so in a `because` of `keys`
"#,
    );
}

#[test]
fn rows_must_not_be_of_the_subjects_category() {
    told(
        r#"
words| { id: user.id } -> { id: user.id }, { id: patient.chart }
words| user.id: user.id, campaign: commerce.campaign -> user.id: patient.chart, campaign: patient.chart
    E r11: campaign: `campaign` looks like an identifier: its category is that of the subject / values of rows are published as they are: choose a field that many subjects share, or list the rows under `public`
"#,
    );
}

/// A subject that no record has would leave pure noise, for ever.
#[test]
fn a_subject_is_a_field_of_the_dataset() {
    told(
        r#"
subject: user.id -> subject: user.ids
    E r7: user.ids: the dataset `clicks` does not list the field `user.ids` / did you mean `user.id`?
words| event-time: { field: at, unit: ms } -> unlisted: refuse\nevent-time: { field: att, unit: ms }
    E w30: att: the dataset does not list the field `att` / add it to `fields`, with its category
"#,
    );
}

#[test]
fn topics_are_named_as_kafka_names_them() {
    let long = "t".repeat(250);
    for name in ["''", "..", "a b", "x/y", "'../etc 😀'", &long] {
        let found = findings(&sources(
            WORDS,
            &edited(RELEASE, &[("topic: totals", &format!("topic: {name}"))]),
        ));
        assert!(
            matches!(found.as_slice(), [one] if one.contains("is not a valid topic name")),
            "{found:?}"
        );
    }
    told(
        r#"
topic: totals -> topic: a.B_9-c
    -
topic: totals -> topic: totals.contributions
    E r6: totals.contributions: the topic `totals.contributions` belongs to the release `totals` / the gateway stores there what the release counts: choose another topic name
"#,
    );
}

#[test]
fn expected_volumes_do_not_contradict_themselves() {
    told(
        r#"
release:\n -> expect: { records: 10, subjects: 650 }\nrelease:\n
    W r12: records: 650 subjects cannot come from 10 records / each has at least one: correct `subjects` or `records`
release:\n -> expect: { records: 10, subjects: 5, keys: 11 }\nrelease:\n
    W r12: records: 11 rows cannot come from 10 records / each has at least one: correct `keys` or `records`
release:\n -> expect: { records: 10, subjects: 5, windows-per-subject: 289 }\nrelease:\n
    W r12: records: a subject cannot appear in 289 of the 288 windows of a period / correct `windows-per-subject`
release:\n -> expect: { records: 850, subjects: 650, records-per-subject: [{ records: 1000, subjects: 5 }] }\nrelease:\n
    W r12: records: `records-per-subject` comes to 5000 records of 5 subjects, and `expect` says 850 of 650 / correct one of them, to within a tenth
release:\n -> expect: { records: 1000, subjects: 600, keys: 9, windows-per-subject: 288, records-per-subject: [{ records: 1, subjects: 400 }, { records: 3, subjects: 210 }] }\nrelease:\n
    -
"#,
    );
}

#[test]
fn floors_and_lists_of_rows() {
    told(
        r#"
field: campaign -> field: campaign, floor: raw
    E r11: raw: `floor: raw` does not say how many subjects / add `min-subjects: 20`
field: campaign -> field: campaign, min-subjects: 20, floor: raw
    W r11: raw: `floor: raw` lifts the threshold from 68 to 87 noisy subjects / `floor: noisy` costs nothing; ask for the true number only where a rule does
field: campaign -> field: campaign, public: []
    E r11: [: `public` lists 0 rows / list 1 to 100000 values
field: campaign -> field: campaign, public: [a, b, a]
    E r11: a: the row `a` is listed twice / -
field: campaign -> field: campaign, public: [a, b], min-subjects: 20, floor: raw, max-bytes: 9
    E r11: 20: `min-subjects` cannot be combined with `public` rows / public rows are always published, or their absence would tell of records: remove it
    E r11: raw: `floor` cannot be combined with `public` rows / public rows are always published, or their absence would tell of records: remove it
    E r11: 9: `max-bytes` cannot be combined with `public` rows / what is not in the list is not counted: remove it
"#,
    );
}

#[test]
fn shares_of_one_budget() {
    told(
        r#"
share: 0.5 -> share: 0.6
    E r13: what: the shares add up to 1.1 / they are parts of one budget: at most 1 together
share: 0.5 -> share: 0.4
    W r13: what: the shares add up to 0.9 / the rest of the budget is not used: larger shares mean less noise
share: 0.5 -> share: 0
    E r13: 0: `0` is not a share / write a part of the budget, more than 0 and at most 1, with up to six decimals: `0.5`
share: 0.5 -> share: 0.0000001
    E r13: 0.0000001: `0.0000001` is not a share / write a part of the budget, more than 0 and at most 1, with up to six decimals: `0.5`
what: subjects -> what: count
    E r13: what: rows that are not known beforehand need `what: subjects` / a row is published when its noisy number of subjects is large enough: add `- { what: subjects, share: … }`, or list the rows under `public`
    E r14: what: `count` is published twice / once is enough: give it a larger share
what: subjects, share: 0.5 -> what: count, share: 0.5
what: count, share: 0.25 -> what: subjects, share: 0.25
    -
release:\n  - { what: subjects, share: 0.5 }\n -> release:\n
    E r13: what: rows that are not known beforehand need `what: subjects` / a row is published when its noisy number of subjects is large enough: add `- { what: subjects, share: … }`, or list the rows under `public`
    W r13: what: the shares add up to 0.5 / the rest of the budget is not used: larger shares mean less noise
"#,
    );
}

#[test]
fn sums_need_a_clamp_that_fits() {
    told(
        r#"
, clamp: [0, 500.00] ->
    E r15: what: a sum has no `clamp` / add `clamp: [0, 500]`: how far one record can move the sum has to be known
clamp: [0, 500.00] -> clamp: [0, 500.001]
    E r15: 500.001: `500.001` is not a valid number here / write a number with at most 2 decimals, or raise `decimals`
clamp: [0, 500.00] -> clamp: [0]
    E r15: 0: `clamp` is not a smallest and a largest number / write `clamp: [0, 500]`
clamp: [0, 500.00] -> clamp: [5, 5]
    E r15: 5: `clamp` leaves nothing between `5` and `5` / the smaller number comes first
clamp: [0, 500.00] -> clamp: [0, 10737418.24]
    E r15: 0: values this large could add up to more than can be counted exactly / tighten `clamp`, lower `decimals`, or lower `records-per-key` and `keys-per-window`
keys-per-window: 2, records-per-key: 3 -> keys-per-window: 10000, records-per-key: 1000000
clamp: [0, 500.00] -> clamp: [0, 9999999.00]
    E r15: 0: values this large could add up to more than can be counted exactly / tighten `clamp`, lower `decimals`, or lower `records-per-key` and `keys-per-window`
field: amount,  ->
    E r15: what: the sum does not name its field / add `field: …`
field: amount -> field: user.id
    E r15: user.id: `user.id` is the subject itself / an identifier is not an amount: add up another field, or use `what: subjects`
field: amount -> field: amount, name: count
    E r15: count: `count` already means something in a released row / add another `name: …`
field: amount -> field: amount, name: "a b"
    E r15: "a b": `a b` cannot be the name of a sum / add `name: …`, with 1 to 64 letters, digits, `-` and `_`
what: count -> what: count, field: amount, decimals: 1, clamp: [0, 1], name: x
    E r14: what: the setting `decimals` belongs to `what: sum` / remove it
    E r14: amount: the setting `field` belongs to `what: sum` / remove it
    E r14: 0: the setting `clamp` belongs to `what: sum` / remove it
    E r14: x: the setting `name` belongs to `what: sum` / remove it
"#,
    );
}

#[test]
fn smoothing_has_a_half_life() {
    told(
        r#"
release:\n -> smoothing: { half-life: 0 }\nrelease:\n
    E r12: 0: `0` is not a valid number here / write a whole number from 1 to 1000
"#,
    );
}

#[test]
fn what_a_release_asks_of_its_words() {
    told(
        r#"
words| rotation: 30d -> rotation: 12h
    E r7: 24h: tokens of `users` change before the period `24h` ends / a subject would become another one within its period, and be counted twice: rotate less often, or make the period shorter
words| event-time: { field: at, unit: ms } -> event-time: { field: at, unit: minutes }
    E w29: minutes: `minutes` is not valid here / write one of `s`, `ms`, `us`, `rfc3339`
words| event-time: { field: at, unit: ms } -> event-time: { field: "*", unit: ms }
    E w29: "*": `*` can match several places / name one place, without `*` and `[]`
words| regions: [{ id: fra -> regions: [{ id: nyc, jurisdiction: DE, recipient: eu }, { id: fra
    E r3: totals: the release does not say in which region it is made / add `region: …`, one of `nyc`, `fra`
words| deliver-to: [home] -> deliver-to: [fra]
words| records: releases-only\n -> privacy-budget: { epsilon: 2.0, delta: 1e-9 }\n
    E w30: epsilon: the releases of `clicks` together cost more epsilon than its `privacy-budget`: `totals` / raise the budget of the dataset, or lower those of its releases
words| records: releases-only\n -> privacy-budget: { epsilon: 4.0, delta: 1e-9 }\n
    -
words| records: releases-only\n -> privacy-budget: { epsilon: 4.0 }\n
    E w30: epsilon: the releases of this dataset need a `delta` / add `delta: 1e-9` to its `privacy-budget`
words| records: releases-only\n -> privacy-budget: { epsilon: 60, delta: 1 }\n
    E w30: 60: an epsilon of `60` promises nothing / at most 50; numbers up to about 1 protect well
    E w30: 1: a delta of `1` is too likely to fail someone / at most `1e-5`; well below one over the number of subjects: `1e-9`
"#,
    );
}

#[test]
fn who_reads_and_who_publishes() {
    told(
        r#"
words| datasets: [totals] -> datasets: [totals, clicks]
words| records: releases-only\n ->
words| kind: Purpose -> kind: ProtectionRule\nmetadata: { name: shown, citations: [x] }\nbecause: it must\napplies-to: { categories: [commerce] }\nprotect: [{ as: keep }]\n---\napiVersion: sluicegate/v1\nkind: Purpose
    W w33: user.id: `user.id` is always dropped: no rule covers its category `user.id` / add a `ProtectionRule` for it (with `as: drop`, if that is meant)
    W w33: contact: `contact` is always dropped: no rule covers its category `user.email` / add a `ProtectionRule` for it (with `as: drop`, if that is meant)
    W r3: totals: `ana` may read the release `totals` and the records it counts / the noise hides nothing from anyone who sees the records: publish them only as releases (`records: releases-only`), or let no one read both
words| datasets: [totals] -> datasets: [totals, clicks]
words| records: releases-only\n ->
    -
words| datasets: [totals] -> datasets: [clicks]
    W r3: totals: no one may read the release `totals` / add an `AccessRule` with `may: [read]` and `datasets: [totals]`
words| datasets: [totals] -> categories: [commerce, user, health]
    W r3: totals: no one may read the release `totals` / add an `AccessRule` with `may: [read]` and `datasets: [totals]`
words| may: [publish]\ndatasets: [clicks] -> may: [publish]\ndatasets: [clicks, totals]
    E w38: totals: `totals` is a release: nobody may publish to it / only the gateway writes to it: leave it out, or make the rule about `read`
"#,
    );
}

#[test]
fn a_field_that_becomes_a_token_is_an_identifier() {
    told(
        r#"
words| kind: Purpose -> kind: ProtectionRule\nmetadata: { name: tokens, citations: [x] }\nbecause: it must\napplies-to: { categories: [commerce.campaign] }\nprotect: [{ as: tokenize, with: { domain: users } }]\n---\napiVersion: sluicegate/v1\nkind: Purpose
    E r11: campaign: `campaign` looks like an identifier: the rule `tokens` makes tokens of it / values of rows are published as they are: choose a field that many subjects share, or list the rows under `public`
"#,
    );
}

#[test]
fn releases_of_one_dataset_are_charged_together() {
    told(
        r#"
more| name: more -> name: more
    E r24: epsilon: the dataset `clicks` has several releases and no budget for all of them: `totals`, `more` / each adds to what a subject risks: add `privacy-budget: { epsilon: …, delta: … }` to `clicks`, or let one end a period before the other begins
words| records: releases-only\n -> records: releases-only\nprivacy-budget: { epsilon: 6.0, delta: 1e-9 }\n
more| name: more -> name: more
    E w31: epsilon: the releases of `clicks` together cost more delta than its `privacy-budget`: `totals`, `more` / raise the budget of the dataset, or lower those of its releases
words| records: releases-only\n -> records: releases-only\nprivacy-budget: { epsilon: 5.0, delta: 2e-9 }\n
more| name: more -> name: more
    E w31: epsilon: the releases of `clicks` together cost more epsilon than its `privacy-budget`: `totals`, `more` / raise the budget of the dataset, or lower those of its releases
words| records: releases-only\n -> records: releases-only\nprivacy-budget: { epsilon: 6.0, delta: 2e-9 }\n
more| name: more -> name: more
    -
more| because: -> mode: draft\nbecause:
    -
more| because: -> mode: shadow\nbecause:
    E r25: epsilon: the dataset `clicks` has several releases and no budget for all of them: `totals`, `more` / each adds to what a subject risks: add `privacy-budget: { epsilon: …, delta: … }` to `clicks`, or let one end a period before the other begins
more| because: -> effective: { from: 2027-01-01 }\nbecause:
    E r25: epsilon: the dataset `clicks` has several releases and no budget for all of them: `totals`, `more` / each adds to what a subject risks: add `privacy-budget: { epsilon: …, delta: … }` to `clicks`, or let one end a period before the other begins
words| records: releases-only\n -> records: releases-only\nprivacy-budget: { epsilon: 4.0, delta: 1e-9 }\n
more| because: -> mode: draft\nbecause:
more| epsilon: 4.0 -> epsilon: 9.0
    -
"#,
    );
}

#[test]
fn releases_of_one_dataset_have_one_unit() {
    told(
        r#"
words| records: releases-only\n -> records: releases-only\nprivacy-budget: { epsilon: 8.0, delta: 2e-9 }\n
more| period: 24h -> period: 12h
    E r23: subject: the releases `totals` and `more` of one dataset have different periods / what one subject is charged in one period is one sum: write the same in both
words| records: releases-only\n -> records: releases-only\nprivacy-budget: { epsilon: 8.0, delta: 2e-9 }\n
more| subject: user.id -> subject: contact
    E r23: subject: the releases `totals` and `more` of one dataset protect different subjects / what one subject is charged in one period is one sum: write the same in both
words| records: releases-only\n -> records: releases-only\nprivacy-budget: { epsilon: 8.0, delta: 2e-9 }\n
more| size: 5m -> size: 5m, offset: 1m
    E r23: subject: the releases `totals` and `more` of one dataset begin their periods at different times / what one subject is charged in one period is one sum: write the same in both
words| records: releases-only\n -> records: releases-only\nprivacy-budget: { epsilon: 8.0, delta: 2e-9 }\n
more| delta: 1e-9 -> delta: 1e-9, accounting: pure
    E w31: epsilon: the releases of `clicks` together cost more epsilon than its `privacy-budget`: `totals`, `more` / raise the budget of the dataset, or lower those of its releases
    E r24: epsilon: the releases `totals` and `more` of one dataset add up their costs differently / what one subject is charged in one period is one sum: write the same in both
words| records: releases-only\n -> records: releases-only\nprivacy-budget: { epsilon: 8.0, delta: 2e-9 }\n
more| unit: { subject: user.id, domain: users, period: 24h } -> unit: record
more| bounds: { windows-per-period: 10, keys-per-window: 2, records-per-key: 3 }\n ->
    W r23: record: `unit: record` protects single records, not the people behind them / write `unit: { subject: …, domain: …, period: 24h }` where records belong to people
    E r23: record: the releases `totals` and `more` of one dataset protect different units / what one subject is charged in one period is one sum: write the same in both
"#,
    );
}

#[test]
fn one_release_may_follow_another_when_no_period_is_charged_to_both() {
    let after = |day: &str| {
        let dated = |name: &str, when: &str| {
            let when = format!("effective: {{ {when} }}\nbecause:");
            let topic = format!("topic: {name}");
            let named = format!("name: {name}");
            edited(
                RELEASE,
                &[("name: totals", &named), ("topic: totals", &topic), ("because:", &when)],
            )
        };
        let first = dated("totals", "until: 2027-01-01");
        let second = dated("more", &format!("from: {day}"));
        let words = edited(WORDS, &[("datasets: [totals]", "datasets: [totals, more]")]);
        findings(&sources(&words, &format!("{first}---\n{second}")))
            .into_iter()
            .filter(|f| f.starts_with('E'))
            .count()
    };
    assert_eq!(after("2027-01-01"), 1);
    assert_eq!(after("2027-01-01T23:59:59Z"), 1);
    assert_eq!(after("2027-01-02"), 0);
}

#[test]
fn a_plan_holds_what_the_author_asked_for() {
    let plan = plan(&[]);
    assert_eq!(
        (&*plan.name, &*plan.dataset, &*plan.topic, &*plan.region),
        ("totals", "clicks", "totals", "fra")
    );
    let Unit::Subject(unit) = &plan.unit else { panic!("{:?}", plan.unit) };
    assert_eq!((&*unit.path.written, &*unit.domain, &*unit.key), ("user.id", "users", "k"));
    assert_eq!(unit.period, Calendar::Fixed { size_ms: 86_400_000, offset_ms: 0 });
    let s = &plan.schedule;
    assert_eq!(s.pane, Calendar::Fixed { size_ms: 300_000, offset_ms: 0 });
    assert_eq!(
        (s.panes_per_window, s.lateness_ms, s.max_skew_ms, s.slack_ms),
        (1, 30_000, 5_000, 2_000)
    );
    assert_eq!((s.late, plan.accounting, plan.smoothing), (Late::Drop, Accounting::Zcdp, None));
    let b = plan.bounds;
    assert_eq!(
        (b.windows_per_period, b.keys_per_window, b.records_per_key, b.choose),
        (10, 2, 3, Choose::Hash)
    );
    let Keys::Unknown { path, max_bytes, threshold, raw_floor } = &plan.keys else {
        panic!("{:?}", plan.keys)
    };
    assert_eq!((&*path.written, *max_bytes, *threshold, *raw_floor), ("campaign", 128, 68, None));
    let names: Vec<_> = plan.outputs.iter().map(|o| &*o.name).collect();
    assert_eq!(names, ["subjects", "count", "amount"]);
    let What::Sum { scale, lo, hi, .. } = plan.outputs[2].what else {
        panic!("{:?}", plan.outputs)
    };
    assert_eq!((scale, lo, hi), (2, 0, 50_000));
    assert!(
        plan.outputs
            .iter()
            .all(|o| matches!(o.noise, Noise::Gaussian { .. } | Noise::Laplace { .. }))
    );
    assert!((9.0..11.0).contains(&noise_sd(plan.outputs[0].noise)));
    assert!(plan.cost.loss * 10 <= plan.cap.loss && plan.cost.delta * 10 <= plan.cap.delta);
    assert!(plan.cost.loss * 11 > plan.cap.loss, "one more window would not be affordable");
    assert_eq!(
        (plan.promise.epsilon.to_string(), plan.promise.delta_atto),
        ("4".into(), 1_000_000_000)
    );
}

#[test]
fn the_number_of_subjects_comes_first_where_it_selects() {
    let swapped = &[
        ("what: subjects, share: 0.5", "what: count, share: 0.5"),
        ("what: count, share: 0.25", "what: subjects, share: 0.25"),
    ];
    let order = |p: ReleasePlan| p.outputs.iter().map(|o| o.name.to_string()).collect::<Vec<_>>();
    assert_eq!(order(plan(swapped)), ["subjects", "count", "amount"]);
    let public = ("field: campaign", "field: campaign, public: [b, a]");
    let kept = plan(&[swapped[0], swapped[1], public]);
    let Keys::Public { values, .. } = &kept.keys else { panic!("{:?}", kept.keys) };
    assert_eq!(values.iter().map(|v| &**v).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(order(kept), ["count", "subjects", "amount"]);
}

#[test]
fn windows_become_panes_and_periods() {
    let hopping = plan(&[("size: 5m", "size: 5m, every: 1m, offset: 30s")]);
    assert_eq!(hopping.schedule.pane, Calendar::Fixed { size_ms: 60_000, offset_ms: 30_000 });
    assert_eq!(hopping.schedule.panes_per_window, 5);
    let Unit::Subject(unit) = hopping.unit else { panic!("a subject") };
    assert_eq!(unit.period, Calendar::Fixed { size_ms: 86_400_000, offset_ms: 30_000 });

    // Small windows can follow the periods of larger ones.
    let moved = plan(&[("size: 5m", "size: 5m, offset: 362m")]);
    assert_eq!(moved.schedule.pane, Calendar::Fixed { size_ms: 300_000, offset_ms: 120_000 });
    let Unit::Subject(unit) = moved.unit else { panic!("a subject") };
    assert_eq!(unit.period, Calendar::Fixed { size_ms: 86_400_000, offset_ms: 21_720_000 });

    let berlin = plan(&[
        ("size: 5m", "size: 1d, timezone: Europe/Berlin"),
        ("period: 24h", "period: 7d"),
        ("windows-per-period: 10", "windows-per-period: 7"),
    ]);
    let Calendar::Local { zone, .. } = berlin.schedule.pane.clone() else { panic!("a zone") };
    assert_eq!(berlin.schedule.pane, Calendar::days(1, zone.clone()));
    let Unit::Subject(unit) = berlin.unit else { panic!("a subject") };
    assert_eq!(
        (unit.period, &*zone.0),
        (local(7 * 86_400_000, 4 * 86_400_000, &zone), "Europe/Berlin"),
        "weeks from Monday"
    );
    for (window, period, pane, of_period) in [
        // Shifts, and days from six in the morning.
        ("size: 8h, timezone: Europe/Berlin, offset: 6h", "24h", (8, 6), (24, 6)),
        ("size: 1d, timezone: Europe/Berlin, offset: 18h", "1d", (24, 18), (24, 18)),
        ("size: 7d, timezone: Europe/Berlin, offset: 6h", "7d", (168, 102), (168, 102)),
        ("size: 7d, timezone: Europe/Berlin, week-starts: sunday", "7d", (168, 72), (168, 72)),
        ("size: 3d, timezone: Europe/Berlin", "21d", (72, 24), (504, 96)),
    ] {
        let made = plan(&[
            ("size: 5m", window),
            ("period: 24h", &format!("period: {period}")),
            ("windows-per-period: 10", "windows-per-period: 1"),
        ]);
        let hours = |(size, offset): (i64, i64)| local(size * 3_600_000, offset * 3_600_000, &zone);
        assert_eq!(made.schedule.pane, hours(pane), "{window}");
        let Unit::Subject(unit) = made.unit else { panic!("a subject") };
        assert_eq!(unit.period, hours(of_period), "{window}");
    }

    let revised = plan(&[("size: 5m", "size: 5m, late: revise, revisions: 2, revise-after: 1h")]);
    assert_eq!(revised.schedule.late, Late::Revise { max: 2, after_ms: 3_600_000 });
    assert!(revised.cost.loss * 10 <= revised.cap.loss, "all revisions are in the cost");
    assert!(noise_sd(revised.outputs[0].noise) > 1.7 * noise_sd(plan(&[]).outputs[0].noise));

    let all = plan(&[("windows-per-period: 10, ", "")]);
    assert_eq!(all.bounds.windows_per_period, 288);
}

fn local(size_ms: i64, offset_ms: i64, zone: &Zone) -> Calendar {
    Calendar::Local { size_ms, offset_ms, zone: zone.clone() }
}

#[test]
fn windows_are_wider_only_where_the_dataset_holds_the_category() {
    let pane = |widen: &str| plan(&[("release:\n", &format!("{widen}\nrelease:\n"))]).schedule.pane;
    let minutes = |n: i64| Calendar::Fixed { size_ms: n * 60_000, offset_ms: 0 };
    assert_eq!(pane("widen: { health: 4 }"), minutes(5));
    assert_eq!(pane("widen: { health: 4, commerce: 2, user.email: 3 }"), minutes(15));
}

#[test]
fn smoothing_and_expectations_are_kept() {
    let edits = &[(
        "release:\n",
        "smoothing: { half-life: 1 }\nexpect: { records: 10000, subjects: 3000, keys: 40, windows-per-subject: 6, records-per-subject: [{ records: 1, subjects: 2000 }, { records: 8, subjects: 1000 }] }\nrelease:\n",
    )];
    let bundle = bundle(edits);
    let smoothing = bundle.releases(NOW)[0].smoothing;
    assert_eq!(smoothing, Some(Smoothing { numerator: 500_000, denominator: 1_000_000 }));
    let crowds = [Crowd { records: 1, subjects: 2_000 }, Crowd { records: 8, subjects: 1_000 }];
    let expected = Expected {
        records_per_pane: 10_000,
        subjects_per_pane: 3_000,
        keys_per_pane: Some(40),
        records_per_subject: Some(Box::new(crowds)),
        panes_per_subject: Some(6),
    };
    assert_eq!((bundle.expected("totals"), bundle.expected("other")), (Some(&expected), None));
}

#[test]
fn the_cap_is_the_datasets_budget_where_there_is_one() {
    let budget = ("records: releases-only\n", "privacy-budget: { epsilon: 6.0, delta: 2e-9 }\n");
    let more = edited(&second(), &[("epsilon: 4.0", "epsilon: 1.0")]);
    let bundle = Bundle::compile(&both(&edited(WORDS, &[budget]), &more)).unwrap();
    let all = bundle.releases(NOW);
    let [more, totals] = &*all else { panic!("{all:?}") };
    assert_eq!((&*more.name, &*totals.name, more.cap), ("more", "totals", totals.cap));
    let spent = 10 * (more.cost.loss + totals.cost.loss);
    assert!(spent <= totals.cap.loss && totals.cap.loss > plan(&[]).cap.loss);
}

#[test]
fn mode_and_dates_hold_for_a_release_as_for_any_rule() {
    let named = |edit: &str, at: i64| {
        let bundle = bundle(&[("because:", &format!("{edit}\nbecause:"))]);
        assert_eq!(bundle.all_releases().count(), 1);
        let table = bundle.table(UnixMillis(at)).unwrap();
        assert_eq!(table.releases(), bundle.releases(UnixMillis(at)));
        table.releases_of("clicks").count()
    };
    assert_eq!(named("mode: enforce", NOW.0), 1);
    assert_eq!(named("mode: shadow", NOW.0), 0);
    assert_eq!(named("mode: draft", NOW.0), 0);
    let from = 1_796_083_200_000; // 2026-12-01
    assert_eq!(named("effective: { from: 2026-12-01 }", from - 1), 0);
    assert_eq!(named("effective: { from: 2026-12-01 }", from), 1);
    let early = bundle(&[("because:", "effective: { from: 2026-12-01 }\nbecause:")]);
    assert_eq!(early.table(NOW).unwrap().valid_until(), UnixMillis(from));
    assert_eq!(bundle(&[]).table(NOW).unwrap().releases_of("totals").count(), 0);
}

#[test]
fn a_release_is_read_by_its_name_and_nobody_publishes_to_it() {
    let table = bundle(&[]).table(NOW).unwrap();
    let read = table.admit("ana", None, Operation::Read, "totals").unwrap();
    assert_eq!(read.view().1.unlisted, sluicegate_policies::Unlisted::Keep);
    let no = table.admit("app", Some("service"), Operation::Publish, "totals").unwrap_err();
    assert_eq!(
        (no.code.as_str(), &*no.detail),
        ("not-permitted", "the topic holds a release; no one may publish to it")
    );
    assert!(table.admit("app", Some("service"), Operation::Read, "totals").is_err());

    // By category everything is allowed, and still not this.
    let wide = edited(
        WORDS,
        &[(
            "may: [publish]\ndatasets: [clicks]",
            "may: [publish, read]\ncategories: [commerce, user, health]",
        )],
    );
    let table = Bundle::compile(&sources(&wide, RELEASE)).unwrap().table(NOW).unwrap();
    assert!(table.admit("app", Some("service"), Operation::Publish, "clicks").is_ok());
    assert!(table.admit("app", Some("service"), Operation::Publish, "totals").is_err());
    assert!(table.admit("app", Some("service"), Operation::Read, "totals").is_err());

    // A ban by category strikes a release that shows something of it.
    let ban = "---\napiVersion: sluicegate/v1\nkind: AccessRule\nmetadata: { name: ban, citations: [x] }\nbecause: it must\nwho: [ana]\nmay-not: [read]\ncategories: [%]\n";
    let banned = |category: &str| {
        let words = format!("{WORDS}{}", ban.replace('%', category));
        let table = Bundle::compile(&sources(&words, RELEASE)).unwrap().table(NOW).unwrap();
        table.admit("ana", None, Operation::Read, "totals").is_err()
    };
    assert!(banned("commerce.campaign") && banned("commerce.amount"));
    assert!(!banned("user") && !banned("health.ward"));
}

#[test]
fn datasets_say_how_they_are_counted() {
    let table = bundle(&[]).table(NOW).unwrap();
    let [clicks, totals] = table.datasets() else { panic!("two datasets") };
    let time = clicks.event_time.as_ref().unwrap();
    assert_eq!((&*time.path.written, time.unit), ("at", EventUnit::Millis));
    assert_eq!((clicks.records, clicks.released), (Records::ReleasesOnly, false));
    assert_eq!(
        (totals.records, totals.released, &totals.event_time),
        (Records::Deliver, true, &None)
    );
    // A record is decided as ever: it may be held only where a copy could go.
    let grant = table.admit("app", None, Operation::Publish, "clicks").unwrap();
    let route = grant.route(table.jurisdiction("DE").unwrap()).unwrap();
    assert_eq!(&*route.deliveries[0].region, "fra");
}

#[test]
fn the_digest_is_about_what_a_release_means() {
    let digest = |edits: &[(&str, &str)]| plan(edits).digest;
    let same: [&[(&str, &str)]; 4] = [
        &[("because: it must", "because: we said so")],
        &[("epsilon: 4.0", "epsilon: 4")],
        &[("period: 24h", "period: 1d"), ("size: 5m", "size: 300s, lateness: 30s")],
        &[
            ("field: campaign", "field: \"'campaign'\""),
            ("release:\n", "expect: { records: 5, subjects: 4 }\nrelease:\n"),
        ],
    ];
    for edits in same {
        assert_eq!(digest(edits), digest(&[]), "{edits:?}");
    }
    let other = [
        ("topic: totals", "topic: sums"),
        ("period: 24h", "period: 48h"),
        ("period: 24h", "period: 24h, missing: as-one-subject"),
        ("epsilon: 4.0", "epsilon: 4.000000001"),
        ("delta: 1e-9", "delta: 1.000000001e-9"),
        ("delta: 1e-9", "delta: 1e-9, accounting: pure"),
        ("size: 5m", "size: 10m"),
        ("size: 5m", "size: 5m, every: 1m"),
        ("size: 5m", "size: 5m, offset: 1m"),
        ("size: 5m", "size: 5m, lateness: 31s"),
        ("size: 5m", "size: 5m, max-skew: 6s"),
        ("size: 5m", "size: 5m, slack: 3s"),
        ("size: 5m", "size: 5m, late: assign-to-open"),
        ("size: 5m", "size: 5m, late: revise, revisions: 1, revise-after: 1h"),
        ("size: 5m", "size: 5m, late: revise, revisions: 1, revise-after: 2h"),
        ("windows-per-period: 10", "windows-per-period: 9"),
        ("windows-per-period: 10", "windows-per-period: 10, choose-windows: panel"),
        ("windows-per-period: 10", "windows-per-period: 10, choose: first"),
        ("keys-per-window: 2", "keys-per-window: 3"),
        ("records-per-key: 3", "records-per-key: 2"),
        ("field: campaign", "field: campaign, max-bytes: 64"),
        ("field: campaign", "field: campaign, min-subjects: 100"),
        ("field: campaign", "field: campaign, min-subjects: 33, floor: raw"),
        ("field: campaign", "field: campaign, public: [ab, c]"),
        ("field: campaign", "field: campaign, public: [a, bc]"),
        ("decimals: 2, clamp: [0, 500.00]", "decimals: 1, clamp: [0, 5000.0]"),
        ("clamp: [0, 500.00]", "clamp: [0, 499.99]"),
        ("field: amount", "field: amount, name: total"),
        (
            "share: 0.5 }\n  - { what: count, share: 0.25",
            "share: 0.51 }\n  - { what: count, share: 0.24",
        ),
        ("release:\n", "smoothing: { half-life: 2 }\nrelease:\n"),
    ];
    let mut seen = vec![digest(&[])];
    for edit in other {
        let digest = digest(&[edit]);
        assert!(!seen.contains(&digest), "{edit:?}");
        seen.push(digest);
    }
}

/// The example of the manual is a whole bundle, and nobody has anything to say about it.
#[test]
fn the_example_of_the_manual_compiles() {
    let manual = include_str!("../../docs/POLICY-LANGUAGE.md");
    let section = manual.split("## Noisy totals: `Release`").nth(1).unwrap();
    let example = section.split("```yaml\n").find(|b| b.contains("kind: Vocabulary")).unwrap();
    let sources = [Source::new("manual.yaml", example.split("```").next().unwrap())];
    let report = check(&sources, NOW);
    assert!(report.diagnostics.is_empty(), "{}", report.render(&sources));
    assert_eq!(Bundle::compile(&sources).unwrap().releases(NOW).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_a_release_panic(cut in 0..700_usize, drop in 0..24_usize, glue in "[-:{}\\[\\]. \n0-9a-zA-Z#,/]{0,24}") {
        let text: String = RELEASE.chars().take(cut).chain(glue.chars()).chain(RELEASE.chars().skip(cut + drop)).collect();
        let sources = sources(WORDS, &text);
        let report = check(&sources, NOW);
        prop_assert_eq!(Bundle::compile(&sources).is_err(), report.has_errors());
    }

    #[test]
    fn no_number_makes_a_release_panic_or_overspend(
        epsilon in "[0-9]{1,2}(\\.[0-9]{1,9})?",
        delta in 6..18_u32,
        k in 1..288_u32,
        l0 in 1..10_000_u32,
        r in 1..1_000_000_u32,
        decimals in 0..9_u8,
        hi in 1..1_000_000_000_i64,
        pure in any::<bool>(),
    ) {
        let accounting = if pure { "pure" } else { "zcdp" };
        let text = edited(RELEASE, &[
            ("epsilon: 4.0, delta: 1e-9", &format!("epsilon: {epsilon}, delta: 1e-{delta}, accounting: {accounting}")),
            ("windows-per-period: 10", &format!("windows-per-period: {k}")),
            ("keys-per-window: 2", &format!("keys-per-window: {l0}")),
            ("records-per-key: 3", &format!("records-per-key: {r}")),
            ("decimals: 2, clamp: [0, 500.00]", &format!("decimals: {decimals}, clamp: [-1, {hi}]")),
        ]);
        let Ok(bundle) = Bundle::compile(&sources(WORDS, &text)) else { return Ok(()) };
        for plan in bundle.releases(NOW) {
            let spent = |n: u64| n.checked_mul(u64::from(k)).unwrap();
            prop_assert!(spent(plan.cost.loss) <= plan.cap.loss && spent(plan.cost.delta) <= plan.cap.delta);
            prop_assert!(plan.outputs.iter().all(|o| noise_sd(o.noise) > 0.0));
        }
    }
}

#[test]
fn a_release_where_no_record_may_be_held_counts_nothing() {
    let nyc = ("regions: [", "regions: [{ id: nyc, jurisdiction: DE, recipient: eu }, ");
    let there = edited(RELEASE, &[("topic: totals", "topic: totals\nregion: nyc")]);
    let said = |edits: &[(&str, &str)]| findings(&sources(&edited(WORDS, edits), &there));
    assert_eq!(
        said(&[nyc, ("deliver-to: [home]", "deliver-to: [fra]")]),
        [
            "W r3: totals: the release `totals` counts nothing: records of `clicks` are not held in `nyc` / add `nyc` to the `deliver-to` of `clicks`, or make the release in another region"
        ],
    );
    assert!(said(&[nyc]).is_empty());
    assert!(
        said(&[nyc, ("deliver-to: [home]", "deliver-to: [fra]\nif-blocked: stay-home")]).is_empty()
    );
}

#[test]
fn many_readers_of_both_are_one_finding() {
    let words = edited(
        WORDS,
        &[
            (
                "{ id: ana }",
                "{ id: ana, member-of: [team.a] }, { id: bea, member-of: [team.a] }, { id: cyn, member-of: [team.a] }",
            ),
            ("who: [ana]", "who: [team.a]"),
            ("datasets: [totals]", "datasets: [totals, clicks]"),
            ("records: releases-only\n", "unlisted: keep\n"),
            (
                "kind: Dataset\nmetadata: { name: clicks }",
                "kind: Dataset\nbecause: nothing else is personal\nmetadata: { name: clicks }",
            ),
        ],
    );
    let said = findings(&sources(&words, RELEASE));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0]
            .contains("`ana` and 3 more may read the release `totals` and the records it counts"),
        "{said:?}"
    );
}

#[test]
fn a_field_that_nobody_classified_is_judged_by_its_name() {
    let words = edited(
        WORDS,
        &[
            ("deliver-to: [home]", "deliver-to: [home]\nunlisted: keep"),
            (
                "kind: Dataset\nmetadata: { name: clicks }",
                "kind: Dataset\nbecause: nothing else is personal\nmetadata: { name: clicks }",
            ),
        ],
    );
    let said = |field: &str| {
        let release = edited(RELEASE, &[("field: campaign", &format!("field: {field}"))]);
        findings(&sources(&words, &release)).len()
    };
    assert_eq!((said("device.type"), said("deviceId"), said("\"header:x-client-ip\"")), (0, 1, 1));
}

#[test]
fn a_list_of_rows_has_an_end() {
    let rows = |n: usize| {
        let all: Vec<_> = (0..n).map(|i| format!("r{i}")).collect();
        let public = format!("field: campaign, public: [{}]", all.join(","));
        findings(&sources(WORDS, &edited(RELEASE, &[("field: campaign", &public)])))
    };
    assert!(rows(100_000).is_empty());
    let said = rows(100_001);
    assert!(
        said.len() == 1 && said[0].contains("`public` lists 100001 rows / list 1 to 100000 values"),
        "{}",
        said.len()
    );
}
