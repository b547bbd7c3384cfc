//! Following a topic of a cluster as a member of a consumer group.
//!
//! The group only says which partitions are whose. A partition's reader keeps its own position
//! business: it seeks when it gets a partition, and records that come from before are its caller's
//! to drop by their offsets.

use std::{collections::BTreeSet, time::Duration};

use krafka::consumer::{Consumer, OffsetAndMetadata, TopicPartition};

use super::{client::Session, errors::Call, number, stored};
use crate::{
    deliver::{Answer, Tail},
    record::{DeliverError, Stored},
};

pub(super) struct KafkaTail {
    pub(super) session: Session,
    pub(super) consumer: Consumer,
    pub(super) topic: String,
    /// Partitions that were sought: records of others are not handed out.
    pub(super) sought: BTreeSet<u32>,
}

impl Tail for KafkaTail {
    fn assigned(&mut self) -> Answer<'_, Result<BTreeSet<u32>, DeliverError>> {
        Box::pin(async move {
            let assignment = self.consumer.assignment().await;
            let ours = assignment.get(&self.topic).into_iter().flatten();
            let ours: BTreeSet<u32> = ours.filter_map(|p| u32::try_from(*p).ok()).collect();
            self.sought.retain(|partition| ours.contains(partition));
            Ok(ours)
        })
    }

    fn seek(&mut self, partition: u32, offset: i64) -> Answer<'_, Result<(), DeliverError>> {
        Box::pin(async move {
            let sought = self.consumer.seek(&self.topic, number(partition)?, offset).await;
            self.session.judged(Call::Ask, sought)?;
            self.sought.insert(partition);
            Ok(())
        })
    }

    fn poll(&mut self, wait: Duration) -> Answer<'_, Result<Vec<(u32, Stored)>, DeliverError>> {
        Box::pin(async move {
            let records = self.session.judged(Call::Ask, self.consumer.poll(wait).await)?;
            let ours = records.iter().filter_map(|record| {
                let partition = u32::try_from(record.partition).ok()?;
                self.sought.contains(&partition).then(|| (partition, stored(record)))
            });
            Ok(ours.collect())
        })
    }

    fn end(&mut self, partition: u32) -> Answer<'_, Result<i64, DeliverError>> {
        Box::pin(async move {
            let marks = self.consumer.fetch_watermarks(&self.topic, number(partition)?).await;
            Ok(self.session.judged(Call::Ask, marks)?.1)
        })
    }

    fn position(&mut self, partition: u32) -> Answer<'_, Result<i64, DeliverError>> {
        Box::pin(async move {
            let at = self.consumer.position(&self.topic, number(partition)?).await;
            at.ok_or_else(|| {
                DeliverError::Unavailable(
                    "the partition is not assigned to this process".to_owned(),
                )
            })
        })
    }

    fn commit(&mut self, partition: u32, offset: i64) -> Answer<'_, Result<(), DeliverError>> {
        Box::pin(async move {
            let at = TopicPartition::new(&*self.topic, number(partition)?);
            let offset = OffsetAndMetadata::new(offset);
            let committed = self.consumer.commit_offsets([(at, offset)]).await;
            self.session.judged(Call::Ask, committed)
        })
    }

    fn close(self: Box<Self>) -> Answer<'static, ()> {
        Box::pin(async move {
            if let Err(error) = self.consumer.close().await {
                tracing::info!(event = "tail-not-closed", %error);
            }
        })
    }
}
