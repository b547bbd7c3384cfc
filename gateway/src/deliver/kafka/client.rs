//! A cluster's client: made when it is first needed, judged in one place, and made anew when it
//! cannot continue or when its credentials have changed.
//!
//! INVARIANT: every error of the client crate becomes a [`DeliverError`] in [`Session::judged`],
//! which discards a client that the error has ended, whatever call met it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use krafka::{
    CloseOptions, Compression, KrafkaError,
    auth::{AuthConfig, TlsConfig},
    consumer::Consumer,
    producer::{Acks, Producer},
};
use ring::digest::{Context, Digest, SHA256};
use tokio::time::Instant;

use super::errors::{Call, judge};
use crate::{
    config::{KafkaCluster, SaslMechanism},
    files::{self, SMALL_FILE_BYTES_MAX},
    record::DeliverError,
};

const LINGER: Duration = Duration::from_millis(2);
/// How long one blocked record may hold up its topic before it is answered "unavailable".
pub(super) const MAX_BLOCK: Duration = Duration::from_secs(3);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const BUFFER_BYTES: usize = 64 << 20;
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that is not there by then is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A reconnection is not tried more often than this.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// An open client and its producers.
struct Open {
    kafka: krafka::Kafka,
    producer: Arc<Producer>,
    /// Producers of smaller batches, for topics that refuse larger ones.
    smaller: tokio::sync::Mutex<BTreeMap<usize, Arc<Producer>>>,
    /// Of the credentials and authorities that it was made with.
    secrets: Secrets,
}

type Secrets = [u8; 32];

/// What came of the last attempts to connect.
#[derive(Default)]
struct Attempts {
    failed: Option<(Instant, DeliverError)>,
    /// Changed credentials that the cluster did not take; the open client stays in use.
    refused: Option<Secrets>,
}

pub(super) struct Client {
    cluster: KafkaCluster,
    client_id: String,
    open: Mutex<Option<Arc<Open>>>,
    /// Locked while a client is made: one at a time.
    attempts: tokio::sync::Mutex<Attempts>,
}

impl Client {
    pub(super) fn new(cluster: KafkaCluster, client_id: String) -> Self {
        Self { cluster, client_id, open: Mutex::default(), attempts: Default::default() }
    }

    /// Bytes of a produce batch, as configured.
    pub(super) fn batch_bytes(&self) -> usize {
        self.cluster.batch_bytes as usize
    }

