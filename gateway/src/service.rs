//! The running gateway: what is started, in which order, and how it ends.
//!
//! Start: ledger, regions, reconciliation of what a crash left open, policy, listeners. A part
//! that is away makes the gateway not ready instead of ending it, and it recovers by itself; only
//! a configuration that can never work ends the start. Restart and normal running use the same
//! commit path.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::{RwLock, watch},
    task::JoinSet,
};

use crate::{
    account::{Account, NotReconciled, store_url},
    admin::{self, Desk},
    ambient::Ambient,
    config::Config,
    decide::{Policy, ReloadError},
    deliver::{Embedded, Kafka, Pipeline, Regions},
    flow::Flow,
    identify::{Identifier, RefreshError},
    lineage::Lineage,
    listen::{
        accept::{Accept, OnRefused},
        admission::Admission,
        http::{self, Face},
        places,
        tls::Tls,
    },
    release::{runner::Begun, supervisor::Supervisor},
    telemetry::{Metrics, OutcomeLabel},
    watch::Watch,
};

/// Reconciliation that could not finish (a region is away) is tried again this often.
const RECONCILE_PAUSE: Duration = Duration::from_secs(2);

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Tls(#[from] crate::listen::tls::TlsError),
    #[error("couldn't listen on {address}: {why}")]
    Listen { address: SocketAddr, why: std::io::Error },
    #[error("couldn't open the pipeline of region `{region}`: {why}")]
    Region { region: String, why: String },
    #[error(transparent)]
    Account(#[from] crate::account::OpenError),
    #[error(transparent)]
    Chance(#[from] crate::ambient::NoChance),
    #[error("{0}")]
    Held(String),
}

/// What readiness depends on.
pub struct Health {
    begun: Begun,
    policy: Arc<Policy>,
    account: Arc<Account>,
    regions: Regions,
    identifier: Arc<Identifier>,
    tls: [Arc<Tls>; 2],
    metrics: Arc<Metrics>,
    stopping: watch::Receiver<bool>,
    reconciled: watch::Receiver<bool>,
    /// What the last reload did not take, so that it is said once.
    refused: Mutex<Vec<String>>,
}

impl Health {
    /// Why the policy that stands in the files is not in force, if it is not.
    pub fn policy_trouble(&self) -> Option<String> {
        self.policy.trouble()
    }

    /// The parts that cannot do their work now; empty when ready.
    pub async fn troubles(&self) -> Vec<String> {
        let mut troubles = Vec::new();
        if *self.stopping.borrow() {
            troubles.push("stopping".to_owned());
        }
        if !*self.reconciled.borrow() {
            troubles.push("reconciliation".to_owned());
        }
        match self.policy.now() {
            Ok(snapshot) => {
                let waiting = snapshot.all_contributors().filter(|c| !self.begun.has(&c.plan));
                troubles.extend(waiting.map(|c| format!("release {}", c.plan.name)));
            }
            Err(_) if self.policy.clock_trouble().is_some() => troubles.push("clock".to_owned()),
            Err(refused) => {
                troubles.push(format!("policy: {}", self.policy_cause(&refused.detail)))
            }
        }
        if !self.account.is_healthy() {
            troubles.push("ledger".to_owned());
        }
        let unready = self.regions.unready().await;
        troubles.extend(unready.iter().map(|region| format!("region {region}")));
        troubles.extend(self.identifier.troubles().iter().map(ToString::to_string));
        self.metrics.ready.set(i64::from(troubles.is_empty()));
        troubles
    }

    /// Why no policy is in force, in the words of `config check`: what the files say, where they
    /// are the cause.
    fn policy_cause(&self, detail: &str) -> String {
        let trouble = self.policy.trouble().filter(|_| !self.policy.is_in_force());
        let trouble = trouble.as_ref().and_then(|text| text.lines().next());
        trouble.unwrap_or(detail).to_owned()
    }

    /// Reads everything that can change again, also what has to be fetched; what was not taken
    /// stays as it was, and is named.
    pub async fn reload(&self) -> Vec<String> {
        let key_sets = self.identifier.refresh().await;
        self.reload_with(key_sets).await
    }

    /// Reads the files again. Where nothing changed, nothing happens.
    pub async fn reload_files(&self) -> Vec<String> {
        let key_sets = self.identifier.refresh_files().await;
        self.reload_with(key_sets).await
    }

    async fn reload_with(&self, key_sets: Vec<RefreshError>) -> Vec<String> {
        let mut refused = Vec::new();
        for tls in &self.tls {
            match tls.reload() {
                Ok(true) => self.count("certificates", "taken"),
                Ok(false) => {}
                Err(error) => refused.push(("certificates", error.to_string())),
            }
        }
        // Reading may hang with its file system, and compiling takes as long as it takes.
        let policy = self.policy.clone();
        let reloaded = tokio::task::spawn_blocking(move || policy.reload()).await;
        match reloaded.unwrap_or(Err(ReloadError::Interrupted)) {
            Ok(Some(activated)) => {
                self.count("policy", "taken");
                tracing::info!(event = "policy-activated", digest = %activated.digest);
                if let Ok(snapshot) = self.policy.now() {
                    self.metrics.expect_policy(&snapshot.table);
                }
                self.account.activated(activated);
            }
            Ok(None) => {}
            Err(error) => refused.push(("policy", error.to_string())),
        }
        if let Some(digests) = self.policy.digests() {
            match self.account.search_with(digests).await {
                Ok(()) => self.keep().await,
                Err(error) => refused.push(("search-key", error)),
            }
        }
        self.regions.reload().await;
        let mut said = self.refused.lock().unwrap_or_else(|e| e.into_inner());
        for (what, error) in refused.iter().filter(|(_, error)| !said.contains(error)) {
            self.count(what, "refused");
            tracing::error!(event = "reload-refused", %error);
        }
        *said = refused.into_iter().map(|(_, error)| error).collect();
        // Key sets say in the log themselves what became of them.
        said.iter().cloned().chain(key_sets.iter().map(ToString::to_string)).collect()
    }

    /// From now on a keyring must have what the ledger's segments need.
    async fn keep(&self) {
        let segments = self.account.segments().await;
        if !segments.is_empty() {
            self.policy.keep(segments);
        }
    }

    fn count(&self, what: &'static str, outcome: &'static str) {
        self.metrics.reloads.get_or_create(&OutcomeLabel { what, outcome }).inc();
    }
}

/// A started gateway.
pub struct Service {
    pub data: SocketAddr,
    pub admin: SocketAddr,
    pub health: Arc<Health>,
    config: Config,
    account: Arc<Account>,
    regions: Regions,
    under_way: Arc<RwLock<()>>,
    /// Turns readiness off, while the listeners still answer.
    unready: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    /// Asks for a reload, as SIGHUP does.
    reload: Arc<tokio::sync::Notify>,
    /// Why this gateway must not run, once that is known.
    held: watch::Receiver<Option<String>>,
}

impl Service {
    /// Starts everything; returns when both listeners accept.
    pub async fn start(config: Config, ambient: Ambient) -> Result<Self, StartError> {
        let tls =
            [Arc::new(Tls::load(&config.listen.tls)?), Arc::new(Tls::load(&config.admin.tls)?)];
        let data = bind(config.listen.address).await?;
        let admin_socket = bind(config.admin.address).await?;
        let (data_at, admin_at) = (local(&data)?, local(&admin_socket)?);
        let metrics = Arc::new(Metrics::default());
        metrics.expect_regions(config.regions.keys().map(String::as_str));
        let policy = Arc::new(Policy::new(&config, &ambient));
        let regions = open_regions(&config, &ambient).await?;
        let account = Arc::new(Account::new(&config, &ambient, metrics.clone())?);
        let identifier = Arc::new(Identifier::new(&config.identify, ambient.clock.clone()));
        let (stop, stopping) = watch::channel(false);
        let (unready, unready_seen) = watch::channel(false);
        let (reconciled_sender, reconciled) = watch::channel(false);
        let health = Arc::new(Health {
            begun: Begun::default(),
            policy: policy.clone(),
            account: account.clone(),
            regions: regions.clone(),
            identifier: identifier.clone(),
            tls: tls.clone(),
            metrics: metrics.clone(),
            stopping: unready_seen,
            reconciled,
            refused: Mutex::default(),
        });
        health.reload_files().await;
        let under_way = Arc::new(RwLock::default());
        let releases_ambient = ambient.clone();
        let face = Arc::new(Face {
            flow: Flow {
                policy,
                account: account.clone(),
                regions: regions.clone(),
                metrics: metrics.clone(),
            },
            identifier,
            admission: Admission::new(&config.limits),
            limits: config.limits.clone(),
            ambient,
            metrics,
            under_way: under_way.clone(),
        });
        let desk = Arc::new(Desk {
            face: face.clone(),
            roles: config.roles.clone(),
            health: health.clone(),
            lineage: Lineage::new(store_url(&config)?, account.digests()),
        });
        let mut tasks = JoinSet::new();
        let reload = Arc::new(tokio::sync::Notify::new());
        let refused = on_refused(face.clone());
        let [data_tls, admin_tls] = tls;
        let (data_face, admin_face) = (http::router(face).0, admin::router(desk).0);
        let [data_places, admin_places] = places::of(&config.limits);
        for (listener, tls, router, places) in [
            (data, data_tls, data_face, data_places),
            (admin_socket, admin_tls, admin_face, admin_places),
        ] {
            let (refused, metrics) = (refused.clone(), health.metrics.clone());
            let accept = Accept { listener, tls, router, places, metrics, refused };
            tasks.spawn(accept.run(config.limits.clone(), stopping.clone()));
        }
        let settle = Reconcile {
            account: account.clone(),
            regions: regions.clone(),
            policy: health.policy.clone(),
        };
        let (held_sender, held) = watch::channel(None);
        tasks.spawn(settle.run(reconciled_sender, held_sender, stopping.clone()));
        let supervisor = Supervisor {
            begun: health.begun.clone(),
            policy: health.policy.clone(),
            account: account.clone(),
            regions: regions.clone(),
            ambient: releases_ambient,
            metrics: health.metrics.clone(),
            config: config.releases.clone(),
        };
        tasks.spawn(supervisor.run(stopping.clone()));
        tasks.spawn(key_sets(health.clone(), stopping.clone()));
        tasks.spawn(reloads(health.clone(), reload.clone(), stopping));
        let (data, admin) = (data_at, admin_at);
        Ok(Self {
            data,
            admin,
            health,
            config,
            account,
            regions,
            under_way,
            unready,
            stop,
            tasks,
            reload,
            held,
        })
    }

    /// Returns when another gateway turns out to run under our name: this one must stop.
    pub fn refused(&self) -> impl Future<Output = StartError> + use<> {
        let mut held = self.held.clone();
        async move {
            let why = held.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
            match why {
                Some(why) => StartError::Held(why),
                // Reconciled, and never told.
                None => std::future::pending().await,
            }
        }
    }

    /// Reads everything that can change again, soon.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// Readiness off, listeners closed, requests in flight finished, ledger flushed.
    pub async fn stop(mut self) {
        let delay = Duration::from_millis(self.config.limits.shutdown_delay_ms);
        self.unready.send_replace(true);
        tokio::time::sleep(delay).await;
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        // Requests whose callers are gone; bounded as those whose callers wait.
        let bound = Duration::from_millis(self.config.limits.shutdown_ms);
        let _cut = tokio::time::timeout(bound, self.under_way.write()).await;
        self.regions.close().await;
        self.account.close().await;
    }
}

/// A client certificate that TLS refuses is a failed login like any other.
fn on_refused(face: Arc<Face>) -> OnRefused {
    Arc::new(move |failure, address| {
        let face = face.clone();
        tokio::spawn(async move { face.flow.login_failed(failure, Some(address)).await });
    })
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|why| StartError::Listen { address, why })
}

fn local(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|why| StartError::Listen { address: unknown, why })
}

