//! Made by generate.py from the message definitions of Apache Kafka 4.4.0; not to be edited.

use super::N;
use crate::schema::{Entity, Field, Kind, f, inner, list};

pub(super) const OFFSET_COMMIT_REQUEST: &[Field] = &[
    f(N::GroupId, Kind::Str).entity(Entity::Group),
    f(N::GenerationIdOrMemberEpoch, Kind::I32).default(-1).ignorable(),
    f(N::MemberId, Kind::Str).ignorable(),
    f(N::GroupInstanceId, Kind::Str).since(7).nullable().default_null(),
    f(N::RetentionTimeMs, Kind::I64).until(4).default(-1).ignorable(),
    list(N::Topics, &[
        f(N::Name, Kind::Str).until(9).ignorable().entity(Entity::Topic),
        f(N::TopicId, Kind::Uuid).since(10).ignorable(),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::CommittedOffset, Kind::I64),
            f(N::CommittedLeaderEpoch, Kind::I32).since(6).default(-1).ignorable(),
            f(N::CommittedMetadata, Kind::Str).nullable(),
        ]),
    ]),
];

pub(super) const OFFSET_COMMIT_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32).since(3).ignorable(),
    list(N::Topics, &[
        f(N::Name, Kind::Str).until(9).ignorable().entity(Entity::Topic),
        f(N::TopicId, Kind::Uuid).since(10).ignorable(),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::ErrorCode, Kind::I16),
        ]),
    ]),
];

pub(super) const OFFSET_FETCH_REQUEST: &[Field] = &[
    f(N::GroupId, Kind::Str).until(7).entity(Entity::Group),
    list(N::Topics, &[
        f(N::Name, Kind::Str).entity(Entity::Topic),
        f(N::PartitionIndexes, Kind::List(&Kind::I32)),
    ]).until(7).nullable_since(2),
    list(N::Groups, &[
        f(N::GroupId, Kind::Str).entity(Entity::Group),
        f(N::MemberId, Kind::Str).since(9).nullable().default_null().ignorable(),
        f(N::MemberEpoch, Kind::I32).since(9).default(-1).ignorable(),
        list(N::Topics, &[
            f(N::Name, Kind::Str).until(9).ignorable().entity(Entity::Topic),
            f(N::TopicId, Kind::Uuid).since(10).ignorable(),
            f(N::PartitionIndexes, Kind::List(&Kind::I32)),
        ]).nullable(),
    ]).since(8),
    f(N::RequireStable, Kind::Bool).since(7),
];

pub(super) const OFFSET_FETCH_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32).since(3).ignorable(),
    list(N::Topics, &[
        f(N::Name, Kind::Str).entity(Entity::Topic),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::CommittedOffset, Kind::I64),
            f(N::CommittedLeaderEpoch, Kind::I32).since(5).default(-1).ignorable(),
            f(N::Metadata, Kind::Str).nullable(),
            f(N::ErrorCode, Kind::I16),
        ]),
    ]).until(7),
    f(N::ErrorCode, Kind::I16).within(2, 7).ignorable(),
    list(N::Groups, &[
        f(N::GroupId, Kind::Str).entity(Entity::Group),
        list(N::Topics, &[
            f(N::Name, Kind::Str).until(9).ignorable().entity(Entity::Topic),
            f(N::TopicId, Kind::Uuid).since(10).ignorable(),
            list(N::Partitions, &[
                f(N::PartitionIndex, Kind::I32),
                f(N::CommittedOffset, Kind::I64),
                f(N::CommittedLeaderEpoch, Kind::I32).default(-1).ignorable(),
                f(N::Metadata, Kind::Str).nullable(),
                f(N::ErrorCode, Kind::I16),
            ]),
        ]),
        f(N::ErrorCode, Kind::I16),
    ]).since(8),
];

pub(super) const JOIN_GROUP_REQUEST: &[Field] = &[
    f(N::GroupId, Kind::Str).entity(Entity::Group),
    f(N::SessionTimeoutMs, Kind::I32),
    f(N::RebalanceTimeoutMs, Kind::I32).since(1).default(-1).ignorable(),
    f(N::MemberId, Kind::Str),
    f(N::GroupInstanceId, Kind::Str).since(5).nullable().default_null(),
    f(N::ProtocolType, Kind::Str),
    list(N::Protocols, &[
        f(N::Name, Kind::Str),
        f(N::Metadata, Kind::Bytes),
    ]),
    f(N::Reason, Kind::Str).since(8).nullable().default_null().ignorable(),
];

