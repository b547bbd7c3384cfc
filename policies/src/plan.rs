//! What a compiled bundle hands to its enforcer: who may, where to, and what happens to
//! each field on the way. Plain data: no I/O, no clock, no strings to parse again.
//!
//! INVARIANT: everything in here was decided at compile time. The enforcer of a plan looks up
//! and applies; it never interprets a rule.

use std::{fmt, sync::Arc};

pub use crate::randomize::{
    CATEGORIES_MAX, CLAMP_MAX, Categories, Category, EPSILON_MAX, Numeric, Randomize, Response,
    Spending, label_start,
};

/// BLAKE3 over the canonical form of a bundle. It names the policy in every decision and in every
/// ledger entry. Printed as `b3:` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BundleDigest(pub [u8; 32]);

impl fmt::Display for BundleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("b3:")?;
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for BundleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z. The caller owns the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub i64);

/// What a principal asks to do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    Publish,
    Read,
}

/// The name of a rule document, as the author wrote it in `metadata.name`.
pub type RuleName = Arc<str>;

/// A dataset as the enforcer needs it: how to find jurisdiction and lineage in a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    pub name: Arc<str>,
    pub topics: Box<[Arc<str>]>,
    pub jurisdiction: JurisdictionSource,
    /// Source metadata that the producer declares (device, model version, calibration …):
    /// the name under which lineage is searched, and where the value is in the record.
    pub lineage: Box<[(Arc<str>, FieldPath)]>,
    /// The record's own time, by which releases put it into panes. Without it: its arrival.
    pub event_time: Option<EventTime>,
    /// Whether records are delivered, or only counted by releases.
    pub records: Records,
    /// Nothing of its records is read: they pass as they are.
    pub untouched: bool,
    /// What is recorded of a batch that comes as one.
    pub evidence: Evidence,
    /// A record of such a batch that belongs to another region goes there, and leaves a stub.
    pub stubs: bool,
    /// The topic holds a release: the gateway alone publishes to it.
    pub released: bool,
}

/// Where a record says when it happened, and how. A value that cannot be read refuses the record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventTime {
    /// A path to one place.
    pub path: FieldPath,
    pub unit: EventUnit,
}

/// How a record's own time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventUnit {
    /// Seconds since 1970, a JSON number; a fraction counts.
    Seconds,
    /// Milliseconds since 1970, a JSON number.
    Millis,
    /// Microseconds since 1970, a JSON number.
    Micros,
    /// RFC 3339 text with an offset.
    Rfc3339,
}

/// What becomes of the records of a dataset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Records {
    /// The default: they are delivered, and releases may count them as well.
    #[default]
    Deliver,
    /// They are counted and not delivered. Routes are decided all the same: a record may be held
    /// for counting only where a copy of it could go.
    ReleasesOnly,
}

/// What the ledger holds of a batch of a Kafka client's. Over HTTPS each record is recorded singly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// The default: each record has a leaf of its own, with its tokens and its declared source.
    #[default]
    Record,
    /// Records of one fate that follow each other are one leaf: how many, and where.
    Batch,
}

/// Where the subject's jurisdiction of a record comes from. A value that the record lacks, or
/// that the vocabulary does not know, refuses the record.
#[derive(Clone, Debug, PartialEq)]
pub enum JurisdictionSource {
    /// A field of the value, a JSON key, or a header; the scalar text found there is looked up in
    /// [`crate::Table::jurisdiction`], upper- and lower-case alike.
    Field(FieldPath),
    /// The principal's own jurisdiction, from the vocabulary.
    Principal,
    /// The same for every record of the dataset.
    Fixed(JurisdictionId),
}

/// An interned jurisdiction of one [`crate::Table`]; meaningless in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JurisdictionId(pub u16);

/// Which part of a record a path starts in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    Value,
    /// Written `key:` (the whole key) or `key:customer.id` (a JSON key).
    Key,
    /// Written `header:NAME`; names are compared without case.
    Header(Arc<str>),
    /// Written `name:readings.*`: of the value, not the members that the path's last wildcard
    /// stands for but their names.
    Name,
}

/// One step of a path into JSON.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// A member of an object, by its exact (unescaped) name.
    Member(Arc<str>),
    /// `[]`: each element of an array.
    Each,
    /// `*`: each member of an object, whatever its name.
    AnyMember,
    /// `**`: zero or more members or elements. At the end of a path: the value there and
    /// everything below it.
    AnyDepth,
}

/// A place, or a family of places, in a record: `customer.email`, `items[].sku`, `**.login`,
/// `key:`, `header:x-user`. `written` is the author's spelling, for messages and for lineage.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldPath {
    pub part: Part,
    pub steps: Box<[Step]>,
    pub written: Arc<str>,
}