async fn open_regions(config: &Config, ambient: &Ambient) -> Result<Regions, StartError> {
    let mut regions: Vec<(Arc<str>, Arc<dyn Pipeline>)> = Vec::new();
    for (name, region) in &config.regions {
        let pipeline: Arc<dyn Pipeline> =
            match (&region.embedded, &region.kafka) {
                (Some(embedded), _) => {
                    let clock = ambient.clock.clone();
                    let opened = Embedded::open(&embedded.file, embedded.partitions, clock).await;
                    Arc::new(opened.map_err(|e| StartError::Region {
                        region: name.clone(),
                        why: e.to_string(),
                    })?)
                }
                (None, Some(kafka)) => {
                    let client_id = format!("sluicegate-{}", config.node);
                    Arc::new(Kafka::new(kafka.clone(), client_id))
                }
                (None, None) => continue,
            };
        regions.push((Arc::from(name.as_str()), pipeline));
    }
    Ok(Regions::new(regions))
}

/// Opens the ledger and settles what a crash left open: intents without outcome are looked up in
/// the pipelines. Tried until it works; until then the gateway is not ready.
struct Reconcile {
    account: Arc<Account>,
    regions: Regions,
    policy: Arc<Policy>,
}

impl Reconcile {
    async fn run(
        self,
        done: watch::Sender<bool>,
        held: watch::Sender<Option<String>>,
        mut stopping: watch::Receiver<bool>,
    ) {
        loop {
            match self.account.reconcile(&self.regions).await {
                Ok((settled, floor_us)) => {
                    self.policy.has_passed(floor_us);
                    self.policy.keep(self.account.segments().await);
                    tracing::info!(event = "reconciled", intents = settled);
                    done.send_replace(true);
                    return;
                }
                Err(NotReconciled::Held(why)) => {
                    held.send_replace(Some(why));
                    return;
                }
                Err(why) => tracing::warn!(event = "reconciliation-waits", %why),
            }
            tokio::select! {
                () = tokio::time::sleep(RECONCILE_PAUSE) => {}
                _ = stopping.wait_for(|stop| *stop) => return,
            }
        }
    }
}

/// Reloads when files change, when asked to, and while something is wrong.
async fn reloads(
    health: Arc<Health>,
    asked: Arc<tokio::sync::Notify>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut files = health.policy.files();
    files.extend(health.tls.iter().flat_map(|tls| tls.files()));
    files.extend(health.identifier.files());
    files.extend(health.regions.files());
    let mut watch = Watch::new(&files);
    let mut in_trouble = health.policy.trouble().is_some();
    loop {
        let errors = async {
            tokio::select! {
                () = watch.changed(in_trouble) => health.reload_files().await,
                () = asked.notified() => health.reload().await,
            }
        };
        tokio::select! {
            errors = errors => in_trouble = !errors.is_empty(),
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

/// Keeps key sets fresh, each by a timer of its own.
async fn key_sets(health: Arc<Health>, mut stopping: watch::Receiver<bool>) {
    tokio::select! {
        () = health.identifier.keep() => {}
        _ = stopping.wait_for(|stop| *stop) => {}
    }
}
