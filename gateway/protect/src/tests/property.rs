//! `apply` equals a naive interpreter that walks a tree, byte for byte, on random plans and
//! random JSON with random spellings.

use proptest::{collection::vec, prelude::*, sample::select};

use sluicegate_policies::{Randomize, number::canonical};

use super::*;
use crate::actions::{
    normalize::address,
    randomize::{self, Occasion, Randomizer},
    value::Form,
};

/// JSON with its spelling: every name, scalar and blank as it is in the text.
#[derive(Clone, Debug)]
enum Doc {
    Scalar(String),
    Array(Vec<(String, Doc, String)>),
    Object(Vec<(String, String, Doc, String)>),
}

impl Doc {
    fn print(&self) -> String {
        match self {
            Doc::Scalar(text) => text.clone(),
            Doc::Array(items) => {
                let items: Vec<_> =
                    items.iter().map(|(a, doc, b)| format!("{a}{}{b}", doc.print())).collect();
                format!("[{}]", items.join(","))
            }
            Doc::Object(members) => {
                let members: Vec<_> = members
                    .iter()
                    .map(|(a, name, doc, b)| format!("{a}{name}{b}:{b}{}{a}", doc.print()))
                    .collect();
                format!("{{{}}}", members.join(","))
            }
        }
    }
}

#[derive(Clone)]
enum Place {
    Member(String),
    Element,
}

/// What is left of a path's steps after a place, in every way it can be read.
fn residues<'s>(steps: &'s [Step], place: &[Place]) -> Vec<&'s [Step]> {
    let mut all = Vec::new();
    match (steps.split_first(), place.split_first()) {
        (Some((Step::AnyDepth, rest)), _) => {
            all.extend(residues(rest, place));
            match place.split_first() {
                Some((_, deeper)) => all.extend(residues(steps, deeper)),
                None => all.push(steps),
            }
        }
        (_, None) => all.push(steps),
        (Some((step, rest)), Some((here, deeper))) => {
            let fits = match (step, here) {
                (Step::Member(wanted), Place::Member(name)) => **wanted == **name,
                (Step::AnyMember, Place::Member(_)) | (Step::Each, Place::Element) => true,
                _ => false,
            };
            if fits {
                all.extend(residues(rest, deeper));
            }
        }
        (None, Some(_)) => {}
    }
    all
}

struct Naive<'p> {
    plan: &'p Plan,
}

