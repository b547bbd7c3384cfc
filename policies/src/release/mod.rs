//! Differentially private releases: the plan that a `Release` compiles to, the calculus behind it,
//! and what it means in words.

mod calendar;
mod canonical;
mod plan;
mod privacy;

pub use calendar::{Calendar, Zone};
pub use plan::*;
pub use privacy::*;
