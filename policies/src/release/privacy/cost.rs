//! What noise costs. Exact: scales are `n / 2^20`, so each cost is a fraction of integers, and is
//! rounded up to a billionth.

use super::{NANO, SCALE_END, Share};
use crate::release::plan::{Accounting, Dyadic, Noise, Sensitivity};

/// 10^9 = 5^9 · 2^9.
const FIVE_TO_THE_NINE: u128 = 1_953_125;

/// What discrete Laplace noise of this scale costs: nano-epsilon `L1 / s`, or nano-rho `ε² / 2`,
/// rounded up. `u64::MAX` where it cannot be counted.
#[must_use]
pub fn laplace_cost(accounting: Accounting, sensitivity: &Sensitivity, scale: Dyadic) -> u64 {
    let l1 = u128::from(sensitivity.l1.unsigned_abs());
    match accounting {
        Accounting::Pure => match l1.checked_mul(u128::from(NANO) << Dyadic::SHIFT) {
            Some(nano) if scale.0 > 0 => {
                u64::try_from(nano.div_ceil(u128::from(scale.0))).unwrap_or(u64::MAX)
            }
            _ => u64::MAX,
        },
        Accounting::Zcdp => l1.checked_mul(l1).map_or(u64::MAX, |l1| half_squared_ratio(l1, scale)),
    }
}

/// What discrete Gaussian noise costs: nano-rho `L2² / 2σ²`, rounded up. `u64::MAX` where it
/// cannot be counted.
#[must_use]
pub fn gaussian_cost(sensitivity: &Sensitivity, sigma: Dyadic) -> u64 {
    half_squared_ratio(sensitivity.l2_squared.unsigned_abs(), sigma)
}

/// What one randomized answer costs, in nano-epsilon rounded up: of `values` possible answers the
/// true one is given with probability `truth`, else one of the others evenly. `u64::MAX` where an
/// answer proves something.
#[must_use]
pub fn randomized_response_cost(truth: Share, values: u32) -> u64 {
    if values < 2 || truth.0 == 0 || truth >= Share::WHOLE {
        return u64::MAX;
    }
    let others = f64::from(values - 1);
    let odds = f64::from(truth.0) * others / f64::from(Share::WHOLE.0 - truth.0);
    // The slack is far above the error of a logarithm, and far below a billionth.
    (odds.ln().abs() * (1e9 + 1e-3)).ceil() as u64
}

/// The noise with the smallest standard deviation that costs at most `price` (nano), and what it
/// costs. `None` when its scale would be 2^33 or more.
///
/// Under zCDP that is always the Gaussian: at the same ρ and one key, Laplace noise has the same
/// scale, but √2 times the deviation; with more keys it fares worse. A test compares them.
pub(super) fn cheapest_noise(
    accounting: Accounting,
    sensitivity: &Sensitivity,
    price: u64,
) -> Option<(Noise, u64)> {
    match accounting {
        Accounting::Pure => {
            let cost = |scale| laplace_cost(accounting, sensitivity, scale);
            let scale = smallest_scale(price, cost)?;
            Some((Noise::Laplace { scale }, cost(scale)))
        }
        Accounting::Zcdp => {
            let sigma = smallest_scale(price, |sigma| gaussian_cost(sensitivity, sigma))?;
            Some((Noise::Gaussian { sigma }, gaussian_cost(sensitivity, sigma)))
        }
    }
}

/// The smallest scale whose cost is at most `price`. `cost` never grows with the scale.
pub(super) fn smallest_scale(price: u64, cost: impl Fn(Dyadic) -> u64) -> Option<Dyadic> {
    let (mut too_small, mut enough) = (0, SCALE_END - 1);
    if cost(Dyadic(enough)) > price {
        return None;
    }
    while enough - too_small > 1 {
        let middle = too_small.midpoint(enough);
        if cost(Dyadic(middle)) <= price {
            enough = middle;
        } else {
            too_small = middle;
        }
    }
    Some(Dyadic(enough))
}

/// `⌈10^9 · square / (2 · (n / 2^20)²)⌉` = `⌈5^9 · square · 2^48 / n²⌉`, exactly: by long
/// division, since the product may need more than 128 bits.
fn half_squared_ratio(square: u128, scale: Dyadic) -> u64 {
    let divisor = u128::from(scale.0) * u128::from(scale.0);
    let Some(dividend) = square.checked_mul(FIVE_TO_THE_NINE) else { return u64::MAX };
    // Beyond this the remainder could not be doubled; scales are below 2^53.
    if divisor == 0 || divisor >= 1 << 126 {
        return u64::MAX;
    }
    let mut quotient = dividend / divisor;
    let mut rest = dividend % divisor;
    for _ in 0..(2 * Dyadic::SHIFT - 1 + 9) {
        if quotient > u128::from(u64::MAX) {
            return u64::MAX;
        }
        rest *= 2;
        quotient = quotient * 2 + u128::from(rest >= divisor);
        if rest >= divisor {
            rest -= divisor;
        }
    }
    u64::try_from(quotient + u128::from(rest > 0)).unwrap_or(u64::MAX)
}
