//! The words: for someone who answers for a release and has never seen a formula.

use std::fmt::{self, Write as _};

use super::{Accuracy, Bias, Costs, Explained, Protects, Rows, Times, Together};
use crate::{
    date::DAY_MS,
    plan::Decimal,
    release::{
        calendar::Calendar,
        plan::{Keys, Late, MissingSubject, ReleasePlan, Unit, What},
    },
};

/// Text is wrapped to this many characters.
const WIDTH: usize = 96;

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { release, dataset, region, topic, .. } = self;
        let head = format!(
            "Release `{release}` of dataset `{dataset}`, published to `{topic}` in region `{region}`."
        );
        paragraph(f, "", &head)?;
        section(f, "Whom it protects", &protects(&self.protects))?;
        section(f, "When it is published", &times(&self.schedule))?;
        section(f, "What it costs", &costs(&self.protects, &self.cost))?;
        section(f, "Which rows are published", &rows(&self.protects, &self.rows))?;
        let mut errors: Vec<String> = self.outputs.iter().map(accuracy).collect();
        if self.outputs.iter().any(|output| output.relative_percent.is_some()) {
            errors.push(
                "Percentages take the expected volume as spread evenly over the rows, and summed \
                 values as half of the largest that is allowed."
                    .to_owned(),
            );
        }
        section(f, "How far off the numbers are, for each row", &errors)?;
        section(
            f,
            "What is missing before any noise",
            &bias(&self.protects, &self.rows, &self.bias),
        )?;
        section(f, "What is NOT protected", &self.unprotected)
    }
}

fn section(f: &mut fmt::Formatter<'_>, title: &str, sentences: &[String]) -> fmt::Result {
    write!(f, "\n{title}\n")?;
    sentences.iter().try_for_each(|sentence| paragraph(f, "- ", sentence))
}

/// Wrapped; what follows the first line is indented as far as the bullet is wide.
fn paragraph(f: &mut fmt::Formatter<'_>, bullet: &str, text: &str) -> fmt::Result {
    f.write_str(bullet)?;
    let indent = bullet.chars().count();
    let mut column = indent;
    for word in text.split(' ') {
        let width = word.chars().count();
        if column + width + 1 > WIDTH && column > indent {
            write!(f, "\n{:indent$}", "")?;
            column = indent;
        } else if column > indent {
            f.write_char(' ')?;
            column += 1;
        }
        f.write_str(word)?;
        column += width;
    }
    f.write_char('\n')
}

/// What is counted where the plan speaks of subjects.
fn units(protects: &Protects) -> &'static str {
    match protects {
        Protects::Subject { .. } => "subjects",
        Protects::Record => "records",
    }
}

fn protects(protects: &Protects) -> Vec<String> {
    match protects {
        Protects::Subject { field, domain, period } => vec![
            format!(
                "Each subject, that is each value of `{field}` (token domain `{domain}`), with \
                 everything that its records bring to this release within one period of {period}."
            ),
            "Anyone who sees all that is published, and knows everything about everyone else, \
             still cannot tell whether one subject's records were there, beyond the odds below."
                .to_owned(),
            "Periods are protected one by one. What is spent in one is not given back in the next: \
             over a lifetime the cost grows in proportion to time, without end."
                .to_owned(),
        ],
        Protects::Record => vec![
            "Single records, NOT persons: whether one record was there. A person with many records \
             is protected that much less."
                .to_owned(),
        ],
    }
}

fn times(times: &Times) -> Vec<String> {
    let Times { pane, panes_per_window, published_after_ms, times, smoothed } = times;
    let after = parts(*published_after_ms);
    let mut said = vec![format!(
        "For each pane of {pane}, {after} after its end: always, even when nothing came in, so \
         that the timing reveals nothing."
    )];
    if *panes_per_window > 1 {
        said.push(format!(
            "Each window is the sum of the {panes_per_window} newest panes, as published; summing \
             costs no more privacy, but adds up the noise. Subjects are those of each pane: one \
             that is seen in several counts once in each."
        ));
    }
    if *times > 1 {
        said.push(format!(
            "Each pane is published {times} times, for late records. The cost of all of them is \
             in the figures below."
        ));
    }
    if *smoothed {
        said.push(
            "Each number comes with a smoothed one, made from what was published. It costs no more \
             privacy, has a smaller error, and lags behind."
                .to_owned(),
        );
    }
    said
}

