//! `sluicegate policy`: check, explain, test and schema, for the people who write policies.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use sluicegate_policies::{self as policies, release::ReleasePlan};

use super::{Exit, Output, eprint, print};
use crate::{
    ambient::{Clock, SystemClock},
    decide::{overlooked, read_bundle},
};

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  sluicegate policy explain policies --principal analyst --purpose analytics --dataset orders
  sluicegate policy explain policies --release clicks-per-campaign";

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// Report every error and warning in a folder of policies
    Check {
        /// The folder of policies
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Explain what the policies decide and why, or what a release promises
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain {
        /// The folder of policies
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// Explain this release: whom it protects, what it costs and how accurate its numbers are
        #[arg(long, value_name = "NAME", conflicts_with_all = ["principal", "purpose", "dataset", "field", "region", "jurisdiction"])]
        release: Option<String>,
        /// Who asks: a principal of the vocabulary
        #[arg(long, value_name = "NAME", required_unless_present = "release")]
        principal: Option<String>,
        /// For what purpose
        #[arg(long, value_name = "NAME", required_unless_present = "release")]
        purpose: Option<String>,
        /// Which dataset
        #[arg(long, value_name = "NAME", required_unless_present = "release")]
        dataset: Option<String>,
        /// Only this field, written as in the dataset
        #[arg(long, value_name = "PATH")]
        field: Option<String>,
        /// Only this region
        #[arg(long, value_name = "NAME")]
        region: Option<String>,
        /// Only subjects in this jurisdiction
        #[arg(long, value_name = "CODE")]
        jurisdiction: Option<String>,
    },
    /// Run the tests among the policies, and list the rules that no test exercises
    Test {
        /// The folder of policies
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// Also write a JUnit report
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
    },
    /// Plot how a release's error depends on epsilon or on the windows that count one person
    #[cfg(feature = "tools")]
    Plot(super::plot::Args),
    /// Print the JSON Schema of the policy language, for completion in editors
    Schema,
}

pub(super) fn run(verb: &Verb, output: Output) -> Exit {
    match verb {
        Verb::Check { dir } => check(dir, output),
        Verb::Explain { dir, release: Some(release), .. } => explain_release(dir, release, output),
        Verb::Explain { dir, principal, purpose, dataset, field, region, jurisdiction, .. } => {
            let question = policies::Question {
                principal: principal.clone().unwrap_or_default(),
                purpose: purpose.clone(),
                dataset: dataset.clone().unwrap_or_default(),
                field: field.clone(),
                region: region.clone(),
                jurisdiction: jurisdiction.clone(),
            };
            explain(dir, &question, output)
        }
        Verb::Test { dir, junit } => test(dir, junit.as_deref(), output),
        #[cfg(feature = "tools")]
        Verb::Plot(args) => super::plot::run(args),
        Verb::Schema => {
            print(serde_json::to_string_pretty(&policies::schema()).unwrap_or_default());
            Exit::Ok
        }
    }
}

fn read(dir: &Path) -> Result<Vec<policies::Source>, Exit> {
    read_bundle(dir).map_err(|error| {
        eprint(error);
        Exit::Usage
    })
}

fn check(dir: &Path, output: Output) -> Exit {
    let sources = match read(dir) {
        Ok(sources) => sources,
        Err(exit) => return exit,
    };
    let mut report = policies::check(&sources, SystemClock.now_ms());
    report.diagnostics.extend(overlooked(dir).into_iter().map(ignored));
    print_report(&report, &sources, output);
    match (report.has_errors(), report.has_warnings()) {
        (true, _) => Exit::CheckFailed,
        (false, true) => Exit::Lint,
        (false, false) => Exit::Ok,
    }
}

fn ignored(path: String) -> policies::Diagnostic {
    policies::Diagnostic {
        severity: policies::Severity::Warning,
        path,
        line: 1,
        column: 1,
        text: String::new(),
        message: "this file looks like a policy and is not read".to_owned(),
        help: Some("give it a name that ends in `.yaml`, or move it out of the folder".to_owned()),
        related: Vec::new(),
    }
}

fn print_report(report: &policies::Report, sources: &[policies::Source], output: Output) {
    if output == Output::Json {
        print(serde_json::to_string_pretty(&report).unwrap_or_default());
        return;
    }
    for diagnostic in &report.diagnostics {
        print(diagnostic.render(sources));
    }
    let is_error = |d: &&policies::Diagnostic| d.severity == policies::Severity::Error;
    let errors = report.diagnostics.iter().filter(is_error).count();
    let warnings = report.diagnostics.len() - errors;
    print(format!("{} file(s), {errors} error(s), {warnings} warning(s)", sources.len()));
}

/// The compiled bundle, or its errors printed.
pub(super) fn compile(
    sources: &[policies::Source],
    output: Output,
) -> Result<policies::Bundle, Exit> {
    policies::Bundle::compile(sources).map_err(|report| {
        print_report(&report, sources, output);
        Exit::CheckFailed
    })
}

fn explain(dir: &Path, question: &policies::Question, output: Output) -> Exit {
    let explained = read(dir).and_then(|sources| {
        let bundle = compile(&sources, output)?;
        let table = bundle.table(SystemClock.now_ms()).map_err(|error| {
            eprint(error.render(&sources));
            Exit::CheckFailed
        })?;
        Ok(policies::explain(&table, question))
    });
    match explained {
        Ok(explanation) => {
            match output {
                Output::Human => print(&explanation),
                Output::Json => {
                    print(serde_json::to_string_pretty(&explanation).unwrap_or_default());
                }
            }
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

/// A release of a folder of policies, whatever its mode and dates, and the whole bundle.
pub(super) fn release_of(
    dir: &Path,
    release: &str,
    output: Output,
) -> Result<(Arc<ReleasePlan>, policies::Bundle), Exit> {
    let sources = read(dir)?;
    let bundle = compile(&sources, output)?;
    let found = bundle.all_releases().find(|plan| &*plan.name == release).cloned();
    match found {
        Some(plan) => Ok((plan, bundle)),
        None => {
            let known: Vec<&str> = bundle.all_releases().map(|plan| &*plan.name).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            eprint(format!("the policies have no release of that name; they have: {known}"));
            Err(Exit::Usage)
        }
    }
}

fn explain_release(dir: &Path, release: &str, output: Output) -> Exit {
    let (plan, bundle) = match release_of(dir, release, output) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let others = bundle.released_with(release);
    let explained = policies::release::explain(&plan, bundle.expected(release), &others);
    match output {
        Output::Human => print(&explained),
        Output::Json => print(serde_json::to_string_pretty(&explained).unwrap_or_default()),
    }
    Exit::Ok
}

fn test(dir: &Path, junit: Option<&Path>, output: Output) -> Exit {
    let tested = read(dir).and_then(|sources| {
        let bundle = compile(&sources, output)?;
        Ok(policies::run_tests(&bundle, &sources, SystemClock.now_ms()))
    });
    let report = match tested {
        Ok(report) => report,
        Err(exit) => return exit,
    };
    match output {
        Output::Human => print(&report),
        Output::Json => print(serde_json::to_string_pretty(&report).unwrap_or_default()),
    }
    if let Some(file) = junit
        && let Err(error) = std::fs::write(file, report.junit())
    {
        eprint(format!("couldn't write `{}`: {error}", file.display()));
        return Exit::Usage;
    }
    match (report.failures() == 0, report.unexercised.is_empty()) {
        (false, _) => Exit::CheckFailed,
        (true, false) => Exit::Lint,
        (true, true) => Exit::Ok,
    }
}
