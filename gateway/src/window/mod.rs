//! Panes: what one subject may contribute is bounded here, and summed by key.
//!
//! A [`Task`] is a fold over one partition of a contributions topic, which is keyed by subject, so
//! that all of a subject's contributions meet in one task. Its state is a function of the plan, of
//! the log, and of where each closed pane was cut: replaying the log gives the same panes again.
//!
//! INVARIANT: what is kept of a subject depends on that subject's contributions and on public
//! constants only. When memory ends, state is spilled; when disk ends, panes are aborted; nothing
//! is ever dropped because of what others sent.

use std::{collections::BTreeMap, sync::Arc};

/// A subject, as the keyed digest of its normalised identifier. No `Debug`: it names a person.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(pub [u8; 16]);

/// What one record brings to one release. Made at ingest, kept in the contributions topic.
#[derive(Clone, PartialEq)]
pub struct Contribution {
    /// For `unit: record` this is derived from the record's id.
    pub subject: Subject,
    /// The key's value; empty for [`sluicegate_policies::release::Keys::Whole`].
    pub key: Arc<str>,
    /// Event time, milliseconds, clamped to `arrival + max_skew`.
    pub event_ms: i64,
    /// When the gateway received it, by its own clock.
    pub arrival_ms: i64,
    /// Names the record: a keyed digest, stable when the record is read again.
    pub id: [u8; 16],
    /// One for each [`sluicegate_policies::release::What::Sum`] of the plan, in its order, in the
    /// plan's fixed point, clamped; `None` where the record has no such number.
    pub values: Vec<Option<i64>>,
}

/// The raw totals of one pane in one task, or of several tasks added up: a number for each output
/// of the plan, by key. No `Debug`: nothing of it may be seen before it is noised.
#[derive(Clone, Default, PartialEq)]
pub struct Totals {
    pub by_key: BTreeMap<Arc<str>, Vec<i64>>,
}
