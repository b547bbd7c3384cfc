//! What happens to each field of a dataset, for one purpose, one set of recipients and one
//! jurisdiction of the subject.

use std::sync::Arc;

use super::{
    Moment,
    order::{carries, rank, stricter},
};
use crate::{
    document::Scope,
    model::{DatasetFacts, Entry, FieldFacts, Id, Model, Protection, Template},
    path,
    plan::{FieldPath, FieldPlan, Part, Plan, RuleName, TokenUse, Transform, Unlisted},
    source::Span,
};

/// For whom and about whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Context {
    pub(crate) dataset: Id,
    pub(crate) purpose: Id,
    /// The region's operator when publishing; the reader's teams when reading. Sorted.
    pub(crate) recipients: Vec<Id>,
    /// Where the subject is.
    pub(crate) jurisdiction: Id,
}

/// Two demands on one place that cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Conflict {
    pub(crate) field: Span,
    pub(crate) first: Demand,
    pub(crate) second: Demand,
    /// The other path, when two paths of the dataset meet.
    pub(crate) other_field: Option<Span>,
}

/// One side of a conflict.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Demand {
    pub(crate) span: Span,
    pub(crate) rule: RuleName,
    pub(crate) transform: String,
}

/// A transform and the place where a rule asks for it.
struct Spoken {
    transform: Transform,
    rule: Id,
    span: Span,
}

/// The plan, or the contradictions that prevent it.
pub(crate) fn plan(moment: &Moment<'_>, context: &Context) -> Result<Plan, Vec<Conflict>> {
    let model = moment.model;
    let Some(dataset) = model.dataset_facts.get(context.dataset) else {
        return Ok(nothing());
    };
    let mut conflicts = Vec::new();
    let mut fields: Vec<(&FieldFacts, FieldPlan, Option<Demand>)> = Vec::new();
    for field in &dataset.fields {
        match field_plan(moment, context, dataset, field) {
            Ok((plan, demand)) => fields.push((field, plan, demand)),
            Err(conflict) => conflicts.push(*conflict),
        }
    }
    conflicts.extend(meetings(&fields));
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    let mut plans: Vec<FieldPlan> = fields.into_iter().map(|(_, p, _)| p).collect();
    sort(&mut plans);
    let mut rules: Vec<RuleName> = plans.iter().flat_map(|f| f.rules.iter().cloned()).collect();
    rules.sort();
    rules.dedup();
    let (unlisted, names) = (dataset.unlisted, dataset.names.clone());
    Ok(Plan { fields: plans.into(), unlisted, names, rules: rules.into() })
}

/// The plan that drops everything.
pub(crate) fn nothing() -> Plan {
    let (fields, rules) = (Box::default(), Box::default());
    Plan { fields, unlisted: Unlisted::Drop, names: Box::default(), rules }
}

/// The categories of which something is left, each once, sorted.
pub(crate) fn carried(plan: &Plan) -> Vec<Arc<str>> {
    let left = plan.fields.iter().filter(|f| carries(&f.transform));
    let mut names: Vec<Arc<str>> = left.map(|f| f.category.clone()).collect();
    names.sort();
    names.dedup();
    names
}

/// INVARIANT: of several entries that match one place, the last is the most protective. `rank`
/// puts families apart; within a family the comparable ones are put in order by insertion.
fn sort(plans: &mut Vec<FieldPlan>) {
    plans.sort_by(|a, b| {
        let by_rank = rank(&a.transform).cmp(&rank(&b.transform));
        by_rank.then_with(|| a.path.written.cmp(&b.path.written))
    });
    let mut sorted: Vec<FieldPlan> = Vec::with_capacity(plans.len());
    for plan in plans.drain(..) {
        let stricter_one = |p: &FieldPlan| {
            p.transform != plan.transform && super::order::at_least(&p.transform, &plan.transform)
        };
        let at = sorted.iter().position(stricter_one).unwrap_or(sorted.len());
        sorted.insert(at, plan);
    }
    *plans = sorted;
}

fn field_plan(
    moment: &Moment<'_>,
    context: &Context,
    dataset: &DatasetFacts,
    field: &FieldFacts,
) -> Result<(FieldPlan, Option<Demand>), Box<Conflict>> {
    let model = moment.model;
    let mut rules: Vec<RuleName> = Vec::new();
    let mut chosen: Option<Spoken> = None;
    for rule in &moment.protection {
        if !applies(moment, context, dataset, field, rule) {
            continue;
        }
        rules.extend(model.heads.get(rule.rule).map(|h| h.name.clone()));
        for next in spoken(model, context, rule) {
            chosen = Some(match chosen {
                None => next,
                Some(before) => meet(model, field, before, next)?,
            });
        }
    }
    rules.sort();
    let demand = chosen.as_ref().map(|s| demand(model, s));
    let plan = FieldPlan {
        path: field.path.clone(),
        category: model.categories.name(field.category),
        // Deny by default: a category that no rule covers does not pass.
        transform: chosen.map_or(Transform::Drop, |s| fit_for(&field.path, s.transform)),
        on_invalid: dataset.on_invalid,
        rules: rules.into(),
    };
    Ok((plan, demand))
}

