//! `sluicegate demo`: the main job, shown. A throwaway setup in a folder, the real service, and
//! a real stream of people, auctions and bids through its own TLS listener; then what became of
//! it. It stays up for trying unless `--once`.

mod client;
mod show;
mod stream;

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Exit, eprint,
    generate::{self, GenerateError},
    load_config, print, runtime,
};
use crate::{
    ambient::Ambient,
    service::Service,
    telemetry::{LogFormat, start_logging},
};
use client::Client;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Keep everything (configuration, policies, certificates, keys, topics, ledger) in this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Exit when everything has been shown, instead of staying up
    #[arg(long)]
    once: bool,
    /// Number of events to publish
    #[arg(long, default_value_t = 120_000, value_name = "N", value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    events: u64,
}

const CONFIG: &str = include_str!("../../../examples/quickstart/sluicegate.yaml");
macro_rules! policy {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../examples/quickstart/policies/", $name)))
    };
}
const POLICIES: [(&str, &str); 8] = [
    policy!("1-words.yaml"),
    policy!("2-datasets.yaml"),
    policy!("3-access.yaml"),
    policy!("4-protection.yaml"),
    policy!("5-transfers.yaml"),
    policy!("6-tests.yaml"),
    policy!("packs/jurisdictions.yaml"),
    policy!("packs/adequacy.yaml"),
];
/// Those that publish and read, or try to.
const CLIENTS: [&str; 4] = ["svc.accounts", "svc.market", "analyst", "ads.partner"];
/// How long the service may take until it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the demo ended early.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error(transparent)]
    Generate(#[from] GenerateError),
    #[error("couldn't create a folder: {0}")]
    Folder(std::io::Error),
    #[error(transparent)]
    Start(#[from] crate::service::StartError),
    #[error("the service did not become ready: {0}")]
    NotReady(String),
    #[error("a request failed: {0}")]
    Request(String),
    #[error("couldn't read the ledger: {0}")]
    Ledger(String),
}

pub(super) fn run(args: &Args) -> Exit {
    start_logging(LogFormat::Text, "warn,sqlx=error,krafka=error");
    let exit = runtime().and_then(|runtime| {
        let exit = runtime.block_on(demo(args));
        runtime.shutdown_background();
        exit
    });
    exit.unwrap_or_else(|exit| exit)
}

async fn demo(args: &Args) -> Result<Exit, Exit> {
    let failed = |error: DemoError| {
        eprint(format!("the demo stopped: {error}"));
        Exit::CheckFailed
    };
    let throwaway = args.dir.is_none();
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => fresh_folder().map_err(failed)?,
    };
    set_up(&dir).map_err(failed)?;
    let config = load_config(&dir.join("sluicegate.yaml"))?;
    let service =
        Service::start(config.clone(), Ambient::system()).await.map_err(|e| failed(e.into()))?;
    let shown = show_all(args, &dir, &config, &service).await;
    if let Err(error) = shown {
        service.stop().await;
        return Err(failed(error));
    }
    if !args.once {
        show::try_next(&dir, &service);
        let _interrupted = tokio::signal::ctrl_c().await;
    }
    service.stop().await;
    if throwaway {
        // Made by this run, under the system's folder for temporary files.
        let _removed = std::fs::remove_dir_all(&dir);
    } else {
        print(format!(
            "\nKept in `{0}`; continue with: sluicegate run --config {0}/sluicegate.yaml",
            dir.display()
        ));
    }
    Ok(Exit::Ok)
}

fn fresh_folder() -> Result<PathBuf, DemoError> {
    let id = Ambient::system().id().map_err(|e| DemoError::Folder(std::io::Error::other(e)))?;
    let name = format!("sluicegate-demo-{}", sluicegate_audit::hex(&id));
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir(&dir).map_err(DemoError::Folder)?;
    Ok(dir)
}

