//! Who has a password, and what tells that it is known: the keys of SCRAM-SHA-256 and SCRAM-SHA-512 in a
//! file that `sluicegate credential` writes and the gateway reads. PLAIN is checked against the same keys.
//!
//! No password can be computed from the file, only guessed, and nobody can log in with what is in it. A
//! name that nobody has is answered like any other, by keys that come from a secret in the file: so the
//! answers stay the same over restarts, and from each gateway that has the file.
//!
//! Must never print or put into an error anything of a credential but its name.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Write as _},
    num::NonZeroU32,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwapOption;
use base64::{Engine, prelude::BASE64_STANDARD};
use ring::rand::SecureRandom;
use serde::Deserialize;
use sluicegate_wire::sasl::{
    prepared,
    scram::{ITERATIONS_MAX, ITERATIONS_MIN, Keys, Mechanism, Nonces},
};
use tokio::sync::Semaphore;
use zeroize::{Zeroize, Zeroizing};

use super::Failure;
use crate::{config, files};

/// Iterations of a new credential. Each SCRAM login costs the client as many, and each PLAIN login the
/// gateway: about 10 ms. It is the most that Kafka's own brokers keep, so every client is used to it.
/// They slow down who guesses from a stolen file; a generated password needs no such help.
pub const ITERATIONS: u32 = 16_384;
/// PLAIN passwords that are checked at once; others wait.
const PLAIN_CHECKS_MAX: usize = 2;
const CREDENTIALS_MAX: usize = 2_000;
const NAME_BYTES_MAX: usize = 128;
const SALT_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const MECHANISMS: [Mechanism; 2] = [Mechanism::Sha256, Mechanism::Sha512];

/// Why a file of passwords could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("passwords: `{}`: {why}", file.display())]
pub struct PasswordsError {
    pub file: PathBuf,
    pub why: String,
}

/// What is in a file of passwords.
pub struct PasswordFile {
    secret: Zeroizing<Vec<u8>>,
    /// By name, in the order of [`MECHANISMS`].
    credentials: BTreeMap<String, [Keys; 2]>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    secret: String,
    credentials: BTreeMap<String, BTreeMap<String, Written>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    iterations: u32,
    salt: String,
    stored_key: String,
    server_key: String,
}

impl Drop for Document {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.stored_key.zeroize();
        self.server_key.zeroize();
    }
}

impl PasswordFile {
    fn new(random: &dyn SecureRandom) -> Result<Self, String> {
        let mut secret = Zeroizing::new(vec![0; SECRET_BYTES]);
        random.fill(&mut secret).map_err(|_| no_random())?;
        Ok(Self { secret, credentials: BTreeMap::new() })
    }

    pub fn read(file: &Path) -> Result<Self, PasswordsError> {
        let read = files::read_secret(file).and_then(|text| Self::parse(&text));
        read.map_err(|why| PasswordsError { file: file.to_owned(), why })
    }

    fn parse(text: &str) -> Result<Self, String> {
        // The parser's own message may quote the line it failed on; only its place is passed on.
        let document: Document = serde_saphyr::from_str(text).map_err(|error| {
            let place =
                error.location().map_or_else(String::new, |l| format!(", line {}", l.line()));
            format!("not what `sluicegate credential` writes{place}")
        })?;
        if document.credentials.len() > CREDENTIALS_MAX {
            return Err(too_many());
        }
        let secret = bytes(&document.secret, SECRET_BYTES).ok_or("its secret is damaged")?;
        let credentials = document.credentials.iter().map(|(name, of_name)| {
            check_name(name)?;
            let [sha256, sha512] = MECHANISMS.map(|mechanism| keys(mechanism, of_name));
            let pair = sha256.zip(sha512).filter(|_| of_name.len() == MECHANISMS.len());
            let (sha256, sha512) =
                pair.ok_or_else(|| format!("the credential of `{name}` is damaged: set it again"))?;
            Ok((name.clone(), [sha256, sha512]))
        });
        let credentials = credentials.collect::<Result<_, String>>()?;
        Ok(Self { secret: Zeroizing::new(secret), credentials })
    }

    fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::from(
            "# Who may log in by a password. Written by `sluicegate credential`; anyone who reads this file\n\
             # can try to guess the passwords in it.\n",
        ));
        // Writing into a text does not fail.
        let _written = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let encode = |bytes: &[u8]| Zeroizing::new(BASE64_STANDARD.encode(bytes));
        writeln!(text, "secret: \"{}\"", *encode(&self.secret))?;
        let none = if self.credentials.is_empty() { " {}" } else { "" };
        writeln!(text, "credentials:{none}")?;
        for (name, of_name) in &self.credentials {
            // A JSON string is a YAML one.
            writeln!(text, "  {}:", serde_json::Value::from(name.as_str()))?;
            for keys in of_name {
                let (mechanism, iterations) = (keys.mechanism.name(), keys.iterations);
                writeln!(text, "    {mechanism}:\n      iterations: {iterations}")?;
                let parts = [
                    ("salt", &keys.salt),
                    ("stored-key", &keys.stored),
                    ("server-key", &keys.server),
                ];
                for (part, bytes) in parts {
                    writeln!(text, "      {part}: \"{}\"", *encode(bytes))?;
                }
            }
        }
        Ok(())
    }

    /// Reads the file, changes it and replaces it as a whole; a file that is not there begins empty.
    /// When this returns, no crash undoes it. Two of these at once: the second one is refused.
    pub fn change<T>(
        file: &Path,
        random: &dyn SecureRandom,
        change: impl FnOnce(&mut Self) -> Result<T, String>,
    ) -> Result<T, PasswordsError> {
        // The file that a link leads to, not the link.
        let file = &fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        let failed = |why: String| PasswordsError { file: file.clone(), why };
        let mut beside: OsString = file.into();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let mut options = File::options();
        let opened = options.write(true).create_new(true).mode(0o600).open(&beside);
        let mut new = opened.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => failed(format!(
                "it is being changed, or a change was cut off\n  help: remove `{}` if no other \
                 `sluicegate credential` runs",
                beside.display()
            )),
            kind => failed(format!("couldn't write `{}`: {kind}", beside.display())),
        })?;
        let changed = (|| {
            let mut content = match fs::symlink_metadata(file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Self::new(random).map_err(failed)?
                }
                _ => Self::read(file)?,
            };
            let result = change(&mut content).map_err(failed)?;
            let failed = |error: io::Error| failed(error.kind().to_string());
            new.write_all(content.text().as_bytes()).map_err(failed)?;
            new.sync_all().map_err(failed)?;
            fs::rename(&beside, file).map_err(failed)?;
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = File::open(folder.unwrap_or(Path::new(".")));
            folder.and_then(|folder| folder.sync_all()).map_err(failed)?;
            Ok(result)
        })();
        if changed.is_err() {
            // Gone already if it was renamed.
            let _gone = fs::remove_file(&beside);
        }
        changed
    }

    /// Gives a name a password, instead of the one it had. Returns whether it had one.
    pub fn set(
        &mut self,
        name: &str,
        password: &str,
        iterations: NonZeroU32,
        random: &dyn SecureRandom,
    ) -> Result<bool, String> {
        check_name(name)?;
        if !is_allowed(iterations) {
            return Err(format!("iterations are {ITERATIONS_MIN} to {ITERATIONS_MAX}"));
        }
        let derive = |mechanism| {
            let mut salt = [0; SALT_BYTES];
            random.fill(&mut salt).map_err(|_| no_random())?;
            Keys::derive(mechanism, password, &salt, iterations).map_err(|e| e.to_string())
        };
        let [sha256, sha512] = MECHANISMS.map(derive);
        let replaced = self.credentials.insert(name.to_owned(), [sha256?, sha512?]).is_some();
        if self.credentials.len() > CREDENTIALS_MAX {
            return Err(too_many());
        }
        Ok(replaced)
    }

    /// Returns whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        self.credentials.remove(name).is_some()
    }

    /// Names, and how many iterations each has.
    pub fn names(&self) -> impl Iterator<Item = (&str, u32)> {
        self.credentials.iter().map(|(name, [sha256, _])| (name.as_str(), sha256.iterations.get()))
    }

    /// What most credentials have: a name that nobody has looks like those.
    fn usual_iterations(&self) -> NonZeroU32 {
        let mut counts = BTreeMap::new();
        for [sha256, _] in self.credentials.values() {
            *counts.entry(sha256.iterations).or_insert(0_usize) += 1;
        }
        let usual = counts.into_iter().max_by_key(|(_, count)| *count);
        usual.map_or(NonZeroU32::new(ITERATIONS).unwrap_or(NonZeroU32::MAX), |(usual, _)| usual)
    }
}

fn keys(mechanism: Mechanism, of_name: &BTreeMap<String, Written>) -> Option<Keys> {
    let written = of_name.get(mechanism.name())?;
    let iterations = NonZeroU32::new(written.iterations).filter(|n| is_allowed(*n))?;
    Some(Keys {
        mechanism,
        iterations,
        salt: bytes(&written.salt, SALT_BYTES)?,
        stored: bytes(&written.stored_key, mechanism.length())?,
        server: bytes(&written.server_key, mechanism.length())?,
    })
}

fn bytes(text: &str, length: usize) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(text).ok().filter(|bytes| bytes.len() == length)
}

fn is_allowed(iterations: NonZeroU32) -> bool {
    (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations.get())
}

