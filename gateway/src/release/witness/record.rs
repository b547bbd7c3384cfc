//! A witness on its disk: one small file per node, replaced as a whole and flushed.
//!
//! Two lines: `sluicegate-witness 1 BLAKE3`, and the JSON that the digest is of. Writer, row and
//! link are a head of the ledger's chain, which anyone can hold against the ledger.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, DirBuilder, File},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sluicegate_audit::{ChainHead, WriterId, hex, unhex};

use super::ledger::Charges;
use crate::files::{self, SMALL_FILE_BYTES_MAX};

const MAGIC: &str = "sluicegate-witness 1";
const ENDING: &str = ".witness";
/// Files in a folder of witnesses.
const WITNESSES_MAX: usize = 1_000;
/// Periods that are kept of a dataset, the newest ones: an older ledger shows by its rows as well.
const PERIODS_MAX: usize = 100;

/// What a ledger had when it was last looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub origin: String,
    pub written_us: i64,
    pub head: ChainHead,
    pub charges: Charges,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    origin: String,
    written_us: i64,
    writer: String,
    row: u64,
    link: String,
    segment: u32,
    charges: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    dataset: String,
    period_us: i64,
    charges: u64,
}

impl Record {
    /// No number of charges ever becomes smaller.
    pub(super) fn add(&mut self, charges: Charges) {
        for (of, number) in charges {
            let known = self.charges.entry(of).or_default();
            *known = number.max(*known);
        }
        let mut kept: BTreeMap<String, usize> = BTreeMap::new();
        // By dataset and period, so that the newest come first here.
        let newest = self.charges.keys().rev().filter(|(dataset, _)| {
            let kept = kept.entry(dataset.clone()).or_default();
            *kept += 1;
            *kept <= PERIODS_MAX
        });
        let newest: Vec<_> = newest.cloned().collect();
        self.charges.retain(|of, _| newest.contains(of));
    }

    /// The periods of which this names more charges.
    pub(super) fn beyond(&self, charges: &Charges) -> Vec<(String, i64)> {
        let more = self.charges.iter().filter(|(of, number)| charges.get(of) < Some(number));
        more.map(|(of, _)| of.clone()).collect()
    }

    fn encode(&self) -> String {
        let line = |((dataset, period_us), charges): (&(String, i64), &u64)| Line {
            dataset: dataset.clone(),
            period_us: *period_us,
            charges: *charges,
        };
        let written = Written {
            origin: self.origin.clone(),
            written_us: self.written_us,
            writer: hex(&self.head.writer.0),
            row: self.head.wseq,
            link: hex(&self.head.link),
            segment: self.head.segment,
            charges: self.charges.iter().map(line).collect(),
        };
        let json = serde_json::to_string(&written).unwrap_or_default();
        format!("{MAGIC} {}\n{json}\n", blake3::hash(json.as_bytes()).to_hex())
    }

    fn decode(text: &str) -> Option<Self> {
        let (first, json) = text.strip_suffix('\n')?.split_once('\n')?;
        let digest = first.strip_prefix(MAGIC)?.strip_prefix(' ')?;
        if blake3::hash(json.as_bytes()).to_hex().as_str() != digest {
            return None;
        }
        let Written { origin, written_us, writer, row, link, segment, charges } =
            serde_json::from_str(json).ok()?;
        let (writer, link) = (WriterId(unhex(&writer)?), unhex(&link)?);
        let head = ChainHead { writer, wseq: row, link, segment };
        let charges = charges.into_iter().map(|l| ((l.dataset, l.period_us), l.charges)).collect();
        Some(Self { origin, written_us, head, charges })
    }
}

/// The witnesses of all nodes that use a folder, by file; the folder is made if it is missing.
pub(super) fn read_all(folder: &Path) -> Result<BTreeMap<PathBuf, Record>, String> {
    let failed = |error: std::io::Error| at(folder, error.kind());
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if !path.as_os_str().to_string_lossy().ends_with(ENDING) {
            continue;
        }
        if found.len() == WITNESSES_MAX {
            return Err(format!(
                "`{}` has more than {WITNESSES_MAX} witnesses: remove those of nodes that are gone",
                folder.display()
            ));
        }
        let text = files::read_text(&path, SMALL_FILE_BYTES_MAX).map_err(|why| at(&path, why))?;
        let damaged = || at(&path, "damaged: put it back, or remove it, which counts as its loss");
        let record = Record::decode(&text).ok_or_else(damaged)?;
        found.insert(path, record);
    }
    Ok(found)
}

/// Where a node's witness is.
pub(super) fn file_of(folder: &Path, node: &str) -> PathBuf {
    folder.join(format!("{node}{ENDING}"))
}

/// Replaces a file as a whole. When this returns, no crash undoes it.
pub(super) fn write(file: &Path, record: &Record) -> Result<(), String> {
    let failed = |error: std::io::Error| at(file, error.kind());
    let mut beside: OsString = file.into();
    beside.push(".new");
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut new = options.open(&beside).map_err(failed)?;
    new.write_all(record.encode().as_bytes()).map_err(failed)?;
    new.sync_all().map_err(failed)?;
    fs::rename(&beside, file).map_err(failed)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

fn at(path: &Path, why: impl std::fmt::Display) -> String {
    format!("`{}`: {why}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let (writer, link) = (WriterId([0xab; 16]), [7; 32]);
        Record {
            origin: "a.example/ledger".to_owned(),
            written_us: 5,
            head: ChainHead { writer, wseq: 9, link, segment: 1 },
            charges: Charges::from([(("orders".to_owned(), -1), 3), (("orders".to_owned(), 4), 1)]),
        }
    }

    #[test]
    fn what_was_written_is_read_back_and_a_changed_byte_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("witness");
        assert_eq!(read_all(&folder).unwrap().len(), 0);
        let file = file_of(&folder, "node-1");
        write(&file, &record()).unwrap();
        let newer = Record { written_us: 6, ..record() };
        write(&file, &newer).unwrap();
        assert_eq!(read_all(&folder).unwrap(), BTreeMap::from([(file.clone(), newer)]));

        let text = fs::read_to_string(&file).unwrap();
        for n in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[n] ^= 1;
            assert_eq!(Record::decode(&String::from_utf8(changed).unwrap()), None, "{n}");
            assert_eq!(Record::decode(text.get(..n).unwrap()), None, "{n}");
        }
        fs::write(&file, text.replace("orders", "others")).unwrap();
        assert!(read_all(&folder).unwrap_err().contains("damaged"));
    }

    #[test]
    fn numbers_of_charges_only_grow_and_old_periods_go() {
        let mut record = record();
        let of = |period_us| ("orders".to_owned(), period_us);
        record.add(Charges::from([(of(-1), 2), (of(4), 2)]));
        assert_eq!(record.charges, Charges::from([(of(-1), 3), (of(4), 2)]));
        let many = (10..).take(PERIODS_MAX).map(|period_us| (of(period_us), 1));
        record.add(many.collect());
        assert_eq!(record.charges.len(), PERIODS_MAX);
        assert_eq!(record.charges.first_key_value(), Some((&of(10), &1)));
    }
}
