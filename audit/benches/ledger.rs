//! What hashing costs: verifying rows, and a link. Flushes are in `publishers.rs`.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sluicegate_audit::{
    Actor, Clock, Digest16, Exported, Fate, Intent, Leaf, Ledger, Options, SearchKey, Standing,
    Time, Url, WriterId, link_of, verify, verify_store,
};
use tokio::runtime::Runtime;

type Failure = Box<dyn std::error::Error>;

struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Time {
        let us = self.0.fetch_add(1_000, Ordering::Relaxed);
        Time { us, err_us: 0, source: "bench" }
    }
}

async fn open(url: &Url, writer: [u8; 16]) -> Result<Ledger, Failure> {
    let options = Options {
        origin: "bench".into(),
        writer: WriterId(writer),
        node: "bench".into(),
        software: "bench".into(),
        clock: Arc::new(Ticking(AtomicI64::new(0))),
        search_key: SearchKey { name: "bench".into(), check: [0; 16] },
        standing: Standing::Beside,
        skew_max_us: i64::MAX,
    };
    Ok(Ledger::open(url, options).await?)
}

fn intent(events: u32) -> (Intent, Vec<Leaf>) {
    let event = |seq| Leaf {
        seq,
        fate: Fate::Refuse("no-purpose".into(), "rule".into()),
        source: vec![Digest16([1; 16])],
        tokens: vec![Digest16([2; 16]), Digest16([3; 16])],
        count: 1,
    };
    let intent = Intent {
        request: [4; 16],
        actor: Actor { id: "till-7".into(), by: "mtls".into() },
        origin: [5; 16],
        purpose: "fulfilment".into(),
        dataset: "orders".into(),
        topic: "shop.orders".into(),
        policy: [6; 32],
        rules: vec!["tills-publish".into()],
        treatments: vec![],
        first_leaf: 0,
        leaves: events,
        records: events,
        batch: vec![],
    };
    (intent, (0..events).map(event).collect())
}

async fn appends(ledger: &Ledger, events: u32, times: u64) -> Result<(), Failure> {
    for _ in 0..times {
        let (intent, events) = intent(events);
        ledger.intend(intent, events, vec![], vec![], None).await?;
    }
    Ok(())
}

fn hashing(criterion: &mut Criterion) -> Result<(), Failure> {
    let runtime = Runtime::new()?;
    let files = tempfile::tempdir()?;
    let url: Url = format!("sqlite:{}", files.path().join("l.db").display()).parse()?;
    let mut records = Vec::new();
    runtime.block_on(async {
        let ledger = open(&url, [1; 16]).await?;
        appends(&ledger, 1, 1_000).await?;
        ledger.close().await?;
        verify_store(&url, |record| records.push(record)).await?;
        Ok::<_, Failure>(())
    })?;
    let mut group = criterion.benchmark_group("hashing");
    group.throughput(Throughput::Elements(records.len() as u64));
    group.bench_function("verify rows of one event", |bencher| {
        bencher.iter(|| {
            let mut verifier = verify::Verifier::default();
            for record in &records {
                let Exported::Row { writer, wseq, bytes, manifest } = record else { continue };
                let (writer, wseq, manifest) = (*writer, *wseq, manifest.as_deref());
                verifier.row(&verify::Stored {
                    writer,
                    wseq,
                    bytes,
                    link: None,
                    manifest,
                    beside: None,
                });
            }
            verifier.finish()
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("link of 300 bytes", |bencher| {
        let row = [7; 300];
        bencher.iter(|| link_of(black_box(&row)));
    });
    group.finish();
    Ok(())
}

fn all(criterion: &mut Criterion) {
    if let Err(error) = hashing(criterion) {
        eprintln!("left out: hashing: {error}");
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
