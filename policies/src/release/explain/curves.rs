//! How accuracy answers to the author's two dials: ε, and the number of panes a person may be in.

use serde::Serialize;

use crate::{
    plan::Decimal,
    release::{
        plan::{Keys, ReleasePlan, What},
        privacy::{Declared, KeyKind, Share, budget, derive, noise_quantile_95},
    },
};

/// What an author declared to get a plan, as far as curves need it: every output, with its share.
/// A plan keeps what came out of it; shares come back to within a millionth.
#[must_use]
pub fn declared_by<'s>(plan: &ReleasePlan, outputs: &'s mut Vec<(What, Share)>) -> Declared<'s> {
    let selects = matches!(plan.keys, Keys::Unknown { .. });
    let panes_charged = plan.panes_charged();
    let repeats = plan.releases_of_a_pane();
    let of = budget(plan.accounting, plan.promise.epsilon, plan.promise.delta_atto, selects);
    let per_pane = of.map_or(0, |b| b.cost.loss) / u64::from(panes_charged.max(1));
    let millionths = |cost: u64| {
        let (cost, all) = (u128::from(cost) * 1_000_000, u128::from(per_pane.max(1)));
        u32::try_from((cost + all / 2) / all).unwrap_or(u32::MAX).min(1_000_000)
    };
    outputs.clear();
    outputs.extend(plan.outputs.iter().map(|o| (o.what.clone(), Share(millionths(o.cost.loss)))));
    let mut declared = Declared {
        accounting: plan.accounting,
        epsilon: plan.promise.epsilon,
        delta_atto: plan.promise.delta_atto,
        panes_charged,
        repeats,
        bounds: plan.bounds,
        keys: match plan.keys {
            Keys::Whole => KeyKind::Whole,
            Keys::Public { .. } => KeyKind::Public,
            Keys::Unknown { raw_floor, .. } => KeyKind::Unknown { raw_floor, noisy_floor: None },
        },
        outputs,
    };
    // A threshold above the one that the promise needs is the author's floor.
    if let Keys::Unknown { threshold, raw_floor: None, .. } = plan.keys
        && let Some(needed) = derive(&declared).ok().and_then(|derived| derived.threshold)
        && threshold > needed
    {
        let noisy_floor = u32::try_from(threshold).ok();
        declared.keys = KeyKind::Unknown { raw_floor: None, noisy_floor };
    }
    declared
}

/// The 95 % error of one output of a window, in its own unit, against a dial; or the smallest group
/// of a pane that is published.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    pub label: String,
    /// Where it is affordable, in the order asked for.
    pub points: Vec<Point>,
    /// What was declared, if that is affordable.
    pub own: Option<Point>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    pub x: f64,
    pub y: f64,
}

/// Errors by ε for a unit and period; everything else stays as declared. `panes`: how many of them
/// a window is the sum of.
#[must_use]
pub fn error_by_epsilon(declared: &Declared<'_>, panes: u32, epsilons: &[f64]) -> Vec<Curve> {
    let own = decimal_value(declared.epsilon);
    let at =
        |epsilon: f64| heights(&Declared { epsilon: micro(epsilon)?, ..declared.clone() }, panes);
    let rows = epsilons.iter().map(|epsilon| (*epsilon, at(*epsilon))).collect();
    curves(declared, panes, rows, own)
}

/// Errors by K, the panes of a period in which a person may contribute; everything else stays as
/// declared.
#[must_use]
pub fn error_by_windows(declared: &Declared<'_>, panes: u32, windows: &[u32]) -> Vec<Curve> {
    let own = f64::from(declared.panes_charged);
    let at = |panes_charged| heights(&Declared { panes_charged, ..declared.clone() }, panes);
    curves(declared, panes, windows.iter().map(|k| (f64::from(*k), at(*k))).collect(), own)
}

/// One row of heights for each place, turned into one curve for each height.
fn curves(
    declared: &Declared<'_>,
    panes: u32,
    rows: Vec<(f64, Option<Vec<f64>>)>,
    own: f64,
) -> Vec<Curve> {
    let here = heights(declared, panes);
    let point = |x: f64, heights: Option<&Vec<f64>>, i: usize| {
        heights.and_then(|heights| heights.get(i)).map(|y| Point { x, y: *y })
    };
    let curve = |(i, label)| Curve {
        label,
        points: rows.iter().filter_map(|(x, row)| point(*x, row.as_ref(), i)).collect(),
        own: point(own, here.as_ref(), i),
    };
    labels(declared).into_iter().enumerate().map(curve).collect()
}

fn labels(declared: &Declared<'_>) -> Vec<String> {
    let mut labels: Vec<String> = declared
        .outputs
        .iter()
        .map(|(what, _)| match what {
            What::Subjects => "subjects".to_owned(),
            What::Count => "count".to_owned(),
            What::Sum { path, .. } => format!("sum of {}", path.written),
        })
        .collect();
    if matches!(declared.keys, KeyKind::Unknown { .. }) {
        labels.push("smallest published group".to_owned());
    }
    labels
}

/// The error of each output, then the threshold if there is one: in the order of [`labels`].
fn heights(declared: &Declared<'_>, panes: u32) -> Option<Vec<f64>> {
    let derived = derive(declared).ok()?;
    let mut heights: Vec<f64> = declared
        .outputs
        .iter()
        .zip(&derived.outputs)
        .map(|((what, _), output)| {
            let error = noise_quantile_95(output.noise) * f64::from(panes).sqrt();
            error / 10_f64.powi(i32::from(super::decimals(what)))
        })
        .collect();
    heights.extend(derived.threshold.map(|threshold| threshold as f64));
    Some(heights)
}

/// To six decimals.
fn micro(value: f64) -> Option<Decimal> {
    let digits = (value * 1e6).round();
    let countable = (1.0..1e18).contains(&digits);
    countable.then_some(Decimal { digits: digits as i64, scale: 6 })
}

fn decimal_value(value: Decimal) -> f64 {
    value.digits as f64 / 10_f64.powi(i32::from(value.scale))
}
