//! Publishing over HTTPS, the ways in which it goes well and in which it is refused in order: forms of
//! records, protocols and logins, batches and streams, idempotency, quotas and bounds, tombstones, and a
//! policy that changes while it is in force. What was published is read back from the topics.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};
use futures_util::{StreamExt as _, stream};
use reqwest::{Client, RequestBuilder, Response, Version};
use serde_json::{Value, json};
use sluicegate_tests::{
    client::{Credential, builder, tls},
    gateway::{Gateway, run},
    jwt::SigningKey,
    process::eventually,
    setup::{Setup, claims},
};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::mpsc;

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const PARTITIONS: u32 = 4;
const REGIONS: [&str; 3] = ["eu-central", "us-east", "sa-east"];
const TAKEN_WITHIN: Duration = Duration::from_secs(20);

/// The auction house, running.
struct House {
    setup: Setup,
    gateway: Gateway,
    key: SigningKey,
}

/// An answer, read.
struct Answer {
    status: u16,
    kind: String,
    retry_after: Option<String>,
    replayed: Option<String>,
    body: String,
}

impl Answer {
    async fn of(request: RequestBuilder) -> Self {
        Self::read(request.send().await.unwrap()).await
    }

    async fn read(response: Response) -> Self {
        let header = |name| Some(response.headers().get(name)?.to_str().unwrap().to_owned());
        Self {
            status: response.status().as_u16(),
            kind: header("content-type").unwrap_or_default(),
            retry_after: header("retry-after"),
            replayed: header("idempotency-replayed"),
            body: response.text().await.unwrap(),
        }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    /// It is a problem document with this status and code.
    fn is_problem(&self, status: u16, code: &str) {
        assert_eq!(
            (self.status, self.kind.as_str()),
            (status, "application/problem+json"),
            "{}",
            self.body
        );
        assert_eq!(self.json()["code"], code, "{}", self.body);
    }
}

impl House {
    async fn start(change: impl FnOnce(&mut Setup)) -> Self {
        let key = SigningKey::ed25519("first");
        let mut setup = Setup::quickstart();
        setup.believe(&key);
        change(&mut setup);
        let gateway = setup.start().await;
        Self { setup, gateway, key }
    }

    async fn with_limits(limits: &str) -> Self {
        Self::start(|setup| setup.config.push_str(&format!("limits: {{ {limits} }}\n"))).await
    }

    fn post(&self, client: &Client, topic: &str, kind: &str) -> RequestBuilder {
        let url = self.gateway.url(&format!("/v1/topics/{topic}/records"));
        client.post(url).header("content-type", kind)
    }

    /// All records of a topic in a region, as analysts may see them.
    async fn topic(&self, region: &str, topic: &str) -> Vec<Value> {
        let analyst = self.setup.client("analyst");
        let mut records = Vec::new();
        for partition in 0..PARTITIONS {
            let path = format!(
                "/v1/topics/{topic}/partitions/{partition}/records?region={region}&limit=1000"
            );
            let answer = Answer::of(analyst.get(self.gateway.url(&path))).await;
            match answer.status {
                200 => {
                    records.extend(answer.body.lines().map(|l| serde_json::from_str(l).unwrap()))
                }
                status => assert_eq!(status, 404, "{}", answer.body),
            }
        }
        records
    }

    /// A file of the gateway's own.
    async fn database(&self, name: &str) -> SqliteConnection {
        let file = self.setup.path().join(format!("data/{name}.db"));
        let options = SqliteConnectOptions::new().filename(file);
        SqliteConnection::connect_with(&options).await.unwrap()
    }

    async fn everywhere(&self, topic: &str) -> usize {
        let mut count = 0;
        for region in REGIONS {
            count += self.topic(region, topic).await.len();
        }
        count
    }

