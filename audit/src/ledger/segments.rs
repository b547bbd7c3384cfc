//! Segments as a writer enters them: the store's register says which search key each one has.

use std::sync::atomic::Ordering;

use super::{Append, AppendError, Ledger};
use crate::{
    ChainHead, Entry, SegmentOpen, WriterId,
    store::{Store, StoreError},
};

/// Heads that one entry names; a row holds it beside other entries.
const HEADS_MAX: usize = 300;
/// Of the register: what the ledger itself agrees on, and what its caller does.
const OWN: u8 = 0;
const CALLERS: u8 = 1;

/// What keyed digests are made under: a key's name, and what identifies its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchKey {
    pub name: String,
    /// A keyed digest of a constant, made by the caller.
    pub check: [u8; 16],
}

/// Why a segment was not entered.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(
        "the key `{name}` is not the one that segment {segment} of the ledger was written with: \
         restore it, and add the new key under a new name"
    )]
    OtherKey { name: String, segment: u32 },
}

impl SearchKey {
    fn to_bytes(&self) -> Vec<u8> {
        [&self.check[..], self.name.as_bytes()].concat()
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (check, name) = bytes.split_first_chunk()?;
        Some(Self { name: String::from_utf8(name.to_vec()).ok()?, check: *check })
    }
}

fn about(segment: u32) -> Vec<u8> {
    [&[OWN][..], &segment.to_be_bytes()].concat()
}

/// The segments that were agreed on, oldest first, each with its search key.
async fn agreed(store: &dyn Store) -> Result<Vec<(u32, SearchKey)>, StoreError> {
    let corrupt = || StoreError::Corrupt("a segment in the register".to_owned());
    let mut segments = Vec::new();
    let (mut from, to) = (vec![OWN], [CALLERS]);
    loop {
        let page = store.agreed(&from, &to).await?;
        let Some((last, _)) = page.last() else { return Ok(segments) };
        from = [&last[..], &[0]].concat();
        for (about, value) in page {
            let number = about.get(1..).and_then(|number| number.try_into().ok());
            let number = number.map(u32::from_be_bytes).ok_or_else(corrupt)?;
            segments.push((number, SearchKey::of_bytes(&value).ok_or_else(corrupt)?));
        }
    }
}

/// The segment that a writer with this key writes into: the newest, if it has the key, else the
/// next one.
pub(super) async fn agree(store: &dyn Store, key: &SearchKey) -> Result<u32, EnterError> {
    loop {
        let known = agreed(store).await?;
        let other = known.iter().find(|(_, k)| k.name == key.name && k.check != key.check);
        if let Some((segment, _)) = other {
            return Err(EnterError::OtherKey { name: key.name.clone(), segment: *segment });
        }
        let next = match known.last() {
            Some((newest, of)) if of == key => return Ok(*newest),
            Some((newest, _)) => newest.saturating_add(1),
            None => 1,
        };
        // Another writer may have proposed its own meanwhile: then all is looked at again.
        if store.agree(&about(next), &key.to_bytes()).await? == key.to_bytes() {
            return Ok(next);
        }
    }
}

/// The entries by which a chain enters a segment; where no chain has, they name all heads. The
/// chain's own head is added when its row is made.
pub(super) async fn openings(
    store: &dyn Store,
    segment: u32,
    key: &SearchKey,
    own: Option<WriterId>,
) -> Result<Vec<Entry>, StoreError> {
    let heads = store.heads().await?;
    let is_open = heads.iter().any(|head| head.segment >= segment);
    let heads: Vec<ChainHead> =
        heads.into_iter().filter(|head| !is_open && Some(head.writer) != own).collect();
    let opening = |heads: &[ChainHead]| {
        let (key, check) = (key.name.clone(), key.check);
        Entry::SegmentOpen(SegmentOpen { segment, key, check, heads: heads.to_vec() })
    };
    Ok(match heads.is_empty() {
        true => vec![opening(&[])],
        false => heads.chunks(HEADS_MAX).map(opening).collect(),
    })
}

impl Ledger {
    /// The segment that rows are written into.
    pub fn segment(&self) -> u32 {
        self.segment.load(Ordering::Relaxed)
    }

    /// The segments that are kept, oldest first, each with its search key.
    pub async fn segments(&self) -> Result<Vec<(u32, SearchKey)>, StoreError> {
        agreed(&*self.store).await
    }

    /// Puts the next row into the segment of a search key, which is a new one where the newest has
    /// another key. Returns when the opening is durable.
    pub async fn enter(&self, key: &SearchKey) -> Result<u32, EnterError> {
        let _one_at_a_time = self.entering.lock().await;
        let segment = agree(&*self.store, key).await?;
        if segment == self.segment() {
            return Ok(segment);
        }
        for entry in openings(&*self.store, segment, key, Some(self.writer)).await? {
            self.send(Append { enters: Some(segment), ..Append::of(entry) }).await?;
        }
        self.segment.store(segment, Ordering::Relaxed);
        Ok(segment)
    }

    /// Agrees with all who use the store: the first proposal about something is the value for
    /// everybody.
    pub async fn agree(&self, about: &[u8], proposal: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.store.agree(&callers(about), proposal).await
    }

    /// What was agreed about things `from <= about < to`, in order of their bytes: a page.
    pub async fn agreed(
        &self,
        from: &[u8],
        to: &[u8],
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let page = self.store.agreed(&callers(from), &callers(to)).await?;
        Ok(page.into_iter().map(|(mut about, value)| (about.split_off(1), value)).collect())
    }

    /// Forgets what was agreed about things `from <= about < to`.
    pub async fn forget(&self, from: &[u8], to: &[u8]) -> Result<(), StoreError> {
        self.store.forget(&callers(from), &callers(to)).await
    }
}

fn callers(about: &[u8]) -> Vec<u8> {
    [&[CALLERS], about].concat()
}
