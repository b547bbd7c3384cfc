//! `sluicegate ledger`: verify a store, or export it for a stranger to verify. Neither needs the
//! gateway, its keys, or write access.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
};

use sluicegate_audit as audit;

use super::{Exit, Output, complain, load_config, runtime, say};
use crate::account::store_url;

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// Re-hash every row and say the first that diverges
    Verify {
        #[command(flatten)]
        store: Store,
    },
    /// Write the ledger into a file that `sluicegate-verify` checks without a database
    Export {
        #[command(flatten)]
        store: Store,
        /// The file to write
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Store {
    /// `sqlite:FILE` or `postgres://…`
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// A file whose only line is the store's URL
    #[arg(long, value_name = "FILE")]
    store_file: Option<PathBuf>,
    /// The store of this configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Store {
    fn url(&self) -> Result<audit::Url, Exit> {
        if let Some(file) = &self.config {
            return store_url(&load_config(file)?).map_err(|error| {
                complain(error);
                Exit::Usage
            });
        }
        let text = match (&self.store, &self.store_file) {
            (Some(url), _) => url.clone(),
            (None, Some(file)) => std::fs::read_to_string(file).map_err(|error| {
                complain(format!("couldn't read `{}`: {error}", file.display()));
                Exit::Usage
            })?,
            (None, None) => String::new(),
        };
        text.trim().parse().map_err(|error: audit::StoreError| {
            complain(error);
            Exit::Usage
        })
    }
}

pub(super) fn run(verb: &Verb, output: Output) -> Exit {
    let (Verb::Verify { store } | Verb::Export { store, .. }) = verb;
    let done = store.url().and_then(|url| {
        let runtime = runtime()?;
        match verb {
            Verb::Verify { .. } => runtime.block_on(verify(&url, output)),
            Verb::Export { to, .. } => runtime.block_on(export(&url, to, output)),
        }
    });
    done.unwrap_or_else(|exit| exit)
}

async fn verify(url: &audit::Url, output: Output) -> Result<Exit, Exit> {
    let verdict = audit::verify_store(url, |_| {}).await.map_err(unreadable)?;
    Ok(print(&verdict, output))
}

async fn export(url: &audit::Url, to: &PathBuf, output: Output) -> Result<Exit, Exit> {
    let failed = |error: std::io::Error| {
        complain(format!("couldn't write `{}`: {error}", to.display()));
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
    Ok(print(&verdict, output))
}

fn unreadable(error: audit::StoreError) -> Exit {
    complain(format!("couldn't read the ledger: {error}"));
    Exit::Usage
}

fn print(verdict: &audit::verify::Verdict, output: Output) -> Exit {
    match output {
        Output::Human => say(verdict.to_string().trim_end()),
        Output::Json => say(verdict.json()),
    }
    if verdict.is_ok() { Exit::Ok } else { Exit::CheckFailed }
}
