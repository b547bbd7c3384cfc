//! The Sluicegate policy language: YAML that a compliance team writes in, decisions out.
//!
//! Pure: no I/O, no clock, no randomness. A bundle compiles once into an immutable [`Table`]; a
//! decision is a lookup ([`Table::admit`], [`Grant::route`]). What cannot be decided is refused.
//! `docs/POLICY-LANGUAGE.md` says what the language means.

mod bundle;
mod compile;
mod date;
mod diagnostic;
mod digest;
mod document;
mod explain;
mod intern;
mod lint;
mod load;
mod model;
mod network;
pub mod number;
mod packs;
mod path;
mod pattern;
mod plan;
mod randomize;
pub mod release;
mod source;
mod table;
mod testing;
mod yaml;

pub use bundle::{Bundle, check};
pub use diagnostic::{Diagnostic, Related, Report, Severity, nearest};
pub use document::{API_VERSION, schema};
pub use explain::{Answer, Explanation, FieldAnswer, Question, explain};
pub use packs::{EU_ADEQUACY, JURISDICTIONS, packs};
pub use plan::*;
pub use source::Source;
pub use table::{Expiry, Grant, Table};
pub use testing::{TestCase, TestReport, run_tests};
