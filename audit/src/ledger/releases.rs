//! Releases and their budget: first the cost is reserved, then the bytes are made durable, then
//! they are published as they were stored.
//!
//! A crash between two of these wastes nothing and spends nothing twice: a reservation is found
//! again by its id, a release by its name, and both are what they were.
//!
//! INVARIANT: no release is durable without a charge of its id, and none of an id besides the one
//! that stands.

use std::sync::Arc;

use super::{Append, AppendError, Appended, Ledger, Recorded};
use crate::{
    BudgetBlocked, BudgetLine, Charge, Digest32, Entry, Position, Refusal, Release,
    ReleasePublished, Row, blob_digest, budget,
    store::{ReleaseAt, Store, StoreError, Url, read_only},
};

/// Published bytes of one release, all blobs together.
pub const RELEASE_BYTES_MAX: usize = 64 << 20;
/// Releases that one look-up lists; the rest by another look-up from the last one's window on.
pub const RELEASES_MAX: usize = 10_000;
/// Releases that [`Ledger::unpublished`] gives at once.
pub const UNPUBLISHED_MAX: usize = 64;

/// Proof that a charge is durable. Only the ledger makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    charge: Charge,
}

impl Reserved {
    pub fn charge(&self) -> &Charge {
        &self.charge
    }
}

/// Why nothing was charged.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Whether it was charged is not known: ask again with the same id.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a release was not made durable, or not marked.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// Another release of the id stands: read it and publish that one.
    #[error("a release with this id already exists: publish the one that is stored")]
    Taken,
    #[error("nothing was reserved for the release's id: reserve its cost first")]
    NotReserved,
    #[error("the charge reserved for the release's id differs from the one it states")]
    OtherCharge,
    #[error(
        "the account's period is blocked, because charges may have been lost: wait for the next period"
    )]
    Blocked,
    #[error("a release publishes at most {RELEASE_BYTES_MAX} bytes: release less at a time")]
    TooLarge,
    /// No such release is at that position.
    #[error("the ledger has no such release at that position")]
    Unknown,
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A release that stands, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRelease {
    pub entry: Release,
    pub at: Position,
    pub published: bool,
}

/// A release that stands, with the bytes to publish.
#[derive(Debug, PartialEq, Eq)]
pub struct StoredRelease {
    pub entry: Release,
    pub published: bool,
    /// As they were given to [`Ledger::release`], in that order, at the release's position.
    pub blobs: Recorded<Vec<Vec<u8>>>,
}

impl Ledger {
    /// Charges an account, durably, or says why not. Idempotent by id: what was charged before is
    /// charged no second time. Safe against other processes on the same store.
    pub async fn reserve(&self, charge: &Charge) -> Result<Reserved, ReserveError> {
        self.store.reserve(charge).await??;
        Ok(Reserved { charge: charge.clone() })
    }

    /// Marks a period of an account as exhausted, for good: nothing more is charged to it, and
    /// nothing that was reserved in it is released any more. Returns when it is durable.
    pub async fn block(&self, blocked: BudgetBlocked) -> Result<Position, AppendError> {
        self.append(Entry::BudgetBlocked(blocked)).await
    }

    /// Makes a release and the bytes to publish durable, in one transaction; nothing may leave
    /// before this has returned. `entry.blobs` and `entry.cap` are set here, from the bytes and
    /// from the reservation.
    ///
    /// [`ReleaseError::Taken`]: another one of the id stands, perhaps from an earlier try that
    /// seemed to fail; publish what [`Ledger::unpublished`] gives.
    pub async fn release(
        &self,
        mut entry: Release,
        blobs: Vec<Vec<u8>>,
    ) -> Result<Appended, ReleaseError> {
        if blobs.iter().map(Vec::len).sum::<usize>() > RELEASE_BYTES_MAX {
            return Err(ReleaseError::TooLarge);
        }
        let stored = self.store.reservation(&entry.id).await?;
        let (charge, is_blocked) = stored.ok_or(ReleaseError::NotReserved)?;
        if !charge.is_same(&Charge::of(&entry)) {
            return Err(ReleaseError::OtherCharge);
        }
        if self.store.release(&entry.id).await?.is_some() {
            return Err(ReleaseError::Taken);
        }
        if is_blocked {
            return Err(ReleaseError::Blocked);
        }
        let blobs: Vec<_> = blobs.into_iter().map(|blob| (blob_digest(&blob), blob)).collect();
        entry.cap = charge.cap;
        entry.blobs = blobs.iter().map(|(digest, _)| Digest32(*digest)).collect();
        let append = Append { blobs: Some(blobs), ..Append::of(Entry::Release(Box::new(entry))) };
        self.send(append).await.map(Appended::at).map_err(|error| match error {
            AppendError::ClaimTaken => ReleaseError::Taken,
            other => ReleaseError::Append(other),
        })
    }

    /// Records that the release at a position has left, and returns when that is
    /// durable. A release that is published again is recorded again.
    pub async fn published(&self, id: [u8; 16], of: Position) -> Result<Position, ReleaseError> {
        let stands = self.store.release(&id).await?;
        if stands.is_none_or(|release| release.at != of) {
            return Err(ReleaseError::Unknown);
        }
        let published = ReleasePublished { id, of };
        Ok(self.append(Entry::ReleasePublished(published)).await?)
    }

