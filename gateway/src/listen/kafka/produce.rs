//! Produce: each batch is judged as records are on any face, recorded, and sent on with the same producer, sequence,
//! offsets and timestamps. A batch of which the policy refuses a record is refused, and so is what follows it.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use sluicegate_audit::{BatchIdentity, Recorded};
use sluicegate_policies::{Operation, RefusalCode};
use sluicegate_wire::{
    Api, Change, Direction, Malformed, Name, Value, View,
    batch::{self, Batches},
    codes,
    compress::Codec,
    request_header, rewrite_known,
};
use tokio::time::Instant;

use super::{
    acknowledge::{self, Of, Recent},
    answers,
    homeward::{self, Claim, Found},
    records,
    session::{Session, UnderWay},
    versions::Ask,
};
use crate::{
    ambient::heavy,
    deliver::{
        DeliveryResults,
        kafka::frames::{layout, malformed},
    },
    flow::{Head, InBatch, Keyed, Permitted},
    listen::Desk,
    record::{Batch, CameIn, DeliverError, Fate, Records, Refused, RequestId, Verdict},
    request::{Stopped, Target},
};

/// Producers of a connection that wait for a batch that was not forwarded.
pub(super) const HELD_MAX: usize = 10_000;
/// Records of a batch that an answer names, and bytes of what it says of each.
const NAMED_MAX: usize = 100;
const SAID_BYTES_MAX: usize = 1_000;
/// So long a broker may take for a batch, ms.
const TIMEOUT_MS_MAX: u64 = 300_000;

/// A request whose batches are judged, and recorded where they may go on.
pub(super) struct Prepared {
    api: &'static Api,
    frame: Bytes,
    acks: i16,
    topics: Vec<Vec<Part>>,
    /// How long the principal's quota held it up.
    throttled: Duration,
}

/// The batch for one partition.
pub(super) struct Part {
    /// As the request names it: by name, or by id.
    pub topic: Named,
    pub partition: i32,
    pub producer: Option<Producer>,
    pub fate: PartFate,
}

#[derive(Clone)]
pub(super) enum Named {
    Name(Arc<str>),
    Id([u8; 16], Option<Arc<str>>),
}

#[derive(Clone, Copy)]
pub(super) struct Producer {
    pub id: i64,
    pub epoch: i16,
    pub sequence: i32,
}

pub(super) enum PartFate {
    Refused(Refusal),
    Ready(Box<Ready>),
    /// It was there already, at this offset, and nothing is left to do.
    Done(i64),
}

/// What the client is told of a batch that did not go on.
pub(super) struct Refusal {
    pub code: i16,
    pub message: Option<String>,
    pub records: Vec<(i32, String)>,
}

impl Refusal {
    pub(super) const fn of(code: i16) -> Self {
        Self { code, message: None, records: vec![] }
    }

    pub(super) fn saying(code: i16, message: String) -> Self {
        Self { code, message: Some(message), records: vec![] }
    }
}

/// A batch that is recorded and may go on. Dropped without having been settled, it is settled as not written, or, once
/// it was forwarded, as not confirmed.
pub(super) struct Ready {
    desk: Arc<Desk>,
    pub recorded: Option<(Arc<Permitted>, Head, Recorded<Verdict>)>,
    /// What is known of its copies; none while some are on their way.
    pub results: Option<DeliveryResults>,
    pub claim: Option<Claim>,
    forwarded: bool,
    /// Of the verdict, what goes into the batch, and what goes to other regions before it.
    pub lot: usize,
    pub elsewhere: Vec<usize>,
    /// Of a dataset that leaves stubs.
    pub stubs: bool,
    /// Its copies, each of one record; or one, of all records of a batch that is not read.
    pub copies: usize,
    records: Bytes,
}

impl Drop for Ready {
    fn drop(&mut self) {
        let Some((permitted, head, recorded)) = self.recorded.take() else { return };
        let why = match self.forwarded || self.results.is_none() {
            true => DeliverError::Unknown("the pipeline did not answer".to_owned()),
            false => DeliverError::Unavailable("the batch was not forwarded".to_owned()),
        };
        let nothing = || DeliveryResults::nothing(recorded.get());
        let mut results = self.results.take().unwrap_or_else(nothing);
        results.fail_rest(&why);
        if let Some(claim) = &self.claim {
            claim.keep(&results, self.lot);
        }
        self.desk.flow.settled(&permitted, &head, recorded, results, None);
    }
}

