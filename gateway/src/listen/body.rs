//! HTTP bodies to records: JSON, NDJSON and CloudEvents. Values are cut out of the body as they
//! stand, byte for byte; what is wrong is said by number and member, never by value.

mod count;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

pub use count::exceeds;

use crate::{deliver::RESERVED_HEADER_PREFIX, record::Record};

/// Headers of one record.
const HEADERS_MAX: usize = 64;
const CLOUDEVENTS_CONTEXT: [&str; 4] = ["specversion", "id", "source", "type"];

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    NdJson,
    CloudEvent,
    CloudEventBatch,
    /// The attributes stand in `ce-` headers, the body is the data.
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

/// Parses a whole body.
pub fn parse(format: Format, headers: &HeaderMap, body: &Bytes) -> Result<Parsed, Unreadable> {
    let one = |record| Parsed { records: vec![record], single: true };
    match format {
        Format::Json => match first_byte(body) {
            Some(b'[') => many(body, body, record),
            _ => Ok(one(record(body, text(body)?)?)),
        },
        Format::CloudEventBatch => many(body, body, structured),
        Format::CloudEvent => Ok(one(structured(body, text(body)?)?)),
        Format::CloudEventBinary => Ok(one(binary(headers, body)?)),
        Format::NdJson => {
            let mut records = Vec::new();
            for line in body.split(|byte| *byte == b'\n') {
                if let Some(line) = content(line) {
                    let n = records.len();
                    let text = std::str::from_utf8(line).map_err(|_| unreadable("not UTF-8"));
                    let parsed = text.and_then(|text| record(body, text));
                    records.push(parsed.map_err(|e| Unreadable { record: Some(n), ..e })?);
                }
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
    std::str::from_utf8(body).map_err(|_| unreadable("the body is not UTF-8"))
}

fn many(
    body: &Bytes,
    array: &[u8],
    one: impl Fn(&Bytes, &str) -> Result<Record, Unreadable>,
) -> Result<Parsed, Unreadable> {
    let items: Vec<&RawValue> = serde_json::from_str(text(array)?).map_err(|e| place(&e))?;
    let records = items
        .iter()
        .enumerate()
        .map(|(n, raw)| one(body, raw.get()).map_err(|e| Unreadable { record: Some(n), ..e }))
        .collect::<Result<_, _>>()?;
    Ok(Parsed { records, single: false })
}

/// serde_json's messages may quote names and values; only the place and our own words go out.
fn place(error: &serde_json::Error) -> Unreadable {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "the JSON text ends too early",
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
    #[serde(default)]
    headers: Headers,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// An object of strings, or an array of `[name, value]` pairs where names repeat.
#[derive(Deserialize, Default)]
#[serde(from = "HeaderShape")]
struct Headers(Vec<(String, String)>);

#[derive(Deserialize)]
#[serde(untagged)]
enum HeaderShape {
    Object(std::collections::BTreeMap<String, String>),
    Pairs(Vec<(String, String)>),
}

impl From<HeaderShape> for Headers {
    fn from(shape: HeaderShape) -> Self {
        Self(match shape {
            HeaderShape::Object(map) => map.into_iter().collect(),
            HeaderShape::Pairs(pairs) => pairs,
        })
    }
}

const ENVELOPE: &str =
    "a record is an object with `value` and, if wanted, `key` and `headers`, and nothing else";

fn record(body: &Bytes, text: &str) -> Result<Record, Unreadable> {
    let envelope: Envelope<'_> = serde_json::from_str(text)
        .map_err(|e| if e.is_data() { unreadable(ENVELOPE) } else { place(&e) })?;
    Ok(Record {
        key: envelope.key.and_then(|key| scalar_or_json(body, key)),
        headers: headers(envelope.headers.0)?,
        value: json(body, envelope.value),
    })
}

fn headers(given: Vec<(String, String)>) -> Result<Vec<(String, Vec<u8>)>, Unreadable> {
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
    Ok(given.into_iter().map(|(name, value)| (name, value.into_bytes())).collect())
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
    match serde_json::from_str::<String>(raw.get()) {
        Ok(text) => Some(Bytes::from(text)),
        Err(_) => Some(shared(body, raw.get())),
    }
}

/// A structured CloudEvent (JSON format 1.0) becomes a record in the binary form of the Kafka
/// protocol binding: attributes as `ce_` headers, the data as value.
fn structured(body: &Bytes, text: &str) -> Result<Record, Unreadable> {
    let members: Vec<(String, &RawValue)> = ordered(text)?;
    let mut headers = Vec::new();
    let mut record = Record { key: None, headers: Vec::new(), value: None };
    let mut content_type = None;
    for (name, raw) in members {
        match name.as_str() {
            "data" => record.value = json(body, raw),
            "data_base64" => record.value = Some(decode(raw)?),
            _ if raw.get() == "null" => {}
            "datacontenttype" => content_type = Some(plain(raw)?),
            "partitionkey" => record.key = Some(Bytes::from(plain(raw)?)),
            _ => headers.push((attribute(&name)?, plain(raw)?)),
        }
    }
    headers.extend(content_type.map(|kind| ("content-type".to_owned(), kind)));
    complete(&headers)?;
    record.headers = self::headers(headers)?;
    Ok(record)
}

/// Members in order, duplicates refused.
fn ordered(text: &str) -> Result<Vec<(String, &RawValue)>, Unreadable> {
    struct Members<'a>(Vec<(String, &'a RawValue)>);
    impl<'de> Deserialize<'de> for Members<'de> {
        fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Members<'de>;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("a CloudEvent object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<Self::Value, A::Error> {
                    let mut members: Vec<(String, &RawValue)> = Vec::new();
                    while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                        if members.iter().any(|(known, _)| *known == name) {
                            return Err(serde::de::Error::custom("duplicate member"));
                        }
                        members.push((name, value));
                    }
                    Ok(Members(members))
                }
            }
            d.deserialize_map(Visitor)
        }
    }
    serde_json::from_str::<Members<'_>>(text).map(|members| members.0).map_err(|e| place(&e))
}

