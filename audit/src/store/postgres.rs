//! PostgreSQL 15 and later: one writing connection a ledger. A flush is one statement over arrays,
//! and so one round trip however much it holds.

use std::{
    collections::BTreeSet,
    pin::Pin,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{
    Connection, PgConnection, PgPool,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::Mutex;

use super::{
    APPLIED, Answer, ClaimWrite, Commit, Hold, Store, StoreError, Taken,
    books::{self, releases_of},
    claims::PURGE_CLAIMS,
    is_known, is_no_table, number,
    query::{Arg, Columns, Connection as _},
    rows::REGISTER,
};
use crate::{Charge, Refusal, WriterId};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/postgres");
/// How long an append may wait for a connection before it is answered "unavailable".
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;
const BOOKKEEPERS: u32 = 2;
/// How soon the server notices that a gateway's machine is gone, and lets go of its node's name.
const KEEPALIVES: [(&str, &str); 3] = [
    ("tcp_keepalives_idle", "20"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
];
const LOCK_ACCOUNT: &str =
    "SELECT pg_advisory_xact_lock(hashtextextended('ledger_charge ' || $1, 0))";
const VERSION_MIN: i64 = 150_000;

pub(crate) struct Postgres {
    writer: PgPool,
    /// The writer's connection between two flushes: its pool would ask it twice whether it works.
    writing: Mutex<Option<PoolConnection<sqlx::Postgres>>>,
    readers: PgPool,
    /// Apart from the writer's connection: whoever waits for a lock must not hold up the chain.
    books: PgPool,
}

impl Postgres {
    /// With `alone`, the writing connection holds the node's name for as long as it lives, and
    /// there is no other to write on.
    pub(crate) async fn open(url: &str, alone: Option<String>) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url)?
            .application_name("sluicegate-ledger")
            .options([("synchronous_commit", "on"), ("statement_timeout", "30000")]);
        let writer = match alone {
            Some(node) => holding(node, options.clone().options(KEEPALIVES)).await?,
            None => pool(1, options.clone()).await?,
        };
        durable(&writer).await?;
        known(&writer).await?;
        MIGRATIONS.run(&writer).await?;
        let books = pool(BOOKKEEPERS, options.clone()).await?;
        let readers =
            pool(READERS, options.options([("default_transaction_read_only", "on")])).await?;
        Ok(Self { writer, writing: Mutex::default(), readers, books })
    }

    pub(crate) async fn read_only(url: &str) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url)?
            .application_name("sluicegate-verify")
            .options([("default_transaction_read_only", "on")]);
        let readers = pool(READERS, options).await?;
        known(&readers).await?;
        let (writer, books) = (readers.clone(), readers.clone());
        Ok(Self { writer, writing: Mutex::default(), readers, books })
    }
}

/// A pool of one connection that holds a node's name. It is never given back for its age, and one
/// that replaces it after an outage takes the name before anything is written.
async fn holding(node: String, options: PgConnectOptions) -> Result<PgPool, StoreError> {
    let held = Arc::new(AtomicBool::new(false));
    let (seen, name) = (held.clone(), node.clone());
    let opened = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(move |connection, _| {
            let (seen, name) = (seen.clone(), name.clone());
            Box::pin(async move {
                let ours = try_lock(connection, &name).await?;
                seen.store(!ours, Ordering::Relaxed);
                let why = "another process holds the node's name";
                if ours { Ok(()) } else { Err(sqlx::Error::Protocol(why.to_owned())) }
            })
        })
        .connect_with(options)
        .await;
    opened.map_err(|error| match held.load(Ordering::Relaxed) {
        true => StoreError::Held(format!(
            "another gateway runs as node `{node}` on this ledger: give each its own `node`, in \
             the configuration, by --node or by SLUICEGATE_NODE"
        )),
        false => error.into(),
    })
}

async fn try_lock(connection: &mut PgConnection, node: &str) -> Result<bool, sqlx::Error> {
    let lock = "SELECT pg_try_advisory_lock(hashtextextended('ledger_node ' || $1, 0))";
    sqlx::query_scalar(lock).bind(node).fetch_one(connection).await
}

