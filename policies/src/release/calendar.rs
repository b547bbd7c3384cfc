//! Stretches of time without gaps: panes and periods. Arithmetic only; the clock is the caller's.

use std::sync::Arc;

use jiff::{
    SignedDuration, Timestamp,
    civil::{DateTime, date},
    tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase},
};

/// A division of all time into half-open stretches `[start, end)`, in milliseconds since
/// 1970-01-01T00:00:00Z.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Calendar {
    /// Stretches of one length; one begins at `offset_ms`.
    Fixed { size_ms: i64, offset_ms: i64 },
    /// By the clocks of a time zone, so that a day may last 23 or 25 hours. A stretch begins when
    /// the clocks there first show 1970-01-01T00:00 and `offset_ms`, or that and a multiple of
    /// `size_ms`, or anything later.
    Local { size_ms: i64, offset_ms: i64, zone: Zone },
}

/// A time zone by its name in the IANA database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Zone(pub Arc<str>);

/// Half open: `start_ms <= t < end_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stretch {
    pub start_ms: i64,
    pub end_ms: i64,
}

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// No day of a time zone is longer than this: clocks have jumped back by up to a day.
const DAY_MAX_MS: i64 = 2 * DAY_MS;
const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

impl Zone {
    /// A name of the database that is built in, whatever the machine has.
    pub fn parse(name: &str) -> Option<Self> {
        let known = TimeZoneDatabase::bundled().get(name).ok()?;
        known.iana_name().map(|_| Self(Arc::from(name)))
    }

    fn zone(&self) -> TimeZone {
        // INVARIANT: `parse` has found it there.
        TimeZoneDatabase::bundled().get(&self.0).unwrap_or(TimeZone::UTC)
    }
}

impl Calendar {
    /// Whole days of a time zone, from their midnights.
    pub fn days(days: u32, zone: Zone) -> Self {
        Self::Local { size_ms: i64::from(days) * DAY_MS, offset_ms: 0, zone }
    }

    /// How long a stretch is where no clock is changed.
    pub fn size_ms(&self) -> i64 {
        match self {
            Self::Fixed { size_ms, .. } | Self::Local { size_ms, .. } => *size_ms,
        }
    }

    /// The stretch that holds a moment. Times before 1970 round down like all others; where the
    /// calendar ends (of 64 bits, or of the time zone database), so does the stretch.
    pub fn containing(&self, ms: i64) -> Stretch {
        match self {
            Self::Fixed { size_ms, offset_ms } => fixed((*size_ms).max(1), *offset_ms, ms),
            Self::Local { size_ms, offset_ms, zone } => {
                local((*size_ms).max(1), *offset_ms, &zone.zone(), ms)
                    .unwrap_or_else(|| fixed((*size_ms).max(1), *offset_ms, ms))
            }
        }
    }

    /// The stretch before one.
    pub fn previous(&self, stretch: &Stretch) -> Stretch {
        self.containing(stretch.start_ms.saturating_sub(1))
    }

    /// The stretch behind one.
    pub fn next(&self, stretch: &Stretch) -> Stretch {
        self.containing(stretch.end_ms)
    }

    /// No stretch is longer.
    pub fn longest_ms(&self) -> i64 {
        match self {
            Self::Fixed { size_ms, .. } => *size_ms,
            Self::Local { size_ms, .. } => size_ms.saturating_add(DAY_MAX_MS - DAY_MS),
        }
    }
}

fn fixed(size_ms: i64, offset_ms: i64, ms: i64) -> Stretch {
    // In 128 bits nothing overflows; at the ends of 64 bits stretches are cut off.
    let (size, offset, ms) = (i128::from(size_ms), i128::from(offset_ms), i128::from(ms));
    let start = ms - (ms - offset).rem_euclid(size);
    let cut = |ms: i128| i64::try_from(ms).unwrap_or(if ms < 0 { i64::MIN } else { i64::MAX });
    Stretch { start_ms: cut(start), end_ms: cut(start + size) }
}

/// None beyond the years that the time zone database speaks of.
fn local(size_ms: i64, offset_ms: i64, zone: &TimeZone, ms: i64) -> Option<Stretch> {
    let here = Timestamp::from_millisecond(ms).ok()?.to_zoned(zone.clone()).datetime();
    let shown_ms = i64::try_from(here.duration_since(EPOCH).as_millis()).ok()?;
    // Where a clock is set back over a border, a moment may lie before the start of its stretch.
    let mut first = shown_ms.checked_sub((shown_ms - offset_ms).rem_euclid(size_ms))?;
    loop {
        let next = first.checked_add(size_ms)?;
        let (start_ms, end_ms) = (begin(zone, first)?, begin(zone, next)?);
        match ms {
            _ if ms < start_ms => first = first.checked_sub(size_ms)?,
            _ if ms >= end_ms => first = next,
            _ => return Some(Stretch { start_ms, end_ms }),
        }
    }
}

