use std::{path::Path, sync::atomic::Ordering};

use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;
use sluicegate_wire::sasl::client;

use super::*;
use crate::{
    ambient::{Ambient, ManualClock},
    config::{self, Identify},
    identify::passwords::{self, tests::set},
};

const NOW_S: i64 = 1_800_000_000;
const SHA256: &str = "SCRAM-SHA-256";

struct House {
    dir: tempfile::TempDir,
    identifier: Arc<Identifier>,
}

async fn house() -> House {
    house_of(false).await
}

/// `svc.market` has the password `pencil`, and one issuer is believed.
async fn house_of(lenient_scram_nonce: bool) -> House {
    crate::cli::install_crypto();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passwords.yaml");
    set(&file, "svc.market", "pencil");
    let x = BASE64_URL_SAFE_NO_PAD.encode(signer().public_key());
    let keys = json!({"keys": [{"kty":"OKP", "crv":"Ed25519", "kid":"k", "x":x}]});
    std::fs::write(dir.path().join("jwks.json"), keys.to_string()).unwrap();
    let issuer = format!(
        "{{ issuer: i, audience: a, jwks-file: {:?}, algorithms: [EdDSA] }}",
        dir.path().join("jwks.json")
    );
    let config = Identify {
        tokens: vec![serde_saphyr::from_str(&issuer).unwrap()],
        passwords: Some(config::Passwords { file, lenient_scram_nonce }),
        ..Identify::default()
    };
    let clock = Arc::new(ManualClock::at_us(NOW_S * 1_000_000));
    let ambient = Ambient { clock, ..Ambient::system() };
    let identifier = Arc::new(Identifier::new(&config, &ambient));
    assert!(identifier.refresh_files().await.is_empty());
    House { dir, identifier }
}

impl House {
    fn login(&self, mechanism: &str) -> Login {
        self.identifier.login(mechanism).unwrap()
    }

    fn passwords(&self) -> &Path {
        self.identifier.passwords.as_ref().unwrap().file()
    }

    fn iterated(&self) -> u64 {
        self.identifier.passwords.as_ref().unwrap().iterated.load(Ordering::Relaxed)
    }

    async fn plain(&self, message: &[u8]) -> Result<String, Failure> {
        end(self.login(PLAIN).step(message).await)
    }

    /// A whole exchange of SCRAM, as a client holds it.
    async fn scram(
        &self,
        mechanism: Mechanism,
        name: &str,
        password: &str,
    ) -> Result<String, Failure> {
        let mut login = self.login(mechanism.name());
        let (first, mut scram) = client::Scram::new(mechanism, name, "fyko+d2lbbFgONRv9qkxdawL");
        let challenge = challenge(login.step(&first).await);
        let proof = scram.proof(&challenge, password).unwrap();
        let step = login.step(&proof).await;
        if let Step::Done { answer, until_ms, .. } = &step {
            assert_eq!((scram.verify(answer), *until_ms), (Ok(()), None));
        }
        end(step)
    }
}

fn challenge(step: Step) -> Vec<u8> {
    match step {
        Step::Challenge(message) => message,
        Step::Done { .. } => panic!("done"),
        Step::Failed(failure) => panic!("{failure}"),
    }
}

/// The principal and how it proved itself.
fn end(step: Step) -> Result<String, Failure> {
    match step {
        Step::Challenge(_) => panic!("another message is asked for"),
        Step::Done { principal, .. } => Ok(format!("{} {}", principal.name, principal.by.as_str())),
        Step::Failed(failure) => Err(failure),
    }
}

fn signer() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn token(subject: &str, expires_s: f64) -> String {
    let claims = json!({"iss":"i", "aud":"a", "sub":subject, "exp":expires_s}).to_string();
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", encode(r#"{"alg":"EdDSA","kid":"k"}"#), encode(&claims));
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signer().sign(signed.as_bytes())))
}

fn bearer_of(token: &str) -> Vec<u8> {
    format!("n,,\x01auth=Bearer {token}\x01\x01").into_bytes()
}

#[tokio::test]
async fn what_is_offered_follows_from_the_configuration() {
    let house = house().await;
    let all = ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER"];
    assert_eq!(house.identifier.mechanisms(), all);
    for none in ["", "plain", "SCRAM-SHA-1", "GSSAPI", "SCRAM-SHA-256-PLUS"] {
        assert!(house.identifier.login(none).is_none(), "{none}");
    }
    let nobody = Arc::new(Identifier::new(&Identify::default(), &Ambient::system()));
    assert!(nobody.mechanisms().is_empty() && nobody.login(PLAIN).is_none());
}

