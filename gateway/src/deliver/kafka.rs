//! Apache Kafka as a region's pipeline: acks=all, idempotent producer, TLS by rustls. The client
//! crate is known here and below alone.
//!
//! The connection is made when it is first needed and made anew after an error that ends it, so
//! that a cluster that is unavailable at start or later only makes its region unavailable.
//! `max_block` is short: a full buffer answers the publisher instead of holding its task.

mod append;
mod client;
mod errors;
pub mod frames;
mod tail;
mod topics;
mod upstream;

pub use upstream::{Cluster, Connection, Spoken, Upstream};

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::ControlFlow,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use krafka::{
    KrafkaError, Record,
    admin::{CreateTopicsOptions, DescribeClusterOptions, NewTopic},
    consumer::{AutoOffsetReset, Consumer, ConsumerRecord, IsolationLevel},
    error::ErrorCode,
};
use sluicegate_audit::Position;
use tokio::time::Instant;

use self::{
    client::{Client, MAX_BLOCK, Session},
    errors::Call,
    topics::Topics,
};
use super::{Answer, Member, POSITION_HEADER, Pipeline, Shape, Since, Tail};
use crate::{
    config::KafkaCluster,
    record::{DeliverError, Header, Outbound, Page, Placed, Sending, Stored},
};

/// What a broker takes as one batch if nobody says otherwise, and if it does not say.
const BATCH_BYTES_DEFAULT: usize = 1_048_588;
/// How long reconciliation or a read may wait for a partition's records.
const FETCH_TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(500);
/// A member of a group that is silent this long loses its partitions to others.
const GROUP_SESSION: Duration = Duration::from_secs(6);
const GROUP_HEARTBEAT: Duration = Duration::from_secs(2);
/// Clocks of gateway and brokers may differ by this much when a search is bounded by time.
const CLOCK_SLACK_MS: i64 = 300_000;

/// One cluster.
pub struct Kafka {
    client: Arc<Client>,
    topics: Topics,
}

impl Kafka {
    pub fn new(cluster: KafkaCluster, client_id: String) -> Self {
        Self { client: Arc::new(Client::new(cluster, client_id)), topics: Topics::default() }
    }
}

/// Every record of a topic from there on, handed to `each` until its end as it was when the
/// search began.
async fn scan(
    session: &Session,
    topic: &str,
    since: Since,
    mut each: impl FnMut(&ConsumerRecord),
) -> krafka::Result<()> {
    let consumer = session.consumer().await?;
    let mut ends = HashMap::new();
    match since {
        Since::Time(ms) => {
            let ms = ms.saturating_sub(CLOCK_SLACK_MS);
            for (partition, start) in consumer.offsets_for_times_for_topic(topic, ms).await? {
                let (_, end) = consumer.fetch_watermarks(topic, partition).await?;
                ends.insert(partition, (start?, end));
            }
        }
        Since::Offset(partition, start) => {
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            let (first, end) = consumer.fetch_watermarks(topic, partition).await?;
            // Behind its end there is another topic of that name.
            let start = if (first..=end).contains(&start) { start } else { first };
            ends.insert(partition, (start, end));
        }
    }
    ends.retain(|_, (start, end)| *start >= 0 && start < end);
    let mut each = |record: &ConsumerRecord| {
        each(record);
        ControlFlow::Continue(())
    };
    let scanned = drain(&consumer, topic, &ends, &mut each).await;
    let _closed = consumer.close().await;
    scanned
}

