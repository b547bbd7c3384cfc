//! Against a cluster of `tests/all services`.

#![expect(clippy::print_stdout, reason = "what is left out is said")]

use super::*;
use crate::ambient::{Clock as _, SystemClock};

const BOOTSTRAP: &str = "SLUICEGATE_TEST_KAFKA_EU";

/// A time that is about to come: what arrives between the two questions to the broker is behind
/// the answer, as it is with the embedded pipeline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrives_while_a_broker_looks_up_a_time_is_behind_it() {
    let Ok(bootstrap) = std::env::var(BOOTSTRAP) else {
        return println!("left out: Kafka, for {BOOTSTRAP} is not set");
    };
    let cluster = KafkaCluster {
        bootstrap: vec![bootstrap],
        tls: None,
        sasl: None,
        delivery_timeout_s: 15,
        batch_bytes: 1 << 20,
    };
    let kafka = Kafka::new(cluster, "offsets".to_owned());
    let topic = format!("offsets-{}", std::process::id());
    kafka.ensure(&topic, None).await.unwrap();
    let session = kafka.client.session().await.unwrap();
    let record = Record::new(&topic, "{}").key("one partition");
    let placed = session.producer().send(record.clone()).await.unwrap();
    let partition = u32::try_from(placed.partition).unwrap();
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (session, record) = (session.clone(), record.clone());
            tokio::spawn(async move {
                loop {
                    let _placed = session.producer().send(record.clone()).await.unwrap();
                }
            })
        })
        .collect();
    let mut answers = Vec::new();
    for round in 0..400 {
        let soon_ms = SystemClock.now_ms().0 + round % 20;
        answers.push((soon_ms, kafka.offset_at(&topic, partition, soon_ms).await.unwrap()));
    }
    tokio::time::sleep(POLL).await;
    writers.iter().for_each(tokio::task::JoinHandle::abort);
    for (soon_ms, answer) in answers {
        let first = kafka.offset_at(&topic, partition, soon_ms).await.unwrap();
        assert!(answer <= first, "{first} of a later look-up is before {answer}");
    }
}
