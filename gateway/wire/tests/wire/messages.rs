//! The walker against itself, over random messages of every API, version and direction.

use std::collections::{BTreeSet, VecDeque};

use crate::common::{Fields, Random, each, is_unset, json, read, to_owned, written};
use sluicegate_wire::{
    APIS, Change, Direction, Field, Kind, Layout, Malformed, Name, Unwritable, Value, Versions,
    What, rewrite, rewrite_known,
};

#[test]
fn what_is_written_is_read() {
    each(10, |api, direction, layout, random| {
        let set = random.fields(layout);
        let bytes = written(layout, &set);
        let view =
            layout.parse(&bytes).unwrap_or_else(|e| panic!("{:?} {direction:?}: {e}", api.key));
        assert_eq!(json(layout, &read(view), false), json(layout, &set, false), "{:?}", api.key);
        assert_eq!(written(layout, &read(view)), bytes);
    });
}

#[test]
fn a_body_that_ends_early_or_late_is_refused() {
    each(2, |api, direction, layout, random| {
        let mut bytes = written(layout, &random.fields(layout));
        for _ in 0..20.min(bytes.len()) {
            let end = random.below(bytes.len() as u64) as usize;
            let cut = layout.parse(&bytes[..end]);
            assert!(cut.is_err(), "{:?} {direction:?}", api.key);
        }
        bytes.push(0);
        let more = layout.parse(&bytes).err();
        assert_eq!(more, Some(Malformed { what: What::Trailing, field: None }));
    });
}

#[test]
fn changed_bytes_are_read_or_refused_and_nothing_else() {
    each(8, |_, _, layout, random| {
        let mut bytes = written(layout, &random.fields(layout));
        for _ in 0..8 {
            if !bytes.is_empty() {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = match random.below(3) {
                    0 => 0xff,
                    1 => 0x7f,
                    _ => random.next() as u8,
                };
            }
            if let Ok(view) = layout.parse(&bytes) {
                drop(read(view));
                let mut count = 0;
                let all = rewrite(view, |_| {
                    count += 1;
                    Ok(if count % 3 == 2 { Change::Remove } else { Change::Keep })
                });
                if let Ok(Some(bytes)) = all {
                    assert!(layout.parse(&bytes).is_ok());
                }
            }
        }
    });
}

/// What becomes of each struct, in the order in which `rewrite` asks about them.
struct Model<'r> {
    random: &'r mut Random,
    fates: VecDeque<Fate>,
}

#[derive(Clone)]
enum Fate {
    Keep,
    Remove,
    Set(Fields),
}

impl Model<'_> {
    fn fate(&mut self, layout: Layout, element: bool) -> Fate {
        let fate = match self.random.below(4) {
            0 if element => Fate::Remove,
            1 | 2 => {
                let mut fields = self.random.fields(layout);
                fields.retain(|_| self.random.below(4) == 0);
                Fate::Set(fields)
            }
            _ => Fate::Keep,
        };
        self.fates.push_back(fate.clone());
        fate
    }

    /// Nothing if the struct is removed.
    fn apply(&mut self, layout: Layout, set: Fields, element: bool) -> Option<Fields> {
        let changes = match self.fate(layout, element) {
            Fate::Keep => Fields::new(),
            Fate::Remove => return None,
            Fate::Set(changes) => changes,
        };
        let mut order: Vec<&Field> =
            layout.fields.iter().filter(|field| field.versions.has(layout.version)).collect();
        // Tagged fields come last.
        order.sort_by_key(|field| field.tag.map_or(-1, i64::from));
        let mut result = Fields::new();
        for field in order {
            let old = set.iter().find(|(name, _)| *name == field.name).unwrap();
            let new = changes.iter().find(|(name, _)| *name == field.name);
            let value = match (new, field.kind, &old.1) {
                (Some(new), ..) => to_owned(&new.1),
                // What is not in the bytes is not asked about.
                (_, _, old) if field.tag.is_some() && is_unset(layout, field, old) => to_owned(old),
                (_, Kind::Struct(fields), Value::Struct(inside)) => {
                    let layout = Layout { fields, ..layout };
                    Value::Struct(self.apply(layout, inside.clone(), false).unwrap())
                }
                (_, Kind::Structs(fields), Value::List(elements)) => {
                    let layout = Layout { fields, ..layout };
                    let all = elements.iter().map(|element| match element {
                        Value::Struct(inside) => inside.clone(),
                        _ => panic!("a list of structs"),
                    });
                    let kept = all.filter_map(|inside| self.apply(layout, inside, true));
                    Value::List(kept.map(Value::Struct).collect())
                }
                (_, _, old) => to_owned(old),
            };
            result.push((field.name, value));
        }
        Some(result)
    }
}

#[test]
fn rewriting_is_reading_changing_and_writing() {
    let mut changed = 0;
    each(10, |api, direction, layout, random| {
        let set = random.fields(layout);
        let bytes = written(layout, &set);
        let mut model = Model { random, fates: VecDeque::new() };
        let expected = model.apply(layout, set, false).unwrap();
        let mut fates = model.fates;
        let result = rewrite(layout.parse(&bytes).unwrap(), |_| {
            Ok(match fates.pop_front().unwrap() {
                Fate::Keep => Change::Keep,
                Fate::Remove => Change::Remove,
                Fate::Set(changes) => Change::Set(changes),
            })
        });
        assert!(fates.is_empty());
        let result = result.unwrap();
        changed += usize::from(result.is_some());
        let result = result.unwrap_or(bytes);
        // A tagged list that has lost all its elements stays, empty; it says what its absence would.
        let result = json(layout, &read(layout.parse(&result).unwrap()), false);
        assert_eq!(result, json(layout, &expected, false), "{:?} {direction:?}", api.key);
    });
    assert!(changed > 1000);
}

