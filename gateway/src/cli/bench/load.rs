//! Publishing on a schedule, and reading back what was published.
//!
//! A record is known again by where its acknowledgment says that it is: what stands between may have changed its key
//! and value.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hdrhistogram::Histogram;
use krafka::{
    Record,
    consumer::Consumer,
    producer::{Acks, DeliveryHandle, Producer, RecordMetadata},
};
use serde::Serialize;
use tokio::{runtime::Handle, sync::mpsc, task::JoinHandle};

use super::{
    Args,
    client::Access,
    watch::{Watch, Watched},
};

const DIGITS: u8 = 3;
const LATENCY_US_MAX: u64 = 600_000_000;
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);
const BUFFER_BYTES: usize = 256 << 20;
/// How long after the end of its schedule a measurement goes on sending what is late.
const LATE_MAX: Duration = Duration::from_secs(10);
/// How long the last records may take to be read back.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// A rate was kept if the last acknowledgment came at most so long after the end of the schedule.
const TAIL_MAX: Duration = Duration::from_millis(500);
const TAIL_PERCENT_MAX: u32 = 2;
const POLL: Duration = Duration::from_millis(100);
/// Records read of which no acknowledgment has come yet, a partition.
const SEEN_MAX: usize = 1_000_000;
/// Different texts of errors that are told apart.
const ERRORS_MAX: usize = 10;

/// One measurement.
pub(super) struct Plan {
    /// Records per second; none: as fast as possible.
    pub(super) rate: Option<u32>,
    pub(super) seconds: Duration,
    pub(super) records: Option<u64>,
}

impl Plan {
    pub(super) fn warm_up(&self, seconds: u64) -> Self {
        Self { rate: self.rate, seconds: Duration::from_secs(seconds), records: None }
    }

    /// How many, and how long that takes by the schedule.
    fn size(&self) -> (u64, Duration) {
        let most = self.records.unwrap_or(u64::MAX);
        let Some(rate) = self.rate.map(f64::from) else { return (most, self.seconds) };
        let records = most.min((rate * self.seconds.as_secs_f64()) as u64).max(1);
        (records, Duration::from_secs_f64(records as f64 / rate))
    }

    /// When a record is due, after the start. Whole milliseconds: a sleep is hardly more exact.
    fn due(&self, n: u64) -> Option<Duration> {
        self.rate.map(|rate| Duration::from_millis(n.saturating_mul(1_000) / u64::from(rate)))
    }
}

#[derive(Serialize)]
pub(super) struct Run {
    /// None: as fast as acknowledgments came; latencies then count from the sending.
    rate_wanted_records_per_s: Option<u32>,
    /// From the first record's time to the last acknowledgment.
    elapsed_s: f64,
    scheduled_records: u64,
    acknowledged_records: u64,
    failed_records: u64,
    /// Whose turn never came, since earlier ones were held up for too long.
    unsent_records: u64,
    acknowledged_records_per_s: f64,
    acknowledged_mb: f64,
    acknowledged_mb_per_s: f64,
    rate_kept: Option<bool>,
    /// By how much the latest record was handed to the client after it was due.
    sent_late_ms_max: f64,
    publish: Latency,
    end_to_end: Option<Latency>,
    /// Acknowledged and not seen by the reader.
    unread_records: Option<u64>,
    errors: BTreeMap<String, u64>,
    /// The last one is this process.
    watched: Vec<Watched>,
}

#[derive(Serialize)]
struct Latency {
    records: u64,
    mean_ms: f64,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    p99_9_ms: f64,
    max_ms: f64,
}

impl Latency {
    fn of(us: &Histogram<u64>) -> Self {
        let at = |quantile| rounded(us.value_at_quantile(quantile) as f64 / 1e3);
        Self {
            records: us.len(),
            mean_ms: rounded(us.mean() / 1e3),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p99_9_ms: at(0.999),
            max_ms: rounded(us.max() as f64 / 1e3),
        }
    }
}

/// To three places.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

impl Run {
    pub(super) fn is_whole(&self) -> bool {
        self.errors.is_empty() && self.failed_records + self.unread_records.unwrap_or(0) == 0
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rate_wanted_records_per_s {
            Some(rate) => write!(f, "at {rate} records/s")?,
            None => write!(f, "as fast as possible")?,
        }
        let (records_per_s, mb_per_s) =
            (self.acknowledged_records_per_s, self.acknowledged_mb_per_s);
        write!(f, ": {records_per_s:.0} records/s, {mb_per_s:.1} MB/s acknowledged")?;
        let mut latency = |name: &str, of: &Latency| {
            let Latency { p50_ms, p99_ms, p99_9_ms, .. } = of;
            write!(f, "; {name} p50 {p50_ms:.1} p99 {p99_ms:.1} p99.9 {p99_9_ms:.1} ms")
        };
        latency("publish", &self.publish)?;
        if let Some(end_to_end) = &self.end_to_end {
            latency("end to end", end_to_end)?;
        }
        if self.rate_kept == Some(false) {
            let (elapsed_s, unsent) = (self.elapsed_s, self.unsent_records);
            write!(f, "\n  the rate was not kept: {elapsed_s} s, {unsent} records never sent")?;
        }
        if !self.is_whole() {
            let unread = self.unread_records.unwrap_or(0);
            write!(f, "\n  {} records failed, {unread} were not read back", self.failed_records)?;
        }
        self.errors.iter().try_for_each(|(error, count)| write!(f, "\n  {count} × {error}"))
    }
}

