//! Exponential smoothing of what was released, in fixed point. Post-processing: it sees noisy
//! rows and earlier smoothed ones, never a total, so it costs nothing.
//!
//! A key that a pane did not publish leaves the state, and starts again when it comes back: the
//! state is never more than the rows of one pane, and is read back from that pane's messages.

use std::{collections::BTreeMap, sync::Arc};

use sluicegate_policies::release::Smoothing;

use super::Noisy;

/// Decimal places of a smoothed value beyond those of the output.
pub const PLACES: u8 = 3;
const UNIT: i128 = 1_000;

/// Smoothed values by key, in the order of the outputs, in units of 10⁻³ of the output's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Smoothed {
    pub by_key: BTreeMap<Arc<str>, Vec<i128>>,
}

/// The rows of this pane, smoothed with those of the pane before. Without one, or for a key that
/// it did not have, the released value itself.
pub fn smooth(smoothing: Smoothing, before: Option<&Smoothed>, noisy: &Noisy) -> Smoothed {
    let by_key = noisy.rows.iter().map(|row| {
        let old = before.and_then(|b| b.by_key.get(&row.key));
        let value = |(at, released): (usize, &i64)| {
            let released = i128::from(*released) * UNIT;
            let old = old.and_then(|o| o.get(at));
            old.map_or(released, |old| step(smoothing, *old, released))
        };
        (row.key.clone(), row.values.iter().enumerate().map(value).collect())
    });
    Smoothed { by_key: by_key.collect() }
}

/// `old + (released − old) · numerator / denominator`, to the nearest, halves upwards.
fn step(smoothing: Smoothing, old: i128, released: i128) -> i128 {
    let denominator = i128::from(smoothing.denominator.max(1));
    let numerator = i128::from(smoothing.numerator).min(denominator);
    // A smoothed value lies between released ones, so within 64 + 10 bits; this needs 32 more. A
    // value that was read back from elsewhere may lie anywhere: then it saturates.
    let moved = released.saturating_sub(old).saturating_mul(2 * numerator);
    old.saturating_add(moved.saturating_add(denominator).div_euclid(2 * denominator))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noisy;

    const QUARTER: Smoothing = Smoothing { numerator: 1, denominator: 4 };

    fn of(rows: &[(&str, &[i64])], before: Option<&Smoothed>) -> Smoothed {
        smooth(QUARTER, before, &noisy(rows))
    }

    #[test]
    fn a_quarter_of_the_way_each_pane() {
        let first = of(&[("a", &[100, -8])], None);
        assert_eq!(first.by_key["a"], [100_000, -8_000]);
        let second = of(&[("a", &[200, 8])], Some(&first));
        assert_eq!(second.by_key["a"], [125_000, -4_000]);
        let third = of(&[("a", &[200, 8])], Some(&second));
        assert_eq!(third.by_key["a"], [143_750, -1_000]);
    }

    #[test]
    fn thousandths_are_rounded_to_the_nearest() {
        for (old, released, new) in
            [(0, 1, 0), (0, 2, 1), (0, 3, 1), (0, -1, 0), (0, -2, 0), (0, -3, -1), (0, 5, 1)]
        {
            assert_eq!(step(QUARTER, old, released), new, "{old} → {released}");
        }
    }

    #[test]
    fn a_key_that_was_away_starts_again() {
        let first = of(&[("a", &[100]), ("b", &[7])], None);
        let second = of(&[("b", &[7])], Some(&first));
        assert_eq!(second.by_key.len(), 1);
        let third = of(&[("a", &[0])], Some(&second));
        assert_eq!(third.by_key["a"], [0]);
    }

    #[test]
    fn the_ends_of_the_range_do_not_overflow() {
        let far = of(&[("a", &[i64::MAX])], Some(&of(&[("a", &[i64::MIN])], None)));
        assert!(far.by_key["a"][0] < 0);
        let absurd = Smoothed { by_key: [("a".into(), vec![i128::MIN])].into() };
        of(&[("a", &[i64::MAX])], Some(&absurd));
        step(Smoothing { numerator: 9, denominator: 0 }, i128::MAX, i128::MIN);
    }
}
