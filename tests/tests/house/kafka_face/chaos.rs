//! Clients as their users have them while brokers and gateways die and networks fail, before three brokers. What they
//! were told and shown is held against the topic and the ledger by `sluicegate_tests::history`.
//!
//! The test here is a slice of a campaign; `tests/campaign chaos` runs the whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{future::join_all, join};
use serde_json::Value;
use sluicegate_tests::{
    ca::Ca,
    canary::Search,
    chaos::{Proxy, Weather},
    clients::{self, Access, Acked, Client, Consume, Consumed, Produce},
    components::{self, tell},
    dice::Dice,
    gateway::Gateway,
    history::{Book, End, History, Id, Place, Poll, Run, Stored, Violation},
    kafka::{PrivateKafka, ThreeBrokers, dump, read, read_uncommitted, release},
    process::{Signal, eventually, free_port},
    require,
};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

use super::House;

const NODES: usize = 3;
const PARTITIONS: i32 = 2;
/// Runs of the slice in the test command, and how long each is.
const SLICE: (u64, u64) = (1, 20);
/// What a record holds of a person.
const CLEAR: [&str; 2] = ["clear.example", "Ann Smith"];
/// A record a second of each producer with a rate.
const RATE: u32 = 40;
/// A consumer that has seen nothing for so long is at the end, or cut off; when all is calm there is something for it.
const SILENCE_S: u32 = 10;
const CALM_SILENCE_S: u32 = 60;
/// A producer tries for longer than any fault lasts.
const TRIES_S: u32 = 90;
/// At most the time that a broker gives a transaction.
const TRANSACTION_S: u32 = 50;
const SETTLES_WITHIN: Duration = Duration::from_secs(60);
/// Leaders go back to where they were, so that they move twice for each broker that dies.
const RESTLESS: &str = "\
auto.leader.rebalance.enable=true
leader.imbalance.check.interval.seconds=5
leader.imbalance.per.broker.percentage=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    KillBroker,
    StopBroker,
    FreezeBroker,
    MoveLeader,
    KillGateway,
    Weather(Side),
    Cut(Side),
    HalfOpen(Side),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Clients,
    Brokers,
}

const FAULTS: [Fault; 12] = [
    Fault::KillBroker,
    Fault::StopBroker,
    Fault::FreezeBroker,
    Fault::MoveLeader,
    Fault::KillGateway,
    Fault::KillGateway,
    Fault::Weather(Side::Clients),
    Fault::Weather(Side::Brokers),
    Fault::Cut(Side::Clients),
    Fault::Cut(Side::Brokers),
    Fault::HalfOpen(Side::Clients),
    Fault::HalfOpen(Side::Brokers),
];

const OF_BROKERS: [Fault; 4] =
    [Fault::KillBroker, Fault::StopBroker, Fault::FreezeBroker, Fault::MoveLeader];

/// Three brokers behind proxies, for several runs.
struct Lane {
    cluster: ThreeBrokers,
    proxies: Vec<Proxy>,
    seen_by_gateway: components::Kafka,
}

impl Lane {
    async fn start(dir: &Path, seed: u64) -> Self {
        let ca = Ca::new("brokers");
        let fronts = [free_port(), free_port(), free_port()];
        let cluster = ThreeBrokers::start_behind(&release(), &ca, RESTLESS, Some(fronts)).await;
        let mut proxies = Vec::new();
        for (front, broker) in fronts.into_iter().zip(&cluster.brokers) {
            let to = broker.tls().rsplit_once(':').unwrap().1.parse().unwrap();
            proxies.push(Proxy::start(front, to, seed).await);
        }
        let file = dir.join(format!("{}.pem", fronts[0]));
        std::fs::write(&file, ca.pem()).unwrap();
        let eu = components::Cluster {
            plain: cluster.plain(),
            tls: fronts.map(|port| format!("127.0.0.1:{port}")).join(","),
            logs: cluster.brokers[0].logs(),
        };
        let seen_by_gateway = components::Kafka { us: eu.clone(), eu, ca: file };
        Self { cluster, proxies, seen_by_gateway }
    }

