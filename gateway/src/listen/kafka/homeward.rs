//! Records of a batch that belong to other regions go there first, under the gateway's own producer; then the batch
//! goes on, with stubs in their places.
//!
//! A batch may come again, also after a crash and at another gateway. If its producer is idempotent, the ledger knows it
//! by producer, epoch, sequence and content: what is at home already stays there, the rest follows. Nothing of a
//! batch goes home before the one in front of it is acknowledged, because a client gives other sequences to what is
//! behind a batch that has failed for good.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use sluicegate_audit::{BatchIdentity, Recorded};
use sluicegate_wire::codes;
use tokio::{sync::watch, time::Instant};

use super::{
    Face,
    acknowledge::{Of, Recent},
    produce::{self, HELD_MAX, Held, Part, PartFate, Producer, Ready, Refusal, after, stop},
    session::{Session, UnderWay},
};
use crate::{
    account::{ClaimFound, Keyed, Running},
    ambient::crash_point,
    deliver::{self, DeliveryResults, Regions, Shape},
    flow::{Head, Permitted},
    record::{DeliverError, Record, RequestId, Verdict},
};

/// What a topic is like is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Topics that are remembered.
const TOPICS_MAX: usize = 10_000;

/// Batches that were interrupted here, and of which it is known what is where.
const KEPT_MAX: usize = 10_000;
/// A client is answered after this; what has begun goes on.
const PATIENCE: Duration = Duration::from_secs(15);

/// What topics of regions are like.
#[derive(Default)]
pub(super) struct Shapes(Mutex<HashMap<RegionTopic, (Instant, Shape)>>);

type RegionTopic = (Arc<str>, Arc<str>);

impl Shapes {
    pub(super) async fn of(
        &self,
        regions: &Regions,
        region: &str,
        topic: &str,
    ) -> Result<Shape, Refusal> {
        let all = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = (Arc::from(region), Arc::from(topic));
        if let Some((at, shape)) = all().get(&of)
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
        all.insert(of, (Instant::now(), shape));
        Ok(shape)
    }

    /// It is not what it was.
    pub(super) fn forget(&self, region: &str, topic: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&(Arc::from(region), Arc::from(topic)));
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
    face: Arc<Face>,
    _running: Running,
}

impl Claim {
    /// What is where, for the next try; `own` is what the broker knows itself.
    pub(super) fn keep(&self, results: &DeliveryResults, own: usize) {
        let mut all = self.face.kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        match results.kept(own) {
            Some(kept) => {
                if all.len() >= KEPT_MAX {
                    all.clear();
                }
                all.insert(self.keyed.repeats(), kept);
            }
            None => drop(all.remove(&self.keyed.repeats())),
        }
    }

    /// What an earlier try has kept.
    fn kept(&self) -> Option<DeliveryResults> {
        let mut all = self.face.kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.keyed.repeats())
    }
}

/// What is where, of batches that were interrupted.
#[derive(Default)]
pub(super) struct Kept(Mutex<HashMap<RequestId, DeliveryResults>>);

/// A digest of all that came: a client may use a sequence again for something else, once a batch has failed for good.
pub(super) fn content(records: &[Record]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let mut put = |part: Option<&[u8]>| {
        hasher.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
        hasher.update(part.unwrap_or_default());
    };
    for record in records {
        put(record.key.as_deref());
        put(record.value.as_deref());
        put(Some(&(record.headers.len() as u64).to_be_bytes()));
        for (name, value) in &record.headers {
            put(Some(name.as_bytes()));
            put(value.as_deref());
        }
    }
    *hasher.finalize().as_bytes()
}

/// What a dataset's topic is like, if its records may leave stubs: the partition must be there before anything leaves.
pub(super) async fn shape(
    session: &Session,
    permitted: &Permitted,
    partition: u32,
) -> Result<Option<Shape>, Refusal> {
    if !permitted.grant().is_ok_and(|grant| grant.dataset().stubs) {
        return Ok(None);
    }
    let (face, topic) = (&session.face, &permitted.target().topic);
    let shape = face.shapes.of(&face.desk.flow.regions, &face.region, topic).await?;
    if partition >= shape.partitions {
        face.shapes.forget(&face.region, topic);
        return Err(Refusal::of(codes::UNKNOWN_TOPIC_OR_PARTITION));
    }
    Ok(Some(shape))
}

/// A batch of which records go elsewhere: what it is known by, and its lots.
pub(super) struct Leaving<'b> {
    pub identity: &'b BatchIdentity,
    pub content: [u8; 32],
    /// What goes into the batch, and what goes to other regions.
    pub lot: usize,
    pub elsewhere: &'b [usize],
}

/// Records such a batch, or takes it up again.
pub(super) async fn record(
    session: &Session,
    permitted: &Permitted,
    head: &Head,
    verdict: Verdict,
    of: Leaving<'_>,
) -> Result<Found, Refusal> {
    if !fit(session, &verdict, of.elsewhere).await? {
        let (recorded, mut results) =
            produce::record(session, permitted, head, verdict, None).await?;
        results.fail_rest(&DeliverError::TooLarge);
        session.face.desk.flow.settled(permitted, head, recorded, results, None);
        let message = "a record is too large for the topic in its region".to_owned();
        return Err(Refusal::saying(codes::INVALID_RECORD, message));
    }
    if of.identity.producer_id < 0 {
        let (recorded, nothing) = produce::record(session, permitted, head, verdict, None).await?;
        return Ok(Found::Recorded(Box::new((recorded, nothing, None))));
    }
    claim(session, permitted, head, verdict, of).await
}

