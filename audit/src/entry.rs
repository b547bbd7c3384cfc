//! What a row can say. Deterministic CBOR by position: arrays of fixed meaning, no maps, no
//! floats. Numbers of variants and fields are the format; a new one gets a new number.

use minicbor::{Decode, Encode};

use crate::Position;

/// A keyed digest made by the caller; the ledger never sees what it stands for.
pub type SearchDigest = [u8; 16];
/// BLAKE3 of a [`Treatment`]'s canonical bytes.
pub type DetailDigest = [u8; 32];

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Entry {
    /// A writer begins.
    #[n(1)]
    WriterOpen(#[n(0)] WriterOpen),
    /// A writer ends in order; its chain is complete.
    #[n(2)]
    WriterClose,
    /// A writer lives though nothing happens, so that silence is visible.
    #[n(3)]
    Heartbeat,
    /// Fates were decided; nothing has left yet.
    #[n(10)]
    Intent(#[n(0)] Intent),
    /// Where an intent's events ended.
    #[n(11)]
    Outcome(#[n(0)] Outcome),
    /// Somebody was shown a stretch of a topic.
    #[n(12)]
    Read(#[n(0)] ReadAccess),
    /// Another policy is in force.
    #[n(20)]
    PolicyActivated(#[n(0)] PolicyActivated),
    /// Somebody asked the ledger.
    #[n(30)]
    LedgerAccess(#[n(0)] LedgerAccess),
    /// Somebody did something to the system.
    #[n(31)]
    Admin(#[n(0)] Admin),
    /// Somebody failed to prove who they are.
    #[n(32)]
    AuthFailure(#[n(0)] AuthFailure),
    /// A request was refused as a whole, before its events were looked at.
    #[n(33)]
    RequestRefused(#[n(0)] RequestRefused),
    /// Events of an intent cross a border.
    #[n(40)]
    Transfer(#[n(0)] Transfer),
    /// Aggregates of one window are fixed, byte for byte; nothing of them has left yet.
    #[n(50)]
    Release(#[n(0)] Box<Release>),
    /// A release that lost against another of the same id; nothing of it was ever published.
    #[n(51)]
    ReleaseVoid(#[n(0)] ReleaseVoid),
    /// A release has left.
    #[n(52)]
    ReleasePublished(#[n(0)] ReleasePublished),
    /// A window that is not released.
    #[n(53)]
    ReleaseRefused(#[n(0)] ReleaseRefused),
    /// Nothing more is charged to a period of an account.
    #[n(54)]
    BudgetBlocked(#[n(0)] BudgetBlocked),
}

impl Entry {
    /// The kind's name, for people and filters.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::WriterOpen(_) => "writer.open",
            Self::WriterClose => "writer.close",
            Self::Heartbeat => "heartbeat",
            Self::Intent(_) => "intent",
            Self::Outcome(_) => "outcome",
            Self::Read(_) => "read",
            Self::PolicyActivated(_) => "policy.activate",
            Self::LedgerAccess(_) => "ledger.access",
            Self::Admin(_) => "admin",
            Self::AuthFailure(_) => "auth.failure",
            Self::RequestRefused(_) => "request.refused",
            Self::Transfer(_) => "transfer",
            Self::Release(_) => "release",
            Self::ReleaseVoid(_) => "release.void",
            Self::ReleasePublished(_) => "release.published",
            Self::ReleaseRefused(_) => "release.refused",
            Self::BudgetBlocked(_) => "budget.blocked",
        }
    }
}

/// Who did it, and how they proved it.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Actor {
    #[n(0)]
    pub id: String,
    #[n(1)]
    pub by: String,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct WriterOpen {
    #[n(0)]
    pub node: String,
    #[n(1)]
    pub software: String,
    /// The newest row of this node's last writer, empty at the first start: a restart continues
    /// the story though it begins a chain of its own.
    #[n(2)]
    pub predecessor: Vec<Predecessor>,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Predecessor {
    #[n(0)]
    pub writer: crate::WriterId,
    #[n(1)]
    pub wseq: u64,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub link: [u8; 32],
}

/// Decided fates of some events of one request. The events are leaves `first_leaf ..
/// first_leaf + events` of the row's flush.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Intent {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub request: [u8; 16],
    #[n(1)]
    pub actor: Actor,
    /// Keyed digest of the caller's address.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub origin: SearchDigest,
    #[n(3)]
    pub purpose: String,
    #[n(4)]
    pub dataset: String,
    #[n(5)]
    pub topic: String,
    #[cbor(n(6), with = "minicbor::bytes")]
    pub policy: [u8; 32],
    /// Rules that let the request in.
    #[n(7)]
    pub rules: Vec<String>,
    /// Digests of the treatments that events refer to by number.
    #[n(8)]
    pub treatments: Vec<Digest32>,
    #[n(9)]
    pub first_leaf: u32,
    #[n(10)]
    pub events: u32,
}

/// A digest in an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Digest32(#[cbor(n(0), with = "minicbor::bytes")] pub DetailDigest);

/// A search digest in an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Digest16(#[cbor(n(0), with = "minicbor::bytes")] pub SearchDigest);

/// What was done to events on their way into one region. Stored once, named by its digest.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Treatment {
    #[n(0)]
    pub region: String,
    #[n(1)]
    pub jurisdiction: String,
    #[n(2)]
    pub rules: Vec<String>,
    /// Field path, what was done to it, and by which rules.
    #[n(3)]
    pub transforms: Vec<FieldTransform>,
    #[n(4)]
    pub keys: Vec<KeyUse>,
    /// At most one: the crossing that this treatment is part of.
    #[n(5)]
    pub transfer: Vec<Crossing>,
    /// Regions that the owner wanted and the policy withheld, with the code.
    #[n(6)]
    pub withheld: Vec<Withheld>,
    /// The topic that these copies go to; `None` is the intent's. Left out of the bytes when
    /// `None`, so that treatments from before it was there keep their digests.
    #[n(7)]
    pub topic: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct FieldTransform {
    #[n(0)]
    pub field: String,
    #[n(1)]
    pub category: String,
    #[n(2)]
    pub transform: String,
    #[n(3)]
    pub rules: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct KeyUse {
    #[n(0)]
    pub key: String,
    #[n(1)]
    pub domain: String,
    #[n(2)]
    pub scope: String,
    #[n(3)]
    pub epoch: u32,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Crossing {
    #[n(0)]
    pub rule: String,
    #[n(1)]
    pub from: String,
    #[n(2)]
    pub to: String,
    #[n(3)]
    pub recipient: String,
    #[n(4)]
    pub mechanism: String,
    #[n(5)]
    pub categories: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Withheld {
    #[n(0)]
    pub region: String,
    #[n(1)]
    pub code: String,
    #[n(2)]
    pub rule: String,
}

/// Events of an intent cross a border under a treatment.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Transfer {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub request: [u8; 16],
    #[n(1)]
    pub treatment: Digest32,
    #[n(2)]
    pub crossing: Crossing,
    #[n(3)]
    pub events: u32,
}

/// One event: a leaf of its flush's tree.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Event {
    /// The event's number within its request.
    #[n(0)]
    pub seq: u32,
    #[n(1)]
    pub fate: Fate,
    /// Declared source metadata, as keyed digests of `KEY=VALUE`.
    #[n(2)]
    pub source: Vec<Digest16>,
    /// Tokens that the event carries, as keyed digests.
    #[n(3)]
    pub tokens: Vec<Digest16>,
}

/// The one fate of an event.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Fate {
    /// Goes out under these treatments (numbers in [`Intent::treatments`]).
    #[n(1)]
    Deliver(#[n(0)] Vec<u32>),
    /// Code, and the rule that refused, or an empty text.
    #[n(2)]
    Refuse(#[n(0)] String, #[n(1)] String),
    /// Set aside for a person; code.
    #[n(3)]
    Quarantine(#[n(0)] String),
    /// Counted into releases only: goes out under these treatments, to topics that nobody
    /// outside reads.
    #[n(4)]
    Aggregate(#[n(0)] Vec<u32>),
}

impl Fate {
    /// The treatments under which copies go out; none for a fate without copies.
    #[must_use]
    pub fn treatments(&self) -> &[u32] {
        match self {
            Self::Deliver(used) | Self::Aggregate(used) => used,
            Self::Refuse(..) | Self::Quarantine(_) => &[],
        }
    }
}

/// Where events of an earlier intent ended. A later outcome of the same events supersedes.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Outcome {
    /// The position of the intent's first event.
    #[n(0)]
    pub of: Position,
    #[n(1)]
    pub placed: Vec<Placement>,
    #[n(2)]
    pub failed: Vec<Failed>,
    /// Whether every event of the intent now has its end.
    #[n(3)]
    pub complete: bool,
}

/// Events in one partition of one region.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Placement {
    #[n(0)]
    pub region: String,
    #[n(1)]
    pub topic: String,
    #[n(2)]
    pub partition: u32,
    /// Leaf and offset of each event, by offset.
    #[n(3)]
    pub at: Vec<At>,
}

impl Placement {
    /// Runs of offsets without a hole: what a store looks records up by.
    pub(crate) fn stretches(&self) -> Vec<(i64, i64)> {
        let mut offsets: Vec<i64> = self.at.iter().map(|at| at.offset).collect();
        offsets.sort_unstable();
        let mut runs: Vec<(i64, i64)> = Vec::new();
        for offset in offsets {
            match runs.last_mut() {
                Some((_, to)) if *to >= offset.saturating_sub(1) => *to = offset,
                _ => runs.push((offset, offset)),
            }
        }
        runs
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct At {
    #[n(0)]
    pub offset: i64,
    #[n(1)]
    pub leaf: u32,
}

/// Events that did not arrive in a region.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Failed {
    #[n(0)]
    pub region: String,
    #[n(1)]
    pub code: String,
    #[n(2)]
    pub leaves: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct ReadAccess {
    #[n(0)]
    pub actor: Actor,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub origin: SearchDigest,
    #[n(2)]
    pub purpose: String,
    #[n(3)]
    pub dataset: String,
    #[n(4)]
    pub region: String,
    #[n(5)]
    pub topic: String,
    #[n(6)]
    pub partition: u32,
    #[n(7)]
    pub offset_from: i64,
    #[n(8)]
    pub records: u32,
    #[cbor(n(9), with = "minicbor::bytes")]
    pub policy: [u8; 32],
    #[n(10)]
    pub rules: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct PolicyActivated {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub digest: [u8; 32],
    /// Zeros when there was none.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub previous: [u8; 32],
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct LedgerAccess {
    #[n(0)]
    pub actor: Actor,
    /// What kind of question.
    #[n(1)]
    pub question: String,
    /// Keyed digest of the question's words.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub digest: SearchDigest,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Admin {
    #[n(0)]
    pub actor: Actor,
    #[n(1)]
    pub action: String,
    /// `ok`, or a code.
    #[n(2)]
    pub result: String,
    /// The request or position that it is about, in words of the ledger; else empty.
    #[n(3)]
    pub about: String,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct AuthFailure {
    #[n(0)]
    pub code: String,
    /// Keyed digest of the caller's address; zeros when unknown.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub origin: SearchDigest,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct RequestRefused {
    #[n(0)]
    pub actor: Actor,
    #[n(1)]
    pub action: String,
    /// The topic that was asked for, if the policy knows it; a stranger's words are not kept.
    #[n(2)]
    pub object: String,
    #[n(3)]
    pub code: String,
    #[n(4)]
    pub rule: String,
    #[cbor(n(5), with = "minicbor::bytes")]
    pub policy: [u8; 32],
}

/// What an account counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum LossUnit {
    /// 10^-9 of ε; charges add up to an ε.
    #[n(1)]
    NanoEpsilon,
    /// 10^-9 of ρ; charges add up to a ρ of zero-concentrated differential privacy.
    #[n(2)]
    NanoRho,
}

impl LossUnit {
    /// Its word in stores and answers.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::NanoEpsilon => "nano-epsilon",
            Self::NanoRho => "nano-rho",
        }
    }

    /// The reverse of [`Self::word`].
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::NanoEpsilon, Self::NanoRho].into_iter().find(|unit| unit.word() == word)
    }
}

/// What a charge takes from an account, or the most that an account gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Cost {
    /// In the account's [`LossUnit`].
    #[n(0)]
    pub loss: u64,
    /// In 10^-18.
    #[n(1)]
    pub delta: u64,
}

/// Aggregates of one window, with noise: what they cost, what they cover, and the digests of the
/// bytes that are published. There is one release of an id.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Release {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub id: [u8; 16],
    #[n(1)]
    pub name: String,
    /// Whose budget is charged.
    #[n(2)]
    pub account: String,
    /// Where it is published.
    #[n(3)]
    pub topic: String,
    #[n(4)]
    pub region: String,
    /// Half open: `start <= t < end`, microseconds since 1970.
    #[n(5)]
    pub window_start_us: i64,
    #[n(6)]
    pub window_end_us: i64,
    #[n(7)]
    pub revision: u32,
    #[cbor(n(8), with = "minicbor::bytes")]
    pub policy: [u8; 32],
    /// Digest of how it was computed: the line that is charged.
    #[cbor(n(9), with = "minicbor::bytes")]
    pub plan: [u8; 32],
    #[n(10)]
    pub unit: LossUnit,
    #[n(11)]
    pub cost: Cost,
    /// At most so many charges of the line touch one person in the period.
    #[n(12)]
    pub uses_max: u32,
    /// What the account may cost one person in the period, as the reservation knew it.
    #[n(13)]
    pub cap: Cost,
    /// Start of the period that is charged, microseconds since 1970.
    #[n(14)]
    pub period_us: i64,
    /// In words, such as `discrete-laplace`.
    #[n(15)]
    pub mechanism: String,
    #[n(16)]
    pub covers: Vec<Covered>,
    /// Digests of the published bytes, in order.
    #[n(17)]
    pub blobs: Vec<Digest32>,
    /// Messages in the published bytes.
    #[n(18)]
    pub messages: u32,
}

/// Messages of one release stay below 2^20, entries of one row below 2^12.
const MESSAGE_BITS: u32 = 20;

/// The leaf under which a message of a release goes out: `entry · 2^20 + message`, so that each
/// message of a row has a position of its own. Events of the row go to other topics.
#[must_use]
pub fn message_leaf(entry: u32, message: u32) -> u32 {
    entry.saturating_mul(1 << MESSAGE_BITS).saturating_add(message)
}

/// The reverse of [`message_leaf`]: the entry's number and the message's.
#[must_use]
pub fn release_message(leaf: u32) -> (u32, u32) {
    (leaf >> MESSAGE_BITS, leaf & ((1 << MESSAGE_BITS) - 1))
}

/// A stretch of contributions that a release may have used: offsets `from <= offset < to`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Covered {
    #[n(0)]
    pub region: String,
    #[n(1)]
    pub topic: String,
    #[n(2)]
    pub partition: u32,
    #[n(3)]
    pub from: i64,
    #[n(4)]
    pub to: i64,
}

/// Where a release stands is a [`Position`] whose `leaf` is the number of its entry in the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct ReleaseVoid {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub id: [u8; 16],
    #[n(1)]
    pub of: Position,
}

/// As [`ReleaseVoid`], of the release that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct ReleasePublished {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub id: [u8; 16],
    #[n(1)]
    pub of: Position,
}

/// A window that stays unreleased, and the code of why; nothing about data.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct ReleaseRefused {
    #[n(0)]
    pub name: String,
    #[n(1)]
    pub account: String,
    #[n(2)]
    pub window_start_us: i64,
    #[n(3)]
    pub window_end_us: i64,
    #[n(4)]
    pub revision: u32,
    #[n(5)]
    pub code: String,
}

/// A period of an account that counts as exhausted from here on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct BudgetBlocked {
    #[n(0)]
    pub account: String,
    #[n(1)]
    pub period_us: i64,
    /// A code.
    #[n(2)]
    pub why: String,
}
