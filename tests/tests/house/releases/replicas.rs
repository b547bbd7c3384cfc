//! Three gateways share one release: one ledger, one region of Apache Kafka, the same policies and keys. Some
//! are killed and started again while a known stream is published through all of them. In the end each pane is
//! there once and right, whoever cut off its partitions and whoever released it.

use std::{env, time::Duration};

use sluicegate_tests::{
    components::tell, dice::Dice, gateway::Gateway, kafka::fresh_name, postgres::Database,
    releases::Spec, require,
};
use tokio::{sync::watch, task::JoinSet};

use super::{
    crash::{judged, settle},
    publisher::{Answered, Publisher, passers_by},
    setup::{House, Pipeline, Store},
};

const NODES: usize = 3;
const PUBLISHERS: u64 = 3;
/// Partitions change hands when a member of the group was silent for seconds, twice in the worst case.
const RELEASED_WITHIN: Duration = Duration::from_secs(120);
/// No window comes later than this, whoever is killed. One that is killed has its partitions back when it
/// starts again, seconds later.
const OVERDUE_MS: i64 = 40_000;

/// The gateways, by number; none where one is dead.
struct Nodes<'h> {
    house: &'h House,
    all: Vec<Option<Gateway>>,
    at: watch::Sender<Vec<String>>,
}

impl Nodes<'_> {
    fn tell_publishers(&self) {
        let running = self.all.iter().flatten().map(|gateway| gateway.url("")).collect();
        self.at.send_replace(running);
    }

    fn kill(&mut self, number: usize) {
        if let Some(gateway) = self.all[number].take() {
            gateway.kill();
        }
        self.tell_publishers();
    }

    async fn start(&mut self, number: usize) {
        self.all[number] = Some(self.house.start_unready(number).await);
        self.tell_publishers();
    }
}

async fn publish(
    spec: Spec,
    mut publisher: Publisher,
    mut dice: Dice,
    stop: watch::Receiver<bool>,
) -> Vec<Answered> {
    let mut answered = Vec::new();
    while !*stop.borrow() {
        let tag = format!("{}-{}", publisher.name, answered.len());
        let records = passers_by(&spec, &mut dice, &tag, 4_000);
        answered.push(publisher.send(&spec, &records).await);
        tokio::time::sleep(Duration::from_millis(dice.below(150))).await;
    }
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_publish_each_pane_once() {
    let (postgres, kafka) = (require!(postgres), require!(kafka));
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("SLUICEGATE_CAMPAIGN_REPLICA_KILLS").unwrap_or(3);
    let seed = number("SLUICEGATE_CAMPAIGN_SEED").unwrap_or(20_261_123);
    let mut spec = Spec::counting(&fresh_name("shared"));
    (spec.pane_ms, spec.lateness_ms, spec.slack_ms) = (2_000, 3_000, 1_000);

    let store = Store::Postgres(Database::fresh(&postgres).await.url);
    let house = House::new(store, Pipeline::Kafka(kafka.eu.plain), &[&spec]);
    for number in 1..NODES {
        house.add_node(number, &[&spec]);
    }
    let (at, lives) = watch::channel(Vec::new());
    let mut nodes = Nodes { house: &house, all: Vec::new(), at };
    for number in 0..NODES {
        nodes.all.push(Some(house.start(number).await));
    }
    nodes.tell_publishers();
    let (over, stop) = watch::channel(false);
    let mut publishers = JoinSet::new();
    for n in 0..PUBLISHERS {
        let publisher = Publisher::new(house.client("app"), lives.clone(), &format!("p{n}"));
        publishers.spawn(publish(spec.clone(), publisher, Dice(seed ^ (n << 32)), stop.clone()));
    }

    let mut dice = Dice(seed);
    tokio::time::sleep(Duration::from_secs(3)).await;
    for _ in 0..kills {
        let victim = usize::try_from(dice.below(NODES as u64)).unwrap();
        nodes.kill(victim);
        tokio::time::sleep(Duration::from_millis(dice.below(4_000))).await;
        nodes.start(victim).await;
        tokio::time::sleep(Duration::from_millis(dice.below(4_000))).await;
    }
    over.send_replace(true);
    let answered: Vec<Answered> = publishers.join_all().await.into_iter().flatten().collect();
    let mut wrong = Vec::new();
    let last = settle(&house, &spec, &answered, RELEASED_WITHIN, &mut wrong).await;
    for gateway in nodes.all.into_iter().flatten() {
        if !wrong.is_empty() {
            wrong.push(gateway.stderr());
        }
        if gateway.stop().await != Some(0) {
            wrong.push("a gateway does not stop in order".to_owned());
        }
    }

    // Two of them always run.
    let tally = judged(&house, &spec, &answered, last, &[], &mut wrong).await;
    if tally.overdue_ms > OVERDUE_MS {
        wrong.push(format!("a window came {} ms late", tally.overdue_ms));
    }
    let known = |answered: &&Answered| answered.counted(&spec, 0).all(|(_, c)| c == Some(true));
    let sure = answered.iter().filter(known).count();
    tell(&format!(
        "releases, {NODES} replicas: kills {kills}, seed {seed}, requests {} ({sure} surely in time), \
         panes {}, rows {}, messages repeated {}, panes refused {}, releases lost to another {}, overdue by at most \
         {} ms, wrong {}",
        answered.len(),
        tally.panes,
        tally.rows,
        tally.repeated,
        tally.refused,
        tally.void,
        tally.overdue_ms,
        wrong.len()
    ));
    let evidence = house.evidence(&spec).await;
    assert!(evidence.refused.iter().all(|(_, code)| code == "aborted"), "{:?}", evidence.refused);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(sure * 2 > answered.len(), "too few records were in time to prove anything");
    house.end().await;
}
