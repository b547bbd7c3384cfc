//! A simulation reads and judges as the gateway does, and says what it leaves out; each case was wrong once.

use std::{fs, path::Path, process::Output};

use serde_json::{Value, json};
use sluicegate_tests::{components, gateway::run};

const POLICY: &str = r#"
apiVersion: sluicegate/v1
kind: Vocabulary
metadata: { name: words }
categories: [{ id: user.id }, { id: row.key }, { id: row.amount }, { id: event.when }]
recipients: [{ id: team.readers }, { id: shop-eu }]
principals: [{ id: source }, { id: reader, member-of: [team.readers] }]
jurisdictions: [{ code: DE }]
regions: [{ id: eu, jurisdiction: DE, recipient: shop-eu }]
---
apiVersion: sluicegate/v1
kind: Purpose
metadata: { name: measurement }
---
apiVersion: sluicegate/v1
kind: TokenDomain
metadata: { name: people }
normalize: exact
scope: global
key: shop-2026
---
apiVersion: sluicegate/v1
kind: Dataset
metadata: { name: data }
topics: [data]
fields: { user: user.id, "header:k": row.key, k: row.key, v: row.amount, at: event.when }
unlisted: refuse
jurisdiction: { fixed: DE }
deliver-to: [home]
event-time: { field: at, unit: rfc3339 }
records: releases-only
---
apiVersion: sluicegate/v1
kind: Release
metadata: { name: r, citations: ["x"] }
because: "Readers see totals."
dataset: data
topic: r
unit: { subject: user, domain: people, period: 24h }
budget: { epsilon: 4.0, accounting: pure }
window: { size: 1h }
bounds: { windows-per-period: 24, records-per-key: 100 }
KEYS
release:
  - { what: subjects, share: 0.4 }
  - { what: count, share: 0.3 }
  - { what: sum, share: 0.3, field: v, clamp: [0, 1000] }
---
apiVersion: sluicegate/v1
kind: AccessRule
metadata: { name: source-publishes, citations: ["x"] }
because: "Comes from the source."
who: [source]
may: [publish]
datasets: [data]
purposes: [measurement]
"#;

fn policy(keys: &str) -> String {
    let policy = POLICY.replace("KEYS", keys);
    match keys {
        "" => policy,
        _ => policy.replace("records-per-key", "keys-per-window: 1, records-per-key"),
    }
}

fn simulation_of(dir: &Path, lines: &str, more: &[&str]) -> Output {
    fs::write(dir.join("s.ndjson"), lines).unwrap();
    let verb = ["release", "simulate", "policies", "--release", "r", "--input", "s.ndjson"];
    run(dir, &[&verb, more].concat())
}

/// The result over some lines, as JSON and for people.
fn simulated(keys: &str, lines: &str) -> (Value, String) {
    let house = tempfile::tempdir().unwrap();
    fs::create_dir(house.path().join("policies")).unwrap();
    fs::write(house.path().join("policies/p.yaml"), policy(keys)).unwrap();
    let json = simulation_of(house.path(), lines, &["-o", "json"]);
    assert!(json.status.success(), "{}", String::from_utf8_lossy(&json.stderr));
    let text = simulation_of(house.path(), lines, &[]);
    let text = String::from_utf8(text.stdout).unwrap();
    (serde_json::from_slice(&json.stdout).unwrap(), text)
}

fn click(n: usize, v: &str) -> String {
    format!("{{\"user\":\"u{n}\",\"v\":{v},\"at\":\"2026-11-02T10:00:{:02}Z\"}}\n", n % 60)
}

/// Of the only row.
fn truth(simulation: &Value) -> Vec<i64> {
    serde_json::from_value(simulation["windows"][0]["rows"][0]["truth"].clone()).unwrap()
}

fn reason<'v>(simulation: &'v Value, code: &str) -> &'v Value {
    let reasons = simulation["reasons"].as_array().unwrap();
    reasons.iter().find(|reason| reason["code"] == code).unwrap_or(&Value::Null)
}

