//! Random streams: a plan, a log, and when panes are closed, as a runner would close them.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    sync::{Arc, LazyLock, Mutex},
};

use proptest::{collection::vec, prelude::*};
use sluicegate_policies::release::{
    Bounds, Calendar, Choose, ChooseWindows, Keys, Late, Noise, Output, ReleasePlan, Unit, What,
    Zone,
};

use super::{
    super::{Contribution, Subject},
    model::{self, Walk},
};
use crate::testing;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Values of both sums are clamped to this at the door.
pub(super) const CLAMP: RangeInclusive<i64> = -300..=500;
pub(super) const SUBJECTS: u8 = 4;

/// A contribution that may be shown: one of tests.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) subject: u8,
    pub(super) key: String,
    pub(super) event_ms: i64,
    pub(super) arrival_ms: i64,
    pub(super) number: u32,
    pub(super) values: [Option<i64>; 2],
    /// When it is in the log: not before its arrival.
    pub(super) logged_ms: i64,
}

impl Entry {
    pub(super) fn at(event_ms: i64, arrival_ms: i64) -> Self {
        let key = String::new();
        let (number, logged_ms) = (0, arrival_ms);
        Self { subject: 0, key, event_ms, arrival_ms, number, values: [None; 2], logged_ms }
    }

    /// Some subjects meet in one of the engine's buckets.
    pub(super) fn digest(subject: u8) -> [u8; 16] {
        let mut digest = [subject; 16];
        digest[0] = subject % 2 * 64 + subject / 3;
        digest
    }

    pub(super) fn id(&self) -> [u8; 16] {
        let hash = blake3::hash(&self.number.to_be_bytes());
        std::array::from_fn(|at| hash.as_bytes()[at])
    }

    pub(super) fn contribution(&self) -> Contribution {
        Contribution {
            subject: Subject(Self::digest(self.subject)),
            key: Arc::from(&*self.key),
            event_ms: self.event_ms,
            arrival_ms: self.arrival_ms,
            id: self.id(),
            values: self.values.to_vec(),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Record(Entry),
    Close { start_ms: i64, revision: u32 },
    Forget { open_ms: i64 },
}

/// A division of time into panes and periods, and a part of it that was walked.
pub(super) struct Shape {
    pane: Calendar,
    period: Calendar,
    pub(super) panes: Walk,
    pub(super) periods: Walk,
    /// How long a pane usually is.
    pane_ms: i64,
    /// Records arrive in here.
    from_ms: i64,
    to_ms: i64,
    panes_per_period: u32,
}

pub(super) static SHAPES: LazyLock<Vec<Shape>> = LazyLock::new(|| {
    vec![
        // Before and after 1970.
        fixed(10, 40, 0, -160),
        fixed(10, 40, 3, -157),
        fixed(10, 10, 0, 0),
        fixed(7, 70, 0, 700_000),
        // Far away.
        fixed(10, 40, 0, 8_000_000_000_000_000_000),
        fixed(10, 40, 0, -8_000_000_000_000_000_000),
        days("Europe/Berlin", 1, 7, "2026-03-18T23:00:00Z", 20),
        days("Europe/Berlin", 1, 1, "2026-10-16T22:00:00Z", 16),
        days("America/New_York", 1, 30, "2026-10-09T04:00:00Z", 66),
        days("America/New_York", 2, 6, "2026-02-25T05:00:00Z", 36),
        days("Australia/Lord_Howe", 1, 5, "2026-03-25T13:00:00Z", 20),
        days("Australia/Lord_Howe", 1, 1, "2026-09-25T13:30:00Z", 16),
        hours("Europe/Berlin", "2026-10-23T22:00:00Z", 4),
    ]
});

/// `first_ms` begins a pane and a period.
fn fixed(pane_ms: i64, period_ms: i64, offset_ms: i64, first_ms: i64) -> Shape {
    let until_ms = first_ms + 40 * pane_ms;
    Shape {
        pane: Calendar::Fixed { size_ms: pane_ms, offset_ms },
        period: Calendar::Fixed { size_ms: period_ms, offset_ms },
        panes: Walk::fixed(pane_ms, first_ms, until_ms),
        periods: Walk::fixed(period_ms, first_ms, until_ms),
        pane_ms,
        from_ms: first_ms + 12 * pane_ms,
        to_ms: first_ms + 24 * pane_ms,
        panes_per_period: u32::try_from(period_ms / pane_ms).unwrap(),
    }
}

/// `first` begins a day.
fn days(zone: &str, pane_days: i32, period_days: i32, first: &str, length: i64) -> Shape {
    let first_ms = first.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let calendar = |days: i32| {
        let zone = Zone::parse(zone).unwrap();
        Calendar::days(u32::try_from(days).unwrap(), zone)
    };
    let pane_ms = i64::from(pane_days) * DAY_MS;
    let wide_ms = (2 * i64::from(period_days) + 10) * DAY_MS;
    let until_ms = first_ms + (length + 8) * DAY_MS;
    Shape {
        pane: calendar(pane_days),
        period: calendar(period_days),
        panes: Walk::days(pane_days, zone, first_ms - 8 * DAY_MS, until_ms),
        periods: Walk::days(period_days, zone, first_ms - wide_ms, until_ms + wide_ms),
        pane_ms,
        from_ms: first_ms,
        to_ms: first_ms + length * DAY_MS,
        panes_per_period: u32::try_from(period_days / pane_days).unwrap(),
    }
}

/// Hours, bounded together over a local day: no author can write this, an engine must bear it.
fn hours(zone: &str, first: &str, length: i64) -> Shape {
    let by_day = days(zone, 1, 1, first, length);
    let first_ms = by_day.from_ms;
    Shape {
        pane: Calendar::Fixed { size_ms: HOUR_MS, offset_ms: 0 },
        panes: Walk::fixed(HOUR_MS, first_ms - 12 * HOUR_MS, by_day.to_ms + 12 * HOUR_MS),
        pane_ms: HOUR_MS,
        from_ms: first_ms + 36 * HOUR_MS,
        to_ms: first_ms + 60 * HOUR_MS,
        panes_per_period: 25,
        ..by_day
    }
}

/// What a property runs on.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) plan: ReleasePlan,
    pub(super) shape: usize,
    pub(super) steps: Vec<Step>,
}

impl Scene {
    pub(super) fn shape(&self) -> &'static Shape {
        &SHAPES[self.shape]
    }

