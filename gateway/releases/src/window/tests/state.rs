//! The state behind the totals: made again from the log, put on disk, lost.

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use sluicegate_policies::release::{ChooseWindows, Late};

use super::{
    scene::{ANY, Entry, Pick, SHAPES, Scene, plan_of, scenes},
    *,
};

fn is_last(scene: &Scene, revision: u32) -> bool {
    match scene.plan.schedule.late {
        Late::Revise { max, .. } => revision == max,
        Late::Drop | Late::AssignToOpen => true,
    }
}

/// The oldest pane that is not over before a step.
fn oldest_open(scene: &Scene, before: usize) -> Option<i64> {
    let over = |start: i64| {
        scene.steps[..before].iter().any(|step| {
            matches!(step, Step::Close { start_ms, revision }
                if *start_ms == start && is_last(scene, *revision))
        })
    };
    scene.shape().panes.stretches().map(|(start, _)| start).find(|start| !over(*start))
}

/// What an engine that dies before a step gives afterwards: started anew over the log from a
/// moment on, with a close where there was one.
fn replayed(scene: &Scene, dies: usize, from_ms: i64, limits: Limits) -> Closed {
    let mut task = task(&scene.plan, limits, Memory::default());
    let kept = |step: &&Step| match step {
        Step::Record(entry) => entry.logged_ms >= from_ms,
        Step::Close { start_ms, .. } => *start_ms >= from_ms,
        Step::Forget { .. } => false,
    };
    let (before, after) = scene.steps.split_at(dies);
    assert_eq!(follow(&mut task, before.iter().filter(kept)).1, None);
    let (closed, aborted) = follow(&mut task, after);
    assert_eq!(aborted, None);
    closed
}

/// The closes from a step on of an engine that lived.
fn lived(scene: &Scene, since: usize) -> Closed {
    let closes = |steps: &[Step]| steps.iter().filter(|s| matches!(s, Step::Close { .. })).count();
    engine(scene).split_off(closes(&scene.steps[..since]))
}

fn resident(subjects: usize) -> Limits {
    Limits { resident_subjects: subjects, ..ROOMY }
}

proptest! {
    #![proptest_config(Config::with_cases(96))]

    #[test]
    fn a_replay_gives_what_a_life_gave(
        scene in scenes(ANY, 60), dies in any::<prop::sample::Index>(),
    ) {
        let dies = dies.index(scene.steps.len());
        let Some(open_ms) = oldest_open(&scene, dies) else { return Ok(()) };
        let from_ms = earliest_needed_ms(&scene.plan, open_ms);
        prop_assert_eq!(replayed(&scene, dies, from_ms, ROOMY), lived(&scene, dies));
        prop_assert_eq!(replayed(&scene, dies, i64::MIN, ROOMY), lived(&scene, dies));
    }
}

proptest! {
    #![proptest_config(Config::with_cases(192))]

    /// A runner that was away cuts late. What arrived in time for a revision is in it, whenever the
    /// cut comes, and nothing else is.
    #[test]
    fn a_cut_that_comes_late_takes_in_nothing_more(
        mut scene in scenes(ANY, 60),
        gone in any::<prop::sample::Index>(), back in any::<prop::sample::Index>(),
    ) {
        let slack_ms = scene.plan.schedule.slack_ms;
        scene.steps.retain(|step| match step {
            Step::Record(entry) => entry.logged_ms - entry.arrival_ms <= slack_ms,
            Step::Close { .. } | Step::Forget { .. } => true,
        });
        let on_time = engine(&scene);
        let all = scene.steps.len();
        let (gone, back) = (gone.index(all), back.index(all));
        let away = &mut scene.steps[gone.min(back)..gone.max(back)];
        away.sort_by_key(|step| !matches!(step, Step::Record(_)));
        prop_assert_eq!(engine(&scene), on_time);
    }
}

proptest! {
    #![proptest_config(Config::with_cases(10))]

    #[test]
    fn on_disk_nothing_changes(
        scene in scenes(ANY, 40), subjects in 0..4_usize, dies in any::<prop::sample::Index>(),
    ) {
        let expected = engine(&scene);
        let found = follow(&mut task(&scene.plan, resident(subjects), Memory::default()), &scene.steps);
        prop_assert_eq!(found, (expected, None));
        let dies = dies.index(scene.steps.len());
        let found = replayed(&scene, dies, i64::MIN, resident(subjects));
        prop_assert_eq!(found, lived(&scene, dies));
    }

    /// As far as it comes it is right; then nothing comes any more.
    #[test]
    fn when_the_disk_ends_so_do_totals(scene in scenes(ANY, 40), spill_bytes in 0..4_000_u64) {
        let limits = Limits { resident_subjects: 0, spill_bytes };
        let mut task = task(&scene.plan, limits, Memory::default());
        let (closed, aborted) = follow(&mut task, &scene.steps);
        let mut expected = engine(&scene);
        if let Some(aborted) = aborted {
            prop_assert_eq!(&aborted, &Aborted::Disk);
            expected.truncate(closed.len());
            nothing_comes_out(&mut task, &scene, &aborted);
        }
        prop_assert_eq!(closed, expected);
    }
}

