//! The member names of the objects that are open, to refuse a second one of the same name, and
//! the hash by which names are looked up.
//!
//! Must never compare a name before it is unescaped, and never decide by the hash alone: the
//! hash is not keyed, so that an attacker can make it collide, and that must cost nothing.

use super::unescape;

/// Up to so many members are compared pairwise; more are sorted.
const PAIRWISE_MAX: usize = 16;

/// A member's name: where its unescaped bytes stand, and their [`hash`].
#[derive(Clone, Copy)]
pub struct Name {
    pub hash: u64,
    start: u32,
    end: u32,
    unescaped: bool,
}

/// Scratch; keep it between records.
#[derive(Default)]
pub struct Names {
    open: Vec<Name>,
    /// Names that had escapes, unescaped, end to end.
    unescaped: String,
}

impl Names {
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.unescaped.clear();
    }

    pub(super) fn mark(&self) -> usize {
        self.open.len()
    }

    /// `raw` is what is between the quotes, from byte `start` of the text.
    #[inline]
    pub(super) fn add(&mut self, raw: &str, start: usize, escaped: bool) -> Name {
        let name = if escaped {
            let start = self.unescaped.len();
            unescape(raw, &mut self.unescaped);
            let bytes = self.unescaped.as_bytes().get(start..).unwrap_or_default();
            Name::new(bytes, start, true)
        } else {
            Name::new(raw.as_bytes(), start, false)
        };
        self.open.push(name);
        name
    }

    /// Forgets the names since `base`; false if two of them are the same.
    pub(super) fn close(&mut self, base: usize, text: &[u8]) -> bool {
        let Self { open, unescaped } = self;
        let unescaped = unescaped.as_bytes();
        let names = open.get_mut(base..).unwrap_or_default();
        let distinct = if names.len() <= PAIRWISE_MAX {
            names.iter().enumerate().all(|(i, a)| {
                names.iter().skip(i + 1).all(|b| {
                    a.hash != b.hash || a.bytes(text, unescaped) != b.bytes(text, unescaped)
                })
            })
        } else {
            let key = |n: &Name| (n.hash, n.end.wrapping_sub(n.start));
            names.sort_unstable_by(|a, b| {
                key(a)
                    .cmp(&key(b))
                    .then_with(|| a.bytes(text, unescaped).cmp(b.bytes(text, unescaped)))
            });
            names.array_windows().all(|[a, b]| {
                a.hash != b.hash || a.bytes(text, unescaped) != b.bytes(text, unescaped)
            })
        };
        open.truncate(base);
        distinct
    }

    #[inline]
    pub(super) fn bytes<'b>(&'b self, name: Name, text: &'b [u8]) -> &'b [u8] {
        name.bytes(text, self.unescaped.as_bytes())
    }
}

impl Name {
    /// INVARIANT: the scanner takes no text over `u32::MAX` bytes, and unescaping never makes
    /// text longer, so that neither place saturates.
    #[inline]
    fn new(bytes: &[u8], start: usize, unescaped: bool) -> Self {
        let place = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let end = place(start.saturating_add(bytes.len()));
        Self { hash: hash(bytes), start: place(start), end, unescaped }
    }

    #[inline]
    fn bytes<'b>(&self, text: &'b [u8], unescaped: &'b [u8]) -> &'b [u8] {
        let source = if self.unescaped { unescaped } else { text };
        source.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// Fast and not keyed; see the module for what that demands of its users.
#[inline]
pub fn hash(bytes: &[u8]) -> u64 {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = |h: u64, word: u64| (h.rotate_left(23) ^ word).wrapping_mul(MIX);
    let (words, rest) = bytes.as_chunks::<8>();
    let h = words.iter().fold(bytes.len() as u64, |h, word| step(h, u64::from_le_bytes(*word)));
    let last = rest.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte));
    let h = step(h, last);
    h ^ (h >> 32)
}
