//! From which noisy number of subjects a key that nobody listed may be published.
//!
//! A subject may be the only one of up to L0 keys. Each of them appears with probability
//! `q = Pr[1 + Z ≥ T]` where it could not appear without that subject, so the price is
//! `δ(T) = 1 − (1 − q)^L0`. The row at exactly T is published, hence `Pr[Z ≥ T − 1]`, not `>`.

use super::ATTO;
use crate::release::plan::{Dyadic, Noise};

/// Covers the rounding errors of the logarithms and exponentials below, which are a million times
/// smaller.
const SAFETY: f64 = 1.0 + 1e-9;

/// Up to this σ the tail of the discrete Gaussian is summed; beyond, it is bounded by the
/// continuous one, which is then at most a thousandth larger.
const SUMMED_SIGMA_MAX: f64 = 64.0;

/// No threshold is beyond this: scales end at 2^33, and noise of more than 2^12 times its scale is
/// rarer than anything that 10^-18 can tell.
const THRESHOLD_END: i64 = 1 << 45;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// T: published iff the noisy number of subjects is at least this.
    pub at: i64,
    /// What it costs, in 10^-18, rounded up.
    pub delta_atto: u64,
}

/// The smallest T ≥ 1 for discrete Laplace noise that costs at most `delta_atto`; `None` when
/// there is none.
#[must_use]
pub fn laplace_threshold(l0: u32, scale: Dyadic, delta_atto: u64) -> Option<Threshold> {
    smallest(delta_atto, |at| laplace_threshold_delta(l0, scale, at))
}

/// The smallest T ≥ 1 for discrete Gaussian noise that costs at most `delta_atto`; `None` when
/// there is none.
#[must_use]
pub fn gaussian_threshold(l0: u32, sigma: Dyadic, delta_atto: u64) -> Option<Threshold> {
    smallest(delta_atto, |at| gaussian_threshold_delta(l0, sigma, at))
}

/// What publishing from `at` costs with discrete Laplace noise, in 10^-18, rounded up.
#[must_use]
pub fn laplace_threshold_delta(l0: u32, scale: Dyadic, at: i64) -> u64 {
    if at < 1 {
        return ATTO;
    }
    let s = scale.as_f64();
    // Pr[Z ≥ m] = e^(−m/s) / (1 + e^(−1/s)) for m ≥ 0.
    let log_q = -((at - 1) as f64) / s - (-1.0 / s).exp().ln_1p();
    delta_atto(l0, log_q.exp())
}

/// What publishing from `at` costs with discrete Gaussian noise, in 10^-18, rounded up.
#[must_use]
pub fn gaussian_threshold_delta(l0: u32, sigma: Dyadic, at: i64) -> u64 {
    if at < 1 {
        return ATTO;
    }
    delta_atto(l0, gaussian_tail((at - 1) as f64, sigma.as_f64()))
}

pub(super) fn of(noise: Noise, l0: u32, delta_atto: u64) -> Option<Threshold> {
    match noise {
        Noise::Laplace { scale } => laplace_threshold(l0, scale, delta_atto),
        Noise::Gaussian { sigma } => gaussian_threshold(l0, sigma, delta_atto),
    }
}

/// `1 − (1 − q)^l0` in 10^-18, rounded up; at least one.
fn delta_atto(l0: u32, q: f64) -> u64 {
    let delta = -(f64::from(l0) * (-q.min(1.0)).ln_1p()).exp_m1();
    ((delta * SAFETY * ATTO as f64).ceil() as u64).clamp(1, ATTO)
}

/// The smallest T in `1..THRESHOLD_END` whose price is at most `affordable`. Prices fall with T.
fn smallest(affordable: u64, price: impl Fn(i64) -> u64) -> Option<Threshold> {
    let (mut dear, mut at) = (0, THRESHOLD_END);
    if price(at) > affordable {
        return None;
    }
    while at - dear > 1 {
        let middle = dear.midpoint(at);
        if price(middle) <= affordable {
            at = middle;
        } else {
            dear = middle;
        }
    }
    Some(Threshold { at, delta_atto: price(at) })
}

/// `Pr[Z ≥ m]` of the discrete Gaussian for m ≥ 0, exactly or from above.
fn gaussian_tail(m: f64, sigma: f64) -> f64 {
    if sigma <= SUMMED_SIGMA_MAX {
        return summed_tail(m, sigma);
    }
    // Where the density is convex, its value at x is at most its integral from x − ½ to x + ½;
    // and the sum over all integers is at least σ√(2π), the integral over the line (Poisson).
    // Within one σ of zero that says nothing; a threshold there would cost a tenth or more.
    let from = (m - 0.5) / sigma;
    if from < 1.0 { 1.0 } else { upper_normal_tail(from) }
}

/// The quotient of two sums: the upper one with a bound for what it leaves out, the lower one cut
/// short. Relative to the first term, so that nothing vanishes.
fn summed_tail(m: f64, sigma: f64) -> f64 {
    let double_variance = 2.0 * sigma * sigma;
    let mut above = 0.0;
    let mut j = 0.0;
    loop {
        let term = (-(2.0 * m * j + j * j) / double_variance).exp();
        above += term;
        if term < above * 1e-17 {
            // From here on each term is at most this fraction of the one before.
            let ratio = (-(2.0 * (m + j) + 1.0) / double_variance).exp();
            above += term * ratio / (1.0 - ratio);
            break;
        }
        j += 1.0;
    }
    let mut all = 1.0;
    let mut x = 1.0;
    loop {
        let term = 2.0 * (-x * x / double_variance).exp();
        all += term;
        if term < all * 1e-17 {
            break;
        }
        x += 1.0;
    }
    (-m * m / double_variance).exp() * above / all
}

/// `Pr[N(0,1) ≥ x]` for x ≥ 1 from above: the density times an upper convergent of the continued
/// fraction `1/(x + 1/(x + 2/(x + …)))` of Mills' ratio.
fn upper_normal_tail(x: f64) -> f64 {
    // An even number of partial denominators below the first ends on the upper side.
    const DEPTH: u32 = 400;
    let mut below = x;
    for k in (1..=DEPTH).rev() {
        below = x + f64::from(k) / below;
    }
    const INVERSE_ROOT_TWO_PI: f64 = 0.398_942_280_401_432_7;
    INVERSE_ROOT_TWO_PI * (-x * x / 2.0).exp() / below
}
