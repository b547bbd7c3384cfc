//! Releases: contributions are bounded and summed by window, noised, selected and encoded.
//!
//! No I/O, no clock; keys and randomness are parameters. With one exception, named here: opendp, which this
//! crate alone knows, draws noise from a generator of its own that the operating system seeds (`noise`).
//!
//! INVARIANT: between totals and released bytes there are integers only; what is repeated is the stored
//! bytes, never a fresh draw.

#[cfg(test)]
mod audit;
pub mod encode;
pub mod noise;
pub mod seal;
pub mod select;
pub mod smooth;
pub mod store;
#[cfg(test)]
pub(crate) mod testing;
pub mod window;

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
