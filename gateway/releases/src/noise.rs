//! Noise on integers, drawn by opendp, whose privacy map is compared with our cost before
//! anything is drawn.
//!
//! opendp's measurements are not `Send`: an [`OpenDp`] is made on the thread that uses it. Its
//! generator cannot be seeded, so what is repeated is the published bytes, never a draw.
//!
//! INVARIANT: a sum goes in as an integer and comes out as an integer. Floating point appears
//! where a scale is handed to opendp (dyadic, so exact) and where opendp's map is compared, and
//! nowhere else in the crate; a test looks.

use opendp::{
    core::Measurement,
    domains::{AtomDomain, MapDomain, VectorDomain},
    measurements::{make_gaussian, make_laplace, make_laplace_threshold},
    measures::{Approximate, MaxDivergence, ZeroConcentratedDivergence},
    metrics::{AbsoluteDistance, L1Distance, L01InfDistance, L2Distance},
};
use sluicegate_policies::release::{
    Accounting, Dyadic, Keys, Noise, Output, ReleasePlan, Sensitivity,
};

/// A sum of larger magnitude is not noised. opendp adds in exact arithmetic and then saturates,
/// in silence, at the ends of `i64`: from here that takes noise of more than 2^62.
pub const TOTAL_MAX: i64 = (1 << 62) - 1;

/// One number with fresh noise on it.
pub trait Sampler {
    fn laplace(&mut self, scale: Dyadic, value: i64) -> Result<i64, NoiseError>;
    fn gaussian(&mut self, sigma: Dyadic, value: i64) -> Result<i64, NoiseError>;

    /// What an output's plan asks for.
    fn draw(&mut self, noise: Noise, value: i64) -> Result<i64, NoiseError> {
        if value.unsigned_abs() > TOTAL_MAX.unsigned_abs() {
            return Err(NoiseError::TotalTooLarge);
        }
        match noise {
            Noise::Laplace { scale } => self.laplace(scale, value),
            Noise::Gaussian { sigma } => self.gaussian(sigma, value),
        }
    }
}

/// Why a pane is not noised, so not released. Nothing in here is or depends on a number of the
/// pane, except that a total is out of range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoiseError {
    #[error("the noise of output `{output}` has no positive scale below 2^33")]
    Scale { output: String },
    #[error(
        "output `{output}` costs more than the plan charges for it, by {by}\n\
         help: this release would break its promise; do not publish it, and report the plan"
    )]
    CostsMore { output: String, by: &'static str },
    #[error("output `{output}` has Gaussian noise, which pure ε cannot account for")]
    GaussianInPure { output: String },
    #[error(
        "the threshold of output `{output}` leaks more than the plan charges for it\n\
         help: this release would break its promise; do not publish it, and report the plan"
    )]
    Threshold { output: String },
    #[error("the outputs cost more than the plan charges for a pane")]
    SumCostsMore,
    #[error("the plan has unknown keys but no output that counts subjects to select them by")]
    NothingSelects,
    #[error("a row of totals has {got} numbers, the plan has {expected} outputs")]
    Shape { expected: usize, got: usize },
    #[error(
        "a total is out of range (2^62)\n\
         help: narrow the clamp of the sum, or shorten the window"
    )]
    TotalTooLarge,
    #[error("the noise could not be drawn: {0}")]
    Draw(String),
}

type Laplace = Measurement<VectorDomain<AtomDomain<i64>>, L1Distance<i64>, MaxDivergence, Vec<i64>>;
type Gaussian = Measurement<
    VectorDomain<AtomDomain<i64>>,
    L2Distance<f64>, // float: opendp's type of an L2 sensitivity
    ZeroConcentratedDivergence,
    Vec<i64>,
>;

/// The real sampler: exact discrete Laplace and discrete Gaussian (Canonne, Kamath, Steinke 2020)
/// from a ChaCha20 generator that the operating system seeds.
#[derive(Default)]
pub struct OpenDp {
    /// By scale: a plan has few.
    laplace: Vec<(Dyadic, Laplace)>,
    gaussian: Vec<(Dyadic, Gaussian)>,
}

