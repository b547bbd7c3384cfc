//! The ledger as a writer uses it: one process, one chain, group commit without a timer.
//!
//! One committer task owns the chain. It takes everything that waits, makes rows of it, commits
//! them in one transaction and answers all; the previous flush is the batching window. A crash
//! before the commit loses only what nobody was answered for; a crash after it leaves intents
//! without outcome, which the next start finds with [`Ledger::open_intents`].
//!
//! INVARIANT: the chain's head in memory is never behind what the store holds. When a commit ends
//! without a clear answer, nothing is appended until the store has told whether it happened.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    At, Entry, Event, Failed, Filter, Intent, Link, Outcome, Position, Predecessor, Row,
    SearchDigest, Treatment, WriterId, WriterOpen,
    row::{self, ROW_BYTES_MAX, encode_manifest, genesis, leaf_bytes, link_of},
    store::{
        ClaimDone, ClaimWrite, Commit, Edge, IntentState, NewRow, Store, StoreError, Url, read_write,
    },
    tree,
};

/// Appends that may wait for the committer; more wait at the door.
const QUEUE: usize = 4_096;
/// Appends of one flush.
const FLUSH_APPENDS: usize = 1_024;
/// Events of one flush, so that a manifest stays small enough to hold in memory.
const FLUSH_EVENTS: usize = 50_000;
/// Bytes that a row's frame may take beside its entries.
const FRAME_BYTES: usize = 1_024;
/// Placements in one outcome entry; a row must hold it.
const OUTCOME_EVENTS: usize = 3_000;
/// How often an answer to "did it happen?" is tried, and the pause between.
const SETTLE_TRIES: u32 = 3;
const SETTLE_PAUSE: Duration = Duration::from_millis(200);
/// Idle for this long, the writer says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Expired claims are purged this often.
const PURGE_EVERY_US: i64 = 60_000_000;

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
}

/// Why a ledger was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Append(#[from] AppendError),
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
    #[error("the at-most-once key is taken")]
    ClaimTaken,
    #[error("an entry is larger than a row may be")]
    TooLarge,
    #[error("the ledger is closed")]
    Closed,
}

/// An at-most-once key: keyed digests made by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub key: [u8; 32],
    pub fingerprint: [u8; 32],
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

/// Proof that an intent is durable. Only the ledger makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    first: Position,
}

impl Appended {
    /// The position of the intent's first event.
    pub fn first(&self) -> Position {
        self.first
    }
}

/// An intent of a former run that has no end yet.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenIntent {
    pub first: Position,
    pub t_us: i64,
    pub intent: Intent,
    /// Each event that was to be delivered: its position and the regions it was to go to.
    pub events: Vec<(Position, Vec<String>)>,
}

/// What one append brings.
#[derive(Default)]
struct Append {
    entries: Vec<Entry>,
    events: Vec<Event>,
    details: Vec<([u8; 32], Vec<u8>)>,
    claim: Option<Claim>,
    done: Option<ClaimDone>,
    answer: Option<oneshot::Sender<Result<Appended, AppendError>>>,
}

/// A handle; clones share the committer.
#[derive(Clone)]
pub struct Ledger {
    appends: mpsc::Sender<Append>,
    store: Arc<dyn Store>,
    status: watch::Receiver<Status>,
    writer: WriterId,
    node: Arc<str>,
    latest_us: i64,
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
    /// a chain.
    pub async fn open(url: &Url, options: Options) -> Result<Self, OpenError> {
        let store: Arc<dyn Store> = Arc::from(read_write(url).await?);
        let (last, latest_us) = store.last_of(&options.node).await?;
        let now = options.clock.now();
        store.register(options.writer, &options.node, now.us).await?;
        let predecessor = last
            .and_then(|row| {
                let link = row.link?.try_into().ok()?;
                Some(Predecessor { writer: row.writer, wseq: row.wseq, link })
            })
            .into_iter()
            .collect();
        let (appends, waiting) = mpsc::channel(QUEUE);
        let (status_sender, status) = watch::channel(Status::Healthy);
        let committer = Committer {
            head: genesis(&options.origin, options.writer),
            next: 0,
            unsettled: None,
            last_us: latest_us.unwrap_or(i64::MIN),
            purged_us: now.us,
            store: store.clone(),
            status: status_sender,
            options,
        };
        let (writer, node) = (committer.options.writer, committer.options.node.clone());
        let software = committer.options.software.clone();
        tokio::spawn(committer.run(waiting));
        let ledger = Self {
            appends,
            store,
            status,
            writer,
            node: Arc::from(node.as_str()),
            latest_us: latest_us.unwrap_or(i64::MIN),
        };
        ledger.append(Entry::WriterOpen(WriterOpen { node, software, predecessor })).await?;
        Ok(ledger)
    }

