//! One judgment, whatever becomes of a record: what `records: deliver` refuses, `records: releases-only` refuses
//! too, and a publisher is told what of its record counts in no window.

use std::fs;

use reqwest::Client;
use serde_json::{Value, json};
use sluicegate_tests::{
    ca::{Ca, replace},
    client::{Credential, client},
    components,
    gateway::{CONFIG, Gateway, run},
};

use super::setup::write_keys;

/// The advertisements' policies on one machine, with one word of the dataset replaced.
async fn ads(records: &str) -> (tempfile::TempDir, Ca, Gateway) {
    let house = tempfile::tempdir().unwrap();
    let (dir, ca) = (house.path(), Ca::new("ads"));
    let examples = components::root().join("examples");
    for sub in ["policies", "certs"] {
        fs::create_dir(dir.join(sub)).unwrap();
    }
    for file in ["1-words.yaml", "2-rules.yaml"] {
        let policy = fs::read_to_string(examples.join("ad-metrics/policies").join(file)).unwrap();
        let policy = policy
            .replace("records: releases-only", &format!("records: {records}"))
            .replace("lateness: 30s", "lateness: 10m")
            .replace("unlisted: refuse", "unlisted: refuse\nlineage: { placement: placement }");
        fs::write(dir.join("policies").join(file), policy).unwrap();
    }
    ca.write(&dir.join("certs"));
    ca.server().write(&dir.join("certs"), "server");
    fs::create_dir_all(dir.join("keys")).unwrap();
    fs::create_dir_all(dir.join("data")).unwrap();
    write_keys(&dir.join("keys/keyring.yaml"), &["ads-2026", "ledger-search"]);
    let config = fs::read_to_string(examples.join("ad-metrics").join(CONFIG)).unwrap();
    let (before, _) = config.split_once("    kafka:").unwrap();
    let (_, behind) = config.split_once("# State that does not fit").unwrap();
    let embedded = "    embedded: { file: data/ads.db, partitions: 2 }\n\n#";
    let config = format!("{before}{embedded}{behind}")
        .replace("store-file: ledger-url", "store: \"sqlite:data/ledger.db\"")
        .replace(":8443", ":0")
        .replace(":9443", ":0");
    replace(&dir.join(CONFIG), &config);
    let gateway = match Gateway::start_again(dir, &ca).await {
        Ok(gateway) => gateway,
        Err(why) => panic!("{why:?}"),
    };
    (house, ca, gateway)
}

async fn sent(client: &Client, gateway: &Gateway, value: Value) -> (u16, Value) {
    let url = gateway.url("/v1/topics/clicks/records");
    let answer = client.post(url).json(&json!({ "value": value })).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn click(change: impl FnOnce(&mut Value)) -> Value {
    let now_ms = sluicegate_tests::releases::now_ms();
    let mut click =
        json!({ "user": "b-1", "country": "DE", "placement": "x/emea", "cost": 0.4, "at": now_ms });
    change(&mut click);
    click
}

#[tokio::test]
async fn what_deliver_refuses_is_refused_for_releases_only() {
    let mut said = Vec::new();
    for records in ["releases-only", "deliver"] {
        let (_house, ca, gateway) = ads(records).await;
        let server = ca.client("spiffe://ads/ad-server");
        let server = client(&ca, &Credential::Certificate(&server));
        let (status, report) = sent(&server, &gateway, click(|_| {})).await;
        assert_eq!(status, 200, "{report}");
        let mut codes = Vec::new();
        let mail = click(|click| click["email"] = json!("a@b.c"));
        let nowhere = click(|click| click["country"] = json!("ZZ"));
        let never = click(|click| click["at"] = json!("now"));
        for record in [mail, nowhere, never] {
            let (status, report) = sent(&server, &gateway, record).await;
            assert_eq!(status, 422, "{records}: {report}");
            assert!(!report.to_string().contains("a@b.c"));
            codes.push((report["code"].clone(), report["pointer"].clone()));
        }
        assert_eq!(codes[0], (json!("unknown-field"), json!("")));
        said.push(codes);
        assert_eq!(gateway.stop().await, Some(0));
    }
    assert_eq!(said[0], said[1]);
}

#[tokio::test]
async fn a_publisher_and_an_operator_see_what_counts_in_no_window() {
    let (house, ca, gateway) = ads("releases-only").await;
    let of = |name: &str| {
        let identity = ca.client(&format!("spiffe://ads/{name}"));
        client(&ca, &Credential::Certificate(&identity))
    };
    let server = of("ad-server");
    let (_, counted) =
        sent(&server, &gateway, click(|click| click["placement"] = json!("one/emea"))).await;
    assert_eq!(counted["not_counted"], Value::Null, "{counted}");
    let seconds = |click: &mut Value| {
        click["at"] = json!(click["at"].as_i64().unwrap() / 1_000);
        click["placement"] = json!("late/emea");
    };
    // In time for its window, which was over before the first one that is released.
    let early = |click: &mut Value| {
        click["at"] = json!(click["at"].as_i64().unwrap() - 8 * 60_000);
        click["placement"] = json!("early/emea");
    };
    let without = |name: &'static str| {
        move |click: &mut Value| drop(click.as_object_mut().unwrap().remove(name))
    };
    let cases = [
        ("late", click(seconds)),
        ("before-first-window", click(early)),
        ("no-subject", click(without("user"))),
        ("no-key", click(without("placement"))),
        ("key-too-long", click(|click| click["placement"] = json!("x".repeat(65)))),
        ("not-a-number", click(|click| click["cost"] = json!("0,43"))),
    ];
    for (code, record) in &cases {
        let (status, report) = sent(&server, &gateway, record.clone()).await;
        assert_eq!((status, &report[0]["status"]), (200, &json!("aggregated")), "{code}: {report}");
        let why = &report[0]["not_counted"][0];
        assert_eq!((&why["release"], &why["code"]), (&json!("placement-clicks"), &json!(code)));
        assert!(!why["detail"].as_str().unwrap().is_empty());
    }
    let metrics = of("operator").get(gateway.admin_url("/metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    for (code, _) in &cases {
        let series = "sluicegate_release_uncounted_total{release=\"placement-clicks\"";
        let line = format!("{series},code=\"{code}\"}} 1");
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
    assert_eq!(gateway.stop().await, Some(0));
    // And lineage does not say that the late and the early one were counted.
    for (placement, counted) in [("one/emea", true), ("late/emea", false), ("early/emea", false)] {
        let source = format!("placement={placement}");
        let output = run(house.path(), &["lineage", "affected", "--source", &source]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.contains("not counted in any window"), !counted, "{placement}: {text}");
        assert_eq!(text.contains("placement-clicks.contributions"), counted, "{text}");
    }
}
