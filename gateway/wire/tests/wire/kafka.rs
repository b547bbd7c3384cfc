//! The crate against Kafka's own client in three releases: messages by its JSON converters, batches by its record
//! classes, logins by its SASL clients. `Oracle.java` asks them; `tests/all` fetches the jars.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value as Json, json};
use sluicegate_wire::{Api, Direction, Key, RELEASE, codes, request_header, sasl};

use crate::{
    batches::{random_batch, same_content, seen},
    common::{Random, each, json, read, written},
};

const RELEASES: [&str; 3] = ["3.9.2", "4.3.1", "4.4.0"];

/// Fields that had another name before a release; on the wire they are the same. API, release, name since, name before.
const RENAMED: [(Key, &str, &str, &str); 4] = [
    (Key::TxnOffsetCommit, "4.4.0", "generationIdOrMemberEpoch", "generationId"),
    (Key::StreamsGroupHeartbeat, "4.4.0", "acceptableRecoveryLagLegacy", "acceptableRecoveryLag"),
    (Key::ListConfigResources, "4.3.1", "configResources", "clientMetricsResources"),
    (Key::ListConfigResources, "4.3.1", "resourceName", "name"),
];

/// JSON in the words of a release.
fn in_words_of(release: &str, key: Key, json: &Json) -> Json {
    let mut text = json.to_string();
    for (api, since, new, old) in RENAMED {
        if api == key && release < since {
            text = text.replace(&format!("\"{new}\":"), &format!("\"{old}\":"));
        }
    }
    serde_json::from_str(&text).unwrap()
}

/// The folder with the jars; nothing if the tests shall do without.
fn jars() -> Option<PathBuf> {
    let cache = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/.cache"));
    if cache.join("kafka-clients/.of").exists() && cache.join("kafka/.of").exists() {
        return Some(cache);
    }
    let all = env::var_os("SLUICEGATE_TEST_ALL").is_some_and(|value| value == "1");
    assert!(!all, "Kafka's jars are needed, and in this run everything must be there");
    eprintln!("left out: needs Kafka's jars (tests/all brings them)");
    None
}

