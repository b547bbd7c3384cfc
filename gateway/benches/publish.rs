//! What policy, protection and ledger cost on the whole way: HTTPS publishing through the service,
//! against the same listener and the same embedded pipeline without them, in one run, in turns. And
//! what a release of the same records costs on top: the same service and policies with one more.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark may stop, and speaks to a person"
)]

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body, extract::State, response::IntoResponse, routing::post};
use bytes::Bytes;
use http_body_util::BodyExt;
use sluicegate_audit::{Position, WriterId};
use sluicegate_gateway::{
    ambient::{Ambient, SystemClock},
    cli::install_crypto,
    config::{self, Config},
    deliver::{Embedded, Entry, Pipeline, pack},
    listen::{
        accept::{Accept, Http},
        body, places,
        tls::Tls,
    },
    service::Service,
};
use tokio::{net::TcpListener, sync::watch, time::Instant};

const ROUNDS: usize = 7;

/// A pane every ten seconds, so that several are closed, noised and published while we measure.
const RELEASE: &str = "\
apiVersion: sluicegate/v1
kind: Release
metadata: { name: events-by-country, citations: [x] }
because: it is measured
dataset: events
topic: events-by-country
unit: { subject: customer.id, domain: customer-id, period: 24h }
budget: { epsilon: 4.0, delta: 1e-9 }
window: { size: 10s, lateness: 1s }
bounds: { windows-per-period: 6, keys-per-window: 2, records-per-key: 3 }
keys: { field: customer.country, public: [DE, FR] }
release:
  - { what: subjects, share: 0.5 }
  - { what: count, share: 0.5 }
";

/// The plain alternative: the body is read, its records are appended, their offsets answered.
struct Plain {
    pipeline: Embedded,
    next: std::sync::atomic::AtomicU64,
}

async fn plain(State(plain): State<Arc<Plain>>, body: Body) -> impl IntoResponse {
    let body = body.collect().await.unwrap().to_bytes();
    let records = body
        .split(|b| *b == b'\n')
        .filter_map(|line| body::line(&body.slice_ref(line)).map(Result::unwrap));
    let wseq = plain.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let entries = records.zip(0_u32..).map(|(record, leaf)| Entry {
        position: Position { writer: WriterId([0; 16]), wseq, leaf },
        key: record.key,
        headers: pack(&record.headers),
        value: record.value,
        came_in: None,
    });
    let placed = plain.pipeline.write(Arc::from("events"), entries.collect()).await;
    let lines: String = placed
        .into_iter()
        .map(Result::unwrap)
        .map(|p| format!("{{\"partition\":{},\"offset\":{}}}\n", p.partition, p.offset))
        .collect();
    lines
}

async fn start_plain(config: &Config, file: &Path) -> std::net::SocketAddr {
    let pipeline = Embedded::open(file, 4, Arc::new(SystemClock)).await.unwrap();
    let state = Arc::new(Plain { pipeline, next: 0.into() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = Arc::new(Tls::load(&config.listen.tls).unwrap());
    let router = Router::new().route("/v1/topics/events/records", post(plain)).with_state(state);
    let (sender, stop) = watch::channel(false);
    std::mem::forget(sender);
    let [places, _] = places::of(&config.limits);
    let (metrics, refused) = (Arc::default(), Arc::new(|_, _| ()));
    let protocol = Arc::new(Http(router));
    let accept = Accept { listener, tls, protocol, places, metrics, refused };
    tokio::spawn(accept.run(config.limits.clone(), stop));
    address
}

fn client(dir: &Path) -> reqwest::Client {
    let read = |file: &str| std::fs::read(dir.join("certs").join(file)).unwrap();
    let identity = [read("my-service.pem"), read("my-service.key")].concat();
    reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&read("ca.pem")).unwrap()])
        .identity(reqwest::Identity::from_pem(&identity).unwrap())
        .build()
        .unwrap()
}

fn line(n: usize) -> String {
    format!(
        "{{\"key\":\"customer-{}\",\"value\":{{\"customer\":{{\"id\":\"c-{n}\",\"email\":\"person{n}@example.org\",\"country\":\"DE\"}},\"what\":\"looked at a product and put it into the basket\",\"at\":\"2026-11-23T10:00:00Z\"}}}}\n",
        n % 997
    )
}

