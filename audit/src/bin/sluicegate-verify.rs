//! `sluicegate-verify FILE`: verifies an exported ledger. No database, no network, no keys.
//! Exit code 0: verifies; 1: diverges, or there is nothing to verify; 2: usage, or the file cannot
//! be read; 3: it holds an entry that this program does not know, and so cannot judge.

use std::{
    fs::File,
    io::{self, BufReader, Write},
    process::ExitCode,
};

use sluicegate_audit::{ExportReader, Exported, verify};

const USAGE: &str = "usage: sluicegate-verify FILE";
const ABOUT: &str = "\
Verifies a ledger that `sluicegate ledger export` wrote. Needs no database, no network and no keys.
Exit code 0: verifies; 1: diverges; 2: usage, or the file cannot be read.

Example:
  sluicegate ledger export --config sluicegate.yaml --to ledger.export
  sluicegate-verify ledger.export";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(file), None) = (arguments.next(), arguments.next()) else {
        return failed(USAGE);
    };
    if file == "--help" {
        let _gone = writeln!(io::stdout(), "{USAGE}\n\n{ABOUT}");
        return ExitCode::SUCCESS;
    }
    match verdict(&file) {
        Ok(verdict) => {
            // A reader that went away is no error.
            let _gone = write!(io::stdout(), "{verdict}");
            match (verdict.is_ok(), verdict.divergence.is_none() && verdict.unjudged.is_some()) {
                (true, _) => ExitCode::SUCCESS,
                (false, true) => ExitCode::from(3),
                (false, false) => ExitCode::from(1),
            }
        }
        Err(error) => failed(&format!("couldn't read the export: {error}")),
    }
}

fn failed(text: &str) -> ExitCode {
    let _gone = writeln!(io::stderr(), "{text}");
    ExitCode::from(2)
}

fn verdict(file: &std::ffi::OsStr) -> io::Result<verify::Verdict> {
    let mut reader = ExportReader::new(BufReader::new(File::open(file)?))?;
    let mut verifier = verify::Verifier::default();
    while let Some(record) = reader.read()? {
        match record {
            Exported::Detail { digest, bytes } => verifier.detail(&digest, &bytes),
            Exported::Blob { digest, bytes } => verifier.blob(&digest, &bytes),
            Exported::Row { writer, wseq, bytes, manifest } => verifier.row(&verify::Stored {
                writer,
                wseq,
                bytes: &bytes,
                link: None,
                manifest: manifest.as_deref(),
                beside: None,
            }),
        }
    }
    Ok(verifier.finish())
}
