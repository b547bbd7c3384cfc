//! Policy words as ledger words: treatments, crossings, outcomes. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use sluicegate_audit as audit;
use sluicegate_audit::{Digest32, Entry, Position};
use sluicegate_policies::{
    Delivery, FieldPath, JurisdictionId, Plan, RefusalCode, Route, Spending, Transform,
    release::{Keys, Unit, What},
};

use super::RECONCILE_EVENTS;
use crate::{
    contribute::Contributor,
    deliver::{DeliverError, Landing},
    identify::Principal,
    record::Via,
};

/// Says that a record had every field of its treatment: what the judge knows of it does not come
/// this far yet.
pub(super) fn present_all(fields: usize) -> audit::Present {
    audit::Present::of((0..fields).map(|_| true))
}

/// What an intent has used so far.
#[derive(Default)]
pub(super) struct Used {
    pub digests: Vec<Digest32>,
    pub details: Vec<([u8; 32], Vec<u8>)>,
    /// The number of a treatment, and of its fields.
    pub numbers: HashMap<(JurisdictionId, Via), (u32, usize)>,
    pub transfers: Vec<(Digest32, audit::Crossing, u32)>,
    transfer_of: HashMap<u32, usize>,
}

impl Used {
    pub(super) fn count_transfer(
        &mut self,
        number: u32,
        crossing: impl FnOnce() -> audit::Crossing,
    ) {
        let Some(digest) = self.digests.get(number as usize).copied() else { return };
        let at = *self.transfer_of.entry(number).or_insert_with(|| {
            self.transfers.push((digest, crossing(), 0));
            self.transfers.len() - 1
        });
        if let Some((_, _, records)) = self.transfers.get_mut(at) {
            *records += 1;
        }
    }
}

pub(super) fn actor(who: &Principal) -> audit::Actor {
    audit::Actor { id: who.name.to_string(), by: who.by.as_str().to_owned() }
}

pub(super) fn admin(actor: audit::Actor, action: &str, result: &str, about: String) -> Entry {
    Entry::Admin(audit::Admin {
        actor,
        action: action.to_owned(),
        result: result.to_owned(),
        about,
    })
}