    fn current(&self) -> Option<Arc<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, open: Option<Arc<Open>>) -> Option<Arc<Open>> {
        let mut current = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, open)
    }

    pub(super) async fn session(self: &Arc<Self>) -> Result<Session, DeliverError> {
        if let Some(open) = self.current() {
            return Ok(self.of(open));
        }
        let mut attempts = self.attempts.lock().await;
        match self.current() {
            Some(open) => Ok(self.of(open)),
            None => self.connect(&mut attempts).await,
        }
    }

    /// Makes a client, in the background, for the place of one that does not do its work even
    /// though no error has ended it. Where none can be made, the old one stays: perhaps its
    /// brokers come back.
    pub(super) fn renew(self: &Arc<Self>, old: &Session) {
        let (client, old) = (self.clone(), old.open.clone());
        tokio::spawn(async move {
            // The holder is already making one.
            let Ok(mut attempts) = client.attempts.try_lock() else { return };
            if client.current().is_none_or(|open| Arc::ptr_eq(&open, &old)) {
                let _noted = client.connect(&mut attempts).await;
            }
        });
    }

    fn of(self: &Arc<Self>, open: Arc<Open>) -> Session {
        Session { client: self.clone(), open }
    }

    async fn connect(self: &Arc<Self>, attempts: &mut Attempts) -> Result<Session, DeliverError> {
        if let Some((at, why)) = &attempts.failed
            && at.elapsed() < RECONNECT_PAUSE
        {
            return Err(why.clone());
        }
        let made = tokio::time::timeout(CONNECT_TIMEOUT, open(&self.cluster, &self.client_id));
        let made = made.await.unwrap_or_else(|_| Err(KrafkaError::timeout("connecting")));
        match made {
            Ok(open) => {
                *attempts = Attempts::default();
                let open = Arc::new(open);
                self.replace(Some(open.clone()));
                Ok(self.of(open))
            }
            Err(error) => {
                let why = judge(&error, Call::Ask).error;
                attempts.failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    /// Takes changed credentials and authorities: a new client is made with them, and the old one
    /// only ends its deliveries. What the cluster does not take leaves the old one in use.
    pub(super) async fn reload(self: &Arc<Self>) {
        let mut attempts = self.attempts.lock().await;
        let Some(open) = self.current() else {
            attempts.failed = None;
            return;
        };
        let secrets = match security(&self.cluster).await {
            Ok((_, secrets)) => secrets,
            Err(error) => {
                tracing::debug!(event = "kafka-credentials-not-read", %error);
                return;
            }
        };
        if secrets == open.secrets || attempts.refused == Some(secrets) {
            return;
        }
        attempts.failed = None;
        match self.connect(&mut attempts).await {
            Ok(_) => tracing::info!(event = "kafka-credentials-taken"),
            Err(error) => {
                attempts.refused = Some(secrets);
                tracing::warn!(event = "kafka-credentials-refused", why = error.cause());
            }
        }
    }

    /// Files that [`Client::reload`] reads.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let tls = self.cluster.tls.iter();
        let tls = tls.flat_map(|tls| [Some(&tls.ca), tls.certificate.as_ref(), tls.key.as_ref()]);
        let password = self.cluster.sasl.as_ref().map(|sasl| &sasl.password_file);
        tls.flatten().chain(password).cloned().collect()
    }

    pub(super) async fn close(&self) {
        let Some(open) = self.replace(None) else { return };
        let smaller = std::mem::take(&mut *open.smaller.lock().await);
        let close = |producer: Arc<Producer>| async move {
            let bounded = CloseOptions::new().timeout(CLOSE_TIMEOUT);
            if let Err(error) = producer.close_with(bounded).await {
                tracing::warn!(event = "kafka-close-failed", %error);
            }
        };
        let all = smaller.into_values().chain([open.producer.clone()]);
        futures_util::future::join_all(all.map(close)).await;
    }
}

/// One client, for one piece of work; another may have taken its place meanwhile.
#[derive(Clone)]
pub(super) struct Session {
    client: Arc<Client>,
    open: Arc<Open>,
}

impl Session {
    pub(super) fn kafka(&self) -> &krafka::Kafka {
        &self.open.kafka
    }

    pub(super) fn producer(&self) -> &Producer {
        &self.open.producer
    }

    /// A producer whose batches hold at most so many bytes, or one larger record.
    pub(super) async fn producer_of(&self, batch_bytes: usize) -> krafka::Result<Arc<Producer>> {
        if batch_bytes >= self.client.batch_bytes() {
            return Ok(self.open.producer.clone());
        }
        let mut smaller = self.open.smaller.lock().await;
        if let Some(producer) = smaller.get(&batch_bytes) {
            return Ok(producer.clone());
        }
        let made = producer(&self.open.kafka, &self.client.cluster, batch_bytes).await?;
        smaller.insert(batch_bytes, made.clone());
        Ok(made)
    }

    pub(super) async fn consumer(&self) -> krafka::Result<Consumer> {
        self.open.kafka.consumer_without_group().build().await
    }

    /// What an answer of the client means; an error may have ended it.
    pub(super) fn judged<T>(
        &self,
        call: Call,
        answer: krafka::Result<T>,
    ) -> Result<T, DeliverError> {
        answer.map_err(|error| {
            let judgment = judge(&error, call);
            if judgment.ends {
                let mut open = self.client.open.lock().unwrap_or_else(PoisonError::into_inner);
                if open.as_ref().is_some_and(|open| Arc::ptr_eq(open, &self.open)) {
                    *open = None;
                }
            }
            judgment.error
        })
    }
}

async fn open(cluster: &KafkaCluster, client_id: &str) -> krafka::Result<Open> {
    let (security, secrets) = security(cluster).await?;
    let kafka = krafka::Kafka::builder(cluster.bootstrap.join(","))
        .client_id(client_id)
        .security(security)
        .request_timeout(REQUEST_TIMEOUT)
        .connect()
        .await?;
    let producer = producer(&kafka, cluster, cluster.batch_bytes as usize).await?;
    Ok(Open { kafka, producer, smaller: Default::default(), secrets })
}

async fn producer(
    kafka: &krafka::Kafka,
    cluster: &KafkaCluster,
    batch_bytes: usize,
) -> krafka::Result<Arc<Producer>> {
    let made = kafka
        .producer()
        .acks(Acks::All)
        .idempotent(true)
        .linger(LINGER)
        .batch_size(batch_bytes)
        .buffer_memory(BUFFER_BYTES)
        .max_block(MAX_BLOCK)
        .delivery_timeout(Duration::from_secs(u64::from(cluster.delivery_timeout_s)))
        .compression(Compression::Lz4);
    Ok(Arc::new(made.build().await?))
}

/// What the cluster is to be shown and to be believed by, and a digest that tells a change.
async fn security(cluster: &KafkaCluster) -> krafka::Result<(AuthConfig, Secrets)> {
    let mut digest = Context::new(&SHA256);
    let tls = match &cluster.tls {
        Some(tls) => {
            let mut config = TlsConfig::new().with_ca_cert_pem(read(&tls.ca, &mut digest).await?);
            if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
                let certificate = read(certificate, &mut digest).await?;
                let key = read(key, &mut digest).await?;
                config = config.with_client_cert_pem(certificate, key);
            }
            Some(config)
        }
        None => None,
    };
    let auth = match &cluster.sasl {
        None => tls.map_or_else(AuthConfig::plaintext, AuthConfig::ssl),
        Some(sasl) => {
            let password = String::from_utf8(read(&sasl.password_file, &mut digest).await?)
                .map_err(|_| KrafkaError::config("the password file is not UTF-8"))?;
            let (user, password) = (sasl.username.as_str(), password.trim_end());
            let auth = match sasl.mechanism {
                SaslMechanism::Plain => AuthConfig::sasl_plain(user, password),
                SaslMechanism::ScramSha256 => AuthConfig::sasl_scram_sha256(user, password),
                SaslMechanism::ScramSha512 => AuthConfig::sasl_scram_sha512(user, password),
            };
            match tls {
                Some(tls) => auth.with_tls(tls),
                None => auth,
            }
        }
    };
    Ok((auth, secrets(&digest.finish())))
}

fn secrets(digest: &Digest) -> Secrets {
    digest.as_ref().try_into().unwrap_or_default()
}

async fn read(file: &Path, digest: &mut Context) -> krafka::Result<Vec<u8>> {
    let path = file.to_owned();
    let bytes = files::blocking(move || files::read(&path, SMALL_FILE_BYTES_MAX)).await;
    let bytes = bytes.map_err(|why| KrafkaError::config(format!("`{}`: {why}", file.display())))?;
    digest.update(&(bytes.len() as u64).to_be_bytes());
    digest.update(&bytes);
    Ok(bytes)
}
