//! Made by generate.py from the message definitions of Apache Kafka 4.4.0; not to be edited.

use super::N;
use crate::schema::{Entity, Field, Kind, f, list};

pub(super) const FIND_COORDINATOR_REQUEST: &[Field] = &[
    f(N::Key, Kind::Str).until(3),
    f(N::KeyType, Kind::I8).since(1),
    f(N::CoordinatorKeys, Kind::List(&Kind::Str)).since(4),
];

pub(super) const FIND_COORDINATOR_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32).since(1).ignorable(),
    f(N::ErrorCode, Kind::I16).until(3),
    f(N::ErrorMessage, Kind::Str).within(1, 3).nullable().ignorable(),
    f(N::NodeId, Kind::I32).until(3).entity(Entity::Broker),
    f(N::Host, Kind::Str).until(3),
    f(N::Port, Kind::I32).until(3),
    list(N::Coordinators, &[
        f(N::Key, Kind::Str),
        f(N::NodeId, Kind::I32).entity(Entity::Broker),
        f(N::Host, Kind::Str),
        f(N::Port, Kind::I32),
        f(N::ErrorCode, Kind::I16),
        f(N::ErrorMessage, Kind::Str).nullable().ignorable(),
    ]).since(4),
];

pub(super) const SASL_HANDSHAKE_REQUEST: &[Field] = &[
    f(N::Mechanism, Kind::Str),
];

pub(super) const SASL_HANDSHAKE_RESPONSE: &[Field] = &[
    f(N::ErrorCode, Kind::I16),
    f(N::Mechanisms, Kind::List(&Kind::Str)),
];

pub(super) const API_VERSIONS_REQUEST: &[Field] = &[
    f(N::ClientSoftwareName, Kind::Str).since(3).ignorable(),
    f(N::ClientSoftwareVersion, Kind::Str).since(3).ignorable(),
    f(N::ClusterId, Kind::Str).since(5).nullable().default_null().ignorable(),
    f(N::NodeId, Kind::I32).since(5).default(-1).ignorable(),
];

pub(super) const API_VERSIONS_RESPONSE: &[Field] = &[
    f(N::ErrorCode, Kind::I16),
    list(N::ApiKeys, &[
        f(N::ApiKey, Kind::I16),
        f(N::MinVersion, Kind::I16),
        f(N::MaxVersion, Kind::I16),
    ]),
    f(N::ThrottleTimeMs, Kind::I32).since(1).ignorable(),
    list(N::SupportedFeatures, &[
        f(N::Name, Kind::Str),
        f(N::MinVersion, Kind::I16),
        f(N::MaxVersion, Kind::I16),
    ]).since(3).tag(0).ignorable(),
    f(N::FinalizedFeaturesEpoch, Kind::I64).since(3).tag(1).default(-1).ignorable(),
    list(N::FinalizedFeatures, &[
        f(N::Name, Kind::Str),
        f(N::MaxVersionLevel, Kind::I16),
        f(N::MinVersionLevel, Kind::I16),
    ]).since(3).tag(2).ignorable(),
    f(N::ZkMigrationReady, Kind::Bool).since(3).tag(3).ignorable(),
];

pub(super) const SASL_AUTHENTICATE_REQUEST: &[Field] = &[
    f(N::AuthBytes, Kind::Bytes),
];

pub(super) const SASL_AUTHENTICATE_RESPONSE: &[Field] = &[
    f(N::ErrorCode, Kind::I16),
    f(N::ErrorMessage, Kind::Str).nullable(),
    f(N::AuthBytes, Kind::Bytes),
    f(N::SessionLifetimeMs, Kind::I64).since(1).ignorable(),
];

pub(super) const DESCRIBE_QUORUM_REQUEST: &[Field] = &[
    list(N::Topics, &[
        f(N::TopicName, Kind::Str).entity(Entity::Topic),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
        ]),
    ]),
];

pub(super) const DESCRIBE_QUORUM_RESPONSE: &[Field] = &[
    f(N::ErrorCode, Kind::I16),
    f(N::ErrorMessage, Kind::Str).since(2).nullable().ignorable(),
    list(N::Topics, &[
        f(N::TopicName, Kind::Str).entity(Entity::Topic),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::ErrorCode, Kind::I16),
            f(N::ErrorMessage, Kind::Str).since(2).nullable().ignorable(),
            f(N::LeaderId, Kind::I32).entity(Entity::Broker),
            f(N::LeaderEpoch, Kind::I32),
            f(N::HighWatermark, Kind::I64),
            list(N::CurrentVoters, &[
                f(N::ReplicaId, Kind::I32).entity(Entity::Broker),
                f(N::ReplicaDirectoryId, Kind::Uuid).since(2),
                f(N::LogEndOffset, Kind::I64),
                f(N::LastFetchTimestamp, Kind::I64).since(1).default(-1).ignorable(),
                f(N::LastCaughtUpTimestamp, Kind::I64).since(1).default(-1).ignorable(),
            ]),
            list(N::Observers, &[
                f(N::ReplicaId, Kind::I32).entity(Entity::Broker),
                f(N::ReplicaDirectoryId, Kind::Uuid).since(2),
                f(N::LogEndOffset, Kind::I64),
                f(N::LastFetchTimestamp, Kind::I64).since(1).default(-1).ignorable(),
                f(N::LastCaughtUpTimestamp, Kind::I64).since(1).default(-1).ignorable(),
            ]),
        ]),
    ]),
    list(N::Nodes, &[
        f(N::NodeId, Kind::I32).entity(Entity::Broker),
        list(N::Listeners, &[
            f(N::Name, Kind::Str),
            f(N::Host, Kind::Str),
            f(N::Port, Kind::U16),
        ]),
    ]).since(2),
];

pub(super) const DESCRIBE_CLUSTER_REQUEST: &[Field] = &[
    f(N::IncludeClusterAuthorizedOperations, Kind::Bool),
    f(N::EndpointType, Kind::I8).since(1).default(1),
    f(N::IncludeFencedBrokers, Kind::Bool).since(2),
];

pub(super) const DESCRIBE_CLUSTER_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    f(N::ErrorCode, Kind::I16),
    f(N::ErrorMessage, Kind::Str).nullable().default_null(),
    f(N::EndpointType, Kind::I8).since(1).default(1),
    f(N::ClusterId, Kind::Str),
    f(N::ControllerId, Kind::I32).default(-1).entity(Entity::Broker),
    list(N::Brokers, &[
        f(N::BrokerId, Kind::I32).entity(Entity::Broker),
        f(N::Host, Kind::Str),
        f(N::Port, Kind::I32),
        f(N::Rack, Kind::Str).nullable().default_null(),
        f(N::IsFenced, Kind::Bool).since(2),
    ]),
    f(N::ClusterAuthorizedOperations, Kind::I32).default(-2147483648),
];
