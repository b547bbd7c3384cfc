//! Contributions and totals as bytes: what is written is read, and whatever else is read is either
//! refused or was written so.

use proptest::{collection::vec, prelude::*};

use super::*;

fn contributions() -> impl Strategy<Value = Vec<u8>> {
    let who = (any::<[u8; 16]>(), any::<[u8; 16]>(), ".{0,12}");
    let what = (any::<i64>(), any::<i64>(), vec(any::<Option<i64>>(), 0..5));
    (who, what).prop_map(|((subject, id, key), (event_ms, arrival_ms, values))| {
        let (subject, key) = (Subject(subject), Arc::from(key));
        let made = Contribution { subject, key, event_ms, arrival_ms, id, values };
        let bytes = made.encode();
        assert!(Contribution::decode(&bytes).is_ok_and(|read| read == made));
        bytes
    })
}

fn totals() -> impl Strategy<Value = Vec<u8>> {
    let row = (".{0,6}", vec(any::<i64>(), 0..4));
    vec(row, 0..5).prop_map(|rows| {
        let by_key = rows.into_iter().map(|(key, row)| (Arc::from(key), row)).collect();
        let made = Totals { by_key };
        let bytes = made.encode();
        assert!(Totals::decode(&bytes).is_some_and(|read| read == made));
        bytes
    })
}

/// What reading and writing again makes of bytes; none if they are refused.
type Again = fn(&[u8]) -> Option<Vec<u8>>;

const CONTRIBUTION: Again = |bytes| Some(Contribution::decode(bytes).ok()?.encode());
const TOTALS: Again = |bytes| Some(Totals::decode(bytes)?.encode());

/// The bytes, cut short anywhere, and with one of them changed.
fn around(bytes: &[u8], at: prop::sample::Index, by: u8) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = (0..bytes.len()).map(|end| bytes[..end].to_vec()).collect();
    let mut changed = bytes.to_vec();
    if let Some(byte) = changed.get_mut(at.index(bytes.len().max(1))) {
        *byte ^= by;
    }
    all.push(changed);
    all.push([bytes, &[by]].concat());
    all
}

fn refused_or_the_same(again: Again, bytes: &[u8]) {
    assert!(again(bytes).is_none_or(|written| written == bytes), "{bytes:?}");
}

proptest! {
    #[test]
    fn a_changed_contribution_is_refused_or_another_one(
        bytes in contributions(), at in any::<prop::sample::Index>(), by in 1_u8..,
    ) {
        for changed in around(&bytes, at, by) {
            refused_or_the_same(CONTRIBUTION, &changed);
            prop_assert!(changed.len() == bytes.len() || CONTRIBUTION(&changed).is_none());
        }
    }

    #[test]
    fn changed_totals_are_refused_or_others(
        bytes in totals(), at in any::<prop::sample::Index>(), by in 1_u8..,
    ) {
        for changed in around(&bytes, at, by) {
            refused_or_the_same(TOTALS, &changed);
            prop_assert!(changed.len() == bytes.len() || TOTALS(&changed).is_none());
        }
    }

    #[test]
    fn any_bytes_have_an_answer(
        bytes in vec(prop_oneof![3 => 0..4_u8, 1 => any::<u8>()], 0..120),
    ) {
        refused_or_the_same(CONTRIBUTION, &bytes);
        refused_or_the_same(CONTRIBUTION, &[&[1], &bytes[..]].concat());
        refused_or_the_same(TOTALS, &bytes);
    }
}

/// The one way in which totals could be written in two ways.
#[test]
fn keys_of_totals_ascend() {
    let row = |key: &str| {
        let totals = Totals { by_key: [(Arc::from(key), vec![7])].into() };
        totals.encode()[4..].to_vec()
    };
    let two = |first: &str, second: &str| {
        let bytes = [2_u32.to_be_bytes().to_vec(), row(first), row(second)].concat();
        Totals::decode(&bytes).is_some()
    };
    assert!(two("a", "b"));
    assert!(!two("b", "a"));
    assert!(!two("a", "a"));
}

#[test]
fn nothing_is_not_totals() {
    assert!(Totals::decode(&[]).is_none());
    assert!(Totals::decode(&[0; 4]).is_some_and(|totals| totals.by_key.is_empty()));
}

#[test]
fn totals_of_tasks_add_up_and_never_wrap() {
    let of = |n: i64| Totals { by_key: [(Arc::from("a"), vec![n, 1])].into() };
    let mut sum = of(i64::MAX - 1);
    sum.add(of(1)).unwrap();
    assert!(rows(&sum) == rows(&Totals { by_key: [("a".into(), vec![i64::MAX, 2])].into() }));
    assert_eq!(sum.add(of(1)), Err(Aborted::Overflow));
}
