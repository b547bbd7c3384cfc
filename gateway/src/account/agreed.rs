//! What replicas agree on, in the register of the ledger's store: the first proposal counts, for
//! everybody and for good.
//!
//! INVARIANT: bytes of what something is about sort as its moments do, so that a stretch of time is
//! one range of the register.

use sluicegate_audit as audit;
use sluicegate_policies::release::ReleasePlan;

use super::{Account, AccountError};

/// A plan: a changed one begins anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlanId {
    name: String,
    digest: [u8; 32],
}

impl PlanId {
    pub(super) fn of(plan: &ReleasePlan) -> Self {
        Self { name: plan.name.to_string(), digest: plan.digest }
    }
}

/// A fact, or a proposal of one. The fields before the last one say what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Agreed {
    /// The first window that a plan releases.
    FirstPane { plan: PlanId, start_ms: i64 },
    /// How many partitions the topic of its contributions has.
    Partitions { plan: PlanId, partitions: u32 },
    /// Who notes the windows that a change of plan left out: the moment tells replicas apart.
    Gap { plan: PlanId, noted_us: i64 },
    /// Where a budget's period ends.
    Period { dataset: String, start_us: i64, end_us: i64 },
    /// Which keys subjects of a period are counted under.
    Keys { plan: PlanId, period_us: i64, fingerprint: i64 },
    /// A window that is refused.
    Refused { plan: PlanId, start_us: i64, revision: u32, end_us: i64 },
    /// The first offset of a partition that does not count in a window.
    Cut { plan: PlanId, start_us: i64, revision: u32, partition: u32, cut: i64 },
    /// What counts up to a cut that is proposed, sealed.
    Partial {
        plan: PlanId,
        start_us: i64,
        revision: u32,
        partition: u32,
        cut: i64,
        sealed: Vec<u8>,
    },
}

/// What a range of the register is about; the numbers are in its bytes.
#[derive(Clone, Copy)]
pub(super) enum About {
    FirstPane = 1,
    Partitions = 2,
    Gap = 3,
    Period = 4,
    Keys = 5,
    Refused = 6,
    Cut = 7,
    Partial = 8,
}

