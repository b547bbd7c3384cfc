//! A pane's numbers: drawn from its totals, and put into the release's topic.
//!
//! INVARIANT: what is drawn here goes into the books and nowhere else; what is published comes from
//! there, the first time as any other.

use std::{collections::BTreeMap, sync::Arc};

use sluicegate_audit::Position;
use sluicegate_policies::release::PaneId;
use sluicegate_releases::{
    encode::{self, PaneHistory},
    noise::{NoiseError, OpenDp},
    select,
    smooth::{Smoothed, smooth},
    store,
    window::Totals,
};

use super::{
    books::{Covered, Drawn, Durable, Partial},
    partition::about,
    runner::{RunError, Runner},
};
use crate::{
    ambient::crash_point,
    deliver::{self, Since},
    record::{DeliverError, Placed, Sending, positions},
};

impl Runner {
    /// The totals of all partitions; none if one of them was aborted.
    pub(super) fn total(
        &self,
        pane: PaneId,
        partials: &[Partial],
    ) -> Result<Option<Totals>, RunError> {
        let mut all = Totals::default();
        for Partial { partition, sealed, .. } in partials {
            let opened = self.contributor.seal.open(&about(pane, *partition), sealed)?;
            let Some(totals) = Totals::decode(&opened) else { return Ok(None) };
            if all.add(totals).is_err() {
                return Ok(None);
            }
        }
        Ok(Some(all))
    }

    pub(super) async fn draw(
        &self,
        pane: PaneId,
        totals: Totals,
        partials: &[Partial],
    ) -> Result<Drawn, RunError> {
        let plan = self.contributor.plan.clone();
        let (panes, before) = self.history(pane).await?;
        let covers = self.covers(pane, partials).await?;
        let snapshot = self.on.policy.now().map_err(|_| RunError::NoPolicy)?;
        let policy = snapshot.table.digest();
        crash_point("before-sample");
        let draw = move || {
            let mut sampler = OpenDp::for_plan(&plan)?;
            let noisy = select::noise(&plan, &totals, &mut sampler)?;
            let smoothed = plan.smoothing.map(|how| smooth(how, before.as_ref(), &noisy));
            Ok(encode::messages(&plan, pane, &noisy, &panes, smoothed.as_ref(), policy))
        };
        // The sampler is not `Send`: it lives and dies in there.
        let drawn = tokio::task::spawn_blocking(draw).await;
        let drawn = drawn.map_err(|error| RunError::Noise(error.to_string()))?;
        let messages = drawn.map_err(|error: NoiseError| RunError::Noise(error.to_string()))?;
        crash_point("after-sample");
        Ok(Drawn { pane, policy, messages, covers })
    }

    /// The newest rows that were released before a pane, oldest first: what sums over several
    /// panes and smoothing are made of.
    async fn history(&self, pane: PaneId) -> Result<(PaneHistory, Option<Smoothed>), RunError> {
        let plan = self.plan();
        let mut panes = Vec::new();
        let mut at = plan.schedule.pane.containing(pane.start_ms);
        for _ in 0..store::history_needed(plan) {
            at = plan.schedule.pane.previous(&at);
            let mut newest = None;
            for revision in plan.revisions() {
                let found = self.books.messages(PaneId::new(at, revision)).await?;
                newest = found.or(newest);
            }
            panes.push(newest);
        }
        panes.reverse();
        Ok(store::history(plan, panes))
    }

    /// The offsets that can hold contributions to a pane: from the last cutoff before its first
    /// moment on.
    async fn covers(&self, pane: PaneId, partials: &[Partial]) -> Result<Vec<Covered>, RunError> {
        let plan = self.plan();
        let begins = pane.start_ms.saturating_sub(plan.schedule.max_skew_ms);
        let mut from: BTreeMap<u32, i64> = BTreeMap::new();
        for cutoff in self.books.cutoffs(begins.saturating_sub(plan.keep_ms())).await? {
            if plan.fires_ms(cutoff.pane) <= begins {
                let at = from.entry(cutoff.partition).or_insert(0);
                *at = (*at).max(cutoff.offset);
            }
        }
        let covered = partials.iter().map(|Partial { partition, cutoff: to, .. }| Covered {
            partition: *partition,
            from: from.get(partition).copied().unwrap_or(0).min(*to),
            to: *to,
        });
        Ok(covered.collect())
    }

    /// Publishes a release of which the topic may have something.
    pub(super) async fn republish(&self, durable: Durable) -> Result<(), RunError> {
        let wanted = positions(&durable.lot).collect();
        let found =
            self.pipeline()?.find(&self.plan().topic, &wanted, Since::Time(durable.since_ms)).await;
        let placed = match found {
            Err(DeliverError::UnknownTopic) => BTreeMap::new(),
            placed => placed?,
        };
        self.publish(durable, placed).await
    }

    /// Puts into the topic what is not there yet, under the positions that it has in any case.
    pub(super) async fn publish(
        &self,
        durable: Durable,
        placed: BTreeMap<Position, Placed>,
    ) -> Result<(), RunError> {
        self.on.witness.note(self, durable.period_us).await?;
        let positions: Vec<Position> = positions(&durable.lot).collect();
        let missing = |n: usize| positions.get(n).is_some_and(|p| !placed.contains_key(p));
        let sending = Sending::only(durable.lot.project(Arc::clone), missing);
        let numbers = (0..positions.len()).filter(|n| missing(*n));
        let results: Vec<_> = numbers.zip(deliver::send(sending, &self.on.regions).await).collect();
        crash_point("after-produce");
        self.books.settle(&durable, &results);
        if let Some(error) = results.into_iter().find_map(|(_, result)| result.err()) {
            return Err(error.into());
        }
        self.books.published(&durable).await?;
        self.count("published");
        crash_point("after-published");
        Ok(())
    }
}
