//! Made by generate.py from the message definitions of Apache Kafka 4.4.0; not to be edited.

use super::N;
use crate::schema::{Entity, Field, Kind, f, inner, list};

pub(super) const SHARE_GROUP_HEARTBEAT_REQUEST: &[Field] = &[
    f(N::GroupId, Kind::Str).entity(Entity::Group),
    f(N::MemberId, Kind::Str),
    f(N::MemberEpoch, Kind::I32),
    f(N::RackId, Kind::Str).nullable().default_null(),
    f(N::SubscribedTopicNames, Kind::List(&Kind::Str)).nullable().default_null().entity(Entity::Topic),
];

pub(super) const SHARE_GROUP_HEARTBEAT_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    f(N::ErrorCode, Kind::I16),
    f(N::ErrorMessage, Kind::Str).nullable().default_null(),
    f(N::MemberId, Kind::Str).nullable().default_null(),
    f(N::MemberEpoch, Kind::I32),
    f(N::HeartbeatIntervalMs, Kind::I32),
    inner(N::Assignment, &[
        list(N::TopicPartitions, &[
            f(N::TopicId, Kind::Uuid),
            f(N::Partitions, Kind::List(&Kind::I32)),
        ]),
    ]).nullable().default_null(),
];

pub(super) const SHARE_GROUP_DESCRIBE_REQUEST: &[Field] = &[
    f(N::GroupIds, Kind::List(&Kind::Str)).entity(Entity::Group),
    f(N::IncludeAuthorizedOperations, Kind::Bool),
];

pub(super) const SHARE_GROUP_DESCRIBE_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    list(N::Groups, &[
        f(N::ErrorCode, Kind::I16),
        f(N::ErrorMessage, Kind::Str).nullable().default_null(),
        f(N::GroupId, Kind::Str).entity(Entity::Group),
        f(N::GroupState, Kind::Str),
        f(N::GroupEpoch, Kind::I32),
        f(N::AssignmentEpoch, Kind::I32),
        f(N::AssignorName, Kind::Str),
        list(N::Members, &[
            f(N::MemberId, Kind::Str),
            f(N::RackId, Kind::Str).nullable().default_null(),
            f(N::MemberEpoch, Kind::I32),
            f(N::ClientId, Kind::Str),
            f(N::ClientHost, Kind::Str),
            f(N::SubscribedTopicNames, Kind::List(&Kind::Str)).entity(Entity::Topic),
            inner(N::Assignment, &[
                list(N::TopicPartitions, &[
                    f(N::TopicId, Kind::Uuid),
                    f(N::TopicName, Kind::Str).entity(Entity::Topic),
                    f(N::Partitions, Kind::List(&Kind::I32)),
                ]),
            ]),
        ]),
        f(N::AuthorizedOperations, Kind::I32).default(-2147483648),
    ]),
];

pub(super) const SHARE_FETCH_REQUEST: &[Field] = &[
    f(N::GroupId, Kind::Str).nullable().default_null().entity(Entity::Group),
    f(N::MemberId, Kind::Str).nullable(),
    f(N::ShareSessionEpoch, Kind::I32),
    f(N::MaxWaitMs, Kind::I32),
    f(N::MinBytes, Kind::I32),
    f(N::MaxBytes, Kind::I32).default(2147483647),
    f(N::MaxRecords, Kind::I32),
    f(N::BatchSize, Kind::I32),
    f(N::ShareAcquireMode, Kind::I8).since(2).ignorable(),
    f(N::IsRenewAck, Kind::Bool).since(2),
    list(N::Topics, &[
        f(N::TopicId, Kind::Uuid),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            list(N::AcknowledgementBatches, &[
                f(N::FirstOffset, Kind::I64),
                f(N::LastOffset, Kind::I64),
                f(N::AcknowledgeTypes, Kind::List(&Kind::I8)),
            ]),
        ]),
    ]),
    list(N::ForgottenTopicsData, &[
        f(N::TopicId, Kind::Uuid),
        f(N::Partitions, Kind::List(&Kind::I32)),
    ]),
];