#[tokio::test]
async fn a_password_logs_in_by_each_mechanism() {
    let house = house().await;
    for (mechanism, by) in
        [(Mechanism::Sha256, "scram-sha-256"), (Mechanism::Sha512, "scram-sha-512")]
    {
        let scram = async |name, password| house.scram(mechanism, name, password).await;
        assert_eq!(scram("svc.market", "pencil").await, Ok(format!("svc.market {by}")));
        assert_eq!(scram("svc.market", "pencil ").await, Err(Failure::PasswordWrong));
        assert_eq!(scram("svc.markt", "pencil").await, Err(Failure::PasswordWrong));
    }
    assert_eq!(house.plain(b"\0svc.market\0pencil").await, Ok("svc.market plain".to_owned()));
    assert_eq!(house.plain(b"\0svc.market\0pen").await, Err(Failure::PasswordWrong));
    assert_eq!(house.plain(b"\0svc.markt\0pencil").await, Err(Failure::PasswordWrong));
    // A new password, and none any more.
    set(house.passwords(), "svc.market", "other");
    assert!(house.identifier.refresh_files().await.is_empty());
    assert_eq!(house.plain(b"\0svc.market\0pencil").await, Err(Failure::PasswordWrong));
    assert!(house.plain(b"\0svc.market\0other").await.is_ok());
    let random = ring::rand::SystemRandom::new();
    let remove = |content: &mut passwords::PasswordFile| Ok(content.remove("svc.market"));
    passwords::PasswordFile::change(house.passwords(), &random, remove).unwrap();
    assert!(house.identifier.refresh_files().await.is_empty());
    assert_eq!(house.plain(b"\0svc.market\0other").await, Err(Failure::PasswordWrong));
}

/// Counted, not timed: PBKDF2 is all of the cost that a stranger could see.
#[tokio::test]
async fn an_unknown_name_costs_what_a_wrong_password_costs() {
    let house = house().await;
    let cost = async |message: &[u8]| {
        let before = house.iterated();
        assert_eq!(house.plain(message).await, Err(Failure::PasswordWrong));
        house.iterated() - before
    };
    assert_eq!(cost(b"\0svc.market\0wrong").await, 4096);
    assert_eq!(cost(b"\0nobody\0wrong").await, 4096);
    let before = house.iterated();
    for name in ["svc.market", "nobody"] {
        let failed = house.scram(Mechanism::Sha512, name, "wrong").await;
        assert_eq!(failed, Err(Failure::PasswordWrong));
    }
    assert_eq!(house.iterated(), before, "SCRAM costs the client alone");
}

#[tokio::test]
async fn each_challenge_has_a_new_nonce_so_a_recorded_login_is_worth_nothing() {
    let house = house().await;
    let (first, mut scram) = client::Scram::new(Mechanism::Sha256, "svc.market", "abc");
    let mut login = house.login(SHA256);
    let asked = challenge(login.step(&first).await);
    let proof = scram.proof(&asked, "pencil").unwrap();
    let mut replay = house.login(SHA256);
    let asked_again = challenge(replay.step(&first).await);
    assert_ne!(asked, asked_again);
    assert_eq!(end(login.step(&proof).await).unwrap(), "svc.market scram-sha-256");
    assert_eq!(end(replay.step(&proof).await), Err(Failure::PasswordWrong));
    // Nothing follows an end.
    assert_eq!(end(login.step(&proof).await), Err(Failure::SaslMalformed));
    assert_eq!(end(login.step(&first).await), Err(Failure::SaslMalformed));
}

#[tokio::test]
async fn librdkafka_before_2_6_1_logs_in_where_that_is_allowed() {
    for lenient in [false, true] {
        let house = house_of(lenient).await;
        let mut login = house.login(SHA256);
        let (first, _) = client::Scram::new(Mechanism::Sha256, "svc.market", "abc");
        let asked = String::from_utf8(challenge(login.step(&first).await)).unwrap();
        // It takes the server's nonce for one that lacks its own, and signs that.
        let twice = doubled("pencil", &asked);
        assert_eq!(end(login.step(twice.as_bytes()).await).is_ok(), lenient);
    }
}

fn doubled(password: &str, challenge: &str) -> String {
    use base64::prelude::BASE64_STANDARD;
    use ring::{digest, hmac, pbkdf2};
    let mut parts = challenge.split(',').map(|part| part.split_at(2).1);
    let (nonce, salt) = (parts.next().unwrap(), parts.next().unwrap());
    let iterations = parts.next().unwrap().parse().unwrap();
    let salt = BASE64_STANDARD.decode(salt).unwrap();
    let sign = |key: &[u8], said: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), said);
    let mut salted = [0; 32];
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(algorithm, iterations, &salt, password.as_bytes(), &mut salted);
    let key = sign(&salted, b"Client Key");
    let stored = digest::digest(&digest::SHA256, key.as_ref());
    let signed = format!("c=biws,r=abc{nonce}");
    let said = format!("n=svc.market,r=abc,{challenge},{signed}");
    let signature = sign(stored.as_ref(), said.as_bytes());
    let proof: Vec<u8> =
        key.as_ref().iter().zip(signature.as_ref()).map(|(key, sign)| key ^ sign).collect();
    format!("{signed},p={}", BASE64_STANDARD.encode(proof))
}

