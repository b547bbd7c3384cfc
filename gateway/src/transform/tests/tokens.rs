//! What a token promises: stable, injective, unlinkable, known again, not to be forged.

use std::collections::HashSet;

use super::*;

fn make(token_use: &TokenUse, tenant: &str) -> Tokenizer {
    tokenizer(token_use, tenant, &keyring()).unwrap()
}

fn token(tokenizer: &Tokenizer, text: &str) -> Option<String> {
    tokenizer.token(text, 0, &mut String::new()).map(|t| t.as_str().to_owned())
}

/// `tests/vectors/token.py` wrote them, from the description alone.
#[test]
fn tokens_equal_those_of_an_independent_implementation() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../../tests/vectors/token.json")).unwrap();
    let vectors = vectors.as_array().unwrap();
    assert!(vectors.len() >= 20);
    for v in vectors {
        let text = |name: &str| v[name].as_str().unwrap();
        let normaliser = match text("normaliser") {
            "exact-v1" => Normaliser::ExactV1,
            "email-v1" => Normaliser::EmailV1,
            "phone-v1" => Normaliser::PhoneV1,
            "digits-v1" => Normaliser::DigitsV1,
            "compact-v1" => Normaliser::CompactV1,
            "name-v1" => Normaliser::NameV1,
            other => panic!("{other}"),
        };
        let token_use = TokenUse {
            domain: text("domain").into(),
            scope: text("scope").into(),
            epoch: u32::try_from(v["epoch"].as_u64().unwrap()).unwrap(),
            normaliser,
            key: text("key").into(),
        };
        let made = token(&make(&token_use, text("tenant")), text("value"));
        assert_eq!(made.as_deref(), v["token"].as_str(), "{v}");
    }
}

#[test]
fn a_token_is_known_again_in_any_epoch_and_under_a_former_master() {
    let first = make(&token_use(), "acme");
    let later = make(&TokenUse { epoch: 70_000, key: "next".into(), ..token_use() }, "acme");
    let made = token(&first, "ada").unwrap();
    for tokenizer in [&first, &later] {
        let again = tokenizer.token(&made, 3, &mut String::new()).unwrap();
        assert!(again.recognised() && again.as_str() == made && again.field() == 3);
    }
    assert!(!first.token("ada", 0, &mut String::new()).unwrap().recognised());
    assert_ne!(token(&later, "ada"), token(&first, "ada"));
}

#[test]
fn a_token_of_elsewhere_is_a_value_like_any_other() {
    let here = make(&token_use(), "acme");
    for there in [
        make(&TokenUse { domain: "device".into(), ..token_use() }, "acme"),
        make(&TokenUse { scope: "recipient=vendor.us".into(), ..token_use() }, "acme"),
        make(&token_use(), "umbrella"),
    ] {
        let foreign = token(&there, "ada").unwrap();
        assert_ne!(token(&here, &foreign).unwrap(), foreign);
    }
}

#[test]
fn a_text_in_the_shape_of_a_token_does_not_pass() {
    let tokenizer = make(&token_use(), "acme");
    let made = token(&tokenizer, "ada").unwrap();
    let digits = b"0123456789abcdefghijklmnopqrstuv";
    for at in 0..made.len() {
        for digit in digits {
            let mut forged = made.clone().into_bytes();
            forged[at] = *digit;
            let forged = String::from_utf8(forged).unwrap();
            let passed = token(&tokenizer, &forged).unwrap() == forged;
            assert_eq!(passed, forged == made, "{at} {digit}");
        }
    }
    let respelt = [
        made.to_uppercase(),
        format!(" {made}"),
        made.replace("_1_", "_01_"),
        made.replace("_1_", "_+1_"),
    ];
    for forged in respelt {
        assert_ne!(token(&tokenizer, &forged).unwrap(), forged);
    }
}

