//! From a `Release` to its plan. First its dataset is declared, so that rules can name it; when
//! all rules are known, the plan is made; at last all releases of a dataset are looked at together.

mod bounds;
mod budget;
mod expect;
mod fields;
mod keys;
mod number;
mod outputs;
mod time;
mod together;

use std::sync::Arc;

pub(crate) use budget::Budget;
pub(crate) use fields::single;
use keys::Rows;
pub(crate) use number::lasting;
use outputs::Wanted;

use super::{DatasetFacts, Id, JurisdictionFacts, Model, domain::head, resolve::topics};
use crate::{
    diagnostic::Findings,
    document::{
        AccountingWord, DatasetBudget, DatasetSpec, Document, EventTimeSpec, FloorWord, IfBlocked,
        MissingWord, Mode, ReleaseSpec, Spec, SubjectSpec, UnitForm, UnlistedWord,
    },
    path,
    plan::{EventTime, EventUnit, Evidence, FieldPath, OnInvalid, Records, Unlisted},
    release::{
        Accounting, Declared, Derived, Expected, KeyKind, Keys, MissingSubject, Output, Promise,
        ReleasePlan, Share, Smoothing, SubjectUnit, Unaffordable, Unit, derive,
    },
    source::{Located, Span, Text},
};

/// Most times a window can be widened.
const WIDEN_MAX: u32 = 1_024;
/// Denominator of smoothing weights.
const SMOOTHING_PARTS: u32 = 1_000_000;

/// A release of the bundle.
#[derive(Clone, Debug)]
pub(crate) struct ReleaseFacts {
    pub(crate) rule: Id,
    /// The dataset that is counted.
    pub(crate) source: Id,
    /// The dataset that it makes.
    pub(crate) own: Id,
    pub(crate) plan: Arc<ReleasePlan>,
    pub(crate) expected: Option<Expected>,
}

/// What is known while one release is made.
pub(super) struct Making<'m> {
    model: &'m Model,
    /// The dataset that is counted.
    source: Id,
    subject: Option<Field>,
}

impl Making<'_> {
    fn is_subject(&self, path: &FieldPath) -> bool {
        self.subject.as_ref().is_some_and(|s| path::overlap(&s.path, path))
    }

    /// Whether a field holds the same sort of thing as the subject's field.
    fn is_like_subject(&self, field: &Field) -> bool {
        let subject = self.subject.as_ref().map_or(&[][..], |s| &s.categories);
        field.categories.iter().any(|c| subject.contains(c))
    }
}

/// A field of the dataset, and what it is.
pub(super) struct Field {
    path: FieldPath,
    categories: Vec<Id>,
}

/// A release that stands for itself; what its dataset allows comes later.
struct Made {
    rule: Id,
    source: Id,
    own: Id,
    plan: ReleasePlan,
    expected: Option<Expected>,
    budget_span: Span,
    unit_span: Span,
}

/// Where records say when they happened: a field that they may have.
pub(super) fn event_time(
    e: &EventTimeSpec,
    dataset: &DatasetSpec,
    findings: &mut Findings<'_>,
) -> Option<EventTime> {
    let unit = EventUnit::from(e.unit);
    let path = single(&e.field, findings)?;
    let listed = dataset.fields.keys().map(|listed| listed.0.value.as_str());
    let known = |p: &str| path::parse(p).is_ok_and(|p| path::overlap(&p, &path));
    if matches!(dataset.unlisted, UnlistedWord::Refuse) && !listed.clone().any(known) {
        findings
            .error(e.field.span, format!("the dataset does not list the field `{}`", e.field.value))
            .did_you_mean(&e.field.value, listed, "add it to `fields`, with its category");
        return None;
    }
    Some(EventTime { path, unit })
}

/// What a dataset's releases may cost together. Whether a delta is needed shows later.
pub(super) fn of_dataset(
    b: &Located<DatasetBudget>,
    findings: &mut Findings<'_>,
) -> Option<(Budget, Span)> {
    let read = budget::budget(&b.value.epsilon, b.value.delta.as_ref(), b.span, None, findings);
    read.map(|budget| (budget, b.span))
}

