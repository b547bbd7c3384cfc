//! Windows, panes and periods: when they begin and end is policy and clock, never data.

use super::number::{in_words, lasting};
use crate::{
    date::DAY_MS,
    diagnostic::Findings,
    document::{Duration, LateWord, ReleaseSpec, UnitForm, WeekDay, WindowSpec, WindowWord},
    release::{Calendar, Late, Schedule, Zone},
    source::{Located, Span},
};

const WEEK_MS: i64 = 7 * DAY_MS;
/// Windows that are parts of a day of a time zone: clocks are changed by an hour and less.
const PART_OF_DAY_MS_MIN: i64 = 3_600_000;
const PANE_MS_MIN: i64 = 1_000;
const PANE_MS_MAX: i64 = 366 * DAY_MS;
const PERIOD_MS_MAX: i64 = 366 * DAY_MS;
const LATENESS_MS_MAX: i64 = 7 * DAY_MS;
const SKEW_MS_MAX: i64 = DAY_MS;
const SLACK_MS_MAX: i64 = 3_600_000;
const REVISE_AFTER_MS_MIN: i64 = 1_000;
const REVISIONS_MAX: u32 = 10;
/// Panes that one hopping window adds up.
const PANES_MAX: i64 = 10_000;
/// From here on it is worth saying what adding up does to the error.
const PANES_NOTICE: i64 = 12;

const LATENESS_MS: i64 = 30_000;
const SKEW_MS: i64 = 5_000;
const SLACK_MS: i64 = 2_000;

/// What the author's window means, before it is known which periods it divides.
pub(super) struct Times {
    pub(super) schedule: Schedule,
    pane_ms: i64,
    offset_ms: i64,
    zone: Option<Zone>,
    /// For messages: `35m`, and what made it so.
    pane_words: String,
}

/// `factor` makes panes and windows so many times as long.
pub(super) fn times(spec: &ReleaseSpec, factor: u32, findings: &mut Findings<'_>) -> Option<Times> {
    let before = findings.errors();
    let (w, span) = (&spec.window.value, spec.window.span);
    kind(w, findings)?;
    let Some(size) = &w.size else {
        findings.error(span, "the window has no `size`").help("add `size: 5m`");
        return None;
    };
    let size_ms = lasting(size, findings);
    let every_ms = w.every.as_ref().map(|e| lasting(e, findings));
    let offset_ms = w.offset.as_ref().map_or(Some(0), |o| lasting(o, findings));
    let lateness_ms = at_most(w.lateness.as_ref(), LATENESS_MS, LATENESS_MS_MAX, findings);
    let max_skew_ms = at_most(w.max_skew.as_ref(), SKEW_MS, SKEW_MS_MAX, findings);
    let slack_ms = at_most(w.slack.as_ref(), SLACK_MS, SLACK_MS_MAX, findings);
    let late = late(w, span, findings);
    let zone = zone(w, findings);
    let (size_ms, offset_ms) = (size_ms?, offset_ms?);
    let every_ms = every_ms.unwrap_or(Some(size_ms))?;
    let panes = panes(w, size_ms, every_ms, findings)?;
    let pane_ms = every_ms.checked_mul(i64::from(factor))?;
    check_pane(w, pane_ms, factor, findings);
    let offset_ms = check_start(spec, pane_ms, offset_ms, findings)?;
    let (lateness_ms, max_skew_ms, slack_ms) = (lateness_ms?, max_skew_ms?, slack_ms?);
    let (late, zone) = (late?, zone?);
    if findings.errors() > before {
        return None;
    }
    advise(w, size_ms, panes, lateness_ms, findings);
    let pane = calendar(pane_ms, offset_ms, zone.as_ref());
    let panes_per_window = u32::try_from(panes).ok()?;
    let schedule = Schedule { pane, panes_per_window, lateness_ms, max_skew_ms, late, slack_ms };
    let pane_words = match factor {
        1 => in_words(pane_ms),
        n => format!("{}, widened {n} times,", in_words(pane_ms)),
    };
    Some(Times { schedule, pane_ms, offset_ms, zone, pane_words })
}

/// The period as a calendar that the panes divide evenly, and how many panes it has.
pub(super) fn period(
    times: &Times,
    written: &Duration,
    findings: &mut Findings<'_>,
) -> Option<(Calendar, u32)> {
    let ms = lasting(written, findings)?;
    let (text, span) = (&written.0.value, written.0.span);
    let pane = &times.pane_words;
    if ms > PERIOD_MS_MAX {
        findings
            .error(span, format!("the period `{text}` is too long"))
            .help("at most `366d`: all records of a subject in it are bounded together");
        return None;
    }
    if ms < times.pane_ms {
        findings
            .error(span, format!("the period `{text}` is shorter than one window of {pane}"))
            .help("a subject is protected over whole windows: make the period longer");
        return None;
    }
    if ms % times.pane_ms != 0 || (times.zone.is_some() && ms % DAY_MS != 0) {
        findings
            .error(span, format!("windows of {pane} do not fill the period `{text}` evenly"))
            .help("a window in two periods could not be charged to one: make the period a multiple of the window");
        return None;
    }
    let panes = u32::try_from(ms / times.pane_ms).ok()?;
    Some((calendar(ms, times.offset_ms, times.zone.as_ref()), panes))
}

