//! What a row can say. Deterministic CBOR by position: arrays of fixed meaning, no maps, no
//! floats. Numbers of kinds and fields are the format; a kind never changes, and a new fact gets a
//! new number.

mod access;
mod records;
mod releases;

pub(crate) use self::records::PLACES_MAX;
pub use self::{access::*, records::*, releases::*};

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::{canonical, row::Link};

/// A keyed digest made by the caller; the ledger never sees what it stands for.
pub type SearchDigest = [u8; 16];
/// BLAKE3 of a [`Treatment`]'s canonical bytes.
pub type DetailDigest = [u8; 32];

/// Kinds from this number on are notes: a program that does not know one still judges the rest.
pub const NOTES_FROM: u32 = 1_000;

/// The kinds: number, name for people and filters, what it is, and its one field.
macro_rules! kinds {
    ($($(#[$what:meta])* $number:literal $name:literal $kind:ident $(($($body:tt)+))?,)+) => {
        /// One thing that happened.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Entry {
            $($(#[$what])* $kind $(($($body)+))?,)+
            /// A kind that this program does not know, with its body as it is written.
            Other { number: u32, body: Vec<u8> },
        }

        impl Entry {
            /// The kind's number.
            pub fn number(&self) -> u32 {
                match self {
                    $(kinds!(@pattern $kind $($($body)+)?) => $number,)+
                    Self::Other { number, .. } => *number,
                }
            }

            /// The kind's name, for people and filters.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(kinds!(@pattern $kind $($($body)+)?) => $name,)+
                    Self::Other { .. } => "other",
                }
            }

            fn put<C, W: encode::Write>(
                &self,
                e: &mut Encoder<W>,
                context: &mut C,
            ) -> Result<(), encode::Error<W::Error>> {
                e.array(2)?.u32(self.number())?;
                match self {
                    $(kinds!(@bound body $kind $($($body)+)?) => {
                        kinds!(@put e context body $($($body)+)?)
                    })+
                    Self::Other { body, .. } => {
                        e.writer_mut().write_all(body).map_err(encode::Error::write)
                    }
                }
            }

            fn take<C>(
                number: u32,
                d: &mut Decoder<'_>,
                context: &mut C,
            ) -> Result<Self, decode::Error> {
                match number {
                    $($number => kinds!(@take d context $kind $($($body)+)?),)+
                    number => other(number, d),
                }
            }
        }
    };
    (@pattern $kind:ident) => { Self::$kind };
    (@pattern $kind:ident $($body:tt)+) => { Self::$kind(_) };
    (@bound $name:ident $kind:ident) => { Self::$kind };
    (@bound $name:ident $kind:ident $($body:tt)+) => { Self::$kind($name) };
    (@put $e:ident $c:ident $name:ident) => { $e.array(0)?.ok() };
    (@put $e:ident $c:ident $name:ident $($body:tt)+) => { $name.encode($e.array(1)?, $c) };
    (@take $d:ident $c:ident $kind:ident) => { fields($d, 0).map(|()| Self::$kind) };
    (@take $d:ident $c:ident $kind:ident $($body:tt)+) => {
        fields($d, 1).and_then(|()| Decode::decode($d, $c)).map(Self::$kind)
    };
}

kinds! {
    /// A writer begins.
    1 "writer.open" WriterOpen(WriterOpen),
    /// A writer ends in order; its chain is complete.
    2 "writer.close" WriterClose,
    /// A writer runs though nothing happens, so that silence is visible.
    3 "heartbeat" Heartbeat,
    /// A chain enters a segment.
    4 "segment.open" SegmentOpen(SegmentOpen),
    /// Fates were decided; nothing has left yet.
    10 "intent" Intent(Intent),
    /// Where an intent's records ended.
    11 "outcome" Outcome(Outcome),
    /// Somebody is shown a stretch of a topic, or may read it.
    12 "read" Read(ReadAccess),
    /// What was really read of a granted stretch.
    13 "read.closed" ReadClosed(ReadClosed),
    /// Somebody is shown the value behind a token.
    14 "reveal" Reveal(Reveal),
    /// A complete intent is taken up again.
    15 "reopened" Reopened(Reopened),
    /// Another policy is in force.
    20 "policy.activate" PolicyActivated(PolicyActivated),
    /// A subject's keys are to be erased, or are.
    22 "erasure" Erasure(Erasure),
    /// Somebody asked the ledger.
    30 "ledger.access" LedgerAccess(LedgerAccess),
    /// Somebody did something to the system.
    31 "admin" Admin(Admin),
    /// Somebody failed to prove who they are.
    32 "auth.failure" AuthFailure(AuthFailure),
    /// A request was refused as a whole, before its records were looked at.
    33 "request.refused" RequestRefused(RequestRefused),
    /// Records of an intent cross a border.
    40 "transfer" Transfer(Transfer),
    /// Aggregates of one window are fixed, byte for byte; nothing of them has left yet.
    50 "release" Release(Box<Release>),
    /// A release that lost against another of the same id; nothing of it was ever published.
    51 "release.void" ReleaseVoid(ReleaseVoid),
    /// A release has left.
    52 "release.published" ReleasePublished(ReleasePublished),
    /// A window that is not released.
    53 "release.refused" ReleaseRefused(ReleaseRefused),
    /// Nothing more is charged to a period of an account.
    54 "budget.blocked" BudgetBlocked(BudgetBlocked),
}

fn fields(d: &mut Decoder<'_>, count: u64) -> Result<(), decode::Error> {
    match d.array()? {
        Some(found) if found == count => Ok(()),
        _ => Err(decode::Error::message("a kind with another number of fields")),
    }
}

/// A kind of another program: its body is kept as it is written, and has to be an array in the
/// format's encoding.
fn other(number: u32, d: &mut Decoder<'_>) -> Result<Entry, decode::Error> {
    let rest = d.input().get(d.position()..).unwrap_or_default();
    let bad = || decode::Error::message("a body that is not canonical");
    let length = canonical::array(rest).ok_or_else(bad)?;
    let body = rest.get(..length).ok_or_else(bad)?.to_vec();
    d.set_position(d.position() + length);
    Ok(Entry::Other { number, body })
}

impl<C> Encode<C> for Entry {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        self.put(e, context)
    }
}

impl<'b, C> Decode<'b, C> for Entry {
    fn decode(d: &mut Decoder<'b>, context: &mut C) -> Result<Self, decode::Error> {
        fields(d, 2)?;
        let number = d.u32()?;
        Self::take(number, d, context)
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
    pub predecessor: Vec<ChainHead>,
}

/// The newest row of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct ChainHead {
    #[n(0)]
    pub writer: crate::WriterId,
    #[n(1)]
    pub wseq: u64,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub link: Link,
    /// The row's segment: whether it is still kept follows from it.
    #[n(3)]
    pub segment: u32,
}

/// A chain enters a segment, in the first row that bears its number.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct SegmentOpen {
    #[n(0)]
    pub segment: u32,
    /// The name of the search key that keyed digests are made under from here on.
    #[n(1)]
    pub key: String,
    /// What the caller says identifies the key.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub check: [u8; 16],
    /// The chain's own head, if it has one; where no row of the segment was there yet, the heads
    /// of all chains.
    #[n(3)]
    pub heads: Vec<ChainHead>,
}

/// A digest in an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Digest32(#[cbor(n(0), with = "minicbor::bytes")] pub DetailDigest);

/// A search digest in an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Digest16(#[cbor(n(0), with = "minicbor::bytes")] pub SearchDigest);

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
