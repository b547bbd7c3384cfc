//! Any bytes as the totals of a pane: no panic, whatever decodes encodes to the same bytes, and
//! what is added to nothing stays what it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate_releases::window::Totals;

fuzz_target!(|bytes: &[u8]| {
    let Some(totals) = Totals::decode(bytes) else { return };
    assert!(totals.encode() == bytes);
    let mut sum = Totals::default();
    assert!(sum.add(totals.clone()).is_ok() && sum == totals);
    // Twice may leave 64 bits, which is an answer too.
    let _doubled = sum.add(totals);
});
