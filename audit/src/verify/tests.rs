//! Each rule of the format about what entries say, and what breaks it: rows are made anew and
//! chained anew, as somebody could who owns the store.

use super::*;
use crate::{
    Actor, At, BatchIdentity, ChainHead, Copied, Digest16, Digest32, Fate, FieldTransform, Intent,
    Leaf, ManifestLeaf, Missing, MissingState, OffsetRange, Placement, Present, ReadAccess,
    ReadClosed, ReadState, Reopened, SegmentOpen, Transfer, TransferTerms, Treatment,
    detail_digest, encode_manifest, leaf_bytes, leaf_hash, row::manifest_root,
};

const A: WriterId = WriterId([1; 16]);
const B: WriterId = WriterId([2; 16]);

fn actor() -> Actor {
    Actor { id: "till-7".into(), by: "mtls".into() }
}

fn terms(categories: &[&str]) -> TransferTerms {
    TransferTerms {
        rule: "us-by-contract".into(),
        from: "DE".into(),
        to: "US".into(),
        recipient: "ads".into(),
        mechanism: "scc".into(),
        categories: categories.iter().map(ToString::to_string).collect(),
    }
}

/// To a region, of two fields.
fn treatment(region: &str) -> Treatment {
    let field = |name: &str| FieldTransform {
        field: name.into(),
        category: "contact".into(),
        transform: "keep".into(),
        rules: vec![],
    };
    let transfer = if region == "us" { vec![terms(&["contact", "finance"])] } else { vec![] };
    Treatment {
        region: region.into(),
        jurisdiction: "DE".into(),
        rules: vec![],
        transforms: vec![field("$.email"), field("$.iban")],
        keys: vec![],
        transfer,
        withheld: vec![],
        topic: None,
    }
}

fn copied(treatment: u32, present: [bool; 2]) -> Copied {
    Copied { treatment, present: Present::of(present) }
}

fn leaf(seq: u32, copies: Vec<Copied>) -> Leaf {
    Leaf { seq, fate: Fate::Deliver(copies), source: vec![], tokens: vec![], count: 1 }
}

fn intent(leaves: u32, records: u32) -> Intent {
    let digest = |region| Digest32(detail_digest(&treatment(region)).0);
    Intent {
        request: [5; 16],
        actor: actor(),
        origin: [0; 16],
        purpose: "p".into(),
        dataset: "orders".into(),
        topic: "orders".into(),
        policy: [9; 32],
        rules: vec![],
        treatments: vec![digest("eu"), digest("us")],
        first_leaf: 0,
        leaves,
        records,
        batch: vec![],
    }
}

/// A row in the making.
#[derive(Clone, Default)]
struct Draft {
    writer: Option<WriterId>,
    segment: u32,
    entries: Vec<Entry>,
    leaves: Vec<Leaf>,
    /// A leaf that is not kept.
    forgotten: Option<usize>,
}

fn row(entries: Vec<Entry>) -> Draft {
    Draft { segment: 1, entries, ..Draft::default() }
}

fn opens(segment: u32, key: u8, heads: Vec<ChainHead>) -> Entry {
    Entry::SegmentOpen(SegmentOpen { segment, key: format!("k{key}"), check: [key; 16], heads })
}

