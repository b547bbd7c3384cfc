//! The verifier: re-hashes everything, trusts nothing that is stored beside the bytes, holds what
//! entries say to the rules of the format, and names the first position that diverges. It has no
//! I/O; rows are fed to it.
//!
//! What a chain cannot show: rows cut from the tail. Only a head that somebody outside keeps
//! shows that; [`Verdict::heads`] is what to keep.

mod meaning;
mod outcomes;
mod reads;
mod releases;
mod segments;

use std::{collections::BTreeMap, fmt, sync::Arc};

pub use self::releases::{BudgetSpent, ReleaseCounts};

use self::{
    meaning::Known, outcomes::Outcomes, reads::Reads, releases::Releases, segments::Segments,
};
use crate::{
    Entry, Link, NOTES_FROM, Outcome, Position, Row, WriterId,
    id::hex,
    row::{self, decode_treatment, detail_digest_of, genesis, link_of},
};

/// A stored row, as a store or an export gives it.
pub struct Stored<'a> {
    pub writer: WriterId,
    pub wseq: u64,
    pub bytes: &'a [u8],
    /// The link that is stored beside the bytes, if the store keeps one.
    pub link: Option<&'a [u8]>,
    /// The leaves of the row, if they are still kept.
    pub manifest: Option<&'a [u8]>,
    /// What a store keeps beside them to search by.
    pub beside: Option<Beside<'a>>,
}

/// What a store keeps beside a row to search by.
pub struct Beside<'a> {
    pub t_us: i64,
    pub segment: u32,
    /// The filter of the leaves' digests, where leaves are kept.
    pub filter: Option<&'a [u8]>,
}

/// Where a store says that events are: a run of offsets without a hole.
pub struct Lookup<'a> {
    pub region: &'a str,
    pub topic: &'a str,
    pub partition: u32,
    pub offset_from: i64,
    pub offset_to: i64,
    /// The row with the intent.
    pub of: (WriterId, u64),
    /// The row with the outcome.
    pub at: (WriterId, u64),
}

/// Where and how a ledger diverges from what its own bytes promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{writer}/{wseq}: {what}")]
pub struct Divergence {
    pub writer: WriterId,
    pub wseq: u64,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum What {
    #[error(transparent)]
    Row(#[from] row::RowError),
    #[error("the row says that it is a different row than the one it is stored as")]
    Misplaced,
    #[error("the row belongs to another ledger")]
    OtherOrigin,
    #[error("a row is missing before this one")]
    Gap,
    #[error("the row is not chained to the previous row")]
    Unchained,
    #[error("the stored link is not the hash of the row")]
    Link,
    #[error("the leaves are not the ones that the row commits to")]
    Manifest,
    #[error("the time, segment or filter for searching does not match the row")]
    Beside,
    /// A table that names a row: rows were cut from the tail, or a chain was removed.
    #[error("the row is gone, but {0} still names it")]
    Gone(&'static str),
    #[error(
        "lookups by offset for records of this row, or of the next {BLOCK}, do not match the rows"
    )]
    Lookups,
    /// A rule of the format about what entries and leaves say.
    #[error("{0}")]
    Rule(&'static str),
    #[error("a treatment that a row refers to is missing")]
    DetailMissing,
    /// The opening of a writer or of a segment names the newest row of a chain.
    #[error("a later row saw a different row here, or one that is gone")]
    Sealed,
    #[error("a release contradicts itself")]
    Release,
    #[error("there is a second release with the same id")]
    ReleaseTwice,
    #[error("a release is void with no valid one of its id, or there is no such release")]
    ReleaseVoid,
    #[error("something was published that is not a release, or is a void one")]
    ReleasePublished,
    #[error("published bytes are not the ones that the release commits to")]
    Blob,
    #[error("the releases in one period of an account disagree about their cost")]
    Charges,
    #[error("a period of an account is charged above its cap")]
    AboveCap,
    #[error("a release is missing from the lookup table of releases")]
    Unlisted,
    #[error("the charge of a release is gone, and its budget could be spent again")]
    Uncharged,
}

/// Periods that the text for people lists.
const BUDGETS_SHOWN: usize = 20;

/// The newest row of a writer: keep it elsewhere, and a cut tail shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub writer: WriterId,
    pub wseq: u64,
    pub link: Link,
    pub closed: bool,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub origin: Option<String>,
    pub rows: u64,
    pub records: u64,
    /// Leaves that are no longer kept: committed to, not looked at.
    pub leaves_detached: u64,
    /// Records to deliver, refused, and with another fate, of the leaves that are kept.
    pub delivered: u64,
    pub refused: u64,
    pub other_fates: u64,
    /// The oldest segment that is kept, where rows before it are not.
    pub kept_from_segment: Option<u32>,
    /// Intents without a complete outcome, and the first few of them.
    pub open_intents: u64,
    pub open_first: Vec<Position>,
    pub releases: ReleaseCounts,
    /// What the releases cost, recomputed from them, by account and newest period first.
    pub budget: Vec<BudgetSpent>,
    pub heads: Vec<Head>,
    /// Notes that this program does not know, by their number.
    pub notes: BTreeMap<u32, u64>,
    /// The first entry with a meaning that this program does not know: its row and number.
    pub unjudged: Option<(WriterId, u64, u32)>,
    pub divergence: Option<Divergence>,
}

impl Verdict {
    /// Whether there was something to verify, all of it could be judged, and it verifies.
    pub fn is_ok(&self) -> bool {
        self.divergence.is_none() && self.unjudged.is_none() && self.rows > 0
    }

