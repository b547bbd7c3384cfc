//! Made by generate.py from the message definitions of Apache Kafka 4.4.0; not to be edited.

use super::N;
use crate::schema::{Entity, Field, Kind, f, list};

pub(super) const CREATE_TOPICS_REQUEST: &[Field] = &[
    list(N::Topics, &[
        f(N::Name, Kind::Str).entity(Entity::Topic),
        f(N::NumPartitions, Kind::I32),
        f(N::ReplicationFactor, Kind::I16),
        list(N::Assignments, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::BrokerIds, Kind::List(&Kind::I32)).entity(Entity::Broker),
        ]),
        list(N::Configs, &[
            f(N::Name, Kind::Str),
            f(N::Value, Kind::Str).nullable(),
        ]),
    ]),
    f(N::TimeoutMs, Kind::I32).default(60000),
    f(N::ValidateOnly, Kind::Bool),
];

pub(super) const CREATE_TOPICS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32).ignorable(),
    list(N::Topics, &[
        f(N::Name, Kind::Str).entity(Entity::Topic),
        f(N::TopicId, Kind::Uuid).since(7).ignorable(),
        f(N::ErrorCode, Kind::I16),
        f(N::ErrorMessage, Kind::Str).nullable().ignorable(),
        f(N::TopicConfigErrorCode, Kind::I16).since(5).tag(0).ignorable(),
        f(N::NumPartitions, Kind::I32).since(5).default(-1).ignorable(),
        f(N::ReplicationFactor, Kind::I16).since(5).default(-1).ignorable(),
        list(N::Configs, &[
            f(N::Name, Kind::Str),
            f(N::Value, Kind::Str).nullable(),
            f(N::ReadOnly, Kind::Bool),
            f(N::ConfigSource, Kind::I8).default(-1).ignorable(),
            f(N::IsSensitive, Kind::Bool),
        ]).since(5).nullable().ignorable(),
    ]),
];

pub(super) const DELETE_TOPICS_REQUEST: &[Field] = &[
    list(N::Topics, &[
        f(N::Name, Kind::Str).nullable().default_null().entity(Entity::Topic),
        f(N::TopicId, Kind::Uuid),
    ]).since(6),
    f(N::TopicNames, Kind::List(&Kind::Str)).until(5).ignorable().entity(Entity::Topic),
    f(N::TimeoutMs, Kind::I32),
];

pub(super) const DELETE_TOPICS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32).ignorable(),
    list(N::Responses, &[
        f(N::Name, Kind::Str).nullable_since(6).entity(Entity::Topic),
        f(N::TopicId, Kind::Uuid).since(6).ignorable(),
        f(N::ErrorCode, Kind::I16),
        f(N::ErrorMessage, Kind::Str).since(5).nullable().default_null().ignorable(),
    ]),
];

pub(super) const DESCRIBE_ACLS_REQUEST: &[Field] = &[
    f(N::ResourceTypeFilter, Kind::I8),
    f(N::ResourceNameFilter, Kind::Str).nullable(),
    f(N::PatternTypeFilter, Kind::I8).default(3),
    f(N::PrincipalFilter, Kind::Str).nullable(),
    f(N::HostFilter, Kind::Str).nullable(),
    f(N::Operation, Kind::I8),
    f(N::PermissionType, Kind::I8),
];

pub(super) const DESCRIBE_ACLS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    f(N::ErrorCode, Kind::I16),
    f(N::ErrorMessage, Kind::Str).nullable(),
    list(N::Resources, &[
        f(N::ResourceType, Kind::I8),
        f(N::ResourceName, Kind::Str),
        f(N::PatternType, Kind::I8).default(3),
        list(N::Acls, &[
            f(N::Principal, Kind::Str),
            f(N::Host, Kind::Str),
            f(N::Operation, Kind::I8),
            f(N::PermissionType, Kind::I8),
        ]),
    ]),
];

