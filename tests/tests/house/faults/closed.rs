//! What is down, and what the gateway does then: a table. Each cause is brought about under a running gateway;
//! the publisher gets a clear problem, nothing is acknowledged, nothing is in a pipeline that the ledger
//! does not know, readiness is off, and once the cause is gone the same request succeeds without a restart.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use reqwest::Client;
use serde_json::Value;
use sluicegate_audit as audit;
use sluicegate_tests::{
    ca::{Ca, replace},
    gateway::Gateway,
    kafka::{PrivateKafka, create_topic},
    postgres::{Database, PrivatePostgres},
    process::eventually,
    require,
};

use super::setup::{EU, House, Pipeline, Standing, Store, TOPIC, US, bid, publish};

/// A cause shows, and is overcome, within this time: longer than any of the gateway's own timeouts.
const WITHIN: Duration = Duration::from_secs(60);
/// How far ahead of the clock the ledger's newest row is; the gateway tolerates five seconds.
const AHEAD: Duration = Duration::from_secs(14);
const RULES: &str = "policies/5-transfers.yaml";
const DATASETS: &str = "policies/2-datasets.yaml";

/// The table: a line for each thing that was looked at.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<Vec<(bool, String)>>>);

impl Table {
    fn row(&self, good: bool, cause: &str, what: &str, seen: &str) {
        let seen: String = seen.chars().take(700).collect();
        let mark = if good { "ok   " } else { "WRONG" };
        let line = format!("{mark} | {cause:<34} | {what:<30} | {seen}");
        self.0.lock().unwrap().push((good, line));
    }

    fn judge(&self) {
        let rows = self.0.lock().unwrap();
        let lines: Vec<&str> = rows.iter().map(|(_, line)| line.as_str()).collect();
        assert!(rows.iter().all(|(good, _)| *good), "\n{}\n", lines.join("\n"));
        assert!(!rows.is_empty());
    }
}

/// An answer as a publisher sees it.
#[derive(Clone, Debug)]
struct Answer {
    status: u16,
    kind: String,
    retry_after: Option<u64>,
    body: Value,
}

impl Answer {
    fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// A problem document with this status and one of these codes, and words to go on, none of them of what is
    /// behind the gateway; 503 says when to come again.
    fn is_clear(&self, status: u16, codes: &[&str]) -> bool {
        let says = |name: &str| self.body[name].as_str().is_some_and(|text| text.len() > 10);
        self.status == status
            && codes.contains(&self.code())
            && self.kind.starts_with("application/problem+json")
            && (status != 503 || self.retry_after.is_some_and(|s| (1..=60).contains(&s)))
            && says("title")
            && says("detail")
            && !["127.0.0.1", "database", "os error", "onnect"].iter().any(|inside| {
                self.body["detail"].as_str().is_some_and(|detail| detail.contains(inside))
            })
    }
}

/// One cause: a house, its gateway, and what was acknowledged so far.
struct Case {
    cause: &'static str,
    table: Table,
    house: House,
    gateway: Gateway,
    client: Client,
    acknowledged: Vec<String>,
    turned_away: Option<String>,
    n: u64,
}

impl Case {
    async fn of(cause: &'static str, table: &Table, house: House) -> Self {
        let gateway = house.start().await;
        Self::with(cause, table, house, gateway)
    }

    fn with(cause: &'static str, table: &Table, house: House, gateway: Gateway) -> Self {
        let (table, client) = (table.clone(), house.publisher());
        let (acknowledged, turned_away) = (Vec::new(), None);
        Self { cause, table, house, gateway, client, acknowledged, turned_away, n: 0 }
    }

    fn row(&self, good: bool, what: &str, seen: &str) {
        self.table.row(good, self.cause, what, seen);
    }

    /// Publishes one European bid under its id as key.
    async fn send(&mut self, id: &str) -> Option<Answer> {
        let record = bid("k", id, self.n, "DE");
        let answer =
            publish(&self.client, &self.gateway.url(""), Some(id), &record).send().await.ok()?;
        let header = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
        let kind = header("content-type").unwrap_or_default();
        let retry_after = header("retry-after").and_then(|text| text.parse().ok());
        let status = answer.status().as_u16();
        let body = answer.json().await.unwrap_or_default();
        if status == 200 {
            self.acknowledged.push(id.to_owned());
        }
        Some(Answer { status, kind, retry_after, body })
    }

    async fn send_new(&mut self) -> (String, Option<Answer>) {
        self.n += 1;
        let id = format!("{}-{}", self.cause.replace(' ', "-"), self.n);
        let answer = self.send(&id).await;
        (id, answer)
    }

