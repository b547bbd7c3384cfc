//! Keyed digests: what the ledger may hold of a token, a declared source, an address or a
//! question. Without the key they are noise; with it they can be searched for.

use std::net::IpAddr;

use sluicegate_protect::keys::{Keyring, info};
use zeroize::Zeroizing;

use super::OpenError;
use crate::{config::Config, decide::read_keyring, keys};

/// The name of the search key in the keyring.
pub const SEARCH_KEY: &str = "ledger-search";

/// Makes keyed digests (BLAKE3 in keyed mode). No `Debug`: it holds the key.
#[derive(Clone)]
pub struct Digests {
    key: Zeroizing<[u8; 32]>,
}

impl Digests {
    /// The key of a configuration's keyring and tenant.
    pub fn of(config: &Config) -> Result<Self, OpenError> {
        let keyring = keys::parse(&read_keyring(&config.keys.file)?)?;
        let parts = info(&[config.tenant.as_bytes(), b"ledger search digests"]);
        let secret = keyring.derive(SEARCH_KEY, &parts).map_err(keys::KeyringError::from)?;
        Ok(Self { key: Zeroizing::new(*secret.bytes()) })
    }

    fn digest(&self, what: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&info(&[what]));
        hasher.update(&info(parts));
        *hasher.finalize().as_bytes()
    }

    fn short(&self, what: &[u8], parts: &[&[u8]]) -> [u8; 16] {
        let mut short = [0; 16];
        short.iter_mut().zip(self.digest(what, parts)).for_each(|(to, from)| *to = from);
        short
    }

    pub fn token(&self, token: &str) -> [u8; 16] {
        self.short(b"token", &[token.as_bytes()])
    }

    pub fn source(&self, name: &str, value: &str) -> [u8; 16] {
        self.short(b"source", &[name.as_bytes(), value.as_bytes()])
    }

    pub fn address(&self, address: IpAddr) -> [u8; 16] {
        self.short(b"address", &[address.to_string().as_bytes()])
    }

    pub fn name(&self, name: &str) -> [u8; 16] {
        self.short(b"name", &[name.as_bytes()])
    }

    pub fn question(&self, words: &str) -> [u8; 16] {
        self.short(b"question", &[words.as_bytes()])
    }

    pub fn claim(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.digest(b"idempotency key", parts)
    }

    pub fn fingerprint(&self, body: &[&[u8]]) -> [u8; 32] {
        self.digest(b"request fingerprint", body)
    }
}
