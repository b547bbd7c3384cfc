//! The ledger side of the flow: the only place that knows both policy words and ledger words.
//!
//! It turns decisions into entries, keyed digests included, and hands out the proof that they are
//! durable. A value of a record goes in here as a keyed digest or not at all.

mod agreed;
mod claims;
mod digests;
mod entries;
pub mod releases;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::{Arc, Mutex},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use sluicegate_audit as audit;
use sluicegate_audit::{Appended, Digest16, Digest32, Entry, Position, Standing};
use sluicegate_policies::{
    BundleDigest, Delivery, Grant, JurisdictionId, RefusalCode, Route, Table,
};
use tokio::sync::watch;

use claims::Given;
pub use claims::{ClaimFound, Claimed, Intended, Keyed, Running};
pub use digests::{Digests, SEARCH_KEY, SearchKeyError};
use entries::{
    Used, actor, admin, contributes, crossing, empty_treatment, in_groups, outcome, present_all,
    treatment,
};

use crate::{
    ambient::{Ambient, Clock},
    config::Config,
    contribute::Contributor,
    decide::{Activated, Snapshot},
    deliver::{DeliverError, Landing, Page, Placed, Regions},
    flow::{Permitted, Target, Wanted},
    identify::{Failure, Principal},
    lineage::Question,
    record::{Fate, Judged, Received, Record, Recorded, Refused, Via},
    telemetry::Metrics,
};

/// How far our clock may be from the store's when the ledger is opened, and another writer's from
/// ours before a warning.
const CLOCK_SKEW_US: i64 = 60_000_000;
/// Treatments that are kept in encoded form.
const TREATMENTS_MAX: usize = 10_000;
/// Entries that are kept until the ledger is open.
const EARLY_MAX: usize = 1_000;
/// Events that one reconciliation asks a pipeline about at a time.
const RECONCILE_EVENTS: usize = 10_000;