/// What is known of a partition's records in a measurement. Offsets only grow in both queues.
struct Books {
    /// Whether somebody reads back.
    read: bool,
    publish_us: Histogram<u64>,
    end_to_end_us: Histogram<u64>,
    acked: VecDeque<(i64, Instant)>,
    seen: VecDeque<(i64, Instant)>,
    bytes: u64,
    failed: u64,
    unread: u64,
    last_ack: Option<Instant>,
    errors: BTreeMap<String, u64>,
}

impl Books {
    fn new(read: bool) -> Result<Self, String> {
        let histogram = || Histogram::new_with_max(LATENCY_US_MAX, DIGITS);
        Ok(Self {
            read,
            publish_us: histogram().map_err(|e| e.to_string())?,
            end_to_end_us: histogram().map_err(|e| e.to_string())?,
            acked: VecDeque::new(),
            seen: VecDeque::new(),
            bytes: 0,
            failed: 0,
            unread: 0,
            last_ack: None,
            errors: BTreeMap::new(),
        })
    }

    fn settled(&mut self, due: Instant, bytes: u64, answer: krafka::Result<RecordMetadata>) {
        let now = Instant::now();
        match answer {
            Ok(at) => {
                self.publish_us.saturating_record(us(now.saturating_duration_since(due)));
                self.bytes += bytes;
                self.last_ack = Some(now);
                match (self.read, at.is_success()) {
                    (false, _) => {}
                    (true, true) => self.acked.push_back((at.offset, due)),
                    // There already, and nobody says where.
                    (true, false) => self.unread += 1,
                }
                self.meet();
            }
            Err(error) => {
                self.failed += 1;
                self.error(error.to_string());
            }
        }
    }

    fn seen(&mut self, offset: i64, now: Instant) {
        if self.seen.len() == SEEN_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back((offset, now));
        self.meet();
    }

    /// Offsets that are on one side only belong to others, or never came.
    fn meet(&mut self) {
        while let (Some((acked, due)), Some((seen, at))) = (self.acked.front(), self.seen.front()) {
            let order = acked.cmp(seen);
            if order.is_eq() {
                self.end_to_end_us.saturating_record(us(at.saturating_duration_since(*due)));
            }
            self.unread += u64::from(order.is_lt());
            if order.is_le() {
                self.acked.pop_front();
            }
            if order.is_ge() {
                self.seen.pop_front();
            }
        }
    }

    fn error(&mut self, text: String) {
        let known = self.errors.contains_key(&text) || self.errors.len() < ERRORS_MAX;
        *self.errors.entry(if known { text } else { "others".to_owned() }).or_default() += 1;
    }

    fn add(&mut self, other: Self) {
        // Of the same bounds, so that every value has its place.
        let _added = self.publish_us.add(other.publish_us);
        let _added = self.end_to_end_us.add(other.end_to_end_us);
        self.acked.extend(other.acked);
        self.bytes += other.bytes;
        self.failed += other.failed;
        self.unread += other.unread;
        self.last_ack = self.last_ack.max(other.last_ack);
        for (text, count) in other.errors {
            *self.errors.entry(text).or_default() += count;
        }
    }
}

fn us(of: Duration) -> u64 {
    u64::try_from(of.as_micros()).unwrap_or(u64::MAX)
}

/// By partition.
type Shelf = Arc<Vec<Mutex<Books>>>;

