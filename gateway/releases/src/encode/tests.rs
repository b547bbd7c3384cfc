use proptest::prelude::*;
use sluicegate_policies::release::{Smoothing, Zone};

use super::*;
use crate::{
    smooth::smooth,
    testing::{self, HOUR_MS, dyadic, hour, noisy},
};

const POLICY: BundleDigest = BundleDigest([0xab; 32]);

fn plain(plan: &ReleasePlan, pane: PaneId, noisy: &Noisy) -> Vec<Message> {
    messages(plan, pane, noisy, &PaneHistory::default(), None, POLICY)
}

fn utf8(message: &Message) -> (&str, &str) {
    (std::str::from_utf8(&message.key).unwrap(), std::str::from_utf8(&message.value).unwrap())
}

fn parsed(message: &Message) -> Value {
    serde_json::from_slice(&message.value).unwrap()
}

#[test]
fn a_pane_as_it_is_published() {
    let mut plan = testing::plan();
    plan.keys = testing::public(&["DE", "FR \"north\""]);
    let rows = noisy(&[("DE", &[12, -3, 123_456]), ("FR \"north\"", &[0, 7, -5])]);
    let sent = plain(&plan, hour(483_000), &rows);
    let (key, value) = utf8(&sent[1]);
    let id = ReleaseId::new("orders-hourly", hour(483_000));
    assert_eq!(key, format!("{}-1", id.as_str()));
    let expected = [
        r#"{"type":"row","release":"orders-hourly","release_id":"ID","id":"ID-1","#,
        r#""window":{"start":"2025-02-06T00:00:00Z","end":"2025-02-06T01:00:00Z","#,
        r#""start_ms":1738800000000,"end_ms":1738803600000},"revision":0,"row":1,"#,
        r#""key":"FR \"north\"","values":{"subjects":                   0,"#,
        r#""count":                   7,"amount":                -0.05},"#,
        r#""mechanism":{"subjects":"discrete-laplace scale=4","#,
        r#""count":"discrete-laplace scale=12.5","amount":"discrete-laplace scale=2000"},"#,
        r#""error95":{"subjects":12,"count":38,"amount":59.92},"#,
        r#""unit":"subject user.id per 24h","epsilon":0.58,"delta":0.000000001,"#,
        r#""accounting":{"kind":"pure","nano_epsilon":580000000},"#,
        r#""promise":{"epsilon":1.0,"delta":0.000000001},"policy":"b3:POLICY"}"#,
    ];
    let expected = expected.concat().replace("ID", id.as_str()).replace("POLICY", &"ab".repeat(32));
    assert_eq!(value, expected);

    let (key, value) = utf8(&sent[2]);
    assert_eq!(key, format!("{}-end", id.as_str()));
    assert!(value.starts_with(r#"{"type":"window","release":"orders-hourly","#), "{value}");
    assert_eq!(parsed(&sent[2])["rows"].to_string(), "2");
}

#[test]
fn an_empty_pane_is_an_end_alone() {
    let mut plan = testing::plan();
    plan.keys = testing::unknown(10, None);
    let sent = plain(&plan, hour(1), &noisy(&[]));
    assert_eq!(sent.len(), 1);
    assert_eq!(decode(&plan, &sent[0].value), Ok(Decoded::End { pane: hour(1), rows: 0 }));
}

#[test]
fn zcdp_says_rho_and_what_it_is_in_epsilon() {
    let mut plan = testing::plan();
    plan.accounting = Accounting::Zcdp;
    plan.outputs[0].noise = Noise::Gaussian { sigma: dyadic(215, 8) };
    let message = parsed(&plain(&plan, hour(1), &noisy(&[("", &[1, 2, 3])]))[0]);
    assert_eq!(message["accounting"].to_string(), r#"{"kind":"zcdp","nano_rho":580000000}"#);
    assert_eq!(message["mechanism"]["subjects"], "discrete-gaussian sigma=26.875");
    assert_eq!(message["error95"]["subjects"].to_string(), "53");
    assert_eq!(
        message["delta"].to_string(),
        "0.000000002",
        "of the threshold and of the conversion"
    );
}

#[test]
fn the_id_is_of_name_and_pane_alone() {
    let id = |name: &str, pane| ReleaseId::new(name, pane).as_str().to_owned();
    let base = id("a", hour(1));
    assert_eq!(base, "9b46742af892c8ca5490cd06e760129a", "frozen");
    let moved = PaneId { start_ms: 0, ..hour(1) };
    let longer = PaneId { end_ms: 3 * HOUR_MS, ..hour(1) };
    let revised = PaneId { revision: 1, ..hour(1) };
    for other in [id("b", hour(1)), id("a", moved), id("a", longer), id("a", revised)] {
        assert_ne!(other, base);
    }

    let (plan, mut changed) = (testing::plan(), testing::plan());
    changed.digest = [8; 32];
    changed.outputs = changed.outputs[..1].into();
    let keys = |plan, values| {
        let sent = plain(plan, hour(1), &noisy(&[("", values)]));
        sent.into_iter().map(|m| m.key).collect::<Vec<_>>()
    };
    assert_eq!(keys(&plan, &[1, 2, 3]), keys(&changed, &[1]));
}

/// The promise that lengths say nothing, over the whole range of numbers.
#[test]
fn with_fixed_keys_the_length_does_not_depend_on_the_numbers() {
    let mut plan = testing::plan();
    plan.keys = testing::public(&["DE", "FR"]);
    plan.schedule.panes_per_window = 2;
    plan.smoothing = Some(Smoothing { numerator: 1, denominator: 2 });
    let lengths = |before: i64, now: i64| {
        let earlier = noisy(&[("DE", &[before; 3]), ("FR", &[before; 3])]);
        let rows = noisy(&[("DE", &[now; 3]), ("FR", &[now; 3])]);
        let history = PaneHistory { panes: [(hour(0), earlier.clone())].into() };
        let halves = plan.smoothing.unwrap();
        let smoothed = smooth(halves, Some(&smooth(halves, None, &earlier)), &rows);
        let sent = messages(&plan, hour(1), &rows, &history, Some(&smoothed), POLICY);
        sent.iter().map(|m| m.value.len()).collect::<Vec<_>>()
    };
    let zero = lengths(0, 0);
    for (before, now) in [
        (1, -1),
        (i64::MIN, i64::MIN),
        (i64::MAX, i64::MAX),
        (i64::MIN, i64::MAX),
        (-99_999, 1_000_000_000_000),
    ] {
        assert_eq!(lengths(before, now), zero, "{before} {now}");
    }
}

#[test]
fn a_hopping_window_is_the_sum_of_its_panes() {
    let mut plan = testing::plan();
    plan.keys = testing::unknown(10, None);
    plan.schedule.panes_per_window = 3;
    let first = PaneId { revision: 1, ..hour(5) };
    let mut history = PaneHistory {
        panes: [
            (hour(4), noisy(&[("too-old", &[1, 1, 1])])),
            (hour(5), noisy(&[("first-release", &[9, 9, 9])])),
            (first, noisy(&[("a", &[10, 20, 30]), ("b", &[11, 1, 1])])),
            (hour(6), noisy(&[("a", &[12, 2, 3])])),
        ]
        .into(),
    };
    let now = noisy(&[("a", &[100, 200, 300]), ("c", &[13, 0, -1])]);
    let sent = messages(&plan, hour(7), &now, &history, None, POLICY);
    let rows: Vec<_> = sent.iter().map(|m| decode(&plan, &m.value).unwrap()).collect();
    let expected = [
        ("a", Some(vec![100, 200, 300]), vec![122, 222, 333]),
        ("c", Some(vec![13, 0, -1]), vec![13, 0, -1]),
        ("b", None, vec![11, 1, 1]),
    ];
    assert_eq!(rows.len(), 4);
    for (number, (row, (key, values, hopping))) in rows.into_iter().zip(expected).enumerate() {
        let Decoded::Row(row) = row else { panic!("an end too early") };
        assert_eq!((row.number, &*row.key), (number, key));
        assert_eq!((row.values, row.hopping), (values, Some(hopping)));
    }
    let message = parsed(&sent[0]);
    assert_eq!(message["hopping"]["panes_with_key"].to_string(), "3");
    assert_eq!(message["hopping"]["start_ms"].to_string(), (5 * HOUR_MS).to_string());
    assert_eq!(message["values"]["amount"].to_string(), "3.00");
    assert_eq!(message["hopping"]["values"]["amount"].to_string(), "3.33");

    history.panes.remove(&hour(6));
    let sent = messages(&plan, hour(7), &now, &history, None, POLICY);
    assert_eq!(sent.len(), 3, "without its panes a window has no rows of theirs");
    for message in &sent {
        let hopping = parsed(message)["hopping"].to_string();
        assert_eq!(hopping, r#"{"panes":3,"complete":false}"#);
    }
}

#[test]
fn smoothed_values_stand_beside_the_released_ones() {
    let plan = testing::plan();
    let quarter = Smoothing { numerator: 1, denominator: 4 };
    let first = noisy(&[("", &[100, 10, 100])]);
    let before = smooth(quarter, None, &first);
    let smoothed = smooth(quarter, Some(&before), &noisy(&[("", &[101, 0, 105])]));
    let sent = messages(&plan, hour(1), &first, &PaneHistory::default(), Some(&smoothed), POLICY);
    let row = parsed(&sent[0])["smoothed"].to_string();
    assert_eq!(row, r#"{"subjects":100.250,"count":7.500,"amount":1.01250}"#);
}

#[test]
fn a_pane_reads_back_from_its_bytes() {
    let mut plan = testing::plan();
    plan.keys = testing::unknown(10, None);
    plan.schedule.panes_per_window = 2;
    let before = noisy(&[("gone", &[50, 5, 5])]);
    let rows = noisy(&[("ä\n\u{1}", &[i64::MIN, i64::MAX, -5]), ("b", &[0, 1, 2])]);
    let smoothed = smooth(Smoothing { numerator: 1, denominator: 2 }, None, &rows);
    let history = PaneHistory { panes: [(hour(8), before)].into() };
    let sent = messages(&plan, hour(9), &rows, &history, Some(&smoothed), POLICY);
    let bytes = || sent.iter().map(|m| m.value.as_slice());
    assert_eq!(read_back(&plan, bytes()), Ok((hour(9), rows, smoothed)));

    let not_a_pane = Err(DecodeError::NotAPane);
    assert_eq!(read_back(&plan, bytes().skip(1)), not_a_pane, "first row missing");
    assert_eq!(read_back(&plan, bytes().take(3)), not_a_pane, "end missing");
    assert_eq!(read_back(&plan, bytes().chain(bytes())), not_a_pane, "twice");
    assert_eq!(read_back(&plan, []), not_a_pane);

    let mut renamed = plan.clone();
    renamed.name = "other".into();
    assert_eq!(read_back(&renamed, bytes()), Err(DecodeError::OtherRelease));
}

#[test]
fn what_is_not_a_message_is_an_error() {
    let plan = testing::plan();
    let sent = plain(&plan, hour(1), &noisy(&[("", &[1, 2, 3])]));
    let good = utf8(&sent[0]).1;
    for (from, to, error) in [
        ("{\"type\"", "\"type\"", DecodeError::NotJson),
        ("\"row\",", "\"other\",", DecodeError::Member("type")),
        ("\"window\":{", "\"other\":{", DecodeError::Member("window")),
        ("\"revision\":0", "\"revision\":1", DecodeError::OtherRelease),
        ("\"revision\":0", "\"revision\":-1", DecodeError::Member("revision")),
        ("\"row\":0", "\"row\":0.5", DecodeError::Member("row")),
        ("\"count\":", "\"counts\":", DecodeError::Member("values")),
        (" 0.03}", " 0.3}", DecodeError::Member("values")),
        (" 0.03}", " 3e9}", DecodeError::Member("values")),
        (" 0.03}", " 99999999999999999999.99}", DecodeError::Member("values")),
        ("\"values\":{", "\"values\":[{", DecodeError::NotJson),
    ] {
        assert!(good.contains(from), "{from}");
        let bad = good.replacen(from, to, 1);
        assert_eq!(decode(&plan, bad.as_bytes()), Err(error), "{to}");
    }
}

#[test]
fn units_in_words() {
    let mut plan = testing::plan();
    for (calendar, words) in [
        (Calendar::Fixed { size_ms: 90 * 60_000, offset_ms: 0 }, "subject user.id per 90m"),
        (Calendar::Fixed { size_ms: 1_500, offset_ms: 0 }, "subject user.id per 1500ms"),
        (
            Calendar::days(1, Zone("Europe/Berlin".into())),
            "subject user.id per day in Europe/Berlin",
        ),
        (Calendar::days(7, Zone("UTC".into())), "subject user.id per 7 days in UTC"),
    ] {
        if let Unit::Subject(subject) = &mut plan.unit {
            subject.period = calendar;
        }
        assert_eq!(unit(&plan.unit), words);
    }
    assert_eq!(unit(&Unit::Record), "record");
}

#[test]
fn instants() {
    for (ms, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_400_000, "2000-02-29T00:00:00Z"),
        (1_735_689_599_999, "2024-12-31T23:59:59.999Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
    ] {
        assert_eq!(rfc3339(ms), text);
    }
    rfc3339(i64::MAX);
    rfc3339(i64::MIN);
}

#[test]
fn decimals_exactly() {
    for (digits, places, text) in
        [(0, 0, "0"), (-5, 0, "-5"), (5, 2, "0.05"), (-1_234, 3, "-1.234"), (-1, 40, "")]
    {
        let got = decimal(digits, places);
        if places < 40 {
            assert_eq!(got, text);
        }
        assert_eq!(super::digits(&got, places), Some(digits));
    }
    assert_eq!(dyadic_text(1), "0.00000095367431640625");
    assert_eq!(dyadic_text((1 << 53) - 1), "8589934591.99999904632568359375");
    assert_eq!(dyadic_text(3 << 19), "1.5");
}

fn dyadic_text(n: u64) -> String {
    super::dyadic(Dyadic(n))
}

/// `error95` against the exact tail, summed.
#[test]
fn the_error_is_exceeded_at_most_one_time_in_twenty_and_is_not_idle() {
    for (n, d) in [(1, 4), (1, 1), (25, 2), (1_000, 1)] {
        let s = f64::from(n) / f64::from(d);
        let scale = dyadic(n.try_into().unwrap(), d.try_into().unwrap());
        let laplace = |x: f64| (-x.abs() / s).exp();
        let gaussian = |x: f64| (-x * x / (2.0 * s * s)).exp();
        for (noise, weight) in [
            (Noise::Laplace { scale }, &laplace as &dyn Fn(f64) -> f64),
            (Noise::Gaussian { sigma: scale }, &gaussian),
        ] {
            let e = i32::try_from(error95(noise).unwrap()).unwrap();
            let up_to = |e: i32| (-e..=e).map(|x| weight(f64::from(x))).sum::<f64>();
            let total = up_to(40_000);
            assert!(1.0 - up_to(e) / total <= 0.05, "{noise:?}: {e}");
            assert!(e < 2 || 1.0 - up_to(e - 2) / total > 0.05, "{noise:?}: {e} is too wide");
        }
    }
}

proptest! {
    #[test]
    fn decode_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&testing::plan(), &bytes);
    }

    #[test]
    fn decode_is_total_near_a_message(at in 0_usize..2_000, byte in any::<u8>(), cut in 0_usize..2_000) {
        let plan = testing::plan();
        let mut value = plain(&plan, hour(1), &noisy(&[("k", &[1, 2, 3])])).remove(0).value;
        if let Some(there) = value.get_mut(at) {
            *there = byte;
        }
        let _ = decode(&plan, &value);
        value.truncate(cut);
        let _ = decode(&plan, &value);
    }

    #[test]
    fn every_number_comes_back(values in any::<[i64; 3]>()) {
        let plan = testing::plan();
        let rows = noisy(&[("", &values)]);
        let sent = plain(&plan, hour(1), &rows);
        let back = read_back(&plan, sent.iter().map(|m| m.value.as_slice())).unwrap();
        prop_assert_eq!(back.1, rows);
    }
}
