//! The Kafka listener: what clients of frames made by hand are told, and what comes of it in the broker's log.

mod bench;
mod chaos;
mod clients;
mod embedded;
mod evidence;
mod homeward;
mod leaders;
mod networks;

use std::time::Duration;

use sluicegate_tests::{
    clients::Access,
    components::Kafka,
    gateway::{Gateway, run},
    kafka::{create_topic, fresh_name, read},
    process::free_port,
    require,
    setup::Setup,
    wire::{Answer, Batch, Record, Wire, fetch, produce},
};
use sluicegate_wire::{APIS, Key, Name, Value, View, codes, compress::Codec};

/// Under which clients reach the listener: no address of this machine, so that none can be taken for it.
const HOST: &str = "kafka.house.example";
const CLOSES_WITHIN: Duration = Duration::from_secs(20);
const PRODUCE: (Key, i16) = (Key::Produce, 9);
const FETCH: (Key, i16) = (Key::Fetch, 12);

/// The auction house with Europe on Apache Kafka and a listener before it.
struct House {
    setup: Setup,
    gateway: Gateway,
    port: u16,
    people: String,
    bids: String,
    broker: String,
}

impl House {
    /// Brokers are told apart by names.
    async fn start(clusters: &Kafka) -> Self {
        Self::start_changed(clusters, |_| {}).await
    }

    async fn start_changed(clusters: &Kafka, change: impl FnOnce(&mut Setup)) -> Self {
        let port = free_port();
        let brokers = format!("names: \"b{{node}}.{HOST}\"");
        Self::start_with(clusters, port, &format!("{HOST}:{port}"), &brokers, change).await
    }

    /// Brokers are told apart by ports, of a host that clients of this machine find.
    async fn start_at_ports(clusters: &Kafka, change: impl FnOnce(&mut Setup)) -> Self {
        let (port, first) = (free_port(), free_port());
        let brokers = format!("ports: {{ first: {first}, first-node: 1, count: 1 }}");
        Self::start_with(clusters, port, &format!("localhost:{port}"), &brokers, change).await
    }

    async fn start_with(
        clusters: &Kafka,
        port: u16,
        advertised: &str,
        brokers: &str,
        change: impl FnOnce(&mut Setup),
    ) -> Self {
        let mut setup = Setup::quickstart();
        change(&mut setup);
        let (people, bids) = (fresh_name("people"), fresh_name("bids"));
        let broker = &clusters.eu;
        let (host, _) = advertised.split_once(':').unwrap();
        let quoted = |at: &str| format!("\"localhost:{}\"", at.rsplit_once(':').unwrap().1);
        let bootstrap: Vec<String> = broker.tls.split(',').map(quoted).collect();
        setup.change(
            "eu-central: { embedded: { file: data/eu-central.db, partitions: 4 } }",
            &format!(
                "eu-central: {{ kafka: {{ bootstrap: [{}], tls: {{ ca: {} }} }} }}",
                bootstrap.join(", "),
                clusters.ca.display()
            ),
        );
        let names = [1, 2, 3].map(|node| format!("b{node}.{HOST}"));
        let server = setup.ca.server_for(&[host, &names[0], &names[1], &names[2]]);
        server.write(&setup.path().join("certs"), "kafka");
        let listener = format!(
            "kafka:\n  eu-central:\n    address: 127.0.0.1:{port}\n    advertised: {advertised}\n    \
             brokers: {{ {brokers} }}\n    tls: {{ certificate: certs/kafka.pem, \
             key: certs/kafka.key, client-ca: certs/ca.pem, client-auth: optional }}\n\nroles:"
        );
        setup.change("roles:", &listener);
        setup.change_policy("2-datasets.yaml", "topics: [people]", &format!("topics: [{people}]"));
        setup.change_policy("2-datasets.yaml", "topics: [bids]", &format!("topics: [{bids}]"));
        for (principal, groups) in
            [("svc.accounts", "groups: [\"svc.accounts-*\"], "), ("analyst", "")]
        {
            let from = format!("id: {principal},");
            let to = format!("id: {principal}, {groups}transactional-ids: [\"{principal}-*\"],");
            setup.change_policy("1-words.yaml", &from, &to);
        }
        create_topic(&broker.plain, &people, 2).await;
        create_topic(&broker.plain, &bids, 1).await;
        let gateway = setup.start().await;
        let broker = broker.plain.clone();
        Self { setup, gateway, port, people, bids, broker }
    }