/// What happens to the fields of a record for one dataset, purpose, jurisdiction and region.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// Sorted so that of several entries that match one place, the **last** is the most
    /// protective, and is the one to apply. (Incomparable overlaps do not compile.)
    pub fields: Box<[FieldPlan]>,
    /// What happens to a scalar that no entry matches, and to a member whose name only wildcards
    /// match and no entry for [`Part::Name`].
    pub unlisted: Unlisted,
    /// Names of members that are words of the format, and so no data wherever a wildcard matches
    /// them. Sorted, each once. What a path writes at a place is no data there either.
    pub names: Box<[Arc<str>]>,
    /// Every rule that shaped this plan, sorted, once each.
    pub rules: Box<[RuleName]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unlisted {
    /// The default.
    Drop,
    /// Schema drift refuses the record, naming the field's pointer.
    Refuse,
    /// The author declared the dataset's remainder free of personal data.
    Keep,
    /// The author declared the whole dataset free of personal data (`protect: nothing`): key, value and
    /// headers pass as they are, and nothing of them is read. Such a plan has no fields.
    Untouched,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldPlan {
    pub path: FieldPath,
    pub category: Arc<str>,
    pub transform: Transform,
    /// What to do when the value does not fit the transform (an invalid date, an object
    /// where a scalar was declared).
    pub on_invalid: OnInvalid,
    pub rules: Box<[RuleName]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnInvalid {
    /// The default: the value is dropped.
    Drop,
    /// The record is refused, with the field's pointer.
    Refuse,
}

/// A number as the author wrote it: `digits · 10^-scale`. No floating point on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    pub digits: i64,
    pub scale: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Transform {
    /// Bytes stay as they are.
    Keep,
    /// Member, element, key or header disappears.
    Drop,
    /// Becomes the JSON string `"[redacted]"`, whatever it was (also an object or array).
    Redact,
    /// Becomes this JSON text.
    Constant(Arc<str>),
    Mask(Mask),
    Tokenize(TokenUse),
    Generalize(Generalize),
    /// A coordinate (JSON number, or `"lat,lon"` string) truncated towards zero to this many
    /// decimal places (0–4), or a geohash string cut to this many characters.
    Geo(Geo),
    /// The answer of a draw takes the place of the value.
    Randomize(Box<Randomize>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mask {
    /// Characters (Unicode scalar values) shown at the start and at the end; when the value is
    /// not longer than `first + last`, everything is masked.
    pub first: u8,
    pub last: u8,
    pub with: char,
    /// Keep the shape of an e-mail: the local part is masked by `first`/`last`, the domain stays.
    pub email: bool,
    /// The masked stretch always has this many characters, so that length does not leak.
    /// `None` shows the length.
    pub length: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Generalize {
    /// A date or date-time as text, cut to the part; or, if `unit` is one of time since 1970, a
    /// number of it, rounded down to the part's start (UTC). Without such a unit a number does not
    /// fit.
    Date { part: DatePart, unit: EventUnit },
    /// The first `keep` characters of a postal code (spaces and dashes aside); the rest become `*`.
    PostalCode { keep: u8 },
    /// Network prefix lengths; output is `a.b.c.0/24` form.
    Ip { v4: u8, v6: u8 },
    /// `[n·width, (n+1)·width)`, written as the string `"lo-hi"`, lo inclusive, hi exclusive.
    Bucket { width: Decimal },
    /// Custom borders, ascending: below the first `"<e0"`, then `"e0-e1"`, at or above the last
    /// `"e_last+"`.
    Edges(Box<[Decimal]>),
    /// Bottom and top coding: a smaller number becomes `bottom`, a larger one `top`.
    Bound { bottom: Option<Decimal>, top: Option<Decimal> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DatePart {
    Year,
    Quarter,
    Month,
    Day,
    Hour,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Geo {
    Decimals(u8),
    Geohash(u8),
}

/// Which key makes the token, and how the value is spelled before: all of it is key identity, so
/// that changing any part changes every token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenUse {
    pub domain: Arc<str>,
    /// Resolved: `global`, `purpose=analytics`, `recipient=vendor.us`, `jurisdiction=DE`,
    /// `dataset=orders`.
    pub scope: Arc<str>,
    pub epoch: u32,
    pub normalizer: Normalizer,
    /// The name of the master key in the keyring.
    pub key: Arc<str>,
}

/// Versioned spelling rules. Changing one is a new variant, never an edit. The scalar's text is
/// the content of a string, or the one spelling of a number ([`crate::number::canonical`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Normalizer {
    /// The text as it is.
    ExactV1,
    /// One address: the local part in NFC, the domain in NFKC and lower case.
    EmailV2,
    /// One number: digits, a leading `+` or `00` as `+`, without a trunk `(0)` behind it.
    PhoneV2,
    /// Digits of one text that has nothing else but what joins them.
    DigitsV2,
    /// NFKC, upper case, white space and dashes off (IBAN, plates, document numbers).
    CompactV2,
    /// NFKC, folded case, inner runs of white space to one space.
    NameV2,
}

/// Where a record of one jurisdiction goes, under one grant.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// At least one.
    pub deliveries: Box<[Delivery]>,
    /// Regions the dataset wanted and the rules did not allow; for the ledger and for `explain`.
    pub withheld: Box<[Withheld]>,
    /// Rules in `mode: shadow` that would have decided otherwise.
    pub shadow: Box<[RuleName]>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    pub region: Arc<str>,
    /// Dense per table, so that an enforcer can keep what it makes of a plan in a plain array.
    pub plan_id: u32,
    pub plan: Arc<Plan>,
    /// Present exactly when the record leaves its subject's jurisdiction.
    pub transfer: Option<Transfer>,
}

/// A transfer across a border, and what allows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Transfer {
    pub rule: RuleName,
    pub from: Arc<str>,
    pub to: Arc<str>,
    pub recipient: Arc<str>,
    /// For people and for the ledger: `adequacy (eu:2023/1795)`, `scc module 2, TIA-114`.
    pub mechanism: Arc<str>,
    pub categories: Box<[Arc<str>]>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Withheld {
    pub region: Arc<str>,
    pub why: Refusal,
}

/// Why something was refused: for the caller, the ledger and `explain` alike. Holds words of the
/// policy only, never a value of a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Refusal {
    pub code: RefusalCode,
    /// The rule that said no; none when nothing said yes.
    pub rule: Option<RuleName>,
    /// The author's `because`, or our own sentence.
    pub detail: Arc<str>,
    pub help: Option<Arc<str>>,
}

/// Stable codes; they are part of the HTTP interface and of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefusalCode {
    UnknownPrincipal,
    UnknownTopic,
    UnknownPurpose,
    UnknownJurisdiction,
    UnknownField,
    NotPermitted,
    Forbidden,
    TransferNotAllowed,
    NoRegion,
    InvalidValue,
    WrongRegion,
    BatchRefused,
    PolicyNotInForce,
}

impl RefusalCode {
    pub const ALL: [Self; 13] = [
        Self::UnknownPrincipal,
        Self::UnknownTopic,
        Self::UnknownPurpose,
        Self::UnknownJurisdiction,
        Self::UnknownField,
        Self::NotPermitted,
        Self::Forbidden,
        Self::TransferNotAllowed,
        Self::NoRegion,
        Self::InvalidValue,
        Self::WrongRegion,
        Self::BatchRefused,
        Self::PolicyNotInForce,
    ];

    /// The code as it appears in answers, metrics and the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownPrincipal => "unknown-principal",
            Self::UnknownTopic => "unknown-topic",
            Self::UnknownPurpose => "unknown-purpose",
            Self::UnknownJurisdiction => "unknown-jurisdiction",
            Self::UnknownField => "unknown-field",
            Self::NotPermitted => "not-permitted",
            Self::Forbidden => "forbidden",
            Self::TransferNotAllowed => "transfer-not-allowed",
            Self::NoRegion => "no-region",
            Self::InvalidValue => "invalid-value",
            Self::WrongRegion => "wrong-region",
            Self::BatchRefused => "batch-refused",
            Self::PolicyNotInForce => "policy-not-in-force",
        }
    }
}

impl Transform {
    /// The word by which authors call it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::Redact => "redact",
            Self::Constant(_) => "constant",
            Self::Mask(_) => "mask",
            Self::Tokenize(_) => "tokenize",
            Self::Generalize(_) => "generalize",
            Self::Geo(_) => "geo",
            Self::Randomize(_) => "randomize",
        }
    }
}

