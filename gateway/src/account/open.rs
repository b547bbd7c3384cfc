//! Opens the ledger, once, and settles what former runs left open before anything new is recorded.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sluicegate_audit as audit;
use sluicegate_audit::{Position, Standing};
use tokio::sync::watch;

use super::{
    Account, NotReconciled,
    entries::{DeliveryResult, admin, batches, by_shell, outcome},
};
use crate::{
    ambient::Clock,
    deliver::{Regions, Since},
    files::{self, Disk},
    record::{DeliverError, Placed},
    telemetry::{CAUSE_BYTES_MAX, cut},
};

/// What it means that a pipeline does not have a record.
#[derive(Clone, Copy)]
pub(super) enum Absent {
    /// We sent nothing any more: we have started since.
    NotWritten,
    /// Another node may have sent it: one that was suspended may still do so, and files of its own
    /// regions are not ours.
    Unknown,
}

/// How far our clock may be from the store's when the ledger is opened, and another writer's from
/// ours before a warning.
const CLOCK_SKEW_US: i64 = 60_000_000;

impl Account {
    /// Opens the store if it is not open, and settles what former runs left open: their intents
    /// are looked up in the pipelines. Returns the time of the node's last row.
    pub async fn reconcile(&self, regions: &Regions) -> Result<(usize, i64), NotReconciled> {
        let ledger = self.opened().await?;
        self.settle_all(&ledger, regions).await.map_err(NotReconciled::Waits)
    }

    async fn settle_all(
        &self,
        ledger: &Arc<audit::Ledger>,
        regions: &Regions,
    ) -> Result<(usize, i64), String> {
        // Not before this: a retry must not race the look-up of what it retries.
        let open = ledger.open_intents().await.map_err(|e| e.to_string())?;
        let settled = open.len();
        for some in batches(open) {
            self.settle_group(ledger, &some, regions, Absent::NotWritten).await?;
        }
        self.ledger.store(Some(ledger.clone()));
        self.note_early(ledger)?;
        Ok((settled, ledger.floor_us()))
    }

    /// Opens the ledger if it is not open: from then on its name or file is held.
    pub async fn hold(&self) -> Result<(), NotReconciled> {
        self.opened().await.map(|_| ())
    }

    /// The ledger, opened once: a region that is unavailable must not begin a chain per attempt, and
    /// two who open it at the same time would find each other holding it.
    async fn opened(&self) -> Result<Arc<audit::Ledger>, NotReconciled> {
        let mut opened = self.opened.lock().await;
        if let Some(ledger) = &*opened {
            return Ok(ledger.clone());
        }
        let ledger = Arc::new(self.open().await?);
        *opened = Some(ledger.clone());
        Ok(ledger)
    }

    async fn open(&self) -> Result<audit::Ledger, NotReconciled> {
        let standing = if self.beside { Standing::Beside } else { Standing::Node };
        let ledger = self.open_as(standing).await?;
        let ahead_us = ledger.newest_us().saturating_sub(self.ambient.clock.now_us());
        if ahead_us > CLOCK_SKEW_US && !self.beside {
            let ahead_s = ahead_us / 1_000_000;
            tracing::warn!(event = "another-writers-clock-was-ahead", ahead_s);
        }
        Ok(ledger)
    }

    async fn open_as(&self, standing: Standing) -> Result<audit::Ledger, NotReconciled> {
        let waits = |e: crate::ambient::RngUnavailable| NotReconciled::Waits(e.to_string());
        let options = audit::Options {
            origin: self.origin.clone(),
            writer: audit::WriterId(self.ambient.id().map_err(waits)?),
            node: self.node.clone(),
            software: concat!("sluicegate ", env!("CARGO_PKG_VERSION")).to_owned(),
            clock: Arc::new(LedgerClock(self.ambient.clock.clone())),
            search_key: self.digests.load().search_key().clone(),
            standing,
            skew_max_us: CLOCK_SKEW_US,
        };
        let ledger = audit::Ledger::open(&self.url, options).await;
        let ledger = ledger.map_err(|error| match error {
            audit::OpenError::Store(audit::StoreError::Held(why)) => NotReconciled::Held(why),
            audit::OpenError::Store(audit::StoreError::Older | audit::StoreError::Newer)
            | audit::OpenError::Segment(audit::EnterError::OtherKey { .. }) => {
                NotReconciled::Held(error.to_string())
            }
            error => NotReconciled::Waits(error.to_string()),
        })?;
        let kept = ledger.segments().await.map_err(|e| NotReconciled::Waits(e.to_string()))?;
        let fit = self.digests.load().fit(&kept);
        if let Err(error) = fit {
            // Nothing else is written without them: what is kept could not be searched.
            let _closed = ledger.close().await;
            return Err(NotReconciled::Held(error.to_string()));
        }
        tokio::spawn(log_trouble(ledger.trouble()));
        Ok(ledger)
    }

