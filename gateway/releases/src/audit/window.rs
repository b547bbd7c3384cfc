//! Stands in for the window task.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sluicegate_policies::release::{Keys, ReleasePlan, What};

use crate::{
    testing::HOUR_MS,
    window::{Contribution, Totals},
};

pub(super) fn totals(
    plan: &ReleasePlan,
    hours: &[i64],
    contributions: &[Contribution],
) -> Vec<Totals> {
    let mut panes: BTreeMap<i64, Totals> = hours.iter().map(|h| (*h, Totals::default())).collect();
    let mut windows: BTreeMap<_, BTreeSet<i64>> = BTreeMap::new();
    let mut keys: BTreeMap<_, BTreeMap<Arc<str>, u32>> = BTreeMap::new();
    for c in contributions {
        let hour = c.event_ms.div_euclid(HOUR_MS);
        let used = windows.entry(c.subject).or_default();
        if !used.contains(&hour) && used.len() >= plan.bounds.windows_per_period as usize {
            continue;
        }
        used.insert(hour);
        let key: Arc<str> = match &plan.keys {
            Keys::Whole => "".into(),
            Keys::Public { values, .. } if !values.contains(&c.key) => continue,
            _ => c.key.clone(),
        };
        let mine = keys.entry((c.subject, hour)).or_default();
        if !mine.contains_key(&key) && mine.len() >= plan.bounds.keys_per_window as usize {
            continue;
        }
        let records = mine.entry(key.clone()).or_default();
        if *records >= plan.bounds.records_per_key {
            continue;
        }
        *records += 1;
        let row = panes
            .entry(hour)
            .or_default()
            .by_key
            .entry(key)
            .or_insert_with(|| vec![0; plan.outputs.len()]);
        let mut values = c.values.iter();
        for (total, output) in row.iter_mut().zip(&plan.outputs) {
            *total += match output.what {
                What::Subjects => i64::from(*records == 1),
                What::Count => 1,
                What::Sum { .. } => values.next().copied().flatten().unwrap_or(0),
            };
        }
    }
    hours.iter().map(|h| panes.remove(h).unwrap_or_default()).collect()
}
