//! Apache Kafka as a region's pipeline: acks=all, idempotent producer, TLS by rustls. The client
//! crate is known in this file alone.
//!
//! The connection is made when it is first needed and made anew after a fatal error, so that a
//! cluster that is away at start or later only makes its region unavailable. `max_block` is
//! short: a full buffer or a lost topic answers the publisher instead of holding its task.

mod tail;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::ControlFlow,
    path::Path,
    sync::Arc,
    time::Duration,
};

use krafka::{
    CloseOptions, Compression, KrafkaError, Record,
    admin::{CreateTopicsOptions, DescribeClusterOptions, NewTopic},
    auth::{AuthConfig, TlsConfig},
    consumer::{AutoOffsetReset, Consumer, ConsumerRecord, IsolationLevel},
    error::ErrorCode,
    producer::{Acks, DeliveryConfirmation, Producer, RecordMetadata, murmur2},
};
use sluicegate_audit::Position;
use tokio::{sync::Mutex, time::Instant};

use super::{
    Answer, DeliverError, Outbound, POSITION_HEADER, Page, Pipeline, Placed, Stored, Tail,
};
use crate::config::{KafkaCluster, SaslMechanism};

const LINGER: Duration = Duration::from_millis(2);
/// How long one blocked record may hold up a batch before it is answered "unavailable".
const MAX_BLOCK: Duration = Duration::from_secs(3);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const BUFFER_BYTES: usize = 64 << 20;
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long reconciliation or a read may wait for a partition's records.
const FETCH_TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(500);
/// A member of a group that is silent this long loses its partitions to others.
const GROUP_SESSION: Duration = Duration::from_secs(6);
const GROUP_HEARTBEAT: Duration = Duration::from_secs(2);
/// A reconnection is not tried more often than this.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// Clocks of gateway and brokers may differ by this much when a search is bounded by time.
const CLOCK_SLACK_MS: i64 = 300_000;

#[derive(Clone)]
struct Connection {
    client: krafka::Kafka,
    producer: Arc<Producer>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    failed: Option<(Instant, String)>,
}

/// One cluster.
pub struct Kafka {
    cluster: KafkaCluster,
    client_id: String,
    state: Mutex<State>,
    /// Keeps records of different requests from interleaving within their batches, so that the
    /// order of enqueueing is the order of requests.
    order: Mutex<()>,
}

impl Kafka {
    pub fn new(cluster: KafkaCluster, client_id: String) -> Self {
        Self { cluster, client_id, state: Mutex::default(), order: Mutex::new(()) }
    }