pub(super) const SHARE_FETCH_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    f(N::ErrorCode, Kind::I16),
    f(N::ErrorMessage, Kind::Str).nullable().default_null(),
    f(N::AcquisitionLockTimeoutMs, Kind::I32),
    list(N::Responses, &[
        f(N::TopicId, Kind::Uuid),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::ErrorCode, Kind::I16),
            f(N::ErrorMessage, Kind::Str).nullable().default_null(),
            f(N::AcknowledgeErrorCode, Kind::I16),
            f(N::AcknowledgeErrorMessage, Kind::Str).nullable().default_null(),
            inner(N::CurrentLeader, &[
                f(N::LeaderId, Kind::I32),
                f(N::LeaderEpoch, Kind::I32),
            ]),
            f(N::Records, Kind::Records),
            list(N::AcquiredRecords, &[
                f(N::FirstOffset, Kind::I64),
                f(N::LastOffset, Kind::I64),
                f(N::DeliveryCount, Kind::I16),
            ]),
        ]),
    ]),
    list(N::NodeEndpoints, &[
        f(N::NodeId, Kind::I32).entity(Entity::Broker),
        f(N::Host, Kind::Str),
        f(N::Port, Kind::I32),
        f(N::Rack, Kind::Str).nullable().default_null(),
    ]),
];

pub(super) const SHARE_ACKNOWLEDGE_REQUEST: &[Field] = &[
    f(N::GroupId, Kind::Str).nullable().default_null().entity(Entity::Group),
    f(N::MemberId, Kind::Str).nullable(),
    f(N::ShareSessionEpoch, Kind::I32),
    f(N::IsRenewAck, Kind::Bool).since(2),
    list(N::Topics, &[
        f(N::TopicId, Kind::Uuid),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            list(N::AcknowledgementBatches, &[
                f(N::FirstOffset, Kind::I64),
                f(N::LastOffset, Kind::I64),
                f(N::AcknowledgeTypes, Kind::List(&Kind::I8)),
            ]),
        ]),
    ]),
];

pub(super) const SHARE_ACKNOWLEDGE_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    f(N::ErrorCode, Kind::I16),
    f(N::ErrorMessage, Kind::Str).nullable().default_null(),
    f(N::AcquisitionLockTimeoutMs, Kind::I32).since(2).ignorable(),
    list(N::Responses, &[
        f(N::TopicId, Kind::Uuid),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::ErrorCode, Kind::I16),
            f(N::ErrorMessage, Kind::Str).nullable().default_null(),
            inner(N::CurrentLeader, &[
                f(N::LeaderId, Kind::I32),
                f(N::LeaderEpoch, Kind::I32),
            ]),
        ]),
    ]),
    list(N::NodeEndpoints, &[
        f(N::NodeId, Kind::I32).entity(Entity::Broker),
        f(N::Host, Kind::Str),
        f(N::Port, Kind::I32),
        f(N::Rack, Kind::Str).nullable().default_null(),
    ]),
];

