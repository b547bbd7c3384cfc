//! One release, computed: partitions of its contributions are followed and bounded, panes are cut off
//! when the clock says so, and whoever leads draws, records and publishes their numbers.
//!
//! Replicas meet in three places only, each of which the first to come wins for good: the cutoff of a
//! partition for a pane (with its totals, sealed), the reservation of a pane's cost, and the release
//! itself.
//!
//! INVARIANT: when a pane fires, and which rows of it are drawn, depends on plan and clock, and
//! none fires while the clock has leapt: what a false time released could not be taken back. The
//! noisy bytes are durable before the first of them goes out, and are never drawn again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use sluicegate_audit::Refusal;
use sluicegate_policies::release::{PaneId, ReleasePlan};
use sluicegate_releases::{seal::SealError, window};
use tokio::sync::watch;

use super::{
    Releases,
    books::{Books, BooksError},
    partition::Partitions,
    witness::WitnessError,
};
use crate::{
    ambient::crash_point,
    contribute::Contributor,
    deliver::Pipeline,
    record::DeliverError,
    telemetry::{ReleaseLabel, ReleaseOutcomeLabel},
};

/// After an error everything is begun anew, not more often than this.
const RETRY: Duration = Duration::from_secs(1);
/// Panes that are cut off and released before the group hears of us again: others wait for that.
const PANES_AT_ONCE: usize = 16;

/// Why a release could not continue; it begins anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error(transparent)]
    Books(#[from] BooksError),
    #[error(transparent)]
    Witness(#[from] WitnessError),
    #[error("{}", .0.cause())]
    Deliver(#[from] DeliverError),
    #[error("the totals of a pane could not be read: {0}")]
    Seal(#[from] SealError),
    #[error("{0}")]
    Noise(String),
    #[error("no policy is in force")]
    NoPolicy,
    #[error(
        "the topic `{topic}` has {now} partitions and had {then}: releases need a fixed number"
    )]
    Partitions { topic: Arc<str>, now: u32, then: u32 },
}

/// A release, and what it runs on.
pub(super) struct Runner {
    pub(super) on: Arc<Releases>,
    pub(super) contributor: Arc<Contributor>,
    pub(super) books: Books,
}

/// Everything that an error throws away.
struct Run<'r> {
    of: &'r Runner,
    partitions: Partitions<'r>,
    /// Of the topic, those of other replicas too.
    partitions_count: usize,
    /// Panes that are released or refused.
    done: BTreeSet<PaneId>,
    /// The oldest pane that is not done.
    from_ms: i64,
    /// The period, by its start, that was found to be charged as it was before.
    fitting: Option<i64>,
    /// Whether we led when we last looked.
    led: bool,
}

impl Runner {
    pub(super) fn new(on: Arc<Releases>, contributor: Arc<Contributor>) -> Self {
        let books = Books::new(contributor.plan.clone(), on.account.clone());
        Self { on, contributor, books }
    }

