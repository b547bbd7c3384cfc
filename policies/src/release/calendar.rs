//! Stretches of time without gaps: panes and periods. Arithmetic only; the clock is the caller's.

/// A division of all time into half-open stretches `[start, end)`, in milliseconds since
/// 1970-01-01T00:00:00Z.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Calendar {
    /// Stretches of one length; one begins at `offset_ms`.
    Fixed { size_ms: i64, offset_ms: i64 },
    /// Whole days of a time zone, so that a stretch may last 23 or 25 hours. One begins at the
    /// start of 1970-01-01 there.
    Days { days: u32, zone: Zone },
}

/// A time zone by its name in the IANA database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Zone(pub std::sync::Arc<str>);