/// What a connection's producers have waiting: behind a batch that was not forwarded nothing of its producer and
/// partition is, until it comes again or its producer has begun a new epoch. With its epoch and sequence, what it was
/// answered.
pub(super) struct Held(pub HashMap<Of, (i16, i32, i16)>);

/// What goes on to the broker.
pub(super) enum Onward {
    /// Nothing, and nobody waits for an answer.
    Nothing,
    /// Nothing.
    Answer(Vec<u8>),
    Send {
        frame: Vec<u8>,
        api: &'static Api,
        version: i16,
        correlation: i32,
        sent: Sent,
    },
}

/// A request that goes to the broker.
pub(super) struct Sent {
    pub topics: Vec<Vec<Part>>,
    /// Whether the client waits for an answer.
    pub answered: bool,
    pub wait: Duration,
    pub throttled: Duration,
}

impl Sent {
    /// From now on the broker may have it.
    pub(super) fn forwarded(mut self) -> Self {
        for part in self.topics.iter_mut().flatten() {
            if let PartFate::Ready(ready) = &mut part.fate {
                ready.forwarded = true;
            }
        }
        self
    }
}

/// Judges and records the batches of a request, side by side.
pub(super) async fn prepare(
    session: Session,
    api: &'static Api,
    frame: Bytes,
    purpose: Option<String>,
) -> io::Result<Prepared> {
    let header = request_header(&frame).map_err(io::Error::other)?;
    let (_, layout) = layout(api.key, Direction::Request, header.version)?;
    let asked = layout.parse(header.body).map_err(io::Error::other)?;
    let acks = asked.int::<i16>(Name::Acks).map_err(io::Error::other)?;
    let snapshot = session.snapshot()?;
    let asker = session.asker(&snapshot, purpose.as_deref());
    let transaction = asked.text(Name::TransactionalId).map_err(io::Error::other)?;
    let mut whole = transaction.and_then(|id| asker.transactional_id(id));
    if !matches!(acks, -1..=1) {
        whole = Some(codes::INVALID_REQUIRED_ACKS);
    }
    let parts = parts(&session, &frame, &asked).map_err(io::Error::other)?;
    let mut seen = HashSet::new();
    let throttled = throttle(&session, &parts).await;
    let twice = parts.iter().flatten().any(|given| !seen.insert((given.topic.key(), given.number)));
    whole = whole.or(twice.then_some(codes::INVALID_REQUEST));
    let mut judging = Vec::new();
    for parts in parts {
        let topic = parts.first().map(|given| given.topic.clone());
        let permitted = match (whole, topic.as_ref().and_then(Named::name)) {
            (Some(code), _) => Err(code),
            (None, None) => Err(codes::UNKNOWN_TOPIC_ID),
            (None, Some(name)) => match asker.topic(name, Ask::Publish) {
                None => permit(&session, name, purpose.as_deref()).await.map(Arc::new),
                Some(code) => {
                    session.refused(api.key, name, Operation::Publish, purpose.as_deref()).await;
                    Err(code)
                }
            },
        };
        let session = &session;
        let each = parts.into_iter().map(move |given| part(session, permitted.clone(), given));
        judging.push(join_all(each));
    }
    let (topics, frame) = (join_all(judging).await, frame.clone());
    Ok(Prepared { api, acks, topics, frame, throttled })
}

/// A principal above its quota waits, as a broker lets it wait, and is told for how long.
async fn throttle(session: &Session, parts: &[Vec<Given>]) -> Duration {
    let counts = parts.iter().flatten().filter_map(|given| Batches::new(&given.records).next());
    let counts = counts.filter_map(|batch| usize::try_from(batch.ok()?.count).ok());
    let (records, admission) = (counts.sum(), &session.face.desk.admission);
    let began = Instant::now();
    while let Err(wait) = admission.records(&session.who.name, records, Instant::now()) {
        tokio::time::sleep(wait).await;
    }
    began.elapsed()
}

