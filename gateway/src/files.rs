//! Files that others put there: regular ones only, and only so much of each. A pipe or a device
//! would never end, and a hung file system holds up the thread that reads: never one of the runtime.

use std::{fs::File, io::Read, path::Path};

use zeroize::Zeroizing;

/// The bits of a mode that a file of secrets must not have: writable or executable by its group, or
/// anything for everyone else. Its group may read: Kubernetes mounts secrets 0440, for the group
/// of the process.
const SECRET_MODE_REFUSED: u32 = 0o037;
/// A file of certificates, keys or a password that is larger than this is refused.
pub const SMALL_FILE_BYTES_MAX: u64 = 1 << 20;

/// The first bytes of a regular file, `max` at most.
pub fn begin_of(file: &Path, max: u64) -> Result<Vec<u8>, String> {
    let words = |error: std::io::Error| error.kind().to_string();
    // Asked before it is opened: opening a pipe waits for its other end.
    if !std::fs::metadata(file).map_err(words)?.is_file() {
        return Err("not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    File::open(file).map_err(words)?.take(max).read_to_end(&mut bytes).map_err(words)?;
    Ok(bytes)
}

/// A whole regular file of `max` bytes at most.
pub fn read(file: &Path, max: u64) -> Result<Vec<u8>, String> {
    let bytes = begin_of(file, max.saturating_add(1))?;
    if bytes.len() as u64 > max {
        return Err(format!("larger than {max} bytes"));
    }
    Ok(bytes)
}

/// The text of a regular file of `max` bytes at most.
pub fn read_text(file: &Path, max: u64) -> Result<String, String> {
    let not_utf8 = |error: std::string::FromUtf8Error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8\n  help: save the file as UTF-8")
    };
    String::from_utf8(read(file, max)?).map_err(not_utf8)
}

/// The text of a small file that others may not read. What it passes through is wiped.
pub fn read_secret(file: &Path) -> Result<Zeroizing<String>, String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let found = std::fs::metadata(file).map_err(|e| e.kind().to_string())?;
        let mode = found.permissions().mode();
        if mode & SECRET_MODE_REFUSED != 0 {
            return Err(format!(
                "its mode is {:03o}; only its owner may write it, and only owner and group may \
                 read it (600, 400 or 440)",
                mode & 0o777
            ));
        }
    }
    read_text(file, SMALL_FILE_BYTES_MAX).map(Zeroizing::new)
}

/// What reads files, on a thread for blocking work.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err("reading was interrupted".to_owned()))
}

/// Whether an error says that its disk is full, in the words of SQLite, PostgreSQL and the system.
pub fn says_full(error: &str) -> bool {
    ["disk is full", "No space left on device", "quota exceeded"].iter().any(|w| error.contains(w))
}

/// What is known of a disk, by what is written there: one line in the log for each change.
pub struct Disk {
    of: String,
    full: bool,
}

impl Disk {
    pub fn new(of: String) -> Self {
        Self { of, full: false }
    }

    /// Returns whether that is new.
    pub fn is(&mut self, full: bool) -> bool {
        if self.full == full {
            return false;
        }
        self.full = full;
        match full {
            true => tracing::error!(event = "disk-full", of = self.of),
            false => tracing::info!(event = "disk-writable", of = self.of),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_regular_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read_text(&file, 5).unwrap(), "12345");
        assert_eq!(read_text(&file, 4).unwrap_err(), "larger than 4 bytes");
        assert_eq!(begin_of(&file, 2).unwrap(), b"12");
        std::fs::write(&file, b"ok\n\xff").unwrap();
        assert!(read_text(&file, 9).unwrap_err().starts_with("line 2 is not UTF-8"));
        assert_eq!(read(dir.path(), 9).unwrap_err(), "not a regular file");
        assert_eq!(read(Path::new("/dev/zero"), 9).unwrap_err(), "not a regular file");
    }

    #[test]
    fn a_disk_is_told_once_each_time_it_fills_and_is_written_again() {
        let mut disk = Disk::new("ledger".to_owned());
        let full = "error returned from database: (code: 13) database or disk is full";
        let told = [full, full, "the store is locked", "", "No space left on device (os error 28)"];
        let told: Vec<bool> = told.into_iter().map(|error| disk.is(says_full(error))).collect();
        assert_eq!(told, [true, false, true, false, true]);
    }
}