fn calendar(ms: i64, offset_ms: i64, zone: Option<&Zone>) -> Calendar {
    match zone {
        Some(zone) => {
            Calendar::Local { size_ms: ms, offset_ms: offset_ms % ms, zone: zone.clone() }
        }
        None => Calendar::Fixed { size_ms: ms, offset_ms: offset_ms % ms },
    }
}

fn kind(w: &WindowSpec, findings: &mut Findings<'_>) -> Option<()> {
    let word = w.kind.map(|k| k.value);
    let span = w.kind.map(|k| k.span).unwrap_or_default();
    let why = match word {
        Some(WindowWord::Session) => {
            "session windows cannot be released: when one ends reveals a subject's pauses"
        }
        Some(WindowWord::Sliding) => {
            "sliding windows cannot be released: their boundaries depend on records"
        }
        Some(WindowWord::Count) => {
            "windows of a number of records cannot be released: their boundaries depend on records"
        }
        Some(WindowWord::Tumbling | WindowWord::Hopping) | None => return kind_fits(w, findings),
    };
    findings
        .error(span, why)
        .help("boundaries must come from the clock: use `type: tumbling`, or `type: hopping` with `every`");
    None
}

/// `every` and `gap` are where they mean something.
fn kind_fits(w: &WindowSpec, findings: &mut Findings<'_>) -> Option<()> {
    if let Some(gap) = &w.gap {
        findings
            .error(gap.0.span, "`gap` belongs to session windows, which cannot be released")
            .help("remove it");
        return None;
    }
    match (w.kind, &w.every) {
        (Some(Located { value: WindowWord::Tumbling, .. }), Some(every)) => {
            findings
                .error(every.0.span, "tumbling windows have no `every`")
                .help("remove it, or write `type: hopping`");
            None
        }
        (Some(Located { value: WindowWord::Hopping, span }), None) => {
            findings.error(span, "hopping windows need `every`").help("add `every: 1m`");
            None
        }
        _ => Some(()),
    }
}

fn panes(w: &WindowSpec, size: i64, every: i64, findings: &mut Findings<'_>) -> Option<i64> {
    let Some(written) = &w.every else { return Some(1) };
    let multiple = every > 0 && size >= every && size % every == 0;
    if !multiple {
        findings
            .error(
                written.0.span,
                format!("the size {} is not a multiple of `{}`", in_words(size), written.0.value),
            )
            .help("a hopping window is a sum of whole panes, each as long as `every`");
        return None;
    }
    let panes = size / every;
    if panes > PANES_MAX {
        findings
            .error(written.0.span, format!("a window would be a sum of {panes} panes"))
            .help(format!("at most {PANES_MAX}: make `every` longer"));
        return None;
    }
    Some(panes)
}

fn check_pane(w: &WindowSpec, pane_ms: i64, factor: u32, findings: &mut Findings<'_>) {
    let Some(written) = w.every.as_ref().or(w.size.as_ref()) else { return };
    if (PANE_MS_MIN..=PANE_MS_MAX).contains(&pane_ms) {
        return;
    }
    let widened = if factor > 1 { format!(", widened {factor} times,") } else { String::new() };
    findings
        .error(
            written.0.span,
            format!("a window of `{}`{widened} is not possible", written.0.value),
        )
        .help("from `1s` to `366d`");
}

