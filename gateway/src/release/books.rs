//! The books of one release: what is agreed about its windows, what they cost, their bytes, what is
//! published, what is refused or blocked, and who leads.
//!
//! INVARIANT: a cost is reserved before its noise is drawn, and bytes are durable before they leave.
//! Whatever is asked here twice, by this process or by another, has the answer of the first time.

use std::{collections::BTreeSet, sync::Arc};

use sluicegate_audit as audit;
use sluicegate_audit::{Entry, Recorded};
use sluicegate_policies::{
    BundleDigest,
    release::{Accounting, Cost, Noise, PaneId, ReleasePlan},
};
use sluicegate_releases::{Message, store};

use super::agreed::{self, Facts, corrupt};
use crate::{
    account::{Account, AccountError},
    contribute::contributions_topic,
    record::{DeliverError, Lot, Placed},
};

/// A leader that is silent this long is replaced.
const LEASE_US: i64 = 5_000_000;
/// No period of a policy is longer.
const PERIOD_LONGEST_MS: i64 = 3_700 * 86_400_000;
/// Offsets that a release's entry states are multiples of this, or 0.
const COVERED_STEP: i64 = 1_024;

/// The offsets of one partition of the contributions topic that a pane covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Covered {
    pub(super) partition: u32,
    pub(super) from: i64,
    pub(super) to: i64,
}

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
pub(super) struct Drawn {
    pub(super) pane: PaneId,
    pub(super) policy: BundleDigest,
    pub(super) messages: Vec<Message>,
    pub(super) covers: Vec<Covered>,
}

/// A release that is durable, and whose bytes may go out.
pub(super) struct Durable {
    id: [u8; 16],
    pub(super) period_us: i64,
    /// A time before its messages were in the topic.
    pub(super) since_ms: i64,
    pub(super) lot: Recorded<Arc<Lot>>,
}

/// Where a partition of contributions ends for a pane: the first offset that does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cutoff {
    pub(super) pane: PaneId,
    pub(super) partition: u32,
    pub(super) offset: i64,
}

/// The totals of one partition up to its cutoff.
pub(super) struct Partial {
    pub(super) partition: u32,
    pub(super) cutoff: i64,
    pub(super) sealed: Vec<u8>,
}

/// Why something is not in the books.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BooksError {
    /// The budget does not bear it.
    #[error(transparent)]
    Refused(audit::Refusal),
    #[error("the pane has been released already")]
    Taken,
    #[error(transparent)]
    Release(audit::ReleaseError),
    #[error(transparent)]
    Account(#[from] AccountError),
}

impl From<audit::ReleaseError> for BooksError {
    fn from(error: audit::ReleaseError) -> Self {
        match error {
            audit::ReleaseError::Taken => Self::Taken,
            audit::ReleaseError::Blocked => Self::Refused(audit::Refusal::Blocked),
            other => Self::Release(other),
        }
    }
}

impl From<audit::ReserveError> for BooksError {
    fn from(error: audit::ReserveError) -> Self {
        match error {
            audit::ReserveError::Refused(why) => Self::Refused(why),
            audit::ReserveError::Store(error) => error.into(),
        }
    }
}

impl From<audit::StoreError> for BooksError {
    fn from(error: audit::StoreError) -> Self {
        Self::Account(error.into())
    }
}

impl From<audit::AppendError> for BooksError {
    fn from(error: audit::AppendError) -> Self {
        Self::Account(error.into())
    }
}

/// The books of one plan's release.
pub(super) struct Books {
    plan: Arc<ReleasePlan>,
    account: Arc<Account>,
    facts: Facts,
    /// Of the dataset, whose releases share one budget.
    shared: Facts,
}

impl Books {
    pub(super) fn new(plan: Arc<ReleasePlan>, account: Arc<Account>) -> Self {
        let facts = Facts::of_plan(account.clone(), &plan);
        let shared = Facts::of_dataset(account.clone(), &plan.dataset);
        Self { plan, account, facts, shared }
    }

    fn ledger(&self) -> Result<Arc<audit::Ledger>, AccountError> {
        self.account.ledger()
    }

    /// Whether this process may release now: one of all replicas.
    pub(super) async fn leads(&self) -> Result<bool, BooksError> {
        let [a, b, c, d, ..] = self.plan.digest;
        let name = format!("{}#{a:02x}{b:02x}{c:02x}{d:02x}", self.plan.name);
        Ok(self.account.leads(&name, LEASE_US).await?)
    }

    /// The first pane that this plan releases: the one proposed, or an earlier proposal.
    pub(super) async fn first_pane(&self, start_ms: i64) -> Result<i64, BooksError> {
        self.facts.agree(agreed::FIRST_PANE, [], start_ms).await
    }

