//! Bearer tokens: RFC 7519 JWTs of configured issuers. Signature, algorithm, issuer, audience,
//! expiry and start are all required to hold, against our clock and with the configured skew.

use std::{collections::HashSet, sync::Arc};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

use super::{
    Failure,
    jwks::{KeySet, Location, RefreshError},
};
use crate::config::TokenIssuer;

/// A bearer token longer than this is malformed.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

#[derive(Deserialize)]
struct Claims {
    exp: Option<serde_json::Number>,
    nbf: Option<serde_json::Number>,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

struct Issuer {
    name: String,
    keys: KeySet,
    validation: Validation,
    algorithms: HashSet<Algorithm>,
    skew_s: i64,
    principal_claim: String,
    principals: Vec<(String, Arc<str>)>,
}

pub(super) struct Issuers(Vec<Issuer>);

impl Issuers {
    pub(super) fn new(config: &[TokenIssuer]) -> Self {
        Self(config.iter().map(issuer).collect())
    }

    /// The principal of an `Authorization` header at a time in seconds since the epoch.
    pub(super) fn verify(&self, header: &str, now_s: i64) -> Result<Arc<str>, Failure> {
        let token = header
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or(Failure::NotBearer)?;
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Failure::TokenMalformed);
        }
        let head = decode_header(token).map_err(|_| Failure::TokenMalformed)?;
        let mut last = Failure::TokenIssuer;
        for issuer in &self.0 {
            match issuer.verify(token, head.alg, head.kid.as_deref(), now_s) {
                Err(Failure::TokenIssuer) => {}
                Err(failure) => last = failure,
                Ok(name) => return Ok(name),
            }
        }
        Err(last)
    }

    pub(super) fn files(&self) -> Vec<std::path::PathBuf> {
        self.0.iter().filter_map(|issuer| issuer.keys.file()).collect()
    }

    pub(super) async fn refresh(&self) -> Vec<RefreshError> {
        let mut errors = Vec::new();
        for issuer in &self.0 {
            if let Err(why) = issuer.keys.refresh().await {
                errors.push(RefreshError { issuer: issuer.name.clone(), why });
            }
        }
        errors
    }
}

fn issuer(config: &TokenIssuer) -> Issuer {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.algorithms = config.algorithms.clone();
    validation.set_audience(&[&config.audience]);
    validation.set_issuer(&[&config.issuer]);
    validation.set_required_spec_claims(&["iss", "aud", "exp"]);
    // Expiry and start are checked against our own clock below.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    let location = match (&config.jwks_file, &config.jwks_url) {
        (Some(path), _) => Location::File(path.clone()),
        (None, url) => Location::Url(url.clone().unwrap_or_default()),
    };
    Issuer {
        name: config.issuer.clone(),
        keys: KeySet::new(location),
        algorithms: config.algorithms.iter().copied().collect(),
        validation,
        skew_s: i64::from(config.clock_skew_s),
        principal_claim: config.principal_claim.clone(),
        principals: config
            .principals
            .iter()
            .map(|(claim, name)| (claim.clone(), Arc::from(name.as_str())))
            .collect(),
    }
}

impl Issuer {
    fn verify(
        &self,
        token: &str,
        algorithm: Algorithm,
        kid: Option<&str>,
        now_s: i64,
    ) -> Result<Arc<str>, Failure> {
        if !self.algorithms.contains(&algorithm) {
            return Err(Failure::TokenAlgorithm);
        }
        let mut failure = Failure::TokenKey;
        let claims = self
            .keys
            .try_each(kid, algorithm, |key| match self.decode(token, key) {
                Ok(claims) => Some(claims),
                Err(why) => {
                    failure = why;
                    None
                }
            })
            .ok_or(failure)?;
        self.in_time(&claims, now_s)?;
        self.principal(&claims)
    }

    fn decode(&self, token: &str, key: &DecodingKey) -> Result<Claims, Failure> {
        use jsonwebtoken::errors::ErrorKind;
        decode::<Claims>(token, key, &self.validation).map(|data| data.claims).map_err(|e| match e
            .kind()
        {
            ErrorKind::InvalidSignature => Failure::TokenSignature,
            ErrorKind::InvalidIssuer => Failure::TokenIssuer,
            ErrorKind::InvalidAudience => Failure::TokenAudience,
            ErrorKind::InvalidAlgorithm => Failure::TokenAlgorithm,
            ErrorKind::MissingRequiredClaim(claim) if claim == "exp" => Failure::TokenExpired,
            ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => Failure::TokenAudience,
            _ => Failure::TokenMalformed,
        })
    }

    fn in_time(&self, claims: &Claims, now_s: i64) -> Result<(), Failure> {
        let exp = claims.exp.as_ref().and_then(seconds).ok_or(Failure::TokenExpired)?;
        if now_s.saturating_sub(self.skew_s) >= exp {
            return Err(Failure::TokenExpired);
        }
        match claims.nbf.as_ref().map(seconds) {
            None => Ok(()),
            Some(Some(nbf)) if nbf <= now_s.saturating_add(self.skew_s) => Ok(()),
            Some(_) => Err(Failure::TokenNotYet),
        }
    }

    /// With a mapping, only mapped claims are principals; without one the claim is the name, and
    /// the policy's vocabulary decides whether it knows it.
    fn principal(&self, claims: &Claims) -> Result<Arc<str>, Failure> {
        let claim = claims
            .rest
            .get(&self.principal_claim)
            .and_then(|value| value.as_str())
            .ok_or(Failure::TokenUnmapped)?;
        if self.principals.is_empty() {
            return Ok(Arc::from(claim));
        }
        self.principals
            .iter()
            .find(|(wanted, _)| wanted == claim)
            .map(|(_, name)| name.clone())
            .ok_or(Failure::TokenUnmapped)
    }
}

/// NumericDate of RFC 7519 section 2; fractions are allowed there and cut here.
fn seconds(number: &serde_json::Number) -> Option<i64> {
    let text = number.as_str();
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    whole.parse().ok()
}

#[cfg(test)]
mod tests;
