//! The committer: one task that owns a chain. It takes everything that is queued, makes rows of it,
//! commits them in one transaction and answers all; the previous flush is the batching window.
//!
//! What nobody waits for (outcomes, failed logins) does not cost a commit of its own: it is written
//! with the next append that somebody waits for, or alone after [`COMPANY_WAIT`]. An append that
//! somebody waits for never waits for another one.
//!
//! A crash before the commit loses only what nobody was answered for.
//!
//! INVARIANT: rows that were once sent are never changed, and their numbers never given to others.
//! When a commit ends without a clear answer, its rows are looked for, and sent again as they are,
//! until they are there: a commit that arrives late can neither double a row nor fork the chain.
//!
//! INVARIANT: nothing that was queued without anybody waiting for it (outcomes, failed logins) is
//! dropped while the store is unavailable; it stays queued, and the queue is bounded.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout_at},
};

use super::{Append, AppendError, Leaves, Options, QUEUE, Status, Time};
use crate::{
    BudgetBlocked, ChainHead, Entry, Filter, Link, ManifestLeaf, Missing, MissingState, Outcome,
    Position, Release, ReleasePublished, ReleaseVoid, Row,
    row::{ROW_BYTES_MAX, encode_manifest, genesis, link_of},
    store::{
        ClaimWrite, Commit, Edge, IntentState, NewRow, ReleaseWrite, Store, StoreError, Taken,
    },
    tree,
};

/// Appends of one flush.
pub(super) const FLUSH_APPENDS: usize = 1_024;
/// Leaves of one flush, so that a manifest stays small enough to hold in memory.
const FLUSH_LEAVES: usize = 50_000;
/// Published bytes of releases in one flush, beyond which the next release has to wait.
const FLUSH_BLOB_BYTES: usize = 64 << 20;
/// Bytes that a row's frame may take beside its entries.
const FRAME_BYTES: usize = 1_024;
/// How often a commit is tried before its appends are answered, and the pause between.
const COMMIT_TRIES: u32 = 3;
const COMMIT_PAUSE: Duration = Duration::from_millis(100);
/// While the store is unavailable, it is asked again this often.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How long entries that nobody waits for may stay queued until an append comes that is waited for.
const COMPANY_WAIT: Duration = Duration::from_millis(20);
/// How often others may run, and append, before a flush begins: those whom the flush before answered
/// get into this one, and not into the one behind it.
const YIELDS_MAX: u32 = 16;
/// So many treatments are known to be in the store, and are not written again by each flush.
const STORED_DETAILS_MAX: usize = 10_000;
/// Idle for this long, the writer says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Expired claims are purged this often.
const PURGE_EVERY_US: i64 = 60_000_000;

pub(super) struct Committer {
    options: Options,
    store: Arc<dyn Store>,
    status: watch::Sender<Status>,
    /// Why the last flush did not work.
    trouble: watch::Sender<Option<AppendError>>,
    head: Link,
    next: u64,
    /// The segment of the newest row that was made.
    segment: u32,
    /// Sent, and not known to be durable. Nobody waits for it any more.
    unsettled: Option<Flush>,
    /// Queued without anybody waiting, and not written yet.
    kept: Vec<Append>,
    /// Details that this process has stored.
    stored: BTreeSet<[u8; 32]>,
    last_us: i64,
    purged_us: i64,
}

type Waiting = (oneshot::Sender<Result<Position, AppendError>>, Position, Option<Key>);

/// What an append has that there may be once only, by its number in the commit.
#[derive(Clone, Copy)]
enum Key {
    Claim(usize),
    Release(usize),
}

/// Rows that were made and are not known to be durable.
#[derive(Default)]
struct Flush {
    commit: Commit,
    /// The last row's number and link.
    head: Option<(u64, Link)>,
    /// For each append that waits: its answer's place and its key.
    waiting: Vec<Waiting>,
    intents: Vec<Position>,
}

