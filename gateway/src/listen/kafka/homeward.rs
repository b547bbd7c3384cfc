//! Records of a batch that belong to other regions go there first, under the gateway's own producer; then the batch
//! goes on, with stubs in their places.
//!
//! A batch may come again, also after a crash and at another gateway. If its producer is idempotent, the ledger knows it
//! by producer, epoch and sequence, as a broker does: what is at home already stays there, the rest follows. Nothing of a
//! batch goes home before the one in front of it is acknowledged, because a client gives other sequences to what is
//! behind a batch that has failed for good.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sluicegate_audit::{BatchIdentity, Recorded};
use sluicegate_wire::codes;
use tokio::{sync::watch, time::Instant};

use super::{
    acknowledge::{Of, Recent},
    produce::{HELD_MAX, Held, Part, PartFate, Producer, Ready, Refusal, stop},
    session::Session,
};
use crate::{
    account::{ClaimFound, Keyed, Running},
    ambient::crash_point,
    deliver::{self, DeliveryResults, Regions, Shape},
    flow::{Head, Permitted},
    record::{DeliverError, Verdict},
};

/// What a topic is like is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Topics that are remembered.
const TOPICS_MAX: usize = 10_000;

/// What topics of a cluster are like.
#[derive(Default)]
pub(super) struct Shapes(Mutex<HashMap<Arc<str>, (Instant, Shape)>>);

impl Shapes {
    pub(super) async fn of(
        &self,
        regions: &Regions,
        region: &str,
        topic: &str,
    ) -> Result<Shape, Refusal> {
        let all = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, shape)) = all().get(topic)
            && at.elapsed() < ASK_AGAIN
        {
            return Ok(*shape);
        }
        let pipeline = regions.get(region).ok_or(Refusal::of(codes::UNKNOWN_SERVER_ERROR))?;
        let shape = pipeline.shape(topic).await.map_err(|error| refusal(&error))?;
        let mut all = all();
        if all.len() >= TOPICS_MAX {
            all.clear();
        }
        all.insert(Arc::from(topic), (Instant::now(), shape));
        Ok(shape)
    }
}

/// What the ledger knows of a batch of which records go elsewhere.
pub(super) enum Found {
    Recorded(Box<(Recorded<Verdict>, DeliveryResults, Option<Claim>)>),
    /// It is done, and is at this offset.
    Done(i64),
}

/// How a batch is known when it comes again; nobody else works on it meanwhile.
pub(super) struct Claim {
    pub keyed: Keyed,
    _running: Running,
}

/// Records a batch, or takes it up again.
pub(super) async fn record(
    session: &Session,
    permitted: &Permitted,
    head: &Head,
    verdict: Verdict,
    identity: &BatchIdentity,
) -> Result<Found, Refusal> {
    let flow = &session.face.desk.flow;
    if identity.producer_id < 0 {
        let recorded = flow.record(permitted, head, verdict).await;
        let recorded = recorded.map_err(|stopped| Refusal::of(stop(&stopped)))?;
        let results = DeliveryResults::nothing(recorded.get());
        return Ok(Found::Recorded(Box::new((recorded, results, None))));
    }
    let BatchIdentity {
        cluster,
        partition,
        producer_id,
        producer_epoch,
        first_sequence,
        count,
        ..
    } = identity;
    let key =
        format!("kafka {cluster} {partition} {producer_id} {producer_epoch} {first_sequence}");
    let count = count.to_be_bytes();
    let keyed = flow.keyed(&session.who, permitted.target(), &key, &[count.as_slice()]);
    let again = || Refusal::of(codes::NOT_LEADER_OR_FOLLOWER);
    let running = flow.account.running(&keyed).ok_or_else(again)?;
    let claimed = flow.account.claim(&keyed).await.map_err(|_| again())?;
    let stopped = |stopped: crate::request::Stopped| Refusal::of(stop(&stopped));
    let (recorded, results) = match claimed {
        ClaimFound::New => {
            let now = Some((&keyed, flow.policy.clock_ms()));
            let recorded = flow.record_as(permitted, head, verdict, now).await.map_err(stopped)?;
            let results = DeliveryResults::nothing(recorded.get());
            (recorded, results)
        }
        ClaimFound::Interrupted(claimed) => {
            let resumed = flow.resume(permitted, head, claimed, verdict).await;
            let (_, recorded, results) = resumed.map_err(stopped)?;
            (recorded, results)
        }
        ClaimFound::Done(answer) => {
            let offset = answer.first_chunk().map(|bytes| i64::from_be_bytes(*bytes));
            return offset.map(Found::Done).ok_or_else(again);
        }
        ClaimFound::ElsewhereRunning => return Err(again()),
        ClaimFound::Reused => {
            let message = "the producer has used this sequence for another batch".to_owned();
            return Err(Refusal::saying(codes::INVALID_RECORD, message));
        }
    };
    let claim = Claim { keyed, _running: running };
    Ok(Found::Recorded(Box::new((recorded, results, Some(claim)))))
}