    /// As JSON, for programs.
    pub fn json(&self) -> String {
        let list = |items: Vec<String>| items.join(",");
        let heads = self.heads.iter().map(|head| {
            let Head { writer, wseq, link, closed } = head;
            let link = hex(link);
            format!(r#"{{"writer":"{writer}","row":{wseq},"link":"{link}","closed":{closed}}}"#)
        });
        let or_null = |text: Option<String>| text.unwrap_or_else(|| "null".to_owned());
        let divergence = self.divergence.as_ref().map(|d| {
            format!(r#"{{"writer":"{}","row":{},"what":"{}"}}"#, d.writer, d.wseq, d.what)
        });
        let unjudged = self.unjudged.map(|(writer, wseq, number)| {
            format!(r#"{{"writer":"{writer}","row":{wseq},"kind":{number}}}"#)
        });
        let notes = self.notes.iter().map(|(number, times)| format!(r#""{number}":{times}"#));
        format!(
            concat!(
                r#"{{"ok":{},"rows":{},"records":{},"leaves_detached":{},"delivered":{},"#,
                r#""refused":{},"other_fates":{},"kept_from_segment":{},"open_intents":{},"#,
                r#""open_first":[{}],"releases":{},"budget":[{}],"heads":[{}],"notes":{{{}}},"#,
                r#""unjudged":{},"divergence":{}}}"#
            ),
            self.is_ok(),
            self.rows,
            self.records,
            self.leaves_detached,
            self.delivered,
            self.refused,
            self.other_fates,
            or_null(self.kept_from_segment.map(|segment| segment.to_string())),
            self.open_intents,
            list(self.open_first.iter().map(|at| format!("\"{at}\"")).collect()),
            self.releases.json(),
            list(self.budget.iter().map(BudgetSpent::json).collect()),
            list(heads.collect()),
            list(notes.collect()),
            or_null(unjudged),
            or_null(divergence)
        )
    }

    fn headline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.divergence, self.unjudged) {
            (Some(divergence), _) => writeln!(f, "the ledger DIVERGES at {divergence}"),
            (None, Some((writer, wseq, number))) => writeln!(
                f,
                "the ledger is not judged: kind {number} at {writer}/{wseq} is not known to this \
                 program, use a newer one"
            ),
            _ if self.rows == 0 => writeln!(f, "nothing to verify: the ledger has no rows"),
            _ => writeln!(f, "the ledger verifies"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.headline(f)?;
        if let Some(origin) = &self.origin {
            writeln!(f, "  origin     {origin}")?;
        }
        if let Some(segment) = self.kept_from_segment {
            writeln!(f, "  kept       rows before segment {segment} are no longer kept")?;
        }
        writeln!(f, "  rows       {} of {} writer(s)", self.rows, self.heads.len())?;
        write!(f, "  records    {}", self.records)?;
        writeln!(f, " ({} to deliver, {} refused)", self.delivered, self.refused)?;
        if self.leaves_detached > 0 {
            let detached = self.leaves_detached;
            writeln!(f, "  detached   {detached} leaves are committed to, but not kept")?;
        }
        if self.open_intents > 0 {
            let open: Vec<_> = self.open_first.iter().map(ToString::to_string).collect();
            let more = self.open_intents.saturating_sub(open.len() as u64);
            write!(f, "  open       {} intents without an outcome", self.open_intents)?;
            write!(f, ": {}", open.join(", "))?;
            writeln!(f, "{}", if more > 0 { ", …" } else { "" })?;
        }
        for (number, times) in &self.notes {
            writeln!(f, "  notes      {times} of kind {number}, which this program does not know")?;
        }
        if self.releases.stand > 0 {
            writeln!(f, "  releases   {}", self.releases)?;
        }
        for spent in self.budget.iter().take(BUDGETS_SHOWN) {
            writeln!(f, "  budget     {spent}")?;
        }
        let more = self.budget.len().saturating_sub(BUDGETS_SHOWN);
        if more > 0 {
            writeln!(f, "  budget     and {more} more periods; the JSON has them all")?;
        }
        for head in &self.heads {
            let closed = if head.closed { "closed" } else { "open" };
            writeln!(f, "  head       {}/{} {} {closed}", head.writer, head.wseq, hex(&head.link))?;
        }
        Ok(())
    }
}

/// Rows of a writer whose lookups are compared together.
const BLOCK: u64 = 1_024;

struct Chain {
    /// The first row that is kept.
    first: u64,
    wseq: u64,
    link: Link,
    segment: u32,
    closed: bool,
}

/// Takes rows, those of a writer in order, and treatments before the rows that refer to them.
#[derive(Default)]
pub struct Verifier {
    verdict: Verdict,
    chains: BTreeMap<WriterId, Chain>,
    details: BTreeMap<[u8; 32], Arc<Known>>,
    segments: Segments,
    outcomes: Outcomes,
    reads: Reads,
    /// For each block of rows with intents, the sum of what their lookups hash to, less the sum
    /// of what the outcomes in rows say they are: nothing is left where both are the same.
    lookups: Option<BTreeMap<(WriterId, u64), u128>>,
    releases: Releases,
}

impl Verifier {
    /// Checks that all rows are of this ledger; without it the first row says which.
    pub fn of_origin(origin: Option<String>) -> Self {
        Self { verdict: Verdict { origin, ..Verdict::default() }, ..Self::default() }
    }

    /// Also compares the tables that a store is searched by: with rows, all of
    /// [`Verifier::lookup`], [`Verifier::listed`] and [`Verifier::charged`] have to be given.
    pub fn with_tables(mut self) -> Self {
        self.lookups = Some(BTreeMap::new());
        self.releases.with_tables();
        self
    }

    /// An entry of a store's lookup table, whose rows are there.
    pub fn lookup(&mut self, lookup: &Lookup<'_>) {
        self.add_lookup(lookup, u128::wrapping_add);
    }

    /// A table names a row that is gone.
    pub fn gone(&mut self, table: &'static str, writer: WriterId, wseq: u64) {
        let gone = Divergence { writer, wseq, what: What::Gone(table) };
        self.verdict.divergence.get_or_insert(gone);
    }

    /// An entry of a store's table of releases. `false`: no row has the release.
    pub fn listed(&mut self, id: &[u8; 16], at: &Position) -> bool {
        self.releases.listed(id, at)
    }

    /// The id of a charge.
    pub fn charged(&mut self, id: &[u8; 16]) {
        self.releases.charged(id);
    }

    fn add_lookup(&mut self, lookup: &Lookup<'_>, add: fn(u128, u128) -> u128) {
        let Some(lookups) = &mut self.lookups else { return };
        let Lookup { region, topic, partition, offset_from, offset_to, of, at } = lookup;
        let mut hash = blake3::Hasher::new();
        for text in [region, topic] {
            hash.update(&(text.len() as u64).to_be_bytes()).update(text.as_bytes());
        }
        hash.update(&partition.to_be_bytes());
        hash.update(&offset_from.to_be_bytes()).update(&offset_to.to_be_bytes());
        for (writer, wseq) in [of, at] {
            hash.update(&writer.0).update(&wseq.to_be_bytes());
        }
        let mut number = [0; 16];
        hash.finalize_xof().fill(&mut number);
        let sum = lookups.entry((of.0, of.1 / BLOCK)).or_default();
        *sum = add(*sum, u128::from_be_bytes(number));
    }

    /// A stored treatment.
    pub fn detail(&mut self, digest: &[u8], bytes: &[u8]) {
        let computed = detail_digest_of(bytes);
        if computed != digest {
            // It is unknown which row it was for; the row that needs it will report it missing.
            return;
        }
        // What is no treatment is not one that a row may refer to.
        if let Ok(treatment) = decode_treatment(bytes) {
            self.details.insert(computed, Arc::new(Known::of(treatment)));
        }
    }

    /// What a release published, under the digest that it is stored by.
    pub fn blob(&mut self, digest: &[u8], bytes: &[u8]) {
        self.releases.blob(digest, bytes);
    }

    /// Digests that releases commit to and whose bytes were not met yet.
    pub fn wanted_blobs(&self) -> Vec<[u8; 32]> {
        self.releases.wanted_blobs()
    }

    /// The next row of its writer. The first divergence is kept; after it, rows are only counted.
    pub fn row(&mut self, stored: &Stored<'_>) {
        if self.try_row(stored).is_err() {
            self.diverges((stored.writer, stored.wseq), What::DetailMissing);
        }
    }

    /// As [`Verifier::row`]. Where treatments that it refers to were not met yet, it gives their
    /// digests, and nothing has happened.
    pub fn try_row(&mut self, stored: &Stored<'_>) -> Result<(), Vec<[u8; 32]>> {
        if self.verdict.divergence.is_some() {
            return Ok(());
        }
        let checked = match Row::decode(stored.bytes) {
            Err(error) => Err(error.into()),
            Ok(row) => {
                let missing = self.missing(&row);
                if !missing.is_empty() {
                    return Err(missing);
                }
                self.check(&row, stored)
            }
        };
        if let Err(what) = checked {
            self.diverges((stored.writer, stored.wseq), what);
        }
        Ok(())
    }

    fn diverges(&mut self, (writer, wseq): (WriterId, u64), what: What) {
        self.verdict.divergence.get_or_insert(Divergence { writer, wseq, what });
    }

    fn missing(&self, row: &Row) -> Vec<[u8; 32]> {
        let mut missing = Vec::new();
        for entry in &row.entries {
            let (Entry::Intent(crate::Intent { treatments, .. })
            | Entry::Read(crate::ReadAccess { treatments, .. })) = entry
            else {
                continue;
            };
            let digests = treatments.iter().map(|digest| digest.0);
            missing.extend(digests.filter(|digest| !self.details.contains_key(digest)));
        }
        missing
    }

    fn check(&mut self, row: &Row, stored: &Stored<'_>) -> Result<(), What> {
        if row.writer != stored.writer || row.wseq != stored.wseq {
            return Err(What::Misplaced);
        }
        let origin = self.verdict.origin.get_or_insert_with(|| row.origin.clone());
        if *origin != row.origin {
            return Err(What::OtherOrigin);
        }
        let chain = self.chains.get(&row.writer);
        if chain.is_some_and(|chain| chain.wseq.checked_add(1) != Some(row.wseq)) {
            return Err(What::Gap);
        }
        let expected = match chain {
            Some(chain) => chain.link,
            None if row.wseq == 0 => genesis(&row.origin, row.writer),
            // The rows before are in a segment that is no longer kept, or missing.
            None => segments::predecessor(row).ok_or(What::Gap)?,
        };
        if row.prev != expected {
            return Err(What::Unchained);
        }
        let link = link_of(stored.bytes);
        if stored.link.is_some_and(|stored| stored != link) {
            return Err(What::Link);
        }
        let before = chain.map(|chain| (chain.first, chain.segment));
        self.segments.row(row, before.map(|(_, segment)| segment), link)?;
        self.meaning(row, stored)?;
        let closed = row.entries.iter().any(|e| matches!(e, Entry::WriterClose));
        let first = before.map_or(row.wseq, |(first, _)| first);
        let segment = row.segment;
        self.chains.insert(row.writer, Chain { first, wseq: row.wseq, link, segment, closed });
        self.verdict.rows += 1;
        self.releases.row(row)?;
        self.outcomes_of(row)
    }

    /// The pieces of outcomes in a row, behind everything else that it says.
    fn outcomes_of(&mut self, row: &Row) -> Result<(), What> {
        let at = (row.writer, row.wseq);
        for entry in &row.entries {
            match entry {
                Entry::Outcome(outcome) => {
                    self.placed(outcome, at);
                    let there = self.is_there(&outcome.of);
                    match self.releases.messages(&outcome.of) {
                        Some(messages) => outcomes::of_release(outcome, messages)?,
                        None => self.outcomes.piece(at, outcome, there)?,
                    }
                }
                Entry::Reopened(reopened) => {
                    let there = self.is_there(&reopened.of);
                    self.outcomes.reopened(reopened.of, there);
                }
                Entry::Other { number, .. } if *number >= NOTES_FROM => {
                    *self.verdict.notes.entry(*number).or_default() += 1;
                }
                Entry::Other { number, .. } => {
                    self.verdict.unjudged.get_or_insert((at.0, at.1, *number));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn is_there(&self, of: &Position) -> bool {
        self.chains
            .get(&of.writer)
            .is_some_and(|chain| (chain.first..=chain.wseq).contains(&of.wseq))
    }

    fn placed(&mut self, outcome: &Outcome, at: (WriterId, u64)) {
        if self.lookups.is_none() {
            return;
        }
        for placement in &outcome.placed {
            for (offset_from, offset_to) in placement.stretches() {
                let lookup = Lookup {
                    region: &placement.region,
                    topic: &placement.topic,
                    partition: placement.partition,
                    offset_from,
                    offset_to,
                    of: (outcome.of.writer, outcome.of.wseq),
                    at,
                };
                self.add_lookup(&lookup, u128::wrapping_sub);
            }
        }
    }

    /// The verdict over all that was fed.
    pub fn finish(mut self) -> Verdict {
        let chains = |writer: &WriterId| {
            self.chains.get(writer).map(|chain| (chain.first, chain.wseq, chain.link))
        };
        let (kept_from, broken) = self.segments.finish(chains);
        self.verdict.kept_from_segment = kept_from;
        let is_there = |of: &Position| {
            let there =
                chains(&of.writer).map(|(first, last, _)| (first..=last).contains(&of.wseq));
            // What is not kept cannot be judged.
            match there.unwrap_or(false) {
                true => Some(true),
                false => kept_from.is_none().then_some(false),
            }
        };
        let late = self.outcomes.finish(is_there, |of| self.releases.messages(of));
        let late = late.or_else(|| self.reads.finish(kept_from.is_some()));
        let lookups = self.lookups.iter().flatten().find(|(_, sum)| **sum != 0);
        let lookups = lookups.map(|((writer, block), _)| Divergence {
            writer: *writer,
            wseq: block * BLOCK,
            what: What::Lookups,
        });
        (self.verdict.open_intents, self.verdict.open_first) = self.outcomes.open();
        let found = self.releases.finish();
        (self.verdict.releases, self.verdict.budget) = (found.counts, found.budget);
        // Behind another divergence rows were not looked at, and their releases are not missing.
        let divergence = self.verdict.divergence.take();
        self.verdict.divergence = divergence.or(broken).or(late).or(lookups).or(found.divergence);
        let head = |(writer, chain): (WriterId, Chain)| Head {
            writer,
            wseq: chain.wseq,
            link: chain.link,
            closed: chain.closed,
        };
        self.verdict.heads = self.chains.into_iter().map(head).collect();
        self.verdict
    }
}

#[cfg(test)]
mod tests;
