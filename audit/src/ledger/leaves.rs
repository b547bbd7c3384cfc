//! Leaves in the bytes that the ledger keeps, made as they are decided: a batch of thousands needs
//! no object for each.

use minicbor::Encoder;

use crate::{Leaf, SearchDigest};

/// Leaves of one intent, or of a row, in order.
#[derive(Default)]
pub struct Leaves {
    bytes: Vec<u8>,
    /// Where each one ends.
    ends: Vec<usize>,
    digests: Vec<SearchDigest>,
}

/// The fate of a single record, as [`Fate`](crate::Fate) without its copies.
#[derive(Clone, Copy)]
pub enum Told<'t> {
    Deliver,
    Aggregate,
    /// Code, and the rule that refused, or an empty text.
    Refuse(&'t str, &'t str),
}

impl Leaves {
    /// Adds the leaf of one record. A copy is the number of its treatment and the bitmap of the
    /// fields that were there; a refused record has none. The digests are of declared sources and
    /// of tokens.
    pub fn push<'c>(
        &mut self,
        seq: u32,
        told: Told<'_>,
        copies: impl ExactSizeIterator<Item = (u32, &'c [u8])>,
        [source, tokens]: [&[SearchDigest]; 2],
    ) {
        let mut e = Encoder::new(&mut self.bytes);
        // Writing to memory cannot fail; an impossible error leaves bytes that no verifier takes.
        let _infallible: Result<_, minicbor::encode::Error<std::convert::Infallible>> = (|| {
            e.array(4)?.u32(seq)?.array(2)?;
            match told {
                Told::Refuse(code, rule) => e.u32(2)?.array(2)?.str(code)?.str(rule)?.ok()?,
                Told::Deliver | Told::Aggregate => {
                    let number = if matches!(told, Told::Deliver) { 1 } else { 4 };
                    e.u32(number)?.array(1)?.array(copies.len() as u64)?;
                    for (treatment, present) in copies {
                        e.array(2)?.u32(treatment)?.bytes(present)?;
                    }
                }
            }
            for digests in [source, tokens] {
                e.array(digests.len() as u64)?;
                digests.iter().try_for_each(|digest| e.bytes(digest).map(|_| ()))?;
            }
            Ok(())
        })(
        );
        self.end(source, tokens);
    }

    /// Adds a leaf, perhaps of several records.
    pub fn add(&mut self, leaf: &Leaf) {
        // As above.
        let _infallible = minicbor::encode(leaf, &mut self.bytes);
        let [source, tokens] =
            [&leaf.source, &leaf.tokens].map(|some| some.iter().map(|d| d.0).collect::<Vec<_>>());
        self.end(&source, &tokens);
    }

    fn end(&mut self, source: &[SearchDigest], tokens: &[SearchDigest]) {
        self.ends.push(self.bytes.len());
        self.digests.extend_from_slice(source);
        self.digests.extend_from_slice(tokens);
    }

    pub(super) fn append(&mut self, more: &Self) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&more.bytes);
        self.ends.extend(more.ends.iter().map(|end| start + end));
        self.digests.extend_from_slice(&more.digests);
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let leaf = self.bytes.get(start..*end).unwrap_or_default();
            start = *end;
            leaf
        })
    }

    pub(super) fn digests(&self) -> &[SearchDigest] {
        &self.digests
    }
}

impl From<Vec<Leaf>> for Leaves {
    fn from(leaves: Vec<Leaf>) -> Self {
        let mut made = Self::default();
        leaves.iter().for_each(|leaf| made.add(leaf));
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Copied, Digest16, Fate, Present, row::leaf_bytes};

    #[test]
    fn a_leaf_has_the_bytes_of_what_it_says() {
        let copied = |treatment, bitmap: &[u8]| {
            let present = Present::Bitmap(bitmap.to_vec());
            Copied { treatment, present }
        };
        let copies = [copied(0, &[]), copied(300, &[5, 1])];
        let told = [
            (Told::Deliver, Fate::Deliver(copies.to_vec())),
            (Told::Aggregate, Fate::Aggregate(copies.to_vec())),
            (Told::Refuse("no-rule", "a"), Fate::Refuse("no-rule".to_owned(), "a".to_owned())),
        ];
        let (source, tokens) = ([[1; 16]], [[2; 16], [3; 16]]);
        let digests = |some: &[[u8; 16]]| some.iter().copied().map(Digest16).collect::<Vec<_>>();
        let (mut pushed, mut row) = (Leaves::default(), Leaves::default());
        let mut said = Vec::new();
        for (seq, (told, fate)) in (70_000..).zip(told) {
            let plain = [(0, &[][..]), (300, &[5, 1][..])];
            pushed.push(seq, told, plain.into_iter(), [&source, &tokens]);
            let (source, tokens) = (digests(&source), digests(&tokens));
            said.push(Leaf { seq, fate, source, tokens, count: 1 });
        }
        row.append(&pushed);
        row.append(&Leaves::from(said.clone()));
        let expected: Vec<Vec<u8>> = said.iter().chain(&said).map(leaf_bytes).collect();
        assert_eq!(row.iter().collect::<Vec<_>>(), expected);
        assert_eq!(row.digests().len(), 18);
        assert_eq!((row.len(), row.is_empty()), (6, false));
    }
}
