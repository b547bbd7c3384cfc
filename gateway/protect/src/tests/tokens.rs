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
        let normalizer = match text("normalizer") {
            "exact-v1" => Normalizer::ExactV1,
            "email-v2" => Normalizer::EmailV2,
            "phone-v2" => Normalizer::PhoneV2,
            "digits-v2" => Normalizer::DigitsV2,
            "compact-v2" => Normalizer::CompactV2,
            "name-v2" => Normalizer::NameV2,
            other => panic!("{other}"),
        };
        let token_use = TokenUse {
            domain: text("domain").into(),
            scope: text("scope").into(),
            epoch: u32::try_from(v["epoch"].as_u64().unwrap()).unwrap(),
            normalizer,
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
        assert!(again.recognized() && again.as_str() == made && again.field() == 3);
    }
    assert!(!first.token("ada", 0, &mut String::new()).unwrap().recognized());
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
    assert!(out.value == once && out.tokens.iter().all(Token::recognized));
}

/// Ten million values where the code is optimized, as a release test run has it; 200,000 in a
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

/// Tokens of one value in two domains, scopes, epochs, normalizers or tenants differ in half of
/// their bits, as unrelated ones do.
#[test]
fn tokens_are_unlinkable_across_whatever_makes_the_key() {
    const VALUES: u32 = 4_000;
    let here = make(&token_use(), "acme");
    for there in [
        make(&TokenUse { domain: "customer.emaim".into(), ..token_use() }, "acme"),
        make(&TokenUse { scope: "purpose=analytic".into(), ..token_use() }, "acme"),
        make(&TokenUse { epoch: 2, ..token_use() }, "acme"),
        make(&TokenUse { normalizer: Normalizer::NameV2, ..token_use() }, "acme"),
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
    let phone = make(&TokenUse { normalizer: Normalizer::PhoneV2, ..token_use() }, "acme");
    assert!(token(&phone, "").is_some());
    assert_eq!(token(&phone, "unknown"), None);
}

fn tokens_of(normalizer: Normalizer, texts: &[&str]) -> Vec<Option<String>> {
    let tokenizer = make(&TokenUse { normalizer, ..token_use() }, "acme");
    texts.iter().map(|text| token(&tokenizer, text)).collect()
}

/// Each row is one value in several spellings; no two rows share a token.
#[test]
fn one_value_has_one_token_however_it_is_spelt() {
    let email: &[&[&str]] = &[
        &[
            "j\u{fc}rgen@m\u{fc}nchen.example",
            "ju\u{308}rgen@mu\u{308}nchen.example",
            " j\u{fc}rgen@M\u{dc}NCHEN.Example\n",
            "j\u{fc}rgen@xn--mnchen-3ya.example",
            "j\u{fc}rgen@XN--MNCHEN-3YA.example",
            "j\u{fc}rgen@m\u{fc}nchen\u{3002}example",
            "j\u{fc}rgen@\u{ff4d}\u{fc}nchen.example",
        ],
        &["J\u{fc}rgen@m\u{fc}nchen.example"],
        &["jurgen@munchen.example", "jurgen@MUNCHEN.EXAMPLE"],
        &[
            "jurgen@xn--d1abbgf6aiiy.xn--p1ai",
            "jurgen@\u{43f}\u{440}\u{435}\u{437}\u{438}\u{434}\u{435}\u{43d}\u{442}.\u{440}\u{444}",
        ],
        &["\"a b\"@munchen.example"],
        &["x\u{b2}@munchen.example"],
        &["x2@munchen.example"],
    ];
    let phone: &[&[&str]] = &[
        &[
            "+49 30 1234567",
            "+49 (0)30 1234567",
            "0049 30 1234567",
            "(+49) (0) 30/12345-67",
            "\u{202a}+49\u{a0}30\u{2011}1234567\u{202c}",
            "\u{ff0b}49 30 1234567",
        ],
        &["030 1234567", "(030) 123 45 67", "(0)30 1234567"],
        &["49301234567"],
        &["+49 30 1234567 x12", "+493012345 67 ext. 12", "+49301234567;ext=12"],
    ];
    let digits: &[&[&str]] = &[
        &[
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "4111.1111.1111.1111",
            " 4111111111111111\n",
            "\u{ff14}111111111111111",
        ],
        &["100"],
        &["1000"],
    ];
    let compact: &[&[&str]] =
        &[&["DE89 3704 0044", "de89-3704-0044", "\u{ff24}E89\u{a0}37040044"], &["DE89 3704 0045"]];
    let name: &[&[&str]] = &[
        &["Jos\u{e9} Garc\u{ed}a", "Jose\u{301}  Garci\u{301}a", "JOS\u{c9}\u{a0}GARC\u{cd}A "],
        &["Jose Garcia"],
        &["Stra\u{df}e", "STRASSE", "Stra\u{1e9e}e"],
        &[
            "\u{39f}\u{3b4}\u{3c5}\u{3c3}\u{3c3}\u{3b5}\u{3cd}\u{3c2}",
            "\u{39f}\u{394}\u{3a5}\u{3a3}\u{3a3}\u{395}\u{38e}\u{3a3}",
        ],
        &["\u{390}", "\u{3aa}\u{301}", "\u{3b9}\u{308}\u{301}"],
    ];
    for (normalizer, rows) in [
        (Normalizer::EmailV2, email),
        (Normalizer::PhoneV2, phone),
        (Normalizer::DigitsV2, digits),
        (Normalizer::CompactV2, compact),
        (Normalizer::NameV2, name),
    ] {
        let mut seen = HashSet::new();
        for row in rows {
            let made = tokens_of(normalizer, row);
            assert!(made.iter().all(|t| t.is_some() && *t == made[0]), "{normalizer:?} {row:?}");
            assert!(seen.insert(made[0].clone()), "{normalizer:?} {row:?}");
        }
    }
}

#[test]
fn what_cannot_be_told_has_no_token() {
    for (normalizer, texts) in [
        (
            Normalizer::EmailV2,
            &[
                "no address",
                "@example.com",
                "a@",
                "a@b@c.org",
                "a@b.example, d@e.example",
                "a@b.example;d@e.example",
                "a@b.example d@e.example",
                "a@b.example\u{ff0c}d@e.example",
                "Ada <ada@example.com>",
                "mailto:ada@example.com",
                "a\u{200b}b@example.com",
                "ada\u{ff20}example.com@b.example",
                "ada@a..b",
                "ada@exam ple.com",
                "ada@xn--\u{fc}.example",
                "ada@xn--99999999.example",
                "49301234567",
            ][..],
        ),
        (
            Normalizer::PhoneV2,
            &[
                "unknown",
                "100.0",
                "-49301234567",
                "+49 30 1234567, +49 30 7654321",
                "+49 30 1234567 +49 30 7654321",
                "030 1234567 / 030 7654321",
                "030 1234567\n030 7654321",
                "+49 (0)30 (0)1",
                "call 030 1234567",
                "030 1234567 x",
                "030 1234567 or 12",
                "+1 800 FLOWERS",
                "\u{661}\u{662}\u{663}",
                "03\u{660} 123",
                "1e400",
                "true",
            ],
        ),
        (
            Normalizer::DigitsV2,
            &[
                "100.0",
                "12.5",
                "-5",
                "+5",
                "1,000",
                "1e3",
                "12;34",
                "AB123",
                "12 3x",
                "12\n34",
                "(12)",
                "\u{661}\u{662}",
                "1\u{662}3",
                "-",
            ],
        ),
        (Normalizer::CompactV2, &["DE89, FR76", "DE89;FR76", "a\nb", "-5", " - ", "A|B"]),
        (Normalizer::NameV2, &[" \t", "\u{a0}"]),
    ] {
        for (text, token) in texts.iter().zip(tokens_of(normalizer, texts)) {
            assert_eq!(token, None, "{normalizer:?} {text}");
        }
    }
}

/// In a record, where a number may be spelt in many ways.
#[test]
fn a_number_has_the_token_of_its_value() {
    let of = |normalizer, json: &str| {
        let transform = Transform::Tokenize(TokenUse { normalizer, ..token_use() });
        let plan = plan(Unlisted::Drop, [field("a", transform)]);
        apply(&plan, &format!(r#"{{"a":{json}}}"#))
    };
    for normalizer in [
        Normalizer::ExactV1,
        Normalizer::PhoneV2,
        Normalizer::DigitsV2,
        Normalizer::CompactV2,
        Normalizer::NameV2,
    ] {
        let hundred = of(normalizer, "100");
        for same in ["100.0", "1e2", "1000e-1", "\"100\""] {
            assert_eq!(of(normalizer, same), hundred, "{normalizer:?} {same}");
        }
        for other in ["1000", "10", "-100", "100.5", "1e400", "1e999999999", "\"100.0\""] {
            assert_ne!(of(normalizer, other), hundred, "{normalizer:?} {other}");
        }
        let (odd, even) = ("9007199254740993", "9007199254740992");
        let phone = normalizer == Normalizer::PhoneV2;
        assert_eq!(of(normalizer, odd) == of(normalizer, even), phone, "16 digits are no phone");
        assert_eq!(of(normalizer, odd), of(normalizer, "9007199254740993.0"), "{normalizer:?}");
    }
    for odd in ["-100", "100.5", "1e400", "\"100.0\""] {
        for normalizer in [Normalizer::PhoneV2, Normalizer::DigitsV2] {
            assert_eq!(of(normalizer, odd), "{}", "{normalizer:?} {odd}");
        }
    }
    assert_eq!(of(Normalizer::ExactV1, "1e400"), of(Normalizer::ExactV1, "10e399"));
}

/// Stated in the documents. A newer table changes no token of what was assigned in these, but is
/// looked at before it is taken: does it, and do the documents say so?
#[test]
fn the_tables_are_those_of_the_unicode_versions_that_the_documents_name() {
    assert_eq!(unicode_normalization::UNICODE_VERSION, (18, 0, 0));
    assert_eq!(char::UNICODE_VERSION, (17, 0, 0));
}

#[test]
fn a_missing_key_is_named_and_nothing_else() {
    let plan = plan(
        Unlisted::Drop,
        [field("a", Transform::Tokenize(TokenUse { key: "gone".into(), ..token_use() }))],
    );
    let Err(error) = Program::compile(&plan, "acme", &keyring(), &randomness()) else {
        panic!("compiled")
    };
    assert!(error.to_string().starts_with("the keyring has no key `gone`\n  help: "), "{error}");
}