fn jar(cache: &Path, release: &str) -> PathBuf {
    cache.join(format!("kafka-clients/kafka-clients-{release}.jar"))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "-".to_owned();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &Json) -> Vec<u8> {
    let text = text.as_str().unwrap();
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

struct Oracle {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

impl Oracle {
    fn start(cache: &Path, release: &str) -> Self {
        let source = include_str!("Oracle.java");
        // The classes moved in release 4.
        let source = match release.starts_with('3') {
            true => source.replace("record.internal.", "record."),
            false => source.to_owned(),
        };
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("Oracle.java");
        fs::write(&program, source).unwrap();
        // The client itself first; what it needs besides is that of the broker's release.
        let path = format!("{}:{}/kafka/*", jar(cache, release).display(), cache.display());
        let mut process = Command::new("java")
            .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-cp", &path])
            .arg(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let questions = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { process, questions, answers, _folder: folder }
    }

    fn ask(&mut self, question: &str) -> Json {
        writeln!(self.questions, "{question}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let answer: Json = serde_json::from_str(&line).unwrap();
        assert_eq!(answer.get("error"), None, "{question}");
        answer
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}

fn messages(release: &str) {
    let Some(cache) = jars() else { return };
    let mut oracle = Oracle::start(&cache, release);
    let versions = oracle.ask("versions");
    let mut compared = 0;
    each(4, |api, direction, layout, random| {
        let (key, version) = (api.key as i16, layout.version);
        let known = &versions[key.to_string()];
        let within = |at: usize| known.get(at).and_then(Json::as_i64);
        let (Some(first), Some(last)) = (within(0), within(1)) else { return };
        if !(first..=last).contains(&version.into()) {
            return;
        }
        let set = random.fields(layout);
        let bytes = written(layout, &set);
        let place = format!("{:?} {direction:?} {version} at {release}", api.key);
        let name = match direction {
            Direction::Request => "request",
            Direction::Response => "response",
        };
        let asked = in_words_of(release, api.key, &json(layout, &set, false));
        let answer = oracle.ask(&format!("message {key} {name} {version} {} {asked}", hex(&bytes)));
        // What Kafka writes of the same content, what it reads of ours, and ours through it.
        assert_eq!(unhex(&answer["wrote"]), bytes, "{place}: {asked}");
        assert_eq!(answer["left"], 0, "{place}");
        assert_eq!(unhex(&answer["again"]), bytes, "{place}");
        let ours = json(layout, &read(layout.parse(&bytes).unwrap()), true);
        assert_eq!(answer["read"], in_words_of(release, api.key, &ours), "{place}");
        compared += 1;
        if direction == Direction::Request {
            headers(&mut oracle, api, version, random);
        }
    });
    println!("{compared} messages compared with Kafka {release}");
    assert!(compared > 1000, "{compared}");
}

fn headers(oracle: &mut Oracle, api: &'static Api, version: i16, random: &mut Random) {
    let correlation = random.next() as i32;
    let client = ["", "a client", "größer"][random.below(3) as usize];
    let client = (random.below(4) > 0).then_some(client);
    let key = api.key as i16;
    let header =
        sluicegate_wire::Header { key, version, correlation, client, api: Some(api), body: &[] };
    let mut frame = Vec::new();
    header.write(api, &mut frame);
    let answer = oracle.ask(&format!("header {}", hex(&frame)));
    // Kafka takes a client without a name for one with an empty name.
    let name = client.unwrap_or_default();
    let expected = json!({
        "key": key, "version": version, "correlation": correlation, "client": name, "left": 0,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&answer[field], value, "{:?} {version}", api.key);
    }
    let read = request_header(&frame).unwrap();
    assert_eq!((read.client, read.correlation, read.body.len()), (client, correlation, 0));
    let mut response = Vec::new();
    api.response_header(version, correlation, &mut response);
    assert_eq!(answer["flexible_response"], response.len() > 4, "{:?} {version}", api.key);
}

#[test]
fn messages_are_those_of_kafka_3_9_2() {
    messages(RELEASES[0]);
}

#[test]
fn messages_are_those_of_kafka_4_3_1() {
    messages(RELEASES[1]);
}

#[test]
fn messages_are_those_of_kafka_4_4_0() {
    messages(RELEASES[2]);
}

#[test]
fn tables_are_those_of_the_definitions() {
    let Some(cache) = jars() else { return };
    let made = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/generate.py"))
        .arg(jar(&cache, RELEASE))
        .arg("--check")
        .status();
    assert!(made.unwrap().success(), "run generate.py");
}

#[test]
fn codes_are_those_of_kafka() {
    let Some(cache) = jars() else { return };
    let known = Oracle::start(&cache, RELEASE).ask("errors");
    for (name, code) in codes::ALL {
        assert_eq!(known[name], *code, "{name}");
    }
}

#[test]
fn batches_are_read_and_made_as_by_kafka() {
    let Some(cache) = jars() else { return };
    for release in RELEASES {
        let mut oracle = Oracle::start(&cache, release);
        let mut random = Random(7);
        for _ in 0..200 {
            let bytes = random_batch(&mut random);
            let answer = oracle.ask(&format!("batch {}", hex(&bytes)));
            assert_eq!(answer["batches"], seen(&bytes), "{release}");
            let made = unhex(&answer["made"]);
            if !made.is_empty() {
                same_content(&bytes, &made);
            }
        }
    }
}

#[test]
fn logins_of_kafkas_clients_are_understood() {
    let Some(cache) = jars() else { return };
    let mut oracle = Oracle::start(&cache, RELEASE);
    let password = "pass,word=";
    let iterations = 4096.try_into().unwrap();
    for mechanism in [sasl::scram::Mechanism::Sha256, sasl::scram::Mechanism::Sha512] {
        for (said, right) in [(password, true), ("another", false)] {
            let question = format!(
                "scram {} {} {}",
                mechanism.name(),
                hex("na,me=ü".as_bytes()),
                hex(said.as_bytes())
            );
            let first = unhex(&oracle.ask(&question)["says"]);
            let first = sasl::scram::First::parse(&first).unwrap();
            assert_eq!(first.name(), "na,me=ü");
            let keys = sasl::scram::Keys::derive(mechanism, password, b"a salt", iterations);
            let keys = keys.unwrap();
            assert_eq!(keys.accept(said), right);
            let (challenge, waiting) = first.challenge(keys, "server-nonce");
            let proof = oracle.ask(&format!("challenge {}", hex(challenge.as_bytes())));
            let answer = waiting.verify(&unhex(&proof["says"]), sasl::scram::Nonces::Exact);
            assert_eq!(answer.is_ok(), right);
            if let Ok(answer) = answer {
                let end = oracle.ask(&format!("challenge {}", hex(answer.as_bytes())));
                assert_eq!(end["complete"], true);
            }
        }
    }
    let says = unhex(&oracle.ask(&format!("bearer {}", hex(b"a.b-c_d")))["says"]);
    let bearer = sasl::bearer::parse(&says).unwrap();
    assert_eq!((bearer.token, bearer.authorization), ("a.b-c_d", None));
    let end = oracle.ask(&format!("challenge {}", hex(sasl::bearer::REFUSAL)));
    assert_eq!(unhex(&end["says"]), sasl::bearer::ACKNOWLEDGEMENT);
}
