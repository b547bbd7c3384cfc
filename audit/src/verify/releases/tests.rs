//! A ledger that is whole, and what can be done to it: rows are made anew and chained anew, as
//! somebody could who owns the store.

use crate::{
    BudgetBlocked, ChainHead, Cost, Digest32, Entry, LossUnit, OffsetRange, Position, Release,
    ReleasePublished, ReleaseVoid, Row, SegmentOpen, WriterId, WriterOpen, blob_digest, empty_root,
    genesis, link_of,
    verify::{Stored, Verdict, Verifier, What},
};

const A: WriterId = WriterId([1; 16]);
const B: WriterId = WriterId([2; 16]);
const C: WriterId = WriterId([3; 16]);
const BYTES: &[u8] = b"{\"count\":41}";

/// Rows of several writers, each with its entries.
type Rows = Vec<(WriterId, Vec<Entry>)>;

fn verdict(rows: &Rows, blobs: &[(&[u8; 32], &[u8])]) -> Verdict {
    let mut verifier = Verifier::default();
    for writer in [A, B, C] {
        let mut prev = genesis("test", writer);
        let entries = rows.iter().filter(|(of, _)| *of == writer).map(|(_, entries)| entries);
        for (entries, wseq) in entries.zip(0_u64..) {
            let row = Row {
                origin: "test".into(),
                writer,
                wseq,
                prev,
                t_us: 0,
                t_err_us: 0,
                clock: "test".into(),
                segment: 1,
                entries: opened(wseq, entries),
                leaves: 0,
                root: empty_root(),
            };
            let bytes = row.encode();
            verifier.row(&Stored {
                writer,
                wseq,
                bytes: &bytes,
                link: None,
                manifest: None,
                beside: None,
            });
            prev = link_of(&bytes);
        }
    }
    blobs.iter().for_each(|(digest, bytes)| verifier.blob(&digest[..], bytes));
    verifier.finish()
}

/// Each chain begins in segment 1; the entry is the last, so that others keep their numbers.
fn opened(wseq: u64, entries: &[Entry]) -> Vec<Entry> {
    let open = SegmentOpen { segment: 1, key: "k".into(), check: [0; 16], heads: vec![] };
    let open = (wseq == 0).then_some(Entry::SegmentOpen(open));
    entries.iter().cloned().chain(open).collect()
}

fn open(predecessor: Vec<ChainHead>) -> Entry {
    Entry::WriterOpen(WriterOpen { node: "n".into(), software: "s".into(), predecessor })
}

fn release(id: u8) -> Release {
    Release {
        id: [id; 16],
        name: "orders-per-hour".into(),
        account: "orders".into(),
        topic: "orders.hourly".into(),
        region: "eu".into(),
        window_start_us: 0,
        window_end_us: 3_600,
        revision: 0,
        policy: [7; 32],
        plan: [8; 32],
        unit: LossUnit::NanoRho,
        cost: Cost { loss: 10, delta: 1 },
        uses_max: 2,
        cap: Cost { loss: 20, delta: 2 },
        period_us: 0,
        mechanism: "discrete-gaussian".into(),
        covers: vec![OffsetRange {
            region: "eu".into(),
            topic: "c".into(),
            partition: 0,
            from: 4,
            to: 9,
        }],
        blobs: vec![Digest32(blob_digest(BYTES))],
        messages: 1,
    }
}

fn at(writer: WriterId, wseq: u64, leaf: u32) -> Position {
    Position { writer, wseq, leaf }
}

fn entry(release: Release) -> Entry {
    Entry::Release(Box::new(release))
}

fn void(id: u8, of: Position) -> Entry {
    Entry::ReleaseVoid(ReleaseVoid { id: [id; 16], of })
}

fn published(id: u8, of: Position) -> Entry {
    Entry::ReleasePublished(ReleasePublished { id: [id; 16], of })
}

