//! The calculus: from what an author declared to noise, thresholds and costs.
//!
//! Pure functions of numbers; no data comes in here. Everything is rounded towards more privacy:
//! INVARIANT: a computed cost is never below the true one, a noise scale or a threshold is never
//! too small, and `panes_charged` times the cost of one pane never exceeds the budget. Costs are
//! exact integer arithmetic on dyadic scales; where floating point is needed (logarithms), its
//! error is bounded and paid for.
//!
//! - `cost`: what noise of a given scale costs, and the smallest scale for a price.
//! - `convert`: between zCDP and (ε, δ).
//! - `threshold`: from which noisy number of subjects an unknown key may be published.
//! - `noise`: how large noise is, for people.

mod convert;
mod cost;
mod noise;
#[cfg(test)]
mod tests;
mod threshold;

use std::fmt;

pub use convert::{epsilon_to_rho, rho_to_epsilon};
pub use cost::{gaussian_cost, laplace_cost, randomized_response_cost};
pub use noise::{noise_quantile_95, noise_sd};
pub use threshold::{
    Threshold, gaussian_threshold, gaussian_threshold_delta, laplace_threshold,
    laplace_threshold_delta,
};

use super::plan::{Accounting, Bounds, Cost, Noise, Sensitivity, What};
use crate::plan::Decimal;

/// The most records that may count into one pane. The code that sums aborts the pane beyond it, so that
/// no sum leaves 64 bits.
pub const RECORDS_PER_PANE_MAX: u64 = 1 << 32;

/// The largest magnitude of a clamped value, exclusive: [`RECORDS_PER_PANE_MAX`] of them stay
/// below 2^62.
pub const CLAMP_MAX: u64 = 1 << 30;

/// Scales stay below this: 2^33 as a [`Dyadic`].
const SCALE_END: u64 = 1 << 53;

const NANO: u64 = 1_000_000_000;
const ATTO: u64 = 1_000_000_000_000_000_000;

/// A part of the budget, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub u32);

impl Share {
    pub const WHOLE: Self = Self(1_000_000);
}

/// What an author declared, numbers only.
#[derive(Clone, Debug)]
pub struct Declared<'a> {
    pub accounting: Accounting,
    /// This release's budget for one unit and period.
    pub epsilon: Decimal,
    /// In 10^-18.
    pub delta_atto: u64,
    /// K for `unit: subject`, 1 for `unit: record`.
    pub panes_charged: u32,
    /// 1 + revisions: every pane is released this often.
    pub repeats: u32,
    /// For `unit: record` one key and one record.
    pub bounds: Bounds,
    pub keys: KeyKind,
    pub outputs: &'a [(What, Share)],
}

/// What is known in advance about the rows, as far as costs are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    Whole,
    Public,
    /// Rows are selected by the noisy number of their subjects. Floors are the author's wish for
    /// more than the promise needs, on the true or on the noisy number.
    Unknown {
        raw_floor: Option<u32>,
        noisy_floor: Option<u32>,
    },
}

