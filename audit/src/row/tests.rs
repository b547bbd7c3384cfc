use proptest::prelude::*;

use super::*;
use crate::{Actor, Admin, AuthFailure};

fn row(entries: Vec<Entry>) -> Row {
    Row {
        origin: "test".into(),
        writer: WriterId([7; 16]),
        wseq: 3,
        prev: [1; 32],
        t_us: -5,
        t_err_us: 0,
        clock: "system".into(),
        entries,
        events: 0,
        event_root: tree::empty_root(),
    }
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let one = prop_oneof![
        Just(Entry::WriterClose),
        Just(Entry::Heartbeat),
        (".*", any::<[u8; 16]>())
            .prop_map(|(code, origin)| Entry::AuthFailure(AuthFailure { code, origin })),
        (".*", ".*", ".*").prop_map(|(id, action, about)| Entry::Admin(Admin {
            actor: Actor { id, by: "mtls".into() },
            action,
            result: "ok".into(),
            about,
        })),
    ];
    proptest::collection::vec(one, 0..5)
}

proptest! {
    #[test]
    fn decode_is_the_inverse_of_encode(entries in entries()) {
        let row = row(entries);
        prop_assert_eq!(Row::decode(&row.encode()), Ok(row));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Row::decode(&bytes);
        let _ = decode_leaf(&bytes);
        let _ = decode_manifest(&bytes);
    }

    #[test]
    fn a_changed_byte_is_no_longer_the_row(at in 0..60_usize, with in 1..=255_u8) {
        let original = row(vec![Entry::Heartbeat]);
        let mut bytes = original.encode();
        let at = at % bytes.len();
        bytes[at] ^= with;
        prop_assert!(Row::decode(&bytes).map_or(true, |other| other != original));
        prop_assert_ne!(link_of(&bytes), link_of(&original.encode()));
    }
}

#[test]
fn a_longer_spelling_of_the_same_number_is_refused() {
    let row = row(vec![]);
    let mut bytes = row.encode();
    // `wseq` 3 as 0x18 0x03 instead of 0x03: the same value, not the canonical bytes.
    let at = bytes.iter().position(|b| *b == 0x03).unwrap();
    bytes.splice(at..=at, [0x18, 0x03]);
    assert_eq!(Row::decode(&bytes), Err(RowError::NotCanonical));
}
