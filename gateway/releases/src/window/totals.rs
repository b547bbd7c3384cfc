//! Totals added up, and as bytes: the number of keys (u32 BE), and for each, ascending, its length
//! (u32 BE), its bytes, the number of its totals (u16 BE) and these (i64 BE).

use std::sync::Arc;

use super::{Aborted, Totals};

impl Totals {
    /// Adds another task's totals of the same pane.
    pub fn add(&mut self, other: Self) -> Result<(), Aborted> {
        for (key, totals) in other.by_key {
            self.add_row(&key, &totals)?;
        }
        Ok(())
    }

    pub(super) fn add_row(&mut self, key: &Arc<str>, totals: &[i64]) -> Result<(), Aborted> {
        let Some(row) = self.by_key.get_mut(key) else {
            self.by_key.insert(key.clone(), totals.to_vec());
            return Ok(());
        };
        for (sum, total) in row.iter_mut().zip(totals) {
            *sum = sum.checked_add(*total).ok_or(Aborted::Overflow)?;
        }
        Ok(())
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let length = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes();
        bytes.extend_from_slice(&length(self.by_key.len()));
        for (key, totals) in &self.by_key {
            bytes.extend_from_slice(&length(key.len()));
            bytes.extend_from_slice(key.as_bytes());
            let count = u16::try_from(totals.len()).unwrap_or(u16::MAX);
            bytes.extend_from_slice(&count.to_be_bytes());
            bytes.extend(totals.iter().flat_map(|total| total.to_be_bytes()));
        }
        bytes
    }

    /// None if the bytes are not those of totals.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (count, mut rest) = bytes.split_first_chunk::<4>()?;
        let mut totals = Self::default();
        for _ in 0..u32::from_be_bytes(*count) {
            let (length, behind) = rest.split_first_chunk::<4>()?;
            let (key, behind) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            let (count, behind) = behind.split_first_chunk::<2>()?;
            let size = usize::from(u16::from_be_bytes(*count)) * 8;
            let (row, behind) = behind.split_at_checked(size)?;
            let row = row.as_chunks::<8>().0.iter().map(|total| i64::from_be_bytes(*total));
            let key = std::str::from_utf8(key).ok()?;
            if totals.by_key.last_key_value().is_some_and(|(last, _)| **last >= *key) {
                return None;
            }
            totals.by_key.insert(Arc::from(key), row.collect());
            rest = behind;
        }
        rest.is_empty().then_some(totals)
    }
}
