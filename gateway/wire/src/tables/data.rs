//! Made by generate.py from the message definitions of Apache Kafka 4.4.0; not to be edited.

use super::N;
use crate::schema::{Entity, Field, Kind, f, inner, list};

pub(super) const PRODUCE_REQUEST: &[Field] = &[
    f(N::TransactionalId, Kind::Str).nullable().default_null().entity(Entity::Transaction),
    f(N::Acks, Kind::I16),
    f(N::TimeoutMs, Kind::I32),
    list(N::TopicData, &[
        f(N::Name, Kind::Str).until(12).ignorable().entity(Entity::Topic),
        f(N::TopicId, Kind::Uuid).since(13).ignorable(),
        list(N::PartitionData, &[
            f(N::Index, Kind::I32),
            f(N::Records, Kind::Records).nullable(),
        ]),
    ]),
];

pub(super) const PRODUCE_RESPONSE: &[Field] = &[
    list(N::Responses, &[
        f(N::Name, Kind::Str).until(12).ignorable().entity(Entity::Topic),
        f(N::TopicId, Kind::Uuid).since(13).ignorable(),
        list(N::PartitionResponses, &[
            f(N::Index, Kind::I32),
            f(N::ErrorCode, Kind::I16),
            f(N::BaseOffset, Kind::I64),
            f(N::LogAppendTimeMs, Kind::I64).default(-1).ignorable(),
            f(N::LogStartOffset, Kind::I64).since(5).default(-1).ignorable(),
            list(N::RecordErrors, &[
                f(N::BatchIndex, Kind::I32),
                f(N::BatchIndexErrorMessage, Kind::Str).nullable().default_null(),
            ]).since(8).ignorable(),
            f(N::ErrorMessage, Kind::Str).since(8).nullable().default_null().ignorable(),
            inner(N::CurrentLeader, &[
                f(N::LeaderId, Kind::I32).default(-1).entity(Entity::Broker),
                f(N::LeaderEpoch, Kind::I32).default(-1),
            ]).since(10).tag(0),
        ]),
    ]),
    f(N::ThrottleTimeMs, Kind::I32).ignorable(),
    list(N::NodeEndpoints, &[
        f(N::NodeId, Kind::I32).entity(Entity::Broker),
        f(N::Host, Kind::Str),
        f(N::Port, Kind::I32),
        f(N::Rack, Kind::Str).nullable().default_null(),
    ]).since(10).tag(0),
];

pub(super) const FETCH_REQUEST: &[Field] = &[
    f(N::ClusterId, Kind::Str).since(12).nullable().tag(0).default_null().ignorable(),
    f(N::ReplicaId, Kind::I32).until(14).default(-1).entity(Entity::Broker),
    inner(N::ReplicaState, &[
        f(N::ReplicaId, Kind::I32).default(-1).entity(Entity::Broker),
        f(N::ReplicaEpoch, Kind::I64).default(-1),
    ]).since(15).tag(1),
    f(N::MaxWaitMs, Kind::I32),
    f(N::MinBytes, Kind::I32),
    f(N::MaxBytes, Kind::I32).default(2147483647).ignorable(),
    f(N::IsolationLevel, Kind::I8).ignorable(),
    f(N::SessionId, Kind::I32).since(7).ignorable(),
    f(N::SessionEpoch, Kind::I32).since(7).default(-1).ignorable(),
    list(N::Topics, &[
        f(N::Topic, Kind::Str).until(12).ignorable().entity(Entity::Topic),
        f(N::TopicId, Kind::Uuid).since(13).ignorable(),
        list(N::Partitions, &[
            f(N::Partition, Kind::I32),
            f(N::CurrentLeaderEpoch, Kind::I32).since(9).default(-1).ignorable(),
            f(N::FetchOffset, Kind::I64),
            f(N::LastFetchedEpoch, Kind::I32).since(12).default(-1),
            f(N::LogStartOffset, Kind::I64).since(5).default(-1).ignorable(),
            f(N::PartitionMaxBytes, Kind::I32),
            f(N::ReplicaDirectoryId, Kind::Uuid).since(17).tag(0).ignorable(),
            f(N::HighWatermark, Kind::I64).since(18).tag(1).default(9223372036854775807).ignorable(),
        ]),
    ]),
    list(N::ForgottenTopicsData, &[
        f(N::Topic, Kind::Str).until(12).ignorable().entity(Entity::Topic),
        f(N::TopicId, Kind::Uuid).since(13).ignorable(),
        f(N::Partitions, Kind::List(&Kind::I32)),
    ]).since(7),
    f(N::RackId, Kind::Str).since(11).ignorable(),
];

