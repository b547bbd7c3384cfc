//! Records that stay home because a transfer rule forgot one of their categories.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    compile::{Case, Ground, Moment, Planner, ground_of, quoted},
    diagnostic::Findings,
    model::{Id, Model},
    plan::{RuleName, UnixMillis},
};

/// A rule that is the ground of some transfer, and of another one only for want of some
/// categories. One that is the ground of none may be meant for data to come.
pub(super) fn borders(model: &Model, at: UnixMillis, f: &mut Findings<'_>) {
    let mut planner = Planner::new(Moment::new(model, at.0, None));
    let mut grounds: BTreeSet<RuleName> = BTreeSet::new();
    let mut lacking: BTreeMap<(RuleName, Id, Id), BTreeSet<Arc<str>>> = BTreeMap::new();
    for (case, region) in transfers(&planner.moment) {
        match ground_of(&mut planner, case, region) {
            Ground::Rule(rule) => drop(grounds.insert(rule)),
            Ground::Lacks(rule, lacks) => {
                lacking.entry((rule, case.dataset, region)).or_default().extend(lacks);
            }
            Ground::Otherwise => {}
        }
    }
    for ((rule, dataset, region), lacks) in lacking {
        let Some(head) = model.heads.iter().find(|h| h.name == rule) else { continue };
        if !grounds.contains(&rule) {
            continue;
        }
        let lacks: Vec<Arc<str>> = lacks.into_iter().collect();
        let (dataset, region) = (model.datasets.name(dataset), model.regions.name(region));
        let message = format!(
            "records of `{dataset}` do not go to `{region}` by the rule `{rule}`: it lacks {}",
            quoted(&lacks)
        );
        f.warning(head.span, message)
            .help("add to its `categories`, or have a `ProtectionRule` drop what must not leave");
    }
}

/// Every case of a dataset that somebody may publish, with each region that the dataset names.
fn transfers(moment: &Moment<'_>) -> Vec<(Case, Id)> {
    let model = moment.model;
    let mut published: BTreeSet<(Id, Id)> = BTreeSet::new();
    for rule in moment.access.iter().filter(|rule| rule.allows && rule.publish) {
        let purposes = || rule.purposes.iter();
        published.extend(rule.datasets.iter().flat_map(|d| purposes().map(move |p| (d, p))));
    }
    let mut all = Vec::new();
    for (dataset, purpose) in published {
        let named = model.dataset_facts.get(dataset).map(|facts| facts.deliver_to.as_slice());
        for region in named.unwrap_or_default().iter().flatten() {
            let cases =
                model.jurisdictions.ids().map(|j| Case { dataset, purpose, jurisdiction: j });
            all.extend(cases.map(|case| (case, *region)));
        }
    }
    all
}
