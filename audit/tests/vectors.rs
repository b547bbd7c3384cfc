//! The golden rows that `docs/LEDGER-FORMAT.md` names: their bytes are the format. Where Python
//! with the package `blake3` is there, a second implementation has to agree.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests fail the test, and say what was left out"
)]

#[expect(dead_code, reason = "the contract suite uses the rest")]
mod harness;
#[path = "harness/releases.rs"]
mod sample;

use std::{fs, path::Path, process::Command};

use sluicegate_audit::{
    Actor, At, BatchIdentity, ChainHead, Copied, Entry, Erasure, ErasureState, ExportReader,
    Exported, Fate, Intent, Ledger, ManifestLeaf, Missing, MissingState, OffsetRange, Outcome,
    Placement, Position, Present, ReadAccess, ReadClosed, ReadState, Release, Reveal, Row,
    Transfer, TransferTerms, Treatment, decode_leaf, decode_manifest, detail_digest,
    encode_manifest, hex, leaf_bytes, leaf_hash, link_of, verify, verify_store, write_export,
};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/two-intents.json");
const RELEASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/releases.json");
const EVERYTHING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/everything.json");
const UNKNOWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/unknown.json");
const SECOND: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify.py");
/// Set to write the vectors anew, after a change of the format that was meant.
const WRITE: &str = "SLUICEGATE_WRITE_VECTORS";

async fn ledger() -> Vec<Exported> {
    let url = harness::sqlite_ledger(2).await;
    let mut all = Vec::new();
    assert!(verify_store(&url, |record| all.push(record)).await.unwrap().is_ok());
    all
}

/// Two releases of which one was published, one that lost a race and is void, one window that was
/// not released, and a blocked period.
async fn ledger_of_releases() -> Vec<Exported> {
    let bench = harness::Bench::sqlite();
    sample::of_each_kind(&bench).await;
    let mut all = Vec::new();
    let verdict = verify_store(&bench.url, |record| all.push(record)).await.unwrap();
    assert!(verdict.is_ok(), "{verdict}");
    assert_eq!((verdict.releases.stand, verdict.releases.void), (2, 1));
    all
}

fn place(partition: u32, at: Vec<At>) -> Placement {
    Placement { region: "us".into(), topic: "shop.orders".into(), partition, at }
}

fn missing(state: MissingState, leaf: u32) -> Missing {
    let (region, topic) = ("us".into(), "shop.orders".into());
    Missing { region, topic, state, code: "timeout".into(), leaves: vec![leaf] }
}

fn terms(categories: &[&str]) -> TransferTerms {
    TransferTerms {
        rule: "orders-to-us".into(),
        from: "eu".into(),
        to: "us".into(),
        recipient: "fulfilment".into(),
        mechanism: "contract".into(),
        categories: categories.iter().map(ToString::to_string).collect(),
    }
}

/// A batch of four leaves, one of them a run, that crosses a border.
async fn batch(ledger: &Ledger) -> Position {
    let (_, bytes) = harness::treatment("us");
    let plain: Treatment = minicbor::decode(&bytes).unwrap();
    let transfer = vec![terms(&["contact", "finance"])];
    let (digest, bytes) = detail_digest(&Treatment { transfer, ..plain });
    let mut leaves: Vec<_> =
        (0..3).map(|n| harness::delivered(n, b"device-7", &[n as u8])).collect();
    leaves.push(harness::run(3, 40, 12));
    let cluster = "main".into();
    let identity = BatchIdentity {
        cluster,
        partition: 3,
        producer_id: 4_001,
        producer_epoch: 2,
        first_sequence: 700,
        count: 43,
        log_end: -1,
    };
    let intent = Intent { records: 43, batch: vec![identity], ..harness::intent(digest, 4) };
    let transfer = Entry::Transfer(Transfer {
        request: intent.request,
        treatment: intent.treatments[0],
        terms: terms(&["contact"]),
        records: 43,
    });
    let more = vec![transfer];
    ledger.intend(intent, leaves, vec![(digest, bytes)], more, None).await.unwrap().first()
}