/// Whose facts they are: a plan's, or a dataset's.
#[derive(Clone, Copy)]
pub(super) enum Of<'a> {
    Plan(&'a PlanId),
    Dataset(&'a str),
}

fn prefix(about: About, of: Of<'_>) -> Vec<u8> {
    let (name, digest): (&str, &[u8]) = match of {
        Of::Plan(plan) => (&plan.name, &plan.digest),
        Of::Dataset(name) => (name, &[]),
    };
    let mut bytes = vec![about as u8];
    bytes.extend_from_slice(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(digest);
    bytes
}

/// A number whose bytes sort as it does.
fn ordered(number: i64) -> [u8; 8] {
    (number.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// The register's range of facts about moments `from <= t < to`; all of them for none.
pub(super) fn range(about: About, of: Of<'_>, from: i64, to: Option<i64>) -> (Vec<u8>, Vec<u8>) {
    let prefix = prefix(about, of);
    let begin = [&prefix[..], &ordered(from)].concat();
    let end = match to {
        Some(to) => [&prefix[..], &ordered(to)].concat(),
        None => [&prefix[..], &BEHIND_ALL].concat(),
    };
    (begin, end)
}

/// Sorts behind a moment and whatever follows it.
const BEHIND_ALL: [u8; 32] = [0xff; 32];

impl Agreed {
    /// The register's key and value.
    fn to_bytes(&self) -> (Vec<u8>, Vec<u8>) {
        let of =
            |about, plan, rest: &[&[u8]]| [prefix(about, Of::Plan(plan)), rest.concat()].concat();
        match self {
            Self::FirstPane { plan, start_ms } => {
                (of(About::FirstPane, plan, &[]), start_ms.to_be_bytes().into())
            }
            Self::Partitions { plan, partitions } => {
                (of(About::Partitions, plan, &[]), partitions.to_be_bytes().into())
            }
            Self::Gap { plan, noted_us } => {
                (of(About::Gap, plan, &[]), noted_us.to_be_bytes().into())
            }
            Self::Period { dataset, start_us, end_us } => {
                let about = prefix(About::Period, Of::Dataset(dataset));
                ([about, ordered(*start_us).into()].concat(), end_us.to_be_bytes().into())
            }
            Self::Keys { plan, period_us, fingerprint } => {
                let about = of(About::Keys, plan, &[&ordered(*period_us)]);
                (about, fingerprint.to_be_bytes().into())
            }
            Self::Refused { plan, start_us, revision, end_us } => {
                let at: [&[u8]; 2] = [&ordered(*start_us), &revision.to_be_bytes()];
                (of(About::Refused, plan, &at), end_us.to_be_bytes().into())
            }
            Self::Cut { plan, start_us, revision, partition, cut } => {
                let (revision, partition) = (revision.to_be_bytes(), partition.to_be_bytes());
                let at: [&[u8]; 3] = [&ordered(*start_us), &revision, &partition];
                (of(About::Cut, plan, &at), cut.to_be_bytes().into())
            }
            Self::Partial { plan, start_us, revision, partition, cut, sealed } => {
                let (revision, partition) = (revision.to_be_bytes(), partition.to_be_bytes());
                let at: [&[u8]; 4] = [&ordered(*start_us), &revision, &partition, &ordered(*cut)];
                (of(About::Partial, plan, &at), sealed.clone())
            }
        }
    }

    fn of_bytes(about: &[u8], value: &[u8]) -> Option<Self> {
        let mut about = Bytes(about);
        let mut value = Bytes(value);
        let [kind] = about.take()?;
        let length = u32::from_be_bytes(about.take()?);
        let name = about.text(usize::try_from(length).ok()?)?;
        if kind == About::Period as u8 {
            let (start_us, end_us) = (about.moment()?, i64::from_be_bytes(value.take()?));
            return (about.is_empty() && value.is_empty()).then_some(Self::Period {
                dataset: name,
                start_us,
                end_us,
            });
        }
        let plan = PlanId { name, digest: about.take()? };
        let read = match kind {
            1 => Self::FirstPane { plan, start_ms: i64::from_be_bytes(value.take()?) },
            2 => Self::Partitions { plan, partitions: u32::from_be_bytes(value.take()?) },
            3 => Self::Gap { plan, noted_us: i64::from_be_bytes(value.take()?) },
            5 => Self::Keys {
                plan,
                period_us: about.moment()?,
                fingerprint: i64::from_be_bytes(value.take()?),
            },
            6 => Self::Refused {
                plan,
                start_us: about.moment()?,
                revision: u32::from_be_bytes(about.take()?),
                end_us: i64::from_be_bytes(value.take()?),
            },
            7 => Self::Cut {
                plan,
                start_us: about.moment()?,
                revision: u32::from_be_bytes(about.take()?),
                partition: u32::from_be_bytes(about.take()?),
                cut: i64::from_be_bytes(value.take()?),
            },
            8 => Self::Partial {
                plan,
                start_us: about.moment()?,
                revision: u32::from_be_bytes(about.take()?),
                partition: u32::from_be_bytes(about.take()?),
                cut: about.moment()?,
                sealed: std::mem::take(&mut value.0).to_vec(),
            },
            _ => return None,
        };
        (about.is_empty() && value.is_empty()).then_some(read)
    }
}

/// Bytes that are still to be read.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn text(&mut self, length: usize) -> Option<String> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(taken.to_vec()).ok()
    }

    fn moment(&mut self) -> Option<i64> {
        Some((u64::from_be_bytes(self.take()?) ^ (1 << 63)).cast_signed())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

pub(super) fn corrupt() -> AccountError {
    AccountError::Store(audit::StoreError::Corrupt("what replicas agreed on".to_owned()))
}

impl Account {
    /// What counts: the proposal, or what another replica proposed before.
    pub(super) async fn agree_on(&self, proposal: Agreed) -> Result<Agreed, AccountError> {
        let (about, value) = proposal.to_bytes();
        let agreed = self.ledger()?.agree(&about, &value).await?;
        Agreed::of_bytes(&about, &agreed).ok_or_else(corrupt)
    }

    /// All that was agreed in a range, in its order.
    pub(super) async fn all_agreed(
        &self,
        (mut from, to): (Vec<u8>, Vec<u8>),
    ) -> Result<Vec<Agreed>, AccountError> {
        let ledger = self.ledger()?;
        let mut all = Vec::new();
        loop {
            let page = ledger.agreed(&from, &to).await?;
            let Some((last, _)) = page.last() else { return Ok(all) };
            from = [&last[..], &[0]].concat();
            for (about, value) in page {
                all.push(Agreed::of_bytes(&about, &value).ok_or_else(corrupt)?);
            }
        }
    }

    pub(super) async fn forget_agreed(
        &self,
        (from, to): (Vec<u8>, Vec<u8>),
    ) -> Result<(), AccountError> {
        Ok(self.ledger()?.forget(&from, &to).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> PlanId {
        PlanId { name: "per-hour".into(), digest: [7; 32] }
    }

    fn samples() -> Vec<Agreed> {
        let plan = plan();
        let (start_us, revision, partition, cut) = (-5, 2, 3, 44);
        vec![
            Agreed::FirstPane { plan: plan.clone(), start_ms: -1 },
            Agreed::Partitions { plan: plan.clone(), partitions: 12 },
            Agreed::Gap { plan: plan.clone(), noted_us: i64::MAX },
            Agreed::Period { dataset: "orders".into(), start_us, end_us: 9 },
            Agreed::Keys { plan: plan.clone(), period_us: 0, fingerprint: i64::MIN },
            Agreed::Refused { plan: plan.clone(), start_us, revision, end_us: 1 },
            Agreed::Cut { plan: plan.clone(), start_us, revision, partition, cut },
            Agreed::Partial { plan, start_us, revision, partition, cut, sealed: vec![1, 2] },
        ]
    }

    #[test]
    fn each_fact_comes_back_as_it_was() {
        for fact in samples() {
            let (about, value) = fact.to_bytes();
            assert_eq!(Agreed::of_bytes(&about, &value), Some(fact.clone()));
            // Nothing may be missing, and nothing follow.
            let more = [&about[..], &[0]].concat();
            assert_eq!(Agreed::of_bytes(&more, &value), None, "{fact:?}");
            assert_eq!(Agreed::of_bytes(&about[..about.len() - 1], &value), None, "{fact:?}");
            if !matches!(fact, Agreed::Partial { .. }) {
                assert_eq!(Agreed::of_bytes(&about, &value[1..]), None, "{fact:?}");
            }
        }
    }

    #[test]
    fn a_stretch_of_time_is_a_range_of_one_kind() {
        let plan = plan();
        let cut = |start_us| Agreed::Cut {
            plan: plan.clone(),
            start_us,
            revision: u32::MAX,
            partition: u32::MAX,
            cut: 0,
        };
        let holds = |(from, to): &(Vec<u8>, Vec<u8>), fact: &Agreed| {
            let about = fact.to_bytes().0;
            *from <= about && about < *to
        };
        let stretch = range(About::Cut, Of::Plan(&plan), -1, Some(8));
        let inside: Vec<_> = [i64::MIN, -2, -1, 0, 7, 8, i64::MAX]
            .into_iter()
            .filter(|start_us| holds(&stretch, &cut(*start_us)))
            .collect();
        assert_eq!(inside, [-1, 0, 7]);
        let all = range(About::Cut, Of::Plan(&plan), i64::MIN, None);
        assert!(holds(&all, &cut(i64::MIN)) && holds(&all, &cut(i64::MAX)));
        assert_eq!(samples().iter().filter(|fact| holds(&all, fact)).count(), 1);
    }
}
