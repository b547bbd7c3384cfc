//! What a principal may name. One walk serves all APIs: Kafka's own definitions say which fields name topics, groups
//! and transactional ids. Denied elements are taken out of the request, and the answer gets an error for each.

use std::io;

use sluicegate_policies::{Operation, Table};
use sluicegate_wire::{
    Api, Change, Direction, Entity, Field, Header, Key, Kind, List, Malformed, Name, Node,
    Unwritable, Value, View, What, codes, rewrite, rewrite_known,
};

use super::{
    answers::{self, has, list_of, mirror},
    versions::Ask,
};
use crate::deliver::kafka::{
    Cluster,
    frames::{layout, malformed},
};

/// Who asks, and what for.
pub(super) struct Asker<'s> {
    pub table: &'s Table,
    pub who: &'s str,
    pub purpose: Option<&'s str>,
    pub cluster: &'s Cluster,
    /// Whether it may make and remove topics.
    pub manages: bool,
}

/// What becomes of a request.
pub(super) enum Decided {
    /// It passes, perhaps as another body; so many elements were denied.
    Pass { body: Option<Vec<u8>>, denied: usize },
    /// It does not; this is the answer.
    Refused(Vec<u8>),
}

/// Names of one list of a request, and elements of a request that are denied.
const NAMES_MAX: usize = 10_000;
const TYPE_TOPIC: i8 = 2;
const KEY_GROUP: i8 = 0;
const KEY_TRANSACTION: i8 = 1;

