//! The client's side of PLAIN and SCRAM, for the gateway's own connections to brokers. What a broker says is judged
//! like what any stranger says: it decides neither how long we compute, nor whether it is who it should be.

use std::num::NonZeroU32;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroize;

use super::{
    same,
    scram::{ITERATIONS_MAX, ITERATIONS_MIN, Mechanism},
};

/// Why there is no login. What the broker said is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    #[error("the broker's SASL message does not follow its mechanism")]
    Malformed,
    #[error("the broker's nonce does not begin with ours")]
    Nonce,
    #[error(
        "the broker asks for fewer than {ITERATIONS_MIN} or more than {ITERATIONS_MAX} iterations"
    )]
    Iterations,
    #[error("the broker refused the proof")]
    Refused,
    #[error("the broker did not prove that it knows the password's keys")]
    Unproven,
}

/// The only message of PLAIN.
pub fn plain(user: &str, password: &str) -> Vec<u8> {
    [b"\0", user.as_bytes(), b"\0", password.as_bytes()].concat()
}

/// A login by SCRAM.
pub struct Scram {
    mechanism: Mechanism,
    bare: String,
    nonce: String,
    /// The server's signature, base64, once we have said our proof.
    expected: Option<String>,
}

impl Scram {
    /// With the first message. The nonce is printable without a comma, and new each time.
    pub fn new(mechanism: Mechanism, user: &str, nonce: &str) -> (Vec<u8>, Self) {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={user},r={nonce}");
        let first = format!("n,,{bare}").into_bytes();
        (first, Self { mechanism, bare, nonce: nonce.to_owned(), expected: None })
    }

    /// The answer to the server's first message. It costs up to a million rounds of a hash.
    pub fn proof(&mut self, server_first: &[u8], password: &str) -> Result<Vec<u8>, Failed> {
        let server = str::from_utf8(server_first).map_err(|_| Failed::Malformed)?;
        let mut attributes = server.split(',');
        let mut next =
            |name| attributes.next().and_then(|a| a.strip_prefix(name)).ok_or(Failed::Malformed);
        let (nonce, salt, iterations) = (next("r=")?, next("s=")?, next("i=")?);
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(Failed::Nonce);
        }
        let salt = STANDARD.decode(salt).map_err(|_| Failed::Malformed)?;
        let iterations: NonZeroU32 = iterations.parse().map_err(|_| Failed::Iterations)?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations.get()) {
            return Err(Failed::Iterations);
        }
        let mechanism = self.mechanism;
        let signed = format!("c=biws,r={nonce}");
        let said = format!("{},{server},{signed}", self.bare);
        let mut salted = mechanism.salted(password, &salt, iterations);
        let mut key = mechanism.hmac(&salted, b"Client Key").as_ref().to_vec();
        let server_key = mechanism.hmac(&salted, b"Server Key");
        salted.zeroize();
        let stored = mechanism.hash(&key);
        let signature = mechanism.hmac(stored.as_ref(), said.as_bytes());
        key.iter_mut().zip(signature.as_ref()).for_each(|(key, signature)| *key ^= signature);
        let expected = mechanism.hmac(server_key.as_ref(), said.as_bytes());
        self.expected = Some(STANDARD.encode(expected));
        Ok(format!("{signed},p={}", STANDARD.encode(key)).into_bytes())
    }

    /// Whether the server's last message shows that it knows the password's keys, too.
    pub fn verify(&self, server_final: &[u8]) -> Result<(), Failed> {
        let server = str::from_utf8(server_final).map_err(|_| Failed::Malformed)?;
        let said = server.split(',').next().unwrap_or_default();
        if said.starts_with("e=") {
            return Err(Failed::Refused);
        }
        let signature = said.strip_prefix("v=").ok_or(Failed::Malformed)?;
        let expected = self.expected.as_ref().ok_or(Failed::Unproven)?;
        match same(signature.as_bytes(), expected.as_bytes()) {
            true => Ok(()),
            false => Err(Failed::Unproven),
        }
    }
}
