//! The embedded pipeline: a durable topic log in the process, in one SQLite file a region. For
//! trying, and for one machine; it replicates nothing.
//!
//! One writer task owns the writing connection and the next offsets. It takes everything that
//! waits, writes it in one transaction with `synchronous=FULL`, and answers all: group commit
//! without a timer. A crash before the commit loses only what nobody was answered for.
//!
//! Kafka clients reach the same log through [`Broker`].

mod broker;
mod produced;
mod reader;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use sluicegate_audit::Position;
use sqlx::{
    Arguments as _, AssertSqlSafe, Connection, SqliteConnection, SqlitePool,
    sqlite::{
        SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions,
        SqliteSynchronous,
    },
};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use self::{
    produced::{Appended, Batch},
    reader::{EmbeddedTail, Reader},
};
use super::{Answer, Member, Pipeline, Shape, Since, Tail, partition};
use crate::{
    ambient::Clock,
    files::{self, Disk},
    record::{CameIn, DeliverError, Header, Page, Placed, Sending},
};

pub use broker::Broker;

/// Batches that may wait for the writer; a fuller queue makes publishers wait.
const QUEUE_BATCHES: usize = 1_024;
/// A transaction has no further batch once it has so many records or bytes.
const TRANSACTION_RECORDS: usize = 10_000;
/// The bytes of a statement are one parameter, and SQLite takes 1 GB.
const TRANSACTION_BYTES: usize = 64 << 20;
/// Rows of one INSERT, of so many parameters each; SQLite takes 32,766.
const INSERT_ROWS: usize = 2_000;
const ROW_PARAMETERS: usize = 7;
/// Bytes of a position.
const POSITION: usize = 28;
/// Up to this many rows of a transaction, its prepared text is kept for the next one.
const KEPT_ROWS: usize = 32;
/// Positions of one lookup.
const FIND_POSITIONS: usize = 500;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS topic (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS record (
    topic INTEGER NOT NULL REFERENCES topic (id),
    part INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    ledger BLOB NOT NULL,
    t_ms INTEGER NOT NULL,
    key BLOB, headers BLOB NOT NULL, value BLOB,
    PRIMARY KEY (topic, part, pos)
) STRICT, WITHOUT ROWID;
-- One record a ledger position and topic: a retry of the gateway's own cannot write twice.
DROP INDEX IF EXISTS record_by_ledger;
CREATE UNIQUE INDEX IF NOT EXISTS record_by_position ON record (ledger, topic);
-- The last batches of an idempotent producer, so that one that comes again is known.
CREATE TABLE IF NOT EXISTS producer (
    topic INTEGER NOT NULL REFERENCES topic (id),
    part INTEGER NOT NULL,
    id INTEGER NOT NULL,
    t_ms INTEGER NOT NULL,
    epoch INTEGER NOT NULL, batches BLOB NOT NULL,
    PRIMARY KEY (topic, part, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS producer_ids (id INTEGER PRIMARY KEY, last INTEGER NOT NULL) STRICT;
-- Where groups of Kafka clients are.
CREATE TABLE IF NOT EXISTS committed (
    member_group TEXT NOT NULL, topic TEXT NOT NULL, part INTEGER NOT NULL,
    pos INTEGER NOT NULL, metadata TEXT NOT NULL,
    PRIMARY KEY (member_group, topic, part)
) STRICT, WITHOUT ROWID;
-- Written when it must be found out whether the file takes writes again.
CREATE TABLE IF NOT EXISTS probe (id INTEGER PRIMARY KEY, t_ms INTEGER NOT NULL) STRICT;
";

/// What the writer is asked to do.
enum Job {
    Append(Append),
    Ensure {
        topic: Arc<str>,
        /// Of a new topic; else as many as the configuration says.
        partitions: Option<u16>,
        made: oneshot::Sender<Result<u16, sqlx::Error>>,
    },
    Produce {
        batches: Vec<Batch>,
        done: oneshot::Sender<Result<Vec<Appended>, sqlx::Error>>,
    },
    Broker(broker::Change, oneshot::Sender<Result<i64, sqlx::Error>>),
    Trim {
        topic: Arc<str>,
        partition: u32,
        before: i64,
        done: oneshot::Sender<Result<(), sqlx::Error>>,
    },
}

struct Append {
    topic: Arc<str>,
    entries: Vec<Entry>,
    answer: oneshot::Sender<Vec<Result<Placed, DeliverError>>>,
}

/// A record of the log, as it is written.
pub struct Entry {
    pub position: Position,
    pub key: Option<Bytes>,
    /// As [`pack`] makes them.
    pub headers: Vec<u8>,
    pub value: Option<Bytes>,
    pub came_in: Option<CameIn>,
}

impl Entry {
    fn bytes(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        POSITION + self.headers.len() + length(&self.key) + length(&self.value)
    }
}

/// The log behind the pipeline. Nothing of the gateway appends to it but [`Pipeline::append`],
/// which asks for proof that what it sends is recorded.
pub struct Embedded {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    writer: Mutex<Option<tokio::task::JoinHandle<()>>>,
    reader: Reader,
    /// The last transaction failed, as on a full disk.
    failing: Arc<AtomicBool>,
    /// Marked when there is something new to read.
    grown: watch::Receiver<()>,
}

impl Embedded {
    /// Opens or creates the file and starts the writer.
    pub async fn open(
        file: &Path,
        partitions: u16,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = pool_of(1).connect_with(options.clone()).await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        let readers = pool_of(READERS).connect_with(options.pragma("query_only", "ON")).await?;
        let (sender, receiver) = mpsc::channel(QUEUE_BATCHES);
        let failing = Arc::new(AtomicBool::new(false));
        let (grow, grown) = watch::channel(());
        let writer = Writer {
            pool,
            partitions,
            clock,
            topics: HashMap::new(),
            round_robin: 0,
            failing: failing.clone(),
            grow,
            disk: Disk::new(file.display().to_string()),
        };
        let writer = tokio::spawn(writer.run(receiver));
        let (jobs, writer) = (Mutex::new(Some(sender)), Mutex::new(Some(writer)));
        Ok(Self { jobs, writer, reader: Reader(readers), failing, grown })
    }

    async fn sender(&self) -> Option<mpsc::Sender<Job>> {
        self.jobs.lock().await.clone()
    }

    /// Appends to a topic, and answers for each entry when it is durable. With none, writes a
    /// probe.
    pub async fn write(
        &self,
        topic: Arc<str>,
        entries: Vec<Entry>,
    ) -> Vec<Result<Placed, DeliverError>> {
        let count = entries.len();
        let closed =
            || vec![Err(DeliverError::Unavailable("the pipeline is closed".to_owned())); count];
        let Some(jobs) = self.sender().await else { return closed() };
        let (answer, answered) = oneshot::channel();
        if jobs.send(Job::Append(Append { topic, entries, answer })).await.is_err() {
            return closed();
        }
        answered.await.unwrap_or_else(|_| {
            vec![Err(DeliverError::Unknown("the writer stopped".to_owned())); count]
        })
    }

    /// Makes a topic if it is not there, and says how many partitions it has.
    async fn make(&self, topic: Arc<str>, partitions: Option<u16>) -> Result<u16, DeliverError> {
        let made = self.ask(|made| Job::Ensure { topic, partitions, made }).await?;
        made.map_err(unavailable)
    }

    /// Appends batches of Kafka clients, all in one transaction.
    async fn produce(&self, batches: Vec<Batch>) -> Result<Vec<Appended>, DeliverError> {
        self.ask(|done| Job::Produce { batches, done }).await?.map_err(unavailable)
    }

    /// Has the writer do something between two transactions.
    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, DeliverError> {
        let closed = || DeliverError::Unavailable("the pipeline is closed".to_owned());
        let (answer, answered) = oneshot::channel();
        let jobs = self.sender().await.ok_or_else(closed)?;
        jobs.send(job(answer)).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())
    }
}

impl Pipeline for Embedded {
    fn append(&self, sending: Sending) -> Answer<'_, Vec<Result<Placed, DeliverError>>> {
        let entries = sending.copies().map(|copy| Entry {
            position: copy.position,
            key: copy.key,
            headers: pack(copy.headers),
            value: copy.value,
            came_in: copy.came_in,
        });
        Box::pin(self.write(sending.topic().clone(), entries.collect()))
    }

    fn read<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        from: i64,
        max: usize,
        bytes: usize,
    ) -> Answer<'a, Result<Page, DeliverError>> {
        Box::pin(async move { self.reader.page(topic, partition, from, max, bytes).await })
    }

    fn find<'a>(
        &'a self,
        topic: &'a str,
        wanted: &'a BTreeSet<Position>,
        _since: Since,
    ) -> Answer<'a, Result<BTreeMap<Position, Placed>, DeliverError>> {
        Box::pin(async move {
            let wanted: Vec<&Position> = wanted.iter().collect();
            let mut found = BTreeMap::new();
            for some in wanted.chunks(FIND_POSITIONS) {
                self.reader.find_some(topic, some, &mut found).await.map_err(unavailable)?;
            }
            Ok(found)
        })
    }

    fn shape<'a>(&'a self, topic: &'a str) -> Answer<'a, Result<Shape, DeliverError>> {
        Box::pin(async move {
            let partitions = self.ensure(topic, None).await?;
            Ok(Shape { partitions, batch_bytes: usize::MAX })
        })
    }

    fn ensure<'a>(
        &'a self,
        topic: &'a str,
        _keep_ms: Option<i64>,
    ) -> Answer<'a, Result<u32, DeliverError>> {
        Box::pin(async move { self.make(Arc::from(topic), None).await.map(u32::from) })
    }

    fn offset_at<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        ms: i64,
    ) -> Answer<'a, Result<i64, DeliverError>> {
        Box::pin(async move {
            // The end comes first: a record that arrives in between is behind it.
            let end = self.reader.page(topic, partition, i64::MAX, 0, 0).await?.end;
            let first = self.reader.first_since(topic, partition, ms).await?;
            Ok(first.map_or(end, |(offset, _)| offset))
        })
    }

    fn tail<'a>(
        &'a self,
        topic: &'a str,
        _member: &'a Member,
    ) -> Answer<'a, Result<Box<dyn Tail>, DeliverError>> {
        Box::pin(async move {
            let partitions = self.ensure(topic, None).await?;
            let tail = EmbeddedTail::new(self.reader.clone(), topic, partitions);
            Ok(Box::new(tail) as Box<dyn Tail>)
        })
    }

    fn trim<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        before: i64,
    ) -> Answer<'a, Result<(), DeliverError>> {
        Box::pin(async move {
            let topic = Arc::from(topic);
            let done = |done| Job::Trim { topic, partition, before, done };
            self.ask(done).await?.map_err(unavailable)
        })
    }

    fn ready(&self) -> Answer<'_, Result<(), DeliverError>> {
        Box::pin(async move {
            if self.failing.load(Ordering::Relaxed) {
                // Reading would work on a full disk: an empty batch writes a probe.
                self.write(Arc::from(""), Vec::new()).await;
                if self.failing.load(Ordering::Relaxed) {
                    return Err(DeliverError::Unavailable("the last write failed".to_owned()));
                }
            }
            let asked = sqlx::query("SELECT 1").execute(&self.reader.0).await;
            asked.map(|_| ()).map_err(unavailable)
        })
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.jobs.lock().await.take();
            if let Some(writer) = self.writer.lock().await.take() {
                // A writer that panicked has nothing left to finish.
                let _finished = writer.await;
            }
            self.reader.0.close().await;
        })
    }
}