/// Records a second, from `tasks` publishers of `requests` requests of `records` records each.
async fn rate(
    client: &reqwest::Client,
    url: &str,
    tasks: usize,
    requests: usize,
    records: usize,
) -> f64 {
    let body: Bytes = (0..records).map(line).collect::<String>().into();
    let started = Instant::now();
    let publishers = (0..tasks).map(|_| {
        let (client, url, body) = (client.clone(), url.to_owned(), body.clone());
        tokio::spawn(async move {
            for _ in 0..requests {
                let request = client.post(&url).header("content-type", "application/x-ndjson");
                let answer = request.body(body.clone()).send().await.unwrap();
                assert_eq!(answer.status(), 200);
                let text = answer.text().await.unwrap();
                assert_eq!(text.lines().count(), records, "{text}");
            }
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.unwrap();
    }
    (tasks * requests * records) as f64 / started.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    install_crypto();
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}

/// A folder with starter policies, and `release` among them.
fn house(made: PathBuf, release: Option<&str>) -> PathBuf {
    let init =
        Command::new(env!("CARGO_BIN_EXE_sluicegate")).arg("init").arg(&made).output().unwrap();
    assert!(init.status.success());
    if let Some(release) = release {
        std::fs::write(made.join("policies/release.yaml"), release).unwrap();
    }
    made
}

fn config(house: &Path) -> Config {
    let mut config = config::load(&house.join("sluicegate.yaml")).unwrap();
    config.listen.address.set_port(0);
    config.admin.address.set_port(0);
    config
}

async fn start(house: &Path) -> Service {
    let service = Service::start(config(house), Ambient::system()).await.unwrap();
    let started = Instant::now();
    loop {
        let troubles = service.health.troubles().await;
        if troubles.is_empty() {
            return service;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "not ready: {troubles:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How many records a topic has had.
async fn records(house: &Path, topic: &str) -> i64 {
    let pipeline =
        Embedded::open(&house.join("data/eu.db"), 4, Arc::new(SystemClock)).await.unwrap();
    let mut all = 0;
    for partition in 0..4 {
        all += pipeline.read(topic, partition, i64::MAX, 0, 0).await.unwrap().end;
    }
    all
}

async fn run() {
    let dir = tempfile::tempdir().unwrap();
    let without = house(dir.path().join("without"), None);
    let with = house(dir.path().join("with"), Some(RELEASE));
    let plain = start_plain(&config(&without), &dir.path().join("plain.db")).await;
    let (service, releasing) = (start(&without).await, start(&with).await);
    let clients = [client(&without), client(&without), client(&with)];
    let urls = [plain, service.data, releasing.data]
        .map(|address| format!("https://{address}/v1/topics/events/records"));
    println!("records/s, median of {ROUNDS} rounds in turns; embedded pipeline, SQLite ledger");
    println!(
        "{:<30} {:>10} {:>10} {:>8} {:>14} {:>8}",
        "", "plain", "sluicegate", "ratio", "with a release", "ratio"
    );
    let mut sent = 0;
    for (tasks, requests, records) in [(1, 20, 500), (4, 20, 500), (1, 100, 1), (16, 40, 1)] {
        let mut rates = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            for ((client, url), rates) in clients.iter().zip(&urls).zip(&mut rates) {
                rates.push(rate(client, url, tasks, requests, records).await);
            }
            sent += tasks * requests * records;
        }
        let ratio = |a: &[f64], b: &[f64]| median(a.iter().zip(b).map(|(a, b)| b / a).collect());
        let [a, b, c] = &rates;
        println!(
            "{:<30} {:>10.0} {:>10.0} {:>8.2} {:>14.0} {:>8.2}",
            format!("{tasks} publishers × {records} a request"),
            median(a.clone()),
            median(b.clone()),
            ratio(a, b),
            median(c.clone()),
            ratio(b, c),
        );
    }
    service.stop().await;
    releasing.stop().await;
    let counted = records(&with, "events-by-country.contributions").await;
    let released = records(&with, "events-by-country").await;
    println!("the release counted {counted} of {sent} records and published {released} messages");
    assert!(counted == i64::try_from(sent).unwrap() && released > 0);
}