pub(super) const JOIN_GROUP_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32).since(2).ignorable(),
    f(N::ErrorCode, Kind::I16),
    f(N::GenerationId, Kind::I32).default(-1),
    f(N::ProtocolType, Kind::Str).since(7).nullable().default_null().ignorable(),
    f(N::ProtocolName, Kind::Str).nullable_since(7),
    f(N::Leader, Kind::Str),
    f(N::SkipAssignment, Kind::Bool).since(9),
    f(N::MemberId, Kind::Str),
    list(N::Members, &[
        f(N::MemberId, Kind::Str),
        f(N::GroupInstanceId, Kind::Str).since(5).nullable().default_null().ignorable(),
        f(N::Metadata, Kind::Bytes),
    ]),
];

pub(super) const HEARTBEAT_REQUEST: &[Field] = &[
    f(N::GroupId, Kind::Str).entity(Entity::Group),
    f(N::GenerationId, Kind::I32),
    f(N::MemberId, Kind::Str),
    f(N::GroupInstanceId, Kind::Str).since(3).nullable().default_null(),
];

pub(super) const HEARTBEAT_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32).since(1).ignorable(),
    f(N::ErrorCode, Kind::I16),
];

pub(super) const LEAVE_GROUP_REQUEST: &[Field] = &[
    f(N::GroupId, Kind::Str).entity(Entity::Group),
    f(N::MemberId, Kind::Str).until(2),
    list(N::Members, &[
        f(N::MemberId, Kind::Str),
        f(N::GroupInstanceId, Kind::Str).nullable().default_null(),
        f(N::Reason, Kind::Str).since(5).nullable().default_null().ignorable(),
    ]).since(3),
];

pub(super) const LEAVE_GROUP_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32).since(1).ignorable(),
    f(N::ErrorCode, Kind::I16),
    list(N::Members, &[
        f(N::MemberId, Kind::Str),
        f(N::GroupInstanceId, Kind::Str).nullable(),
        f(N::ErrorCode, Kind::I16),
    ]).since(3),
];

pub(super) const SYNC_GROUP_REQUEST: &[Field] = &[
    f(N::GroupId, Kind::Str).entity(Entity::Group),
    f(N::GenerationId, Kind::I32),
    f(N::MemberId, Kind::Str),
    f(N::GroupInstanceId, Kind::Str).since(3).nullable().default_null(),
    f(N::ProtocolType, Kind::Str).since(5).nullable().default_null().ignorable(),
    f(N::ProtocolName, Kind::Str).since(5).nullable().default_null().ignorable(),
    list(N::Assignments, &[
        f(N::MemberId, Kind::Str),
        f(N::Assignment, Kind::Bytes),
    ]),
];

pub(super) const SYNC_GROUP_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32).since(1).ignorable(),
    f(N::ErrorCode, Kind::I16),
    f(N::ProtocolType, Kind::Str).since(5).nullable().default_null().ignorable(),
    f(N::ProtocolName, Kind::Str).since(5).nullable().default_null().ignorable(),
    f(N::Assignment, Kind::Bytes),
];

pub(super) const DESCRIBE_GROUPS_REQUEST: &[Field] = &[
    f(N::Groups, Kind::List(&Kind::Str)).entity(Entity::Group),
    f(N::IncludeAuthorizedOperations, Kind::Bool).since(3),
];

pub(super) const DESCRIBE_GROUPS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32).since(1).ignorable(),
    list(N::Groups, &[
        f(N::ErrorCode, Kind::I16),
        f(N::ErrorMessage, Kind::Str).since(6).nullable().default_null(),
        f(N::GroupId, Kind::Str).entity(Entity::Group),
        f(N::GroupState, Kind::Str),
        f(N::ProtocolType, Kind::Str),
        f(N::ProtocolData, Kind::Str),
        list(N::Members, &[
            f(N::MemberId, Kind::Str),
            f(N::GroupInstanceId, Kind::Str).since(4).nullable().default_null().ignorable(),
            f(N::ClientId, Kind::Str),
            f(N::ClientHost, Kind::Str),
            f(N::MemberMetadata, Kind::Bytes),
            f(N::MemberAssignment, Kind::Bytes),
        ]),
        f(N::AuthorizedOperations, Kind::I32).since(3).default(-2147483648),
    ]),
];

