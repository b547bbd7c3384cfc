//! Dates, postal codes and addresses made coarser.
//!
//! Must never pass on a value that it does not understand, nor more of one than asked for: a
//! postal code that is not longer than what may be shown is hidden whole.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use sluicegate_policies::{DatePart, EventUnit, Generalize, number::Number};

use super::{
    number,
    value::{Form, Input},
};

const DAY_MINUTES: i128 = 1_440;
const DAY_SECONDS: i128 = 86_400;
const HOUR_SECONDS: i128 = 3_600;
/// NAT64 prefixes of a network's own choice lie below `64:ff9b:1::/48` (RFC 8215): where in the
/// rest the IPv4 address stands, the network knows.
const LOCAL_NAT64_BITS: u8 = 48;
/// No country's postal code is longer.
const ZIP_CHARS_MAX: usize = 16;

pub(crate) fn generalize(how: &Generalize, input: Input<'_>, out: &mut String) -> Option<Form> {
    match how {
        Generalize::Date { part, .. } if input.quoted => date(*part, input.text, out),
        Generalize::Date { part, unit } => epoch(*part, *unit, input.text, out),
        // A number has lost its leading zeros: what is left of it says more than was asked for.
        Generalize::PostalCode { keep } if input.quoted => zip(usize::from(*keep), input.text, out),
        Generalize::PostalCode { .. } => None,
        Generalize::Ip { v4, v6 } => ip(*v4, *v6, input.text, out),
        Generalize::Bucket { width } => number::bucket(*width, input, out),
        Generalize::Edges(edges) => number::edges(edges, input, out),
        Generalize::Bound { bottom, top } => number::bound(*bottom, *top, input, out),
    }
}

/// Every postal code has a digit: a name or a place is none.
fn zip(keep: usize, text: &str, out: &mut String) -> Option<Form> {
    let code = || text.chars().filter(|c| !matches!(c, ' ' | '-'));
    let count = code().count();
    let fits = |c: char| c.is_ascii_alphanumeric();
    if count > ZIP_CHARS_MAX || !code().all(fits) || !code().any(|c| c.is_ascii_digit()) {
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
    let embedded = match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(address) => embedded(address),
    };
    match (embedded, address) {
        (Some(address), _) | (None, IpAddr::V4(address)) => {
            let keep = v4.min(32);
            let mask = u32::MAX.checked_shl(32 - u32::from(keep)).unwrap_or(0);
            write!(out, "{}/{keep}", Ipv4Addr::from(u32::from(address) & mask)).ok()?;
        }
        (None, IpAddr::V6(address)) => {
            let local_nat64 = address.segments().starts_with(&[0x64, 0xff9b, 1]);
            let keep = v6.min(if local_nat64 { LOCAL_NAT64_BITS } else { 128 });
            let mask = u128::MAX.checked_shl(128 - u32::from(keep)).unwrap_or(0);
            write!(out, "{}/{keep}", Ipv6Addr::from(u128::from(address) & mask)).ok()?;
        }
    }
    Some(Form::Text)
}

/// The IPv4 address of the host that an IPv6 address stands for, where the address itself says so.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        // `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // IPv4-compatible and IPv4-mapped (RFC 4291 2.5.5), IPv4-translated (RFC 2765 2.1).
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => {
            v4(high, low)
        }
        // NAT64 (RFC 6052 2.1).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => v4(high, low),
        // Teredo (RFC 4380 4): the client, with its bits turned.
        [0x2001, 0, _, _, _, _, high, low] => v4(!high, !low),
        // ISATAP (RFC 5214 6.1).
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => v4(high, low),
        _ => None,
    }
}

/// Rounded down to the start of the part, in UTC; stays a whole number of the same unit.
fn epoch(part: DatePart, unit: EventUnit, text: &str, out: &mut String) -> Option<Form> {
    let second = match unit {
        EventUnit::Rfc3339 => return None,
        EventUnit::Seconds => 1,
        EventUnit::Millis => 1_000,
        EventUnit::Micros => 1_000_000,
    };
    let seconds = Number::parse(text)?.floor(0).div_euclid(second);
    let (year, month, _) = civil(seconds.div_euclid(DAY_SECONDS))?;
    let start = match part {
        DatePart::Hour => seconds.div_euclid(HOUR_SECONDS) * HOUR_SECONDS,
        DatePart::Day => seconds.div_euclid(DAY_SECONDS) * DAY_SECONDS,
        DatePart::Month => days(year, month, 1) * DAY_SECONDS,
        DatePart::Quarter => days(year, (month - 1) / 3 * 3 + 1, 1) * DAY_SECONDS,
        DatePart::Year => days(year, 1, 1) * DAY_SECONDS,
    };
    write!(out, "{}", start * second).ok()?;
    Some(Form::Literal)
}

/// A date, a part of one (`1974`, `1974-12`), or a date-time. Years to days are those that are
/// written: a birthday does not move with an offset. An hour is brought to UTC, so that one
/// instant gives one text, `2024-05-17T11:00:00Z`. What is coarser than asked stays as it is.
fn date(part: DatePart, text: &str, out: &mut String) -> Option<Form> {
    let (date, time) = text.split_at_checked(10).unwrap_or((text, ""));
    let minutes = match time {
        "" => None,
        time => Some(minutes_utc(time)?),
    };
    let (year, month, day) = match date.len() {
        4 => fields(date, "-", [4]).map(|[year]| (year, None, None))?,
        7 => fields(date, "-", [4, 2]).map(|[year, month]| (year, Some(month), None))?,
        _ => fields(date, "-", [4, 2, 2]).map(|[y, month, day]| (y, Some(month), Some(day)))?,
    };
    let days_in = month_days(year, month.unwrap_or(1));
    if !(1..=12).contains(&month.unwrap_or(1)) || !(1..=days_in).contains(&day.unwrap_or(1)) {
        return None;
    }
    let written = match (part, month, day, minutes) {
        (DatePart::Year, ..) | (_, None, ..) => write!(out, "{year:04}"),
        (DatePart::Quarter, Some(month), ..) => write!(out, "{year:04}-Q{}", (month - 1) / 3 + 1),
        (DatePart::Month, Some(month), ..) | (_, Some(month), None, _) => {
            write!(out, "{year:04}-{month:02}")
        }
        (DatePart::Day, Some(month), Some(day), _) | (_, Some(month), Some(day), None) => {
            write!(out, "{year:04}-{month:02}-{day:02}")
        }
        (DatePart::Hour, Some(month), Some(day), Some(minutes)) => {
            let day = days(year, month, day) + minutes.div_euclid(DAY_MINUTES);
            let (year, month, day) = civil(day)?;
            let hour = minutes.rem_euclid(DAY_MINUTES) / 60;
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
