//! `sluicegate release`: what a release would publish, from a recorded stream.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use serde_json::value::RawValue;
use sluicegate_policies as policies;

use super::{Exit, Output, complain, load_config, runtime, say};
use crate::{
    account::{Account, SEARCH_KEY},
    ambient::{Ambient, Clock, SystemClock},
    contribute::Contributor,
    keys::FileKeyring,
    record::Record,
    simulate::{NOTE, Recorded, SimulateError, Simulation, Summary, Window, simulate},
};

/// Windows and rows that are shown to people; JSON has them all.
const SHOWN: usize = 8;
const RUNS_MAX: u32 = 1_000;

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// Run a recorded stream through a release, with a throw-away budget and fresh noise
    Simulate {
        /// The folder of policies
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// The release, by its name
        #[arg(long)]
        release: String,
        /// The stream in the order of its arrival: a JSON value a line, or a record a line as
        /// publishing and reading have it
        #[arg(long, value_name = "FILE.ndjson")]
        input: PathBuf,
        /// How often noise is drawn
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(RUNS_MAX)))]
        runs: u32,
        /// Note the run in the ledger of this configuration
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

pub(super) fn run(verb: &Verb, output: Output) -> Exit {
    let Verb::Simulate { dir, release, input, runs, config } = verb;
    let simulated = simulated(dir, release, input, *runs, config.as_deref(), output);
    match simulated {
        Ok(simulation) => {
            match output {
                Output::Human => show(&simulation),
                Output::Json => say(serde_json::to_string_pretty(&simulation).unwrap_or_default()),
            }
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

fn simulated(
    dir: &Path,
    release: &str,
    input: &Path,
    runs: u32,
    config: Option<&Path>,
    output: Output,
) -> Result<Simulation, Exit> {
    let usage = |error: String| {
        complain(error);
        Exit::Usage
    };
    let (plan, bundle) = super::policy::release_of(dir, release, output)?;
    let table = bundle
        .table(SystemClock.now_ms())
        .map_err(|_| usage("the policies are not in force".to_owned()))?;
    let Some(dataset) = table.datasets().iter().find(|d| d.name == plan.dataset) else {
        return Err(usage("the release's dataset is not in the policy".to_owned()));
    };
    let random = Ambient::system();
    let keyring = throw_away(&plan, &random).map_err(&usage)?;
    let contributor = Contributor::new(plan.clone(), "simulation", &keyring, random.random.clone())
        .map_err(|e| usage(e.to_string()))?;
    if let Some(config) = config {
        note(config, &plan.name)?;
    }
    let file = File::open(input)
        .map_err(|e| usage(format!("couldn't read `{}`: {}", input.display(), e.kind())))?;
    let spill = std::env::temp_dir().join(format!("sluicegate-simulate-{}", std::process::id()));
    let lines = (1..).zip(BufReader::new(file).split(b'\n')).filter_map(recorded);
    let simulation = simulate(&contributor, dataset, lines, runs, &spill);
    // It may never have been made.
    let _gone = std::fs::remove_dir_all(&spill);
    simulation.map_err(|error| {
        complain(error);
        Exit::CheckFailed
    })
}

/// Keys of this run alone: what it makes cannot be joined with anything.
fn throw_away(
    plan: &policies::release::ReleasePlan,
    ambient: &Ambient,
) -> Result<FileKeyring, String> {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let key = || {
        let mut bytes = [0; 32];
        ambient.random.fill(&mut bytes).map_err(|_| "no random numbers".to_owned())?;
        Ok::<_, String>(BASE64_STANDARD.encode(bytes))
    };
    let mut text = format!("keys:\n  {SEARCH_KEY}: {}\n", key()?);
    if let policies::release::Unit::Subject(unit) = &plan.unit
        && &*unit.key != SEARCH_KEY
    {
        text.push_str(&format!("  {}: {}\n", unit.key, key()?));
    }
    FileKeyring::parse(&text).map_err(|e| e.to_string())
}

/// Who looks at raw data leaves a trace.
fn note(config: &Path, release: &str) -> Result<(), Exit> {
    let config = load_config(config)?;
    let failed = |error: String| {
        complain(format!("couldn't note the run in the ledger: {error}"));
        Exit::CheckFailed
    };
    runtime()?.block_on(async {
        let account = Account::beside(&config, &Ambient::system()).await.map_err(failed)?;
        let noted = account.simulated(release).await;
        account.close().await;
        noted.map_err(|e| failed(e.to_string()))
    })
}

/// A record as publishing and reading write it; other members mean that the line is a value.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped<'l> {
    #[serde(borrow)]
    value: &'l RawValue,
    #[serde(borrow, default)]
    key: Option<&'l RawValue>,
    #[serde(default)]
    timestamp_ms: Option<i64>,
    #[serde(default)]
    headers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    partition: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    offset: Option<serde::de::IgnoredAny>,
}

fn recorded(
    (line, text): (usize, std::io::Result<Vec<u8>>),
) -> Option<Result<Recorded, SimulateError>> {
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            return Some(Err(SimulateError::Record { line, why: error.kind().to_string() }));
        }
    };
    if text.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    let record = match serde_json::from_slice::<Wrapped<'_>>(&text) {
        Ok(wrapped) => {
            let Wrapped { value, key, timestamp_ms, headers, partition, offset } = wrapped;
            let _not_needed = (headers, partition, offset);
            let bytes = |raw: &RawValue| Bytes::copy_from_slice(raw.get().as_bytes());
            let record =
                Record { key: key.map(bytes), headers: Vec::new(), value: Some(bytes(value)) };
            Recorded { line, record, arrival_ms: timestamp_ms }
        }
        Err(_) => {
            let record = Record { key: None, headers: Vec::new(), value: Some(Bytes::from(text)) };
            Recorded { line, record, arrival_ms: None }
        }
    };
    Some(Ok(record))
}

