//! What a pane costs from totals to bytes: noise, selection of rows, messages, and reading them
//! back. Against random bits, selection without noise, and serde_json on the same messages.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark may stop, and speaks to a person"
)]

mod plans;

use std::{hint::black_box, sync::Arc};

use plans::{START_MS, hourly, nanoseconds, public};
use prio::{
    dp::{
        DifferentialPrivacyStrategy, PureDpBudget, Rational, distributions::PureDpDiscreteLaplace,
    },
    field::Field64,
    flp::{
        TypeWithNoise,
        gadgets::{Mul, ParallelSum},
        types::Histogram,
    },
};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::Value;
use sluicegate_policies::{
    BundleDigest,
    release::{Dyadic, Keys, Noise, PaneId, ReleasePlan},
};
use sluicegate_releases::{
    encode::{self, PaneHistory},
    noise::{NoiseError, OpenDp, Sampler},
    select, store,
    window::Totals,
};

const PANE: PaneId = PaneId { start_ms: START_MS, end_ms: START_MS + 3_600_000, revision: 0 };
/// In thousandths.
const SCALES: [u64; 4] = [500, 10_000, 1_000_000, 1_000_000_000];

fn line(name: &str, ns: f64, than: f64) {
    println!("{name:<48} {ns:>9.0} ns {:>8.2}", ns / than);
}

/// One number, at several scales.
fn noise() {
    let mut stream = blake3::Hasher::new_keyed(&[7; 32]).finalize_xof();
    let mut bits = [0; 8];
    let keyed = nanoseconds(100, 10_000, || {
        stream.fill(&mut bits);
        u64::from_be_bytes(bits)
    });
    let system = SystemRandom::new();
    let from_system = nanoseconds(100, 1_000, || system.fill(&mut bits).is_ok());
    println!("{:<48} {:>12} {:>8}", "a noisy number", "", "time");
    line("64 bits of the operating system's randomness", from_system, from_system);
    line("64 bits of keyed BLAKE3", keyed, from_system);
    let mut sampler = OpenDp::default();
    for thousandths in SCALES {
        let scale = Dyadic((thousandths << Dyadic::SHIFT) / 1_000);
        let shown = thousandths as f64 / 1_000.0;
        for (name, noise) in [
            ("discrete Laplace, scale", Noise::Laplace { scale }),
            ("discrete Gaussian, sigma", Noise::Gaussian { sigma: scale }),
        ] {
            let ns = nanoseconds(25, 1_000, || sampler.draw(noise, black_box(1_000_000)).unwrap());
            line(&format!("{name} {shown}"), ns, from_system);
        }
        let name = format!("the same Laplace by prio, scale {shown}");
        line(&name, by_prio(scale, 1_000), from_system);
    }
}

/// Another implementation; its histograms take ε = 2 / scale.
fn by_prio(scale: Dyadic, n: u32) -> f64 {
    let epsilon = Rational::from_unsigned(2_u128 << Dyadic::SHIFT, u128::from(scale.0)).unwrap();
    let strategy = PureDpDiscreteLaplace::from_budget(PureDpBudget::new(epsilon).unwrap());
    let length = usize::try_from(n).unwrap();
    let histogram: Histogram<Field64, ParallelSum<Field64, Mul>> =
        Histogram::new(length, 1_000).unwrap();
    let mut numbers = vec![Field64::from(1_000_000); length];
    let all = nanoseconds(25, 1, || {
        histogram.add_noise_to_agg_share(&strategy, black_box(&mut numbers), 0)
    });
    all / f64::from(n)
}

/// Keeps every number as it is.
struct Silent;

impl Sampler for Silent {
    fn laplace(&mut self, _: Dyadic, value: i64) -> Result<i64, NoiseError> {
        Ok(value)
    }

    fn gaussian(&mut self, _: Dyadic, value: i64) -> Result<i64, NoiseError> {
        Ok(value)
    }
}

/// Every other key has far too few subjects to be selected, the rest far more than enough.
fn totals(plan: &ReleasePlan, keys: u32) -> Totals {
    let threshold = match plan.keys {
        Keys::Unknown { threshold, .. } => threshold,
        Keys::Whole | Keys::Public { .. } => 1_000,
    };
    let row = |n: u32| {
        let subjects = if n.is_multiple_of(2) { threshold * 20 } else { 1 };
        (key(n), vec![subjects, subjects * 2, subjects * 300])
    };
    Totals { by_key: (0..keys).map(row).collect() }
}

