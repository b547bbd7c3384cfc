//! Intents that another node left open and does not come back for: its chains are ended for it, and
//! what it was to deliver is looked up.
//!
//! A node that runs has open intents, too, and says so every few seconds, if only by a heartbeat.
//! A node is gone when this one has watched its chains stand still for the configured time, and
//! nobody holds its name. Only its own clock, and one that no suspend and no operator moves
//! forward, tells this one how long that was; while the store is unavailable, nobody is watched.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sluicegate_audit as audit;
use sluicegate_audit::{HeldNode, OpenChain};
use tokio::{sync::watch, time::Instant};

use super::{
    Account,
    entries::{admin, batches},
    open::Absent,
};
use crate::{
    config::Config,
    deliver::Regions,
    telemetry::{CAUSE_BYTES_MAX, cut},
};

/// Other nodes are looked at this often.
const LOOK_PAUSE: Duration = Duration::from_secs(5);
/// What a delivery may take beside its region's `delivery-timeout-s`.
const DELIVERY_SPARE: Duration = Duration::from_secs(15);

/// Watches other nodes, and settles for those that are gone.
pub struct Takeover {
    account: Arc<Account>,
    regions: Regions,
    /// How long a node's chains stand still before they are ended for it.
    silence: Duration,
    /// How long after that a delivery may still be under way.
    delivery: Duration,
    seen: BTreeMap<String, Seen>,
}

struct Seen {
    chains: Vec<OpenChain>,
    since: Instant,
    /// Nobody had its name when it was due.
    is_gone: bool,
}

impl Takeover {
    pub fn new(account: Arc<Account>, regions: Regions, config: &Config) -> Self {
        let kafka = config.regions.values().filter_map(|region| region.kafka.as_ref());
        let longest_s = kafka.map(|kafka| kafka.delivery_timeout_s).max().unwrap_or_default();
        Self {
            account,
            regions,
            silence: Duration::from_secs(u64::from(config.ledger.takeover_s)),
            delivery: Duration::from_secs(u64::from(longest_s)) + DELIVERY_SPARE,
            seen: BTreeMap::new(),
        }
    }

    pub async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        tokio::select! {
            () = self.watch() => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
    }

    async fn watch(&mut self) {
        loop {
            tokio::time::sleep(LOOK_PAUSE).await;
            // Not before our own are settled.
            let Some(ledger) = self.account.ledger.load_full() else { continue };
            let looked = self.look(&ledger).await;
            if let Err(error) = &looked {
                // Once: what ails the store is told elsewhere.
                if !self.seen.is_empty() {
                    tracing::warn!(event = "takeover-waits", %error);
                }
                self.seen.clear();
            }
            self.account.say_gone(looked.unwrap_or_default());
        }
    }

    /// The nodes that are gone and not settled yet, each with what it waits for.
    async fn look(
        &mut self,
        ledger: &audit::Ledger,
    ) -> Result<BTreeMap<String, String>, audit::StoreError> {
        let open = ledger.open_elsewhere().await?;
        self.seen.retain(|node, _| open.contains_key(node));
        let mut gone = BTreeMap::new();
        let (account, regions) = (&self.account, &self.regions);
        for (node, chains) in open {
            let is_ended = chains.iter().all(|chain| chain.closed);
            let new = || Seen { chains: vec![], since: Instant::now(), is_gone: false };
            let seen = self.seen.entry(node.clone()).or_insert_with(new);
            if seen.chains != chains {
                *seen = Seen { chains, is_gone: seen.is_gone && is_ended, ..new() };
            }
            let due = if is_ended { self.delivery } else { self.silence };
            let mut waits = "a delivery of it may be under way".to_owned();
            if seen.since.elapsed() >= due {
                let held = ledger.hold(&node).await?;
                // Who has its name settles what was left open under it.
                seen.is_gone = held.is_some();
                let Some(held) = held else {
                    seen.since = Instant::now();
                    continue;
                };
                if is_ended {
                    match account.take_over(regions, ledger, &held, &node).await {
                        Ok(()) => {
                            seen.since = Instant::now();
                            continue;
                        }
                        Err(why) => waits = why,
                    }
                } else {
                    for chain in &seen.chains {
                        held.close(chain).await?;
                    }
                }
            }
            if seen.is_gone {
                gone.insert(node, waits);
            }
        }
        Ok(gone)
    }
}

impl Account {
    async fn take_over(
        &self,
        regions: &Regions,
        ledger: &audit::Ledger,
        held: &HeldNode<'_>,
        node: &str,
    ) -> Result<(), String> {
        let open = held.open_intents().await.map_err(|e| e.to_string())?;
        let intents = open.len();
        for some in batches(open) {
            self.settle_group(ledger, &some, regions, Absent::Unknown).await?;
        }
        if intents > 0 {
            tracing::warn!(event = "node-taken-over", node, intents);
            let us = audit::Actor { id: self.node.clone(), by: "gateway".to_owned() };
            let about = format!("{intents} open intents of node {node}");
            let entry = admin(us, "node.takeover", "ok", about);
            ledger.append(entry).await.map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// Nodes that are gone and left intents open, each with what settling them waits for.
    pub fn gone(&self) -> BTreeMap<String, String> {
        self.gone.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    fn say_gone(&self, gone: BTreeMap<String, String>) {
        let gone: BTreeMap<_, _> =
            gone.into_iter().map(|(node, why)| (node, cut(why, CAUSE_BYTES_MAX))).collect();
        let mut said = self.gone.lock().unwrap_or_else(|e| e.into_inner());
        for (node, why) in gone.iter().filter(|(node, why)| said.get(*node) != Some(*why)) {
            tracing::warn!(event = "node-gone", node, why);
        }
        *said = gone;
    }
}
