//! Datasets of which nothing is read, and those whose batches are recorded as one.

use sluicegate_audit as audit;
use sluicegate_tests::{
    gateway::{Gateway, run},
    kafka::read,
    require,
    setup::Setup,
    wire::{Batch, Record, fetch, produce},
};
use sluicegate_wire::{codes, compress::Codec};

use super::{CLOSES_WITHIN, FETCH, House, PRODUCE, people, person, records_of, said};

const BIDS: &str = "subjects: [member]
fields:
  auction: market.item
  price: market.price
  channel: market.item
  bidder.id: user.id
  bidder.country: user.location.country
  terminal: user.device.terminal
  time: market.time
  \"key:\": market.item
unlisted: drop
jurisdiction: { field: bidder.country }
# Virginia computes the rankings for everyone.
deliver-to: [home, us-east]
if-blocked: stay-home
lineage: { device: terminal }
";
const UNREAD: &str = "because: \"Bids are about items, and name nobody.\"
protect: nothing
jurisdiction: { fixed: DE }
deliver-to: [home]
";

fn unread(setup: &mut Setup) {
    setup.change_policy("2-datasets.yaml", BIDS, UNREAD);
}

/// The records of a batch of members are recorded as one, in runs of one fate.
fn in_runs(setup: &mut Setup) {
    let rest = "jurisdiction: { field: country }";
    setup.change_policy("2-datasets.yaml", rest, &format!("evidence: batch\n{rest}"));
}

/// What no format is: bytes that are no text, headers of one name, of ours and of null, and no value.
fn anything() -> Vec<Record> {
    let headers = ["trace", "trace", "sluicegate-position"];
    let headers = headers.into_iter().zip([Some(vec![0xff]), None, Some(vec![])]);
    let headers: Vec<_> = headers.map(|(name, value)| (name.to_owned(), value)).collect();
    let value = b"\xc3\x28 {not json, ann@clear.example".to_vec();
    vec![
        Record { key: Some(vec![0, 0xfe]), value: Some(value), headers },
        Record { key: Some(b"k".to_vec()), value: None, headers: vec![] },
        Record { key: None, value: Some(vec![]), headers: vec![] },
    ]
}

fn verify(house: &House) -> String {
    let verify = ["ledger", "verify", "--store", "sqlite:data/ledger.db"];
    let verified = run(house.setup.path(), &verify);
    let text = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success(), "{text}");
    text
}

/// All outcomes of the ledger, which verifies.
async fn outcomes(house: &House) -> Vec<audit::Outcome> {
    let mut outcomes = Vec::new();
    let file = house.setup.path().join("data/ledger.db");
    let url = format!("sqlite:{}", file.display()).parse().unwrap();
    let verdict = audit::verify_store(&url, |exported| {
        let audit::Exported::Row { bytes, .. } = exported else { return };
        for entry in audit::Row::decode(&bytes).unwrap().entries {
            if let audit::Entry::Outcome(outcome) = entry {
                outcomes.push(outcome);
            }
        }
    });
    assert!(verdict.await.unwrap().is_ok());
    outcomes
}

fn lineage(house: &House, topic: &str, offset: i64) -> String {
    let place = format!("{topic}/0/{offset}");
    let found = run(house.setup.path(), &["lineage", "record", &place]);
    String::from_utf8_lossy(&found.stdout).into_owned()
}

#[tokio::test]
async fn what_is_not_protected_passes_as_it_is_and_is_recorded_as_a_run() {
    let clusters = require!(kafka);
    let house = House::start_changed(&clusters, unread).await;
    let mut wire = house.wire("svc.market").await;
    let mut sent = Vec::new();
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let first = i32::try_from(sent.len() * 3).unwrap();
        let batch = Batch { codec, ..Batch::of(anything()).from_producer(4_713, 0, first) };
        let parts = [(house.bids.as_str(), 0, batch.bytes())];
        let answer = wire.ask(PRODUCE, &produce(1, &parts)).await.unwrap();
        assert_eq!(said(&answer), (codes::NONE, i64::from(first), vec![]), "{codec:?}");
        sent.push(batch.bytes());
    }
    let stored = read(&house.broker, &house.bids).await;
    assert_eq!(stored.len(), 15);
    assert_eq!(stored[0].headers.len(), 3, "no header of ours beside the client's");
    // All that a broker does not write itself is as it was: from the checksum on.
    let mut reader = house.wire("analyst").await;
    let answer = reader.ask(FETCH, &fetch(&[(&house.bids, 0, 0)])).await.unwrap();
    let records = records_of(&answer);
    let fetched: Vec<&[u8]> = sluicegate_wire::batch::Batches::new(&records)
        .map(|batch| batch.unwrap().bytes())
        .collect();
    assert_eq!(fetched.len(), sent.len());
    for (fetched, sent) in fetched.iter().zip(&sent) {
        assert_eq!(fetched[17..], sent[17..]);
    }
    let found = lineage(&house, &house.bids, 4);
    assert!(found.contains("run of 3 events") && found.contains("as it came, unread"), "{found}");
    // A repetition is known, and the ledger says the same of all.
    let again = [(house.bids.as_str(), 0, sent[4].clone())];
    let answer = wire.ask(PRODUCE, &produce(-1, &again)).await.unwrap();
    assert_eq!(said(&answer).1, 12);
    house.verified_when_stopped().await;
}

