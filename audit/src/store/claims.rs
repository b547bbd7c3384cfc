//! At-most-once keys, and intents that have no end.

use super::{ClaimRow, Store, StoreError, each, first, query::Columns};
use crate::WriterId;

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

const OPEN_COUNT: &str = "SELECT count(*) FROM (SELECT 1 FROM ledger_intent LIMIT $1) AS open";
const CLAIM: &str = "SELECT fingerprint, node, writer, wseq, leaf, at_us, answer \
     FROM ledger_claim WHERE key = $1 AND expires_us > $2";

const OPEN_INTENTS: &str = "SELECT i.writer, i.wseq, i.leaf FROM ledger_intent i \
     JOIN ledger_writer w ON w.writer = i.writer \
     WHERE w.node = $1 AND i.writer <> $2 ORDER BY i.writer, i.wseq, i.leaf";

const OPEN_ELSEWHERE: &str = "SELECT w.node, w.writer, count(*) FROM ledger_intent i \
     JOIN ledger_writer w ON w.writer = i.writer WHERE w.node <> $1 GROUP BY w.node, w.writer";

impl dyn Store + '_ {
    pub(crate) async fn claim(
        &self,
        key: &[u8; 32],
        now_us: i64,
    ) -> Result<Option<ClaimRow>, StoreError> {
        first(self.read(CLAIM, &[key.into(), now_us.into()]).await?, |row| {
            Ok(ClaimRow {
                fingerprint: row.bytes()?,
                node: row.text()?,
                writer: row.writer()?,
                wseq: row.number()?,
                leaf: row.number()?,
                at_us: row.number()?,
                answer: row.some_bytes()?,
            })
        })
    }

    /// Intents without an end, of a node's former writers.
    pub(crate) async fn open_intents(
        &self,
        node: &str,
        not: WriterId,
    ) -> Result<Vec<(WriterId, u64, u32)>, StoreError> {
        let rows = self.read(OPEN_INTENTS, &[node.into(), (&not).into()]).await?;
        each(rows, |row| Ok((row.writer()?, row.number()?, row.number()?)))
    }

    /// Other nodes' writers with intents without an end, and how many each has.
    pub(crate) async fn open_elsewhere(
        &self,
        node: &str,
    ) -> Result<Vec<(String, WriterId, u64)>, StoreError> {
        let rows = self.read(OPEN_ELSEWHERE, &[node.into()]).await?;
        each(rows, |row| Ok((row.text()?, row.writer()?, row.number()?)))
    }

    /// Intents of all writers without an end, `max` at most.
    pub(crate) async fn open_count(&self, max: u32) -> Result<u64, StoreError> {
        let count = first(self.read(OPEN_COUNT, &[max.into()]).await?, Columns::number)?;
        Ok(count.unwrap_or(0))
    }
}
