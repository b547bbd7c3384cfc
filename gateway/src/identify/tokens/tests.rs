use std::{collections::BTreeSet, path::PathBuf};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use serde_json::json;

use super::*;
use crate::ambient::ManualClock;

const NOW: i64 = 1_800_000_000;
const HEADER: &str = r#"{"alg":"EdDSA","kid":"k1"}"#;

/// Where each MUST of a verifier is kept: `Case` has cases below that name the clause, the others
/// say why there is none.
const MUSTS: [(&str, &str, Kept); 35] = [
    ("RFC 7515 4", "header names are unique", Kept::Case),
    ("RFC 7515 4.1.1", "`alg` is present and understood", Kept::Case),
    (
        "RFC 7515 4.1.2-3",
        "keys that the header names or holds",
        Kept::Not("`jku`, `jwk` are not read"),
    ),
    ("RFC 7515 4.1.4", "`kid` is a text", Kept::Case),
    (
        "RFC 7515 4.1.5-8",
        "certificates in the header",
        Kept::Not("`x5u`, `x5c`, `x5t` are not read"),
    ),
    ("RFC 7515 4.1.9", "`typ` is a media type, compared in any case", Kept::Case),
    ("RFC 7515 4.1.11", "what is critical and not understood is refused", Kept::Case),
    ("RFC 7515 5.2", "three parts, base64url, a JSON object, a signature that holds", Kept::Case),
    ("RFC 7515 10.7", "the algorithm is one of the key's", Kept::Case),
    ("RFC 7517 4", "names of a key are unique", Kept::Case),
    ("RFC 7517 4.1", "`kty` is present and known", Kept::Case),
    ("RFC 7517 4.2", "`use` is `sig`", Kept::Case),
    ("RFC 7517 4.3", "`key_ops`: unique, in agreement with `use`, `verify`", Kept::Case),
    ("RFC 7517 4.4", "`alg` of the key", Kept::Case),
    ("RFC 7517 4.5", "`kid` is a text", Kept::Case),
    ("RFC 7517 4.6-9", "certificates of a key", Kept::Not("`x5u`, `x5c`, `x5t` are not read")),
    ("RFC 7517 5", "a key that cannot be read does not spoil the others", Kept::Case),
    ("RFC 7517 5.1", "`keys` is a list", Kept::Case),
    ("RFC 7518 3.3", "RSA keys of 2048 bits or more", Kept::Case),
    ("RFC 7518 3.4", "ECDSA signatures are R and S", Kept::Case),
    ("RFC 7518 6.2.1", "coordinates have their full length", Kept::Case),
    ("RFC 7518 6.3.1", "numbers are base64url", Kept::Case),
    ("RFC 7519 2", "NumericDate is a number, fraction and exponent included", Kept::Case),
    ("RFC 7519 4", "claim names are unique", Kept::Case),
    ("RFC 7519 4.1.1", "`iss` is a text, compared exactly", Kept::Case),
    ("RFC 7519 4.1.2", "`sub` is a text", Kept::Case),
    ("RFC 7519 4.1.3", "`aud` holds us", Kept::Case),
    ("RFC 7519 4.1.4", "`exp` is after now", Kept::Case),
    ("RFC 7519 4.1.5", "`nbf` is not after now", Kept::Case),
    ("RFC 7519 4.1.6-7", "`iat` is a date, `jti` a text", Kept::Case),
    ("RFC 7519 6", "unsecured tokens are refused", Kept::Case),
    ("RFC 8725 3.1-2", "algorithms are those that we allow", Kept::Case),
    (
        "RFC 8725 3.6",
        "no compression before encryption",
        Kept::Not("encrypted tokens are not understood"),
    ),
    ("RFC 8725 3.8-9", "keys belong to the issuer; the audience is ours", Kept::Case),
    ("RFC 8725 3.11-12", "the type keeps kinds of tokens apart", Kept::Case),
];

