//! What a reader is shown: a stretch of a partition through the view that the policy grants. The
//! read is durable in the ledger before anything is handed out.

use std::sync::Arc;

use sluicegate_protect::{Protected, RecordRef};

use super::{Flow, Permitted, judge::lost_plan};
use crate::{
    deliver::STUB_HEADER,
    record::{DeliverError, Header, Stored},
    request::{Shown, Stopped, Wanted},
};

impl Flow {
    /// Reads a stretch of a partition. `render` writes what is shown of a record.
    pub async fn read(
        &self,
        permitted: &Permitted,
        wanted: Wanted,
        render: impl Fn(&mut Vec<u8>, &Stored, &Protected),
    ) -> Result<Vec<u8>, Stopped> {
        let (snapshot, grant) = (permitted.snapshot(), permitted.grant()?);
        let topic = permitted.target().topic.as_str();
        let region = self.region(wanted.region.as_deref())?;
        let pipeline = self.regions.get(&region).ok_or(Stopped::NoPartition)?;
        let mut page = pipeline
            .read(topic, wanted.partition, wanted.offset, wanted.limit, wanted.bytes)
            .await
            .map_err(|error| match error {
                DeliverError::UnknownTopic => Stopped::NoPartition,
                error => Stopped::Pipeline { region: region.clone(), error },
            })?;
        let (plan_id, _) = grant.view();
        let program = snapshot.program(plan_id).ok_or_else(lost_plan)?;
        let mut lines = Vec::new();
        let mut scratch = Protected::default();
        let mut shown = 0;
        for stored in &page.records {
            // Lines may be longer than what is stored: what does not fit is not in this page.
            if shown > 0 && lines.len() >= wanted.bytes {
                break;
            }
            shown += 1;
            // A record that the view cannot be applied to is left out, never shown as it is.
            let record = RecordRef {
                key: stored.key.as_deref(),
                headers: &stored.headers,
                value: stored.value.as_deref().unwrap_or_default(),
            };
            if program.apply(record, &mut scratch).is_ok() {
                let is_stub = |(name, _): &&Header| name == STUB_HEADER;
                scratch.headers.extend(stored.headers.iter().find(is_stub).cloned());
                render(&mut lines, stored, &scratch);
            }
        }
        page.records.truncate(shown);
        let from = page.records.first().map_or(wanted.offset, |r| r.offset);
        let to = page.records.last().map_or(from, |r| r.offset.saturating_add(1));
        let shown = [Shown { partition: wanted.partition, from, to }];
        self.account.shown(permitted, &grant, wanted.origin, &region, &shown).await?;
        Ok(lines)
    }

    fn region(&self, asked: Option<&str>) -> Result<Arc<str>, Stopped> {
        let mut regions = self.regions.iter().map(|(name, _)| name);
        let found = match asked {
            Some(asked) => regions.find(|name| name.as_ref() == asked),
            None => match (regions.next(), regions.next()) {
                (Some(only), None) => Some(only),
                _ => None,
            },
        };
        found.cloned().ok_or(Stopped::NoPartition)
    }
}
