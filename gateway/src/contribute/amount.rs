//! A summed number by its digits, in units of a sum. Never through floating point.

/// Digits of a number in units; with more of them it is the largest there is.
const DIGITS_MAX: i64 = 37;
/// Larger than any number of so many digits.
const LARGEST: i128 = 10_i128.pow(37);

/// A number in JSON's grammar, perhaps as a text with space around it, in units of `10^-scale`:
/// rounded half up, and what has more than [`DIGITS_MAX`] digits is the largest of its sign. Every
/// number that JSON can write has a value; what is no number is none.
pub(crate) fn amount(text: &str, scale: u32) -> Option<i128> {
    let text = text.trim();
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, power(exponent)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    let digits = || whole.bytes().chain(fraction.bytes());
    if whole.is_empty()
        || (whole.len() > 1 && whole.starts_with('0'))
        || !digits().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let zeros = digits().take_while(|b| *b == b'0').count();
    // So many digits, behind leading zeros, stand before the point of the number in units.
    let point = i64::try_from(whole.len()).ok()?.saturating_add(exponent);
    let point = point.saturating_add(i64::from(scale)).saturating_sub(i64::try_from(zeros).ok()?);
    let mut rest = digits().skip(zeros).map(|b| i128::from(b - b'0')).peekable();
    if rest.peek().is_none() || point < 0 {
        return Some(0);
    }
    if point > DIGITS_MAX {
        return Some(if negative { -LARGEST } else { LARGEST });
    }
    let units = (0..point).fold(0_i128, |units, _| units * 10 + rest.next().unwrap_or(0));
    let first = rest.next().unwrap_or(0);
    // Up is towards plus infinity: half of a negative unit goes away.
    let more = if negative { first > 5 || (first == 5 && rest.any(|d| d > 0)) } else { first >= 5 };
    let units = units + i128::from(more);
    Some(if negative { -units } else { units })
}

/// An exponent of any size; what does not fit is the nearest.
fn power(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let far = if text.starts_with('-') { i64::MIN / 4 } else { i64::MAX / 4 };
    Some(text.parse::<i32>().map_or(far, i64::from))
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
