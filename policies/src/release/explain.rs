//! What a release means, in words and figures for people who answer for it and don't run it.
//!
//! Everything here follows from the plan, and from volumes that an author expects; nothing is
//! measured. Costs are rounded up, errors are those of the noise as it is drawn.
//!
//! INVARIANT: nothing is left out that someone would have to know before they rely on the promise:
//! what is not protected is part of the text, always.

mod curves;
mod text;
mod together;

use serde::{Deserialize, Serialize};

pub use curves::{Curve, Point, declared_by, error_by_epsilon, error_by_windows};
pub use together::Together;

use super::{
    calendar::Calendar,
    plan::{Accounting, ChooseWindows, Keys, Noise, Output, ReleasePlan, SubjectUnit, Unit, What},
    privacy::{noise_quantile_95, noise_sd, rho_to_epsilon},
};

const DAY_MS: i64 = 86_400_000;

/// Volumes that an author expects. Figures of policy, not of data: an author who measures them to write
/// them here has looked at the data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    pub records_per_pane: u64,
    pub subjects_per_pane: u64,
    /// Rows that share them; for listed keys this is known, and for one row it is one.
    #[serde(default)]
    pub keys_per_pane: Option<u64>,
    /// How many records a subject has in one pane.
    #[serde(default)]
    pub records_per_subject: Option<Box<[Crowd]>>,
    /// In how many panes of one period an average subject appears.
    #[serde(default)]
    pub panes_per_subject: Option<u32>,
}

/// So many subjects with so many records each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crowd {
    pub records: u64,
    pub subjects: u64,
}

/// A release, explained. `Display` has it in words.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explained {
    pub release: String,
    pub dataset: String,
    pub region: String,
    pub topic: String,
    pub protects: Protects,
    pub schedule: Times,
    pub cost: Costs,
    pub rows: Rows,
    pub outputs: Vec<Accuracy>,
    pub bias: Bias,
    /// Sentences: what the promise does not cover.
    pub unprotected: Vec<String>,
}

/// Whom, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "unit", rename_all = "snake_case")]
pub enum Protects {
    Subject { field: String, domain: String, period: String },
    Record,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Times {
    pub pane: String,
    pub panes_per_window: u32,
    /// How long after a pane's end it is published, in milliseconds: always, also when nothing
    /// came.
    pub published_after_ms: i64,
    /// Every pane is published this often.
    pub times: u32,
    /// Whether a smoothed number goes with each.
    pub smoothed: bool,
}

/// What it costs one person (or, for `unit: record`, one record). ε rounded up.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Costs {
    pub accounting: &'static str,
    /// K.
    pub panes_charged: u32,
    pub pane_epsilon: f64,
    /// All K panes of a period.
    pub period_epsilon: f64,
    pub period_delta: f64,
    /// As declared: never below `period_epsilon`.
    pub promised_epsilon: String,
    /// At most; `None` for `unit: record`, where no time bounds what a person pays.
    pub day_epsilon: Option<f64>,
    pub thirty_days_epsilon: Option<f64>,
    pub thirty_days_delta: Option<f64>,
    pub year_epsilon: Option<f64>,
    /// With all other releases of the dataset, if there are any.
    pub together: Option<Together>,
    /// What part of the dataset's cap all panes of a period take, in percent, rounded up.
    pub percent_of_cap: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "keys", rename_all = "snake_case")]
pub enum Rows {
    Whole,
    Public {
        field: String,
        rows: usize,
    },
    Unknown {
        field: String,
        /// T: the smallest noisy number of subjects that is published.
        smallest_group: i64,
        /// From so many subjects on, a row is published at least 97 times of 100.
        nearly_always_from: i64,
        raw_floor: Option<u32>,
        /// How many units a row of one pane has at the expected volume, spread evenly.
        expected_group: Option<u64>,
    },
}

