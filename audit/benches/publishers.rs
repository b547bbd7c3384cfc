//! Durable intents with concurrent publishers, each of which settles one before it sends the next:
//! rows and events a second, the wait for an intent (p50) and the store's bytes an event, beside the
//! same data inserted without a chain, in groups too. Rounds take turns.
//!
//! `cargo bench -p sluicegate-audit --bench publishers -- [ROUNDS]`; PostgreSQL is measured where
//! `SLUICEGATE_TEST_POSTGRES` names a server, in a database `publishers_…` that stays.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use sluicegate_audit::{
    Actor, At, Clock, Copied, Digest16, Digest32, Fate, Intent, Leaf, Ledger, Options, Outcome,
    Placement, Position, Present, SearchKey, Standing, Time, Treatment, Url, WriterId,
    detail_digest, leaf_bytes,
};
use sqlx::{AssertSqlSafe, PgPool, Postgres, QueryBuilder, Sqlite, SqlitePool};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const PUBLISHERS: [u32; 3] = [1, 4, 16];
const EVENTS: [u32; 4] = [1, 10, 100, 1_000];
const ROUND: Duration = Duration::from_millis(700);
/// Appends of one transaction without a chain.
const GROUP: usize = 1_024;

struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Time {
        let us = self.0.fetch_add(1_000, Ordering::Relaxed);
        Time { us, err_us: 0, source: "bench" }
    }
}

async fn open(url: &Url, writer: u128) -> Result<Ledger, Failure> {
    let options = Options {
        origin: "bench".into(),
        writer: WriterId(writer.to_be_bytes()),
        node: "bench".into(),
        software: "bench".into(),
        clock: Arc::new(Ticking(AtomicI64::new(0))),
        search_key: SearchKey { name: "bench".into(), check: [0; 16] },
        standing: Standing::Beside,
        skew_max_us: i64::MAX,
    };
    Ok(Ledger::open(url, options).await?)
}

fn treatment() -> ([u8; 32], Vec<u8>) {
    detail_digest(&Treatment {
        region: "eu".into(),
        jurisdiction: "DE".into(),
        rules: vec!["orders-to-eu".into()],
        transforms: vec![],
        keys: vec![],
        transfer: vec![],
        withheld: vec![],
        topic: None,
    })
}

fn leaves(events: u32) -> Vec<Leaf> {
    let leaf = |seq: u32| {
        let token = u128::from(seq).to_be_bytes();
        let copy = Copied { treatment: 0, present: Present::of([true, true]) };
        Leaf {
            seq,
            fate: Fate::Deliver(vec![copy]),
            source: vec![Digest16([1; 16])],
            tokens: vec![Digest16(token)],
            count: 1,
        }
    };
    (0..events).map(leaf).collect()
}

fn intent(events: u32) -> Intent {
    Intent {
        request: [4; 16],
        actor: Actor { id: "till-7".into(), by: "mtls".into() },
        origin: [5; 16],
        purpose: "fulfilment".into(),
        dataset: "orders".into(),
        topic: "shop.orders".into(),
        policy: [6; 32],
        rules: vec!["tills-publish".into()],
        treatments: vec![Digest32(treatment().0)],
        first_leaf: 0,
        leaves: events,
        records: events,
        batch: vec![],
    }
}

fn outcome(of: Position, events: u32, offset: i64) -> Outcome {
    let at = |n: u32| At::one(offset + i64::from(n), of.leaf + n);
    let at = (0..events).map(at).collect();
    let placed =
        vec![Placement { region: "eu".into(), topic: "shop.orders".into(), partition: 3, at }];
    Outcome { of, placed, missing: vec![], repeat_of: vec![], complete: true }
}

/// What a round gave.
#[derive(Default)]
struct Round {
    seconds: f64,
    waits: Vec<Duration>,
    rows: u64,
    bytes: i64,
}

/// Runs publishers until a round is over, and gives how long each of their intents took.
async fn publish<F>(
    publishers: u32,
    one: impl Fn(i64) -> F + Clone + Send + 'static,
) -> Result<Round, Failure>
where
    F: Future<Output = Result<(), Failure>> + Send,
{
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for publisher in 0..publishers {
        let one = one.clone();
        tasks.spawn(async move {
            let mut waits = Vec::new();
            while started.elapsed() < ROUND {
                let begun = Instant::now();
                let number = i64::from(publisher) << 40 | waits.len() as i64;
                one(number).await?;
                waits.push(begun.elapsed());
            }
            Ok::<_, Failure>(waits)
        });
    }
    let mut round = Round::default();
    for waits in tasks.join_all().await {
        round.waits.extend(waits?);
    }
    round.seconds = started.elapsed().as_secs_f64();
    Ok(round)
}

