//! Faults: the house under `kill -9`, rotations, outages and full disks. Each test runs the real program over
//! real stores; what it publishes is looked for in the files themselves, not asked of the gateway.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests: a broken assumption ends the test"
)]

mod closed;
mod kill;
mod rotation;
mod setup;
mod stop;
mod takeover;
mod upstream;