impl KeyKind {
    fn selects(self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derived {
    /// One for each declared output, in its order.
    pub outputs: Vec<DerivedOutput>,
    /// What one pane costs, all outputs and repeats.
    pub cost: Cost,
    /// What all panes of a unit and period may cost together: the author's ε and δ in units of
    /// the ledger.
    pub budget: Cost,
    /// Zero for pure accounting: what the conversion from zCDP to (ε, δ) takes of the author's δ.
    pub conversion_delta_atto: u64,
    /// T, for unknown keys.
    pub threshold: Option<i64>,
    /// What one pane costs as nano-epsilon, rounded up; with zCDP at the pane's part of δ.
    pub pane_epsilon_nano: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DerivedOutput {
    pub noise: Noise,
    pub sensitivity: Sensitivity,
    /// Its part of [`Derived::cost`].
    pub cost: Cost,
}

/// An author's ε and δ in units of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub cost: Cost,
    /// What of δ is not in `cost`, because the conversion from zCDP takes it once.
    pub conversion_delta_atto: u64,
}

/// Why a declaration cannot be kept. `output` counts from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unaffordable {
    NoOutputs,
    /// Unknown keys are selected by their first output, which is not the number of subjects.
    NoSelection,
    /// A bound is zero.
    ZeroBound,
    ZeroShare {
        output: usize,
    },
    SharesAboveOne {
        millionths: u64,
    },
    /// Not above zero, or beyond what the ledger can count.
    Epsilon,
    /// Thresholds or zCDP need a δ.
    NoDelta {
        accounting: Accounting,
    },
    DeltaNotBelowOne,
    /// Spread over all panes, less than 10^-18 is left for one.
    DeltaTooSmall {
        releases: u64,
    },
    /// Spread over all panes, less than 10^-9 is left for one.
    ShareTooSmall {
        output: usize,
        releases: u64,
    },
    /// Noise of a scale of 2^33 or more would be needed.
    ScaleTooLarge {
        output: usize,
    },
    /// `lo` above `hi`, or both zero.
    EmptyClamp {
        output: usize,
    },
    ClampTooWide {
        output: usize,
    },
    /// A floor that no count reaches.
    FloorTooHigh,
}

/// Noise, thresholds and costs of a declaration.
///
/// # Errors
/// What cannot be afforded, or makes no sense.
pub fn derive(d: &Declared<'_>) -> Result<Derived, Unaffordable> {
    check(d)?;
    let budget = budget(d.accounting, d.epsilon, d.delta_atto, d.keys.selects())?;
    let releases = u64::from(d.panes_charged) * u64::from(d.repeats);

    let mut outputs = Vec::with_capacity(d.outputs.len());
    for (output, (what, share)) in d.outputs.iter().enumerate() {
        let sensitivity = sensitivity(what, d.bounds, d.keys, output)?;
        let price = part(budget.cost.loss, *share, releases);
        if price == 0 {
            return Err(Unaffordable::ShareTooSmall { output, releases });
        }
        let (noise, loss) = cost::cheapest_noise(d.accounting, &sensitivity, price)
            .ok_or(Unaffordable::ScaleTooLarge { output })?;
        let cost = Cost { loss: loss * u64::from(d.repeats), delta: 0 };
        outputs.push(DerivedOutput { noise, sensitivity, cost });
    }
    let threshold = match (d.keys, outputs.first_mut()) {
        (KeyKind::Unknown { raw_floor, noisy_floor }, Some(first)) => {
            let affordable = budget.cost.delta / releases;
            let at = threshold::of(first.noise, first.sensitivity.l0, affordable)
                .ok_or(Unaffordable::DeltaTooSmall { releases })?;
            first.cost.delta = at.delta_atto * u64::from(d.repeats);
            Some(with_floors(at.at, raw_floor, noisy_floor)?)
        }
        _ => None,
    };
    let cost = outputs.iter().fold(Cost::default(), |sum, output| Cost {
        loss: sum.loss + output.cost.loss,
        delta: sum.delta + output.cost.delta,
    });
    let pane_epsilon_nano = match d.accounting {
        Accounting::Pure => cost.loss,
        Accounting::Zcdp => {
            let delta = budget.conversion_delta_atto / u64::from(d.panes_charged);
            rho_to_epsilon(cost.loss, delta.max(1))
        }
    };
    Ok(Derived {
        outputs,
        cost,
        budget: budget.cost,
        conversion_delta_atto: budget.conversion_delta_atto,
        threshold,
        pane_epsilon_nano,
    })
}

/// An author's ε and δ (in 10^-18) as the ledger counts them, rounded down. `selects`: whether
/// thresholds take a part of δ.
///
/// # Errors
/// ε not above zero or too large to count; no δ where one is needed.
pub fn budget(
    accounting: Accounting,
    epsilon: Decimal,
    delta_atto: u64,
    selects: bool,
) -> Result<Budget, Unaffordable> {
    let epsilon_nano = nano(epsilon).ok_or(Unaffordable::Epsilon)?;
    if delta_atto >= ATTO {
        return Err(Unaffordable::DeltaNotBelowOne);
    }
    let conversion_delta_atto = match (accounting, selects) {
        (Accounting::Pure, _) => 0,
        (Accounting::Zcdp, true) => delta_atto / 2,
        (Accounting::Zcdp, false) => delta_atto,
    };
    let delta = if selects { delta_atto - conversion_delta_atto } else { 0 };
    let no_conversion = accounting == Accounting::Zcdp && conversion_delta_atto == 0;
    if no_conversion || (selects && delta == 0) {
        return Err(Unaffordable::NoDelta { accounting });
    }
    let loss = match accounting {
        Accounting::Pure => epsilon_nano,
        Accounting::Zcdp => epsilon_to_rho(epsilon_nano, conversion_delta_atto),
    };
    Ok(Budget { cost: Cost { loss, delta }, conversion_delta_atto })
}

/// What is wrong before anything is computed.
fn check(d: &Declared<'_>) -> Result<(), Unaffordable> {
    let Some((first, _)) = d.outputs.first() else { return Err(Unaffordable::NoOutputs) };
    if d.keys.selects() && *first != What::Subjects {
        return Err(Unaffordable::NoSelection);
    }
    let bounds = [d.panes_charged, d.repeats, d.bounds.keys_per_window, d.bounds.records_per_key];
    if bounds.contains(&0) {
        return Err(Unaffordable::ZeroBound);
    }
    if let Some(output) = d.outputs.iter().position(|(_, share)| share.0 == 0) {
        return Err(Unaffordable::ZeroShare { output });
    }
    let millionths = d.outputs.iter().map(|(_, share)| u64::from(share.0)).sum();
    if millionths > u64::from(Share::WHOLE.0) {
        return Err(Unaffordable::SharesAboveOne { millionths });
    }
    Ok(())
}

/// What one unit can change in one pane.
fn sensitivity(
    what: &What,
    bounds: Bounds,
    keys: KeyKind,
    output: usize,
) -> Result<Sensitivity, Unaffordable> {
    // With one row a subject cannot be in two.
    let l0 = if keys == KeyKind::Whole { 1 } else { bounds.keys_per_window };
    let records = i64::from(bounds.records_per_key);
    let linf = match what {
        What::Subjects => 1,
        What::Count => records,
        What::Sum { lo, hi, .. } => {
            let clamp = clamp(*lo, *hi, output)?;
            records.checked_mul(clamp).ok_or(Unaffordable::ScaleTooLarge { output })?
        }
    };
    let l1 = linf.checked_mul(i64::from(l0)).ok_or(Unaffordable::ScaleTooLarge { output })?;
    let l2_squared = i128::from(linf)
        .checked_mul(i128::from(linf))
        .and_then(|squared| squared.checked_mul(i128::from(l0)))
        .ok_or(Unaffordable::ScaleTooLarge { output })?;
    Ok(Sensitivity { l0, l1, l2_squared, linf })
}

/// C: the largest magnitude in `[lo, hi]`.
fn clamp(lo: i64, hi: i64, output: usize) -> Result<i64, Unaffordable> {
    let magnitude = lo.unsigned_abs().max(hi.unsigned_abs());
    if lo > hi || magnitude == 0 {
        return Err(Unaffordable::EmptyClamp { output });
    }
    if magnitude >= CLAMP_MAX {
        return Err(Unaffordable::ClampTooWide { output });
    }
    i64::try_from(magnitude).map_err(|_| Unaffordable::ClampTooWide { output })
}

/// `budget · share / releases`, rounded down.
fn part(budget: u64, share: Share, releases: u64) -> u64 {
    let shared = u128::from(budget) * u128::from(share.0);
    let part = shared / u128::from(Share::WHOLE.0) / u128::from(releases.max(1));
    u64::try_from(part).unwrap_or(budget)
}

/// A floor of k on the true number of subjects lets a row appear at k where it could not at
/// k − 1, so the threshold moves up by k − 1. A floor on the noisy number only ever hides more.
fn with_floors(at: i64, raw: Option<u32>, noisy: Option<u32>) -> Result<i64, Unaffordable> {
    let shift = i64::from(raw.unwrap_or(1).max(1)) - 1;
    let shifted = at.checked_add(shift).ok_or(Unaffordable::FloorTooHigh)?;
    Ok(shifted.max(i64::from(noisy.unwrap_or(0))))
}

/// `value · 10^9`, rounded down; `None` unless it is above zero and fits.
fn nano(value: Decimal) -> Option<u64> {
    let digits = u128::try_from(value.digits).ok()?;
    let scaled = match 10_u128.checked_pow(u32::from(value.scale)) {
        Some(unit) => digits * u128::from(NANO) / unit,
        None => 0,
    };
    u64::try_from(scaled).ok().filter(|nano| *nano > 0)
}

impl std::error::Error for Unaffordable {}

impl fmt::Display for Unaffordable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoOutputs => f.write_str("a release needs at least one output"),
            Self::NoSelection => f.write_str(
                "with unknown keys the first output must be `subjects`: it decides which keys are \
                 published",
            ),
            Self::ZeroBound => {
                f.write_str("a bound of zero leaves nothing to count; use 1 or more")
            }
            Self::ZeroShare { output } => {
                write!(f, "output {} has no share of the budget", output + 1)
            }
            Self::SharesAboveOne { millionths } => {
                let percent = millionths.div_ceil(10_000);
                write!(f, "the shares add up to {percent} % of the budget; lower them to 100 %")
            }
            Self::Epsilon => {
                f.write_str("epsilon must be above 0.000000001 and small enough to be counted")
            }
            Self::NoDelta { accounting: Accounting::Pure } => {
                f.write_str("unknown keys need a `delta`, of 2e-18 or more; or list the keys")
            }
            Self::NoDelta { accounting: Accounting::Zcdp } => {
                f.write_str("`accounting: zcdp` needs a `delta`, of 2e-18 or more")
            }
            Self::DeltaNotBelowOne => f.write_str("`delta` must be below 1; 0.000000001 is usual"),
            Self::DeltaTooSmall { releases } => write!(
                f,
                "`delta` is too small to be spread over {releases} releases; raise it, or lower \
                 `windows_per_period`"
            ),
            Self::ShareTooSmall { output, releases } => write!(
                f,
                "the budget of output {} is too small to be spread over {releases} releases; raise \
                 epsilon or its share, or lower `windows_per_period`",
                output + 1
            ),
            Self::ScaleTooLarge { output } => write!(
                f,
                "output {} would need noise too large to be of use; raise epsilon or its share, or \
                 lower the bounds",
                output + 1
            ),
            Self::EmptyClamp { output } => {
                write!(f, "the clamp of output {} leaves no value but zero", output + 1)
            }
            Self::ClampTooWide { output } => write!(
                f,
                "the clamp of output {} is too wide: in its fixed point, values must stay within \
                 {CLAMP_MAX}; narrow it or use fewer decimals",
                output + 1
            ),
            Self::FloorTooHigh => f.write_str("no count reaches the floor"),
        }
    }
}
