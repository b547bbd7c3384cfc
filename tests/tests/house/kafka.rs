//! The brokers the other tests stand on: topics hold what was sent, over both listeners, and a private
//! broker keeps what it acknowledged when it is killed.

use krafka::{
    Kafka, Record,
    auth::{AuthConfig, TlsConfig},
};
use sluicegate_tests::{
    ca::Ca,
    clients::{Access, Client, Consume, Produce},
    kafka::{
        PrivateKafka, ThreeBrokers, create_topic, create_topic_with, dump, fresh_name, judge, read,
    },
    require,
};

async fn send(kafka: &Kafka, topic: &str, count: usize) {
    let producer = kafka.producer().build().await.unwrap();
    for number in 0..count {
        let record = Record::new(topic, format!("{{\"n\":{number}}}"))
            .key(format!("key-{number}"))
            .header("kind", "test");
        let _placed = producer.send(record).await.unwrap();
    }
    producer.close().await.unwrap();
}

#[tokio::test]
async fn both_clients_read_back_what_was_sent_in_both_regions() {
    let clusters = require!(kafka);
    let python = require!(judges);
    for cluster in [&clusters.eu, &clusters.us] {
        let topic = fresh_name("round-trip");
        create_topic(&cluster.plain, &topic, 4).await;
        let security =
            AuthConfig::ssl(TlsConfig::new().with_ca_cert(clusters.ca.to_str().unwrap()));
        let kafka = Kafka::builder(&cluster.tls).security(security).connect().await.unwrap();
        send(&kafka, &topic, 50).await;
        let ours = read(&cluster.plain, &topic).await;
        assert_eq!(ours.len(), 50);
        assert!(
            ours.iter().all(|record| record.headers == [("kind".into(), Some(b"test".to_vec()))])
        );
        assert_eq!(ours, judge(&python, &cluster.plain, &[&topic]));
    }
}

#[tokio::test]
async fn an_empty_topic_reads_as_empty() {
    let clusters = require!(kafka);
    let python = require!(judges);
    let topic = fresh_name("empty");
    create_topic(&clusters.eu.plain, &topic, 2).await;
    assert_eq!(read(&clusters.eu.plain, &topic).await, []);
    assert_eq!(judge(&python, &clusters.eu.plain, &[&topic]), []);
}

#[tokio::test]
async fn a_private_broker_keeps_its_records_when_killed() {
    require!(servers);
    let ca = Ca::new("private");
    let mut broker = PrivateKafka::start(&ca, "message.max.bytes=1000000\n").await;
    create_topic(&broker.plain(), "kept", 1).await;
    send(&sluicegate_tests::kafka::connect(&broker.plain()).await, "kept", 10).await;
    broker.kill();
    broker.start_again().await;
    assert_eq!(read(&broker.plain(), "kept").await.len(), 10);
    broker.stop().await;
}

/// Three brokers take a gigabyte and more: by `tests/campaign brokers` only.
#[tokio::test]
async fn what_was_acknowledged_outlives_its_leader() {
    let Ok(release) = std::env::var("SLUICEGATE_CAMPAIGN_BROKERS") else { return };
    require!(clients);
    let mut cluster = ThreeBrokers::start(&release, &Ca::new("three"), "").await;
    create_topic_with(&cluster.plain(), "kept", 1, 3, &[("cleanup.policy", "compact")]).await;
    let access = Access::plaintext(&cluster.plain());
    let produce = Produce {
        codec: "zstd",
        idempotent: true,
        key_prefix: Some("key-".to_owned()),
        ..Produce::new(&access, "kept", 100)
    };
    let mut places = Client::Java.produce(&produce).await.places();
    let killed = cluster.leader("kept", 0).await.unwrap();
    cluster.brokers[killed].kill();
    places.extend(Client::Librdkafka.produce(&produce).await.places());
    assert_eq!(places, (0..200).map(|offset| (0, offset)).collect::<Vec<_>>());
    let consume = Consume { max: Some(200), ..Consume::new(&access, "kept", "readers") };
    assert_eq!(Client::Java.consume(&consume).await.ok().len(), 200);
    assert_ne!(cluster.leader("kept", 0).await, Some(killed));
    cluster.brokers[killed].start_again().await;
    for (at, broker) in cluster.brokers.iter().enumerate() {
        let log = dump(&broker.logs(), "kept", 0);
        assert!(log.contains("compresscodec: zstd"), "broker {}: {log}", at + 1);
        assert!(log.contains(r#"key: key-99 payload: {"n":99}"#), "broker {}: {log}", at + 1);
    }
}

/// `kafka::permit` names one pattern type and means another. The gateway itself neither makes nor reads rights.
#[test]
fn the_clients_numbers_of_patterns_are_one_too_low() {
    use krafka::admin::AclPatternType;
    const LITERAL: i8 = 3;
    assert_eq!(AclPatternType::Prefixed.to_i8(), LITERAL, "`permit` means Literal: say it");
}
