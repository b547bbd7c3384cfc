//! The house as a whole. One binary, one module a promise.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests: a broken assumption ends the test"
)]

#[path = "house/bounds.rs"]
mod bounds;
#[path = "house/clients.rs"]
mod clients;
#[path = "house/endpoints.rs"]
mod endpoints;
#[path = "house/faults/mod.rs"]
mod faults;
#[path = "house/harness.rs"]
mod harness;
#[path = "house/identity.rs"]
mod identity;
#[path = "house/kafka.rs"]
mod kafka;
#[path = "house/kafka_face/mod.rs"]
mod kafka_face;
#[path = "house/metrics.rs"]
mod metrics;
#[path = "house/octokit.rs"]
mod octokit;
#[path = "house/octokit_flow.rs"]
mod octokit_flow;
#[path = "house/postgres.rs"]
mod postgres;
#[path = "house/publish.rs"]
mod publish;
#[path = "house/releases/mod.rs"]
mod releases;
#[path = "house/schemathesis.rs"]
mod schemathesis;
#[path = "house/search_keys.rs"]
mod search_keys;
#[path = "house/tidy.rs"]
mod tidy;
#[path = "house/time.rs"]
mod time;
#[path = "house/verbs.rs"]
mod verbs;
