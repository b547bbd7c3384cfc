//! What replicas agree on, in the register of the ledger's store: the first proposal counts, for
//! everybody and for good.
//!
//! A fact's key is its kind, whose it is, and the numbers that say which one.
//!
//! INVARIANT: keys sort as their numbers do, so that an interval of time is one range of the register.

use std::{marker::PhantomData, sync::Arc};

use sluicegate_audit as audit;
use sluicegate_policies::release::ReleasePlan;

use super::books::BooksError;
use crate::account::Account;

/// A kind of facts, each named by `N` numbers, of which the first is a moment.
pub(super) struct Kind<const N: usize, V>(u8, PhantomData<V>);

/// The first window that a plan releases, by its begin in milliseconds.
pub(super) const FIRST_PANE: Kind<0, i64> = Kind(1, PhantomData);
/// How many partitions the topic of its contributions has.
pub(super) const PARTITIONS: Kind<0, i64> = Kind(2, PhantomData);
/// Who notes the windows that a change of plan left out: the moment tells replicas apart.
pub(super) const GAP: Kind<0, i64> = Kind(3, PhantomData);
/// Where a dataset's period ends, by its begin.
pub(super) const PERIOD: Kind<1, i64> = Kind(4, PhantomData);
/// Which keys subjects of a period are counted under, by its begin.
pub(super) const KEYS: Kind<1, i64> = Kind(5, PhantomData);
/// Where a refused window ends, by its begin and revision.
pub(super) const REFUSED: Kind<2, i64> = Kind(6, PhantomData);
/// The first offset that does not count in a window, by the window's begin, revision and partition.
pub(super) const CUTOFF: Kind<3, i64> = Kind(7, PhantomData);
/// What counts up to a cutoff that is proposed, sealed, by the same and the cutoff.
pub(super) const PARTIAL: Kind<4, Vec<u8>> = Kind(8, PhantomData);
/// That a node has a witness, by the time since when.
pub(super) const WITNESSED: Kind<1, i64> = Kind(9, PhantomData);
/// That charges of before a moment may be lost, by that moment and the row with which it was found:
/// the halves of its writer, and its number.
pub(super) const DOUBTED: Kind<4, i64> = Kind(10, PhantomData);
/// That an operator asked for older windows of a dataset all the same, by the moment up to which.
pub(super) const OLDER: Kind<1, i64> = Kind(11, PhantomData);

/// Sorts behind a moment and whatever follows it.
const BEHIND_ALL: [u8; 40] = [0xff; 40];

impl<const N: usize, V> Kind<N, V> {
    fn key(&self, of: &[u8], at: &[i64]) -> Vec<u8> {
        let mut key = [&[self.0], of].concat();
        // The bytes of such a number sort as it does.
        at.iter().for_each(|n| key.extend((n.cast_unsigned() ^ (1 << 63)).to_be_bytes()));
        key
    }

    fn numbers(&self, of: &[u8], key: &[u8]) -> Option<[i64; N]> {
        let numbers = key.strip_prefix(&[self.0])?.strip_prefix(of)?;
        let (numbers, []) = numbers.as_chunks() else { return None };
        let read = |n: &[u8; 8]| (u64::from_be_bytes(*n) ^ (1 << 63)).cast_signed();
        numbers.iter().map(read).collect::<Vec<_>>().try_into().ok()
    }

    /// Moments `from <= t < to`; all from there on for none.
    fn range(&self, of: &[u8], from: i64, to: Option<i64>) -> (Vec<u8>, Vec<u8>) {
        let end = match to {
            Some(to) => self.key(of, &[to]),
            None => [&self.key(of, &[])[..], &BEHIND_ALL].concat(),
        };
        (self.key(of, &[from]), end)
    }
}

/// What is agreed.
pub(super) trait Value: Sized {
    fn bytes(&self) -> Vec<u8>;
    fn read(bytes: &[u8]) -> Option<Self>;
}

impl Value for i64 {
    fn bytes(&self) -> Vec<u8> {
        self.to_be_bytes().into()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_be_bytes)
    }
}

impl Value for Vec<u8> {
    fn bytes(&self) -> Vec<u8> {
        self.clone()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(bytes.into())
    }
}

/// The facts of a plan, a dataset, a node or the whole ledger.
pub(super) struct Facts {
    account: Arc<Account>,
    of: Vec<u8>,
}

impl Facts {
    /// A changed plan begins anew.
    pub(super) fn of_plan(account: Arc<Account>, plan: &ReleasePlan) -> Self {
        Self { account, of: owner(&plan.name, &plan.digest) }
    }

    pub(super) fn of_dataset(account: Arc<Account>, dataset: &str) -> Self {
        Self { account, of: owner(dataset, &[]) }
    }

    pub(super) fn of_node(account: Arc<Account>, node: &str) -> Self {
        Self { account, of: owner(node, &[]) }
    }

