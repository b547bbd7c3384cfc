//! Differentially private releases: the plan that a `Release` compiles to, the calculus behind it,
//! and what it means in words.

mod calendar;
mod canonical;
mod explain;
mod plan;
mod privacy;
mod schedule;

pub use calendar::{Calendar, Stretch, Zone};
pub use explain::{
    Accuracy, Bias, Costs, Crowd, Curve, Expected, Explained, Point, Protects, Rows, Times,
    Together, conversion_delta_atto, declared_by, error_by_epsilon, error_by_windows, explain,
    panes_per_period,
};
pub use plan::*;
pub use privacy::*;
pub use schedule::PaneId;
