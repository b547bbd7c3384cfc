//! A release's messages as the bytes that the ledger keeps, and back.
//!
//! A blob is messages one after the other: length of the key (u32 BE), key, length of the value
//! (u32 BE), value. A message is never split between two blobs.

use sluicegate_policies::release::{PaneId, ReleasePlan};

use super::{
    Message,
    encode::{self, PaneHistory, ReleaseId},
    smooth::Smoothed,
};

/// A blob is closed when it is larger than this.
const BLOB_BYTES: usize = 256 << 10;

/// The id of a pane's release: the number behind [`ReleaseId`]'s hex digits.
pub fn release_id(release: &str, pane: PaneId) -> [u8; 16] {
    // INVARIANT: it is 32 hex digits.
    u128::from_str_radix(ReleaseId::new(release, pane).as_str(), 16).unwrap_or(0).to_be_bytes()
}

pub fn blobs(messages: &[Message]) -> Vec<Vec<u8>> {
    let mut blobs = Vec::new();
    let mut blob = Vec::new();
    for message in messages {
        for part in [&message.key, &message.value] {
            blob.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            blob.extend_from_slice(part);
        }
        if blob.len() > BLOB_BYTES {
            blobs.push(std::mem::take(&mut blob));
        }
    }
    if !blob.is_empty() {
        blobs.push(blob);
    }
    blobs
}

/// None if the bytes are not those of messages.
pub fn messages(blobs: &[Vec<u8>]) -> Option<Vec<Message>> {
    let mut messages = Vec::new();
    for blob in blobs {
        let mut rest = blob.as_slice();
        while !rest.is_empty() {
            let (key, value);
            (key, rest) = part(rest)?;
            (value, rest) = part(rest)?;
            messages.push(Message { key: key.to_vec(), value: value.to_vec() });
        }
    }
    Some(messages)
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

/// Earlier panes that a pane's messages speak of.
pub fn history_needed(plan: &ReleasePlan) -> u32 {
    let window = plan.schedule.panes_per_window.saturating_sub(1);
    window.max(u32::from(plan.smoothing.is_some()))
}

/// What earlier panes published, oldest first; none where a pane was not released.
pub fn history(
    plan: &ReleasePlan,
    panes: Vec<Option<Vec<Message>>>,
) -> (PaneHistory, Option<Smoothed>) {
    let mut history = PaneHistory::default();
    let mut newest = None;
    for messages in panes {
        // What another plan of this name published says nothing about this one's numbers.
        let read = messages.and_then(|messages| {
            encode::read_back(plan, messages.iter().map(|message| message.value.as_slice())).ok()
        });
        newest = read.map(|(pane, noisy, smoothed)| {
            history.panes.insert(pane, noisy);
            smoothed
        });
    }
    (history, newest)
}

/// The pane that a message of this release speaks of, whatever plan made it.
pub fn pane_of_message(release: &str, value: &[u8]) -> Option<PaneId> {
    let message: serde_json::Value = serde_json::from_slice(value).ok()?;
    let window = message.get("window")?;
    let pane = PaneId {
        start_ms: window.get("start_ms")?.as_i64()?,
        end_ms: window.get("end_ms")?.as_i64()?,
        revision: u32::try_from(message.get("revision")?.as_u64()?).ok()?,
    };
    let id = ReleaseId::new(release, pane);
    (message.get("release_id")?.as_str()? == id.as_str()).then_some(pane)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_were_in_blobs_of_bounded_size() {
        let message = |n: u32| Message {
            key: n.to_be_bytes().to_vec(),
            value: vec![b'x'; (n as usize * 7_919) % 70_000],
        };
        let some: Vec<Message> = (0..60).map(message).collect();
        let stored = blobs(&some);
        assert!(stored.len() > 3);
        assert!(stored.iter().all(|blob| blob.len() < BLOB_BYTES + 80_000));
        assert_eq!(messages(&stored).as_deref(), Some(&some[..]));
        for end in 1..stored[0].len().min(300) {
            let cut = vec![stored[0][..end].to_vec()];
            let whole = messages(&cut).is_none_or(|read| some.starts_with(&read));
            assert!(whole, "cut at {end}");
        }
    }
}