/// The transform in the author's words: `tokenize (customer-email, purpose=analytics)`.
impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::Keep | Self::Drop | Self::Redact => Ok(()),
            Self::Constant(json) => write!(f, " ({json})"),
            Self::Mask(m) => write!(f, " (first {}, last {})", m.first, m.last),
            Self::Tokenize(t) => write!(f, " ({}, {})", t.domain, t.scope),
            Self::Generalize(g) => write!(f, " ({g})"),
            Self::Geo(Geo::Decimals(n)) => write!(f, " ({n} decimals)"),
            Self::Geo(Geo::Geohash(n)) => write!(f, " (geohash {n})"),
            Self::Randomize(r) => write!(f, " ({r})"),
        }
    }
}

impl fmt::Display for Generalize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Date { part, unit } => {
                write!(f, "date to the {}", format!("{part:?}").to_lowercase())?;
                match unit {
                    EventUnit::Rfc3339 => Ok(()),
                    unit => write!(f, ", numbers in {}", format!("{unit:?}").to_lowercase()),
                }
            }
            Self::PostalCode { keep } => write!(f, "postal code, {keep} kept"),
            Self::Ip { v4, v6 } => write!(f, "ip to /{v4} and /{v6}"),
            Self::Bucket { width } => write!(f, "buckets of {width}"),
            Self::Edges(edges) => write!(f, "{} ranges", edges.len() + 1),
            Self::Bound { .. } => f.write_str("bound"),
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.digits < 0 { "-" } else { "" };
        let digits = self.digits.unsigned_abs().to_string();
        let scale = usize::from(self.scale);
        let padded = format!("{digits:0>width$}", width = scale + 1);
        match padded.split_at_checked(padded.len() - scale) {
            Some((whole, fraction)) if scale > 0 => write!(f, "{sign}{whole}.{fraction}"),
            _ => write!(f, "{sign}{padded}"),
        }
    }
}
