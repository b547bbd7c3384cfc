//! Windows of which nothing is released, as publishers are told of them. What may be released is
//! decided by the ledger itself, not here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sluicegate_policies::release::ReleasePlan;

use super::{Account, AccountError};
use crate::record::Uncounted;

#[derive(Clone, Default)]
pub struct Blocked {
    /// The dataset and the start of each blocked period, microseconds.
    periods: BTreeSet<(String, i64)>,
    /// The start of the first pane of each plan, milliseconds, by the plan's digest.
    first_panes: BTreeMap<[u8; 32], i64>,
}

impl Blocked {
    /// Why nothing comes of a pane, if that is known.
    pub fn why(&self, plan: &ReleasePlan, pane_start_ms: i64) -> Option<Uncounted> {
        if self.first_panes.get(&plan.digest).is_some_and(|first_ms| pane_start_ms < *first_ms) {
            return Some(Uncounted::BeforeFirst);
        }
        let start_us = || plan.period_of(pane_start_ms).start_ms.saturating_mul(1_000);
        let holds = !self.periods.is_empty()
            && self.periods.contains(&(plan.dataset.to_string(), start_us()));
        holds.then_some(Uncounted::PeriodBlocked)
    }
}

impl Account {
    /// What nothing comes of, as the ledger said last.
    pub fn blocked(&self) -> Arc<Blocked> {
        self.blocked.load_full()
    }

    /// Asks the ledger: an operator's hand and other replicas block periods, too.
    pub async fn look_for_blocked(&self) -> Result<(), AccountError> {
        let periods: BTreeSet<_> =
            self.ledger()?.reader().blocked(None).await?.into_iter().collect();
        self.blocked.rcu(|known| Blocked { periods: periods.clone(), ..(**known).clone() });
        Ok(())
    }

    /// The first pane of a plan is agreed.
    pub fn begins_with(&self, plan: &ReleasePlan, first_ms: i64) {
        self.blocked.rcu(|known| {
            let mut known = (**known).clone();
            known.first_panes.insert(plan.digest, first_ms);
            known
        });
    }
}
