//! How far partitions had come before a batch: where a search for it begins after a crash. Its records' own times do
//! not say that, clients set them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::deliver::Regions;

/// Partitions that are remembered.
const PARTITIONS_MAX: usize = 100_000;

/// Offsets that the ends of a cluster's partitions have reached.
#[derive(Default)]
pub(super) struct Ends(Mutex<HashMap<(Arc<str>, u32), i64>>);

impl Ends {
    /// An offset that the partition's end has reached; -1 if the cluster does not say.
    pub(super) async fn before(
        &self,
        regions: &Regions,
        region: &str,
        (topic, partition): (&str, u32),
    ) -> i64 {
        let of = (Arc::from(topic), partition);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&of).copied();
        if let Some(known) = known {
            return known;
        }
        let end = match regions.get(region) {
            Some(pipeline) => pipeline.read(topic, partition, i64::MAX, 0, 0).await,
            None => return -1,
        };
        // A cluster that does not say is not asked again: it says when it has a batch.
        let end = end.map_or(-1, |page| page.end);
        self.reached(of.0, partition, end);
        end
    }

    /// A batch ended there. It may have come before others: any end that was reached will do.
    pub(super) fn reached(&self, topic: Arc<str>, partition: u32, end: i64) {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ends.len() >= PARTITIONS_MAX {
            ends.clear();
        }
        ends.insert((topic, partition), end);
    }
}
