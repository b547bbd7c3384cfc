//! The types a record passes through. Each stage consumes the one before; the fields that prove
//! a stage are private to whoever may make them.
//!
//! INVARIANT: nothing in this file has `Debug`, `Display` or `Serialize` if it can hold a value
//! of a record: what cannot be printed cannot leak into a log.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    sync::Arc,
};

use bytes::Bytes;
use sluicegate_audit::{Appended, Position, message_leaf};
use sluicegate_policies::{JurisdictionId, RefusalCode, RuleName};
use sluicegate_protect::Token;
use sluicegate_releases::Message;

use crate::deliver::{Landing, Outbound, Placed};

/// A request's id; with a record's number in it, it is the decision id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub [u8; 16]);

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One record as a publisher gave it.
pub struct Record {
    pub key: Option<Bytes>,
    pub headers: Vec<(String, Vec<u8>)>,
    /// JSON text; `None` is a tombstone.
    pub value: Option<Bytes>,
}

impl Record {
    pub fn bytes(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
            + headers
    }
}

/// Records of one request, or of one stretch of a streamed one.
pub struct Received {
    pub request: RequestId,
    /// Keyed digest of the caller's address.
    pub origin: [u8; 16],
    /// The number of the first record within its request.
    pub first: u32,
    pub records: Vec<Record>,
}

/// A record whose subject's jurisdiction and declared source are known.
pub struct Classified {
    pub record: Record,
    pub jurisdiction: JurisdictionId,
    pub source: Vec<(Arc<str>, String)>,
    /// When it happened, if the dataset says where that stands.
    pub event_ms: Option<i64>,
}

/// Why a copy of a record exists: the number of a delivery in its route, or of a release among
/// its dataset's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    Delivery(usize),
    Release(usize),
}

/// One copy of a record, protected for one region, or what it brings to a release there.
pub struct Protected {
    pub via: Via,
    pub region: Arc<str>,
    /// The topic it goes to; `None` is the topic that it was published to.
    pub topic: Option<Arc<str>>,
    pub key: Option<Bytes>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub value: Option<Bytes>,
    /// Tokens in this copy, for the ledger's keyed search digests.
    pub tokens: Vec<Token>,
}

/// Why a record was not let through: words of the policy, a place, never a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    pub code: RefusalCode,
    pub rule: Option<RuleName>,
    pub pointer: Option<String>,
    pub detail: Arc<str>,
    pub help: Option<Arc<str>>,
}

impl Refused {
    pub fn at(pointer: Option<String>, refusal: &sluicegate_policies::Refusal) -> Self {
        Self {
            code: refusal.code,
            rule: refusal.rule.clone(),
            pointer,
            detail: refusal.detail.clone(),
            help: refusal.help.clone(),
        }
    }
}

/// The one fate of a record.
pub enum Fate {
    /// One copy a delivery of the route for this jurisdiction, in the route's order.
    /// Behind them, what it brings to releases.
    Deliver {
        jurisdiction: JurisdictionId,
        copies: Vec<Protected>,
    },
    /// For releases only; the copies are what it brings to them, perhaps nothing.
    Aggregate {
        jurisdiction: JurisdictionId,
        copies: Vec<Protected>,
    },
    Refuse(Refused),
}

impl Fate {
    /// What goes out.
    pub fn copies(&self) -> &[Protected] {
        match self {
            Self::Deliver { copies, .. } | Self::Aggregate { copies, .. } => copies,
            Self::Refuse(_) => &[],
        }
    }
}

/// A record with its fate, ready to be recorded.
pub struct Judged {
    pub fate: Fate,
    pub source: Vec<(Arc<str>, String)>,
    pub not_counted: Vec<NotCounted>,
}

/// What of a record counts in no window of a release. Words of the plan, never a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotCounted {
    pub release: Arc<str>,
    pub why: Uncounted,
}

/// Why a record counts in no window of a release, or not in a sum of it. A function of that
/// record, the plan and its arrival, so that its publisher may know it: it says nothing about
/// other records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Uncounted {
    /// The record may not be held in the release's region.
    Elsewhere,
    NoSubject,
    NoKey,
    UnlistedKey,
    LongKey,
    /// Its window was over when it arrived.
    Late,
    /// It counts, but adds nothing to the sum of this name.
    NoNumber(Arc<str>),
}

impl Uncounted {
    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Elsewhere => "not-in-region",
            Self::NoSubject => "no-subject",
            Self::NoKey => "no-key",
            Self::UnlistedKey => "key-not-listed",
            Self::LongKey => "key-too-long",
            Self::Late => "late",
            Self::NoNumber(_) => "not-a-number",
        }
    }
}

impl fmt::Display for Uncounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Elsewhere => "the record may not be held in the release's region",
            Self::NoSubject => "the record has no subject, and the release drops such records",
            Self::NoKey => "the record has no key of the release",
            Self::UnlistedKey => "the record's key is not among the release's public keys",
            Self::LongKey => "the record's key is longer than the release's `max-bytes`",
            Self::Late => "the record's window was over when it arrived",
            Self::NoNumber(sum) => {
                return write!(f, "the record adds nothing to `{sum}`: the field holds no number");
            }
        })
    }
}

