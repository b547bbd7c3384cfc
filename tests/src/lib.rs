//! The harness for tests of the house as a whole: real servers, real certificates, the real binary.
//!
//! Nothing here is mocked. What a machine may lack (PostgreSQL, Apache Kafka, fetched payloads) is asked
//! for by [`require!`]: absent, the test says that it was left out; under `tests/all`, where everything has
//! to be there, it fails instead. Tests live in `tests/house/`, one file a promise.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "test harness: a broken assumption ends the test, and the wall clock is the real one"
)]

pub mod ca;
pub mod canary;
pub mod chaos;
pub mod client;
pub mod clients;
pub mod components;
pub mod dice;
pub mod gateway;
pub mod history;
pub mod jwt;
pub mod kafka;
pub mod octokit;
pub mod postgres;
pub mod process;
pub mod releases;
pub mod setup;
pub mod wire;
