//! Granted reads: what was really read of one is said once, and lies within what was granted.

use std::collections::BTreeMap;

use super::{Divergence, What};
use crate::{OffsetRange, ReadAccess, ReadClosed, ReadState, WriterId};

const BEYOND: What = What::Rule("more was read than was granted");
const NO_GRANT: What = What::Rule("a read is closed that was not granted, or closed before");

/// Where a grant is closed, and what was read of it.
type Closing = ((WriterId, u64), Vec<OffsetRange>);

#[derive(Default)]
pub(super) struct Reads {
    granted: BTreeMap<[u8; 16], Vec<OffsetRange>>,
    /// Closings of grants that were not met yet: another writer's.
    early: BTreeMap<[u8; 16], Closing>,
}

impl Reads {
    pub(super) fn read(&mut self, read: &ReadAccess) -> Result<(), What> {
        if read.treatments.len() > 1 {
            return Err(What::Rule("a read has more than one view"));
        }
        if read.ranges.iter().any(|range| range.from > range.to) {
            return Err(What::Rule("a range of a read goes backwards"));
        }
        if read.state == ReadState::Shown {
            return Ok(());
        }
        match self.early.remove(&read.id) {
            Some((_, ranges)) => within(&read.ranges, &ranges),
            None if self.granted.insert(read.id, read.ranges.clone()).is_some() => {
                Err(What::Rule("a read is granted twice"))
            }
            None => Ok(()),
        }
    }

    pub(super) fn closed(&mut self, at: (WriterId, u64), closed: &ReadClosed) -> Result<(), What> {
        match self.granted.remove(&closed.id) {
            Some(granted) => within(&granted, &closed.ranges),
            None if self.early.insert(closed.id, (at, closed.ranges.clone())).is_some() => {
                Err(NO_GRANT)
            }
            None => Ok(()),
        }
    }

    /// Where rows are no longer kept, a grant may have been in one of them.
    pub(super) fn finish(&self, is_cut: bool) -> Option<Divergence> {
        let ((writer, wseq), _) = self.early.values().next().filter(|_| !is_cut)?;
        Some(Divergence { writer: *writer, wseq: *wseq, what: NO_GRANT })
    }
}

fn within(granted: &[OffsetRange], read: &[OffsetRange]) -> Result<(), What> {
    let is_granted =
        |range: &OffsetRange| range.from <= range.to && granted.iter().any(|g| g.holds(range));
    if read.iter().all(is_granted) { Ok(()) } else { Err(BEYOND) }
}
