//! Releases: noise, selection, and the bytes that are published.
//!
//! INVARIANT: between totals and released bytes there are integers only; nothing leaves before
//! its bytes and its cost are durable in the ledger; what is repeated is the stored bytes, never
//! a fresh draw.

#[cfg(test)]
mod audit;
pub mod encode;
pub mod noise;
pub mod runner;
pub mod seal;
pub mod select;
pub mod smooth;
pub mod store;
pub mod supervisor;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;

/// The noisy rows of one pane, sorted by key (public keys: in the plan's order).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noisy {
    pub rows: Vec<NoisyRow>,
}

/// One row: a number for each output of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoisyRow {
    pub key: Arc<str>,
    pub values: Vec<i64>,
}

/// One message for the release topic, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}
