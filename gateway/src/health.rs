//! What the gateway can do now, in the words of the log and of `config check`; and how it takes what
//! has changed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tokio::sync::watch;

use crate::{
    account::{Account, Gone},
    contribute::Contributor,
    decide::Policy,
    deliver::Regions,
    files,
    identify::{Identifier, RefreshError},
    listen::{expiry::Expiries, tls::Tls},
    record::DeliverError,
    release::{Begun, witness::Witness},
    telemetry::{CAUSE_BYTES_MAX, CertificateLabel, IssuerLabel, Metrics, OutcomeLabel, cut},
};

/// A part that cannot do its work now.
#[derive(Debug)]
pub struct Trouble {
    /// For whoever asks: says nothing about the inside.
    pub word: &'static str,
    /// For operators: the words of the log and of `config check`.
    pub detail: String,
    /// The gateway is ready all the same.
    pub is_borne: bool,
}

impl Trouble {
    fn of(word: &'static str, detail: impl Into<String>) -> Self {
        Self { word, detail: cut(detail.into(), CAUSE_BYTES_MAX), is_borne: false }
    }
}

/// What readiness depends on.
pub struct Health {
    pub(crate) begun: Begun,
    pub(crate) witness: Arc<Witness>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) account: Arc<Account>,
    pub(crate) regions: Regions,
    pub(crate) identifier: Arc<Identifier>,
    /// The data listener takes client certificates.
    pub(crate) takes_certificates: bool,
    pub(crate) tls: Vec<(String, Arc<Tls>)>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stopping: watch::Receiver<bool>,
    /// Why what former runs left open is not settled yet.
    pub(crate) unsettled: watch::Receiver<Option<String>>,
    /// What the last reload did not take, so that it is said once.
    pub(crate) refused: Mutex<Vec<String>>,
    pub(crate) expiries: Mutex<Expiries>,
}

impl Health {
    /// Why the policy in the files is not in force, if it is not.
    pub fn policy_trouble(&self) -> Option<String> {
        self.policy.trouble()
    }

