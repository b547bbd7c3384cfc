//! The broker as a connection of its own sees it.

use std::path::Path;

use sluicegate_wire::{
    View,
    batch::{Attributes, Batches, Head, Headers, Record, Writer},
    compress::Codec,
};

use super::*;
use crate::{
    ambient::ManualClock,
    deliver::{
        Pipeline as _,
        kafka::{Cluster, Upstream},
    },
};

const PRODUCE: (Key, i16) = (Key::Produce, 9);
const FETCH: (Key, i16) = (Key::Fetch, 12);

async fn broker(file: &Path) -> (Arc<Embedded>, Arc<Broker>) {
    let clock = Arc::new(ManualClock::at_us(1_000_000));
    let ambient = Ambient { clock: clock.clone(), ..Ambient::system() };
    let log = Arc::new(Embedded::open(file, 3, clock).await.unwrap());
    (log.clone(), Arc::new(Broker::new("eu", log, ambient)))
}

/// An answer's body, to be looked at.
struct Said(Vec<u8>, (Key, i16));

impl Said {
    fn view(&self) -> View<'_> {
        let (key, version) = self.1;
        layout(key, Direction::Response, version).unwrap().1.parse(&self.0).unwrap()
    }
}

async fn ask(broker: &Arc<Broker>, what: (Key, i16), set: &[(Name, Value<'_>)]) -> Said {
    let cluster = Cluster::new(Upstream::Embedded(broker.clone()), "t".into(), Ambient::system());
    let mut connection = cluster.connect(None).await.unwrap();
    Said(connection.ask(what, set).await.unwrap(), what)
}

fn batch(values: &[&str], codec: Codec, (id, epoch, sequence): (i64, i16, i32)) -> Vec<u8> {
    let head = Head {
        base_offset: 0,
        leader_epoch: -1,
        attributes: Attributes(0),
        last_offset_delta: i32::try_from(values.len()).unwrap() - 1,
        base_timestamp: 5,
        max_timestamp: 5,
        producer_id: id,
        producer_epoch: epoch,
        base_sequence: sequence,
    };
    let (mut out, mut space) = (Vec::new(), Vec::new());
    let mut writer = Writer::new(head, codec, &mut out, &mut space);
    for (offset_delta, value) in (0..).zip(values) {
        writer.push(&Record {
            attributes: 0,
            timestamp_delta: 0,
            offset_delta,
            key: None,
            value: Some(value.as_bytes()),
            headers: Headers::NONE,
        });
    }
    writer.finish().unwrap();
    out
}

const NOBODY: (i64, i16, i32) = (-1, -1, -1);

/// Code and offset of a batch for `orders`, partition 1.
async fn produce(broker: &Arc<Broker>, batch: Vec<u8>) -> (i16, i64) {
    let part = vec![(Name::Index, int(1)), (Name::Records, Value::Bytes(batch.into()))];
    let parts = (Name::PartitionData, Value::List(vec![Value::Struct(part)]));
    let topic = Value::Struct(vec![(Name::Name, text("orders")), parts]);
    let set = [
        (Name::Acks, int(-1_i16)),
        (Name::TimeoutMs, int(1_000)),
        (Name::TopicData, Value::List(vec![topic])),
    ];
    let said = ask(broker, PRODUCE, &set).await;
    let topic = said.view().structs(Name::Responses).unwrap().next().unwrap().unwrap();
    let part = topic.structs(Name::PartitionResponses).unwrap().next().unwrap().unwrap();
    (part.int(Name::ErrorCode).unwrap(), part.int(Name::BaseOffset).unwrap())
}

/// Code, first and next offset, and the values from an offset of `orders`, partition 1.
async fn fetch(broker: &Arc<Broker>, from: i64, wait_ms: i32) -> (i16, i64, i64, Vec<String>) {
    let part = vec![
        (Name::Partition, int(1)),
        (Name::FetchOffset, int(from)),
        (Name::PartitionMaxBytes, int(1 << 20)),
    ];
    let parts = (Name::Partitions, Value::List(vec![Value::Struct(part)]));
    let topic = Value::Struct(vec![(Name::Topic, text("orders")), parts]);
    let set = [
        (Name::MaxWaitMs, int(wait_ms)),
        (Name::MinBytes, int(1)),
        (Name::Topics, Value::List(vec![topic])),
    ];
    let said = ask(broker, FETCH, &set).await;
    let topic = said.view().structs(Name::Responses).unwrap().next().unwrap().unwrap();
    let part = topic.structs(Name::Partitions).unwrap().next().unwrap().unwrap();
    let mut values = Vec::new();
    for batch in Batches::new(part.data(Name::Records).unwrap().unwrap_or_default()) {
        let (batch, mut space) = (batch.unwrap(), Vec::new());
        assert!(batch.head.attributes.log_append_time());
        let limits =
            sluicegate_wire::batch::Limits { inflated: 1 << 20, records: 100, headers: 10 };
        for record in batch.records(limits, &mut space).unwrap() {
            values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
        }
    }
    let number = |name| part.int(name).unwrap();
    (
        part.int(Name::ErrorCode).unwrap(),
        number(Name::LogStartOffset),
        number(Name::HighWatermark),
        values,
    )
}

#[tokio::test]
async fn batches_of_each_codec_are_read_back_also_after_a_restart_and_over_https() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("eu.db");
    let (log, first) = broker(&file).await;
    assert_eq!(produce(&first, batch(&["a"], Codec::None, NOBODY)).await.0, 3, "no such topic yet");
    log.ensure("orders", None).await.unwrap();
    let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    for (n, codec) in (0..).zip(codecs) {
        let said = produce(&first, batch(&["a", "b"], codec, NOBODY)).await;
        assert_eq!(said, (codes::NONE, n * 2), "{codec:?}");
    }
    log.close().await;
    let (log, again) = broker(&file).await;
    let (code, start, end, values) = fetch(&again, 3, 0).await;
    assert_eq!((code, start, end), (codes::NONE, 0, 10));
    assert_eq!(values, ["b", "a", "b", "a", "b", "a", "b"], "from the middle of a batch on");
    let page = log.read("orders", 1, 0, 100, usize::MAX).await.unwrap();
    assert_eq!((page.records.len(), page.records[0].headers.len()), (10, 0));
    for beyond in [-1, 11] {
        assert_eq!(fetch(&again, beyond, 0).await.0, codes::OFFSET_OUT_OF_RANGE);
    }
}

#[tokio::test]
async fn a_batch_that_comes_again_after_a_restart_has_its_first_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("eu.db");
    let (log, first) = broker(&file).await;
    log.ensure("orders", None).await.unwrap();
    let of = |sequence| batch(&["a", "b"], Codec::None, (7, 0, sequence));
    assert_eq!(produce(&first, of(0)).await, (codes::NONE, 0));
    assert_eq!(produce(&first, of(2)).await, (codes::NONE, 2));
    log.close().await;
    let (log, again) = broker(&file).await;
    assert_eq!(produce(&again, of(0)).await, (codes::NONE, 0));
    assert_eq!(produce(&again, of(2)).await, (codes::NONE, 2));
    assert_eq!(produce(&again, of(6)).await.0, codes::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(produce(&again, of(4)).await, (codes::NONE, 4));
    assert_eq!(log.read("orders", 1, 0, 100, usize::MAX).await.unwrap().end, 6);
    // A producer's id is given out once, also over a restart.
    let mut ids = Vec::new();
    for _ in 0..2 {
        let asked = [(Name::TransactionalId, Value::Null), (Name::TransactionTimeoutMs, int(1))];
        let said = ask(&again, (Key::InitProducerId, 4), &asked).await;
        ids.push(said.view().int::<i64>(Name::ProducerId).unwrap());
    }
    assert!(ids[1] > ids[0]);
}

#[tokio::test]
async fn a_fetch_waits_for_what_comes_and_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let (log, broker) = broker(&dir.path().join("eu.db")).await;
    log.ensure("orders", None).await.unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(fetch(&broker, 0, 300).await.3, Vec::<String>::new());
    assert!(began.elapsed().as_millis() >= 300);
    let waiting = tokio::spawn({
        let broker = broker.clone();
        async move { fetch(&broker, 0, 30_000).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    produce(&broker, batch(&["a"], Codec::None, NOBODY)).await;
    let (.., values) = waiting.await.unwrap();
    assert_eq!(values, ["a"]);
    assert!(began.elapsed().as_secs() < 15);
}

#[tokio::test]
async fn transactions_are_refused_with_words() {
    let dir = tempfile::tempdir().unwrap();
    let (_log, broker) = broker(&dir.path().join("eu.db")).await;
    for version in [1, 4] {
        let asked = match version {
            1 => vec![(Name::Key, text("t")), (Name::KeyType, int(1))],
            _ => {
                vec![(Name::CoordinatorKeys, Value::List(vec![text("t")])), (Name::KeyType, int(1))]
            }
        };
        let said = ask(&broker, (Key::FindCoordinator, version), &asked).await;
        let view = match version {
            1 => said.view(),
            _ => said.view().structs(Name::Coordinators).unwrap().next().unwrap().unwrap(),
        };
        let code = match version {
            1 => codes::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            _ => codes::INVALID_REQUEST,
        };
        assert_eq!(view.int::<i16>(Name::ErrorCode).unwrap(), code);
        let words = view.text(Name::ErrorMessage).unwrap().unwrap();
        assert!(words.contains("no transactions"), "{words}");
    }
    let said = ask(&broker, (Key::ApiVersions, 3), &[]).await;
    let apis = said.view().structs(Name::ApiKeys).unwrap();
    let keys: Vec<i16> = apis.map(|api| api.unwrap().int(Name::ApiKey).unwrap()).collect();
    for key in
        [Key::AddPartitionsToTxn, Key::EndTxn, Key::TxnOffsetCommit, Key::ConsumerGroupHeartbeat]
    {
        assert!(!keys.contains(&(key as i16)), "{key:?}");
    }
}

#[tokio::test]
async fn topics_are_made_listed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (log, broker) = broker(&dir.path().join("eu.db")).await;
    let topic = |name: &str, partitions: i32| {
        Value::Struct(vec![
            (Name::Name, text(name)),
            (Name::NumPartitions, int(partitions)),
            (Name::ReplicationFactor, int(1)),
        ])
    };
    let topics = vec![topic("orders", 2), topic("a/b", -1), topic("many", 1_000), topic("few", -1)];
    let said = ask(&broker, (Key::CreateTopics, 5), &[(Name::Topics, Value::List(topics))]).await;
    let made = said.view().structs(Name::Topics).unwrap();
    let made: Vec<(i16, i32)> = made
        .map(|topic| topic.unwrap())
        .map(|topic| (topic.int(Name::ErrorCode).unwrap(), topic.int(Name::NumPartitions).unwrap()))
        .collect();
    let refused =
        [codes::INVALID_TOPIC_EXCEPTION, codes::INVALID_PARTITIONS].map(|code| (code, -1));
    assert_eq!(made, [(0, 2), refused[0], refused[1], (0, 3)]);
    produce(&broker, batch(&["a"], Codec::None, (7, 0, 0))).await;
    let names = Value::List(vec![text("orders"), text("none")]);
    let said = ask(&broker, (Key::DeleteTopics, 4), &[(Name::TopicNames, names)]).await;
    let gone = said.view().structs(Name::Responses).unwrap();
    let gone: Vec<i16> = gone.map(|topic| topic.unwrap().int(Name::ErrorCode).unwrap()).collect();
    assert_eq!(gone, [codes::NONE, codes::UNKNOWN_TOPIC_OR_PARTITION]);
    // Made again, nothing of what it was is left.
    log.ensure("orders", None).await.unwrap();
    assert_eq!(produce(&broker, batch(&["b"], Codec::None, (7, 0, 0))).await, (codes::NONE, 0));
    assert_eq!(fetch(&broker, 0, 0).await.3, ["b"]);
}
