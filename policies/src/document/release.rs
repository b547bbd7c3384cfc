//! Releases: noisy totals of a dataset, window by window.

use std::{collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{Number, PathKey};
use crate::{
    plan::EventUnit,
    source::{Located, Text},
};

/// Totals of a dataset that are published with noise, window by window, so that no subject's
/// presence can be told from them. What a release may cost each subject is fixed here.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ReleaseSpec {
    /// The dataset whose records are counted.
    pub(crate) dataset: Text,
    /// Where records are held until they are counted, and where the totals are published. May be
    /// left out when the vocabulary has one region.
    pub(crate) region: Option<Text>,
    /// The topic of the totals. It is read as the dataset named like the release.
    pub(crate) topic: Text,
    /// Whom the promise protects: `{ subject, domain, period }`, or `record`.
    pub(crate) unit: Located<UnitForm>,
    /// What the release may cost one unit.
    pub(crate) budget: Located<BudgetSpec>,
    /// When windows begin, end and are published.
    pub(crate) window: Located<WindowSpec>,
    /// What one subject may contribute. The rest of it is not counted.
    pub(crate) bounds: Option<Located<BoundsSpec>>,
    /// What rows a window has. Without it: one.
    pub(crate) keys: Option<Located<KeysSpec>>,
    /// What is published of each row.
    #[schemars(length(min = 1))]
    pub(crate) release: Vec<Located<OutputSpec>>,
    /// Makes a smoother line from published totals. Costs nothing.
    pub(crate) smoothing: Option<SmoothingSpec>,
    /// Category to factor: windows are so many times as long when the dataset has a field of it.
    #[serde(default)]
    pub(crate) widen: BTreeMap<PathKey, Located<u32>>,
    /// What a window usually holds. Only for `sluicegate policy explain`.
    pub(crate) expect: Option<Located<ExpectSpec>>,
}

/// Whom the promise protects.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
pub(crate) enum UnitForm {
    /// One record: it protects a record, not the person behind many of them.
    Word(UnitWord),
    /// All records of one subject in one period.
    Subject(Box<SubjectSpec>),
}

/// `record`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UnitWord {
    /// One record.
    Record,
}

impl<'de> Deserialize<'de> for UnitForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = UnitForm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`record`, or a subject and a period")
            }

            fn visit_str<E: de::Error>(self, _: &str) -> Result<UnitForm, E> {
                Ok(UnitForm::Word(UnitWord::Record))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<UnitForm, A::Error> {
                SubjectSpec::deserialize(MapAccessDeserializer::new(map))
                    .map(|s| UnitForm::Subject(Box::new(s)))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// All records of one subject in one period.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct SubjectSpec {
    /// Where a record holds the subject's identifier.
    pub(crate) subject: Text,
    /// The `TokenDomain` whose key and spelling make one subject of one identifier.
    pub(crate) domain: Text,
    /// The time span in which a subject is protected as a whole: `24h`. The promise holds
    /// for each period; over many of them it adds up.
    pub(crate) period: Duration,
    /// What happens to a record without a subject.
    #[serde(default)]
    pub(crate) missing: MissingWord,
}

/// What happens to a record without a subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MissingWord {
    /// It is not counted.
    #[default]
    Drop,
    /// All of them count as one subject, bounded like any other.
    AsOneSubject,
}

/// What the release may cost one unit: `{ epsilon: 1.0, delta: 1e-9 }`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct BudgetSpec {
    /// How much the presence of a unit may change what is published: smaller protects more.
    pub(crate) epsilon: Number,
    /// How likely the promise may fail: `1e-9`. Without it: never, which needs
    /// `accounting: pure` and rows that are known.
    pub(crate) delta: Option<Number>,
    /// How costs of windows add up.
    #[serde(default)]
    pub(crate) accounting: AccountingWord,
}

/// How costs of windows add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AccountingWord {
    /// By zero-concentrated differential privacy, with Gaussian noise: less noise over many windows.
    #[default]
    Zcdp,
    /// By adding up epsilon, with Laplace noise.
    Pure,
}

/// What all releases of a dataset may cost one unit together.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct DatasetBudget {
    /// How much the presence of a unit may change all that is published.
    pub(crate) epsilon: Number,
    /// How likely the promise may fail: `1e-9`.
    pub(crate) delta: Option<Number>,
}

