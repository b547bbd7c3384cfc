//! A house with one release: policies, keys and certificates in a folder, a ledger and a region to choose, one
//! or several gateways over them; and what is left of a run, read without any of them.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Client;
use sluicegate_audit::{self as audit, Entry, Exported};
use sluicegate_tests::{
    ca::{Ca, Identity, replace},
    client::{Credential, client},
    gateway::{self, CONFIG, Gateway},
    kafka,
    process::eventually,
    releases::{Evidence, Message, PRINCIPALS, REGION, Said, Spec, policies, read},
};
use sqlx::{
    Connection as _, PgConnection, Row as _, SqliteConnection, sqlite::SqliteConnectOptions,
};
use tempfile::TempDir;

/// Where the ledger is.
#[derive(Clone, Debug)]
pub(super) enum Store {
    /// A file in the folder of the only gateway.
    Sqlite,
    /// A database of this test's own.
    Postgres(String),
}

/// What the region's pipeline is.
#[derive(Clone, Debug)]
pub(super) enum Pipeline {
    /// A file in the folder of the only gateway.
    Embedded,
    /// A cluster's plaintext listener.
    Kafka(String),
}

const LEDGER: &str = "ledger.db";
const TOPICS: &str = "fra.db";

pub(super) struct House {
    dir: TempDir,
    pub(super) ca: Ca,
    pub(super) store: Store,
    pub(super) pipeline: Pipeline,
}

impl House {
    pub(super) fn new(store: Store, pipeline: Pipeline, specs: &[&Spec]) -> Self {
        let dir = tempfile::Builder::new().prefix("sluicegate-releases").tempdir().unwrap();
        let house = Self { dir, ca: Ca::new("house"), store, pipeline };
        house.add_node(0, specs);
        house
    }

    /// One more gateway over the same ledger, region, policies and keys.
    pub(super) fn add_node(&self, number: usize, specs: &[&Spec]) {
        let dir = self.node(number);
        fs::create_dir_all(dir.join("policies")).unwrap();
        fs::create_dir(dir.join("certs")).unwrap();
        self.write_policies(number, &policies(specs));
        write_keys(&dir.join("keys.yaml"), &["users-2026", "ledger-search"]);
        self.ca.write(&dir.join("certs"));
        self.ca.server().write(&dir.join("certs"), "server");
        if let Store::Postgres(url) = &self.store {
            replace(&dir.join("ledger.url"), url);
        }
        replace(&dir.join(CONFIG), &self.config(number));
    }

    pub(super) fn write_policies(&self, number: usize, text: &str) {
        replace(&self.node(number).join("policies/all.yaml"), text);
    }

    fn config(&self, number: usize) -> String {
        let origin = "releases.example/sluicegate";
        let ledger = match &self.store {
            Store::Sqlite => format!("{{ store: 'sqlite:{LEDGER}', origin: {origin} }}"),
            Store::Postgres(_) => format!("{{ store-file: ledger.url, origin: {origin} }}"),
        };
        let pipeline = match &self.pipeline {
            Pipeline::Embedded => format!("{{ embedded: {{ file: {TOPICS} }} }}"),
            Pipeline::Kafka(at) => {
                format!("{{ kafka: {{ bootstrap: ['{at}'], delivery-timeout-s: 15 }} }}")
            }
        };
        let tls = "{ certificate: certs/server.pem, key: certs/server.key, client-ca: certs/ca.pem, \
                   client-auth: optional }";
        let principal =
            |name: &str| format!("    - {{ uri: 'spiffe://house/{name}', principal: {name} }}\n");
        let principals: String =
            PRINCIPALS.into_iter().chain(["operator"]).map(principal).collect();
        format!(
            "node: node-{number}\ntenant: house\npolicies: policies\nkeys: {{ file: keys.yaml }}\n\
             ledger: {ledger}\n\
             listen: {{ address: '127.0.0.1:0', tls: {tls} }}\n\
             admin: {{ address: '127.0.0.1:0', tls: {tls} }}\n\
             regions: {{ {REGION}: {pipeline} }}\n\
             identify:\n  certificates:\n{principals}\
             roles: {{ operator: [operator] }}\n\
             releases: {{ directory: spill, witness: ../witness }}\n"
        )
    }

