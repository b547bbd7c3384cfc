//! Any bytes as a request's body in any format: no panic, no reserved header let in, and every
//! value cut out of the body as it was there.
#![no_main]

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use sluicegate_gateway::listen::body::{Format, parse};

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first() else { return };
    let format = match choice % 5 {
        0 => Format::Json,
        1 => Format::NdJson,
        2 => Format::CloudEvent,
        3 => Format::CloudEventBatch,
        _ => Format::CloudEventBinary,
    };
    let mut headers = HeaderMap::new();
    if let (Format::CloudEventBinary, Ok(value)) = (format, HeaderValue::from_bytes(body)) {
        for name in ["ce-specversion", "ce-id", "ce-source", "ce-type", "ce-subject"] {
            headers.insert(name, value.clone());
        }
    }
    let body = Bytes::copy_from_slice(body);
    let Ok(parsed) = parse(format, &headers, &body, 100) else { return };
    for record in parsed.records {
        assert!(!record.headers.iter().any(|(name, _)| name.starts_with("sluicegate-")));
        if let (Some(value), Format::Json | Format::NdJson) = (record.value, format) {
            assert!(body.windows(value.len()).any(|window| window == value));
        }
    }
});
