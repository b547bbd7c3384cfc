use proptest::prelude::*;

use super::*;
use crate::{
    Actor, Admin, AuthFailure, Cost, Covered, Digest32, LossUnit, Position, Release, ReleaseVoid,
};

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
        (any::<[u8; 16]>(), any::<u64>(), any::<u32>()).prop_map(|(id, wseq, leaf)| {
            let of = Position { writer: WriterId([3; 16]), wseq, leaf };
            Entry::ReleaseVoid(ReleaseVoid { id, of })
        }),
        (".*", any::<[u64; 4]>(), any::<[i64; 3]>(), any::<bool>()).prop_map(release),
    ];
    proptest::collection::vec(one, 0..5)
}

fn release((name, costs, at, is_rho): (String, [u64; 4], [i64; 3], bool)) -> Entry {
    Entry::Release(Box::new(Release {
        id: [4; 16],
        name: name.clone(),
        account: name,
        topic: "t".into(),
        region: "eu".into(),
        window_start_us: at[0],
        window_end_us: at[1],
        revision: 2,
        policy: [5; 32],
        plan: [6; 32],
        unit: if is_rho { LossUnit::NanoRho } else { LossUnit::NanoEpsilon },
        cost: Cost { loss: costs[0], delta: costs[1] },
        uses_max: 7,
        cap: Cost { loss: costs[2], delta: costs[3] },
        period_us: at[2],
        mechanism: "discrete-laplace".into(),
        covers: vec![Covered {
            region: "eu".into(),
            topic: "c".into(),
            partition: 1,
            from: at[0],
            to: at[1],
        }],
        blobs: vec![Digest32([8; 32])],
        messages: 9,
    }))
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

/// Digests of treatments from before they had a topic stay what they were.
#[test]
fn a_treatment_without_a_topic_has_seven_fields() {
    let treatment = |topic: Option<&str>| Treatment {
        region: "eu".into(),
        jurisdiction: "DE".into(),
        rules: vec![],
        transforms: vec![],
        keys: vec![],
        transfer: vec![],
        withheld: vec![],
        topic: topic.map(str::to_owned),
    };
    let (_, without) = detail_digest(&treatment(None));
    assert_eq!(without, [0x87, 0x62, b'e', b'u', 0x62, b'D', b'E', 0x80, 0x80, 0x80, 0x80, 0x80]);
    let (_, with) = detail_digest(&treatment(Some("t")));
    assert_eq!((with[0], &with[with.len() - 2..]), (0x88, &[0x61, b't'][..]));
    for (bytes, topic) in [(without, None), (with, Some("t"))] {
        assert_eq!(minicbor::decode::<Treatment>(&bytes).unwrap(), treatment(topic));
    }
}
