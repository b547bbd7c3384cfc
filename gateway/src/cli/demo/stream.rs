//! A stream with personal data in it: Nexmark's people, auctions and bids, with countries, birth
//! dates and addresses added, published as NDJSON.

use std::collections::BTreeMap;

use nexmark::{
    EventGenerator,
    config::NexmarkConfig,
    event::{Auction, Bid, Event, Person},
};
use serde_json::json;

use super::{DemoError, client::Client};

/// Events of one request.
const REQUEST_EVENTS: usize = 2_000;
/// Where members live; the weights are how often each is listed here. One in forty is Chinese, for
/// whom no region is home, and one in forty says nothing of a country.
const COUNTRIES: [&str; 40] = [
    "DE", "DE", "DE", "DE", "DE", "DE", "DE", "DE", "FR", "FR", "FR", "FR", "FR", "FR", "NL", "NL",
    "NO", "NO", "IT", "IT", "US", "US", "US", "US", "US", "US", "US", "US", "US", "US", "US", "US",
    "BR", "BR", "BR", "BR", "BR", "BR", "CN", "",
];

/// What became of the stream.
#[derive(Default)]
pub(super) struct Tally {
    pub published: u64,
    pub seconds: f64,
    /// Delivered records by topic.
    pub accepted: BTreeMap<&'static str, u64>,
    /// Record copies by region.
    pub regions: BTreeMap<String, u64>,
    /// Refused records by topic, code and rule.
    pub refused: BTreeMap<(&'static str, String, String), u64>,
    /// A delivered person as it was sent, and where it went: region, partition, offset.
    pub person: Option<(String, String, u64, u64)>,
    /// A delivered bid's place in the first region.
    pub bid: Option<(String, u64, u64)>,
}

fn country(member: usize) -> &'static str {
    COUNTRIES.get(member.wrapping_mul(7) % COUNTRIES.len()).copied().unwrap_or("DE")
}

fn person(p: &Person) -> serde_json::Value {
    let (month, day) = (p.id % 12 + 1, p.id % 28 + 1);
    let mut value = json!({
        "id": p.id, "name": p.name, "email": p.email_address, "card": p.credit_card,
        "city": p.city, "country": country(p.id),
        "born": format!("{}-{month:02}-{day:02}", 1940 + p.id % 65),
        "ip": format!("198.51.{}.{}", p.id % 256, p.id / 7 % 256),
        "time": p.date_time, "extra": p.extra,
    });
    if country(p.id).is_empty()
        && let Some(object) = value.as_object_mut()
    {
        object.shift_remove("country");
    }
    json!({ "key": p.id.to_string(), "value": value })
}

fn auction(a: &Auction) -> serde_json::Value {
    json!({ "key": a.id.to_string(), "value": {
        "id": a.id, "item": a.item_name, "description": a.description, "reserve": a.reserve,
        "seller": { "id": a.seller, "country": country(a.seller) }, "time": a.date_time,
    }})
}

fn bid(b: &Bid) -> serde_json::Value {
    json!({ "key": b.auction.to_string(), "value": {
        "auction": b.auction, "price": b.price, "channel": b.channel, "url": b.url,
        "bidder": { "id": b.bidder, "country": country(b.bidder) },
        "terminal": format!("terminal-{}", b.bidder % 50), "time": b.date_time,
    }})
}

