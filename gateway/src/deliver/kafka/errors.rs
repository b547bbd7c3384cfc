//! The one table that says what an error of the client or of a broker means: whose it is, and
//! whether the client can continue after it. What is not named here may succeed later.

use krafka::{
    KrafkaError,
    error::{ErrorCode, ProtocolErrorKind},
};

use crate::record::DeliverError;

/// What was asked when an error came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Anything that writes no record.
    Ask,
    /// A record was to be queued: it was not sent.
    Enqueue,
    /// A queued record's delivery: it may have been sent.
    Deliver,
}

/// Whose an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nobody's: the same call may succeed later.
    Later,
    /// The topic is missing, until its operator creates it.
    Missing,
    /// Rights, credentials or settings, until an operator changes them.
    Operator,
    /// The record or its batch is too large.
    Size,
    /// The record is not what the topic takes, and never will be.
    Publisher,
}

pub(super) struct Judgment {
    pub(super) error: DeliverError,
    /// The client cannot continue: another one has to be made.
    pub(super) ends: bool,
}

pub(super) fn judge(error: &KrafkaError, call: Call) -> Judgment {
    let why = error.to_string();
    let judged = match (fault(error, call), call) {
        (Fault::Missing, _) => DeliverError::UnknownTopic,
        (Fault::Operator, _) => DeliverError::Denied(why),
        (Fault::Size, _) => DeliverError::TooLarge,
        (Fault::Publisher, _) => DeliverError::Refused(why),
        (Fault::Later, Call::Deliver) if !is_unwritten(error) => DeliverError::Unknown(why),
        (Fault::Later, _) => DeliverError::Unavailable(why),
    };
    Judgment { error: judged, ends: ends(error) }
}

fn is_unwritten(error: &KrafkaError) -> bool {
    matches!(error, KrafkaError::DeliveryTimeout { possibly_written: false, .. })
}

fn fault(error: &KrafkaError, call: Call) -> Fault {
    match error {
        KrafkaError::Broker { code, .. } => named(*code).unwrap_or(Fault::Later),
        KrafkaError::UnknownTopic { .. } => Fault::Missing,
        // A batch that was sent before may have been written, whatever the next login says.
        KrafkaError::Auth { .. } if call == Call::Deliver => Fault::Later,
        KrafkaError::Auth { .. } => Fault::Operator,
        // A record beyond the client's own bounds; of other calls, the client's settings.
        KrafkaError::Config { .. } if call == Call::Enqueue => Fault::Size,
        KrafkaError::Config { .. } => Fault::Operator,
        KrafkaError::Serialization { .. } if call == Call::Enqueue => Fault::Publisher,
        KrafkaError::Protocol { kind: ProtocolErrorKind::UnknownApiVersion, .. } => Fault::Operator,
        KrafkaError::Network(_)
        | KrafkaError::Protocol { .. }
        | KrafkaError::Timeout { .. }
        | KrafkaError::DeliveryTimeout { .. }
        | KrafkaError::Compression { .. }
        | KrafkaError::Serialization { .. }
        | KrafkaError::RecordDeserialization { .. }
        | KrafkaError::Closed { .. }
        | KrafkaError::Wakeup
        | KrafkaError::Fenced { .. }
        | KrafkaError::TransactionAbortable { .. }
        | KrafkaError::NoOffset { .. }
        | KrafkaError::OutOfOrderSequence { .. }
        | KrafkaError::IllegalState { .. } => Fault::Later,
        _ => Fault::Later,
    }
}

fn ends(error: &KrafkaError) -> bool {
    use ErrorCode as E;
    match error {
        KrafkaError::Auth { .. }
        | KrafkaError::Closed { .. }
        | KrafkaError::Fenced { .. }
        | KrafkaError::OutOfOrderSequence { .. } => true,
        KrafkaError::Broker { code, .. } => matches!(
            code,
            E::ClusterAuthorizationFailed
                | E::DelegationTokenExpired
                | E::IllegalSaslState
                | E::InvalidProducerEpoch
                | E::InvalidProducerIdMapping
                | E::InvalidTxnState
                | E::OutOfOrderSequenceNumber
                | E::ProducerFenced
                | E::SaslAuthenticationFailed
                | E::TransactionalIdAuthorizationFailed
                | E::TransactionCoordinatorFenced
                | E::UnsupportedSaslMechanism
        ),
        _ => false,
    }
}