    /// The parts that cannot do their work now.
    pub async fn troubles(&self) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        if *self.stopping.borrow() {
            troubles.push(Trouble::of("stopping", "stopping"));
        }
        if let Some(why) = &*self.unsettled.borrow() {
            troubles.push(Trouble::of("reconciliation", format!("reconciliation: {why}")));
        }
        match self.policy.now() {
            Ok(snapshot) => {
                let waiting = snapshot.all_contributors().filter(|c| !self.begun.has(&c.plan));
                let told = |c: &Arc<Contributor>| {
                    Trouble::of("release", format!("release {}", c.plan.name))
                };
                troubles.extend(waiting.map(told));
            }
            Err(refused) => troubles.push(match self.policy.clock_trouble() {
                Some(why) => Trouble::of("clock", format!("clock: {why}")),
                None => {
                    let cause = self.policy_cause(&refused.detail);
                    Trouble::of("policy", format!("policy: {cause}"))
                }
            }),
        }
        if let Some(why) = self.account.trouble() {
            troubles.push(Trouble::of("ledger", format!("ledger: {why}")));
        }
        let told = |why| Trouble::of("witness", format!("witness: {why}"));
        troubles.extend(self.witness.trouble().map(told));
        let unready = self.regions.unready().await;
        let told = |(region, why): &(Arc<str>, DeliverError)| {
            Trouble::of("region", format!("region {region}: {}", why.cause()))
        };
        troubles.extend(unready.iter().map(told));
        troubles.extend(self.key_set_troubles());
        troubles.extend(self.passwords_trouble());
        troubles.extend(self.account.gone().iter().map(|(node, Gone { intents, why })| Trouble {
            is_borne: true,
            ..Trouble::of("node", format!("node {node}: gone (open intents: {intents}): {why}"))
        }));
        let is_ready = troubles.iter().all(|trouble| trouble.is_borne);
        self.metrics.ready.set(i64::from(is_ready));
        troubles
    }

    /// An issuer that is down shuts out its own callers; the gateway is out only when nobody can log
    /// in any more.
    fn key_set_troubles(&self) -> Vec<Trouble> {
        let is_borne = self.identifier.admits(self.takes_certificates);
        let mut usable: BTreeMap<&str, bool> = BTreeMap::new();
        let mut troubles = Vec::new();
        for (issuer, trouble) in self.identifier.key_sets() {
            *usable.entry(issuer).or_insert(true) &= trouble.is_none();
            let told = trouble.map(|why| Trouble::of("key-set", why.to_string()));
            troubles.extend(told.map(|trouble| Trouble { is_borne, ..trouble }));
        }
        for (issuer, is_usable) in usable {
            let label = IssuerLabel { issuer: issuer.to_owned() };
            self.metrics.key_sets.get_or_create(&label).set(i64::from(is_usable));
        }
        troubles
    }

    /// Passwords that were read before stay in force.
    fn passwords_trouble(&self) -> Option<Trouble> {
        let (error, in_force) = self.identifier.passwords_trouble()?;
        let is_borne = in_force || self.identifier.admits(self.takes_certificates);
        Some(Trouble { is_borne, ..Trouble::of("passwords", error.to_string()) })
    }

    /// Looks at all that is a state rather than an event, for a scrape.
    pub async fn measure(&self) {
        let _troubles = self.troubles().await;
        self.account.measure().await;
    }

    /// When certificates expire, as metrics, and in the log when that comes near.
    pub(crate) fn watch_certificates(&self) {
        let now_s = self.policy.clock_ms().div_euclid(1_000);
        let mut known = self.expiries.lock().unwrap_or_else(|e| e.into_inner());
        for (listener, tls) in &self.tls {
            for (what, at_s) in tls.expiries() {
                let label = CertificateLabel { listener: listener.clone(), what };
                self.metrics.certificate_expiry.get_or_create(&label).set(at_s);
                known.note(listener, what, at_s, now_s);
            }
        }
    }

    /// Why no policy is in force, in the words of `config check`: what the files say, where they
    /// are the cause.
    fn policy_cause(&self, detail: &str) -> String {
        let trouble = self.policy.trouble().filter(|_| !self.policy.is_in_force());
        let trouble = trouble.as_ref().and_then(|text| text.lines().next());
        trouble.unwrap_or(detail).to_owned()
    }

    /// Reads everything that can change again, also what has to be fetched; what was not taken
    /// stays as it was, and is named.
    pub async fn reload(&self) -> Vec<String> {
        let key_sets = self.identifier.refresh().await;
        self.reload_with(key_sets).await
    }

    /// Reads the files again. Where nothing changed, nothing happens.
    pub async fn reload_files(&self) -> Vec<String> {
        let key_sets = self.identifier.refresh_files().await;
        self.reload_with(key_sets).await
    }

    async fn reload_with(&self, key_sets: Vec<RefreshError>) -> Vec<String> {
        let mut refused = Vec::new();
        // Reading may hang with its file system, and compiling takes as long as it takes.
        for (listener, tls) in self.tls.clone() {
            match files::blocking(move || tls.reload().map_err(|e| e.to_string())).await {
                Ok(true) => {
                    self.count("certificates", "taken");
                    tracing::info!(event = "certificates-reloaded", listener);
                }
                Ok(false) => {}
                Err(error) => refused.push(("certificates", error)),
            }
        }
        self.watch_certificates();
        match self.policy.reload().await {
            Ok(Some(activated)) => {
                self.count("policy", "taken");
                tracing::info!(event = "policy-activated", digest = %activated.digest);
                if let Ok(snapshot) = self.policy.now() {
                    self.metrics.expect_policy(&snapshot.table);
                }
                self.account.activated(activated);
            }
            Ok(None) => {}
            Err(error) => refused.push(("policy", error.to_string())),
        }
        if let Some(digests) = self.policy.digests() {
            match self.account.search_with(digests).await {
                Ok(()) => self.keep().await,
                Err(error) => refused.push(("search-key", error)),
            }
        }
        self.regions.reload().await;
        let mut said = self.refused.lock().unwrap_or_else(|e| e.into_inner());
        for (what, error) in refused.iter().filter(|(_, error)| !said.contains(error)) {
            self.count(what, "refused");
            tracing::error!(event = "reload-refused", what, %error);
        }
        *said = refused.into_iter().map(|(_, error)| error).collect();
        // Key sets say in the log themselves what became of them.
        said.iter().cloned().chain(key_sets.iter().map(ToString::to_string)).collect()
    }

    /// From now on a keyring must have what the ledger's segments need.
    pub(crate) async fn keep(&self) {
        let segments = self.account.segments().await;
        if !segments.is_empty() {
            self.policy.keep(segments);
        }
    }

    fn count(&self, what: &'static str, outcome: &'static str) {
        self.metrics.reloads.get_or_create(&OutcomeLabel { what, outcome }).inc();
    }
}
