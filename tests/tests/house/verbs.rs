//! The command's verbs over what a gateway left behind: lineage, the ledger verified, tampered with and
//! exported; passwords; and the two ways to begin, `init` and `demo`.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use reqwest::Client;
use serde_json::{Value, json};
use sluicegate_tests::{
    ca::{Identity, replace},
    client::trusting,
    gateway::{CONFIG, Gateway, program, run, verifier},
    process::{eventually, free_port},
    setup::Setup,
};
use sqlx::{
    AssertSqlSafe, Connection as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions,
};

const SETTLES_WITHIN: Duration = Duration::from_secs(20);
const STORE: &str = "sqlite:data/ledger.db";
const PASSWORDS: &str = "keys/passwords.yaml";

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The verb's output, after the exit code it must have.
fn verb(dir: &Path, code: i32, arguments: &[&str]) -> String {
    let output = run(dir, arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output));
    text(&output)
}

fn verb_json(dir: &Path, code: i32, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["-o", "json"]].concat();
    serde_json::from_str(&verb(dir, code, &arguments)).unwrap()
}

async fn publish(client: &Client, gateway: &Gateway, topic: &str, record: &Value) -> Value {
    let url = gateway.url(&format!("/v1/topics/{topic}/records"));
    let answer = client.post(url).json(record).send().await.unwrap();
    let (status, body) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn bid(terminal: &str) -> Value {
    json!({ "key": "7", "value": {
        "auction": 7, "price": 120, "bidder": { "id": 1001, "country": "DE" }, "terminal": terminal,
    }})
}

/// A gateway that published one bid from each of two terminals, and where the first one is.
struct House {
    setup: Setup,
    gateway: Gateway,
    region: String,
    place: String,
}

impl House {
    async fn start() -> Self {
        let setup = Setup::quickstart();
        let gateway = setup.start().await;
        let market = setup.client("svc.market");
        let report = publish(&market, &gateway, "bids", &bid("terminal-7")).await;
        publish(&market, &gateway, "bids", &bid("terminal-8")).await;
        let delivery = &report[0]["deliveries"][0];
        let region = delivery["region"].as_str().unwrap().to_owned();
        let place = format!("bids/{}/{}", delivery["partition"], delivery["offset"]);
        let house = Self { setup, gateway, region, place };
        house.settled().await;
        house
    }

    fn dir(&self) -> &Path {
        self.setup.path()
    }

    /// A place is known from the outcome, which follows its delivery.
    async fn settled(&self) {
        let found = eventually(SETTLES_WITHIN, async || {
            let answer = self.ask(&format!("records/{}?region={}", self.place, self.region)).await;
            (!answer["found"].as_array()?.is_empty()).then_some(())
        });
        assert!(found.await.is_some(), "the ledger does not know where the record is");
    }

    /// A question over the admin API, as the auditor.
    async fn ask(&self, question: &str) -> Value {
        let url = self.gateway.admin_url(&format!("/v1/lineage/{question}"));
        let answer = self.setup.client("auditor").get(url).send().await.unwrap();
        let (status, body) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// The token that is in the topic for the bidder.
    async fn token(&self) -> String {
        let (partition, offset) =
            self.place.strip_prefix("bids/").unwrap().split_once('/').unwrap();
        let path = format!(
            "/v1/topics/bids/partitions/{partition}/records?region={}&offset={offset}&limit=1",
            self.region
        );
        let answer =
            self.setup.client("analyst").get(self.gateway.url(&path)).send().await.unwrap();
        let record: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        record["value"]["bidder"]["id"].as_str().unwrap().to_owned()
    }

    /// How often the ledger says that somebody asked this kind of question.
    fn asked(&self, kind: &str) -> usize {
        verb(self.dir(), 0, &["ledger", "export", "--store", STORE, "--to", "asked.export"]);
        let ledger = fs::read(self.dir().join("asked.export")).unwrap();
        ledger.windows(kind.len()).filter(|bytes| *bytes == kind.as_bytes()).count()
    }
}

/// On the command line, as text and as JSON, and over HTTPS: one answer, and each question on record.
#[tokio::test]
async fn lineage_is_answered_and_each_question_is_on_record() {
    let house = House::start().await;
    let token = house.token().await;
    let (place, region) = (house.place.as_str(), house.region.as_str());
    let moments = ["--from", "2020-01-01T00:00:00Z", "--to", "2100-01-01T00:00:00Z"];
    let affected = [&["affected", "--source", "device=terminal-7"], &moments[..]].concat();
    let questions: [(&str, Vec<&str>, String, usize); 3] = [
        (
            "lineage.record",
            vec!["record", place, "--region", region],
            format!("records/{place}?region={region}"),
            1,
        ),
        ("lineage.token", vec!["token", &token], format!("tokens/{token}"), 2),
        ("lineage.affected", affected, "affected?source=device%3Dterminal-7".into(), 1),
    ];
    for (kind, words, path, events) in questions {
        let before = house.asked(kind);
        let command = [&["lineage"], &words[..]].concat();
        let told = verb(house.dir(), 0, &command);
        assert!(told.contains("svc.market") && told.contains(region), "{told}");
        assert!(!told.contains("terminal-7") && !told.contains("1001"), "{told}");
        let answer = verb_json(house.dir(), 0, &command);
        assert_eq!(answer["found"].as_array().unwrap().len(), events, "{answer}");
        assert_eq!(house.ask(&path).await, answer, "{kind}: one answer by both ways");
        assert_eq!(house.asked(kind), before + 3, "{kind}: each question is an entry");
    }
    assert_eq!(house.gateway.stop().await, Some(0));
}

#[tokio::test]
async fn lineage_finds_nothing_where_nothing_is() {
    let house = House::start().await;
    let stranger = "tk1_0000_1_00000000000000000000000000000000";
    for words in [
        vec!["record", "bids/0/999"],
        vec!["token", stranger],
        vec!["affected", "--source", "device=terminal-9"],
        vec!["affected", "--source", "device=terminal-7", "--to", "2020-01-01T00:00:00Z"],
    ] {
        verb(house.dir(), 1, &[&["lineage"], &words[..]].concat());
    }
    for words in [["record", "bids"].as_slice(), &["affected", "--source", "device"]] {
        verb(house.dir(), 2, &[&["lineage"], words].concat());
    }
    assert_eq!(house.gateway.stop().await, Some(0));
}

/// What an intruder with the database's file does: the triggers away, then one byte of one row.
async fn tamper(file: &Path) -> (String, i64) {
    let options = SqliteConnectOptions::new().filename(file);
    let mut database = SqliteConnection::connect_with(&options).await.unwrap();
    let update = "UPDATE ledger_row SET bytes = bytes";
    assert!(sqlx::query(update).execute(&mut database).await.is_err(), "a trigger is missing");
    let triggers =
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'ledger_row'";
    let triggers: Vec<String> =
        sqlx::query_scalar(triggers).fetch_all(&mut database).await.unwrap();
    for trigger in triggers {
        let drop = AssertSqlSafe(format!("DROP TRIGGER {trigger}"));
        sqlx::query(drop).execute(&mut database).await.unwrap();
    }
    let row = "SELECT writer, wseq, bytes FROM ledger_row WHERE wseq = 2 LIMIT 1";
    let row = sqlx::query(row).fetch_one(&mut database).await.unwrap();
    let (writer, wseq): (Vec<u8>, i64) = (row.get(0), row.get(1));
    let mut bytes: Vec<u8> = row.get(2);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let update = sqlx::query("UPDATE ledger_row SET bytes = $1 WHERE writer = $2 AND wseq = $3");
    update.bind(bytes).bind(&writer).bind(wseq).execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    (writer.iter().map(|byte| format!("{byte:02x}")).collect(), wseq)
}

fn stranger_verifies(export: &Path) -> Output {
    Command::new(verifier()).arg(export).output().unwrap()
}

#[tokio::test]
async fn a_tampered_ledger_is_found_out() {
    let house = House::start().await;
    let dir = house.setup;
    assert_eq!(house.gateway.stop().await, Some(0));
    let verify = ["ledger", "verify", "--store", STORE];
    assert!(verb(dir.path(), 0, &verify).contains("the ledger verifies"));
    verb(dir.path(), 0, &["ledger", "verify", "--config", CONFIG]);
    let export = dir.path().join("ledger.export");
    let to = ["ledger", "export", "--store", STORE, "--to", export.to_str().unwrap()];
    verb(dir.path(), 0, &to);
    let verdict = stranger_verifies(&export);
    assert!(verdict.status.success(), "{}", text(&verdict));
    let (writer, wseq) = tamper(&dir.path().join("data/ledger.db")).await;
    let told = verb(dir.path(), 1, &verify);
    assert!(told.contains("DIVERGES") && told.contains(&format!("{writer}/{wseq}")), "{told}");
    verb(dir.path(), 1, &to);
    let verdict = stranger_verifies(&export);
    assert_eq!(verdict.status.code(), Some(1), "{}", text(&verdict));
    assert!(text(&verdict).contains(&format!("{writer}/{wseq}")), "{}", text(&verdict));
}

#[tokio::test]
async fn a_tampered_export_is_found_out() {
    let house = House::start().await;
    let export = house.dir().join("ledger.export");
    verb(house.dir(), 0, &["ledger", "export", "--store", STORE, "--to", export.to_str().unwrap()]);
    let mut bytes = fs::read(&export).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&export, bytes).unwrap();
    assert!(!stranger_verifies(&export).status.success());
    assert_eq!(house.gateway.stop().await, Some(0));
}

/// `credential set` with this on standard input.
fn set(dir: &Path, code: i32, name: &str, input: &[u8]) -> String {
    let mut command = program(dir);
    command.args(["credential", "set", name, "--file", PASSWORDS, "--iterations", "4096"]);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = piped.spawn().unwrap();
    process.stdin.take().unwrap().write_all(input).unwrap();
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{name}: {}", text(&output));
    text(&output)
}

#[test]
fn passwords_are_set_listed_and_removed_and_never_printed() {
    let above = tempfile::tempdir().unwrap();
    let (dir, of) = (above.path(), ["--file", PASSWORDS]);
    let credential =
        |code, words: &[&str]| verb(dir, code, &[&["credential"], words, &of].concat());
    fs::create_dir(dir.join("keys")).unwrap();
    credential(1, &["list"]);
    credential(1, &["remove", "svc.market"]);
    assert!(!dir.join(PASSWORDS).exists());
    assert_eq!(set(dir, 0, "svc.market", b"pencil\n"), "svc.market: set\n");
    assert_eq!(set(dir, 0, "svc.market", b"another\r\nline"), "svc.market: replaced\n");
    let generate = ["set", "analyst", "--generate", "--out", "analyst.password"];
    assert_eq!(credential(0, &generate), "analyst: set\n");
    let generated = fs::read_to_string(dir.join("analyst.password")).unwrap();
    assert_eq!(generated.trim().len(), 43);
    for file in [PASSWORDS, "analyst.password"] {
        let mode = fs::metadata(dir.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let stored = fs::read_to_string(dir.join(PASSWORDS)).unwrap();
    for secret in ["pencil", "another", generated.trim()] {
        assert!(!stored.contains(secret));
    }
    let listed = "analyst\t16384 iterations\nsvc.market\t4096 iterations\n";
    assert_eq!(credential(0, &["list"]), listed);
    let json = verb_json(dir, 0, &["credential", "list", "--file", PASSWORDS]);
    assert_eq!(json["credentials"][1], json!({ "name": "svc.market", "iterations": 4096 }));
    // Neither a password that is there, nor a file of one, is lost to a mistake.
    credential(1, &generate);
    assert_eq!(fs::read_to_string(dir.join("analyst.password")).unwrap(), generated);
    credential(1, &["set", "\n", "--generate", "--out", "new.password"]);
    assert!(!dir.join("new.password").exists());
    credential(2, &["set", "analyst", "--generate"]);
    credential(2, &["set", "analyst", "--out", "new.password"]);
    set(dir, 2, "analyst", b"");
    set(dir, 2, "analyst", b"\n");
    set(dir, 2, "analyst", &[b'x'; 1_025]);
    set(dir, 2, "analyst", b"\xff");
    assert!(set(dir, 1, "analyst", "pen\u{ad}cil".as_bytes()).contains("SASLprep"));
    assert_eq!(fs::read_to_string(dir.join(PASSWORDS)).unwrap(), stored);
    assert_eq!(credential(0, &["remove", "analyst"]), "analyst: removed\n");
    credential(1, &["remove", "analyst"]);
    assert_eq!(credential(0, &["list"]), "svc.market\t4096 iterations\n");
}

/// In the words of `/readyz`, of the log and of `config check`, and taken without a restart.
#[tokio::test]
async fn a_file_of_passwords_that_cannot_be_read_is_named_until_it_can() {
    let mut setup = Setup::quickstart();
    setup.change("identify:\n", &format!("identify:\n  passwords: {{ file: {PASSWORDS} }}\n"));
    let gateway = setup.start().await;
    let cause = "keys/passwords.yaml`: entity not found";
    let operator = setup.client("operator");
    let readyz = async || {
        let answer = operator.get(gateway.admin_url("/readyz")).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, said) = readyz().await;
    assert!(status == 200 && said.contains("passwords: `") && said.contains(cause), "{said}");
    assert!(verb(setup.path(), 1, &["config", "check", CONFIG]).contains(cause));
    let log = gateway.stderr();
    assert!(log.contains("passwords-unread") && log.contains(cause), "{log}");
    set(setup.path(), 0, "svc.market", b"pencil");
    let taken = eventually(SETTLES_WITHIN, async || {
        (!readyz().await.1.contains("passwords")).then_some(())
    });
    assert!(taken.await.is_some(), "{}", gateway.stderr());
    assert!(gateway.stderr().contains("passwords-read"));
    verb(setup.path(), 0, &["config", "check", CONFIG]);
    set(setup.path(), 0, "svc.markt", b"pencil");
    let told = verb(setup.path(), 1, &["config", "check", CONFIG]);
    assert!(told.contains("`svc.markt` has a password, and the policies do not know it"), "{told}");
    assert_eq!(gateway.stop().await, Some(0));
}

/// A folder that the command wrote, certificates and all.
struct Written {
    dir: PathBuf,
}

impl Written {
    /// Any free ports, so that runs do not meet.
    fn free_ports(&self) {
        let path = self.dir.join(CONFIG);
        let lines = fs::read_to_string(&path).unwrap();
        let lines = lines.lines().map(|line| {
            let at = ["address: 127.0.0.1:", "first: "].into_iter().find(|at| line.contains(at));
            let parts = at.and_then(|at| Some((at, line.split_once(at)?)));
            let Some((at, (before, rest))) = parts else { return line.to_owned() };
            let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{before}{at}{}{after}", free_port())
        });
        replace(&path, &(lines.collect::<Vec<_>>().join("\n") + "\n"));
    }

    fn client(&self, name: &str) -> Client {
        let read = |file: &str| fs::read_to_string(self.dir.join("certs").join(file)).unwrap();
        let (certificate, key) = (read(&format!("{name}.pem")), read(&format!("{name}.key")));
        trusting(&read("ca.pem"), &Identity { certificate, key })
    }

    /// Runs the gateway there, ready.
    async fn start(&self, name: &str) -> Gateway {
        self.free_ports();
        let gateway = Gateway::start_unready(&self.dir).await.unwrap();
        let client = self.client(name);
        let ready = eventually(SETTLES_WITHIN, async || {
            let answer = client.get(gateway.admin_url("/readyz")).send().await.ok()?;
            answer.status().is_success().then_some(())
        });
        assert!(ready.await.is_some(), "not ready: {}", gateway.stderr());
        gateway
    }
}

#[tokio::test]
async fn what_init_writes_passes_its_checks_and_runs() {
    let above = tempfile::tempdir().unwrap();
    let told = verb(above.path(), 0, &["init", "mine"]);
    assert!(told.contains("sluicegate run --config mine/sluicegate.yaml"), "{told}");
    verb(above.path(), 0, &["policy", "check", "mine/policies"]);
    verb(above.path(), 0, &["policy", "test", "mine/policies"]);
    verb(above.path(), 0, &["config", "check", "mine/sluicegate.yaml"]);
    verb(above.path(), 2, &["init", "mine"]);
    let written = Written { dir: above.path().join("mine") };
    let gateway = written.start("my-service").await;
    let customer = json!({ "id": "c-17", "email": "ada@example.org", "country": "DE" });
    let record = json!({ "key": "c-17", "value": { "customer": customer, "what": "login" } });
    let report = publish(&written.client("my-service"), &gateway, "events", &record).await;
    assert_eq!(report[0]["deliveries"][0]["region"], "eu");
    assert_eq!(gateway.stop().await, Some(0));
    verb(&written.dir, 0, &["ledger", "verify", "--config", CONFIG]);
}

#[tokio::test]
async fn the_demo_shows_everything_and_a_gateway_goes_on_from_it() {
    let above = tempfile::tempdir().unwrap();
    let told = verb(above.path(), 0, &["demo", "--once", "--events", "500", "--dir", "demo"]);
    for word in
        ["the ledger verifies", "not-permitted", "eu-central", "us-east", "tk1_", "stored at"]
    {
        assert!(told.contains(word), "the demo does not show `{word}`: {told}");
    }
    let written = Written { dir: above.path().join("demo") };
    let before = verb_json(&written.dir, 0, &["ledger", "verify", "--config", CONFIG]);
    let gateway = written.start("svc.market").await;
    publish(&written.client("svc.market"), &gateway, "bids", &bid("terminal-7")).await;
    assert_eq!(gateway.stop().await, Some(0));
    let after = verb_json(&written.dir, 0, &["ledger", "verify", "--config", CONFIG]);
    let events = |verdict: &Value| verdict["records"].as_u64().unwrap();
    assert!(events(&before) >= 500, "{before}");
    assert_eq!(events(&after), events(&before) + 1);
}
