//! A gateway that dies at the worst places of a release, and at random ones: before and after the noise is
//! drawn, when it is durable, when it is in the topic, when the ledger knows that. In the end every pane is
//! there once, with the numbers of an undisturbed run, charged once, and nothing that the ledger does not know.
//!
//! The tests here are slices of a campaign; `tests/campaign releases` runs the whole.

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use sluicegate_tests::{
    ca::Ca,
    components::{self, tell},
    dice::Dice,
    kafka::{PrivateKafka, fresh_name},
    postgres::{Database, PrivatePostgres},
    releases::{Expected, Spec, Tally, expected, judge, now_ms},
    require,
};
use tokio::sync::watch;

use super::{
    publisher::{Answered, Publisher, counted, passers_by, stream as stream_of},
    setup::{House, Pipeline, Store},
};

const POINTS: [&str; 6] = [
    "before-witness",
    "before-sample",
    "after-sample",
    "after-durable",
    "after-produce",
    "after-published",
];
/// A pane fires soon after the start; a gateway that does not die then has no such place.
const DIES_WITHIN: Duration = Duration::from_secs(30);
const RELEASED_WITHIN: Duration = Duration::from_secs(60);
/// The longest life of a gateway between two kills.
const LIFE_MS: u64 = 2_500;
/// A run in which a record arrived too late proves little, and is done again.
const ATTEMPTS: usize = 4;

/// What was due while a gateway was down is released this soon after its start: what a start takes on a busy
/// machine, and what is overdue.
const OVERDUE_MS: i64 = 20_000;

/// How a gateway dies.
#[derive(Clone, Copy, Debug)]
enum How {
    /// At a point, so many times in a row.
    At(&'static str, u32),
    /// By `kill -9` at random moments.
    Killed(u32),
    /// The same, and each pane is released twice.
    KilledRevising(u32),
}

/// What became of a run.
struct Ran {
    wrong: Vec<String>,
    tally: Tally,
    /// Not every record arrived while its pane was open: nobody knows what should have been published.
    too_slow: bool,
}

/// Where runs take place.
#[derive(Clone)]
struct Place {
    /// A PostgreSQL server, or SQLite.
    postgres: Option<String>,
    /// A broker, or the embedded pipeline.
    kafka: Option<String>,
}

impl Place {
    async fn house(&self, spec: &Spec) -> House {
        let store = match &self.postgres {
            None => Store::Sqlite,
            Some(server) => Store::Postgres(Database::fresh(server).await.url),
        };
        let pipeline = self.kafka.clone().map_or(Pipeline::Embedded, Pipeline::Kafka);
        House::new(store, pipeline, &[spec])
    }

