//! What is kept of a subject: as the model says, on its own records alone, and never too much.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use sluicegate_policies::release::{Choose, ChooseWindows, Keys, Late, ReleasePlan, What};

use super::{
    model,
    scene::{ANY, CLAMP, Entry, Pick, SHAPES, SUBJECTS, Scene, Step, assaults, plan_of, scenes},
    *,
};

/// Replaces what the record's place in its stretch between cutoffs is.
fn shuffled(scene: &Scene, seed: u64) -> Scene {
    let mut out = scene.clone();
    for part in out.steps.split_mut(|step| !matches!(step, Step::Record(_))) {
        part.sort_by_key(|step| match step {
            Step::Record(entry) => {
                *blake3::hash(&[seed, u64::from(entry.number)].map(u64::to_be_bytes).concat())
                    .as_bytes()
            }
            Step::Close { .. } | Step::Forget { .. } => [0; 32],
        });
    }
    out
}

/// Some records again, each at some later place in the log.
fn repeated(scene: &Scene, seed: u64) -> Scene {
    let mut steps = scene.steps.clone();
    for step in &scene.steps {
        let Step::Record(entry) = step else { continue };
        let chance = blake3::hash(&[seed, u64::from(entry.number)].map(u64::to_be_bytes).concat());
        let [often, far, ..] = *chance.as_bytes();
        let is_this = |step: &Step| matches!(step, Step::Record(e) if e.number == entry.number);
        let from = steps.iter().position(is_this).unwrap() + 1;
        if often % 2 == 0 {
            let to = from + usize::from(far) * (steps.len() - from) / 255;
            steps.insert(to, step.clone());
        }
    }
    Scene { steps, ..scene.clone() }
}

/// Order does not matter to these plans.
const BY_HASH: Pick = Pick {
    records: true,
    settle: |panes, plan| {
        plan.bounds.choose = Choose::Hash;
        if plan.bounds.choose_windows == ChooseWindows::First {
            plan.bounds.windows_per_period = panes;
        }
    },
};

proptest! {
    #![proptest_config(Config::with_cases(144))]

    #[test]
    fn the_engine_does_what_the_model_does(scene in scenes(ANY, 60)) {
        prop_assert_eq!(engine(&scene), scene.model(&scene.plan));
    }

    #[test]
    fn what_a_subject_contributes_depends_on_its_own_records(
        scene in scenes(ANY, 60), subject in 0..SUBJECTS,
    ) {
        let (all, others) = (engine(&scene), engine(&scene.only(|s| s != subject)));
        let alone = engine(&scene.only(|s| s == subject));
        for ((all, mut others), alone) in all.into_iter().zip(others).zip(alone) {
            for (key, row) in alone.2 {
                let sum = others.2.entry(key).or_insert_with(|| vec![0; row.len()]);
                sum.iter_mut().zip(row).for_each(|(sum, more)| *sum += more);
            }
            prop_assert_eq!(all, others);
        }
    }

    #[test]
    fn no_subject_counts_for_more_than_its_bounds(scene in assaults(150)) {
        prop_assert_eq!(exceeded(&scene, &engine(&scene)), None);
    }

    /// What was in flight when a gateway died may arrive after it was sent again.
    #[test]
    fn a_record_that_comes_twice_counts_once(scene in scenes(ANY, 60), seed in any::<u64>()) {
        prop_assert_eq!(engine(&scene), engine(&repeated(&scene, seed)));
    }

    #[test]
    fn by_hash_the_order_between_cuts_does_not_matter(
        scene in scenes(BY_HASH, 60), seed in any::<u64>(),
    ) {
        prop_assert_eq!(engine(&scene), engine(&shuffled(&scene, seed)));
    }
}

/// Which bound the only subject of a scene has broken.
fn exceeded(scene: &Scene, closed: &Closed) -> Option<String> {
    let bounds = &scene.plan.bounds;
    let most = i64::from(bounds.records_per_key);
    let widest = CLAMP.start().abs().max(*CLAMP.end());
    let mut panes: BTreeMap<_, BTreeSet<i64>> = BTreeMap::new();
    for (start_ms, revision, rows) in closed.iter().filter(|(_, _, rows)| !rows.is_empty()) {
        let period = scene.shape().periods.containing(*start_ms).expect("was walked");
        panes.entry((period, *revision)).or_default().insert(*start_ms);
        if rows.len() > bounds.keys_per_window as usize {
            return Some(format!("{} keys in the pane {start_ms}", rows.len()));
        }
        for (key, row) in rows {
            for (total, output) in row.iter().zip(&scene.plan.outputs) {
                let limit = match output.what {
                    What::Subjects => 1,
                    What::Count => most,
                    What::Sum { .. } => most * widest,
                };
                if total.abs() > limit {
                    return Some(format!("{} of {key} is {total}", output.name));
                }
            }
        }
    }
    let limit = bounds.windows_per_period as usize;
    panes.iter().find(|(_, panes)| panes.len() > limit).map(|(period, panes)| {
        format!("{} panes of the period {period:?}, not {limit}", panes.len())
    })
}

