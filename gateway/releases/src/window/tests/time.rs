//! When a record is late, and to which pane it belongs: at exact boundaries, where clocks change,
//! and where time ends.

use std::collections::BTreeMap;

use sluicegate_policies::release::{Calendar, ChooseWindows, Late, ReleasePlan, Unit, Zone};

use super::{
    scene::{Entry, SHAPES, plan_of},
    *,
};

const DROP: Late = Late::Drop;
const REVISE: Late = Late::Revise { max: 2, after_ms: 7 };

/// Panes of ten milliseconds, four to a period.
fn plan(lateness_ms: i64, max_skew_ms: i64, late: Late) -> ReleasePlan {
    let mut plan = plan_of(&SHAPES[0]);
    plan.bounds.windows_per_period = 4;
    plan.schedule.lateness_ms = lateness_ms;
    plan.schedule.max_skew_ms = max_skew_ms;
    plan.schedule.late = late;
    plan
}

fn pane(plan: &ReleasePlan, event_ms: i64, arrival_ms: i64) -> Option<i64> {
    match pane_of(plan, &Entry::at(event_ms, arrival_ms).contribution()) {
        Placement::Pane(pane) => Some(pane.start_ms),
        Placement::Late => None,
    }
}

#[test]
fn a_record_is_late_from_the_end_and_lateness_on() {
    let table = [
        // lateness, policy, event, arrival, pane
        (0, DROP, 0, 9, Some(0)),
        (0, DROP, 9, 9, Some(0)),
        (0, DROP, 9, 10, None),
        (0, DROP, 10, 10, Some(10)),
        (5, DROP, 9, 14, Some(0)),
        (5, DROP, 9, 15, None),
        (25, DROP, 0, 34, Some(0)),
        (25, DROP, 0, 35, None),
        (5, DROP, -1, 4, Some(-10)),
        (5, DROP, -1, 5, None),
        (5, DROP, -10, 4, Some(-10)),
        (5, DROP, -11, 4, None),
        // In the oldest pane that is open.
        (0, Late::AssignToOpen, 9, 10, Some(10)),
        (5, Late::AssignToOpen, 9, 14, Some(0)),
        (5, Late::AssignToOpen, 9, 15, Some(10)),
        (5, Late::AssignToOpen, -500, 24, Some(10)),
        (5, Late::AssignToOpen, -500, 25, Some(20)),
        (25, Late::AssignToOpen, -500, 34, Some(0)),
        (25, Late::AssignToOpen, -500, 35, Some(10)),
        (5, Late::AssignToOpen, i64::MIN, -1, Some(-10)),
        // Until the last revision: 10 + 5 + 2 · 7.
        (5, REVISE, 9, 15, Some(0)),
        (5, REVISE, 9, 28, Some(0)),
        (5, REVISE, 9, 29, None),
    ];
    for (lateness, late, event, arrival, expected) in table {
        let found = pane(&plan(lateness, 0, late), event, arrival);
        assert_eq!(found, expected, "{event} at {arrival}, {lateness} {late:?}");
    }
}

#[test]
fn an_event_is_believed_to_be_ahead_by_the_skew_and_no_more() {
    let table = [
        (0, 10, 9, Some(0)),
        (1, 10, 9, Some(10)),
        (1, i64::MAX, 8, Some(0)),
        (1, i64::MAX, 9, Some(10)),
        (30, 35, 5, Some(30)),
        (30, 36, 5, Some(30)),
        (30, 40, 9, Some(30)),
        (30, 40, 10, Some(40)),
    ];
    for (skew, event, arrival, expected) in table {
        let found = pane(&plan(0, skew, DROP), event, arrival);
        assert_eq!(found, expected, "{event} at {arrival}, {skew}");
    }
}

/// All that arrived until then, each time.
#[test]
fn a_revision_has_what_the_release_had_and_what_came_since() {
    let plan = plan(5, 0, REVISE);
    let mut task = task(&plan, ROOMY, Nowhere);
    let mut subject = 0;
    let mut accept = |task: &mut Task, arrival_ms: i64| {
        subject += 1;
        let entry = Entry { subject, ..Entry::at(9, arrival_ms) };
        task.accept(0, entry.contribution()).unwrap();
    };
    let mut seen = Vec::new();
    accept(&mut task, 14);
    for (revision, arrival_ms) in [(0, 15), (1, 22), (2, 28)] {
        seen.push(task.close(0, revision).unwrap().by_key[""][0]);
        accept(&mut task, arrival_ms);
    }
    assert_eq!(seen, [1, 2, 3]);
    // It is over, though this one came in time.
    assert!(task.close(0, 2).unwrap().by_key.is_empty());
}

