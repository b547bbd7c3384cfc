//! Topics, and the one broker that has them.

use std::sync::Arc;

use sluicegate_wire::{Name, Node, Value, View, codes};

use super::{Broker, Change, Failed, HOST, NODE, PORT, Set, code_of, int, text};
use crate::record::DeliverError;

/// As a configuration of the pipeline allows.
const PARTITIONS_MAX: u16 = 256;
const TYPE_TOPIC: i8 = 2;
/// Set by nobody.
const SOURCE_DEFAULT: i8 = 5;
/// What topics here have, in Kafka's words.
const CONFIGS: [(&str, &str); 5] = [
    ("cleanup.policy", "delete"),
    ("compression.type", "producer"),
    ("message.timestamp.type", "LogAppendTime"),
    ("min.insync.replicas", "1"),
    ("retention.ms", "-1"),
];

impl Broker {
    pub(super) async fn metadata(&self, asked: &View<'_>) -> Result<Set<'static>, Failed> {
        let makes = asked.bool(Name::AllowAutoTopicCreation)?;
        let mut known = self.log.topics().await?;
        let names: Vec<String> = match asked.list(Name::Topics)? {
            None => known.keys().cloned().collect(),
            Some(_) => {
                let names = asked.structs(Name::Topics)?;
                let named = |topic: Result<View<'_>, _>| {
                    Ok::<_, Failed>(topic?.text(Name::Name)?.unwrap_or_default().to_owned())
                };
                names.map(named).collect::<Result<_, _>>()?
            }
        };
        let mut topics = Vec::new();
        for name in names {
            let mut code = codes::UNKNOWN_TOPIC_OR_PARTITION;
            if makes && !known.contains_key(&name) {
                match self.made(&name, None).await {
                    Ok(partitions) => drop(known.insert(name.clone(), partitions)),
                    Err(why) => code = why,
                }
            }
            let partitions = known.get(&name).copied();
            let code = if partitions.is_some() { codes::NONE } else { code };
            let part = |n: u16| {
                let here = || Value::List(vec![int(NODE)]);
                Value::Struct(vec![
                    (Name::PartitionIndex, int(n)),
                    (Name::LeaderId, int(NODE)),
                    (Name::LeaderEpoch, int(0)),
                    (Name::ReplicaNodes, here()),
                    (Name::IsrNodes, here()),
                ])
            };
            topics.push(Value::Struct(vec![
                (Name::ErrorCode, int(code)),
                (Name::Name, text(name)),
                (Name::Partitions, Value::List((0..partitions.unwrap_or(0)).map(part).collect())),
            ]));
        }
        Ok(vec![
            (Name::Brokers, Value::List(vec![self_as(Name::NodeId)])),
            (Name::ClusterId, text(&self.cluster)),
            (Name::ControllerId, int(NODE)),
            (Name::Topics, Value::List(topics)),
        ])
    }