/// RFC 3339, as far as years are known.
pub(super) fn utc(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |t| t.to_string())
}

fn show(simulation: &Simulation) {
    say(NOTE);
    say(format!(
        "\n{}: {} records, {} outside the release, {} late; {} windows, noise drawn {} time(s)",
        simulation.release,
        simulation.records,
        simulation.outside,
        simulation.late,
        simulation.windows.len(),
        simulation.runs
    ));
    if let Some(doubt) = &simulation.doubt {
        say(format!("DOUBTFUL: {doubt}"));
    }
    let runs = u64::from(simulation.runs);
    if simulation.hopping.is_empty() {
        show_windows(&simulation.windows, &simulation.outputs);
        show_outputs("all windows", &simulation.outputs, runs);
    } else {
        say("Windows are sums of panes as published; the panes alone are in `-o json`.");
        show_windows(&simulation.hopping, &simulation.hopping_outputs);
        show_outputs("all panes", &simulation.outputs, runs);
        show_outputs("all windows", &simulation.hopping_outputs, runs);
    }
}

fn show_windows(windows: &[Window], outputs: &[Summary]) {
    let names: Vec<&str> = outputs.iter().map(|output| &*output.output).collect();
    let names = names.join(", ");
    for window in windows.iter().take(SHOWN) {
        let (from, to) = (utc(window.start_ms), utc(window.end_ms));
        let again = match window.revision {
            0 => String::new(),
            revision => format!(", revision {revision}"),
        };
        say(format!("\nwindow {from} to {to}{again}; {names}"));
        say(format!("  {:<24} {:>24} {:>24} {:>24}", "key", "true", "bounded", "published"));
        let mut rows: Vec<_> = window.rows.iter().collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.truth.first().copied()));
        for row in rows.iter().take(SHOWN) {
            let numbers = |values: &[i64]| {
                let with = values.iter().zip(outputs);
                let texts = with.map(|(value, output)| decimal(*value, output.decimals));
                texts.collect::<Vec<_>>().join(" ")
            };
            let published = match row.published.first() {
                Some(Some(values)) => numbers(values),
                _ => "not published".to_owned(),
            };
            let (truth, bounded) = (numbers(&row.truth), numbers(&row.bounded));
            say(format!("  {:<24} {truth:>24} {bounded:>24} {published:>24}", row.key));
        }
        if rows.len() > SHOWN {
            say(format!("  … {} more", rows.len() - SHOWN));
        }
    }
    if windows.len() > SHOWN {
        say(format!("\n… {} more windows; `-o json` has them all", windows.len() - SHOWN));
    }
}

fn show_outputs(over: &str, outputs: &[Summary], runs: u64) {
    say(format!("\nover {over}, runs and published rows:"));
    for summary in outputs {
        let unit = 10_f64.powi(-i32::from(summary.decimals));
        let digits = usize::from(summary.decimals.max(1));
        say(format!(
            "  {}: noise {:.digits$} (by theory {:.digits$}), error against the truth {:.digits$}, \
             bounds leave out {:.1} %, {} of {} rows published",
            summary.output,
            summary.noise_rms * unit,
            summary.noise_sd * unit,
            summary.error_rms * unit,
            0.0 - summary.bias_percent,
            summary.published_rows,
            summary.rows * runs
        ));
    }
}

/// A number of so many decimals.
fn decimal(fixed: i64, decimals: u8) -> String {
    if decimals == 0 {
        return fixed.to_string();
    }
    let width = usize::from(decimals) + 1;
    let digits = format!("{:0width$}", fixed.unsigned_abs());
    let (whole, part) = digits.split_at(digits.len() - usize::from(decimals));
    format!("{}{whole}.{part}", if fixed < 0 { "-" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn fixed_point_reads_as_decimals() {
        assert_eq!(decimal(-5, 2), "-0.05");
        assert_eq!(decimal(1234, 2), "12.34");
        assert_eq!(decimal(0, 3), "0.000");
        assert_eq!(decimal(-7, 0), "-7");
        assert_eq!(decimal(i64::MIN, 18), "-9.223372036854775808");
    }
}
