//! All releases of one dataset together: one unit, one way of accounting, one budget.

use std::{collections::BTreeMap, sync::Arc};

use super::{Made, ReleaseFacts, counts};
use crate::{
    date::DAY_MS,
    diagnostic::Findings,
    document::{Document, Spec},
    model::{Id, Model, Window},
    plan::Records,
    release::{self, Calendar, Cost, Keys, Unaffordable, Unit},
    source::Span,
};

/// Gives each release its dataset's cap, and its digest.
pub(super) fn settle(
    model: &Model,
    all: Vec<Made>,
    findings: &mut Findings<'_>,
) -> Vec<ReleaseFacts> {
    let mut by_dataset: BTreeMap<Id, Vec<Made>> = BTreeMap::new();
    for made in all {
        by_dataset.entry(made.source).or_default().push(made);
    }
    let mut settled = Vec::new();
    for (dataset, mut releases) in by_dataset {
        let live: Vec<&Made> = releases.iter().filter(|m| counts(model, m.rule)).collect();
        same_unit(&live, findings);
        let cap = cap(model, dataset, &live, findings);
        check_spending(model, dataset, &live, cap.as_ref(), findings);
        for made in &mut releases {
            // A draft is not charged; it is shown with its own budget.
            if let Some(Cap { cost, .. }) = cap.as_ref().filter(|_| counts(model, made.rule)) {
                made.plan.cap = *cost;
            }
            made.plan.digest = made.plan.canonical_digest();
        }
        settled.extend(releases.into_iter().map(|m| ReleaseFacts {
            rule: m.rule,
            source: m.source,
            own: m.own,
            plan: Arc::new(m.plan),
            expected: m.expected,
        }));
    }
    settled.sort_by(|a, b| a.plan.name.cmp(&b.plan.name));
    settled
}

/// A dataset that is only published as releases has one.
pub(super) fn check_datasets(model: &Model, documents: &[Document], findings: &mut Findings<'_>) {
    let releases = documents.iter().filter_map(|d| match &d.spec {
        Spec::Release(r) => Some(r),
        _ => None,
    });
    let counted: Vec<Option<Id>> = releases.map(|r| model.datasets.id(&r.dataset.value)).collect();
    // A release whose dataset was mistyped may be the one.
    if counted.contains(&None) {
        return;
    }
    for id in model.datasets.ids() {
        let only = model.dataset_facts.get(id).is_some_and(|f| f.records == Records::ReleasesOnly);
        if only && !counted.contains(&Some(id)) {
            let name = model.datasets.name(id);
            findings
                .error(
                    model.datasets.span(id),
                    format!("the dataset `{name}` is published only as releases, and has none"),
                )
                .help(format!("add a `Release` with `dataset: {name}`, or set `records: deliver`"));
        }
    }
}

/// The topics of contributions are the gateway's own: nobody may publish to them or read them.
pub(super) fn check_topics(model: &Model, findings: &mut Findings<'_>) {
    for r in &model.releases {
        let own = format!("{}.contributions", r.plan.name);
        if let Some((_, span)) = model.topics.get(own.as_str()) {
            findings
                .error(*span, format!("the topic `{own}` belongs to the release `{}`", r.plan.name))
                .help(
                    "the gateway stores there what the release counts: choose another topic name",
                );
        }
    }
}

/// What a subject is, and for how long, has to be the same for costs to add up.
fn same_unit(live: &[&Made], findings: &mut Findings<'_>) {
    let Some((first, rest)) = live.split_first() else { return };
    for other in rest {
        let (a, b) = (&first.plan, &other.plan);
        let (difference, at, before) = if a.accounting != b.accounting {
            ("add up their costs differently", other.budget_span, first.budget_span)
        } else if let Some(difference) = difference(&a.unit, &b.unit) {
            (difference, other.unit_span, first.unit_span)
        } else {
            continue;
        };
        let names = format!("`{}` and `{}`", a.name, b.name);
        findings
            .error(at, format!("the releases {names} of one dataset {difference}"))
            .help("what one subject is charged in one period is one sum: write the same in both")
            .related(before, format!("`{}` says so here", a.name));
    }
}

fn difference(a: &Unit, b: &Unit) -> Option<&'static str> {
    match (a, b) {
        (Unit::Record, Unit::Record) => None,
        (Unit::Subject(a), Unit::Subject(b)) => {
            if a.path.part != b.path.part || a.path.steps != b.path.steps {
                Some("protect different subjects")
            } else if a.domain != b.domain {
                Some("make subjects in different token domains")
            } else if a.period != b.period {
                Some(periods_differ(&a.period, &b.period))
            } else {
                None
            }
        }
        _ => Some("protect different units"),
    }
}

