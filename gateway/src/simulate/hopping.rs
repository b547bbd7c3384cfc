//! Windows that overlap: what readers get is the sum of panes as published, so that is what is shown.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sluicegate_policies::release::ReleasePlan;

use super::{Row, Truth, Window};

/// Every window that has all its panes, each pane in its last revision.
pub(super) fn windows(
    plan: &ReleasePlan,
    panes: &[Window],
    truths: &BTreeMap<i64, Truth>,
) -> Vec<Window> {
    let last: BTreeMap<i64, &Window> = panes.iter().map(|pane| (pane.start_ms, pane)).collect();
    let last: Vec<&Window> = last.into_values().collect();
    let size = usize::try_from(plan.schedule.panes_per_window).unwrap_or(usize::MAX);
    last.windows(size).map(|panes| window(plan, panes, truths)).collect()
}

fn window(plan: &ReleasePlan, panes: &[&Window], truths: &BTreeMap<i64, Truth>) -> Window {
    let mut truth = Truth::default();
    for pane in panes {
        if let Some(of_pane) = truths.get(&pane.start_ms) {
            truth.add(of_pane);
        }
    }
    let keys: BTreeSet<&Arc<str>> =
        panes.iter().flat_map(|pane| pane.rows.iter().map(|row| &row.key)).collect();
    let rows = keys.into_iter().map(|key| {
        let rows = || panes.iter().filter_map(move |p| p.rows.iter().find(|row| row.key == *key));
        let runs = rows().map(|row| row.published.len()).max().unwrap_or(0);
        let published = (0..runs).map(|run| {
            let drawn = rows().filter_map(|row| row.published.get(run)?.as_deref());
            drawn.fold(None, |sum, values| Some(added(sum.unwrap_or_default(), values)))
        });
        Row {
            key: key.clone(),
            truth: truth.row(plan, key),
            bounded: rows().fold(Vec::new(), |sum, row| added(sum, &row.bounded)),
            published: published.collect(),
        }
    });
    Window {
        start_ms: panes.first().map_or(0, |pane| pane.start_ms),
        end_ms: panes.last().map_or(0, |pane| pane.end_ms),
        revision: panes.last().map_or(0, |pane| pane.revision),
        rows: rows.collect(),
    }
}

fn added(mut sum: Vec<i64>, values: &[i64]) -> Vec<i64> {
    sum.resize(values.len().max(sum.len()), 0);
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum = sum.saturating_add(*value);
    }
    sum
}
