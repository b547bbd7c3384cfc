//! The way out. One trait, two engines; [`deliver`] accepts only what the ledger has recorded.
//!
//! INVARIANT: what an engine sends is a [`Sending`], which is made of a lot that the ledger has
//! covered and of nothing else, so that a record that was not decided, protected and recorded
//! cannot leave.

mod embedded;
pub mod kafka;
mod partition;
mod troubles;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use sluicegate_audit::{Position, Recorded};

pub use embedded::{Broker, Embedded, Entry, pack};
pub use kafka::Kafka;
use troubles::Troubles;

use crate::record::{Copy, DeliverError, Page, Placed, Sending, Stored, Verdict, lot};

/// The header that ties a delivered record to its ledger entry: a [`Position`] in 28 bytes.
pub const POSITION_HEADER: &str = "sluicegate-position";
/// The header of a stub: its record went to the regions that it belongs to.
pub const STUB_HEADER: &str = "sluicegate-stub";
/// Headers that begin so belong to the gateway; a publisher's own are refused.
pub const RESERVED_HEADER_PREFIX: &str = "sluicegate-";

/// What a trait method of an engine returns.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Follows the partitions of one topic. Used by one task at a time.
pub trait Tail: Send + Sync {
    /// The partitions that are ours now: all of them, or what the group's coordinator gave us.
    fn assigned(&mut self) -> Answer<'_, Result<BTreeSet<u32>, DeliverError>>;

    /// Continues at an offset; nothing is handed out from a partition that was never sought.
    fn seek(&mut self, partition: u32, offset: i64) -> Answer<'_, Result<(), DeliverError>>;

    /// Records in the order of their partitions, after at most `wait`.
    fn poll(&mut self, wait: Duration) -> Answer<'_, Result<Vec<(u32, Stored)>, DeliverError>>;

    /// The offset that the next record of a partition will get.
    fn end(&mut self, partition: u32) -> Answer<'_, Result<i64, DeliverError>>;

    /// The offset that will be handed out next: everything before it was, or is not there.
    fn position(&mut self, partition: u32) -> Answer<'_, Result<i64, DeliverError>>;

    /// Tells the group how far a partition was read, for those who look at its lag. Nothing goes
    /// on from there.
    fn commit(&mut self, partition: u32, offset: i64) -> Answer<'_, Result<(), DeliverError>>;

    fn close(self: Box<Self>) -> Answer<'static, ()>;
}

/// What a topic is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub partitions: u32,
    /// Bytes of the largest batch that it takes.
    pub batch_bytes: usize,
}

/// Where a search begins: before all that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Since {
    /// In each partition at this time, ms. For records whose times are ours.
    Time(i64),
    /// In this partition alone, at an offset that its end has reached; if that is not there, at its first.
    Offset(u32, i64),
}

/// One region's pipeline.
pub trait Pipeline: Send + Sync {
    /// Appends copies to their topic in order and answers for each, in order, when it is durable.
    /// A record whose key equals an earlier one's follows it in the same partition.
    fn append(&self, sending: Sending) -> Answer<'_, Vec<Result<Placed, DeliverError>>>;

    /// Reads at most `max` records of a partition from an offset on, and no more once they have
    /// `bytes` bytes.
    fn read<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        from: i64,
        max: usize,
        bytes: usize,
    ) -> Answer<'a, Result<Page, DeliverError>>;

    /// Which of these positions the topic holds: the truth behind an intent without outcome.
    fn find<'a>(
        &'a self,
        topic: &'a str,
        wanted: &'a BTreeSet<Position>,
        since: Since,
    ) -> Answer<'a, Result<BTreeMap<Position, Placed>, DeliverError>>;

    /// What a topic is like.
    fn shape<'a>(&'a self, topic: &'a str) -> Answer<'a, Result<Shape, DeliverError>>;

    /// Makes a topic if it is not there, and says how many partitions it has. Of a new topic
    /// records are kept for `keep_ms`, if that is given.
    fn ensure<'a>(
        &'a self,
        topic: &'a str,
        keep_ms: Option<i64>,
    ) -> Answer<'a, Result<u32, DeliverError>>;

    /// The offset of a partition's first record of this time or later; its end if there is none.
    /// No record that arrives after the call began is before it.
    fn offset_at<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        ms: i64,
    ) -> Answer<'a, Result<i64, DeliverError>>;

    /// Follows a topic whose partitions are shared with the group's other members.
    fn tail<'a>(
        &'a self,
        topic: &'a str,
        member: &'a Member,
    ) -> Answer<'a, Result<Box<dyn Tail>, DeliverError>>;

    /// Forgets a partition's records before an offset, where the pipeline keeps them itself.
    fn trim<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        before: i64,
    ) -> Answer<'a, Result<(), DeliverError>>;

    /// `Err` says why the region cannot take records now.
    fn ready(&self) -> Answer<'_, Result<(), DeliverError>>;

    /// Files with credentials that [`Pipeline::reload`] reads.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Takes credentials that have changed.
    fn reload(&self) -> Answer<'_, ()> {
        Box::pin(async {})
    }

    /// Waits for what is under way, within a bound, and lets go.
    fn close(&self) -> Answer<'_, ()>;
}

