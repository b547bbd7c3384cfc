//! The verifier: re-hashes everything, trusts nothing that is stored beside the bytes, and names
//! the first position that diverges. It has no I/O; rows are fed to it.
//!
//! What a chain cannot show: rows cut from the tail. Only a head that somebody outside keeps
//! shows that; [`Verdict::heads`] is what to keep.

mod releases;

use std::{collections::BTreeMap, fmt};

pub use self::releases::{BudgetSpent, ReleaseCounts};

use self::releases::Releases;
use crate::{
    Entry, Event, Fate, Filter, Link, Outcome, Position, Row, WriterId,
    id::hex,
    row::{self, decode_leaf, decode_manifest, detail_digest_of, genesis, link_of, manifest_root},
};

/// A stored row, as a store or an export gives it.
pub struct Stored<'a> {
    pub writer: WriterId,
    pub wseq: u64,
    pub bytes: &'a [u8],
    /// The link that is stored beside the bytes, if the store keeps one.
    pub link: Option<&'a [u8]>,
    /// The leaves of the flush, if they are still kept.
    pub manifest: Option<&'a [u8]>,
    /// What a store keeps beside them to search by.
    pub beside: Option<Beside<'a>>,
}

/// What a store keeps beside a row to search by.
pub struct Beside<'a> {
    pub t_us: i64,
    /// The filter of the events that are kept.
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
    #[error("the events are not the ones that the row commits to")]
    Manifest,
    #[error("the time or filter for searching does not match the row")]
    Beside,
    /// A table that names a row: rows were cut from the tail, or a chain was removed.
    #[error("the row is gone, but {0} still names it")]
    Gone(&'static str),
    #[error(
        "lookups by offset for records of this row, or of the next {BLOCK}, do not match the rows"
    )]
    Lookups,
    #[error("an event refers to an intent or treatment that the row does not contain")]
    Event,
    #[error("an intent's events are not exactly the row's events")]
    Fates,
    #[error("a treatment that a row refers to is missing")]
    DetailMissing,
    /// A writer's opening names the last row of the writer before.
    #[error("a later writer saw a different row here, or one that is gone")]
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
    pub events: u64,
    /// Events whose leaves are no longer kept: committed to, not looked at.
    pub events_detached: u64,
    pub delivered: u64,
    pub refused: u64,
    pub other_fates: u64,
    pub releases: ReleaseCounts,
    /// What the releases cost, recomputed from them, by account and newest period first.
    pub budget: Vec<BudgetSpent>,
    pub heads: Vec<Head>,
    pub divergence: Option<Divergence>,
}

impl Verdict {
    /// Whether there was something to verify, and it verifies.
    pub fn is_ok(&self) -> bool {
        self.divergence.is_none() && self.rows > 0
    }

