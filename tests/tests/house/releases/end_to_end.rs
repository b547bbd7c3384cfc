//! One stream from policy to proof: records go in, a reader gets numbers with all that belongs to them, the ledger
//! says what they cost and what they were made of, nobody else gets anything, and nothing that was sent shows
//! anywhere outside the sealed contributions.

use std::{path::Path, time::Duration};

use reqwest::Client;
use serde_json::{Value, json};
use sluicegate_audit::{Entry, OffsetRange, Release};
use sluicegate_tests::{
    ca::replace,
    canary::{Finding, Search, assert_none},
    client::{Credential, client},
    components::tell,
    gateway::Gateway,
    kafka::fresh_name,
    postgres::Database,
    releases::{Expected, REGION, Sent, Spec, Wards, expected, judge, now_ms, policies},
    require,
};

use super::{
    publisher::{Publisher, counted},
    setup::{House, Pipeline, Store},
};

const RELEASED_WITHIN: Duration = Duration::from_secs(60);
/// Strings that nobody may find again: in subjects, in numbers, in wards that no policy lists, in fields that no
/// dataset has, in records that are refused.
const CANARIES: [&str; 6] = [
    "ada.kanary@example.org",
    "ben.kanary@example.org",
    "kanary-ward",
    "918273645546372",
    "kanary-unlisted",
    "kanary-not-a-number",
];

/// A stream of two panes under strings that must not show.
fn records(spec: &Spec, pane: i64) -> Vec<Sent> {
    let mut sent = Vec::new();
    for (n, at_ms) in [(0, pane + 3), (1, pane + spec.pane_ms + 5)] {
        for (subject, ward) in [("ada.kanary", "north"), ("ben.kanary", "south")] {
            let subject = format!("{subject}@example.org");
            // Who counted in the first pane does not count in the second.
            sent.push(Sent { amount: 918_273_645_546_372, ..Sent::new(&subject, ward, at_ms) });
            sent.push(Sent::new(&subject, "kanary-ward", at_ms + 1));
        }
        sent.extend((0..7).map(|i| Sent::new(format!("p-{n}-{i}"), "west", at_ms + 2)));
    }
    sent
}

/// Says things that are refused, and things that are late, each with a protected string in it.
async fn provoke(spec: &Spec, house: &House, gateway: &Gateway) -> Vec<String> {
    let app = house.client("app");
    let url = |path: &str| gateway.url(&format!("/v1/topics/{}/records{path}", spec.dataset()));
    let late = Sent::new(CANARIES[0], "north", now_ms() - 3_600_000);
    let bodies = [
        late.json().to_string(),
        json!({ "value": { "user": { "id": CANARIES[0] }, "at": CANARIES[5] } }).to_string(),
        json!({ "value": { "user": { "id": CANARIES[1] }, "ward": "north", "amount": CANARIES[5],
                           "at": now_ms(), "more": CANARIES[4] } })
        .to_string(),
        format!("{{\"value\": {{\"user\": {{\"id\": \"{}\"", CANARIES[0]),
    ];
    let mut answers = Vec::new();
    for body in bodies {
        let request = app.post(url("")).header("content-type", "application/json").body(body);
        answers.push(request.send().await.unwrap().text().await.unwrap());
    }
    let stranger = house.client("stranger");
    let body = json!([Sent::new(CANARIES[1], "kanary-ward", now_ms()).json()]);
    answers.push(stranger.post(url("")).json(&body).send().await.unwrap().text().await.unwrap());
    answers
}

async fn status(client: &Client, url: String) -> u16 {
    client.get(url).send().await.unwrap().status().as_u16()
}

