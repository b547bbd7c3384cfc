//! Files for state that does not fit in memory. They are a cache: nothing is flushed to the disk, and nothing
//! is kept over a start.
//!
//! Each is sealed, piece by piece, with AES-256-GCM (NIST SP 800-38D) under a key that is drawn
//! for this file and is nowhere but in memory: with the process, or once the file is gone, it is noise. A piece
//! is its length (u32 BE), ciphertext and tag (16); its nonce is its number in the file, so that pieces cannot
//! be moved.

use std::{
    fs::{self, File},
    io::{BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};
use sluicegate_releases::window::{Aborted, Spill, SpillFile};
use zeroize::Zeroizing;

/// A folder for the buckets of one task.
pub struct SpillFolder(PathBuf);

impl SpillFolder {
    /// What is in it is thrown away.
    pub fn new(folder: PathBuf) -> Self {
        // It may never have been made.
        let _gone = fs::remove_dir_all(&folder);
        Self(folder)
    }
}

impl Spill for SpillFolder {
    fn create(&self, bucket: usize) -> Result<Box<dyn SpillFile>, Aborted> {
        fs::create_dir_all(&self.0).map_err(failed)?;
        let path = self.0.join(bucket.to_string());
        let file = BufWriter::new(private(&path)?);
        Ok(Box::new(Sealed { path, file, key: fresh_key()?, pieces: 0 }))
    }
}

struct Sealed {
    path: PathBuf,
    file: BufWriter<File>,
    key: LessSafeKey,
    /// A file that was cut short is damaged.
    pieces: u64,
}

impl SpillFile for Sealed {
    fn write(&mut self, mut piece: Vec<u8>) -> Result<u64, Aborted> {
        let sealed =
            self.key.seal_in_place_append_tag(nonce(self.pieces), Aad::empty(), &mut piece);
        sealed.map_err(|_| Aborted::damaged())?;
        let length = u32::try_from(piece.len()).map_err(|_| Aborted::damaged())?;
        self.file.write_all(&length.to_be_bytes()).map_err(failed)?;
        self.file.write_all(&piece).map_err(failed)?;
        self.pieces += 1;
        Ok(4 + u64::from(length))
    }

    fn read(&mut self, each: &mut dyn FnMut(&[u8]) -> Result<(), Aborted>) -> Result<(), Aborted> {
        self.file.flush().map_err(failed)?;
        let mut file = BufReader::new(File::open(&self.path).map_err(failed)?);
        for number in 0..self.pieces {
            let mut length = [0; 4];
            file.read_exact(&mut length).map_err(failed)?;
            // Not allocated before it is there: the length is not sealed.
            let length = u64::from(u32::from_be_bytes(length));
            let mut piece = Vec::new();
            file.by_ref().take(length).read_to_end(&mut piece).map_err(failed)?;
            let opened = self.key.open_in_place(nonce(number), Aad::empty(), &mut piece);
            each(opened.map_err(|_| Aborted::damaged())?)?;
        }
        Ok(())
    }
}

/// A file lasts as long as it is needed.
impl Drop for Sealed {
    fn drop(&mut self) {
        // What cannot be removed now is removed at the next start; nobody has its key.
        let _gone = fs::remove_file(&self.path);
    }
}

fn failed(error: std::io::Error) -> Aborted {
    Aborted::Io(error.kind().to_string())
}

/// Never the same twice, so that nonces may be.
fn fresh_key() -> Result<LessSafeKey, Aborted> {
    let no_chance = |_| Aborted::Io("the operating system's random source failed".to_owned());
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(&mut *bytes).map_err(no_chance)?;
    let key = UnboundKey::new(&AES_256_GCM, &*bytes).map_err(no_chance)?;
    Ok(LessSafeKey::new(key))
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    let [_, _, _, _, rest @ ..] = &mut bytes;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A way to damage a file.
    type Damage = fn(&Path);

    fn folder() -> (tempfile::TempDir, SpillFolder) {
        let guard = tempfile::tempdir().unwrap();
        let folder = SpillFolder::new(guard.path().join("spill"));
        (guard, folder)
    }

    fn paths(folder: &SpillFolder) -> Vec<PathBuf> {
        fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// More than what is held back for a file: something of it is there.
    fn fill(file: &mut dyn SpillFile) -> Vec<Vec<u8>> {
        let pieces: Vec<_> = (0..1_000).map(|n| format!("someone {n}").into_bytes()).collect();
        pieces.iter().for_each(|piece| assert!(file.write(piece.clone()).unwrap() > 20));
        pieces
    }

    fn read(file: &mut dyn SpillFile) -> Result<Vec<Vec<u8>>, Aborted> {
        let mut found = Vec::new();
        file.read(&mut |piece| {
            found.push(piece.to_vec());
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn pieces_come_back_and_on_disk_they_say_nothing() {
        let (_guard, folder) = folder();
        let mut file = folder.create(3).unwrap();
        let pieces = fill(&mut *file);
        assert!(read(&mut *file).unwrap() == pieces);
        let leaks = |bytes: &[u8]| bytes.windows(7).any(|window| window == b"someone");
        let [path] = &paths(&folder)[..] else { panic!("one file") };
        assert!(!leaks(&fs::read(path).unwrap()) && leaks(&pieces.concat()));
    }

    #[test]
    fn a_folder_that_cannot_be_made_aborts() {
        let below_a_file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml").join("spill");
        let refused = SpillFolder::new(below_a_file).create(0).err();
        assert!(matches!(refused, Some(Aborted::Io(_))));
    }

    #[test]
    fn a_damaged_file_aborts() {
        let damages: [Damage; 5] = [
            |file| fs::write(file, b"no pieces").unwrap(),
            |file| fs::write(file, b"").unwrap(),
            |file| fs::remove_file(file).unwrap(),
            |file| {
                let mut bytes = fs::read(file).unwrap();
                bytes[5_000] ^= 1;
                fs::write(file, bytes).unwrap();
            },
            // Another bucket's, whole.
            |file| {
                fs::copy(file.with_file_name("7"), file).unwrap();
            },
        ];
        for damage in damages {
            let (_guard, folder) = folder();
            let [mut file, mut other] = [3, 7].map(|bucket| folder.create(bucket).unwrap());
            fill(&mut *file);
            fill(&mut *other);
            damage(&folder.0.join("3"));
            assert!(matches!(read(&mut *file), Err(Aborted::Io(_))));
            assert!(read(&mut *other).is_ok());
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_what_is_on_disk() {
        let (_guard, folder) = folder();
        let _file = folder.create(0).unwrap();
        let [path] = &paths(&folder)[..] else { panic!("one file") };
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
        assert_eq!(mode & 0o077, 0);
    }

    #[test]
    fn files_are_gone_when_they_are_not_needed() {
        let (guard, folder) = folder();
        let file = folder.create(0).unwrap();
        assert_eq!(paths(&folder).len(), 1);
        drop(file);
        assert_eq!(paths(&folder), Vec::<PathBuf>::new());
        // Nor what a process leaves behind that dies.
        std::mem::forget(folder.create(1).unwrap());
        let again = SpillFolder::new(guard.path().join("spill"));
        assert!(!again.0.exists());
    }
}
