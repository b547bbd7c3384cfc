//! Clock and randomness, passed in as parameters. Only `main` makes the real ones; everything below
//! it can be driven by a test.

use std::sync::{
    Arc, Mutex, PoisonError,
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

    /// How far the wall clock has leapt from where it should be, ahead of it (positive) or behind,
    /// while that is more than the tolerance. Meanwhile [`Clock::now_us`] tells the time that it
    /// should be, nothing is decided and nothing is released.
    fn leapt_us(&self) -> Option<i64> {
        None
    }
}

/// Time since the machine's start, suspend included, which nobody sets.
pub trait Boot: Send + Sync + 'static {
    fn boot_us(&self) -> i64;
}

/// The machine's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one edge that reads the wall clock")]
    fn now_us(&self) -> i64 {
        let now_us = match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(d) => i64::try_from(d.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        };
        now_us.saturating_add(test_leap_us())
    }
}

/// By how much a test lets the wall clock leap: milliseconds, in the file that
/// `SLUICEGATE_TEST_CLOCK` names.
#[cfg(feature = "crash-points")]
fn test_leap_us() -> i64 {
    let Some(file) = std::env::var_os("SLUICEGATE_TEST_CLOCK") else { return 0 };
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.trim().parse::<i64>().map_or(0, |ms| ms.saturating_mul(1_000))
}

#[cfg(not(feature = "crash-points"))]
fn test_leap_us() -> i64 {
    0
}

/// Dies here if a test says so; nothing otherwise, and nothing at all in a build without the
/// feature.
#[cfg(feature = "crash-points")]
pub fn crash_point(name: &str) {
    if std::env::var("SLUICEGATE_TEST_CRASH").is_ok_and(|at| at == name) {
        std::process::abort();
    }
}

#[cfg(not(feature = "crash-points"))]
pub fn crash_point(_name: &str) {}