/// SQLite's own words hold no values of a record: parameters are not in its messages.
fn unavailable(error: sqlx::Error) -> DeliverError {
    DeliverError::Unavailable(error.to_string())
}

/// A ping of a connection to a file costs a way to its thread and back, and shows nothing.
fn pool_of(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(connections).test_before_acquire(false)
}

struct Topic {
    id: i64,
    partitions: u16,
    next: Vec<i64>,
}

struct Writer {
    pool: SqlitePool,
    partitions: u16,
    clock: Arc<dyn Clock>,
    /// Next offsets, as the file has them. Forgotten after a failed transaction and read again.
    topics: HashMap<Arc<str>, Topic>,
    round_robin: u32,
    failing: Arc<AtomicBool>,
    grow: watch::Sender<()>,
    disk: Disk,
}

impl Writer {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut waiting = Vec::new();
        while jobs.recv_many(&mut waiting, QUEUE_BATCHES).await > 0 {
            let mut group = Vec::new();
            let (mut records, mut bytes) = (0, 0);
            for job in waiting.drain(..) {
                let job = match job {
                    Job::Append(append) => append,
                    Job::Ensure { topic, partitions, made } => {
                        // The caller may have gone away.
                        let _told = made.send(self.ensure(&topic, partitions).await);
                        continue;
                    }
                    Job::Produce { batches, done } => {
                        let _told = done.send(self.produce(batches).await);
                        continue;
                    }
                    Job::Broker(change, done) => {
                        let _told = done.send(self.change(change).await);
                        continue;
                    }
                    Job::Trim { topic, partition, before, done } => {
                        let _told = done.send(self.trim(&topic, partition, before).await);
                        continue;
                    }
                };
                records += job.entries.len();
                bytes += job.entries.iter().map(Entry::bytes).sum::<usize>();
                group.push(job);
                if records >= TRANSACTION_RECORDS || bytes >= TRANSACTION_BYTES {
                    self.commit(std::mem::take(&mut group)).await;
                    (records, bytes) = (0, 0);
                }
            }
            if !group.is_empty() {
                self.commit(group).await;
            }
        }
        self.pool.close().await;
    }

    async fn ensure(&mut self, topic: &str, partitions: Option<u16>) -> Result<u16, sqlx::Error> {
        let partitions = partitions.unwrap_or(self.partitions);
        let mut connection = self.pool.acquire().await?;
        Ok(load(&mut connection, topic, partitions).await?.partitions)
    }

    /// The newest record stays, so that offsets continue after it.
    async fn trim(&mut self, topic: &str, partition: u32, before: i64) -> Result<(), sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        sqlx::query(
            "DELETE FROM record WHERE topic = (SELECT id FROM topic WHERE name = ?1) \
             AND part = ?2 AND pos < ?3 AND pos < (SELECT max(pos) FROM record \
             WHERE topic = (SELECT id FROM topic WHERE name = ?1) AND part = ?2)",
        )
        .bind(topic)
        .bind(partition)
        .bind(before)
        .execute(&mut *connection)
        .await?;
        Ok(())
    }

    async fn commit(&mut self, group: Vec<Append>) {
        let written = self.write(&group).await;
        let failed = self.failing.swap(written.is_err(), Ordering::Relaxed);
        match written {
            Ok(placed) => {
                self.disk.is(false);
                self.grow.send_replace(());
                let mut placed = placed.into_iter();
                for job in group {
                    let mine = placed.by_ref().take(job.entries.len()).map(Ok).collect();
                    // A publisher that went away is not told; its records are in the log.
                    let _told = job.answer.send(mine);
                }
            }
            Err(error) => {
                self.topics.clear();
                if !failed {
                    tracing::error!(event = "embedded-write-failed", %error);
                }
                self.disk.is(files::says_full(&error.to_string()));
                let error = unavailable(error);
                for job in group {
                    let _told = job.answer.send(vec![Err(error.clone()); job.entries.len()]);
                }
            }
        }
    }

    /// One transaction. An error means that nothing of the group was written: SQLite rolls back,
    /// and a commit that fails has not happened.
    async fn write(&mut self, group: &[Append]) -> Result<Vec<Placed>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let written = self.write_on(&mut connection, group).await;
        if written.is_err() {
            // On a full disk SQLite ends a transaction by itself, and the driver loses count of
            // it: only a new connection begins another.
            let _closed = connection.close().await;
        }
        written
    }

    async fn write_on(
        &mut self,
        connection: &mut SqliteConnection,
        group: &[Append],
    ) -> Result<Vec<Placed>, sqlx::Error> {
        let now_ms = self.clock.now_ms().0;
        let mut rows = Vec::with_capacity(group.iter().map(|append| append.entries.len()).sum());
        for Append { topic, entries, .. } in group {
            if !self.topics.contains_key(topic) && !entries.is_empty() {
                let loaded = load(connection, topic, self.partitions).await?;
                self.topics.insert(topic.clone(), loaded);
            }
            for entry in entries {
                let (topic, placed) = self.place(topic, entry).ok_or(sqlx::Error::RowNotFound)?;
                rows.push((topic, placed, entry));
            }
        }
        if rows.is_empty() {
            sqlx::query("INSERT INTO probe VALUES (1, ?1) ON CONFLICT DO UPDATE SET t_ms = ?1")
                .bind(now_ms)
                .execute(&mut *connection)
                .await?;
        }
        match rows.len() {
            0 => {}
            1..=INSERT_ROWS => insert(connection, now_ms, &rows).await?,
            _ => {
                let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                for some in rows.chunks(INSERT_ROWS) {
                    insert(&mut transaction, now_ms, some).await?;
                }
                transaction.commit().await?;
            }
        }
        Ok(rows.into_iter().map(|(_, placed, _)| placed).collect())
    }

    /// The topic's number, and where in it the record goes.
    fn place(&mut self, name: &Arc<str>, entry: &Entry) -> Option<(i64, Placed)> {
        let topic = self.topics.get_mut(name)?;
        let same = entry.came_in.filter(|came_in| came_in.fits(topic.partitions.into()));
        let partition = match &entry.key {
            _ if let Some(same) = same => same.partition,
            Some(key) => partition::of_key(key, topic.partitions),
            None => {
                self.round_robin = self.round_robin.wrapping_add(1);
                self.round_robin % u32::from(topic.partitions)
            }
        };
        let next = topic.next.get_mut(partition as usize)?;
        let placed = Placed { partition, offset: *next };
        *next += 1;
        Some((topic.id, placed))
    }
}