    /// This run's writer id.
    pub fn writer(&self) -> WriterId {
        self.writer
    }

    /// The newest time in the ledger when it was opened.
    pub fn latest_us(&self) -> i64 {
        self.latest_us
    }

    /// Whether the last flush worked.
    pub fn is_healthy(&self) -> bool {
        *self.status.borrow() == Status::Healthy
    }

    /// Appends an entry and returns when it is durable.
    pub async fn append(&self, entry: Entry) -> Result<Appended, AppendError> {
        self.send(Append { entries: vec![entry], ..Append::default() }).await
    }

    /// Queues an entry for the next flush, without waiting for it. Bounded: `Err` when the queue
    /// is full, and the entry is not recorded.
    pub fn submit(&self, entry: Entry) -> Result<(), AppendError> {
        self.queue(Append { entries: vec![entry], ..Append::default() })
    }

    /// Appends an intent with its events, which must be as many as it says, and what belongs to
    /// it: treatments as [`detail_digest`](crate::detail_digest) encodes them, and more entries of
    /// the same moment. Returns when all is durable. With a claim, the key is taken in the same
    /// transaction.
    pub async fn intend(
        &self,
        intent: Intent,
        events: Vec<Event>,
        details: Vec<([u8; 32], Vec<u8>)>,
        more: Vec<Entry>,
        claim: Option<Claim>,
    ) -> Result<Appended, AppendError> {
        let mut entries = vec![Entry::Intent(intent)];
        entries.extend(more);
        self.send(Append { entries, events, details, claim, ..Append::default() }).await
    }

    /// Queues an outcome, and with it the answer of an at-most-once key.
    pub fn settle(&self, outcome: Outcome, done: Option<([u8; 32], Vec<u8>)>) -> Result<(), AppendError> {
        let done = done.map(|(key, answer)| ClaimDone { key, answer });
        let entries = in_pieces(outcome).into_iter().map(Entry::Outcome).collect();
        self.queue(Append { entries, done, ..Append::default() })
    }

    /// Like [`Ledger::settle`], and returns when it is durable.
    pub async fn settle_now(&self, outcome: Outcome) -> Result<(), AppendError> {
        let entries = in_pieces(outcome).into_iter().map(Entry::Outcome).collect();
        self.send(Append { entries, ..Append::default() }).await.map(|_| ())
    }

    async fn send(&self, mut append: Append) -> Result<Appended, AppendError> {
        let (answer, answered) = oneshot::channel();
        append.answer = Some(answer);
        self.appends.send(append).await.map_err(|_| self.ended())?;
        answered.await.unwrap_or_else(|_| Err(self.ended()))
    }

