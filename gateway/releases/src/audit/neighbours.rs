//! ε and ρ: one subject more or less, through the pipeline.

use std::collections::BTreeMap;

use sluicegate_policies::release::{Dyadic, Noise, ReleasePlan, What};

use super::{
    pipeline::{FIRST, Worlds, adversary, others, plan, publish, read},
    statistics::{Exact, at_least, at_most, epsilon_at_least},
    verdict,
};
use crate::{
    Message,
    encode::ReleaseId,
    noise::{NoiseError, OpenDp},
    testing::hour,
};

/// Two outputs in four rows, of which a subject may be in two.
const ROWS: &str = "\
budget: { epsilon: 1.0, accounting: pure }
bounds: { windows-per-period: 1, keys-per-window: 2, records-per-key: 3 }
keys: { field: country, public: [a, b, c, d] }
release:
  - { what: count, share: 0.5 }
  - { what: sum, share: 0.5, field: amount, clamp: [0, 50] }
";
const KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// One number a pane, so that the whole budget lies on it.
const ONE: &str = "\
budget: { epsilon: 1.0, accounting: pure }
bounds: { windows-per-period: 1, records-per-key: 3 }
release: [{ what: count, share: 1.0 }]
";

/// Six panes, in two of which a subject may be.
const PERIOD: &str = "\
budget: { epsilon: 1.0, accounting: pure }
bounds: { windows-per-period: 2, records-per-key: 1 }
release: [{ what: count, share: 1.0 }]
";

const GAUSSIAN: &str = "\
budget: { epsilon: 7.0, delta: 1e-9 }
bounds: { windows-per-period: 1, records-per-key: 10 }
release: [{ what: count, share: 1.0 }]
";

/// What a unit is promised, per period.
fn promised(plan: &ReleasePlan) -> f64 {
    let promised = plan.promise.epsilon;
    promised.digits as f64 / 10_f64.powi(promised.scale.into())
}

fn proved(worlds: &Worlds, n: usize) -> f64 {
    let [without, with] = worlds.observe(n);
    epsilon_at_least(&without, &with, 0.0)
}

fn rows(plan: &ReleasePlan, bounding: &ReleasePlan) -> Worlds {
    let subject = adversary(&KEYS, &[FIRST], 20);
    Worlds::of(plan, bounding, &[FIRST], &others(&KEYS, &[FIRST], 5), &subject)
}

#[test]
fn one_number_keeps_its_promise() {
    let plan = plan(ONE);
    let worlds = Worlds::of(
        &plan,
        &plan,
        &[FIRST],
        &others(&["a"], &[FIRST], 5),
        &adversary(&["a"], &[FIRST], 20),
    );
    let proved = proved(&worlds, 60_000);
    verdict("ε of one count, a subject with 20 records of 3", promised(&plan), proved, false);
    assert!(proved > 0.85, "the check has power: {proved}");
}

#[test]
fn counts_and_sums_in_rows_keep_their_promise() {
    let plan = plan(ROWS);
    let proved = proved(&rows(&plan, &plan), 40_000);
    verdict(
        "ε of count and sum, a subject in 4 rows of 2, 20 records of 3",
        promised(&plan),
        proved,
        false,
    );
    // Of seven runs the mean is 0.65, the standard deviation 0.05.
    assert!(proved > 0.35, "the check has power: {proved}");
}

#[test]
fn mutants_of_the_noise_are_flagged() {
    let plan = plan(ROWS);
    let mut half = plan.clone();
    for output in &mut half.outputs {
        if let Noise::Laplace { scale } = &mut output.noise {
            scale.0 /= 2;
        }
    }
    verdict("  mutant: half the noise", promised(&plan), proved(&rows(&half, &plan), 20_000), true);
    let refused = OpenDp::for_plan(&half).err();
    assert!(matches!(refused, Some(NoiseError::CostsMore { .. })), "nor does it start");
}

/// Bounds that the noise does not know of: each is loosened alone, then all.
#[test]
fn mutants_of_the_bounds_are_flagged() {
    let plan = plan(&ROWS.replace("keys-per-window: 2", "keys-per-window: 1"));
    let mut mutants = Vec::new();
    for (name, l0, r, clamp) in [
        ("  mutant: L0 ignored", true, false, false),
        ("  mutant: r ignored", false, true, false),
        ("  mutant: no clamp", false, false, true),
        ("  mutant: no bounds at all", true, true, true),
    ] {
        let mut loose = plan.clone();
        if l0 {
            loose.bounds.keys_per_window = 4;
        }
        if r {
            loose.bounds.records_per_key = 20;
        }
        for output in &mut loose.outputs {
            if let What::Sum { hi, .. } = &mut output.what
                && clamp
            {
                *hi = 1_000_000;
            }
        }
        mutants.push((name, loose));
    }
    for (name, loose) in mutants {
        verdict(name, promised(&plan), proved(&rows(&plan, &loose), 12_000), true);
    }
}

