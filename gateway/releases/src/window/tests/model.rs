//! The rules written out over plain vectors, nothing kept from one question to the next. Shares
//! types with the engine and nothing else; panes and periods are found by walking.

use std::collections::BTreeSet;

use jiff::{Timestamp, civil::Date, tz::TimeZoneDatabase};
use sluicegate_policies::release::{Choose, ChooseWindows, Keys, Late, ReleasePlan, Unit, What};

use super::{
    Closed, Nowhere, ROOMY, Rows, SECRET,
    scene::{Entry, Step},
    task,
};

/// Where stretches begin, one behind the other; the last entry only ends the stretch before it.
#[derive(Clone, Debug)]
pub(super) struct Walk(pub(super) Vec<i64>);

impl Walk {
    /// `first_ms` is known to begin a stretch.
    pub(super) fn fixed(size_ms: i64, first_ms: i64, until_ms: i64) -> Self {
        let mut starts = vec![first_ms];
        let mut at = first_ms;
        while at <= until_ms {
            at += size_ms;
            starts.push(at);
        }
        Self(starts)
    }

    /// Minute by minute (of those on which clocks change): a stretch begins where the date on the
    /// wall belongs to another group of days.
    pub(super) fn days(days: i32, zone: &str, from_ms: i64, until_ms: i64) -> Self {
        let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
        let group = |ms: i64| {
            let date = Timestamp::from_millisecond(ms).unwrap().to_zoned(zone.clone()).date();
            Date::constant(1970, 1, 1).until(date).unwrap().get_days().div_euclid(days)
        };
        let mut starts = Vec::new();
        let mut at = from_ms;
        while at <= until_ms {
            if group(at) != group(at - 1) {
                starts.push(at);
            }
            at += 30 * 60_000;
        }
        Self(starts)
    }

    /// None outside of what was walked.
    pub(super) fn containing(&self, ms: i64) -> Option<(i64, i64)> {
        self.stretches().find(|(start, end)| *start <= ms && ms < *end)
    }

    pub(super) fn stretches(&self) -> impl Iterator<Item = (i64, i64)> {
        self.0.windows(2).map(|pair| (pair[0], pair[1]))
    }
}

/// How long a pane takes records, counted from its end.
pub(super) fn grace_ms(plan: &ReleasePlan) -> i64 {
    let revising = match plan.schedule.late {
        Late::Revise { max, after_ms } => i64::from(max) * after_ms,
        Late::Drop | Late::AssignToOpen => 0,
    };
    plan.schedule.lateness_ms + revising
}

/// Whether a record counts in a revision of a pane: it came before the revision took no more.
fn in_time(plan: &ReleasePlan, entry: &Entry, end_ms: i64, revision: u32) -> bool {
    let Late::Revise { after_ms, .. } = plan.schedule.late else { return true };
    let grace = plan.schedule.lateness_ms + i64::from(revision) * after_ms;
    i128::from(entry.arrival_ms) < i128::from(end_ms) + i128::from(grace)
}

/// The pane of a record; none if it is late.
fn placed(plan: &ReleasePlan, panes: &Walk, entry: &Entry) -> Option<i64> {
    let arrival = i128::from(entry.arrival_ms);
    let latest = arrival + i128::from(plan.schedule.max_skew_ms);
    let event = i128::from(entry.event_ms).min(latest);
    let open = |end: i64| arrival < i128::from(end) + i128::from(grace_ms(plan));
    let own = panes.stretches().find(|(s, e)| i128::from(*s) <= event && event < i128::from(*e));
    match own {
        Some((start, end)) if open(end) => Some(start),
        _ if plan.schedule.late == Late::AssignToOpen => {
            panes.stretches().find(|(_, end)| open(*end)).map(|(start, _)| start)
        }
        _ => None,
    }
}

/// What each close must give. `panel` is who was drawn for which pane, where that is asked.
pub(super) fn closed(
    plan: &ReleasePlan,
    panes: &Walk,
    periods: &Walk,
    panel: &BTreeSet<(u8, i64)>,
    steps: &[Step],
) -> Closed {
    let mut log: Vec<(&Entry, i64)> = Vec::new();
    let mut over = BTreeSet::new();
    let mut out = Closed::new();
    for step in steps {
        match step {
            Step::Record(entry) => {
                let there_is = match &plan.keys {
                    Keys::Public { values, .. } => values.iter().any(|key| **key == *entry.key),
                    Keys::Whole | Keys::Unknown { .. } => true,
                };
                let pane = placed(plan, panes, entry).filter(|pane| !over.contains(pane));
                log.extend(pane.filter(|_| there_is).map(|pane| (entry, pane)));
            }
            Step::Close { start_ms, revision } => {
                let end_ms = panes.containing(*start_ms).expect("was walked").1;
                let taken = |entry: &Entry| in_time(plan, entry, end_ms, *revision);
                let found = bounded(plan, periods, panel, &log, *start_ms, &taken);
                out.push((*start_ms, *revision, found));
                let last = match plan.schedule.late {
                    Late::Revise { max, .. } => max,
                    Late::Drop | Late::AssignToOpen => 0,
                };
                if *revision >= last {
                    over.insert(*start_ms);
                }
            }
            // All that is forgotten was over.
            Step::Forget { .. } => {}
        }
    }
    out
}

