//! What CloudEvents 1.0.2 says with MUST, and which case holds it. What binds producers alone (unique ids,
//! encoding rules for senders) has no case.
//!
//! | where | MUST | test |
//! |---|---|---|
//! | spec, context attributes | the required ones are there and not empty | `the_attributes_that_the_specification_names` |
//! | spec, context attributes | each at most once | `an_attribute_comes_once` |
//! | spec, naming | lower-case letters and digits, at least one, never `data` | `names_of_attributes` |
//! | spec, types | String: no control characters, noncharacters, lone surrogates | `characters_of_strings` |
//! | spec, types | Integer: 32 bits | `values_of_attributes` |
//! | spec, `source`, `subject`, `time`, `dataschema`, `datacontenttype` | their formats | `the_attributes_that_the_specification_names` |
//! | JSON 2.2 | types map to JSON types; `null` is unset | `values_of_attributes` |
//! | JSON 3.1 | `data_base64` is decoded; a payload is one or the other | `data_in_structured_form` |
//! | JSON 3.1.1 | `null` data is a payload, absent data is none | `data_in_structured_form` |
//! | JSON 3.1.2 | JSON data is taken as it is, other data is an encoded string | `data_in_structured_form` |
//! | HTTP 3.1.1 | `Content-Type` is `datacontenttype`, which has no header of its own | `names_of_attributes` |
//! | HTTP 3.1.3.2 | quoted strings are unescaped, then one round of percent-decoding | `values_of_headers` |
//! | HTTP 3.1.3.2 | invalid UTF-8 is rejected, needless encoding accepted | `values_of_headers` |
//! | Kafka 3.1 | the key mapper leaves `partitionkey` in the event | `all_three_forms_agree` |
//! | Kafka 3.2 | data is the value, attributes are `ce_` headers, `content-type` aside | `all_three_forms_agree` |

use http::{HeaderMap, HeaderName, HeaderValue};

use super::super::{Format, parse};
use super::*;

const REQUIRED_PAIRS: [(&str, &str); 4] =
    [("ce-specversion", "1.0"), ("ce-id", "7"), ("ce-source", "/s"), ("ce-type", "t")];

/// A structured event: the required attributes, and more members.
fn event(more: &str) -> Result<Record, Unreadable> {
    let text = format!(r#"{{"specversion":"1.0","id":"7","source":"/s","type":"t"{more}}}"#);
    structured(&Bytes::new(), &text)
}

fn with_headers(more: &[(&str, &str)], body: &'static str) -> Result<Record, Unreadable> {
    let mut headers = HeaderMap::new();
    for (name, value) in REQUIRED_PAIRS.iter().chain(more) {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    binary(&headers, &Bytes::from_static(body.as_bytes()))
}

fn header<'r>(record: &'r Record, wanted: &str) -> Option<&'r [u8]> {
    record.headers.iter().find(|(name, _)| name == wanted).and_then(|(_, value)| value.as_deref())
}

