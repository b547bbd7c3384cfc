//! Messages with something else in their place. The caller sees each struct and says what changes in it; all other
//! bytes are copied as they are, unknown tagged fields included. Nothing is copied if nothing changes.

use crate::{
    read::{Reader, View},
    schema::{Field, Kind, Layout},
    tables::Name,
    write::{Unwritable, Value, find, varuint},
};

/// What becomes of a struct.
pub enum Change<'a> {
    /// It stays, and so do the structs inside it unless they are changed.
    Keep,
    /// It leaves the list that it is an element of.
    Remove,
    /// These fields of it get other values; the rest of it is treated as if it were kept.
    Set(Vec<(Name, Value<'a>)>),
    /// These lists of structs get further elements, behind those that are kept.
    Extend(Vec<(Name, Vec<Value<'a>>)>),
}

/// What is to be done with the fields of a struct.
#[derive(Clone, Copy, Default)]
struct Orders<'o, 'a> {
    set: &'o [(Name, Value<'a>)],
    extend: &'o [(Name, Vec<Value<'a>>)],
}

/// The body with what `change` says of each of its structs, the outer before those inside it; nothing if that is what
/// the body is already. Structs of fields that are set or removed are not asked about.
pub fn rewrite<'a>(
    view: View<'a>,
    change: impl FnMut(View<'a>) -> Result<Change<'a>, Unwritable>,
) -> Result<Option<Vec<u8>>, Unwritable> {
    rewritten(view, false, change)
}

/// The same without the tagged fields that the tables do not know: a newer reader may know them.
pub fn rewrite_known<'a>(
    view: View<'a>,
    change: impl FnMut(View<'a>) -> Result<Change<'a>, Unwritable>,
) -> Result<Option<Vec<u8>>, Unwritable> {
    rewritten(view, true, change)
}

fn rewritten<'a>(
    view: View<'a>,
    known_only: bool,
    change: impl FnMut(View<'a>) -> Result<Change<'a>, Unwritable>,
) -> Result<Option<Vec<u8>>, Unwritable> {
    let source = view.bytes();
    let mut rewriter =
        Rewriter { source, known_only, copied: 0, out: Vec::new(), changes: 0, change };
    let mut reader = Reader::new(view.bytes());
    if rewriter.visit(view.layout(), &mut reader)? {
        return Err(Unwritable::NoElement);
    }
    if rewriter.changes == 0 {
        return Ok(None);
    }
    rewriter.copy_to(reader.at);
    Ok(Some(rewriter.out))
}

struct Rewriter<'a, F> {
    source: &'a [u8],
    /// Tagged fields that the tables do not know are left out.
    known_only: bool,
    /// Of the source, what is in `out` or replaced.
    copied: usize,
    out: Vec<u8>,
    changes: usize,
    change: F,
}

/// Where something of the source is going to be in the output, and how much had changed before it.
struct Place {
    out: usize,
    changes: usize,
}

impl<'a, F: FnMut(View<'a>) -> Result<Change<'a>, Unwritable>> Rewriter<'a, F> {
    fn copy_to(&mut self, at: usize) {
        if self.out.capacity() == 0 {
            self.out.reserve(self.source.len() + 64);
        }
        self.out.extend(self.source.get(self.copied..at).unwrap_or_default());
        self.copied = at;
    }

    /// `out` has all before a part of the source that ends at `end` and goes elsewhere.
    fn replace(&mut self, start: usize, end: usize) {
        self.copy_to(start);
        self.copied = end;
        self.changes += 1;
    }

    fn place(&self, at: usize) -> Place {
        Place { out: self.out.len() + at - self.copied, changes: self.changes }
    }

    /// Another number in place of one of the source, whose bytes are in the output.
    fn patch(&mut self, place: &Place, width: usize, flexible: bool, number: usize) {
        let mut bytes = Vec::with_capacity(5);
        if flexible {
            varuint(&mut bytes, number as u64);
        } else {
            bytes.extend((number as u32).to_be_bytes());
        }
        self.out.splice(place.out..place.out + width, bytes);
    }

