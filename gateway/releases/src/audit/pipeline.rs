//! The pipeline under audit: policy text → plan → contributions → totals → noise → bytes, read
//! back. And a maximal adversary: one subject with more keys, records and value than it may count
//! with.

use std::sync::Arc;

use sluicegate_policies::{
    Bundle, BundleDigest, Source, UnixMillis,
    release::{Noise, PaneId, ReleasePlan, What},
};

use crate::{
    Message, Noisy, NoisyRow,
    encode::{self, PaneHistory},
    noise::{OpenDp, Sampler},
    select,
    testing::{HOUR_MS, hour},
    window::{Contribution, Subject, Totals},
};

const WORDS: &str = "\
apiVersion: sluicegate/v1
kind: Vocabulary
metadata: { name: words }
categories: [{ id: user.id }, { id: commerce.country }, { id: commerce.amount }]
recipients: [{ id: team.a }, { id: eu }]
principals: [{ id: app, member-of: [team.a] }]
jurisdictions: [{ code: DE }]
regions: [{ id: fra, jurisdiction: DE, recipient: eu }]
---
apiVersion: sluicegate/v1
kind: TokenDomain
metadata: { name: users }
normalize: exact
scope: global
key: k
rotation: 30d
---
apiVersion: sluicegate/v1
kind: Dataset
metadata: { name: orders }
topics: [orders]
fields: { user.id: user.id, country: commerce.country, amount: commerce.amount }
jurisdiction: { fixed: DE }
deliver-to: [home]
records: releases-only
";

const RELEASE: &str = "\
apiVersion: sluicegate/v1
kind: Release
metadata: { name: audited, citations: [x] }
because: it must
dataset: orders
topic: audited
unit: { subject: user.id, domain: users, period: 24h }
window: { size: 1h, lateness: 0s, max-skew: 0s, slack: 0s }
";

const NOW: UnixMillis = UnixMillis(1_795_392_000_000);

/// The first hour of a period.
pub(super) const FIRST: i64 = 483_000;

/// The plan of a release with these words about budget, bounds, keys and outputs.
pub(super) fn plan(words: &str) -> ReleasePlan {
    let text = format!("{RELEASE}{words}");
    let sources = [Source::new("words.yaml", WORDS), Source::new("release.yaml", text.as_str())];
    let bundle = match Bundle::compile(&sources) {
        Ok(bundle) => bundle,
        Err(report) => panic!("the audited release does not compile:\n{report}"),
    };
    let [plan] = &bundle.releases(NOW)[..] else { panic!("one release") };
    ReleasePlan::clone(plan)
}

/// A record as it comes in: whose, for which key, in which hour, with what amount in the sum's
/// fixed point.
#[derive(Clone, Copy)]
pub(super) struct Order {
    pub(super) subject: u64,
    pub(super) country: &'static str,
    pub(super) hour: i64,
    pub(super) amount: i64,
}

