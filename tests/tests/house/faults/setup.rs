//! A house to break: the quickstart's policies in a folder of its own, a ledger and a pipeline to choose, a
//! publisher, and what is in ledger and pipelines afterwards, read without the gateway.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Client, RequestBuilder};
use rustls::{ClientConfig, pki_types::ServerName};
use serde_json::{Value, json};
use sluicegate_tests::{
    ca::{Ca, Identity, replace},
    client::{Credential, client},
    components,
    gateway::{self, CONFIG, Gateway},
    kafka,
};
use sqlx::{
    Connection as _, PgConnection, Row as _, SqliteConnection, sqlite::SqliteConnectOptions,
};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

pub(super) const TOPIC: &str = "bids";
pub(super) const EU: &str = "eu-central";
pub(super) const US: &str = "us-east";
pub(super) const BR: &str = "sa-east";

/// Where the ledger is.
pub(super) enum Store {
    /// `sqlite:FILE`, below the house's folder.
    Sqlite(&'static str),
    /// A database of this test's own.
    Postgres(String),
}

/// Where Europe's records go.
pub(super) enum Pipeline {
    /// A file below the house's folder.
    Embedded(&'static str),
    /// A cluster's plaintext listener.
    Kafka(String),
}

/// A folder with all that a gateway needs, and the identities of those who talk to it.
pub(super) struct House {
    dir: TempDir,
    pub(super) ca: Ca,
    pub(super) market: Identity,
    operator: Identity,
    store: Store,
    eu: Pipeline,
}

/// One record in a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) partition: i64,
    pub(super) offset: i64,
    pub(super) key: String,
    /// The kept field that tells records apart.
    pub(super) id: String,
    /// The kept field that counts a publisher's records.
    pub(super) count: i64,
    /// Its ledger position, as answers write it.
    pub(super) position: String,
}

/// What the ledger's tables hold, beside the chain that `ledger verify` walks.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// `WRITER-ROW` of each row.
    pub(super) rows: BTreeSet<String>,
    /// Intents without an end.
    pub(super) open: i64,
    /// Region, partition and the offsets of deliveries.
    pub(super) edges: Vec<(String, i64, i64, i64)>,
}

