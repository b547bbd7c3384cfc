//! A hash-chained ledger with lineage that a stranger can verify.
//!
//! One row a flush: the canonical bytes of a row are stored verbatim and chained by BLAKE3 to the
//! row before; each event of the flush is a leaf of the flush's own RFC 6962 tree. The format
//! stands in `docs/LEDGER-FORMAT.md`. Without the feature `store` this crate is records, hashes
//! and the verifier, and needs no runtime and no database.
//!
//! INVARIANT: nothing here takes a value of anybody's record. Callers give names of their own
//! configuration, keyed digests, and the bytes of releases as they are published.

mod budget;
mod entry;
mod export;
mod filter;
mod id;
mod json;
mod row;
mod tree;
mod utc;
pub mod verify;

pub use budget::{BudgetLine, Charge, Refusal, Spent, cap_of};
pub use entry::*;
pub use export::{Exported, Reader as ExportReader, write as write_export};
pub use filter::Filter;
pub use id::{NotAPosition, Position, WriterId, hex};
pub use row::{
    Link, MAGIC, ROW_BYTES_MAX, Row, RowError, blob_digest, detail_digest, genesis, link_of,
};
pub use tree::{empty_root, leaf_hash, root};
pub use utc::utc;

#[cfg(feature = "store")]
mod ledger;
#[cfg(feature = "store")]
pub mod lineage;
#[cfg(feature = "store")]
mod store;

#[cfg(feature = "store")]
pub use ledger::{
    AppendError, Appended, CLOCK_TOLERANCE_US, Claim, ClaimState, Clock, Destination, Ledger,
    ListedRelease, OpenError, OpenIntent, Options, RELEASE_BYTES_MAX, RELEASES_MAX, Reader,
    Recorded, ReleaseError, ReserveError, Reserved, Standing, StoredRelease, Time, UNPUBLISHED_MAX,
};
#[cfg(feature = "store")]
pub use store::{Cut, StoreError, Url, verify_store};
