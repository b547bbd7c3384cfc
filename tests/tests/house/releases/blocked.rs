//! The operator's hand tool: a period in which nothing more is released, whatever its budget.

use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use sluicegate_audit::Entry;
use sluicegate_tests::{
    gateway::Gateway,
    process::eventually,
    releases::{Sent, Spec, now_ms},
};

use super::setup::{House, Pipeline, Store};

const WITHIN: Duration = Duration::from_secs(40);

/// What a publisher is told of a record that would count now.
async fn told(app: &Client, gateway: &Gateway, spec: &Spec) -> Value {
    let url = gateway.url(&format!("/v1/topics/{}/records", spec.dataset()));
    let body = json!([Sent::new("somebody", "north", now_ms()).json()]);
    let mut reports: Value = app.post(url).json(&body).send().await.unwrap().json().await.unwrap();
    reports[0].take()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_period_that_an_operator_blocks_releases_nothing_more() {
    let spec = Spec::counting("halted");
    let house = House::new(Store::Sqlite, Pipeline::Embedded, &[&spec]);
    let gateway = house.start(0).await;
    assert!(house.published(&spec, spec.pane(now_ms()), WITHIN).await, "{}", gateway.stderr());

    let dataset = spec.dataset();
    let block = |dataset: &str, period: &str, because: &str| {
        house.verb(&["budget", "block", dataset, "--period", period, "--because", because])
    };
    for (of, period, because, says) in [
        ("nobody", "current", "test", dataset.as_str()),
        (&dataset, "2026-01-01T00:00:01Z", "test", "2026-01-01T00:00:00Z"),
        (&dataset, "yesterday", "test", "not a valid time"),
        (&dataset, "current", " ", "reason"),
    ] {
        let (code, said) = block(of, period, because);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(says), "{said}");
    }
    let blocked = |entries: Vec<Entry>| {
        entries.into_iter().filter_map(|entry| match entry {
            Entry::BudgetBlocked(blocked) => Some((blocked.account, blocked.why)),
            _ => None,
        })
    };
    assert_eq!(blocked(house.entries().await.0).count(), 0, "what was refused wrote nothing");

    let app = house.client("app");
    let counted = told(&app, &gateway, &spec).await;
    assert_eq!((&counted["status"], &counted["not_counted"]), (&json!("aggregated"), &Value::Null));
    // Beside the running gateway.
    let (code, said) = block(&dataset, "current", "volume restored");
    assert!(code == Some(0) && said.contains("BLOCKED"), "{said}");
    let refused = eventually(WITHIN, async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let entries = house.entries().await.0;
        entries.into_iter().find_map(|entry| match entry {
            Entry::ReleaseRefused(refused) => Some(refused.code),
            _ => None,
        })
    });
    assert_eq!(refused.await.as_deref(), Some("budget-blocked"), "{}", gateway.stderr());
    let blocked_now = told(&app, &gateway, &spec).await;
    let why = &blocked_now["not_counted"][0];
    assert_eq!(blocked_now["status"], "aggregated", "{blocked_now}");
    assert_eq!((&why["release"], &why["code"]), (&json!("halted"), &json!("period-blocked")));
    let released = house.released(&spec).await.len();
    let (code, said) = block(&dataset, "current", "again");
    assert!(code == Some(0) && said.contains("already"), "{said}");
    let (_, shown) = house.verb(&["budget", "show"]);
    assert!(shown.contains("BLOCKED"), "{shown}");
    assert_eq!(gateway.stop().await, Some(0));
    // Who starts later knows it before it takes a record.
    let gateway = house.start(0).await;
    assert_eq!(told(&app, &gateway, &spec).await["not_counted"][0]["code"], "period-blocked");
    assert_eq!(gateway.stop().await, Some(0));

    assert_eq!(house.released(&spec).await.len(), released);
    let (entries, diverges) = house.entries().await;
    assert_eq!(diverges, None);
    let by_hand = entries.iter().any(|entry| {
        matches!(entry, Entry::Admin(admin) if admin.action == "budget.block"
            && admin.actor.by == "shell" && admin.about.ends_with(": volume restored"))
    });
    assert!(by_hand, "{entries:?}");
    let blocked: Vec<_> = blocked(entries).collect();
    assert_eq!(blocked, [(dataset, "operator".to_owned())]);
}