    fn queue(&self, append: Append) -> Result<(), AppendError> {
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
    pub async fn claim(&self, key: &[u8; 32], now_us: i64) -> Result<Option<ClaimState>, StoreError> {
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
        let mut open = Vec::new();
        for (writer, wseq, leaf) in self.store.open_intents(&self.node, self.writer).await? {
            let Some(stored) = self.store.row(writer, wseq).await? else { continue };
            let corrupt = |e: row::RowError| StoreError::Corrupt(e.to_string());
            let row = Row::decode(&stored.bytes).map_err(corrupt)?;
            let intent = row.entries.into_iter().find_map(|entry| match entry {
                Entry::Intent(intent) if intent.first_leaf == leaf => Some(intent),
                _ => None,
            });
            let (Some(intent), Some(manifest)) = (intent, stored.manifest) else { continue };
            let first = Position { writer, wseq, leaf };
            let events = self.deliverable(first, &intent, &manifest).await?;
            open.push(OpenIntent { first, t_us: row.t_us, intent, events });
        }
        Ok(open)
    }

    async fn deliverable(
        &self,
        first: Position,
        intent: &Intent,
        manifest: &[u8],
    ) -> Result<Vec<(Position, Vec<String>)>, StoreError> {
        let corrupt = |e: row::RowError| StoreError::Corrupt(e.to_string());
        let mut regions = Vec::new();
        for digest in &intent.treatments {
            let detail = self.store.detail(&digest.0).await?;
            let treatment: Option<Treatment> = detail.and_then(|d| minicbor::decode(&d).ok());
            regions.push(treatment.map(|t| t.region).unwrap_or_default());
        }
        let leaves = row::decode_manifest(manifest).map_err(corrupt)?;
        let mine = leaves.iter().zip(0_u32..);
        let mine = mine.skip(first.leaf as usize).take(intent.events as usize);
        let mut events = Vec::new();
        for (leaf, n) in mine {
            let event = row::decode_leaf(leaf).map_err(corrupt)?;
            if let crate::Fate::Deliver(used) = event.fate {
                let to = used.iter().filter_map(|n| regions.get(*n as usize).cloned()).collect();
                events.push((Position { leaf: n, ..first }, to));
            }
        }
        Ok(events)
    }

    /// Ends the chain in order and waits until all that was queued is durable.
    pub async fn close(&self) -> Result<(), AppendError> {
        let closed = self.append(Entry::WriterClose).await.map(|_| ());
        self.store.close().await;
        closed
    }
}

/// An outcome in pieces that fit a row; only the last completes the intent.
fn in_pieces(outcome: Outcome) -> Vec<Outcome> {
    let Outcome { of, placed, failed, complete } = outcome;
    let mut pieces = vec![Outcome { of, placed: vec![], failed: vec![], complete: false }];
    let mut room = OUTCOME_EVENTS;
    let mut piece = |size: usize| {
        if size > room {
            pieces.push(Outcome { of, placed: vec![], failed: vec![], complete: false });
            room = OUTCOME_EVENTS;
        }
        room = room.saturating_sub(size);
        pieces.len() - 1
    };
    let mut parts: Vec<(usize, Part)> = Vec::new();
    for placement in placed {
        for at in placement.at.chunks(OUTCOME_EVENTS) {
            let part = crate::Placement { at: at.to_vec(), ..placement.clone() };
            parts.push((piece(at.len()), Part::Placed(part)));
        }
    }
    for failure in failed {
        for leaves in failure.leaves.chunks(OUTCOME_EVENTS) {
            let part = Failed { leaves: leaves.to_vec(), ..failure.clone() };
            parts.push((piece(leaves.len()), Part::Failed(part)));
        }
    }
    for (n, part) in parts {
        if let Some(outcome) = pieces.get_mut(n) {
            match part {
                Part::Placed(placement) => outcome.placed.push(placement),
                Part::Failed(failure) => outcome.failed.push(failure),
            }
        }
    }
    if let Some(last) = pieces.last_mut() {
        last.complete = complete;
    }
    pieces
}

enum Part {
    Placed(crate::Placement),
    Failed(Failed),
}

/// A flush whose commit ended without a clear answer.
struct Unsettled {
    last: u64,
    head: Link,
    intents: Vec<Position>,
}

struct Committer {
    options: Options,
    store: Arc<dyn Store>,
    status: watch::Sender<Status>,
    head: Link,
    next: u64,
    unsettled: Option<Unsettled>,
    last_us: i64,
    purged_us: i64,
}

/// Rows that were made and not yet committed.
#[derive(Default)]
struct Flush {
    commit: Commit,
    head: Option<Link>,
    /// For each append that waits: its answer's place and its claim's number.
    waiting: Vec<(oneshot::Sender<Result<Appended, AppendError>>, Appended, Option<usize>)>,
    intents: Vec<Position>,
}

impl Committer {
    async fn run(mut self, mut appends: mpsc::Receiver<Append>) {
        let mut waiting = Vec::new();
        loop {
            let received = appends.recv_many(&mut waiting, FLUSH_APPENDS);
            match tokio::time::timeout(HEARTBEAT, received).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(_) => waiting.push(Append { entries: vec![Entry::Heartbeat], ..Append::default() }),
            }
            let closing =
                waiting.iter().any(|a| a.entries.iter().any(|e| matches!(e, Entry::WriterClose)));
            let status = self.flush(waiting.drain(..)).await;
            self.status.send_replace(status);
            if closing || status == Status::Fenced {
                break;
            }
        }
        let last = *self.status.borrow();
        self.status.send_replace(if last == Status::Fenced { last } else { Status::Closed });
    }

    async fn flush(&mut self, appends: impl Iterator<Item = Append>) -> Status {
        if let Err(error) = self.settle_unsettled().await {
            return refuse_all(appends, error);
        }
        let mut appends = appends.peekable();
        while appends.peek().is_some() {
            let flush = self.rows(&mut appends);
            let status = self.commit(flush).await;
            if status != Status::Healthy {
                let error = AppendError::Unavailable("the flush before failed".to_owned());
                refuse_all(appends, error);
                return status;
            }
        }
        Status::Healthy
    }