    /// Leaves a false time of the node's own behind: a new chain that names the old head, and says
    /// who began it and why.
    pub async fn restart_time(&self, because: String) -> Result<(), String> {
        let entry = admin(by_shell(), "time.restart", "ok", because);
        let ledger = self.open_as(Standing::Restarted(Box::new(entry))).await;
        let ledger = ledger.map_err(|e| e.to_string())?;
        ledger.close().await.map_err(|e| e.to_string())
    }

    /// One look-up per region and topic for many intents.
    pub(super) async fn settle_group(
        &self,
        ledger: &audit::Ledger,
        open: &[audit::OpenIntent],
        regions: &Regions,
        absent: Absent,
    ) -> Result<(), String> {
        type Wanted = (Since, BTreeSet<Position>);
        let mut wanted: BTreeMap<(&str, &str, Option<u32>), Wanted> = BTreeMap::new();
        for intent in open {
            for leaf in &intent.leaves {
                for copy in &leaf.to {
                    let topic = copy.topic.as_deref().unwrap_or(&intent.intent.topic);
                    let since = since(intent, copy);
                    let partition = match since {
                        Since::Time(_) => None,
                        Since::Offset(partition, _) => Some(partition),
                    };
                    let all = wanted.entry((&copy.region, topic, partition));
                    let (first, positions) = all.or_insert((since, BTreeSet::new()));
                    *first = since.min(*first);
                    positions.insert(leaf.position);
                }
            }
        }
        let mut found: BTreeMap<(&str, &str, Position), Placed> = BTreeMap::new();
        for ((region, topic, _), (since, positions)) in &wanted {
            let Some(pipeline) = regions.get(region) else { continue };
            let some = pipeline.find(topic, positions, *since).await;
            let some = match some {
                Err(DeliverError::UnknownTopic) => BTreeMap::new(),
                other => other.map_err(|e| format!("region `{region}`: {}", e.cause()))?,
            };
            found.extend(some.into_iter().map(|(p, placed)| ((*region, *topic, p), placed)));
        }
        let never = match absent {
            Absent::NotWritten => DeliverError::Unavailable("not sent before a restart".to_owned()),
            Absent::Unknown => DeliverError::Unknown("its node is gone".to_owned()),
        };
        for intent in open {
            let results =
                intent.leaves.iter().flat_map(|audit::OpenLeaf { position, to, records }| {
                    to.iter().map(|copy| {
                        let topic = copy.topic.as_deref().unwrap_or(&intent.intent.topic);
                        let placed = found.get(&(&*copy.region, topic, *position)).copied();
                        let result = placed.ok_or(&never);
                        // The first record of a run has its position; the others are behind it.
                        let (leaf, count, region) = (position.leaf, *records, &*copy.region);
                        DeliveryResult { leaf, count, region, topic, result }
                    })
                });
            let mut outcome = outcome(intent.first, results);
            if matches!(absent, Absent::Unknown) || passed_untouched(intent) {
                outcome.missing.iter_mut().for_each(|m| m.state = audit::MissingState::Unknown);
                outcome.complete = true;
            }
            ledger.settle_now(outcome).await.map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

/// Before a copy of an intent. What a client sent as a batch has the client's times, and is in its partition.
fn since(intent: &audit::OpenIntent, copy: &audit::Destination) -> Since {
    let mut batches = intent.intent.batch.iter();
    let batch = batches.find(|b| copy.topic.is_none() && b.cluster == copy.region);
    batch.map_or(Since::Time(intent.t_us.div_euclid(1_000)), |batch| {
        Since::Offset(batch.partition, batch.log_end)
    })
}

/// A client's batch that went on as it came: nothing in the topic names its intent.
fn passed_untouched(intent: &audit::OpenIntent) -> bool {
    let mut to = intent.leaves.iter().flat_map(|leaf| &leaf.to);
    !intent.intent.batch.is_empty() && to.any(|copy| copy.untouched)
}

/// One line when the ledger cannot be written any more, and one when it can again; and the same for
/// its disk.
async fn log_trouble(mut trouble: watch::Receiver<Option<audit::AppendError>>) {
    let mut disk = Disk::new("ledger".to_owned());
    while trouble.changed().await.is_ok() {
        let why = trouble.borrow_and_update().as_ref().map(ToString::to_string);
        disk.is(why.as_ref().is_some_and(|why| files::says_full(why)));
        match why {
            Some(why) => {
                let why = cut(why, CAUSE_BYTES_MAX);
                tracing::error!(event = "ledger-unavailable", why);
            }
            None => tracing::info!(event = "ledger-available"),
        }
    }
}

struct LedgerClock(Arc<dyn Clock>);

impl audit::Clock for LedgerClock {
    /// While the wall clock has leapt, the time that it should be.
    fn now(&self) -> audit::Time {
        let source = if self.0.leapt_us().is_some() { "monotonic" } else { "system" };
        audit::Time { us: self.0.now_us(), err_us: 0, source }
    }
}
