//! A JSON number as its value: exact and in decimal, whatever its spelling. `100`, `100.0` and
//! `1e2` are one number; `9007199254740993` and `9007199254740992` are two.
//!
//! Must never go through floating point, never take two numbers for one, and never do more work
//! than the spelling is long: `1e999999999` has one digit.

use std::{borrow::Cow, cmp::Ordering};

use crate::plan::Decimal;

/// Digits on either side of the point up to which a number is written without an exponent.
const PLAIN_DIGITS_MAX: usize = 40;
/// Digits of an exponent up to which one can reckon with it.
const EXPONENT_DIGITS_MAX: usize = 18;
/// Stands for any longer exponent: no other number's point is so far away.
const POINT_FAR: i64 = i64::MAX / 2;
/// Decimal digits that 128 bits may hold.
const UNITS_DIGITS_MAX: i64 = 39;

/// A number, read.
#[derive(Clone, Copy)]
pub struct Number<'a> {
    negative: bool,
    /// The significant digits as they stand before and behind the point: the first and the last
    /// of them all is not zero.
    whole: &'a str,
    fraction: &'a str,
    /// The value is `0.DIGITS · 10^point`.
    point: i64,
}

/// What is left of a number when its whole units are off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Nothing,
    BelowHalf,
    Half,
    AboveHalf,
}

/// The one spelling of a number's value, which is what every transform and comparison sees:
/// without a point or an exponent where it has no need of them, never `-0`. A number of more than
/// 40 digits on one side of the point is written as `1.5e300`. Whatever is no number, or has an
/// exponent of more than 18 digits, is its own spelling. Plain numbers cost nothing.
pub fn canonical(text: &str) -> Cow<'_, str> {
    if text.len() <= PLAIN_DIGITS_MAX && !text.contains(['e', 'E']) {
        let short = match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.'),
            false => text,
        };
        return Cow::Borrowed(if short == "-0" { "0" } else { short });
    }
    match Number::parse(text) {
        Some(number) if number.point.abs() < POINT_FAR / 2 => Cow::Owned(number.spelling()),
        _ => Cow::Borrowed(text),
    }
}

impl<'a> Number<'a> {
    /// A number in JSON's grammar and nothing else.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        let all_digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
        let padded = whole.len() > 1 && whole.starts_with('0');
        if whole.is_empty() || padded || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let behind = fraction.trim_end_matches('0');
        let (whole, fraction, point) = if whole == "0" {
            let digits = behind.trim_start_matches('0');
            ("", digits, i64::try_from(behind.len() - digits.len()).ok()?.checked_neg()?)
        } else {
            let point = i64::try_from(whole.len()).ok()?;
            let before = if behind.is_empty() { whole.trim_end_matches('0') } else { whole };
            (before, behind, point)
        };
        if whole.is_empty() && fraction.is_empty() {
            return Some(Self { negative: false, whole, fraction, point: 0 });
        }
        Some(Self { negative, whole, fraction, point: point.saturating_add(exponent) })
    }

    /// In units of `10^-scale`, rounded down. What is too large for 128 bits is the nearest that
    /// fits.
    pub fn floor(self, scale: u32) -> i128 {
        let (units, rest) = self.units(scale);
        self.signed(units, self.negative && rest != Rest::Nothing)
    }

    /// In units of `10^-scale`, a half rounded up; saturates like [`floor`](Self::floor).
    pub fn round(self, scale: u32) -> i128 {
        let (units, rest) = self.units(scale);
        let away = rest == Rest::AboveHalf || (rest == Rest::Half && !self.negative);
        self.signed(units, away)
    }

    /// In units of `10^-scale`, rounded towards zero; saturates like [`floor`](Self::floor).
    pub fn truncate(self, scale: u32) -> i128 {
        self.signed(self.units(scale).0, false)
    }

    pub fn compare(self, other: Decimal) -> Ordering {
        let (scale, digits) = (u32::from(other.scale), i128::from(other.digits));
        let beyond = || match self.units(scale).1 {
            Rest::Nothing => Ordering::Equal,
            _ => Ordering::Greater,
        };
        self.floor(scale).cmp(&digits).then_with(beyond)
    }

    fn signed(self, units: Option<i128>, one_more: bool) -> i128 {
        let magnitude = units.and_then(|u| u.checked_add(i128::from(one_more)));
        match (magnitude, self.negative) {
            (Some(units), false) => units,
            (Some(units), true) => -units,
            (None, false) => i128::MAX,
            (None, true) => i128::MIN,
        }
    }

    /// Of the magnitude. `None`: 128 bits do not hold it.
    fn units(self, scale: u32) -> (Option<i128>, Rest) {
        let mut digits = self.digits();
        let count = self.point.saturating_add(i64::from(scale));
        if self.len() == 0 || count < 0 {
            let rest = if self.len() == 0 { Rest::Nothing } else { Rest::BelowHalf };
            return (Some(0), rest);
        }
        if count > UNITS_DIGITS_MAX {
            return (None, Rest::Nothing);
        }
        let next = |units: i128, digit: u8| units.checked_mul(10)?.checked_add(digit.into());
        let units = (0..count).try_fold(0, |units, _| next(units, digits.next().unwrap_or(0)));
        let rest = match (digits.next(), digits.next()) {
            (None, _) => Rest::Nothing,
            (Some(5), None) => Rest::Half,
            (Some(5..), _) => Rest::AboveHalf,
            (Some(_), _) => Rest::BelowHalf,
        };
        (units, rest)
    }

    fn len(self) -> usize {
        self.whole.len() + self.fraction.len()
    }

    fn digits(self) -> impl Iterator<Item = u8> {
        self.whole.bytes().chain(self.fraction.bytes()).map(|b| b - b'0')
    }

    fn spelling(self) -> String {
        let (len, point) = (self.len() as i64, self.point);
        let digits = self.digits().map(|d| char::from(b'0' + d));
        let mut text = String::from(if self.negative { "-" } else { "" });
        let plain = 0..=PLAIN_DIGITS_MAX as i64;
        if len == 0 {
            text.push('0');
        } else if point <= 0 && len - point <= *plain.end() {
            text.push_str("0.");
            text.extend((point..0).map(|_| '0'));
            text.extend(digits);
        } else if plain.contains(&point) && len - point <= *plain.end() {
            for (place, digit) in (0..).zip(digits) {
                if place == point {
                    text.push('.');
                }
                text.push(digit);
            }
            text.extend((len..point).map(|_| '0'));
        } else {
            for (place, digit) in digits.enumerate() {
                if place == 1 {
                    text.push('.');
                }
                text.push(digit);
            }
            text.push_str(&format!("e{}", point.saturating_sub(1)));
        }
        text
    }
}

