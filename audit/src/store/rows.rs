//! Rows, what belongs to them, and the heads of chains. The texts are the same for both engines
//! (`$1` is a parameter in either), so they are here once; a macro only names the pool they run on.
//!
//! Pages begin behind a key, compared as one row value: `a > x OR (a = x AND b > y)` reads from the
//! beginning each time. A page's limit is a literal: a plan for any number of rows would sort them
//! all. What belongs to a row is a subquery by its key: a join may be planned as a merge, which also
//! reads from the beginning. A test explains every text in these modules.

use super::{ChainHead, StoreError, number, writer_of};

/// Writes a writer down, with its first row. It becomes its node's last one, whatever clock a
/// predecessor had.
pub(super) const REGISTER: &str = "INSERT INTO ledger_writer (writer, node, opened_us) \
     SELECT $1, $2, CASE WHEN newest >= $3 THEN newest + 1 ELSE $3 END FROM \
     (SELECT coalesce(max(opened_us), $3 - 1) AS newest FROM ledger_writer \
      WHERE node = $2) AS earlier";

/// The tables that [`Rows::named`](super::Rows::named) looks at, by the number that the query
/// gives them.
pub(super) const NAMING: [&str; 3] = ["ledger_manifest", "ledger_edge", "ledger_writer"];

pub(super) const NEWEST_TIME: &str = "SELECT max(t_us) FROM ledger_row";

/// The newest row of a node's last writer.
pub(super) const LAST_OF_NODE: &str = "SELECT r.writer, r.wseq, r.link, r.segment, r.bytes FROM ledger_row r \
     WHERE r.writer = (SELECT w.writer FROM ledger_writer w WHERE w.node = $1 \
         ORDER BY w.opened_us DESC LIMIT 1) \
     ORDER BY r.wseq DESC LIMIT 1";

/// From one writer to the next by the key, not over all rows.
pub(super) const HEADS: &str = "WITH RECURSIVE w (writer) AS ( \
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

pub(super) const HEAD: &str = "SELECT wseq, link FROM ledger_row WHERE writer = $1 \
     ORDER BY wseq DESC LIMIT 1";

pub(super) const ROW: &str = "SELECT r.bytes, m.leaves FROM ledger_row r \
     LEFT JOIN ledger_manifest m ON m.writer = r.writer AND m.wseq = r.wseq \
     WHERE r.writer = $1 AND r.wseq = $2";

pub(super) const BY_TIME: &str = "SELECT r.writer, r.wseq, r.t_us, r.bytes, \
     (SELECT m.filter FROM ledger_manifest m \
     WHERE m.writer = r.writer AND m.wseq = r.wseq) \
     FROM ledger_row r \
     WHERE (r.t_us, r.writer, r.wseq) > ($1, $2, $3) AND r.t_us < $4 \
     ORDER BY r.t_us, r.writer, r.wseq LIMIT 100";

pub(super) const DETAIL: &str = "SELECT bytes FROM ledger_detail WHERE digest = $1";

pub(super) const DETAILS: &str = "SELECT digest, bytes FROM ledger_detail WHERE digest > $1 \
     ORDER BY digest LIMIT 100";

pub(super) const ROWS: &str = "SELECT r.writer, r.wseq, r.t_us, r.segment, r.bytes, r.link, \
     (SELECT m.leaves FROM ledger_manifest m \
     WHERE m.writer = r.writer AND m.wseq = r.wseq), \
     (SELECT m.filter FROM ledger_manifest m \
     WHERE m.writer = r.writer AND m.wseq = r.wseq) \
     FROM ledger_row r WHERE (r.writer, r.wseq) > ($1, $2) \
     ORDER BY r.writer, r.wseq LIMIT 100";

/// From one writer to the next by the key, as in [`HEADS`].
pub(super) const NAMED: &str = "WITH RECURSIVE m (writer) AS ( \
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