/// How far a published number of one row is from the (bounded) truth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    pub output: String,
    /// What it counts in.
    pub counts: String,
    pub noise: &'static str,
    /// Standard deviation, in the output's own unit, of one window.
    pub sd: f64,
    /// At least 95 of 100 published numbers are this close.
    pub error_95: f64,
    /// `error_95` in percent of what a row of the expected volume holds.
    pub relative_percent: Option<f64>,
    /// How many decimals the output's unit has.
    #[serde(skip)]
    decimals: u8,
    /// Whether the truth cannot be below zero.
    #[serde(skip)]
    never_negative: bool,
    /// Whether only what is published in every pane of a window is this close.
    #[serde(skip)]
    of_complete_rows: bool,
}

/// What bounding takes away before any noise. Noise errs both ways, bounding only downwards.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bias {
    pub keys_per_window: u32,
    pub records_per_key: u32,
    /// K, and the panes of a period it is out of.
    pub windows_per_period: u32,
    pub panes_per_period: u64,
    /// `first` or `panel`.
    pub choose_windows: &'static str,
    /// Percent of the records of a pane that the bounds on keys and records drop, given the
    /// expected volume: at least …
    pub records_lost_at_least: Option<f64>,
    /// … and at most, when all records of a subject have one key. Needs the distribution.
    pub records_lost_at_most: Option<f64>,
    /// Percent of the panes in which a subject appears that K drops: for a panel what is expected,
    /// otherwise at least.
    pub panes_lost: Option<f64>,
}

/// A plan in words and figures. `others`: the other releases of its dataset that are charged.
#[must_use]
pub fn explain(
    plan: &ReleasePlan,
    expected: Option<&Expected>,
    others: &[&ReleasePlan],
) -> Explained {
    Explained {
        release: plan.name.to_string(),
        dataset: plan.dataset.to_string(),
        region: plan.region.to_string(),
        topic: plan.topic.to_string(),
        protects: protects(&plan.unit),
        schedule: times(plan),
        cost: costs(plan, others),
        rows: rows(plan, expected),
        outputs: plan.outputs.iter().map(|output| accuracy(plan, output, expected)).collect(),
        bias: bias(plan, expected),
        unprotected: text::unprotected(plan),
    }
}

fn protects(unit: &Unit) -> Protects {
    match unit {
        Unit::Subject(SubjectUnit { path, domain, period, .. }) => Protects::Subject {
            field: path.written.to_string(),
            domain: domain.to_string(),
            period: text::calendar(period),
        },
        Unit::Record => Protects::Record,
    }
}

fn times(plan: &ReleasePlan) -> Times {
    let schedule = &plan.schedule;
    Times {
        pane: text::calendar(&schedule.pane),
        panes_per_window: schedule.panes_per_window,
        published_after_ms: schedule.lateness_ms.saturating_add(schedule.slack_ms),
        times: plan.releases_of_a_pane(),
        smoothed: plan.smoothing.is_some(),
    }
}

fn costs(plan: &ReleasePlan, others: &[&ReleasePlan]) -> Costs {
    let panes = u64::from(plan.panes_charged());
    let spent = plan.cost.loss.saturating_mul(panes);
    let period_nano = match plan.accounting {
        Accounting::Pure => spent,
        Accounting::Zcdp => rho_to_epsilon(spent, conversion_delta_atto(plan)),
    };
    let delta_atto = plan.promise.delta_atto;
    // Basic composition of whole periods: it always holds, and it is easy to check by hand.
    let over = |days: i64| match &plan.unit {
        Unit::Subject(unit) => Some(periods_in(&unit.period, days)),
        Unit::Record => None,
    };
    let epsilon = |periods: u64| nano(period_nano.saturating_mul(periods));
    Costs {
        accounting: match plan.accounting {
            Accounting::Pure => "pure",
            Accounting::Zcdp => "zcdp",
        },
        panes_charged: plan.panes_charged(),
        pane_epsilon: nano(plan.promise.pane_epsilon_nano),
        period_epsilon: nano(period_nano),
        period_delta: atto(delta_atto),
        promised_epsilon: plan.promise.epsilon.to_string(),
        day_epsilon: over(1).map(epsilon),
        thirty_days_epsilon: over(30).map(epsilon),
        thirty_days_delta: over(30).map(|periods| atto(delta_atto) * periods as f64),
        year_epsilon: over(365).map(epsilon),
        together: together::together(plan, others),
        percent_of_cap: percent_of_cap(spent, plan.cap.loss),
    }
}

