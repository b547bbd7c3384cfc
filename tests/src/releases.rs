//! Releases as a stranger sees them: a bundle of policies whose noise is next to nothing, what a known stream
//! comes to under it, the messages of a release's topic, and a judge over all of it.
//!
//! The bounds are computed here once more, from the words of the policy language and not with the gateway's
//! code. With epsilon near 50 and sensitivities of one or two, a noisy number differs from the true one about
//! once in a million draws, so that totals can be compared exactly.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

const DAY_MS: i64 = 86_400_000;

/// What a bundle releases, of one dataset, about one row a ward.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its name and its topic; also in the names of its dataset, and of the dataset's topic.
    pub release: String,
    pub pane_ms: i64,
    pub lateness_ms: i64,
    pub slack_ms: i64,
    pub skew_ms: i64,
    /// Each pane is released a second time, so long after the first.
    pub revised_after_ms: Option<i64>,
    pub wards: Wards,
    /// In so many windows of a day a subject counts: those in which it comes first.
    pub windows: usize,
    /// In so many wards of a window, the first to come.
    pub wards_per_window: usize,
    /// With so many records in each.
    pub records: usize,
    /// The sum of what a record says, clamped; without it subjects and records are counted.
    pub sum: Option<(i64, i64)>,
    /// Whether records go on to the dataset's own topic.
    pub delivered: bool,
}

/// What rows there are.
#[derive(Clone, Debug)]
pub enum Wards {
    Public(Vec<&'static str>),
    /// Those with at least so many subjects.
    Unknown(u32),
}

/// Whom the bundle knows. `reader` may read the release; `stranger` nothing.
pub const PRINCIPALS: [&str; 3] = ["app", "reader", "stranger"];
/// The one region.
pub const REGION: &str = "fra";

impl Spec {
    /// Subjects and records of three wards that everybody knows.
    pub fn counting(release: &str) -> Self {
        Self {
            release: release.to_owned(),
            pane_ms: 1_000,
            lateness_ms: 200,
            slack_ms: 300,
            skew_ms: 20_000,
            revised_after_ms: None,
            wards: Wards::Public(vec!["north", "south", "west"]),
            windows: 1,
            wards_per_window: 1,
            records: 2,
            sum: None,
            delivered: false,
        }
    }

    /// The dataset that is counted, and its topic.
    pub fn dataset(&self) -> String {
        format!("{}-raw", self.release)
    }

    pub fn contributions(&self) -> String {
        format!("{}.contributions", self.release)
    }

    /// The start of the pane that holds a moment.
    pub fn pane(&self, ms: i64) -> i64 {
        ms.div_euclid(self.pane_ms) * self.pane_ms
    }

    pub fn revisions(&self) -> std::ops::RangeInclusive<u32> {
        0..=u32::from(self.revised_after_ms.is_some())
    }

    /// From when on records are late for a revision of a pane.
    pub fn closes_ms(&self, pane_ms: i64, revision: u32) -> i64 {
        let revised = i64::from(revision) * self.revised_after_ms.unwrap_or(0);
        pane_ms + self.pane_ms + self.lateness_ms + revised
    }

    /// When a revision of a pane is to be released.
    pub fn fires_ms(&self, pane_ms: i64, revision: u32) -> i64 {
        self.closes_ms(pane_ms, revision) + self.slack_ms
    }

    /// What is published of a row, by name.
    pub fn outputs(&self) -> &'static [&'static str] {
        if self.sum.is_some() { &["amount"] } else { &["subjects", "count"] }
    }

