//! Any text as a policy file: no panic, no bundle with errors, and diagnostics that render.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate_policies::{Bundle, Source, UnixMillis, check};

fuzz_target!(|text: &str| {
    let sources = [Source { path: "fuzz.yaml".to_owned(), text: text.to_owned() }];
    let report = check(&sources, UnixMillis(1_800_000_000_000));
    let _rendered = report.render(&sources);
    match Bundle::compile(&sources) {
        Ok(bundle) => {
            assert!(!report.has_errors());
            assert!(bundle.table(UnixMillis(1_800_000_000_000)).is_ok());
        }
        Err(errors) => assert!(errors.has_errors()),
    }
});
