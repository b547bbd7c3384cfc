//! One release, computed: partitions of its contributions are followed and bounded, panes are cut
//! when the clock says so, and whoever leads noises, records and publishes them.
//!
//! A partition's state is a function of its log and of the cuts, which the ledger's store holds:
//! a start, a new assignment and any doubt are one path, the replay. Replicas meet in three
//! places only, each of which the first to come wins for good: the cut of a partition for a pane
//! (with its totals, sealed), the reservation of a pane's cost, and the release itself.
//!
//! INVARIANT: when a pane fires, and which rows of it are drawn, depends on plan and clock, and
//! none fires while the clock has leapt: what a false time released could not be taken back. The
//! noisy bytes are durable before the first of them goes out, and are never drawn again.

mod guard;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sluicegate_audit::{Position, Refusal};
use sluicegate_policies::release::{PaneId, ReleasePlan};
use sluicegate_releases::{
    Message,
    encode::{self, PaneHistory},
    noise::{NoiseError, OpenDp},
    seal::{Seal, SealError},
    select,
    smooth::{Smoothed, smooth},
    store,
    window::{self, Contribution, Task, Totals},
};
use tokio::sync::watch;

use super::spill::SpillFolder;
use crate::{
    account::{
        Account,
        releases::{Covered, Drawn, Durable, ReleaseError},
    },
    ambient::{Clock, crash_point},
    contribute::contributions_topic,
    decide::Policy,
    deliver::{self, Member, Pipeline, Regions, Tail},
    record::{DeliverError, Placed, Sending, Stored, positions},
    telemetry::{Metrics, ReleaseLabel, ReleaseOutcomeLabel},
};

/// Records are waited for this long, so that a pane fires at most this late.
const POLL: Duration = Duration::from_millis(200);
/// After an error everything is begun anew, not more often than this.
const RETRY: Duration = Duration::from_secs(1);
/// A leader that is silent this long is replaced.
const LEASE_US: i64 = 5_000_000;
/// Clocks of gateways and brokers may differ by this much when a replay's begin is looked up.
const CLOCK_SLACK_MS: i64 = 60_000;
/// A state that broke is made anew from the log, not more often than this.
const REBUILD_MS: i64 = 60_000;
/// Panes that are cut and released before the group hears of us again: others wait for that.
const PANES_AT_ONCE: usize = 16;
/// Records of one page of a replay.
const REPLAY_RECORDS: usize = 2_000;

/// Why a release could not go on; it begins anew.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Account(#[from] crate::account::AccountError),
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
    Partitions { topic: String, now: u32, then: u32 },
}

/// Releases, by their plans' digests, whose topics exist and whose first pane is agreed: from then on no
/// contribution can come too early to be released.
#[derive(Clone, Debug, Default)]
pub struct Begun(Arc<Mutex<BTreeSet<[u8; 32]>>>);

impl Begun {
    pub fn has(&self, plan: &ReleasePlan) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&plan.digest)
    }

    fn add(&self, plan: &ReleasePlan) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(plan.digest);
    }
}

/// What a release runs on.
pub struct Runner {
    pub begun: Begun,
    pub plan: Arc<ReleasePlan>,
    pub policy: Arc<Policy>,
    pub seal: Arc<Seal>,
    pub choice: [u8; 32],
    pub fingerprint: i64,
    pub clock: Arc<dyn Clock>,
    pub account: Arc<Account>,
    pub regions: Regions,
    pub metrics: Arc<Metrics>,
    pub limits: window::Limits,
    pub spill: PathBuf,
    /// Of the group that replicas share partitions in.
    pub member: Member,
}

/// A partition that is ours.
struct Part {
    task: Task,
    next: i64,
    /// Panes that are cut here, by start and revision.
    cut: BTreeSet<PaneId>,
    built_ms: i64,
    /// Whether its state broke: all its panes are aborted until it is made anew.
    broken: bool,
}

impl Part {
    /// Says once that the state broke: how many records find it so is nobody's business.
    fn broke(&mut self, of: &Runner, aborted: &window::Aborted) {
        if !self.broken {
            tracing::error!(event = "pane-aborted", release = %of.plan.name, %aborted);
        }
        self.broken = true;
    }
}