    /// Stops the gateway; its ledger verifies and has no intent without an outcome.
    async fn verified_when_stopped(self) {
        self.gateway.stop().await;
        let verify = ["ledger", "verify", "--store", "sqlite:data/ledger.db"];
        let verified = run(self.setup.path(), &verify);
        let text = String::from_utf8_lossy(&verified.stdout);
        assert!(verified.status.success(), "{text}");
        assert!(!text.contains("without an outcome"), "{text}");
    }

    /// As a client program gets in.
    fn access(&self, who: &str) -> Access {
        self.access_at(who, self.port)
    }

    /// The same, at another port: of a proxy.
    fn access_at(&self, who: &str, port: u16) -> Access {
        let files = self.setup.files(who);
        let ca = self.setup.path().join("certs/ca.pem");
        let access = Access::tls(&format!("localhost:{port}"), &ca);
        access.certificate(&files.certificate, &files.key)
    }

    async fn wire(&self, who: &str) -> Wire {
        Wire::connect(self.port, HOST, &self.setup.ca, Some(&self.setup.identity(who))).await
    }
}

fn person(n: usize, country: &str) -> Record {
    let value = format!(
        "{{\"id\":{n},\"name\":\"Ann Smith\",\"email\":\"ann{n}@clear.example\",\"country\":\"{country}\",\"time\":{n}}}"
    );
    let headers = vec![("trace".to_owned(), Some(b"a".to_vec())), ("trace".to_owned(), None)];
    Record { key: Some(format!("member-{n}").into_bytes()), headers, ..Record::of(value) }
}

fn people(numbers: std::ops::Range<usize>) -> Vec<Record> {
    numbers.map(|n| person(n, "DE")).collect()
}

/// The batches that a Fetch answer has of its first partition.
fn records_of(answer: &Answer) -> Vec<u8> {
    let view = answer.view();
    let topic = view.structs(Name::Responses).unwrap().next().unwrap().unwrap();
    let part = topic.structs(Name::Partitions).unwrap().next().unwrap().unwrap();
    part.data(Name::Records).unwrap().unwrap().to_vec()
}

/// What a Produce answer says of its first partition: code, base offset, and the records that it names.
fn said(answer: &Answer) -> (i16, i64, Vec<(i32, String)>) {
    let (code, offset, errors, _) = said_of(&answer.view(), 0);
    (code, offset, errors)
}

fn said_of(answer: &View<'_>, n: usize) -> (i16, i64, Vec<(i32, String)>, String) {
    let topic = answer.structs(Name::Responses).unwrap().nth(n).unwrap().unwrap();
    let part = topic.structs(Name::PartitionResponses).unwrap().next().unwrap().unwrap();
    let errors = part.structs(Name::RecordErrors).unwrap().map(|error| {
        let error = error.unwrap();
        let message = error.text(Name::BatchIndexErrorMessage).unwrap().unwrap_or_default();
        (error.int(Name::BatchIndex).unwrap(), message.to_owned())
    });
    let name = topic.str(Name::Name).unwrap().to_owned();
    let (code, offset) = (part.int(Name::ErrorCode).unwrap(), part.int(Name::BaseOffset).unwrap());
    (code, offset, errors.collect(), name)
}