/// When windows begin, end and are published: by the clock, never by data.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct WindowSpec {
    /// What kind of window. Without it: `tumbling`, or `hopping` where `every` is given.
    #[serde(rename = "type")]
    pub(crate) kind: Option<Located<WindowWord>>,
    /// How long a window is: `5m`.
    pub(crate) size: Option<Duration>,
    /// How often a window ends: `1m`. Windows overlap, each the sum of noisy panes of this length.
    pub(crate) every: Option<Duration>,
    /// How long after midnight (or a multiple of the size), by the clocks of `timezone` or in UTC,
    /// windows and periods begin.
    pub(crate) offset: Option<Duration>,
    /// Whose clocks windows of whole days or of equal parts of a day follow: `Europe/Berlin`.
    /// Without it: UTC.
    pub(crate) timezone: Option<Text>,
    /// The day on which windows or periods of whole weeks begin. Without it: `monday` with
    /// `timezone`, else `thursday`, as 1970-01-01 was.
    pub(crate) week_starts: Option<Located<WeekDay>>,
    /// Only for `type: session`, which is refused with the reason.
    pub(crate) gap: Option<Duration>,
    /// How long after its end records for a window are still taken; `30s` without it.
    pub(crate) lateness: Option<Duration>,
    /// How far ahead of its arrival a record's own time is believed; `5s` without it.
    pub(crate) max_skew: Option<Duration>,
    /// How long after that the totals are published, so that accepted records have come through;
    /// `2s` without it.
    pub(crate) slack: Option<Duration>,
    /// What happens to records that come later.
    #[serde(default)]
    pub(crate) late: LateWord,
    /// `late: revise`: how often a window is published again. Each time costs as much as the first.
    pub(crate) revisions: Option<Located<u32>>,
    /// `late: revise`: how long after the one before.
    pub(crate) revise_after: Option<Duration>,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WeekDay {
    /// As the weeks of ISO 8601 do.
    Monday,
    /// The second day.
    Tuesday,
    /// The third day.
    Wednesday,
    /// As 1970-01-01 was.
    Thursday,
    /// The fifth day.
    Friday,
    /// The sixth day.
    Saturday,
    /// The last day.
    Sunday,
}

impl WeekDay {
    /// How many days after 1970-01-01, a Thursday, the first of its kind is.
    pub(crate) fn since_epoch(self) -> i64 {
        match self {
            Self::Thursday => 0,
            Self::Friday => 1,
            Self::Saturday => 2,
            Self::Sunday => 3,
            Self::Monday => 4,
            Self::Tuesday => 5,
            Self::Wednesday => 6,
        }
    }
}

/// What kind of window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WindowWord {
    /// One after the other.
    Tumbling,
    /// Overlapping, one beginning with each `every`.
    Hopping,
    /// Ends after a pause in a subject's records. Refused: its end reveals that pause.
    Session,
    /// Begins or ends with each record. Refused: its boundaries depend on records.
    Sliding,
    /// Ends after so many records. Refused: its boundaries depend on records.
    Count,
}

/// What happens to records that come after a window's lateness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LateWord {
    /// They are not counted.
    #[default]
    Drop,
    /// They count in the oldest window that is still open.
    AssignToOpen,
    /// The window is published again, at full cost: `revisions`, `revise-after`.
    Revise,
}

/// What one subject may contribute.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct BoundsSpec {
    /// In how many windows of a period (with `every`: panes). Without it: in all of them, which
    /// needs the most noise.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) windows_per_period: Option<Located<u32>>,
    /// In which of them, when there are more.
    #[serde(default)]
    pub(crate) choose_windows: ChooseWindowsWord,
    /// In how many rows of a window.
    #[schemars(range(min = 1, max = 10_000))]
    pub(crate) keys_per_window: Option<Located<u32>>,
    /// With how many records in each row.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) records_per_key: Option<Located<u32>>,
    /// Which rows and records count, when there are more.
    #[serde(default)]
    pub(crate) choose: ChooseWord,
}

/// Which windows of a subject count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ChooseWindowsWord {
    /// The first ones in which it appears.
    #[default]
    First,
    /// Some that are drawn in advance by a secret: fair over the period.
    Panel,
}

/// Which rows and records of a subject count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ChooseWord {
    /// Those with the smallest secret hash: the same ones whatever the order of arrival.
    #[default]
    Hash,
    /// The first to come.
    First,
}

