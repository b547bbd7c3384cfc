//! Leaders move and die behind the gateway: an idempotent producer's records are all there, once and in order, and no
//! answer names an address of the cluster's.

use std::time::Duration;

use futures_util::join;
use sluicegate_tests::{
    ca::Ca,
    clients::{Client, Consume, Produce},
    components,
    kafka::{ThreeBrokers, read, release},
    process::eventually,
    require,
    wire::{Answer, Batch, Wire},
};
use sluicegate_wire::{Key, Name, Value};
use tempfile::TempDir;

use super::{
    House,
    chaos::{ports, settled},
    people, versions,
};

const RECORDS: usize = 500;
const RATE: u32 = 40;
const LEADS_WITHIN: Duration = Duration::from_secs(60);
/// The first versions whose answers name another leader's address (KIP-951).
const PRODUCE_HINTS: i16 = 10;
const FETCH_HINTS: i16 = 16;
const PRODUCE_BY_ID: i16 = 13;

struct Scene {
    cluster: ThreeBrokers,
    house: House,
    /// Of broker 1; the others follow.
    first: u16,
    /// What no answer may have.
    upstream: Vec<u16>,
    hints: usize,
    _authority: TempDir,
}

impl Scene {
    async fn start() -> Self {
        let ca = Ca::new("brokers");
        let cluster = ThreeBrokers::start(&release(), &ca, "").await;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        std::fs::write(&file, ca.pem()).unwrap();
        let eu = components::Cluster {
            plain: cluster.plain(),
            tls: cluster.tls(),
            logs: cluster.brokers[0].logs(),
        };
        let upstream = [&eu.plain, &eu.tls].into_iter().flat_map(|list| list.split(','));
        let upstream = upstream.map(|at| at.rsplit_once(':').unwrap().1.parse().unwrap()).collect();
        let clusters = components::Kafka { us: eu.clone(), eu, ca: file };
        let ports = ports();
        let brokers = format!("ports: {{ first: {}, first-node: 1, count: 3 }}", ports[1]);
        let advertised = format!("localhost:{}", ports[0]);
        let house = House::start_with(&clusters, ports[0], &advertised, &brokers, |_| {}).await;
        Self { cluster, house, first: ports[1], upstream, hints: 0, _authority: dir }
    }

    /// A connection to broker N of the gateway's, from 0.
    async fn wire(&self, node: usize) -> Wire {
        let port = self.first + u16::try_from(node).unwrap();
        let identity = self.house.setup.identity("svc.accounts");
        Wire::connect(port, "localhost", &self.house.setup.ca, Some(&identity)).await
    }

    async fn leader(&self) -> usize {
        let leader =
            eventually(LEADS_WITHIN, async || self.cluster.leader(&self.house.people, 0).await);
        leader.await.unwrap()
    }

    /// No port of the cluster's, in either spelling, no host of it, and every address is one of ours.
    fn check(&mut self, answer: &Answer) {
        let (bytes, what) = (answer.bytes(), (answer.api.key, answer.version));
        for port in &self.upstream {
            let wide = i32::from(*port).to_be_bytes();
            assert!(!bytes.windows(4).any(|window| window == wide), "{what:?}: port {port}");
            let text = format!(":{port}");
            assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()), "{what:?}");
        }
        assert!(!bytes.windows(9).any(|window| window == b"127.0.0.1"), "{what:?}");
        let hints = matches!(what, (Key::Produce, PRODUCE_HINTS..) | (Key::Fetch, FETCH_HINTS..));
        if hints {
            for node in answer.view().structs(Name::NodeEndpoints).unwrap() {
                let node = node.unwrap();
                let id: u16 = node.int(Name::NodeId).unwrap();
                assert_eq!(node.str(Name::Host).unwrap(), "localhost");
                assert_eq!(node.int::<u16>(Name::Port).unwrap(), self.first + id - 1);
                self.hints += 1;
            }
        }
    }

    /// Asks each broker but one for all that can name an address.
    async fn ask_all_but(&mut self, dead: Option<usize>) {
        for node in (0..3).filter(|node| Some(*node) != dead) {
            let mut wire = self.wire(node).await;
            let answer = wire.ask((Key::Metadata, 12), &[(Name::Topics, Value::Null)]).await;
            let answer = answer.unwrap();
            let topic = answer.view().structs(Name::Topics).unwrap().next().unwrap().unwrap();
            let id = topic.uuid(Name::TopicId).unwrap();
            self.check(&answer);
            for version in versions(&mut wire, Key::DescribeCluster).await {
                let answer = wire.ask((Key::DescribeCluster, version), &[]).await.unwrap();
                self.check(&answer);
            }
            let group = [(Name::CoordinatorKeys, Value::List(vec!["svc.accounts-1".into()]))];
            let answer = wire.ask((Key::FindCoordinator, 4), &group).await.unwrap();
            self.check(&answer);
            for version in versions(&mut wire, Key::Produce).await {
                if version >= PRODUCE_HINTS {
                    let body = self.produce(version, id);
                    let answer = wire.ask((Key::Produce, version), &body).await.unwrap();
                    self.check(&answer);
                }
            }
            for version in versions(&mut wire, Key::Fetch).await {
                if version >= FETCH_HINTS {
                    let answer = wire.ask((Key::Fetch, version), &stale_fetch(id)).await.unwrap();
                    self.check(&answer);
                }
            }
        }
    }

    /// A batch that the policy lets through, for partition 0.
    fn produce(&self, version: i16, id: [u8; 16]) -> Vec<(Name, Value<'static>)> {
        let name = match version {
            PRODUCE_BY_ID.. => (Name::TopicId, Value::Uuid(id)),
            _ => (Name::Name, Value::Str(self.house.people.clone().into())),
        };
        let batch = Value::Bytes(Batch::of(people(0..1)).bytes().into());
        let part = Value::Struct(vec![(Name::Index, Value::Int(0)), (Name::Records, batch)]);
        let topic = Value::Struct(vec![name, (Name::PartitionData, Value::List(vec![part]))]);
        vec![
            (Name::Acks, Value::Int(-1)),
            (Name::TimeoutMs, Value::Int(10_000)),
            (Name::TopicData, Value::List(vec![topic])),
        ]
    }
}

