//! Bearer tokens: RFC 7519 JWTs of configured issuers. The issuer is chosen by what the token
//! says; then its algorithm, type, signature, audience, expiry and start are all required to
//! hold, against our clock and with the configured skew.

use std::sync::Arc;

use serde_json::{Number, Value};

use super::{
    Failure,
    jose::{Jws, Object, WrongType},
    jwks::{KeySet, Location},
};
use crate::{
    ambient::Clock,
    config::{Algorithm, TokenIssuer},
};

/// A bearer token longer than this is malformed.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// The end of the year 9999, in microseconds. A later date is not valid: it was meant in milliseconds,
/// and a token that expires then never would.
const DATE_US_MAX: i64 = 253_402_300_799_999_999;

struct Issuer {
    name: String,
    audience: String,
    token_type: Option<String>,
    algorithms: Vec<Algorithm>,
    keys: Arc<KeySet>,
    skew_us: i64,
    principal_claim: String,
    principals: Vec<(String, Arc<str>)>,
}

pub(super) struct Issuers(Vec<Issuer>);

/// What a token says that holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verified {
    pub(super) principal: Arc<str>,
    pub(super) expires_us: i64,
}

impl Issuers {
    pub(super) fn new(config: &[TokenIssuer]) -> Self {
        super::ring_jwt::install();
        Self(config.iter().map(issuer).collect())
    }

    /// The principal of an `Authorization` header.
    pub(super) async fn verify(
        &self,
        header: &str,
        clock: &dyn Clock,
    ) -> Result<Arc<str>, Failure> {
        let token = header
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or(Failure::NotBearer)?;
        Ok(self.verify_token(token, clock).await?.principal)
    }

    /// The principal of a token, and until when.
    pub(super) async fn verify_token(
        &self,
        token: &str,
        clock: &dyn Clock,
    ) -> Result<Verified, Failure> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Failure::TokenMalformed);
        }
        let jws = Jws::parse(token)?;
        self.addressed(&jws.claims)?.verify(&jws, clock).await
    }

    /// The issuer that the token names, for an audience that the token names: who is asked for
    /// keys, and whose reasons count. Nothing is believed by that.
    fn addressed(&self, claims: &Object) -> Result<&Issuer, Failure> {
        let name = claims.text("iss").map_err(|_| Failure::TokenIssuer)?;
        let mut named = self.0.iter().filter(|issuer| name == Some(&issuer.name)).peekable();
        named.peek().ok_or(Failure::TokenIssuer)?;
        let audiences = match claims.get("aud") {
            Some(Value::String(one)) => vec![one.as_str()],
            _ => claims.texts("aud").map_err(malformed)?.unwrap_or_default(),
        };
        named
            .find(|issuer| audiences.contains(&issuer.audience.as_str()))
            .ok_or(Failure::TokenAudience)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn key_sets(&self) -> impl Iterator<Item = &Arc<KeySet>> {
        self.0.iter().map(|issuer| &issuer.keys)
    }
}

fn malformed(_: WrongType) -> Failure {
    Failure::TokenMalformed
}

fn issuer(config: &TokenIssuer) -> Issuer {
    Issuer {
        name: config.issuer.clone(),
        audience: config.audience.clone(),
        token_type: config.token_type.clone(),
        algorithms: config.algorithms.clone(),
        keys: Arc::new(KeySet::new(config, Location::of(config))),
        skew_us: i64::from(config.clock_skew_s) * 1_000_000,
        principal_claim: config.principal_claim.clone(),
        principals: config
            .principals
            .iter()
            .map(|(claim, name)| (claim.clone(), Arc::from(name.as_str())))
            .collect(),
    }
}

impl Issuer {
    async fn verify(&self, jws: &Jws<'_>, clock: &dyn Clock) -> Result<Verified, Failure> {
        if !self.algorithms.contains(&jws.algorithm) {
            return Err(Failure::TokenAlgorithm);
        }
        if let Some(wanted) = &self.token_type
            && !jws.token_type.as_ref().is_some_and(|given| same_type(given, wanted))
        {
            return Err(Failure::TokenType);
        }
        self.keys.verify(jws).await?;
        let expires_us = in_time(&jws.claims, clock.now_us(), self.skew_us)?;
        Ok(Verified { principal: self.principal(&jws.claims)?, expires_us })
    }

    /// With a mapping, only mapped claims are principals; without one the claim is the name, and
    /// the policy's vocabulary decides whether it knows it.
    fn principal(&self, claims: &Object) -> Result<Arc<str>, Failure> {
        let claim = claims.get(&self.principal_claim).and_then(Value::as_str);
        let claim = claim.ok_or(Failure::TokenUnmapped)?;
        if self.principals.is_empty() {
            return Ok(Arc::from(claim));
        }
        let mapped = self.principals.iter().find(|(wanted, _)| wanted == claim);
        mapped.map(|(_, name)| name.clone()).ok_or(Failure::TokenUnmapped)
    }
}

/// RFC 7515 4.1.9: a media type, in any case; `application/` may be left out.
fn same_type(given: &str, wanted: &str) -> bool {
    let short = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.strip_prefix("application/").map_or(name.clone(), str::to_owned)
    };
    short(given) == short(wanted)
}

/// RFC 7519 4.1.4 to 4.1.7, the registered claims that are not asked for elsewhere. Returns `exp`.
fn in_time(claims: &Object, now_us: i64, skew_us: i64) -> Result<i64, Failure> {
    let date = |name| match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => date_us(number).map(Some).ok_or(Failure::TokenMalformed),
        Some(_) => Err(Failure::TokenMalformed),
    };
    let (expires, begins, _issued) = (date("exp")?, date("nbf")?, date("iat")?);
    claims.text("sub").and(claims.text("jti")).map_err(malformed)?;
    let expires = expires.ok_or(Failure::TokenExpired)?;
    if now_us.saturating_sub(skew_us) >= expires {
        return Err(Failure::TokenExpired);
    }
    if begins.is_some_and(|begins| begins > now_us.saturating_add(skew_us)) {
        return Err(Failure::TokenNotYet);
    }
    Ok(expires)
}

/// A NumericDate (RFC 7519 2) in microseconds: a JSON number, fraction and exponent included,
/// read digit by digit and rounded up. Against whole microseconds `now < exp` and `nbf <= now`
/// then hold exactly when they hold for the number itself.
fn date_us(number: &Number) -> Option<i64> {
    let text = number.as_str();
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // How many digits are whole microseconds.
    let point = i64::try_from(whole.len()).ok()?.checked_add(exponent)?.checked_add(6)?;
    let (mut us, mut digits, mut more) = (0_i64, 0_i64, false);
    for byte in whole.bytes().chain(fraction.bytes()) {
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
        if digits < point {
            us = us.checked_mul(10)?.checked_add(digit)?;
        } else {
            more |= digit != 0;
        }
        digits += 1;
    }
    while digits < point && us > 0 {
        us = us.checked_mul(10)?;
        digits += 1;
    }
    us.checked_add(i64::from(more)).filter(|us| *us <= DATE_US_MAX)
}

#[cfg(test)]
mod tests;