    /// A gateway of its own, topics of its own, and what was found.
    async fn run(&mut self, seed: u64, seconds: u64) -> Outcome {
        let (ports, fronts) = (ports(), ports());
        let mut dice = Dice(seed);
        let brokers = format!(
            "ports: {{ first: {}, first-node: 1, count: 3, advertised: {} }}",
            ports[1], fronts[1]
        );
        let advertised = format!("localhost:{}", fronts[0]);
        let house =
            House::start_with(&self.seen_by_gateway, ports[0], &advertised, &brokers, |_| {});
        let mut house = house.await;
        let mut before = Vec::new();
        for (front, port) in fronts.into_iter().zip(ports) {
            before.push(Proxy::start(front, port, dice.roll()).await);
        }
        let load = Load {
            writer: house.access_at("svc.accounts", fronts[0]),
            reader: house.access_at("analyst", fronts[0]),
            broker: house.broker.clone(),
            topic: house.people.clone(),
            seconds,
            next_run: AtomicU32::new(1_000),
            is_over: AtomicBool::new(false),
            ended: Mutex::default(),
        };
        let (nemesis, work) = (Dice(dice.roll()), Dice(dice.roll()));
        let faults = self.faults(&mut house, &before, nemesis, seconds);
        let ((runs, polls), faults) = join!(load.work(work), faults);
        let mut history = History { runs, polls, ..History::default() };
        history.drained = history.polls.iter().map(|poll| poll.reader.clone()).collect();
        drop(before);
        let dumps = self.settle(house, &mut history).await;
        Outcome { seed, history, dumps, faults, ended: load.ended.into_inner().unwrap() }
    }

    /// One fault after the other, each healed before the next; but other things go wrong while a broker starts.
    async fn faults(
        &mut self,
        house: &mut House,
        before: &[Proxy],
        mut dice: Dice,
        seconds: u64,
    ) -> BTreeMap<Fault, u32> {
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut happened = BTreeMap::new();
        while Instant::now() < until {
            tokio::time::sleep(between(&mut dice, 300, 2_000)).await;
            let fault = FAULTS[usize::try_from(dice.below(FAULTS.len() as u64)).unwrap()];
            // Topics have three copies and need two.
            if OF_BROKERS.contains(&fault) && !self.cluster.brokers.iter().all(PrivateKafka::is_up)
            {
                continue;
            }
            self.inflict(fault, house, before, &mut dice).await;
            *happened.entry(fault).or_default() += 1;
        }
        for broker in &mut self.cluster.brokers {
            broker.up().await;
        }
        happened
    }

    async fn inflict(
        &mut self,
        fault: Fault,
        house: &mut House,
        before: &[Proxy],
        dice: &mut Dice,
    ) {
        let lasts = between(dice, 500, 5_000);
        let any = usize::try_from(dice.below(NODES as u64)).unwrap();
        let partition = i32::try_from(dice.below(PARTITIONS as u64)).unwrap();
        let leader = self.cluster.leader(&house.people, partition).await.unwrap_or(any);
        match fault {
            Fault::KillBroker => {
                self.cluster.brokers[leader].kill();
                tokio::time::sleep(lasts).await;
                self.cluster.brokers[leader].launch();
            }
            Fault::StopBroker => {
                self.cluster.brokers[leader].stop().await;
                self.cluster.brokers[leader].launch();
            }
            Fault::FreezeBroker => {
                self.cluster.brokers[leader].freeze();
                tokio::time::sleep(lasts).await;
                self.cluster.brokers[leader].thaw();
            }
            Fault::MoveLeader => {
                let _others_are_away = self.cluster.move_leader(&house.people, partition).await;
            }
            Fault::KillGateway => {
                house.gateway.signal(Signal::Kill);
                house.gateway.ends(SETTLES_WITHIN).await.unwrap();
                house.gateway = again(house).await;
            }
            Fault::Weather(side) => {
                let weather = match dice.below(3) {
                    0 => Weather::Delay(Duration::from_millis(50 + dice.below(500))),
                    1 => Weather::Narrow(2_000 + dice.below(20_000)),
                    _ => Weather::Stall,
                };
                let proxies = self.side(side, before);
                proxies.iter().for_each(|proxy| proxy.weather(weather));
                tokio::time::sleep(lasts).await;
                proxies.iter().for_each(|proxy| proxy.weather(Weather::Calm));
            }
            Fault::Cut(side) => {
                let within = [0, 100, 5_000][usize::try_from(dice.below(3)).unwrap()];
                self.side(side, before).iter().for_each(|proxy| proxy.cut(within));
            }
            Fault::HalfOpen(side) => self.side(side, before).iter().for_each(Proxy::half_open),
        }
    }

