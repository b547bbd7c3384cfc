//! One gateway a name, and a clock that is doubted: what refuses says why, and has a way out.

use std::{path::Path, process::Output, time::Duration};

use serde_json::json;
use sluicegate_tests::{
    ca::replace,
    gateway::{CONFIG, Gateway, leap, program, run},
    postgres::Database,
    process::eventually,
    require,
    setup::Setup,
};

const WITHIN: Duration = Duration::from_secs(30);
const MONTH_MS: i64 = 31 * 86_400_000;

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

async fn publish(setup: &Setup, gateway: &Gateway) -> (u16, String) {
    let record = json!({ "key": "7", "value": {
        "auction": 7, "price": 120, "bidder": { "id": 1001, "country": "DE" }, "terminal": "t-7",
    }});
    let url = gateway.url("/v1/topics/bids/records");
    let answer = setup.client("svc.market").post(url).json(&record).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// A gateway in this folder, which must end by itself and never listen: its exit code and what it said.
async fn refused(dir: &Path, listened_before: usize) -> (Option<i32>, String) {
    match Gateway::start_unready(dir).await {
        Err(why) => {
            let listened = why.stdout.matches("\"listening\"").count();
            assert_eq!(listened, listened_before, "it listened: {}", why.stdout);
            (why.status.and_then(|status| status.code()), why.stderr)
        }
        Ok(gateway) => panic!("it listens: {}", gateway.stderr()),
    }
}

#[tokio::test]
async fn a_leap_of_a_month_for_a_moment_costs_that_moment() {
    let setup = Setup::quickstart();
    leap(setup.path(), 0);
    let gateway = setup.start().await;
    assert_eq!(publish(&setup, &gateway).await.0, 200);
    leap(setup.path(), MONTH_MS);
    let (status, body) = publish(&setup, &gateway).await;
    assert!(status == 503 && body.contains("policy-not-in-force"), "{status} {body}");
    leap(setup.path(), 0);
    let (status, body) = publish(&setup, &gateway).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(gateway.stop().await, Some(0));
    let gateway = setup.start().await;
    assert_eq!(publish(&setup, &gateway).await.0, 200, "after a restart");
    assert_eq!(gateway.stop().await, Some(0));
}

/// A gateway that was started a month ahead, and an operator's way back.
#[tokio::test]
async fn a_false_future_is_left_by_a_verb_that_the_ledger_keeps() {
    let setup = Setup::quickstart();
    let restart = ["ledger", "restart-time", "--config", CONFIG, "--because", "clock set wrongly"];
    leap(setup.path(), MONTH_MS);
    let gateway = setup.start().await;
    assert_eq!(publish(&setup, &gateway).await.0, 200);
    let beside = run(setup.path(), &restart);
    assert_eq!(beside.status.code(), Some(1), "{}", text(&beside));
    assert!(text(&beside).contains("another gateway runs"), "{}", text(&beside));
    assert_eq!(gateway.stop().await, Some(0));

    leap(setup.path(), 0);
    let gateway = Gateway::start_unready(setup.path()).await.unwrap();
    let said = eventually(WITHIN, async || {
        gateway.stderr().contains("`sluicegate ledger restart-time`").then_some(())
    });
    assert!(said.await.is_some(), "the log does not name the way out: {}", gateway.stderr());
    assert!(!gateway.ready(&setup.ca, Duration::from_secs(1)).await);
    assert_eq!(publish(&setup, &gateway).await.0, 503);
    assert_eq!(gateway.stop().await, Some(0));

    let done = run(setup.path(), &restart);
    assert!(done.status.success(), "{}", text(&done));
    let gateway = setup.start().await;
    assert_eq!(publish(&setup, &gateway).await.0, 200);
    assert_eq!(gateway.stop().await, Some(0));
    let again = run(setup.path(), &restart);
    assert_eq!(again.status.code(), Some(1), "{}", text(&again));
    assert!(text(&again).contains("nothing to restart"), "{}", text(&again));
    let verified = run(setup.path(), &["ledger", "verify", "--config", CONFIG]);
    assert!(verified.status.success(), "{}", text(&verified));
}

/// A question from a laptop whose clock is a month ahead stops nobody.
#[tokio::test]
async fn a_question_from_the_future_is_no_floor() {
    let setup = Setup::quickstart();
    leap(setup.path(), 0);
    let gateway = setup.start().await;
    assert_eq!(publish(&setup, &gateway).await.0, 200);
    assert_eq!(gateway.stop().await, Some(0));
    let question =
        ["lineage", "--config", CONFIG, "token", "tk1_0000_1_00000000000000000000000000000000"];
    leap(setup.path(), MONTH_MS);
    let asked = run(setup.path(), &question);
    assert_eq!(asked.status.code(), Some(1), "nothing found: {}", text(&asked));
    leap(setup.path(), 0);
    let gateway = setup.start().await;
    assert_eq!(publish(&setup, &gateway).await.0, 200);
    assert!(gateway.stderr().contains("another-writers-clock-was-ahead"));
    let asked = run(setup.path(), &question);
    assert_eq!(asked.status.code(), Some(1), "{}", text(&asked));
    assert_eq!(gateway.stop().await, Some(0));
}

#[tokio::test]
async fn a_second_gateway_on_a_sqlite_ledger_refuses_to_start() {
    let setup = Setup::quickstart();
    let gateway = setup.start().await;
    let (code, said) = refused(setup.path(), 1).await;
    assert!(code == Some(1) && said.contains("another gateway runs"), "{code:?}: {said}");
    assert_eq!(publish(&setup, &gateway).await.0, 200);
    gateway.kill();
    let gateway = setup.start().await;
    assert_eq!(gateway.stop().await, Some(0), "a killed gateway holds nothing");
}

#[tokio::test]
async fn a_second_gateway_of_a_name_refuses_to_start_on_postgres() {
    let database = Database::fresh(&require!(postgres)).await;
    let on_postgres = |node: &str| {
        let mut setup = Setup::quickstart();
        replace(&setup.path().join("ledger.url"), &database.url);
        setup.change("store: \"sqlite:data/ledger.db\"", "store-file: ledger.url");
        setup.change("node: demo-1", &format!("node: {node}"));
        replace(&setup.path().join(CONFIG), &setup.config);
        setup
    };
    let first = on_postgres("twin");
    // Gateways of one ledger have one keyring.
    let keyring = "keys/keyring.yaml";
    let on_postgres = |node: &str| {
        let setup = on_postgres(node);
        std::fs::copy(first.path().join(keyring), setup.path().join(keyring)).unwrap();
        setup
    };
    let gateway = first.start().await;
    let (code, said) = refused(on_postgres("twin").path(), 0).await;
    assert!(code == Some(1) && said.contains("runs as node `twin`"), "{code:?}: {said}");
    let other = on_postgres("sibling").start().await;
    assert_eq!(other.stop().await, Some(0));

    // An hour ahead of the store's clock: no row is written.
    let ahead = on_postgres("ahead");
    leap(ahead.path(), 3_600_000);
    let doubted = Gateway::start_unready(ahead.path()).await.unwrap();
    let said = eventually(WITHIN, async || {
        doubted.stderr().contains("ahead of the store's").then_some(())
    });
    assert!(said.await.is_some(), "{}", doubted.stderr());
    assert_eq!(doubted.stop().await, Some(0));
    assert_eq!(gateway.stop().await, Some(0));
}

/// Replicas can share a configuration: the name comes from the environment or a flag.
#[tokio::test]
async fn a_name_may_come_from_outside_the_configuration() {
    let mut setup = Setup::quickstart();
    setup.change("node: demo-1\n", "");
    replace(&setup.path().join(CONFIG), &setup.config);
    let check = ["config", "check", CONFIG];
    let without = program(setup.path()).args(check).output().unwrap();
    assert_eq!(without.status.code(), Some(1));
    assert!(text(&without).contains("`node` is missing"), "{}", text(&without));
    for (name, code) in [("replica-3", 0), ("no good name", 1)] {
        let named =
            program(setup.path()).args(check).env("SLUICEGATE_NODE", name).output().unwrap();
        assert_eq!(named.status.code(), Some(code), "{}", text(&named));
    }
}
