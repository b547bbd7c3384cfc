//! `sluicegate release`: what a release would publish, from a recorded stream.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use super::{Exit, Output, eprint, load_config, print, runtime};
use crate::{
    account::Account,
    ambient::{Ambient, Clock, SystemClock},
    decide::Snapshot,
    keys::ThrowAway,
    simulate::{NOTE, Reason, Simulation, Summary, Through, Window, simulate},
};

/// Windows and rows that are shown to people; JSON has them all.
const SHOWN: usize = 8;
const RUNS_MAX: u32 = 1_000;

const SIMULATE_EXAMPLE: &str = "\
Example:
  sluicegate release simulate policies --release clicks-per-campaign --input stream.ndjson --runs 100";

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// Run a recorded stream through a release, with a throwaway budget and fresh noise
    #[command(after_help = SIMULATE_EXAMPLE)]
    Simulate {
        /// The folder of policies
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// The release
        #[arg(long, value_name = "NAME")]
        release: String,
        /// The stream in order of arrival: one JSON value per line, or one record per line as
        /// published or read
        #[arg(long, value_name = "FILE.ndjson")]
        input: PathBuf,
        /// The principal that publishes the records [default: the first that may publish to the dataset]
        #[arg(long, value_name = "NAME")]
        principal: Option<String>,
        /// How many times noise is drawn
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(RUNS_MAX)))]
        runs: u32,
        /// Record the run in the ledger of this configuration
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

pub(super) fn run(verb: &Verb, output: Output) -> Exit {
    let Verb::Simulate { dir, release, input, principal, runs, config } = verb;
    let wanted = (dir.as_path(), release.as_str(), principal.as_deref());
    let simulated = simulated(wanted, input, *runs, config.as_deref(), output);
    match simulated {
        Ok(simulation) => {
            match output {
                Output::Human => show(&simulation),
                Output::Json => {
                    print(serde_json::to_string_pretty(&simulation).unwrap_or_default())
                }
            }
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

fn simulated(
    (dir, release, principal): (&Path, &str, Option<&str>),
    input: &Path,
    runs: u32,
    config: Option<&Path>,
    output: Output,
) -> Result<Simulation, Exit> {
    let usage = |error: String| {
        eprint(error);
        Exit::Usage
    };
    let (plan, bundle) = super::policy::release_of(dir, release, output)?;
    let table = bundle
        .table(SystemClock.now_ms())
        .map_err(|_| usage("the policies are not in force".to_owned()))?;
    let random = Ambient::system().random;
    let keyring = ThrowAway::new(&*random).map_err(|e| usage(e.to_string()))?;
    let snapshot = Snapshot::new(table.clone(), "simulation", &keyring, &random)
        .map_err(|e| usage(e.to_string()))?;
    let mut publishers = table.publishers(&plan.dataset);
    let grant = publishers.find(|g| principal.is_none_or(|name| **g.principal() == *name));
    let grant = grant.ok_or_else(|| {
        let who = principal.map_or_else(|| "anyone".to_owned(), |name| format!("`{name}`"));
        usage(format!("no access rule lets {who} publish to the dataset `{}`", plan.dataset))
    })?;
    let contributor = snapshot.all_contributors().find(|c| c.plan.name == plan.name);
    let Some(contributor) = contributor else {
        return Err(usage(format!("the release `{}` is not in force", plan.name)));
    };
    if let Some(config) = config {
        note(config, &plan.name)?;
    }
    let file = File::open(input)
        .map_err(|e| usage(format!("couldn't read `{}`: {}", input.display(), e.kind())))?;
    let spill = std::env::temp_dir().join(format!("sluicegate-simulate-{}", std::process::id()));
    let lines = BufReader::new(file).split(b'\n');
    let through = Through { grant, snapshot: &snapshot, contributor };
    let simulation = simulate(&through, lines, runs, &spill);
    // It may never have been made.
    let _gone = std::fs::remove_dir_all(&spill);
    simulation.map_err(|error| {
        eprint(error);
        Exit::CheckFailed
    })
}

/// Who looks at raw data leaves a trace.
fn note(config: &Path, release: &str) -> Result<(), Exit> {
    let config = load_config(config)?;
    let failed = |error: String| {
        eprint(format!("couldn't record the run in the ledger: {error}"));
        Exit::CheckFailed
    };
    runtime()?.block_on(async {
        let account = Account::beside(&config, &Ambient::system()).await.map_err(failed)?;
        let noted = account.simulated(release).await;
        account.close().await;
        noted.map_err(|e| failed(e.to_string()))
    })
}

/// RFC 3339, as far as years are known.
pub(super) fn utc(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |t| t.to_string())
}

fn show(simulation: &Simulation) {
    print(NOTE);
    print(format!(
        "\n{}: {} records of {} for {}, {} refused, {} outside the release, {} late; {} windows, \
         noise drawn {} time(s)",
        simulation.release,
        simulation.records,
        simulation.publisher,
        simulation.purpose,
        simulation.refused,
        simulation.outside,
        simulation.late,
        simulation.windows.len(),
        simulation.runs
    ));
    simulation.reasons.iter().for_each(show_reason);
    if let Some(doubt) = &simulation.doubt {
        print(format!("DOUBTFUL: {doubt}"));
    }
    let runs = u64::from(simulation.runs);
    if simulation.hopping.is_empty() {
        show_windows(&simulation.windows, &simulation.outputs);
        show_outputs("all windows", &simulation.outputs, runs);
    } else {
        print("Windows are sums of panes as published; the panes alone are in `-o json`.");
        show_windows(&simulation.hopping, &simulation.hopping_outputs);
        show_outputs("all panes", &simulation.outputs, runs);
        show_outputs("all windows", &simulation.hopping_outputs, runs);
    }
}

fn show_reason(reason: &Reason) {
    let Reason { code, records, first_line, detail, spellings, .. } = reason;
    // With escapes, so that two spellings of one text look different.
    let spellings: Vec<String> = spellings.iter().map(|key| format!("{key:?}")).collect();
    let such_as = match &*spellings {
        [] => String::new(),
        some => format!("; such as {}", some.join(", ")),
    };
    print(format!("  {records} {code} (first: line {first_line}): {detail}{such_as}"));
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
        print(format!("\nwindow {from} to {to}{again}; {names}"));
        print(format!("  {:<24} {:>24} {:>24} {:>24}", "key", "true", "bounded", "published"));
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
            print(format!("  {:<24} {truth:>24} {bounded:>24} {published:>24}", row.key));
        }
        if rows.len() > SHOWN {
            print(format!("  … {} more", rows.len() - SHOWN));
        }
    }
    if windows.len() > SHOWN {
        print(format!("\n… {} more windows; `-o json` has them all", windows.len() - SHOWN));
    }
}

fn show_outputs(over: &str, outputs: &[Summary], runs: u64) {
    print(format!("\nover {over}, runs and published rows:"));
    for summary in outputs {
        let unit = 10_f64.powi(-i32::from(summary.decimals));
        let digits = usize::from(summary.decimals.max(1));
        let known = |figure: Option<f64>| {
            figure.map_or_else(|| "-".to_owned(), |figure| format!("{:.digits$}", figure * unit))
        };
        print(format!(
            "  {}: noise {} (by theory {:.digits$}), error against the truth {}, bounds leave out \
             {:.1} %, {} of {} rows published",
            summary.output,
            known(summary.noise_rms),
            summary.noise_sd * unit,
            known(summary.error_rms),
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
