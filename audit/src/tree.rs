//! The Merkle tree of RFC 6962 section 2.1, SHA-256: what outsiders' tools verify.

use ring::digest::{Context, SHA256, digest};

type Hash = [u8; 32];

fn finish(context: Context) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// `SHA-256(0x00 || leaf)`.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[0]);
    context.update(leaf);
    finish(context)
}

fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[1]);
    context.update(left);
    context.update(right);
    finish(context)
}

/// The root of no leaves: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, b"").as_ref());
    hash
}

/// The root over leaves in order.
pub fn root<'a>(leaves: impl IntoIterator<Item = &'a [u8]>) -> Hash {
    root_of(leaves.into_iter().map(leaf_hash))
}

/// The root over the hashes of leaves, in one pass with a stack of complete subtrees.
pub(crate) fn root_of(hashes: impl IntoIterator<Item = Hash>) -> Hash {
    // (number of leaves below, hash); sizes strictly fall, as the bits of the count do.
    let mut stack: Vec<(u64, Hash)> = Vec::new();
    for hash in hashes {
        let mut top = (1, hash);
        while let Some((size, left)) = stack.pop_if(|(size, _)| *size == top.0) {
            top = (size * 2, node_hash(&left, &top.1));
        }
        stack.push(top);
    }
    let rightmost = stack.pop().map(|(_, hash)| hash);
    stack
        .iter()
        .rev()
        .fold(rightmost, |right, (_, left)| right.map(|right| node_hash(left, &right)))
        .unwrap_or_else(empty_root)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6962's own recursive definition.
    fn naive(leaves: &[Vec<u8>]) -> Hash {
        match leaves {
            [] => empty_root(),
            [one] => leaf_hash(one),
            many => {
                let k = many.len().next_power_of_two() / 2;
                node_hash(&naive(&many[..k]), &naive(&many[k..]))
            }
        }
    }

    #[test]
    fn equals_the_definition() {
        for n in 0..70_u8 {
            let leaves: Vec<Vec<u8>> = (0..n).map(|i| vec![i; usize::from(i)]).collect();
            assert_eq!(root(leaves.iter().map(Vec::as_slice)), naive(&leaves), "{n}");
        }
    }
}