impl Naive<'_> {
    /// `Ok(None)`: dropped. `Err`: refused. `at`: the byte of the text at which `doc` begins.
    fn value(&self, doc: &Doc, place: &[Place], at: usize) -> Result<Option<Doc>, ()> {
        let all = |f: &FieldPlan| {
            residues(&f.path.steps, place).iter().map(|r| r.to_vec()).collect::<Vec<_>>()
        };
        let winner = self.last(&Part::Value, place);
        let is_object = matches!(doc, Doc::Object(_));
        let enters = self.plan.fields.iter().flat_map(all).any(|rest| match rest.first() {
            Some(Step::Member(_) | Step::AnyMember) => is_object,
            Some(Step::Each) => !is_object,
            Some(Step::AnyDepth) => true,
            None => false,
        });
        let unlisted = || match self.plan.unlisted {
            Unlisted::Drop => Ok(None),
            Unlisted::Keep | Unlisted::Untouched => Ok(Some(doc.clone())),
            Unlisted::Refuse => Err(()),
        };
        match (doc, winner) {
            (Doc::Scalar(text), Some(field)) => scalar(text, field, at),
            (Doc::Scalar(_), None) => unlisted(),
            (_, Some(FieldPlan { transform: Transform::Drop, .. })) => Ok(None),
            (_, Some(FieldPlan { transform: Transform::Redact, .. })) => {
                Ok(Some(Doc::Scalar("\"[redacted]\"".into())))
            }
            (_, Some(FieldPlan { transform: Transform::Constant(c), .. })) => {
                Ok(Some(Doc::Scalar(c.to_string())))
            }
            (_, Some(field)) if field.path.steps.last() != Some(&Step::AnyDepth) => {
                match &field.transform {
                    Transform::Randomize(r) => randomized(r, None, at, field),
                    _ => invalid(field),
                }
            }
            (_, None) if !enters => unlisted(),
            (_, winner) => {
                let keeps_empty = match winner {
                    Some(field) => field.transform == Transform::Keep,
                    None => self.plan.unlisted == Unlisted::Keep,
                };
                let left = self.container(doc, place, at)?;
                let empty = |doc: &Doc| matches!(doc.print().as_str(), "{}" | "[]");
                let was_empty = match doc {
                    Doc::Array(items) => items.is_empty(),
                    Doc::Object(members) => members.is_empty(),
                    Doc::Scalar(_) => unreachable!(),
                };
                let stays = !empty(&left) || place.is_empty() || (was_empty && keeps_empty);
                Ok(stays.then_some(left))
            }
        }
    }

    /// The entry that counts at a place.
    fn last(&self, part: &Part, place: &[Place]) -> Option<&FieldPlan> {
        let fits = |f: &&FieldPlan| {
            f.path.part == *part && residues(&f.path.steps, place).iter().any(|r| r.is_empty())
        };
        self.plan.fields.iter().rev().find(fits)
    }

    /// How a member's name is spelled in the output. `Ok(None)`: the member goes.
    fn name(&self, spelt: &str, name: &str, parent: &[Place]) -> Result<Option<String>, ()> {
        let place = [parent, &[Place::Member(name.to_owned())]].concat();
        let writes = |f: &FieldPlan| {
            residues(&f.path.steps, parent)
                .iter()
                .any(|r| matches!(r.first(), Some(Step::Member(written)) if **written == *name))
        };
        let alive = |f: &FieldPlan| !residues(&f.path.steps, &place).is_empty();
        let written = self.plan.names.iter().any(|word| **word == *name)
            || self.plan.fields.iter().any(writes);
        if written || !self.plan.fields.iter().any(alive) {
            return Ok(Some(spelt.to_owned()));
        }
        let Some(field) = self.last(&Part::Name, &place) else {
            return match self.plan.unlisted {
                Unlisted::Drop => Ok(None),
                Unlisted::Keep | Unlisted::Untouched => Ok(Some(spelt.to_owned())),
                Unlisted::Refuse => Err(()),
            };
        };
        match &field.transform {
            Transform::Keep => Ok(Some(spelt.to_owned())),
            Transform::Tokenize(_) => Ok(scalar(spelt, field, 0)?.map(|token| token.print())),
            _ => Ok(None),
        }
    }

    fn container(&self, doc: &Doc, place: &[Place], at: usize) -> Result<Doc, ()> {
        let below = |step: Place| [place, &[step]].concat();
        Ok(match doc {
            Doc::Scalar(_) => unreachable!(),
            Doc::Array(items) => {
                let (mut left, mut kept) = (Vec::new(), false);
                let mut at = at;
                for (a, item, b) in items {
                    at += 1 + a.len();
                    let value = self.value(item, &below(Place::Element), at)?;
                    kept |= value.is_some();
                    let value = value.unwrap_or_else(|| Doc::Scalar("null".to_owned()));
                    left.push((a.clone(), value, b.clone()));
                    at += item.print().len() + b.len();
                }
                Doc::Array(if kept { left } else { Vec::new() })
            }
            Doc::Object(members) => {
                let mut left = Vec::new();
                let mut at = at;
                for (a, name, item, b) in members {
                    let meant: String = serde_json::from_str(name).unwrap();
                    at += 1 + a.len() + name.len() + b.len() + 1 + b.len();
                    if let Some(name) = self.name(name, &meant, place)?
                        && let Some(item) = self.value(item, &below(Place::Member(meant)), at)?
                    {
                        left.push((a.clone(), name, item, b.clone()));
                    }
                    at += item.print().len() + a.len();
                }
                Doc::Object(left)
            }
        })
    }
}

fn invalid(field: &FieldPlan) -> Result<Option<Doc>, ()> {
    if field.on_invalid == OnInvalid::Refuse { Err(()) } else { Ok(None) }
}

/// The answer of the first occasion, in the value.
fn randomized(
    r: &Randomize,
    text: Option<&str>,
    at: usize,
    field: &FieldPlan,
) -> Result<Option<Doc>, ()> {
    let randomness = randomness();
    let made = Randomizer::new(r, "", 0, "acme", &keyring(), &randomness).unwrap();
    let mut occasion = Occasion::default();
    occasion.number(&randomness);
    let mut draft = String::new();
    match made.answer(text, randomize::Place { occasion: &occasion, offset: at }, &mut draft) {
        Some(Form::Text) => Ok(Some(Doc::Scalar(serde_json::to_string(&draft).unwrap()))),
        Some(_) => Ok(Some(Doc::Scalar(draft))),
        None => invalid(field),
    }
}

