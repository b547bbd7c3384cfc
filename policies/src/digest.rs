//! The name of a bundle: what its files say, not where they are or in which order they came.

use crate::{diagnostic::Findings, plan::BundleDigest};

/// Separates this use of the hash from every other.
const DOMAIN: &[u8] = b"sluicegate/bundle/v1";

/// BLAKE3 over the hashes of all texts, sorted. A copy of a file in two places counts twice.
/// Byte order marks, line ends of Windows and former spellings of words do not change what a file
/// says, and not its hash.
pub(crate) fn digest(findings: &Findings<'_>) -> BundleDigest {
    let files = 0..findings.sources().len();
    let mut texts: Vec<[u8; 32]> = files.map(|file| text_hash(&findings.text(file))).collect();
    texts.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    hasher.update(DOMAIN);
    hasher.update(&(texts.len() as u64).to_le_bytes());
    for text in &texts {
        hasher.update(text);
    }
    BundleDigest(*hasher.finalize().as_bytes())
}

fn text_hash(text: &str) -> [u8; 32] {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    *blake3::hash(text.as_bytes()).as_bytes()
}