#[derive(PartialEq)]
enum Kept {
    Case,
    Not(&'static str),
}

struct House {
    issuers: Issuers,
    ed: Ed25519KeyPair,
    ec: EcdsaKeyPair,
    file: PathBuf,
    _dir: tempfile::TempDir,
    covered: BTreeSet<&'static str>,
}

fn config(file: PathBuf) -> TokenIssuer {
    TokenIssuer {
        issuer: "https://id.example".into(),
        audience: "sluicegate".into(),
        jwks_file: Some(file),
        jwks_url: None,
        discovery: false,
        ca: None,
        jwks_max_age_s: 3600,
        algorithms: vec![Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256],
        token_type: None,
        clock_skew_s: 60,
        principal_claim: "sub".into(),
        principals: Default::default(),
    }
}

async fn house() -> House {
    house_of(|_| {}).await
}

async fn house_of(change: impl Fn(&mut TokenIssuer)) -> House {
    let ed = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let (random, kind) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
    let ec = EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    let mut config = config(file.clone());
    change(&mut config);
    let issuers = Issuers::new(&[config]);
    let house = House { issuers, ed, ec, file, _dir: dir, covered: BTreeSet::new() };
    house.keys(&[house.ed_jwk(), house.ec_jwk()]).await;
    house
}

impl House {
    fn ed_jwk(&self) -> Value {
        let x = B64.encode(self.ed.public_key());
        json!({"kty":"OKP", "crv":"Ed25519", "kid":"k1", "alg":"EdDSA", "use":"sig", "x":x})
    }

    fn ec_jwk(&self) -> Value {
        let point = self.ec.public_key().as_ref();
        let (x, y) = (B64.encode(&point[1..33]), B64.encode(&point[33..]));
        json!({"kty":"EC", "crv":"P-256", "kid":"e1", "x":x, "y":y})
    }

    async fn set(&self, text: &str) -> Result<(), String> {
        std::fs::write(&self.file, text).unwrap();
        let set = self.issuers.key_sets().next().unwrap();
        set.refresh().await.map_err(|e| e.to_string())
    }

    async fn keys(&self, keys: &[Value]) {
        self.set(&json!({ "keys": keys }).to_string()).await.unwrap();
    }

    fn token(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", B64.encode(header), B64.encode(claims));
        let signature = if header.contains("ES256") {
            self.ec.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec()
        } else {
            self.ed.sign(signed.as_bytes()).as_ref().to_vec()
        };
        format!("{signed}.{}", B64.encode(signature))
    }

    async fn verify_at(&self, token: &str, us: i64) -> Result<String, Failure> {
        let clock = ManualClock::at_us(us);
        self.issuers.verify(&format!("Bearer {token}"), &clock).await.map(|p| p.to_string())
    }

    /// One case: a token that is `None` good, or fails like this.
    async fn case(&mut self, clause: &'static str, token: &str, fails: Option<Failure>) {
        assert!(MUSTS.contains(&(
            clause,
            MUSTS.iter().find(|m| m.0 == clause).unwrap().1,
            Kept::Case
        )));
        let got = self.verify_at(token, NOW * 1_000_000).await;
        assert_eq!(got.err(), fails, "{clause}: {token}");
        self.covered.insert(clause);
    }

    async fn claims(&mut self, clause: &'static str, claims: &str, fails: Option<Failure>) {
        self.case(clause, &self.token(HEADER, claims), fails).await;
    }

    async fn header(&mut self, clause: &'static str, header: &str, fails: Option<Failure>) {
        self.case(clause, &self.token(header, &claims(&[])), fails).await;
    }

