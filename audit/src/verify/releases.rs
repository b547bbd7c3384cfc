//! Whether releases are what they promise: one stands for an id, its bytes are those that it
//! commits to, and what a person may have lost stays below the cap.
//!
//! Releases of one id may be in two chains for a moment: two writers raced, one lost, and it says so
//! before its chain ends or is continued. So a second one stands against the promise only once
//! both chains have ended; until then it is counted as unsettled.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{Divergence, What};
use crate::{
    BudgetLine, Charge, Cost, Entry, LossUnit, Position, Release, Row, Spent, WriterId,
    blob_digest, budget, json::text, utc::utc,
};

/// Releases, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReleaseCounts {
    /// One an id.
    pub stand: u64,
    /// Of those that stand.
    pub published: u64,
    pub void: u64,
    /// Second ones of an id whose writer may still declare one of them void.
    pub unsettled: u64,
    /// Windows that were not released.
    pub refused: u64,
    /// Charges without a release: its window was refused or interrupted. Where rows were cut from
    /// the tail, theirs too.
    pub unreleased: u64,
    /// Blobs that releases commit to and that are no longer kept, or were not handed over.
    pub blobs_detached: u64,
}

/// What a person may have lost in one period of an account, recomputed from releases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetSpent {
    pub account: String,
    pub period_us: i64,
    pub unit: LossUnit,
    pub spent: Spent,
    /// The smallest cap that a release of the period names, in loss and in delta.
    pub cap: Cost,
    pub releases: u64,
    /// Whether the period was blocked: what is known of it may not be all.
    pub is_blocked: bool,
}

/// A release that was met.
struct Met {
    at: Position,
    /// Its number in [`Releases::charges`].
    charge: usize,
}

type LineKey = (String, i64, [u8; 32], LossUnit, u32, [u64; 4]);

/// What rows say of releases, until all rows were met.
#[derive(Default)]
pub(super) struct Releases {
    by_id: BTreeMap<[u8; 16], Vec<Met>>,
    /// Messages of each release, by its position.
    messages: BTreeMap<Position, u32>,
    /// Each distinct line with its cap, once.
    charges: Vec<BudgetLine>,
    charge_of: BTreeMap<LineKey, usize>,
    /// Row, id and release.
    voids: Vec<((WriterId, u64), [u8; 16], Position)>,
    published: Vec<((WriterId, u64), [u8; 16], Position)>,
    refused: u64,
    blocked: BTreeSet<(String, i64)>,
    /// Writers that closed, or that another one continues.
    ended: BTreeSet<WriterId>,
    /// Digests that releases commit to.
    wanted: BTreeMap<[u8; 32], (WriterId, u64)>,
    kept: BTreeSet<[u8; 32]>,
    /// Digests under which other bytes are stored.
    false_blobs: BTreeSet<[u8; 32]>,
    /// Ids that a store's tables of releases and of charges have.
    tables: Option<[BTreeSet<[u8; 16]>; 2]>,
}

/// What [`Releases::finish`] found.
pub(super) struct Found {
    pub counts: ReleaseCounts,
    pub budget: Vec<BudgetSpent>,
    pub divergence: Option<Divergence>,
}

