//! The witness of spent budgets: what the ledger had, at a place of its own, so that a ledger that
//! was put back from an older copy is noticed before anything is drawn again.
//!
//! It is written after a charge is durable and before noise is drawn, and once more when a release
//! is durable and before it is published. So the ledger is never behind it, wherever a process
//! dies, and every row of the ledger that published something is behind the row that it names.
//!
//! INVARIANT: what a witness names was durable in the ledger before. A witness is read before the
//! ledger that it is compared with: other nodes go on meanwhile.
//!
//! Once charges may be lost, every period that had begun by then is in doubt, whatever the ledger
//! says of it: it is blocked, unless it is over and an operator asked for its windows. What was
//! found is in the ledger itself, so that a ledger that is put back once more is found once more.

mod ledger;
mod record;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use sluicegate_policies::release::PaneId;

use self::{
    ledger::{Charged, Doubt, Ledger},
    record::{Record, file_of, read_all, write},
};
use super::{
    books::BooksError,
    runner::{RunError, Runner},
};
use crate::{
    account::{Account, AccountError},
    ambient::{Clock, crash_point},
    config::Config,
    files,
};

/// Why there is no witness to go by: nothing is released before that is settled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WitnessError {
    #[error("couldn't use the witness {0}")]
    File(String),
    #[error(
        "the witness `{0}` is of another ledger: give each ledger a folder of its own in \
         `releases.witness`"
    )]
    OtherLedger(String),
    #[error(
        "the ledger has charges, and node `{0}` has never had a witness: point `releases.witness` \
         at the folder of the other nodes, or run `sluicegate budget witness`"
    )]
    NeverBegun(String),
    #[error("node `{0}` has a witness already")]
    Begun(String),
    #[error("the ledger is behind the witness `{0}`: it cannot be vouched for")]
    Behind(String),
    #[error(transparent)]
    Books(#[from] BooksError),
}

pub(crate) struct Witness {
    folder: PathBuf,
    node: String,
    origin: String,
    restored: bool,
    clock: Arc<dyn Clock>,
    known: tokio::sync::Mutex<Option<Known>>,
    trouble: Mutex<Option<String>>,
}

/// After the comparison.
struct Known {
    record: Record,
    /// Periods that began before this moment are in doubt.
    doubted_until_us: Option<i64>,
}