    pub(super) fn of_all(account: Arc<Account>) -> Self {
        Self { account, of: owner("", &[]) }
    }

    /// What counts: the proposal, or what another replica proposed before.
    pub(super) async fn agree<const N: usize, V: Value>(
        &self,
        kind: Kind<N, V>,
        at: [i64; N],
        proposal: V,
    ) -> Result<V, BooksError> {
        let key = kind.key(&self.of, &at);
        let agreed = self.account.ledger()?.agree(&key, &proposal.bytes()).await?;
        V::read(&agreed).ok_or_else(corrupt)
    }

    /// Whether a proposal is what counts.
    pub(super) async fn is_agreed<const N: usize>(
        &self,
        kind: Kind<N, i64>,
        at: [i64; N],
        proposal: i64,
    ) -> Result<bool, BooksError> {
        Ok(self.agree(kind, at, proposal).await? == proposal)
    }

    /// All facts of a kind about an interval of time, in its order.
    pub(super) async fn all<const N: usize, V: Value>(
        &self,
        kind: Kind<N, V>,
        from: i64,
        to: Option<i64>,
    ) -> Result<Vec<([i64; N], V)>, BooksError> {
        let ledger = self.account.ledger()?;
        let (mut from, to) = kind.range(&self.of, from, to);
        let mut all = Vec::new();
        loop {
            let page = ledger.agreed(&from, &to).await?;
            let Some((last, _)) = page.last() else { return Ok(all) };
            from = [&last[..], &[0]].concat();
            let fact = |(key, value): &(Vec<u8>, Vec<u8>)| {
                Some((kind.numbers(&self.of, key)?, V::read(value)?))
            };
            for read in &page {
                all.push(fact(read).ok_or_else(corrupt)?);
            }
        }
    }

    /// Forgets those of before a moment.
    pub(super) async fn forget<const N: usize, V>(
        &self,
        kind: Kind<N, V>,
        from: i64,
        to: i64,
    ) -> Result<(), BooksError> {
        let (from, to) = kind.range(&self.of, from, Some(to));
        Ok(self.account.ledger()?.forget(&from, &to).await?)
    }
}

fn owner(name: &str, digest: &[u8]) -> Vec<u8> {
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length, name.as_bytes(), digest].concat()
}

pub(super) fn corrupt() -> BooksError {
    audit::StoreError::Corrupt("what replicas agreed on".to_owned()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_kind_owner_and_numbers() {
        let plan = owner("per-hour", &[7; 32]);
        let key = CUTOFF.key(&plan, &[-5, 2, i64::MAX]);
        assert_eq!(CUTOFF.numbers(&plan, &key), Some([-5, 2, i64::MAX]));
        // Nothing may be missing, and nothing follow; what another kind or owner agreed on is nothing.
        assert_eq!(CUTOFF.numbers(&plan, &[&key[..], &[0]].concat()), None);
        assert_eq!(CUTOFF.numbers(&plan, &key[..key.len() - 1]), None);
        assert_eq!(CUTOFF.numbers(&plan, &key[..key.len() - 8]), None);
        assert_eq!(PARTIAL.numbers(&plan, &key), None);
        assert_eq!(CUTOFF.numbers(&owner("per-hour", &[8; 32]), &key), None);
        assert_eq!(<i64 as Value>::read(&[0; 7]), None);
        assert_eq!(<i64 as Value>::read(&(-9_i64).bytes()), Some(-9));
    }

    #[test]
    fn an_interval_of_time_is_a_range_of_one_kind() {
        let plan = owner("per-hour", &[7; 32]);
        let cutoff = |start_us| CUTOFF.key(&plan, &[start_us, i64::MAX, i64::MAX]);
        let holds = |(from, to): &(Vec<u8>, Vec<u8>), key: &Vec<u8>| from <= key && key < to;
        let interval = CUTOFF.range(&plan, -1, Some(8));
        let inside: Vec<_> = [i64::MIN, -2, -1, 0, 7, 8, i64::MAX]
            .into_iter()
            .filter(|start_us| holds(&interval, &cutoff(*start_us)))
            .collect();
        assert_eq!(inside, [-1, 0, 7]);
        let all = CUTOFF.range(&plan, i64::MIN, None);
        assert!(holds(&all, &cutoff(i64::MIN)) && holds(&all, &cutoff(i64::MAX)));
        assert!(holds(&all, &CUTOFF.key(&plan, &[i64::MAX; 3])));
        assert!(!holds(&all, &PARTIAL.key(&plan, &[0; 4])));
        assert!(!holds(&all, &CUTOFF.key(&owner("per-hour2", &[7; 32]), &[0; 3])));
        assert!(!holds(&all, &CUTOFF.key(&owner("per-hour", &[8; 32]), &[0; 3])));
    }
}
