//! Made by generate.py from the message definitions of Apache Kafka 4.4.0; not to be edited.

use super::N;
use crate::schema::{Entity, Field, Kind, f, list};

pub(super) const INIT_PRODUCER_ID_REQUEST: &[Field] = &[
    f(N::TransactionalId, Kind::Str).nullable().entity(Entity::Transaction),
    f(N::TransactionTimeoutMs, Kind::I32),
    f(N::ProducerId, Kind::I64).since(3).default(-1).entity(Entity::Producer),
    f(N::ProducerEpoch, Kind::I16).since(3).default(-1),
];

pub(super) const INIT_PRODUCER_ID_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32).ignorable(),
    f(N::ErrorCode, Kind::I16),
    f(N::ProducerId, Kind::I64).default(-1).entity(Entity::Producer),
    f(N::ProducerEpoch, Kind::I16),
];

pub(super) const ADD_PARTITIONS_TO_TXN_REQUEST: &[Field] = &[
    list(N::Transactions, &[
        f(N::TransactionalId, Kind::Str).entity(Entity::Transaction),
        f(N::ProducerId, Kind::I64).entity(Entity::Producer),
        f(N::ProducerEpoch, Kind::I16),
        f(N::VerifyOnly, Kind::Bool),
        list(N::Topics, &[
            f(N::Name, Kind::Str).entity(Entity::Topic),
            f(N::Partitions, Kind::List(&Kind::I32)),
        ]),
    ]).since(4),
    f(N::V3AndBelowTransactionalId, Kind::Str).until(3).entity(Entity::Transaction),
    f(N::V3AndBelowProducerId, Kind::I64).until(3).entity(Entity::Producer),
    f(N::V3AndBelowProducerEpoch, Kind::I16).until(3),
    list(N::V3AndBelowTopics, &[
        f(N::Name, Kind::Str).entity(Entity::Topic),
        f(N::Partitions, Kind::List(&Kind::I32)),
    ]).until(3),
];

pub(super) const ADD_PARTITIONS_TO_TXN_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    f(N::ErrorCode, Kind::I16).since(4).ignorable(),
    list(N::ResultsByTransaction, &[
        f(N::TransactionalId, Kind::Str).entity(Entity::Transaction),
        list(N::TopicResults, &[
            f(N::Name, Kind::Str).entity(Entity::Topic),
            list(N::ResultsByPartition, &[
                f(N::PartitionIndex, Kind::I32),
                f(N::PartitionErrorCode, Kind::I16),
            ]),
        ]),
    ]).since(4),
    list(N::ResultsByTopicV3AndBelow, &[
        f(N::Name, Kind::Str).entity(Entity::Topic),
        list(N::ResultsByPartition, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::PartitionErrorCode, Kind::I16),
        ]),
    ]).until(3),
];

pub(super) const ADD_OFFSETS_TO_TXN_REQUEST: &[Field] = &[
    f(N::TransactionalId, Kind::Str).entity(Entity::Transaction),
    f(N::ProducerId, Kind::I64).entity(Entity::Producer),
    f(N::ProducerEpoch, Kind::I16),
    f(N::GroupId, Kind::Str).entity(Entity::Group),
];

pub(super) const ADD_OFFSETS_TO_TXN_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    f(N::ErrorCode, Kind::I16),
];

pub(super) const END_TXN_REQUEST: &[Field] = &[
    f(N::TransactionalId, Kind::Str).entity(Entity::Transaction),
    f(N::ProducerId, Kind::I64).entity(Entity::Producer),
    f(N::ProducerEpoch, Kind::I16),
    f(N::Committed, Kind::Bool),
];

pub(super) const END_TXN_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    f(N::ErrorCode, Kind::I16),
    f(N::ProducerId, Kind::I64).since(5).default(-1).ignorable().entity(Entity::Producer),
    f(N::ProducerEpoch, Kind::I16).since(5).default(-1).ignorable(),
];

