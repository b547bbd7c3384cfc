//! What the broker keeps beside records: where groups are, ids of producers, and topics that go.

use std::collections::BTreeMap;

use sqlx::{Connection, SqliteConnection};

use super::super::{Embedded, Job, Writer, unavailable};
use crate::record::DeliverError;

/// A producer that is silent this long is forgotten, as brokers do.
const PRODUCER_KEPT_MS: i64 = 24 * 60 * 60 * 1_000;

/// How far a group is in a partition.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Committed {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) metadata: String,
}

pub(in super::super) enum Change {
    Commit(String, Vec<Committed>),
    /// Says how many offsets it had.
    ForgetGroup(String),
    /// Says whether it was there.
    RemoveTopic(String),
    /// A new one.
    ProducerId,
}

impl Embedded {
    pub(super) async fn change(&self, change: Change) -> Result<i64, DeliverError> {
        self.ask(|done| Job::Broker(change, done)).await?.map_err(unavailable)
    }

    /// All topics, with their partitions.
    pub(super) async fn topics(&self) -> Result<BTreeMap<String, u16>, DeliverError> {
        let rows: Result<Vec<(String, i64)>, _> =
            sqlx::query_as("SELECT name, partitions FROM topic").fetch_all(&self.reader.0).await;
        let rows = rows.map_err(unavailable)?.into_iter();
        Ok(rows.map(|(name, partitions)| (name, u16::try_from(partitions).unwrap_or(0))).collect())
    }

    pub(super) async fn committed(&self, group: &str) -> Result<Vec<Committed>, DeliverError> {
        let rows: Result<Vec<(String, i32, i64, String)>, _> = sqlx::query_as(
            "SELECT topic, part, pos, metadata FROM committed WHERE member_group = ?1",
        )
        .bind(group)
        .fetch_all(&self.reader.0)
        .await;
        let made =
            |(topic, partition, offset, metadata)| Committed { topic, partition, offset, metadata };
        Ok(rows.map_err(unavailable)?.into_iter().map(made).collect())
    }

    /// Groups that have offsets.
    pub(super) async fn committing(&self) -> Result<Vec<String>, DeliverError> {
        let names = sqlx::query_scalar("SELECT DISTINCT member_group FROM committed");
        names.fetch_all(&self.reader.0).await.map_err(unavailable)
    }
}

impl Writer {
    pub(in super::super) async fn change(&mut self, change: Change) -> Result<i64, sqlx::Error> {
        if let Change::RemoveTopic(name) = &change {
            self.topics.remove(&**name);
        }
        let now_ms = self.clock.now_ms().0;
        let mut connection = self.pool.acquire().await?;
        let made = async {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            let said = made(&mut transaction, change, now_ms).await?;
            transaction.commit().await?;
            Ok(said)
        };
        let made = made.await;
        if made.is_err() {
            let _closed = connection.close().await;
        }
        made
    }
}

async fn made(
    connection: &mut SqliteConnection,
    change: Change,
    now_ms: i64,
) -> Result<i64, sqlx::Error> {
    match change {
        Change::Commit(group, offsets) => {
            for Committed { topic, partition, offset, metadata } in offsets {
                sqlx::query(
                    "INSERT INTO committed (member_group, topic, part, pos, metadata) \
                     VALUES (?1, ?2, ?3, ?4, ?5) \
                     ON CONFLICT DO UPDATE SET pos = ?4, metadata = ?5",
                )
                .bind(&group)
                .bind(topic)
                .bind(partition)
                .bind(offset)
                .bind(metadata)
                .execute(&mut *connection)
                .await?;
            }
            Ok(0)
        }
        Change::ForgetGroup(group) => {
            let gone = sqlx::query("DELETE FROM committed WHERE member_group = ?1").bind(group);
            let gone = gone.execute(&mut *connection).await?;
            Ok(i64::try_from(gone.rows_affected()).unwrap_or(i64::MAX))
        }
        Change::RemoveTopic(name) => {
            for sql in [
                "DELETE FROM record WHERE topic = (SELECT id FROM topic WHERE name = ?1)",
                "DELETE FROM producer WHERE topic = (SELECT id FROM topic WHERE name = ?1)",
                "DELETE FROM committed WHERE topic = ?1",
            ] {
                sqlx::query(sql).bind(&name).execute(&mut *connection).await?;
            }
            let gone = sqlx::query("DELETE FROM topic WHERE name = ?1").bind(&name);
            let gone = gone.execute(&mut *connection).await?;
            Ok(i64::from(gone.rows_affected() > 0))
        }
        Change::ProducerId => {
            sqlx::query("DELETE FROM producer WHERE t_ms < ?1")
                .bind(now_ms - PRODUCER_KEPT_MS)
                .execute(&mut *connection)
                .await?;
            sqlx::query_scalar(
                "INSERT INTO producer_ids VALUES (1, 1) \
                 ON CONFLICT DO UPDATE SET last = last + 1 RETURNING last",
            )
            .fetch_one(&mut *connection)
            .await
        }
    }
}