/// What a request has for one partition.
struct Given {
    topic: Named,
    number: i32,
    records: Bytes,
}

fn parts(session: &Session, frame: &Bytes, asked: &View<'_>) -> Result<Vec<Vec<Given>>, Malformed> {
    let mut topics = Vec::new();
    for topic in asked.structs(Name::TopicData)? {
        let topic = topic?;
        let named = match answers::has(&topic, Name::TopicId) {
            true => {
                let id = topic.uuid(Name::TopicId)?;
                Named::Id(id, session.face.cluster.topic(&id))
            }
            false => Named::Name(Arc::from(topic.str(Name::Name)?)),
        };
        let mut parts = Vec::new();
        for partition in topic.structs(Name::PartitionData)? {
            let partition = partition?;
            let records = partition.data(Name::Records)?.unwrap_or_default();
            parts.push(Given {
                topic: named.clone(),
                number: partition.int(Name::Index)?,
                records: frame.slice_ref(records),
            });
        }
        topics.push(parts);
    }
    Ok(topics)
}

async fn permit(session: &Session, topic: &str, purpose: Option<&str>) -> Result<Permitted, i16> {
    let target = Target { topic: topic.to_owned(), purpose: purpose.map(str::to_owned) };
    let flow = &session.face.desk.flow;
    let permitted = flow.permit(&session.who, &target, Operation::Publish).await;
    permitted.map_err(|stopped| stop(&stopped))
}

/// What a client is told when all of a batch stops.
pub(super) fn stop(stopped: &Stopped) -> i16 {
    match stopped {
        Stopped::Refused(refused) if refused.code != RefusalCode::PolicyNotInForce => {
            codes::TOPIC_AUTHORIZATION_FAILED
        }
        Stopped::TooVaried => codes::MESSAGE_TOO_LARGE,
        // Failing closed: the client tries again.
        _ => codes::NOT_LEADER_OR_FOLLOWER,
    }
}

impl Named {
    pub(super) fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Name(name) => Some(name),
            Self::Id(_, name) => name.as_ref(),
        }
    }

    /// As it is known by in a request and its answer.
    pub(super) fn key(&self) -> Vec<u8> {
        match self {
            Self::Name(name) => name.as_bytes().to_vec(),
            Self::Id(id, _) => id.to_vec(),
        }
    }

    pub(super) fn set(&self) -> (Name, Value<'static>) {
        match self {
            Self::Name(name) => (Name::Name, Value::Str(name.to_string().into())),
            Self::Id(id, _) => (Name::TopicId, Value::Uuid(*id)),
        }
    }
}

/// Judges and records the batch for one partition.
async fn part(session: &Session, permitted: Result<Arc<Permitted>, i16>, given: Given) -> Part {
    let Given { topic, number: partition, records } = given;
    let mut batches = Batches::new(&records);
    let batch = match (batches.next(), batches.next()) {
        (Some(Ok(batch)), None) if batches.rest().is_empty() => Ok(batch),
        (Some(Err(batch::Unreadable::Magic(_))), _) => Err(codes::UNSUPPORTED_FOR_MESSAGE_FORMAT),
        // A broker takes exactly one batch for a partition.
        _ => Err(codes::INVALID_RECORD),
    };
    let head = batch.as_ref().ok().map(|batch| batch.head).filter(|head| head.producer_id >= 0);
    let producer = head.map(|head| Producer {
        id: head.producer_id,
        epoch: head.producer_epoch,
        sequence: head.base_sequence,
    });
    let fate = match permitted.and_then(|permitted| Ok((permitted, batch?))) {
        Err(code) => PartFate::Refused(Refusal::of(code)),
        Ok((permitted, batch)) => {
            match accept(session, permitted, partition, &records, &batch).await {
                Ok(fate) => fate,
                Err(refusal) => PartFate::Refused(refusal),
            }
        }
    };
    Part { topic, partition, producer, fate }
}

