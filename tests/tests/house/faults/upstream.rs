//! A guarded Kafka cluster that changes under the gateway: passwords and authorities rotate, a topic or a right
//! is missing and comes later, a topic takes smaller batches than the gateway sends. Nothing that an operator
//! can fix is a record's last word, and what one topic lacks is no other topic's wait.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use krafka::admin::AclOperation;
use reqwest::Client;
use serde_json::{Value, json};
use sluicegate_tests::{
    ca::{Ca, replace},
    components::tell,
    dice::Dice,
    gateway::{CONFIG, Gateway},
    kafka::{self, GUARDED, PrivateKafka, create_small_topic, create_topic, permit, set_password},
    process::eventually,
    require,
};

use super::setup::{EU, House, Pipeline, Store, TOPIC, US, bid, publish};

const USER: &str = "gateway";
/// Once its credentials are right again, a region is in use again within this time.
const BACK_WITHIN: Duration = Duration::from_secs(15);
/// Less than the wait for a topic that is missing.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Longer than the broker keeps an idle connection.
const IDLE: Duration = Duration::from_secs(5);

/// A gateway's house whose Europe is a guarded cluster.
async fn guarded() -> (PrivateKafka, House) {
    let ca = Ca::new("broker");
    let broker = PrivateKafka::start(&ca, GUARDED).await;
    set_password(&broker.plain(), USER, "one").await;
    let house = House::new(Store::Sqlite("ledger.db"), Pipeline::Kafka(broker.plain()));
    replace(&house.path("certs/kafka-ca.pem"), &ca.pem());
    replace(&house.path("kafka.password"), "one\n");
    let config = std::fs::read_to_string(house.path(CONFIG)).unwrap();
    let plain = format!("bootstrap: ['{}']", broker.plain());
    assert!(config.contains(&plain), "{config}");
    let guarded = format!(
        "bootstrap: ['{}'], tls: {{ ca: certs/kafka-ca.pem }}, sasl: {{ mechanism: SCRAM-SHA-256, \
         username: {USER}, password-file: kafka.password }}",
        broker.tls()
    );
    replace(&house.path(CONFIG), &config.replace(&plain, &guarded));
    (broker, house)
}

/// One keyed bid; whatever is answered must say that it may be sent again.
async fn send(client: &Client, url: &str, id: &str) -> Result<bool, String> {
    let sent = publish(client, url, Some(id), &bid("k", id, 1, "DE")).send().await;
    let answer = sent.map_err(|e| format!("{id}: {e:?}"))?;
    match answer.status().as_u16() {
        200 => Ok(true),
        409 | 503 => Ok(false),
        status => Err(format!("{id}: {status} {}", answer.text().await.unwrap_or_default())),
    }
}

/// Publishes bid after bid, each under its key until it is taken.
async fn load(client: Client, url: String, over: Arc<AtomicBool>) -> (Vec<String>, Vec<String>) {
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    for n in 0.. {
        let id = format!("load-{n}");
        loop {
            match send(&client, &url, &id).await {
                Ok(true) => break taken.push(id),
                Ok(false) if over.load(Ordering::Relaxed) => return (taken, refused),
                Ok(false) => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(why) => break refused.push(why),
            }
        }
        if over.load(Ordering::Relaxed) {
            break;
        }
    }
    (taken, refused)
}

