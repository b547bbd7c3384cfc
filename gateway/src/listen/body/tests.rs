use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn json_body(text: &str) -> Result<Parsed, Unreadable> {
    parse(Format::Json, &HeaderMap::new(), &Bytes::copy_from_slice(text.as_bytes()))
}

fn refusal(text: &str) -> String {
    json_body(text).err().map(|e| e.what).unwrap_or_default()
}

#[test]
fn one_record_and_arrays_keep_their_bytes() {
    let one = json_body(r#" {"value": {"n": 1.0e+2 , "a":"x"}, "key":"k1"} "#).unwrap();
    assert!(one.single);
    assert_eq!(one.records[0].value.as_deref(), Some(&br#"{"n": 1.0e+2 , "a":"x"}"#[..]));
    assert_eq!(one.records[0].key.as_deref(), Some(&b"k1"[..]));
    let two = json_body(r#"[{"value":1},{"value":null,"headers":{"a":"b"}}]"#).unwrap();
    assert!(!two.single);
    assert_eq!(two.records.len(), 2);
    assert!(two.records[1].value.is_none());
    assert_eq!(two.records[1].headers[0].0, "a");
}

#[test]
fn what_is_wrong_is_said_without_values() {
    assert_eq!(refusal(r#"{"secret@example.org": 1}"#), ENVELOPE);
    assert_eq!(
        refusal(r#"{"value": "secret""#),
        "the JSON text ends too early (line 1, column 18)"
    );
    assert!(refusal(r#"{"value":1,"headers":{"Sluicegate-Position":"x"}}"#).contains("reserved"));
    let bad = json_body(r#"[{"value":1},{"valeu":1}]"#).err().unwrap();
    assert_eq!(bad.record, Some(1));
}

#[test]
fn a_header_twice_in_an_object_is_refused_and_in_pairs_it_is_not() {
    for twice in [r#"{"a":"1","a":"2"}"#, r#"{"a":"1","b":"","\u0061":"2"}"#, r#"{"a":1}"#, "[1]"] {
        assert_eq!(refusal(&format!(r#"{{"value":1,"headers":{twice}}}"#)), HEADERS, "{twice}");
    }
    let pairs = json_body(r#"{"value":1,"headers":[["a","1"],["b",""],["a","2"]]}"#).unwrap();
    let values: Vec<_> = pairs.records[0].headers.iter().map(|(_, v)| &v[..]).collect();
    assert_eq!(values, [&b"1"[..], b"", b"2"]);
}

#[test]
fn cloudevents_in_all_three_forms_agree() {
    let structured = Bytes::from_static(
        br#"{"specversion":"1.0","id":"7","source":"/s","type":"t","datacontenttype":"application/json","data":{"a":1}}"#,
    );
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", "7"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
        ("content-type", "application/json"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let body = Bytes::from_static(br#"{"a":1}"#);
    let binary = parse(Format::of(&headers).unwrap(), &headers, &body).unwrap();
    let event = parse(Format::CloudEvent, &HeaderMap::new(), &structured).unwrap();
    let batch = Bytes::from([b"[", &structured[..], b"]"].concat());
    let batch = parse(Format::CloudEventBatch, &HeaderMap::new(), &batch).unwrap();
    for parsed in [&binary, &event, &batch] {
        let record = &parsed.records[0];
        assert_eq!(record.value.as_deref(), Some(&br#"{"a":1}"#[..]));
        let mut names: Vec<_> = record.headers.iter().map(|(n, _)| n.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["ce_id", "ce_source", "ce_specversion", "ce_type", "content-type"]);
    }
    let incomplete = Bytes::from_static(br#"{"specversion":"1.0","id":"7","source":"/s"}"#);
    let error = parse(Format::CloudEvent, &HeaderMap::new(), &incomplete).err().unwrap();
    assert_eq!(error.what, "the CloudEvent lacks `type`");
}

#[test]
fn percent_decoding_happens_once_and_must_be_utf8() {
    assert_eq!(percent_decoded("Euro%20%E2%82%AC%2520").unwrap(), "Euro €%20");
    assert!(percent_decoded("%ff").is_err());
    assert!(percent_decoded("%4").is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let body = Bytes::from(body);
        for format in [Format::Json, Format::NdJson, Format::CloudEvent, Format::CloudEventBatch] {
            let _ = parse(format, &HeaderMap::new(), &body);
        }
    }
}
