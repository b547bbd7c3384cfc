//! Which partition a key goes to.

/// The partition of a key under Kafka's default partitioner (`BuiltInPartitioner`), so that a key
/// lands in the same partition whichever client or engine sends it.
pub(super) fn of_key(key: &[u8], partitions: u16) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % u32::from(partitions.max(1))
}

/// MurmurHash2 with the seed of Kafka's clients.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let word = u32::from_le_bytes(*word).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ (word ^ (word >> 24)).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let last = rest.iter().rev().fold(0, |last, byte| last << 8 | u32::from(*byte));
        hash = (hash ^ last).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of Apache Kafka's own `UtilsTest.testMurmur2`: keys go where its clients send them.
    #[test]
    fn keys_go_where_kafkas_clients_send_them() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107_i32),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash as u32, "{key}");
            assert_eq!(of_key(key.as_bytes(), 7), (hash as u32 & 0x7fff_ffff) % 7, "{key}");
        }
    }
}
