//! What a record brings to a release: a subject as a keyed digest, a key, clamped numbers. Sealed,
//! and keyed by subject, so that all of a subject's contributions meet in one partition.
//!
//! INVARIANT: what a record contributes depends on that record, the plan and keys alone. A field
//! that is missing or does not fit leaves the record out of the release; it never changes what
//! another record contributes.

mod amount;

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use bytes::Bytes;
use ring::rand::SecureRandom;
use sluicegate_policies::{
    FieldPath,
    release::{Keys, MissingSubject, ReleasePlan, SubjectUnit, Unit, What},
};
use sluicegate_protect::{
    self as protect, RecordRef,
    json::Malformed,
    keys::{KeyError, Keyring, Secret, info},
};
use sluicegate_releases::{
    seal::{Seal, SealError},
    window::{self, Contribution, Placement, Subject},
};

use crate::{
    digests::SEARCH_KEY,
    record::{Record, RequestId, Uncounted},
};

pub(crate) use amount::amount;

/// Why a record's contribution could not be made: it is refused, as any error while deciding.
#[derive(Debug, thiserror::Error)]
pub enum ContributeError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the contribution could not be sealed: {0}")]
    Seal(#[from] SealError),
}

/// When a record happened, when it came, and which one it is.
#[derive(Clone, Copy)]
pub struct Moment {
    /// From the dataset's event time; without one, the arrival.
    pub event_ms: i64,
    pub arrival_ms: i64,
    /// Of the request, or of its idempotency key: the same when it is repeated, as is the arrival,
    /// so that a record whose first copy was still on its way counts once.
    pub request: RequestId,
    pub seq: u32,
}

/// A contribution on its way into the contributions topic.
pub struct Counted {
    /// The start of its pane.
    pub pane_ms: i64,
    pub key: Bytes,
    pub value: Bytes,
    /// Which of the fields that the release takes the record had, as a bitmap.
    pub present: Vec<u8>,
    /// The sums to which the record adds nothing.
    pub without_number: Vec<Arc<str>>,
}

/// Makes contributions for one release. No `Debug`: it holds keys.
pub struct Contributor {
    pub plan: Arc<ReleasePlan>,
    pub topic: Arc<str>,
    /// Seals contributions and totals.
    pub seal: Seal,
    /// The secret of keyed choices: which keys and records of a subject are kept.
    pub choice: [u8; 32],
    /// Of the keys from which subjects, choices and seals come: another number, other keys.
    pub fingerprint: i64,
    digests: Secret,
    /// The plan's public keys.
    public: HashSet<Arc<str>>,
}

/// The internal topic that holds a release's contributions. No dataset has it, so that no
/// principal can publish to it or read it.
pub fn contributions_topic(release: &str) -> Arc<str> {
    Arc::from(format!("{release}.contributions"))
}

impl Contributor {
    pub fn new(
        plan: Arc<ReleasePlan>,
        tenant: &str,
        keyring: &dyn Keyring,
        random: Arc<dyn SecureRandom + Send + Sync>,
    ) -> Result<Self, KeyError> {
        let (master, domain) = match &plan.unit {
            Unit::Subject(unit) => (&*unit.key, &*unit.domain),
            Unit::Record => (SEARCH_KEY, ""),
        };
        let parts: [&[u8]; 4] =
            [tenant.as_bytes(), b"release subject", domain.as_bytes(), plan.name.as_bytes()];
        let digests = keyring.derive(master, &info(&parts))?;
        let seal = Seal::new(keyring, SEARCH_KEY, tenant, &plan.name, random)?;
        let parts = info(&[tenant.as_bytes(), b"release choice", plan.name.as_bytes()]);
        let choice = *keyring.derive(SEARCH_KEY, &parts)?.bytes();
        let parts = info(&[tenant.as_bytes(), b"release fingerprint", plan.name.as_bytes()]);
        let [of_subjects, of_rest] = [keyring.derive(master, &parts)?, {
            let parts = info(&[tenant.as_bytes(), b"release seal mark", plan.name.as_bytes()]);
            keyring.derive(SEARCH_KEY, &parts)?
        }];
        let mut fingerprint = [0; 8];
        let both = of_subjects.bytes().iter().zip(of_rest.bytes());
        for (byte, (a, b)) in fingerprint.iter_mut().zip(both) {
            *byte = a ^ b;
        }
        let fingerprint = i64::from_be_bytes(fingerprint);
        let topic = contributions_topic(&plan.name);
        let public = match &plan.keys {
            Keys::Public { values, .. } => values.iter().cloned().collect(),
            Keys::Whole | Keys::Unknown { .. } => HashSet::new(),
        };
        Ok(Self { plan, topic, seal, choice, fingerprint, digests, public })
    }

