//! Where rows are kept. SQL is in these modules and nowhere else. Two engines, one small trait, and
//! one contract suite.

mod books;
mod check;
mod claims;
mod index;
mod pace;
mod postgres;
mod query;
mod register;
mod rows;
mod sqlite;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, future::Future, pin::Pin};

use crate::{ChainHead, Charge, Position, Refusal, WriterId};

pub use check::verify_store;
pub(crate) use pace::Pace;
use postgres::Postgres;
use query::{Arg, Columns};
use sqlite::Sqlite;

/// Why a store did not do what it was asked. Parameters are never in these texts.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("not a ledger store: expected `sqlite:FILE` or `postgres://…`")]
    Url,
    #[error("the store is not available: {0}")]
    Unavailable(#[source] sqlx::Error),
    #[error("the store's schema cannot be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error(
        "the store is a ledger of an older Sluicegate, in a format before `lgr2`: keep it with that \
         version, which can read it, and give this one a new store"
    )]
    Older,
    #[error(
        "the store was written by a newer Sluicegate: use that version, or a newer one, for it"
    )]
    Newer,
    #[error("the store would not keep what it acknowledges: {0}")]
    Unsafe(String),
    /// The file has no name any more, or its name is another file's.
    #[error(
        "the store's file was removed or replaced while it was in use: put it back, or stop the \
         gateway and restore the ledger"
    )]
    Replaced,
    #[error("another process writes under this writer's id")]
    Fenced,
    /// The file or the name is held by a process that runs.
    #[error("{0}")]
    Held(String),
    #[error("the store holds something that is not a ledger: {0}")]
    Corrupt(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error)
    }
}

/// A store's address.
#[derive(Clone)]
pub enum Url {
    Sqlite(std::path::PathBuf),
    /// Holds a password: no `Debug`, no `Display`.
    Postgres(String),
}

impl std::str::FromStr for Url {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        match text.strip_prefix("sqlite:") {
            Some(file) if !file.is_empty() => {
                Ok(Self::Sqlite(file.trim_start_matches("//").into()))
            }
            None if text.starts_with("postgres://") || text.starts_with("postgresql://") => {
                Ok(Self::Postgres(text.to_owned()))
            }
            _ => Err(StoreError::Url),
        }
    }
}

/// A row to keep, with what belongs to it.
pub(crate) struct NewRow {
    pub wseq: u64,
    pub t_us: i64,
    pub segment: u32,
    pub bytes: Vec<u8>,
    pub prev: [u8; 32],
    pub link: [u8; 32],
    /// Leaves and filter, where the flush has events.
    pub manifest: Option<(Vec<u8>, Vec<u8>)>,
}

/// Where some events stand, for look-ups by offset. Rebuildable from the rows.
pub(crate) struct Edge {
    pub region: String,
    pub topic: String,
    pub partition: u32,
    pub offset_from: i64,
    pub offset_to: i64,
    /// The row with the intent.
    pub of: (WriterId, u64),
    /// The row with the outcome.
    pub wseq: u64,
}

/// An intent, or the end of one.
pub(crate) struct IntentState {
    pub writer: WriterId,
    pub wseq: u64,
    pub leaf: u32,
    pub open: bool,
}

/// An at-most-once key that is being used or has been.
pub(crate) struct ClaimWrite {
    pub key: [u8; 32],
    pub fingerprint: [u8; 32],
    pub wseq: u64,
    pub leaf: u32,
    pub at_us: i64,
    pub expires_us: i64,
}

pub(crate) struct ClaimDone {
    pub key: [u8; 32],
    pub answer: Vec<u8>,
}

pub(crate) struct ClaimRow {
    pub fingerprint: Vec<u8>,
    pub node: String,
    pub writer: WriterId,
    pub wseq: u64,
    pub leaf: u32,
    pub at_us: i64,
    pub answer: Option<Vec<u8>>,
}

/// A release that is being written.
pub(crate) struct ReleaseWrite {
    pub id: [u8; 16],
    pub name: String,
    pub window_start_us: i64,
    pub window_end_us: i64,
    pub revision: u32,
    pub at: Position,
}

/// The release that stands for an id.
pub(crate) struct ReleaseAt {
    pub id: [u8; 16],
    pub at: Position,
    pub published: bool,
}

/// What a commit could not take because others hold it, by index.
#[derive(Default)]
pub(crate) struct Taken {
    pub claims: Vec<usize>,
    pub releases: Vec<usize>,
}

/// One transaction.
#[derive(Default)]
pub(crate) struct Commit {
    pub rows: Vec<NewRow>,
    pub details: Vec<([u8; 32], Vec<u8>)>,
    pub edges: Vec<Edge>,
    pub intents: Vec<IntentState>,
    pub claims: Vec<ClaimWrite>,
    pub done: Vec<ClaimDone>,
    pub blobs: Vec<([u8; 32], Vec<u8>)>,
    pub releases: Vec<ReleaseWrite>,
    pub voided: Vec<Position>,
    pub published: Vec<([u8; 16], Position)>,
    pub blocked: Vec<(String, i64)>,
    pub purge_before_us: i64,
}

/// Writer, row and first leaf.
type IntentKey = (WriterId, u64, u32);

impl Commit {
    /// Intents that begin and those that end; one that does both has ended.
    fn intents(&self) -> (Vec<IntentKey>, Vec<IntentKey>) {
        let key = |intent: &IntentState| (intent.writer, intent.wseq, intent.leaf);
        let ended: BTreeSet<_> = self.intents.iter().filter(|i| !i.open).map(key).collect();
        let opened = self.intents.iter().filter(|i| i.open).map(key);
        (opened.filter(|key| !ended.contains(key)).collect(), ended.into_iter().collect())
    }

