//! Contradictions between protection rules, over all times, purposes, recipients and
//! jurisdictions that can occur: so that no date in the future can bring one.

use std::collections::BTreeSet;

use super::{
    Moment,
    protect::{Conflict, Context, plan},
};
use crate::{
    diagnostic::Findings,
    document::Mode,
    model::{Id, Model, Places},
};

/// Reports every contradiction once, whatever the number of cases it occurs in.
pub(crate) fn report_conflicts(model: &Model, findings: &mut Findings<'_>) {
    let mut found: BTreeSet<Conflict> = BTreeSet::new();
    let recipients = recipient_sets(model);
    let purposes = used_purposes(model);
    for at in times(model) {
        let moment = Moment::new(model, at, None);
        for jurisdiction in distinct_jurisdictions(&moment) {
            for (dataset, purpose) in &purposes {
                for recipients in &recipients {
                    let recipients = recipients.clone();
                    let context =
                        Context { dataset: *dataset, purpose: *purpose, recipients, jurisdiction };
                    found.extend(plan(&moment, &context).err().into_iter().flatten());
                }
            }
        }
    }
    let mut said = BTreeSet::new();
    for conflict in found {
        // Scopes differ from case to case; the contradiction is the same.
        if said.insert((conflict.field, conflict.first.span, conflict.second.span)) {
            report(&conflict, findings);
        }
    }
}

fn report(c: &Conflict, findings: &mut Findings<'_>) {
    let (a, b) = (&c.first, &c.second);
    let path = c.field.text(findings.sources()).unwrap_or("this field").to_owned();
    let by = |d: &super::protect::Demand| format!("the rule `{}` asks for {}", d.rule, d.transform);
    let Some(other) = c.other_field else {
        findings
            .error(b.span, format!(
                "the rules `{}` and `{}` contradict each other on the field `{path}`",
                a.rule, b.rule
            ))
            .help("neither is more protective than the other: narrow one of the rules, or make both ask for the same")
            .related(a.span, by(a))
            .related(b.span, by(b));
        return;
    };
    let other_path = other.text(findings.sources()).unwrap_or("another").to_owned();
    findings
        .error(other, format!(
            "the paths `{path}` and `{other_path}` can match the same place, and the rules `{}` and `{}` contradict each other there",
            a.rule, b.rule
        ))
        .help("make one path narrower, or give both the same category")
        .related(a.span, by(a))
        .related(b.span, by(b));
}

/// One time in every span in which the protection rules stay the same.
fn times(model: &Model) -> Vec<i64> {
    let rules = model.protection.iter();
    let windows = rules.clone().filter_map(|r| model.heads.get(r.rule));
    let windows = windows.filter(|h| h.mode == Mode::Enforce).flat_map(|h| h.window.edges());
    let places = rules.filter_map(|r| r.subject_region.as_ref());
    let places = places.flat_map(|p| p.0.iter().flat_map(|(_, w)| w.edges()));
    let mut all: Vec<i64> = windows.chain(places).chain([i64::MIN]).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Dataset and purpose pairs that some rule lets someone use.
fn used_purposes(model: &Model) -> BTreeSet<(Id, Id)> {
    let allows = model
        .access
        .iter()
        .filter(|a| a.allows && model.heads.get(a.rule).is_some_and(|h| h.mode == Mode::Enforce));
    allows
        .flat_map(|a| a.datasets.iter().flat_map(|d| a.purposes.iter().map(move |p| (d, p))))
        .collect()
}

fn recipient_sets(model: &Model) -> BTreeSet<Vec<Id>> {
    let regions = model.region_facts.iter().map(|r| vec![r.recipient]);
    let readers = model.principal_facts.iter().map(|p| sorted(&p.member_of));
    regions.chain(readers).collect()
}

pub(crate) fn sorted(ids: &[Id]) -> Vec<Id> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// One jurisdiction for each way in which protection rules can tell them apart.
fn distinct_jurisdictions(moment: &Moment<'_>) -> Vec<Id> {
    let places: Vec<&Places> =
        moment.protection.iter().filter_map(|r| r.subject_region.as_ref()).collect();
    let mut seen = BTreeSet::new();
    let ids = moment.model.jurisdictions.ids();
    ids.filter(|j| {
        seen.insert(places.iter().map(|p| p.contains(*j, moment.at)).collect::<Vec<_>>())
    })
    .collect()
}
