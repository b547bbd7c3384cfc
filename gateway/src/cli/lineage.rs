//! `sluicegate lineage`: where a record comes from, where a token went, what a source affected.
//! The question is written into the ledger before it is answered, under the operator's name.

use std::path::PathBuf;

use super::{Exit, Output, eprint, load_config, print, runtime};
use crate::{
    account::Account,
    ambient::Ambient,
    config::Config,
    lineage::{Lineage, Question},
};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration of the gateway that wrote the ledger
    #[arg(long, value_name = "FILE", global = true, default_value = "sluicegate.yaml")]
    config: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

const AFFECTED_EXAMPLE: &str = "\
Example:
  sluicegate lineage affected --source device=7f3a --from 2026-11-30T00:00:00Z";

#[derive(clap::Subcommand)]
enum Verb {
    /// Show where a record came from and where it went
    #[command(after_help = "Example:\n  sluicegate lineage record bids/2/0 --region eu-central")]
    Record {
        /// Where the record is stored
        #[arg(value_name = "TOPIC/PARTITION/OFFSET")]
        place: String,
        /// Only this region
        #[arg(long, value_name = "NAME")]
        region: Option<String>,
    },
    /// Find the records that carry a token
    Token {
        /// The token as it appears in records: `tk1_…`
        #[arg(value_name = "TOKEN")]
        token: String,
    },
    /// Find the records that came from a source
    #[command(after_help = AFFECTED_EXAMPLE)]
    Affected {
        /// A declared source, such as device=7f3a
        #[arg(long, value_name = "KEY=VALUE")]
        source: String,
        /// Start of the time range, inclusive (RFC 3339)
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// End of the time range, exclusive (RFC 3339)
        #[arg(long, value_name = "TIME")]
        to: Option<String>,
    },
}

pub(super) fn run(args: &Args, output: Output) -> Exit {
    let question = match &args.verb {
        Verb::Record { place, region } => Question::record(region.clone(), place),
        Verb::Token { token } => Ok(Question::Token(token.clone())),
        Verb::Affected { source, from, to } => {
            Question::affected(source, from.as_deref(), to.as_deref())
        }
    };
    let question = match question {
        Ok(question) => question,
        Err(error) => {
            eprint(error);
            return Exit::Usage;
        }
    };
    let asked = load_config(&args.config)
        .and_then(|config| runtime()?.block_on(ask(&config, &question, output)));
    asked.unwrap_or_else(|exit| exit)
}

async fn ask(config: &Config, question: &Question, output: Output) -> Result<Exit, Exit> {
    let failed = |error: String| {
        eprint(format!("couldn't ask the ledger: {error}"));
        Exit::Usage
    };
    record(config, question).await.map_err(failed)?;
    let lineage = Lineage::of(config).await.map_err(|e| failed(e.to_string()))?;
    let answer = lineage.ask(question).await.map_err(|e| failed(e.to_string()))?;
    match output {
        Output::Human => print(answer.to_string().trim_end()),
        Output::Json => print(answer.json()),
    }
    Ok(if answer.found.is_empty() && answer.releases.is_empty() {
        Exit::CheckFailed
    } else {
        Exit::Ok
    })
}

/// The reading is an entry of its own chain.
async fn record(config: &Config, question: &Question) -> Result<(), String> {
    let account = Account::beside(config, &Ambient::system()).await?;
    let asked = account.asked_by_operator(question).await.map_err(|e| e.to_string());
    account.close().await;
    asked
}
