//! Who is it? A client certificate, a bearer token or a password becomes a [`Principal`], or nobody.
//!
//! Deny by default: no credential is no principal unless the configuration names an anonymous
//! one. Why a login failed goes to the ledger and to the log, never to the caller: all failures
//! read alike and take alike long.

mod certificates;
mod jose;
mod jwks;
pub mod passwords;
mod ring_jwt;
mod sasl;
mod tokens;

use std::{path::PathBuf, sync::Arc};

use sluicegate_wire::sasl::scram::Mechanism;

use crate::{ambient::Ambient, config::Identify};
pub use certificates::CertificateNames;
pub use jwks::KeySetError;
pub use sasl::{Login, REFUSED, Step};

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
    Scram(Mechanism),
    Plain,
    Anonymous,
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "mtls",
            Self::Token => "jwt",
            Self::Scram(Mechanism::Sha256) => "scram-sha-256",
            Self::Scram(Mechanism::Sha512) => "scram-sha-512",
            Self::Plain => "plain",
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
    #[error("the SASL mechanism is not offered")]
    SaslMechanism,
    #[error("a SASL message does not follow its mechanism, or asks to act for somebody else")]
    SaslMalformed,
    /// A name that nobody has, too: nothing may tell one from the other.
    #[error("no such name, or not its password")]
    PasswordWrong,
    #[error("the passwords were never read, or the system gave no random bytes")]
    LoginUnavailable,
    #[error("the policy does not let the principal come from this address")]
    NetworkNotAllowed,
}

impl Failure {
    pub const ALL: [Self; 22] = [
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
        Self::SaslMechanism,
        Self::SaslMalformed,
        Self::PasswordWrong,
        Self::LoginUnavailable,
        Self::NetworkNotAllowed,
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
            Self::SaslMechanism => "sasl-mechanism",
            Self::SaslMalformed => "sasl-malformed",
            Self::PasswordWrong => "password-wrong",
            Self::LoginUnavailable => "login-unavailable",
            Self::NetworkNotAllowed => "network-not-allowed",
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

/// Why something that proves who is there could not be read again.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    #[error(transparent)]
    KeySet(#[from] KeySetError),
    #[error(transparent)]
    Passwords(#[from] passwords::PasswordsError),
}

/// All ways to become a principal, as configured.
pub struct Identifier {
    certificates: certificates::Rules,
    tokens: tokens::Issuers,
    passwords: Option<passwords::Passwords>,
    anonymous: Option<Arc<str>>,
    ambient: Ambient,
}

impl Identifier {
    pub fn new(config: &Identify, ambient: &Ambient) -> Self {
        Self {
            certificates: certificates::Rules::new(&config.certificates),
            tokens: tokens::Issuers::new(&config.tokens),
            passwords: config.passwords.as_ref().map(passwords::Passwords::new),
            anonymous: config.anonymous.as_deref().map(Arc::from),
            ambient: ambient.clone(),
        }
    }

    /// A token outranks a certificate: a service mesh terminates the one, the caller holds the
    /// other. A bad token is never rescued by a good certificate.
    pub async fn identify(&self, given: &Credentials<'_>) -> Result<Principal, Failure> {
        if let Some(header) = given.authorization {
            let name = self.tokens.verify(header, &*self.ambient.clock).await?;
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

    /// Files whose change means new keys or passwords.
    pub fn files(&self) -> Vec<PathBuf> {
        let of_sets = self.tokens.key_sets().filter_map(|set| set.file());
        of_sets.chain(self.passwords.iter().map(|p| p.file().to_owned())).collect()
    }

    /// Reads passwords and key sets in files again; errors keep the old ones.
    pub async fn refresh_files(&self) -> Vec<RefreshError> {
        self.refresh_where(|set| set.file().is_some()).await
    }

    /// Reads passwords and all key sets again, also those that are fetched.
    pub async fn refresh(&self) -> Vec<RefreshError> {
        self.refresh_where(|_| true).await
    }

    async fn refresh_where(&self, wanted: impl Fn(&jwks::KeySet) -> bool) -> Vec<RefreshError> {
        let sets = self.tokens.key_sets().filter(|set| wanted(set)).map(|set| set.refresh());
        let outcomes = futures_util::future::join_all(sets).await;
        let failed = outcomes.into_iter().filter_map(Result::err);
        let mut errors: Vec<RefreshError> = failed.map(RefreshError::from).collect();
        if let Some(passwords) = &self.passwords {
            errors.extend(passwords.refresh().await.err().map(RefreshError::from));
        }
        errors
    }

    /// Reads each key set when it is due, for ever.
    pub async fn keep(&self) {
        futures_util::future::join_all(self.tokens.key_sets().map(|set| set.keep())).await;
    }

    /// Why nobody can log in by an issuer's keys now, if that is so, of each key set.
    pub fn key_sets(&self) -> impl Iterator<Item = (&str, Option<KeySetError>)> {
        self.tokens.key_sets().map(|set| (set.issuer(), set.trouble()))
    }

    /// Why the file of passwords could not be read, if so, and whether former ones are in force.
    pub fn passwords_trouble(&self) -> Option<(passwords::PasswordsError, bool)> {
        let passwords = self.passwords.as_ref()?;
        passwords.trouble().map(|error| (error, passwords.names().is_some()))
    }

    /// Who has a password.
    pub fn password_names(&self) -> Vec<String> {
        self.passwords.iter().filter_map(passwords::Passwords::names).flatten().collect()
    }

    /// Whether anybody can log in now: by the keys of some issuer, by a certificate (where the
    /// listener takes them), by a password, or without a credential.
    pub fn admits(&self, takes_certificates: bool) -> bool {
        self.anonymous.is_some()
            || self.passwords.as_ref().is_some_and(|passwords| passwords.names().is_some())
            || (takes_certificates && !self.certificates.is_empty())
            || self.tokens.key_sets().any(|set| set.trouble().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Algorithm, TokenIssuer};

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
        let identifier = Identifier::new(&config, &Ambient::system());
        assert_eq!(identifier.refresh_files().await.len(), 2);
        assert!(!identifier.admits(true), "no way in");
        std::fs::write(&file, r#"{"keys":[]}"#).unwrap();
        assert_eq!(identifier.refresh_files().await.len(), 1);
        assert!(identifier.admits(false), "by the other issuer");
        let down: Vec<_> = identifier.key_sets().filter_map(|(_, trouble)| trouble).collect();
        assert!(matches!(&*down, [KeySetError { issuer, .. }] if issuer == "down"));
        let rule = "{ common-name: op, principal: op }";
        let certificates = vec![serde_saphyr::from_str(rule).unwrap()];
        let tokens = vec![issuer("down", "gone.json")];
        let config = Identify { tokens, certificates, ..Identify::default() };
        let identifier = Identifier::new(&config, &Ambient::system());
        assert!(identifier.admits(true) && !identifier.admits(false));
    }
}
