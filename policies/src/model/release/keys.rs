//! Rows: values that are known beforehand, or found in records; and what must not become one.

use super::{Field, Making, fields};
use crate::{
    diagnostic::Findings,
    document::{FloorWord, KeysSpec, Mode},
    model::{Id, Model, Template},
    plan::{FieldPath, Part, Step},
    source::{Located, Text},
};

const MAX_BYTES: u32 = 128;
const PUBLIC_MAX: usize = 100_000;

/// Words of a category that mean an identifier, wherever they are in it.
const CATEGORY_WORDS: [&str; 27] = [
    "account",
    "address",
    "card",
    "contact",
    "cookie",
    "device",
    "email",
    "e-mail",
    "handle",
    "iban",
    "id",
    "identifier",
    "imei",
    "ip",
    "login",
    "mail",
    "mobile",
    "name",
    "passport",
    "phone",
    "plate",
    "session",
    "ssn",
    "token",
    "user-name",
    "username",
    "uuid",
];
/// Last words of a field's name that mean an identifier, whatever comes before them.
const LAST_WORDS: [&str; 34] = [
    "addr",
    "address",
    "birth",
    "birthdate",
    "birthday",
    "cookie",
    "dob",
    "email",
    "fingerprint",
    "guid",
    "hash",
    "iban",
    "id",
    "identifier",
    "ids",
    "imei",
    "ip",
    "ipv",
    "login",
    "mac",
    "mail",
    "mobile",
    "msisdn",
    "passport",
    "phone",
    "plate",
    "session",
    "ssn",
    "surname",
    "telephone",
    "token",
    "username",
    "uuid",
    "vin",
];
/// Names that mean an identifier when nothing comes before them.
const WHOLE_NAMES: [&str; 12] = [
    "account", "customer", "device", "fullname", "name", "nickname", "patient", "person",
    "subject", "tel", "user", "visitor",
];
/// Words that mean an identifier of whatever comes right before them.
const NUMBERS: [&str; 4] = ["no", "nr", "num", "number"];
/// What has such a number to itself, or names its person.
const OWNERS: [&str; 22] = [
    "bank",
    "card",
    "case",
    "chart",
    "client",
    "contact",
    "credit",
    "employee",
    "insurance",
    "invoice",
    "licence",
    "license",
    "member",
    "national",
    "nhs",
    "order",
    "phone",
    "policy",
    "registration",
    "serial",
    "social",
    "tax",
];
/// What comes before `name` where it is a person's.
const NAMES: [&str; 12] = [
    "client", "display", "employee", "family", "first", "full", "given", "last", "maiden",
    "member", "middle", "nick",
];
/// In what form something is written: what it is says the word before.
const FORMS: [&str; 12] = [
    "clean",
    "enc",
    "encoded",
    "hashed",
    "lower",
    "lowercase",
    "masked",
    "md",
    "norm",
    "normalised",
    "normalized",
    "raw",
];
/// Ends of words that mean an identifier.
const GLUED: [&str; 6] = ["id", "email", "uuid", "nummer", "username", "addr"];
/// Words that end in `id` and have nothing to do with identifiers.
const INNOCENT: [&str; 12] = [
    "aid", "android", "bid", "covid", "fluid", "grid", "hybrid", "liquid", "paid", "solid",
    "valid", "void",
];

/// Rows, before the threshold is known.
pub(super) enum Rows {
    Whole,
    Public { path: FieldPath, values: Box<[std::sync::Arc<str>]> },
    Unknown { path: FieldPath, max_bytes: u32, floor: Option<(u32, FloorWord)> },
}

impl Rows {
    pub(super) fn unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}

pub(super) fn rows(
    making: &Making<'_>,
    keys: Option<&Located<KeysSpec>>,
    findings: &mut Findings<'_>,
) -> Option<Rows> {
    let Some(keys) = keys.map(|k| &k.value) else { return Some(Rows::Whole) };
    let field = fields::field(making, &keys.field, findings)?;
    if making.is_subject(&field.path) {
        findings
            .error(keys.field.span, format!("`{}` is the subject itself", keys.field.value))
            .help("its values would be published: choose a field that many subjects share");
        return None;
    }
    match &keys.public {
        Some(public) => self::public(keys, field, public, findings),
        None => unknown(making, keys, field, findings),
    }
}