impl OpenDp {
    /// For a plan whose every cost opendp's own maps confirm: ε or ρ of each output, and δ of a
    /// threshold on Laplace noise. (Of the discrete Gaussian's tail opendp has only a loose bound.)
    pub fn for_plan(plan: &ReleasePlan) -> Result<Self, NoiseError> {
        let mut made = Self::default();
        // A cost in the plan is that of a pane with all of its revisions.
        let releases = u64::from(plan.releases_of_a_pane());
        let (mut loss, mut delta) = (0_u64, 0_u64);
        for output in &plan.outputs {
            made.check(plan.accounting, output, output.cost.loss / releases)?;
            loss = loss.checked_add(output.cost.loss).ok_or(NoiseError::SumCostsMore)?;
            delta = delta.checked_add(output.cost.delta).ok_or(NoiseError::SumCostsMore)?;
        }
        if loss > plan.cost.loss || delta > plan.cost.delta {
            return Err(NoiseError::SumCostsMore);
        }
        if let (Keys::Unknown { threshold, raw_floor, .. }, Some(selection)) =
            (&plan.keys, plan.outputs.first())
        {
            check_threshold(selection, *threshold, *raw_floor, selection.cost.delta / releases)?;
        }
        Ok(made)
    }

    /// Twice: in integers, without tolerance, and against opendp's map.
    fn check(
        &mut self,
        accounting: Accounting,
        output: &Output,
        loss: u64,
    ) -> Result<(), NoiseError> {
        let named = || output.name.to_string();
        let parameter = match output.noise {
            Noise::Laplace { scale } => scale,
            Noise::Gaussian { sigma } => sigma,
        };
        if parameter.0 == 0 || parameter.0 >= 1 << 53 {
            return Err(NoiseError::Scale { output: named() });
        }
        let (by_integers, by_opendp) = match (accounting, output.noise) {
            (Accounting::Pure, Noise::Gaussian { .. }) => {
                return Err(NoiseError::GaussianInPure { output: named() });
            }
            (Accounting::Pure, Noise::Laplace { scale }) => (
                costs_epsilon(output.sensitivity, scale, loss),
                map_laplace(self.laplace_of(scale)?, output.sensitivity, loss, Accounting::Pure)?,
            ),
            (Accounting::Zcdp, Noise::Laplace { scale }) => (
                costs_rho(squared(output.sensitivity.l1), scale, loss),
                map_laplace(self.laplace_of(scale)?, output.sensitivity, loss, Accounting::Zcdp)?,
            ),
            (Accounting::Zcdp, Noise::Gaussian { sigma }) => (
                costs_rho(output.sensitivity.l2_squared.unsigned_abs(), sigma, loss),
                map_gaussian(self.gaussian_of(sigma)?, output.sensitivity, loss)?,
            ),
        };
        if !by_integers {
            return Err(NoiseError::CostsMore { output: named(), by: "exact arithmetic" });
        }
        if !by_opendp {
            return Err(NoiseError::CostsMore { output: named(), by: "opendp's privacy map" });
        }
        Ok(())
    }

    fn laplace_of(&mut self, scale: Dyadic) -> Result<&Laplace, NoiseError> {
        cached(&mut self.laplace, scale, || {
            make_laplace(VectorDomain::default(), L1Distance::default(), scale.as_f64(), None) // float: exact
        })
    }

    fn gaussian_of(&mut self, sigma: Dyadic) -> Result<&Gaussian, NoiseError> {
        cached(&mut self.gaussian, sigma, || {
            make_gaussian(VectorDomain::default(), L2Distance::default(), sigma.as_f64(), None) // float: exact
        })
    }
}

impl Sampler for OpenDp {
    fn laplace(&mut self, scale: Dyadic, value: i64) -> Result<i64, NoiseError> {
        only(self.laplace_of(scale)?.invoke(&vec![value]))
    }

    fn gaussian(&mut self, sigma: Dyadic, value: i64) -> Result<i64, NoiseError> {
        only(self.gaussian_of(sigma)?.invoke(&vec![value]))
    }
}

fn cached<M>(
    made: &mut Vec<(Dyadic, M)>,
    scale: Dyadic,
    make: impl FnOnce() -> opendp::error::Fallible<M>,
) -> Result<&M, NoiseError> {
    let at = match made.iter().position(|(of, _)| *of == scale) {
        Some(at) => at,
        None => {
            made.push((scale, make().map_err(drawing)?));
            made.len() - 1
        }
    };
    made.get(at).map(|(_, m)| m).ok_or(NoiseError::Draw("nothing was made".to_owned()))
}

