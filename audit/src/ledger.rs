//! The ledger as a writer uses it: one process, one chain, group commit.
//!
//! A [`Ledger`] is a handle; one committer task behind it owns the chain (`ledger/committer.rs`). A
//! crash leaves intents without outcome, which the next start finds with [`Ledger::open_intents`].

mod committer;
mod leaves;
mod places;
mod proof;
mod releases;
mod segments;
mod takeover;

use std::sync::{Arc, atomic::AtomicU32};

use tokio::sync::{Mutex, mpsc, oneshot, watch};

pub use self::leaves::{Leaves, Told};
pub use self::proof::{Appended, Recorded};
pub use self::releases::{
    ListedRelease, RELEASE_BYTES_MAX, RELEASES_MAX, Reader, ReleaseError, ReserveError, Reserved,
    StoredRelease, UNPUBLISHED_MAX,
};
pub use self::segments::{EnterError, SearchKey};
pub use self::takeover::{HeldNode, OpenChain, OpenNode};

use self::committer::Committer;
use crate::{
    Actor, At, ChainHead, Entry, Intent, Missing, Outcome, Position, Reopened, Row, Treatment,
    WriterId, WriterOpen,
    entry::PLACES_MAX,
    row,
    store::{ClaimDone, Store, StoreError, Url, read_write},
};

/// Appends that may wait for the committer; more wait at the door.
const QUEUE: usize = 4_096;

/// Open intents that are counted; more are so many.
const OPEN_MAX: u32 = 100_000;

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    pub bytes: u64,
    /// Intents without an end, of all writers.
    pub open_intents: u64,
}

/// A moment, as the caller's clock tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Time {
    pub us: i64,
    /// Known error bound of the clock; 0 when not known.
    pub err_us: u64,
    /// What disciplines the clock, such as `system`.
    pub source: &'static str,
}

/// The caller's clock.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Time;
}

/// How a ledger is opened.
pub struct Options {
    pub origin: String,
    pub writer: WriterId,
    pub node: String,
    /// Name and version of the writing program.
    pub software: String,
    pub clock: Arc<dyn Clock>,
    /// What the caller's keyed digests are made under.
    pub search_key: SearchKey,
    pub standing: Standing,
    /// How far the clock may be from the store's, where the store has a clock of its own
    /// (PostgreSQL); `i64::MAX` for any.
    pub skew_max_us: i64,
}

/// What a writer is to its node.
pub enum Standing {
    /// The node itself. No other process has its name meanwhile (SQLite: the file), and its time
    /// continues from its last chain.
    Node,
    /// The node, after an operator declared the time of its last chain false: the new chain names
    /// the old head and brings this entry, and time begins anew.
    Restarted(Box<Entry>),
    /// A writer beside the node, such as a verb of the command line: it holds no name, and its
    /// time counts for nobody.
    Beside,
}

/// How far the clock may be behind the node's own last row when a chain begins.
pub const CLOCK_TOLERANCE_US: i64 = 5_000_000;

/// Why a ledger was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Append(#[from] AppendError),
    /// Nothing was written.
    #[error(transparent)]
    Segment(#[from] EnterError),
    /// Nothing was written.
    #[error(
        "the clock is {} s behind this node's last row: wait until it has caught up, or, if that \
         row's time was false, stop the gateway and run `sluicegate ledger restart-time`",
        .behind_us.div_euclid(1_000_000)
    )]
    ClockBehind { behind_us: i64 },
    /// Nothing was written.
    #[error(
        "the clock is {} s {} the store's: correct whichever of the two is wrong",
        .ahead_us.unsigned_abs() / 1_000_000,
        if *.ahead_us < 0 { "behind" } else { "ahead of" }
    )]
    ClockDiffers { ahead_us: i64 },
    /// There is no false time to leave: nothing was written.
    #[error("the clock is not behind this node's last row: there is nothing to restart")]
    NotBehind,
}

/// Why something was not appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Nothing was recorded, or what was recorded will be marked as failed; try again later.
    #[error("the ledger is not available: {0}")]
    Unavailable(String),
    /// Another process writes under our id: stop.
    #[error("the ledger is fenced: another process writes under this writer's id")]
    Fenced,
    #[error("the at-most-once key is already taken")]
    ClaimTaken,
    #[error("an entry is larger than a row may be")]
    TooLarge,
    /// Releases get in by [`Ledger::release`] only, which looks for their reservation.
    #[error("a release is not appended like any other entry: reserve its cost, then release it")]
    NotReserved,
    #[error("the ledger is closed")]
    Closed,
}

