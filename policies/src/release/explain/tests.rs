use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    plan::{Decimal, FieldPath, Normalizer, Part, RuleName},
    release::{
        calendar::Zone,
        plan::{Bounds, Choose, Cost, Late, MissingSubject, Promise, Schedule, Smoothing},
        privacy::{Declared, KeyKind, Share, derive},
    },
};

fn path(written: &str) -> FieldPath {
    FieldPath { part: Part::Value, steps: Box::new([]), written: written.into() }
}

fn shop_outputs() -> Vec<(What, Share)> {
    let amount = What::Sum { path: path("amount"), scale: 2, lo: 0, hi: 50_000 };
    vec![(What::Subjects, Share(500_000)), (What::Count, Share(250_000)), (amount, Share(250_000))]
}

const BOUNDS: Bounds = Bounds {
    windows_per_period: 10,
    choose_windows: ChooseWindows::First,
    keys_per_window: 2,
    records_per_key: 3,
    choose: Choose::Hash,
};

fn shop_declared(outputs: &[(What, Share)]) -> Declared<'_> {
    Declared {
        accounting: Accounting::Zcdp,
        epsilon: Decimal { digits: 4, scale: 0 },
        delta_atto: 1_000_000_000,
        panes_charged: 10,
        repeats: 1,
        bounds: BOUNDS,
        keys: KeyKind::Unknown { raw_floor: Some(20), noisy_floor: None },
        outputs,
    }
}

/// Orders by category, five minutes a pane.
fn shop() -> ReleasePlan {
    let declared_outputs = shop_outputs();
    let declared = shop_declared(&declared_outputs);
    let derived = derive(&declared).expect("affordable");
    let names = ["subjects", "count", "turnover"];
    let outputs = names.into_iter().zip(&declared_outputs).zip(&derived.outputs);
    ReleasePlan {
        name: RuleName::from("orders-by-category"),
        dataset: "orders".into(),
        region: "eu".into(),
        topic: "orders.by-category".into(),
        unit: Unit::Subject(SubjectUnit {
            path: path("customer.id"),
            normalizer: Normalizer::ExactV1,
            domain: "customers".into(),
            key: "releases".into(),
            period: Calendar::days(1, Zone("Europe/Berlin".into())),
            missing: MissingSubject::Drop,
        }),
        schedule: Schedule {
            pane: Calendar::Fixed { size_ms: 300_000, offset_ms: 0 },
            panes_per_window: 1,
            lateness_ms: 30_000,
            max_skew_ms: 5_000,
            late: Late::Drop,
            slack_ms: 1_000,
        },
        bounds: BOUNDS,
        keys: Keys::Unknown {
            path: path("category"),
            max_bytes: 64,
            threshold: derived.threshold.expect("T"),
            raw_floor: Some(20),
        },
        outputs: outputs
            .map(|((name, (what, _)), derived)| Output {
                name: name.into(),
                what: what.clone(),
                noise: derived.noise,
                sensitivity: derived.sensitivity,
                cost: derived.cost,
            })
            .collect(),
        smoothing: None,
        accounting: declared.accounting,
        cost: derived.cost,
        cap: Cost { loss: derived.budget.loss * 2, delta: derived.budget.delta * 2 },
        promise: Promise {
            epsilon: declared.epsilon,
            delta_atto: declared.delta_atto,
            pane_epsilon_nano: derived.pane_epsilon_nano,
        },
        digest: [0; 32],
    }
}

fn crowd(records: u64, subjects: u64) -> Crowd {
    Crowd { records, subjects }
}

fn volume() -> Expected {
    Expected {
        records_per_pane: 30_000,
        subjects_per_pane: 10_000,
        keys_per_pane: Some(20),
        records_per_subject: Some([crowd(1, 6_000), crowd(2, 2_000), crowd(10, 2_000)].into()),
        panes_per_subject: Some(16),
    }
}

/// What a person has to be told before relying on a release; each of these names what is missing.
fn untold(text: &str, plan: &ReleasePlan) -> Vec<&'static str> {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut missing = Vec::new();
    let mut must = |what, holds: bool| {
        if !holds {
            missing.push(what);
        }
    };
    match &plan.unit {
        Unit::Subject(unit) => {
            must("whom", flat.contains(&format!("each value of `{}`", unit.path.written)));
            must("for how long", flat.contains(&super::text::calendar(&unit.period)));
            must("a period's cost", flat.contains("One period of"));
            must("30 days", flat.contains("30 days: at most epsilon"));
            must("a life", flat.contains("without end"));
            must("households", flat.contains("household"));
            must("several identifiers", flat.contains("several values of"));
        }
        Unit::Record => {
            must("not persons", flat.contains("NOT persons"));
            must("30 days", flat.contains("nothing bounds that in a day, 30 days or a lifetime"));
            must("no subjects", !flat.contains("subjects is") && !flat.contains("One period"));
        }
    }
    must("a pane's cost", flat.contains("One pane: epsilon"));
    if let Keys::Unknown { threshold, .. } = &plan.keys {
        must("T", flat.contains(&format!("is at least {threshold}:")));
        must("key names", flat.contains("word for word"));
    }
    for output in &plan.outputs {
        let error = flat.split(&format!("`{}` (", output.name)).nth(1);
        must("an error", error.is_some_and(|rest| rest.contains("95 times out of 100")));
    }
    must("bias", flat.contains("What is missing before any noise"));
    must("the same topic", flat.contains("can subtract"));
    must("other datasets", flat.contains("Other datasets"));
    must("timing", flat.contains("shares its machine"));
    missing
}