/// What a connection must know of batches that it has sent, before records of another go home.
pub(super) struct Before {
    unanswered: watch::Sender<usize>,
    failed: Mutex<Held>,
}

impl Default for Before {
    fn default() -> Self {
        let (unanswered, _) = watch::channel(0);
        Self { unanswered, failed: Mutex::new(Held(HashMap::new())) }
    }
}

impl Before {
    pub(super) fn sent(&self) {
        self.unanswered.send_modify(|requests| *requests += 1);
    }

    pub(super) fn answered(&self) {
        self.unanswered.send_modify(|requests| *requests = requests.saturating_sub(1));
    }

    async fn all_answered(&self) {
        // The sender is here, so that it ends only this way.
        let mut unanswered = self.unanswered.subscribe();
        let _seen = unanswered.wait_for(|requests| *requests == 0).await;
    }

    /// The broker has answered with an error, or with none.
    pub(super) fn said(&self, of: Of, producer: Producer, failed: Option<i64>) {
        let mut all = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(code) = failed else {
            all.0.remove(&of);
            return;
        };
        if all.0.len() >= HELD_MAX {
            all.0.clear();
        }
        let code = i16::try_from(code).unwrap_or(codes::UNKNOWN_SERVER_ERROR);
        all.0.entry(of).or_insert((producer.epoch, producer.sequence, code));
    }

    fn refusal(&self, part: &Part, recent: &Recent) -> Option<Refusal> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).refusal(part, recent)
    }
}

/// Takes records of a request's batches home, in order; a batch that cannot is refused.
pub(super) async fn deliver(session: &Session, parts: impl Iterator<Item = &mut Part>) {
    let mut waited = false;
    for part in parts {
        let PartFate::Ready(ready) = &part.fate else { continue };
        if ready.elsewhere.is_empty() {
            continue;
        }
        if !std::mem::replace(&mut waited, true) {
            session.before.all_answered().await;
        }
        if let Some(refusal) = session.before.refusal(part, &session.face.recent) {
            part.fate = PartFate::Refused(refusal);
            continue;
        }
        let none = PartFate::Refused(Refusal::of(codes::UNKNOWN_SERVER_ERROR));
        if let PartFate::Ready(ready) = std::mem::replace(&mut part.fate, none) {
            // On its own: what has begun ends, and is known, also when the client is gone.
            let regions = session.face.desk.flow.regions.clone();
            let delivered = tokio::spawn(deliver_one(regions, ready)).await;
            part.fate =
                delivered.unwrap_or(PartFate::Refused(Refusal::of(codes::UNKNOWN_SERVER_ERROR)));
        }
    }
}

async fn deliver_one(regions: Regions, mut ready: Box<Ready>) -> PartFate {
    let results = ready.results.take();
    let (Some((_, _, recorded)), Some(results)) = (&ready.recorded, results) else {
        return PartFate::Refused(Refusal::of(codes::UNKNOWN_SERVER_ERROR));
    };
    let is_elsewhere = |lot: usize| ready.elsewhere.contains(&lot);
    let results = deliver::deliver_some(recorded, results, &regions, is_elsewhere).await;
    crash_point("homeward");
    let failed = results.error().map(refusal);
    ready.results = Some(results);
    failed.map_or(PartFate::Ready(ready), PartFate::Refused)
}

/// What a client is told when a region does not take a record.
fn refusal(error: &DeliverError) -> Refusal {
    match error.is_retriable() {
        true => Refusal::of(codes::NOT_LEADER_OR_FOLLOWER),
        false => Refusal::saying(codes::INVALID_RECORD, error.to_string()),
    }
}
