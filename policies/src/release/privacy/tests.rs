use proptest::prelude::*;

use super::*;
use crate::release::plan::{Choose, ChooseWindows, Dyadic};

fn bounds(k: u32, l0: u32, r: u32) -> Bounds {
    Bounds {
        windows_per_period: k,
        choose_windows: ChooseWindows::First,
        keys_per_window: l0,
        records_per_key: r,
        choose: Choose::Hash,
    }
}

fn sum(lo: i64, hi: i64) -> What {
    let path = crate::plan::FieldPath {
        part: crate::plan::Part::Value,
        steps: Box::new([]),
        written: "value.amount".into(),
    };
    What::Sum { path, scale: 2, lo, hi }
}

fn decimal(digits: i64, scale: u8) -> Decimal {
    Decimal { digits, scale }
}

const UNKNOWN: KeyKind = KeyKind::Unknown { raw_floor: None, noisy_floor: None };

/// The policy sketch of a shop: subjects, records and an amount by category.
fn shop(outputs: &[(What, Share)]) -> Declared<'_> {
    Declared {
        accounting: Accounting::Zcdp,
        epsilon: decimal(4, 0),
        delta_atto: 1_000_000_000,
        panes_charged: 10,
        repeats: 1,
        bounds: bounds(10, 2, 3),
        keys: UNKNOWN,
        outputs,
    }
}

fn shop_outputs() -> Vec<(What, Share)> {
    vec![
        (What::Subjects, Share(500_000)),
        (What::Count, Share(250_000)),
        (sum(0, 50_000), Share(250_000)),
    ]
}