pub(super) const TXN_OFFSET_COMMIT_REQUEST: &[Field] = &[
    f(N::TransactionalId, Kind::Str).entity(Entity::Transaction),
    f(N::GroupId, Kind::Str).entity(Entity::Group),
    f(N::ProducerId, Kind::I64).entity(Entity::Producer),
    f(N::ProducerEpoch, Kind::I16),
    f(N::GenerationIdOrMemberEpoch, Kind::I32).since(3).default(-1),
    f(N::MemberId, Kind::Str).since(3),
    f(N::GroupInstanceId, Kind::Str).since(3).nullable().default_null(),
    list(N::Topics, &[
        f(N::Name, Kind::Str).until(5).ignorable().entity(Entity::Topic),
        f(N::TopicId, Kind::Uuid).since(6).ignorable(),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::CommittedOffset, Kind::I64),
            f(N::CommittedLeaderEpoch, Kind::I32).since(2).default(-1).ignorable(),
            f(N::CommittedMetadata, Kind::Str).nullable(),
        ]),
    ]),
];

pub(super) const TXN_OFFSET_COMMIT_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    list(N::Topics, &[
        f(N::Name, Kind::Str).until(5).ignorable().entity(Entity::Topic),
        f(N::TopicId, Kind::Uuid).since(6).ignorable(),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::ErrorCode, Kind::I16),
        ]),
    ]),
];

pub(super) const DESCRIBE_PRODUCERS_REQUEST: &[Field] = &[
    list(N::Topics, &[
        f(N::Name, Kind::Str).entity(Entity::Topic),
        f(N::PartitionIndexes, Kind::List(&Kind::I32)),
    ]),
];

pub(super) const DESCRIBE_PRODUCERS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    list(N::Topics, &[
        f(N::Name, Kind::Str).entity(Entity::Topic),
        list(N::Partitions, &[
            f(N::PartitionIndex, Kind::I32),
            f(N::ErrorCode, Kind::I16),
            f(N::ErrorMessage, Kind::Str).nullable().default_null(),
            list(N::ActiveProducers, &[
                f(N::ProducerId, Kind::I64).entity(Entity::Producer),
                f(N::ProducerEpoch, Kind::I32),
                f(N::LastSequence, Kind::I32).default(-1),
                f(N::LastTimestamp, Kind::I64).default(-1),
                f(N::CoordinatorEpoch, Kind::I32),
                f(N::CurrentTxnStartOffset, Kind::I64).default(-1),
            ]),
        ]),
    ]),
];

pub(super) const DESCRIBE_TRANSACTIONS_REQUEST: &[Field] = &[
    f(N::TransactionalIds, Kind::List(&Kind::Str)).entity(Entity::Transaction),
];

pub(super) const DESCRIBE_TRANSACTIONS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    list(N::TransactionStates, &[
        f(N::ErrorCode, Kind::I16),
        f(N::TransactionalId, Kind::Str).entity(Entity::Transaction),
        f(N::TransactionState, Kind::Str),
        f(N::TransactionTimeoutMs, Kind::I32),
        f(N::TransactionStartTimeMs, Kind::I64),
        f(N::ProducerId, Kind::I64).entity(Entity::Producer),
        f(N::ProducerEpoch, Kind::I16),
        list(N::Topics, &[
            f(N::Topic, Kind::Str).entity(Entity::Topic),
            f(N::Partitions, Kind::List(&Kind::I32)),
        ]),
    ]),
];

pub(super) const LIST_TRANSACTIONS_REQUEST: &[Field] = &[
    f(N::StateFilters, Kind::List(&Kind::Str)),
    f(N::ProducerIdFilters, Kind::List(&Kind::I64)).entity(Entity::Producer),
    f(N::DurationFilter, Kind::I64).since(1).default(-1),
    f(N::TransactionalIdPattern, Kind::Str).since(2).nullable().default_null(),
];

pub(super) const LIST_TRANSACTIONS_RESPONSE: &[Field] = &[
    f(N::ThrottleTimeMs, Kind::I32),
    f(N::ErrorCode, Kind::I16),
    f(N::UnknownStateFilters, Kind::List(&Kind::Str)),
    list(N::TransactionStates, &[
        f(N::TransactionalId, Kind::Str).entity(Entity::Transaction),
        f(N::ProducerId, Kind::I64).entity(Entity::Producer),
        f(N::TransactionState, Kind::Str),
    ]),
];