async fn accept(
    session: &Session,
    permitted: Arc<Permitted>,
    partition: i32,
    bytes: &Bytes,
    batch: &batch::Batch<'_>,
) -> Result<PartFate, Refusal> {
    let (face, head) = (&session.face, batch.head);
    head.check_produced(batch.count)
        .map_err(|why| Refusal::saying(codes::INVALID_RECORD, why.to_string()))?;
    let Ok(number) = u32::try_from(partition) else {
        return Err(Refusal::of(codes::UNKNOWN_TOPIC_OR_PARTITION));
    };
    let (came, kept) = read(session, &permitted, bytes, batch)?;
    let shape = homeward::shape(session, &permitted, number).await?;
    let known = identify(session, &permitted, batch, number).await;
    let content = match (&came, shape) {
        (Records::Single(records), Some(_)) => homeward::content(records),
        _ => [0; 32],
    };
    let came_in = shape.map(|shape| CameIn { partition: number, of: shape.partitions });
    let within = InBatch { region: &face.region, came_in };
    let (batch_head, verdict) = judge(session, &permitted, came, known.clone(), within)?;
    let topic = &permitted.target().topic;
    let lots = verdict.lots().iter().enumerate().filter(|(_, lot)| *lot.topic == **topic);
    let (here, elsewhere): (Vec<_>, Vec<_>) = lots.partition(|(_, lot)| lot.region == face.region);
    let here = here.first().map(|(n, _)| *n);
    let elsewhere: Vec<usize> = elsewhere.into_iter().map(|(n, _)| n).collect();
    let alone = shape.is_none() || head.attributes.transactional();
    let refused = refused(&verdict, &face.region, topic, here, alone);
    if !refused.is_empty() {
        // Recorded as refused: nothing of it leaves.
        let (refusal, verdict) = (told(&refused), verdict.refuse_all(refused, &batch_refused()));
        let (recorded, nothing) = record(session, &permitted, &batch_head, verdict, None).await?;
        face.desk.flow.settled(&permitted, &batch_head, recorded, nothing, None);
        return Err(refusal);
    }
    let lot = here.unwrap_or_default();
    let (recorded, results, claim) = if elsewhere.is_empty() {
        let (recorded, nothing) = record(session, &permitted, &batch_head, verdict, None).await?;
        (recorded, nothing, None)
    } else {
        let of = homeward::Leaving { identity: &known, content, lot, elsewhere: &elsewhere };
        match homeward::record(session, &permitted, &batch_head, verdict, of).await? {
            Found::Recorded(found) => *found,
            Found::Done(offset) => return Ok(PartFate::Done(offset)),
        }
    };
    let copies = recorded.get().lots().get(lot).map_or(0, |lot| lot.len());
    let encoded = match &kept {
        Some((codec, kept)) => {
            heavy(copies, || records::encode(&recorded, lot, head, *codec, kept)).map(Bytes::from)
        }
        None => records::whole(&recorded, lot),
    };
    let mut ready = Ready {
        desk: face.desk.clone(),
        recorded: Some((permitted, batch_head, recorded)),
        results: Some(results),
        claim,
        forwarded: false,
        lot,
        elsewhere,
        stubs: shape.is_some(),
        copies,
        records: Bytes::new(),
    };
    ready.records = encoded?;
    let largest = shape.filter(|_| !ready.elsewhere.is_empty()).map(|shape| shape.batch_bytes);
    if largest.is_some_and(|largest| ready.records.len() > largest) {
        // The broker would refuse it when others of its records are at home already.
        return Err(Refusal::of(codes::MESSAGE_TOO_LARGE));
    }
    Ok(PartFate::Ready(Box::new(ready)))
}

/// What stays of a batch that is written again: its codec, and of each record what is not the policy's business.
type Again = Option<(Codec, Vec<records::Kept>)>;

