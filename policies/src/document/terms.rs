//! What rules speak of: words, purposes, datasets and token domains.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{DatasetBudget, Duration, EventTimeSpec, RecordsWord};
use crate::source::{Located, Text};

/// The words of the bundle. Whatever a rule names must be here; a bundle may have several
/// vocabularies, which add up.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Vocabulary {
    /// Kinds of personal data: `user.contact.email` lies under `user.contact`, and a rule that
    /// names the parent covers the child.
    #[serde(default)]
    pub(crate) categories: Vec<Category>,
    /// How sensitive a category is.
    #[serde(default)]
    pub(crate) sensitivities: Vec<Term>,
    /// Whose data it is: `customer`, `employee`.
    #[serde(default)]
    pub(crate) subjects: Vec<Term>,
    /// Who may receive data: your own teams, and others.
    #[serde(default)]
    pub(crate) recipients: Vec<Term>,
    /// Services and people that publish or read.
    #[serde(default)]
    pub(crate) principals: Vec<Principal>,
    /// Countries and other legal areas.
    #[serde(default)]
    pub(crate) jurisdictions: Vec<Jurisdiction>,
    /// Named lists of jurisdictions, each member with its own dates.
    #[serde(default)]
    pub(crate) groups: Vec<Group>,
    /// Where pipelines run.
    #[serde(default)]
    pub(crate) regions: Vec<Region>,
}

/// A word with its meaning.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Term {
    /// The word that rules use.
    pub(crate) id: Text,
    /// A short title for people.
    #[expect(dead_code, reason = "for people; read from the YAML")]
    pub(crate) title: Option<String>,
    /// What it means.
    #[expect(dead_code, reason = "for people; read from the YAML")]
    pub(crate) definition: Option<String>,
}

/// A kind of data.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Category {
    /// The word that rules and datasets use: `user.contact.email`.
    pub(crate) id: Text,
    /// A short title for people.
    #[expect(dead_code, reason = "for people; read from the YAML")]
    pub(crate) title: Option<String>,
    /// What it means.
    #[expect(dead_code, reason = "for people; read from the YAML")]
    pub(crate) definition: Option<String>,
    /// The parent category, where the dots of the id do not imply it.
    pub(crate) parent: Option<Text>,
    /// How sensitive it is: one of `sensitivities`.
    pub(crate) sensitivity: Option<Text>,
}

/// A service or a person that publishes or reads.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Principal {
    /// The name under which it is authenticated.
    pub(crate) id: Text,
    /// A short title for people.
    #[expect(dead_code, reason = "for people; read from the YAML")]
    pub(crate) title: Option<String>,
    /// The teams and recipients it belongs to.
    #[serde(default)]
    pub(crate) member_of: Vec<Text>,
    /// Where it is, for datasets whose jurisdiction is that of the principal.
    pub(crate) jurisdiction: Option<Text>,
    /// The Kafka consumer groups that it may use: names, or beginnings of names with `*` behind.
    #[serde(default)]
    pub(crate) groups: Vec<Text>,
    /// The same of Kafka's transactional ids.
    #[serde(default)]
    pub(crate) transactional_ids: Vec<Text>,
    /// The networks that it connects from: `10.0.0.0/8`. Without any: from anywhere.
    pub(crate) networks: Option<Vec<Text>>,
}

/// A country, by its ISO 3166 alpha-2 code.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Jurisdiction {
    /// Two capital letters. Mind the quotes around `"NO"`.
    pub(crate) code: Text,
    /// The name, which is also understood in records.
    pub(crate) name: Option<Text>,
    /// Other spellings that are understood in records.
    #[serde(default)]
    pub(crate) aliases: Vec<Text>,
}

/// A named list of jurisdictions.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Group {
    /// The word that rules use: `EEA`.
    pub(crate) id: Text,
    /// A short title for people.
    #[expect(dead_code, reason = "for people; read from the YAML")]
    pub(crate) title: Option<String>,
    /// The day on which someone last compared the list with its sources.
    pub(crate) last_reviewed: Option<Text>,
    /// Codes, or codes with dates.
    pub(crate) members: Vec<Located<MemberForm>>,
}

/// A member of a group: `DE`, or `{ code: DE, since: 2020-01-01 }`.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
pub(crate) enum MemberForm {
    /// A jurisdiction that is a member at all times.
    Code(String),
    /// A jurisdiction with its dates.
    Dated(Box<Member>),
}

