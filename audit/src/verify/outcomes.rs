//! Where records ended: the pieces of an intent's outcome, taken together.
//!
//! An intent is held here from its row on until it is complete, so that memory grows with what is
//! open and not with the ledger. Pieces of other chains may be met in any order: what is a
//! contradiction is one whatever came first.

use std::{collections::BTreeMap, sync::Arc};

use super::{Divergence, What};
use crate::{
    At, Intent, Missing, MissingState, Outcome, Placement, Position, WriterId,
    entry::release_message,
};

/// Open intents that a verdict lists.
const OPEN_SHOWN: usize = 5;

const LATE: &str = "an outcome of an intent that is complete, or of none";

/// Region and topic of a copy.
pub(super) type Destination = (Arc<str>, Arc<str>);

/// A leaf that has to end: its number of records, and where its copies go.
pub(super) struct Due {
    pub records: u32,
    pub copies: Vec<Destination>,
}

struct Copy {
    to: Destination,
    placed: u32,
    at: Vec<(u32, At)>,
    ending: Option<MissingState>,
}

struct Leaf {
    records: u32,
    copies: Vec<Copy>,
}

struct Open {
    first: u32,
    /// `None` for a leaf that is not kept.
    leaves: Vec<Option<Leaf>>,
    /// What was said before is no longer at hand.
    reopened: bool,
}

/// How often an intent was taken up again, and how often it ended. Which came first is not known: they stand in several
/// chains.
#[derive(Default)]
struct Again {
    reopened: u32,
    ends: u32,
    /// A piece behind an end, which has to be explained.
    late: Option<(WriterId, u64)>,
}

#[derive(Default)]
pub(super) struct Outcomes {
    open: BTreeMap<Position, Open>,
    /// Those that were taken up again, or of which a piece was met behind their end.
    again: BTreeMap<Position, Again>,
    /// Pieces that were met before their intent.
    early: Vec<((WriterId, u64), Outcome)>,
}

fn rule<T>(what: &'static str) -> Result<T, What> {
    Err(What::Rule(what))
}

/// What is published of a release: its messages, and nothing else. Publications say the rest.
pub(super) fn of_release(outcome: &Outcome, messages: u32) -> Result<(), What> {
    let is_ours = |leaf: u32| {
        let (entry, message) = release_message(leaf);
        entry == outcome.of.leaf && message < messages
    };
    let placed = outcome.placed.iter().flat_map(|placement| &placement.at);
    let leaves =
        placed.map(|at| at.leaf).chain(outcome.missing.iter().flat_map(|m| m.leaves.clone()));
    match leaves.into_iter().all(is_ours) && outcome.repeat_of.is_empty() {
        true => Ok(()),
        false => rule("an outcome names a message that its release does not have"),
    }
}

impl Outcomes {
    pub(super) fn intent(
        &mut self,
        at: (WriterId, u64),
        intent: &Intent,
        leaves: impl Iterator<Item = Option<Due>>,
    ) {
        let of = Position { writer: at.0, wseq: at.1, leaf: intent.first_leaf };
        let copy = |to| Copy { to, placed: 0, at: vec![], ending: None };
        let leaf = |due: Due| Leaf {
            records: due.records,
            copies: due.copies.into_iter().map(copy).collect(),
        };
        let leaves = leaves.map(|due| due.map(leaf)).collect();
        let reopened = self.again.get(&of).is_some_and(|again| again.reopened > 0);
        self.open.insert(of, Open { first: intent.first_leaf, leaves, reopened });
    }

    /// `is_there`: whether the intent's row has been met.
    pub(super) fn piece(
        &mut self,
        at: (WriterId, u64),
        outcome: &Outcome,
        is_there: bool,
    ) -> Result<(), What> {
        if outcome.repeat_of.len() > 1 {
            return rule("an outcome is a repetition of more than one intent");
        }
        let sent_nothing = outcome.placed.is_empty() && outcome.missing.is_empty();
        let is_whole = outcome.complete && sent_nothing;
        if !outcome.repeat_of.is_empty() && !is_whole {
            return rule("a repetition was sent, or is not complete");
        }
        if !is_there {
            self.early.push((at, outcome.clone()));
            return Ok(());
        }
        self.apply(at, outcome)
    }

    fn apply(&mut self, at: (WriterId, u64), outcome: &Outcome) -> Result<(), What> {
        match self.open.get_mut(&outcome.of) {
            Some(open) => open.apply(outcome)?,
            None => self.again(outcome.of, true).late = Some(at),
        }
        if outcome.complete {
            self.open.remove(&outcome.of);
            if let Some(again) = self.again.get_mut(&outcome.of) {
                again.ends = again.ends.saturating_add(1);
            }
        }
        Ok(())
    }

    fn again(&mut self, of: Position, is_there: bool) -> &mut Again {
        let has_ended = is_there && !self.open.contains_key(&of);
        self.again.entry(of).or_insert_with(|| Again { ends: has_ended.into(), ..Again::default() })
    }

    pub(super) fn reopened(&mut self, of: Position, is_there: bool) {
        let again = self.again(of, is_there);
        again.reopened = again.reopened.saturating_add(1);
        if let Some(open) = self.open.get_mut(&of) {
            open.reopened = true;
        }
    }