/// What a transform sees of a scalar.
fn meaning(spelt: &str, meant: &serde_json::Value) -> String {
    match meant {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(_) => canonical(spelt).into_owned(),
        _ => spelt.to_owned(),
    }
}

fn scalar(spelt: &str, field: &FieldPlan, at: usize) -> Result<Option<Doc>, ()> {
    let meant: serde_json::Value = serde_json::from_str(spelt).unwrap();
    let text = meaning(spelt, &meant);
    let string = |text: &str| Ok(Some(Doc::Scalar(serde_json::to_string(text).unwrap())));
    match &field.transform {
        Transform::Drop => Ok(None),
        Transform::Keep => Ok(Some(Doc::Scalar(spelt.into()))),
        Transform::Randomize(r) if meant.is_null() && r.response.covers_everything() => {
            randomized(r, None, at, field)
        }
        _ if meant.is_null() => Ok(Some(Doc::Scalar(spelt.into()))),
        Transform::Randomize(r) => randomized(r, Some(&text), at, field),
        Transform::Redact => string("[redacted]"),
        Transform::Constant(c) => Ok(Some(Doc::Scalar(c.to_string()))),
        Transform::Tokenize(token_use) => {
            let tokenizer = tokenizer(token_use, "acme", &keyring()).unwrap();
            string(tokenizer.token(&text, 0, &mut String::new()).unwrap().as_str())
        }
        Transform::Mask(mask) if mask.email => {
            let Some((local, domain)) = address(&text) else { return invalid(field) };
            string(&format!("{}@{domain}", "*".repeat(local.chars().count())))
        }
        Transform::Mask(_) => {
            let mut chars: Vec<char> = text.chars().collect();
            let shown = if chars.len() > 2 { 1 } else { 0 };
            let end = chars.len() - shown;
            chars[shown..end].fill('*');
            string(&chars.into_iter().collect::<String>())
        }
        other => unreachable!("{other:?}"),
    }
}

const NAMES: [&str; 8] = ["a", "b", "email", "é", "x/y~", "", "\u{1F600}", "a long name with \"\\"];
const WORDS: [&str; 9] =
    ["null", "true", "false", "0", "-0", "1e400", "9007199254740993", "-1.50E-7", "0.10"];
const BLANKS: [&str; 5] = ["", "", "", " ", "\n\t\r "];

/// Some characters as `\uXXXX`, in either case of hex.
fn spell(text: &str, escaped: &[bool]) -> String {
    let mut spelt = String::from("\"");
    for (i, c) in text.chars().enumerate() {
        if escaped.get(i % escaped.len().max(1)).copied().unwrap_or_default() {
            let mut units = [0; 2];
            for (n, unit) in c.encode_utf16(&mut units).iter().enumerate() {
                let hex = if n == 0 { format!("\\u{unit:04x}") } else { format!("\\u{unit:04X}") };
                spelt.push_str(&hex);
            }
        } else {
            let plain = serde_json::to_string(&c.to_string()).unwrap();
            spelt.push_str(plain.strip_prefix('"').unwrap().strip_suffix('"').unwrap());
        }
    }
    spelt + "\""
}

fn text() -> impl Strategy<Value = String> {
    let meant = prop_oneof![
        select(&["", "x", "ada@example.com", "@example.com", "[redacted]", "\u{7f}\u{1}\"/"][..])
            .prop_map(str::to_owned),
        any::<String>(),
    ];
    (meant, vec(any::<bool>(), 0..4)).prop_map(|(text, escaped)| spell(&text, &escaped))
}

