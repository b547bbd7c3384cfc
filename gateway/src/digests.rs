//! Keyed digests: what the ledger may hold of a token, a declared source, an address or a
//! question. Without the key they are noise; with it they can be searched for.
//!
//! The keyring's search keys are `ledger-search`, `ledger-search-2` and so on. The newest one
//! writes, in a segment of the ledger that begins with it; all of them are asked, since what the
//! ledger keeps was written under any of them.

use std::{net::IpAddr, sync::Arc};

use sluicegate_audit as audit;
use sluicegate_protect::keys::{KeyError, Keyring, info};
use zeroize::Zeroizing;

/// The name of the first search key in the keyring.
pub const SEARCH_KEY: &str = "ledger-search";

/// Makes keyed digests (BLAKE3 in keyed mode). No `Debug`: it holds the keys.
#[derive(Clone)]
pub struct Digests {
    newest: Arc<SearchKey>,
    /// Newest first.
    older: Arc<[SearchKey]>,
}

struct SearchKey {
    id: audit::SearchKey,
    key: Zeroizing<[u8; 32]>,
}

/// Why the search keys of a keyring are not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchKeyError {
    #[error(
        "the search key `{name}` of the keyring is not the one that segment {segment} of the ledger \
         was written with\n  help: restore it, and add the new key under the next name, such as \
         `{SEARCH_KEY}-2`"
    )]
    Changed { name: String, segment: u32 },
    #[error(
        "the keyring has no search key `{name}`, and segment {segment} of the ledger was written \
         with it\n  help: restore it; it can go when the ledger no longer keeps the segment"
    )]
    Missing { name: String, segment: u32 },
}

/// 1 for the first key's name, N for `ledger-search-N`.
fn number(name: &str) -> Option<u32> {
    let rest = name.strip_prefix(SEARCH_KEY)?;
    if rest.is_empty() {
        return Some(1);
    }
    let digits = rest.strip_prefix('-')?;
    let number: u32 = digits.parse().ok()?;
    // One spelling of each number.
    (number >= 2 && number.to_string() == digits).then_some(number)
}

impl Digests {
    /// The search keys of a tenant's keyring.
    pub fn of(keyring: &dyn Keyring, tenant: &str) -> Result<Self, KeyError> {
        let mut named: Vec<(u32, String)> =
            keyring.ids().into_iter().filter_map(|name| Some((number(&name)?, name))).collect();
        named.sort_unstable_by(|a, b| b.cmp(a));
        let about = info(&[tenant.as_bytes(), b"ledger search digests"]);
        let key = |name: String| {
            let key = Zeroizing::new(*keyring.derive(&name, &about)?.bytes());
            let check = short(&key, b"check", &[]);
            Ok::<_, KeyError>(SearchKey { id: audit::SearchKey { name, check }, key })
        };
        let mut names = named.into_iter().map(|(_, name)| name);
        let newest = key(names.next().unwrap_or_else(|| SEARCH_KEY.to_owned()))?;
        let older = names.map(key).collect::<Result<_, _>>()?;
        Ok(Self { newest: Arc::new(newest), older })
    }

    fn all(&self) -> impl Iterator<Item = &SearchKey> {
        std::iter::once(&*self.newest).chain(&*self.older)
    }

    /// The key that writes, as the ledger knows it.
    pub fn search_key(&self) -> &audit::SearchKey {
        &self.newest.id
    }