    /// All is well: the start of most cases.
    async fn works(&mut self) {
        let (_, answer) = self.send_new().await;
        let good = answer.as_ref().is_some_and(|a| a.status == 200);
        self.row(good, "before", &format!("{answer:?}"));
    }

    /// The cause is there: soon a request is turned away in clear words, and stays so.
    async fn closes(&mut self, status: u16, codes: &[&str]) {
        let mut last = None;
        let shut = eventually(WITHIN, async || {
            let (id, answer) = self.send_new().await;
            let shut = answer.as_ref().is_some_and(|answer| answer.status != 200);
            last = answer;
            shut.then_some(id)
        });
        self.turned_away = shut.await;
        let good = last.as_ref().is_some_and(|answer| answer.is_clear(status, codes));
        self.row(good, &format!("is answered {status} {codes:?}"), &format!("{last:?}"));
        let off = status != 503 || self.gateway.readiness(&self.house.ca, 503, WITHIN).await;
        self.row(off, "readiness", if off { "as it should be" } else { "stays on" });
    }

    /// The cause is gone: the request that was turned away succeeds, once, without a restart.
    async fn recovers(&mut self) {
        let Some(id) = self.turned_away.take() else { return };
        let mut last = None;
        let back = eventually(WITHIN, async || {
            last = self.send(&id).await;
            last.as_ref().is_some_and(|answer| answer.status == 200).then_some(())
        });
        let back = back.await.is_some();
        self.row(back, "recovers by itself", &format!("{last:?}"));
        let ready = self.gateway.ready(&self.house.ca, WITHIN).await;
        self.row(ready, "readiness after it", if ready { "on" } else { "stays off" });
    }

    /// What is in the pipelines is what was acknowledged, once, and known to the ledger.
    async fn settled(self) {
        let Self { cause, table, house, gateway, acknowledged, .. } = self;
        let code = gateway.stop().await;
        table.row(code == Some(0), cause, "stops in order", &format!("{code:?}"));
        let (verified, verdict) = house.verify();
        table.row(verified == Some(0), cause, "the ledger verifies", &verdict);
        let (book, all) = (house.book().await, house.everything().await);
        table.row(book.open == 0, cause, "no intent is left open", &book.open.to_string());
        let at_home = &all[EU];
        let times = |id: &String| at_home.iter().filter(|record| record.id == *id).count();
        let lost: Vec<_> = acknowledged.iter().filter(|id| times(id) != 1).collect();
        table.row(lost.is_empty(), cause, "acknowledged is there once", &format!("{lost:?}"));
        let known = |record: &&Standing| {
            book.rows.contains(record.position.rsplit_once('-').map_or("", |(row, _)| row))
        };
        let strange: Vec<_> = all.values().flatten().filter(|record| !known(record)).collect();
        table.row(strange.is_empty(), cause, "nothing without an intent", &format!("{strange:?}"));
        let never = |record: &&Standing| !acknowledged.contains(&record.id);
        let unasked: Vec<_> = at_home.iter().filter(never).collect();
        table.row(unasked.is_empty(), cause, "nothing unacknowledged", &format!("{unasked:?}"));
    }