async fn page(
    session: &Session,
    topic: &str,
    partition: i32,
    from: i64,
    max: usize,
    bytes: usize,
) -> krafka::Result<Page> {
    let known = session.producer().partitions_for(topic).await?;
    if !known.iter().any(|p| p.partition == partition) {
        return Err(KrafkaError::unknown_topic(topic));
    }
    let consumer = session.consumer().await?;
    let (low, end) = consumer.fetch_watermarks(topic, partition).await?;
    let from = from.max(low);
    let until = end.min(from.saturating_add(i64::try_from(max).unwrap_or(i64::MAX)));
    let (mut records, mut read) = (Vec::new(), 0);
    if from < until {
        let ends = HashMap::from([(partition, (from, until))]);
        let mut each = |record: &ConsumerRecord| {
            if read < bytes && record.offset < until {
                let record = stored(record);
                read += record.bytes();
                records.push(record);
            }
            if read < bytes { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        drain(&consumer, topic, &ends, &mut each).await?;
    }
    let _closed = consumer.close().await;
    Ok(Page { records, end })
}

/// Creates a topic that is not there; returns how many partitions it has.
async fn ensure(session: &Session, topic: &str, keep_ms: Option<i64>) -> krafka::Result<u32> {
    if let Some(count) = partitions(session, topic).await? {
        return Ok(count);
    }
    let mut new = NewTopic::new(topic, -1, -1)?;
    if let Some(keep_ms) = keep_ms {
        new.configs.insert("retention.ms".to_owned(), keep_ms.to_string());
    }
    let options = CreateTopicsOptions::default();
    for (_, result) in session.kafka().admin().create_topics([new], options).await? {
        match result {
            Ok(()) | Err(KrafkaError::Broker { code: ErrorCode::TopicAlreadyExists, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    // Its partitions become known a little later.
    let deadline = Instant::now() + FETCH_TIMEOUT;
    while Instant::now() < deadline {
        if let Some(count) = partitions(session, topic).await? {
            return Ok(count);
        }
        tokio::time::sleep(POLL).await;
    }
    Err(KrafkaError::timeout("a new topic did not appear"))
}

/// How many partitions a topic has; `None` when the cluster does not know it.
async fn partitions(session: &Session, topic: &str) -> krafka::Result<Option<u32>> {
    match session.producer().partitions_for(topic).await {
        Ok(known) => Ok(u32::try_from(known.len()).ok().filter(|count| *count > 0)),
        Err(
            KrafkaError::UnknownTopic { .. }
            | KrafkaError::Broker { code: ErrorCode::UnknownTopicOrPartition, .. },
        ) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn offset_at(session: &Session, topic: &str, partition: i32, ms: i64) -> krafka::Result<i64> {
    let consumer = session.consumer().await?;
    // The end comes first: a record that arrives in between is behind it.
    let (_, end) = consumer.fetch_watermarks(topic, partition).await?;
    let found = consumer.offsets_for_times_for_topic(topic, ms).await?;
    let at = match found.into_iter().find(|(p, _)| *p == partition) {
        Some((_, at)) => at?,
        None => -1,
    };
    let _closed = consumer.close().await;
    Ok(if at < 0 { end } else { at })
}

/// A consumer that shares the topic's partitions with others of its group.
async fn follower(session: &Session, topic: &str, member: &Member) -> krafka::Result<Consumer> {
    let consumer = session
        .kafka()
        .consumer(&member.group)
        .group_instance_id(&*member.name)
        .enable_auto_commit(false)
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .isolation_level(IsolationLevel::ReadCommitted)
        .session_timeout(GROUP_SESSION)
        .heartbeat_interval(GROUP_HEARTBEAT)
        .build()
        .await?;
    consumer.subscribe([topic]).await?;
    Ok(consumer)
}

fn number(partition: u32) -> Result<i32, DeliverError> {
    i32::try_from(partition).map_err(|_| DeliverError::UnknownTopic)
}

impl Pipeline for Kafka {
    fn append(&self, sending: Sending) -> Answer<'_, Vec<Result<Placed, DeliverError>>> {
        Box::pin(self.append_all(sending))
    }

    fn read<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        from: i64,
        max: usize,
        bytes: usize,
    ) -> Answer<'a, Result<Page, DeliverError>> {
        Box::pin(async move {
            let (session, partition) = (self.client.session().await?, number(partition)?);
            session.judged(Call::Ask, page(&session, topic, partition, from, max, bytes).await)
        })
    }

    fn find<'a>(
        &'a self,
        topic: &'a str,
        wanted: &'a BTreeSet<Position>,
        since: Since,
    ) -> Answer<'a, Result<BTreeMap<Position, Placed>, DeliverError>> {
        Box::pin(async move {
            let session = self.client.session().await?;
            let mut found = BTreeMap::new();
            let scanned = scan(&session, topic, since, |record| {
                if let Some(position) = position(record)
                    && wanted.contains(&position)
                {
                    let partition = u32::try_from(record.partition).unwrap_or(u32::MAX);
                    // The first copy counts; a second would be a defect that tests look for.
                    found.entry(position).or_insert(Placed { partition, offset: record.offset });
                }
            });
            session.judged(Call::Ask, scanned.await)?;
            Ok(found)
        })
    }

    fn shape<'a>(&'a self, topic: &'a str) -> Answer<'a, Result<Shape, DeliverError>> {
        Box::pin(async move {
            let session = self.client.session().await?;
            let partitions = session.judged(Call::Ask, partitions(&session, topic).await)?;
            let partitions = partitions.ok_or(DeliverError::UnknownTopic)?;
            let batch_bytes =
                topics::largest_batch(&session, topic).await?.unwrap_or(BATCH_BYTES_DEFAULT);
            Ok(Shape { partitions, batch_bytes })
        })
    }

    fn ensure<'a>(
        &'a self,
        topic: &'a str,
        keep_ms: Option<i64>,
    ) -> Answer<'a, Result<u32, DeliverError>> {
        Box::pin(async move {
            let session = self.client.session().await?;
            session.judged(Call::Ask, ensure(&session, topic, keep_ms).await)
        })
    }

    fn offset_at<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        ms: i64,
    ) -> Answer<'a, Result<i64, DeliverError>> {
        Box::pin(async move {
            let (session, partition) = (self.client.session().await?, number(partition)?);
            session.judged(Call::Ask, offset_at(&session, topic, partition, ms).await)
        })
    }

    fn tail<'a>(
        &'a self,
        topic: &'a str,
        member: &'a Member,
    ) -> Answer<'a, Result<Box<dyn Tail>, DeliverError>> {
        Box::pin(async move {
            let session = self.client.session().await?;
            let follower = follower(&session, topic, member).await;
            let consumer = session.judged(Call::Ask, follower)?;
            let (topic, sought) = (topic.to_owned(), BTreeSet::new());
            let tail = tail::KafkaTail { session, consumer, topic, sought };
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

    /// A client that cannot even ask is replaced by one that can, if one can be made.
    fn ready(&self) -> Answer<'_, Result<(), DeliverError>> {
        Box::pin(async move {
            let session = self.client.session().await?;
            let admin = session.kafka().admin();
            let asked = admin.describe_cluster(DescribeClusterOptions::default());
            let asked = tokio::time::timeout(MAX_BLOCK, asked).await;
            let asked =
                asked.unwrap_or_else(|_| Err(KrafkaError::timeout("while querying the cluster")));
            let ready = session.judged(Call::Ask, asked).map(|_| ());
            if ready.is_err() {
                self.client.renew(&session);
            }
            ready
        })
    }

    fn files(&self) -> Vec<PathBuf> {
        self.client.files()
    }

    fn reload(&self) -> Answer<'_, ()> {
        Box::pin(self.client.reload())
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(self.client.close())
    }
}

