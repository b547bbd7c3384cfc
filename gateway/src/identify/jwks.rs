//! Key sets of token issuers: read from a file, from a URL, or from where the issuer's own metadata
//! says; found by `kid`, read again by a timer, and at once when a token names an unknown key.
//!
//! A set that was read counts, also when it holds no key any more. One that cannot be read leaves
//! the keys of its predecessor in use for a bounded time; after that nobody logs in by them.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{
    Failure,
    jose::{Jws, Key, Object},
};
use crate::{config::TokenIssuer, files};

/// A key set larger than this is refused.
const JWKS_BYTES_MAX: usize = 256 * 1024;
/// How long one fetch may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// A key set is read again this often.
const REFRESH: Duration = Duration::from_secs(300);
/// One that could not be read, this often.
const REFRESH_IN_TROUBLE: Duration = Duration::from_secs(10);
/// Unknown keys make us read a set at most this often: anybody can name one.
const COOL_DOWN: Duration = Duration::from_secs(10);
/// OpenID Connect Discovery 1.0, section 4.
const METADATA: &str = "/.well-known/openid-configuration";

/// Where a key set comes from.
#[derive(Clone, Debug)]
pub(super) enum Location {
    File(PathBuf),
    Url(String),
    /// The `jwks_uri` of the issuer's metadata.
    Metadata,
}

impl Location {
    pub(super) fn of(config: &TokenIssuer) -> Self {
        match (&config.jwks_file, &config.jwks_url) {
            (Some(file), _) => Self::File(file.clone()),
            (None, Some(url)) => Self::Url(url.clone()),
            (None, None) => Self::Metadata,
        }
    }
}

/// Why a key set could not be read again.
#[derive(Debug, thiserror::Error)]
#[error("key set of issuer `{issuer}`: {why}")]
pub struct KeySetError {
    pub issuer: String,
    pub why: String,
}

struct Current {
    keys: Arc<Vec<Key>>,
    text: blake3::Hash,
    read: Instant,
}

/// The current keys of one issuer.
pub(super) struct KeySet {
    issuer: String,
    location: Location,
    /// Authorities of the server's certificate, instead of the system's.
    ca: Option<PathBuf>,
    age_max: Duration,
    current: ArcSwapOption<Current>,
    /// Why the last reading failed, if it did.
    trouble: Mutex<Option<String>>,
    reads: AtomicU64,
    /// One reading at a time; and when an unknown key last caused one.
    flight: tokio::sync::Mutex<Option<Instant>>,
}

impl KeySet {
    pub(super) fn new(config: &TokenIssuer, location: Location) -> Self {
        Self {
            issuer: config.issuer.clone(),
            location,
            ca: config.ca.clone(),
            age_max: Duration::from_secs(u64::from(config.jwks_max_age_s)),
            current: ArcSwapOption::empty(),
            trouble: Mutex::new(None),
            reads: AtomicU64::new(0),
            flight: tokio::sync::Mutex::new(None),
        }
    }

    /// Whether a key of the set has signed the token. A key that the set does not know makes us
    /// read it again before the answer.
    pub(super) async fn verify(self: &Arc<Self>, jws: &Jws<'_>) -> Result<(), Failure> {
        let knows = |keys: &[Key]| keys.iter().any(|key| key.id == jws.key_id);
        if jws.key_id.is_some() && !self.keys().is_some_and(|keys| knows(&keys)) {
            let set = self.clone();
            // A task of its own: a caller who hangs up does not end what others wait for.
            let _stopping = tokio::spawn(async move { set.look_again().await }).await;
        }
        let keys = self.keys().ok_or(Failure::TokenKey)?;
        let mut fitting = keys.iter().filter(|key| key.fits(jws)).peekable();
        fitting.peek().ok_or(Failure::TokenKey)?;
        fitting.any(|key| key.verifies(jws)).then_some(()).ok_or(Failure::TokenSignature)
    }