    /// What a record contributes, or why nothing.
    pub fn contribute(
        &self,
        record: &Record,
        moment: Moment,
    ) -> Result<Result<Counted, Uncounted>, ContributeError> {
        let mut contribution = match self.unclamped(record, moment)? {
            Ok(contribution) => contribution,
            Err(why) => return Ok(Err(why)),
        };
        let Placement::Pane(pane) = window::pane_of(&self.plan, &contribution) else {
            return Ok(Err(Uncounted::Late));
        };
        self.clamp(&mut contribution);
        let without_number = self.without_number(&contribution);
        let key = Bytes::copy_from_slice(&contribution.subject.0);
        let sealed =
            self.seal.seal(moment.arrival_ms, &self.plan.digest, &contribution.encode())?;
        let present = self.present(&contribution);
        let (pane_ms, value) = (pane.start_ms, Bytes::from(sealed));
        Ok(Ok(Counted { pane_ms, key, value, present, without_number }))
    }

    /// A bit for each of [`treatments::taken`](crate::treatments::taken), least significant first.
    fn present(&self, contribution: &Contribution) -> Vec<u8> {
        let subject = match &self.plan.unit {
            Unit::Subject(_) => Some(contribution.subject.0 != self.digest(b"no subject", &[])),
            Unit::Record => None,
        };
        let key = (!matches!(self.plan.keys, Keys::Whole)).then_some(true);
        let sums = contribution.values.iter().map(Option::is_some);
        let all: Vec<bool> = subject.into_iter().chain(key).chain(sums).collect();
        let byte = |bits: &[bool]| (0..).zip(bits).map(|(i, bit)| u8::from(*bit) << i).sum();
        all.chunks(8).map(byte).collect()
    }

    /// The sums to which a contribution adds nothing.
    pub fn without_number(&self, contribution: &Contribution) -> Vec<Arc<str>> {
        let sums = self.plan.outputs.iter().filter(|o| matches!(o.what, What::Sum { .. }));
        let values = sums.zip(&contribution.values);
        values.filter(|(_, value)| value.is_none()).map(|(sum, _)| sum.name.clone()).collect()
    }

    /// Brings the summed numbers into the plan's limits.
    pub fn clamp(&self, contribution: &mut Contribution) {
        let limits = self.sums().map(|(_, _, lo, hi)| (lo, hi));
        for (value, (lo, hi)) in contribution.values.iter_mut().zip(limits) {
            *value = value.map(|value| value.clamp(lo, hi));
        }
    }

    /// Field, decimals and limits of each sum.
    fn sums(&self) -> impl Iterator<Item = (&FieldPath, u32, i64, i64)> {
        self.plan.outputs.iter().filter_map(|output| match &output.what {
            What::Sum { path, scale, lo, hi } => Some((path, u32::from(*scale), *lo, *hi)),
            What::Subjects | What::Count => None,
        })
    }