/// A member of a group that shares a topic's partitions.
pub struct Member {
    pub group: String,
    /// Who starts again under this name has its partitions at once, and nobody else waits.
    pub name: String,
}

/// All regions of this gateway.
#[derive(Clone)]
pub struct Regions(Arc<All>);

struct All {
    pipelines: BTreeMap<Arc<str>, Arc<dyn Pipeline>>,
    troubles: Troubles,
}

impl Regions {
    pub fn new(regions: impl IntoIterator<Item = (Arc<str>, Arc<dyn Pipeline>)>) -> Self {
        let pipelines = regions.into_iter().collect();
        Self(Arc::new(All { pipelines, troubles: Troubles::default() }))
    }

    pub fn get(&self, region: &str) -> Option<&Arc<dyn Pipeline>> {
        self.0.pipelines.get(region)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<dyn Pipeline>)> {
        self.0.pipelines.iter()
    }

    /// The regions that cannot take records now, and why.
    pub async fn unready(&self) -> Vec<(Arc<str>, DeliverError)> {
        let asked = self.iter().map(|(region, pipeline)| async move {
            let ready = pipeline.ready().await;
            self.0.troubles.note(region, None, ready.as_ref().err());
            ready.err().map(|why| (region.clone(), why))
        });
        futures_util::future::join_all(asked).await.into_iter().flatten().collect()
    }

    /// Files with the credentials of all pipelines.
    pub fn files(&self) -> Vec<PathBuf> {
        self.iter().flat_map(|(_, pipeline)| pipeline.files()).collect()
    }

    pub async fn reload(&self) {
        futures_util::future::join_all(self.iter().map(|(_, pipeline)| pipeline.reload())).await;
    }

    pub async fn close(&self) {
        for pipeline in self.0.pipelines.values() {
            pipeline.close().await;
        }
    }
}

/// What became of each copy of a verdict, by lot and number; none of a copy that is not sent yet.
#[derive(Clone)]
pub struct DeliveryResults(Vec<Vec<Option<Result<Placed, DeliverError>>>>);

impl DeliveryResults {
    /// What was kept of another try, if it is of as many copies.
    pub fn of_before(verdict: &Verdict, kept: Option<Self>) -> Option<Self> {
        kept.filter(|kept| kept.fits(verdict))
    }

    pub fn nothing(verdict: &Verdict) -> Self {
        Self(verdict.lots().iter().map(|lot| vec![None; lot.len()]).collect())
    }

    pub fn put(&mut self, lot: usize, number: usize, result: Result<Placed, DeliverError>) {
        if let Some(results) = self.0.get_mut(lot).and_then(|lot| lot.get_mut(number)) {
            *results = Some(result);
        }
    }

    /// Whether it is known what became of a copy.
    pub fn has(&self, lot: usize, number: usize) -> bool {
        self.0.get(lot).and_then(|lot| lot.get(number)).is_some_and(Option::is_some)
    }

    /// What has no result yet has this one.
    pub fn fail_rest(&mut self, error: &DeliverError) {
        for result in self.0.iter_mut().flatten() {
            result.get_or_insert_with(|| Err(error.clone()));
        }
    }