/// Two records to both regions, a run of five to one, and where they ended.
fn whole() -> Vec<Draft> {
    let both = vec![copied(0, [true, false]), copied(1, [true, true])];
    let run = Copied { treatment: 0, present: Present::Counts(vec![5, 2]) };
    let leaves =
        vec![leaf(0, both.clone()), leaf(1, both), Leaf { count: 5, ..leaf(2, vec![run]) }];
    let transfer = Transfer {
        request: [5; 16],
        treatment: intent(0, 0).treatments[1],
        terms: terms(&["contact"]),
        records: 2,
    };
    let placed = |region: &str, at| Placement {
        region: region.into(),
        topic: "orders".into(),
        partition: 0,
        at,
    };
    let eu = vec![At::one(7, 0), At::one(8, 1), At { offset: 9, leaf: 2, count: 5 }];
    let missing = |state, leaf| Missing {
        region: "us".into(),
        topic: "orders".into(),
        state,
        code: "timeout".into(),
        leaves: vec![leaf],
    };
    let piece = Outcome {
        of: at(1),
        placed: vec![placed("eu", eu)],
        missing: vec![missing(MissingState::NotConfirmed, 0), missing(MissingState::NotWritten, 1)],
        repeat_of: vec![],
        complete: false,
    };
    let last = Outcome {
        placed: vec![placed("us", vec![At::one(3, 0)])],
        missing: vec![],
        complete: true,
        ..piece.clone()
    };
    let intends = vec![Entry::Intent(intent(3, 7)), Entry::Transfer(transfer)];
    vec![
        row(vec![opens(1, 1, vec![])]),
        Draft { leaves, ..row(intends) },
        row(vec![Entry::Outcome(piece)]),
        row(vec![Entry::Outcome(last)]),
    ]
}

fn at(wseq: u64) -> Position {
    Position { writer: A, wseq, leaf: 0 }
}

fn judged(drafts: &[Draft]) -> Verdict {
    kept(drafts, 0)
}

/// Without the first rows.
fn kept(drafts: &[Draft], from: usize) -> Verdict {
    let mut verifier = Verifier::default();
    for region in ["eu", "us"] {
        let (digest, bytes) = detail_digest(&treatment(region));
        verifier.detail(&digest, &bytes);
    }
    let mut heads: BTreeMap<WriterId, ChainHead> = BTreeMap::new();
    for (n, draft) in drafts.iter().enumerate() {
        let writer = draft.writer.unwrap_or(A);
        let before = heads.get(&writer).cloned();
        let mut entries = draft.entries.clone();
        // Its own head is filled in, and those of others where they are asked for.
        for entry in &mut entries {
            let Entry::SegmentOpen(open) = entry else { continue };
            for head in &mut open.heads {
                *head = heads.get(&head.writer).cloned().unwrap_or_else(|| head.clone());
            }
        }
        let bytes: Vec<_> = draft.leaves.iter().map(leaf_bytes).collect();
        let mut manifest: Vec<_> = bytes.iter().map(|leaf| ManifestLeaf::Kept(leaf)).collect();
        if let Some(n) = draft.forgotten {
            manifest[n] = ManifestLeaf::Forgotten(leaf_hash(&bytes[n]));
        }
        let row = Row {
            origin: "test".into(),
            writer,
            wseq: before.as_ref().map_or(0, |head| head.wseq + 1),
            prev: before.map_or_else(|| genesis("test", writer), |head| head.link),
            t_us: 0,
            t_err_us: 0,
            clock: "test".into(),
            segment: draft.segment,
            entries,
            leaves: manifest.len() as u32,
            root: manifest_root(&manifest),
        };
        let bytes = row.encode();
        let (wseq, segment, link) = (row.wseq, row.segment, link_of(&bytes));
        heads.insert(writer, ChainHead { writer, wseq, link, segment });
        if n >= from {
            verifier.row(&Stored {
                writer,
                wseq,
                bytes: &bytes,
                link: None,
                manifest: Some(&encode_manifest(manifest.iter().copied())),
                beside: None,
            });
        }
    }
    verifier.finish()
}

#[test]
fn what_keeps_every_rule_verifies() {
    let verdict = judged(&whole());
    assert!(verdict.is_ok(), "{verdict}");
    assert_eq!((verdict.records, verdict.delivered, verdict.open_intents), (7, 7, 0));
    let mut forgotten = whole();
    forgotten[1].forgotten = Some(2);
    let verdict = judged(&forgotten);
    assert!(verdict.is_ok(), "{verdict}");
    assert_eq!((verdict.records, verdict.delivered, verdict.leaves_detached), (7, 2, 1));
}

#[test]
fn an_intent_without_an_outcome_is_reported_and_does_not_diverge() {
    let verdict = judged(&whole()[..3]);
    assert!(verdict.is_ok(), "{verdict}");
    assert_eq!((verdict.open_intents, &verdict.open_first[..]), (1, &[at(1)][..]));
    assert!(verdict.to_string().contains(&format!("1 intents without an outcome: {}", at(1))));
}

