//! `kill -9` at random moments, under load. Publishers retry an unanswered request under its idempotency key,
//! some give up; in the end every acknowledged record is where its answer says, once, and the ledger
//! knows of everything that is in a pipeline.
//!
//! The tests here are slices of a campaign; `tests/campaign kill` runs the whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::{Client, StatusCode};
use serde_json::Value;
use sluicegate_tests::{
    ca::Ca,
    components::{self, tell},
    dice::Dice,
    kafka::{PrivateKafka, create_topic},
    postgres::{Database, PrivatePostgres},
    require,
};
use tokio::{sync::watch, task::JoinSet};

use super::setup::{
    BR, Book, EU, House, Pipeline, Standing, Store, TOPIC, US, bid, publish, regions_of,
};

const PUBLISHERS: u64 = 8;
const COUNTRIES: [&str; 3] = ["DE", "US", "BR"];
/// The longest life of a gateway between two kills.
const LIFE_MS: u64 = 800;
/// What a publisher waits before it sends an unanswered request again: far below the answer's
/// `Retry-After`, so that retries race the start.
const AGAIN: Duration = Duration::from_millis(20);
/// A request that gets no answer in this time, over all restarts, is a failure.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

/// What a run does; from the environment under `tests/campaign`.
struct Plan {
    kills: u64,
    seed: u64,
}

impl Plan {
    fn of(kills: u64) -> Self {
        let number = |name: &str| env::var(name).ok().and_then(|text| text.parse().ok());
        Self {
            kills: number("SLUICEGATE_CAMPAIGN_KILLS").unwrap_or(kills),
            seed: number("SLUICEGATE_CAMPAIGN_SEED").unwrap_or(20_260_501),
        }
    }
}

/// What publishers share.
struct Board {
    /// The address of the gateway that runs, or ran last.
    address: watch::Receiver<String>,
    over: AtomicBool,
    retries: AtomicU64,
    given_up: AtomicU64,
}

/// A request that was answered.
struct Answered {
    /// For each record: id and country.
    sent: Vec<(String, &'static str)>,
    reports: Vec<Value>,
}

/// One publisher: its requests one after the other, all with one record key a country.
struct Publisher {
    number: u64,
    client: Client,
    board: Arc<Board>,
    dice: Dice,
    answered: Vec<Answered>,
}

impl Publisher {
    async fn run(mut self) -> Vec<Answered> {
        let mut count = 0;
        for n in 0.. {
            if self.board.over.load(Ordering::Relaxed) {
                break;
            }
            let country = COUNTRIES[(self.dice.below(3)) as usize];
            let (mut sent, mut records) = (Vec::new(), Vec::new());
            for _ in 0..=self.dice.below(4) {
                let id = format!("{}:{count}", self.number);
                records.push(bid(&format!("{}/{country}", self.number), &id, count, country));
                sent.push((id, country));
                count += 1;
            }
            let key = format!("{}-{n}", self.number);
            if let Some(reports) = self.answer(&key, &Value::Array(records)).await {
                self.answered.push(Answered { sent, reports });
            }
        }
        self.answered
    }

    /// Until there is an answer. Some requests are cut off by their sender and sent again at once; some are
    /// never sent again when the gateway dies under them.
    async fn answer(&mut self, key: &str, records: &Value) -> Option<Vec<Value>> {
        let gives_up = self.dice.below(8) == 0;
        let mut impatience = (self.dice.below(4) == 0).then(|| 1 + self.dice.below(15));
        let until = Instant::now() + ANSWERED_WITHIN;
        while Instant::now() < until {
            let address = self.board.address.borrow().clone();
            let mut request = publish(&self.client, &address, Some(key), records);
            let cut = impatience.take();
            if let Some(ms) = cut {
                request = request.timeout(Duration::from_millis(ms));
            }
            match request.send().await {
                Ok(answer) if answer.status() == StatusCode::OK => {
                    if let Ok(Value::Array(reports)) = answer.json().await {
                        return Some(reports);
                    }
                }
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    assert!(matches!(status, 409 | 503), "{status}: {:?}", answer.text().await);
                    assert!(answer.headers().contains_key("retry-after"), "{status}");
                }
                Err(_) if gives_up && cut.is_none() => {
                    self.board.given_up.fetch_add(1, Ordering::Relaxed);
                    self.next_life(&address).await;
                    return None;
                }
                Err(_) => {}
            }
            self.board.retries.fetch_add(1, Ordering::Relaxed);
            if cut.is_none() {
                tokio::time::sleep(AGAIN).await;
            }
        }
        panic!("no answer to {key} within {ANSWERED_WITHIN:?}");
    }

