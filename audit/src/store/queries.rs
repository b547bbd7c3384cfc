//! The reading half of both engines. The texts are the same for both (`$1` is a parameter in
//! either), so they stand here once; a macro only names the pool they run on.

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
                         AND EXISTS (SELECT 1 FROM ledger_row x WHERE x.writer = w.writer) \
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

        fn register<'a>(&'a self, writer: WriterId, node: &'a str, at_us: i64) -> Answer<'a, ()> {
            Box::pin(async move {
                // A predecessor whose clock was ahead must not stay the last one.
                sqlx::query(
                    "INSERT INTO ledger_writer (writer, node, opened_us) \
                     SELECT $1, $2, CASE WHEN newest >= $3 THEN newest + 1 ELSE $3 END FROM \
                     (SELECT coalesce(max(opened_us), $3 - 1) AS newest FROM ledger_writer \
                      WHERE node = $2) AS earlier",
                )
                .bind(writer.0.to_vec())
                .bind(node)
                .bind(at_us)
                .execute(&self.writer)
                .await?;
                Ok(())
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
        ) -> Answer<'a, Vec<EdgeRow>> {
            Box::pin(async move {
                let rows: Vec<(String, Vec<u8>, i64)> = sqlx::query_as(
                    "SELECT DISTINCT region, writer, wseq FROM ledger_edge \
                     WHERE topic = $1 AND part = $2 \
                       AND offset_from BETWEEN $3 - $5 AND $3 AND offset_to >= $3 \
                       AND ($4 = '' OR region = $4)",
                )
                .bind(topic)
                .bind(i64::from(partition))
                .bind(offset)
                .bind(region.unwrap_or_default())
                .bind(crate::store::OUTCOME_EVENTS as i64)
                .fetch_all(&self.readers)
                .await?;
                rows.into_iter()
                    .map(|(region, writer, wseq)| {
                        Ok(EdgeRow { region, writer: writer_of(&writer)?, wseq: number(wseq)? })
                    })
                    .collect()
            })
        }

        fn outcomes(&self, writer: WriterId, wseq: u64) -> Answer<'_, Vec<(WriterId, u64)>> {
            Box::pin(async move {
                let rows: Vec<(Vec<u8>, i64)> = sqlx::query_as(
                    "SELECT DISTINCT writer, wseq FROM ledger_edge \
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

        fn filters(
            &self,
            from_us: i64,
            to_us: i64,
            after: Option<(WriterId, u64)>,
        ) -> Answer<'_, Vec<(WriterId, u64, Vec<u8>)>> {
            Box::pin(async move {
                let (writer, wseq) = after_key(after)?;
                let rows: Vec<(Vec<u8>, i64, Vec<u8>)> = sqlx::query_as(
                    "SELECT writer, wseq, filter FROM ledger_manifest \
                     WHERE t_us >= $1 AND t_us < $2 \
                       AND (writer > $3 OR (writer = $3 AND wseq > $4)) \
                     ORDER BY writer, wseq LIMIT $5",
                )
                .bind(from_us)
                .bind(to_us)
                .bind(writer)
                .bind(wseq)
                .bind(PAGE_ROWS)
                .fetch_all(&self.readers)
                .await?;
                rows.into_iter()
                    .map(|(writer, wseq, filter)| Ok((writer_of(&writer)?, number(wseq)?, filter)))
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
                     ORDER BY digest LIMIT $2",
                )
                .bind(after.unwrap_or_default())
                .bind(PAGE_ROWS)
                .fetch_all(&self.readers)
                .await?)
            })
        }

        fn rows(&self, after: Option<(WriterId, u64)>) -> Answer<'_, Vec<StoredRow>> {
            Box::pin(async move {
                let (writer, wseq) = after_key(after)?;
                type Row = (Vec<u8>, i64, Vec<u8>, Vec<u8>, Option<Vec<u8>>);
                let rows: Vec<Row> = sqlx::query_as(
                    "SELECT r.writer, r.wseq, r.bytes, r.link, m.leaves FROM ledger_row r \
                     LEFT JOIN ledger_manifest m ON m.writer = r.writer AND m.wseq = r.wseq \
                     WHERE r.writer > $1 OR (r.writer = $1 AND r.wseq > $2) \
                     ORDER BY r.writer, r.wseq LIMIT $3",
                )
                .bind(writer)
                .bind(wseq)
                .bind(PAGE_ROWS)
                .fetch_all(&self.readers)
                .await?;
                rows.into_iter()
                    .map(|(writer, wseq, bytes, link, manifest)| {
                        let (writer, wseq) = (writer_of(&writer)?, number(wseq)?);
                        Ok(StoredRow { writer, wseq, bytes, link: Some(link), manifest })
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