/// A and B raced for release 1, A won; both closed. B also released 2 and 3.
fn whole() -> Rows {
    vec![
        (A, vec![open(vec![])]),
        (A, vec![Entry::Heartbeat, entry(release(1))]),
        (A, vec![published(1, at(A, 1, 1))]),
        (A, vec![Entry::WriterClose]),
        (B, vec![open(vec![])]),
        (B, vec![entry(release(1))]),
        (B, vec![void(1, at(B, 1, 0)), entry(release(2))]),
        (B, vec![entry(release(3)), published(2, at(B, 2, 1))]),
        (B, vec![Entry::WriterClose]),
    ]
}

#[test]
fn a_whole_ledger_verifies_and_says_what_was_spent() {
    let verdict = verdict(&whole(), &[(&blob_digest(BYTES), BYTES)]);
    assert!(verdict.is_ok(), "{verdict}");
    let counts = verdict.releases;
    assert_eq!((counts.stand, counts.published, counts.void), (3, 2, 1));
    assert_eq!((counts.unsettled, counts.blobs_detached), (0, 0));
    // Three charges of which two touch a person.
    let [spent] = &verdict.budget[..] else { panic!("one period") };
    assert_eq!((spent.spent.loss, spent.spent.delta, spent.releases), (20, 2, 3));
    assert!(verdict.to_string().contains("releases   3 (2 published, 1 void), 0"), "{verdict}");
    assert!(verdict.json().contains(r#""loss":20,"loss_cap":20,"delta_atto":2"#));
}

#[test]
fn every_harm_is_found_where_it_was_done() {
    type Harm = fn(&mut Rows);
    let table: &[(&str, Harm, (WriterId, u64), What)] = &[
        ("a void is taken out", |r| r[6].1[0] = Entry::Heartbeat, (B, 1), What::ReleaseTwice),
        (
            "both are void",
            |r| r[7].1.push(void(1, at(A, 1, 1))),
            (A, 2),
            // It was published.
            What::ReleasePublished,
        ),
        (
            "an unpublished release is void, and none other stands",
            |r| r[7].1.push(void(3, at(B, 3, 0))),
            (B, 3),
            What::ReleaseVoid,
        ),
        ("a void of nothing", |r| r[7].1.push(void(3, at(B, 9, 0))), (B, 3), What::ReleaseVoid),
        ("a void of another id", |r| r[7].1.push(void(4, at(B, 3, 0))), (B, 3), What::ReleaseVoid),
        (
            "a publication of nothing",
            |r| r[7].1.push(published(3, at(B, 3, 1))),
            (B, 3),
            What::ReleasePublished,
        ),
        (
            "a publication of what lost",
            |r| r[7].1.push(published(1, at(B, 1, 0))),
            (B, 3),
            What::ReleasePublished,
        ),
        (
            "two of an id were published",
            |r| {
                r[6].1[0] = Entry::Heartbeat;
                r[7].1.push(published(1, at(B, 1, 0)));
            },
            (B, 3),
            What::ReleaseTwice,
        ),
        (
            "a release is taken out after it was published",
            |r| drop(r[6].1.remove(1)),
            (B, 3),
            What::ReleasePublished,
        ),
        (
            "a charge above the cap",
            |r| {
                let other = Release { plan: [9; 32], ..release(4) };
                r[7].1.push(entry(other));
            },
            (B, 3),
            What::AboveCap,
        ),
        (
            "a cap that was raised inside the period",
            |r| {
                let cap = Cost { loss: 40, delta: 2 };
                r[7].1.push(entry(Release { plan: [9; 32], cap, ..release(4) }));
            },
            (B, 3),
            What::AboveCap,
        ),
        (
            "a delta above the cap",
            |r| {
                let cost = Cost { loss: 0, delta: 1 };
                r[7].1.push(entry(Release { plan: [9; 32], cost, ..release(4) }));
            },
            (B, 3),
            What::AboveCap,
        ),
        (
            "another unit in the period",
            |r| {
                let (plan, unit) = ([9; 32], LossUnit::NanoEpsilon);
                r[7].1.push(entry(Release { plan, unit, ..release(4) }));
            },
            (B, 3),
            What::Charges,
        ),
        (
            "a line that costs less the next time",
            |r| r[7].1.push(entry(Release { cost: Cost::default(), ..release(4) })),
            (B, 3),
            What::Charges,
        ),
        (
            "a line that touches more the next time",
            |r| r[7].1.push(entry(Release { uses_max: 3, ..release(4) })),
            (B, 3),
            What::Charges,
        ),
        (
            "the same id under two charges",
            |r| {
                if let Entry::Release(release) = &mut r[5].1[0] {
                    release.account = "people".into();
                }
            },
            (B, 1),
            What::Charges,
        ),
        (
            "a window that ends before it starts",
            |r| r[7].1.push(entry(Release { window_end_us: 0, ..release(4) })),
            (B, 3),
            What::Release,
        ),
        (
            "a charge that touches nobody",
            |r| r[7].1.push(entry(Release { uses_max: 0, ..release(4) })),
            (B, 3),
            What::Release,
        ),
        (
            "a stretch of offsets that goes back",
            |r| {
                let mut release = release(4);
                release.covers[0].from = 10;
                r[7].1.push(entry(release));
            },
            (B, 3),
            What::Release,
        ),
    ];
    for (harm, harmed, place, what) in table {
        let mut rows = whole();
        harmed(&mut rows);
        let found = verdict(&rows, &[]).divergence.map(|d| ((d.writer, d.wseq), d.what));
        assert_eq!(found, Some((*place, what.clone())), "{harm}");
    }
}

#[test]
fn published_bytes_are_those_of_the_release_or_detached() {
    let digest = blob_digest(BYTES);
    let detached = verdict(&whole(), &[]);
    assert!(detached.is_ok());
    assert_eq!(detached.releases.blobs_detached, 1, "one digest, three releases");
    let other = verdict(&whole(), &[(&digest, b"{\"count\":42}")]);
    assert_eq!(other.divergence.map(|d| (d.writer, d.wseq, d.what)), Some((A, 1, What::Blob)));
    let stray = verdict(&whole(), &[(&digest, BYTES), (&[0; 32], b"nobody's")]);
    assert!(stray.is_ok(), "{stray}");
}

/// Two of an id are no harm while the one that lost may still say so.
#[test]
fn a_race_is_unsettled_until_a_second_chain_has_ended() {
    let mut rows = whole();
    rows[6].1[0] = Entry::Heartbeat;
    assert!(!verdict(&rows, &[]).is_ok(), "both have ended");
    rows.pop();
    let living = verdict(&rows, &[]);
    assert!(living.is_ok(), "{living}");
    assert_eq!((living.releases.unsettled, living.releases.stand), (1, 3));
    assert_eq!(living.budget[0].releases, 3, "one charge per id");
    // A later writer continues B's chain: B has ended.
    let continued = |mut rows: Rows, more: Vec<Entry>| {
        let link = link_of_last(&rows, B);
        let mut entries = vec![open(vec![ChainHead { writer: B, wseq: 3, link, segment: 1 }])];
        entries.extend(more);
        rows.push((C, entries));
        rows
    };
    let silent = verdict(&continued(rows.clone(), vec![]), &[]);
    assert_eq!(silent.divergence.map(|d| d.what), Some(What::ReleaseTwice));
    let said = verdict(&continued(rows, vec![void(1, at(B, 1, 0))]), &[]);
    assert!(said.is_ok(), "{said}");
    assert_eq!((said.releases.unsettled, said.releases.void), (0, 1));
}

fn link_of_last(rows: &Rows, writer: WriterId) -> [u8; 32] {
    let head = verdict(rows, &[]).heads.into_iter().find(|head| head.writer == writer);
    head.map(|head| head.link).unwrap_or_default()
}

#[test]
fn a_blocked_period_shows() {
    let mut rows = whole();
    let blocked = BudgetBlocked { account: "orders".into(), period_us: 0, why: "restored".into() };
    rows[7].1.push(Entry::BudgetBlocked(blocked));
    let verdict = verdict(&rows, &[]);
    assert!(verdict.is_ok() && verdict.budget[0].is_blocked, "{verdict}");
    assert!(verdict.to_string().contains("BLOCKED"));
}
