//! The whole way of a record, on one screen. Start reading here.
//!
//! ```text
//! Received ─ classify ─ decide ─ transform ─▶ Judged ─ account ─▶ Recorded ─ deliver ─▶ Landing
//!                 └────── Refused ──────────────▲                              └─ account
//! ```
//!
//! What becomes of a record is decided in `judge`, who may ask in `permit`; the stages are leaves
//! that do not know each other. INVARIANT: every record gets exactly one fate, and the fate is
//! durable in the ledger before a copy leaves. Any error while deciding or transforming refuses.

mod judge;
mod permit;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use sluicegate_audit::Position;
use sluicegate_policies::{Delivery, Grant};
use sluicegate_protect as protect;

use crate::{
    account::{Account, AccountError, ClaimFound, Claimed},
    decide::{Policy, Snapshot},
    deliver::{self, DeliverError, Landing, Placed, Regions},
    identify::{Failure, Principal},
    record::{Fate, Judged, NotCounted, Received, Record, Recorded, Refused, RequestId},
    telemetry::{FateLabel, Metrics, RegionLabel, RuleLabel, UncountedLabel},
};

use self::judge::refuse_lost_plan;

pub use self::permit::Permitted;
pub use crate::account::Keyed;
pub(crate) use judge::{Judge, NotAccepted};

/// What a request is about.
#[derive(Clone)]
pub struct Target {
    pub topic: String,
    pub purpose: Option<String>,
}

/// What became of one record.
pub struct Report {
    /// The record's number within its request.
    pub seq: u32,
    pub position: Option<Position>,
    pub outcome: Outcome,
    /// What of it counts in no window of a release.
    pub not_counted: Vec<NotCounted>,
}

pub enum Outcome {
    Delivered(Vec<(Arc<str>, Placed)>),
    /// For releases alone, and kept for nothing else.
    Aggregated,
    Refused(Refused),
    /// At least one region does not have it; the first error, and the regions that have it.
    Failed {
        region: Arc<str>,
        error: DeliverError,
        placed: Vec<(Arc<str>, Placed)>,
    },
}

/// The answer to a request with an idempotency key.
pub struct Once {
    pub answer: Vec<u8>,
    /// It was given before, to the same request.
    pub replayed: bool,
}

/// When a request arrived, and what its records are known by.
struct Arrived {
    request: RequestId,
    /// The number of its first record.
    first: u32,
    ms: i64,
}

/// Why a request stopped before its records had fates of their own.
#[derive(Debug)]
pub enum Stopped {
    Refused(Refused),
    /// Failing closed: the ledger is unavailable. The log has the cause.
    Ledger,
    /// Failing closed: a pipeline is unavailable. The log has the cause.
    Pipeline {
        region: Arc<str>,
        error: DeliverError,
    },
    KeyRunning,
    KeyReused,
    NoPartition,
    /// The batch's decisions differ so much that they do not fit one ledger row.
    TooVaried,
}

impl From<Refused> for Stopped {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<AccountError> for Stopped {
    fn from(error: AccountError) -> Self {
        if let AccountError::Append(sluicegate_audit::AppendError::TooLarge) = error {
            return Self::TooVaried;
        }
        Self::Ledger
    }
}

/// A stretch of a partition that a reader wants.
pub struct Wanted {
    pub region: Option<String>,
    pub partition: u32,
    pub offset: i64,
    /// Records, and bytes of them, at most; the first record comes in any case.
    pub limit: usize,
    pub bytes: usize,
    pub origin: [u8; 16],
}

/// The stages, wired.
pub struct Flow {
    pub policy: Arc<Policy>,
    pub account: Arc<Account>,
    pub regions: Regions,
    pub metrics: Arc<Metrics>,
}

impl Flow {
    /// The way of a batch: judged, recorded, delivered, settled.
    pub async fn publish(
        &self,
        permitted: &Permitted,
        received: Received,
    ) -> Result<Vec<Report>, Stopped> {
        let (snapshot, grant) = (permitted.snapshot(), permitted.grant()?);
        let (request, first) = (received.request, received.first);
        let (head, records) =
            self.account.head(permitted.who(), permitted.target(), &snapshot.table, received);
        let arrived = Arrived { request, first, ms: self.policy.clock_ms() };
        let judged = self.judge(records, &grant, snapshot, arrived);
        let recorded = self.account.record(&head, &grant, snapshot, judged, None).await?;
        let landings = deliver::deliver(recorded.by_region(), &self.regions).await;
        self.account.settle(&recorded, &landings, None);
        Ok(self.reports(head.first, &grant.dataset().name, &recorded, landings))
    }

