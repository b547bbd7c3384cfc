//! The house as a whole. One binary, one module a promise.

#[path = "house/harness.rs"]
mod harness;
#[path = "house/kafka.rs"]
mod kafka;
#[path = "house/octokit.rs"]
mod octokit;
#[path = "house/postgres.rs"]
mod postgres;
