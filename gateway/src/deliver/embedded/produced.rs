//! Batches of Kafka clients into the embedded pipeline. A producer's last batches are remembered with them, in the
//! same transaction, so that one that comes again has its first place, also after a restart.

use std::sync::{Arc, atomic::Ordering};

use sluicegate_audit::{Position, WriterId};
use sluicegate_wire::codes;
use sqlx::{Connection, SqliteConnection};

use super::{Entry, INSERT_ROWS, Writer, insert, known};
use crate::{files, record::Placed};

/// Batches of a producer and partition that are remembered, as brokers do.
const BATCHES_MAX: usize = 5;
/// Bytes of one of them as it is stored.
const BATCH_BYTES: usize = 16;

/// A batch for one partition.
pub(super) struct Batch {
    pub(super) topic: Arc<str>,
    pub(super) partition: u32,
    pub(super) producer: Option<Producer>,
    pub(super) entries: Vec<Entry>,
}

#[derive(Clone, Copy)]
pub(super) struct Producer {
    pub(super) id: i64,
    pub(super) epoch: i16,
    /// Sequences of the first and the last record.
    pub(super) first: i32,
    pub(super) last: i32,
}

/// What became of a batch: where it is and since when, or Kafka's code of why it is not.
pub(super) type Appended = Result<(i64, i64), i16>;

/// A record that came without a position of the ledger has one that no record of it has.
pub(super) const NOBODY: WriterId = WriterId([0; 16]);

fn nobodys(Placed { partition, offset }: Placed) -> Position {
    Position { writer: NOBODY, wseq: offset.unsigned_abs(), leaf: partition }
}

/// What is remembered of a producer and a partition.
#[derive(Debug, Default, PartialEq)]
struct Known {
    /// Nothing of one that is new.
    epoch: Option<i16>,
    batches: Vec<Remembered>,
}

/// First and last sequence, and the offset of the first record.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Remembered {
    first: i32,
    last: i32,
    offset: i64,
}

#[derive(Debug, PartialEq)]
enum Judged {
    New,
    /// It is there since before.
    Again(i64),
    Refused(i16),
}

impl Known {
    /// Kafka's rules (`ProducerAppendInfo`).
    fn judge(&self, Producer { epoch, first, last, .. }: Producer) -> Judged {
        match self.epoch {
            None => Judged::New,
            Some(known) if epoch < known => Judged::Refused(codes::INVALID_PRODUCER_EPOCH),
            Some(known) if epoch > known => match first {
                0 => Judged::New,
                _ => Judged::Refused(codes::OUT_OF_ORDER_SEQUENCE_NUMBER),
            },
            Some(_) => {
                let same = self.batches.iter().find(|b| (b.first, b.last) == (first, last));
                if let Some(same) = same {
                    return Judged::Again(same.offset);
                }
                match self.batches.last() {
                    Some(newest) if after(newest.last) != first => {
                        Judged::Refused(codes::OUT_OF_ORDER_SEQUENCE_NUMBER)
                    }
                    _ => Judged::New,
                }
            }
        }
    }

    fn remember(&mut self, Producer { epoch, first, last, .. }: Producer, offset: i64) {
        if self.epoch != Some(epoch) {
            self.batches.clear();
        }
        self.epoch = Some(epoch);
        self.batches.push(Remembered { first, last, offset });
        let over = self.batches.len().saturating_sub(BATCHES_MAX);
        self.batches.drain(..over);
    }

    fn pack(&self) -> Vec<u8> {
        let batch = |b: &Remembered| {
            let mut bytes = [b.first.to_be_bytes(), b.last.to_be_bytes()].concat();
            bytes.extend(b.offset.to_be_bytes());
            bytes
        };
        self.batches.iter().flat_map(batch).collect()
    }

    fn unpack(epoch: i16, packed: &[u8]) -> Self {
        let batch = |bytes: &[u8; BATCH_BYTES]| {
            let number = u128::from_be_bytes(*bytes);
            let (first, last) = ((number >> 96) as i32, (number >> 64) as i32);
            Remembered { first, last, offset: number as i64 }
        };
        let batches = packed.as_chunks().0.iter().map(batch).collect();
        Self { epoch: Some(epoch), batches }
    }
}

/// Sequences begin again behind the largest.
const fn after(sequence: i32) -> i32 {
    if sequence == i32::MAX { 0 } else { sequence + 1 }
}

/// The sequence of the last of `count` records.
pub(super) fn last_of(first: i32, count: usize) -> i32 {
    let behind = i64::from(first) + i64::try_from(count).unwrap_or(0) - 1;
    i32::try_from(behind.rem_euclid(i64::from(i32::MAX) + 1)).unwrap_or(0)
}

