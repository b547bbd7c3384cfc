//! SQLite: one file, one writing connection, WAL with `synchronous=FULL`.

use std::{
    fs::{File, TryLockError},
    io::ErrorKind,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, Connection, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    APPLIED, Answer, Commit, Edge, Hold, IntentKey, NewRow, Store, StoreError, Taken,
    books::{self, releases_of},
    claims::{PURGE_CLAIMS, TAKE_CLAIM},
    is_known, is_no_table, number,
    query::{Arg, Columns, Connection as _},
    rows::REGISTER,
};
use crate::{Charge, Refusal, WriterId, hex};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/sqlite");
/// The first SQLite without the WAL-reset bug, which could lose committed pages.
const VERSION_MIN: &str = "3.51.3";
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;

pub(crate) struct Sqlite {
    writer: SqlitePool,
    readers: SqlitePool,
    /// The writer's connection: a second one would only wait for it.
    books: SqlitePool,
    /// Of the file beside the store, while we are its only gateway.
    lock: Mutex<Option<File>>,
    named: Named,
}

/// A file and the name that it was opened by. An open file survives the removal of its name, and
/// what is written to it afterwards is lost with the process.
struct Named {
    path: PathBuf,
    wal: PathBuf,
    /// Device and number.
    file: (u64, u64),
}

impl Named {
    fn of(path: &Path) -> Result<Self, StoreError> {
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        let file = number_of(path).ok_or(StoreError::Replaced)?;
        Ok(Self { path: path.to_owned(), wal: wal.into(), file })
    }

    /// Within a transaction, when the log is there too.
    fn is_there(&self) -> bool {
        number_of(&self.path) == Some(self.file) && self.wal.exists()
    }
}

/// A ping of a connection to a file costs a way to its thread and back, and shows nothing.
fn pool_of(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(connections).test_before_acquire(false)
}

fn number_of(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

impl Sqlite {
    pub(crate) async fn open(file: &Path, alone: bool) -> Result<Self, StoreError> {
        let lock = if alone { Some(lock(file)?) } else { None };
        create(file)?;
        let options = SqliteConnectOptions::new()
            .filename(file)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("recursive_triggers", "ON")
            .pragma("temp_store", "MEMORY")
            .busy_timeout(BUSY_TIMEOUT);
        let writer = pool_of(1).after_connect(|connection, _| {
            Box::pin(async move {
                // Our own words alone.
                sqlx::raw_sql(AssertSqlSafe(flush_view())).execute(connection).await.map(|_| ())
            })
        });
        let writer = writer.connect_with(options.clone()).await?;
        durable(&writer).await?;
        known(&writer).await?;
        MIGRATIONS.run(&writer).await?;
        if alone {
            // Whoever held one is gone, though its clock may have put the end far ahead.
            sqlx::query("UPDATE ledger_lease SET until_us = 0").execute(&writer).await?;
        }
        let readers = pool_of(READERS).connect_with(options.pragma("query_only", "ON")).await?;
        let (lock, named) = (Mutex::new(lock), Named::of(file)?);
        Ok(Self { books: writer.clone(), writer, readers, lock, named })
    }

    /// Works beside a running writer, and without write access to the file.
    pub(crate) async fn read_only(file: &Path) -> Result<Self, StoreError> {
        let options =
            SqliteConnectOptions::new().filename(file).read_only(true).busy_timeout(BUSY_TIMEOUT);
        let readers = pool_of(READERS).connect_with(options).await?;
        known(&readers).await?;
        let (lock, named) = (Mutex::default(), Named::of(file)?);
        Ok(Self { writer: readers.clone(), books: readers.clone(), readers, lock, named })
    }
}

/// The lock of a store's only gateway. The system takes it away from a process that ends, however
/// it ends; the file stays.
fn lock(store: &Path) -> Result<File, StoreError> {
    let mut beside = store.as_os_str().to_owned();
    beside.push(".lock");
    let io = |error: std::io::Error| StoreError::Unavailable(error.into());
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(beside).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Held(
            "another gateway runs on this SQLite ledger: stop it, or use PostgreSQL for several \
             gateways"
                .to_owned(),
        )),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

/// Makes the file, if it is not there, for nobody else to read. SQLite gives the rights of the file
/// to the two beside it.
fn create(file: &Path) -> Result<(), StoreError> {
    let made = File::options().write(true).create_new(true).mode(0o600).open(file);
    match made {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(StoreError::Unavailable(error.into()))
        }
        _ => Ok(()),
    }
}

