//! A recorded stream through the parts of a release, with the clock taken from the stream and a
//! throw-away budget: for people who judge a plan before it bites, and for anyone who audits the
//! noise. Its result is made of raw data and stays with whoever has them.

mod hopping;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use serde::Serialize;
use sluicegate_policies::{
    Dataset,
    release::{Keys, ReleasePlan, Stretch, What, noise_sd},
};

use crate::{
    classify,
    contribute::{Contributor, Moment},
    record::{Record, RequestId},
    release::{
        Noisy, PaneId,
        noise::{NoiseError, OpenDp},
        runner, select,
    },
    window::{self, Task, Totals},
};

/// Why a simulation ended early.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    #[error(
        "the dataset `{0}` has no `event-time`, and the stream says no `timestamp_ms`: nothing \
         tells when its records happened"
    )]
    NoTime(Arc<str>),
    #[error("line {line}: {why}")]
    Record { line: usize, why: String },
    #[error(
        "line {line}: its time makes more than {PANES_MAX} windows since the first record: is it right, \
         and does `event-time` have the right `unit`?"
    )]
    TooManyWindows { line: usize },
    #[error("{0}")]
    Window(String),
    #[error("{0}")]
    Noise(String),
}

/// One line of a recorded stream.
pub struct Recorded {
    pub line: usize,
    pub record: Record,
    /// When it arrived, if the stream says so.
    pub arrival_ms: Option<i64>,
}

/// Most windows of one simulation: a wrong time of one record would make billions.
pub const PANES_MAX: usize = 100_000;

/// What would have been published, beside what is true.
#[derive(Serialize)]
pub struct Simulation {
    /// Says what this is, in every form of output.
    pub note: &'static str,
    pub release: Arc<str>,
    pub records: u64,
    /// Records that contribute nothing: no subject, or no key of the release.
    pub outside: u64,
    pub late: u64,
    pub runs: u32,
    /// What makes the result doubtful, if anything does.
    pub doubt: Option<String>,
    /// As they are bounded and noised: where windows overlap, their panes.
    pub windows: Vec<Window>,
    pub outputs: Vec<Summary>,
    /// Where windows overlap, the windows: sums of panes as published, of which each has as many as
    /// the release says. A row has what was published of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hopping: Vec<Window>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hopping_outputs: Vec<Summary>,
}

#[derive(Serialize)]
pub struct Window {
    pub start_ms: i64,
    pub end_ms: i64,
    /// 0 the first time; with `late: revise` the window comes again.
    pub revision: u32,
    pub rows: Vec<Row>,
}

/// Numbers stand in the order of the release's outputs, each in units of 10 to the minus its
/// `decimals`.
#[derive(Serialize)]
pub struct Row {
    pub key: Arc<str>,
    /// Of the whole stream, without any bound.
    pub truth: Vec<i64>,
    /// Of what the bounds let through.
    pub bounded: Vec<i64>,
    /// One for each run; null where the row was not published.
    pub published: Vec<Option<Vec<i64>>>,
}

/// How far off an output is.
#[derive(Serialize)]
pub struct Summary {
    pub output: Arc<str>,
    /// How many decimals its numbers have, here and in the rows: 1234 with 2 of them is 12.34.
    pub decimals: u8,
    /// Standard deviation of the noise, by theory.
    pub noise_sd: f64,
    /// Root-mean-square of published − bounded, over published rows.
    pub noise_rms: f64,
    /// Root-mean-square of published − truth, over published rows.
    pub error_rms: f64,
    /// What the bounds leave out, of the truth's sum, in percent.
    pub bias_percent: f64,
    pub published_rows: u64,
    pub rows: u64,
}

pub const NOTE: &str = "SIMULATION ON RAW DATA: never delivered, not protected; keep it where the \
                        raw data may be";

/// What is true of a pane: no bound, no clamp.
#[derive(Default)]
struct Truth {
    by_key: BTreeMap<Arc<str>, TrueRow>,
}

#[derive(Clone, Default)]
struct TrueRow {
    subjects: BTreeSet<[u8; 16]>,
    records: i64,
    /// One for each sum of the plan.
    totals: Vec<i64>,
}

