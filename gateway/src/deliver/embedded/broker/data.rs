//! Records in and out, and where they are.

use std::sync::Arc;

use bytes::Bytes;
use sluicegate_audit::Position;
use sluicegate_wire::{
    Malformed, Name, Value, View,
    batch::{self, Attributes, Batches, Head, HeaderList, Writer},
    codes,
    compress::Codec,
};
use tokio::time::{Duration, Instant, timeout_at};

use super::{
    super::{
        Entry,
        produced::{Batch, NOBODY, Producer, last_of},
        reader::Rows,
    },
    Broker, Change, Failed, Set, code_of, int, text,
};
use crate::{
    deliver::{POSITION_HEADER, pack},
    record::{DeliverError, Stored},
};

/// The Kafka interface has smaller bounds for what clients send.
const LIMITS: batch::Limits =
    batch::Limits { inflated: 512 << 20, records: 1_000_000, headers: 10_000 };
/// A fetch waits for at most so long, and is answered with at most so many records and bytes.
const WAIT_MAX: Duration = Duration::from_secs(60);
const FETCH_RECORDS: usize = 10_000;
const FETCH_BYTES: usize = 32 << 20;
/// Records and bytes of one batch that is made of rows.
const BATCH_RECORDS: usize = 1_000;
const BATCH_BYTES: usize = 1 << 20;
/// Timestamps are those of when a record was appended.
const LOG_APPEND_TIME: Attributes = Attributes(1 << 3);
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const NEWEST: i64 = -3;

/// What is asked of a partition.
struct Wanted {
    partition: i32,
    offset: i64,
    bytes: usize,
}

