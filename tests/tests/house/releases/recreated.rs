//! A topic that was deleted and created again begins at offset 0 again, so that one place has had several records.
//! Lineage says which of them is there now.

use std::time::Duration;

use serde_json::{Value, json};
use sluicegate_tests::{
    kafka::{connect, create_topic, fresh_name},
    process::eventually,
    releases::{Sent, Spec, now_ms},
    require,
};

use super::setup::{House, Pipeline, Store};

const WITHIN: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_topic_that_was_created_again_lineage_says_which_record_is_there() {
    let kafka = require!(kafka);
    let spec = Spec { delivered: true, ..Spec::counting(&fresh_name("again")) };
    let (topic, at) = (spec.dataset(), kafka.eu.plain);
    let house = House::new(Store::Sqlite, Pipeline::Kafka(at.clone()), &[&spec]);
    create_topic(&at, &topic, 1).await;
    let gateway = house.start(0).await;
    let (app, url) = (house.client("app"), gateway.url(&format!("/v1/topics/{topic}/records")));
    let mut ids = Vec::new();
    for again in [false, true] {
        if again {
            let admin = connect(&at).await.admin();
            let deleted = admin.delete_topics([&*topic], Default::default()).await.unwrap();
            assert!(deleted.into_iter().all(|(_, result)| result.is_ok()));
            tokio::time::sleep(Duration::from_secs(2)).await;
            create_topic(&at, &topic, 1).await;
        }
        let body = json!([Sent::new("p", "north", now_ms()).json()]);
        let placed = eventually(WITHIN, async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let answer = app.post(&url).json(&body).send().await.unwrap();
            let report: Value = answer.json().await.unwrap();
            (report[0]["deliveries"][0]["offset"] == 0).then(|| report[0]["decision_id"].clone())
        });
        ids.push(placed.await.expect("a record at offset 0"));
    }
    assert_eq!(gateway.stop().await, Some(0));
    let place = format!("{topic}/0/0");
    let (code, said) = house.verb(&["lineage", "record", &place, "-o", "json"]);
    assert_eq!(code, Some(0), "{said}");
    let said: Value = serde_json::from_str(&said).unwrap();
    let replaced = said["found"].as_array().unwrap().iter().map(|found| {
        let places = found["places"].as_array().unwrap().iter();
        let here = places.clone().find(|place| place["topic"] == *topic).unwrap();
        // In another topic, such as that of its contributions, it is where it was.
        assert!(places.filter(|place| place["topic"] != *topic).all(|p| p["replaced"] == false));
        let id = format!("{}-{}", found["request"].as_str().unwrap(), found["index"]);
        (json!(id), here["replaced"].as_bool().unwrap())
    });
    let mut replaced: Vec<_> = replaced.collect();
    replaced.sort_by_key(|(_, replaced)| !replaced);
    assert_eq!(replaced, [(ids[0].clone(), true), (ids[1].clone(), false)]);
    let (_, said) = house.verb(&["lineage", "record", &place]);
    assert_eq!(said.matches("the topic was created again").count(), 1, "{said}");
}