    /// Until the gateway at this address was followed by another, or the campaign is over.
    async fn next_life(&mut self, address: &str) {
        let mut lives = self.board.address.clone();
        let _next = tokio::time::timeout(ANSWERED_WITHIN, lives.wait_for(|at| at != address)).await;
    }
}

/// Publishers, and a gateway that is killed again and again under them.
async fn campaign(house: &House, plan: &Plan) -> (Vec<Answered>, String) {
    let started = Instant::now();
    let mut gateway = house.start().await;
    let (lives, address) = watch::channel(gateway.url(""));
    let board = Arc::new(Board {
        address,
        over: AtomicBool::new(false),
        retries: AtomicU64::new(0),
        given_up: AtomicU64::new(0),
    });
    let mut publishers = JoinSet::new();
    for number in 0..PUBLISHERS {
        let dice = Dice(plan.seed ^ (number << 32));
        let (client, board) = (house.publisher(), board.clone());
        let publisher = Publisher { number, client, board, dice, answered: Vec::new() };
        publishers.spawn(publisher.run());
    }
    let mut dice = Dice(plan.seed);
    for _ in 0..plan.kills {
        tokio::time::sleep(Duration::from_micros(dice.below(LIFE_MS * 1_000))).await;
        gateway.kill();
        gateway = house.start_unready().await;
        lives.send_replace(gateway.url(""));
    }
    board.over.store(true, Ordering::Relaxed);
    let answered: Vec<Answered> = publishers.join_all().await.into_iter().flatten().collect();
    assert_eq!(gateway.stop().await, Some(0), "the last gateway stops in order");
    let records: usize = answered.iter().map(|request| request.sent.len()).sum();
    let numbers = format!(
        "kills {}, seed {}, acknowledged requests {}, acknowledged records {records}, retries {}, \
         given up {}, seconds {}",
        plan.kills,
        plan.seed,
        answered.len(),
        board.retries.load(Ordering::Relaxed),
        board.given_up.load(Ordering::Relaxed),
        started.elapsed().as_secs()
    );
    (answered, numbers)
}

/// All that must be true afterwards; what is not, in words.
async fn judge(house: &House, answered: &[Answered]) -> (Vec<String>, usize) {
    let standing = house.everything().await;
    let book = house.book().await;
    let mut wrong = Vec::new();
    let (code, verdict) = house.verify();
    if code != Some(0) {
        wrong.push(format!("the ledger does not verify: {verdict}"));
    }
    if book.open != 0 {
        wrong.push(format!("{} intents are left open", book.open));
    }
    for (region, records) in &standing {
        once(region, records, &mut wrong);
        in_order(region, records, &mut wrong);
        known(region, records, &book, &mut wrong);
    }
    acknowledged(answered, &standing, &mut wrong);
    let delivered = standing.values().map(Vec::len).sum();
    (wrong, delivered)
}

/// No record is in a region twice.
fn once(region: &str, records: &[Standing], wrong: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    let twice = records.iter().filter(|record| !seen.insert(&record.id));
    wrong.extend(twice.map(|record| format!("{region}: {} is there twice", record.id)));
}

/// A publisher's records stand in the order in which it sent them.
fn in_order(region: &str, records: &[Standing], wrong: &mut Vec<String>) {
    let mut last: BTreeMap<&str, &Standing> = BTreeMap::new();
    for record in records {
        if let Some(before) = last.insert(&record.key, record)
            && (before.partition != record.partition || before.count >= record.count)
        {
            wrong.push(format!("{region}: {} is behind {}", record.id, before.id));
        }
    }
}