/// Everything that an error throws away.
struct Run<'r> {
    of: &'r Runner,
    topic: Arc<str>,
    pipeline: Arc<dyn Pipeline>,
    tail: Box<dyn Tail>,
    partitions: u32,
    parts: BTreeMap<u32, Part>,
    /// Panes that are released or refused.
    done: BTreeSet<PaneId>,
    /// The oldest pane that is not done.
    from_ms: i64,
    /// Periods, by their start, that may be charged: of whom and in which stretch of time is as it was.
    fitting: BTreeSet<i64>,
    /// Whether we led when we last looked.
    led: bool,
}

impl Runner {
    /// Runs until told to stop.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        loop {
            let why = tokio::select! {
                result = self.run_once() => result,
                _ = stopping.wait_for(|stop| *stop) => return,
            };
            if let Err(error) = why {
                tracing::warn!(event = "release-waits", release = %self.plan.name, %error);
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                _ = stopping.wait_for(|stop| *stop) => return,
            }
        }
    }

    fn now_ms(&self) -> i64 {
        self.clock.now_ms().0
    }

    async fn run_once(&self) -> Result<(), RunError> {
        let mut run = Run::open(self).await?;
        self.begun.add(&self.plan);
        let result = run.follow().await;
        run.tail.close().await;
        result
    }

    fn count(&self, outcome: &'static str) {
        let label = ReleaseOutcomeLabel { release: self.plan.name.to_string(), outcome };
        self.metrics.releases.get_or_create(&label).inc();
    }
}

impl<'r> Run<'r> {
    async fn open(of: &'r Runner) -> Result<Self, RunError> {
        let plan = &of.plan;
        let topic = contributions_topic(&plan.name);
        let pipeline = of.regions.get(&plan.region).cloned();
        let pipeline = pipeline.ok_or(DeliverError::UnknownTopic)?;
        let partitions = pipeline.ensure(&topic, Some(plan.keep_ms())).await?;
        pipeline.ensure(&plan.topic, None).await?;
        let then = of.account.agree_partitions(plan, partitions).await?;
        if then != partitions {
            let topic = topic.to_string();
            return Err(RunError::Partitions { topic, now: partitions, then });
        }
        let tail = pipeline.tail(&topic, &of.member).await?;
        let mut run = Self {
            of,
            topic,
            pipeline,
            tail,
            partitions,
            parts: BTreeMap::new(),
            done: BTreeSet::new(),
            from_ms: 0,
            fitting: BTreeSet::new(),
            led: false,
        };
        run.begin().await?;
        run.guard().await?;
        run.guard_log().await?;
        Ok(run)
    }

    /// From which pane on there is something to do.
    async fn begin(&mut self) -> Result<(), RunError> {
        let plan = &self.of.plan;
        let first = plan.schedule.pane.containing(self.of.now_ms()).start_ms;
        let agreed = self.of.account.agree_first_pane(plan, first).await?;
        let latest = self.of.account.latest_release(plan).await?;
        // A pane may wait for its revisions while younger ones are out.
        let resumed =
            latest.map_or(i64::MIN, |pane| pane.end_ms.saturating_sub(plan.revising_ms()));
        self.from_ms = plan.schedule.pane.containing(agreed.max(resumed)).start_ms;
        let released = self.of.account.released(plan, self.from_ms, i64::MAX / 1_000).await?;
        self.done = released.into_iter().collect();
        self.done.extend(self.of.account.refused(plan, self.from_ms).await?);
        self.note_gap(agreed).await
    }

    /// The offset that the next contribution will get.
    async fn end(&self, partition: u32) -> Result<i64, RunError> {
        Ok(self.pipeline.read(&self.topic, partition, i64::MAX, 0, 0).await?.end)
    }

    async fn follow(&mut self) -> Result<(), RunError> {
        loop {
            self.take_assignment().await?;
            let records = self.tail.poll(POLL).await?;
            self.accept(records)?;
            self.fire().await?;
        }
    }

    /// Gets ready for partitions that are newly ours, and forgets those that no longer are.
    async fn take_assignment(&mut self) -> Result<(), RunError> {
        let ours = self.tail.assigned().await?;
        let now_ms = self.of.now_ms();
        let whole = |part: &Part| !part.broken || now_ms.saturating_sub(part.built_ms) < REBUILD_MS;
        self.parts.retain(|partition, part| ours.contains(partition) && whole(part));
        for partition in ours {
            if !self.parts.contains_key(&partition) {
                let part = self.replay(partition).await?;
                self.parts.insert(partition, part);
            }
        }
        Ok(())
    }

