//! The noise itself: its distribution, its freshness, and what it means for accuracy.

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
use sluicegate_policies::release::{Dyadic, Noise};

use super::{
    p_value,
    pipeline::{FIRST, Worlds, others, plan, publish, skim},
    statistics::{Exact, fits, same},
    verdict,
};
use crate::{
    noise::{NoiseError, OpenDp, Sampler},
    testing::{dyadic, hour},
};

/// Normal quantile of one in 10^7.
const Z: f64 = 5.2;

fn draws(noise: Noise, n: usize) -> Vec<i64> {
    let mut sampler = OpenDp::default();
    (0..n).map(|_| sampler.draw(noise, 0).unwrap()).collect()
}

/// In thousandths.
fn scale(thousandths: u64) -> Dyadic {
    Dyadic((thousandths << Dyadic::SHIFT) / 1_000)
}

#[test]
fn discrete_laplace_has_its_distribution() {
    for thousandths in [500, 1_000, 3_700, 24_000, 100_000] {
        let noise = Noise::Laplace { scale: scale(thousandths) };
        let drawn = draws(noise, 60_000);
        let s = thousandths as f64 / 1_000.0;
        p_value(&format!("discrete Laplace, scale {s}"), fits(&drawn, &Exact::of(noise)), false);
    }
    let claimed = Exact::of(Noise::Laplace { scale: scale(24_000) });
    let quiet = draws(Noise::Laplace { scale: scale(21_600) }, 60_000);
    p_value("  mutant: scale ten percent smaller", fits(&quiet, &claimed), true);
    let short: Vec<i64> = draws(Noise::Laplace { scale: scale(24_000) }, 60_000);
    let short: Vec<i64> = short.into_iter().map(|x| x.clamp(-100, 100)).collect();
    p_value("  mutant: tails cut", fits(&short, &claimed), true);
}

#[test]
fn discrete_gaussian_has_its_distribution() {
    for thousandths in [500, 2_000, 26_830] {
        let noise = Noise::Gaussian { sigma: scale(thousandths) };
        let drawn = draws(noise, 50_000);
        let s = thousandths as f64 / 1_000.0;
        p_value(&format!("discrete Gaussian, sigma {s}"), fits(&drawn, &Exact::of(noise)), false);
    }
    let claimed = Exact::of(Noise::Gaussian { sigma: scale(26_830) });
    let quiet = draws(Noise::Gaussian { sigma: scale(25_500) }, 50_000);
    p_value("  mutant: sigma five percent smaller", fits(&quiet, &claimed), true);
}

/// Noise of another implementation (prio, of the same scale: its histograms take ε = 2 / scale).
fn by_prio(scale: Dyadic, n: usize) -> Vec<i64> {
    let epsilon = Rational::from_unsigned(2_u128 << Dyadic::SHIFT, u128::from(scale.0)).unwrap();
    let strategy = PureDpDiscreteLaplace::from_budget(PureDpBudget::new(epsilon).unwrap());
    let histogram: Histogram<Field64, ParallelSum<Field64, Mul>> =
        Histogram::new(n, 1_000).unwrap();
    let mut noise = vec![Field64::from(0); n];
    histogram.add_noise_to_agg_share(&strategy, &mut noise, 0).unwrap();
    let modulus = -i128::from(u64::from(-Field64::from(1))) - 1;
    let signed = |x: Field64| {
        let x = i128::from(u64::from(x));
        i64::try_from(if x > i128::from(u32::MAX) { x + modulus } else { x }).unwrap()
    };
    noise.into_iter().map(signed).collect()
}

#[test]
fn another_implementation_draws_the_same() {
    for thousandths in [3_700, 24_000] {
        let scale = scale(thousandths);
        let ours = draws(Noise::Laplace { scale }, 60_000);
        let s = thousandths as f64 / 1_000.0;
        let p = same(&ours, &by_prio(scale, 60_000));
        p_value(&format!("discrete Laplace of prio and of opendp, scale {s}"), p, false);
    }
    let ours = draws(Noise::Laplace { scale: scale(24_000) }, 60_000);
    let p = same(&ours, &by_prio(scale(21_000), 60_000));
    p_value("  mutant: one of them an eighth smaller", p, true);
}

