//! Plans, totals and rows for the tests of this folder.

use std::{collections::VecDeque, sync::Arc};

use sluicegate_policies::{
    Decimal, FieldPath, Normalizer, Part, Step,
    release::{
        Accounting, Bounds, Calendar, Choose, ChooseWindows, Cost, Dyadic, Keys, Late,
        MissingSubject, Noise, Output, PaneId, Promise, ReleasePlan, Schedule, Sensitivity,
        SubjectUnit, Unit, What,
    },
};

use super::{
    Noisy, NoisyRow,
    noise::{NoiseError, Sampler},
};
use crate::window::Totals;

pub(crate) const HOUR_MS: i64 = 3_600_000;

/// `numerator / denominator`, which must be dyadic.
pub(crate) fn dyadic(numerator: u64, denominator: u64) -> Dyadic {
    let shifted = numerator << Dyadic::SHIFT;
    assert_eq!(shifted % denominator, 0);
    Dyadic(shifted / denominator)
}

pub(crate) fn path(written: &str) -> FieldPath {
    let steps = written.split('.').map(|name| Step::Member(name.into())).collect();
    FieldPath { part: Part::Value, steps, written: written.into() }
}

pub(crate) fn output(
    name: &str,
    what: What,
    noise: Noise,
    l1: i64,
    l2_squared: i128,
    loss: u64,
) -> Output {
    Output {
        name: name.into(),
        what,
        noise,
        sensitivity: Sensitivity { l0: 1, l1, l2_squared, linf: l1 },
        cost: Cost { loss, delta: 0 },
    }
}

pub(crate) fn sum(field: &str, scale: u8, lo: i64, hi: i64) -> What {
    What::Sum { path: path(field), scale, lo, hi }
}

/// Whole panes of an hour: subjects, count, and the sum of `amount` in cents from 0 to 500.
pub(crate) fn plan() -> ReleasePlan {
    let laplace = |n, d| Noise::Laplace { scale: dyadic(n, d) };
    ReleasePlan {
        name: "orders-hourly".into(),
        dataset: "orders".into(),
        region: "eu".into(),
        topic: "orders.hourly".into(),
        unit: Unit::Subject(SubjectUnit {
            path: path("user.id"),
            normalizer: Normalizer::ExactV1,
            domain: "customer".into(),
            key: "main".into(),
            period: Calendar::Fixed { size_ms: 24 * HOUR_MS, offset_ms: 0 },
            missing: MissingSubject::Drop,
        }),
        schedule: Schedule {
            pane: Calendar::Fixed { size_ms: HOUR_MS, offset_ms: 0 },
            panes_per_window: 1,
            lateness_ms: 0,
            max_skew_ms: 0,
            late: Late::Drop,
            slack_ms: 0,
        },
        bounds: Bounds {
            windows_per_period: 1,
            choose_windows: ChooseWindows::First,
            keys_per_window: 1,
            records_per_key: 1,
            choose: Choose::First,
        },
        keys: Keys::Whole,
        outputs: Box::new([
            output("subjects", What::Subjects, laplace(4, 1), 1, 1, 250_000_000),
            output("count", What::Count, laplace(25, 2), 1, 1, 80_000_000),
            output(
                "amount",
                sum("amount", 2, 0, 500),
                laplace(2_000, 1),
                500,
                250_000,
                250_000_000,
            ),
        ]),
        smoothing: None,
        accounting: Accounting::Pure,
        cost: Cost { loss: 580_000_000, delta: 1_000_000_000 },
        cap: Cost { loss: 1_000_000_000, delta: 1_000_000_000 },
        promise: Promise {
            epsilon: Decimal { digits: 10, scale: 1 },
            delta_atto: 1_000_000_000,
            pane_epsilon_nano: 580_000_000,
        },
        digest: [7; 32],
    }
}

pub(crate) fn public(values: &[&str]) -> Keys {
    Keys::Public { path: path("country"), values: values.iter().map(|v| Arc::from(*v)).collect() }
}

pub(crate) fn unknown(threshold: i64, raw_floor: Option<u32>) -> Keys {
    Keys::Unknown { path: path("country"), max_bytes: 64, threshold, raw_floor }
}

pub(crate) fn totals(rows: &[(&str, &[i64])]) -> Totals {
    Totals { by_key: rows.iter().map(|(key, v)| (Arc::from(*key), v.to_vec())).collect() }
}

pub(crate) fn noisy(rows: &[(&str, &[i64])]) -> Noisy {
    let row =
        |(key, values): &(&str, &[i64])| NoisyRow { key: (*key).into(), values: values.to_vec() };
    Noisy { rows: rows.iter().map(row).collect() }
}

pub(crate) fn rows(noisy: &Noisy) -> Vec<(&str, Vec<i64>)> {
    noisy.rows.iter().map(|row| (&*row.key, row.values.clone())).collect()
}

/// The hour of this number since 1970.
pub(crate) fn hour(n: i64) -> PaneId {
    PaneId { start_ms: n * HOUR_MS, end_ms: (n + 1) * HOUR_MS, revision: 0 }
}

/// A sampler whose noise is written down.
pub(crate) struct Scripted(VecDeque<i64>);

impl Scripted {
    pub(crate) fn adding(noise: &[i64]) -> Self {
        Self(noise.iter().copied().collect())
    }

    pub(crate) fn left(&self) -> usize {
        self.0.len()
    }

    fn next(&mut self, value: i64) -> Result<i64, NoiseError> {
        let noise = self.0.pop_front().ok_or(NoiseError::Draw("the script is over".to_owned()))?;
        Ok(value + noise)
    }
}

impl Sampler for Scripted {
    fn laplace(&mut self, _: Dyadic, value: i64) -> Result<i64, NoiseError> {
        self.next(value)
    }

    fn gaussian(&mut self, _: Dyadic, value: i64) -> Result<i64, NoiseError> {
        self.next(value)
    }
}
