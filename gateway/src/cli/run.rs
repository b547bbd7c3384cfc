//! `sluicegate run`: the service, until a signal. The first SIGTERM or SIGINT ends it gracefully,
//! the second at once; SIGHUP reads policies, keys and certificates again.

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, eprint, load_config_as, print, runtime};
use crate::{
    ambient::Ambient,
    config::Config,
    service::Service,
    telemetry::{COMMIT, LogFormat, VERSION, start_logging},
};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// This process's name; overrides the configuration and SLUICEGATE_NODE
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// The ledger or a region was restored from a copy: block every open period of releases
    ///
    /// For one start. Periods that had begun by then stay blocked, and older windows are published
    /// only if `sluicegate budget draw-older` asked for them.
    #[arg(long)]
    restored: bool,
    /// Format of the log on standard error
    #[arg(long, default_value = "json", value_name = "FORMAT", value_parser = ["text", "json"])]
    log: String,
    /// Which events are logged, in tracing's directive syntax
    #[arg(long, default_value = "info,krafka=error,sqlx=error", value_name = "FILTER")]
    log_filter: String,
}

pub(super) fn run(args: &Args) -> Exit {
    let format = if args.log == "text" { LogFormat::Text } else { LogFormat::Json };
    start_logging(format, &args.log_filter);
    let mut config = match load_config_as(&args.config, args.node.clone()) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    config.releases.restored = args.restored;
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let exit = runtime.block_on(serve(config));
    runtime.shutdown_background();
    exit
}

async fn serve(config: Config) -> Exit {
    let (node, digest) = (config.node.clone(), config.digest.clone());
    tracing::info!(event = "starting", version = VERSION, commit = COMMIT, node, config = digest);
    let service = match Service::start(config, Ambient::system()).await {
        Ok(service) => service,
        Err(error) => {
            eprint(format!("couldn't start: {error}"));
            return Exit::CheckFailed;
        }
    };
    let listening = serde_json::json!({
        "event": "listening",
        "data": service.data.to_string(),
        "admin": service.admin.to_string(),
    });
    print(listening);
    tracing::info!(event = "listening", data = %service.data, admin = %service.admin);
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            eprint(format!("couldn't listen for signals: {error}"));
            service.stop().await;
            return Exit::CheckFailed;
        }
    };
    let mut refused = std::pin::pin!(service.refused());
    let exit = loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Reload => service.reload(),
                Signal::Stop => break Exit::Ok,
            },
            error = &mut refused => {
                eprint(format!("couldn't start: {error}"));
                break Exit::CheckFailed;
            }
        }
    };
    tracing::info!(event = "stopping");
    tokio::select! {
        () = service.stop() => {
            tracing::info!(event = "stopped");
            exit
        }
        () = signals.stop() => {
            tracing::warn!(event = "forced-shutdown");
            Exit::CheckFailed
        }
    }
}

enum Signal {
    Reload,
    Stop,
}

struct Signals {
    hangup: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hangup.recv() => Signal::Reload,
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
        }
    }

    async fn stop(&mut self) {
        while matches!(self.next().await, Signal::Reload) {}
    }
}