/// An at-most-once key: keyed digests made by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub key: [u8; 32],
    pub fingerprint: [u8; 32],
    /// When the request arrived: who takes it up again continues with this time.
    pub at_us: i64,
    pub expires_us: i64,
}

/// What is known of an at-most-once key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimState {
    pub fingerprint: Vec<u8>,
    pub node: String,
    /// The intent's first event.
    pub first: Position,
    pub at_us: i64,
    /// The answer, once there was one.
    pub answer: Option<Vec<u8>>,
}

/// An intent of a former run that has no end yet.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenIntent {
    pub first: Position,
    pub t_us: i64,
    pub intent: Intent,
    /// Each leaf that has copies, of those that are kept.
    pub leaves: Vec<OpenLeaf>,
}

/// A leaf that has copies: its position, its number of records, and where they were to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenLeaf {
    pub position: Position,
    pub records: u32,
    pub to: Vec<Destination>,
}

/// Where a copy of a record was to go.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    pub region: String,
    /// `None`: the intent's topic.
    pub topic: Option<String>,
    /// Records go there as they came, unread.
    pub untouched: bool,
}

/// What one append brings.
#[derive(Default)]
struct Append {
    entries: Vec<Entry>,
    leaves: Leaves,
    details: Vec<([u8; 32], Vec<u8>)>,
    claim: Option<Claim>,
    done: Option<ClaimDone>,
    /// An intent that gets another outcome.
    reopens: Option<Position>,
    /// The segment that the chain enters with it.
    enters: Option<u32>,
    /// A release's published bytes, by digest. An entry of a release has no other way in.
    blobs: Option<Vec<([u8; 32], Vec<u8>)>>,
    answer: Option<oneshot::Sender<Result<Position, AppendError>>>,
}

impl Append {
    fn of(entry: Entry) -> Self {
        Self { entries: vec![entry], ..Self::default() }
    }

    fn closes(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry, Entry::WriterClose))
    }

    fn bypasses_reservation(&self) -> bool {
        self.blobs.is_none() && self.entries.iter().any(|entry| matches!(entry, Entry::Release(_)))
    }
}

/// A handle; clones share the committer.
#[derive(Clone)]
pub struct Ledger {
    appends: mpsc::Sender<Append>,
    store: Arc<dyn Store>,
    reader: Reader,
    status: watch::Receiver<Status>,
    trouble: watch::Receiver<Option<AppendError>>,
    writer: WriterId,
    node: Arc<str>,
    floor_us: i64,
    newest_us: i64,
    segment: Arc<AtomicU32>,
    /// Held while a segment is entered.
    entering: Arc<Mutex<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Healthy,
    Unavailable,
    Fenced,
    Closed,
}

impl Ledger {
    /// Opens a store (`sqlite:FILE` or `postgres://…`), brings its schema up to date and begins
    /// a chain. The clock is judged before anything is written: by the node's own last row, and
    /// by the store's clock where it has one.
    pub async fn open(url: &Url, options: Options) -> Result<Self, OpenError> {
        let alone = !matches!(options.standing, Standing::Beside);
        let store: Arc<dyn Store> =
            Arc::from(read_write(url, alone.then_some(options.node.as_str())).await?);
        match Self::begin(store.clone(), options).await {
            Ok(ledger) => Ok(ledger),
            Err(error) => {
                // Lets go of the node's name.
                store.close().await;
                Err(error)
            }
        }
    }

