//! Logins by the examples of their standards, and by what must not work.

use proptest::prelude::*;
use sluicegate_wire::sasl::{
    Invalid, bearer, client, plain, prepared,
    scram::{Challenged, Failed, First, Keys, Mechanism, Nonces, Unprepared},
};

const CLIENT: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const CHALLENGE: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const PROOF: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SIGNATURE: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn keys() -> Keys {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    Keys::derive(Mechanism::Sha256, "pencil", &salt, 4096.try_into().unwrap()).unwrap()
}

fn challenged(keys: Keys) -> Challenged {
    First::parse(CLIENT.as_bytes()).unwrap().challenge(keys, NONCE).1
}

/// Section 3 of RFC 7677.
#[test]
fn the_example_of_the_standard() {
    let first = First::parse(CLIENT.as_bytes()).unwrap();
    assert_eq!(first.name(), "user");
    let (challenge, waiting) = first.challenge(keys(), NONCE);
    assert_eq!(challenge, CHALLENGE);
    assert_eq!(waiting.verify(PROOF.as_bytes(), Nonces::Exact).unwrap(), SIGNATURE);
}

#[test]
fn what_does_not_prove_a_password() {
    let fails = |message: &str| {
        assert_eq!(challenged(keys()).verify(message.as_bytes(), Nonces::Exact), Err(Failed));
    };
    fails("");
    fails(&PROOF.replace("p=d", "p=e"));
    fails(&PROOF.replace("c=biws", "c=eSws"));
    fails(&PROOF.replace("r=r", "r=R"));
    fails(&PROOF.replace("p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "p="));
    fails(&PROOF.replace(",p=", ",x=1,p="));
    fails(PROOF.split(",p=").next().unwrap());
    let nobody =
        Keys::of_nobody(Mechanism::Sha256, b"secret", "user", 16, 4096.try_into().unwrap());
    assert_eq!(challenged(nobody).verify(PROOF.as_bytes(), Nonces::Exact), Err(Failed));
}

#[test]
fn a_name_that_nobody_has_looks_like_any_other_each_time() {
    let nobody = |secret: &[u8], name: &str| {
        Keys::of_nobody(Mechanism::Sha512, secret, name, 20, 5000.try_into().unwrap()).salt.clone()
    };
    assert_eq!(nobody(b"a", "x"), nobody(b"a", "x"));
    assert_ne!(nobody(b"a", "x"), nobody(b"a", "y"));
    assert_ne!(nobody(b"a", "x"), nobody(b"b", "x"));
    assert_eq!(nobody(b"a", "x").len(), 20);
    let keys = Keys::of_nobody(Mechanism::Sha512, b"a", "x", 20, 5000.try_into().unwrap());
    assert!(!keys.accept(""));
}

#[test]
fn first_messages() {
    let name =
        |message: &str| First::parse(message.as_bytes()).map(|first| first.name().to_owned());
    assert_eq!(name("n,,n=a=2Cb=3D,r=x").as_deref(), Ok("a,b="));
    assert_eq!(name("y,,n=user,r=x,ext=1").as_deref(), Ok("user"));
    assert_eq!(name("n,a=user,n=user,r=x").as_deref(), Ok("user"));
    for wrong in [
        "",
        "n,,",
        "n,,n=user",
        "n,,n=,r=x",
        "n,,n=user,r=",
        "n,,n=a=2cb,r=x",
        "n,,n=a=,r=x",
        "n,,r=x,n=user",
        "n,,m=1,n=user,r=x",
        "p=tls-unique,,n=user,r=x",
        "n,a=other,n=user,r=x",
        "n,b=user,n=user,r=x",
        "n,,n=us\0er,r=x",
    ] {
        assert_eq!(name(wrong), Err(Invalid), "{wrong}");
    }
    assert!(First::parse(b"n,,n=\xff,r=x").is_err());
}

/// What a client that knows the password says, whatever it signs.
fn proven(signed: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use ring::{digest, hmac, pbkdf2};
    let sign = |key: &[u8], said: &[u8]| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), said).as_ref().to_vec()
    };
    let mut salted = [0; 32];
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(algorithm, keys().iterations, &keys().salt, b"pencil", &mut salted);
    let key = sign(&salted, b"Client Key");
    let stored = digest::digest(&digest::SHA256, &key);
    let said = format!("n=user,r=rOprNGfwEbeRWgbNEkqO,{CHALLENGE},{signed}");
    let signature = sign(stored.as_ref(), said.as_bytes());
    let proof: Vec<u8> = key.iter().zip(&signature).map(|(key, sign)| key ^ sign).collect();
    format!("{signed},p={}", STANDARD.encode(proof))
}