/// Publishes `events` events, a request for each full batch of a topic, two topics at a time.
pub(super) async fn publish(
    events: u64,
    accounts: &Client,
    market: &Client,
) -> Result<Tally, DemoError> {
    let progress = Progress::new(events);
    let started = tokio::time::Instant::now();
    let mut tally = Tally::default();
    let mut people = Batch::new("people");
    let mut auctions = Batch::new("auctions");
    let mut bids = Batch::new("bids");
    let generator = EventGenerator::new(NexmarkConfig::default());
    for event in generator.take(usize::try_from(events).unwrap_or(usize::MAX)) {
        let (batch, client, record) = match &event {
            Event::Person(p) => (&mut people, accounts, person(p)),
            Event::Auction(a) => (&mut auctions, market, auction(a)),
            Event::Bid(b) => (&mut bids, market, bid(b)),
        };
        batch.push(&record);
        if batch.lines.len() >= REQUEST_EVENTS {
            batch.send(client, &mut tally).await?;
            progress.at(tally.published);
        }
    }
    people.send(accounts, &mut tally).await?;
    auctions.send(market, &mut tally).await?;
    bids.send(market, &mut tally).await?;
    progress.done(tally.published);
    tally.seconds = started.elapsed().as_secs_f64();
    Ok(tally)
}

struct Batch {
    topic: &'static str,
    lines: Vec<String>,
}

impl Batch {
    fn new(topic: &'static str) -> Self {
        Self { topic, lines: Vec::new() }
    }

    fn push(&mut self, record: &serde_json::Value) {
        self.lines.push(record.to_string());
    }

    async fn send(&mut self, client: &Client, tally: &mut Tally) -> Result<(), DemoError> {
        let lines = std::mem::take(&mut self.lines);
        if lines.is_empty() {
            return Ok(());
        }
        let answer = client.publish(self.topic, lines.join("\n").into_bytes()).await?;
        let mut reports = 0;
        for (report, sent) in answer.lines().zip(&lines) {
            let report: serde_json::Value = serde_json::from_str(report)
                .map_err(|_| DemoError::Request("an answer is not JSON".to_owned()))?;
            tally.count(self.topic, &report, sent);
            reports += 1;
        }
        if reports != lines.len() {
            let last = answer.lines().last().unwrap_or_default().to_owned();
            return Err(DemoError::Request(format!("the stream was cut: {last}")));
        }
        Ok(())
    }
}

impl Tally {
    fn count(&mut self, topic: &'static str, report: &serde_json::Value, sent: &str) {
        self.published += 1;
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let deliveries = report["deliveries"].as_array().map(Vec::as_slice).unwrap_or_default();
        if report["status"] == "delivered" {
            *self.accepted.entry(topic).or_default() += 1;
            for delivery in deliveries {
                *self.regions.entry(text(&delivery["region"])).or_default() += 1;
            }
        } else {
            let error = &report["error"];
            let key = (topic, text(&error["code"]), text(&error["rule"]));
            *self.refused.entry(key).or_default() += 1;
        }
        let place = deliveries.first().map(|d| {
            let number = |value: &serde_json::Value| value.as_u64().unwrap_or_default();
            (text(&d["region"]), number(&d["partition"]), number(&d["offset"]))
        });
        match (topic, place) {
            ("people", Some((region, partition, offset))) if self.person.is_none() => {
                self.person = Some((sent.to_owned(), region, partition, offset));
            }
            ("bids", Some(place)) if self.bid.is_none() && deliveries.len() > 1 => {
                self.bid = Some(place);
            }
            _ => {}
        }
    }
}

/// A bar on a terminal, a line per tenth elsewhere.
struct Progress {
    bar: Option<indicatif::ProgressBar>,
    events: u64,
    tenth: std::cell::Cell<u64>,
}

impl Progress {
    fn new(events: u64) -> Self {
        use std::io::IsTerminal;
        let style = "{bar:40} {pos}/{len} events, {per_sec}, {eta} left";
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = indicatif::ProgressStyle::with_template(style);
            indicatif::ProgressBar::new(events)
                .with_style(style.unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()))
        });
        Self { bar, events, tenth: std::cell::Cell::new(0) }
    }

    fn at(&self, published: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(published);
            return;
        }
        let tenth = published * 10 / self.events.max(1);
        if tenth > self.tenth.replace(tenth) {
            super::eprint(format!("  {} % published", tenth * 10));
        }
    }

    fn done(&self, published: u64) {
        self.at(published);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