    /// The keys, unless they are too old to be used.
    fn keys(&self) -> Option<Arc<Vec<Key>>> {
        let current = self.current.load();
        let current = current.as_ref().filter(|current| current.read.elapsed() <= self.age_max);
        current.map(|current| current.keys.clone())
    }

    async fn look_again(&self) {
        let before = self.reads.load(Ordering::Acquire);
        let mut asked = self.flight.lock().await;
        let read_meanwhile = self.reads.load(Ordering::Acquire) != before;
        if read_meanwhile || asked.is_some_and(|at| at.elapsed() < COOL_DOWN) {
            return;
        }
        *asked = Some(Instant::now());
        let _told = self.read().await;
    }

    /// Reads the set for ever, each time it is due.
    pub(super) async fn keep(&self) {
        if self.file().is_none() {
            let _told = self.refresh().await;
        }
        loop {
            let in_trouble = self.trouble.lock().unwrap_or_else(|e| e.into_inner()).is_some();
            tokio::time::sleep(if in_trouble { REFRESH_IN_TROUBLE } else { REFRESH }).await;
            let _told = self.refresh().await;
        }
    }

    pub(super) fn file(&self) -> Option<PathBuf> {
        match &self.location {
            Location::File(path) => Some(path.clone()),
            _ => None,
        }
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Why nobody can log in by this set now, if nobody can.
    pub(super) fn trouble(&self) -> Option<KeySetError> {
        if self.keys().is_some() {
            return None;
        }
        let trouble = self.trouble.lock().unwrap_or_else(|e| e.into_inner()).clone();
        let why = trouble.unwrap_or_else(|| "not read yet".to_owned());
        Some(KeySetError { issuer: self.issuer.clone(), why })
    }

    pub(super) async fn refresh(&self) -> Result<(), KeySetError> {
        let _flight = self.flight.lock().await;
        self.read().await
    }

    /// Each change of state is one line in the log.
    async fn read(&self) -> Result<(), KeySetError> {
        let taken = self.text().await.and_then(|text| self.take(&text));
        self.reads.fetch_add(1, Ordering::AcqRel);
        let mut trouble = self.trouble.lock().unwrap_or_else(|e| e.into_inner());
        let issuer = self.issuer.as_str();
        match taken {
            Ok(changed) => {
                let recovered = trouble.take().is_some();
                if let Some((keys, ignored)) = changed {
                    tracing::info!(event = "key-set-read", issuer, keys, ignored);
                } else if recovered {
                    tracing::info!(event = "key-set-unchanged", issuer);
                }
                Ok(())
            }
            Err(mut why) => {
                if self.current.load().is_some() && self.keys().is_none() {
                    why.push_str("; the keys read earlier are too old and no longer used");
                }
                if trouble.as_ref() != Some(&why) {
                    tracing::error!(event = "key-set-unread", issuer, %why);
                }
                *trouble = Some(why.clone());
                Err(KeySetError { issuer: issuer.to_owned(), why })
            }
        }
    }

    /// Puts a set in force; how many of its keys are used and how many ignored, if it is new.
    fn take(&self, text: &str) -> Result<Option<(usize, usize)>, String> {
        #[derive(serde::Deserialize)]
        struct Set<'t> {
            #[serde(borrow)]
            keys: Vec<&'t RawValue>,
        }
        let (hash, read) = (blake3::hash(text.as_bytes()), Instant::now());
        if let Some(current) = self.current.load().as_ref().filter(|c| c.text == hash) {
            let keys = current.keys.clone();
            self.current.store(Some(Arc::new(Current { keys, text: hash, read })));
            return Ok(None);
        }
        let set: Set<'_> = serde_json::from_str(text)
            .map_err(|e| format!("malformed: not a JSON web key set (line {})", e.line()))?;
        let jwks = set.keys.iter().map(|jwk| Object::parse(jwk.get().as_bytes()));
        let keys: Vec<Key> = jwks.filter_map(|jwk| Key::of(&jwk?)).collect();
        let counts = (keys.len(), set.keys.len() - keys.len());
        self.current.store(Some(Arc::new(Current { keys: Arc::new(keys), text: hash, read })));
        Ok(Some(counts))
    }

