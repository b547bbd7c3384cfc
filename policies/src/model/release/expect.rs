//! Volumes that an author expects. Only words depend on them; but people sign those words, so what
//! contradicts itself is not said to them without a warning.

use crate::{
    diagnostic::Findings,
    document::{CrowdSpec, ExpectSpec},
    release::{Crowd, Expected, Unit},
    source::Located,
};

pub(super) fn expected(e: &ExpectSpec) -> Expected {
    let crowd = |c: &CrowdSpec| Crowd { records: c.records, subjects: c.subjects };
    Expected {
        records_per_pane: e.records,
        subjects_per_pane: e.subjects,
        keys_per_pane: e.keys,
        records_per_subject: e.crowds.as_ref().map(|all| all.iter().map(crowd).collect()),
        panes_per_subject: e.windows_per_subject,
    }
}

/// `panes`: how many a period has.
pub(super) fn check(e: &Located<ExpectSpec>, unit: &Unit, panes: u32, findings: &mut Findings<'_>) {
    let ExpectSpec { records, subjects, keys, crowds, windows_per_subject } = &e.value;
    let mut doubt = |message: String, help: &str| {
        findings.warning(e.span, message).help(help);
    };
    if matches!(unit, Unit::Subject(_)) && subjects > records {
        doubt(
            format!("{subjects} subjects cannot come from {records} records"),
            "each has at least one: correct `subjects` or `records`",
        );
    }
    if let Some(keys) = keys.filter(|keys| keys > records) {
        doubt(
            format!("{keys} rows cannot come from {records} records"),
            "each has at least one: correct `keys` or `records`",
        );
    }
    if let Some(appears) = windows_per_subject.filter(|appears| *appears > panes) {
        doubt(
            format!("a subject cannot appear in {appears} of the {panes} windows of a period"),
            "correct `windows-per-subject`",
        );
    }
    let Some(crowds) = crowds else { return };
    let sum = |of: &dyn Fn(&CrowdSpec) -> u128| crowds.iter().map(of).sum::<u128>();
    let all_records = sum(&|c| u128::from(c.records) * u128::from(c.subjects));
    let all_subjects = sum(&|c| u128::from(c.subjects));
    if far(all_records, *records) || far(all_subjects, *subjects) {
        doubt(
            format!(
                "`records-per-subject` comes to {all_records} records of {all_subjects} subjects, \
                 and `expect` says {records} of {subjects}"
            ),
            "correct one of them, to within a tenth",
        );
    }
}

/// More than a tenth apart.
fn far(a: u128, b: u64) -> bool {
    a.abs_diff(u128::from(b)) * 10 > u128::from(b).max(1)
}
