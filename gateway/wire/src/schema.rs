//! How a message is laid out: fields in order, each with the versions that have it. The tables are data; what reads,
//! writes and rewrites walks them, so that all APIs share one reader.

use crate::tables::{APIS, Key, Name};

/// The first and the last version; none if the last is smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions(pub i16, pub i16);

impl Versions {
    const ALL: Self = Self(0, i16::MAX);
    const NONE: Self = Self(0, -1);

    pub const fn has(self, version: i16) -> bool {
        self.0 <= version && version <= self.1
    }
}

/// What a name or an id refers to, where Kafka's definitions say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entity {
    Topic,
    Group,
    Transaction,
    Producer,
    Broker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    I8,
    I16,
    U16,
    I32,
    I64,
    F64,
    Uuid,
    Str,
    Bytes,
    /// Bytes that hold record batches.
    Records,
    Struct(&'static [Field]),
    /// A list of anything but structs.
    List(&'static Kind),
    /// A list of structs.
    Structs(&'static [Field]),
}

impl Kind {
    /// Bytes that a value takes, where all take as many.
    pub(crate) const fn width(self) -> Option<usize> {
        match self {
            Self::Bool | Self::I8 => Some(1),
            Self::I16 | Self::U16 => Some(2),
            Self::I32 => Some(4),
            Self::I64 | Self::F64 => Some(8),
            Self::Uuid => Some(16),
            _ => None,
        }
    }
}

/// What a field has if nobody sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unset {
    Null,
    /// The number; of kinds that are none, the empty value.
    Int(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: Name,
    pub kind: Kind,
    pub versions: Versions,
    pub nullable: Versions,
    /// Its number among the tagged fields, which are only written if they are set.
    pub tag: Option<u32>,
    pub unset: Unset,
    /// Whether a version without the field may be written although it is set.
    pub ignorable: bool,
    pub entity: Option<Entity>,
}

// The words of the tables.

pub(crate) const fn f(name: Name, kind: Kind) -> Field {
    Field {
        name,
        kind,
        versions: Versions::ALL,
        nullable: Versions::NONE,
        tag: None,
        unset: Unset::Int(0),
        ignorable: false,
        entity: None,
    }
}

pub(crate) const fn inner(name: Name, fields: &'static [Field]) -> Field {
    f(name, Kind::Struct(fields))
}

pub(crate) const fn list(name: Name, fields: &'static [Field]) -> Field {
    f(name, Kind::Structs(fields))
}

impl Field {
    pub(crate) const fn since(self, version: i16) -> Self {
        self.within(version, i16::MAX)
    }

    pub(crate) const fn until(self, version: i16) -> Self {
        self.within(0, version)
    }

    pub(crate) const fn within(mut self, first: i16, last: i16) -> Self {
        self.versions = Versions(first, last);
        self
    }

    pub(crate) const fn nullable(self) -> Self {
        self.nullable_since(0)
    }

    pub(crate) const fn nullable_since(mut self, version: i16) -> Self {
        self.nullable = Versions(version, i16::MAX);
        self
    }

    pub(crate) const fn tag(mut self, tag: u32) -> Self {
        self.tag = Some(tag);
        self
    }

    pub(crate) const fn default(mut self, number: i64) -> Self {
        self.unset = Unset::Int(number);
        self
    }

    pub(crate) const fn default_null(mut self) -> Self {
        self.unset = Unset::Null;
        self
    }

    pub(crate) const fn ignorable(mut self) -> Self {
        self.ignorable = true;
        self
    }

    pub(crate) const fn entity(mut self, entity: Entity) -> Self {
        self.entity = Some(entity);
        self
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Request,
    Response,
}

/// One API of Kafka, in the versions that this crate knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Api {
    pub key: Key,
    pub versions: Versions,
    /// The first version with compact lengths and tagged fields.
    pub flexible: i16,
    request: &'static [Field],
    response: &'static [Field],
}

impl Api {
    pub(crate) const fn of(
        key: Key,
        versions: (i16, i16),
        flexible: i16,
        request: &'static [Field],
        response: &'static [Field],
    ) -> Self {
        Self { key, versions: Versions(versions.0, versions.1), flexible, request, response }
    }

    pub fn find(key: i16) -> Option<&'static Self> {
        let at = APIS.binary_search_by_key(&key, |api| api.key as i16).ok()?;
        APIS.get(at)
    }

    /// How its bodies are laid out in a version; nothing for a version that is not known.
    pub fn layout(&self, direction: Direction, version: i16) -> Option<Layout> {
        let fields = match direction {
            Direction::Request => self.request,
            Direction::Response => self.response,
        };
        let flexible = version >= self.flexible;
        self.versions.has(version).then_some(Layout { fields, version, flexible })
    }
}

/// The fields of a struct as one version of its message has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub fields: &'static [Field],
    pub version: i16,
    pub flexible: bool,
}

impl Layout {
    pub(crate) const fn of(self, fields: &'static [Field]) -> Self {
        Self { fields, ..self }
    }

    /// The fields in their order; those with a tag are not among them.
    pub(crate) fn plain(self) -> impl Iterator<Item = &'static Field> {
        let has = move |field: &&Field| field.tag.is_none() && field.versions.has(self.version);
        self.fields.iter().filter(has)
    }

    pub(crate) fn tagged(self, tag: u32) -> Option<&'static Field> {
        self.fields.iter().find(|f| f.tag == Some(tag) && f.versions.has(self.version))
    }

    pub(crate) fn find(self, name: Name) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    pub(crate) const fn nullable(self, field: &Field) -> bool {
        field.nullable.has(self.version)
    }
}
