//! Tokens: a keyed, one-way, self-describing name for a value.
//!
//! `tk1_<dom4>_<epoch>_<body>`, the body being 32 digits of base32hex, lower case, that hold 20
//! bytes: HMAC-SHA-256 over the normalized value, truncated to 128 bits, and a check of 32 bits,
//! the start of what AES-256 makes of those 128 bits under a key of domain, scope and epoch.
//! `dom4` is a public digest of tenant and domain.
//!
//! The check is why a token that enters again can be told from a text that only looks like one:
//! without it, anybody could pass 16 bytes a field through a tokenized field in clear. Tokens of
//! any epoch are known again, those of another scope are not: they are tokenized like any other
//! value, as otherwise two recipients could join on them.
//!
//! Must never make a token without a key, and never keep a text because of its shape.

use std::{collections::HashMap, sync::Arc};

use ring::{
    aead::quic::{AES_256, HeaderProtectionKey},
    digest, hmac,
};
use sluicegate_policies::{Normalizer, TokenUse};

use super::normalize;
use crate::keys::{self, KeyError, Keyring};

/// `tk1_`, four digits, an epoch of ten digits, 32 digits, two underscores.
pub const TOKEN_BYTES_MAX: usize = 4 + 4 + 1 + 10 + 1 + BODY_DIGITS;
const PREFIX: &[u8] = b"tk1_";
const MAC_BYTES: usize = 16;
const CHECK_BYTES: usize = 4;
const BODY_DIGITS: usize = (MAC_BYTES + CHECK_BYTES) * 8 / 5;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
const TOKEN_ALGORITHM: &[u8] = b"tk1 hmac-sha256-128";
const CHECK_ALGORITHM: &[u8] = b"tk1 check aes256-32";
const DOMAIN_ALGORITHM: &[u8] = b"tk1 domain sha256-20";

/// A token and the entry of the plan that made it. It stands for a person: no `Debug`.
#[derive(Clone, Copy)]
pub struct Token {
    text: [u8; TOKEN_BYTES_MAX],
    len: u8,
    field: u32,
    recognized: bool,
}

impl Token {
    pub fn as_str(&self) -> &str {
        // INVARIANT: a token is ASCII, so that this is never the empty text.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The place in the plan's `fields`.
    pub fn field(&self) -> usize {
        self.field as usize
    }

    /// It came in as a token.
    pub fn recognized(&self) -> bool {
        self.recognized
    }

    fn new(field: usize, recognized: bool) -> Self {
        let field = u32::try_from(field).unwrap_or(u32::MAX);
        Self { text: [0; TOKEN_BYTES_MAX], len: 0, field, recognized }
    }

    fn push(&mut self, bytes: &[u8]) {
        let start = usize::from(self.len);
        let end = start + bytes.len();
        if let Some(room) = self.text.get_mut(start..end) {
            room.copy_from_slice(bytes);
            self.len = end as u8;
        }
    }
}

/// Makes the tokens of one [`TokenUse`].
pub struct Tokenizer {
    mac: hmac::Key,
    check: Check,
    /// What the checks of every epoch come from, one for each master key of the keyring, that of
    /// this use first: a domain may have had another master in an earlier epoch.
    check_roots: Box<[hmac::Key]>,
    normalizer: Normalizer,
    epoch: u32,
    dom4: [u8; 4],
    /// `tk1_<dom4>_<epoch>_`.
    head: Box<[u8]>,
}

/// The tokenizer of one use, for whoever has a value and no plan (a search by lineage).
pub fn tokenizer(
    token_use: &TokenUse,
    tenant: &str,
    keys: &dyn Keyring,
) -> Result<Tokenizer, KeyError> {
    Tokenizer::new(token_use, tenant, keys)
}

impl Tokenizer {
    fn new(token_use: &TokenUse, tenant: &str, keys: &dyn Keyring) -> Result<Self, KeyError> {
        let TokenUse { domain, scope, epoch, normalizer, key } = token_use;
        let (tenant, domain, scope) = (tenant.as_bytes(), domain.as_bytes(), scope.as_bytes());
        let mac = keys.derive(
            key,
            &keys::info(&[
                tenant,
                domain,
                scope,
                &epoch.to_be_bytes(),
                normalize::name(*normalizer).as_bytes(),
                TOKEN_ALGORITHM,
            ]),
        )?;
        let check_info = keys::info(&[tenant, domain, scope, CHECK_ALGORITHM]);
        let others = keys.ids().into_iter().filter(|id| **id != **key);
        let check_root = |id: &str| {
            let root = keys.derive(id, &check_info)?;
            Ok(hmac::Key::new(hmac::HMAC_SHA256, root.bytes()))
        };
        let own = check_root(key)?;
        let check =
            Check::new(&own, *epoch).ok_or_else(|| KeyError::Derive { name: key.to_string() })?;
        let check_roots = std::iter::once(Ok(own))
            .chain(others.map(|id| check_root(&id)))
            .collect::<Result<_, KeyError>>()?;
        let dom4 = dom4(tenant, domain);
        let mut head = PREFIX.to_vec();
        head.extend_from_slice(&dom4);
        head.extend_from_slice(format!("_{epoch}_").as_bytes());
        Ok(Self {
            mac: hmac::Key::new(hmac::HMAC_SHA256, mac.bytes()),
            check,
            check_roots,
            normalizer: *normalizer,
            epoch: *epoch,
            dom4,
            head: head.into(),
        })
    }

