//! One partition: its subjects in buckets, in memory as long as they fit.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sluicegate_policies::release::{Calendar, Keys, PaneId, ReleasePlan, Unit};

use super::{
    Aborted, Contribution, Limits, Placement, Subject, Totals,
    bucket::{Bucket, Placed, Rules, period_ms},
    earliest_needed_ms, pane_of,
    spill::{Spill, Spilled},
};

/// Subjects are spread over this many buckets; a bucket is what is spilled and brought back.
const BUCKETS: usize = 64;

enum Slot {
    Resident(Bucket),
    Spilled(Box<Spilled>),
}

/// A fold over one partition of a contributions topic.
pub struct Task {
    rules: Rules,
    limits: Limits,
    spill: Box<dyn Spill>,
    slots: Vec<Slot>,
    /// Subjects in memory.
    resident: usize,
    /// Bytes on disk.
    spilled: u64,
    /// Panes that are over, none older than `open_ms`.
    closed: BTreeSet<i64>,
    /// All older panes are over.
    open_ms: i64,
    /// The panes of a period, by the period's start.
    panes: BTreeMap<i64, Arc<[i64]>>,
    /// The keys that there are.
    public: Option<BTreeSet<Arc<str>>>,
    /// Nothing comes out any more.
    aborted: Option<Aborted>,
}

impl Task {
    /// `spill` is for what does not fit in memory.
    pub fn new(
        plan: Arc<ReleasePlan>,
        secret: &[u8; 32],
        limits: Limits,
        spill: Box<dyn Spill>,
    ) -> Self {
        let public = match &plan.keys {
            Keys::Public { values, .. } => Some(values.iter().cloned().collect()),
            Keys::Whole | Keys::Unknown { .. } => None,
        };
        let bounds_windows = match &plan.unit {
            Unit::Subject(unit) => bounds_windows(&plan, &unit.period),
            Unit::Record => false,
        };
        Self {
            rules: Rules { plan, secret: *secret, bounds_windows },
            limits,
            spill,
            slots: (0..BUCKETS).map(|_| Slot::Resident(Bucket::default())).collect(),
            resident: 0,
            spilled: 0,
            closed: BTreeSet::new(),
            open_ms: i64::MIN,
            panes: BTreeMap::new(),
            public,
            aborted: None,
        }
    }

    /// Takes the contribution at an offset; they must come in the order of their offsets. What is
    /// late, or belongs to a pane that is over, is not kept.
    pub fn accept(&mut self, _offset: i64, mut contribution: Contribution) -> Result<(), Aborted> {
        self.alive()?;
        let Placement::Pane(pane) = pane_of(&self.rules.plan, &contribution) else {
            return Ok(());
        };
        let start_ms = pane.start_ms;
        if start_ms < self.open_ms || self.closed.contains(&start_ms) {
            return Ok(());
        }
        // Before bounding: junk must not crowd out what counts.
        if self.public.as_ref().is_some_and(|keys| !keys.contains(&contribution.key)) {
            return Ok(());
        }
        if self.rules.plan.unit == Unit::Record {
            contribution.subject = Subject(contribution.id);
        }
        let at = self.placed(pane);
        let done = self.keep(at, contribution);
        self.or_abort(done)
    }

    fn keep(&mut self, at: Placed, contribution: Contribution) -> Result<(), Aborted> {
        let number = bucket_of(contribution.subject);
        let limit = self.limits.spill_bytes;
        let Some(slot) = self.slots.get_mut(number) else { return Ok(()) };
        match slot {
            Slot::Resident(bucket) => {
                let before = bucket.people.len();
                bucket.accept(&self.rules, at, contribution);
                self.resident += bucket.people.len() - before;
                while self.resident > self.limits.resident_subjects {
                    self.spill_largest()?;
                }
            }
            Slot::Spilled(spilled) => self.spilled += spilled.append(at, &contribution)?,
        }
        if self.spilled > limit { Err(Aborted::Disk) } else { Ok(()) }
    }

    fn spill_largest(&mut self) -> Result<(), Aborted> {
        let size = |slot: &Slot| match slot {
            Slot::Resident(bucket) => bucket.people.len(),
            Slot::Spilled(_) => 0,
        };
        let largest = self.slots.iter().enumerate().max_by_key(|(_, slot)| size(slot));
        let Some((number, _)) = largest else { return Ok(()) };
        let Some(slot) = self.slots.get_mut(number) else { return Ok(()) };
        if let Slot::Resident(bucket) = slot {
            self.resident -= bucket.people.len();
            let spilled = Spilled::put(&*self.spill, number, bucket)?;
            self.spilled += spilled.bytes;
            *slot = Slot::Spilled(Box::new(spilled));
        }
        Ok(())
    }

    /// The totals of all that was accepted and arrived in time for a revision of a pane, within
    /// bounds. With its last revision the pane is over.
    pub fn close(&mut self, start_ms: i64, revision: u32) -> Result<Totals, Aborted> {
        self.alive()?;
        let over = revision >= self.rules.plan.last_revision();
        let closed = self.totals(start_ms, revision, over);
        if over {
            self.closed.insert(start_ms);
        }
        self.or_abort(closed)
    }