    async fn begin(store: Arc<dyn Store>, mut options: Options) -> Result<Self, OpenError> {
        let (last, newest_us) = store.last_of(&options.node).await?;
        let now = options.clock.now();
        if let Some(store_us) = store.clock_us().await? {
            let ahead_us = now.us.saturating_sub(store_us);
            if ahead_us.saturating_abs() > options.skew_max_us {
                return Err(OpenError::ClockDiffers { ahead_us });
            }
        }
        let standing = std::mem::replace(&mut options.standing, Standing::Beside);
        let last = last.map(|(head, bytes)| Row::decode(&bytes).map(|row| (head, row.t_us)));
        let last = last.transpose().map_err(|e| StoreError::Corrupt(e.to_string()))?;
        let floor_us = floor(last.as_ref().map(|(_, t_us)| *t_us), &standing, now.us)?;
        let segment = segments::agree(&*store, &options.search_key).await?;
        let mut openings = segments::openings(&*store, segment, &options.search_key, None).await?;
        let (appends, waiting) = mpsc::channel(QUEUE);
        let (status_sender, status) = watch::channel(Status::Healthy);
        let (writer, node) = (options.writer, options.node.clone());
        let software = options.software.clone();
        let committer =
            Committer::new(options, store.clone(), status_sender, floor_us, now.us, segment);
        let trouble = committer.trouble();
        tokio::spawn(committer.run(waiting));
        let ledger = Self {
            appends,
            reader: Reader { store: store.clone() },
            store,
            status,
            trouble,
            writer,
            node: Arc::from(node.as_str()),
            floor_us: floor_us.unwrap_or(i64::MIN),
            newest_us: newest_us.unwrap_or(i64::MIN),
            segment: Arc::new(AtomicU32::new(segment)),
            entering: Arc::default(),
        };
        // In the row that seals the chain before: whoever reads on from there knows which of two
        // releases stands.
        let lost = ledger.store.lost_releases(&node, writer).await?;
        let predecessor: Vec<ChainHead> = last.map(|(head, _)| head).into_iter().collect();
        let mut entries = vec![Entry::WriterOpen(WriterOpen { node, software, predecessor })];
        entries.push(openings.remove(0));
        entries.extend(lost.into_iter().map(Entry::ReleaseVoid));
        if let Standing::Restarted(why) = standing {
            entries.push(*why);
        }
        ledger.send(Append { entries, ..Append::default() }).await?;
        for opening in openings {
            ledger.send(Append::of(opening)).await?;
        }
        Ok(ledger)
    }

    /// This run's writer id.
    pub fn writer(&self) -> WriterId {
        self.writer
    }

    /// The newest durable row of this run's chain.
    pub async fn head(&self) -> Result<ChainHead, StoreError> {
        let missing = || StoreError::Corrupt("this run's chain is gone".to_owned());
        let (wseq, row) = self.head_row(self.writer).await?.ok_or_else(missing)?;
        let link = row::link_of(&row.encode());
        Ok(ChainHead { writer: self.writer, wseq, link, segment: row.segment })
    }

    /// Whether the store has a row, byte for byte as it was when this was its chain's head.
    pub async fn has(&self, head: &ChainHead) -> Result<bool, StoreError> {
        let stored = self.store.row(head.writer, head.wseq).await?;
        Ok(stored.is_some_and(|stored| row::link_of(&stored.bytes) == head.link))
    }

    /// The time of this node's last row when the ledger was opened: it has passed.
    pub fn floor_us(&self) -> i64 {
        self.floor_us
    }

    /// The newest time of all writers' rows when the ledger was opened. Another writer's clock may
    /// have been ahead: it is a reason to warn, and no floor.
    pub fn newest_us(&self) -> i64 {
        self.newest_us
    }

    /// Whether the last flush worked.
    pub fn is_healthy(&self) -> bool {
        *self.status.borrow() == Status::Healthy
    }

    /// Why flushes do not work, as it changes; `None` while they do. It ends with the ledger.
    pub fn trouble(&self) -> watch::Receiver<Option<AppendError>> {
        self.trouble.clone()
    }

    /// Appends that wait for the committer.
    pub fn queued(&self) -> usize {
        self.appends.max_capacity().saturating_sub(self.appends.capacity())
    }

    /// What the store holds. Costs some look-ups: not for each request.
    pub async fn sizes(&self) -> Result<Sizes, StoreError> {
        let bytes = self.store.bytes().await?;
        Ok(Sizes { bytes, open_intents: self.store.open_count(OPEN_MAX).await? })
    }

    /// Appends an entry and returns when it is durable. What it says covers nothing that could be
    /// sent: there is no proof in the answer.
    pub async fn append(&self, entry: Entry) -> Result<Position, AppendError> {
        self.send(Append { entries: vec![entry], ..Append::default() }).await
    }

    /// Queues an entry for the next flush, without waiting for it. Bounded: `Err` when the queue
    /// is full, and the entry is not recorded.
    pub fn submit(&self, entry: Entry) -> Result<(), AppendError> {
        self.queue(Append { entries: vec![entry], ..Append::default() })
    }

    /// Appends that an intent is taken up again, and by whom, and returns when it is durable: from
    /// then on the intent is open until its next complete outcome, also for the next start. The
    /// proof is the intent's: its records keep their positions.
    pub async fn reopen(&self, first: Position, actor: Actor) -> Result<Appended, AppendError> {
        let entry = Entry::Reopened(Reopened { actor, of: first });
        self.send(Append { reopens: Some(first), ..Append::of(entry) }).await?;
        Ok(Appended::at(first))
    }

