//! How long a connection may take. Between requests it has the time to send the next one; while it
//! is answered, each piece of the answer must be taken within a time. Everything else that a
//! request waits for has a bound of its own.
//!
//! An answer counts as taken when its bytes are dropped, and the HTTP library drops them when the
//! peer has made room for them: this sees a peer that reads nothing also on HTTP/2, where the
//! socket itself never stalls.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    http::header,
    response::Response,
};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{sync::Notify, time::Instant};

use super::head::Head;
use crate::config::Limits;

/// This much of a body or answer must move within its timeout, so the smallest rate is about
/// 1 KiB a second.
pub const PIECE_BYTES: usize = 32 * 1024;

/// The times of a listener's connections.
#[derive(Clone, Copy)]
pub struct Times {
    /// From the TLS handshake to the first request.
    pub first: Duration,
    /// From one request's answer to the next request.
    pub idle: Duration,
    /// For each piece of an answer.
    pub write: Duration,
}

impl Times {
    pub fn of(limits: &Limits) -> Self {
        Self {
            first: Duration::from_millis(limits.header_timeout_ms),
            idle: Duration::from_millis(limits.idle_timeout_ms),
            write: Duration::from_millis(limits.write_timeout_ms),
        }
    }
}

/// Why a connection's time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// No request came.
    Silent,
    /// Requests came, and now none for a while.
    Idle,
    /// An answer was not taken.
    Stalled,
    /// Its place was given to another.
    Evicted,
}

impl Over {
    pub fn code(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Evicted => "evicted",
        }
    }
}

/// One connection's state.
pub struct Pace {
    times: Times,
    state: Mutex<State>,
    evicted: Notify,
}

struct State {
    /// Requests that are not answered to the last byte.
    open: usize,
    /// Whether there was a request ever.
    served: bool,
    /// Since when no request is open.
    waiting: Instant,
    answers: HashMap<u64, Unread>,
    next: u64,
    /// The head of the next request.
    head: Head,
}

struct Unread {
    /// Pieces that the HTTP library has and the peer has not.
    pieces: usize,
    /// Whether more pieces are in memory already.
    more: bool,
    /// When the last piece was taken.
    since: Instant,
}

impl Unread {
    fn waits_for_peer(&self) -> bool {
        self.pieces > 0 || self.more
    }
}

impl Pace {
    pub fn new(times: Times) -> Arc<Self> {
        let state = State {
            open: 0,
            served: false,
            waiting: Instant::now(),
            answers: HashMap::new(),
            next: 0,
            head: Head::default(),
        };
        Arc::new(Self { times, state: Mutex::new(state), evicted: Notify::new() })
    }

    pub fn times(&self) -> Times {
        self.times
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// How fit this connection is for eviction; the least goes first. `None` while it works.
    pub fn waiting(&self) -> Option<(bool, Instant)> {
        let state = self.state();
        (state.open == 0).then_some((state.served, state.waiting))
    }

    pub fn evict(&self) {
        self.evicted.notify_one();
    }

    /// Returns when the connection's time is over.
    pub async fn over(&self) -> Over {
        // No time that begins later ends earlier than this.
        let least = self.times.first.min(self.times.idle).min(self.times.write);
        loop {
            let now = Instant::now();
            let end = self.end();
            if let Some((at, over)) = end
                && at <= now
            {
                return over;
            }
            let wake = end.map_or(now + least, |(at, _)| at.min(now + least));
            tokio::select! {
                () = tokio::time::sleep_until(wake) => {}
                () = self.evicted.notified() => return Over::Evicted,
            }
        }
    }

    fn end(&self) -> Option<(Instant, Over)> {
        let state = self.state();
        if state.open == 0 {
            return Some(match state.served {
                false => (state.waiting + self.times.first, Over::Silent),
                true => (state.waiting + self.times.idle, Over::Idle),
            });
        }
        let unread = state.answers.values().filter(|unread| unread.waits_for_peer());
        unread.map(|unread| (unread.since + self.times.write, Over::Stalled)).min_by_key(|e| e.0)
    }

    /// A request has come; it is open until this and all that came of it is dropped.
    pub fn open(self: &Arc<Self>) -> Open {
        let mut state = self.state();
        state.open += 1;
        state.served = true;
        let bare = std::mem::take(&mut state.head).is_bare();
        Open { pace: self.clone(), bare }
    }

    /// Bytes were read; between requests they are of a request's head.
    pub fn heard(&self, read: impl FnOnce(&mut Head)) {
        let mut state = self.state();
        if state.open == 0 {
            read(&mut state.head);
        }
    }
}

/// An open request.
pub struct Open {
    pace: Arc<Pace>,
    /// Its head, if it came by HTTP/1.1, had a line without a carriage return.
    pub bare: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.pace.state();
        state.open -= 1;
        state.waiting = Instant::now();
    }
}