    fn totals(&mut self, start_ms: i64, revision: u32, over: bool) -> Result<Totals, Aborted> {
        let mut totals = Totals::default();
        let outputs = self.rules.plan.outputs.clone();
        self.each_bucket(|bucket| {
            bucket.total(&outputs, start_ms, revision, &mut totals)?;
            if over {
                bucket.drop_pane(start_ms);
            }
            Ok(())
        })?;
        Ok(totals)
    }

    /// Does something to every bucket; those on disk come back one at a time.
    fn each_bucket(
        &mut self,
        mut what: impl FnMut(&mut Bucket) -> Result<(), Aborted>,
    ) -> Result<(), Aborted> {
        for (number, slot) in self.slots.iter_mut().enumerate() {
            match slot {
                Slot::Resident(bucket) => {
                    let before = bucket.people.len();
                    what(bucket)?;
                    self.resident -= before - bucket.people.len();
                }
                Slot::Spilled(_) => {
                    let out = std::mem::replace(slot, Slot::Resident(Bucket::default()));
                    let Slot::Spilled(spilled) = out else { continue };
                    self.spilled -= spilled.bytes;
                    let mut bucket = spilled.get(&self.rules)?;
                    what(&mut bucket)?;
                    // With room again it stays.
                    if self.resident + bucket.people.len() <= self.limits.resident_subjects {
                        self.resident += bucket.people.len();
                        *slot = Slot::Resident(bucket);
                    } else {
                        let spilled = Spilled::put(&*self.spill, number, &bucket)?;
                        self.spilled += spilled.bytes;
                        *slot = Slot::Spilled(Box::new(spilled));
                    }
                }
            }
        }
        Ok(())
    }

    /// From which arrival on the log must be read again for panes from `open_ms` on.
    pub fn earliest_needed_ms(&self, open_ms: i64) -> i64 {
        earliest_needed_ms(&self.rules.plan, open_ms)
    }

    /// Forgets what no pane from `open_ms` on depends on: all older ones are over.
    pub fn forget(&mut self, open_ms: i64) {
        let pane = self.rules.plan.schedule.pane.containing(open_ms);
        let period = period_ms(&self.rules.plan, pane.start_ms);
        let last_period = period_ms(&self.rules.plan, self.open_ms);
        self.open_ms = self.open_ms.max(pane.start_ms);
        self.closed.retain(|start_ms| *start_ms >= pane.start_ms);
        self.panes.retain(|start_ms, _| *start_ms >= period);
        // Only when a period is over there is much to forget.
        if last_period < period {
            let forgotten = self.each_bucket(|bucket| {
                bucket.forget(pane.start_ms, period);
                Ok(())
            });
            let _alive = self.or_abort(forgotten);
        }
    }

    fn placed(&mut self, pane: PaneId) -> Placed {
        let PaneId { start_ms, revision, .. } = pane;
        let period_ms = period_ms(&self.rules.plan, start_ms);
        let panes = self.panes_of(period_ms);
        let nth = panes.partition_point(|start| *start < start_ms) as u64;
        Placed { start_ms, revision, period_ms, nth, of: panes.len() as u64 }
    }

    fn panes_of(&mut self, period_start_ms: i64) -> Arc<[i64]> {
        if let Some(panes) = self.panes.get(&period_start_ms) {
            return panes.clone();
        }
        let mut panes = Vec::new();
        if let Unit::Subject(unit) = &self.rules.plan.unit {
            let period = unit.period.containing(period_start_ms);
            let calendar = &self.rules.plan.schedule.pane;
            let mut pane = calendar.containing(period.start_ms);
            while pane.start_ms < period.end_ms && pane.end_ms < i64::MAX {
                panes.push(pane.start_ms);
                pane = calendar.next(&pane);
            }
        }
        let panes: Arc<[i64]> = panes.into();
        self.panes.insert(period_start_ms, panes.clone());
        panes
    }

    fn alive(&self) -> Result<(), Aborted> {
        self.aborted.clone().map_or(Ok(()), Err)
    }

    /// After an error nothing comes out any more: what was lost cannot be known.
    fn or_abort<T>(&mut self, done: Result<T, Aborted>) -> Result<T, Aborted> {
        if let Err(aborted) = &done {
            self.aborted = Some(aborted.clone());
        }
        done
    }
}

/// Whether a period may have more panes than `windows_per_period`. With doubt it may.
fn bounds_windows(plan: &ReleasePlan, period: &Calendar) -> bool {
    let pane = &plan.schedule.pane;
    let (period_ms, pane_ms) = (period.size_ms(), pane.size_ms().max(1));
    let panes = match (period, pane) {
        // Rounded up: so many can begin in it, wherever it begins itself.
        (Calendar::Fixed { .. }, Calendar::Fixed { .. })
        | (Calendar::Local { .. }, Calendar::Local { .. }) => {
            period_ms.saturating_add(pane_ms - 1) / pane_ms
        }
        (Calendar::Fixed { .. }, Calendar::Local { .. })
        | (Calendar::Local { .. }, Calendar::Fixed { .. }) => return true,
    };
    i64::from(plan.bounds.windows_per_period) < panes
}

fn bucket_of(subject: Subject) -> usize {
    let [first, ..] = subject.0;
    usize::from(first) % BUCKETS
}
