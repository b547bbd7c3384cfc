//! What one subject may contribute. Without bounds there is no promise.

use super::keys::Rows;
use crate::{
    diagnostic::Findings,
    document::{BoundsSpec, ChooseWindowsWord, ChooseWord, ReleaseSpec, UnitForm},
    release::{Bounds, Choose, ChooseWindows},
    source::{Located, Span},
};

/// `panes` is how many a period has; none when that could not be read.
pub(super) fn bounds(
    document: Span,
    r: &ReleaseSpec,
    panes: Option<u32>,
    rows: Option<&Rows>,
    findings: &mut Findings<'_>,
) -> Option<Bounds> {
    if matches!(r.unit.value, UnitForm::Word(_)) {
        return of_record(r, findings);
    }
    let Some(bounds) = &r.bounds else {
        findings
            .error(document, "the release does not bound what one subject may contribute")
            .help(
                "add `bounds: { windows-per-period: 10, keys-per-window: 2, records-per-key: 3 }`",
            );
        return None;
    };
    let b = &bounds.value;
    let keys = keys_per_window(bounds, rows, findings);
    let records = needed(b.records_per_key, "records-per-key", "3", bounds.span, findings);
    let windows = windows_per_period(bounds, panes, findings);
    Some(Bounds {
        windows_per_period: windows?,
        choose_windows: match b.choose_windows {
            ChooseWindowsWord::First => ChooseWindows::First,
            ChooseWindowsWord::Panel => ChooseWindows::Panel,
        },
        keys_per_window: keys?,
        records_per_key: records?,
        choose: match b.choose {
            ChooseWord::First => Choose::First,
            ChooseWord::Hash => Choose::Hash,
        },
    })
}

/// A record counts in one window, in one row, once.
fn of_record(r: &ReleaseSpec, findings: &mut Findings<'_>) -> Option<Bounds> {
    if let Some(bounds) = &r.bounds {
        findings
            .error(bounds.span, "`unit: record` has no `bounds`")
            .help("a record counts once: remove them, or bound a subject");
        return None;
    }
    Some(Bounds {
        windows_per_period: 1,
        choose_windows: ChooseWindows::First,
        keys_per_window: 1,
        records_per_key: 1,
        choose: Choose::Hash,
    })
}

/// A window of one row has one row.
fn keys_per_window(
    bounds: &Located<BoundsSpec>,
    rows: Option<&Rows>,
    findings: &mut Findings<'_>,
) -> Option<u32> {
    let written = bounds.value.keys_per_window;
    match (rows, written) {
        (Some(Rows::Whole), None) => Some(1),
        (Some(Rows::Whole), Some(n)) if n.value != 1 => {
            findings
                .error(n.span, format!("`keys-per-window: {}` without `keys`", n.value))
                .help("a window of one row has one: remove it, or add `keys`");
            None
        }
        (None, None) => None,
        _ => needed(written, "keys-per-window", "2", bounds.span, findings),
    }
}

fn needed(
    written: Option<Located<u32>>,
    key: &str,
    example: &str,
    span: Span,
    findings: &mut Findings<'_>,
) -> Option<u32> {
    if written.is_none() {
        findings
            .error(span, format!("`bounds` lacks `{key}`"))
            .help(format!("add `{key}: {example}`: what one subject may change has to be known"));
    }
    written.map(|w| w.value)
}

fn windows_per_period(
    bounds: &Located<BoundsSpec>,
    panes: Option<u32>,
    findings: &mut Findings<'_>,
) -> Option<u32> {
    let panes = panes?;
    match bounds.value.windows_per_period {
        Some(k) if k.value > panes => {
            findings
                .error(k.span, format!("a period has only {panes} windows, not {}", k.value))
                .help("write at most that many; fewer need less noise");
            None
        }
        Some(k) => Some(k.value),
        None => {
            if panes > 1 {
                findings
                    .warning(bounds.span, format!("a subject may contribute to all {panes} windows of a period"))
                    .help("the budget is divided among them: `windows-per-period: 10` would need far less noise");
            }
            Some(panes)
        }
    }
}