fn record(topic: &str, outbound: Outbound<'_>, partitions: u32) -> Record {
    let bytes = bytes::Bytes::copy_from_slice;
    let mut record = match outbound.value {
        Some(value) => Record::new(topic, value),
        None => Record::new(topic, bytes::Bytes::new()).without_value(),
    };
    record.key = outbound.key;
    let same = outbound.came_in.filter(|came_in| came_in.fits(partitions));
    record.partition = same.and_then(|came_in| i32::try_from(came_in.partition).ok());
    let headers = outbound.headers.iter();
    let header = |(name, value): &Header| (name.clone(), value.as_deref().map(bytes));
    record.headers = headers.map(header).collect();
    let position = bytes(&outbound.position.to_bytes());
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
            .map(|(name, value)| (name.clone(), value.as_deref().map(<[u8]>::to_vec)))
            .collect(),
        value: record.value.clone(),
    }
}

/// Polls assigned partitions until each has been read up to its end, or `each` has enough.
async fn drain(
    consumer: &Consumer,
    topic: &str,
    ends: &HashMap<i32, (i64, i64)>,
    each: &mut impl FnMut(&ConsumerRecord) -> ControlFlow<()>,
) -> krafka::Result<()> {
    if ends.is_empty() {
        return Ok(());
    }
    let partitions: Vec<i32> = ends.keys().copied().collect();
    consumer.assign(topic, partitions).await?;
    for (partition, (start, _)) in ends {
        consumer.seek(topic, *partition, *start).await?;
    }
    let mut open: BTreeSet<i32> = ends.keys().copied().collect();
    let mut deadline = Instant::now() + FETCH_TIMEOUT;
    while !open.is_empty() {
        let records = consumer.poll(POLL).await?;
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
            return Err(KrafkaError::timeout("a partition could not be read"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
