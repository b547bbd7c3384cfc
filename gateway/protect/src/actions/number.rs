//! Numbers made coarser: buckets, bounds, coordinates.
//!
//! Must never let a number pass that cannot be told exactly: that is `None`. What a number is,
//! whatever its spelling, is [`Number`]'s business.

use std::{cmp::Ordering, fmt::Write};

use sluicegate_policies::{Decimal, Geo, number::Number};

use super::value::{Form, Input};

const LONGITUDE_MAX: i64 = 180;
const LATITUDE_MAX: i64 = 90;
/// A geohash of so many characters is exact to less than a millimetre.
const GEOHASH_CHARS_MAX: usize = 22;

/// A number in units of `10^-scale`, rounded towards minus infinity; numbers beyond 64 bits are
/// the nearest that fits.
pub fn fixed_point(text: &str, scale: u32) -> Option<i64> {
    let units = Number::parse(text.trim())?.floor(scale);
    Some(i64::try_from(units).unwrap_or(if units < 0 { i64::MIN } else { i64::MAX }))
}

/// `units · 10^-scale`, with all its decimal places.
pub(crate) fn write_fixed(units: i128, scale: u32, out: &mut String) -> Option<()> {
    let unit = 10u128.checked_pow(scale)?;
    let magnitude = units.unsigned_abs();
    let sign = if units < 0 { "-" } else { "" };
    write!(out, "{sign}{}", magnitude / unit).ok()?;
    if scale > 0 {
        write!(out, ".{:0width$}", magnitude % unit, width = scale as usize).ok()?;
    }
    Some(())
}

fn write(decimal: Decimal, out: &mut String) -> Option<()> {
    write_fixed(decimal.digits.into(), decimal.scale.into(), out)
}

/// `lo-hi`, both with the decimal places of the width.
pub(crate) fn bucket(width: Decimal, input: Input<'_>, out: &mut String) -> Option<Form> {
    let (step, scale) = (i128::from(width.digits), u32::from(width.scale));
    if step <= 0 {
        return None;
    }
    let low = Number::parse(input.text)?.floor(scale).div_euclid(step).checked_mul(step)?;
    let high = low.checked_add(step)?;
    write_fixed(low, scale, out)?;
    out.push('-');
    write_fixed(high, scale, out)?;
    Some(Form::Text)
}

pub(crate) fn edges(edges: &[Decimal], input: Input<'_>, out: &mut String) -> Option<Form> {
    let value = Number::parse(input.text)?;
    let mut below = None;
    for edge in edges {
        if value.compare(*edge) == Ordering::Less {
            match below {
                None => out.push('<'),
                Some(low) => {
                    write(low, out)?;
                    out.push('-');
                }
            }
            write(*edge, out)?;
            return Some(Form::Text);
        }
        below = Some(*edge);
    }
    write(below?, out)?;
    out.push('+');
    Some(Form::Text)
}

pub(crate) fn bound(
    bottom: Option<Decimal>,
    top: Option<Decimal>,
    input: Input<'_>,
    out: &mut String,
) -> Option<Form> {
    let value = Number::parse(input.text)?;
    for (limit, beyond) in [(bottom, Ordering::Less), (top, Ordering::Greater)] {
        let Some(limit) = limit else { continue };
        if value.compare(limit) == beyond {
            write(limit, out)?;
            return Some(Form::like(input));
        }
    }
    Some(Form::Same)
}

/// A coordinate, a pair of them, or a geohash.
pub(crate) fn geo(geo: Geo, input: Input<'_>, out: &mut String) -> Option<Form> {
    match geo {
        Geo::Geohash(keep) if input.quoted => {
            geohash(usize::from(keep), input.text, out).then_some(Form::Text)
        }
        Geo::Geohash(_) => None,
        Geo::Decimals(places) => {
            match input.text.split_once(',') {
                Some((lat, lon)) => pair(lat, lon, places, out)?,
                None => coordinate(input.text, places, LONGITUDE_MAX, out)?,
            }
            Some(Form::like(input))
        }
    }
}

/// `48,123` may be two coordinates, or one with a decimal comma. It is a pair if a space follows
/// the comma or a point is in one of the two; and so it is written.
fn pair(lat: &str, lon: &str, places: u8, out: &mut String) -> Option<()> {
    let spaced = lon.starts_with(|c: char| c.is_ascii_whitespace());
    if !(spaced || lat.contains('.') || lon.contains('.')) {
        return None;
    }
    coordinate(lat.trim_ascii(), places, LATITUDE_MAX, out)?;
    let comma = out.len();
    coordinate(lon.trim_ascii(), places, LONGITUDE_MAX, out)?;
    out.insert_str(comma, if out.contains('.') { "," } else { ", " });
    Some(())
}

fn coordinate(text: &str, places: u8, limit: i64, out: &mut String) -> Option<()> {
    let value = Number::parse(text)?;
    let beyond = |digits, side| value.compare(Decimal { digits, scale: 0 }) == side;
    if beyond(limit, Ordering::Greater) || beyond(-limit, Ordering::Less) {
        return None;
    }
    let (mut units, mut scale) = (value.truncate(places.into()), u32::from(places));
    while scale > 0 && units % 10 == 0 {
        (units, scale) = (units / 10, scale - 1);
    }
    write_fixed(units, scale, out)
}

/// All digits may be a coordinate without its point, and letters of both cases are no geohash.
fn geohash(keep: usize, text: &str, out: &mut String) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() && !b"ailoAILO".contains(&b);
    let (upper, lower) = (
        text.contains(|c: char| c.is_ascii_uppercase()),
        text.contains(|c: char| c.is_ascii_lowercase()),
    );
    if text.len() > GEOHASH_CHARS_MAX || !text.bytes().all(fits) || upper == lower {
        return false;
    }
    out.extend(text.chars().take(keep));
    true
}
