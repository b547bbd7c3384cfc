use proptest::prelude::*;

use super::*;
use crate::{
    Actor, Admin, AuthFailure, Copied, Cost, Digest32, Fate, LossUnit, OffsetRange, Position,
    Present, Release, ReleaseVoid,
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
        segment: 2,
        entries,
        leaves: 0,
        root: tree::empty_root(),
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
        // A kind of another program: `[n, [text]]`.
        (100..2_000_u32, "[a-z]{0,20}").prop_map(|(number, text)| Entry::Other {
            number,
            body: minicbor::to_vec([text]).unwrap(),
        }),
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
        covers: vec![OffsetRange {
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

fn leaf(count: u32, present: Present) -> Leaf {
    let copies = vec![Copied { treatment: 0, present }];
    Leaf { seq: 3, fate: Fate::Deliver(copies), source: vec![], tokens: vec![], count }
}

#[test]
fn a_run_has_a_fifth_element_and_a_single_leaf_has_not() {
    let single = leaf_bytes(&leaf(1, Present::of([true, false, true])));
    assert_eq!(single, [0x84, 3, 0x82, 1, 0x81, 0x81, 0x82, 0, 0x41, 0b101, 0x80, 0x80]);
    let run = leaf_bytes(&leaf(7, Present::Counts(vec![7, 0])));
    assert_eq!(run, [0x85, 3, 0x82, 1, 0x81, 0x81, 0x82, 0, 0x82, 7, 0, 0x80, 0x80, 7]);
    for bytes in [&single, &run] {
        assert_eq!(leaf_bytes(&decode_leaf(bytes).unwrap()), *bytes);
    }
    // A count of one has one spelling.
    let mut spelled = single;
    spelled[0] = 0x85;
    spelled.push(1);
    assert_eq!(decode_leaf(&spelled), Err(RowError::NotCanonical));
}

#[test]
fn what_is_present_fits_its_records_and_fields() {
    let bits = |n: usize| Present::of((0..n).map(|_| true));
    assert_eq!(bits(0), Present::Bitmap(vec![]));
    assert_eq!(bits(9), Present::Bitmap(vec![0xff, 1]));
    let table = [
        (bits(0), 1, 0, true),
        (bits(9), 1, 9, true),
        (bits(9), 1, 8, false),
        (bits(8), 1, 9, false),
        (Present::Bitmap(vec![2]), 1, 1, false),
        (bits(1), 2, 1, false),
        (Present::Counts(vec![2, 0]), 2, 2, true),
        (Present::Counts(vec![3, 0]), 2, 2, false),
        (Present::Counts(vec![1, 0]), 1, 2, false),
        (Present::Counts(vec![2]), 2, 2, false),
    ];
    for (present, records, fields, fits) in table {
        assert_eq!(present.fits(records, fields), fits, "{present:?} {records} {fields}");
    }
    assert_eq!((bits(9).count(8), bits(9).count(9)), (1, 0));
}

#[test]
fn a_leaf_is_forgotten_and_the_root_stays() {
    let leaves = [vec![1], vec![2, 2], vec![3]];
    let mut manifest: Vec<_> = leaves.iter().map(|leaf| ManifestLeaf::Kept(leaf)).collect();
    let root = manifest_root(&manifest);
    manifest[1] = ManifestLeaf::Forgotten(tree::leaf_hash(&leaves[1]));
    let bytes = encode_manifest(manifest.iter().copied());
    let read = decode_manifest(&bytes).unwrap();
    assert_eq!((manifest_root(&read), read[1].kept()), (root, None));
    assert_eq!(bytes[..6], [0x83, 0x41, 1, 0x81, 0x58, 0x20]);
}

#[test]
fn kinds_of_another_program_stay_as_they_are_written() {
    // `[70, [h'01', ["a"]]]`, and the same with a number in a longer form.
    let good = [0x81, 0x82, 0x18, 70, 0x82, 0x41, 1, 0x81, 0x61, b'a'];
    let entries: Vec<Entry> = minicbor::decode(&good).unwrap();
    assert_eq!((entries[0].number(), entries[0].kind()), (70, "other"));
    assert_eq!(minicbor::to_vec(&entries).unwrap(), good);
    let bad = [0x81, 0x82, 0x18, 70, 0x81, 0x18, 1];
    assert!(minicbor::decode::<Vec<Entry>>(&bad).is_err());
    // A known kind with another number of fields is not that kind.
    assert!(minicbor::decode::<Vec<Entry>>(&[0x81, 0x82, 3, 0x81, 0]).is_err());
}