/// Offset, time zone and week. Where periods are longer than windows, the offset is that of
/// periods. Gives the offset from 1970-01-01 that all of it comes to.
fn check_start(
    spec: &ReleaseSpec,
    pane_ms: i64,
    offset_ms: i64,
    findings: &mut Findings<'_>,
) -> Option<i64> {
    let w = &spec.window.value;
    let period_ms = match &spec.unit.value {
        UnitForm::Subject(s) => lasting(&s.period, findings)?,
        UnitForm::Word(_) => pane_ms,
    };
    if let Some(offset) = &w.offset
        && offset_ms >= pane_ms.max(period_ms)
    {
        let text = &offset.0.value;
        findings
            .error(offset.0.span, format!("the offset `{text}` is not shorter than what it moves"))
            .help("windows and periods repeat: a longer offset means the same as its remainder");
    }
    let is_part = pane_ms >= PART_OF_DAY_MS_MIN && DAY_MS % pane_ms == 0;
    if let Some(timezone) = &w.timezone
        && pane_ms % DAY_MS != 0
        && !is_part
    {
        findings
            .error(
                timezone.span,
                format!("windows of {} do not follow a time zone", in_words(pane_ms)),
            )
            .help(
                "only whole days do, as `size: 1d`, and equal parts of a day from an hour on, as \
                 `size: 8h`: remove `timezone`",
            );
    }
    let has_weeks = pane_ms % WEEK_MS == 0 || period_ms % WEEK_MS == 0;
    if let Some(day) = w.week_starts.filter(|_| !has_weeks) {
        findings
            .error(day.span, "neither windows nor periods are whole weeks")
            .help("remove `week-starts`, or make `size` or `period` a multiple of `7d`");
    }
    let day = w.week_starts.map(|day| day.value);
    let day = day.or(w.timezone.as_ref().map(|_| WeekDay::Monday)).filter(|_| has_weeks);
    offset_ms.checked_add(day.map_or(0, |day| day.since_epoch() * DAY_MS))
}

/// A time zone that can be found, if one is asked for.
#[expect(
    clippy::option_option,
    reason = "none asked for, and one that was reported, are two things"
)]
fn zone(w: &WindowSpec, findings: &mut Findings<'_>) -> Option<Option<Zone>> {
    let Some(written) = &w.timezone else { return Some(None) };
    let zone = Zone::parse(&written.value);
    if zone.is_none() {
        findings.error(written.span, format!("`{}` is not a time zone", written.value)).help(
            "write its name in the IANA database: `Europe/Berlin`, `America/New_York`, `UTC`",
        );
    }
    zone.map(Some)
}

fn at_most(
    written: Option<&Duration>,
    otherwise: i64,
    max: i64,
    findings: &mut Findings<'_>,
) -> Option<i64> {
    let Some(written) = written else { return Some(otherwise) };
    let ms = lasting(written, findings)?;
    if ms > max {
        findings
            .error(written.0.span, format!("`{}` is too long here", written.0.value))
            .help(format!("at most `{}`", in_words(max)));
        return None;
    }
    Some(ms)
}

fn late(w: &WindowSpec, span: Span, findings: &mut Findings<'_>) -> Option<Late> {
    let revised = w.revisions.is_some() || w.revise_after.is_some();
    let plain = match w.late {
        LateWord::Drop => Late::Drop,
        LateWord::AssignToOpen => Late::AssignToOpen,
        LateWord::Revise => return revise(w, span, findings),
    };
    if revised {
        let place = w.revisions.map(|r| r.span);
        let place = place.or(w.revise_after.as_ref().map(|a| a.0.span)).unwrap_or(span);
        findings
            .error(place, "windows are not published again without `late: revise`")
            .help("add `late: revise`, or remove `revisions` and `revise-after`");
        return None;
    }
    Some(plain)
}

fn revise(w: &WindowSpec, span: Span, findings: &mut Findings<'_>) -> Option<Late> {
    let (Some(max), Some(after)) = (w.revisions, &w.revise_after) else {
        findings
            .error(span, "`late: revise` does not say how often and when")
            .help("add `revisions: 1` and `revise-after: 1h`");
        return None;
    };
    if !(1..=REVISIONS_MAX).contains(&max.value) {
        findings
            .error(max.span, format!("`{}` is not a valid number of revisions", max.value))
            .help(format!("from 1 to {REVISIONS_MAX}; each costs as much as the window itself"));
        return None;
    }
    let after_ms = lasting(after, findings)?;
    if after_ms < REVISE_AFTER_MS_MIN {
        findings
            .error(after.0.span, format!("`{}` is too soon for a revision", after.0.value))
            .help("at least `1s`");
        return None;
    }
    Some(Late::Revise { max: max.value, after_ms })
}

/// What is allowed and may surprise.
fn advise(w: &WindowSpec, size: i64, panes: i64, lateness: i64, findings: &mut Findings<'_>) {
    if let Some(written) = w.lateness.as_ref().filter(|_| lateness == 0) {
        findings
            .warning(
                written.0.span,
                "a record that arrives a moment after its window ended is late",
            )
            .help("add some `lateness`: it delays the totals by as much, and costs nothing");
    }
    if let Some(every) = w.every.as_ref().filter(|_| panes >= PANES_NOTICE) {
        let (size, times) = (in_words(size), panes.isqrt());
        findings
            .warning(
                every.0.span,
                format!("windows of {size} are sums of {panes} noisy panes: their error is about {times} times that of one"),
            )
            .help("make `every` longer, or publish the long window as a tumbling release with a part of the budget");
    }
}
