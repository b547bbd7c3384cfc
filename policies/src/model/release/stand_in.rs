//! Stands in for the calculus until it is merged.

use std::fmt;

use crate::{
    plan::Decimal,
    release::{Accounting, Bounds, Cost, Dyadic, Noise, Sensitivity, What},
};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Share(pub(crate) u32);

#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyKind {
    Whole,
    Public,
    Unknown { raw_floor: Option<u32>, noisy_floor: Option<u32> },
}

pub(crate) struct Declared<'a> {
    pub(crate) accounting: Accounting,
    pub(crate) epsilon: Decimal,
    pub(crate) delta_atto: u64,
    pub(crate) panes_charged: u32,
    pub(crate) repeats: u32,
    pub(crate) bounds: Bounds,
    pub(crate) keys: KeyKind,
    pub(crate) outputs: &'a [(What, Share)],
}

pub(crate) struct DerivedOutput {
    pub(crate) noise: Noise,
    pub(crate) sensitivity: Sensitivity,
    pub(crate) cost: Cost,
}

pub(crate) struct Derived {
    pub(crate) outputs: Vec<DerivedOutput>,
    pub(crate) cost: Cost,
    pub(crate) budget: Cost,
    pub(crate) threshold: Option<i64>,
    pub(crate) pane_epsilon_nano: u64,
}

#[derive(Debug)]
pub(crate) struct Unaffordable;

impl fmt::Display for Unaffordable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the budget is too small for what is released")
    }
}

impl Unaffordable {
    pub(crate) fn help(&self) -> &'static str {
        "raise it"
    }
}

pub(crate) fn derive(d: &Declared<'_>) -> Result<Derived, Unaffordable> {
    let nano = 10_u64.pow(9_u32.saturating_sub(u32::from(d.epsilon.scale)));
    let epsilon = u64::try_from(d.epsilon.digits).unwrap_or(0) * nano;
    let _ = matches!(d.accounting, Accounting::Zcdp);
    let panes = u64::from(d.panes_charged * d.repeats).max(1);
    let unknown = matches!(d.keys, KeyKind::Unknown { .. });
    let budget = Cost { loss: epsilon, delta: if unknown { d.delta_atto / 2 } else { 0 } };
    let cost = |share: u32| Cost { loss: epsilon / panes * u64::from(share) / 1_000_000, delta: 0 };
    let outputs: Vec<DerivedOutput> = d
        .outputs
        .iter()
        .map(|(_, s)| DerivedOutput {
            noise: Noise::Laplace { scale: Dyadic(1 << 22) },
            sensitivity: Sensitivity {
                l0: d.bounds.keys_per_window,
                l1: 1,
                l2_squared: 1,
                linf: 1,
            },
            cost: cost(s.0),
        })
        .collect();
    let loss = outputs.iter().map(|o| o.cost.loss).sum();
    let threshold = match d.keys {
        KeyKind::Unknown { raw_floor, noisy_floor } => {
            let t = 85 + raw_floor.map_or(0, |k| i64::from(k) - 1);
            Some(t.max(noisy_floor.map_or(0, i64::from)))
        }
        KeyKind::Whole | KeyKind::Public => None,
    };
    if loss == 0 {
        return Err(Unaffordable);
    }
    let cost = Cost { loss, delta: budget.delta / panes };
    Ok(Derived { outputs, cost, budget, threshold, pane_epsilon_nano: loss })
}