    /// How many partitions the plan's contributions have had from the beginning.
    pub(super) async fn partitions(&self, now: u32) -> Result<u32, BooksError> {
        let then = self.facts.agree(agreed::PARTITIONS, [], now.into()).await?;
        u32::try_from(then).map_err(|_| corrupt())
    }

    /// Whether it is this process that notes the windows which a change of plan left out.
    pub(super) async fn notes_gap(&self, now_us: i64) -> Result<bool, BooksError> {
        self.facts.is_agreed(agreed::GAP, [], now_us).await
    }

    /// Agrees with other replicas where a partition ends for a pane. The sealed totals are there
    /// before the cutoff is proposed, so that the cutoff that wins has them.
    pub(super) async fn cut_off(
        &self,
        pane: PaneId,
        partition: u32,
        offset: i64,
        sealed: Vec<u8>,
    ) -> Result<i64, BooksError> {
        let [start_us, revision, partition] =
            [us(pane.start_ms), pane.revision.into(), partition.into()];
        self.facts.agree(agreed::PARTIAL, [start_us, revision, partition, offset], sealed).await?;
        self.facts.agree(agreed::CUTOFF, [start_us, revision, partition], offset).await
    }

    /// The cutoffs of panes from a time on.
    pub(super) async fn cutoffs(&self, from_ms: i64) -> Result<Vec<Cutoff>, BooksError> {
        self.cutoffs_in(us(from_ms), None).await
    }

    async fn cutoffs_in(&self, from: i64, to: Option<i64>) -> Result<Vec<Cutoff>, BooksError> {
        let cutoff = |([start_us, revision, partition], offset): ([i64; 3], i64)| {
            let pane = self.plan.schedule.pane.containing(start_us.div_euclid(1_000));
            let pane = PaneId::new(pane, u32::try_from(revision).ok()?);
            Some(Cutoff { pane, partition: u32::try_from(partition).ok()?, offset })
        };
        let all = self.facts.all(agreed::CUTOFF, from, to).await?;
        all.into_iter().map(|fact| cutoff(fact).ok_or_else(corrupt)).collect()
    }

    /// The totals of a pane by partition: those of the cutoffs that count.
    pub(super) async fn partials(&self, pane: PaneId) -> Result<Vec<Partial>, BooksError> {
        let (from, to) = moment(pane);
        let mut cutoffs = self.cutoffs_in(from, Some(to)).await?;
        cutoffs.retain(|cutoff| cutoff.pane.revision == pane.revision);
        let all = self.facts.all(agreed::PARTIAL, from, Some(to)).await?;
        let partial = |([_, revision, partition, offset], sealed): ([i64; 4], Vec<u8>)| {
            let counts = |c: &&Cutoff| {
                (i64::from(c.pane.revision), i64::from(c.partition), c.offset)
                    == (revision, partition, offset)
            };
            let Cutoff { partition, offset: cutoff, .. } = *cutoffs.iter().find(counts)?;
            Some(Partial { partition, cutoff, sealed })
        };
        Ok(all.into_iter().filter_map(partial).collect())
    }

    /// Forgets the totals of a pane, all revisions of which are released or refused, and cutoffs that
    /// no replay needs.
    pub(super) async fn forget(&self, pane: PaneId, before_ms: i64) -> Result<(), BooksError> {
        let (from, to) = moment(pane);
        self.facts.forget(agreed::PARTIAL, from, to).await?;
        self.facts.forget(agreed::CUTOFF, i64::MIN, us(before_ms)).await?;
        self.facts.forget(agreed::REFUSED, i64::MIN, us(before_ms)).await
    }

    /// Whether the dataset's budget is counted by the same periods as before. A period that overlaps
    /// another one of which something was charged would be a second budget for the same time:
    /// nothing is charged to it until the other is over.
    pub(super) async fn period_fits(&self, at_ms: i64) -> Result<bool, BooksError> {
        let ours = self.plan.period_of(at_ms);
        let (start_us, end_us) = (us(ours.start_ms), us(ours.end_ms));
        let from_us = start_us.saturating_sub(us(PERIOD_LONGEST_MS));
        let fits = |known: &[([i64; 1], i64)]| {
            known.iter().all(|([start], end)| {
                *end <= start_us || *start >= end_us || (*start, *end) == (start_us, end_us)
            })
        };
        if !fits(&self.shared.all(agreed::PERIOD, from_us, None).await?) {
            return Ok(false);
        }
        let is_agreed = self.shared.is_agreed(agreed::PERIOD, [start_us], end_us).await?;
        // A replica with another policy may have said something else meanwhile.
        let known = self.shared.all(agreed::PERIOD, from_us, None).await?;
        let longest = known.iter().map(|([start], end)| end.saturating_sub(*start)).max();
        let before = start_us.saturating_sub(longest.unwrap_or(0).saturating_mul(3));
        self.shared.forget(agreed::PERIOD, i64::MIN, before).await?;
        Ok(is_agreed && fits(&known))
    }

