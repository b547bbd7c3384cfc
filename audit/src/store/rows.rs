//! Rows, what belongs to them, and the heads of chains. The texts are the same for both engines
//! (`$1` is a parameter in either), so they are here once.
//!
//! Pages begin behind a key, compared as one row value: `a > x OR (a = x AND b > y)` reads from the
//! beginning each time. A page's limit is a literal: a plan for any number of rows would sort them
//! all. What belongs to a row is a subquery by its key: a join may be planned as a merge, which also
//! reads from the beginning. A test explains every text in these modules.

use super::{
    Newest, PageRow, Store, StoreError, StoredRow, TimedRow, each, first,
    query::{Arg, Columns},
};
use crate::{ChainHead, WriterId};

/// Writes a writer down, with its first row. It becomes its node's last one, whatever clock a
/// predecessor had.
pub(super) const REGISTER: &str = "INSERT INTO ledger_writer (writer, node, opened_us) \
     SELECT $1, $2, CASE WHEN newest >= $3 THEN newest + 1 ELSE $3 END FROM \
     (SELECT coalesce(max(opened_us), $3 - 1) AS newest FROM ledger_writer \
      WHERE node = $2) AS earlier";

/// The tables that `named` looks at, by the number that the query
/// gives them.
const NAMING: [&str; 3] = ["ledger_manifest", "ledger_edge", "ledger_writer"];

const NEWEST_TIME: &str = "SELECT max(t_us) FROM ledger_row";

/// The newest row of a node's last writer.
const LAST_OF_NODE: &str = "SELECT r.writer, r.wseq, r.link, r.segment, r.bytes FROM ledger_row r \
     WHERE r.writer = (SELECT w.writer FROM ledger_writer w WHERE w.node = $1 \
         ORDER BY w.opened_us DESC LIMIT 1) \
     ORDER BY r.wseq DESC LIMIT 1";

/// From one writer to the next by the key, not over all rows.
const HEADS: &str = "WITH RECURSIVE w (writer) AS ( \
         SELECT (SELECT r.writer FROM ledger_row r WHERE r.writer > '' \
                 ORDER BY r.writer LIMIT 1) \
         UNION ALL \
         SELECT (SELECT r.writer FROM ledger_row r WHERE r.writer > w.writer \
                 ORDER BY r.writer LIMIT 1) \
         FROM w WHERE w.writer IS NOT NULL) \
     SELECT w.writer, \
            (SELECT max(r.wseq) FROM ledger_row r WHERE r.writer = w.writer), \
            (SELECT r.link FROM ledger_row r WHERE r.writer = w.writer \
             ORDER BY r.wseq DESC LIMIT 1), \
            (SELECT r.segment FROM ledger_row r WHERE r.writer = w.writer \
             ORDER BY r.wseq DESC LIMIT 1) \
     FROM w WHERE w.writer IS NOT NULL";

const HEAD: &str = "SELECT wseq, link FROM ledger_row WHERE writer = $1 \
     ORDER BY wseq DESC LIMIT 1";

const ROW: &str = "SELECT r.bytes, m.leaves FROM ledger_row r \
     LEFT JOIN ledger_manifest m ON m.writer = r.writer AND m.wseq = r.wseq \
     WHERE r.writer = $1 AND r.wseq = $2";

const BY_TIME: &str = "SELECT r.writer, r.wseq, r.t_us, r.bytes, \
     (SELECT m.filter FROM ledger_manifest m \
     WHERE m.writer = r.writer AND m.wseq = r.wseq) \
     FROM ledger_row r \
     WHERE (r.t_us, r.writer, r.wseq) > ($1, $2, $3) AND r.t_us < $4 \
     ORDER BY r.t_us, r.writer, r.wseq LIMIT 100";

const DETAIL: &str = "SELECT bytes FROM ledger_detail WHERE digest = $1";

const DETAILS: &str = "SELECT digest, bytes FROM ledger_detail WHERE digest > $1 \
     ORDER BY digest LIMIT 100";

const ROWS: &str = "SELECT r.writer, r.wseq, r.t_us, r.segment, r.bytes, r.link, \
     (SELECT m.leaves FROM ledger_manifest m \
     WHERE m.writer = r.writer AND m.wseq = r.wseq), \
     (SELECT m.filter FROM ledger_manifest m \
     WHERE m.writer = r.writer AND m.wseq = r.wseq) \
     FROM ledger_row r WHERE (r.writer, r.wseq) > ($1, $2) \
     ORDER BY r.writer, r.wseq LIMIT 100";

