//! Rules: who may, what happens to fields, and what may leave.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use super::{EventUnitWord, Scope};
use crate::source::{Located, Text};

/// Who may, or may not, publish or read which data for which purpose. What no rule allows is
/// forbidden; a `may-not` beats every `may`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct AccessRule {
    /// Principals, and teams that principals belong to.
    #[schemars(length(min = 1))]
    pub(crate) who: Vec<Text>,
    /// What they may do. A rule has `may` or `may-not`, never both.
    pub(crate) may: Option<Vec<OperationWord>>,
    /// What they may not do.
    pub(crate) may_not: Option<Vec<OperationWord>>,
    /// The datasets it is about.
    pub(crate) datasets: Option<Vec<Text>>,
    /// The categories it is about: `may` needs all of a dataset's categories to be covered,
    /// `may-not` strikes when one is.
    pub(crate) categories: Option<Vec<Text>>,
    /// For which purposes. `may` must say; `may-not` without it means all.
    pub(crate) purposes: Option<Vec<Text>>,
}

/// What a principal does with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OperationWord {
    /// Sends records in.
    Publish,
    /// Takes records out.
    Read,
}

/// What happens to the fields of some categories, by purpose and recipient. Where several rules
/// speak of a field, the more protective transform is taken.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ProtectionRule {
    /// Which fields it is about; what it names must all hold.
    pub(crate) applies_to: Located<AppliesTo>,
    /// What happens, for whom.
    #[serde(default)]
    pub(crate) protect: Vec<Located<Protect>>,
    /// What happens to everyone whom `protect` does not name.
    #[serde(default)]
    pub(crate) otherwise: Otherwise,
}

/// Which fields a protection rule is about.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct AppliesTo {
    /// Fields of these categories, and of those under them.
    pub(crate) categories: Option<Vec<Text>>,
    /// Fields of these datasets.
    pub(crate) datasets: Option<Vec<Text>>,
    /// Data of these subjects.
    pub(crate) subjects: Option<Vec<Text>>,
    /// Data of subjects in these jurisdictions and groups.
    pub(crate) subject_region: Option<Vec<Text>>,
}

/// A transform, and for whom it is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Protect {
    /// For whom and for what. Without it: everyone.
    #[serde(rename = "for")]
    pub(crate) for_whom: Option<ForWhom>,
    /// What happens to the value.
    #[serde(rename = "as")]
    pub(crate) transform: Located<TransformWord>,
    /// The transform's settings.
    pub(crate) with: Option<Located<With>>,
}

/// For whom and for what a transform is meant; what it names must all hold.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ForWhom {
    /// These purposes, and those under them.
    pub(crate) purposes: Option<Vec<Text>>,
    /// These teams and recipients.
    pub(crate) recipients: Option<Vec<Text>>,
}

/// What happens to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TransformWord {
    /// It stays as it is.
    Keep,
    /// It disappears, with its name.
    Drop,
    /// It becomes `"[redacted]"`.
    Redact,
    /// It becomes a fixed value: `with: { value: … }`.
    Constant,
    /// Some characters become stars: `with: { first, last, fill, email, length }`.
    Mask,
    /// It becomes a token: `with: { domain, scope }`.
    Tokenize,
    /// It becomes coarser: `with: { date | postal-code | ip | bucket | edges | bound }`.
    #[serde(alias = "generalise")]
    Generalize,
    /// A coordinate becomes coarser: `with: { decimals | geohash }`.
    Geo,
    /// It is replaced by a randomly drawn answer: `with: { method, epsilon, … }`.
    #[serde(alias = "randomise")]
    Randomize,
}

/// How an answer is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MethodWord {
    /// The own category more often than any other: `with: { domain }`.
    KRr,
    /// A bit for each category, for many categories: `with: { domain }`.
    Oue,
    /// A clamped number with noise: `with: { clamp, decimals }`.
    Numeric,
}

/// What happens to those whom a rule does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Otherwise {
    /// The field disappears.
    #[default]
    Drop,
    /// The value becomes `"[redacted]"`.
    Redact,
}

