//! A bucket on disk: its state as it was when it was put away, and behind it, in a file of its
//! own, what was contributed since. Files are a cache: whoever dies makes the state again from the
//! contributions topic, so nothing is flushed and nothing is kept over a start.

use std::{
    fs::{self, File},
    io::{BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use super::{
    Aborted, Contribution, Subject,
    bucket::{Bucket, Person, Placed, Rules},
};

pub(super) struct Spilled {
    state: PathBuf,
    since: PathBuf,
    log: BufWriter<File>,
    pub(super) bytes: u64,
}

fn failed(error: std::io::Error) -> Aborted {
    Aborted::Io(error.kind().to_string())
}

fn damaged() -> Aborted {
    Aborted::Io("a spilled file is damaged".to_owned())
}

impl Spilled {
    /// Puts a bucket away.
    pub(super) fn put(dir: &Path, number: usize, bucket: &Bucket) -> Result<Self, Aborted> {
        fs::create_dir_all(dir).map_err(failed)?;
        let state = dir.join(format!("{number}.state"));
        let since = dir.join(format!("{number}.since"));
        let mut file = BufWriter::new(private(&state)?);
        let mut bytes = 0;
        for (subject, person) in &bucket.people {
            let person = minicbor::to_vec(person).map_err(|_| damaged())?;
            file.write_all(&subject.0).map_err(failed)?;
            bytes += 16 + write(&mut file, &person)?;
        }
        file.flush().map_err(failed)?;
        let log = BufWriter::new(private(&since)?);
        Ok(Self { state, since, log, bytes })
    }

    /// Notes a contribution for when the bucket is back.
    pub(super) fn append(
        &mut self,
        at: Placed,
        contribution: &Contribution,
    ) -> Result<u64, Aborted> {
        for number in [at.start_ms, at.period_ms] {
            self.log.write_all(&number.to_be_bytes()).map_err(failed)?;
        }
        for number in [at.nth, at.of] {
            self.log.write_all(&number.to_be_bytes()).map_err(failed)?;
        }
        let written = 32 + write(&mut self.log, &contribution.encode())?;
        self.bytes += written;
        Ok(written)
    }

    /// The bucket as if it had been in memory all the time.
    pub(super) fn get(mut self, rules: &Rules) -> Result<Bucket, Aborted> {
        self.log.flush().map_err(failed)?;
        let mut bucket = Bucket::default();
        let mut file = BufReader::new(File::open(&self.state).map_err(failed)?);
        while let Some(subject) = read::<16>(&mut file)? {
            let bytes = read_sized(&mut file)?;
            let person: Person = minicbor::decode(&bytes).map_err(|_| damaged())?;
            bucket.people.insert(Subject(subject), person);
        }
        let mut file = BufReader::new(File::open(&self.since).map_err(failed)?);
        while let Some(start) = read::<8>(&mut file)? {
            let number = |file: &mut BufReader<File>| read::<8>(file)?.ok_or_else(damaged);
            let period_ms = i64::from_be_bytes(number(&mut file)?);
            let nth = u64::from_be_bytes(number(&mut file)?);
            let of = u64::from_be_bytes(number(&mut file)?);
            let bytes = read_sized(&mut file)?;
            let contribution = Contribution::decode(&bytes).map_err(|_| damaged())?;
            let start_ms = i64::from_be_bytes(start);
            bucket.accept(rules, Placed { start_ms, period_ms, nth, of }, contribution);
        }
        Ok(bucket)
    }
}

/// A new file that its owner alone may read.
fn private(path: &Path) -> Result<File, Aborted> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(failed)
}

fn write(file: &mut impl Write, bytes: &[u8]) -> Result<u64, Aborted> {
    let length = u32::try_from(bytes.len()).map_err(|_| damaged())?;
    file.write_all(&length.to_be_bytes()).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    Ok(4 + u64::from(length))
}

/// None at the end of the file.
fn read<const N: usize>(file: &mut impl Read) -> Result<Option<[u8; N]>, Aborted> {
    let mut bytes = [0; N];
    let (first, rest) = bytes.split_at_mut(1);
    if file.read(first).map_err(failed)? == 0 {
        return Ok(None);
    }
    file.read_exact(rest).map_err(failed)?;
    Ok(Some(bytes))
}

fn read_sized(file: &mut impl Read) -> Result<Vec<u8>, Aborted> {
    let length = read::<4>(file)?.ok_or_else(damaged)?;
    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
    file.read_exact(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
