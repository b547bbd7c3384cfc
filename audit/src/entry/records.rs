//! Records: intents, their leaves, what is done to them, and where they end.

use minicbor::{Decode, Decoder, Encode, Encoder, data::Type, decode, encode};

use super::{Actor, Digest16, Digest32, SearchDigest};
use crate::Position;

/// Places in one piece of an outcome, which a row must hold; and offsets of one look-up.
pub(crate) const PLACES_MAX: usize = 2_500;

/// Decided fates of some records of one request. Its leaves are `first_leaf .. first_leaf +
/// leaves` of the row.
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
    /// Rules that admitted the request.
    #[n(7)]
    pub rules: Vec<String>,
    /// Digests of the treatments that leaves refer to by number; without one nothing goes out.
    #[n(8)]
    pub treatments: Vec<Digest32>,
    #[n(9)]
    pub first_leaf: u32,
    #[n(10)]
    pub leaves: u32,
    /// The sum of its leaves' counts.
    #[n(11)]
    pub records: u32,
    /// At most one: the batch of a Kafka producer that these records are.
    #[n(12)]
    pub batch: Vec<BatchIdentity>,
}

/// What a Kafka producer calls a batch, so that a repetition is known again. Signed where Kafka's
/// fields are.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct BatchIdentity {
    #[n(0)]
    pub cluster: String,
    #[n(1)]
    pub partition: u32,
    #[n(2)]
    pub producer_id: i64,
    #[n(3)]
    pub producer_epoch: i16,
    #[n(4)]
    pub first_sequence: i32,
    #[n(5)]
    pub count: u32,
    /// End of the partition when the batch came; -1 if it is not known.
    #[n(6)]
    pub log_end: i64,
}

/// One record, or a run of records of one fate: a leaf of its row's tree.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Leaf {
    /// The number of the (first) record within its request.
    #[n(0)]
    pub seq: u32,
    #[n(1)]
    pub fate: Fate,
    /// Declared source metadata, as keyed digests of `KEY=VALUE`. A run has none.
    #[n(2)]
    pub source: Vec<Digest16>,
    /// Tokens that the record carries, as keyed digests. A run has none.
    #[n(3)]
    pub tokens: Vec<Digest16>,
    /// Records of the run; 1 is left out of the bytes.
    #[cbor(n(4), with = "count", has_nil)]
    pub count: u32,
}

/// The one fate of a record.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Fate {
    /// Copies of it go out.
    #[n(1)]
    Deliver(#[n(0)] Vec<Copied>),
    /// Code, and the rule that refused, or an empty text.
    #[n(2)]
    Refuse(#[n(0)] String, #[n(1)] String),
    /// Set aside for a person; code.
    #[n(3)]
    Quarantine(#[n(0)] String),
    /// Counted into releases only: its copies go to topics that nobody outside reads.
    #[n(4)]
    Aggregate(#[n(0)] Vec<Copied>),
}

impl Fate {
    /// The copies that go out; none for a fate without copies.
    #[must_use]
    pub fn copies(&self) -> &[Copied] {
        match self {
            Self::Deliver(copies) | Self::Aggregate(copies) => copies,
            Self::Refuse(..) | Self::Quarantine(_) => &[],
        }
    }
}

/// A copy that goes out.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Copied {
    /// The number of its treatment in [`Intent::treatments`].
    #[n(0)]
    pub treatment: u32,
    #[n(1)]
    pub present: Present,
}

/// Which fields of the treatment's list the record had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Present {
    /// Of a single record: bit `i % 8`, least significant first, of byte `i / 8` for field `i`.
    Bitmap(Vec<u8>),
    /// Of a run: for each field, how many of its records had it.
    Counts(Vec<u32>),
}

impl Present {
    /// The bitmap of a single record.
    pub fn of(fields: impl IntoIterator<Item = bool>) -> Self {
        let mut bytes = Vec::new();
        for (n, is_there) in fields.into_iter().enumerate() {
            if n % 8 == 0 {
                bytes.push(0);
            }
            if let Some(last) = bytes.last_mut() {
                *last |= u8::from(is_there) << (n % 8);
            }
        }
        Self::Bitmap(bytes)
    }

    /// How many records had a field.
    #[must_use]
    pub fn count(&self, field: usize) -> u32 {
        match self {
            Self::Bitmap(bytes) => {
                bytes.get(field / 8).map_or(0, |byte| u32::from(byte >> (field % 8) & 1))
            }
            Self::Counts(counts) => counts.get(field).copied().unwrap_or(0),
        }
    }

    /// Whether it is of that many records and fields.
    #[must_use]
    pub fn fits(&self, records: u32, fields: usize) -> bool {
        match self {
            Self::Bitmap(bytes) => {
                let unused = bytes.len() * 8 - fields.min(bytes.len() * 8);
                let is_clear =
                    bytes.last().is_none_or(|last| last.leading_zeros() as usize >= unused);
                records == 1 && bytes.len() == fields.div_ceil(8) && is_clear
            }
            Self::Counts(counts) => {
                records > 1 && counts.len() == fields && counts.iter().all(|n| *n <= records)
            }
        }
    }
}

impl<C> Encode<C> for Present {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        match self {
            Self::Bitmap(bytes) => e.bytes(bytes)?.ok(),
            Self::Counts(counts) => counts.encode(e, context),
        }
    }
}

impl<'b, C> Decode<'b, C> for Present {
    fn decode(d: &mut Decoder<'b>, context: &mut C) -> Result<Self, decode::Error> {
        match d.datatype()? {
            Type::Bytes => Ok(Self::Bitmap(d.bytes()?.to_vec())),
            _ => Vec::decode(d, context).map(Self::Counts),
        }
    }
}