/// Settings of a transform. Which of them fit is said with each.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct With {
    /// `constant`: the value.
    pub(crate) value: Option<Constant>,
    /// `mask`: how many characters stay readable at the start.
    #[schemars(range(min = 0, max = 255))]
    pub(crate) first: Option<u8>,
    /// `mask`: how many characters stay readable at the end.
    #[schemars(range(min = 0, max = 255))]
    pub(crate) last: Option<u8>,
    /// `mask`: the character that hides; `*` without it.
    pub(crate) fill: Option<Text>,
    /// `mask`: keep the form of an e-mail address, and its domain.
    pub(crate) email: Option<bool>,
    /// `mask`: always hide by this many characters, so that the length does not show.
    #[schemars(range(min = 1, max = 255))]
    pub(crate) length: Option<u8>,
    /// `tokenize`: the `TokenDomain`. `randomize`: the closed, public list of values, in the order
    /// of the bits of `oue`.
    pub(crate) domain: Option<DomainSetting>,
    /// `tokenize`: another scope than the domain's own.
    pub(crate) scope: Option<Scope>,
    /// `generalize`: cut a date to this part.
    pub(crate) date: Option<DateWord>,
    /// `generalize`: what a number means as a date: `s`, `ms` or `us` since 1970. Without it
    /// (`rfc3339`) only a text is a date, and a number does not fit.
    pub(crate) unit: Option<EventUnitWord>,
    /// `generalize`: keep this many characters of a postal code.
    #[schemars(range(min = 0, max = 12))]
    #[serde(alias = "zip")]
    pub(crate) postal_code: Option<u8>,
    /// `generalize`: keep these network prefixes.
    pub(crate) ip: Option<IpPrefix>,
    /// `generalize`: ranges of this width.
    pub(crate) bucket: Option<Number>,
    /// `generalize`: borders of ranges, ascending.
    pub(crate) edges: Option<Vec<Number>>,
    /// `generalize`: smallest and largest number that show.
    pub(crate) bound: Option<Bound>,
    /// `geo`: decimal places of a coordinate, at most 4. `randomize`: decimal places of the
    /// answer; 0 without it.
    #[schemars(range(min = 0, max = 9))]
    pub(crate) decimals: Option<u8>,
    /// `geo`: characters of a geohash.
    #[schemars(range(min = 1, max = 12))]
    pub(crate) geohash: Option<u8>,
    /// `randomize`: how an answer is drawn.
    pub(crate) method: Option<MethodWord>,
    /// `randomize`: what one answer may reveal, more than 0 and at most 20.
    pub(crate) epsilon: Option<Number>,
    /// `randomize`: the smallest and the largest number, for `numeric`.
    pub(crate) clamp: Option<Vec<Number>>,
    /// `randomize`: the value of the domain that stands for everything outside it, including null.
    /// Without it `on-invalid` decides, and shows that the value was outside.
    pub(crate) other: Option<Constant>,
    /// `randomize`: at most so many records of a subject in a `period`, values in a list counted
    /// each. Declared, not enforced.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) records_per_subject: Option<u32>,
    /// `randomize`: the time that `records-per-subject` is about, such as `24h` or `7d`.
    pub(crate) period: Option<Text>,
    /// `randomize`: the same answer to the same value of the same `subject`, made with `key`.
    #[serde(alias = "memoise")]
    pub(crate) memoize: Option<bool>,
    /// `randomize`: the path to the subject's identifier, for `memoize`.
    pub(crate) subject: Option<Text>,
    /// `randomize`: the name of a key in the keyring, for `memoize`.
    pub(crate) key: Option<Text>,
}

/// The name of a token domain, or a list of values.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct DomainSetting(pub(crate) Located<serde_json::Value>);

impl JsonSchema for DomainSetting {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DomainSetting".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": ["string", "array"],
            "items": { "type": ["string", "number", "boolean"] },
            "minItems": 1
        })
    }
}

/// Parts of a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DateWord {
    /// 2026
    Year,
    /// 2026-Q4
    Quarter,
    /// 2026-12
    Month,
    /// 2026-12-01
    Day,
    /// 2026-12-01T09
    Hour,
}