pub(super) const CREATE_ACLS_REQUEST: &[Field] = &[
    list(N::Creations, &[
        f(N::ResourceType, Kind::I8),
        f(N::ResourceName, Kind::Str),
        f(N::ResourcePatternType, Kind::I8).default(3),
        f(N::Principal, Kind::Str),
        f(N::Host, Kind::Str),
        f(N::Operation, Kind::I8),
        f(N::PermissionType, Kind::I8),
    ]),
];

pub(super) const CREATE_ACLS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    list(N::Results, &[
        f(N::ErrorCode, Kind::I16),
        f(N::ErrorMessage, Kind::Str).nullable(),
    ]),
];

pub(super) const DELETE_ACLS_REQUEST: &[Field] = &[
    list(N::Filters, &[
        f(N::ResourceTypeFilter, Kind::I8),
        f(N::ResourceNameFilter, Kind::Str).nullable(),
        f(N::PatternTypeFilter, Kind::I8).default(3),
        f(N::PrincipalFilter, Kind::Str).nullable(),
        f(N::HostFilter, Kind::Str).nullable(),
        f(N::Operation, Kind::I8),
        f(N::PermissionType, Kind::I8),
    ]),
];

pub(super) const DELETE_ACLS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    list(N::FilterResults, &[
        f(N::ErrorCode, Kind::I16),
        f(N::ErrorMessage, Kind::Str).nullable(),
        list(N::MatchingAcls, &[
            f(N::ErrorCode, Kind::I16),
            f(N::ErrorMessage, Kind::Str).nullable(),
            f(N::ResourceType, Kind::I8),
            f(N::ResourceName, Kind::Str),
            f(N::PatternType, Kind::I8).default(3),
            f(N::Principal, Kind::Str),
            f(N::Host, Kind::Str),
            f(N::Operation, Kind::I8),
            f(N::PermissionType, Kind::I8),
        ]),
    ]),
];

pub(super) const DESCRIBE_CONFIGS_REQUEST: &[Field] = &[
    list(N::Resources, &[
        f(N::ResourceType, Kind::I8),
        f(N::ResourceName, Kind::Str),
        f(N::ConfigurationKeys, Kind::List(&Kind::Str)).nullable(),
    ]),
    f(N::IncludeSynonyms, Kind::Bool),
    f(N::IncludeDocumentation, Kind::Bool).since(3),
];

pub(super) const DESCRIBE_CONFIGS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    list(N::Results, &[
        f(N::ErrorCode, Kind::I16),
        f(N::ErrorMessage, Kind::Str).nullable(),
        f(N::ResourceType, Kind::I8),
        f(N::ResourceName, Kind::Str),
        list(N::Configs, &[
            f(N::Name, Kind::Str),
            f(N::Value, Kind::Str).nullable(),
            f(N::ReadOnly, Kind::Bool),
            f(N::ConfigSource, Kind::I8).default(-1).ignorable(),
            f(N::IsSensitive, Kind::Bool),
            list(N::Synonyms, &[
                f(N::Name, Kind::Str),
                f(N::Value, Kind::Str).nullable(),
                f(N::Source, Kind::I8),
            ]).ignorable(),
            f(N::ConfigType, Kind::I8).since(3).ignorable(),
            f(N::Documentation, Kind::Str).since(3).nullable().ignorable(),
        ]),
    ]),
];

pub(super) const ALTER_CONFIGS_REQUEST: &[Field] = &[
    list(N::Resources, &[
        f(N::ResourceType, Kind::I8),
        f(N::ResourceName, Kind::Str),
        list(N::Configs, &[
            f(N::Name, Kind::Str),
            f(N::Value, Kind::Str).nullable(),
        ]),
    ]),
    f(N::ValidateOnly, Kind::Bool),
];

pub(super) const ALTER_CONFIGS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    list(N::Responses, &[
        f(N::ErrorCode, Kind::I16),
        f(N::ErrorMessage, Kind::Str).nullable(),
        f(N::ResourceType, Kind::I8),
        f(N::ResourceName, Kind::Str),
    ]),
];

pub(super) const ALTER_REPLICA_LOG_DIRS_REQUEST: &[Field] = &[
    list(N::Dirs, &[
        f(N::Path, Kind::Str),
        list(N::Topics, &[
            f(N::Name, Kind::Str).entity(Entity::Topic),
            f(N::Partitions, Kind::List(&Kind::I32)),
        ]),
    ]),
];