/// Nobody but the reader reads the totals; nobody at all reads contributions, or writes into either topic.
async fn doors_are_shut(spec: &Spec, house: &House, gateway: &Gateway) {
    let read = |topic: &str| gateway.url(&format!("/v1/topics/{topic}/partitions/0/records"));
    let body = json!([Sent::new("x", "north", now_ms()).json()]);
    for who in ["app", "reader", "stranger"] {
        let client = house.client(who);
        let wanted = if who == "reader" { 200 } else { 403 };
        assert_eq!(status(&client, read(&spec.release)).await, wanted, "{who} reads totals");
        for topic in [spec.contributions(), spec.dataset()] {
            let got = status(&client, read(&topic)).await;
            assert!((403..=404).contains(&got), "{who} reads {topic}: {got}");
        }
        for topic in [spec.contributions(), spec.release.clone()] {
            let url = gateway.url(&format!("/v1/topics/{topic}/records"));
            let got = client.post(url).json(&body).send().await.unwrap().status().as_u16();
            assert!((403..=404).contains(&got), "{who} writes into {topic}: {got}");
        }
    }
}

/// What is in the reader's hands: every member that a consumer needs, and only numbers that the ledger knows.
async fn delivered(spec: &Spec, house: &House, gateway: &Gateway) -> String {
    let reader = house.client("reader");
    let mut text = String::new();
    for partition in 0..4 {
        let path = format!("/v1/topics/{}/partitions/{partition}/records?limit=1000", spec.release);
        let answer = reader.get(gateway.url(&path)).send().await.unwrap();
        // Pipelines differ in how many there are.
        if answer.status() == 200 {
            text.push_str(&answer.text().await.unwrap());
        }
    }
    // What is in the topic was in the ledger before.
    let (entries, diverges) = house.entries().await;
    assert_eq!(diverges, None);
    let releases: Vec<&Release> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Release(release) => Some(&**release),
            _ => None,
        })
        .collect();
    let mut rows = 0;
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let said = &line["value"];
        let id = said["release_id"].as_str().unwrap();
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let Some(release) = releases.iter().find(|release| hex(&release.id) == id) else {
            panic!("the ledger has no release {id}")
        };
        assert_eq!(said["window"]["start_ms"], release.window_start_us / 1_000, "{said}");
        assert_eq!(said["window"]["end_ms"], release.window_end_us / 1_000, "{said}");
        let digest = said["policy"].as_str().unwrap();
        assert!(digest.ends_with(&hex(&release.policy)), "{said}");
        assert_eq!(said["unit"], "subject user.id per 24h");
        for output in spec.outputs() {
            assert!(said["mechanism"][output].as_str().unwrap().starts_with("discrete-laplace"));
        }
        assert!(said["epsilon"].as_f64().is_some_and(|epsilon| epsilon > 49.0), "{said}");
        assert_eq!(said["delta"].as_f64(), Some(0.0), "{said}");
        rows += usize::from(said["type"] == "row");
    }
    assert!(rows >= 6, "{text}");
    text
}

/// The offsets that releases cover hold every contribution, and each but once for each pane that was open.
fn covered(spec: &Spec, entries: &[Entry], contributions: &[(i64, i64)]) {
    let covers: Vec<&OffsetRange> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Release(release) => Some(&release.covers),
            _ => None,
        })
        .flatten()
        .collect();
    assert!(!contributions.is_empty());
    // An auditor does not learn from it how many records a window had.
    let is_rounded = |covered: &&OffsetRange| covered.from % 1_024 == 0 && covered.to % 1_024 == 0;
    assert!(covers.iter().all(is_rounded), "offsets are exact");
    for (partition, offset) in contributions {
        let holds = |covered: &&OffsetRange| {
            covered.topic == spec.contributions()
                && i64::from(covered.partition) == *partition
                && (covered.from..covered.to).contains(offset)
        };
        assert!(covers.iter().any(holds), "nothing covers {partition}/{offset}");
    }
}

/// Where protected strings show: in every file but policies, keys and certificates, and in what was answered.
fn findings(house: &House, search: &Search, answers: &[(String, String)]) -> Vec<Finding> {
    let given = |path: &Path| {
        let name = path.file_name().unwrap();
        name == "policies" || name == "certs" || name == "keys.yaml"
    };
    let mut found = search.dir(&house.node(0), &given);
    for (place, text) in answers {
        found.extend(search.bytes(place, text.as_bytes()));
    }
    found
}

