//! Any bytes as a ledger row: no panic, and whatever decodes encodes to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate_audit::{
    Row,
    verify::{Stored, Verifier},
};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(row) = Row::decode(bytes) {
        assert_eq!(row.encode(), bytes);
        let mut verifier = Verifier::default();
        let (writer, wseq) = (row.writer, row.wseq);
        verifier.row(&Stored { writer, wseq, bytes, link: None, manifest: Some(bytes), beside: None });
        let _verdict = verifier.finish().to_string();
    }
});
