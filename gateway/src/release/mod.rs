//! Releases as this process runs them: what to follow, when to fire, where state goes that does not fit in
//! memory. What a release is made of is the crate `sluicegate-releases`.
//!
//! INVARIANT: nothing leaves before its bytes and its cost are durable in the ledger.

pub mod runner;
pub mod spill;
pub mod supervisor;
