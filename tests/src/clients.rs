//! Kafka's clients as their users have them, each a program behind one command line (`tests/clients/run`).
//!
//! A client that refuses, is refused or gives up is an outcome ([`Run::error`]); a program that fails ends the test.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::components;

/// Longer than any client needs for what a test asks of it; then it is ended.
const RUNS_WITHIN_S: u32 = 180;

/// The error of a client that has no such feature at all.
pub const UNSUPPORTED: &str = "UNSUPPORTED";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    Java,
    Librdkafka,
    Kcat,
    Kafkajs,
    Platformatic,
    FranzGo,
    Sarama,
}

impl Client {
    pub const ALL: [Self; 7] = [
        Self::Java,
        Self::Librdkafka,
        Self::Kcat,
        Self::Kafkajs,
        Self::Platformatic,
        Self::FranzGo,
        Self::Sarama,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Java => "java",
            Self::Librdkafka => "librdkafka",
            Self::Kcat => "kcat",
            Self::Kafkajs => "kafkajs",
            Self::Platformatic => "platformatic",
            Self::FranzGo => "franz-go",
            Self::Sarama => "sarama",
        }
    }

    pub async fn produce(self, what: &Produce) -> Run<Acked> {
        let mut arguments = what.access.arguments();
        let count = what.count.to_string();
        for (name, value) in [
            ("--topic", what.topic.as_str()),
            ("--count", &count),
            ("--size", &what.size.to_string()),
            ("--value", &what.value),
            ("--codec", what.codec),
            ("--acks", what.acks),
            ("--timeout-s", &what.timeout_s.to_string()),
        ] {
            arguments.extend([name.to_owned(), value.to_owned()]);
        }
        optional(&mut arguments, "--key-prefix", what.key_prefix.as_ref());
        optional(&mut arguments, "--transaction", what.transaction.as_ref());
        optional(&mut arguments, "--rate", what.rate.map(|rate| rate.to_string()).as_ref());
        arguments.extend(what.idempotent.then(|| "--idempotent".to_owned()));
        arguments.extend(what.abort.then(|| "--abort".to_owned()));
        self.run("produce", &what.access, arguments, acked).await
    }

    pub async fn consume(self, what: &Consume) -> Run<Consumed> {
        let mut arguments = what.access.arguments();
        for (name, value) in [
            ("--topic", what.topic.as_str()),
            ("--group", &what.group),
            ("--protocol", what.protocol),
            ("--isolation", what.isolation),
            ("--timeout-s", &what.timeout_s.to_string()),
        ] {
            arguments.extend([name.to_owned(), value.to_owned()]);
        }
        optional(&mut arguments, "--static", what.instance.as_ref());
        optional(&mut arguments, "--rate", what.rate.map(|rate| rate.to_string()).as_ref());
        optional(&mut arguments, "--max", what.max.map(|max| max.to_string()).as_ref());
        arguments.extend(what.from_beginning.then(|| "--from-beginning".to_owned()));
        self.run("consume", &what.access, arguments, consumed).await
    }

    async fn run<T: Send + 'static>(
        self,
        action: &'static str,
        access: &Access,
        arguments: Vec<String>,
        line: fn(&Value) -> T,
    ) -> Run<T> {
        let config = tempfile::NamedTempFile::new().unwrap();
        fs::write(config.path(), &access.config).unwrap();
        let ran = tokio::task::spawn_blocking(move || {
            // `timeout` leads a process group of its own and ends all of it.
            let mut command = Command::new("timeout");
            command.args(["--kill-after=5", &RUNS_WITHIN_S.to_string()]);
            command.arg(components::here().join("clients/run")).args([self.name(), action]);
            command.args(arguments).arg("--config").arg(config.path());
            command.output().unwrap()
        });
        let output = ran.await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let said = || format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{self:?} {action}: {}: {}", output.status, said());
        let mut lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{}", said())))
            .collect();
        let done = lines.pop().filter(|last| last.get("done").is_some());
        let done = done.unwrap_or_else(|| panic!("{self:?} {action} says no end: {}", said()));
        let error = done["error"].as_str().map(str::to_owned);
        Run { client: self, lines: lines.iter().map(line).collect(), error }
    }
}

/// What a client did.
#[derive(Clone, Debug)]
pub struct Run<T> {
    pub client: Client,
    pub lines: Vec<T>,
    /// What ended it early, by Kafka's name or, if the trouble is not Kafka's, by the client's.
    pub error: Option<String>,
}

impl<T> Run<T> {
    /// What it did, if nothing ended it.
    pub fn ok(self) -> Vec<T> {
        assert_eq!(self.error, None, "{:?}, after {} lines", self.client, self.lines.len());
        self.lines
    }
}

impl Run<Acked> {
    /// Where each record went, by its number; none may have failed.
    pub fn places(self) -> Vec<(i32, i64)> {
        let client = self.client;
        let mut acks = self.ok();
        acks.sort_by_key(|ack| ack.n);
        let place =
            |ack: Acked| ack.outcome.unwrap_or_else(|e| panic!("{client:?}: {}: {e}", ack.n));
        acks.into_iter().map(place).collect()
    }
}

/// A record's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acked {
    pub n: usize,
    /// Its partition and offset, which is -1 if the client was not told; or why it was refused.
    pub outcome: Result<(i32, i64), String>,
}

