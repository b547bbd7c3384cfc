//! What is known of each topic: its order, whether the cluster has it, and how large its batches
//! may be.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use krafka::admin::{ConfigResource, DescribeConfigsOptions};
use tokio::{sync::OnceCell, time::Instant};

use super::{client::Session, errors::Call};
use crate::record::DeliverError;

/// Topics that are remembered; those in use always are.
const TOPICS_MAX: usize = 10_000;
/// What a batch is more than the client counts of its records.
const BATCH_OVERHEAD: usize = 256;
/// What the cluster said of a topic is asked for again after this, if the topic is wanted.
const ASK_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Topic {
    name: Arc<str>,
    /// Keeps records of different requests from interleaving within their batches, so that the
    /// order of enqueueing is the order of requests.
    pub(super) order: tokio::sync::Mutex<()>,
    batch_bytes: AtomicUsize,
    /// Set when the cluster was asked how large the topic's batches may be.
    limited: OnceCell<()>,
    said: Mutex<Option<Said>>,
}

/// What the cluster said last.
struct Said {
    exists: bool,
    at: Instant,
    /// A missing topic is being asked for in the background.
    asking: bool,
}

impl Topic {
    pub(super) fn batch_bytes(&self) -> usize {
        self.batch_bytes.load(Ordering::Relaxed)
    }

    /// Larger batches are refused for their size alone.
    pub(super) fn takes_at_most(&self, batch_bytes: usize) {
        self.batch_bytes.fetch_min(batch_bytes, Ordering::Relaxed);
    }

    fn said(&self) -> MutexGuard<'_, Option<Said>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when the cluster has said that it has the topic. Waits for nothing but the
    /// cluster, under no lock; of a topic that is known to be missing it asks in the background.
    pub(super) async fn exists(self: &Arc<Self>, session: &Session) -> Result<(), DeliverError> {
        if let Some(said) = &mut *self.said() {
            let old = said.at.elapsed() >= ASK_AGAIN;
            if said.exists && !old {
                return Ok(());
            }
            if !said.exists {
                if old && !said.asking {
                    said.asking = true;
                    let (topic, session) = (self.clone(), session.clone());
                    tokio::spawn(async move { topic.ask(&session).await });
                }
                return Err(DeliverError::UnknownTopic);
            }
        }
        self.ask(session).await
    }

    /// Batches that the topic takes keep their order, so its limit is asked for before the first
    /// one. A client that may not ask finds out by refusals.
    async fn limit(&self, session: &Session) -> Result<(), DeliverError> {
        let limit = largest_batch(session, &self.name).await?;
        let limit = limit.and_then(|bytes| bytes.checked_sub(BATCH_OVERHEAD)?.checked_ilog2());
        if let Some(power) = limit {
            // In powers of two, for few producers.
            self.takes_at_most(1 << power);
        }
        Ok(())
    }

    async fn ask(&self, session: &Session) -> Result<(), DeliverError> {
        let known = session.producer().partitions_for(&self.name).await;
        let mut known = session.judged(Call::Ask, known).map(|_| ());
        if known.is_ok() {
            known = self.limited.get_or_try_init(|| self.limit(session)).await.map(|_| ());
        }
        let said = |exists| Said { exists, at: Instant::now(), asking: false };
        *self.said() = match &known {
            Ok(()) => Some(said(true)),
            Err(DeliverError::UnknownTopic) => Some(said(false)),
            Err(_) => None,
        };
        known
    }
}

/// What the topic takes as one batch, if the cluster says.
pub(super) async fn largest_batch(
    session: &Session,
    topic: &str,
) -> Result<Option<usize>, DeliverError> {
    let options = DescribeConfigsOptions::default();
    let topic = [ConfigResource::topic(topic)];
    let described = session.kafka().admin().describe_configs(topic, options).await;
    let described = session.judged(Call::Ask, described)?;
    let mut entries = described.into_values().flatten().flatten();
    let limit = entries.find(|entry| entry.name == "max.message.bytes");
    Ok(limit.and_then(|entry| entry.value?.parse().ok()))
}

/// The topics of one cluster.
#[derive(Default)]
pub(super) struct Topics(Mutex<HashMap<Arc<str>, Arc<Topic>>>);

impl Topics {
    pub(super) fn get(&self, name: &Arc<str>, batch_bytes: usize) -> Arc<Topic> {
        let mut topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = topics.get(name) {
            return topic.clone();
        }
        if topics.len() >= TOPICS_MAX {
            topics.retain(|_, topic| Arc::strong_count(topic) > 1);
        }
        let topic = Arc::new(Topic {
            name: name.clone(),
            order: Default::default(),
            batch_bytes: AtomicUsize::new(batch_bytes),
            limited: OnceCell::new(),
            said: Mutex::default(),
        });
        topics.insert(name.clone(), topic.clone());
        topic
    }
}