    /// Appends an intent with its leaves, which must be as many as it says, and what belongs to
    /// it: treatments as [`detail_digest`](crate::detail_digest) encodes them, and more entries of
    /// the same moment. Returns when all is durable. With a claim, the key is taken in the same
    /// transaction.
    pub async fn intend(
        &self,
        intent: Intent,
        leaves: impl Into<Leaves>,
        details: Vec<([u8; 32], Vec<u8>)>,
        more: Vec<Entry>,
        claim: Option<Claim>,
    ) -> Result<Appended, AppendError> {
        let mut entries = vec![Entry::Intent(intent)];
        entries.extend(more);
        let leaves = leaves.into();
        let append = Append { entries, leaves, details, claim, ..Append::default() };
        self.send(append).await.map(Appended::at)
    }

    /// Queues an outcome, and with it the answer of an at-most-once key. A long outcome is several
    /// entries, which may stand in several rows; the last one completes it and brings the answer.
    pub fn settle(
        &self,
        outcome: Outcome,
        done: Option<([u8; 32], Vec<u8>)>,
    ) -> Result<(), AppendError> {
        let mut done = done.map(|(key, answer)| ClaimDone { key, answer });
        let pieces = in_pieces(outcome);
        let last = pieces.len().saturating_sub(1);
        for (n, piece) in pieces.into_iter().enumerate() {
            let done = if n == last { done.take() } else { None };
            self.queue(Append { entries: vec![Entry::Outcome(piece)], done, ..Append::default() })?;
        }
        Ok(())
    }

    /// Like [`Ledger::settle`], and returns when it is durable.
    pub async fn settle_now(&self, outcome: Outcome) -> Result<(), AppendError> {
        for piece in in_pieces(outcome) {
            self.append(Entry::Outcome(piece)).await?;
        }
        Ok(())
    }

    async fn send(&self, mut append: Append) -> Result<Position, AppendError> {
        if append.bypasses_reservation() {
            return Err(AppendError::NotReserved);
        }
        let (answer, answered) = oneshot::channel();
        append.answer = Some(answer);
        self.appends.send(append).await.map_err(|_| self.ended())?;
        answered.await.unwrap_or_else(|_| Err(self.ended()))
    }

    fn queue(&self, append: Append) -> Result<(), AppendError> {
        if append.bypasses_reservation() {
            return Err(AppendError::NotReserved);
        }
        self.appends.try_send(append).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                AppendError::Unavailable("the queue is full".to_owned())
            }
            mpsc::error::TrySendError::Closed(_) => self.ended(),
        })
    }

    fn ended(&self) -> AppendError {
        match *self.status.borrow() {
            Status::Fenced => AppendError::Fenced,
            _ => AppendError::Closed,
        }
    }

    /// What is known of an at-most-once key.
    pub async fn claim(
        &self,
        key: &[u8; 32],
        now_us: i64,
    ) -> Result<Option<ClaimState>, StoreError> {
        let row = self.store.claim(key, now_us).await?;
        Ok(row.map(|row| ClaimState {
            fingerprint: row.fingerprint,
            node: row.node,
            first: Position { writer: row.writer, wseq: row.wseq, leaf: row.leaf },
            at_us: row.at_us,
            answer: row.answer,
        }))
    }

    /// Whether a writer belongs to this node; a claim of a former run of ours is dead.
    pub fn is_ours(&self, state: &ClaimState) -> bool {
        *state.node == *self.node
    }

    /// Intents of this node's former runs that have no end.
    pub async fn open_intents(&self) -> Result<Vec<OpenIntent>, StoreError> {
        self.open_of(&self.node).await
    }

    async fn open_of(&self, node: &str) -> Result<Vec<OpenIntent>, StoreError> {
        let mut open = Vec::new();
        for (writer, wseq, leaf) in self.store.open_intents(node, self.writer).await? {
            open.extend(self.intent(Position { writer, wseq, leaf }).await?);
        }
        Ok(open)
    }

    /// The intent whose first leaf is here, with what it was to deliver.
    pub async fn intent(&self, first: Position) -> Result<Option<OpenIntent>, StoreError> {
        let Some(stored) = self.store.row(first.writer, first.wseq).await? else {
            return Ok(None);
        };
        let corrupt = |e: row::RowError| StoreError::Corrupt(e.to_string());
        let row = Row::decode(&stored.bytes).map_err(corrupt)?;
        let intent = row.entries.into_iter().find_map(|entry| match entry {
            Entry::Intent(intent) if intent.first_leaf == first.leaf => Some(intent),
            _ => None,
        });
        let (Some(intent), Some(manifest)) = (intent, stored.manifest) else { return Ok(None) };
        let leaves = self.deliverable(first, &intent, &manifest).await?;
        Ok(Some(OpenIntent { first, t_us: row.t_us, intent, leaves }))
    }

    async fn deliverable(
        &self,
        first: Position,
        intent: &Intent,
        manifest: &[u8],
    ) -> Result<Vec<OpenLeaf>, StoreError> {
        let corrupt = |e: row::RowError| StoreError::Corrupt(e.to_string());
        let mut destinations = Vec::new();
        for digest in &intent.treatments {
            let detail = self.store.detail(&digest.0).await?;
            let treatment: Option<Treatment> = detail.and_then(|d| minicbor::decode(&d).ok());
            let destination = treatment.map(|t| {
                let untouched = t.is_untouched();
                Destination { region: t.region, topic: t.topic, untouched }
            });
            destinations.push(destination.unwrap_or_default());
        }
        let leaves = row::decode_manifest(manifest).map_err(corrupt)?;
        let mine = leaves.iter().zip(0_u32..);
        let mine = mine.skip(first.leaf as usize).take(intent.leaves as usize);
        let mut open = Vec::new();
        for (leaf, n) in mine {
            let Some(bytes) = leaf.kept() else { continue };
            let leaf = row::decode_leaf(bytes).map_err(corrupt)?;
            let copies = leaf.fate.copies().iter();
            let to: Vec<_> =
                copies.filter_map(|c| destinations.get(c.treatment as usize).cloned()).collect();
            if !to.is_empty() {
                let position = Position { leaf: n, ..first };
                open.push(OpenLeaf { position, records: leaf.count, to });
            }
        }
        Ok(open)
    }

    /// Ends the chain in order and waits until all that was queued is durable.
    pub async fn close(&self) -> Result<(), AppendError> {
        let closed = self.append(Entry::WriterClose).await.map(|_| ());
        self.store.close().await;
        closed
    }
}

