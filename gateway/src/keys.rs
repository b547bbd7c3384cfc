//! Where this process gets its master keys.
//!
//! A [`KeySource`] is asked before a snapshot is in force; from then on everything is local. Its first
//! kind is a keyring file, which is for one machine and for trying; keys of a production gateway come
//! from a key service.
//!
//! Must never print or put into an error a byte of a key.

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
    pin::Pin,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::rand::SecureRandom;
use serde::Deserialize;
use sluicegate_protect::keys::{KeyError, Keyring, Master, Masters, Secret, info};
use zeroize::{Zeroize, Zeroizing};

use crate::files;

const NAME_BYTES_MAX: usize = 128;
const KEYS_MAX: usize = 1024;

/// Why there are no keys. Names keys, never their bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    #[error("couldn't read the keyring: `{}`: {why}", file.display())]
    Read { file: PathBuf, why: String },
    #[error(
        "the keyring is not what it should be{place}\n  help: it is YAML or JSON of the form \
         `keys: {{NAME: BASE64}}`, each name once"
    )]
    Shape { place: String },
    #[error(
        "the key `{name}` is not 32 bytes in base64\n  help: make one with \
         `head -c 32 /dev/urandom | base64`"
    )]
    NotAKey { name: String },
    // The name is not repeated: it may be a key in the wrong place.
    #[error(
        "a name in the keyring cannot be the name of a key\n  help: use up to 128 letters, digits, \
         `.`, `_` and `-`"
    )]
    Name,
    #[error("a keyring holds at most 1024 keys")]
    TooMany,
    #[error(transparent)]
    Key(#[from] KeyError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    keys: BTreeMap<String, String>,
}

impl Drop for Document {
    fn drop(&mut self) {
        self.keys.values_mut().for_each(Zeroize::zeroize);
    }
}

/// The keys of a source, as they are now.
pub struct Fetched {
    pub keys: Masters,
    /// Another one: perhaps other keys.
    pub fingerprint: blake3::Hash,
}

/// Where master keys come from.
pub trait KeySource: Send + Sync {
    fn fetch(&self) -> Pin<Box<dyn Future<Output = Result<Fetched, KeyringError>> + Send + '_>>;

    /// Files that it reads, to watch.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// A keyring file, which others may not read: anyone who has it can undo every token by trying.
pub struct KeyringFile(PathBuf);

impl KeyringFile {
    pub fn new(file: &Path) -> Self {
        Self(file.to_owned())
    }
}

impl KeySource for KeyringFile {
    fn fetch(&self) -> Pin<Box<dyn Future<Output = Result<Fetched, KeyringError>> + Send + '_>> {
        Box::pin(async {
            let file = self.0.clone();
            let text = files::blocking(move || files::read_secret(&file)).await;
            let text = text.map_err(|why| KeyringError::Read { file: self.0.clone(), why })?;
            Ok(Fetched { keys: parse(&text)?, fingerprint: blake3::hash(text.as_bytes()) })
        })
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.0.clone()]
    }
}

/// The keys in the text of a keyring file. All that they pass through on the way is wiped.
pub fn parse(text: &str) -> Result<Masters, KeyringError> {
    // The parser's own message may quote the line it failed on; only its place is passed on.
    let document: Document = serde_saphyr::from_str(text).map_err(|error| {
        let place = error
            .location()
            .map_or_else(String::new, |l| format!(" (line {}, column {})", l.line(), l.column()));
        KeyringError::Shape { place }
    })?;
    if document.keys.len() > KEYS_MAX {
        return Err(KeyringError::TooMany);
    }
    let masters = document.keys.iter().map(|(name, text)| {
        check_name(name)?;
        let not_a_key = || KeyringError::NotAKey { name: name.clone() };
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(text).map_err(|_| not_a_key())?);
        let bytes = bytes.as_slice().try_into().map_err(|_| not_a_key())?;
        Ok((name.clone(), Master::new(bytes)))
    });
    masters.collect()
}

/// The text of a keyring file with a fresh key for each name.
pub fn generate<'n>(
    names: impl IntoIterator<Item = &'n str>,
    rng: &dyn SecureRandom,
) -> Result<Zeroizing<String>, KeyringError> {
    let mut text = String::from(
        "# Master keys. Anyone who reads this file can undo every token made with it.\nkeys:\n",
    );
    for name in names {
        check_name(name)?;
        let key = Zeroizing::new(BASE64_STANDARD.encode(*random_bytes(rng)?));
        writeln!(text, "  \"{name}\": {}", *key).map_err(|_| KeyError::Random)?;
    }
    Ok(Zeroizing::new(text))
}

fn random_bytes(rng: &dyn SecureRandom) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let mut bytes = Zeroizing::new([0; 32]);
    rng.fill(&mut *bytes).map_err(|_| KeyError::Random)?;
    Ok(bytes)
}

/// A keyring of one run that has a key by every name: what is made with it can be joined with
/// nothing.
pub struct ThrowAway(Master);

impl ThrowAway {
    pub fn new(rng: &dyn SecureRandom) -> Result<Self, KeyError> {
        let bytes = random_bytes(rng)?;
        Ok(Self(Master::new(&bytes)))
    }
}

impl Keyring for ThrowAway {
    fn derive(&self, name: &str, info: &[u8]) -> Result<Secret, KeyError> {
        self.0.derive(name, &self::info(&[name.as_bytes(), info]))
    }

    fn ids(&self) -> Vec<String> {
        Vec::new()
    }
}

fn check_name(name: &str) -> Result<(), KeyringError> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(fits) {
        return Err(KeyringError::Name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    const A: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn a_generated_keyring_parses() {
        let text = generate(["main", "123", "no"], &SystemRandom::new()).unwrap();
        assert_eq!(parse(&text).unwrap().ids(), ["123", "main", "no"]);
    }

    #[tokio::test]
    async fn a_keyring_is_for_its_owner_and_may_be_read_by_its_group() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keyring.yaml");
        std::fs::write(&file, format!("keys: {{main: {A}}}")).unwrap();
        let with_mode = async |mode| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            KeyringFile::new(&file).fetch().await.map(|fetched| fetched.keys.ids())
        };
        for mode in [0o400, 0o600, 0o440, 0o640] {
            assert_eq!(with_mode(mode).await.unwrap(), ["main"], "{mode:o}");
        }
        for mode in [0o644, 0o604, 0o444, 0o660, 0o620, 0o450, 0o601] {
            let error = with_mode(mode).await.unwrap_err().to_string();
            assert!(error.contains(&format!("mode is {mode:o}")), "{error}");
        }
    }

    #[test]
    fn json_is_a_keyring_too() {
        let keys = parse(&format!(r#"{{"keys": {{"main": "{A}"}}}}"#)).unwrap();
        assert_eq!(keys.ids(), ["main"]);
    }

    #[test]
    fn what_is_no_keyring_is_refused_without_a_byte_of_it() {
        for text in [
            format!("keys: {{main: {A}, main: {A}}}"),
            format!("keys: {{main: {A}}}\nkeys: {{}}"),
            format!("keys: {{main: {A}}}\nother: 1"),
            format!("keys: {{main: {A}A}}"),
            format!("keys: {{main: {}}}", A.replace("BgcI", "")),
            format!("keys: {{'{A}': main}}"),
            format!("keys: [{A}]"),
            format!("{A}: {{"),
            String::new(),
        ] {
            let error = parse(&text).err().map(|e| e.to_string());
            let error = error.unwrap_or_else(|| panic!("accepted {text}"));
            assert!(!error.contains("AAEC") && error.contains("help: "), "{error}");
        }
    }
}
