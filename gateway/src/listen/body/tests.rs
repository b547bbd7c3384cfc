use proptest::prelude::*;

use super::*;

const MAX: usize = 3;

fn parsed(format: Format, text: &str) -> Result<Parsed, Unparsed> {
    parse(format, &HeaderMap::new(), &Bytes::copy_from_slice(text.as_bytes()), MAX)
}

fn json_body(text: &str) -> Result<Parsed, Unreadable> {
    parsed(Format::Json, text).map_err(|unparsed| match unparsed {
        Unparsed::Unreadable(why) => why,
        Unparsed::TooMany => panic!("too many"),
    })
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
    assert_eq!(refusal(r#"{"value": "secret""#), "unexpected end of input (line 1, column 18)");
    assert!(refusal(r#"{"value":1,"headers":{"Sluicegate-Position":"x"}}"#).contains("reserved"));
    let bad = json_body(r#"[{"value":1},{"valeu":1}]"#).err().unwrap();
    assert_eq!(bad.record, Some(1));
}

#[test]
fn a_byte_order_mark_is_named() {
    let marked = "\u{feff}{\"value\":1}";
    assert!(refusal(marked).contains("byte order mark"));
    let line = line(&Bytes::from(marked)).unwrap();
    assert!(line.err().unwrap().what.contains("byte order mark"));
    let error = parsed(Format::NdJson, marked).err().unwrap();
    assert!(format!("{error:?}").contains("byte order mark"));
}

#[test]
fn a_header_twice_in_an_object_is_refused_and_in_pairs_it_is_not() {
    for twice in [r#"{"a":"1","a":"2"}"#, r#"{"a":"1","b":"","\u0061":"2"}"#, r#"{"a":1}"#, "[1]"] {
        assert_eq!(refusal(&format!(r#"{{"value":1,"headers":{twice}}}"#)), HEADERS, "{twice}");
    }
    let pairs = json_body(r#"{"value":1,"headers":[["a","1"],["b",""],["a",null]]}"#).unwrap();
    let values: Vec<_> = pairs.records[0].headers.iter().map(|(_, v)| v.as_deref()).collect();
    assert_eq!(values, [Some(&b"1"[..]), Some(b""), None]);
    let object = json_body(r#"{"value":1,"headers":{"a":null}}"#).unwrap();
    assert_eq!(object.records[0].headers, [("a".to_owned(), None)]);
}

#[test]
fn a_body_of_too_many_records_is_not_read_to_its_end() {
    let event = r#"{"specversion":"1.0","id":"1","source":"a","type":"t"}"#;
    for (format, item) in
        [(Format::Json, r#"{"value":[1,2,{}]}"#), (Format::CloudEventBatch, event)]
    {
        let array = |n: usize, end: &str| format!("[{}{end}", vec![item; n].join(","));
        for n in 0..=MAX {
            assert_eq!(parsed(format, &array(n, "]")).unwrap().records.len(), n);
        }
        for end in ["]", ",x", ""] {
            assert_eq!(
                parsed(format, &array(MAX + 1, end)).err(),
                Some(Unparsed::TooMany),
                "{end}"
            );
        }
        for end in ["", ",]", "] []", ",,"] {
            assert!(
                matches!(parsed(format, &array(1, end)), Err(Unparsed::Unreadable(_))),
                "{end}"
            );
        }
    }
    let lines = "{\"value\":1}\n\r\n";
    assert_eq!(parsed(Format::NdJson, &lines.repeat(MAX)).unwrap().records.len(), MAX);
    assert_eq!(parsed(Format::NdJson, &lines.repeat(MAX + 1)).err(), Some(Unparsed::TooMany));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let body = Bytes::from(body);
        for format in [Format::Json, Format::NdJson, Format::CloudEvent, Format::CloudEventBatch] {
            let _ = parse(format, &HeaderMap::new(), &body, MAX);
        }
    }
}