    /// What is there; all else is to be sent. None if of a copy in another lot than `own` it is not known.
    pub fn kept(&self, own: usize) -> Option<Self> {
        let is_unknown = |result: &_| matches!(result, Some(Err(DeliverError::Unknown(_))));
        let mut others = self.0.iter().enumerate().filter(|(lot, _)| *lot != own);
        if others.any(|(_, results)| results.iter().any(is_unknown)) {
            return None;
        }
        let there = |result: &Option<Result<Placed, _>>| result.clone().filter(Result::is_ok);
        Some(Self(self.0.iter().map(|lot| lot.iter().map(there).collect()).collect()))
    }

    fn fits(&self, verdict: &Verdict) -> bool {
        self.0.iter().map(Vec::len).eq(verdict.lots().iter().map(|lot| lot.len()))
    }

    /// Where all copies of a lot are, if they are.
    pub fn placed(&self, lot: usize) -> Option<Vec<Placed>> {
        let copies = self.0.get(lot)?.iter();
        copies.map(|result| result.as_ref()?.as_ref().ok().copied()).collect()
    }

    /// The first error of any copy.
    pub fn error(&self) -> Option<&DeliverError> {
        self.0.iter().flatten().flatten().find_map(|result| result.as_ref().err())
    }

    pub fn of(&self, copy: &Copy) -> Option<&Result<Placed, DeliverError>> {
        self.0.get(copy.lot)?.get(copy.number)?.as_ref()
    }

    /// The first error after which the same copy may still succeed, and the region it is about.
    pub fn retriable<'v>(
        &'v self,
        verdict: &'v Verdict,
    ) -> Option<(&'v Arc<str>, &'v DeliverError)> {
        verdict.lots().iter().zip(&self.0).find_map(|(lot, results)| {
            let mut errors = results.iter().flatten().filter_map(|result| result.as_ref().err());
            Some((&lot.region, errors.find(|error| error.is_retriable())?))
        })
    }
}

/// Sends each copy that is not sent yet to its region, topics and regions side by side, and waits
/// for all of them.
pub async fn deliver(
    recorded: &Recorded<Verdict>,
    results: DeliveryResults,
    regions: &Regions,
) -> DeliveryResults {
    deliver_some(recorded, results, regions, |_| true).await
}

/// The same for some of the lots.
pub async fn deliver_some(
    recorded: &Recorded<Verdict>,
    mut results: DeliveryResults,
    regions: &Regions,
    wanted: impl Fn(usize) -> bool,
) -> DeliveryResults {
    let to_send = results.0.iter().enumerate().filter(|(n, _)| wanted(*n));
    let to_send = to_send.filter_map(|(n, before)| {
        let lot = lot(recorded, n)?;
        let sending = match before.iter().all(Option::is_none) {
            true => Sending::new(lot),
            false => Sending::only(lot, |number| before.get(number).is_some_and(Option::is_none)),
        };
        (!sending.is_empty()).then_some((n, sending))
    });
    let sent = to_send.map(|(n, sending)| async move {
        let numbers: Vec<usize> = (0..sending.len()).map(|i| sending.number(i)).collect();
        (n, numbers, send(sending, regions).await)
    });
    for (n, numbers, sent) in futures_util::future::join_all(sent).await {
        for (number, result) in numbers.into_iter().zip(sent) {
            results.put(n, number, result);
        }
    }
    results
}

/// Sends copies to their region.
pub async fn send(sending: Sending, regions: &Regions) -> Vec<Result<Placed, DeliverError>> {
    let (region, topic, count) = (sending.region().clone(), sending.topic().clone(), sending.len());
    let results = match regions.get(&region) {
        Some(pipeline) => pipeline.append(sending).await,
        None => {
            let error = DeliverError::Unavailable(format!("region `{region}` has no pipeline"));
            vec![Err(error); count]
        }
    };
    regions.0.troubles.note_results(&region, &topic, &results);
    results
}

#[cfg(test)]
mod tests {
    use crate::record::DeliverError;

    #[test]
    fn a_publisher_is_not_told_what_the_engine_said() {
        let said = || "connect to 10.1.2.3:9092: SASL authentication failed".to_owned();
        for error in [
            DeliverError::Unavailable(said()),
            DeliverError::Unknown(said()),
            DeliverError::Denied(said()),
            DeliverError::Refused(said()),
        ] {
            assert_eq!(error.cause(), said());
            let told = error.to_string();
            assert!(!told.contains("10.1.2.3") && !told.contains("SASL"), "{told}");
        }
    }
}