    fn side<'a>(&'a self, side: Side, before: &'a [Proxy]) -> &'a [Proxy] {
        match side {
            Side::Clients => before,
            Side::Brokers => &self.proxies,
        }
    }

    /// Stops the gateway, lets another one settle what the first one left, and reads topic and ledger. The partitions
    /// as Kafka's own tool shows them come back.
    async fn settle(&self, mut house: House, history: &mut History) -> Vec<String> {
        let topic = house.people.clone();
        let ledger = settled(&mut house).await;
        let shown: BTreeSet<Place> =
            read(&house.broker, &topic).await.iter().map(|r| (r.partition, r.offset)).collect();
        let dumps: Vec<String> = (0..PARTITIONS)
            .map(|partition| dump(&self.cluster.brokers[0].logs(), &topic, partition))
            .collect();
        let producers = producers(&dumps);
        for record in read_uncommitted(&house.broker, &topic).await {
            let place = (record.partition, record.offset);
            let position = record.headers.iter().find(|(name, _)| name == "sluicegate-position");
            history.stored.push(Stored {
                place,
                id: id(&String::from_utf8(record.value.unwrap()).unwrap()),
                row: position.map(|(_, at)| row(at.as_deref().unwrap())).unwrap_or_default(),
                producer: producers[&place],
                is_committed: shown.contains(&place),
            });
        }
        history.book = book(&ledger, &topic).await;
        house.verified_when_stopped().await;
        let search = Search::new(CLEAR);
        for (partition, text) in dumps.iter().enumerate() {
            let found = search.bytes("the dump", text.as_bytes()).into_iter();
            history.clear.extend(found.map(|finding| finding.string));
            for broker in &self.cluster.brokers {
                let segments = broker.logs().join(format!("{topic}-{partition}"));
                let found = search.dir(&segments, &|_| false).into_iter();
                history.clear.extend(found.map(|finding| finding.string));
            }
        }
        dumps
    }
}

/// Stops the gateway in order and lets another one settle what the first one left, if it can. The ledger comes back.
pub(super) async fn settled(house: &mut House) -> PathBuf {
    house.gateway.signal(Signal::Term);
    let stopped = house.gateway.ends(SETTLES_WITHIN).await;
    assert!(stopped.is_some_and(|status| status.success()), "the gateway stops in order");
    house.gateway = Gateway::start_again(house.setup.path(), &house.setup.ca).await.unwrap();
    let ledger = house.setup.path().join("data/ledger.db");
    let none_open = eventually(SETTLES_WITHIN, async || {
        (book(&ledger, &house.people).await.open == 0).then_some(())
    });
    let _said_by_who_looks = none_open.await;
    ledger
}

async fn again(house: &House) -> Gateway {
    match Gateway::start_unready(house.setup.path()).await {
        Ok(gateway) => gateway,
        Err(why) => panic!("no gateway: {why:?}"),
    }
}

fn between(dice: &mut Dice, from_ms: u64, to_ms: u64) -> Duration {
    Duration::from_millis(from_ms + dice.below(to_ms - from_ms))
}

/// A listener's port, and three that follow each other.
pub(super) fn ports() -> [u16; 4] {
    loop {
        let ports = [(); 4].map(|()| free_port());
        if ports.is_sorted_by(|a, b| a + 1 == *b) {
            return ports;
        }
    }
}