impl House {
    pub(super) fn new(store: Store, eu: Pipeline) -> Self {
        let dir = tempfile::Builder::new().prefix("sluicegate-faults").tempdir().unwrap();
        let ca = Ca::new("house");
        let market = ca.client("spiffe://auction/svc.market");
        let operator = ca.client("spiffe://auction/operator");
        let house = Self { dir, ca, market, operator, store, eu };
        copy(&components::root().join("examples/quickstart/policies"), &house.path("policies"));
        house.write_keys(&["auction-2026", "ledger-search"]);
        fs::create_dir(house.path("certs")).unwrap();
        house.ca.write(&house.path("certs"));
        house.ca.server().write(&house.path("certs"), "server");
        if let Store::Postgres(url) = &house.store {
            replace(&house.path("ledger.url"), url);
        }
        replace(&house.path(CONFIG), &house.config());
        house
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// A keyring with these names; a name has the same key each time.
    pub(super) fn write_keys(&self, names: &[&str]) {
        let key = |name: &&str| {
            let bytes: Vec<u8> = name.bytes().cycle().take(32).collect();
            format!("  {name}: {}\n", STANDARD.encode(bytes))
        };
        let beside = self.path("keys.new");
        fs::write(&beside, format!("keys:\n{}", names.iter().map(key).collect::<String>()))
            .unwrap();
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(beside, self.path("keys.yaml")).unwrap();
    }

    fn config(&self) -> String {
        let origin = "faults.example/sluicegate";
        let ledger = match &self.store {
            Store::Sqlite(file) => format!("{{ store: 'sqlite:{file}', origin: {origin} }}"),
            Store::Postgres(_) => format!("{{ store-file: ledger.url, origin: {origin} }}"),
        };
        let eu = match &self.eu {
            Pipeline::Embedded(file) => format!("{{ embedded: {{ file: {file} }} }}"),
            Pipeline::Kafka(at) => {
                format!("{{ kafka: {{ bootstrap: ['{at}'], delivery-timeout-s: 15 }} }}")
            }
        };
        let tls = "{ certificate: certs/server.pem, key: certs/server.key, client-ca: certs/ca.pem, \
                   client-auth: optional }";
        format!(
            "node: faults-1\ntenant: auction-house\npolicies: policies\nkeys: {{ file: keys.yaml }}\n\
             ledger: {ledger}\n\
             listen: {{ address: '127.0.0.1:0', tls: {tls} }}\n\
             admin: {{ address: '127.0.0.1:0', tls: {tls} }}\n\
             regions:\n  {EU}: {eu}\n  {US}: {{ embedded: {{ file: {US}.db }} }}\n  \
             {BR}: {{ embedded: {{ file: {BR}.db }} }}\n\
             identify:\n  certificates:\n    \
             - {{ uri: 'spiffe://auction/svc.market', principal: svc.market }}\n    \
             - {{ uri: 'spiffe://auction/operator', principal: operator }}\n\
             roles: {{ operator: [operator] }}\n"
        )
    }

    /// Starts it and waits until it is ready.
    pub(super) async fn start(&self) -> Gateway {
        match Gateway::start_again(self.dir(), &self.ca).await {
            Ok(gateway) => gateway,
            Err(why) => panic!("no gateway: {why:?}"),
        }
    }

    pub(super) async fn start_unready(&self) -> Gateway {
        match Gateway::start_unready(self.dir()).await {
            Ok(gateway) => gateway,
            Err(why) => panic!("no gateway: {why:?}"),
        }
    }

    /// Adds sections to the configuration.
    pub(super) fn configure(&self, more: &str) {
        replace(&self.path(CONFIG), &format!("{}{more}", self.config()));
    }

    /// The client of the service that may publish bids.
    pub(super) fn publisher(&self) -> Client {
        client(&self.ca, &Credential::Certificate(&self.market))
    }

    pub(super) fn operator(&self) -> Client {
        client(&self.ca, &Credential::Certificate(&self.operator))
    }

    /// `ledger verify`: its exit code and its verdict.
    pub(super) fn verify(&self) -> (Option<i32>, String) {
        let done =
            gateway::run(self.dir(), &["ledger", "verify", "--config", CONFIG, "-o", "json"]);
        let said = [done.stdout, done.stderr].concat();
        (done.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    /// What is in a region's topic, in order of partition and offset.
    pub(super) async fn standing(&self, region: &str) -> Vec<Standing> {
        match &self.eu {
            Pipeline::Kafka(at) if region == EU => in_kafka(at).await,
            Pipeline::Embedded(file) if region == EU => in_file(&self.path(file)).await,
            _ => in_file(&self.path(&format!("{region}.db"))).await,
        }
    }

    /// All regions, by name.
    pub(super) async fn everything(&self) -> BTreeMap<&'static str, Vec<Standing>> {
        let mut all = BTreeMap::new();
        for region in [EU, US, BR] {
            all.insert(region, self.standing(region).await);
        }
        all
    }

    pub(super) async fn book(&self) -> Book {
        match &self.store {
            Store::Sqlite(file) => sqlite_book(&self.path(file)).await,
            Store::Postgres(url) => postgres_book(url).await,
        }
    }
}

/// A connection of one's own: what a client library would hide.
pub(super) async fn dial(
    at: SocketAddr,
    tls: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::IpAddress(at.ip().into());
    TlsConnector::from(tls).connect(name, TcpStream::connect(at).await?).await
}

/// The head of a publish request by hand, for a body of so many bytes.
pub(super) fn head(bytes: usize) -> String {
    format!(
        "POST /v1/topics/{TOPIC}/records HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {bytes}\r\n\r\n"
    )
}

/// A publish request, ready to be sent.
pub(super) fn publish(
    client: &Client,
    gateway: &str,
    key: Option<&str>,
    records: &Value,
) -> RequestBuilder {
    let request = client.post(format!("{gateway}/v1/topics/{TOPIC}/records")).json(records);
    match key {
        Some(key) => request.header("idempotency-key", format!("\"{key}\"")),
        None => request,
    }
}

/// A bid whose kept fields name it; its bidder's country decides where it goes.
pub(super) fn bid(key: &str, id: &str, count: u64, country: &str) -> Value {
    let bidder = json!({ "id": count, "country": country });
    json!({ "key": key, "value": { "auction": id, "price": count, "bidder": bidder } })
}

/// The regions that a bid of this country ends in.
pub(super) fn regions_of(country: &str) -> &'static [&'static str] {
    match country {
        "DE" => &[EU, US],
        "US" => &[US],
        _ => &[BR],
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap().path();
        let target = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &target);
        } else {
            fs::copy(&entry, &target).unwrap();
        }
    }
}