pub(super) const STREAMS_GROUP_HEARTBEAT_REQUEST: &[Field] = &[
    f(N::GroupId, Kind::Str).entity(Entity::Group),
    f(N::MemberId, Kind::Str),
    f(N::MemberEpoch, Kind::I32),
    f(N::EndpointInformationEpoch, Kind::I32),
    f(N::InstanceId, Kind::Str).nullable().default_null(),
    f(N::RackId, Kind::Str).nullable().default_null(),
    f(N::RebalanceTimeoutMs, Kind::I32).default(-1),
    inner(N::Topology, &[
        f(N::Epoch, Kind::I32),
        list(N::Subtopologies, &[
            f(N::SubtopologyId, Kind::Str),
            f(N::SourceTopics, Kind::List(&Kind::Str)).entity(Entity::Topic),
            f(N::SourceTopicRegex, Kind::List(&Kind::Str)),
            list(N::StateChangelogTopics, &[
                f(N::Name, Kind::Str).entity(Entity::Topic),
                f(N::Partitions, Kind::I32),
                f(N::ReplicationFactor, Kind::I16),
                list(N::TopicConfigs, &[
                    f(N::Key, Kind::Str),
                    f(N::Value, Kind::Str),
                ]),
            ]),
            f(N::RepartitionSinkTopics, Kind::List(&Kind::Str)).entity(Entity::Topic),
            list(N::RepartitionSourceTopics, &[
                f(N::Name, Kind::Str).entity(Entity::Topic),
                f(N::Partitions, Kind::I32),
                f(N::ReplicationFactor, Kind::I16),
                list(N::TopicConfigs, &[
                    f(N::Key, Kind::Str),
                    f(N::Value, Kind::Str),
                ]),
            ]),
            list(N::CopartitionGroups, &[
                f(N::SourceTopics, Kind::List(&Kind::I16)),
                f(N::SourceTopicRegex, Kind::List(&Kind::I16)),
                f(N::RepartitionSourceTopics, Kind::List(&Kind::I16)),
            ]),
        ]),
    ]).nullable().default_null(),
    list(N::ActiveTasks, &[
        f(N::SubtopologyId, Kind::Str),
        f(N::Partitions, Kind::List(&Kind::I32)),
    ]).nullable().default_null(),
    list(N::StandbyTasks, &[
        f(N::SubtopologyId, Kind::Str),
        f(N::Partitions, Kind::List(&Kind::I32)),
    ]).nullable().default_null(),
    list(N::WarmupTasks, &[
        f(N::SubtopologyId, Kind::Str),
        f(N::Partitions, Kind::List(&Kind::I32)),
    ]).nullable().default_null(),
    f(N::ProcessId, Kind::Str).nullable().default_null(),
    inner(N::UserEndpoint, &[
        f(N::Host, Kind::Str),
        f(N::Port, Kind::U16),
    ]).nullable().default_null(),
    list(N::ClientTags, &[
        f(N::Key, Kind::Str),
        f(N::Value, Kind::Str),
    ]).nullable().default_null(),
    list(N::TaskOffsets, &[
        f(N::SubtopologyId, Kind::Str),
        f(N::Partition, Kind::I32),
        f(N::Offset, Kind::I64),
    ]).nullable().default_null(),
    list(N::TaskEndOffsets, &[
        f(N::SubtopologyId, Kind::Str),
        f(N::Partition, Kind::I32),
        f(N::Offset, Kind::I64),
    ]).nullable().default_null(),
    f(N::ShutdownApplication, Kind::Bool),
];

pub(super) const STREAMS_GROUP_HEARTBEAT_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    f(N::ErrorCode, Kind::I16),
    f(N::ErrorMessage, Kind::Str).nullable().default_null(),
    f(N::MemberId, Kind::Str),
    f(N::MemberEpoch, Kind::I32),
    f(N::HeartbeatIntervalMs, Kind::I32),
    f(N::AcceptableRecoveryLagLegacy, Kind::I32).until(0),
    f(N::TaskOffsetIntervalMs, Kind::I32),
    f(N::AcceptableRecoveryLag, Kind::I64).since(1).default(-1).ignorable(),
    list(N::Status, &[
        f(N::StatusCode, Kind::I8),
        f(N::StatusDetail, Kind::Str),
    ]).nullable(),
    list(N::ActiveTasks, &[
        f(N::SubtopologyId, Kind::Str),
        f(N::Partitions, Kind::List(&Kind::I32)),
    ]).nullable().default_null(),
    list(N::StandbyTasks, &[
        f(N::SubtopologyId, Kind::Str),
        f(N::Partitions, Kind::List(&Kind::I32)),
    ]).nullable().default_null(),
    list(N::WarmupTasks, &[
        f(N::SubtopologyId, Kind::Str),
        f(N::Partitions, Kind::List(&Kind::I32)),
    ]).nullable().default_null(),
    f(N::TopologyDescriptionRequired, Kind::Bool).since(1),
    f(N::EndpointInformationEpoch, Kind::I32),
    list(N::PartitionsByUserEndpoint, &[
        inner(N::UserEndpoint, &[
            f(N::Host, Kind::Str),
            f(N::Port, Kind::U16),
        ]),
        list(N::ActivePartitions, &[
            f(N::Topic, Kind::Str).entity(Entity::Topic),
            f(N::Partitions, Kind::List(&Kind::I32)),
        ]),
        list(N::StandbyPartitions, &[
            f(N::Topic, Kind::Str).entity(Entity::Topic),
            f(N::Partitions, Kind::List(&Kind::I32)),
        ]),
    ]).nullable().default_null(),
];