fn open(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a sender needs.
struct Source {
    producer: Producer,
    topic: String,
    values: Vec<Bytes>,
    keys: Vec<Bytes>,
}

pub(super) struct Bench {
    source: Arc<Source>,
    shelf: Shelf,
    in_flight: usize,
    reader: Option<JoinHandle<()>>,
}

impl Bench {
    pub(super) async fn start(
        access: &Access,
        reader: Option<&Access>,
        args: &Args,
    ) -> Result<Self, String> {
        let (values, keys) = super::records(args)?;
        let failed = |error: krafka::KrafkaError| format!("topic `{}`: {error}", args.topic);
        let producer = access.connect().await?.producer().acks(Acks::All).idempotent(true);
        let producer = producer
            .linger(Duration::from_millis(args.linger_ms))
            .batch_size(args.batch_bytes)
            .compression(args.compression.into())
            .buffer_memory(BUFFER_BYTES)
            .max_block(DELIVERY_TIMEOUT)
            .delivery_timeout(DELIVERY_TIMEOUT)
            .metrics_push(false);
        let producer = producer.build().await.map_err(failed)?;
        let partitions = producer.partitions_for(&args.topic).await.map_err(failed)?.len();
        let read_back = reader.is_some();
        let shelf = (0..partitions).map(|_| Ok(Mutex::new(Books::new(read_back)?)));
        let shelf = Arc::new(shelf.collect::<Result<Vec<_>, String>>()?);
        let reader = match reader {
            Some(access) => {
                let consumer = consumer(access, args).await?;
                let all: Vec<i32> = (0..partitions as i32).collect();
                consumer.assign(&args.topic, all.clone()).await.map_err(failed)?;
                for partition in all {
                    let end = consumer.fetch_watermarks(&args.topic, partition).await;
                    let (_, end) = end.map_err(failed)?;
                    consumer.seek(&args.topic, partition, end).await.map_err(failed)?;
                }
                Some(tokio::spawn(read(consumer, shelf.clone())))
            }
            None => None,
        };
        let source = Arc::new(Source { producer, topic: args.topic.clone(), values, keys });
        Ok(Self { source, shelf, in_flight: args.in_flight, reader })
    }

    pub(super) async fn measure(&self, plan: &Plan, pids: &[u32]) -> Result<Run, String> {
        let watch = Watch::start(pids)?;
        let room = (self.in_flight / self.shelf.len()).max(1);
        let (queues, settling): (Vec<_>, Vec<_>) = (0..self.shelf.len())
            .map(|partition| {
                let (queue, waiting) = mpsc::channel(room);
                (queue, tokio::spawn(settle(waiting, self.shelf.clone(), partition)))
            })
            .unzip();
        let (source, shelf, start) = (self.source.clone(), self.shelf.clone(), Instant::now());
        let (records, planned) = plan.size();
        let plan = Plan { records: Some(records), seconds: planned, rate: plan.rate };
        let rate = plan.rate;
        // A thread of its own, which sleeps more exactly than the runtime's timer.
        let sending = tokio::task::spawn_blocking(move || {
            source.send(&plan, start, &queues, &shelf, &Handle::current())
        });
        let sent = sending.await.map_err(|e| e.to_string())?;
        for settling in settling {
            settling.await.map_err(|e| e.to_string())?;
        }
        if self.reader.is_some() {
            self.drained().await;
        }
        let read = self.reader.is_some();
        let mut all = Books::new(read)?;
        for books in self.shelf.iter() {
            all.add(std::mem::replace(&mut *open(books), Books::new(read)?));
        }
        let scheduled = if rate.is_some() { records } else { sent.records };
        let latest = start + planned + TAIL_MAX.max(planned * TAIL_PERCENT_MAX / 100);
        let kept = sent.records == scheduled && all.last_ack.is_some_and(|last| last <= latest);
        Ok(self.report(rate.map(|rate| (rate, kept)), scheduled, start, &sent, all, watch).await)
    }

    /// Waits until all that was acknowledged has been read, or for as long as that may take.
    async fn drained(&self) {
        let end = Instant::now() + DRAIN_MAX;
        while Instant::now() < end && self.shelf.iter().any(|books| !open(books).acked.is_empty()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn report(
        &self,
        rate: Option<(u32, bool)>,
        scheduled: u64,
        start: Instant,
        sent: &Sent,
        all: Books,
        watch: Watch,
    ) -> Run {
        let elapsed = all.last_ack.map_or(Duration::ZERO, |last| last - start).as_secs_f64();
        let by_s = |count: f64| if elapsed > 0.0 { rounded(count / elapsed) } else { 0.0 };
        let (acknowledged, mb) = (all.publish_us.len(), all.bytes as f64 / 1e6);
        let read = self.reader.is_some();
        Run {
            rate_wanted_records_per_s: rate.map(|(rate, _)| rate),
            elapsed_s: rounded(elapsed),
            scheduled_records: scheduled,
            acknowledged_records: acknowledged,
            failed_records: all.failed,
            unsent_records: scheduled - sent.records,
            acknowledged_records_per_s: by_s(acknowledged as f64),
            acknowledged_mb: rounded(mb),
            acknowledged_mb_per_s: by_s(mb),
            rate_kept: rate.map(|(_, kept)| kept),
            sent_late_ms_max: rounded(sent.late_max.as_secs_f64() * 1e3),
            publish: Latency::of(&all.publish_us),
            end_to_end: read.then(|| Latency::of(&all.end_to_end_us)),
            unread_records: read.then_some(all.unread + all.acked.len() as u64),
            errors: all.errors,
            watched: watch.end(mb).await,
        }
    }

    pub(super) async fn close(self) {
        if let Some(reader) = self.reader {
            reader.abort();
        }
        let _closed = self.source.producer.close().await;
    }
}

struct Sent {
    records: u64,
    late_max: Duration,
}

/// A record under way: when it was due, and its bytes.
type Waiting = (Instant, u64, DeliveryHandle);

impl Source {
    fn send(
        &self,
        plan: &Plan,
        start: Instant,
        queues: &[mpsc::Sender<Waiting>],
        shelf: &Shelf,
        runtime: &Handle,
    ) -> Sent {
        let mut sent = Sent { records: 0, late_max: Duration::ZERO };
        let end = start + plan.seconds;
        let all = self.values.iter().cycle().zip(self.keys.iter().cycle());
        let all = all.zip(queues.iter().zip(shelf.iter()).enumerate().cycle());
        for ((value, key), (partition, (queue, books))) in all {
            let mut now = Instant::now();
            let due = plan.due(sent.records).map_or(now, |due| start + due);
            if let Some(early) = due.checked_duration_since(now) {
                std::thread::sleep(early);
                now = Instant::now();
            }
            let late_end = if plan.rate.is_some() { end + LATE_MAX } else { end };
            if Some(sent.records) == plan.records || now >= late_end {
                break;
            }
            sent.records += 1;
            sent.late_max = sent.late_max.max(now.saturating_duration_since(due));
            let record = Record::new(&self.topic, value.clone()).key(key.clone());
            let bytes = (value.len() + key.len()) as u64;
            match runtime.block_on(self.producer.enqueue(record.partition(partition as i32))) {
                Ok(delivery) => {
                    // Its receiver lives as long as this sender.
                    let _taken = queue.blocking_send((due, bytes, delivery));
                }
                Err(error) => {
                    let mut books = open(books);
                    books.failed += 1;
                    books.error(error.to_string());
                }
            }
        }
        sent
    }
}

/// Acknowledgments of a partition come in order.
async fn settle(mut waiting: mpsc::Receiver<Waiting>, shelf: Shelf, partition: usize) {
    let Some(books) = shelf.get(partition) else { return };
    while let Some((due, bytes, delivery)) = waiting.recv().await {
        let answer = delivery.await;
        open(books).settled(due, bytes, answer);
    }
}

async fn read(consumer: Consumer, shelf: Shelf) {
    loop {
        let polled = consumer.poll(POLL).await;
        let now = Instant::now();
        match polled {
            Ok(records) => {
                for record in records {
                    let books = usize::try_from(record.partition).ok().and_then(|n| shelf.get(n));
                    if let Some(books) = books {
                        open(books).seen(record.offset, now);
                    }
                }
            }
            Err(error) => {
                if let Some(books) = shelf.first() {
                    open(books).error(format!("reading: {error}"));
                }
                tokio::time::sleep(POLL).await;
            }
        }
    }
}

/// Without a group, nothing assigned yet.
pub(super) async fn consumer(access: &Access, args: &Args) -> Result<Consumer, String> {
    let consumer = access.connect().await?.consumer_without_group();
    let consumer = consumer
        .fetch_max_bytes(args.fetch_bytes)
        .max_partition_fetch_bytes(args.fetch_bytes)
        .max_poll_records(-1)
        .max_buffered_records(0)
        .metrics_push(false);
    consumer.build().await.map_err(|error| format!("couldn't make a consumer: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_start_does_not_move_the_schedule() {
        let plan = Plan { rate: Some(3_000), seconds: Duration::from_secs(2), records: None };
        assert_eq!(plan.size(), (6_000, Duration::from_secs(2)));
        let due_ms = |n| plan.due(n).unwrap().as_millis();
        assert_eq!([due_ms(0), due_ms(2), due_ms(3), due_ms(5_999)], [0, 0, 1, 1_999]);
        let few = Plan { records: Some(300), ..plan };
        assert_eq!(few.size(), (300, Duration::from_millis(100)));
    }

    #[test]
    fn a_record_is_known_again_by_its_offset_whoever_comes_first() {
        let mut books = Books::new(true).unwrap();
        let now = Instant::now();
        let acked = |books: &mut Books, offset| {
            books.acked.push_back((offset, now));
            books.meet();
        };
        books.seen(5, now); // another's
        books.seen(6, now);
        acked(&mut books, 6);
        acked(&mut books, 7); // hidden from the reader
        acked(&mut books, 8);
        acked(&mut books, 9); // still under way
        books.seen(8, now);
        assert_eq!((books.end_to_end_us.len(), books.unread, books.acked.len()), (2, 1, 1));
    }
}
