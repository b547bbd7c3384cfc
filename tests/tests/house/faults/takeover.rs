//! Nodes that do not come back: one dies between delivery and outcome, one is suspended and cut off from the
//! store in the middle of a delivery. A third settles what they left open, and the second, once it continues, is
//! told that its chain has ended.

use std::{fs, time::Duration};

use reqwest::Client;
use sluicegate_audit as audit;
use sluicegate_tests::{
    ca::{Ca, replace},
    gateway::{CONFIG, Gateway},
    kafka::{PrivateKafka, create_topic},
    postgres::Database,
    process::{Signal, eventually},
    require,
};

use super::setup::{EU, House, Pipeline, Store, TOPIC, US, bid, publish};

/// The silence after which a node is gone, here; the smallest that may be configured.
const SILENCE_S: u32 = 20;
/// That, the longest delivery, and as long again for a slow machine.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(20);

/// A node of a shared ledger, with files of its own for the regions that are not Europe.
fn node(name: &str, database: &Database, broker: &PrivateKafka) -> House {
    let house = House::new(Store::Postgres(database.url.clone()), Pipeline::Kafka(broker.plain()));
    let config = fs::read_to_string(house.path(CONFIG)).unwrap();
    let ledger = "store-file: ledger.url,";
    assert!(config.contains("node: faults-1\n") && config.contains(ledger), "{config}");
    let config = config
        .replace("node: faults-1\n", &format!("node: {name}\n"))
        .replace(ledger, &format!("{ledger} takeover-s: {SILENCE_S},"));
    replace(&house.path(CONFIG), &config);
    house
}

async fn readyz(client: &Client, gateway: &Gateway) -> (u16, String) {
    let answer = client.get(gateway.admin_url("/readyz")).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// What outcomes say is missing: region, state and intent's writer.
async fn missing(database: &Database) -> Vec<(String, audit::MissingState, audit::WriterId)> {
    let rows: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT bytes FROM ledger_row ORDER BY writer, wseq")
            .fetch_all(&database.pool().await)
            .await
            .unwrap();
    let entries = rows.iter().flat_map(|bytes| audit::Row::decode(bytes).unwrap().entries);
    let outcomes = entries.filter_map(|entry| match entry {
        audit::Entry::Outcome(outcome) => Some(outcome),
        _ => None,
    });
    outcomes
        .flat_map(|o| o.missing.into_iter().map(move |m| (m.region, m.state, o.of.writer)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_left_open_is_settled_by_another_and_a_revived_one_is_fenced() {
    let postgres = require!(postgres);
    require!(servers);
    let database = Database::fresh(&postgres).await;
    let mut broker = PrivateKafka::start(&Ca::new("broker"), "").await;
    create_topic(&broker.plain(), TOPIC, 1).await;
    let [dead, asleep, there] =
        ["dead", "asleep", "there"].map(|name| node(name, &database, &broker));

    // Europe and its own file have the record; no outcome says so.
    let mut gateway = Gateway::start_to_crash(dead.dir(), &dead.ca, Some("outcome")).await.unwrap();
    let one = bid("k", "of-the-dead", 1, "DE");
    let sent = publish(&dead.publisher(), &gateway.url(""), None, &one).send().await;
    assert!(sent.is_err(), "{sent:?}");
    assert!(gateway.ends(SOON).await.is_some());

    // A delivery is under way; the store believes that the machine is gone.
    let mut sleeper = asleep.start().await;
    let warm = publish(&asleep.publisher(), &sleeper.url(""), None, &bid("k", "warm", 1, "DE"));
    assert_eq!(warm.send().await.unwrap().status(), 200);
    broker.freeze();
    let two = bid("k", "of-the-sleeper", 2, "DE");
    let under_way = tokio::spawn(publish(&asleep.publisher(), &sleeper.url(""), None, &two).send());
    let open = eventually(SOON, async || (there.book().await.open == 2).then_some(()));
    assert!(open.await.is_some(), "{:?}", there.book().await.open);
    tokio::time::sleep(Duration::from_secs(1)).await;
    sleeper.signal(Signal::Stop);
    broker.thaw();
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' \
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let cut: i64 = sqlx::query_scalar(cut).fetch_one(&database.pool().await).await.unwrap();
    assert_eq!(cut, 1, "the name of the node that sleeps");

    let gateway = there.start().await;
    let operator = there.operator();
    // At once that they are gone, and when it is certain what is waited for.
    for cause in ["it may come back", "a delivery of it may be under way"] {
        let told = eventually(SETTLED_WITHIN, async || {
            let (status, text) = readyz(&operator, &gateway).await;
            assert_eq!(status, 200, "it bears that: {text}");
            let line = |node| format!("node {node}: gone (open intents: 1): {cause}");
            ["dead", "asleep"].iter().all(|node| text.contains(&line(node))).then_some(())
        });
        assert!(told.await.is_some(), "{:?}", readyz(&operator, &gateway).await);
        let series = operator.get(gateway.admin_url("/metrics")).send().await.unwrap();
        let series = series.text().await.unwrap();
        assert!(series.contains("\nsluicegate_ledger_gone_intents 2\n"), "{series}");
    }
    assert_eq!(there.book().await.open, 2, "a delivery may be under way");
    let settled = eventually(SETTLED_WITHIN, async || {
        let text = readyz(&operator, &gateway).await.1;
        (there.book().await.open == 0 && !text.contains("gone")).then_some(())
    });
    assert!(settled.await.is_some(), "{}", gateway.stderr());

    // What is in the shared region is known to the ledger; what may be in a file of a node
    // that is gone is unknown for good.
    let standing = there.standing(EU).await;
    let edges = there.book().await.edges;
    for id in ["of-the-dead", "of-the-sleeper"] {
        let at: Vec<_> = standing.iter().filter(|record| record.id == id).collect();
        assert_eq!(at.len(), 1, "{id}: {standing:?}");
        let (partition, offset) = (at[0].partition, at[0].offset);
        let known = |(region, part, from, to): &(String, i64, i64, i64)| {
            region == EU && *part == partition && (*from..=*to).contains(&offset)
        };
        assert!(edges.iter().any(known), "{id}: {edges:?}");
    }
    let missing = missing(&database).await;
    assert_eq!(missing.len(), 2, "{missing:?}");
    for (region, state, _) in &missing {
        assert_eq!((region.as_str(), *state), (US, audit::MissingState::Unknown), "{missing:?}");
    }
    assert_ne!(missing[0].2, missing[1].2, "{missing:?}");

    sleeper.signal(Signal::Cont);
    let fenced = eventually(SOON, async || {
        let late = bid("k", "late", 3, "BR");
        let sent = publish(&asleep.publisher(), &sleeper.url(""), None, &late).send().await;
        assert_ne!(sent.map(|answer| answer.status().as_u16()).ok(), Some(200));
        sleeper.stderr().contains("the ledger is fenced").then_some(())
    });
    assert!(fenced.await.is_some(), "{}", sleeper.stderr());
    drop(under_way.await);
    assert_eq!(gateway.stop().await, Some(0));
    let (code, verdict) = there.verify();
    assert_eq!(code, Some(0), "{verdict}");
    assert!(verdict.contains(r#""open_intents":0"#), "{verdict}");
}
