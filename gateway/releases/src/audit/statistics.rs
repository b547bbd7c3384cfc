//! The statistics of the audit: exact binomial bounds and chi-square tests. Floating point is at
//! home here; nothing of it is published.

use std::{collections::HashMap, f64::consts::PI};

use sluicegate_policies::release::Noise;

/// The chance of a false alarm of one bound or one test. A run has about a hundred.
pub(super) const ALPHA: f64 = 1e-7;

/// `ln Γ(x)` for x > 0, by Lanczos' series (g = 7, nine terms).
fn ln_gamma(x: f64) -> f64 {
    const C: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        return (PI / (PI * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let series = C.iter().enumerate().skip(1).fold(C[0], |sum, (i, c)| sum + c / (x + i as f64));
    let t = x + 7.5;
    0.5 * (2.0 * PI).ln() + (x + 0.5) * t.ln() - t + series.ln()
}

/// A continued fraction by Lentz' method; `term(i)` is the i-th numerator and denominator.
fn continued(first: f64, term: impl Fn(f64) -> (f64, f64)) -> f64 {
    const TINY: f64 = 1e-300;
    let nonzero = |x: f64| if x.abs() < TINY { TINY } else { x };
    let (mut c, mut d) = (nonzero(first), 0.0);
    let mut value = c;
    for i in 1..200_000 {
        let (a, b) = term(f64::from(i));
        d = 1.0 / nonzero(b + a * d);
        c = nonzero(b + a / c);
        value *= c * d;
        if (c * d - 1.0).abs() < 1e-14 {
            break;
        }
    }
    value
}

/// The regularised incomplete beta function: `Pr[Beta(a, b) ≤ x]`.
fn beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta(b, a, 1.0 - x);
    }
    let front = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p();
    let term = |i: f64| {
        let m = (i - 1.0).div_euclid(2.0);
        let numerator = if i == 1.0 {
            1.0
        } else if i.rem_euclid(2.0) == 0.0 {
            let m = i / 2.0 - 1.0;
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        } else {
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        };
        (numerator, 1.0)
    };
    front.exp() / a * continued(0.0, term)
}

/// `Pr[χ² with that many degrees ≥ x]`.
fn chi_square_tail(degrees: f64, x: f64) -> f64 {
    let (a, x) = (degrees / 2.0, x / 2.0);
    if x <= 0.0 {
        return 1.0;
    }
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut sum, mut term, mut n) = (1.0 / a, 1.0 / a, a);
        while term > sum * 1e-16 {
            n += 1.0;
            term *= x / n;
            sum += term;
        }
        return 1.0 - front * sum;
    }
    let term = |i: f64| {
        let numerator = if i == 1.0 { 1.0 } else { -(i - 1.0) * (i - 1.0 - a) };
        (numerator, x + 2.0 * i - 1.0 - a)
    };
    front * continued(0.0, term)
}

/// Clopper-Pearson: the smallest probability at which `k` or more of `n` happen by chance as often
/// as [`ALPHA`].
pub(super) fn at_least(k: usize, n: usize) -> f64 {
    if k == 0 {
        return 0.0;
    }
    let (a, b) = (k as f64, (n - k + 1) as f64);
    bisect(|p| beta(a, b, p) < ALPHA)
}

/// Clopper-Pearson: the largest probability at which `k` or fewer happen as often as [`ALPHA`].
pub(super) fn at_most(k: usize, n: usize) -> f64 {
    if k == n {
        return 1.0;
    }
    let (a, b) = ((k + 1) as f64, (n - k) as f64);
    bisect(|p| beta(b, a, 1.0 - p) > ALPHA)
}

