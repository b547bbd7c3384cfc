//! The command's verbs over what a gateway left behind: lineage, the ledger verified, tampered with and
//! exported, and the two ways to begin, `init` and `demo`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use reqwest::Client;
use serde_json::{Value, json};
use sluicegate_tests::{
    ca::{Identity, replace},
    client::trusting,
    gateway::{CONFIG, Gateway, run, verifier},
    process::eventually,
    setup::Setup,
};
use sqlx::{
    AssertSqlSafe, Connection as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions,
};

const SETTLES_WITHIN: Duration = Duration::from_secs(20);
const STORE: &str = "sqlite:data/ledger.db";

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

/// A folder that the command wrote, certificates and all.
struct Written {
    dir: PathBuf,
}

impl Written {
    /// Any free ports, so that runs do not meet.
    fn free_ports(&self) {
        let path = self.dir.join(CONFIG);
        let lines = fs::read_to_string(&path).unwrap();
        let lines = lines.lines().map(|line| match line.trim().strip_prefix("address: ") {
            Some(_) => "  address: 127.0.0.1:0",
            None => line,
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
