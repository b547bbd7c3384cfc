//! What a record brings to a release: a subject as a keyed digest, a key, clamped numbers. Sealed,
//! and keyed by subject, so that all of a subject's contributions meet in one partition.
//!
//! INVARIANT: what a record contributes depends on that record, the plan and keys alone. A field
//! that is missing or does not fit leaves the record out of the release; it never changes what
//! another record contributes.

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use bytes::Bytes;
use ring::rand::SecureRandom;
use sluicegate_policies::{
    FieldPath,
    release::{Keys, MissingSubject, ReleasePlan, SubjectUnit, Unit, What},
};

use crate::{
    account::SEARCH_KEY,
    json::Malformed,
    keys::{KeyError, Keyring, Secret, info},
    record::{Record, RequestId},
    release::seal::{Seal, SealError},
    transform::{self, RecordRef},
    window::{Contribution, Subject},
};

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
    pub key: Bytes,
    pub value: Bytes,
}

/// Makes contributions for one release. No `Debug`: it holds keys.
pub struct Contributor {
    pub plan: Arc<ReleasePlan>,
    pub topic: Arc<str>,
    /// Seals contributions and totals.
    pub seal: Arc<Seal>,
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
        let seal = Arc::new(Seal::new(keyring, SEARCH_KEY, tenant, &plan.name, random)?);
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

    /// What a record contributes; none if it has no subject, no key of the release, or a key that
    /// is too long.
    pub fn contribute(
        &self,
        record: &Record,
        moment: Moment,
    ) -> Result<Option<Counted>, ContributeError> {
        let Some(contribution) = self.contribution(record, moment)? else { return Ok(None) };
        let key = Bytes::copy_from_slice(&contribution.subject.0);
        let sealed =
            self.seal.seal(moment.arrival_ms, &self.plan.digest, &contribution.encode())?;
        Ok(Some(Counted { key, value: Bytes::from(sealed) }))
    }

    /// The same before it is sealed.
    fn contribution(
        &self,
        record: &Record,
        moment: Moment,
    ) -> Result<Option<Contribution>, ContributeError> {
        let mut made = self.unclamped(record, moment)?;
        if let Some(contribution) = &mut made {
            self.clamp(contribution);
        }
        Ok(made)
    }

    /// Brings the summed numbers into the plan's limits.
    pub fn clamp(&self, contribution: &mut Contribution) {
        let limits = self.plan.outputs.iter().filter_map(|output| match output.what {
            What::Sum { lo, hi, .. } => Some((lo, hi)),
            What::Subjects | What::Count => None,
        });
        for (value, (lo, hi)) in contribution.values.iter_mut().zip(limits) {
            *value = value.map(|value| value.clamp(lo, hi));
        }
    }

    /// What is true of a record, before [`clamp`](Self::clamp): for a simulation.
    pub fn unclamped(
        &self,
        record: &Record,
        moment: Moment,
    ) -> Result<Option<Contribution>, ContributeError> {
        let record = crate::flow::record_ref(record);
        let number = moment.seq.to_be_bytes();
        let id = self.digest(b"record", &[&moment.request.0, &number]);
        let subject = match &self.plan.unit {
            Unit::Record => Some(id),
            Unit::Subject(unit) => self.subject(unit, record)?,
        };
        let Some(subject) = subject else { return Ok(None) };
        let Some(key) = self.key(record)? else { return Ok(None) };
        let sums = self.plan.outputs.iter().filter_map(|output| match &output.what {
            What::Sum { path, scale, .. } => Some((path, *scale)),
            What::Subjects | What::Count => None,
        });
        let value = |(path, scale): (&FieldPath, u8)| {
            let text = transform::find(path, record)?;
            let fixed = text.and_then(|text| transform::fixed_point(&text, u32::from(scale)));
            Ok::<_, Malformed>(fixed)
        };
        let values = sums.map(value).collect::<Result<_, _>>()?;
        Ok(Some(Contribution {
            subject: Subject(subject),
            key: Arc::from(key),
            event_ms: moment
                .event_ms
                .min(moment.arrival_ms.saturating_add(self.plan.schedule.max_skew_ms)),
            arrival_ms: moment.arrival_ms,
            id,
            values,
        }))
    }

    fn subject(
        &self,
        unit: &SubjectUnit,
        record: RecordRef<'_>,
    ) -> Result<Option<[u8; 16]>, Malformed> {
        let found = transform::find(&unit.path, record)?;
        let mut scratch = String::new();
        let normal =
            found.as_deref().and_then(|t| transform::normalise(unit.normaliser, t, &mut scratch));
        Ok(match (normal, unit.missing) {
            (Some(normal), _) => Some(self.digest(b"subject", &[normal.as_bytes()])),
            (None, MissingSubject::Drop) => None,
            (None, MissingSubject::AsOneSubject) => Some(self.digest(b"no subject", &[])),
        })
    }

    fn key<'r>(&self, record: RecordRef<'r>) -> Result<Option<Cow<'r, str>>, Malformed> {
        Ok(match &self.plan.keys {
            Keys::Whole => Some(Cow::Borrowed("")),
            Keys::Public { path, .. } => {
                transform::find(path, record)?.filter(|key| self.public.contains(&**key))
            }
            Keys::Unknown { path, max_bytes, .. } => {
                transform::find(path, record)?.filter(|key| key.len() <= *max_bytes as usize)
            }
        })
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