    /// Whether the struct is removed.
    fn visit(&mut self, layout: Layout, reader: &mut Reader<'a>) -> Result<bool, Unwritable> {
        let start = reader.at;
        match (self.change)(View::at(layout, reader.rest()))? {
            Change::Keep => self.fields(layout, reader, Orders::default())?,
            Change::Set(set) => {
                layout.check(&set)?;
                self.fields(layout, reader, Orders { set: &set, extend: &[] })?;
            }
            Change::Extend(extend) => {
                self.fields(layout, reader, Orders { set: &[], extend: &extend })?;
            }
            Change::Remove => {
                reader.skip_struct::<false>(layout)?;
                self.replace(start, reader.at);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn fields(
        &mut self,
        layout: Layout,
        reader: &mut Reader<'a>,
        orders: Orders<'_, 'a>,
    ) -> Result<(), Unwritable> {
        for field in layout.plain() {
            let start = reader.at;
            if let Some(value) = find(orders.set, field.name) {
                reader.skip::<false>(layout, field)?;
                self.replace(start, reader.at);
                layout.field(field, Some(value), &mut self.out)?;
            } else {
                self.field(layout, field, reader, orders)?;
            }
        }
        if layout.flexible { self.tags(layout, reader, orders) } else { Ok(()) }
    }

    /// A field that is not set: copied, but for what changes inside.
    fn field(
        &mut self,
        layout: Layout,
        field: &Field,
        reader: &mut Reader<'a>,
        orders: Orders<'_, 'a>,
    ) -> Result<(), Unwritable> {
        match field.kind {
            Kind::Struct(fields) => {
                let mut after = *reader;
                after.skip::<false>(layout, field)?;
                // Null is its byte alone.
                let there = !layout.nullable(field) || reader.i8()? == 1;
                if there && self.visit(layout.of(fields), reader)? {
                    return Err(Unwritable::NoElement);
                }
            }
            Kind::Structs(fields) => {
                let (place, start) = (self.place(reader.at), reader.at);
                let coded = if layout.flexible {
                    i64::from(reader.varuint()?) - 1
                } else {
                    i64::from(reader.i32()?)
                };
                let width = reader.at - start;
                let count = usize::try_from(coded).unwrap_or(0);
                let mut kept = 0_usize;
                for _ in 0..count {
                    kept += usize::from(!self.visit(layout.of(fields), reader)?);
                }
                let more = orders.extend.iter().filter(|(name, _)| *name == field.name);
                for element in more.flat_map(|(_, elements)| elements) {
                    self.replace(reader.at, reader.at);
                    let Value::Struct(set) = element else {
                        return Err(Unwritable::Kind(field.name));
                    };
                    layout.of(fields).write(set, &mut self.out)?;
                    kept += 1;
                }
                if kept != count {
                    self.copy_to(reader.at);
                    self.patch(&place, width, layout.flexible, kept + usize::from(layout.flexible));
                }
            }
            _ => reader.skip::<false>(layout, field)?,
        }
        Ok(())
    }

    fn tags(
        &mut self,
        layout: Layout,
        reader: &mut Reader<'a>,
        orders: Orders<'_, 'a>,
    ) -> Result<(), Unwritable> {
        let (place, start) = (self.place(reader.at), reader.at);
        let mut tags = reader.tags(layout)?;
        let width = reader.at - start;
        let mut count = tags.count as usize;
        let mut least = 0;
        loop {
            let start = reader.at;
            let next = tags.next(reader)?;
            let limit = next.as_ref().map_or(u32::MAX, |(tag, _)| *tag);
            // Those that were not there and come before the next that was.
            while let Some((tag, field, value)) = next_set(layout, orders.set, least, limit) {
                least = tag.saturating_add(1);
                if !layout.is_unset(field, value) {
                    self.replace(start, start);
                    layout.tagged_field(tag, field, value, &mut self.out)?;
                    count += 1;
                }
            }
            let Some((tag, mut content)) = next else { break };
            least = tag.saturating_add(1);
            let Some(field) = layout.tagged(tag) else {
                if self.known_only {
                    self.replace(start, reader.at);
                    count -= 1;
                }
                continue;
            };
            if let Some(value) = find(orders.set, field.name) {
                self.replace(start, reader.at);
                if layout.is_unset(field, value) {
                    count -= 1;
                } else {
                    layout.tagged_field(tag, field, value, &mut self.out)?;
                }
                continue;
            }
            let mut sized = Reader { bytes: reader.bytes, at: start };
            sized.varuint()?;
            let size = self.place(sized.at);
            let width = content.at - sized.at;
            self.field(layout, field, &mut content, orders)?;
            if self.changes != size.changes {
                self.copy_to(reader.at);
                let length = self.out.len() - size.out - width;
                self.patch(&size, width, true, length);
            }
        }
        if count != tags.count as usize {
            self.copy_to(reader.at);
            self.patch(&place, width, true, count);
        }
        Ok(())
    }
}

/// Of the tagged fields to be set, the first from `least` to before `limit`.
fn next_set<'s, 'a>(
    layout: Layout,
    set: &'s [(Name, Value<'a>)],
    least: u32,
    limit: u32,
) -> Option<(u32, &'static Field, &'s Value<'a>)> {
    set.iter()
        .filter_map(|(name, value)| {
            let field = layout.find(*name)?;
            let tag = field.tag.filter(|_| field.versions.has(layout.version))?;
            (least <= tag && tag < limit).then_some((tag, field, value))
        })
        .min_by_key(|(tag, ..)| *tag)
}