/// The time that a new chain may not go behind: that of the node's own last row.
fn floor(last_us: Option<i64>, standing: &Standing, now_us: i64) -> Result<Option<i64>, OpenError> {
    if matches!(standing, Standing::Beside) {
        return Ok(None);
    }
    let behind_us = last_us.map_or(0, |last_us| last_us.saturating_sub(now_us));
    match (standing, behind_us > CLOCK_TOLERANCE_US) {
        (Standing::Node, true) => Err(OpenError::ClockBehind { behind_us }),
        (Standing::Restarted(_), true) => Ok(None),
        (Standing::Restarted(_), false) => Err(OpenError::NotBehind),
        _ => Ok(last_us),
    }
}

/// An outcome in pieces that fit a row; only the last completes the intent.
fn in_pieces(outcome: Outcome) -> Vec<Outcome> {
    let Outcome { of, placed, missing, repeat_of, complete } = outcome;
    let empty =
        || Outcome { of, placed: vec![], missing: vec![], repeat_of: vec![], complete: false };
    let mut pieces = vec![empty()];
    let mut room = PLACES_MAX;
    let mut piece = |size: usize| {
        if size > room {
            pieces.push(empty());
            room = PLACES_MAX;
        }
        room = room.saturating_sub(size);
        pieces.len() - 1
    };
    let mut parts: Vec<(usize, Part)> = Vec::new();
    for placement in placed {
        let at: &[At] = &placement.at;
        for at in at.chunks(PLACES_MAX) {
            let part = crate::Placement { at: at.to_vec(), ..placement.clone() };
            parts.push((piece(at.len()), Part::Placed(part)));
        }
    }
    for missing in missing {
        if missing.leaves.is_empty() {
            parts.push((piece(1), Part::Missing(missing)));
            continue;
        }
        for leaves in missing.leaves.chunks(PLACES_MAX) {
            let part = Missing { leaves: leaves.to_vec(), ..missing.clone() };
            parts.push((piece(leaves.len()), Part::Missing(part)));
        }
    }
    for (n, part) in parts {
        if let Some(outcome) = pieces.get_mut(n) {
            match part {
                Part::Placed(placement) => outcome.placed.push(placement),
                Part::Missing(missing) => outcome.missing.push(missing),
            }
        }
    }
    if let Some(last) = pieces.last_mut() {
        (last.repeat_of, last.complete) = (repeat_of, complete);
    }
    pieces
}

enum Part {
    Placed(crate::Placement),
    Missing(Missing),
}

#[cfg(test)]
mod tests;
