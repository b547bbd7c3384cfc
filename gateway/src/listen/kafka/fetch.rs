//! Fetch: batches through the view that the policy grants, with their offsets, producers and control batches as they
//! are. What is shown is durable in the ledger before it is answered.

use std::{collections::HashMap, io, sync::Arc};

use sluicegate_policies::Operation;
use sluicegate_protect::{Protected, RecordRef};
use sluicegate_wire::{
    Api, Change, Direction, Header, Kind, Malformed, Name, Value, View,
    batch::{self, Batches, HeaderList, Unreadable, Writer},
    codes, rewrite, rewrite_known,
};

use super::{
    answers::{self, has, list_of},
    authorize::Asker,
    session::Session,
    versions::Ask,
};
use crate::{
    ambient::heavy,
    decide::Snapshot,
    deliver::{POSITION_HEADER, STUB_HEADER, kafka::frames::layout},
    flow::Permitted,
    record::Header as RecordHeader,
    request::{Shown, Target},
};

/// A broker is let wait for at most so long, ms.
const WAIT_MS_MAX: i64 = 60_000;
/// Records and headers of one batch; brokers have checked what they hold.
const RECORDS_MAX: usize = 1_000_000;
const HEADERS_MAX: usize = 10_000;
/// Bytes that the records of one batch take uncompressed.
const INFLATED_MAX: usize = 64 << 20;

/// What was asked, as far as the answer needs it.
pub(super) struct Asked {
    pub purpose: Option<String>,
    /// The request's body, if topics of it were denied.
    denied: Option<Vec<u8>>,
}

/// What is asked of the broker; nothing if all of it is denied.
pub(super) async fn ask(
    session: &Session,
    api: &'static Api,
    snapshot: &Snapshot,
    header: &Header<'_>,
    purpose: Option<String>,
) -> io::Result<(Option<Vec<u8>>, Asked)> {
    let (_, layout) = layout(api.key, Direction::Request, header.version)?;
    let asked = layout.parse(header.body).map_err(io::Error::other)?;
    let asker = session.asker(snapshot, purpose.as_deref());
    let most = i64::try_from(session.face.desk.limits.read_bytes).unwrap_or(i64::MAX);
    let (mut outermost, mut denied, mut kept) = (true, Vec::new(), 0);
    let body = rewrite_known(asked, |view| {
        if std::mem::take(&mut outermost) {
            let mut set = vec![
                (Name::MaxBytes, Value::Int(view.int::<i64>(Name::MaxBytes)?.min(most))),
                (Name::MaxWaitMs, Value::Int(view.int::<i64>(Name::MaxWaitMs)?.min(WAIT_MS_MAX))),
            ];
            // A client is no replica, whatever it says.
            if has(&view, Name::ReplicaId) {
                set.push((Name::ReplicaId, Value::Int(-1)));
            } else {
                let client =
                    [Name::ReplicaId, Name::ReplicaEpoch].map(|name| (name, Value::Int(-1)));
                set.push((Name::ReplicaState, Value::Struct(client.to_vec())));
            }
            return Ok(Change::Set(set));
        }
        // What a session forgets passes: of denied topics it knows nothing.
        let topic = has(&view, Name::Topic) || has(&view, Name::TopicId);
        if !topic || !is_asked(&view) {
            return Ok(Change::Keep);
        }
        if asker.own(&view, Ask::Read)?.is_some() {
            denied.push(topic_of(&asker, &view)?);
            return Ok(Change::Remove);
        }
        kept += 1;
        Ok(Change::Keep)
    });
    let body = body.map_err(io::Error::other)?.unwrap_or_else(|| header.body.to_vec());
    let in_session = has(&asked, Name::SessionId)
        && asked.int::<i32>(Name::SessionId).map_err(io::Error::other)? != 0;
    let whole = (!denied.is_empty()).then(|| header.body.to_vec());
    let sent = (kept > 0 || in_session || denied.is_empty()).then_some(body);
    for topic in denied.iter().flatten() {
        session.refused(api.key, topic, Operation::Read, purpose.as_deref()).await;
    }
    Ok((sent, Asked { purpose, denied: whole }))
}

/// A topic whose partitions are asked for, not one that is forgotten.
fn is_asked(topic: &View<'_>) -> bool {
    let layout = topic.layout();
    let partitions = layout.fields.iter().find(|field| field.name == Name::Partitions);
    partitions.is_some_and(|field| matches!(field.kind, Kind::Structs(_)))
}

fn topic_of(asker: &Asker<'_>, view: &View<'_>) -> Result<Option<Arc<str>>, Malformed> {
    if has(view, Name::TopicId) {
        return Ok(asker.cluster.topic(&view.uuid(Name::TopicId)?));
    }
    Ok(Some(Arc::from(view.str(Name::Topic)?)))
}

impl Asked {
    /// The answer when all that was asked for is denied: an error for each partition, and no session.
    pub(super) fn nothing(
        &self,
        asker: &Asker<'_>,
        api: &'static Api,
        version: i16,
        correlation: i32,
    ) -> io::Result<Vec<u8>> {
        let denied = self.denied(asker, api, version).map_err(io::Error::other)?;
        answers::whole(api.key, version, correlation, &[(Name::Responses, Value::List(denied))])
    }

