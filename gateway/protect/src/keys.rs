//! Master keys by name, and what is derived from them. Where masters come from is the caller's business: a
//! file, a key service.
//!
//! Must never hand out, print or put into an error a byte of a master key: users get keys that
//! HKDF derived for one purpose.

use std::collections::BTreeMap;

use ring::hkdf;
use zeroize::Zeroizing;

/// The salt of the extraction step: it keeps these keys apart from any other use of a master.
const SALT: &[u8] = b"sluicegate keyring v1";

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

/// One master key. ring cannot wipe what it holds here; what it was made from is the caller's to wipe.
pub struct Master(hkdf::Prk);

impl Master {
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(bytes))
    }

    /// `name` is for the error alone.
    pub fn derive(&self, name: &str, info: &[u8]) -> Result<Secret, KeyError> {
        let mut key = Secret(Zeroizing::new([0; 32]));
        self.0
            .expand(&[info], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut *key.0))
            .map_err(|_| KeyError::Derive { name: name.to_owned() })?;
        Ok(key)
    }
}

/// Master keys held in memory.
#[derive(Default)]
pub struct Masters(BTreeMap<String, Master>);

impl FromIterator<(String, Master)> for Masters {
    fn from_iter<I: IntoIterator<Item = (String, Master)>>(masters: I) -> Self {
        Self(masters.into_iter().collect())
    }
}

impl Keyring for Masters {
    fn derive(&self, name: &str, info: &[u8]) -> Result<Secret, KeyError> {
        let missing = || KeyError::Missing { name: name.to_owned() };
        self.0.get(name).ok_or_else(missing)?.derive(name, info)
    }

    fn ids(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_depends_on_its_master_and_its_use() {
        let named = |(name, byte): (&str, u8)| (name.to_owned(), Master::new(&[byte; 32]));
        let keys: Masters = [("main", 1), ("no", 2), ("123", 3)].into_iter().map(named).collect();
        assert_eq!(keys.ids(), ["123", "main", "no"]);
        let derive = |name, info| *keys.derive(name, info).ok().unwrap().bytes();
        assert_eq!(derive("main", b"a"), derive("main", b"a"));
        assert_ne!(derive("main", b"a"), derive("main", b"b"));
        assert_ne!(derive("main", b"a"), derive("no", b"a"));
        let missing = keys.derive("gone", b"").err().unwrap();
        assert_eq!(missing, KeyError::Missing { name: "gone".into() });
    }

    #[test]
    fn parts_cannot_be_shifted() {
        assert_ne!(info(&[b"ab", b"c"]), info(&[b"a", b"bc"]));
        assert_ne!(info(&[b"a", b""]), info(&[b"", b"a"]));
        assert_ne!(info(&[b"a"]), info(&[b"a", b""]));
    }
}