    /// Asks for a reload, as an operator does.
    async fn reload(&self) -> (u16, Value) {
        let url = self.gateway.admin_url("/v1/reload");
        let answer = self.house.operator().post(url).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    /// A reload that must change nothing, and say why.
    async fn reload_refused(&mut self, why: &str) {
        let (status, body) = self.reload().await;
        let says = body["detail"].as_str().is_some_and(|detail| detail.contains(why));
        let good = status == 422 && body["code"] == "reload-refused" && says;
        self.row(good, "the reload is refused", &format!("{status} {body}"));
        let (_, answer) = self.send_new().await;
        let old = answer.as_ref().is_some_and(|answer| answer.status == 200);
        self.row(old, "the old policy stays in force", &format!("{answer:?}"));
    }

    async fn reload_taken(&mut self) {
        let (status, body) = self.reload().await;
        self.row(status == 204, "the reload is taken", &format!("{status} {body}"));
        self.works().await;
    }
}

fn local() -> House {
    House::new(Store::Sqlite("ledger.db"), Pipeline::Embedded("eu-central.db"))
}

/// Changes a file of the house as an editor does.
fn edit(house: &House, file: &str, from: &str, to: &str) {
    let text = fs::read_to_string(house.path(file)).unwrap();
    assert!(text.contains(from), "{file} has no `{from}`");
    replace(&house.path(file), &text.replace(from, to));
}

async fn bad_bundle_on_reload(table: &Table) {
    let mut case = Case::of("bad bundle, reload", table, local()).await;
    case.works().await;
    edit(&case.house, RULES, "importer:", "imporster:");
    case.reload_refused("imporster").await;
    edit(&case.house, RULES, "imporster:", "importer:");
    // Nothing was taken, so that nothing changes back; a reload has nothing to report.
    case.reload_taken().await;
    case.settled().await;
}

async fn bad_bundle_at_start(table: &Table) {
    let house = local();
    edit(&house, RULES, "importer:", "imporster:");
    let gateway = house.start_unready().await;
    let mut case = Case::with("bad bundle, start", table, house, gateway);
    case.closes(503, &["policy-not-in-force", "ledger-unavailable"]).await;
    edit(&case.house, RULES, "imporster:", "importer:");
    case.recovers().await;
    case.settled().await;
}

const KEYS: [&str; 2] = ["auction-2026", "ledger-search"];

async fn key_missing_on_reload(table: &Table) {
    let mut case = Case::of("token key missing, reload", table, local()).await;
    case.works().await;
    case.house.write_keys(&["auction-2027", "ledger-search"]);
    case.reload_refused("auction-2026").await;
    case.house.write_keys(&KEYS);
    case.reload_taken().await;
    case.settled().await;
}

async fn key_missing_at_start(table: &Table) {
    let house = local();
    house.write_keys(&["ledger-search"]);
    let gateway = house.start_unready().await;
    let mut case = Case::with("token key missing, start", table, house, gateway);
    case.closes(503, &["policy-not-in-force", "ledger-unavailable"]).await;
    case.house.write_keys(&KEYS);
    case.recovers().await;
    case.settled().await;
}

const VALID: &str = "verified: 2026-11-01, expires: 2027-11-01";
const EXPIRED: &str = "verified: 2020-11-01, expires: 2021-11-01";

/// The regions that the next bid is acknowledged for.
async fn goes_to(case: &mut Case) -> Vec<String> {
    let (_, answer) = case.send_new().await;
    let reports = answer.map(|answer| answer.body).unwrap_or_default();
    let deliveries = reports[0]["deliveries"].as_array().cloned().unwrap_or_default();
    deliveries.iter().filter_map(|d| Some(d["region"].as_str()?.to_owned())).collect()
}

async fn expired_transfer_stays_home(table: &Table) {
    let mut case = Case::of("transfer expired, stays home", table, local()).await;
    let before = goes_to(&mut case).await;
    case.row(before == [EU, US], "crosses before", &format!("{before:?}"));
    edit(&case.house, RULES, VALID, EXPIRED);
    case.reload_taken().await;
    let home = goes_to(&mut case).await;
    case.row(home == [EU], "stays home", &format!("{home:?}"));
    edit(&case.house, RULES, EXPIRED, VALID);
    case.reload_taken().await;
    let after = goes_to(&mut case).await;
    case.row(after == [EU, US], "crosses again", &format!("{after:?}"));
    case.settled().await;
}

async fn expired_transfer_is_refused(table: &Table) {
    let house = local();
    edit(&house, DATASETS, "if-blocked: stay-home", "if-blocked: refuse");
    let mut case = Case::of("transfer expired, refused", table, house).await;
    case.works().await;
    edit(&case.house, RULES, VALID, EXPIRED);
    case.closes(422, &["transfer-not-allowed"]).await;
    edit(&case.house, RULES, EXPIRED, VALID);
    // The refusal is this key's answer for good: a decision is not taken back. A new request succeeds.
    let through = eventually(WITHIN, async || {
        let (_, answer) = case.send_new().await;
        answer.is_some_and(|answer| answer.status == 200).then_some(())
    });
    let through = through.await.is_some();
    case.row(through, "recovers by itself", "a new request");
    case.settled().await;
}

/// A clock that is ahead of the one that the gateway will read.
struct Ahead;

impl audit::Clock for Ahead {
    fn now(&self) -> audit::Time {
        #[expect(clippy::disallowed_methods, reason = "the clock of a ledger that a test writes")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + AHEAD;
        audit::Time { us: i64::try_from(now.as_micros()).unwrap(), err_us: 0, source: "ahead" }
    }
}

/// The node's own newest row is of a time that the clock has not reached.
async fn clock_behind(table: &Table) {
    let house = local();
    let url = format!("sqlite:{}", house.path("ledger.db").display())
        .parse()
        .unwrap_or_else(|e| panic!("{e}"));
    let options = audit::Options {
        origin: "faults.example/sluicegate".to_owned(),
        writer: audit::WriterId([7; 16]),
        node: "faults-1".to_owned(),
        software: "test".to_owned(),
        clock: Arc::new(Ahead),
        search_key: audit::SearchKey { name: "test".to_owned(), check: [1; 16] },
        standing: audit::Standing::Node,
        skew_max_us: i64::MAX,
    };
    audit::Ledger::open(&url, options).await.unwrap().close().await.unwrap();
    let gateway = house.start_unready().await;
    let mut case = Case::with("clock behind", table, house, gateway);
    case.closes(503, &["ledger-unavailable"]).await;
    let said = eventually(WITHIN, async || {
        case.gateway.stderr().contains("`sluicegate ledger restart-time`").then_some(())
    });
    let said = said.await.is_some();
    case.row(said, "the log names the way out", "`ledger restart-time`");
    case.recovers().await;
    case.settled().await;
}

/// A small disk of a test's own.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&at).output();
        mounted.is_ok_and(|done| done.status.success()).then_some(Self(at))
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Not a byte is left.
    fn fill(&self) {
        let full = fs::write(self.filler(), vec![0; 4 << 20]);
        assert!(full.is_err(), "the disk is larger than it should be");
    }

