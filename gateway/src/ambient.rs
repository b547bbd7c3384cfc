//! Clock and chance, handed in as parameters. Only `main` makes the real ones; everything below
//! it can be driven by a test.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use ring::rand::SecureRandom;
use sluicegate_policies::UnixMillis;

/// Wall clock, microseconds since the epoch, UTC.
pub trait Clock: Send + Sync + 'static {
    fn now_us(&self) -> i64;

    fn now_ms(&self) -> UnixMillis {
        UnixMillis(self.now_us().div_euclid(1_000))
    }
}

/// The machine's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one edge that reads the wall clock")]
    fn now_us(&self) -> i64 {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(d) => i64::try_from(d.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        }
    }
}

/// A clock that a test moves by hand.
#[derive(Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    pub fn at_us(us: i64) -> Self {
        Self(AtomicI64::new(us))
    }

    pub fn set_us(&self, us: i64) {
        self.0.store(us, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_us(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// What the process takes from its surroundings.
#[derive(Clone)]
pub struct Ambient {
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn SecureRandom + Send + Sync>,
}

impl Ambient {
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock), random: Arc::new(ring::rand::SystemRandom::new()) }
    }

    /// Sixteen bytes of chance, for request and writer ids.
    pub fn id(&self) -> Result<[u8; 16], NoChance> {
        let mut id = [0; 16];
        self.random.fill(&mut id).map_err(|_| NoChance)?;
        Ok(id)
    }
}

/// The operating system gave no random bytes. Nothing can go on without them.
#[derive(Debug, thiserror::Error)]
#[error("the operating system's random source failed")]
pub struct NoChance;
