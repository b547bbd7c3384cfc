//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, 7677), the server's side: [`First::parse`] tells who wants in,
//! [`First::challenge`] asks, [`Challenged::verify`] decides. What it decides on is [`Keys`], from which no password
//! can be computed and with which nobody can log in.

use std::num::NonZeroU32;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{digest, hmac, pbkdf2};
use zeroize::Zeroize;

use super::{Invalid, gs2, prepared, same, unescape};

/// The fewest iterations of a credential: RFC 7677 and Kafka's clients want as many.
pub const ITERATIONS_MIN: u32 = 4_096;
/// The most: librdkafka does no more, and it is about a second.
pub const ITERATIONS_MAX: u32 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    Sha256,
    Sha512,
}

impl Mechanism {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    pub(super) fn hmac(self, key: &[u8], message: &[u8]) -> hmac::Tag {
        let algorithm = match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), message)
    }

    pub(super) fn hash(self, message: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, message)
    }

    /// Of a key, in bytes.
    pub const fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// What all keys come from, and what a login costs.
    pub(super) fn salted(self, password: &str, salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        let mut salted = vec![0; self.length()];
        pbkdf2::derive(algorithm, iterations, salt, password.as_bytes(), &mut salted);
        salted
    }
}

/// What the server keeps of a password.
#[derive(Clone)]
pub struct Keys {
    pub mechanism: Mechanism,
    pub salt: Vec<u8>,
    pub iterations: NonZeroU32,
    pub stored: Vec<u8>,
    pub server: Vec<u8>,
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.stored.zeroize();
        self.server.zeroize();
    }
}

/// A password that preparation would change, so that not every client could send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SASLprep (RFC 4013) would change or forbid this password; choose another one")]
pub struct Unprepared;

impl Keys {
    pub fn derive(
        mechanism: Mechanism,
        password: &str,
        salt: &[u8],
        iterations: NonZeroU32,
    ) -> Result<Self, Unprepared> {
        if !prepared(password) {
            return Err(Unprepared);
        }
        Ok(Self::compute(mechanism, password, salt, iterations))
    }

    fn compute(mechanism: Mechanism, password: &str, salt: &[u8], iterations: NonZeroU32) -> Self {
        let mut salted = mechanism.salted(password, salt, iterations);
        let client = mechanism.hmac(&salted, b"Client Key");
        let stored = mechanism.hash(client.as_ref()).as_ref().to_vec();
        let server = mechanism.hmac(&salted, b"Server Key").as_ref().to_vec();
        salted.zeroize();
        Self { mechanism, salt: salt.to_vec(), iterations, stored, server }
    }

    /// For a name that nobody has: the same salt each time, and keys that no password gives. A stranger cannot tell
    /// such a name from one that somebody has, if `salt_length` and `iterations` are the usual ones.
    pub fn of_nobody(
        mechanism: Mechanism,
        secret: &[u8],
        name: &str,
        salt_length: usize,
        iterations: NonZeroU32,
    ) -> Self {
        let derive = |label: &str| mechanism.hmac(secret, format!("{label}\0{name}").as_bytes());
        let mut salt = derive("salt").as_ref().to_vec();
        salt.truncate(salt_length);
        let (stored, server) = (derive("stored"), derive("server"));
        let (stored, server) = (stored.as_ref().to_vec(), server.as_ref().to_vec());
        Self { mechanism, salt, iterations, stored, server }
    }

    /// Whether a password in clear (of PLAIN) is the one. It costs what making the keys cost, also for nobody's.
    pub fn accept(&self, password: &str) -> bool {
        let Self { mechanism, salt, iterations, stored, .. } = self;
        same(&Self::compute(*mechanism, password, salt, *iterations).stored, stored)
    }
}

/// A client's first message.
pub struct First {
    name: String,
    nonce: String,
    header: String,
    bare: String,
}

fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b',')
}

impl First {
    pub fn parse(message: &[u8]) -> Result<Self, Invalid> {
        let message = str::from_utf8(message).map_err(|_| Invalid)?;
        let header = gs2(message)?;
        let mut attributes = header.rest.split(',');
        // An extension before the name is one that we would have to know.
        let name = attributes.next().and_then(|a| a.strip_prefix("n=")).ok_or(Invalid)?;
        let name = unescape(name)?;
        let nonce = attributes.next().and_then(|a| a.strip_prefix("r=")).ok_or(Invalid)?;
        if !is_nonce(nonce) || header.authorization.is_some_and(|other| other != name) {
            return Err(Invalid);
        }
        let (nonce, bare) = (nonce.to_owned(), header.rest.to_owned());
        Ok(Self { name, nonce, header: header.header.to_owned(), bare })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is asked of the client: `nonce` is ours, printable without a comma, and new each time.
    pub fn challenge(self, keys: Keys, nonce: &str) -> (String, Challenged) {
        let nonce = format!("{}{nonce}", self.nonce);
        let salt = STANDARD.encode(&keys.salt);
        let challenge = format!("r={nonce},s={salt},i={}", keys.iterations);
        let said = format!("{},{challenge},", self.bare);
        let header = STANDARD.encode(self.header);
        (challenge, Challenged { keys, nonce, header, said })
    }
}

/// A login that waits for its proof.
pub struct Challenged {
    keys: Keys,
    nonce: String,
    header: String,
    /// Of what is signed, all that has been said so far.
    said: String,
}

/// How the nonce of a client's last message is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonces {
    /// It is the one that was asked with.
    Exact,
    /// It ends with it: librdkafka before 2.6.1 says its own twice. The proof covers it in any case.
    Suffix,
}

/// The client did not prove that it knows the password, or did not speak SCRAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("authentication failed")]
pub struct Failed;

impl Challenged {
    /// The answer to a proof that holds. Whatever does not hold is the same to the client.
    pub fn verify(self, message: &[u8], nonces: Nonces) -> Result<String, Failed> {
        let message = str::from_utf8(message).map_err(|_| Failed)?;
        let (signed, proof) = message.rsplit_once(",p=").ok_or(Failed)?;
        let mut attributes = signed.split(',');
        let header = attributes.next().and_then(|a| a.strip_prefix("c="));
        let nonce = attributes.next().and_then(|a| a.strip_prefix("r=")).ok_or(Failed)?;
        let same_nonce = match nonces {
            Nonces::Exact => nonce == self.nonce,
            Nonces::Suffix => nonce.ends_with(&self.nonce),
        };
        if header != Some(self.header.as_str()) || !same_nonce {
            return Err(Failed);
        }
        let mechanism = self.keys.mechanism;
        let mut key = STANDARD.decode(proof).map_err(|_| Failed)?;
        let said = self.said + signed;
        let signature = mechanism.hmac(&self.keys.stored, said.as_bytes());
        if key.len() != signature.as_ref().len() {
            return Err(Failed);
        }
        for (key, signature) in key.iter_mut().zip(signature.as_ref()) {
            *key ^= signature;
        }
        let proven = same(mechanism.hash(&key).as_ref(), &self.keys.stored);
        key.zeroize();
        if !proven {
            return Err(Failed);
        }
        let answer = mechanism.hmac(&self.keys.server, said.as_bytes());
        Ok(format!("v={}", STANDARD.encode(answer)))
    }
}
