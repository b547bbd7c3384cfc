//! Numbers by their digits: buckets, bounds, coordinates. `digits · 10^-scale` in 128 bits.
//!
//! Must never go through floating point, and never let a number pass that it cannot hold: that
//! is `None`.

use std::{cmp::Ordering, fmt::Write};

use sluicegate_policies::{Decimal, Geo};

use super::rewrite::{Form, Input};

/// Decimal places, before and after which a number is out of range.
const SCALE_MAX: u32 = 36;
/// Digits of a coordinate's degrees: 180 either way.
const DEGREES_MAX: i128 = 180;
const LATITUDE_MAX: i128 = 90;
/// A geohash of so many characters is exact to less than a millimetre.
const GEOHASH_CHARS_MAX: usize = 22;

/// A number in units of `10^-scale`, rounded towards minus infinity; numbers beyond 64 bits are
/// the nearest that fits.
pub(crate) fn fixed_point(text: &str, scale: u32) -> Option<i64> {
    let exact = Exact::parse(text.trim())?.floor_at_scale(scale)?;
    Some(i64::try_from(exact).unwrap_or(if exact < 0 { i64::MIN } else { i64::MAX }))
}

#[derive(Clone, Copy)]
pub(super) struct Exact {
    digits: i128,
    scale: u32,
}

impl Exact {
    /// A number in JSON's grammar; a string has to hold nothing else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        if whole.is_empty() || (whole.len() > 1 && whole.starts_with('0')) {
            return None;
        }
        let digits = whole.bytes().chain(fraction.bytes()).try_fold(0i128, |n, b| {
            let digit = b.is_ascii_digit().then(|| i128::from(b - b'0'))?;
            n.checked_mul(10)?.checked_add(digit)
        })?;
        let digits = if negative { -digits } else { digits };
        let scale = i64::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        if digits == 0 {
            return Some(Self {
                digits: 0,
                scale: u32::try_from(scale.max(0)).ok()?.min(SCALE_MAX),
            });
        }
        match u32::try_from(scale) {
            Ok(scale) if scale <= SCALE_MAX => Some(Self { digits, scale }),
            Ok(_) => None,
            Err(_) => {
                let up = u32::try_from(-scale).ok().filter(|up| *up <= SCALE_MAX)?;
                Some(Self { digits: digits.checked_mul(10i128.checked_pow(up)?)?, scale: 0 })
            }
        }
    }

    pub(super) fn new(digits: i128, scale: u32) -> Self {
        Self { digits, scale }
    }

    /// In units of `10^-scale`, a half rounded up; what is too large is the largest there is.
    pub(super) fn units(self, scale: u32) -> Option<i128> {
        match self.scale.checked_sub(scale) {
            Some(cut) => {
                let unit = 10i128.checked_pow(cut)?;
                let (whole, rest) = (self.digits.div_euclid(unit), self.digits.rem_euclid(unit));
                Some(whole + i128::from(rest >= unit - rest))
            }
            None => Some(self.at_scale(scale).unwrap_or(if self.digits < 0 {
                i128::MIN
            } else {
                i128::MAX
            })),
        }
    }

    fn of(decimal: Decimal) -> Self {
        Self { digits: i128::from(decimal.digits), scale: u32::from(decimal.scale) }
    }

    /// The value in units of `10^-scale`, rounded towards minus infinity.
    fn floor_at_scale(self, scale: u32) -> Option<i128> {
        match self.scale.checked_sub(scale) {
            Some(down) => Some(self.digits.div_euclid(10i128.checked_pow(down)?)),
            None => self.at_scale(scale),
        }
    }

    /// The value in units of `10^-scale`, if that is exact.
    fn at_scale(self, scale: u32) -> Option<i128> {
        self.digits.checked_mul(10i128.checked_pow(scale.checked_sub(self.scale)?)?)
    }

    fn compare(self, other: Self) -> Option<Ordering> {
        let scale = self.scale.max(other.scale);
        Some(self.at_scale(scale)?.cmp(&other.at_scale(scale)?))
    }

    /// The number as an integer, if it is one.
    pub(super) fn integer(self) -> Option<i128> {
        let unit = 10i128.checked_pow(self.scale)?;
        (self.digits % unit == 0).then_some(self.digits / unit)
    }

    /// Towards zero; a negative number that becomes zero loses its sign.
    fn truncate(self, places: u32) -> Option<Self> {
        let Some(cut) = self.scale.checked_sub(places) else { return Some(self) };
        Some(Self { digits: self.digits / 10i128.checked_pow(cut)?, scale: places })
    }

    pub(super) fn write(self, out: &mut String) -> Option<()> {
        let unit = 10u128.checked_pow(self.scale)?;
        let magnitude = self.digits.unsigned_abs();
        let sign = if self.digits < 0 { "-" } else { "" };
        write!(out, "{sign}{}", magnitude / unit).ok()?;
        if self.scale > 0 {
            write!(out, ".{:0width$}", magnitude % unit, width = self.scale as usize).ok()?;
        }
        Some(())
    }
}

fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse::<i32>().ok().map(i64::from)
}

/// `lo-hi`, both with the decimal places of the width.
pub(super) fn bucket(width: Decimal, input: Input<'_>, out: &mut String) -> Option<Form> {
    let (value, width) = (Exact::parse(input.text)?, Exact::of(width));
    let scale = value.scale.max(width.scale);
    let step = width.at_scale(scale).filter(|step| *step > 0)?;
    let number = value.at_scale(scale)?.div_euclid(step);
    let low = number.checked_mul(width.digits)?;
    Exact { digits: low, ..width }.write(out)?;
    out.push('-');
    Exact { digits: low.checked_add(width.digits)?, ..width }.write(out)?;
    Some(Form::Text)
}

pub(super) fn edges(edges: &[Decimal], input: Input<'_>, out: &mut String) -> Option<Form> {
    let value = Exact::parse(input.text)?;
    let mut below = None;
    for edge in edges.iter().map(|e| Exact::of(*e)) {
        if value.compare(edge)? == Ordering::Less {
            match below {
                None => out.push('<'),
                Some(low) => {
                    Exact::write(low, out)?;
                    out.push('-');
                }
            }
            edge.write(out)?;
            return Some(Form::Text);
        }
        below = Some(edge);
    }
    below?.write(out)?;
    out.push('+');
    Some(Form::Text)
}

pub(super) fn bound(
    bottom: Option<Decimal>,
    top: Option<Decimal>,
    input: Input<'_>,
    out: &mut String,
) -> Option<Form> {
    let value = Exact::parse(input.text)?;
    for (limit, beyond) in [(bottom, Ordering::Less), (top, Ordering::Greater)] {
        let Some(limit) = limit.map(Exact::of) else { continue };
        if value.compare(limit)? == beyond {
            limit.write(out)?;
            return Some(Form::like(input));
        }
    }
    Some(Form::Same)
}

/// A coordinate, a pair of them, or a geohash.
pub(super) fn geo(geo: Geo, input: Input<'_>, out: &mut String) -> Option<Form> {
    match geo {
        Geo::Geohash(keep) if input.quoted => {
            geohash(usize::from(keep), input.text, out).then_some(Form::Text)
        }
        Geo::Geohash(_) => None,
        Geo::Decimals(places) => {
            match input.text.split_once(',') {
                Some((lat, lon)) => {
                    coordinate(lat.trim_ascii(), places, LATITUDE_MAX, out)?;
                    out.push(',');
                    coordinate(lon.trim_ascii(), places, DEGREES_MAX, out)?;
                }
                None => coordinate(input.text, places, DEGREES_MAX, out)?,
            }
            Some(Form::like(input))
        }
    }
}

fn coordinate(text: &str, places: u8, limit: i128, out: &mut String) -> Option<()> {
    let value = Exact::parse(text)?;
    let limit = Exact { digits: limit, scale: 0 };
    let magnitude = Exact { digits: value.digits.checked_abs()?, ..value };
    if magnitude.compare(limit)? == Ordering::Greater {
        return None;
    }
    value.truncate(u32::from(places))?.write(out)
}

fn geohash(keep: usize, text: &str, out: &mut String) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() && !b"ailoAILO".contains(&b);
    if text.is_empty() || text.len() > GEOHASH_CHARS_MAX || !text.bytes().all(fits) {
        return false;
    }
    out.extend(text.chars().take(keep));
    true
}
