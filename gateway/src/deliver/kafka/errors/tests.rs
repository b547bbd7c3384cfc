use std::{collections::BTreeSet, io};

use krafka::{
    KrafkaError,
    error::{ErrorCode, ProtocolErrorKind},
};

use super::{Call, Fault, judge, named};
use crate::record::DeliverError;

/// All codes that the client crate knows by name.
fn codes() -> Vec<ErrorCode> {
    let all = (-1..=1_000).map(ErrorCode::from_i16);
    all.filter(|code| !matches!(code, ErrorCode::Unknown(_))).collect()
}

fn broker(code: ErrorCode) -> KrafkaError {
    KrafkaError::broker(code, "topic")
}

#[test]
fn every_code_of_a_broker_has_its_class_by_name() {
    assert!(codes().len() > 130);
    let unnamed: Vec<_> = codes().into_iter().filter(|code| named(*code).is_none()).collect();
    assert!(unnamed.is_empty(), "{unnamed:?}");
}

#[test]
fn only_what_a_publisher_can_change_is_final() {
    let expected = [10, 18, 87].map(ErrorCode::from_i16);
    for call in [Call::Ask, Call::Enqueue, Call::Deliver] {
        let last = |code: &ErrorCode| !judge(&broker(*code), call).error.is_retriable();
        let last: Vec<ErrorCode> = codes().into_iter().filter(last).collect();
        assert_eq!(last, expected, "{call:?}");
    }
}

#[test]
fn an_unknown_code_may_succeed_later() {
    let judged = |call| judge(&broker(ErrorCode::Unknown(999)), call).error;
    assert!(matches!(judged(Call::Ask), DeliverError::Unavailable(_)));
    assert!(matches!(judged(Call::Enqueue), DeliverError::Unavailable(_)));
    // It was sent, and nobody knows what the answer means.
    assert!(matches!(judged(Call::Deliver), DeliverError::Unknown(_)));
}

#[test]
fn what_an_operator_can_change_says_so() {
    let operators: BTreeSet<i16> = codes()
        .into_iter()
        .filter(|code| named(*code) == Some(Fault::Operator))
        .map(ErrorCode::to_i16)
        .collect();
    // Topic, group and cluster rights; SASL; a producer policy; a replication factor.
    for code in [29, 30, 31, 33, 34, 58, 44, 38] {
        assert!(operators.contains(&code), "{code}");
        let judged = judge(&broker(ErrorCode::from_i16(code)), Call::Deliver).error;
        assert_eq!((judged.code(), judged.is_retriable()), ("pipeline-denied", true));
    }
    let missing = judge(&broker(ErrorCode::UnknownTopicOrPartition), Call::Enqueue).error;
    assert_eq!((missing.code(), missing.is_retriable()), ("pipeline-unknown-topic", true));
}

/// Errors of the client itself: what each means where, and whether it ends the client.
#[test]
fn every_error_of_the_client_has_its_class() {
    let network = || KrafkaError::network(io::Error::from(io::ErrorKind::ConnectionReset));
    let version = || KrafkaError::protocol_kind(ProtocolErrorKind::UnknownApiVersion, "x");
    let cut = || KrafkaError::protocol_kind(ProtocolErrorKind::TruncatedFrame, "x");
    let sequence = || KrafkaError::out_of_order_sequence("t", 0, "x");
    let (later, denied, unknown) = ("pipeline-unavailable", "pipeline-denied", "pipeline-unknown");
    let (large, refused) = ("pipeline-too-large", "pipeline-refused");
    // Error; its code when asking, queueing, delivering; whether it ends the client.
    let table = [
        (network(), [later, later, unknown], false),
        (cut(), [later, later, unknown], false),
        (version(), [denied, denied, denied], false),
        (KrafkaError::auth("x"), [denied, denied, unknown], true),
        (KrafkaError::timeout("x"), [later, later, unknown], false),
        (KrafkaError::delivery_timeout(true, "x"), [later, later, unknown], false),
        (KrafkaError::delivery_timeout(false, "x"), [later, later, later], false),
        (KrafkaError::config("x"), [denied, large, denied], false),
        (KrafkaError::compression("x"), [later, later, unknown], false),
        (KrafkaError::serialization("x"), [later, refused, unknown], false),
        (KrafkaError::closed("x"), [later, later, unknown], true),
        (KrafkaError::Wakeup, [later, later, unknown], false),
        (KrafkaError::fenced("x"), [later, later, unknown], true),
        (KrafkaError::unknown_topic("t"), ["pipeline-unknown-topic"; 3], false),
        (sequence(), [later, later, unknown], true),
        (KrafkaError::illegal_state("x"), [later, later, unknown], false),
        (broker(ErrorCode::SaslAuthenticationFailed), [denied, denied, denied], true),
        (broker(ErrorCode::TopicAuthorizationFailed), [denied, denied, denied], false),
        (broker(ErrorCode::ProducerFenced), [later, later, unknown], true),
    ];
    for (error, codes, ends) in table {
        for (call, code) in [Call::Ask, Call::Enqueue, Call::Deliver].into_iter().zip(codes) {
            let judged = judge(&error, call);
            assert_eq!((judged.error.code(), judged.ends), (code, ends), "{error} {call:?}");
        }
        // What the client itself calls fatal ends it.
        assert!(ends || !error.is_fatal(), "{error}");
    }
    for code in codes().into_iter().filter(|code| broker(*code).is_fatal()) {
        assert!(judge(&broker(code), Call::Ask).ends, "{code:?}");
    }
}
