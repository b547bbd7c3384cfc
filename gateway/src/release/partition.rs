//! The partitions of a release's contributions that are ours. The state of each is a function of its
//! log and of the cutoffs in the books: a start, a new assignment and any doubt are one path, the
//! replay.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sluicegate_policies::release::PaneId;
use sluicegate_releases::window::{self, Contribution, Task};

use super::{
    runner::{RunError, Runner},
    spill::SpillFolder,
};
use crate::{
    deliver::{Member, Tail},
    record::Stored,
};

/// Records are waited for this long, so that a pane fires at most this late.
const POLL: Duration = Duration::from_millis(200);
/// Clocks of gateways and brokers may differ by this much when a replay's begin is looked up.
const CLOCK_SLACK_MS: i64 = 60_000;
/// A state that broke is made anew from the log, not more often than this.
const REBUILD_MS: i64 = 60_000;
/// Records of one page of a replay.
pub(super) const REPLAY_RECORDS: usize = 2_000;

/// The partitions that are ours, and where their records come from.
pub(super) struct Partitions<'r> {
    of: &'r Runner,
    tail: Box<dyn Tail>,
    ours: BTreeMap<u32, Partition>,
}

struct Partition {
    task: Task,
    next: i64,
    /// Panes that are cut off here.
    cut_off: BTreeSet<PaneId>,
    built_ms: i64,
    /// Whether its state broke: all its panes are aborted until it is made anew.
    broken: bool,
}

impl<'r> Partitions<'r> {
    pub(super) async fn open(of: &'r Runner) -> Result<Self, RunError> {
        let member = Member {
            group: format!("sluicegate.{}", of.plan().name),
            name: format!("sluicegate-{}", of.on.account.node()),
        };
        let tail = of.pipeline()?.tail(of.topic(), &member).await?;
        Ok(Self { of, tail, ours: BTreeMap::new() })
    }

    pub(super) async fn close(self) {
        self.tail.close().await;
    }

    /// Gets ready for partitions that are newly ours, forgets those that no longer are, and takes
    /// the records that have come; panes from a time on are open.
    pub(super) async fn follow(&mut self, open_ms: i64) -> Result<(), RunError> {
        let assigned = self.tail.assigned().await?;
        let now_ms = self.of.now_ms();
        let whole = |p: &Partition| !p.broken || now_ms.saturating_sub(p.built_ms) < REBUILD_MS;
        self.ours.retain(|number, partition| assigned.contains(number) && whole(partition));
        for number in assigned {
            if !self.ours.contains_key(&number) {
                let partition = self.replay(number, open_ms).await?;
                self.ours.insert(number, partition);
            }
        }
        self.poll().await
    }

    async fn poll(&mut self) -> Result<(), RunError> {
        for (number, record) in self.tail.poll(POLL).await? {
            if let Some(partition) = self.ours.get_mut(&number)
                && record.offset >= partition.next
            {
                partition.take(self.of, &record);
                partition.next = record.offset + 1;
            }
        }
        Ok(())
    }

    /// A partition's state from its log and its cutoffs.
    async fn replay(&mut self, number: u32, open_ms: i64) -> Result<Partition, RunError> {
        let (of, pipeline, topic) = (self.of, self.of.pipeline()?, self.of.topic());
        let mut partition = Partition::new(of, number);
        let from_ms = partition.task.earliest_needed_ms(open_ms);
        let since = from_ms.saturating_sub(CLOCK_SLACK_MS);
        partition.next = pipeline.offset_at(topic, number, since).await?;
        self.tail.seek(number, partition.next).await?;
        let mut cutoffs = of.books.cutoffs(from_ms).await?;
        cutoffs.retain(|cutoff| cutoff.partition == number);
        cutoffs.sort_unstable_by_key(|cutoff| (cutoff.offset, cutoff.pane));
        let end = of.end(number).await?;
        // Everything before the last cutoff, with a close at each: what a close takes away from the
        // state, such as a pane that is over, is taken away at the same place again.
        for cutoff in cutoffs {
            // Beyond the end nothing is: what was there is lost, and its period is blocked.
            let until = cutoff.offset.min(end);
            while partition.next < until {
                let from = partition.next;
                let page = pipeline.read(topic, number, from, REPLAY_RECORDS, usize::MAX).await?;
                let Some(last) = page.records.last() else { break };
                for record in page.records.iter().filter(|record| record.offset < until) {
                    partition.take(of, record);
                }
                partition.next = from.max((last.offset + 1).min(until));
            }
            // The totals are in the books, sealed, until the pane is released.
            let _totals = partition.task.close(cutoff.pane.start_ms, cutoff.pane.revision);
            partition.cut_off.insert(cutoff.pane);
        }
        self.tail.seek(number, partition.next).await?;
        Ok(partition)
    }

