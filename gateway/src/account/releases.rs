//! Releases in the ledger: what a pane costs, its bytes, where they stand, what was refused.

use std::sync::Arc;

use sluicegate_audit as audit;
use sluicegate_audit::{Entry, Recorded};
use sluicegate_policies::{
    BundleDigest,
    release::{Accounting, Cost, Noise, PaneId, ReleasePlan},
};
use sluicegate_releases::{Message, store};

use super::{
    Account, AccountError,
    agreed::{About, Agreed, Of, PlanId, corrupt, range},
    entries::{Landing, outcome},
};
use crate::record::{DeliverError, Lot, Placed, positions};

/// No period of a policy is longer.
const PERIOD_LONGEST_MS: i64 = 3_700 * 86_400_000;

/// The offsets of one partition of the contributions topic that a pane covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    pub partition: u32,
    pub from: i64,
    pub to: i64,
}

/// Offsets that a release's entry states are multiples of this, or 0.
pub const COVERED_STEP: i64 = 1_024;

impl Covered {
    /// As the ledger states it: rounded outwards, so that neither an auditor nor an export learns
    /// from it how many records a window had. It still holds every record of the pane.
    fn outwards(self) -> Self {
        let up = self.to.saturating_add(COVERED_STEP - 1);
        Self {
            from: self.from - self.from.rem_euclid(COVERED_STEP),
            to: up - up.rem_euclid(COVERED_STEP),
            ..self
        }
    }
}

/// A pane's release, ready to be made durable.
pub struct Drawn {
    pub pane: PaneId,
    pub policy: BundleDigest,
    pub messages: Vec<Message>,
    pub covers: Vec<Covered>,
}

/// A release that is durable, and whose bytes may go out.
pub struct Durable {
    pub id: [u8; 16],
    /// When it became durable, microseconds; a time before its messages were in the topic.
    pub since_us: i64,
    pub lot: Recorded<Arc<Lot>>,
}

/// Why a pane's release was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The budget does not bear it.
    #[error(transparent)]
    Refused(audit::Refusal),
    #[error("the pane has been released already")]
    Taken,
    #[error(transparent)]
    Account(#[from] AccountError),
}

/// Where a partition of contributions was cut for a window: the first offset that does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cut {
    pub window_start_us: i64,
    pub revision: u32,
    pub partition: u32,
    pub cut: i64,
}

/// The name under which one of all replicas leads a plan's release.
fn lease_name(plan: &ReleasePlan) -> String {
    let [a, b, c, d, ..] = plan.digest;
    format!("{}#{a:02x}{b:02x}{c:02x}{d:02x}", plan.name)
}

fn ledger_cost(cost: Cost) -> audit::Cost {
    audit::Cost { loss: cost.loss, delta: cost.delta }
}

fn us(ms: i64) -> i64 {
    ms.saturating_mul(1_000)
}

fn charge(plan: &ReleasePlan, pane: PaneId) -> audit::Charge {
    audit::Charge {
        account: plan.dataset.to_string(),
        period_us: us(plan.period_of(pane.start_ms).start_ms),
        line: plan.digest,
        unit: match plan.accounting {
            Accounting::Pure => audit::LossUnit::NanoEpsilon,
            Accounting::Zcdp => audit::LossUnit::NanoRho,
        },
        uses_max: plan.releases_of_a_period(),
        cost: ledger_cost(plan.release_cost()),
        cap: ledger_cost(plan.cap),
        id: store::release_id(&plan.name, pane),
    }
}

fn mechanism(plan: &ReleasePlan) -> String {
    let words = plan.outputs.iter().map(|output| {
        let noise = match output.noise {
            Noise::Laplace { scale } => format!("discrete-laplace {}/2^20", scale.0),
            Noise::Gaussian { sigma } => format!("discrete-gaussian {}/2^20", sigma.0),
        };
        format!("{}: {noise}", output.name)
    });
    words.collect::<Vec<_>>().join("; ")
}

