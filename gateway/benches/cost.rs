//! What a record costs the process that protects it: allocations, bytes asked of the allocator, and
//! CPU, by thread. The quickstart's bids, two regions, embedded pipelines, SQLite ledger, over
//! HTTPS. The client is a process of its own, so that none of its work is counted.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark may stop, and speaks to a person"
)]

use std::{
    alloc::System,
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use sluicegate_gateway::{ambient::Ambient, cli::install_crypto, config, service::Service};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::time::Instant;

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Ticks of the kernel's clock for CPU time, per second; the same on every Linux of today.
const TICKS: f64 = 100.0;

fn bid(n: usize) -> String {
    let (country, price) = (["DE", "FR", "US", "IT"][n % 4], 100 + n % 9_000);
    format!(
        "{{\"key\":\"auction-{}\",\"value\":{{\"auction\":{},\"bidder\":{{\"id\":{},\"country\":\"{country}\"}},\
         \"price\":{price},\"channel\":\"channel-{}\",\"terminal\":\"terminal-{:06}\",\
         \"time\":\"2026-11-23T10:{:02}:{:02}.000Z\"}}}}\n",
        n % 997,
        1_000 + n % 997,
        20_000 + n % 5_003,
        n % 17,
        n % 4_001,
        n / 60 % 60,
        n % 60,
    )
}

/// The other process.
async fn publish(dir: &Path, url: &str, tasks: usize, requests: usize, records: usize) {
    let read = |file: &str| std::fs::read(dir.join("certs").join(file)).unwrap();
    let identity = [read("svc.market.pem"), read("svc.market.key")].concat();
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&read("ca.pem")).unwrap()])
        .identity(reqwest::Identity::from_pem(&identity).unwrap())
        .build()
        .unwrap();
    let lines: Vec<String> = (0..records).map(bid).collect();
    let array = format!("[{}]", lines.iter().map(|l| l.trim()).collect::<Vec<_>>().join(","));
    let publishers = (0..tasks).map(|_| {
        let (client, url, body) = (client.clone(), url.to_owned(), array.clone());
        tokio::spawn(async move {
            for _ in 0..requests {
                let request = client.post(&url).header("content-type", "application/json");
                let answer = request.body(body.clone()).send().await.unwrap();
                let status = answer.status();
                let text = answer.text().await.unwrap();
                assert_eq!(status, 200, "{}", text.chars().take(600).collect::<String>());
            }
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.unwrap();
    }
}

/// CPU seconds of this process's threads, by the beginning of their names.
fn cpu() -> BTreeMap<&'static str, f64> {
    let mut by_name = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let (name, rest) = stat.rsplit_once(')').unwrap();
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        let kind = if name.contains("sqlx-sqlite") { "stores" } else { "the rest" };
        *by_name.entry(kind).or_default() += ticks / TICKS;
    }
    by_name
}

async fn measured(dir: &Path, url: &str, tasks: usize, requests: usize, records: usize) {
    let client = || {
        let counts = [tasks, requests, records].map(|n| n.to_string());
        let mut client = Command::new(std::env::current_exe().unwrap());
        client.arg("client").arg(dir).arg(url).args(counts).stdin(Stdio::null());
        let mut client = client.spawn().unwrap();
        tokio::task::spawn_blocking(move || assert!(client.wait().unwrap().success()))
    };
    // Connections, programs and buffers are made.
    client().await.unwrap();
    let (before, region, started) = (cpu(), Region::new(COUNTED), Instant::now());
    client().await.unwrap();
    let (after, made, seconds) = (cpu(), region.change(), started.elapsed().as_secs_f64());
    let count = (tasks * requests * records) as f64;
    let of = |kind: &str| (after[kind] - before.get(kind).unwrap_or(&0.0)) * 1e6 / count;
    println!(
        "{:<28} {:>9.1} {:>9.1} {:>9.2} {:>12.1} {:>10.1} {:>12.0}",
        format!("{tasks} publishers × {records}"),
        made.allocations as f64 / count,
        made.reallocations as f64 / count,
        made.bytes_allocated as f64 / count / 1e3,
        of("the rest"),
        of("stores"),
        count / seconds,
    );
}

async fn run(shapes: &[(usize, usize, usize)]) {
    let dir = tempfile::tempdir().unwrap();
    let demo = Command::new(env!("CARGO_BIN_EXE_sluicegate"))
        .args(["demo", "--once", "--events", "1000", "--dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(demo.status.success(), "{}", String::from_utf8_lossy(&demo.stderr));
    let mut config = config::load(&dir.path().join("sluicegate.yaml")).unwrap();
    config.listen.address.set_port(0);
    config.admin.address.set_port(0);
    let service = Service::start(config, Ambient::system()).await.unwrap();
    let started = Instant::now();
    while !service.health.troubles().await.is_empty() {
        assert!(started.elapsed() < Duration::from_secs(30), "not ready");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let url = format!("https://{}/v1/topics/bids/records", service.data);
    println!("per record: the quickstart's bids, 2 regions, embedded pipelines, SQLite ledger");
    println!(
        "{:<28} {:>9} {:>9} {:>9} {:>12} {:>10} {:>12}",
        "", "allocs", "reallocs", "kB", "CPU µs", "stores µs", "records/s"
    );
    for (tasks, requests, records) in shapes {
        measured(dir.path(), &url, *tasks, *requests, *records).await;
    }
    service.stop().await;
}

fn main() {
    install_crypto();
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --benches` only wants to know that it starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match &arguments[1..] {
        [word, dir, url, tasks, requests, records] if word == "client" => {
            let number = |text: &String| text.parse().unwrap();
            let (tasks, requests, records) = (number(tasks), number(requests), number(records));
            runtime.block_on(publish(Path::new(dir), url, tasks, requests, records));
        }
        // One shape alone, for a profile: publishers, requests, records.
        [tasks, requests, records, ..] => {
            let number = |text: &String| text.parse().unwrap();
            runtime.block_on(run(&[(number(tasks), number(requests), number(records))]));
        }
        _ => runtime.block_on(run(&[(1, 10, 2_000), (1, 20, 500), (4, 20, 500), (1, 300, 1)])),
    }
}
