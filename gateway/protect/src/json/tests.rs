//! The scanner accepts what serde_json accepts, less what it must not; and never panics.

use std::{collections::HashSet, fmt};

use proptest::{collection::vec, prelude::*, sample::select};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::*;

fn what(text: &str) -> Option<What> {
    validate(text.as_bytes()).err().map(|m| m.what)
}

#[test]
fn refusals_say_what_and_where() {
    for (text, expected) in [
        ("", What::End),
        ("{", What::End),
        ("{\"a\"", What::End),
        ("[1,]", What::Unexpected),
        ("{\"a\":1,}", What::Unexpected),
        ("{1:1}", What::Unexpected),
        ("01", What::Trailing),
        ("1.", What::End),
        ("+1", What::Unexpected),
        ("-", What::End),
        ("1e", What::End),
        (".5", What::Unexpected),
        ("NaN", What::Unexpected),
        ("nul", What::Unexpected),
        ("[1]]", What::Trailing),
        ("\"a\nb\"", What::Control),
        ("\"\\x\"", What::Escape),
        ("\"\\u12g4\"", What::Escape),
        ("\"\\ud800\"", What::Surrogate),
        ("\"\\udc00\\ud800\"", What::Surrogate),
        ("\"\\ud800\\u0041\"", What::Surrogate),
        ("{\"a\":1,\"b\":2,\"\\u0061\":3}", What::DuplicateMember),
        ("\u{feff}1", What::Unexpected),
    ] {
        assert_eq!(what(text), Some(expected), "{text}");
    }
    let error = validate(b"[\"ada\",x]").unwrap_err();
    assert_eq!(error.to_string(), "a character that JSON does not allow there at byte 7");
    assert_eq!(validate(b"\"\xff\"").unwrap_err(), Malformed { offset: 1, what: What::Utf8 });
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(what(&nested(DEPTH_MAX)), None);
    assert_eq!(what(&nested(DEPTH_MAX + 1)), Some(What::TooDeep));
    assert_eq!(what(&"[".repeat(1 << 20)), Some(What::TooDeep));
    assert_eq!(what(&"{\"a\":".repeat(1 << 20)), Some(What::TooDeep));
}

#[test]
fn a_member_twice_among_many_is_found_in_time() {
    let names: Vec<_> =
        (0..50_000).map(|i| format!("\"member-with-a-long-prefix-{i}\":0")).collect();
    let object = |last: &str| format!("{{{},\"{last}\":0}}", names.join(","));
    assert_eq!(what(&object("else")), None);
    assert_eq!(what(&object("member-with-a-long-prefix-4\\u0037")), Some(What::DuplicateMember));
}

#[test]
fn strings_survive_escaping_and_unescaping() {
    let all: String = (0..0x300).chain(0xfff0..0x1_0010).filter_map(char::from_u32).collect();
    let mut written = Vec::new();
    write_string(&all, &mut written);
    assert_eq!(serde_json::from_slice::<String>(&written).unwrap(), all);
    let mut read = String::new();
    unescape(std::str::from_utf8(&written[1..written.len() - 1]).unwrap(), &mut read);
    assert_eq!(read, all);
    let mut read = String::new();
    unescape(r#"\ud83d\uDE00\b\f\n\r\t\/\\\""#, &mut read);
    assert_eq!(read, "\u{1F600}\u{8}\u{c}\n\r\t/\\\"");
}

/// Any JSON in which no object has a member twice.
struct Distinct;

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Distinct)
    }
}

impl<'de> Visitor<'de> for Distinct {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_unit<E: de::Error>(self) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Distinct>()?.is_some() {}
        Ok(self)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some((name, _)) = map.next_entry::<String, Distinct>()? {
            if !seen.insert(name) {
                return Err(de::Error::custom("twice"));
            }
        }
        Ok(self)
    }
}

/// Pieces that make JSON, and nearly JSON, more often than random bytes do.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let pieces: &[&[u8]] = &[
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"a\"",
        b"\"\\u0061\"",
        b"\"",
        b"\\",
        b"\\u",
        b"d83d",
        b"\\ude00",
        b"0",
        b"1",
        b"-",
        b".",
        b"e",
        b"+",
        b"12",
        b"true",
        b"null",
        b"fals",
        b" ",
        b"\n",
        b"\x00",
        b"\xc3\xa9",
        b"\xff",
        b"\"b\":",
        b"[1,2]",
        b"{\"a\":1}",
        b"{\"a\":1,",
        b"{\"a\":1,",
        b"\"a\":1}",
        b"\"\\u0061\":2}",
        b"\"b\":1}",
    ];
    vec(select(pieces), 0..14).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn accepts_what_serde_json_accepts_and_no_member_twice(bytes in nearly_json()) {
        let reference = serde_json::from_slice::<Distinct>(&bytes).is_ok();
        prop_assert_eq!(validate(&bytes).is_ok(), reference, "{:?}", bytes.escape_ascii().to_string());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..100)) {
        let reference = serde_json::from_slice::<Distinct>(&bytes).is_ok();
        prop_assert_eq!(validate(&bytes).is_ok(), reference);
    }
}
