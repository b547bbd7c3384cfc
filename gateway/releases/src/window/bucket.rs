//! Some of a task's subjects, and what is kept of each: the fold itself.
//!
//! The order of bounding: windows of a period, keys of a window, records of a key. Values were
//! clamped at ingest.

use std::{collections::HashMap, sync::Arc};

use minicbor::{Decode, Encode};
use sluicegate_policies::release::{Choose, ChooseWindows, Output, ReleasePlan, Unit, What};

use super::{Aborted, Contribution, Subject, Totals};

/// What bounding needs to know besides the state.
pub(super) struct Rules {
    pub(super) plan: Arc<ReleasePlan>,
    /// Keyed choices: which panes, keys and records of a subject are kept when it has too many.
    pub(super) secret: [u8; 32],
    /// Whether `windows_per_period` leaves anything out.
    pub(super) bounds_windows: bool,
}

/// A pane, the first of its revisions that counts the record, and for panels where it is in its
/// period.
#[derive(Clone, Copy)]
pub(super) struct Placed {
    pub(super) start_ms: i64,
    pub(super) revision: u32,
    pub(super) period_ms: i64,
    /// Its number among the panes of its period, and how many these are.
    pub(super) nth: u64,
    pub(super) of: u64,
}

/// All that is known of one subject.
#[derive(Clone, Default, Encode, Decode)]
#[cbor(array)]
pub(super) struct Person {
    /// Panes in which it has contributed, in order of arrival. With panels empty.
    #[n(0)]
    charged: Vec<Charged>,
    #[n(1)]
    panes: Vec<Pane>,
}

#[derive(Clone, Copy, PartialEq, Encode, Decode)]
#[cbor(array)]
struct Charged {
    #[n(0)]
    period_ms: i64,
    #[n(1)]
    start_ms: i64,
}

/// What one subject brings to one pane, up to a revision of it. There is one of them for each
/// revision that takes in more than the one before.
#[derive(Clone, Encode, Decode)]
#[cbor(array)]
struct Pane {
    #[n(0)]
    start_ms: i64,
    #[n(1)]
    revision: u32,
    #[n(2)]
    keys: Vec<Key>,
}

#[derive(Clone, Encode, Decode)]
#[cbor(array)]
struct Key {
    #[cbor(n(0), with = "arc_str")]
    key: Arc<str>,
    /// With `choose: hash` what it is chosen by; smaller wins.
    #[n(1)]
    rank: u64,
    #[n(2)]
    records: Vec<Kept>,
}

/// One record that counts.
#[derive(Clone, Encode, Decode)]
#[cbor(array)]
struct Kept {
    /// With `choose: hash` what it is chosen by; smaller wins.
    #[cbor(n(0), with = "minicbor::bytes")]
    id: [u8; 16],
    #[n(1)]
    values: Vec<Option<i64>>,
}

#[derive(Default)]
pub(super) struct Bucket {
    pub(super) people: HashMap<Subject, Person>,
}

impl Bucket {
    pub(super) fn accept(&mut self, rules: &Rules, at: Placed, contribution: Contribution) {
        let person = self.people.entry(contribution.subject).or_default();
        if person.may(rules, at, contribution.subject) {
            person.keep(rules, at, &contribution);
        }
    }

    /// Adds what everyone brings to a revision of a pane.
    pub(super) fn total(
        &self,
        outputs: &[Output],
        start_ms: i64,
        revision: u32,
        totals: &mut Totals,
    ) -> Result<(), Aborted> {
        let mut row = Vec::with_capacity(outputs.len());
        for person in self.people.values() {
            let Some(pane) = person.pane(start_ms, revision) else { continue };
            for key in &pane.keys {
                row.clear();
                key.total(outputs, &mut row)?;
                totals.add_row(&key.key, &row)?;
            }
        }
        Ok(())
    }

    /// Forgets a pane that is over; that it was charged stays.
    pub(super) fn drop_pane(&mut self, start_ms: i64) {
        for person in self.people.values_mut() {
            person.panes.retain(|pane| pane.start_ms != start_ms);
        }
    }

    /// Forgets what no pane from `open_ms` on depends on; `period_ms` begins the period of the
    /// oldest of them.
    pub(super) fn forget(&mut self, open_ms: i64, period_ms: i64) {
        self.people.retain(|_, person| {
            person.charged.retain(|charged| charged.period_ms >= period_ms);
            person.panes.retain(|pane| pane.start_ms >= open_ms);
            !person.charged.is_empty() || !person.panes.is_empty()
        });
    }
}

impl Person {
    /// Whether the subject may contribute to a pane: K panes of a period and no more.
    fn may(&mut self, rules: &Rules, at: Placed, subject: Subject) -> bool {
        if !rules.bounds_windows {
            return true;
        }
        let limit = rules.plan.bounds.windows_per_period;
        if rules.plan.bounds.choose_windows == ChooseWindows::Panel {
            return on_panel(rules, at, subject);
        }
        let charged = Charged { period_ms: at.period_ms, start_ms: at.start_ms };
        if self.charged.iter().rev().any(|c| *c == charged) {
            return true;
        }
        let so_far = self.charged.iter().filter(|c| c.period_ms == at.period_ms).count();
        let free = so_far < limit as usize;
        if free {
            self.charged.push(charged);
        }
        free
    }

    /// What counts in a revision of a pane.
    fn pane(&self, start_ms: i64, revision: u32) -> Option<&Pane> {
        let until = self.panes.iter().filter(|p| p.start_ms == start_ms && p.revision <= revision);
        until.max_by_key(|pane| pane.revision)
    }