#[test]
fn tokens_are_stable_over_restarts_and_topics() {
    let json = r#"{"a":"ada","b":["ada","\u0061da"]}"#;
    let wide = plan(Unlisted::Drop, [field("**", Transform::Tokenize(token_use()))]);
    let wide = knowing(&["a", "b"], wide);
    let mut out = Protected::default();
    compile(&wide).apply(value(json.as_bytes()), &mut out).unwrap();
    let expected = token(&make(&token_use(), "acme"), "ada").unwrap();
    assert!(out.tokens.len() == 3 && out.tokens.iter().all(|t| t.as_str() == expected));
    let once = out.value.clone();
    compile(&wide).apply(value(&once), &mut out).unwrap();
    assert!(out.value == once && out.tokens.iter().all(Token::recognised));
}

/// Ten million values where the code is optimised, as a release test run has it; 200,000 in a
/// development build, in which the ten would take minutes.
#[test]
fn tokens_are_injective_within_an_epoch() {
    const VALUES: u32 = if cfg!(debug_assertions) { 200_000 } else { 10_000_000 };
    let tokenizer = make(&token_use(), "acme");
    let (mut text, mut scratch) = (String::new(), String::new());
    // 80 of the 128 bits, so that equal ones would be even likelier.
    let mut seen: Vec<u128> = (0..VALUES)
        .map(|i| {
            use std::fmt::Write;
            text.clear();
            write!(text, "user-{i}@example.com").unwrap();
            let token = tokenizer.token(&text, 0, &mut scratch).unwrap();
            let (_, body) = token.as_str().rsplit_once('_').unwrap();
            u128::from_be_bytes(*body.as_bytes().first_chunk().unwrap())
        })
        .collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), VALUES as usize);
}

/// Tokens of one value in two domains, scopes, epochs, normalisers or tenants differ in half of
/// their bits, as unrelated ones do.
#[test]
fn tokens_are_unlinkable_across_whatever_makes_the_key() {
    const VALUES: u32 = 4_000;
    let here = make(&token_use(), "acme");
    for there in [
        make(&TokenUse { domain: "customer.emaim".into(), ..token_use() }, "acme"),
        make(&TokenUse { scope: "purpose=analytic".into(), ..token_use() }, "acme"),
        make(&TokenUse { epoch: 2, ..token_use() }, "acme"),
        make(&TokenUse { normaliser: Normaliser::NameV1, ..token_use() }, "acme"),
        make(&TokenUse { key: "next".into(), ..token_use() }, "acme"),
        make(&token_use(), "acm"),
    ] {
        let mut equal = HashSet::new();
        let mut different_bits = 0;
        for i in 0..VALUES {
            let (a, b) = (
                bits(&token(&here, &i.to_string()).unwrap()),
                bits(&token(&there, &i.to_string()).unwrap()),
            );
            equal.extend([a, b]);
            different_bits += (a ^ b).count_ones();
        }
        assert_eq!(equal.len(), VALUES as usize * 2);
        // 128 · 4000 fair coins: the standard deviation of the mean is 0.09 bits; six of them.
        let mean = f64::from(different_bits) / f64::from(VALUES);
        assert!((mean - 64.0).abs() < 0.54, "{mean}");
    }
}

/// The HMAC's 128 bits.
fn bits(token: &str) -> u128 {
    let (_, body) = token.rsplit_once('_').unwrap();
    let digits = body.chars().map(|c| u128::from(c.to_digit(32).unwrap()));
    let (first, rest) = (digits.clone().take(25), digits.skip(25));
    first.fold(0, |n, d| (n << 5) | d) << 3 | rest.take(1).fold(0, |_, d| d >> 2)
}

#[test]
fn an_empty_text_is_a_value_and_a_phone_without_digits_is_none() {
    let phone = make(&TokenUse { normaliser: Normaliser::PhoneV1, ..token_use() }, "acme");
    assert!(token(&phone, "").is_some());
    assert_eq!(token(&phone, "unknown"), None);
    assert_eq!(token(&phone, "+49 (0)30 12-3"), token(&phone, "0049030123"));
}

#[test]
fn a_missing_key_is_named_and_nothing_else() {
    let plan = plan(
        Unlisted::Drop,
        [field("a", Transform::Tokenize(TokenUse { key: "gone".into(), ..token_use() }))],
    );
    let Err(error) = Program::compile(&plan, "acme", &keyring(), &chance()) else {
        panic!("compiled")
    };
    assert!(error.to_string().starts_with("the keyring has no key `gone`\n  help: "), "{error}");
}
