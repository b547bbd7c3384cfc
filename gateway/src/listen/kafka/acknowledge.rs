//! What a broker says of batches: where they are is recorded, and told to the client.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sluicegate_audit::Position;
use sluicegate_wire::{Api, Direction, Malformed, Name, Node, Value, View, codes};

use super::{
    answers,
    produce::{Part, PartFate, Producer, Refusal, Sent, after},
    session::Session,
};
use crate::{
    deliver::{
        self, DeliveryResults,
        kafka::frames::{layout, malformed},
    },
    record::{DeliverError, Placed},
};

/// Producers of a listener whose last batches are remembered.
const PRODUCERS_MAX: usize = 10_000;
/// A client is not told to wait for longer, ms.
const THROTTLE_MS_MAX: i64 = 30_000;
/// Batches of a producer that a broker remembers.
const BATCHES_MAX: usize = 5;

/// Batches that brokers have, by topic, partition and producer: what comes again is known.
#[derive(Default)]
pub(super) struct Recent(Mutex<HashMap<Of, VecDeque<Known>>>);

pub(super) type Of = (Arc<str>, i32, i64);

struct Known {
    epoch: i16,
    sequence: i32,
    offset: i64,
    first: Position,
}

impl Recent {
    /// The first position of the batch that is at an offset already, if this is a repetition of it.
    fn find(&self, of: &Of, producer: Producer, offset: i64) -> Option<Position> {
        let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |known: &&Known| {
            let Producer { epoch, sequence, .. } = producer;
            (known.epoch, known.sequence, known.offset) == (epoch, sequence, offset)
        };
        recent.get(of)?.iter().find(same).map(|known| known.first)
    }

    /// Whether a batch of this sequence or a later one has come to the broker, over whatever connection.
    pub(super) fn has_since(&self, of: &Of, epoch: i16, sequence: i32) -> bool {
        let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = |known: &Known| known.epoch == epoch && !after(sequence, known.sequence);
        recent.get(of).is_some_and(|batches| batches.iter().any(since))
    }

    fn remember(&self, of: Of, producer: Producer, offset: i64, first: Position) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= PRODUCERS_MAX && !recent.contains_key(&of) {
            recent.clear();
        }
        let batches = recent.entry(of).or_default();
        if batches.len() >= BATCHES_MAX {
            batches.pop_front();
        }
        let Producer { epoch, sequence, .. } = producer;
        batches.push_back(Known { epoch, sequence, offset, first });
    }
}

type Set<'a> = Vec<(Name, Value<'a>)>;

/// What a broker's answer says: of partitions, by topic and number, and beside them.
#[derive(Default)]
pub(super) struct Given<'a> {
    parts: HashMap<(Vec<u8>, i32), Set<'a>>,
    endpoints: Vec<Value<'a>>,
    throttle_ms: i64,
}

impl Given<'_> {
    /// Nothing of the broker's; the client was held up so long.
    pub(super) fn throttled(by: Duration) -> Self {
        let throttle_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX).min(THROTTLE_MS_MAX);
        Self { throttle_ms, ..Self::default() }
    }
}

/// The broker's answer, settled, as the client gets it.
pub(super) async fn answered(
    session: &Session,
    api: &'static Api,
    version: i16,
    correlation: i32,
    mut sent: Sent,
    body: &[u8],
) -> io::Result<Option<Vec<u8>>> {
    let (_, layout) = layout(api.key, Direction::Response, version)?;
    let view = layout.parse(body).map_err(io::Error::other)?;
    let mut given = read(session, &view).map_err(io::Error::other)?;
    given.throttle_ms = given.throttle_ms.max(Given::throttled(sent.throttled).throttle_ms);
    let mut failed = false;
    for part in sent.topics.iter_mut().flatten() {
        let Some(said) = given.parts.get_mut(&(part.topic.key(), part.partition)) else { continue };
        let code = number(said, Name::ErrorCode);
        let guarded = matches!(&part.fate, PartFate::Ready(ready) if ready.stubs);
        if let (Some(topic), Some(producer), true) = (part.topic.name(), part.producer, guarded) {
            let is_there = [codes::NONE, codes::DUPLICATE_SEQUENCE_NUMBER].map(i64::from);
            let failed = Some(code).filter(|code| !is_there.contains(code));
            session.before.said((topic.clone(), part.partition, producer.id), producer, failed);
        }
        let instead = settle(session, part, said).await;
        failed |= instead.is_some() || number(said, Name::ErrorCode) != i64::from(codes::NONE);
        if let Some(code) = instead {
            *said = error(part.partition, code);
        }
    }
    if !sent.answered {
        // The client waits for no answer; that something went wrong it learns as from a broker.
        return match failed {
            true => Err(malformed("a batch without acknowledgement failed")),
            false => Ok(None),
        };
    }
    answer((api, version), correlation, &sent.topics, given).map(Some)
}