impl Committer {
    pub(super) fn new(
        options: Options,
        store: Arc<dyn Store>,
        status: watch::Sender<Status>,
        floor_us: Option<i64>,
        now_us: i64,
        segment: u32,
    ) -> Self {
        Self {
            head: genesis(&options.origin, options.writer),
            next: 0,
            segment,
            unsettled: None,
            kept: Vec::new(),
            stored: BTreeSet::new(),
            last_us: floor_us.unwrap_or(i64::MIN),
            purged_us: now_us,
            store,
            status,
            trouble: watch::Sender::default(),
            options,
        }
    }

    pub(super) fn trouble(&self) -> watch::Receiver<Option<AppendError>> {
        self.trouble.subscribe()
    }

    pub(super) async fn run(mut self, mut appends: mpsc::Receiver<Append>) {
        let mut status = Status::Healthy;
        loop {
            let mut waiting = std::mem::take(&mut self.kept);
            let room = FLUSH_APPENDS.min(QUEUE.saturating_sub(waiting.len()));
            let is_well = status == Status::Healthy;
            let pause = match (is_well, waiting.is_empty()) {
                (true, true) => HEARTBEAT,
                (true, false) => Duration::ZERO,
                (false, _) => RETRY_PAUSE,
            };
            if room == 0 {
                tokio::time::sleep(pause).await;
            } else {
                let received = appends.recv_many(&mut waiting, room);
                match tokio::time::timeout(pause, received).await {
                    Ok(0) => break,
                    Err(_) if is_well && waiting.is_empty() => {
                        waiting.push(Append::of(Entry::Heartbeat))
                    }
                    Ok(_) | Err(_) if is_well => {
                        gather(&mut appends, &mut waiting, COMPANY_WAIT).await
                    }
                    Ok(_) | Err(_) => {}
                }
            }
            let (closing, waiting): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(Append::closes);
            status = self.flush(waiting).await;
            let is_closing = !closing.is_empty();
            if is_closing {
                // What the flush left to say comes before the end.
                let mut last = std::mem::take(&mut self.kept);
                last.extend(closing);
                status = self.flush(last).await;
            }
            self.status.send_replace(status);
            if is_closing || status == Status::Fenced {
                break;
            }
        }
        let last = if status == Status::Fenced { status } else { Status::Closed };
        self.status.send_replace(last);
    }

    async fn flush(&mut self, appends: Vec<Append>) -> Status {
        if let Some(unsettled) = self.unsettled.take()
            && let Err((status, error)) = self.settle(unsettled).await
        {
            return self.defer(appends, status, &error);
        }
        let mut appends = appends.into_iter().peekable();
        while appends.peek().is_some() {
            let flush = self.rows(&mut appends);
            if let Err((status, error)) = self.settle(flush).await {
                return self.defer(appends, status, &error);
            }
        }
        self.trouble.send_if_modified(|trouble| trouble.take().is_some());
        Status::Healthy
    }

    /// Answers those who wait, and keeps what nobody waits for.
    fn defer(
        &mut self,
        appends: impl IntoIterator<Item = Append>,
        status: Status,
        error: &AppendError,
    ) -> Status {
        self.trouble.send_if_modified(|trouble| {
            let is_new = trouble.is_none();
            *trouble = Some(error.clone());
            is_new
        });
        for append in appends {
            match append.answer {
                Some(_) => answer(append.answer, Err(error.clone())),
                None => self.kept.push(append),
            }
        }
        status
    }

