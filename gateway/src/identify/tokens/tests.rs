use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::*;
use crate::identify::install_jwt_crypto;

const NOW: i64 = 1_800_000_000;

struct House {
    issuers: Issuers,
    key: Ed25519KeyPair,
    _dir: tempfile::TempDir,
}

async fn house() -> House {
    install_jwt_crypto();
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    let x = B64.encode(key.public_key().as_ref());
    let set = format!(
        r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"k1","alg":"EdDSA","use":"sig","x":"{x}"}}]}}"#
    );
    std::fs::write(&file, set).unwrap();
    let issuers = Issuers::new(&[TokenIssuer {
        issuer: "https://id.example".into(),
        audience: "sluicegate".into(),
        jwks_file: Some(file),
        jwks_url: None,
        algorithms: vec![Algorithm::EdDSA],
        clock_skew_s: 60,
        principal_claim: "sub".into(),
        principals: Default::default(),
    }]);
    assert!(issuers.refresh().await.is_empty());
    House { issuers, key, _dir: dir }
}

fn token(key: &Ed25519KeyPair, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", B64.encode(header), B64.encode(claims));
    let signature = B64.encode(key.sign(signed.as_bytes()).as_ref());
    format!("Bearer {signed}.{signature}")
}

fn claims(changes: &[(&str, Option<&str>)]) -> String {
    let mut claims = serde_json::json!({
        "iss": "https://id.example", "aud": "sluicegate", "sub": "svc.orders", "exp": NOW + 300,
    });
    for (name, value) in changes {
        let object = claims.as_object_mut().unwrap();
        match value {
            Some(value) => {
                object.insert((*name).into(), serde_json::from_str(value).unwrap());
            }
            None => {
                object.shift_remove(*name);
            }
        }
    }
    claims.to_string()
}

const HEADER: &str = r#"{"alg":"EdDSA","kid":"k1"}"#;

#[tokio::test]
async fn each_claim_must_hold() {
    let house = house().await;
    let verify = |header: &str, claims: &str| {
        house.issuers.verify(&token(&house.key, header, claims), NOW).map(|p| p.to_string())
    };
    assert_eq!(verify(HEADER, &claims(&[])), Ok("svc.orders".into()));
    let late = (NOW - 61).to_string();
    let soon = (NOW + 61).to_string();
    for (changes, failure) in [
        (vec![("exp", Some(late.as_str()))], Failure::TokenExpired),
        (vec![("exp", None)], Failure::TokenExpired),
        (vec![("nbf", Some(soon.as_str()))], Failure::TokenNotYet),
        (vec![("aud", Some("\"other\""))], Failure::TokenAudience),
        (vec![("aud", None)], Failure::TokenAudience),
        (vec![("iss", Some("\"https://evil.example\""))], Failure::TokenIssuer),
        (vec![("sub", None)], Failure::TokenUnmapped),
    ] {
        assert_eq!(verify(HEADER, &claims(&changes)), Err(failure), "{changes:?}");
    }
    // Within the skew.
    let just = (NOW - 59).to_string();
    assert!(verify(HEADER, &claims(&[("exp", Some(just.as_str()))])).is_ok());
}

#[tokio::test]
async fn algorithms_keys_and_signatures_must_fit() {
    let house = house().await;
    let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
    let good = token(&house.key, HEADER, &claims(&[]));
    let verify = |header: &str| house.issuers.verify(header, NOW).map(|p| p.to_string());
    assert_eq!(verify(&token(&other, HEADER, &claims(&[]))), Err(Failure::TokenSignature));
    let unknown = token(&house.key, r#"{"alg":"EdDSA","kid":"k2"}"#, &claims(&[]));
    assert_eq!(verify(&unknown), Err(Failure::TokenKey));
    let hmac = token(&house.key, r#"{"alg":"HS256","kid":"k1"}"#, &claims(&[]));
    assert_eq!(verify(&hmac), Err(Failure::TokenAlgorithm));
    let none = token(&house.key, r#"{"alg":"none"}"#, &claims(&[]));
    assert_eq!(verify(&none), Err(Failure::TokenMalformed));
    assert_eq!(verify("Basic dXNlcjpwdw=="), Err(Failure::NotBearer));
    assert_eq!(verify("Bearer x.y"), Err(Failure::TokenMalformed));
    assert!(verify(&good.replace("Bearer", "bearer")).is_ok());
}
