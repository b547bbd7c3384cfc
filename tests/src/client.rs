//! HTTPS clients of a gateway: with a client certificate, a bearer token, or neither. Each trusts one CA only.

use std::{sync::Arc, time::Duration};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::{TLS12, TLS13},
};

use crate::ca::{Ca, Identity};

const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// Who the client says it is.
pub enum Credential<'a> {
    None,
    Certificate(&'a Identity),
    Bearer(&'a str),
}

/// A client with connection reuse, HTTP/2 where the server speaks it.
pub fn client(ca: &Ca, credential: &Credential<'_>) -> reqwest::Client {
    builder(ca, credential).build().unwrap()
}

/// The same, for a test that wants another setting.
pub fn builder(ca: &Ca, credential: &Credential<'_>) -> reqwest::ClientBuilder {
    let mut headers = HeaderMap::new();
    if let Credential::Bearer(token) = credential {
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls(ca, credential))
        .default_headers(headers)
        .timeout(ANSWERS_WITHIN)
        .no_proxy()
}

/// A client of a gateway whose authority somebody else made: `ca` is its PEM.
pub fn trusting(ca: &str, identity: &Identity) -> reqwest::Client {
    let tls = settings(ca, &Credential::Certificate(identity));
    let builder = reqwest::Client::builder().tls_backend_preconfigured(tls);
    builder.timeout(ANSWERS_WITHIN).no_proxy().build().unwrap()
}

/// The TLS settings alone, for raw connections.
pub fn tls(ca: &Ca, credential: &Credential<'_>) -> ClientConfig {
    settings(&ca.pem(), credential)
}

fn settings(ca: &str, credential: &Credential<'_>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .unwrap()
        .with_root_certificates(roots);
    match credential {
        Credential::Certificate(identity) => {
            let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
            let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain.map(Result::unwrap).collect(), key).unwrap()
        }
        Credential::None | Credential::Bearer(_) => builder.with_no_client_auth(),
    }
}
