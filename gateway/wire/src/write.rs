//! Messages of our own into bytes: a tree of what is set, laid out by the same tables. What is not set has its default.

use std::borrow::Cow;

use crate::{
    schema::{Field, Kind, Layout, Unset},
    tables::Name,
};

/// What a field shall have.
#[derive(Clone)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Uuid([u8; 16]),
    Str(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    Struct(Vec<(Name, Value<'a>)>),
    List(Vec<Value<'a>>),
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i32> for Value<'_> {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Str(Cow::Borrowed(value))
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(Cow::Borrowed(value))
    }
}

/// A message that this version of the protocol cannot say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    #[error("`{0:?}` is no field of this struct, or of another kind, or may not be null")]
    Kind(Name),
    #[error("`{0:?}` is too large for its field")]
    Range(Name),
    #[error("`{0:?}` is set, and this version of the message has no such field")]
    Version(Name),
    #[error("only an element of a list can be removed")]
    NoElement,
    #[error(transparent)]
    Malformed(#[from] crate::read::Malformed),
}

impl Layout {
    /// The body of a message, behind what is in `out`.
    pub fn write(self, set: &[(Name, Value<'_>)], out: &mut Vec<u8>) -> Result<(), Unwritable> {
        self.check(set)?;
        for field in self.plain() {
            self.field(field, find(set, field.name), out)?;
        }
        if self.flexible {
            let mut tags: Vec<(u32, &Field, &Value<'_>)> = Vec::new();
            for (name, value) in set {
                if let Some((tag, field)) = self.find(*name).and_then(|f| Some((f.tag?, f)))
                    && field.versions.has(self.version)
                    && !self.is_unset(field, value)
                {
                    tags.push((tag, field, value));
                }
            }
            tags.sort_by_key(|(tag, ..)| *tag);
            varuint(out, tags.len() as u64);
            for (tag, field, value) in tags {
                self.tagged_field(tag, field, value, out)?;
            }
        }
        Ok(())
    }

    /// Whether each field is one of this struct and version.
    pub(crate) fn check(self, set: &[(Name, Value<'_>)]) -> Result<(), Unwritable> {
        for (name, value) in set {
            let field = self.find(*name).ok_or(Unwritable::Kind(*name))?;
            let absent = !field.versions.has(self.version);
            if absent && !field.ignorable && !self.is_unset(field, value) {
                return Err(Unwritable::Version(*name));
            }
        }
        Ok(())
    }

    pub(crate) fn tagged_field(
        self,
        tag: u32,
        field: &Field,
        value: &Value<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unwritable> {
        varuint(out, tag.into());
        let start = out.len();
        self.field(field, Some(value), out)?;
        let size = out.len() - start;
        insert_varuint(out, start, size as u64);
        Ok(())
    }

    /// Whether a tagged field would say nothing that its absence does not.
    pub(crate) fn is_unset(self, field: &Field, value: &Value<'_>) -> bool {
        let Unset::Int(number) = field.unset else { return matches!(value, Value::Null) };
        match (field.kind, value) {
            (_, Value::Bool(value)) => *value == (number != 0),
            (_, Value::Int(value)) => *value == number,
            (_, Value::Float(value)) => *value == 0.0,
            (_, Value::Uuid(value)) => *value == [0; 16],
            (_, Value::Str(value)) => value.is_empty(),
            (_, Value::Bytes(value)) => value.is_empty(),
            (_, Value::List(value)) => value.is_empty(),
            (Kind::Struct(fields), Value::Struct(set)) => set.iter().all(|(name, value)| {
                let layout = self.of(fields);
                layout.find(*name).is_some_and(|field| layout.is_unset(field, value))
            }),
            (_, Value::Struct(_) | Value::Null) => false,
        }
    }

    /// One field, without its tag.
    pub(crate) fn field(
        self,
        field: &Field,
        value: Option<&Value<'_>>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unwritable> {
        let nullable = self.nullable(field);
        let unset;
        let value = match value {
            Some(value) => value,
            None => {
                unset = match (field.unset, field.kind) {
                    (Unset::Null, _) => Value::Null,
                    (Unset::Int(number), Kind::Bool) => Value::Bool(number != 0),
                    (Unset::Int(_), Kind::F64) => Value::Float(0.0),
                    (Unset::Int(_), Kind::Uuid) => Value::Uuid([0; 16]),
                    (Unset::Int(_), Kind::Str) => Value::Str(Cow::Borrowed("")),
                    (Unset::Int(_), Kind::Bytes | Kind::Records) => {
                        Value::Bytes(Cow::Borrowed(&[]))
                    }
                    (Unset::Int(_), Kind::Struct(_)) => Value::Struct(Vec::new()),
                    (Unset::Int(_), Kind::List(_) | Kind::Structs(_)) => Value::List(Vec::new()),
                    (Unset::Int(number), _) => Value::Int(number),
                };
                &unset
            }
        };
        self.value(field.kind, nullable, field.name, value, out)
    }

    fn value(
        self,
        kind: Kind,
        nullable: bool,
        name: Name,
        value: &Value<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unwritable> {
        let range = |_| Unwritable::Range(name);
        match (kind, value) {
            (Kind::Bool, Value::Bool(value)) => out.push(u8::from(*value)),
            (Kind::I8, Value::Int(value)) => {
                out.extend(i8::try_from(*value).map_err(range)?.to_be_bytes());
            }
            (Kind::I16, Value::Int(value)) => {
                out.extend(i16::try_from(*value).map_err(range)?.to_be_bytes());
            }
            (Kind::U16, Value::Int(value)) => {
                out.extend(u16::try_from(*value).map_err(range)?.to_be_bytes());
            }
            (Kind::I32, Value::Int(value)) => {
                out.extend(i32::try_from(*value).map_err(range)?.to_be_bytes());
            }
            (Kind::I64, Value::Int(value)) => out.extend(value.to_be_bytes()),
            (Kind::F64, Value::Float(value)) => out.extend(value.to_be_bytes()),
            (Kind::Uuid, Value::Uuid(value)) => out.extend(value),
            (Kind::Str, Value::Str(value)) => {
                // The shorter of the two lengths holds for both, as in Kafka's own writer.
                let length = i16::try_from(value.len()).map_err(range)?;
                self.length(kind, Some(length.unsigned_abs().into()), name, out)?;
                out.extend(value.as_bytes());
            }
            (Kind::Bytes | Kind::Records, Value::Bytes(value)) => {
                self.length(kind, Some(value.len()), name, out)?;
                out.extend(&**value);
            }
            (Kind::Struct(fields), Value::Struct(set)) => {
                if nullable {
                    out.push(1);
                }
                self.of(fields).write(set, out)?;
            }
            (Kind::Structs(fields), Value::List(values)) => {
                self.length(kind, Some(values.len()), name, out)?;
                for value in values {
                    let Value::Struct(set) = value else { return Err(Unwritable::Kind(name)) };
                    self.of(fields).write(set, out)?;
                }
            }
            (Kind::List(element), Value::List(values)) => {
                self.length(kind, Some(values.len()), name, out)?;
                for value in values {
                    self.value(*element, false, name, value, out)?;
                }
            }
            (Kind::Struct(_), Value::Null) if nullable => out.push(u8::MAX),
            (_, Value::Null) if nullable && kind.width().is_none() => {
                self.length(kind, None, name, out)?;
            }
            _ => return Err(Unwritable::Kind(name)),
        }
        Ok(())
    }

    fn length(
        self,
        kind: Kind,
        length: Option<usize>,
        name: Name,
        out: &mut Vec<u8>,
    ) -> Result<(), Unwritable> {
        let range = |_| Unwritable::Range(name);
        let length = length.map_or(Ok(-1), i32::try_from).map_err(range)?;
        if self.flexible {
            varuint(out, (i64::from(length) + 1).unsigned_abs());
        } else if matches!(kind, Kind::Str) {
            out.extend(i16::try_from(length).map_err(range)?.to_be_bytes());
        } else {
            out.extend(length.to_be_bytes());
        }
        Ok(())
    }
}

pub(crate) fn find<'s, 'a>(set: &'s [(Name, Value<'a>)], name: Name) -> Option<&'s Value<'a>> {
    set.iter().find(|(set, _)| *set == name).map(|(_, value)| value)
}

pub(crate) fn varuint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn varlong(out: &mut Vec<u8>, value: i64) {
    varuint(out, (value << 1 ^ value >> 63).cast_unsigned());
}

/// A number before bytes that are written already: usually one byte, so that few are moved.
pub(crate) fn insert_varuint(out: &mut Vec<u8>, at: usize, value: u64) {
    let mut number = Vec::with_capacity(5);
    varuint(&mut number, value);
    out.splice(at..at, number);
}