impl Witness {
    pub(crate) fn new(config: &Config, clock: Arc<dyn Clock>) -> Self {
        Self {
            folder: config.releases.witness.clone(),
            node: config.node.clone(),
            origin: config.ledger.origin.clone(),
            restored: config.releases.restored,
            clock,
            known: tokio::sync::Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    /// Why nothing is released, if it is the witness.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Compares the ledger with the witnesses, once; whether releases may run.
    pub(crate) async fn is_open(&self, account: &Arc<Account>) -> bool {
        let why = self.open(account).await.err().map(|error| error.to_string());
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if *trouble != why {
            match &why {
                Some(why) => tracing::error!(event = "witness-unusable", why),
                None => tracing::info!(event = "witness-usable"),
            }
        }
        *trouble = why;
        trouble.is_none()
    }

    async fn open(&self, account: &Arc<Account>) -> Result<(), WitnessError> {
        let mut known = self.known.lock().await;
        if known.is_some() {
            return Ok(());
        }
        let ledger = Ledger(account);
        let found = self.found().await?;
        let charged = ledger.charged(None).await?;
        let mut doubts = Vec::new();
        if !found.contains_key(&file_of(&self.folder, &self.node)) {
            if ledger.is_witnessed(&self.node).await? {
                doubts.push((charged.head.clone(), Doubt::Missing));
            } else if found.is_empty() && !charged.charges.is_empty() && !self.restored {
                return Err(WitnessError::NeverBegun(self.node.clone()));
            }
        }
        if self.restored {
            doubts.push((charged.head.clone(), Doubt::Restored));
        }
        // A clock that was put back with the ledger may be behind what the witness has seen.
        let mut until_us = self.clock.now_us();
        for record in ahead(&ledger, &found, &charged).await?.into_values() {
            until_us = until_us.max(record.written_us);
            ledger.block(record.beyond(&charged.charges), Doubt::Behind).await?;
            doubts.push((record.head.clone(), Doubt::Behind));
        }
        for (head, why) in doubts {
            tracing::error!(event = "charges-in-doubt", why = why.word(), until_us);
            ledger.doubt(&head, until_us, why).await?;
        }
        let doubted_until_us = ledger.doubts().await?.until_us;
        let mut record = self.record(charged);
        found.into_values().for_each(|found| record.add(found.charges));
        self.keep(&record).await?;
        // Not before the file is there: its loss would be seen where there was none.
        ledger.witnessed(&self.node, self.clock.now_us()).await?;
        *known = Some(Known { record, doubted_until_us });
        Ok(())
    }

    async fn found(&self) -> Result<BTreeMap<PathBuf, Record>, WitnessError> {
        let folder = self.folder.clone();
        let found = files::blocking(move || read_all(&folder)).await.map_err(WitnessError::File)?;
        match found.iter().find(|(_, record)| record.origin != self.origin) {
            Some((file, _)) => Err(WitnessError::OtherLedger(file.display().to_string())),
            None => Ok(found),
        }
    }

    fn record(&self, Charged { head, charges }: Charged) -> Record {
        let (origin, written_us) = (self.origin.clone(), self.clock.now_us());
        let mut record = Record { origin, written_us, head, charges: BTreeMap::new() };
        record.add(charges);
        record
    }

    async fn keep(&self, record: &Record) -> Result<(), WitnessError> {
        let (file, record) = (file_of(&self.folder, &self.node), record.clone());
        files::blocking(move || write(&file, &record)).await.map_err(WitnessError::File)
    }

    /// Begins the node's witness from the ledger as it is, on an operator's word.
    pub(crate) async fn begin(
        &self,
        account: &Arc<Account>,
        because: &str,
    ) -> Result<(), WitnessError> {
        let (ledger, found) = (Ledger(account), self.found().await?);
        if found.contains_key(&file_of(&self.folder, &self.node)) {
            return Err(WitnessError::Begun(self.node.clone()));
        }
        let charged = ledger.charged(None).await?;
        if let Some((file, _)) = ahead(&ledger, &found, &charged).await?.pop_first() {
            return Err(WitnessError::Behind(file.display().to_string()));
        }
        let about = format!("node {}: {because}", self.node);
        account.acted(true, "budget.witness", about).await.map_err(BooksError::from)?;
        self.keep(&self.record(charged)).await?;
        Ok(ledger.witnessed(&self.node, self.clock.now_us()).await?)
    }

    /// Reserves a pane's cost, and returns when that is witnessed: then noise may be drawn.
    pub(super) async fn reserve(&self, of: &Runner, pane: PaneId) -> Result<(), RunError> {
        self.judge(of, pane.start_ms, Some(pane.end_ms)).await?;
        of.books.reserve(pane).await?;
        crash_point("before-witness");
        self.note(of, us(of.plan().period_of(pane.start_ms).start_ms)).await
    }

    /// Notes what the ledger has by now of a release's dataset in a period, and returns when that is
    /// durable. Of other periods it was noted when they were charged.
    pub(super) async fn note(&self, of: &Runner, period_us: i64) -> Result<(), RunError> {
        // Held until it is written: a later row never makes way for an earlier one.
        let mut known = self.known.lock().await;
        let known = known.as_mut().ok_or(BooksError::Account(AccountError::NotOpen))?;
        let charged = Ledger(&of.on.account).charged(Some((&of.plan().dataset, period_us))).await?;
        let mut record = known.record.clone();
        record.head = charged.head;
        record.written_us = self.clock.now_us();
        record.add(charged.charges);
        if record.head != known.record.head || record.charges != known.record.charges {
            self.keep(&record).await?;
            known.record = record;
        }
        Ok(())
    }

    /// Blocks a release's current period if it is in doubt.
    pub(super) async fn admit(&self, of: &Runner) -> Result<(), BooksError> {
        self.judge(of, of.now_ms(), None).await
    }

    /// Blocks the period that holds a moment if it is in doubt, unless it is over and an operator
    /// asked for windows up to the end of one.
    async fn judge(
        &self,
        of: &Runner,
        at_ms: i64,
        window_end_ms: Option<i64>,
    ) -> Result<(), BooksError> {
        let period = of.plan().period_of(at_ms);
        let until_us = self.known.lock().await.as_ref().and_then(|known| known.doubted_until_us);
        let Some(until_us) = until_us.filter(|until_us| us(period.start_ms) < *until_us) else {
            return Ok(());
        };
        if let Some(end_ms) = window_end_ms.filter(|_| us(period.end_ms) <= until_us) {
            let asked_us = Ledger(&of.on.account).older_until_us(&of.plan().dataset).await?;
            if asked_us.is_some_and(|asked_us| us(end_ms) <= asked_us) {
                return Ok(());
            }
        }
        of.books.block(at_ms, "charges-in-doubt").await
    }
}

fn us(ms: i64) -> i64 {
    ms.saturating_mul(1_000)
}

/// Asks, by an operator's hand, for a dataset's windows that ended before a moment, though charges
/// may be lost.
pub(crate) async fn ask_for_older(
    account: &Arc<Account>,
    dataset: &str,
    until_us: i64,
    because: &str,
) -> Result<(), BooksError> {
    Ledger(account).ask_for_older(dataset, until_us, because).await
}

/// The witnesses that a ledger is behind, and that it did not know to be so.
async fn ahead<'r>(
    ledger: &Ledger<'_>,
    found: &'r BTreeMap<PathBuf, Record>,
    charged: &Charged,
) -> Result<BTreeMap<&'r PathBuf, &'r Record>, BooksError> {
    let (doubts, blocked) = (ledger.doubts().await?, ledger.blocked().await?);
    let mut ahead = BTreeMap::new();
    for (file, record) in found {
        // Nothing can be charged to what is blocked, however it is counted.
        let mut beyond = record.beyond(&charged.charges).into_iter();
        let is_behind =
            beyond.any(|of| !blocked.contains(&of)) || !ledger.has_row(&record.head).await?;
        if is_behind && !doubts.knows(&record.head) {
            ahead.insert(file, record);
        }
    }
    Ok(ahead)
}