impl Account {
    /// Takes a pane's cost from the budget and makes its bytes durable; only then may they go
    /// out. A pane that was reserved before is not charged twice.
    pub async fn release(&self, plan: &ReleasePlan, drawn: Drawn) -> Result<Durable, ReleaseError> {
        let ledger = self.ledger()?;
        let charge = charge(plan, drawn.pane);
        let entry = audit::Release {
            id: charge.id,
            name: plan.name.to_string(),
            account: charge.account.clone(),
            topic: plan.topic.to_string(),
            region: plan.region.to_string(),
            window_start_us: us(drawn.pane.start_ms),
            window_end_us: us(drawn.pane.end_ms),
            revision: drawn.pane.revision,
            policy: drawn.policy.0,
            plan: plan.digest,
            unit: charge.unit,
            cost: charge.cost,
            uses_max: charge.uses_max,
            cap: charge.cap,
            period_us: charge.period_us,
            mechanism: mechanism(plan),
            covers: drawn
                .covers
                .iter()
                .map(|covered| covered.outwards())
                .map(|covered| audit::OffsetRange {
                    region: plan.region.to_string(),
                    topic: crate::contribute::contributions_topic(&plan.name).to_string(),
                    partition: covered.partition,
                    from: covered.from,
                    to: covered.to,
                })
                .collect(),
            blobs: Vec::new(),
            messages: u32::try_from(drawn.messages.len()).unwrap_or(u32::MAX),
        };
        let id = charge.id;
        let appended = ledger.release(entry, store::blobs(&drawn.messages)).await;
        let appended = appended.map_err(|error| match error {
            audit::ReleaseError::Taken => ReleaseError::Taken,
            audit::ReleaseError::Blocked => ReleaseError::Refused(audit::Refusal::Blocked),
            other => ReleaseError::Account(AccountError::Release(other.to_string())),
        })?;
        Ok(Durable {
            id,
            since_us: self.ambient.clock.now_us(),
            lot: appended.cover(lot(plan, &drawn.messages)),
        })
    }

    /// Reserves a pane's cost before anything is drawn.
    pub async fn reserve(&self, plan: &ReleasePlan, pane: PaneId) -> Result<(), ReleaseError> {
        let ledger = self.ledger()?;
        match ledger.reserve(&charge(plan, pane)).await {
            Ok(_) => Ok(()),
            Err(audit::ReserveError::Refused(why)) => Err(ReleaseError::Refused(why)),
            Err(audit::ReserveError::Store(error)) => Err(AccountError::Store(error).into()),
        }
    }

    /// Where messages of a release ended, by their number.
    pub fn settle_release(
        &self,
        lot: &Recorded<Arc<Lot>>,
        landed: &[(usize, Result<Placed, DeliverError>)],
    ) {
        let leaves: Vec<u32> = positions(lot).map(|position| position.leaf).collect();
        let landings = landed.iter().filter_map(|(n, result)| {
            let (region, topic) = (&*lot.get().region, &*lot.get().topic);
            let result = result.as_ref().copied();
            Some(Landing { leaf: *leaves.get(*n)?, region, topic, result })
        });
        let outcome = outcome(lot.first(), landings);
        let settled = self.ledger().and_then(|ledger| Ok(ledger.settle(outcome, None)?));
        if let Err(error) = settled {
            tracing::warn!(event = "outcome-not-recorded", %error);
        }
    }

    /// Everything of a release is in its topic.
    pub async fn release_published(&self, durable: &Durable) -> Result<(), AccountError> {
        let published = self.ledger()?.published(durable.id, durable.lot.first()).await;
        published.map_err(|error| AccountError::Release(error.to_string()))?;
        Ok(())
    }

    /// Somebody ran a release over raw data, on this machine.
    pub async fn simulated(&self, release: &str) -> Result<(), AccountError> {
        let about = release.to_owned();
        let entry =
            super::entries::admin(super::entries::by_shell(), "release.simulate", "ok", about);
        self.ledger()?.append(entry).await?;
        Ok(())
    }

