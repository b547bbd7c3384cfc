//! A summed number, in units of a sum.

use sluicegate_policies::number::Number;

/// Larger than any number of 37 digits.
const LARGEST: i128 = 10_i128.pow(37);

/// A number in JSON's grammar, perhaps as a text with space around it, in units of `10^-scale`:
/// rounded half up, and what is beyond [`LARGEST`] is the largest of its sign. Every number that
/// JSON can write has a value; what is no number is none.
pub(crate) fn amount(text: &str, scale: u32) -> Option<i128> {
    Some(Number::parse(text.trim())?.round(scale).clamp(-LARGEST, LARGEST))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_rounded_half_up_and_the_largest_are_not_lost() {
        let table = [
            ("0.99", 0, 1),
            ("0.5", 0, 1),
            ("0.49999999999999999999999999999999999999999999999", 0, 0),
            ("-0.5", 0, 0),
            ("-0.50000000000000000000000000000000000000000000001", 0, -1),
            ("-0.04", 0, 0),
            ("-1.5", 0, -1),
            ("12.345", 2, 1_235),
            ("-12.345", 2, -1_234),
            (" 12.5 ", 1, 125),
            ("1e2", 0, 100),
            ("100000000000000000000000000000000000000000000e-43", 1, 100),
            ("0.000e999999999999", 3, 0),
            ("1e-400", 0, 0),
            ("9007199254740993", 0, 9_007_199_254_740_993),
        ];
        for (text, scale, units) in table {
            assert_eq!(amount(text, scale), Some(units), "{text}");
        }
        for text in ["1e400", "1e99999999999999999999"] {
            assert_eq!(amount(text, 0), Some(LARGEST), "{text}");
            assert_eq!(amount(&format!("-{text}"), 0), Some(-LARGEST), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in [
            "12,50", "1,250.00", "$12", "+12", ".5", "12.", "0012", "NaN", "true", "", "-", "1e",
            "1e+", "--1", "0x1", "1e2.5", "1 2", "Infinity",
        ] {
            assert_eq!(amount(text, 2), None, "{text}");
        }
    }

    proptest! {
        /// Against integers: half a unit is added, and the rest cut off below.
        #[test]
        fn rounding_is_that_of_integers(nano in -(1_i64 << 53)..(1_i64 << 53), scale in 0_u32..9) {
            let sign = if nano < 0 { "-" } else { "" };
            let (whole, part) = (nano.unsigned_abs() / 1_000_000_000, nano.unsigned_abs() % 1_000_000_000);
            let unit = 10_i128.pow(9 - scale);
            let meant = (2 * i128::from(nano) + unit).div_euclid(2 * unit);
            prop_assert_eq!(amount(&format!("{sign}{whole}.{part:09}"), scale), Some(meant));
        }
    }
}