fn entry(drafts: &mut [Draft], row: usize, n: usize) -> &mut Entry {
    &mut drafts[row].entries[n]
}

fn edit_intent(drafts: &mut [Draft], edit: impl FnOnce(&mut Intent)) {
    if let Entry::Intent(intent) = entry(drafts, 1, 0) {
        edit(intent);
    }
}

fn edit_transfer(drafts: &mut [Draft], edit: impl FnOnce(&mut Transfer)) {
    if let Entry::Transfer(transfer) = entry(drafts, 1, 1) {
        edit(transfer);
    }
}

fn edit_outcome(drafts: &mut [Draft], row: usize, edit: impl FnOnce(&mut Outcome)) {
    if let Entry::Outcome(outcome) = entry(drafts, row, 0) {
        edit(outcome);
    }
}

type Harm = fn(&mut Vec<Draft>);

fn check(table: &[(&str, Harm, u64)]) {
    for (harm, harmed, wseq) in table {
        let mut drafts = whole();
        harmed(&mut drafts);
        let found = judged(&drafts).divergence;
        let is_rule = |d: &Divergence| matches!(d.what, What::Rule(_) | What::Sealed | What::Gap);
        assert!(found.as_ref().is_some_and(is_rule), "{harm}: {found:?}");
        assert_eq!(found.map(|d| d.wseq), Some(*wseq), "{harm}");
    }
}

#[test]
fn counts_presence_and_transfers_have_rules() {
    check(&[
        ("more records than leaves stand for", |d| edit_intent(d, |i| i.records = 8), 1),
        ("fewer records than leaves", |d| edit_intent(d, |i| i.records = 2), 1),
        ("fewer leaves than the row has", |d| edit_intent(d, |i| i.leaves = 2), 1),
        (
            "an intent without a leaf",
            |d| {
                let empty = Entry::Intent(Intent { first_leaf: 3, ..intent(0, 0) });
                d[1].entries.push(empty);
            },
            1,
        ),
        (
            "two batches",
            |d| {
                edit_intent(d, |i| {
                    let batch = BatchIdentity {
                        cluster: "c".into(),
                        partition: 0,
                        producer_id: -1,
                        producer_epoch: -1,
                        first_sequence: -1,
                        count: 7,
                        log_end: -1,
                    };
                    i.batch = vec![batch.clone(), batch];
                })
            },
            1,
        ),
        (
            "a bitmap of another length",
            |d| {
                d[1].leaves[0].fate = Fate::Deliver(vec![Copied {
                    treatment: 0,
                    present: Present::Bitmap(vec![1, 0]),
                }]);
            },
            1,
        ),
        (
            "a bit behind the last field",
            |d| {
                d[1].leaves[0].fate =
                    Fate::Deliver(vec![Copied { treatment: 0, present: Present::Bitmap(vec![4]) }]);
            },
            1,
        ),
        (
            "a count of more than there are",
            |d| {
                let present = Present::Counts(vec![6, 0]);
                d[1].leaves[2].fate = Fate::Deliver(vec![Copied { treatment: 0, present }]);
            },
            1,
        ),
        (
            "a treatment that is not there",
            |d| {
                d[1].leaves[0].fate = Fate::Deliver(vec![copied(2, [true, true])]);
            },
            1,
        ),
        ("a run with a digest", |d| d[1].leaves[2].tokens = vec![Digest16([1; 16])], 1),
        ("a run of nothing", |d| d[1].leaves[2].count = 0, 1),
        (
            "two copies to one place",
            |d| {
                d[1].leaves[0].fate =
                    Fate::Deliver(vec![copied(0, [true, true]), copied(0, [true, true])]);
            },
            1,
        ),
        (
            "a transfer of a category that the treatment does not have",
            |d| {
                edit_transfer(d, |t| t.terms.categories.push("health".into()));
            },
            1,
        ),
        (
            "a transfer under other terms",
            |d| {
                edit_transfer(d, |t| t.terms.to = "CN".into());
            },
            1,
        ),
        ("a transfer of another request", |d| edit_transfer(d, |t| t.request = [6; 16]), 1),
        ("a transfer of more records", |d| edit_transfer(d, |t| t.records = 8), 1),
        (
            "a transfer twice",
            |d| {
                let again = entry(d, 1, 1).clone();
                d[1].entries.push(again);
            },
            1,
        ),
    ]);
}

