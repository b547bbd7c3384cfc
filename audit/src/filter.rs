//! A Bloom filter over search digests: which flushes may hold one, at about 1.25 bytes a digest.
//! The digests are keyed, and so already random: their own bytes are the hash functions.

use crate::SearchDigest;

const BITS_A_DIGEST: usize = 10;
const PROBES: u64 = 7;

/// Membership with false positives (under 1 %) and no false negatives.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter(Vec<u8>);

impl Filter {
    /// A filter over these digests; empty for none.
    pub fn of<'a>(digests: impl ExactSizeIterator<Item = &'a SearchDigest>) -> Self {
        let bits = digests.len() * BITS_A_DIGEST;
        let mut filter = Self(vec![0; bits.div_ceil(8)]);
        for digest in digests {
            for bit in filter.probes(digest) {
                if let Some(byte) = filter.0.get_mut(bit / 8) {
                    *byte |= 1 << (bit % 8);
                }
            }
        }
        filter
    }

    /// A stored filter.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the digest may be among those the filter was made of.
    pub fn may_hold(&self, digest: &SearchDigest) -> bool {
        !self.0.is_empty()
            && self
                .probes(digest)
                .all(|bit| self.0.get(bit / 8).is_some_and(|byte| byte & (1 << (bit % 8)) != 0))
    }

    /// Kirsch and Mitzenmacher: two halves make all probes.
    fn probes(&self, digest: &SearchDigest) -> impl Iterator<Item = usize> + use<> {
        let number = u128::from_le_bytes(*digest);
        let (low, high) = (number as u64, (number >> 64) as u64 | 1);
        let bits = (self.0.len() as u64 * 8).max(1);
        (0..PROBES).map(move |i| (low.wrapping_add(i.wrapping_mul(high)) % bits) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u32) -> SearchDigest {
        let mut digest = [0; 16];
        digest.copy_from_slice(&blake3::hash(&n.to_le_bytes()).as_bytes()[..16]);
        digest
    }

    #[test]
    fn holds_what_it_was_given_and_little_else() {
        let given: Vec<_> = (0..1_000).map(digest).collect();
        let filter = Filter::of(given.iter());
        assert!(given.iter().all(|d| filter.may_hold(d)));
        let wrong = (1_000..101_000).filter(|n| filter.may_hold(&digest(*n))).count();
        assert!(wrong < 2_000, "{wrong} false positives of 100,000");
        assert!(!Filter::of([].iter()).may_hold(&digest(1)));
    }
}