/// A rule that is wrong.
type Mutant = (&'static str, fn(&mut ReleasePlan));

/// Each is what an engine would do that had forgotten something.
const MUTANTS: [Mutant; 11] = [
    ("K ignored", |plan| {
        plan.bounds.choose_windows = ChooseWindows::First;
        plan.bounds.windows_per_period = u32::MAX;
    }),
    ("K one more", |plan| plan.bounds.windows_per_period += 1),
    ("L0 ignored", |plan| plan.bounds.keys_per_window = u32::MAX),
    ("r ignored", |plan| plan.bounds.records_per_key = u32::MAX),
    ("first instead of hash", |plan| plan.bounds.choose = Choose::First),
    ("hash instead of first", |plan| plan.bounds.choose = Choose::Hash),
    ("late a moment later", |plan| plan.schedule.lateness_ms += 1),
    ("late a moment earlier", |plan| plan.schedule.lateness_ms -= 1),
    ("no limit of skew", |plan| plan.schedule.max_skew_ms = i64::MAX / 4),
    ("late records dropped", |plan| {
        if plan.schedule.late == Late::AssignToOpen {
            plan.schedule.late = Late::Drop;
        }
    }),
    ("keys that are not there", |plan| {
        if let Keys::Public { .. } = plan.keys {
            plan.keys = crate::testing::unknown(1, None);
        }
    }),
];

/// The same scenes each time.
fn drawn<S: Strategy>(strategy: &S, count: usize) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

#[test]
fn the_comparison_sees_rules_that_are_wrong() {
    let scenes = drawn(&scenes(ANY, 60), 120);
    let ours: Vec<Closed> = scenes.iter().map(engine).collect();
    let differ = |mutant: fn(&mut ReleasePlan)| {
        let differs = |(scene, closed): &(&Scene, &Closed)| {
            let mut plan = scene.plan.clone();
            mutant(&mut plan);
            plan != scene.plan && scene.model(&plan) != **closed
        };
        scenes.iter().zip(&ours).filter(differs).count()
    };
    for (name, mutant) in MUTANTS {
        let seen = differ(mutant);
        assert!(seen >= 3, "{name}: {seen}");
    }
}

#[test]
fn the_bounds_see_an_engine_without_them() {
    for (name, mutant) in &MUTANTS[..4] {
        let exceeds = |scene: &Scene| {
            let mut plan = scene.plan.clone();
            mutant(&mut plan);
            exceeded(scene, &scene.model(&plan)).is_some()
        };
        let seen = drawn(&assaults(150), 30).iter().filter(|scene| exceeds(scene)).count();
        assert!(seen >= 3, "{name}: {seen}");
    }
}

#[test]
fn the_comparison_sees_an_order_that_matters() {
    const BY_ORDER: Pick = Pick {
        records: false,
        settle: |panes, plan| {
            (BY_HASH.settle)(panes, plan);
            plan.bounds.choose = Choose::First;
        },
    };
    let scenes = drawn(&scenes(BY_ORDER, 60), 60);
    let moved = scenes.iter().filter(|scene| engine(scene) != engine(&shuffled(scene, 1)));
    assert!(moved.count() >= 3);
}

#[test]
fn a_panel_is_drawn_fairly_and_without_looking_at_records() {
    for shape in [&SHAPES[0], &SHAPES[3]] {
        let mut plan = plan_of(shape);
        plan.bounds.choose_windows = ChooseWindows::Panel;
        plan.bounds.windows_per_period = 3;
        let (start_ms, end_ms) = shape.periods.stretches().nth(1).unwrap();
        let inside = |(start, _): &(i64, i64)| start_ms <= *start && *start < end_ms;
        let panes: Vec<i64> = shape.panes.stretches().filter(inside).map(|(s, _)| s).collect();
        let mut task = task(&plan, ROOMY, Nowhere);
        let subjects = 3_000_u32;
        for n in 0..subjects {
            for &at in &panes {
                let mut contribution = Entry::at(at, at).contribution();
                contribution.subject.0[..4].copy_from_slice(&n.to_be_bytes());
                task.accept(0, contribution).unwrap();
            }
        }
        let seen = panes.iter().map(|&at| task.close(at, 0).unwrap().by_key[""][0]);
        let seen: Vec<i64> = seen.collect();
        assert_eq!(seen.iter().sum::<i64>(), i64::from(3 * subjects));
        let share = 3.0 / panes.len() as f64;
        let mean = f64::from(subjects) * share;
        let deviation = (mean * (1.0 - share)).sqrt();
        assert!(seen.iter().all(|n| (*n as f64 - mean).abs() < 5.0 * deviation), "{seen:?}");
    }
}

/// From one to all panes of a period, in calendars whose days are not all as long.
#[test]
fn windows_per_period_bounds_whatever_the_calendar() {
    for shape in SHAPES.iter() {
        let Some((start_ms, end_ms)) = shape.periods.stretches().nth(1) else { continue };
        let inside = |(start, _): &(i64, i64)| start_ms <= *start && *start < end_ms;
        let panes: Vec<i64> = shape.panes.stretches().filter(inside).map(|(s, _)| s).collect();
        for k in 1..=u32::try_from(panes.len()).unwrap() {
            let mut plan = plan_of(shape);
            plan.bounds.windows_per_period = k;
            let mut task = task(&plan, ROOMY, Nowhere);
            for &at in &panes {
                task.accept(0, Entry::at(at, at).contribution()).unwrap();
            }
            let counted = |at: &&i64| !task.close(**at, 0).unwrap().by_key.is_empty();
            assert_eq!(
                panes.iter().filter(counted).count(),
                k as usize,
                "{:?}",
                plan.schedule.pane
            );
        }
    }
}

#[test]
fn the_model_finds_the_panel_of_everyone() {
    let mut plan = plan_of(&SHAPES[0]);
    plan.bounds.choose_windows = ChooseWindows::Panel;
    plan.bounds.windows_per_period = 3;
    let panes = &SHAPES[0].panes;
    assert_eq!(model::panel(&plan, panes, 2).len(), 2 * 3 * (panes.0.len() - 1) / 4);
}