/// Records whose fate the ledger holds durably. Only an [`Appended`], which only the ledger
/// makes, or the position of an earlier one, makes a `Recorded`.
pub struct Recorded {
    topic: Arc<str>,
    first: Position,
    judged: Vec<Judged>,
}

/// Proof that an outbound copy comes out of a [`Recorded`].
#[derive(Clone, Copy)]
pub struct IsRecorded(());

impl IsRecorded {
    /// For tests of an engine alone.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self(())
    }

    /// For the benchmark of a pipeline without a ledger: `benches/publish.rs`. No code of the
    /// gateway calls it; a test of the house looks for that.
    #[doc(hidden)]
    pub fn for_benchmark() -> Self {
        Self(())
    }
}

/// The copies for one region, in order.
pub struct ToRegion {
    pub region: Arc<str>,
    pub outbound: Vec<Outbound>,
}

impl Recorded {
    pub(crate) fn new(topic: Arc<str>, appended: &Appended, judged: Vec<Judged>) -> Self {
        Self { topic, first: appended.first(), judged }
    }

    /// Records of an intent that is in the ledger already: a retried request resumes under the
    /// positions that it had.
    pub(crate) fn resumed(topic: Arc<str>, first: Position, judged: Vec<Judged>) -> Self {
        Self { topic, first, judged }
    }

    /// What is left to deliver when these copies have landed.
    pub fn outbound_without(&self, landed: &[Landing]) -> Vec<ToRegion> {
        let landed: HashSet<(u32, &Arc<str>, &Arc<str>)> =
            landed.iter().map(|l| (l.leaf, &l.region, &l.topic)).collect();
        let mut batches = self.by_region();
        for ToRegion { region, outbound } in &mut batches {
            outbound.retain(|o| !landed.contains(&(o.position.leaf, region, &o.topic)));
        }
        batches
    }

    pub fn first(&self) -> Position {
        self.first
    }

    /// The position of the n-th record.
    pub fn position(&self, n: usize) -> Position {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        Position { leaf: self.first.leaf.saturating_add(n), ..self.first }
    }

    pub fn judged(&self) -> &[Judged] {
        &self.judged
    }

    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The outbound copies, grouped by region, in record order. Cheap: bytes are shared.
    pub fn by_region(&self) -> Vec<ToRegion> {
        let mut regions: BTreeMap<&Arc<str>, Vec<Outbound>> = BTreeMap::new();
        for (n, judged) in self.judged.iter().enumerate() {
            for copy in judged.fate.copies() {
                regions.entry(&copy.region).or_default().push(Outbound {
                    position: self.position(n),
                    topic: copy.topic.as_ref().unwrap_or(&self.topic).clone(),
                    key: copy.key.clone(),
                    headers: copy.headers.clone(),
                    value: copy.value.clone(),
                    proof: IsRecorded(()),
                });
            }
        }
        let batch =
            |(region, outbound): (&Arc<str>, _)| ToRegion { region: region.clone(), outbound };
        regions.into_iter().map(batch).collect()
    }
}

/// A release whose bytes the ledger holds durably: each message has a position of its own in the
/// release's row, whenever it goes out. Only the account makes one, of what the ledger has.
pub struct Released {
    topic: Arc<str>,
    region: Arc<str>,
    at: Position,
    messages: Vec<Message>,
}

impl Released {
    pub(crate) fn new(
        topic: Arc<str>,
        region: Arc<str>,
        at: Position,
        messages: Vec<Message>,
    ) -> Self {
        Self { topic, region, at, messages }
    }

    pub fn at(&self) -> Position {
        self.at
    }

    pub fn positions(&self) -> BTreeSet<Position> {
        (0_u32..).zip(&self.messages).map(|(n, _)| self.position(n)).collect()
    }

    fn position(&self, n: u32) -> Position {
        Position { leaf: message_leaf(self.at.leaf, n), ..self.at }
    }

    /// The messages that do not stand in the topic yet.
    pub fn without(&self, placed: &BTreeMap<Position, Placed>) -> ToRegion {
        let outbound = (0_u32..).zip(&self.messages).map(|(n, message)| Outbound {
            position: self.position(n),
            topic: self.topic.clone(),
            key: Some(Bytes::copy_from_slice(&message.key)),
            headers: Vec::new(),
            value: Some(Bytes::copy_from_slice(&message.value)),
            proof: IsRecorded(()),
        });
        let outbound = outbound.filter(|o| !placed.contains_key(&o.position)).collect();
        ToRegion { region: self.region.clone(), outbound }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// The door for the benchmark stays shut for the gateway's own code.
    #[test]
    fn no_code_of_the_gateway_forges_the_proof() {
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let (mut files, mut users) = (0, Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                files += 1;
                if std::fs::read_to_string(&path).unwrap().contains("for_benchmark()") {
                    users.push(path);
                }
            }
        }
        assert!(files > 30);
        assert_eq!(users, [Path::new(env!("CARGO_MANIFEST_DIR")).join("src/record.rs")]);
    }
}
