//! Contributions and partial totals rest sealed, in pipelines and in the ledger's store: whoever
//! may read a topic or a database sees nothing of them without the keyring.
//!
//! AES-256-GCM (NIST SP 800-38D) with a random nonce of 96 bits and a key for each release and
//! UTC day of sealing, which keeps the number of nonces of one key far below 2^32. Layout:
//! version 1, day (u32 BE, days since 1970-01-01), nonce (12), ciphertext and tag (16).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf,
    rand::SecureRandom,
};
use sluicegate_protect::keys::{KeyError, Keyring, info};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const HEAD: usize = 1 + 4;
const DAY_MS: i64 = 86_400_000;
/// Keys of days that are kept derived.
const DAYS: usize = 64;

/// Why something could not be sealed or opened. Nothing of the content is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("the operating system's random source failed")]
    Random,
    #[error("it was not sealed by this release under this keyring, or was changed")]
    Foreign,
}

/// Seals and opens for one release. No `Debug`: it holds keys.
pub struct Seal {
    root: hkdf::Prk,
    random: Arc<dyn SecureRandom + Send + Sync>,
    days: Mutex<BTreeMap<u32, Arc<LessSafeKey>>>,
}

impl Seal {
    /// `master` names a key of the keyring; `tenant` and `release` keep releases apart.
    pub fn new(
        keyring: &dyn Keyring,
        master: &str,
        tenant: &str,
        release: &str,
        random: Arc<dyn SecureRandom + Send + Sync>,
    ) -> Result<Self, KeyError> {
        let parts = info(&[tenant.as_bytes(), b"release seal", release.as_bytes()]);
        let secret = keyring.derive(master, &parts)?;
        let root = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, secret.bytes());
        Ok(Self { root, random, days: Mutex::default() })
    }

    /// `about` is authenticated, not hidden: it says what is sealed, so that one thing cannot be
    /// passed off as another.
    pub fn seal(&self, now_ms: i64, about: &[u8], content: &[u8]) -> Result<Vec<u8>, SealError> {
        let day = u32::try_from(now_ms.div_euclid(DAY_MS)).unwrap_or(0);
        let key = self.key(day).ok_or(SealError::Random)?;
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| SealError::Random)?;
        let mut sealed = Vec::with_capacity(HEAD + NONCE_LEN + content.len() + 16);
        sealed.push(VERSION);
        sealed.extend_from_slice(&day.to_be_bytes());
        sealed.extend_from_slice(&nonce);
        let mut body = content.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::from(about), &mut body)
            .map_err(|_| SealError::Random)?;
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    pub fn open(&self, about: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let foreign = SealError::Foreign;
        let (&[version, d0, d1, d2, d3], rest) =
            sealed.split_first_chunk::<HEAD>().ok_or(foreign)?;
        if version != VERSION {
            return Err(foreign);
        }
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(foreign)?;
        let key = self.key(u32::from_be_bytes([d0, d1, d2, d3])).ok_or(foreign)?;
        let mut body = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened =
            key.open_in_place(nonce, Aad::from(about), &mut body).map_err(|_| foreign)?.len();
        body.truncate(opened);
        Ok(body)
    }

    fn key(&self, day: u32) -> Option<Arc<LessSafeKey>> {
        let mut days = self.days.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(key) = days.get(&day) {
            return Some(key.clone());
        }
        let mut bytes = Zeroizing::new([0; 32]);
        let day_bytes = day.to_be_bytes();
        let label: [&[u8]; 2] = [b"day", &day_bytes];
        self.root.expand(&label, hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut *bytes)).ok()?;
        let key = Arc::new(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*bytes).ok()?));
        if days.len() >= DAYS {
            days.pop_first();
        }
        days.insert(day, key.clone());
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use sluicegate_protect::keys::{Master, Masters};

    use super::*;

    fn seal(release: &str) -> Seal {
        let ring: Masters = [("k".to_owned(), Master::new(&[0; 32]))].into_iter().collect();
        let random = Arc::new(ring::rand::SystemRandom::new());
        Seal::new(&ring, "k", "t", release, random).unwrap()
    }

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let (ours, other) = (seal("a"), seal("b"));
        let sealed = ours.seal(86_400_000 * 20_000, b"x", b"content").unwrap();
        assert_eq!(ours.open(b"x", &sealed).unwrap(), b"content");
        assert_eq!(ours.open(b"y", &sealed), Err(SealError::Foreign));
        assert_eq!(other.open(b"x", &sealed), Err(SealError::Foreign));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(ours.open(b"x", &changed), Err(SealError::Foreign), "byte {at}");
            assert_eq!(ours.open(b"x", &sealed[..at]), Err(SealError::Foreign));
        }
        assert!(!sealed.windows(7).any(|w| w == b"content"));
    }

    #[test]
    fn the_same_content_never_looks_the_same() {
        let ours = seal("a");
        assert_ne!(ours.seal(0, b"", b"c").unwrap(), ours.seal(0, b"", b"c").unwrap());
    }
}