/// A batch that ended in every way, a change of segment, and accesses of every kind.
async fn ledger_of_everything() -> Vec<Exported> {
    let bench = harness::Bench::sqlite();
    let ledger = bench.open(1).await;
    let of = batch(&ledger).await;
    let piece = Outcome {
        of,
        placed: vec![place(0, vec![At::one(10, 0), At { offset: 11, leaf: 3, count: 30 }])],
        missing: vec![
            missing(MissingState::NotWritten, 1),
            missing(MissingState::NotConfirmed, 2),
            missing(MissingState::NotConfirmed, 3),
        ],
        repeat_of: vec![],
        complete: false,
    };
    ledger.settle_now(piece).await.unwrap();
    let placed = vec![place(1, vec![At { offset: 5, leaf: 3, count: 10 }])];
    let missing = vec![missing(MissingState::Unknown, 2)];
    let last = Outcome { of, placed, missing, repeat_of: vec![], complete: true };
    ledger.settle_now(last).await.unwrap();
    assert_eq!(ledger.enter(&harness::search_key(2)).await.unwrap(), 2);
    let again = batch(&ledger).await;
    let repeat = Outcome { repeat_of: vec![of], ..harness::outcome(again, "us", &[]) };
    ledger.settle_now(Outcome { placed: vec![], ..repeat }).await.unwrap();
    for entry in accesses() {
        ledger.append(entry).await.unwrap();
    }
    ledger.append(Entry::Other { number: 1_001, body: vec![0x81, 0x61, b'n'] }).await.unwrap();
    ledger.close().await.unwrap();
    let mut all = Vec::new();
    let verdict = verify_store(&bench.url, |record| all.push(record)).await.unwrap();
    assert!(verdict.is_ok() && verdict.open_intents == 0, "{verdict}");
    assert_eq!(verdict.notes.get(&1_001), Some(&1));
    forget_a_leaf(&mut all);
    all
}

fn accesses() -> Vec<Entry> {
    let actor = Actor { id: "ada".into(), by: "oidc".into() };
    let range = |to| OffsetRange {
        region: "eu".into(),
        topic: "shop.orders".into(),
        partition: 3,
        from: 40,
        to,
    };
    let granted = ReadAccess {
        id: [6; 16],
        actor: actor.clone(),
        origin: [7; 16],
        purpose: "support".into(),
        dataset: "orders".into(),
        policy: [9; 32],
        rules: vec!["support-reads".into()],
        treatments: vec![],
        state: ReadState::Granted,
        ranges: vec![range(140)],
    };
    let reveal = Reveal {
        id: [8; 16],
        actor: actor.clone(),
        origin: [7; 16],
        purpose: "fraud".into(),
        dataset: "orders".into(),
        policy: [9; 32],
        rules: vec!["fraud-reveals".into()],
        field: "$.email".into(),
        token: [4; 16],
        reason: "case 7".into(),
        approvers: vec![actor.clone()],
    };
    let erasure = |state, gateways: &[&str]| {
        Entry::Erasure(Erasure {
            id: [2; 16],
            actor: actor.clone(),
            approvers: vec![],
            ground: "gdpr-17-1-b".into(),
            domain: "person".into(),
            subject: [3; 16],
            state,
            gateways: gateways.iter().map(ToString::to_string).collect(),
        })
    };
    vec![
        Entry::Read(ReadAccess { id: [5; 16], state: ReadState::Shown, ..granted.clone() }),
        Entry::Read(granted),
        Entry::ReadClosed(ReadClosed { id: [6; 16], ranges: vec![range(77)] }),
        Entry::Reveal(reveal),
        erasure(ErasureState::Asked, &[]),
        erasure(ErasureState::Scheduled, &[]),
        erasure(ErasureState::Erased, &["node-a"]),
    ]
}

/// The first leaf of the first manifest is not kept any more.
fn forget_a_leaf(records: &mut [Exported]) {
    let manifest = records.iter_mut().find_map(|record| match record {
        Exported::Row { manifest: Some(manifest), .. } => Some(manifest),
        _ => None,
    });
    let manifest = manifest.unwrap();
    let bytes = manifest.clone();
    let mut leaves = decode_manifest(&bytes).unwrap();
    leaves[0] = ManifestLeaf::Forgotten(leaf_hash(leaves[0].kept().unwrap()));
    *manifest = encode_manifest(leaves.iter().copied());
}

