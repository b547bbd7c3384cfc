//! Intents: what is about to leave is durable first; and outcomes: where it ended.

use std::{collections::BTreeMap, sync::Arc};

use sluicegate_audit as audit;
use sluicegate_audit::{Entry, Recorded};
use sluicegate_policies::Grant;

use super::{
    Account, AccountError, Keyed,
    entries::{DeliveryResult, actor, outcome, results_of},
};
use crate::{
    ambient::crash_point,
    deliver::DeliveryResults,
    record::{
        Batch, Copy, DeliverError, Fate, Judged, Lot, Placed, Records, RequestId, Verdict,
        positions,
    },
    request::Permitted,
};

/// What all records of a batch have in common.
pub struct Head {
    pub request: RequestId,
    /// The number of the first record within its request.
    pub first: u32,
    /// Keyed digest of the caller's address.
    origin: [u8; 16],
    pub identity: Option<audit::BatchIdentity>,
}

impl Head {
    pub fn of(batch: Batch) -> (Self, Records) {
        let Batch { request, origin, first, records, identity } = batch;
        (Self { request, first, origin, identity }, records)
    }
}

impl Account {
    /// Makes the fates durable. What comes back is the proof that delivery asks for.
    pub async fn record(
        &self,
        permitted: &Permitted,
        grant: &Grant<'_>,
        head: &Head,
        verdict: Verdict,
        keyed: Option<(&Keyed, i64)>,
    ) -> Result<Recorded<Verdict>, AccountError> {
        let started = tokio::time::Instant::now();
        let ledger = self.ledger()?;
        let mut made = audit::Leaves::default();
        let mut records = 0;
        for run in verdict.records().chunk_by(|one, next| one.leaf == next.leaf) {
            let seq = head.first.saturating_add(records);
            records = records.saturating_add(push_leaf(&mut made, &verdict, run, seq));
        }
        let treatments = verdict.treatments();
        let intent = audit::Intent {
            request: head.request.0,
            actor: actor(permitted.who()),
            origin: head.origin,
            purpose: grant.purpose().to_string(),
            dataset: grant.dataset().name.to_string(),
            topic: permitted.target().topic.clone(),
            policy: permitted.policy().0,
            rules: grant.rules().iter().map(ToString::to_string).collect(),
            treatments: treatments.iter().map(|treatment| treatment.digest).collect(),
            first_leaf: 0,
            leaves: u32::try_from(made.len()).unwrap_or(u32::MAX),
            records,
            batch: head.identity.iter().cloned().collect(),
        };
        let details = treatments.iter().map(|t| (t.digest.0, t.bytes.to_vec())).collect();
        let claim = keyed.map(|(keyed, arrival_ms)| {
            let at_us = arrival_ms.saturating_mul(1_000);
            let expires_us = at_us.saturating_add(self.claim_us);
            audit::Claim { key: keyed.key, fingerprint: keyed.fingerprint, at_us, expires_us }
        });
        let appended = ledger
            .intend(intent, made, details, transfers(head, &verdict), claim)
            .await
            .inspect_err(|_| self.metrics.count_fail_closed("ledger-unavailable"))?;
        self.metrics.ledger_seconds.observe(started.elapsed().as_secs_f64());
        Ok(appended.cover(verdict))
    }

    /// Queues where the records ended; it rides the next flush. When even the queue is full the
    /// intent stays open, and the next start looks it up.
    pub fn settle(
        &self,
        recorded: &Recorded<Verdict>,
        results: &DeliveryResults,
        answered: Option<(&Keyed, Vec<u8>)>,
    ) {
        crash_point("outcome");
        let outcome = outcome(recorded.first(), results_of(recorded, results));
        let done = answered.map(|(keyed, answer)| {
            let expires_us = self.ambient.clock.now_us().saturating_add(self.claim_us);
            let mut given = self.given.lock().unwrap_or_else(|e| e.into_inner());
            given.remember(keyed, answer.clone(), expires_us);
            (given.claimed_as(keyed), answer)
        });
        self.queue(outcome, done);
    }

    /// Queues that a batch is there already, under an earlier intent: nothing was sent.
    pub fn settle_repeat(&self, recorded: &Recorded<Verdict>, of: audit::Position) {
        let repeat_of = vec![of];
        let (placed, missing) = (vec![], vec![]);
        let of = recorded.first();
        self.queue(audit::Outcome { of, placed, missing, repeat_of, complete: true }, None);
    }

    /// The intent under which a batch of a Kafka producer's came before, if it is at an offset already.
    pub async fn earlier(
        &self,
        batch: &audit::BatchIdentity,
        topic: &str,
        offset: i64,
    ) -> Option<audit::Position> {
        let ledger = self.ledger().ok()?;
        let earlier = ledger.earlier(batch, topic, offset).await;
        earlier.inspect_err(|error| tracing::warn!(event = "ledger-unreadable", %error)).ok()?
    }

