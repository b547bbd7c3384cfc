//! From raw totals to noisy rows: which keys a pane publishes, and with what numbers.
//!
//! INVARIANT: with unknown keys the noisy number of subjects is drawn once; it decides, and it is
//! what is published. A key without a true subject never enters, whatever the noise.

use std::sync::Arc;

use sluicegate_policies::release::{Keys, Output, ReleasePlan, What};

use super::{
    Noisy, NoisyRow,
    noise::{NoiseError, Sampler},
};
use crate::window::Totals;

/// Noises the totals of one pane. Call it once for a pane: a second call is a second release.
pub fn noise(
    plan: &ReleasePlan,
    totals: &Totals,
    sampler: &mut impl Sampler,
) -> Result<Noisy, NoiseError> {
    let rows = match &plan.keys {
        Keys::Whole => fixed(plan, totals, &[Arc::from("")], sampler)?,
        Keys::Public { values, .. } => fixed(plan, totals, values, sampler)?,
        Keys::Unknown { threshold, raw_floor, .. } => {
            let floor = raw_floor.map_or(1, |k| i64::from(k).max(1));
            selected(plan, totals, *threshold, floor, sampler)?
        }
    };
    Ok(Noisy { rows })
}

/// These rows and no others, zero where nothing came in.
fn fixed(
    plan: &ReleasePlan,
    totals: &Totals,
    keys: &[Arc<str>],
    sampler: &mut impl Sampler,
) -> Result<Vec<NoisyRow>, NoiseError> {
    let nothing = vec![0; plan.outputs.len()];
    let row = |key: &Arc<str>| {
        let raw = totals.by_key.get(key).unwrap_or(&nothing);
        let mut values = Vec::with_capacity(raw.len());
        for (output, total) in paired(plan, raw)? {
            values.push(sampler.draw(output.noise, *total)?);
        }
        Ok(NoisyRow { key: key.clone(), values })
    };
    keys.iter().map(row).collect()
}

/// The rows whose noisy number of subjects reaches the threshold, and whose true one the floor.
fn selected(
    plan: &ReleasePlan,
    totals: &Totals,
    threshold: i64,
    floor: i64,
    sampler: &mut impl Sampler,
) -> Result<Vec<NoisyRow>, NoiseError> {
    let Some(Output { what: What::Subjects, noise: selection, .. }) = plan.outputs.first() else {
        return Err(NoiseError::NothingSelects);
    };
    let mut rows = Vec::new();
    for (key, raw) in &totals.by_key {
        let mut outputs = paired(plan, raw)?;
        let subjects = outputs.next().map_or(0, |(_, total)| *total);
        if subjects < floor {
            continue;
        }
        let noisy = sampler.draw(*selection, subjects)?;
        if noisy < threshold {
            continue;
        }
        let mut values = Vec::with_capacity(raw.len());
        values.push(noisy);
        for (output, total) in outputs {
            values.push(sampler.draw(output.noise, *total)?);
        }
        rows.push(NoisyRow { key: key.clone(), values });
    }
    Ok(rows)
}

fn paired<'a>(
    plan: &'a ReleasePlan,
    raw: &'a [i64],
) -> Result<impl Iterator<Item = (&'a Output, &'a i64)>, NoiseError> {
    if raw.len() != plan.outputs.len() {
        return Err(NoiseError::Shape { expected: plan.outputs.len(), got: raw.len() });
    }
    Ok(plan.outputs.iter().zip(raw))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        noise::TOTAL_MAX,
        testing::{self, Scripted, totals},
    };

    #[test]
    fn whole_is_one_row_with_or_without_data() {
        let plan = testing::plan();
        let noisy = noise(&plan, &totals(&[("", &[3, 5, 70])]), &mut Scripted::adding(&[1, 2, 3]));
        assert_eq!(testing::rows(&noisy.unwrap()), [("", vec![4, 7, 73])]);
        let noisy = noise(&plan, &totals(&[]), &mut Scripted::adding(&[1, -2, 3]));
        assert_eq!(testing::rows(&noisy.unwrap()), [("", vec![1, -2, 3])]);
    }

    #[test]
    fn public_keys_come_in_the_plans_order_and_nothing_else_does() {
        let mut plan = testing::plan();
        plan.keys = testing::public(&["z", "a"]);
        let totals = totals(&[("a", &[1, 2, 3]), ("not-listed", &[9, 9, 9])]);
        let noisy = noise(&plan, &totals, &mut Scripted::adding(&[0; 6])).unwrap();
        assert_eq!(testing::rows(&noisy), [("z", vec![0, 0, 0]), ("a", vec![1, 2, 3])]);
    }

    #[test]
    fn unknown_keys_are_selected_by_the_number_that_is_published() {
        let mut plan = testing::plan();
        plan.keys = testing::unknown(10, None);
        let totals = totals(&[
            ("below", &[9, 100, 100]),
            ("reached", &[9, 100, 100]),
            ("empty", &[0, 0, 0]),
            ("above", &[20, 100, 100]),
        ]);
        // In the order of keys: above (3 draws), below (1), empty (none), reached (3).
        let mut sampler = Scripted::adding(&[-10, 1, 2, 0, 1, 3, 4]);
        let noisy = noise(&plan, &totals, &mut sampler).unwrap();
        assert_eq!(
            testing::rows(&noisy),
            [("above", vec![10, 101, 102]), ("reached", vec![10, 103, 104])]
        );
        assert_eq!(sampler.left(), 0, "each number is drawn once, and only for what is published");
    }

    #[test]
    fn a_raw_floor_must_be_reached_too() {
        let mut plan = testing::plan();
        plan.keys = testing::unknown(10, Some(5));
        let totals = totals(&[("four", &[4, 1, 1]), ("five", &[5, 1, 1])]);
        let noisy = noise(&plan, &totals, &mut Scripted::adding(&[100, 0, 0])).unwrap();
        assert_eq!(testing::rows(&noisy), [("five", vec![105, 1, 1])]);
    }

    #[test]
    fn what_does_not_fit_refuses() {
        let plan = testing::plan();
        let short = noise(&plan, &totals(&[("", &[1])]), &mut Scripted::adding(&[0; 9]));
        assert_eq!(short.err(), Some(NoiseError::Shape { expected: 3, got: 1 }));
        let large = totals(&[("", &[1, 1, TOTAL_MAX + 1])]);
        let large = noise(&plan, &large, &mut Scripted::adding(&[0; 9]));
        assert_eq!(large.err(), Some(NoiseError::TotalTooLarge));

        let mut plan = testing::plan();
        plan.keys = testing::unknown(10, None);
        plan.outputs = plan.outputs[1..].into();
        let unselected = noise(&plan, &totals(&[("a", &[1, 1])]), &mut Scripted::adding(&[0; 9]));
        assert_eq!(unselected.err(), Some(NoiseError::NothingSelects));
    }
}