/// An entry with a meaning that no program of today knows.
async fn ledger_of_another_program() -> Vec<Exported> {
    let bench = harness::Bench::sqlite();
    let ledger = bench.open(1).await;
    let body = vec![0x82, 0x01, 0x81, 0x43, 1, 2, 3];
    ledger.append(Entry::Other { number: 999, body }).await.unwrap();
    ledger.close().await.unwrap();
    let mut all = Vec::new();
    let verdict = verify_store(&bench.url, |record| all.push(record)).await.unwrap();
    assert!(verdict.divergence.is_none() && !verdict.is_ok(), "{verdict}");
    all
}

fn as_json(records: &[Exported]) -> String {
    let record = |record: &Exported| match record {
        Exported::Detail { digest, bytes } => {
            format!(r#"{{"detail": "{}", "bytes": "{}"}}"#, hex(digest), hex(bytes))
        }
        Exported::Blob { digest, bytes } => {
            format!(r#"{{"blob": "{}", "bytes": "{}"}}"#, hex(digest), hex(bytes))
        }
        Exported::Row { writer, wseq, bytes, manifest } => {
            let manifest =
                manifest.as_ref().map_or("null".to_owned(), |m| format!("\"{}\"", hex(m)));
            format!(
                r#"{{"writer": "{writer}", "wseq": {wseq}, "link": "{}", "row": "{}", "manifest": {manifest}}}"#,
                hex(&link_of(bytes)),
                hex(bytes),
            )
        }
    };
    let records: Vec<_> = records.iter().map(record).collect();
    format!("[\n{}\n]\n", records.join(",\n"))
}

#[tokio::test]
async fn the_bytes_are_those_of_the_vectors() {
    for (records, file) in [
        (ledger().await, VECTORS),
        (ledger_of_releases().await, RELEASES),
        (ledger_of_everything().await, EVERYTHING),
        (ledger_of_another_program().await, UNKNOWN),
    ] {
        let now = as_json(&records);
        if std::env::var_os(WRITE).is_some() {
            fs::write(file, &now).unwrap();
        }
        assert_eq!(now, fs::read_to_string(file).unwrap(), "the format changed");
        for record in &records {
            let Exported::Row { bytes, .. } = record else { continue };
            assert_eq!(Row::decode(bytes).unwrap().encode(), *bytes);
        }
    }
}

fn export(records: &[Exported], file: &Path) {
    let mut out = fs::File::create(file).unwrap();
    for (n, record) in records.iter().enumerate() {
        write_export(&mut out, record, n == 0).unwrap();
    }
}

#[tokio::test]
async fn an_export_verifies_with_the_program_and_a_second_implementation() {
    let mut records = ledger().await;
    let files = tempfile::tempdir().unwrap();
    let (good, bad) = (files.path().join("good.lgr"), files.path().join("bad.lgr"));
    export(&records, &good);
    let row = records.iter_mut().rev().find_map(|record| match record {
        Exported::Row { manifest: Some(manifest), .. } => Some(manifest),
        _ => None,
    });
    *row.unwrap().last_mut().unwrap() ^= 1;
    export(&records, &bad);

    let mut reader = ExportReader::new(fs::File::open(&good).unwrap()).unwrap();
    let mut count = 0;
    while reader.read().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, records.len());

    let program = env!("CARGO_BIN_EXE_sluicegate-verify");
    let code = |command: &mut Command| command.output().unwrap().status.code();
    assert_eq!(code(Command::new(program).arg(&good)), Some(0));
    assert_eq!(code(Command::new(program).arg(&bad)), Some(1));
    assert_eq!(code(Command::new(program).arg(files.path().join("none"))), Some(2));
    assert_eq!(code(&mut Command::new(program)), Some(2));

    let has_blake3 = Command::new("python3").args(["-c", "import blake3"]).output();
    if !has_blake3.is_ok_and(|output| output.status.success()) {
        println!("left out: the second implementation, for python3 has no package `blake3`");
        return;
    }
    assert_eq!(code(Command::new("python3").arg(SECOND).arg(&good)), Some(0));
    assert_eq!(code(Command::new("python3").arg(SECOND).arg(&bad)), Some(1));
}

type Harm = fn(&mut Vec<Exported>);

/// What is done to an exported ledger, and both verifiers' answer.
fn both_judge(whole: &[Exported], table: &[(&str, Harm, i32)]) {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("harmed.lgr");
    let has_blake3 = Command::new("python3").args(["-c", "import blake3"]).output();
    let has_second = has_blake3.is_ok_and(|output| output.status.success());
    for (harm, harmed, expected) in table {
        let mut records = sample::copies(whole);
        harmed(&mut records);
        export(&records, &file);
        let code = |command: &mut Command| {
            let output = command.output().unwrap();
            (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let (found, said) = code(Command::new(env!("CARGO_BIN_EXE_sluicegate-verify")).arg(&file));
        assert_eq!(found, Some(*expected), "{harm}: {said}");
        if has_second {
            let (found, said) = code(Command::new("python3").arg(SECOND).arg(&file));
            assert_eq!(found, Some(*expected), "{harm}, the second implementation: {said}");
        }
    }
    if !has_second {
        println!("left out: the second implementation, for python3 has no package `blake3`");
    }
}

#[tokio::test]
async fn both_verifiers_judge_releases_alike() {
    let table: &[(&str, Harm, i32)] = &[
        ("nothing", |_| {}, 0),
        ("no blobs", |r| r.retain(|record| !matches!(record, Exported::Blob { .. })), 0),
        ("a byte of a blob", |r| flip_last(r, |record| matches!(record, Exported::Blob { .. })), 1),
        ("no void", |r| replace_entry(r, "release.void", Entry::Heartbeat), 1),
        ("no release", |r| replace_entry(r, "release", Entry::Heartbeat), 1),
        (
            "a dearer line",
            |r| edit_releases(r, |release| release.cost.loss += u64::from(release.id[0])),
            1,
        ),
        ("above the cap", |r| edit_releases(r, |release| release.cap.loss = 9), 1),
        ("a window that goes back", |r| edit_releases(r, |release| release.window_end_us = 0), 1),
    ];
    both_judge(&ledger_of_releases().await, table);
}

fn edit_outcomes(records: &mut [Exported], edit: fn(&mut Outcome)) {
    rechained(records, |entry| {
        if let Entry::Outcome(outcome) = entry {
            edit(outcome);
        }
    });
}

/// The manifest of the second batch, whose leaves are all kept, with its run edited; the row
/// commits to it.
fn edit_run(records: &mut [Exported], edit: fn(&mut Vec<Copied>)) {
    for record in records.iter_mut() {
        let Exported::Row { bytes, manifest: Some(manifest), .. } = record else { continue };
        let kept = manifest.clone();
        let mut leaves = decode_manifest(&kept).unwrap();
        let mut run = decode_leaf(leaves[3].kept().unwrap()).unwrap();
        if let Fate::Deliver(copies) = &mut run.fate {
            edit(copies);
        }
        let edited = leaf_bytes(&run);
        leaves[3] = ManifestLeaf::Kept(&edited);
        if leaves[0].kept().is_none() {
            continue;
        }
        *manifest = encode_manifest(leaves.iter().copied());
        let leaves: Vec<_> = leaves.iter().filter_map(|leaf| leaf.kept()).collect();
        let mut row = Row::decode(bytes).unwrap();
        row.root = sluicegate_audit::root(leaves);
        *bytes = row.encode();
    }
    rechained(records, |_| {});
}

#[tokio::test]
async fn both_verifiers_judge_meaning_alike() {
    let table: &[(&str, Harm, i32)] = &[
        ("nothing", |_| {}, 0),
        ("chained anew", |r| rechained(r, |_| {}), 0),
        (
            "an unknown meaning",
            |r| {
                let body = vec![0x80];
                replace_entry(r, "reveal", Entry::Other { number: 999, body });
            },
            3,
        ),
        (
            "an unknown note",
            |r| {
                let body = vec![0x80];
                replace_entry(r, "reveal", Entry::Other { number: 1_000, body });
            },
            0,
        ),
        ("no outcomes", |r| replace_all(r, "outcome"), 0),
        ("no treatments", |r| r.retain(|record| !matches!(record, Exported::Detail { .. })), 1),
        ("more records", |r| edit_intents(r, |intent| intent.records += 1), 1),
        ("fewer records", |r| edit_intents(r, |intent| intent.records -= 1), 1),
        ("fewer leaves", |r| edit_intents(r, |intent| intent.leaves -= 1), 1),
        ("another batch", |r| edit_intents(r, |i| i.batch.push(i.batch[0].clone())), 1),
        (
            "a count above the run's",
            |r| {
                edit_run(r, |copies| {
                    copies[0].present = Present::Counts(vec![41]);
                })
            },
            1,
        ),
        (
            "a count too many",
            |r| {
                edit_run(r, |copies| {
                    copies[0].present = Present::Counts(vec![1, 1]);
                })
            },
            1,
        ),
        (
            "a bitmap for a run",
            |r| edit_run(r, |copies| copies[0].present = Present::of([true])),
            1,
        ),
        (
            "an edit that breaks nothing",
            |r| {
                edit_run(r, |copies| {
                    copies[0].present = Present::Counts(vec![40]);
                })
            },
            0,
        ),
        ("a treatment that is not there", |r| edit_run(r, |copies| copies[0].treatment = 1), 1),
        ("another category", |r| edit_transfers(r, |t| t.terms.categories.push("x".into())), 1),
        ("another recipient", |r| edit_transfers(r, |t| t.terms.recipient = "x".into()), 1),
        ("more than the intent", |r| edit_transfers(r, |t| t.records = 44), 1),
        (
            "placed twice",
            |r| {
                edit_outcomes(r, |o| {
                    let again =
                        o.placed.first().map(|p| p.at.iter().map(|at| At { offset: 900, ..*at }));
                    let again: Vec<_> = again.into_iter().flatten().collect();
                    o.placed.iter_mut().for_each(|p| p.at.extend(&again));
                })
            },
            1,
        ),
        (
            "said twice",
            |r| {
                edit_outcomes(r, |o| {
                    let again: Vec<_> = o.placed.first().map(|p| p.at.clone()).unwrap_or_default();
                    o.placed.iter_mut().for_each(|p| p.at.extend(&again));
                })
            },
            0,
        ),
        ("complete too early", |r| edit_outcomes(r, |o| o.complete = true), 1),
        ("never complete", |r| edit_outcomes(r, |o| o.complete = o.repeat_of.len() == 1), 0),
        (
            "placed elsewhere",
            |r| {
                edit_outcomes(r, |o| {
                    o.placed.iter_mut().for_each(|p| p.region = "in".into());
                })
            },
            1,
        ),
        ("of another row", |r| edit_outcomes(r, |o| o.of.wseq += 90), 1),
        ("sent, and a repetition", |r| edit_outcomes(r, |o| o.repeat_of = vec![o.of]), 1),
        (
            "all unknown at the end",
            |r| {
                edit_outcomes(r, |o| {
                    o.missing.iter_mut().for_each(|m| m.state = MissingState::Unknown);
                })
            },
            1,
        ),
        (
            "more read than granted",
            |r| {
                rechained(r, |entry| {
                    if let Entry::ReadClosed(closed) = entry {
                        closed.ranges[0].to = 141;
                    }
                })
            },
            1,
        ),
        (
            "a read that was not granted",
            |r| {
                rechained(r, |entry| {
                    if let Entry::ReadClosed(closed) = entry {
                        closed.id = [5; 16];
                    }
                })
            },
            1,
        ),
        (
            "a segment is not opened",
            |r| {
                rechained(r, |entry| {
                    if matches!(entry, Entry::SegmentOpen(open) if open.segment == 2) {
                        *entry = Entry::Heartbeat;
                    }
                })
            },
            1,
        ),
        (
            "another segment is opened",
            |r| {
                rechained(r, |entry| {
                    if let Entry::SegmentOpen(open) = entry {
                        open.segment += u32::from(open.segment == 2);
                    }
                })
            },
            1,
        ),
        (
            "a head that is not there",
            |r| {
                rechained(r, |entry| {
                    if let Entry::SegmentOpen(open) = entry
                        && open.segment == 2
                    {
                        let head = open.heads[0].clone();
                        let writer = sluicegate_audit::WriterId([9; 16]);
                        open.heads.push(ChainHead { writer, ..head });
                    }
                })
            },
            1,
        ),
        ("the first segment is not kept", first_segment_gone, 0),
        (
            "a part of a segment is not kept",
            |r| {
                let at =
                    r.iter().position(|record| matches!(record, Exported::Row { .. })).unwrap();
                r.remove(at);
            },
            1,
        ),
    ];
    both_judge(&ledger_of_everything().await, table);
    both_judge(&ledger_of_another_program().await, &[("nothing", |_| {}, 3)]);
}

/// With treatments left as they are.
fn first_segment_gone(records: &mut Vec<Exported>) {
    records.retain(|record| match record {
        Exported::Row { bytes, .. } => Row::decode(bytes).unwrap().segment > 1,
        _ => true,
    });
}

fn edit_intents(records: &mut [Exported], edit: fn(&mut Intent)) {
    rechained(records, |entry| {
        if let Entry::Intent(intent) = entry {
            edit(intent);
        }
    });
}

fn edit_transfers(records: &mut [Exported], edit: fn(&mut Transfer)) {
    rechained(records, |entry| {
        if let Entry::Transfer(transfer) = entry {
            edit(transfer);
        }
    });
}

fn replace_all(records: &mut [Exported], kind: &str) {
    rechained(records, |entry| {
        if entry.kind() == kind {
            *entry = Entry::Heartbeat;
        }
    });
}

fn flip_last(records: &mut [Exported], which: fn(&Exported) -> bool) {
    let found = records.iter_mut().rev().find(|record| which(record)).unwrap();
    let (Exported::Row { bytes, .. }
    | Exported::Detail { bytes, .. }
    | Exported::Blob { bytes, .. }) = found;
    *bytes.last_mut().unwrap() ^= 1;
}

/// The first entry of a kind becomes another one, in rows that are chained anew.
fn replace_entry(records: &mut [Exported], kind: &str, with: Entry) {
    let mut with = Some(with);
    rechained(records, |entry| {
        if entry.kind() == kind
            && let Some(with) = with.take()
        {
            *entry = with;
        }
    });
}

/// Every release is changed, in rows that are chained anew.
fn edit_releases(records: &mut [Exported], edit: fn(&mut Release)) {
    rechained(records, |entry| {
        if let Entry::Release(release) = entry {
            edit(release);
        }
    });
}

/// Rows are encoded and chained anew, and what names their links follows.
fn rechained(records: &mut [Exported], mut edit: impl FnMut(&mut Entry)) {
    let mut links = std::collections::BTreeMap::new();
    for record in records {
        let Exported::Row { writer, bytes, .. } = record else { continue };
        let mut row = Row::decode(bytes).unwrap();
        row.entries.iter_mut().for_each(&mut edit);
        for entry in &mut row.entries {
            let heads = match entry {
                Entry::WriterOpen(open) => &mut open.predecessor,
                Entry::SegmentOpen(open) => &mut open.heads,
                _ => continue,
            };
            for head in heads {
                head.link = links.get(&(head.writer, head.wseq)).copied().unwrap_or(head.link);
            }
        }
        let before = row.wseq.checked_sub(1).and_then(|wseq| links.get(&(*writer, wseq)));
        row.prev = before.copied().unwrap_or(row.prev);
        *bytes = row.encode();
        links.insert((*writer, row.wseq), link_of(bytes));
    }
}

#[test]
fn a_verdict_is_readable() {
    let verdict = verify::Verifier::default().finish();
    assert!(verdict.to_string().starts_with("nothing to verify"), "{verdict}");
}
