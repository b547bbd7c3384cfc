//! Records of a batch that belong to another region go there, and leave stubs.

use sluicegate_tests::{
    gateway::Gateway,
    kafka::{Record as Stored, create_topic, read},
    require,
    setup::Setup,
    wire::{Batch, Record, Wire, fetch, produce},
};
use sluicegate_wire::{batch, codes};

use super::{CLOSES_WITHIN, FETCH, House, PRODUCE, person, records_of, said};

const STUBS: &str = "because: \"Members register anywhere, and their data stays at home.\"
if-elsewhere: stub
jurisdiction: { field: country }";

/// Europe and the United States on Apache Kafka, each with the topic of members.
struct Houses {
    house: House,
    states: String,
}

impl Houses {
    async fn start(clusters: &sluicegate_tests::components::Kafka) -> Self {
        let (us, ca) = (&clusters.us, clusters.ca.display());
        let port = us.tls.rsplit_once(':').unwrap().1;
        let states = format!(
            "us-east: {{ kafka: {{ bootstrap: [\"localhost:{port}\"], tls: {{ ca: {ca} }} }} }}"
        );
        let change = |setup: &mut Setup| {
            setup
                .change("us-east: { embedded: { file: data/us-east.db, partitions: 4 } }", &states);
            setup.change_policy("2-datasets.yaml", "jurisdiction: { field: country }", STUBS);
        };
        let house = House::start_changed(clusters, change).await;
        create_topic(&us.plain, &house.people, 2).await;
        Self { house, states: us.plain.clone() }
    }

    async fn wire(&self) -> Wire {
        self.house.wire("svc.accounts").await
    }

    async fn both(&self) -> [Vec<Stored>; 2] {
        let people = &self.house.people;
        [read(&self.house.broker, people).await, read(&self.states, people).await]
    }

    async fn restart(&mut self, crash: Option<&str>) {
        let ca = &self.house.setup.ca;
        let gateway = Gateway::start_to_crash(self.house.setup.path(), ca, crash).await;
        self.house.gateway = gateway.unwrap();
    }
}

fn mixed(first: usize) -> Vec<Record> {
    let countries = ["DE", "US", "FR", "US", "DE"];
    (first..).zip(countries).map(|(n, country)| person(n, country)).collect()
}

fn of(sequence: i32) -> Batch {
    Batch::of(mixed(sequence.unsigned_abs() as usize)).from_producer(4_811, 0, sequence)
}

async fn ask(wire: &mut Wire, topic: &str, batch: &Batch) -> (i16, i64, Vec<(i32, String)>) {
    said(&wire.ask(PRODUCE, &produce(-1, &[(topic, 1, batch.bytes())])).await.unwrap())
}

fn text(record: &Stored) -> &str {
    std::str::from_utf8(record.value.as_deref().unwrap()).unwrap()
}

fn is_stub(record: &Stored) -> bool {
    record.headers.iter().any(|(name, _)| name == "sluicegate-stub")
}

#[tokio::test]
async fn a_record_of_another_region_goes_there_and_leaves_a_stub() {
    let clusters = require!(kafka);
    let houses = Houses::start(&clusters).await;
    let people = houses.house.people.clone();
    let mut wire = houses.wire().await;
    assert_eq!(ask(&mut wire, &people, &of(0)).await, (codes::NONE, 0, vec![]));
    assert_eq!(ask(&mut wire, &people, &of(5)).await, (codes::NONE, 5, vec![]));
    // A repetition is there already, on both sides.
    assert_eq!(ask(&mut wire, &people, &of(5)).await, (codes::NONE, 5, vec![]));
    let [europe, states] = houses.both().await;
    let stubs: Vec<bool> = europe.iter().map(is_stub).collect();
    assert_eq!(stubs, [false, true, false, true, false].repeat(2));
    assert_eq!(states.len(), 4);
    for (stub, whole) in europe.iter().filter(|record| is_stub(record)).zip(&states) {
        assert_eq!(text(stub), "{}", "nothing of it");
        assert_eq!(stub.key, whole.key, "the token that it has at home");
        assert!(stub.key.as_deref().unwrap().starts_with(b"tk1_"));
        assert!(text(whole).contains("\"country\":\"US\"") && !is_stub(whole));
        assert_eq!((stub.partition, whole.partition), (1, 1), "as many partitions, the same one");
    }
    for record in europe.iter().filter(|record| !is_stub(record)) {
        assert!(!text(record).contains("US"), "{}", text(record));
    }
    // Readers of Europe see where something was.
    let mut reader = houses.house.wire("analyst").await;
    let answer = reader.ask(FETCH, &fetch(&[(&people, 1, 0)])).await.unwrap();
    let records = records_of(&answer);
    let mut marked = 0;
    for batch in batch::Batches::new(&records) {
        let limits = batch::Limits { inflated: 1 << 20, records: 100, headers: 10 };
        let mut space = Vec::new();
        for record in batch.unwrap().records(limits, &mut space).unwrap() {
            let record = record.unwrap();
            let is_stub = record.headers.iter().any(|(name, _)| name == b"sluicegate-stub");
            marked += usize::from(is_stub && record.value == Some(b"{}"));
        }
    }
    assert_eq!(marked, 4);
    houses.house.verified_when_stopped().await;
}

