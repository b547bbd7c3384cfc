//! A row: the canonical bytes of a flush, and the link that chains it to the row before; and its
//! manifest, which holds the leaves that the row commits to.

use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::{Entry, Leaf, Treatment, WriterId, tree};

/// The first element of each row; another format gets another word.
pub const MAGIC: &str = "lgr2";
/// A row stays below this, so that it fits an entry of a tlog-tiles bundle (uint16 length).
pub const ROW_BYTES_MAX: usize = 60_000;

const LINK_CONTEXT: &str = "sluicegate lgr2 2026-11 row link";
const GENESIS_CONTEXT: &str = "sluicegate lgr2 2026-11 genesis";
const DETAIL_CONTEXT: &str = "sluicegate lgr2 2026-11 detail";
const BLOB_CONTEXT: &str = "sluicegate lgr2 2026-11 blob";

/// BLAKE3 (derive-key mode) over a row's bytes.
pub type Link = [u8; 32];

/// What a row says.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub origin: String,
    pub writer: WriterId,
    pub wseq: u64,
    pub prev: Link,
    /// Microseconds since 1970, UTC, and the known error bound of that clock (0: not known).
    pub t_us: i64,
    pub t_err_us: u64,
    pub clock: String,
    /// What it is kept with, and which search key its keyed digests were made under.
    pub segment: u32,
    pub entries: Vec<Entry>,
    pub leaves: u32,
    pub root: [u8; 32],
}

/// Why bytes are not a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    #[error("the bytes are not a row: {0}")]
    Malformed(String),
    #[error("the bytes are not the canonical encoding of what they say")]
    NotCanonical,
}

impl Row {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512);
        let mut e = Encoder::new(&mut bytes);
        // Encoding into a `Vec` cannot fail; an impossible error leaves bytes that no verifier
        // takes.
        let _infallible = self.put(&mut e);
        bytes
    }

    fn put(
        &self,
        e: &mut Encoder<&mut Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
        e.array(12)?.str(MAGIC)?.str(&self.origin)?.bytes(&self.writer.0)?.u64(self.wseq)?;
        e.bytes(&self.prev)?.i64(self.t_us)?.u64(self.t_err_us)?.str(&self.clock)?;
        e.u32(self.segment)?;
        self.entries.encode(e, &mut ())?;
        e.u32(self.leaves)?.bytes(&self.root)?;
        Ok(())
    }

    /// Decodes, and refuses bytes that are not exactly what encoding would give.
    pub fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        let row = Self::take(bytes).map_err(|e| RowError::Malformed(e.to_string()))?;
        if row.encode() != bytes {
            return Err(RowError::NotCanonical);
        }
        Ok(row)
    }

    fn take(bytes: &[u8]) -> Result<Self, minicbor::decode::Error> {
        let mut d = Decoder::new(bytes);
        let bad = minicbor::decode::Error::message;
        if d.array()? != Some(12) || d.str()? != MAGIC {
            return Err(bad("another format"));
        }
        let hash = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).map_err(|_| bad("no hash"));
        let row = Self {
            origin: d.str()?.to_owned(),
            writer: WriterId(d.bytes()?.try_into().map_err(|_| bad("no writer"))?),
            wseq: d.u64()?,
            prev: hash(d.bytes()?)?,
            t_us: d.i64()?,
            t_err_us: d.u64()?,
            clock: d.str()?.to_owned(),
            segment: d.u32()?,
            entries: Vec::decode(&mut d, &mut ())?,
            leaves: d.u32()?,
            root: hash(d.bytes()?)?,
        };
        if d.position() != bytes.len() {
            return Err(bad("bytes behind the row"));
        }
        Ok(row)
    }
}

/// The link of a row's bytes.
pub fn link_of(bytes: &[u8]) -> Link {
    blake3::derive_key(LINK_CONTEXT, bytes)
}

/// What the first row of a writer is linked to.
pub fn genesis(origin: &str, writer: WriterId) -> Link {
    let mut material = Vec::with_capacity(origin.len() + 24);
    material.extend_from_slice(&(origin.len() as u64).to_be_bytes());
    material.extend_from_slice(origin.as_bytes());
    material.extend_from_slice(&writer.0);
    blake3::derive_key(GENESIS_CONTEXT, &material)
}

/// The canonical bytes of a treatment and their digest.
pub fn detail_digest(treatment: &Treatment) -> ([u8; 32], Vec<u8>) {
    let bytes = minicbor::to_vec(treatment).unwrap_or_default();
    (blake3::derive_key(DETAIL_CONTEXT, &bytes), bytes)
}