/// What of δ the conversion takes: as `privacy::budget` has it.
pub fn conversion_delta_atto(plan: &ReleasePlan) -> u64 {
    match plan.keys {
        Keys::Unknown { .. } => plan.promise.delta_atto / 2,
        Keys::Whole | Keys::Public { .. } => plan.promise.delta_atto,
    }
}

fn percent_of_cap(spent: u64, cap: u64) -> u64 {
    let percent = (u128::from(spent) * 100).div_ceil(u128::from(cap.max(1)));
    u64::try_from(percent).unwrap_or(u64::MAX)
}

/// The most periods that so many days can touch, where the first begins with a period whenever the
/// two divide.
fn periods_in(period: &Calendar, days: i64) -> u64 {
    let (period, stretch) = (period.size_ms().max(1), days.saturating_mul(DAY_MS));
    let periods = if stretch % period == 0 {
        stretch / period
    } else if period % stretch == 0 {
        1
    } else {
        stretch / period + 2
    };
    periods.unsigned_abs()
}

fn rows(plan: &ReleasePlan, expected: Option<&Expected>) -> Rows {
    match &plan.keys {
        Keys::Whole => Rows::Whole,
        Keys::Public { path, values } => {
            Rows::Public { field: path.written.to_string(), rows: values.len() }
        }
        Keys::Unknown { path, threshold, raw_floor, .. } => {
            let half = plan.outputs.first().map_or(0.0, |first| noise_quantile_95(first.noise));
            Rows::Unknown {
                field: path.written.to_string(),
                smallest_group: *threshold,
                nearly_always_from: threshold.saturating_add(half as i64),
                raw_floor: *raw_floor,
                expected_group: expected.and_then(|expected| {
                    let units = match plan.unit {
                        Unit::Subject(_) => expected.subjects_per_pane,
                        Unit::Record => expected.records_per_pane,
                    };
                    units.checked_div(expected.keys_per_pane?)
                }),
            }
        }
    }
}

fn accuracy(plan: &ReleasePlan, output: &Output, expected: Option<&Expected>) -> Accuracy {
    // A window is the sum of its panes, each with noise of its own. The factor is exact for the
    // deviation and a little too large for the 95 % of Laplace noise.
    let panes = f64::from(plan.schedule.panes_per_window);
    let decimals = decimals(&output.what);
    let unit = 10_f64.powi(-i32::from(decimals));
    let error_95 = (noise_quantile_95(output.noise) * panes.sqrt()).ceil() * unit;
    let relative_percent = expected
        .and_then(|expected| row_volume(plan, output, expected))
        .map(|volume| 100.0 * error_95 / (volume * panes));
    Accuracy {
        output: output.name.to_string(),
        counts: text::counts(&output.what, plan),
        noise: match output.noise {
            Noise::Laplace { .. } => "discrete Laplace",
            Noise::Gaussian { .. } => "discrete Gaussian",
        },
        sd: noise_sd(output.noise) * panes.sqrt() * unit,
        error_95,
        relative_percent,
        decimals,
        never_negative: match output.what {
            What::Subjects | What::Count => true,
            What::Sum { lo, .. } => lo >= 0,
        },
        of_complete_rows: plan.schedule.panes_per_window > 1
            && matches!(plan.keys, Keys::Unknown { .. }),
    }
}

fn decimals(what: &What) -> u8 {
    match what {
        What::Subjects | What::Count => 0,
        What::Sum { scale, .. } => *scale,
    }
}