    /// Queues where copies of a lot that is not of records ended, by their number in it.
    pub fn settle_lot(
        &self,
        lot: &Recorded<Arc<Lot>>,
        results: &[(usize, Result<Placed, DeliverError>)],
    ) {
        let leaves: Vec<u32> = positions(lot).map(|position| position.leaf).collect();
        let results = results.iter().filter_map(|(n, result)| {
            let (region, topic) = (&*lot.get().region, &*lot.get().topic);
            let result = result.as_ref().copied();
            Some(DeliveryResult { leaf: *leaves.get(*n)?, count: 1, region, topic, result })
        });
        self.queue(outcome(lot.first(), results), None);
    }

    fn queue(&self, outcome: audit::Outcome, done: Option<([u8; 32], Vec<u8>)>) {
        let settled = self.ledger().and_then(|ledger| Ok(ledger.settle(outcome, done)?));
        if let Err(error) = settled {
            tracing::warn!(event = "outcome-not-recorded", %error);
        }
    }
}

/// Adds the leaf of a record, or of several that are recorded together. How many they are.
fn push_leaf(leaves: &mut audit::Leaves, verdict: &Verdict, run: &[Judged], seq: u32) -> u32 {
    let Some(judged) = run.first() else { return 0 };
    let count = run.iter().fold(0_u32, |all, judged| all.saturating_add(judged.count));
    if count > 1 {
        let fate = fate_of_run(verdict, judged, run);
        leaves.add(&audit::Leaf { seq, fate, source: vec![], tokens: vec![], count });
        return count;
    }
    let copied = |copy: &Copy| (treatment_of(copy), verdict.present(copy));
    let told = match &judged.fate {
        Fate::Refuse(refused) => {
            audit::Told::Refuse(refused.code.as_str(), refused.rule.as_deref().unwrap_or_default())
        }
        Fate::Deliver => audit::Told::Deliver,
        Fate::Aggregate => audit::Told::Aggregate,
    };
    let digests = [verdict.source(judged), verdict.tokens(judged)];
    leaves.push(seq, told, verdict.copies(judged).iter().map(copied), digests);
    count
}

fn treatment_of(copy: &Copy) -> u32 {
    u32::try_from(copy.treatment).unwrap_or(u32::MAX)
}

/// What its records have in common; of each field, how many had it.
fn fate_of_run(verdict: &Verdict, first: &Judged, run: &[Judged]) -> audit::Fate {
    let copied = |(n, copy): (usize, &Copy)| {
        let fields = verdict.treatments().get(copy.treatment).map_or(0, |t| t.fields());
        let mut counts = vec![0_u32; fields];
        for judged in run {
            let Some(copy) = verdict.copies(judged).get(n) else { continue };
            let present = verdict.present(copy);
            for (field, count) in counts.iter_mut().enumerate() {
                let byte = present.get(field / 8).copied().unwrap_or_default();
                let had = if byte & (1 << (field % 8)) == 0 { 0 } else { judged.count };
                *count = count.saturating_add(had);
            }
        }
        let present = audit::Present::Counts(counts);
        audit::Copied { treatment: treatment_of(copy), present }
    };
    let copies = || verdict.copies(first).iter().enumerate().map(copied).collect();
    match &first.fate {
        Fate::Refuse(refused) => audit::Fate::Refuse(
            refused.code.as_str().to_owned(),
            refused.rule.as_deref().unwrap_or_default().to_owned(),
        ),
        Fate::Deliver => audit::Fate::Deliver(copies()),
        Fate::Aggregate => audit::Fate::Aggregate(copies()),
    }
}

/// One entry for each treatment that crosses a border: how many records, and the categories that
/// were really there.
fn transfers(head: &Head, verdict: &Verdict) -> Vec<Entry> {
    let mut crossed: BTreeMap<usize, (u32, Vec<u8>)> = BTreeMap::new();
    let copies = verdict
        .records()
        .iter()
        .flat_map(|judged| verdict.copies(judged).iter().map(|copy| (judged.count, copy)));
    for (count, copy) in copies {
        if verdict.treatments().get(copy.treatment).is_none_or(|t| !t.crosses()) {
            continue;
        }
        let (records, present) = crossed.entry(copy.treatment).or_default();
        *records = records.saturating_add(count);
        let here = verdict.present(copy);
        present.resize(present.len().max(here.len()), 0);
        present.iter_mut().zip(here).for_each(|(all, here)| *all |= here);
    }
    let transfer = |(n, (records, present)): (usize, (u32, Vec<u8>))| {
        let treatment = verdict.treatments().get(n)?;
        let terms = treatment.transfer(&present)?;
        let (request, treatment) = (head.request.0, treatment.digest);
        Some(Entry::Transfer(audit::Transfer { request, treatment, terms, records }))
    };
    crossed.into_iter().filter_map(transfer).collect()
}