impl Releases {
    pub(super) fn row(&mut self, row: &Row) -> Result<(), What> {
        let here = (row.writer, row.wseq);
        for (entry, leaf) in row.entries.iter().zip(0_u32..) {
            let at = Position { writer: row.writer, wseq: row.wseq, leaf };
            match entry {
                Entry::Release(release) => self.release(release, at)?,
                Entry::ReleaseVoid(void) => self.voids.push((here, void.id, void.of)),
                Entry::ReleasePublished(p) => self.published.push((here, p.id, p.of)),
                Entry::ReleaseRefused(_) => self.refused += 1,
                Entry::BudgetBlocked(blocked) => {
                    self.blocked.insert((blocked.account.clone(), blocked.period_us));
                }
                Entry::WriterClose => drop(self.ended.insert(row.writer)),
                Entry::WriterOpen(open) => {
                    self.ended.extend(open.predecessor.iter().map(|p| p.writer));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn release(&mut self, release: &Release, at: Position) -> Result<(), What> {
        let is_backwards = release.window_start_us >= release.window_end_us
            || release.covers.iter().any(|covered| covered.from > covered.to);
        if is_backwards || release.uses_max == 0 {
            return Err(What::Release);
        }
        for digest in &release.blobs {
            self.wanted.entry(digest.0).or_insert((at.writer, at.wseq));
        }
        let line = BudgetLine { charges: 0, ..budget::line_of(&Charge::of(release)) };
        let number = self.charges.len();
        let charge = *self.charge_of.entry(key(&line)).or_insert(number);
        if charge == number {
            self.charges.push(line);
        }
        self.by_id.entry(release.id).or_default().push(Met { at, charge });
        self.messages.insert(at, release.messages);
        Ok(())
    }

    /// The number of messages of the release at a position, if there is one.
    pub(super) fn messages(&self, at: &Position) -> Option<u32> {
        self.messages.get(at).copied()
    }

    pub(super) fn with_tables(&mut self) {
        self.tables = Some(Default::default());
    }

    pub(super) fn listed(&mut self, id: &[u8; 16], at: &Position) -> bool {
        if let Some([listed, _]) = &mut self.tables {
            listed.insert(*id);
        }
        self.is_there(id, at)
    }

    pub(super) fn charged(&mut self, id: &[u8; 16]) {
        if let Some([_, charged]) = &mut self.tables {
            charged.insert(*id);
        }
    }

    /// Releases that a table has lost.
    fn lost(&self, counts: &mut ReleaseCounts) -> Option<Divergence> {
        let [listed, charged] = self.tables.as_ref()?;
        counts.unreleased =
            charged.iter().filter(|id| !self.by_id.contains_key(*id)).count() as u64;
        self.by_id.iter().find_map(|(id, all)| match (listed.contains(id), charged.contains(id)) {
            (true, true) => None,
            (_, false) => Some(diverges_at(all.first(), What::Uncharged)),
            (false, true) => Some(diverges_at(all.first(), What::Unlisted)),
        })
    }

    pub(super) fn blob(&mut self, digest: &[u8], bytes: &[u8]) {
        let Ok(digest) = <[u8; 32]>::try_from(digest) else { return };
        if blob_digest(bytes) == digest {
            self.kept.insert(digest);
        } else {
            self.false_blobs.insert(digest);
        }
    }

    pub(super) fn wanted_blobs(&self) -> Vec<[u8; 32]> {
        self.wanted.keys().filter(|digest| !self.kept.contains(*digest)).copied().collect()
    }

    /// All rows were met.
    pub(super) fn finish(&self) -> Found {
        let mut counts = ReleaseCounts { refused: self.refused, ..ReleaseCounts::default() };
        let blobs = self.blobs(&mut counts);
        let standing = self.standing(&mut counts);
        let stands = standing.as_ref().map_or(&[][..], Vec::as_slice);
        let (budget, above) = self.budget(stands);
        let lost = self.lost(&mut counts);
        let divergence = standing.as_ref().err().cloned().or(above).or(blobs).or(lost);
        Found { counts, budget, divergence }
    }

    fn blobs(&self, counts: &mut ReleaseCounts) -> Option<Divergence> {
        let mut missing = self.wanted.iter().filter(|(digest, _)| !self.kept.contains(*digest));
        let is_false = |(digest, _): &(&[u8; 32], _)| self.false_blobs.contains(*digest);
        counts.blobs_detached = missing.clone().count() as u64;
        missing.find(is_false).map(|(_, row)| diverges(*row, What::Blob))
    }

    /// The release that stands for each id.
    fn standing(&self, counts: &mut ReleaseCounts) -> Result<Vec<&Met>, Divergence> {
        let void = self.void()?;
        let published = self.published(&void)?;
        let mut stand = Vec::with_capacity(self.by_id.len());
        for (id, all) in &self.by_id {
            let mut left: Vec<&Met> = all.iter().filter(|met| !void.contains(&met.at)).collect();
            left.sort_by_key(|met| (published.get(id) != Some(&met.at), met.at));
            let ended = left.iter().filter(|met| self.ended.contains(&met.at.writer));
            if ended.count() > 1 {
                let last = left.iter().max_by_key(|met| met.at);
                return Err(diverges_at(last.copied(), What::ReleaseTwice));
            }
            let Some(first) = left.first() else {
                return Err(diverges_at(all.first(), What::ReleaseVoid));
            };
            if all.iter().any(|met| !self.is_alike(met, first)) {
                return Err(diverges_at(all.last(), What::Charges));
            }
            counts.unsettled += left.len().saturating_sub(1) as u64;
            stand.push(*first);
        }
        counts.stand = stand.len() as u64;
        counts.void = void.len() as u64;
        counts.published = published.len() as u64;
        Ok(stand)
    }

    /// Releases that lost. Each is there.
    fn void(&self) -> Result<BTreeSet<Position>, Divergence> {
        let mut void = BTreeSet::new();
        for (row, id, of) in &self.voids {
            if !self.is_there(id, of) {
                return Err(diverges(*row, What::ReleaseVoid));
            }
            void.insert(*of);
        }
        Ok(void)
    }

    /// What was published for each id: one release, which is there and not void.
    fn published(
        &self,
        void: &BTreeSet<Position>,
    ) -> Result<BTreeMap<[u8; 16], Position>, Divergence> {
        let mut published = BTreeMap::new();
        for (row, id, of) in &self.published {
            if void.contains(of) || !self.is_there(id, of) {
                return Err(diverges(*row, What::ReleasePublished));
            }
            if published.insert(*id, *of).is_some_and(|earlier| earlier != *of) {
                return Err(diverges(*row, What::ReleaseTwice));
            }
        }
        Ok(published)
    }

    fn is_there(&self, id: &[u8; 16], at: &Position) -> bool {
        self.by_id.get(id).is_some_and(|all| all.iter().any(|met| met.at == *at))
    }

    fn line(&self, met: &Met) -> Option<&BudgetLine> {
        self.charges.get(met.charge)
    }

    /// Whether both are the same charge; the cap may differ.
    fn is_alike(&self, one: &Met, other: &Met) -> bool {
        let of =
            |met| self.line(met).map(|line| BudgetLine { cap: Cost::default(), ..line.clone() });
        of(one) == of(other)
    }

    /// What each period of each account cost.
    fn budget(&self, stand: &[&Met]) -> (Vec<BudgetSpent>, Option<Divergence>) {
        let mut charges = self.charges.clone();
        let mut last: BTreeMap<(&str, i64), &Met> = BTreeMap::new();
        for met in stand {
            let Some(line) = charges.get_mut(met.charge) else { continue };
            line.charges += 1;
            let Some(line) = self.line(met) else { continue };
            last.insert((&line.account, line.period_us), met);
        }
        let mut lines = budget::folded(charges);
        lines.retain(|line| line.charges > 0);
        let mut divergence = None;
        let periods = lines.chunk_by(|a, b| (&a.account, a.period_us) == (&b.account, b.period_us));
        let mut budget = Vec::new();
        for period in periods {
            let Some(spent) = self.spent(period) else { continue };
            let what = if contradict(period) {
                Some(What::Charges)
            } else if !spent.spent.is_within(spent.cap) {
                Some(What::AboveCap)
            } else {
                None
            };
            if let (None, Some(what)) = (&divergence, what) {
                let at = last.get(&(spent.account.as_str(), spent.period_us));
                divergence = Some(diverges_at(at.copied(), what));
            }
            budget.push(spent);
        }
        (budget, divergence)
    }

    fn spent(&self, period: &[BudgetLine]) -> Option<BudgetSpent> {
        let first = period.first()?;
        let (account, period_us) = (first.account.clone(), first.period_us);
        Some(BudgetSpent {
            is_blocked: self.blocked.contains(&(account.clone(), period_us)),
            account,
            period_us,
            unit: first.unit,
            spent: Spent::of(period),
            cap: budget::cap_of(period)?,
            releases: period.iter().map(|line| line.charges).sum(),
        })
    }
}

/// Two units in a period, or a line with two costs: a charge like that is refused, so no release
/// comes of it. Lines are sorted, and alike ones added up.
fn contradict(period: &[BudgetLine]) -> bool {
    let mut lines = BTreeSet::new();
    let is_one_unit = period.iter().zip(period.iter().skip(1)).all(|(a, b)| a.unit == b.unit);
    !is_one_unit || !period.iter().all(|line| lines.insert(line.line))
}

fn key(line: &BudgetLine) -> LineKey {
    let costs = [line.cost.loss, line.cost.delta, line.cap.loss, line.cap.delta];
    (line.account.clone(), line.period_us, line.line, line.unit, line.uses_max, costs)
}

fn diverges((writer, wseq): (WriterId, u64), what: What) -> Divergence {
    Divergence { writer, wseq, what }
}

/// At a release that is there; the zeros never show.
fn diverges_at(met: Option<&Met>, what: What) -> Divergence {
    let row = met.map_or((WriterId([0; 16]), 0), |met| (met.at.writer, met.at.wseq));
    diverges(row, what)
}

impl ReleaseCounts {
    pub(super) fn json(&self) -> String {
        format!(
            concat!(
                r#"{{"stand":{},"published":{},"void":{},"unsettled":{},"refused":{},"#,
                r#""unreleased":{},"blobs_detached":{}}}"#
            ),
            self.stand,
            self.published,
            self.void,
            self.unsettled,
            self.refused,
            self.unreleased,
            self.blobs_detached
        )
    }
}

impl fmt::Display for ReleaseCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} published, {} void", self.stand, self.published, self.void)?;
        if self.unsettled > 0 {
            write!(f, ", {} unsettled", self.unsettled)?;
        }
        if self.unreleased > 0 {
            write!(f, ", {} charges without one", self.unreleased)?;
        }
        if self.blobs_detached > 0 {
            write!(f, ", {} blobs not kept", self.blobs_detached)?;
        }
        write!(f, "), {} windows refused", self.refused)
    }
}

impl BudgetSpent {
    pub(super) fn json(&self) -> String {
        let Self { spent, cap, .. } = self;
        format!(
            concat!(
                r#"{{"account":{},"period_us":{},"unit":"{}","loss":{},"loss_cap":{},"#,
                r#""delta_atto":{},"delta_atto_cap":{},"releases":{},"blocked":{}}}"#
            ),
            text(&self.account),
            self.period_us,
            self.unit.word(),
            spent.loss,
            cap.loss,
            spent.delta,
            cap.delta,
            self.releases,
            self.is_blocked
        )
    }
}

impl fmt::Display for BudgetSpent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, unit, spent, cap, releases, .. } = self;
        write!(f, "{account} from {}: {} of {}", utc(self.period_us), spent.loss, cap.loss)?;
        write!(f, " {}, delta {} of {} e-18", unit.word(), spent.delta, cap.delta)?;
        write!(f, ", {releases} releases")?;
        if self.is_blocked { f.write_str(", BLOCKED") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