    /// As JSON, for programs.
    pub fn json(&self) -> String {
        let heads: Vec<String> = self
            .heads
            .iter()
            .map(|head| {
                format!(
                    r#"{{"writer":"{}","row":{},"link":"{}","closed":{}}}"#,
                    head.writer,
                    head.wseq,
                    hex(&head.link),
                    head.closed
                )
            })
            .collect();
        let divergence = match &self.divergence {
            None => "null".to_owned(),
            Some(d) => {
                format!(r#"{{"writer":"{}","row":{},"what":"{}"}}"#, d.writer, d.wseq, d.what)
            }
        };
        format!(
            concat!(
                r#"{{"ok":{},"rows":{},"events":{},"events_detached":{},"delivered":{},"#,
                r#""refused":{},"other_fates":{},"releases":{},"budget":[{}],"heads":[{}],"#,
                r#""divergence":{}}}"#
            ),
            self.is_ok(),
            self.rows,
            self.events,
            self.events_detached,
            self.delivered,
            self.refused,
            self.other_fates,
            self.releases.json(),
            self.budget.iter().map(BudgetSpent::json).collect::<Vec<_>>().join(","),
            heads.join(","),
            divergence
        )
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.divergence {
            Some(divergence) => writeln!(f, "the ledger DIVERGES at {divergence}")?,
            None if self.rows == 0 => writeln!(f, "nothing to verify: the ledger has no rows")?,
            None => writeln!(f, "the ledger verifies")?,
        }
        if let Some(origin) = &self.origin {
            writeln!(f, "  origin     {origin}")?;
        }
        writeln!(f, "  rows       {} of {} writer(s)", self.rows, self.heads.len())?;
        write!(f, "  events     {}", self.events)?;
        writeln!(f, " ({} to deliver, {} refused)", self.delivered, self.refused)?;
        if self.events_detached > 0 {
            writeln!(
                f,
                "  detached   {} events are committed to, but not kept",
                self.events_detached
            )?;
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
    wseq: u64,
    link: Link,
    closed: bool,
}

/// Takes rows, those of a writer in order, and treatments in any order.
#[derive(Default)]
pub struct Verifier {
    verdict: Verdict,
    chains: BTreeMap<WriterId, Chain>,
    details: std::collections::BTreeSet<[u8; 32]>,
    wanted: BTreeMap<[u8; 32], (WriterId, u64)>,
    /// Rows that the opening of a later writer names, and that have not been met: they seal the
    /// chain before, whose tail could otherwise be cut unseen.
    seals: BTreeMap<(WriterId, u64), Link>,
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
        self.details.insert(computed);
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
        if self.verdict.divergence.is_some() {
            return;
        }
        if let Err(what) = self.check(stored) {
            let divergence = Divergence { writer: stored.writer, wseq: stored.wseq, what };
            self.verdict.divergence = Some(divergence);
        }
    }

    fn check(&mut self, stored: &Stored<'_>) -> Result<(), What> {
        let row = Row::decode(stored.bytes)?;
        if row.writer != stored.writer || row.wseq != stored.wseq {
            return Err(What::Misplaced);
        }
        let origin = self.verdict.origin.get_or_insert_with(|| row.origin.clone());
        if *origin != row.origin {
            return Err(What::OtherOrigin);
        }
        let (expected_wseq, expected_prev) = match self.chains.get(&row.writer) {
            Some(chain) => (chain.wseq + 1, chain.link),
            None => (0, genesis(&row.origin, row.writer)),
        };
        if row.wseq != expected_wseq {
            return Err(What::Gap);
        }
        if row.prev != expected_prev {
            return Err(What::Unchained);
        }
        let link = link_of(stored.bytes);
        if stored.link.is_some_and(|stored| stored != link) {
            return Err(What::Link);
        }
        if self.seals.remove(&(row.writer, row.wseq)).is_some_and(|sealed| sealed != link) {
            return Err(What::Sealed);
        }
        for entry in &row.entries {
            let Entry::WriterOpen(open) = entry else { continue };
            let seals = open.predecessor.iter().map(|p| ((p.writer, p.wseq), p.link));
            self.seals.extend(seals);
        }
        self.fates(&row, stored)?;
        for entry in &row.entries {
            if let Entry::Outcome(outcome) = entry {
                self.placed(outcome, (row.writer, row.wseq));
            }
        }
        self.releases.row(&row)?;
        let closed = row.entries.iter().any(|e| matches!(e, Entry::WriterClose));
        self.chains.insert(row.writer, Chain { wseq: row.wseq, link, closed });
        self.verdict.rows += 1;
        Ok(())
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

    /// Each event belongs to exactly one intent of its row, and has exactly one fate.
    fn fates(&mut self, row: &Row, stored: &Stored<'_>) -> Result<(), What> {
        let mut covered = 0_u32;
        for entry in &row.entries {
            let Entry::Intent(intent) = entry else { continue };
            if intent.first_leaf != covered {
                return Err(What::Fates);
            }
            covered = covered.checked_add(intent.events).ok_or(What::Fates)?;
            for digest in &intent.treatments {
                self.wanted.entry(digest.0).or_insert((row.writer, row.wseq));
            }
        }
        if covered != row.events {
            return Err(What::Fates);
        }
        self.verdict.events += u64::from(row.events);
        if stored.beside.as_ref().is_some_and(|beside| beside.t_us != row.t_us) {
            return Err(What::Beside);
        }
        match stored.manifest {
            Some(manifest) => {
                self.leaves(row, manifest, stored.beside.as_ref().and_then(|b| b.filter))
            }
            None => {
                self.verdict.events_detached += u64::from(row.events);
                Ok(())
            }
        }
    }

    fn leaves(&mut self, row: &Row, manifest: &[u8], filter: Option<&[u8]>) -> Result<(), What> {
        let leaves = decode_manifest(manifest)?;
        if leaves.len() != row.events as usize || manifest_root(&leaves) != row.event_root {
            return Err(What::Manifest);
        }
        let mut rest = leaves.iter();
        let mut digests = Vec::new();
        for entry in &row.entries {
            let Entry::Intent(intent) = entry else { continue };
            for leaf in rest.by_ref().take(intent.events as usize) {
                let event: Event = decode_leaf(leaf)?;
                self.count(&event, intent.treatments.len())?;
                if filter.is_some() {
                    digests.extend(event.source.iter().chain(&event.tokens).map(|d| d.0));
                }
            }
        }
        match filter {
            Some(filter) if filter != Filter::of(digests.iter()).as_bytes() => Err(What::Beside),
            _ => Ok(()),
        }
    }

    fn count(&mut self, event: &Event, treatments: usize) -> Result<(), What> {
        if event.fate.treatments().iter().any(|n| *n as usize >= treatments) {
            return Err(What::Event);
        }
        match &event.fate {
            Fate::Deliver(_) => self.verdict.delivered += 1,
            Fate::Refuse(..) => self.verdict.refused += 1,
            Fate::Quarantine(_) | Fate::Aggregate(_) => self.verdict.other_fates += 1,
        }
        Ok(())
    }

    /// A sealed row that never came, or came otherwise. A row that came before its seal and has
    /// rows behind it is held by their chain; only its link is no longer at hand.
    fn broken_seal(&self) -> Option<Divergence> {
        let broken = self.seals.iter().find(|((writer, wseq), link)| {
            let chain = self.chains.get(writer);
            !chain.is_some_and(|c| c.wseq > *wseq || (c.wseq == *wseq && c.link == **link))
        });
        broken.map(|((writer, wseq), _)| Divergence {
            writer: *writer,
            wseq: *wseq,
            what: What::Sealed,
        })
    }

    /// The verdict over all that was fed.
    pub fn finish(mut self) -> Verdict {
        if self.verdict.divergence.is_none() {
            let missing = self.wanted.iter().find(|(digest, _)| !self.details.contains(*digest));
            self.verdict.divergence = missing.map(|(_, (writer, wseq))| Divergence {
                writer: *writer,
                wseq: *wseq,
                what: What::DetailMissing,
            });
        }
        if self.verdict.divergence.is_none() {
            self.verdict.divergence = self.broken_seal();
        }
        if self.verdict.divergence.is_none() {
            let differs = self.lookups.iter().flatten().find(|(_, sum)| **sum != 0);
            self.verdict.divergence = differs.map(|((writer, block), _)| Divergence {
                writer: *writer,
                wseq: block * BLOCK,
                what: What::Lookups,
            });
        }
        let found = self.releases.finish();
        (self.verdict.releases, self.verdict.budget) = (found.counts, found.budget);
        // Behind another divergence rows were not looked at, and their releases are not missing.
        self.verdict.divergence = self.verdict.divergence.take().or(found.divergence);
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