async fn pool(connections: u32, options: PgConnectOptions) -> Result<PgPool, StoreError> {
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options)
        .await?;
    Ok(pool)
}

/// A server that would lose acknowledged rows is refused.
async fn durable(pool: &PgPool) -> Result<(), StoreError> {
    let version: String =
        sqlx::query_scalar("SELECT current_setting('server_version_num')").fetch_one(pool).await?;
    if version.parse::<i64>().unwrap_or(0) < VERSION_MIN {
        return Err(StoreError::Unsafe(format!("PostgreSQL {version} is older than 15")));
    }
    let settings: (String, String, String) = sqlx::query_as(
        "SELECT current_setting('fsync'), current_setting('full_page_writes'), \
         current_setting('synchronous_commit')",
    )
    .fetch_one(pool)
    .await?;
    let (fsync, pages, commit) = &settings;
    if fsync != "on" || pages != "on" || matches!(commit.as_str(), "off") {
        return Err(StoreError::Unsafe(format!(
            "PostgreSQL has fsync={fsync}, full_page_writes={pages}, synchronous_commit={commit}"
        )));
    }
    Ok(())
}

/// A store of another version of the program is refused by name.
async fn known(pool: &PgPool) -> Result<(), StoreError> {
    match sqlx::query_as(APPLIED).fetch_all(pool).await {
        Ok(applied) => is_known(&applied, &MIGRATIONS),
        Err(error) if is_no_table(&error) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Store for Postgres {
    fn commit<'a>(
        &'a self,
        writer: WriterId,
        node: &'a str,
        commit: &'a Commit,
    ) -> Answer<'a, Taken> {
        Box::pin(async move {
            let mut kept = self.writing.lock().await;
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => self.writer.acquire().await?,
            };
            let taken = commit_on(&mut connection, writer, node, commit).await?;
            // After an error it goes back to its pool, which finds out whether it still works.
            *kept = Some(connection);
            Ok(taken)
        })
    }

    fn reserve<'a>(&'a self, charge: &'a Charge) -> Answer<'a, Result<(), Refusal>> {
        Box::pin(async move {
            let mut connection = self.books.acquire().await?;
            // READ COMMITTED whatever the server's default is: a snapshot from before the lock
            // would not see what was charged meanwhile.
            let begin = "BEGIN ISOLATION LEVEL READ COMMITTED";
            let mut transaction = connection.begin_with(begin).await?;
            // Whoever charges the same account waits until the transaction ends.
            transaction.ask(LOCK_ACCOUNT, &[charge.account.as_str().into()]).await?;
            let reserved = books::reserve_on(&mut *transaction, charge).await?;
            transaction.commit().await?;
            Ok(reserved)
        })
    }

    fn read<'a>(&'a self, text: &'static str, args: &'a [Arg<'a>]) -> Answer<'a, Vec<Columns>> {
        Box::pin(async move { (*self.readers.acquire().await?).ask(text, args).await })
    }

    fn write<'a>(&'a self, text: &'static str, args: &'a [Arg<'a>]) -> Answer<'a, Vec<Columns>> {
        Box::pin(async move { (*self.books.acquire().await?).ask(text, args).await })
    }

    fn clock_us(&self) -> Answer<'_, Option<i64>> {
        Box::pin(async move {
            let now = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
            Ok(Some(sqlx::query_scalar(now).fetch_one(&self.readers).await?))
        })
    }

    fn is_held<'a>(&'a self, node: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            // The halves of the key that `try_lock` takes.
            let held = "SELECT EXISTS (SELECT FROM pg_locks, \
                        hashtextextended('ledger_node ' || $1, 0) AS key \
                        WHERE locktype = 'advisory' AND granted AND objsubid = 1 \
                        AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
                        AND classid::bigint = (key >> 32) & 4294967295 \
                        AND objid::bigint = key & 4294967295)";
            Ok(sqlx::query_scalar(held).bind(node).fetch_one(&self.readers).await?)
        })
    }

    /// A connection of its own holds it, and lets go when it ends.
    fn hold<'a>(&'a self, node: &'a str) -> Answer<'a, Option<Hold>> {
        Box::pin(async move {
            let mut connection = self.books.acquire().await?.detach();
            let ours = try_lock(&mut connection, node).await?;
            Ok(ours.then(|| Box::new(connection) as Hold))
        })
    }

    fn bytes(&self) -> Answer<'_, u64> {
        Box::pin(async move {
            let ours = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class \
                        WHERE relkind = 'r' AND starts_with(relname, 'ledger_') AND relnamespace = \
                        (SELECT relnamespace FROM pg_class WHERE oid = 'ledger_row'::regclass)";
            number(sqlx::query_scalar::<_, i64>(ours).fetch_one(&self.readers).await?)
        })
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            self.books.close().await;
            drop(self.writing.lock().await.take());
            self.writer.close().await;
            self.readers.close().await;
        })
    }
}

