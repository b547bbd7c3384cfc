//! Releases and budgets.

use minicbor::{Decode, Encode};

use super::{Digest32, OffsetRange};
use crate::Position;

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
    pub covers: Vec<OffsetRange>,
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

/// Where a release is is a [`Position`] whose `leaf` is the number of its entry in the row.
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
