//! Any bytes as a frame from somebody who is not known yet: header, and the body of whatever it names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate_wire::{Direction, frame_length, request_header, response_header};

fuzz_target!(|bytes: &[u8]| {
    assert!(frame_length(bytes, 1 << 20).is_ok_and(|length| length.is_none_or(|l| l <= 1 << 20)) || bytes.len() >= 4);
    let Ok(header) = request_header(bytes) else { return };
    let Some(api) = header.api else { return };
    let mut again = Vec::new();
    header.write(api, &mut again);
    let written = request_header(&again).unwrap();
    assert_eq!((written.key, written.version), (header.key, header.version));
    assert_eq!((written.correlation, written.client), (header.correlation, header.client));
    let _body = api.layout(Direction::Request, header.version).unwrap().parse(header.body);
    let _response = response_header(api, header.version, bytes);
});
