//! Verification of a store: all rows in order, and with them the tables that it is searched by.

use std::collections::{BTreeMap, BTreeSet};

use super::{Edge, Pace, PageRow, Store, StoreError, Url, read_only};
use crate::{
    Exported, WriterId,
    verify::{Beside, Lookup, Stored, Verdict, Verifier},
};

/// Re-hashes a whole store, page by page, without write access, and compares the tables that it is
/// searched by with the rows. `each` sees every record, for an export.
pub async fn verify_store(
    url: &Url,
    mut each: impl FnMut(Exported),
) -> Result<Verdict, StoreError> {
    let store = read_only(url).await?;
    let verdict = verify(&*store, &mut each).await;
    store.close().await;
    verdict
}

pub(super) async fn verify(
    store: &dyn Store,
    each: &mut impl FnMut(Exported),
) -> Result<Verdict, StoreError> {
    // What was there at one moment, since rows refer to rows of other writers: read one after the
    // other while they grow, one chain would speak of rows that another did not have yet.
    let heads = store.heads().await?.into_iter().map(|head| (head.writer, head.wseq));
    let heads: BTreeMap<_, _> = heads.collect();
    let mut check = Check {
        store,
        verifier: Verifier::default().with_tables(),
        newest: heads.clone(),
        heads,
        exported: BTreeSet::new(),
        pace: Pace::new(store).await?,
    };
    // Rows before what they refer to, treatments apart, which come when a row asks for them: a
    // running writer adds to both, and a row is never there before what it refers to. The other way
    // round, a ledger in use would seem to diverge.
    check.rows(each).await?;
    check.details(each).await?;
    check.releases().await?;
    check.tables().await?;
    // Not all of `ledger_blob`: what no row commits to is nobody's evidence.
    for digest in check.verifier.wanted_blobs() {
        let Some(bytes) = store.blob(&digest).await? else { continue };
        check.verifier.blob(&digest, &bytes);
        each(Exported::Blob { digest: digest.to_vec(), bytes });
    }
    Ok(check.verifier.finish())
}

struct Check<'a> {
    store: &'a dyn Store,
    verifier: Verifier,
    /// The newest row of each writer when the verification began.
    heads: BTreeMap<WriterId, u64>,
    /// The newest row of each writer as far as known.
    newest: BTreeMap<WriterId, u64>,
    /// Treatments that rows asked for.
    exported: BTreeSet<Vec<u8>>,
    pace: Pace,
}

impl Check<'_> {
    async fn rows(&mut self, each: &mut impl FnMut(Exported)) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.store.rows(after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some((last.writer, last.wseq));
            for rows in page.chunk_by(|a, b| a.writer == b.writer) {
                let (Some(first), Some(last)) = (rows.first(), rows.last()) else { continue };
                let edges = self.store.lookups(first.writer, first.wseq, last.wseq).await?;
                for (writer, edge) in edges {
                    self.lookup(writer, &edge).await?;
                }
            }
            for row in page {
                self.row(row, each).await?;
            }
            self.pace.pause(self.store).await?;
        }
    }

    async fn row(
        &mut self,
        row: PageRow,
        each: &mut impl FnMut(Exported),
    ) -> Result<(), StoreError> {
        let PageRow { writer, wseq, t_us, segment, bytes, link, manifest, filter } = row;
        if !self.has(writer, wseq) {
            return Ok(());
        }
        let stored = Stored {
            writer,
            wseq,
            bytes: &bytes,
            link: Some(&link),
            manifest: manifest.as_deref(),
            beside: Some(Beside { t_us, segment, filter: filter.as_deref() }),
        };
        if let Err(missing) = self.verifier.try_row(&stored) {
            for digest in missing {
                let Some(bytes) = self.store.detail(&digest).await? else { continue };
                self.verifier.detail(&digest, &bytes);
                if self.exported.insert(digest.to_vec()) {
                    each(Exported::Detail { digest: digest.to_vec(), bytes });
                }
            }
            self.verifier.row(&stored);
        }
        each(Exported::Row { writer, wseq, bytes, manifest });
        Ok(())
    }

    async fn lookup(&mut self, writer: WriterId, edge: &Edge) -> Result<(), StoreError> {
        if self.has(writer, edge.wseq) && self.has(edge.of.0, edge.of.1) {
            self.verifier.lookup(&Lookup {
                region: &edge.region,
                topic: &edge.topic,
                partition: edge.partition,
                offset_from: edge.offset_from,
                offset_to: edge.offset_to,
                of: edge.of,
                at: (writer, edge.wseq),
            });
            return Ok(());
        }
        self.named("ledger_edge", writer, edge.wseq).await
    }

    /// Treatments that no row asked for: behind a divergence none does.
    async fn details(&mut self, each: &mut impl FnMut(Exported)) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.store.details(after.take()).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (digest, bytes) in page {
                if !self.exported.contains(&digest[..]) {
                    each(Exported::Detail { digest, bytes });
                }
            }
            self.pace.pause(self.store).await?;
        }
    }

    async fn releases(&mut self) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.store.listed(after).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for release in page {
                let at = release.at;
                if !self.verifier.listed(&release.id, &at) {
                    if self.has(at.writer, at.wseq) {
                        self.verifier.gone("ledger_release", at.writer, at.wseq);
                    }
                    self.named("ledger_release", at.writer, at.wseq).await?;
                }
            }
        }
        let mut after = None;
        loop {
            let page = self.store.charged(after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(*last);
            for id in page {
                self.verifier.charged(&id);
            }
        }
    }

    /// Rows that tables name: the newest of each writer are enough, as a chain has no holes.
    async fn tables(&mut self) -> Result<(), StoreError> {
        for (table, writer, wseq) in self.store.named().await? {
            self.named(table, writer, wseq).await?;
        }
        Ok(())
    }

    fn has(&self, writer: WriterId, wseq: u64) -> bool {
        self.heads.get(&writer).is_some_and(|head| wseq <= *head)
    }

    /// A row that a table names is there, or was written meanwhile.
    async fn named(
        &mut self,
        table: &'static str,
        writer: WriterId,
        wseq: u64,
    ) -> Result<(), StoreError> {
        let is_known = |newest: &BTreeMap<_, _>| newest.get(&writer).is_some_and(|n| wseq <= *n);
        if is_known(&self.newest) {
            return Ok(());
        }
        if let Some((head, _)) = self.store.head(writer).await? {
            self.newest.insert(writer, head);
        }
        if !is_known(&self.newest) {
            self.verifier.gone(table, writer, wseq);
        }
        Ok(())
    }
}