#[test]
fn the_pieces_of_an_outcome_contradict_nothing() {
    check(&[
        (
            "placed twice in a region",
            |d| {
                edit_outcome(d, 2, |o| {
                    o.placed[0].at.push(At::one(70, 0));
                })
            },
            2,
        ),
        (
            "more of a run than it has",
            |d| {
                edit_outcome(d, 2, |o| {
                    o.placed[0].at.push(At { offset: 90, leaf: 2, count: 1 });
                })
            },
            2,
        ),
        (
            "placed where nothing goes",
            |d| {
                edit_outcome(d, 2, |o| {
                    o.placed[0].region = "in".into();
                })
            },
            2,
        ),
        (
            "a leaf that is not there",
            |d| {
                edit_outcome(d, 2, |o| {
                    o.placed[0].at.push(At::one(90, 3));
                })
            },
            2,
        ),
        ("a placement of nothing", |d| edit_outcome(d, 2, |o| o.placed[0].at[0].count = 0), 2),
        (
            "missing where nothing goes",
            |d| {
                edit_outcome(d, 2, |o| {
                    o.missing[0].region = "in".into();
                })
            },
            2,
        ),
        (
            "not written, and then placed",
            |d| {
                edit_outcome(d, 3, |o| {
                    o.placed[0].at.push(At::one(4, 1));
                })
            },
            3,
        ),
        (
            "placed, and then not written",
            |d| {
                edit_outcome(d, 3, |o| {
                    o.missing.push(Missing {
                        region: "eu".into(),
                        topic: "orders".into(),
                        state: MissingState::NotWritten,
                        code: "x".into(),
                        leaves: vec![0],
                    });
                })
            },
            3,
        ),
        (
            "not written, and then unknown",
            |d| {
                edit_outcome(d, 3, |o| {
                    o.missing.push(Missing {
                        region: "us".into(),
                        topic: String::new(),
                        state: MissingState::Unknown,
                        code: "x".into(),
                        leaves: vec![1],
                    });
                })
            },
            3,
        ),
        ("complete, and a copy is not confirmed", |d| edit_outcome(d, 2, |o| o.complete = true), 2),
        (
            "something after complete",
            |d| {
                let again = d[3].clone();
                d.push(again);
            },
            4,
        ),
        ("an outcome of no intent", |d| edit_outcome(d, 3, |o| o.of = at(0)), 3),
        (
            "an outcome of a row that is not there",
            |d| {
                edit_outcome(d, 3, |o| {
                    o.of = Position { writer: B, ..at(9) };
                })
            },
            3,
        ),
        ("a repetition that was sent", |d| edit_outcome(d, 3, |o| o.repeat_of = vec![at(1)]), 3),
        (
            "a repetition of two",
            |d| {
                edit_outcome(d, 3, |o| {
                    (o.placed, o.repeat_of) = (vec![], vec![at(1), at(1)]);
                })
            },
            3,
        ),
    ]);
}