async fn chained(store: &Store, publishers: u32, events: u32) -> Result<Round, Failure> {
    static WRITER: AtomicI64 = AtomicI64::new(1);
    let writer = u128::from(WRITER.fetch_add(1, Ordering::Relaxed) as u64)
        | u128::from(std::process::id()) << 64;
    let (rows, bytes) = store.size().await?;
    let ledger = open(&store.url, writer).await?;
    let publishing = ledger.clone();
    let mut round = publish(publishers, move |number| {
        let ledger = publishing.clone();
        async move {
            let details = vec![treatment()];
            let intended =
                ledger.intend(intent(events), leaves(events), details, vec![], None).await?;
            ledger.settle(outcome(intended.first(), events, number * 1_000), None)?;
            Ok(())
        }
    })
    .await?;
    ledger.close().await?;
    let (rows_now, bytes_now) = store.size().await?;
    // Those that begin and end a chain are not of the events.
    (round.rows, round.bytes) = ((rows_now - rows - 2) as u64, bytes_now - bytes);
    Ok(round)
}

/// An intent with its leaves, and the number of the one whose outcome comes with it.
type Plain = (i64, Vec<u8>, Vec<u8>, oneshot::Sender<()>);

/// The same data in the same groups, without hashes, links, triggers, filters and open intents.
async fn unchained(store: &Store, publishers: u32, events: u32) -> Result<Round, Failure> {
    let (sender, receiver) = mpsc::channel::<Plain>(4 * GROUP);
    let writing = tokio::spawn(write(store.pool.clone(), receiver));
    let round = publish(publishers, move |number| {
        let sender = sender.clone();
        async move {
            let encoded = minicbor::to_vec(intent(events))?;
            let leaves: Vec<u8> = leaves(events).iter().flat_map(leaf_bytes).collect();
            let (answer, answered) = oneshot::channel();
            sender.send((number, encoded, leaves, answer)).await?;
            Ok(answered.await?)
        }
    })
    .await?;
    writing.await??;
    Ok(round)
}

macro_rules! write_group {
    ($engine:ty, $pool:expr, $group:expr) => {{
        let mut transaction = $pool.begin().await?;
        let mut rows = QueryBuilder::<$engine>::new("INSERT INTO plain_row (n, bytes, leaves) ");
        rows.push_values($group, |mut row, (n, bytes, leaves, _)| {
            row.push_bind(*n).push_bind(&bytes[..]).push_bind(&leaves[..]);
        });
        rows.build().execute(&mut *transaction).await?;
        let mut edges = QueryBuilder::<$engine>::new(
            "INSERT INTO plain_edge (region, topic, part, offset_from, of_n) ",
        );
        edges.push_values($group, |mut row, (n, ..)| {
            row.push_bind("eu").push_bind("shop.orders").push_bind(3_i64);
            row.push_bind(*n * 1_000).push_bind(*n);
        });
        edges.build().execute(&mut *transaction).await?;
        transaction.commit().await?;
    }};
}

async fn write(pool: Pool, mut receiver: mpsc::Receiver<Plain>) -> Result<(), Failure> {
    let mut group = Vec::new();
    while receiver.recv_many(&mut group, GROUP).await > 0 {
        match &pool {
            Pool::Sqlite(pool) => write_group!(Sqlite, pool, &group),
            Pool::Postgres(pool) => write_group!(Postgres, pool, &group),
        }
        for (.., answer) in group.drain(..) {
            let _gone = answer.send(());
        }
    }
    Ok(())
}

#[derive(Clone)]
enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

struct Store {
    name: &'static str,
    url: Url,
    pool: Pool,
}

const PLAIN: &str = "CREATE TABLE plain_row (n BIGINT NOT NULL, bytes BLOB NOT NULL, leaves BLOB); \
     CREATE INDEX plain_row_by_n ON plain_row (n); \
     CREATE TABLE plain_edge (region TEXT, topic TEXT, part BIGINT, offset_from BIGINT, \
       of_n BIGINT); \
     CREATE INDEX plain_edge_by_offset ON plain_edge (topic, part, offset_from); \
     CREATE INDEX plain_edge_by_intent ON plain_edge (of_n)";