/// One round trip, unless the flush is a writer's first one, holds something of releases or purges.
async fn commit_on(
    connection: &mut PgConnection,
    writer: WriterId,
    node: &str,
    commit: &Commit,
) -> Result<Taken, StoreError> {
    if commit.purge_before_us > 0 {
        sqlx::query(PURGE_CLAIMS).bind(commit.purge_before_us).execute(&mut *connection).await?;
    }
    let first = commit.rows.first().filter(|row| row.wseq == 0);
    if first.is_none() && !commit.has_books() {
        let claims = flush(connection, writer, node, commit).await?;
        return Ok(Taken { claims, releases: vec![] });
    }
    let mut transaction = connection.begin().await?;
    let connection = &mut *transaction;
    if let Some(first) = first {
        let register = sqlx::query(REGISTER).bind(&writer.0[..]).bind(node).bind(first.t_us);
        register.execute(&mut *connection).await?;
    }
    let claims = flush(connection, writer, node, commit).await?;
    let releases = releases_of(connection, commit).await?;
    transaction.commit().await?;
    Ok(Taken { claims, releases })
}

/// One flush but for releases. One statement is one round trip and one transaction, and its parts
/// see the store as it was before: none may need what another one writes. Answers are put down
/// behind the claims of the same keys, which the count brings about.
const FLUSH: &str = "WITH \
     new_row AS (INSERT INTO ledger_row (writer, wseq, t_us, segment, bytes, prev, link) \
       SELECT $1, * FROM UNNEST($2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[], \
       $6::bytea[], $7::bytea[])), \
     new_manifest AS (INSERT INTO ledger_manifest (writer, wseq, t_us, leaves, filter) \
       SELECT $1, * FROM UNNEST($8::bigint[], $9::bigint[], $10::bytea[], $11::bytea[])), \
     new_detail AS (INSERT INTO ledger_detail (digest, bytes) \
       SELECT * FROM UNNEST($12::bytea[], $13::bytea[]) ON CONFLICT DO NOTHING), \
     new_edge AS (INSERT INTO ledger_edge (region, topic, part, offset_from, offset_to, \
       of_writer, of_wseq, wseq, writer) \
       SELECT *, $1 FROM UNNEST($14::text[], $15::text[], $16::bigint[], $17::bigint[], \
       $18::bigint[], $19::bytea[], $20::bigint[], $21::bigint[])), \
     opened AS (INSERT INTO ledger_intent (writer, wseq, leaf) \
       SELECT * FROM UNNEST($22::bytea[], $23::bigint[], $24::bigint[]) ON CONFLICT DO NOTHING), \
     ended AS (DELETE FROM ledger_intent i \
       USING UNNEST($25::bytea[], $26::bigint[], $27::bigint[]) AS e (writer, wseq, leaf) \
       WHERE i.writer = e.writer AND i.wseq = e.wseq AND i.leaf = e.leaf), \
     claimed AS (INSERT INTO ledger_claim AS c (key, fingerprint, node, writer, wseq, leaf, \
       at_us, expires_us) \
       SELECT key, fingerprint, $34, $1, wseq, leaf, at_us, expires_us \
       FROM UNNEST($28::bytea[], $29::bytea[], $30::bigint[], $31::bigint[], $32::bigint[], \
       $33::bigint[]) AS t (key, fingerprint, wseq, leaf, at_us, expires_us) \
       ON CONFLICT (key) DO UPDATE SET fingerprint = excluded.fingerprint, \
         node = excluded.node, writer = excluded.writer, wseq = excluded.wseq, \
         leaf = excluded.leaf, at_us = excluded.at_us, expires_us = excluded.expires_us, \
         answer = NULL \
       WHERE c.expires_us <= excluded.at_us RETURNING key), \
     answered AS (UPDATE ledger_claim c SET answer = d.answer \
       FROM UNNEST($35::bytea[], $36::bytea[]) AS d (key, answer) \
       WHERE c.key = d.key AND (SELECT count(*) FROM claimed) >= 0) \
     SELECT key FROM claimed";