/// The brokers' codes. `None` is a code that this table does not know.
fn named(code: ErrorCode) -> Option<Fault> {
    use ErrorCode as E;
    Some(match code {
        E::UnknownTopicOrPartition => Fault::Missing,
        E::MessageTooLarge | E::RecordListTooLarge => Fault::Size,
        E::InvalidRecord => Fault::Publisher,
        E::ClusterAuthorizationFailed
        | E::DelegationTokenAuthDisabled
        | E::DelegationTokenAuthorizationFailed
        | E::DelegationTokenExpired
        | E::DelegationTokenNotFound
        | E::DelegationTokenOwnerMismatch
        | E::DelegationTokenRequestNotAllowed
        | E::GroupAuthorizationFailed
        | E::GroupMaxSizeReached
        | E::IllegalSaslState
        | E::InconsistentGroupProtocol
        | E::InvalidCommitOffsetSize
        | E::InvalidConfig
        | E::InvalidGroupId
        | E::InvalidPartitions
        | E::InvalidPrincipalType
        | E::InvalidReplicaAssignment
        | E::InvalidReplicationFactor
        | E::InvalidRequest
        | E::InvalidRequiredAcks
        | E::InvalidSessionTimeout
        | E::InvalidTimestamp
        | E::InvalidTopic
        | E::InvalidTransactionTimeout
        | E::MismatchedEndpointType
        | E::OffsetMetadataTooLarge
        | E::PolicyViolation
        | E::PrincipalDeserializationFailure
        | E::SaslAuthenticationFailed
        | E::SecurityDisabled
        | E::TopicAuthorizationFailed
        | E::TopicDeletionDisabled
        | E::TransactionalIdAuthorizationFailed
        | E::UnacceptableCredential
        | E::UnsupportedAssignor
        | E::UnsupportedCompressionType
        | E::UnsupportedEndpointType
        | E::UnsupportedForMessageFormat
        | E::UnsupportedSaslMechanism
        | E::UnsupportedVersion => Fault::Operator,
        code if is_passing(code) => Fault::Later,
        _ => return None,
    })
}

/// Codes of a state that passes: elections, restarts, rebalances, throttling; and codes of calls
/// that the gateway does not make.
fn is_passing(code: ErrorCode) -> bool {
    use ErrorCode as E;
    matches!(
        code,
        E::BrokerIdNotRegistered
            | E::BrokerNotAvailable
            | E::ConcurrentTransactions
            | E::CoordinatorLoadInProgress
            | E::CoordinatorNotAvailable
            | E::CorruptMessage
            | E::DuplicateBrokerRegistration
            | E::DuplicateResource
            | E::DuplicateSequenceNumber
            | E::DuplicateVoter
            | E::ElectionNotNeeded
            | E::EligibleLeadersNotAvailable
            | E::FeatureUpdateFailed
            | E::FencedInstanceId
            | E::FencedLeaderEpoch
            | E::FencedMemberEpoch
            | E::FencedStateEpoch
            | E::FetchSessionIdNotFound
            | E::FetchSessionTopicIdError
            | E::GroupIdNotFound
            | E::GroupSubscribedToTopic
            | E::IllegalGeneration
            | E::InconsistentClusterId
            | E::InconsistentTopicId
            | E::InconsistentVoterSet
            | E::IneligibleReplica
            | E::InvalidFetchSessionEpoch
            | E::InvalidMessageSize
            | E::InvalidProducerEpoch
            | E::InvalidProducerIdMapping
            | E::InvalidRecordState
            | E::InvalidRegistration
            | E::InvalidRegularExpression
            | E::InvalidShareSessionEpoch
            | E::InvalidTxnState
            | E::InvalidUpdateVersion
            | E::InvalidVoterKey
            | E::KafkaStorageException
            | E::LeaderNotAvailable
            | E::ListenerNotFound
            | E::LogDirNotFound
            | E::MemberIdRequired
            | E::NetworkException
            | E::NewLeaderElected
            | E::NoReassignmentInProgress
            | E::NonEmptyGroup
            | E::None
            | E::NotController
            | E::NotCoordinator
            | E::NotEnoughReplicas
            | E::NotEnoughReplicasAfterAppend
            | E::NotLeaderForPartition
            | E::OffsetMovedToTieredStorage
            | E::OffsetNotAvailable
            | E::OffsetOutOfRange
            | E::OperationNotAttempted
            | E::OutOfOrderSequenceNumber
            | E::PositionOutOfRange
            | E::PreferredLeaderNotAvailable
            | E::ProducerFenced
            | E::ReassignmentInProgress
            | E::RebalanceInProgress
            | E::RebootstrapRequired
            | E::ReplicaNotAvailable
            | E::RequestTimedOut
            | E::ResourceNotFound
            | E::ShareSessionLimitReached
            | E::ShareSessionNotFound
            | E::SnapshotNotFound
            | E::StaleBrokerEpoch
            | E::StaleControllerEpoch
            | E::StaleMemberEpoch
            | E::StreamsInvalidTopology
            | E::StreamsInvalidTopologyEpoch
            | E::StreamsTopologyFenced
            | E::TelemetryTooLarge
            | E::ThrottlingQuotaExceeded
            | E::TopicAlreadyExists
            | E::TransactionAbortable
            | E::TransactionCoordinatorFenced
            | E::TransactionalIdNotFound
            | E::UnknownControllerId
            | E::UnknownLeaderEpoch
            | E::UnknownMemberId
            | E::UnknownProducerId
            | E::UnknownServerError
            | E::UnknownSubscriptionId
            | E::UnknownTopicId
            | E::UnreleasedInstanceId
            | E::UnstableOffsetCommit
            | E::VoterNotFound
    )
}

#[cfg(test)]
mod tests;