/// The records of a batch; all of it if nothing of it is read.
fn read(
    session: &Session,
    permitted: &Permitted,
    bytes: &Bytes,
    batch: &batch::Batch<'_>,
) -> Result<(Records, Again), Refusal> {
    if permitted.grant().is_ok_and(|grant| grant.dataset().untouched) {
        return Ok((Records::Whole(batch.count.unsigned_abs(), bytes.clone()), None));
    }
    let codec = batch.codec().map_err(|why| records::unreadable(&why))?;
    let (decoded, kept) = records::decode(&session.face.desk.limits, bytes, batch)?;
    if batch.head.attributes.transactional() && !contributes_to_nothing(permitted) {
        let message = "releases are computed from this dataset, and a transaction may be aborted: publish without one";
        return Err(Refusal::saying(codes::INVALID_RECORD, message.to_owned()));
    }
    Ok((Records::Single(decoded), Some((codec, kept))))
}

/// What a batch is known by.
async fn identify(
    session: &Session,
    permitted: &Permitted,
    batch: &batch::Batch<'_>,
    partition: u32,
) -> BatchIdentity {
    let (face, head) = (&session.face, batch.head);
    let (regions, of) = (&face.desk.flow.regions, (&*permitted.target().topic, partition));
    BatchIdentity {
        cluster: face.region.to_string(),
        partition,
        producer_id: head.producer_id,
        producer_epoch: head.producer_epoch,
        first_sequence: head.base_sequence,
        count: batch.count.unsigned_abs(),
        log_end: face.ends.before(regions, &face.region, of).await,
    }
}

fn judge(
    session: &Session,
    permitted: &Permitted,
    records: Records,
    identity: BatchIdentity,
    within: InBatch<'_>,
) -> Result<(Head, Verdict), Refusal> {
    let desk = &session.face.desk;
    let request = desk.ambient.id().map_err(|_| Refusal::of(codes::UNKNOWN_SERVER_ERROR))?;
    // The same batch again brings to releases what it brought the first time.
    let (who, topic) = (&session.who.name, &permitted.target().topic);
    let repeats = (identity.producer_id >= 0).then(|| repeated(who, topic, &identity));
    let received = Batch {
        request: RequestId(request),
        origin: session.origin,
        first: 0,
        records,
        identity: Some(identity),
    };
    let judged = desk.flow.judge_batch(permitted, received, repeats, within);
    judged.map_err(|stopped| Refusal::of(stop(&stopped)))
}

/// Records a batch of which nothing is delivered yet; its repetition may be known by a key.
pub(super) async fn record(
    session: &Session,
    permitted: &Permitted,
    head: &Head,
    verdict: Verdict,
    keyed: Option<(&Keyed, i64)>,
) -> Result<(Recorded<Verdict>, DeliveryResults), Refusal> {
    let recorded = session.face.desk.flow.record_as(permitted, head, verdict, keyed).await;
    let recorded = recorded.map_err(|stopped| Refusal::of(stop(&stopped)))?;
    let nothing = DeliveryResults::nothing(recorded.get());
    Ok((recorded, nothing))
}

fn contributes_to_nothing(permitted: &Permitted) -> bool {
    permitted.snapshot().contributors(&permitted.dataset()).is_empty()
}

/// The records that do not go into the batch as one each, and why.
fn refused(
    verdict: &Verdict,
    region: &str,
    topic: &str,
    here: Option<usize>,
    alone: bool,
) -> Vec<(usize, Refused)> {
    let elsewhere = |detail: String, help: &str| Refused {
        code: RefusalCode::WrongRegion,
        rule: None,
        pointer: None,
        detail: detail.into(),
        help: Some(help.into()),
    };
    let why = |judged: &crate::record::Judged| match &judged.fate {
        Fate::Refuse(refused) => Some((**refused).clone()),
        Fate::Aggregate => Some(elsewhere(
            "records of this dataset are kept for releases only".to_owned(),
            "publish them over HTTPS",
        )),
        Fate::Deliver => {
            let of_topic =
                |lot: usize| verdict.lots().get(lot).is_some_and(|lot| *lot.topic == *topic);
            let copies = verdict.copies(judged).iter().map(|copy| copy.lot);
            let copies: Vec<usize> = copies.filter(|lot| of_topic(*lot)).collect();
            let fits = here.is_some_and(|here| match alone {
                true => copies == [here],
                false => copies.contains(&here),
            });
            (!fits).then(|| {
                elsewhere(
                    format!("the record does not go to `{region}` alone"),
                    "publish it at the listener of its region, or over HTTPS",
                )
            })
        }
    };
    let records = verdict.records().iter().enumerate();
    records.filter_map(|(n, judged)| Some((n, why(judged)?))).collect()
}