    /// Rows out of appends, until a flush is full.
    fn rows(&mut self, appends: &mut impl Iterator<Item = Append>) -> Flush {
        let mut flush = Flush::default();
        let mut head = self.head;
        let mut next = self.next;
        let now = self.options.clock.now();
        // Rows of a chain never go back in time, whatever the clock does.
        self.last_us = self.last_us.max(now.us);
        let (mut leaves, mut blob_bytes) = (0, 0);
        let mut draft = Draft::default();
        for mut append in appends {
            let size = encoded_size(&append.entries);
            if size > ROW_BYTES_MAX - FRAME_BYTES {
                answer(append.answer, Err(AppendError::TooLarge));
                continue;
            }
            let enters = append.enters.filter(|segment| *segment != self.segment);
            let is_full = draft.bytes + size > ROW_BYTES_MAX - FRAME_BYTES;
            if is_full || draft.is_apart_from(&append) || (enters.is_some() && !draft.is_empty()) {
                head = self.seal(&mut flush, std::mem::take(&mut draft), next, head, &now);
                next += 1;
            }
            if let Some(segment) = enters {
                self.enter(&mut append, segment, next, head);
            }
            leaves += append.leaves.len();
            let blobs = append.blobs.iter().flatten();
            blob_bytes += blobs.map(|(_, blob)| blob.len()).sum::<usize>();
            self.take(&mut flush, &mut draft, append, size, next);
            if leaves >= FLUSH_LEAVES || blob_bytes >= FLUSH_BLOB_BYTES {
                break;
            }
        }
        if !draft.is_empty() {
            self.seal(&mut flush, draft, next, head, &now);
        }
        flush.head = flush.commit.rows.last().map(|row| (row.wseq, row.link));
        if now.us.saturating_sub(self.purged_us) > PURGE_EVERY_US {
            flush.commit.purge_before_us = now.us;
            self.purged_us = now.us;
        }
        flush
    }

    /// The next row is of another segment, and names the row before.
    fn enter(&mut self, append: &mut Append, segment: u32, next: u64, head: Link) {
        let own = next.checked_sub(1).map(|wseq| ChainHead {
            writer: self.options.writer,
            wseq,
            link: head,
            segment: self.segment,
        });
        if let Some(Entry::SegmentOpen(open)) = append.entries.first_mut() {
            open.heads.extend(own);
        }
        self.segment = segment;
    }

