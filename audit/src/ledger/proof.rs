//! Proof by types that what is sent is in the ledger.
//!
//! INVARIANT: an [`Appended`] comes from the ledger alone, of something that may be sent: an
//! intent, an open intent that is taken up again, or a release. It covers one thing, once. A
//! heartbeat or a note proves nothing, and so has no proof.

use crate::Position;

/// Proof that an intent or a release is durable.
#[derive(Debug, PartialEq, Eq)]
pub struct Appended {
    first: Position,
}

impl Appended {
    pub(super) fn at(first: Position) -> Self {
        Self { first }
    }

    /// The position of the intent's first leaf, or of the release's entry.
    #[must_use]
    pub fn first(&self) -> Position {
        self.first
    }

    /// Binds the proof to what it was appended for.
    pub fn cover<T>(self, what: T) -> Recorded<T> {
        Recorded { first: self.first, what }
    }
}

/// Something that the ledger holds durably, or a part of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Recorded<T> {
    first: Position,
    what: T,
}

impl<T> Recorded<T> {
    /// The position of the intent's first leaf, or of the release's entry.
    #[must_use]
    pub fn first(&self) -> Position {
        self.first
    }

    pub fn get(&self) -> &T {
        &self.what
    }

    /// A part of what is recorded, or another form of it.
    pub fn project<U>(&self, part: impl FnOnce(&T) -> U) -> Recorded<U> {
        Recorded { first: self.first, what: part(&self.what) }
    }
}

impl<T> Recorded<Option<T>> {
    pub fn transpose(self) -> Option<Recorded<T>> {
        let Self { first, what } = self;
        what.map(|what| Recorded { first, what })
    }
}
