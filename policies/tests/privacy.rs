//! The calculus against other people's: tables made by `tests/privacy-tables/make.py` from
//! dp-accounting, Google's partition selection and exact arithmetic, and numbers worked by hand.

use serde::{Deserialize, de::DeserializeOwned};
use sluicegate_policies::release::{
    Accounting, Dyadic, Noise, Sensitivity, Share, Threshold, epsilon_to_rho, gaussian_cost,
    gaussian_threshold, gaussian_threshold_delta, laplace_cost, laplace_threshold,
    laplace_threshold_delta, noise_quantile_95, noise_sd, randomized_response_cost, rho_to_epsilon,
};

fn table<Row: DeserializeOwned>(text: &str) -> Vec<Row> {
    let rows: Vec<Row> = serde_json::from_str(text).unwrap_or_default();
    assert!(!rows.is_empty(), "a table without rows, or not a table");
    rows
}

fn nano(value: u64) -> f64 {
    value as f64 * 1e-9
}

/// One coordinate that changes by `by`, or `l0` of them by one.
fn one(by: i64) -> Sensitivity {
    Sensitivity { l0: 1, l1: by, l2_squared: i128::from(by) * i128::from(by), linf: by }
}

fn keys(l0: u32) -> Sensitivity {
    Sensitivity { l0, l1: i64::from(l0), l2_squared: i128::from(l0), linf: 1 }
}

#[test]
fn numbers_worked_by_hand() {
    // T = 85 for s = 4, L0 = 2, δ = 10^-9: exactly 8.5255e-10 there.
    let four = Dyadic(4 << 20);
    let at = laplace_threshold(2, four, 1_000_000_000).expect("T");
    assert_eq!(at.at, 85);
    assert!((852_545_000..852_555_000).contains(&at.delta_atto), "{}", at.delta_atto);
    // ρ = .0125 at δ = 10^-9, and back.
    assert_eq!(rho_to_epsilon(12_500_000, 1_000_000_000) / 100, 9_101_066);
    assert!((12_499_990..=12_500_000).contains(&epsilon_to_rho(910_106_600, 1_000_000_000)));
    // ε = Δ/s and ρ = Δ²/2σ², rounded up to a billionth.
    assert_eq!(laplace_cost(Accounting::Pure, &keys(2), four), 500_000_000);
    assert_eq!(laplace_cost(Accounting::Pure, &one(1), Dyadic(3 << 20)), 333_333_334);
    assert_eq!(laplace_cost(Accounting::Zcdp, &keys(2), four), 125_000_000);
    assert_eq!(gaussian_cost(&keys(2), four), 62_500_000);
    assert_eq!(gaussian_cost(&one(1), Dyadic(3 << 20)), 55_555_556);
    assert_eq!(gaussian_cost(&one(1), Dyadic((1 << 53) - 1)), 1);
    // Randomized response: .5 over 32 answers, .75 over two.
    assert_eq!(randomized_response_cost(Share(500_000), 32) / 10_000, 343_398);
    assert_eq!(randomized_response_cost(Share(500_000), 32), 3_433_987_205);
    assert_eq!(randomized_response_cost(Share(750_000), 2), 1_098_612_289);
    assert_eq!(randomized_response_cost(Share(0), 2), u64::MAX);
}

#[test]
fn what_cannot_be_counted_is_never_cheap() {
    let huge = Sensitivity { l0: 1, l1: i64::MAX, l2_squared: i128::MAX, linf: i64::MAX };
    let tiny = Dyadic(1);
    assert_eq!(laplace_cost(Accounting::Pure, &huge, tiny), u64::MAX);
    assert_eq!(laplace_cost(Accounting::Zcdp, &huge, tiny), u64::MAX);
    assert_eq!(gaussian_cost(&huge, tiny), u64::MAX);
    assert_eq!(gaussian_cost(&one(1), Dyadic(0)), u64::MAX);
    assert_eq!(laplace_cost(Accounting::Pure, &one(1), Dyadic(0)), u64::MAX);
    assert_eq!(rho_to_epsilon(u64::MAX, 1), u64::MAX);
    assert_eq!(rho_to_epsilon(1, 0), u64::MAX);
    assert_eq!(epsilon_to_rho(u64::MAX - 1, 0), 0);
    assert_eq!(laplace_threshold(1, Dyadic(1 << 20), 0), None);
    assert_eq!(laplace_threshold_delta(1, Dyadic(1 << 20), 0), 1_000_000_000_000_000_000);
}

#[derive(Deserialize)]
struct Conversion {
    rho_nano: u64,
    delta_atto: u64,
    exact: f64,
    renyi: f64,
    nano: u64,
}