    /// A set of one changed key, and a good one after it that must stay usable (RFC 7517 5).
    async fn key(&mut self, clause: &'static str, change: (&str, Value), usable: bool) {
        let mut key = self.ed_jwk();
        key[change.0] = change.1;
        if key[change.0].is_null() {
            key.as_object_mut().unwrap().shift_remove(change.0);
        }
        self.keys(&[key, self.ec_jwk()]).await;
        let fails = (!usable).then_some(Failure::TokenKey);
        self.case(clause, &self.token(r#"{"alg":"EdDSA"}"#, &claims(&[])), fails).await;
        let other = self.token(r#"{"alg":"ES256","kid":"e1"}"#, &claims(&[]));
        self.case("RFC 7517 5", &other, None).await;
    }
}

/// The claims of a good token with some replaced or (`""`) left out; values as JSON text.
fn claims(changes: &[(&str, &str)]) -> String {
    let exp = (NOW + 300).to_string();
    let given = [
        ("iss", r#""https://id.example""#),
        ("aud", r#""sluicegate""#),
        ("sub", r#""svc.orders""#),
        ("exp", &exp),
    ];
    let kept = given.iter().filter(|(name, _)| changes.iter().all(|(other, _)| other != name));
    let all: Vec<String> = kept
        .chain(changes.iter().filter(|(_, value)| !value.is_empty()))
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{{}}}", all.join(","))
}

async fn headers(house: &mut House) {
    use Failure::{TokenAlgorithm, TokenCritical, TokenKey, TokenMalformed};
    for (clause, header, fails) in [
        ("RFC 7515 4.1.1", HEADER, None),
        ("RFC 7515 4.1.1", r#"{"alg":"Ed25519","kid":"k1"}"#, None),
        ("RFC 7515 4.1.1", r#"{"kid":"k1"}"#, Some(TokenMalformed)),
        ("RFC 7515 4.1.1", r#"{"alg":["EdDSA"],"kid":"k1"}"#, Some(TokenMalformed)),
        ("RFC 7515 4.1.1", r#"{"alg":"eddsa","kid":"k1"}"#, Some(TokenAlgorithm)),
        ("RFC 7515 4", r#"{"alg":"EdDSA","alg":"EdDSA","kid":"k1"}"#, Some(TokenMalformed)),
        ("RFC 7515 4", r#"{"alg":"EdDSA","kid":"k1","kid":"k1"}"#, Some(TokenMalformed)),
        ("RFC 7515 4.1.4", r#"{"alg":"EdDSA"}"#, None),
        ("RFC 7515 4.1.4", r#"{"alg":"EdDSA","kid":"K1"}"#, Some(TokenKey)),
        ("RFC 7515 4.1.4", r#"{"alg":"EdDSA","kid":1}"#, Some(TokenMalformed)),
        ("RFC 7515 4.1.9", r#"{"alg":"EdDSA","kid":"k1","typ":"anything"}"#, None),
        ("RFC 7515 4.1.9", r#"{"alg":"EdDSA","kid":"k1","typ":1}"#, Some(TokenMalformed)),
        ("RFC 7515 4.1.11", r#"{"alg":"EdDSA","crit":["x"],"x":1}"#, Some(TokenCritical)),
        ("RFC 7515 4.1.11", r#"{"alg":"EdDSA","crit":["b64"],"b64":false}"#, Some(TokenCritical)),
        ("RFC 7515 4.1.11", r#"{"alg":"EdDSA","crit":[]}"#, Some(TokenCritical)),
        ("RFC 7515 4.1.11", r#"{"alg":"EdDSA","crit":null}"#, Some(TokenCritical)),
        ("RFC 7515 5.2", r#"["EdDSA"]"#, Some(TokenMalformed)),
        ("RFC 7515 10.7", r#"{"alg":"ES256","kid":"k1"}"#, Some(TokenKey)),
        ("RFC 8725 3.1-2", r#"{"alg":"HS256","kid":"k1"}"#, Some(TokenAlgorithm)),
        ("RFC 8725 3.1-2", r#"{"alg":"PS256","kid":"k1"}"#, Some(TokenAlgorithm)),
        ("RFC 7519 6", r#"{"alg":"none"}"#, Some(TokenAlgorithm)),
    ] {
        house.header(clause, header, fails).await;
    }
    let good = house.token(HEADER, &claims(&[]));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let swapped = house.token(HEADER, &claims(&[("sub", "\"svc.other\"")]));
    let swapped = format!("{}.{signature}", swapped.rsplit_once('.').unwrap().0);
    house.case("RFC 7515 5.2", &swapped, Some(Failure::TokenSignature)).await;
    house.case("RFC 7519 6", &format!("{message}."), Some(Failure::TokenSignature)).await;
    for broken in [
        format!("{good}="),
        format!("{good}.x"),
        good.replacen('.', ".\n", 1),
        message.to_owned(),
        "x.y".to_owned(),
        "..".to_owned(),
    ] {
        house.case("RFC 7515 5.2", &broken, Some(Failure::TokenMalformed)).await;
    }
    // A signature in DER is none.
    let token = house.token(r#"{"alg":"ES256","kid":"e1"}"#, &claims(&[]));
    house.case("RFC 7518 3.4", &token, None).await;
    let (message, signature) = token.rsplit_once('.').unwrap();
    let raw = B64.decode(signature).unwrap();
    let der = [&[0x30, 68, 2, 32], &raw[..32], &[2, 32], &raw[32..]].concat();
    let der = format!("{message}.{}", B64.encode(der));
    house.case("RFC 7518 3.4", &der, Some(Failure::TokenSignature)).await;
}

async fn all_claims(house: &mut House) {
    use Failure::{
        TokenAudience, TokenExpired, TokenIssuer, TokenMalformed, TokenNotYet, TokenUnmapped,
    };
    let (late, just) = ((NOW - 61).to_string(), (NOW - 59).to_string());
    let (edge, soon) = ((NOW - 60).to_string(), (NOW + 61).to_string());
    let ms = ((NOW + 300) * 1000).to_string();
    for (clause, name, value, fails) in [
        ("RFC 7519 4", "other", "1", None),
        ("RFC 7519 4.1.1", "iss", "", Some(TokenIssuer)),
        ("RFC 7519 4.1.1", "iss", r#""https://id.example/""#, Some(TokenIssuer)),
        ("RFC 7519 4.1.1", "iss", r#"["https://id.example"]"#, Some(TokenIssuer)),
        ("RFC 8725 3.8-9", "iss", r#""https://evil.example""#, Some(TokenIssuer)),
        ("RFC 7519 4.1.2", "sub", "", Some(TokenUnmapped)),
        ("RFC 7519 4.1.2", "sub", "17", Some(TokenMalformed)),
        ("RFC 7519 4.1.3", "aud", r#"["other","sluicegate"]"#, None),
        ("RFC 7519 4.1.3", "aud", "", Some(TokenAudience)),
        ("RFC 7519 4.1.3", "aud", "[]", Some(TokenAudience)),
        ("RFC 7519 4.1.3", "aud", r#"["sluicegate",1]"#, Some(TokenMalformed)),
        ("RFC 8725 3.8-9", "aud", r#""Sluicegate""#, Some(TokenAudience)),
        ("RFC 7519 4.1.4", "exp", &late, Some(TokenExpired)),
        ("RFC 7519 4.1.4", "exp", &edge, Some(TokenExpired)),
        ("RFC 7519 4.1.4", "exp", &just, None),
        ("RFC 7519 4.1.4", "exp", "", Some(TokenExpired)),
        ("RFC 7519 4.1.5", "nbf", &soon, Some(TokenNotYet)),
        ("RFC 7519 4.1.5", "nbf", &just, None),
        ("RFC 7519 4.1.6-7", "iat", &soon, None),
        ("RFC 7519 4.1.6-7", "iat", r#""now""#, Some(TokenMalformed)),
        ("RFC 7519 4.1.6-7", "jti", "1", Some(TokenMalformed)),
        ("RFC 7519 2", "exp", "1800000300.5", None),
        ("RFC 7519 2", "exp", "1.8000003e9", None),
        ("RFC 7519 2", "exp", "18000003E+02", None),
        ("RFC 7519 2", "exp", "18000003000000000e-7", None),
        ("RFC 7519 2", "exp", "9900000000e-1", Some(TokenExpired)),
        ("RFC 7519 2", "exp", "99999999999.0e-3", Some(TokenExpired)),
        ("RFC 7519 2", "exp", "0", Some(TokenExpired)),
        ("RFC 7519 2", "exp", r#""1800000300""#, Some(TokenMalformed)),
        ("RFC 7519 2", "exp", "null", Some(TokenMalformed)),
        ("RFC 7519 2", "exp", "-1800000300", Some(TokenMalformed)),
        ("RFC 7519 2", "exp", "1e400", Some(TokenMalformed)),
        ("RFC 7519 2", "exp", "1e99999999999999999999", Some(TokenMalformed)),
        ("RFC 7519 2", "exp", "99999999999999999999", Some(TokenMalformed)),
        ("RFC 7519 2", "exp", &ms, Some(TokenMalformed)),
        ("RFC 7519 2", "nbf", "4.1024448e9", Some(TokenNotYet)),
        ("RFC 7519 2", "nbf", "17e8", None),
        ("RFC 7519 2", "nbf", "null", Some(TokenMalformed)),
        ("RFC 7519 2", "nbf", r#""1700000000""#, Some(TokenMalformed)),
    ] {
        house.claims(clause, &claims(&[(name, value)]), fails).await;
    }
    let twice = claims(&[("exp", &late), ("exp", "1800000300")]);
    house.claims("RFC 7519 4", &twice, Some(TokenMalformed)).await;
}

async fn all_keys(house: &mut House) {
    for (clause, member, value, usable) in [
        ("RFC 7517 4.1", "kty", json!("AKP"), false),
        ("RFC 7517 4.1", "kty", json!(1), false),
        ("RFC 7517 4.1", "kty", Value::Null, false),
        ("RFC 7517 4.1", "crv", json!("X25519"), false),
        ("RFC 7517 4.2", "use", json!("enc"), false),
        ("RFC 7517 4.2", "use", json!("tls"), false),
        ("RFC 7517 4.2", "use", json!(["sig"]), false),
        ("RFC 7517 4.2", "use", Value::Null, true),
        ("RFC 7517 4.3", "key_ops", json!(["verify"]), true),
        ("RFC 7517 4.3", "key_ops", json!(["sign"]), false),
        ("RFC 7517 4.3", "key_ops", json!(["verify", "verify"]), false),
        ("RFC 7517 4.3", "key_ops", json!(["verify", "encrypt"]), false),
        ("RFC 7517 4.3", "key_ops", json!("verify"), false),
        ("RFC 7517 4.4", "alg", json!("Ed25519"), true),
        ("RFC 7517 4.4", "alg", json!("ES256"), false),
        ("RFC 7517 4.4", "alg", json!("RSA-OAEP"), false),
        ("RFC 7517 4.4", "alg", Value::Null, true),
        ("RFC 7517 4.5", "kid", json!(7), false),
        ("RFC 7517 4.5", "kid", Value::Null, true),
        ("RFC 7518 6.2.1", "x", json!("AAAA"), false),
        ("RFC 7517 5", "x5c", json!("MIIB"), true),
        ("RFC 7517 5", "extra", json!({"a": [1]}), true),
    ] {
        house.key(clause, (member, value), usable).await;
    }
    let ed = house.token(HEADER, &claims(&[]));
    let twice = house.ed_jwk().to_string().replacen('{', r#"{"kty":"OKP","#, 1);
    house.set(&format!(r#"{{"keys":[{twice}, null, "x", {}]}}"#, house.ec_jwk())).await.unwrap();
    house.case("RFC 7517 4", &ed, Some(Failure::TokenKey)).await;
    let ec = house.token(r#"{"alg":"ES256"}"#, &claims(&[]));
    house.case("RFC 7517 5", &ec, None).await;
    let mut short = house.ec_jwk();
    short["x"] = json!(B64.encode([1; 31]));
    house.keys(&[short]).await;
    house.case("RFC 7518 6.2.1", &ec, Some(Failure::TokenKey)).await;
    let [rs256, ps256] = RSA_TOKENS;
    let zero = B64.encode([&[0], &*B64.decode(RSA_N).unwrap()].concat());
    let weak = B64.encode(&B64.decode(RSA_N).unwrap()[1..]);
    for (clause, n, token, fails) in [
        ("RFC 7518 6.3.1", RSA_N.to_owned(), rs256, None),
        ("RFC 7518 6.3.1", zero, rs256, None),
        ("RFC 7518 6.3.1", format!("{RSA_N}=="), rs256, Some(Failure::TokenKey)),
        ("RFC 7518 3.3", weak, rs256, Some(Failure::TokenKey)),
        ("RFC 8725 3.1-2", RSA_N.to_owned(), ps256, Some(Failure::TokenAlgorithm)),
    ] {
        house.keys(&[json!({"kty":"RSA", "kid":"r", "alg":"RS256", "n":n, "e":"AQAB"})]).await;
        house.case(clause, token, fails).await;
    }
    // What is no set leaves the former one in force; an empty one is a set.
    house.keys(&[house.ed_jwk()]).await;
    for text in ["{}", "[]", r#"{"keys":{}}"#, "\u{feff}{\"keys\":[]}", ""] {
        let error = house.set(text).await.unwrap_err();
        assert!(error.contains("malformed"), "{error}");
        house.case("RFC 7517 5.1", &ed, None).await;
    }
    house.keys(&[]).await;
    house.case("RFC 7517 5.1", &ed, Some(Failure::TokenKey)).await;
}

#[tokio::test]
async fn every_must_of_a_verifier_is_kept() {
    let mut house = house().await;
    headers(&mut house).await;
    all_claims(&mut house).await;
    all_keys(&mut house).await;
    let mut typed = house_of(|config| config.token_type = Some("at+jwt".into())).await;
    for (typ, fails) in [
        (r#","typ":"AT+jwt""#, None),
        (r#","typ":"application/at+jwt""#, None),
        (r#","typ":"JWT""#, Some(Failure::TokenType)),
        ("", Some(Failure::TokenType)),
    ] {
        let header = format!(r#"{{"alg":"EdDSA","kid":"k1"{typ}}}"#);
        typed.header("RFC 8725 3.11-12", &header, fails).await;
    }
    let covered: BTreeSet<&str> = house.covered.union(&typed.covered).copied().collect();
    for (clause, what, kept) in &MUSTS {
        let reason = if let Kept::Not(reason) = kept { reason } else { "" };
        assert_eq!(covered.contains(clause), reason.is_empty(), "{clause}: {what}");
    }
}

#[tokio::test]
async fn dates_are_compared_exactly() {
    let house = house().await;
    let skew_us = 60_000_000;
    // A float would take 1800000300.000001 and 1800000300.0000010000000001 for one number.
    for (exp, us, good) in [
        ("1800000300.5", 1_800_000_300_499_999, true),
        ("1800000300.5", 1_800_000_300_500_000, false),
        ("1800000300.000001", 1_800_000_300_000_001, false),
        ("1800000300.0000010000000001", 1_800_000_300_000_001, true),
        ("1800000300.0000010000000001", 1_800_000_300_000_002, false),
        ("18000003000000010000000001e-16", 1_800_000_300_000_001, true),
    ] {
        let token = house.token(HEADER, &claims(&[("exp", exp)]));
        let got = house.verify_at(&token, us + skew_us).await;
        assert_eq!(got.is_ok(), good, "exp {exp} at {us}: {got:?}");
        let token = house.token(HEADER, &claims(&[("nbf", exp), ("exp", "253402300799")]));
        let got = house.verify_at(&token, us - skew_us).await;
        let begun = !good || exp.ends_with(".5") && us >= 1_800_000_300_500_000;
        assert_eq!(got.is_ok(), begun, "nbf {exp} at {us}: {got:?}");
    }
}

#[tokio::test]
async fn the_issuer_that_is_named_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    let of = |issuer: &str, audience: &str, algorithm| TokenIssuer {
        issuer: issuer.into(),
        audience: audience.into(),
        algorithms: vec![algorithm],
        ..config(file.clone())
    };
    let mut house = house().await;
    house.issuers = Issuers::new(&[
        of("https://other.example", "sluicegate", Algorithm::Es256),
        of("https://id.example", "elsewhere", Algorithm::Es256),
        of("https://id.example", "sluicegate", Algorithm::EdDsa),
    ]);
    let ask = async |iss: &str, aud: &str| {
        let claims = claims(&[("iss", &format!("\"{iss}\"")), ("aud", &format!("\"{aud}\""))]);
        house.verify_at(&house.token(HEADER, &claims), NOW * 1_000_000).await
    };
    assert_eq!(ask("https://none.example", "sluicegate").await, Err(Failure::TokenIssuer));
    assert_eq!(ask("https://id.example", "sluicegate").await, Err(Failure::TokenKey));
    assert_eq!(ask("https://id.example", "elsewhere").await, Err(Failure::TokenAlgorithm));
    assert_eq!(ask("https://id.example", "nobody").await, Err(Failure::TokenAudience));
    assert_eq!(ask("https://other.example", "sluicegate").await, Err(Failure::TokenAlgorithm));
}

#[tokio::test]
async fn only_bearer_tokens_are_tokens() {
    let house = house().await;
    let good = house.token(HEADER, &claims(&[]));
    let clock = ManualClock::at_us(NOW * 1_000_000);
    for (header, good) in [
        (format!("bearer {good}"), true),
        (format!("BEARER  {good} "), true),
        (format!("DPoP {good}"), false),
        (good.clone(), false),
        ("Basic dXNlcjpwdw==".to_owned(), false),
    ] {
        let got = house.issuers.verify(&header, &clock).await;
        assert_eq!(got.is_ok(), good, "{header}");
    }
    let long = format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX + 1));
    assert_eq!(house.issuers.verify(&long, &clock).await, Err(Failure::TokenMalformed));
}

/// An RSA key's modulus, and tokens that it signed (RS256, PS256); made for these tests.
const RSA_N: &str = "tagFv9-w_Py7oonTRIJ25UElai2mRuAXbY_vRz0jpSNn2eIjkMeUVYFqKaLQwm-9PSYS68DXZvswkxFZJWLYY4D16-Cl6UyU\
     TfzGCNw1wi540Vb--RAqBTnFeNSxsvf3ZPJsjkXqgs9TNX8XEJ6HoYMGXLKqOOPWArF9AHEJIGF02N0LVUO_DFjVg7Zy0TE7\
     q5pObfteMQF5mouOkoqP4gwREyxGlRFBN-CgrokWVASJF5KUhnCEkW6v06cRoRjZi73zdSdAaHLMoDHAqbCC_Otkdgj_y_5k\
     lHQ3UFIdefMBWlFYaIPSVl5ruVlQn_p4O-G2fUJhcD2KMeBBA0kpYw";
const RSA_TOKENS: [&str; 2] = [
    "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJzbHVpY2VnYXRlIiwic3ViIjoic3Z\
     jLm9yZGVycyIsImV4cCI6MTgwMDAwMDMwMH0.Kb5rFVRttAmRXmV6Kco8vSE-hlODLHgtBYqDgCcU5UBxDamJFntqQdkRFxR\
     VJjwVYOVZBVQB5A_1KS4moqERhvuQWb6Q9wImCHhKoG0KEzl09YAsl0BmvB0d_kqtQmmxKB_KGRjmHtwhEun9c4C7tCQfVBM\
     VrLVzwJ3LOyP1H5TdciGKez52V_RE5CIgl5v_cqHIpkiZZ2-VETbY25AB5GpSIWm4_gX32D1P5Pea4OjAQovCRHndYF5O5Ni\
     JE1RnlbRDvwS0oei-FNTwkULznRdqchF4Po5hA9GPm12jjruCAMH4Tbe_1NiWJ2lNTGSIYChqmPS52gTE7rkOieXJNA",
    "eyJhbGciOiJQUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJzbHVpY2VnYXRlIiwic3ViIjoic3Z\
     jLm9yZGVycyIsImV4cCI6MTgwMDAwMDMwMH0.InxwrKS8LMZmmqXAeuJNBKm4AK0CTmdZDI93UzX9SQiphX96TukoWUYEjJr\
     kDNp4ue8DeCNErAs2qn49vgCqmvYkALq5bco3k9k5GQIllokqidPzM0zlEwPFAg_OYm2R2ZhVJRO9A7Ljla9BW_5aaAltlnW\
     mals2ma040qDNNsWq4KPvl9zwOWQCE2hg5WEWPjljYHGCNit5A4aFA9uOXiwhlsBnGcyMrtThjSOqKOP6bGZh-56UIl34pQ0\
     eIHAu6ok9xHJahE0VlHfIv7P6GaAY1pUEVqKlRbC-oEZD70xosRZsgrrlFM_IrJpKwvM9Jb7utjz5WV0KjuGC-muTIg",
];
