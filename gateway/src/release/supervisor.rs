//! Keeps one [`Runner`] for each release of the policy in force: starts what is new, stops what
//! is gone. A release whose plan changed is another release under the same name.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sluicegate_releases::window;
use tokio::{sync::watch, task::JoinHandle};

use super::runner::{Begun, Runner};
use crate::{
    account::Account,
    ambient::Ambient,
    config,
    contribute::Contributor,
    decide::Policy,
    deliver::{Member, Regions},
    telemetry::Metrics,
};

/// The policy is looked at this often.
const TICK: Duration = Duration::from_millis(500);

pub struct Supervisor {
    pub begun: Begun,
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

impl Supervisor {
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        let mut running: BTreeMap<[u8; 32], Running> = BTreeMap::new();
        loop {
            // Without a ledger nothing can be released; without a policy nothing may begin.
            if self.account.is_healthy()
                && let Ok(snapshot) = self.policy.now()
            {
                let wanted: BTreeMap<[u8; 32], &Contributor> =
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
                    running.entry(digest).or_insert_with(|| self.start(contributor));
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

    fn start(&self, contributor: &Contributor) -> Running {
        let plan = contributor.plan.clone();
        tracing::info!(event = "release-started", release = %plan.name);
        let runner = Runner {
            begun: self.begun.clone(),
            policy: self.policy.clone(),
            seal: contributor.seal.clone(),
            choice: contributor.choice,
            fingerprint: contributor.fingerprint,
            clock: self.ambient.clock.clone(),
            account: self.account.clone(),
            regions: self.regions.clone(),
            metrics: self.metrics.clone(),
            limits: window::Limits {
                resident_subjects: self.config.resident_subjects,
                spill_bytes: self.config.spill_bytes,
            },
            spill: self.config.directory.clone(),
            member: Member {
                group: format!("sluicegate.{}", plan.name),
                name: format!("sluicegate-{}", self.account.node()),
            },
            plan,
        };
        let (stop, stopping) = watch::channel(false);
        Running { stop, task: tokio::spawn(runner.run(stopping)) }
    }
}

impl Running {
    async fn end(self) {
        self.stop.send_replace(true);
        // One that panicked has ended too.
        let _ended = self.task.await;
    }
}