#[test]
fn the_shop_in_words() {
    let text = explain(&shop(), Some(&volume()), &[]).to_string();
    assert_eq!(text, include_str!("shop.txt"), "\n{text}");
}

#[test]
fn everything_that_must_be_said_is_said() {
    let none = MissingSubject::AsOneSubject;
    let mut plans = vec![shop()];
    let mut change = |change: &dyn Fn(&mut ReleasePlan)| {
        let mut plan = shop();
        change(&mut plan);
        plans.push(plan);
    };
    change(&|plan| plan.unit = Unit::Record);
    change(&|plan| plan.keys = Keys::Whole);
    change(&|plan| {
        let values = [Arc::from("books"), Arc::from("toys")];
        plan.keys = Keys::Public { path: path("category"), values: values.into() };
    });
    change(&|plan| plan.schedule.panes_per_window = 12);
    change(&|plan| plan.schedule.late = Late::Revise { max: 2, after_ms: 60_000 });
    change(&|plan| plan.bounds.choose_windows = ChooseWindows::Panel);
    change(&|plan| plan.smoothing = Some(Smoothing { numerator: 1, denominator: 4 }));
    change(&|plan| {
        let Unit::Subject(unit) = &mut plan.unit else { return };
        unit.missing = none;
    });
    for plan in plans {
        for expected in [None, Some(&volume())] {
            let explained = explain(&plan, expected, &[]);
            assert_eq!(untold(&explained.to_string(), &plan), Vec::<&str>::new());
            assert!(serde_json::to_string(&explained).is_ok());
        }
    }
}

