//! The crate from outside: against itself, and against Kafka's own client.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "helpers of tests: a broken assumption ends the test"
)]

mod batches;
mod common;
mod kafka;
mod messages;
mod sasl;
