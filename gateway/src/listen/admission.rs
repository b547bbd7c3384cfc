//! How much may be in flight: memory of all requests and answers together, and records per second
//! of each principal. The second is the caller's quota (429); the first is our limit (503), of
//! which no principal holds more than what it leaves to all others (429).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    http::{HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{sync::Notify, time::Instant};

use crate::config::Limits;

/// What a record costs while it is worked on, whatever its size: its fate, its copies, its place
/// in the ledger, its report.
pub const RECORD_COST_BYTES: usize = 4 * 1024;
/// How many times the bytes of a body are in memory while it is worked on: as they came, and in
/// the copies for regions and their pipelines.
const COPIES: usize = 4;
/// Requests that may wait for memory; more are refused at once.
const WAITING_MAX: usize = 1_000;
/// Principals whose quota is remembered.
const BUCKETS_MAX: usize = 100_000;
/// When all of them are in use, this many of the longest idle are forgotten.
const BUCKETS_FORGOTTEN: usize = 1_000;
/// A bucket holds this many seconds of its rate.
const BURST_S: f64 = 2.0;

/// What records cost while they are worked on.
pub fn cost(bytes: usize, records: usize) -> usize {
    bytes.saturating_mul(COPIES).saturating_add(records.saturating_mul(RECORD_COST_BYTES))
}

/// Why memory is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// Others have it.
    Gateway,
    /// The principal itself has its share of it.
    Share,
}

/// The gateway's admission control.
pub struct Admission {
    memory: Arc<Memory>,
    rate: f64,
    buckets: Mutex<HashMap<Arc<str>, Bucket>>,
}

/// The memory of everything in flight.
struct Memory {
    total: usize,
    wait: Duration,
    used: Mutex<Used>,
    freed: Notify,
}

#[derive(Default)]
struct Used {
    bytes: usize,
    by_principal: HashMap<Arc<str>, usize>,
    waiting: usize,
}

/// Memory that is held for a principal until it is dropped.
pub struct Admitted {
    memory: Arc<Memory>,
    principal: Arc<str>,
    bytes: usize,
}

impl Memory {
    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// INVARIANT: nobody takes more than it leaves free, so one principal alone has at most half,
    /// two together two thirds, and the next one always finds something.
    fn try_take(&self, principal: &Arc<str>, bytes: usize) -> Result<(), Full> {
        let mut used = self.used();
        let held = used.by_principal.get(principal).copied().unwrap_or(0);
        let free = self.total.saturating_sub(used.bytes);
        if held.saturating_add(bytes) > free.saturating_sub(bytes) {
            return Err(if held > 0 && bytes <= free { Full::Share } else { Full::Gateway });
        }
        used.bytes += bytes;
        *used.by_principal.entry(principal.clone()).or_default() += bytes;
        Ok(())
    }

    async fn take(&self, principal: &Arc<str>, bytes: usize) -> Result<(), Full> {
        let Err(mut full) = self.try_take(principal, bytes) else { return Ok(()) };
        let Some(_waiting) = Waiting::enter(self) else { return Err(full) };
        let deadline = Instant::now() + self.wait;
        loop {
            // Before asking again: what is freed after that wakes.
            let freed = self.freed.notified();
            full = match self.try_take(principal, bytes) {
                Ok(()) => return Ok(()),
                Err(full) => full,
            };
            if tokio::time::timeout_at(deadline, freed).await.is_err() {
                return Err(full);
            }
        }
    }

    fn give(&self, principal: &Arc<str>, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let mut used = self.used();
        used.bytes = used.bytes.saturating_sub(bytes);
        if let Some(held) = used.by_principal.get_mut(principal) {
            *held = held.saturating_sub(bytes);
            if *held == 0 {
                used.by_principal.remove(principal);
            }
        }
        drop(used);
        self.freed.notify_waiters();
    }
}

struct Waiting<'a>(&'a Memory);

impl<'a> Waiting<'a> {
    fn enter(memory: &'a Memory) -> Option<Self> {
        let mut used = memory.used();
        if used.waiting >= WAITING_MAX {
            return None;
        }
        used.waiting += 1;
        Some(Self(memory))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.used().waiting -= 1;
    }
}

impl Admitted {
    /// Takes as much as is missing to `bytes`, waiting a little. More than one principal can ever
    /// have counts as that.
    pub async fn grow_to(&mut self, bytes: usize) -> Result<(), Full> {
        let more = bytes.min(self.memory.total / 2).saturating_sub(self.bytes);
        if more > 0 {
            self.memory.take(&self.principal, more).await?;
            self.bytes += more;
        }
        Ok(())
    }

    /// Hands over so much of it, as far as it goes.
    pub fn split_off(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { memory: self.memory.clone(), principal: self.principal.clone(), bytes }
    }