    async fn stop(self) {
        assert_eq!(self.gateway.stop().await, Some(0));
    }
}

fn person(id: u64, country: &str) -> Value {
    json!({ "key": id.to_string(), "value": {
        "id": id, "name": "Mona Lisa", "email": "mona@louvre.example", "card": "4111 1111 1111 1234",
        "city": "Paris", "country": country, "born": "1503-06-15", "ip": "198.51.100.77",
        "time": 1_700_000_000, "note": "not listed",
    }})
}

fn bid(auction: u64, country: &str) -> Value {
    json!({ "key": auction.to_string(), "value": {
        "auction": auction, "price": 120, "bidder": { "id": 1001, "country": country },
        "terminal": "terminal-7",
    }})
}

fn is_token(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.starts_with("tk1_"))
}

/// Every protocol and login gives the same protected record, and one member has one token.
#[tokio::test]
async fn a_record_is_protected_by_every_way_in() {
    let house = House::start(|_| {}).await;
    let identity = house.setup.identity("svc.accounts");
    let token = house.key.token(&claims("svc.accounts").json());
    for credential in [Credential::Certificate(&identity), Credential::Bearer(&token)] {
        for (alpn, version) in [("h2", Version::HTTP_2), ("http/1.1", Version::HTTP_11)] {
            let mut tls = tls(&house.setup.ca, &credential);
            tls.alpn_protocols = vec![alpn.into()];
            let client = builder(&house.setup.ca, &credential).tls_backend_preconfigured(tls);
            let request =
                house.post(&client.build().unwrap(), "people", JSON).json(&person(7, "DE"));
            let response = request.send().await.unwrap();
            assert_eq!(response.version(), version);
            one_delivered(&Answer::read(response).await);
        }
    }
    let records = house.topic("eu-central", "people").await;
    assert_eq!(records.len(), 4);
    for record in &records {
        protected(record);
        assert_eq!((&record["key"], &record["value"]), (&records[0]["key"], &records[0]["value"]));
    }
    assert_eq!(house.everywhere("people").await, 4, "Europeans stay in Europe");
    house.stop().await;
}

fn one_delivered(answer: &Answer) {
    assert_eq!((answer.status, answer.kind.as_str()), (200, JSON), "{}", answer.body);
    let report = &answer.json()[0];
    assert_eq!(report["status"], "delivered");
    assert_eq!(report["deliveries"][0]["region"], "eu-central");
    assert!(report["partition"].is_u64() && report["offset"].is_u64());
    assert!(report["decision_id"].is_string() && report["ledger"].is_string());
}

fn protected(record: &Value) {
    let value = &record["value"];
    assert!(is_token(&value["id"]) && is_token(&value["email"]), "{record}");
    assert_eq!(value["id"], record["key"], "one member, one token");
    assert_eq!(value["name"], "[redacted]");
    assert!(value["card"].as_str().unwrap().ends_with("1234"));
    assert_eq!((&value["born"], &value["ip"]), (&json!("1503"), &json!("198.51.100.0/24")));
    assert!(value.get("city").is_none() && value.get("note").is_none());
    assert!(!record.to_string().contains("4111"), "{record}");
}

#[tokio::test]
async fn an_array_with_mixed_outcomes_says_each() {
    let house = House::start(|_| {}).await;
    let market = house.setup.client("svc.market");
    let batch = json!([bid(1, "DE"), bid(2, "ZZ"), bid(3, "US"), bid(4, "CN")]);
    let answer = Answer::of(house.post(&market, "bids", JSON).json(&batch)).await;
    assert_eq!((answer.status, answer.kind.as_str()), (207, JSON), "{}", answer.body);
    let reports = answer.json();
    let told: Vec<(u64, &str)> = reports.as_array().unwrap().iter().map(told).collect();
    assert_eq!(told, [(0, "delivered"), (1, "refused"), (2, "delivered"), (3, "refused")]);
    assert_eq!(reports[0]["deliveries"].as_array().unwrap().len(), 2, "{reports}");
    assert_eq!(reports[3]["error"]["code"], "no-region");
    assert!(!answer.body.contains("ZZ"), "a value is repeated: {}", answer.body);
    let prices = house.topic("us-east", "bids").await;
    assert_eq!(prices.len(), 2);
    assert!(prices.iter().all(|record| is_token(&record["value"]["bidder"]["id"])), "{prices:?}");
    house.stop().await;
}

