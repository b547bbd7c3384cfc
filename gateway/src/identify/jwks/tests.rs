use std::sync::atomic::AtomicBool;

use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{ambient::SystemClock, identify::tokens::Issuers};

/// An identity provider on this machine: answers each path with a text, and counts the asks.
struct Provider {
    issuer: String,
    answers: Arc<Mutex<Vec<(&'static str, String)>>>,
    asked: Arc<AtomicU64>,
    silent: Arc<AtomicBool>,
    dir: tempfile::TempDir,
}

impl Provider {
    async fn start() -> Self {
        crate::cli::install_crypto();
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(dir.path().join("ca.pem"), made.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let provider = Self {
            issuer,
            answers: Arc::default(),
            asked: Arc::default(),
            silent: Arc::default(),
            dir,
        };
        let (answers, asked) = (provider.answers.clone(), provider.asked.clone());
        let silent = provider.silent.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(socket).await else { continue };
                let mut request = vec![0; 4096];
                let read = stream.read(&mut request).await.unwrap_or_default();
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                asked.fetch_add(1, Ordering::SeqCst);
                // Long enough that everyone else who asks finds this one in progress.
                tokio::time::sleep(Duration::from_millis(30)).await;
                if silent.load(Ordering::SeqCst) {
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_secs(60)).await;
                        drop(stream);
                    });
                    continue;
                }
                let found = answers.lock().unwrap().iter().find(|(p, _)| *p == path).cloned();
                let status = if found.is_some() { "200 OK" } else { "503 Service Unavailable" };
                let body = found.map(|(_, body)| body).unwrap_or_default();
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
                let answer = format!("{head}connection: close\r\n\r\n{body}");
                let _gone = stream.write_all(answer.as_bytes()).await;
                let _gone = stream.shutdown().await;
            }
        });
        provider
    }

    fn answer(&self, path: &'static str, body: impl ToString) {
        let mut answers = self.answers.lock().unwrap();
        answers.retain(|(other, _)| *other != path);
        answers.push((path, body.to_string()));
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    fn config(&self) -> TokenIssuer {
        TokenIssuer {
            issuer: self.issuer.clone(),
            audience: "sluicegate".into(),
            jwks_file: None,
            jwks_url: Some(format!("{}/keys", self.issuer)),
            discovery: false,
            ca: Some(self.dir.path().join("ca.pem")),
            jwks_max_age_s: 3600,
            algorithms: vec![crate::config::Algorithm::EdDsa],
            token_type: None,
            clock_skew_s: 60,
            principal_claim: "sub".into(),
            principals: Default::default(),
        }
    }
}

fn set_of(config: &TokenIssuer) -> Arc<KeySet> {
    Arc::new(KeySet::new(config, Location::of(config)))
}

async fn why(config: &TokenIssuer) -> String {
    set_of(config).refresh().await.unwrap_err().why
}

