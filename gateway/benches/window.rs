//! What it costs to bound what each subject contributes: contributions a second on one core, a
//! contribution as bytes, the close of a window, memory a subject. Against counting without any
//! bound, in the same run and over the same contributions.
//!
//! Nothing here is chance: the n-th contribution is a function of n.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark may stop, and speaks to a person"
)]

#[path = "../releases/benches/plans/mod.rs"]
mod plans;

use std::{
    collections::{BTreeMap, HashMap},
    hint::black_box,
    path::Path,
    process::Command,
    sync::Arc,
    time::Instant,
};

use plans::{START_MS, hourly, nanoseconds, plan, public};
use ring::rand::SystemRandom;
use sluicegate_gateway::release::spill::SpillFolder;
use sluicegate_policies::release::{Calendar, ReleasePlan, Zone};
use sluicegate_protect::keys::{Master, Masters};
use sluicegate_releases::{
    seal::Seal,
    window::{Contribution, Limits, Subject, Task, Totals},
};

const ROUNDS: usize = 5;
const SUBJECTS: u64 = 100_000;
const CONTRIBUTIONS: u64 = 1_000_000;
const PLACEMENTS: u64 = 1_000;
const SECRET: [u8; 32] = [7; 32];
const ALL: Limits = Limits { resident_subjects: usize::MAX, spill_bytes: u64::MAX };

/// SplitMix64.
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// Below `n`, as the cube of an even number between 0 and 1: a hundredth of all has a fifth.
fn skewed(chance: u64, n: u64) -> u64 {
    let times = |a: u64, b: u64| u64::try_from((u128::from(a) * u128::from(b)) >> 64).unwrap();
    times(times(times(chance, chance), chance), n)
}

fn bytes_of(kind: u64, n: u64) -> [u8; 16] {
    let half = |which| mix(mix(n) ^ kind ^ which).to_be_bytes();
    [half(1), half(2)].concat().try_into().unwrap()
}

fn placement(n: u64) -> Arc<str> {
    Arc::from(format!("placement-{n}"))
}

/// The n-th of all contributions; they come within the first hour.
fn contribution(n: u64, subject: u64, placed: u64) -> Contribution {
    let at_ms = START_MS + i64::try_from(n % 3_600_000).unwrap();
    Contribution {
        subject: Subject(bytes_of(1 << 32, subject)),
        key: placement(placed),
        event_ms: at_ms,
        arrival_ms: at_ms,
        id: bytes_of(2 << 32, n),
        values: vec![Some(i64::try_from(n % 500).unwrap())],
    }
}

fn skewed_contribution(n: u64) -> Contribution {
    let subject = skewed(mix(n), SUBJECTS);
    contribution(n, subject, skewed(mix(n ^ (1 << 40)), PLACEMENTS))
}

/// Seconds of `run`; what it made is let go after that.
fn seconds<T>(run: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    let made = run();
    let took = start.elapsed().as_secs_f64();
    drop(black_box(made));
    took
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn spill(folder: &Path) -> Box<SpillFolder> {
    Box::new(SpillFolder::new(folder.to_owned()))
}

fn fill(plan: &Arc<ReleasePlan>, limits: Limits, dir: &Path, all: Vec<Contribution>) -> Task {
    let mut task = Task::new(plan.clone(), &SECRET, limits, spill(&dir.join("spill")));
    for (offset, one) in all.into_iter().enumerate() {
        task.accept(i64::try_from(offset).unwrap(), one).unwrap();
    }
    task
}

fn resident(subjects: usize) -> Limits {
    Limits { resident_subjects: subjects, ..ALL }
}

/// How fast a task takes contributions, without its close.
fn throughput(dir: &Path) {
    let stream: Vec<Vec<u8>> =
        (0..CONTRIBUTIONS).map(|n| skewed_contribution(n).encode()).collect();
    // As the gateway has them: each key for itself, read from bytes.
    let input = || -> Vec<Contribution> {
        stream.iter().map(|bytes| Contribution::decode(bytes).unwrap()).collect()
    };
    let hash = hourly("hash", "first", "zcdp");
    let mut local = hash.clone();
    local.schedule.pane = Calendar::days(1, Zone::parse("Europe/Berlin").unwrap());
    let words = "unit: record\nbudget: { epsilon: 1.0, delta: 1e-9 }\nwindow: { size: 1h }
keys: { field: placement }\nrelease: [{ what: subjects, share: 0.5 }, { what: count, share: 0.5 }]";
    let ways = [
        ("first-come", hourly("first", "first", "zcdp"), ALL),
        ("hash", hash.clone(), ALL),
        ("hash, a panel of windows", hourly("hash", "panel", "zcdp"), ALL),
        ("hash, public keys", public(hash.clone(), (0..PLACEMENTS).map(placement)), ALL),
        ("hash, days of a time zone", local, ALL),
        ("unit: record", plan(words), ALL),
        ("hash, half of the subjects resident", hash.clone(), resident(50_000)),
        ("hash, a tenth of the subjects resident", hash, resident(10_000)),
    ]
    .map(|(name, plan, limits)| (name, Arc::new(plan), limits));
    let (mut plain, mut pairs) = (Vec::new(), Vec::new());
    let mut bounded = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        let all = input();
        plain.push(seconds(|| count(all.into_iter().map(|one| one.key))));
        let all = input();
        pairs.push(seconds(|| count(all.into_iter().map(|one| (one.subject, one.key)))));
        for ((_, plan, limits), took) in ways.iter().zip(&mut bounded) {
            let all = input();
            took.push(seconds(|| fill(plan, *limits, dir, all)));
        }
    }
    println!(
        "bounding: {CONTRIBUTIONS} contributions of {SUBJECTS} subjects to {PLACEMENTS} keys, \
         median of {ROUNDS} rounds in turns"
    );
    println!("{:<42} {:>12} {:>8}", "", "a second", "time");
    let line = |name: &str, took: &[f64]| {
        let ratios = took.iter().zip(&plain).map(|(a, b)| a / b).collect();
        let rate = CONTRIBUTIONS as f64 / median(took.to_vec());
        println!("{name:<42} {rate:>12.0} {:>8.2}", median(ratios));
    };
    line("a HashMap of keys, no bounds", &plain);
    line("a HashMap of subjects with keys, no bounds", &pairs);
    for ((name, ..), took) in ways.iter().zip(&bounded) {
        line(name, took);
    }
}

