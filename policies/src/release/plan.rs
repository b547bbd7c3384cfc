//! What a compiled `Release` hands to the code that computes it: integers only, every constant fixed.
//!
//! INVARIANT: nothing in here depends on data. Sensitivities, scales, thresholds and costs are
//! derived from the policy alone, costs and scales rounded so that the promise is never too small.

use std::sync::Arc;

use super::calendar::Calendar;
use crate::plan::{FieldPath, Normalizer, RuleName};

/// One release: what is counted, for whom it is bounded, what it costs, where it goes.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleasePlan {
    pub name: RuleName,
    pub dataset: Arc<str>,
    /// Where contributions are held and the release is published. Only records that may be held
    /// there contribute.
    pub region: Arc<str>,
    /// Where the release is published.
    pub topic: Arc<str>,
    pub unit: Unit,
    pub schedule: Schedule,
    pub bounds: Bounds,
    pub keys: Keys,
    /// At least one. With unknown keys the first is [`What::Subjects`]: it selects.
    pub outputs: Box<[Output]>,
    /// Exponential smoothing of what is released, as post-processing.
    pub smoothing: Option<Smoothing>,
    pub accounting: Accounting,
    /// What one release of one pane costs, all outputs and revisions of it counted once.
    pub cost: Cost,
    /// What the dataset may cost one unit in one period, over all its releases: the ledger
    /// refuses to charge more.
    pub cap: Cost,
    /// The author's figures, for headers and people.
    pub promise: Promise,
    /// BLAKE3 of everything above in canonical form: names the line in the budget. Two bundles
    /// with the same release spec share it.
    pub digest: [u8; 32],
}

/// Whom the promise protects.
#[derive(Clone, Debug, PartialEq)]
pub enum Unit {
    /// All records of one subject within one period.
    Subject(SubjectUnit),
    /// One record: event-level protection, labelled as such.
    Record,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SubjectUnit {
    pub path: FieldPath,
    pub normalizer: Normalizer,
    pub domain: Arc<str>,
    /// The master key in the keyring from which subject digests are made. The token epoch is not
    /// part of it: a subject keeps its digest when tokens rotate.
    pub key: Arc<str>,
    pub period: Calendar,
    pub missing: MissingSubject,
}

/// What a record without a subject counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingSubject {
    Drop,
    AsOneSubject,
}

/// When panes begin, end and are released. All of it is policy and clock, never data.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Panes are what is bounded, noised and charged.
    pub pane: Calendar,
    /// A published window is this many panes, ending with the newest: 1 is tumbling, more is
    /// hopping (sums of noisy panes).
    pub panes_per_window: u32,
    /// How long after a pane's end records for it are still taken.
    pub lateness_ms: i64,
    /// An event time further ahead of its arrival than this is taken as this far ahead.
    pub max_skew_ms: i64,
    pub late: Late,
    /// How long after `end + lateness` the release fires: bounds how long an accepted record may
    /// take into the contributions topic.
    pub slack_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// Counted inside, never released.
    Drop,
    /// Counted into the oldest pane that is still open at arrival.
    AssignToOpen,
    /// The pane is released again, with everything that arrived until then, `max` times, each
    /// `after_ms` after the one before. The cost of all of them is in the plan.
    Revise { max: u32, after_ms: i64 },
}

/// What one subject may contribute. Each bound depends on that subject's records alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// K: panes of one period in which a subject contributes.
    pub windows_per_period: u32,
    pub choose_windows: ChooseWindows,
    /// L0: keys in one pane.
    pub keys_per_window: u32,
    /// r: records for one key in one pane.
    pub records_per_key: u32,
    pub choose: Choose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChooseWindows {
    /// The first K panes in which the subject appears, in order of arrival.
    First,
    /// K panes of the period, drawn in advance by a keyed function of subject and period.
    Panel,
}

/// Which keys, and which records of a key, are kept when a subject has too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choose {
    /// The first to arrive: online, cheap, depends on order.
    First,
    /// Those with the smallest keyed hash: the same set in whatever order they arrive.
    Hash,
}

/// What rows a release has.
#[derive(Clone, Debug, PartialEq)]
pub enum Keys {
    /// One row a pane.
    Whole,
    /// Exactly these rows, in this order, each pane, empty or not. Other values are dropped.
    Public { path: FieldPath, values: Box<[Arc<str>]> },
    /// Rows whose noisy number of subjects reaches `threshold`.
    Unknown {
        path: FieldPath,
        /// Values longer than this (UTF-8 bytes) are dropped.
        max_bytes: u32,
        /// T: published iff the noisy number of subjects is at least this.
        threshold: i64,
        /// Where the author asked for a floor on the true number: it too must be reached, and
        /// `threshold` is already shifted by it (T + k − 1), which keeps the promise.
        raw_floor: Option<u32>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The member of the released JSON: `subjects`, `count`, or the author's name of a sum.
    pub name: Arc<str>,
    pub what: What,
    pub noise: Noise,
    /// What a unit can change in one pane over all keys.
    pub sensitivity: Sensitivity,
    /// Its part of [`ReleasePlan::cost`].
    pub cost: Cost,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Distinct subjects of a key.
    Subjects,
    /// Records of a key.
    Count,
    /// The sum of a numeric field, each value clamped. In units of `10^-scale`.
    Sum { path: FieldPath, scale: u8, lo: i64, hi: i64 },
}

/// Integers: `l2_squared` is the square of the L2 sensitivity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sensitivity {
    pub l0: u32,
    pub l1: i64,
    pub l2_squared: i128,
    pub linf: i64,
}

/// Discrete noise on integers. Scales are dyadic, so that they mean the same in floating point
/// and in exact arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noise {
    /// Discrete Laplace: `Pr[x] ∝ exp(-|x|/scale)`.
    Laplace { scale: Dyadic },
    /// Discrete Gaussian (Canonne, Kamath, Steinke 2020): `Pr[x] ∝ exp(-x²/2σ²)`.
    Gaussian { sigma: Dyadic },
}

/// `numerator / 2^20`; the numerator stays below 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dyadic(pub u64);

impl Dyadic {
    pub const SHIFT: u32 = 20;

    /// Exact: the numerator has at most 53 bits.
    #[expect(clippy::cast_precision_loss, reason = "below 2^53 by construction")]
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / f64::from(1_u32 << Self::SHIFT)
    }
}

/// How costs compose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Accounting {
    /// Pure ε adds up (basic composition); `Cost::loss` is nano-epsilon.
    Pure,
    /// ρ-zCDP adds up; `Cost::loss` is nano-rho.
    Zcdp,
}

/// A privacy cost in integers, rounded up where it is made. `delta` is in units of 10^-18 and
/// holds only what thresholds cost; the conversion's part is in the plan, not in each charge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cost {
    /// Nano-epsilon or nano-rho.
    pub loss: u64,
    pub delta: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Promise {
    /// As the author wrote it: the release's own budget for a unit and period.
    pub epsilon: crate::plan::Decimal,
    /// `delta · 10^18`.
    pub delta_atto: u64,
    /// What one pane costs, converted to ε for people, in nano-epsilon rounded up (for zCDP at
    /// the pane's share of delta).
    pub pane_epsilon_nano: u64,
}

/// `smoothed = smoothed + (released − smoothed) · numerator / denominator`, in fixed point with
/// three decimals: post-processing of what was released, free of cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Smoothing {
    pub numerator: u32,
    pub denominator: u32,
}