    fn clear(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

async fn disk_full(table: &Table, cause: &'static str, house: House, code: &str) {
    let at = house.path("small");
    let Some(disk) = SmallDisk::mount(at) else {
        sluicegate_tests::components::tell(&format!("left out: {cause}: no right to mount a disk"));
        return;
    };
    let mut case = Case::of(cause, table, house).await;
    case.works().await;
    disk.fill();
    case.closes(503, &[code]).await;
    disk.clear();
    case.recovers().await;
    let log = case.gateway.stderr();
    let lines = |event: &str| log.lines().filter(|line| line.contains(event)).count();
    let (full, writable) = (lines("\"disk-full\""), lines("\"disk-writable\""));
    let said = full == 1 && writable == 1;
    case.row(said, "the log says full and writable once", if said { "it does" } else { &log });
    case.settled().await;
}

async fn ledger_disk_full(table: &Table) {
    let house = House::new(Store::Sqlite("small/ledger.db"), Pipeline::Embedded("eu-central.db"));
    disk_full(table, "disk full, SQLite ledger", house, "ledger-unavailable").await;
}

async fn pipeline_disk_full(table: &Table) {
    let house = House::new(Store::Sqlite("ledger.db"), Pipeline::Embedded("small/eu-central.db"));
    disk_full(table, "disk full, embedded pipeline", house, "pipeline-unavailable").await;
}

/// The ledger's file loses its name, which an open file survives: what is written then would be lost.
async fn ledger_file_removed(table: &Table) {
    let mut case = Case::of("SQLite ledger removed", table, local()).await;
    case.works().await;
    let (file, aside) = (case.house.path("ledger.db"), case.house.path("aside.db"));
    fs::rename(&file, &aside).unwrap();
    case.closes(503, &["ledger-unavailable"]).await;
    let log = case.gateway.stderr();
    let said = log.contains("ledger-unavailable") && log.contains("removed or replaced");
    case.row(said, "one log line says why", if said { "it does" } else { &log });
    fs::rename(&aside, &file).unwrap();
    case.recovers().await;
    case.settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_on_this_machine_closes_the_gate() {
    let table = Table::default();
    tokio::join!(
        bad_bundle_on_reload(&table),
        bad_bundle_at_start(&table),
        key_missing_on_reload(&table),
        key_missing_at_start(&table),
        expired_transfer_stays_home(&table),
        expired_transfer_is_refused(&table),
        clock_behind(&table),
        ledger_file_removed(&table),
        ledger_disk_full(&table),
        pipeline_disk_full(&table),
    );
    table.judge();
}

async fn postgres_down(table: &Table) {
    let mut server = PrivatePostgres::start().await;
    let store = Store::Postgres(Database::fresh(&server.url()).await.url);
    let house = House::new(store, Pipeline::Embedded("eu-central.db"));
    let mut case = Case::of("PostgreSQL down", table, house).await;
    case.works().await;
    server.crash().await;
    case.closes(503, &["ledger-unavailable"]).await;
    server.start_again().await;
    case.recovers().await;
    case.settled().await;
}

async fn kafka_down(table: &Table) {
    let mut broker = PrivateKafka::start(&Ca::new("broker"), "").await;
    create_topic(&broker.plain(), TOPIC, 4).await;
    let house = House::new(Store::Sqlite("ledger.db"), Pipeline::Kafka(broker.plain()));
    let mut case = Case::of("Kafka down", table, house).await;
    case.works().await;
    broker.kill();
    case.closes(503, &["pipeline-unavailable", "pipeline-unknown"]).await;
    broker.start_again().await;
    case.recovers().await;
    case.settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_closes_the_gate() {
    require!(servers);
    let table = Table::default();
    tokio::join!(postgres_down(&table), kafka_down(&table));
    table.judge();
}
