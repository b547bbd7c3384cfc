//! The main promise, on real input: GitHub's webhook payloads go through HTTPS into Kafka in two regions and
//! the ledger in PostgreSQL, under the policy of `examples/webhooks`, and no login, e-mail address, name or
//! IP address of theirs is anywhere in what comes out. The same search finds them once a rule is broken.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use reqwest::Response;
use serde_json::{Value, json};
use sluicegate_tests::{
    canary::{Finding, Search, assert_none},
    components::{self, Kafka, tell},
    gateway::{CONFIG, Gateway, STDERR, STDOUT, run},
    kafka::{Record, create_topic, fresh_name, judge},
    octokit::{Payload, Protected, load},
    postgres::Database,
    require,
    setup::Setup,
};

const COUNTRIES: [&str; 3] = ["DE", "FR", "US"];
/// Records of one request.
const CHUNK: usize = 37;
/// The forge's own name is a login too. Here it is part of its language: a member's name and an event's.
const WORDS_OF_THE_FORGE: [&str; 2] = ["performed_via_github_app", "github_app_authorization"];

/// Everything one run needs and leaves behind.
struct House {
    setup: Setup,
    gateway: Gateway,
    database: Database,
    topic: String,
    kafka: Kafka,
    python: PathBuf,
    /// What the gateway answered, headers and bodies.
    answers: String,
}

/// Personal data where names stand: of members on the way to what is kept, of members with nothing in
/// them, and of a header.
const PLANTED: [&str; 3] =
    ["alice.smith@corp.example", "bob.jones@corp.example", "x-carol-smith-1961"];

fn planted(body: &Value) -> Value {
    let [way, empty, _header] = PLANTED;
    let mut body = body.clone();
    body["properties"] = json!({ way: { "type": "User", "state": "open" }, "user": { empty: {} } });
    body[empty] = json!([[], { "user": {} }]);
    body
}

/// The payload as a record: who sent it as key, its country and address in headers.
fn record(number: usize, payload: &Payload) -> Value {
    json!({
        "key": payload.body["sender"]["login"].as_str().unwrap_or("octocat"),
        "headers": {
            "x-country": COUNTRIES[number % COUNTRIES.len()],
            "x-event": payload.event,
            "x-client-ip": address(number),
            PLANTED[2]: "open",
        },
        "value": planted(&payload.body),
    })
}

fn address(number: usize) -> String {
    format!("203.0.113.{}", 100 + number % 100)
}

/// What must not come out: the payloads' own strings, and the addresses of this test.
fn protected(payloads: &[Payload]) -> Vec<String> {
    let mut strings = Protected::of(payloads).strings();
    strings.extend((0..100).map(address));
    strings.extend(PLANTED.map(str::to_owned));
    strings
}

fn template(mut setup: Setup, kafka: &Kafka, database: &Database, topic: &str) -> Setup {
    setup.change("kafka.eu.forge.example:9093", &kafka.eu.tls);
    setup.change("kafka.us.forge.example:9093", &kafka.us.tls);
    fs::copy(&kafka.ca, setup.path().join("certs/kafka-ca.pem")).unwrap();
    fs::write(setup.path().join("ledger-url"), &database.url).unwrap();
    setup.change_policy("2-rules.yaml", "topics: [webhooks]", &format!("topics: [{topic}]"));
    setup
}

impl House {
    /// A gateway under the example's policy, or under what `broken` makes of it.
    async fn start(server: &str, kafka: Kafka, python: PathBuf, broken: &dyn Fn(&Setup)) -> Self {
        let database = Database::fresh(server).await;
        let topic = fresh_name("webhooks");
        for cluster in [&kafka.eu, &kafka.us] {
            create_topic(&cluster.plain, &topic, 3).await;
        }
        let setup = Setup::of("webhooks", "forge", &["webhooks-2026"]);
        let setup = template(setup, &kafka, &database, &topic);
        broken(&setup);
        let gateway = setup.start().await;
        Self { setup, gateway, database, topic, kafka, python, answers: String::new() }
    }

    fn topic_url(&self) -> String {
        self.gateway.url(&format!("/v1/topics/{}/records", self.topic))
    }

    async fn note(&mut self, answer: Response) -> (u16, String) {
        let status = answer.status().as_u16();
        let headers = format!("{:?}", answer.headers());
        let body = answer.text().await.unwrap();
        writeln!(self.answers, "{status} {headers}\n{body}").unwrap();
        (status, body)
    }

