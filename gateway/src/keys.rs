//! Master keys by name, and what is derived from them.
//!
//! Must never hand out, print or put into an error a byte of a master key: users get keys that
//! HKDF derived for one purpose. A keyring file is for one machine and for trying; keys of a
//! production gateway come from a key service behind the same [`Keyring`].

use std::{collections::BTreeMap, fmt::Write};

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::{hkdf, rand::SecureRandom};
use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

/// The salt of the extraction step: it keeps these keys apart from any other use of a master.
const SALT: &[u8] = b"sluicegate keyring v1";
const NAME_BYTES_MAX: usize = 128;
const KEYS_MAX: usize = 1024;

/// Where master keys live. A derived key depends on the master and on every byte of `info`.
pub trait Keyring: Send + Sync {
    fn derive(&self, name: &str, info: &[u8]) -> Result<Secret, KeyError>;

    /// The names of the master keys, sorted.
    fn ids(&self) -> Vec<String>;
}

/// A key, wiped on drop. No `Debug`, no copy.
pub struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Why there is no key. Names keys, never their bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error(
        "the keyring has no key `{name}`\n  help: add `{name}` under `keys:` in the keyring file, \
         or name a key it has in the token domain"
    )]
    Missing { name: String },
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
    #[error("the system's random numbers are not available")]
    Random,
    #[error("the key `{name}` could not be derived")]
    Derive { name: String },
}

/// Parts joined so that no two lists of parts give the same bytes: each behind its length.
pub fn info(parts: &[&[u8]]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(parts.iter().map(|p| p.len() + 8).sum());
    for part in parts {
        joined.extend_from_slice(&(part.len() as u64).to_be_bytes());
        joined.extend_from_slice(part);
    }
    joined
}

/// A keyring in one file, which few may read (`decide::read_keyring` checks that). ring cannot wipe
/// the masters that it holds here; everything they pass through on the way is.
pub struct FileKeyring {
    masters: BTreeMap<String, hkdf::Prk>,
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

impl FileKeyring {
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        // The parser's own message may quote the line it failed on; only its place goes on.
        let document: Document = serde_saphyr::from_str(text).map_err(|error| {
            let place = error.location().map_or_else(String::new, |l| {
                format!(" (line {}, column {})", l.line(), l.column())
            });
            KeyError::Shape { place }
        })?;
        if document.keys.len() > KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT);
        let masters = document.keys.iter().map(|(name, text)| {
            check_name(name)?;
            let not_a_key = || KeyError::NotAKey { name: name.clone() };
            let bytes = Zeroizing::new(BASE64_STANDARD.decode(text).map_err(|_| not_a_key())?);
            let master = (bytes.len() == 32).then(|| salt.extract(&bytes));
            Ok((name.clone(), master.ok_or_else(not_a_key)?))
        });
        Ok(Self { masters: masters.collect::<Result<_, _>>()? })
    }

    /// The text of a keyring file with a fresh key for each name.
    pub fn generate<'n>(
        names: impl IntoIterator<Item = &'n str>,
        rng: &dyn SecureRandom,
    ) -> Result<Zeroizing<String>, KeyError> {
        let mut text = String::from(
            "# Master keys. Anyone who reads this file can undo every token made with it.\nkeys:\n",
        );
        for name in names {
            check_name(name)?;
            let mut bytes = Zeroizing::new([0; 32]);
            rng.fill(&mut *bytes).map_err(|_| KeyError::Random)?;
            let key = Zeroizing::new(BASE64_STANDARD.encode(*bytes));
            writeln!(text, "  \"{name}\": {}", *key).map_err(|_| KeyError::Random)?;
        }
        Ok(Zeroizing::new(text))
    }
}

impl Keyring for FileKeyring {
    fn derive(&self, name: &str, info: &[u8]) -> Result<Secret, KeyError> {
        let master =
            self.masters.get(name).ok_or_else(|| KeyError::Missing { name: name.to_owned() })?;
        let mut key = Secret(Zeroizing::new([0; 32]));
        master
            .expand(&[info], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut *key.0))
            .map_err(|_| KeyError::Derive { name: name.to_owned() })?;
        Ok(key)
    }

    fn ids(&self) -> Vec<String> {
        self.masters.keys().cloned().collect()
    }
}

/// A keyring of one run that has a key by every name: what is made with it can be joined with
/// nothing.
pub struct ThrowAway(hkdf::Prk);

impl ThrowAway {
    pub fn new(rng: &dyn SecureRandom) -> Result<Self, KeyError> {
        let mut bytes = Secret(Zeroizing::new([0; 32]));
        rng.fill(&mut *bytes.0).map_err(|_| KeyError::Random)?;
        Ok(Self(hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(bytes.bytes())))
    }
}

impl Keyring for ThrowAway {
    fn derive(&self, name: &str, info: &[u8]) -> Result<Secret, KeyError> {
        let mut key = Secret(Zeroizing::new([0; 32]));
        let parts = self::info(&[name.as_bytes(), info]);
        self.0
            .expand(&[&parts], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut *key.0))
            .map_err(|_| KeyError::Derive { name: name.to_owned() })?;
        Ok(key)
    }

    fn ids(&self) -> Vec<String> {
        Vec::new()
    }
}

fn check_name(name: &str) -> Result<(), KeyError> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(fits) {
        return Err(KeyError::Name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    const A: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn a_generated_keyring_parses_and_derives() {
        let text = FileKeyring::generate(["main", "123", "no"], &SystemRandom::new()).unwrap();
        let keys = FileKeyring::parse(&text).unwrap();
        assert_eq!(keys.ids(), ["123", "main", "no"]);
        let derive = |name, info| *keys.derive(name, info).ok().unwrap().bytes();
        assert_eq!(derive("main", b"a"), derive("main", b"a"));
        assert_ne!(derive("main", b"a"), derive("main", b"b"));
        assert_ne!(derive("main", b"a"), derive("no", b"a"));
    }

    #[test]
    fn json_is_a_keyring_too() {
        let keys = FileKeyring::parse(&format!(r#"{{"keys": {{"main": "{A}"}}}}"#)).unwrap();
        assert_eq!(keys.ids(), ["main"]);
        let missing = keys.derive("gone", b"").err().unwrap();
        assert_eq!(missing, KeyError::Missing { name: "gone".into() });
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
            let error = FileKeyring::parse(&text).err().map(|e| e.to_string());
            let error = error.unwrap_or_else(|| panic!("accepted {text}"));
            assert!(!error.contains("AAEC") && error.contains("help: "), "{error}");
        }
    }

    #[test]
    fn parts_cannot_be_shifted() {
        assert_ne!(info(&[b"ab", b"c"]), info(&[b"a", b"bc"]));
        assert_ne!(info(&[b"a", b""]), info(&[b"", b"a"]));
        assert_ne!(info(&[b"a"]), info(&[b"a", b""]));
    }
}