    /// Puts one append into the row that is being made.
    fn take(&self, flush: &mut Flush, draft: &mut Draft, append: Append, size: usize, wseq: u64) {
        let leaf = u32::try_from(draft.leaves.len()).unwrap_or(u32::MAX);
        let mut first = Position { writer: self.options.writer, wseq, leaf };
        let mut key = None;
        for mut entry in append.entries {
            // Releases are named by their entry: they are no leaves.
            let n = u32::try_from(draft.entries.len()).unwrap_or(u32::MAX);
            let at = Position { leaf: n, ..first };
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
                Entry::Release(release) => {
                    key = Some(Key::Release(flush.commit.releases.len()));
                    flush.commit.releases.push(release_write(release, at));
                    first = at;
                }
                Entry::ReleaseVoid(ReleaseVoid { of, .. }) => flush.commit.voided.push(*of),
                Entry::ReleasePublished(ReleasePublished { id, of }) => {
                    flush.commit.published.push((*id, *of));
                }
                Entry::BudgetBlocked(BudgetBlocked { account, period_us, .. }) => {
                    flush.commit.blocked.push((account.clone(), *period_us));
                }
                _ => {}
            }
            draft.entries.push(entry);
        }
        if let Some(Position { writer, wseq, leaf }) = append.reopens {
            let same = |i: &IntentState| (i.writer, i.wseq, i.leaf) == (writer, wseq, leaf);
            // An engine may write the ends of a transaction behind its beginnings.
            flush.commit.intents.retain(|intent| !same(intent));
            flush.commit.intents.push(IntentState { writer, wseq, leaf, open: true });
        }
        draft.leaves.append(&append.leaves);
        draft.has_release |= append.blobs.is_some();
        draft.bytes += size;
        for detail in append.details {
            let is_new = || flush.commit.details.iter().all(|(digest, _)| *digest != detail.0);
            if !self.stored.contains(&detail.0) && is_new() {
                flush.commit.details.push(detail);
            }
        }
        flush.commit.done.extend(append.done);
        flush.commit.blobs.extend(append.blobs.into_iter().flatten());
        if let Some(claim) = append.claim {
            key = Some(Key::Claim(flush.commit.claims.len()));
            flush.commit.claims.push(ClaimWrite {
                key: claim.key,
                fingerprint: claim.fingerprint,
                wseq,
                leaf,
                at_us: claim.at_us,
                expires_us: claim.expires_us,
            });
        }
        if let Some(sender) = append.answer {
            flush.waiting.push((sender, first, key));
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
            segment: self.segment,
            entries: draft.entries,
            leaves: u32::try_from(draft.leaves.len()).unwrap_or(u32::MAX),
            root: tree::root(draft.leaves.iter()),
        };
        let bytes = row.encode();
        let link = link_of(&bytes);
        let manifest = (!draft.leaves.is_empty()).then(|| {
            let filter = Filter::of(draft.leaves.digests().iter());
            let leaves = draft.leaves.iter().map(ManifestLeaf::Kept);
            (encode_manifest(leaves), filter.as_bytes().to_vec())
        });
        let (t_us, segment) = (self.last_us, self.segment);
        flush.commit.rows.push(NewRow { wseq, t_us, segment, bytes, prev, link, manifest });
        link
    }

    /// Makes a flush durable and answers for it. When it cannot be told whether it is, those who
    /// wait are turned away, and the flush is settled before anything else is written.
    async fn settle(&mut self, mut flush: Flush) -> Result<(), (Status, AppendError)> {
        let Some(head) = flush.head else { return Ok(()) };
        match self.commit(&flush.commit, head).await {
            Ok(taken) => {
                (self.next, self.head) = (head.0 + 1, head.1);
                if self.stored.len() + flush.commit.details.len() > STORED_DETAILS_MAX {
                    self.stored.clear();
                }
                self.stored.extend(flush.commit.details.iter().map(|(digest, _)| *digest));
                // Intents whose callers were told that nothing happens, though the row is there.
                let mut unacknowledged = std::mem::take(&mut flush.intents);
                for (sender, first, key) in flush.waiting {
                    let lost = key.is_some_and(|key| match key {
                        Key::Claim(n) => taken.claims.contains(&n),
                        Key::Release(n) => taken.releases.contains(&n),
                    });
                    if !lost {
                        unacknowledged.retain(|intent| *intent != first);
                    }
                    let result = if lost { Err(AppendError::ClaimTaken) } else { Ok(first) };
                    answer(Some(sender), result);
                }
                self.kept.extend(unacknowledged.into_iter().map(void_unacknowledged));
                let lost = taken.releases.iter().filter_map(|n| flush.commit.releases.get(*n));
                self.kept.extend(lost.map(void));
                Ok(())
            }
            Err((status, error)) => {
                for (sender, ..) in flush.waiting.drain(..) {
                    answer(Some(sender), Err(error.clone()));
                }
                self.unsettled = Some(flush);
                Err((status, error))
            }
        }
    }

    /// Commits, or finds committed. Gives what others hold.
    async fn commit(
        &self,
        commit: &Commit,
        ours: (u64, Link),
    ) -> Result<Taken, (Status, AppendError)> {
        let (writer, node) = (self.options.writer, &self.options.node);
        let before = self.next.checked_sub(1).map(|wseq| (wseq, self.head));
        let mut why = String::new();
        for attempt in 0..COMMIT_TRIES {
            if attempt > 0 {
                tokio::time::sleep(COMMIT_PAUSE).await;
            }
            match self.store.commit(writer, node, commit).await {
                Ok(taken) => return Ok(taken),
                // What another file holds, or one without a name, is not durable.
                Err(error @ StoreError::Replaced) => {
                    why = error.to_string();
                    break;
                }
                Err(error) => why = error.to_string(),
            }
            // A cut between the commit and its answer looks like a failure; the store knows. Our
            // row is ours by its link: another process may write under our id.
            match self.store.head(writer).await {
                Ok(head) if head == Some(ours) => return self.taken(commit).await,
                Ok(head) if head == before => {}
                Ok(_) => return Err((Status::Fenced, AppendError::Fenced)),
                Err(_) => break,
            }
        }
        Err((Status::Unavailable, AppendError::Unavailable(why)))
    }

    /// What others hold of a durable flush.
    async fn taken(&self, commit: &Commit) -> Result<Taken, (Status, AppendError)> {
        let away = |e| (Status::Unavailable, AppendError::Unavailable(format!("{e}")));
        let mut taken = Taken::default();
        for (n, claim) in commit.claims.iter().enumerate() {
            let found = self.store.claim(&claim.key, claim.at_us).await;
            let found: Option<crate::store::ClaimRow> = found.map_err(away)?;
            let ours = |row: &crate::store::ClaimRow| {
                (row.writer, row.wseq, row.leaf) == (self.options.writer, claim.wseq, claim.leaf)
            };
            if !found.as_ref().is_some_and(ours) {
                taken.claims.push(n);
            }
        }
        for (n, release) in commit.releases.iter().enumerate() {
            let stands = self.store.release(&release.id).await.map_err(away)?;
            if stands.is_none_or(|stands| stands.at != release.at) {
                taken.releases.push(n);
            }
        }
        Ok(taken)
    }
}