pub(super) const STREAMS_GROUP_DESCRIBE_REQUEST: &[Field] = &[
    f(N::GroupIds, Kind::List(&Kind::Str)).entity(Entity::Group),
    f(N::IncludeAuthorizedOperations, Kind::Bool),
    f(N::IncludeTopologyDescription, Kind::Bool).since(1),
];

pub(super) const STREAMS_GROUP_DESCRIBE_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    list(N::Groups, &[
        f(N::ErrorCode, Kind::I16),
        f(N::ErrorMessage, Kind::Str).nullable().default_null(),
        f(N::GroupId, Kind::Str).entity(Entity::Group),
        f(N::GroupState, Kind::Str),
        f(N::GroupEpoch, Kind::I32),
        f(N::AssignmentEpoch, Kind::I32),
        inner(N::Topology, &[
            f(N::Epoch, Kind::I32),
            list(N::Subtopologies, &[
                f(N::SubtopologyId, Kind::Str),
                f(N::SourceTopics, Kind::List(&Kind::Str)).entity(Entity::Topic),
                f(N::RepartitionSinkTopics, Kind::List(&Kind::Str)).entity(Entity::Topic),
                list(N::StateChangelogTopics, &[
                    f(N::Name, Kind::Str).entity(Entity::Topic),
                    f(N::Partitions, Kind::I32),
                    f(N::ReplicationFactor, Kind::I16),
                    list(N::TopicConfigs, &[
                        f(N::Key, Kind::Str),
                        f(N::Value, Kind::Str),
                    ]),
                ]),
                list(N::RepartitionSourceTopics, &[
                    f(N::Name, Kind::Str).entity(Entity::Topic),
                    f(N::Partitions, Kind::I32),
                    f(N::ReplicationFactor, Kind::I16),
                    list(N::TopicConfigs, &[
                        f(N::Key, Kind::Str),
                        f(N::Value, Kind::Str),
                    ]),
                ]),
            ]).nullable().default_null(),
        ]).nullable().default_null(),
        list(N::Members, &[
            f(N::MemberId, Kind::Str),
            f(N::MemberEpoch, Kind::I32),
            f(N::InstanceId, Kind::Str).nullable().default_null(),
            f(N::RackId, Kind::Str).nullable().default_null(),
            f(N::ClientId, Kind::Str),
            f(N::ClientHost, Kind::Str),
            f(N::TopologyEpoch, Kind::I32),
            f(N::ProcessId, Kind::Str),
            inner(N::UserEndpoint, &[
                f(N::Host, Kind::Str),
                f(N::Port, Kind::U16),
            ]).nullable().default_null(),
            list(N::ClientTags, &[
                f(N::Key, Kind::Str),
                f(N::Value, Kind::Str),
            ]),
            list(N::TaskOffsets, &[
                f(N::SubtopologyId, Kind::Str),
                f(N::Partition, Kind::I32),
                f(N::Offset, Kind::I64),
            ]),
            list(N::TaskEndOffsets, &[
                f(N::SubtopologyId, Kind::Str),
                f(N::Partition, Kind::I32),
                f(N::Offset, Kind::I64),
            ]),
            inner(N::Assignment, &[
                list(N::ActiveTasks, &[
                    f(N::SubtopologyId, Kind::Str),
                    f(N::Partitions, Kind::List(&Kind::I32)),
                ]),
                list(N::StandbyTasks, &[
                    f(N::SubtopologyId, Kind::Str),
                    f(N::Partitions, Kind::List(&Kind::I32)),
                ]),
                list(N::WarmupTasks, &[
                    f(N::SubtopologyId, Kind::Str),
                    f(N::Partitions, Kind::List(&Kind::I32)),
                ]),
            ]),
            inner(N::TargetAssignment, &[
                list(N::ActiveTasks, &[
                    f(N::SubtopologyId, Kind::Str),
                    f(N::Partitions, Kind::List(&Kind::I32)),
                ]),
                list(N::StandbyTasks, &[
                    f(N::SubtopologyId, Kind::Str),
                    f(N::Partitions, Kind::List(&Kind::I32)),
                ]),
                list(N::WarmupTasks, &[
                    f(N::SubtopologyId, Kind::Str),
                    f(N::Partitions, Kind::List(&Kind::I32)),
                ]),
            ]),
            f(N::IsClassic, Kind::Bool),
        ]),
        f(N::AuthorizedOperations, Kind::I32).default(-2147483648),
        inner(N::TopologyDescription, &[
            list(N::Subtopologies, &[
                f(N::SubtopologyId, Kind::Str),
                list(N::Nodes, &[
                    f(N::Name, Kind::Str),
                    f(N::NodeType, Kind::I8),
                    f(N::SourceTopics, Kind::List(&Kind::Str)).entity(Entity::Topic),
                    f(N::SinkTopic, Kind::Str).nullable().default_null().entity(Entity::Topic),
                    f(N::Stores, Kind::List(&Kind::Str)),
                    f(N::Successors, Kind::List(&Kind::Str)),
                ]),
            ]),
            list(N::GlobalStores, &[
                inner(N::Source, &[
                    f(N::Name, Kind::Str),
                    f(N::NodeType, Kind::I8),
                    f(N::SourceTopics, Kind::List(&Kind::Str)).entity(Entity::Topic),
                    f(N::SinkTopic, Kind::Str).nullable().default_null().entity(Entity::Topic),
                    f(N::Stores, Kind::List(&Kind::Str)),
                    f(N::Successors, Kind::List(&Kind::Str)),
                ]),
                inner(N::Processor, &[
                    f(N::Name, Kind::Str),
                    f(N::NodeType, Kind::I8),
                    f(N::SourceTopics, Kind::List(&Kind::Str)).entity(Entity::Topic),
                    f(N::SinkTopic, Kind::Str).nullable().default_null().entity(Entity::Topic),
                    f(N::Stores, Kind::List(&Kind::Str)),
                    f(N::Successors, Kind::List(&Kind::Str)),
                ]),
            ]),
        ]).since(1).nullable().default_null(),
        f(N::TopologyDescriptionStatus, Kind::I8).since(1),
        f(N::AssignorName, Kind::Str).since(1).nullable().default_null().ignorable(),
    ]),
];