    fn documents(&self) -> String {
        let Self { release, pane_ms, lateness_ms, slack_ms, skew_ms, .. } = self;
        let dataset = self.dataset();
        let (keys, delta) = match &self.wards {
            Wards::Public(wards) => {
                (format!("{{ field: ward, public: [{}] }}", wards.join(", ")), "")
            }
            Wards::Unknown(least) => {
                (format!("{{ field: ward, min-subjects: {least}, floor: noisy }}"), ", delta: 1e-9")
            }
        };
        let outputs = match self.sum {
            None => {
                "  - { what: subjects, share: 0.4 }\n  - { what: count, share: 0.6 }\n".to_owned()
            }
            Some((lo, hi)) => {
                format!("  - {{ what: sum, share: 1, field: amount, clamp: [{lo}, {hi}] }}\n")
            }
        };
        let late = self
            .revised_after_ms
            .map(|after_ms| format!(", late: revise, revisions: 1, revise-after: {after_ms}ms"));
        let late = late.unwrap_or_default();
        let records = if self.delivered { "deliver" } else { "releases-only" };
        format!(
            "---
apiVersion: sluicegate/v1
kind: Dataset
metadata: {{ name: {dataset} }}
topics: [{dataset}]
fields: {{ user.id: user.id, ward: shop.ward, amount: shop.amount }}
jurisdiction: {{ fixed: DE }}
deliver-to: [home]
event-time: {{ field: at, unit: ms }}
records: {records}
---
apiVersion: sluicegate/v1
kind: Release
metadata: {{ name: {release}, citations: [test] }}
because: totals are looked at, so nearly nothing of them may be noise
dataset: {dataset}
topic: {release}
unit: {{ subject: user.id, domain: users, period: 24h }}
budget: {{ epsilon: 50{delta}, accounting: pure }}
window: {{ size: {pane_ms}ms, lateness: {lateness_ms}ms, slack: {slack_ms}ms, max-skew: {skew_ms}ms{late} }}
bounds: {{ windows-per-period: {}, keys-per-window: {}, records-per-key: {}, choose: first }}
keys: {keys}
release:
{outputs}",
            self.windows, self.wards_per_window, self.records
        )
    }
}

/// A bundle in one file: the words, who may do what, and the releases.
pub fn policies(specs: &[&Spec]) -> String {
    let raw: Vec<String> = specs.iter().map(|spec| spec.dataset()).collect();
    let released: Vec<&str> = specs.iter().map(|spec| spec.release.as_str()).collect();
    let principals: Vec<String> = PRINCIPALS.map(|name| format!("{{ id: {name} }}")).into();
    let documents: String = specs.iter().map(|spec| spec.documents()).collect();
    format!(
        "apiVersion: sluicegate/v1
kind: Vocabulary
metadata: {{ name: words }}
categories: [{{ id: user.id }}, {{ id: shop.ward }}, {{ id: shop.amount }}]
recipients: [{{ id: house }}]
principals: [{}]
jurisdictions: [{{ code: DE }}]
regions: [{{ id: {REGION}, jurisdiction: DE, recipient: house }}]
---
apiVersion: sluicegate/v1
kind: Purpose
metadata: {{ name: service }}
---
apiVersion: sluicegate/v1
kind: TokenDomain
metadata: {{ name: users }}
normalize: exact
scope: global
key: users-2026
---
apiVersion: sluicegate/v1
kind: AccessRule
metadata: {{ name: app-publishes, citations: [test] }}
because: records come from somewhere
who: [app]
may: [publish]
datasets: [{}]
purposes: [service]
---
apiVersion: sluicegate/v1
kind: AccessRule
metadata: {{ name: reader-reads, citations: [test] }}
because: totals are for somebody
who: [reader]
may: [read]
datasets: [{}]
purposes: [service]
{documents}",
        principals.join(", "),
        raw.join(", "),
        released.join(", ")
    )
}

/// One record of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub subject: String,
    pub ward: String,
    pub at_ms: i64,
    pub amount: i64,
}

impl Sent {
    pub fn new(subject: impl Into<String>, ward: impl Into<String>, at_ms: i64) -> Self {
        Self { subject: subject.into(), ward: ward.into(), at_ms, amount: 1 }
    }

    /// As it is published.
    pub fn json(&self) -> Value {
        let Self { subject, ward, at_ms, amount } = self;
        json!({ "value": { "user": { "id": subject }, "ward": ward, "amount": amount, "at": at_ms } })
    }
}

/// The numbers of a row, in the order of [`Spec::outputs`].
pub type Numbers = Vec<i64>;
/// Rows by ward.
pub type Rows = BTreeMap<String, Numbers>;

