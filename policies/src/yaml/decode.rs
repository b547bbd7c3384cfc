//! From checked nodes to types, by serde. [`crate::source::Located`] carries the place along.
//!
//! The shape of a node was checked before; an error here is a value that the schema cannot
//! express, and is reported at the node itself.

use std::fmt;

use serde::de::{
    self, Deserialize, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor, value::U32Deserializer,
};

use super::tree::{Content, Node};
use crate::source::{Located, Span};

/// The name under which [`Located`] asks for its place.
const LOCATED: &str = "$located";

/// What is wrong, and where.
#[derive(Debug)]
pub(crate) struct Unfit {
    pub(crate) message: String,
    pub(crate) span: Option<Span>,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Unfit {}

impl de::Error for Unfit {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), span: None }
    }
}

/// Reads a node into a type.
pub(crate) fn decode<T: DeserializeOwned>(node: &Node) -> Result<T, Unfit> {
    T::deserialize(Reader(node))
}

#[derive(Clone, Copy)]
struct Reader<'n>(&'n Node);

impl<'n> Reader<'n> {
    fn at<T>(self, result: Result<T, Unfit>) -> Result<T, Unfit> {
        result.map_err(|e| Unfit { span: e.span.or(Some(self.0.span)), ..e })
    }

    fn fail<T>(self, message: impl fmt::Display) -> Result<T, Unfit> {
        self.at(Err(de::Error::custom(message)))
    }

    fn text(self) -> Result<&'n str, Unfit> {
        self.0.scalar().map_or_else(|| self.fail("a string is expected here"), Ok)
    }

    fn number<T: std::str::FromStr>(self) -> Result<T, Unfit> {
        let text = self.text()?;
        text.parse().or_else(|_| self.fail(format!("`{text}` is not a valid number here")))
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $ty:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
            self.at(visitor.$visit(self.number::<$ty>()?))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Reader<'de> {
    type Error = Unfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        match &self.0.content {
            Content::Scalar { .. } if self.0.is_null() => self.at(visitor.visit_unit()),
            Content::Scalar { text, plain: true } => self.at(plain(text, visitor)),
            Content::Scalar { text, .. } => self.at(visitor.visit_str(text)),
            Content::List(items) => self.at(visitor.visit_seq(Items(items.iter()))),
            Content::Mapping(entries) => {
                self.at(visitor.visit_map(Entries { rest: entries.iter(), value: None }))
            }
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        self.at(visitor.visit_str(self.text()?))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        match self.text()? {
            "true" => self.at(visitor.visit_bool(true)),
            "false" => self.at(visitor.visit_bool(false)),
            other => self.fail(format!("`{other}` is neither `true` nor `false`")),
        }
    }

    numbers! {
        deserialize_i8 visit_i8 i8; deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32; deserialize_i64 visit_i64 i64;
        deserialize_u8 visit_u8 u8; deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32; deserialize_u64 visit_u64 u64;
        deserialize_f32 visit_f32 f32; deserialize_f64 visit_f64 f64;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        if self.0.is_null() { visitor.visit_none() } else { self.at(visitor.visit_some(self)) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        self.at(visitor.visit_newtype_struct(self))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        if name == LOCATED {
            return visitor.visit_seq(WithPlace { node: self.0, next: 0 });
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        let word = self.text()?;
        self.at(visitor.visit_enum(Word(word)))
    }

    serde::forward_to_deserialize_any! {
        i128 u128 bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

/// A scalar without quotes where any type will do: YAML 1.2's core types, and nothing older.
fn plain<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Result<V::Value, Unfit> {
    match text {
        "true" => visitor.visit_bool(true),
        "false" => visitor.visit_bool(false),
        _ => match text.parse::<i64>() {
            Ok(n) => visitor.visit_i64(n),
            Err(_) => match text.parse::<f64>() {
                Ok(n) if n.is_finite() && text.contains('.') => visitor.visit_f64(n),
                _ => visitor.visit_str(text),
            },
        },
    }
}

struct Items<'n>(std::slice::Iter<'n, Node>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Unfit;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Unfit> {
        self.0.next().map(|n| seed.deserialize(Reader(n))).transpose()
    }
}

struct Entries<'n> {
    rest: std::slice::Iter<'n, (Node, Node)>,
    value: Option<&'n Node>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Unfit;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Unfit> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(Reader(key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Unfit> {
        let value = self.value.take().ok_or_else(|| de::Error::custom("a value is missing"))?;
        seed.deserialize(Reader(value))
    }
}

/// File, start, end, value: what [`Located`] reads.
struct WithPlace<'n> {
    node: &'n Node,
    next: u8,
}

impl<'de> SeqAccess<'de> for WithPlace<'de> {
    type Error = Unfit;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Unfit> {
        let number = |n: u32| -> U32Deserializer<Unfit> { n.into_deserializer() };
        let Span { file, start, end } = self.node.span;
        self.next += 1;
        match self.next {
            1 => seed.deserialize(number(file)).map(Some),
            2 => seed.deserialize(number(start)).map(Some),
            3 => seed.deserialize(number(end)).map(Some),
            4 => seed.deserialize(Reader(self.node)).map(Some),
            _ => Ok(None),
        }
    }
}

struct Word<'n>(&'n str);

impl<'de> EnumAccess<'de> for Word<'de> {
    type Error = Unfit;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Unfit> {
        let word: de::value::StrDeserializer<'_, Unfit> = self.0.into_deserializer();
        Ok((seed.deserialize(word)?, self))
    }
}

impl<'de> VariantAccess<'de> for Word<'de> {
    type Error = Unfit;

    fn unit_variant(self) -> Result<(), Unfit> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _: S) -> Result<S::Value, Unfit> {
        Err(de::Error::custom("a single word is expected here"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Unfit> {
        Err(de::Error::custom("a single word is expected here"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Unfit> {
        Err(de::Error::custom("a single word is expected here"))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Place<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Place<T> {
            type Value = Located<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value with its place")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let missing = || de::Error::custom("a place is missing");
                let mut number = || seq.next_element::<u32>()?.ok_or_else(missing);
                let span = Span { file: number()?, start: number()?, end: number()? };
                let value = seq.next_element()?.ok_or_else(missing)?;
                Ok(Located { span, value })
            }
        }

        deserializer.deserialize_struct(LOCATED, &[], Place(std::marker::PhantomData))
    }
}
