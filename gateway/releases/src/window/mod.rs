//! Panes: what one subject may contribute is bounded here, and summed by key.
//!
//! A [`Task`] is a fold over one partition of a contributions topic, which is keyed by subject, so
//! that all of a subject's contributions meet in one task. Its state is a function of the plan, of
//! the log, and of the cutoff of each closed pane: replaying the log gives the same panes again.
//! What counts in a revision is decided by arrivals, so a late cutoff takes in nothing more.
//!
//! INVARIANT: what is kept of a subject depends on that subject's contributions and on public
//! constants only. When memory ends, state is spilled; when disk ends, panes are aborted; nothing
//! is ever dropped because of what others sent.

mod bucket;
mod contribution;
mod spill;
mod task;
mod totals;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

pub use contribution::NotAContribution;
use sluicegate_policies::release::{Late, PaneId, ReleasePlan, Stretch};
pub use spill::{Spill, SpillFile};
pub use task::Task;

/// A subject, as the keyed digest of its normalized identifier. No `Debug`: it names a person.
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

/// How much of a task is kept where.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Subjects in memory; with more, some are spilled.
    pub resident_subjects: usize,
    /// Bytes on disk; with more, the task is aborted.
    pub spill_bytes: u64,
}

/// Why a pane has no totals, and must not be released.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Aborted {
    #[error("the state of a release needs more disk than `releases.spill-bytes`")]
    Disk,
    #[error("the state of a release could not be spilled: {0}")]
    Io(String),
    #[error("a total leaves 64 bits")]
    Overflow,
}

impl Aborted {
    #[must_use]
    pub fn damaged() -> Self {
        Self::Io("a spilled file is damaged".to_owned())
    }
}

/// Where a contribution belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// In this revision of the pane, and in all that follow it.
    Pane(PaneId),
    /// Its pane was over when it arrived.
    Late,
}

/// The pane of a contribution: a function of the contribution and the plan.
pub fn pane_of(plan: &ReleasePlan, contribution: &Contribution) -> Placement {
    let schedule = &plan.schedule;
    let arrival_ms = contribution.arrival_ms;
    let event_ms = contribution.event_ms.min(arrival_ms.saturating_add(schedule.max_skew_ms));
    let pane = schedule.pane.containing(event_ms);
    let taken_by = |pane: &Stretch| {
        let mut revisions = plan.revisions().map(|revision| PaneId::new(*pane, revision));
        revisions.find(|pane| arrival_ms < plan.closes_ms(*pane))
    };
    if let Some(pane) = taken_by(&pane) {
        return Placement::Pane(pane);
    }
    if schedule.late != Late::AssignToOpen {
        return Placement::Late;
    }
    // The oldest pane that still takes records at this moment of arrival.
    let mut oldest = schedule.pane.containing(arrival_ms.saturating_sub(schedule.lateness_ms));
    while taken_by(&oldest).is_none() && oldest.end_ms < i64::MAX {
        oldest = schedule.pane.next(&oldest);
    }
    Placement::Pane(PaneId::new(oldest, 0))
}

/// From which arrival on contributions decide over panes that are not older than `open_ms`: from
/// the beginning of that pane's period.
pub fn earliest_needed_ms(plan: &ReleasePlan, open_ms: i64) -> i64 {
    let pane = plan.schedule.pane.containing(open_ms);
    bucket::period_ms(plan, pane.start_ms).saturating_sub(plan.schedule.max_skew_ms)
}
