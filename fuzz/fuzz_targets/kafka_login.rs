//! Any bytes as what a client says to log in: none of it proves a password that is not in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate_wire::sasl::{
    bearer, plain,
    scram::{First, Keys, Mechanism, Nonces},
};

fuzz_target!(|data: &[u8]| {
    let (choice, data) = data.split_first().unwrap_or((&0, data));
    if let Ok(said) = plain::parse(data) {
        assert!(!said.name.is_empty() && !said.password.is_empty());
    }
    if let Ok(said) = bearer::parse(data) {
        assert!(!said.token.is_empty());
    }
    let mechanism = if choice & 1 == 0 { Mechanism::Sha256 } else { Mechanism::Sha512 };
    let nonces = if choice & 2 == 0 { Nonces::Exact } else { Nonces::Suffix };
    let nobody = Keys::of_nobody(mechanism, b"secret", "name", 16, 4096.try_into().unwrap());
    let cut = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (first, last) = data.split_at(cut);
    let first = First::parse(first).unwrap_or_else(|_| First::parse(b"n,,n=name,r=x").unwrap());
    assert!(!first.name().is_empty());
    let (_challenge, waiting) = first.challenge(nobody, "nonce");
    assert!(waiting.verify(last.get(1..).unwrap_or_default(), nonces).is_err());
});