fn only(drawn: opendp::error::Fallible<Vec<i64>>) -> Result<i64, NoiseError> {
    let drawn = drawn.map_err(drawing)?;
    drawn.first().copied().ok_or(NoiseError::Draw("nothing was drawn".to_owned()))
}

/// The kind only: opendp's messages may quote what they were given.
fn drawing(e: opendp::error::Error) -> NoiseError {
    NoiseError::Draw(format!("{:?}", e.variant))
}

/// Whether `loss` nano-epsilon pay for Laplace noise: `l1 / scale ≤ loss · 10⁻⁹`.
fn costs_epsilon(sensitivity: Sensitivity, scale: Dyadic, loss: u64) -> bool {
    let l1 = u128::from(sensitivity.l1.unsigned_abs());
    (l1 << Dyadic::SHIFT) * 1_000_000_000 <= u128::from(loss) * u128::from(scale.0)
}

/// Whether `loss` nano-rho pay for noise of this scale: `squared / (2 · scale²) ≤ loss · 10⁻⁹`.
/// Of Laplace noise, ε²/2 with the squared L1 sensitivity.
fn costs_rho(squared: u128, scale: Dyadic, loss: u64) -> bool {
    let nano = 1_000_000_000_u128 << (2 * Dyadic::SHIFT);
    let twice = u128::from(loss) * 2;
    product(squared, nano) <= product(twice, u128::from(scale.0) * u128::from(scale.0))
}

fn squared(l1: i64) -> u128 {
    u128::from(l1.unsigned_abs()) * u128::from(l1.unsigned_abs())
}

/// The 256-bit product, high half first.
fn product(a: u128, b: u128) -> (u128, u128) {
    const LOW: u128 = u64::MAX as u128;
    let (a_high, a_low, b_high, b_low) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let low = a_low * b_low;
    let middle = a_high * b_low + (low >> 64);
    let other = a_low * b_high + (middle & LOW);
    (a_high * b_high + (middle >> 64) + (other >> 64), (other << 64) | (low & LOW))
}

/// Both sides of these comparisons are rounded where they are made: a 10¹²th of slack is more than
/// all of that. The comparison in integers has none.
const SLACK: f64 = 1.0 + 1e-12; // float: comparison with opendp's map
/// opendp finds `1 − (1 − q)^L0` by way of numbers close to one, and rounds up at each step: for every
/// key its δ is too large by some units in the last place of one (four of them here, in 10⁻¹⁸). A
/// policy's δ can be as small as that; the planner, which counts in integers and is held to known
/// answers, has the last word there.
const ROUNDED_ATTO: u64 = 888;

#[expect(clippy::cast_precision_loss, reason = "the integers are compared exactly elsewhere")]
fn map_laplace(
    laplace: &Laplace,
    sensitivity: Sensitivity,
    loss: u64,
    accounting: Accounting,
) -> Result<bool, NoiseError> {
    let epsilon = laplace.map(&sensitivity.l1).map_err(drawing)?;
    let costs = match accounting {
        Accounting::Pure => epsilon,
        Accounting::Zcdp => epsilon * epsilon / 2.0, // float: comparison with opendp's map
    };
    Ok(costs <= loss as f64 / 1e9 * SLACK) // float: comparison with opendp's map
}

#[expect(clippy::cast_precision_loss, reason = "the integers are compared exactly elsewhere")]
fn map_gaussian(
    gaussian: &Gaussian,
    sensitivity: Sensitivity,
    loss: u64,
) -> Result<bool, NoiseError> {
    let l2 = (sensitivity.l2_squared as f64).sqrt(); // float: comparison with opendp's map
    Ok(gaussian.map(&l2).map_err(drawing)? <= loss as f64 / 1e9 * SLACK) // float: comparison with opendp's map
}

