//! TLS for a listener: certificates, keys and client authorities that are read again while
//! connections live.
//!
//! A reload builds a whole new rustls configuration, with fresh session storage: a ticket that
//! was issued under a client authority that is gone cannot resume. A reload that fails keeps the
//! old configuration and says why.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    config::{ClientAuth, ServerTls, TlsVersion},
    files::{self, SMALL_FILE_BYTES_MAX},
};

/// Why a listener's TLS files were not taken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("couldn't read `{}`: {why}", file.display())]
    Read { file: PathBuf, why: String },
    #[error("`{}` contains no PEM {what}", file.display())]
    Empty { file: PathBuf, what: &'static str },
    #[error("certificate `{}` and its key don't match: {why}", file.display())]
    Mismatch { file: PathBuf, why: String },
    #[error("client authorities in `{}` are not usable: {why}", file.display())]
    Authorities { file: PathBuf, why: String },
}

/// A listener's current TLS configuration.
pub struct Tls {
    files: ServerTls,
    current: ArcSwap<ServerConfig>,
    fingerprint: std::sync::Mutex<blake3::Hash>,
    expiries: std::sync::Mutex<Vec<(&'static str, i64)>>,
}

impl Tls {
    pub fn load(files: &ServerTls) -> Result<Self, TlsError> {
        let fingerprint = fingerprint(files)?;
        let config = build(files)?;
        Ok(Self {
            files: files.clone(),
            current: ArcSwap::from_pointee(config),
            fingerprint: std::sync::Mutex::new(fingerprint),
            expiries: std::sync::Mutex::new(expiries(files)?),
        })
    }

    /// The configuration for a new connection.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Reads the files again. `Ok(true)` when they had changed and are now used.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let now = fingerprint(&self.files)?;
        let mut last = self.fingerprint.lock().unwrap_or_else(|e| e.into_inner());
        if *last == now {
            return Ok(false);
        }
        let (config, expiries) = (build(&self.files)?, expiries(&self.files)?);
        self.current.store(Arc::new(config));
        *self.expiries.lock().unwrap_or_else(|e| e.into_inner()) = expiries;
        *last = now;
        Ok(true)
    }

    /// When the certificate expires, and the first of the client authorities; seconds since the
    /// epoch.
    pub fn expiries(&self) -> Vec<(&'static str, i64)> {
        self.expiries.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// The files to watch.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.files.certificate.clone(), self.files.key.clone()];
        files.extend(self.files.client_ca.clone());
        files
    }
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    files::read(file, SMALL_FILE_BYTES_MAX)
        .map_err(|why| TlsError::Read { file: file.to_owned(), why })
}

fn fingerprint(files: &ServerTls) -> Result<blake3::Hash, TlsError> {
    let mut hasher = blake3::Hasher::new();
    for file in [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()] {
        let Some(file) = file else { continue };
        hasher.update(blake3::hash(&read(file)?).as_bytes());
    }
    Ok(hasher.finalize())
}

fn certificates(file: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(file)?).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(TlsError::Empty { file: file.to_owned(), what }),
    }
}

/// Of the leaf, and the first of the client authorities.
fn expiries(files: &ServerTls) -> Result<Vec<(&'static str, i64)>, TlsError> {
    let end = |der: &CertificateDer<'_>| {
        let parsed = X509Certificate::from_der(der).ok();
        parsed.map(|(_, certificate)| certificate.validity().not_after.timestamp())
    };
    let chain = certificates(&files.certificate, "certificate")?;
    let mut ends = vec![("certificate", chain.first().and_then(end))];
    if let Some(ca) = &files.client_ca {
        let first = certificates(ca, "certificate")?.iter().filter_map(end).min();
        ends.push(("client-ca", first));
    }
    Ok(ends.into_iter().filter_map(|(what, end)| Some((what, end?))).collect())
}

fn build(files: &ServerTls) -> Result<ServerConfig, TlsError> {
    let chain = certificates(&files.certificate, "certificate")?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
        .map_err(|_| TlsError::Empty { file: files.key.clone(), what: "private key" })?;
    let versions: &[&rustls::SupportedProtocolVersion] = match files.min_version {
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
        TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
    };
    let builder = ServerConfig::builder_with_protocol_versions(versions);
    let builder = match (files.client_auth, &files.client_ca) {
        (ClientAuth::Optional, Some(ca)) => builder.with_client_cert_verifier(verifier(ca, true)?),
        (ClientAuth::Required, Some(ca)) => builder.with_client_cert_verifier(verifier(ca, false)?),
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|e| TlsError::Mismatch { file: files.certificate.clone(), why: e.to_string() })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn verifier(
    ca: &Path,
    optional: bool,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let refused = |why: String| TlsError::Authorities { file: ca.to_owned(), why };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca, "certificate")? {
        roots.add(certificate).map_err(|e| refused(e.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder(Arc::new(roots));
    let builder = if optional { builder.allow_unauthenticated() } else { builder };
    builder.build().map_err(|e| refused(e.to_string()))
}

#[cfg(test)]
mod tests {
    use rcgen::date_time_ymd;

    use super::*;

    fn files(dir: &Path) -> ServerTls {
        let text = "certificate: a.pem\nkey: a.key\nclient-ca: a.pem\nclient-auth: optional\n";
        let mut files: ServerTls = serde_saphyr::from_str(text).unwrap();
        files.certificate = dir.join("a.pem");
        files.key = dir.join("a.key");
        files.client_ca = Some(dir.join("a.pem"));
        files
    }

    #[test]
    fn expiries_are_those_of_the_files_and_pipes_are_not_read() {
        crate::cli::install_crypto();
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        let write = |year| {
            let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.not_after = date_time_ymd(year, 1, 1);
            let key = rcgen::KeyPair::generate().unwrap();
            std::fs::write(&files.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
            std::fs::write(&files.key, key.serialize_pem()).unwrap();
        };
        write(2030);
        let tls = Tls::load(&files).unwrap();
        assert_eq!(tls.expiries(), [("certificate", 1_893_456_000), ("client-ca", 1_893_456_000)]);
        write(2031);
        assert!(tls.reload().unwrap());
        assert_eq!(tls.expiries()[0], ("certificate", 1_924_992_000));
        std::fs::remove_file(&files.key).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&files.key).status().unwrap().success());
        let why = tls.reload().unwrap_err().to_string();
        assert!(why.ends_with("a.key`: not a regular file"), "{why}");
    }
}
