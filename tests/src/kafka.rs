//! Apache Kafka: topics, reading them back by two independent clients, and private brokers that a test may
//! stop, kill or freeze.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use krafka::{
    Kafka,
    admin::{
        AclBinding, AclOperation, AclPatternType, ElectionType, NewTopic, ScramCredentialUpsertion,
        TopicPartition,
    },
    auth::ScramMechanism,
    consumer::{AutoOffsetReset, IsolationLevel},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    ca::{Ca, replace},
    components,
    process::{Process, Signal, eventually, free_port},
};

const STARTED: &str = "Kafka Server started";
const STARTS_WITHIN: Duration = Duration::from_secs(120);
const STOPS_WITHIN: Duration = Duration::from_secs(30);
const READS_WITHIN: Duration = Duration::from_secs(60);

/// A record as it is in a topic.
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

const BROKERS_CHOICE: i16 = -1;

/// Makes a topic, with as many copies as brokers make by themselves; returns once every partition has a leader that answers for it.
pub async fn create_topic(bootstrap: &str, topic: &str, partitions: i32) {
    create(bootstrap, NewTopic::new(topic, partitions, BROKERS_CHOICE).unwrap()).await;
}

/// The same, for batches of at most so many bytes.
pub async fn create_small_topic(bootstrap: &str, topic: &str, batch_bytes: u32) {
    let bytes = batch_bytes.to_string();
    create_topic_with(bootstrap, topic, 1, 1, &[("max.message.bytes", &bytes)]).await;
}

/// The same, with copies on so many brokers and with these settings (`cleanup.policy` and so on).
pub async fn create_topic_with(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    replicas: i16,
    settings: &[(&str, &str)],
) {
    let wanted = NewTopic::new(topic, partitions, replicas).unwrap();
    let with = |topic: NewTopic, (name, value): &(&str, &str)| topic.with_config(*name, *value);
    create(bootstrap, settings.iter().fold(wanted, with)).await;
}

async fn create(bootstrap: &str, wanted: NewTopic) {
    let (topic, partitions) = (wanted.name.clone(), wanted.num_partitions);
    let kafka = connect(bootstrap).await;
    let admin = kafka.admin();
    for (_topic, created) in admin.create_topics([wanted], Default::default()).await.unwrap() {
        created.unwrap();
    }
    admin.close().await.unwrap();
    let consumer = kafka.consumer_without_group().build().await.unwrap();
    for partition in 0..partitions {
        let led = eventually(READS_WITHIN, async || {
            consumer.fetch_watermarks(&topic, partition).await.ok()
        });
        assert!(led.await.is_some(), "{topic}: partition {partition} has no leader");
    }
    consumer.close().await.unwrap();
}

/// The whole topic by the product's own client library: quick, but no independent witness.
pub async fn read(bootstrap: &str, topic: &str) -> Vec<Record> {
    read_as(bootstrap, topic, IsolationLevel::ReadCommitted).await
}

/// The same, with what transactions have taken back.
pub async fn read_uncommitted(bootstrap: &str, topic: &str) -> Vec<Record> {
    read_as(bootstrap, topic, IsolationLevel::ReadUncommitted).await
}