impl<'de> Deserialize<'de> for MemberForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = MemberForm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a code, or a code with dates")
            }

            fn visit_str<E: de::Error>(self, code: &str) -> Result<MemberForm, E> {
                Ok(MemberForm::Code(code.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<MemberForm, A::Error> {
                Member::deserialize(MapAccessDeserializer::new(map))
                    .map(|m| MemberForm::Dated(Box::new(m)))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// A member of a group, with its dates.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Member {
    /// The jurisdiction.
    pub(crate) code: Text,
    /// The first day of membership. Without it: always.
    pub(crate) since: Option<Text>,
    /// The first day after it. Without it: open.
    pub(crate) until: Option<Text>,
    /// What the membership is limited to, for people: `commercial organizations`.
    #[expect(dead_code, reason = "for people; read from the YAML")]
    pub(crate) scope: Option<String>,
    /// What it rests on: `eu:2021/1772`.
    pub(crate) source: Option<String>,
}

/// A place where a pipeline runs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Region {
    /// The word that datasets use: `eu-central`.
    pub(crate) id: Text,
    /// A short title for people.
    #[expect(dead_code, reason = "for people; read from the YAML")]
    pub(crate) title: Option<String>,
    /// The jurisdiction whose law applies to the machines.
    pub(crate) jurisdiction: Text,
    /// Who operates the pipeline there.
    pub(crate) recipient: Text,
    /// Whose data is at home here: codes and groups. No border is crossed for them.
    #[serde(default)]
    pub(crate) home_of: Vec<Text>,
}

/// What data is used for.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Purpose {
    /// The purpose above it. A rule that names the parent covers this one too.
    pub(crate) parent: Option<Text>,
    /// On what it rests, by regime: `{ gdpr: art-6-1-b }`.
    #[serde(default)]
    #[expect(dead_code, reason = "for people; read from the YAML")]
    pub(crate) lawful_basis: BTreeMap<String, String>,
    /// How long data may be kept for it, as an ISO 8601 period: `P90D`.
    pub(crate) retention_max: Option<Text>,
}

/// What is in a topic: which field is which category, and where its records may go.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct DatasetSpec {
    /// The topics whose records have this form. A topic belongs to one dataset.
    #[schemars(length(min = 1))]
    pub(crate) topics: Vec<Text>,
    /// Whose data it is: words of the vocabulary's `subjects`.
    #[serde(default)]
    pub(crate) subjects: Vec<Text>,
    /// Path to category: `customer.email: user.contact.email`. `"name:readings.*": device.serial`
    /// is about the names of the members that the wildcard matches.
    #[serde(default)]
    pub(crate) fields: BTreeMap<PathKey, Text>,
    /// What happens to a field that is not listed, and to a member whose name a wildcard matches
    /// and nothing declares. `keep` needs a `because`.
    #[serde(default)]
    pub(crate) unlisted: UnlistedWord,
    /// Names of members that are words of the format, not data: they may be kept wherever `*` or
    /// `**` matches them. What is written in `fields` need not be repeated. Other names are
    /// values: give them a category with `name:`, as in `"name:readings.*": device.serial`.
    #[serde(default)]
    pub(crate) names: Vec<Text>,
    /// How to find the subject's jurisdiction: exactly one of the four ways.
    pub(crate) jurisdiction: Located<JurisdictionFrom>,
    /// Where records go: `home` (the regions at home for the subject) and names of regions.
    #[schemars(length(min = 1))]
    pub(crate) deliver_to: Vec<Text>,
    /// What happens when a rule forbids one of the places.
    #[serde(default)]
    pub(crate) if_blocked: IfBlocked,
    /// What happens when a record in a batch of a Kafka client's does not go to the listener's region,
    /// or not to it alone. Without it: `refuse`. `stub` needs a `because`.
    pub(crate) if_elsewhere: Option<Located<IfElsewhere>>,
    /// Source metadata to search by later: a name and its path.
    #[serde(default)]
    pub(crate) lineage: BTreeMap<String, Text>,
    /// What happens to a value that does not fit its transform.
    #[serde(default)]
    pub(crate) on_invalid: OnInvalidWord,
    /// The record's own time, by which releases put it into windows. Without it: its arrival.
    pub(crate) event_time: Option<EventTimeSpec>,
    /// Whether records are delivered, or only counted by releases.
    #[serde(default)]
    pub(crate) records: RecordsWord,
    /// `nothing`: records pass as they are, and nothing of them is read. Only for data that holds
    /// nothing personal; needs a `because`.
    pub(crate) protect: Option<Located<ProtectWord>>,
    /// What the ledger holds of a batch of a Kafka client's. Without it: `record`, or `batch` with
    /// `protect: nothing`.
    pub(crate) evidence: Option<Located<EvidenceWord>>,
    /// What all releases of this dataset may cost one subject in one period together. Needed when
    /// there is more than one.
    pub(crate) privacy_budget: Option<Located<DatasetBudget>>,
}