    /// Whether subjects of a period are still those that its first release counted: under other
    /// keys everyone is somebody else, who has not been counted yet.
    pub(super) async fn keys_fit(&self, at_ms: i64, fingerprint: i64) -> Result<bool, BooksError> {
        let period = self.plan.period_of(at_ms);
        let start_us = us(period.start_ms);
        let fits = self.facts.is_agreed(agreed::KEYS, [start_us], fingerprint).await?;
        let length = period.end_ms.saturating_sub(period.start_ms);
        let before = us(period.start_ms.saturating_sub(length.saturating_mul(3)));
        self.facts.forget(agreed::KEYS, i64::MIN, before).await?;
        Ok(fits)
    }

    /// Reserves a pane's cost before anything is drawn. What was reserved before is not charged
    /// twice.
    pub(super) async fn reserve(&self, pane: PaneId) -> Result<(), BooksError> {
        self.ledger()?.reserve(&charge(&self.plan, pane)).await?;
        Ok(())
    }

    /// Makes the bytes of a pane whose cost is reserved durable; only then may they go out.
    pub(super) async fn release(&self, drawn: Drawn, now_ms: i64) -> Result<Durable, BooksError> {
        let (plan, pane) = (&self.plan, drawn.pane);
        let audit::Charge { account, period_us, line, unit, uses_max, cost, cap, id } =
            charge(plan, pane);
        let topic = contributions_topic(&plan.name);
        let covered = |covered: &Covered| {
            let Covered { partition, from, to } = covered.outwards();
            let (region, topic) = (plan.region.to_string(), topic.to_string());
            audit::OffsetRange { region, topic, partition, from, to }
        };
        let entry = audit::Release {
            id,
            name: plan.name.to_string(),
            account,
            topic: plan.topic.to_string(),
            region: plan.region.to_string(),
            window_start_us: us(pane.start_ms),
            window_end_us: us(pane.end_ms),
            revision: pane.revision,
            policy: drawn.policy.0,
            plan: line,
            unit,
            cost,
            uses_max,
            cap,
            period_us,
            mechanism: mechanism(plan),
            covers: drawn.covers.iter().map(covered).collect(),
            blobs: Vec::new(),
            messages: u32::try_from(drawn.messages.len()).unwrap_or(u32::MAX),
        };
        let appended = self.ledger()?.release(entry, store::blobs(&drawn.messages)).await?;
        let lot = appended.cover(lot(plan, &drawn.messages));
        Ok(Durable { id, period_us, since_ms: now_ms, lot })
    }

    /// Where messages of a release ended, by their number.
    pub(super) fn settle(
        &self,
        durable: &Durable,
        results: &[(usize, Result<Placed, DeliverError>)],
    ) {
        self.account.settle_lot(&durable.lot, results);
    }

    /// Everything of a release is in its topic.
    pub(super) async fn published(&self, durable: &Durable) -> Result<(), BooksError> {
        self.ledger()?.published(durable.id, durable.lot.first()).await?;
        Ok(())
    }

    /// Releases that are durable and perhaps not in their topic.
    pub(super) async fn unpublished(&self) -> Result<Vec<Durable>, BooksError> {
        let durable = |stored: audit::StoredRelease| {
            let damaged = || audit::StoreError::Corrupt("the bytes of a release".to_owned());
            let messages = store::messages(stored.blobs.get()).ok_or_else(damaged)?;
            let audit::Release { id, period_us, .. } = stored.entry;
            let since_ms = pane_of(&stored.entry).start_ms;
            let lot = stored.blobs.project(|_| lot(&self.plan, &messages));
            Ok(Durable { id, period_us, since_ms, lot })
        };
        let stored = self.ledger()?.unpublished(&self.plan.name).await?;
        stored.into_iter().map(durable).collect()
    }

    /// The panes that begin at a time or later and are released or refused.
    pub(super) async fn done(&self, from_ms: i64) -> Result<BTreeSet<PaneId>, BooksError> {
        let released =
            self.ledger()?.reader().releases(&self.plan.name, us(from_ms), i64::MAX).await?;
        let refused = self.facts.all(agreed::REFUSED, us(from_ms), None).await?;
        let refused = refused.into_iter().map(|([start_us, revision], end_us)| {
            let [start_ms, end_ms] = [start_us, end_us].map(|us| us.div_euclid(1_000));
            let revision = u32::try_from(revision).map_err(|_| corrupt())?;
            Ok(PaneId { start_ms, end_ms, revision })
        });
        released.iter().map(|stored| Ok(pane_of(&stored.entry))).chain(refused).collect()
    }