#[test]
fn one_bad_line_is_counted_and_the_stream_continues() {
    let mut lines = "\u{feff}".to_owned() + &click(0, "1");
    lines += &click(1, "NaN");
    lines += "{\"user\":\"u2\",\"v\":1,\"at\":\"2026-11-02 10:00:02\"}\n";
    lines += "{\"user\":\"u3\",\"v\":1,\"mail\":\"a@b.c\",\"at\":\"2026-11-02T10:00:03Z\"}\n";
    lines += "{\"user\":\"u4\",\"user\":\"u5\",\"v\":1,\"at\":\"2026-11-02T10:00:04Z\"}\n";
    lines += "\n";
    lines += &(10..20).map(|n| click(n, "1")).collect::<String>();
    let (simulation, text) = simulated("", &lines);
    assert_eq!((&simulation["records"], &simulation["refused"]), (&json!(15), &json!(5)));
    assert_eq!(truth(&simulation), [10, 10, 10]);
    assert_eq!(reason(&simulation, "malformed-body")["records"], 2);
    assert_eq!(reason(&simulation, "malformed-body")["first_line"], 1);
    assert_eq!(reason(&simulation, "unknown-field")["first_line"], 4);
    let time = reason(&simulation, "invalid-value");
    assert_eq!(time["first_line"], 3);
    let detail = time["detail"].as_str().unwrap();
    assert!(detail.contains("`/at`") && detail.contains("2026-11-02T10:00:00Z"), "{detail}");
    for said in ["5 refused", "DOUBTFUL: 5 of 15 records count in no window", "of source for"] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn what_is_outside_is_counted_by_reason_with_the_first_spellings() {
    let keys = "keys: { field: k, public: [icu, \"Zürich\", \"1\", er] }";
    let spelled = ["\"icu\"", "\"ICU\"", "\"icu \"", "\"Zu\u{308}rich\"", "1", "1.0", "null"];
    let line = |n: usize| {
        let (key, at) = (spelled[n % 7], format!("2026-11-02T10:00:{:02}Z", n % 60));
        format!("{{\"user\":\"u{n}\",\"v\":1,\"k\":{key},\"at\":\"{at}\"}}\n")
    };
    let lines: String = (0..70).map(line).collect();
    let (simulation, text) = simulated(keys, &lines);
    assert_eq!(simulation["outside"], 40);
    let unlisted = reason(&simulation, "key-not-listed");
    assert_eq!((&unlisted["records"], &unlisted["first_line"]), (&json!(30), &json!(2)));
    assert_eq!(unlisted["spellings"], json!(["ICU", "icu ", "Zu\u{308}rich"]));
    assert_eq!(reason(&simulation, "no-key")["records"], 10);
    for said in ["\"icu \"", "Zu\\u{308}rich", "DOUBTFUL: 40 of 70 records count in no window"] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

/// Keys and headers as the gateway reads them: a string is its text.
#[test]
fn records_are_read_as_publishing_reads_them() {
    let keys = "keys: { field: \"header:k\", public: [icu] }";
    let record =
        r#"{"value":{"user":"a","v":1,"at":"2026-11-02T10:00:00Z"},"headers":{"k":"icu"}}"#;
    let pairs = r#"{"value":{"user":"b","v":1,"at":"2026-11-02T10:00:00Z"},"headers":[["k","icu"]],"offset":3}"#;
    let (simulation, _) = simulated(keys, &format!("{record}\n{pairs}\n"));
    assert_eq!((&simulation["outside"], truth(&simulation)), (&json!(0), vec![2, 2, 2]));
}

#[test]
fn what_is_called_true_is_true_of_the_stream() {
    let lines: String = (0..100).map(|n| click(n, "0.99")).collect();
    let (simulation, _) = simulated("", &lines);
    assert_eq!(truth(&simulation), [100, 100, 99]);
    assert_eq!(simulation["windows"][0]["rows"][0]["bounded"], json!([100, 100, 100]));
    // A number larger than any that fits is taken as the largest, like one that fits.
    for large in ["1e30", "1e400"] {
        let (simulation, _) = simulated("", &click(0, large));
        assert_eq!(simulation["windows"][0]["rows"][0]["bounded"], json!([1, 1, 1_000]), "{large}");
    }
}

#[test]
fn values_that_are_no_numbers_are_said() {
    let values = [
        "\"12,50\"",
        "\"1,250.00\"",
        "\"$12\"",
        "\"+12\"",
        "\" 12.5 \"",
        "\".5\"",
        "\"12.\"",
        "\"0012\"",
        "\"1e2\"",
        "null",
        "true",
        "\"NaN\"",
    ];
    let lines: String = values.iter().enumerate().map(|(n, v)| click(n, v)).collect();
    let (simulation, text) = simulated("", &lines);
    assert_eq!(truth(&simulation), [12, 12, 113]);
    let without = reason(&simulation, "not-a-number");
    assert_eq!((&without["records"], &without["first_line"]), (&json!(10), &json!(1)));
    assert!(text.contains("10 not-a-number (first: line 1)"), "{text}");
}

#[test]
fn where_nothing_is_published_there_is_no_error_and_an_empty_input_is_one() {
    let keys = "keys: { field: k }";
    let line = |n: usize| click(n, "1").replace("\"v\"", "\"k\":\"er\",\"v\"");
    let lines: String = (0..3).map(line).collect();
    let house = tempfile::tempdir().unwrap();
    fs::create_dir(house.path().join("policies")).unwrap();
    let policy = policy(keys).replace("epsilon: 4.0,", "epsilon: 1.0, delta: 1e-9,");
    fs::write(house.path().join("policies/p.yaml"), policy).unwrap();
    let output = simulation_of(house.path(), &lines, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("nothing published: the largest bounded row has 3, the threshold is"),
        "{text}{stderr}"
    );
    assert!(text.contains("error against the truth -,"), "{text}");
    let empty = simulation_of(house.path(), "\n", &[]);
    assert_eq!(empty.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&empty.stderr).contains("the input has no records"));
}

/// The recorded streams of the examples are such that nothing in them is refused or outside.
#[test]
fn the_examples_streams_are_taken_whole() {
    for (example, release) in
        [("ad-metrics", "placement-clicks"), ("patient-monitoring", "ward-load")]
    {
        let dir = components::root().join("examples").join(example);
        let verb = ["release", "simulate", "policies", "--release", release];
        let output = run(&dir, &[&verb[..], &["--input", "stream.ndjson", "-o", "json"]].concat());
        let simulation: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&simulation["refused"], &simulation["outside"]),
            (&json!(0), &json!(0)),
            "{example}"
        );
    }
}