    /// A partition's state from its log and its cuts.
    async fn replay(&mut self, partition: u32) -> Result<Part, RunError> {
        let of = self.of;
        let limits = window::Limits { ..of.limits };
        let spill = SpillFolder::new(of.spill.join(format!("{}-{partition}", of.plan.name)));
        let task = Task::new(of.plan.clone(), &of.choice, limits, Box::new(spill));
        let from_ms = task.earliest_needed_ms(self.from_ms);
        let since = from_ms.saturating_sub(CLOCK_SLACK_MS);
        let next = self.pipeline.offset_at(&self.topic, partition, since).await?;
        self.tail.seek(partition, next).await?;
        let mut cuts: Vec<(i64, PaneId)> = Vec::new();
        for cut in of.account.cuts(&of.plan, from_ms).await? {
            if cut.partition == partition {
                let start_ms = cut.window_start_us.div_euclid(1_000);
                let pane = of.plan.schedule.pane.containing(start_ms);
                let revision = cut.revision;
                cuts.push((cut.cut, PaneId { start_ms, end_ms: pane.end_ms, revision }));
            }
        }
        cuts.sort_unstable();
        let end = self.end(partition).await?;
        let (built_ms, broken) = (of.now_ms(), false);
        let mut part = Part { task, next, cut: BTreeSet::new(), built_ms, broken };
        // Everything before the last cut, with a close at each: what a close takes away from the
        // state, such as a pane that is over, is taken away at the same place again.
        for (cut, pane) in cuts {
            // Beyond the end nothing is: what was there is lost, and its period is blocked.
            let cut = cut.min(end);
            while part.next < cut {
                let (topic, next) = (&self.topic, part.next);
                let records =
                    self.pipeline.read(topic, partition, next, REPLAY_RECORDS, usize::MAX);
                let records = records.await?.records;
                let Some(last) = records.last() else { break };
                let end = (last.offset + 1).min(cut);
                for record in records {
                    if record.offset < cut {
                        take(of, &mut part, record.offset, record.value.as_deref());
                    }
                }
                part.next = part.next.max(end);
            }
            // The totals stand in the store, sealed, until the pane is released.
            let _totals = part.task.close(pane.start_ms, pane.revision);
            part.cut.insert(pane);
        }
        self.tail.seek(partition, part.next).await?;
        Ok(part)
    }

    fn accept(&mut self, records: Vec<(u32, Stored)>) -> Result<(), RunError> {
        for (partition, record) in records {
            if let Some(part) = self.parts.get_mut(&partition)
                && record.offset >= part.next
            {
                take(self.of, part, record.offset, record.value.as_deref());
                part.next = record.offset + 1;
            }
        }
        Ok(())
    }

