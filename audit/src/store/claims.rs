//! At-most-once keys, and intents that have no end.

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

pub(super) const OPEN_COUNT: &str =
    "SELECT count(*) FROM (SELECT 1 FROM ledger_intent LIMIT $1) AS open";
pub(super) const CLAIM: &str = "SELECT fingerprint, node, writer, wseq, leaf, at_us, answer \
     FROM ledger_claim WHERE key = $1 AND expires_us > $2";

pub(super) const OPEN_INTENTS: &str = "SELECT i.writer, i.wseq, i.leaf FROM ledger_intent i \
     JOIN ledger_writer w ON w.writer = i.writer \
     WHERE w.node = $1 AND i.writer <> $2 ORDER BY i.writer, i.wseq, i.leaf";

pub(super) const OPEN_ELSEWHERE: &str = "SELECT DISTINCT w.node, w.writer FROM ledger_intent i \
     JOIN ledger_writer w ON w.writer = i.writer WHERE w.node <> $1";

/// Implements [`Claims`](super::Claims) for a type with a field `readers`.
macro_rules! claim_methods {
    () => {
        fn open_count(&self, max: u32) -> Answer<'_, u64> {
            Box::pin(async move {
                let open = sqlx::query_scalar::<_, i64>(claims::OPEN_COUNT).bind(i64::from(max));
                number(open.fetch_one(&self.readers).await?)
            })
        }

        fn claim<'a>(&'a self, key: &'a [u8; 32], now_us: i64) -> Answer<'a, Option<ClaimRow>> {
            Box::pin(async move {
                type Claim = (Vec<u8>, String, Vec<u8>, i64, i64, i64, Option<Vec<u8>>);
                let row: Option<Claim> = sqlx::query_as(claims::CLAIM)
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
                let rows: Vec<(Vec<u8>, i64, i64)> = sqlx::query_as(claims::OPEN_INTENTS)
                    .bind(node)
                    .bind(not.0.to_vec())
                    .fetch_all(&self.readers)
                    .await?;
                rows.into_iter()
                    .map(|(writer, wseq, leaf)| {
                        Ok((writer_of(&writer)?, number(wseq)?, number(leaf)?))
                    })
                    .collect()
            })
        }

        fn open_elsewhere<'a>(&'a self, node: &'a str) -> Answer<'a, Vec<(String, WriterId)>> {
            Box::pin(async move {
                let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(claims::OPEN_ELSEWHERE)
                    .bind(node)
                    .fetch_all(&self.readers)
                    .await?;
                rows.into_iter().map(|(node, writer)| Ok((node, writer_of(&writer)?))).collect()
            })
        }
    };
}

pub(super) use claim_methods;
