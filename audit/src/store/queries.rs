//! The reading half of both engines. The texts are the same for both (`$1` is a parameter in
//! either), so they are here once; a macro only names the pool they run on.
//!
//! Pages begin behind a key, compared as one row value: `a > x OR (a = x AND b > y)` reads from the
//! beginning each time. A page's limit is a literal: a plan for any number of rows would sort them
//! all. What belongs to a row is a subquery by its key: a join may be planned as a merge, which also
//! reads from the beginning. A test explains every text in these modules.

/// Forgets claims that have expired.
pub(super) const PURGE_CLAIMS: &str = "DELETE FROM ledger_claim WHERE expires_us <= $1";

/// Takes an at-most-once key that is free or has expired; touches no row when it is taken.
pub(super) const TAKE_CLAIM: &str = "INSERT INTO ledger_claim (key, fingerprint, node, writer, wseq, leaf, at_us, expires_us) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
     ON CONFLICT (key) DO UPDATE SET fingerprint = excluded.fingerprint, \
       node = excluded.node, writer = excluded.writer, wseq = excluded.wseq, \
       leaf = excluded.leaf, at_us = excluded.at_us, expires_us = excluded.expires_us, \
       answer = NULL \
     WHERE ledger_claim.expires_us <= excluded.at_us";

/// Writes a writer down, with its first row. It becomes its node's last one, whatever clock a
/// predecessor had.
pub(super) const REGISTER: &str = "INSERT INTO ledger_writer (writer, node, opened_us) \
     SELECT $1, $2, CASE WHEN newest >= $3 THEN newest + 1 ELSE $3 END FROM \
     (SELECT coalesce(max(opened_us), $3 - 1) AS newest FROM ledger_writer \
      WHERE node = $2) AS earlier";

/// The tables that [`Store::named`](super::Store::named) looks at, by the number that the query
/// gives them.
pub(super) const NAMING: [&str; 3] = ["ledger_manifest", "ledger_edge", "ledger_writer"];

