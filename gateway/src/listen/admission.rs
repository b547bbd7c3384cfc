//! How much may be in flight: bytes of all requests together, and records a second of each
//! principal. The first is our limit (503), the second is the caller's quota (429).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::config::Limits;

/// One permit of the byte budget; a semaphore counts in `u32`.
const GRAIN_BYTES: usize = 1_024;
/// Principals whose buckets are kept; the vocabulary is smaller, a stranger never gets one.
const BUCKETS_MAX: usize = 100_000;
/// A bucket holds this many seconds of its rate.
const BURST_S: f64 = 2.0;

/// Held while a request's bytes are in memory.
pub struct Admitted(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

struct Bucket {
    tokens: f64,
    at: Instant,
}

/// The gateway's admission control.
pub struct Admission {
    bytes: Arc<Semaphore>,
    grains: u32,
    wait: Duration,
    rate: f64,
    buckets: Mutex<HashMap<Arc<str>, Bucket>>,
}

impl Admission {
    pub fn new(limits: &Limits) -> Self {
        let grains = u32::try_from(limits.in_flight_bytes / GRAIN_BYTES).unwrap_or(u32::MAX >> 3);
        Self {
            bytes: Arc::new(Semaphore::new(grains as usize)),
            grains,
            wait: Duration::from_millis(limits.admission_wait_ms),
            rate: f64::from(limits.principal_records_per_s),
            buckets: Mutex::default(),
        }
    }

    /// Reserves bytes, waiting a little; `None` when the gateway stays full.
    pub async fn bytes(&self, bytes: usize) -> Option<Admitted> {
        let grains = u32::try_from(bytes.div_ceil(GRAIN_BYTES)).unwrap_or(u32::MAX);
        let permits = self.bytes.clone().acquire_many_owned(grains.clamp(1, self.grains));
        tokio::time::timeout(self.wait, permits).await.ok()?.ok().map(Admitted)
    }

    /// Takes records from a principal's quota; `Err` is the time until it may go on.
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
            buckets.clear();
        }
        let bucket = buckets.entry(principal.clone()).or_insert(Bucket { tokens: burst, at: now });
        let gained = now.saturating_duration_since(bucket.at).as_secs_f64() * self.rate;
        bucket.tokens = (bucket.tokens + gained).min(burst);
        bucket.at = now;
        // A batch larger than the burst is let in on a full bucket and paid for afterwards.
        let wanted = records as f64;
        if bucket.tokens >= wanted.min(burst) {
            bucket.tokens -= wanted;
            return Ok(());
        }
        let missing = wanted.min(burst) - bucket.tokens;
        Err(Duration::from_secs_f64((missing / self.rate).max(1.0)))
    }
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
        // Larger than the burst: let in on a full bucket, and paid for.
        let later = start + Duration::from_secs(60);
        assert!(admission.records(&alice, 100, later).is_ok());
        assert!(admission.records(&alice, 1, later + Duration::from_secs(7)).is_err());
    }

    #[tokio::test]
    async fn bytes_are_bounded_and_come_back() {
        let limits = Limits { in_flight_bytes: 4_096, admission_wait_ms: 10, ..Limits::default() };
        let admission = Admission::new(&limits);
        let all = admission.bytes(1 << 30).await;
        assert!(all.is_some(), "more than the budget is clamped to it");
        assert!(admission.bytes(1).await.is_none());
        drop(all);
        assert!(admission.bytes(1).await.is_some());
    }
}
