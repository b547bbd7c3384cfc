//! Where records are: look-ups by offset, which can be made anew from the rows.

use std::collections::BTreeSet;

use super::{Edge, EdgeRow, Store, StoreError, each};
use crate::{WriterId, entry::PLACES_MAX};

const AT_OFFSET: &str = "SELECT region, writer, wseq FROM ledger_edge \
     WHERE topic = $1 AND part = $2 \
     AND offset_from BETWEEN $3 AND $4 AND offset_to >= $4 \
     AND ($5 = '' OR region = $5)";

const OUTCOMES_OF: &str = "SELECT writer, wseq FROM ledger_edge \
     WHERE of_writer = $1 AND of_wseq = $2";

const LOOKUPS_OF: &str = "SELECT writer, region, topic, part, offset_from, offset_to, of_wseq, wseq \
     FROM ledger_edge WHERE of_writer = $1 AND of_wseq BETWEEN $2 AND $3";

impl dyn Store + '_ {
    pub(crate) async fn edges(
        &self,
        region: Option<&str>,
        topic: &str,
        partition: u32,
        offset: i64,
    ) -> Result<BTreeSet<EdgeRow>, StoreError> {
        let from = offset.saturating_sub(PLACES_MAX as i64);
        let region = region.unwrap_or_default();
        let args = [topic.into(), partition.into(), from.into(), offset.into(), region.into()];
        each(self.read(AT_OFFSET, &args).await?, |row| {
            Ok(EdgeRow { region: row.text()?, writer: row.writer()?, wseq: row.number()? })
        })
    }

    /// Rows whose outcome belongs to an intent.
    pub(crate) async fn outcomes(
        &self,
        writer: WriterId,
        wseq: u64,
    ) -> Result<BTreeSet<(WriterId, u64)>, StoreError> {
        let rows = self.read(OUTCOMES_OF, &[(&writer).into(), wseq.into()]).await?;
        each(rows, |row| Ok((row.writer()?, row.number()?)))
    }

    /// Look-ups of events whose intents are in rows from one to another, with the writer of the
    /// outcome.
    pub(crate) async fn lookups(
        &self,
        writer: WriterId,
        from: u64,
        to: u64,
    ) -> Result<Vec<(WriterId, Edge)>, StoreError> {
        let rows = self.read(LOOKUPS_OF, &[(&writer).into(), from.into(), to.into()]).await?;
        each(rows, |row| {
            let by = row.writer()?;
            let edge = Edge {
                region: row.text()?,
                topic: row.text()?,
                partition: row.number()?,
                offset_from: row.number()?,
                offset_to: row.number()?,
                of: (writer, row.number()?),
                wseq: row.number()?,
            };
            Ok((by, edge))
        })
    }
}