/// Implements the reading methods of `Store` for a type with a field `readers`.
macro_rules! reading_methods {
    () => {
        fn head(&self, writer: WriterId) -> Answer<'_, Option<(u64, [u8; 32])>> {
            Box::pin(async move {
                let head: Option<(i64, Vec<u8>)> = sqlx::query_as(
                    "SELECT wseq, link FROM ledger_row WHERE writer = $1 \
                     ORDER BY wseq DESC LIMIT 1",
                )
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

        fn last_of<'a>(&'a self, node: &'a str) -> Answer<'a, (Option<StoredRow>, Option<i64>)> {
            Box::pin(async move {
                let newest: Option<i64> = sqlx::query_scalar("SELECT max(t_us) FROM ledger_row")
                    .fetch_one(&self.readers)
                    .await?;
                let row: Option<(Vec<u8>, i64, Vec<u8>, Vec<u8>)> = sqlx::query_as(
                    "SELECT r.writer, r.wseq, r.bytes, r.link FROM ledger_row r \
                     WHERE r.writer = (SELECT w.writer FROM ledger_writer w WHERE w.node = $1 \
                         ORDER BY w.opened_us DESC LIMIT 1) \
                     ORDER BY r.wseq DESC LIMIT 1",
                )
                .bind(node)
                .fetch_optional(&self.readers)
                .await?;
                let row = row.map(|(writer, wseq, bytes, link)| {
                    let link = Some(link);
                    let writer = writer_of(&writer)?;
                    Ok::<_, StoreError>(StoredRow { writer, wseq: number(wseq)?, bytes, link, manifest: None })
                });
                Ok((row.transpose()?, newest))
            })
        }

        fn claim<'a>(&'a self, key: &'a [u8; 32], now_us: i64) -> Answer<'a, Option<ClaimRow>> {
            Box::pin(async move {
                type Claim = (Vec<u8>, String, Vec<u8>, i64, i64, i64, Option<Vec<u8>>);
                let row: Option<Claim> = sqlx::query_as(
                    "SELECT fingerprint, node, writer, wseq, leaf, at_us, answer \
                     FROM ledger_claim WHERE key = $1 AND expires_us > $2",
                )
                .bind(key.to_vec())
                .bind(now_us)
                .fetch_optional(&self.readers)
                .await?;
                row.map(|(fingerprint, node, writer, wseq, leaf, at_us, answer)| {
                    Ok(ClaimRow {
                        fingerprint,
                        node,
                        writer: writer_of(&writer)?,
                        wseq: number(wseq)?,
                        leaf: number(leaf)?,
                        at_us,
                        answer,
                    })
                })
                .transpose()
            })
        }

        fn open_count(&self, max: u32) -> Answer<'_, u64> {
            Box::pin(async move {
                let count: i64 = sqlx::query_scalar(
                    "SELECT count(*) FROM (SELECT 1 FROM ledger_intent LIMIT $1) AS open",
                )
                .bind(i64::from(max))
                .fetch_one(&self.readers)
                .await?;
                number(count)
            })
        }

        fn open_intents<'a>(
            &'a self,
            node: &'a str,
            not: WriterId,
        ) -> Answer<'a, Vec<(WriterId, u64, u32)>> {
            Box::pin(async move {
                let rows: Vec<(Vec<u8>, i64, i64)> = sqlx::query_as(
                    "SELECT i.writer, i.wseq, i.leaf FROM ledger_intent i \
                     JOIN ledger_writer w ON w.writer = i.writer \
                     WHERE w.node = $1 AND i.writer <> $2 ORDER BY i.writer, i.wseq, i.leaf",
                )
                .bind(node)
                .bind(not.0.to_vec())
                .fetch_all(&self.readers)
                .await?;
                rows.into_iter()
                    .map(|(writer, wseq, leaf)| Ok((writer_of(&writer)?, number(wseq)?, number(leaf)?)))
                    .collect()
            })
        }

        fn row(&self, writer: WriterId, wseq: u64) -> Answer<'_, Option<StoredRow>> {
            Box::pin(async move {
                let row: Option<(Vec<u8>, Vec<u8>, Option<Vec<u8>>)> = sqlx::query_as(
                    "SELECT r.bytes, r.link, m.leaves FROM ledger_row r \
                     LEFT JOIN ledger_manifest m ON m.writer = r.writer AND m.wseq = r.wseq \
                     WHERE r.writer = $1 AND r.wseq = $2",
                )
                .bind(writer.0.to_vec())
                .bind(number::<u64, i64>(wseq)?)
                .fetch_optional(&self.readers)
                .await?;
                let stored = |(bytes, link, manifest)| {
                    StoredRow { writer, wseq, bytes, link: Some(link), manifest }
                };
                Ok(row.map(stored))
            })
        }

        fn edges<'a>(
            &'a self,
            region: Option<&'a str>,
            topic: &'a str,
            partition: u32,
            offset: i64,
        ) -> Answer<'a, BTreeSet<EdgeRow>> {
            Box::pin(async move {
                let rows: Vec<(String, Vec<u8>, i64)> = sqlx::query_as(
                    "SELECT region, writer, wseq FROM ledger_edge \
                     WHERE topic = $1 AND part = $2 \
                       AND offset_from BETWEEN $3 AND $4 AND offset_to >= $4 \
                       AND ($5 = '' OR region = $5)",
                )
                .bind(topic)
                .bind(i64::from(partition))
                .bind(offset.saturating_sub(crate::store::OUTCOME_EVENTS as i64))
                .bind(offset)
                .bind(region.unwrap_or_default())
                .fetch_all(&self.readers)
                .await?;
                rows.into_iter()
                    .map(|(region, writer, wseq)| {
                        Ok(EdgeRow { region, writer: writer_of(&writer)?, wseq: number(wseq)? })
                    })
                    .collect()
            })
        }

        fn outcomes(&self, writer: WriterId, wseq: u64) -> Answer<'_, BTreeSet<(WriterId, u64)>> {
            Box::pin(async move {
                let rows: Vec<(Vec<u8>, i64)> = sqlx::query_as(
                    "SELECT writer, wseq FROM ledger_edge \
                     WHERE of_writer = $1 AND of_wseq = $2",
                )
                .bind(writer.0.to_vec())
                .bind(number::<u64, i64>(wseq)?)
                .fetch_all(&self.readers)
                .await?;
                rows.into_iter()
                    .map(|(writer, wseq)| Ok((writer_of(&writer)?, number(wseq)?)))
                    .collect()
            })
        }

        fn by_time(
            &self,
            to_us: i64,
            after: (i64, Option<(WriterId, u64)>),
        ) -> Answer<'_, Vec<TimedRow>> {
            Box::pin(async move {
                let (writer, wseq) = after_key(after.1)?;
                type Row = (Vec<u8>, i64, i64, Vec<u8>, Option<Vec<u8>>);
                let rows: Vec<Row> = sqlx::query_as(
                    "SELECT r.writer, r.wseq, r.t_us, r.bytes, \
                            (SELECT m.filter FROM ledger_manifest m \
                             WHERE m.writer = r.writer AND m.wseq = r.wseq) \
                     FROM ledger_row r \
                     WHERE (r.t_us, r.writer, r.wseq) > ($1, $2, $3) AND r.t_us < $4 \
                     ORDER BY r.t_us, r.writer, r.wseq LIMIT 100",
                )
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
                Ok(sqlx::query_scalar("SELECT bytes FROM ledger_detail WHERE digest = $1")
                    .bind(digest.to_vec())
                    .fetch_optional(&self.readers)
                    .await?)
            })
        }

        fn details(&self, after: Option<Vec<u8>>) -> Answer<'_, Vec<(Vec<u8>, Vec<u8>)>> {
            Box::pin(async move {
                Ok(sqlx::query_as(
                    "SELECT digest, bytes FROM ledger_detail WHERE digest > $1 \
                     ORDER BY digest LIMIT 100",
                )
                .bind(after.unwrap_or_default())
                .fetch_all(&self.readers)
                .await?)
            })
        }

        fn rows(&self, after: Option<(WriterId, u64)>) -> Answer<'_, Vec<PageRow>> {
            Box::pin(async move {
                let (writer, wseq) = after_key(after)?;
                type Row = (Vec<u8>, i64, i64, Vec<u8>, Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>);
                let rows: Vec<Row> = sqlx::query_as(
                    "SELECT r.writer, r.wseq, r.t_us, r.bytes, r.link, \
                            (SELECT m.leaves FROM ledger_manifest m \
                             WHERE m.writer = r.writer AND m.wseq = r.wseq), \
                            (SELECT m.filter FROM ledger_manifest m \
                             WHERE m.writer = r.writer AND m.wseq = r.wseq) \
                     FROM ledger_row r WHERE (r.writer, r.wseq) > ($1, $2) \
                     ORDER BY r.writer, r.wseq LIMIT 100",
                )
                .bind(writer)
                .bind(wseq)
                .fetch_all(&self.readers)
                .await?;
                rows.into_iter()
                    .map(|(writer, wseq, t_us, bytes, link, manifest, filter)| {
                        let (writer, wseq) = (writer_of(&writer)?, number(wseq)?);
                        Ok(PageRow { writer, wseq, t_us, bytes, link, manifest, filter })
                    })
                    .collect()
            })
        }

        fn lookups(
            &self,
            writer: WriterId,
            from: u64,
            to: u64,
        ) -> Answer<'_, Vec<(WriterId, Edge)>> {
            Box::pin(async move {
                type Row = (String, String, i64, i64, i64, i64, Vec<u8>, i64);
                let rows: Vec<Row> = sqlx::query_as(
                    "SELECT region, topic, part, offset_from, offset_to, of_wseq, writer, wseq \
                     FROM ledger_edge WHERE of_writer = $1 AND of_wseq BETWEEN $2 AND $3",
                )
                .bind(writer.0.to_vec())
                .bind(number::<u64, i64>(from)?)
                .bind(number::<u64, i64>(to)?)
                .fetch_all(&self.readers)
                .await?;
                rows.into_iter()
                    .map(|(region, topic, partition, offset_from, offset_to, of, by, wseq)| {
                        let of = (writer, number(of)?);
                        let (partition, wseq) = (number(partition)?, number(wseq)?);
                        let edge =
                            Edge { region, topic, partition, offset_from, offset_to, of, wseq };
                        Ok((writer_of(&by)?, edge))
                    })
                    .collect()
            })
        }

        fn named(&self) -> Answer<'_, Vec<(&'static str, WriterId, u64)>> {
            Box::pin(async move {
                // From one writer to the next by the key, as in `heads`.
                let rows: Vec<(i64, Vec<u8>, i64)> = sqlx::query_as(
                    "WITH RECURSIVE m (writer) AS ( \
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
                     UNION ALL SELECT 2, w.writer, 0 FROM ledger_writer w",
                )
                .fetch_all(&self.readers)
                .await?;
                rows.into_iter()
                    .map(|(table, writer, wseq)| {
                        let table = NAMING.get(number::<i64, usize>(table)?).copied();
                        Ok((table.unwrap_or_default(), writer_of(&writer)?, number(wseq)?))
                    })
                    .collect()
            })
        }

        fn close(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(async move {
                self.books.close().await;
                self.writer.close().await;
                self.readers.close().await;
                self.let_go();
            })
        }
    };
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

pub(super) use reading_methods;