fn nothing_comes_out(task: &mut Task, scene: &Scene, aborted: &Aborted) {
    for (start_ms, end_ms) in scene.shape().panes.stretches() {
        assert_eq!(task.close(start_ms, 0).err().as_ref(), Some(aborted));
        task.forget(end_ms);
    }
    let later = Entry::at(scene.shape().panes.0[0], 0).contribution();
    assert_eq!(task.accept(0, later).err().as_ref(), Some(aborted));
}

/// A runner that reads the log again from the open pane on only, and so forgets in which panes of
/// the period a subject has been.
#[test]
fn the_replay_sees_charges_that_are_lost() {
    const FIRST_ONE: Pick = Pick {
        records: false,
        settle: |_, plan| {
            plan.bounds.choose_windows = ChooseWindows::First;
            plan.bounds.windows_per_period = 1;
        },
    };
    let (strategy, mut runner) = (scenes(FIRST_ONE, 60), TestRunner::deterministic());
    let mut lost = 0;
    for _ in 0..40 {
        let scene = strategy.new_tree(&mut runner).unwrap().current();
        for dies in [4, 2].map(|part| scene.steps.len() / part) {
            let Some(open_ms) = oldest_open(&scene, dies) else { continue };
            let from_ms = open_ms - scene.plan.schedule.max_skew_ms;
            lost += usize::from(replayed(&scene, dies, from_ms, ROOMY) != lived(&scene, dies));
        }
    }
    assert!(lost >= 3, "{lost}");
}

/// A subject in each of the 64 buckets, all in one pane.
fn crowd(task: &mut Task) -> Result<(), Aborted> {
    for n in 0..64 {
        let mut contribution = Entry { key: "of someone".into(), ..Entry::at(0, 0) }.contribution();
        contribution.subject.0[0] = n;
        task.accept(0, contribution)?;
    }
    Ok(())
}

#[test]
fn what_cannot_be_spilled_aborts() {
    let mut task = task(&plan_of(&SHAPES[0]), resident(3), Nowhere);
    let aborted = crowd(&mut task).unwrap_err();
    assert!(matches!(aborted, Aborted::Io(_)), "{aborted}");
    assert_eq!(task.close(0, 0).err(), Some(aborted));
}

/// Files that lose what they held.
struct Forgetful;

impl Spill for Forgetful {
    fn create(&self, _bucket: usize) -> Result<Box<dyn SpillFile>, Aborted> {
        Ok(Box::new(Forgetful))
    }
}

impl SpillFile for Forgetful {
    fn write(&mut self, _piece: Vec<u8>) -> Result<u64, Aborted> {
        Ok(1)
    }

    fn read(&mut self, each: &mut dyn FnMut(&[u8]) -> Result<(), Aborted>) -> Result<(), Aborted> {
        each(b"neither a person nor a contribution, though long enough")
    }
}

#[test]
fn what_is_damaged_aborts() {
    let mut task = task(&plan_of(&SHAPES[0]), resident(0), Forgetful);
    crowd(&mut task).unwrap();
    assert_eq!(task.close(0, 0).err(), Some(Aborted::damaged()));
    assert_eq!(task.close(10, 0).err(), Some(Aborted::damaged()));
}

#[test]
fn files_are_gone_when_they_are_not_needed() {
    let memory = Memory::default();
    let mut task = task(&plan_of(&SHAPES[0]), resident(0), memory.clone());
    // Beside ours and the task's.
    let files = || Arc::strong_count(&memory.0) - 2;
    crowd(&mut task).unwrap();
    assert_eq!(task.close(0, 0).unwrap().by_key["of someone"][0], 64);
    // Charges of the period are still there.
    assert_eq!(files(), 64);
    // Not pane by pane: a runner that was away has several to go on by.
    task.forget(10);
    task.forget(60);
    assert_eq!(files(), 0);
}

#[test]
fn a_total_beyond_64_bits_aborts() {
    let mut task = task(&plan_of(&SHAPES[0]), ROOMY, Nowhere);
    for subject in 0..2 {
        let values = [Some(i64::MAX - 1), None];
        let entry = Entry { subject, values, ..Entry::at(0, 0) };
        task.accept(0, entry.contribution()).unwrap();
    }
    assert_eq!(task.close(0, 0).err(), Some(Aborted::Overflow));
    assert_eq!(task.close(10, 0).err(), Some(Aborted::Overflow));
}