/// What records come to, by pane, if each arrives in time and a subject's in this order.
pub fn expected(spec: &Spec, stream: &[Sent]) -> BTreeMap<i64, Rows> {
    let mut windows: BTreeMap<(&str, i64), BTreeSet<i64>> = BTreeMap::new();
    let mut counted: BTreeMap<(&str, i64), BTreeMap<&str, usize>> = BTreeMap::new();
    let mut panes: BTreeMap<i64, Rows> = BTreeMap::new();
    for sent in stream {
        if matches!(&spec.wards, Wards::Public(wards) if !wards.contains(&sent.ward.as_str())) {
            continue;
        }
        let (subject, pane) = (sent.subject.as_str(), spec.pane(sent.at_ms));
        let windows = windows.entry((subject, pane.div_euclid(DAY_MS))).or_default();
        if !windows.contains(&pane) && windows.len() == spec.windows {
            continue;
        }
        windows.insert(pane);
        let wards = counted.entry((subject, pane)).or_default();
        if !wards.contains_key(sent.ward.as_str()) && wards.len() == spec.wards_per_window {
            continue;
        }
        let records = wards.entry(&sent.ward).or_default();
        if *records == spec.records {
            continue;
        }
        *records += 1;
        let row = panes.entry(pane).or_default().entry(sent.ward.clone());
        let row = row.or_insert_with(|| vec![0; spec.outputs().len()]);
        match spec.sum {
            Some((lo, hi)) => row[0] += sent.amount.clamp(lo, hi),
            None => {
                row[0] += i64::from(*records == 1);
                row[1] += 1;
            }
        }
    }
    if let Wards::Unknown(least) = spec.wards {
        for rows in panes.values_mut() {
            rows.retain(|_, numbers| numbers[0] >= i64::from(least));
        }
    }
    panes
}

/// A message of a release's topic, as it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub partition: i64,
    pub offset: i64,
    /// When it was written, where the reader knows.
    pub t_ms: Option<i64>,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    /// The `sluicegate-position`, in hexadecimal digits.
    pub position: String,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub release_id: String,
    pub pane: (i64, i64),
    pub revision: u64,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Row {
        number: usize,
        ward: String,
        numbers: Numbers,
    },
    /// The end of a pane, and how many rows it has.
    End {
        rows: usize,
    },
}

/// Reads a message of this release; `None` if it is none.
pub fn read(spec: &Spec, value: &[u8]) -> Option<Said> {
    let json: Value = serde_json::from_slice(value).ok()?;
    if json["release"] != spec.release.as_str() {
        return None;
    }
    let number = |value: &Value| usize::try_from(value.as_u64()?).ok();
    let what = match json["type"].as_str()? {
        "row" => What::Row {
            number: number(&json["row"])?,
            ward: json["key"].as_str()?.to_owned(),
            numbers: spec
                .outputs()
                .iter()
                .map(|name| json["values"][name].as_i64())
                .collect::<Option<_>>()?,
        },
        "window" => What::End { rows: number(&json["rows"])? },
        _ => return None,
    };
    Some(Said {
        release_id: json["release_id"].as_str()?.to_owned(),
        pane: (json["window"]["start_ms"].as_i64()?, json["window"]["end_ms"].as_i64()?),
        revision: json["revision"].as_u64()?,
        what,
    })
}

/// What is left of a run, read without the gateway.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The release's topic, whole.
    pub messages: Vec<Message>,
    /// Releases that stand in the ledger: id, start of the pane, whether known to be published.
    pub released: Vec<(String, i64, bool)>,
    /// Ids that were charged.
    pub charged: Vec<String>,
    /// Panes that the ledger says are not released, and why.
    pub refused: Vec<(i64, String)>,
    /// Releases that lost against another of their id and were never published.
    pub void: usize,
    /// When each release was recorded, by the start of its pane.
    pub recorded: Vec<(i64, i64)>,
    /// What `ledger verify` said, if that is not "intact".
    pub diverges: Option<String>,
}

impl Evidence {
    /// How long after it was due the latest release of a revision was recorded: after its time, or after a
    /// gateway was started that was not there then.
    pub fn overdue_ms(&self, spec: &Spec, revision: u32, started_ms: &[i64]) -> i64 {
        let overdue = self.recorded.iter().map(|(pane, at)| {
            let started = started_ms.iter().filter(|started| *started <= at).max();
            at - spec.fires_ms(*pane, revision).max(started.copied().unwrap_or(0))
        });
        overdue.max().unwrap_or(0)
    }
}

/// What a pane should say: exactly this, or, where nobody knows what arrived in time, something between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    pub least: Rows,
    pub most: Rows,
}