/// Implements the reading methods of [`Rows`](super::Rows) for a type with a field `readers`.
macro_rules! row_methods {
    () => {
        fn head(&self, writer: WriterId) -> Answer<'_, Option<(u64, [u8; 32])>> {
            Box::pin(async move {
                let head: Option<(i64, Vec<u8>)> = sqlx::query_as(rows::HEAD)
                    .bind(writer.0.to_vec())
                    .fetch_optional(&self.readers)
                    .await?;
                let corrupt = |_| StoreError::Corrupt("a link".to_owned());
                let typed = |(wseq, link): (i64, Vec<u8>)| {
                    Ok((number(wseq)?, link.try_into().map_err(corrupt)?))
                };
                head.map(typed).transpose()
            })
        }

        fn last_of<'a>(&'a self, node: &'a str) -> Answer<'a, super::Newest> {
            Box::pin(async move {
                let newest: Option<i64> =
                    sqlx::query_scalar(rows::NEWEST_TIME).fetch_one(&self.readers).await?;
                let row: Option<(Vec<u8>, i64, Vec<u8>, i64, Vec<u8>)> =
                    sqlx::query_as(rows::LAST_OF_NODE)
                        .bind(node)
                        .fetch_optional(&self.readers)
                        .await?;
                let typed = |(writer, wseq, link, segment, bytes)| {
                    Ok::<_, StoreError>((rows::head_of((writer, wseq, link, segment))?, bytes))
                };
                Ok((row.map(typed).transpose()?, newest))
            })
        }

        fn heads(&self) -> Answer<'_, Vec<ChainHead>> {
            Box::pin(async move {
                let heads: Vec<rows::HeadRow> =
                    sqlx::query_as(rows::HEADS).fetch_all(&self.readers).await?;
                heads.into_iter().map(rows::head_of).collect()
            })
        }

        fn row(&self, writer: WriterId, wseq: u64) -> Answer<'_, Option<StoredRow>> {
            Box::pin(async move {
                let row: Option<(Vec<u8>, Option<Vec<u8>>)> = sqlx::query_as(rows::ROW)
                    .bind(writer.0.to_vec())
                    .bind(number::<u64, i64>(wseq)?)
                    .fetch_optional(&self.readers)
                    .await?;
                Ok(row.map(|(bytes, manifest)| StoredRow { bytes, manifest }))
            })
        }

        fn by_time(
            &self,
            to_us: i64,
            after: (i64, Option<(WriterId, u64)>),
        ) -> Answer<'_, Vec<TimedRow>> {
            Box::pin(async move {
                let (writer, wseq) = rows::after_key(after.1)?;
                type Row = (Vec<u8>, i64, i64, Vec<u8>, Option<Vec<u8>>);
                let rows: Vec<Row> = sqlx::query_as(rows::BY_TIME)
                    .bind(after.0)
                    .bind(writer)
                    .bind(wseq)
                    .bind(to_us)
                    .fetch_all(&self.readers)
                    .await?;
                rows.into_iter()
                    .map(|(writer, wseq, t_us, bytes, filter)| {
                        let (writer, wseq) = (writer_of(&writer)?, number(wseq)?);
                        Ok(TimedRow { t_us, writer, wseq, bytes, filter })
                    })
                    .collect()
            })
        }

        fn detail<'a>(&'a self, digest: &'a [u8; 32]) -> Answer<'a, Option<Vec<u8>>> {
            Box::pin(async move {
                Ok(sqlx::query_scalar(rows::DETAIL)
                    .bind(digest.to_vec())
                    .fetch_optional(&self.readers)
                    .await?)
            })
        }

        fn details(&self, after: Option<Vec<u8>>) -> Answer<'_, Vec<(Vec<u8>, Vec<u8>)>> {
            Box::pin(async move {
                Ok(sqlx::query_as(rows::DETAILS)
                    .bind(after.unwrap_or_default())
                    .fetch_all(&self.readers)
                    .await?)
            })
        }

        fn rows(&self, after: Option<(WriterId, u64)>) -> Answer<'_, Vec<PageRow>> {
            Box::pin(async move {
                let (writer, wseq) = rows::after_key(after)?;
                type Row =
                    (Vec<u8>, i64, i64, i64, Vec<u8>, Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>);
                let rows: Vec<Row> = sqlx::query_as(rows::ROWS)
                    .bind(writer)
                    .bind(wseq)
                    .fetch_all(&self.readers)
                    .await?;
                rows.into_iter()
                    .map(|(writer, wseq, t_us, segment, bytes, link, manifest, filter)| {
                        let (writer, wseq) = (writer_of(&writer)?, number(wseq)?);
                        let segment = number(segment)?;
                        Ok(PageRow { writer, wseq, t_us, segment, bytes, link, manifest, filter })
                    })
                    .collect()
            })
        }

        fn named(&self) -> Answer<'_, Vec<(&'static str, WriterId, u64)>> {
            Box::pin(async move {
                let rows: Vec<(i64, Vec<u8>, i64)> =
                    sqlx::query_as(rows::NAMED).fetch_all(&self.readers).await?;
                rows.into_iter()
                    .map(|(table, writer, wseq)| {
                        let table = rows::NAMING.get(number::<i64, usize>(table)?).copied();
                        Ok((table.unwrap_or_default(), writer_of(&writer)?, number(wseq)?))
                    })
                    .collect()
            })
        }

        fn close(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(async move {
                self.books.close().await;
                self.give_back().await;
                self.writer.close().await;
                self.readers.close().await;
                self.let_go();
            })
        }
    };
}

/// Writer, wseq, link, segment.
pub(super) type HeadRow = (Vec<u8>, i64, Vec<u8>, i64);

pub(super) fn head_of((writer, wseq, link, segment): HeadRow) -> Result<ChainHead, StoreError> {
    let link = link.try_into().map_err(|_| StoreError::Corrupt("a link".to_owned()))?;
    let (writer, segment) = (writer_of(&writer)?, number(segment)?);
    Ok(ChainHead { writer, wseq: number(wseq)?, link, segment })
}

/// The key that a page begins behind; before the first for none.
pub(super) fn after_key(
    after: Option<(crate::WriterId, u64)>,
) -> Result<(Vec<u8>, i64), super::StoreError> {
    match after {
        None => Ok((Vec::new(), -1)),
        Some((writer, wseq)) => Ok((writer.0.to_vec(), super::number(wseq)?)),
    }
}

pub(super) use row_methods;