/// Runs the stream through contribution, bounding and, `runs` times with fresh noise, selection.
/// `spill` is a folder for state that does not fit in memory.
pub fn simulate(
    contributor: &Contributor,
    dataset: &Dataset,
    stream: impl Iterator<Item = Result<Recorded, SimulateError>>,
    runs: u32,
    spill: &Path,
) -> Result<Simulation, SimulateError> {
    let plan = &contributor.plan;
    let mut task = new_task(contributor, spill);
    let mut truths: BTreeMap<i64, Truth> = BTreeMap::new();
    let mut closed: BTreeMap<PaneId, Totals> = BTreeMap::new();
    let mut out = Simulation {
        note: NOTE,
        release: plan.name.clone(),
        records: 0,
        outside: 0,
        late: 0,
        runs,
        doubt: None,
        windows: Vec::new(),
        outputs: Vec::new(),
        hopping: Vec::new(),
        hopping_outputs: Vec::new(),
    };
    let mut due: Option<Due> = None;
    let mut now_ms = i64::MIN;
    for (offset, recorded) in (0_i64..).zip(stream) {
        let recorded = recorded?;
        out.records += 1;
        let event_ms = classify::event_time(&recorded.record, dataset).map_err(|refused| {
            SimulateError::Record { line: recorded.line, why: refused.detail.to_string() }
        })?;
        // A recorded stream stands in the order of arrival.
        let told = recorded.arrival_ms.or(event_ms);
        let told = told.ok_or_else(|| SimulateError::NoTime(dataset.name.clone()))?;
        now_ms = now_ms.max(told);
        let due = due.get_or_insert_with(|| Due::from(plan, told));
        let newest = plan.schedule.pane.containing(now_ms);
        due.close(plan, &mut task, &mut closed, now_ms, newest, recorded.line)?;
        let moment = Moment {
            event_ms: event_ms.unwrap_or(now_ms),
            arrival_ms: now_ms,
            request: RequestId([0; 16]),
            seq: u32::try_from(recorded.line).unwrap_or(u32::MAX),
        };
        let made = contributor.unclamped(&recorded.record, moment);
        let made = made.map_err(|error| SimulateError::Record {
            line: recorded.line,
            why: error.to_string(),
        })?;
        let Some(mut contribution) = made else {
            out.outside += 1;
            continue;
        };
        let pane = match window::pane_of(plan, &contribution) {
            window::Placement::Pane(pane) => pane,
            window::Placement::Late => {
                out.late += 1;
                plan.schedule.pane.containing(contribution.event_ms)
            }
        };
        truths.entry(pane.start_ms).or_default().count(plan, &contribution);
        contributor.clamp(&mut contribution);
        task.accept(offset, contribution).map_err(|e| SimulateError::Window(e.to_string()))?;
    }
    if let Some(mut due) = due {
        let newest = plan.schedule.pane.containing(now_ms);
        let end = runner::fires_ms(plan, pane(newest, *runner::revisions(plan).end()));
        let line = usize::try_from(out.records).unwrap_or(usize::MAX);
        due.close(plan, &mut task, &mut closed, end, newest, line)?;
    }
    if out.late * 2 > out.records {
        out.doubt = Some(format!(
            "{} of {} records are late, most of all: is the stream in the order of its arrival, and \
             the time of each record right?",
            out.late, out.records
        ));
    }
    draw(plan, runs, closed, &truths, &mut out)?;
    Ok(out)
}

fn new_task(contributor: &Contributor, spill: &Path) -> Task {
    let limits = window::Limits { resident_subjects: 1_000_000, spill_bytes: 8 << 30 };
    Task::new(contributor.plan.clone(), &contributor.choice, limits, spill.to_owned())
}

/// What is still to be published, by the stream's clock.
struct Due {
    /// The start of the oldest pane that was not published yet.
    next_ms: i64,
    /// Of published panes what comes again, by when.
    again: BTreeSet<(i64, PaneId)>,
}

impl Due {
    /// From the pane of the first record on.
    fn from(plan: &ReleasePlan, first_ms: i64) -> Self {
        let next_ms = plan.schedule.pane.containing(first_ms).start_ms;
        Self { next_ms, again: BTreeSet::new() }
    }

    /// Closes what fires up to a moment, of panes not after `newest`.
    fn close(
        &mut self,
        plan: &ReleasePlan,
        task: &mut Task,
        closed: &mut BTreeMap<PaneId, Totals>,
        now_ms: i64,
        newest: Stretch,
        line: usize,
    ) -> Result<(), SimulateError> {
        let mut take = |id: PaneId| {
            if closed.len() >= PANES_MAX {
                return Err(SimulateError::TooManyWindows { line });
            }
            let totals = task.close(id.start_ms, id.revision);
            closed.insert(id, totals.map_err(|e| SimulateError::Window(e.to_string()))?);
            Ok(())
        };
        loop {
            let id = pane(plan.schedule.pane.containing(self.next_ms), 0);
            let is_due = runner::fires_ms(plan, id) <= now_ms && id.start_ms <= newest.start_ms;
            if !is_due || id.end_ms <= self.next_ms {
                break;
            }
            take(id)?;
            let revisions =
                runner::revisions(plan).skip(1).map(|revision| PaneId { revision, ..id });
            self.again.extend(revisions.map(|id| (runner::fires_ms(plan, id), id)));
            self.next_ms = id.end_ms;
        }
        while let Some((fires_ms, id)) = self.again.first().copied()
            && fires_ms <= now_ms
        {
            self.again.pop_first();
            take(id)?;
        }
        Ok(())
    }
}

fn pane(stretch: Stretch, revision: u32) -> PaneId {
    PaneId { start_ms: stretch.start_ms, end_ms: stretch.end_ms, revision }
}

