//! The Sluicegate policy language: YAML that a compliance team writes in, decisions out.
//!
//! Pure: no I/O, no clock, no chance. A bundle compiles once into an immutable [`Table`]; a
//! decision is a lookup ([`Table::admit`], [`Grant::route`]). What cannot be decided is refused.
//! `docs/POLICY-LANGUAGE.md` says what the language means.

mod bundle;
mod compile;
mod date;
mod diagnostic;
mod digest;
mod document;
mod intern;
mod lint;
mod load;
mod model;
mod path;
mod plan;
mod source;
mod table;
mod yaml;

pub use bundle::{Bundle, check};
pub use diagnostic::{Diagnostic, Related, Report, Severity};
pub use document::schema;
pub use plan::*;
pub use source::Source;
pub use table::{Grant, Table};