/// The check above can fail: each part left out is missed.
#[test]
fn what_is_left_out_is_missed() {
    let plan = shop();
    type Mutant = (&'static str, fn(&mut Explained));
    let mutants: [Mutant; 5] = [
        ("households", |e| e.unprotected.clear()),
        ("T", |e| e.rows = Rows::Whole),
        ("an error", |e| e.outputs.truncate(2)),
        ("30 days", |e| e.cost.thirty_days_epsilon = None),
        ("whom", |e| e.protects = Protects::Record),
    ];
    for (expected, mutate) in mutants {
        let mut explained = explain(&plan, None, &[]);
        mutate(&mut explained);
        let missing = untold(&explained.to_string(), &plan);
        assert!(missing.contains(&expected), "{expected}: {missing:?}");
    }
}

#[test]
fn costs_are_those_of_the_plan_and_grow_with_time() {
    let plan = shop();
    let cost = explain(&plan, None, &[]).cost;
    assert!(cost.pane_epsilon <= cost.period_epsilon);
    assert!((3.99..=4.0).contains(&cost.period_epsilon), "{cost:?}");
    assert_eq!(cost.day_epsilon, Some(cost.period_epsilon));
    let month = cost.thirty_days_epsilon.expect("a subject");
    assert!((month / cost.period_epsilon - 30.0).abs() < 1e-6);
    assert_eq!(cost.percent_of_cap, 50);
}

#[test]
fn a_stretch_touches_every_period_it_can() {
    let hours = |n: i64| Calendar::Fixed { size_ms: n * 3_600_000, offset_ms: 0 };
    assert_eq!(periods_in(&hours(24), 1), 1);
    assert_eq!(periods_in(&hours(24), 30), 30);
    assert_eq!(periods_in(&hours(1), 1), 24);
    assert_eq!(periods_in(&hours(168), 1), 1);
    // Thirty days may begin and end within a week: 1 + 28 + 1.
    assert_eq!(periods_in(&hours(168), 30), 6);
    assert_eq!(periods_in(&hours(36), 1), 2);
}

#[test]
fn bias_is_a_figure_where_volumes_are_given() {
    let plan = shop();
    let bias = |expected: &Expected| explain(&plan, Some(expected), &[]).bias;
    let given = bias(&volume());
    // 2,000 subjects with 10 records: 6 can be kept of each, or 3 if they have one key.
    assert_eq!(given.records_lost_at_least, Some(100.0 * 8_000.0 / 30_000.0));
    assert_eq!(given.records_lost_at_most, Some(100.0 * 14_000.0 / 30_000.0));
    assert_eq!(given.panes_lost, Some(37.5));

    // The mean alone says less, never more.
    let mean = bias(&Expected { records_per_subject: None, ..volume() });
    assert_eq!((mean.records_lost_at_least, mean.records_lost_at_most), (Some(0.0), None));
    let heavy = Expected { records_per_pane: 120_000, records_per_subject: None, ..volume() };
    assert_eq!(bias(&heavy).records_lost_at_least, Some(50.0));
    assert_eq!(explain(&plan, None, &[]).bias.records_lost_at_least, None);

    // A panel is drawn in advance: its loss needs no volume.
    let mut panel = shop();
    panel.bounds.choose_windows = ChooseWindows::Panel;
    let lost = explain(&panel, None, &[]).bias.panes_lost.expect("a panel");
    assert!((lost - 100.0 * 278.0 / 288.0).abs() < 1e-9, "{lost}");
}

#[test]
fn errors_are_in_the_unit_of_the_output_and_add_up_over_a_window() {
    let plan = shop();
    let one = explain(&plan, Some(&volume()), &[]);
    let mut wide = plan.clone();
    wide.schedule.panes_per_window = 4;
    let four = explain(&wide, Some(&volume()), &[]);
    for (output, (one, four)) in plan.outputs.iter().zip(one.outputs.iter().zip(&four.outputs)) {
        let cents = if one.decimals == 2 { 100.0 } else { 1.0 };
        assert!((one.error_95 * cents - noise_quantile_95(output.noise)).abs() < 1e-6);
        assert!((four.error_95 / one.error_95 - 2.0).abs() < 1e-9);
        // Four times the volume, twice the error.
        let halved = four.relative_percent.zip(one.relative_percent).map(|(f, o)| o / f);
        assert!(halved.is_some_and(|ratio| (ratio - 2.0).abs() < 1e-9), "{halved:?}");
    }
    let nothing = Expected { keys_per_pane: Some(0), ..volume() };
    assert_eq!(explain(&plan, Some(&nothing), &[]).outputs[0].relative_percent, None);
}

#[test]
fn curves_fall_with_epsilon_and_rise_with_windows() {
    let outputs = shop_outputs();
    let declared = shop_declared(&outputs);
    let by_epsilon = error_by_epsilon(&declared, 1, &[0.5, 1.0, 2.0, 4.0, 8.0]);
    let by_windows = error_by_windows(&declared, 1, &[1, 4, 10, 60, 288]);
    let labels: Vec<&str> = by_epsilon.iter().map(|curve| curve.label.as_str()).collect();
    assert_eq!(labels, ["subjects", "count", "sum of amount", "smallest published group"]);
    for (falling, rising) in by_epsilon.iter().zip(&by_windows) {
        assert_eq!((falling.points.len(), rising.points.len()), (5, 5));
        assert!(falling.points.is_sorted_by(|a, b| a.x < b.x && a.y > b.y), "{falling:?}");
        assert!(rising.points.is_sorted_by(|a, b| a.x < b.x && a.y < b.y), "{rising:?}");
        // The declared point is on both.
        assert!(falling.points.contains(&falling.own.expect("affordable")));
        assert_eq!(falling.own.map(|own| own.y), rising.own.map(|own| own.y));
    }
    // What is not affordable has no point.
    let some = error_by_epsilon(&declared, 1, &[-1.0, 0.0, f64::NAN, 1e-6, 1e30, 1.0]);
    assert!(some.iter().all(|curve| curve.points.len() == 1), "{some:?}");
}

/// Shares, floors and hops come back from a plan: the curves go through what `explain` says.
#[test]
fn curves_go_through_what_is_explained() {
    let halves = [(What::Subjects, Share(250_000)), (What::Count, Share(125_000))];
    for (panes, noisy_floor) in [(1, None), (12, None), (1, Some(2_000)), (12, Some(2_000))] {
        let declared = Declared {
            keys: KeyKind::Unknown { raw_floor: None, noisy_floor },
            ..shop_declared(&halves)
        };
        let derived = derive(&declared).expect("affordable");
        let mut plan = shop();
        let threshold = derived.threshold.expect("T");
        plan.keys =
            Keys::Unknown { path: path("category"), max_bytes: 64, threshold, raw_floor: None };
        plan.schedule.panes_per_window = panes;
        plan.cost = derived.cost;
        plan.outputs = plan.outputs.iter().take(2).cloned().collect();
        for (output, derived) in plan.outputs.iter_mut().zip(&derived.outputs) {
            (output.noise, output.cost) = (derived.noise, derived.cost);
        }
        let mut outputs = Vec::new();
        let again = declared_by(&plan, &mut outputs);
        let curves = error_by_windows(&again, panes, &[1, 10]);
        let own: Vec<f64> = curves.iter().filter_map(|curve| Some(curve.own?.y)).collect();
        let said = explain(&plan, None, &[]);
        let Rows::Unknown { smallest_group, .. } = said.rows else { panic!("unknown rows") };
        assert_eq!(own.last().copied(), Some(smallest_group as f64), "{panes} {noisy_floor:?}");
        for (own, said) in own.iter().zip(&said.outputs) {
            // Explained errors are whole numbers, rounded up.
            assert!((0.0..=1.0).contains(&(said.error_95 - own)), "{own} {said:?}");
        }
    }
}

#[test]
fn releases_of_one_dataset_cost_their_sum() {
    let plan = shop();
    let mut other = shop();
    other.name = RuleName::from("orders-by-shop");
    assert_eq!(explain(&plan, None, &[]).cost.together, None);
    let cost = explain(&plan, None, &[&other]).cost;
    let both = cost.together.expect("two releases");
    assert_eq!(both.with, ["orders-by-shop"]);
    // zCDP adds up to less than the sum of both epsilons, and never to less than one.
    assert!(both.period_epsilon > cost.period_epsilon * 1.3);
    assert!(both.period_epsilon < cost.period_epsilon * 2.0);
    assert!(both.period_delta > cost.period_delta && both.period_delta <= cost.period_delta * 2.0);
    let text = explain(&plan, None, &[&other]).to_string();
    assert!(text.contains("For anyone who may also read `orders-by-shop`: in total"), "{text}");

    let mut pure = [plan, other];
    for plan in &mut pure {
        (plan.accounting, plan.cost.loss) = (Accounting::Pure, 100_000_000);
    }
    let both = explain(&pure[0], None, &[&pure[1]]).cost.together.expect("two releases");
    assert_eq!(both.period_epsilon, 2.0, "twice ten panes at 0.1");
}

/// What an author would learn too late: a row too small to appear, and sums of panes.
#[test]
fn small_rows_and_sums_of_panes_are_spoken_of() {
    let mut plan = shop();
    let few = Expected { keys_per_pane: Some(2_000), ..volume() };
    let said = |plan: &ReleasePlan, expected: &Expected| {
        let text = explain(plan, Some(expected), &[]).to_string();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(said(&plan, &few).contains("a row of a pane has 5 subjects"));
    assert!(said(&plan, &few).contains("it is almost never published"));
    assert!(said(&plan, &volume()).contains("it is nearly always published"));
    assert!(!said(&plan, &volume()).contains("panes_with_key"));
    plan.schedule.panes_per_window = 6;
    let hopping = said(&plan, &volume());
    assert!(hopping.contains("distinct subjects of each pane, added up"), "{hopping}");
    assert!(hopping.contains("one that is seen in several counts once in each"), "{hopping}");
    assert!(hopping.contains("`panes_with_key` says in how many"), "{hopping}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn figures_are_rounded_up_and_by_little(value in 1e-9_f64..1e12) {
        let shown: f64 = super::text::up(value).replace(',', "").parse().expect("a number");
        prop_assert!(shown >= value * (1.0 - 1e-11), "{value} shown as {shown}");
        prop_assert!(shown <= value * 1.0101 + 1e-12, "{value} shown as {shown}");
    }
}

/// What begins when is said wherever it is not plain.
#[test]
fn weeks_and_shifts_say_when_they_begin() {
    const HOUR_MS: i64 = 3_600_000;
    let local = |hours: i64, offset: i64| Calendar::Local {
        size_ms: hours * HOUR_MS,
        offset_ms: offset * HOUR_MS,
        zone: Zone("Europe/Berlin".into()),
    };
    let fixed = |hours: i64, offset: i64| Calendar::Fixed {
        size_ms: hours * HOUR_MS,
        offset_ms: offset * HOUR_MS,
    };
    for (calendar, words) in [
        (local(24, 0), "one day in Europe/Berlin"),
        (local(24, 6), "one day in Europe/Berlin, from 06:00"),
        (local(8, 6), "8 hours in Europe/Berlin, from 06:00"),
        (local(168, 96), "7 days in Europe/Berlin, from Monday 00:00"),
        (local(168, 102), "7 days in Europe/Berlin, from Monday 06:00"),
        (fixed(168, 0), "7 days, from Thursday 00:00 UTC"),
        (fixed(24, 6), "1 day"),
    ] {
        assert_eq!(super::text::calendar(&calendar), words);
    }
}
