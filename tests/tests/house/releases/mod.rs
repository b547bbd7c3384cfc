//! Releases, over real stores and processes: what is published is what the stream comes to under its bounds,
//! once, whatever dies meanwhile; and nothing else of the stream is seen anywhere.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests: a broken assumption ends the test"
)]

mod blocked;
mod budget;
mod clock;
mod crash;
mod end_to_end;
mod examples;
mod independence;
mod judged;
mod publisher;
mod recreated;
mod replicas;
mod restore;
mod roles;
mod setup;
mod simulate;
mod witness;
