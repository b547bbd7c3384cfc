//! Between ρ-zCDP and (ε, δ).
//!
//! For every order α > 1, a ρ-zCDP mechanism is (ε, δ)-private with
//! `ε = αρ + (ln(1/δ) + (α − 1)·ln(1 − 1/α) − ln α) / (α − 1)` (Canonne, Kamath, Steinke 2020,
//! proposition 12). Each order gives a true statement, so the search for the best one need not be
//! exact; only the evaluation must not be too small, which `SLACK` sees to.

/// Far above the rounding errors of the dozen operations below, relative to the sum of their
/// magnitudes; far below a billionth.
const SLACK: f64 = 1e-12;

/// Where the best `ln(α − 1)` is looked for: √(ln(1/δ)/ρ) lies well within for all ρ that the
/// ledger can count.
const LOG_ORDER: (f64, f64) = (-25.0, 25.0);

/// Golden sections until the order is known to about one part in 10^9.
const STEPS: u32 = 60;

/// The ε (nano, rounded up) that ρ (nano) is worth at δ (10^-18). Without δ there is none:
/// `u64::MAX`.
#[must_use]
pub fn rho_to_epsilon(rho_nano: u64, delta_atto: u64) -> u64 {
    if rho_nano == 0 {
        return 0;
    }
    if delta_atto == 0 {
        return u64::MAX;
    }
    let rho = rho_nano as f64 * 1e-9;
    let log_delta = -(delta_atto as f64 * 1e-18).ln();
    // Rounds up, never below zero, and saturates.
    (minimum(|log_order| epsilon_at(rho, log_delta, log_order)) * 1e9).ceil().max(0.0) as u64
}

/// The largest ρ (nano) that is worth at most ε (nano) at δ (10^-18), as [`rho_to_epsilon`] has
/// it. Zero without δ.
#[must_use]
pub fn epsilon_to_rho(epsilon_nano: u64, delta_atto: u64) -> u64 {
    // INVARIANT: `fits` has been found to fit, so the answer keeps the promise even if rounding
    // made the conversion not quite monotonic.
    let (mut fits, mut exceeds) = (0, u64::MAX);
    while exceeds - fits > 1 {
        let middle = fits.midpoint(exceeds);
        if rho_to_epsilon(middle, delta_atto) <= epsilon_nano {
            fits = middle;
        } else {
            exceeds = middle;
        }
    }
    fits
}

/// ε at the order `1 + e^log_order`, from above.
fn epsilon_at(rho: f64, log_inverse_delta: f64, log_order: f64) -> f64 {
    let a = log_order.exp();
    // With a = α − 1: (α − 1)·ln(1 − 1/α) = −a·ln(1 + 1/a), ln α = ln(1 + a).
    let parts = [(1.0 + a) * rho, log_inverse_delta / a, -(1.0 / a).ln_1p(), -a.ln_1p() / a];
    let magnitude: f64 = parts.iter().map(|part| part.abs()).sum();
    parts.iter().sum::<f64>() + magnitude * SLACK
}

/// The smallest value of `f` that a golden-section search over [`LOG_ORDER`] meets.
fn minimum(f: impl Fn(f64) -> f64) -> f64 {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let (mut low, mut high) = LOG_ORDER;
    let mut left = high - (high - low) * GOLDEN;
    let mut right = low + (high - low) * GOLDEN;
    let (mut at_left, mut at_right) = (f(left), f(right));
    for _ in 0..STEPS {
        if at_left <= at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - (high - low) * GOLDEN;
            at_left = f(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + (high - low) * GOLDEN;
            at_right = f(right);
        }
    }
    at_left.min(at_right)
}