    /// Whether it writes anything of releases.
    fn has_books(&self) -> bool {
        let Self { blobs, releases, voided, published, blocked, .. } = self;
        !blobs.is_empty()
            || !releases.is_empty()
            || !voided.is_empty()
            || !published.is_empty()
            || !blocked.is_empty()
    }
}

/// A row as it is stored.
pub(crate) struct StoredRow {
    pub bytes: Vec<u8>,
    pub manifest: Option<Vec<u8>>,
}

/// A row of a page, with all that is stored beside its bytes.
pub(crate) struct PageRow {
    pub writer: WriterId,
    pub wseq: u64,
    pub t_us: i64,
    pub segment: u32,
    pub bytes: Vec<u8>,
    pub link: Vec<u8>,
    pub manifest: Option<Vec<u8>>,
    pub filter: Option<Vec<u8>>,
}

/// A row of a page in order of time.
pub(crate) struct TimedRow {
    pub t_us: i64,
    pub writer: WriterId,
    pub wseq: u64,
    pub bytes: Vec<u8>,
    /// Of its events; `None` where they are not kept or there are none.
    pub filter: Option<Vec<u8>>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EdgeRow {
    pub region: String,
    pub writer: WriterId,
    pub wseq: u64,
}

/// A node's name that is held.
pub(crate) type Hold = Box<dyn std::any::Any + Send + Sync>;

pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A row with its bytes, and a time.
pub(crate) type Newest = (Option<(ChainHead, Vec<u8>)>, Option<i64>);

/// What each engine does in its own way. All else is asked of it in texts that both understand, by
/// methods of `dyn Store` that are beside these texts.
pub(crate) trait Store: Send + Sync {
    /// One durable transaction of a writer, which is registered with its first row. Claims and
    /// releases whose key is taken are reported by index; a claim is then not written, and a
    /// release is written down as lost. Everything else of the transaction is written.
    fn commit<'a>(
        &'a self,
        writer: WriterId,
        node: &'a str,
        commit: &'a Commit,
    ) -> Answer<'a, Taken>;
    /// One durable charge, or none. Idempotent by id.
    fn reserve<'a>(&'a self, charge: &'a Charge) -> Answer<'a, Result<(), Refusal>>;
    /// The rows that a text gives.
    fn read<'a>(&'a self, text: &'static str, args: &'a [Arg<'a>]) -> Answer<'a, Vec<Columns>>;
    /// The same for a text that writes what is not part of a writer's chain.
    fn write<'a>(&'a self, text: &'static str, args: &'a [Arg<'a>]) -> Answer<'a, Vec<Columns>>;
    /// The store's own clock, microseconds since the epoch; none where it is the machine's.
    fn clock_us(&self) -> Answer<'_, Option<i64>>;
    /// Whether somebody holds a node's name. Looking does not stand in the way of a start.
    fn is_held<'a>(&'a self, node: &'a str) -> Answer<'a, bool>;
    /// Holds a node's name until it is dropped; `None` while somebody else does.
    fn hold<'a>(&'a self, node: &'a str) -> Answer<'a, Option<Hold>>;
    /// What the store takes on its disk, in bytes.
    fn bytes(&self) -> Answer<'_, u64>;
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// What all rows say.
fn each<T, A: FromIterator<T>>(
    rows: Vec<Columns>,
    read: impl Fn(&mut Columns) -> Result<T, StoreError>,
) -> Result<A, StoreError> {
    rows.into_iter().map(|mut row| read(&mut row)).collect()
}

/// What the first row says; none if there is none.
fn first<T>(
    rows: Vec<Columns>,
    read: impl FnOnce(&mut Columns) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    rows.into_iter().next().map(|mut row| read(&mut row)).transpose()
}

/// Ends of lost releases that one row of a starting writer takes.
pub(crate) const LOST_MAX: i64 = 500;

/// Whether this program knows all migrations of a store, by version and checksum, as they were
/// applied.
fn is_known(applied: &[(i64, Vec<u8>)], ours: &sqlx::migrate::Migrator) -> Result<(), StoreError> {
    for (version, checksum) in applied {
        match ours.iter().find(|migration| migration.version == *version) {
            None => return Err(StoreError::Newer),
            Some(known) if *known.checksum != **checksum => return Err(StoreError::Older),
            Some(_) => {}
        }
    }
    Ok(())
}

/// The migrations that were applied to a store; in a new one there is no such table.
const APPLIED: &str = "SELECT version, checksum FROM _sqlx_migrations ORDER BY version";

fn is_no_table(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    error.code().as_deref() == Some("42P01") || error.message().starts_with("no such table")
}

fn number<T, U: TryFrom<T>>(value: T) -> Result<U, StoreError> {
    U::try_from(value).map_err(|_| StoreError::Corrupt("a number out of range".to_owned()))
}

/// A connection that only reads, for verification and lineage without a running gateway.
pub(crate) async fn read_only(url: &Url) -> Result<Box<dyn Store>, StoreError> {
    Ok(match url {
        Url::Sqlite(file) => Box::new(Sqlite::read_only(file).await?),
        Url::Postgres(url) => Box::new(Postgres::read_only(url).await?),
    })
}

/// With `alone`, no other process that opens the store so has the name (SQLite: the file) until
/// the store is closed.
pub(crate) async fn read_write(
    url: &Url,
    alone: Option<&str>,
) -> Result<Box<dyn Store>, StoreError> {
    Ok(match url {
        Url::Sqlite(file) => Box::new(Sqlite::open(file, alone.is_some()).await?),
        Url::Postgres(url) => Box::new(Postgres::open(url, alone.map(str::to_owned)).await?),
    })
}