/// Declares the dataset that a release makes: its topic, kept as it is, in the release's region.
pub(super) fn declare(
    model: &mut Model,
    d: &Document,
    r: &ReleaseSpec,
    findings: &mut Findings<'_>,
) {
    let region = region(model, d, r, findings);
    let jurisdiction = region.and_then(|id| model.region_facts.get(id)).map(|f| f.jurisdiction);
    let shows = shown_categories(model, r);
    let Some(id) = model.datasets.declare(&d.envelope.metadata.name, "dataset", findings) else {
        return;
    };
    let topics = topics(model, id, std::slice::from_ref(&r.topic), findings);
    model.dataset_facts.push(DatasetFacts {
        topics,
        subjects: Vec::new(),
        fields: Vec::new(),
        unlisted: Unlisted::Keep,
        names: Box::default(),
        // Without a region there is an error already, and the model is not used.
        jurisdiction: jurisdiction.map_or(JurisdictionFacts::Principal, JurisdictionFacts::Fixed),
        deliver_to: vec![region],
        if_blocked: IfBlocked::Refuse,
        lineage: Vec::new(),
        on_invalid: OnInvalid::Drop,
        event_time: None,
        records: Records::Deliver,
        evidence: Evidence::Record,
        stubs: false,
        privacy_budget: None,
        released: Some(shows),
    });
}

/// Categories that a release shows something of: those of its rows and sums.
fn shown_categories(model: &Model, r: &ReleaseSpec) -> Vec<Id> {
    let Some(source) = model.datasets.id(&r.dataset.value) else { return Vec::new() };
    let keys = r.keys.iter().map(|k| &k.value.field);
    let sums = r.release.iter().filter_map(|o| o.value.field.as_ref());
    let paths: Vec<_> = keys.chain(sums).filter_map(|t| path::parse(&t.value).ok()).collect();
    let fields = model.dataset_facts.get(source).map(|f| f.fields.as_slice()).unwrap_or_default();
    let shown = fields.iter().filter(|f| paths.iter().any(|p| path::overlap(p, &f.path)));
    shown.map(|f| f.category).collect()
}

fn region(model: &Model, d: &Document, r: &ReleaseSpec, findings: &mut Findings<'_>) -> Option<Id> {
    match &r.region {
        Some(name) => model.regions.find(name, "region", findings),
        None if model.regions.len() == 1 => Some(0),
        None => {
            let all: Vec<_> = model.regions.iter().map(|n| format!("`{n}`")).collect();
            findings
                .error(d.span, "the release does not say in which region it is made")
                .help(format!("add `region: …`, one of {}", all.join(", ")));
            None
        }
    }
}

/// Makes all releases, when datasets and rules are known.
pub(super) fn resolve(model: &mut Model, documents: &[Document], findings: &mut Findings<'_>) {
    let mut all = Vec::new();
    for d in documents {
        if let Spec::Release(r) = &d.spec {
            all.extend(make(model, d, r, findings));
        }
    }
    model.releases = together::settle(model, all, findings);
    together::check_datasets(model, documents, findings);
    together::check_topics(model, findings);
}

fn make(
    model: &mut Model,
    d: &Document,
    r: &ReleaseSpec,
    findings: &mut Findings<'_>,
) -> Option<Made> {
    let rule = head(model, &d.envelope, findings);
    let source = source(model, &r.dataset, findings)?;
    let (rule, own) = (rule?, model.datasets.id(&d.envelope.metadata.name.value)?);
    plan(model, d, r, [rule, source, own], findings)
}

/// The dataset that is counted; a release is not one.
fn source(model: &Model, name: &Text, findings: &mut Findings<'_>) -> Option<Id> {
    let id = model.datasets.find(name, "dataset", findings)?;
    if model.dataset_facts.get(id).is_some_and(|f| f.released.is_some()) {
        findings.error(name.span, format!("`{}` is itself a release", name.value)).help(
            "what was released may be counted by anyone who reads it; a release counts records",
        );
        return None;
    }
    if model.dataset_facts.get(id).is_some_and(|f| f.evidence == Evidence::Batch) {
        findings
            .error(
                name.span,
                format!(
                    "records of `{}` are not recorded singly, and a release counts them so",
                    name.value
                ),
            )
            .help("leave out `evidence: batch` and `protect: nothing` there");
        return None;
    }
    Some(id)
}