/// A record as a client hands it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumed {
    pub partition: i32,
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<String>,
    pub value: Option<String>,
    pub headers: Vec<(String, Option<String>)>,
}

/// Where, and as whom.
#[derive(Clone)]
pub struct Access {
    pub bootstrap: String,
    /// The lines of `--config`.
    config: String,
}

impl Access {
    pub fn plaintext(bootstrap: &str) -> Self {
        Self { bootstrap: bootstrap.to_owned(), config: String::new() }
            .with("security", "plaintext")
    }

    /// `ca`: a file with the certificates to trust.
    pub fn tls(bootstrap: &str, ca: &Path) -> Self {
        let access = Self { bootstrap: bootstrap.to_owned(), config: String::new() };
        access.with("security", "tls").with("ca", ca.to_str().unwrap())
    }

    /// With a client certificate and its PKCS#8 key, both in PEM.
    pub fn certificate(self, certificate: &Path, key: &Path) -> Self {
        self.with("certificate", certificate.to_str().unwrap()).with("key", key.to_str().unwrap())
    }

    /// `mechanism`: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub fn password(self, mechanism: &str, username: &str, password: &str) -> Self {
        self.sasl(mechanism).with("username", username).with("password", password)
    }

    /// By the token in this file.
    pub fn token(self, file: &Path) -> Self {
        self.sasl("OAUTHBEARER").with("token-file", file.to_str().unwrap())
    }

    fn sasl(mut self, mechanism: &str) -> Self {
        self.config = self.config.replacen("security=", "security=sasl-", 1);
        self.with("mechanism", mechanism)
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.config += &format!("{name}={value}\n");
        self
    }

    fn arguments(&self) -> Vec<String> {
        vec!["--bootstrap".to_owned(), self.bootstrap.clone()]
    }
}

/// `..Produce::new(…)` fills in what a test does not care for.
#[derive(Clone)]
pub struct Produce {
    pub access: Access,
    pub topic: String,
    pub count: usize,
    /// At least so many bytes a value, by a field `pad`.
    pub size: usize,
    /// A JSON object in which `%d` is the record's number; or `null`: tombstones.
    pub value: String,
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    pub codec: &'static str,
    /// `0`, `1` or `all`.
    pub acks: &'static str,
    /// The key is this and the record's number; none: no key.
    pub key_prefix: Option<String>,
    pub idempotent: bool,
    /// All records in one transaction of this id.
    pub transaction: Option<String>,
    /// End the transaction by aborting it.
    pub abort: bool,
    /// How long the client tries.
    pub timeout_s: u32,
    /// So many records a second at most: Java and librdkafka only.
    pub rate: Option<u32>,
}

impl Produce {
    pub fn new(access: &Access, topic: &str, count: usize) -> Self {
        Self {
            access: access.clone(),
            topic: topic.to_owned(),
            count,
            size: 0,
            value: r#"{"n":%d}"#.to_owned(),
            codec: "none",
            acks: "all",
            key_prefix: None,
            idempotent: false,
            transaction: None,
            abort: false,
            timeout_s: 30,
            rate: None,
        }
    }
}

/// `..Consume::new(…)` fills in what a test does not care for.
#[derive(Clone)]
pub struct Consume {
    pub access: Access,
    pub topic: String,
    pub group: String,
    /// `classic`, or `consumer` (KIP-848).
    pub protocol: &'static str,
    /// `read_uncommitted` or `read_committed`.
    pub isolation: &'static str,
    /// Static membership under this name.
    pub instance: Option<String>,
    /// It ends after so many records, or after `timeout_s` seconds without one.
    pub max: Option<usize>,
    pub timeout_s: u32,
    /// Where the group has no offset: all there is, or only what comes.
    pub from_beginning: bool,
    /// So many records a second at most: Java and librdkafka only.
    pub rate: Option<u32>,
}

impl Consume {
    pub fn new(access: &Access, topic: &str, group: &str) -> Self {
        Self {
            access: access.clone(),
            topic: topic.to_owned(),
            group: group.to_owned(),
            protocol: "classic",
            isolation: "read_committed",
            instance: None,
            max: None,
            timeout_s: 10,
            from_beginning: true,
            rate: None,
        }
    }
}

fn optional(arguments: &mut Vec<String>, name: &str, value: Option<&String>) {
    arguments.extend(value.into_iter().flat_map(|value| [name.to_owned(), value.clone()]));
}

fn number(line: &Value, name: &str) -> i64 {
    line[name].as_i64().unwrap_or_else(|| panic!("no `{name}` in {line}"))
}

fn partition(line: &Value) -> i32 {
    i32::try_from(number(line, "partition")).unwrap()
}

fn acked(line: &Value) -> Acked {
    let outcome = match line["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok((partition(line), number(line, "offset"))),
    };
    Acked { n: usize::try_from(number(line, "n")).unwrap(), outcome }
}

fn consumed(line: &Value) -> Consumed {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let header = |pair: &Value| (text(&pair[0]).unwrap(), text(&pair[1]));
    Consumed {
        partition: partition(line),
        offset: number(line, "offset"),
        timestamp: number(line, "timestamp"),
        key: text(&line["key"]),
        value: text(&line["value"]),
        headers: line["headers"].as_array().unwrap().iter().map(header).collect(),
    }
}
