//! Any bytes as a contribution to a release: no panic, and whatever decodes encodes to the same
//! bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate_releases::window::Contribution;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(contribution) = Contribution::decode(bytes) {
        assert!(contribution.encode() == bytes);
    }
});