/// What a threshold costs by opendp's map of its own selection. That map takes the row at exactly
/// the threshold for hidden where its mechanism publishes it, so it is asked about one less. A
/// floor of k on the true number has moved the threshold by k − 1, which is no part of the price.
#[expect(clippy::cast_precision_loss, reason = "an integer compared with a rounded bound")]
fn check_threshold(
    selection: &Output,
    threshold: i64,
    raw_floor: Option<u32>,
    delta: u64,
) -> Result<(), NoiseError> {
    let Noise::Laplace { scale } = selection.noise else { return Ok(()) };
    let leaks = || NoiseError::Threshold { output: selection.name.to_string() };
    let shift = i64::from(raw_floor.unwrap_or(1).max(1));
    let below = threshold.checked_sub(shift).filter(|below| *below >= 1).ok_or_else(leaks)?;
    let twin: Measurement<_, _, Approximate<MaxDivergence>, _> = make_laplace_threshold(
        MapDomain::new(AtomDomain::<i64>::default(), AtomDomain::<i64>::default()),
        L01InfDistance::<AbsoluteDistance<i64>>::default(),
        scale.as_f64(), // float: exact
        below,
        None,
    )
    .map_err(drawing)?;
    let of = selection.sensitivity;
    let (_, leaked) = twin.map(&(of.l0, of.l1, of.linf)).map_err(drawing)?;
    let charged = delta.saturating_add(ROUNDED_ATTO * u64::from(of.l0));
    let charged = charged as f64 / 1e18; // float: comparison with opendp's map
    if leaked <= charged * SLACK { Ok(()) } else { Err(leaks()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, dyadic};
    use sluicegate_policies::release::{Late, What};

    #[test]
    fn noise_is_centred_on_the_value() {
        let mut sampler = OpenDp::default();
        for noise in
            [Noise::Laplace { scale: dyadic(1, 2) }, Noise::Gaussian { sigma: dyadic(1, 2) }]
        {
            let (n, at) = (4_000_i64, 1_000_000_i64);
            let sum: i64 = (0..n).map(|_| sampler.draw(noise, at).unwrap() - at).sum();
            assert!(sum.abs() < n / 10, "{noise:?}: {sum}");
        }
    }

    #[test]
    fn a_cost_that_opendp_confirms_is_taken_and_a_nano_less_is_not() {
        // ε = 6 / 24 exactly; ρ = 12 / (2 · 4²) exactly; ρ = (6/24)² / 2 exactly.
        for (accounting, noise, loss) in [
            (Accounting::Pure, Noise::Laplace { scale: dyadic(24, 1) }, 250_000_000),
            (Accounting::Zcdp, Noise::Gaussian { sigma: dyadic(4, 1) }, 375_000_000),
            (Accounting::Zcdp, Noise::Laplace { scale: dyadic(24, 1) }, 31_250_000),
        ] {
            let mut plan = testing::plan();
            plan.accounting = accounting;
            let output = testing::output("count", What::Count, noise, 6, 12, loss);
            plan.outputs = Box::new([output]);
            plan.cost.loss = loss;
            assert!(OpenDp::for_plan(&plan).is_ok(), "{noise:?}");

            plan.outputs[0].cost.loss = loss - 1;
            let refused = OpenDp::for_plan(&plan).err();
            assert!(matches!(refused, Some(NoiseError::CostsMore { .. })), "{refused:?}");

            plan.outputs[0].cost.loss = loss;
            plan.cost.loss = loss - 1;
            assert_eq!(OpenDp::for_plan(&plan).err(), Some(NoiseError::SumCostsMore));
        }
    }

    #[test]
    fn revisions_are_part_of_the_cost() {
        let mut plan = testing::plan();
        plan.schedule.late = Late::Revise { max: 2, after_ms: 1 };
        let noise = Noise::Laplace { scale: dyadic(24, 1) };
        plan.outputs = Box::new([testing::output("count", What::Count, noise, 6, 36, 750_000_000)]);
        plan.cost.loss = 750_000_000;
        assert!(OpenDp::for_plan(&plan).is_ok());
        plan.schedule.late = Late::Revise { max: 3, after_ms: 1 };
        let refused = OpenDp::for_plan(&plan).err();
        assert!(matches!(refused, Some(NoiseError::CostsMore { .. })), "{refused:?}");
    }

    /// s = 4, L0 = 2: T = 85 costs 8.5255e-10, and 84 more than 1e-9.
    #[test]
    fn a_threshold_that_leaks_more_than_it_costs_is_refused() {
        let mut plan = testing::plan();
        let noise = Noise::Laplace { scale: dyadic(4, 1) };
        let mut output = testing::output("subjects", What::Subjects, noise, 2, 2, 500_000_000);
        output.sensitivity.l0 = 2;
        output.sensitivity.linf = 1;
        output.cost.delta = 1_000_000_000;
        plan.cost = output.cost;
        plan.outputs = Box::new([output]);
        for (threshold, floor, delta, kept) in [
            (85, None, 1_000_000_000, true),
            (84, None, 1_000_000_000, false),
            (85, None, 852_560_000, true),
            (85, None, 852_540_000, false),
            (104, Some(20), 1_000_000_000, true),
            (85, Some(20), 1_000_000_000, false),
            (1, None, 1_000_000_000, false),
        ] {
            plan.keys = testing::unknown(threshold, floor);
            plan.outputs[0].cost.delta = delta;
            let verdict = OpenDp::for_plan(&plan).err();
            let expected = (!kept).then(|| NoiseError::Threshold { output: "subjects".into() });
            assert_eq!(verdict, expected, "{threshold} {floor:?} {delta}");
        }
        plan.keys = testing::unknown(200, None);
        plan.cost.delta -= 1;
        plan.outputs[0].cost.delta = 1_000_000_000;
        assert_eq!(OpenDp::for_plan(&plan).err(), Some(NoiseError::SumCostsMore));
    }

    /// The two checks of a cost are told apart: each refuses alone.
    #[test]
    fn opendps_map_refuses_by_itself() {
        let sensitivity = Sensitivity { l0: 1, l1: 6, l2_squared: 12, linf: 6 };
        let mut opendp = OpenDp::default();
        let laplace = opendp.laplace_of(dyadic(24, 1)).unwrap();
        for (loss, enough) in [(250_000_000, true), (249_999_999, false)] {
            let says = map_laplace(laplace, sensitivity, loss, Accounting::Pure).unwrap();
            assert_eq!(says, enough);
            assert_eq!(costs_epsilon(sensitivity, dyadic(24, 1), loss), enough);
        }
        let gaussian = opendp.gaussian_of(dyadic(4, 1)).unwrap();
        for (loss, enough) in [(375_000_000, true), (374_999_999, false)] {
            assert_eq!(map_gaussian(gaussian, sensitivity, loss).unwrap(), enough);
            assert_eq!(costs_rho(12, dyadic(4, 1), loss), enough);
        }
    }

    #[test]
    fn impossible_plans_are_refused() {
        let mut plan = testing::plan();
        plan.accounting = Accounting::Pure;
        let gaussian = Noise::Gaussian { sigma: dyadic(4, 1) };
        plan.outputs = Box::new([testing::output("count", What::Count, gaussian, 1, 1, u64::MAX)]);
        let refused = OpenDp::for_plan(&plan).err();
        assert!(matches!(refused, Some(NoiseError::GaussianInPure { .. })), "{refused:?}");

        for scale in [Dyadic(0), Dyadic(1 << 53)] {
            plan.outputs[0].noise = Noise::Laplace { scale };
            let refused = OpenDp::for_plan(&plan).err();
            assert!(matches!(refused, Some(NoiseError::Scale { .. })), "{refused:?}");
        }
    }

    #[test]
    fn opendp_saturates_in_silence_so_large_totals_are_refused_before() {
        let mut sampler = OpenDp::default();
        let huge = dyadic(1 << 32, 1);
        let drawn: Vec<i64> = (0..64).map(|_| sampler.laplace(huge, i64::MAX).unwrap()).collect();
        assert!(drawn.contains(&i64::MAX), "half of the draws pass the end");

        let noise = Noise::Laplace { scale: dyadic(1, 1) };
        assert!(sampler.draw(noise, TOTAL_MAX).is_ok());
        assert!(sampler.draw(noise, -TOTAL_MAX).is_ok());
        for total in [TOTAL_MAX + 1, i64::MAX, i64::MIN] {
            assert_eq!(sampler.draw(noise, total), Err(NoiseError::TotalTooLarge));
        }
    }

    #[test]
    fn wide_products() {
        assert_eq!(product(u128::MAX, u128::MAX), (u128::MAX - 1, 1));
        assert_eq!(product(1 << 100, 1 << 100), (1 << 72, 0));
        assert_eq!(product(7, 6), (0, 42));
        assert_eq!(product(u128::MAX, 2), (1, u128::MAX - 1));
    }
}