    /// Pieces that came before their intents, or behind an end, now that all rows were met. Whether an intent is there
    /// is not known of what is no longer kept.
    pub(super) fn finish(
        &mut self,
        is_there: impl Fn(&Position) -> Option<bool>,
        messages: impl Fn(&Position) -> Option<u32>,
    ) -> Option<Divergence> {
        let diverges = |(writer, wseq), what| Some(Divergence { writer, wseq, what });
        for (at, outcome) in std::mem::take(&mut self.early) {
            let found = match (messages(&outcome.of), is_there(&outcome.of)) {
                (Some(messages), _) => of_release(&outcome, messages),
                (None, Some(true)) if outcome.complete || self.open.contains_key(&outcome.of) => {
                    self.apply(at, &outcome)
                }
                // It may be the older piece of an intent that a later one completed.
                (None, Some(true)) => Ok(()),
                (None, Some(false)) => rule("an outcome of an intent that is not there"),
                (None, None) => {
                    if let Some(again) = self.again.get_mut(&outcome.of) {
                        again.ends = again.ends.saturating_add(outcome.complete.into());
                    }
                    Ok(())
                }
            };
            if let Err(what) = found {
                return diverges(at, what);
            }
        }
        for (of, Again { reopened, ends, late }) in std::mem::take(&mut self.again) {
            if let Some(at) = late.filter(|_| reopened == 0) {
                return diverges(at, What::Rule(LATE));
            }
            // The first end of what is not kept is not known, and it had one, or it would be open still.
            let first = u32::from(is_there(&of).is_some());
            if ends < first.saturating_add(reopened) {
                let unknown = || Open { first: of.leaf, leaves: vec![], reopened: true };
                self.open.entry(of).or_insert_with(unknown);
            }
        }
        None
    }

    /// How many are open, and the first of them.
    pub(super) fn open(&self) -> (u64, Vec<Position>) {
        let first = self.open.keys().take(OPEN_SHOWN).copied().collect();
        (self.open.len() as u64, first)
    }
}

impl Open {
    fn apply(&mut self, outcome: &Outcome) -> Result<(), What> {
        for placement in &outcome.placed {
            for at in &placement.at {
                self.place(placement, at)?;
            }
        }
        for missing in &outcome.missing {
            self.miss(missing)?;
        }
        let has_end = |leaf: &Leaf| {
            leaf.copies.iter().all(|copy| {
                copy.placed == leaf.records
                    || matches!(copy.ending, Some(MissingState::NotWritten | MissingState::Unknown))
            })
        };
        let is_open = !self.leaves.iter().flatten().all(has_end);
        if outcome.complete && outcome.repeat_of.is_empty() && !self.reopened && is_open {
            return rule("an outcome is complete, and a copy has no end");
        }
        Ok(())
    }

    /// `None` for a leaf of which nothing is known.
    fn leaf(&mut self, leaf: u32) -> Result<Option<&mut Leaf>, What> {
        let n = leaf.checked_sub(self.first).map(|n| n as usize);
        match n.and_then(|n| self.leaves.get_mut(n)) {
            Some(leaf) => Ok(leaf.as_mut()),
            None if self.reopened => Ok(None),
            None => rule("an outcome names a leaf that its intent does not have"),
        }
    }

    fn place(&mut self, placement: &Placement, at: &At) -> Result<(), What> {
        if at.count == 0 {
            return rule("a placement of no record");
        }
        let reopened = self.reopened;
        let Some(leaf) = self.leaf(at.leaf)? else { return Ok(()) };
        let here =
            |copy: &&mut Copy| *copy.to.0 == placement.region && *copy.to.1 == placement.topic;
        let Some(copy) = leaf.copies.iter_mut().find(here) else {
            return rule("a record is placed where none of its treatments goes");
        };
        let place = (placement.partition, *at);
        if copy.at.contains(&place) {
            return Ok(());
        }
        let is_final = |state: &MissingState| *state != MissingState::NotConfirmed;
        if !reopened && copy.ending.as_ref().is_some_and(is_final) {
            return rule("a copy is placed, and was not written or will never be known");
        }
        copy.placed = copy.placed.saturating_add(at.count);
        copy.at.push(place);
        if copy.placed > leaf.records {
            return rule("a copy is placed twice in one region");
        }
        Ok(())
    }

    fn miss(&mut self, missing: &Missing) -> Result<(), What> {
        let all = 0..u32::try_from(self.leaves.len()).unwrap_or(u32::MAX);
        let leaves: Vec<u32> = match missing.leaves.is_empty() {
            true => all.map(|n| self.first.saturating_add(n)).collect(),
            false => missing.leaves.clone(),
        };
        let reopened = self.reopened;
        for leaf in leaves {
            let Some(leaf) = self.leaf(leaf)? else { continue };
            let records = leaf.records;
            let mut found = missing.leaves.is_empty() || missing.region.is_empty();
            for copy in leaf.copies.iter_mut().filter(|copy| missing.is_of(&copy.to)) {
                found = true;
                copy.miss(missing.state, records, reopened)?;
            }
            if !found && !reopened {
                return rule("a record is missing where none of its treatments goes");
            }
        }
        Ok(())
    }
}

impl Missing {
    fn is_of(&self, (region, topic): &Destination) -> bool {
        let is = |said: &str, of: &str| said.is_empty() || said == of;
        is(&self.region, region) && is(&self.topic, topic)
    }
}

impl Copy {
    fn miss(&mut self, state: MissingState, records: u32, reopened: bool) -> Result<(), What> {
        if state == MissingState::NotConfirmed {
            self.ending.get_or_insert(state);
            return Ok(());
        }
        if self.placed == records && !reopened {
            return rule("a copy is placed, and was not written or will never be known");
        }
        match self.ending.replace(state) {
            Some(before)
                if before != state && before != MissingState::NotConfirmed && !reopened =>
            {
                rule("a copy was not written, and will never be known")
            }
            _ => Ok(()),
        }
    }
}
