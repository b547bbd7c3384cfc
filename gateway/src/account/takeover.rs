//! Intents that another node left open and does not come back for: its chains are ended for it, and
//! what it was to deliver is looked up.
//!
//! A node that runs has open intents, too, and says so every few seconds, if only by a heartbeat.
//! A node is gone when this one has watched its chains stand still for the configured time, and
//! nobody holds its name. Only its own clock, and one that no suspend and no operator moves
//! forward, tells this one how long that was; while the store is unavailable, nobody is watched.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sluicegate_audit as audit;
use sluicegate_audit::{HeldNode, OpenChain, OpenNode};
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
}

/// What a node that is gone left open, and what settling it waits for.
#[derive(Clone)]
pub struct Gone {
    pub intents: u64,
    pub why: String,
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

    /// The nodes that are gone and not settled yet.
    async fn look(
        &mut self,
        ledger: &audit::Ledger,
    ) -> Result<BTreeMap<String, Gone>, audit::StoreError> {
        let open = ledger.open_elsewhere().await?;
        self.seen.retain(|node, _| open.contains_key(node));
        let mut gone = BTreeMap::new();
        let (account, regions) = (&self.account, &self.regions);
        for (node, OpenNode { intents, is_held, chains }) in open {
            let is_ended = chains.iter().all(|chain| chain.closed);
            let new = || Seen { chains: vec![], since: Instant::now() };
            let seen = self.seen.entry(node.clone()).or_insert_with(new);
            if seen.chains != chains {
                *seen = Seen { chains, ..new() };
            }
            let (due, waits) = match is_ended {
                true => (self.delivery, "a delivery of it may be under way"),
                false => (self.silence, "it may come back within `ledger.takeover-s`"),
            };
            let mut why = waits.to_owned();
            if seen.since.elapsed() >= due {
                let Some(held) = ledger.hold(&node).await? else {
                    // Who has its name settles what was left open under it.
                    seen.since = Instant::now();
                    continue;
                };
                if is_ended {
                    match account.take_over(regions, ledger, &held, &node).await {
                        Ok(()) => {
                            seen.since = Instant::now();
                            continue;
                        }
                        Err(error) => why = error,
                    }
                } else {
                    for chain in &seen.chains {
                        held.close(chain).await?;
                    }
                }
            }
            // Of a gateway that runs, intents are open at any time.
            if !is_held {
                gone.insert(node, Gone { intents, why: cut(why, CAUSE_BYTES_MAX) });
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

    /// Nodes that are gone and left intents open.
    pub fn gone(&self) -> BTreeMap<String, Gone> {
        self.gone.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    fn say_gone(&self, gone: BTreeMap<String, Gone>) {
        let open = gone.values().map(|gone| gone.intents).sum::<u64>();
        self.metrics.gone_intents.set(i64::try_from(open).unwrap_or(i64::MAX));
        let mut said = self.gone.lock().unwrap_or_else(|e| e.into_inner());
        for (node, Gone { intents, why }) in &gone {
            if said.get(node).is_none_or(|said| said.why != *why) {
                tracing::warn!(event = "node-gone", node, intents, why);
            }
        }
        *said = gone;
    }
}
