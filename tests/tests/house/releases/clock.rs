//! Windows are fired by a clock that is judged: one that leaps publishes nothing, charges nothing, and writes no
//! time of its own.

use std::time::Duration;

use sluicegate_audit::Entry;
use sluicegate_tests::{
    gateway::leap,
    releases::{Spec, now_ms},
};

use super::setup::{House, Pipeline, Store};

const WITHIN: Duration = Duration::from_secs(40);
const TEN_MINUTES_MS: i64 = 600_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_minutes_ahead_publish_nothing_and_charge_nothing() {
    let spec = Spec::counting("leaping");
    let house = House::new(Store::Sqlite, Pipeline::Embedded, &[&spec]);
    leap(&house.node(0), 0);
    let gateway = house.start(0).await;
    assert!(house.published(&spec, spec.pane(now_ms()), WITHIN).await, "{}", gateway.stderr());

    for leap_ms in [TEN_MINUTES_MS, -TEN_MINUTES_MS] {
        leap(&house.node(0), leap_ms);
        assert!(gateway.readiness(&house.ca, 503, WITHIN).await, "a leap of {leap_ms} is not seen");
        // What was under way.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = (house.released(&spec).await.len(), house.evidence(&spec).await.charged.len());
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        let during = (house.released(&spec).await.len(), house.evidence(&spec).await.charged.len());
        assert_eq!(during, before, "a leap of {leap_ms} fires windows");
        leap(&house.node(0), 0);
        assert!(gateway.ready(&house.ca, WITHIN).await, "{}", gateway.stderr());
    }

    // What was due meanwhile follows, and nothing of the future.
    assert!(house.published(&spec, spec.pane(now_ms()), WITHIN).await, "{}", gateway.stderr());
    let said = gateway.stderr();
    for event in ["clock-leapt", "clock-returned"] {
        assert_eq!(said.matches(event).count(), 2, "one line a change: {said}");
    }
    assert_eq!(gateway.stop().await, Some(0));
    let end_ms = now_ms();
    let released = house.released(&spec).await;
    assert!(released.iter().all(|(_, start_ms, _)| *start_ms < end_ms));
    assert_eq!(house.evidence(&spec).await.charged.len(), released.len());
    let refused = |entry: &Entry| matches!(entry, Entry::ReleaseRefused(_));
    assert!(!house.entries().await.0.iter().any(refused));
    let false_rows = house.rows().await.into_iter().filter(|row| row.t_us / 1_000 > end_ms);
    assert_eq!(false_rows.count(), 0, "a false time is in the ledger");
}