/// What a derivation promises, in exact arithmetic and without its own helpers. A mutant is
/// whatever this names a fault in.
fn faults(d: &Declared<'_>, derived: &Derived) -> Vec<&'static str> {
    let mut found = Vec::new();
    let releases = u128::from(d.panes_charged) * u128::from(d.repeats);
    let mut loss = 0_u128;
    for (i, ((what, share), output)) in d.outputs.iter().zip(&derived.outputs).enumerate() {
        let (l0, l1, l2_squared) = by_hand(what, d.bounds, d.keys);
        let per_release = u128::from(output.cost.loss) / u128::from(d.repeats);
        // cost · n ≥ 10^9 · L1 · 2^20, or cost · 2n² ≥ 10^9 · L2² · 2^40.
        let (covered, needed) = match output.noise {
            Noise::Laplace { scale } => {
                (per_release * u128::from(scale.0), (l1 * 1_000_000_000) << 20)
            }
            Noise::Gaussian { sigma } => {
                let squared = u128::from(sigma.0).pow(2);
                let needed = (l2_squared * 1_000_000_000) << 40;
                (per_release.checked_mul(2 * squared).expect("small"), needed)
            }
        };
        if covered < needed {
            found.push("a cost below the true one");
        }
        let all = u128::from(output.cost.loss) * u128::from(d.panes_charged);
        if all * 1_000_000 > u128::from(derived.budget.loss) * u128::from(share.0) {
            found.push("an output beyond its share");
        }
        loss += all;
        if i == 0 && d.keys.selects() {
            let at = derived.threshold.expect("unknown keys have a threshold");
            let KeyKind::Unknown { raw_floor, .. } = d.keys else { unreachable!() };
            let base = at - i64::from(raw_floor.unwrap_or(1)) + 1;
            let true_delta = independent_delta(output.noise, l0, base);
            let charged = output.cost.delta as f64 / d.repeats as f64 * 1e-18;
            if true_delta > charged {
                found.push("a threshold that leaks more than it costs");
            }
            let all = u128::from(output.cost.delta) * u128::from(d.panes_charged);
            if all > u128::from(derived.budget.delta) {
                found.push("thresholds beyond delta");
            }
        }
    }
    if loss > u128::from(derived.budget.loss) {
        found.push("all panes cost more than the budget");
    }
    let listed: u64 = derived.outputs.iter().map(|output| output.cost.loss).sum();
    if listed != derived.cost.loss || releases == 0 {
        found.push("a pane that costs something else than its outputs");
    }
    found
}

fn by_hand(what: &What, bounds: Bounds, keys: KeyKind) -> (u32, u128, u128) {
    let l0 = if keys == KeyKind::Whole { 1 } else { bounds.keys_per_window };
    let one = match what {
        What::Subjects => 1,
        What::Count => u128::from(bounds.records_per_key),
        What::Sum { lo, hi, .. } => {
            u128::from(bounds.records_per_key)
                * u128::from(lo.unsigned_abs().max(hi.unsigned_abs()))
        }
    };
    (l0, u128::from(l0) * one, u128::from(l0) * one * one)
}

/// By adding up the mass of the noise, without closed forms; small scales only.
fn independent_delta(noise: Noise, l0: u32, at: i64) -> f64 {
    let weight = |x: i64| {
        let x = x as f64;
        match noise {
            Noise::Laplace { scale } => (-x.abs() / scale.as_f64()).exp(),
            Noise::Gaussian { sigma } => (-x * x / (2.0 * sigma.as_f64().powi(2))).exp(),
        }
    };
    let scale = match noise {
        Noise::Laplace { scale } => scale,
        Noise::Gaussian { sigma } => sigma,
    };
    let end = at.max(1) + (scale.as_f64() * 60.0) as i64 + 60;
    let all: f64 = weight(0) + 2.0 * (1..end).rev().map(weight).sum::<f64>();
    let above: f64 = (at - 1..end).rev().map(weight).sum();
    let q = above / all;
    -(f64::from(l0) * (-q).ln_1p()).exp_m1() * (1.0 - 1e-10)
}

#[test]
fn the_shop_is_affordable_and_keeps_its_promise() {
    let outputs = shop_outputs();
    let derived = derive(&shop(&outputs)).expect("affordable");
    assert_eq!(faults(&shop(&outputs), &derived), Vec::<&str>::new());
    // The notes' table has sd 42 and 9.8 and T 62 for all of delta; half of it goes to conversion.
    let sd: Vec<f64> = derived.outputs.iter().map(|output| noise_sd(output.noise)).collect();
    assert!((9.8..10.1).contains(&sd[0]), "{sd:?}");
    assert!((42.0..43.0).contains(&sd[1]), "{sd:?}");
    let threshold = derived.threshold.expect("unknown keys");
    assert!((62..70).contains(&threshold), "{threshold}");
}

#[test]
fn a_floor_moves_the_threshold() {
    let outputs = shop_outputs();
    let at = |raw_floor, noisy_floor| {
        let keys = KeyKind::Unknown { raw_floor, noisy_floor };
        derive(&Declared { keys, ..shop(&outputs) }).expect("affordable").threshold.expect("T")
    };
    let plain = at(None, None);
    assert_eq!(at(Some(1), None), plain);
    assert_eq!(at(Some(20), None), plain + 19);
    assert_eq!(at(None, Some(20)), plain);
    assert_eq!(at(None, Some(500)), 500);
    assert_eq!(at(Some(20), Some(500)), 500);
}

#[test]
fn every_refusal_has_its_reason_and_a_remedy() {
    let plain = shop_outputs();
    let (none, count, zero): (Vec<_>, _, _) =
        (vec![], [(What::Count, Share(1))], [(What::Subjects, Share(0))]);
    let many = [(What::Subjects, Share(900_000)), (What::Count, Share(100_001))];
    let backwards = [(What::Subjects, Share(1)), (sum(3, 2), Share(1))];
    let nothing = [(What::Subjects, Share(1)), (sum(0, 0), Share(1))];
    let wide = [(What::Subjects, Share(1)), (sum(0, 1 << 30), Share(1))];
    let large = [(What::Subjects, Share(1)), (sum(0, (1 << 30) - 1), Share(1))];
    let shop = || shop(&plain);
    let cases: Vec<(Declared<'_>, Unaffordable, &str)> = vec![
        (Declared { outputs: &none, ..shop() }, Unaffordable::NoOutputs, "at least one output"),
        (Declared { outputs: &count, ..shop() }, Unaffordable::NoSelection, "`subjects`"),
        (Declared { repeats: 0, ..shop() }, Unaffordable::ZeroBound, "1 or more"),
        (Declared { panes_charged: 0, ..shop() }, Unaffordable::ZeroBound, "1 or more"),
        (Declared { bounds: bounds(1, 0, 1), ..shop() }, Unaffordable::ZeroBound, "1 or more"),
        (Declared { outputs: &zero, ..shop() }, Unaffordable::ZeroShare { output: 0 }, "output 1"),
        (
            Declared { outputs: &many, ..shop() },
            Unaffordable::SharesAboveOne { millionths: 1_000_001 },
            "101 %",
        ),
        (Declared { epsilon: decimal(0, 0), ..shop() }, Unaffordable::Epsilon, "above 0"),
        (Declared { epsilon: decimal(-1, 0), ..shop() }, Unaffordable::Epsilon, "above 0"),
        (Declared { epsilon: decimal(9, 255), ..shop() }, Unaffordable::Epsilon, "above 0"),
        (Declared { epsilon: decimal(i64::MAX, 0), ..shop() }, Unaffordable::Epsilon, "counted"),
        (
            Declared { delta_atto: 0, ..shop() },
            Unaffordable::NoDelta { accounting: Accounting::Zcdp },
            "zcdp",
        ),
        (
            Declared { delta_atto: 0, accounting: Accounting::Pure, ..shop() },
            Unaffordable::NoDelta { accounting: Accounting::Pure },
            "list the keys",
        ),
        (Declared { delta_atto: ATTO, ..shop() }, Unaffordable::DeltaNotBelowOne, "below 1"),
        (
            Declared { delta_atto: 10, ..shop() },
            Unaffordable::DeltaTooSmall { releases: 10 },
            "10 releases",
        ),
        (
            Declared { panes_charged: u32::MAX, ..shop() },
            Unaffordable::ShareTooSmall { output: 0, releases: u64::from(u32::MAX) },
            "windows_per_period",
        ),
        (
            Declared { outputs: &backwards, ..shop() },
            Unaffordable::EmptyClamp { output: 1 },
            "output 2",
        ),
        (
            Declared { outputs: &nothing, ..shop() },
            Unaffordable::EmptyClamp { output: 1 },
            "output 2",
        ),
        (
            Declared { outputs: &wide, ..shop() },
            Unaffordable::ClampTooWide { output: 1 },
            "fewer decimals",
        ),
        (
            Declared { outputs: &large, ..shop() },
            Unaffordable::ScaleTooLarge { output: 1 },
            "raise epsilon",
        ),
    ];
    for (declared, expected, words) in cases {
        let refusal = derive(&declared).expect_err("refused");
        assert_eq!(refusal, expected);
        assert!(refusal.to_string().contains(words), "{refusal}");
    }
}

#[test]
fn without_selection_all_of_delta_converts_and_pure_needs_none() {
    let outputs = [(What::Count, Share::WHOLE)];
    let public = Declared { keys: KeyKind::Public, ..shop(&outputs) };
    let derived = derive(&public).expect("affordable");
    assert_eq!((derived.conversion_delta_atto, derived.budget.delta), (1_000_000_000, 0));
    assert_eq!((derived.threshold, derived.cost.delta), (None, 0));

    let pure = Declared { accounting: Accounting::Pure, delta_atto: 0, ..public };
    let derived = derive(&pure).expect("affordable");
    // ε = 4 over 10 panes: .4 a pane; L1 = 2 · 3, so s = 15.
    assert_eq!(derived.outputs[0].noise, Noise::Laplace { scale: Dyadic(15 << 20) });
    assert_eq!(derived.cost, Cost { loss: 400_000_000, delta: 0 });
    assert_eq!(derived.pane_epsilon_nano, 400_000_000);
}

#[test]
fn a_whole_release_has_one_key_whatever_the_bound() {
    let outputs = [(What::Count, Share::WHOLE)];
    let whole = Declared { keys: KeyKind::Whole, ..shop(&outputs) };
    let derived = derive(&whole).expect("affordable");
    let expected = Sensitivity { l0: 1, l1: 3, l2_squared: 9, linf: 3 };
    assert_eq!(derived.outputs[0].sensitivity, expected);
}

#[test]
fn gaussian_is_never_louder_than_laplace_at_the_same_rho() {
    for l0 in [1, 2, 16] {
        for price in [1_000, 100_000, 12_500_000, 2_000_000_000, 50_000_000_000] {
            let of = Sensitivity { l0, l1: i64::from(l0), l2_squared: i128::from(l0), linf: 1 };
            let sigma = cost::smallest_scale(price, |sigma| gaussian_cost(&of, sigma));
            let scale = cost::smallest_scale(price, |s| laplace_cost(Accounting::Zcdp, &of, s));
            let (sigma, scale) = (sigma.expect("affordable"), scale.expect("affordable"));
            let gaussian = noise_sd(Noise::Gaussian { sigma });
            let laplace = noise_sd(Noise::Laplace { scale });
            assert!(gaussian <= laplace, "l0 {l0}, rho {price}: {gaussian} > {laplace}");
        }
    }
}

/// Every way of promising too little that was thought of, applied to a sound derivation.
#[test]
fn mutants_are_caught() {
    let outputs = shop_outputs();
    let declared = shop(&outputs);
    let sound = derive(&declared).expect("affordable");
    type Mutant = (&'static str, fn(&mut Derived), &'static str);
    let mutants: [Mutant; 5] = [
        (
            "T - 1",
            |d| d.threshold = d.threshold.map(|t| t - 1),
            "a threshold that leaks more than it costs",
        ),
        (
            "half the scale",
            |d| {
                if let Noise::Gaussian { sigma } = &mut d.outputs[1].noise {
                    sigma.0 /= 2;
                }
            },
            "a cost below the true one",
        ),
        (
            "a scale rounded down",
            |d| {
                if let Noise::Gaussian { sigma } = &mut d.outputs[1].noise {
                    sigma.0 -= 1;
                }
            },
            "a cost below the true one",
        ),
        ("a cost rounded down", |d| d.outputs[2].cost.loss -= 1, "a cost below the true one"),
        (
            "charged for one pane of two",
            |d| d.budget.loss /= 2,
            "all panes cost more than the budget",
        ),
    ];
    assert_eq!(faults(&declared, &sound), Vec::<&str>::new());
    for (name, mutate, expected) in mutants {
        let mut mutant = sound.clone();
        mutate(&mut mutant);
        let found = faults(&declared, &mutant);
        assert!(found.contains(&expected), "{name}: {found:?}");
    }
    // Ignoring L0: noise and threshold derived as if a subject had one key.
    let ignorant = derive(&Declared { bounds: bounds(10, 1, 3), ..declared.clone() });
    let found = faults(&declared, &ignorant.expect("affordable"));
    assert!(found.contains(&"a cost below the true one"), "{found:?}");
    let l0_ignored = gaussian_threshold(1, Dyadic(10 << 20), 1_000_000).expect("T");
    assert!(gaussian_threshold_delta(2, Dyadic(10 << 20), l0_ignored.at) > 1_000_000);
    // Ignoring revisions.
    let twice = Declared { repeats: 2, ..declared.clone() };
    let found = faults(&twice, &sound);
    assert!(found.contains(&"a cost below the true one"), "{found:?}");
}

fn declared_numbers() -> impl Strategy<Value = (Accounting, i64, u64, [u32; 5], KeyKind)> {
    let keys = prop_oneof![
        Just(KeyKind::Whole),
        Just(KeyKind::Public),
        (proptest::option::of(1_u32..50), proptest::option::of(1_u32..50))
            .prop_map(|(raw_floor, noisy_floor)| KeyKind::Unknown { raw_floor, noisy_floor }),
    ];
    let accounting = prop_oneof![Just(Accounting::Pure), Just(Accounting::Zcdp)];
    // ε from 0.5 to 20, K, revisions, L0, r, share of the selection in percent.
    let numbers = (1_u32..24, 1_u32..4, 1_u32..9, 1_u32..6, 5_u32..95)
        .prop_map(|(k, repeats, l0, r, share)| [k, repeats, l0, r, share]);
    (accounting, 500_i64..20_000, 1_000_000_u64..1_000_000_000_000, numbers, keys)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_is_declared_the_promise_is_kept(
        (accounting, epsilon, delta_atto, [k, repeats, l0, r, share], keys) in declared_numbers(),
        lo in -1_400_i64..700,
    ) {
        let outputs = [
            (What::Subjects, Share(share * 10_000)),
            (What::Count, Share(1_000_000 - share * 10_000 - 20_000)),
            (sum(lo, 700), Share(20_000)),
        ];
        let declared = Declared {
            accounting,
            epsilon: decimal(epsilon, 3),
            delta_atto,
            panes_charged: k,
            repeats,
            bounds: bounds(k, l0, r),
            keys: match keys {
                // A noisy floor only raises T; the check needs the T of the promise.
                KeyKind::Unknown { raw_floor, .. } => {
                    KeyKind::Unknown { raw_floor, noisy_floor: None }
                }
                other => other,
            },
            outputs: &outputs,
        };
        let derived = derive(&declared).expect("affordable");
        prop_assert_eq!(faults(&declared, &derived), Vec::<&str>::new());
        // The panes of a period, converted, are worth at most what the author wrote.
        let spent = derived.cost.loss * u64::from(k);
        let epsilon_nano = match accounting {
            Accounting::Pure => spent,
            Accounting::Zcdp => rho_to_epsilon(spent, derived.conversion_delta_atto),
        };
        prop_assert!(epsilon_nano <= epsilon as u64 * 1_000_000);
        prop_assert!(derived.conversion_delta_atto + derived.budget.delta <= delta_atto);
        // And little is wasted: with a smaller scale some output would exceed its share.
        for ((_, share), output) in outputs.iter().zip(&derived.outputs) {
            let price = part(derived.budget.loss, *share, u64::from(k) * u64::from(repeats));
            let smaller = match output.noise {
                Noise::Laplace { scale } => {
                    laplace_cost(accounting, &output.sensitivity, Dyadic(scale.0 - 1))
                }
                Noise::Gaussian { sigma } => {
                    gaussian_cost(&output.sensitivity, Dyadic(sigma.0 - 1))
                }
            };
            prop_assert!(smaller > price);
        }
    }

    #[test]
    fn more_budget_never_means_more_noise(
        (accounting, epsilon, delta_atto, [k, repeats, l0, r, _], _) in declared_numbers(),
    ) {
        let outputs = [(What::Subjects, Share(500_000)), (What::Count, Share(500_000))];
        let base = Declared {
            accounting,
            epsilon: decimal(epsilon, 3),
            delta_atto,
            panes_charged: k,
            repeats,
            bounds: bounds(k, l0, r),
            keys: UNKNOWN,
            outputs: &outputs,
        };
        let size = |declared: &Declared<'_>| {
            let derived = derive(declared).expect("affordable");
            let scale = match derived.outputs[1].noise {
                Noise::Laplace { scale } => scale,
                Noise::Gaussian { sigma } => sigma,
            };
            (scale, derived.threshold.expect("T"))
        };
        let (scale, threshold) = size(&base);
        let at_most = |declared: Declared<'_>| {
            let (s, t) = size(&declared);
            s <= scale && t <= threshold
        };
        let at_least = |declared: Declared<'_>| {
            let (s, t) = size(&declared);
            s >= scale && t >= threshold
        };
        let richer = [
            Declared { epsilon: decimal(epsilon + 500, 3), ..base.clone() },
            Declared { delta_atto: delta_atto * 2, ..base.clone() },
        ];
        let dearer = [
            Declared { panes_charged: k + 1, ..base.clone() },
            Declared { repeats: repeats + 1, ..base.clone() },
            Declared { bounds: bounds(k, l0 + 1, r), ..base.clone() },
            Declared { bounds: bounds(k, l0, r + 1), ..base.clone() },
        ];
        prop_assert!(richer.into_iter().all(at_most));
        prop_assert!(dearer.into_iter().all(at_least));
    }

    #[test]
    fn a_threshold_is_the_smallest_that_is_affordable(
        scale in 1_u64..(1 << 30), l0 in 1_u32..64, delta_atto in 1_u64..100_000_000_000_000_000,
    ) {
        let scale = Dyadic(scale);
        let laplace = laplace_threshold(l0, scale, delta_atto).expect("T");
        prop_assert!(laplace.delta_atto <= delta_atto);
        prop_assert_eq!(laplace_threshold_delta(l0, scale, laplace.at), laplace.delta_atto);
        prop_assert!(laplace_threshold_delta(l0, scale, laplace.at - 1) > delta_atto);
        let gaussian = gaussian_threshold(l0, scale, delta_atto).expect("T");
        prop_assert!(gaussian.delta_atto <= delta_atto);
        prop_assert_eq!(gaussian_threshold_delta(l0, scale, gaussian.at), gaussian.delta_atto);
        prop_assert!(gaussian_threshold_delta(l0, scale, gaussian.at - 1) > delta_atto);
    }

    #[test]
    fn conversion_back_and_forth_never_gains(
        epsilon in 1_000_000_u64..50_000_000_000, delta in 1_000_u64..1_000_000_000_000_000,
    ) {
        let rho = epsilon_to_rho(epsilon, delta);
        prop_assert!(rho_to_epsilon(rho, delta) <= epsilon);
        prop_assert!(rho_to_epsilon(rho + rho / 1_000_000 + 2, delta) > epsilon);
        prop_assert!(rho_to_epsilon(rho, delta * 2) <= rho_to_epsilon(rho, delta));
    }

    #[test]
    fn costs_are_exact_and_rounded_up(
        numerator in 1_u64..(1 << 53), linf in 1_i64..10_000, l0 in 1_u32..1_000,
    ) {
        let l1 = linf * i64::from(l0);
        let l2_squared = i128::from(linf) * i128::from(linf) * i128::from(l0);
        let of = Sensitivity { l0, l1, l2_squared, linf };
        let scale = Dyadic(numerator);
        let exact = |cost: u64, square: u128| {
            // cost − 1 < 10^9 · square · 2^39 / n² ≤ cost, in floating point where it is clear.
            let real = 5e8 * square as f64 / scale.as_f64().powi(2);
            cost == u64::MAX || (cost as f64 >= real * (1.0 - 1e-12)
                && cost as f64 <= real * (1.0 + 1e-12) + 1.0)
        };
        prop_assert!(exact(gaussian_cost(&of, scale), l2_squared.unsigned_abs()));
        let squared = u128::from(l1.unsigned_abs()).pow(2);
        prop_assert!(exact(laplace_cost(Accounting::Zcdp, &of, scale), squared));
        let pure = u128::from(laplace_cost(Accounting::Pure, &of, scale));
        let nano = (u128::from(l1.unsigned_abs()) * 1_000_000_000) << 20;
        prop_assert!(pure * u128::from(numerator) >= nano || pure == u128::from(u64::MAX));
        prop_assert!((pure - 1) * u128::from(numerator) < nano);
    }
}
