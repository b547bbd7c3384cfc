//! Who is it? A client certificate or a bearer token becomes a [`Principal`], or nobody.
//!
//! Deny by default: no credential is no principal unless the configuration names an anonymous
//! one. Why a login failed goes to the ledger and to the log, never to the caller: all failures
//! read alike and take alike long.

mod certificates;
mod jose;
mod jwks;
mod ring_jwt;
mod tokens;

use std::sync::Arc;

use crate::{ambient::Clock, config::Identify};
pub use certificates::CertificateNames;
pub use jwks::RefreshError;

/// An authenticated name of the policy's vocabulary, and how it was proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub name: Arc<str>,
    pub by: Method,
}

/// How a principal proved itself; recorded in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Certificate,
    Token,
    Anonymous,
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "mtls",
            Self::Token => "jwt",
            Self::Anonymous => "anonymous",
        }
    }
}

/// Why nobody was identified. For the ledger and the log; never for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("no credential was presented")]
    NoCredential,
    #[error("the client certificate is expired, revoked or from an unknown authority")]
    CertificateInvalid,
    #[error("the client certificate matches no mapping rule")]
    CertificateUnmapped,
    #[error("the client certificate matches rules for different principals")]
    CertificateAmbiguous,
    #[error(
        "the client certificate is not a valid X.509-SVID: it needs exactly one URI and must not be a CA certificate"
    )]
    CertificateSpiffe,
    #[error("the authorization header is not a bearer token")]
    NotBearer,
    #[error("the token is malformed")]
    TokenMalformed,
    #[error("the token requires an extension that is not supported")]
    TokenCritical,
    #[error("the token has the wrong type")]
    TokenType,
    #[error("the token's issuer is not configured")]
    TokenIssuer,
    #[error("the token's algorithm is not allowed")]
    TokenAlgorithm,
    #[error("no key in the issuer's key set matches the token")]
    TokenKey,
    #[error("the token's signature is invalid")]
    TokenSignature,
    #[error("the token is for a different audience")]
    TokenAudience,
    #[error("the token has expired, or has no expiration time")]
    TokenExpired,
    #[error("the token is not valid yet")]
    TokenNotYet,
    #[error("the token's subject matches no principal")]
    TokenUnmapped,
}

impl Failure {
    pub const ALL: [Self; 17] = [
        Self::NoCredential,
        Self::CertificateInvalid,
        Self::CertificateUnmapped,
        Self::CertificateAmbiguous,
        Self::CertificateSpiffe,
        Self::NotBearer,
        Self::TokenMalformed,
        Self::TokenCritical,
        Self::TokenType,
        Self::TokenIssuer,
        Self::TokenAlgorithm,
        Self::TokenKey,
        Self::TokenSignature,
        Self::TokenAudience,
        Self::TokenExpired,
        Self::TokenNotYet,
        Self::TokenUnmapped,
    ];

    /// A stable word for ledger and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoCredential => "no-credential",
            Self::CertificateInvalid => "certificate-invalid",
            Self::CertificateUnmapped => "certificate-unmapped",
            Self::CertificateAmbiguous => "certificate-ambiguous",
            Self::CertificateSpiffe => "certificate-spiffe",
            Self::NotBearer => "not-bearer",
            Self::TokenMalformed => "token-malformed",
            Self::TokenCritical => "token-critical",
            Self::TokenType => "token-type",
            Self::TokenIssuer => "token-issuer",
            Self::TokenAlgorithm => "token-algorithm",
            Self::TokenKey => "token-key",
            Self::TokenSignature => "token-signature",
            Self::TokenAudience => "token-audience",
            Self::TokenExpired => "token-expired",
            Self::TokenNotYet => "token-not-yet",
            Self::TokenUnmapped => "token-unmapped",
        }
    }
}

/// What a connection and a request present.
pub struct Credentials<'a> {
    /// Names in the verified client certificate, if there is one.
    pub certificate: Option<&'a CertificateNames>,
    /// The `Authorization` header's value, if there is one.
    pub authorization: Option<&'a str>,
}

/// All ways to become a principal, as configured.
pub struct Identifier {
    certificates: certificates::Rules,
    tokens: tokens::Issuers,
    anonymous: Option<Arc<str>>,
    clock: Arc<dyn Clock>,
}

impl Identifier {
    pub fn new(config: &Identify, clock: Arc<dyn Clock>) -> Self {
        Self {
            certificates: certificates::Rules::new(&config.certificates),
            tokens: tokens::Issuers::new(&config.tokens),
            anonymous: config.anonymous.as_deref().map(Arc::from),
            clock,
        }
    }