pub(super) const LIST_GROUPS_REQUEST: &[Field] = &[
    f(N::StatesFilter, Kind::List(&Kind::Str)).since(4),
    f(N::TypesFilter, Kind::List(&Kind::Str)).since(5),
];

pub(super) const LIST_GROUPS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32).since(1).ignorable(),
    f(N::ErrorCode, Kind::I16),
    list(N::Groups, &[
        f(N::GroupId, Kind::Str).entity(Entity::Group),
        f(N::ProtocolType, Kind::Str),
        f(N::GroupState, Kind::Str).since(4).ignorable(),
        f(N::GroupType, Kind::Str).since(5).ignorable(),
    ]),
];

pub(super) const DELETE_GROUPS_REQUEST: &[Field] = &[
    f(N::GroupsNames, Kind::List(&Kind::Str)).entity(Entity::Group),
];

pub(super) const DELETE_GROUPS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    list(N::Results, &[
        f(N::GroupId, Kind::Str).entity(Entity::Group),
        f(N::ErrorCode, Kind::I16),
        f(N::ErrorMessage, Kind::Str).since(3).nullable().default_null().ignorable(),
    ]),
];

pub(super) const OFFSET_DELETE_REQUEST: &[Field] = &[
    f(N::GroupId, Kind::Str).entity(Entity::Group),
    list(N::Topics, &[
        f(N::Name, Kind::Str).entity(Entity::Topic),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
        ]),
    ]),
];

pub(super) const OFFSET_DELETE_RESPONSE: &[Field] = &[
    f(N::ErrorCode, Kind::I16),
    f(N::ThrottleTimeMs, Kind::I32).ignorable(),
    list(N::Topics, &[
        f(N::Name, Kind::Str).entity(Entity::Topic),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::ErrorCode, Kind::I16),
        ]),
    ]),
];

pub(super) const CONSUMER_GROUP_HEARTBEAT_REQUEST: &[Field] = &[
    f(N::GroupId, Kind::Str).entity(Entity::Group),
    f(N::MemberId, Kind::Str),
    f(N::MemberEpoch, Kind::I32),
    f(N::InstanceId, Kind::Str).nullable().default_null(),
    f(N::RackId, Kind::Str).nullable().default_null(),
    f(N::RebalanceTimeoutMs, Kind::I32).default(-1),
    f(N::SubscribedTopicNames, Kind::List(&Kind::Str)).nullable().default_null().entity(Entity::Topic),
    f(N::SubscribedTopicRegex, Kind::Str).since(1).nullable().default_null(),
    f(N::ServerAssignor, Kind::Str).nullable().default_null(),
    list(N::TopicPartitions, &[
        f(N::TopicId, Kind::Uuid),
        f(N::Partitions, Kind::List(&Kind::I32)),
    ]).nullable().default_null(),
];

pub(super) const CONSUMER_GROUP_HEARTBEAT_RESPONSE: &[Field] = &[
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

pub(super) const CONSUMER_GROUP_DESCRIBE_REQUEST: &[Field] = &[
    f(N::GroupIds, Kind::List(&Kind::Str)).entity(Entity::Group),
    f(N::IncludeAuthorizedOperations, Kind::Bool),
];

pub(super) const CONSUMER_GROUP_DESCRIBE_RESPONSE: &[Field] = &[
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
            f(N::InstanceId, Kind::Str).nullable().default_null(),
            f(N::RackId, Kind::Str).nullable().default_null(),
            f(N::MemberEpoch, Kind::I32),
            f(N::ClientId, Kind::Str),
            f(N::ClientHost, Kind::Str),
            f(N::SubscribedTopicNames, Kind::List(&Kind::Str)).entity(Entity::Topic),
            f(N::SubscribedTopicRegex, Kind::Str).nullable().default_null(),
            inner(N::Assignment, &[
                list(N::TopicPartitions, &[
                    f(N::TopicId, Kind::Uuid),
                    f(N::TopicName, Kind::Str).entity(Entity::Topic),
                    f(N::Partitions, Kind::List(&Kind::I32)),
                ]),
            ]),
            inner(N::TargetAssignment, &[
                list(N::TopicPartitions, &[
                    f(N::TopicId, Kind::Uuid),
                    f(N::TopicName, Kind::Str).entity(Entity::Topic),
                    f(N::Partitions, Kind::List(&Kind::I32)),
                ]),
            ]),
            f(N::MemberType, Kind::I8).since(1).default(-1).ignorable(),
        ]),
        f(N::AuthorizedOperations, Kind::I32).default(-2147483648),
    ]),
];