// The name is not repeated: it may be a password in the wrong place.
fn check_name(name: &str) -> Result<(), String> {
    match name.len() <= NAME_BYTES_MAX && prepared(name) {
        true => Ok(()),
        false => Err(format!(
            "a name is not usable\n  help: names have 1 to {NAME_BYTES_MAX} bytes that SASLprep \
             (RFC 4013) leaves as they are"
        )),
    }
}

fn too_many() -> String {
    format!("more than {CREDENTIALS_MAX} credentials")
}

fn no_random() -> String {
    "the operating system's random source failed".to_owned()
}

struct Current {
    content: PasswordFile,
    usual: NonZeroU32,
    text: blake3::Hash,
}

/// The passwords that are in force.
pub(super) struct Passwords {
    file: PathBuf,
    nonces: Nonces,
    current: ArcSwapOption<Current>,
    trouble: Mutex<Option<PasswordsError>>,
    checks: Arc<Semaphore>,
    /// Iterations of all checks.
    #[cfg(test)]
    pub(super) iterated: std::sync::atomic::AtomicU64,
}

impl Passwords {
    pub(super) fn new(config: &config::Passwords) -> Self {
        Self {
            file: config.file.clone(),
            nonces: if config.lenient_scram_nonce { Nonces::Suffix } else { Nonces::Exact },
            current: ArcSwapOption::empty(),
            trouble: Mutex::default(),
            checks: Arc::new(Semaphore::new(PLAIN_CHECKS_MAX)),
            #[cfg(test)]
            iterated: Default::default(),
        }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    pub(super) fn nonces(&self) -> Nonces {
        self.nonces
    }

    /// The keys of a name. Those of nobody are always made, so that the time does not tell.
    pub(super) fn keys(&self, mechanism: Mechanism, name: &str) -> Result<Keys, Failure> {
        let current = self.current.load();
        let Current { content, usual, .. } = current.as_deref().ok_or(Failure::LoginUnavailable)?;
        let nobody = Keys::of_nobody(mechanism, &content.secret, name, SALT_BYTES, *usual);
        let of_name = content
            .credentials
            .get(name)
            .and_then(|pair| pair.iter().find(|keys| keys.mechanism == mechanism).cloned());
        Ok(of_name.unwrap_or(nobody))
    }

    /// Whether a name has this password. It costs the iterations, away from the runtime, and the same
    /// for a name that nobody has.
    pub(super) async fn check(
        &self,
        name: &str,
        password: Zeroizing<String>,
    ) -> Result<(), Failure> {
        let keys = self.keys(Mechanism::Sha256, name)?;
        #[cfg(test)]
        self.iterated.fetch_add(keys.iterations.get().into(), std::sync::atomic::Ordering::Relaxed);
        let place = self.checks.clone().acquire_owned().await;
        let place = place.map_err(|_| Failure::LoginUnavailable)?;
        let work = move || {
            let accepted = keys.accept(&password);
            // A client that hangs up does not end the work: its place is taken until then.
            drop(place);
            Ok(accepted)
        };
        match files::blocking(work).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::PasswordWrong),
            Err(_) => Err(Failure::LoginUnavailable),
        }
    }

    /// Who has one, once they were read.
    pub(super) fn names(&self) -> Option<Vec<String>> {
        let current = self.current.load();
        let current = current.as_deref()?;
        Some(current.content.credentials.keys().cloned().collect())
    }

    /// Why the file could not be read the last time, if so.
    pub(super) fn trouble(&self) -> Option<PasswordsError> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the file again; an error keeps what was read before. Each change of state is one line in the
    /// log.
    pub(super) async fn refresh(&self) -> Result<(), PasswordsError> {
        let file = self.file.clone();
        let read = files::blocking(move || files::read_secret(&file)).await;
        let taken = read.and_then(|text| self.take(&text));
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match taken {
            Ok(changed) => {
                let recovered = trouble.take().is_some();
                if let Some(credentials) = changed {
                    tracing::info!(event = "passwords-read", credentials);
                } else if recovered {
                    tracing::info!(event = "passwords-unchanged");
                }
                Ok(())
            }
            Err(why) => {
                let error = PasswordsError { file: self.file.clone(), why };
                if trouble.as_ref() != Some(&error) {
                    tracing::error!(event = "passwords-unread", %error);
                }
                *trouble = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Puts a file's text in force; how many credentials it has, if it is new.
    fn take(&self, text: &str) -> Result<Option<usize>, String> {
        let hash = blake3::hash(text.as_bytes());
        if self.current.load().as_ref().is_some_and(|current| current.text == hash) {
            return Ok(None);
        }
        let content = PasswordFile::parse(text)?;
        let credentials = content.credentials.len();
        let usual = content.usual_iterations();
        self.current.store(Some(Arc::new(Current { content, usual, text: hash })));
        Ok(Some(credentials))
    }
}

#[cfg(test)]
pub(super) mod tests;