impl Expected {
    pub fn exactly(panes: BTreeMap<i64, Rows>) -> BTreeMap<i64, Self> {
        let one = |(pane, rows): (i64, Rows)| (pane, Self { least: rows.clone(), most: rows });
        panes.into_iter().map(one).collect()
    }

    /// Subjects that are each in one pane and one ward, with at most `records` records: what is sure to count,
    /// and what may.
    pub fn between(spec: &Spec, sure: &[Sent], perhaps: &[Sent]) -> BTreeMap<i64, Self> {
        let all = [sure, perhaps].concat();
        let (mut least, most) = (expected(spec, sure), expected(spec, &all));
        let both = |(pane, most)| {
            let least = least.remove(&pane).unwrap_or_default();
            (pane, Self { least, most })
        };
        most.into_iter().map(both).collect()
    }
}

/// Numbers of a judgment, for whoever reads a campaign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub panes: usize,
    pub rows: usize,
    /// Messages that stand in the topic more than once, byte for byte the same.
    pub repeated: usize,
    pub refused: usize,
    pub void: usize,
    /// By how much the latest release was overdue.
    pub overdue_ms: i64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.panes += other.panes;
        self.rows += other.rows;
        self.repeated += other.repeated;
        self.refused += other.refused;
        self.void += other.void;
        self.overdue_ms = self.overdue_ms.max(other.overdue_ms);
    }
}

/// Everything that must be true when the panes from the first to the one that starts at `last_ms` are over;
/// what is not, in words.
pub fn judge(
    spec: &Spec,
    expected: &BTreeMap<i64, Expected>,
    evidence: &Evidence,
    last_ms: i64,
) -> (Vec<String>, Tally) {
    let mut wrong = Vec::new();
    if let Some(verdict) = &evidence.diverges {
        wrong.push(format!("the ledger does not verify: {verdict}"));
    }
    let said = once(spec, evidence, &mut wrong);
    recorded(&said, evidence, &mut wrong);
    charged(evidence, &mut wrong);
    let panes = whole(&said, evidence, &mut wrong);
    without_gaps(spec, &panes, evidence, last_ms, &mut wrong);
    as_expected(spec, &panes, expected, evidence, last_ms, &mut wrong);
    let tally = Tally {
        panes: panes.len(),
        rows: panes.values().map(BTreeMap::len).sum(),
        repeated: evidence.messages.len().saturating_sub(said.len()),
        refused: evidence.refused.len(),
        void: evidence.void,
        overdue_ms: 0,
    };
    (wrong, tally)
}

/// What messages say, by their ids; messages of one id are the same, byte for byte.
fn once(spec: &Spec, evidence: &Evidence, wrong: &mut Vec<String>) -> BTreeMap<String, Said> {
    let mut first: BTreeMap<&[u8], &Message> = BTreeMap::new();
    let mut said = BTreeMap::new();
    for message in &evidence.messages {
        let id = String::from_utf8_lossy(&message.key).into_owned();
        let Some(one) = read(spec, &message.value) else {
            wrong.push(format!("{id}: not a message of {}", spec.release));
            continue;
        };
        let suffix = match &one.what {
            What::Row { number, .. } => number.to_string(),
            What::End { .. } => "end".to_owned(),
        };
        if id != format!("{}-{suffix}", one.release_id) {
            wrong.push(format!("{id}: is under a key that is not its id"));
        }
        let earlier = first.entry(&message.key).or_insert(message);
        if earlier.value != message.value {
            wrong.push(format!("{id}: is there twice with different bytes"));
        }
        if earlier.position != message.position {
            wrong.push(format!("{id}: is there under two ledger positions"));
        }
        said.insert(id, one);
    }
    said
}

/// Nothing is in the topic whose release is not in the ledger.
fn recorded(said: &BTreeMap<String, Said>, evidence: &Evidence, wrong: &mut Vec<String>) {
    let standing: BTreeMap<&str, i64> =
        evidence.released.iter().map(|(id, start, _)| (id.as_str(), *start)).collect();
    for (id, said) in said {
        match standing.get(said.release_id.as_str()) {
            None => wrong.push(format!("{id}: published, and not in the ledger")),
            Some(start) if *start != said.pane.0 => {
                wrong.push(format!("{id}: of {}, in the ledger of {start}", said.pane.0));
            }
            Some(_) => {}
        }
    }
}

