//! When a pane is published, with how many messages and of what size, is the same with one subject more, and
//! without any: public rows say nothing by being there.

use std::{collections::BTreeMap, time::Duration};

use sluicegate_tests::{
    dice::Dice,
    releases::{Expected, Message, Sent, Spec, What, expected, judge, now_ms, read},
};

use super::{
    publisher::{Publisher, counted, stream},
    setup::{House, Pipeline, Store},
};

const RELEASED_WITHIN: Duration = Duration::from_secs(40);
/// A gateway looks at the clock a few times a second; the rest is what a busy machine takes.
const LATE_MS: i64 = 3_000;

/// What somebody sees who reads the topic and may not read numbers: of each pane, in the order of the
/// messages, their ids without the pane's and their sizes; and how late the pane came.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    shape: BTreeMap<i64, Vec<(String, usize)>>,
    order: Vec<i64>,
}

fn seen(spec: &Spec, messages: &[Message]) -> (Seen, Vec<i64>) {
    let mut by_position: Vec<(&String, &Message)> =
        messages.iter().map(|message| (&message.position, message)).collect();
    by_position.sort_by_key(|(position, _)| *position);
    let mut shape: BTreeMap<i64, Vec<(String, usize)>> = BTreeMap::new();
    let (mut order, mut late) = (Vec::new(), Vec::new());
    for (_, message) in by_position {
        let said = read(spec, &message.value).unwrap();
        let id = String::from_utf8(message.key.clone()).unwrap();
        let suffix = id.strip_prefix(&said.release_id).unwrap().to_owned();
        let start = said.pane.0;
        if !shape.contains_key(&start) {
            order.push(start);
        }
        shape.entry(start).or_default().push((suffix, message.value.len()));
        late.push(message.t_ms.unwrap() - spec.fires_ms(start, 0));
    }
    (Seen { shape, order }, late)
}

/// The panes that all runs have.
fn common(spec: &Spec, seen: &mut [Seen], from: i64, to: i64) {
    for one in seen {
        one.shape.retain(|start, _| (from..=to).contains(start));
        one.order.retain(|start| (from..=to).contains(start));
        let panes = usize::try_from((to - from) / spec.pane_ms + 1).unwrap();
        assert_eq!(one.order.len(), panes, "{one:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighboring_streams_look_the_same_from_outside() {
    let spec = Spec::counting("ward-totals");
    let mut houses = Vec::new();
    for _ in 0..3 {
        let house = House::new(Store::Sqlite, Pipeline::Embedded, &[&spec]);
        let gateway = house.start(0).await;
        houses.push((house, gateway));
    }
    let from = spec.pane(now_ms()) + 2 * spec.pane_ms;
    let panes: Vec<i64> = (0..4).map(|n| from + n * spec.pane_ms).collect();
    let last = panes[panes.len() - 1];
    let many = stream(&spec, &mut Dice(7), "s", &panes, &[]);
    let mut neighbor = many.clone();
    for pane in &panes {
        neighbor.push(Sent::new("one-more", "west", pane + 1));
        neighbor.push(Sent::new("one-more", "north", pane + 2));
    }
    let streams = [many, neighbor, Vec::new()];
    for ((house, gateway), stream) in houses.iter().zip(&streams) {
        let mut publisher = Publisher::of(house.client("app"), gateway.url(""));
        let answered = publisher.send_all(&spec, stream).await;
        assert_eq!(counted(&spec, &answered).as_ref(), Some(stream), "too slow a machine");
    }
    let (mut all, mut worst) = (Vec::new(), 0);
    for ((house, gateway), stream) in houses.into_iter().zip(&streams) {
        assert!(house.published(&spec, last, RELEASED_WITHIN).await, "{}", gateway.stderr());
        assert_eq!(gateway.stop().await, Some(0));
        let evidence = house.evidence(&spec).await;
        let panes = Expected::exactly(expected(&spec, stream));
        let (wrong, _) = judge(&spec, &panes, &evidence, last);
        assert!(wrong.is_empty(), "{wrong:#?}");
        let (seen, late) = seen(&spec, &evidence.messages);
        assert!(late.iter().all(|ms| *ms >= 0), "published before its time: {late:?}");
        worst = worst.max(late.into_iter().max().unwrap());
        all.push(seen);
    }
    assert!(worst < LATE_MS, "published {worst} ms late");
    common(&spec, &mut all, from, last);
    assert_eq!(all[0], all[1], "one subject more shows");
    assert_eq!(all[0], all[2], "subjects show");
}

/// The comparison above sees what it should: another number of messages, another size, another order.
#[test]
fn what_differs_is_seen() {
    let spec = Spec::counting("r");
    let row = |start: i64, number: usize, pad: usize| Message {
        partition: 0,
        offset: 0,
        t_ms: Some(spec.fires_ms(start, 0) + 5),
        key: format!("{start:032x}-{number}").into_bytes(),
        value: format!(
            "{{\"type\":\"row\",\"release\":\"r\",\"release_id\":\"{start:032x}\",\"row\":{number},\
             \"revision\":0,\"key\":\"north\",\"window\":{{\"start_ms\":{start},\"end_ms\":{}}},\
             \"values\":{{\"subjects\":1,\"count\":{:pad$}1}}}}",
            start + 1_000,
            ""
        )
        .into_bytes(),
        position: format!("{start:08}{number}"),
    };
    let base = [row(0, 0, 1), row(0, 1, 1), row(1_000, 0, 1)];
    assert!(matches!(read(&spec, &base[0].value).unwrap().what, What::Row { .. }));
    let of = |messages: &[Message]| seen(&spec, messages).0;
    assert_eq!(of(&base), of(&[base[2].clone(), base[0].clone(), base[1].clone()]));
    assert_ne!(of(&base), of(&base[..2]), "fewer panes");
    assert_ne!(of(&base), of(&base[1..]), "fewer messages");
    assert_ne!(
        of(&base),
        of(&[row(0, 0, 2), base[1].clone(), base[2].clone()]),
        "a longer message"
    );
    let mut swapped = base.to_vec();
    swapped[2].position = "0".to_owned();
    assert_ne!(of(&base), of(&swapped), "another order");
}
