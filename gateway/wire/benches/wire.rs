//! What a record costs: reading a batch, and taking it apart and putting it together, with each codec. 1,000 records of
//! 300 bytes of JSON with a key and a header.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark says what it measured, and may stop where a service may not"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sluicegate_wire::{
    Change, Direction, Key, Name, Value,
    batch::{Attributes, Batches, Head, HeaderList, Limits, Record, Writer},
    compress::Codec,
    rewrite,
};

const RECORDS: u32 = 1000;
const LIMITS: Limits = Limits { inflated: 8 << 20, records: 100_000, headers: 100 };

fn batch(codec: Codec) -> Vec<u8> {
    let head = Head {
        base_offset: 0,
        leader_epoch: -1,
        attributes: Attributes(0),
        last_offset_delta: RECORDS as i32 - 1,
        base_timestamp: 1_700_000_000_000,
        max_timestamp: 1_700_000_001_000,
        producer_id: 7,
        producer_epoch: 0,
        base_sequence: 0,
    };
    let mut headers = HeaderList::default();
    headers.push(b"traceparent", Some(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    let (mut out, mut space) = (Vec::new(), Vec::new());
    let mut writer = Writer::new(head, codec, &mut out, &mut space);
    let mut state = 1_u64;
    for at in 0..RECORDS {
        let mut number = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 40
        };
        let value = format!(
            r#"{{"id":{},"email":"user{}@example.com","name":"Customer {}","country":"DE","amount":{},"currency":"EUR","created":"2026-11-{:02}T10:00:00Z","items":[{{"sku":"A-{}","quantity":{}}},{{"sku":"B-{}","quantity":{}}}],"note":"deliver to the back door, ring twice","tags":["new","gift"],"score":{}}}"#,
            number(),
            number(),
            number(),
            number(),
            number() % 28 + 1,
            number(),
            number() % 9,
            number(),
            number() % 9,
            number()
        );
        writer.push(&Record {
            attributes: 0,
            timestamp_delta: i64::from(at),
            offset_delta: at as i32,
            key: Some(&at.to_be_bytes()),
            value: Some(value.as_bytes()),
            headers: headers.headers(),
        });
    }
    writer.finish().unwrap();
    out
}

fn batches(c: &mut Criterion) {
    let codecs =
        [Codec::None, Codec::Lz4, Codec::Snappy, Codec::SnappyXerial, Codec::Zstd, Codec::Gzip];
    let mut group = c.benchmark_group("batch");
    group.throughput(Throughput::Elements(RECORDS.into()));
    for codec in codecs {
        let bytes = batch(codec);
        println!("{codec:?}: {} bytes", bytes.len());
        let (mut inflated, mut out, mut space) = (Vec::new(), Vec::new(), Vec::new());
        group.bench_function(format!("{codec:?} read"), |b| {
            b.iter(|| {
                let batch = Batches::new(&bytes).next().unwrap().unwrap();
                let records = batch.records(LIMITS, &mut inflated).unwrap();
                let size = |record: Record<'_>| record.value.map_or(0, <[u8]>::len);
                black_box(records.map(|record| size(record.unwrap())).sum::<usize>())
            });
        });
        group.bench_function(format!("{codec:?} rewrite"), |b| {
            b.iter(|| {
                let batch = Batches::new(&bytes).next().unwrap().unwrap();
                out.clear();
                let mut writer = Writer::new(batch.head, codec, &mut out, &mut space);
                for record in batch.records(LIMITS, &mut inflated).unwrap() {
                    writer.push(&record.unwrap());
                }
                writer.finish().unwrap();
                black_box(out.len())
            });
        });
    }
    group.finish();
}

/// A Metadata response of 100 topics with 10 partitions each, whose brokers get other addresses.
fn messages(c: &mut Criterion) {
    let api = sluicegate_wire::Api::find(Key::Metadata as i16).unwrap();
    let layout = api.layout(Direction::Response, 12).unwrap();
    let ints = || Value::List((1..4).map(Value::Int).collect());
    let partition = |index: i64| {
        Value::Struct(vec![
            (Name::PartitionIndex, Value::Int(index)),
            (Name::LeaderId, Value::Int(1)),
            (Name::ReplicaNodes, ints()),
            (Name::IsrNodes, ints()),
        ])
    };
    let topic = |at: i64| {
        Value::Struct(vec![
            (Name::Name, Value::Str(format!("topic-{at}").into())),
            (Name::Partitions, Value::List((0..10).map(partition).collect())),
        ])
    };
    let broker = |id: i64| {
        let host = Value::Str(format!("broker-{id}.internal").into());
        Value::Struct(vec![(Name::NodeId, Value::Int(id)), (Name::Host, host)])
    };
    let mut bytes = Vec::new();
    let set = [
        (Name::Brokers, Value::List((1..4).map(broker).collect())),
        (Name::Topics, Value::List((0..100).map(topic).collect())),
    ];
    layout.write(&set, &mut bytes).unwrap();
    println!("metadata: {} bytes", bytes.len());
    c.bench_function("metadata/parse", |b| b.iter(|| black_box(layout.parse(&bytes).is_ok())));
    c.bench_function("metadata/rewrite", |b| {
        b.iter(|| {
            let view = layout.parse(&bytes).unwrap();
            let changed = rewrite(view, |view| {
                Ok(match view.text(Name::Host) {
                    Ok(Some(_)) => Change::Set(vec![(Name::Host, "gateway.example".into())]),
                    _ => Change::Keep,
                })
            });
            black_box(changed.unwrap().map(|bytes| bytes.len()))
        });
    });
}

criterion_group!(benches, batches, messages);
criterion_main!(benches);
