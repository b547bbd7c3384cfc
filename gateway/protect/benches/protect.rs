//! What protection costs: a token, and a 300-byte record with five protected fields, against
//! parsing and writing the same record with serde_json in the same run.
//!
//! Targets: token at most 250 ns, record at most 2 µs.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark says what it measured, and may stop where a service may not"
)]

use std::{hint::black_box, sync::Arc, time::Instant};

use criterion::Criterion;
use sluicegate_policies::{
    Categories, Category, DatePart, Decimal, EventUnit, FieldPath, FieldPlan, Generalize, Mask,
    Normalizer, OnInvalid, Part, Plan, Randomize, Response, Spending, Step, TokenUse, Transform,
    Unlisted,
};
use sluicegate_protect::{
    Program, Protected, Randomness, RecordRef,
    keys::{Master, Masters},
    tokenizer,
};

const RECORD: &str = r#"{"id":4711,"email":"ada.lovelace@example.com","phone":"+44 20 7946 0958","name":"Ada Lovelace","born":"1815-12-10","ip":"203.0.113.77","order":{"sku":"AX-100-B","quantity":3,"price":129.90,"currency":"GBP"},"tags":["new","web"],"session":"d41d8cd98f00b204e9800998ecf8427e","at":"2026-05-17T12:30:00Z"}"#;

fn token_use(normalizer: Normalizer) -> TokenUse {
    TokenUse {
        domain: "customer".into(),
        scope: "purpose=analytics".into(),
        epoch: 1,
        normalizer,
        key: "main".into(),
    }
}

fn field(path: &str, transform: Transform) -> FieldPlan {
    let steps = path.split('.').map(|s| match s {
        "**" => Step::AnyDepth,
        name => Step::Member(name.into()),
    });
    FieldPlan {
        path: FieldPath { part: Part::Value, steps: steps.collect(), written: path.into() },
        category: "any".into(),
        transform,
        on_invalid: OnInvalid::Drop,
        rules: Box::default(),
    }
}

fn plan(protected: [Transform; 5]) -> Plan {
    let mut fields: Vec<_> =
        ["id", "order.**", "tags.**", "at"].iter().map(|p| field(p, Transform::Keep)).collect();
    let paths = ["email", "phone", "name", "born", "ip"];
    fields.extend(paths.iter().zip(protected).map(|(p, t)| field(p, t)));
    Plan {
        fields: fields.into(),
        unlisted: Unlisted::Drop,
        names: Box::default(),
        rules: Box::default(),
    }
}

fn mixed() -> Plan {
    plan([
        Transform::Tokenize(token_use(Normalizer::EmailV2)),
        Transform::Tokenize(token_use(Normalizer::PhoneV2)),
        Transform::Mask(Mask { first: 1, last: 0, with: '*', email: false, length: Some(5) }),
        Transform::Generalize(Generalize::Date { part: DatePart::Year, unit: EventUnit::Rfc3339 }),
        Transform::Generalize(Generalize::Ip { v4: 24, v6: 48 }),
    ])
}

fn five_tokens() -> Plan {
    plan(std::array::from_fn(|_| Transform::Tokenize(token_use(Normalizer::ExactV1))))
}

/// Five answers: two of k-rr, two of oue over eight categories, and a noisy number.
fn randomized() -> Plan {
    let epsilon = Decimal { digits: 1, scale: 0 };
    let value = |i: u32| Category { text: i.to_string().into(), quoted: true };
    let eight = || Categories { values: (0..8).map(value).collect(), other: Some(0) };
    let randomize = |response: Option<Response>| {
        let spending = Spending::PerRecord { records: 10, period: "24h".into() };
        let response = response.expect("it fits");
        Transform::Randomize(Box::new(Randomize { response, epsilon, spending }))
    };
    plan([
        randomize(Response::k_rr(eight(), epsilon)),
        randomize(Response::k_rr(eight(), epsilon)),
        randomize(Response::oue(eight(), epsilon)),
        randomize(Response::oue(eight(), epsilon)),
        randomize(Response::numeric(0, 100, 0, Some(50), epsilon)),
    ])
}

fn main() {
    let keys: Masters = [("main".to_owned(), Master::new(&[1; 32]))].into_iter().collect();
    let record = RecordRef { key: None, headers: &[], value: RECORD.as_bytes() };
    let randomness = Arc::new(Randomness::from_seed([7; 32]));
    let mut out = Protected::default();
    let mut c = Criterion::default().configure_from_args().without_plots();

    let exact = tokenizer(&token_use(Normalizer::ExactV1), "acme", &keys).expect("has the key");
    let mut scratch = String::new();
    c.bench_function("token", |b| {
        b.iter(|| exact.token(black_box("ada.lovelace@example.com"), 0, &mut scratch));
    });
    let programs = [
        ("five tokens", five_tokens()),
        ("two tokens, mask, date, ip", mixed()),
        ("five randomized answers", randomized()),
    ]
    .map(|(name, plan)| {
        (name, Program::compile(&plan, "acme", &keys, &randomness).expect("has the key"))
    });
    for (name, program) in &programs {
        c.bench_function(&format!("record/{} bytes, {name}", RECORD.len()), |b| {
            b.iter(|| program.apply(black_box(record), &mut out).is_ok());
        });
    }
    c.bench_function("record/serde_json parse and serialize", |b| b.iter(plain));
    c.final_summary();

    let alternative = nanoseconds(plain);
    println!("\nserde_json parse + serialize        {alternative:>7.0} ns   1.00");
    for (name, program) in &programs {
        let ns = nanoseconds(|| program.apply(black_box(record), &mut out).is_ok());
        println!("{name:<35} {ns:>7.0} ns   {:.2}", ns / alternative);
    }
    let ns = nanoseconds(|| exact.token(black_box("ada.lovelace@example.com"), 0, &mut scratch));
    println!("one token                           {ns:>7.0} ns");
}

fn plain() -> Vec<u8> {
    let tree: serde_json::Value =
        serde_json::from_slice(black_box(RECORD.as_bytes())).expect("it is JSON");
    serde_json::to_vec(&tree).expect("it was JSON")
}

/// The best of many short rounds, so that the ratio is of the code and not of the machine's other
/// work.
fn nanoseconds<T>(mut run: impl FnMut() -> T) -> f64 {
    const ROUNDS: u32 = 400;
    const RUNS: u32 = 1_000;
    let round = |_| {
        let start = Instant::now();
        for _ in 0..RUNS {
            black_box(run());
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(RUNS)
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}