/// How much of a dataset is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ProtectWord {
    /// Records pass as they are.
    Nothing,
}

/// What the ledger holds of a batch of a Kafka client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EvidenceWord {
    /// A leaf for each record, with its tokens and its declared source, by which it can be found.
    Record,
    /// One leaf for records of one fate that follow each other: how many, and at which offsets.
    Batch,
}

/// A key of `fields` with its place.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct PathKey(pub(crate) Text);

impl PartialEq for PathKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.value == other.0.value
    }
}

impl Eq for PathKey {}

impl PartialOrd for PathKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PathKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.value.cmp(&other.0.value)
    }
}

/// What happens to fields that a dataset does not list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UnlistedWord {
    /// They disappear.
    #[default]
    Drop,
    /// The record is refused.
    Refuse,
    /// They stay: the author declares that they hold no personal data, and says why in `because`.
    Keep,
}

/// What happens when a place of `deliver-to` is forbidden.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum IfBlocked {
    /// The whole record is refused.
    #[default]
    Refuse,
    /// The forbidden place is left out and the record goes to its home.
    StayHome,
}

/// What happens to a batch with a record of another region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum IfElsewhere {
    /// The whole batch is refused, and the answer names the record.
    Refuse,
    /// The record goes whole to the regions that it belongs to, first. In its place stays a stub:
    /// `{}`, under the record's protected key.
    Stub,
}

/// What happens to a value that does not fit its transform.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnInvalidWord {
    /// It disappears.
    #[default]
    Drop,
    /// The record is refused.
    Refuse,
}

/// Where a subject's jurisdiction is read from: exactly one of the four.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct JurisdictionFrom {
    /// A path into the record: `customer.country`, or `key:country`.
    pub(crate) field: Option<Text>,
    /// The name of a header.
    pub(crate) header: Option<Text>,
    /// `true`: where the publishing principal is.
    pub(crate) principal: Option<Located<bool>>,
    /// The same for all records: a code.
    pub(crate) fixed: Option<Text>,
}

/// A space of tokens: the same value in one domain and scope gives the same token.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct TokenDomain {
    /// How a value is spelled before it becomes a token.
    #[serde(alias = "normalise")]
    pub(crate) normalize: NormalizerWord,
    /// The scope in which the same value gives the same token, unless a rule says otherwise.
    pub(crate) scope: Scope,
    /// The version of the key. A new epoch makes new tokens.
    #[serde(default = "first_epoch")]
    #[schemars(range(min = 1))]
    pub(crate) epoch: u32,
    /// The name of the master key in the keyring.
    pub(crate) key: Text,
    /// How often the epoch is raised: `30d`. Without it: not on a schedule.
    pub(crate) rotation: Option<Duration>,
}

fn first_epoch() -> u32 {
    1
}

/// How a value is spelled before it becomes a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NormalizerWord {
    /// As it is.
    Exact,
    /// One address; the domain without case, text in Unicode's normal form.
    Email,
    /// One number: digits, and a leading `+`.
    Phone,
    /// Digits of one number.
    Digits,
    /// White space and dashes off, capitals: IBAN, plates, document numbers.
    Compact,
    /// White space tidied, case folded, text in Unicode's normal form.
    Name,
}

/// The scope in which the same value gives the same token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scope {
    /// Everywhere. The weakest: everyone can join with everyone.
    Global,
    /// Within one purpose.
    Purpose,
    /// Within one recipient.
    Recipient,
    /// Within the subject's jurisdiction.
    Jurisdiction,
    /// Within one dataset.
    Dataset,
}