fn bounded(
    plan: &ReleasePlan,
    periods: &Walk,
    panel: &BTreeSet<(u8, i64)>,
    log: &[(&Entry, i64)],
    start_ms: i64,
    taken: &dyn Fn(&Entry) -> bool,
) -> Rows {
    let mut rows = Rows::new();
    let in_pane = |(entry, pane): &(&Entry, i64)| *pane == start_ms && taken(entry);
    if plan.unit == Unit::Record {
        for (entry, _) in log.iter().filter(|one| in_pane(one)) {
            add(plan, &mut rows, &entry.key, &[entry]);
        }
        return rows;
    }
    let subjects: BTreeSet<u8> = log.iter().map(|(entry, _)| entry.subject).collect();
    for subject in subjects {
        let of_subject: Vec<_> = log.iter().filter(|(e, _)| e.subject == subject).collect();
        if !may(plan, periods, panel, subject, &of_subject, start_ms) {
            continue;
        }
        let in_pane: Vec<&Entry> =
            of_subject.iter().filter(|one| in_pane(one)).map(|(e, _)| *e).collect();
        for key in keys(plan, subject, start_ms, &in_pane) {
            let mut records: Vec<&Entry> =
                in_pane.iter().filter(|entry| entry.key == key).copied().collect();
            if plan.bounds.choose == Choose::Hash {
                records.sort_by_key(|entry| entry.id());
            }
            records.truncate(plan.bounds.records_per_key as usize);
            add(plan, &mut rows, &key, &records);
        }
    }
    rows
}

/// K.
fn may(
    plan: &ReleasePlan,
    periods: &Walk,
    panel: &BTreeSet<(u8, i64)>,
    subject: u8,
    of_subject: &[&(&Entry, i64)],
    start_ms: i64,
) -> bool {
    if plan.bounds.choose_windows == ChooseWindows::Panel {
        return panel.contains(&(subject, start_ms));
    }
    let mut seen: Vec<i64> = Vec::new();
    for (_, pane) in of_subject {
        if periods.containing(*pane) == periods.containing(start_ms) && !seen.contains(pane) {
            seen.push(*pane);
        }
    }
    seen.truncate(plan.bounds.windows_per_period as usize);
    seen.contains(&start_ms)
}

/// L0.
fn keys(plan: &ReleasePlan, subject: u8, start_ms: i64, in_pane: &[&Entry]) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for entry in in_pane {
        if !keys.contains(&entry.key) {
            keys.push(entry.key.clone());
        }
    }
    if plan.bounds.choose == Choose::Hash {
        keys.sort_by_key(|key| rank(subject, start_ms, key));
    }
    keys.truncate(plan.bounds.keys_per_window as usize);
    keys
}

fn rank(subject: u8, start_ms: i64, key: &str) -> [u8; 8] {
    let parts: [&[u8]; 4] =
        [b"key", &Entry::digest(subject), &start_ms.to_be_bytes(), key.as_bytes()];
    let hash = blake3::keyed_hash(&SECRET, &parts.concat());
    std::array::from_fn(|at| hash.as_bytes()[at])
}

/// One subject's records of one key.
fn add(plan: &ReleasePlan, rows: &mut Rows, key: &str, records: &[&Entry]) {
    let row = rows.entry(key.to_owned()).or_insert_with(|| vec![0; plan.outputs.len()]);
    let mut sums = 0;
    for (total, output) in row.iter_mut().zip(&plan.outputs) {
        *total += match output.what {
            What::Subjects => 1,
            What::Count => i64::try_from(records.len()).unwrap(),
            What::Sum { .. } => {
                sums += 1;
                records.iter().map(|entry| entry.values[sums - 1].unwrap_or(0)).sum::<i64>()
            }
        };
    }
}

/// Who is drawn for which pane, found by asking the engine with one lonely record each: it may
/// depend on nothing else.
pub(super) fn panel(plan: &ReleasePlan, panes: &Walk, subjects: u8) -> BTreeSet<(u8, i64)> {
    let mut drawn = BTreeSet::new();
    let mut plan = plan.clone();
    (plan.keys, plan.schedule.late) = (Keys::Whole, Late::Drop);
    for (start_ms, _) in panes.stretches() {
        for subject in 0..subjects {
            let mut lonely = task(&plan, ROOMY, Nowhere);
            let entry = Entry { subject, key: String::new(), ..Entry::at(start_ms, start_ms) };
            lonely.accept(0, entry.contribution()).unwrap();
            if !lonely.close(start_ms, 0).unwrap().by_key.is_empty() {
                drawn.insert((subject, start_ms));
            }
        }
    }
    drawn
}