    /// What the model makes of it, by the same rules or by others.
    pub(super) fn model(&self, plan: &ReleasePlan) -> super::Closed {
        let shape = self.shape();
        let panel = self.panel(plan);
        model::closed(plan, &shape.panes, &shape.periods, &panel, &self.steps)
    }

    fn panel(&self, plan: &ReleasePlan) -> BTreeSet<(u8, i64)> {
        type Panels = BTreeMap<(usize, u32), BTreeSet<(u8, i64)>>;
        static KNOWN: Mutex<Panels> = Mutex::new(Panels::new());
        if plan.bounds.choose_windows == ChooseWindows::First || plan.unit == Unit::Record {
            return BTreeSet::new();
        }
        let mut known = KNOWN.lock().unwrap();
        let panel = known.entry((self.shape, plan.bounds.windows_per_period));
        panel.or_insert_with(|| model::panel(plan, &self.shape().panes, SUBJECTS)).clone()
    }

    /// The same, without the records of some subjects.
    pub(super) fn only(&self, keep: impl Fn(u8) -> bool) -> Self {
        let kept = |step: &Step| !matches!(step, Step::Record(entry) if !keep(entry.subject));
        Self { steps: self.steps.iter().filter(|s| kept(s)).cloned().collect(), ..self.clone() }
    }
}

/// Numbers without units, from which [`entry`] makes a record of a shape.
#[derive(Clone, Debug)]
struct Raw {
    arrival: i64,
    behind: i64,
    snap_event: u8,
    snap_arrival: u8,
    subject: u8,
    key: u8,
    values: [Option<i64>; 2],
    delay: i64,
}

