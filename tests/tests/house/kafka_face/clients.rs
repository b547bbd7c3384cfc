//! Clients as their users have them, through the gateway: each codec, transactions, and each way to log in.

use std::{io::Write as _, process::Stdio};

use futures_util::{StreamExt as _, stream};
use sluicegate_tests::{
    clients::{Access, Client, Consume, Produce, UNSUPPORTED},
    gateway::program,
    jwt::SigningKey,
    kafka::{fresh_name, read},
    require,
    setup::{Setup, claims},
};

use super::House;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const EACH: usize = 6;
/// Pairs of clients at once.
const AT_ONCE: usize = 3;

/// What one client writes with each codec, the next reads; what a transaction takes back nobody reads.
async fn exchange(house: &House, producer: Client, consumer: Client) {
    let topic = &house.people;
    let (writer, reader) = (house.access("svc.accounts"), house.access("analyst"));
    let value = format!(
        "{{\"id\":%d,\"name\":\"Ann Smith\",\"email\":\"{}%d@clear.example\",\"country\":\"DE\",\"time\":1}}",
        producer.name()
    );
    let mut places = Vec::new();
    for codec in CODECS {
        let produce = Produce {
            value: value.clone(),
            codec,
            idempotent: true,
            key_prefix: Some(format!("{}-", producer.name())),
            ..Produce::new(&writer, topic, EACH)
        };
        let run = producer.produce(&produce).await;
        places.extend(run.places());
    }
    for abort in [false, true] {
        let produce = Produce {
            value: value.clone(),
            idempotent: true,
            key_prefix: Some("t-".to_owned()),
            transaction: Some(fresh_name("svc.accounts-tx")),
            abort,
            ..Produce::new(&writer, topic, EACH)
        };
        let run = producer.produce(&produce).await;
        if run.error.as_deref() == Some(UNSUPPORTED) {
            continue;
        }
        let there = run.places();
        if !abort {
            places.extend(there);
        }
    }
    let group = fresh_name("analyst-group");
    let consume = Consume { timeout_s: 8, ..Consume::new(&reader, topic, &group) };
    let read = consumer.consume(&consume).await.ok();
    for place in &places {
        let found = read.iter().filter(|r| (r.partition, r.offset) == *place).count();
        assert_eq!(found, 1, "{producer:?} to {consumer:?}: {place:?}");
    }
    for record in &read {
        let value = record.value.as_deref().unwrap();
        assert!(value.contains("\"id\":\"tk1_") && !value.contains("clear.example"), "{value}");
    }
}

#[tokio::test]
async fn clients_as_their_users_have_them_publish_and_read() {
    let clusters = require!(kafka);
    require!(clients);
    let consumers = Client::ALL.into_iter().cycle().skip(1);
    let pairs = stream::iter(Client::ALL.into_iter().zip(consumers));
    let exchanged = pairs.map(|(producer, consumer)| {
        let clusters = &clusters;
        async move {
            let house = House::start_at_ports(clusters, |_| {}).await;
            exchange(&house, producer, consumer).await;
            for record in read(&house.broker, &house.people).await {
                let value = String::from_utf8(record.value.unwrap()).unwrap();
                assert!(!value.contains("clear.example"), "{value}");
            }
            house.verified_when_stopped().await;
        }
    });
    exchanged.buffer_unordered(AT_ONCE).collect::<()>().await;
}

const PASSWORD: &str = "correct horse battery staple";

fn with_passwords(setup: &mut Setup, key: &SigningKey) {
    setup.believe(key);
    setup.change("\nidentify:\n", "\nidentify:\n  passwords: { file: keys/passwords.yaml }\n");
    for name in ["svc.accounts", "analyst"] {
        let mut set = program(setup.path())
            .args(["credential", "set", name, "--file", "keys/passwords.yaml"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        writeln!(set.stdin.take().unwrap(), "{PASSWORD}").unwrap();
        assert!(set.wait().unwrap().success());
    }
}

#[tokio::test]
async fn clients_log_in_by_password_and_token() {
    let clusters = require!(kafka);
    require!(clients);
    let key = SigningKey::ed25519("first");
    let house = House::start_at_ports(&clusters, |setup| with_passwords(setup, &key)).await;
    let token = house.setup.path().join("token");
    std::fs::write(&token, key.token(&claims("svc.accounts").json())).unwrap();
    let ca = house.setup.path().join("certs/ca.pem");
    let access = || Access::tls(&format!("localhost:{}", house.port), &ca);
    let value = "{\"id\":%d,\"country\":\"DE\",\"time\":1}";
    let mut sent = 0;
    for client in [Client::Java, Client::Librdkafka] {
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] {
            let ways = match mechanism {
                "OAUTHBEARER" => vec![(access().token(&token), true)],
                _ => vec![
                    (access().password(mechanism, "svc.accounts", PASSWORD), true),
                    (access().password(mechanism, "svc.accounts", "a guess"), false),
                    (access().password(mechanism, "nobody", PASSWORD), false),
                ],
            };
            for (access, is_right) in ways {
                let what = Produce {
                    value: value.to_owned(),
                    timeout_s: if is_right { 20 } else { 4 },
                    ..Produce::new(&access, &house.people, 2)
                };
                let run = client.produce(&what).await;
                let all = run.error.is_none() && run.lines.iter().all(|ack| ack.outcome.is_ok());
                assert_eq!(
                    all, is_right,
                    "{client:?} {mechanism}: {:?} {:?}",
                    run.error, run.lines
                );
                sent += if is_right { 2 } else { 0 };
            }
        }
    }
    assert_eq!(read(&house.broker, &house.people).await.len(), sent);
    house.verified_when_stopped().await;
}
