//! What the ledger knows of a place already.

use super::{Ledger, StoreError};
use crate::{BatchIdentity, Entry, Position, Row};

impl Ledger {
    /// The intent of a batch that is at an offset already, if it is this very batch: by its producer, epoch, sequence and
    /// number of records.
    pub async fn earlier(
        &self,
        batch: &BatchIdentity,
        topic: &str,
        offset: i64,
    ) -> Result<Option<Position>, StoreError> {
        let corrupt = |e: crate::row::RowError| StoreError::Corrupt(e.to_string());
        let BatchIdentity { cluster, partition, .. } = batch;
        for edge in self.store.edges(Some(cluster), topic, *partition, offset).await? {
            let Some(row) = self.store.row(edge.writer, edge.wseq).await? else { continue };
            for entry in Row::decode(&row.bytes).map_err(corrupt)?.entries {
                let Entry::Outcome(outcome) = entry else { continue };
                let is_here = outcome.placed.iter().any(|placement| {
                    let place = (&placement.region, &*placement.topic, placement.partition);
                    let same = place == (cluster, topic, *partition);
                    same && placement.at.iter().any(|at| at.offset == offset)
                });
                let intent = match is_here {
                    true => self.intent(outcome.of).await?,
                    false => None,
                };
                let known = intent.as_ref().and_then(|open| open.intent.batch.first());
                if known.is_some_and(|known| is_same(known, batch)) {
                    return Ok(Some(outcome.of));
                }
            }
        }
        Ok(None)
    }
}

/// What the log's end was says nothing of the batch.
fn is_same(one: &BatchIdentity, other: &BatchIdentity) -> bool {
    BatchIdentity { log_end: other.log_end, ..one.clone() } == *other
}