    /// Cuts our partitions off for a pane: everything that is in the log now belongs to it.
    pub(super) async fn cut_off(&mut self, pane: PaneId) -> Result<(), RunError> {
        let of = self.of;
        for number in self.ours.keys().copied().collect::<Vec<_>>() {
            if self.ours.get(&number).is_some_and(|partition| partition.cut_off.contains(&pane)) {
                continue;
            }
            self.read_to_end(number).await?;
            let Some(partition) = self.ours.get_mut(&number) else { continue };
            let totals = partition.totals(of, pane);
            let sealed = of.contributor.seal.seal(of.now_ms(), &about(pane, number), &totals)?;
            let offset = partition.next;
            if of.books.cut_off(pane, number, offset, sealed).await? == offset {
                partition.cut_off.insert(pane);
                // Only for those who look at the group's lag.
                let _shown = self.tail.commit(number, offset).await;
            } else {
                // Another replica had the partition and cut it off elsewhere: that counts.
                self.ours.remove(&number);
            }
        }
        Ok(())
    }

    async fn read_to_end(&mut self, number: u32) -> Result<(), RunError> {
        let end = self.tail.end(number).await?;
        while self.ours.get(&number).is_some_and(|partition| partition.next < end) {
            self.poll().await?;
            if !self.tail.assigned().await?.contains(&number) {
                self.ours.remove(&number);
                break;
            }
            let position = self.tail.position(number).await?;
            if let Some(partition) = self.ours.get_mut(&number)
                && position >= end
            {
                partition.next = partition.next.max(position);
            }
        }
        Ok(())
    }

    /// Forgets what no replay needs when panes from a time on are open.
    pub(super) async fn forget(&mut self, open_ms: i64) -> Result<(), RunError> {
        let needed_ms = window::earliest_needed_ms(self.of.plan(), open_ms);
        let since = needed_ms.saturating_sub(CLOCK_SLACK_MS);
        let (pipeline, topic) = (self.of.pipeline()?, self.of.topic());
        for (number, partition) in &mut self.ours {
            partition.task.forget(open_ms);
            partition.cut_off.retain(|pane| pane.start_ms >= open_ms);
            let before = pipeline.offset_at(topic, *number, since).await?;
            pipeline.trim(topic, *number, before).await?;
        }
        Ok(())
    }
}

impl Partition {
    fn new(of: &Runner, number: u32) -> Self {
        let (plan, config) = (&of.contributor.plan, &of.on.config);
        let limits = window::Limits {
            resident_subjects: config.resident_subjects,
            spill_bytes: config.spill_bytes,
        };
        let spill = SpillFolder::new(config.directory.join(format!("{}-{number}", plan.name)));
        let task = Task::new(plan.clone(), &of.contributor.choice, limits, Box::new(spill));
        let (next, built_ms, broken) = (0, of.now_ms(), false);
        Self { task, next, cut_off: BTreeSet::new(), built_ms, broken }
    }

    /// Hands one record of the log to the task. What is not a contribution of this plan (another
    /// version of it, damaged bytes) is no contribution.
    fn take(&mut self, of: &Runner, record: &Stored) {
        let sealed = record.value.as_deref().unwrap_or_default();
        let opened = of.contributor.seal.open(&of.plan().digest, sealed);
        let contribution = opened.ok().and_then(|bytes| Contribution::decode(&bytes).ok());
        if let Some(contribution) = contribution
            && let Err(aborted) = self.task.accept(record.offset, contribution)
        {
            self.breaks(of, &aborted);
        }
    }

    /// A pane's totals; nothing, which is no totals, if it is aborted.
    fn totals(&mut self, of: &Runner, pane: PaneId) -> Vec<u8> {
        match self.task.close(pane.start_ms, pane.revision) {
            Ok(totals) => totals.encode(),
            Err(aborted) => {
                self.breaks(of, &aborted);
                Vec::new()
            }
        }
    }

    /// Logged once: how many records find it so says something about them.
    fn breaks(&mut self, of: &Runner, aborted: &window::Aborted) {
        if !self.broken {
            tracing::error!(event = "pane-aborted", release = %of.plan().name, %aborted);
        }
        self.broken = true;
    }
}

/// What sealed totals are about.
pub(super) fn about(pane: PaneId, partition: u32) -> Vec<u8> {
    let mut about = b"totals".to_vec();
    about.extend_from_slice(&pane.start_ms.to_be_bytes());
    about.extend_from_slice(&pane.end_ms.to_be_bytes());
    about.extend_from_slice(&pane.revision.to_be_bytes());
    about.extend_from_slice(&partition.to_be_bytes());
    about
}