#[tokio::test]
async fn a_batch_arrives_protected_in_the_same_places_with_each_codec() {
    let clusters = require!(kafka);
    let house = House::start(&clusters).await;
    let mut wire = house.wire("svc.accounts").await;
    let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    for (n, codec) in codecs.into_iter().enumerate() {
        let batch = Batch { codec, ..Batch::of(people(n * 3..n * 3 + 3)) };
        let parts = [(house.people.as_str(), 1, batch.bytes())];
        let answer = wire.ask(PRODUCE, &produce(1, &parts)).await.unwrap();
        assert_eq!(said(&answer), (codes::NONE, n as i64 * 3, vec![]), "{codec:?}");
    }
    let stored = read(&house.broker, &house.people).await;
    assert_eq!(
        stored.iter().map(|record| record.offset).collect::<Vec<_>>(),
        (0..15).collect::<Vec<_>>()
    );
    for record in &stored {
        let value = String::from_utf8(record.value.clone().unwrap()).unwrap();
        assert!(!value.contains("clear.example") && value.contains("\"id\":\"tk1_"), "{value}");
        assert!(record.key.as_deref().unwrap().starts_with(b"tk1_"));
        let names: Vec<&str> = record.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["sluicegate-position"], "headers that the dataset does not list go");
    }
    // The reader's view, with the offsets as they are.
    let mut reader = house.wire("analyst").await;
    let answer = reader.ask(FETCH, &fetch(&[(&house.people, 1, 4)])).await.unwrap();
    let records = records_of(&answer);
    let offsets: Vec<(i64, i32)> = sluicegate_wire::batch::Batches::new(&records)
        .map(|batch| batch.unwrap())
        .map(|batch| (batch.head.base_offset, batch.count))
        .collect();
    assert_eq!(offsets, [(3, 3), (6, 3), (9, 3), (12, 3)]);
    house.gateway.stop().await;
}

#[tokio::test]
async fn a_refused_record_refuses_its_batch_and_names_itself_and_what_follows_waits() {
    let clusters = require!(kafka);
    let house = House::start(&clusters).await;
    let mut wire = house.wire("svc.accounts").await;
    let mut ask = async |batch: Batch| {
        let parts = [(house.people.as_str(), 0, batch.bytes())];
        said(&wire.ask(PRODUCE, &produce(-1, &parts)).await.unwrap())
    };
    let (producer, epoch) = (4_711, 0);
    let of = |records: Vec<Record>, sequence| {
        Batch::of(records).from_producer(producer, epoch, sequence)
    };
    assert_eq!(ask(of(people(0..2), 0)).await, (codes::NONE, 0, vec![]));
    // Of three records, one is of a country that nobody knows and one of another region's.
    let mixed = vec![person(2, "DE"), person(3, "ZZ"), person(4, "US")];
    let (code, offset, errors) = ask(of(mixed, 2)).await;
    assert_eq!((code, offset), (codes::INVALID_RECORD, -1));
    assert_eq!(errors.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 2]);
    assert!(errors[0].1.starts_with("unknown-jurisdiction: "), "{errors:?}");
    assert!(errors[1].1.starts_with("wrong-region: "), "{errors:?}");
    assert!(errors.iter().all(|(_, message)| !message.contains("ZZ")), "{errors:?}");
    // What follows of this producer and partition waits; other producers do not.
    assert_eq!(ask(of(people(5..6), 5)).await.0, codes::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(ask(Batch::of(people(6..7))).await, (codes::NONE, 2, vec![]));
    // Corrected and sent again under its own sequence, it goes through, and so does what follows.
    assert_eq!(ask(of(people(2..5), 2)).await, (codes::NONE, 3, vec![]));
    assert_eq!(ask(of(people(5..6), 5)).await, (codes::NONE, 6, vec![]));
    // The same again is there already.
    assert_eq!(ask(of(people(5..6), 5)).await, (codes::NONE, 6, vec![]));
    assert_eq!(read(&house.broker, &house.people).await.len(), 7);
    // A broker that has nothing of a producer yet would take what follows.
    let unknown = |records, sequence| Batch::of(records).from_producer(4_712, 0, sequence);
    assert_eq!(ask(unknown(vec![person(7, "ZZ")], 0)).await.0, codes::INVALID_RECORD);
    let follows = ask(unknown(people(7..8), 1)).await;
    assert_eq!(follows.0, codes::OUT_OF_ORDER_SEQUENCE_NUMBER);
    // A client that has renumbered after a refusal is not held up.
    let (code, ..) = ask(of(vec![person(9, "ZZ")], 6)).await;
    assert_eq!(code, codes::INVALID_RECORD);
    let again = Batch::of(people(9..10)).from_producer(producer, 1, 0);
    assert_eq!(ask(again).await, (codes::NONE, 7, vec![]));
    house.verified_when_stopped().await;
}

