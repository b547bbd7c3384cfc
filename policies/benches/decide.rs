//! What a decision costs, in nanoseconds and as a fraction of reading the rules one by one.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    dead_code,
    reason = "a benchmark may stop, speaks to a person, and uses a part of the model"
)]

#[path = "../tests/support/model.rs"]
mod model;

use std::{hint::black_box, time::Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use model::{Access, Mutant, Policy, Protection, Transfer, Who};
use sluicegate_policies::{Bundle, Operation, Source, UnixMillis};

/// A policy of ordinary size: about a hundred rules.
fn policy() -> Policy {
    let access = (0..64).map(|i| Access {
        allows: true,
        who: if i % 2 == 0 { Who::Principal(i % 3) } else { Who::Team(i % 2) },
        read: i % 4 == 3,
        dataset: i % 2,
        purpose: i % 3,
        from: None,
        until: None,
    });
    let protection = (0..32).map(|i| Protection {
        category: i % 4,
        purpose: None,
        subject: None,
        strength: 1,
        from: None,
    });
    let transfer = (0..4).map(|i| Transfer { allows: true, from: 0, category: i, expires: None });
    Policy {
        access: access.collect(),
        protection: protection.collect(),
        transfer: transfer.collect(),
        stay_home: true,
    }
}

fn decide(c: &mut Criterion) {
    let policy = policy();
    let bundle = Bundle::compile(&[Source::new("bench.yaml", policy.yaml())]);
    let table = bundle.expect("the policy compiles").table(UnixMillis(0)).expect("a table");
    let germany = table.jurisdiction("DE").expect("a jurisdiction");
    let compiled = || {
        let grant = table.admit(
            black_box("p0"),
            Some(black_box("u0")),
            Operation::Publish,
            black_box("d0"),
        );
        grant.map(|g| g.route(black_box(germany)).map_or(0, |r| r.deliveries.len())).unwrap_or(0)
    };
    let naive = || {
        let to =
            policy.publish(black_box(0), black_box(0), black_box(0), black_box(0), 0, Mutant::None);
        to.map_or(0, |t| t.len())
    };
    assert_eq!(compiled(), naive());
    assert!(compiled() > 0);
    c.bench_function("decide/compiled", |b| b.iter(compiled));
    c.bench_function("decide/naive", |b| b.iter(naive));
    let (fast, slow) = (nanoseconds(compiled), nanoseconds(naive));
    eprintln!(
        "a decision: {fast:.0} ns, {:.3} of the naive interpreter's {slow:.0} ns",
        fast / slow
    );
}

fn nanoseconds(mut f: impl FnMut() -> usize) -> f64 {
    const ROUNDS: u32 = 1_000_000;
    let start = Instant::now();
    for _ in 0..ROUNDS {
        black_box(f());
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS)
}

criterion_group!(benches, decide);
criterion_main!(benches);