pub(super) const DESCRIBE_SHARE_GROUP_OFFSETS_REQUEST: &[Field] = &[
    list(N::Groups, &[
        f(N::GroupId, Kind::Str).entity(Entity::Group),
        list(N::Topics, &[
            f(N::TopicName, Kind::Str).entity(Entity::Topic),
            f(N::Partitions, Kind::List(&Kind::I32)),
        ]).nullable(),
    ]),
];

pub(super) const DESCRIBE_SHARE_GROUP_OFFSETS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    list(N::Groups, &[
        f(N::GroupId, Kind::Str).entity(Entity::Group),
        list(N::Topics, &[
            f(N::TopicName, Kind::Str).entity(Entity::Topic),
            f(N::TopicId, Kind::Uuid),
            list(N::Partitions, &[
                f(N::PartitionIndex, Kind::I32),
                f(N::StartOffset, Kind::I64),
                f(N::LeaderEpoch, Kind::I32),
                f(N::Lag, Kind::I64).since(1).default(-1).ignorable(),
                f(N::ErrorCode, Kind::I16),
                f(N::ErrorMessage, Kind::Str).nullable().default_null(),
            ]),
        ]),
        f(N::ErrorCode, Kind::I16),
        f(N::ErrorMessage, Kind::Str).nullable().default_null(),
    ]),
];