struct Ran {
    house: House,
    answers: Vec<(String, String)>,
}

/// All of it, on a store and a pipeline.
async fn run(store: Store, pipeline: Pipeline) -> Ran {
    let mut spec = Spec::counting(&fresh_name("totals"));
    spec.sum = Some((0, 1));
    let house = House::new(store, pipeline, &[&spec]);
    let gateway = house.start(0).await;
    let pane = spec.pane(now_ms()) + 4 * spec.pane_ms;
    let stream = records(&spec, pane);
    let mut publisher = Publisher::of(house.client("app"), gateway.url(""));
    let answered = publisher.send_all(&spec, &stream).await;
    // A record that a slow machine made late does not count, and its answer says so.
    let Some(stream) = counted(&spec, &answered) else { panic!("too slow a machine") };
    let mut answers = provoke(&spec, &house, &gateway).await;
    let last = pane + spec.pane_ms;
    assert!(house.published(&spec, last, RELEASED_WITHIN).await, "{}", gateway.stderr());
    doors_are_shut(&spec, &house, &gateway).await;
    let operator = client(&house.ca, &Credential::Certificate(&house.identity("operator")));
    let metrics = operator.get(gateway.admin_url("/metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    for name in ["sluicegate_releases", "sluicegate_release_spent_ratio", "sluicegate_release_lag"]
    {
        assert!(metrics.contains(name), "no {name}");
    }
    answers.push(metrics);
    answers.push(delivered(&spec, &house, &gateway).await);
    assert_eq!(gateway.stop().await, Some(0));

    let evidence = house.evidence(&spec).await;
    let panes = Expected::exactly(expected(&spec, &stream));
    let (wrong, _) = judge(&spec, &panes, &evidence, last);
    assert!(wrong.is_empty(), "{wrong:#?}");
    let contributions = house.topic(&spec.contributions()).await;
    let listed = stream.iter().filter(|sent| sent.ward != "kanary-ward").count();
    assert!(contributions.len() > listed, "late ones are contributions too");
    let (entries, _) = house.entries().await;
    let at: Vec<(i64, i64)> =
        contributions.iter().map(|message| (message.partition, message.offset)).collect();
    covered(&spec, &entries, &at);
    for message in &contributions {
        answers.push(String::from_utf8_lossy(&message.value).into_owned());
    }

    // Auditors ask in both directions, and trust the chain only.
    let place = format!("{}/0/0", spec.release);
    let (_, said) = house.verb(&["lineage", "record", &place, "-o", "json"]);
    assert!(said.contains(&spec.contributions()), "{said}");
    answers.push(said);
    let place = format!("{}/{}/{}", spec.contributions(), at[0].0, at[0].1);
    let (_, said) = house.verb(&["lineage", "record", &place, "-o", "json"]);
    assert!(said.contains(&spec.release), "{said}");
    answers.push(said);
    for arguments in [&["budget", "show"][..], &["budget", "forecast"], &["ledger", "verify"]] {
        let (code, said) = house.verb(arguments);
        assert_eq!(code, Some(0), "{said}");
        answers.push(said);
    }
    let answers = answers.into_iter().enumerate();
    let answers = answers.map(|(n, text)| (format!("answer {n}"), text)).collect();
    Ran { house, answers }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_policy_to_proof_on_the_embedded_default() {
    let Ran { house, answers } = run(Store::Sqlite, Pipeline::Embedded).await;
    assert_none(&findings(&house, &Search::new(CANARIES), &answers));
    // The same search finds one that is planted.
    replace(&house.node(0).join("spill.log"), &format!("subject {}", CANARIES[0]));
    assert_eq!(findings(&house, &Search::new(CANARIES), &answers).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_policy_to_proof_on_postgres_and_kafka() {
    let (postgres, kafka) = (require!(postgres), require!(kafka));
    let store = Store::Postgres(Database::fresh(&postgres).await.url);
    let Ran { house, mut answers } = run(store, Pipeline::Kafka(kafka.eu.plain)).await;
    let Store::Postgres(url) = &house.store else { return };
    let dump = Database { url: url.clone() }.dump().await;
    assert!(dump.contains("totals-"), "the database is empty");
    answers.push(("the database".to_owned(), dump));
    assert_none(&findings(&house, &Search::new(CANARIES), &answers));
    house.end().await;
}

/// Where a dataset is delivered as it is, the search finds its people in the topic: it can fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_search_finds_people_who_are_delivered_in_clear() {
    let spec = Spec { delivered: true, ..Spec::counting("totals") };
    assert!(matches!(spec.wards, Wards::Public(_)));
    let house = House::new(Store::Sqlite, Pipeline::Embedded, &[&spec]);
    let keep = "---\napiVersion: sluicegate/v1\nkind: ProtectionRule\n\
                metadata: { name: careless, citations: [test] }\nbecause: somebody was careless\n\
                applies-to: { categories: [user.id] }\nprotect: [{ as: keep }]\n";
    house.write_policies(0, &(policies(&[&spec]) + keep));
    let gateway = house.start(0).await;
    let stream = records(&spec, spec.pane(now_ms()));
    Publisher::of(house.client("app"), gateway.url("")).send_all(&spec, &stream).await;
    assert_eq!(gateway.stop().await, Some(0));
    let found = findings(&house, &Search::new(CANARIES), &[]);
    assert!(!found.is_empty(), "people went unnoticed");
    assert!(found.iter().all(|finding| finding.place.contains("fra.db")), "{found:?}");
    tell(&format!("delivered in clear, {} strings are found", found.len()));
}

/// What a record brings to a release in another country crosses the same border as a copy of it would, and is
/// on record as such, although no copy is delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_crosses_a_border_on_its_way_into_a_release_is_on_record() {
    let spec = Spec::counting("totals");
    let house = House::new(Store::Sqlite, Pipeline::Embedded, &[&spec]);
    let policy = policies(&[&spec])
        .replace("[{ code: DE }]", "[{ code: DE }, { code: FR }]")
        .replace("{ fixed: DE }", "{ fixed: FR }")
        .replace("deliver-to: [home]", &format!("deliver-to: [{REGION}]"));
    let allowed = "---\napiVersion: sluicegate/v1\nkind: TransferRule\n\
                   metadata: { name: to-frankfurt, citations: [test] }\nbecause: they have a contract\n\
                   from: [FR]\nto: [DE]\nallow:\n  categories: [user.id, shop]\n  recipients: [house]\n  \
                   mechanism: { type: scc, module: 2, tia: TIA-1, expires: 2099-01-01 }\n";
    house.write_policies(0, &(policy + allowed));
    let gateway = house.start(0).await;
    let stream = [Sent::new("p", "north", now_ms()), Sent::new("q", "west", now_ms())];
    Publisher::of(house.client("app"), gateway.url("")).send_all(&spec, &stream).await;
    let operator = client(&house.ca, &Credential::Certificate(&house.identity("operator")));
    let metrics = operator.get(gateway.admin_url("/metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let counted = format!("sluicegate_transfers_total{{region=\"{REGION}\"}} 2");
    assert!(metrics.contains(&counted), "{metrics}");
    assert_eq!(gateway.stop().await, Some(0));
    let (entries, _) = house.entries().await;
    let crossed: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Transfer(transfer) => Some(transfer),
            _ => None,
        })
        .collect();
    assert_eq!(crossed.len(), 1, "{crossed:?}");
    assert_eq!((&*crossed[0].terms.rule, crossed[0].records), ("to-frankfurt", 2));
    assert!(house.topic(&spec.dataset()).await.is_empty(), "a copy was delivered");
}