/// Reads back what was asked for: a file on a wrong file system answers otherwise.
async fn durable(pool: &SqlitePool) -> Result<(), StoreError> {
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(pool).await?;
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(pool).await?;
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(pool).await?;
    if journal != "wal" || synchronous != 2 {
        let why = format!("SQLite has journal_mode={journal}, synchronous={synchronous}");
        return Err(StoreError::Unsafe(why));
    }
    let parts = |v: &str| v.split('.').map(|p| p.parse().unwrap_or(0)).collect::<Vec<u32>>();
    if parts(&version) < parts(VERSION_MIN) {
        return Err(StoreError::Unsafe(format!("SQLite {version} is older than {VERSION_MIN}")));
    }
    Ok(())
}

/// A store of another version of the program is refused by name.
async fn known(pool: &SqlitePool) -> Result<(), StoreError> {
    match sqlx::query_as(APPLIED).fetch_all(pool).await {
        Ok(applied) => is_known(&applied, &MIGRATIONS),
        Err(error) if is_no_table(&error) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Store for Sqlite {
    fn commit<'a>(
        &'a self,
        writer: WriterId,
        node: &'a str,
        commit: &'a Commit,
    ) -> Answer<'a, Taken> {
        Box::pin(async move {
            // A new connection must not be to another file.
            if number_of(&self.named.path) != Some(self.named.file) {
                return Err(StoreError::Replaced);
            }
            let mut connection = self.writer.acquire().await?;
            let committed = self.commit_on(&mut connection, writer, node, commit).await;
            if committed.is_err() {
                // On a full disk SQLite ends a transaction by itself, and the driver loses count
                // of it: only a new connection begins another.
                let _closed = connection.close().await;
            }
            committed
        })
    }

    fn reserve<'a>(&'a self, charge: &'a Charge) -> Answer<'a, Result<(), Refusal>> {
        Box::pin(async move {
            let mut connection = self.books.acquire().await?;
            let reserved = reserve_on(&mut connection, charge).await;
            if reserved.is_err() {
                // As after a failed commit.
                let _closed = connection.close().await;
            }
            reserved
        })
    }

    fn read<'a>(&'a self, text: &'static str, args: &'a [Arg<'a>]) -> Answer<'a, Vec<Columns>> {
        Box::pin(async move { (*self.readers.acquire().await?).ask(text, args).await })
    }

    fn write<'a>(&'a self, text: &'static str, args: &'a [Arg<'a>]) -> Answer<'a, Vec<Columns>> {
        Box::pin(async move { (*self.books.acquire().await?).ask(text, args).await })
    }

    fn clock_us(&self) -> Answer<'_, Option<i64>> {
        Box::pin(async { Ok(None) })
    }

    /// Whoever has the file is alone with it.
    fn is_held<'a>(&'a self, _node: &'a str) -> Answer<'a, bool> {
        Box::pin(async { Ok(false) })
    }

    fn hold<'a>(&'a self, _node: &'a str) -> Answer<'a, Option<Hold>> {
        Box::pin(async { Ok(Some(Box::new(()) as Hold)) })
    }

    fn bytes(&self) -> Answer<'_, u64> {
        Box::pin(async {
            let length = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
            Ok(length(&self.named.path).saturating_add(length(&self.named.wal)))
        })
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            self.books.close().await;
            self.writer.close().await;
            self.readers.close().await;
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
        })
    }
}