/// `WRITER-ROW`, from a header.
fn row(position: &[u8]) -> String {
    let hex: String = position[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let row = position[16..24].iter().fold(0_u64, |row, byte| row << 8 | u64::from(*byte));
    format!("{hex}-{row}")
}

/// A record's field `time` has four digits of its run, and then its number there.
fn id(value: &str) -> Id {
    let value: Value = serde_json::from_str(value).unwrap();
    let digits = value["time"].to_string();
    let (run, n) = digits.split_at(4);
    (run.parse().unwrap(), n.parse().unwrap())
}

/// The producer id and epoch of each record, from the lines of batches and records.
fn producers(dumps: &[String]) -> BTreeMap<Place, (i64, i16)> {
    let number = |line: &str, name: &str| -> i64 {
        let (_, rest) = line.split_once(name).unwrap();
        rest.trim_start().split(' ').next().unwrap().parse().unwrap()
    };
    let mut of = BTreeMap::new();
    for (partition, dump) in (0..).zip(dumps) {
        let mut producer = (-1, -1);
        for line in dump.lines() {
            if line.starts_with("baseOffset:") {
                let epoch = i16::try_from(number(line, "producerEpoch:")).unwrap();
                producer = (number(line, "producerId:"), epoch);
            } else if line.starts_with("| offset:") {
                of.insert((partition, number(line, "offset:")), producer);
            }
        }
    }
    of
}

async fn book(ledger: &Path, topic: &str) -> Book {
    let options = SqliteConnectOptions::new().filename(ledger).read_only(true);
    let mut db = SqliteConnection::connect_with(&options).await.unwrap();
    let rows: Vec<(String, i64)> =
        sqlx::query_as("SELECT lower(hex(writer)), wseq FROM ledger_row")
            .fetch_all(&mut db)
            .await
            .unwrap();
    let edges: Vec<(i32, i64, i64)> =
        sqlx::query_as("SELECT part, offset_from, offset_to FROM ledger_edge WHERE topic = ?1")
            .bind(topic)
            .fetch_all(&mut db)
            .await
            .unwrap();
    let open: i64 =
        sqlx::query_scalar("SELECT count(*) FROM ledger_intent").fetch_one(&mut db).await.unwrap();
    db.close().await.unwrap();
    let places = edges
        .into_iter()
        .flat_map(|(part, from, to)| (from..=to).map(move |offset| (part, offset)))
        .collect();
    let rows = rows.into_iter().map(|(writer, row)| format!("{writer}-{row}")).collect();
    Book { rows, places, open: usize::try_from(open).unwrap() }
}

/// What the clients of one run share.
struct Load {
    writer: Access,
    reader: Access,
    /// Past the gateway.
    broker: String,
    topic: String,
    seconds: u64,
    next_run: AtomicU32,
    is_over: AtomicBool,
    /// What ended clients early, and how often.
    ended: Mutex<BTreeMap<String, u32>>,
}

impl Load {
    /// All of it; until each producer has its answers and each consumer has seen all.
    async fn work(&self, mut dice: Dice) -> (Vec<Run>, Vec<Poll>) {
        let codec = |dice: &mut Dice| dice.of(&["none", "none", "lz4", "snappy", "zstd"]);
        let codecs = [codec(&mut dice), codec(&mut dice), codec(&mut dice), codec(&mut dice)];
        let protocol = dice.of(&["classic", "consumer"]);
        let writers = async {
            let runs = join!(
                self.steady(Client::Java, codecs[0]),
                self.steady(Client::Librdkafka, codecs[1]),
                self.bursts(Client::FranzGo, codecs[2], Dice(dice.roll())),
                self.bursts(Client::Sarama, codecs[3], Dice(dice.roll())),
                self.transactions(Dice(dice.roll())),
            );
            self.is_over.store(true, Ordering::Relaxed);
            let (java, librdkafka, franz, sarama, transactions) = runs;
            let mut all = vec![java, librdkafka];
            all.extend([franz, sarama, transactions].into_iter().flatten());
            all
        };
        let (runs, quick, slow) = join!(
            writers,
            self.reads("analyst-quick", protocol, "read_committed", None),
            self.reads("analyst-slow", "classic", "read_uncommitted", Some(400)),
        );
        // When all is calm again, all that is to be seen is seen in one go.
        let shown = read(&self.broker, &self.topic).await.len();
        let calm =
            Consume { timeout_s: CALM_SILENCE_S, max: Some(shown), ..self.consume("analyst-calm") };
        let calm = Client::Librdkafka.consume(&calm).await.ok();
        let calm = poll("analyst-calm", true, &calm);
        (runs, quick.into_iter().chain(slow).chain([calm]).collect())
    }

    fn produce(&self, number: u32, count: usize, codec: &'static str) -> Produce {
        let value = format!(
            "{{\"id\":%d,\"name\":\"Ann Smith\",\"email\":\"ann%d@clear.example\",\
             \"country\":\"DE\",\"time\":{number}%d}}"
        );
        Produce {
            value,
            codec,
            idempotent: true,
            key_prefix: Some(format!("{number}-")),
            timeout_s: TRIES_S,
            ..Produce::new(&self.writer, &self.topic, count)
        }
    }

    fn number(&self) -> u32 {
        self.next_run.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes what ended a client early.
    fn noted<T>(&self, ran: clients::Run<T>) -> clients::Run<T> {
        if let Some(error) = &ran.error {
            let what = format!("{}: {error}", ran.client.name());
            *self.ended.lock().unwrap().entry(what).or_default() += 1;
        }
        ran
    }

    /// One producer that lives through everything.
    async fn steady(&self, client: Client, codec: &'static str) -> Run {
        let number = self.number();
        let count = usize::try_from(self.seconds * u64::from(RATE)).unwrap();
        let what = Produce { rate: Some(RATE), ..self.produce(number, count, codec) };
        told(number, &self.noted(client.produce(&what).await).lines, None)
    }

    /// Producers that come and go.
    async fn bursts(&self, client: Client, codec: &'static str, mut dice: Dice) -> Vec<Run> {
        let until = Instant::now() + Duration::from_secs(self.seconds);
        let mut runs = Vec::new();
        while Instant::now() < until {
            let number = self.number();
            let what = self.produce(number, 20 + dice.below(200) as usize, codec);
            runs.push(told(number, &self.noted(client.produce(&what).await).lines, None));
            tokio::time::sleep(between(&mut dice, 500, 2_000)).await;
        }
        runs
    }

    async fn transactions(&self, mut dice: Dice) -> Vec<Run> {
        let until = Instant::now() + Duration::from_secs(self.seconds);
        let mut runs = Vec::new();
        while Instant::now() < until {
            let number = self.number();
            let client = if dice.below(3) == 0 { Client::Java } else { Client::Librdkafka };
            let abort = dice.below(3) == 0;
            let what = Produce {
                transaction: Some("svc.accounts-tx".to_owned()),
                abort,
                timeout_s: TRANSACTION_S,
                ..self.produce(number, 5 + dice.below(30) as usize, "none")
            };
            let run = self.noted(client.produce(&what).await);
            let end = match (&run.error, abort) {
                (Some(_), _) => End::Unknown,
                (None, true) => End::Aborted,
                (None, false) => End::Committed,
            };
            runs.push(told(number, &run.lines, Some(end)));
        }
        runs
    }

    fn consume(&self, group: &str) -> Consume {
        Consume { timeout_s: SILENCE_S, ..Consume::new(&self.reader, &self.topic, group) }
    }

    /// A group of one: when it gives up it comes again, until there is nothing more.
    async fn reads(
        &self,
        group: &str,
        protocol: &'static str,
        isolation: &'static str,
        rate: Option<u32>,
    ) -> Vec<Poll> {
        let is_committed_only = isolation == "read_committed";
        let (mut polls, mut given) = (Vec::new(), BTreeSet::new());
        loop {
            let mut what = Consume { protocol, isolation, rate, ..self.consume(group) };
            let is_calm = self.is_over.load(Ordering::Relaxed);
            if is_calm {
                let shown = match is_committed_only {
                    true => read(&self.broker, &self.topic).await,
                    false => read_uncommitted(&self.broker, &self.topic).await,
                };
                let left = shown.iter().filter(|r| !given.contains(&(r.partition, r.offset)));
                what.max = Some(left.count());
                what.timeout_s = CALM_SILENCE_S;
            }
            if what.max == Some(0) {
                return polls;
            }
            let run = self.noted(Client::Java.consume(&what).await);
            given.extend(run.lines.iter().map(|r| (r.partition, r.offset)));
            polls.push(poll(group, is_committed_only, &run.lines));
            if is_calm && run.lines.is_empty() && run.error.is_none() {
                return polls;
            }
        }
    }
}

fn told(number: u32, acks: &[Acked], transaction: Option<End>) -> Run {
    let acknowledged = acks
        .iter()
        .filter_map(|ack| Some((u32::try_from(ack.n).unwrap(), *ack.outcome.as_ref().ok()?)))
        .collect();
    Run { number, acknowledged, transaction }
}

fn poll(reader: &str, is_committed_only: bool, records: &[Consumed]) -> Poll {
    let records = records
        .iter()
        .map(|r| ((r.partition, r.offset), id(r.value.as_deref().unwrap())))
        .collect();
    Poll { reader: reader.to_owned(), is_committed_only, records }
}

struct Outcome {
    seed: u64,
    history: History,
    dumps: Vec<String>,
    faults: BTreeMap<Fault, u32>,
    ended: BTreeMap<String, u32>,
}

impl Outcome {
    /// How many things are wrong, and how many more records are there again under another epoch; said, with the numbers
    /// of the run.
    fn judge(&self) -> (usize, usize) {
        let is_renumbered = |violation: &Violation| matches!(violation, Violation::Renumbered(_));
        let (renumbered, wrong): (Vec<_>, Vec<_>) =
            self.history.violations().into_iter().partition(is_renumbered);
        let History { runs, polls, stored, .. } = &self.history;
        let ends = |end| runs.iter().filter(|run| run.transaction == Some(end)).count();
        tell(&format!(
            "chaos, seed {}: acknowledged {}, in the topic {}, read {}, transactions {} committed, {} aborted, \
             {} unknown; faults {:?}; clients that gave up {:?}; renumbered {}, other violations {}",
            self.seed,
            runs.iter().map(|run| run.acknowledged.len()).sum::<usize>(),
            stored.len(),
            polls.iter().map(|poll| poll.records.len()).sum::<usize>(),
            ends(End::Committed),
            ends(End::Aborted),
            ends(End::Unknown),
            self.faults,
            self.ended,
            renumbered.len(),
            wrong.len(),
        ));
        for violation in renumbered.iter().take(2).chain(wrong.iter().take(20)) {
            tell(&format!("  seed {}: {violation:?}", self.seed));
            if let Violation::Lost(id)
            | Violation::Duplicate(id)
            | Violation::Renumbered(id)
            | Violation::Reordered(id) = violation
            {
                self.show(*id);
            }
        }
        (wrong.len(), renumbered.len())
    }

    /// Where a record stands, each with the line of its batch.
    fn show(&self, (run, n): Id) {
        let record = format!("\"time\":{run}{n}}}");
        for dump in &self.dumps {
            let mut batch = "";
            for line in dump.lines() {
                if line.starts_with("baseOffset") {
                    batch = line;
                } else if line.contains(&record) {
                    tell(&format!("    {batch}\n    {line}"));
                }
            }
        }
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_doubled_or_shown_under_chaos() {
    require!(servers);
    require!(clients);
    let is_campaign = number("SLUICEGATE_CAMPAIGN_SECONDS").is_some();
    let (mut runs, seconds) = (SLICE.0, number("SLUICEGATE_CAMPAIGN_SECONDS").unwrap_or(SLICE.1));
    if is_campaign {
        runs = number("SLUICEGATE_CAMPAIGN_RUNS").unwrap_or(runs);
    }
    let first = number("SLUICEGATE_CAMPAIGN_SEED").unwrap_or(20_261_201);
    let lanes = number("SLUICEGATE_CAMPAIGN_SIDE_BY_SIDE").unwrap_or(1);
    let dir = tempfile::tempdir().unwrap();
    let lane = async |lane: u64| {
        let mut cluster = Lane::start(dir.path(), first + lane).await;
        let mut found = (0, 0);
        for run in (lane..runs).step_by(usize::try_from(lanes).unwrap()) {
            let (wrong, renumbered) = cluster.run(first + run, seconds).await.judge();
            found = (found.0 + wrong, found.1 + renumbered);
        }
        found
    };
    let found = join_all((0..lanes).map(lane)).await;
    assert_eq!(found.iter().map(|(wrong, _)| wrong).sum::<usize>(), 0, "see above");
    // Clients begin new epochs on their own account too (docs/campaigns/kafka.md): told, and counted by the campaign.
    let renumbered: usize = found.iter().map(|(_, renumbered)| renumbered).sum();
    assert!(!is_campaign || renumbered == 0, "{renumbered} records are there again: see above");
}
