//! Everything that is asked of a record, found in one pass: its jurisdiction, its declared source,
//! its time. [`find`](crate::find) answers the same for one path.

use sluicegate_policies::{FieldPath, Part, Step, number::canonical};

use super::{
    DEPTH_MAX, Kind, Malformed, Names, Scalar, Scanner, What,
    find::{is_repeated, text},
    is_json, unescape,
};
use crate::{
    RecordRef,
    automaton::{self, Automaton, ROW_EACH},
};

/// Paths, compiled. A path's number is its place in the list that the probe was made of.
pub struct Probe {
    value: Automaton,
    /// Present if a path leads into the key.
    key: Option<Automaton>,
    has_value_paths: bool,
    /// Paths that name the key as a text.
    key_texts: Box<[usize]>,
    headers: Box<[(std::sync::Arc<str>, usize)]>,
    paths: usize,
}

/// What a probe found in one record. Keep it between records. No `Debug`: it holds values.
#[derive(Default)]
pub struct Found {
    /// By path: where in `text` its scalar is.
    at: Vec<Option<(usize, usize)>>,
    text: String,
    names: Names,
    sets: Vec<u64>,
}

/// Where a record is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misread {
    /// The path that asks for the header that is there twice or is no text.
    pub path: Option<usize>,
    pub malformed: Malformed,
}

impl Found {
    /// The first scalar at a path, unescaped; a null is none. Booleans are their spelling, numbers
    /// their value in its one spelling.
    pub fn text(&self, path: usize) -> Option<&str> {
        let (start, end) = (*self.at.get(path)?)?;
        self.text.get(start..end)
    }

    fn put(&mut self, path: usize, scalar: &str) {
        put(&mut self.at, &mut self.text, path, scalar);
    }
}

/// The first one counts.
fn put(at: &mut [Option<(usize, usize)>], text: &mut String, path: usize, scalar: &str) {
    if let Some(at @ None) = at.get_mut(path) {
        let start = text.len();
        text.push_str(scalar);
        *at = Some((start, text.len()));
    }
}

impl Probe {
    pub fn new(paths: &[&FieldPath]) -> Self {
        let whole = |path: &FieldPath| path.steps.iter().all(|step| *step == Step::AnyDepth);
        let numbered = || paths.iter().copied().enumerate();
        let of = |part: Part| {
            let paths = numbered().filter(|(_, path)| path.part == part);
            let paths = paths.map(|(field, path)| automaton::Path {
                field,
                steps: &path.steps,
                of_name: false,
            });
            paths.collect::<Vec<_>>()
        };
        let key_paths = of(Part::Key);
        let headers = numbered().filter_map(|(n, path)| match &path.part {
            Part::Header(name) if whole(path) => Some((name.clone(), n)),
            _ => None,
        });
        let key_texts = numbered().filter(|(_, path)| path.part == Part::Key && whole(path));
        Self {
            has_value_paths: !of(Part::Value).is_empty(),
            value: Automaton::new(&of(Part::Value), &[]),
            key: (!key_paths.is_empty()).then(|| Automaton::new(&key_paths, &[])),
            key_texts: key_texts.map(|(n, _)| n).collect(),
            headers: headers.collect(),
            paths: paths.len(),
        }
    }

    /// Reads a record once; what was found before is forgotten.
    pub fn run(&self, record: RecordRef<'_>, found: &mut Found) -> Result<(), Misread> {
        found.at.clear();
        found.at.resize(self.paths, None);
        found.text.clear();
        let nowhere = |malformed| Misread { path: None, malformed };
        if self.has_value_paths && !record.value.is_empty() {
            search(&self.value, record.value, found).map_err(nowhere)?;
        }
        if let (Some(automaton), Some(key)) = (&self.key, record.key) {
            if is_json(key).map_err(nowhere)? {
                search(automaton, key, found).map_err(nowhere)?;
            } else if let Some(first) = self.key_texts.first() {
                let misread = |malformed| Misread { path: Some(*first), malformed };
                let key = text(key).map_err(misread)?;
                self.key_texts.iter().for_each(|path| found.put(*path, &key));
            }
        }
        for (name, path) in &self.headers {
            let misread = |malformed| Misread { path: Some(*path), malformed };
            if is_repeated(name, record.headers) {
                return Err(misread(Malformed { offset: 0, what: What::DuplicateHeader }));
            }
            let named = record.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
            if let Some((_, Some(value))) = named {
                found.put(*path, &text(value).map_err(misread)?);
            }
        }
        Ok(())
    }
}

