//! An orderly end: readiness off first, what is under way finished, everything acknowledged there, every chain
//! closed, exit 0. A second signal ends at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use sluicegate_tests::{
    client::{Credential, tls},
    gateway::Gateway,
    process::Signal,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::client::TlsStream;

use super::setup::{House, Pipeline, Store, bid, dial, head, publish};

const PUBLISHERS: u64 = 6;
/// Readiness is off for so long before the listener closes.
const DELAY: Duration = Duration::from_millis(700);
/// "At once", on a slow machine.
const AT_ONCE: Duration = Duration::from_secs(5);

fn house() -> House {
    let house = House::new(Store::Sqlite("ledger.db"), Pipeline::Embedded("eu-central.db"));
    house.configure(&format!("limits: {{ shutdown-delay-ms: {} }}\n", DELAY.as_millis()));
    house
}

/// A request whose body is half sent, and the other half.
async fn half_sent(house: &House, gateway: &Gateway) -> (TlsStream<TcpStream>, String) {
    let config = tls(&house.ca, &Credential::Certificate(&house.market));
    let mut stream = dial(gateway.data, Arc::new(config)).await.unwrap();
    let body = bid("slow", "slow", 1, "DE").to_string();
    let (first, rest) = body.split_at(10);
    stream.write_all(format!("{}{first}", head(body.len())).as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    (stream, rest.to_owned())
}

/// Publishes one after the other until the gateway is gone; the ids that were acknowledged.
async fn load(
    house: Arc<House>,
    url: String,
    number: u64,
    stopping: Arc<AtomicBool>,
) -> Vec<String> {
    let (client, mut acknowledged) = (house.publisher(), Vec::new());
    for n in 0.. {
        let id = format!("{number}:{n}");
        let record = bid(&format!("{number}"), &id, n, "DE");
        match publish(&client, &url, Some(&id), &record).send().await {
            Ok(answer) if answer.status() == 200 => acknowledged.push(id),
            refused if !stopping.load(Ordering::SeqCst) => panic!("before the stop: {refused:?}"),
            Ok(answer) => assert_eq!(answer.status(), 503, "{id}"),
            Err(_) => break,
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_loses_nothing() {
    let house = Arc::new(house());
    let gateway = house.start().await;
    let stopping = Arc::new(AtomicBool::new(false));
    let mut publishers = JoinSet::new();
    for number in 0..PUBLISHERS {
        publishers.spawn(load(house.clone(), gateway.url(""), number, stopping.clone()));
    }
    while house.standing("eu-central").await.len() < 100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (mut slow, rest) = half_sent(&house, &gateway).await;
    let (probe, ready_url) = (house.operator(), gateway.admin_url("/readyz"));
    assert_eq!(probe.get(&ready_url).send().await.unwrap().status(), 200);
    stopping.store(true, Ordering::SeqCst);
    let signalled = Instant::now();
    let end = tokio::spawn(gateway.stop());
    let mut off = false;
    while signalled.elapsed() < DELAY {
        if let Ok(answer) = probe.get(&ready_url).send().await {
            off |= answer.status() == 503;
        }
    }
    assert!(off, "readiness goes off before the listener closes");
    // The listener is closed by now; the request that was under way is finished all the same.
    slow.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(end.await.unwrap(), Some(0));

    let acknowledged = publishers.join_all().await.concat();
    let there: Vec<String> =
        house.standing("eu-central").await.into_iter().map(|record| record.id).collect();
    for id in acknowledged.iter().map(String::as_str).chain(["slow"]) {
        assert_eq!(there.iter().filter(|there| *there == id).count(), 1, "{id}");
    }
    assert_eq!(house.book().await.open, 0, "intents are left open");
    let (code, verdict) = house.verify();
    assert_eq!(code, Some(0), "{verdict}");
    let verdict: Value = serde_json::from_str(&verdict).unwrap();
    assert_eq!(verdict["heads"].as_array().unwrap().len(), 1, "{verdict}");
    assert_eq!(verdict["heads"][0]["closed"], true, "{verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_at_once() {
    let house = house();
    let mut gateway = house.start().await;
    let (_slow, _rest) = half_sent(&house, &gateway).await;
    gateway.signal(Signal::Term);
    assert!(gateway.readiness(&house.ca, 503, AT_ONCE).await, "it does not begin to stop");
    // The request that is half sent would keep it for half a minute.
    tokio::time::sleep(2 * DELAY).await;
    assert!(gateway.runs(), "it did not wait for what is under way");
    let second = Instant::now();
    assert_eq!(gateway.stop().await, Some(1));
    assert!(second.elapsed() < AT_ONCE, "{:?}", second.elapsed());
    assert_eq!(house.verify().0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_hangs_up_leaves_no_intent_open() {
    let house = house();
    let gateway = house.start().await;
    let (url, mut callers) = (gateway.url(""), JoinSet::new());
    for n in 0..200_u64 {
        let request =
            publish(&house.publisher(), &url, Some(&n.to_string()), &bid("k", "x", n, "DE"));
        let patience = Duration::from_micros(1_000 + 600 * n);
        callers.spawn(async move { request.timeout(patience).send().await.is_err() });
    }
    let hung_up = callers.join_all().await.into_iter().filter(|gone| *gone).count();
    assert!(hung_up > 10, "only {hung_up} callers hung up");
    assert_eq!(gateway.stop().await, Some(0));
    let book = house.book().await;
    assert_eq!(book.open, 0, "intents are left open after {hung_up} callers hung up");
}
