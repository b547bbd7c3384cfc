//! Epsilon and delta as authors write them, within what can be called a promise.

use super::number::{decimal_of_nano, exact, not_a_number};
use crate::{diagnostic::Findings, document::Number, plan::Decimal, source::Span};

const NANO: i64 = 1_000_000_000;
const EPSILON_NANO_MAX: i64 = 50 * NANO;
/// Above this, someone should ask whether the promise is worth its name.
const EPSILON_NANO_NOTICE: i64 = 10 * NANO;
/// One in a hundred thousand, in units of 10^-18.
const DELTA_ATTO_MAX: u64 = 10_000_000_000_000;
const DELTA_ATTO_NOTICE: u64 = 1_000_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) epsilon: Decimal,
    /// In units of 10^-18.
    pub(crate) delta_atto: u64,
}

/// Why a budget needs a delta, if it does.
pub(super) fn budget(
    epsilon: &Number,
    delta: Option<&Number>,
    span: Span,
    needs_delta: Option<&str>,
    findings: &mut Findings<'_>,
) -> Option<Budget> {
    let epsilon = self::epsilon(epsilon, findings);
    let delta = match (delta, needs_delta) {
        (None, Some(why)) => {
            findings.error(span, format!("{why} need a `delta`")).help("add `delta: 1e-9`");
            None
        }
        (None, None) => Some(0),
        (Some(written), why) => self::delta(written, why, findings),
    };
    Some(Budget { epsilon: epsilon?, delta_atto: delta? })
}

fn epsilon(written: &Number, findings: &mut Findings<'_>) -> Option<Decimal> {
    let text = &written.0.value;
    let Some(nano) = exact(text, 9).and_then(|n| i64::try_from(n).ok()) else {
        not_a_number(written, findings).help("write a number with at most nine decimals: `1.0`");
        return None;
    };
    if nano <= 0 {
        findings
            .error(written.0.span, format!("an epsilon of `{text}` allows no release"))
            .help("write a number above 0: `1.0`");
        return None;
    }
    if nano > EPSILON_NANO_MAX {
        findings
            .error(written.0.span, format!("an epsilon of `{text}` promises nothing"))
            .help("at most 50; numbers up to about 1 protect well");
        return None;
    }
    if nano > EPSILON_NANO_NOTICE {
        findings
            .warning(written.0.span, format!("an epsilon of `{text}` protects little"))
            .help("numbers up to about 1 protect well; say in `because` why it has to be so large");
    }
    Some(decimal_of_nano(nano))
}

fn delta(written: &Number, needed: Option<&str>, findings: &mut Findings<'_>) -> Option<u64> {
    let text = &written.0.value;
    let Some(atto) = exact(text, 18).and_then(|n| u64::try_from(n).ok()) else {
        not_a_number(written, findings).help("write a small number, such as `1e-9`");
        return None;
    };
    if let (0, Some(why)) = (atto, needed) {
        findings
            .error(written.0.span, format!("{why} need a `delta` above 0"))
            .help("write `delta: 1e-9`");
        return None;
    }
    if atto > DELTA_ATTO_MAX {
        findings
            .error(written.0.span, format!("a delta of `{text}` is too likely to fail someone"))
            .help("at most `1e-5`; well below one over the number of subjects: `1e-9`");
        return None;
    }
    if atto > DELTA_ATTO_NOTICE {
        findings
            .warning(
                written.0.span,
                format!("a delta of `{text}` may fail someone among a million"),
            )
            .help("choose it well below one over the number of subjects: `1e-9`");
    }
    Some(atto)
}