    /// What is said of denied topics.
    fn denied(
        &self,
        asker: &Asker<'_>,
        api: &'static Api,
        version: i16,
    ) -> Result<Vec<Value<'_>>, Malformed> {
        let layouts = |direction| api.layout(direction, version);
        let layouts = (layouts(Direction::Request), layouts(Direction::Response));
        let (Some(body), (Some(requests), Some(responses))) = (&self.denied, layouts) else {
            return Ok(vec![]);
        };
        let field = responses.fields.iter().find(|field| field.name == Name::Responses);
        let Some(Kind::Structs(fields)) = field.map(|field| field.kind) else { return Ok(vec![]) };
        let judge = |view: &View<'_>| asker.own(view, Ask::Read);
        let asked = requests.parse(body)?;
        let made = list_of(Name::Responses, fields, version, &asked, None, Some(&judge))?;
        Ok(made.unwrap_or_default())
    }
}

/// What becomes of a partition's records: others in their place, or an error.
type Partitions = HashMap<(usize, usize), Result<Vec<u8>, i16>>;

/// The broker's answer through the principal's views.
pub(super) async fn answered(
    session: &Session,
    api: &'static Api,
    version: i16,
    snapshot: &Snapshot,
    asked: Asked,
    body: &[u8],
) -> io::Result<Option<Vec<u8>>> {
    let (_, responses) = layout(api.key, Direction::Response, version)?;
    let given = responses.parse(body).map_err(io::Error::other)?;
    let purpose = asked.purpose.as_deref();
    let mut shown = Partitions::new();
    for (t, topic) in given.structs(Name::Responses).map_err(io::Error::other)?.enumerate() {
        let topic = topic.map_err(io::Error::other)?;
        if any_records(&topic).map_err(io::Error::other)? {
            views(session, t, &topic, purpose, &mut shown).await.map_err(io::Error::other)?;
        }
    }
    let asker = session.asker(snapshot, purpose);
    let denied = asked.denied(&asker, api, version).map_err(io::Error::other)?;
    let mut denied = Some(denied).filter(|denied| !denied.is_empty());
    let (mut t, mut p, mut outermost) = (None::<usize>, 0, true);
    let rewritten = rewrite(given, |view| {
        if std::mem::take(&mut outermost) {
            return Ok(match denied.take() {
                Some(denied) => Change::Extend(vec![(Name::Responses, denied)]),
                None => Change::Keep,
            });
        }
        if has(&view, Name::Host) {
            return Ok(match session.face.place(&view)? {
                Some(place) => Change::Set(vec![
                    (Name::Host, Value::Str(place.host.into())),
                    (Name::Port, Value::Int(place.port.into())),
                ]),
                None => Change::Remove,
            });
        }
        if has(&view, Name::Partitions) {
            (t, p) = (Some(t.map_or(0, |t| t + 1)), 0);
            return Ok(Change::Keep);
        }
        if !has(&view, Name::PartitionIndex) {
            return Ok(Change::Keep);
        }
        let at = (t.unwrap_or_default(), p);
        p += 1;
        let records = |records: Vec<u8>| (Name::Records, Value::Bytes(records.into()));
        Ok(match shown.remove(&at) {
            Some(Ok(through)) => Change::Set(vec![records(through)]),
            Some(Err(code)) => {
                Change::Set(vec![(Name::ErrorCode, Value::Int(code.into())), records(Vec::new())])
            }
            // What nobody has looked at has no records.
            None => Change::Set(vec![records(Vec::new())]),
        })
    });
    rewritten.map_err(io::Error::other)
}

