//! Bounds of time and memory, with clients that mean no good beside one that does: every state of a connection
//! ends, probes get through a full house, and overload of each kind costs no more memory than OPERATING says
//! and no neighbor its service.

use std::{
    fs,
    net::SocketAddr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Client;
use rustls::{ClientConfig, pki_types::ServerName};
use serde_json::{Value, json};
use sluicegate_tests::{
    client::{Credential, builder, client, tls},
    components::tell,
    gateway::Gateway,
    process::eventually,
    setup::Setup,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// HEADERS of stream 1, one field, and no end of headers.
const HALF_HEADERS: &[u8] = b"\0\0\x01\x01\0\0\0\0\x01\x82";
/// Times so short that a test can wait for them, and how long it waits.
const TIMES: &str = "header-timeout-ms: 800, idle-timeout-ms: 1200, body-idle-timeout-ms: 1000, \
     write-timeout-ms: 1000";
const ENDS_WITHIN: Duration = Duration::from_secs(12);

struct House {
    setup: Setup,
    gateway: Gateway,
}

impl House {
    async fn with_limits(limits: &str) -> Self {
        let mut setup = Setup::quickstart();
        setup.config.push_str(&format!("limits: {{ {limits} }}\n"));
        let gateway = setup.start().await;
        let house = Self { setup, gateway };
        house.refuse_memory_beyond(LIMIT_MIB);
        house
    }

    /// From now on the kernel gives the process no more, and it aborts if it asks. By RLIMIT_DATA, which needs
    /// neither a cgroup nor root, so that there is no machine on which the limit would be left out.
    fn refuse_memory_beyond(&self, mib: u64) {
        let (id, limit) = (self.gateway.id().to_string(), format!("--data={}", mib << 20));
        let limited = Command::new("prlimit").args(["--pid", &id, &limit]).status();
        assert!(limited.is_ok_and(|status| status.success()), "no limit: `prlimit` (util-linux)");
    }

    async fn dial(&self, at: SocketAddr, who: Option<&str>, alpn: &str) -> TlsStream<TcpStream> {
        let identity = who.map(|name| self.setup.identity(name));
        let credential = identity.as_ref().map_or(Credential::None, Credential::Certificate);
        let mut tls = tls(&self.setup.ca, &credential);
        tls.alpn_protocols = vec![alpn.into()];
        dial(at, Arc::new(tls)).await.unwrap()
    }

    /// An analyst by HTTP/2 that makes little room for answers.
    fn reader(&self) -> Client {
        let identity = self.setup.identity("analyst");
        let credential = Credential::Certificate(&identity);
        let mut tls = tls(&self.setup.ca, &credential);
        tls.alpn_protocols = vec!["h2".into()];
        builder(&self.setup.ca, &credential)
            .tls_backend_preconfigured(tls)
            .http2_initial_stream_window_size(65_535)
            .http2_initial_connection_window_size(1 << 20)
            .build()
            .unwrap()
    }

    fn records_of(&self, topic: &str) -> String {
        self.gateway.url(&format!("/v1/topics/{topic}/records"))
    }

    /// Bids in one partition of eu-central, as large as this together; where they can be read.
    async fn bids(&self, count: usize, bytes: usize) -> String {
        let market = self.setup.client("svc.market");
        let batch: Vec<Value> = (0..count).map(|_| bid(bytes / count)).collect();
        let sent = market.post(self.records_of("bids")).header("content-type", JSON).json(&batch);
        let reports: Value = sent.send().await.unwrap().json().await.unwrap();
        let partition = &reports[0]["deliveries"][0]["partition"];
        assert_eq!(reports[count - 1]["status"], "delivered", "{reports}");
        let path = format!("/v1/topics/bids/partitions/{partition}/records");
        self.gateway.url(&format!("{path}?region=eu-central&limit=1000"))
    }

    /// Connections on which a large body is announced and does not come.
    async fn announced(&self, times: usize) -> Vec<TlsStream<TcpStream>> {
        let mut announced = Vec::new();
        for _ in 0..times {
            let mut stream = self.dial(self.gateway.data, Some("svc.market"), "http/1.1").await;
            let head = format!(
                "POST /v1/topics/bids/records HTTP/1.1\r\nhost: localhost\r\ncontent-type: {JSON}\r\n\
                 content-length: 3900000\r\n\r\n["
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            announced.push(stream);
        }
        announced
    }

    /// A figure of the process, such as `VmHWM`, in MiB.
    fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.gateway.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }

    async fn stop(self) {
        assert_eq!(self.gateway.stop().await, Some(0));
    }
}

async fn dial(at: SocketAddr, tls: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::IpAddress(at.ip().into());
    TlsConnector::from(tls).connect(name, TcpStream::connect(at).await?).await
}

fn bid(bytes: usize) -> Value {
    json!({ "key": "1", "value": { "auction": 1, "price": 120, "channel": "x".repeat(bytes),
        "bidder": { "id": 1001, "country": "DE" }, "terminal": "terminal-7" } })
}

fn person(id: usize) -> Value {
    json!({ "key": id.to_string(), "value": { "id": id, "name": "Mona Lisa", "country": "DE" } })
}

/// Writes and then only reads; what was read when the other side had closed, or `None`.
async fn until_closed(mut stream: TlsStream<TcpStream>, first: &[u8]) -> Option<String> {
    stream.write_all(first).await.unwrap();
    stream.flush().await.unwrap();
    let mut read = Vec::new();
    let closed = tokio::time::timeout(ENDS_WITHIN, stream.read_to_end(&mut read)).await;
    closed.ok().map(|_| String::from_utf8_lossy(&read).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_state_of_a_connection_ends() {
    let house = House::with_limits(TIMES).await;
    let half = b"GET /livez HTTP/1.1\r\nHost: loc".as_slice();
    let whole = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n".as_slice();
    let states = [
        ("nothing", "h2", b"".to_vec()),
        ("nothing in HTTP/1.1", "http/1.1", b"".to_vec()),
        ("one byte", "http/1.1", b"P".to_vec()),
        ("half a request", "http/1.1", half.to_vec()),
        ("a request, then nothing", "http/1.1", whole.to_vec()),
        ("a request, then half of one", "http/1.1", [whole, half].concat()),
        ("an idle HTTP/2", "h2", PREFACE.to_vec()),
        ("half of HTTP/2 headers", "h2", [PREFACE, HALF_HEADERS].concat()),
    ];
    let mut open = JoinSet::new();
    for at in [house.gateway.data, house.gateway.admin] {
        for (state, alpn, bytes) in states.clone() {
            let stream = house.dial(at, None, alpn).await;
            open.spawn(async move { (state, at, until_closed(stream, &bytes).await.is_some()) });
        }
    }
    let seen = open.join_all().await;
    let open: Vec<_> = seen.iter().filter(|(_, _, closed)| !closed).collect();
    assert!(open.is_empty(), "still open: {open:?}");
    house.stop().await;
}

/// Sends the head, then piece after piece with pauses until the answer is over; the answer.
async fn dripped(mut stream: TlsStream<TcpStream>, head: String, piece: &str) -> Option<String> {
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut read, mut buffer) = (String::new(), [0; 4_096]);
    let until = Instant::now() + ENDS_WITHIN;
    while Instant::now() < until {
        let pause = Duration::from_millis(150);
        match tokio::time::timeout(pause, stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return Some(read),
            Ok(Ok(bytes)) => read += &String::from_utf8_lossy(&buffer[..bytes]),
            Err(_) => {
                let sent = async {
                    stream.write_all(piece.as_bytes()).await?;
                    stream.flush().await
                };
                let _closed_meanwhile = sent.await;
            }
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_and_an_answer_have_a_smallest_rate() {
    let house = House::with_limits(TIMES).await;
    let head = |kind: &str, length: &str| {
        format!(
            "POST /v1/topics/bids/records HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\n\
             {length}\r\n\r\n"
        )
    };
    for (kind, length, piece) in [
        (JSON, "content-length: 100000", "x"),
        (JSON, "transfer-encoding: chunked", "1\r\nx\r\n"),
        (NDJSON, "transfer-encoding: chunked", "1\r\nx\r\n"),
    ] {
        let stream = house.dial(house.gateway.data, Some("svc.market"), "http/1.1").await;
        let answer = dripped(stream, head(kind, length), piece).await;
        let answer = answer.unwrap_or_else(|| panic!("{kind}, {length}: it drips for ever"));
        assert!(answer.contains("body-timeout"), "{kind}, {length}: {answer}");
    }
    // Whole lines may come as slowly as they like.
    let line = format!("{}\n", bid(10));
    let chunk = format!("{:x}\r\n{line}\r\n", line.len());
    let stream = house.dial(house.gateway.data, Some("svc.market"), "http/1.1").await;
    let asked = dripped(stream, head(NDJSON, "transfer-encoding: chunked"), &chunk);
    let ended = tokio::time::timeout(Duration::from_secs(4), asked).await;
    assert!(ended.is_err(), "a slow stream was cut: {ended:?}");

    // Three times as much as the client makes room for, and it never reads.
    let url = house.bids(40, 400_000).await;
    let reader = house.reader();
    let read = reader.get(&url).send().await.unwrap().text().await.unwrap();
    assert!(read.len() > 400_000, "{} bytes: {:.300}", read.len(), read);
    let answer = reader.get(&url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(answer.bytes().await.is_err(), "an answer that nobody reads is held");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_and_publishers_get_through_a_full_house() {
    let house =
        House::with_limits("connections: 20, admin-connections: 10, header-timeout-ms: 60000")
            .await;
    let mut silent = Vec::new();
    for at in [house.gateway.data, house.gateway.admin] {
        for _ in 0..60 {
            silent.push(house.dial(at, None, "h2").await);
        }
    }
    for _ in 0..3 {
        let probe = client(&house.setup.ca, &Credential::None);
        let probe = probe.get(house.gateway.admin_url("/readyz")).timeout(Duration::from_secs(10));
        assert_eq!(probe.send().await.unwrap().status(), 200);
        let accounts = house.setup.client("svc.accounts");
        let publish = accounts.post(house.records_of("people")).json(&person(7));
        let publish = publish.timeout(Duration::from_secs(10)).send().await.unwrap();
        assert_eq!(publish.status(), 200);
    }
    drop(silent);
    house.stop().await;
}

/// What two readers may read differently is answered once, and nothing behind it is read at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_doubtful_request_the_connection_is_closed() {
    let house = House::with_limits(TIMES).await;
    let second = "GET /second HTTP/1.1\r\nHost: a\r\n\r\n";
    for (shape, status, first) in [
        ("two hosts", "400", "GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("no host", "400", "GET /livez HTTP/1.1\r\n\r\n"),
        ("host and target", "400", "GET https://b/livez HTTP/1.1\r\nHost: a\r\n\r\n"),
        (
            "a coding before chunked",
            "501",
            "POST /livez HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "a length and chunked",
            "405",
            "POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
             0\r\n\r\n",
        ),
        ("a bare line feed", "200", "GET /livez HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
    ] {
        let stream = house.dial(house.gateway.admin, None, "http/1.1").await;
        let answers = until_closed(stream, format!("{first}{second}").as_bytes()).await;
        let answers = answers.unwrap_or_else(|| panic!("{shape}: not closed"));
        assert!(answers.starts_with(&format!("HTTP/1.1 {status} ")), "{shape}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{shape}: {answers}");
    }
    // In order, and in one go, as careful clients do it.
    let whole = "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n";
    let stream = house.dial(house.gateway.admin, None, "http/1.1").await;
    let answers = until_closed(stream, format!("{whole}{second}").as_bytes()).await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 2, "{answers}");
    house.stop().await;
}

/// A pipe among the policies is refused, and nothing waits for its other end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipe_among_the_policies_stops_nothing() {
    let mut house = House::with_limits(TIMES).await;
    let pipe = house.setup.path().join("policies/9-pipe.yaml");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    house.gateway.reload();
    let refused = eventually(Duration::from_secs(10), async || {
        house.gateway.stderr().contains("not a regular file").then_some(())
    });
    assert!(refused.await.is_some(), "{}", house.gateway.stderr());
    let accounts = house.setup.client("svc.accounts");
    let publish = accounts.post(house.records_of("people")).json(&person(7));
    let publish = publish.timeout(Duration::from_secs(10)).send().await.unwrap();
    assert_eq!(publish.status(), 200);
    assert!(house.gateway.ready(&house.setup.ca, Duration::from_secs(10)).await);
    house.stop().await;
}

/// What the gateway may use for requests and answers here, and at most altogether.
const IN_FLIGHT: usize = 64_000_000;
const BOUND_MIB: u64 = 230;
/// The hard limit counts what is mapped: also stacks that were never touched, and what the allocator keeps.
const LIMIT_MIB: u64 = 400;
/// Ten times as many of each kind as fit.
const OVERLOAD: usize = 160;

/// One kind of hostile client: how often it was answered how.
type Answers = std::collections::BTreeMap<u16, usize>;

async fn flood(client: Client, url: String, body: bytes_of::Body, times: usize) -> Answers {
    let mut floods = JoinSet::new();
    for _ in 0..times {
        let request = client.post(&url).header("content-type", JSON).body(body.clone());
        floods.spawn(async move { request.send().await.map_or(0, |a| a.status().as_u16()) });
    }
    let mut answers = Answers::new();
    for status in floods.join_all().await {
        *answers.entry(status).or_default() += 1;
    }
    answers
}

/// Bytes that clones share.
mod bytes_of {
    #[derive(Clone)]
    pub(super) struct Body(pub &'static [u8]);

    impl From<Body> for reqwest::Body {
        fn from(body: Body) -> Self {
            body.0.into()
        }
    }

    pub(super) fn shared(text: String) -> Body {
        Body(Box::leak(text.into_bytes().into_boxed_slice()))
    }
}

/// A publisher that does no harm, until it is told that all is over: how many it sent, the slowest, and what
/// went wrong.
async fn neighbor(
    client: Client,
    url: String,
    over: Arc<AtomicBool>,
) -> (usize, Duration, Vec<String>) {
    let (mut slowest, mut wrong) = (Duration::ZERO, Vec::new());
    for n in 0.. {
        if over.load(Ordering::Relaxed) {
            return (n, slowest, wrong);
        }
        let started = Instant::now();
        match client.post(&url).json(&person(n)).send().await {
            Ok(answer) if answer.status() == 200 => {}
            Ok(answer) => wrong.push(answer.status().to_string()),
            Err(error) => wrong.push(format!("{error:?}")),
        }
        slowest = slowest.max(started.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overload_of_each_kind_stays_within_its_memory() {
    let limits = format!("in-flight-bytes: {IN_FLIGHT}, body-bytes: 4000000, read-bytes: 1000000");
    let house = House::with_limits(&limits).await;
    let at_rest = house.memory("VmRSS");
    let over = Arc::new(AtomicBool::new(false));
    let accounts = house.setup.client("svc.accounts");
    let neighbor = tokio::spawn(neighbor(accounts, house.records_of("people"), over.clone()));
    let url = house.bids(250, 1_000_000).await;
    let bids = house.records_of("bids");

    // Answers that nobody reads, on few connections.
    let mut unread = Vec::new();
    let mut reads = Answers::new();
    for _ in 0..5 {
        let analyst = house.reader();
        let asked = (0..OVERLOAD / 5).map(|_| analyst.get(&url).send());
        for answer in futures_util::future::join_all(asked).await {
            let answer = answer.unwrap();
            *reads.entry(answer.status().as_u16()).or_default() += 1;
            unread.push(answer);
        }
    }
    let announced = house.announced(OVERLOAD).await;
    let held = house.memory("VmHWM");
    drop((announced, unread));
    // Many tiny records, and many that are allowed.
    let tiny = format!("[{}1]", "{\"value\":1},".repeat(330_000));
    let market = house.setup.client("svc.market");
    let tiny = flood(market.clone(), bids.clone(), bytes_of::shared(tiny), OVERLOAD).await;
    let large = vec![bid(2_000).to_string(); 1_500];
    let large = bytes_of::shared(format!("[{}]", large.join(",")));
    let large = flood(market, bids, large, OVERLOAD).await;
    let peak = house.memory("VmHWM");
    over.store(true, Ordering::Relaxed);
    let (sent, slowest, wrong) = neighbor.await.unwrap();
    let said = format!(
        "at rest {at_rest} MiB, unread and announced {held} MiB, peak {peak} MiB; reads {reads:?}, tiny \
         {tiny:?}, large {large:?}; neighbor {sent}, slowest {slowest:?}"
    );
    tell(&said);
    assert!(wrong.is_empty(), "the neighbor was not served: {wrong:?}; {said}");
    assert!(slowest < Duration::from_secs(20) && sent > 20, "{said}");
    assert!(reads[&200] > 0 && tiny.contains_key(&413) && large.contains_key(&200), "{said}");
    for status in reads.keys().chain(tiny.keys()).chain(large.keys()) {
        assert!([200, 413, 429, 503].contains(status), "{said}");
    }
    assert!(peak < BOUND_MIB, "{said}");
    let back = eventually(Duration::from_secs(20), async || {
        (house.memory("VmRSS") < at_rest + 60).then_some(())
    });
    assert!(back.await.is_some(), "{} MiB are left; {said}", house.memory("VmRSS"));
    house.stop().await;
}