    /// The summed numbers with so many decimals more than the plan's, each rounded half up.
    pub fn amounts(&self, record: &Record, more: u32) -> Result<Vec<Option<i128>>, Malformed> {
        let record = record.as_ref();
        let value = |(path, scale, ..): (&FieldPath, u32, i64, i64)| {
            let text = protect::find(path, record)?;
            Ok(text.and_then(|text| amount(&text, scale.saturating_add(more))))
        };
        self.sums().map(value).collect()
    }

    /// What is true of a record, before [`clamp`](Self::clamp), and whether or not it is late.
    pub fn unclamped(
        &self,
        record: &Record,
        moment: Moment,
    ) -> Result<Result<Contribution, Uncounted>, ContributeError> {
        let amounts = self.amounts(record, 0)?;
        let record = record.as_ref();
        let number = moment.seq.to_be_bytes();
        let id = self.digest(b"record", &[&moment.request.0, &number]);
        let subject = match &self.plan.unit {
            Unit::Record => Some(id),
            Unit::Subject(unit) => self.subject(unit, record)?,
        };
        let Some(subject) = subject else { return Ok(Err(Uncounted::NoSubject)) };
        let key = match self.key(record)? {
            Ok(key) => key,
            Err(why) => return Ok(Err(why)),
        };
        let nearest = |exact: i128| {
            i64::try_from(exact).unwrap_or(if exact < 0 { i64::MIN } else { i64::MAX })
        };
        Ok(Ok(Contribution {
            subject: Subject(subject),
            key: Arc::from(key),
            event_ms: moment
                .event_ms
                .min(moment.arrival_ms.saturating_add(self.plan.schedule.max_skew_ms)),
            arrival_ms: moment.arrival_ms,
            id,
            values: amounts.into_iter().map(|value| value.map(nearest)).collect(),
        }))
    }

    fn subject(
        &self,
        unit: &SubjectUnit,
        record: RecordRef<'_>,
    ) -> Result<Option<[u8; 16]>, Malformed> {
        let found = protect::find(&unit.path, record)?;
        let mut scratch = String::new();
        let normal =
            found.as_deref().and_then(|t| protect::normalize(unit.normalizer, t, &mut scratch));
        Ok(match (normal, unit.missing) {
            (Some(normal), _) => Some(self.digest(b"subject", &[normal.as_bytes()])),
            (None, MissingSubject::Drop) => None,
            (None, MissingSubject::AsOneSubject) => Some(self.digest(b"no subject", &[])),
        })
    }

    fn key<'r>(&self, record: RecordRef<'r>) -> Result<Result<Cow<'r, str>, Uncounted>, Malformed> {
        let (path, fits, why): (_, &dyn Fn(&str) -> bool, _) = match &self.plan.keys {
            Keys::Whole => return Ok(Ok(Cow::Borrowed(""))),
            Keys::Public { path, .. } => {
                (path, &|key| self.public.contains(key), Uncounted::UnlistedKey)
            }
            Keys::Unknown { path, max_bytes, .. } => {
                (path, &|key| key.len() <= *max_bytes as usize, Uncounted::LongKey)
            }
        };
        Ok(match protect::find(path, record)? {
            Some(key) if fits(&key) => Ok(key),
            Some(_) => Err(why),
            None => Err(Uncounted::NoKey),
        })
    }

    /// How a record spells its key: for a simulation, whose result stays with the raw data.
    pub fn spelling(&self, record: &Record) -> Option<String> {
        let (Keys::Public { path, .. } | Keys::Unknown { path, .. }) = &self.plan.keys else {
            return None;
        };
        let found = protect::find(path, record.as_ref()).ok()?;
        found.map(Cow::into_owned)
    }

    fn digest(&self, what: &[u8], parts: &[&[u8]]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(self.digests.bytes());
        hasher.update(&info(&[what]));
        hasher.update(&info(parts));
        let [digest, _] = *hasher.finalize().as_bytes().as_chunks::<16>().0 else {
            return [0; 16];
        };
        digest
    }
}
