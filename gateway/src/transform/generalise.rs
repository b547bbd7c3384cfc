//! Dates, postal codes and addresses made coarser.
//!
//! Must never pass on a value that it does not understand, nor more of one than asked for: a
//! postal code that is not longer than what may be shown is hidden whole.

use std::{fmt::Write, net::IpAddr};

use sluicegate_policies::{DatePart, Generalise};

use super::{
    number::{self, Exact},
    rewrite::{Form, Input},
};

const DAY_MS: i128 = 86_400_000;
const HOUR_MS: i128 = 3_600_000;
const MINUTE_MS: i128 = 60_000;
/// No country's postal code is longer.
const ZIP_CHARS_MAX: usize = 16;

pub(super) fn generalise(how: &Generalise, input: Input<'_>, out: &mut String) -> Option<Form> {
    match how {
        Generalise::Date(part) if input.quoted => date(*part, input.text, out),
        Generalise::Date(part) => epoch_ms(*part, input.text, out),
        // A number has lost its leading zeros: what is left of it says more than was asked for.
        Generalise::Zip { keep } if input.quoted => zip(usize::from(*keep), input.text, out),
        Generalise::Zip { .. } => None,
        Generalise::Ip { v4, v6 } => ip(*v4, *v6, input.text, out),
        Generalise::Bucket { width } => number::bucket(*width, input, out),
        Generalise::Edges(edges) => number::edges(edges, input, out),
        Generalise::Bound { bottom, top } => number::bound(*bottom, *top, input, out),
    }
}

fn zip(keep: usize, text: &str, out: &mut String) -> Option<Form> {
    let code = || text.chars().filter(|c| !matches!(c, ' ' | '-'));
    let count = code().count();
    if count == 0 || count > ZIP_CHARS_MAX || !code().all(|c| c.is_ascii_alphanumeric()) {
        return None;
    }
    let shown = if count > keep { keep } else { 0 };
    out.extend(code().take(shown));
    out.extend(std::iter::repeat_n('*', count - shown));
    Some(Form::Text)
}

/// An IPv4 address in IPv6's clothes is an IPv4 address.
fn ip(v4: u8, v6: u8, text: &str, out: &mut String) -> Option<Form> {
    let address: IpAddr = text.parse().ok()?;
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let keep = v4.min(32);
            let mask = u32::MAX.checked_shl(32 - u32::from(keep)).unwrap_or(0);
            write!(out, "{}/{keep}", std::net::Ipv4Addr::from(u32::from(address) & mask)).ok()?;
        }
        IpAddr::V6(address) => {
            let keep = v6.min(128);
            let mask = u128::MAX.checked_shl(128 - u32::from(keep)).unwrap_or(0);
            write!(out, "{}/{keep}", std::net::Ipv6Addr::from(u128::from(address) & mask)).ok()?;
        }
    }
    Some(Form::Text)
}

/// Rounded down to the start of the part, in UTC; stays a number of milliseconds.
fn epoch_ms(part: DatePart, text: &str, out: &mut String) -> Option<Form> {
    let ms = Exact::parse(text)?.integer()?;
    let (year, month, _) = civil(ms.div_euclid(DAY_MS))?;
    let start = match part {
        DatePart::Hour => ms.div_euclid(HOUR_MS) * HOUR_MS,
        DatePart::Day => ms.div_euclid(DAY_MS) * DAY_MS,
        DatePart::Month => days(year, month, 1) * DAY_MS,
        DatePart::Quarter => days(year, (month - 1) / 3 * 3 + 1, 1) * DAY_MS,
        DatePart::Year => days(year, 1, 1) * DAY_MS,
    };
    write!(out, "{start}").ok()?;
    Some(Form::Literal)
}

/// A date, or a date-time, which is first brought to UTC, so that one instant gives one text
/// however it is spelt. An hour is written as `2024-05-17T11:00:00Z`; a date has none.
fn date(part: DatePart, text: &str, out: &mut String) -> Option<Form> {
    let (date, time) = match text.split_at_checked(10)? {
        (date, "") => (date, None),
        (date, time) => (date, Some(time)),
    };
    let [year, month, day] = fields(date, "-", [4, 2, 2])?;
    if !(1..=12).contains(&month) || !(1..=month_days(year, month)).contains(&day) {
        return None;
    }
    let minutes = match time {
        Some(time) => Some(minutes_utc(time)?),
        None => None,
    };
    let instant = days(year, month, day) * DAY_MS + minutes.unwrap_or(0) * MINUTE_MS;
    let (year, month, day) = civil(instant.div_euclid(DAY_MS))?;
    let written = match part {
        DatePart::Year => write!(out, "{year:04}"),
        DatePart::Quarter => write!(out, "{year:04}-Q{}", (month - 1) / 3 + 1),
        DatePart::Month => write!(out, "{year:04}-{month:02}"),
        DatePart::Day => write!(out, "{year:04}-{month:02}-{day:02}"),
        DatePart::Hour => {
            minutes?;
            let hour = instant.rem_euclid(DAY_MS) / HOUR_MS;
            write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:00:00Z")
        }
    };
    written.ok()?;
    Some(Form::Text)
}

/// `Thh:mm:ss[.fraction]` and an offset, as minutes of the day in UTC: less than 0 and more than
/// 1439 are the days before and after.
fn minutes_utc(text: &str) -> Option<i128> {
    let text = text.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = text.split_at_checked(8)?;
    let [hour, minute, second] = fields(clock, ":", [2, 2, 2])?;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => {
            let offset = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if offset.len() == fraction.len() {
                return None;
            }
            offset
        }
        None => rest,
    };
    let offset = match rest.split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        (sign @ ("+" | "-"), offset) => {
            let [hours, minutes] = fields(offset, ":", [2, 2])?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = hours * 60 + minutes;
            if sign == "+" { offset } else { -offset }
        }
        _ => return None,
    };
    Some(hour * 60 + minute - offset)
}

/// Numbers of exactly so many digits between separators, and nothing else.
fn fields<const N: usize>(text: &str, separator: &str, widths: [usize; N]) -> Option<[i128; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

fn month_days(year: i128, month: i128) -> i128 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a day in the proleptic Gregorian calendar. Years start in March, so
/// that the leap day is the last.
fn days(year: i128, month: i128, day: i128) -> i128 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The other way; years 0 to 9999, as RFC 3339 has them.
fn civil(days: i128) -> Option<(i128, i128, i128)> {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + i128::from(month <= 2);
    (0..=9999).contains(&year).then_some((year, month, day))
}
