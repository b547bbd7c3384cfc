//! `sluicegate config check`: every mistake of a configuration file, with its place.

use std::path::PathBuf;

use super::{Exit, Output, complain, say};
use crate::config;

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// Check a configuration file, and that the files it names can be read
    Check {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

pub(super) fn run(verb: &Verb, output: Output) -> Exit {
    let Verb::Check { file } = verb;
    let mut mistakes = match config::load_as(file, super::node_of_environment()) {
        Ok(config) => unreadable(&config),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    };
    mistakes.dedup();
    match output {
        Output::Json => say(serde_json::json!({ "ok": mistakes.is_empty(), "mistakes": mistakes })),
        Output::Human if mistakes.is_empty() => say(format!("{}: ok", file.display())),
        Output::Human => mistakes.iter().for_each(complain),
    }
    if mistakes.is_empty() { Exit::Ok } else { Exit::CheckFailed }
}

/// Files that are named and cannot be used. Their contents are never printed.
fn unreadable(config: &config::Config) -> Vec<String> {
    let mut mistakes = Vec::new();
    for tls in [&config.listen.tls, &config.admin.tls] {
        if let Err(error) = crate::listen::tls::Tls::load(tls) {
            mistakes.push(error.to_string());
        }
    }
    if let Err(error) = crate::decide::read_keyring(&config.keys.file) {
        mistakes.push(error.to_string());
    }
    if let Err(error) = crate::decide::read_bundle(&config.policies) {
        mistakes.push(error.to_string());
    }
    mistakes
}
