//! Permission is a value: publishing and reading cannot be called without one, and it is asked for
//! here alone, where a refusal is recorded.

use sluicegate_policies::Operation;

use super::{Flow, Permitted};
use crate::{
    identify::Principal,
    request::{Stopped, Target},
    telemetry::FateLabel,
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
}