/// Ready, and takes a record, within the time.
async fn is_back(
    gateway: &Gateway,
    house: &House,
    id: &str,
    limit: Duration,
) -> Result<(), String> {
    let (client, url, started) = (house.publisher(), gateway.url(""), Instant::now());
    let taken = eventually(limit, async || match send(&client, &url, id).await {
        Ok(true) => Some(Ok(())),
        Ok(false) => None,
        Err(why) => Some(Err(why)),
    });
    taken.await.unwrap_or_else(|| Err(format!("{id}: not taken within {limit:?}")))?;
    if !gateway.ready(&house.ca, limit.saturating_sub(started.elapsed())).await {
        return Err(format!("{id}: not ready within {limit:?}"));
    }
    tell(&format!("{id}: back after {} ms", started.elapsed().as_millis()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_and_authorities_of_a_cluster_rotate() {
    require!(servers);
    let (mut broker, house) = guarded().await;
    permit(&broker.plain(), USER, "*", &[AclOperation::All]).await;
    create_topic(&broker.plain(), TOPIC, 4).await;
    let gateway = house.start().await;
    is_back(&gateway, &house, "first", BACK_WITHIN).await.unwrap();

    // Idle: connections are gone, and the next login fails until the file follows.
    set_password(&broker.plain(), USER, "two").await;
    tokio::time::sleep(IDLE).await;
    assert!(gateway.readiness(&house.ca, 503, BACK_WITHIN).await, "the old password still works");
    let told = house.publisher();
    let told =
        publish(&told, &gateway.url(""), None, &bid("k", "x", 1, "DE")).send().await.unwrap();
    assert_eq!(told.status(), 503);
    let told = told.text().await.unwrap();
    assert!(!told.contains("127.0.0.1") && !told.to_lowercase().contains("sasl"), "{told}");
    replace(&house.path("kafka.password"), "two\n");
    is_back(&gateway, &house, "after an idle rotation", BACK_WITHIN).await.unwrap();

    let over = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(load(house.publisher(), gateway.url(""), over.clone()));
    set_password(&broker.plain(), USER, "three").await;
    tokio::time::sleep(IDLE).await;
    replace(&house.path("kafka.password"), "three\n");
    is_back(&gateway, &house, "after a rotation under load", BACK_WITHIN).await.unwrap();

    let next = Ca::new("next");
    broker.stop().await;
    broker.certify(&next);
    broker.start_again().await;
    // The client meets the new certificate before it knows its authority.
    assert!(gateway.readiness(&house.ca, 503, BACK_WITHIN).await, "an unknown authority");
    replace(&house.path("certs/kafka-ca.pem"), &next.pem());
    is_back(&gateway, &house, "after a new authority", BACK_WITHIN).await.unwrap();

    over.store(true, Ordering::Relaxed);
    let (taken, refused) = load.await.unwrap();
    assert_eq!(refused, Vec::<String>::new(), "{} taken", taken.len());
    assert!(taken.len() > 10, "there was no load: {}", taken.len());
    let log = [gateway.stdout(), gateway.stderr()].concat();
    assert_eq!(gateway.stop().await, Some(0));
    let mut times = BTreeMap::<String, usize>::new();
    for record in house.standing(EU).await {
        *times.entry(record.id).or_default() += 1;
    }
    let wrong: Vec<_> = taken.iter().filter(|id| times.get(*id) != Some(&1)).collect();
    assert!(wrong.is_empty(), "not there once: {wrong:?}");
    // A line for each change, not for each record or try.
    let lines = log.matches("region-unavailable").count();
    assert!((1..=24).contains(&lines), "{lines} lines:\n{log}");
}

/// An auction of a German seller: for Europe's cluster and for Brazil.
fn auction(item: &str, reserve: u64) -> Value {
    let seller = json!({ "id": 1, "country": "DE" });
    let value = json!({ "id": "a", "item": item, "reserve": reserve, "seller": seller });
    json!({ "key": "a", "value": value })
}

async fn auctions(client: &Client, gateway: &Gateway, key: &str, records: &Value) -> (u16, Value) {
    let request = client.post(gateway.url("/v1/topics/auctions/records"));
    let request = request.header("idempotency-key", format!("\"{key}\""));
    let answer = request.json(records).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn bids(client: &Client, gateway: &Gateway, key: &str, records: &Value) -> (u16, Value) {
    let request = publish(client, &gateway.url(""), Some(key), records);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// How long an auction takes that is sent a little later than what is beside it.
async fn beside(client: &Client, gateway: &Gateway, key: &str) -> Duration {
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started = Instant::now();
    assert_eq!(auctions(client, gateway, key, &auction("table", 5)).await.0, 200);
    started.elapsed()
}

/// Sends a request again until it is taken.
async fn completed(limit: Duration, mut again: impl AsyncFnMut() -> (u16, Value)) -> Value {
    let mut last = (0, Value::Null);
    let taken = eventually(limit, async || {
        last = again().await;
        (last.0 == 200).then(|| last.1.clone())
    });
    taken.await.unwrap_or_else(|| panic!("not completed: {last:?}"))
}

fn regions(reports: &Value) -> Vec<&str> {
    let deliveries = reports[0]["deliveries"].as_array().unwrap();
    let mut regions: Vec<&str> = deliveries.iter().map(|d| d["region"].as_str().unwrap()).collect();
    regions.sort_unstable();
    regions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_adds_later_completes_what_was_begun() {
    require!(servers);
    let (broker, house) = guarded().await;
    let at = broker.plain();
    // Enough to deliver and to look up; not enough to ask how large a batch may be.
    permit(&at, USER, TOPIC, &[AclOperation::Write, AclOperation::Read]).await;
    create_small_topic(&at, "auctions", 8_000).await;
    let (gateway, client) = (house.start().await, house.publisher());

    // No right to write: Brazil has it, Europe does not, and nothing is final.
    for _ in 0..2 {
        let (status, told) = auctions(&client, &gateway, "a-1", &auction("chair", 5)).await;
        assert_eq!((status, &told["code"]), (503, &json!("pipeline-denied")), "{told}");
        assert_eq!(
            told["detail"],
            "region `eu-central`: the region's pipeline denied the gateway access"
        );
    }
    permit(&at, USER, "auctions", &[AclOperation::All]).await;
    let reports = completed(BACK_WITHIN, async || {
        auctions(&client, &gateway, "a-1", &auction("chair", 5)).await
    })
    .await;
    assert_eq!(regions(&reports), [EU, "sa-east"]);
    assert_eq!(kafka::read(&at, "auctions").await.len(), 1);
    assert_eq!(auctions(&client, &gateway, "a-1", &auction("chair", 5)).await, (200, reports));

    // A missing topic is waited for by its first record alone, and then refused at once.
    let one = bid("k", "b-1", 1, "DE");
    let ((status, told), beside) =
        tokio::join!(bids(&client, &gateway, "b-1", &one), beside(&client, &gateway, "a-2"));
    assert_eq!((status, &told["code"]), (503, &json!("pipeline-unknown-topic")), "{told}");
    let missing = join_all((0..20).map(async |n| {
        let (id, started) = (format!("missing-{n}"), Instant::now());
        let (status, _) = bids(&client, &gateway, &id, &bid("k", &id, 1, "DE")).await;
        assert_eq!(status, 503);
        started.elapsed()
    }));
    let slowest = missing.await.into_iter().max().unwrap();
    tell(&format!("of a missing topic: {slowest:?}; of another topic beside it: {beside:?}"));
    assert!(beside < AT_ONCE, "another topic waited {beside:?}");
    assert!(slowest < AT_ONCE, "a topic known to be missing waited {slowest:?}");

    // It comes, for small batches only.
    create_small_topic(&at, TOPIC, 4_000).await;
    let again = async || bids(&client, &gateway, "b-1", &bid("k", "b-1", 1, "DE")).await;
    let reports = completed(BACK_WITHIN, again).await;
    assert_eq!(regions(&reports), [EU, US]);
    for region in [EU, US] {
        let standing = house.standing(region).await;
        let times = standing.iter().filter(|record| record.id == "b-1").count();
        assert_eq!(times, 1, "{region}: {standing:?}");
    }

    // One record is too large alone, 500 are not; compression must not help.
    let mut dice = Dice(7);
    let mut noise = |bytes: usize| -> String {
        (0..bytes.div_ceil(16)).map(|_| format!("{:016x}", dice.roll())).collect()
    };
    let mut records: Vec<Value> =
        (0..500_u64).map(|n| bid("k", &format!("{n}-{}", noise(160)), n, "DE")).collect();
    records.insert(250, bid("k", &noise(20_000), 1_000, "DE"));
    let (status, reports) = bids(&client, &gateway, "large", &json!(records)).await;
    assert_eq!(status, 207, "{reports}");
    let failed = |report: &&Value| report["status"] == "failed";
    let failed: Vec<&Value> = reports.as_array().unwrap().iter().filter(failed).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(
        (&failed[0]["index"], &failed[0]["error"]["code"]),
        (&json!(250), &json!("pipeline-too-large"))
    );
    assert_eq!(house.standing(EU).await.len(), 1 + 500);

    // Where the gateway may ask for a topic's limit, it keeps to it, and the order within a key stays.
    let items: Value = (0..500).map(|n| auction(&noise(160), n)).collect();
    assert_eq!(auctions(&client, &gateway, "many", &items).await.0, 200);
    let standing = kafka::read(&at, "auctions").await;
    let value = |record: &kafka::Record| -> Value {
        serde_json::from_slice(record.value.as_ref().unwrap()).unwrap()
    };
    let reserves: Vec<u64> =
        standing.iter().skip(2).map(|record| value(record)["reserve"].as_u64().unwrap()).collect();
    assert_eq!(reserves, (0..500).collect::<Vec<u64>>());
    let log = [gateway.stdout(), gateway.stderr()].concat();
    assert!(log.contains("TopicAuthorizationFailed"), "the log has the cause: {log}");
    assert_eq!(gateway.stop().await, Some(0));
}