fn raw() -> impl Strategy<Value = Raw> {
    let value = || prop::option::weighted(0.8, CLAMP);
    let time = (0..1_000_i64, -20..90_i64, 0..6_u8, 0..6_u8);
    let what = (0..SUBJECTS, 0..5_u8, [value(), value()], 0..13_i64);
    (time, what).prop_map(|((arrival, behind, snap_event, snap_arrival), what)| {
        let (subject, key, values, delay) = what;
        // More of them early: a subject often has several records in a pane.
        let arrival = arrival * arrival / 1_000;
        Raw { arrival, behind, snap_event, snap_arrival, subject, key, values, delay }
    })
}

/// What a subject sends that wants to count for more than it may: any time, any key.
fn disguised() -> impl Strategy<Value = (Raw, i64)> {
    let raw = raw().prop_map(|raw| Raw { subject: 0, ..raw });
    let anywhere = prop_oneof![3 => -1_000..1_000_i64, 1 => any::<i64>()];
    (raw, anywhere)
}

fn entry(shape: &Shape, plan: &ReleasePlan, number: usize, raw: &Raw) -> Entry {
    let snap = |how: u8, ms: i64, ms_off: i64| match (how, shape.panes.containing(ms - ms_off)) {
        (0, Some((start, _))) => start + ms_off,
        (1, Some((start, _))) => start + ms_off - 1,
        _ => ms,
    };
    let tenth = |n: i64| shape.pane_ms * n / 10;
    let arrival_ms = shape.from_ms
        + (shape.to_ms - shape.from_ms) / 1_000 * raw.arrival
        + (shape.to_ms - shape.from_ms) % 1_000 * raw.arrival / 1_000;
    let arrival_ms = snap(raw.snap_arrival, arrival_ms, model::grace_ms(plan));
    let event_ms = snap(raw.snap_event, arrival_ms - tenth(raw.behind), 0);
    let letter = ["a", "b", "c", "d", "é"][usize::from(raw.key)];
    Entry {
        subject: raw.subject,
        key: if plan.keys == Keys::Whole { String::new() } else { letter.to_owned() },
        event_ms,
        arrival_ms,
        number: u32::try_from(number).unwrap(),
        values: raw.values,
        logged_ms: arrival_ms + plan.schedule.slack_ms * raw.delay / 10,
    }
}

fn plan(pick: Pick) -> impl Strategy<Value = (usize, ReleasePlan)> {
    let bounds = (1..40_u32, any::<bool>(), 1..4_u32, 1..4_u32, any::<bool>());
    let times = (0..16_i64, 0..11_i64, 0..6_i64, 0..4_u8, 1..3_u32, 0..13_i64);
    (0..SHAPES.len(), bounds, times, 0..3_u8, 0..8_u8).prop_map(
        move |(
            at,
            (k, panel, l0, r, hash),
            (late, skew, slack, policy, max, after),
            keys,
            unit,
        )| {
            let shape = &SHAPES[at];
            let tenth = |n: i64| shape.pane_ms * n / 10;
            let mut plan = plan_of(shape);
            plan.schedule.lateness_ms = tenth(late);
            plan.schedule.max_skew_ms = tenth(skew);
            plan.schedule.slack_ms = tenth(slack);
            plan.schedule.late = match policy {
                0 => Late::AssignToOpen,
                1 => Late::Revise { max, after_ms: tenth(after) },
                _ => Late::Drop,
            };
            plan.bounds = Bounds {
                windows_per_period: 1 + (k - 1) % shape.panes_per_period,
                choose_windows: if panel { ChooseWindows::Panel } else { ChooseWindows::First },
                keys_per_window: l0,
                records_per_key: r,
                choose: if hash { Choose::Hash } else { Choose::First },
            };
            plan.keys = match keys {
                0 => Keys::Whole,
                1 => testing::public(&["a", "b", "é"]),
                _ => testing::unknown(1, None),
            };
            if unit == 0 && pick.records {
                plan.unit = Unit::Record;
            }
            (pick.settle)(shape.panes_per_period, &mut plan);
            (at, plan)
        },
    )
}

