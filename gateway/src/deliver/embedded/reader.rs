//! The reading side of the embedded pipeline.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use futures_util::TryStreamExt;
use sluicegate_audit::Position;
use sqlx::{AssertSqlSafe, Row, SqlitePool};

use super::{unavailable, unpack};
use crate::{
    deliver::{Answer, Tail},
    record::{DeliverError, Page, Placed, Stored},
};

/// Records of one page of a tail.
const TAIL_RECORDS: usize = 2_000;
const TAIL_BYTES: usize = 16 << 20;

/// The reading side.
#[derive(Clone)]
pub(super) struct Reader(pub(super) SqlitePool);

/// A stretch of a partition, with what the ledger knows each record by.
pub(super) struct Rows {
    /// The first offset that is there, or the end.
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) records: Vec<(Position, Stored)>,
}

impl Reader {
    pub(super) async fn page(
        &self,
        topic: &str,
        partition: u32,
        from: i64,
        max: usize,
        bytes: usize,
    ) -> Result<Page, DeliverError> {
        let Rows { end, records, .. } = self.rows(topic, partition, from, max, bytes).await?;
        Ok(Page { records: records.into_iter().map(|(_, record)| record).collect(), end })
    }

    pub(super) async fn rows(
        &self,
        topic: &str,
        partition: u32,
        from: i64,
        max: usize,
        bytes: usize,
    ) -> Result<Rows, DeliverError> {
        // One statement: each is a way to the driver's thread and back, which costs more than a
        // row. SQLite answers its parts in turn: the partition's end, and then its records.
        let mut rows = sqlx::query(
            "SELECT (SELECT coalesce(max(pos) + 1, 0) FROM record WHERE topic = id AND part = ?2), \
             (SELECT min(pos) FROM record WHERE topic = id AND part = ?2), NULL, NULL, NULL, NULL \
             FROM topic WHERE name = ?1 AND partitions > ?2 UNION ALL \
             SELECT * FROM (SELECT pos, t_ms, key, headers, value, ledger FROM record \
             WHERE topic = (SELECT id FROM topic WHERE name = ?1) AND part = ?2 AND pos >= ?3 \
             ORDER BY pos LIMIT ?4)",
        )
        .bind(topic)
        .bind(partition)
        .bind(from)
        .bind(i64::try_from(max).unwrap_or(i64::MAX))
        .fetch(&self.0);
        let ends = rows.try_next().await.map_err(unavailable)?.ok_or(DeliverError::UnknownTopic)?;
        let end = ends.try_get(0).map_err(unavailable)?;
        let start = ends.try_get::<Option<i64>, _>(1).map_err(unavailable)?.unwrap_or(end);
        let (mut records, mut read) = (Vec::new(), 0);
        while let Some(row) = rows.try_next().await.map_err(unavailable)? {
            let (position, record) = stored(&row).map_err(unavailable)?;
            read += record.bytes();
            records.push((position, record));
            if read >= bytes {
                break;
            }
        }
        Ok(Rows { start, end, records })
    }

    /// Offset and time of a partition's first record of this time or later.
    pub(super) async fn first_since(
        &self,
        topic: &str,
        partition: u32,
        ms: i64,
    ) -> Result<Option<(i64, i64)>, DeliverError> {
        // Times rise with offsets: the writer stamps them.
        let first = sqlx::query_as(
            "SELECT pos, t_ms FROM record WHERE topic = (SELECT id FROM topic WHERE name = ?1) \
             AND part = ?2 AND t_ms >= ?3 ORDER BY pos LIMIT 1",
        );
        let first = first.bind(topic).bind(partition).bind(ms);
        first.fetch_optional(&self.0).await.map_err(unavailable)
    }

    pub(super) async fn find_some(
        &self,
        topic: &str,
        some: &[&Position],
        found: &mut BTreeMap<Position, Placed>,
    ) -> Result<(), sqlx::Error> {
        let marks = vec!["?"; some.len()].join(",");
        let sql = format!(
            "SELECT ledger, part, pos FROM record \
             WHERE topic = (SELECT id FROM topic WHERE name = ?) AND ledger IN ({marks})"
        );
        // Only question marks were put into the text.
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(topic);
        for position in some {
            query = query.bind(position.to_bytes().to_vec());
        }
        for row in query.fetch_all(&self.0).await? {
            let ledger: Vec<u8> = row.try_get(0)?;
            if let Some(position) = Position::from_bytes(&ledger) {
                let placed = Placed { partition: row.try_get(1)?, offset: row.try_get(2)? };
                found.insert(position, placed);
            }
        }
        Ok(())
    }
}

/// Follows a topic by reading page after page.
pub(super) struct EmbeddedTail {
    log: Reader,
    topic: String,
    partitions: u32,
    next: BTreeMap<u32, i64>,
}

impl EmbeddedTail {
    pub(super) fn new(log: Reader, topic: &str, partitions: u32) -> Self {
        Self { log, topic: topic.to_owned(), partitions, next: BTreeMap::new() }
    }
}

impl Tail for EmbeddedTail {
    fn assigned(&mut self) -> Answer<'_, Result<BTreeSet<u32>, DeliverError>> {
        let all = (0..self.partitions).collect();
        Box::pin(async move { Ok(all) })
    }

    fn seek(&mut self, partition: u32, offset: i64) -> Answer<'_, Result<(), DeliverError>> {
        self.next.insert(partition, offset);
        Box::pin(async { Ok(()) })
    }

    fn poll(&mut self, wait: Duration) -> Answer<'_, Result<Vec<(u32, Stored)>, DeliverError>> {
        Box::pin(async move {
            let mut records = Vec::new();
            for (partition, next) in &mut self.next {
                let page =
                    self.log.page(&self.topic, *partition, *next, TAIL_RECORDS, TAIL_BYTES).await?;
                *next = page.records.last().map_or(*next, |last| last.offset + 1);
                records.extend(page.records.into_iter().map(|record| (*partition, record)));
            }
            if records.is_empty() {
                tokio::time::sleep(wait).await;
            }
            Ok(records)
        })
    }

    fn end(&mut self, partition: u32) -> Answer<'_, Result<i64, DeliverError>> {
        Box::pin(async move {
            let at = self.next.get(&partition).copied().unwrap_or(0);
            // An empty partition that was trimmed still has its newest record.
            Ok(self.log.page(&self.topic, partition, i64::MAX, 0, 0).await?.end.max(at))
        })
    }

    fn position(&mut self, partition: u32) -> Answer<'_, Result<i64, DeliverError>> {
        let next = self.next.get(&partition).copied().unwrap_or(0);
        Box::pin(async move { Ok(next) })
    }

    fn commit(&mut self, _partition: u32, _offset: i64) -> Answer<'_, Result<(), DeliverError>> {
        Box::pin(async { Ok(()) })
    }

    fn close(self: Box<Self>) -> Answer<'static, ()> {
        Box::pin(async {})
    }
}

fn stored(row: &sqlx::sqlite::SqliteRow) -> Result<(Position, Stored), sqlx::Error> {
    let headers: Vec<u8> = row.try_get(3)?;
    let position = Position::from_bytes(row.try_get(5)?).ok_or(sqlx::Error::RowNotFound)?;
    let stored = Stored {
        offset: row.try_get(0)?,
        timestamp_ms: row.try_get(1)?,
        key: row.try_get::<Option<Vec<u8>>, _>(2)?.map(Bytes::from),
        headers: unpack(&headers),
        value: row.try_get::<Option<Vec<u8>>, _>(4)?.map(Bytes::from),
    };
    Ok((position, stored))
}
