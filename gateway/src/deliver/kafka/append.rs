//! Records on their way into a cluster: in order within a topic, topics side by side, and in
//! smaller batches where a topic refuses larger ones.

use std::sync::Arc;

use krafka::producer::{DeliveryConfirmation, RecordMetadata};

use super::{Kafka, client::Session, errors::Call, record, topics::Topic};
use crate::record::{DeliverError, Outbound, Placed, Sending, bytes_of};

/// A batch that was refused for its size goes out again in batches of this share.
const SHRINK: usize = 4;
/// Below this, each record is a batch of its own.
const BATCH_BYTES_MIN: usize = 2_048;

type Result<T> = std::result::Result<T, DeliverError>;

impl Kafka {
    pub(super) async fn append_all(&self, sending: Sending) -> Vec<Result<Placed>> {
        let session = match self.client.session().await {
            Ok(session) => session,
            Err(error) => return vec![Err(error); sending.len()],
        };
        let topic = self.topics.get(sending.topic(), self.client.batch_bytes());
        append(&session, &topic, &sending).await
    }
}

/// Appends copies to their topic. Those that were refused for the size of their batch go out again
/// in smaller ones, until only records that are too large alone are left.
async fn append(session: &Session, topic: &Arc<Topic>, sending: &Sending) -> Vec<Result<Placed>> {
    if let Err(error) = topic.exists(session).await {
        return vec![Err(error); sending.len()];
    }
    let mut batch_bytes = topic.batch_bytes();
    let all: Vec<usize> = (0..sending.len()).collect();
    let mut results = round(session, topic, sending, &all, batch_bytes).await;
    let mut shrunk = false;
    loop {
        let in_company = |(n, result): (usize, &Result<Placed>)| {
            let alone = sending.get(n).is_none_or(|record| size(&record) >= batch_bytes);
            (*result == Err(DeliverError::TooLarge) && !alone && batch_bytes > 1).then_some(n)
        };
        let again: Vec<usize> = results.iter().enumerate().filter_map(in_company).collect();
        if again.is_empty() {
            break;
        }
        shrunk = true;
        batch_bytes = match batch_bytes / SHRINK {
            smaller @ BATCH_BYTES_MIN.. => smaller,
            _ => 1,
        };
        let landed = round(session, topic, sending, &again, batch_bytes).await;
        for (n, result) in again.into_iter().zip(landed) {
            if let Some(at) = results.get_mut(n) {
                *at = result;
            }
        }
    }
    // A record that is too large alone explains why its batch was refused; otherwise it was the
    // batch, and the next one need not find that out again.
    if shrunk && !results.contains(&Err(DeliverError::TooLarge)) {
        topic.takes_at_most(batch_bytes);
    }
    results
}

/// Sends some of the copies, by their number.
async fn round(
    session: &Session,
    topic: &Topic,
    sending: &Sending,
    numbers: &[usize],
    batch_bytes: usize,
) -> Vec<Result<Placed>> {
    let producer = session.producer_of(batch_bytes).await;
    let producer = match session.judged(Call::Ask, producer) {
        Ok(producer) => producer,
        Err(error) => return vec![Err(error); numbers.len()],
    };
    let came_in = numbers.iter().any(|n| sending.get(*n).is_some_and(|o| o.came_in.is_some()));
    let known = match came_in {
        true => producer.partitions_for(sending.topic()).await.map(|known| known.len()),
        false => Ok(0),
    };
    let partitions = match session.judged(Call::Ask, known) {
        Ok(partitions) => u32::try_from(partitions).unwrap_or(u32::MAX),
        Err(error) => return vec![Err(error); numbers.len()],
    };
    let mut pending = Vec::with_capacity(numbers.len());
    {
        let _order = topic.order.lock().await;
        let mut blocked: Option<DeliverError> = None;
        for outbound in numbers.iter().filter_map(|n| sending.get(*n)) {
            // Behind a record that could not be queued nothing else may be: it would pass it.
            if let Some(error) = &blocked {
                pending.push(Err(error.clone()));
                continue;
            }
            let queued = producer.enqueue(record(sending.topic(), outbound, partitions)).await;
            let queued = session.judged(Call::Enqueue, queued);
            blocked = queued.as_ref().err().filter(|error| error.is_retriable()).cloned();
            pending.push(queued);
        }
    }
    let mut results = Vec::with_capacity(pending.len());
    for delivery in pending {
        results.push(match delivery {
            Ok(handle) => session.judged(Call::Deliver, handle.await).and_then(|at| placed(&at)),
            Err(error) => Err(error),
        });
    }
    results
}

/// At least what the client counts of it is more: a record of a batch's size has a batch alone.
fn size(outbound: &Outbound<'_>) -> usize {
    let bytes = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, |bytes| bytes.len());
    bytes(&outbound.key) + bytes(&outbound.value) + bytes_of(outbound.headers)
}

fn placed(metadata: &RecordMetadata) -> Result<Placed> {
    let partition = u32::try_from(metadata.partition).unwrap_or_default();
    match metadata.delivery {
        DeliveryConfirmation::Offset => Ok(Placed { partition, offset: metadata.offset }),
        // In the log, but the broker no longer knows where: reconciliation finds it.
        _ => Err(DeliverError::Unknown("written, offset unknown".to_owned())),
    }
}