/// Inserts rows in one statement: each is a way to the driver's thread and back, which is more than
/// a row costs. Each row has [`ROW_PARAMETERS`]; behind them is the time, and all bytes: of each row
/// its position, headers, key and value, one behind the other.
async fn insert(
    connection: &mut SqliteConnection,
    now_ms: i64,
    rows: &[(i64, Placed, &Entry)],
) -> Result<(), sqlx::Error> {
    let mut bytes = Vec::with_capacity(rows.iter().map(|(.., entry)| entry.bytes()).sum());
    let mut arguments = SqliteArguments::default();
    arguments.reserve(rows.len() * ROW_PARAMETERS + 2, 0);
    for (topic, Placed { partition, offset }, entry) in rows {
        let start = bytes.len() as i64 + 1;
        bytes.extend_from_slice(&entry.position.to_bytes());
        let length = |part: Option<&[u8]>| {
            bytes.extend_from_slice(part.unwrap_or_default());
            part.map(|part| part.len() as i64)
        };
        let parts = [Some(&*entry.headers), entry.key.as_deref(), entry.value.as_deref()];
        let [headers, key, value] = parts.map(length);
        let row = [Some(*topic), Some((*partition).into()), Some(*offset), Some(start)];
        for number in row.into_iter().chain([headers, key, value]) {
            arguments.add(number).map_err(sqlx::Error::Encode)?;
        }
    }
    arguments.add(now_ms).map_err(sqlx::Error::Encode)?;
    arguments.add(bytes).map_err(sqlx::Error::Encode)?;
    // Only question marks are put into the text.
    let text = AssertSqlSafe(insert_text(rows.len()));
    let query = sqlx::query_with(text, arguments).persistent(rows.len() <= KEPT_ROWS);
    query.execute(connection).await.map(|_| ())
}

