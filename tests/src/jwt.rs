//! An identity provider of our own: signing keys, the key set a gateway reads, and tokens, good and bad.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};

use crate::ca::replace;

/// One signing key, known to others by its `kid`.
pub struct SigningKey {
    kid: String,
    pair: Pair,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(Box<EcdsaKeyPair>),
}

impl SigningKey {
    pub fn ed25519(kid: &str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        Self { kid: kid.into(), pair: Pair::Ed25519(pair) }
    }

    pub fn es256(kid: &str) -> Self {
        let (random, kind) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).unwrap();
        Self { kid: kid.into(), pair: Pair::P256(Box::new(pair)) }
    }

    fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Ed25519(_) => "EdDSA",
            Pair::P256(_) => "ES256",
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.pair {
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::P256(pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
        }
    }

    /// The public half, as RFC 7517 writes it.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key()) })
            }
            Pair::P256(pair) => {
                // An uncompressed point: 0x04, then x and y of 32 bytes each.
                let point = pair.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..65]) })
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk["alg"] = json!(self.algorithm());
        jwk["use"] = json!("sig");
        jwk
    }

    /// A signed token with exactly these claims.
    pub fn token(&self, claims: &Value) -> String {
        let header = json!({ "typ": "JWT", "alg": self.algorithm(), "kid": self.kid });
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = encode(self.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

/// Writes `jwks.json` into a folder; again with other keys: a rotation.
pub fn write_jwks(dir: &Path, keys: &[&SigningKey]) -> PathBuf {
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
    let path = dir.join("jwks.json");
    replace(&path, &json!({ "keys": keys }).to_string());
    path
}

/// What a token says, before one thing about it is spoiled.
#[derive(Clone, Debug)]
pub struct Claims {
    pub issuer: String,
    pub audience: String,
    pub subject: String,
    /// Seconds from now until it expires; negative for one that has.
    pub expires_in_s: i64,
    /// Seconds from now until it begins to hold.
    pub begins_in_s: i64,
}

impl Claims {
    /// Good for five minutes.
    pub fn new(issuer: &str, audience: &str, subject: &str) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            subject: subject.into(),
            expires_in_s: 300,
            begins_in_s: -5,
        }
    }

    pub fn expired(self) -> Self {
        Self { expires_in_s: -3600, begins_in_s: -7200, ..self }
    }

    pub fn not_yet(self) -> Self {
        Self { begins_in_s: 3600, expires_in_s: 7200, ..self }
    }

    pub fn for_audience(self, audience: &str) -> Self {
        Self { audience: audience.into(), ..self }
    }

    pub fn from_issuer(self, issuer: &str) -> Self {
        Self { issuer: issuer.into(), ..self }
    }

    pub fn json(&self) -> Value {
        let now = i64::try_from(since_epoch().as_secs()).unwrap();
        json!({
            "iss": self.issuer, "aud": self.audience, "sub": self.subject,
            "iat": now, "nbf": now + self.begins_in_s, "exp": now + self.expires_in_s,
        })
    }
}

/// RFC 7518's `none`: no signature at all. Must never be believed.
pub fn unsigned(claims: &Claims) -> String {
    let header = json!({ "typ": "JWT", "alg": "none" });
    format!("{}.{}.", encode(header.to_string()), encode(claims.json().to_string()))
}

/// The same token with one bit of its signature turned over.
pub fn tampered(token: &str) -> String {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    signature[10] ^= 1;
    format!("{message}.{}", encode(signature))
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
