//! Idempotency keys: what the ledger knows of one, and how an interrupted request continues.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Arc, Mutex},
};

use sluicegate_audit as audit;
use sluicegate_audit::Position;

use super::{Account, AccountError, Head, entries::admin};
use crate::{flow::Target, identify::Principal, record::RequestId};

/// A claim of another node that is younger than this may still be running there.
const LEASE_US: i64 = 180_000_000;

/// An idempotency key and the fingerprint of its request, as keyed digests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Keyed {
    pub(super) key: [u8; 32],
    pub(super) fingerprint: [u8; 32],
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
}

impl Intended {
    pub fn covers(&self, position: Position, region: &str, topic: &str) -> bool {
        let copy = (region.to_owned(), topic.to_owned());
        self.copies.get(&position).is_some_and(|copies| copies.contains(&copy))
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
        let Some(state) = ledger.claim(&keyed.key, now_us).await? else {
            return Ok(ClaimFound::New);
        };
        if state.fingerprint != keyed.fingerprint {
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
        Keyed { key: self.digests.claim(&parts), fingerprint: self.digests.fingerprint(body) }
    }

    /// A retried request goes on where it was interrupted: what its intent allows under the
    /// policy that is in force now.
    pub async fn intended(&self, head: &Head, claimed: &Claimed) -> Result<Intended, AccountError> {
        let ledger = self.ledger()?;
        let about = claimed.first.to_string();
        // Open again: a crash from here on leaves it to the next start.
        let entry = admin(head.actor.clone(), "resume", "ok", about);
        ledger.reopen(claimed.first, entry).await?;
        let intent = ledger.intent(claimed.first).await?;
        let Some(intent) = intent else { return Ok(Intended::default()) };
        let request = Some(RequestId(intent.intent.request));
        let same = intent.intent.policy == head.policy;
        let copies = intent.events.into_iter().filter(|_| same);
        let topic = intent.intent.topic;
        let named =
            |copy: audit::Destination| (copy.region, copy.topic.unwrap_or_else(|| topic.clone()));
        let copies =
            copies.map(|(position, to)| (position, to.into_iter().map(named).collect())).collect();
        Ok(Intended { copies, request })
    }
}