fn error(partition: i32, code: i16) -> Vec<(Name, Value<'static>)> {
    vec![
        (Name::Index, Value::Int(partition.into())),
        (Name::ErrorCode, Value::Int(code.into())),
        (Name::BaseOffset, Value::Int(-1)),
    ]
}

fn number(said: &[(Name, Value<'_>)], wanted: Name) -> i64 {
    match said.iter().find(|(name, _)| *name == wanted) {
        Some((_, Value::Int(number))) => *number,
        _ => -1,
    }
}

fn read<'a>(session: &Session, view: &View<'a>) -> Result<Given<'a>, Malformed> {
    let mut given = Given { throttle_ms: view.int(Name::ThrottleTimeMs)?, ..Given::default() };
    for topic in view.structs(Name::Responses)? {
        let topic = topic?;
        let key = match answers::has(&topic, Name::TopicId) {
            true => topic.uuid(Name::TopicId)?.to_vec(),
            false => topic.str(Name::Name)?.as_bytes().to_vec(),
        };
        for part in topic.structs(Name::PartitionResponses)? {
            let part = part?;
            given.parts.insert((key.clone(), part.int(Name::Index)?), copied(&part)?);
        }
    }
    if answers::has(view, Name::NodeEndpoints) {
        for node in view.structs(Name::NodeEndpoints)? {
            let node = node?;
            if let Some(place) = session.face.place(&node)? {
                let mut set = copied(&node)?;
                set.retain(|(name, _)| !matches!(name, Name::Host | Name::Port));
                set.push((Name::Host, Value::Str(place.host.into())));
                set.push((Name::Port, Value::Int(place.port.into())));
                given.endpoints.push(Value::Struct(set));
            }
        }
    }
    Ok(given)
}

/// A struct of an answer as it is.
fn copied<'a>(view: &View<'a>) -> Result<Vec<(Name, Value<'a>)>, Malformed> {
    let layout = view.layout();
    let fields = layout.fields.iter().filter(|f| f.versions.has(layout.version));
    fields.map(|field| Ok((field.name, value(view.get(field.name)?)?))).collect()
}

