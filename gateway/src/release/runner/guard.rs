//! What stands between a release and a second budget for the same people and time: an older ledger, lost
//! contributions, other keys, another period. All of it is looked at before anything is charged.

use std::collections::{BTreeMap, BTreeSet};

use sluicegate_policies::release::PaneId;
use sluicegate_releases::store;

use super::{REPLAY_RECORDS, Run, RunError};

/// The newest messages of each partition of a release topic, in which releases that the ledger
/// does not know would be found.
const GUARD_MESSAGES: i64 = 2_000;
/// Windows that a change of plan left out are noted one by one, at most so many.
const GAP_MAX: usize = 1_000;

impl Run<'_> {
    /// A ledger that was restored from a backup does not know what its later self has released:
    /// the topic does. From its newest release on, all periods are blocked up to the topic's
    /// newest, so that nothing of them is drawn again.
    pub(super) async fn guard(&self) -> Result<(), RunError> {
        let plan = &self.of.plan;
        let latest = self.of.account.latest_release(plan).await?;
        let mut unknown: BTreeSet<PaneId> = BTreeSet::new();
        for partition in 0..self.pipeline.ensure(&plan.topic, None).await? {
            let end = self.pipeline.read(&plan.topic, partition, i64::MAX, 0, 0).await?.end;
            let from = end.saturating_sub(GUARD_MESSAGES).max(0);
            let page = self
                .pipeline
                .read(&plan.topic, partition, from, REPLAY_RECORDS, usize::MAX)
                .await?;
            for record in &page.records {
                let value = record.value.as_deref().unwrap_or_default();
                let pane = store::pane_of_message(&plan.name, value);
                unknown.extend(pane.filter(|pane| latest.is_none_or(|latest| *pane > latest)));
            }
        }
        // What another replica releases meanwhile is in the ledger first.
        let mut newest = None;
        for pane in unknown.iter().rev() {
            if !self.of.account.knows_release(plan, *pane).await? {
                newest = Some(*pane);
                break;
            }
        }
        let (Some(newest), Some(oldest)) = (newest, unknown.first()) else { return Ok(()) };
        let mut at = latest.map_or(oldest.start_ms, |latest| latest.start_ms);
        while at <= newest.start_ms {
            tracing::error!(event = "release-unknown-to-ledger", release = %plan.name,
                period_ms = plan.period_of(at).start_ms);
            self.of.account.block_period(plan, at, "release-unknown-to-ledger").await?;
            at = plan.period_of(at).end_ms;
        }
        Ok(())
    }

    /// Contributions that were counted and are gone, as after a restore of an older pipeline, would let
    /// their subjects count again: no more releases in the periods that they were counted in.
    pub(super) async fn guard_log(&self) -> Result<(), RunError> {
        let plan = &self.of.plan;
        let mut ends = BTreeMap::new();
        let mut lost = BTreeSet::new();
        for cut in self.of.account.cuts(plan, self.needed_ms()).await? {
            let end = match ends.get(&cut.partition) {
                Some(end) => *end,
                None => self.end(cut.partition).await?,
            };
            ends.insert(cut.partition, end);
            if cut.cut > end {
                lost.insert(plan.period_of(cut.window_start_us.div_euclid(1_000)).start_ms);
            }
        }
        for period_ms in lost {
            tracing::error!(event = "contributions-lost", release = %plan.name, period_ms);
            self.of.account.block_period(plan, period_ms, "contributions-lost").await?;
        }
        Ok(())
    }

    /// Why a pane's period cannot be charged whatever is left of its budget.
    pub(super) async fn misfit(&mut self, pane: PaneId) -> Result<Option<&'static str>, RunError> {
        let (plan, account) = (&self.of.plan, &self.of.account);
        let period_ms = plan.period_of(pane.start_ms).start_ms;
        if self.fitting.contains(&period_ms) {
            return Ok(None);
        }
        if !account.period_fits(plan, period_ms).await? {
            return Ok(Some("budget-changed"));
        }
        if !account.keys_fit(plan, period_ms, self.of.fingerprint).await? {
            tracing::error!(event = "keys-changed", release = %plan.name, period_ms);
            account.block_period(plan, period_ms, "keys-changed").await?;
            return Ok(Some("budget-blocked"));
        }
        self.fitting = BTreeSet::from([period_ms]);
        Ok(None)
    }

    /// Windows that another plan of this name would have released, had it not been replaced: no
    /// number of them comes, and the ledger says so.
    pub(super) async fn note_gap(&self, first_ms: i64) -> Result<(), RunError> {
        let plan = &self.of.plan;
        let Some(until) = self.of.account.other_plan_until(plan).await? else { return Ok(()) };
        // One of all replicas notes them, once.
        if !self.of.account.notes_gap(plan, self.of.clock.now_us()).await? {
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
            self.of.count("plan-changed");
            self.of.account.release_refused(plan, pane, "plan-changed").await?;
        }
        Ok(())
    }
}