/// Writes what is not there yet, so that a kept folder continues as it was.
fn set_up(dir: &Path) -> Result<(), DemoError> {
    let config = dir.join("sluicegate.yaml");
    if config.exists() {
        return Ok(());
    }
    for (name, text) in POLICIES {
        generate::write(&dir.join("policies").join(name), text)?;
    }
    let certs = dir.join("certs");
    let clients = [&CLIENTS[..], &["auditor", "operator"]].concat();
    generate::certificates(&certs, "auction", &clients)?;
    generate::private_folder(&dir.join("data"))?;
    generate::keyring(&dir.join("keys/keyring.yaml"), &["auction-2026"], &Ambient::system())?;
    let begins_at = free_address(9092);
    let bootstrap = format!("localhost:{}", port(&begins_at));
    let text = CONFIG
        .replace("127.0.0.1:8443", &free_address(8443))
        .replace("127.0.0.1:9443", &free_address(9443))
        .replace("127.0.0.1:9092", &begins_at)
        .replace("localhost:9092", &bootstrap)
        .replace("first: 9093", &format!("first: {}", port(&free_address(9093))));
    generate::kafka_clients(&dir.join("clients"), &certs, &bootstrap, &CLIENTS)?;
    generate::write(&config, &text)?;
    Ok(())
}

fn port(address: &str) -> &str {
    address.rsplit_once(':').map_or("", |(_, port)| port)
}

/// The usual port, or a free one where something listens there already.
fn free_address(port: u16) -> String {
    let wanted = SocketAddr::from(([127, 0, 0, 1], port));
    let bound = TcpListener::bind(wanted)
        .or_else(|_| TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))))
        .and_then(|listener| listener.local_addr());
    bound.unwrap_or(wanted).to_string()
}

async fn show_all(
    args: &Args,
    dir: &Path,
    config: &crate::config::Config,
    service: &Service,
) -> Result<(), DemoError> {
    let certs = dir.join("certs");
    let accounts = Client::new(&certs, "svc.accounts", service)?;
    let market = Client::new(&certs, "svc.market", service)?;
    ready(service).await?;
    show::house(config, service);
    let tally = stream::publish(args.events, &accounts, &market).await?;
    show::tally(&tally);
    show::doors(&certs, service).await?;
    show::before_and_after(&certs, service, &tally).await?;
    show::explained(dir)?;
    show::lineage(config, &tally).await?;
    show::verified(config).await
}

async fn ready(service: &Service) -> Result<(), DemoError> {
    let wait = async {
        while !service.health.troubles().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(READY_TIMEOUT, wait).await {
        Ok(()) => Ok(()),
        Err(_) => {
            let troubles = service.health.troubles().await;
            let troubles: Vec<String> =
                troubles.into_iter().map(|trouble| trouble.detail).collect();
            let troubles = troubles.join(", ");
            let policy = service.health.policy_trouble().unwrap_or_default();
            Err(DemoError::NotReady(format!("{troubles} {policy}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use sluicegate_policies as policies;

    use super::*;

    fn sources(files: &[(&str, &str)]) -> Vec<policies::Source> {
        let source = |(path, text): &(&str, &str)| policies::Source {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        };
        files.iter().map(source).collect()
    }

    #[test]
    fn the_policies_pass_their_own_checks_and_tests() {
        let at = policies::UnixMillis(1_795_500_000_000); // 2026-11-24
        for files in [&POLICIES[..], &super::super::init::POLICIES[..]] {
            let sources = sources(files);
            let report = policies::check(&sources, at);
            assert!(report.diagnostics.is_empty(), "{}", report.render(&sources));
            let bundle = policies::Bundle::compile(&sources).unwrap();
            let tests = policies::run_tests(&bundle, &sources, at);
            assert_eq!(tests.failures(), 0, "{tests}");
            assert!(tests.unexercised.is_empty(), "{tests}");
        }
    }

    #[test]
    fn the_packs_are_those_that_the_language_ships() {
        let text = |name: &str| POLICIES.iter().find(|(file, _)| *file == name).unwrap().1;
        assert_eq!(text("packs/jurisdictions.yaml"), policies::JURISDICTIONS);
        assert_eq!(text("packs/adequacy.yaml"), policies::EU_ADEQUACY);
    }

    #[test]
    fn the_configuration_is_right() {
        assert!(crate::config::parse(CONFIG, Path::new("sluicegate.yaml")).is_ok());
    }
}
