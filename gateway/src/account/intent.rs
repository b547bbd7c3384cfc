//! Intents: what is about to leave is durable first; and outcomes: where it ended.

use std::collections::BTreeMap;

use sluicegate_audit as audit;
use sluicegate_audit::{Digest16, Entry, Recorded};
use sluicegate_policies::Grant;

use super::{
    Account, AccountError, Keyed,
    entries::{actor, landings, outcome},
};
use crate::{
    deliver::Landed,
    record::{Batch, Fate, Judged, Record, RequestId, Verdict},
    request::Permitted,
};

/// What all records of a batch have in common.
#[derive(Clone, Copy)]
pub struct Head {
    pub request: RequestId,
    /// The number of the first record within its request.
    pub first: u32,
    /// Keyed digest of the caller's address.
    origin: [u8; 16],
}

impl Head {
    pub fn of(Batch { request, origin, first, records }: Batch) -> (Self, Vec<Record>) {
        (Self { request, first, origin }, records)
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
        let events = verdict.records().iter().zip(head.first..);
        let events: Vec<audit::Event> =
            events.map(|(judged, seq)| event(&verdict, judged, seq)).collect();
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
            events: u32::try_from(events.len()).unwrap_or(u32::MAX),
        };
        let details = treatments.iter().map(|t| (t.digest.0, t.bytes.to_vec())).collect();
        let claim = keyed.map(|(keyed, arrival_ms)| {
            let at_us = arrival_ms.saturating_mul(1_000);
            let expires_us = at_us.saturating_add(self.claim_us);
            audit::Claim { key: keyed.key, fingerprint: keyed.fingerprint, at_us, expires_us }
        });
        let appended = ledger
            .intend(intent, events, details, transfers(head, &verdict), claim)
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
        landed: &Landed,
        answered: Option<(&Keyed, Vec<u8>)>,
    ) {
        let outcome = outcome(recorded.first(), landings(recorded, landed));
        if let Some((keyed, answer)) = &answered {
            let expires_us = self.ambient.clock.now_us().saturating_add(self.claim_us);
            let mut given = self.given.lock().unwrap_or_else(|e| e.into_inner());
            given.remember(keyed, answer.clone(), expires_us);
        }
        let done = answered.map(|(keyed, answer)| (keyed.key, answer));
        let settled = self.ledger().and_then(|ledger| Ok(ledger.settle(outcome, done)?));
        if let Err(error) = settled {
            tracing::warn!(event = "outcome-not-recorded", %error);
        }
    }
}

fn event(verdict: &Verdict, judged: &Judged, seq: u32) -> audit::Event {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let copies = verdict.copies(judged).iter().map(|copy| number(copy.treatment)).collect();
    let fate = match &judged.fate {
        Fate::Refuse(refused) => audit::Fate::Refuse(
            refused.code.as_str().to_owned(),
            refused.rule.as_deref().unwrap_or_default().to_owned(),
        ),
        Fate::Deliver => audit::Fate::Deliver(copies),
        Fate::Aggregate => audit::Fate::Aggregate(copies),
    };
    let digests = |digests: &[[u8; 16]]| digests.iter().copied().map(Digest16).collect();
    let (source, tokens) = (digests(verdict.source(judged)), digests(verdict.tokens(judged)));
    audit::Event { seq, fate, source, tokens }
}

/// One entry for each treatment that crosses a border: how many records, and the categories that
/// were really there.
fn transfers(head: &Head, verdict: &Verdict) -> Vec<Entry> {
    let mut crossed: BTreeMap<usize, (u32, Vec<u8>)> = BTreeMap::new();
    for copy in verdict.records().iter().flat_map(|judged| verdict.copies(judged)) {
        if verdict.treatments().get(copy.treatment).is_none_or(|t| !t.crosses()) {
            continue;
        }
        let (events, present) = crossed.entry(copy.treatment).or_default();
        *events += 1;
        let here = verdict.present(copy);
        present.resize(present.len().max(here.len()), 0);
        present.iter_mut().zip(here).for_each(|(all, here)| *all |= here);
    }
    let transfer = |(n, (events, present)): (usize, (u32, Vec<u8>))| {
        let treatment = verdict.treatments().get(n)?;
        let crossing = treatment.transfer(&present)?;
        let (request, treatment) = (head.request.0, treatment.digest);
        Some(Entry::Transfer(audit::Transfer { request, treatment, crossing, events }))
    };
    crossed.into_iter().filter_map(transfer).collect()
}