#[tokio::test]
async fn nothing_is_done_for_who_may_not() {
    let clusters = require!(kafka);
    let house = House::start(&clusters).await;
    let mut wire = house.wire("analyst").await;
    let parts = [(house.people.as_str(), 0, Batch::of(people(0..1)).bytes())];
    let answer = wire.ask(PRODUCE, &produce(-1, &parts)).await.unwrap();
    assert_eq!(said(&answer).0, codes::TOPIC_AUTHORIZATION_FAILED);
    let mut writer = house.wire("svc.accounts").await;
    // Beside a topic that it may write, one that it may not and one that nobody has.
    let parts = [
        (house.people.as_str(), 0, Batch::of(people(0..1)).bytes()),
        (house.bids.as_str(), 0, Batch::of(people(0..1)).bytes()),
        ("nobodys", 0, Batch::of(people(0..1)).bytes()),
    ];
    let answer = writer.ask(PRODUCE, &produce(-1, &parts)).await.unwrap();
    let denied = codes::TOPIC_AUTHORIZATION_FAILED;
    let view = answer.view();
    let of = |n| (said_of(&view, n).0, said_of(&view, n).3);
    assert_eq!(
        [of(0), of(1), of(2)],
        [
            (codes::NONE, house.people.clone()),
            (denied, house.bids.clone()),
            (denied, "nobodys".to_owned())
        ]
    );
    let parts = [(house.people.as_str(), 0, 0), (house.bids.as_str(), 0, 0)];
    let answer = writer.ask(FETCH, &fetch(&parts)).await.unwrap();
    assert_eq!(
        answer.view().int::<i16>(Name::ErrorCode).unwrap(),
        codes::NONE,
        "of partitions only"
    );
    let topics = answer.view().structs(Name::Responses).unwrap().map(|topic| {
        let topic = topic.unwrap();
        let part = topic.structs(Name::Partitions).unwrap().next().unwrap().unwrap();
        let records = part.data(Name::Records).unwrap().unwrap_or_default();
        (part.int::<i16>(Name::ErrorCode).unwrap(), records.len())
    });
    assert_eq!(topics.collect::<Vec<_>>(), [(denied, 0), (denied, 0)]);
    // Named, it is refused; unnamed, it is not shown.
    let name = |name| Value::Struct(vec![(Name::Name, Value::from(name))]);
    let asked = vec![name(house.people.as_str()), name(house.bids.as_str()), name("nobodys")];
    let asked =
        [(Name::Topics, Value::List(asked)), (Name::AllowAutoTopicCreation, Value::Bool(true))];
    let answer = writer.ask((Key::Metadata, 9), &asked).await.unwrap();
    assert_eq!(
        topics_of(&answer),
        [(house.people.clone(), 0), (house.bids.clone(), denied), ("nobodys".to_owned(), denied)]
    );
    let answer = writer.ask((Key::Metadata, 9), &[(Name::Topics, Value::Null)]).await.unwrap();
    assert_eq!(topics_of(&answer), [(house.people.clone(), 0)]);
    let find =
        |group: &'static str| [(Name::Key, Value::from(group)), (Name::KeyType, Value::Int(0))];
    let code = |answer: Answer| answer.view().int::<i16>(Name::ErrorCode).unwrap();
    let find_2 = (Key::FindCoordinator, 2);
    assert_eq!(
        code(writer.ask(find_2, &find("analyst-1")).await.unwrap()),
        codes::GROUP_AUTHORIZATION_FAILED
    );
    let join = [
        (Name::GroupId, Value::from("analyst-1")),
        (Name::SessionTimeoutMs, Value::Int(6_000)),
        (Name::ProtocolType, Value::from("consumer")),
    ];
    assert_eq!(
        code(writer.ask((Key::JoinGroup, 2), &join).await.unwrap()),
        codes::GROUP_AUTHORIZATION_FAILED
    );
    let begin = [
        (Name::TransactionalId, Value::from("analyst-1")),
        (Name::TransactionTimeoutMs, Value::Int(6_000)),
    ];
    let denied = codes::TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    assert_eq!(code(writer.ask((Key::InitProducerId, 4), &begin).await.unwrap()), denied);
    house.gateway.stop().await;
}

fn topics_of(answer: &Answer) -> Vec<(String, i16)> {
    let topics = answer.view().structs(Name::Topics).unwrap().map(|topic| {
        let topic = topic.unwrap();
        (topic.str(Name::Name).unwrap().to_owned(), topic.int(Name::ErrorCode).unwrap())
    });
    topics.collect()
}