    /// A pane that will not be released, and why.
    pub async fn release_refused(
        &self,
        plan: &ReleasePlan,
        pane: PaneId,
        code: &str,
    ) -> Result<(), AccountError> {
        let entry = audit::ReleaseRefused {
            name: plan.name.to_string(),
            account: plan.dataset.to_string(),
            window_start_us: us(pane.start_ms),
            window_end_us: us(pane.end_ms),
            revision: pane.revision,
            code: code.to_owned(),
        };
        self.ledger()?.append(Entry::ReleaseRefused(entry)).await?;
        Ok(())
    }

    /// Releases that are durable and perhaps not in their topic.
    pub async fn unpublished(&self, plan: &ReleasePlan) -> Result<Vec<Durable>, AccountError> {
        let stored = self.ledger()?.unpublished(&plan.name).await?;
        let durable = |stored: audit::StoredRelease| {
            let messages = store::messages(stored.blobs.get());
            let lost = || AccountError::Release("a release's stored bytes are damaged".to_owned());
            let messages = messages.ok_or_else(lost)?;
            let (id, since_us) = (stored.entry.id, stored.entry.window_start_us);
            Ok(Durable { id, since_us, lot: stored.blobs.project(|_| lot(plan, &messages)) })
        };
        stored.into_iter().map(durable).collect()
    }

