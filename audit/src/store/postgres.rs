//! PostgreSQL 15 and later: one writing connection a ledger, arrays through UNNEST so that a
//! flush costs few round trips however much it holds.

use std::{
    collections::BTreeSet,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{
    Connection, PgConnection, PgPool, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{
    APPLIED, Answer, Books, ClaimRow, Claims, Commit, Edge, EdgeRow, Hold, Index, PageRow,
    Register, ReleaseAt, Rows, StoreError, StoredRow, Taken, TimedRow,
    books::{self, book_methods, book_writes},
    claims::{self, PURGE_CLAIMS, TAKE_CLAIM, claim_methods},
    index::{self, index_methods},
    is_known, is_no_table, number,
    register::{self, register_methods},
    rows::{self, REGISTER, row_methods},
    writer_of,
};
use crate::{BudgetLine, ChainHead, Charge, Position, Refusal, ReleaseVoid, WriterId, budget};

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
const VERSION_MIN: i64 = 150_000;

pub(crate) struct Postgres {
    writer: PgPool,
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
        Ok(Self { writer, readers, books })
    }

    pub(crate) async fn read_only(url: &str) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url)?
            .application_name("sluicegate-verify")
            .options([("default_transaction_read_only", "on")]);
        let readers = pool(READERS, options).await?;
        known(&readers).await?;
        Ok(Self { writer: readers.clone(), books: readers.clone(), readers })
    }

    /// The lock ends with its connection.
    fn let_go(&self) {}
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

impl Rows for Postgres {
    fn commit<'a>(
        &'a self,
        writer: WriterId,
        node: &'a str,
        commit: &'a Commit,
    ) -> Answer<'a, Taken> {
        Box::pin(async move {
            let mut transaction = self.writer.begin().await?;
            let connection = &mut *transaction;
            insert_rows(connection, writer, node, commit).await?;
            projections(connection, writer, commit).await?;
            let claims = take_claims(connection, writer, node, commit).await?;
            let releases = releases_of(connection, commit).await?;
            transaction.commit().await?;
            Ok(Taken { claims, releases })
        })
    }

    fn clock_us(&self) -> Answer<'_, Option<i64>> {
        Box::pin(async move {
            let now = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
            Ok(Some(sqlx::query_scalar(now).fetch_one(&self.readers).await?))
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

    row_methods!();
}

impl Index for Postgres {
    index_methods!();
}

impl Claims for Postgres {
    claim_methods!();
}

impl Books for Postgres {
    book_methods!();
}

impl Register for Postgres {
    register_methods!();
}

book_writes!(PgConnection);

/// Whoever charges the same account waits until the transaction ends. READ COMMITTED whatever the
/// server's default is: a snapshot from before the lock would not see what was charged meanwhile.
async fn begin_books<'c>(
    connection: &'c mut PgConnection,
    account: &str,
) -> Result<Transaction<'c, sqlx::Postgres>, StoreError> {
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('ledger_charge ' || $1, 0))")
        .bind(account)
        .execute(&mut *transaction)
        .await?;
    Ok(transaction)
}

/// A column of an UNNEST.
fn column<T, U>(rows: &[T], of: impl Fn(&T) -> U) -> Vec<U> {
    rows.iter().map(of).collect()
}

