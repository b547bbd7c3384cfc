//! What a reader sees. A field passes only if the form in which it can be stored is at least as
//! protective as what the rules demand for the reader's purpose and teams; else it is left out.

use std::sync::Arc;

use super::{order::at_least, protect::Context, route::Planner};
use crate::{
    model::Id,
    plan::{FieldPlan, Plan, RuleName, Transform, Unlisted},
};

/// The plans under which records of one dataset can be stored, by the subject's jurisdiction.
pub(crate) type Stored = Vec<(Id, Vec<Arc<Plan>>)>;

/// The view of one purpose and set of teams on one dataset.
pub(crate) fn view(
    planner: &mut Planner<'_>,
    dataset: Id,
    purpose: Id,
    recipients: &[Id],
    stored: &Stored,
) -> Plan {
    let model = planner.moment.model;
    let Some(facts) = model.dataset_facts.get(dataset) else {
        return super::protect::nothing();
    };
    let mut demands = Vec::new();
    for (jurisdiction, plans) in stored {
        let recipients = recipients.to_vec();
        let context = Context { dataset, purpose, recipients, jurisdiction: *jurisdiction };
        demands.push((planner.plan(context).map(|(_, plan)| plan), plans));
    }
    let mut fields: Vec<FieldPlan> = facts
        .fields
        .iter()
        .map(|f| {
            let written = &*f.path.written;
            let passes =
                demands.iter().all(|(demand, plans)| passes(written, demand.as_deref(), plans));
            // What nobody can have stored has no form to judge.
            let keep = passes && !demands.is_empty();
            FieldPlan {
                path: f.path.clone(),
                category: model.categories.name(f.category),
                transform: if keep { Transform::Keep } else { Transform::Drop },
                on_invalid: facts.on_invalid,
                rules: speakers(written, &demands),
            }
        })
        .collect();
    fields.sort_by_key(|f| f.transform != Transform::Keep);
    let unlisted = match facts.unlisted {
        Unlisted::Drop | Unlisted::Refuse => Unlisted::Drop,
        kept @ (Unlisted::Keep | Unlisted::Untouched) => kept,
    };
    let mut rules: Vec<RuleName> = fields.iter().flat_map(|f| f.rules.iter().cloned()).collect();
    rules.sort();
    rules.dedup();
    Plan { fields: fields.into(), unlisted, names: facts.names.clone(), rules: rules.into() }
}

fn passes(written: &str, demand: Option<&Plan>, plans: &[Arc<Plan>]) -> bool {
    let Some(demand) = demand.and_then(|d| form(d, written)) else { return false };
    plans.iter().all(|p| form(p, written).is_some_and(|f| at_least(f, demand)))
}

/// What is demanded for one jurisdiction, if the rules do not contradict each other, and the plans
/// under which its records can be stored.
type Demand<'s> = (Option<Arc<Plan>>, &'s Vec<Arc<Plan>>);

fn speakers(written: &str, demands: &[Demand<'_>]) -> Box<[RuleName]> {
    let plans = demands.iter().filter_map(|(d, _)| d.as_deref());
    let fields = plans.flat_map(|p| p.fields.iter()).filter(|f| &*f.path.written == written);
    let mut rules: Vec<RuleName> = fields.flat_map(|f| f.rules.iter().cloned()).collect();
    rules.sort();
    rules.dedup();
    rules.into()
}

fn form<'p>(plan: &'p Plan, written: &str) -> Option<&'p Transform> {
    plan.fields.iter().find(|f| &*f.path.written == written).map(|f| &f.transform)
}
