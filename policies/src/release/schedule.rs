//! When the panes of a release fire, how often, in which period, and what each time costs. All of it is
//! policy and clock, never data.

use std::ops::Range;

use super::{Calendar, Cost, Late, ReleasePlan, Stretch, Unit};

const DAY_MS: i64 = 86_400_000;

/// Event-level releases have no period of their own: a unit is one record, in one pane.
const RECORD_PERIOD: Calendar = Calendar::Fixed { size_ms: DAY_MS, offset_ms: 0 };

/// One revision of a pane of a release: the unit of noise, cost and uniqueness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PaneId {
    pub start_ms: i64,
    pub end_ms: i64,
    pub revision: u32,
}

impl PaneId {
    pub fn new(pane: Stretch, revision: u32) -> Self {
        Self { start_ms: pane.start_ms, end_ms: pane.end_ms, revision }
    }
}

impl Late {
    /// How often each pane is released: once, and once for each revision.
    pub fn releases(self) -> u32 {
        match self {
            Self::Revise { max, .. } => max.saturating_add(1),
            Self::Drop | Self::AssignToOpen => 1,
        }
    }

    /// How long after a pane's first release a revision of it fires.
    fn revised_after_ms(self, revision: u32) -> i64 {
        match self {
            Self::Revise { after_ms, .. } => after_ms.saturating_mul(i64::from(revision)),
            Self::Drop | Self::AssignToOpen => 0,
        }
    }
}

impl ReleasePlan {
    pub fn releases_of_a_pane(&self) -> u32 {
        self.schedule.late.releases()
    }

    /// The revisions of a pane, the first of them 0.
    pub fn revisions(&self) -> Range<u32> {
        0..self.releases_of_a_pane()
    }

    pub fn last_revision(&self) -> u32 {
        self.releases_of_a_pane().saturating_sub(1)
    }

    /// From a pane's first release to its last.
    pub fn revising_ms(&self) -> i64 {
        self.schedule.late.revised_after_ms(self.last_revision())
    }

    /// From this arrival on, records are late for a revision of a pane.
    pub fn closes_ms(&self, pane: PaneId) -> i64 {
        pane.end_ms
            .saturating_add(self.schedule.lateness_ms)
            .saturating_add(self.schedule.late.revised_after_ms(pane.revision))
    }

    /// When a revision of a pane fires: a constant of the plan.
    pub fn fires_ms(&self, pane: PaneId) -> i64 {
        self.closes_ms(pane).saturating_add(self.schedule.slack_ms)
    }

    /// How long contributions must be kept so that every open pane can be replayed.
    pub fn keep_ms(&self) -> i64 {
        let period_ms = match &self.unit {
            Unit::Subject(unit) => unit.period.longest_ms(),
            Unit::Record => 0,
        };
        let end_ms = self.schedule.pane.longest_ms();
        let last = PaneId { start_ms: 0, end_ms, revision: self.last_revision() };
        period_ms.saturating_mul(2).saturating_add(self.fires_ms(last)).saturating_add(DAY_MS)
    }

    /// What one release of one pane costs. The plan's cost is that of all revisions, each of which
    /// costs the same.
    pub fn release_cost(&self) -> Cost {
        let releases = u64::from(self.releases_of_a_pane());
        Cost { loss: self.cost.loss.div_ceil(releases), delta: self.cost.delta.div_ceil(releases) }
    }

    /// The panes of a period whose cost a unit bears: K for subjects; a record is in one.
    pub fn panes_charged(&self) -> u32 {
        match self.unit {
            Unit::Subject(_) => self.bounds.windows_per_period,
            Unit::Record => 1,
        }
    }

    /// How many releases of one period a unit may be in, revisions counted.
    pub fn releases_of_a_period(&self) -> u32 {
        self.panes_charged().saturating_mul(self.releases_of_a_pane())
    }

    /// The budget's periods.
    pub fn period(&self) -> &Calendar {
        match &self.unit {
            Unit::Subject(unit) => &unit.period,
            Unit::Record => &RECORD_PERIOD,
        }
    }

    /// The budget's period that a pane belongs to, by the pane's start.
    pub fn period_of(&self, pane_start_ms: i64) -> Stretch {
        self.period().containing(pane_start_ms)
    }
}
