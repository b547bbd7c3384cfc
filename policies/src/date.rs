//! Dates as authors write them: `2026-12-01` (midnight UTC) or RFC 3339 with an offset.

use crate::plan::UnixMillis;

pub(crate) const DAY_MS: i64 = 86_400_000;

/// What to tell an author whose date cannot be read.
pub(crate) const HELP: &str =
    "write a day as `2026-12-01` (midnight UTC) or a moment as `2026-12-01T09:00:00Z`";

/// Reads a date or a moment. Years 1 to 9999; leap seconds are not moments of this calendar.
pub(crate) fn parse(text: &str) -> Option<UnixMillis> {
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((d, t)) => (d, Some(t)),
        None => (text, None),
    };
    let [y, m, d] = numbers(date, '-', [4, 2, 2])?;
    let midnight = days(y, m, d)?.checked_mul(DAY_MS)?;
    time.map_or(Some(0), time_ms)?.checked_add(midnight).map(UnixMillis)
}

/// The day a moment falls on, in UTC.
pub(crate) fn day(at: UnixMillis) -> String {
    let (y, m, d) = civil(at.0.div_euclid(DAY_MS));
    format!("{y:04}-{m:02}-{d:02}")
}

/// Milliseconds after midnight UTC; the offset may carry it to the day before or after.
fn time_ms(text: &str) -> Option<i64> {
    let (clock, offset_min) = split_offset(text)?;
    let (hms, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [h, m, s] = numbers(hms, ':', [2, 2, 2])?;
    if h > 23 || m > 59 || s > 59 || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let ms: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    Some(((h * 60 + m - offset_min) * 60 + s) * 1000 + ms)
}

fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let at = text.rfind(['+', '-'])?;
    let (clock, offset) = text.split_at_checked(at)?;
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let [h, m] = numbers(offset.get(1..)?, ':', [2, 2])?;
    (h < 24 && m < 60).then_some((clock, sign * (h * 60 + m)))
}

fn numbers<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[i64; N]> {
    let mut out = [0; N];
    let mut parts = text.split(separator);
    for (slot, width) in out.iter_mut().zip(widths) {
        let part = parts.next().filter(|p| p.len() == width && digits(p))?;
        *slot = part.parse().ok()?;
    }
    parts.next().is_none().then_some(out)
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar (Hinnant, "chrono-compatible
/// low-level date algorithms"), or none when the day does not exist.
fn days(y: i64, m: i64, d: i64) -> Option<i64> {
    let shifted = if m <= 2 { y - 1 } else { y };
    let era = shifted.div_euclid(400);
    let day_of_year = (153 * (m + if m > 2 { -3 } else { 9 }) + 2) / 5 + d - 1;
    let year_of_era = shifted - era * 400;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let n = era * 146_097 + day_of_era - 719_468;
    (civil(n) == (y, m, d)).then_some(n)
}

fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let m = if mp < 10 { mp + 3 } else { mp - 9 };
    let y = yoe + era * 400 + i64::from(m <= 2);
    (y, m, doy - (153 * mp + 2) / 5 + 1)
}

/// Whether a text is a period of ISO 8601 in whole years, months, weeks and days: `P90D`, `P1Y6M`.
pub(crate) fn is_period(text: &str) -> bool {
    let Some(mut rest) = text.strip_prefix('P').filter(|rest| !rest.is_empty()) else {
        return false;
    };
    for unit in ['Y', 'M', 'W', 'D'] {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let counted = after.len() < rest.len();
        if let Some(after) = after.strip_prefix(unit).filter(|_| counted) {
            rest = after;
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_moments_are_read() {
        let ms = |t| parse(t).map(|m| m.0);
        assert_eq!(ms("1970-01-01"), Some(0));
        assert_eq!(ms("2026-12-01"), Some(1_796_083_200_000));
        assert_eq!(ms("2026-12-01T09:00:00.25+01:30"), Some(1_796_083_200_000 + 27_000_250));
        assert_eq!(ms("2024-02-29"), Some(1_709_164_800_000));
        assert_eq!(day(UnixMillis(1_709_164_800_000)), "2024-02-29");
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in [
            "2026-02-29",
            "2026-13-01",
            "26-01-01",
            "2026-1-1",
            "2026-01-01T25:00:00Z",
            "2026-01-01T10:00:00",
            "soon",
            "",
            "2026-00-10",
            "2026-01-01T10:00:60Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