/// What rows a window has: `{ field: campaign }`, or `{ field: ward, public: [a, b] }`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct KeysSpec {
    /// The field whose values are the rows. Values are published as they are.
    pub(crate) field: Text,
    /// The rows, known to everyone beforehand: all are published, also empty ones. Without it a
    /// row is published when its noisy number of subjects is large enough.
    pub(crate) public: Option<Located<Vec<Text>>>,
    /// No row with fewer subjects than this.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub(crate) min_subjects: Option<Located<u32>>,
    /// Which number must reach it.
    pub(crate) floor: Option<Located<FloorWord>>,
    /// Longer values (in bytes) are not counted; 128 without it.
    #[schemars(range(min = 1, max = 1_024))]
    pub(crate) max_bytes: Option<Located<u32>>,
    /// Why the values of a field whose name looks like an identifier (`campaign_id`) are no
    /// person's. Without it such a field is an error.
    pub(crate) because: Option<Text>,
}

/// Which number of subjects must reach `min-subjects`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FloorWord {
    /// The published one, with its noise. Costs nothing.
    Noisy,
    /// The true one as well. Raises the threshold by as much.
    Raw,
}

/// One published number of a row.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct OutputSpec {
    /// Which number.
    pub(crate) what: WhatWord,
    /// Its part of the budget: `0.5`. All together are at most 1.
    pub(crate) share: Number,
    /// `sum`: the field that is added up.
    pub(crate) field: Option<Text>,
    /// `sum`: decimal places that count; 0 without it.
    #[schemars(range(min = 0, max = 9))]
    pub(crate) decimals: Option<u8>,
    /// `sum`: smaller values count as the first number, larger ones as the second: `[0, 500.00]`.
    pub(crate) clamp: Option<Located<Vec<Number>>>,
    /// `sum`: the name under which it is published; that of the field without it.
    pub(crate) name: Option<Text>,
}

/// Which number is published of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WhatWord {
    /// How many different subjects.
    Subjects,
    /// How many records.
    Count,
    /// The sum of a field.
    Sum,
}

/// Exponential smoothing of published totals.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct SmoothingSpec {
    /// After how many windows a value has lost half its weight.
    #[schemars(range(min = 1, max = 1_000))]
    pub(crate) half_life: Located<u32>,
}

/// What a window usually holds (with `every`: a pane). Figures of policy: nothing is measured, and
/// nothing but the words of `explain` depends on them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ExpectSpec {
    /// Records in a window.
    #[schemars(range(min = 0))]
    pub(crate) records: u64,
    /// Different subjects in a window.
    #[schemars(range(min = 0))]
    pub(crate) subjects: u64,
    /// Different rows in a window.
    #[schemars(range(min = 0))]
    pub(crate) keys: Option<u64>,
    /// How many subjects have how many records in a window: what bounds cut off follows from it.
    #[serde(rename = "records-per-subject")]
    pub(crate) crowds: Option<Vec<CrowdSpec>>,
    /// In how many windows of a period an average subject appears.
    #[schemars(range(min = 0))]
    pub(crate) windows_per_subject: Option<u32>,
}

/// So many subjects with so many records each.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct CrowdSpec {
    /// Records of each.
    #[schemars(range(min = 0))]
    pub(crate) records: u64,
    /// Subjects.
    #[schemars(range(min = 0))]
    pub(crate) subjects: u64,
}

/// A length of time: `500ms`, `30s`, `5m`, `24h`, `7d`.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Duration(pub(crate) Text);

impl JsonSchema for Duration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // A number without its unit is read too, so that the message can ask for the unit.
        schemars::json_schema!({
            "type": ["string", "number"],
            "description": "A length of time: `500ms`, `30s`, `5m`, `24h`, `7d`."
        })
    }
}

/// A record's own time, by which it is put into windows.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct EventTimeSpec {
    /// Where a record holds it.
    pub(crate) field: Text,
    /// How it is written.
    pub(crate) unit: EventUnitWord,
}

/// How a record's own time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EventUnitWord {
    /// Seconds since 1970.
    S,
    /// Milliseconds since 1970.
    Ms,
    /// Microseconds since 1970.
    Us,
    /// Text: `2026-12-01T09:00:00Z`.
    Rfc3339,
}

impl From<EventUnitWord> for EventUnit {
    fn from(word: EventUnitWord) -> Self {
        match word {
            EventUnitWord::S => Self::Seconds,
            EventUnitWord::Ms => Self::Millis,
            EventUnitWord::Us => Self::Micros,
            EventUnitWord::Rfc3339 => Self::Rfc3339,
        }
    }
}

/// What becomes of the records of a dataset that releases count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RecordsWord {
    /// They are delivered as well.
    #[default]
    Deliver,
    /// They are counted and not delivered: the dataset is published only as releases.
    ReleasesOnly,
}
