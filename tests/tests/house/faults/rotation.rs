//! Certificates and client authorities that change under load: no request fails, and whoever an authority that
//! is gone has signed for is refused at the next connection, resumed sessions included.

use std::{
    env,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Client;
use rustls::{
    ClientConfig, HandshakeKind,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde_json::Value;
use sluicegate_tests::{
    ca::{Ca, replace},
    client::{Credential, client, tls},
    components::tell,
    process::eventually,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
};

use super::setup::{House, Pipeline, Store, bid, dial, publish};

/// A rotation is in use within this time; usually within some hundredths of a second.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// Clients that keep their connection, and clients that open one a request.
const KEEPERS: u64 = 3;
const OPENERS: u64 = 3;

fn house() -> House {
    House::new(Store::Sqlite("ledger.db"), Pipeline::Embedded("eu-central.db"))
}

fn rotations(slice: u64) -> u64 {
    let asked = env::var("SLUICEGATE_CAMPAIGN_ROTATIONS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(slice)
}

/// Publishes until it is over; what failed, in words.
async fn load(
    number: u64,
    url: String,
    connect: impl Fn() -> Client,
    keeps: bool,
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
) -> Vec<String> {
    let (mut failed, mut client) = (Vec::new(), connect());
    for n in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        if !keeps {
            client = connect();
        }
        let record: Value = bid("k", &format!("{number}:{n}"), n, "DE");
        match publish(&client, &url, None, &record).send().await {
            Ok(answer) if answer.status() == 200 => {}
            Ok(answer) => failed.push(format!("{number}:{n}: {}", answer.status())),
            Err(error) => failed.push(format!("{number}:{n}: {error:?}")),
        }
        sent.fetch_add(1, Ordering::Relaxed);
    }
    failed
}

/// The certificate that a new connection is shown.
async fn shown(at: SocketAddr, trust: &Arc<ClientConfig>) -> Option<CertificateDer<'static>> {
    let stream = dial(at, trust.clone()).await.ok()?;
    Some(stream.get_ref().1.peer_certificates()?.first()?.clone().into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_certificates_rotate() {
    let (house, rotations, started) = (Arc::new(house()), rotations(50), Instant::now());
    let mut gateway = house.start().await;
    let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = JoinSet::new();
    for number in 0..KEEPERS + OPENERS {
        let (house, url) = (house.clone(), gateway.url(""));
        let connect = move || house.publisher();
        let task = load(number, url, connect, number < KEEPERS, over.clone(), sent.clone());
        clients.spawn(task);
    }
    let trust = Arc::new(tls(&house.ca, &Credential::None));
    let certs = house.path("certs");
    for n in 0..rotations {
        if n % 4 == 3 {
            // Another authority joins, as when a change of authorities is prepared.
            replace(&certs.join("ca.pem"), &[house.ca.pem(), Ca::new("next").pem()].concat());
        }
        let next = house.ca.server();
        next.write(&certs, "server");
        // Half of them are found by the watch on the files alone.
        if n % 2 == 0 {
            gateway.reload();
        }
        let wanted = CertificateDer::from_pem_slice(next.certificate.as_bytes()).unwrap();
        let taken = eventually(TAKEN_WITHIN, async || {
            (shown(gateway.data, &trust).await? == wanted).then_some(())
        });
        assert!(taken.await.is_some(), "rotation {n} was not taken: {}", gateway.stderr());
    }
    over.store(true, Ordering::Relaxed);
    let failed: Vec<String> = clients.join_all().await.into_iter().flatten().collect();
    let (sent, seconds) = (sent.load(Ordering::Relaxed), started.elapsed().as_secs());
    let count = failed.len();
    tell(&format!("rotations {rotations}, requests {sent}, failed {count}, seconds {seconds}"));
    let some: Vec<&String> = failed.iter().take(10).collect();
    assert!(failed.is_empty(), "{count} of {sent} requests failed: {some:#?}");
    assert!(sent > rotations, "there was no load: {sent} requests");
    assert_eq!(gateway.stop().await, Some(0));
}

/// One request over a connection of its own: how the session began, and the answer's first line.
async fn ask(at: SocketAddr, tls: &Arc<ClientConfig>) -> Option<(HandshakeKind, String)> {
    let mut stream = dial(at, tls.clone()).await.ok()?;
    let request = "GET /openapi.json HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let line = String::from_utf8_lossy(&answer).lines().next()?.to_owned();
    Some((stream.get_ref().1.handshake_kind()?, line))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_authority_opens_no_new_connection() {
    let (house, next) = (house(), Ca::new("next"));
    let mut gateway = house.start().await;
    let living = house.publisher();
    let send = async |client: &Client, id: &str| {
        let answer = publish(client, &gateway.url(""), None, &bid("k", id, 1, "DE")).send().await;
        answer.ok().map(|answer| answer.status().as_u16())
    };
    assert_eq!(send(&living, "before").await, Some(200));
    let of_old = Arc::new(tls(&house.ca, &Credential::Certificate(&house.market)));
    let opened = ask(gateway.data, &of_old).await.unwrap();
    assert_eq!(opened, (HandshakeKind::Full, "HTTP/1.1 200 OK".to_owned()));
    let opened = ask(gateway.data, &of_old).await.unwrap();
    assert_eq!(opened.0, HandshakeKind::Resumed, "else the look at resumption below is empty");

    let new_one = next.client("spiffe://auction/svc.market");
    let newcomer = || client(&house.ca, &Credential::Certificate(&new_one));
    assert_eq!(send(&newcomer(), "early").await, None, "not trusted yet");
    replace(&house.path("certs/ca.pem"), &next.pem());
    let taken = eventually(TAKEN_WITHIN, async || {
        (send(&newcomer(), "new").await == Some(200)).then_some(())
    });
    assert!(taken.await.is_some(), "the new authority is not trusted");
    for _ in 0..5 {
        assert_eq!(ask(gateway.data, &of_old).await, None, "a resumed session of a revoked CA");
        assert_eq!(send(&house.publisher(), "revoked").await, None, "a new connection");
    }
    assert_eq!(send(&living, "after").await, Some(200), "existing connections continue");
    let ids: Vec<String> = house.standing("eu-central").await.into_iter().map(|r| r.id).collect();
    assert!(!ids.iter().any(|id| id == "revoked" || id == "early"), "{ids:?}");
    assert!(gateway.runs());
}
