//! Idempotency keys: what the ledger knows of one, and how an interrupted request continues.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex},
};

use sluicegate_audit as audit;
use sluicegate_audit::{Appended, Position};

use super::{Account, AccountError, entries::actor};
use crate::{
    deliver::Since,
    identify::Principal,
    record::RequestId,
    request::{Permitted, Target},
};

/// A claim of another node that is younger than this may still be running there.
const LEASE_US: i64 = 180_000_000;
/// Answers that are kept for repetitions that come before the ledger has them.
const ANSWERS_MAX: usize = 1_024;
const ANSWERS_BYTES_MAX: usize = 4 << 20;

/// An idempotency key and the fingerprint of its request, as keyed digests.
#[derive(Clone, PartialEq, Eq)]
pub struct Keyed {
    pub(super) key: [u8; 32],
    pub(super) fingerprint: [u8; 32],
    /// Both, under each older search key.
    older: Vec<([u8; 32], [u8; 32])>,
}

impl Keyed {
    /// Names the request to those who must know it again when it is repeated.
    pub fn repeats(&self) -> RequestId {
        let [first, _] = *self.key.as_chunks::<16>().0 else { return RequestId([0; 16]) };
        RequestId(first)
    }
}

/// What the ledger knows of an idempotency key.
pub enum ClaimFound {
    New,
    Reused,
    Done(Vec<u8>),
    ElsewhereRunning,
    Interrupted(Claimed),
}

/// A request that has an intent and no answer.
pub struct Claimed {
    pub first: Position,
    pub at_us: i64,
}

/// Held while a keyed request runs here.
pub struct Running {
    key: [u8; 32],
    keys: Arc<Mutex<HashSet<[u8; 32]>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.keys.lock().unwrap_or_else(|e| e.into_inner()).remove(&self.key);
    }
}

/// What an intent of before an interruption says.
#[derive(Default)]
pub struct Intended {
    /// The copies that it allows.
    copies: BTreeMap<Position, BTreeSet<(String, String)>>,
    /// The request whose decisions it holds.
    pub request: Option<RequestId>,
    /// If it came as one of Kafka's batches, and to which topic.
    batch: Option<(audit::BatchIdentity, String)>,
}

impl Intended {
    pub fn covers(&self, position: Position, region: &str, topic: &str) -> bool {
        let copy = (region.to_owned(), topic.to_owned());
        self.copies.get(&position).is_some_and(|copies| copies.contains(&copy))
    }

    /// Where a search for copies begins. Those of a client's batch have the client's times.
    pub fn since(&self, claimed_ms: i64, region: &str, topic: &str) -> Since {
        let batch = self.batch.as_ref().filter(|(b, of)| b.cluster == region && of == topic);
        batch.map_or(Since::Time(claimed_ms), |(b, _)| Since::Offset(b.partition, b.log_end))
    }
}

/// Answers that were given, for repetitions that come before the ledger has them. The oldest go
/// first; whoever comes later finds them in the ledger.
#[derive(Default)]
pub(super) struct Given {
    /// Keys that were found under an older search key, and how they are written there.
    older: HashMap<[u8; 32], [u8; 32]>,
    by_key: HashMap<[u8; 32], Answer>,
    oldest: VecDeque<[u8; 32]>,
    bytes: usize,
}

struct Answer {
    fingerprint: [u8; 32],
    bytes: Vec<u8>,
    expires_us: i64,
}

impl Given {
    pub(super) fn remember(&mut self, keyed: &Keyed, bytes: Vec<u8>, expires_us: i64) {
        self.bytes += bytes.len();
        let answer = Answer { fingerprint: keyed.fingerprint, bytes, expires_us };
        match self.by_key.insert(keyed.key, answer) {
            Some(before) => self.bytes -= before.bytes.len(),
            None => self.oldest.push_back(keyed.key),
        }
        while self.oldest.len() > ANSWERS_MAX || self.bytes > ANSWERS_BYTES_MAX {
            let Some(oldest) = self.oldest.pop_front() else { return };
            self.bytes -= self.by_key.remove(&oldest).map_or(0, |answer| answer.bytes.len());
        }
    }

    /// The key under which the claim of a request is in the ledger.
    pub(super) fn claimed_as(&self, keyed: &Keyed) -> [u8; 32] {
        self.older.get(&keyed.key).copied().unwrap_or(keyed.key)
    }

    fn found_as(&mut self, keyed: &Keyed, key: [u8; 32]) {
        if self.older.len() >= ANSWERS_MAX {
            self.older.clear();
        }
        self.older.insert(keyed.key, key);
    }

    fn find(&self, keyed: &Keyed, now_us: i64) -> Option<ClaimFound> {
        let answer = self.by_key.get(&keyed.key).filter(|answer| now_us < answer.expires_us)?;
        Some(match answer.fingerprint == keyed.fingerprint {
            true => ClaimFound::Done(answer.bytes.clone()),
            false => ClaimFound::Reused,
        })
    }
}