impl Boot for SystemClock {
    #[cfg(target_os = "linux")]
    fn boot_us(&self) -> i64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000)
    }

    /// Elsewhere without the time of a suspend, after which the gateway must be restarted.
    #[cfg(not(target_os = "linux"))]
    fn boot_us(&self) -> i64 {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        let start = START.get_or_init(std::time::Instant::now);
        i64::try_from(start.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
}

/// How far the wall clock may be from where it was when the process began, plus the time since.
pub const LEAP_TOLERANCE_US: i64 = 5_000_000;
/// A time daemon slews a clock at most by one part in ten of the time that passes.
const SLEW_PARTS: i64 = 10;
/// Readings of both clocks that lie further apart than this are taken again.
const READING_APART_US: i64 = 100_000;
const READINGS_MAX: usize = 5;

/// A wall clock that is judged by the time since the machine's start. It starts by believing the
/// wall clock; what it cannot know then, the ledger judges ([`sluicegate_audit::OpenError`]).
pub struct JudgedClock<C> {
    source: C,
    judged: Mutex<Judged>,
}

struct Judged {
    /// Where the wall clock should have been at `boot_us`.
    wall_us: i64,
    boot_us: i64,
    leapt: bool,
}

impl<C: Clock + Boot> JudgedClock<C> {
    pub fn of(source: C) -> Self {
        let (wall_us, boot_us) = Self::read(&source);
        Self { source, judged: Mutex::new(Judged { wall_us, boot_us, leapt: false }) }
    }

    /// Both clocks at one moment.
    fn read(source: &C) -> (i64, i64) {
        let mut reading = (0, 0);
        for _ in 0..READINGS_MAX {
            let before_us = source.boot_us();
            reading = (source.now_us(), before_us);
            if source.boot_us().saturating_sub(before_us) < READING_APART_US {
                break;
            }
        }
        reading
    }

    /// The time that is believed, and by how much the wall clock leapt away from it.
    fn judge(&self) -> (i64, Option<i64>) {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        let (wall_us, boot_us) = Self::read(&self.source);
        let passed_us = boot_us.saturating_sub(judged.boot_us).max(0);
        let should_us = judged.wall_us.saturating_add(passed_us);
        let off_us = wall_us.saturating_sub(should_us);
        let leapt = off_us.saturating_abs() > LEAP_TOLERANCE_US;
        if leapt != judged.leapt {
            judged.leapt = leapt;
            let (ahead_ms, bound_ms) = (off_us / 1_000, LEAP_TOLERANCE_US / 1_000);
            match leapt {
                true => tracing::error!(event = "clock-leapt", ahead_ms, bound_ms),
                false => tracing::info!(event = "clock-returned", ahead_ms),
            }
        }
        if leapt {
            return (should_us, Some(off_us));
        }
        // Follows a slewed clock, and not one that leaps in small steps.
        let slew_us = passed_us / SLEW_PARTS;
        judged.wall_us = should_us.saturating_add(off_us.clamp(-slew_us, slew_us));
        judged.boot_us = boot_us;
        (wall_us, None)
    }
}

impl<C: Clock + Boot> Clock for JudgedClock<C> {
    fn now_us(&self) -> i64 {
        self.judge().0
    }

    fn leapt_us(&self) -> Option<i64> {
        self.judge().1
    }
}

/// A clock that a test moves by hand: time passes with [`ManualClock::set_us`], and
/// [`ManualClock::leap_us`] moves the wall clock alone.
#[derive(Default)]
pub struct ManualClock {
    boot_us: AtomicI64,
    leap_us: AtomicI64,
}

impl ManualClock {
    pub fn at_us(us: i64) -> Self {
        Self { boot_us: AtomicI64::new(us), leap_us: AtomicI64::new(0) }
    }

    pub fn set_us(&self, us: i64) {
        self.boot_us.store(us, Ordering::SeqCst);
    }

    pub fn leap_us(&self, us: i64) {
        self.leap_us.store(us, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_us(&self) -> i64 {
        self.boot_us.load(Ordering::SeqCst) + self.leap_us.load(Ordering::SeqCst)
    }
}

impl Boot for ManualClock {
    fn boot_us(&self) -> i64 {
        self.boot_us.load(Ordering::SeqCst)
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
        let clock = Arc::new(JudgedClock::of(SystemClock));
        Self { clock, random: Arc::new(ring::rand::SystemRandom::new()) }
    }

    /// Sixteen random bytes, for request and writer ids.
    pub fn id(&self) -> Result<[u8; 16], RngUnavailable> {
        let mut id = [0; 16];
        self.random.fill(&mut id).map_err(|_| RngUnavailable)?;
        Ok(id)
    }
}

/// The operating system gave no random bytes. Nothing can continue without them.
#[derive(Debug, thiserror::Error)]
#[error("the operating system's random source failed")]
pub struct RngUnavailable;

/// Records whose parsing or judging may hold up other tasks of its thread.
const HEAVY_RECORDS: usize = 500;

/// Does work over so many records; while it is much, other tasks go on elsewhere.
pub fn heavy<T>(records: usize, work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    let elsewhere =
        Handle::try_current().is_ok_and(|h| h.runtime_flavor() == RuntimeFlavor::MultiThread);
    match records > HEAVY_RECORDS && elsewhere {
        true => tokio::task::block_in_place(work),
        false => work(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_US: i64 = 1_795_392_000_000_000;
    const SECOND_US: i64 = 1_000_000;
    const MONTH_US: i64 = 31 * 86_400 * SECOND_US;

    impl<C: Clock> Clock for Arc<C> {
        fn now_us(&self) -> i64 {
            (**self).now_us()
        }
    }

    impl<C: Boot> Boot for Arc<C> {
        fn boot_us(&self) -> i64 {
            (**self).boot_us()
        }
    }

    fn judged() -> (Arc<ManualClock>, JudgedClock<Arc<ManualClock>>) {
        let hand = Arc::new(ManualClock::at_us(NOW_US));
        (hand.clone(), JudgedClock::of(hand))
    }

    #[test]
    fn a_leap_is_seen_while_it_lasts_and_the_time_stays_what_it_should_be() {
        let (hand, clock) = judged();
        for leap_us in [MONTH_US, -MONTH_US, 6 * SECOND_US, -6 * SECOND_US] {
            let now_us = hand.boot_us() + SECOND_US;
            hand.set_us(now_us);
            hand.leap_us(leap_us);
            assert_eq!((clock.now_us(), clock.leapt_us()), (now_us, Some(leap_us)));
            hand.set_us(now_us + SECOND_US / 2);
            assert_eq!(clock.now_us(), now_us + SECOND_US / 2);
            hand.leap_us(0);
            assert_eq!((clock.now_us(), clock.leapt_us()), (now_us + SECOND_US / 2, None));
        }
    }

    #[test]
    fn suspend_and_a_slewed_clock_are_no_leaps() {
        let (hand, clock) = judged();
        hand.set_us(NOW_US + MONTH_US);
        assert_eq!((clock.now_us(), clock.leapt_us()), (NOW_US + MONTH_US, None));
        // 500 parts in a million for a day: 43 seconds.
        for minute in 1..=1_440 {
            hand.set_us(NOW_US + MONTH_US + minute * 60 * SECOND_US);
            hand.leap_us(minute * 60 * SECOND_US / 2_000);
            assert_eq!(clock.leapt_us(), None, "minute {minute}");
        }
    }

    #[test]
    fn small_leaps_add_up_to_one() {
        let (hand, clock) = judged();
        let seen = (1..10).any(|step| {
            hand.set_us(NOW_US + step * SECOND_US);
            hand.leap_us(step * 4 * SECOND_US);
            clock.leapt_us().is_some()
        });
        assert!(seen);
    }

    #[test]
    fn the_machines_own_clock_does_not_leap() {
        let clock = JudgedClock::of(SystemClock);
        let first = SystemClock.boot_us();
        assert!(first > 0 && SystemClock.boot_us() >= first);
        assert_eq!(clock.leapt_us(), None);
    }
}