    async fn connection(&self) -> Result<Connection, String> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok(connection.clone());
        }
        if let Some((at, why)) = &state.failed
            && at.elapsed() < RECONNECT_PAUSE
        {
            return Err(why.clone());
        }
        match connect(&self.cluster, &self.client_id).await {
            Ok(connection) => {
                state.failed = None;
                state.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(why) => {
                tracing::warn!(event = "kafka-connect-failed", %why);
                state.failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    /// Throws a producer away whose state cannot be trusted any more; the next batch connects
    /// anew, which fences the old one by a new producer id.
    async fn discard(&self, broken: &Connection) {
        let mut state = self.state.lock().await;
        if state.connection.as_ref().is_some_and(|c| Arc::ptr_eq(&c.producer, &broken.producer)) {
            state.connection = None;
        }
    }

    async fn append_all(&self, batch: Vec<Outbound>) -> Vec<Result<Placed, DeliverError>> {
        let connection = match self.connection().await {
            Ok(connection) => connection,
            Err(why) => return vec![Err(DeliverError::Unavailable(why)); batch.len()],
        };
        let mut pending = Vec::with_capacity(batch.len());
        {
            let _order = self.order.lock().await;
            let mut blocked: Option<DeliverError> = None;
            for outbound in batch {
                // Behind a record that could not be queued nothing else may be: it would pass it.
                if let Some(error) = &blocked {
                    pending.push(Err(DeliverError::Unavailable(error.to_string())));
                    continue;
                }
                let queued = connection.producer.enqueue(into_record(outbound)).await;
                let queued = queued.map_err(|e| not_queued(&e));
                if let Err(error) = &queued
                    && error.is_retriable()
                {
                    blocked = Some(error.clone());
                }
                pending.push(queued);
            }
        }
        let mut results = Vec::with_capacity(pending.len());
        let mut fatal = false;
        for delivery in pending {
            results.push(match delivery {
                Ok(handle) => handle.await.map_err(|e| {
                    fatal |= e.is_fatal() || matches!(e, KrafkaError::OutOfOrderSequence { .. });
                    failed(&e)
                }),
                Err(error) => Err(error),
            });
        }
        if fatal {
            self.discard(&connection).await;
        }
        results.into_iter().map(|result| result.and_then(|metadata| placed(&metadata))).collect()
    }

    /// Every record of a topic from a time on, handed to `each` until its end as it was when the
    /// search began.
    async fn scan(
        &self,
        topic: &str,
        since_ms: i64,
        mut each: impl FnMut(&ConsumerRecord),
    ) -> Result<(), DeliverError> {
        let connection = self.connection().await.map_err(DeliverError::Unavailable)?;
        let consumer = self.consumer(&connection).await?;
        let starts =
            consumer.offsets_for_times_for_topic(topic, since_ms).await.map_err(|e| failed(&e))?;
        let mut ends = HashMap::new();
        for (partition, start) in starts {
            let start = start.map_err(|e| failed(&e))?;
            let (_, end) =
                consumer.fetch_watermarks(topic, partition).await.map_err(|e| failed(&e))?;
            if start >= 0 && start < end {
                ends.insert(partition, (start, end));
            }
        }
        let mut on = |record: &ConsumerRecord| {
            each(record);
            ControlFlow::Continue(())
        };
        let scanned = drain(&consumer, topic, &ends, &mut on).await;
        let _closed = consumer.close().await;
        scanned
    }

    async fn consumer(&self, connection: &Connection) -> Result<Consumer, DeliverError> {
        connection.client.consumer_without_group().build().await.map_err(|e| failed(&e))
    }

    async fn page(
        &self,
        topic: &str,
        partition: u32,
        from: i64,
        max: usize,
        bytes: usize,
    ) -> Result<Page, DeliverError> {
        let connection = self.connection().await.map_err(DeliverError::Unavailable)?;
        let known = connection
            .producer
            .partitions_for(topic)
            .await
            .map_err(|_| DeliverError::UnknownTopic)?;
        let partition = i32::try_from(partition).map_err(|_| DeliverError::UnknownTopic)?;
        if !known.iter().any(|p| p.partition == partition) {
            return Err(DeliverError::UnknownTopic);
        }
        let consumer = self.consumer(&connection).await?;
        let (low, end) =
            consumer.fetch_watermarks(topic, partition).await.map_err(|e| failed(&e))?;
        let from = from.max(low);
        let until = end.min(from.saturating_add(i64::try_from(max).unwrap_or(i64::MAX)));
        let (mut records, mut read) = (Vec::new(), 0);
        if from < until {
            let ends = HashMap::from([(partition, (from, until))]);
            drain(&consumer, topic, &ends, &mut |record| {
                if read < bytes && record.offset < until {
                    let record = stored(record);
                    read += record.bytes();
                    records.push(record);
                }
                if read < bytes { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
            .await?;
        }
        let _closed = consumer.close().await;
        Ok(Page { records, end })
    }
}

impl Pipeline for Kafka {
    fn append(&self, batch: Vec<Outbound>) -> Answer<'_, Vec<Result<Placed, DeliverError>>> {
        Box::pin(self.append_all(batch))
    }

    fn read<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        from: i64,
        max: usize,
        bytes: usize,
    ) -> Answer<'a, Result<Page, DeliverError>> {
        Box::pin(self.page(topic, partition, from, max, bytes))
    }

    fn find<'a>(
        &'a self,
        topic: &'a str,
        wanted: &'a BTreeSet<Position>,
        since_ms: i64,
    ) -> Answer<'a, Result<BTreeMap<Position, Placed>, DeliverError>> {
        Box::pin(async move {
            let mut found = BTreeMap::new();
            let since_ms = since_ms.saturating_sub(CLOCK_SLACK_MS);
            self.scan(topic, since_ms, |record| {
                if let Some(position) = position(record)
                    && wanted.contains(&position)
                {
                    let partition = u32::try_from(record.partition).unwrap_or(u32::MAX);
                    // The first copy counts; a second would be a defect that tests look for.
                    found.entry(position).or_insert(Placed { partition, offset: record.offset });
                }
            })
            .await?;
            Ok(found)
        })
    }

    fn ensure<'a>(
        &'a self,
        topic: &'a str,
        keep_ms: Option<i64>,
    ) -> Answer<'a, Result<u32, DeliverError>> {
        Box::pin(async move {
            let connection = self.connection().await.map_err(DeliverError::Unavailable)?;
            if let Some(count) = partitions(&connection, topic).await? {
                return Ok(count);
            }
            let mut new = NewTopic::new(topic, -1, -1).map_err(|e| failed(&e))?;
            if let Some(keep_ms) = keep_ms {
                new.configs.insert("retention.ms".to_owned(), keep_ms.to_string());
            }
            let options = CreateTopicsOptions::default();
            let made = connection.client.admin().create_topics([new], options).await;
            for (_, result) in made.map_err(|e| failed(&e))? {
                match result {
                    Ok(())
                    | Err(KrafkaError::Broker { code: ErrorCode::TopicAlreadyExists, .. }) => {}
                    Err(error) => return Err(failed(&error)),
                }
            }
            // Its partitions become known a little later.
            let deadline = Instant::now() + FETCH_TIMEOUT;
            while Instant::now() < deadline {
                if let Some(count) = partitions(&connection, topic).await? {
                    return Ok(count);
                }
                tokio::time::sleep(POLL).await;
            }
            Err(DeliverError::Unavailable("a new topic did not appear".to_owned()))
        })
    }

    fn offset_at<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        ms: i64,
    ) -> Answer<'a, Result<i64, DeliverError>> {
        Box::pin(async move {
            let connection = self.connection().await.map_err(DeliverError::Unavailable)?;
            let consumer = self.consumer(&connection).await?;
            let number = i32::try_from(partition).map_err(|_| DeliverError::UnknownTopic)?;
            let found = consumer.offsets_for_times_for_topic(topic, ms).await;
            let found = found.map_err(|e| failed(&e))?;
            let at = match found.into_iter().find(|(p, _)| *p == number) {
                Some((_, at)) => at.map_err(|e| failed(&e))?,
                None => -1,
            };
            let at = match at {
                0.. => at,
                _ => consumer.fetch_watermarks(topic, number).await.map_err(|e| failed(&e))?.1,
            };
            let _closed = consumer.close().await;
            Ok(at)
        })
    }

    fn tail<'a>(
        &'a self,
        topic: &'a str,
        group: Option<&'a str>,
    ) -> Answer<'a, Result<Box<dyn Tail>, DeliverError>> {
        Box::pin(async move {
            let count = self.ensure(topic, None).await?;
            let connection = self.connection().await.map_err(DeliverError::Unavailable)?;
            let (consumer, alone) = match group {
                Some(group) => {
                    let consumer = connection.client.consumer(group);
                    let consumer = consumer
                        .enable_auto_commit(false)
                        .auto_offset_reset(AutoOffsetReset::Earliest)
                        .isolation_level(IsolationLevel::ReadCommitted)
                        .session_timeout(GROUP_SESSION)
                        .heartbeat_interval(GROUP_HEARTBEAT);
                    let consumer = consumer.build().await.map_err(|e| failed(&e))?;
                    consumer.subscribe([topic]).await.map_err(|e| failed(&e))?;
                    (consumer, None)
                }
                None => {
                    let consumer = self.consumer(&connection).await?;
                    let all = (0..count).filter_map(|p| i32::try_from(p).ok()).collect();
                    consumer.assign(topic, all).await.map_err(|e| failed(&e))?;
                    (consumer, Some((0..count).collect()))
                }
            };
            let (topic, sought) = (topic.to_owned(), BTreeSet::new());
            let tail = tail::KafkaTail { consumer, topic, alone, sought };
            Ok(Box::new(tail) as Box<dyn Tail>)
        })
    }

    /// The brokers forget by the topic's own retention.
    fn trim<'a>(
        &'a self,
        _topic: &'a str,
        _partition: u32,
        _before: i64,
    ) -> Answer<'a, Result<(), DeliverError>> {
        Box::pin(async { Ok(()) })
    }

    fn ready(&self) -> Answer<'_, Result<(), String>> {
        Box::pin(async move {
            let connection = self.connection().await?;
            let asked = connection.client.admin();
            let asked = asked.describe_cluster(DescribeClusterOptions::default());
            match tokio::time::timeout(MAX_BLOCK, asked).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("the cluster does not answer".to_owned()),
            }
        })
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            let connection = self.state.lock().await.connection.take();
            if let Some(connection) = connection {
                let bounded = CloseOptions::new().timeout(CLOSE_TIMEOUT);
                if let Err(error) = connection.producer.close_with(bounded).await {
                    tracing::warn!(event = "kafka-close-failed", %error);
                }
            }
        })
    }
}