fn told(report: &Value) -> (u64, &str) {
    (report["index"].as_u64().unwrap(), report["status"].as_str().unwrap())
}

/// Reports come back while the body is still being written: each line's before the next is sent.
#[tokio::test]
async fn a_stream_is_answered_line_by_line() {
    let house = House::start(|_| {}).await;
    let market = house.setup.client("svc.market");
    let (lines, waiting) = mpsc::channel::<Result<String, std::io::Error>>(1);
    let body = stream::unfold(waiting, async |mut w| w.recv().await.map(|line| (line, w)));
    let request = house.post(&market, "bids", NDJSON).body(reqwest::Body::wrap_stream(body));
    lines.send(Ok(format!("{}\n", bid(0, "DE")))).await.unwrap();
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut reports = response.bytes_stream();
    let countries = ["DE", "ZZ", "US", "FR", "BR"];
    for (number, country) in countries.into_iter().enumerate() {
        if number > 0 {
            lines.send(Ok(format!("{}\n", bid(number as u64, country)))).await.unwrap();
        }
        let line = reports.next().await.unwrap().unwrap();
        let report: Value = serde_json::from_slice(&line).unwrap();
        let status = if country == "ZZ" { "refused" } else { "delivered" };
        assert_eq!(told(&report), (number as u64, status));
    }
    drop(lines);
    assert!(reports.next().await.is_none());
    house.stop().await;
}

/// A body that is written one line a chunk, each on its own, by a publisher that does not wait for reports.
fn chunks(lines: Vec<String>) -> reqwest::Body {
    let chunks = stream::iter(lines).then(async |line| {
        tokio::task::yield_now().await;
        Ok::<_, std::io::Error>(line)
    });
    reqwest::Body::wrap_stream(chunks)
}

/// Lines that are long enough for a frame of HTTP/2 each.
fn bids(count: u64) -> Vec<String> {
    let line = |n| {
        let mut bid = bid(n, "DE");
        bid["value"]["channel"] = json!("a channel of the auction house");
        format!("{bid}\n")
    };
    (0..count).map(line).collect()
}

