//! Numbers and lengths of time as authors write them, read exactly.

use crate::{
    date::DAY_MS,
    diagnostic::{Findings, Note},
    document::{Duration, Number},
    plan::Decimal,
};

/// Characters of one number: enough for every value that can pass, and no work beyond it.
const NUMBER_CHARS_MAX: usize = 48;
/// The longest length of time, in days.
const DAYS_MAX: i64 = 3_660;
const DURATION_HELP: &str =
    "write a whole number and its unit, `ms`, `s`, `m`, `h` or `d`: `500ms`, `30s`, `5m`, `24h`";

/// `value · 10^places`, if that is a whole number that can be held. Understands `1e-9`.
pub(crate) fn exact(text: &str, places: u32) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((m, e)) => (m, e.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, unsigned) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let plain = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    let dotted_well = !unsigned.contains('.') || !fraction.is_empty();
    let well = !whole.is_empty() && dotted_well && plain(whole) && plain(fraction);
    if !well || text.len() > NUMBER_CHARS_MAX {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let behind = i32::try_from(fraction.len()).ok()?;
    let shift = i32::try_from(places).ok()?.checked_add(exponent)?.checked_sub(behind)?;
    let power = 10_i128.checked_pow(shift.unsigned_abs());
    let value = match (shift >= 0, power) {
        _ if digits == 0 => 0,
        (true, Some(power)) => digits.checked_mul(power)?,
        (false, Some(power)) if digits % power == 0 => digits / power,
        _ => return None,
    };
    Some(if negative { -value } else { value })
}

/// The number in its shortest form, from billionths.
pub(crate) fn decimal_of_nano(nano: i64) -> Decimal {
    let (mut digits, mut scale) = (nano, 9);
    while scale > 0 && digits % 10 == 0 {
        (digits, scale) = (digits / 10, scale - 1);
    }
    Decimal { digits, scale }
}

pub(crate) fn not_a_number<'f>(number: &Number, findings: &'f mut Findings<'_>) -> Note<'f> {
    findings.error(number.0.span, format!("`{}` is not a valid number here", number.0.value))
}

/// Milliseconds; none when a mistake was reported.
pub(crate) fn lasting(written: &Duration, findings: &mut Findings<'_>) -> Option<i64> {
    let text = written.0.value.as_str();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end).unwrap_or((text, ""));
    let unit_ms = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(DAY_MS),
        _ => None,
    };
    if number == text && !number.is_empty() {
        findings
            .error(written.0.span, format!("`{text}` is a number without a unit of time"))
            .help(format!("write `{text}s`, `{text}m` or `{text}h`"));
        return None;
    }
    let Some(unit_ms) = unit_ms.filter(|_| !number.is_empty()) else {
        findings
            .error(written.0.span, format!("`{text}` is not a length of time"))
            .help(DURATION_HELP);
        return None;
    };
    let ms = number.parse::<i64>().ok().and_then(|n| n.checked_mul(unit_ms));
    let ms = ms.filter(|ms| *ms <= DAYS_MAX * DAY_MS);
    if ms.is_none() {
        findings
            .error(written.0.span, format!("`{text}` is too long"))
            .help(format!("at most `{DAYS_MAX}d`"));
    }
    ms
}

/// A length of time as a person would write it: the largest unit that leaves no fraction.
pub(crate) fn in_words(ms: i64) -> String {
    let units = [(DAY_MS, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    // `24h` is what people write for one day of a period.
    let fits = |(unit, _): &&(i64, &str)| ms != 0 && ms % unit == 0;
    match units.iter().find(fits) {
        Some((unit, word)) => format!("{}{word}", ms / unit),
        None => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Located, Source, Span};

    #[test]
    fn numbers_are_read_exactly_or_not_at_all() {
        assert_eq!(exact("4.0", 9), Some(4_000_000_000));
        assert_eq!(exact("1e-9", 18), Some(1_000_000_000));
        assert_eq!(exact("2.5e2", 0), Some(250));
        assert_eq!(exact("-0.05", 2), Some(-5));
        assert_eq!(exact("500.00", 0), Some(500));
        assert_eq!(exact("0e999", 0), Some(0));
        for text in ["", "-", ".5", "5.", "1e", "1e1e1", "0.001", "1e99", "nan", "inf", "+1", "1_0"]
        {
            assert_eq!(exact(text, 2), None, "{text}");
        }
        assert_eq!(exact(&"9".repeat(49), 0), None);
    }

    #[test]
    fn a_decimal_is_told_in_its_shortest_form() {
        assert_eq!(decimal_of_nano(4_000_000_000), Decimal { digits: 4, scale: 0 });
        assert_eq!(decimal_of_nano(500_000_000), Decimal { digits: 5, scale: 1 });
        assert_eq!(decimal_of_nano(1), Decimal { digits: 1, scale: 9 });
    }

    fn read(text: &str) -> Result<i64, String> {
        let sources = [Source::new("a.yaml", text)];
        let mut findings = Findings::new(&sources);
        let written = Duration(Located { span: Span::default(), value: text.to_owned() });
        let ms = lasting(&written, &mut findings);
        ms.ok_or_else(|| findings.into_report().diagnostics[0].message.clone())
    }

    #[test]
    fn lengths_of_time_are_exact_and_bounded() {
        let all =
            [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("24h", DAY_MS), ("1d", DAY_MS)];
        for (text, ms) in all {
            assert_eq!(read(text), Ok(ms));
        }
        assert_eq!(read("0s"), Ok(0));
        assert_eq!(read("3660d"), Ok(3_660 * DAY_MS));
        assert_eq!(read("3661d").unwrap_err(), "`3661d` is too long");
        assert_eq!(
            read("99999999999999999999d").unwrap_err(),
            "`99999999999999999999d` is too long"
        );
        assert_eq!(read("30").unwrap_err(), "`30` is a number without a unit of time");
        for text in ["", "s", "1.5h", "-1s", "5min", "5 m", "1h30m", "5M"] {
            assert_eq!(read(text).unwrap_err(), format!("`{text}` is not a length of time"));
        }
    }

    #[test]
    fn lengths_are_told_in_the_largest_unit() {
        assert_eq!(in_words(DAY_MS), "1d");
        assert_eq!(in_words(300_000), "5m");
        assert_eq!(in_words(1_500), "1500ms");
        assert_eq!(in_words(0), "0ms");
    }
}
