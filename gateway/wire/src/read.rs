//! Messages out of bytes. [`Layout::parse`] checks all of a body once and allocates nothing; fields are then found by
//! walking their struct, which is short, and lists are read as they are iterated.

use std::fmt;

use crate::{
    schema::{Field, Kind, Layout, Unset},
    tables::Name,
};

/// What is wrong with bytes, or with a question about them, and in which field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Malformed {
    pub what: What,
    pub field: Option<Name>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The bytes end inside a value.
    Short,
    /// A length or count is negative, or larger than what is left.
    Length,
    /// Bytes are left over.
    Trailing,
    /// Null where the protocol has none.
    Null,
    /// A string that is not UTF-8.
    Text,
    /// A number of variable length that does not end, or does not fit.
    Varint,
    /// A tagged field out of order, or twice, or not of its own size.
    Tag,
    /// The reader asked for a field that the struct does not have, or as another kind than it is.
    NoSuchField,
}

impl fmt::Display for Malformed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self.what {
            What::Short => "the bytes end too early",
            What::Length => "a length is negative or larger than what is left",
            What::Trailing => "bytes are left over",
            What::Null => "null where it may not be",
            What::Text => "text that is not UTF-8",
            What::Varint => "a number of variable length is too long",
            What::Tag => "tagged fields are out of order or of a wrong size",
            What::NoSuchField => "no such field",
        })?;
        self.field.map_or(Ok(()), |name| write!(out, " in `{name:?}`"))
    }
}

impl From<What> for Malformed {
    fn from(what: What) -> Self {
        Self { what, field: None }
    }
}

impl Malformed {
    const fn at(mut self, name: Name) -> Self {
        if self.field.is_none() {
            self.field = Some(name);
        }
        self
    }
}