/// The first moment at which clocks show so many milliseconds since 1970 there, or more: where they
/// are set forward over it, that is when they are; where they show it twice, the first time.
fn begin(zone: &TimeZone, shown_ms: i64) -> Option<i64> {
    let shown = EPOCH.checked_add(SignedDuration::from_millis(shown_ms)).ok()?;
    let at = zone.to_ambiguous_timestamp(shown);
    let moment = match at.offset() {
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
            at.compatible().ok()?
        }
        AmbiguousOffset::Gap { before, .. } => {
            let behind = before.to_timestamp(shown).ok()?;
            let soon = behind.checked_add(SignedDuration::from_nanos(1)).ok()?;
            zone.preceding(soon).next()?.timestamp()
        }
    };
    Some(moment.as_millisecond())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn days(days: u32, zone: &str) -> Calendar {
        Calendar::days(days, Zone::parse(zone).unwrap())
    }

    fn local(size_ms: i64, offset_ms: i64, zone: &str) -> Calendar {
        Calendar::Local { size_ms, offset_ms, zone: Zone::parse(zone).unwrap() }
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn fixed_stretches_round_down_before_1970_as_after() {
        let calendar = Calendar::Fixed { size_ms: 10, offset_ms: 3 };
        for (ms, start_ms) in [(3, 3), (12, 3), (13, 13), (2, -7), (-7, -7), (-8, -17)] {
            assert_eq!(calendar.containing(ms), Stretch { start_ms, end_ms: start_ms + 10 });
        }
    }

    #[test]
    fn the_ends_of_time_cut_stretches_off() {
        let calendar = Calendar::Fixed { size_ms: 1_000, offset_ms: 0 };
        assert_eq!(calendar.containing(i64::MAX).end_ms, i64::MAX);
        assert_eq!(calendar.containing(i64::MIN).start_ms, i64::MIN);
        for ms in [i64::MIN, i64::MAX] {
            let stretch = days(1, "Europe/Berlin").containing(ms);
            assert!(stretch.start_ms <= ms && ms <= stretch.end_ms);
        }
    }

    /// Days by hand, from the history of each zone.
    #[test]
    fn days_follow_the_clocks_of_their_zone() {
        let table = [
            ("Europe/Berlin", "2026-03-29T10:00:00Z", "2026-03-28T23:00:00Z", 23),
            ("Europe/Berlin", "2026-10-25T10:00:00Z", "2026-10-24T22:00:00Z", 25),
            ("Europe/Berlin", "2026-07-01T10:00:00Z", "2026-06-30T22:00:00Z", 24),
            // Midnight did not exist: the day began at one o'clock.
            ("America/Sao_Paulo", "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z", 23),
            ("Asia/Kathmandu", "2026-01-15T12:00:00Z", "2026-01-14T18:15:00Z", 24),
        ];
        for (zone, moment, start, hours) in table {
            let stretch = days(1, zone).containing(at(moment));
            assert_eq!(stretch.start_ms, at(start), "{zone} {moment}");
            assert_eq!(stretch.end_ms - stretch.start_ms, hours * HOUR_MS, "{zone} {moment}");
        }
        // Lord Howe Island moves its clocks by half an hour.
        let stretch = days(1, "Australia/Lord_Howe").containing(at("2026-04-05T06:00:00Z"));
        assert_eq!(stretch.end_ms - stretch.start_ms, 24 * HOUR_MS + HOUR_MS / 2);
    }

    /// A clinic's shifts and weeks, by hand: clocks go forward on 2026-03-29 at 02:00, which is
    /// 01:00Z, and back on 2026-10-25 at 03:00, which is 01:00Z.
    #[test]
    fn shifts_and_weeks_follow_the_clocks_of_their_zone() {
        let (shift, early, week) = (8 * HOUR_MS, 6 * HOUR_MS, 7 * DAY_MS);
        let table = [
            // The night shift from 22:00 to 06:00 is an hour shorter, and longer in autumn.
            (shift, early, "2026-03-29T00:30:00Z", "2026-03-28T21:00:00Z", 7),
            (shift, early, "2026-03-29T04:00:00Z", "2026-03-29T04:00:00Z", 8),
            (shift, early, "2026-10-25T00:30:00Z", "2026-10-24T20:00:00Z", 9),
            (shift, early, "2026-10-25T01:30:00Z", "2026-10-24T20:00:00Z", 9),
            (shift, early, "2026-07-01T12:00:00Z", "2026-07-01T12:00:00Z", 8),
            // Days from 06:00 to 06:00.
            (DAY_MS, early, "2026-03-29T03:59:59Z", "2026-03-28T05:00:00Z", 23),
            (DAY_MS, early, "2026-10-25T12:00:00Z", "2026-10-25T05:00:00Z", 24),
            // Weeks from Monday.
            (week, 4 * DAY_MS, "2026-11-04T12:00:00Z", "2026-11-01T23:00:00Z", 7 * 24),
            (week, 4 * DAY_MS, "2026-03-29T12:00:00Z", "2026-03-22T23:00:00Z", 7 * 24 - 1),
            // An hour that no clock showed is empty, and one that they showed twice is long.
            (HOUR_MS, 0, "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z", 1),
            (HOUR_MS, 0, "2026-10-25T01:30:00Z", "2026-10-25T00:00:00Z", 2),
        ];
        for (size_ms, offset_ms, moment, start, hours) in table {
            let stretch = local(size_ms, offset_ms, "Europe/Berlin").containing(at(moment));
            assert_eq!(stretch.start_ms, at(start), "{moment}");
            assert_eq!(stretch.end_ms - stretch.start_ms, hours * HOUR_MS, "{moment}");
        }
    }

    #[test]
    fn only_zones_of_the_database_are_zones() {
        for name in ["Europe/Berlin", "UTC", "America/Argentina/Buenos_Aires"] {
            assert!(Zone::parse(name).is_some(), "{name}");
        }
        for name in ["", "Mars/Olympus", "Europe", "+02:00"] {
            assert!(Zone::parse(name).is_none(), "{name}");
        }
    }

    proptest! {
        /// Against walking: the naive model of a division without gaps.
        #[test]
        fn fixed_stretches_are_those_that_walking_finds(
            size_ms in 1_i64..50, offset_ms in -100_i64..100, ms in -500_i64..500,
        ) {
            let mut start_ms = offset_ms - 1_000 * size_ms;
            while start_ms + size_ms <= ms {
                start_ms += size_ms;
            }
            let found = Calendar::Fixed { size_ms, offset_ms }.containing(ms);
            prop_assert_eq!(found, Stretch { start_ms, end_ms: start_ms + size_ms });
        }

        #[test]
        fn days_have_no_gaps_and_no_overlaps(
            ms in -3_000_000_000_000_i64..6_000_000_000_000,
            size_ms in prop::sample::select(vec![
                HOUR_MS, 8 * HOUR_MS, DAY_MS, 2 * DAY_MS, 5 * DAY_MS, 7 * DAY_MS,
            ]),
            offset_ms in prop::sample::select(vec![0, 6 * HOUR_MS, 4 * DAY_MS + HOUR_MS / 2]),
            times in 1_i64..4,
            zone in prop::sample::select(vec![
                "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu",
                "Pacific/Apia", "Africa/Casablanca", "America/New_York", "UTC",
            ]),
        ) {
            let calendar = local(size_ms, offset_ms, zone);
            let here = calendar.containing(ms);
            prop_assert!(here.start_ms <= ms && ms < here.end_ms);
            prop_assert!(here.end_ms - here.start_ms <= calendar.longest_ms());
            prop_assert_eq!(calendar.containing(here.start_ms), here);
            prop_assert_eq!(calendar.containing(here.end_ms - 1), here);
            prop_assert_eq!(calendar.next(&here).start_ms, here.end_ms);
            prop_assert_eq!(calendar.previous(&here).end_ms, here.start_ms);
            // A period of some of them holds each whole.
            let period = local(times * size_ms, offset_ms, zone).containing(ms);
            prop_assert!(period.start_ms <= here.start_ms && here.end_ms <= period.end_ms);
        }

        #[test]
        fn no_moment_and_no_calendar_panics(
            size_ms in any::<i64>(), offset_ms in any::<i64>(), ms in any::<i64>(),
        ) {
            let stretch = Calendar::Fixed { size_ms: size_ms.saturating_abs(), offset_ms };
            let stretch = stretch.containing(ms);
            prop_assert!(stretch.start_ms <= ms && ms <= stretch.end_ms);
        }
    }
}