async fn claim(
    session: &Session,
    permitted: &Permitted,
    head: &Head,
    verdict: Verdict,
    of: Leaving<'_>,
) -> Result<Found, Refusal> {
    let flow = &session.face.desk.flow;
    let again = || Refusal::of(codes::NOT_LEADER_OR_FOLLOWER);
    let keyed = of.keyed(session, permitted);
    let running = flow.account.running(&keyed).ok_or_else(again)?;
    let claimed = flow.account.claim(&keyed).await.map_err(|_| again())?;
    let claim = Claim { keyed, face: session.face.clone(), _running: running };
    let (recorded, results) = match claimed {
        ClaimFound::New => {
            let now = Some((&claim.keyed, flow.policy.clock_ms()));
            produce::record(session, permitted, head, verdict, now).await?
        }
        ClaimFound::Interrupted(claimed) => {
            let resumed = flow.resume(permitted, head, claimed, verdict, claim.kept()).await;
            let (_, recorded, results) = resumed.map_err(|stopped| Refusal::of(stop(&stopped)))?;
            (recorded, results)
        }
        ClaimFound::Done(answer) => {
            let offset = answer.first_chunk().map(|bytes| i64::from_be_bytes(*bytes));
            return offset.map(Found::Done).ok_or_else(again);
        }
        // All that it is known by is in the key, so that it is not used for anything else.
        ClaimFound::ElsewhereRunning | ClaimFound::Reused => return Err(again()),
    };
    let Some(placed) = results.placed(of.lot).filter(|placed| !placed.is_empty()) else {
        return Ok(Found::Recorded(Box::new((recorded, results, Some(claim)))));
    };
    // Interrupted behind the broker's answer: what else came of it follows.
    let results = deliver::deliver(&recorded, results, &flow.regions).await;
    let offset = placed.first().map_or(-1, |first| first.offset);
    let is_done = results.error().is_none();
    let done = is_done.then(|| (&claim.keyed, offset.to_be_bytes().to_vec()));
    flow.settled(permitted, head, recorded, results, done);
    if is_done { Ok(Found::Done(offset)) } else { Err(again()) }
}

impl Leaving<'_> {
    fn keyed(&self, session: &Session, permitted: &Permitted) -> Keyed {
        let BatchIdentity {
            cluster,
            partition,
            producer_id,
            producer_epoch,
            first_sequence,
            count,
            ..
        } = self.identity;
        let content = u128::from_be_bytes(*self.content.first_chunk().unwrap_or(&[0; 16]));
        let key = format!(
            "kafka {cluster} {partition} {producer_id} {producer_epoch} {first_sequence} {count} {content:x}"
        );
        session.face.desk.flow.keyed(&session.who, permitted.target(), &key, &[])
    }
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
        let new = (producer.epoch, producer.sequence, code);
        let known = all.0.entry(of).or_insert(new);
        if known.0 != new.0 || !after(new.1, known.1) {
            *known = new;
        }
    }

    fn refusal(&self, part: &Part, recent: &Recent) -> Option<Refusal> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).refusal(part, recent)
    }
}

/// Takes records of a request's batches home, side by side: they are of different partitions. A batch that cannot is
/// refused.
pub(super) async fn deliver(
    session: &Session,
    parts: impl Iterator<Item = &mut Part>,
    under_way: &UnderWay,
) {
    let goes = |part: &&mut Part| matches!(&part.fate, PartFate::Ready(ready) if !ready.elsewhere.is_empty());
    let parts: Vec<&mut Part> = parts.filter(goes).collect();
    if parts.is_empty() {
        return;
    }
    session.before.all_answered().await;
    let delivered = parts.into_iter().map(async |part| {
        if let Some(refusal) = session.before.refusal(part, &session.face.recent) {
            part.fate = PartFate::Refused(refusal);
            return;
        }
        let again = || PartFate::Refused(Refusal::of(codes::NOT_LEADER_OR_FOLLOWER));
        if let PartFate::Ready(ready) = std::mem::replace(&mut part.fate, again()) {
            // On its own: what has begun ends, and is known, also when the client does not wait for it.
            let (regions, under_way) = (session.face.desk.flow.regions.clone(), under_way.clone());
            let delivery = tokio::spawn(async move {
                // Its memory counts until then.
                let _under_way = under_way;
                deliver_one(regions, ready).await
            });
            let delivered = tokio::time::timeout(PATIENCE, delivery).await;
            part.fate = delivered.ok().and_then(Result::ok).unwrap_or_else(again);
        }
    });
    join_all(delivered).await;
}

/// Whether each copy for another region fits into a batch there.
async fn fit(session: &Session, verdict: &Verdict, elsewhere: &[usize]) -> Result<bool, Refusal> {
    let regions = &session.face.desk.flow.regions;
    for lot in elsewhere.iter().filter_map(|n| verdict.lots().get(*n)) {
        let shape = session.face.shapes.of(regions, &lot.region, &lot.topic).await?;
        if lot.largest().saturating_add(RECORD_OVERHEAD) > shape.batch_bytes {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What a record is more than its parts, with the batch around it and our header in it.
const RECORD_OVERHEAD: usize = 256;

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