fn decode(raw: &RawValue) -> Result<Bytes, Unreadable> {
    let text: String =
        serde_json::from_str(raw.get()).map_err(|_| unreadable("`data_base64` is not a string"))?;
    let data = STANDARD.decode(text).map_err(|_| unreadable("`data_base64` is not base64"))?;
    Ok(Bytes::from(data))
}

/// Attribute values are strings, integers or booleans.
fn plain(raw: &RawValue) -> Result<String, Unreadable> {
    match serde_json::from_str::<serde_json::Value>(raw.get()) {
        Ok(serde_json::Value::String(text)) => Ok(text),
        Ok(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => {
            Ok(value.to_string())
        }
        _ => Err(unreadable("a CloudEvents attribute is not a string, number or boolean")),
    }
}

/// CloudEvents 1.0: attribute names are lower-case letters and digits.
fn attribute(name: &str) -> Result<String, Unreadable> {
    let good = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !good {
        return Err(unreadable(
            "a CloudEvents attribute name is not lower-case letters and digits",
        ));
    }
    Ok(format!("ce_{name}"))
}

fn complete(headers: &[(String, String)]) -> Result<(), Unreadable> {
    let find = |attribute: &str| {
        let wanted = format!("ce_{attribute}");
        headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str())
    };
    for attribute in CLOUDEVENTS_CONTEXT {
        if find(attribute).is_none_or(str::is_empty) {
            return Err(unreadable(format!("the CloudEvent lacks `{attribute}`")));
        }
    }
    if find("specversion") != Some("1.0") {
        return Err(unreadable("only CloudEvents `specversion` 1.0 is known"));
    }
    Ok(())
}

fn binary(http: &HeaderMap, body: &Bytes) -> Result<Record, Unreadable> {
    let mut headers = Vec::new();
    let mut key = None;
    for (name, value) in http {
        let Some(name) = name.as_str().strip_prefix("ce-") else { continue };
        let value = value.to_str().map_err(|_| unreadable("a `ce-` header is not ASCII"))?;
        let value = percent_decoded(value)?;
        match name {
            "partitionkey" => key = Some(Bytes::from(value)),
            _ => headers.push((attribute(name)?, value)),
        }
    }
    if let Some(kind) = http.get(http::header::CONTENT_TYPE) {
        let kind = kind.to_str().map_err(|_| unreadable("`content-type` is not ASCII"))?;
        headers.push(("content-type".to_owned(), kind.to_owned()));
    }
    complete(&headers)?;
    let value = (!body.is_empty()).then(|| body.clone());
    Ok(Record { key, headers: self::headers(headers)?, value })
}

/// HTTP protocol binding 3.1.3.2: decode once, refuse what is then not UTF-8.
fn percent_decoded(text: &str) -> Result<String, Unreadable> {
    let bad = || unreadable("a `ce-` header is not percent-encoded UTF-8");
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| char::from(b?).to_digit(16);
        let (high, low) = (digit(bytes.next()), digit(bytes.next()));
        let (Some(high), Some(low)) = (high, low) else { return Err(bad()) };
        decoded.push(u8::try_from(high * 16 + low).map_err(|_| bad())?);
    }
    String::from_utf8(decoded).map_err(|_| bad())
}

#[cfg(test)]
mod tests;
