//! Permission is a value: publishing and reading cannot be called without one, and it is asked for
//! in one place, where a refusal is recorded.

use std::sync::Arc;

use sluicegate_policies::{BundleDigest, Grant, Operation};

use super::{Flow, Stopped, Target};
use crate::{decide::Snapshot, identify::Principal, record::Refused};

/// That a principal may do something with a topic, under one policy. A batch is decided under that
/// policy; a long stream asks again for each of its batches.
pub struct Permitted {
    snapshot: Arc<Snapshot>,
    who: Principal,
    target: Target,
    operation: Operation,
}

impl Permitted {
    pub fn who(&self) -> &Principal {
        &self.who
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The policy that permits it.
    pub fn policy(&self) -> BundleDigest {
        self.snapshot.table.digest()
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The grant: the immutable table that gave it is asked again, as a grant borrows from it.
    pub(super) fn grant(&self) -> Result<Grant<'_>, Refused> {
        let (table, target) = (&self.snapshot.table, &self.target);
        table
            .admit(&self.who.name, target.purpose.as_deref(), self.operation, &target.topic)
            .map_err(|refusal| Refused::at(None, &refusal))
    }
}

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
        let (who, target) = (who.clone(), target.clone());
        let permitted = Permitted { snapshot, who, target, operation };
        let Err(refused) = permitted.grant() else { return Ok(permitted) };
        let action = match operation {
            Operation::Publish => {
                self.count_refused("", &refused, 1);
                "publish"
            }
            Operation::Read => "read",
        };
        let Permitted { snapshot, who, target, .. } = &permitted;
        self.account.refused_request(who, target, action, &snapshot.table, &refused).await?;
        Err(Stopped::Refused(refused))
    }
}