impl Asker<'_> {
    /// The error of naming a topic.
    pub(super) fn topic(&self, name: &str, ask: Ask) -> Option<i16> {
        let admitted = |op| self.table.admit(self.who, self.purpose, op, name).is_ok();
        let permitted = match ask {
            Ask::See => self.table.sees(self.who, name) || self.manages_topic(name),
            Ask::Publish => admitted(Operation::Publish),
            Ask::Read => admitted(Operation::Read),
            Ask::Manage => self.manages_topic(name),
        };
        (!permitted).then_some(codes::TOPIC_AUTHORIZATION_FAILED)
    }

    fn manages_topic(&self, name: &str) -> bool {
        self.manages && self.table.dataset_of_topic(name).is_some()
    }

    fn group(&self, name: &str) -> Option<i16> {
        let permitted = self.table.may_use_group(self.who, name);
        (!permitted).then_some(codes::GROUP_AUTHORIZATION_FAILED)
    }

    pub(super) fn transactional_id(&self, id: &str) -> Option<i16> {
        let permitted = self.table.may_use_transactional_id(self.who, id);
        (!permitted).then_some(codes::TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    }

    fn of(&self, entity: Entity, name: &str, ask: Ask) -> Option<i16> {
        match entity {
            Entity::Topic => self.topic(name, ask),
            Entity::Group => self.group(name),
            Entity::Transaction => self.transactional_id(name),
            Entity::Producer | Entity::Broker => None,
        }
    }

    /// The error of a struct for what its own fields name.
    pub(super) fn own(&self, view: &View<'_>, ask: Ask) -> Result<Option<i16>, Malformed> {
        let layout = view.layout();
        for field in layout.fields.iter().filter(|f| f.versions.has(layout.version)) {
            let Some(entity) = field.entity.filter(|_| field.kind == Kind::Str) else { continue };
            let Some(name) = view.text(field.name)? else { continue };
            // A version with ids has no names, or one of the two.
            if name.is_empty() && has(view, Name::TopicId) {
                continue;
            }
            if let Some(code) = self.of(entity, name, ask) {
                return Ok(Some(code));
            }
        }
        if has(view, Name::TopicId) {
            let id = view.uuid(Name::TopicId)?;
            if id != [0; 16] {
                let Some(name) = self.cluster.topic(&id) else {
                    return Ok(Some(codes::UNKNOWN_TOPIC_ID));
                };
                return Ok(self.topic(&name, ask));
            }
        }
        self.resource(view)
    }

    /// The settings that may be asked for are those of topics that one may see.
    fn resource(&self, view: &View<'_>) -> Result<Option<i16>, Malformed> {
        if !has(view, Name::ResourceType) || !has(view, Name::ResourceName) {
            return Ok(None);
        }
        Ok(match view.int::<i8>(Name::ResourceType)? {
            TYPE_TOPIC => self.topic(view.str(Name::ResourceName)?, Ask::See),
            _ => Some(codes::CLUSTER_AUTHORIZATION_FAILED),
        })
    }

    /// The coordinator of a name: of what, is said beside it.
    fn coordinated(&self, kind: i8, name: &str) -> Option<i16> {
        match kind {
            KEY_GROUP => self.group(name),
            KEY_TRANSACTION => self.transactional_id(name),
            _ => Some(codes::INVALID_REQUEST),
        }
    }

    /// The names of a list that are denied, each with its error.
    fn listed(&self, key: Key, view: &View<'_>, ask: Ask) -> Result<Vec<Listed>, Malformed> {
        let layout = view.layout();
        let mut lists = Vec::new();
        for field in layout.fields.iter().filter(|f| f.versions.has(layout.version)) {
            if field.kind != Kind::List(&Kind::Str) {
                continue;
            }
            let entity = match (key, field.name) {
                (Key::FindCoordinator, Name::CoordinatorKeys) => None,
                (_, Name::TransactionalIds) => Some(Entity::Transaction),
                (_, Name::TopicNames) => Some(Entity::Topic),
                _ if field.entity.is_some() => field.entity,
                _ => continue,
            };
            let Some(list) = view.list(field.name)? else { continue };
            if list.len() > NAMES_MAX {
                return Err(Malformed { what: What::Length, field: Some(field.name) });
            }
            let (mut kept, mut denied) = (Vec::new(), Vec::new());
            for node in list.nodes() {
                let Node::Str(name) = node? else { continue };
                let code = match entity {
                    Some(entity) => self.of(entity, name, ask),
                    None => self.coordinated(view.int(Name::KeyType)?, name),
                };
                match code {
                    Some(code) => denied.push((name.to_owned(), code)),
                    None => kept.push(Value::Str(name.to_owned().into())),
                }
            }
            lists.push(Listed { name: field.name, kept, denied });
        }
        Ok(lists)
    }

    /// Decides over a request.
    pub(super) fn decide(
        &self,
        api: &'static Api,
        header: &Header<'_>,
        asked: &View<'_>,
        ask: Ask,
    ) -> io::Result<Decided> {
        let key = api.key;
        let whole = self.whole(key, asked, ask).map_err(io::Error::other)?;
        let refuse = |set: Vec<(Name, Value<'_>)>| {
            answers::whole(key, header.version, header.correlation, &set).map(Decided::Refused)
        };
        let fields = layout(key, Direction::Response, header.version)?.1.fields;
        if let Some(code) = whole {
            return refuse(mirror(fields, header.version, asked, code).map_err(io::Error::other)?);
        }
        if key == Key::AddPartitionsToTxn
            && let Some(set) = self.none_of_them(fields, asked, ask).map_err(io::Error::other)?
        {
            return refuse(set);
        }
        let listed = self.listed(key, asked, ask).map_err(io::Error::other)?;
        let mut denied = listed.iter().map(|list| list.denied.len()).sum();
        let mut sets: Vec<(Name, Value<'_>)> = Vec::new();
        for list in listed {
            if !list.denied.is_empty() {
                sets.push((list.name, Value::List(list.kept)));
            }
        }
        if has(asked, Name::ReplicaId) {
            // A client is no replica, whatever it says.
            sets.push((Name::ReplicaId, Value::Int(-1)));
        }
        let mut outermost = true;
        let body = rewrite_known(*asked, |view| {
            if std::mem::take(&mut outermost) {
                return Ok(match sets.is_empty() {
                    true => Change::Keep,
                    false => Change::Set(std::mem::take(&mut sets)),
                });
            }
            // What a member has already is not asked for.
            if key == Key::ConsumerGroupHeartbeat || self.own(&view, ask)?.is_none() {
                return Ok(Change::Keep);
            }
            denied += 1;
            Ok(Change::Remove)
        });
        let body = body.map_err(io::Error::other)?;
        match denied > NAMES_MAX {
            true => Err(malformed("a request that names too much that is denied")),
            false => Ok(Decided::Pass { body, denied }),
        }
    }

    /// The error of a request as a whole.
    fn whole(&self, key: Key, asked: &View<'_>, ask: Ask) -> Result<Option<i16>, Malformed> {
        if let Some(code) = self.own(asked, ask)? {
            return Ok(Some(code));
        }
        Ok(match key {
            Key::FindCoordinator if has(asked, Name::Key) => {
                self.coordinated(asked.int(Name::KeyType)?, asked.str(Name::Key)?)
            }
            // A member that subscribes to what it may not read is refused, as by a broker.
            Key::ConsumerGroupHeartbeat => {
                let listed = self.listed(key, asked, ask)?;
                listed.iter().flat_map(|list| &list.denied).map(|(_, code)| *code).next()
            }
            _ => None,
        })
    }

    /// A transaction takes up all partitions or none; nothing if all are permitted.
    fn none_of_them<'a>(
        &self,
        fields: &'static [Field],
        asked: &View<'a>,
        ask: Ask,
    ) -> Result<Option<Vec<(Name, Value<'a>)>>, Malformed> {
        let mut any = false;
        for topic in asked.structs(Name::V3AndBelowTopics)? {
            any |= self.own(&topic?, ask)?.is_some();
        }
        let list = Name::ResultsByTopicV3AndBelow;
        let field = fields.iter().find(|field| field.name == list);
        let (true, Some(Kind::Structs(inner))) = (any, field.map(|field| field.kind)) else {
            return Ok(None);
        };
        let judge = |view: &View<'_>| {
            let code = self.own(view, ask)?;
            Ok(Some(code.unwrap_or(codes::OPERATION_NOT_ATTEMPTED)))
        };
        let version = asked.layout().version;
        let results = list_of(list, inner, version, asked, None, Some(&judge))?;
        Ok(results.map(|results| vec![(list, Value::List(results))]))
    }

    /// The answer's body with addresses of ours and without what the principal may not know of; `denied` is the
    /// request's body if elements of it were denied.
    pub(super) fn answer(
        &self,
        (api, version): (&'static Api, i16),
        ask: Ask,
        body: &[u8],
        denied: Option<&[u8]>,
        place: &dyn Fn(&View<'_>) -> Result<Option<Place>, Malformed>,
    ) -> io::Result<Option<Vec<u8>>> {
        let key = api.key;
        let (_, layout) = layout(key, Direction::Response, version)?;
        let given = layout.parse(body).map_err(io::Error::other)?;
        let asked = match denied {
            None => None,
            Some(body) => {
                let (_, layout) = super::authorize::layout(key, Direction::Request, version)?;
                Some(layout.parse(body).map_err(io::Error::other)?)
            }
        };
        let mut outermost = true;
        let rewritten = rewrite(given, |view| {
            let first = std::mem::take(&mut outermost);
            let of = match &asked {
                Some(asked) if first => Some(*asked),
                // Of groups whose offsets are asked for, topics stand one level deeper.
                Some(asked) if key == Key::OffsetFetch => same_group(asked, &view)?,
                _ => None,
            };
            if let Some(of) = of {
                let extend = self.denied_elements(key, &view, &of, ask)?;
                if !extend.is_empty() {
                    return Ok(Change::Extend(extend));
                }
            }
            self.shown(&view, first, place)
        });
        rewritten.map_err(io::Error::other)
    }

    /// What is added to the lists of an answer's struct for elements of the request's that were denied.
    fn denied_elements<'a>(
        &self,
        key: Key,
        given: &View<'_>,
        asked: &View<'a>,
        ask: Ask,
    ) -> Result<Vec<(Name, Vec<Value<'a>>)>, Unwritable> {
        let (layout, version) = (given.layout(), given.layout().version);
        let judge = |view: &View<'_>| self.own(view, ask);
        let mut extend = Vec::new();
        for field in layout.fields.iter().filter(|f| f.versions.has(version)) {
            let Kind::Structs(fields) = field.kind else { continue };
            let made = list_of(field.name, fields, version, asked, None, Some(&judge))?;
            let mut made = made.unwrap_or_default();
            for list in self.listed(key, asked, ask)? {
                for (name, code) in list.denied {
                    made.extend(denied_name(fields, name, code));
                }
            }
            if !made.is_empty() {
                extend.push((field.name, made));
            }
        }
        Ok(extend)
    }

    /// What of an answer's struct is shown.
    fn shown<'a>(
        &self,
        view: &View<'a>,
        outermost: bool,
        place: &dyn Fn(&View<'_>) -> Result<Option<Place>, Malformed>,
    ) -> Result<Change<'a>, Unwritable> {
        if !outermost && self.hides(view)? {
            return Ok(Change::Remove);
        }
        let mut set = Vec::new();
        if has(view, Name::Host) && has(view, Name::Port) {
            let (host, port) = match place(view)? {
                Some(Place { host, port }) => (host, i64::from(port)),
                None => (String::new(), -1),
            };
            set.push((Name::Host, Value::Str(host.into())));
            set.push((Name::Port, Value::Int(port)));
        }
        // What our own identity may do is nothing that the client may.
        for name in [Name::ClusterAuthorizedOperations, Name::AuthorizedOperations] {
            if has(view, name) && view.int::<i64>(name)? != NOT_ASKED {
                set.push((name, Value::Int(0)));
            }
        }
        if has(view, Name::SubscribedTopicNames) {
            let mut names = Vec::new();
            for node in view.list(Name::SubscribedTopicNames)?.into_iter().flat_map(List::nodes) {
                if let Node::Str(name) = node?
                    && self.topic(name, Ask::See).is_none()
                {
                    names.push(Value::Str(name.into()));
                }
            }
            set.push((Name::SubscribedTopicNames, Value::List(names)));
        }
        Ok(if set.is_empty() { Change::Keep } else { Change::Set(set) })
    }

    /// Whether an answer's struct is about something that the principal may not know of.
    fn hides(&self, view: &View<'_>) -> Result<bool, Malformed> {
        let layout = view.layout();
        for field in layout.fields.iter().filter(|f| f.versions.has(layout.version)) {
            let Some(entity) = field.entity.filter(|_| field.kind == Kind::Str) else { continue };
            let Some(name) = view.text(field.name)?.filter(|name| !name.is_empty()) else {
                continue;
            };
            if self.of(entity, name, Ask::See).is_some() {
                return Ok(true);
            }
        }
        if !has(view, Name::TopicId) {
            return Ok(false);
        }
        let id = view.uuid(Name::TopicId)?;
        let known = || self.cluster.topic(&id);
        Ok(id != [0; 16] && known().is_none_or(|name| self.topic(&name, Ask::See).is_some()))
    }

    /// Which operations Kafka's clients are told that they have on a topic: a bit each, by their numbers in Kafka.
    pub(super) fn operations(&self, topic: &str) -> i64 {
        const READ: i64 = 1 << 3;
        const WRITE: i64 = 1 << 4;
        const DESCRIBE: i64 = 1 << 8;
        let has = |ask, bits| if self.topic(topic, ask).is_none() { bits } else { 0 };
        has(Ask::Read, READ) | has(Ask::Publish, WRITE) | has(Ask::See, DESCRIBE)
    }
}

