//! What stands between a release and a second budget for the same people and time: an older ledger, lost
//! contributions, other keys, another period. All of it is looked at before anything is charged.

use std::collections::{BTreeMap, BTreeSet};

use sluicegate_policies::release::PaneId;
use sluicegate_releases::store;

use super::{
    partition::REPLAY_RECORDS,
    runner::{RunError, Runner},
};

/// The newest messages of each partition of a release topic, in which releases that the ledger
/// does not know would be found.
const GUARD_MESSAGES: i64 = 2_000;
/// Windows that a change of plan left out are noted one by one, at most so many.
const GAP_MAX: usize = 1_000;

impl Runner {
    /// A ledger that was restored from a backup does not know what its later self has released:
    /// the topic does. From its newest release on, all periods are blocked up to the topic's
    /// newest, so that nothing of them is drawn again.
    pub(super) async fn guard_ledger(&self) -> Result<(), RunError> {
        let (plan, pipeline) = (self.plan(), self.pipeline()?);
        let latest = self.books.latest().await?;
        let mut unknown: BTreeSet<PaneId> = BTreeSet::new();
        for partition in 0..pipeline.ensure(&plan.topic, None).await? {
            let end = pipeline.read(&plan.topic, partition, i64::MAX, 0, 0).await?.end;
            let from = end.saturating_sub(GUARD_MESSAGES).max(0);
            let page = pipeline.read(&plan.topic, partition, from, REPLAY_RECORDS, usize::MAX);
            for record in page.await?.records {
                let value = record.value.as_deref().unwrap_or_default();
                let pane = store::pane_of_message(&plan.name, value);
                unknown.extend(pane.filter(|pane| latest.is_none_or(|latest| *pane > latest)));
            }
        }
        // What another replica releases meanwhile is in the ledger first.
        let mut newest = None;
        for pane in unknown.iter().rev() {
            if !self.books.has(*pane).await? {
                newest = Some(*pane);
                break;
            }
        }
        let (Some(newest), Some(oldest)) = (newest, unknown.first()) else { return Ok(()) };
        let mut at = latest.map_or(oldest.start_ms, |latest| latest.start_ms);
        while at <= newest.start_ms {
            self.block(at, "release-unknown-to-ledger").await?;
            at = plan.period_of(at).end_ms;
        }
        Ok(())
    }

    /// Contributions that were counted and are gone, as after a restore of an older pipeline, would let
    /// their subjects count again: no more releases in the periods that they were counted in.
    pub(super) async fn guard_log(&self, needed_ms: i64) -> Result<(), RunError> {
        let mut ends = BTreeMap::new();
        let mut lost = BTreeSet::new();
        for cutoff in self.books.cutoffs(needed_ms).await? {
            let end = match ends.get(&cutoff.partition) {
                Some(end) => *end,
                None => self.end(cutoff.partition).await?,
            };
            ends.insert(cutoff.partition, end);
            if cutoff.offset > end {
                lost.insert(self.plan().period_of(cutoff.pane.start_ms).start_ms);
            }
        }
        for period_ms in lost {
            self.block(period_ms, "contributions-lost").await?;
        }
        Ok(())
    }

    /// Why a period cannot be charged whatever is left of its budget.
    pub(super) async fn conflict(&self, period_ms: i64) -> Result<Option<&'static str>, RunError> {
        if !self.books.period_fits(period_ms).await? {
            return Ok(Some("budget-changed"));
        }
        if !self.books.keys_fit(period_ms, self.contributor.fingerprint).await? {
            self.block(period_ms, "keys-changed").await?;
            return Ok(Some("budget-blocked"));
        }
        Ok(None)
    }

    /// Blocks the period that holds a moment.
    async fn block(&self, at_ms: i64, why: &'static str) -> Result<(), RunError> {
        let period_ms = self.plan().period_of(at_ms).start_ms;
        tracing::error!(event = why, release = %self.plan().name, period_ms);
        Ok(self.books.block(at_ms, why).await?)
    }

    /// Windows that another plan of this name would have released, had it not been replaced: no
    /// number of them comes, and the ledger says so.
    pub(super) async fn note_gap(&self, first_ms: i64) -> Result<(), RunError> {
        let plan = self.plan();
        let Some(until) = self.books.other_plan_until().await? else { return Ok(()) };
        // One of all replicas notes them, once.
        if !self.books.notes_gap(self.on.ambient.clock.now_us()).await? {
            return Ok(());
        }
        let mut gap = Vec::new();
        let mut pane = plan.schedule.pane.containing(first_ms);
        while gap.len() < GAP_MAX {
            pane = plan.schedule.pane.previous(&pane);
            if pane.start_ms < until {
                break;
            }
            gap.push(PaneId::new(pane, 0));
        }
        for pane in gap.into_iter().rev() {
            self.count("plan-changed");
            self.books.note_refused(pane, "plan-changed").await?;
        }
        Ok(())
    }
}