fn any_records(topic: &View<'_>) -> Result<bool, Malformed> {
    for partition in topic.structs(Name::Partitions)? {
        if partition?.data(Name::Records)?.is_some_and(|records| !records.is_empty()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The records of a topic's partitions through its view, recorded as read.
async fn views(
    session: &Session,
    t: usize,
    topic: &View<'_>,
    purpose: Option<&str>,
    shown: &mut Partitions,
) -> Result<(), Malformed> {
    let mut all = Vec::new();
    for (p, partition) in topic.structs(Name::Partitions)?.enumerate() {
        let partition = partition?;
        let records = partition.data(Name::Records)?.unwrap_or_default();
        if !records.is_empty() {
            all.push((p, partition.int::<u32>(Name::PartitionIndex)?, records));
        }
    }
    let ended = match permit(session, topic, purpose).await? {
        Err(code) => Err(code),
        Ok(permitted) => {
            let mut ranges = Vec::new();
            for (p, number, records) in &all {
                let through = heavy(records.len() / HEAVY_BYTES, || view(&permitted, records));
                let through = through.map(|(through, range)| {
                    let range = range.map(|(from, to)| Shown { partition: *number, from, to });
                    ranges.extend(range);
                    through
                });
                shown.insert((t, *p), through);
            }
            record(session, &permitted, &ranges).await
        }
    };
    if let Err(code) = ended {
        for (p, ..) in all {
            shown.insert((t, p), Err(code));
        }
    }
    Ok(())
}

/// Bytes of records that take about as long as one record elsewhere.
const HEAVY_BYTES: usize = 256;

/// Whether the principal may read a topic now; or the error.
async fn permit(
    session: &Session,
    topic: &View<'_>,
    purpose: Option<&str>,
) -> Result<Result<Permitted, i16>, Malformed> {
    let name = match has(topic, Name::TopicId) {
        true => session.face.cluster.topic(&topic.uuid(Name::TopicId)?),
        false => Some(Arc::from(topic.str(Name::Topic)?)),
    };
    let Some(name) = name else { return Ok(Err(codes::UNKNOWN_TOPIC_ID)) };
    let target = Target { topic: name.to_string(), purpose: purpose.map(str::to_owned) };
    let permitted = session.face.desk.flow.permit(&session.who, &target, Operation::Read).await;
    Ok(permitted.map_err(|_| codes::TOPIC_AUTHORIZATION_FAILED))
}

/// That something was shown is durable before it is.
async fn record(session: &Session, permitted: &Permitted, ranges: &[Shown]) -> Result<(), i16> {
    if ranges.is_empty() {
        return Ok(());
    }
    let grant = permitted.grant().map_err(|_| codes::TOPIC_AUTHORIZATION_FAILED)?;
    let (account, region) = (&session.face.desk.flow.account, &session.face.region);
    let recorded = account.shown(permitted, &grant, session.origin, region, ranges).await;
    // Failing closed: the client asks again.
    recorded.map_err(|_| codes::NOT_LEADER_OR_FOLLOWER)
}

/// Offsets `from <= offset < to`.
type Range = (i64, i64);

/// Batches through a view, and the offsets that it shows something of; or the partition's error.
fn view(permitted: &Permitted, records: &[u8]) -> Result<(Vec<u8>, Option<Range>), i16> {
    let broken = codes::UNKNOWN_SERVER_ERROR;
    let grant = permitted.grant().map_err(|_| codes::TOPIC_AUTHORIZATION_FAILED)?;
    let program = permitted.snapshot().program(grant.view().0).ok_or(broken)?;
    let bounds =
        batch::Limits { inflated: INFLATED_MAX, records: RECORDS_MAX, headers: HEADERS_MAX };
    let mut out = Vec::with_capacity(records.len());
    let (mut inflated, mut space) = (Vec::new(), Vec::new());
    let mut range = None::<Range>;
    let mut scratch = Protected::default();
    let (mut list, mut headers) = (HeaderList::default(), Vec::<RecordHeader>::new());
    for batch in Batches::new(records) {
        let batch = match batch {
            Ok(batch) => batch,
            // What follows cannot be told: it is asked for again, and is an error if it is the first.
            Err(_) if !out.is_empty() => break,
            Err(Unreadable::Magic(_)) => return Err(codes::UNSUPPORTED_FOR_MESSAGE_FORMAT),
            Err(_) => return Err(codes::CORRUPT_MESSAGE),
        };
        let last = batch.head.base_offset.saturating_add(batch.head.last_offset_delta.into());
        if batch.head.attributes.control() {
            out.extend(batch.bytes());
            continue;
        }
        let (from, to) = range.unwrap_or((batch.head.base_offset, last));
        range = Some((from.min(batch.head.base_offset), to.max(last.saturating_add(1))));
        if program.is_untouched() {
            out.extend(batch.bytes());
            continue;
        }
        let codec = batch.codec().map_err(|_| codes::UNSUPPORTED_COMPRESSION_TYPE)?;
        let mut writer = Writer::new(batch.head, codec, &mut out, &mut space);
        // A record that the view cannot be applied to is left out, never shown as it is; its offset stays.
        for record in batch.records(bounds, &mut inflated).map_err(|_| codes::CORRUPT_MESSAGE)? {
            let Ok(record) = record else { break };
            headers.clear();
            for (name, value) in record.headers.iter() {
                // Ours is for who compares topics with the ledger; services do not expect it.
                if let Ok(name) = str::from_utf8(name)
                    && name != POSITION_HEADER
                {
                    headers.push((name.to_owned(), value.map(<[u8]>::to_vec)));
                }
            }
            let value = record.value.unwrap_or_default();
            let shown = RecordRef { key: record.key, headers: &headers, value };
            if program.apply(shown, &mut scratch).is_err() {
                continue;
            }
            list.clear();
            for (name, value) in &scratch.headers {
                list.push(name.as_bytes(), value.as_deref());
            }
            let is_stub = record.headers.iter().any(|(name, _)| name == STUB_HEADER.as_bytes());
            if is_stub {
                list.push(STUB_HEADER.as_bytes(), None);
            }
            writer.push(&batch::Record {
                key: scratch.key(),
                value: record.value.map(|_| &*scratch.value),
                headers: list.headers(),
                ..record
            });
        }
        writer.finish().map_err(|_| broken)?;
    }
    Ok((out, range))
}