/// One charge a pane: each release has one, and no more than the pane under way has one without a release.
fn charged(evidence: &Evidence, wrong: &mut Vec<String>) {
    let charges: BTreeSet<&str> = evidence.charged.iter().map(String::as_str).collect();
    let mut panes = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for (id, start, _) in &evidence.released {
        if !charges.contains(id.as_str()) {
            wrong.push(format!("{id}: released, and not charged"));
        }
        if !panes.insert(start) {
            wrong.push(format!("the pane {start} was released twice"));
        }
        ids.insert(id.as_str());
    }
    let without = charges.iter().filter(|id| !ids.contains(*id)).count();
    if without > 1 || charges.len() != evidence.charged.len() {
        let (all, releases) = (evidence.charged.len(), ids.len());
        wrong.push(format!("{all} charges for {releases} releases"));
    }
}

/// The rows of each pane, all there, and its end.
fn whole(
    said: &BTreeMap<String, Said>,
    evidence: &Evidence,
    wrong: &mut Vec<String>,
) -> BTreeMap<i64, Rows> {
    let mut rows: BTreeMap<i64, BTreeMap<usize, (String, Numbers)>> = BTreeMap::new();
    let mut ends: BTreeMap<i64, usize> = BTreeMap::new();
    for said in said.values() {
        let start = said.pane.0;
        let rows = rows.entry(start).or_default();
        match &said.what {
            What::End { rows } => drop(ends.insert(start, *rows)),
            What::Row { number, ward, numbers } => {
                rows.insert(*number, (ward.clone(), numbers.clone()));
            }
        }
    }
    for (start, rows) in &rows {
        if ends.get(start) != Some(&rows.len()) || !rows.keys().copied().eq(0..rows.len()) {
            let published = evidence.released.iter().any(|(_, at, done)| at == start && *done);
            let newest = evidence.released.iter().all(|(_, at, _)| at <= start);
            // The last one may have been under way when everything ended.
            if published || !newest {
                wrong.push(format!("the pane {start} is not complete"));
            }
        }
    }
    rows.into_iter().map(|(start, rows)| (start, rows.into_values().collect())).collect()
}

/// Every pane is there, or the ledger says why not.
fn without_gaps(
    spec: &Spec,
    panes: &BTreeMap<i64, Rows>,
    evidence: &Evidence,
    last_ms: i64,
    wrong: &mut Vec<String>,
) {
    let refused: BTreeSet<i64> = evidence.refused.iter().map(|(start, _)| *start).collect();
    let first = panes.keys().chain(&refused).min().copied();
    let Some(mut at) = first else {
        wrong.push("nothing was released".to_owned());
        return;
    };
    while at <= last_ms {
        if panes.contains_key(&at) == refused.contains(&at) {
            let both = if refused.contains(&at) { "released and refused" } else { "missing" };
            wrong.push(format!("the pane {at} is {both}"));
        }
        at += spec.pane_ms;
    }
}

/// The numbers are those of the stream.
fn as_expected(
    spec: &Spec,
    panes: &BTreeMap<i64, Rows>,
    expected: &BTreeMap<i64, Expected>,
    evidence: &Evidence,
    last_ms: i64,
    wrong: &mut Vec<String>,
) {
    let nothing = Expected::default();
    for (start, rows) in panes {
        let Expected { least, most } = expected.get(start).unwrap_or(&nothing);
        let zero = vec![0; spec.outputs().len()];
        let wards: BTreeSet<&str> = match &spec.wards {
            Wards::Public(wards) => wards.iter().copied().collect(),
            Wards::Unknown(_) => most.keys().map(String::as_str).collect(),
        };
        if *start <= last_ms && !rows.keys().map(String::as_str).eq(wards.iter().copied()) {
            wrong.push(format!("the pane {start} has the rows {:?}", rows.keys()));
        }
        for (ward, numbers) in rows {
            let (least, most) = (least.get(ward).unwrap_or(&zero), most.get(ward).unwrap_or(&zero));
            let mut three = numbers.iter().zip(least).zip(most);
            if !three.all(|((number, least), most)| (least..=most).contains(&number)) {
                wrong.push(format!("{start} {ward}: {numbers:?}, not {least:?} to {most:?}"));
            }
        }
    }
    for start in expected.keys().filter(|start| **start <= last_ms) {
        let refused = evidence.refused.iter().any(|(at, _)| at == start);
        if !refused && !panes.contains_key(start) {
            wrong.push(format!("the pane {start} has records and was not released"));
        }
    }
}

