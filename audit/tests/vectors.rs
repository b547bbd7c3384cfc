//! The golden rows that `docs/LEDGER-FORMAT.md` names: their bytes are the format. Where Python
//! with the package `blake3` is there, a second implementation has to agree.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail the test, and say what was left out"
)]

#[expect(dead_code, reason = "the contract suite uses the rest")]
mod harness;
#[path = "harness/releases.rs"]
mod sample;

use std::{fs, path::Path, process::Command};

use sluicegate_audit::{
    Entry, ExportReader, Exported, Release, Row, hex, link_of, verify, verify_store, write_export,
};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/two-intents.json");
const RELEASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/releases.json");
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
    for (records, file) in [(ledger().await, VECTORS), (ledger_of_releases().await, RELEASES)] {
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

/// Each harm to an exported ledger, and both verifiers' answer.
#[tokio::test]
async fn both_verifiers_judge_releases_alike() {
    type Harm = fn(&mut Vec<Exported>);
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
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("releases.lgr");
    let has_blake3 = Command::new("python3").args(["-c", "import blake3"]).output();
    let has_second = has_blake3.is_ok_and(|output| output.status.success());
    let whole = ledger_of_releases().await;
    for (harm, harmed, expected) in table {
        let mut records = sample::copies(&whole);
        harmed(&mut records);
        export(&records, &file);
        let code = |command: &mut Command| command.output().unwrap().status.code();
        let program = env!("CARGO_BIN_EXE_sluicegate-verify");
        assert_eq!(code(Command::new(program).arg(&file)), Some(*expected), "{harm}");
        if has_second {
            let second = code(Command::new("python3").arg(SECOND).arg(&file));
            assert_eq!(second, Some(*expected), "the second implementation: {harm}");
        }
    }
    if !has_second {
        println!("left out: the second implementation, for python3 has no package `blake3`");
    }
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

fn rechained(records: &mut [Exported], mut edit: impl FnMut(&mut Entry)) {
    let mut links = std::collections::BTreeMap::new();
    for record in records {
        let Exported::Row { writer, bytes, .. } = record else { continue };
        let mut row = Row::decode(bytes).unwrap();
        row.entries.iter_mut().for_each(&mut edit);
        row.prev = links.get(writer).copied().unwrap_or(row.prev);
        *bytes = row.encode();
        links.insert(*writer, link_of(bytes));
    }
}

#[test]
fn a_verdict_is_readable() {
    let verdict = verify::Verifier::default().finish();
    assert!(verdict.to_string().starts_with("nothing to verify"), "{verdict}");
}
