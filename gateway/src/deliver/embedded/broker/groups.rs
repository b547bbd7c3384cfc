//! Requests about groups.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use sluicegate_wire::{Malformed, Name, Node, Value, View, codes};
use tokio::{
    sync::oneshot,
    time::{Duration, Instant},
};

use super::{
    Broker, Change, Failed, HOST, NODE, PORT, Set, code_of,
    group::{Group, Joined, Joining},
    int,
    store::Committed,
    text,
};

/// Groups that have members.
const GROUPS_MAX: usize = 10_000;
/// While members wait for each other, what is due is looked for this often.
const TICK: Duration = Duration::from_millis(50);
/// Bytes of what a client says beside an offset.
const METADATA_BYTES: usize = 4_096;
const NO_TRANSACTIONS: &str =
    "the embedded pipeline has no transactions; use Apache Kafka for this region";
const KEY_GROUP: i8 = 0;
/// From this version on, a member is told its name before it is one.
const ASKS_TWICE: i16 = 4;
const WITH_LISTS: i16 = 4;
const WITH_PROTOCOL: i16 = 7;
const LEAVES_WITH_OTHERS: i16 = 3;
const GROUPS_OF_OFFSETS: i16 = 8;

/// Groups that have members.
#[derive(Default)]
pub(super) struct Groups(Mutex<BTreeMap<String, Group>>);

impl Groups {
    /// Does something with a group, which is forgotten when nobody is in it any more.
    fn with<T>(&self, name: &str, work: impl FnOnce(&mut Group, Instant) -> T) -> T {
        let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let group = groups.entry(name.to_owned()).or_default();
        let now = Instant::now();
        group.tick(now);
        let done = work(group, now);
        if group.is_over() {
            groups.remove(name);
        }
        done
    }

    fn is_full(&self, name: &str) -> bool {
        let groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        groups.len() >= GROUPS_MAX && !groups.contains_key(name)
    }

    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Waits for what other members do, or do not do in time.
    async fn wait<T>(
        &self,
        name: &str,
        mut told: oneshot::Receiver<Result<T, i16>>,
    ) -> Result<T, i16> {
        loop {
            tokio::select! {
                told = &mut told => return told.unwrap_or(Err(codes::UNKNOWN_MEMBER_ID)),
                () = tokio::time::sleep(TICK) => self.with(name, |_, _| ()),
            }
        }
    }
}

/// The member that a request is of: its id, its instance and its generation.
fn member<'a>(
    asked: &View<'a>,
    generation: Name,
) -> Result<(&'a str, Option<&'a str>, i32), Malformed> {
    let instance = asked.text(Name::GroupInstanceId)?;
    Ok((asked.str(Name::MemberId)?, instance, asked.int(generation)?))
}

fn code(code: i16) -> Set<'static> {
    vec![(Name::ErrorCode, int(code))]
}

impl Broker {
    pub(super) fn find_coordinator(asked: &View<'_>, version: i16) -> Result<Set<'static>, Failed> {
        let refused = version > 0 && asked.int::<i8>(Name::KeyType)? != KEY_GROUP;
        // librdkafka, which asks in lower versions, gives up at no other code, and says the words; Java says them with
        // any code but that one.
        let code = match version < WITH_LISTS {
            true => codes::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            false => codes::INVALID_REQUEST,
        };
        let here = || match refused {
            true => vec![
                (Name::ErrorCode, int(code)),
                (Name::ErrorMessage, text(NO_TRANSACTIONS)),
                (Name::NodeId, int(-1)),
                (Name::Port, int(-1)),
            ],
            false => vec![
                (Name::ErrorMessage, Value::Null),
                (Name::NodeId, int(NODE)),
                (Name::Host, text(HOST)),
                (Name::Port, int(PORT)),
            ],
        };
        if version < WITH_LISTS {
            return Ok(here());
        }
        let mut found = Vec::new();
        for node in asked.list(Name::CoordinatorKeys)?.into_iter().flat_map(|list| list.nodes()) {
            let Node::Str(key) = node? else { continue };
            let mut set = here();
            set.push((Name::Key, text(key)));
            found.push(Value::Struct(set));
        }
        Ok(vec![(Name::Coordinators, Value::List(found))])
    }

    pub(super) async fn join_group(
        &self,
        asked: &View<'_>,
        client: Option<&str>,
        version: i16,
    ) -> Result<Set<'static>, Failed> {
        let name = asked.str(Name::GroupId)?;
        let session = millis(asked.int(Name::SessionTimeoutMs)?);
        let rebalance = match asked.int::<i64>(Name::RebalanceTimeoutMs)? {
            -1 => session,
            ms => millis(ms),
        };
        let protocols = asked.structs(Name::Protocols)?.map(|protocol| {
            let protocol = protocol?;
            let metadata = protocol.data(Name::Metadata)?.unwrap_or_default().to_vec();
            Ok::<_, Malformed>((protocol.str(Name::Name)?.to_owned(), metadata))
        });
        let client = client.unwrap_or_default();
        let fresh = format!("{client}-{:032x}", u128::from_be_bytes(self.ambient.id()?));
        let joining = Joining {
            member: asked.str(Name::MemberId)?.to_owned(),
            fresh: fresh.clone(),
            asks_twice: version >= ASKS_TWICE,
            instance: asked.text(Name::GroupInstanceId)?.map(str::to_owned),
            client: client.to_owned(),
            kind: asked.str(Name::ProtocolType)?.to_owned(),
            session,
            rebalance,
            protocols: protocols.collect::<Result<_, _>>()?,
        };
        let member = joining.member.clone();
        let joined = match name {
            "" => Err(codes::INVALID_GROUP_ID),
            name if self.groups.is_full(name) => Err(codes::COORDINATOR_NOT_AVAILABLE),
            name => {
                let (waiting, told) = oneshot::channel();
                self.groups.with(name, |group, now| group.join(now, joining, waiting));
                self.groups.wait(name, told).await
            }
        };
        Ok(match joined {
            Ok(joined) => joined_set(joined, version),
            Err(why) => {
                let member = if why == codes::MEMBER_ID_REQUIRED { fresh } else { member };
                let mut set = code(why);
                set.push((Name::MemberId, text(member)));
                set
            }
        })
    }