async fn insert_rows(
    connection: &mut PgConnection,
    writer: WriterId,
    node: &str,
    commit: &Commit,
) -> Result<(), StoreError> {
    let writer = writer.0.to_vec();
    if let Some(first) = commit.rows.first().filter(|row| row.wseq == 0) {
        sqlx::query(REGISTER)
            .bind(&writer)
            .bind(node)
            .bind(first.t_us)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query(
        "INSERT INTO ledger_row (writer, wseq, t_us, segment, bytes, prev, link) \
         SELECT $1, * FROM UNNEST($2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[], \
         $6::bytea[], $7::bytea[])",
    )
    .bind(&writer)
    .bind(column(&commit.rows, |r| r.wseq as i64))
    .bind(column(&commit.rows, |r| r.t_us))
    .bind(column(&commit.rows, |r| i64::from(r.segment)))
    .bind(column(&commit.rows, |r| r.bytes.clone()))
    .bind(column(&commit.rows, |r| r.prev.to_vec()))
    .bind(column(&commit.rows, |r| r.link.to_vec()))
    .execute(&mut *connection)
    .await?;
    let manifests: Vec<_> =
        commit.rows.iter().filter_map(|r| r.manifest.as_ref().map(|m| (r, m))).collect();
    if !manifests.is_empty() {
        sqlx::query(
            "INSERT INTO ledger_manifest (writer, wseq, t_us, leaves, filter) \
             SELECT $1, * FROM UNNEST($2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[])",
        )
        .bind(&writer)
        .bind(column(&manifests, |(r, _)| r.wseq as i64))
        .bind(column(&manifests, |(r, _)| r.t_us))
        .bind(column(&manifests, |(_, m)| m.0.clone()))
        .bind(column(&manifests, |(_, m)| m.1.clone()))
        .execute(&mut *connection)
        .await?;
    }
    if !commit.details.is_empty() {
        sqlx::query(
            "INSERT INTO ledger_detail (digest, bytes) \
             SELECT * FROM UNNEST($1::bytea[], $2::bytea[]) ON CONFLICT DO NOTHING",
        )
        .bind(column(&commit.details, |d| d.0.to_vec()))
        .bind(column(&commit.details, |d| d.1.clone()))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn projections(
    connection: &mut PgConnection,
    writer: WriterId,
    commit: &Commit,
) -> Result<(), StoreError> {
    if !commit.edges.is_empty() {
        let edges = &commit.edges;
        sqlx::query(
            "INSERT INTO ledger_edge (region, topic, part, offset_from, offset_to, of_writer, \
             of_wseq, wseq, writer) \
             SELECT *, $9 FROM UNNEST($1::text[], $2::text[], $3::bigint[], $4::bigint[], \
             $5::bigint[], $6::bytea[], $7::bigint[], $8::bigint[])",
        )
        .bind(column(edges, |e| e.region.clone()))
        .bind(column(edges, |e| e.topic.clone()))
        .bind(column(edges, |e| i64::from(e.partition)))
        .bind(column(edges, |e| e.offset_from))
        .bind(column(edges, |e| e.offset_to))
        .bind(column(edges, |e| e.of.0.0.to_vec()))
        .bind(column(edges, |e| e.of.1 as i64))
        .bind(column(edges, |e| e.wseq as i64))
        .bind(writer.0.to_vec())
        .execute(&mut *connection)
        .await?;
    }
    let (opened, ended): (Vec<_>, Vec<_>) = commit.intents.iter().partition(|i| i.open);
    for (intents, query) in [
        (
            opened,
            "INSERT INTO ledger_intent (writer, wseq, leaf) \
             SELECT * FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[]) ON CONFLICT DO NOTHING",
        ),
        (
            ended,
            "DELETE FROM ledger_intent i \
             USING UNNEST($1::bytea[], $2::bigint[], $3::bigint[]) AS e (writer, wseq, leaf) \
             WHERE i.writer = e.writer AND i.wseq = e.wseq AND i.leaf = e.leaf",
        ),
    ] {
        if intents.is_empty() {
            continue;
        }
        sqlx::query(query)
            .bind(column(&intents, |i| i.writer.0.to_vec()))
            .bind(column(&intents, |i| i.wseq as i64))
            .bind(column(&intents, |i| i64::from(i.leaf)))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn take_claims(
    connection: &mut PgConnection,
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
            .bind(claim.wseq as i64)
            .bind(i64::from(claim.leaf))
            .bind(claim.at_us)
            .bind(claim.expires_us)
            .execute(&mut *connection)
            .await?;
        if done.rows_affected() == 0 {
            taken.push(n);
        }
    }
    if !commit.done.is_empty() {
        sqlx::query(
            "UPDATE ledger_claim c SET answer = d.answer \
             FROM UNNEST($1::bytea[], $2::bytea[]) AS d (key, answer) WHERE c.key = d.key",
        )
        .bind(column(&commit.done, |d| d.key.to_vec()))
        .bind(column(&commit.done, |d| d.answer.clone()))
        .execute(&mut *connection)
        .await?;
    }
    Ok(taken)
}