pub(super) fn texts(names: &[Arc<str>]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

pub(super) fn crossing(transfer: &sluicegate_policies::Transfer) -> audit::Crossing {
    audit::Crossing {
        rule: transfer.rule.to_string(),
        from: transfer.from.to_string(),
        to: transfer.to.to_string(),
        recipient: transfer.recipient.to_string(),
        mechanism: transfer.mechanism.to_string(),
        categories: texts(&transfer.categories),
    }
}

pub(super) fn treatment(
    route: &Route,
    delivery: &Delivery,
    jurisdiction: &str,
) -> audit::Treatment {
    let plan = &delivery.plan;
    let mut rules: BTreeSet<String> = plan.rules.iter().map(ToString::to_string).collect();
    rules.extend(delivery.transfer.iter().map(|t| t.rule.to_string()));
    rules.extend(route.shadow.iter().map(|rule| format!("shadow:{rule}")));
    let withheld = |w: &sluicegate_policies::Withheld| audit::Withheld {
        region: w.region.to_string(),
        code: w.why.code.as_str().to_owned(),
        rule: w.why.rule.as_deref().unwrap_or_default().to_owned(),
    };
    audit::Treatment {
        region: delivery.region.to_string(),
        jurisdiction: jurisdiction.to_owned(),
        rules: rules.into_iter().collect(),
        transforms: transforms(plan),
        keys: keys(plan),
        transfer: delivery.transfer.iter().map(crossing).collect(),
        withheld: route.withheld.iter().map(withheld).collect(),
        topic: None,
    }
}

/// What is done to a record on its way into a release. `held` is the delivery that allows it to be
/// in the release's region: a contribution crosses the same border as a copy.
pub(super) fn contributes(
    contributor: &Contributor,
    held: Option<&Delivery>,
    jurisdiction: &str,
) -> audit::Treatment {
    let plan = &contributor.plan;
    let mut transforms = Vec::new();
    let mut keys = Vec::new();
    let mut taken = |field: &FieldPath, how: &str| {
        transforms.push(audit::FieldTransform {
            field: field.written.to_string(),
            category: String::new(),
            transform: format!("{how} (release {})", plan.name),
            rules: vec![plan.name.to_string()],
        });
    };
    if let Unit::Subject(unit) = &plan.unit {
        taken(&unit.path, "subject digest");
        keys.push(audit::KeyUse {
            key: unit.key.to_string(),
            domain: unit.domain.to_string(),
            scope: format!("release={}", plan.name),
            epoch: 0,
        });
    }
    if let Keys::Public { path, .. } | Keys::Unknown { path, .. } = &plan.keys {
        taken(path, "group");
    }
    for output in &plan.outputs {
        if let What::Sum { path, .. } = &output.what {
            taken(path, "clamp and sum");
        }
    }
    let transfer = held.and_then(|delivery| delivery.transfer.as_ref());
    let rules = transfer.iter().map(|t| t.rule.to_string()).chain([plan.name.to_string()]);
    audit::Treatment {
        region: plan.region.to_string(),
        jurisdiction: jurisdiction.to_owned(),
        rules: rules.collect::<BTreeSet<_>>().into_iter().collect(),
        transforms,
        keys,
        transfer: transfer.into_iter().map(crossing).collect(),
        withheld: vec![],
        topic: Some(contributor.topic.to_string()),
    }
}

fn transforms(plan: &Plan) -> Vec<audit::FieldTransform> {
    plan.fields
        .iter()
        .map(|field| audit::FieldTransform {
            field: field.path.written.to_string(),
            category: field.category.to_string(),
            transform: field.transform.to_string(),
            rules: texts(&field.rules),
        })
        .collect()
}

fn keys(plan: &Plan) -> Vec<audit::KeyUse> {
    let mut keys: Vec<audit::KeyUse> = Vec::new();
    for field in &plan.fields {
        let used = match &field.transform {
            Transform::Tokenize(token) => audit::KeyUse {
                key: token.key.to_string(),
                domain: token.domain.to_string(),
                scope: token.scope.to_string(),
                epoch: token.epoch,
            },
            Transform::Randomise(randomise) => {
                // Fresh noise has no key.
                let Spending::Memoised { key, .. } = &randomise.spending else { continue };
                audit::KeyUse {
                    key: key.to_string(),
                    domain: String::new(),
                    scope: format!("permanent answers={}", field.path.written),
                    epoch: 0,
                }
            }
            _ => continue,
        };
        if !keys.contains(&used) {
            keys.push(used);
        }
    }
    keys
}

pub(super) fn empty_treatment() -> audit::Treatment {
    audit::Treatment {
        region: String::new(),
        jurisdiction: String::new(),
        rules: vec![RefusalCode::NoRegion.as_str().to_owned()],
        transforms: vec![],
        keys: vec![],
        transfer: vec![],
        withheld: vec![],
        topic: None,
    }
}

/// Landings as the ledger says them. An intent with an unknown landing stays open.
pub(super) fn outcome<'a>(
    first: Position,
    landings: impl Iterator<Item = &'a Landing>,
) -> audit::Outcome {
    type To = (Arc<str>, Arc<str>);
    let mut placed: BTreeMap<(To, u32), Vec<audit::At>> = BTreeMap::new();
    let mut missing: BTreeMap<(To, audit::MissingState, &'static str), Vec<u32>> = BTreeMap::new();
    let mut complete = true;
    for landing in landings {
        let to = (landing.region.clone(), landing.topic.clone());
        match &landing.result {
            Ok(at) => placed
                .entry((to, at.partition))
                .or_default()
                .push(audit::At::one(at.offset, landing.leaf)),
            Err(error) => {
                let state = match error {
                    DeliverError::Unknown(_) => audit::MissingState::NotConfirmed,
                    _ => audit::MissingState::NotWritten,
                };
                complete &= state != audit::MissingState::NotConfirmed;
                missing.entry((to, state, error.code())).or_default().push(landing.leaf);
            }
        }
    }
    let placed = placed.into_iter().map(|(((region, topic), partition), mut at)| {
        at.sort_unstable();
        audit::Placement { region: region.to_string(), topic: topic.to_string(), partition, at }
    });
    let missing = missing.into_iter().map(|(((region, topic), state, code), leaves)| {
        let (region, topic, code) = (region.to_string(), topic.to_string(), code.to_owned());
        audit::Missing { region, topic, state, code, leaves }
    });
    let (placed, missing) = (placed.collect(), missing.collect());
    audit::Outcome { of: first, placed, missing, repeat_of: vec![], complete }
}

pub(super) fn in_groups(open: Vec<audit::OpenIntent>) -> Vec<Vec<audit::OpenIntent>> {
    let mut groups: Vec<Vec<audit::OpenIntent>> = Vec::new();
    let mut room = 0;
    for intent in open {
        let size = intent.leaves.len().max(1);
        match groups.last_mut() {
            Some(group) if size <= room => group.push(intent),
            _ => {
                room = RECONCILE_EVENTS;
                groups.push(vec![intent]);
            }
        }
        room = room.saturating_sub(size);
    }
    groups
}