    /// A token outranks a certificate: a service mesh terminates the one, the caller holds the
    /// other. A bad token is never rescued by a good certificate.
    pub async fn identify(&self, given: &Credentials<'_>) -> Result<Principal, Failure> {
        if let Some(header) = given.authorization {
            let name = self.tokens.verify(header, &*self.clock).await?;
            return Ok(Principal { name, by: Method::Token });
        }
        if let Some(names) = given.certificate {
            let name = self.certificates.principal(names)?;
            return Ok(Principal { name, by: Method::Certificate });
        }
        match &self.anonymous {
            Some(name) => Ok(Principal { name: name.clone(), by: Method::Anonymous }),
            None => Err(Failure::NoCredential),
        }
    }

    /// Files whose change means new keys.
    pub fn files(&self) -> Vec<std::path::PathBuf> {
        self.tokens.key_sets().filter_map(|set| set.file()).collect()
    }

    /// Reads key sets in files again; errors keep the old keys.
    pub async fn refresh_files(&self) -> Vec<RefreshError> {
        self.refresh_where(|set| set.file().is_some()).await
    }

    /// Reads all key sets again, also those that are fetched.
    pub async fn refresh(&self) -> Vec<RefreshError> {
        self.refresh_where(|_| true).await
    }

    async fn refresh_where(&self, wanted: impl Fn(&jwks::KeySet) -> bool) -> Vec<RefreshError> {
        let sets = self.tokens.key_sets().filter(|set| wanted(set)).map(|set| set.refresh());
        let outcomes = futures_util::future::join_all(sets).await;
        outcomes.into_iter().filter_map(Result::err).collect()
    }

    /// Reads each key set when it is due, for ever.
    pub async fn keep(&self) {
        futures_util::future::join_all(self.tokens.key_sets().map(|set| set.keep())).await;
    }

    /// Why nobody can log in by an issuer's keys now, if that is so, of each key set.
    pub fn key_sets(&self) -> impl Iterator<Item = (&str, Option<RefreshError>)> {
        self.tokens.key_sets().map(|set| (set.issuer(), set.trouble()))
    }

    /// Whether anybody can log in now: by the keys of some issuer, by a certificate (where the
    /// listener takes them), or without a credential.
    pub fn admits(&self, takes_certificates: bool) -> bool {
        self.anonymous.is_some()
            || (takes_certificates && !self.certificates.is_empty())
            || self.tokens.key_sets().any(|set| set.trouble().is_none())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        ambient::ManualClock,
        config::{Algorithm, TokenIssuer},
    };

    /// One issuer that is down takes nobody else's way in.
    #[tokio::test]
    async fn an_issuer_that_is_down_shuts_out_its_own_callers_only() {
        crate::cli::install_crypto();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys.json");
        let issuer = |name: &str, file: &str| TokenIssuer {
            issuer: name.to_owned(),
            audience: "a".to_owned(),
            jwks_file: Some(dir.path().join(file)),
            jwks_url: None,
            discovery: false,
            ca: None,
            jwks_max_age_s: 3600,
            algorithms: vec![Algorithm::EdDsa],
            token_type: None,
            clock_skew_s: 60,
            principal_claim: "sub".to_owned(),
            principals: Default::default(),
        };
        let tokens = vec![issuer("up", "keys.json"), issuer("down", "gone.json")];
        let config = Identify { tokens, ..Identify::default() };
        let identifier = Identifier::new(&config, Arc::new(ManualClock::at_us(0)));
        assert_eq!(identifier.refresh_files().await.len(), 2);
        assert!(!identifier.admits(true), "no way in");
        std::fs::write(&file, r#"{"keys":[]}"#).unwrap();
        assert_eq!(identifier.refresh_files().await.len(), 1);
        assert!(identifier.admits(false), "by the other issuer");
        let down: Vec<_> = identifier.key_sets().filter_map(|(_, trouble)| trouble).collect();
        assert!(matches!(&*down, [RefreshError { issuer, .. }] if issuer == "down"));
        let rule = "{ common-name: op, principal: op }";
        let certificates = vec![serde_saphyr::from_str(rule).unwrap()];
        let tokens = vec![issuer("down", "gone.json")];
        let config = Identify { tokens, certificates, ..Identify::default() };
        let identifier = Identifier::new(&config, Arc::new(ManualClock::at_us(0)));
        assert!(identifier.admits(true) && !identifier.admits(false));
    }
}
