//! JSON Web Signatures: a compact token taken apart (RFC 7515), public keys (RFC 7517), and the
//! signature between the two (RFC 7518), by jsonwebtoken over ring.
//!
//! Verification only, and no shared secrets: a gateway that shares a signing key with its callers
//! cannot tell them apart. The algorithms that a key may serve follow from its type and its own
//! `alg`, never from the token alone. Which MUST is kept where is a table in `tokens/tests.rs`.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, crypto::verify};
use serde::{
    Deserialize,
    de::{IntoDeserializer, value::StrDeserializer},
};
use serde_json::Value;

use super::Failure;
use crate::{config::Algorithm, members::Members};

/// RFC 7518 3.3: an RSA key is at least this long.
const RSA_BITS_MIN: usize = 2048;

impl Algorithm {
    const RSA: [Self; 6] =
        [Self::Rs256, Self::Rs384, Self::Rs512, Self::Ps256, Self::Ps384, Self::Ps512];

    fn named(name: &str) -> Option<Self> {
        let name: StrDeserializer<'_, serde::de::value::Error> = name.into_deserializer();
        Self::deserialize(name).ok()
    }

    fn jwt(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Es384 => jsonwebtoken::Algorithm::ES384,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Rs384 => jsonwebtoken::Algorithm::RS384,
            Self::Rs512 => jsonwebtoken::Algorithm::RS512,
            Self::Ps256 => jsonwebtoken::Algorithm::PS256,
            Self::Ps384 => jsonwebtoken::Algorithm::PS384,
            Self::Ps512 => jsonwebtoken::Algorithm::PS512,
        }
    }
}

/// A JSON object in which each name occurs once, as headers, key and claims must.
pub(super) struct Object(BTreeMap<String, Value>);

/// A member is of another type than its specification says.
pub(super) struct WrongType;

impl Object {
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        let members = serde_json::from_slice::<Members<Value, { usize::MAX }>>(json).ok()?;
        Some(Self(members.0.into_iter().collect()))
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A member that must be a text where it is present.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, WrongType> {
        self.get(name).map(|value| value.as_str().ok_or(WrongType)).transpose()
    }

    /// A member that must be a list of texts where it is present.
    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<&str>>, WrongType> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let list = value.as_array().ok_or(WrongType)?;
        list.iter().map(|text| text.as_str().ok_or(WrongType)).collect::<Result<_, _>>().map(Some)
    }
}

/// A compact JWS, taken apart. Nothing in it is believed before [`Key::verifies`].
pub(super) struct Jws<'t> {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
    pub(super) token_type: Option<String>,
    pub(super) claims: Object,
    signed: &'t str,
    signature: &'t str,
}

