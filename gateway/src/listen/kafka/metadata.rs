//! Metadata: brokers under addresses of ours, and the topics that a principal may see.

use std::io;

use sluicegate_wire::{
    Change, Direction, Key, Malformed, Name, Value, View, codes, rewrite, rewrite_known,
};

use super::{
    Face,
    answers::has,
    authorize::{Asker, NOT_ASKED, Place},
    versions::Ask,
};
use crate::deliver::kafka::frames::layout;

/// The first version whose answers have ids of topics.
const WITH_IDS: i16 = 10;

/// What was asked for.
pub(super) struct Asked {
    all: bool,
    /// Ids of topics, whose names the client may not know.
    ids: Vec<[u8; 16]>,
}

/// What is asked of the broker, if that is something else.
pub(super) fn ask(asker: &Asker<'_>, asked: View<'_>) -> io::Result<(Option<Vec<u8>>, Asked)> {
    let read = || {
        let (mut publishes, mut ids) = (true, Vec::new());
        for topic in asked.structs(Name::Topics)? {
            let topic = topic?;
            match topic.text(Name::Name)? {
                Some(name) => publishes &= asker.topic(name, Ask::Publish).is_none(),
                None => ids.push(topic.uuid(Name::TopicId)?),
            }
        }
        let all = asked.list(Name::Topics)?.is_none();
        Ok::<_, Malformed>((publishes, Asked { all, ids }))
    };
    let (publishes, what) = read().map_err(io::Error::other)?;
    let mut outermost = true;
    let body = rewrite_known(asked, |_| {
        // Who may not publish to a topic does not make it by asking.
        Ok(match std::mem::take(&mut outermost) && !publishes {
            true => Change::Set(vec![(Name::AllowAutoTopicCreation, Value::Bool(false))]),
            false => Change::Keep,
        })
    });
    Ok((body.map_err(io::Error::other)?, what))
}

/// The broker's answer as the principal may see it.
pub(super) fn answered(
    face: &Face,
    asker: &Asker<'_>,
    version: i16,
    body: &[u8],
    asked: &Asked,
) -> io::Result<Option<Vec<u8>>> {
    let (_, layout) = layout(Key::Metadata, Direction::Response, version)?;
    let given = layout.parse(body).map_err(io::Error::other)?;
    if version >= WITH_IDS {
        face.cluster.learn(&given).map_err(io::Error::other)?;
    }
    let shown = rewrite(given, |view| {
        if has(&view, Name::Host) {
            return Ok(match face.place(&view)? {
                Some(Place { host, port }) => Change::Set(vec![
                    (Name::Host, Value::Str(host.into())),
                    (Name::Port, Value::Int(port.into())),
                ]),
                None => Change::Remove,
            });
        }
        if has(&view, Name::Name) && has(&view, Name::Partitions) {
            return Ok(topic(asker, &view, asked)?);
        }
        if has(&view, Name::ClusterAuthorizedOperations)
            && view.int::<i64>(Name::ClusterAuthorizedOperations)? != NOT_ASKED
        {
            return Ok(Change::Set(vec![(Name::ClusterAuthorizedOperations, Value::Int(0))]));
        }
        Ok(Change::Keep)
    });
    shown.map_err(io::Error::other)
}

fn topic<'a>(asker: &Asker<'_>, view: &View<'a>, asked: &Asked) -> Result<Change<'a>, Malformed> {
    let name = view.text(Name::Name)?.unwrap_or_default();
    if name.is_empty() {
        return Ok(Change::Keep);
    }
    let mut set = Vec::new();
    if asker.topic(name, Ask::See).is_some() {
        if asked.all {
            return Ok(Change::Remove);
        }
        set.push((Name::Partitions, Value::List(vec![])));
        let with_ids = has(view, Name::TopicId);
        let id = if with_ids { view.uuid(Name::TopicId)? } else { [0; 16] };
        let code = match asked.ids.contains(&id) {
            // Asked for by its id, it is one that nobody has.
            true => {
                set.push((Name::Name, Value::Null));
                codes::UNKNOWN_TOPIC_ID
            }
            false => {
                set.extend(with_ids.then_some((Name::TopicId, Value::Uuid([0; 16]))));
                codes::TOPIC_AUTHORIZATION_FAILED
            }
        };
        set.push((Name::ErrorCode, Value::Int(code.into())));
    }
    if has(view, Name::TopicAuthorizedOperations)
        && view.int::<i64>(Name::TopicAuthorizedOperations)? != NOT_ASKED
    {
        set.push((Name::TopicAuthorizedOperations, Value::Int(asker.operations(name))));
    }
    Ok(if set.is_empty() { Change::Keep } else { Change::Set(set) })
}