    /// The token of a value, or the value if it is a token of this domain and scope already.
    /// `None`: the value does not fit the normalizer.
    pub fn token(&self, text: &str, field: usize, scratch: &mut String) -> Option<Token> {
        if self.recognises(text) {
            let mut token = Token::new(field, true);
            token.push(text.as_bytes());
            return Some(token);
        }
        let normal = normalize::normalize(self.normalizer, text, scratch)?;
        let tag = hmac::sign(&self.mac, normal.as_bytes());
        let mac = tag.as_ref().first_chunk::<MAC_BYTES>()?;
        let check = self.check.of(mac)?;
        let mut token = Token::new(field, false);
        token.push(&self.head);
        token.push(&encode(mac, check));
        Some(token)
    }

    fn recognises(&self, text: &str) -> bool {
        let Some((dom4, epoch, mac, found)) = parse(text) else { return false };
        if dom4 != self.dom4 {
            return false;
        }
        let fits = |check: &Check| check.of(&mac).is_some_and(|right| same(right, found));
        (epoch == self.epoch && fits(&self.check))
            || self.check_roots.iter().filter_map(|root| Check::new(root, epoch)).any(|c| fits(&c))
    }
}

/// The keyed check of one epoch: a few nanoseconds a token, where a second HMAC would double its
/// price. `ring` has the bare AES block only under the name that QUIC gives it.
struct Check(HeaderProtectionKey);

impl Check {
    fn new(root: &hmac::Key, epoch: u32) -> Option<Self> {
        let key = hmac::sign(root, &epoch.to_be_bytes());
        HeaderProtectionKey::new(&AES_256, key.as_ref()).ok().map(Self)
    }

    fn of(&self, mac: &[u8; MAC_BYTES]) -> Option<[u8; CHECK_BYTES]> {
        let [check @ .., _] = self.0.new_mask(mac).ok()?;
        Some(check)
    }
}

/// The difference of 32 bits in one word: nothing to time.
fn same(a: [u8; CHECK_BYTES], b: [u8; CHECK_BYTES]) -> bool {
    u32::from_ne_bytes(a) ^ u32::from_ne_bytes(b) == 0
}

/// One tokenizer a use, shared by the entries of a plan.
pub(crate) struct Tokenizers<'k> {
    tenant: &'k str,
    keys: &'k dyn Keyring,
    made: HashMap<TokenUse, Arc<Tokenizer>>,
}

impl<'k> Tokenizers<'k> {
    pub(crate) fn new(tenant: &'k str, keys: &'k dyn Keyring) -> Self {
        Self { tenant, keys, made: HashMap::new() }
    }

    pub(crate) fn get(&mut self, token_use: &TokenUse) -> Result<Arc<Tokenizer>, KeyError> {
        if let Some(made) = self.made.get(token_use) {
            return Ok(made.clone());
        }
        let new = Arc::new(Tokenizer::new(token_use, self.tenant, self.keys)?);
        self.made.insert(token_use.clone(), new.clone());
        Ok(new)
    }
}

fn dom4(tenant: &[u8], domain: &[u8]) -> [u8; 4] {
    let digest = digest::digest(&digest::SHA256, &keys::info(&[tenant, domain, DOMAIN_ALGORITHM]));
    let first = digest.as_ref().first_chunk::<4>().copied().unwrap_or_default();
    let bits = u32::from_be_bytes(first);
    [27, 22, 17, 12].map(|shift| digit(u64::from(bits >> shift)))
}

fn digit(bits: u64) -> u8 {
    ALPHABET.get((bits & 31) as usize).copied().unwrap_or_default()
}

/// Five bytes are eight digits.
fn encode(mac: &[u8; MAC_BYTES], check: [u8; CHECK_BYTES]) -> [u8; BODY_DIGITS] {
    let mut bytes = [0; MAC_BYTES + CHECK_BYTES];
    let (head, tail) = bytes.split_at_mut(MAC_BYTES);
    head.copy_from_slice(mac);
    tail.copy_from_slice(&check);
    let mut body = [0; BODY_DIGITS];
    for (five, eight) in bytes.as_chunks::<5>().0.iter().zip(body.as_chunks_mut::<8>().0) {
        let bits = five.iter().fold(0, |bits, byte| (bits << 8) | u64::from(*byte));
        *eight = [35, 30, 25, 20, 15, 10, 5, 0].map(|shift| digit(bits >> shift));
    }
    body
}

type Parsed = ([u8; 4], u32, [u8; MAC_BYTES], [u8; CHECK_BYTES]);

/// Exactly the grammar: every token has one spelling.
fn parse(text: &str) -> Option<Parsed> {
    let rest = text.as_bytes().strip_prefix(PREFIX)?;
    let (dom4, rest) = rest.split_first_chunk::<4>()?;
    let (rest, body) = rest.strip_prefix(b"_")?.split_last_chunk::<BODY_DIGITS>()?;
    let epoch = std::str::from_utf8(rest.strip_suffix(b"_")?).ok()?;
    let number: u32 = epoch.parse().ok()?;
    let canonical = !epoch.starts_with('+') && (epoch == "0" || !epoch.starts_with('0'));
    if !canonical {
        return None;
    }
    let mut bytes = [0; MAC_BYTES + CHECK_BYTES];
    for (eight, five) in body.as_chunks::<8>().0.iter().zip(bytes.as_chunks_mut::<5>().0) {
        let bits = eight.iter().try_fold(0u64, |bits, b| Some((bits << 5) | value_of(*b)?))?;
        let [_, _, _, five_bytes @ ..] = bits.to_be_bytes();
        *five = five_bytes;
    }
    let (mac, check) = bytes.split_first_chunk::<MAC_BYTES>()?;
    Some((*dom4, number, *mac, *check.first_chunk()?))
}

fn value_of(byte: u8) -> Option<u64> {
    match byte {
        b'0'..=b'9' => Some(u64::from(byte - b'0')),
        b'a'..=b'v' => Some(u64::from(byte - b'a') + 10),
        _ => None,
    }
}