/// Of two names, any other transform could make one: the member goes instead.
fn fit_for(path: &FieldPath, transform: Transform) -> Transform {
    match transform {
        Transform::Keep | Transform::Tokenize(_) => transform,
        _ if path.part == Part::Name => Transform::Drop,
        _ => transform,
    }
}

fn applies(
    moment: &Moment<'_>,
    context: &Context,
    dataset: &DatasetFacts,
    field: &FieldFacts,
    rule: &Protection,
) -> bool {
    let subjects = rule.subjects.as_ref();
    rule.categories.as_ref().is_none_or(|c| c.contains(field.category))
        && rule.datasets.as_ref().is_none_or(|d| d.contains(context.dataset))
        && subjects.is_none_or(|s| dataset.subjects.iter().any(|id| s.contains(*id)))
        && rule.subject_region.as_ref().is_none_or(|p| p.contains(context.jurisdiction, moment.at))
}

/// What a rule that applies asks for: its fitting entries, or its `otherwise`.
fn spoken(model: &Model, context: &Context, rule: &Protection) -> Vec<Spoken> {
    let fits = |e: &&Entry| {
        e.purposes.as_ref().is_none_or(|p| p.contains(context.purpose))
            && e.recipients
                .as_ref()
                .is_none_or(|r| context.recipients.iter().any(|id| r.contains(*id)))
    };
    let make = |template: &Template, span| Spoken {
        transform: resolved(model, context, template),
        rule: rule.rule,
        span,
    };
    let all: Vec<Spoken> =
        rule.entries.iter().filter(fits).map(|e| make(&e.template, e.span)).collect();
    if all.is_empty() {
        let span = model.heads.get(rule.rule).map(|h| h.span).unwrap_or_default();
        return vec![make(&rule.otherwise, span)];
    }
    all
}

fn meet(model: &Model, field: &FieldFacts, a: Spoken, b: Spoken) -> Result<Spoken, Box<Conflict>> {
    match stricter(&a.transform, &b.transform) {
        Some(t) if *t == a.transform => Ok(a),
        Some(_) => Ok(b),
        None => Err(Box::new(Conflict {
            field: field.span,
            first: demand(model, &a),
            second: demand(model, &b),
            other_field: None,
        })),
    }
}

fn demand(model: &Model, spoken: &Spoken) -> Demand {
    Demand {
        span: spoken.span,
        rule: model.heads.get(spoken.rule).map_or_else(|| "?".into(), |h| h.name.clone()),
        transform: spoken.transform.to_string(),
    }
}

/// Paths of one dataset that can meet in a record and whose transforms cannot be compared.
fn meetings(fields: &[(&FieldFacts, FieldPlan, Option<Demand>)]) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    for (i, (field, plan, demand)) in fields.iter().enumerate() {
        for (other, other_plan, other_demand) in fields.iter().skip(i + 1) {
            let comparable = stricter(&plan.transform, &other_plan.transform).is_some();
            if comparable || !path::overlap(&plan.path, &other_plan.path) {
                continue;
            }
            if let (Some(first), Some(second)) = (demand.clone(), other_demand.clone()) {
                let other_field = Some(other.span);
                conflicts.push(Conflict { field: field.span, first, second, other_field });
            }
        }
    }
    conflicts
}

/// The transform with its token scope filled in.
fn resolved(model: &Model, context: &Context, template: &Template) -> Transform {
    let (domain, scope) = match template {
        Template::Fixed(t) => return t.clone(),
        Template::Tokenize { domain, scope } => (*domain, *scope),
    };
    let Some(facts) = model.domain_facts.get(domain) else { return Transform::Drop };
    Transform::Tokenize(TokenUse {
        domain: model.domains.name(domain),
        scope: scope_text(model, context, scope).into(),
        epoch: facts.epoch,
        normalizer: facts.normalizer,
        key: facts.key.clone(),
    })
}

fn scope_text(model: &Model, context: &Context, scope: Scope) -> String {
    match scope {
        Scope::Global => "global".to_owned(),
        Scope::Purpose => format!("purpose={}", model.purposes.name(context.purpose)),
        Scope::Dataset => format!("dataset={}", model.datasets.name(context.dataset)),
        Scope::Jurisdiction => {
            format!("jurisdiction={}", model.jurisdictions.name(context.jurisdiction))
        }
        Scope::Recipient => {
            let names = context.recipients.iter().map(|r| model.recipients.name(*r));
            format!("recipient={}", names.map(|n| n.to_string()).collect::<Vec<_>>().join("+"))
        }
    }
}
