//! Every endpoint of both listeners, by enumeration over their own OpenAPI documents, is closed to whoever
//! has no valid credential or not the right role. The exceptions are health, and nothing else.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use reqwest::{Client, Method};
use serde_json::Value;
use sluicegate_tests::{
    ca::Ca,
    canary::{Search, assert_none},
    client::{Credential, client},
    gateway::Gateway,
    jwt::{Claims, SigningKey, tampered, unsigned},
    setup::{Setup, claims},
};

/// A word that callers put wherever there is room; no answer may repeat it.
const CANARY: &str = "mona.lisa@louvre.example";

/// Open to everyone.
const HEALTH: [&str; 2] = ["/livez", "/readyz"];
/// Open to every known principal, whatever its role.
const FOR_ANY_PRINCIPAL: [&str; 1] = ["/openapi.json"];
/// What there is. A new endpoint has to be added here, and is then tested like the others.
const DATA: [&str; 3] = [
    "GET /openapi.json",
    "GET /v1/topics/{topic}/partitions/{partition}/records",
    "POST /v1/topics/{topic}/records",
];
const ADMIN: [&str; 9] = [
    "GET /livez",
    "GET /metrics",
    "GET /openapi.json",
    "GET /readyz",
    "GET /v1/ledger/verify",
    "GET /v1/lineage/affected",
    "GET /v1/lineage/records/{topic}/{partition}/{offset}",
    "GET /v1/lineage/tokens/{token}",
    "POST /v1/reload",
];

struct Endpoint {
    method: Method,
    /// As the document writes it.
    template: String,
    url: String,
}

struct Answer {
    status: u16,
    kind: String,
    headers: Vec<(String, String)>,
    body: String,
}

fn with_tokens(key: &SigningKey) -> Setup {
    let mut setup = Setup::quickstart();
    setup.believe(key);
    setup
}

async fn document(client: &Client, url: &str) -> Value {
    let answer = client.get(url).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{url}");
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

fn endpoints(document: &Value, base: &dyn Fn(&str) -> String) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for (template, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let url = base(&filled(template));
            endpoints.push(Endpoint { method, template: template.clone(), url });
        }
    }
    endpoints
}

/// The path with values in it that exist, so that only the caller can be what is wrong.
fn filled(template: &str) -> String {
    let values = [("{topic}", "bids"), ("{partition}", "0"), ("{offset}", "0"), ("{token}", "t")];
    let path =
        values.iter().fold(template.to_owned(), |path, (name, value)| path.replace(name, value));
    assert!(!path.contains('{'), "say what stands for the parameters of {template}");
    match template {
        "/v1/lineage/affected" => format!("{path}?source=device%3D{CANARY}"),
        _ => path,
    }
}

fn names(endpoints: &[Endpoint]) -> BTreeSet<String> {
    endpoints.iter().map(|e| format!("{} {}", e.method, e.template)).collect()
}

async fn send(client: &Client, endpoint: &Endpoint, bearer: Option<&str>) -> Option<Answer> {
    let body = format!("{{\"value\":{{\"email\":\"{CANARY}\"}}}}");
    let mut request = client
        .request(endpoint.method.clone(), &endpoint.url)
        .header("content-type", "application/json")
        .header("x-note", CANARY)
        .body(body);
    if let Some(bearer) = bearer {
        request = request.header("authorization", bearer);
    }
    let answer = request.send().await.ok()?;
    let headers = answer.headers().iter().filter(|(name, _)| *name != "date");
    let headers = headers.map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect();
    Some(Answer {
        status: answer.status().as_u16(),
        kind: answer.headers().get("content-type")?.to_str().ok()?.to_owned(),
        headers,
        body: answer.text().await.ok()?,
    })
}

/// Every way in which a login by token fails, as `Authorization` headers.
fn failures(key: &SigningKey) -> Vec<(&'static str, Option<String>)> {
    let bearer = |token: String| Some(format!("Bearer {token}"));
    let signed = |claims: Claims| bearer(key.token(&claims.json()));
    let good = || claims("operator");
    let stranger = SigningKey::ed25519("first");
    let unknown = SigningKey::ed25519("unknown");
    vec![
        ("no credential", None),
        ("expired", signed(good().expired())),
        ("not valid yet", signed(good().not_yet())),
        ("for another audience", signed(good().for_audience("other"))),
        ("from another issuer", signed(good().from_issuer("https://evil.example"))),
        ("tampered", bearer(tampered(&key.token(&good().json())))),
        ("signed by a stranger under our kid", bearer(stranger.token(&good().json()))),
        ("signed by an unknown key", bearer(unknown.token(&good().json()))),
        ("not signed", bearer(unsigned(&good()))),
        ("no token at all", bearer(CANARY.into())),
        ("another scheme", Some(format!("Basic {CANARY}"))),
    ]
}

/// The endpoints of both listeners, compared with what this file knows of.
async fn all(setup: &Setup, gateway: &Gateway) -> Vec<Endpoint> {
    let operator = setup.client("operator");
    let data = document(&operator, &gateway.url("/openapi.json")).await;
    let admin = document(&operator, &gateway.admin_url("/openapi.json")).await;
    let mut data = endpoints(&data, &|path| gateway.url(path));
    let admin = endpoints(&admin, &|path| gateway.admin_url(path));
    assert_eq!(names(&data), DATA.map(str::to_owned).into(), "the data listener has changed");
    assert_eq!(names(&admin), ADMIN.map(str::to_owned).into(), "the admin listener has changed");
    data.extend(admin);
    data
}

fn is_health(endpoint: &Endpoint) -> bool {
    HEALTH.contains(&endpoint.template.as_str())
}