/// Writes a flush, and gives the claims whose key another one has, by index.
async fn flush(
    connection: &mut PgConnection,
    writer: WriterId,
    node: &str,
    commit: &Commit,
) -> Result<Vec<usize>, StoreError> {
    let Commit { rows, details, edges, done, .. } = commit;
    let manifests: Vec<_> =
        rows.iter().filter_map(|r| r.manifest.as_ref().map(|m| (r, m))).collect();
    let (opened, ended) = commit.intents();
    let claims = first_of_each_key(&commit.claims);
    let ours = sqlx::query_scalar(FLUSH)
        .bind(&writer.0[..])
        .bind(column(rows, |r| r.wseq as i64))
        .bind(column(rows, |r| r.t_us))
        .bind(column(rows, |r| i64::from(r.segment)))
        .bind(column(rows, |r| &r.bytes[..]))
        .bind(column(rows, |r| &r.prev[..]))
        .bind(column(rows, |r| &r.link[..]))
        .bind(column(&manifests, |(r, _)| r.wseq as i64))
        .bind(column(&manifests, |(r, _)| r.t_us))
        .bind(column(&manifests, |(_, m)| &m.0[..]))
        .bind(column(&manifests, |(_, m)| &m.1[..]))
        .bind(column(details, |d| &d.0[..]))
        .bind(column(details, |d| &d.1[..]))
        .bind(column(edges, |e| e.region.as_str()))
        .bind(column(edges, |e| e.topic.as_str()))
        .bind(column(edges, |e| i64::from(e.partition)))
        .bind(column(edges, |e| e.offset_from))
        .bind(column(edges, |e| e.offset_to))
        .bind(column(edges, |e| &e.of.0.0[..]))
        .bind(column(edges, |e| e.of.1 as i64))
        .bind(column(edges, |e| e.wseq as i64))
        .bind(column(&opened, |(writer, ..)| &writer.0[..]))
        .bind(column(&opened, |(_, wseq, _)| *wseq as i64))
        .bind(column(&opened, |(.., leaf)| i64::from(*leaf)))
        .bind(column(&ended, |(writer, ..)| &writer.0[..]))
        .bind(column(&ended, |(_, wseq, _)| *wseq as i64))
        .bind(column(&ended, |(.., leaf)| i64::from(*leaf)))
        .bind(column(&claims, |c| &c.key[..]))
        .bind(column(&claims, |c| &c.fingerprint[..]))
        .bind(column(&claims, |c| c.wseq as i64))
        .bind(column(&claims, |c| i64::from(c.leaf)))
        .bind(column(&claims, |c| c.at_us))
        .bind(column(&claims, |c| c.expires_us))
        .bind(node)
        .bind(column(done, |d| &d.key[..]))
        .bind(column(done, |d| &d.answer[..]))
        .fetch_all(connection)
        .await?;
    let mut ours: BTreeSet<Vec<u8>> = ours.into_iter().collect();
    // The first claim of a key has it.
    let lost = |(_, claim): &(usize, &ClaimWrite)| !ours.remove(&claim.key[..]);
    Ok(commit.claims.iter().enumerate().filter(lost).map(|(n, _)| n).collect())
}

/// A column of an UNNEST.
fn column<'a, T, U>(rows: &'a [T], of: impl Fn(&'a T) -> U) -> Vec<U> {
    rows.iter().map(of).collect()
}

/// Of claims of one flush the first takes the key: a statement may write a row once only.
fn first_of_each_key(claims: &[ClaimWrite]) -> Vec<&ClaimWrite> {
    let mut keys = BTreeSet::new();
    claims.iter().filter(|claim| keys.insert(claim.key)).collect()
}