    /// Runs until told to stop.
    pub(super) async fn run(self, mut stopping: watch::Receiver<bool>) {
        loop {
            let why = tokio::select! {
                result = self.run_once() => result,
                _ = stopping.wait_for(|stop| *stop) => return,
            };
            if let Err(error) = why {
                tracing::warn!(event = "release-waits", release = %self.plan().name, %error);
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                _ = stopping.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn run_once(&self) -> Result<(), RunError> {
        let mut run = Run::open(self).await?;
        self.on.begun.add(self.plan());
        let result = run.follow().await;
        run.partitions.close().await;
        result
    }

    pub(super) fn plan(&self) -> &ReleasePlan {
        &self.contributor.plan
    }

    /// The topic of the contributions.
    pub(super) fn topic(&self) -> &str {
        &self.contributor.topic
    }

    /// That of the release's region.
    pub(super) fn pipeline(&self) -> Result<&dyn Pipeline, RunError> {
        let pipeline = self.on.regions.get(&self.plan().region);
        Ok(&**pipeline.ok_or(DeliverError::UnknownTopic)?)
    }

    /// The offset that the next contribution of a partition will get.
    pub(super) async fn end(&self, partition: u32) -> Result<i64, RunError> {
        Ok(self.pipeline()?.read(self.topic(), partition, i64::MAX, 0, 0).await?.end)
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.on.ambient.clock.now_ms().0
    }

    pub(super) fn count(&self, outcome: &'static str) {
        let label = ReleaseOutcomeLabel { release: self.plan().name.to_string(), outcome };
        self.on.metrics.releases.get_or_create(&label).inc();
    }
}

impl<'r> Run<'r> {
    async fn open(of: &'r Runner) -> Result<Self, RunError> {
        let (plan, pipeline) = (of.plan(), of.pipeline()?);
        let now = pipeline.ensure(of.topic(), Some(plan.keep_ms())).await?;
        pipeline.ensure(&plan.topic, None).await?;
        let then = of.books.partitions(now).await?;
        if then != now {
            return Err(RunError::Partitions { topic: of.contributor.topic.clone(), now, then });
        }
        let partitions = Partitions::open(of).await?;
        let (from_ms, done) = Self::begin(of).await?;
        of.guard_ledger().await?;
        of.guard_log(window::earliest_needed_ms(plan, from_ms)).await?;
        let partitions_count = now as usize;
        Ok(Self { of, partitions, partitions_count, done, from_ms, fitting: None, led: false })
    }

    /// From which pane on there is something to do, and what is done from there on.
    async fn begin(of: &Runner) -> Result<(i64, BTreeSet<PaneId>), RunError> {
        let (plan, panes) = (of.plan(), &of.plan().schedule.pane);
        let agreed = of.books.first_pane(panes.containing(of.now_ms()).start_ms).await?;
        of.on.account.begins_with(plan, agreed);
        let latest = of.books.latest().await?;
        // A pane may wait for its revisions while younger ones are out.
        let resumed =
            latest.map_or(i64::MIN, |pane| pane.end_ms.saturating_sub(plan.revising_ms()));
        let from_ms = panes.containing(agreed.max(resumed)).start_ms;
        let done = of.books.done(from_ms).await?;
        of.note_gap(agreed).await?;
        Ok((from_ms, done))
    }

    async fn follow(&mut self) -> Result<(), RunError> {
        loop {
            self.partitions.follow(self.from_ms).await?;
            // By a clock that has leapt nothing fires.
            if self.of.on.ambient.clock.leapt_us().is_none() {
                self.fire().await?;
            }
        }
    }

    /// Cuts off and releases what is due.
    async fn fire(&mut self) -> Result<(), RunError> {
        let books = &self.of.books;
        let due = self.due();
        if due.is_empty() && self.led {
            return Ok(());
        }
        for pane in &due {
            self.partitions.cut_off(*pane).await?;
        }
        let leads = books.leads().await?;
        if !leads || !self.led {
            // What others have released is in the ledger.
            self.done.extend(books.done(self.from_ms).await?);
        }
        if leads && !self.led {
            for durable in books.unpublished().await? {
                self.of.republish(durable).await?;
            }
        }
        self.led = leads;
        if leads {
            for pane in due {
                if !self.done.contains(&pane) && !self.release(pane).await? {
                    break;
                }
                self.done.insert(pane);
            }
        }
        self.advance().await
    }

    /// Revisions of panes whose time has come and that are not done: the oldest of them.
    fn due(&self) -> Vec<PaneId> {
        let (plan, now_ms) = (self.of.plan(), self.of.now_ms());
        let mut due = Vec::new();
        let mut at = self.from_ms;
        loop {
            let pane = plan.schedule.pane.containing(at);
            let of = |revision| PaneId::new(pane, revision);
            if plan.fires_ms(of(0)) > now_ms || pane.end_ms <= at {
                break;
            }
            due.extend(plan.revisions().map(of).filter(|pane| plan.fires_ms(*pane) <= now_ms));
            at = pane.end_ms;
        }
        due.retain(|pane| !self.done.contains(pane));
        due.sort_unstable_by_key(|pane| (plan.fires_ms(*pane), *pane));
        let waited = due.first().map_or(0, |pane| now_ms.saturating_sub(plan.fires_ms(*pane)));
        let label = ReleaseLabel { release: plan.name.to_string() };
        self.of.on.metrics.release_lag.get_or_create(&label).set(waited.div_euclid(1_000));
        due.truncate(PANES_AT_ONCE);
        due
    }

    /// Releases a pane, or refuses it, if all its partitions are cut off. False: not yet.
    async fn release(&mut self, pane: PaneId) -> Result<bool, RunError> {
        let of = self.of;
        let partials = of.books.partials(pane).await?;
        if partials.len() < self.partitions_count {
            return Ok(false);
        }
        if let Some(code) = self.conflict(pane).await? {
            of.refuse(pane, code).await?;
            return Ok(true);
        }
        let Some(totals) = of.total(pane, &partials)? else {
            of.refuse(pane, "aborted").await?;
            return Ok(true);
        };
        let durable = async {
            of.on.witness.reserve(of, pane).await?;
            let drawn = of.draw(pane, totals, &partials).await?;
            Ok(of.books.release(drawn, of.now_ms()).await?)
        };
        match durable.await {
            Ok(durable) => {
                crash_point("after-durable");
                of.publish(durable, BTreeMap::new()).await?;
            }
            Err(RunError::Books(BooksError::Refused(why))) => of.refuse(pane, code_of(why)).await?,
            // Another replica was faster: what was drawn here was seen by nobody.
            Err(RunError::Books(BooksError::Taken)) => {}
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Why a pane's period cannot be charged; looked at once per period.
    async fn conflict(&mut self, pane: PaneId) -> Result<Option<&'static str>, RunError> {
        let period_ms = self.of.plan().period_of(pane.start_ms).start_ms;
        if self.fitting == Some(period_ms) {
            return Ok(None);
        }
        let conflict = self.of.conflict(period_ms).await?;
        self.fitting = conflict.is_none().then_some(period_ms);
        Ok(conflict)
    }

    /// Continues behind panes that are done, and forgets what no replay needs.
    async fn advance(&mut self) -> Result<(), RunError> {
        let (of, plan) = (self.of, self.of.plan());
        loop {
            let pane = plan.schedule.pane.containing(self.from_ms);
            let revisions = || plan.revisions().map(|revision| PaneId::new(pane, revision));
            if !revisions().all(|revision| self.done.contains(&revision)) {
                break;
            }
            for revision in revisions() {
                self.done.remove(&revision);
                let needed_ms = window::earliest_needed_ms(plan, self.from_ms);
                of.books.forget(revision, needed_ms).await?;
            }
            self.from_ms = pane.end_ms;
        }
        self.partitions.forget(self.from_ms).await?;
        let label = ReleaseLabel { release: plan.name.to_string() };
        let spent = of.books.spent_ratio(of.now_ms()).await?;
        of.on.metrics.release_spent.get_or_create(&label).set(spent);
        Ok(())
    }
}

impl Runner {
    async fn refuse(&self, pane: PaneId, code: &'static str) -> Result<(), RunError> {
        tracing::warn!(event = "release-refused", release = %self.plan().name, code);
        self.count(code);
        Ok(self.books.refuse(pane, code).await?)
    }
}

/// A refusal's stable word.
fn code_of(why: Refusal) -> &'static str {
    match why {
        Refusal::Exhausted => "budget-exhausted",
        Refusal::Blocked => "budget-blocked",
        Refusal::OtherUnit | Refusal::OtherCost | Refusal::OtherCharge | Refusal::NoUses => {
            "budget-changed"
        }
    }
}