#[tokio::test]
async fn without_a_valid_credential_every_door_is_shut_in_the_same_words() {
    let key = SigningKey::ed25519("first");
    let setup = with_tokens(&key);
    let gateway = setup.start().await;
    let nobody = client(&setup.ca, &Credential::None);
    let unmapped = setup.client("stranger");
    let (canary, mut answers) = (Search::new([CANARY]), Vec::new());
    for endpoint in all(&setup, &gateway).await {
        for (how, bearer) in failures(&key) {
            let answer = send(&nobody, &endpoint, bearer.as_deref()).await.unwrap();
            let place = format!("{} {}, {how}", endpoint.method, endpoint.template);
            if is_health(&endpoint) {
                assert_eq!(answer.status, 200, "{place}");
                continue;
            }
            assert_eq!(answer.status, 401, "{place}");
            answers.push((place, answer));
        }
        if !is_health(&endpoint) {
            let answer = send(&unmapped, &endpoint, None).await.unwrap();
            assert_eq!(answer.status, 401, "{}", endpoint.template);
            answers.push((format!("{}, a stranger's certificate", endpoint.template), answer));
        }
    }
    let (_, first) = &answers[0];
    assert_eq!(first.kind, "application/problem+json");
    for (place, answer) in &answers {
        assert_eq!(answer.body, first.body, "{place}");
        assert_eq!(answer.headers, first.headers, "{place}");
        assert_none(&canary.bytes(place, answer.body.as_bytes()));
    }
    assert_eq!(gateway.stop().await, Some(0));
}

/// What is known of a principal is not enough: it needs the role, or a rule that allows it.
#[tokio::test]
async fn the_wrong_role_opens_nothing() {
    let key = SigningKey::ed25519("first");
    let setup = with_tokens(&key);
    let gateway = setup.start().await;
    let nobody = client(&setup.ca, &Credential::None);
    let partner = setup.client("ads.partner");
    let token = format!("Bearer {}", key.token(&claims("ads.partner").json()));
    let canary = Search::new([CANARY]);
    for endpoint in all(&setup, &gateway).await {
        if is_health(&endpoint) {
            continue;
        }
        for (client, bearer) in [(&partner, None), (&nobody, Some(token.as_str()))] {
            let answer = send(client, &endpoint, bearer).await.unwrap();
            let place = format!("{} {}", endpoint.method, endpoint.template);
            if FOR_ANY_PRINCIPAL.contains(&endpoint.template.as_str()) {
                assert_eq!(answer.status, 200, "{place}");
                continue;
            }
            assert_eq!(
                (answer.status, answer.kind.as_str()),
                (403, "application/problem+json"),
                "{place}"
            );
            assert_none(&canary.bytes(&place, answer.body.as_bytes()));
        }
    }
    assert_none(&canary.bytes("log", gateway.stderr().as_bytes()));
    assert_eq!(gateway.stop().await, Some(0));
}

/// The two roles of the admin listener do not stand in for each other.
#[tokio::test]
async fn operators_and_auditors_have_doors_of_their_own() {
    let setup = Setup::quickstart();
    let gateway = setup.start().await;
    let (operator, auditor) = (setup.client("operator"), setup.client("auditor"));
    for endpoint in all(&setup, &gateway).await {
        let (right, wrong) = match endpoint.template.as_str() {
            path if path.starts_with("/v1/lineage") || path.starts_with("/v1/ledger") => {
                (&auditor, &operator)
            }
            "/metrics" | "/v1/reload" => (&operator, &auditor),
            _ => continue,
        };
        let request = right.request(endpoint.method.clone(), &endpoint.url);
        let status = request.send().await.unwrap().status();
        assert!(status.is_success(), "{}: {status}", endpoint.template);
        assert_eq!(
            send(wrong, &endpoint, None).await.unwrap().status,
            403,
            "{}",
            endpoint.template
        );
    }
    assert_eq!(gateway.stop().await, Some(0));
}

/// A certificate that is past its day, or of another authority, does not even come to a request: TLS ends.
#[tokio::test]
async fn bad_certificates_end_in_the_handshake() {
    let setup = Setup::quickstart();
    let gateway = setup.start().await;
    let (operator, foreign) = ("spiffe://auction/operator", Ca::new("other"));
    for identity in [setup.ca.expired_client(operator), foreign.client(operator)] {
        let client = client(&setup.ca, &Credential::Certificate(&identity));
        for endpoint in all(&setup, &gateway).await {
            assert!(send(&client, &endpoint, None).await.is_none(), "{}", endpoint.template);
        }
    }
    assert_eq!(gateway.stop().await, Some(0));
}

/// No failure is told by its time: each is answered after the same wait, and counted by its kind.
#[tokio::test]
async fn failed_logins_take_their_time_and_are_counted() {
    let key = SigningKey::ed25519("first");
    let setup = with_tokens(&key);
    let gateway = setup.start().await;
    let nobody = client(&setup.ca, &Credential::None);
    let url = gateway.url("/openapi.json");
    let endpoint = Endpoint { method: Method::GET, template: String::new(), url };
    for (how, bearer) in failures(&key) {
        let started = Instant::now();
        let _refused = send(&nobody, &endpoint, bearer.as_deref()).await.unwrap();
        assert!(started.elapsed() >= Duration::from_millis(100), "{how}");
    }
    let metrics = setup.client("operator").get(gateway.admin_url("/metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let counted: u64 = metrics
        .lines()
        .filter(|line| line.starts_with("sluicegate_login_failures_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(counted, failures(&key).len() as u64, "{metrics}");
    assert_eq!(gateway.stop().await, Some(0));
}