/// What cannot be undone there does not leave from here.
#[tokio::test]
async fn a_transaction_and_a_batch_that_is_too_large_take_nothing_home() {
    let clusters = require!(kafka);
    let houses = Houses::start(&clusters).await;
    let people = houses.house.people.clone();
    let mut wire = houses.wire().await;
    let mut transaction = of(0);
    transaction.head.attributes = batch::Attributes(0x10);
    let (code, _, errors) = ask(&mut wire, &people, &transaction).await;
    assert_eq!((code, errors.len()), (codes::INVALID_RECORD, 2));
    assert!(errors[0].1.starts_with("wrong-region: "), "{errors:?}");
    // Protected, they take more than the topic's mebibyte.
    let many = (0..9_000).map(|n| person(n, if n == 0 { "US" } else { "DE" })).collect();
    let many = Batch::of(many).from_producer(4_812, 0, 0);
    let (code, ..) = ask(&mut wire, &people, &many).await;
    assert_eq!(code, codes::MESSAGE_TOO_LARGE);
    let [europe, states] = houses.both().await;
    assert_eq!((europe.len(), states.len()), (0, 0));
    // Java's client splits it, and the first piece has its sequence.
    let few = Batch::of(vec![person(0, "US"), person(1, "DE")]).from_producer(4_812, 0, 0);
    assert_eq!(ask(&mut wire, &people, &few).await, (codes::NONE, 0, vec![]));
    let [europe, states] = houses.both().await;
    assert_eq!((europe.len(), states.len()), (2, 1));
    // A partition that the topic does not have.
    let parts = [(people.as_str(), 9, of(0).bytes())];
    let answer = wire.ask(PRODUCE, &produce(-1, &parts)).await.unwrap();
    assert_eq!(said(&answer).0, codes::UNKNOWN_TOPIC_OR_PARTITION);
    houses.house.verified_when_stopped().await;
}

/// The gateway dies when a record is at home and its batch has not gone on, and when it has and nobody knows. The
/// producer sends the batch again: everything is there once.
#[tokio::test]
async fn after_a_crash_nothing_is_at_home_twice() {
    let clusters = require!(kafka);
    let mut houses = Houses::start(&clusters).await;
    let people = houses.house.people.clone();
    let points = ["homeward", "outcome"];
    for (n, point) in (0..).zip(points) {
        houses.house.gateway.signal(sluicegate_tests::process::Signal::Kill);
        assert!(houses.house.gateway.ends(CLOSES_WITHIN).await.is_some());
        houses.restart(Some(point)).await;
        let mut wire = houses.wire().await;
        let parts = [(people.as_str(), 1, of(n * 5).bytes())];
        assert!(wire.ask(PRODUCE, &produce(-1, &parts)).await.is_none(), "it died at {point}");
        assert!(houses.house.gateway.ends(CLOSES_WITHIN).await.is_some());
        houses.restart(None).await;
        let mut wire = houses.wire().await;
        let answer = ask(&mut wire, &people, &of(n * 5)).await;
        assert_eq!(answer, (codes::NONE, i64::from(n) * 5, vec![]), "{point}");
        let [europe, states] = houses.both().await;
        let times = n as usize + 1;
        assert_eq!((europe.len(), states.len()), (times * 5, times * 2), "{point}");
    }
    houses.house.verified_when_stopped().await;
}

/// Behind a batch that was refused nothing goes home: its producer may give it another sequence.
#[tokio::test]
async fn nothing_goes_home_before_the_batch_in_front_is_there() {
    let clusters = require!(kafka);
    let houses = Houses::start(&clusters).await;
    let people = houses.house.people.clone();
    let mut wire = houses.wire().await;
    // The broker refuses the first for its sequence, while the second is on its way.
    let gap = of(7);
    let behind = of(12);
    let key = PRODUCE;
    wire.send(key, 1, &produce(-1, &[(people.as_str(), 1, of(0).bytes())])).await;
    wire.send(key, 2, &produce(-1, &[(people.as_str(), 1, gap.bytes())])).await;
    wire.send(key, 3, &produce(-1, &[(people.as_str(), 1, behind.bytes())])).await;
    let mut codes_of = Vec::new();
    for _ in 0..3 {
        codes_of.push(said(&wire.next(key).await.unwrap()).0);
    }
    let out_of_order = codes::OUT_OF_ORDER_SEQUENCE_NUMBER;
    assert_eq!(codes_of, [codes::NONE, out_of_order, out_of_order]);
    let [europe, states] = houses.both().await;
    assert_eq!(
        (europe.len(), states.len()),
        (5, 2 + 2),
        "of the gap, but not of what is behind it"
    );
    // A client may use the sequence again for something else: that is another batch.
    let between = Batch::of(vec![person(5, "DE"), person(6, "DE")]).from_producer(4_811, 0, 5);
    assert_eq!(ask(&mut wire, &people, &between).await, (codes::NONE, 5, vec![]));
    let other = Batch::of(mixed(100)).from_producer(4_811, 0, 7);
    assert_eq!(ask(&mut wire, &people, &other).await, (codes::NONE, 7, vec![]));
    let [europe, states] = houses.both().await;
    assert_eq!((europe.len(), states.len()), (12, 6));
    houses.house.verified_when_stopped().await;
}