#[test]
fn who_knows_the_password_must_also_say_what_was_said() {
    let verify =
        |signed: &str, nonces| challenged(keys()).verify(proven(signed).as_bytes(), nonces).is_ok();
    let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    assert!(verify(&format!("c=biws,r={nonce}"), Nonces::Exact));
    assert!(verify(&format!("c=biws,r={nonce},x=1"), Nonces::Exact));
    // A channel that the first message did not speak of, a login that was recorded, and another order.
    assert!(!verify(&format!("c=eSws,r={nonce}"), Nonces::Exact));
    assert!(!verify("c=biws,r=rOprNGfwEbeRWgbNEkqOanother", Nonces::Exact));
    assert!(!verify(&format!("r={nonce},c=biws"), Nonces::Exact));
    // librdkafka before 2.6.1 says its own nonce twice.
    let twice = format!("c=biws,r=rOprNGfwEbeRWgbNEkqO{nonce}");
    assert!(!verify(&twice, Nonces::Exact));
    assert!(verify(&twice, Nonces::Suffix));
    assert!(!verify("c=biws,r=rOprNGfwEbeRWgbNEkqOanother", Nonces::Suffix));
}

/// Section 3 of RFC 7677, from the other side.
#[test]
fn our_client_says_what_the_standard_says() {
    let (first, mut scram) = client::Scram::new(Mechanism::Sha256, "user", "rOprNGfwEbeRWgbNEkqO");
    assert_eq!(first, CLIENT.as_bytes());
    assert_eq!(scram.verify(SIGNATURE.as_bytes()), Err(client::Failed::Unproven));
    assert_eq!(scram.proof(CHALLENGE.as_bytes(), "pencil").unwrap(), PROOF.as_bytes());
    assert_eq!(scram.verify(SIGNATURE.as_bytes()), Ok(()));
    assert_eq!(client::plain("user", "pencil"), b"\0user\0pencil");
}