/// Never below what a Gaussian of this ρ truly costs, and within a hundred-thousandth of Rényi
/// accounting on a fine grid of orders, which is the same bound.
#[test]
fn conversion_agrees_with_dp_accounting() {
    for row in table::<Conversion>(include_str!("privacy_tables/conversion.json")) {
        let ours = nano(rho_to_epsilon(row.rho_nano, row.delta_atto));
        let case = format!("rho {} delta {}: {ours}", row.rho_nano, row.delta_atto);
        assert!(ours >= row.exact, "{case} below {}", row.exact);
        // The bound itself, rounded up; a billionth more where rounding errors had to be paid for.
        let ours_nano = rho_to_epsilon(row.rho_nano, row.delta_atto);
        assert!((row.nano..=row.nano + 1).contains(&ours_nano), "{case}: {}", row.nano);
        // Where the other side says zero it has looked at the total variation, which we don't.
        if row.renyi > 0.0 {
            assert!(ours <= row.renyi * (1.0 + 1e-5) + 1e-9, "{case} above {}", row.renyi);
            assert!(ours >= row.renyi * (1.0 - 1e-5), "{case} below {}", row.renyi);
        }
        let back = epsilon_to_rho(rho_to_epsilon(row.rho_nano, row.delta_atto), row.delta_atto);
        assert!(back >= row.rho_nano, "{case}");
    }
    // A mutant that forgets a half of ρ falls below the truth.
    let ours = nano(rho_to_epsilon(6_250_000, 1_000_000_000));
    assert!(ours < 0.8, "{ours}");
}

#[derive(Deserialize)]
struct Composition {
    noise: String,
    count: u64,
    loss_nano: u64,
    delta_atto: u64,
    lower: f64,
    upper: f64,
}

/// Adding up integers is never below the truth, and at most a fifth above it for Gaussian noise.
/// For many Laplace releases pure accounting pays up to a half more: zCDP is there for that.
#[test]
fn adding_up_covers_what_composition_truly_costs() {
    for row in table::<Composition>(include_str!("privacy_tables/composition.json")) {
        let spent = row.loss_nano * row.count;
        let (ours, gap) = match row.noise.as_str() {
            "gaussian" => (nano(rho_to_epsilon(spent, row.delta_atto)), 1.2),
            "laplace" => (nano(spent), 1.5),
            other => panic!("{other}"),
        };
        let case = format!("{} of {} {}", row.count, row.loss_nano, row.noise);
        assert!(ours >= row.upper && row.upper >= row.lower, "{case}: {ours} < {}", row.upper);
        assert!(ours <= row.upper * gap, "{case}: {ours} >> {}", row.upper);
        // A mutant that charges half the panes falls below the truth.
        let half = match row.noise.as_str() {
            "gaussian" => nano(rho_to_epsilon(spent / 2, row.delta_atto)),
            _ => nano(spent / 2),
        };
        assert!(half < row.lower, "{case}: {half}");
    }
}

#[derive(Deserialize)]
struct Mechanism {
    scale: u64,
    sensitivity: i64,
    delta_atto: u64,
    gaussian: f64,
    laplace: f64,
}

/// The noise as it is drawn, on integers: what is charged covers what an optimistic distribution of
/// the loss proves to be lost.
#[test]
fn charges_cover_the_loss_of_discrete_noise() {
    for row in table::<Mechanism>(include_str!("privacy_tables/mechanisms.json")) {
        let of = one(row.sensitivity);
        let scale = Dyadic(row.scale);
        let gaussian = |scale| nano(rho_to_epsilon(gaussian_cost(&of, scale), row.delta_atto));
        let laplace = |scale| nano(laplace_cost(Accounting::Pure, &of, scale));
        let case = format!("scale {} sensitivity {}", row.scale, row.sensitivity);
        assert!(gaussian(scale) >= row.gaussian, "{case}: {}", gaussian(scale));
        assert!(gaussian(scale) <= row.gaussian * 1.45, "{case}: {}", gaussian(scale));
        assert!(laplace(scale) >= row.laplace, "{case}: {}", laplace(scale));
        assert!(laplace(scale) <= row.laplace * 1.01, "{case}: {}", laplace(scale));
        // A mutant that draws at half the scale it charges for.
        let twice = Dyadic(row.scale * 2);
        assert!(gaussian(twice) < row.gaussian, "{case}");
        assert!(laplace(twice) < row.laplace, "{case}");
    }
}

#[derive(Deserialize)]
struct Selection {
    l0: u32,
    epsilon_nano: u64,
    delta_atto: u64,
    threshold: f64,
    keep_one: f64,
    optimal_keep_one: f64,
}

