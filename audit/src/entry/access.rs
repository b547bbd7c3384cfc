//! Who was shown what: reads, what was read of them, and values that were revealed or erased.

use minicbor::{Decode, Encode};

use super::{Actor, Digest32, SearchDigest};

/// Offsets `from <= offset < to` of one partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct OffsetRange {
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

impl OffsetRange {
    /// Whether another one lies within it.
    pub(crate) fn holds(&self, other: &Self) -> bool {
        let place = |r: &Self| (r.region.clone(), r.topic.clone(), r.partition);
        place(self) == place(other) && self.from <= other.from && other.to <= self.to
    }
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct ReadAccess {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub id: [u8; 16],
    #[n(1)]
    pub actor: Actor,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub origin: SearchDigest,
    #[n(3)]
    pub purpose: String,
    #[n(4)]
    pub dataset: String,
    #[cbor(n(5), with = "minicbor::bytes")]
    pub policy: [u8; 32],
    #[n(6)]
    pub rules: Vec<String>,
    /// At most one: the view that the records were shown through.
    #[n(7)]
    pub treatments: Vec<Digest32>,
    #[n(8)]
    pub state: ReadState,
    #[n(9)]
    pub ranges: Vec<OffsetRange>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum ReadState {
    /// The ranges are shown.
    #[n(1)]
    Shown,
    /// They may be read from now on; a [`ReadClosed`] says what was.
    #[n(2)]
    Granted,
}

/// What was really read of a granted read; once per read.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct ReadClosed {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub id: [u8; 16],
    #[n(1)]
    pub ranges: Vec<OffsetRange>,
}

/// The value behind a token was shown to somebody.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Reveal {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub id: [u8; 16],
    #[n(1)]
    pub actor: Actor,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub origin: SearchDigest,
    #[n(3)]
    pub purpose: String,
    #[n(4)]
    pub dataset: String,
    #[cbor(n(5), with = "minicbor::bytes")]
    pub policy: [u8; 32],
    #[n(6)]
    pub rules: Vec<String>,
    #[n(7)]
    pub field: String,
    #[cbor(n(8), with = "minicbor::bytes")]
    pub token: SearchDigest,
    #[n(9)]
    pub reason: String,
    #[n(10)]
    pub approvers: Vec<Actor>,
}

/// A step of the erasure of a subject's keys.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Erasure {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub id: [u8; 16],
    #[n(1)]
    pub actor: Actor,
    #[n(2)]
    pub approvers: Vec<Actor>,
    #[n(3)]
    pub ground: String,
    #[n(4)]
    pub domain: String,
    #[cbor(n(5), with = "minicbor::bytes")]
    pub subject: SearchDigest,
    #[n(6)]
    pub state: ErasureState,
    /// Names of the gateways that acknowledged.
    #[n(7)]
    pub gateways: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum ErasureState {
    #[n(1)]
    Asked,
    #[n(2)]
    Scheduled,
    #[n(3)]
    Erased,
}