#[test]
fn all_three_forms_agree() {
    let more = r#","datacontenttype":"application/json","partitionkey":"k","data":{"a":1}"#;
    let event = format!(r#"{{"specversion":"1.0","id":"7","source":"/s","type":"t"{more}}}"#);
    let single = Bytes::from(event.clone());
    let batch = Bytes::from(format!("[{event}]"));
    let single = parse(Format::CloudEvent, &HeaderMap::new(), &single, 1).unwrap();
    let batch = parse(Format::CloudEventBatch, &HeaderMap::new(), &batch, 1).unwrap();
    let binary = [("content-type", "application/json"), ("ce-partitionkey", "k")];
    let binary = with_headers(&binary, r#"{"a":1}"#).unwrap();
    for record in [&single.records[0], &batch.records[0], &binary] {
        assert_eq!(record.value.as_deref(), Some(&br#"{"a":1}"#[..]));
        assert_eq!(record.key.as_deref(), Some(&b"k"[..]));
        let mut names: Vec<_> = record.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let kafka =
            ["ce_id", "ce_partitionkey", "ce_source", "ce_specversion", "ce_type", "content-type"];
        assert_eq!(names, kafka);
    }
}

#[test]
fn the_attributes_that_the_specification_names() {
    for (text, what) in [
        (r#"{"specversion":"1.0","id":"7","source":"/s"}"#, "the CloudEvent lacks `type`"),
        (r#"{"specversion":"1.0","id":"","source":"/s","type":"t"}"#, "the CloudEvent lacks `id`"),
        (
            r#"{"specversion":"0.3","id":"7","source":"/s","type":"t"}"#,
            "only CloudEvents `specversion` 1.0 is supported",
        ),
        (
            r#"{"specversion":"1.0","id":"7","source":"a b","type":"t"}"#,
            "the CloudEvents attribute `source` is not a URI-reference (RFC 3986)",
        ),
    ] {
        assert_eq!(structured(&Bytes::new(), text).err().unwrap().what, what);
    }
    for (name, good, bad) in [
        ("subject", &["x"][..], &[""][..]),
        (
            "time",
            &["2026-11-30T05:00:00Z", "2026-11-30t05:00:00.123456789+01:30"],
            &[
                "",
                "yesterday",
                "2026-11-30",
                "2026-11-30T05:00:00",
                "2026-11-30 05:00:00Z",
                "2026-02-30T05:00:00Z",
                "2026-11-30T05:00:00+01:00[Europe/Berlin]",
            ],
        ),
        (
            "dataschema",
            &["https://x.example/s", "urn:a:b"],
            &["", "/s", "s", "https://x.example/ s", "a:b#c"],
        ),
        (
            "datacontenttype",
            &["application/json", "text/plain; charset=utf-8"],
            &["", "json", "a/b/c", "/x"],
        ),
    ] {
        for text in good {
            assert!(event(&format!(r#","{name}":"{text}","data":"x""#)).is_ok(), "{name} {text}");
        }
        for text in bad {
            let error = event(&format!(r#","{name}":"{text}","data":"x""#)).err();
            assert!(error.is_some_and(|e| e.what.contains(name)), "{name} {text}");
        }
    }
}

#[test]
fn an_attribute_comes_once() {
    assert!(event(r#","ext":"a","ext":"a""#).is_err());
    assert!(event(r#","id":"8""#).is_err());
    assert!(with_headers(&[("ce-ext", "a"), ("ce-ext", "a")], "1").is_err());
    assert!(with_headers(&[("content-type", "a/b"), ("content-type", "a/b")], "1").is_err());
}

#[test]
fn names_of_attributes() {
    for name in ["", "Ext", "e_x", "e-x", "ö"] {
        assert!(event(&format!(r#","{name}":"a""#)).is_err(), "{name}");
    }
    assert!(with_headers(&[("ce-e_x", "a")], "1").is_err());
    assert!(with_headers(&[("ce-data", "a")], "1").is_err());
    assert!(with_headers(&[("ce-datacontenttype", "text/plain")], "1").is_err());
    assert_eq!(header(&event(r#","ext1":"a""#).unwrap(), "ce_ext1"), Some(&b"a"[..]));
}

#[test]
fn values_of_attributes() {
    for (json, text) in [
        ("-2147483648", "-2147483648"),
        ("2147483647", "2147483647"),
        ("true", "true"),
        (r#""a b""#, "a b"),
    ] {
        let record = event(&format!(r#","ext":{json}"#)).unwrap();
        assert_eq!(header(&record, "ce_ext"), Some(text.as_bytes()));
    }
    assert_eq!(header(&event(r#","ext":null"#).unwrap(), "ce_ext"), None);
    for json in ["2147483648", "1.0", "1e3", "{}", "[]", r#""\ud800""#] {
        assert!(event(&format!(r#","ext":{json}"#)).is_err(), "{json}");
    }
    for name in ["subject", "partitionkey", "datacontenttype"] {
        assert!(event(&format!(r#","{name}":1"#)).is_err(), "{name}");
    }
}

#[test]
fn characters_of_strings() {
    for bad in ["\\u0000", "\\n", "\\u007f", "\\u0085", "\\ufdd0", "\\uffff", "\\ud83f\\udfff"] {
        assert!(event(&format!(r#","ext":"a{bad}""#)).is_err(), "{bad}");
    }
    for bad in ["a%0D%0Ab", "%00", "%7F", "%EF%BF%BF"] {
        assert!(with_headers(&[("ce-ext", bad)], "1").is_err(), "{bad}");
    }
    assert!(event(r#","ext":"ä \ud83d\ude00""#).is_ok());
}

#[test]
fn data_in_structured_form() {
    let value = |more: &str| event(more).map(|record| record.value.map(|v| v.to_vec()));
    for (more, bytes) in [
        ("", None),
        (r#","data":null"#, Some(&b"null"[..])),
        (r#","data":{"a": 1.0}"#, Some(br#"{"a": 1.0}"#)),
        (r#","data":"[1]""#, Some(br#""[1]""#)),
        (r#","datacontenttype":"application/x+json","data":"a""#, Some(br#""a""#)),
        (r#","datacontenttype":"text/plain","data":"a\nb""#, Some(b"a\nb")),
        (r#","data":"a","datacontenttype":"text/plain""#, Some(b"a")),
        (r#","data_base64":"eyJhIjoxfQ==""#, Some(br#"{"a":1}"#)),
    ] {
        assert_eq!(value(more).ok().unwrap().as_deref(), bytes, "{more}");
    }
    for more in [
        r#","data":1,"data_base64":"MQ==""#,
        r#","data":null,"data_base64":"MQ==""#,
        r#","data_base64":"%""#,
        r#","data_base64":null"#,
        r#","datacontenttype":"text/plain","data":{"a":1}"#,
    ] {
        assert!(value(more).is_err(), "{more}");
    }
}

#[test]
fn values_of_headers() {
    for (raw, text) in [
        ("a", "a"),
        (r#""a b""#, "a b"),
        (r#""a \"b\" \\""#, r#"a "b" \"#),
        (r#""""#, ""),
        (r#""a%20b""#, "a b"),
        ("Euro%20%E2%82%AC%20%f0%9f%98%80", "Euro € 😀"),
        ("%41%2520", "A%20"),
    ] {
        let record = with_headers(&[("ce-ext", raw)], "1").unwrap();
        assert_eq!(header(&record, "ce_ext"), Some(text.as_bytes()), "{raw}");
    }
    for raw in ["%C0%A0", "%ff", "%4", r#""a"#, r#""a"b"#, r#""a\"#] {
        assert!(with_headers(&[("ce-ext", raw)], "1").is_err(), "{raw}");
    }
}