/// Keys with their first and last versions.
async fn offered(wire: &mut Wire) -> Vec<(i16, i16, i16)> {
    let answer = wire.ask((Key::ApiVersions, 3), &[]).await.unwrap();
    let apis = answer.view().structs(Name::ApiKeys).unwrap().map(|api| {
        let api = api.unwrap();
        let int = |name| api.int(name).unwrap();
        (int(Name::ApiKey), int(Name::MinVersion), int(Name::MaxVersion))
    });
    apis.collect()
}

/// The versions of an API that are offered.
async fn versions(wire: &mut Wire, key: Key) -> std::ops::RangeInclusive<i16> {
    let offered = offered(wire).await;
    let (_, first, last) = offered.iter().find(|(offered, ..)| *offered == key as i16).unwrap();
    *first..=*last
}

/// What is not offered ends the connection, before the login and after it; so does what is no request at all.
#[tokio::test]
async fn what_is_not_offered_is_refused() {
    let clusters = require!(kafka);
    let house = House::start(&clusters).await;
    let mut wire = house.wire("svc.accounts").await;
    let offered = offered(&mut wire).await;
    assert!(offered.iter().all(|(key, ..)| APIS.iter().any(|api| api.key as i16 == *key)));
    assert!(offered.is_sorted_by_key(|(key, ..)| *key), "old clients search it by halves");
    // Produce is said to begin at 0 for the sake of librdkafka.
    assert!(matches!(offered[0], (0, 0, 11..=13)), "{:?}", offered[0]);
    let mut refused = 1;
    for key in (0..=100).chain([1_000, 10_000, -1]) {
        let range = offered.iter().find(|(offered, ..)| *offered == key);
        let around = range.map_or([-1, 0, 3, 20], |(_, first, last)| [-1, first - 1, last + 1, 20]);
        for version in around {
            // An unknown version of ApiVersions is answered, so that a client learns what to ask.
            let known = range.is_some_and(|(_, first, last)| *first <= version && version <= *last);
            if known || key == 18 {
                continue;
            }
            let mut wire = house.wire("svc.accounts").await;
            let mut frame = Vec::new();
            frame.extend(i16::to_be_bytes(key));
            frame.extend(i16::to_be_bytes(version));
            frame.extend([0, 0, 0, 7, 0xff, 0xff, 0, 0, 0, 0, 0, 0]);
            wire.send_frame(&frame).await;
            let closed = tokio::time::timeout(CLOSES_WITHIN, wire.next_frame()).await;
            assert_eq!(closed, Ok(None), "API {key}, version {version}");
            refused += 1;
        }
    }
    assert!(refused > 350, "{refused}");
    // A newer ApiVersions than ours gets what it can read, and can go on.
    let mut frame = vec![0, 18, 0, 9, 0, 0, 0, 5, 0xff, 0xff, 0];
    frame.extend([1, 1, 0]);
    let mut wire = house.wire("svc.accounts").await;
    wire.send_frame(&frame).await;
    let answer = wire.next((Key::ApiVersions, 0)).await.unwrap();
    assert_eq!(answer.view().int::<i16>(Name::ErrorCode).unwrap(), codes::UNSUPPORTED_VERSION);
    assert!(wire.ask((Key::ApiVersions, 4), &[]).await.is_some());
    // Nobody is there without a certificate.
    let mut stranger = Wire::connect(house.port, HOST, &house.setup.ca, None).await;
    assert!(stranger.ask((Key::ApiVersions, 3), &[]).await.is_some());
    assert!(stranger.ask((Key::Metadata, 9), &[(Name::Topics, Value::Null)]).await.is_none());
    house.gateway.stop().await;
}

