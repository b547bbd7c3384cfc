//! Keeps one [`Runner`] for each release of the policy in force: starts what is new, stops what
//! is gone. A release whose plan changed is another release under the same name.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sluicegate_policies::release::ReleasePlan;
use tokio::{sync::watch, task::JoinHandle};

use super::{runner::Runner, witness::Witness};
use crate::{
    account::Account, ambient::Ambient, config, contribute::Contributor, decide::Policy,
    deliver::Regions, telemetry::Metrics,
};

/// The policy is looked at this often.
const TICK: Duration = Duration::from_millis(500);

/// Releases, by their plans' digests, whose topics exist and whose first pane is agreed: from then on
/// no contribution can come too early to be released.
#[derive(Clone, Debug, Default)]
pub struct Begun(Arc<Mutex<BTreeSet<[u8; 32]>>>);

impl Begun {
    pub fn has(&self, plan: &ReleasePlan) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&plan.digest)
    }

    pub(super) fn add(&self, plan: &ReleasePlan) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(plan.digest);
    }
}

/// What all releases of this process run on.
pub struct Releases {
    pub begun: Begun,
    pub(crate) witness: Arc<Witness>,
    pub policy: Arc<Policy>,
    pub account: Arc<Account>,
    pub regions: Regions,
    pub ambient: Ambient,
    pub metrics: Arc<Metrics>,
    pub config: config::Releases,
}

struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Releases {
    pub async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let mut running: BTreeMap<[u8; 32], Running> = BTreeMap::new();
        loop {
            // Without a ledger nothing can be released; without a policy nothing may begin.
            if self.account.is_healthy()
                && let Ok(snapshot) = self.policy.now()
            {
                let wanted: BTreeMap<[u8; 32], &Arc<Contributor>> =
                    snapshot.all_contributors().map(|c| (c.plan.digest, c)).collect();
                if !wanted.is_empty()
                    && let Err(error) = self.account.look_for_blocked().await
                {
                    tracing::warn!(event = "blocked-periods-unknown", %error);
                }
                let gone: Vec<[u8; 32]> = running
                    .keys()
                    .filter(|digest| !wanted.contains_key(*digest))
                    .copied()
                    .collect();
                for digest in gone {
                    if let Some(old) = running.remove(&digest) {
                        old.end().await;
                    }
                }
                for (digest, contributor) in wanted {
                    if !running.contains_key(&digest)
                        && let Some(started) = self.start(contributor).await
                    {
                        running.insert(digest, started);
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                _ = stopping.wait_for(|stop| *stop) => break,
            }
        }
        for (_, one) in running {
            one.end().await;
        }
    }

    /// Not before the ledger was compared with what was witnessed, and a period in doubt is blocked.
    async fn start(self: &Arc<Self>, contributor: &Arc<Contributor>) -> Option<Running> {
        if !self.witness.is_open(&self.account).await {
            return None;
        }
        let runner = Runner::new(self.clone(), contributor.clone());
        let release = &contributor.plan.name;
        if let Err(error) = self.witness.admit(&runner).await {
            tracing::warn!(event = "release-waits", %release, %error);
            return None;
        }
        tracing::info!(event = "release-started", %release);
        let (stop, stopping) = watch::channel(false);
        Some(Running { stop, task: tokio::spawn(runner.run(stopping)) })
    }
}

impl Running {
    async fn end(self) {
        self.stop.send_replace(true);
        // One that panicked has ended too.
        let _ended = self.task.await;
    }
}
