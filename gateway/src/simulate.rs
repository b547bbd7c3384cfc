//! A recorded stream through the parts of a release, with the clock taken from the stream and a
//! throwaway budget: for people who judge a plan before it takes effect, and for anyone who audits the
//! noise. Its result is made from raw data and stays with those who have it.

mod hopping;
mod reasons;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use serde::Serialize;
use sluicegate_policies::{
    Grant,
    release::{Keys, PaneId, ReleasePlan, Stretch, What, noise_sd},
};
use sluicegate_releases::{
    Noisy,
    noise::{NoiseError, OpenDp},
    select,
    window::{self, Task, Totals},
};

pub use reasons::Reason;

use self::reasons::Reasons;
use crate::{
    contribute::{Contributor, Moment},
    decide::Snapshot,
    flow::Gate,
    listen::body,
    record::{Record, Refused, RequestId, Uncounted},
    release::spill::SpillFolder,
};

/// Why a simulation ended early.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    #[error(
        "the dataset `{0}` has no `event-time`, and the stream has no `timestamp_ms`: nothing says \
         when its records happened"
    )]
    NoTime(Arc<str>),
    #[error("the input has no records")]
    Empty,
    #[error("the policy cannot be applied: {}", .0.detail)]
    Policy(Refused),
    #[error("line {line} could not be read: {why}")]
    Read { line: usize, why: String },
    #[error("line {line}: {why}")]
    Record { line: usize, why: String },
    #[error(
        "line {line}: its time would make more than {PANES_MAX} windows since the first record: is \
         it right, and does `event-time` have the right `unit`?"
    )]
    TooManyWindows { line: usize },
    #[error("{0}")]
    Window(String),
    #[error("{0}")]
    Noise(String),
}

/// What a stream is run through: the gateway's own judge, and one release.
pub struct Through<'a> {
    /// As whose records they are judged.
    pub grant: Grant<'a>,
    pub snapshot: &'a Snapshot,
    pub contributor: &'a Contributor,
}

/// Most windows of one simulation: a wrong time of one record would make billions.
pub const PANES_MAX: usize = 100_000;

/// What would have been published, beside what is true.
#[derive(Serialize)]
pub struct Simulation {
    /// Says what this is, in every form of output.
    pub note: &'static str,
    pub release: Arc<str>,
    /// As whose records, and for which purpose, they were judged.
    pub publisher: Arc<str>,
    pub purpose: Arc<str>,
    pub records: u64,
    /// Records that a gateway would not take.
    pub refused: u64,
    /// Records that contribute nothing: no subject, no key of the release, or not in its region.
    pub outside: u64,
    pub late: u64,
    /// All of these by reason, and the sums that records add nothing to.
    pub reasons: Vec<Reason>,
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

/// Numbers are in the order of the release's outputs, each in units of 10 to the minus its
/// `decimals`.
#[derive(Serialize)]
pub struct Row {
    pub key: Arc<str>,
    /// Of the whole stream, without any bound, rounded once for all records.
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
    /// Root-mean-square of published − bounded, over published rows; none if there are none.
    pub noise_rms: Option<f64>,
    /// Root-mean-square of published − truth, over published rows; none if there are none.
    pub error_rms: Option<f64>,
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
    /// One for each sum of the plan, with [`DECIMALS_MORE`] decimals more than the plan's.
    totals: Vec<i128>,
}

/// So many decimals of each number are true beyond those that the plan publishes.
const DECIMALS_MORE: u32 = 9;
const TRUE_UNIT: i128 = 10_i128.pow(DECIMALS_MORE);
/// From this share of the records on, in percent, what is left out makes a result doubtful.
const DOUBTFUL_PERCENT: u64 = 10;

/// Runs the lines of a recorded stream through the gateway's judge, contribution, bounding and,
/// `runs` times with fresh noise, selection. `spill` is a folder for state that does not fit in
/// memory.
pub fn simulate(
    through: &Through<'_>,
    lines: impl Iterator<Item = std::io::Result<Vec<u8>>>,
    runs: u32,
    spill: &Path,
) -> Result<Simulation, SimulateError> {
    let plan = &through.contributor.plan;
    let mut reading = Reading {
        through,
        gate: Gate::new(&through.grant, through.snapshot).map_err(SimulateError::Policy)?,
        task: new_task(through.contributor, spill),
        truths: BTreeMap::new(),
        closed: BTreeMap::new(),
        due: None,
        now_ms: i64::MIN,
        records: 0,
        reasons: Reasons::default(),
    };
    for (line, text) in (1..).zip(lines) {
        let text = text.map_err(|e| SimulateError::Read { line, why: e.kind().to_string() })?;
        reading.line(line, &Bytes::from(text))?;
    }
    reading.end()?;
    let Reading { truths, closed, records, reasons, .. } = reading;
    let mut out = Simulation {
        note: NOTE,
        release: plan.name.clone(),
        publisher: through.grant.principal().clone(),
        purpose: through.grant.purpose().clone(),
        records,
        refused: reasons.records(reasons::What::Refused),
        outside: reasons.records(reasons::What::Outside),
        late: reasons.records(reasons::What::Late),
        reasons: reasons.into_list(),
        runs,
        doubt: None,
        windows: Vec::new(),
        outputs: Vec::new(),
        hopping: Vec::new(),
        hopping_outputs: Vec::new(),
    };
    draw(plan, runs, closed, &truths, &mut out)?;
    out.doubt = doubt(plan, &out);
    Ok(out)
}

/// A stream on its way in.
struct Reading<'a> {
    through: &'a Through<'a>,
    gate: Gate<'a>,
    task: Task,
    truths: BTreeMap<i64, Truth>,
    closed: BTreeMap<PaneId, Totals>,
    due: Option<Due>,
    /// The stream's clock.
    now_ms: i64,
    records: u64,
    reasons: Reasons,
}

