//! The scalar text at a path, for what is decided before a plan is chosen: jurisdiction, lineage.
//!
//! Must never be taken for a check of the record: it stops at the first match, and only
//! [`crate::Program::apply`] reads all of it (and refuses what is malformed behind the match).

use std::borrow::Cow;

use sluicegate_policies::{FieldPath, Part, Step, number::canonical};

use super::{Kind, Malformed, Names, Scalar, Scanner, What, is_json, unescape};
use crate::{Header, RecordRef};

/// The first scalar at `path`, unescaped; a null is none. Booleans are their spelling, numbers
/// their value in its one spelling. A header is searched without case, and must not be there twice.
pub fn find<'a>(
    path: &FieldPath,
    record: RecordRef<'a>,
) -> Result<Option<Cow<'a, str>>, Malformed> {
    let whole = path.steps.iter().all(|step| *step == Step::AnyDepth);
    match &path.part {
        Part::Value if record.value.is_empty() => Ok(None),
        Part::Value => in_json(&path.steps, record.value),
        Part::Key => match record.key {
            None => Ok(None),
            Some(key) if is_json(key)? => in_json(&path.steps, key),
            Some(key) if whole => text(key).map(Some),
            Some(_) => Ok(None),
        },
        Part::Header(name) if whole => {
            if is_repeated(name, record.headers) {
                return Err(Malformed { offset: 0, what: What::DuplicateHeader });
            }
            let named = record.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
            named.and_then(|(_, value)| value.as_deref()).map(text).transpose()
        }
        Part::Header(_) | Part::Name => Ok(None),
    }
}

/// Whether more than one header has this name.
pub(crate) fn is_repeated(name: &str, headers: &[Header]) -> bool {
    headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).nth(1).is_some()
}

pub(super) fn text(bytes: &[u8]) -> Result<Cow<'_, str>, Malformed> {
    std::str::from_utf8(bytes)
        .map(Cow::Borrowed)
        .map_err(|e| Malformed { offset: e.valid_up_to(), what: What::Utf8 })
}

fn in_json<'a>(steps: &[Step], bytes: &'a [u8]) -> Result<Option<Cow<'a, str>>, Malformed> {
    let mut names = Names::default();
    let mut scanner = Scanner::new(bytes, &mut names)?;
    let places = reach(steps, vec![0]);
    let Some(scalar) = search(steps, &places, &mut scanner)? else { return Ok(None) };
    let raw = scanner.raw(scalar);
    Ok(Some(match scalar.kind {
        Kind::Text { escaped: true } => {
            let mut text = String::with_capacity(raw.len());
            unescape(raw, &mut text);
            Cow::Owned(text)
        }
        Kind::Number => canonical(raw),
        _ => Cow::Borrowed(raw),
    }))
}

/// `places`: how many steps may be behind us here, each once.
fn search(
    steps: &[Step],
    places: &[usize],
    scanner: &mut Scanner<'_, '_>,
) -> Result<Option<Scalar>, Malformed> {
    if places.is_empty() {
        scanner.skip()?;
        return Ok(None);
    }
    match scanner.peek() {
        Some(b'{') => {
            let mut object = scanner.open_object()?;
            while let Some(member) = scanner.next_member(&mut object)? {
                let name = scanner.name(member.name);
                let below = advance(steps, places, |step| match step {
                    Step::Member(wanted) => wanted.as_bytes() == name,
                    Step::AnyMember => true,
                    Step::Each | Step::AnyDepth => false,
                });
                let found = search(steps, &below, scanner)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            Ok(None)
        }
        Some(b'[') => {
            let mut array = scanner.open_array()?;
            let below = advance(steps, places, |step| *step == Step::Each);
            while scanner.next_element(&mut array)?.is_some() {
                let found = search(steps, &below, scanner)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            Ok(None)
        }
        _ => {
            let scalar = scanner.scalar()?;
            let here = places.contains(&steps.len()) && scalar.kind != Kind::Null;
            Ok(here.then_some(scalar))
        }
    }
}

fn advance(steps: &[Step], places: &[usize], moves: impl Fn(&Step) -> bool) -> Vec<usize> {
    let next = places.iter().filter_map(|place| match steps.get(*place)? {
        Step::AnyDepth => Some(*place),
        step => moves(step).then_some(place + 1),
    });
    reach(steps, next.collect())
}

/// A `**` may stand for nothing.
fn reach(steps: &[Step], mut places: Vec<usize>) -> Vec<usize> {
    let mut at = 0;
    while let Some(place) = places.get(at).copied() {
        if steps.get(place) == Some(&Step::AnyDepth) {
            places.push(place + 1);
        }
        at += 1;
    }
    places.sort_unstable();
    places.dedup();
    places
}