impl<'t> Jws<'t> {
    pub(super) fn parse(token: &'t str) -> Result<Self, Failure> {
        let malformed = || Failure::TokenMalformed;
        let wrong_type = |_: WrongType| Failure::TokenMalformed;
        let (signed, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
        let (header, claims) = signed.split_once('.').ok_or_else(malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed());
        let header = Object::parse(&decode(header)?).ok_or_else(malformed)?;
        // RFC 7515 4.1.11: who does not understand a critical extension must refuse; we know none.
        if header.get("crit").is_some() {
            return Err(Failure::TokenCritical);
        }
        let owned = |name| header.text(name).map_err(wrong_type).map(|t| t.map(str::to_owned));
        let algorithm = header.text("alg").map_err(wrong_type)?.ok_or_else(malformed)?;
        Ok(Self {
            algorithm: Algorithm::named(algorithm).ok_or(Failure::TokenAlgorithm)?,
            key_id: owned("kid")?,
            token_type: owned("typ")?,
            claims: Object::parse(&decode(claims)?).ok_or_else(malformed)?,
            signed,
            // Decoded where it is verified; here to tell what is malformed from what is wrong.
            signature: decode(signature).map(|_| signature)?,
        })
    }
}

/// A public key that may have signed tokens.
pub(super) struct Key {
    pub(super) id: Option<String>,
    algorithms: Vec<Algorithm>,
    public: DecodingKey,
}

impl Key {
    /// The key of a JWK; `None` for one that is malformed, of a kind we do not know, or not meant
    /// for verification. RFC 7517 5: such a key is ignored, and the others of its set are not.
    pub(super) fn of(jwk: &Object) -> Option<Self> {
        let text = |name| jwk.text(name).ok();
        let bytes = |name| URL_SAFE_NO_PAD.decode(text(name)??).ok();
        if text("use")?.is_some_and(|used| used != "sig") || !may_verify(jwk)? {
            return None;
        }
        let (mut algorithms, public) = match (text("kty")??, text("crv")?) {
            ("RSA", _) => (Algorithm::RSA.to_vec(), rsa(bytes("n")?, bytes("e")?)?),
            ("EC", Some("P-256")) => (vec![Algorithm::Es256], point(bytes("x")?, bytes("y")?, 32)?),
            ("EC", Some("P-384")) => (vec![Algorithm::Es384], point(bytes("x")?, bytes("y")?, 48)?),
            ("OKP", Some("Ed25519")) => {
                let x = bytes("x").filter(|x| x.len() == 32)?;
                (vec![Algorithm::EdDsa], DecodingKey::from_ed_der(&x))
            }
            _ => return None,
        };
        if let Some(name) = text("alg")? {
            let declared = Algorithm::named(name)?;
            algorithms.retain(|algorithm| *algorithm == declared);
        }
        let id = text("kid")?.map(str::to_owned);
        (!algorithms.is_empty()).then_some(Self { id, algorithms, public })
    }

    /// Whether this key may have signed the token, as far as the two say.
    pub(super) fn fits(&self, jws: &Jws<'_>) -> bool {
        (jws.key_id.is_none() || jws.key_id == self.id) && self.algorithms.contains(&jws.algorithm)
    }

    pub(super) fn verifies(&self, jws: &Jws<'_>) -> bool {
        let algorithm = jws.algorithm.jwt();
        verify(jws.signature, jws.signed.as_bytes(), &self.public, algorithm).unwrap_or(false)
    }
}

/// What `key_ops` says (RFC 7517 4.3); `None` if it is not what it must be: texts, each once, and
/// in agreement with `use`.
fn may_verify(jwk: &Object) -> Option<bool> {
    let Some(mut operations) = jwk.texts("key_ops").ok()? else { return Some(true) };
    let count = operations.len();
    operations.sort_unstable();
    operations.dedup();
    let for_signatures = |operation: &&str| ["sign", "verify"].contains(operation);
    let agrees = jwk.get("use").is_none() || operations.iter().all(for_signatures);
    (operations.len() == count && agrees).then(|| operations.contains(&"verify"))
}

/// RFC 7518 6.2.1: coordinates have their full length. Our provider takes the point itself where
/// jsonwebtoken says DER.
fn point(x: Vec<u8>, y: Vec<u8>, len: usize) -> Option<DecodingKey> {
    let full = x.len() == len && y.len() == len;
    full.then(|| DecodingKey::from_ec_der(&[vec![4], x, y].concat()))
}

/// RFC 7518 6.3.1 warns of libraries that put a zero before the modulus.
fn rsa(n: Vec<u8>, e: Vec<u8>) -> Option<DecodingKey> {
    let plain = |bytes: Vec<u8>| -> Vec<u8> { bytes.into_iter().skip_while(|b| *b == 0).collect() };
    let (n, e) = (plain(n), plain(e));
    let bits = n.len() * 8 - n.first().map_or(0, |b| b.leading_zeros() as usize);
    (bits >= RSA_BITS_MIN).then(|| DecodingKey::from_rsa_raw_components(&n, &e))
}