impl Reading<'_> {
    fn line(&mut self, line: usize, text: &Bytes) -> Result<(), SimulateError> {
        let Some(read) = body::recorded(text) else { return Ok(()) };
        self.records += 1;
        let (record, arrival_ms) = match read {
            Ok(read) => read,
            Err(error) => {
                self.reasons.refused("malformed-body", line, None, &error.what);
                return Ok(());
            }
        };
        let accepted = match self.gate.accept(&record, |_, _, _| ()) {
            Ok(accepted) => accepted,
            Err(refused) => {
                let (code, pointer) = (refused.code.as_str(), refused.pointer.as_deref());
                self.reasons.refused(code, line, pointer, &refused.detail);
                return Ok(());
            }
        };
        let event_ms = accepted.classified.event_ms;
        // A recorded stream is in the order of arrival.
        let Some(told) = arrival_ms.or(event_ms) else {
            let why = "nothing says when the record happened";
            self.reasons.refused(reasons::NO_TIME, line, None, why);
            return Ok(());
        };
        let held = accepted.may_be_held_in(&self.through.contributor.plan.region);
        self.counted(line, told, event_ms, &record, held)
    }

    fn counted(
        &mut self,
        line: usize,
        told_ms: i64,
        event_ms: Option<i64>,
        record: &Record,
        held: bool,
    ) -> Result<(), SimulateError> {
        let contributor = self.through.contributor;
        let plan = &contributor.plan;
        self.now_ms = self.now_ms.max(told_ms);
        let now_ms = self.now_ms;
        let newest = plan.schedule.pane.containing(now_ms);
        let due = self.due.get_or_insert_with(|| Due::from(plan, told_ms));
        due.close(plan, &mut self.task, &mut self.closed, now_ms, newest, line)?;
        let moment = Moment {
            event_ms: event_ms.unwrap_or(now_ms),
            arrival_ms: now_ms,
            request: RequestId([0; 16]),
            seq: u32::try_from(line).unwrap_or(u32::MAX),
        };
        let failed = |why: String| SimulateError::Record { line, why };
        let made = match held {
            true => contributor.unclamped(record, moment).map_err(|e| failed(e.to_string()))?,
            false => Err(Uncounted::Elsewhere),
        };
        let mut contribution = match made {
            Ok(contribution) => contribution,
            Err(why) => {
                self.reasons.not_counted(&why, line, contributor.spelling(record));
                return Ok(());
            }
        };
        let pane = match window::pane_of(plan, &contribution) {
            window::Placement::Pane(pane) => pane.start_ms,
            window::Placement::Late => {
                self.reasons.not_counted(&Uncounted::Late, line, None);
                plan.schedule.pane.containing(contribution.event_ms).start_ms
            }
        };
        for sum in contributor.without_number(&contribution) {
            self.reasons.not_counted(&Uncounted::NoNumber(sum), line, None);
        }
        let amounts = contributor.amounts(record, DECIMALS_MORE);
        let amounts = amounts.map_err(|e| failed(e.to_string()))?;
        self.truths.entry(pane).or_default().count(&contribution, &amounts);
        contributor.clamp(&mut contribution);
        let offset = i64::try_from(self.records).unwrap_or(i64::MAX);
        self.task.accept(offset, contribution).map_err(|e| SimulateError::Window(e.to_string()))
    }

    /// The last windows fire.
    fn end(&mut self) -> Result<(), SimulateError> {
        let plan = &self.through.contributor.plan;
        if self.records == 0 {
            return Err(SimulateError::Empty);
        }
        if self.reasons.of(reasons::NO_TIME) == self.records {
            return Err(SimulateError::NoTime(plan.dataset.clone()));
        }
        let Some(mut due) = self.due.take() else { return Ok(()) };
        let newest = plan.schedule.pane.containing(self.now_ms);
        let end = plan.fires_ms(PaneId::new(newest, plan.last_revision()));
        let line = usize::try_from(self.records).unwrap_or(usize::MAX);
        due.close(plan, &mut self.task, &mut self.closed, end, newest, line)
    }
}