    /// Gives back what is not needed any more.
    pub fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        self.bytes -= less;
        self.memory.give(&self.principal, less);
    }

    /// Holds an answer's bytes until the last of them is written.
    pub fn carry(mut self, response: Response) -> Response {
        let (mut head, body) = response.into_parts();
        if let Some(bytes) = body.size_hint().exact() {
            self.shrink_to(usize::try_from(bytes).unwrap_or(usize::MAX));
            head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
        }
        let admitted = Arc::new(self);
        let carried = body.into_data_stream().map(move |frame| {
            let admitted = admitted.clone();
            frame.map(|bytes| Bytes::from_owner(Carried { bytes, _admitted: admitted }))
        });
        Response::from_parts(head, Body::from_stream(carried))
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.memory.give(&self.principal, self.bytes);
    }
}

struct Carried {
    bytes: Bytes,
    _admitted: Arc<Admitted>,
}

impl AsRef<[u8]> for Carried {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn refill(&mut self, rate: f64, now: Instant) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * rate;
        self.tokens = (self.tokens + gained).min(rate * BURST_S);
        self.at = now;
    }
}

impl Admission {
    pub fn new(limits: &Limits) -> Self {
        let memory = Memory {
            total: limits.in_flight_bytes,
            wait: Duration::from_millis(limits.admission_wait_ms),
            used: Mutex::default(),
            freed: Notify::new(),
        };
        Self {
            memory: Arc::new(memory),
            rate: f64::from(limits.principal_records_per_s),
            buckets: Mutex::default(),
        }
    }

    /// For a request of this principal, which holds nothing yet.
    pub fn enter(&self, principal: &Arc<str>) -> Admitted {
        Admitted { memory: self.memory.clone(), principal: principal.clone(), bytes: 0 }
    }

    /// Takes records from a principal's quota; `Err` is the time until it may continue.
    pub fn records(
        &self,
        principal: &Arc<str>,
        records: usize,
        now: Instant,
    ) -> Result<(), Duration> {
        if self.rate == 0.0 {
            return Ok(());
        }
        let burst = self.rate * BURST_S;
        let mut buckets = self.buckets.lock().unwrap_or_else(|e| e.into_inner());
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(principal) {
            forget(&mut buckets, self.rate, now);
        }
        let bucket = buckets.entry(principal.clone()).or_insert(Bucket { tokens: burst, at: now });
        bucket.refill(self.rate, now);
        // A batch larger than the burst is admitted on a full bucket and paid for afterwards.
        let wanted = records as f64;
        if bucket.tokens >= wanted.min(burst) {
            bucket.tokens -= wanted;
            return Ok(());
        }
        let missing = wanted.min(burst) - bucket.tokens;
        Err(Duration::from_secs_f64((missing / self.rate).max(1.0)))
    }
}