fn count<T: std::hash::Hash + Eq>(all: impl Iterator<Item = T>) -> HashMap<T, u64> {
    let mut counts = HashMap::new();
    for one in all {
        *counts.entry(one).or_default() += 1;
    }
    counts
}

/// Whether it stays so with wide bounds: subjects who send twice as many records to a key, or keys,
/// as may count.
fn wide(dir: &Path) {
    const TWICE: u64 = 2;
    const ALL_OF_IT: u64 = 200_000;
    println!("\ncontributions a second by the width of a bound, half of them beyond it; best of 3");
    println!("{:<42} {:>9} {:>9} {:>9} {:>9}", "", 1, 10, 100, 1_000);
    for choose in ["first", "hash"] {
        for of_keys in [false, true] {
            let rate = |width: u32| {
                let mut plan = hourly(choose, "first", "zcdp");
                let (keys, records) = if of_keys { (width, 1) } else { (1, width) };
                (plan.bounds.keys_per_window, plan.bounds.records_per_key) = (keys, records);
                let plan = Arc::new(plan);
                let subjects = ALL_OF_IT / (u64::from(width) * TWICE);
                let took = |_| {
                    let placed = |n: u64| if of_keys { n / subjects } else { 0 };
                    let all = (0..ALL_OF_IT).map(|n| contribution(n, n % subjects, placed(n)));
                    let all = all.collect();
                    seconds(|| fill(&plan, ALL, dir, all))
                };
                ALL_OF_IT as f64 / (0..3).map(took).fold(f64::INFINITY, f64::min)
            };
            let [a, b, c, d] = [1, 10, 100, 1_000].map(rate);
            let name = if of_keys { "keys-per-window" } else { "records-per-key" };
            println!("{:<42} {a:>9.0} {b:>9.0} {c:>9.0} {d:>9.0}", format!("{name}, {choose}"));
        }
    }
}

/// A contribution as bytes, and sealed as it lies in its topic.
fn bytes() {
    let keyring: Masters = [("k".to_owned(), Master::new(&[1; 32]))].into_iter().collect();
    let seal = Seal::new(&keyring, "k", "t", "r", Arc::new(SystemRandom::new())).unwrap();
    let one = skewed_contribution(4_711);
    let encoded = one.encode();
    let sealed = seal.seal(START_MS, b"plan", &encoded).unwrap();
    let copy = nanoseconds(400, 1_000, || black_box(&encoded).clone());
    println!("\na contribution of {} bytes", encoded.len());
    println!("{:<42} {:>9} ns {:>8}", "", "", "time");
    println!("{:<42} {copy:>9.0} ns {:>8.2}", "a copy of its bytes", 1.0);
    let line = |name: &str, ns: f64| println!("{name:<42} {ns:>9.0} ns {:>8.2}", ns / copy);
    line("encode", nanoseconds(400, 1_000, || black_box(&one).encode()));
    line("decode", nanoseconds(400, 1_000, || Contribution::decode(black_box(&encoded)).is_ok()));
    line("seal", nanoseconds(100, 1_000, || seal.seal(START_MS, b"plan", black_box(&encoded))));
    line("open", nanoseconds(100, 1_000, || seal.open(b"plan", black_box(&sealed))));
}

