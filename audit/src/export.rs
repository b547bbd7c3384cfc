//! An exported ledger: a file that a stranger verifies without a database. Records of a tag byte
//! and length-prefixed (u32, big-endian) fields behind an eight-byte mark.

use std::io::{self, Read, Write};

use crate::WriterId;

const MARK: &[u8; 8] = b"lgr2exp\n";
const ROW: u8 = 1;
const DETAIL: u8 = 2;
const BLOB: u8 = 3;
/// A field larger than this is not read: a manifest of a million events stays below it.
const FIELD_BYTES_MAX: u32 = 256 << 20;

/// One record of an export.
#[derive(Debug, PartialEq, Eq)]
pub enum Exported {
    /// Writer, number, bytes, and the manifest where it is kept.
    Row { writer: WriterId, wseq: u64, bytes: Vec<u8>, manifest: Option<Vec<u8>> },
    /// Digest and bytes of a treatment.
    Detail { digest: Vec<u8>, bytes: Vec<u8> },
    /// Digest and bytes of what a release published.
    Blob { digest: Vec<u8>, bytes: Vec<u8> },
}

/// Writes records one after the other; the first call of a file passes `first`.
pub fn write(out: &mut impl Write, record: &Exported, first: bool) -> io::Result<()> {
    if first {
        out.write_all(MARK)?;
    }
    match record {
        Exported::Row { writer, wseq, bytes, manifest } => {
            out.write_all(&[ROW])?;
            field(out, &writer.0)?;
            field(out, &wseq.to_be_bytes())?;
            field(out, bytes)?;
            out.write_all(&[u8::from(manifest.is_some())])?;
            manifest.as_ref().map_or(Ok(()), |manifest| field(out, manifest))
        }
        Exported::Detail { digest, bytes } => {
            out.write_all(&[DETAIL])?;
            field(out, digest)?;
            field(out, bytes)
        }
        Exported::Blob { digest, bytes } => {
            out.write_all(&[BLOB])?;
            field(out, digest)?;
            field(out, bytes)
        }
    }
}

fn field(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| bad("a field is too long"))?;
    out.write_all(&length.to_be_bytes())?;
    out.write_all(bytes)
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Reads an export record by record.
pub struct Reader<R> {
    from: R,
}

impl<R: Read> Reader<R> {
    /// Checks the mark.
    pub fn new(mut from: R) -> io::Result<Self> {
        let mut mark = [0; 8];
        from.read_exact(&mut mark)?;
        if &mark != MARK {
            return Err(bad("not an exported ledger"));
        }
        Ok(Self { from })
    }

    /// The next record; `None` at the end.
    pub fn read(&mut self) -> io::Result<Option<Exported>> {
        let mut tag = [0];
        if self.from.read(&mut tag)? == 0 {
            return Ok(None);
        }
        match tag {
            [ROW] => self.row().map(Some),
            [DETAIL] => {
                let digest = self.field()?;
                Ok(Some(Exported::Detail { digest, bytes: self.field()? }))
            }
            [BLOB] => {
                let digest = self.field()?;
                Ok(Some(Exported::Blob { digest, bytes: self.field()? }))
            }
            _ => Err(bad("an unknown record")),
        }
    }

    fn row(&mut self) -> io::Result<Exported> {
        let writer = self.field()?.try_into().map_err(|_| bad("no writer"))?;
        let wseq = self.field()?.try_into().map_err(|_| bad("no number"))?;
        let bytes = self.field()?;
        let mut has = [0];
        self.from.read_exact(&mut has)?;
        let manifest = if has == [1] { Some(self.field()?) } else { None };
        Ok(Exported::Row {
            writer: WriterId(writer),
            wseq: u64::from_be_bytes(wseq),
            bytes,
            manifest,
        })
    }

    fn field(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.from.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > FIELD_BYTES_MAX {
            return Err(bad("a field is too long"));
        }
        let mut bytes = Vec::new();
        self.from.by_ref().take(u64::from(length)).read_to_end(&mut bytes)?;
        if bytes.len() != length as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }
}
