//! The Kafka listener of a region whose pipeline is embedded: no broker runs, and clients have one.

use std::time::Duration;

use serde_json::{Value as Json, json};
use sluicegate_tests::{
    clients::{Access, Client, Consume, Produce, UNSUPPORTED},
    gateway::{Gateway, run},
    kafka::fresh_name,
    process::{eventually, free_port},
    require,
    setup::Setup,
    wire::{Batch, Record, Wire, fetch, produce},
};
use sluicegate_wire::{Key, Name, Value, View, batch::Batches, codes, compress::Codec};

use super::{FETCH, PRODUCE, person, said};

const SETTLES_WITHIN: Duration = Duration::from_secs(30);
const REGION: &str = "eu-central";
const PARTITIONS: i32 = 4;

/// The auction house as `sluicegate demo` makes it: three embedded regions, a listener before Europe's.
struct House {
    setup: Setup,
    gateway: Gateway,
    port: u16,
}

impl House {
    async fn start() -> Self {
        let mut setup = Setup::quickstart();
        let (port, broker) = (free_port(), free_port());
        setup.ca.server_for(&["localhost"]).write(&setup.path().join("certs"), "kafka");
        let listener = format!(
            "kafka:\n  {REGION}:\n    address: 127.0.0.1:{port}\n    advertised: localhost:{port}\n    \
             brokers: {{ ports: {{ first: {broker}, count: 1 }} }}\n    tls: {{ certificate: certs/kafka.pem, \
             key: certs/kafka.key, client-ca: certs/ca.pem, client-auth: optional }}\n\nroles:"
        );
        setup.change("roles:", &listener);
        let to = "id: svc.accounts, transactional-ids: [\"svc.accounts-*\"],";
        setup.change_policy("1-words.yaml", "id: svc.accounts,", to);
        let gateway = setup.start().await;
        Self { setup, gateway, port }
    }

    async fn again(self) -> Self {
        let Self { setup, gateway, port } = self;
        assert_eq!(gateway.stop().await, Some(0));
        let gateway = Gateway::start_again(setup.path(), &setup.ca).await.unwrap();
        Self { setup, gateway, port }
    }

    async fn wire(&self, who: &str) -> Wire {
        let identity = self.setup.identity(who);
        Wire::connect(self.port, "localhost", &self.setup.ca, Some(&identity)).await
    }

    fn access(&self, who: &str) -> Access {
        let files = self.setup.files(who);
        let ca = self.setup.path().join("certs/ca.pem");
        let access = Access::tls(&format!("localhost:{}", self.port), &ca);
        access.certificate(&files.certificate, &files.key)
    }

    async fn verified_when_stopped(self) {
        assert_eq!(self.gateway.stop().await, Some(0));
        let verified =
            run(self.setup.path(), &["ledger", "verify", "--store", "sqlite:data/ledger.db"]);
        let text = String::from_utf8_lossy(&verified.stdout);
        assert!(verified.status.success() && !text.contains("without an outcome"), "{text}");
    }
}

/// Who asks for its metadata makes the topic, if it may publish to it.
async fn make_topic(wire: &mut Wire, name: &str) -> i16 {
    let asked = Value::List(vec![Value::Struct(vec![(Name::Name, Value::from(name))])]);
    let asked = [(Name::Topics, asked), (Name::AllowAutoTopicCreation, Value::Bool(true))];
    let answer = wire.ask((Key::Metadata, 9), &asked).await.unwrap();
    let topic = answer.view().structs(Name::Topics).unwrap().next().unwrap().unwrap();
    let parts = topic.structs(Name::Partitions).unwrap().count();
    let code: i16 = topic.int(Name::ErrorCode).unwrap();
    assert_eq!(parts, if code == codes::NONE { PARTITIONS as usize } else { 0 });
    code
}

/// The values that a reader finds in a partition of `people`.
async fn values(wire: &mut Wire, partition: i32) -> Vec<String> {
    let answer = wire.ask(FETCH, &fetch(&[("people", partition, 0)])).await.unwrap();
    let topic = answer.view().structs(Name::Responses).unwrap().next().unwrap().unwrap();
    let part: View<'_> = topic.structs(Name::Partitions).unwrap().next().unwrap().unwrap();
    assert_eq!(part.int::<i16>(Name::ErrorCode).unwrap(), codes::NONE);
    let limits = sluicegate_wire::batch::Limits { inflated: 1 << 20, records: 100, headers: 10 };
    let mut values = Vec::new();
    for batch in Batches::new(part.data(Name::Records).unwrap().unwrap_or_default()) {
        let (batch, mut space) = (batch.unwrap(), Vec::new());
        for record in batch.records(limits, &mut space).unwrap() {
            values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
        }
    }
    values
}

