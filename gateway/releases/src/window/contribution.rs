//! A contribution as bytes: version 1, subject (16), id (16), event and arrival (i64 BE), length
//! of the key (u32 BE) and key, number of values (u16 BE), and each value as 0, or 1 and i64 BE.

use std::sync::Arc;

use super::{Contribution, Subject};

const VERSION: u8 = 1;

/// The bytes are not those of a contribution. What they hold is not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a contribution")]
pub struct NotAContribution;

impl Contribution {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64 + self.key.len() + 9 * self.values.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.subject.0);
        bytes.extend_from_slice(&self.id);
        bytes.extend_from_slice(&self.event_ms.to_be_bytes());
        bytes.extend_from_slice(&self.arrival_ms.to_be_bytes());
        bytes.extend_from_slice(&u32::try_from(self.key.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(self.key.as_bytes());
        let count = u16::try_from(self.values.len()).unwrap_or(u16::MAX);
        bytes.extend_from_slice(&count.to_be_bytes());
        for value in &self.values {
            bytes.push(u8::from(value.is_some()));
            bytes.extend(value.iter().flat_map(|value| value.to_be_bytes()));
        }
        bytes
    }

    /// Total: whatever the bytes, an answer.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotAContribution> {
        let mut rest = bytes;
        let contribution = read(&mut rest).ok_or(NotAContribution)?;
        if rest.is_empty() { Ok(contribution) } else { Err(NotAContribution) }
    }
}

fn read(rest: &mut &[u8]) -> Option<Contribution> {
    if take::<1>(rest)? != [VERSION] {
        return None;
    }
    let (subject, id) = (take::<16>(rest)?, take::<16>(rest)?);
    let event_ms = i64::from_be_bytes(take(rest)?);
    let arrival_ms = i64::from_be_bytes(take(rest)?);
    let length = u32::from_be_bytes(take(rest)?) as usize;
    let (key, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    let key = std::str::from_utf8(key).ok()?;
    let count = u16::from_be_bytes(take(rest)?);
    let mut values = Vec::with_capacity(usize::from(count).min(rest.len()));
    for _ in 0..count {
        values.push(match take::<1>(rest)? {
            [0] => None,
            [1] => Some(i64::from_be_bytes(take(rest)?)),
            _ => return None,
        });
    }
    let (subject, key) = (Subject(subject), Arc::from(key));
    Some(Contribution { subject, key, event_ms, arrival_ms, id, values })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*taken)
}