fn search(automaton: &Automaton, bytes: &[u8], found: &mut Found) -> Result<(), Malformed> {
    let Found { at, text, names, sets } = found;
    let room = automaton.room(DEPTH_MAX + 1);
    if sets.len() < room {
        sets.resize(room, 0);
    }
    automaton.begin(sets);
    let scan = Scanner::new(bytes, names)?;
    let mut search = Search { automaton, scan, sets, at, text };
    search.value(0)?;
    search.scan.finish()
}

struct Search<'p, 'a, 's> {
    automaton: &'p Automaton,
    scan: Scanner<'a, 's>,
    sets: &'s mut [u64],
    at: &'s mut [Option<(usize, usize)>],
    text: &'s mut String,
}

impl Search<'_, '_, '_> {
    fn value(&mut self, level: usize) -> Result<(), Malformed> {
        match self.scan.peek() {
            Some(b'{') if self.automaton.enters_object(self.sets, level) => {
                let mut object = self.scan.open_object()?;
                while let Some(member) = self.scan.next_member(&mut object)? {
                    let row = self.automaton.row(self.scan.name(member.name), member.name.hash);
                    self.automaton.step(self.sets, level, row);
                    self.value(level + 1)?;
                }
                Ok(())
            }
            Some(b'[') if self.automaton.enters_array(self.sets, level) => {
                let mut array = self.scan.open_array()?;
                while self.scan.next_element(&mut array)?.is_some() {
                    self.automaton.step(self.sets, level, ROW_EACH);
                    self.value(level + 1)?;
                }
                Ok(())
            }
            Some(b'{' | b'[') => self.scan.skip(),
            _ => {
                let scalar = self.scan.scalar()?;
                self.scalar(level, scalar);
                Ok(())
            }
        }
    }

    fn scalar(&mut self, level: usize, scalar: Scalar) {
        let Self { automaton, scan, sets, at, text } = self;
        if scalar.kind == Kind::Null {
            return;
        }
        let raw = scan.raw(scalar);
        automaton.each_match(sets, level, |path| match scalar.kind {
            Kind::Text { escaped: true } => {
                if let Some(at @ None) = at.get_mut(path) {
                    let start = text.len();
                    unescape(raw, text);
                    *at = Some((start, text.len()));
                }
            }
            Kind::Number => put(at, text, path, &canonical(raw)),
            _ => put(at, text, path, raw),
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{find, json, tests::path};

    const PATHS: [&str; 9] =
        ["a", "a.b", "*.b", "**.b", "a[]", "a.**", "key:", "key:a", "header:x"];

    fn any() -> impl Strategy<Value = String> {
        let scalar = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            Just("1.50".to_owned()),
            Just("1e2".to_owned()),
            Just("\"text\"".to_owned()),
            Just("\"\\u0041\\n\"".to_owned()),
        ];
        scalar.prop_recursive(4, 24, 4, |below| {
            let name = prop_oneof![Just("a"), Just("b"), Just("c"), Just("\\u0061")];
            prop_oneof![
                prop::collection::vec((name, below.clone()), 0..4).prop_map(|members| {
                    let member = |(name, value): &(&str, String)| format!("\"{name}\":{value}");
                    format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
                }),
                prop::collection::vec(below, 0..4).prop_map(|v| format!("[{}]", v.join(", "))),
            ]
        })
    }

    proptest! {
        /// One pass finds what a search for each path finds, unless the record is malformed
        /// anywhere: then it finds nothing.
        #[test]
        fn one_pass_finds_what_a_search_for_each_path_finds(
            value in any(),
            key in prop_oneof![any(), Just("plain".to_owned())],
            header in prop::option::of("[a-z]{0,4}"),
        ) {
            let paths = PATHS.map(path);
            let probe = Probe::new(&paths.iter().collect::<Vec<_>>());
            let headers: Vec<_> =
                header.iter().map(|h| ("X".to_owned(), Some(h.clone().into_bytes()))).collect();
            let record = RecordRef {
                key: Some(key.as_bytes()),
                headers: &headers,
                value: value.as_bytes(),
            };
            let mut found = Found::default();
            let run = probe.run(record, &mut found);
            let whole = json::validate(value.as_bytes()).is_ok() && is_json(key.as_bytes()).is_ok();
            prop_assert_eq!(run.is_ok(), whole);
            if whole {
                for (n, path) in paths.iter().enumerate() {
                    let alone = find(path, record).unwrap();
                    prop_assert_eq!(found.text(n), alone.as_deref(), "{}", &path.written);
                }
            }
        }
    }
}