    /// Releases that are durable and were not seen to leave, oldest window first, at most
    /// [`UNPUBLISHED_MAX`]: after a crash these are to be published, byte for byte.
    pub async fn unpublished(&self, name: &str) -> Result<Vec<StoredRelease>, StoreError> {
        let mut stored = Vec::new();
        for at in self.store.unpublished(name, limit(UNPUBLISHED_MAX)).await? {
            let ListedRelease { entry, at, published } = self.reader.listed(at).await?;
            let blobs = Appended::at(at).cover(self.reader.blobs(&entry).await?);
            stored.push(StoredRelease { entry, published, blobs });
        }
        Ok(stored)
    }

    /// What is read without writing.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Takes or renews a lease: `Some(epoch)` while it is ours, until `now_us + ttl_us`. The epoch
    /// grows with each new holder, so whoever acts under an older one can be told apart. A holder
    /// names one run of one process: a restart must not continue under its predecessor's epoch.
    pub async fn lease(
        &self,
        name: &str,
        holder: &str,
        now_us: i64,
        ttl_us: i64,
    ) -> Result<Option<u64>, StoreError> {
        self.store.lease(name, holder, now_us, now_us.saturating_add(ttl_us)).await
    }

    /// The store's own clock, by which processes on several machines judge a lease; `None` where
    /// the store is on this machine.
    pub async fn store_clock_us(&self) -> Result<Option<i64>, StoreError> {
        self.store.clock_us().await
    }

    /// The epoch of a lease's newest holder; `None` if it was never taken.
    pub async fn lease_epoch(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.store.lease_epoch(name).await
    }
}

/// Budgets and releases of a store, without a running writer and without write access.
#[derive(Clone)]
pub struct Reader {
    pub(super) store: Arc<dyn Store>,
}

impl Reader {
    /// Opens a store for reading.
    pub async fn open(url: &Url) -> Result<Self, StoreError> {
        Ok(Self { store: Arc::from(read_only(url).await?) })
    }

    /// What was charged, in one period of an account or in all, a line each: by account, newest
    /// period first. Blocked periods are not in it.
    pub async fn budget(&self, period: Option<(&str, i64)>) -> Result<Vec<BudgetLine>, StoreError> {
        Ok(budget::folded(self.store.budget(period).await?))
    }

    /// Account and start of each period that is blocked.
    pub async fn blocked(&self, account: Option<&str>) -> Result<Vec<(String, i64)>, StoreError> {
        self.store.blocked(account).await
    }

    /// Releases of windows that start in an interval of time (`from <= start < to`), by window and
    /// revision, at most [`RELEASES_MAX`].
    pub async fn releases(
        &self,
        name: &str,
        from_us: i64,
        to_us: i64,
    ) -> Result<Vec<ListedRelease>, StoreError> {
        let mut found = Vec::new();
        for at in self.store.releases(name, from_us, to_us, limit(RELEASES_MAX)).await? {
            found.push(self.listed(at).await?);
        }
        Ok(found)
    }

    /// The release of an id, if one stands.
    pub async fn find_release(&self, id: &[u8; 16]) -> Result<Option<ListedRelease>, StoreError> {
        match self.store.release(id).await? {
            None => Ok(None),
            Some(at) => self.listed(at).await.map(Some),
        }
    }

    /// The published bytes of a release, in order; `None` when no release of the id stands.
    pub async fn release_blobs(&self, id: &[u8; 16]) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
        match self.find_release(id).await? {
            None => Ok(None),
            Some(release) => self.blobs(&release.entry).await.map(Some),
        }
    }

    /// The release of the newest window, and of its highest revision.
    pub async fn latest_release(&self, name: &str) -> Result<Option<ListedRelease>, StoreError> {
        match self.store.latest_release(name).await? {
            None => Ok(None),
            Some(at) => self.listed(at).await.map(Some),
        }
    }

    /// The published bytes of a release, in order.
    pub async fn blobs(&self, release: &Release) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut blobs = Vec::with_capacity(release.blobs.len());
        for digest in &release.blobs {
            let blob = self.store.blob(&digest.0).await?;
            let ours = blob.filter(|blob| blob_digest(blob) == digest.0);
            let gone =
                || StoreError::Corrupt("the published bytes of a release are gone".to_owned());
            blobs.push(ours.ok_or_else(gone)?);
        }
        Ok(blobs)
    }

    /// What a projection points at, read from its row.
    async fn listed(&self, found: ReleaseAt) -> Result<ListedRelease, StoreError> {
        let ReleaseAt { id, at, published } = found;
        let missing = || StoreError::Corrupt(format!("there is no release at {at}"));
        let stored = self.store.row(at.writer, at.wseq).await?.ok_or_else(missing)?;
        let row = Row::decode(&stored.bytes).map_err(|e| StoreError::Corrupt(e.to_string()))?;
        match row.entries.into_iter().nth(at.leaf as usize) {
            Some(Entry::Release(entry)) if entry.id == id => {
                Ok(ListedRelease { entry: *entry, at, published })
            }
            _ => Err(missing()),
        }
    }

    /// Lets go of the store.
    pub async fn close(&self) {
        self.store.close().await;
    }
}

fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
