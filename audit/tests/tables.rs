//! What a ledger says when the tables beside its rows, or its rows, are not what they were: never
//! that all is well, and never that there was nothing.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    dead_code,
    reason = "helpers of tests fail the test, and say what was left out; each test uses some"
)]

mod harness;
#[path = "harness/releases.rs"]
mod sample;

use harness::{Bench, delivered, digest, each_store, intent, outcome, treatment};
use sluicegate_audit::{
    AppendError, Entry, Ledger, StoreError, lineage::Lineage, verify, verify::What, verify_store,
};

/// Two chains, the second with four intents, their outcomes and a release. The intents are the
/// rows 1, 3, 5 and 7, their outcomes the rows behind them, the release is row 9.
async fn fill(bench: &Bench) {
    bench.open(1).await.close().await.unwrap();
    let ledger: Ledger = bench.open_as(2, "node-b").await;
    for n in 0..4 {
        let (digest, bytes) = treatment("eu");
        let events = vec![delivered(0, b"device-7", &[n])];
        let kept = vec![(digest, bytes)];
        let first = ledger.intend(intent(digest, 1), events, kept, vec![], None).await.unwrap();
        let placed = outcome(first.first(), "eu", &[(40 + i64::from(n), 0)]);
        ledger.settle_now(placed).await.unwrap();
    }
    ledger.reserve(&sample::charge(1)).await.unwrap();
    ledger.release(sample::release(1), sample::blobs(1)).await.unwrap();
    ledger.close().await.unwrap();
}

async fn verdict(bench: &Bench) -> verify::Verdict {
    verify_store(&bench.url, |_| {}).await.unwrap()
}

const ALL: &str = "DELETE FROM ledger_row; DELETE FROM ledger_writer; DELETE FROM ledger_manifest; \
                   DELETE FROM ledger_edge; DELETE FROM ledger_detail; DELETE FROM ledger_release; \
                   DELETE FROM ledger_charge; DELETE FROM ledger_blob";

#[tokio::test]
async fn what_no_longer_fits_the_rows_diverges() {
    let rows_of_first = "DELETE FROM ledger_row WHERE wseq < 2 AND (SELECT count(*) FROM \
                         ledger_manifest m WHERE m.writer = ledger_row.writer) = 0";
    let cases = [
        ("DELETE FROM ledger_row", What::Gone("ledger_release")),
        ("DELETE FROM ledger_row WHERE wseq >= 9", What::Gone("ledger_release")),
        (
            "DELETE FROM ledger_row WHERE wseq >= 8; DELETE FROM ledger_release; \
             DELETE FROM ledger_charge",
            What::Gone("ledger_edge"),
        ),
        (
            "DELETE FROM ledger_row WHERE wseq >= 7; DELETE FROM ledger_release; \
             DELETE FROM ledger_charge; DELETE FROM ledger_edge WHERE of_wseq >= 7",
            What::Gone("ledger_manifest"),
        ),
        (rows_of_first, What::Gone("ledger_writer")),
        ("DELETE FROM ledger_edge", What::Lookups),
        ("DELETE FROM ledger_edge WHERE offset_from = 42", What::Lookups),
        (
            "UPDATE ledger_edge SET offset_from = offset_from + 1000, offset_to = offset_to + 1000",
            What::Lookups,
        ),
        ("UPDATE ledger_edge SET topic = 'people'", What::Lookups),
        ("UPDATE ledger_edge SET of_wseq = 1", What::Lookups),
        ("INSERT INTO ledger_edge SELECT * FROM ledger_edge", What::Lookups),
        ("UPDATE ledger_manifest SET filter = leaves", What::Beside),
        ("UPDATE ledger_row SET t_us = t_us + 1", What::Beside),
        ("UPDATE ledger_row SET segment = segment + 1", What::Beside),
        ("DELETE FROM ledger_release", What::Unlisted),
        ("DELETE FROM ledger_charge", What::Uncharged),
    ];
    each_store(async |bench: Bench| {
        fill(&bench).await;
        let whole = verdict(&bench).await;
        assert!(whole.is_ok(), "{whole}");
    })
    .await;
    for (harm, what) in cases {
        each_store(async |bench: Bench| {
            fill(&bench).await;
            bench.unlock().await;
            bench.try_sql(harm).await.unwrap();
            let found = verdict(&bench).await;
            assert!(!found.is_ok(), "{harm}: {found}");
            assert_eq!(found.divergence.map(|d| d.what), Some(what.clone()), "{harm}");
        })
        .await;
    }
}

