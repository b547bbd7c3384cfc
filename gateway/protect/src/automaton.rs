//! The paths of a plan as one nondeterministic automaton over member names, kept as a set of
//! bits: bit `n` stands for "so many steps of this path are behind us". A step is a handful of
//! word operations however many paths there are, and no input can make it grow.
//!
//! Must never tell a name by its hash alone.

use std::sync::Arc;

use sluicegate_policies::Step;

use crate::json;

/// Row of a member whose name no path contains.
const ROW_OTHER: usize = 0;
/// Row of an array's element.
pub(crate) const ROW_EACH: usize = 1;
const ROWS_FIXED: usize = 2;

/// A path and the entry of the plan that it belongs to.
pub(crate) struct Path<'p> {
    pub field: usize,
    pub steps: &'p [Step],
    /// The entry is about the names of the members at the path, not about their values.
    pub of_name: bool,
}

pub(crate) struct Automaton {
    /// Words in one set.
    words: usize,
    start: Box<[u64]>,
    /// For each row, the bits that move on by it.
    rows: Box<[u64]>,
    /// The bits that stand before a `**`: they also stay.
    stays: Box<[u64]>,
    accepts: Box<[u64]>,
    /// The same for entries that are about a member's name.
    accepts_name: Box<[u64]>,
    /// The bits that move by a name that their path writes.
    literal: Box<[u64]>,
    /// The bits from which something inside an object or array can be reached.
    into_object: Box<[u64]>,
    into_array: Box<[u64]>,
    /// The plan's entry that a bit belongs to; ascending.
    field_of_bit: Box<[usize]>,
    names: Box<[Arc<str>]>,
    /// For each of `names`, whether it is a word of the format: it is no data anywhere.
    words_of_format: Box<[bool]>,
    /// Open addressing by [`json::hash`]; 0 is free, otherwise the place in `names` plus one.
    slots: Box<[u32]>,
}

