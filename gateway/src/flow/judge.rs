//! Decides over one record after the other. Whether a record is acceptable is decided in one
//! place, [`Judge::accept`], whatever becomes of it then: delivered, only counted into releases, or
//! read from a file by a simulation.

use std::sync::Arc;

use bytes::Bytes;
use sluicegate_policies::{Delivery, Grant, Records, RefusalCode, Route};
use sluicegate_protect as protect;

use super::record_ref;
use crate::{
    classify,
    contribute::{ContributeError, Contributor, Moment},
    decide::Snapshot,
    record::{
        Classified, Fate, Judged, NotCounted, Protected, Record, Refused, RequestId, Uncounted, Via,
    },
};

/// Holds one scratch buffer for all records of a request.
pub(crate) struct Judge<'a> {
    grant: &'a Grant<'a>,
    snapshot: &'a Snapshot,
    scratch: protect::Protected,
    arrival_ms: i64,
    request: RequestId,
    /// The number of the next record within its request.
    seq: u32,
}

/// A record that the policy lets in.
pub(crate) struct Accepted<'a> {
    pub(crate) classified: Classified,
    pub(crate) route: &'a Route,
    /// One for each delivery of the route.
    copies: Vec<Protected>,
}

/// One that it does not.
pub(crate) struct NotAccepted {
    pub(crate) refused: Refused,
    /// The source that it declares, as far as it was read.
    source: Vec<(Arc<str>, String)>,
}

impl Accepted<'_> {
    /// Whether a region may hold the record at all.
    pub(crate) fn may_be_held_in(&self, region: &str) -> bool {
        self.route.deliveries.iter().any(|delivery| *delivery.region == *region)
    }
}

impl<'a> Judge<'a> {
    pub(crate) fn new(
        grant: &'a Grant<'a>,
        snapshot: &'a Snapshot,
        arrival_ms: i64,
        request: RequestId,
        seq: u32,
    ) -> Self {
        let scratch = protect::Protected::default();
        Self { grant, snapshot, scratch, arrival_ms, request, seq }
    }

    pub(super) fn fate(&mut self, record: Record) -> Judged {
        let judged = self.judged(record);
        self.seq = self.seq.saturating_add(1);
        judged
    }

    fn judged(&mut self, record: Record) -> Judged {
        let refused =
            |refused, source| Judged { fate: Fate::Refuse(refused), source, not_counted: vec![] };
        let accepted = match self.accept(record) {
            Ok(accepted) => accepted,
            Err(NotAccepted { refused: why, source }) => return refused(why, source),
        };
        let (mut brought, mut not_counted) = (Vec::new(), Vec::new());
        if let Err(why) = self.contribute(&accepted, &mut brought, &mut not_counted) {
            return refused(why, accepted.classified.source);
        }
        let Accepted { classified: Classified { jurisdiction, source, .. }, mut copies, .. } =
            accepted;
        let fate = match self.grant.dataset().records {
            Records::Deliver => {
                copies.append(&mut brought);
                Fate::Deliver { jurisdiction, copies }
            }
            Records::ReleasesOnly => Fate::Aggregate { jurisdiction, copies: brought },
        };
        Judged { fate, source, not_counted }
    }