fn plan(
    model: &Model,
    d: &Document,
    r: &ReleaseSpec,
    [rule, source, own]: [Id; 3],
    findings: &mut Findings<'_>,
) -> Option<Made> {
    let factor = widening(model, source, r, findings);
    let times = factor.and_then(|f| time::times(r, f, findings));
    let mut making = Making { model, source, subject: None };
    let subject = subject(&making, r, findings);
    let unit =
        unit(model, r, subject.as_ref().map(|(s, f)| (*s, &f.path)), times.as_ref(), findings);
    making.subject = subject.map(|(_, field)| field);
    let rows = keys::rows(&making, r.keys.as_ref(), findings);
    let panes = unit.as_ref().map(|(_, panes)| *panes);
    let bounds = bounds::bounds(d.span, r, panes, rows.as_ref(), findings);
    let largest =
        bounds.map_or(1, |b| i128::from(b.keys_per_window) * i128::from(b.records_per_key));
    let selects = rows.as_ref().is_some_and(Rows::unknown);
    let outputs = outputs::outputs(&making, r, selects, largest, findings);
    let (accounting, budget) = budget_of(r, selects, findings);
    let smoothing = match &r.smoothing {
        Some(s) => Some(smoothing(s.half_life, findings)?),
        None => None,
    };
    let (times, (unit, panes), rows, bounds) = (times?, unit?, rows?, bounds?);
    let (outputs, budget) = (outputs?, budget?);
    let declared: Vec<_> = outputs.iter().map(|w| (w.what.clone(), Share(w.share))).collect();
    let derived = derive(&Declared {
        accounting,
        epsilon: budget.epsilon,
        delta_atto: budget.delta_atto,
        panes_charged: bounds.windows_per_period,
        repeats: times.schedule.late.releases(),
        bounds,
        keys: key_kind(&rows),
        outputs: &declared,
    });
    let derived = match derived {
        Ok(derived) => derived,
        Err(why) => {
            unaffordable(why, r, &outputs, findings);
            return None;
        }
    };
    advise_threshold(r, &rows, &derived, findings);
    if let Some(e) = &r.expect {
        expect::check(e, &unit, panes, findings);
    }
    let region = model.dataset_facts.get(own)?.deliver_to.first().copied().flatten()?;
    let plan = ReleasePlan {
        name: model.rules.name(rule),
        dataset: model.datasets.name(source),
        region: model.regions.name(region),
        topic: r.topic.value.as_str().into(),
        unit,
        schedule: times.schedule,
        bounds,
        keys: released_keys(rows, &derived),
        outputs: released_outputs(outputs, &derived),
        smoothing,
        accounting,
        cost: derived.cost,
        cap: derived.budget,
        promise: Promise {
            epsilon: budget.epsilon,
            delta_atto: budget.delta_atto,
            pane_epsilon_nano: derived.pane_epsilon_nano,
        },
        digest: [0; 32],
    };
    let expected = r.expect.as_ref().map(|e| expect::expected(&e.value));
    let (budget_span, unit_span) = (r.budget.span, r.unit.span);
    Some(Made { rule, source, own, plan, expected, budget_span, unit_span })
}

/// What the calculus refuses although each number alone is possible.
fn unaffordable(
    why: Unaffordable,
    r: &ReleaseSpec,
    outputs: &[Wanted],
    findings: &mut Findings<'_>,
) {
    let output = |at: usize| outputs.get(at).map_or(r.budget.span, |w| w.span);
    let (span, message, help) = match why {
        Unaffordable::ShareTooSmall { output: at, releases } => (
            output(at),
            format!("nothing is left of this share when it is spread over {releases} windows"),
            "raise epsilon or the share, or lower `windows-per-period`",
        ),
        Unaffordable::ScaleTooLarge { output: at } => (
            output(at),
            "this number would need so much noise that it would mean nothing".to_owned(),
            "raise epsilon or the share, or tighten `clamp` and `bounds`",
        ),
        Unaffordable::DeltaTooSmall { releases } => (
            r.budget.span,
            format!("nothing is left of `delta` when it is spread over {releases} windows"),
            "raise it, or lower `windows-per-period`",
        ),
        other => (r.budget.span, other.to_string(), "ask for less, or raise the budget"),
    };
    findings.error(span, message).help(help);
}