    /// All payloads: some as arrays, the rest as streams of lines. Every report must say "delivered".
    async fn publish(&mut self, payloads: &[Payload]) {
        let client = self.setup.client("svc.hooks");
        let records: Vec<Value> = payloads.iter().enumerate().map(|(n, p)| record(n, p)).collect();
        for (number, chunk) in records.chunks(CHUNK).enumerate() {
            let (kind, body) = match number % 2 {
                0 => ("application/json", json!(chunk).to_string()),
                _ => ("application/x-ndjson", lines(chunk)),
            };
            let request = client.post(self.topic_url()).header("content-type", kind).body(body);
            let (status, body) = self.note(request.send().await.unwrap()).await;
            assert_eq!(status, 200, "{body}");
            assert_eq!(body.matches(r#""status":"delivered""#).count(), chunk.len(), "{body}");
        }
    }

    /// Requests that must fail, with protected strings wherever a request has room for them.
    async fn provoke(&mut self, login: &str, email: &str) {
        let (hooks, other) = (self.setup.client("svc.hooks"), self.setup.client("svc.other"));
        let url = self.topic_url();
        let value = json!({ "sender": { "login": login }, "email": email });
        let bad_country =
            json!({ "key": login, "headers": { "x-country": email }, "value": value });
        let no_home = json!({ "key": login, "headers": { "x-country": "BR" }, "value": value });
        let reserved = json!({ "headers": { "sluicegate-x": email }, "value": value });
        let extra = json!({ "value": value, email: login });
        let bodies = [
            (bad_country.to_string(), 422),
            (no_home.to_string(), 422),
            (reserved.to_string(), 400),
            (extra.to_string(), 400),
            (format!("{{\"value\": {{\"login\": \"{login}\", \"{email}\": tru"), 400),
            (format!("\"{email}\""), 400),
            (
                format!(
                    "{{\"headers\": {{\"x-country\": \"DE\"}}, \"value\": {{\"{login}\": 01}}}}"
                ),
                400,
            ),
        ];
        for (body, wanted) in bodies {
            let request = hooks.post(&url).header("content-type", "application/json").body(body);
            let (status, body) = self.note(request.send().await.unwrap()).await;
            assert_eq!(status, wanted, "{body}");
        }
        let at = |path: &str| self.gateway.url(path);
        let escaped = email.replace('@', "%40");
        let requests = [
            (other.post(&url).json(&no_home), 403),
            (hooks.post(&url).header("content-type", format!("text/{login}")).body("x"), 415),
            (hooks.post(&url).header("idempotency-key", format!("\"{email}")).json(&no_home), 400),
            (hooks.post(&url).header("sluicegate-purpose", login).json(&no_home), 403),
            (hooks.post(at(&format!("/v1/topics/{login}/records"))).json(&no_home), 404),
            (hooks.post(at(&format!("/v1/topics/{escaped}/records"))).json(&no_home), 404),
            (hooks.get(at(&format!("/v1/{login}?{escaped}"))), 404),
            (hooks.get(at(&format!("/v1/topics/{login}/partitions/{escaped}/records"))), 400),
            (
                hooks.get(
                    url.replace("/records", &format!("/partitions/0/records?{login}={escaped}")),
                ),
                400,
            ),
        ];
        for (request, wanted) in requests {
            let (status, body) = self.note(request.send().await.unwrap()).await;
            assert_eq!(status, wanted, "{body}");
        }
        self.provoke_admin(login, &escaped).await;
    }

    async fn provoke_admin(&mut self, login: &str, email: &str) {
        let auditor = self.setup.client("auditor");
        for (path, wanted) in [
            (format!("/v1/lineage/records/{login}/{email}/0"), 400),
            (format!("/v1/lineage/records/{login}/0/0"), 200),
            (format!("/v1/lineage/tokens/{email}"), 200),
            (format!("/v1/lineage/affected?source={login}%3D{email}"), 200),
            (format!("/v1/lineage/affected?source={login}"), 400),
            ("/metrics".to_owned(), 403),
        ] {
            let answer = auditor.get(self.gateway.admin_url(&path)).send().await.unwrap();
            let (status, body) = self.note(answer).await;
            assert_eq!(status, wanted, "{path}: {body}");
        }
    }

    /// The topic in both regions, by a client that is not ours.
    fn topics(&self) -> [Vec<Record>; 2] {
        [&self.kafka.eu, &self.kafka.us]
            .map(|cluster| judge(&self.python, &cluster.plain, &[&self.topic]))
    }

    /// The search over everything that came out.
    async fn findings(&self, search: &Search) -> Vec<Finding> {
        let mut found = Vec::new();
        for (region, records) in ["eu", "us"].into_iter().zip(self.topics()) {
            found.extend(records.iter().flat_map(|record| in_record(search, region, record)));
        }
        found.extend(search.bytes("PostgreSQL", self.database.dump().await.as_bytes()));
        found.extend(search.bytes("answers", self.answers.as_bytes()));
        let operator = self.setup.client("operator");
        let metrics = operator.get(self.gateway.admin_url("/metrics")).send().await.unwrap();
        assert_eq!(metrics.status(), 200);
        found.extend(search.bytes("metrics", metrics.text().await.unwrap().as_bytes()));
        for file in [STDOUT, STDERR] {
            found.extend(search.file(&self.setup.path().join(file)));
        }
        found
    }
}

fn lines(records: &[Value]) -> String {
    records.iter().map(|record| format!("{record}\n")).collect()
}

fn in_record(search: &Search, region: &str, record: &Record) -> Vec<Finding> {
    let place = format!("{region} {}/{}", record.partition, record.offset);
    let mut found = search.bytes(&format!("key at {place}"), record.key.as_deref().unwrap_or(b""));
    let mut value = text(record.value.as_deref());
    for word in WORDS_OF_THE_FORGE {
        value = value.replace(&format!("\"{word}\":"), "");
    }
    found.extend(search.bytes(&place, value.as_bytes()));
    for (name, value) in &record.headers {
        found.extend(search.bytes(&format!("header name at {place}"), name.as_bytes()));
        let value = value.as_deref().unwrap_or(b"");
        if !WORDS_OF_THE_FORGE.iter().any(|word| word.as_bytes() == value) {
            found.extend(search.bytes(&format!("header {name} at {place}"), value));
        }
    }
    found
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap()
}

fn value(record: &Record) -> Value {
    serde_json::from_slice(record.value.as_deref().unwrap()).unwrap()
}

fn header<'r>(record: &'r Record, name: &str) -> &'r [u8] {
    let found = record.headers.iter().find(|(header, _)| header == name);
    found.and_then(|(_, value)| value.as_deref()).unwrap()
}

