//! What is recorded beside records: refusals, reads, logins, questions, changes of policy.

use std::net::IpAddr;

use sluicegate_audit as audit;
use sluicegate_audit::Entry;
use sluicegate_policies::{Grant, RefusalCode, Table};

use super::{
    Account, AccountError,
    entries::{actor, admin, by_shell},
};
use crate::{
    decide::Activated,
    identify::{Failure, Principal},
    lineage::Question,
    record::Refused,
    request::{Permitted, Shown, Target},
};

/// Entries that are kept until the ledger is open.
const EARLY_MAX: usize = 1_000;

impl Account {
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

    /// Somebody was shown records of a topic; durable before they are.
    pub async fn shown(
        &self,
        permitted: &Permitted,
        grant: &Grant<'_>,
        origin: [u8; 16],
        region: &str,
        shown: &[Shown],
    ) -> Result<(), AccountError> {
        let range = |Shown { partition, from, to }: &Shown| audit::OffsetRange {
            region: region.to_owned(),
            topic: permitted.target().topic.clone(),
            partition: *partition,
            from: *from,
            to: *to,
        };
        let entry = Entry::Read(audit::ReadAccess {
            id: self.ambient.id()?,
            actor: actor(permitted.who()),
            origin,
            purpose: grant.purpose().to_string(),
            dataset: grant.dataset().name.to_string(),
            policy: permitted.policy().0,
            rules: grant.rules().iter().map(ToString::to_string).collect(),
            treatments: vec![],
            state: audit::ReadState::Shown,
            ranges: shown.iter().map(range).collect(),
        });
        self.ledger()?.append(entry).await?;
        Ok(())
    }

    /// Durable before the caller is answered; while the ledger is unavailable it is kept, bounded.
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
    /// so a name that no file of ours holds is in the ledger as a keyed digest.
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

    pub(super) fn note_early(&self, ledger: &audit::Ledger) -> Result<(), String> {
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

    /// Somebody ran a release over raw data, on this machine.
    pub async fn simulated(&self, release: &str) -> Result<(), AccountError> {
        self.acted(true, "release.simulate", release.to_owned()).await
    }

    /// What was done about releases: by an operator, who has a shell, or by the node itself.
    pub(crate) async fn acted(
        &self,
        by_operator: bool,
        action: &str,
        about: String,
    ) -> Result<(), AccountError> {
        let node = || audit::Actor { id: self.node.clone(), by: "gateway".to_owned() };
        let actor = if by_operator { by_shell() } else { node() };
        self.ledger()?.append(admin(actor, action, "ok", about)).await?;
        Ok(())
    }

    /// Blocks a period by an operator's hand, who and why on record.
    pub async fn block_by_hand(
        &self,
        dataset: &str,
        period_us: i64,
        because: &str,
    ) -> Result<(), AccountError> {
        let about = format!("{dataset} {}: {because}", audit::utc(period_us));
        self.acted(true, "budget.block", about).await?;
        let (account, why) = (dataset.to_owned(), "operator".to_owned());
        self.ledger()?.block(audit::BudgetBlocked { account, period_us, why }).await?;
        Ok(())
    }

    pub fn origin(&self, address: IpAddr) -> [u8; 16] {
        self.digests.load().address(address)
    }
}