    /// The panes of a release that begin in a stretch of time and are in the ledger.
    pub async fn released(
        &self,
        plan: &ReleasePlan,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<PaneId>, AccountError> {
        let stored = self.ledger()?.releases(&plan.name, us(from_ms), us(to_ms)).await?;
        Ok(stored.iter().map(|stored| pane_of(&stored.entry)).collect())
    }

    /// The newest pane of a release.
    pub async fn latest_release(&self, plan: &ReleasePlan) -> Result<Option<PaneId>, AccountError> {
        let latest = self.ledger()?.latest_release(&plan.name).await?;
        Ok(latest.map(|stored| pane_of(&stored.entry)))
    }

    /// The stored messages of a pane, for sums and smoothing of what was released.
    pub async fn released_messages(
        &self,
        plan: &ReleasePlan,
        pane: PaneId,
    ) -> Result<Option<Vec<Message>>, AccountError> {
        let id = store::release_id(&plan.name, pane);
        let blobs = self.ledger()?.release_blobs(&id).await?;
        Ok(blobs.and_then(|blobs| store::messages(&blobs)))
    }

    /// Whether the ledger has the release of a pane.
    pub async fn knows_release(
        &self,
        plan: &ReleasePlan,
        pane: PaneId,
    ) -> Result<bool, AccountError> {
        let id = store::release_id(&plan.name, pane);
        Ok(self.ledger()?.find_release(&id).await?.is_some())
    }

    /// Whether a dataset's budget is counted by the same periods as before. A period that overlaps
    /// another one of which something was charged would be a second budget for the same time:
    /// nothing is charged to it until the other is over.
    pub async fn period_fits(&self, plan: &ReleasePlan, at_ms: i64) -> Result<bool, AccountError> {
        let ours = plan.period_of(at_ms);
        let (start_us, end_us) = (us(ours.start_ms), us(ours.end_ms));
        let dataset = plan.dataset.to_string();
        let of = Of::Dataset(&dataset);
        let from_us = start_us.saturating_sub(us(PERIOD_LONGEST_MS));
        let fits = |known: &[(i64, i64)]| {
            known.iter().all(|(start, end)| {
                *end <= start_us || *start >= end_us || (*start, *end) == (start_us, end_us)
            })
        };
        if !fits(&self.periods(range(About::Period, of, from_us, None)).await?) {
            return Ok(false);
        }
        let proposal = Agreed::Period { dataset: dataset.clone(), start_us, end_us };
        let agreed = self.agree_on(proposal.clone()).await?;
        // A replica with another policy may have said something else meanwhile.
        let known = self.periods(range(About::Period, of, from_us, None)).await?;
        let longest = known.iter().map(|(start, end)| end.saturating_sub(*start)).max();
        let before = start_us.saturating_sub(longest.unwrap_or(0).saturating_mul(3));
        self.forget_agreed(range(About::Period, of, i64::MIN, Some(before))).await?;
        Ok(agreed == proposal && fits(&known))
    }

    async fn periods(&self, range: (Vec<u8>, Vec<u8>)) -> Result<Vec<(i64, i64)>, AccountError> {
        let period = |agreed| match agreed {
            Agreed::Period { start_us, end_us, .. } => Some((start_us, end_us)),
            _ => None,
        };
        Ok(self.all_agreed(range).await?.into_iter().filter_map(period).collect())
    }

    /// Whether subjects of a period are still those that its first release counted: under other
    /// keys everyone is somebody else, who has not been counted yet.
    pub async fn keys_fit(
        &self,
        plan: &ReleasePlan,
        at_ms: i64,
        fingerprint: i64,
    ) -> Result<bool, AccountError> {
        let period = plan.period_of(at_ms);
        let id = PlanId::of(plan);
        let proposal =
            Agreed::Keys { plan: id.clone(), period_us: us(period.start_ms), fingerprint };
        let fits = self.agree_on(proposal.clone()).await? == proposal;
        let length = period.end_ms.saturating_sub(period.start_ms);
        let before = us(period.start_ms.saturating_sub(length.saturating_mul(3)));
        self.forget_agreed(range(About::Keys, Of::Plan(&id), i64::MIN, Some(before))).await?;
        Ok(fits)
    }

    /// Remembers that a pane is refused, so that no start waits for it again.
    pub async fn remember_refused(
        &self,
        plan: &ReleasePlan,
        pane: PaneId,
    ) -> Result<(), AccountError> {
        let (start_us, end_us) = (us(pane.start_ms), us(pane.end_ms));
        let (plan, revision) = (PlanId::of(plan), pane.revision);
        self.agree_on(Agreed::Refused { plan, start_us, revision, end_us }).await?;
        Ok(())
    }

    /// The panes that are refused, of those that begin at a time or later.
    pub async fn refused(
        &self,
        plan: &ReleasePlan,
        from_ms: i64,
    ) -> Result<Vec<PaneId>, AccountError> {
        let id = PlanId::of(plan);
        let refused = range(About::Refused, Of::Plan(&id), us(from_ms), None);
        let pane = |agreed| match agreed {
            Agreed::Refused { start_us, revision, end_us, .. } => Some(PaneId {
                start_ms: start_us.div_euclid(1_000),
                end_ms: end_us.div_euclid(1_000),
                revision,
            }),
            _ => None,
        };
        Ok(self.all_agreed(refused).await?.into_iter().filter_map(pane).collect())
    }

    /// The end of the newest pane that another plan of this name has released.
    pub async fn other_plan_until(&self, plan: &ReleasePlan) -> Result<Option<i64>, AccountError> {
        let latest = self.ledger()?.latest_release(&plan.name).await?;
        let other = latest.filter(|stored| stored.entry.plan != plan.digest);
        Ok(other.map(|stored| pane_of(&stored.entry).end_ms))
    }

    /// No more releases of a dataset in the period that holds this moment.
    pub async fn block_period(
        &self,
        plan: &ReleasePlan,
        at_ms: i64,
        why: &str,
    ) -> Result<(), AccountError> {
        let period_us = us(plan.period_of(at_ms).start_ms);
        let (account, why) = (plan.dataset.to_string(), why.to_owned());
        let ledger = self.ledger()?;
        if ledger.blocked(Some(&plan.dataset)).await?.iter().any(|(_, at)| *at == period_us) {
            return Ok(());
        }
        ledger.block(audit::BudgetBlocked { account, period_us, why }).await?;
        Ok(())
    }

    /// Blocks a period by an operator's hand, who and why on record.
    pub async fn block_by_hand(
        &self,
        dataset: &str,
        period_us: i64,
        because: &str,
    ) -> Result<(), AccountError> {
        let ledger = self.ledger()?;
        let period = audit::utc(period_us);
        let about = format!("{dataset} {period}: {because}");
        let entry = super::entries::admin(super::entries::by_shell(), "budget.block", "ok", about);
        ledger.append(entry).await?;
        let (account, why) = (dataset.to_owned(), "operator".to_owned());
        ledger.block(audit::BudgetBlocked { account, period_us, why }).await?;
        Ok(())
    }

    /// Agrees with other replicas where a partition is cut for a pane. The first to say wins. The
    /// sealed totals are there before the cut is proposed, so that the cut that wins has them.
    pub async fn cut(
        &self,
        plan: &ReleasePlan,
        pane: PaneId,
        partition: u32,
        cut: i64,
        sealed: Vec<u8>,
    ) -> Result<i64, AccountError> {
        let (plan, start_us, revision) = (PlanId::of(plan), us(pane.start_ms), pane.revision);
        let partial =
            Agreed::Partial { plan: plan.clone(), start_us, revision, partition, cut, sealed };
        self.agree_on(partial).await?;
        let proposal = Agreed::Cut { plan, start_us, revision, partition, cut };
        match self.agree_on(proposal).await? {
            Agreed::Cut { cut, .. } => Ok(cut),
            _ => Err(corrupt()),
        }
    }

    /// The cuts of panes from a time on.
    pub async fn cuts(&self, plan: &ReleasePlan, from_ms: i64) -> Result<Vec<Cut>, AccountError> {
        let id = PlanId::of(plan);
        self.cuts_in(range(About::Cut, Of::Plan(&id), us(from_ms), None)).await
    }

    async fn cuts_in(&self, range: (Vec<u8>, Vec<u8>)) -> Result<Vec<Cut>, AccountError> {
        let cut = |agreed| match agreed {
            Agreed::Cut { start_us, revision, partition, cut, .. } => {
                Some(Cut { window_start_us: start_us, revision, partition, cut })
            }
            _ => None,
        };
        Ok(self.all_agreed(range).await?.into_iter().filter_map(cut).collect())
    }

    /// The sealed totals of a pane, by partition, with their cuts: those of the cuts that count.
    pub async fn partials(
        &self,
        plan: &ReleasePlan,
        pane: PaneId,
    ) -> Result<Vec<(u32, i64, Vec<u8>)>, AccountError> {
        let id = PlanId::of(plan);
        let (from, to) = (us(pane.start_ms), us(pane.start_ms).saturating_add(1));
        let cuts = self.cuts_in(range(About::Cut, Of::Plan(&id), from, Some(to))).await?;
        let partial = |agreed| match agreed {
            Agreed::Partial { revision, partition, cut, sealed, .. } => {
                let counts = |at: &Cut| {
                    (at.revision, at.partition, at.cut) == (pane.revision, partition, cut)
                };
                (revision == pane.revision && cuts.iter().any(counts))
                    .then_some((partition, cut, sealed))
            }
            _ => None,
        };
        let partials = range(About::Partial, Of::Plan(&id), from, Some(to));
        Ok(self.all_agreed(partials).await?.into_iter().filter_map(partial).collect())
    }

    /// Forgets the totals of a pane, all revisions of which are released or refused, and cuts that no
    /// replay needs.
    pub async fn forget_partials(
        &self,
        plan: &ReleasePlan,
        pane: PaneId,
        cuts_before_ms: i64,
    ) -> Result<(), AccountError> {
        let id = PlanId::of(plan);
        let (of, before) = (Of::Plan(&id), Some(us(cuts_before_ms)));
        let (from, to) = (us(pane.start_ms), us(pane.start_ms).saturating_add(1));
        self.forget_agreed(range(About::Partial, of, from, Some(to))).await?;
        self.forget_agreed(range(About::Cut, of, i64::MIN, before)).await?;
        self.forget_agreed(range(About::Refused, of, i64::MIN, before)).await
    }

    /// Agrees with other replicas on the first pane that this plan releases.
    pub async fn agree_first_pane(
        &self,
        plan: &ReleasePlan,
        start_ms: i64,
    ) -> Result<i64, AccountError> {
        let proposal = Agreed::FirstPane { plan: PlanId::of(plan), start_ms };
        match self.agree_on(proposal).await? {
            Agreed::FirstPane { start_ms, .. } => Ok(start_ms),
            _ => Err(corrupt()),
        }
    }

    /// Agrees with other replicas on how many partitions the plan's contributions have.
    pub async fn agree_partitions(
        &self,
        plan: &ReleasePlan,
        partitions: u32,
    ) -> Result<u32, AccountError> {
        let proposal = Agreed::Partitions { plan: PlanId::of(plan), partitions };
        match self.agree_on(proposal).await? {
            Agreed::Partitions { partitions, .. } => Ok(partitions),
            _ => Err(corrupt()),
        }
    }

    /// Whether it is this process that notes the windows which a change of plan left out.
    pub async fn notes_gap(&self, plan: &ReleasePlan, now_us: i64) -> Result<bool, AccountError> {
        let proposal = Agreed::Gap { plan: PlanId::of(plan), noted_us: now_us };
        Ok(self.agree_on(proposal.clone()).await? == proposal)
    }

    /// Whether this process may release now: one of all replicas.
    pub async fn leads(&self, plan: &ReleasePlan, ttl_us: i64) -> Result<bool, AccountError> {
        let ledger = self.ledger()?;
        // Several machines judge by one clock.
        let store_us = ledger.store_clock_us().await?;
        let now_us = store_us.unwrap_or_else(|| self.ambient.clock.now_us());
        // A node that starts again goes on where it was: two of one name never run.
        Ok(ledger.lease(&lease_name(plan), &self.node, now_us, ttl_us).await?.is_some())
    }

    /// What the current period has cost one unit of the dataset, in parts per million of its cap.
    pub async fn spent_ratio(&self, plan: &ReleasePlan, now_ms: i64) -> Result<f64, AccountError> {
        let period_us = us(plan.period_of(now_ms).start_ms);
        let lines = self.ledger()?.budget(Some(&plan.dataset)).await?;
        let lines = || lines.iter().filter(|line| line.period_us == period_us);
        let cap = audit::cap_of(lines()).map_or(plan.cap.loss, |cap| cap.loss.min(plan.cap.loss));
        let ppm = audit::Spent::of(lines()).loss.saturating_mul(1_000_000) / u128::from(cap.max(1));
        Ok(f64::from(u32::try_from(ppm).unwrap_or(u32::MAX)) / 1e6)
    }
}

fn pane_of(entry: &audit::Release) -> PaneId {
    PaneId {
        start_ms: entry.window_start_us.div_euclid(1_000),
        end_ms: entry.window_end_us.div_euclid(1_000),
        revision: entry.revision,
    }
}

fn lot(plan: &ReleasePlan, messages: &[Message]) -> Arc<Lot> {
    let messages = messages.iter().map(|message| (&*message.key, &*message.value));
    Arc::new(Lot::of_release(plan.region.clone(), plan.topic.clone(), messages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stated_offsets_hold_all_of_a_pane_and_not_how_many_they_are() {
        let table = [
            ((0, 0), (0, 0)),
            ((0, 1), (0, 1_024)),
            ((7, 1_024), (0, 1_024)),
            ((1_023, 1_025), (0, 2_048)),
            ((2_050, 2_050), (2_048, 3_072)),
        ];
        for ((from, to), stated) in table {
            let Covered { from: low, to: high, .. } = Covered { partition: 0, from, to }.outwards();
            assert_eq!((low, high), stated);
            assert!(low <= from && to <= high);
        }
    }
}