/// What makes a result doubtful, if anything does.
fn doubt(plan: &ReleasePlan, out: &Simulation) -> Option<String> {
    let mut doubts = Vec::new();
    if out.late * 2 > out.records {
        doubts.push(format!(
            "{} of {} records are late, which is most of them: is the stream in order of arrival, \
             and is the time of each record right?",
            out.late, out.records
        ));
    }
    let is_much = |records: u64| records * 100 >= out.records * DOUBTFUL_PERCENT;
    let left_out = out.refused + out.outside;
    if is_much(left_out) {
        doubts.push(format!("{left_out} of {} records count in no window", out.records));
    }
    let without_number = |reason: &&Reason| reason.what == reasons::What::WithoutNumber;
    for reason in out.reasons.iter().filter(without_number).filter(|r| is_much(r.records)) {
        doubts.push(format!("{} of {} records: {}", reason.records, out.records, reason.detail));
    }
    doubts.extend(nothing_published(plan, out));
    (!doubts.is_empty()).then(|| doubts.join("; "))
}

fn nothing_published(plan: &ReleasePlan, out: &Simulation) -> Option<String> {
    if out.outputs.iter().any(|output| output.published_rows > 0) {
        return None;
    }
    let Keys::Unknown { threshold, .. } = &plan.keys else {
        return Some("nothing published".to_owned());
    };
    let rows = out.windows.iter().flat_map(|window| &window.rows);
    let largest = rows.filter_map(|row| row.bounded.first()).max().copied().unwrap_or(0);
    Some(format!(
        "nothing published: the largest bounded row has {largest}, the threshold is {threshold}"
    ))
}

fn new_task(contributor: &Contributor, spill: &Path) -> Task {
    let limits = window::Limits { resident_subjects: 1_000_000, spill_bytes: 8 << 30 };
    let spill = SpillFolder::new(spill.to_owned());
    Task::new(contributor.plan.clone(), &contributor.choice, limits, Box::new(spill))
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
            let id = PaneId::new(plan.schedule.pane.containing(self.next_ms), 0);
            let is_due = plan.fires_ms(id) <= now_ms && id.start_ms <= newest.start_ms;
            if !is_due || id.end_ms <= self.next_ms {
                break;
            }
            take(id)?;
            let revisions = plan.revisions().skip(1).map(|revision| PaneId { revision, ..id });
            self.again.extend(revisions.map(|id| (plan.fires_ms(id), id)));
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

impl Truth {
    fn count(&mut self, contribution: &window::Contribution, amounts: &[Option<i128>]) {
        let row = self.by_key.entry(contribution.key.clone()).or_default();
        row.subjects.insert(contribution.subject.0);
        row.records += 1;
        let amounts: Vec<i128> = amounts.iter().map(|amount| amount.unwrap_or(0)).collect();
        row.add(&amounts);
    }

    /// Of both: who is in both is one subject.
    fn add(&mut self, other: &Self) {
        for (key, row) in &other.by_key {
            let sum = self.by_key.entry(key.clone()).or_default();
            sum.subjects.extend(&row.subjects);
            sum.records += row.records;
            sum.add(&row.totals);
        }
    }

    fn row(&self, plan: &ReleasePlan, key: &str) -> Vec<i64> {
        let row = self.by_key.get(key).cloned().unwrap_or_default();
        let mut totals = row.totals.iter();
        let value = |what: &What| match what {
            What::Subjects => i64::try_from(row.subjects.len()).unwrap_or(i64::MAX),
            What::Count => row.records,
            What::Sum { .. } => totals.next().map_or(0, |total| rounded(*total)),
        };
        plan.outputs.iter().map(|o| &o.what).map(value).collect()
    }
}

impl TrueRow {
    fn add(&mut self, totals: &[i128]) {
        self.totals.resize(totals.len().max(self.totals.len()), 0);
        for (total, more) in self.totals.iter_mut().zip(totals) {
            *total = total.saturating_add(*more);
        }
    }
}

/// A true sum with the plan's decimals, half up.
fn rounded(total: i128) -> i64 {
    let units = total.saturating_add(TRUE_UNIT / 2).div_euclid(TRUE_UNIT);
    i64::try_from(units).unwrap_or(if units < 0 { i64::MIN } else { i64::MAX })
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
        let rms = |sum: f64| (published > 0).then(|| (sum / published as f64).sqrt());
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