impl Broker {
    pub(super) async fn produce(&self, asked: &View<'_>) -> Result<Set<'static>, Failed> {
        let (mut batches, mut topics) = (Vec::new(), Vec::new());
        for topic in asked.structs(Name::TopicData)? {
            let topic = topic?;
            let name: Arc<str> = Arc::from(topic.str(Name::Name)?);
            let mut parts = Vec::new();
            for part in topic.structs(Name::PartitionData)? {
                let part = part?;
                let index: i32 = part.int(Name::Index)?;
                let read = read(&name, index, part.data(Name::Records)?.unwrap_or_default());
                parts.push((index, read.map(|batch| batches.push(batch))));
            }
            topics.push((name, parts));
        }
        let count = batches.len();
        let appended = self.log.produce(batches).await;
        let appended = appended.unwrap_or_else(|error| vec![Err(code_of(&error)); count]);
        let mut appended = appended.into_iter();
        let mut said = |(index, read): (i32, Result<(), i16>)| {
            let done =
                read.and_then(|()| appended.next().unwrap_or(Err(codes::UNKNOWN_SERVER_ERROR)));
            let (code, (offset, ms)) = match done {
                Ok(place) => (codes::NONE, place),
                Err(code) => (code, (-1, -1)),
            };
            Value::Struct(vec![
                (Name::Index, int(index)),
                (Name::ErrorCode, int(code)),
                (Name::BaseOffset, int(offset)),
                (Name::LogAppendTimeMs, int(ms)),
            ])
        };
        let mut responses = Vec::new();
        for (name, parts) in topics {
            let parts = parts.into_iter().map(&mut said).collect();
            responses.push(Value::Struct(vec![
                (Name::Name, text(&*name)),
                (Name::PartitionResponses, Value::List(parts)),
            ]));
        }
        Ok(vec![(Name::Responses, Value::List(responses))])
    }

    pub(super) async fn init_producer_id(&self, asked: &View<'_>) -> Result<Set<'static>, Failed> {
        if asked.text(Name::TransactionalId)?.is_some() {
            return Ok(vec![(Name::ErrorCode, int(codes::UNSUPPORTED_VERSION))]);
        }
        Ok(match self.log.change(Change::ProducerId).await {
            Ok(id) => vec![(Name::ProducerId, int(id))],
            Err(error) => vec![(Name::ErrorCode, int(code_of(&error)))],
        })
    }

    pub(super) async fn fetch(&self, asked: &View<'_>) -> Result<Set<'static>, Failed> {
        if asked.int::<i32>(Name::SessionId)? != 0 {
            // There are no sessions: each request names all that it wants.
            return Ok(vec![(Name::ErrorCode, int(codes::FETCH_SESSION_ID_NOT_FOUND))]);
        }
        let wanted = wanted(asked)?;
        let wait = u64::try_from(asked.int::<i64>(Name::MaxWaitMs)?).unwrap_or(0);
        let until = Instant::now() + Duration::from_millis(wait).min(WAIT_MAX);
        let least = usize::try_from(asked.int::<i64>(Name::MinBytes)?).unwrap_or(0);
        let most = usize::try_from(asked.int::<i64>(Name::MaxBytes)?).unwrap_or(0);
        let mut grown = self.log.grown.clone();
        loop {
            grown.borrow_and_update();
            let (responses, bytes, failed) = self.fetched(&wanted, most.min(FETCH_BYTES)).await;
            // The writer is gone, or it is time.
            let over = bytes >= least
                || failed
                || !matches!(timeout_at(until, grown.changed()).await, Ok(Ok(())));
            if over {
                return Ok(vec![(Name::Responses, Value::List(responses))]);
            }
        }
    }

    /// What there is by now, how many bytes that is, and whether something was refused.
    async fn fetched(
        &self,
        wanted: &[(String, Vec<Wanted>)],
        most: usize,
    ) -> (Vec<Value<'static>>, usize, bool) {
        let (mut responses, mut bytes, mut failed) = (Vec::new(), 0, false);
        for (topic, parts) in wanted {
            let mut said = Vec::new();
            for part in parts {
                let most = part.bytes.min(most.saturating_sub(bytes));
                let rows = match (u32::try_from(part.partition), most) {
                    (Err(_), _) => Err(DeliverError::UnknownTopic),
                    // Enough for this time; where it ends is said all the same.
                    (Ok(n), 0) if bytes > 0 => self.log.reader.rows(topic, n, i64::MAX, 0, 0).await,
                    (Ok(n), most) => {
                        self.log.reader.rows(topic, n, part.offset, FETCH_RECORDS, most).await
                    }
                };
                let (code, start, end, records) = match rows {
                    Ok(Rows { start, end, .. }) if !(start..=end).contains(&part.offset) => {
                        (codes::OFFSET_OUT_OF_RANGE, start, end, vec![])
                    }
                    Ok(Rows { start, end, records }) => (codes::NONE, start, end, encode(&records)),
                    Err(error) => (code_of(&error), -1, -1, vec![]),
                };
                bytes += records.len();
                failed |= code != codes::NONE;
                said.push(Value::Struct(vec![
                    (Name::PartitionIndex, int(part.partition)),
                    (Name::ErrorCode, int(code)),
                    (Name::HighWatermark, int(end)),
                    (Name::LastStableOffset, int(end)),
                    (Name::LogStartOffset, int(start)),
                    (Name::Records, Value::Bytes(records.into())),
                ]));
            }
            responses.push(Value::Struct(vec![
                (Name::Topic, text(topic)),
                (Name::Partitions, Value::List(said)),
            ]));
        }
        (responses, bytes, failed)
    }

    pub(super) async fn list_offsets(&self, asked: &View<'_>) -> Result<Set<'static>, Failed> {
        let mut topics = Vec::new();
        for topic in asked.structs(Name::Topics)? {
            let topic = topic?;
            let name = topic.str(Name::Name)?;
            let mut parts = Vec::new();
            for part in topic.structs(Name::Partitions)? {
                let part = part?;
                let partition: i32 = part.int(Name::PartitionIndex)?;
                let found = self.offset(name, partition, part.int(Name::Timestamp)?).await;
                let (code, (offset, ms)) = match found {
                    Ok(found) => (codes::NONE, found),
                    Err(error) => (code_of(&error), (-1, -1)),
                };
                let epoch = if offset < 0 { -1 } else { 0 };
                parts.push(Value::Struct(vec![
                    (Name::PartitionIndex, int(partition)),
                    (Name::ErrorCode, int(code)),
                    (Name::Timestamp, int(ms)),
                    (Name::Offset, int(offset)),
                    (Name::LeaderEpoch, int(if part.layout().version >= 4 { epoch } else { -1 })),
                ]));
            }
            topics.push(Value::Struct(vec![
                (Name::Name, text(name)),
                (Name::Partitions, Value::List(parts)),
            ]));
        }
        Ok(vec![(Name::Topics, Value::List(topics))])
    }

    /// The offset that a time stands for, and the time of its record if that was asked for.
    async fn offset(
        &self,
        topic: &str,
        partition: i32,
        ms: i64,
    ) -> Result<(i64, i64), DeliverError> {
        let partition = u32::try_from(partition).map_err(|_| DeliverError::UnknownTopic)?;
        let reader = &self.log.reader;
        let rows = reader.rows(topic, partition, i64::MAX, 0, 0).await?;
        Ok(match ms {
            LATEST => (rows.end, -1),
            EARLIEST => (rows.start, -1),
            NEWEST => {
                let newest = reader.rows(topic, partition, rows.end - 1, 1, 0).await?;
                let newest = newest.records.first();
                newest.map_or((-1, -1), |(_, record)| (record.offset, record.timestamp_ms))
            }
            _ => reader.first_since(topic, partition, ms).await?.unwrap_or((-1, -1)),
        })
    }
}

fn wanted(asked: &View<'_>) -> Result<Vec<(String, Vec<Wanted>)>, Malformed> {
    let mut wanted = Vec::new();
    for topic in asked.structs(Name::Topics)? {
        let topic = topic?;
        let parts = topic.structs(Name::Partitions)?.map(|part| {
            let part = part?;
            let bytes = usize::try_from(part.int::<i64>(Name::PartitionMaxBytes)?).unwrap_or(0);
            let (partition, offset) = (part.int(Name::Partition)?, part.int(Name::FetchOffset)?);
            Ok::<_, Malformed>(Wanted { partition, offset, bytes })
        });
        wanted.push((topic.str(Name::Topic)?.to_owned(), parts.collect::<Result<_, _>>()?));
    }
    Ok(wanted)
}

/// A client's batch as rows.
fn read(topic: &Arc<str>, partition: i32, records: &[u8]) -> Result<Batch, i16> {
    let corrupt = |_| codes::CORRUPT_MESSAGE;
    let mut batches = Batches::new(records);
    let (Some(Ok(batch)), None) = (batches.next(), batches.next()) else {
        return Err(codes::INVALID_RECORD);
    };
    let head = batch.head;
    head.check_produced(batch.count).map_err(|_| codes::INVALID_RECORD)?;
    if head.attributes.transactional() {
        return Err(codes::INVALID_RECORD);
    }
    let partition = u32::try_from(partition).map_err(|_| codes::UNKNOWN_TOPIC_OR_PARTITION)?;
    let mut space = Vec::new();
    let mut entries = Vec::new();
    for record in batch.records(LIMITS, &mut space).map_err(corrupt)? {
        let record = record.map_err(corrupt)?;
        let owned = |(name, value): batch::Pair<'_>| {
            (String::from_utf8_lossy(name).into_owned(), value.map(<[u8]>::to_vec))
        };
        let mut headers: Vec<_> = record.headers.iter().map(owned).collect();
        // What the ledger knows it by has a place of its own.
        let of_ledger = headers.pop_if(|(name, value)| {
            let value = value.as_deref().unwrap_or_default();
            name == POSITION_HEADER && Position::from_bytes(value).is_some()
        });
        let position = of_ledger.and_then(|(_, value)| Position::from_bytes(&value?));
        let position = position.unwrap_or(Position { writer: NOBODY, wseq: 0, leaf: 0 });
        let (key, value) = (record.key.map(Bytes::copy_from_slice), record.value);
        let value = value.map(Bytes::copy_from_slice);
        entries.push(Entry { position, key, headers: pack(&headers), value, came_in: None });
    }
    let producer = (head.producer_id >= 0).then(|| Producer {
        id: head.producer_id,
        epoch: head.producer_epoch,
        first: head.base_sequence,
        last: last_of(head.base_sequence, entries.len()),
    });
    Ok(Batch { topic: topic.clone(), partition, producer, entries })
}

/// Rows as batches: records of one batch were appended at one time.
fn encode(mut rows: &[(Position, Stored)]) -> Vec<u8> {
    let (mut out, mut space, mut list) = (Vec::new(), Vec::new(), HeaderList::default());
    while let Some((_, first)) = rows.first() {
        let mut bytes = 0;
        let belongs = |(n, (_, row)): &(usize, &(Position, Stored))| {
            bytes += row.bytes();
            let fits = *n == 0 || (*n < BATCH_RECORDS && bytes <= BATCH_BYTES);
            let behind = i64::try_from(*n).unwrap_or(i64::MAX);
            fits && row.timestamp_ms == first.timestamp_ms && row.offset - first.offset == behind
        };
        let count = rows.iter().enumerate().take_while(belongs).count();
        let Some((mine, rest)) = rows.split_at_checked(count.max(1)) else { break };
        let head = Head {
            base_offset: first.offset,
            leader_epoch: 0,
            attributes: LOG_APPEND_TIME,
            last_offset_delta: i32::try_from(mine.len() - 1).unwrap_or(0),
            base_timestamp: first.timestamp_ms,
            max_timestamp: first.timestamp_ms,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
        };
        let mut writer = Writer::new(head, Codec::None, &mut out, &mut space);
        for (offset_delta, (position, row)) in (0..).zip(mine) {
            list.clear();
            for (name, value) in &row.headers {
                list.push(name.as_bytes(), value.as_deref());
            }
            if position.writer != NOBODY {
                list.push(POSITION_HEADER.as_bytes(), Some(&position.to_bytes()));
            }
            writer.push(&batch::Record {
                attributes: 0,
                timestamp_delta: 0,
                offset_delta,
                key: row.key.as_deref(),
                value: row.value.as_deref(),
                headers: list.headers(),
            });
        }
        // Batches are far smaller than what a length can say.
        let _finished = writer.finish();
        rows = rest;
    }
    out
}