#[test]
fn outcomes_that_are_no_contradiction() {
    let table: &[(&str, Harm)] = &[
        ("the same place said again", |d| {
            let again = d[2].clone();
            d.insert(2, again);
        }),
        ("not written at all", |d| {
            d.remove(2);
            edit_outcome(d, 2, |o| {
                o.placed = vec![];
                o.missing = vec![Missing {
                    region: String::new(),
                    topic: String::new(),
                    state: MissingState::NotWritten,
                    code: "not-sent".into(),
                    leaves: vec![],
                }];
            });
        }),
        ("a repetition", |d| {
            d.remove(2);
            edit_outcome(d, 2, |o| (o.placed, o.repeat_of) = (vec![], vec![at(1)]));
        }),
        ("taken up again", |d| {
            d.push(row(vec![Entry::Reopened(Reopened { actor: actor(), of: at(1) })]));
            let placed = d[3].entries[0].clone();
            d.push(row(vec![placed]));
        }),
    ];
    for (what, change) in table {
        let mut drafts = whole();
        change(&mut drafts);
        let verdict = judged(&drafts);
        assert!(verdict.is_ok() && verdict.open_intents == 0, "{what}: {verdict}");
    }
}

/// An intent ends in its own chain, is taken up again in a second and ends again in a third. Names of chains are drawn,
/// and so is the order in which they are met.
#[test]
fn an_intent_that_is_taken_up_again_may_be_met_in_any_order() {
    let of = |writer, entries| Draft { writer: Some(writer), ..row(entries) };
    let [second, third] = [2, 3].map(|n| WriterId([n; 16]));
    let own = whole();
    let end = own[3].entries[0].clone();
    let again = Entry::Reopened(Reopened { actor: actor(), of: at(1) });
    let second = vec![of(second, vec![opens(1, 1, vec![])]), of(second, vec![again])];
    let third = vec![of(third, vec![opens(1, 1, vec![])]), of(third, vec![end])];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let chains = [&own, &second, &third];
        let drafts: Vec<Draft> = order.iter().flat_map(|n| chains[*n].clone()).collect();
        let verdict = judged(&drafts);
        assert!(verdict.is_ok() && verdict.open_intents == 0, "{order:?}: {verdict}");
    }
    // Taken up and not ended, it is open; ended twice and not taken up, it diverges.
    for order in [[0, 1], [1, 0]] {
        let drafts = order.map(|n| [&own, &second][n].clone()).concat();
        let verdict = judged(&drafts);
        assert!(verdict.is_ok() && verdict.open_intents == 1, "{order:?}: {verdict}");
        let drafts = order.map(|n| [&own, &third][n].clone()).concat();
        assert!(!judged(&drafts).is_ok(), "{order:?}");
    }
}

fn read(state: ReadState) -> Entry {
    Entry::Read(ReadAccess {
        id: [3; 16],
        actor: actor(),
        origin: [0; 16],
        purpose: "p".into(),
        dataset: "orders".into(),
        policy: [9; 32],
        rules: vec![],
        treatments: vec![],
        state,
        ranges: vec![range(10, 20)],
    })
}

fn range(from: i64, to: i64) -> OffsetRange {
    OffsetRange { region: "eu".into(), topic: "orders".into(), partition: 0, from, to }
}

fn closes(from: i64, to: i64) -> Draft {
    row(vec![Entry::ReadClosed(ReadClosed { id: [3; 16], ranges: vec![range(from, to)] })])
}

#[test]
fn what_was_read_lies_within_what_was_granted() {
    let mut drafts = whole();
    drafts.push(row(vec![read(ReadState::Granted)]));
    drafts.push(closes(10, 15));
    assert!(judged(&drafts).is_ok(), "{}", judged(&drafts));
    check(&[
        (
            "more than granted",
            |d| {
                d.extend([row(vec![read(ReadState::Granted)]), closes(10, 21)]);
            },
            5,
        ),
        (
            "closed twice",
            |d| {
                d.extend([row(vec![read(ReadState::Granted)]), closes(10, 12), closes(12, 13)]);
            },
            6,
        ),
        (
            "closed, and not granted",
            |d| {
                d.extend([row(vec![read(ReadState::Shown)]), closes(10, 12)]);
            },
            5,
        ),
        (
            "granted twice",
            |d| {
                d.extend([
                    row(vec![read(ReadState::Granted)]),
                    row(vec![read(ReadState::Granted)]),
                ]);
            },
            5,
        ),
    ]);
}

fn named(writer: WriterId) -> ChainHead {
    ChainHead { writer, wseq: 77, link: [0; 32], segment: 1 }
}

