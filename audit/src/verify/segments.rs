//! Segments: each chain enters one in a row that says so, and the heads that openings name are
//! there, unless their segment is no longer kept.

use std::collections::BTreeMap;

use super::{Divergence, What};
use crate::{ChainHead, Entry, Link, Row, SegmentOpen, WriterId};

#[derive(Default)]
pub(super) struct Segments {
    /// Key and check of each segment that was opened.
    keys: BTreeMap<u32, (String, [u8; 16])>,
    /// The oldest segment of a row.
    oldest: Option<u32>,
    /// Rows that openings name and that were not met yet: they seal the chains before, whose tails
    /// could otherwise be cut unseen.
    named: BTreeMap<(WriterId, u64), (Link, u32)>,
    /// Whether a chain begins behind its first row.
    begins_late: bool,
}

/// The head that the first kept row of a chain names as its own: what it is chained to.
pub(super) fn predecessor(row: &Row) -> Option<Link> {
    own_head(row).filter(|head| head.segment < row.segment).map(|head| head.link)
}

fn openings(row: &Row) -> impl Iterator<Item = &SegmentOpen> {
    row.entries.iter().filter_map(|entry| match entry {
        Entry::SegmentOpen(open) => Some(open),
        _ => None,
    })
}

fn own_head(row: &Row) -> Option<&ChainHead> {
    let before = row.wseq.checked_sub(1)?;
    let is_own = |head: &&ChainHead| (head.writer, head.wseq) == (row.writer, before);
    openings(row).flat_map(|open| &open.heads).find(is_own)
}

impl Segments {
    /// `before` is the segment of the chain's row before, if that is kept.
    pub(super) fn row(&mut self, row: &Row, before: Option<u32>, link: Link) -> Result<(), What> {
        if before.is_some_and(|before| before > row.segment) {
            return Err(What::Rule("a chain goes back to an older segment"));
        }
        for open in openings(row) {
            if open.segment != row.segment {
                return Err(What::Rule("a segment is opened in a row of another one"));
            }
            let ours = (open.key.clone(), open.check);
            if *self.keys.entry(open.segment).or_insert_with(|| ours.clone()) != ours {
                return Err(What::Rule("a segment is opened with another search key"));
            }
        }
        if before != Some(row.segment) {
            self.enters(row, before)?;
        }
        self.begins_late |= before.is_none() && row.wseq > 0;
        self.oldest = self.oldest.map_or(Some(row.segment), |old| Some(old.min(row.segment)));
        if let Some((sealed, segment)) = self.named.remove(&(row.writer, row.wseq))
            && (sealed, segment) != (link, row.segment)
        {
            return Err(What::Sealed);
        }
        let sealed = row.entries.iter().flat_map(|entry| match entry {
            Entry::WriterOpen(open) => &open.predecessor[..],
            Entry::SegmentOpen(open) => &open.heads[..],
            _ => &[],
        });
        let sealed = sealed.filter(|head| (head.writer, head.link) != (row.writer, row.prev));
        self.named.extend(sealed.map(|h| ((h.writer, h.wseq), (h.link, h.segment))));
        Ok(())
    }

    fn enters(&mut self, row: &Row, before: Option<u32>) -> Result<(), What> {
        if openings(row).next().is_none() {
            return Err(What::Rule("a chain enters a segment and does not say so"));
        }
        let Some(head) = own_head(row) else {
            return match row.wseq {
                0 => Ok(()),
                _ => Err(What::Rule("a chain enters a segment and does not name its own head")),
            };
        };
        if head.link != row.prev || before.is_some_and(|before| before != head.segment) {
            return Err(What::Rule("a chain enters a segment and names another head as its own"));
        }
        if before.is_none() {
            // The row that it names is not kept: its segment must not be either.
            self.named.insert((head.writer, head.wseq), (head.link, head.segment));
        }
        Ok(())
    }

    /// The oldest segment that is kept, where something before it is not; and a named row that
    /// never came, or came otherwise. A row that came before it was named and has rows behind it is
    /// held by their chain; only its link is no longer at hand.
    pub(super) fn finish(
        &self,
        chain: impl Fn(&WriterId) -> Option<(u64, u64, Link)>,
    ) -> (Option<u32>, Option<Divergence>) {
        let oldest = self.oldest.unwrap_or_default();
        let mut is_cut = self.begins_late;
        for ((writer, wseq), (link, segment)) in &self.named {
            let is_there = chain(writer).is_some_and(|(first, last, head)| {
                (first..last).contains(wseq) || (*wseq == last && head == *link)
            });
            if is_there {
                continue;
            }
            if *segment >= oldest {
                let gone = Divergence { writer: *writer, wseq: *wseq, what: What::Sealed };
                return (None, Some(gone));
            }
            is_cut = true;
        }
        (is_cut.then_some(oldest), None)
    }
}