fn key(n: u32) -> Arc<str> {
    Arc::from(format!("placement-{n:06}"))
}

/// From totals to noisy rows, for each key there is.
fn selection() {
    println!("\n{:<48} {:>12} {:>8}", "a key of a pane, half of them published", "", "time");
    for keys in [1_000, 100_000] {
        let rounds = if keys > 10_000 { 3 } else { 25 };
        for (name, accounting) in [("Laplace", "pure"), ("Gaussian", "zcdp")] {
            let plan = hourly("hash", "first", accounting);
            let totals = totals(&plan, keys);
            let each = |ns: f64| ns / f64::from(keys);
            let silent =
                each(nanoseconds(rounds, 1, || select::noise(&plan, &totals, &mut Silent)));
            let mut sampler = OpenDp::for_plan(&plan).unwrap();
            let published = select::noise(&plan, &totals, &mut sampler).unwrap().rows.len();
            assert_eq!(published, usize::try_from(keys / 2).unwrap());
            let noisy =
                each(nanoseconds(rounds, 1, || select::noise(&plan, &totals, &mut sampler)));
            line(&format!("{name}, {keys} keys, without noise"), silent, silent);
            line(&format!("{name}, {keys} keys"), noisy, silent);
        }
    }
    let plan = hourly("hash", "first", "zcdp");
    let plan = public(plan, (0..1_000).map(key));
    let totals = totals(&plan, 1_000);
    let mut sampler = OpenDp::for_plan(&plan).unwrap();
    let silent = nanoseconds(25, 1, || select::noise(&plan, &totals, &mut Silent)) / 1e3;
    let noisy = nanoseconds(25, 1, || select::noise(&plan, &totals, &mut sampler)) / 1e3;
    line("Gaussian, 1000 public keys, without noise", silent, silent);
    line("Gaussian, 1000 public keys", noisy, silent);
    for accounting in ["pure", "zcdp"] {
        let plan = hourly("hash", "first", accounting);
        let made = nanoseconds(25, 100, || OpenDp::for_plan(&plan).is_ok());
        println!("{:<48} {made:>9.0} ns", format!("once a pane: the sampler, {accounting}"));
    }
}

/// From noisy rows to messages and blobs, and back.
fn bytes() {
    let plan = hourly("hash", "first", "zcdp");
    let noisy = select::noise(&plan, &totals(&plan, 2_000), &mut Silent).unwrap();
    let messages = || {
        let digest = BundleDigest([1; 32]);
        encode::messages(&plan, PANE, black_box(&noisy), &PaneHistory::default(), None, digest)
    };
    let sent = messages();
    let rows = sent.len() as f64;
    let each = |ns: f64| ns / rows;
    let values: Vec<&[u8]> = sent.iter().map(|message| message.value.as_slice()).collect();
    let parse = || -> Vec<Value> {
        values.iter().map(|v| serde_json::from_slice(black_box(v)).unwrap()).collect()
    };
    let trees = parse();
    let length = values.iter().map(|value| value.len()).sum::<usize>() as f64 / rows;
    println!("\n{:<48} {:>12} {:>8}", format!("a message of {length:.0} bytes"), "", "time");
    let written = each(nanoseconds(50, 1, || -> Vec<Vec<u8>> {
        black_box(&trees).iter().map(|tree| serde_json::to_vec(tree).unwrap()).collect()
    }));
    line("serde_json writes the same", written, written);
    line("message of a row", each(nanoseconds(50, 1, messages)), written);
    line("messages to blobs", each(nanoseconds(50, 1, || store::blobs(&sent))), written);
    let parsed = each(nanoseconds(50, 1, parse));
    line("serde_json reads the same", parsed, parsed);
    let back = || encode::read_back(&plan, values.iter().copied()).unwrap();
    assert!(back().1 == noisy);
    line("read back", each(nanoseconds(50, 1, back)), parsed);
}

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    noise();
    selection();
    bytes();
}