#[test]
fn our_client_believes_no_server_that_it_should_not() {
    use client::Failed::{Iterations, Malformed, Nonce, Refused, Unproven};
    let scram = || client::Scram::new(Mechanism::Sha256, "user", "rOprNGfwEbeRWgbNEkqO").1;
    let proof = |challenge: &str| scram().proof(challenge.as_bytes(), "pencil").unwrap_err();
    for (from, to, failed) in [
        ("r=rO", "r=xO", Nonce),
        ("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", "", Nonce),
        ("r=", "m=1,r=", Malformed),
        ("s=W", "s=!", Malformed),
        (",i=4096", "", Malformed),
        ("i=4096", "i=4095", Iterations),
        ("i=4096", "i=1000001", Iterations),
        ("i=4096", "i=0", Iterations),
        ("i=4096", "i=-1", Iterations),
        ("i=4096", "i=99999999999", Iterations),
    ] {
        assert_eq!(proof(&CHALLENGE.replace(from, to)), failed, "{to}");
    }
    assert_eq!(scram().proof(b"\xff", "pencil"), Err(Malformed));
    let mut scram = scram();
    scram.proof(CHALLENGE.as_bytes(), "pencil").unwrap();
    let other = SIGNATURE.replace("v=6", "v=7");
    for (last, failed) in
        [(&*other, Unproven), ("v=", Unproven), ("e=invalid-proof", Refused), ("", Malformed)]
    {
        assert_eq!(scram.verify(last.as_bytes()), Err(failed), "{last}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever names and passwords are made of: each side believes the other if both have the password, and
    /// neither does if they do not.
    #[test]
    fn our_client_and_our_server_agree(
        sha512: bool,
        user in "[a-z=,é ]{1,8}",
        password in "\\PC{1,12}",
        other in "\\PC{1,12}",
        salt: [u8; 16],
    ) {
        let mechanism = if sha512 { Mechanism::Sha512 } else { Mechanism::Sha256 };
        let Ok(keys) = Keys::derive(mechanism, &password, &salt, 4096.try_into().unwrap()) else {
            return Ok(());
        };
        let exchange = |said: &str| {
            let (first, mut scram) = client::Scram::new(mechanism, &user, "abc");
            let first = First::parse(&first).unwrap();
            assert_eq!(first.name(), user);
            let (challenge, waiting) = first.challenge(keys.clone(), "def");
            let proof = scram.proof(challenge.as_bytes(), said).unwrap();
            (waiting.verify(&proof, Nonces::Exact), scram)
        };
        let (answer, scram) = exchange(&password);
        let answer = answer.unwrap();
        prop_assert_eq!(scram.verify(answer.as_bytes()), Ok(()));
        if other != password {
            let (refused, scram) = exchange(&other);
            prop_assert_eq!(refused, Err(Failed));
            prop_assert_eq!(scram.verify(answer.as_bytes()), Err(client::Failed::Unproven));
        }
        let message = client::plain(&user, &password);
        let plain = plain::parse(&message).unwrap();
        prop_assert_eq!((plain.name, plain.password), (&*user, &*password));
    }

    /// Nothing that differs from the proof is a proof; base64 has one spelling.
    #[test]
    fn no_mutation_of_a_proof_is_accepted(at in 0..PROOF.len(), byte: u8, cut in 0..PROOF.len(), more: u8) {
        let mut changed = PROOF.as_bytes().to_vec();
        changed[at] = byte;
        let longer = [PROOF.as_bytes(), &[more]].concat();
        for message in [&changed, &PROOF.as_bytes()[..cut], &longer] {
            if message != PROOF.as_bytes() {
                prop_assert!(challenged(fixed().clone()).verify(message, Nonces::Exact).is_err());
                prop_assert!(challenged(fixed().clone()).verify(message, Nonces::Suffix).is_err());
            }
        }
    }
}

/// [`keys`], computed once.
fn fixed() -> &'static Keys {
    static KEYS: std::sync::LazyLock<Keys> = std::sync::LazyLock::new(keys);
    &KEYS
}

#[test]
fn passwords_are_accepted_in_clear() {
    assert!(keys().accept("pencil"));
    assert!(!keys().accept("pencil "));
    assert!(!keys().accept(""));
}

#[test]
fn credentials_are_of_prepared_text() {
    assert!(prepared("pencil") && prepared("пароль") && prepared("a b"));
    // A soft hyphen goes, a roman numeral becomes letters, a control character is forbidden.
    assert!(!prepared("pen\u{ad}cil") && !prepared("\u{2168}") && !prepared("\u{7}"));
    assert!(!prepared(""));
    let refused = Keys::derive(Mechanism::Sha256, "\u{2168}", b"s", 4096.try_into().unwrap());
    assert_eq!(refused.err(), Some(Unprepared));
}

#[test]
fn plain_messages() {
    let parse =
        |message: &[u8]| plain::parse(message).map(|p| (p.name.to_owned(), p.password.to_owned()));
    assert_eq!(parse(b"\0user\0secret"), Ok(("user".to_owned(), "secret".to_owned())));
    assert_eq!(parse(b"user\0user\0secret"), Ok(("user".to_owned(), "secret".to_owned())));
    for wrong in [
        &b""[..],
        b"user",
        b"\0user",
        b"\0\0secret",
        b"\0user\0",
        b"other\0user\0s",
        b"\0u\0s\0",
        b"\0\xff\0s",
    ] {
        assert_eq!(parse(wrong), Err(Invalid));
    }
}

#[test]
fn bearer_messages() {
    let parse = |message: &str| bearer::parse(message.as_bytes()).map(|b| b.token.to_owned());
    assert_eq!(parse("n,,\x01auth=Bearer abc.d-e_f\x01\x01").as_deref(), Ok("abc.d-e_f"));
    assert_eq!(parse("n,a=me,\x01host=x\x01auth=bearer  abc\x01\x01").as_deref(), Ok("abc"));
    let with = bearer::parse(b"n,a=m=2Ce,\x01auth=Bearer a\x01\x01").unwrap();
    assert_eq!(with.authorization.as_deref(), Some("m,e"));
    for wrong in [
        "",
        "n,,",
        "n,,\x01\x01",
        "n,,\x01auth=Bearer abc\x01",
        "n,,\x01auth=Basic abc\x01\x01",
        "n,,\x01auth=Bearer \x01\x01",
        "n,,\x01auth=Bearer a b\x01\x01",
        "n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01",
        "n,,\x01host=x\x01\x01",
        "p=x,,\x01auth=Bearer abc\x01\x01",
    ] {
        assert_eq!(parse(wrong), Err(Invalid), "{wrong:?}");
    }
}
