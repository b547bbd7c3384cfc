//! What an operator's tools get: series that are there before the first event, in both text formats, and a log
//! of single lines that begins with what runs.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::Value;
use sluicegate_tests::{gateway::run, jwt::SigningKey, require, setup::Setup};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";

/// Alerts can ask for these before anything has happened.
const FROM_THE_START: [&str; 27] = [
    "sluicegate_build_info{version=\"",
    "sluicegate_ready 1",
    "sluicegate_records_total{dataset=\"bids\",fate=\"delivered\",code=\"\"} 0",
    "sluicegate_records_total{dataset=\"bids\",fate=\"refused\",code=\"no-region\"} 0",
    "sluicegate_records_total{dataset=\"\",fate=\"refused\",code=\"not-permitted\"} 0",
    "sluicegate_deliveries_total{region=\"eu-central\"} 0",
    "sluicegate_transfers_total{region=\"us-east\"} 0",
    "sluicegate_fail_closed_total{code=\"ledger-unavailable\"} 0",
    "sluicegate_fail_closed_total{code=\"policy-not-in-force\"} 0",
    "sluicegate_reloads_total{what=\"policy\",outcome=\"refused\"} 0",
    "sluicegate_ledger_append_duration_seconds_count 0",
    "sluicegate_requests_in_flight 0",
    "sluicegate_login_failures_total{code=\"no-credential\"} 0",
    "sluicegate_login_failures_total{code=\"token-unmapped\"} 0",
    "sluicegate_ledger_queue_length ",
    "sluicegate_ledger_size_bytes ",
    "sluicegate_ledger_open_intents 0",
    "sluicegate_ledger_gone_intents 0",
    "sluicegate_certificate_expiry_timestamp_seconds{listener=\"data\",what=\"certificate\"} ",
    "sluicegate_certificate_expiry_timestamp_seconds{listener=\"admin\",what=\"client-ca\"} ",
    // 2027-11-01.
    "sluicegate_policy_expiry_timestamp_seconds{rule=\"europe-to-virginia\",what=\"mechanism\"} 1825027200",
    "sluicegate_key_set_usable{issuer=\"",
    "process_cpu_seconds_total ",
    "process_start_time_seconds ",
    "process_resident_memory_bytes ",
    "process_open_fds ",
    "process_max_fds ",
];

async fn scrape(setup: &Setup, url: String, accept: Option<&str>) -> (String, String) {
    let mut request = setup.client("operator").get(url);
    if let Some(accept) = accept {
        request = request.header("accept", accept);
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (kind, answer.text().await.unwrap())
}

#[tokio::test]
async fn every_series_is_there_from_the_start_in_both_formats() {
    let promtool = require!(promtool);
    let mut setup = Setup::quickstart();
    setup.believe(&SigningKey::ed25519("k"));
    let gateway = setup.start().await;
    let url = || gateway.admin_url("/metrics");
    let (kind, plain) = scrape(&setup, url(), None).await;
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let (kind, open) = scrape(&setup, url(), Some(OPENMETRICS)).await;
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    assert!(open.ends_with("# EOF\n") && !plain.contains("# EOF"));
    for text in [&plain, &open] {
        for series in FROM_THE_START {
            assert!(text.lines().any(|line| line.starts_with(series)), "no {series} in:\n{text}");
        }
    }
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(plain.as_bytes()).unwrap();
    let checked = check.wait_with_output().unwrap();
    let said = [checked.stdout, checked.stderr].concat();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&said));
    assert_eq!(String::from_utf8_lossy(&said), "");
    assert_eq!(gateway.stop().await, Some(0));
}

#[tokio::test]
async fn the_log_says_first_what_runs_and_where() {
    let setup = Setup::quickstart();
    let gateway = setup.start().await;
    let log = gateway.stderr();
    let entries: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries[0]["event"], "starting");
    for field in ["version", "commit", "node", "config"] {
        assert!(entries[0][field].as_str().is_some_and(|text| !text.is_empty()), "{}", entries[0]);
    }
    let listening = entries.iter().find(|entry| entry["event"] == "listening").unwrap();
    assert!(listening["data"].as_str().unwrap().starts_with("127.0.0.1:"), "{listening}");
    assert_eq!(gateway.stop().await, Some(0));
    let version = run(setup.path(), &["--version"]);
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    assert!(version.contains("\nlanguage sluicegate/v1\nledger lgr"), "{version}");
}