impl Writer {
    /// All batches of a request, in one transaction.
    pub(super) async fn produce(
        &mut self,
        mut batches: Vec<Batch>,
    ) -> Result<Vec<Appended>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let written = self.produce_on(&mut connection, &mut batches).await;
        // A position that is taken is the sender's mistake and says nothing of the disk.
        let taken = |error: &sqlx::Error| {
            error.as_database_error().is_some_and(|error| error.is_unique_violation())
        };
        match &written {
            Ok(_) => {
                self.failing.store(false, Ordering::Relaxed);
                self.disk.is(false);
                self.grow.send_replace(());
            }
            Err(error) => {
                self.topics.clear();
                let _closed = connection.close().await;
                if taken(error) {
                    return Ok(vec![Err(codes::INVALID_RECORD); batches.len()]);
                }
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(event = "embedded-write-failed", %error);
                }
                self.disk.is(files::says_full(&error.to_string()));
            }
        }
        written
    }

    async fn produce_on(
        &mut self,
        connection: &mut SqliteConnection,
        batches: &mut [Batch],
    ) -> Result<Vec<Appended>, sqlx::Error> {
        let now_ms = self.clock.now_ms().0;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let mut appended = Vec::with_capacity(batches.len());
        for batch in batches {
            appended.push(self.append(&mut transaction, now_ms, batch).await?);
        }
        transaction.commit().await?;
        Ok(appended)
    }

    async fn append(
        &mut self,
        connection: &mut SqliteConnection,
        now_ms: i64,
        batch: &mut Batch,
    ) -> Result<Appended, sqlx::Error> {
        if !self.topics.contains_key(&batch.topic)
            && let Some(topic) = known(connection, &batch.topic).await?
        {
            self.topics.insert(batch.topic.clone(), topic);
        }
        let partition = batch.partition;
        let topic = self.topics.get_mut(&batch.topic);
        let Some((id, next)) =
            topic.and_then(|topic| Some((topic.id, topic.next.get_mut(partition as usize)?)))
        else {
            return Ok(Err(codes::UNKNOWN_TOPIC_OR_PARTITION));
        };
        let base = *next;
        if let Some(producer) = batch.producer {
            let mut known = remembered(connection, (id, partition), producer.id).await?;
            match known.judge(producer) {
                Judged::New => {}
                Judged::Again(offset) => return Ok(Ok((offset, -1))),
                Judged::Refused(code) => return Ok(Err(code)),
            }
            known.remember(producer, base);
            sqlx::query(
                "INSERT INTO producer (topic, part, id, t_ms, epoch, batches) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                 ON CONFLICT DO UPDATE SET t_ms = ?4, epoch = ?5, batches = ?6",
            )
            .bind(id)
            .bind(partition)
            .bind(producer.id)
            .bind(now_ms)
            .bind(producer.epoch)
            .bind(known.pack())
            .execute(&mut *connection)
            .await?;
        }
        for (offset, entry) in (base..).zip(&mut batch.entries) {
            if entry.position.writer == NOBODY {
                entry.position = nobodys(Placed { partition, offset });
            }
        }
        let rows: Vec<_> = (base..)
            .zip(&batch.entries)
            .map(|(offset, entry)| (id, Placed { partition, offset }, entry))
            .collect();
        *next += i64::try_from(rows.len()).unwrap_or(0);
        for some in rows.chunks(INSERT_ROWS) {
            insert(connection, now_ms, some).await?;
        }
        Ok(Ok((base, now_ms)))
    }
}

async fn remembered(
    connection: &mut SqliteConnection,
    (topic, partition): (i64, u32),
    producer: i64,
) -> Result<Known, sqlx::Error> {
    let found: Option<(i16, Vec<u8>)> = sqlx::query_as(
        "SELECT epoch, batches FROM producer WHERE topic = ?1 AND part = ?2 AND id = ?3",
    )
    .bind(topic)
    .bind(partition)
    .bind(producer)
    .fetch_optional(connection)
    .await?;
    Ok(found.map_or_else(Known::default, |(epoch, packed)| Known::unpack(epoch, &packed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(epoch: i16, first: i32, count: usize) -> Producer {
        Producer { id: 7, epoch, first, last: last_of(first, count) }
    }

    #[test]
    fn a_batch_that_comes_again_is_known_and_a_gap_is_refused() {
        let mut known = Known::default();
        // Of a producer that is new, whatever comes first is taken.
        assert_eq!(known.judge(of(0, 10, 2)), Judged::New);
        for n in 0..7 {
            let batch = of(0, n * 2, 2);
            assert_eq!(known.judge(batch), Judged::New);
            known.remember(batch, i64::from(n) * 100);
        }
        known = Known::unpack(0, &known.pack());
        assert_eq!(known.judge(of(0, 4, 2)), Judged::Again(200));
        assert_eq!(known.judge(of(0, 12, 2)), Judged::Again(600));
        let gap = Judged::Refused(codes::OUT_OF_ORDER_SEQUENCE_NUMBER);
        // One that is forgotten, one of another size, and one too many.
        for (first, count) in [(2, 2), (12, 1), (16, 1)] {
            assert_eq!(known.judge(of(0, first, count)), gap);
        }
        assert_eq!(known.judge(of(1, 14, 1)), gap);
        assert_eq!(known.judge(of(1, 0, 1)), Judged::New);
        known.remember(of(1, 0, 1), 900);
        let fenced = Judged::Refused(codes::INVALID_PRODUCER_EPOCH);
        assert_eq!(known.judge(of(0, 14, 1)), fenced);
        assert_eq!(known.batches.len(), 1);
    }

    #[test]
    fn sequences_begin_again_behind_the_largest() {
        assert_eq!(last_of(i32::MAX - 1, 2), i32::MAX);
        assert_eq!(last_of(i32::MAX, 3), 1);
        let mut known = Known::default();
        known.remember(of(0, i32::MAX - 1, 2), 5);
        assert_eq!(known.judge(of(0, 0, 1)), Judged::New);
        known = Known::unpack(0, &known.pack());
        assert_eq!(known.judge(of(0, i32::MAX - 1, 2)), Judged::Again(5));
    }
}