fn costs(protects: &Protects, costs: &Costs) -> Vec<String> {
    let Costs { panes_charged, pane_epsilon, period_epsilon, promised_epsilon, .. } = costs;
    let delta = one_in(costs.period_delta);
    let one_pane = match costs.accounting {
        "pure" => "several panes cost as many times that",
        _ => "several panes cost less than as many times that: they are added up as zCDP",
    };
    let mut said = Vec::new();
    match protects {
        Protects::Subject { period, .. } => said.extend([
            format!("One pane: epsilon {} ({one_pane}).", up(*pane_epsilon)),
            format!(
                "One period of {period}: epsilon {} of the declared {promised_epsilon}, for the {} \
                 in which a subject counts{delta}.",
                up(*period_epsilon),
                many(u64::from(*panes_charged), "pane"),
            ),
        ]),
        Protects::Record => said.extend([
            format!(
                "One pane: epsilon {} of the declared {promised_epsilon}{delta}. A record is in \
                 one pane, and pays once.",
                up(*pane_epsilon)
            ),
            "A person pays for each of their records: nothing bounds that in a day, 30 days or a \
             lifetime."
                .to_owned(),
        ]),
    }
    said.push(format!(
        "In words: seeing it all multiplies the odds of any guess about one {} by at most {}.",
        match protects {
            Protects::Subject { .. } => "subject and period",
            Protects::Record => "record",
        },
        up(period_epsilon.exp()),
    ));
    if let (Some(day), Some(month), Some(month_delta), Some(year)) =
        (costs.day_epsilon, costs.thirty_days_epsilon, costs.thirty_days_delta, costs.year_epsilon)
    {
        said.push(format!(
            "A day: at most epsilon {}. 30 days: at most epsilon {}{}. A year: at most epsilon {}, \
             and so on. Days are counted from the beginning of a period; days that begin at \
             another hour touch one more period.",
            up(day),
            up(month),
            one_in(month_delta),
            up(year),
        ));
    }
    if let Some(Together { with, period_epsilon, period_delta }) = &costs.together {
        let names: Vec<String> = with.iter().map(|name| format!("`{name}`")).collect();
        said.push(format!(
            "For anyone who may also read {}: in total at most epsilon {}{} per period, which \
             multiplies the odds by at most {}.",
            names.join(", "),
            up(*period_epsilon),
            one_in(*period_delta),
            up(period_epsilon.exp()),
        ));
    }
    let all = match protects {
        Protects::Subject { .. } => "All panes of a period take",
        Protects::Record => "One pane takes",
    };
    let rest = match (costs.percent_of_cap, &costs.together) {
        (100.., _) => "",
        (_, Some(_)) => "; its other releases share the rest",
        (_, None) => "; the rest is left for other releases",
    };
    said.push(format!("{all} {} % of what the dataset may cost{rest}.", costs.percent_of_cap));
    said
}

