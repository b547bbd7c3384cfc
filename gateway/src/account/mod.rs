//! The ledger side of the flow: it turns decisions into entries and hands out the proof that they
//! are durable. A value of a record goes in here as a keyed digest or not at all.
//!
//! [`open`] opens the ledger and settles what former runs left open, [`takeover`] settles for nodes
//! that are gone, [`intent`] records what is
//! about to leave and where it ended, [`claims`] keeps idempotency keys, and [`notes`] records all
//! that nothing waits for.

mod blocked;
mod claims;
mod entries;
mod intent;
mod notes;
mod open;
mod takeover;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use sluicegate_audit as audit;
use sluicegate_audit::Entry;

pub use blocked::Blocked;
use claims::Given;
pub use claims::{ClaimFound, Claimed, Intended, Keyed, Running};
pub use intent::Head;
pub use takeover::{Gone, Takeover};

use crate::{
    ambient::{Ambient, RngUnavailable},
    config::{Config, StoreUrlError},
    decide::{ReloadError, digests_of},
    deliver::Regions,
    digests::Digests,
    request::Stopped,
    telemetry::Metrics,
};

/// The store's size and open intents are measured at most this often, and for this long.
const MEASURE_PAUSE: Duration = Duration::from_secs(15);
const MEASURE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why something could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error(transparent)]
    Append(#[from] audit::AppendError),
    #[error(transparent)]
    Store(#[from] audit::StoreError),
    #[error("the ledger is not open yet")]
    NotOpen,
    #[error(transparent)]
    Rng(#[from] RngUnavailable),
}

impl From<AccountError> for Stopped {
    fn from(error: AccountError) -> Self {
        if let AccountError::Append(audit::AppendError::TooLarge) = error {
            return Self::TooVaried;
        }
        Self::Ledger
    }
}

/// Why the ledger is not open, or what former runs left open is not settled.
#[derive(Debug, thiserror::Error)]
pub enum NotReconciled {
    /// Another gateway has our name, or the file: there is nothing to wait for.
    #[error("{0}")]
    Held(String),
    #[error("{0}")]
    Waits(String),
}

/// Why the account could not be set up: errors in the setup, not outages.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreUrlError),
    #[error(transparent)]
    Keys(#[from] ReloadError),
}

/// The account.
pub struct Account {
    url: audit::Url,
    origin: String,
    node: String,
    /// Whether this is a verb of the command line, beside the node's gateway.
    beside: bool,
    ambient: Ambient,
    digests: Arc<ArcSwap<Digests>>,
    claim_us: i64,
    ledger: ArcSwapOption<audit::Ledger>,
    /// Opened, and what former runs left open is not settled yet.
    opened: tokio::sync::Mutex<Option<Arc<audit::Ledger>>>,
    /// Entries of before the ledger was open.
    early: Mutex<Vec<Entry>>,
    running: Arc<Mutex<HashSet<[u8; 32]>>>,
    given: Mutex<Given>,
    /// Other nodes that are gone, and what settling their open intents waits for.
    gone: Mutex<BTreeMap<String, Gone>>,
    /// Periods in which nothing more is released.
    blocked: ArcSwap<Blocked>,
    /// Principals that the configuration names.
    named: BTreeSet<String>,
    metrics: Arc<Metrics>,
    /// When the store was last looked at for metrics.
    measured: tokio::sync::Mutex<Option<tokio::time::Instant>>,
}

impl Account {
    /// Reads what is needed; the store itself is opened by [`Account::reconcile`], which is tried
    /// until it works.
    pub async fn new(
        config: &Config,
        ambient: &Ambient,
        metrics: Arc<Metrics>,
    ) -> Result<Self, OpenError> {
        Ok(Self {
            url: config.ledger.url()?,
            origin: config.ledger.origin.clone(),
            node: config.node.clone(),
            beside: false,
            ambient: ambient.clone(),
            digests: Arc::new(ArcSwap::from_pointee(digests_of(config).await?)),
            claim_us: i64::from(config.limits.idempotency_hours) * 3_600_000_000,
            ledger: ArcSwapOption::empty(),
            opened: tokio::sync::Mutex::default(),
            early: Mutex::default(),
            running: Arc::default(),
            given: Mutex::default(),
            gone: Mutex::default(),
            blocked: ArcSwap::default(),
            named: named(config),
            metrics,
            measured: tokio::sync::Mutex::default(),
        })
    }

    /// For a verb of the command line: a short-lived writer under a name of its own, which is not
    /// taken for the gateway and whose clock counts for nobody.
    pub async fn beside(config: &Config, ambient: &Ambient) -> Result<Self, String> {
        let account =
            Self::new(config, ambient, Arc::default()).await.map_err(|e| e.to_string())?;
        let account = Self { node: format!("{}-cli", config.node), beside: true, ..account };
        account.reconcile(&Regions::new([])).await.map_err(|e| e.to_string())?;
        Ok(account)
    }

    /// The node's name, which no other running gateway of the ledger has.
    pub fn node(&self) -> &str {
        &self.node
    }

    pub(crate) fn ledger(&self) -> Result<Arc<audit::Ledger>, AccountError> {
        self.ledger.load_full().ok_or_else(|| {
            self.metrics.count_fail_closed("ledger-unavailable");
            AccountError::NotOpen
        })
    }

    /// Whether this process holds a lease now: one of all that use the ledger.
    pub(crate) async fn leads(&self, lease: &str, ttl_us: i64) -> Result<bool, AccountError> {
        let ledger = self.ledger()?;
        // Several machines judge by one clock.
        let store_us = ledger.store_clock_us().await?;
        let now_us = store_us.unwrap_or_else(|| self.ambient.clock.now_us());
        // A node that starts again continues where it was: two of one name never run.
        Ok(ledger.lease(lease, &self.node, now_us, ttl_us).await?.is_some())
    }

    /// Why nothing can be recorded now, if that is so.
    pub fn trouble(&self) -> Option<String> {
        match &*self.ledger.load() {
            None => Some("not open".to_owned()),
            Some(ledger) if ledger.is_healthy() => None,
            Some(ledger) => {
                let why = ledger.trouble().borrow().as_ref().map(ToString::to_string);
                Some(why.unwrap_or_else(|| "closed".to_owned()))
            }
        }
    }

    pub fn is_healthy(&self) -> bool {
        self.trouble().is_none()
    }

    /// Measures queue and store for metrics; the store only now and then.
    pub async fn measure(&self) {
        let Some(ledger) = self.ledger.load_full() else { return };
        self.metrics.ledger_queue.set(i64::try_from(ledger.queued()).unwrap_or(i64::MAX));
        let Ok(mut measured) = self.measured.try_lock() else { return };
        if measured.is_some_and(|at| at.elapsed() < MEASURE_PAUSE) {
            return;
        }
        *measured = Some(tokio::time::Instant::now());
        // What takes longer leaves the figures as they are.
        if let Ok(Ok(sizes)) = tokio::time::timeout(MEASURE_TIMEOUT, ledger.sizes()).await {
            let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            self.metrics.ledger_bytes.set(gauge(sizes.bytes));
            self.metrics.open_intents.set(gauge(sizes.open_intents));
        }
    }

    /// The search keys, as they change.
    pub fn digests(&self) -> Arc<ArcSwap<Digests>> {
        self.digests.clone()
    }

    /// Writes and searches with these keys from now on. A new one begins a segment of the ledger,
    /// which is durable before anything is written with it.
    pub async fn search_with(&self, digests: Digests) -> Result<(), String> {
        let is_new = self.digests.load().search_key() != digests.search_key();
        let opened = self.opened.lock().await.clone();
        if let Some(ledger) = opened.filter(|_| is_new) {
            ledger.enter(digests.search_key()).await.map_err(|e| e.to_string())?;
        }
        self.digests.store(Arc::new(digests));
        Ok(())
    }

    /// The segments that the ledger keeps, with the search keys that they need; none before it is
    /// open.
    pub async fn segments(&self) -> Vec<(u32, audit::SearchKey)> {
        match self.ledger.load_full() {
            Some(ledger) => ledger.segments().await.unwrap_or_default(),
            None => Vec::new(),
        }
    }

    /// Flushes, and ends the chain in order.
    pub async fn close(&self) {
        // One that was opened and not reconciled has begun its chain, too.
        let opened = self.opened.try_lock().ok().and_then(|mut opened| opened.take());
        if let Some(ledger) = self.ledger.swap(None).or(opened)
            && let Err(error) = ledger.close().await
        {
            tracing::warn!(event = "ledger-not-closed", %error);
        }
    }
}

fn named(config: &Config) -> BTreeSet<String> {
    let identify = &config.identify;
    let certificates = identify.certificates.iter().map(|rule| &rule.principal);
    let tokens = identify.tokens.iter().flat_map(|issuer| issuer.principals.values());
    let roles = config.roles.auditor.iter().chain(&config.roles.operator);
    certificates.chain(tokens).chain(roles).chain(&identify.anonymous).cloned().collect()
}
