//! The running gateway: what is started, in which order, and how it ends.
//!
//! Start: ledger, regions, listeners, policy, reconciliation of what a crash left open. A part
//! that is down makes the gateway not ready instead of ending it, and it recovers by itself; only
//! a configuration that can never work ends the start. Restart and normal running use the same
//! commit path.

use std::{
    collections::BTreeMap,
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
    account::{Account, NotReconciled, Takeover},
    admin::{self, AdminState},
    ambient::Ambient,
    config::{ClientAuth, Config},
    decide::Policy,
    deliver::{
        Broker, Embedded, Kafka, Pipeline, Regions,
        kafka::{Cluster, Upstream},
    },
    files,
    flow::Flow,
    health::Health,
    identify::Identifier,
    lineage::Lineage,
    listen::{
        Desk,
        accept::{Accept, Http, OnRefused, Protocol},
        admission::Admission,
        http, kafka,
        places::{self, Places},
        tls::Tls,
    },
    release::{Begun, Releases, witness::Witness},
    telemetry::{CAUSE_BYTES_MAX, Metrics, cut},
    watch::Watch,
};

/// Reconciliation that could not finish (a region is unavailable) is tried again this often.
const RECONCILE_PAUSE: Duration = Duration::from_secs(2);
/// So long a start waits for the ledger before it listens.
const HOLD_WAIT: Duration = Duration::from_secs(8);

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
    Rng(#[from] crate::ambient::RngUnavailable),
    #[error("{0}")]
    Held(String),
    #[error("{0}")]
    Interrupted(String),
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

type Listening = (TcpListener, Arc<Tls>, Arc<dyn Protocol>, Arc<Places>);

/// Listeners that do not accept yet.
struct Bound {
    data: TcpListener,
    admin: TcpListener,
    /// By region, and the broker's number where the port says it.
    kafka: Vec<(String, Option<i32>, TcpListener)>,
}

/// What is made of a configuration before anybody can reach the gateway.
struct Parts {
    config: Config,
    ambient: Ambient,
    metrics: Arc<Metrics>,
    tls: [Arc<Tls>; 2],
    kafka_tls: BTreeMap<String, Arc<Tls>>,
    account: Arc<Account>,
    regions: Regions,
    brokers: BTreeMap<String, Arc<Broker>>,
    policy: Arc<Policy>,
    identifier: Arc<Identifier>,
    witness: Arc<Witness>,
}

impl Parts {
    /// The ledger's name or file is held first: a second gateway touches nothing that the first one
    /// uses, and is never listened to.
    async fn open(config: Config, ambient: Ambient) -> Result<Self, StartError> {
        let (tls, kafka_tls) = load_tls(&config).await?;
        let metrics = Arc::new(Metrics::default());
        metrics.expect_regions(config.regions.keys().map(String::as_str));
        let account = Arc::new(Account::new(&config, &ambient, metrics.clone()).await?);
        hold(&account).await?;
        let (regions, brokers) = match open_regions(&config, &ambient).await {
            Ok(opened) => opened,
            Err(error) => {
                account.close().await;
                return Err(error);
            }
        };
        let policy = Arc::new(Policy::new(&config, &ambient));
        let identifier = Arc::new(Identifier::new(&config.identify, &ambient));
        let witness = Arc::new(Witness::new(&config, ambient.clock.clone()));
        Ok(Self {
            config,
            ambient,
            metrics,
            tls,
            kafka_tls,
            account,
            regions,
            brokers,
            policy,
            identifier,
            witness,
        })
    }

    async fn bind(&self) -> Result<Bound, StartError> {
        let (data, admin) = (self.config.listen.address, self.config.admin.address);
        let bound = async {
            let mut kafka = Vec::new();
            for (region, face) in &self.config.kafka {
                let first = [(None, face.address)].into_iter();
                for (node, address) in first.chain(face.ports().map(|(n, a)| (Some(n), a))) {
                    kafka.push((region.clone(), node, bind(address).await?));
                }
            }
            Ok(Bound { data: bind(data).await?, admin: bind(admin).await?, kafka })
        };
        let bound = bound.await;
        if bound.is_err() {
            // Ends the chain that was begun.
            self.account.close().await;
        }
        bound
    }

    fn health(
        &self,
        stopping: watch::Receiver<bool>,
        unsettled: watch::Receiver<Option<String>>,
    ) -> Arc<Health> {
        let kafka = self.config.kafka.values().map(|face| &face.tls);
        let mut rules = [&self.config.listen.tls].into_iter().chain(kafka);
        Arc::new(Health {
            begun: Begun::default(),
            witness: self.witness.clone(),
            policy: self.policy.clone(),
            account: self.account.clone(),
            regions: self.regions.clone(),
            identifier: self.identifier.clone(),
            takes_certificates: rules.any(|tls| tls.client_auth != ClientAuth::None),
            tls: self.listeners_tls(),
            metrics: self.metrics.clone(),
            stopping,
            unsettled,
            refused: Mutex::default(),
            expiries: Mutex::default(),
        })
    }

    fn http(&self, under_way: &Arc<RwLock<()>>) -> Arc<Desk> {
        Arc::new(Desk {
            flow: Flow {
                policy: self.policy.clone(),
                account: self.account.clone(),
                regions: self.regions.clone(),
                metrics: self.metrics.clone(),
            },
            identifier: self.identifier.clone(),
            admission: Admission::new(&self.config.limits),
            limits: self.config.limits.clone(),
            ambient: self.ambient.clone(),
            metrics: self.metrics.clone(),
            under_way: under_way.clone(),
        })
    }

    /// All listeners: from here on they accept.
    fn accept(
        &self,
        tasks: &mut JoinSet<()>,
        Bound { data, admin, kafka }: Bound,
        http_state: Arc<Desk>,
        admin_state: Arc<AdminState>,
        stopping: &watch::Receiver<bool>,
    ) {
        let refused = on_refused(http_state.clone());
        let [data_tls, admin_tls] = self.tls.clone();
        let [data_places, admin_places] = places::of(&self.config.limits);
        let mut listeners: Vec<Listening> = vec![
            (
                data,
                data_tls,
                Arc::new(Http(http::router(http_state.clone()).0)),
                data_places.clone(),
            ),
            (admin, admin_tls, Arc::new(Http(admin::router(admin_state).0)), admin_places),
        ];
        let faces = self.faces(&http_state);
        for (region, node, listener) in kafka {
            let (Some(face), Some(tls)) = (faces.get(&region), self.kafka_tls.get(&region)) else {
                continue;
            };
            let at = Arc::new(kafka::At { face: face.clone(), node });
            listeners.push((listener, tls.clone(), at, data_places.clone()));
        }
        for (listener, tls, protocol, places) in listeners {
            let (refused, metrics) = (refused.clone(), self.metrics.clone());
            let accept = Accept { listener, tls, protocol, places, metrics, refused };
            tasks.spawn(accept.run(self.config.limits.clone(), stopping.clone()));
        }
    }

    /// The certificates of all listeners, by the listener's name.
    fn listeners_tls(&self) -> Vec<(String, Arc<Tls>)> {
        let [data, admin] = self.tls.clone();
        let http = [("data".to_owned(), data), ("admin".to_owned(), admin)].into_iter();
        let kafka = self.kafka_tls.iter().map(|(r, tls)| (format!("kafka {r}"), tls.clone()));
        http.chain(kafka).collect()
    }

    fn faces(&self, desk: &Arc<Desk>) -> BTreeMap<String, Arc<kafka::Face>> {
        let faces = self.config.kafka.iter().filter_map(|(name, face)| {
            let upstream = match self.brokers.get(name) {
                Some(broker) => Upstream::Embedded(broker.clone()),
                None => Upstream::Kafka(self.config.regions.get(name)?.kafka.clone()?),
            };
            let client_id = format!("sluicegate-{}", self.config.node);
            let cluster = Arc::new(Cluster::new(upstream, client_id, self.ambient.clone()));
            let managers = &self.config.roles.topics;
            let face = kafka::Face::new(name, face.clone(), cluster, desk.clone(), managers);
            Some((name.clone(), Arc::new(face)))
        });
        faces.collect()
    }

    fn reconcile(&self) -> Reconcile {
        Reconcile {
            account: self.account.clone(),
            regions: self.regions.clone(),
            policy: self.policy.clone(),
        }
    }

    fn releases(&self, begun: &Begun) -> Arc<Releases> {
        Arc::new(Releases {
            begun: begun.clone(),
            witness: self.witness.clone(),
            policy: self.policy.clone(),
            account: self.account.clone(),
            regions: self.regions.clone(),
            ambient: self.ambient.clone(),
            metrics: self.metrics.clone(),
            config: self.config.releases.clone(),
        })
    }
}

impl Service {
    /// Starts everything; returns when both listeners accept.
    pub async fn start(config: Config, ambient: Ambient) -> Result<Self, StartError> {
        let ledger = config.ledger.url().map_err(crate::account::OpenError::from)?;
        let parts = Parts::open(config, ambient).await?;
        let lineage = Lineage::new(ledger, parts.account.digests());
        let listeners = parts.bind().await?;
        let [data, admin] = [local(&listeners.data)?, local(&listeners.admin)?];
        let (stop, stopping) = watch::channel(false);
        let (unready, unready_seen) = watch::channel(false);
        let (settled, unsettled) = watch::channel(Some("under way".to_owned()));
        let (held_sender, held) = watch::channel(None);
        let health = parts.health(unready_seen, unsettled);
        health.reload_files().await;
        let under_way = Arc::new(RwLock::default());
        let http_state = parts.http(&under_way);
        let mut tasks = JoinSet::new();
        let admin_state = Arc::new(AdminState {
            http: http_state.clone(),
            roles: parts.config.roles.clone(),
            health: health.clone(),
            lineage,
        });
        parts.accept(&mut tasks, listeners, http_state, admin_state, &stopping);
        tasks.spawn(parts.reconcile().run(settled, held_sender, stopping.clone()));
        let takeover = Takeover::new(parts.account.clone(), parts.regions.clone(), &parts.config);
        tasks.spawn(takeover.run(stopping.clone()));
        tasks.spawn(parts.releases(&health.begun).run(stopping.clone()));
        tasks.spawn(key_sets(health.clone(), stopping.clone()));
        let reload = Arc::new(tokio::sync::Notify::new());
        tasks.spawn(reloads(health.clone(), reload.clone(), stopping));
        let Parts { config, account, regions, .. } = parts;
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
fn on_refused(state: Arc<Desk>) -> OnRefused {
    Arc::new(move |failure, address| {
        let state = state.clone();
        tokio::spawn(async move { state.flow.login_failed(failure, Some(address)).await });
    })
}

type AllTls = ([Arc<Tls>; 2], BTreeMap<String, Arc<Tls>>);

async fn load_tls(config: &Config) -> Result<AllTls, StartError> {
    let [data, admin] = [config.listen.tls.clone(), config.admin.tls.clone()];
    let kafka: Vec<_> =
        config.kafka.iter().map(|(r, face)| (r.clone(), face.tls.clone())).collect();
    let load = move || {
        let kafka = kafka.into_iter().map(|(region, tls)| Ok((region, Arc::new(Tls::load(&tls)?))));
        let all = || {
            let http = [Arc::new(Tls::load(&data)?), Arc::new(Tls::load(&admin)?)];
            Ok((http, kafka.collect::<Result<_, StartError>>()?))
        };
        Ok(all())
    };
    files::blocking(load).await.map_err(StartError::Interrupted)?
}

/// A ledger that is unavailable is nobody's: then the gateway starts, is not ready, and tries again.
async fn hold(account: &Arc<Account>) -> Result<(), StartError> {
    let account = account.clone();
    // A task of its own, which continues when it takes longer.
    let held = tokio::spawn(async move { account.hold().await });
    match tokio::time::timeout(HOLD_WAIT, held).await {
        Ok(Ok(Err(NotReconciled::Held(why)))) => Err(StartError::Held(why)),
        _ => Ok(()),
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|why| StartError::Listen { address, why })
}

fn local(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|why| StartError::Listen { address: unknown, why })
}

/// Pipelines, and of the embedded ones their brokers.
type Opened = (Regions, BTreeMap<String, Arc<Broker>>);

async fn open_regions(config: &Config, ambient: &Ambient) -> Result<Opened, StartError> {
    let mut regions: Vec<(Arc<str>, Arc<dyn Pipeline>)> = Vec::new();
    let mut brokers = BTreeMap::new();
    for (name, region) in &config.regions {
        let pipeline: Arc<dyn Pipeline> = match (&region.embedded, &region.kafka) {
            (Some(embedded), _) => {
                let clock = ambient.clock.clone();
                let opened = Embedded::open(&embedded.file, embedded.partitions, clock).await;
                let opened = Arc::new(opened.map_err(|e| StartError::Region {
                    region: name.clone(),
                    why: e.to_string(),
                })?);
                let broker = Broker::new(name, opened.clone(), ambient.clone());
                brokers.insert(name.clone(), Arc::new(broker));
                opened
            }
            (None, Some(kafka)) => {
                let client_id = format!("sluicegate-{}", config.node);
                Arc::new(Kafka::new(kafka.clone(), client_id))
            }
            (None, None) => continue,
        };
        regions.push((Arc::from(name.as_str()), pipeline));
    }
    Ok((Regions::new(regions), brokers))
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
        unsettled: watch::Sender<Option<String>>,
        held: watch::Sender<Option<String>>,
        mut stopping: watch::Receiver<bool>,
    ) {
        loop {
            match self.account.reconcile(&self.regions).await {
                Ok((settled, floor_us)) => {
                    self.policy.has_passed(floor_us);
                    self.policy.keep(self.account.segments().await);
                    tracing::info!(event = "reconciled", intents = settled);
                    unsettled.send_replace(None);
                    return;
                }
                Err(NotReconciled::Held(why)) => {
                    held.send_replace(Some(why));
                    return;
                }
                Err(NotReconciled::Waits(why)) => {
                    let why = cut(why, CAUSE_BYTES_MAX);
                    tracing::warn!(event = "reconciliation-waits", why);
                    unsettled.send_replace(Some(why));
                }
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
    files.extend(health.tls.iter().flat_map(|(_, tls)| tls.files()));
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
