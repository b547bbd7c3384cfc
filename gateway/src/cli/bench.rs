//! `sluicegate bench`: publishes to a Kafka address at a fixed rate, or reads from it, and measures. Any address will
//! do: a broker's and then a gateway's, side by side.
//!
//! INVARIANT: a latency counts from when its record was due, not from when it could be sent. A stall so shows in
//! every record that it held up (no "coordinated omission").

mod client;
mod load;
mod scan;
mod watch;

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use krafka::Compression;
use serde::Serialize;

use super::{Exit, Output, eprint, print, runtime};
use crate::{files, telemetry::COMMIT};
use client::Access;
use load::{Bench, Plan};

/// Of the files of values and keys.
const TEMPLATE_BYTES_MAX: u64 = 64 << 20;
/// Different records that are made where no file gives them.
const DEFAULT_RECORDS: usize = 1_000;
const EXAMPLE: &str = "\
Examples:
  sluicegate bench --config direct.properties --topic people --rate 1000,5000,20000 -o json
  sluicegate bench --config gateway.properties --topic people --max --publish-only --watch-pid 4711
  sluicegate bench --config gateway.properties --topic people --consume-only

A latency counts from when its record was due. Records are due in steps of a millisecond. MB are
1,000,000 bytes of keys and values, before compression. The exit code is 1 if records failed or
were not read back; a rate that could not be kept is said, and is no error.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Args {
    /// Settings of a Java client: bootstrap.servers, security.protocol, ssl.* (PEM), sasl.*
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The same for the one that reads back, if it is another principal
    #[arg(long, value_name = "FILE", conflicts_with = "publish_only")]
    reader_config: Option<PathBuf>,
    /// Brokers, instead of bootstrap.servers
    #[arg(long, value_name = "HOST:PORT,…")]
    bootstrap: Option<String>,
    /// The topic, which must exist
    #[arg(long, value_name = "NAME")]
    topic: String,
    /// Records per second; several are measured one after the other
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Vec<u32>,
    /// As fast as acknowledgments come, instead of at a rate
    #[arg(long, conflicts_with = "rate")]
    max: bool,
    /// How long each measurement takes
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// End each measurement after so many records, if they come before its time is over
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    records: Option<u64>,
    /// How long each measurement is preceded by one that is not counted
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=600))]
    warm_up_seconds: u64,
    /// Values, one a line, used in turns; without it, people with an id, name, email and country
    #[arg(long, value_name = "FILE")]
    values: Option<PathBuf>,
    /// Keys, one a line, used in turns
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Bytes of a batch, at most
    #[arg(long, value_name = "N", default_value_t = 256 << 10)]
    batch_bytes: usize,
    /// How long a batch waits for more records
    #[arg(long, value_name = "N", default_value_t = 5)]
    linger_ms: u64,
    /// How batches are compressed
    #[arg(long, value_enum, default_value = "none")]
    compression: Codec,
    /// Records that may wait for their acknowledgment, over all partitions
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    in_flight: usize,
    /// Don't read the records back
    #[arg(long)]
    publish_only: bool,
    /// Publish nothing: read what the topic holds, again and again
    #[arg(long, conflicts_with_all = ["publish_only", "max", "rate", "records"])]
    consume_only: bool,
    /// Consumers, each with a connection of its own
    #[arg(long, value_name = "N", default_value_t = 1, requires = "consume_only")]
    connections: usize,
    /// Bytes that a fetch asks for, in all and of a partition
    #[arg(long, value_name = "N", default_value_t = 1 << 20)]
    fetch_bytes: i32,
    /// Processes whose CPU time and memory are measured too
    #[arg(long, value_name = "PID", num_args = 1..)]
    watch_pid: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::None => Self::None,
            Codec::Gzip => Self::Gzip,
            Codec::Snappy => Self::Snappy,
            Codec::Lz4 => Self::Lz4,
        }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    commit: &'static str,
    bootstrap: &'a str,
    topic: &'a str,
    batch_bytes: usize,
    linger_ms: u64,
    compression: Codec,
    fetch_bytes: i32,
    in_flight_records_max: usize,
    warm_up_s: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    published: Vec<load::Run>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumed: Option<scan::Run>,
}

