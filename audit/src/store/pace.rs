//! How fast a long reading goes: as fast as it can where nobody writes, and a part of the time
//! beside a writer, who has records waiting while a reading has nothing that waits.

use std::time::{Duration, Instant};

use super::{Store, StoreError};
use crate::ChainHead;

/// Work without a pause, which the pauses are made of.
const SLICE: Duration = Duration::from_millis(5);
/// Beside a writer, pauses are this many times as long as the work before them.
const PAUSE_PER_WORK: u32 = 3;
/// How often it is looked whether somebody writes.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) struct Pace {
    heads: Vec<ChainHead>,
    looked: Instant,
    /// When the last pause ended.
    since: Instant,
    is_beside_a_writer: bool,
}

impl Pace {
    pub(crate) async fn new(store: &dyn Store) -> Result<Self, StoreError> {
        let heads = store.heads().await?;
        let now = Instant::now();
        Ok(Self { heads, looked: now, since: now, is_beside_a_writer: false })
    }

    /// Between two pages.
    pub(crate) async fn pause(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        if self.looked.elapsed() >= LOOK_EVERY {
            let heads = store.heads().await?;
            self.is_beside_a_writer = heads != self.heads;
            (self.heads, self.looked) = (heads, Instant::now());
        }
        let worked = self.since.elapsed();
        if worked >= SLICE {
            if self.is_beside_a_writer {
                tokio::time::sleep(worked * PAUSE_PER_WORK).await;
            }
            self.since = Instant::now();
        }
        Ok(())
    }
}
