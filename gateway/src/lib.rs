//! Sluicegate: a privacy and compliance gateway for event streams. `flow` is the file to read
//! first; `docs/ARCHITECTURE.md` is the map.

pub mod account;
pub mod admin;
pub mod ambient;
pub mod classify;
pub mod cli;
pub mod config;
pub mod contribute;
pub mod decide;
pub mod deliver;
pub mod digests;
pub mod files;
pub mod flow;
pub mod health;
pub mod identify;
pub mod keys;
pub mod lineage;
pub mod listen;
pub mod members;
pub mod record;
pub mod release;
pub mod request;
pub mod service;
pub mod simulate;
pub mod telemetry;
pub mod treatments;
pub mod watch;