    /// Rows out of appends, until a flush is full.
    fn rows(&mut self, appends: &mut impl Iterator<Item = Append>) -> Flush {
        let mut flush = Flush::default();
        let mut head = self.head;
        let mut next = self.next;
        let now = self.options.clock.now();
        // Rows of a chain never go back in time, whatever the clock does.
        self.last_us = self.last_us.max(now.us);
        let mut events = 0;
        let mut draft = Draft::default();
        for append in appends {
            let size = encoded_size(&append.entries);
            if size > ROW_BYTES_MAX - FRAME_BYTES {
                answer(append.answer, Err(AppendError::TooLarge));
                continue;
            }
            if draft.bytes + size > ROW_BYTES_MAX - FRAME_BYTES {
                head = self.seal(&mut flush, std::mem::take(&mut draft), next, head, &now);
                next += 1;
            }
            events += append.events.len();
            self.take(&mut flush, &mut draft, append, size, next, now.us);
            if events >= FLUSH_EVENTS {
                break;
            }
        }
        if !draft.entries.is_empty() {
            head = self.seal(&mut flush, draft, next, head, &now);
        }
        flush.head = Some(head);
        if now.us.saturating_sub(self.purged_us) > PURGE_EVERY_US {
            flush.commit.purge_before_us = now.us;
            self.purged_us = now.us;
        }
        flush
    }

    /// Puts one append into the row that is being made.
    fn take(
        &self,
        flush: &mut Flush,
        draft: &mut Draft,
        append: Append,
        size: usize,
        wseq: u64,
        now_us: i64,
    ) {
        let leaf = u32::try_from(draft.leaves.len()).unwrap_or(u32::MAX);
        let first = Position { writer: self.options.writer, wseq, leaf };
        for mut entry in append.entries {
            match &mut entry {
                Entry::Intent(intent) => {
                    intent.first_leaf = leaf;
                    let state = |p: Position| IntentState {
                        writer: p.writer,
                        wseq: p.wseq,
                        leaf: p.leaf,
                        open: true,
                    };
                    flush.commit.intents.push(state(first));
                    flush.intents.push(first);
                }
                Entry::Outcome(outcome) => project(flush, outcome, wseq),
                _ => {}
            }
            draft.entries.push(entry);
        }
        for event in &append.events {
            draft.leaves.push(leaf_bytes(event));
            draft.digests.extend(event.source.iter().chain(&event.tokens).map(|d| d.0));
        }
        draft.bytes += size;
        flush.commit.details.extend(append.details);
        flush.commit.done.extend(append.done);
        let claim = append.claim.map(|claim| {
            flush.commit.claims.push(ClaimWrite {
                key: claim.key,
                fingerprint: claim.fingerprint,
                wseq,
                leaf,
                at_us: now_us,
                expires_us: claim.expires_us,
            });
            flush.commit.claims.len() - 1
        });
        if let Some(sender) = append.answer {
            flush.waiting.push((sender, Appended { first }, claim));
        }
    }

    fn seal(&self, flush: &mut Flush, draft: Draft, wseq: u64, prev: Link, now: &Time) -> Link {
        let row = Row {
            origin: self.options.origin.clone(),
            writer: self.options.writer,
            wseq,
            prev,
            t_us: self.last_us,
            t_err_us: now.err_us,
            clock: now.source.to_owned(),
            entries: draft.entries,
            events: u32::try_from(draft.leaves.len()).unwrap_or(u32::MAX),
            event_root: tree::root(draft.leaves.iter().map(Vec::as_slice)),
        };
        let bytes = row.encode();
        let link = link_of(&bytes);
        let filter = Filter::of(draft.digests.iter());
        let manifest = (!draft.leaves.is_empty())
            .then(|| (encode_manifest(&draft.leaves), filter.as_bytes().to_vec()));
        flush.commit.rows.push(NewRow { wseq, t_us: self.last_us, bytes, prev, link, manifest });
        link
    }

    async fn commit(&mut self, flush: Flush) -> Status {
        let Some(last) = flush.commit.rows.last().map(|row| row.wseq) else {
            return Status::Healthy;
        };
        let Some(head) = flush.head else { return Status::Healthy };
        match self.store.commit(self.options.writer, &self.options.node, &flush.commit).await {
            Ok(taken) => {
                self.head = head;
                self.next = last + 1;
                self.answer(flush.waiting, &taken);
                Status::Healthy
            }
            Err(error) => {
                let Flush { waiting, intents, .. } = flush;
                self.unsettled = Some(Unsettled { last, head, intents });
                // Settled at once where that is possible, so that most failures are clear ones.
                let settled = self.settle_unsettled().await;
                let status = match settled {
                    Err(AppendError::Fenced) => Status::Fenced,
                    _ => Status::Unavailable,
                };
                let error = match status {
                    Status::Fenced => AppendError::Fenced,
                    _ => AppendError::Unavailable(error.to_string()),
                };
                for (sender, ..) in waiting {
                    answer(Some(sender), Err(error.clone()));
                }
                status
            }
        }
    }

