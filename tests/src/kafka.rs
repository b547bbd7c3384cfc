//! Apache Kafka: topics, reading them back by two independent clients, and private brokers that a test may
//! stop, kill or freeze.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use krafka::{
    Kafka,
    admin::NewTopic,
    consumer::{AutoOffsetReset, IsolationLevel},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    ca::{Ca, replace},
    components,
    process::{Process, Signal, eventually, free_port},
};

const STARTS_WITHIN: Duration = Duration::from_secs(120);
const STOPS_WITHIN: Duration = Duration::from_secs(30);
const READS_WITHIN: Duration = Duration::from_secs(60);

/// A record as it stands in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A topic name nobody used before.
pub fn fresh_name(stem: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{stem}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A client over a plaintext listener.
pub async fn connect(bootstrap: &str) -> Kafka {
    Kafka::builder(bootstrap).client_id("house-tests").connect().await.unwrap()
}

/// Makes a topic; returns once every partition has a leader that answers for it.
pub async fn create_topic(bootstrap: &str, topic: &str, partitions: i32) {
    let kafka = connect(bootstrap).await;
    let admin = kafka.admin();
    let wanted = NewTopic::new(topic, partitions, 1).unwrap();
    for (_topic, created) in admin.create_topics([wanted], Default::default()).await.unwrap() {
        created.unwrap();
    }
    admin.close().await.unwrap();
    let consumer = kafka.consumer_without_group().build().await.unwrap();
    for partition in 0..partitions {
        let led = eventually(READS_WITHIN, async || {
            consumer.fetch_watermarks(topic, partition).await.ok()
        });
        assert!(led.await.is_some(), "{topic}: partition {partition} has no leader");
    }
    consumer.close().await.unwrap();
}

/// The whole topic by the product's own client library: quick, but no independent witness.
pub async fn read(bootstrap: &str, topic: &str) -> Vec<Record> {
    let kafka = connect(bootstrap).await;
    let consumer = kafka
        .consumer_without_group()
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .isolation_level(IsolationLevel::ReadCommitted)
        .build()
        .await
        .unwrap();
    let known = consumer.fetch_metadata(Some(topic)).await.unwrap();
    let partitions: Vec<i32> =
        known.topics.iter().flat_map(|topic| &topic.partitions).map(|(id, _)| *id).collect();
    consumer.assign(topic, partitions.clone()).await.unwrap();
    let mut ends = Vec::new();
    for partition in partitions {
        let (low, high) = consumer.fetch_watermarks(topic, partition).await.unwrap();
        if high > low {
            ends.push((partition, high));
        }
    }
    let mut records = Vec::new();
    let all = eventually(READS_WITHIN, async || {
        records.extend(
            consumer.poll(Duration::from_millis(500)).await.unwrap().into_iter().map(owned),
        );
        let mut short = false;
        for (partition, end) in &ends {
            short |= consumer.position(topic, *partition).await.is_none_or(|at| at < *end);
        }
        (!short).then_some(())
    });
    assert!(all.await.is_some(), "{topic}: not read to its end within {READS_WITHIN:?}");
    consumer.close().await.unwrap();
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

fn owned(record: krafka::ConsumerRecord) -> Record {
    Record {
        topic: record.topic.to_string(),
        partition: record.partition,
        offset: record.offset,
        key: record.key.map(|bytes| bytes.to_vec()),
        value: record.value.map(|bytes| bytes.to_vec()),
        headers: record
            .headers
            .into_iter()
            .map(|(name, bytes)| (name, bytes.map(|bytes| bytes.to_vec())))
            .collect(),
    }
}

/// The whole of some topics by librdkafka, which the product does not use: the judge. `python` comes from
/// `require!(judges)`.
pub fn judge(python: &Path, bootstrap: &str, topics: &[&str]) -> Vec<Record> {
    let script = components::here().join("components/kafka/read.py");
    let output = Command::new(python).arg(script).arg(bootstrap).args(topics).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let mut records: Vec<Record> = lines.lines().map(judged).collect();
    records
        .sort_by(|a, b| (&a.topic, a.partition, a.offset).cmp(&(&b.topic, b.partition, b.offset)));
    records
}

fn judged(line: &str) -> Record {
    let json: Value = serde_json::from_str(line).unwrap();
    let number = |name: &str| json[name].as_i64().unwrap();
    let header = |pair: &Value| (pair[0].as_str().unwrap().to_owned(), bytes(&pair[1]));
    Record {
        topic: json["topic"].as_str().unwrap().to_owned(),
        partition: i32::try_from(number("partition")).unwrap(),
        offset: number("offset"),
        key: bytes(&json["key"]),
        value: bytes(&json["value"]),
        headers: json["headers"].as_array().unwrap().iter().map(header).collect(),
    }
}

fn bytes(json: &Value) -> Option<Vec<u8>> {
    json.as_str().map(|text| STANDARD.decode(text).unwrap())
}

/// A single-node cluster for tests that stop, kill or freeze it. Same ports and data after every start.
pub struct PrivateKafka {
    dir: TempDir,
    plain: u16,
    tls: u16,
    controller: u16,
    process: Option<Process>,
}

impl PrivateKafka {
    /// `ca` signs the certificate of its TLS listener. `extra`: lines for its properties file.
    pub async fn start(ca: &Ca, extra: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("sluicegate-kafka").tempdir().unwrap();
        replace(&dir.path().join("server.pem"), &ca.server().key_store(ca));
        replace(&dir.path().join("extra.properties"), extra);
        let (plain, tls, controller) = (free_port(), free_port(), free_port());
        let mut broker = Self { dir, plain, tls, controller, process: None };
        broker.start_again().await;
        broker
    }

    pub fn plain(&self) -> String {
        format!("127.0.0.1:{}", self.plain)
    }

    pub fn tls(&self) -> String {
        format!("127.0.0.1:{}", self.tls)
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("broker.log")
    }

    /// Starts it after [`stop`](Self::stop) or [`kill`](Self::kill); returns once it takes requests.
    pub async fn start_again(&mut self) {
        let log = self.log();
        let _first_time = fs::remove_file(&log);
        let mut node = Command::new(components::here().join("components/kafka/node"));
        node.arg(self.dir.path());
        node.args([self.plain, self.tls, self.controller].map(|port| port.to_string()));
        node.arg(components::here().join(".cache/kafka"));
        self.process = Some(Process::start(&mut node, &log, &log));
        let up = eventually(STARTS_WITHIN, async || {
            let text = fs::read_to_string(&log).unwrap();
            assert!(self.process.as_mut().unwrap().ended().is_none(), "{text}");
            text.contains("Kafka Server started").then_some(())
        });
        assert!(up.await.is_some(), "no broker within {STARTS_WITHIN:?}");
    }

    /// In order.
    pub async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::Term);
            assert!(process.wait(STOPS_WITHIN).await.is_some(), "the broker does not stop");
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        drop(self.process.take());
    }

    /// Connections stay open and nothing answers, until [`thaw`](Self::thaw).
    pub fn freeze(&mut self) {
        self.process.as_mut().unwrap().signal(Signal::Stop);
    }

    pub fn thaw(&mut self) {
        self.process.as_mut().unwrap().signal(Signal::Cont);
    }
}