    fn name(&self) -> String {
        let store = if self.postgres.is_some() { "PostgreSQL" } else { "SQLite" };
        let pipeline = if self.kafka.is_some() { "Apache Kafka" } else { "embedded" };
        format!("{store}, {pipeline}")
    }
}

async fn run(place: &Place, how: How, seed: u64) -> Ran {
    let mut spec = Spec::counting(&fresh_name("totals"));
    match how {
        How::At(..) => {}
        How::Killed(_) => (spec.lateness_ms, spec.skew_ms) = (2_000, 5_000),
        How::KilledRevising(_) => {
            (spec.skew_ms, spec.revised_after_ms) = (5_000, Some(4_000));
            // The budget is for both releases: one number, in which a subject is at most one.
            (spec.sum, spec.records) = (Some((0, 1)), 1);
        }
    }
    let house = place.house(&spec).await;
    let ran = match how {
        How::At(point, times) => crash(&house, &spec, point, times, seed).await,
        How::Killed(times) | How::KilledRevising(times) => killed(&house, &spec, times, seed).await,
    };
    house.end().await;
    ran
}

/// Sends a stream, lets the gateway die, starts it again, sends another, waits, judges.
async fn crash(house: &House, spec: &Spec, point: &str, times: u32, seed: u64) -> Ran {
    let mut dice = Dice(seed);
    let (lives, at) = watch::channel(Vec::new());
    let mut gateway = house.start_to_crash(0, Some(point)).await;
    let first: Vec<i64> = panes_from(spec, now_ms() + 2 * spec.pane_ms, 3);
    let early = stream_of(spec, &mut dice, "early", &first, &[]);
    let mut publisher = Publisher::new(house.client("app"), at, "p");
    lives.send_replace(vec![gateway.url("")]);
    let sending = tokio::spawn({
        let (spec, early) = (spec.clone(), early.clone());
        async move {
            let answered = publisher.send_all(&spec, &early).await;
            (publisher, answered)
        }
    });
    for left in (0..times).rev() {
        let status = gateway.ends(DIES_WITHIN).await;
        let status = status.unwrap_or_else(|| panic!("it does not die at {point}: no such place?"));
        assert!(status.code().is_none(), "it ended by itself: {status}: {}", gateway.stderr());
        let again = if left > 0 { Some(point) } else { None };
        gateway = match again {
            Some(point) => house.start_to_crash(0, Some(point)).await,
            None => house.start(0).await,
        };
        lives.send_replace(vec![gateway.url("")]);
    }
    let (mut publisher, mut answered) = sending.await.unwrap();
    let second = panes_from(spec, now_ms() + spec.pane_ms, 2);
    let later = stream_of(spec, &mut dice, "later", &second, &early);
    answered.extend(publisher.send_all(spec, &later).await);
    let last = second[second.len() - 1].max(first[first.len() - 1]);
    let stream = counted(spec, &answered);
    let too_slow = stream.is_none();
    let panes = expected(spec, &stream.unwrap_or_default());
    let mut wrong = Vec::new();
    if !house.published(spec, last, RELEASED_WITHIN).await {
        wrong.push(format!("not released within {RELEASED_WITHIN:?}: {}", gateway.stderr()));
    }
    if gateway.stop().await != Some(0) {
        wrong.push("the last gateway does not stop in order".to_owned());
    }
    let evidence = house.evidence(spec).await;
    let (more, tally) = judge(spec, &Expected::exactly(panes), &evidence, last);
    wrong.extend(more);
    Ran { wrong, tally, too_slow }
}

/// The starts of so many panes, the first being the one that holds a moment.
fn panes_from(spec: &Spec, ms: i64, count: i64) -> Vec<i64> {
    (0..count).map(|n| spec.pane(ms) + n * spec.pane_ms).collect()
}

/// Somebody publishes while the gateway is killed again and again.
async fn killed(house: &House, spec: &Spec, times: u32, seed: u64) -> Ran {
    let (lives, at) = watch::channel(Vec::new());
    let (over, mut stop) = watch::channel(false);
    let mut gateway = house.start(0).await;
    lives.send_replace(vec![gateway.url("")]);
    let mut publisher = Publisher::new(house.client("app"), at, "p");
    let sending = tokio::spawn({
        let (spec, mut dice) = (spec.clone(), Dice(seed ^ 1));
        async move {
            let mut answered: Vec<Answered> = Vec::new();
            while !*stop.borrow_and_update() {
                let tag = answered.len().to_string();
                let records = passers_by(&spec, &mut dice, &tag, 3_000);
                answered.push(publisher.send(&spec, &records).await);
                tokio::time::sleep(Duration::from_millis(dice.below(60))).await;
            }
            answered
        }
    });
    let (mut dice, mut started_ms) = (Dice(seed), Vec::new());
    for _ in 0..times {
        tokio::time::sleep(Duration::from_micros(dice.below(LIFE_MS * 1_000))).await;
        gateway.kill();
        started_ms.push(now_ms());
        gateway = house.start_unready(0).await;
        lives.send_replace(vec![gateway.url("")]);
    }
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    over.send_replace(true);
    let answered = sending.await.unwrap();
    let mut wrong = Vec::new();
    let last = settle(house, spec, &answered, RELEASED_WITHIN, &mut wrong).await;
    if gateway.stop().await != Some(0) {
        wrong.push("the last gateway does not stop in order".to_owned());
    }
    let tally = judged(house, spec, &answered, last, &started_ms, &mut wrong).await;
    if tally.overdue_ms > OVERDUE_MS {
        wrong.push(format!("a window came {} ms after a start", tally.overdue_ms));
    }
    Ran { wrong, tally, too_slow: false }
}

/// Waits for the last pane of a stream, and gives its start.
pub(super) async fn settle(
    house: &House,
    spec: &Spec,
    answered: &[Answered],
    limit: Duration,
    wrong: &mut Vec<String>,
) -> i64 {
    let records = answered.iter().flat_map(Answered::sent);
    let last = records.map(|sent| spec.pane(sent.at_ms)).max().unwrap_or(0);
    // The pane that fires together with the last revision of the last one.
    let revised_ms = spec.revised_after_ms.unwrap_or(0);
    if !house.published(spec, spec.pane(last + revised_ms + spec.pane_ms - 1), limit).await {
        wrong.push(format!("not released within {limit:?}"));
    }
    last
}

/// Judges each revision of the panes of a stream whose subjects have one pane each: what came in time for it is in
/// it, and what came later is not.
pub(super) async fn judged(
    house: &House,
    spec: &Spec,
    answered: &[Answered],
    last: i64,
    started_ms: &[i64],
    wrong: &mut Vec<String>,
) -> Tally {
    let mut all = Tally::default();
    // What came before the release began is in none of its panes.
    let begun = house.evidence(spec).await.recorded.iter().map(|(pane, _)| *pane).min();
    for revision in spec.revisions() {
        let (mut sure, mut perhaps) = (Vec::new(), Vec::new());
        let records = answered.iter().flat_map(|answered| answered.counted(spec, revision));
        for (sent, counts) in records.filter(|(sent, _)| Some(spec.pane(sent.at_ms)) >= begun) {
            match counts {
                Some(true) => sure.push(sent.clone()),
                None => perhaps.push(sent.clone()),
                Some(false) => {}
            }
        }
        if sure.is_empty() {
            wrong.push("no record arrived in time".to_owned());
        }
        let evidence = house.evidence_of(spec, revision).await;
        let expected = Expected::between(spec, &sure, &perhaps);
        let (more, tally) = judge(spec, &expected, &evidence, last);
        wrong.extend(more.into_iter().map(|wrong| format!("revision {revision}: {wrong}")));
        all += Tally { overdue_ms: evidence.overdue_ms(spec, revision, started_ms), ..tally };
    }
    all
}

/// One run, again if the machine was too slow for it; what is wrong, with what repeats it.
async fn proved(place: &Place, how: How, seed: u64, slow: &AtomicU64) -> (Vec<String>, Tally) {
    for _ in 0..ATTEMPTS {
        let Ran { wrong, tally, too_slow } = run(place, how, seed).await;
        if too_slow {
            slow.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let about = |wrong| format!("{}, {how:?}, seed {seed}: {wrong}", place.name());
        return (wrong.into_iter().map(about).collect(), tally);
    }
    (vec![format!("{how:?}: too slow for anything, {ATTEMPTS} times")], Tally::default())
}

/// Runs, some side by side. Each is a gateway that mostly waits for its next pane.
async fn all(what: &str, runs: Vec<(Place, How, u64)>, side_by_side: usize) {
    let started = Instant::now();
    let (count, slow) = (runs.len(), &AtomicU64::new(0));
    let one = |(place, how, seed)| async move { proved(&place, how, seed, slow).await };
    let running = stream::iter(runs).map(one).buffer_unordered(side_by_side);
    let mut running = std::pin::pin!(running);
    let (mut wrong, mut tally) = (Vec::new(), Tally::default());
    while let Some((more, of_one)) = running.next().await {
        for one in &more {
            tell(&format!("releases, {what}: WRONG: {one}"));
        }
        wrong.extend(more);
        tally += of_one;
    }
    let Tally { panes, rows, repeated, refused, void, overdue_ms } = tally;
    tell(&format!(
        "releases, {what}: runs {count}, panes {panes}, rows {rows}, messages repeated {repeated}, panes \
         refused {refused}, releases lost to another {void}, overdue by at most {overdue_ms} ms, done again (slow) {}, \
         wrong {}, seconds {}",
        slow.load(Ordering::Relaxed),
        wrong.len(),
        started.elapsed().as_secs()
    ));
    let some: Vec<&String> = wrong.iter().take(20).collect();
    assert!(wrong.is_empty(), "{what}: {} things are wrong: {some:#?}", wrong.len());
}

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn seed() -> u64 {
    number("SLUICEGATE_CAMPAIGN_SEED", 20_261_123)
}

fn each_point(place: &Place) -> Vec<(Place, How, u64)> {
    let at = |(n, point): (u64, &'static str)| (place.clone(), How::At(point, 1), seed() + n);
    (0..).zip(POINTS).map(at).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_point_on_sqlite() {
    let place = Place { postgres: None, kafka: None };
    all("every point, SQLite, embedded", each_point(&place), 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_point_on_postgres() {
    let postgres = Some(require!(postgres));
    let place = Place { postgres, kafka: None };
    all("every point, PostgreSQL, embedded", each_point(&place), 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_points_on_kafka() {
    let (postgres, kafka) = (require!(postgres), require!(kafka));
    let runs = vec![
        (
            Place { postgres: None, kafka: Some(kafka.eu.plain.clone()) },
            How::At("after-durable", 1),
            seed(),
        ),
        (
            Place { postgres: Some(postgres), kafka: Some(kafka.eu.plain) },
            How::At("after-produce", 2),
            seed(),
        ),
    ];
    all("two points, Apache Kafka", runs, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random() {
    let place = Place { postgres: None, kafka: None };
    let runs = (0..2).map(|n| (place.clone(), How::Killed(3), seed() + n)).collect();
    all("kill -9, SQLite, embedded", runs, 2).await;
}

/// Neither the group's session (6 s) nor the lease (5 s) of the one that was killed is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_was_killed_releases_as_soon_as_it_is_ready() {
    let kafka = require!(kafka);
    let spec = Spec::counting(&fresh_name("back"));
    let house = House::new(Store::Sqlite, Pipeline::Kafka(kafka.eu.plain), &[&spec]);
    let mut gateway = house.start(0).await;
    for _ in 0..2 {
        let pane = spec.pane(now_ms());
        assert!(house.published(&spec, pane, RELEASED_WITHIN).await, "{}", gateway.stderr());
        gateway.kill();
        gateway = house.start(0).await;
        let ready_ms = now_ms();
        let overdue = spec.pane(ready_ms - spec.fires_ms(0, 0));
        assert!(house.published(&spec, overdue, RELEASED_WITHIN).await, "{}", gateway.stderr());
        let took_ms = now_ms() - ready_ms;
        tell(&format!("releases, killed and ready again: the next window after {took_ms} ms"));
        assert!(took_ms < 4_000, "{took_ms} ms");
    }
    assert_eq!(gateway.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_panes_are_revised() {
    let place = Place { postgres: None, kafka: None };
    let runs = (0..2).map(|n| (place.clone(), How::KilledRevising(3), seed() + n)).collect();
    all("kill -9, revised, SQLite, embedded", runs, 2).await;
}

/// Every point and random kills, over every store and pipeline in turn: as many runs as the campaign says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn campaign() {
    let runs = number("SLUICEGATE_CAMPAIGN_RUNS", 0);
    if runs == 0 {
        return;
    }
    let (postgres, _server) = match components::postgres() {
        Ok(server) => (server, None),
        Err(_) => {
            let private = PrivatePostgres::start().await;
            (private.url(), Some(private))
        }
    };
    let (kafka, _broker) = match components::kafka() {
        Ok(clusters) => (clusters.eu.plain, None),
        Err(_) => {
            let broker = PrivateKafka::start(&Ca::new("broker"), "").await;
            (broker.plain(), Some(broker))
        }
    };
    let mut dice = Dice(seed());
    let one = |n: u64| {
        let place = Place {
            postgres: (n % 2 == 1).then(|| postgres.clone()),
            kafka: (n / 2 % 2 == 1).then(|| kafka.clone()),
        };
        let times = 1 + u32::try_from(dice.below(3)).unwrap();
        let how = match usize::try_from(n / 4 % 8).unwrap() {
            point @ 0..6 => How::At(POINTS[point], times),
            6 => How::Killed(2 * times),
            _ => How::KilledRevising(2 * times),
        };
        (place, how, dice.roll())
    };
    let runs: Vec<_> = (0..runs).map(one).collect();
    let side_by_side = number("SLUICEGATE_CAMPAIGN_SIDE_BY_SIDE", 8);
    let what = format!("campaign, seed {}", seed());
    all(&what, runs, usize::try_from(side_by_side).unwrap()).await;
}
