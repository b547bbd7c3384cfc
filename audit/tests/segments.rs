//! What a ledger promises of segments and of stores of other versions, on each store.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail the test, and say what was left out"
)]

#[expect(dead_code, reason = "other suites use the rest")]
mod harness;

use harness::{
    Bench, NOW_US, delivered, digest, each_store, intent, options, search_key, treatment,
};
use sluicegate_audit::{
    EnterError, Entry, Exported, Ledger, OpenError, Options, Row, SearchKey, SegmentOpen, Standing,
    StoreError, WriterId, lineage::Lineage, verify_store,
};

async fn open(bench: &Bench, writer: u8, key: SearchKey) -> Result<Ledger, OpenError> {
    let node = format!("node-{writer}");
    let options = Options { search_key: key, node, ..options(writer, NOW_US, Standing::Beside) };
    Ledger::open(&bench.url, options).await
}

/// Writer, row, segment and what the row's opening says.
async fn openings(bench: &Bench) -> Vec<(WriterId, u64, SegmentOpen)> {
    let mut found = Vec::new();
    let verdict = verify_store(&bench.url, |record| {
        let Exported::Row { bytes, .. } = record else { return };
        let row = Row::decode(&bytes).unwrap();
        for entry in row.entries {
            if let Entry::SegmentOpen(open) = entry {
                assert_eq!(open.segment, row.segment);
                found.push((row.writer, row.wseq, open));
            }
        }
    });
    let verdict = verdict.await.unwrap();
    assert!(verdict.is_ok() && verdict.kept_from_segment.is_none(), "{verdict}");
    found
}

async fn write(ledger: &Ledger, token: &[u8]) {
    let (digest, bytes) = treatment("eu");
    let (leaves, details) = (vec![delivered(0, b"device-7", token)], vec![(digest, bytes)]);
    let _first = ledger.intend(intent(digest, 1), leaves, details, vec![], None).await.unwrap();
}

#[tokio::test]
async fn each_search_key_has_a_segment_and_the_newest_is_joined() {
    each_store(async |bench: Bench| {
        let [one, two] = [search_key(1), search_key(2)];
        let a = open(&bench, 1, one.clone()).await.unwrap();
        let b = open(&bench, 2, one.clone()).await.unwrap();
        write(&a, b"old").await;
        assert_eq!((a.segment(), b.segment()), (1, 1));
        assert_eq!(a.enter(&one).await.unwrap(), 1, "nothing to do");
        assert_eq!(a.enter(&two).await.unwrap(), 2);
        write(&a, b"new").await;
        // The other continues in its segment, until it enters too.
        write(&b, b"other").await;
        assert_eq!((b.segment(), b.enter(&two).await.unwrap()), (1, 2));
        let c = open(&bench, 3, two.clone()).await.unwrap();
        assert_eq!(c.segment(), 2);
        assert_eq!(c.segments().await.unwrap(), [(1, one.clone()), (2, two.clone())]);
        for ledger in [a, b, c] {
            ledger.close().await.unwrap();
        }
        let heads =
            |open: &SegmentOpen| open.heads.iter().map(|h| h.writer.0[0]).collect::<Vec<_>>();
        let found = openings(&bench).await;
        let found: Vec<_> =
            found.iter().map(|(by, row, o)| (by.0[0], *row, o.segment, heads(o))).collect();
        assert_eq!(
            found,
            [
                (1, 0, 1, vec![]),
                (1, 2, 2, vec![2, 1]),
                (2, 0, 1, vec![]),
                (2, 2, 2, vec![2]),
                (3, 0, 2, vec![]),
            ]
        );
        let lineage = Lineage::open(&bench.url).await.unwrap();
        let both = [digest(b"old"), digest(b"new")];
        assert_eq!(lineage.token(&both).await.unwrap().found.len(), 2);
        lineage.close().await;
    })
    .await;
}

#[tokio::test]
async fn writers_that_bring_a_new_key_at_once_agree_on_its_segment() {
    each_store(async |bench: Bench| {
        let mut ledgers = Vec::new();
        for writer in 1..5 {
            ledgers.push(open(&bench, writer, search_key(1)).await.unwrap());
        }
        let mut tasks = tokio::task::JoinSet::new();
        for (ledger, n) in ledgers.iter().cloned().zip(2..) {
            tasks.spawn(async move { ledger.enter(&search_key(2 + n % 2)).await.unwrap() });
        }
        let mut entered = tasks.join_all().await;
        entered.sort_unstable();
        entered.dedup();
        assert!(entered.len() == 2 && entered.iter().all(|n| [2, 3].contains(n)), "{entered:?}");
        for ledger in ledgers {
            ledger.close().await.unwrap();
        }
        openings(&bench).await;
    })
    .await;
}

#[tokio::test]
async fn another_key_under_an_old_name_is_refused_by_name() {
    each_store(async |bench: Bench| {
        let ledger = open(&bench, 1, search_key(1)).await.unwrap();
        ledger.enter(&search_key(2)).await.unwrap();
        let other = SearchKey { check: [9; 16], ..search_key(1) };
        let Err(error) = ledger.enter(&other).await else { panic!("it was taken") };
        assert!(matches!(error, EnterError::OtherKey { segment: 1, .. }), "{error}");
        assert!(error.to_string().contains("`search-1`"), "{error}");
        let Err(error) = open(&bench, 2, other).await else { panic!("it was opened") };
        assert!(matches!(error, OpenError::Segment(EnterError::OtherKey { .. })), "{error}");
        ledger.close().await.unwrap();
        let verdict = verify_store(&bench.url, |_| {}).await.unwrap();
        assert_eq!(verdict.heads.len(), 1, "nothing was written");
    })
    .await;
}

#[tokio::test]
async fn stores_of_other_versions_are_refused_by_name() {
    let newer = "INSERT INTO _sqlx_migrations SELECT 99, description, installed_on, success, \
                 checksum, execution_time FROM _sqlx_migrations WHERE version = 1";
    let older = "UPDATE _sqlx_migrations SET checksum = (SELECT link FROM ledger_row LIMIT 1)";
    for (harm, words) in [(newer, "a newer Sluicegate"), (older, "in a format before `lgr2`")] {
        each_store(async |bench: Bench| {
            open(&bench, 1, search_key(1)).await.unwrap().close().await.unwrap();
            bench.try_sql(harm).await.unwrap();
            let Err(error) = open(&bench, 2, search_key(1)).await else { panic!("it was opened") };
            assert!(error.to_string().contains(words), "{error}");
            let read = verify_store(&bench.url, |_| {}).await;
            let is_named = |e: &StoreError| matches!(e, StoreError::Newer | StoreError::Older);
            assert!(read.as_ref().is_err_and(is_named), "{read:?}");
        })
        .await;
    }
}