/// The many parameters have no names, since the driver looks each name up in a list. A length that
/// is null makes a null.
fn insert_text(rows: usize) -> String {
    let (time, bytes) = (rows * ROW_PARAMETERS + 1, rows * ROW_PARAMETERS + 2);
    let row = format!("({})", ["?"; ROW_PARAMETERS].join(","));
    let rows = vec![row; rows].join(",");
    format!(
        "WITH made (topic, part, pos, at, headers, key, value) AS (VALUES {rows}) \
         INSERT INTO record (topic, part, pos, ledger, t_ms, headers, key, value) \
         SELECT topic, part, pos, substr(?{bytes}, at, {POSITION}), ?{time}, \
         substr(?{bytes}, at + {POSITION}, headers), \
         substr(?{bytes}, at + {POSITION} + headers, key), \
         substr(?{bytes}, at + {POSITION} + headers + coalesce(key, 0), value) FROM made"
    )
}

/// A topic as the file has it, made if it is new.
async fn load(
    connection: &mut SqliteConnection,
    name: &str,
    partitions: u16,
) -> Result<Topic, sqlx::Error> {
    sqlx::query("INSERT INTO topic (name, partitions) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
        .bind(name)
        .bind(i64::from(partitions))
        .execute(&mut *connection)
        .await?;
    known(connection, name).await?.ok_or(sqlx::Error::RowNotFound)
}

/// A topic as the file has it.
async fn known(
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<Option<Topic>, sqlx::Error> {
    let found: Option<(i64, i64)> =
        sqlx::query_as("SELECT id, partitions FROM topic WHERE name = ?1")
            .bind(name)
            .fetch_optional(&mut *connection)
            .await?;
    let Some((id, partitions)) = found else { return Ok(None) };
    let partitions = u16::try_from(partitions).map_err(|_| sqlx::Error::RowNotFound)?;
    let mut next = Vec::with_capacity(usize::from(partitions));
    for partition in 0..partitions {
        let end: i64 = sqlx::query_scalar(
            "SELECT coalesce(max(pos) + 1, 0) FROM record WHERE topic = ?1 AND part = ?2",
        )
        .bind(id)
        .bind(partition)
        .fetch_one(&mut *connection)
        .await?;
        next.push(end);
    }
    Ok(Some(Topic { id, partitions, next }))
}

/// The length of a header's value that is null.
const NULL: u32 = u32::MAX;

/// Headers as `name length (u32 BE), name, value length (u32 BE), value` each.
pub fn pack(headers: &[Header]) -> Vec<u8> {
    let length = |(name, value): &Header| 8 + name.len() + value.as_ref().map_or(0, Vec::len);
    let mut packed = Vec::with_capacity(headers.iter().map(length).sum());
    for (name, value) in headers {
        for bytes in [Some(name.as_bytes()), value.as_deref()] {
            let length = bytes.map_or(NULL, |bytes| u32::try_from(bytes.len()).unwrap_or(NULL));
            packed.extend_from_slice(&length.to_be_bytes());
            packed.extend_from_slice(bytes.unwrap_or_default());
        }
    }
    packed
}

fn unpack(mut packed: &[u8]) -> Vec<Header> {
    let mut take = || -> Option<Option<Vec<u8>>> {
        let (length, rest) = packed.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length);
        let is_null = length == NULL;
        let (bytes, rest) = rest.split_at_checked(if is_null { 0 } else { length as usize })?;
        packed = rest;
        Some((!is_null).then(|| bytes.to_vec()))
    };
    let mut headers = Vec::new();
    while let (Some(name), Some(value)) = (take(), take()) {
        let name = name.unwrap_or_default();
        headers.push((String::from_utf8_lossy(&name).into_owned(), value));
    }
    headers
}

#[cfg(test)]
mod tests;