/// How many partitions a topic has; `None` when the cluster does not know it.
async fn partitions(connection: &Connection, topic: &str) -> Result<Option<u32>, DeliverError> {
    match connection.producer.partitions_for(topic).await {
        Ok(known) => Ok(u32::try_from(known.len()).ok().filter(|count| *count > 0)),
        Err(error) => match failed(&error) {
            DeliverError::UnknownTopic => Ok(None),
            error => Err(error),
        },
    }
}

/// The partition of a key under Kafka's default partitioner (`BuiltInPartitioner`), so that a key
/// lands in the same partition whichever client or engine sends it.
pub(super) fn partition(key: &[u8], partitions: u16) -> u32 {
    (murmur2(key) as u32 & 0x7fff_ffff) % u32::from(partitions.max(1))
}

async fn connect(cluster: &KafkaCluster, client_id: &str) -> Result<Connection, String> {
    let security = security(cluster).await?;
    let delivery = Duration::from_secs(u64::from(cluster.delivery_timeout_s));
    let client = krafka::Kafka::builder(cluster.bootstrap.join(","))
        .client_id(client_id)
        .security(security)
        .request_timeout(REQUEST_TIMEOUT)
        .connect()
        .await
        .map_err(|e| e.to_string())?;
    let producer = client
        .producer()
        .acks(Acks::All)
        .idempotent(true)
        .linger(LINGER)
        .batch_size(cluster.batch_bytes as usize)
        .buffer_memory(BUFFER_BYTES)
        .max_block(MAX_BLOCK)
        .delivery_timeout(delivery)
        .compression(Compression::Lz4)
        .build()
        .await
        .map_err(|e| e.to_string())?;
    Ok(Connection { client, producer: Arc::new(producer) })
}