impl Automaton {
    /// `paths` by ascending entry of the plan; `format`: names that are no data.
    pub(crate) fn new(paths: &[Path<'_>], format: &[Arc<str>]) -> Self {
        let paths: Vec<(usize, Vec<&Step>, bool)> =
            paths.iter().map(|p| (p.field, collapse(p.steps), p.of_name)).collect();
        let mut names: Vec<Arc<str>> = paths
            .iter()
            .flat_map(|(_, steps, _)| steps)
            .filter_map(
                |step| if let Step::Member(name) = step { Some(name.clone()) } else { None },
            )
            .chain(format.iter().cloned())
            .collect();
        names.sort_unstable();
        names.dedup();
        let bits: usize = paths.iter().map(|(_, steps, _)| steps.len() + 1).sum();
        let words = bits.div_ceil(64).max(1);
        let empty = || vec![0u64; words].into_boxed_slice();
        let mut new = Self {
            words,
            start: empty(),
            rows: vec![0; (names.len() + ROWS_FIXED) * words].into(),
            stays: empty(),
            accepts: empty(),
            accepts_name: empty(),
            literal: empty(),
            into_object: empty(),
            into_array: empty(),
            field_of_bit: paths.iter().flat_map(|(f, s, _)| vec![*f; s.len() + 1]).collect(),
            words_of_format: names.iter().map(|name| format.contains(name)).collect(),
            slots: slots(&names),
            names: names.into(),
        };
        let mut bit = 0;
        for (_, steps, of_name) in &paths {
            set(&mut new.start, bit);
            if let Some(Step::AnyDepth) = steps.first() {
                set(&mut new.start, bit + 1);
            }
            for step in steps {
                new.add(step, bit);
                bit += 1;
            }
            set(if *of_name { &mut new.accepts_name } else { &mut new.accepts }, bit);
            bit += 1;
        }
        new
    }

    fn add(&mut self, step: &Step, bit: usize) {
        let base = |row: usize| row * self.words * 64;
        match step {
            Step::Member(name) => {
                let place = self.names.binary_search(name).unwrap_or_default();
                let row = base(place + ROWS_FIXED);
                set(&mut self.rows, row + bit);
                set(&mut self.literal, bit);
                set(&mut self.into_object, bit);
            }
            Step::AnyMember => {
                let rows = (0..self.names.len() + ROWS_FIXED).filter(|row| *row != ROW_EACH);
                for row in rows.map(base).collect::<Vec<_>>() {
                    set(&mut self.rows, row + bit);
                }
                set(&mut self.into_object, bit);
            }
            Step::Each => {
                let row = base(ROW_EACH);
                set(&mut self.rows, row + bit);
                set(&mut self.into_array, bit);
            }
            Step::AnyDepth => {
                set(&mut self.stays, bit);
                set(&mut self.into_object, bit);
                set(&mut self.into_array, bit);
            }
        }
    }

    /// Words that `levels` sets need.
    pub(crate) fn room(&self, levels: usize) -> usize {
        levels * self.words
    }

    /// Puts the set of the root at level 0.
    pub(crate) fn begin(&self, sets: &mut [u64]) {
        sets.iter_mut().zip(&self.start).for_each(|(to, from)| *to = *from);
    }

    /// The row of a member, and its name if a path contains it.
    #[inline]
    pub(crate) fn row(&self, name: &[u8], hash: u64) -> usize {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        while let Some(slot) = self.slots.get(at).filter(|slot| **slot != 0) {
            let place = *slot as usize - 1;
            if self.names.get(place).is_some_and(|known| known.as_bytes() == name) {
                return place + ROWS_FIXED;
            }
            at = (at + 1) & mask;
        }
        ROW_OTHER
    }

    /// The name that a row stands for, if a path contains it.
    pub(crate) fn name_of(&self, row: usize) -> Option<&Arc<str>> {
        self.names.get(row.checked_sub(ROWS_FIXED)?)
    }

    /// Makes the set of `level + 1` from that of `level`.
    #[inline]
    pub(crate) fn step(&self, sets: &mut [u64], level: usize, row: usize) {
        let Some((above, below)) = sets.split_at_mut_checked((level + 1) * self.words) else {
            return;
        };
        let above = above.get(level * self.words..).unwrap_or_default();
        let row = self.rows.get(row * self.words..).unwrap_or_default();
        let (mut moved_over, mut skipped_over) = (0, 0);
        let masks = row.iter().zip(&self.stays);
        for ((below, above), (moves, stays)) in below.iter_mut().zip(above).zip(masks) {
            let moved = above & moves;
            let reached = (moved << 1) | moved_over | (above & stays);
            moved_over = moved >> 63;
            // `**` may also stand for nothing: the step behind it is reached at once. No `**`
            // follows another, so that once is enough.
            let skips = reached & stays;
            *below = reached | (skips << 1) | skipped_over;
            skipped_over = skips >> 63;
        }
    }

    /// Whether the policy itself writes this member's name: at this place in a path, or as a word
    /// of the format. Any other name is data. (The step was made.)
    #[inline]
    pub(crate) fn is_written(&self, sets: &[u64], level: usize, row: usize) -> bool {
        let Some(place) = row.checked_sub(ROWS_FIXED) else { return false };
        if self.words_of_format.get(place).is_some_and(|word| *word) {
            return true;
        }
        let moves = self.rows.get(row * self.words..).unwrap_or_default();
        let mut bits = self.set_of(sets, level).iter().zip(moves).zip(&self.literal);
        bits.any(|((set, moves), literal)| set & moves & literal != 0)
    }

    /// Whether some entry matches at this level or may match below it.
    #[inline]
    pub(crate) fn is_alive(&self, sets: &[u64], level: usize) -> bool {
        self.set_of(sets, level).iter().any(|word| *word != 0)
    }

    /// The last of the plan's entries that match the place of this level.
    #[inline]
    pub(crate) fn matched(&self, sets: &[u64], level: usize) -> Option<usize> {
        self.last(sets, level, &self.accepts)
    }

    /// The last of the plan's entries that match the name of the member at this level.
    #[inline]
    pub(crate) fn matched_name(&self, sets: &[u64], level: usize) -> Option<usize> {
        self.last(sets, level, &self.accepts_name)
    }

    /// Every entry that matches the place of this level.
    #[inline]
    pub(super) fn each_match(&self, sets: &[u64], level: usize, mut each: impl FnMut(usize)) {
        let hits = self.set_of(sets, level).iter().zip(&self.accepts).map(|(s, a)| s & a);
        for (word, mut hits) in hits.enumerate() {
            while hits != 0 {
                let bit = word * 64 + hits.trailing_zeros() as usize;
                self.field_of_bit.get(bit).into_iter().for_each(|field| each(*field));
                hits &= hits - 1;
            }
        }
    }

    #[inline]
    fn last(&self, sets: &[u64], level: usize, accepts: &[u64]) -> Option<usize> {
        let set = self.set_of(sets, level);
        let words = set.iter().zip(accepts).enumerate().rev();
        let (word, hits) =
            words.map(|(i, (set, accepts))| (i, set & accepts)).find(|(_, hits)| *hits != 0)?;
        let bit = word * 64 + hits.ilog2() as usize;
        self.field_of_bit.get(bit).copied()
    }

    /// Whether an entry may match inside the object at this level.
    #[inline]
    pub(crate) fn enters_object(&self, sets: &[u64], level: usize) -> bool {
        self.set_of(sets, level).iter().zip(&self.into_object).any(|(s, m)| s & m != 0)
    }

    /// Whether an entry may match inside the array at this level.
    #[inline]
    pub(crate) fn enters_array(&self, sets: &[u64], level: usize) -> bool {
        self.set_of(sets, level).iter().zip(&self.into_array).any(|(s, m)| s & m != 0)
    }

    #[inline]
    fn set_of<'s>(&self, sets: &'s [u64], level: usize) -> &'s [u64] {
        let start = level * self.words;
        sets.get(start..start + self.words).unwrap_or_default()
    }
}

/// `**.**` says no more than `**`.
fn collapse(steps: &[Step]) -> Vec<&Step> {
    let mut kept: Vec<&Step> = steps.iter().collect();
    kept.dedup_by(|a, b| matches!((a, b), (Step::AnyDepth, Step::AnyDepth)));
    kept
}

fn set(words: &mut [u64], bit: usize) {
    if let Some(word) = words.get_mut(bit / 64) {
        *word |= 1 << (bit % 64);
    }
}

/// At most half full, so that a search ends soon and always.
fn slots(names: &[Arc<str>]) -> Box<[u32]> {
    let size = (names.len() * 2 + 1).next_power_of_two();
    let mut slots = vec![0u32; size].into_boxed_slice();
    for (number, name) in (1u32..).zip(names) {
        let mut at = json::hash(name.as_bytes()) as usize & (size - 1);
        while slots.get(at).is_some_and(|slot| *slot != 0) {
            at = (at + 1) & (size - 1);
        }
        if let Some(slot) = slots.get_mut(at) {
            *slot = number;
        }
    }
    slots
}