fn rows(protects: &Protects, rows: &Rows) -> Vec<String> {
    let units = units(protects);
    match rows {
        Rows::Whole => vec!["One row for each pane, even when it is empty.".to_owned()],
        Rows::Public { field, rows } => vec![format!(
            "The {} of `{field}` that the policy lists, all of them in each pane, even when empty. \
             Other values are dropped.",
            many(*rows as u64, "value")
        )],
        Rows::Unknown { field, smallest_group, nearly_always_from, raw_floor, expected_group } => {
            let mut said = vec![format!(
                "Values of `{field}` whose noisy number of {units} is at least {smallest_group}: \
                 that is the smallest group that can be expected to appear. A value with \
                 {nearly_always_from} counted {units} or more appears 97 times out of 100; rarer \
                 ones come and go, or never appear. Those that come and go are published when \
                 their noise is positive, so their published numbers of {units} are too high on \
                 average."
            )];
            if let Some(floor) = raw_floor {
                said.push(format!(
                    "Besides, no value with fewer than {floor} {units} is ever published. The \
                     threshold above is already raised to pay for this floor."
                ));
            }
            if let Some(group) = expected_group {
                let fate = fate(*group, *smallest_group, *nearly_always_from);
                said.push(format!(
                    "At the expected volume a row of a pane has {} {units}, if they are spread \
                     evenly: it is {fate}.",
                    thousands(*group)
                ));
            }
            said
        }
    }
}

/// How often a row with so many units appears; noise is as large downwards as upwards.
fn fate(group: u64, smallest: i64, nearly_always: i64) -> &'static str {
    let group = i64::try_from(group).unwrap_or(i64::MAX);
    let reach = nearly_always.saturating_sub(smallest);
    if group >= nearly_always {
        "nearly always published"
    } else if group >= smallest {
        "published more often than not"
    } else if group >= smallest.saturating_sub(reach) {
        "sometimes published"
    } else {
        "almost never published; longer windows, fewer rows or a larger budget would change that"
    }
}

fn accuracy(accuracy: &Accuracy) -> String {
    let Accuracy { output, counts, noise, error_95, relative_percent, .. } = accuracy;
    let Accuracy { decimals, never_negative, of_complete_rows, .. } = accuracy;
    let digits = usize::from(*decimals);
    let mut said = format!(
        "`{output}` ({counts}): within {error_95:.digits$} of the bounded truth, 95 times out of \
         100 ({noise} noise)."
    );
    match relative_percent {
        // Writing to a string cannot fail.
        Some(percent) => {
            let _ = write!(said, " At the expected volume: {} %.", up(*percent));
        }
        None => said.push_str(
            " No percentage can be given without an expected volume (`expect`; for unknown keys \
             with `keys`).",
        ),
    }
    if *of_complete_rows {
        said.push_str(
            " That is of rows which were published in each pane of the window; where one was not, \
             its part is missing (`panes_with_key` says in how many panes it was).",
        );
    }
    if *never_negative {
        said.push_str(" It may come out below zero: that is noise, and is left as it is.");
    }
    said
}

fn bias(protects: &Protects, rows: &Rows, bias: &Bias) -> Vec<String> {
    if *protects == Protects::Record {
        return vec!["Nothing is bounded but values: each record counts once.".to_owned()];
    }
    let Bias { keys_per_window, records_per_key, windows_per_period, panes_per_period, .. } = bias;
    let records = many(u64::from(*records_per_key), "record");
    let most = match rows {
        Rows::Whole => records,
        Rows::Public { .. } | Rows::Unknown { .. } => {
            let keys = many(u64::from(*keys_per_window), "key");
            format!("{keys} and {records} for each")
        }
    };
    let mut said = vec![format!(
        "In each pane a subject counts with at most {most}. Anything beyond that is left out: \
         counts are too low, never too high, and sums lack what was left out or clamped. For large \
         rows this can be more than the noise, and no averaging takes it away."
    )];
    match (bias.records_lost_at_least, bias.records_lost_at_most) {
        (Some(least), Some(most)) if least == most => said.push(format!(
            "At the expected records for each subject, {least:.1} % of the records are left out."
        )),
        (Some(least), Some(most)) => said.push(format!(
            "At the expected records for each subject, {least:.1} % of the records or more are left \
             out, and at most {most:.1} % (when all records of a subject have one key)."
        )),
        (Some(least), None) => said.push(format!(
            "At the expected volume at least {least:.1} % of the records are left out: more, the \
             more unevenly subjects send."
        )),
        _ => said.push(
            "How much that is depends on how many records subjects have; give an expected volume \
             to see a figure."
                .to_owned(),
        ),
    }
    let counted = many(u64::from(*windows_per_period), "pane");
    said.push(match (bias.choose_windows, bias.panes_lost) {
        _ if u64::from(*windows_per_period) >= *panes_per_period => {
            "A subject counts in every pane of a period.".to_owned()
        }
        ("panel", Some(lost)) => format!(
            "A subject counts in {counted} of the {panes_per_period} in a period, drawn in \
             advance: {lost:.1} % are expected to be left out, evenly over the period. For the \
             whole, multiply by {panes_per_period}/{windows_per_period}."
        ),
        (_, lost) => {
            let figure = match lost {
                Some(lost) => {
                    format!(" At the expected activity {lost:.1} % or more do not count.")
                }
                None => String::new(),
            };
            format!(
                "A subject counts in the first {counted} of a period in which it appears, of \
                 {panes_per_period}; later ones do not count, so that numbers decline over the \
                 course of a period.{figure}"
            )
        }
    });
    said
}