/// The ledger has the decision on every record, and where it is.
fn known(region: &str, records: &[Standing], book: &Book, wrong: &mut Vec<String>) {
    let mut edges = BTreeSet::new();
    for (_, partition, from, to) in book.edges.iter().filter(|(of, ..)| of == region) {
        edges.extend((*from..=*to).map(|offset| (*partition, offset)));
    }
    for record in records {
        let (row, _leaf) = record.position.rsplit_once('-').unwrap();
        if !book.rows.contains(row) {
            wrong.push(format!("{region}: {}: no ledger row {row}", record.id));
        }
        if !edges.remove(&(record.partition, record.offset)) {
            wrong.push(format!("{region}: {}: no outcome in the ledger", record.id));
        }
    }
    wrong.extend(
        edges.iter().map(|at| format!("{region}: the ledger has {at:?}, the topic has not")),
    );
}

/// Every acknowledged record is in each of its regions, exactly where the answer says.
fn acknowledged(
    answered: &[Answered],
    standing: &BTreeMap<&'static str, Vec<Standing>>,
    wrong: &mut Vec<String>,
) {
    let mut at = BTreeMap::new();
    for (region, records) in standing {
        at.extend(records.iter().map(|r| ((*region, r.partition, r.offset), r)));
    }
    for request in answered {
        for ((id, country), report) in request.sent.iter().zip(&request.reports) {
            let deliveries = report["deliveries"].as_array().cloned().unwrap_or_default();
            let said: BTreeSet<&str> =
                deliveries.iter().filter_map(|d| d["region"].as_str()).collect();
            if said != regions_of(country).iter().copied().collect() {
                wrong.push(format!("{id}: acknowledged for {said:?}"));
            }
            for delivery in &deliveries {
                let number = |name: &str| delivery[name].as_i64().unwrap();
                let region = [EU, US, BR].into_iter().find(|r| delivery["region"] == *r).unwrap();
                let found = at.get(&(region, number("partition"), number("offset")));
                if !found.is_some_and(|r| r.id == *id && report["ledger"] == *r.position) {
                    wrong.push(format!("{id}: not where the answer says: {report}, but {found:?}"));
                }
            }
        }
    }
}

async fn survives(house: &House, what: &str, kills: u64) {
    let plan = Plan::of(kills);
    let (answered, numbers) = campaign(house, &plan).await;
    let (wrong, delivered) = judge(house, &answered).await;
    tell(&format!(
        "kill -9, {what}: {numbers}, copies in pipelines {delivered}, wrong {}",
        wrong.len()
    ));
    let some: Vec<&String> = wrong.iter().take(20).collect();
    assert!(wrong.is_empty(), "{what}: {} things are wrong ({numbers}): {some:#?}", wrong.len());
    assert!(answered.len() as u64 > plan.kills, "there was no load: {numbers}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_on_sqlite() {
    let house = House::new(Store::Sqlite("ledger.db"), Pipeline::Embedded("eu-central.db"));
    survives(&house, "SQLite, embedded", 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_on_postgres() {
    let (server, _private) = match components::postgres() {
        Ok(server) => (server, None),
        Err(_) => {
            require!(servers);
            let private = PrivatePostgres::start().await;
            (private.url(), Some(private))
        }
    };
    let store = Store::Postgres(Database::fresh(&server).await.url);
    let house = House::new(store, Pipeline::Embedded("eu-central.db"));
    survives(&house, "PostgreSQL, embedded", 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_on_kafka() {
    require!(servers);
    let broker = PrivateKafka::start(&Ca::new("broker"), "").await;
    create_topic(&broker.plain(), TOPIC, 4).await;
    let house = House::new(Store::Sqlite("ledger.db"), Pipeline::Kafka(broker.plain()));
    survives(&house, "SQLite, Apache Kafka", 5).await;
}