async fn open(file: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    SqliteConnection::connect_with(&options).await.unwrap()
}

async fn in_file(file: &Path) -> Vec<Standing> {
    let mut connection = open(file).await;
    let rows = sqlx::query(
        "SELECT r.part, r.pos, r.key, r.value, lower(hex(r.ledger)) FROM record r
         JOIN topic t ON t.id = r.topic WHERE t.name = ?1 ORDER BY r.part, r.pos",
    )
    .bind(TOPIC)
    .fetch_all(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let one = |row: &sqlx::sqlite::SqliteRow| {
        let (key, value): (Vec<u8>, Vec<u8>) = (row.get(2), row.get(3));
        standing((row.get(0), row.get(1)), &key, &value, &row.get::<String, _>(4))
    };
    rows.iter().map(one).collect()
}

async fn in_kafka(bootstrap: &str) -> Vec<Standing> {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let one = |record: kafka::Record| {
        let position = record.headers.iter().find(|(name, _)| name == "sluicegate-position");
        let position = hex(position.unwrap().1.as_deref().unwrap());
        let at = (i64::from(record.partition), record.offset);
        standing(at, &record.key.unwrap(), &record.value.unwrap(), &position)
    };
    kafka::read(bootstrap, TOPIC).await.into_iter().map(one).collect()
}

fn standing((partition, offset): (i64, i64), key: &[u8], value: &[u8], position: &str) -> Standing {
    let value: Value = serde_json::from_slice(value).unwrap();
    let number = |hex: &str| u64::from_str_radix(hex, 16).unwrap();
    let (writer, rest) = position.split_at(32);
    let (row, leaf) = rest.split_at(16);
    Standing {
        partition,
        offset,
        key: String::from_utf8_lossy(key).into_owned(),
        id: value["auction"].as_str().unwrap().to_owned(),
        count: value["price"].as_i64().unwrap(),
        position: format!("{writer}-{}-{}", number(row), number(leaf)),
    }
}

const ROWS: &str = "SELECT lower(hex(writer)), wseq FROM ledger_row";
const ROWS_PG: &str = "SELECT encode(writer, 'hex'), wseq FROM ledger_row";
const OPEN: &str = "SELECT count(*) FROM ledger_intent";
const EDGES: &str = "SELECT region, CAST(part AS BIGINT), offset_from, offset_to FROM ledger_edge";

async fn sqlite_book(file: &Path) -> Book {
    let mut connection = open(file).await;
    let rows = sqlx::query_as(ROWS).fetch_all(&mut connection).await.unwrap();
    let open = sqlx::query_scalar(OPEN).fetch_one(&mut connection).await.unwrap();
    let edges = sqlx::query_as(EDGES).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    Book { rows: names(rows), open, edges }
}

async fn postgres_book(url: &str) -> Book {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let rows = sqlx::query_as(ROWS_PG).fetch_all(&mut connection).await.unwrap();
    let open = sqlx::query_scalar(OPEN).fetch_one(&mut connection).await.unwrap();
    let edges = sqlx::query_as(EDGES).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    Book { rows: names(rows), open, edges }
}

fn names(rows: Vec<(String, i64)>) -> BTreeSet<String> {
    rows.into_iter().map(|(writer, row)| format!("{writer}-{row}")).collect()
}