    /// The same for a request with an idempotency key. `render` makes the answer that a
    /// repetition will get again.
    pub async fn publish_once(
        &self,
        permitted: &Permitted,
        received: Received,
        keyed: Keyed,
        render: impl Fn(RequestId, &[Report]) -> Vec<u8>,
    ) -> Result<Once, Stopped> {
        let _running = self.account.running(&keyed).ok_or(Stopped::KeyRunning)?;
        let earlier = match self.account.claim(&keyed).await? {
            ClaimFound::Reused => return Err(Stopped::KeyReused),
            ClaimFound::Done(answer) => return Ok(Once { answer, replayed: true }),
            ClaimFound::ElsewhereRunning => return Err(Stopped::KeyRunning),
            ClaimFound::Interrupted(claimed) => Some(claimed),
            ClaimFound::New => None,
        };
        let (snapshot, grant) = (permitted.snapshot(), permitted.grant()?);
        let request = received.request;
        let (head, records) =
            self.account.head(permitted.who(), permitted.target(), &snapshot.table, received);
        // A repetition brings to releases what the first attempt brought, to the letter.
        let ms = earlier
            .as_ref()
            .map_or_else(|| self.policy.clock_ms(), |claimed| claimed.at_us.div_euclid(1_000));
        let arrived = Arrived { request: keyed.repeats(), first: head.first, ms };
        let judged = self.judge(records, &grant, snapshot, arrived);
        let (request, recorded, mut landings) = match earlier {
            None => {
                let keyed = Some((&keyed, ms));
                let fresh = self.account.record(&head, &grant, snapshot, judged, keyed).await?;
                (request, fresh, Vec::new())
            }
            Some(claimed) => {
                let (first, recorded, landed) = self.resume(&head, claimed, judged).await?;
                // Decisions are named as the ledger names them: by the request that made them.
                (first.unwrap_or(request), recorded, landed)
            }
        };
        let missing = recorded.outbound_without(&landings);
        landings.extend(deliver::deliver(missing, &self.regions).await);
        let retriable = |l: &Landing| l.result.as_ref().is_err_and(DeliverError::is_retriable);
        if let Some(Landing { result: Err(error), region, .. }) =
            landings.iter().find(|l| retriable(l))
        {
            // The claim stays open: the repetition finds out what is missing and delivers that.
            let stopped = Stopped::Pipeline { region: region.clone(), error: error.clone() };
            self.account.settle(&recorded, &landings, None);
            return Err(stopped);
        }
        let dataset = grant.dataset().name.clone();
        let reports = self.reports(head.first, &dataset, &recorded, landings.clone());
        let answer = render(request, &reports);
        self.account.settle(&recorded, &landings, Some((&keyed, answer.clone())));
        Ok(Once { answer, replayed: false })
    }

    /// A request that was interrupted between its intent and its answer: what is in the pipelines
    /// stays there, the rest goes out under the positions it had. What its intent does not say
    /// must not leave under it: when the policy has changed since, the rest has failed.
    async fn resume(
        &self,
        head: &crate::account::Head,
        claimed: Claimed,
        judged: Vec<Judged>,
    ) -> Result<(Option<RequestId>, Recorded, Vec<Landing>), Stopped> {
        let intended = self.account.intended(head, &claimed).await?;
        let recorded = Recorded::resumed(head.topic.clone(), claimed.first, judged);
        let mut landed = Vec::new();
        for batch in recorded.by_region() {
            let Some(pipeline) = self.regions.get(&batch.region) else { continue };
            let mut wanted: BTreeMap<Arc<str>, BTreeSet<Position>> = BTreeMap::new();
            for copy in batch.outbound {
                wanted.entry(copy.topic).or_default().insert(copy.position);
            }
            for (topic, positions) in wanted {
                let since_ms = claimed.at_us.div_euclid(1_000);
                let found = match pipeline.find(&topic, &positions, since_ms).await {
                    Err(DeliverError::UnknownTopic) => BTreeMap::new(),
                    found => found.map_err(|error| Stopped::Pipeline {
                        region: batch.region.clone(),
                        error,
                    })?,
                };
                for position in positions {
                    let region = batch.region.clone();
                    let result = match found.get(&position) {
                        Some(placed) => Ok(*placed),
                        None if intended.covers(position, &region, &topic) => continue,
                        None => Err(DeliverError::PolicyChanged),
                    };
                    let topic = topic.clone();
                    landed.push(Landing { leaf: position.leaf, region, topic, result });
                }
            }
        }
        Ok((intended.request, recorded, landed))
    }

    fn judge(
        &self,
        records: Vec<Record>,
        grant: &Grant<'_>,
        snapshot: &Snapshot,
        Arrived { request, first: seq, ms: arrival_ms }: Arrived,
    ) -> Vec<Judged> {
        let mut judge = Judge::new(grant, snapshot, arrival_ms, request, seq);
        heavy(records.len(), || {
            records.into_iter().map(|record| self.counted(grant, judge.fate(record))).collect()
        })
    }