async fn security(cluster: &KafkaCluster) -> Result<AuthConfig, String> {
    let tls = match &cluster.tls {
        Some(tls) => {
            let mut config = TlsConfig::new().with_ca_cert_pem(read(&tls.ca).await?);
            if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
                let pair = (read(certificate).await?, read(key).await?);
                config = config.with_client_cert_pem(pair.0, pair.1);
            }
            Some(config)
        }
        None => None,
    };
    let auth = match &cluster.sasl {
        None => return Ok(tls.map_or_else(AuthConfig::plaintext, AuthConfig::ssl)),
        Some(sasl) => {
            let password = String::from_utf8(read(&sasl.password_file).await?)
                .map_err(|_| "the password file is not UTF-8".to_owned())?;
            let (user, password) = (sasl.username.as_str(), password.trim_end());
            match sasl.mechanism {
                SaslMechanism::Plain => AuthConfig::sasl_plain(user, password),
                SaslMechanism::ScramSha256 => AuthConfig::sasl_scram_sha256(user, password),
                SaslMechanism::ScramSha512 => AuthConfig::sasl_scram_sha512(user, password),
            }
        }
    };
    Ok(match tls {
        Some(tls) => auth.with_tls(tls),
        None => auth,
    })
}

async fn read(file: &Path) -> Result<Vec<u8>, String> {
    tokio::fs::read(file).await.map_err(|e| format!("`{}`: {}", file.display(), e.kind()))
}

