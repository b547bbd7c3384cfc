//! A record's path: judged, recorded, delivered, settled. Start reading here.
//!
//! ```text
//! Batch ─ permit ─ judge (classify, decide, transform) ─▶ Verdict ─ account ─▶ Recorded ─ deliver ─▶ DeliveryResults
//!                                                                                 └────── settle ◀────┘
//! ```
//!
//! Who may ask is decided in [`permit`], what becomes of a record in [`judge`], what a request
//! continues that was interrupted in [`once`], and what a reader is shown in [`read`]; the stages
//! are leaves that do not know each other. INVARIANT: every record gets exactly one fate, and the
//! fate is durable in the ledger before a copy leaves. Any error while deciding or transforming
//! refuses.

mod answer;
mod judge;
mod once;
mod permit;
mod read;

use std::{net::IpAddr, sync::Arc};

use sluicegate_audit::Recorded;

pub use self::{
    answer::{Answer, Outcome, Report},
    once::Once,
};
pub use crate::{
    account::{Head, Keyed},
    request::Permitted,
};
pub(crate) use judge::Gate;

use self::judge::Arrived;
pub use self::judge::InBatch;
use crate::{
    account::Account,
    ambient::heavy,
    decide::{Policy, Snapshot},
    deliver::{self, DeliveryResults, Regions},
    identify::Principal,
    record::{Batch, Records, RequestId, Verdict},
    request::{Stopped, Target},
    telemetry::Metrics,
};

/// The stages, wired.
pub struct Flow {
    pub policy: Arc<Policy>,
    pub account: Arc<Account>,
    pub regions: Regions,
    pub metrics: Arc<Metrics>,
}

impl Flow {
    /// A batch's path.
    pub async fn publish(&self, permitted: &Permitted, batch: Batch) -> Result<Answer, Stopped> {
        let (head, verdict) = self.judge(permitted, batch)?;
        let recorded = self.record(permitted, &head, verdict).await?;
        Ok(self.deliver(permitted, &head, recorded).await)
    }

    /// Its first step: every record has its fate.
    pub fn judge(&self, permitted: &Permitted, batch: Batch) -> Result<(Head, Verdict), Stopped> {
        let (head, records) = Head::of(batch);
        let (request, first, ms) = (head.request, head.first, self.policy.clock_ms());
        let arrived = Arrived { request, first, ms, batch: None };
        let verdict = self.verdict(permitted, records, arrived)?;
        Ok((head, verdict))
    }

    /// [`Flow::judge`] for a batch of Kafka's, which may come again: releases know it by `repeats`.
    pub fn judge_batch(
        &self,
        permitted: &Permitted,
        batch: Batch,
        repeats: Option<RequestId>,
        within: InBatch<'_>,
    ) -> Result<(Head, Verdict), Stopped> {
        let (head, records) = Head::of(batch);
        let (request, ms) = (repeats.unwrap_or(head.request), self.policy.clock_ms());
        let arrived = Arrived { request, first: head.first, ms, batch: Some(within) };
        let verdict = self.verdict(permitted, records, arrived)?;
        Ok((head, verdict))
    }

    /// Its second: the fates are durable.
    pub async fn record(
        &self,
        permitted: &Permitted,
        head: &Head,
        verdict: Verdict,
    ) -> Result<Recorded<Verdict>, Stopped> {
        self.record_as(permitted, head, verdict, None).await
    }

    /// The same, so that its repetition is known by a key.
    pub async fn record_as(
        &self,
        permitted: &Permitted,
        head: &Head,
        verdict: Verdict,
        keyed: Option<(&Keyed, i64)>,
    ) -> Result<Recorded<Verdict>, Stopped> {
        let grant = permitted.grant()?;
        Ok(self.account.record(permitted, &grant, head, verdict, keyed).await?)
    }

    /// Its last, which follows the second in any case: delivered and settled.
    pub async fn deliver(
        &self,
        permitted: &Permitted,
        head: &Head,
        recorded: Recorded<Verdict>,
    ) -> Answer {
        let results = DeliveryResults::nothing(recorded.get());
        let results = deliver::deliver(&recorded, results, &self.regions).await;
        self.account.settle(&recorded, &results, None);
        Answer::new(permitted, head, recorded, results, &self.metrics)
    }

    /// Settles and counts what a face has delivered itself.
    pub fn settled(
        &self,
        permitted: &Permitted,
        head: &Head,
        recorded: Recorded<Verdict>,
        results: DeliveryResults,
        answered: Option<(&Keyed, Vec<u8>)>,
    ) {
        self.account.settle(&recorded, &results, answered);
        Answer::new(permitted, head, recorded, results, &self.metrics);
    }

    fn verdict(
        &self,
        permitted: &Permitted,
        records: Records,
        arrived: Arrived<'_>,
    ) -> Result<Verdict, Stopped> {
        let digests = self.account.digests().load_full();
        let blocked = self.account.blocked();
        let judge = || judge::judge(permitted, (&digests, &blocked), &records, arrived);
        let count = match &records {
            Records::Single(records) => records.len(),
            Records::Whole(..) => 1,
        };
        Ok(heavy(count, judge)?)
    }

    /// The keyed digest of a caller's address, as the ledger holds it.
    pub fn origin(&self, address: IpAddr) -> [u8; 16] {
        self.account.origin(address)
    }

    /// An idempotency key and its request's fingerprint, as keyed digests.
    pub fn keyed(&self, who: &Principal, target: &Target, key: &str, body: &[&[u8]]) -> Keyed {
        self.account.keyed(who, target, key, body)
    }

    /// The policy that is in force.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, Stopped> {
        self.policy.now().map_err(|refused| {
            self.metrics.count_fail_closed("policy-not-in-force");
            Stopped::Refused(refused)
        })
    }
}
