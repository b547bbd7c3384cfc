//! Answers of our own: whole ones, and parts that say of what was asked that it is not permitted.

use std::io;

use sluicegate_wire::{Direction, Field, Key, Kind, Malformed, Name, Node, Value, View};

use crate::deliver::kafka::frames::{self, framed, layout};

/// A whole answer, with its length.
pub(super) fn whole(
    key: Key,
    version: i16,
    correlation: i32,
    set: &[(Name, Value<'_>)],
) -> io::Result<Vec<u8>> {
    let (api, layout) = layout(key, Direction::Response, version)?;
    let mut frame = vec![0; 4];
    api.response_header(version, correlation, &mut frame);
    layout.write(set, &mut frame).map_err(io::Error::other)?;
    framed(frame)
}

/// An answer with this body, with its length.
pub(super) fn with_body(
    key: Key,
    version: i16,
    correlation: i32,
    body: &[u8],
) -> io::Result<Vec<u8>> {
    let (api, _) = frames::layout(key, Direction::Response, version)?;
    let mut frame = vec![0; 4];
    api.response_header(version, correlation, &mut frame);
    frame.extend(body);
    framed(frame)
}

/// The error of an element of a request; nothing for one that is permitted.
pub(super) type Judge<'j> = &'j dyn Fn(&View<'_>) -> Result<Option<i16>, Malformed>;

/// Lists of answers and the lists of requests that they answer, where they have other names.
const COUNTERPARTS: &[(Name, Name)] = &[
    (Name::Responses, Name::TopicData),
    (Name::Responses, Name::Topics),
    (Name::Responses, Name::TopicNames),
    (Name::PartitionResponses, Name::PartitionData),
    (Name::Partitions, Name::PartitionIndexes),
    (Name::Coordinators, Name::CoordinatorKeys),
    (Name::Results, Name::GroupsNames),
    (Name::Results, Name::Resources),
    (Name::Results, Name::Topics),
    (Name::Groups, Name::GroupIds),
    (Name::TransactionStates, Name::TransactionalIds),
    (Name::ResultsByTopicV3AndBelow, Name::V3AndBelowTopics),
    (Name::ResultsByPartition, Name::Partitions),
];

/// Fields of answers and the fields of requests that they repeat, where they have other names.
const REPEATED: &[(Name, Name)] = &[(Name::PartitionIndex, Name::Partition)];

/// What an element of an answer is known by, where the request has only that.
const KNOWN_BY: &[Name] =
    &[Name::PartitionIndex, Name::Name, Name::Key, Name::GroupId, Name::TransactionalId];

/// What an answer says of a struct that was asked about, and of everything in it: this error.
pub(super) fn mirror<'a>(
    fields: &[Field],
    version: i16,
    asked: &View<'a>,
    code: i16,
) -> Result<Vec<(Name, Value<'a>)>, Malformed> {
    let mut set = Vec::new();
    for field in fields.iter().filter(|field| field.versions.has(version)) {
        match (field.name, field.kind) {
            (Name::ErrorCode | Name::PartitionErrorCode, _) => {
                set.push((field.name, Value::Int(code.into())));
            }
            (Name::CommittedOffset | Name::HighWatermark, _) => {
                set.push((field.name, Value::Int(-1)));
            }
            (_, Kind::Structs(inner)) => {
                if let Some(list) = list_of(field.name, inner, version, asked, Some(code), None)? {
                    set.push((field.name, Value::List(list)));
                }
            }
            (name, _) => {
                let named = REPEATED.iter().find(|(answer, _)| *answer == name);
                let same = has(asked, name).then_some(name);
                let asked_as = same.or(named.map(|(_, request)| *request));
                if let Some(asked_as) = asked_as.filter(|name| has(asked, *name))
                    && let Some(value) = scalar(asked.get(asked_as)?)
                {
                    set.push((name, value));
                }
            }
        }
    }
    set.extend(nobody(fields, version));
    Ok(set)
}

/// No broker: fields that default to the broker 0.
fn nobody<'a>(fields: &[Field], version: i16) -> impl Iterator<Item = (Name, Value<'a>)> {
    let has = move |name: Name| fields.iter().any(|f| f.name == name && f.versions.has(version));
    let place = has(Name::Host) && has(Name::Port) && has(Name::NodeId);
    [Name::NodeId, Name::Port].into_iter().filter(move |_| place).map(|n| (n, Value::Int(-1)))
}

/// The elements of one list of an answer that stand for denied elements of the request: with `code` all of them.
pub(super) fn list_of<'a>(
    list: Name,
    fields: &[Field],
    version: i16,
    asked: &View<'a>,
    code: Option<i16>,
    judge: Option<Judge<'_>>,
) -> Result<Option<Vec<Value<'a>>>, Malformed> {
    let others =
        COUNTERPARTS.iter().filter(|(answer, _)| *answer == list).map(|(_, request)| *request);
    let Some(counterpart) = [list].into_iter().chain(others).find(|name| is_list(asked, *name))
    else {
        return Ok(None);
    };
    let Some(elements) = asked.list(counterpart)? else { return Ok(None) };
    let mut made = Vec::new();
    for element in elements.nodes() {
        match element? {
            Node::Struct(element) => {
                let denied = match judge {
                    Some(judge) => judge(&element)?,
                    None => None,
                };
                if let Some(code) = code.or(denied) {
                    made.push(Value::Struct(mirror(fields, version, &element, code)?));
                }
            }
            other => {
                let known_by = KNOWN_BY.iter().find(|name| fields.iter().any(|f| f.name == **name));
                if let (Some(code), Some(name), Some(value)) = (code, known_by, scalar(other)) {
                    let mut set = vec![(*name, value)];
                    let errors = [Name::ErrorCode, Name::PartitionErrorCode];
                    let error = fields.iter().find(|f| errors.contains(&f.name));
                    set.extend(error.map(|f| (f.name, Value::Int(code.into()))));
                    set.extend(nobody(fields, version));
                    made.push(Value::Struct(set));
                }
            }
        }
    }
    Ok(Some(made))
}

/// Whether a struct of this version has a field.
pub(super) fn has(view: &View<'_>, name: Name) -> bool {
    let layout = view.layout();
    layout.fields.iter().any(|f| f.name == name && f.versions.has(layout.version))
}

fn is_list(view: &View<'_>, name: Name) -> bool {
    let layout = view.layout();
    layout.fields.iter().any(|f| {
        f.name == name
            && f.versions.has(layout.version)
            && matches!(f.kind, Kind::List(_) | Kind::Structs(_))
    })
}

fn scalar(node: Node<'_>) -> Option<Value<'_>> {
    Some(match node {
        Node::Bool(value) => Value::Bool(value),
        Node::Int(value) => Value::Int(value),
        Node::Uuid(value) => Value::Uuid(value),
        Node::Str(value) => Value::Str(value.into()),
        _ => return None,
    })
}