pub(super) const FETCH_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32).ignorable(),
    f(N::ErrorCode, Kind::I16).since(7).ignorable(),
    f(N::SessionId, Kind::I32).since(7),
    list(N::Responses, &[
        f(N::Topic, Kind::Str).until(12).ignorable().entity(Entity::Topic),
        f(N::TopicId, Kind::Uuid).since(13).ignorable(),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::ErrorCode, Kind::I16),
            f(N::HighWatermark, Kind::I64),
            f(N::LastStableOffset, Kind::I64).default(-1).ignorable(),
            f(N::LogStartOffset, Kind::I64).since(5).default(-1).ignorable(),
            inner(N::DivergingEpoch, &[
                f(N::Epoch, Kind::I32).default(-1),
                f(N::EndOffset, Kind::I64).default(-1),
            ]).since(12).tag(0),
            inner(N::CurrentLeader, &[
                f(N::LeaderId, Kind::I32).default(-1).entity(Entity::Broker),
                f(N::LeaderEpoch, Kind::I32).default(-1),
            ]).since(12).tag(1),
            inner(N::SnapshotId, &[
                f(N::EndOffset, Kind::I64).default(-1),
                f(N::Epoch, Kind::I32).default(-1),
            ]).since(12).tag(2),
            list(N::AbortedTransactions, &[
                f(N::ProducerId, Kind::I64).entity(Entity::Producer),
                f(N::FirstOffset, Kind::I64),
            ]).nullable().ignorable(),
            f(N::PreferredReadReplica, Kind::I32).since(11).default(-1).entity(Entity::Broker),
            f(N::Records, Kind::Records).nullable(),
        ]),
    ]),
    list(N::NodeEndpoints, &[
        f(N::NodeId, Kind::I32).entity(Entity::Broker),
        f(N::Host, Kind::Str),
        f(N::Port, Kind::I32),
        f(N::Rack, Kind::Str).nullable().default_null(),
    ]).since(16).tag(0),
];

pub(super) const LIST_OFFSETS_REQUEST: &[Field] = &[
    f(N::ReplicaId, Kind::I32).entity(Entity::Broker),
    f(N::IsolationLevel, Kind::I8).since(2),
    list(N::Topics, &[
        f(N::Name, Kind::Str).entity(Entity::Topic),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::CurrentLeaderEpoch, Kind::I32).since(4).default(-1).ignorable(),
            f(N::Timestamp, Kind::I64),
        ]),
    ]),
    f(N::TimeoutMs, Kind::I32).since(10).ignorable(),
];

pub(super) const LIST_OFFSETS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32).since(2).ignorable(),
    list(N::Topics, &[
        f(N::Name, Kind::Str).entity(Entity::Topic),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::ErrorCode, Kind::I16),
            f(N::Timestamp, Kind::I64).default(-1),
            f(N::Offset, Kind::I64).default(-1),
            f(N::LeaderEpoch, Kind::I32).since(4).default(-1),
        ]),
    ]),
];

pub(super) const METADATA_REQUEST: &[Field] = &[
    list(N::Topics, &[
        f(N::TopicId, Kind::Uuid).since(10).ignorable(),
        f(N::Name, Kind::Str).nullable_since(10).entity(Entity::Topic),
    ]).nullable_since(1),
    f(N::AllowAutoTopicCreation, Kind::Bool).since(4).default(1),
    f(N::IncludeClusterAuthorizedOperations, Kind::Bool).within(8, 10),
    f(N::IncludeTopicAuthorizedOperations, Kind::Bool).since(8),
];

pub(super) const METADATA_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32).since(3).ignorable(),
    list(N::Brokers, &[
        f(N::NodeId, Kind::I32).entity(Entity::Broker),
        f(N::Host, Kind::Str),
        f(N::Port, Kind::I32),
        f(N::Rack, Kind::Str).since(1).nullable().default_null().ignorable(),
    ]),
    f(N::ClusterId, Kind::Str).since(2).nullable().default_null().ignorable(),
    f(N::ControllerId, Kind::I32).since(1).default(-1).ignorable().entity(Entity::Broker),
    list(N::Topics, &[
        f(N::ErrorCode, Kind::I16),
        f(N::Name, Kind::Str).nullable_since(12).entity(Entity::Topic),
        f(N::TopicId, Kind::Uuid).since(10).ignorable(),
        f(N::IsInternal, Kind::Bool).since(1).ignorable(),
        list(N::Partitions, &[
            f(N::ErrorCode, Kind::I16),
            f(N::PartitionIndex, Kind::I32),
            f(N::LeaderId, Kind::I32).entity(Entity::Broker),
            f(N::LeaderEpoch, Kind::I32).since(7).default(-1).ignorable(),
            f(N::ReplicaNodes, Kind::List(&Kind::I32)).entity(Entity::Broker),
            f(N::IsrNodes, Kind::List(&Kind::I32)).entity(Entity::Broker),
            f(N::OfflineReplicas, Kind::List(&Kind::I32)).since(5).ignorable().entity(Entity::Broker),
        ]),
        f(N::TopicAuthorizedOperations, Kind::I32).since(8).default(-2147483648),
    ]),
    f(N::ClusterAuthorizedOperations, Kind::I32).within(8, 10).default(-2147483648),
    f(N::ErrorCode, Kind::I16).since(13).ignorable(),
];

