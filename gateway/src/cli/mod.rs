//! The command: verbs, options, exit codes. 0 ok, 1 a check failed, 2 usage, 3 lint.
//!
//! Verbs print to standard output what was asked for, and to standard error what went wrong.

#[cfg(feature = "tools")]
mod bench;
mod budget;
mod config;
mod credential;
#[cfg(feature = "tools")]
mod demo;
#[cfg(feature = "tools")]
mod generate;
#[cfg(feature = "tools")]
mod init;
mod ledger;
mod lineage;
#[cfg(feature = "tools")]
mod plot;
mod policy;
mod release;
mod run;

use std::{path::Path, process::ExitCode, sync::LazyLock};

use clap::{Parser, Subcommand, ValueEnum};

use crate::telemetry::{COMMIT, VERSION};

/// Characters of an operator's reason.
const BECAUSE_MAX: usize = 200;

/// Exit codes, the same for each verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    CheckFailed = 1,
    Usage = 2,
    Lint = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The commit, and the formats that outlive a release.
static ABOUT: LazyLock<String> = LazyLock::new(|| {
    let (language, ledger) = (sluicegate_policies::API_VERSION, sluicegate_audit::MAGIC);
    format!("{VERSION}\ncommit {COMMIT}\nlanguage {language}\nledger {ledger}")
});

/// A privacy and compliance gateway for event streams.
#[derive(Parser)]
#[command(name = "sluicegate", version = ABOUT.as_str(), about, long_about = None)]
struct Cli {
    /// Output format
    #[arg(short = 'o', long = "output", global = true, value_enum, default_value = "human")]
    output: Output,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Human,
    Json,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the gateway
    Run(run::Args),
    /// Run the whole pipeline in a throwaway setup: certificates, policies, an event stream, a ledger
    #[cfg(feature = "tools")]
    Demo(demo::Args),
    /// Write a commented configuration and starter policies into a folder
    #[cfg(feature = "tools")]
    Init(init::Args),
    /// Measure a Kafka address: a broker's, or this gateway's
    #[cfg(feature = "tools")]
    Bench(bench::Args),
    /// Check a configuration file
    Config {
        #[command(subcommand)]
        verb: config::Verb,
    },
    /// Set, list and remove the passwords of Kafka clients
    Credential {
        #[command(subcommand)]
        verb: credential::Verb,
    },
    /// Check, explain and test policies
    Policy {
        #[command(subcommand)]
        verb: policy::Verb,
    },
    /// Try a release on a recorded stream
    Release {
        #[command(subcommand)]
        verb: release::Verb,
    },
    /// Show what releases have cost each person and will cost, or block a period
    Budget(budget::Args),
    /// Verify or export the ledger, or restart its time after a wrong clock
    Ledger {
        #[command(subcommand)]
        verb: ledger::Verb,
    },
    /// Trace where a record, a token or the data of a source went
    Lineage(lineage::Args),
}

/// Parses the arguments and does what they say.
pub fn main() -> ExitCode {
    install_crypto();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap knows which stream each goes to.
            let _printed = error.print();
            let usage = error.use_stderr();
            return if usage { Exit::Usage } else { Exit::Ok }.into();
        }
    };
    let output = cli.output;
    match cli.verb {
        Verb::Run(args) => run::run(&args),
        #[cfg(feature = "tools")]
        Verb::Demo(args) => demo::run(&args),
        #[cfg(feature = "tools")]
        Verb::Init(args) => init::run(&args),
        #[cfg(feature = "tools")]
        Verb::Bench(args) => bench::run(&args, output),
        Verb::Config { verb } => config::run(&verb, output),
        Verb::Credential { verb } => credential::run(&verb, output),
        Verb::Policy { verb } => policy::run(&verb, output),
        Verb::Release { verb } => release::run(&verb, output),
        Verb::Budget(args) => budget::run(&args, output),
        Verb::Ledger { verb } => ledger::run(&verb, output),
        Verb::Lineage(args) => lineage::run(&args, output),
    }
    .into()
}

/// One TLS and crypto stack: ring. Tokens install it for theirs where they are read.
pub fn install_crypto() {
    // The only error is "installed already".
    let _already = rustls::crypto::ring::default_provider().install_default();
}

/// Prints a line to standard output; a reader that went away is not our error.
fn print(text: impl std::fmt::Display) {
    use std::io::Write;
    let _reader_gone = writeln!(std::io::stdout(), "{text}");
}

/// Prints a line to standard error.
fn eprint(text: impl std::fmt::Display) {
    use std::io::Write;
    let _reader_gone = writeln!(std::io::stderr(), "{text}");
}

/// An operator's reason, as the ledger keeps it.
fn because(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > BECAUSE_MAX || text.chars().any(char::is_control) {
        return Err(format!("give a one-line reason of at most {BECAUSE_MAX} characters"));
    }
    Ok(text.to_owned())
}

fn node_of_environment() -> Option<String> {
    std::env::var("SLUICEGATE_NODE").ok().filter(|name| !name.is_empty())
}

fn runtime() -> Result<tokio::runtime::Runtime, Exit> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        eprint(format!("couldn't start: {error}"));
        Exit::CheckFailed
    })
}

/// Loads a configuration or prints all that is wrong with it.
fn load_config(file: &Path) -> Result<crate::config::Config, Exit> {
    load_config_as(file, None)
}

/// The same for a node of this name; without one, of the name in the environment, so that replicas
/// can share a file.
fn load_config_as(file: &Path, node: Option<String>) -> Result<crate::config::Config, Exit> {
    crate::config::load_as(file, node.or_else(node_of_environment)).map_err(|mistakes| {
        for mistake in &mistakes {
            eprint(mistake);
        }
        eprint(format!("{} error(s) in the configuration", mistakes.len()));
        Exit::CheckFailed
    })
}