/// Adds to a flush what may share its commit: first, for a bounded time, until it holds an append
/// that somebody waits for; then what others append without making it wait.
pub(super) async fn gather(
    appends: &mut mpsc::Receiver<Append>,
    flush: &mut Vec<Append>,
    wait: Duration,
) {
    let until = Instant::now() + wait;
    let mut judged = 0;
    loop {
        let is_awaited = flush.iter().skip(judged).any(|append| append.answer.is_some());
        judged = flush.len();
        let room = FLUSH_APPENDS.saturating_sub(judged);
        if is_awaited || room == 0 {
            break;
        }
        match timeout_at(until, appends.recv_many(flush, room)).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    for _ in 0..YIELDS_MAX {
        let before = flush.len();
        tokio::task::yield_now().await;
        while flush.len() < FLUSH_APPENDS
            && let Ok(append) = appends.try_recv()
        {
            flush.push(append);
        }
        if flush.len() == before {
            break;
        }
    }
}

/// The outcome of an intent that is durable, and whose caller was told that it is not.
fn void_unacknowledged(of: Position) -> Append {
    let missing = Missing {
        region: String::new(),
        topic: String::new(),
        state: MissingState::NotWritten,
        code: "not-sent".to_owned(),
        leaves: vec![],
    };
    Append::of(Entry::Outcome(Outcome {
        of,
        placed: vec![],
        missing: vec![missing],
        repeat_of: vec![],
        complete: true,
    }))
}

/// The end of a release that is durable, while another one of its id stands.
fn void(lost: &ReleaseWrite) -> Append {
    Append::of(Entry::ReleaseVoid(ReleaseVoid { id: lost.id, of: lost.at }))
}

fn release_write(release: &Release, at: Position) -> ReleaseWrite {
    ReleaseWrite {
        id: release.id,
        name: release.name.clone(),
        window_start_us: release.window_start_us,
        window_end_us: release.window_end_us,
        revision: release.revision,
        at,
    }
}

/// A row in the making.
#[derive(Default)]
struct Draft {
    entries: Vec<Entry>,
    leaves: Leaves,
    bytes: usize,
    has_release: bool,
}

impl Draft {
    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A row with a release has no leaves: messages of the one and records of the other would share
    /// positions.
    fn is_apart_from(&self, append: &Append) -> bool {
        (self.has_release && !append.leaves.is_empty())
            || (append.blobs.is_some() && !self.leaves.is_empty())
    }
}

fn encoded_size(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| minicbor::to_vec(entry).map_or(0, |bytes| bytes.len())).sum()
}

/// The look-up rows of an outcome.
fn project(flush: &mut Flush, outcome: &Outcome, wseq: u64) {
    let of = (outcome.of.writer, outcome.of.wseq);
    for placement in &outcome.placed {
        for (offset_from, offset_to) in placement.stretches() {
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

fn answer(
    to: Option<oneshot::Sender<Result<Position, AppendError>>>,
    result: Result<Position, AppendError>,
) {
    if let Some(sender) = to {
        // Whoever asked may have gone away; the row stands all the same.
        let _gone = sender.send(result);
    }
}
