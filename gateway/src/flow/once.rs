//! Requests with an idempotency key: published once, also when they were interrupted and come again.

use std::collections::{BTreeMap, BTreeSet};

use sluicegate_audit::{Position, Recorded};

use super::{Answer, Arrived, Flow, Permitted};
use crate::{
    account::{ClaimFound, Claimed, Head, Keyed},
    deliver::{self, DeliveryResults, Since},
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
            Some(claimed) => self.resume(permitted, &head, claimed, verdict).await?,
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
    pub async fn resume(
        &self,
        permitted: &Permitted,
        head: &Head,
        claimed: Claimed,
        verdict: Verdict,
    ) -> Result<(RequestId, Recorded<Verdict>, DeliveryResults), Stopped> {
        let (appended, intended) = self.account.intended(permitted, &claimed).await?;
        let recorded = appended.cover(verdict);
        let mut results = DeliveryResults::nothing(recorded.get());
        let since_ms = claimed.at_us.div_euclid(1_000);
        for n in 0..recorded.get().lots().len() {
            let Some(lot) = lot(&recorded, n) else { continue };
            let (region, topic) = (&lot.get().region, &lot.get().topic);
            let Some(pipeline) = self.regions.get(region) else { continue };
            let wanted: BTreeSet<Position> = positions(&lot).collect();
            let found = match pipeline.find(topic, &wanted, Since::Time(since_ms)).await {
                Err(DeliverError::UnknownTopic) => BTreeMap::new(),
                found => {
                    found.map_err(|error| Stopped::Pipeline { region: region.clone(), error })?
                }
            };
            for (number, position) in positions(&lot).enumerate() {
                match found.get(&position) {
                    Some(placed) => results.put(n, number, Ok(*placed)),
                    None if intended.covers(position, region, topic) => {}
                    None => results.put(n, number, Err(DeliverError::PolicyChanged)),
                }
            }
        }
        Ok((intended.request.unwrap_or(head.request), recorded, results))
    }
}
