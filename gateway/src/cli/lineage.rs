//! `sluicegate lineage`: where a record comes from, where a token went, what a source affected.
//! The question is written into the ledger before it is answered, under the operator's name.

use std::path::PathBuf;

use super::{Exit, Output, complain, load_config, runtime, say};
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

#[derive(clap::Subcommand)]
enum Verb {
    /// Where does this record come from?
    Record {
        #[arg(value_name = "TOPIC/PARTITION/OFFSET")]
        place: String,
        /// Only this region
        #[arg(long)]
        region: Option<String>,
    },
    /// Which records carry this token?
    Token {
        #[arg(value_name = "TOKEN")]
        token: String,
    },
    /// What came from this source?
    Affected {
        /// A declared source, such as device=7f3a
        #[arg(long, value_name = "KEY=VALUE")]
        source: String,
        /// The first moment, RFC 3339
        #[arg(long, value_name = "MOMENT")]
        from: Option<String>,
        /// The moment after the last, RFC 3339
        #[arg(long, value_name = "MOMENT")]
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
            complain(error);
            return Exit::Usage;
        }
    };
    let asked = load_config(&args.config)
        .and_then(|config| runtime()?.block_on(ask(&config, &question, output)));
    asked.unwrap_or_else(|exit| exit)
}

async fn ask(config: &Config, question: &Question, output: Output) -> Result<Exit, Exit> {
    let failed = |error: String| {
        complain(format!("couldn't ask the ledger: {error}"));
        Exit::Usage
    };
    record(config, question).await.map_err(failed)?;
    let lineage = Lineage::of(config).map_err(|e| failed(e.to_string()))?;
    let answer = lineage.ask(question).await.map_err(|e| failed(e.to_string()))?;
    match output {
        Output::Human => say(answer.to_string().trim_end()),
        Output::Json => say(answer.json()),
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