fn batch_refused() -> Refused {
    Refused {
        code: RefusalCode::BatchRefused,
        rule: None,
        pointer: None,
        detail: "another record of its batch was refused".into(),
        help: None,
    }
}

fn told(refused: &[(usize, Refused)]) -> Refusal {
    let say = |refused: &Refused| {
        let mut text = format!("{}: {}", refused.code.as_str(), refused.detail);
        if let Some(pointer) = &refused.pointer {
            text.push_str(&format!(", at {pointer}"));
        }
        if let Some(rule) = &refused.rule {
            text.push_str(&format!(" (rule `{rule}`)"));
        }
        if let Some(help) = &refused.help {
            text.push_str(&format!("; {help}"));
        }
        text.truncate(text.floor_char_boundary(SAID_BYTES_MAX));
        text
    };
    let named = refused.iter().take(NAMED_MAX);
    let records = named.filter_map(|(n, refused)| Some((i32::try_from(*n).ok()?, say(refused))));
    let message = refused.first().map(|(n, first)| format!("record {n}: {}", say(first)));
    Refusal { code: codes::INVALID_RECORD, message, records: records.collect() }
}

/// What a batch is known by in releases, however often it comes.
fn repeated(who: &str, topic: &str, of: &BatchIdentity) -> RequestId {
    let mut hasher = blake3::Hasher::new_derive_key("sluicegate 2026-11 kafka batch");
    for text in [who, of.cluster.as_str(), topic] {
        hasher.update(&(text.len() as u64).to_be_bytes()).update(text.as_bytes());
    }
    hasher.update(&of.partition.to_be_bytes()).update(&of.producer_id.to_be_bytes());
    hasher.update(&of.producer_epoch.to_be_bytes()).update(&of.first_sequence.to_be_bytes());
    let mut id = [0; 16];
    hasher.finalize_xof().fill(&mut id);
    RequestId(id)
}

fn is_ready(part: &Part) -> bool {
    matches!(part.fate, PartFate::Ready(_))
}

impl Prepared {
    /// What goes on, behind what this connection has sent before.
    pub(super) async fn onward(
        mut self,
        session: &Session,
        held: &mut Held,
        under_way: &UnderWay,
    ) -> io::Result<Onward> {
        let recent = &session.face.recent;
        for part in self.topics.iter_mut().flatten() {
            if let Some(refusal) = held.refusal(part, recent) {
                part.fate = PartFate::Refused(refusal);
            }
        }
        let is_refused = |part: &Part| matches!(part.fate, PartFate::Refused(_));
        let unheard = self.acks == 0;
        if !unheard || !self.topics.iter().flatten().any(is_refused) {
            homeward::deliver(session, self.topics.iter_mut().flatten(), under_way).await;
        }
        for part in self.topics.iter().flatten() {
            held.note(part, recent)?;
        }
        let (api, header) = (self.api, request_header(&self.frame).map_err(io::Error::other)?);
        let (version, correlation) = (header.version, header.correlation);
        let any_refused = self.topics.iter().flatten().any(is_refused);
        if self.acks == 0 && any_refused {
            // The client waits for no answer; a broker would close the connection, too.
            return Err(malformed("a batch without acknowledgement was refused"));
        }
        if !self.topics.iter().flatten().any(is_ready) && unheard {
            return Ok(Onward::Nothing);
        }
        if !self.topics.iter().flatten().any(is_ready) {
            let given = acknowledge::Given::throttled(self.throttled);
            let answer = acknowledge::answer((api, version), correlation, &self.topics, given)?;
            return Ok(Onward::Answer(answer));
        }
        let (_, layout) = layout(api.key, Direction::Request, version)?;
        let asked = layout.parse(header.body).map_err(io::Error::other)?;
        let timeout = asked.int::<i64>(Name::TimeoutMs).map_err(io::Error::other)?;
        let timeout = u64::try_from(timeout).unwrap_or(0).min(TIMEOUT_MS_MAX);
        let body = self.body(asked)?;
        let frame = session.onward(api, &header, body.as_deref().unwrap_or(header.body))?;
        for part in self.topics.iter_mut().flatten() {
            if let PartFate::Ready(ready) = &mut part.fate {
                ready.records = Bytes::new();
            }
        }
        let wait = Duration::from_millis(timeout);
        let (topics, throttled) = (self.topics, self.throttled);
        let sent = Sent { topics, answered: self.acks != 0, wait, throttled };
        Ok(Onward::Send { frame, api, version, correlation, sent })
    }

