//! Releases to try a ledger with.

use sluicegate_audit::{
    BudgetBlocked, Charge, Cost, Entry, Exported, Ledger, LossUnit, OffsetRange, Release,
    ReleaseRefused,
};

use crate::harness::Bench;

pub(crate) const HOUR_US: i64 = 3_600_000_000;

/// The release of an hour. Three fit the cap, of which two touch a person.
pub(crate) fn release(hour: u8) -> Release {
    let start = i64::from(hour) * HOUR_US;
    Release {
        id: [hour; 16],
        name: "orders-per-hour".into(),
        account: "orders".into(),
        topic: "orders.hourly".into(),
        region: "eu".into(),
        window_start_us: start,
        window_end_us: start + HOUR_US,
        revision: 0,
        policy: [9; 32],
        plan: [8; 32],
        unit: LossUnit::NanoRho,
        cost: Cost { loss: 10, delta: 1 },
        uses_max: 2,
        cap: Cost { loss: 20, delta: 2 },
        period_us: 0,
        mechanism: "discrete-gaussian".into(),
        covers: vec![OffsetRange {
            region: "eu".into(),
            topic: "orders.contributions".into(),
            partition: 3,
            from: i64::from(hour) * 100,
            to: i64::from(hour) * 100 + 120,
        }],
        blobs: vec![],
        messages: 2,
    }
}

pub(crate) fn charge(hour: u8) -> Charge {
    Charge::of(&release(hour))
}

pub(crate) fn blobs(hour: u8) -> Vec<Vec<u8>> {
    vec![format!("{{\"hour\":{hour}}}").into_bytes(), b"{\"keys\":[]}".to_vec()]
}

pub(crate) fn refused(hour: u8) -> Entry {
    let Release { name, account, window_start_us, window_end_us, revision, .. } = release(hour);
    let code = "exhausted".into();
    Entry::ReleaseRefused(ReleaseRefused {
        name,
        account,
        window_start_us,
        window_end_us,
        revision,
        code,
    })
}

pub(crate) fn blocked(account: &str, period_us: i64) -> BudgetBlocked {
    BudgetBlocked { account: account.into(), period_us, why: "restored".into() }
}

/// Makes as if this release had never stood: the next one of its id stands, and this one is the
/// one that lost and was cut off before it could say so.
pub(crate) async fn unseat(bench: &Bench) {
    bench
        .try_sql(
            "INSERT INTO ledger_release_lost SELECT writer, wseq, entry, id FROM ledger_release",
        )
        .await
        .unwrap();
    bench.try_sql("DELETE FROM ledger_release").await.unwrap();
}

/// A ledger with an entry of each kind: two nodes, of which the first lost a race and crashed.
pub(crate) async fn of_each_kind(bench: &Bench) {
    let first: Ledger = bench.open(1).await;
    first.reserve(&charge(1)).await.unwrap();
    first.release(release(1), blobs(1)).await.unwrap();
    drop(first);
    unseat(bench).await;
    let second = bench.open_as(2, "node-b").await;
    second.reserve(&charge(1)).await.unwrap();
    let stands = second.release(release(1), blobs(1)).await.unwrap();
    second.published(release(1).id, stands.first()).await.unwrap();
    second.reserve(&charge(2)).await.unwrap();
    second.release(release(2), blobs(2)).await.unwrap();
    second.append(refused(3)).await.unwrap();
    second.block(blocked("people", 7)).await.unwrap();
    second.close().await.unwrap();
    bench.open(3).await.close().await.unwrap();
}

pub(crate) fn copies(records: &[Exported]) -> Vec<Exported> {
    let copy = |record: &Exported| match record {
        Exported::Row { writer, wseq, bytes, manifest } => Exported::Row {
            writer: *writer,
            wseq: *wseq,
            bytes: bytes.clone(),
            manifest: manifest.clone(),
        },
        Exported::Detail { digest, bytes } => {
            Exported::Detail { digest: digest.clone(), bytes: bytes.clone() }
        }
        Exported::Blob { digest, bytes } => {
            Exported::Blob { digest: digest.clone(), bytes: bytes.clone() }
        }
    };
    records.iter().map(copy).collect()
}
