//! What is published of each row, and which part of the budget each number gets.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Making, fields,
    number::{exact, not_a_number},
};
use crate::{
    diagnostic::Findings,
    document::{Number, OutputSpec, ReleaseSpec, WhatWord},
    plan::Step,
    release::{CLAMP_MAX, What},
    source::{Located, Span},
};

/// One whole, in millionths.
const WHOLE: u32 = 1_000_000;
/// Numbers of one row.
const OUTPUTS_MAX: usize = 64;
/// Members of a released row that a sum cannot be called.
const TAKEN: [&str; 3] = ["key", "subjects", "count"];
/// The product of clamp, rows and records of a sum stays below this, so that totals cannot wrap.
const SUM_MAX: i128 = 1 << 62;

/// One number of a row, before its noise is known.
pub(super) struct Wanted {
    pub(super) name: Arc<str>,
    pub(super) what: What,
    /// In millionths.
    pub(super) share: u32,
    pub(super) span: Span,
}

/// The outputs; with unknown rows the number of subjects comes first, as it selects.
pub(super) fn outputs(
    making: &Making<'_>,
    spec: &ReleaseSpec,
    selects: bool,
    largest: i128,
    findings: &mut Findings<'_>,
) -> Option<Vec<Wanted>> {
    let before = findings.errors();
    if spec.release.len() > OUTPUTS_MAX {
        findings
            .error(spec.release_span(), format!("`release` lists more than {OUTPUTS_MAX} numbers"))
            .help("split it into two releases: each number needs a part of the budget");
        return None;
    }
    let mut names: BTreeMap<Arc<str>, Span> = BTreeMap::new();
    let mut all = Vec::new();
    for output in &spec.release {
        let Some(wanted) = wanted(making, output, largest, findings) else { continue };
        if let Some(first) = names.insert(wanted.name.clone(), output.span) {
            let help = if matches!(wanted.what, What::Sum { .. }) {
                "give one of them another `name`"
            } else {
                "once is enough: give it a larger share"
            };
            findings
                .error(output.span, format!("`{}` is published twice", wanted.name))
                .help(help)
                .related(first, "it was already written here");
        }
        all.push(wanted);
    }
    check_shares(spec, &all, findings);
    if selects && !spec.release.iter().any(|o| o.value.what == WhatWord::Subjects) {
        findings
            .error(spec.release_span(), "rows that are not known beforehand need `what: subjects`")
            .help("a row is published when its noisy number of subjects is large enough: add `- { what: subjects, share: … }`, or list the rows under `public`");
    }
    all.sort_by_key(|w| !(selects && w.what == What::Subjects));
    (findings.errors() == before).then_some(all)
}

fn wanted(
    making: &Making<'_>,
    output: &Located<OutputSpec>,
    largest: i128,
    findings: &mut Findings<'_>,
) -> Option<Wanted> {
    let o = &output.value;
    let share = share(&o.share, findings);
    let (name, what) = match o.what {
        WhatWord::Sum => sum(making, output, largest, findings)?,
        plain => {
            check_plain(output, findings)?;
            if plain == WhatWord::Subjects {
                ("subjects".into(), What::Subjects)
            } else {
                ("count".into(), What::Count)
            }
        }
    };
    Some(Wanted { name, what, share: share?, span: o.share.0.span })
}

fn share(number: &Number, findings: &mut Findings<'_>) -> Option<u32> {
    let read = exact(&number.0.value, 6).and_then(|n| u32::try_from(n).ok());
    let read = read.filter(|n| (1..=WHOLE).contains(n));
    if read.is_none() {
        findings.error(number.0.span, format!("`{}` is not a share", number.0.value)).help(
            "write a part of the budget, more than 0 and at most 1, with up to six decimals: `0.5`",
        );
    }
    read
}

/// All shares together; compared only when all could be read.
fn check_shares(spec: &ReleaseSpec, all: &[Wanted], findings: &mut Findings<'_>) {
    let total: u64 = all.iter().map(|w| u64::from(w.share)).sum();
    if all.len() != spec.release.len() || total == u64::from(WHOLE) {
        return;
    }
    let parts = format!("{}.{:06}", total / 1_000_000, total % 1_000_000);
    let parts = parts.trim_end_matches('0').trim_end_matches('.');
    if total > u64::from(WHOLE) {
        findings
            .error(spec.release_span(), format!("the shares add up to {parts}"))
            .help("they are parts of one budget: at most 1 together");
    } else {
        findings
            .warning(spec.release_span(), format!("the shares add up to {parts}"))
            .help("the rest of the budget is not used: larger shares mean less noise");
    }
}