pub(super) const ALTER_REPLICA_LOG_DIRS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    list(N::Results, &[
        f(N::TopicName, Kind::Str).entity(Entity::Topic),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::ErrorCode, Kind::I16),
        ]),
    ]),
];

pub(super) const DESCRIBE_LOG_DIRS_REQUEST: &[Field] = &[
    list(N::Topics, &[
        f(N::Topic, Kind::Str).entity(Entity::Topic),
        f(N::Partitions, Kind::List(&Kind::I32)),
    ]).nullable(),
];

pub(super) const DESCRIBE_LOG_DIRS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    f(N::ErrorCode, Kind::I16).since(3).ignorable(),
    list(N::Results, &[
        f(N::ErrorCode, Kind::I16),
        f(N::LogDir, Kind::Str),
        list(N::Topics, &[
            f(N::Name, Kind::Str).entity(Entity::Topic),
            list(N::Partitions, &[
                f(N::PartitionIndex, Kind::I32),
                f(N::PartitionSize, Kind::I64),
                f(N::OffsetLag, Kind::I64),
                f(N::IsFutureKey, Kind::Bool),
            ]),
        ]),
        f(N::TotalBytes, Kind::I64).since(4).default(-1).ignorable(),
        f(N::UsableBytes, Kind::I64).since(4).default(-1).ignorable(),
        f(N::IsCordoned, Kind::Bool).since(5).ignorable(),
    ]),
];

pub(super) const CREATE_PARTITIONS_REQUEST: &[Field] = &[
    list(N::Topics, &[
        f(N::Name, Kind::Str).entity(Entity::Topic),
        f(N::Count, Kind::I32),
        list(N::Assignments, &[
            f(N::BrokerIds, Kind::List(&Kind::I32)).entity(Entity::Broker),
        ]).nullable(),
    ]),
    f(N::TimeoutMs, Kind::I32),
    f(N::ValidateOnly, Kind::Bool),
];

pub(super) const CREATE_PARTITIONS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    list(N::Results, &[
        f(N::Name, Kind::Str).entity(Entity::Topic),
        f(N::ErrorCode, Kind::I16),
        f(N::ErrorMessage, Kind::Str).nullable().default_null(),
    ]),
];

pub(super) const ELECT_LEADERS_REQUEST: &[Field] = &[
    f(N::ElectionType, Kind::I8).since(1),
    list(N::TopicPartitions, &[
        f(N::Topic, Kind::Str).entity(Entity::Topic),
        f(N::Partitions, Kind::List(&Kind::I32)),
    ]).nullable(),
    f(N::TimeoutMs, Kind::I32).default(60000),
];

pub(super) const ELECT_LEADERS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    f(N::ErrorCode, Kind::I16).since(1),
    list(N::ReplicaElectionResults, &[
        f(N::Topic, Kind::Str).entity(Entity::Topic),
        list(N::PartitionResult, &[
            f(N::PartitionId, Kind::I32),
            f(N::ErrorCode, Kind::I16),
            f(N::ErrorMessage, Kind::Str).nullable(),
        ]),
    ]),
];

pub(super) const INCREMENTAL_ALTER_CONFIGS_REQUEST: &[Field] = &[
    list(N::Resources, &[
        f(N::ResourceType, Kind::I8),
        f(N::ResourceName, Kind::Str),
        list(N::Configs, &[
            f(N::Name, Kind::Str),
            f(N::ConfigOperation, Kind::I8),
            f(N::Value, Kind::Str).nullable(),
        ]),
    ]),
    f(N::ValidateOnly, Kind::Bool),
];

pub(super) const INCREMENTAL_ALTER_CONFIGS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    list(N::Responses, &[
        f(N::ErrorCode, Kind::I16),
        f(N::ErrorMessage, Kind::Str).nullable(),
        f(N::ResourceType, Kind::I8),
        f(N::ResourceName, Kind::Str),
    ]),
];