fn public(
    keys: &KeysSpec,
    field: Field,
    public: &Located<Vec<Text>>,
    findings: &mut Findings<'_>,
) -> Option<Rows> {
    let before = findings.errors();
    let floor = keys.floor.map(|f| ("floor", f.span));
    let least = keys.min_subjects.map(|m| ("min-subjects", m.span));
    for (key, span) in floor.into_iter().chain(least) {
        findings.error(span, format!("`{key}` cannot be combined with `public` rows")).help(
            "public rows are always published, or their absence would tell of records: remove it",
        );
    }
    if let Some(max) = keys.max_bytes {
        findings
            .error(max.span, "`max-bytes` cannot be combined with `public` rows")
            .help("what is not in the list is not counted: remove it");
    }
    let values = &public.value;
    if values.is_empty() || values.len() > PUBLIC_MAX {
        findings
            .error(public.span, format!("`public` lists {} rows", values.len()))
            .help(format!("list 1 to {PUBLIC_MAX} values"));
    }
    let mut seen = std::collections::BTreeMap::new();
    for value in values {
        if let Some(first) = seen.insert(value.value.as_str(), value.span) {
            findings
                .error(value.span, format!("the row `{}` is listed twice", value.value))
                .related(first, "it is listed here already");
        }
    }
    let values = values.iter().map(|v| v.value.as_str().into()).collect();
    (findings.errors() == before).then_some(Rows::Public { path: field.path, values })
}

fn unknown(
    making: &Making<'_>,
    keys: &KeysSpec,
    field: Field,
    findings: &mut Findings<'_>,
) -> Option<Rows> {
    let raw = keys.floor.filter(|f| f.value == FloorWord::Raw);
    if let (Some(raw), None) = (raw, keys.min_subjects) {
        findings
            .error(raw.span, "`floor: raw` does not say how many subjects")
            .help("add `min-subjects: 20`");
        return None;
    }
    let word = keys.floor.map_or(FloorWord::Noisy, |f| f.value);
    let made = || {
        Some(Rows::Unknown {
            path: field.path.clone(),
            max_bytes: keys.max_bytes.map_or(MAX_BYTES, |m| m.value),
            floor: keys.min_subjects.map(|m| (m.value, word)),
        })
    };
    if let Some(sign) = identifies(making, &field) {
        let escape = match (&sign, &keys.because) {
            (Sign::Policy(_), _) => "",
            (Sign::Name(_), Some(because)) if !because.value.trim().is_empty() => return made(),
            (Sign::Name(_), _) => {
                ", or, if it does not identify people, say so in a `because` of `keys`"
            }
        };
        let (Sign::Policy(why) | Sign::Name(why)) = sign;
        findings
            .error(keys.field.span, format!("`{}` looks like an identifier: {why}", keys.field.value))
            .help(format!("values of rows are published as they are: choose a field that many subjects share, or list the rows under `public`{escape}"));
        return None;
    }
    made()
}

/// Why the values of a field may name people.
enum Sign {
    /// The policy itself says so.
    Policy(String),
    /// Only its name looks like it, which the author may know better.
    Name(String),
}

fn identifies(making: &Making<'_>, field: &Field) -> Option<Sign> {
    let (model, dataset) = (making.model, making.source);
    for category in &field.categories {
        let name = model.categories.name(*category);
        let mut lines =
            model.categories.ids().filter(|up| model.category_tree.covers(*up, *category));
        if lines.any(|up| category_of_identifier(&model.categories.name(up))) {
            return Some(Sign::Policy(format!("its category is `{name}`")));
        }
    }
    if making.is_like_subject(field) {
        return Some(Sign::Policy("its category is that of the subject".to_owned()));
    }
    if let Some(rule) = tokenized(model, dataset, field) {
        let rule = model.rules.name(rule);
        return Some(Sign::Policy(format!("the rule `{rule}` makes tokens of it")));
    }
    let name = last_name(&field.path)?;
    name_of_identifier(name).then(|| Sign::Name(format!("so is its name, `{name}`")))
}

/// A rule that makes tokens of the field. Drafts do not count.
fn tokenized(model: &Model, dataset: Id, field: &Field) -> Option<Id> {
    let applied = |r: Id| model.heads.get(r).is_some_and(|h| h.mode != Mode::Draft);
    let rules = model.protection.iter().filter(|r| {
        applied(r.rule)
            && r.datasets.as_ref().is_none_or(|d| d.contains(dataset))
            && field.categories.iter().any(|f| r.categories.as_ref().is_none_or(|c| c.contains(*f)))
    });
    let mut tokens =
        rules.filter(|r| r.entries.iter().any(|e| matches!(e.template, Template::Tokenize { .. })));
    tokens.next().map(|r| r.rule)
}