#[tokio::test]
async fn nothing_does_not_verify() {
    each_store(async |bench: Bench| {
        fill(&bench).await;
        bench.unlock().await;
        bench.try_sql(ALL).await.unwrap();
        let found = verdict(&bench).await;
        assert!(!found.is_ok() && found.divergence.is_none());
        assert!(found.to_string().starts_with("nothing to verify"), "{found}");
        assert!(found.json().starts_with(r#"{"ok":false"#), "{}", found.json());
    })
    .await;
    assert!(!verify::Verifier::default().finish().is_ok());
}

#[tokio::test]
async fn what_is_not_kept_is_unknown_and_not_absent() {
    each_store(async |bench: Bench| {
        fill(&bench).await;
        bench.try_sql("DELETE FROM ledger_manifest WHERE wseq IN (3, 5)").await.unwrap();
        let whole = verdict(&bench).await;
        assert!(whole.is_ok() && whole.leaves_detached == 2, "{whole}");
        let lineage = Lineage::open(&bench.url).await.unwrap();
        let (from, to) = (i64::MIN, i64::MAX);
        for (answer, found, unknown) in [
            (lineage.token(&[digest(&[0])]).await.unwrap(), 1, 2),
            (lineage.token(&[digest(&[1])]).await.unwrap(), 0, 2),
            (lineage.affected(&[digest(b"device-7")], from, to).await.unwrap(), 2, 2),
            (lineage.affected(&[digest(b"device-7")], from, from + 1).await.unwrap(), 0, 0),
            (lineage.record(None, "shop.orders", 3, 40).await.unwrap(), 1, 0),
            (lineage.record(None, "shop.orders", 3, 41).await.unwrap(), 0, 1),
            (lineage.record(None, "shop.orders", 3, 99).await.unwrap(), 0, 0),
        ] {
            assert_eq!((answer.found.len(), answer.unknown), (found, unknown), "{answer}");
            let says = answer.to_string().contains("unknown for");
            assert_eq!(says, unknown > 0, "{answer}");
        }
        // Where a lookup names a row that is gone, there is no answer.
        bench.unlock().await;
        bench.try_sql("DELETE FROM ledger_row WHERE wseq = 2").await.unwrap();
        let answer = lineage.record(None, "shop.orders", 3, 40).await;
        assert!(matches!(answer, Err(StoreError::Corrupt(_))));
        lineage.close().await;
    })
    .await;
}

#[tokio::test]
async fn an_emptied_ledger_fences_its_writer() {
    each_store(async |bench: Bench| {
        let ledger = bench.open(1).await;
        ledger.append(Entry::Heartbeat).await.unwrap();
        bench.empty().await;
        assert_eq!(ledger.append(Entry::Heartbeat).await, Err(AppendError::Fenced));
        assert!(!ledger.is_healthy());
    })
    .await;
}

/// An open file outlives its name: what is written to it then is lost.
#[tokio::test]
async fn a_removed_or_replaced_file_takes_no_rows() {
    let bench = Bench::sqlite();
    let ledger = bench.open(1).await;
    let mut trouble = ledger.trouble();
    let [file, wal] = bench.files();
    let aside = file.with_extension("aside");
    std::fs::rename(&file, &aside).unwrap();
    for replaced in [false, true] {
        if replaced {
            std::fs::copy(&aside, &file).unwrap();
        }
        let refused = ledger.append(Entry::Heartbeat).await;
        assert!(matches!(&refused, Err(AppendError::Unavailable(why)) if why.contains("replaced")));
        assert!(!ledger.is_healthy());
    }
    assert!(trouble.borrow_and_update().is_some());
    std::fs::rename(&aside, &file).unwrap();
    // The next try settles what was refused.
    trouble.changed().await.unwrap();
    assert!(trouble.borrow_and_update().is_none());
    ledger.append(Entry::Heartbeat).await.unwrap();
    std::fs::remove_file(wal).unwrap();
    assert!(matches!(ledger.append(Entry::Heartbeat).await, Err(AppendError::Unavailable(_))));
}

#[tokio::test]
async fn nobody_else_reads_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::sqlite();
    let ledger = bench.open(1).await;
    for file in bench.files() {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    ledger.close().await.unwrap();
}