    /// Whether these keys can search all of what the ledger keeps.
    pub fn fit(&self, kept: &[(u32, audit::SearchKey)]) -> Result<(), SearchKeyError> {
        // What another program wrote beside the gateway is not searched by it.
        for (segment, key) in kept.iter().filter(|(_, key)| number(&key.name).is_some()) {
            let (name, segment) = (key.name.clone(), *segment);
            match self.all().find(|ours| ours.id.name == name) {
                None => return Err(SearchKeyError::Missing { name, segment }),
                Some(ours) if ours.id != *key => {
                    return Err(SearchKeyError::Changed { name, segment });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    pub fn token(&self, token: &str) -> [u8; 16] {
        self.newest.token(token)
    }

    /// The token's digest under each search key.
    pub fn tokens(&self, token: &str) -> Vec<[u8; 16]> {
        self.all().map(|key| key.token(token)).collect()
    }

    pub fn source(&self, name: &str, value: &str) -> [u8; 16] {
        self.newest.source(name, value)
    }

    /// The source's digest under each search key.
    pub fn sources(&self, name: &str, value: &str) -> Vec<[u8; 16]> {
        self.all().map(|key| key.source(name, value)).collect()
    }

    pub fn address(&self, address: IpAddr) -> [u8; 16] {
        short(&self.newest.key, b"address", &[address.to_string().as_bytes()])
    }

    pub fn name(&self, name: &str) -> [u8; 16] {
        short(&self.newest.key, b"name", &[name.as_bytes()])
    }

    /// What stands for a key that must not be seen.
    pub fn stub(&self, topic: &str, key: &[u8]) -> [u8; 16] {
        short(&self.newest.key, b"stub", &[topic.as_bytes(), key])
    }

    pub fn question(&self, words: &str) -> [u8; 16] {
        short(&self.newest.key, b"question", &[words.as_bytes()])
    }

    /// Digests of an idempotency key and of its request's fingerprint, newest search key first: a
    /// key that was taken before a rotation is found again.
    pub fn claims(&self, key: &[&[u8]], body: &[&[u8]]) -> Vec<([u8; 32], [u8; 32])> {
        let both = |of: &SearchKey| {
            (
                digest(&of.key, b"idempotency key", key),
                digest(&of.key, b"request fingerprint", body),
            )
        };
        self.all().map(both).collect()
    }
}

impl SearchKey {
    fn token(&self, token: &str) -> [u8; 16] {
        short(&self.key, b"token", &[token.as_bytes()])
    }

    fn source(&self, name: &str, value: &str) -> [u8; 16] {
        short(&self.key, b"source", &[name.as_bytes(), value.as_bytes()])
    }
}

fn digest(key: &[u8; 32], what: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    // As `info` joins parts: each behind its length.
    for part in [what].iter().chain(parts) {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

fn short(key: &[u8; 32], what: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let mut short = [0; 16];
    short.iter_mut().zip(digest(key, what, parts)).for_each(|(to, from)| *to = from);
    short
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;
    use sluicegate_protect::keys::Masters;

    use crate::keys;

    fn keyring(names: &[&str]) -> Masters {
        let text = keys::generate(names.iter().copied(), &SystemRandom::new()).unwrap();
        keys::parse(&text).unwrap()
    }

    #[test]
    fn the_newest_key_writes_and_all_are_asked() {
        let names = [
            "ledger-search-10",
            "ledger-search",
            "ledger-search-2",
            "ledger-search-02",
            "ledger-search-1",
            "ledger-searched",
            "ledger-search-x",
            "k",
        ];
        let digests = Digests::of(&keyring(&names), "t").unwrap();
        let used: Vec<_> = digests.all().map(|key| key.id.name.clone()).collect();
        assert_eq!(used, ["ledger-search-10", "ledger-search-2", "ledger-search"]);
        let (tokens, sources) = (digests.tokens("a"), digests.sources("a", "b"));
        assert_eq!((tokens.len(), tokens[0]), (3, digests.token("a")));
        assert_eq!((sources.len(), sources[0]), (3, digests.source("a", "b")));
        assert_eq!(digests.claims(&[b"k"], &[b"b"]).len(), 3);
        assert!(Digests::of(&keyring(&["k"]), "t").is_err());
    }

    #[test]
    fn keys_that_the_ledger_needs_stay_as_they_are() {
        let (one, other) = (keyring(&["ledger-search"]), keyring(&["ledger-search"]));
        let [one, other] = [&one, &other].map(|keyring| Digests::of(keyring, "t").unwrap());
        let kept = |of: &Digests, segment| vec![(segment, of.search_key().clone())];
        assert_eq!(one.fit(&kept(&one, 1)), Ok(()));
        let name = SEARCH_KEY.to_owned();
        assert_eq!(other.fit(&kept(&one, 3)), Err(SearchKeyError::Changed { name, segment: 3 }));
        let newer = Digests::of(&keyring(&["ledger-search-2"]), "t").unwrap();
        let name = SEARCH_KEY.to_owned();
        assert_eq!(newer.fit(&kept(&one, 4)), Err(SearchKeyError::Missing { name, segment: 4 }));
    }
}
