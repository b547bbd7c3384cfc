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

use crate::{
    config::{ClientAuth, ServerTls, TlsVersion},
    files::{self, SMALL_FILE_BYTES_MAX},
};

/// Why a listener's TLS files were not taken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("couldn't read `{}`: {why}", file.display())]
    Read { file: PathBuf, why: String },
    #[error("`{}` holds no {what} in PEM", file.display())]
    Empty { file: PathBuf, what: &'static str },
    #[error("certificate `{}` and its key don't fit: {why}", file.display())]
    Mismatch { file: PathBuf, why: String },
    #[error("client authorities in `{}` are not usable: {why}", file.display())]
    Authorities { file: PathBuf, why: String },
}

/// A listener's current TLS configuration.
pub struct Tls {
    files: ServerTls,
    current: ArcSwap<ServerConfig>,
    fingerprint: std::sync::Mutex<blake3::Hash>,
}

impl Tls {
    pub fn load(files: &ServerTls) -> Result<Self, TlsError> {
        let fingerprint = fingerprint(files)?;
        let config = build(files)?;
        Ok(Self {
            files: files.clone(),
            current: ArcSwap::from_pointee(config),
            fingerprint: std::sync::Mutex::new(fingerprint),
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
        self.current.store(Arc::new(build(&self.files)?));
        *last = now;
        Ok(true)
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