/// Network prefix lengths.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct IpPrefix {
    /// Bits of an IPv4 address that stay; 24 without it.
    #[schemars(range(min = 0, max = 32))]
    pub(crate) v4: Option<u8>,
    /// Bits of an IPv6 address that stay; 48 without it.
    #[schemars(range(min = 0, max = 128))]
    pub(crate) v6: Option<u8>,
}

/// The smallest and the largest number that show.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Bound {
    /// Smaller numbers become this one.
    pub(crate) bottom: Option<Number>,
    /// Larger numbers become this one.
    pub(crate) top: Option<Number>,
}

/// A decimal number, kept as it was written.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Number(pub(crate) Text);

impl JsonSchema for Number {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "number", "description": "A number: `10`, `2.5`." })
    }
}

/// Any single value, as JSON.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Constant(pub(crate) serde_json::Value);

impl JsonSchema for Constant {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Constant".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": ["string", "number", "boolean"],
            "description": "A quoted string, a number, `true` or `false`."
        })
    }
}

/// What may cross which border, and on what legal ground; or what may not. What no rule allows
/// stays; a `deny` beats every `allow`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct TransferRule {
    /// Where the subjects are: codes and groups. It goes by the person, not by where the data
    /// happens to be or what it has been turned into.
    #[schemars(length(min = 1))]
    pub(crate) from: Vec<Text>,
    /// Where the receiving region is: codes and groups.
    #[schemars(length(min = 1))]
    pub(crate) to: Vec<Text>,
    /// What may cross. A rule has `allow` or `deny`, never both.
    pub(crate) allow: Option<TransferAllow>,
    /// What may not cross, whatever other rules allow.
    pub(crate) deny: Option<TransferDeny>,
    /// `deny`: a reminder for readers; this is always the case.
    #[expect(dead_code, reason = "a reminder for readers")]
    pub(crate) otherwise: Option<DenyWord>,
}

/// `deny`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DenyWord {
    /// What the rule does not allow, it does not allow.
    Deny,
}

/// What may cross, to whom, and on what ground.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct TransferAllow {
    /// The categories, and those under them. All that a record still carries must be named.
    #[schemars(length(min = 1))]
    pub(crate) categories: Vec<Text>,
    /// Who may receive it.
    #[schemars(length(min = 1))]
    pub(crate) recipients: Vec<Text>,
    /// On what legal ground.
    pub(crate) mechanism: Located<Mechanism>,
}

/// What may not cross.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct TransferDeny {
    /// These categories, those under them and those above them. Without it: all.
    pub(crate) categories: Option<Vec<Text>>,
    /// To these recipients. Without it: to all.
    pub(crate) recipients: Option<Vec<Text>>,
}

/// The legal ground of a transfer.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Mechanism {
    /// Its kind.
    #[serde(rename = "type")]
    pub(crate) kind: MechanismWord,
    /// `adequacy`: the group that lists the adequate countries.
    pub(crate) list: Option<Text>,
    /// `dpf`: the certified importer.
    pub(crate) importer: Option<String>,
    /// `scc`: the module, 1 to 4.
    #[schemars(range(min = 1, max = 4))]
    pub(crate) module: Option<u8>,
    /// `scc`, `idta`, `bcr`: the transfer impact assessment.
    pub(crate) tia: Option<String>,
    /// `bcr`, `derogation`: the approval, or the article and its facts.
    pub(crate) reference: Option<String>,
    /// The day on which someone last verified it.
    pub(crate) verified: Option<Text>,
    /// The first moment it no longer holds. Records stay home from then on.
    pub(crate) expires: Option<Text>,
}

/// Kinds of legal ground.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MechanismWord {
    /// A decision that the country protects data well enough (GDPR Art. 45).
    Adequacy,
    /// The EU-US Data Privacy Framework: certified importers only.
    Dpf,
    /// Standard contractual clauses (Decision (EU) 2021/914).
    Scc,
    /// The United Kingdom's transfer agreement or addendum.
    Idta,
    /// Binding corporate rules (GDPR Art. 47).
    Bcr,
    /// A derogation for specific situations (GDPR Art. 49).
    Derogation,
}