/// A sampler that keeps its noise for a value, as a cache or a keyed function would.
struct Keeps {
    fresh: OpenDp,
    noise: std::collections::HashMap<i64, i64>,
}

impl Sampler for Keeps {
    fn laplace(&mut self, scale: Dyadic, value: i64) -> Result<i64, NoiseError> {
        let fresh = self.fresh.laplace(scale, 0)?;
        Ok(value + *self.noise.entry(value).or_insert(fresh))
    }

    fn gaussian(&mut self, _: Dyadic, value: i64) -> Result<i64, NoiseError> {
        Ok(value)
    }
}

/// Two panes with the same totals: the variance of their difference is twice that of one.
#[test]
fn noise_is_fresh_each_time() {
    let noise = Noise::Laplace { scale: dyadic(4, 1) };
    let (exact, n) = (Exact::of(noise), 20_000);
    let (variance, fourth) = (2.0 * exact.variance(), 2.0 * exact.fourth_moment());
    // Of a difference X − Y: μ4 = 2 μ4(X) + 6 σ⁴.
    let spread = (fourth + 6.0 * exact.variance().powi(2) - variance.powi(2)).sqrt();
    let band = Z * spread / (n as f64).sqrt() / variance;
    let off = |sampler: &mut dyn FnMut(i64) -> i64| {
        let squares = (0..n).map(|value| (sampler(value) - sampler(value)) as f64).map(|d| d * d);
        (squares.sum::<f64>() / n as f64 / variance - 1.0).abs()
    };
    let mut fresh = OpenDp::default();
    let p = off(&mut |value| fresh.draw(noise, value).unwrap());
    verdict("variance of the difference of two draws, relative error", band, p, false);
    let mut keeps = Keeps { fresh: OpenDp::default(), noise: Default::default() };
    let p = off(&mut |value| keeps.draw(noise, value).unwrap());
    verdict("  mutant: noise that is kept", band, p, true);
}

const ACCURATE: &str = "\
budget: { epsilon: 1.0, delta: 1e-9 }
bounds: { windows-per-period: 1, keys-per-window: 1, records-per-key: 1 }
keys: { field: country, public: [a, b, c, d] }
release:
  - { what: subjects, share: 0.4 }
  - { what: count, share: 0.3 }
  - { what: sum, share: 0.3, field: amount, clamp: [0, 50] }
";

/// Where nothing is cut by bounds, released numbers are the true ones plus noise of the announced
/// size, and nothing else.
#[test]
fn accuracy_is_that_of_the_noise() {
    let plan = plan(ACCURATE);
    let keys = ["a", "b", "c", "d"];
    let orders = others(&keys, &[FIRST], 100);
    let totals = Worlds::of(&plan, &plan, &[FIRST], &orders, &[]).without;
    let truth = [100, 100, 1_000];
    let (panes, mut sampler) = (5_000, OpenDp::default());
    let mut squares = [0.0; 3];
    let mut sums = [0.0; 3];
    for _ in 0..panes {
        let sent = publish(&plan, hour(FIRST), &totals[0], &mut sampler);
        for row in skim(&sent).rows {
            for (at, value) in row.values.iter().enumerate() {
                let error = (value - truth[at]) as f64;
                sums[at] += error;
                squares[at] += error * error;
            }
        }
    }
    let n = (panes * keys.len()) as f64;
    for (at, output) in plan.outputs.iter().enumerate() {
        let exact = Exact::of(output.noise);
        let (variance, sd) = (exact.variance(), exact.variance().sqrt());
        let band = Z * (exact.fourth_moment() - variance.powi(2)).sqrt() / n.sqrt() / variance;
        let name = &output.name;
        let check = format!("mean square error of `{name}` (sd {sd:.1}), relative");
        verdict(&check, band, (squares[at] / n / variance - 1.0).abs(), false);
        let check = format!("bias of `{name}` in standard deviations");
        verdict(&check, Z / n.sqrt(), (sums[at] / n / sd).abs(), false);
        // A number off by a twentieth of its noise would show.
        let biased = (sums[at] / n / sd + 0.1).abs();
        verdict("  mutant: a tenth of a standard deviation too much", Z / n.sqrt(), biased, true);
    }
}