    /// Whether a record may come in: it is classified, has a route, and each delivery's program
    /// takes it. The copies of a dataset that is kept for releases only are thrown away by the
    /// caller: they were made to know that they can be made.
    pub(crate) fn accept(&mut self, record: Record) -> Result<Accepted<'a>, NotAccepted> {
        let classified = classify::classify(record, self.grant, &self.snapshot.table)
            .map_err(|refused| NotAccepted { refused, source: Vec::new() })?;
        match self.copies(&classified) {
            Ok((route, copies)) => Ok(Accepted { classified, route, copies }),
            Err(refused) => Err(NotAccepted { refused, source: classified.source }),
        }
    }

    fn copies(&mut self, classified: &Classified) -> Result<(&'a Route, Vec<Protected>), Refused> {
        let route = self.grant.route(classified.jurisdiction);
        let route = route.map_err(|r| Refused::at(None, r))?;
        let mut copies = Vec::with_capacity(route.deliveries.len());
        for (n, delivery) in route.deliveries.iter().enumerate() {
            copies.push(self.protect(&classified.record, delivery, Via::Delivery(n), n > 0)?);
        }
        Ok((route, copies))
    }

    /// What the record brings to releases, and why it brings nothing to others.
    fn contribute(
        &self,
        accepted: &Accepted<'_>,
        brought: &mut Vec<Protected>,
        not_counted: &mut Vec<NotCounted>,
    ) -> Result<(), Refused> {
        let contributors = self.snapshot.contributors(&self.grant.dataset().name);
        for (n, contributor) in contributors.iter().enumerate() {
            let plan = &contributor.plan;
            let mut because =
                |why| not_counted.push(NotCounted { release: plan.name.clone(), why });
            if !accepted.may_be_held_in(&plan.region) {
                because(Uncounted::Elsewhere);
                continue;
            }
            let moment = Moment {
                event_ms: accepted.classified.event_ms.unwrap_or(self.arrival_ms),
                arrival_ms: self.arrival_ms,
                request: self.request,
                seq: self.seq,
            };
            let counted = contributor.contribute(&accepted.classified.record, moment);
            let counted = match counted.map_err(|e| refused_by_release(contributor, &e))? {
                Ok(counted) => counted,
                Err(why) => {
                    because(why);
                    continue;
                }
            };
            counted.without_number.into_iter().map(Uncounted::NoNumber).for_each(because);
            brought.push(Protected {
                via: Via::Release(n),
                region: plan.region.clone(),
                topic: Some(contributor.topic.clone()),
                key: Some(counted.key),
                headers: Vec::new(),
                value: Some(counted.value),
                tokens: Vec::new(),
            });
        }
        Ok(())
    }

    /// `again`: another copy of the same record went before it.
    fn protect(
        &mut self,
        record: &Record,
        delivery: &Delivery,
        via: Via,
        again: bool,
    ) -> Result<Protected, Refused> {
        let program = self.snapshot.program(delivery.plan_id).ok_or_else(refuse_lost_plan)?;
        let (record_ref, scratch) = (record_ref(record), &mut self.scratch);
        let done = match again {
            false => program.apply(record_ref, scratch),
            true => program.apply_copy(record_ref, scratch),
        };
        done.map_err(refused_by_plan)?;
        let out = &mut self.scratch;
        Ok(Protected {
            via,
            region: delivery.region.clone(),
            topic: None,
            key: out.key.take().map(Bytes::from),
            headers: std::mem::take(&mut out.headers),
            value: record.value.is_some().then(|| Bytes::copy_from_slice(&out.value)),
            tokens: out.tokens.clone(),
        })
    }
}

/// INVARIANT: a snapshot has a program for each plan of its table. Where it is broken, refuse.
pub(super) fn refuse_lost_plan() -> Refused {
    Refused {
        code: RefusalCode::PolicyNotInForce,
        rule: None,
        pointer: None,
        detail: Arc::from("the policy's plan has no program"),
        help: None,
    }
}

fn refused_by_release(contributor: &Contributor, error: &ContributeError) -> Refused {
    Refused {
        code: RefusalCode::InvalidValue,
        rule: Some(contributor.plan.name.clone()),
        pointer: None,
        detail: Arc::from(error.to_string()),
        help: None,
    }
}

fn refused_by_plan(refused: protect::Refused) -> Refused {
    let detail = match (&refused.malformed, &refused.rule) {
        (Some(malformed), _) => malformed.to_string(),
        (None, Some(_)) => "the value does not fit what the rule does with it".to_owned(),
        (None, None) => "the dataset does not list this field".to_owned(),
    };
    Refused {
        code: refused.code,
        rule: refused.rule,
        pointer: Some(refused.pointer),
        detail: Arc::from(detail),
        help: None,
    }
}