#[tokio::test]
async fn batches_are_stored_once_also_over_a_restart_and_found_in_the_ledger() {
    let mut house = House::start().await;
    let mut wire = house.wire("svc.accounts").await;
    assert_eq!(make_topic(&mut wire, "people").await, codes::NONE);
    assert_eq!(make_topic(&mut wire, "bids").await, codes::TOPIC_AUTHORIZATION_FAILED);
    let asked = [(Name::TransactionalId, Value::Null), (Name::TransactionTimeoutMs, Value::Int(1))];
    let answer = wire.ask((Key::InitProducerId, 4), &asked).await.unwrap();
    let id: i64 = answer.view().int(Name::ProducerId).unwrap();
    let of = |n: usize, sequence, codec| {
        let batch = Batch::of((n..n + 2).map(|n| person(n, "DE")).collect());
        let batch = Batch { codec, ..batch }.from_producer(id, 0, sequence);
        produce(-1, &[("people", 1, batch.bytes())])
    };
    for (n, codec) in [(0, Codec::Gzip), (2, Codec::Zstd)] {
        let answer = wire.ask(PRODUCE, &of(n, n as i32, codec)).await.unwrap();
        assert_eq!(said(&answer), (codes::NONE, n as i64, vec![]));
    }
    house = house.again().await;
    let mut wire = house.wire("svc.accounts").await;
    for (n, sequence, expected) in [
        (2, 2, (codes::NONE, 2)),
        (8, 8, (codes::OUT_OF_ORDER_SEQUENCE_NUMBER, -1)),
        (4, 4, (codes::NONE, 4)),
    ] {
        let answer = wire.ask(PRODUCE, &of(n, sequence, Codec::None)).await.unwrap();
        let (code, offset, _) = said(&answer);
        assert_eq!((code, offset), expected, "{sequence}");
        if code != codes::NONE {
            // What is behind it waits; a client begins anew, and so does this one.
            wire = house.wire("svc.accounts").await;
        }
    }
    let mut reader = house.wire("analyst").await;
    let read = values(&mut reader, 1).await;
    assert_eq!(read.len(), 6);
    assert!(read.iter().all(|v| v.contains("\"id\":\"tk1_") && !v.contains("clear.example")));
    // Lineage knows where a record came from.
    let place =
        ["lineage", "record", "people/1/3", "--region", REGION, "--config", "sluicegate.yaml"];
    let told = run(house.setup.path(), &place);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("svc.accounts") && told.contains("people/1/3"), "{told}");
    house.verified_when_stopped().await;
}

#[tokio::test]
async fn what_is_published_on_one_interface_is_read_on_the_other() {
    let house = House::start().await;
    let accounts = house.setup.client("svc.accounts");
    let member = json!({ "id": 7, "email": "a@clear.example", "country": "DE" });
    let url = house.gateway.url("/v1/topics/people/records");
    let posted = accounts.post(url).json(&json!({ "key": "7", "value": member })).send().await;
    let report: Json = posted.unwrap().json().await.unwrap();
    assert_eq!(report[0]["status"], "delivered", "{report}");
    let partition = i32::try_from(report[0]["partition"].as_i64().unwrap()).unwrap();
    let mut reader = house.wire("analyst").await;
    let [value] = <[String; 1]>::try_from(values(&mut reader, partition).await).unwrap();
    assert!(value.contains("\"id\":\"tk1_") && !value.contains("clear.example"), "{value}");
    let mut wire = house.wire("svc.accounts").await;
    let batch = Batch::of(vec![person(8, "DE"), person(9, "DE")]);
    let answer = wire.ask(PRODUCE, &produce(-1, &[("people", partition, batch.bytes())])).await;
    assert_eq!(said(&answer.unwrap()), (codes::NONE, 1, vec![]));
    let url = format!("/v1/topics/people/partitions/{partition}/records?region={REGION}");
    let read = house.setup.client("analyst").get(house.gateway.url(&url)).send().await.unwrap();
    let read = read.text().await.unwrap();
    assert!(read.matches("tk1_").count() >= 3, "{read}");
    assert!(read.contains("\"offset\":2") && !read.contains("clear.example"), "{read}");
    house.verified_when_stopped().await;
}

const EACH: usize = 6;

