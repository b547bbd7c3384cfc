//! Plans for the benchmarks of releases, from policy text as everybody writes it.

use std::sync::Arc;

use sluicegate_policies::{
    Bundle, Source, UnixMillis,
    release::{Keys, ReleasePlan},
};

/// An hour within the time in which the policies are in force, and the start of a period.
pub(crate) const START_MS: i64 = 1_795_392_000_000;

const WORDS: &str = "\
apiVersion: sluicegate/v1
kind: Vocabulary
metadata: { name: words }
categories: [{ id: user.id }, { id: ad.placement }, { id: ad.cost }]
recipients: [{ id: eu }]
principals: [{ id: app }]
jurisdictions: [{ code: DE }]
regions: [{ id: fra, jurisdiction: DE, recipient: eu }]
---
apiVersion: sluicegate/v1
kind: TokenDomain
metadata: { name: users }
normalize: exact
scope: global
key: k
---
apiVersion: sluicegate/v1
kind: Dataset
metadata: { name: clicks }
topics: [clicks]
fields: { user.id: user.id, placement: ad.placement, cost: ad.cost }
jurisdiction: { fixed: DE }
deliver-to: [home]
records: releases-only
---
apiVersion: sluicegate/v1
kind: Release
metadata: { name: measured, citations: [x] }
because: it is measured
dataset: clicks
topic: measured
";

/// Subjects, count and a sum, of one row for each placement.
const TOTALS: &str = "
release:
  - { what: subjects, share: 0.5 }
  - { what: count, share: 0.25 }
  - { what: sum, share: 0.25, field: cost, decimals: 2, clamp: [0, 5.00] }
";

/// Hourly rows of whatever placements occur: at most two of a subject, three records in each.
/// `choose` and `accounting` are words of the policy language.
pub(crate) fn hourly(choose: &str, choose_windows: &str, accounting: &str) -> ReleasePlan {
    plan(&format!(
        "unit: {{ subject: user.id, domain: users, period: 24h }}
budget: {{ epsilon: 4.0, delta: 1e-9, accounting: {accounting} }}
window: {{ size: 1h, lateness: 0s, max-skew: 0s, slack: 0s }}
bounds: {{ windows-per-period: 6, keys-per-window: 2, records-per-key: 3, choose: {choose}, choose-windows: {choose_windows} }}
keys: {{ field: placement }}{TOTALS}"
    ))
}

pub(crate) fn plan(words: &str) -> ReleasePlan {
    let release = format!("{WORDS}{words}");
    let bundle = match Bundle::compile(&[Source::new("measured.yaml", release.as_str())]) {
        Ok(bundle) => bundle,
        Err(report) => panic!("the measured release does not compile:\n{report}"),
    };
    let [plan] = &bundle.releases(UnixMillis(START_MS))[..] else { panic!("one release") };
    ReleasePlan::clone(plan)
}

/// The same plan with rows that everybody knows.
pub(crate) fn public(mut plan: ReleasePlan, values: impl Iterator<Item = Arc<str>>) -> ReleasePlan {
    if let Keys::Unknown { path, .. } = plan.keys {
        plan.keys = Keys::Public { path, values: values.collect() };
    }
    plan
}

/// The best of many short rounds, so that the ratio is of the code and not of the machine's other
/// work.
pub(crate) fn nanoseconds<T>(rounds: u32, runs: u32, mut run: impl FnMut() -> T) -> f64 {
    let round = |_| {
        let start = std::time::Instant::now();
        for _ in 0..runs {
            std::hint::black_box(run());
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(runs)
    };
    (0..rounds).map(round).fold(f64::INFINITY, f64::min)
}