/// As of a client that knows the partition's first leader only.
fn stale_fetch(id: [u8; 16]) -> Vec<(Name, Value<'static>)> {
    let part = Value::Struct(vec![
        (Name::Partition, Value::Int(0)),
        (Name::CurrentLeaderEpoch, Value::Int(0)),
        (Name::FetchOffset, Value::Int(0)),
        (Name::PartitionMaxBytes, Value::Int(1 << 20)),
    ]);
    let topic = Value::Struct(vec![
        (Name::TopicId, Value::Uuid(id)),
        (Name::Partitions, Value::List(vec![part])),
    ]);
    vec![
        (Name::MaxWaitMs, Value::Int(100)),
        (Name::MinBytes, Value::Int(1)),
        (Name::MaxBytes, Value::Int(1 << 20)),
        (Name::Topics, Value::List(vec![topic])),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_move_and_nothing_is_lost_doubled_or_told() {
    require!(servers);
    require!(clients);
    let mut scene = Scene::start().await;
    let topic = scene.house.people.clone();
    let produce = Produce {
        value: "{\"id\":%d,\"country\":\"DE\",\"time\":%d}".to_owned(),
        codec: "lz4",
        idempotent: true,
        key_prefix: Some("k-".to_owned()),
        rate: Some(RATE),
        timeout_s: 90,
        ..Produce::new(&scene.house.access("svc.accounts"), &topic, RECORDS)
    };
    let consume = Consume {
        max: Some(RECORDS),
        timeout_s: 60,
        ..Consume::new(&scene.house.access("analyst"), &topic, "analyst-leaders")
    };
    let moves = async {
        for partition in [0, 1, 0] {
            tokio::time::sleep(Duration::from_secs(2)).await;
            scene.cluster.move_leader(&topic, partition).await.unwrap();
        }
        let dies = scene.cluster.leader(&topic, 0).await.unwrap();
        scene.cluster.brokers[dies].kill();
        dies
    };
    let (acks, seen, dead) =
        join!(Client::Java.produce(&produce), Client::Librdkafka.consume(&consume), moves);
    let (places, seen) = (acks.places(), seen.ok());
    let stored = read(&scene.house.broker, &topic).await;
    assert_eq!(stored.len(), RECORDS, "each once");
    let number = |value: &str| -> usize {
        let json: serde_json::Value = serde_json::from_str(value).unwrap();
        json["time"].as_u64().unwrap().try_into().unwrap()
    };
    for partition in [0, 1] {
        let there = stored.iter().filter(|record| record.partition == partition);
        let there: Vec<(i64, usize)> = there
            .map(|r| (r.offset, number(std::str::from_utf8(r.value.as_deref().unwrap()).unwrap())))
            .collect();
        assert!(there.iter().is_sorted_by_key(|(_, n)| n), "in order");
        assert!(there.iter().all(|(offset, n)| places[*n] == (partition, *offset)));
        let read = seen.iter().filter(|record| record.partition == partition);
        let read: Vec<_> = read.map(|r| (r.offset, number(r.value.as_deref().unwrap()))).collect();
        assert_eq!(read, there, "the consumer saw the same");
    }
    // While one is away, and when it is back and follows.
    scene.leader().await;
    scene.ask_all_but(Some(dead)).await;
    scene.cluster.brokers[dead].start_again().await;
    scene.ask_all_but(None).await;
    let leader = scene.leader().await;
    scene.cluster.brokers[leader].kill();
    let moved = eventually(LEADS_WITHIN, async || (scene.leader().await != leader).then_some(()));
    assert!(moved.await.is_some(), "nobody else leads");
    scene.ask_all_but(Some(leader)).await;
    assert!(scene.hints >= 8, "{}", scene.hints);
    // A broker that does not lead any more may have written a batch before: the next gateway looks.
    settled(&mut scene.house).await;
    scene.house.verified_when_stopped().await;
}