/// What each client writes with each codec, the next one reads in a group; a transaction is refused in time.
#[tokio::test]
async fn clients_as_their_users_have_them_need_no_broker() {
    require!(clients);
    let house = House::start().await;
    make_topic(&mut house.wire("svc.accounts").await, "people").await;
    let (writer, reader) = (house.access("svc.accounts"), house.access("analyst"));
    let mut places = Vec::new();
    for client in Client::ALL {
        for codec in ["none", "gzip", "zstd"] {
            let produce = Produce {
                value: "{\"id\":%d,\"email\":\"%d@clear.example\",\"country\":\"DE\",\"time\":1}"
                    .to_owned(),
                codec,
                idempotent: true,
                key_prefix: Some(format!("{}-", client.name())),
                ..Produce::new(&writer, "people", EACH)
            };
            places.extend(client.produce(&produce).await.lines.into_iter().map(|ack| {
                // Which record an acknowledgement is of, kcat does not say.
                ack.outcome.unwrap_or_else(|e| panic!("{client:?} {codec}: {e}"))
            }));
        }
    }
    let consumed = futures_util::future::join_all(Client::ALL.map(|client| {
        let group = fresh_name("analyst-group");
        let consume = Consume { timeout_s: 10, ..Consume::new(&reader, "people", &group) };
        async move { (client, client.consume(&consume).await.ok()) }
    }));
    for (client, read) in consumed.await {
        assert_eq!(read.len(), places.len(), "{client:?}");
        for record in read {
            let value = record.value.unwrap();
            assert!(value.contains("\"id\":\"tk1_") && !value.contains("clear.example"), "{value}");
        }
    }
    house.verified_when_stopped().await;
}

#[tokio::test]
async fn a_transactional_producer_is_told_that_there_are_no_transactions() {
    require!(clients);
    let house = House::start().await;
    make_topic(&mut house.wire("svc.accounts").await, "people").await;
    let writer = house.access("svc.accounts");
    for client in [Client::Java, Client::Librdkafka, Client::Kafkajs, Client::FranzGo] {
        let produce = Produce {
            value: "{\"id\":%d,\"country\":\"DE\",\"time\":1}".to_owned(),
            transaction: Some(fresh_name("svc.accounts-tx")),
            timeout_s: 10,
            ..Produce::new(&writer, "people", 1)
        };
        let began = std::time::Instant::now();
        let run = client.produce(&produce).await;
        let error = run.error.unwrap_or_else(|| panic!("{client:?} took it"));
        assert!(error != UNSUPPORTED, "{client:?}");
        assert!(began.elapsed() < Duration::from_secs(40), "{client:?}: {error}");
    }
    house.verified_when_stopped().await;
}

/// The state of a group and how many members it has.
async fn described(wire: &mut Wire, group: &str) -> (String, usize) {
    let asked = [(Name::Groups, Value::List(vec![Value::from(group)]))];
    let answer = wire.ask((Key::DescribeGroups, 5), &asked).await.unwrap();
    let group = answer.view().structs(Name::Groups).unwrap().next().unwrap().unwrap();
    let members = group.structs(Name::Members).unwrap().count();
    (group.str(Name::GroupState).unwrap().to_owned(), members)
}

#[tokio::test]
async fn two_members_share_a_topic_and_their_group_goes_on_after_a_restart() {
    require!(clients);
    let mut house = House::start().await;
    let mut wire = house.wire("svc.accounts").await;
    make_topic(&mut wire, "people").await;
    let reader = house.access("analyst");
    let publish = async |wire: &mut Wire, from: usize| {
        for partition in 0..PARTITIONS {
            let n = from + partition as usize;
            let records: Vec<Record> = vec![person(n, "DE")];
            let parts = [("people", partition, Batch::of(records).bytes())];
            assert_eq!(
                said(&wire.ask(PRODUCE, &produce(-1, &parts)).await.unwrap()).0,
                codes::NONE
            );
        }
    };
    for client in [Client::Librdkafka, Client::Kafkajs] {
        let group = fresh_name("analyst-group");
        let mut watcher = house.wire("analyst").await;
        let consume = Consume { timeout_s: 15, ..Consume::new(&reader, "people", &group) };
        let first = tokio::spawn({
            let consume = consume.clone();
            async move { client.consume(&consume).await.ok() }
        });
        let second = tokio::spawn(async move { client.consume(&consume).await.ok() });
        let both = eventually(SETTLES_WITHIN, async || {
            let found = described(&mut watcher, &group).await;
            (found == ("Stable".to_owned(), 2)).then_some(())
        });
        assert!(both.await.is_some(), "{client:?}");
        publish(&mut wire, 100).await;
        publish(&mut wire, 200).await;
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        assert!(!first.is_empty() && !second.is_empty(), "{client:?} shares nothing");
        // Both have left, and what they read is committed.
        assert_eq!(described(&mut watcher, &group).await, ("Empty".to_owned(), 0));
        house = house.again().await;
        wire = house.wire("svc.accounts").await;
        publish(&mut wire, 300).await;
        let consume = Consume { timeout_s: 8, ..Consume::new(&reader, "people", &group) };
        let after = client.consume(&consume).await.ok();
        assert_eq!(after.len(), PARTITIONS as usize, "{client:?}: only what is new");
    }
    house.verified_when_stopped().await;
}