    pub(super) fn describe_cluster(&self) -> Set<'static> {
        vec![
            (Name::ClusterId, text(&self.cluster)),
            (Name::ControllerId, int(NODE)),
            (Name::Brokers, Value::List(vec![self_as(Name::BrokerId)])),
        ]
    }

    /// A topic that is made if it is not there, and its partitions.
    async fn made(&self, name: &str, partitions: Option<u16>) -> Result<u16, i16> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if !(1..=249).contains(&name.len())
            || !name.bytes().all(legal)
            || [".", ".."].contains(&name)
        {
            return Err(codes::INVALID_TOPIC_EXCEPTION);
        }
        self.log.make(Arc::from(name), partitions).await.map_err(|error| code_of(&error))
    }

    pub(super) async fn create_topics(&self, asked: &View<'_>) -> Result<Set<'static>, Failed> {
        let only_checks = asked.bool(Name::ValidateOnly)?;
        let known = self.log.topics().await?;
        let mut topics = Vec::new();
        for topic in asked.structs(Name::Topics)? {
            let topic = topic?;
            let name = topic.str(Name::Name)?;
            let partitions = match topic.int::<i32>(Name::NumPartitions)? {
                -1 => Ok(None),
                n => match u16::try_from(n) {
                    Ok(n) if (1..=PARTITIONS_MAX).contains(&n) => Ok(Some(n)),
                    _ => Err(codes::INVALID_PARTITIONS),
                },
            };
            let made = match partitions {
                _ if known.contains_key(name) => Err(codes::TOPIC_ALREADY_EXISTS),
                Err(code) => Err(code),
                Ok(partitions) if only_checks => Ok(partitions.map_or(-1, i32::from)),
                Ok(partitions) => self.made(name, partitions).await.map(i32::from),
            };
            topics.push(Value::Struct(vec![
                (Name::Name, text(name)),
                (Name::ErrorCode, int(made.err().unwrap_or(codes::NONE))),
                (Name::NumPartitions, int(made.unwrap_or(-1))),
                (Name::ReplicationFactor, int(1)),
                (Name::Configs, Value::List(vec![])),
            ]));
        }
        Ok(vec![(Name::Topics, Value::List(topics))])
    }

    pub(super) async fn delete_topics(&self, asked: &View<'_>) -> Result<Set<'static>, Failed> {
        let mut responses = Vec::new();
        for node in asked.list(Name::TopicNames)?.into_iter().flat_map(|list| list.nodes()) {
            let Node::Str(name) = node? else { continue };
            let gone = self.log.change(Change::RemoveTopic(name.to_owned())).await;
            let code = match gone {
                Ok(0) => codes::UNKNOWN_TOPIC_OR_PARTITION,
                Ok(_) => codes::NONE,
                Err(error) => code_of(&error),
            };
            responses
                .push(Value::Struct(vec![(Name::Name, text(name)), (Name::ErrorCode, int(code))]));
        }
        Ok(vec![(Name::Responses, Value::List(responses))])
    }

    pub(super) async fn describe_configs(&self, asked: &View<'_>) -> Result<Set<'static>, Failed> {
        let known = self.log.topics().await?;
        let mut results = Vec::new();
        for resource in asked.structs(Name::Resources)? {
            let resource = resource?;
            let name = resource.str(Name::ResourceName)?;
            let kind: i8 = resource.int(Name::ResourceType)?;
            let code = match kind {
                TYPE_TOPIC if known.contains_key(name) => codes::NONE,
                TYPE_TOPIC => code_of(&DeliverError::UnknownTopic),
                _ => codes::INVALID_REQUEST,
            };
            let mut wanted = None;
            if let Some(list) = resource.list(Name::ConfigurationKeys)? {
                let names: Result<Vec<_>, _> = list.nodes().collect();
                wanted = Some(names?);
            }
            let is_wanted = |config: &str| match &wanted {
                Some(names) => {
                    names.iter().any(|n| matches!(n, Node::Str(name) if *name == config))
                }
                None => true,
            };
            let config = |(name, value): (&str, &str)| {
                Value::Struct(vec![
                    (Name::Name, text(name)),
                    (Name::Value, text(value)),
                    (Name::ReadOnly, Value::Bool(true)),
                    (Name::ConfigSource, int(SOURCE_DEFAULT)),
                ])
            };
            let configs =
                CONFIGS.into_iter().filter(|(name, _)| code == codes::NONE && is_wanted(name));
            results.push(Value::Struct(vec![
                (Name::ErrorCode, int(code)),
                (Name::ErrorMessage, Value::Null),
                (Name::ResourceType, int(kind)),
                (Name::ResourceName, text(name)),
                (Name::Configs, Value::List(configs.map(config).collect())),
            ]));
        }
        Ok(vec![(Name::Results, Value::List(results))])
    }
}

fn self_as(id: Name) -> Value<'static> {
    Value::Struct(vec![(id, int(NODE)), (Name::Host, text(HOST)), (Name::Port, int(PORT))])
}