/// Cut anywhere, with a channel that we cannot bind, or for somebody else.
#[tokio::test]
async fn messages_that_do_not_follow_their_mechanism() {
    let house = house().await;
    let malformed = Err(Failure::SaslMalformed);
    let first = b"n,,n=svc.market,r=abc";
    for end_at in 0..first.len() - 2 {
        assert_eq!(end(house.login(SHA256).step(&first[..end_at]).await), malformed);
    }
    for wrong in
        ["p=tls-exporter,,n=svc.market,r=abc", "n,a=admin,n=svc.market,r=abc", "n,,n=svc.market,r="]
    {
        assert_eq!(end(house.login(SHA256).step(wrong.as_bytes()).await), malformed, "{wrong}");
    }
    for good in ["y,,n=svc.market,r=abc", "n,a=svc.market,n=svc.market,r=abc"] {
        challenge(house.login(SHA256).step(good.as_bytes()).await);
    }
    for wrong in [&b""[..], b"\0svc.market", b"\0svc.market\0", b"admin\0svc.market\0pencil"] {
        assert_eq!(house.plain(wrong).await, malformed);
    }
    let (_, mut scram) = client::Scram::new(Mechanism::Sha512, "svc.market", "abc");
    let mut proven = Vec::new();
    for cut in [0, 1, 5, 40] {
        let mut login = house.login("SCRAM-SHA-512");
        let asked = challenge(login.step(first).await);
        proven = scram.proof(&asked, "pencil").unwrap();
        proven.truncate(proven.len() - cut);
        let is_whole = cut == 0;
        assert_eq!(end(login.step(&proven).await).is_ok(), is_whole, "{cut}");
    }
    assert!(!proven.is_empty());
    let token = bearer_of(&token("svc.market", NOW_S as f64 + 60.0));
    for end_at in 0..token.len() {
        assert_eq!(end(house.login(OAUTHBEARER).step(&token[..end_at]).await), malformed);
    }
}

#[tokio::test]
async fn a_token_logs_in_until_it_expires() {
    let house = house().await;
    let message = bearer_of(&token("svc.market", NOW_S as f64 + 60.5));
    let step = house.login(OAUTHBEARER).step(&message).await;
    let Step::Done { ref answer, until_ms, .. } = step else { panic!("not done") };
    assert!(answer.is_empty());
    assert_eq!(until_ms, Some(NOW_S * 1_000 + 60_500));
    assert_eq!(end(step), Ok("svc.market jwt".to_owned()));
}

/// RFC 7628 3.2.2; what the client answers changes nothing.
#[tokio::test]
async fn a_bad_token_fails_in_two_steps_and_never_ends_well() {
    let house = house().await;
    let soon = NOW_S as f64 + 60.0;
    let forged = {
        let good = token("svc.market", soon);
        let (signed, _) = good.rsplit_once('.').unwrap();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode([0; 64]))
    };
    let for_another = format!("n,a=admin,\x01auth=Bearer {}\x01\x01", token("svc.market", soon));
    for (message, failure) in [
        (bearer_of(&forged), Failure::TokenSignature),
        (bearer_of("abc"), Failure::TokenMalformed),
        (bearer_of(&token("svc.market", NOW_S as f64 - 61.0)), Failure::TokenExpired),
        (for_another.into_bytes(), Failure::SaslMalformed),
    ] {
        for answer in [bearer::ACKNOWLEDGEMENT, b"", &bearer_of(&token("svc.market", soon))] {
            let mut login = house.login(OAUTHBEARER);
            assert_eq!(challenge(login.step(&message).await), br#"{"status":"invalid_token"}"#);
            assert_eq!(end(login.step(answer).await), Err(failure));
            assert_eq!(end(login.step(answer).await), Err(Failure::SaslMalformed));
        }
    }
    let own = format!("n,a=svc.market,\x01auth=Bearer {}\x01\x01", token("svc.market", soon));
    assert!(end(house.login(OAUTHBEARER).step(own.as_bytes()).await).is_ok());
}

#[tokio::test]
async fn without_the_file_nobody_logs_in_by_a_password_and_it_says_why() {
    let house = house().await;
    std::fs::remove_file(house.passwords()).unwrap();
    assert_eq!(house.identifier.refresh_files().await.len(), 1);
    assert!(house.plain(b"\0svc.market\0pencil").await.is_ok(), "what was read stays in force");
    let config = Identify {
        passwords: Some(config::Passwords {
            file: house.dir.path().join("passwords.yaml"),
            lenient_scram_nonce: false,
        }),
        ..Identify::default()
    };
    let fresh = Arc::new(Identifier::new(&config, &Ambient::system()));
    let errors = fresh.refresh_files().await;
    let (trouble, in_force) = fresh.passwords_trouble().unwrap();
    assert_eq!(errors[0].to_string(), trouble.to_string());
    assert!(!in_force && !fresh.admits(true));
    let failed = end(fresh.login(SHA256).unwrap().step(b"n,,n=a,r=b").await);
    assert_eq!(failed, Err(Failure::LoginUnavailable));
}
