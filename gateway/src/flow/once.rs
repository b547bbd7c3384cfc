//! Requests with an idempotency key: published once, also when they were interrupted and come again.

use std::collections::{BTreeMap, BTreeSet};

use sluicegate_audit::{Position, Recorded};

use super::{Answer, Arrived, Flow, Permitted};
use crate::{
    account::{ClaimFound, Claimed, Head, Intended, Keyed},
    deliver::{self, DeliveryResults},
    record::{Batch, DeliverError, RequestId, Verdict, lot, positions},
    request::Stopped,
};

/// The answer to a request with an idempotency key.
pub struct Once {
    pub answer: Vec<u8>,
    /// It was given before, to the same request.
    pub replayed: bool,
}

impl Flow {
    /// [`Flow::publish`] for a request with an idempotency key. `render` makes the answer that a
    /// repetition will get again.
    pub async fn publish_once(
        &self,
        permitted: &Permitted,
        batch: Batch,
        keyed: Keyed,
        render: impl Fn(RequestId, &Answer) -> Vec<u8>,
    ) -> Result<Once, Stopped> {
        let _running = self.account.running(&keyed).ok_or(Stopped::KeyRunning)?;
        let earlier = match self.account.claim(&keyed).await? {
            ClaimFound::Reused => return Err(Stopped::KeyReused),
            ClaimFound::Done(answer) => return Ok(Once { answer, replayed: true }),
            ClaimFound::ElsewhereRunning => return Err(Stopped::KeyRunning),
            ClaimFound::Interrupted(claimed) => Some(claimed),
            ClaimFound::New => None,
        };
        let (head, records) = Head::of(batch);
        // A repetition brings to releases what the first attempt brought, to the letter.
        let ms = match &earlier {
            Some(claimed) => claimed.at_us.div_euclid(1_000),
            None => self.policy.clock_ms(),
        };
        let arrived = Arrived { request: keyed.repeats(), first: head.first, ms, batch: None };
        let verdict = self.verdict(permitted, records, arrived)?;
        let (request, recorded, results) = match earlier {
            None => {
                let keyed = Some((&keyed, ms));
                let recorded = self
                    .account
                    .record(permitted, &permitted.grant()?, &head, verdict, keyed)
                    .await?;
                let results = DeliveryResults::nothing(recorded.get());
                (head.request, recorded, results)
            }
            Some(claimed) => self.resume(permitted, &head, claimed, verdict, None).await?,
        };
        let results = deliver::deliver(&recorded, results, &self.regions).await;
        if let Some((region, error)) = results.retriable(recorded.get()) {
            // The claim stays open: the repetition finds out what is missing and delivers that.
            let stopped = Stopped::Pipeline { region: region.clone(), error: error.clone() };
            self.account.settle(&recorded, &results, None);
            return Err(stopped);
        }
        let answer = Answer::new(permitted, &head, recorded, results, &self.metrics);
        // Decisions are named as the ledger names them: by the request that made them.
        let rendered = render(request, &answer);
        self.account.settle(answer.recorded(), answer.results(), Some((&keyed, rendered.clone())));
        Ok(Once { answer: rendered, replayed: false })
    }

    /// A request that was interrupted between its intent and its answer: what is in the pipelines
    /// stays there, the rest goes out under the positions it had. What its intent does not say
    /// must not leave under it: when the policy has changed since, the rest has failed.
    /// What this process knows of it, it need not look up.
    pub async fn resume(
        &self,
        permitted: &Permitted,
        head: &Head,
        claimed: Claimed,
        verdict: Verdict,
        known: Option<DeliveryResults>,
    ) -> Result<(RequestId, Recorded<Verdict>, DeliveryResults), Stopped> {
        let (appended, intended) = self.account.intended(permitted, &claimed).await?;
        let recorded = appended.cover(verdict);
        let since_ms = claimed.at_us.div_euclid(1_000);
        let known = DeliveryResults::of_before(recorded.get(), known);
        let found = match known {
            Some(known) => Ok(known),
            None => self.find(&recorded, &intended, since_ms).await,
        };
        let mut results = found.inspect_err(|_| {
            // It was opened again, and has an end again.
            let mut unknown = DeliveryResults::nothing(recorded.get());
            unknown.fail_rest(&DeliverError::Unknown("it could not be looked up".to_owned()));
            self.account.settle(&recorded, &unknown, None);
        })?;
        for n in 0..recorded.get().lots().len() {
            let Some(lot) = lot(&recorded, n) else { continue };
            let (region, topic) = (&lot.get().region, &lot.get().topic);
            for (number, position) in positions(&lot).enumerate() {
                if !results.has(n, number) && !intended.covers(position, region, topic) {
                    results.put(n, number, Err(DeliverError::PolicyChanged));
                }
            }
        }
        Ok((intended.request.unwrap_or(head.request), recorded, results))
    }

    /// What of it the pipelines have.
    async fn find(
        &self,
        recorded: &Recorded<Verdict>,
        intended: &Intended,
        since_ms: i64,
    ) -> Result<DeliveryResults, Stopped> {
        let mut results = DeliveryResults::nothing(recorded.get());
        for n in 0..recorded.get().lots().len() {
            let Some(lot) = lot(recorded, n) else { continue };
            let (region, topic) = (&lot.get().region, &lot.get().topic);
            let Some(pipeline) = self.regions.get(region) else { continue };
            let wanted: BTreeSet<Position> = positions(&lot).collect();
            let since = intended.since(since_ms, region, topic);
            let found = match pipeline.find(topic, &wanted, since).await {
                Err(DeliverError::UnknownTopic) => BTreeMap::new(),
                found => {
                    found.map_err(|error| Stopped::Pipeline { region: region.clone(), error })?
                }
            };
            for (number, position) in positions(&lot).enumerate() {
                if let Some(placed) = found.get(&position) {
                    results.put(n, number, Ok(*placed));
                }
            }
        }
        Ok(results)
    }
}