fn periods_differ(a: &Calendar, b: &Calendar) -> &'static str {
    match (a, b) {
        (Calendar::Fixed { size_ms: a, .. }, Calendar::Fixed { size_ms: b, .. }) if a == b => {
            "begin their periods at different times"
        }
        (
            Calendar::Local { size_ms: a, zone, .. },
            Calendar::Local { size_ms: b, zone: other, .. },
        ) if a == b => match zone == other {
            true => "begin their periods at different times",
            false => "begin their periods in different time zones",
        },
        _ => "have different periods",
    }
}

/// What the author allows all releases of a dataset together.
struct Cap {
    cost: Cost,
    span: Span,
}

fn cap(model: &Model, dataset: Id, live: &[&Made], findings: &mut Findings<'_>) -> Option<Cap> {
    let (budget, span) = model.dataset_facts.get(dataset)?.privacy_budget?;
    let accounting = live.first()?.plan.accounting;
    // Rows that are not known beforehand leave the least room: half of delta is theirs.
    let selects = live.iter().any(|m| matches!(m.plan.keys, Keys::Unknown { .. }));
    match release::budget(accounting, budget.epsilon, budget.delta_atto, selects) {
        Ok(budget) => Some(Cap { cost: budget.cost, span }),
        Err(Unaffordable::NoDelta { .. }) => {
            findings
                .error(span, "the releases of this dataset need a `delta`")
                .help("add `delta: 1e-9` to its `privacy-budget`");
            None
        }
        Err(why) => {
            findings.error(span, why.to_string());
            None
        }
    }
}

/// At no time may all releases that touch one period cost more than the cap.
fn check_spending(
    model: &Model,
    dataset: Id,
    live: &[&Made],
    cap: Option<&Cap>,
    findings: &mut Findings<'_>,
) {
    let name = model.datasets.name(dataset);
    let has_cap = model.dataset_facts.get(dataset).is_some_and(|f| f.privacy_budget.is_some());
    for at_once in at_once(model, live) {
        let names: Vec<_> = at_once.iter().map(|m| format!("`{}`", m.plan.name)).collect();
        let (Some(last), names) = (at_once.last(), names.join(", ")) else { continue };
        if let Some(cap) = cap {
            let Some(short) = overspent(&at_once, cap.cost) else { continue };
            findings
                .error(cap.span, format!("the releases of `{name}` together cost more {short} than its `privacy-budget`: {names}"))
                .help("raise the budget of the dataset, or lower those of its releases")
                .related(last.budget_span, "this is one of them");
            return;
        }
        if !has_cap && at_once.len() > 1 {
            findings
                .error(last.budget_span, format!("the dataset `{name}` has several releases and no budget for all of them: {names}"))
                .help(format!("each adds to what a subject risks: add `privacy-budget: {{ epsilon: …, delta: … }}` to `{name}`, or let one end a period before the other begins"))
                .related(model.datasets.span(dataset), "the dataset is declared here");
            return;
        }
    }
}

fn overspent(at_once: &[&Made], cap: Cost) -> Option<&'static str> {
    let total = at_once.iter().map(|m| period_cost(m)).fold(Cost::default(), add);
    match (total.loss > cap.loss, total.delta > cap.delta) {
        (true, _) => Some("epsilon"),
        (false, true) => Some("delta"),
        (false, false) => None,
    }
}

/// The releases that can be charged to one period, at each time at which one begins. A release
/// that ends is still charged in the period of its last window.
fn at_once<'m>(model: &Model, live: &[&'m Made]) -> Vec<Vec<&'m Made>> {
    let window = |m: &Made| model.heads.get(m.rule).map(|h| h.window);
    let starts = live.iter().filter_map(|m| window(m)).map(|w| w.from);
    let at = |start: i64| {
        let touches = |m: &&&'m Made| {
            let until = |w: Window| w.until.saturating_add(lasting_ms(&m.plan.unit));
            window(m).is_some_and(|w| w.from <= start && start < until(w))
        };
        live.iter().filter(touches).copied().collect()
    };
    starts.map(at).collect()
}

/// At most so long after its end a release can meet another one in one period.
fn lasting_ms(unit: &Unit) -> i64 {
    match unit {
        Unit::Record => 0,
        Unit::Subject(s) => match s.period {
            Calendar::Fixed { size_ms, .. } => size_ms,
            // A day of a time zone may have more than 24 hours.
            Calendar::Local { size_ms, .. } => size_ms.saturating_add(DAY_MS),
        },
    }
}

/// Revisions are in the cost of a pane.
fn period_cost(m: &Made) -> Cost {
    let panes = u64::from(m.plan.bounds.windows_per_period);
    let Cost { loss, delta } = m.plan.cost;
    Cost { loss: loss.saturating_mul(panes), delta: delta.saturating_mul(panes) }
}

fn add(a: Cost, b: Cost) -> Cost {
    Cost { loss: a.loss.saturating_add(b.loss), delta: a.delta.saturating_add(b.delta) }
}
