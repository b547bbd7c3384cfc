//! Where records are: look-ups by offset, which can be made anew from the rows.

pub(super) const AT_OFFSET: &str = "SELECT region, writer, wseq FROM ledger_edge \
     WHERE topic = $1 AND part = $2 \
     AND offset_from BETWEEN $3 AND $4 AND offset_to >= $4 \
     AND ($5 = '' OR region = $5)";

pub(super) const OUTCOMES_OF: &str = "SELECT writer, wseq FROM ledger_edge \
     WHERE of_writer = $1 AND of_wseq = $2";

pub(super) const LOOKUPS_OF: &str = "SELECT region, topic, part, offset_from, offset_to, of_wseq, writer, wseq \
     FROM ledger_edge WHERE of_writer = $1 AND of_wseq BETWEEN $2 AND $3";

/// Implements [`Index`](super::Index) for a type with a field `readers`.
macro_rules! index_methods {
    () => {
        fn edges<'a>(
            &'a self,
            region: Option<&'a str>,
            topic: &'a str,
            partition: u32,
            offset: i64,
        ) -> Answer<'a, BTreeSet<EdgeRow>> {
            Box::pin(async move {
                let rows: Vec<(String, Vec<u8>, i64)> = sqlx::query_as(index::AT_OFFSET)
                    .bind(topic)
                    .bind(i64::from(partition))
                    .bind(offset.saturating_sub(crate::entry::PLACES_MAX as i64))
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
                let rows: Vec<(Vec<u8>, i64)> = sqlx::query_as(index::OUTCOMES_OF)
                    .bind(writer.0.to_vec())
                    .bind(number::<u64, i64>(wseq)?)
                    .fetch_all(&self.readers)
                    .await?;
                rows.into_iter()
                    .map(|(writer, wseq)| Ok((writer_of(&writer)?, number(wseq)?)))
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
                let rows: Vec<Row> = sqlx::query_as(index::LOOKUPS_OF)
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
    };
}

pub(super) use index_methods;