/// Answers come in the order of the requests, also those that the gateway gives itself, and whatever numbers a client
/// gives them.
#[tokio::test]
async fn answers_come_in_order_under_the_clients_own_numbers() {
    let clusters = require!(kafka);
    let house = House::start(&clusters).await;
    let mut wire = house.wire("svc.accounts").await;
    let metadata = (Key::Metadata, 9);
    let mut wanted = Vec::new();
    for round in 0..20_usize {
        let good = [(house.people.as_str(), 0, Batch::of(people(round..round + 1)).bytes())];
        let denied = [(house.bids.as_str(), 0, Batch::of(people(0..1)).bytes())];
        wire.send(PRODUCE, 7, &produce(-1, &good)).await;
        wire.send(metadata, 7, &[(Name::Topics, Value::Null)]).await;
        wire.send(PRODUCE, 7, &produce(-1, &denied)).await;
        // Without acknowledgement nothing comes back.
        wire.send(PRODUCE, 8, &produce(0, &good)).await;
        wire.send((Key::ApiVersions, 3), -3, &[]).await;
        wanted.extend([(PRODUCE, 7), (metadata, 7), (PRODUCE, 7), ((Key::ApiVersions, 3), -3)]);
    }
    for (n, (what, correlation)) in wanted.into_iter().enumerate() {
        let answer = wire.next(what).await.unwrap();
        assert_eq!(answer.correlation, correlation, "answer {n}");
        if what == PRODUCE {
            let wanted = if n % 4 == 0 { codes::NONE } else { codes::TOPIC_AUTHORIZATION_FAILED };
            assert_eq!(said(&answer).0, wanted, "answer {n}");
        }
    }
    assert_eq!(read(&house.broker, &house.people).await.len(), 40);
    // A refused batch without acknowledgement closes the connection, as a broker does.
    let denied = [(house.bids.as_str(), 0, Batch::of(people(0..1)).bytes())];
    wire.send(PRODUCE, 9, &produce(0, &denied)).await;
    assert!(wire.next_frame().await.is_none());
    house.gateway.stop().await;
}

/// No answer names an address of the cluster's.
#[tokio::test]
async fn no_answer_has_an_address_of_the_brokers() {
    let clusters = require!(kafka);
    let house = House::start(&clusters).await;
    let mut wire = house.wire("svc.accounts").await;
    let ports: Vec<u16> = [&clusters.eu.plain, &clusters.eu.tls]
        .map(|address| address.rsplit_once(':').unwrap().1.parse().unwrap())
        .to_vec();
    let mut named = 0;
    let mut check = |answer: &Answer| {
        let (bytes, key) = (answer.bytes(), answer.api.key);
        for port in &ports {
            let port = i32::from(*port).to_be_bytes();
            assert!(!bytes.windows(4).any(|window| window == port), "{key:?} {}", answer.version);
        }
        let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!has("localhost") && !has("127.0.0.1"), "{key:?} {}", answer.version);
        named += usize::from(has(&format!("b1.{HOST}")));
    };
    for version in versions(&mut wire, Key::Metadata).await {
        let all = Value::Null;
        check(&wire.ask((Key::Metadata, version), &[(Name::Topics, all)]).await.unwrap());
    }
    for version in versions(&mut wire, Key::DescribeCluster).await {
        check(&wire.ask((Key::DescribeCluster, version), &[]).await.unwrap());
    }
    for version in versions(&mut wire, Key::FindCoordinator).await {
        let set = match version {
            0 => vec![(Name::Key, Value::from("svc.accounts-1"))],
            1..=3 => {
                vec![(Name::Key, Value::from("svc.accounts-1")), (Name::KeyType, Value::Int(0))]
            }
            _ => vec![(
                Name::CoordinatorKeys,
                Value::List(vec!["svc.accounts-1".into(), "other".into()]),
            )],
        };
        let answer = wire.ask((Key::FindCoordinator, version), &set).await.unwrap();
        check(&answer);
        if version >= 4 {
            let found = answer.view().structs(Name::Coordinators).unwrap().count();
            assert_eq!(found, 2, "one of them denied");
        }
    }
    assert!(named >= 10, "{named}");
    house.gateway.stop().await;
}