/// How long a window takes to close: each subject has two keys in it.
fn close(dir: &Path) {
    const TWICE: u64 = 2;
    println!("\nclose, median of 3; \"plain\" adds the same rows up from a list, and sorts them");
    println!("{:<42} {:>9} {:>9} {:>6} {:>11}", "", "plain", "close", "time", "of filling");
    let plan = Arc::new(hourly("hash", "first", "zcdp"));
    for (keys, subjects, limits) in [
        (1_000, 100_000, ALL),
        (1_000, 1_000_000, ALL),
        (100_000, 1_000_000, ALL),
        (1_000, 100_000, resident(10_000)),
        (100_000, 1_000_000, resident(100_000)),
    ] {
        let input = || -> Vec<Contribution> {
            (0..subjects * TWICE)
                .map(|n| contribution(n, n % subjects, (n % subjects + n / subjects * 77) % keys))
                .collect()
        };
        let (mut filling, mut plain, mut closing) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..3 {
            let rows: Vec<(Arc<str>, [i64; 3])> = input()
                .into_iter()
                .map(|one| (one.key, [1, 1, one.values[0].unwrap_or_default()]))
                .collect();
            plain.push(seconds(|| add_up(&rows)));
            drop(rows);
            let all = input();
            let start = Instant::now();
            let mut task = fill(&plan, limits, dir, all);
            filling.push(start.elapsed().as_secs_f64());
            closing.push(seconds(|| {
                let totals = task.close(START_MS, 0).unwrap();
                assert_eq!(totals.by_key.len() as u64, keys);
                totals
            }));
        }
        let memory = match limits.resident_subjects {
            usize::MAX => "",
            _ => ", a tenth resident",
        };
        let name = format!("{keys} keys, {subjects} subjects{memory}");
        let ratio = |a: &[f64], b: &[f64]| median(a.iter().zip(b).map(|(a, b)| a / b).collect());
        println!(
            "{name:<42} {:>6.0} ms {:>6.0} ms {:>6.2} {:>11.2}",
            median(plain.clone()) * 1e3,
            median(closing.clone()) * 1e3,
            ratio(&closing, &plain),
            ratio(&closing, &filling),
        );
    }
}

fn add_up(rows: &[(Arc<str>, [i64; 3])]) -> Totals {
    let mut sums: HashMap<&Arc<str>, [i64; 3]> = HashMap::new();
    for (key, row) in rows {
        for (sum, more) in sums.entry(key).or_default().iter_mut().zip(row) {
            *sum += more;
        }
    }
    let by_key: BTreeMap<_, _> =
        sums.into_iter().map(|(key, sums)| (key.clone(), sums.to_vec())).collect();
    Totals { by_key }
}

const MEMORY: [(&str, &str); 4] = [
    ("counts", "a HashMap of subjects, a count of each"),
    ("1", "one record"),
    ("2", "two keys, a record in each"),
    ("6", "two keys, three records in each"),
];

/// Each in a process of its own, so that nothing is used a second time.
fn memory() {
    println!("\nresident memory of 1000000 subjects");
    println!("{:<42} {:>9} {:>8}", "", "a subject", "ratio");
    let mut plain = None;
    for (which, name) in MEMORY {
        let itself = std::env::current_exe().unwrap();
        let done = Command::new(itself).args(["--memory", which]).output().unwrap();
        assert!(done.status.success());
        let bytes: f64 = String::from_utf8(done.stdout).unwrap().trim().parse().unwrap();
        let plain = *plain.get_or_insert(bytes);
        println!("{name:<42} {:>7.0} B {:>8.2}", bytes, bytes / plain);
    }
}

/// Bytes of memory that a million subjects take up.
fn fill_memory(which: &str) {
    const MILLION: u64 = 1_000_000;
    let plan = Arc::new(hourly("hash", "first", "zcdp"));
    let mut counts: HashMap<Subject, u64> = HashMap::new();
    let mut task =
        Task::new(plan, &SECRET, ALL, spill(&std::env::temp_dir().join("never-spilled")));
    let before = resident_bytes();
    match which.parse::<u64>() {
        Err(_) => {
            for n in 0..MILLION {
                *counts.entry(contribution(n, n, 0).subject).or_default() += 1;
            }
        }
        Ok(records) => {
            let keys = if records == 1 { 1 } else { 2 };
            for n in 0..MILLION * records {
                let (subject, nth) = (n % MILLION, n / MILLION);
                let placed = (subject + nth % keys) % PLACEMENTS;
                task.accept(0, contribution(n, subject, placed)).unwrap();
            }
        }
    }
    println!("{}", (resident_bytes() - before) / MILLION);
    drop(black_box((counts, task)));
}

/// The second number of `/proc/self/statm`, in pages of 4 KiB.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --benches` only wants to know that it starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    if let Some(at) = arguments.iter().position(|argument| argument == "--memory") {
        return fill_memory(&arguments[at + 1]);
    }
    let dir = tempfile::tempdir().unwrap();
    throughput(dir.path());
    wide(dir.path());
    bytes();
    close(dir.path());
    memory();
}