fn doc() -> impl Strategy<Value = Doc> {
    let leaf =
        prop_oneof![select(&WORDS[..]).prop_map(str::to_owned), text()].prop_map(Doc::Scalar);
    let blank = || select(&BLANKS[..]).prop_map(str::to_owned);
    leaf.prop_recursive(6, 60, 6, move |inner| {
        let name = (select(&NAMES[..]), vec(any::<bool>(), 0..4));
        prop_oneof![
            vec((blank(), inner.clone(), blank()), 0..5).prop_map(Doc::Array),
            vec((blank(), name, inner, blank()), 0..6).prop_map(|members| {
                let mut seen = std::collections::HashSet::new();
                let fresh = members.into_iter().filter(|(_, (name, _), ..)| seen.insert(*name));
                let spelt = fresh.map(|(a, (name, esc), doc, b)| (a, spell(name, &esc), doc, b));
                Doc::Object(spelt.collect())
            }),
        ]
    })
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let step = prop_oneof![
        4 => select(&NAMES[..]).prop_map(|n| Step::Member(n.into())),
        2 => Just(Step::Each),
        1 => Just(Step::AnyMember),
        2 => Just(Step::AnyDepth),
    ];
    let email = Mask { first: 0, last: 0, email: true, ..stars() };
    let transform = select(vec![
        Transform::Keep,
        Transform::Keep,
        Transform::Drop,
        Transform::Redact,
        Transform::Constant(r#"{"k":[1.0]}"#.into()),
        Transform::Mask(stars()),
        Transform::Mask(email),
        Transform::Tokenize(token_use()),
        super::randomize::k_rr(&["x", "true", "0"], None),
        super::randomize::k_rr(&["", "x"], Some(1)),
        super::randomize::oue(&["a", "b", "x"], Some(0)),
        super::randomize::numeric(-5, 5, Some(0)),
    ]);
    let refuse = proptest::bool::weighted(0.1);
    let of_name = proptest::option::weighted(
        0.25,
        select(vec![Transform::Keep, Transform::Drop, Transform::Tokenize(token_use())]),
    );
    let entry = (vec(step, 0..5), transform, of_name, refuse);
    let entry = entry.prop_map(|(steps, transform, of_name, refuse)| {
        let part = if of_name.is_some() { Part::Name } else { Part::Value };
        let mut entry = field("", of_name.unwrap_or(transform));
        entry.path.part = part;
        entry.path.steps = steps.into();
        entry.on_invalid = if refuse { OnInvalid::Refuse } else { OnInvalid::Drop };
        entry
    });
    let unlisted = select(vec![Unlisted::Drop, Unlisted::Drop, Unlisted::Keep, Unlisted::Refuse]);
    let names = proptest::sample::subsequence(&NAMES[..], 0..=NAMES.len());
    (unlisted, vec(entry, 0..8), names)
        .prop_map(|(unlisted, fields, names)| knowing(&names, plan(unlisted, fields)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn splice_equals_parse_transform_serialize(plan in any_plan(), doc in doc()) {
        let text = doc.print();
        let expected = match (Naive { plan: &plan }).value(&doc, &[], 0) {
            Ok(Some(left)) => Some(left.print()),
            Ok(None) => Some("null".to_owned()),
            Err(()) => None,
        };
        let mut out = Protected::default();
        let done = compile(&plan).apply(value(text.as_bytes()), &mut out);
        let left = done.is_ok().then(|| String::from_utf8(out.value.clone()).unwrap());
        prop_assert_eq!(&left, &expected, "{}", text);
        if let Some(left) = left {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&left).is_ok());
            prop_assert!(crate::json::validate(left.as_bytes()).is_ok());
        }
    }

    #[test]
    fn any_bytes_are_transformed_or_refused(plan in any_plan(), bytes in vec(any::<u8>(), 0..64)) {
        let mut out = Protected::default();
        let headers = [("x".to_owned(), Some(bytes.clone()))];
        let record = RecordRef { key: Some(&bytes), headers: &headers, value: &bytes };
        let done = compile(&plan).apply(record, &mut out);
        if serde_json::from_slice::<serde_json::Value>(&bytes).is_err() && !bytes.is_empty() {
            prop_assert!(done.is_err());
        }
    }

    #[test]
    fn find_equals_the_first_match_of_a_tree(plan in any_plan(), doc in doc()) {
        for entry in &plan.fields {
            let text = doc.print();
            let found = find(&entry.path, value(text.as_bytes())).unwrap();
            let looked_up = entry.path.part == Part::Value;
            let found = found.map(|c| c.into_owned());
            let expected = looked_up.then(|| first(&entry.path.steps, &doc, &mut Vec::new()));
            prop_assert_eq!(found, expected.flatten());
        }
    }
}

fn first(steps: &[Step], doc: &Doc, place: &mut Vec<Place>) -> Option<String> {
    let mut below = |step: Place, doc: &Doc| {
        place.push(step);
        let found = first(steps, doc, place);
        place.pop();
        found
    };
    match doc {
        Doc::Array(items) => items.iter().find_map(|(_, item, _)| below(Place::Element, item)),
        Doc::Object(members) => members.iter().find_map(|(_, name, item, _)| {
            below(Place::Member(serde_json::from_str(name).unwrap()), item)
        }),
        Doc::Scalar(spelt) => {
            let meant: serde_json::Value = serde_json::from_str(spelt).unwrap();
            let here = residues(steps, place).iter().any(|r| r.is_empty()) && !meant.is_null();
            here.then(|| meaning(spelt, &meant))
        }
    }
}
