//! Client certificates: which principal do the names in a verified certificate mean?

use std::sync::Arc;

use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use super::Failure;
use crate::config::CertificateRule;

/// The names of a verified certificate that mapping rules may look at. Extracted once a
/// connection.
#[derive(Clone, Default)]
pub struct CertificateNames {
    pub uris: Vec<String>,
    pub dns: Vec<String>,
    pub emails: Vec<String>,
    pub common_name: Option<String>,
    /// It names a SPIFFE id and is not what an X.509-SVID must be.
    pub invalid_svid: bool,
}

impl CertificateNames {
    /// Names of a DER certificate that rustls has verified. A certificate that does not parse
    /// has no names, and so no principal.
    pub fn of(der: &[u8]) -> Self {
        let mut names = Self::default();
        let Ok((_, cert)) = X509Certificate::from_der(der) else { return names };
        names.common_name = cert
            .subject()
            .iter_common_name()
            .next()
            .and_then(|cn| cn.as_str().ok())
            .map(Into::into);
        let mut authority = false;
        for extension in cert.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(san) => {
                    san.general_names.iter().for_each(|name| names.take(name));
                }
                ParsedExtension::BasicConstraints(basic) => authority |= basic.ca,
                ParsedExtension::KeyUsage(usage) => {
                    authority |= usage.key_cert_sign() || usage.crl_sign();
                }
                _ => {}
            }
        }
        // X.509-SVID 2 and 5.2: one URI, and a leaf that signs neither certificates nor lists.
        let spiffe = |uri: &String| uri.to_ascii_lowercase().starts_with("spiffe:");
        names.invalid_svid = names.uris.iter().any(spiffe) && (names.uris.len() != 1 || authority);
        names
    }

    fn take(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::URI(uri) => self.uris.push((*uri).to_owned()),
            GeneralName::DNSName(dns) => self.dns.push(dns.to_ascii_lowercase()),
            GeneralName::RFC822Name(email) => self.emails.push((*email).to_owned()),
            _ => {}
        }
    }
}

/// One compiled mapping rule.
struct Rule {
    kind: Kind,
    wanted: String,
    principal: Arc<str>,
}

#[derive(Clone, Copy)]
enum Kind {
    Uri,
    Dns,
    Email,
    CommonName,
}

pub(super) struct Rules(Vec<Rule>);

impl Rules {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn new(rules: &[CertificateRule]) -> Self {
        Self(rules.iter().flat_map(compile).collect())
    }

    /// The one principal all matching rules agree on.
    pub(super) fn principal(&self, names: &CertificateNames) -> Result<Arc<str>, Failure> {
        if names.invalid_svid {
            return Err(Failure::CertificateSpiffe);
        }
        let mut found: Option<&Arc<str>> = None;
        for rule in self.0.iter().filter(|rule| rule.matches(names)) {
            match found {
                Some(other) if *other != rule.principal => {
                    return Err(Failure::CertificateAmbiguous);
                }
                _ => found = Some(&rule.principal),
            }
        }
        found.cloned().ok_or(Failure::CertificateUnmapped)
    }
}

fn compile(rule: &CertificateRule) -> Vec<Rule> {
    let principal: Arc<str> = Arc::from(rule.principal.as_str());
    [
        (Kind::Uri, &rule.uri),
        (Kind::Dns, &rule.dns),
        (Kind::Email, &rule.email),
        (Kind::CommonName, &rule.common_name),
    ]
    .into_iter()
    .filter_map(|(kind, wanted)| {
        let wanted = wanted.clone()?;
        Some(Rule { kind, wanted, principal: principal.clone() })
    })
    .collect()
}

impl Rule {
    /// Exact match only: a pattern in an identity rule widens by accident.
    fn matches(&self, names: &CertificateNames) -> bool {
        match self.kind {
            Kind::Uri => names.uris.contains(&self.wanted),
            Kind::Dns => names.dns.iter().any(|dns| dns.eq_ignore_ascii_case(&self.wanted)),
            Kind::Email => names.emails.contains(&self.wanted),
            Kind::CommonName => names.common_name.as_ref() == Some(&self.wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(uri: Option<&str>, cn: Option<&str>, principal: &str) -> CertificateRule {
        CertificateRule {
            uri: uri.map(Into::into),
            dns: None,
            email: None,
            common_name: cn.map(Into::into),
            principal: principal.into(),
        }
    }

    fn cert(uris: &[&str], cn: &str) -> CertificateNames {
        cert_for(uris, cn, &[])
    }

    fn cert_for(uris: &[&str], cn: &str, usages: &[rcgen::KeyUsagePurpose]) -> CertificateNames {
        let mut params = rcgen::CertificateParams::default();
        params.key_usages = usages.to_vec();
        params.distinguished_name.push(rcgen::DnType::CommonName, cn);
        for uri in uris {
            params.subject_alt_names.push(rcgen::SanType::URI((*uri).try_into().unwrap()));
        }
        let key = rcgen::KeyPair::generate().unwrap();
        CertificateNames::of(params.self_signed(&key).unwrap().der())
    }

    #[test]
    fn names_are_read_and_matched_exactly() {
        let rules = Rules::new(&[
            rule(Some("spiffe://acme/checkout"), None, "svc.checkout"),
            rule(None, Some("auditor"), "aud.jane"),
        ]);
        let ask = |uris: &[&str], cn: &str| rules.principal(&cert(uris, cn)).map(|p| p.to_string());
        assert_eq!(ask(&["spiffe://acme/checkout"], "x"), Ok("svc.checkout".into()));
        assert_eq!(ask(&[], "auditor"), Ok("aud.jane".into()));
        assert_eq!(ask(&["spiffe://acme/checkout2"], "x"), Err(Failure::CertificateUnmapped));
        assert_eq!(ask(&["spiffe://acme/checkout"], "auditor"), Err(Failure::CertificateAmbiguous));
        assert_eq!(
            rules.principal(&CertificateNames::of(b"no certificate")).map(|p| p.to_string()),
            Err(Failure::CertificateUnmapped)
        );
    }

    #[test]
    fn an_svid_has_one_uri_and_signs_no_certificates() {
        use rcgen::KeyUsagePurpose::{CrlSign, DigitalSignature, KeyCertSign};
        let rules = Rules::new(&[
            rule(Some("spiffe://acme/checkout"), None, "svc.checkout"),
            rule(Some("https://acme/checkout"), None, "svc.checkout"),
        ]);
        let ask = |names: CertificateNames| rules.principal(&names).map(|p| p.to_string());
        let (ok, broken) = (Ok("svc.checkout".to_owned()), Err(Failure::CertificateSpiffe));
        let id = "spiffe://acme/checkout";
        assert_eq!(ask(cert(&[id, "spiffe://acme/other"], "x")), broken);
        assert_eq!(ask(cert(&[id, "https://acme/checkout"], "x")), broken);
        assert_eq!(ask(cert(&[id, id], "x")), broken);
        assert_eq!(ask(cert_for(&[id], "x", &[DigitalSignature])), ok);
        assert_eq!(ask(cert_for(&[id], "x", &[DigitalSignature, KeyCertSign])), broken);
        assert_eq!(ask(cert_for(&[id], "x", &[DigitalSignature, CrlSign])), broken);
        // Other certificates may have as many URIs as they like.
        assert_eq!(ask(cert(&["https://acme/checkout", "https://acme/other"], "x")), ok);
    }
}