fn value(node: Node<'_>) -> Result<Value<'_>, Malformed> {
    Ok(match node {
        Node::Null => Value::Null,
        Node::Bool(value) => Value::Bool(value),
        Node::Int(value) => Value::Int(value),
        Node::Float(value) => Value::Float(value),
        Node::Uuid(value) => Value::Uuid(value),
        Node::Str(value) => Value::Str(value.into()),
        Node::Bytes(value) => Value::Bytes(value.into()),
        Node::Struct(view) => Value::Struct(copied(&view)?),
        Node::List(list) => {
            let nodes: Result<Vec<_>, _> = list.nodes().map(|node| value(node?)).collect();
            Value::List(nodes?)
        }
    })
}

/// Records where a batch ended, and delivers what else came of it. Some other error for the client, if that failed.
async fn settle(session: &Session, part: &mut Part, said: &[(Name, Value<'_>)]) -> Option<i16> {
    let PartFate::Ready(ready) = &mut part.fate else { return None };
    let (lot, copies) = (ready.lot, ready.copies);
    let (permitted, head, recorded) = ready.recorded.take()?;
    let (elsewhere, claim) = (!ready.elsewhere.is_empty(), ready.claim.take());
    let nothing = || DeliveryResults::nothing(recorded.get());
    let mut results = ready.results.take().unwrap_or_else(nothing);
    let flow = &session.face.desk.flow;
    let (code, offset) = (number(said, Name::ErrorCode), number(said, Name::BaseOffset));
    let error = deliver_error(code, offset);
    let records: u32 = recorded.get().records().iter().map(|judged| judged.count).sum();
    let first = recorded.first();
    let topic = part.topic.name().cloned().unwrap_or_default();
    if error.is_none() {
        let end = offset.saturating_add(records.into());
        session.face.ends.reached(topic.clone(), part.partition.unsigned_abs(), end);
    }
    let of = part.producer.map(|producer| ((topic, part.partition, producer.id), producer));
    if let (None, Some((of, producer)), false) = (&error, &of, elsewhere) {
        let mut earlier = session.face.recent.find(of, *producer, offset);
        // It was there before it came: another gateway has had it, or this one before it was started again. What it
        // brings to releases is delivered again, and counts once.
        let alone = recorded.get().lots().len() == 1;
        let batch = head.identity.as_ref().filter(|batch| alone && offset < batch.log_end);
        if let (None, Some(batch)) = (earlier, batch) {
            earlier = flow.account.earlier(batch, &of.0, offset).await;
        }
        if let Some(earlier) = earlier {
            flow.account.settle_repeat(&recorded, earlier);
            return None;
        }
    }
    for n in 0..copies {
        let behind = i64::try_from(n).unwrap_or(i64::MAX);
        let partition = part.partition.unsigned_abs();
        let placed = Placed { partition, offset: offset.saturating_add(behind) };
        results.put(lot, n, error.clone().map_or(Ok(placed), Err));
    }
    if error.is_some() {
        results.fail_rest(&DeliverError::Unavailable("its batch was not written".to_owned()));
    } else {
        results = deliver::deliver(&recorded, results, &flow.regions).await;
    }
    let incomplete = error.is_none() && results.retriable(recorded.get()).is_some();
    let is_done = error.is_none() && !incomplete;
    if let Some(claim) = claim.as_ref().filter(|_| !is_done) {
        claim.keep(&results, lot);
    }
    let done = claim.as_ref().filter(|_| is_done);
    let done = done.map(|claim| (&claim.keyed, offset.to_be_bytes().to_vec()));
    flow.settled(&permitted, &head, recorded, results, done);
    match of {
        Some((of, producer)) if error.is_none() && !incomplete => {
            session.face.recent.remember(of, producer, offset, first);
        }
        // It comes again, and its records are there once.
        Some(_) if incomplete => return Some(codes::KAFKA_STORAGE_ERROR),
        // It would be there twice.
        None if incomplete => tracing::warn!(event = "contributions-not-delivered"),
        _ => {}
    }
    None
}

/// What a broker's answer means for the records of a batch.
fn deliver_error(code: i64, offset: i64) -> Option<DeliverError> {
    let code = i16::try_from(code).unwrap_or(codes::UNKNOWN_SERVER_ERROR);
    let why = || format!("the broker answered {code}");
    Some(match code {
        codes::NONE if offset >= 0 => return None,
        codes::MESSAGE_TOO_LARGE | codes::RECORD_LIST_TOO_LARGE => DeliverError::TooLarge,
        codes::UNKNOWN_TOPIC_OR_PARTITION | codes::UNKNOWN_TOPIC_ID => DeliverError::UnknownTopic,
        codes::TOPIC_AUTHORIZATION_FAILED
        | codes::CLUSTER_AUTHORIZATION_FAILED
        | codes::TRANSACTIONAL_ID_AUTHORIZATION_FAILED => DeliverError::Denied(why()),
        codes::INVALID_RECORD
        | codes::CORRUPT_MESSAGE
        | codes::INVALID_PRODUCER_EPOCH
        | codes::PRODUCER_FENCED
        | codes::INVALID_TXN_STATE
        | codes::UNSUPPORTED_COMPRESSION_TYPE => DeliverError::Refused(why()),
        codes::OUT_OF_ORDER_SEQUENCE_NUMBER | codes::UNKNOWN_PRODUCER_ID => {
            DeliverError::Unavailable(why())
        }
        // Anything else may come after it was written.
        _ => DeliverError::Unknown(why()),
    })
}

/// The whole answer: what the broker says of what was sent, and what we say of the rest.
pub(super) fn answer(
    (api, version): (&'static Api, i16),
    correlation: i32,
    topics: &[Vec<Part>],
    mut given: Given<'_>,
) -> io::Result<Vec<u8>> {
    let mut list = Vec::new();
    for parts in topics {
        let Some(first) = parts.first() else { continue };
        let said = parts.iter().map(|part| {
            let known = given.parts.remove(&(part.topic.key(), part.partition));
            Value::Struct(known.unwrap_or_else(|| match &part.fate {
                PartFate::Refused(refusal) => refused(part.partition, version, refusal),
                // The broker has not said what became of it.
                PartFate::Ready(_) => error(part.partition, codes::REQUEST_TIMED_OUT),
                PartFate::Done(offset) => {
                    let mut done = error(part.partition, codes::NONE);
                    done.retain(|(name, _)| *name != Name::BaseOffset);
                    done.push((Name::BaseOffset, Value::Int(*offset)));
                    done
                }
            }))
        });
        let said = (Name::PartitionResponses, Value::List(said.collect()));
        list.push(Value::Struct(vec![first.topic.set(), said]));
    }
    let mut set = vec![
        (Name::Responses, Value::List(list)),
        (Name::ThrottleTimeMs, Value::Int(given.throttle_ms)),
    ];
    if !given.endpoints.is_empty() {
        set.push((Name::NodeEndpoints, Value::List(given.endpoints)));
    }
    answers::whole(api.key, version, correlation, &set)
}

/// The first version whose answers have words.
const WITH_WORDS: i16 = 8;

fn refused(partition: i32, version: i16, refusal: &Refusal) -> Vec<(Name, Value<'static>)> {
    let mut set = error(partition, refusal.code);
    if version < WITH_WORDS {
        return set;
    }
    let record = |(n, message): &(i32, String)| {
        Value::Struct(vec![
            (Name::BatchIndex, Value::Int((*n).into())),
            (Name::BatchIndexErrorMessage, Value::Str(message.clone().into())),
        ])
    };
    set.push((Name::RecordErrors, Value::List(refusal.records.iter().map(record).collect())));
    if let Some(message) = &refusal.message {
        set.push((Name::ErrorMessage, Value::Str(message.clone().into())));
    }
    set
}
