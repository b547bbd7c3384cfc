//! Protection: a record goes in, what the plan lets through comes out. A [`Program`] is one plan
//! compiled; applying it is one pass over the bytes, in which kept stretches are copied as they
//! stand.
//!
//! Must never let a byte through that no entry of the plan (or its `unlisted: keep`) answers for,
//! never tokenize without a key, and never put a value, or a member name that the plan does not
//! itself contain, into a refusal. Any doubt refuses the record and empties the output.
//!
//! What the plan leaves open is decided so:
//! - `null` stays `null` under every transform but drop, which removes it, and a randomize whose
//!   domain says what stands for everything else, which answers it.
//! - An unlisted header or key is dropped even where unlisted fields of the value refuse: brokers
//!   and clients add headers of their own.
//! - A key is JSON if it starts with `{`, `[` or `"` and is well-formed; any other key, and each
//!   header, is a text for the path without steps, and becomes a text without quotes.
//! - A container of which nothing is kept goes with its name; the value as a whole becomes `{}` or
//!   `[]`. A dropped element of a list leaves `null`.
//! - A value that is dropped itself becomes the JSON text `null`, never the empty body: that
//!   would delete the key's record from a compacted topic. An empty body stays empty.

mod actions;
mod automaton;
pub mod json;
pub mod keys;
mod program;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use sluicegate_policies::RefusalCode;

use actions::randomize::Occasion;
use json::{Malformed, Names};

pub use actions::{
    normalize::normalize,
    number::fixed_point,
    randomize::{RANDOMIZED_HEADER, Randomness},
    token::{TOKEN_BYTES_MAX, Token, Tokenizer, tokenizer},
};
pub use json::{
    find::find,
    probe::{Found, Misread, Probe},
};
pub use program::Program;

/// A header's name, and its value; null is not empty.
pub type Header = (String, Option<Vec<u8>>);

/// A record as it came in. Protocol headers are the caller's business: it keeps them apart.
#[derive(Clone, Copy)]
pub struct RecordRef<'a> {
    pub key: Option<&'a [u8]>,
    pub headers: &'a [Header],
    /// JSON, or empty (a tombstone).
    pub value: &'a [u8],
}

/// A record as it may go out, and the scratch it was made with. Keep it between records.
#[derive(Default)]
pub struct Protected {
    key: Vec<u8>,
    has_key: bool,
    pub headers: Vec<Header>,
    pub value: Vec<u8>,
    /// The tokens made or recognized in this record, in the order of the output.
    pub tokens: Vec<Token>,
    /// Which fields of the plan the record had, with a value other than null: bit `i % 8` of byte
    /// `i / 8`, least significant first, for the plan's field `i`.
    pub present: Vec<u8>,
    scratch: Scratch,
}

impl Protected {
    /// The key that may go out.
    pub fn key(&self) -> Option<&[u8]> {
        self.has_key.then_some(&*self.key)
    }

    /// Forgets the record, keeps the memory.
    pub fn clear(&mut self) {
        self.key.clear();
        self.has_key = false;
        self.headers.clear();
        self.value.clear();
        self.tokens.clear();
        self.present.clear();
    }
}

#[derive(Default)]
struct Scratch {
    names: Names,
    /// The automaton's state set at each depth.
    sets: Vec<u64>,
    /// A string with its escapes taken off.
    text: String,
    /// What a transform writes.
    draft: String,
    /// What a normalizer writes.
    normal: String,
    /// What the draws in this record have in common.
    occasion: Occasion,
}

/// Why a record may not go out. Holds words of the plan only, never a value of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The JSON pointer in the value, `key`, `key:` and a pointer, or `header:NAME`. A pointer
    /// ends before the first member name that the plan does not contain.
    pub pointer: String,
    /// The rule whose transform the value does not fit; none if no rule covers the place.
    pub rule: Option<Arc<str>>,
    pub code: RefusalCode,
    /// Where the bytes stop being acceptable JSON, if that is the reason.
    pub malformed: Option<Malformed>,
}