async fn read_as(bootstrap: &str, topic: &str, isolation: IsolationLevel) -> Vec<Record> {
    let kafka = connect(bootstrap).await;
    let consumer = kafka
        .consumer_without_group()
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .isolation_level(isolation)
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

/// What is in a partition's log on a broker's disk (`log.dirs`), batch by batch and record by record, in the words of
/// Kafka's own `DumpLogSegments`.
pub fn dump(logs: &Path, topic: &str, partition: i32) -> String {
    let folder = logs.join(format!("{topic}-{partition}"));
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let segment = |file: &PathBuf| file.extension().is_some_and(|found| found == "log");
    let mut segments: Vec<_> =
        files.filter(segment).map(|file| file.to_str().unwrap().to_owned()).collect();
    segments.sort();
    let mut tool = Command::new("java");
    tool.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=OFF", "-cp"]);
    tool.arg(jars(DEFAULT_RELEASE).join("*")).arg("org.apache.kafka.tools.DumpLogSegments");
    tool.args(["--deep-iteration", "--print-data-log", "--files", &segments.join(",")]);
    let output = tool.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// That of `components/kafka/pom.xml`. The Kafka face is tested with [`RELEASES`], one a run.
pub const DEFAULT_RELEASE: &str = "4.3.1";
pub const RELEASES: [&str; 3] = ["3.9.2", DEFAULT_RELEASE, "4.4.0"];

/// The one that `tests/all` started.
pub fn release() -> String {
    env::var("SLUICEGATE_TEST_KAFKA_VERSION").unwrap_or_else(|_| DEFAULT_RELEASE.to_owned())
}

/// Where `tests/components/packages.sh` puts a release.
fn jars(release: &str) -> PathBuf {
    let folder = match release {
        DEFAULT_RELEASE => "kafka".to_owned(),
        other => format!("kafka-{other}"),
    };
    let jars = components::here().join(".cache").join(folder);
    assert!(
        jars.exists(),
        "no {}: SLUICEGATE_TEST_KAFKA_VERSION={release} tests/all fetches it",
        jars.display()
    );
    jars
}

/// A single-node cluster for tests that stop, kill or freeze it. Same ports and data after every start.
pub struct PrivateKafka {
    dir: TempDir,
    jars: PathBuf,
    plain: u16,
    tls: u16,
    controller: u16,
    process: Option<Process>,
}

impl PrivateKafka {
    /// `ca` signs the certificate of its TLS listener. `extra`: lines for its properties file.
    pub async fn start(ca: &Ca, extra: &str) -> Self {
        let mut broker = Self::new(ca, &release());
        replace(&broker.dir.path().join("extra.properties"), extra);
        broker.start_again().await;
        broker
    }

    fn new(ca: &Ca, release: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("sluicegate-kafka").tempdir().unwrap();
        let (plain, tls, controller) = (free_port(), free_port(), free_port());
        let broker = Self { dir, jars: jars(release), plain, tls, controller, process: None };
        broker.certify(ca);
        broker
    }

    /// Its TLS listener shows a certificate of this authority from the next start on.
    pub fn certify(&self, ca: &Ca) {
        replace(&self.dir.path().join("server.pem"), &ca.server().key_store(ca));
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

    /// Its `log.dirs`, for [`dump`].
    pub fn logs(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// Starts it after [`stop`](Self::stop) or [`kill`](Self::kill); returns once it takes requests.
    pub async fn start_again(&mut self) {
        self.launch();
        self.up().await;
    }

    /// The same; returns at once.
    pub fn launch(&mut self) {
        let log = self.log();
        let _first_time = fs::remove_file(&log);
        let mut node = Command::new(components::here().join("components/kafka/node"));
        node.arg(self.dir.path());
        node.args([self.plain, self.tls, self.controller].map(|port| port.to_string()));
        node.arg(&self.jars);
        self.process = Some(Process::start(&mut node, &log, &log));
    }

    /// Whether it takes requests.
    pub fn is_up(&self) -> bool {
        self.process.is_some() && fs::read_to_string(self.log()).unwrap().contains(STARTED)
    }

    /// Returns once it does.
    pub async fn up(&mut self) {
        let log = self.log();
        let up = eventually(STARTS_WITHIN, async || {
            let text = fs::read_to_string(&log).unwrap();
            assert!(self.process.as_mut().unwrap().ended().is_none(), "{text}");
            text.contains(STARTED).then_some(())
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

/// Three brokers of one cluster, each of which may be stopped, killed or frozen. It takes a gigabyte and more: for
/// campaigns.
pub struct ThreeBrokers {
    /// Broker 1 is the first.
    pub brokers: [PrivateKafka; 3],
}

impl ThreeBrokers {
    /// Of this release (one of [`RELEASES`]). Topics have three copies and need two.
    pub async fn start(release: &str, ca: &Ca, extra: &str) -> Self {
        Self::start_behind(release, ca, extra, None).await
    }

    /// The same; at their TLS listeners they call themselves by these ports, of proxies before them.
    pub async fn start_behind(
        release: &str,
        ca: &Ca,
        extra: &str,
        fronts: Option<[u16; 3]>,
    ) -> Self {
        let mut brokers = [(); 3].map(|()| PrivateKafka::new(ca, release));
        let voter = |(at, broker): (usize, &PrivateKafka)| {
            format!("{}@127.0.0.1:{}", at + 1, broker.controller)
        };
        let voters = brokers.iter().enumerate().map(voter).collect::<Vec<_>>().join(",");
        for (at, broker) in brokers.iter_mut().enumerate() {
            let mut node = format!("node.id={}\ncontroller.quorum.voters={voters}\n", at + 1);
            if let Some(fronts) = fronts {
                node += &format!(
                    "advertised.listeners=PLAINTEXT://127.0.0.1:{},SSL://127.0.0.1:{}\n",
                    broker.plain, fronts[at]
                );
            }
            replace(&broker.dir.path().join("extra.properties"), &(node + REPLICATED + extra));
            // 16 bytes in base64.
            replace(&broker.dir.path().join("cluster.id"), "c2x1aWNlZ2F0ZS10ZXN0cw");
            broker.launch();
        }
        for broker in &mut brokers {
            broker.up().await;
        }
        Self { brokers }
    }

    /// All three, over plaintext.
    pub fn plain(&self) -> String {
        self.brokers.each_ref().map(PrivateKafka::plain).join(",")
    }

    /// All three, over TLS.
    pub fn tls(&self) -> String {
        self.brokers.each_ref().map(PrivateKafka::tls).join(",")
    }

    /// Which of [`brokers`](Self::brokers) leads a partition; `None` while nobody does.
    pub async fn leader(&self, topic: &str, partition: i32) -> Option<usize> {
        let consumer = connect(&self.plain()).await.consumer_without_group().build().await.unwrap();
        let known = consumer.fetch_metadata(Some(topic)).await.unwrap();
        consumer.close().await.unwrap();
        let partitions = known.topics.iter().flat_map(|topic| &topic.partitions);
        let (_, led) = partitions.into_iter().find(|(id, _)| **id == partition)?;
        usize::try_from(led.leader - 1).ok()
    }

    /// Another broker leads a partition, and none has died. Nothing happens while brokers are away.
    pub async fn move_leader(&self, topic: &str, partition: i32) -> Option<()> {
        let next = self.leader(topic, partition).await? + 1;
        let order = [0, 1, 2].map(|n| i32::try_from((next + n) % 3 + 1).unwrap());
        let at = TopicPartition::new(topic, partition);
        let kafka = connect(&self.plain()).await;
        let admin = kafka.admin();
        let target = [(at.clone(), Some(order.to_vec()))];
        let _refused =
            admin.alter_partition_reassignments(target, Default::default()).await.ok()?;
        let _refused = admin
            .elect_leaders(ElectionType::Preferred, Some(vec![at]), Default::default())
            .await
            .ok()?;
        admin.close().await.ok()
    }
}

const REPLICATED: &str = "\
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
";

/// Lines for a private broker's properties that make its TLS listener ask for a SCRAM login, close what is
/// idle, have a login repeated, and ask for a right for everything. Whoever comes over the plaintext listener
/// may do all.
pub const GUARDED: &str = "\
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SASL_SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.ssl.scram-sha-256.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.ssl.scram-sha-256.connections.max.reauth.ms=4000
connections.max.idle.ms=3000
connection.failed.authentication.delay.ms=0
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
";

/// Sets a user's password, as an operator does: for logins from now on.
pub async fn set_password(bootstrap: &str, user: &str, password: &str) {
    let salt: [u8; 16] = *b"a salt of a test";
    let mut salted = [0; 32];
    let rounds = std::num::NonZeroU32::new(4_096).unwrap();
    let sha256 = ring::pbkdf2::PBKDF2_HMAC_SHA256;
    ring::pbkdf2::derive(sha256, rounds, &salt, password.as_bytes(), &mut salted);
    let credential = ScramCredentialUpsertion {
        name: user.to_owned(),
        mechanism: ScramMechanism::Sha256,
        iterations: 4_096,
        salt: salt.to_vec().into(),
        salted_password: salted.to_vec().into(),
    };
    let admin = connect(bootstrap).await.admin();
    let set =
        admin.alter_user_scram_credentials(vec![], vec![credential], Default::default()).await;
    for (_user, set) in set.unwrap() {
        set.unwrap();
    }
    admin.close().await.unwrap();
}

/// Lets a user do this with a topic, which need not exist yet.
pub async fn permit(bootstrap: &str, user: &str, topic: &str, operations: &[AclOperation]) {
    let admin = connect(bootstrap).await.admin();
    let right = |operation: &AclOperation| AclBinding {
        operation: *operation,
        // The client's numbers are one too low: on the wire this is the protocol's LITERAL.
        pattern_type: AclPatternType::Prefixed,
        ..AclBinding::allow_all_topic(topic, format!("User:{user}"))
    };
    let rights = operations.iter().map(right).collect();
    for (_right, made) in admin.create_acls(rights, Default::default()).await.unwrap() {
        made.unwrap();
    }
    admin.close().await.unwrap();
}
