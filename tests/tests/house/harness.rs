//! The harness judged: certificates that verify and are refused over real TLS, tokens that are what they
//! claim to be.

use std::{net::SocketAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use serde_json::Value;
use sluicegate_tests::{
    ca::Ca,
    client::{Credential, client},
    jwt::{Claims, SigningKey, tampered, unsigned, write_jwks},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

fn mutual_tls(ca: &Ca) -> ServerConfig {
    let provider = Arc::new(default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .unwrap();
    let server = ca.server();
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(server.certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(server.key.as_bytes()).unwrap(),
        )
        .unwrap()
}

/// Says "ok" to whoever presents a certificate of this CA.
async fn serve(ca: &Ca) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(mutual_tls(ca)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _request = stream.read(&mut [0; 4096]).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
            let _written = stream.write_all(answer).await;
            let _closed = stream.shutdown().await;
        }
    });
    address
}

#[tokio::test]
async fn certificates_of_one_ca_open_its_doors_only() {
    let (ca, other) = (Ca::new("one"), Ca::new("other"));
    let address = serve(&ca).await;
    let (good, expired, foreign) = (
        ca.client("spiffe://acme/a"),
        ca.expired_client("spiffe://acme/a"),
        other.client("spiffe://acme/a"),
    );
    for (trusts, credential, opens) in [
        (&ca, Credential::Certificate(&good), true),
        (&ca, Credential::Certificate(&expired), false),
        (&ca, Credential::Certificate(&foreign), false),
        (&ca, Credential::None, false),
        (&other, Credential::Certificate(&good), false),
    ] {
        for host in ["127.0.0.1", "localhost"] {
            let url = format!("https://{host}:{}/", address.port());
            let answer = client(trusts, &credential).get(&url).send().await;
            assert_eq!(answer.is_ok_and(|answer| answer.status() == 200), opens);
        }
    }
}

#[test]
fn a_rotation_replaces_both_files() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let files = ca.server().write(dir.path(), "server");
    let before = (read(&files.certificate), read(&files.key));
    let next = ca.server();
    next.write(dir.path(), "server");
    assert_eq!((read(&files.certificate), read(&files.key)), (next.certificate, next.key));
    assert_ne!(before.0, read(&files.certificate));
}

fn part(token: &str, index: usize) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap()
}

fn verifies(token: &str, public_key: &[u8], kind: &'static dyn VerificationAlgorithm) -> bool {
    let (message, _) = token.rsplit_once('.').unwrap();
    UnparsedPublicKey::new(kind, public_key).verify(message.as_bytes(), &part(token, 2)).is_ok()
}

#[test]
fn tokens_verify_by_the_published_keys() {
    let dir = tempfile::tempdir().unwrap();
    let keys = [SigningKey::ed25519("first"), SigningKey::es256("second")];
    let set: Value = serde_json::from_slice(
        &std::fs::read(write_jwks(dir.path(), &[&keys[0], &keys[1]])).unwrap(),
    )
    .unwrap();
    let published = |key: usize, name: &str| {
        URL_SAFE_NO_PAD.decode(set["keys"][key][name].as_str().unwrap_or_default()).unwrap()
    };
    let point = [vec![4], published(1, "x"), published(1, "y")].concat();
    let claims = Claims::new("https://issuer.example", "sluicegate", "svc.a").json();
    let tokens = keys.map(|key| key.token(&claims));
    assert!(verifies(&tokens[0], &published(0, "x"), &ED25519));
    assert!(verifies(&tokens[1], &point, &ECDSA_P256_SHA256_FIXED));
    assert!(!verifies(&tampered(&tokens[0]), &published(0, "x"), &ED25519));
    assert!(!verifies(&tampered(&tokens[1]), &point, &ECDSA_P256_SHA256_FIXED));
}

#[test]
fn spoiled_claims_are_spoiled_in_one_way() {
    let good = Claims::new("i", "a", "s");
    let (json, expired, later) =
        (good.json(), good.clone().expired().json(), good.clone().not_yet().json());
    let number = |json: &Value, name: &str| json[name].as_i64().unwrap();
    assert!(
        number(&json, "nbf") <= number(&json, "iat") && number(&json, "iat") < number(&json, "exp")
    );
    assert!(number(&expired, "exp") < number(&expired, "iat"));
    assert!(number(&later, "nbf") > number(&later, "iat"));
    let none = unsigned(&good);
    assert!(none.ends_with('.'));
    assert_eq!(serde_json::from_slice::<Value>(&part(&none, 0)).unwrap()["alg"], "none");
}