    pub(super) async fn sync_group(
        &self,
        asked: &View<'_>,
        version: i16,
    ) -> Result<Set<'static>, Failed> {
        let name = asked.str(Name::GroupId)?;
        let assignments = asked.structs(Name::Assignments)?.map(|assigned| {
            let assigned = assigned?;
            let assignment = assigned.data(Name::Assignment)?.unwrap_or_default().to_vec();
            Ok::<_, Malformed>((assigned.str(Name::MemberId)?.to_owned(), assignment))
        });
        let assignments = assignments.collect::<Result<_, _>>()?;
        let member = member(asked, Name::GenerationId)?;
        let (waiting, told) = oneshot::channel();
        let (kind, protocol) = self.groups.with(name, |group, now| {
            group.sync(now, member, assignments, waiting);
            (group.kind.clone(), group.protocol.clone())
        });
        Ok(match self.groups.wait(name, told).await {
            Err(why) => code(why),
            Ok(assignment) => {
                let mut set = vec![(Name::Assignment, Value::Bytes(assignment.into()))];
                if version >= 5 {
                    set.push((Name::ProtocolType, text(kind)));
                    set.push((Name::ProtocolName, text(protocol)));
                }
                set
            }
        })
    }

    pub(super) fn heartbeat(&self, asked: &View<'_>) -> Result<Set<'static>, Failed> {
        let (name, member) = (asked.str(Name::GroupId)?, member(asked, Name::GenerationId)?);
        Ok(code(self.groups.with(name, |group, now| group.heartbeat(now, member))))
    }

    pub(super) fn leave_group(
        &self,
        asked: &View<'_>,
        version: i16,
    ) -> Result<Set<'static>, Failed> {
        let name = asked.str(Name::GroupId)?;
        let leave = |id: &str, instance: Option<&str>| {
            self.groups.with(name, |group, now| group.leave(now, id, instance))
        };
        if version < LEAVES_WITH_OTHERS {
            return Ok(code(leave(asked.str(Name::MemberId)?, None)));
        }
        let mut members = Vec::new();
        for member in asked.structs(Name::Members)? {
            let member = member?;
            let (id, instance) = (member.str(Name::MemberId)?, member.text(Name::GroupInstanceId)?);
            members.push(Value::Struct(vec![
                (Name::MemberId, text(id)),
                (Name::GroupInstanceId, instance.map_or(Value::Null, text)),
                (Name::ErrorCode, int(leave(id, instance))),
            ]));
        }
        Ok(vec![(Name::Members, Value::List(members))])
    }

    pub(super) async fn offset_commit(&self, asked: &View<'_>) -> Result<Set<'static>, Failed> {
        let name = asked.str(Name::GroupId)?;
        let member = member(asked, Name::GenerationIdOrMemberEpoch)?;
        let allowed = match name {
            "" => codes::INVALID_GROUP_ID,
            name => self.groups.with(name, |group, now| group.may_commit(now, member)),
        };
        let known = self.log.topics().await?;
        let (mut offsets, mut said) = (Vec::new(), Vec::new());
        for topic in asked.structs(Name::Topics)? {
            let topic = topic?;
            let name = topic.str(Name::Name)?;
            let mut parts = Vec::new();
            for part in topic.structs(Name::Partitions)? {
                let part = part?;
                let partition: i32 = part.int(Name::PartitionIndex)?;
                let metadata = part.text(Name::CommittedMetadata)?.unwrap_or_default().to_owned();
                let is_there =
                    known.get(name).is_some_and(|n| (0..i32::from(*n)).contains(&partition));
                let why = match allowed {
                    codes::NONE if !is_there => codes::UNKNOWN_TOPIC_OR_PARTITION,
                    codes::NONE if metadata.len() > METADATA_BYTES => {
                        codes::OFFSET_METADATA_TOO_LARGE
                    }
                    allowed => allowed,
                };
                if why == codes::NONE {
                    let (topic, offset) = (name.to_owned(), part.int(Name::CommittedOffset)?);
                    offsets.push(Committed { topic, partition, offset, metadata });
                }
                parts.push((partition, why));
            }
            said.push((name, parts));
        }
        let stored = match offsets.is_empty() {
            true => Ok(0),
            false => self.log.change(Change::Commit(name.to_owned(), offsets)).await,
        };
        let failed = stored.err().map(|error| code_of(&error));
        let part = |(partition, why): &(i32, i16)| {
            let why = if *why == codes::NONE { failed.unwrap_or(*why) } else { *why };
            Value::Struct(vec![
                (Name::PartitionIndex, int(*partition)),
                (Name::ErrorCode, int(why)),
            ])
        };
        let topics = said.iter().map(|(name, parts)| {
            Value::Struct(vec![
                (Name::Name, text(*name)),
                (Name::Partitions, Value::List(parts.iter().map(part).collect())),
            ])
        });
        Ok(vec![(Name::Topics, Value::List(topics.collect()))])
    }

    pub(super) async fn offset_fetch(
        &self,
        asked: &View<'_>,
        version: i16,
    ) -> Result<Set<'static>, Failed> {
        if version < GROUPS_OF_OFFSETS {
            let (_, set) = self.offsets_of(asked).await?;
            return Ok(set);
        }
        let mut groups = Vec::new();
        for group in asked.structs(Name::Groups)? {
            let (name, mut set) = self.offsets_of(&group?).await?;
            set.push((Name::GroupId, text(name)));
            groups.push(Value::Struct(set));
        }
        Ok(vec![(Name::Groups, Value::List(groups))])
    }

    /// The offsets of a group: of the partitions that are named, or of all that it has.
    async fn offsets_of<'a>(&self, asked: &View<'a>) -> Result<(&'a str, Set<'static>), Failed> {
        let name = asked.str(Name::GroupId)?;
        let committed = self.log.committed(name).await?;
        let mut wanted = BTreeMap::<String, Vec<i32>>::new();
        if asked.list(Name::Topics)?.is_none() {
            for known in &committed {
                wanted.entry(known.topic.clone()).or_default().push(known.partition);
            }
        }
        for topic in asked.structs(Name::Topics)? {
            let topic = topic?;
            let parts = wanted.entry(topic.str(Name::Name)?.to_owned()).or_default();
            let list = topic.list(Name::PartitionIndexes)?;
            for node in list.into_iter().flat_map(|list| list.nodes()) {
                if let Node::Int(n) = node? {
                    parts.push(i32::try_from(n).unwrap_or(-1));
                }
            }
        }
        let topics = wanted.into_iter().map(|(topic, parts)| {
            let part = |partition: i32| {
                let is_it = |c: &&Committed| c.topic == topic && c.partition == partition;
                let known = committed.iter().find(is_it);
                Value::Struct(vec![
                    (Name::PartitionIndex, int(partition)),
                    (Name::CommittedOffset, int(known.map_or(-1, |known| known.offset))),
                    (Name::Metadata, text(known.map_or("", |known| &known.metadata))),
                ])
            };
            let parts = parts.into_iter().map(part).collect();
            Value::Struct(vec![(Name::Name, text(&*topic)), (Name::Partitions, Value::List(parts))])
        });
        Ok((name, vec![(Name::Topics, Value::List(topics.collect()))]))
    }

    pub(super) async fn describe_groups(&self, asked: &View<'_>) -> Result<Set<'static>, Failed> {
        let with_offsets: BTreeSet<String> = self.log.committing().await?.into_iter().collect();
        let mut groups = Vec::new();
        for node in asked.list(Name::Groups)?.into_iter().flat_map(|list| list.nodes()) {
            let Node::Str(name) = node? else { continue };
            let mut set = self.groups.with(name, |group, _| described(group));
            if self.groups.is_without(name) && !with_offsets.contains(name) {
                set.retain(|(name, _)| *name != Name::GroupState);
                set.push((Name::GroupState, text("Dead")));
            }
            set.push((Name::GroupId, text(name)));
            groups.push(Value::Struct(set));
        }
        Ok(vec![(Name::Groups, Value::List(groups))])
    }

    pub(super) async fn list_groups(
        &self,
        asked: &View<'_>,
        version: i16,
    ) -> Result<Set<'static>, Failed> {
        let mut names: BTreeSet<String> = self.log.committing().await?.into_iter().collect();
        names.extend(self.groups.names());
        let (states, types) =
            (filter(asked, Name::StatesFilter)?, filter(asked, Name::TypesFilter)?);
        let mut groups = Vec::new();
        for name in names {
            let (kind, state) =
                self.groups.with(&name, |group, _| (group.kind.clone(), group.state.name()));
            let passes = |filter: &[String], what: &str| {
                filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(what))
            };
            if !passes(&states, state) || !passes(&types, "classic") {
                continue;
            }
            let mut set = vec![(Name::GroupId, text(name)), (Name::ProtocolType, text(kind))];
            if version >= 4 {
                set.push((Name::GroupState, text(state)));
            }
            if version >= 5 {
                set.push((Name::GroupType, text("classic")));
            }
            groups.push(Value::Struct(set));
        }
        Ok(vec![(Name::Groups, Value::List(groups))])
    }

    pub(super) async fn delete_groups(&self, asked: &View<'_>) -> Result<Set<'static>, Failed> {
        let mut results = Vec::new();
        for node in asked.list(Name::GroupsNames)?.into_iter().flat_map(|list| list.nodes()) {
            let Node::Str(name) = node? else { continue };
            let why = match self.groups.with(name, |group, _| group.members.is_empty()) {
                false => codes::NON_EMPTY_GROUP,
                true => match self.log.change(Change::ForgetGroup(name.to_owned())).await {
                    Ok(0) => codes::GROUP_ID_NOT_FOUND,
                    Ok(_) => codes::NONE,
                    Err(error) => code_of(&error),
                },
            };
            results.push(Value::Struct(vec![
                (Name::GroupId, text(name)),
                (Name::ErrorCode, int(why)),
            ]));
        }
        Ok(vec![(Name::Results, Value::List(results))])
    }
}

