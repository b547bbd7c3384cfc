//! Key sets of token issuers: read from a file or fetched from a URL, found by `kid`, refreshed
//! when they rotate. A set that cannot be read keeps its predecessor; with none, nobody logs in.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet},
};

/// A key set larger than this is refused.
const JWKS_BYTES_MAX: usize = 256 * 1024;
/// How long one fetch of a key set may take.
const FETCH_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// Where a key set comes from.
#[derive(Clone, Debug)]
pub(super) enum Location {
    File(PathBuf),
    Url(String),
}

/// Why a key set could not be read again.
#[derive(Debug, thiserror::Error)]
#[error("couldn't read the key set of issuer `{issuer}`: {why}")]
pub struct RefreshError {
    pub issuer: String,
    pub why: String,
}

struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// The current keys of one issuer.
pub(super) struct KeySet {
    location: Location,
    keys: ArcSwap<Vec<Key>>,
}

impl KeySet {
    pub(super) fn new(location: Location) -> Self {
        Self { location, keys: ArcSwap::from_pointee(Vec::new()) }
    }

    /// Calls `with` for each key that may have made a signature with this algorithm, the named
    /// one only when the token names one, until it answers `Some`.
    pub(super) fn try_each<T>(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        mut with: impl FnMut(&DecodingKey) -> Option<T>,
    ) -> Option<T> {
        let keys: Arc<Vec<Key>> = self.keys.load_full();
        keys.iter()
            .filter(|key| kid.is_none_or(|kid| key.id.as_deref() == Some(kid)))
            .filter(|key| key.algorithms.contains(&algorithm))
            .find_map(|key| with(&key.key))
    }

    pub(super) fn file(&self) -> Option<PathBuf> {
        match &self.location {
            Location::File(path) => Some(path.clone()),
            Location::Url(_) => None,
        }
    }

    pub(super) async fn refresh(&self) -> Result<(), String> {
        let text = match &self.location {
            Location::File(path) => read_file(path).await?,
            Location::Url(url) => fetch(url).await?,
        };
        let set: JwkSet = serde_json::from_str(&text)
            .map_err(|e| format!("not a JSON web key set (line {})", e.line()))?;
        let keys: Vec<Key> = set.keys.iter().filter_map(usable).collect();
        if keys.is_empty() {
            return Err("the set holds no usable public key".to_owned());
        }
        self.keys.store(Arc::new(keys));
        Ok(())
    }
}

async fn read_file(path: &std::path::Path) -> Result<String, String> {
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|e| format!("`{}`: {}", path.display(), e.kind()))?;
    bounded(text)
}

async fn fetch(url: &str) -> Result<String, String> {
    let client = reqwest::Client::builder()
        .timeout(FETCH_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|_| "couldn't make a TLS client".to_owned())?;
    let mut answer = client
        .get(url)
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(|e| e.without_url().to_string())?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|e| e.without_url().to_string())? {
        body.extend_from_slice(&chunk);
        if body.len() > JWKS_BYTES_MAX {
            return Err(format!("larger than {JWKS_BYTES_MAX} bytes"));
        }
    }
    String::from_utf8(body).map_err(|_| "not UTF-8".to_owned())
}

fn bounded(text: String) -> Result<String, String> {
    if text.len() > JWKS_BYTES_MAX {
        return Err(format!("larger than {JWKS_BYTES_MAX} bytes"));
    }
    Ok(text)
}

/// Public signature keys only. The algorithms a key may serve follow from its type (and from its
/// own `alg`), never from the token alone: that closes algorithm confusion.
fn usable(jwk: &Jwk) -> Option<Key> {
    let mut algorithms = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => vec![
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(okp) if okp.curve == EllipticCurve::Ed25519 => {
            vec![Algorithm::EdDSA]
        }
        _ => return None,
    };
    if let Some(declared) = jwk.common.key_algorithm {
        algorithms.retain(|a| format!("{a:?}") == declared.to_string());
    }
    let key = DecodingKey::from_jwk(jwk).ok()?;
    Some(Key { id: jwk.common.key_id.clone(), algorithms, key })
}