fn last_name(path: &FieldPath) -> Option<&str> {
    match (&path.part, path.steps.last()) {
        (_, Some(Step::Member(name))) => Some(name),
        (Part::Header(name), _) => Some(name),
        _ => None,
    }
}

/// `user.email`, `user.device-id`, `payment.card-number`; not `user`, under which everything may be.
fn category_of_identifier(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    CATEGORY_WORDS.contains(&last) || words_of_identifier(&words(name))
}

/// `user_id`, `userId`, `userid`, `clientIP`, `name`; not `grid`, not `campaign`.
fn name_of_identifier(name: &str) -> bool {
    let words = words(name);
    let whole = matches!(words.as_slice(), [only] if WHOLE_NAMES.contains(&only.as_str()));
    whole || words_of_identifier(&words)
}

/// Whether the last word that says something names an identifier, or does so with the one before.
fn words_of_identifier(words: &[String]) -> bool {
    let mut telling = words.iter().rev().map(|w| w.trim_end_matches(|c: char| c.is_ascii_digit()));
    let Some(last) = telling.find(|w| !w.is_empty() && !FORMS.contains(w)) else { return false };
    let before = telling.next().unwrap_or_default();
    let whose = OWNERS.contains(&before) || WHOLE_NAMES.contains(&before);
    let glued = GLUED.iter().any(|end| last.ends_with(end)) || last.starts_with("email");
    LAST_WORDS.contains(&last)
        || (last == "date" && before == "birth")
        || (glued && !INNOCENT.contains(&last))
        || (NUMBERS.contains(&last) && whose)
        || (last == "name" && (NAMES.contains(&before) || WHOLE_NAMES.contains(&before)))
}

/// The words of a name in lower case: at `_`, `-`, blanks and where small letters become capital.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut small_before = false;
    for c in name.chars() {
        let border = !c.is_alphanumeric();
        if border || (c.is_uppercase() && small_before) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| !border) {
            word.extend(c.to_lowercase());
        }
        small_before = c.is_lowercase() || c.is_numeric();
    }
    words.retain(|w| !w.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_identifiers_are_recognized() {
        let all = [
            "id",
            "user_id",
            "userId",
            "userid",
            "deviceID",
            "email",
            "workEmail",
            "contact-email",
            "uuid",
            "sessionuuid",
            "login",
            "phone",
            "client_ip",
            "clientIP",
            "ip",
            "device",
            "session",
            "name",
            "cookie",
            "token",
            "x-user-id",
            "IMEI",
            "order_ids",
            "first_name",
            "user_name",
            "phone_number",
            "phoneNumber",
            "account_number",
            "customer_no",
            "card_number",
            "nhs_number",
            "license_plate",
            "vin",
            "mac",
            "ipv4",
            "client_addr",
            "fingerprint",
            "email_lower",
            "emailaddr",
            "user_email_hash2",
            "userid2",
            "Kundennummer",
            "date_of_birth",
            "birthDate",
        ];
        for name in all {
            assert!(name_of_identifier(name), "{name}");
        }
        let none = [
            "campaign",
            "ward",
            "country",
            "city",
            "paid",
            "grid",
            "plan_name",
            "category",
            "device_type",
            "status",
            "amount",
            "is_valid",
            "medium",
            "ward_number",
            "flight_number",
            "campaign_name",
            "template",
            "number",
            "raw",
            "",
        ];
        for name in none {
            assert!(!name_of_identifier(name), "{name}");
        }
    }

    #[test]
    fn categories_of_identifiers_are_recognized() {
        let all = [
            "user.id",
            "user.device-id",
            "user.email-address",
            "payment.card-number",
            "user.first-name",
            "user.ids",
            "patient.number",
            "user.handle",
            "user.financial.card",
            "user.birth-date",
            "user.name",
        ];
        for name in all {
            assert!(category_of_identifier(name), "{name}");
        }
        for name in ["user", "user.location.country", "market.item", "user.device-type", "ward"] {
            assert!(!category_of_identifier(name), "{name}");
        }
    }
}
