//! The documents of a bundle as authors write them: one type per kind. The doc comments in here are
//! the words of the schema, and so the hover text in an author's editor.

mod release;
mod rules;
mod schema;
mod terms;
mod test;

use std::borrow::Cow;

pub(crate) use release::*;
pub(crate) use rules::*;
pub(crate) use schema::Schemas;
pub use schema::schema;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
pub(crate) use terms::*;
pub(crate) use test::*;

use crate::source::{Located, Span, Text};

/// The version of the language that this crate speaks.
pub const API_VERSION: &str = "sluicegate/v1";

/// Former spellings, and what is written now. The former are understood wherever the new ones are,
/// with a warning.
pub(crate) const FORMER_SPELLINGS: [(&str, &str); 5] = [
    ("generalise", "generalize"),
    ("memoise", "memoize"),
    ("normalise", "normalize"),
    ("randomise", "randomize"),
    ("zip", "postal-code"),
];

/// What every document starts with.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Envelope {
    /// The version of the language: `sluicegate/v1`.
    #[expect(dead_code, reason = "checked before decoding; kept for the schema")]
    pub(crate) api_version: String,
    /// What the document is.
    #[expect(dead_code, reason = "checked before decoding; kept for the schema")]
    pub(crate) kind: String,
    /// Its name, and who answers for it.
    pub(crate) metadata: Metadata,
    /// Why this document exists, in a sentence that an auditor can read. Rules must say it.
    pub(crate) because: Option<Text>,
    /// From when and until when the rule holds. Without it: always.
    pub(crate) effective: Option<Effective>,
    /// `draft`: checked, never applied. `shadow`: evaluated and reported, without effect.
    /// `enforce` (the default): applied.
    pub(crate) mode: Option<Mode>,
    /// The day by which someone should look at this document again. Later it is a warning.
    #[serde(rename = "review-by")]
    pub(crate) review_by: Option<Text>,
}

/// A document's name and its paper trail.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Metadata {
    /// The name by which other documents, decisions and the ledger speak of it: letters, digits,
    /// `.`, `-` and `_`.
    pub(crate) name: Text,
    /// A short title for people.
    #[expect(dead_code, reason = "for people; read from the YAML")]
    pub(crate) title: Option<String>,
    /// Who answers for it.
    #[expect(dead_code, reason = "for people; read from the YAML")]
    pub(crate) owner: Option<String>,
    /// Who looked at it.
    #[serde(default)]
    #[expect(dead_code, reason = "for people; read from the YAML")]
    pub(crate) reviewers: Vec<String>,
    /// What it rests on: articles, decisions, contracts. For example `gdpr:5(1)(c)`.
    #[serde(default)]
    pub(crate) citations: Vec<String>,
    /// Where it was discussed.
    #[expect(dead_code, reason = "for people; read from the YAML")]
    pub(crate) ticket: Option<String>,
}

/// A span of time. Days are days in UTC.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Effective {
    /// The first moment it holds: `2026-12-01`, or `2026-12-01T09:00:00Z`.
    pub(crate) from: Option<Text>,
    /// The first moment it no longer holds.
    pub(crate) until: Option<Text>,
}

/// Whether a rule takes effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// Checked for mistakes, never applied.
    Draft,
    /// Evaluated with every decision and reported where it would have decided otherwise.
    Shadow,
    /// Applied.
    #[default]
    Enforce,
}

/// One document, read.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) envelope: Envelope,
    pub(crate) span: Span,
    pub(crate) spec: Spec,
}

/// What a document holds besides its envelope.
#[derive(Clone, Debug)]
pub(crate) enum Spec {
    Vocabulary(Box<Vocabulary>),
    Purpose(Box<Purpose>),
    Dataset(Box<DatasetSpec>),
    TokenDomain(Box<TokenDomain>),
    AccessRule(Box<AccessRule>),
    ProtectionRule(Box<ProtectionRule>),
    TransferRule(Box<TransferRule>),
    Release(Box<ReleaseSpec>),
    Test(Box<TestSpec>),
}

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }
}
