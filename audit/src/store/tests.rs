//! No reading of a store grows faster than what it reads: every query is explained against a ledger
//! of more than a thousand pages, and every verb is timed on a small and on a large one.

#![expect(clippy::print_stdout, reason = "times are shown with --nocapture")]

mod bulk;
mod plans;

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, PgPool, SqlitePool};

use super::{Url, read_write, verify_store};
use crate::{lineage::Lineage, write_export};
use bulk::{Chain, EVENT_US, START_US, source_of, token_of};

/// Rows of the small ledger.
const SMALL: u64 = 10_000;
/// Rows of the large one: pages are of 100.
const LARGE: u64 = 110_000;
/// Rows of a transaction where a ledger is written in bulk.
const CHUNK: u64 = 2_000;
/// Between 1, which is linear, and 11, which is quadratic.
const GROWTH_MAX: f64 = 5.0;
const TRIES: usize = 4;
/// Names another size for the large one; `tests/campaign ledger-growth` says a million.
const LARGE_FROM: &str = "SLUICEGATE_TEST_LEDGER_ROWS";
const POSTGRES: &str = "SLUICEGATE_TEST_POSTGRES";

/// What each verb took; what reads all rows, and what reads a number that does not grow.
struct Took {
    all: Vec<(&'static str, Duration)>,
    few: Vec<(&'static str, Duration)>,
}

#[tokio::test]
async fn sqlite_reads_in_pages() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("ledger.db");
    let url: Url = format!("sqlite:{}", file.display()).parse().unwrap();
    grows("SQLite", &url).await;
    let pool = SqlitePool::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    plans::sqlite(&pool).await;
}

#[tokio::test]
async fn postgres_reads_in_pages() {
    let Ok(server) = std::env::var(POSTGRES) else {
        return println!("left out: PostgreSQL, for {POSTGRES} is not set");
    };
    let admin = PgPool::connect(&server).await.unwrap();
    let name = format!("ledger_pages_{}", std::process::id());
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&admin).await.unwrap();
    let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
    grows("PostgreSQL", &url.parse().unwrap()).await;
    let pool = PgPool::connect(&url).await.unwrap();
    plans::postgres(&pool).await;
    pool.close().await;
    sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE {name}"))).execute(&admin).await.unwrap();
}

/// A verb that reads all takes about as long per row on either ledger, and one that reads little
/// takes about as long. Where a page reads from the beginning, it is a factor of eleven.
async fn grows(engine: &str, url: &Url) {
    let large = std::env::var(LARGE_FROM).map_or(LARGE, |rows| rows.parse().unwrap());
    let store = read_write(url, None).await.unwrap();
    let mut chain = Chain::of(7);
    chain.grow(&*store, SMALL, CHUNK).await;
    let small = verbs(url, SMALL).await;
    chain.grow(&*store, large, CHUNK).await;
    store.close().await;
    // Another's work may slow down one measurement, and not what is quadratic in each.
    let mut slow = Vec::new();
    for _ in 0..TRIES {
        slow =
            faster_than_the_ledger(engine, large as f64 / SMALL as f64, &small, url, large).await;
        if slow.is_empty() {
            return;
        }
    }
    panic!("{engine}: these grow faster than the ledger, or with it: {slow:?}");
}

async fn faster_than_the_ledger(
    engine: &str,
    times: f64,
    small: &Took,
    url: &Url,
    rows: u64,
) -> Vec<&'static str> {
    let large = verbs(url, rows).await;
    let all = small.all.iter().zip(&large.all).map(|pair| (pair, times));
    let few = small.few.iter().zip(&large.few).map(|pair| (pair, 1.0));
    let mut slow = Vec::new();
    for (((verb, small), (_, large)), expected) in all.chain(few) {
        let growth = large.as_secs_f64() / small.as_secs_f64() / expected;
        println!("{engine}: {verb}: {small:?}, {large:?}; {growth:.2} times what is expected");
        if growth > GROWTH_MAX {
            slow.push(*verb);
        }
    }
    slow
}

async fn verbs(url: &Url, rows: u64) -> Took {
    let lineage = Lineage::open(url).await.unwrap();
    let verify = async || {
        let verdict = verify_store(url, |_| {}).await.unwrap();
        assert!(verdict.is_ok() && verdict.rows == rows, "{verdict}");
    };
    let export = async || {
        let mut bytes = 0;
        let exported = verify_store(url, |record| {
            let mut record_bytes = Vec::new();
            write_export(&mut record_bytes, &record, false).unwrap();
            bytes += record_bytes.len();
        });
        assert!(exported.await.unwrap().is_ok() && bytes > 0);
    };
    let token = async || {
        let answer = lineage.token(&[token_of(SMALL / 4)]).await.unwrap();
        assert_eq!((answer.found.len(), answer.unknown), (1, 0));
    };
    let affected = async || {
        let answer = lineage.affected(&[source_of(7)], i64::MIN, i64::MAX).await.unwrap();
        assert!(!answer.found.is_empty());
    };
    // Near the end: a page that reads from the beginning would show.
    let event = rows / 2 - 500;
    let stretch = async || {
        let from_us = START_US + i64::try_from(event).unwrap() * EVENT_US;
        for _ in 0..5 {
            let source = [source_of(7)];
            let affected = lineage.affected(&source, from_us, from_us + 400 * EVENT_US);
            assert!(!affected.await.unwrap().found.is_empty());
        }
    };
    let record = async || {
        for n in 0..50 {
            let offset = i64::try_from(event + n).unwrap();
            let answer = lineage.record(Some("eu"), "shop.orders", 3, offset).await.unwrap();
            assert_eq!(answer.found.len(), 1);
        }
    };
    let all = vec![
        ("verify", best(1, verify).await),
        ("export", best(1, export).await),
        ("lineage token", best(1, token).await),
        ("lineage affected", best(1, affected).await),
    ];
    let few = vec![
        ("lineage affected, a stretch", best(9, stretch).await),
        ("lineage record", best(9, record).await),
    ];
    lineage.close().await;
    Took { all, few }
}

/// The shortest of some times: others use the machine too.
async fn best(times: u32, what: impl AsyncFn()) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..times {
        let started = Instant::now();
        what().await;
        best = best.min(started.elapsed());
    }
    best
}
