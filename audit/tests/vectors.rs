//! The golden rows that `docs/LEDGER-FORMAT.md` names: their bytes are the format. Where Python
//! with the package `blake3` is there, a second implementation has to agree.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail the test, and say what was left out"
)]

#[expect(dead_code, reason = "the contract suite uses the rest")]
mod harness;

use std::{fs, path::Path, process::Command};

use sluicegate_audit::{
    ExportReader, Exported, Row, hex, link_of, verify, verify_store, write_export,
};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/two-intents.json");
const SECOND: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify.py");
/// Set to write the vectors anew, after a change of the format that was meant.
const WRITE: &str = "SLUICEGATE_WRITE_VECTORS";

async fn ledger() -> Vec<Exported> {
    let url = harness::sqlite_ledger(2).await;
    let mut all = Vec::new();
    assert!(verify_store(&url, |record| all.push(record)).await.unwrap().is_ok());
    all
}

fn as_json(records: &[Exported]) -> String {
    let record = |record: &Exported| match record {
        Exported::Detail { digest, bytes } => {
            format!(r#"{{"detail": "{}", "bytes": "{}"}}"#, hex(digest), hex(bytes))
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
    let records = ledger().await;
    let now = as_json(&records);
    if std::env::var_os(WRITE).is_some() {
        fs::write(VECTORS, &now).unwrap();
    }
    assert_eq!(now, fs::read_to_string(VECTORS).unwrap(), "the format changed");
    for record in &records {
        let Exported::Row { bytes, .. } = record else { continue };
        assert_eq!(Row::decode(bytes).unwrap().encode(), *bytes);
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

#[test]
fn a_verdict_is_readable() {
    let verdict = verify::Verifier::default().finish();
    assert!(verdict.to_string().starts_with("the ledger verifies"), "{verdict}");
}