/// The test plan over a shape, with two sums.
pub(super) fn plan_of(shape: &Shape) -> ReleasePlan {
    let mut plan = testing::plan();
    plan.schedule.pane = shape.pane.clone();
    if let Unit::Subject(unit) = &mut plan.unit {
        unit.period = shape.period.clone();
    }
    let noise = Noise::Laplace { scale: testing::dyadic(1, 1) };
    let output = |name: &str, what: What| testing::output(name, what, noise, 1, 1, 1);
    let sum = |name: &str| output(name, testing::sum(name, 0, *CLAMP.start(), *CLAMP.end()));
    let outputs: [Output; 4] = [
        output("subjects", What::Subjects),
        sum("one"),
        output("count", What::Count),
        sum("other"),
    ];
    plan.outputs = Box::new(outputs);
    plan
}

/// Which plans are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pick {
    /// `unit: record` among them.
    pub(super) records: bool,
    /// The last word, with the number of panes of a period.
    pub(super) settle: fn(u32, &mut ReleasePlan),
}

pub(super) const ANY: Pick = Pick { records: true, settle: |_, _| {} };

/// Scenes of up to `most` records.
pub(super) fn scenes(pick: Pick, most: usize) -> impl Strategy<Value = Scene> {
    (plan(pick), vec(raw(), 0..most), any::<bool>()).prop_map(|((at, plan), raw, forgets)| {
        let shape = &SHAPES[at];
        let entries = raw.iter().enumerate().map(|(n, raw)| entry(shape, &plan, n, raw)).collect();
        let steps = steps(shape, &plan, entries, forgets);
        Scene { plan, shape: at, steps }
    })
}

/// Scenes of one subject that goes to the limits.
pub(super) fn assaults(most: usize) -> impl Strategy<Value = Scene> {
    let pick = Pick { records: false, settle: |_, _| {} };
    (plan(pick), vec(disguised(), 0..most)).prop_map(|((at, plan), raw)| {
        let shape = &SHAPES[at];
        let disguise = |(n, (raw, anywhere)): (usize, &(Raw, i64))| {
            let entry = entry(shape, &plan, n, raw);
            let event_ms = entry.arrival_ms.saturating_add(*anywhere);
            let value = [*CLAMP.start(), *CLAMP.end()][n % 2];
            let values = [Some(value), Some(*CLAMP.end())];
            Entry { event_ms: if n % 3 == 0 { event_ms } else { entry.event_ms }, values, ..entry }
        };
        let entries = raw.iter().enumerate().map(disguise).collect();
        let steps = steps(shape, &plan, entries, true);
        Scene { plan, shape: at, steps }
    })
}

/// The log, with a close at each pane's time: `end + lateness + slack`, and for revisions later.
fn steps(shape: &Shape, plan: &ReleasePlan, mut log: Vec<Entry>, forgets: bool) -> Vec<Step> {
    log.sort_by_key(|entry| (entry.logged_ms, entry.number));
    let (max, after_ms) = match plan.schedule.late {
        Late::Revise { max, after_ms } => (max, after_ms),
        Late::Drop | Late::AssignToOpen => (0, 0),
    };
    let mut due: Vec<(i64, i64, u32)> = Vec::new();
    for (start_ms, end_ms) in shape.panes.stretches() {
        for revision in 0..=max {
            let first = end_ms + plan.schedule.lateness_ms + plan.schedule.slack_ms;
            due.push((first + i64::from(revision) * after_ms, start_ms, revision));
        }
    }
    due.sort_unstable();
    let last_of = |start_ms: i64| due.iter().rposition(|(_, start, _)| *start == start_ms);
    let lasts: Vec<_> = shape.panes.stretches().map(|(s, e)| (last_of(s), e)).collect();
    let (mut steps, mut next, mut forgotten) = (Vec::new(), 0, 0);
    for entry in log.into_iter().map(Some).chain([None]) {
        let now_ms = entry.as_ref().map_or(i64::MAX, |entry| entry.logged_ms);
        while let Some((_, start_ms, revision)) = due.get(next).filter(|due| due.0 <= now_ms) {
            steps.push(Step::Close { start_ms: *start_ms, revision: *revision });
            next += 1;
        }
        while let Some((_, end_ms)) = lasts.get(forgotten).filter(|(last, _)| *last < Some(next)) {
            forgotten += 1;
            if forgets {
                steps.push(Step::Forget { open_ms: *end_ms });
            }
        }
        steps.extend(entry.map(Step::Record));
    }
    steps
}