/// A number of records that is left out of the bytes where it is 1.
mod count {
    use minicbor::{
        Decoder, Encoder,
        decode::Error as DecodeError,
        encode::{Error as EncodeError, Write},
    };

    pub(super) fn encode<C, W: Write>(
        count: &u32,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.u32(*count)?.ok()
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<u32, DecodeError> {
        d.u32()
    }

    pub(super) fn nil() -> Option<u32> {
        Some(1)
    }

    pub(super) fn is_nil(count: &u32) -> bool {
        *count == 1
    }
}

/// What is done to records on their way into one region. Stored once, named by its digest.
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
    /// At most one: the transfer that this treatment is part of.
    #[n(5)]
    pub transfer: Vec<TransferTerms>,
    /// Regions that the owner wanted and the policy withheld, with the code.
    #[n(6)]
    pub withheld: Vec<Withheld>,
    /// The topic that these copies go to; `None` is the intent's, and left out of the bytes.
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

/// What is done to records that are not read.
const UNTOUCHED: &str = "untouched";
/// What is left of records that went elsewhere.
const STUB: &str = "stub";

impl FieldTransform {
    /// All of a record, as it came.
    #[must_use]
    pub fn untouched() -> Self {
        Self::whole(UNTOUCHED)
    }

    /// Nothing of a record but that it was there.
    #[must_use]
    pub fn stub() -> Self {
        Self::whole(STUB)
    }

    fn whole(transform: &str) -> Self {
        let (field, transform) = ("**".to_owned(), transform.to_owned());
        Self { field, category: String::new(), transform, rules: vec![] }
    }
}

impl Treatment {
    /// Whether records pass as they came, unread.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.transforms.iter().any(|field| field.transform == UNTOUCHED)
    }

    /// Whether a stub stands there for records that went elsewhere.
    #[must_use]
    pub fn is_stub(&self) -> bool {
        self.transforms.iter().any(|field| field.transform == STUB)
    }
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
pub struct TransferTerms {
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

/// Records of an intent leave a jurisdiction under a treatment.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Transfer {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub request: [u8; 16],
    #[n(1)]
    pub treatment: Digest32,
    /// The treatment's, with those of its categories that were really there.
    #[n(2)]
    pub terms: TransferTerms,
    #[n(3)]
    pub records: u32,
}

/// Where records of an earlier intent ended, or a piece of it: the pieces of an intent say it
/// together.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Outcome {
    /// The position of the intent's first leaf, or of a release's entry.
    #[n(0)]
    pub of: Position,
    #[n(1)]
    pub placed: Vec<Placement>,
    #[n(2)]
    pub missing: Vec<Missing>,
    /// At most one: the intent that these records are a repetition of. Nothing was sent.
    #[n(3)]
    pub repeat_of: Vec<Position>,
    /// Whether with this piece every copy has its end.
    #[n(4)]
    pub complete: bool,
}

/// Copies in one partition of one region.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Placement {
    #[n(0)]
    pub region: String,
    #[n(1)]
    pub topic: String,
    #[n(2)]
    pub partition: u32,
    #[n(3)]
    pub at: Vec<At>,
}

impl Placement {
    /// Runs of offsets without a hole, of at most [`PLACES_MAX`]: what a store looks records up
    /// by.
    pub(crate) fn stretches(&self) -> Vec<(i64, i64)> {
        let mut all: Vec<(i64, i64)> = self.at.iter().map(|at| (at.offset, at.last())).collect();
        all.sort_unstable();
        let mut runs: Vec<(i64, i64)> = Vec::new();
        for (from, to) in all {
            match runs.last_mut() {
                Some((_, last)) if *last >= from.saturating_sub(1) => *last = to.max(*last),
                _ => runs.push((from, to)),
            }
        }
        runs.into_iter().flat_map(in_lookups).collect()
    }
}

fn in_lookups((from, to): (i64, i64)) -> impl Iterator<Item = (i64, i64)> {
    let starts = (from..=to).step_by(PLACES_MAX);
    starts.map(move |from| (from, to.min(from.saturating_add(PLACES_MAX as i64 - 1))))
}

/// A leaf's records at consecutive offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct At {
    #[n(0)]
    pub offset: i64,
    /// Numbered as in the intent's row.
    #[n(1)]
    pub leaf: u32,
    /// 1 is left out of the bytes.
    #[cbor(n(2), with = "count", has_nil)]
    pub count: u32,
}

impl At {
    /// Of one record.
    #[must_use]
    pub fn one(offset: i64, leaf: u32) -> Self {
        Self { offset, leaf, count: 1 }
    }

    pub(crate) fn last(&self) -> i64 {
        self.offset.saturating_add(i64::from(self.count).saturating_sub(1))
    }

    #[cfg(feature = "store")]
    pub(crate) fn holds(&self, offset: i64) -> bool {
        (self.offset..=self.last()).contains(&offset)
    }
}

/// Copies that did not arrive, or of which it is not known.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Missing {
    /// Empty: of all regions.
    #[n(0)]
    pub region: String,
    /// Empty: of all topics.
    #[n(1)]
    pub topic: String,
    #[n(2)]
    pub state: MissingState,
    #[n(3)]
    pub code: String,
    /// None: all of the intent.
    #[n(4)]
    pub leaves: Vec<u32>,
}

/// What is known of a copy that is not known to be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum MissingState {
    /// It is not there, and will not be.
    #[n(1)]
    NotWritten,
    /// It may be there; a later piece may say.
    #[n(2)]
    NotConfirmed,
    /// It may be there, and it cannot be found out any more.
    #[n(3)]
    Unknown,
}

/// A complete intent is taken up again: what was not written may be placed from here on.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Reopened {
    #[n(0)]
    pub actor: Actor,
    /// The position of the intent's first leaf.
    #[n(1)]
    pub of: Position,
}