    async fn text(&self) -> Result<String, String> {
        match &self.location {
            Location::File(path) => read_file(path).await,
            Location::Url(url) => fetch(&self.client().await?, url).await,
            Location::Metadata => {
                let client = self.client().await?;
                let url = format!("{}{METADATA}", self.issuer.trim_end_matches('/'));
                let metadata = fetch(&client, &url).await.map_err(|e| format!("metadata: {e}"))?;
                fetch(&client, &jwks_uri(&metadata, &self.issuer)?).await
            }
        }
    }

    async fn client(&self) -> Result<reqwest::Client, String> {
        let builder = reqwest::Client::builder()
            .timeout(FETCH_TIMEOUT)
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none());
        let Some(ca) = &self.ca else {
            let none = "couldn't create a TLS client; does the system have certificate authorities? `ca` can name some";
            return builder.build().map_err(|_| none.to_owned());
        };
        let pem = read_file(ca).await?;
        let unusable = |_| format!("`{}` contains no usable PEM certificate", ca.display());
        let roots = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(unusable)?;
        builder.tls_certs_only(roots).build().map_err(unusable)
    }
}

async fn read_file(path: &Path) -> Result<String, String> {
    let path = path.to_owned();
    files::blocking(move || {
        files::read_text(&path, JWKS_BYTES_MAX as u64)
            .map_err(|why| format!("`{}`: {why}", path.display()))
    })
    .await
}

async fn fetch(client: &reqwest::Client, url: &str) -> Result<String, String> {
    let mut answer = client.get(url).send().await.map_err(|e| said(&e))?;
    if !answer.status().is_success() {
        return Err(format!("answered with status {}", answer.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|e| said(&e))? {
        body.extend_from_slice(&chunk);
        if body.len() > JWKS_BYTES_MAX {
            return Err(format!("malformed: larger than {JWKS_BYTES_MAX} bytes"));
        }
    }
    String::from_utf8(body).map_err(|_| "malformed: not UTF-8".to_owned())
}

/// OpenID Connect Discovery 1.0, 4.3: the metadata must name the issuer that it was asked of.
fn jwks_uri(metadata: &str, issuer: &str) -> Result<String, String> {
    let malformed =
        || "metadata: malformed: not a JSON object with `issuer` and `jwks_uri`".to_owned();
    let metadata = Object::parse(metadata.as_bytes()).ok_or_else(malformed)?;
    let text = |name| metadata.text(name).ok().flatten().ok_or_else(malformed);
    if text("issuer")? != issuer {
        return Err("metadata: it names a different issuer".to_owned());
    }
    let uri = text("jwks_uri")?;
    match uri.starts_with("https://") {
        true => Ok(uri.to_owned()),
        false => Err("metadata: its `jwks_uri` is not https".to_owned()),
    }
}

/// What went wrong, in the words an operator looks for; never the URL.
fn said(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("timed out after {} s", FETCH_TIMEOUT.as_secs());
    }
    let mut error: &(dyn Error + 'static) = error;
    loop {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return match tls {
                rustls::Error::InvalidCertificate(why) => format!(
                    "untrusted certificate ({why:?}); use `ca` to name authorities other than the system's"
                ),
                other => format!("TLS: {other}"),
            };
        }
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused) {
            return "connection refused".to_owned();
        }
        // An I/O error's `source` skips the error that it holds.
        let held = io.and_then(io::Error::get_ref).map(|held| held as &(dyn Error + 'static));
        match held.or_else(|| error.source()) {
            Some(inner) => error = inner,
            None => return format!("unreachable: {error}"),
        }
    }
}

#[cfg(test)]
mod tests;