impl Open {
    /// Watches an answer: cut into pieces, each of which must be taken in time.
    pub fn answer(self, response: Response) -> Response {
        let (head, body) = response.into_parts();
        if body.is_end_stream() {
            return Response::from_parts(head, body);
        }
        let whole =
            head.headers.contains_key(header::CONTENT_LENGTH) || body.size_hint().exact().is_some();
        let answer = Answer::new(self, whole);
        let frames = body.into_data_stream();
        let pieces = futures_util::stream::unfold(
            (frames, answer, Bytes::new()),
            |(mut frames, answer, mut rest)| async move {
                while rest.is_empty() {
                    match frames.next().await? {
                        Ok(frame) => rest = frame,
                        Err(error) => return Some((Err(error), (frames, answer, rest))),
                    }
                }
                let piece = rest.split_to(rest.len().min(PIECE_BYTES));
                let piece = answer.watched.piece(piece);
                Some((Ok(piece), (frames, answer, rest)))
            },
        );
        Response::from_parts(head, Body::from_stream(pieces))
    }
}

/// The side of an answer that still has pieces to give.
struct Answer {
    watched: Arc<Watched>,
}

impl Answer {
    /// `whole`: all of it is in memory, so nothing but the peer is waited for.
    fn new(open: Open, whole: bool) -> Self {
        let id = {
            let mut state = open.pace.state();
            let id = state.next;
            state.next += 1;
            let unread = Unread { pieces: 0, more: whole, since: Instant::now() };
            state.answers.insert(id, unread);
            id
        };
        Self { watched: Arc::new(Watched { open, id }) }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.watched.change(|unread| unread.more = false);
    }
}

struct Watched {
    open: Open,
    id: u64,
}

impl Watched {
    fn change(&self, change: impl FnOnce(&mut Unread)) {
        if let Some(unread) = self.open.pace.state().answers.get_mut(&self.id) {
            change(unread);
        }
    }

    fn piece(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        self.change(|unread| {
            if !unread.waits_for_peer() {
                unread.since = Instant::now();
            }
            unread.pieces += 1;
        });
        Bytes::from_owner(Piece { bytes, watched: self.clone() })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.open.pace.state().answers.remove(&self.id);
    }
}

/// Bytes on their way to the peer.
struct Piece {
    bytes: Bytes,
    watched: Arc<Watched>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.watched.change(|unread| {
            unread.pieces = unread.pieces.saturating_sub(1);
            unread.since = Instant::now();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times {
        first: Duration::from_millis(40),
        idle: Duration::from_millis(80),
        write: Duration::from_millis(60),
    };

    async fn over(pace: &Pace, within_ms: u64) -> Option<Over> {
        tokio::time::timeout(Duration::from_millis(within_ms), pace.over()).await.ok()
    }

    #[tokio::test]
    async fn a_connection_has_a_time_for_each_state() {
        let pace = Pace::new(TIMES);
        assert_eq!(over(&pace, 1_000).await, Some(Over::Silent));
        let open = pace.open();
        assert_eq!(over(&pace, 200).await, None, "a request that is worked on takes its time");
        drop(open);
        assert_eq!(over(&pace, 1_000).await, Some(Over::Idle));
        pace.evict();
        let pace = Pace::new(TIMES);
        pace.evict();
        assert_eq!(over(&pace, 1_000).await, Some(Over::Evicted));
    }

    #[tokio::test]
    async fn each_piece_of_an_answer_must_be_taken() {
        let pace = Pace::new(TIMES);
        let body = vec![7; PIECE_BYTES * 3];
        let response = pace.open().answer(Response::new(Body::from(body)));
        assert_eq!(over(&pace, 1_000).await, Some(Over::Stalled), "nothing was taken");
        let mut pieces = response.into_body().into_data_stream();
        for _ in 0..3 {
            let piece = pieces.next().await.unwrap().unwrap();
            assert_eq!(piece.len(), PIECE_BYTES);
            drop(piece);
            assert_eq!(over(&pace, 30).await, None, "a piece was taken just now");
        }
        assert!(pieces.next().await.is_none());
        drop(pieces);
        assert_eq!(over(&pace, 1_000).await, Some(Over::Idle));
    }

    #[tokio::test]
    async fn an_answer_that_comes_bit_by_bit_is_not_the_peers_fault() {
        let pace = Pace::new(TIMES);
        let slow = futures_util::stream::unfold(0, |n| async move {
            tokio::time::sleep(Duration::from_millis(150)).await;
            (n < 2).then(|| (Ok::<_, std::io::Error>(Bytes::from_static(b"x")), n + 1))
        });
        let response = pace.open().answer(Response::new(Body::from_stream(slow)));
        let mut pieces = response.into_body().into_data_stream();
        let taken = async { while let Some(Ok(_)) = pieces.next().await {} };
        tokio::select! {
            () = taken => {}
            over = pace.over() => panic!("{over:?}"),
        }
    }
}
