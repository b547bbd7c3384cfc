//! CloudEvents 1.0 over HTTP, to records in the binary form of the Kafka protocol binding:
//! attributes as `ce_` headers, the data as value, `partitionkey` also as key. Sources: the
//! specification, its JSON event format, and its HTTP and Kafka protocol bindings, version 1.0.2.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, header};
use serde_json::value::RawValue;

use super::{Unreadable, headers, ordered, place, shared, unreadable};
use crate::record::Record;

const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];
/// Attributes whose JSON form is a string, as the specification types them.
const STRINGS: [&str; 8] =
    ["specversion", "id", "source", "type", "subject", "time", "dataschema", "datacontenttype"];
/// The specification says that names should not exceed 20 characters.
const NAME_BYTES_MAX: usize = 64;

/// What holds for the text of an attribute.
type Rule = fn(&str) -> bool;

/// The attributes of one event, by name, each at most once; `datacontenttype` is one of them.
#[derive(Default)]
struct Attributes(Vec<(String, String)>);

impl Attributes {
    fn set(&mut self, name: &str, value: String) -> Result<(), Unreadable> {
        let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !letters {
            return Err(unreadable(
                "a CloudEvents attribute name is not lower-case letters and digits",
            ));
        }
        if name == "data" {
            return Err(unreadable("a CloudEvents attribute cannot have the name `data`"));
        }
        if !value.chars().all(allowed) {
            // Extension names are the sender's own words, so only known names are repeated.
            return Err(invalid(name, "contains characters that CloudEvents does not allow"));
        }
        if self.get(name).is_some() {
            return Err(unreadable("the CloudEvent repeats an attribute"));
        }
        self.0.push((name.to_owned(), value));
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// What the specification demands of the attributes that it names.
    fn check(&self) -> Result<(), Unreadable> {
        for name in REQUIRED {
            if self.get(name).is_none_or(str::is_empty) {
                return Err(unreadable(format!("the CloudEvent lacks `{name}`")));
            }
        }
        if self.get("specversion") != Some("1.0") {
            return Err(unreadable("only CloudEvents `specversion` 1.0 is supported"));
        }
        let rules: [(&str, Rule, &str); 5] = [
            ("source", uri_reference, "is not a URI-reference (RFC 3986)"),
            ("subject", |text| !text.is_empty(), "is empty"),
            ("time", |text| timestamp(text), "is not a timestamp (RFC 3339)"),
            ("dataschema", absolute_uri, "is not an absolute URI (RFC 3986)"),
            ("datacontenttype", media_type, "is not a media type (RFC 2046)"),
        ];
        for (name, good, what) in rules {
            if self.get(name).is_some_and(|text| !good(text)) {
                return Err(invalid(name, what));
            }
        }
        Ok(())
    }

    fn into_record(self, value: Option<Bytes>) -> Result<Record, Unreadable> {
        self.check()?;
        let key = self.get("partitionkey").map(|key| Bytes::from(key.to_owned()));
        let named = self.0.into_iter().map(|(name, value)| match name.as_str() {
            "datacontenttype" => ("content-type".to_owned(), Some(value)),
            _ => (format!("ce_{name}"), Some(value)),
        });
        Ok(Record { key, headers: headers(named.collect())?, value })
    }
}

fn invalid(name: &str, what: &str) -> Unreadable {
    match STRINGS.contains(&name) {
        true => unreadable(format!("the CloudEvents attribute `{name}` {what}")),
        false => unreadable(format!("a CloudEvents attribute {what}")),
    }
}

/// Type `String`: no control characters, no noncharacters; Rust's `char` is no surrogate.
fn allowed(c: char) -> bool {
    let code = u32::from(c);
    !c.is_control() && !(0xFDD0..=0xFDEF).contains(&code) && code & 0xFFFE != 0xFFFE
}

fn uri_reference(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let hex = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_hexdigit());
        let good = match byte {
            b'%' => hex(bytes.next()) && hex(bytes.next()),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => true,
            _ => b"-._~:/?#[]@!$&'()*+,;=".contains(&byte),
        };
        if !good {
            return false;
        }
    }
    !text.is_empty()
}

/// Section 4.3: a scheme, and no fragment.
fn absolute_uri(text: &str) -> bool {
    let scheme = text.split_once(':').is_some_and(|(scheme, _)| {
        let rest = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
        scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(rest)
    });
    scheme && uri_reference(text) && !text.contains('#')
}

fn timestamp(text: &str) -> bool {
    // jiff reads more than RFC 3339 does: that has a `T` or `t`, and always an offset.
    text.get(10..11).is_some_and(|t| t.eq_ignore_ascii_case("t"))
        && !text.contains('[')
        && text.parse::<jiff::Timestamp>().is_ok()
}