impl Store {
    async fn sqlite(folder: &std::path::Path) -> Result<Self, Failure> {
        use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
        let file = folder.join("ledger.db");
        let url = format!("sqlite:{}", file.display()).parse()?;
        let options = SqliteConnectOptions::new()
            .filename(folder.join("plain.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePool::connect_with(options).await?;
        sqlx::raw_sql(PLAIN).execute(&pool).await?;
        open(&url, 0).await?.close().await?;
        Ok(Self { name: "SQLite", url, pool: Pool::Sqlite(pool) })
    }

    async fn postgres(server: &str) -> Result<Self, Failure> {
        let name = format!("publishers_{}", std::process::id());
        let admin = PgPool::connect(server).await?;
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(create).execute(&admin).await?;
        let base = server.rsplit_once('/').map_or(server, |(base, _)| base);
        let url = format!("{base}/{name}");
        let pool = PgPool::connect(&url).await?;
        let plain = AssertSqlSafe(PLAIN.replace("BLOB", "BYTEA"));
        sqlx::raw_sql(plain).execute(&pool).await?;
        let url = url.parse()?;
        open(&url, 0).await?.close().await?;
        Ok(Self { name: "PostgreSQL", url, pool: Pool::Postgres(pool) })
    }

    /// Rows and bytes of the ledger.
    async fn size(&self) -> Result<(i64, i64), Failure> {
        const ROWS: &str = "SELECT count(*) FROM ledger_row";
        Ok(match (&self.pool, &self.url) {
            (Pool::Postgres(pool), _) => {
                let bytes = "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class \
                             WHERE relkind = 'r' AND starts_with(relname, 'ledger_')";
                let rows = sqlx::query_scalar(ROWS).fetch_one(pool).await?;
                (rows, sqlx::query_scalar(bytes).fetch_one(pool).await?)
            }
            (Pool::Sqlite(_), Url::Sqlite(file)) => {
                let pool = SqlitePool::connect(&format!("sqlite:{}", file.display())).await?;
                let rows = sqlx::query_scalar(ROWS).fetch_one(&pool).await?;
                pool.close().await;
                (rows, std::fs::metadata(file)?.len().try_into()?)
            }
            (Pool::Sqlite(_), Url::Postgres(_)) => return Err("two engines".into()),
        })
    }
}

fn median<T: Copy + PartialOrd>(mut values: Vec<T>) -> Option<T> {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len() / 2).copied()
}

fn per_second(round: &Round, events: u32) -> f64 {
    round.waits.len() as f64 * f64::from(events) / round.seconds
}

async fn measure(rounds: u32) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let mut stores = vec![Store::sqlite(folder.path()).await?];
    match std::env::var("SLUICEGATE_TEST_POSTGRES") {
        Ok(server) => stores.push(Store::postgres(&server).await?),
        Err(_) => eprintln!("left out: PostgreSQL, for SLUICEGATE_TEST_POSTGRES is not set"),
    }
    println!(
        "| store | publishers × events | events/s | rows/s | p50 | kB an event | unchained, events/s | ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for store in &stores {
        for (publishers, events) in PUBLISHERS.into_iter().flat_map(|p| EVENTS.map(|e| (p, e))) {
            let (mut fast, mut rows, mut plain) = (vec![], vec![], vec![]);
            let (mut waits, mut bytes, mut count) = (vec![], 0, 0);
            for _ in 0..rounds {
                let round = chained(store, publishers, events).await?;
                fast.push(per_second(&round, events));
                rows.push(round.rows as f64 / round.seconds);
                bytes += round.bytes;
                count += round.waits.len() as i64 * i64::from(events);
                waits.extend(round.waits);
                plain.push(per_second(&unchained(store, publishers, events).await?, events));
            }
            let (fast, plain) = (median(fast).unwrap_or(0.0), median(plain).unwrap_or(0.0));
            println!(
                "| {} | {publishers} × {events} | {fast:.0} | {:.0} | {:.2} ms | {:.2} | {plain:.0} | {:.2} |",
                store.name,
                median(rows).unwrap_or(0.0),
                median(waits).unwrap_or_default().as_secs_f64() * 1_000.0,
                bytes as f64 / count as f64 / 1_000.0,
                fast / plain,
            );
        }
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let rounds = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(3);
    tokio::runtime::Runtime::new()?.block_on(measure(rounds))
}
