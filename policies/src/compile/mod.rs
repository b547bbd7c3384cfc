//! From a model to a table: everything that can be decided before a record comes is decided here.

mod conflicts;
mod order;
mod protect;
mod read;
mod route;
mod table;

pub(crate) use conflicts::report_conflicts;
pub(crate) use route::{Case, Ground, Planner, ground_of, quoted};
pub(crate) use table::{CELLS_MAX, build, releases};

use crate::{
    document::Mode,
    model::{Access, Id, Model, Protection, TransferFacts, Window},
};

/// The rules in force at one time. With `shadow`, one rule in shadow mode counts among them.
#[derive(Clone, Debug)]
pub(crate) struct Moment<'m> {
    pub(crate) model: &'m Model,
    pub(crate) at: i64,
    pub(crate) access: Vec<&'m Access>,
    pub(crate) protection: Vec<&'m Protection>,
    pub(crate) transfer: Vec<&'m TransferFacts>,
}

impl<'m> Moment<'m> {
    pub(crate) fn new(model: &'m Model, at: i64, shadow: Option<Id>) -> Self {
        let counts = |rule: Id| {
            shadow == Some(rule) || model.heads.get(rule).is_some_and(|h| h.in_force(at))
        };
        Self {
            model,
            at,
            access: model.access.iter().filter(|r| counts(r.rule)).collect(),
            protection: model.protection.iter().filter(|r| counts(r.rule)).collect(),
            transfer: model.transfer.iter().filter(|r| counts(r.rule)).collect(),
        }
    }

    /// Rules in shadow mode whose dates include this time.
    pub(crate) fn shadows(&self) -> Vec<Id> {
        let heads = self.model.heads.iter().enumerate();
        let counts = heads.filter(|(_, h)| h.mode == Mode::Shadow && h.window.contains(self.at));
        let releases = &self.model.releases;
        // A release decides nothing about a record.
        counts.map(|(id, _)| id).filter(|id| releases.iter().all(|r| r.rule != *id)).collect()
    }
}

/// All times at which something changes, ascending.
pub(crate) fn turning_points(model: &Model) -> Vec<i64> {
    let heads = model.heads.iter().filter(|h| h.mode != Mode::Draft).flat_map(|h| h.window.edges());
    let members = model.members.iter().flatten().flat_map(|m| m.window.edges());
    let expiries = model.transfer.iter().filter_map(|t| t.mechanism.as_ref());
    let expiries = expiries.map(|m| m.expires).filter(|t| *t != i64::MAX);
    let mut all: Vec<i64> = heads.chain(members).chain(expiries).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The longest span around `at` in which nothing changes.
pub(crate) fn stable_window(model: &Model, at: i64) -> Window {
    let points = turning_points(model);
    let from = points.iter().rev().find(|t| **t <= at).copied().unwrap_or(i64::MIN);
    let until = points.iter().find(|t| **t > at).copied().unwrap_or(i64::MAX);
    Window { from, until }
}