/// An exponent of any length: a longer one than can be reckoned with is [`POINT_FAR`].
fn read_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let significant = digits.trim_start_matches('0');
    let exponent = match significant.len() {
        0 => 0,
        1..=EXPONENT_DIGITS_MAX => significant.parse().ok()?,
        _ => POINT_FAR,
    };
    Some(if text.starts_with('-') { -exponent } else { exponent })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_spelling() {
        for (spellings, expected) in [
            (&["100", "100.0", "100.000", "1e2", "1E+2", "10.0e1", "1000e-1"][..], "100"),
            (&["0", "-0", "0.0", "-0.00", "0e9", "-0e-9", "0e9999999999999999999999"], "0"),
            (&["12.5", "12.50", "1.25e1", "125e-1", "0.125e2", "0.0125e+03"], "12.5"),
            (&["-0.001", "-1e-3", "-0.0010"], "-0.001"),
            (&["9007199254740993", "9007199254740993.0", "9.007199254740993e15"], {
                "9007199254740993"
            }),
            (&["9007199254740992"], "9007199254740992"),
            (&["1e400", "1E400", "10e399", "0.001e403", "1.0e+400"], "1e400"),
            (&["-1.5e-400", "-15e-401"], "-1.5e-400"),
            (&["1e999999999", "10e999999998"], "1e999999999"),
            (&["1e39", "0.1e40"], "1000000000000000000000000000000000000000"),
            (&["1e41"], "1e41"),
            // Not computed with, so that they are their spelling; no two numbers become one.
            (&["1e9999999999999999999"], "1e9999999999999999999"),
            (&["true"], "true"),
        ] {
            for spelling in spellings {
                assert_eq!(canonical(spelling), expected, "{spelling}");
            }
        }
        let long = |zeros: usize| format!("1{}.50", "0".repeat(zeros));
        assert_eq!(canonical(&long(39)), format!("1{}.5", "0".repeat(39)));
        assert_eq!(canonical(&long(40)), format!("1.{}5e40", "0".repeat(40)));
        let (many, same) = (format!("{}.0", "7".repeat(100_000)), "7".repeat(100_000));
        assert_eq!(canonical(&many), canonical(&same));
        for plain in ["12345", "12345.0", "-12.5"] {
            assert!(matches!(canonical(plain), Cow::Borrowed(_)), "{plain}");
        }
    }

    #[test]
    fn a_number_is_rounded_and_compared_exactly() {
        let number = |text| Number::parse(text).unwrap();
        for (text, scale, floor, round, truncate) in [
            ("2.5", 0, 2, 3, 2),
            ("-2.5", 0, -3, -2, -2),
            ("-2.51", 0, -3, -3, -2),
            ("0.05", 1, 0, 1, 0),
            ("0.049", 1, 0, 0, 0),
            ("-1e-400", 2, -1, 0, 0),
            ("1.5e2", 1, 1500, 1500, 1500),
            ("1e400", 0, i128::MAX, i128::MAX, i128::MAX),
            ("-1e999999999", 3, i128::MIN, i128::MIN, i128::MIN),
            ("1e99999999999999999999", 0, i128::MAX, i128::MAX, i128::MAX),
            ("-1e-99999999999999999999", 9, -1, 0, 0),
            ("170141183460469231731687303715884105727", 0, i128::MAX, i128::MAX, i128::MAX),
            ("9007199254740993", 0, 9007199254740993, 9007199254740993, 9007199254740993),
        ] {
            let n = number(text);
            let got = (n.floor(scale), n.round(scale), n.truncate(scale));
            assert_eq!(got, (floor, round, truncate), "{text} {scale}");
        }
        let edge = Decimal { digits: 655, scale: 1 };
        for (text, expected) in [
            ("65.5", Ordering::Equal),
            ("6550e-2", Ordering::Equal),
            ("65.50000000000000000000000000000000000000000001", Ordering::Greater),
            ("65.4999999999999999999999999999999999999999999", Ordering::Less),
            ("1e400", Ordering::Greater),
            ("-1e400", Ordering::Less),
            ("1e-400", Ordering::Less),
        ] {
            assert_eq!(number(text).compare(edge), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_not_read() {
        for text in
            ["", "-", "+1", "01", "1.", ".5", "1e", "1e+", "1,5", " 1", "0x1", "1_0", "NaN", "٣"]
        {
            assert!(Number::parse(text).is_none(), "{text}");
        }
    }
}