impl Truth {
    fn count(&mut self, plan: &ReleasePlan, contribution: &window::Contribution) {
        let sums = plan.outputs.iter().filter(|o| matches!(o.what, What::Sum { .. })).count();
        let row = self.by_key.entry(contribution.key.clone()).or_default();
        row.totals.resize(sums, 0);
        row.subjects.insert(contribution.subject.0);
        row.records += 1;
        for (total, value) in row.totals.iter_mut().zip(&contribution.values) {
            *total = total.saturating_add(value.unwrap_or(0));
        }
    }

    /// Of both: who is in both is one subject.
    fn add(&mut self, other: &Self) {
        for (key, row) in &other.by_key {
            let sum = self.by_key.entry(key.clone()).or_default();
            sum.subjects.extend(&row.subjects);
            sum.records += row.records;
            sum.totals.resize(row.totals.len().max(sum.totals.len()), 0);
            for (total, value) in sum.totals.iter_mut().zip(&row.totals) {
                *total = total.saturating_add(*value);
            }
        }
    }

    fn row(&self, plan: &ReleasePlan, key: &str) -> Vec<i64> {
        let row = self.by_key.get(key).cloned().unwrap_or_default();
        let mut totals = row.totals.iter();
        let value = |what: &What| match what {
            What::Subjects => i64::try_from(row.subjects.len()).unwrap_or(i64::MAX),
            What::Count => row.records,
            What::Sum { .. } => totals.next().copied().unwrap_or(0),
        };
        plan.outputs.iter().map(|o| &o.what).map(value).collect()
    }
}

fn draw(
    plan: &ReleasePlan,
    runs: u32,
    closed: BTreeMap<PaneId, Totals>,
    truths: &BTreeMap<i64, Truth>,
    out: &mut Simulation,
) -> Result<(), SimulateError> {
    let failed = |e: NoiseError| SimulateError::Noise(e.to_string());
    let mut sampler = OpenDp::for_plan(plan).map_err(failed)?;
    let nothing = Truth::default();
    for (pane, totals) in closed {
        let drawn = (0..runs).map(|_| select::noise(plan, &totals, &mut sampler).map_err(failed));
        let drawn: Vec<Noisy> = drawn.collect::<Result<_, _>>()?;
        let truth = truths.get(&pane.start_ms).unwrap_or(&nothing);
        let rows = keys(plan, &totals, truth).into_iter().map(|key| {
            let bounded = totals.by_key.get(&key).cloned();
            let published = drawn.iter().map(|noisy| {
                let row = noisy.rows.iter().find(|row| row.key == key);
                row.map(|row| row.values.clone())
            });
            Row {
                truth: truth.row(plan, &key),
                bounded: bounded.unwrap_or_else(|| vec![0; plan.outputs.len()]),
                published: published.collect(),
                key,
            }
        });
        let rows = rows.collect();
        let PaneId { start_ms, end_ms, revision } = pane;
        out.windows.push(Window { start_ms, end_ms, revision, rows });
    }
    out.outputs = summaries(plan, &out.windows, 1);
    let panes = plan.schedule.panes_per_window;
    if panes > 1 {
        out.hopping = hopping::windows(plan, &out.windows, truths);
        out.hopping_outputs = summaries(plan, &out.hopping, panes);
    }
    Ok(())
}

/// The rows that there are to speak of: the plan's, or those of the data.
fn keys(plan: &ReleasePlan, totals: &Totals, truth: &Truth) -> BTreeSet<Arc<str>> {
    match &plan.keys {
        Keys::Whole => BTreeSet::from([Arc::from("")]),
        Keys::Public { values, .. } => values.iter().cloned().collect(),
        Keys::Unknown { .. } => totals.by_key.keys().chain(truth.by_key.keys()).cloned().collect(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "errors are for people; nothing is released")]
fn summaries(plan: &ReleasePlan, windows: &[Window], panes: u32) -> Vec<Summary> {
    let rows = || windows.iter().flat_map(|window| &window.rows);
    let summary = |(n, output): (usize, &sluicegate_policies::release::Output)| {
        let at = |values: &[i64]| values.get(n).copied().unwrap_or(0) as f64;
        let (mut noise, mut error, mut published) = (0.0, 0.0, 0_u64);
        for row in rows() {
            for values in row.published.iter().flatten() {
                noise += (at(values) - at(&row.bounded)).powi(2);
                error += (at(values) - at(&row.truth)).powi(2);
                published += 1;
            }
        }
        let truth: f64 = rows().map(|row| at(&row.truth).abs()).sum();
        let lost: f64 = rows().map(|row| at(&row.truth) - at(&row.bounded)).sum();
        let rms = |sum: f64| if published == 0 { 0.0 } else { (sum / published as f64).sqrt() };
        Summary {
            output: output.name.clone(),
            decimals: match output.what {
                What::Sum { scale, .. } => scale,
                What::Subjects | What::Count => 0,
            },
            noise_sd: noise_sd(output.noise) * f64::from(panes).sqrt(),
            noise_rms: rms(noise),
            error_rms: rms(error),
            bias_percent: if truth == 0.0 { 0.0 } else { -100.0 * lost / truth },
            published_rows: published,
            rows: rows().count() as u64,
        }
    };
    plan.outputs.iter().enumerate().map(summary).collect()
}