/// Authorized operations that nobody asked for.
pub(super) const NOT_ASKED: i64 = i32::MIN as i64;

/// A list of names of a request: what of it may pass and what not.
struct Listed {
    name: Name,
    kept: Vec<Value<'static>>,
    denied: Vec<(String, i16)>,
}

/// Where a broker is, as clients reach it.
pub(super) struct Place {
    pub host: String,
    pub port: u16,
}

fn denied_name<'a>(fields: &[Field], name: String, code: i16) -> Option<Value<'a>> {
    let names = [Name::Name, Name::Key, Name::GroupId, Name::TransactionalId];
    let has = |name: Name| fields.iter().any(|f| f.name == name);
    let known_by = names.into_iter().find(|name| has(*name))?;
    let mut set = vec![(known_by, Value::Str(name.into()))];
    if has(Name::ErrorCode) {
        set.push((Name::ErrorCode, Value::Int(code.into())));
    }
    if has(Name::NodeId) {
        set.extend([(Name::NodeId, Value::Int(-1)), (Name::Port, Value::Int(-1))]);
    }
    Some(Value::Struct(set))
}

/// The group of a request that a struct of its answer is about.
fn same_group<'a>(asked: &View<'a>, given: &View<'_>) -> Result<Option<View<'a>>, Malformed> {
    if !has(given, Name::GroupId) || !has(given, Name::Topics) || !has(asked, Name::Groups) {
        return Ok(None);
    }
    let group = given.str(Name::GroupId)?;
    for of in asked.structs(Name::Groups)? {
        let of = of?;
        if of.str(Name::GroupId)? == group {
            return Ok(Some(of));
        }
    }
    Ok(None)
}