/// Where `below` turns false in `[0, 1]`.
fn bisect(below: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if below(middle) { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// The probabilities of noise at `-reach..=reach`, and of all beyond on one side.
pub(super) struct Exact {
    pub(super) reach: i64,
    half: Vec<f64>,
}

impl Exact {
    pub(super) fn of(noise: Noise) -> Self {
        let (scale, weight): (f64, fn(f64, f64) -> f64) = match noise {
            Noise::Laplace { scale } => (scale.as_f64(), |x, s| (-x / s).exp()),
            Noise::Gaussian { sigma } => (sigma.as_f64(), |x, s| (-x * x / (2.0 * s * s)).exp()),
        };
        let reach = (scale * 45.0).ceil() as i64 + 2;
        let weights: Vec<f64> = (0..=reach).map(|x| weight(x as f64, scale)).collect();
        let total = 2.0 * weights.iter().sum::<f64>() - weights[0];
        Self { reach, half: weights.iter().map(|w| w / total).collect() }
    }

    pub(super) fn at(&self, x: i64) -> f64 {
        usize::try_from(x.unsigned_abs()).ok().and_then(|x| self.half.get(x)).map_or(0.0, |p| *p)
    }

    /// `Pr[Z ≥ x]`.
    pub(super) fn tail(&self, x: i64) -> f64 {
        (x..=self.reach.max(x)).rev().map(|x| self.at(x)).sum()
    }

    pub(super) fn variance(&self) -> f64 {
        2.0 * (1..=self.reach).map(|x| (x as f64).powi(2) * self.at(x)).sum::<f64>()
    }

    pub(super) fn fourth_moment(&self) -> f64 {
        2.0 * (1..=self.reach).map(|x| (x as f64).powi(4) * self.at(x)).sum::<f64>()
    }
}

/// The p-value of samples under an exact distribution. Values are put together, from the outside
/// in, until 20 of each class are expected.
pub(super) fn fits(samples: &[i64], exact: &Exact) -> f64 {
    let n = samples.len() as f64;
    let mut seen: HashMap<i64, f64> = HashMap::new();
    for x in samples {
        *seen.entry((*x).clamp(-exact.reach, exact.reach)).or_default() += 1.0;
    }
    let (mut statistic, mut classes) = (0.0, 0.0);
    let (mut expected, mut observed, mut left) = (0.0, 0.0, n);
    for x in -exact.reach..=exact.reach {
        expected += n * exact.at(x);
        observed += seen.get(&x).copied().unwrap_or(0.0);
        if expected >= 20.0 && left - expected >= 20.0 {
            statistic += (observed - expected).powi(2) / expected;
            classes += 1.0;
            left -= expected;
            (expected, observed) = (0.0, 0.0);
        }
    }
    // What is left over on the right is the last class.
    statistic += (observed - left).powi(2) / left;
    chi_square_tail(classes, statistic)
}

/// The p-value of two samples being of one distribution.
pub(super) fn same(one: &[i64], other: &[i64]) -> f64 {
    let mut seen: std::collections::BTreeMap<i64, (f64, f64)> = std::collections::BTreeMap::new();
    one.iter().for_each(|x| seen.entry(*x).or_default().0 += 1.0);
    other.iter().for_each(|x| seen.entry(*x).or_default().1 += 1.0);
    let (n, m) = (one.len() as f64, other.len() as f64);
    let total = |(a, b): (f64, f64)| {
        let (expect_a, expect_b) = ((a + b) * n / (n + m), (a + b) * m / (n + m));
        (a - expect_a).powi(2) / expect_a + (b - expect_b).powi(2) / expect_b
    };
    let (mut statistic, mut classes, mut class) = (0.0, 0.0, (0.0, 0.0));
    let mut left = n + m;
    for (a, b) in seen.into_values() {
        class = (class.0 + a, class.1 + b);
        let size = class.0 + class.1;
        if size >= 40.0 && left - size >= 40.0 {
            statistic += total(class);
            classes += 1.0;
            left -= size;
            class = (0.0, 0.0);
        }
    }
    statistic += total(class);
    chi_square_tail(classes, statistic)
}

/// The largest ε that two samples of a statistic prove at `delta`, from events `≥ t` and `< t` in
/// both directions. `t` is chosen on the even draws; the bound is of the odd ones, so that choosing
/// costs nothing.
pub(super) fn epsilon_at_least(without: &[f64], with: &[f64], delta: f64) -> f64 {
    let halves = |odd: usize| [Sorted::half(without, odd), Sorted::half(with, odd)];
    let (training, held_out) = (halves(0), halves(1));
    let mut places = [&training[0].0[..], &training[1].0[..]].concat();
    places.sort_by(f64::total_cmp);
    places.dedup();
    let step = (places.len() / 48).max(1);
    let places = places.iter().step_by(step).chain(places.last());

    let mut best = (f64::NEG_INFINITY, Event { from: 0.0, above: true, often: 0 });
    for from in places {
        for (above, often) in [(true, 0), (true, 1), (false, 0), (false, 1)] {
            let event = Event { from: *from, above, often };
            // While choosing, a rough bound will do.
            let [seldom, often] = event.counts(&training);
            let rough = |(k, n): (usize, usize), sign: f64| {
                let (k, n) = (k as f64, n as f64);
                (k + sign * 5.2 * (k * (1.0 - k / n)).sqrt() + (1.0 + sign) * 8.0) / n
            };
            let low = rough(often, -1.0) - delta;
            let epsilon = if low > 0.0 { (low / rough(seldom, 1.0)).ln() } else { -1e300 };
            if epsilon > best.0 {
                best = (epsilon, event);
            }
        }
    }
    let [seldom, often] = best.1.counts(&held_out);
    let low = at_least(often.0, often.1) - delta;
    if low > 0.0 { (low / at_most(seldom.0, seldom.1)).ln() } else { 0.0 }
}

struct Sorted(Vec<f64>);

impl Sorted {
    fn half(all: &[f64], odd: usize) -> Self {
        let mut half: Vec<f64> = all.iter().copied().skip(odd).step_by(2).collect();
        half.sort_by(f64::total_cmp);
        Self(half)
    }
}

/// The statistic is at least `from`, or below it; and in which world (1: with the subject) that is
/// said to happen more often.
struct Event {
    from: f64,
    above: bool,
    often: usize,
}

impl Event {
    /// How often of how many, in the world where it is rarer and in the other.
    fn counts(&self, worlds: &[Sorted; 2]) -> [(usize, usize); 2] {
        let of = |world: &Sorted| {
            let n = world.0.len();
            let below = world.0.partition_point(|x| *x < self.from);
            (if self.above { n - below } else { below }, n)
        };
        [of(&worlds[1 - self.often]), of(&worlds[self.often])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::dyadic;

    fn near(got: f64, expected: f64) {
        assert!((got - expected).abs() <= 1e-9 * expected.abs(), "{got} is not {expected}");
    }

    #[test]
    fn known_values() {
        near(ln_gamma(0.5), PI.sqrt().ln());
        near(ln_gamma(11.0), 3_628_800_f64.ln());
        near(beta(2.0, 3.0, 0.5), 0.6875);
        near(beta(1.0, 1.0, 0.3), 0.3);
        near(beta(0.5, 0.5, 0.5), 0.5);
        near(chi_square_tail(2.0, 6.0), (-3_f64).exp());
        near(chi_square_tail(1.0, 3.841_458_820_694_124), 0.05);
        near(chi_square_tail(100.0, 124.342_113_404_004_5), 0.05);
    }

    #[test]
    fn bounds_of_proportions() {
        near(at_most(0, 1_000), 1.0 - ALPHA.powf(0.001));
        near(at_least(1_000, 1_000), ALPHA.powf(0.001));
        assert_eq!((at_least(0, 10), at_most(10, 10)), (0.0, 1.0));
        // By definition: at the bound, the observation is exactly so unlikely.
        near(beta(300.0, 701.0, at_least(300, 1_000)), ALPHA);
        near(1.0 - beta(301.0, 700.0, 1.0 - (1.0 - at_most(300, 1_000))), ALPHA);
    }

    #[test]
    fn exact_distributions() {
        let laplace = Exact::of(Noise::Laplace { scale: dyadic(4, 1) });
        let q = (-0.25_f64).exp();
        near(laplace.at(0), (1.0 - q) / (1.0 + q));
        near(laplace.at(-3), laplace.at(0) * q.powi(3));
        near(laplace.tail(84), q.powi(84) / (1.0 + q));
        near(laplace.variance(), 2.0 * q / (1.0 - q).powi(2));
        let gaussian = Exact::of(Noise::Gaussian { sigma: dyadic(4, 1) });
        near(gaussian.variance(), 16.0);
        near(gaussian.tail(1) * 2.0 + gaussian.at(0), 1.0);
    }

    /// A deterministic sample of the right shape fits, one of another scale does not.
    #[test]
    fn fits_tells_scales_apart() {
        let of = |n, d| Exact::of(Noise::Laplace { scale: dyadic(n, d) });
        let exact = of(4, 1);
        let mut samples = Vec::new();
        for x in -60..=60 {
            let times = (exact.at(x) * 20_000.0).round() as usize;
            samples.extend(std::iter::repeat_n(x, times));
        }
        assert!(fits(&samples, &exact) > 0.9);
        assert!(fits(&samples, &of(35, 8)) < ALPHA);
        assert!(same(&samples, &samples) > 0.999);
        let wider: Vec<i64> = samples.iter().map(|x| x + x / 8).collect();
        assert!(same(&samples, &wider) < ALPHA);
    }

    #[test]
    fn epsilon_of_known_coins() {
        // A statistic that is 1 with probability 3/4 with the subject and 1/4 without: ε = ln 3.
        let coin = |ones: usize| -> Vec<f64> {
            (0..40_000).map(|i| f64::from(u8::from(i / 2 % 4 < ones))).collect()
        };
        let bound = epsilon_at_least(&coin(1), &coin(3), 0.0);
        assert!(bound < 3_f64.ln() && bound > 3_f64.ln() - 0.1, "{bound}");
        let swapped = epsilon_at_least(&coin(3), &coin(1), 0.0);
        assert!((bound - swapped).abs() < 1e-6, "both directions are looked at: {swapped}");
        assert!(epsilon_at_least(&coin(2), &coin(2), 0.0) <= 0.0);
    }
}