/// A place in bytes that were written by somebody else.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let taken = self.rest().get(..length).ok_or(What::Short)?;
        self.at += length;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let taken = self.rest().first_chunk().ok_or(What::Short)?;
        self.at += N;
        Ok(*taken)
    }

    pub(crate) fn i8(&mut self) -> Result<i8, Malformed> {
        self.array().map(i8::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn varuint(&mut self) -> Result<u32, Malformed> {
        let rest = self.rest();
        if let Some(&byte) = rest.first()
            && byte < 0x80
        {
            self.at += 1;
            return Ok(u32::from(byte));
        }
        let mut value = 0_u64;
        for (at, byte) in rest.iter().take(5).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.at += at + 1;
                return u32::try_from(value).map_err(|_| What::Varint.into());
            }
        }
        Err(if rest.len() < 5 { What::Short.into() } else { What::Varint.into() })
    }

    /// Zigzag, as inside record batches.
    pub(crate) fn varlong(&mut self) -> Result<i64, Malformed> {
        let rest = self.rest();
        if let Some(&byte) = rest.first()
            && byte < 0x80
        {
            self.at += 1;
            return Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1));
        }
        let mut value = 0_u64;
        for (at, byte) in rest.iter().take(10).enumerate() {
            if at == 9 && *byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.at += at + 1;
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(if rest.len() < 10 { What::Short.into() } else { What::Varint.into() })
    }

    pub(crate) fn varint(&mut self) -> Result<i32, Malformed> {
        i32::try_from(self.varlong()?).map_err(|_| What::Varint.into())
    }

    /// A length, never above what is left; nothing for null.
    fn length(&mut self, layout: Layout, kind: Kind) -> Result<Option<usize>, Malformed> {
        let length = if layout.flexible {
            i64::from(self.varuint()?) - 1
        } else if matches!(kind, Kind::Str) {
            i64::from(self.i16()?)
        } else {
            i64::from(self.i32()?)
        };
        match usize::try_from(length) {
            // An element takes a byte at least.
            Ok(length) if length <= self.left() => Ok(Some(length)),
            Ok(_) => Err(What::Length.into()),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(What::Length.into()),
        }
    }

    fn opaque(&mut self, layout: Layout, kind: Kind) -> Result<Option<&'a [u8]>, Malformed> {
        self.length(layout, kind)?.map(|length| self.take(length)).transpose()
    }

    /// The byte before a struct that may be null.
    fn is_there(&mut self) -> Result<bool, Malformed> {
        match self.i8()? {
            1 => Ok(true),
            -1 => Ok(false),
            _ => Err(What::Length.into()),
        }
    }

    /// Past one value. With `CHECK`, whatever a reader could stumble over later is found now.
    pub(crate) fn skip<const CHECK: bool>(
        &mut self,
        layout: Layout,
        field: &Field,
    ) -> Result<(), Malformed> {
        let nullable = layout.nullable(field);
        self.skip_value::<CHECK>(layout, field.kind, nullable).map_err(|e| e.at(field.name))
    }

    fn skip_value<const CHECK: bool>(
        &mut self,
        layout: Layout,
        kind: Kind,
        nullable: bool,
    ) -> Result<(), Malformed> {
        if let Some(width) = kind.width() {
            return self.take(width).map(|_| ());
        }
        let there = match kind {
            Kind::Struct(fields) => {
                let there = !nullable || self.is_there()?;
                if there {
                    self.skip_struct::<CHECK>(layout.of(fields))?;
                }
                there
            }
            Kind::Structs(fields) => {
                let count = self.length(layout, kind)?;
                for _ in 0..count.unwrap_or(0) {
                    self.skip_struct::<CHECK>(layout.of(fields))?;
                }
                count.is_some()
            }
            Kind::List(element) => {
                let count = self.length(layout, kind)?;
                let all = |width| count.unwrap_or(0).checked_mul(width).ok_or(What::Length);
                if let Some(width) = element.width() {
                    self.take(all(width)?)?;
                } else {
                    for _ in 0..count.unwrap_or(0) {
                        self.skip_value::<CHECK>(layout, *element, false)?;
                    }
                }
                count.is_some()
            }
            _ => {
                let bytes = self.opaque(layout, kind)?;
                if CHECK && matches!(kind, Kind::Str) {
                    text(bytes.unwrap_or_default())?;
                }
                bytes.is_some()
            }
        };
        if there || nullable { Ok(()) } else { Err(What::Null.into()) }
    }

    pub(crate) fn skip_struct<const CHECK: bool>(
        &mut self,
        layout: Layout,
    ) -> Result<(), Malformed> {
        for field in layout.plain() {
            self.skip::<CHECK>(layout, field)?;
        }
        let mut tags = self.tags(layout)?;
        while let Some((tag, mut content)) = tags.next(self)? {
            if CHECK && let Some(field) = layout.tagged(tag) {
                content.skip::<CHECK>(layout, field)?;
                if content.left() != 0 {
                    return Err(Malformed { what: What::Tag, field: Some(field.name) });
                }
            }
        }
        Ok(())
    }

    /// The tagged fields of a struct, of which there may be none.
    pub(crate) fn tags(&mut self, layout: Layout) -> Result<Tags, Malformed> {
        let count = if layout.flexible { self.varuint()? } else { 0 };
        Ok(Tags { count, left: count, least: 0 })
    }

    fn node(&mut self, layout: Layout, kind: Kind, nullable: bool) -> Result<Node<'a>, Malformed> {
        let null = |nullable: bool| if nullable { Ok(Node::Null) } else { Err(What::Null) };
        Ok(match kind {
            Kind::Bool => Node::Bool(self.i8()? != 0),
            Kind::I8 => Node::Int(self.i8()?.into()),
            Kind::I16 => Node::Int(self.i16()?.into()),
            Kind::U16 => Node::Int(self.array().map(u16::from_be_bytes)?.into()),
            Kind::I32 => Node::Int(self.i32()?.into()),
            Kind::I64 => Node::Int(self.i64()?),
            Kind::F64 => Node::Float(self.array().map(f64::from_be_bytes)?),
            Kind::Uuid => Node::Uuid(self.array()?),
            Kind::Str => match self.opaque(layout, kind)? {
                Some(bytes) => Node::Str(text(bytes)?),
                None => null(nullable)?,
            },
            Kind::Bytes | Kind::Records => match self.opaque(layout, kind)? {
                Some(bytes) => Node::Bytes(bytes),
                None => null(nullable)?,
            },
            Kind::Struct(_) if nullable && !self.is_there()? => Node::Null,
            Kind::Struct(fields) => {
                Node::Struct(View { layout: layout.of(fields), bytes: Some(self.rest()) })
            }
            Kind::List(_) | Kind::Structs(_) => match self.length(layout, kind)? {
                Some(count) => Node::List(List { layout, kind, count, bytes: self.rest() }),
                None => null(nullable)?,
            },
        })
    }
}