pub(super) const ALTER_PARTITION_REASSIGNMENTS_REQUEST: &[Field] = &[
    f(N::TimeoutMs, Kind::I32).default(60000),
    f(N::AllowReplicationFactorChange, Kind::Bool).since(1).default(1),
    list(N::Topics, &[
        f(N::Name, Kind::Str).entity(Entity::Topic),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::Replicas, Kind::List(&Kind::I32)).nullable().default_null().entity(Entity::Broker),
        ]),
    ]),
];

pub(super) const ALTER_PARTITION_REASSIGNMENTS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    f(N::AllowReplicationFactorChange, Kind::Bool).since(1).default(1).ignorable(),
    f(N::ErrorCode, Kind::I16),
    f(N::ErrorMessage, Kind::Str).nullable(),
    list(N::Responses, &[
        f(N::Name, Kind::Str).entity(Entity::Topic),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::ErrorCode, Kind::I16),
            f(N::ErrorMessage, Kind::Str).nullable(),
        ]),
    ]),
];

pub(super) const LIST_PARTITION_REASSIGNMENTS_REQUEST: &[Field] = &[
    f(N::TimeoutMs, Kind::I32).default(60000),
    list(N::Topics, &[
        f(N::Name, Kind::Str).entity(Entity::Topic),
        f(N::PartitionIndexes, Kind::List(&Kind::I32)),
    ]).nullable().default_null(),
];

pub(super) const LIST_PARTITION_REASSIGNMENTS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    f(N::ErrorCode, Kind::I16),
    f(N::ErrorMessage, Kind::Str).nullable(),
    list(N::Topics, &[
        f(N::Name, Kind::Str).entity(Entity::Topic),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::Replicas, Kind::List(&Kind::I32)).entity(Entity::Broker),
            f(N::AddingReplicas, Kind::List(&Kind::I32)).entity(Entity::Broker),
            f(N::RemovingReplicas, Kind::List(&Kind::I32)).entity(Entity::Broker),
        ]),
    ]),
];

pub(super) const DESCRIBE_CLIENT_QUOTAS_REQUEST: &[Field] = &[
    list(N::Components, &[
        f(N::EntityType, Kind::Str),
        f(N::MatchType, Kind::I8),
        f(N::Match, Kind::Str).nullable(),
    ]),
    f(N::Strict, Kind::Bool),
];

pub(super) const DESCRIBE_CLIENT_QUOTAS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    f(N::ErrorCode, Kind::I16),
    f(N::ErrorMessage, Kind::Str).nullable(),
    list(N::Entries, &[
        list(N::Entity, &[
            f(N::EntityType, Kind::Str),
            f(N::EntityName, Kind::Str).nullable(),
        ]),
        list(N::Values, &[
            f(N::Key, Kind::Str),
            f(N::Value, Kind::F64),
        ]),
    ]).nullable(),
];

pub(super) const ALTER_CLIENT_QUOTAS_REQUEST: &[Field] = &[
    list(N::Entries, &[
        list(N::Entity, &[
            f(N::EntityType, Kind::Str),
            f(N::EntityName, Kind::Str).nullable(),
        ]),
        list(N::Ops, &[
            f(N::Key, Kind::Str),
            f(N::Value, Kind::F64),
            f(N::Remove, Kind::Bool),
        ]),
    ]),
    f(N::ValidateOnly, Kind::Bool),
];

pub(super) const ALTER_CLIENT_QUOTAS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    list(N::Entries, &[
        f(N::ErrorCode, Kind::I16),
        f(N::ErrorMessage, Kind::Str).nullable(),
        list(N::Entity, &[
            f(N::EntityType, Kind::Str),
            f(N::EntityName, Kind::Str).nullable(),
        ]),
    ]),
];

pub(super) const LIST_CONFIG_RESOURCES_REQUEST: &[Field] = &[
    f(N::ResourceTypes, Kind::List(&Kind::I8)).since(1),
];

pub(super) const LIST_CONFIG_RESOURCES_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    f(N::ErrorCode, Kind::I16),
    list(N::ConfigResources, &[
        f(N::ResourceName, Kind::Str),
        f(N::ResourceType, Kind::I8).since(1).default(16).ignorable(),
    ]),
];
