//! The way out. One trait, two engines; [`deliver`] accepts only what the ledger has recorded.
//!
//! INVARIANT: an [`Outbound`] is made from a [`crate::record::Recorded`] and from nothing else
//! (its field `proof` has no other maker), so a record that was not decided, protected and
//! recorded cannot leave.

mod embedded;
mod kafka;
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

use bytes::Bytes;
use sluicegate_audit::Position;

pub use embedded::Embedded;
pub use kafka::Kafka;
use troubles::Troubles;

use crate::record::ToRegion;

/// The header that ties a delivered record to its ledger entry: a [`Position`] in 28 bytes.
pub const POSITION_HEADER: &str = "sluicegate-position";
/// Headers that begin so belong to the gateway; a publisher's own are refused.
pub const RESERVED_HEADER_PREFIX: &str = "sluicegate-";

/// What a trait method of an engine returns.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A protected, recorded record on its way into one region.
#[derive(Clone)]
pub struct Outbound {
    pub position: Position,
    pub topic: Arc<str>,
    pub key: Option<Bytes>,
    pub headers: Vec<(String, Vec<u8>)>,
    /// `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Made by [`crate::record::Recorded`] alone.
    pub proof: crate::record::IsRecorded,
}

/// A record's place in a region's topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub partition: u32,
    pub offset: i64,
}

/// Why a record was not delivered. What is shown is a fixed text for each code, for publishers;
/// [`DeliverError::cause`] is for the log: our words and the engine's, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliverError {
    /// Not written; try again later.
    #[error("the region's pipeline is not available")]
    Unavailable(String),
    /// Perhaps written: only reconciliation can tell.
    #[error("the region's pipeline did not answer in time")]
    Unknown(String),
    /// Until the operator creates it.
    #[error("the topic does not exist in the region's pipeline")]
    UnknownTopic,
    /// Not written, until the operator changes rights, credentials or settings.
    #[error("the region's pipeline denied the gateway access")]
    Denied(String),
    #[error("the record is too large for the topic")]
    TooLarge,
    /// The record is not what the topic takes.
    #[error("the region's pipeline refuses the record as it is")]
    Refused(String),
    /// The request was interrupted, and what is left of it may no longer leave.
    #[error("the policy changed after the request was interrupted; publish again under a new key")]
    PolicyChanged,
}

impl DeliverError {
    /// A stable word for ledger, answers and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "pipeline-unavailable",
            Self::Unknown(_) => "pipeline-unknown",
            Self::UnknownTopic => "pipeline-unknown-topic",
            Self::Denied(_) => "pipeline-denied",
            Self::TooLarge => "pipeline-too-large",
            Self::Refused(_) => "pipeline-refused",
            Self::PolicyChanged => "policy-changed",
        }
    }

    /// Whether the same record may succeed later, perhaps after an operator's work. What is final
    /// is named here; everything else is not.
    pub fn is_retriable(&self) -> bool {
        !matches!(self, Self::TooLarge | Self::Refused(_) | Self::PolicyChanged)
    }

    /// What the engine said, for the log.
    pub fn cause(&self) -> &str {
        match self {
            Self::Unavailable(why)
            | Self::Unknown(why)
            | Self::Denied(why)
            | Self::Refused(why) => why,
            Self::UnknownTopic => "the topic does not exist",
            Self::TooLarge => "the record is too large",
            Self::PolicyChanged => "the policy changed",
        }
    }
}

/// A record read back.
pub struct Stored {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub value: Option<Bytes>,
}

impl Stored {
    pub fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(n, v)| n.len() + v.len()).sum();
        let length = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        length(&self.key) + length(&self.value) + headers
    }
}

/// One stretch of a partition.
pub struct Page {
    pub records: Vec<Stored>,
    /// The offset that the next record of the partition will get.
    pub end: i64,
}

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

/// One region's pipeline.
pub trait Pipeline: Send + Sync {
    /// Appends in order and answers for each record, in order, when it is durable. A record
    /// whose key equals an earlier one's comes after it in the same partition.
    fn append(&self, batch: Vec<Outbound>) -> Answer<'_, Vec<Result<Placed, DeliverError>>>;

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
    /// `since_ms` is a time before the intents, to bound the search.
    fn find<'a>(
        &'a self,
        topic: &'a str,
        wanted: &'a BTreeSet<Position>,
        since_ms: i64,
    ) -> Answer<'a, Result<BTreeMap<Position, Placed>, DeliverError>>;

    /// Makes a topic if it is not there, and says how many partitions it has. Of a new topic
    /// records are kept for `keep_ms`, if that is given.
    fn ensure<'a>(
        &'a self,
        topic: &'a str,
        keep_ms: Option<i64>,
    ) -> Answer<'a, Result<u32, DeliverError>>;

    /// The offset of a partition's first record of this time or later; its end if there is none.
    fn offset_at<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        ms: i64,
    ) -> Answer<'a, Result<i64, DeliverError>>;

    /// Follows a topic; with `group`, shares its partitions with others of that name.
    fn tail<'a>(
        &'a self,
        topic: &'a str,
        group: Option<&'a str>,
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

/// What became of one copy of one record.
#[derive(Clone)]
pub struct Landing {
    pub leaf: u32,
    pub region: Arc<str>,
    pub topic: Arc<str>,
    pub result: Result<Placed, DeliverError>,
}

/// Sends each copy of each recorded record to its region, regions side by side, and waits for
/// all of them. Only copies whose ledger intent is durable exist here.
pub async fn deliver(batches: Vec<ToRegion>, regions: &Regions) -> Vec<Landing> {
    let per_region = batches.into_iter().map(|batch| one_region(batch, regions));
    futures_util::future::join_all(per_region).await.into_iter().flatten().collect()
}

async fn one_region(batch: ToRegion, regions: &Regions) -> Vec<Landing> {
    let ToRegion { region, outbound } = batch;
    let leaves: Vec<(u32, Arc<str>)> =
        outbound.iter().map(|o| (o.position.leaf, o.topic.clone())).collect();
    let results = match regions.get(&region) {
        Some(pipeline) => pipeline.append(outbound).await,
        None => {
            let error = DeliverError::Unavailable(format!("region `{region}` has no pipeline"));
            vec![Err(error); leaves.len()]
        }
    };
    let landing = |((leaf, topic), result)| Landing { leaf, region: region.clone(), topic, result };
    let landings: Vec<Landing> = leaves.into_iter().zip(results).map(landing).collect();
    regions.0.troubles.note_landings(&region, &landings);
    landings
}

#[cfg(test)]
mod tests {
    use super::DeliverError;

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