/// What is left of a struct's tagged fields. They come in the order of their tags, each once, so that no two readers
/// see two different messages.
pub(crate) struct Tags {
    pub(crate) count: u32,
    left: u32,
    least: u32,
}

impl Tags {
    /// The next one's tag and content, and `reader` past it.
    pub(crate) fn next<'a>(
        &mut self,
        reader: &mut Reader<'a>,
    ) -> Result<Option<(u32, Reader<'a>)>, Malformed> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let tag = reader.varuint()?;
        if tag < self.least {
            return Err(What::Tag.into());
        }
        self.least = tag.checked_add(1).ok_or(What::Tag)?;
        let size = reader.varuint()? as usize;
        if size > reader.left() {
            return Err(What::Length.into());
        }
        // It keeps its place in the whole, and ends where it ends.
        let bytes = reader.bytes.get(..reader.at + size).unwrap_or_default();
        let content = Reader { bytes, at: reader.at };
        reader.at += size;
        Ok(Some((tag, content)))
    }
}

fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    str::from_utf8(bytes).map_err(|_| What::Text.into())
}

/// A value where it is in its message.
#[derive(Clone, Copy)]
pub enum Node<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Uuid([u8; 16]),
    Str(&'a str),
    Bytes(&'a [u8]),
    Struct(View<'a>),
    List(List<'a>),
}

impl Layout {
    /// A body that is well-formed to its last byte.
    pub fn parse(self, bytes: &[u8]) -> Result<View<'_>, Malformed> {
        let mut reader = Reader::new(bytes);
        reader.skip_struct::<true>(self)?;
        if reader.left() != 0 {
            return Err(What::Trailing.into());
        }
        Ok(View { layout: self, bytes: Some(bytes) })
    }
}

/// A struct where it is in its message.
#[derive(Clone, Copy)]
pub struct View<'a> {
    layout: Layout,
    /// From its first byte on; nothing for one that nobody set.
    bytes: Option<&'a [u8]>,
}

impl<'a> View<'a> {
    pub(crate) const fn at(layout: Layout, bytes: &'a [u8]) -> Self {
        Self { layout, bytes: Some(bytes) }
    }

    pub const fn layout(&self) -> Layout {
        self.layout
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes.unwrap_or_default()
    }

    /// A field, or what it has if it is not set or this version does not have it.
    pub fn get(&self, name: Name) -> Result<Node<'a>, Malformed> {
        let wanted = self.layout.find(name);
        let wanted = wanted.ok_or(Malformed { what: What::NoSuchField, field: Some(name) })?;
        self.read(wanted).map_err(|e| e.at(name))
    }

    fn read(&self, wanted: &Field) -> Result<Node<'a>, Malformed> {
        let layout = self.layout;
        let bytes = self.bytes.filter(|_| wanted.versions.has(layout.version));
        let Some(bytes) = bytes else { return Ok(self.unset(wanted)) };
        let mut reader = Reader::new(bytes);
        let nullable = layout.nullable(wanted);
        for field in layout.plain() {
            if field.name == wanted.name {
                return reader.node(layout, field.kind, nullable);
            }
            reader.skip::<false>(layout, field)?;
        }
        let mut tags = reader.tags(layout)?;
        while let Some((tag, mut content)) = tags.next(&mut reader)? {
            if Some(tag) == wanted.tag {
                return content.node(layout, wanted.kind, nullable);
            }
        }
        Ok(self.unset(wanted))
    }

    fn unset(&self, field: &Field) -> Node<'a> {
        let Unset::Int(number) = field.unset else { return Node::Null };
        match field.kind {
            Kind::Bool => Node::Bool(number != 0),
            Kind::I8 | Kind::I16 | Kind::U16 | Kind::I32 | Kind::I64 => Node::Int(number),
            Kind::F64 => Node::Float(0.0),
            Kind::Uuid => Node::Uuid([0; 16]),
            Kind::Str => Node::Str(""),
            Kind::Bytes | Kind::Records => Node::Bytes(&[]),
            Kind::Struct(fields) => {
                Node::Struct(View { layout: self.layout.of(fields), bytes: None })
            }
            kind @ (Kind::List(_) | Kind::Structs(_)) => {
                Node::List(List { layout: self.layout, kind, count: 0, bytes: &[] })
            }
        }
    }

    pub fn bool(&self, name: Name) -> Result<bool, Malformed> {
        match self.get(name)? {
            Node::Bool(value) => Ok(value),
            other => Err(other.mismatch(name)),
        }
    }

    pub fn int<T: TryFrom<i64>>(&self, name: Name) -> Result<T, Malformed> {
        match self.get(name)? {
            Node::Int(value) => T::try_from(value).map_err(|_| Node::Int(value).mismatch(name)),
            other => Err(other.mismatch(name)),
        }
    }

    pub fn uuid(&self, name: Name) -> Result<[u8; 16], Malformed> {
        match self.get(name)? {
            Node::Uuid(value) => Ok(value),
            other => Err(other.mismatch(name)),
        }
    }

    /// A string; nothing for null.
    pub fn text(&self, name: Name) -> Result<Option<&'a str>, Malformed> {
        match self.get(name)? {
            Node::Str(value) => Ok(Some(value)),
            Node::Null => Ok(None),
            other => Err(other.mismatch(name)),
        }
    }

    /// A string that may not be null.
    pub fn str(&self, name: Name) -> Result<&'a str, Malformed> {
        self.text(name)?.ok_or(Malformed { what: What::Null, field: Some(name) })
    }

    /// Bytes or records; nothing for null.
    pub fn data(&self, name: Name) -> Result<Option<&'a [u8]>, Malformed> {
        match self.get(name)? {
            Node::Bytes(value) => Ok(Some(value)),
            Node::Null => Ok(None),
            other => Err(other.mismatch(name)),
        }
    }

    /// A struct inside this one; nothing for null.
    pub fn inner(&self, name: Name) -> Result<Option<Self>, Malformed> {
        match self.get(name)? {
            Node::Struct(value) => Ok(Some(value)),
            Node::Null => Ok(None),
            other => Err(other.mismatch(name)),
        }
    }

    /// A list; nothing for null, which some requests tell from an empty one.
    pub fn list(&self, name: Name) -> Result<Option<List<'a>>, Malformed> {
        match self.get(name)? {
            Node::List(value) => Ok(Some(value)),
            Node::Null => Ok(None),
            other => Err(other.mismatch(name)),
        }
    }

    /// The structs of a list, of which null has none.
    pub fn structs(
        &self,
        name: Name,
    ) -> Result<impl Iterator<Item = Result<Self, Malformed>> + use<'a>, Malformed> {
        let list = self.list(name)?;
        Ok(list.into_iter().flat_map(List::nodes).map(move |node| match node? {
            Node::Struct(view) => Ok(view),
            other => Err(other.mismatch(name)),
        }))
    }
}

impl Node<'_> {
    const fn mismatch(self, name: Name) -> Malformed {
        let what = if matches!(self, Self::Null) { What::Null } else { What::NoSuchField };
        Malformed { what, field: Some(name) }
    }
}

/// A list where it is in its message.
#[derive(Clone, Copy)]
pub struct List<'a> {
    layout: Layout,
    kind: Kind,
    count: usize,
    bytes: &'a [u8],
}

impl<'a> List<'a> {
    pub const fn len(&self) -> usize {
        self.count
    }

    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn nodes(self) -> impl Iterator<Item = Result<Node<'a>, Malformed>> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        let mut left = self.count;
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let start = reader;
            let node = match self.kind {
                Kind::Structs(fields) => {
                    let layout = self.layout.of(fields);
                    let skipped = reader.skip_struct::<false>(layout);
                    skipped.map(|()| Node::Struct(View::at(layout, start.rest())))
                }
                Kind::List(element) => {
                    let node = { start }.node(self.layout, *element, false);
                    let skipped = reader.skip_value::<false>(self.layout, *element, false);
                    skipped.and(node)
                }
                _ => Err(What::NoSuchField.into()),
            };
            if node.is_err() {
                left = 0;
            }
            Some(node)
        })
    }
}
