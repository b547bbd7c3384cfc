//! Refusals of the flow and of the body readers as problem documents: the one place where they
//! become status codes. What is unavailable is told in a fixed text per code; its cause is the
//! operator's, in the log.

use std::time::Duration;

use axum::http::StatusCode;

use crate::{
    listen::{admission::Full, body::Unreadable, problem::Problem},
    record::DeliverError,
    request::Stopped,
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
        .help("send fewer records per request, or stream them as `application/x-ndjson`")
}

pub(super) fn too_many(limit: usize) -> Problem {
    let title = "The request has too many records";
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-many-records", title)
        .detail(format!("the limit is {limit} records"))
        .help("send fewer records per request, or stream them as `application/x-ndjson`")
}

/// Memory for a request or its answer is not to be had.
pub(super) fn full(full: Full) -> Problem {
    match full {
        Full::Gateway => unavailable("full", "too many bytes are in flight"),
        Full::Share => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "share",
            "The principal's requests and answers in flight take up its share of memory",
        )
        .help("send fewer or smaller requests at once, and read their answers")
        .retry_after(Duration::from_secs(2)),
    }
}

pub(super) fn timed_out() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", "Request body timed out")
}

pub(super) fn not_taken() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "reports-not-read", "The reports were not read")
}

pub(super) fn cut_off() -> Problem {
    Problem::bad_request("the body ended early")
}

pub(super) fn unknown_format() -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unknown-format", "Unknown content type").help(
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
        Stopped::Ledger => unavailable("ledger-unavailable", "the ledger accepts no entries"),
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
        .help("send fewer records per request"),
        Stopped::NoPartition => {
            Problem::new(StatusCode::NOT_FOUND, "no-partition", "No such topic or partition here")
        }
    }
}
