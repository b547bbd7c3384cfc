//! A budget is for a period and for people: what would make either of them another, and so begin to count
//! anew, is refused; and what is refused keeps nothing that comes later waiting.

use std::{fs, time::Duration};

use serde_json::Value;
use sluicegate_audit::Entry;
use sluicegate_tests::{
    dice::Dice,
    process::eventually,
    releases::{Spec, now_ms, policies},
};

use super::{
    publisher::{Publisher, stream},
    setup::{House, Pipeline, Store, write_other_keys},
};

const WITHIN: Duration = Duration::from_secs(40);

/// What is done while the gateway is stopped, and what windows are refused with after it.
#[derive(Clone, Copy, Debug)]
enum Change {
    Period,
    Offset,
    Keys(&'static str),
    ContributionsLost,
}

impl Change {
    fn make(self, house: &House, spec: &Spec) {
        let edit = |from: &str, to: &str| {
            let text = policies(&[spec]);
            assert_eq!(text.matches(from).count(), 1, "{from}");
            house.write_policies(0, &text.replace(from, to));
        };
        match self {
            Self::Period => edit("period: 24h", "period: 12h"),
            Self::Offset => edit("size: 1000ms,", "size: 1000ms, offset: 500ms,"),
            Self::Keys(name) => write_other_keys(&house.node(0).join("keys.yaml"), name),
            Self::ContributionsLost => {
                for file in ["fra.db", "fra.db-wal", "fra.db-shm"] {
                    // The others may never have been.
                    let _gone = fs::remove_file(house.node(0).join(file));
                }
            }
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Period | Self::Offset => "budget-changed",
            Self::Keys(_) | Self::ContributionsLost => "budget-blocked",
        }
    }
}

/// The code with which a window was refused that began at a time or later.
async fn refused_from(house: &House, from_ms: i64) -> Option<String> {
    let found = eventually(WITHIN, async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let entries = house.entries().await.0;
        entries.into_iter().find_map(|entry| match entry {
            Entry::ReleaseRefused(refused) if refused.window_start_us / 1_000 >= from_ms => {
                Some(refused.code)
            }
            _ => None,
        })
    });
    found.await
}

async fn no_second_budget_after(change: Change) {
    let spec = Spec::counting("totals");
    let house = House::new(Store::Sqlite, Pipeline::Embedded, &[&spec]);
    let mut dice = Dice(17);
    let gateway = house.start(0).await;
    let next = spec.pane(now_ms()) + 2 * spec.pane_ms;
    let records = stream(&spec, &mut dice, "s", &[next], &[]);
    Publisher::of(house.client("app"), gateway.url("")).send_all(&spec, &records).await;
    assert!(house.published(&spec, next, WITHIN).await, "{change:?}: {}", gateway.stderr());
    assert_eq!(gateway.stop().await, Some(0));
    let before = house.released(&spec).await.len();

    change.make(&house, &spec);
    // Twice: what was refused in one life must not keep the next one waiting.
    for life in 0..2 {
        let gateway = house.start(0).await;
        let from_ms = now_ms() + 2 * spec.pane_ms;
        let records = stream(&spec, &mut dice, "s", &[spec.pane(from_ms)], &[]);
        let mut publisher = Publisher::of(house.client("app"), gateway.url(""));
        publisher.name = format!("life-{life}");
        publisher.send_all(&spec, &records).await;
        let code = refused_from(&house, from_ms - spec.pane_ms).await;
        assert_eq!(
            code.as_deref(),
            Some(change.code()),
            "{change:?}, {life}: {}",
            gateway.stderr()
        );
        assert_eq!(gateway.stop().await, Some(0));
    }
    assert_eq!(house.released(&spec).await.len(), before, "{change:?}");
    let (code, said) = house.verb(&["ledger", "verify"]);
    assert_eq!(code, Some(0), "{change:?}: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_length_of_the_period_is_no_second_budget() {
    no_second_budget_after(Change::Period).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_begin_of_the_period_is_no_second_budget() {
    no_second_budget_after(Change::Offset).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_keys_of_subjects_are_no_second_budget() {
    no_second_budget_after(Change::Keys("users-2026")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_contributions_are_no_second_budget() {
    no_second_budget_after(Change::ContributionsLost).await;
}

/// A window that is published twice is charged twice, as much as the plan has for both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revisions_are_paid_for_once_each() {
    let mut spec = Spec::counting("totals");
    spec.windows = 3;
    let house = House::new(Store::Sqlite, Pipeline::Embedded, &[&spec]);
    let revised = policies(&[&spec]).replace(
        "max-skew: 20000ms }",
        "max-skew: 20000ms, late: revise, revisions: 1, revise-after: 1500ms }",
    );
    assert!(revised.contains("revisions: 1"));
    house.write_policies(0, &revised);
    let gateway = house.start(0).await;
    // More windows than a subject counts in, and each of them twice.
    let seen = eventually(WITHIN, async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let messages = house.topic(&spec.release).await;
        let read: Vec<Value> =
            messages.iter().filter_map(|m| serde_json::from_slice(&m.value).ok()).collect();
        let again = read.iter().filter(|message| message["revision"] == 1).count();
        (again > 5 * 3).then_some(read)
    });
    let Some(messages) = seen.await else { panic!("no revisions: {}", gateway.stderr()) };
    assert_eq!(gateway.stop().await, Some(0));
    for message in &messages {
        let epsilon = message["epsilon"].as_f64().unwrap();
        // 50 over three windows, twice each.
        assert!((8.0..=8.34).contains(&epsilon), "{message}");
    }
    let (code, said) = house.verb(&["budget", "forecast", "-o", "json"]);
    assert_eq!(code, Some(0), "{said}");
    let forecast: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(forecast[0]["refused"], false, "{said}");
    let refused = house.entries().await.0;
    assert!(!refused.iter().any(|entry| matches!(entry, Entry::ReleaseRefused(_))));
    let (code, said) = house.verb(&["ledger", "verify"]);
    assert_eq!(code, Some(0), "{said}");
}
