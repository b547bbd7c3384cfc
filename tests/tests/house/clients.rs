//! Kafka's clients against a broker, nothing between them: what they do here they must do through the gateway.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use sluicegate_tests::{
    clients::{Access, Client, Consume, Consumed, Produce},
    kafka::{create_topic, fresh_name},
    require,
};

const RECORDS: usize = 20;

/// Its headers, as `tests/clients/README.md` says what each can.
fn headers(producer: Client, n: usize) -> Vec<(String, Option<String>)> {
    let (a, b) = match producer {
        Client::Kcat => ("a".to_owned(), "b".to_owned()),
        _ => (format!("a-{n}"), format!("b-{n}")),
    };
    let mut headers = vec![("trace".to_owned(), Some(a)), ("trace".to_owned(), Some(b))];
    if producer != Client::Kafkajs {
        headers.push(("empty".to_owned(), None));
    }
    headers
}

/// What `producer` writes, `consumer` reads.
async fn exchange(access: Access, producer: Client, consumer: Client) {
    let topic = fresh_name(producer.name());
    create_topic(&access.bootstrap, &topic, 1).await;
    let produce = Produce {
        value: r#"{"n":%d,"name":"Zoë"}"#.to_owned(),
        codec: "zstd",
        idempotent: true,
        key_prefix: Some("key-".to_owned()),
        ..Produce::new(&access, &topic, RECORDS)
    };
    let places = producer.produce(&produce).await.places();
    let consume = Consume { max: Some(RECORDS), ..Consume::new(&access, &topic, &topic) };
    let records = consumer.consume(&consume).await.ok();
    let expected = |(n, (partition, offset)): (usize, &(i32, i64))| Consumed {
        partition: *partition,
        offset: *offset,
        timestamp: records[n].timestamp,
        key: Some(format!("key-{n}")),
        value: Some(format!(r#"{{"n":{n},"name":"Zoë"}}"#)),
        headers: headers(producer, n),
    };
    assert_eq!(records, places.iter().enumerate().map(expected).collect::<Vec<_>>());
    assert!(records.iter().all(|record| record.timestamp > 0));
    assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), RECORDS);
}

#[tokio::test]
async fn what_one_client_writes_the_next_reads() {
    let clusters = require!(kafka);
    require!(clients);
    let access = Access::plaintext(&clusters.eu.plain);
    let consumers = Client::ALL.into_iter().cycle().skip(1);
    let pairs = Client::ALL.into_iter().zip(consumers);
    join_all(pairs.map(|(producer, consumer)| exchange(access.clone(), producer, consumer))).await;
}