/// `records` orders in each of these countries and hours, each of an absurd amount.
pub(super) fn adversary(countries: &[&'static str], hours: &[i64], records: usize) -> Vec<Order> {
    let mut orders = Vec::new();
    for (country, hour) in countries.iter().flat_map(|c| hours.iter().map(move |h| (*c, *h))) {
        let order = Order { subject: 0, country, hour, amount: 1_000_000 };
        orders.extend(std::iter::repeat_n(order, records));
    }
    orders
}

/// Others, who keep to the bounds: `subjects` of them in each country, an order of 10 each.
pub(super) fn others(countries: &[&'static str], hours: &[i64], subjects: u64) -> Vec<Order> {
    let mut orders = Vec::new();
    for (at, country) in countries.iter().enumerate() {
        for subject in 0..subjects {
            let subject = 1 + at as u64 * subjects + subject;
            orders.extend(hours.iter().map(|&hour| Order { subject, country, hour, amount: 10 }));
        }
    }
    orders
}

/// What comes in at the door: subjects become digests, values are clamped.
pub(super) fn contributions(plan: &ReleasePlan, orders: &[Order]) -> Vec<Contribution> {
    let clamps: Vec<_> = plan.outputs.iter().filter_map(|o| clamp(&o.what)).collect();
    let digest = |what: &str, n: u64| -> [u8; 16] {
        let hash = blake3::hash(format!("{what}{n}").as_bytes());
        std::array::from_fn(|at| hash.as_bytes()[at])
    };
    let contribution = |(n, order): (usize, &Order)| {
        let at = order.hour * HOUR_MS + n as i64 % 1_000;
        Contribution {
            subject: Subject(digest("subject", order.subject)),
            key: Arc::from(order.country),
            event_ms: at,
            arrival_ms: at,
            id: digest("record", n as u64),
            values: clamps.iter().map(|(lo, hi)| Some(order.amount.clamp(*lo, *hi))).collect(),
        }
    };
    orders.iter().enumerate().map(contribution).collect()
}

fn clamp(what: &What) -> Option<(i64, i64)> {
    match what {
        What::Sum { lo, hi, .. } => Some((*lo, *hi)),
        What::Subjects | What::Count => None,
    }
}

/// A pane as published, and read back from the published bytes.
pub(super) fn publish(
    plan: &ReleasePlan,
    pane: PaneId,
    totals: &Totals,
    sampler: &mut impl Sampler,
) -> Vec<Message> {
    let noisy = select::noise(plan, totals, sampler).unwrap();
    encode::messages(plan, pane, &noisy, &PaneHistory::default(), None, BundleDigest([1; 32]))
}

pub(super) fn read(plan: &ReleasePlan, sent: &[Message]) -> Noisy {
    encode::read_back(plan, sent.iter().map(|m| m.value.as_slice())).unwrap().1
}

/// What [`read`] finds, straight from the bytes, for keys without escapes and whole numbers: an
/// observer's reader, ten times as fast in a build that is not optimised.
pub(super) fn skim(sent: &[Message]) -> Noisy {
    let row = |message: &Message| {
        let text = std::str::from_utf8(&message.value).unwrap();
        let (_, values) = text.split_once(",\"values\":{")?;
        let (_, key) = text.split_once(",\"key\":\"")?;
        let number = |member: &str| member.split_once(':').unwrap().1.trim().parse().unwrap();
        Some(NoisyRow {
            key: key.split_once('"')?.0.into(),
            values: values.split_once('}')?.0.split(',').map(number).collect(),
        })
    };
    Noisy { rows: sent.iter().filter_map(row).collect() }
}

/// The pipeline twice: without one subject and with it, which an observer tries to tell apart.
pub(super) struct Worlds {
    /// What is published by.
    pub(super) plan: ReleasePlan,
    /// One for each pane.
    pub(super) without: Vec<Totals>,
    pub(super) with: Vec<Totals>,
}

impl Worlds {
    /// Panes of these hours in both worlds. Sums are bounded by `bounding`, noised by `plan`: in a
    /// correct pipeline they are one.
    pub(super) fn of(
        plan: &ReleasePlan,
        bounding: &ReleasePlan,
        hours: &[i64],
        others: &[Order],
        subject: &[Order],
    ) -> Self {
        let sums = |orders: &[Order]| {
            super::window::totals(bounding, hours, &contributions(bounding, orders))
        };
        let with = [others, subject].concat();
        Self { plan: plan.clone(), without: sums(others), with: sums(&with) }
    }

    /// `n` observations of each world, by [`OpenDp`]; the first few are read back in full.
    pub(super) fn observe(&self, n: usize) -> [Vec<f64>; 2] {
        let mut sampler = OpenDp::default();
        [&self.without, &self.with].map(|world| {
            let one = |i: usize| {
                let mut ratio = 0.0;
                for (at, pane) in world.iter().enumerate() {
                    let sent = publish(&self.plan, hour(FIRST), pane, &mut sampler);
                    let seen = skim(&sent);
                    assert!(i >= 20 || seen == read(&self.plan, &sent));
                    ratio += self.ratio(at, &seen);
                }
                ratio
            };
            (0..n).map(one).collect()
        })
    }

    /// How much likelier these rows are with the subject: the logarithm of the quotient.
    pub(super) fn ratio(&self, pane: usize, noisy: &Noisy) -> f64 {
        let nothing = vec![0; self.plan.outputs.len()];
        let mut ratio = 0.0;
        for row in &noisy.rows {
            let [a, b] = [&self.without, &self.with]
                .map(|world| world[pane].by_key.get(&row.key).unwrap_or(&nothing));
            for (at, output) in self.plan.outputs.iter().enumerate() {
                let from_a = (row.values[at] - a[at]) as f64;
                let from_b = (row.values[at] - b[at]) as f64;
                ratio += match output.noise {
                    Noise::Laplace { scale } => (from_a.abs() - from_b.abs()) / scale.as_f64(),
                    Noise::Gaussian { sigma } => {
                        (from_a.powi(2) - from_b.powi(2)) / (2.0 * sigma.as_f64().powi(2))
                    }
                };
            }
        }
        ratio
    }
}