    /// The newest pane under this name, whatever plan released it.
    pub(super) async fn latest(&self) -> Result<Option<PaneId>, BooksError> {
        let latest = self.ledger()?.reader().latest_release(&self.plan.name).await?;
        Ok(latest.map(|stored| pane_of(&stored.entry)))
    }

    /// The end of the newest pane, if another plan of this name has released it.
    pub(super) async fn other_plan_until(&self) -> Result<Option<i64>, BooksError> {
        let latest = self.ledger()?.reader().latest_release(&self.plan.name).await?;
        let other = latest.filter(|stored| stored.entry.plan != self.plan.digest);
        Ok(other.map(|stored| pane_of(&stored.entry).end_ms))
    }

    pub(super) async fn has(&self, pane: PaneId) -> Result<bool, BooksError> {
        let id = store::release_id(&self.plan.name, pane);
        Ok(self.ledger()?.reader().find_release(&id).await?.is_some())
    }

    /// The stored messages of a pane, for sums and smoothing of what was released.
    pub(super) async fn messages(&self, pane: PaneId) -> Result<Option<Vec<Message>>, BooksError> {
        let id = store::release_id(&self.plan.name, pane);
        let blobs = self.ledger()?.reader().release_blobs(&id).await?;
        Ok(blobs.and_then(|blobs| store::messages(&blobs)))
    }

    /// A pane that will not be released, and why: on record, and remembered, so that no start waits
    /// for it again.
    pub(super) async fn refuse(&self, pane: PaneId, code: &str) -> Result<(), BooksError> {
        self.note_refused(pane, code).await?;
        let at = [us(pane.start_ms), pane.revision.into()];
        self.facts.agree(agreed::REFUSED, at, us(pane.end_ms)).await?;
        Ok(())
    }

    pub(super) async fn note_refused(&self, pane: PaneId, code: &str) -> Result<(), BooksError> {
        let entry = audit::ReleaseRefused {
            name: self.plan.name.to_string(),
            account: self.plan.dataset.to_string(),
            window_start_us: us(pane.start_ms),
            window_end_us: us(pane.end_ms),
            revision: pane.revision,
            code: code.to_owned(),
        };
        self.ledger()?.append(Entry::ReleaseRefused(entry)).await?;
        Ok(())
    }

    /// No more releases of the dataset in the period that holds this moment.
    pub(super) async fn block(&self, at_ms: i64, why: &str) -> Result<(), BooksError> {
        let period_us = us(self.plan.period_of(at_ms).start_ms);
        let (account, why) = (self.plan.dataset.to_string(), why.to_owned());
        let ledger = self.ledger()?;
        if ledger.reader().blocked(Some(&account)).await?.iter().all(|(_, at)| *at != period_us) {
            ledger.block(audit::BudgetBlocked { account, period_us, why }).await?;
        }
        Ok(())
    }

    /// What the current period has cost one unit of the dataset, as a share of its cap.
    pub(super) async fn spent_ratio(&self, now_ms: i64) -> Result<f64, BooksError> {
        let (plan, period_us) = (&self.plan, us(self.plan.period_of(now_ms).start_ms));
        let lines = self.ledger()?.reader().budget(Some((&plan.dataset, period_us))).await?;
        let cap = audit::cap_of(&lines).map_or(plan.cap.loss, |cap| cap.loss.min(plan.cap.loss));
        let ppm = audit::Spent::of(&lines).loss.saturating_mul(1_000_000) / u128::from(cap.max(1));
        Ok(f64::from(u32::try_from(ppm).unwrap_or(u32::MAX)) / 1e6)
    }
}

fn us(ms: i64) -> i64 {
    ms.saturating_mul(1_000)
}

/// The interval that holds a pane's begin alone.
fn moment(pane: PaneId) -> (i64, i64) {
    (us(pane.start_ms), us(pane.start_ms).saturating_add(1))
}

fn charge(plan: &ReleasePlan, pane: PaneId) -> audit::Charge {
    let cost = |cost: Cost| audit::Cost { loss: cost.loss, delta: cost.delta };
    audit::Charge {
        account: plan.dataset.to_string(),
        period_us: us(plan.period_of(pane.start_ms).start_ms),
        line: plan.digest,
        unit: match plan.accounting {
            Accounting::Pure => audit::LossUnit::NanoEpsilon,
            Accounting::Zcdp => audit::LossUnit::NanoRho,
        },
        uses_max: plan.releases_of_a_period(),
        cost: cost(plan.release_cost()),
        cap: cost(plan.cap),
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