/// From one writer to the next by the key, as in [`HEADS`].
const NAMED: &str = "WITH RECURSIVE m (writer) AS ( \
     SELECT (SELECT x.writer FROM ledger_manifest x WHERE x.writer > '' \
     ORDER BY x.writer LIMIT 1) \
     UNION ALL \
     SELECT (SELECT x.writer FROM ledger_manifest x \
     WHERE x.writer > m.writer ORDER BY x.writer LIMIT 1) \
     FROM m WHERE m.writer IS NOT NULL), \
     e (writer) AS ( \
     SELECT (SELECT x.of_writer FROM ledger_edge x WHERE x.of_writer > '' \
     ORDER BY x.of_writer LIMIT 1) \
     UNION ALL \
     SELECT (SELECT x.of_writer FROM ledger_edge x \
     WHERE x.of_writer > e.writer ORDER BY x.of_writer LIMIT 1) \
     FROM e WHERE e.writer IS NOT NULL) \
     SELECT CAST(0 AS bigint), m.writer, \
     (SELECT max(x.wseq) FROM ledger_manifest x WHERE x.writer = m.writer) \
     FROM m WHERE m.writer IS NOT NULL \
     UNION ALL \
     SELECT 1, e.writer, \
     (SELECT max(x.of_wseq) FROM ledger_edge x \
     WHERE x.of_writer = e.writer) \
     FROM e WHERE e.writer IS NOT NULL \
     UNION ALL SELECT 2, w.writer, 0 FROM ledger_writer w";

impl dyn Store + '_ {
    /// The newest row of a writer: its number and link.
    pub(crate) async fn head(
        &self,
        writer: WriterId,
    ) -> Result<Option<(u64, [u8; 32])>, StoreError> {
        let rows = self.read(HEAD, &[(&writer).into()]).await?;
        first(rows, |row| Ok((row.number()?, row.array()?)))
    }

    /// The newest row of each writer, all of one moment.
    pub(crate) async fn heads(&self) -> Result<Vec<ChainHead>, StoreError> {
        each(self.read(HEADS, &[]).await?, head_of)
    }

    /// The newest row of a node's last writer with its bytes, and the newest time of all rows.
    pub(crate) async fn last_of(&self, node: &str) -> Result<Newest, StoreError> {
        let newest = first(self.read(NEWEST_TIME, &[]).await?, Columns::some_number)?.flatten();
        let rows = self.read(LAST_OF_NODE, &[node.into()]).await?;
        Ok((first(rows, |row| Ok((head_of(row)?, row.bytes()?)))?, newest))
    }

    pub(crate) async fn row(
        &self,
        writer: WriterId,
        wseq: u64,
    ) -> Result<Option<StoredRow>, StoreError> {
        let rows = self.read(ROW, &[(&writer).into(), wseq.into()]).await?;
        first(rows, |row| Ok(StoredRow { bytes: row.bytes()?, manifest: row.some_bytes()? }))
    }

    /// A page of rows in order of writer and number.
    pub(crate) async fn rows(
        &self,
        after: Option<(WriterId, u64)>,
    ) -> Result<Vec<PageRow>, StoreError> {
        let (writer, wseq) = behind(&after);
        each(self.read(ROWS, &[writer, wseq]).await?, |row| {
            Ok(PageRow {
                writer: row.writer()?,
                wseq: row.number()?,
                t_us: row.number()?,
                segment: row.number()?,
                bytes: row.bytes()?,
                link: row.bytes()?,
                manifest: row.some_bytes()?,
                filter: row.some_bytes()?,
            })
        })
    }

    /// A page of rows in order of time, writer and number; behind a time for no row.
    pub(crate) async fn by_time(
        &self,
        to_us: i64,
        after: (i64, Option<(WriterId, u64)>),
    ) -> Result<Vec<TimedRow>, StoreError> {
        let (writer, wseq) = behind(&after.1);
        let rows = self.read(BY_TIME, &[after.0.into(), writer, wseq, to_us.into()]).await?;
        each(rows, |row| {
            Ok(TimedRow {
                writer: row.writer()?,
                wseq: row.number()?,
                t_us: row.number()?,
                bytes: row.bytes()?,
                filter: row.some_bytes()?,
            })
        })
    }

    pub(crate) async fn detail(&self, digest: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        first(self.read(DETAIL, &[digest.into()]).await?, Columns::bytes)
    }

    pub(crate) async fn details(
        &self,
        after: Option<Vec<u8>>,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let after = after.unwrap_or_default();
        let rows = self.read(DETAILS, &[after[..].into()]).await?;
        each(rows, |row| Ok((row.bytes()?, row.bytes()?)))
    }

    /// The newest row of each writer that a table names, and the table.
    pub(crate) async fn named(&self) -> Result<Vec<(&'static str, WriterId, u64)>, StoreError> {
        each(self.read(NAMED, &[]).await?, |row| {
            let table = NAMING.get(row.number::<usize>()?).copied();
            Ok((table.unwrap_or_default(), row.writer()?, row.number()?))
        })
    }
}

/// Writer, number, link, segment.
fn head_of(row: &mut Columns) -> Result<ChainHead, StoreError> {
    let (writer, wseq) = (row.writer()?, row.number()?);
    Ok(ChainHead { writer, wseq, link: row.array()?, segment: row.number()? })
}

/// The key that a page begins behind; before the first for none.
fn behind(after: &Option<(WriterId, u64)>) -> (Arg<'_>, Arg<'_>) {
    match after {
        None => (Arg::Bytes(&[]), Arg::Number(-1)),
        Some((writer, wseq)) => (writer.into(), (*wseq).into()),
    }
}
