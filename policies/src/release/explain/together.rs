//! What all releases of a dataset cost together: who reads one may read the others.

use serde::Serialize;

use super::{atto, conversion_delta_atto, nano};
use crate::release::{
    plan::{Accounting, Cost, ReleasePlan},
    privacy::rho_to_epsilon,
};

/// One unit and period, over a release and the others of its dataset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Together {
    /// The others, by name.
    pub with: Vec<String>,
    pub period_epsilon: f64,
    pub period_delta: f64,
}

/// The sum of the costs is converted once; a dataset has one unit and one way of accounting.
pub(super) fn together(plan: &ReleasePlan, others: &[&ReleasePlan]) -> Option<Together> {
    if others.is_empty() {
        return None;
    }
    let all = || std::iter::once(plan).chain(others.iter().copied());
    let spent = all().map(period_cost).fold(Cost::default(), |sum, cost| Cost {
        loss: sum.loss.saturating_add(cost.loss),
        delta: sum.delta.saturating_add(cost.delta),
    });
    let (epsilon_nano, converted_atto) = match plan.accounting {
        Accounting::Pure => (spent.loss, 0),
        Accounting::Zcdp => {
            let delta = all().map(conversion_delta_atto).max().unwrap_or(0);
            (rho_to_epsilon(spent.loss, delta), delta)
        }
    };
    let mut with: Vec<String> = others.iter().map(|other| other.name.to_string()).collect();
    with.sort_unstable();
    Some(Together {
        with,
        period_epsilon: nano(epsilon_nano),
        period_delta: atto(spent.delta.saturating_add(converted_atto)),
    })
}

/// Revisions are in the cost of a pane.
fn period_cost(plan: &ReleasePlan) -> Cost {
    let panes = u64::from(plan.panes_charged());
    Cost {
        loss: plan.cost.loss.saturating_mul(panes),
        delta: plan.cost.delta.saturating_mul(panes),
    }
}