impl Sqlite {
    /// Each statement costs a way to the driver's thread and back, which is more than a row costs:
    /// what gives no answer is one.
    async fn commit_on(
        &self,
        connection: &mut SqliteConnection,
        writer: WriterId,
        node: &str,
        commit: &Commit,
    ) -> Result<Taken, StoreError> {
        let opening = commit.rows.iter().find(|row| row.wseq == 0);
        let is_one = opening.is_none()
            && commit.rows.len() == 1
            && commit.claims.is_empty()
            && commit.done.is_empty()
            && commit.purge_before_us == 0
            && !commit.has_books();
        let mut taken = Taken::default();
        if is_one {
            flush(connection, writer, commit).await?;
        } else {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            flush(&mut transaction, writer, commit).await?;
            if let Some(row) = opening {
                let register = sqlx::query(REGISTER).bind(writer.0.to_vec()).bind(node);
                register.bind(row.t_us).execute(&mut *transaction).await?;
            }
            taken.claims = take_claims(&mut transaction, writer, node, commit).await?;
            taken.releases = releases_of(&mut *transaction, commit).await?;
            transaction.commit().await?;
        }
        // Once a flush, and last: what went into a file without a name is lost with the process.
        if self.named.is_there() { Ok(taken) } else { Err(StoreError::Replaced) }
    }
}

async fn reserve_on(
    connection: &mut SqliteConnection,
    charge: &Charge,
) -> Result<Result<(), Refusal>, StoreError> {
    // Nobody else writes to the file until it ends.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let reserved = books::reserve_on(&mut *transaction, charge).await?;
    transaction.commit().await?;
    Ok(reserved)
}

/// What the writer's connection knows beside the schema: a flush, as one row or several.
fn flush_view() -> String {
    let [open, end, edges, details] = [
        (OPEN_INTENTS, "NEW.opened"),
        (END_INTENTS, "NEW.ended"),
        (EDGES, "NEW.edges"),
        (DETAILS, "NEW.details"),
    ]
    .map(|(text, list)| text.replace("$1", list));
    format!(
        "CREATE TEMP VIEW flush (writer, wseq, t_us, segment, bytes, prev, link, leaves, filter, \
             details, edges, opened, ended) AS \
             SELECT 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0; \
         CREATE TEMP TRIGGER flushed INSTEAD OF INSERT ON flush BEGIN \
             INSERT INTO ledger_row (writer, wseq, t_us, segment, bytes, prev, link) \
                 VALUES (NEW.writer, NEW.wseq, NEW.t_us, NEW.segment, NEW.bytes, NEW.prev, NEW.link); \
             INSERT INTO ledger_manifest (writer, wseq, t_us, leaves, filter) \
                 SELECT NEW.writer, NEW.wseq, NEW.t_us, NEW.leaves, NEW.filter \
                 WHERE NEW.leaves IS NOT NULL; \
             {details}; {edges}; {open}; {end}; \
         END"
    )
}

const DETAILS: &str = "INSERT INTO ledger_detail (digest, bytes) \
     SELECT unhex(value ->> 0), unhex(value ->> 1) FROM json_each($1) WHERE true \
     ON CONFLICT DO NOTHING";
const EDGES: &str = "INSERT INTO ledger_edge \
     (region, topic, part, offset_from, offset_to, of_writer, of_wseq, writer, wseq) \
     SELECT CAST(unhex(value ->> 0) AS TEXT), CAST(unhex(value ->> 1) AS TEXT), value ->> 2, value ->> 3, value ->> 4, \
         unhex(value ->> 5), value ->> 6, unhex(value ->> 7), value ->> 8 FROM json_each($1)";
const OPEN_INTENTS: &str = "INSERT INTO ledger_intent (writer, wseq, leaf) \
     SELECT unhex(value ->> 0), value ->> 1, value ->> 2 FROM json_each($1) WHERE true \
     ON CONFLICT DO NOTHING";
