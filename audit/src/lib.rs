//! A hash-chained ledger with lineage that a stranger can verify.
//!
//! One row per flush: the canonical bytes of a row are stored verbatim and chained by BLAKE3 to the
//! row before; records of the flush are leaves of the row's own RFC 6962 tree. The format is
//! described in `docs/LEDGER-FORMAT.md`. Without the feature `store` this crate is records, hashes
//! and the verifier, and needs no runtime and no database.
//!
//! INVARIANT: nothing here takes a value of anybody's record. Callers give names of their own
//! configuration, keyed digests, and the bytes of releases as they are published.

mod budget;
mod canonical;
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
pub use id::{NotAPosition, Position, WriterId, hex, unhex};
pub use row::{
    Link, MAGIC, ManifestLeaf, ROW_BYTES_MAX, Row, RowError, blob_digest, decode_leaf,
    decode_manifest, detail_digest, encode_manifest, genesis, leaf_bytes, link_of,
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
    AppendError, Appended, CLOCK_TOLERANCE_US, Claim, ClaimState, Clock, Destination, EnterError,
    HeldNode, Leaves, Ledger, ListedRelease, OpenChain, OpenError, OpenIntent, OpenLeaf, OpenNode,
    Options, RELEASE_BYTES_MAX, RELEASES_MAX, Reader, Recorded, ReleaseError, ReserveError,
    Reserved, SearchKey, Standing, StoredRelease, Time, Told, UNPUBLISHED_MAX,
};
#[cfg(feature = "store")]
pub use store::{StoreError, Url, verify_store};
