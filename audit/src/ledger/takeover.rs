//! What another node left open, when it does not come back: its name is held, its chains are ended
//! for it, and its intents can be settled.
//!
//! INVARIANT: a chain that was ended here gets no further row. The row that ends it has the next
//! number, which the store gives once: whichever of the two writers comes second finds a row under
//! its chain that is not its own, and a writer that finds that is fenced.

use std::collections::BTreeMap;

use super::{Ledger, OpenIntent};
use crate::{
    Entry, Row, WriterId,
    row::link_of,
    store::{Commit, Hold, NewRow, StoreError},
    tree,
};

/// Another node with intents that have no end.
#[derive(Debug, Default)]
pub struct OpenNode {
    pub intents: u64,
    /// Somebody holds its name: it runs, or did until its connection ends.
    pub is_held: bool,
    pub chains: Vec<OpenChain>,
}

/// A chain with intents that have no end, as far as it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenChain {
    pub writer: WriterId,
    pub wseq: u64,
    pub closed: bool,
}

/// Another node's name: until this is dropped, no gateway runs under it on this ledger.
pub struct HeldNode<'l> {
    ledger: &'l Ledger,
    node: String,
    _name: Hold,
}

impl Ledger {
    /// Other nodes with intents that have no end. A gateway that runs has some at any time, and a
    /// heartbeat moves its chain.
    pub async fn open_elsewhere(&self) -> Result<BTreeMap<String, OpenNode>, StoreError> {
        let mut open: BTreeMap<String, OpenNode> = BTreeMap::new();
        for (node, writer, intents) in self.store.open_elsewhere(&self.node).await? {
            let Some((wseq, row)) = self.head_row(writer).await? else { continue };
            let node = open.entry(node).or_default();
            node.intents = node.intents.saturating_add(intents);
            node.chains.push(OpenChain { writer, wseq, closed: is_end(&row) });
        }
        for (name, node) in &mut open {
            node.chains.sort_unstable();
            node.is_held = self.store.is_held(name).await?;
        }
        Ok(open)
    }

    /// `None` while a gateway has the name.
    pub async fn hold(&self, node: &str) -> Result<Option<HeldNode<'_>>, StoreError> {
        let held = self.store.hold(node).await?;
        Ok(held.map(|name| HeldNode { ledger: self, node: node.to_owned(), _name: name }))
    }

    pub(super) async fn head_row(
        &self,
        writer: WriterId,
    ) -> Result<Option<(u64, Row)>, StoreError> {
        let Some((wseq, _)) = self.store.head(writer).await? else { return Ok(None) };
        let Some(stored) = self.store.row(writer, wseq).await? else { return Ok(None) };
        let row = Row::decode(&stored.bytes).map_err(|e| StoreError::Corrupt(e.to_string()))?;
        Ok(Some((wseq, row)))
    }
}

impl HeldNode<'_> {
    /// Intents of all of the node's chains that have no end.
    pub async fn open_intents(&self) -> Result<Vec<OpenIntent>, StoreError> {
        self.ledger.open_of(&self.node).await
    }

    /// Ends a chain of the node for its writer.
    pub async fn close(&self, chain: &OpenChain) -> Result<(), StoreError> {
        let Some((wseq, row)) = self.ledger.head_row(chain.writer).await? else { return Ok(()) };
        if is_end(&row) {
            return Ok(());
        }
        // As a node's next start does it: whoever reads on from an end knows which release stands.
        let lost = self.ledger.store.lost_releases(&self.node, self.ledger.writer).await?;
        let lost: Vec<_> = lost.into_iter().filter(|v| v.of.writer == chain.writer).collect();
        let mut commit =
            Commit { voided: lost.iter().map(|void| void.of).collect(), ..Commit::default() };
        let mut entries: Vec<Entry> = lost.into_iter().map(Entry::ReleaseVoid).collect();
        entries.push(Entry::WriterClose);
        // The time of the row before: another node's clock is no floor for this one's next start.
        let prev = link_of(&row.encode());
        let end = Row {
            wseq: wseq.saturating_add(1),
            prev,
            entries,
            leaves: 0,
            root: tree::root(std::iter::empty()),
            ..row
        };
        let bytes = end.encode();
        commit.rows.push(NewRow {
            wseq: end.wseq,
            t_us: end.t_us,
            segment: end.segment,
            link: link_of(&bytes),
            bytes,
            prev,
            manifest: None,
        });
        self.ledger.store.commit(chain.writer, &self.node, &commit).await?;
        Ok(())
    }
}

fn is_end(row: &Row) -> bool {
    row.entries.iter().any(|entry| matches!(entry, Entry::WriterClose))
}