/// What the promise does not cover.
pub(super) fn unprotected(plan: &ReleasePlan) -> Vec<String> {
    let mut said = Vec::new();
    match &plan.unit {
        Unit::Subject(unit) => {
            said.push(
                "People who go together, such as a household: each is protected, but what is true \
                 of all of them shows as many times more clearly as they are."
                    .to_owned(),
            );
            said.push(format!(
                "A person with several values of `{}`: m of them cost m times as much, or more.",
                unit.path.written
            ));
            if unit.missing == MissingSubject::AsOneSubject {
                said.push(
                    "Records without a subject count as one subject together, and are mostly left \
                     out."
                        .to_owned(),
                );
            }
        }
        Unit::Record => said.push(
            "Persons. A person with n records pays n times what the figures say, or more."
                .to_owned(),
        ),
    }
    match &plan.keys {
        Keys::Unknown { path, threshold, .. } => said.push(format!(
            "What a key says. A value of `{}` that comes together {threshold} times or so is \
             published word for word, whatever it says.",
            path.written
        )),
        Keys::Whole | Keys::Public { .. } => {}
    }
    said.push(format!(
        "The same records elsewhere: where dataset `{}` is also delivered record by record, even \
         tokenized, a reader of both can subtract.",
        plan.dataset
    ));
    said.push(
        "Other datasets about the same people: their costs add up, and no ledger of this dataset \
         knows of them."
            .to_owned(),
    );
    said.push(
        "Facts about everyone: what the numbers teach about people in general holds for each, \
         whether or not they took part."
            .to_owned(),
    );
    said.push(
        "The gateway itself and those who run it: they see the records. Anyone who shares its \
         machine and measures its time, memory or caches is outside the promise, as are raw \
         metrics and logs."
            .to_owned(),
    );
    match plan.schedule.late {
        Late::Drop => said.push(
            "Late records are not in any number; how many there were is secret, and is not \
             published."
                .to_owned(),
        ),
        Late::AssignToOpen => said.push(
            "Late records count in the oldest pane that is still open, and in its period: a \
             subject's records are protected in the period in which they count."
                .to_owned(),
        ),
        Late::Revise { .. } => {}
    }
    said
}

pub(super) fn counts(what: &What, plan: &ReleasePlan) -> String {
    match (what, &plan.unit) {
        (What::Subjects, Unit::Subject(_)) if plan.schedule.panes_per_window > 1 => {
            "distinct subjects of each pane, added up".to_owned()
        }
        (What::Subjects, Unit::Subject(_)) => "distinct subjects".to_owned(),
        (What::Subjects, Unit::Record) | (What::Count, _) => "records".to_owned(),
        (What::Sum { path, scale, lo, hi }, _) => {
            let value = |digits| Decimal { digits, scale: *scale };
            let (lo, hi) = (value(*lo), value(*hi));
            format!("sum of `{}`, each value taken as {lo} to {hi}", path.written)
        }
    }
}

