//! HTTP bodies to records: JSON, NDJSON and CloudEvents. Values are cut out of the body as they
//! stand, byte for byte; what is wrong is said by number and member, never by value.

mod cloudevents;

use std::{fmt, marker::PhantomData};

use bytes::Bytes;
use http::HeaderMap;
use serde::{
    Deserialize, Deserializer as _,
    de::{Error as _, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    deliver::RESERVED_HEADER_PREFIX,
    members::Members,
    record::{Header, Record},
};

/// Headers of one record.
const HEADERS_MAX: usize = 64;
/// Members of an object that becomes headers, before it is known which of them do.
const MEMBERS_MAX: usize = 2 * HEADERS_MAX;
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    NdJson,
    CloudEvent,
    CloudEventBatch,
    /// The attributes are in `ce-` headers, the body is the data.
    CloudEventBinary,
}

/// Why a body, or one record of it, is not readable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Unreadable {
    /// The number of the record within the body, where that is known.
    pub record: Option<usize>,
    pub what: String,
}

/// Why a body is not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Unparsed {
    /// It has more records than it may have.
    TooMany,
    Unreadable(Unreadable),
}

impl From<Unreadable> for Unparsed {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}

fn unreadable(what: impl Into<String>) -> Unreadable {
    Unreadable { record: None, what: what.into() }
}

impl Format {
    /// By content type (compared without case, parameters aside), and by `ce-specversion`.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let kind = headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let kind =
            kind.map(|k| k.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        match kind.as_deref() {
            Some("application/cloudevents+json") => Some(Self::CloudEvent),
            Some("application/cloudevents-batch+json") => Some(Self::CloudEventBatch),
            _ if headers.contains_key("ce-specversion") => Some(Self::CloudEventBinary),
            Some("application/json") => Some(Self::Json),
            Some("application/x-ndjson") => Some(Self::NdJson),
            _ => None,
        }
    }
}

/// All records of a body that is in memory. `single` tells that the body was one record, not an
/// array of one.
pub struct Parsed {
    pub records: Vec<Record>,
    pub single: bool,
}

/// Parses a whole body of at most `max` records.
pub fn parse(
    format: Format,
    headers: &HeaderMap,
    body: &Bytes,
    max: usize,
) -> Result<Parsed, Unparsed> {
    let one = |record| Parsed { records: vec![record], single: true };
    match format {
        Format::Json => match first_byte(body) {
            Some(b'[') => many(body, max, |envelope| opened(body, envelope)),
            _ => Ok(one(record(body, text(body)?)?)),
        },
        Format::CloudEventBatch => {
            many(body, max, |event: &RawValue| cloudevents::structured(body, event.get()))
        }
        Format::CloudEvent => Ok(one(cloudevents::structured(body, text(body)?)?)),
        Format::CloudEventBinary => Ok(one(cloudevents::binary(headers, body)?)),
        Format::NdJson => {
            let mut records = Vec::new();
            for line in body.split(|byte| *byte == b'\n').filter_map(content) {
                let n = records.len();
                if n == max {
                    return Err(Unparsed::TooMany);
                }
                let parsed = text(line).and_then(|text| record(body, text));
                records.push(parsed.map_err(|e| Unreadable { record: Some(n), ..e })?);
            }
            Ok(Parsed { records, single: false })
        }
    }
}

/// One line of an NDJSON stream; `None` for a blank one.
pub fn line(line: &Bytes) -> Option<Result<Record, Unreadable>> {
    content(line)?;
    Some(text(line).and_then(|text| record(line, text)))
}

fn content(line: &[u8]) -> Option<&[u8]> {
    let line = line.trim_ascii();
    (!line.is_empty()).then_some(line)
}

fn first_byte(body: &[u8]) -> Option<u8> {
    body.trim_ascii_start().first().copied()
}

fn text(body: &[u8]) -> Result<&str, Unreadable> {
    if body.starts_with(BYTE_ORDER_MARK) {
        return Err(unreadable("the text starts with a byte order mark; send UTF-8 without one"));
    }
    std::str::from_utf8(body).map_err(|_| unreadable("the text is not UTF-8"))
}

/// The items of an array, each made a record as it is read: in one pass, and none of what is
/// behind the first that cannot be one.
fn many<'de, T: Deserialize<'de>>(
    body: &'de Bytes,
    max: usize,
    make: impl Fn(T) -> Result<Record, Unreadable>,
) -> Result<Parsed, Unparsed> {
    let (mut records, mut failed) = (Vec::new(), None);
    let mut from = serde_json::Deserializer::from_str(text(body)?);
    let items = Items { make, max, records: &mut records, failed: &mut failed, item: PhantomData };
    let read = from.deserialize_seq(items).and_then(|()| from.end());
    match (failed, read) {
        (Some(failed), _) => Err(failed),
        (None, Ok(())) => Ok(Parsed { records, single: false }),
        (None, Err(error)) if error.is_data() => {
            Err(Unreadable { record: Some(records.len()), what: ENVELOPE.to_owned() }.into())
        }
        (None, Err(error)) => Err(place(&error).into()),
    }
}

struct Items<'r, T, M> {
    make: M,
    max: usize,
    records: &'r mut Vec<Record>,
    failed: &'r mut Option<Unparsed>,
    item: PhantomData<T>,
}

impl<'de, T, M> Visitor<'de> for Items<'_, T, M>
where
    T: Deserialize<'de>,
    M: Fn(T) -> Result<Record, Unreadable>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element::<T>()? {
            let n = self.records.len();
            let made = match (self.make)(item) {
                _ if n == self.max => Err(Unparsed::TooMany),
                made => made.map_err(|e| Unreadable { record: Some(n), ..e }.into()),
            };
            match made {
                Ok(record) => self.records.push(record),
                Err(error) => {
                    *self.failed = Some(error);
                    return Err(A::Error::custom("told elsewhere"));
                }
            }
        }
        Ok(())
    }
}