pub(super) const ALTER_SHARE_GROUP_OFFSETS_REQUEST: &[Field] = &[
    f(N::GroupId, Kind::Str).entity(Entity::Group),
    list(N::Topics, &[
        f(N::TopicName, Kind::Str).entity(Entity::Topic),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::StartOffset, Kind::I64),
        ]),
    ]),
];

pub(super) const ALTER_SHARE_GROUP_OFFSETS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    f(N::ErrorCode, Kind::I16),
    f(N::ErrorMessage, Kind::Str).nullable().default_null(),
    list(N::Responses, &[
        f(N::TopicName, Kind::Str).entity(Entity::Topic),
        f(N::TopicId, Kind::Uuid),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::ErrorCode, Kind::I16),
            f(N::ErrorMessage, Kind::Str).nullable().default_null(),
        ]),
    ]),
];

pub(super) const DELETE_SHARE_GROUP_OFFSETS_REQUEST: &[Field] = &[
    f(N::GroupId, Kind::Str).entity(Entity::Group),
    list(N::Topics, &[
        f(N::TopicName, Kind::Str).entity(Entity::Topic),
    ]),
];

pub(super) const DELETE_SHARE_GROUP_OFFSETS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    f(N::ErrorCode, Kind::I16),
    f(N::ErrorMessage, Kind::Str).nullable().default_null(),
    list(N::Responses, &[
        f(N::TopicName, Kind::Str).entity(Entity::Topic),
        f(N::TopicId, Kind::Uuid),
        f(N::ErrorCode, Kind::I16),
        f(N::ErrorMessage, Kind::Str).nullable().default_null(),
    ]),
];

pub(super) const STREAMS_GROUP_TOPOLOGY_DESCRIPTION_UPDATE_REQUEST: &[Field] = &[
    f(N::GroupId, Kind::Str).entity(Entity::Group),
    f(N::MemberId, Kind::Str),
    f(N::TopologyEpoch, Kind::I32),
    inner(N::TopologyDescription, &[
        list(N::Subtopologies, &[
            f(N::SubtopologyId, Kind::Str),
            list(N::Nodes, &[
                f(N::Name, Kind::Str),
                f(N::NodeType, Kind::I8),
                f(N::SourceTopics, Kind::List(&Kind::Str)).entity(Entity::Topic),
                f(N::SinkTopic, Kind::Str).nullable().default_null().entity(Entity::Topic),
                f(N::Stores, Kind::List(&Kind::Str)),
                f(N::Successors, Kind::List(&Kind::Str)),
            ]),
        ]),
        list(N::GlobalStores, &[
            inner(N::Source, &[
                f(N::Name, Kind::Str),
                f(N::NodeType, Kind::I8),
                f(N::SourceTopics, Kind::List(&Kind::Str)).entity(Entity::Topic),
                f(N::SinkTopic, Kind::Str).nullable().default_null().entity(Entity::Topic),
                f(N::Stores, Kind::List(&Kind::Str)),
                f(N::Successors, Kind::List(&Kind::Str)),
            ]),
            inner(N::Processor, &[
                f(N::Name, Kind::Str),
                f(N::NodeType, Kind::I8),
                f(N::SourceTopics, Kind::List(&Kind::Str)).entity(Entity::Topic),
                f(N::SinkTopic, Kind::Str).nullable().default_null().entity(Entity::Topic),
                f(N::Stores, Kind::List(&Kind::Str)),
                f(N::Successors, Kind::List(&Kind::Str)),
            ]),
        ]),
    ]),
];

pub(super) const STREAMS_GROUP_TOPOLOGY_DESCRIPTION_UPDATE_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    f(N::ErrorCode, Kind::I16),
    f(N::ErrorMessage, Kind::Str).nullable().default_null(),
];