/// Rows of the ledger, when nothing is written any more.
async fn rows(house: &House) -> i64 {
    let mut ledger = house.database("ledger").await;
    let mut seen = -1;
    loop {
        let count = "SELECT count(*) FROM ledger_row";
        let now = sqlx::query_scalar(count).fetch_one(&mut ledger).await.unwrap();
        if now == seen {
            return now;
        }
        seen = now;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Publishes lines and reads all reports, which are in order: how long it took.
async fn relayed(house: &House, client: &Client, body: reqwest::Body, count: u64) -> Duration {
    let started = Instant::now();
    let answer = Answer::of(house.post(client, "bids", NDJSON).body(body)).await;
    let took = started.elapsed();
    let reports = answer.body.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let reports: Vec<Value> = reports.collect();
    assert!(reports.iter().map(told).eq((0..count).map(|n| (n, "delivered"))), "{}", answer.body);
    took
}

#[tokio::test]
async fn a_line_a_chunk_costs_at_most_twice_as_much_as_all_lines_in_one() {
    const LINES: u64 = 2_000;
    let house = House::start(|_| {}).await;
    let identity = house.setup.identity("svc.market");
    for alpn in ["h2", "http/1.1"] {
        let credential = Credential::Certificate(&identity);
        let mut tls = tls(&house.setup.ca, &credential);
        tls.alpn_protocols = vec![alpn.into()];
        let client = builder(&house.setup.ca, &credential).tls_backend_preconfigured(tls);
        let client = client.build().unwrap();
        relayed(&house, &client, bids(10).concat().into(), 10).await;
        let (mut cost, mut took) = ([0; 2], [Duration::MAX; 2]);
        for _ in 0..3 {
            let bodies = [bids(LINES).concat().into(), chunks(bids(LINES))];
            for (n, body) in bodies.into_iter().enumerate() {
                let before = rows(&house).await;
                took[n] = took[n].min(relayed(&house, &client, body, LINES).await);
                cost[n] += rows(&house).await - before;
            }
        }
        let ratio = took[1].as_secs_f64() / took[0].as_secs_f64();
        let said = format!("{alpn}: {cost:?} rows, {took:?}: {ratio:.2} times as long\n");
        std::io::stderr().write_all(said.as_bytes()).unwrap();
        assert!(cost[0] > 0 && cost[1] <= 2 * cost[0] && ratio < 4.0, "{said}");
    }
    house.stop().await;
}

/// A line that is alone is published at once; those that come meanwhile wait a moment, together.
#[tokio::test]
async fn only_lines_in_company_wait_for_company() {
    let house = House::with_limits("stream-wait-ms: 1000").await;
    let market = house.setup.client("svc.market");
    let (lines, waiting) = mpsc::channel::<Result<String, std::io::Error>>(50);
    let body = stream::unfold(waiting, async |mut w| w.recv().await.map(|line| (line, w)));
    let request = house.post(&market, "bids", NDJSON).body(reqwest::Body::wrap_stream(body));
    let send = async |n| lines.send(Ok(format!("{}\n", bid(n, "DE")))).await.unwrap();
    send(0).await;
    let mut reports = request.send().await.unwrap().bytes_stream();
    let mut next = async || {
        let reports = String::from_utf8(reports.next().await.unwrap().unwrap().into()).unwrap();
        reports.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    assert_eq!(next().await.iter().map(told).collect::<Vec<_>>(), [(0, "delivered")]);
    let started = Instant::now();
    for n in 1..=20 {
        send(n).await;
        assert_eq!(next().await.iter().map(told).collect::<Vec<_>>(), [(n, "delivered")]);
    }
    assert!(started.elapsed() < Duration::from_secs(10), "each waited: {:?}", started.elapsed());
    // Faster than they can be answered one by one.
    for n in 21..=40 {
        send(n).await;
        tokio::task::yield_now().await;
    }
    let mut stretches = Vec::new();
    while stretches.iter().sum::<usize>() < 20 {
        stretches.push(next().await.len());
    }
    assert!(stretches.len() <= 5, "{stretches:?}");
    drop(lines);
    house.stop().await;
}

/// While a pipeline stalls, a publisher that waits for its report is not called silent, and the next stretches
/// are in the ledger, though only a few.
#[tokio::test]
async fn the_next_lines_are_recorded_while_the_pipeline_stalls() {
    let house = House::with_limits("body-idle-timeout-ms: 500").await;
    let market = house.setup.client("svc.market");
    let (lines, waiting) = mpsc::channel::<Result<String, std::io::Error>>(1);
    let body = stream::unfold(waiting, async |mut w| w.recv().await.map(|line| (line, w)));
    let request = house.post(&market, "bids", NDJSON).body(reqwest::Body::wrap_stream(body));
    lines.send(Ok(bids(1).concat())).await.unwrap();
    let mut reports = request.send().await.unwrap().bytes_stream();
    let mut reported = async |count| {
        let (mut text, mut lines) = (String::new(), 0);
        while lines < count {
            text += std::str::from_utf8(&reports.next().await.unwrap().unwrap()).unwrap();
            lines = text.lines().count();
        }
        assert_eq!(text.matches("\"delivered\"").count(), count, "{text}");
    };
    reported(1).await;
    let (mut ledger, mut region) =
        (house.database("ledger").await, house.database("eu-central").await);
    let mut open = async || -> i64 {
        let count = "SELECT count(*) FROM ledger_intent";
        sqlx::query_scalar(count).fetch_one(&mut ledger).await.unwrap()
    };
    let settled = eventually(TAKEN_WITHIN, async || (open().await == 0).then_some(())).await;
    assert!(settled.is_some());
    sqlx::query("BEGIN IMMEDIATE").execute(&mut region).await.unwrap();
    lines.send(Ok(bids(1).concat())).await.unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(open().await, 1);
    lines.send(Ok(bids(1_700).concat())).await.unwrap();
    let recorded = eventually(TAKEN_WITHIN, async || (open().await == 3).then_some(())).await;
    assert!(recorded.is_some(), "{} are recorded", open().await);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(open().await, 3);
    sqlx::query("ROLLBACK").execute(&mut region).await.unwrap();
    reported(1_701).await;
    lines.send(Ok(bids(1).concat())).await.unwrap();
    reported(1).await;
    drop(lines);
    house.stop().await;
}

/// Stretches that overlap, one in the pipeline, one in the ledger, one judged: the records of one key lie in
/// the order of the lines, and the ledger verifies.
#[tokio::test]
async fn lines_keep_their_order_while_their_stretches_overlap() {
    const LINES: u64 = 4_000;
    let house = House::start(|_| {}).await;
    let (market, analyst) = (house.setup.client("svc.market"), house.setup.client("analyst"));
    let numbered = |n: u64| {
        let mut bid = bid(1, "DE");
        bid["value"]["price"] = json!(n);
        format!("{bid}\n")
    };
    let lines: Vec<String> = (0..LINES).map(numbered).collect();
    relayed(&house, &market, lines.concat().into(), LINES).await;
    let mut prices = Vec::new();
    for (partition, page) in (0..PARTITIONS).flat_map(|p| (0..4).map(move |page| (p, page))) {
        let path = format!(
            "/v1/topics/bids/partitions/{partition}/records?region=us-east&limit=1000&offset={}",
            page * 1_000
        );
        let answer = Answer::of(analyst.get(house.gateway.url(&path))).await;
        let records = answer.body.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
        prices.extend(records.filter_map(|record| record["value"]["price"].as_u64()));
    }
    assert!(prices.iter().copied().eq(0..LINES), "{prices:?}");
    let dir = house.setup.path().to_owned();
    assert_eq!(house.gateway.stop().await, Some(0));
    let verified = run(&dir, &["ledger", "verify", "--store", "sqlite:data/ledger.db"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

/// A stream asks for permission again for each batch. When the policy has changed, what follows is refused,
/// and the ledger has the refusal like that of any other request.
#[tokio::test]
async fn a_stream_that_loses_its_permission_is_refused_on_record() {
    let house = House::start(|_| {}).await;
    let (market, operator) = (house.setup.client("svc.market"), house.setup.client("operator"));
    let refusals = || {
        let dir = house.setup.path();
        let export =
            ["ledger", "export", "--store", "sqlite:data/ledger.db", "--to", "asked.export"];
        assert!(run(dir, &export).status.success());
        let ledger = std::fs::read(dir.join("asked.export")).unwrap();
        ledger.windows(13).filter(|bytes| bytes == b"not-permitted").count()
    };
    let (lines, waiting) = mpsc::channel::<Result<String, std::io::Error>>(1);
    let body = stream::unfold(waiting, async |mut w| w.recv().await.map(|line| (line, w)));
    let request = house.post(&market, "bids", NDJSON).body(reqwest::Body::wrap_stream(body));
    lines.send(Ok(format!("{}\n", bid(0, "DE")))).await.unwrap();
    let mut reports = request.send().await.unwrap().bytes_stream();
    let line = reports.next().await.unwrap().unwrap();
    assert_eq!(told(&serde_json::from_slice(&line).unwrap()), (0, "delivered"));
    assert_eq!(refusals(), 0);
    house.setup.change_policy(
        "3-access.yaml",
        "datasets: [auctions, bids]",
        "datasets: [auctions]",
    );
    let reloaded = Answer::of(operator.post(house.gateway.admin_url("/v1/reload"))).await;
    assert_eq!(reloaded.status, 204, "{}", reloaded.body);
    lines.send(Ok(format!("{}\n", bid(1, "DE")))).await.unwrap();
    let last: Value = serde_json::from_slice(&reports.next().await.unwrap().unwrap()).unwrap();
    assert_eq!((&last["status"], &last["code"]), (&json!(403), &json!("not-permitted")));
    assert!(reports.next().await.is_none());
    assert_eq!(refusals(), 1);
    house.stop().await;
}

/// A line that cannot be read ends the stream with a problem as its last line; what came before stands.
#[tokio::test]
async fn a_broken_line_ends_a_stream_and_says_which() {
    let house = House::start(|_| {}).await;
    let market = house.setup.client("svc.market");
    let body =
        format!("{}\n\n{}\n{{\"secret\": 1}}\n{}\n", bid(1, "DE"), bid(2, "DE"), bid(3, "DE"));
    let answer = Answer::of(house.post(&market, "bids", NDJSON).body(body)).await;
    assert_eq!((answer.status, answer.kind.as_str()), (200, NDJSON));
    let mut lines: Vec<Value> =
        answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.pop().unwrap();
    assert_eq!(lines.iter().map(told).collect::<Vec<_>>(), [(0, "delivered"), (1, "delivered")]);
    assert_eq!(last["code"], "bad-request");
    assert!(last["detail"].as_str().unwrap().starts_with("record 2:"), "{last}");
    assert!(!answer.body.contains("secret"));
    house.stop().await;
}

#[tokio::test]
async fn cloud_events_come_in_three_forms() {
    let house = House::start(|_| {}).await;
    let market = house.setup.client("svc.market");
    let event = |n: u64| {
        json!({ "specversion": "1.0", "id": n.to_string(), "source": "/market", "type": "bid",
                "partitionkey": n.to_string(), "data": bid(n, "DE")["value"] })
    };
    let structured = house.post(&market, "bids", "application/cloudevents+json").json(&event(1));
    let batch = house.post(&market, "bids", "application/cloudevents-batch+json");
    let binary = house.post(&market, "bids", JSON).json(&bid(4, "DE")["value"]);
    let binary =
        [("ce-specversion", "1.0"), ("ce-id", "4"), ("ce-source", "/market"), ("ce-type", "bid")]
            .into_iter()
            .fold(binary, |request, (name, value)| request.header(name, value))
            .header("ce-partitionkey", "4");
    for request in [structured, batch.json(&json!([event(2), event(3)])), binary] {
        let answer = Answer::of(request).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let records = house.topic("eu-central", "bids").await;
    let mut keys: Vec<String> = records.iter().map(|r| r["key"].to_string()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["1", "2", "3", "4"]);
    assert!(
        records.iter().all(|r| r["value"]["price"] == 120 && is_token(&r["value"]["bidder"]["id"]))
    );
    let incomplete = json!({ "specversion": "1.0", "id": "5", "type": "bid" });
    let request = house.post(&market, "bids", "application/cloudevents+json").json(&incomplete);
    Answer::of(request).await.is_problem(400, "bad-request");
    house.stop().await;
}

#[tokio::test]
async fn an_idempotency_key_publishes_once() {
    let house = House::start(|_| {}).await;
    let market = house.setup.client("svc.market");
    let lines = format!("{}\n{}\n", bid(5, "DE"), bid(6, "DE"));
    let cases = [
        ("\"one\"", JSON, bid(1, "DE").to_string(), 200),
        ("two", JSON, json!([bid(2, "DE"), bid(3, "ZZ"), bid(4, "DE")]).to_string(), 207),
        ("three", NDJSON, lines, 200),
        ("four", JSON, bid(7, "ZZ").to_string(), 422),
    ];
    for (key, kind, body, status) in &cases {
        let send =
            || house.post(&market, "bids", kind).header("idempotency-key", *key).body(body.clone());
        let (first, again) = (Answer::of(send()).await, Answer::of(send()).await);
        assert_eq!(first.status, *status, "{}", first.body);
        let seen = |answer: &Answer| (answer.status, answer.kind.clone(), answer.body.clone());
        assert_eq!(seen(&first), seen(&again), "the repetition of {key}");
        assert_eq!((first.replayed, again.replayed.as_deref()), (None, Some("true")));
        let other = house.post(&market, "bids", kind).header("idempotency-key", *key);
        let other = Answer::of(other.body(bid(99, "DE").to_string())).await;
        other.is_problem(422, "idempotency-key-reused");
    }
    // Five are delivered, each at home and in Virginia.
    assert_eq!(house.everywhere("bids").await, 10);
    house.stop().await;
}

#[tokio::test]
async fn a_quota_that_is_used_up_says_when_to_come_again() {
    let house = House::with_limits("principal-records-per-s: 2").await;
    let (market, accounts) = (house.setup.client("svc.market"), house.setup.client("svc.accounts"));
    let batch: Vec<Value> = (0..4).map(|n| bid(n, "DE")).collect();
    assert_eq!(Answer::of(house.post(&market, "bids", JSON).json(&batch)).await.status, 200);
    let refused = Answer::of(house.post(&market, "bids", JSON).json(&batch)).await;
    refused.is_problem(429, "quota");
    assert!(refused.retry_after.unwrap().parse::<u64>().unwrap() >= 1);
    let other = house.post(&accounts, "people", JSON).json(&person(1, "DE"));
    assert_eq!(Answer::of(other).await.status, 200, "a quota is a principal's own");
    house.stop().await;
}

#[tokio::test]
async fn bounds_and_content_types_are_held() {
    let house = House::with_limits("body-bytes: 8000, record-bytes: 2000").await;
    let market = house.setup.client("svc.market");
    let mut large = bid(1, "DE");
    large["value"]["channel"] = json!("x".repeat(2_500));
    let many: Vec<Value> = (0..100).map(|n| bid(n, "DE")).collect();
    for body in [json!(large), json!(many)] {
        let answer = Answer::of(house.post(&market, "bids", JSON).json(&body)).await;
        answer.is_problem(413, "too-large");
    }
    let chunked = stream::iter(
        many.iter().map(|b| Ok::<_, std::io::Error>(b.to_string())).collect::<Vec<_>>(),
    );
    let chunked = house.post(&market, "bids", JSON).body(reqwest::Body::wrap_stream(chunked));
    Answer::of(chunked).await.is_problem(413, "too-large");
    for kind in ["text/plain", "application/xml", "application/avro"] {
        let answer = Answer::of(house.post(&market, "bids", kind).body("{}")).await;
        answer.is_problem(415, "unknown-format");
    }
    let encoded = async |coding: &str, body: Vec<u8>| {
        let request = house.post(&market, "bids", JSON).header("content-encoding", coding);
        Answer::of(request.body(body)).await
    };
    let gzip = |records: &Value| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(records.to_string().as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    encoded("br", b"{}".to_vec()).await.is_problem(415, "unknown-encoding");
    encoded("gzip", b"{}".to_vec()).await.is_problem(400, "bad-request");
    encoded("gzip", gzip(&json!(many))).await.is_problem(413, "too-large");
    assert_eq!(house.everywhere("bids").await, 0);
    assert_eq!(encoded("gzip", gzip(&bid(1, "DE"))).await.status, 200);
    assert_eq!(encoded("identity", bid(2, "DE").to_string().into_bytes()).await.status, 200);
    assert_eq!(house.everywhere("bids").await, 4, "two regions have both");
    house.stop().await;
}

/// Refused before its body was read, a publisher that is still writing gets the answer, not a broken pipe.
#[tokio::test]
async fn an_early_answer_reaches_a_publisher_that_is_still_writing() {
    let house = House::with_limits("body-bytes: 8000, record-bytes: 2000").await;
    let identity = house.setup.identity("svc.market");
    let body = "[".repeat(3_000_000);
    let known = Credential::Certificate(&identity);
    for alpn in ["http/1.1", "h2"] {
        for (credential, kind, status) in
            [(&Credential::None, JSON, 401), (&known, "text/plain", 415), (&known, JSON, 413)]
        {
            let mut tls = tls(&house.setup.ca, credential);
            tls.alpn_protocols = vec![alpn.into()];
            let client = builder(&house.setup.ca, credential).tls_backend_preconfigured(tls);
            let client = client.build().unwrap();
            for _ in 0..10 {
                let request = house.post(&client, "bids", kind).body(body.clone());
                assert_eq!(Answer::of(request).await.status, status, "{alpn}");
            }
        }
    }
    house.stop().await;
}

/// A tombstone deletes what its key stands for, so its key must be the same token as the record's.
#[tokio::test]
async fn tombstones_carry_the_token_of_their_key() {
    let fixed = |setup: &mut Setup| {
        setup.change_policy(
            "2-datasets.yaml",
            "jurisdiction: { field: country }",
            "jurisdiction: { fixed: DE }",
        );
    };
    let house = House::start(fixed).await;
    let accounts = house.setup.client("svc.accounts");
    for record in [person(7, "DE"), json!({ "key": "7", "value": null })] {
        one_delivered(&Answer::of(house.post(&accounts, "people", JSON).json(&record)).await);
    }
    let records = house.topic("eu-central", "people").await;
    assert_eq!(records.len(), 2);
    assert!(is_token(&records[0]["key"]));
    assert_eq!(records[0]["key"], records[1]["key"]);
    assert_eq!(records[1]["value"], Value::Null);
    house.stop().await;
}

/// Publishes a member; what its name looks like in the topic tells which policy is in force.
async fn name_now(house: &House) -> Value {
    let accounts = house.setup.client("svc.accounts");
    let answer = Answer::of(house.post(&accounts, "people", JSON).json(&person(7, "DE"))).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    house.topic("eu-central", "people").await.last().unwrap()["value"]["name"].clone()
}

#[tokio::test]
async fn a_policy_changes_while_the_gateway_runs() {
    let house = House::start(|_| {}).await;
    let (file, operator) = ("4-protection.yaml", house.setup.client("operator"));
    let reload = || Answer::of(operator.post(house.gateway.admin_url("/v1/reload")));
    assert_eq!(name_now(&house).await, "[redacted]");
    house.setup.change_policy(file, "as: redact", "as: constant\n    with: { value: somebody }");
    let taken =
        eventually(TAKEN_WITHIN, async || (name_now(&house).await == "somebody").then_some(()));
    assert!(taken.await.is_some(), "the new policy is not taken: {}", house.gateway.stderr());
    house.setup.change_policy(file, "as: constant", "as: konstant");
    let told = eventually(TAKEN_WITHIN, async || {
        house.gateway.stderr().contains("reload-refused").then_some(())
    });
    assert!(told.await.is_some(), "nothing is said of the bad bundle");
    let log = house.gateway.stderr();
    let why = log.lines().find(|line| line.contains("reload-refused")).unwrap();
    assert!(why.contains(file) && why.contains("konstant"), "{why}");
    let refused = reload().await;
    refused.is_problem(422, "reload-refused");
    assert!(refused.body.contains(file), "{}", refused.body);
    assert_eq!(name_now(&house).await, "somebody", "a bad bundle changes nothing");
    house.setup.change_policy(file, "as: konstant", "as: constant");
    assert_eq!(reload().await.status, 204);
    house.setup.change_policy(file, "as: constant\n    with: { value: somebody }", "as: redact");
    assert_eq!(reload().await.status, 204);
    assert_eq!(name_now(&house).await, "[redacted]");
    house.stop().await;
}