pub(super) fn run(args: &Args, output: Output) -> Exit {
    let ran = runtime().and_then(|runtime| {
        let exit = runtime.block_on(bench(args, output)).map_err(|why| {
            eprint(format!("couldn't measure: {why}"));
            Exit::CheckFailed
        });
        runtime.shutdown_background();
        exit
    });
    ran.unwrap_or_else(|exit| exit)
}

async fn bench(args: &Args, output: Output) -> Result<Exit, String> {
    let access = Access::of(args.config.as_deref(), args.bootstrap.as_deref())?;
    let mut report = Report {
        commit: COMMIT,
        bootstrap: &access.bootstrap,
        topic: &args.topic,
        batch_bytes: args.batch_bytes,
        linger_ms: args.linger_ms,
        compression: args.compression,
        fetch_bytes: args.fetch_bytes,
        in_flight_records_max: args.in_flight,
        warm_up_s: args.warm_up_seconds,
        published: Vec::new(),
        consumed: None,
    };
    let mut whole = true;
    if args.consume_only {
        let run = scan::scan(&access, args).await?;
        whole &= run.errors.is_empty();
        say(output, &run);
        report.consumed = Some(run);
    } else {
        let reader = match (&args.reader_config, args.publish_only) {
            (_, true) => None,
            (Some(file), _) => Some(Access::of(Some(file), None)?),
            (None, _) => Some(access.clone()),
        };
        let bench = Bench::start(&access, reader.as_ref(), args).await?;
        for plan in plans(args) {
            if args.warm_up_seconds > 0 {
                eprint(format!("warming up for {} s", args.warm_up_seconds));
                let run = bench.measure(&plan.warm_up(args.warm_up_seconds), &[]).await?;
                if !run.is_whole() {
                    eprint(format!("warming up {run}"));
                }
            }
            eprint("measuring");
            let run = bench.measure(&plan, &args.watch_pid).await?;
            whole &= run.is_whole();
            say(output, &run);
            report.published.push(run);
        }
        bench.close().await;
    }
    if output == Output::Json {
        print(serde_json::to_string_pretty(&report).map_err(|e| e.to_string())?);
    }
    Ok(if whole { Exit::Ok } else { Exit::CheckFailed })
}

/// A line to whoever waits; the result itself, if it is for people.
fn say(output: Output, run: &impl std::fmt::Display) {
    match output {
        Output::Human => print(run),
        Output::Json => eprint(run),
    }
}

fn plans(args: &Args) -> Vec<Plan> {
    let seconds = Duration::from_secs(args.seconds);
    let of = |rate| Plan { rate, seconds, records: args.records };
    match args.max {
        true => vec![of(None)],
        false => args.rate.iter().map(|rate| of(Some(*rate))).collect(),
    }
}

/// Lines of a file.
fn lines(file: &std::path::Path) -> Result<Vec<Bytes>, String> {
    let text = files::read(file, TEMPLATE_BYTES_MAX);
    let text = Bytes::from(text.map_err(|why| format!("`{}`: {why}", file.display()))?);
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines: Vec<_> = lines.map(|line| text.slice_ref(line)).collect();
    match lines.is_empty() {
        true => Err(format!("`{}` is empty\n  help: one value or key a line", file.display())),
        false => Ok(lines),
    }
}

fn person(n: usize) -> Bytes {
    let (email, time) = (format!("ann{n}@load.example"), n + 1);
    let text = format!(
        r#"{{"id":{n},"name":"Ann Smith","email":"{email}","country":"DE","time":{time}}}"#
    );
    Bytes::from(text)
}

fn records(args: &Args) -> Result<(Vec<Bytes>, Vec<Bytes>), String> {
    let values = match &args.values {
        Some(file) => lines(file)?,
        None => (0..DEFAULT_RECORDS).map(person).collect(),
    };
    let keys = match &args.keys {
        Some(file) => lines(file)?,
        None => (0..DEFAULT_RECORDS).map(|n| Bytes::from(format!("member-{n}"))).collect(),
    };
    Ok((values, keys))
}
