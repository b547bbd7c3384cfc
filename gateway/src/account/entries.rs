//! Decisions and delivery results, as entries of the ledger. Pure.

use std::collections::BTreeMap;

use sluicegate_audit as audit;
use sluicegate_audit::{Entry, Position, Recorded};

use crate::{
    deliver::DeliveryResults,
    identify::Principal,
    record::{DeliverError, Placed, Verdict},
};

/// Events that one reconciliation asks a pipeline about at a time.
const RECONCILE_EVENTS: usize = 10_000;

/// What became of one copy of one record, or of a run's at consecutive offsets.
pub(super) struct DeliveryResult<'a> {
    pub leaf: u32,
    pub count: u32,
    pub region: &'a str,
    pub topic: &'a str,
    pub result: Result<Placed, &'a DeliverError>,
}

/// What became of each copy that was sent.
pub(super) fn results_of<'a>(
    recorded: &'a Recorded<Verdict>,
    results: &'a DeliveryResults,
) -> impl Iterator<Item = DeliveryResult<'a>> {
    let (verdict, first) = (recorded.get(), recorded.first().leaf);
    verdict.records().iter().flat_map(move |judged| {
        let (leaf, count) = (first.saturating_add(judged.leaf), judged.count);
        verdict.copies(judged).iter().filter_map(move |copy| {
            let (lot, result) = (verdict.lots().get(copy.lot)?, results.of(copy)?.as_ref());
            let result = result.copied();
            Some(DeliveryResult { leaf, count, region: &lot.region, topic: &lot.topic, result })
        })
    })
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

/// Anyone who has a shell on the machine and the keyring.
pub(super) fn by_shell() -> audit::Actor {
    audit::Actor { id: "operator".to_owned(), by: "shell".to_owned() }
}

/// Delivery results as the ledger says them. An intent with an unknown one stays open.
pub(super) fn outcome<'a>(
    first: Position,
    results: impl Iterator<Item = DeliveryResult<'a>>,
) -> audit::Outcome {
    type To<'t> = (&'t str, &'t str);
    let mut placed: BTreeMap<(To<'_>, u32), Vec<audit::At>> = BTreeMap::new();
    let mut missing: BTreeMap<(To<'_>, audit::MissingState, &str), Vec<u32>> = BTreeMap::new();
    let mut complete = true;
    for delivered in results {
        let to = (delivered.region, delivered.topic);
        match delivered.result {
            Ok(at) => placed.entry((to, at.partition)).or_default().push(audit::At {
                offset: at.offset,
                leaf: delivered.leaf,
                count: delivered.count,
            }),
            Err(error) => {
                let state = match error {
                    DeliverError::Unknown(_) => audit::MissingState::NotConfirmed,
                    _ => audit::MissingState::NotWritten,
                };
                complete &= state != audit::MissingState::NotConfirmed;
                missing.entry((to, state, error.code())).or_default().push(delivered.leaf);
            }
        }
    }
    let placed = placed.into_iter().map(|(((region, topic), partition), mut at)| {
        at.sort_unstable();
        at.dedup_by(|next, last| {
            let behind = last.offset.saturating_add(last.count.into());
            let joins = next.leaf == last.leaf && next.offset == behind;
            last.count = last.count.saturating_add(if joins { next.count } else { 0 });
            joins
        });
        audit::Placement { region: region.to_string(), topic: topic.to_string(), partition, at }
    });
    let missing = missing.into_iter().map(|(((region, topic), state, code), mut leaves)| {
        leaves.dedup();
        let (region, topic, code) = (region.to_string(), topic.to_string(), code.to_owned());
        audit::Missing { region, topic, state, code, leaves }
    });
    let (placed, missing) = (placed.collect(), missing.collect());
    audit::Outcome { of: first, placed, missing, repeat_of: vec![], complete }
}

pub(super) fn batches(open: Vec<audit::OpenIntent>) -> Vec<Vec<audit::OpenIntent>> {
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