#[test]
fn what_is_kept_is_not_copied_and_unknown_tags_stay() {
    each(2, |_, _, layout, random| {
        let mut bytes = written(layout, &random.fields(layout));
        let known = bytes.clone();
        let tags = layout.fields.iter().any(|field| field.tag.is_some());
        if layout.flexible && !tags {
            assert_eq!(bytes.pop(), Some(0));
            bytes.extend([2, 77, 2, 1, 2, 99, 0]);
        }
        let view = layout.parse(&bytes).unwrap();
        let without = rewrite_known(view, |_| Ok(Change::Keep)).unwrap();
        assert_eq!(without.unwrap_or_else(|| bytes.clone()), known);
        assert!(rewrite(view, |_| Ok(Change::Keep)).unwrap().is_none());
        let same = rewrite(view, |view| Ok(Change::Set(read(view)))).unwrap();
        assert_eq!(same.unwrap_or_else(|| bytes.clone()), bytes);
    });
}

#[test]
fn lists_get_further_elements() {
    let mut extended = 0;
    each(5, |api, direction, layout, random| {
        let bytes = written(layout, &random.fields(layout));
        let view = layout.parse(&bytes).unwrap();
        let (mut expected, mut extend) = (read(view), Vec::new());
        for (name, value) in &mut expected {
            let field = layout.fields.iter().find(|field| field.name == *name).unwrap();
            if let (Kind::Structs(_), None, Value::List(list)) = (field.kind, field.tag, value) {
                extend.push((*name, list.clone()));
                list.extend(list.clone());
            }
        }
        extended += extend.iter().filter(|(_, list)| !list.is_empty()).count();
        let mut extend = Some(extend);
        let result = rewrite(view, |_| Ok(extend.take().map_or(Change::Keep, Change::Extend)));
        let result = result.unwrap().unwrap_or_else(|| bytes.clone());
        let result = json(layout, &read(layout.parse(&result).unwrap()), false);
        assert_eq!(result, json(layout, &expected, false), "{:?} {direction:?}", api.key);
    });
    assert!(extended > 200, "{extended}");
}

#[test]
fn tagged_fields_are_in_order_and_once() {
    let api = APIS.iter().find(|api| api.versions.has(9) && api.flexible == 9).unwrap();
    let layout = api.layout(Direction::Request, 9).unwrap();
    let mut bytes = written(layout, &Fields::new());
    assert_eq!(bytes.pop(), Some(0));
    let with = |tags: &[u8]| layout.parse(&[&bytes, tags].concat()).err().map(|e| e.what);
    assert_eq!(with(&[2, 77, 0, 99, 0]), None);
    assert_eq!(with(&[2, 99, 0, 77, 0]), Some(What::Tag));
    assert_eq!(with(&[2, 77, 0, 77, 0]), Some(What::Tag));
    assert_eq!(with(&[1, 77, 1]), Some(What::Length));
    assert_eq!(with(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Some(What::Short));
}

/// What the walker takes for granted of the tables.
#[test]
fn tables_are_sound() {
    fn check(fields: &'static [Field], depth: usize) {
        assert!(depth < 8);
        let names: BTreeSet<Name> = fields.iter().map(|field| field.name).collect();
        assert_eq!(names.len(), fields.len(), "a name twice in a struct");
        for field in fields {
            if let Kind::Struct(inside) | Kind::Structs(inside) = field.kind {
                check(inside, depth + 1);
            }
        }
    }
    for api in APIS {
        for direction in [Direction::Request, Direction::Response] {
            let Versions(first, last) = api.versions;
            let layout = api.layout(direction, first).unwrap();
            check(layout.fields, 0);
            // A list's count is held to the bytes that are left: so each element takes one at least.
            for version in first..=last {
                elements_take_bytes(api.layout(direction, version).unwrap());
            }
        }
    }
}

fn elements_take_bytes(layout: Layout) {
    for field in layout.fields.iter().filter(|field| field.versions.has(layout.version)) {
        if let Kind::Struct(fields) | Kind::Structs(fields) = field.kind {
            let layout = Layout { fields, ..layout };
            assert!(!written(layout, &Fields::new()).is_empty());
            elements_take_bytes(layout);
        }
    }
}

#[test]
fn what_a_version_cannot_say_is_not_written() {
    let layout = |version| APIS[1].layout(Direction::Request, version).unwrap();
    let session = |id| [(Name::SessionId, Value::Int(id))];
    let mut out = Vec::new();
    let wrong = layout(11).write(&[(Name::LastFetchedEpoch, Value::Int(3))], &mut out);
    assert_eq!(wrong, Err(Unwritable::Kind(Name::LastFetchedEpoch)));
    // Ignorable, so it is left out.
    assert_eq!(layout(6).write(&session(7), &mut out), Ok(()));
    let replica = [(Name::ReplicaId, Value::Int(7))];
    assert_eq!(layout(15).write(&replica, &mut out), Err(Unwritable::Version(Name::ReplicaId)));
    let large = session(1 << 40);
    assert_eq!(layout(7).write(&large, &mut out), Err(Unwritable::Range(Name::SessionId)));
}
