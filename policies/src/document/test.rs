//! Tests that authors write: golden cases, and what must never happen.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{OperationWord, TransformWord};
use crate::source::{Located, Text};

/// A case with its expected decision (`given` and `expect`), or something that must never happen
/// in any case (`never`).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct TestSpec {
    /// The case.
    pub(crate) given: Option<Located<Given>>,
    /// What must come out.
    pub(crate) expect: Option<Located<Expect>>,
    /// What must never come out, no matter who asks for what.
    pub(crate) never: Option<Located<Never>>,
}

/// One question to the policy.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Given {
    /// Who asks. It need not exist.
    pub(crate) principal: Text,
    /// For what. Without it: the principal's only purpose.
    pub(crate) purpose: Option<Text>,
    /// About which dataset; or name a `topic`.
    pub(crate) dataset: Option<Text>,
    /// About which topic. It need not exist.
    pub(crate) topic: Option<Text>,
    /// To do what.
    pub(crate) operation: OperationWord,
    /// Publishing: where the record's subject is.
    pub(crate) jurisdiction: Option<Text>,
    /// When. Without it: now.
    pub(crate) at: Option<Text>,
}

/// What must come out. What is left out is not compared.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Expect {
    /// Allowed, or refused.
    pub(crate) decision: Located<DecisionWord>,
    /// The refusal's code: `forbidden`, `not-permitted`, `transfer-not-allowed`, …
    pub(crate) code: Option<Text>,
    /// The regions the record goes to, all of them.
    pub(crate) regions: Option<Vec<Text>>,
    /// What happens to fields, by path as the dataset spells it.
    #[serde(default)]
    pub(crate) fields: BTreeMap<String, Located<TransformWord>>,
}

/// The two decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DecisionWord {
    /// It may.
    Allow,
    /// It may not.
    Refuse,
}

/// Something that must never happen. Every grant of the compiled policy is looked at.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Never {
    /// Who: a principal; or name a `team`.
    pub(crate) principal: Option<Text>,
    /// A team or recipient: its members, and the pipelines it operates.
    pub(crate) team: Option<Text>,
    /// Which category, and those under it.
    pub(crate) sees: Text,
    /// In which forms.
    #[schemars(length(min = 1))]
    pub(crate) in_form: Vec<FormWord>,
}

/// In what form a value is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FormWord {
    /// As it was.
    Clear,
    /// As it was, or so that it can be turned back.
    Reversible,
    /// As a token.
    Token,
    /// Masked, generalized or randomized.
    Partial,
}