/// A enters segment 2; B stays in segment 1 for a row more, and then enters too.
fn segments() -> Vec<Draft> {
    let of = |writer, segment, entries| Draft { writer: Some(writer), segment, ..row(entries) };
    vec![
        of(A, 1, vec![opens(1, 1, vec![])]),
        of(B, 1, vec![opens(1, 1, vec![])]),
        of(A, 2, vec![opens(2, 2, vec![named(B), named(A)])]),
        of(B, 1, vec![Entry::Heartbeat]),
        of(B, 2, vec![opens(2, 2, vec![named(B)])]),
        of(A, 2, vec![Entry::Heartbeat]),
    ]
}

#[test]
fn a_verifier_starts_at_the_first_segment_that_is_kept() {
    let verdict = judged(&segments());
    assert!(verdict.is_ok() && verdict.kept_from_segment.is_none(), "{verdict}");
    // The rows of segment 1, which are not the first ones of the list.
    let mut only = segments();
    only.swap(2, 3);
    let verdict = kept(&only, 3);
    assert!(verdict.is_ok(), "{verdict}");
    assert_eq!((verdict.rows, verdict.kept_from_segment), (3, Some(2)));
    assert!(verdict.to_string().contains("rows before segment 2 are no longer kept"), "{verdict}");
    // Of a segment that is kept, nothing may be missing.
    let found = kept(&only, 2).divergence.map(|d| d.what);
    assert!(found.is_some(), "A's first row is gone, and B's second one is of its segment");
}

#[test]
fn segments_have_rules() {
    let table: &[(&str, Harm)] = &[
        ("a chain goes back", |d| d[5].segment = 1),
        ("a chain enters silently", |d| d[4].entries = vec![Entry::Heartbeat]),
        ("a chain enters and does not name its head", |d| d[4].entries = vec![opens(2, 2, vec![])]),
        ("another key", |d| d[4].entries = vec![opens(2, 3, vec![named(B)])]),
        ("a segment opened in a row of another", |d| {
            d[5].entries = vec![opens(3, 3, vec![named(A)])];
        }),
        ("a head of a row that is not there", |d| {
            let stranger = WriterId([9; 16]);
            d[2].entries = vec![opens(2, 2, vec![named(stranger), named(A)])];
        }),
    ];
    for (harm, harmed) in table {
        let mut drafts = segments();
        harmed(&mut drafts);
        assert!(!judged(&drafts).is_ok(), "{harm}");
    }
}

#[test]
fn an_unknown_meaning_is_not_judged_and_a_note_is_counted() {
    let other = |number| Entry::Other { number, body: vec![0x80] };
    let mut drafts = whole();
    drafts.push(row(vec![other(1_000), other(1_007), other(1_000)]));
    let verdict = judged(&drafts);
    assert!(verdict.is_ok(), "{verdict}");
    assert_eq!(verdict.notes, BTreeMap::from([(1_000, 2), (1_007, 1)]));
    drafts.push(row(vec![other(999)]));
    let verdict = judged(&drafts);
    assert!(!verdict.is_ok() && verdict.divergence.is_none());
    assert_eq!(verdict.unjudged, Some((A, 5, 999)));
    assert!(verdict.to_string().contains("not judged: kind 999"), "{verdict}");
}

#[test]
fn a_release_and_leaves_are_in_rows_of_their_own() {
    check(&[(
        "both in one row",
        |d| {
            let release = crate::Release {
                id: [1; 16],
                name: "n".into(),
                account: "a".into(),
                topic: "t".into(),
                region: "eu".into(),
                window_start_us: 0,
                window_end_us: 1,
                revision: 0,
                policy: [0; 32],
                plan: [0; 32],
                unit: crate::LossUnit::NanoRho,
                cost: crate::Cost::default(),
                uses_max: 1,
                cap: crate::Cost::default(),
                period_us: 0,
                mechanism: "m".into(),
                covers: vec![],
                blobs: vec![],
                messages: 1,
            };
            d[1].entries.push(Entry::Release(Box::new(release)));
        },
        1,
    )]);
}
