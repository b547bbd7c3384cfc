//! A bucket on disk: its state as it was when it was put away, and behind it, in a file of its
//! own, what was contributed since. Files are a cache: whoever dies makes the state again from the
//! contributions topic, so nothing is flushed and nothing is kept over a start.
//!
//! Both are sealed, piece by piece, with AES-256-GCM (NIST SP 800-38D) under a key that is drawn
//! for these two files and is nowhere but in memory: with the process, or once the bucket is back,
//! they are noise. A piece is its length (u32 BE), ciphertext and tag (16); its nonce is which
//! file it is in and its number there, so that pieces cannot be moved.

use std::{
    fs::{self, File},
    io::{BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};
use zeroize::Zeroizing;

use super::{
    Aborted, Contribution, Subject,
    bucket::{Bucket, Person, Placed, Rules},
};

pub(super) struct Spilled {
    state: PathBuf,
    since: PathBuf,
    log: BufWriter<File>,
    key: LessSafeKey,
    /// Pieces in each file: one that was cut short is damaged.
    people: u64,
    noted: u64,
    pub(super) bytes: u64,
}

/// Which of the two files.
#[derive(Clone, Copy)]
enum Part {
    State = 0,
    Since = 1,
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
        let log = BufWriter::new(private(&since)?);
        let key = fresh_key()?;
        let mut spilled = Self { state, since, log, key, people: 0, noted: 0, bytes: 0 };
        for (subject, person) in &bucket.people {
            let mut piece = subject.0.to_vec();
            minicbor::encode(person, &mut piece).map_err(|_| damaged())?;
            spilled.seal(Part::State, spilled.people, &mut piece)?;
            spilled.bytes += write(&mut file, &piece)?;
            spilled.people += 1;
        }
        file.flush().map_err(failed)?;
        Ok(spilled)
    }

    /// Notes a contribution for when the bucket is back.
    pub(super) fn append(
        &mut self,
        at: Placed,
        contribution: &Contribution,
    ) -> Result<u64, Aborted> {
        let mut piece = Vec::new();
        piece.extend([at.start_ms, at.period_ms].iter().flat_map(|n| n.to_be_bytes()));
        piece.extend([at.nth, at.of].iter().flat_map(|n| n.to_be_bytes()));
        piece.extend(contribution.encode());
        self.seal(Part::Since, self.noted, &mut piece)?;
        let written = write(&mut self.log, &piece)?;
        self.noted += 1;
        self.bytes += written;
        Ok(written)
    }

    /// The bucket as if it had been in memory all the time.
    pub(super) fn get(mut self, rules: &Rules) -> Result<Bucket, Aborted> {
        self.log.flush().map_err(failed)?;
        let mut bucket = Bucket::default();
        let mut file = BufReader::new(File::open(&self.state).map_err(failed)?);
        for number in 0..self.people {
            let piece = self.open(Part::State, number, &mut file)?;
            let (subject, person) = piece.split_first_chunk::<16>().ok_or_else(damaged)?;
            let person: Person = minicbor::decode(person).map_err(|_| damaged())?;
            bucket.people.insert(Subject(*subject), person);
        }
        let mut file = BufReader::new(File::open(&self.since).map_err(failed)?);
        for number in 0..self.noted {
            let piece = self.open(Part::Since, number, &mut file)?;
            let (at, contribution) = piece.split_first_chunk::<32>().ok_or_else(damaged)?;
            let contribution = Contribution::decode(contribution).map_err(|_| damaged())?;
            let &[start_ms, period_ms, nth, of] = at.as_chunks::<8>().0 else {
                return Err(damaged());
            };
            let at = Placed {
                start_ms: i64::from_be_bytes(start_ms),
                period_ms: i64::from_be_bytes(period_ms),
                nth: u64::from_be_bytes(nth),
                of: u64::from_be_bytes(of),
            };
            bucket.accept(rules, at, contribution);
        }
        Ok(bucket)
    }

    fn seal(&self, part: Part, number: u64, piece: &mut Vec<u8>) -> Result<(), Aborted> {
        let sealed = self.key.seal_in_place_append_tag(nonce(part, number), Aad::empty(), piece);
        sealed.map_err(|_| damaged())
    }

    fn open(&self, part: Part, number: u64, file: &mut impl Read) -> Result<Vec<u8>, Aborted> {
        let mut length = [0; 4];
        file.read_exact(&mut length).map_err(failed)?;
        // Not allocated before it is there: the length is not sealed.
        let length = u64::from(u32::from_be_bytes(length));
        let mut piece = Vec::new();
        file.take(length).read_to_end(&mut piece).map_err(failed)?;
        let opened = self.key.open_in_place(nonce(part, number), Aad::empty(), &mut piece);
        let length = opened.map_err(|_| damaged())?.len();
        piece.truncate(length);
        Ok(piece)
    }
}

/// Files last as long as they are needed.
impl Drop for Spilled {
    fn drop(&mut self) {
        for file in [&self.state, &self.since] {
            // What cannot be removed now is removed at the next start; nobody has its key.
            let _gone = fs::remove_file(file);
        }
    }
}

/// Never the same twice, so that nonces may be.
fn fresh_key() -> Result<LessSafeKey, Aborted> {
    let no_chance = |_| Aborted::Io("the operating system's random source failed".to_owned());
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(&mut *bytes).map_err(no_chance)?;
    let key = UnboundKey::new(&AES_256_GCM, &*bytes).map_err(no_chance)?;
    Ok(LessSafeKey::new(key))
}

fn nonce(part: Part, number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    let [which, _, _, _, rest @ ..] = &mut bytes;
    *which = part as u8;
    *rest = number.to_be_bytes();
    Nonce::assume_unique_for_key(bytes)
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