/// European records in Frankfurt, German and American ones in Virginia, each once, protected and joinable.
fn routed(records: &[Vec<Record>; 2], payloads: usize) {
    let of = |country: usize| (country..payloads).step_by(COUNTRIES.len()).count();
    let counts = records.each_ref().map(Vec::len);
    assert_eq!(counts, [of(0) + of(1), of(0) + of(2)]);
    for (region, allowed) in records.iter().zip([["DE", "FR"], ["DE", "US"]]) {
        for record in region {
            let country = std::str::from_utf8(header(record, "x-country")).unwrap();
            assert!(allowed.contains(&country), "{country} is where it must not be");
            assert_eq!(header(record, "x-client-ip"), b"203.0.113.0/24");
        }
    }
    let kept =
        records.iter().flatten().filter(|r| value(r)["repository"]["owner"]["login"].is_string());
    assert!(kept.count() > payloads / 2, "the names of the forge are known on the way");
    let sender = |record: &Record| value(record)["sender"]["login"].as_str().map(str::to_owned);
    for record in records.iter().flatten() {
        if let Some(login) = sender(record) {
            assert_eq!(Some(login.as_bytes()), record.key.as_deref(), "one login, one token");
        }
    }
}

fn succeeds(dir: &Path, arguments: &[&str]) {
    let output = run(dir, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_example_passes_its_own_checks() {
    let dir = components::root().join("examples/webhooks");
    succeeds(&dir, &["policy", "check", "policies"]);
    succeeds(&dir, &["policy", "test", "policies"]);
}

#[tokio::test]
async fn nothing_protected_comes_out_of_the_house() {
    let (kafka, server) = (require!(kafka), require!(postgres));
    let (payloads, python) = (load(&require!(payloads)), require!(judges));
    let mut house = House::start(&server, kafka, python, &|_| {}).await;
    house.publish(&payloads).await;
    house.provoke("Codertocat", "octocat@github.com").await;
    let strings = protected(&payloads);
    assert_none(&house.findings(&Search::new(strings.clone())).await);
    routed(&house.topics(), payloads.len());
    succeeds(house.setup.path(), &["ledger", "verify", "--store-file", "ledger-url"]);
    succeeds(house.setup.path(), &["config", "check", CONFIG]);
    tell(&format!("{} protected strings are nowhere in the outputs", strings.len()));
    assert_eq!(house.gateway.stop().await, Some(0));
}

/// A check that cannot fail proves nothing: with one rule turned into `keep`, it fails.
#[tokio::test]
async fn the_search_finds_a_canary_once_a_rule_is_broken() {
    let (kafka, server) = (require!(kafka), require!(postgres));
    let (payloads, python) = (load(&require!(payloads)), require!(judges));
    let keep_logins = |setup: &Setup| {
        let tokenize = "  - as: tokenize\n    with: { domain: handle }";
        setup.change_policy("2-rules.yaml", tokenize, "  - as: keep");
    };
    let mut house = House::start(&server, kafka, python, &keep_logins).await;
    house.publish(&payloads).await;
    let found = house.findings(&Search::new(protected(&payloads))).await;
    for login in Protected::of(&payloads).logins.keys() {
        if payloads.iter().any(|p| p.body["sender"]["login"] == login.as_str()) {
            assert!(found.iter().any(|f| f.string == *login), "`{login}` went unnoticed");
        }
    }
    let places = |place: &str| found.iter().filter(|f| f.place.starts_with(place)).count();
    assert!(places("key at ") > 0 && places("eu ") > 0 && places("us ") > 0);
    assert_eq!(places("PostgreSQL") + places("answers") + places("metrics"), 0);
}