/// The digest of stored treatment bytes.
pub(crate) fn detail_digest_of(bytes: &[u8]) -> [u8; 32] {
    blake3::derive_key(DETAIL_CONTEXT, bytes)
}

/// The digest of bytes that a release publishes.
pub fn blob_digest(bytes: &[u8]) -> [u8; 32] {
    blake3::derive_key(BLOB_CONTEXT, bytes)
}

/// An element of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestLeaf<'a> {
    /// The canonical bytes of a [`Leaf`].
    Kept(&'a [u8]),
    /// The hash of a leaf that is no longer kept.
    Forgotten([u8; 32]),
}

impl<'a> ManifestLeaf<'a> {
    /// The leaf's bytes; `None` where they are no longer kept.
    pub fn kept(self) -> Option<&'a [u8]> {
        match self {
            Self::Kept(bytes) => Some(bytes),
            Self::Forgotten(_) => None,
        }
    }

    fn hash(self) -> [u8; 32] {
        match self {
            Self::Kept(bytes) => tree::leaf_hash(bytes),
            Self::Forgotten(hash) => hash,
        }
    }
}

/// The leaves of a row, in order, as they are stored beside it.
pub fn encode_manifest<'l>(
    leaves: impl IntoIterator<Item = ManifestLeaf<'l>, IntoIter: ExactSizeIterator>,
) -> Vec<u8> {
    let leaves = leaves.into_iter();
    let mut bytes = Vec::with_capacity(leaves.len() * LEAF_BYTES);
    let mut e = Encoder::new(&mut bytes);
    // As above: a `Vec` takes everything.
    let _infallible = e.array(leaves.len() as u64).map(|_| ());
    for leaf in leaves {
        let _infallible = match leaf {
            ManifestLeaf::Kept(leaf) => e.bytes(leaf).map(|_| ()),
            ManifestLeaf::Forgotten(hash) => e.array(1).and_then(|e| e.bytes(&hash)).map(|_| ()),
        };
    }
    bytes
}

/// Room for the leaf of one record with a few digests.
const LEAF_BYTES: usize = 128;

/// The canonical bytes of a leaf.
pub fn leaf_bytes(leaf: &Leaf) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LEAF_BYTES);
    // Writing to memory cannot fail.
    let _written = minicbor::encode(leaf, &mut bytes);
    bytes
}

/// The leaves of a manifest.
pub fn decode_manifest(bytes: &[u8]) -> Result<Vec<ManifestLeaf<'_>>, RowError> {
    let malformed = |e: minicbor::decode::Error| RowError::Malformed(e.to_string());
    let bad = |what: &str| RowError::Malformed(what.to_owned());
    let mut d = Decoder::new(bytes);
    let count = d.array().map_err(malformed)?.ok_or_else(|| bad("an indefinite manifest"))?;
    let mut leaves = Vec::new();
    for _ in 0..count {
        leaves.push(match d.datatype().map_err(malformed)? {
            minicbor::data::Type::Array => {
                let hash = match d.array().map_err(malformed)? {
                    Some(1) => d.bytes().map_err(malformed)?.try_into(),
                    _ => return Err(bad("a leaf that is neither bytes nor a hash")),
                };
                ManifestLeaf::Forgotten(hash.map_err(|_| bad("no hash of a leaf"))?)
            }
            _ => ManifestLeaf::Kept(d.bytes().map_err(malformed)?),
        });
    }
    if d.position() != bytes.len() || encode_manifest(leaves.iter().copied()) != bytes {
        return Err(RowError::NotCanonical);
    }
    Ok(leaves)
}

/// What a leaf says.
pub fn decode_leaf(bytes: &[u8]) -> Result<Leaf, RowError> {
    let leaf: Leaf = minicbor::decode(bytes).map_err(|e| RowError::Malformed(e.to_string()))?;
    if leaf_bytes(&leaf) != bytes {
        return Err(RowError::NotCanonical);
    }
    Ok(leaf)
}

/// What stored treatment bytes say.
pub(crate) fn decode_treatment(bytes: &[u8]) -> Result<Treatment, RowError> {
    let said: Treatment =
        minicbor::decode(bytes).map_err(|e| RowError::Malformed(e.to_string()))?;
    if detail_digest(&said).1 != bytes {
        return Err(RowError::NotCanonical);
    }
    Ok(said)
}

/// The root over a manifest's leaves.
pub(crate) fn manifest_root(leaves: &[ManifestLeaf<'_>]) -> [u8; 32] {
    tree::root_of(leaves.iter().map(|leaf| leaf.hash()))
}

#[cfg(test)]
mod tests;