impl Groups {
    fn is_without(&self, name: &str) -> bool {
        !self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

fn filter(asked: &View<'_>, list: Name) -> Result<Vec<String>, Malformed> {
    let nodes = asked.list(list)?.into_iter().flat_map(|list| list.nodes());
    let name = |node| match node {
        Ok(Node::Str(name)) => Some(Ok(name.to_owned())),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    };
    nodes.filter_map(name).collect()
}

fn joined_set(joined: Joined, version: i16) -> Set<'static> {
    let member = |(id, instance, metadata): (String, Option<String>, Vec<u8>)| {
        Value::Struct(vec![
            (Name::MemberId, text(id)),
            (Name::GroupInstanceId, instance.map_or(Value::Null, text)),
            (Name::Metadata, Value::Bytes(metadata.into())),
        ])
    };
    let mut set = vec![
        (Name::GenerationId, int(joined.generation)),
        (Name::ProtocolName, text(joined.protocol)),
        (Name::Leader, text(joined.leader)),
        (Name::MemberId, text(joined.member)),
        (Name::Members, Value::List(joined.members.into_iter().map(member).collect())),
    ];
    if version >= WITH_PROTOCOL {
        set.push((Name::ProtocolType, text(joined.kind)));
    }
    set
}

fn described(group: &Group) -> Set<'static> {
    let members = group.members.iter().map(|(id, member)| {
        let metadata = member.protocols.iter().find(|(name, _)| *name == group.protocol);
        let metadata = metadata.map(|(_, metadata)| metadata.clone()).unwrap_or_default();
        Value::Struct(vec![
            (Name::MemberId, text(id)),
            (Name::GroupInstanceId, member.instance.clone().map_or(Value::Null, text)),
            (Name::ClientId, text(&member.client)),
            (Name::MemberMetadata, Value::Bytes(metadata.into())),
            (Name::MemberAssignment, Value::Bytes(member.assignment.clone().into())),
        ])
    });
    vec![
        (Name::GroupState, text(group.state.name())),
        (Name::ProtocolType, text(&group.kind)),
        (Name::ProtocolData, text(&group.protocol)),
        (Name::Members, Value::List(members.collect())),
    ]
}