/// How many times as long windows are because of what the dataset holds.
fn widening(
    model: &Model,
    source: Id,
    r: &ReleaseSpec,
    findings: &mut Findings<'_>,
) -> Option<u32> {
    let fields = model.dataset_facts.get(source).map(|f| f.fields.as_slice()).unwrap_or_default();
    let mut factor = 1;
    let before = findings.errors();
    for (category, times) in &r.widen {
        let named = model.categories.find(&category.0, "category", findings);
        if !(1..=WIDEN_MAX).contains(&times.value) {
            findings
                .error(times.span, format!("a window cannot be widened {} times", times.value))
                .help(format!("from 1 to {WIDEN_MAX}"));
        }
        let Some(named) = named else { continue };
        if fields.iter().any(|f| model.category_tree.covers(named, f.category)) {
            factor = factor.max(times.value);
        }
    }
    (findings.errors() == before).then_some(factor)
}

/// The subject, if there is one, and its field.
fn subject<'r>(
    making: &Making<'_>,
    r: &'r ReleaseSpec,
    findings: &mut Findings<'_>,
) -> Option<(&'r SubjectSpec, Field)> {
    let UnitForm::Subject(s) = &r.unit.value else { return None };
    making.model.domains.find(&s.domain, "token domain", findings);
    Some((s, fields::field(making, &s.subject, findings)?))
}

/// The unit, and how many panes one of its periods has.
fn unit(
    model: &Model,
    r: &ReleaseSpec,
    subject: Option<(&SubjectSpec, &FieldPath)>,
    times: Option<&time::Times>,
    findings: &mut Findings<'_>,
) -> Option<(Unit, u32)> {
    if matches!(r.unit.value, UnitForm::Word(_)) {
        findings
            .warning(r.unit.span, "`unit: record` protects single records, not the people behind them")
            .help("write `unit: { subject: …, domain: …, period: 24h }` where records belong to people");
        return Some((Unit::Record, 1));
    }
    let (s, path) = subject?;
    let (period, panes) = time::period(times?, &s.period, findings)?;
    let id = model.domains.id(&s.domain.value)?;
    let facts = model.domain_facts.get(id)?;
    if let Some((rotation_ms, span)) = facts.rotation
        && rotation_ms < number::lasting(&s.period, findings)?
    {
        let name = &s.domain.value;
        findings
            .error(s.period.0.span, format!("tokens of `{name}` change before the period `{}` ends", s.period.0.value))
            .help("a subject would become another one within its period, and be counted twice: rotate less often, or make the period shorter")
            .related(span, "they change this often");
        return None;
    }
    let unit = SubjectUnit {
        path: path.clone(),
        normalizer: facts.normalizer,
        domain: model.domains.name(id),
        key: facts.key.clone(),
        period,
        missing: match s.missing {
            MissingWord::Drop => MissingSubject::Drop,
            MissingWord::AsOneSubject => MissingSubject::AsOneSubject,
        },
    };
    Some((Unit::Subject(unit), panes))
}

fn budget_of(
    r: &ReleaseSpec,
    selects: bool,
    findings: &mut Findings<'_>,
) -> (Accounting, Option<Budget>) {
    let b = &r.budget.value;
    let accounting = match b.accounting {
        AccountingWord::Zcdp => Accounting::Zcdp,
        AccountingWord::Pure => Accounting::Pure,
    };
    let needs_delta = match (accounting, selects) {
        (_, true) => Some("rows that are not known beforehand"),
        (Accounting::Zcdp, false) => Some("costs that add up by `zcdp`"),
        (Accounting::Pure, false) => None,
    };
    let span = r.budget.span;
    (accounting, budget::budget(&b.epsilon, b.delta.as_ref(), span, needs_delta, findings))
}