#[test]
fn panes_of_a_period_keep_one_promise_together() {
    let plan = plan(PERIOD);
    let hours: Vec<i64> = (FIRST..FIRST + 6).collect();
    let worlds = |bounding: &ReleasePlan| {
        Worlds::of(
            &plan,
            bounding,
            &hours,
            &others(&["a"], &hours, 0),
            &adversary(&["a"], &hours, 3),
        )
    };
    let kept = proved(&worlds(&plan), 16_000);
    verdict("ε of 6 panes, a subject in 6 of 2", promised(&plan), kept, false);
    assert!(kept > 0.6, "the check has power: {kept}");

    let mut unbounded = plan.clone();
    unbounded.bounds.windows_per_period = 6;
    let flagged = proved(&worlds(&unbounded), 10_000);
    verdict("  mutant: no bound per period", promised(&plan), flagged, true);
}

/// Where published panes are kept, as the ledger keeps them: what is sent again is what was sent.
#[derive(Default)]
struct Kept(BTreeMap<String, Vec<Message>>);

#[test]
fn what_is_sent_again_is_the_same_bytes() {
    let plan = plan(ONE);
    let worlds = Worlds::of(
        &plan,
        &plan,
        &[FIRST],
        &others(&["a"], &[FIRST], 5),
        &adversary(&["a"], &[FIRST], 20),
    );
    let mut sampler = OpenDp::default();
    // A pane that is published, then asked for three times more.
    let mut observe = |n: usize, fresh: bool| {
        [&worlds.without, &worlds.with].map(|world| {
            let mut one = |_| {
                let (mut kept, mut ratio) = (Kept::default(), 0.0);
                for _ in 0..4 {
                    let id = ReleaseId::new(&plan.name, hour(FIRST)).as_str().to_owned();
                    let mut draw = || publish(&plan, hour(FIRST), &world[0], &mut sampler);
                    let sent =
                        if fresh { &draw() } else { &*kept.0.entry(id).or_insert_with(draw) };
                    ratio += worlds.ratio(0, &read(&plan, sent));
                }
                ratio
            };
            (0..n).map(&mut one).collect::<Vec<_>>()
        })
    };
    let [without, with] = observe(8_000, false);
    let kept = epsilon_at_least(&without, &with, 0.0);
    verdict("ε of a pane that is sent four times", promised(&plan), kept, false);
    assert!(kept > 0.6, "the check has power: {kept}");
    let [without, with] = observe(4_000, true);
    let flagged = epsilon_at_least(&without, &with, 0.0);
    verdict("  mutant: fresh noise each time", promised(&plan), flagged, true);
}

/// `max over events of Pr[with] − e^ε · Pr[without]` of the discrete Gaussian, exactly.
fn hockey_stick(sigma: Dyadic, shift: i64, epsilon: f64) -> f64 {
    let exact = Exact::of(Noise::Gaussian { sigma });
    let at = |x: i64| exact.at(x - shift) - epsilon.exp() * exact.at(x);
    (-exact.reach..=exact.reach + shift).map(|x| at(x).max(0.0)).sum()
}

#[test]
fn gaussian_noise_keeps_its_promise() {
    let plan = plan(GAUSSIAN);
    let Noise::Gaussian { sigma } = plan.outputs[0].noise else { panic!("Gaussian noise") };
    let (shift, n) = (10, 5_000);
    let proved = |published: &ReleasePlan, epsilon: f64| {
        let subject = adversary(&["a"], &[FIRST], 20);
        let worlds = Worlds::of(published, &plan, &[FIRST], &[], &subject);
        let [without, with] = worlds.observe(n);
        // The event for which the claimed σ leaks most: a likelihood ratio of at least ε.
        let claimed = published.clone();
        let Noise::Gaussian { sigma: actual } = claimed.outputs[0].noise else { panic!() };
        let at = epsilon * (sigma.as_f64() / actual.as_f64()).powi(2);
        let count = |world: &[f64]| world.iter().filter(|ratio| **ratio >= at).count();
        at_least(count(&with), n) - epsilon.exp() * at_most(count(&without), n)
    };
    let claim = hockey_stick(sigma, shift, 1.0);
    verdict("δ of one Gaussian count at ε = 1", claim, proved(&plan, 1.0), false);
    let mut quiet = plan.clone();
    quiet.outputs[0].noise = Noise::Gaussian { sigma: Dyadic(sigma.0 / 2) };
    verdict("  mutant: half of σ", claim, proved(&quiet, 1.0), true);
    let refused = OpenDp::for_plan(&quiet).err();
    assert!(matches!(refused, Some(NoiseError::CostsMore { .. })), "nor does it start");
}
