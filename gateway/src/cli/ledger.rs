//! `sluicegate ledger`: verify a store, or export it for a stranger to verify; neither needs the
//! gateway, its keys, or write access. And the way back from a false time.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
    sync::Arc,
};

use sluicegate_audit as audit;

use super::{Exit, Output, eprint, load_config, load_config_as, print, runtime};
use crate::{account::Account, ambient::Ambient, config::Config};

const RESTART_EXAMPLE: &str = "\
Example:
  sluicegate ledger restart-time --config sluicegate.yaml --because 'clock was a day ahead'";

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// Rehash every row and report the first divergence
    Verify {
        #[command(flatten)]
        store: Store,
    },
    /// Export the ledger to a file that `sluicegate-verify` checks without a database
    Export {
        #[command(flatten)]
        store: Store,
        /// The file to write
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Start a new chain after rows were written with a clock that was ahead
    ///
    /// For a node that does not start because its clock is behind its own last row, and that row's
    /// time is wrong because the clock was ahead. Correct the clock and stop the gateway first. The
    /// new chain names the old chain's last row, and an entry says why it was started. Nothing is
    /// undone: windows that were released in the false future stay spent.
    #[command(after_help = RESTART_EXAMPLE)]
    RestartTime {
        /// The configuration of the gateway
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The node; overrides the configuration and SLUICEGATE_NODE
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
        /// The reason; it is recorded in the ledger, so do not name anyone
        #[arg(long, value_name = "TEXT", value_parser = super::because)]
        because: String,
    },
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Store {
    /// The store: `sqlite:FILE` or `postgres://…`
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// A file whose only line is the store's URL
    #[arg(long, value_name = "FILE")]
    store_file: Option<PathBuf>,
    /// The configuration of the gateway that writes the ledger
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Store {
    fn url(&self) -> Result<audit::Url, Exit> {
        if let Some(file) = &self.config {
            return load_config(file)?.ledger.url().map_err(|error| {
                eprint(error);
                Exit::Usage
            });
        }
        let text = match (&self.store, &self.store_file) {
            (Some(url), _) => url.clone(),
            (None, Some(file)) => std::fs::read_to_string(file).map_err(|error| {
                eprint(format!("couldn't read `{}`: {error}", file.display()));
                Exit::Usage
            })?,
            (None, None) => String::new(),
        };
        text.trim().parse().map_err(|error: audit::StoreError| {
            eprint(error);
            Exit::Usage
        })
    }
}

pub(super) fn run(verb: &Verb, output: Output) -> Exit {
    let done = match verb {
        Verb::Verify { store } => {
            store.url().and_then(|url| runtime()?.block_on(verify(&url, output)))
        }
        Verb::Export { store, to } => {
            store.url().and_then(|url| runtime()?.block_on(export(&url, to, output)))
        }
        Verb::RestartTime { config, node, because } => load_config_as(config, node.clone())
            .and_then(|config| runtime()?.block_on(restart_time(&config, because, output))),
    };
    done.unwrap_or_else(|exit| exit)
}

async fn restart_time(config: &Config, because: &str, output: Output) -> Result<Exit, Exit> {
    let failed = |error: String| {
        eprint(format!("couldn't restart the time of node `{}`: {error}", config.node));
        Exit::CheckFailed
    };
    let account = Account::new(config, &Ambient::system(), Arc::default()).await;
    let account = account.map_err(|e| failed(e.to_string()))?;
    account.restart_time(because.to_owned()).await.map_err(failed)?;
    match output {
        Output::Human => print(format!(
            "node `{}` has a new chain, whose time is the clock's: start the gateway",
            config.node
        )),
        Output::Json => print(serde_json::json!({ "node": config.node, "restarted": true })),
    }
    Ok(Exit::Ok)
}

async fn verify(url: &audit::Url, output: Output) -> Result<Exit, Exit> {
    let verdict = audit::verify_store(url, |_| {}).await.map_err(unreadable)?;
    Ok(print_verdict(&verdict, output))
}

async fn export(url: &audit::Url, to: &PathBuf, output: Output) -> Result<Exit, Exit> {
    let failed = |error: std::io::Error| {
        eprint(format!("couldn't write `{}`: {error}", to.display()));
        Exit::Usage
    };
    let mut file = BufWriter::new(File::create(to).map_err(failed)?);
    let (mut first, mut written) = (true, Ok(()));
    let verdict = audit::verify_store(url, |record| {
        if written.is_ok() {
            written = audit::write_export(&mut file, &record, first);
            first = false;
        }
    });
    let verdict = verdict.await.map_err(unreadable)?;
    written.and_then(|()| file.flush()).map_err(failed)?;
    Ok(print_verdict(&verdict, output))
}

fn unreadable(error: audit::StoreError) -> Exit {
    eprint(format!("couldn't read the ledger: {error}"));
    Exit::Usage
}

fn print_verdict(verdict: &audit::verify::Verdict, output: Output) -> Exit {
    match output {
        Output::Human => print(verdict.to_string().trim_end()),
        Output::Json => print(verdict.json()),
    }
    if verdict.is_ok() { Exit::Ok } else { Exit::CheckFailed }
}