    /// The request with what goes on in place of what came.
    fn body(&self, asked: View<'_>) -> io::Result<Option<Vec<u8>>> {
        let mut topics = self.topics.iter();
        let mut current = [].iter();
        let mut outermost = true;
        let body = rewrite_known(asked, |view| {
            if std::mem::take(&mut outermost) {
                // An acknowledgement keeps its meaning: all replicas have it.
                return Ok(Change::Set(vec![(Name::Acks, Value::Int(-1))]));
            }
            if answers::has(&view, Name::PartitionData) {
                let parts = topics.next().map(Vec::as_slice).unwrap_or_default();
                current = parts.iter();
                return Ok(match parts.iter().any(is_ready) {
                    true => Change::Keep,
                    false => Change::Remove,
                });
            }
            Ok(match current.next().map(|part| &part.fate) {
                Some(PartFate::Ready(ready)) => {
                    let records = Value::Bytes((&*ready.records).into());
                    Change::Set(vec![(Name::Records, records)])
                }
                _ => Change::Remove,
            })
        });
        body.map_err(io::Error::other)
    }
}

impl Held {
    fn key(part: &Part) -> Option<(Of, Producer)> {
        let (producer, topic) = (part.producer?, part.topic.name()?);
        Some(((topic.clone(), part.partition, producer.id), producer))
    }

    /// What a batch is answered if something before it was not forwarded, and has not come over another connection.
    pub(super) fn refusal(&self, part: &Part, recent: &Recent) -> Option<Refusal> {
        let (key, producer) = Self::key(part)?;
        let (epoch, sequence, code) = *self.0.get(&key)?;
        let behind = epoch == producer.epoch && after(producer.sequence, sequence);
        // The same again, if clients try again after it: at another number they begin a new epoch.
        (behind && !recent.has_since(&key, epoch, sequence)).then(|| {
            Refusal::of(match TRIED_AGAIN.contains(&code) {
                true => codes::NOT_LEADER_OR_FOLLOWER,
                false => codes::OUT_OF_ORDER_SEQUENCE_NUMBER,
            })
        })
    }

    /// What becomes of a batch counts for those behind it.
    fn note(&mut self, part: &Part, recent: &Recent) -> io::Result<()> {
        let Some((key, producer)) = Self::key(part) else { return Ok(()) };
        match &part.fate {
            PartFate::Refused(_) if self.refusal(part, recent).is_some() => {}
            PartFate::Refused(refusal) => {
                if self.0.len() >= HELD_MAX {
                    return Err(malformed("too many producers with refused batches"));
                }
                self.0.insert(key, (producer.epoch, producer.sequence, refusal.code));
            }
            PartFate::Ready(_) | PartFate::Done(_) => drop(self.0.remove(&key)),
        }
        Ok(())
    }
}

/// Errors after which clients send the same batch again.
const TRIED_AGAIN: [i16; 8] = [
    codes::UNKNOWN_TOPIC_OR_PARTITION,
    codes::LEADER_NOT_AVAILABLE,
    codes::NOT_LEADER_OR_FOLLOWER,
    codes::REQUEST_TIMED_OUT,
    codes::NOT_ENOUGH_REPLICAS,
    codes::NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    codes::KAFKA_STORAGE_ERROR,
    codes::UNKNOWN_TOPIC_ID,
];

/// Whether a sequence comes after another; they begin again at 0 after the last.
pub(super) fn after(sequence: i32, other: i32) -> bool {
    let distance = sequence.wrapping_sub(other) & i32::MAX;
    distance != 0 && distance < 1 << 30
}