/// `subjects` and `count` have no settings.
fn check_plain(output: &Located<OutputSpec>, findings: &mut Findings<'_>) -> Option<()> {
    let o = &output.value;
    let settings = [
        ("field", o.field.as_ref().map(|f| f.span)),
        ("decimals", o.decimals.map(|_| output.span)),
        ("clamp", o.clamp.as_ref().map(|c| c.span)),
        ("name", o.name.as_ref().map(|n| n.span)),
    ];
    let before = findings.errors();
    for (key, span) in settings {
        if let Some(span) = span {
            findings
                .error(span, format!("the setting `{key}` belongs to `what: sum`"))
                .help("remove it");
        }
    }
    (findings.errors() == before).then_some(())
}

fn sum(
    making: &Making<'_>,
    output: &Located<OutputSpec>,
    largest: i128,
    findings: &mut Findings<'_>,
) -> Option<(Arc<str>, What)> {
    let o = &output.value;
    let Some(written) = &o.field else {
        findings.error(output.span, "the sum does not name its field").help("add `field: …`");
        return None;
    };
    let field = fields::field(making, written, findings);
    let scale = o.decimals.unwrap_or(0);
    let clamp = clamp(output, scale, largest, findings);
    let field = field?;
    if making.is_subject(&field.path) {
        findings
            .error(written.span, format!("`{}` is the subject itself", written.value))
            .help("an identifier is not an amount: add up another field, or use `what: subjects`");
        return None;
    }
    let name = name(o, written.span, field.path.steps.last(), findings)?;
    let (lo, hi) = clamp?;
    Some((name, What::Sum { path: field.path, scale, lo, hi }))
}

fn name(
    o: &OutputSpec,
    field: Span,
    last: Option<&Step>,
    findings: &mut Findings<'_>,
) -> Option<Arc<str>> {
    let (name, span) = match (&o.name, last) {
        (Some(name), _) => (name.value.as_str(), name.span),
        (None, Some(Step::Member(last))) => (&**last, field),
        (None, _) => ("sum", field),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        findings
            .error(span, format!("`{name}` cannot be the name of a sum"))
            .help("add `name: …`, with 1 to 64 letters, digits, `-` and `_`");
        return None;
    }
    if TAKEN.contains(&name) {
        findings
            .error(span, format!("`{name}` already means something in a released row"))
            .help("add another `name: …`");
        return None;
    }
    Some(name.into())
}

fn clamp(
    output: &Located<OutputSpec>,
    scale: u8,
    largest: i128,
    findings: &mut Findings<'_>,
) -> Option<(i64, i64)> {
    let Some(clamp) = &output.value.clamp else {
        findings
            .error(output.span, "a sum has no `clamp`")
            .help("add `clamp: [0, 500]`: how far one record can move the sum has to be known");
        return None;
    };
    let [lo, hi] = clamp.value.as_slice() else {
        findings
            .error(clamp.span, "`clamp` is not a smallest and a largest number")
            .help("write `clamp: [0, 500]`");
        return None;
    };
    let read = |n: &Number, findings: &mut Findings<'_>| {
        let read = exact(&n.0.value, u32::from(scale)).and_then(|v| i64::try_from(v).ok());
        if read.is_none() {
            not_a_number(n, findings)
                .help(format!("write a number with at most {scale} decimals, or raise `decimals`"));
        }
        read
    };
    let (low, high) = (read(lo, findings), read(hi, findings));
    let (low, high) = (low?, high?);
    if low >= high {
        findings
            .error(
                clamp.span,
                format!("`clamp` leaves nothing between `{}` and `{}`", lo.0.value, hi.0.value),
            )
            .help("the smaller number comes first");
        return None;
    }
    let far = i128::from(low.unsigned_abs().max(high.unsigned_abs()));
    if far >= i128::from(CLAMP_MAX) || far.saturating_mul(largest) >= SUM_MAX {
        findings
            .error(clamp.span, "values this large could add up to more than can be counted exactly")
            .help("tighten `clamp`, lower `decimals`, or lower `records-per-key` and `keys-per-window`");
        return None;
    }
    Some((low, high))
}

impl ReleaseSpec {
    /// Where the list of outputs begins.
    fn release_span(&self) -> Span {
        self.release.first().map(|o| o.span).unwrap_or_default()
    }
}
