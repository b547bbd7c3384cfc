//! Names to dense numbers, fast: the only map on the way of a decision.
//!
//! The keys are the policy's own words and the map never grows after compilation, so a sender
//! cannot make keys collide; that is why a hash without a secret is enough here.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

/// Immutable after it was collected.
#[derive(Debug, Default)]
pub(crate) struct Index {
    ids: HashMap<Arc<str>, usize, BuildHasherDefault<Fold>>,
    names: Vec<Arc<str>>,
}

impl Index {
    pub(crate) fn get(&self, name: &str) -> Option<usize> {
        self.ids.get(name).copied()
    }

    /// The name of a number; an empty name for a number of another index.
    pub(crate) fn name(&self, id: usize) -> &Arc<str> {
        static NONE: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| "".into());
        self.names.get(id).unwrap_or(&NONE)
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }
}

impl FromIterator<Arc<str>> for Index {
    fn from_iter<I: IntoIterator<Item = Arc<str>>>(names: I) -> Self {
        let names: Vec<Arc<str>> = names.into_iter().collect();
        let ids = names.iter().cloned().zip(0..).collect();
        Self { ids, names }
    }
}

/// Multiplies and folds eight bytes at a time.
#[derive(Default)]
struct Fold(u64);

impl Fold {
    fn mix(&mut self, word: u64) {
        // Two factors below 2^64 cannot overflow 128 bits.
        let product = u128::from(self.0 ^ word) * u128::from(0x9E37_79B9_7F4A_7C15_u64);
        let (low, high) = (product & u128::from(u64::MAX), product >> 64);
        self.0 = u64::try_from(low ^ high).unwrap_or(0);
    }
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|w| self.mix(u64::from_le_bytes(*w).wrapping_add(0x51)));
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(slot, b)| *slot = *b);
        self.mix(u64::from_le_bytes(last) ^ ((bytes.len() as u64) << 56) ^ 0x2D35_8DCC);
    }

    fn write_u8(&mut self, byte: u8) {
        // `str` ends its bytes with 0xff, which the length in `write` already does for us.
        self.0 ^= u64::from(byte);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