fn media_type(text: &str) -> bool {
    let token = |text: &str| {
        let good = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        !text.is_empty() && text.bytes().all(good)
    };
    let kind = text.split(';').next().unwrap_or_default().trim();
    kind.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype))
}

/// Whether a media type says that the data is JSON.
fn is_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.ends_with("/json") || kind.ends_with("+json")
}

/// The JSON event format.
pub(super) fn structured(body: &Bytes, text: &str) -> Result<Record, Unreadable> {
    let members = ordered(text).map_err(|e| place(&e))?;
    let mut attributes = Attributes::default();
    let (mut data, mut base64) = (None, None);
    for (name, raw) in members {
        match name.as_str() {
            "data" => data = Some(raw),
            "data_base64" => base64 = Some(raw),
            // Of attributes, `null` means that they are not set.
            _ if raw.get() == "null" => {}
            _ => attributes.set(&name, plain(&name, raw)?)?,
        }
    }
    let value = match (data, base64) {
        (Some(_), Some(_)) => {
            return Err(unreadable("the CloudEvent has both `data` and `data_base64`"));
        }
        (None, Some(raw)) => Some(decode(raw)?),
        // A `null` here is a payload; without data there is none.
        (Some(raw), None) => match attributes.get("datacontenttype") {
            Some(kind) if !is_json(kind) => Some(content(raw)?),
            _ => Some(shared(body, raw.get())),
        },
        (None, None) => None,
    };
    attributes.into_record(value)
}

/// The binary mode of the HTTP protocol binding.
pub(super) fn binary(http: &HeaderMap, body: &Bytes) -> Result<Record, Unreadable> {
    let mut attributes = Attributes::default();
    for (name, value) in http {
        let Some(name) = name.as_str().strip_prefix("ce-") else { continue };
        if name == "datacontenttype" {
            return Err(unreadable("`content-type` already says it: remove `ce-datacontenttype`"));
        }
        let value = value.to_str().map_err(|_| unreadable("a `ce-` header is not ASCII"))?;
        attributes.set(name, percent_decoded(&unquoted(value)?)?)?;
    }
    for kind in http.get_all(header::CONTENT_TYPE) {
        let kind = kind.to_str().map_err(|_| unreadable("`content-type` is not ASCII"))?;
        attributes.set("datacontenttype", kind.to_owned())?;
    }
    attributes.into_record((!body.is_empty()).then(|| body.clone()))
}

fn decode(raw: &RawValue) -> Result<Bytes, Unreadable> {
    let text: String =
        serde_json::from_str(raw.get()).map_err(|_| unreadable("`data_base64` is not a string"))?;
    let data = STANDARD.decode(text).map_err(|_| unreadable("`data_base64` is not base64"))?;
    Ok(Bytes::from(data))
}

/// Data that its content type does not call JSON is a string with that content.
fn content(raw: &RawValue) -> Result<Bytes, Unreadable> {
    let text = serde_json::from_str::<String>(raw.get());
    let text = text.map_err(|_| {
        unreadable("`data` is not a string, and `datacontenttype` does not say that it is JSON")
    })?;
    Ok(Bytes::from(text))
}

/// An attribute in its canonical string form.
fn plain(name: &str, raw: &RawValue) -> Result<String, Unreadable> {
    let text = raw.get();
    if text.starts_with('"') {
        return serde_json::from_str(text).map_err(|_| invalid(name, "is not a valid string"));
    }
    if STRINGS.contains(&name) || name == "partitionkey" {
        return Err(invalid(name, "is not a string"));
    }
    match text {
        "true" | "false" => Ok(text.to_owned()),
        _ if text.parse::<i32>().is_ok() => Ok(text.to_owned()),
        _ => Err(invalid(name, "is not a string, a boolean or an integer of 32 bits")),
    }
}

/// RFC 9110, section 5.6.4: `"…"` means what is inside, where `\` quotes the next character.
fn unquoted(text: &str) -> Result<String, Unreadable> {
    let bad = || unreadable("a `ce-` header is not a complete quoted string");
    let Some(inside) = text.strip_prefix('"') else { return Ok(text.to_owned()) };
    let mut decoded = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' if chars.as_str().is_empty() => return Ok(decoded),
            '"' => return Err(bad()),
            '\\' => decoded.push(chars.next().ok_or_else(bad)?),
            _ => decoded.push(c),
        }
    }
    Err(bad())
}

/// One round; what is then not UTF-8 is refused.
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
