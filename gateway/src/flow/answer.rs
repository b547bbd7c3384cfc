//! What a publisher is told of its records, computed from what was recorded and delivered.

use std::{collections::BTreeMap, sync::Arc};

use sluicegate_audit::{Position, Recorded};

use super::Permitted;
use crate::{
    account::Head,
    deliver::DeliveryResults,
    record::{Copy, DeliverError, Fate, Judged, NotCounted, Placed, Refused, Verdict},
    telemetry::{FateLabel, Metrics, RegionLabel, RuleLabel, UncountedLabel},
};

/// The answer to a batch.
pub struct Answer {
    first: u32,
    topic: Arc<str>,
    recorded: Recorded<Verdict>,
    results: DeliveryResults,
}

/// What became of one record.
pub struct Report<'a> {
    /// The record's number within its request.
    pub seq: u32,
    pub position: Position,
    pub outcome: Outcome<'a>,
    answer: &'a Answer,
    record: usize,
}

pub enum Outcome<'a> {
    Delivered,
    /// For releases alone, and kept for nothing else.
    Aggregated,
    Refused(&'a Refused),
    /// At least one region does not have it; the first error.
    Failed {
        region: &'a Arc<str>,
        error: &'a DeliverError,
    },
}

impl Report<'_> {
    /// The regions that have the record in the topic that the publisher knows; copies in internal
    /// topics are no news to it.
    pub fn placed(&self) -> impl Iterator<Item = (&Arc<str>, Placed)> {
        let verdict = self.answer.recorded.get();
        let copies = verdict.records().get(self.record).map(|judged| verdict.copies(judged));
        copies.unwrap_or_default().iter().filter_map(|copy| self.answer.placed(copy))
    }

    /// What of it counts in no window of a release.
    pub fn not_counted(&self) -> impl Iterator<Item = &NotCounted> {
        self.answer.recorded.get().not_counted(self.record)
    }
}

impl Answer {
    pub(super) fn new(
        permitted: &Permitted,
        head: &Head,
        recorded: Recorded<Verdict>,
        results: DeliveryResults,
        metrics: &Metrics,
    ) -> Self {
        let topic = Arc::from(permitted.target().topic.as_str());
        let answer = Self { first: head.first, topic, recorded, results };
        answer.count(permitted, metrics);
        answer
    }

    pub(super) fn recorded(&self) -> &Recorded<Verdict> {
        &self.recorded
    }

    pub(super) fn results(&self) -> &DeliveryResults {
        &self.results
    }

    /// One for each record, in their order.
    pub fn reports(&self) -> impl ExactSizeIterator<Item = Report<'_>> {
        let first = self.recorded.first();
        self.recorded.get().records().iter().enumerate().map(move |(n, judged)| {
            let number = u32::try_from(n).unwrap_or(u32::MAX);
            Report {
                seq: self.first.saturating_add(number),
                position: Position { leaf: first.leaf.saturating_add(number), ..first },
                outcome: self.outcome(judged),
                answer: self,
                record: n,
            }
        })
    }

    fn outcome<'a>(&'a self, judged: &'a Judged) -> Outcome<'a> {
        let verdict = self.recorded.get();
        let failed = verdict.copies(judged).iter().find_map(|copy| {
            let error = self.results.of(copy)?.as_ref().err()?;
            Some((&verdict.lots().get(copy.lot)?.region, error))
        });
        match (&judged.fate, failed) {
            (Fate::Refuse(refused), _) => Outcome::Refused(refused),
            (_, Some((region, error))) => Outcome::Failed { region, error },
            (Fate::Aggregate, None) => Outcome::Aggregated,
            (Fate::Deliver, None) => Outcome::Delivered,
        }
    }

    fn placed(&self, copy: &Copy) -> Option<(&Arc<str>, Placed)> {
        let lot = self.recorded.get().lots().get(copy.lot).filter(|lot| lot.topic == self.topic)?;
        Some((&lot.region, *self.results.of(copy)?.as_ref().ok()?))
    }

    /// Counts a batch: each label is looked up once.
    fn count(&self, permitted: &Permitted, metrics: &Metrics) {
        let verdict = self.recorded.get();
        let mut fates = Tally::default();
        let (mut regions, mut transfers) = (Tally::default(), Tally::default());
        let (mut shadow, mut uncounted) = (Tally::default(), Tally::default());
        for (report, judged) in self.reports().zip(verdict.records()) {
            let count = u64::from(judged.count);
            let fate = match report.outcome {
                Outcome::Delivered => (FateLabel::Delivered, ""),
                Outcome::Aggregated => (FateLabel::Aggregated, ""),
                Outcome::Refused(refused) => (FateLabel::Refused, refused.code.as_str()),
                Outcome::Failed { error, .. } => (FateLabel::Failed, error.code()),
            };
            fates.add(fate, count);
            let copies = verdict.copies(judged);
            let treatment = |copy: &Copy| verdict.treatments().get(copy.treatment);
            let region = |copy: &Copy| verdict.lots().get(copy.lot).map(|lot| &lot.region);
            // The rules of a route stand in each of its treatments.
            let rules = copies.first().and_then(treatment);
            rules.iter().flat_map(|first| first.shadow()).for_each(|rule| shadow.add(rule, count));
            let mut crossed: Option<&Arc<str>> = None;
            for copy in copies {
                self.placed(copy).into_iter().for_each(|(region, _)| regions.add(region, count));
                // A contribution crosses together with its record.
                let to = region(copy).filter(|_| treatment(copy).is_some_and(|t| t.crosses()));
                if let Some(to) = to.filter(|to| crossed != Some(*to)) {
                    transfers.add(to, count);
                    crossed = Some(to);
                }
            }
        }
        let records = 0..verdict.records().len();
        records.flat_map(|n| verdict.not_counted(n)).for_each(|why| uncounted.add(why, 1));
        let dataset = permitted.dataset();
        for ((fate, code), records) in fates.0 {
            metrics.count_record(&dataset, fate, code, records);
        }
        let label = |region: &Arc<str>| RegionLabel { region: region.to_string() };
        for (region, records) in regions.0 {
            metrics.deliveries.get_or_create(&label(region)).inc_by(records);
        }
        for (region, records) in transfers.0 {
            metrics.transfers.get_or_create(&label(region)).inc_by(records);
        }
        for (rule, records) in shadow.0 {
            metrics.shadow.get_or_create(&RuleLabel { rule: rule.to_string() }).inc_by(records);
        }
        for (NotCounted { release, why }, records) in uncounted.0 {
            let labels = UncountedLabel { release: release.to_string(), code: why.code() };
            metrics.uncounted.get_or_create(&labels).inc_by(records);
        }
    }
}

struct Tally<K>(BTreeMap<K, u64>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Tally<K> {
    fn add(&mut self, key: K, count: u64) {
        *self.0.entry(key).or_default() += count;
    }
}
