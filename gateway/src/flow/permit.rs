//! Permission is a value: publishing and reading cannot be called without one, and it is asked for
//! here alone, where a refusal is recorded.

use std::net::IpAddr;

use sluicegate_policies::{Operation, RefusalCode};

use super::{Flow, Permitted};
use crate::{
    identify::{Failure, Principal},
    record::Refused,
    request::{Stopped, Target},
    telemetry::{CodeLabel, FateLabel},
};

impl Flow {
    /// Whether a principal may publish to, or read from, a topic. A refusal is durable in the
    /// ledger before it is answered.
    pub async fn permit(
        &self,
        who: &Principal,
        target: &Target,
        operation: Operation,
    ) -> Result<Permitted, Stopped> {
        let snapshot = self.snapshot()?;
        let asked = Permitted::ask(snapshot.clone(), who.clone(), target.clone(), operation);
        let refused = match asked {
            Ok(permitted) => return Ok(permitted),
            Err(refused) => refused,
        };
        let action = match operation {
            Operation::Publish => {
                self.metrics.count_record("", FateLabel::Refused, refused.code.as_str(), 1);
                "publish"
            }
            Operation::Read => "read",
        };
        self.account.refused_request(who, target, action, &snapshot.table, &refused).await?;
        Err(Stopped::Refused(refused))
    }

    /// A request that is refused before a topic's permission is asked for: an API that is not offered, a group or
    /// a transactional id that the policy does not give.
    pub async fn refused_by_face(&self, who: &Principal, action: &str) {
        let Ok(snapshot) = self.snapshot() else { return };
        let refused = Refused {
            code: RefusalCode::NotPermitted,
            rule: None,
            pointer: None,
            detail: "not offered, or not permitted".into(),
            help: None,
        };
        let target = Target { topic: String::new(), purpose: None };
        let table = &snapshot.table;
        let recorded = self.account.refused_request(who, &target, action, table, &refused).await;
        if let Err(error) = recorded {
            tracing::warn!(event = "refusal-not-recorded", %error);
        }
    }

    /// Whether the policy lets a principal come from an address. Without a policy it may, and is refused all else.
    pub fn welcome(&self, who: Principal, address: IpAddr) -> Result<Principal, Failure> {
        match self.policy.now() {
            Ok(snapshot) if !snapshot.table.may_come_from(&who.name, address) => {
                Err(Failure::NetworkNotAllowed)
            }
            _ => Ok(who),
        }
    }

    /// A failed login is in the ledger; if the ledger is unavailable, the login has failed all the same.
    pub async fn login_failed(&self, failure: Failure, address: Option<IpAddr>) {
        let code = failure.code().to_owned();
        self.metrics.login_failures.get_or_create(&CodeLabel { code }).inc();
        tracing::info!(event = "login-failed", reason = failure.code());
        self.account.login_failed(failure, address).await;
    }
}
