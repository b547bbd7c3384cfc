//! A principal comes from its networks only, on both faces.

use std::time::Duration;

use sluicegate_tests::{process::eventually, require, setup::Setup, wire::fetch};
use sluicegate_wire::{Key, Name, Value};

use super::{FETCH, House};

const RELOADS_WITHIN: Duration = Duration::from_secs(10);
const METADATA: (Key, i16) = (Key::Metadata, 9);

fn networks(setup: &mut Setup) {
    for (who, networks) in [
        ("analyst", "[10.0.0.0/8, \"2001:db8::/32\"]"),
        ("svc.accounts", "[192.0.2.1, 127.0.0.0/8]"),
    ] {
        let from = format!("id: {who},");
        setup.change_policy("1-words.yaml", &from, &format!("{from} networks: {networks},"));
    }
}

#[tokio::test]
async fn a_principal_comes_from_its_networks_only() {
    let clusters = require!(kafka);
    let house = House::start_changed(&clusters, networks).await;
    let url = house.gateway.url("/v1/topics/people/partitions/0/records?region=us-east");
    let status =
        async |who: &str| house.setup.client(who).get(&url).send().await.unwrap().status().as_u16();
    assert_eq!(status("analyst").await, 401, "as a failed login");
    assert_ne!(status("svc.accounts").await, 401);
    let metrics = house.gateway.admin_url("/metrics");
    let metrics = house.setup.client("operator").get(metrics).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let counted = "sluicegate_login_failures_total{code=\"network-not-allowed\"} 1\n";
    assert!(metrics.contains(counted), "{metrics}");
    let mut analyst = house.wire("analyst").await;
    assert!(analyst.ask(FETCH, &fetch(&[(&house.people, 0, 0)])).await.is_none());
    // Who may now and may not later is noticed by its next request.
    let mut accounts = house.wire("svc.accounts").await;
    let all = [(Name::Topics, Value::Null)];
    assert!(accounts.ask(METADATA, &all).await.is_some());
    house.setup.change_policy("1-words.yaml", "127.0.0.0/8", "127.0.0.128/25");
    let ended = eventually(RELOADS_WITHIN, async || {
        accounts.ask(METADATA, &all).await.is_none().then_some(())
    });
    assert!(ended.await.is_some());
    let mut again = house.wire("svc.accounts").await;
    assert!(again.ask(METADATA, &all).await.is_none());
    house.verified_when_stopped().await;
}
