//! Whose clock a chain begins by, and who may begin one. Each promise is tried on SQLite, and on
//! PostgreSQL where `SLUICEGATE_TEST_POSTGRES` names a server.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail the test, and say what was left out"
)]

#[expect(dead_code, reason = "the contract suite uses the rest")]
mod harness;

use harness::{Bench, NOW_US, each_store, options};
use sluicegate_audit::{
    Actor, Admin, Entry, Exported, Ledger, OpenError, Options, Row, Standing, StoreError, WriterId,
    verify_store,
};

const DAY_US: i64 = 86_400_000_000;

fn because() -> Box<Entry> {
    let actor = Actor { id: "operator".into(), by: "shell".into() };
    let (action, result) = ("time.restart".to_owned(), "ok".to_owned());
    Box::new(Entry::Admin(Admin { actor, action, result, about: "test".into() }))
}

async fn open(bench: &Bench, options: Options) -> Result<Ledger, OpenError> {
    Ledger::open(&bench.url, options).await
}

/// The rows of a writer, as they are hashed.
async fn rows(bench: &Bench, writer: u8) -> Vec<Row> {
    let mut rows = Vec::new();
    let verdict = verify_store(&bench.url, |exported| {
        if let Exported::Row { writer: of, bytes, .. } = exported
            && of == WriterId([writer; 16])
        {
            rows.push(Row::decode(&bytes).unwrap());
        }
    });
    assert!(verdict.await.unwrap().is_ok());
    rows
}

/// An auditor's laptop and a peer whose clocks were a day ahead: a warning, and nothing else.
#[tokio::test]
async fn nobody_elses_clock_is_a_floor() {
    each_store(async |bench: Bench| {
        let ahead = NOW_US + DAY_US;
        let laptop = Options { node: "node-a-cli".into(), ..options(1, ahead, Standing::Beside) };
        open(&bench, laptop).await.unwrap().close().await.unwrap();
        let peer = Options { node: "node-b".into(), ..options(2, ahead, Standing::Node) };
        open(&bench, peer).await.unwrap().close().await.unwrap();

        let beside = Options { node: "node-a-cli".into(), ..options(4, NOW_US, Standing::Beside) };
        open(&bench, beside).await.unwrap().close().await.unwrap();
        assert!(rows(&bench, 4).await.iter().all(|row| row.t_us < NOW_US + DAY_US / 2));
        let ledger = open(&bench, options(5, NOW_US, Standing::Node)).await.unwrap();
        assert!(ledger.newest_us() >= ahead, "what a warning is made of");
        ledger.close().await.unwrap();
        assert!(rows(&bench, 5).await.iter().all(|row| row.t_us < NOW_US + DAY_US / 2));
    })
    .await;
}

/// A node's own false future: refused before a row is written, until an operator says so; then a
/// chain that names the old head, and every later start continues from it.
#[tokio::test]
async fn a_false_future_of_ones_own_has_a_recorded_way_back() {
    each_store(async |bench: Bench| {
        let ahead = options(1, NOW_US + 31 * DAY_US, Standing::Node);
        open(&bench, ahead).await.unwrap().close().await.unwrap();
        let head = rows(&bench, 1).await.len() as u64 - 1;

        let refused = open(&bench, options(2, NOW_US, Standing::Node)).await.err().unwrap();
        assert!(matches!(refused, OpenError::ClockBehind { .. }), "{refused}");
        assert!(refused.to_string().contains("ledger restart-time"), "{refused}");
        assert!(rows(&bench, 2).await.is_empty(), "nothing was written");

        let restarted = options(3, NOW_US, Standing::Restarted(because()));
        open(&bench, restarted).await.unwrap().close().await.unwrap();
        let first = rows(&bench, 3).await.remove(0);
        let Entry::WriterOpen(opened) = &first.entries[0] else { panic!("{first:?}") };
        let names: Vec<_> = opened.predecessor.iter().map(|p| (p.writer, p.wseq)).collect();
        assert_eq!(names, [(WriterId([1; 16]), head)]);
        let says = |e: &Entry| matches!(e, Entry::Admin(admin) if admin.action == "time.restart");
        assert!(first.entries.iter().any(says));
        assert!(first.t_us < NOW_US + DAY_US);

        for (writer, at_us) in [(4, NOW_US + 1_000_000), (5, NOW_US + 2_000_000)] {
            let ledger = open(&bench, options(writer, at_us, Standing::Node)).await.unwrap();
            ledger.close().await.unwrap();
        }
        let first = rows(&bench, 5).await.remove(0);
        let Entry::WriterOpen(opened) = &first.entries[0] else { panic!("{first:?}") };
        assert_eq!(opened.predecessor[0].writer, WriterId([4; 16]));
        let again = options(6, NOW_US + 3_000_000, Standing::Restarted(because()));
        let again = open(&bench, again).await.err().unwrap();
        assert!(matches!(again, OpenError::NotBehind), "{again}");
    })
    .await;
}

/// Two gateways with one configuration: the second says why it does not start. Whoever is beside
/// writes on, and the name is free when its holder has ended.
#[tokio::test]
async fn one_name_is_one_process() {
    each_store(async |bench: Bench| {
        let first = open(&bench, options(1, NOW_US, Standing::Node)).await.unwrap();
        let second = open(&bench, options(2, NOW_US, Standing::Node)).await.err().unwrap();
        let is_held = matches!(second, OpenError::Store(StoreError::Held(_)));
        assert!(is_held && second.to_string().contains("another gateway runs"), "{second}");
        let beside = open(&bench, options(3, NOW_US, Standing::Beside)).await.unwrap();
        beside.close().await.unwrap();
        first.close().await.unwrap();
        let third = open(&bench, options(4, NOW_US + 1_000_000, Standing::Node)).await.unwrap();
        third.close().await.unwrap();
    })
    .await;
}

/// Several gateways share PostgreSQL, each under its own name, and nobody shares a SQLite file. A
/// clock that the store's contradicts writes nothing.
#[tokio::test]
async fn the_store_doubts_a_clock() {
    each_store(async |bench: Bench| {
        let has_clock = matches!(bench.url, sluicegate_audit::Url::Postgres(_));
        let a = open(&bench, options(1, NOW_US, Standing::Node)).await.unwrap();
        let b = Options { node: "node-b".into(), ..options(2, NOW_US, Standing::Node) };
        let b = open(&bench, b).await;
        assert_eq!(b.is_ok(), has_clock, "{:?}", b.err());
        let skew_max_us = 60_000_000;
        let doubted =
            Options { node: "node-c".into(), skew_max_us, ..options(3, NOW_US, Standing::Beside) };
        let doubted = open(&bench, doubted).await.err();
        assert_eq!(doubted.is_some(), has_clock);
        if let Some(why) = doubted {
            assert!(why.to_string().contains("behind the store's"), "{why}");
            assert!(rows(&bench, 3).await.is_empty());
        }
        a.close().await.unwrap();
    })
    .await;
}