/// `24 hours`, `one day in Europe/Berlin`, `7 days in Europe/Berlin, from Monday 06:00`.
pub(super) fn calendar(calendar: &Calendar) -> String {
    let (size_ms, offset_ms, zone) = match calendar {
        Calendar::Fixed { size_ms, offset_ms } => (*size_ms, *offset_ms, None),
        Calendar::Local { size_ms, offset_ms, zone } => (*size_ms, *offset_ms, Some(&*zone.0)),
    };
    let length = match zone {
        Some(_) if size_ms == DAY_MS => "one day".to_owned(),
        // A week of days, not `1 week`, as it may have an hour more or less.
        Some(_) if size_ms % DAY_MS == 0 => format!("{} days", size_ms / DAY_MS),
        _ => span(size_ms),
    };
    let minutes = offset_ms.rem_euclid(DAY_MS) / 60_000;
    let time = format!("{:02}:{:02}", minutes / 60, minutes % 60);
    let begins = match (size_ms % (7 * DAY_MS) == 0, zone, minutes) {
        (true, _, _) => format!(", from {} {time}", weekday(offset_ms)),
        (false, None, _) | (false, _, 0) => String::new(),
        (false, Some(_), _) => format!(", from {time}"),
    };
    match (zone, begins.is_empty()) {
        (Some(zone), _) => format!("{length} in {zone}{begins}"),
        (None, true) => length,
        (None, false) => format!("{length}{begins} UTC"),
    }
}

/// The day so long after 1970-01-01, which was a Thursday.
fn weekday(ms: i64) -> &'static str {
    match ms.div_euclid(DAY_MS).rem_euclid(7) {
        0 => "Thursday",
        1 => "Friday",
        2 => "Saturday",
        3 => "Sunday",
        4 => "Monday",
        5 => "Tuesday",
        _ => "Wednesday",
    }
}

const UNITS: [(i64, &str); 5] = [
    (86_400_000, "day"),
    (3_600_000, "hour"),
    (60_000, "minute"),
    (1_000, "second"),
    (1, "millisecond"),
];

/// In all units that it needs: `2 days and 2 seconds`.
fn parts(ms: i64) -> String {
    let mut rest = ms;
    let mut parts = Vec::new();
    for (size, name) in UNITS {
        if rest >= size {
            parts.push(many((rest / size).unsigned_abs(), name));
            rest %= size;
        }
    }
    if parts.is_empty() { span(ms) } else { parts.join(" and ") }
}

/// In the largest unit that divides it.
fn span(ms: i64) -> String {
    let (size, name) = UNITS
        .into_iter()
        .find(|(size, _)| ms % size == 0 && ms >= *size)
        .unwrap_or((1, "millisecond"));
    many((ms / size).unsigned_abs(), name)
}

fn many(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{} {what}s", thousands(n)) }
}

/// Three digits that count, rounded up: `0.401`, `54.6`, `1,710`.
pub(super) fn up(value: f64) -> String {
    if value <= 0.0 || !value.is_finite() {
        return if value > 0.0 { "no bound".to_owned() } else { "0".to_owned() };
    }
    let magnitude = value.log10().floor() as i32;
    let decimals = (2 - magnitude).clamp(0, 12);
    // What is a whole number of the last digit but for floating point stays that number.
    let steps = (value * 10_f64.powi(decimals) * (1.0 - 1e-12)).ceil();
    if decimals == 0 {
        return thousands(steps as u64);
    }
    let text = format!("{:.*}", decimals.unsigned_abs() as usize, steps / 10_f64.powi(decimals));
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// ` (except with probability 1 in 1,000,000,000)`; nothing for zero.
fn one_in(delta: f64) -> String {
    if delta <= 0.0 {
        return String::new();
    }
    // Rounded so that the probability is never understated.
    let one_in = (1.0 / delta * (1.0 + 1e-12)).floor() as u64;
    format!(", except with probability 1 in {}", thousands(one_in))
}

fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