const END_INTENTS: &str = "DELETE FROM ledger_intent WHERE (writer, wseq, leaf) IN \
     (SELECT unhex(value ->> 0), value ->> 1, value ->> 2 FROM json_each($1))";

const FLUSH: &str = "INSERT INTO flush VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Writes the rows, each in one statement; what belongs to them goes with the last.
async fn flush(
    connection: &mut SqliteConnection,
    writer: WriterId,
    commit: &Commit,
) -> Result<(), StoreError> {
    let Some((last, rows)) = commit.rows.split_last() else { return Ok(()) };
    let none = || ["[]"; 4].map(str::to_owned);
    for row in rows {
        put(connection, writer, row, none()).await?;
    }
    let (opened, ended) = commit.intents();
    let key = |(writer, wseq, leaf): &IntentKey| format!("\"{writer}\",{wseq},{leaf}");
    let detail =
        |(digest, bytes): &([u8; 32], Vec<u8>)| format!("\"{}\",\"{}\"", hex(digest), hex(bytes));
    let edge = |Edge { region, topic, partition, offset_from, offset_to, of, wseq }: &Edge| {
        let [region, topic] = [region, topic].map(|name| hex(name.as_bytes()));
        format!(
            "\"{region}\",\"{topic}\",{partition},{offset_from},{offset_to},\"{}\",{},\"{writer}\",{wseq}",
            of.0, of.1
        )
    };
    let lists = [
        listed(&commit.details, detail),
        listed(&commit.edges, edge),
        listed(&opened, key),
        listed(&ended, key),
    ];
    put(connection, writer, last, lists).await
}

/// A list of lists, for `json_each`.
fn listed<T>(items: &[T], item: impl Fn(&T) -> String) -> String {
    let items: Vec<String> = items.iter().map(|it| format!("[{}]", item(it))).collect();
    format!("[{}]", items.join(","))
}

async fn put(
    connection: &mut SqliteConnection,
    writer: WriterId,
    row: &NewRow,
    lists: [String; 4],
) -> Result<(), StoreError> {
    let (leaves, filter) = row.manifest.as_ref().map(|(l, f)| (l.as_slice(), f.as_slice())).unzip();
    let put = sqlx::query(FLUSH)
        .bind(writer.0.as_slice())
        .bind(number::<u64, i64>(row.wseq)?)
        .bind(row.t_us)
        .bind(i64::from(row.segment))
        .bind(row.bytes.as_slice())
        .bind(row.prev.as_slice())
        .bind(row.link.as_slice())
        .bind(leaves)
        .bind(filter);
    lists.into_iter().fold(put, |put, list| put.bind(list)).execute(connection).await?;
    Ok(())
}

async fn take_claims(
    connection: &mut SqliteConnection,
    writer: WriterId,
    node: &str,
    commit: &Commit,
) -> Result<Vec<usize>, StoreError> {
    if commit.purge_before_us > 0 {
        sqlx::query(PURGE_CLAIMS).bind(commit.purge_before_us).execute(&mut *connection).await?;
    }
    let mut taken = Vec::new();
    for (n, claim) in commit.claims.iter().enumerate() {
        let done = sqlx::query(TAKE_CLAIM)
            .bind(claim.key.to_vec())
            .bind(claim.fingerprint.to_vec())
            .bind(node)
            .bind(writer.0.to_vec())
            .bind(number::<u64, i64>(claim.wseq)?)
            .bind(i64::from(claim.leaf))
            .bind(claim.at_us)
            .bind(claim.expires_us)
            .execute(&mut *connection)
            .await?;
        if done.rows_affected() == 0 {
            taken.push(n);
        }
    }
    for done in &commit.done {
        sqlx::query("UPDATE ledger_claim SET answer = $2 WHERE key = $1")
            .bind(done.key.to_vec())
            .bind(&done.answer)
            .execute(&mut *connection)
            .await?;
    }
    Ok(taken)
}