/// Who may not, may not here either, and where records may not go they do not.
#[tokio::test]
async fn what_is_not_protected_is_permitted_and_routed_all_the_same() {
    let clusters = require!(kafka);
    let house = House::start_changed(&clusters, |setup| {
        unread(setup);
        setup.change_policy("2-datasets.yaml", "{ fixed: DE }", "{ fixed: US }");
    })
    .await;
    let parts = [(house.bids.as_str(), 0, Batch::of(anything()).bytes())];
    let mut stranger = house.wire("svc.accounts").await;
    let answer = stranger.ask(PRODUCE, &produce(1, &parts)).await.unwrap();
    assert_eq!(said(&answer).0, codes::TOPIC_AUTHORIZATION_FAILED);
    let mut wire = house.wire("svc.market").await;
    let (code, _, errors) = said(&wire.ask(PRODUCE, &produce(1, &parts)).await.unwrap());
    assert_eq!((code, errors.len()), (codes::INVALID_RECORD, 1));
    assert!(errors[0].1.starts_with("wrong-region: "), "{errors:?}");
    assert_eq!(read(&house.broker, &house.bids).await.len(), 0);
    house.verified_when_stopped().await;
}

#[tokio::test]
async fn a_batch_is_recorded_as_one_where_the_dataset_says_so() {
    let clusters = require!(kafka);
    let house = House::start_changed(&clusters, in_runs).await;
    let mut wire = house.wire("svc.accounts").await;
    let mut ask = async |records: Vec<Record>| {
        let parts = [(house.people.as_str(), 0, Batch::of(records).bytes())];
        said(&wire.ask(PRODUCE, &produce(1, &parts)).await.unwrap())
    };
    let mut members = people(0..5);
    members[1].value = Some(br#"{"id":1,"country":"DE"}"#.to_vec());
    assert_eq!(ask(members).await, (codes::NONE, 0, vec![]));
    assert_eq!(ask(people(5..6)).await, (codes::NONE, 5, vec![]));
    // Refused ones are told one by one, and recorded in runs.
    let strangers = vec![person(6, "ZZ"), person(7, "ZZ"), person(8, "DE"), person(9, "DE")];
    let (code, _, errors) = ask(strangers).await;
    assert_eq!((code, errors.len()), (codes::INVALID_RECORD, 2));
    let stored = read(&house.broker, &house.people).await;
    let named = stored.iter().map(|record| record.headers.len()).collect::<Vec<_>>();
    assert_eq!(named, [1, 0, 0, 0, 0, 1], "the first of a run names it for all");
    for record in &stored {
        let value = String::from_utf8(record.value.clone().unwrap()).unwrap();
        assert!(!value.contains("clear.example") && value.contains("\"id\":\"tk1_"), "{value}");
    }
    let found = lineage(&house, &house.people, 3);
    assert!(found.contains("run of 5 events"), "{found}");
    assert!(!lineage(&house, &house.people, 5).contains("run of"));
    let text = verify(&house);
    assert!(text.contains("10 (6 to deliver, 4 refused)"), "{text}");
    house.verified_when_stopped().await;
}

/// The gateway dies between the broker's answer and the outcome. What has our header is found again; of what went on
/// as it came, nobody can say more.
#[tokio::test]
async fn after_a_crash_a_run_is_found_and_what_was_not_read_is_unknown() {
    let clusters = require!(kafka);
    let mut house = House::start_changed(&clusters, |setup| {
        in_runs(setup);
        unread(setup);
    })
    .await;
    for (who, topic, records) in [
        ("svc.accounts", house.people.clone(), people(0..3)),
        ("svc.market", house.bids.clone(), anything()),
    ] {
        let (dir, ca) = (house.setup.path().to_path_buf(), &house.setup.ca);
        house.gateway.stop().await;
        house.gateway = Gateway::start_to_crash(&dir, ca, Some("outcome")).await.unwrap();
        let mut wire = house.wire(who).await;
        let parts = [(topic.as_str(), 0, Batch::of(records).bytes())];
        assert!(wire.ask(PRODUCE, &produce(1, &parts)).await.is_none(), "it died");
        assert!(house.gateway.ends(CLOSES_WITHIN).await.is_some());
        house.gateway = Gateway::start_again(&dir, ca).await.unwrap();
        assert_eq!(read(&house.broker, &topic).await.len(), 3);
    }
    let found = lineage(&house, &house.people, 2);
    assert!(found.contains("run of 3 events"), "{found}");
    assert!(!lineage(&house, &house.bids, 2).contains("run of 3 events"));
    let missing = outcomes(&house).await.into_iter().flat_map(|outcome| outcome.missing);
    let missing: Vec<_> = missing.map(|of| (of.topic, of.state)).collect();
    assert_eq!(missing, [(house.bids.clone(), audit::MissingState::Unknown)]);
    house.verified_when_stopped().await;
}

/// A gateway that never saw a batch finds in the ledger that it was there before.
#[tokio::test]
async fn a_batch_that_comes_again_after_a_restart_is_a_repetition() {
    let clusters = require!(kafka);
    let mut house = House::start(&clusters).await;
    let people_topic = house.people.clone();
    let batch = Batch::of(people(0..3)).from_producer(4_714, 0, 0).bytes();
    let parts = [(people_topic.as_str(), 0, batch)];
    for times in 1..=2 {
        let mut wire = house.wire("svc.accounts").await;
        let answer = wire.ask(PRODUCE, &produce(-1, &parts)).await.unwrap();
        assert_eq!(said(&answer), (codes::NONE, 0, vec![]), "{times}");
        house.gateway.stop().await;
        let ca = &house.setup.ca;
        house.gateway = Gateway::start_again(house.setup.path(), ca).await.unwrap();
    }
    let mut outcomes = outcomes(&house).await;
    // Chains come in the order of their names, which are drawn.
    outcomes.sort_by_key(|outcome| outcome.repeat_of.len());
    let [first, second] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert_eq!((first.placed.len(), &second.placed), (1, &vec![]));
    assert_eq!(second.repeat_of, [first.of]);
    house.verified_when_stopped().await;
}
