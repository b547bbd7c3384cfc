//! Refusals of the flow and of the body readers as problem documents: the one place where they
//! become status codes. What is unavailable is told in a fixed text per code; its cause is the
//! operator's, in the log.

use std::time::Duration;

use axum::http::StatusCode;

use crate::{
    deliver::DeliverError,
    flow::Stopped,
    listen::{body::Unreadable, problem::Problem},
};

pub(super) fn failed(region: &str, error: &DeliverError) -> Problem {
    let detail = format!("region `{region}`: {error}");
    if error.is_retriable() {
        return unavailable(error.code(), detail);
    }
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Problem::new(status, error.code(), "The region's pipeline refuses this record").detail(detail)
}

pub(super) fn unavailable(code: &str, detail: impl Into<String>) -> Problem {
    Problem::unavailable(code, detail)
}

pub(super) fn too_large(limit: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body or a record is too large")
        .detail(format!("the limit is {limit} bytes"))
        .help("send fewer records a request, or stream them as `application/x-ndjson`")
}

pub(super) fn cut_off() -> Problem {
    Problem::bad_request("the body ended early")
}

pub(super) fn unknown_format() -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unknown-format", "Not a known content type")
        .help(
            "send `application/json`, `application/x-ndjson`, `application/cloudevents+json`, \
             `application/cloudevents-batch+json`, or `ce-` headers with any type",
        )
}

pub(super) fn unreadable(error: Unreadable) -> Problem {
    match error.record {
        Some(n) => Problem::bad_request(format!("record {n}: {}", error.what)),
        None => Problem::bad_request(error.what),
    }
}

/// A flow that stopped before any record had a fate of its own.
pub(super) fn stopped(stopped: Stopped) -> Problem {
    match stopped {
        Stopped::Refused(refused) => Problem::refused(&refused),
        Stopped::Ledger => unavailable("ledger-unavailable", "the ledger takes no entries"),
        Stopped::Pipeline { region, error } => failed(&region, &error),
        Stopped::KeyRunning => Problem::new(
            StatusCode::CONFLICT,
            "idempotency-key-running",
            "A request with this idempotency key is still running",
        )
        .retry_after(Duration::from_secs(1)),
        Stopped::KeyReused => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency-key-reused",
            "The idempotency key was used for another payload",
        )
        .help("use a new key for a new request"),
        Stopped::TooVaried => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-varied",
            "The batch's decisions do not fit one ledger row",
        )
        .help("send fewer records a request"),
        Stopped::NoPartition => {
            Problem::new(StatusCode::NOT_FOUND, "no-partition", "No such topic or partition here")
        }
    }
}
