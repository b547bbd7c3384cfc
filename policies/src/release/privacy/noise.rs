//! How large noise is: figures for people, not for promises.

use crate::release::plan::Noise;

/// Up to this σ the discrete Gaussian is summed; beyond, it agrees with the continuous one to
/// more digits than are shown.
const SUMMED_SIGMA_MAX: f64 = 64.0;

const TWO_SIDED_95: f64 = 1.959_963_984_540_054;

/// The standard deviation.
#[must_use]
pub fn noise_sd(noise: Noise) -> f64 {
    match noise {
        // Var = 2e^(−1/s) / (1 − e^(−1/s))² = 1 / (2·sinh²(1/2s)).
        Noise::Laplace { scale } => std::f64::consts::FRAC_1_SQRT_2 / (0.5 / scale.as_f64()).sinh(),
        Noise::Gaussian { sigma } => {
            let sigma = sigma.as_f64();
            if sigma > SUMMED_SIGMA_MAX {
                return sigma;
            }
            let (mut mass, mut squares) = (1.0, 0.0);
            for (x, weight) in weights(sigma) {
                mass += 2.0 * weight;
                squares += 2.0 * weight * x * x;
            }
            (squares / mass).sqrt()
        }
    }
}

/// The smallest whole number h so that the noise lies in `[−h, h]` at least 95 times of 100.
#[must_use]
pub fn noise_quantile_95(noise: Noise) -> f64 {
    match noise {
        // Pr[|Z| > h] = 2e^(−(h+1)/s) / (1 + e^(−1/s)).
        Noise::Laplace { scale } => {
            let s = scale.as_f64();
            let log = (2.0 / (0.05 * (1.0 + (-1.0 / s).exp()))).ln();
            (s * log - 1.0).ceil().max(0.0)
        }
        Noise::Gaussian { sigma } => {
            let sigma = sigma.as_f64();
            if sigma > SUMMED_SIGMA_MAX {
                return (sigma * TWO_SIDED_95).ceil();
            }
            let mass = 1.0 + 2.0 * weights(sigma).map(|(_, weight)| weight).sum::<f64>();
            let mut within = 1.0;
            let mut half = 0.0;
            for (x, weight) in weights(sigma) {
                if within >= 0.95 * mass {
                    break;
                }
                within += 2.0 * weight;
                half = x;
            }
            half
        }
    }
}

/// `e^(−x²/2σ²)` for x = 1, 2, … until it no longer counts.
fn weights(sigma: f64) -> impl Iterator<Item = (f64, f64)> {
    (1_u32..)
        .map(f64::from)
        .map(move |x| (x, (-x * x / (2.0 * sigma * sigma)).exp()))
        .take_while(|(_, weight)| *weight > 1e-18)
}
