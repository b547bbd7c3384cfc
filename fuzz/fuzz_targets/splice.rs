//! Any bytes as a record's value, key and header, under one of a few plans: no panic, nothing
//! accepted that serde_json refuses, nothing written that is not JSON, a second application of a
//! plan that only tokenizes changes nothing, and a planted name of a member or header never comes
//! out where unlisted things do not stay.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use sluicegate_policies::{
    FieldPath, FieldPlan, Mask, Normalizer, OnInvalid, Part, Plan, Step, TokenUse, Transform,
    Unlisted,
};
use sluicegate_protect::{
    Randomness, Program, Protected, RecordRef, json,
    keys::{Master, Masters},
};

/// A name that no plan contains.
const PLANTED: &str = "alice.smith@corp.example";

static PROGRAMS: LazyLock<Vec<Program>> = LazyLock::new(|| {
    let keys: Masters = [("main".to_owned(), Master::new(&[1; 32]))].into_iter().collect();
    let randomness = Arc::new(Randomness::from_seed([7; 32]));
    let plans = [Unlisted::Drop, Unlisted::Keep, Unlisted::Refuse].map(mixed);
    let all = plans.into_iter().chain([tokens_only()]);
    all.map(|plan| Program::compile(&plan, "fuzz", &keys, &randomness).expect("has the key")).collect()
});

fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_first() else { return };
    let choice = usize::from(*choice) % PROGRAMS.len();
    let Some(program) = PROGRAMS.get(choice) else { return };
    let headers = [("x".to_owned(), Some(bytes.to_vec()))];
    let record = RecordRef { key: Some(bytes), headers: &headers, value: bytes };
    let mut out = Protected::default();
    if program.apply(record, &mut out).is_err() {
        assert!(out.value.is_empty() && out.key().is_none() && out.headers.is_empty());
        return;
    }
    if bytes.is_empty() {
        return;
    }
    plant(program, bytes, choice == KEEPS_UNLISTED);
    assert!(serde_json::from_slice::<serde_json::Value>(bytes).is_ok());
    assert!(json::validate(&out.value).is_ok());
    assert!(serde_json::from_slice::<serde_json::Value>(&out.value).is_ok());
    if choice + 1 == PROGRAMS.len() {
        let once = out.value.clone();
        let again = RecordRef { key: None, headers: &[], value: &once };
        assert!(program.apply(again, &mut out).is_ok() && out.value == once);
    }
});

/// The place of the plan with `unlisted: keep`.
const KEEPS_UNLISTED: usize = 1;

/// The value under planted names, beside itself and beside empty containers.
fn plant(program: &Program, bytes: &[u8], keeps: bool) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let value = format!(
        "{{\"a\":{{\"{PLANTED}\":{text},\"n\":{{\"{PLANTED}\":{{}}}}}},\"{PLANTED}\":[{{}},{text}],\"c\":{text}}}"
    );
    let headers = [(PLANTED.to_owned(), Some(b"x".to_vec()))];
    let record = RecordRef { key: Some(value.as_bytes()), headers: &headers, value: value.as_bytes() };
    let mut out = Protected::default();
    if keeps || text.contains(PLANTED) || program.apply(record, &mut out).is_err() {
        return;
    }
    let shows = |bytes: &[u8]| bytes.windows(PLANTED.len()).any(|w| w == PLANTED.as_bytes());
    assert!(!shows(&out.value) && !out.key().is_some_and(shows));
    assert!(out.headers.is_empty());
    assert!(json::validate(&out.value).is_ok());
}

fn mixed(unlisted: Unlisted) -> Plan {
    let member = |name: &str| Step::Member(name.into());
    let mask = Mask { first: 1, last: 1, with: '*', email: false, length: Some(3) };
    let fields = [
        entry(&[member("a"), Step::AnyDepth], Transform::Keep),
        entry(&[Step::Each, Step::AnyMember], Transform::Keep),
        entry(&[Step::AnyDepth, member("b")], Transform::Mask(mask)),
        entry(&[Step::AnyDepth, member("c"), Step::Each], Transform::Tokenize(token_use())),
        entry(&[member("d"), Step::AnyMember, member("e")], Transform::Redact),
        entry(&[Step::AnyDepth, member("f")], Transform::Drop),
    ];
    let names = ["b", "n"].map(Into::into).into();
    Plan { fields: fields.into(), unlisted, names, rules: Box::default() }
}

fn tokens_only() -> Plan {
    let all = entry(&[Step::AnyDepth], Transform::Tokenize(token_use()));
    let mut names = all.clone();
    names.path.part = Part::Name;
    Plan {
        fields: [all, names].into(),
        unlisted: Unlisted::Drop,
        names: Box::default(),
        rules: Box::default(),
    }
}

fn entry(steps: &[Step], transform: Transform) -> FieldPlan {
    FieldPlan {
        path: FieldPath { part: Part::Value, steps: steps.into(), written: "".into() },
        category: "any".into(),
        transform,
        on_invalid: OnInvalid::Drop,
        rules: Box::default(),
    }
}

fn token_use() -> TokenUse {
    TokenUse {
        domain: "d".into(),
        scope: "global".into(),
        epoch: 1,
        normalizer: Normalizer::ExactV1,
        key: "main".into(),
    }
}