    fn counted(&self, grant: &Grant<'_>, judged: Judged) -> Judged {
        if let Fate::Deliver { jurisdiction, copies } | Fate::Aggregate { jurisdiction, copies } =
            &judged.fate
            && let Ok(route) = grant.route(*jurisdiction)
        {
            for rule in &route.shadow {
                self.metrics.shadow.get_or_create(&RuleLabel { rule: rule.to_string() }).inc();
            }
            let crosses = |delivery: &&Delivery| {
                let goes_there = copies.iter().any(|copy| copy.region == delivery.region);
                delivery.transfer.is_some() && goes_there
            };
            for delivery in route.deliveries.iter().filter(crosses) {
                let region = delivery.region.to_string();
                self.metrics.transfers.get_or_create(&RegionLabel { region }).inc();
            }
        }
        for NotCounted { release, why } in &judged.not_counted {
            let labels = UncountedLabel { release: release.to_string(), code: why.code() };
            self.metrics.uncounted.get_or_create(&labels).inc();
        }
        judged
    }

    fn reports(
        &self,
        first: u32,
        dataset: &str,
        recorded: &Recorded,
        landings: Vec<Landing>,
    ) -> Vec<Report> {
        let mut by_leaf: BTreeMap<u32, Vec<Landing>> = BTreeMap::new();
        for landing in landings {
            by_leaf.entry(landing.leaf).or_default().push(landing);
        }
        let report = |(n, judged): (usize, &Judged)| {
            let position = recorded.position(n);
            let outcome = match &judged.fate {
                Fate::Refuse(refused) => {
                    self.count_refused(dataset, refused, 1);
                    Outcome::Refused(refused.clone())
                }
                Fate::Deliver { .. } | Fate::Aggregate { .. } => {
                    let landings = by_leaf.remove(&position.leaf).unwrap_or_default();
                    let aggregate = matches!(judged.fate, Fate::Aggregate { .. });
                    let outcome = landed(landings, recorded.topic(), aggregate);
                    self.count_outcome(dataset, &outcome);
                    outcome
                }
            };
            let seq = first.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
            let not_counted = judged.not_counted.clone();
            Report { seq, position: Some(position), outcome, not_counted }
        };
        recorded.judged().iter().enumerate().map(report).collect()
    }

    /// Reads a stretch of a partition, as NDJSON lines. The read is durable in the ledger before
    /// anything is handed out.
    pub async fn read(&self, permitted: &Permitted, wanted: Wanted) -> Result<Vec<u8>, Stopped> {
        let (snapshot, grant) = (permitted.snapshot(), permitted.grant()?);
        let topic = permitted.target().topic.as_str();
        let region = self.region(wanted.region.as_deref())?;
        let pipeline = self.regions.get(&region).ok_or(Stopped::NoPartition)?;
        let mut page = pipeline
            .read(topic, wanted.partition, wanted.offset, wanted.limit, wanted.bytes)
            .await
            .map_err(|error| match error {
                DeliverError::UnknownTopic => Stopped::NoPartition,
                error => Stopped::Pipeline { region: region.clone(), error },
            })?;
        let (plan_id, _) = grant.view();
        let program = snapshot.program(plan_id).ok_or_else(lost_plan)?;
        let mut lines = Vec::new();
        let mut scratch = protect::Protected::default();
        let mut shown = 0;
        for stored in &page.records {
            // Lines may be longer than what is stored: what does not fit is not in this page.
            if shown > 0 && lines.len() >= wanted.bytes {
                break;
            }
            shown += 1;
            // A record that the view cannot be applied to is left out, never shown as it is.
            let record = protect::RecordRef {
                key: stored.key.as_deref(),
                headers: &stored.headers,
                value: stored.value.as_deref().unwrap_or_default(),
            };
            if program.apply(record, &mut scratch).is_ok() {
                render_line(&mut lines, wanted.partition, stored, &scratch);
            }
        }
        page.records.truncate(shown);
        self.account.read(permitted, &wanted, &region, &grant, &page).await?;
        Ok(lines)
    }

    fn region(&self, asked: Option<&str>) -> Result<Arc<str>, Stopped> {
        let mut regions = self.regions.iter().map(|(name, _)| name);
        let found = match asked {
            Some(asked) => regions.find(|name| name.as_ref() == asked),
            None => match (regions.next(), regions.next()) {
                (Some(only), None) => Some(only),
                _ => None,
            },
        };
        found.cloned().ok_or(Stopped::NoPartition)
    }