    /// A revision is chosen from what arrived in time for it, as if nothing had come later.
    fn keep(&mut self, rules: &Rules, at: Placed, contribution: &Contribution) {
        let Placed { start_ms, revision, .. } = at;
        let before = self.pane(start_ms, revision);
        if before.is_none_or(|pane| pane.revision < revision) {
            let keys = before.map(|pane| pane.keys.clone()).unwrap_or_default();
            self.panes.push(Pane { start_ms, revision, keys });
        }
        let from = self.panes.iter_mut();
        for pane in from.filter(|p| p.start_ms == start_ms && p.revision >= revision) {
            pane.keep(rules, contribution);
        }
    }
}

impl Pane {
    fn keep(&mut self, rules: &Rules, contribution: &Contribution) {
        let bounds = &rules.plan.bounds;
        let (most_keys, most_records) =
            (bounds.keys_per_window as usize, bounds.records_per_key as usize);
        let by_hash = bounds.choose == Choose::Hash;
        let record = Kept { id: contribution.id, values: contribution.values.clone() };
        if let Some(key) = self.keys.iter_mut().find(|key| key.key == contribution.key) {
            return key.keep(record, most_records, by_hash);
        }
        let rank = match by_hash {
            true => rank(rules, contribution.subject, self.start_ms, &contribution.key),
            false => 0,
        };
        let key = Key { key: contribution.key.clone(), rank, records: vec![record] };
        if self.keys.len() < most_keys {
            return self.keys.push(key);
        }
        // The smallest ranks seen so far: whoever has lost once cannot win again.
        let worst = self.keys.iter_mut().max_by(|a, b| (a.rank, &a.key).cmp(&(b.rank, &b.key)));
        if let Some(worst) = worst.filter(|_| by_hash)
            && (rank, &key.key) <= (worst.rank, &worst.key)
        {
            *worst = key;
        }
    }
}

impl Key {
    /// A record that comes twice counts once: what was in flight when a gateway died may arrive
    /// after it was sent again.
    fn keep(&mut self, record: Kept, most: usize, by_hash: bool) {
        if self.records.iter().any(|kept| kept.id == record.id) {
            return;
        }
        if self.records.len() < most {
            return self.records.push(record);
        }
        let worst = self.records.iter_mut().max_by_key(|kept| kept.id).filter(|_| by_hash);
        if let Some(worst) = worst.filter(|worst| record.id < worst.id) {
            *worst = record;
        }
    }

    fn total(&self, outputs: &[Output], row: &mut Vec<i64>) -> Result<(), Aborted> {
        let mut nth_sum = 0;
        for output in outputs {
            row.push(match output.what {
                What::Subjects => 1,
                What::Count => i64::try_from(self.records.len()).map_err(|_| Aborted::Overflow)?,
                What::Sum { .. } => {
                    let nth = nth_sum;
                    nth_sum += 1;
                    let values = self.records.iter().filter_map(|kept| *kept.values.get(nth)?);
                    let sum = values.map(i128::from).sum::<i128>();
                    i64::try_from(sum).map_err(|_| Aborted::Overflow)?
                }
            });
        }
        Ok(())
    }
}

/// What a key is chosen by: nobody without the secret can steer it.
fn rank(rules: &Rules, subject: Subject, start_ms: i64, key: &str) -> u64 {
    let mut hasher = blake3::Hasher::new_keyed(&rules.secret);
    hasher.update(b"key");
    hasher.update(&subject.0);
    hasher.update(&start_ms.to_be_bytes());
    hasher.update(key.as_bytes());
    first_u64(hasher.finalize().as_bytes())
}

/// K of the period's panes, drawn without replacement by a keyed function of subject and period
/// (Floyd's algorithm): known before anything came in.
fn on_panel(rules: &Rules, at: Placed, subject: Subject) -> bool {
    let mut hasher = blake3::Hasher::new_keyed(&rules.secret);
    hasher.update(b"panel");
    hasher.update(&subject.0);
    hasher.update(&at.period_ms.to_be_bytes());
    let mut stream = hasher.finalize_xof();
    let wanted = u64::from(rules.plan.bounds.windows_per_period).min(at.of);
    let mut drawn: Vec<u64> = Vec::new();
    for upper in at.of - wanted..at.of {
        let mut bytes = [0; 8];
        stream.fill(&mut bytes);
        // The bias of the remainder is below 2^-32 for any number of panes there can be.
        let pick = u64::from_be_bytes(bytes) % (upper + 1);
        drawn.push(if drawn.contains(&pick) { upper } else { pick });
    }
    drawn.contains(&at.nth)
}

fn first_u64(digest: &[u8; 32]) -> u64 {
    digest.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// The start of a subject's period, where there is one.
pub(super) fn period_ms(plan: &ReleasePlan, start_ms: i64) -> i64 {
    match &plan.unit {
        Unit::Subject(unit) => unit.period.containing(start_ms).start_ms,
        Unit::Record => start_ms,
    }
}

/// `Arc<str>` in CBOR.
mod arc_str {
    use std::sync::Arc;

    use minicbor::{
        Decoder, Encoder,
        decode::Error as Unread,
        encode::{Error as Unwritten, Write},
    };

    pub(super) fn encode<C, W: Write>(
        text: &Arc<str>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), Unwritten<W::Error>> {
        e.str(text)?;
        Ok(())
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Arc<str>, Unread> {
        d.str().map(Arc::from)
    }
}