/// Why something could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error(transparent)]
    Append(#[from] audit::AppendError),
    #[error(transparent)]
    Store(#[from] audit::StoreError),
    #[error("the ledger is not open yet")]
    NotOpen,
    #[error("{0}")]
    Release(String),
}

/// Why the ledger is not open, or what former runs left open is not settled.
#[derive(Debug, thiserror::Error)]
pub enum NotReconciled {
    /// Another gateway has our name, or the file: there is nothing to wait for.
    #[error("{0}")]
    Held(String),
    #[error("{0}")]
    Waits(String),
}

/// Why the account could not be set up: mistakes of the set-up, not outages.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("couldn't read the ledger's `store-file` `{file}`: {why}")]
    StoreFile { file: String, why: String },
    #[error(transparent)]
    Url(audit::StoreError),
    #[error(transparent)]
    Keyring(#[from] crate::decide::ReloadError),
    #[error(transparent)]
    Key(#[from] crate::keys::KeyError),
}

/// What all records of a batch have in common in the ledger.
pub struct Head {
    pub topic: Arc<str>,
    pub first: u32,
    request: [u8; 16],
    origin: [u8; 16],
    actor: audit::Actor,
    policy: [u8; 32],
    table: TableKey,
}

/// Treatments of one table are not those of another.
type TableKey = (BundleDigest, i64);

/// A treatment's digest, canonical bytes and number of fields.
type Encoded = (Digest32, Arc<[u8]>, usize);
type TreatmentKey = (TableKey, Arc<str>, Arc<str>, JurisdictionId, Via);

/// The account.
pub struct Account {
    url: audit::Url,
    origin: String,
    node: String,
    /// Whether this is a verb of the command line, beside the node's gateway.
    beside: bool,
    ambient: Ambient,
    digests: Arc<ArcSwap<Digests>>,
    claim_us: i64,
    ledger: ArcSwapOption<audit::Ledger>,
    /// Opened, and what former runs left open is not settled yet.
    opened: Mutex<Option<Arc<audit::Ledger>>>,
    /// Entries of before the ledger was open.
    early: Mutex<Vec<Entry>>,
    running: Arc<Mutex<HashSet<[u8; 32]>>>,
    given: Mutex<Given>,
    /// Principals that the configuration names.
    named: BTreeSet<String>,
    treatments: Mutex<HashMap<TreatmentKey, Encoded>>,
    metrics: Arc<Metrics>,
}

impl Account {
    /// Reads what is needed; the store itself is opened by [`Account::reconcile`], which is tried
    /// until it works.
    pub fn new(
        config: &Config,
        ambient: &Ambient,
        metrics: Arc<Metrics>,
    ) -> Result<Self, OpenError> {
        Ok(Self {
            url: store_url(config)?,
            origin: config.ledger.origin.clone(),
            node: config.node.clone(),
            beside: false,
            ambient: ambient.clone(),
            digests: Arc::new(ArcSwap::from_pointee(digests_of(config)?)),
            claim_us: i64::from(config.limits.idempotency_hours) * 3_600_000_000,
            ledger: ArcSwapOption::empty(),
            opened: Mutex::default(),
            early: Mutex::default(),
            running: Arc::default(),
            given: Mutex::default(),
            named: named(config),
            treatments: Mutex::default(),
            metrics,
        })
    }

    /// For a verb of the command line: a short-lived writer under a name of its own, which is not
    /// taken for the gateway and whose clock counts for nobody.
    pub async fn beside(config: &Config, ambient: &Ambient) -> Result<Self, String> {
        let account = Self::new(config, ambient, Arc::default()).map_err(|e| e.to_string())?;
        let account = Self { node: format!("{}-cli", config.node), beside: true, ..account };
        account.reconcile(&Regions::new([])).await.map_err(|e| e.to_string())?;
        Ok(account)
    }

    fn ledger(&self) -> Result<Arc<audit::Ledger>, AccountError> {
        self.ledger.load_full().ok_or_else(|| {
            self.metrics.count_fail_closed("ledger-unavailable");
            AccountError::NotOpen
        })
    }

    pub fn is_healthy(&self) -> bool {
        self.ledger.load().as_ref().is_some_and(|ledger| ledger.is_healthy())
    }

    /// The search keys, as they change.
    pub fn digests(&self) -> Arc<ArcSwap<Digests>> {
        self.digests.clone()
    }

    /// Writes and searches with these keys from now on. A new one begins a segment of the ledger,
    /// which is durable before anything is written with it.
    pub async fn search_with(&self, digests: Digests) -> Result<(), String> {
        let is_new = self.digests.load().search_key() != digests.search_key();
        let opened = self.opened.lock().unwrap_or_else(|e| e.into_inner()).clone();
        if let Some(ledger) = opened.filter(|_| is_new) {
            ledger.enter(digests.search_key()).await.map_err(|e| e.to_string())?;
        }
        self.digests.store(Arc::new(digests));
        Ok(())
    }

    /// The segments that the ledger keeps, with the search keys that they need; none before it is
    /// open.
    pub async fn segments(&self) -> Vec<(u32, audit::SearchKey)> {
        match self.ledger.load_full() {
            Some(ledger) => ledger.segments().await.unwrap_or_default(),
            None => Vec::new(),
        }
    }

    /// Opens the store if it is not open, and settles what former runs left open: their intents
    /// are looked up in the pipelines. Returns the time of the node's last row.
    pub async fn reconcile(&self, regions: &Regions) -> Result<(usize, i64), NotReconciled> {
        let ledger = self.opened().await?;
        self.settle_all(&ledger, regions).await.map_err(NotReconciled::Waits)
    }

    async fn settle_all(
        &self,
        ledger: &Arc<audit::Ledger>,
        regions: &Regions,
    ) -> Result<(usize, i64), String> {
        // Not before this: a retry must not race the look-up of what it retries.
        let open = ledger.open_intents().await.map_err(|e| e.to_string())?;
        let settled = open.len();
        for some in in_groups(open) {
            self.settle_group(ledger, &some, regions).await?;
        }
        self.ledger.store(Some(ledger.clone()));
        self.note_early(ledger)?;
        Ok((settled, ledger.floor_us()))
    }

    /// The ledger, opened once: a region that is away must not begin a chain a try.
    async fn opened(&self) -> Result<Arc<audit::Ledger>, NotReconciled> {
        let opened = || self.opened.lock().unwrap_or_else(|e| e.into_inner());
        let earlier = opened().clone();
        if let Some(ledger) = earlier {
            return Ok(ledger);
        }
        let ledger = Arc::new(self.open().await?);
        *opened() = Some(ledger.clone());
        Ok(ledger)
    }

    async fn open(&self) -> Result<audit::Ledger, NotReconciled> {
        let standing = if self.beside { Standing::Beside } else { Standing::Node };
        let ledger = self.open_as(standing).await?;
        let ahead_us = ledger.newest_us().saturating_sub(self.ambient.clock.now_us());
        if ahead_us > CLOCK_SKEW_US && !self.beside {
            let ahead_s = ahead_us / 1_000_000;
            tracing::warn!(event = "another-writers-clock-was-ahead", ahead_s);
        }
        Ok(ledger)
    }

    async fn open_as(&self, standing: Standing) -> Result<audit::Ledger, NotReconciled> {
        let waits = |e: crate::ambient::NoChance| NotReconciled::Waits(e.to_string());
        let options = audit::Options {
            origin: self.origin.clone(),
            writer: audit::WriterId(self.ambient.id().map_err(waits)?),
            node: self.node.clone(),
            software: concat!("sluicegate ", env!("CARGO_PKG_VERSION")).to_owned(),
            clock: Arc::new(LedgerClock(self.ambient.clock.clone())),
            search_key: self.digests.load().search_key().clone(),
            standing,
            skew_max_us: CLOCK_SKEW_US,
        };
        let ledger = audit::Ledger::open(&self.url, options).await;
        let ledger = ledger.map_err(|error| match error {
            audit::OpenError::Store(audit::StoreError::Held(why)) => NotReconciled::Held(why),
            audit::OpenError::Store(audit::StoreError::Older | audit::StoreError::Newer)
            | audit::OpenError::Segment(audit::EnterError::OtherKey { .. }) => {
                NotReconciled::Held(error.to_string())
            }
            error => NotReconciled::Waits(error.to_string()),
        })?;
        let kept = ledger.segments().await.map_err(|e| NotReconciled::Waits(e.to_string()))?;
        let fit = self.digests.load().fit(&kept);
        if let Err(error) = fit {
            // Nothing else is written without them: what is kept could not be searched.
            let _closed = ledger.close().await;
            return Err(NotReconciled::Held(error.to_string()));
        }
        tokio::spawn(log_trouble(ledger.trouble()));
        Ok(ledger)
    }

    /// Leaves a false time of the node's own behind: a new chain that names the old head, and says
    /// who began it and why.
    pub async fn restart_time(&self, because: String) -> Result<(), String> {
        let entry = admin(by_shell(), "time.restart", "ok", because);
        let ledger = self.open_as(Standing::Restarted(Box::new(entry))).await;
        let ledger = ledger.map_err(|e| e.to_string())?;
        ledger.close().await.map_err(|e| e.to_string())
    }

    /// One look-up a region and topic for many intents.
    async fn settle_group(
        &self,
        ledger: &audit::Ledger,
        open: &[audit::OpenIntent],
        regions: &Regions,
    ) -> Result<(), String> {
        let mut wanted: BTreeMap<(&str, &str), BTreeSet<Position>> = BTreeMap::new();
        let mut since_us = i64::MAX;
        for intent in open {
            since_us = since_us.min(intent.t_us);
            for leaf in &intent.leaves {
                for copy in &leaf.to {
                    let topic = copy.topic.as_deref().unwrap_or(&intent.intent.topic);
                    wanted.entry((&copy.region, topic)).or_default().insert(leaf.position);
                }
            }
        }
        let mut found: BTreeMap<(&str, &str, Position), Placed> = BTreeMap::new();
        for ((region, topic), positions) in &wanted {
            let Some(pipeline) = regions.get(region) else { continue };
            let some = pipeline.find(topic, positions, since_us.div_euclid(1_000)).await;
            let some = match some {
                Err(DeliverError::UnknownTopic) => BTreeMap::new(),
                other => other.map_err(|e| format!("region `{region}`: {}", e.cause()))?,
            };
            found.extend(some.into_iter().map(|(p, placed)| ((*region, *topic, p), placed)));
        }
        for intent in open {
            let landings =
                intent.leaves.iter().flat_map(|audit::OpenLeaf { position, to, .. }| {
                    to.iter().map(|copy| {
                        let topic = copy.topic.as_deref().unwrap_or(&intent.intent.topic);
                        let placed = found.get(&(&*copy.region, topic, *position)).copied();
                        let never =
                            || DeliverError::Unavailable("not sent before a restart".to_owned());
                        Landing {
                            leaf: position.leaf,
                            region: Arc::from(&*copy.region),
                            topic: Arc::from(topic),
                            result: placed.ok_or_else(never),
                        }
                    })
                });
            let outcome = outcome(intent.first, landings.collect::<Vec<_>>().iter());
            ledger.settle_now(outcome).await.map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// What the records of a batch have in common, and the records.
    pub fn head(
        &self,
        who: &Principal,
        target: &Target,
        table: &Table,
        received: Received,
    ) -> (Head, Vec<Record>) {
        let head = Head {
            topic: Arc::from(target.topic.as_str()),
            first: received.first,
            request: received.request.0,
            origin: received.origin,
            actor: actor(who),
            policy: table.digest().0,
            table: (table.digest(), table.valid_from().0),
        };
        (head, received.records)
    }

    /// Makes the fates durable. What comes back is the proof that delivery asks for.
    pub async fn record(
        &self,
        head: &Head,
        grant: &Grant<'_>,
        snapshot: &Snapshot,
        judged: Vec<Judged>,
        keyed: Option<(&Keyed, i64)>,
    ) -> Result<Recorded, AccountError> {
        let started = tokio::time::Instant::now();
        let ledger = self.ledger()?;
        let mut used = Used::default();
        let leaves: Vec<audit::Leaf> = judged
            .iter()
            .zip(head.first..)
            .map(|(judged, seq)| self.leaf(head, grant, snapshot, judged, seq, &mut used))
            .collect();
        let records = u32::try_from(leaves.len()).unwrap_or(u32::MAX);
        let intent = audit::Intent {
            request: head.request,
            actor: head.actor.clone(),
            origin: head.origin,
            purpose: grant.purpose().to_string(),
            dataset: grant.dataset().name.to_string(),
            topic: head.topic.to_string(),
            policy: head.policy,
            rules: grant.rules().iter().map(ToString::to_string).collect(),
            treatments: used.digests,
            first_leaf: 0,
            leaves: records,
            records,
            batch: vec![],
        };
        let transfers = used.transfers.into_iter().map(|(treatment, crossing, records)| {
            Entry::Transfer(audit::Transfer { request: head.request, treatment, crossing, records })
        });
        let claim = keyed.map(|(keyed, arrival_ms)| {
            let at_us = arrival_ms.saturating_mul(1_000);
            let expires_us = at_us.saturating_add(self.claim_us);
            audit::Claim { key: keyed.key, fingerprint: keyed.fingerprint, at_us, expires_us }
        });
        let appended: Appended = ledger
            .intend(intent, leaves, used.details, transfers.collect(), claim)
            .await
            .inspect_err(|_| self.metrics.count_fail_closed("ledger-unavailable"))?;
        self.metrics.ledger_seconds.observe(started.elapsed().as_secs_f64());
        Ok(Recorded::new(head.topic.clone(), &appended, judged))
    }

    fn leaf(
        &self,
        head: &Head,
        grant: &Grant<'_>,
        snapshot: &Snapshot,
        judged: &Judged,
        seq: u32,
        used: &mut Used,
    ) -> audit::Leaf {
        let mut tokens = Vec::new();
        let digests = self.digests.load();
        let fate = match &judged.fate {
            Fate::Refuse(refused) => audit::Fate::Refuse(
                refused.code.as_str().to_owned(),
                refused.rule.as_deref().unwrap_or_default().to_owned(),
            ),
            Fate::Deliver { jurisdiction, copies } | Fate::Aggregate { jurisdiction, copies } => {
                for token in copies.iter().flat_map(|copy| &copy.tokens) {
                    let digest = Digest16(digests.token(token.as_str()));
                    if !tokens.contains(&digest) {
                        tokens.push(digest);
                    }
                }
                let copied = copies
                    .iter()
                    .map(|copy| {
                        let via = copy.via;
                        self.treatment(head, grant, snapshot, *jurisdiction, via, used)
                    })
                    .map(|(treatment, fields)| audit::Copied {
                        treatment,
                        present: present_all(fields),
                    })
                    .collect();
                match &judged.fate {
                    Fate::Aggregate { .. } => audit::Fate::Aggregate(copied),
                    _ => audit::Fate::Deliver(copied),
                }
            }
        };
        let source =
            judged.source.iter().map(|(name, value)| Digest16(digests.source(name, value)));
        audit::Leaf { seq, fate, source: source.collect(), tokens, count: 1 }
    }

    /// The number of a treatment within the intent, and of its fields; made, and encoded, the first
    /// time it is used.
    fn treatment(
        &self,
        head: &Head,
        grant: &Grant<'_>,
        snapshot: &Snapshot,
        jurisdiction: JurisdictionId,
        via: Via,
        used: &mut Used,
    ) -> (u32, usize) {
        let contributor = match via {
            Via::Release(n) => snapshot.contributors(&grant.dataset().name).get(n),
            Via::Delivery(_) => None,
        };
        let delivery = grant.route(jurisdiction).ok().and_then(|route| {
            let mut all = route.deliveries.iter();
            let found = match (via, contributor) {
                (Via::Delivery(n), _) => all.nth(n),
                (Via::Release(_), Some(c)) => all.find(|d| d.region == c.plan.region),
                (Via::Release(_), None) => None,
            };
            found.map(|delivery| (route, delivery))
        });
        let (number, fields) = match used.numbers.get(&(jurisdiction, via)) {
            Some(known) => *known,
            None => {
                let (digest, bytes, fields) =
                    self.encoded(head, grant, snapshot, (jurisdiction, via), delivery, contributor);
                let number = u32::try_from(used.digests.len()).unwrap_or(u32::MAX);
                used.digests.push(digest);
                used.details.push((digest.0, bytes.to_vec()));
                used.numbers.insert((jurisdiction, via), (number, fields));
                (number, fields)
            }
        };
        if let Some((_, Delivery { transfer: Some(transfer), .. })) = delivery {
            used.count_transfer(number, || crossing(transfer));
        }
        (number, fields)
    }

    fn encoded(
        &self,
        head: &Head,
        grant: &Grant<'_>,
        snapshot: &Snapshot,
        (jurisdiction, via): (JurisdictionId, Via),
        delivery: Option<(&Route, &Delivery)>,
        contributor: Option<&Contributor>,
    ) -> Encoded {
        let dataset = grant.dataset().name.clone();
        let code = snapshot.table.jurisdiction_code(jurisdiction);
        let key = (head.table, dataset, grant.purpose().clone(), jurisdiction, via);
        let mut treatments = self.treatments.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(encoded) = treatments.get(&key) {
            return encoded.clone();
        }
        let made = match (delivery, contributor) {
            (held, Some(contributor)) => contributes(contributor, held.map(|(_, d)| d), code),
            (Some((route, delivery)), None) => treatment(route, delivery, code),
            (None, None) => empty_treatment(),
        };
        let (digest, bytes) = audit::detail_digest(&made);
        if treatments.len() >= TREATMENTS_MAX {
            treatments.clear();
        }
        let entry = (Digest32(digest), Arc::from(bytes), made.transforms.len());
        treatments.insert(key, entry.clone());
        entry
    }

    /// Queues where the records ended; it rides the next flush. When even the queue is full the
    /// intent stays open, and the next start looks it up.
    pub fn settle(
        &self,
        recorded: &Recorded,
        landings: &[Landing],
        answered: Option<(&Keyed, Vec<u8>)>,
    ) {
        let outcome = outcome(recorded.first(), landings.iter());
        let done = answered.map(|(keyed, answer)| {
            let expires_us = self.ambient.clock.now_us().saturating_add(self.claim_us);
            let mut given = self.given.lock().unwrap_or_else(|e| e.into_inner());
            given.remember(keyed, answer.clone(), expires_us);
            (given.claimed_as(keyed), answer)
        });
        let settled = self.ledger().and_then(|ledger| Ok(ledger.settle(outcome, done)?));
        if let Err(error) = settled {
            tracing::warn!(event = "outcome-not-recorded", %error);
        }
    }

    /// A request that was refused before its records were looked at.
    pub async fn refused_request(
        &self,
        who: &Principal,
        target: &Target,
        action: &str,
        table: &Table,
        refused: &Refused,
    ) -> Result<(), AccountError> {
        // A stranger's words are not kept: only topics that the policy knows.
        let object = table.dataset_of_topic(&target.topic).map_or("", |_| target.topic.as_str());
        let actor = match refused.code {
            RefusalCode::UnknownPrincipal => self.stranger(who),
            _ => actor(who),
        };
        let entry = Entry::RequestRefused(audit::RequestRefused {
            actor,
            action: action.to_owned(),
            object: object.to_owned(),
            code: refused.code.as_str().to_owned(),
            rule: refused.rule.as_deref().unwrap_or_default().to_owned(),
            policy: table.digest().0,
        });
        self.ledger()?.append(entry).await?;
        Ok(())
    }

    /// Somebody was shown records; durable before they are.
    pub async fn read(
        &self,
        permitted: &Permitted,
        wanted: &Wanted,
        region: &str,
        grant: &Grant<'_>,
        page: &Page,
    ) -> Result<(), AccountError> {
        let id = self.ambient.id().map_err(|e| AccountError::Release(e.to_string()))?;
        let from = page.records.first().map_or(wanted.offset, |r| r.offset);
        let entry = Entry::Read(audit::ReadAccess {
            id,
            actor: actor(permitted.who()),
            origin: wanted.origin,
            purpose: grant.purpose().to_string(),
            dataset: grant.dataset().name.to_string(),
            policy: permitted.policy().0,
            rules: grant.rules().iter().map(ToString::to_string).collect(),
            treatments: vec![],
            state: audit::ReadState::Shown,
            ranges: vec![audit::OffsetRange {
                region: region.to_owned(),
                topic: permitted.target().topic.clone(),
                partition: wanted.partition,
                from,
                to: page.records.last().map_or(from, |r| r.offset.saturating_add(1)),
            }],
        });
        self.ledger()?.append(entry).await?;
        Ok(())
    }

    /// Durable before the caller is answered; where the ledger is away it is kept, bounded.
    pub async fn login_failed(&self, failure: Failure, address: Option<IpAddr>) {
        let origin = address.map_or([0; 16], |address| self.digests.load().address(address));
        let entry = audit::AuthFailure { code: failure.code().to_owned(), origin };
        let entry = Entry::AuthFailure(entry);
        let Some(ledger) = self.ledger.load_full() else { return self.note(entry) };
        if let Err(error) = ledger.append(entry).await {
            tracing::warn!(event = "login-failure-not-recorded", %error);
        }
    }

    pub fn wrong_role(&self, who: &Principal, role: &str) {
        self.note(admin(self.stranger(who), "ask", "wrong-role", role.to_owned()));
    }

    /// An actor whom the policy may not know: a token's claim can be anybody's e-mail address, so
    /// that a name which no file of ours holds stands in the ledger as a keyed digest.
    fn stranger(&self, who: &Principal) -> audit::Actor {
        let mut actor = actor(who);
        if !self.named.contains(&*who.name) {
            actor.id = format!("unknown:{}", audit::hex(&self.digests.load().name(&who.name)));
        }
        actor
    }

    pub fn activated(&self, activated: Activated) {
        self.note(Entry::PolicyActivated(audit::PolicyActivated {
            digest: activated.digest.0,
            previous: activated.previous.map_or([0; 32], |digest| digest.0),
        }));
    }

    /// Queues an entry that nothing waits for. Before the ledger is open it is kept, so that the
    /// first policy and a login that fails early are not lost.
    fn note(&self, entry: Entry) {
        let noted = match self.ledger.load_full() {
            Some(ledger) => ledger.submit(entry).map_err(AccountError::from),
            None => {
                let mut early = self.early.lock().unwrap_or_else(|e| e.into_inner());
                let room = early.len() < EARLY_MAX;
                if room {
                    early.push(entry);
                }
                if room { Ok(()) } else { Err(AccountError::NotOpen) }
            }
        };
        if let Err(error) = noted {
            tracing::warn!(event = "note-not-recorded", %error);
        }
    }

    fn note_early(&self, ledger: &audit::Ledger) -> Result<(), String> {
        let early = std::mem::take(&mut *self.early.lock().unwrap_or_else(|e| e.into_inner()));
        early.into_iter().try_for_each(|entry| ledger.submit(entry)).map_err(|e| e.to_string())
    }

    pub async fn admin(&self, who: &Principal, action: &str) -> Result<(), AccountError> {
        self.ledger()?.append(admin(actor(who), action, "ok", String::new())).await?;
        Ok(())
    }

    /// Who asked the ledger what; durable before the answer.
    pub async fn asked(&self, who: &Principal, question: &Question) -> Result<(), AccountError> {
        self.asked_as(actor(who), question).await
    }

    /// The same for whoever has a shell on the machine and the keyring: the operator.
    pub async fn asked_by_operator(&self, question: &Question) -> Result<(), AccountError> {
        self.asked_as(by_shell(), question).await
    }

    async fn asked_as(&self, actor: audit::Actor, question: &Question) -> Result<(), AccountError> {
        let entry = Entry::LedgerAccess(audit::LedgerAccess {
            actor,
            question: question.kind().to_owned(),
            digest: self.digests.load().question(&question.words()),
        });
        self.ledger()?.append(entry).await?;
        Ok(())
    }

    pub fn origin(&self, address: IpAddr) -> [u8; 16] {
        self.digests.load().address(address)
    }

    /// Flushes, and ends the chain in order.
    pub async fn close(&self) {
        if let Some(ledger) = self.ledger.swap(None)
            && let Err(error) = ledger.close().await
        {
            tracing::warn!(event = "ledger-not-closed", %error);
        }
    }
}

/// One line when the ledger cannot be written any more, and one when it can again.
async fn log_trouble(mut trouble: watch::Receiver<Option<audit::AppendError>>) {
    while trouble.changed().await.is_ok() {
        let why = trouble.borrow_and_update().clone();
        match why {
            Some(why) => tracing::error!(event = "ledger-unavailable", %why),
            None => tracing::info!(event = "ledger-available"),
        }
    }
}

fn named(config: &Config) -> BTreeSet<String> {
    let identify = &config.identify;
    let certificates = identify.certificates.iter().map(|rule| &rule.principal);
    let tokens = identify.tokens.iter().flat_map(|issuer| issuer.principals.values());
    let roles = config.roles.auditor.iter().chain(&config.roles.operator);
    certificates.chain(tokens).chain(roles).chain(&identify.anonymous).cloned().collect()
}

/// The search keys of a configuration's keyring and tenant.
pub fn digests_of(config: &Config) -> Result<Digests, OpenError> {
    Ok(Digests::of(&crate::decide::keyring(&config.keys.file)?, &config.tenant)?)
}

struct LedgerClock(Arc<dyn Clock>);

impl audit::Clock for LedgerClock {
    /// While the wall clock has leapt, the time that it should be.
    fn now(&self) -> audit::Time {
        let source = if self.0.leapt_us().is_some() { "monotonic" } else { "system" };
        audit::Time { us: self.0.now_us(), err_us: 0, source }
    }
}

/// Whoever has a shell on the machine and the keyring.
fn by_shell() -> audit::Actor {
    audit::Actor { id: "operator".to_owned(), by: "shell".to_owned() }
}

/// The ledger's store as configured; a URL with a password stands in a file of its own.
pub fn store_url(config: &Config) -> Result<audit::Url, OpenError> {
    let text = match (&config.ledger.store, &config.ledger.store_file) {
        (Some(store), _) => store.clone(),
        (None, Some(file)) => std::fs::read_to_string(file).map_err(|e| OpenError::StoreFile {
            file: file.display().to_string(),
            why: e.kind().to_string(),
        })?,
        (None, None) => String::new(),
    };
    text.trim().parse().map_err(OpenError::Url)
}
