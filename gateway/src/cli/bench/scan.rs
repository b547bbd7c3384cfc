//! Reading what a topic holds, from its begin to its end, until the time is over.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use krafka::consumer::Consumer;
use serde::Serialize;

use super::{
    Args,
    client::Access,
    load::{consumer, rounded},
    watch::{Watch, Watched},
};

const POLL: Duration = Duration::from_millis(500);

#[derive(Serialize)]
pub(super) struct Run {
    connections: usize,
    elapsed_s: f64,
    records: u64,
    records_per_s: f64,
    mb: f64,
    mb_per_s: f64,
    /// How often all consumers together have read the topic to its end.
    passes: u64,
    pub(super) errors: BTreeMap<String, u64>,
    /// The last one is this process.
    watched: Vec<Watched>,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, records_per_s, mb_per_s, elapsed_s, .. } = self;
        write!(
            f,
            "{connections} consumer(s): {records_per_s:.0} records/s, {mb_per_s:.1} MB/s for {elapsed_s:.1} s"
        )?;
        self.errors.iter().try_for_each(|(error, count)| write!(f, "\n  {count} × {error}"))
    }
}

#[derive(Default)]
struct Tally {
    records: u64,
    bytes: u64,
    passes: u64,
    error: Option<String>,
}

pub(super) async fn scan(access: &Access, args: &Args) -> Result<Run, String> {
    let mut consumers = Vec::new();
    for _ in 0..args.connections {
        let consumer = consumer(access, args).await?;
        let ends = at_the_begin(&consumer, &args.topic).await?;
        consumers.push((consumer, ends));
    }
    if args.warm_up_seconds > 0 {
        super::eprint(format!("warming up for {} s", args.warm_up_seconds));
    }
    let all = |seconds: u64, consumers: Vec<(Consumer, Ends)>| {
        let end = Instant::now() + Duration::from_secs(seconds);
        let topic = args.topic.clone();
        let reading = consumers.into_iter().map(move |(consumer, ends)| {
            let topic = topic.clone();
            tokio::spawn(async move {
                let tally = read_until(&consumer, &topic, &ends, end).await;
                ((consumer, ends), tally)
            })
        });
        futures_util::future::try_join_all(reading.collect::<Vec<_>>())
    };
    let warm = all(args.warm_up_seconds, consumers).await.map_err(|e| e.to_string())?;
    let consumers = warm.into_iter().map(|(consumer, _)| consumer).collect();
    let (watch, start) = (Watch::start(&args.watch_pid)?, Instant::now());
    let read = all(args.seconds, consumers).await.map_err(|e| e.to_string())?;
    let elapsed = start.elapsed().as_secs_f64();
    let (mut sum, mut errors) = (Tally::default(), BTreeMap::new());
    for (_, tally) in &read {
        sum.records += tally.records;
        sum.bytes += tally.bytes;
        sum.passes += tally.passes;
        if let Some(error) = &tally.error {
            *errors.entry(error.clone()).or_default() += 1;
        }
    }
    if sum.records == 0 {
        errors.insert("nothing was read: may this principal read the topic?".to_owned(), 1);
    }
    let mb = sum.bytes as f64 / 1e6;
    Ok(Run {
        connections: args.connections,
        elapsed_s: rounded(elapsed),
        records: sum.records,
        records_per_s: rounded(sum.records as f64 / elapsed),
        mb: rounded(mb),
        mb_per_s: rounded(mb / elapsed),
        passes: sum.passes,
        errors,
        watched: watch.end(mb).await,
    })
}

/// Partitions that hold something, with their ends.
type Ends = BTreeMap<i32, i64>;

async fn at_the_begin(consumer: &Consumer, topic: &str) -> Result<Ends, String> {
    let failed = |error: krafka::KrafkaError| format!("topic `{topic}`: {error}");
    let known = consumer.fetch_metadata(Some(topic)).await.map_err(failed)?;
    let partitions = known.topics.iter().flat_map(|topic| &topic.partitions).map(|(id, _)| *id);
    let partitions: Vec<i32> = partitions.collect();
    consumer.assign(topic, partitions.clone()).await.map_err(failed)?;
    let mut ends = Ends::new();
    for partition in partitions {
        let (low, high) = consumer.fetch_watermarks(topic, partition).await.map_err(failed)?;
        consumer.seek_to_beginning(topic, partition).await.map_err(failed)?;
        if high > low {
            ends.insert(partition, high);
        }
    }
    match ends.is_empty() {
        true => Err(format!("topic `{topic}` holds nothing\n  help: publish to it first")),
        false => Ok(ends),
    }
}

async fn read_until(consumer: &Consumer, topic: &str, ends: &Ends, end: Instant) -> Tally {
    let mut tally = Tally::default();
    let mut left = ends.clone();
    while Instant::now() < end {
        match pass(consumer, topic, &mut left, &mut tally).await {
            Ok(()) if left.is_empty() => {
                tally.passes += 1;
                left = ends.clone();
                for partition in ends.keys() {
                    if let Err(error) = consumer.seek_to_beginning(topic, *partition).await {
                        tally.error = Some(error.to_string());
                        return tally;
                    }
                }
            }
            Ok(()) => {}
            Err(error) => {
                tally.error = Some(error.to_string());
                return tally;
            }
        }
    }
    tally
}

/// One poll of it. The end of a partition may hold no records: there its position tells.
async fn pass(
    consumer: &Consumer,
    topic: &str,
    left: &mut Ends,
    tally: &mut Tally,
) -> krafka::Result<()> {
    let records = consumer.poll(POLL).await?;
    for record in &records {
        let length = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, |b| b.len() as u64);
        tally.records += 1;
        tally.bytes += length(&record.key) + length(&record.value);
    }
    for partition in left.keys().copied().collect::<Vec<_>>() {
        let at = consumer.position(topic, partition).await;
        if at.zip(left.get(&partition)).is_some_and(|(at, end)| at >= *end) {
            left.remove(&partition);
        }
    }
    Ok(())
}