    fn answer(
        &mut self,
        waiting: Vec<(oneshot::Sender<Result<Appended, AppendError>>, Appended, Option<usize>)>,
        taken: &[usize],
    ) {
        for (sender, appended, claim) in waiting {
            let lost = claim.is_some_and(|n| taken.contains(&n));
            let result = if lost { Err(AppendError::ClaimTaken) } else { Ok(appended) };
            answer(Some(sender), result);
        }
    }

    /// Asks the store whether an unclear commit happened. If it did, its intents were answered
    /// with an error and will not be delivered: that is recorded in the next row.
    async fn settle_unsettled(&mut self) -> Result<(), AppendError> {
        let Some(unsettled) = &self.unsettled else { return Ok(()) };
        let mut head = Err(StoreError::Url);
        for attempt in 0..SETTLE_TRIES {
            if attempt > 0 {
                tokio::time::sleep(SETTLE_PAUSE).await;
            }
            head = self.store.head(self.options.writer).await;
            if head.is_ok() {
                break;
            }
        }
        let head = head.map_err(|e| AppendError::Unavailable(e.to_string()))?;
        let before = self.next.checked_sub(1);
        if head == before {
            self.unsettled = None;
            return Ok(());
        }
        if head != Some(unsettled.last) {
            return Err(AppendError::Fenced);
        }
        self.head = unsettled.head;
        self.next = unsettled.last + 1;
        let intents = std::mem::take(&mut self.unsettled).map(|u| u.intents).unwrap_or_default();
        self.disown(intents).await
    }

    /// Intents that are durable but were answered with an error.
    async fn disown(&mut self, intents: Vec<Position>) -> Result<(), AppendError> {
        if intents.is_empty() {
            return Ok(());
        }
        let outcome = |of| {
            let failed =
                vec![Failed { region: String::new(), code: "not-sent".to_owned(), leaves: vec![] }];
            Entry::Outcome(Outcome { of, placed: vec![], failed, complete: true })
        };
        let appends = intents
            .into_iter()
            .map(|of| Append { entries: vec![outcome(of)], ..Append::default() });
        let mut appends = appends.collect::<Vec<_>>().into_iter();
        let flush = self.rows(&mut appends);
        match Box::pin(self.commit(flush)).await {
            Status::Healthy => Ok(()),
            _ => Err(AppendError::Unavailable("settling failed".to_owned())),
        }
    }
}

/// A row in the making.
#[derive(Default)]
struct Draft {
    entries: Vec<Entry>,
    leaves: Vec<Vec<u8>>,
    digests: Vec<SearchDigest>,
    bytes: usize,
}

fn encoded_size(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| minicbor::to_vec(entry).map_or(0, |bytes| bytes.len())).sum()
}

/// The look-up rows of an outcome.
fn project(flush: &mut Flush, outcome: &Outcome, wseq: u64) {
    let of = (outcome.of.writer, outcome.of.wseq);
    for placement in &outcome.placed {
        for (offset_from, offset_to) in stretches(&placement.at) {
            flush.commit.edges.push(Edge {
                region: placement.region.clone(),
                topic: placement.topic.clone(),
                partition: placement.partition,
                offset_from,
                offset_to,
                of,
                wseq,
            });
        }
    }
    if outcome.complete {
        let Position { writer, wseq, leaf } = outcome.of;
        flush.commit.intents.push(IntentState { writer, wseq, leaf, open: false });
    }
}

/// Runs of offsets without a hole.
fn stretches(at: &[At]) -> Vec<(i64, i64)> {
    let mut offsets: Vec<i64> = at.iter().map(|at| at.offset).collect();
    offsets.sort_unstable();
    let mut runs: BTreeMap<i64, i64> = BTreeMap::new();
    for offset in offsets {
        match runs.last_entry() {
            Some(mut last) if *last.get() + 1 >= offset => {
                last.insert(offset);
            }
            _ => {
                runs.insert(offset, offset);
            }
        }
    }
    runs.into_iter().collect()
}

fn answer(to: Option<oneshot::Sender<Result<Appended, AppendError>>>, result: Result<Appended, AppendError>) {
    if let Some(sender) = to {
        // Whoever asked may have gone away; the row stands all the same.
        let _gone = sender.send(result);
    }
}

fn refuse_all(appends: impl Iterator<Item = Append>, error: AppendError) -> Status {
    for append in appends {
        answer(append.answer, Err(error.clone()));
    }
    if error == AppendError::Fenced { Status::Fenced } else { Status::Unavailable }
}