    /// The folder of a gateway.
    pub(super) fn node(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("node-{number}"))
    }

    /// The witness of a gateway, in the folder that all of them share.
    pub(super) fn witness(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("witness/node-{number}.witness"))
    }

    pub(super) fn topics_file(&self) -> PathBuf {
        self.node(0).join(TOPICS)
    }

    pub(super) fn ledger_file(&self) -> PathBuf {
        self.node(0).join(LEDGER)
    }

    pub(super) async fn start(&self, number: usize) -> Gateway {
        self.start_to_crash(number, None).await
    }

    pub(super) async fn start_to_crash(&self, number: usize, point: Option<&str>) -> Gateway {
        match Gateway::start_to_crash(&self.node(number), &self.ca, point).await {
            Ok(gateway) => gateway,
            Err(why) => panic!("no gateway: {why:?}"),
        }
    }

    pub(super) async fn start_restored(&self, number: usize) -> Gateway {
        match Gateway::start_restored(&self.node(number), &self.ca).await {
            Ok(gateway) => gateway,
            Err(why) => panic!("no gateway: {why:?}"),
        }
    }

    pub(super) async fn start_unready(&self, number: usize) -> Gateway {
        match Gateway::start_unready(&self.node(number)).await {
            Ok(gateway) => gateway,
            Err(why) => panic!("no gateway: {why:?}"),
        }
    }

    pub(super) fn identity(&self, name: &str) -> Identity {
        self.ca.client(&format!("spiffe://house/{name}"))
    }

    pub(super) fn client(&self, name: &str) -> Client {
        client(&self.ca, &Credential::Certificate(&self.identity(name)))
    }

    /// Runs a verb of the command in the first gateway's folder: its exit code, and what it said.
    pub(super) fn verb(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let arguments = [arguments, &["--config", CONFIG]].concat();
        let done = gateway::run(&self.node(0), &arguments);
        let said = [done.stdout, done.stderr].concat();
        (done.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Every message of a topic, in order of partition and offset.
    pub(super) async fn topic(&self, topic: &str) -> Vec<Message> {
        match &self.pipeline {
            Pipeline::Embedded => in_file(&self.node(0).join(TOPICS), topic).await,
            Pipeline::Kafka(at) => in_kafka(at, topic).await,
        }
    }

    /// The releases that stand in the ledger, by window: id, start of the pane, whether published.
    pub(super) async fn released(&self, spec: &Spec) -> Vec<(String, i64, bool)> {
        let rows: Vec<(String, i64, i64)> = match &self.store {
            Store::Sqlite => {
                let mut connection = open(&self.ledger_file()).await;
                let query = "SELECT lower(hex(id)), window_start_us, published FROM ledger_release
                             WHERE name = ?1 ORDER BY 2";
                let rows = sqlx::query_as(query).bind(&spec.release).fetch_all(&mut connection);
                let rows = rows.await.unwrap();
                connection.close().await.unwrap();
                rows
            }
            Store::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                let query = "SELECT encode(id, 'hex'), window_start_us, published
                             FROM ledger_release WHERE name = $1 ORDER BY 2";
                let rows = sqlx::query_as(query).bind(&spec.release).fetch_all(&mut connection);
                let rows = rows.await.unwrap();
                connection.close().await.unwrap();
                rows
            }
        };
        rows.into_iter().map(|(id, start, published)| (id, start / 1_000, published != 0)).collect()
    }

    pub(super) async fn charged(&self, spec: &Spec) -> Vec<String> {
        match &self.store {
            Store::Sqlite => {
                let mut connection = open(&self.ledger_file()).await;
                let query = "SELECT lower(hex(id)) FROM ledger_charge WHERE account = ?1";
                let rows =
                    sqlx::query_scalar(query).bind(spec.dataset()).fetch_all(&mut connection);
                let rows = rows.await.unwrap();
                connection.close().await.unwrap();
                rows
            }
            Store::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                let query = "SELECT encode(id, 'hex') FROM ledger_charge WHERE account = $1";
                let rows =
                    sqlx::query_scalar(query).bind(spec.dataset()).fetch_all(&mut connection);
                let rows = rows.await.unwrap();
                connection.close().await.unwrap();
                rows
            }
        }
    }

    fn url(&self) -> audit::Url {
        match &self.store {
            Store::Sqlite => format!("sqlite:{}", self.ledger_file().display()).parse().unwrap(),
            Store::Postgres(url) => url.parse().unwrap(),
        }
    }

    /// Every entry of the ledger, and what is wrong with it as a whole.
    pub(super) async fn entries(&self) -> (Vec<Entry>, Option<String>) {
        let (rows, verdict) = self.judged_rows().await;
        let entries = rows.into_iter().flat_map(|row| row.entries).collect();
        (entries, verdict.divergence.map(|at| format!("{at:?}")))
    }

    async fn judged_rows(&self) -> (Vec<audit::Row>, audit::verify::Verdict) {
        let mut rows = Vec::new();
        let url = self.url();
        let verdict = audit::verify_store(&url, |exported| {
            if let Exported::Row { bytes, .. } = exported {
                rows.push(audit::Row::decode(&bytes).unwrap());
            }
        });
        let verdict = verdict.await.unwrap();
        (rows, verdict)
    }

    /// Every row of the ledger.
    pub(super) async fn rows(&self) -> Vec<audit::Row> {
        let (rows, verdict) = self.judged_rows().await;
        assert!(verdict.is_ok());
        rows
    }

    /// All that the judge looks at, where nothing is revised.
    pub(super) async fn evidence(&self, spec: &Spec) -> Evidence {
        self.evidence_of(spec, 0).await
    }

    /// All that the judge looks at, of a revision.
    pub(super) async fn evidence_of(&self, spec: &Spec, revision: u32) -> Evidence {
        let (rows, verdict) = self.judged_rows().await;
        let diverges = verdict.divergence.map(|at| format!("{at:?}"));
        let mut evidence = Evidence { diverges, ..Evidence::default() };
        let mut others = BTreeSet::new();
        for row in rows {
            let at_ms = row.t_us / 1_000;
            for entry in row.entries {
                match entry {
                    Entry::ReleaseRefused(refused)
                        if (&refused.name, refused.revision) == (&spec.release, revision) =>
                    {
                        let start = refused.window_start_us / 1_000;
                        evidence.refused.push((start, refused.code));
                    }
                    Entry::Release(release) if release.name == spec.release => {
                        let id = release.id.map(|byte| format!("{byte:02x}")).concat();
                        if release.revision == revision {
                            evidence.recorded.push((release.window_start_us / 1_000, at_ms));
                        } else {
                            others.insert(id);
                        }
                    }
                    Entry::ReleaseVoid(_) => evidence.void += 1,
                    _ => {}
                }
            }
        }
        evidence.messages = self.topic(&spec.release).await;
        let other = |said: Said| said.revision != u64::from(revision);
        evidence.messages.retain(|message| !read(spec, &message.value).is_some_and(other));
        evidence.released = self.released(spec).await;
        evidence.released.retain(|(id, ..)| !others.contains(id));
        evidence.charged = self.charged(spec).await;
        evidence.charged.retain(|id| !others.contains(id));
        evidence
    }

    /// Waits until the pane that starts at `last_ms` is published, and all before it; false if that takes
    /// longer than `limit`.
    pub(super) async fn published(&self, spec: &Spec, last_ms: i64, limit: Duration) -> bool {
        let seen = eventually(limit, async || {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let released = self.released(spec).await;
            let last = released.iter().any(|(_, start, published)| *published && *start >= last_ms);
            let all = released.iter().all(|(_, start, done)| *done || *start > last_ms);
            (last && all).then_some(())
        });
        seen.await.is_some()
    }

    /// Gives back what a campaign of many runs would pile up.
    pub(super) async fn end(self) {
        let Store::Postgres(url) = &self.store else { return };
        let (server, name) = url.rsplit_once('/').unwrap();
        let mut connection = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
        // The name is ours: letters, digits and underscores.
        let drop = sqlx::AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        sqlx::query(drop).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

/// A keyring; a name has the same key each time.
pub(super) fn write_keys(path: &Path, names: &[&str]) {
    let key = |name: &&str| {
        let bytes: Vec<u8> = name.bytes().cycle().take(32).collect();
        format!("  {name}: {}\n", STANDARD.encode(bytes))
    };
    fs::write(path, format!("keys:\n{}", names.iter().map(key).collect::<String>())).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The same keyring, in which one name has another key.
pub(super) fn write_other_keys(path: &Path, other: &str) {
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().find(|line| line.trim_start().starts_with(other)).unwrap();
    let changed = format!("  {other}: {}", STANDARD.encode([7; 32]));
    fs::write(path, text.replace(line, &changed)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

async fn open(file: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    SqliteConnection::connect_with(&options).await.unwrap()
}

async fn in_file(file: &Path, topic: &str) -> Vec<Message> {
    let mut connection = open(file).await;
    let rows = sqlx::query(
        "SELECT r.part, r.pos, r.t_ms, r.key, r.value, lower(hex(r.ledger)) FROM record r
         JOIN topic t ON t.id = r.topic WHERE t.name = ?1 ORDER BY r.part, r.pos",
    );
    let rows = rows.bind(topic).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let one = |row: &sqlx::sqlite::SqliteRow| Message {
        partition: row.get(0),
        offset: row.get(1),
        t_ms: Some(row.get(2)),
        key: row.get(3),
        value: row.get(4),
        position: row.get(5),
    };
    rows.iter().map(one).collect()
}

async fn in_kafka(bootstrap: &str, topic: &str) -> Vec<Message> {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let one = |record: kafka::Record| {
        let position = record.headers.iter().find(|(name, _)| name == "sluicegate-position");
        Message {
            partition: i64::from(record.partition),
            offset: record.offset,
            t_ms: None,
            key: record.key.unwrap(),
            value: record.value.unwrap(),
            position: hex(position.unwrap().1.as_deref().unwrap()),
        }
    };
    kafka::read(bootstrap, topic).await.into_iter().map(one).collect()
}