fn pair(seed: u8) -> ring::signature::Ed25519KeyPair {
    ring::signature::Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A set of the keys of these seeds, each with its seed as `kid`.
fn keys(seeds: &[u8]) -> serde_json::Value {
    use ring::signature::KeyPair;
    let key = |seed: &u8| {
        let x = encode(pair(*seed).public_key());
        json!({"kty":"OKP", "crv":"Ed25519", "kid":seed.to_string(), "x":x})
    };
    json!({ "keys": seeds.iter().map(key).collect::<Vec<_>>() })
}

fn token(issuer: &str, seed: u8) -> String {
    let header = json!({ "alg": "EdDSA", "kid": seed.to_string() }).to_string();
    let claims = json!({"iss":issuer, "aud":"sluicegate", "sub":"s", "exp":253_402_300_799_i64});
    let signed = format!("{}.{}", encode(header), encode(claims.to_string()));
    format!("Bearer {signed}.{}", encode(pair(seed).sign(signed.as_bytes())))
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_at_once_and_seldom() {
    let provider = Provider::start().await;
    provider.answer("/keys", keys(&[1]));
    let issuers = Arc::new(Issuers::new(&[provider.config()]));
    issuers.key_sets().next().unwrap().refresh().await.unwrap();
    let ask = async |seed| issuers.verify(&token(&provider.issuer, seed), &SystemClock).await;
    assert!(ask(1).await.is_ok());
    assert_eq!(provider.asked(), 1, "a known key asks nobody");
    // Rotated: the first caller makes one fetch, for all.
    provider.answer("/keys", keys(&[2]));
    let all = futures_util::future::join_all((0..50).map(|_| ask(2))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(provider.asked(), 2);
    for _ in 0..50 {
        assert_eq!(ask(9).await, Err(Failure::TokenKey));
    }
    assert_eq!(provider.asked(), 2, "within the cool-down, strangers cause no fetch");
    assert_eq!(ask(1).await, Err(Failure::TokenKey), "a key that is gone verifies nothing");
}

#[tokio::test]
async fn keys_come_from_the_issuers_own_metadata() {
    let provider = Provider::start().await;
    let config = TokenIssuer { jwks_url: None, discovery: true, ..provider.config() };
    let issuer = &provider.issuer;
    provider.answer("/jwks", keys(&[1]));
    let uri = format!("{issuer}/jwks");
    for (metadata, right) in [
        (json!({ "issuer": issuer, "jwks_uri": uri }), Ok(())),
        (json!({ "issuer": format!("{issuer}/"), "jwks_uri": uri }), Err("a different issuer")),
        (json!({ "issuer": issuer, "jwks_uri": "http://localhost/jwks" }), Err("not https")),
        (json!({ "issuer": issuer }), Err("malformed")),
        (json!([]), Err("malformed")),
    ] {
        provider.answer(METADATA, &metadata);
        match (set_of(&config).refresh().await, right) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.why.contains(part), "{error}"),
            (got, _) => panic!("{metadata}: {got:?}"),
        }
    }
}

#[tokio::test]
async fn an_error_says_what_to_look_for() {
    let provider = Provider::start().await;
    let config = provider.config();
    assert_eq!(why(&config).await, "answered with status 503");
    provider.answer("/keys", "<html>");
    assert_eq!(why(&config).await, "malformed: not a JSON web key set (line 1)");
    provider.answer("/keys", " ".repeat(JWKS_BYTES_MAX + 1));
    assert_eq!(why(&config).await, "malformed: larger than 262144 bytes");
    let other = Provider::start().await;
    let untrusted = TokenIssuer { ca: other.config().ca, ..provider.config() };
    let text = why(&untrusted).await;
    assert!(text.starts_with("untrusted certificate ("), "{text}");
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = TokenIssuer { jwks_url: Some(format!("https://{free}/")), ..provider.config() };
    assert_eq!(why(&refused).await, "connection refused");
    let unknown =
        TokenIssuer { jwks_url: Some("https://idp.invalid/".into()), ..provider.config() };
    let text = why(&unknown).await;
    assert!(text.starts_with("unreachable: ") && !text.contains("idp.invalid"), "{text}");
    provider.silent.store(true, Ordering::SeqCst);
    assert_eq!(why(&config).await, "timed out after 5 s");
}

#[tokio::test]
async fn keys_that_cannot_be_read_again_are_used_for_a_time() {
    let provider = Provider::start().await;
    provider.answer("/keys", keys(&[1]));
    let issuers = Issuers::new(&[TokenIssuer { jwks_max_age_s: 1, ..provider.config() }]);
    let set = issuers.key_sets().next().unwrap();
    assert_eq!(set.trouble().unwrap().why, "not read yet");
    set.refresh().await.unwrap();
    assert!(set.trouble().is_none());
    let ask = async || issuers.verify(&token(&provider.issuer, 1), &SystemClock).await;
    provider.answer("/keys", "gone");
    assert!(set.refresh().await.is_err());
    assert!(ask().await.is_ok(), "the former keys are still young");
    assert!(set.trouble().is_none());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(ask().await, Err(Failure::TokenKey));
    let why = set.trouble().unwrap().why;
    assert!(why.ends_with("too old and no longer used"), "{why}");
    provider.answer("/keys", keys(&[1]));
    set.refresh().await.unwrap();
    assert!(ask().await.is_ok());
    // A set that was read counts, also an empty one.
    provider.answer("/keys", keys(&[]));
    set.refresh().await.unwrap();
    assert!(set.trouble().is_none());
    assert_eq!(ask().await, Err(Failure::TokenKey));
}

/// A pipe would hold its thread for ever.
#[tokio::test]
async fn a_key_set_in_a_file_is_a_regular_one_within_its_bound() {
    let dir = tempfile::tempdir().unwrap();
    let config = Provider::start().await.config();
    let refused = async |name: &str| {
        let set = KeySet::new(&config, Location::File(dir.path().join(name)));
        set.refresh().await.unwrap_err().why
    };
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(refused("pipe").await.ends_with("pipe`: not a regular file"));
    std::fs::write(dir.path().join("large"), vec![b' '; JWKS_BYTES_MAX + 1]).unwrap();
    assert!(refused("large").await.ends_with("large`: larger than 262144 bytes"));
}
