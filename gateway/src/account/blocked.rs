//! Periods in which nothing more is released, as publishers are told of them. What may be released
//! is decided by the ledger itself, not here.

use std::{collections::BTreeSet, sync::Arc};

use sluicegate_policies::release::ReleasePlan;

use super::{Account, AccountError};

/// The dataset and the start of each period, microseconds.
#[derive(Default)]
pub struct Blocked(BTreeSet<(String, i64)>);

impl Blocked {
    /// Whether nothing more is released in the period of a pane.
    pub fn holds(&self, plan: &ReleasePlan, pane_start_ms: i64) -> bool {
        let start_us = || plan.period_of(pane_start_ms).start_ms.saturating_mul(1_000);
        !self.0.is_empty() && self.0.contains(&(plan.dataset.to_string(), start_us()))
    }
}

impl Account {
    /// The periods that are blocked, as the ledger said last.
    pub fn blocked(&self) -> Arc<Blocked> {
        self.blocked.load_full()
    }

    /// Asks the ledger: an operator's hand and other replicas block periods, too.
    pub async fn look_for_blocked(&self) -> Result<(), AccountError> {
        let blocked = self.ledger()?.reader().blocked(None).await?;
        self.blocked.store(Arc::new(Blocked(blocked.into_iter().collect())));
        Ok(())
    }
}