pub(super) const DELETE_RECORDS_REQUEST: &[Field] = &[
    list(N::Topics, &[
        f(N::Name, Kind::Str).entity(Entity::Topic),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::Offset, Kind::I64),
        ]),
    ]),
    f(N::TimeoutMs, Kind::I32),
];

pub(super) const DELETE_RECORDS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    list(N::Topics, &[
        f(N::Name, Kind::Str).entity(Entity::Topic),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::LowWatermark, Kind::I64),
            f(N::ErrorCode, Kind::I16),
        ]),
    ]),
];

pub(super) const OFFSET_FOR_LEADER_EPOCH_REQUEST: &[Field] = &[
    f(N::ReplicaId, Kind::I32).since(3).default(-2).ignorable().entity(Entity::Broker),
    list(N::Topics, &[
        f(N::Topic, Kind::Str).entity(Entity::Topic),
        list(N::Partitions, &[
            f(N::Partition, Kind::I32),
            f(N::CurrentLeaderEpoch, Kind::I32).default(-1).ignorable(),
            f(N::LeaderEpoch, Kind::I32),
        ]),
    ]),
];

pub(super) const OFFSET_FOR_LEADER_EPOCH_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32).ignorable(),
    list(N::Topics, &[
        f(N::Topic, Kind::Str).entity(Entity::Topic),
        list(N::Partitions, &[
            f(N::ErrorCode, Kind::I16),
            f(N::Partition, Kind::I32),
            f(N::LeaderEpoch, Kind::I32).default(-1).ignorable(),
            f(N::EndOffset, Kind::I64).default(-1),
        ]),
    ]),
];

pub(super) const DESCRIBE_TOPIC_PARTITIONS_REQUEST: &[Field] = &[
    list(N::Topics, &[
        f(N::Name, Kind::Str).entity(Entity::Topic),
    ]),
    f(N::ResponsePartitionLimit, Kind::I32).default(2000),
    inner(N::Cursor, &[
        f(N::TopicName, Kind::Str).entity(Entity::Topic),
        f(N::PartitionIndex, Kind::I32),
    ]).nullable().default_null(),
];

pub(super) const DESCRIBE_TOPIC_PARTITIONS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32).ignorable(),
    list(N::Topics, &[
        f(N::ErrorCode, Kind::I16),
        f(N::Name, Kind::Str).nullable().entity(Entity::Topic),
        f(N::TopicId, Kind::Uuid).ignorable(),
        f(N::IsInternal, Kind::Bool).ignorable(),
        list(N::Partitions, &[
            f(N::ErrorCode, Kind::I16),
            f(N::PartitionIndex, Kind::I32),
            f(N::LeaderId, Kind::I32).entity(Entity::Broker),
            f(N::LeaderEpoch, Kind::I32).default(-1).ignorable(),
            f(N::ReplicaNodes, Kind::List(&Kind::I32)).entity(Entity::Broker),
            f(N::IsrNodes, Kind::List(&Kind::I32)).entity(Entity::Broker),
            f(N::EligibleLeaderReplicas, Kind::List(&Kind::I32)).nullable().default_null().entity(Entity::Broker),
            f(N::LastKnownElr, Kind::List(&Kind::I32)).nullable().default_null().entity(Entity::Broker),
            f(N::OfflineReplicas, Kind::List(&Kind::I32)).ignorable().entity(Entity::Broker),
        ]),
        f(N::TopicAuthorizedOperations, Kind::I32).default(-2147483648),
    ]),
    inner(N::NextCursor, &[
        f(N::TopicName, Kind::Str).entity(Entity::Topic),
        f(N::PartitionIndex, Kind::I32),
    ]).nullable().default_null(),
];