impl Account {
    /// Marks a keyed request as running here; `None` if it does already.
    pub fn running(&self, keyed: &Keyed) -> Option<Running> {
        let mut keys = self.running.lock().unwrap_or_else(|e| e.into_inner());
        keys.insert(keyed.key).then(|| Running { key: keyed.key, keys: self.running.clone() })
    }

    pub async fn claim(&self, keyed: &Keyed) -> Result<ClaimFound, AccountError> {
        let ledger = self.ledger()?;
        let now_us = self.ambient.clock.now_us();
        let given = self.given.lock().unwrap_or_else(|e| e.into_inner()).find(keyed, now_us);
        if let Some(given) = given {
            return Ok(given);
        }
        let mut found = ledger.claim(&keyed.key, now_us).await?.map(|s| (s, keyed.fingerprint));
        for (key, fingerprint) in &keyed.older {
            if found.is_none() {
                found = ledger.claim(key, now_us).await?.map(|state| (state, *fingerprint));
                if found.is_some() {
                    self.given.lock().unwrap_or_else(|e| e.into_inner()).found_as(keyed, *key);
                }
            }
        }
        let Some((state, fingerprint)) = found else { return Ok(ClaimFound::New) };
        if state.fingerprint != fingerprint {
            return Ok(ClaimFound::Reused);
        }
        if !ledger.is_ours(&state) && now_us.saturating_sub(state.at_us) < LEASE_US {
            return Ok(match state.answer {
                Some(answer) => ClaimFound::Done(answer),
                None => ClaimFound::ElsewhereRunning,
            });
        }
        Ok(match state.answer {
            Some(answer) => ClaimFound::Done(answer),
            None => ClaimFound::Interrupted(Claimed { first: state.first, at_us: state.at_us }),
        })
    }

    /// The principal is part of the key: two callers cannot meet in one.
    pub fn keyed(&self, who: &Principal, target: &Target, key: &str, body: &[&[u8]]) -> Keyed {
        let purpose = target.purpose.as_deref().unwrap_or_default();
        let parts =
            [who.name.as_bytes(), target.topic.as_bytes(), purpose.as_bytes(), key.as_bytes()];
        let mut all = self.digests.load().claims(&parts, body);
        let (key, fingerprint) = all.remove(0);
        Keyed { key, fingerprint, older: all }
    }

    /// A retried request continues where it was interrupted: what its intent allows under the
    /// policy that is in force now.
    pub async fn intended(
        &self,
        permitted: &Permitted,
        claimed: &Claimed,
    ) -> Result<(Appended, Intended), AccountError> {
        let ledger = self.ledger()?;
        // Open again: a crash from here on leaves it to the next start.
        let appended = ledger.reopen(claimed.first, actor(permitted.who())).await?;
        let intent = ledger.intent(claimed.first).await?;
        let Some(intent) = intent else { return Ok((appended, Intended::default())) };
        let request = Some(RequestId(intent.intent.request));
        let same = intent.intent.policy == permitted.policy().0;
        let copies = intent.leaves.into_iter().filter(|_| same);
        let topic = intent.intent.topic;
        let batch = intent.intent.batch.into_iter().next().map(|batch| (batch, topic.clone()));
        let named =
            |copy: audit::Destination| (copy.region, copy.topic.unwrap_or_else(|| topic.clone()));
        let copies =
            copies.map(|leaf| (leaf.position, leaf.to.into_iter().map(named).collect())).collect();
        Ok((appended, Intended { copies, request, batch }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_answers_are_known_within_their_bounds() {
        let keyed = |n: u16| {
            let mut key = [0; 32];
            key[..2].copy_from_slice(&n.to_be_bytes());
            Keyed { key, fingerprint: key, older: vec![] }
        };
        let mut given = Given::default();
        for n in 0..2_000 {
            given.remember(&keyed(n), vec![1], 10);
        }
        let done =
            |given: &Given, n, at| matches!(given.find(&keyed(n), at), Some(ClaimFound::Done(_)));
        assert!(done(&given, 1_999, 9) && !done(&given, 1_999, 10), "an answer expires");
        assert!(done(&given, 2_000 - ANSWERS_MAX as u16, 9) && !done(&given, 900, 9));
        let other = Keyed { fingerprint: [9; 32], ..keyed(1_999) };
        assert!(matches!(given.find(&other, 9), Some(ClaimFound::Reused)));
        // Half of the bytes, twice: the first goes. The same key again is not counted twice.
        for n in [1, 2, 2] {
            given.remember(&keyed(n), vec![0; ANSWERS_BYTES_MAX / 2 + 1], 10);
        }
        assert!(!done(&given, 1, 9) && done(&given, 2, 9));
        assert_eq!((given.by_key.len(), given.bytes), (1, ANSWERS_BYTES_MAX / 2 + 1));
    }
}