/// Google's continuous Laplace threshold and ours on integers differ by the width of an integer,
/// no more; a key with one subject is kept no more often than δ allows.
#[test]
fn selection_agrees_with_google() {
    for row in table::<Selection>(include_str!("privacy_tables/selection.json")) {
        let case = format!("l0 {} eps {} delta {}", row.l0, row.epsilon_nano, row.delta_atto);
        let numerator = (u64::from(row.l0) * 1_000_000_000) << 20;
        let scale = Dyadic(numerator.div_ceil(row.epsilon_nano));
        let ours = laplace_threshold(row.l0, scale, row.delta_atto).expect("T");
        let gap = ours.at as f64 - row.threshold;
        assert!((-0.01..1.51).contains(&gap), "{case}: {} and {}", ours.at, row.threshold);
        // What one key costs of the price of all.
        let keep_one = laplace_threshold_delta(1, scale, ours.at) as f64 * 1e-18;
        assert!(keep_one <= row.optimal_keep_one * (1.0 + 1e-8), "{case}: {keep_one}");
        assert!(keep_one <= row.keep_one * (1.0 + 1e-6), "{case}: {keep_one}");
        // A mutant that ignores L0 keeps it more often than the optimum may.
        if row.l0 > 1 {
            let scale = Dyadic(scale.0 / u64::from(row.l0));
            let ignorant = laplace_threshold(1, scale, row.delta_atto).expect("T");
            assert!(ignorant.at < ours.at, "{case}");
        }
    }
}

#[derive(Deserialize)]
struct Exact {
    noise: String,
    scale: u64,
    l0: u32,
    delta_atto: u64,
    threshold: i64,
    delta: String,
    delta_below: String,
}

impl Exact {
    fn ours(&self) -> Option<Threshold> {
        let find = match self.noise.as_str() {
            "laplace" => laplace_threshold,
            _ => gaussian_threshold,
        };
        find(self.l0, Dyadic(self.scale), self.delta_atto)
    }

    fn price(&self, at: i64) -> u64 {
        match self.noise.as_str() {
            "laplace" => laplace_threshold_delta(self.l0, Dyadic(self.scale), at),
            _ => gaussian_threshold_delta(self.l0, Dyadic(self.scale), at),
        }
    }
}

/// Against sums of 60 digits: the smallest T there is, never a price below the true one, and one
/// below T is never affordable.
#[test]
fn thresholds_are_exact() {
    for row in table::<Exact>(include_str!("privacy_tables/thresholds.json")) {
        let case = format!("{} {} l0 {} {}", row.noise, row.scale, row.l0, row.delta_atto);
        assert_eq!(row.ours().map(|ours| ours.at), Some(row.threshold), "{case}");
        for (at, exact) in [(row.threshold, &row.delta), (row.threshold - 1, &row.delta_below)] {
            if at < 1 {
                continue;
            }
            let exact: f64 = exact.parse().expect("a number");
            let ours = row.price(at) as f64 * 1e-18;
            assert!(ours >= exact * (1.0 - 1e-12), "{case} at {at}: {ours} < {exact}");
            let slack = if row.scale > 64 << 20 { 1e-3 } else { 2e-9 };
            assert!(ours <= exact * (1.0 + slack) + 1e-18, "{case} at {at}: {ours} > {exact}");
        }
        // Two mutants: one below T, and `>` in place of `>=` (which charges for T what T + 1 costs).
        assert!(row.price(row.threshold - 1) > row.delta_atto, "{case}");
        // A price of a few attos is all rounding.
        let exact: f64 = row.delta.parse().expect("a number");
        if row.delta_atto > 1_000 {
            assert!((row.price(row.threshold + 1) as f64) * 1e-18 < exact, "{case}");
        }
    }
}

#[derive(Deserialize)]
struct Spread {
    noise: String,
    scale: u64,
    sd: f64,
    half_95: f64,
}

#[test]
fn spreads_are_exact() {
    for row in table::<Spread>(include_str!("privacy_tables/spreads.json")) {
        let noise = match row.noise.as_str() {
            "laplace" => Noise::Laplace { scale: Dyadic(row.scale) },
            _ => Noise::Gaussian { sigma: Dyadic(row.scale) },
        };
        let case = format!("{} {}", row.noise, row.scale);
        assert!((noise_sd(noise) / row.sd - 1.0).abs() < 1e-9, "{case}: {}", noise_sd(noise));
        assert_eq!(noise_quantile_95(noise), row.half_95, "{case}");
    }
}