/// However a connection ends, what was recorded has its outcome: a client that says what is not offered while batches
/// are under way, and one that is simply gone.
#[tokio::test]
async fn no_intent_stays_open_when_a_connection_ends() {
    let clusters = require!(kafka);
    let house = House::start(&clusters).await;
    for round in 0..8 {
        let mut wire = house.wire("svc.accounts").await;
        for n in 0..4 {
            let parts = [(house.people.as_str(), 0, Batch::of(people(n..n + 1)).bytes())];
            wire.send(PRODUCE, 1, &produce(-1, &parts)).await;
        }
        if round % 2 == 0 {
            wire.send_frame(&[0x27, 0x10, 0, 0, 0, 0, 0, 9, 0xff, 0xff]).await;
        }
        drop(wire);
    }
    // The first request of a known client may be as large as any.
    let mut wire = house.wire("svc.accounts").await;
    let padded = Record { value: person(1, "DE").value, ..Record::default() };
    let padded = Record {
        value: padded.value.map(|mut value| {
            value.pop();
            value.extend(format!(",\"pad\":\"{}\"}}", "x".repeat(300_000)).into_bytes());
            value
        }),
        ..padded
    };
    let parts = [(house.people.as_str(), 0, Batch::of(vec![padded]).bytes())];
    let answer = wire.ask(PRODUCE, &produce(-1, &parts)).await.unwrap();
    assert_eq!(said(&answer).0, codes::NONE);
    house.verified_when_stopped().await;
}

/// A batch that says of its offsets what is not so, a partition twice, and more acknowledgements than there are.
#[tokio::test]
async fn what_a_broker_would_take_otherwise_than_we_record_it_is_refused() {
    let clusters = require!(kafka);
    let house = House::start(&clusters).await;
    let mut wire = house.wire("svc.accounts").await;
    let batch = || Batch::of(people(0..1)).bytes();
    let twice = [(house.people.as_str(), 0, batch()), (house.people.as_str(), 0, batch())];
    let answer = wire.ask(PRODUCE, &produce(-1, &twice)).await.unwrap();
    assert_eq!(said_of(&answer.view(), 0).0, codes::INVALID_REQUEST);
    assert_eq!(said_of(&answer.view(), 1).0, codes::INVALID_REQUEST);
    let one = [(house.people.as_str(), 0, batch())];
    let answer = wire.ask(PRODUCE, &produce(2, &one)).await.unwrap();
    assert_eq!(said(&answer).0, codes::INVALID_REQUIRED_ACKS);
    let mut holes = Batch::of(people(0..2));
    holes.deltas = vec![0, 7];
    holes.head.last_offset_delta = 1;
    let parts = [(house.people.as_str(), 0, holes.bytes())];
    let answer = wire.ask(PRODUCE, &produce(-1, &parts)).await.unwrap();
    assert_eq!(said(&answer).0, codes::INVALID_RECORD);
    // Who poses as a replica reads as a client: what is there, and no more.
    let mut reader = house.wire("analyst").await;
    let mut asked = fetch(&[(&house.people, 0, 0)]);
    asked[0].1 = Value::Int(1);
    let answer = reader.ask(FETCH, &asked).await.unwrap();
    let topic = answer.view().structs(Name::Responses).unwrap().next().unwrap().unwrap();
    let part = topic.structs(Name::Partitions).unwrap().next().unwrap().unwrap();
    assert_eq!(part.int::<i16>(Name::ErrorCode).unwrap(), codes::NONE);
    assert!(read(&house.broker, &house.people).await.is_empty());
    house.verified_when_stopped().await;
}

/// Above its quota a principal waits, and is told for how long; others do not.
#[tokio::test]
async fn a_principal_above_its_quota_is_held_up() {
    let clusters = require!(kafka);
    let quota =
        |setup: &mut Setup| setup.config.push_str("\nlimits: { principal-records-per-s: 10 }\n");
    let house = House::start_at_ports(&clusters, quota).await;
    let ca = &house.setup.ca;
    let identity = house.setup.identity("svc.accounts");
    let mut wire = Wire::connect(house.port, "localhost", ca, Some(&identity)).await;
    let mut throttled = Vec::new();
    for n in 0..3 {
        let batch = Batch::of(people(n * 20..n * 20 + 20)).bytes();
        let answer = wire.ask(PRODUCE, &produce(-1, &[(&house.people, 0, batch)])).await.unwrap();
        assert_eq!(said(&answer).0, codes::NONE);
        throttled.push(answer.view().int::<i64>(Name::ThrottleTimeMs).unwrap());
    }
    assert!(throttled[0] < 500 && throttled[1] >= 500 && throttled[2] >= 1_000, "{throttled:?}");
    house.verified_when_stopped().await;
}