    /// Cuts and releases what is due. By a clock that has leapt nothing is.
    async fn fire(&mut self) -> Result<(), RunError> {
        if self.of.clock.leapt_us().is_some() {
            return Ok(());
        }
        let now_ms = self.of.now_ms();
        let due = self.due(now_ms);
        self.report_lag(now_ms, due.first());
        if due.is_empty() && self.led {
            return Ok(());
        }
        for pane in &due {
            self.cut(*pane).await?;
        }
        let leads = self.of.account.leads(&self.of.plan, LEASE_US).await?;
        if !leads || !self.led {
            // What others have released is in the ledger.
            let released = self.of.account.released(&self.of.plan, self.from_ms, now_ms).await?;
            self.done.extend(released);
            self.done.extend(self.of.account.refused(&self.of.plan, self.from_ms).await?);
        }
        if leads && !self.led {
            self.republish().await?;
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
    fn due(&self, now_ms: i64) -> Vec<PaneId> {
        let plan = &self.of.plan;
        let mut due = Vec::new();
        let mut at = self.from_ms;
        loop {
            let pane = plan.schedule.pane.containing(at);
            let of = |revision| PaneId::new(pane, revision);
            if plan.fires_ms(of(0)) > now_ms || pane.end_ms <= at {
                break;
            }
            for revision in plan.revisions() {
                let pane = of(revision);
                if plan.fires_ms(pane) <= now_ms && !self.done.contains(&pane) {
                    due.push(pane);
                }
            }
            at = pane.end_ms;
        }
        due.sort_unstable_by_key(|pane| (plan.fires_ms(*pane), *pane));
        due.truncate(PANES_AT_ONCE);
        due
    }

    /// Cuts our partitions for a pane: everything that is in the log now belongs to it.
    async fn cut(&mut self, pane: PaneId) -> Result<(), RunError> {
        let open: Vec<u32> = self.parts.keys().copied().collect();
        for partition in open {
            if self.parts.get(&partition).is_some_and(|part| part.cut.contains(&pane)) {
                continue;
            }
            self.read_to_end(partition).await?;
            let Some(part) = self.parts.get_mut(&partition) else { continue };
            let sealed = match part.task.close(pane.start_ms, pane.revision) {
                Ok(totals) => totals.encode(),
                Err(aborted) => {
                    part.broke(self.of, &aborted);
                    Vec::new()
                }
            };
            let (cut, now_ms) = (part.next, self.of.now_ms());
            let sealed = self.of.seal.seal(now_ms, &about(pane, partition), &sealed)?;
            let agreed = self.of.account.cut(&self.of.plan, pane, partition, cut, sealed).await?;
            if agreed == cut {
                part.cut.insert(pane);
                // Only for those who look at the group's lag.
                let _shown = self.tail.commit(partition, cut).await;
            } else {
                // Another replica had the partition and cut it elsewhere: its cut counts.
                self.parts.remove(&partition);
            }
        }
        Ok(())
    }

    async fn read_to_end(&mut self, partition: u32) -> Result<(), RunError> {
        let end = self.tail.end(partition).await?;
        while self.parts.get(&partition).is_some_and(|part| part.next < end) {
            let records = self.tail.poll(POLL).await?;
            self.accept(records)?;
            if !self.tail.assigned().await?.contains(&partition) {
                self.parts.remove(&partition);
                return Ok(());
            }
            let position = self.tail.position(partition).await?;
            if let Some(part) = self.parts.get_mut(&partition)
                && position >= end
            {
                part.next = part.next.max(position);
            }
        }
        Ok(())
    }

    /// Releases a pane if all its partitions are cut. False: not yet.
    async fn release(&mut self, pane: PaneId) -> Result<bool, RunError> {
        let plan = &self.of.plan;
        let partials = self.of.account.partials(plan, pane).await?;
        if partials.len() < self.partitions as usize {
            return Ok(false);
        }
        if let Some(why) = self.misfit(pane).await? {
            self.refuse(pane, why).await?;
            return Ok(true);
        }
        let cuts: BTreeMap<u32, i64> = partials.iter().map(|(p, cut, _)| (*p, *cut)).collect();
        match self.total(pane, partials)? {
            None => self.refuse(pane, "aborted").await?,
            Some(totals) => match self.of.account.reserve(plan, pane).await {
                Ok(()) => self.draw(pane, totals, &cuts).await?,
                Err(ReleaseError::Refused(why)) => self.refuse(pane, code_of(why)).await?,
                Err(ReleaseError::Account(error)) => return Err(error.into()),
                Err(ReleaseError::Taken) => {}
            },
        }
        Ok(true)
    }

    async fn refuse(&self, pane: PaneId, code: &'static str) -> Result<(), RunError> {
        tracing::warn!(event = "release-refused", release = %self.of.plan.name, code);
        self.of.count(code);
        self.of.account.release_refused(&self.of.plan, pane, code).await?;
        self.of.account.remember_refused(&self.of.plan, pane).await?;
        Ok(())
    }

    /// The totals of all partitions; none if one of them was aborted.
    fn total(
        &self,
        pane: PaneId,
        partials: Vec<(u32, i64, Vec<u8>)>,
    ) -> Result<Option<Totals>, RunError> {
        let mut all = Totals::default();
        for (partition, _, sealed) in partials {
            let opened = self.of.seal.open(&about(pane, partition), &sealed)?;
            let Some(totals) = Totals::decode(&opened) else { return Ok(None) };
            if all.add(totals).is_err() {
                return Ok(None);
            }
        }
        Ok(Some(all))
    }

    /// Draws, makes durable, publishes.
    async fn draw(
        &self,
        pane: PaneId,
        totals: Totals,
        cuts: &BTreeMap<u32, i64>,
    ) -> Result<(), RunError> {
        let plan = self.of.plan.clone();
        let history = self.history(pane).await?;
        let snapshot = self.of.policy.now().map_err(|_| RunError::NoPolicy)?;
        let policy = snapshot.table.digest();
        crash_point("before-sample");
        let drawn = move || -> Result<Vec<Message>, RunError> {
            let failed = |e: NoiseError| RunError::Noise(e.to_string());
            let mut sampler = OpenDp::for_plan(&plan).map_err(failed)?;
            let noisy = select::noise(&plan, &totals, &mut sampler).map_err(failed)?;
            let (panes, before) = &history;
            let smoothed = plan.smoothing.map(|how| smooth(how, before.as_ref(), &noisy));
            Ok(encode::messages(&plan, pane, &noisy, panes, smoothed.as_ref(), policy))
        };
        // The sampler is not `Send`: it lives and dies in there.
        let messages = tokio::task::spawn_blocking(drawn).await;
        let messages = messages.map_err(|e| RunError::Noise(e.to_string()))??;
        crash_point("after-sample");
        let covers = self.covers(pane, cuts).await?;
        let drawn = Drawn { pane, policy, messages, covers };
        match self.of.account.release(&self.of.plan, drawn).await {
            Ok(durable) => {
                crash_point("after-durable");
                self.publish(durable, BTreeMap::new()).await
            }
            // Another replica was faster: what was drawn here was seen by nobody.
            Err(ReleaseError::Taken) => Ok(()),
            Err(ReleaseError::Refused(why)) => self.refuse(pane, code_of(why)).await,
            Err(ReleaseError::Account(error)) => Err(error.into()),
        }
    }

    /// The newest rows that were released before a pane, oldest first: what sums over several
    /// panes and smoothing are made of.
    async fn history(&self, pane: PaneId) -> Result<(PaneHistory, Option<Smoothed>), RunError> {
        let plan = &self.of.plan;
        let mut panes = Vec::new();
        let mut at = plan.schedule.pane.containing(pane.start_ms);
        for _ in 0..store::history_needed(plan) {
            at = plan.schedule.pane.previous(&at);
            let mut newest = None;
            for revision in plan.revisions() {
                let earlier = PaneId::new(at, revision);
                let found = self.of.account.released_messages(plan, earlier).await?;
                newest = found.or(newest);
            }
            panes.push(newest);
        }
        panes.reverse();
        Ok(store::history(plan, panes))
    }

    /// The offsets that can hold contributions to a pane: from the last cut before its first
    /// moment on.
    async fn covers(
        &self,
        pane: PaneId,
        cuts: &BTreeMap<u32, i64>,
    ) -> Result<Vec<Covered>, RunError> {
        let plan = &self.of.plan;
        let begins = pane.start_ms.saturating_sub(plan.schedule.max_skew_ms);
        let looked = begins.saturating_sub(plan.keep_ms());
        let mut from: BTreeMap<u32, i64> = BTreeMap::new();
        for cut in self.of.account.cuts(plan, looked).await? {
            let start_ms = cut.window_start_us.div_euclid(1_000);
            let end_ms = plan.schedule.pane.containing(start_ms).end_ms;
            let earlier = PaneId { start_ms, end_ms, revision: cut.revision };
            if self.of.plan.fires_ms(earlier) <= begins {
                let at = from.entry(cut.partition).or_insert(0);
                *at = (*at).max(cut.cut);
            }
        }
        let covered = cuts.iter().map(|(partition, to)| Covered {
            partition: *partition,
            from: from.get(partition).copied().unwrap_or(0).min(*to),
            to: *to,
        });
        Ok(covered.collect())
    }

    /// Releases that are durable, and of which the topic may lack something.
    async fn republish(&self) -> Result<(), RunError> {
        for durable in self.of.account.unpublished(&self.of.plan).await? {
            let since_ms = durable.since_us.div_euclid(1_000);
            let wanted = positions(&durable.lot).collect();
            let placed = match self.pipeline.find(&self.of.plan.topic, &wanted, since_ms).await {
                Err(DeliverError::UnknownTopic) => BTreeMap::new(),
                placed => placed?,
            };
            self.publish(durable, placed).await?;
        }
        Ok(())
    }

    /// Puts into the topic what is not there yet, under the positions that it has in any case.
    async fn publish(
        &self,
        durable: Durable,
        placed: BTreeMap<Position, Placed>,
    ) -> Result<(), RunError> {
        let positions: Vec<Position> = positions(&durable.lot).collect();
        let missing = |n: usize| positions.get(n).is_some_and(|p| !placed.contains_key(p));
        let sending = Sending::only(durable.lot.project(Arc::clone), missing);
        let numbers = (0..positions.len()).filter(|n| missing(*n));
        let landed = numbers.zip(deliver::send(sending, &self.of.regions).await);
        let landed: Vec<_> = landed.collect();
        let failed = landed.iter().find_map(|(_, result)| result.as_ref().err()).cloned();
        crash_point("after-produce");
        self.of.account.settle_release(&durable.lot, &landed);
        if let Some(error) = failed {
            return Err(error.into());
        }
        self.of.account.release_published(&durable).await?;
        self.of.count("published");
        crash_point("after-published");
        Ok(())
    }

    /// Goes on behind panes that are done, and forgets what no replay needs.
    async fn advance(&mut self) -> Result<(), RunError> {
        let plan = &self.of.plan;
        loop {
            let pane = plan.schedule.pane.containing(self.from_ms);
            let of = |revision| PaneId::new(pane, revision);
            if !plan.revisions().all(|revision| self.done.contains(&of(revision))) {
                break;
            }
            for revision in plan.revisions() {
                self.done.remove(&of(revision));
                let before = self.needed_ms();
                self.of.account.forget_partials(plan, of(revision), before).await?;
            }
            self.from_ms = pane.end_ms;
        }
        let needed = self.needed_ms();
        let open = self.from_ms;
        for part in self.parts.values_mut() {
            part.task.forget(open);
            part.cut.retain(|pane| pane.start_ms >= open);
        }
        for partition in self.parts.keys() {
            let since = needed.saturating_sub(CLOCK_SLACK_MS);
            let before = self.pipeline.offset_at(&self.topic, *partition, since).await?;
            self.pipeline.trim(&self.topic, *partition, before).await?;
        }
        let label = ReleaseLabel { release: plan.name.to_string() };
        let spent = self.of.account.spent_ratio(plan, self.of.now_ms()).await?;
        self.of.metrics.release_spent.get_or_create(&label).set(spent);
        Ok(())
    }

    /// From when on contributions and cuts are needed for a replay.
    fn needed_ms(&self) -> i64 {
        window::earliest_needed_ms(&self.of.plan, self.from_ms)
    }

    fn report_lag(&self, now_ms: i64, oldest: Option<&PaneId>) {
        let waited = oldest.map_or(0, |pane| now_ms.saturating_sub(self.of.plan.fires_ms(*pane)));
        let label = ReleaseLabel { release: self.of.plan.name.to_string() };
        self.of.metrics.release_lag.get_or_create(&label).set(waited.div_euclid(1_000));
    }
}

/// Hands one record of the log to a task. What is not a contribution of this plan (another
/// version of it, damaged bytes) is no contribution.
fn take(of: &Runner, part: &mut Part, offset: i64, sealed: Option<&[u8]>) {
    let opened = of.seal.open(&of.plan.digest, sealed.unwrap_or_default());
    let Some(contribution) = opened.ok().and_then(|bytes| Contribution::decode(&bytes).ok()) else {
        return;
    };
    if let Err(aborted) = part.task.accept(offset, contribution) {
        part.broke(of, &aborted);
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

/// What sealed totals are about.
fn about(pane: PaneId, partition: u32) -> Vec<u8> {
    let mut about = b"totals".to_vec();
    about.extend_from_slice(&pane.start_ms.to_be_bytes());
    about.extend_from_slice(&pane.end_ms.to_be_bytes());
    about.extend_from_slice(&pane.revision.to_be_bytes());
    about.extend_from_slice(&partition.to_be_bytes());
    about
}