    /// A failed login is in the ledger; if the ledger is away, the login has failed all the same.
    pub async fn login_failed(&self, failure: Failure, address: Option<IpAddr>) {
        let code = failure.code().to_owned();
        self.metrics.login_failures.get_or_create(&crate::telemetry::CodeLabel { code }).inc();
        tracing::info!(event = "login-failed", reason = failure.code());
        self.account.login_failed(failure, address).await;
    }

    /// The keyed digest of a caller's address, as the ledger holds it.
    pub fn origin(&self, address: IpAddr) -> [u8; 16] {
        self.account.origin(address)
    }

    /// An idempotency key and its request's fingerprint, as keyed digests.
    pub fn keyed(&self, who: &Principal, target: &Target, key: &str, body: &[&[u8]]) -> Keyed {
        self.account.keyed(who, target, key, body)
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, Stopped> {
        self.policy.now().map_err(|refused| {
            self.metrics.count_fail_closed("policy-not-in-force");
            Stopped::Refused(refused)
        })
    }

    fn count_refused(&self, dataset: &str, refused: &Refused, records: u64) {
        let code = refused.code.as_str();
        self.metrics.count_record(dataset, FateLabel::Refused, code, records);
    }

    fn count_outcome(&self, dataset: &str, outcome: &Outcome) {
        let placed = match outcome {
            Outcome::Delivered(placed) => {
                self.metrics.count_record(dataset, FateLabel::Delivered, "", 1);
                placed
            }
            Outcome::Failed { error, placed, .. } => {
                self.metrics.count_record(dataset, FateLabel::Failed, error.code(), 1);
                placed
            }
            Outcome::Aggregated => {
                self.metrics.count_record(dataset, FateLabel::Aggregated, "", 1);
                return;
            }
            Outcome::Refused(_) => return,
        };
        for (region, _) in placed {
            let region = region.to_string();
            self.metrics.deliveries.get_or_create(&RegionLabel { region }).inc();
        }
    }
}

/// Records whose parsing or judging may hold up other tasks of its thread.
const HEAVY_RECORDS: usize = 500;

/// Does work over so many records; while it is much, other tasks go on elsewhere.
pub(crate) fn heavy<T>(records: usize, work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    let elsewhere =
        Handle::try_current().is_ok_and(|h| h.runtime_flavor() == RuntimeFlavor::MultiThread);
    match records > HEAVY_RECORDS && elsewhere {
        true => tokio::task::block_in_place(work),
        false => work(),
    }
}

fn lost_plan() -> Stopped {
    Stopped::Refused(refuse_lost_plan())
}

/// `topic` is the one the publisher knows; copies in internal topics are no news to it.
fn landed(landings: Vec<Landing>, topic: &Arc<str>, aggregate: bool) -> Outcome {
    let mut placed = Vec::new();
    let mut failed = None;
    for landing in landings {
        match landing.result {
            Ok(_) if landing.topic != *topic => {}
            Ok(at) => placed.push((landing.region, at)),
            Err(error) => {
                failed.get_or_insert((landing.region, error));
            }
        }
    }
    match failed {
        Some((region, error)) => Outcome::Failed { region, error, placed },
        None if aggregate => Outcome::Aggregated,
        None => Outcome::Delivered(placed),
    }
}

/// A record as the transform engine sees it; a tombstone has an empty value.
pub(crate) fn record_ref(record: &Record) -> protect::RecordRef<'_> {
    protect::RecordRef {
        key: record.key.as_deref(),
        headers: &record.headers,
        value: record.value.as_deref().unwrap_or_default(),
    }
}

/// One line of a read: value and key as JSON where they are JSON, as text else.
fn render_line(
    lines: &mut Vec<u8>,
    partition: u32,
    stored: &deliver::Stored,
    shown: &protect::Protected,
) {
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        serde_json::to_string(&text).unwrap_or_default()
    };
    let json = |bytes: &[u8]| match protect::json::validate(bytes) {
        Ok(()) => String::from_utf8_lossy(bytes).into_owned(),
        Err(_) => text(bytes),
    };
    let key = shown.key.as_deref().map_or_else(|| "null".to_owned(), json);
    let value = match stored.value {
        Some(_) => json(&shown.value),
        None => "null".to_owned(),
    };
    let headers: Vec<String> = shown
        .headers
        .iter()
        .map(|(name, value)| format!("[{},{}]", text(name.as_bytes()), text(value)))
        .collect();
    let line = format!(
        "{{\"partition\":{partition},\"offset\":{},\"timestamp_ms\":{},\"key\":{key},\"headers\":[{}],\"value\":{value}}}\n",
        stored.offset,
        stored.timestamp_ms,
        headers.join(",")
    );
    lines.extend_from_slice(line.as_bytes());
}