/// Makes room. A bucket that is full again says nothing: it goes without loss. If none is, the
/// longest idle go.
fn forget(buckets: &mut HashMap<Arc<str>, Bucket>, rate: f64, now: Instant) {
    let full_again = |bucket: &Bucket| {
        let mut later = Bucket { ..*bucket };
        later.refill(rate, now);
        later.tokens >= rate * BURST_S
    };
    buckets.retain(|_, bucket| !full_again(bucket));
    if buckets.len() < BUCKETS_MAX {
        return;
    }
    let mut times: Vec<Instant> = buckets.values().map(|bucket| bucket.at).collect();
    let nth = BUCKETS_FORGOTTEN.min(times.len().saturating_sub(1));
    let (_, last, _) = times.select_nth_unstable(nth);
    let last = *last;
    let mut left = BUCKETS_FORGOTTEN;
    buckets.retain(|_, bucket| {
        let goes = bucket.at <= last && left > 0;
        left -= usize::from(goes);
        !goes
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_quota_is_an_average_with_a_burst() {
        let limits = Limits { principal_records_per_s: 10, ..Limits::default() };
        let admission = Admission::new(&limits);
        let (alice, start) = (Arc::from("alice"), Instant::now());
        assert!(admission.records(&alice, 20, start).is_ok());
        assert!(admission.records(&alice, 1, start).is_err());
        assert!(admission.records(&Arc::from("bob"), 20, start).is_ok());
        assert!(admission.records(&alice, 10, start + Duration::from_secs(1)).is_ok());
        // Larger than the burst: admitted on a full bucket, and paid for.
        let later = start + Duration::from_secs(60);
        assert!(admission.records(&alice, 100, later).is_ok());
        assert!(admission.records(&alice, 1, later + Duration::from_secs(7)).is_err());
    }

    /// A crowd of principals makes nobody forget who has used up its quota.
    #[tokio::test]
    async fn a_crowd_forgives_nobody() {
        let limits = Limits { principal_records_per_s: 10, ..Limits::default() };
        let admission = Admission::new(&limits);
        let start = Instant::now();
        let name = |n: usize| Arc::<str>::from(format!("p{n}"));
        let at = |n: usize| start + Duration::from_micros(n as u64);
        for n in 0..BUCKETS_MAX {
            assert!(admission.records(&name(n), 20, at(n)).is_ok());
        }
        for n in BUCKETS_MAX..BUCKETS_MAX + 10 {
            assert!(admission.records(&name(n), 20, at(n)).is_ok());
        }
        let (now, known) = (at(BUCKETS_MAX + 10), admission.buckets.lock().unwrap().len());
        assert_eq!(known, BUCKETS_MAX - BUCKETS_FORGOTTEN + 10);
        for n in [BUCKETS_FORGOTTEN + 1, BUCKETS_MAX / 2, BUCKETS_MAX + 9] {
            assert!(admission.records(&name(n), 1, now).is_err(), "{n} was forgotten");
        }
        // Those that are full again go first, and lose nothing by it.
        let later = now + Duration::from_secs(10);
        for n in BUCKETS_MAX..BUCKETS_MAX + 2 * BUCKETS_FORGOTTEN {
            assert!(admission.records(&name(n), 20, later).is_ok());
        }
        assert!(admission.buckets.lock().unwrap().len() < BUCKETS_MAX / 2);
    }

    fn memory(total: usize) -> Admission {
        let limits = Limits { in_flight_bytes: total, admission_wait_ms: 50, ..Limits::default() };
        Admission::new(&limits)
    }

    #[tokio::test]
    async fn memory_is_bounded_and_comes_back() {
        let admission = memory(4_096);
        let mut one = admission.enter(&Arc::from("alice"));
        assert_eq!(one.grow_to(1 << 30).await, Ok(()), "clamped to what one can ever have");
        let mut two = admission.enter(&Arc::from("bob"));
        assert_eq!(two.grow_to(2_000).await, Err(Full::Gateway));
        one.shrink_to(100);
        assert_eq!(two.grow_to(1_900).await, Ok(()));
        drop((one, two));
        assert_eq!(admission.memory.used().bytes, 0);
        assert!(admission.memory.used().by_principal.is_empty());
    }

    #[tokio::test]
    async fn what_is_split_off_is_held_until_it_is_dropped() {
        let admission = memory(4_096);
        let mut one = admission.enter(&Arc::from("alice"));
        one.grow_to(1_000).await.unwrap();
        let (some, rest) = (one.split_off(300), one.split_off(5_000));
        assert_eq!((some.bytes, rest.bytes, one.bytes), (300, 700, 0));
        assert_eq!(admission.memory.used().bytes, 1_000);
        drop(some);
        assert_eq!(admission.memory.used().bytes, 700);
        drop((one, rest));
        assert_eq!(admission.memory.used().bytes, 0);
    }

    #[tokio::test]
    async fn the_greedy_leave_room_for_the_next() {
        let admission = memory(1 << 20);
        let mut held = Vec::new();
        for (name, share) in [("a", 2), ("b", 4), ("c", 8)] {
            let name = Arc::from(name);
            let mut bytes = 0_usize;
            loop {
                let mut one = admission.enter(&name);
                match one.grow_to(4_096).await {
                    Ok(()) => bytes += 4_096,
                    Err(full) => {
                        assert_eq!(full, Full::Share);
                        break;
                    }
                }
                held.push(one);
            }
            assert!(bytes.abs_diff((1 << 20) / share) <= 8_192, "{name} holds {bytes}");
        }
        let mut small = admission.enter(&Arc::from("small"));
        assert_eq!(small.grow_to(60_000).await, Ok(()));
    }

    #[tokio::test]
    async fn who_waits_is_served_when_memory_is_freed() {
        let admission = memory(4_096);
        let mut one = admission.enter(&Arc::from("alice"));
        one.grow_to(2_000).await.unwrap();
        let mut two = admission.enter(&Arc::from("alice"));
        let freed = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            drop(one);
        };
        assert_eq!(tokio::join!(two.grow_to(2_000), freed).0, Ok(()));
    }

    #[tokio::test]
    async fn an_answer_is_held_until_its_last_byte_is_dropped() {
        let admission = memory(1 << 20);
        let mut admitted = admission.enter(&Arc::from("alice"));
        admitted.grow_to(100_000).await.unwrap();
        let response = admitted.carry(Response::new(Body::from(vec![7; 1_000])));
        assert_eq!(admission.memory.used().bytes, 1_000);
        assert_eq!(response.headers()[header::CONTENT_LENGTH], "1000");
        let mut frames = response.into_body().into_data_stream();
        let frame = frames.next().await.unwrap().unwrap();
        drop(frames);
        assert_eq!((frame.len(), admission.memory.used().bytes), (1_000, 1_000));
        drop(frame);
        assert_eq!(admission.memory.used().bytes, 0);
    }
}