fn into_record(outbound: Outbound) -> Record {
    let position = bytes::Bytes::copy_from_slice(&outbound.position.to_bytes());
    let mut record = match outbound.value {
        Some(value) => Record::new(&*outbound.topic, value),
        None => Record::new(&*outbound.topic, bytes::Bytes::new()).without_value(),
    };
    record.key = outbound.key;
    record.headers =
        outbound.headers.into_iter().map(|(name, value)| (name, Some(value.into()))).collect();
    record.headers.push((POSITION_HEADER.to_owned(), Some(position)));
    record
}

fn position(record: &ConsumerRecord) -> Option<Position> {
    let header = record.headers.iter().rev().find(|(name, _)| name == POSITION_HEADER)?;
    Position::from_bytes(header.1.as_deref()?)
}

fn stored(record: &ConsumerRecord) -> Stored {
    Stored {
        offset: record.offset,
        timestamp_ms: record.timestamp,
        key: record.key.clone(),
        headers: record
            .headers
            .iter()
            .filter(|(name, _)| name != POSITION_HEADER)
            .map(|(name, value)| (name.clone(), value.as_deref().unwrap_or_default().to_vec()))
            .collect(),
        value: record.value.clone(),
    }
}

fn placed(metadata: &RecordMetadata) -> Result<Placed, DeliverError> {
    let partition = u32::try_from(metadata.partition).unwrap_or_default();
    match metadata.delivery {
        DeliveryConfirmation::Offset => Ok(Placed { partition, offset: metadata.offset }),
        // In the log, but the broker no longer knows where: reconciliation finds it.
        _ => Err(DeliverError::Unknown("written, offset unknown".to_owned())),
    }
}

/// An error at queueing: nothing was sent.
fn not_queued(error: &KrafkaError) -> DeliverError {
    match failed(error) {
        DeliverError::Unknown(why) => DeliverError::Unavailable(why),
        other => other,
    }
}

fn failed(error: &KrafkaError) -> DeliverError {
    match error {
        KrafkaError::Broker { code: ErrorCode::MessageTooLarge, .. } => DeliverError::TooLarge,
        KrafkaError::Broker { code: ErrorCode::UnknownTopicOrPartition, .. }
        | KrafkaError::UnknownTopic { .. } => DeliverError::UnknownTopic,
        KrafkaError::DeliveryTimeout { possibly_written: false, .. } => {
            DeliverError::Unavailable(error.to_string())
        }
        KrafkaError::DeliveryTimeout { .. } | KrafkaError::Closed { .. } => {
            DeliverError::Unknown(error.to_string())
        }
        KrafkaError::Config { .. } => DeliverError::TooLarge,
        other if other.is_retriable() => DeliverError::Unknown(error.to_string()),
        _ => DeliverError::Refused(error.to_string()),
    }
}

/// Polls assigned partitions until each has been read up to its end, or `each` has enough.
async fn drain(
    consumer: &Consumer,
    topic: &str,
    ends: &HashMap<i32, (i64, i64)>,
    each: &mut impl FnMut(&ConsumerRecord) -> ControlFlow<()>,
) -> Result<(), DeliverError> {
    if ends.is_empty() {
        return Ok(());
    }
    let partitions: Vec<i32> = ends.keys().copied().collect();
    consumer.assign(topic, partitions).await.map_err(|e| failed(&e))?;
    for (partition, (start, _)) in ends {
        consumer.seek(topic, *partition, *start).await.map_err(|e| failed(&e))?;
    }
    let mut open: BTreeSet<i32> = ends.keys().copied().collect();
    let mut deadline = Instant::now() + FETCH_TIMEOUT;
    while !open.is_empty() {
        let records = consumer.poll(POLL).await.map_err(|e| failed(&e))?;
        if records.iter().try_for_each(&mut *each).is_break() {
            return Ok(());
        }
        if !records.is_empty() {
            deadline = Instant::now() + FETCH_TIMEOUT;
        }
        // Not every offset holds a record (control records), so the position tells the end.
        let mut done = Vec::new();
        for partition in &open {
            let position = consumer.position(topic, *partition).await.unwrap_or(-1);
            if ends.get(partition).is_none_or(|(_, end)| position >= *end) {
                done.push(*partition);
            }
        }
        done.iter().for_each(|partition| {
            open.remove(partition);
        });
        if Instant::now() > deadline {
            return Err(DeliverError::Unavailable("a partition could not be read".to_owned()));
        }
    }
    Ok(())
}