/// serde_json's messages may quote names and values; only the place and our own words go out.
fn place(error: &serde_json::Error) -> Unreadable {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "unexpected end of input",
        _ => "not valid JSON of the expected shape",
    };
    unreadable(format!("{what} (line {}, column {})", error.line(), error.column()))
}

/// A record as this API writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    key: Option<&'a RawValue>,
    #[serde(borrow, default)]
    headers: Option<&'a RawValue>,
    #[serde(borrow)]
    value: &'a RawValue,
}

const HEADERS: &str = "`headers` is an object of strings (or null) with each name once, or an array of \
    `[name, value]` pairs";

/// An object of strings and nulls, or an array of `[name, value]` pairs where names repeat.
fn pairs(raw: &RawValue) -> Result<Vec<(String, Option<String>)>, Unreadable> {
    let shape = |_: serde_json::Error| unreadable(HEADERS);
    if !raw.get().starts_with('{') {
        return serde_json::from_str(raw.get()).map_err(shape);
    }
    let members = ordered(raw.get()).map_err(|_| unreadable(HEADERS))?;
    let pair = |(name, value): (String, &RawValue)| {
        serde_json::from_str(value.get()).map(|value| (name, value)).map_err(shape)
    };
    members.into_iter().map(pair).collect()
}

/// The members of an object in order; a name that comes twice is refused.
fn ordered(text: &str) -> Result<Vec<(String, &RawValue)>, serde_json::Error> {
    serde_json::from_str(text).map(|Members::<_, MEMBERS_MAX>(members)| members)
}

const ENVELOPE: &str =
    "a record is an object with `value` and, if wanted, `key` and `headers`, and nothing else";

fn record(body: &Bytes, text: &str) -> Result<Record, Unreadable> {
    let envelope: Envelope<'_> = serde_json::from_str(text)
        .map_err(|e| if e.is_data() { unreadable(ENVELOPE) } else { place(&e) })?;
    opened(body, envelope)
}

fn opened(body: &Bytes, envelope: Envelope<'_>) -> Result<Record, Unreadable> {
    Ok(Record {
        key: envelope.key.and_then(|key| scalar_or_json(body, key)),
        headers: headers(envelope.headers.map(pairs).transpose()?.unwrap_or_default())?,
        value: json(body, envelope.value),
    })
}

/// One line of a recorded stream, and when it arrived, if it says so: a record as publishing or
/// reading writes it, or a value alone. `None` for a blank line.
pub fn recorded(line: &Bytes) -> Option<Result<(Record, Option<i64>), Unreadable>> {
    content(line)?;
    Some(text(line).and_then(|text| match serde_json::from_str::<Stored<'_>>(text) {
        Ok(Stored { key, headers, value, timestamp_ms, .. }) => {
            Ok((opened(line, Envelope { key, headers, value })?, timestamp_ms))
        }
        Err(error) if error.is_data() => {
            let value: &RawValue = serde_json::from_str(text).map_err(|e| place(&e))?;
            Ok((Record { key: None, headers: Vec::new(), value: json(line, value) }, None))
        }
        Err(error) => Err(place(&error)),
    }))
}

/// A record as reading writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<'a> {
    #[serde(borrow, default)]
    key: Option<&'a RawValue>,
    #[serde(borrow, default)]
    headers: Option<&'a RawValue>,
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(default)]
    timestamp_ms: Option<i64>,
    #[serde(default, rename = "partition")]
    _partition: Option<IgnoredAny>,
    #[serde(default, rename = "offset")]
    _offset: Option<IgnoredAny>,
}

fn headers(given: Vec<(String, Option<String>)>) -> Result<Vec<Header>, Unreadable> {
    if given.len() > HEADERS_MAX {
        return Err(unreadable(format!("more than {HEADERS_MAX} headers")));
    }
    let reserved = |name: &str| {
        name.get(..RESERVED_HEADER_PREFIX.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(RESERVED_HEADER_PREFIX))
    };
    if given.iter().any(|(name, _)| reserved(name)) {
        let what = format!("header names that begin with `{RESERVED_HEADER_PREFIX}` are reserved");
        return Err(unreadable(what));
    }
    Ok(given.into_iter().map(|(name, value)| (name, value.map(String::into_bytes))).collect())
}

/// The bytes of a JSON value within the body, shared, not copied. `null` is a tombstone.
fn json(body: &Bytes, raw: &RawValue) -> Option<Bytes> {
    let raw = raw.get();
    (raw != "null").then(|| shared(body, raw))
}

fn shared(body: &Bytes, raw: &str) -> Bytes {
    let start = (raw.as_ptr() as usize).checked_sub(body.as_ptr() as usize);
    match start {
        Some(start) if start + raw.len() <= body.len() => body.slice(start..start + raw.len()),
        _ => Bytes::copy_from_slice(raw.as_bytes()),
    }
}

/// A key that is a JSON string becomes its text, as Kafka clients write keys; any other JSON
/// stays JSON.
fn scalar_or_json(body: &Bytes, raw: &RawValue) -> Option<Bytes> {
    if raw.get() == "null" {
        return None;
    }
    let text = raw.get().strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    if let Some(plain) = text.filter(|text| !text.contains('\\')) {
        return Some(shared(body, plain));
    }
    match serde_json::from_str::<String>(raw.get()) {
        Ok(text) => Some(Bytes::from(text)),
        Err(_) => Some(shared(body, raw.get())),
    }
}

#[cfg(test)]
mod tests;