/// A record each half hour, a millisecond before it and after it, over weeks in which clocks
/// change: each is counted once, in the pane that holds it.
#[test]
fn where_clocks_change_each_record_is_in_one_pane_of_one_period() {
    let mut lengths = Vec::new();
    for shape in SHAPES.iter() {
        let mut plan = plan_of(shape);
        plan.unit = Unit::Record;
        let half_hour_ms = 1_800_000;
        let (first_ms, last_ms) = (shape.panes.0[0], *shape.panes.0.last().unwrap());
        if last_ms - first_ms < half_hour_ms {
            continue;
        }
        let mut task = task(&plan, ROOMY, Nowhere);
        let moments = (first_ms..last_ms).step_by(half_hour_ms as usize);
        let moments = moments.flat_map(|ms| [ms, ms + 1, ms + half_hour_ms - 1]);
        let mut expected: BTreeMap<i64, i64> = BTreeMap::new();
        let mut total = 0;
        for at in moments {
            let (start_ms, _) = shape.panes.containing(at).unwrap();
            *expected.entry(start_ms).or_default() += 1;
            let entry = Entry { number: total, ..Entry::at(at, at) };
            task.accept(0, entry.contribution()).unwrap();
            total += 1;
        }
        let mut counted = 0;
        for (start_ms, end_ms) in shape.panes.stretches() {
            let found = task.close(start_ms, 0).unwrap().by_key.get("").map_or(0, |row| row[0]);
            assert_eq!(Some(&found), expected.get(&start_ms), "{start_ms}");
            counted += found;
            lengths.push((end_ms - start_ms) / half_hour_ms);
        }
        assert_eq!(counted, i64::from(total));
        for (start_ms, end_ms) in shape.periods.stretches() {
            let inside = |(start, _): &(i64, i64)| start_ms <= *start && *start < end_ms;
            let length: i64 =
                shape.panes.stretches().filter(inside).map(|(start, end)| end - start).sum();
            let walked = first_ms <= start_ms && end_ms <= last_ms;
            assert!(!walked || length == end_ms - start_ms, "{start_ms}");
        }
    }
    // Days of 23, 23.5, 24, 24.5 and 25 hours were among them.
    for half_hours in 46..=50 {
        assert!(lengths.contains(&half_hours), "{half_hours}");
    }
}

#[test]
fn the_ends_of_time_break_nothing() {
    let ends = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX];
    let day = |days, zone: &str| Calendar::days(days, Zone::parse(zone).unwrap());
    let fixed = |size_ms, offset_ms| Calendar::Fixed { size_ms, offset_ms };
    let calendars = [
        (fixed(10, 3), fixed(40, 3)),
        (fixed(3_600_000, 0), fixed(86_400_000, 0)),
        (fixed(31_622_400_000, 0), fixed(31_622_400_000, 0)),
        (day(1, "Europe/Berlin"), day(7, "Europe/Berlin")),
        (day(2, "Pacific/Apia"), day(366, "Pacific/Apia")),
    ];
    for (pane, period) in calendars {
        for late in [DROP, Late::AssignToOpen, REVISE] {
            for choose_windows in [ChooseWindows::First, ChooseWindows::Panel] {
                let mut plan = plan(30_000, 5_000, late);
                plan.schedule.pane = pane.clone();
                plan.bounds.choose_windows = choose_windows;
                if let Unit::Subject(unit) = &mut plan.unit {
                    unit.period = period.clone();
                }
                let mut task = task(&plan, ROOMY, Nowhere);
                for (event, arrival) in ends.iter().flat_map(|a| ends.map(|b| (*a, b))) {
                    task.accept(0, Entry::at(event, arrival).contribution()).unwrap();
                }
                for end in ends {
                    let start_ms = pane.containing(end).start_ms;
                    task.close(start_ms, 0).unwrap();
                    assert!(task.earliest_needed_ms(end) <= end);
                    task.forget(end);
                }
            }
        }
    }
}