/// What one row of one pane holds of this output, were the expected volume spread evenly over the
/// rows, nothing bounded away, and values on average half of the largest allowed. `None` where
/// nothing is expected.
fn row_volume(plan: &ReleasePlan, output: &Output, expected: &Expected) -> Option<f64> {
    let rows = match &plan.keys {
        Keys::Whole => 1,
        Keys::Public { values, .. } => values.len() as u64,
        Keys::Unknown { .. } => expected.keys_per_pane?,
    };
    let volume = match &output.what {
        What::Subjects if matches!(plan.unit, Unit::Subject(_)) => {
            expected.subjects_per_pane as f64
        }
        What::Subjects | What::Count => expected.records_per_pane as f64,
        What::Sum { scale, lo, hi, .. } => {
            let largest = lo.unsigned_abs().max(hi.unsigned_abs()) as f64;
            let half = largest / 2.0 / 10_f64.powi(i32::from(*scale));
            expected.records_per_pane as f64 * half
        }
    };
    (rows > 0 && volume > 0.0).then(|| volume / rows as f64)
}

fn bias(plan: &ReleasePlan, expected: Option<&Expected>) -> Bias {
    let bounds = plan.bounds;
    let keys_per_window = if plan.keys == Keys::Whole { 1 } else { bounds.keys_per_window };
    let most = u64::from(keys_per_window) * u64::from(bounds.records_per_key);
    let panes_per_period = panes_per_period(plan);
    // A record that is its own unit is never one of too many.
    let bounded = matches!(plan.unit, Unit::Subject(_));
    let expected = expected.filter(|_| bounded);
    let crowds = expected.and_then(|expected| expected.records_per_subject.as_deref());
    let at_least = match (crowds, expected) {
        (Some(crowds), _) => lost_percent(crowds, most),
        (None, Some(expected)) => lost_percent_of_mean(expected, most),
        (None, None) => None,
    };
    Bias {
        keys_per_window,
        records_per_key: bounds.records_per_key,
        windows_per_period: plan.panes_charged(),
        panes_per_period,
        choose_windows: match bounds.choose_windows {
            ChooseWindows::First => "first",
            ChooseWindows::Panel => "panel",
        },
        records_lost_at_least: at_least,
        records_lost_at_most: crowds
            .and_then(|crowds| lost_percent(crowds, u64::from(bounds.records_per_key))),
        panes_lost: bounded.then(|| panes_lost(plan, panes_per_period, expected)).flatten(),
    }
}

/// How many panes a period has: the most in which a subject can be counted.
pub fn panes_per_period(plan: &ReleasePlan) -> u64 {
    match &plan.unit {
        Unit::Subject(unit) => {
            let pane = plan.schedule.pane.size_ms().max(1).unsigned_abs();
            unit.period.size_ms().unsigned_abs().div_ceil(pane)
        }
        Unit::Record => 1,
    }
}

/// Percent of the records beyond `most` for each subject.
fn lost_percent(crowds: &[Crowd], most: u64) -> Option<f64> {
    let records = |each: &dyn Fn(&Crowd) -> u64| -> u128 {
        crowds.iter().map(|crowd| u128::from(crowd.subjects) * u128::from(each(crowd))).sum()
    };
    let all = records(&|crowd| crowd.records);
    let kept = records(&|crowd| crowd.records.min(most));
    (all > 0).then(|| 100.0 * (all - kept) as f64 / all as f64)
}

/// With nothing known but the mean: were all subjects alike, the least would be lost (what is kept
/// of a subject is a concave function of its records).
fn lost_percent_of_mean(expected: &Expected, most: u64) -> Option<f64> {
    let kept = u128::from(most) * u128::from(expected.subjects_per_pane);
    let all = u128::from(expected.records_per_pane);
    let lost = all.saturating_sub(kept);
    (all > 0 && expected.subjects_per_pane > 0).then(|| 100.0 * lost as f64 / all as f64)
}

fn panes_lost(plan: &ReleasePlan, of: u64, expected: Option<&Expected>) -> Option<f64> {
    let allowed = f64::from(plan.bounds.windows_per_period);
    let appears = match plan.bounds.choose_windows {
        // Drawn in advance: whether a subject appears in them or not.
        ChooseWindows::Panel => of as f64,
        ChooseWindows::First => f64::from(expected?.panes_per_subject?),
    };
    (appears > 0.0).then(|| 100.0 * (1.0 - allowed / appears).max(0.0))
}

fn nano(value: u64) -> f64 {
    value as f64 / 1e9
}

fn atto(value: u64) -> f64 {
    value as f64 / 1e18
}

#[cfg(test)]
mod tests;