fn key_kind(rows: &Rows) -> KeyKind {
    match rows {
        Rows::Whole => KeyKind::Whole,
        Rows::Public { .. } => KeyKind::Public,
        Rows::Unknown { floor, .. } => {
            let of = |word| floor.filter(|(_, w)| *w == word).map(|(n, _)| n);
            KeyKind::Unknown { raw_floor: of(FloorWord::Raw), noisy_floor: of(FloorWord::Noisy) }
        }
    }
}

fn released_keys(rows: Rows, derived: &Derived) -> Keys {
    match rows {
        Rows::Whole => Keys::Whole,
        Rows::Public { path, values } => Keys::Public { path, values },
        Rows::Unknown { path, max_bytes, floor } => Keys::Unknown {
            path,
            max_bytes,
            // INVARIANT: unknown rows have a threshold; without one, none is ever published.
            threshold: derived.threshold.unwrap_or(i64::MAX),
            raw_floor: floor.filter(|(_, w)| *w == FloorWord::Raw).map(|(n, _)| n),
        },
    }
}

fn released_outputs(wanted: Vec<Wanted>, derived: &Derived) -> Box<[Output]> {
    let all = wanted.into_iter().zip(derived.outputs.iter());
    all.map(|(w, d)| Output {
        name: w.name,
        what: w.what,
        noise: d.noise,
        sensitivity: d.sensitivity,
        cost: d.cost,
    })
    .collect()
}

/// What a floor on the true number costs.
fn advise_threshold(r: &ReleaseSpec, rows: &Rows, derived: &Derived, findings: &mut Findings<'_>) {
    let Rows::Unknown { floor: Some((least, FloorWord::Raw)), .. } = rows else { return };
    let floor = r.keys.as_ref().and_then(|k| k.value.floor);
    let (Some(floor), Some(threshold)) = (floor, derived.threshold) else { return };
    let without = threshold.saturating_sub(i64::from(*least) - 1);
    if without < threshold {
        findings
            .warning(
                floor.span,
                format!(
                    "`floor: raw` lifts the threshold from {without} to {threshold} noisy subjects"
                ),
            )
            .help("`floor: noisy` costs nothing; ask for the true number only where a rule does");
    }
}

/// The weight of the newest window: after `half_life` windows an old one has lost half of its own.
fn smoothing(half_life: Located<u32>, findings: &mut Findings<'_>) -> Option<Smoothing> {
    if !(1..=1_000).contains(&half_life.value) {
        findings
            .error(
                half_life.span,
                format!("`{}` is not a valid number of windows to smooth over", half_life.value),
            )
            .help("from 1 to 1000");
        return None;
    }
    let kept = kept_weight(half_life.value);
    Some(Smoothing { numerator: SMOOTHING_PARTS - kept, denominator: SMOOTHING_PARTS })
}

/// The largest `w` with `(w / 10^6)^n` at most one half, in fixed point: the same on every machine.
fn kept_weight(n: u32) -> u32 {
    const ONE: u128 = 1 << 60;
    let power = |w: u32| {
        let base = u128::from(w) * ONE / u128::from(SMOOTHING_PARTS);
        (0..n).fold(ONE, |product, _| (product * base) >> 60)
    };
    let (mut low, mut high) = (0, SMOOTHING_PARTS);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if power(middle) <= ONE / 2 { low = middle } else { high = middle }
    }
    low
}

/// Whether a release counts among its dataset's: a draft does not.
fn counts(model: &Model, rule: Id) -> bool {
    model.heads.get(rule).is_some_and(|h| h.mode != Mode::Draft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_weight_is_lost_after_the_half_life() {
        assert_eq!(kept_weight(1), 500_000);
        assert_eq!(kept_weight(2), 707_106);
        assert_eq!(kept_weight(6), 890_898);
        assert_eq!(kept_weight(1_000), 999_307);
    }
}
