//! Releases as this process runs them. What a release is made of is the crate `sluicegate-releases`.
//!
//! [`runner`] is the sequence from a pane's end to its published numbers; [`partition`] follows the
//! contributions, [`guards`] is asked before anything is charged, [`publication`] draws and publishes, and
//! [`books`] is the ledger's side of it, of which [`witness`] knows elsewhere. [`supervisor`] keeps a runner for each release of the policy.
//!
//! INVARIANT: nothing leaves before its bytes and its cost are durable in the ledger.

mod agreed;
mod books;
mod guards;
mod partition;
mod publication;
mod runner;
pub mod spill;
mod supervisor;
pub(crate) mod witness;

pub use supervisor::{Begun, Releases};
