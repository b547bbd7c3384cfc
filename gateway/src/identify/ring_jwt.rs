//! The cryptography under jsonwebtoken, over ring: verification only, no shared secrets.
//!
//! jsonwebtoken 11 ships no ring backend, and the project has one crypto stack, so this file is
//! the adapter. HMAC algorithms are left out on purpose: a gateway that shares a signing secret
//! with its callers cannot tell them apart.

use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind,
    crypto::{CryptoProvider, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind},
    signature,
};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(unsupported()),
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes ring the process's JWT cryptography. Safe to call more than once.
pub(super) fn install() {
    // The only error is "already installed", by an earlier call of this same function.
    let _already = PROVIDER.install_default();
}

fn unsupported() -> Error {
    ErrorKind::UnsupportedAlgorithm.into()
}

/// How ring verifies an algorithm: with point or seed bytes, or with RSA components.
enum Scheme {
    Raw(&'static dyn VerificationAlgorithm),
    Rsa(&'static RsaParameters),
}

fn scheme(algorithm: Algorithm) -> Option<Scheme> {
    Some(match algorithm {
        Algorithm::ES256 => Scheme::Raw(&ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Scheme::Raw(&ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Scheme::Raw(&ED25519),
        Algorithm::RS256 => Scheme::Rsa(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Scheme::Rsa(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Scheme::Rsa(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Scheme::Rsa(&RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Scheme::Rsa(&RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Scheme::Rsa(&RSA_PSS_2048_8192_SHA512),
        _ => return None,
    })
}

enum Key {
    Raw(&'static dyn VerificationAlgorithm, Vec<u8>),
    Rsa(&'static RsaParameters, RsaPublicKeyComponents<Vec<u8>>),
}

struct RingVerifier {
    algorithm: Algorithm,
    key: Key,
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    let key = match (scheme(*algorithm).ok_or_else(unsupported)?, key.kind()) {
        (Scheme::Raw(ring), DecodingKeyKind::SecretOrDer(point)) => Key::Raw(ring, point.clone()),
        (Scheme::Rsa(ring), DecodingKeyKind::RsaModulusExponent { n, e }) => {
            Key::Rsa(ring, RsaPublicKeyComponents { n: n.clone(), e: e.clone() })
        }
        _ => return Err(ErrorKind::InvalidKeyFormat.into()),
    };
    Ok(Box::new(RingVerifier { algorithm: *algorithm, key }))
}

impl signature::Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        match &self.key {
            Key::Raw(ring, point) => {
                UnparsedPublicKey::new(*ring, point).verify(message, signature)
            }
            Key::Rsa(ring, key) => key.verify(ring, message, signature),
        }
        .map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