/// Milliseconds since 1970, by the clock that the gateway has as well.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_795_392_000_000;

    fn rows(of: &[(&str, [i64; 2])]) -> Rows {
        of.iter().map(|(ward, numbers)| ((*ward).to_owned(), numbers.to_vec())).collect()
    }

    #[test]
    fn a_subject_counts_as_far_as_it_is_bound_and_no_further() {
        let spec = Spec::counting("r");
        let at = |pane: i64, n: i64| START + pane * 1_000 + n;
        let stream = [
            Sent::new("a", "north", at(1, 5)),
            Sent::new("a", "south", at(1, 0)), // a second ward
            Sent::new("a", "north", at(1, 7)),
            Sent::new("a", "north", at(1, 8)), // a third record
            Sent::new("a", "north", at(0, 0)), // a second window
            Sent::new("a", "north", at(86_400, 0)), // another day
            Sent::new("b", "north", at(1, 999)),
            Sent::new("b", "elsewhere", at(0, 0)), // no row
            Sent::new("c", "west", at(2, 0)),
        ];
        let panes = expected(&spec, &stream);
        assert_eq!(
            panes,
            BTreeMap::from([
                (at(1, 0), rows(&[("north", [2, 3])])),
                (at(2, 0), rows(&[("west", [1, 1])])),
                (at(86_400, 0), rows(&[("north", [1, 1])])),
            ])
        );
        let few = Spec { wards: Wards::Unknown(2), ..spec.clone() };
        assert_eq!(expected(&few, &stream)[&at(1, 0)], rows(&[("north", [2, 3])]));
        assert!(expected(&few, &stream)[&at(2, 0)].is_empty());
        let sum = Spec { sum: Some((-1, 5)), ..spec };
        let stream =
            [Sent { amount: 900, ..stream[0].clone() }, Sent { amount: -9, ..stream[2].clone() }];
        assert_eq!(expected(&sum, &stream)[&at(1, 0)]["north"], [4]);
    }

    fn message(spec: &Spec, id: &str, start: i64, what: &What) -> Message {
        let (kind, suffix, more) = match what {
            What::Row { number, ward, numbers } => (
                "row",
                number.to_string(),
                json!({ "row": number, "key": ward,
                        "values": { "subjects": numbers[0], "count": numbers[1] } }),
            ),
            What::End { rows } => ("window", "end".to_owned(), json!({ "rows": rows })),
        };
        let mut value = json!({
            "type": kind, "release": spec.release, "release_id": id, "revision": 0,
            "window": { "start_ms": start, "end_ms": start + spec.pane_ms },
        });
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Message {
            partition: 0,
            offset: 0,
            t_ms: None,
            key: format!("{id}-{suffix}").into_bytes(),
            value: value.to_string().into_bytes(),
            position: format!("{id}{suffix}"),
        }
    }

    /// Three panes: `a` has two subjects in the north, `b` was refused, `c` is empty.
    fn sound() -> (Spec, BTreeMap<i64, Expected>, Evidence) {
        let spec = Spec::counting("r");
        let panes = BTreeMap::from([(START, rows(&[("north", [2, 3])]))]);
        let mut evidence = Evidence {
            released: vec![("a".to_owned(), START, true), ("c".to_owned(), START + 2_000, true)],
            charged: vec!["a".to_owned(), "c".to_owned()],
            refused: vec![(START + 1_000, "aborted".to_owned())],
            ..Evidence::default()
        };
        for (id, start, north) in [("a", START, [2, 3]), ("c", START + 2_000, [0, 0])] {
            for (number, (ward, numbers)) in
                [("north", north), ("south", [0, 0]), ("west", [0, 0])].iter().enumerate()
            {
                let (ward, numbers) = ((*ward).to_owned(), numbers.to_vec());
                let row = What::Row { number, ward, numbers };
                evidence.messages.push(message(&spec, id, start, &row));
            }
            evidence.messages.push(message(&spec, id, start, &What::End { rows: 3 }));
        }
        (spec, Expected::exactly(panes), evidence)
    }

    fn judged(change: impl FnOnce(&mut Evidence)) -> Vec<String> {
        let (spec, expected, mut evidence) = sound();
        change(&mut evidence);
        judge(&spec, &expected, &evidence, START + 2_000).0
    }

    #[test]
    fn what_is_sound_is_found_so() {
        assert_eq!(judged(|_| {}), Vec::<String>::new());
        // Said again, byte for byte; one more pane under way.
        assert_eq!(judged(|e| e.messages.push(e.messages[0].clone())), Vec::<String>::new());
        assert_eq!(judged(|e| e.charged.push("d".to_owned())), Vec::<String>::new());
        let (spec, expected, mut evidence) = sound();
        evidence.messages.push(evidence.messages[0].clone());
        let tally = judge(&spec, &expected, &evidence, START + 2_000).1;
        assert_eq!(
            tally,
            Tally { panes: 2, rows: 6, repeated: 1, refused: 1, void: 0, overdue_ms: 0 }
        );
    }

    /// What an edit of one byte of a message makes of it.
    fn edited(message: &Message, from: &str, to: &str) -> Message {
        let text = String::from_utf8(message.value.clone()).unwrap();
        assert!(text.contains(from), "{text}");
        Message { value: text.replacen(from, to, 1).into_bytes(), ..message.clone() }
    }

    #[test]
    fn each_broken_promise_is_found() {
        let finds = |change: fn(&mut Evidence), what: &str| {
            let wrong = judged(change);
            assert!(wrong.iter().any(|one| one.contains(what)), "{what}: {wrong:?}");
        };
        finds(|e| e.diverges = Some("row 3".to_owned()), "does not verify");
        // Released before it was durable, or charged once too often, or not at all.
        finds(|e| drop(e.released.remove(0)), "not in the ledger");
        finds(|e| e.charged.extend(["d".to_owned(), "e".to_owned()]), "charges for");
        finds(|e| e.charged.push("a".to_owned()), "charges for");
        finds(|e| drop(e.charged.remove(1)), "not charged");
        // Drawn a second time.
        finds(
            |e| e.messages.push(edited(&e.messages[1], "\"count\":0", "\"count\":1")),
            "different bytes",
        );
        finds(
            |e| {
                let again = Message { position: "x".to_owned(), ..e.messages[1].clone() };
                e.messages.push(again);
            },
            "two ledger positions",
        );
        finds(|e| e.released.push(("z".to_owned(), START, true)), "released twice");
        // Under another id, or of another pane.
        finds(|e| e.messages[0].key = b"b-0".to_vec(), "not its id");
        finds(|e| e.released[0].1 += 1, "in the ledger of");
        // Lost, whole or in part.
        finds(|e| e.messages.truncate(4), "2000 is missing");
        finds(|e| e.refused.clear(), "1000 is missing");
        finds(|e| drop(e.messages.remove(2)), "not complete");
        finds(|e| drop(e.messages.remove(3)), "not complete");
        finds(|e| e.refused.push((START, "aborted".to_owned())), "released and refused");
        finds(|e| e.messages.clear(), "missing");
        // Other numbers, other rows, something else.
        finds(|e| e.messages[0] = edited(&e.messages[0], "\"count\":3", "\"count\":4"), "north");
        finds(|e| e.messages[5] = edited(&e.messages[5], "\"count\":0", "\"count\":1"), "south");
        finds(|e| e.messages[1] = edited(&e.messages[1], "south", "east"), "has the rows");
        finds(|e| e.messages[1].value = b"{}".to_vec(), "not a message");
    }

    #[test]
    fn between_what_is_sure_and_what_may_be() {
        let spec = Spec::counting("r");
        let (sure, perhaps) = ([Sent::new("a", "north", START)], [Sent::new("b", "north", START)]);
        let (_, _, mut evidence) = sound();
        let expected = Expected::between(&spec, &sure, &perhaps);
        for (said, fine) in [([0, 0], false), ([1, 1], true), ([2, 2], true), ([3, 3], false)] {
            let numbers = said.to_vec();
            let row = What::Row { number: 0, ward: "north".to_owned(), numbers };
            evidence.messages[0] = message(&spec, "a", START, &row);
            let (wrong, _) = judge(&spec, &expected, &evidence, START + 2_000);
            assert_eq!(wrong.is_empty(), fine, "{said:?}: {wrong:?}");
        }
    }
}
