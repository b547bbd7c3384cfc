//! The words of a request: what it is about, what it wants, that it may, and why it stopped.

use std::sync::Arc;

use sluicegate_policies::{BundleDigest, Grant, Operation};

use crate::{
    decide::Snapshot,
    identify::Principal,
    record::{DeliverError, Refused},
};

/// What a request is about.
#[derive(Clone)]
pub struct Target {
    pub topic: String,
    pub purpose: Option<String>,
}

/// That a principal may do something with a topic, under one policy. A batch is decided under that
/// policy; a long stream asks again for each of its batches.
pub struct Permitted {
    snapshot: Arc<Snapshot>,
    who: Principal,
    target: Target,
    operation: Operation,
}

impl Permitted {
    /// Asks the policy. Only [`Flow::permit`](crate::flow::Flow::permit) calls it: a refusal is
    /// recorded there.
    pub(crate) fn ask(
        snapshot: Arc<Snapshot>,
        who: Principal,
        target: Target,
        operation: Operation,
    ) -> Result<Self, Refused> {
        let permitted = Self { snapshot, who, target, operation };
        permitted.grant().map(|_| ())?;
        Ok(permitted)
    }

    pub fn who(&self) -> &Principal {
        &self.who
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The dataset that the topic belongs to.
    pub fn dataset(&self) -> Arc<str> {
        self.grant().map_or_else(|_| Arc::default(), |grant| grant.dataset().name.clone())
    }

    /// The policy that permits it.
    pub fn policy(&self) -> BundleDigest {
        self.snapshot.table.digest()
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The grant: the immutable table that gave it is asked again, as a grant borrows from it.
    pub fn grant(&self) -> Result<Grant<'_>, Refused> {
        let (table, target) = (&self.snapshot.table, &self.target);
        table
            .admit(&self.who.name, target.purpose.as_deref(), self.operation, &target.topic)
            .map_err(|refusal| Refused::at(None, &refusal))
    }
}

/// A stretch of a partition that a reader wants.
pub struct Wanted {
    pub region: Option<String>,
    pub partition: u32,
    pub offset: i64,
    /// Records, and bytes of them, at most; the first record comes in any case.
    pub limit: usize,
    pub bytes: usize,
    pub origin: [u8; 16],
}

/// Offsets of a partition that a reader was shown: `from <= offset < to`.
pub struct Shown {
    pub partition: u32,
    pub from: i64,
    pub to: i64,
}

/// Why a request stopped before its records had fates of their own.
#[derive(Debug)]
pub enum Stopped {
    Refused(Refused),
    /// Failing closed: the ledger is unavailable. The log has the cause.
    Ledger,
    /// Failing closed: a pipeline is unavailable. The log has the cause.
    Pipeline {
        region: Arc<str>,
        error: DeliverError,
    },
    KeyRunning,
    KeyReused,
    NoPartition,
    /// The batch's decisions differ so much that they do not fit one ledger row.
    TooVaried,
}

impl From<Refused> for Stopped {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}
