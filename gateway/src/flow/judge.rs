//! Decides over one record after the other. Whether a record is acceptable is decided in one
//! place, [`Gate`], whatever becomes of it then: delivered, only counted into releases, or read
//! from a file by a simulation.

use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use bytes::Bytes;
use sluicegate_policies::{Evidence, Grant, RefusalCode, Route};
use sluicegate_protect::{Found, Protected};

use crate::{
    account::Blocked,
    classify::{Classified, Classifier},
    contribute::{ContributeError, Contributor, Moment},
    decide::Snapshot,
    deliver::STUB_HEADER,
    digests::Digests,
    record::{
        CameIn, Fate, Parts, Record, Records, Refused, RequestId, Uncounted, Verdict, VerdictDraft,
    },
    request::Permitted,
};

/// When records arrived, and what they are known by to those who must know them again.
#[derive(Clone, Copy)]
pub(crate) struct Arrived<'a> {
    pub request: RequestId,
    /// The number of the first record.
    pub first: u32,
    pub ms: i64,
    /// As one of Kafka's batches.
    pub batch: Option<InBatch<'a>>,
}

/// A batch of a Kafka client's, which can go as a whole to one region only.
#[derive(Clone, Copy)]
pub struct InBatch<'a> {
    pub region: &'a Arc<str>,
    /// Where records that go elsewhere come from, if the dataset has them leave stubs.
    pub came_in: Option<CameIn>,
}

/// Judges the records of a batch under one policy.
pub(super) fn judge(
    permitted: &Permitted,
    (digests, blocked): (&Digests, &Blocked),
    records: &Records,
    arrived: Arrived<'_>,
) -> Result<Verdict, Refused> {
    let (snapshot, grant) = (permitted.snapshot(), permitted.grant()?);
    let topic = Arc::from(permitted.target().topic.as_str());
    let in_runs = arrived.batch.is_some() && grant.dataset().evidence == Evidence::Batch;
    let mut judge = Judge {
        gate: Gate::new(&grant, snapshot)?,
        contributors: snapshot.contributors(&grant.dataset().name),
        topic,
        arrived,
        digests,
        blocked,
        draft: VerdictDraft::new(in_runs),
        planned: BTreeMap::new(),
        source: Vec::new(),
        tokens: Vec::new(),
    };
    match records {
        Records::Single(records) => records.iter().for_each(|record| judge.record(record)),
        Records::Whole(count, batch) => judge.whole(*count, batch),
    }
    Ok(judge.draft.finish())
}

/// Lets records in, or not. Holds what is reused from record to record.
pub(crate) struct Gate<'a> {
    grant: &'a Grant<'a>,
    snapshot: &'a Snapshot,
    classifier: &'a Classifier,
    found: Found,
    scratch: Protected,
}

/// A record that the policy lets in, if each delivery's program takes it.
pub(crate) struct Accepted<'a> {
    pub(crate) classified: Classified,
    pub(crate) route: &'a Route,
}

impl Accepted<'_> {
    /// Whether a region may hold the record at all.
    pub(crate) fn may_be_held_in(&self, region: &str) -> bool {
        self.route.deliveries.iter().any(|delivery| *delivery.region == *region)
    }
}

impl<'a> Gate<'a> {
    pub(crate) fn new(grant: &'a Grant<'a>, snapshot: &'a Snapshot) -> Result<Self, Refused> {
        let classifier = snapshot.classifier(&grant.dataset().name).ok_or_else(lost_plan)?;
        let (found, scratch) = Default::default();
        Ok(Self { grant, snapshot, classifier, found, scratch })
    }

    /// Whether a record may come in: it is classified, has a route, and each delivery's program
    /// takes it. `each` is shown what every delivery lets through.
    pub(crate) fn accept(
        &mut self,
        record: &Record,
        mut each: impl FnMut(&Accepted<'a>, usize, &mut Protected),
    ) -> Result<Accepted<'a>, Refused> {
        let table = &self.snapshot.table;
        let classified = self.classifier.classify(record, self.grant, table, &mut self.found)?;
        let route = self.grant.route(classified.jurisdiction);
        let accepted = Accepted { classified, route: route.map_err(|r| Refused::at(None, r))? };
        for (n, delivery) in accepted.route.deliveries.iter().enumerate() {
            let program = self.snapshot.program(delivery.plan_id).ok_or_else(lost_plan)?;
            let done = match n {
                0 => program.apply(record.as_ref(), &mut self.scratch),
                _ => program.apply_copy(record.as_ref(), &mut self.scratch),
            };
            done.map_err(refused_by_plan)?;
            each(&accepted, n, &mut self.scratch);
        }
        Ok(accepted)
    }
}

struct Judge<'a> {
    gate: Gate<'a>,
    contributors: &'a [Arc<Contributor>],
    topic: Arc<str>,
    arrived: Arrived<'a>,
    digests: &'a Digests,
    blocked: &'a Blocked,
    draft: VerdictDraft,
    planned: BTreeMap<u16, Planned>,
    /// Of the record that is being judged.
    source: Vec<[u8; 16]>,
    tokens: Vec<[u8; 16]>,
}

/// The lot and the treatment of each copy of records of one jurisdiction.
struct Planned {
    deliveries: Vec<(usize, usize)>,
    /// None where the record may not be held in the release's region.
    releases: Vec<Option<(usize, usize)>>,
}

impl<'a> Judge<'a> {
    fn record(&mut self, record: &Record) {
        self.source.clear();
        self.tokens.clear();
        let fate = self.fate(record);
        let source = self.gate.classifier.source(&self.gate.found);
        self.source.extend(source.map(|(name, value)| self.digests.source(name, value)));
        let fate = fate.unwrap_or_else(|refused| Fate::Refuse(Box::new(refused)));
        self.draft.end(fate, &self.source, &self.tokens);
    }

    /// A batch of which nothing is read: its records have one fate, that of a record with nothing in it.
    fn whole(&mut self, count: u32, batch: &Bytes) {
        let Self { gate, draft, planned, contributors, topic, .. } = self;
        let (snapshot, untouched) = (gate.snapshot, gate.grant.dataset().untouched);
        let nothing = Record { key: None, headers: Vec::new(), value: None };
        let accepted = gate.accept(&nothing, |accepted, n, out| {
            let planned = plan(planned, draft, snapshot, accepted, contributors, topic);
            if let (true, Some((lot, treatment))) = (untouched, planned.deliveries.get(n)) {
                draft.whole(*lot, *treatment, &out.present, batch.clone());
            }
        });
        let fate = match accepted {
            Ok(_) if untouched => Fate::Deliver,
            Ok(_) => Fate::Refuse(Box::new(lost_plan())),
            Err(refused) => Fate::Refuse(Box::new(refused)),
        };
        draft.end_all(count, fate, &[], &[]);
    }

    fn fate(&mut self, record: &Record) -> Result<Fate, Refused> {
        // The copies of a dataset that is kept for releases only are made to know that they can
        // be made.
        let delivers = self.gate.grant.dataset().records == sluicegate_policies::Records::Deliver;
        let stays = self.arrived.batch.filter(|_| self.gate.grant.dataset().stubs);
        let mut stub_key = None;
        let Self { gate, draft, planned, contributors, topic, digests, tokens, .. } = self;
        let snapshot = gate.snapshot;
        let accepted = gate.accept(record, |accepted, n, out| {
            let planned = plan(planned, draft, snapshot, accepted, contributors, topic);
            if stays.is_some() && n == 0 {
                stub_key = key_of_stub(out, topic, digests);
            }
            if let (true, Some((lot, treatment))) = (delivers, planned.deliveries.get(n)) {
                let parts = Parts {
                    headers: std::mem::take(&mut out.headers),
                    key: out.key(),
                    value: record.value.is_some().then_some(&*out.value),
                    present: &out.present,
                };
                draft.copy(*lot, *treatment, parts);
                if let Some(came_in) = stays.and_then(|batch| batch.came_in) {
                    draft.came_in(*lot, came_in);
                }
                for token in &out.tokens {
                    let digest = digests.token(token.as_str());
                    if !tokens.contains(&digest) {
                        tokens.push(digest);
                    }
                }
            }
        })?;
        if let Some(batch) = stays.filter(|batch| !accepted.may_be_held_in(batch.region)) {
            self.leave_stub(&accepted, batch.region, stub_key.as_deref());
        }
        self.contribute(record, &accepted)?;
        Ok(if delivers { Fate::Deliver } else { Fate::Aggregate })
    }

    /// In place of a record that goes elsewhere: nothing of it but its protected key.
    fn leave_stub(&mut self, accepted: &Accepted<'a>, region: &Arc<str>, key: Option<&[u8]>) {
        let snapshot = self.gate.snapshot;
        let code = snapshot.table.jurisdiction_code(accepted.classified.jurisdiction);
        let treatment = snapshot.treatments.stub(code, accepted.route, region);
        let treatment = self.draft.treatment(treatment);
        let lot = self.draft.lot(region, &self.topic);
        let headers = vec![(STUB_HEADER.to_owned(), None)];
        self.draft.copy(lot, treatment, Parts { key, headers, value: Some(b"{}"), present: &[1] });
    }

    /// What the record brings to releases, and why it brings nothing to others.
    fn contribute(&mut self, record: &Record, accepted: &Accepted<'a>) -> Result<(), Refused> {
        let Arrived { request, first, ms: arrival_ms, .. } = self.arrived;
        let seq = first.saturating_add(u32::try_from(self.draft.next()).unwrap_or(u32::MAX));
        let event_ms = accepted.classified.event_ms.unwrap_or(arrival_ms);
        let moment = Moment { event_ms, arrival_ms, request, seq };
        for (n, contributor) in self.contributors.iter().enumerate() {
            let planned = self.planned.get(&accepted.classified.jurisdiction.0);
            let release = contributor.plan.name.clone();
            let Some((lot, treatment)) = planned.and_then(|p| *p.releases.get(n)?) else {
                self.draft.not_counted(release, Uncounted::Elsewhere);
                continue;
            };
            let counted = contributor.contribute(record, moment);
            let counted = match counted.map_err(|e| refused_by_release(contributor, &e))? {
                Ok(counted) => counted,
                Err(why) => {
                    self.draft.not_counted(release, why);
                    continue;
                }
            };
            let blocked = self.blocked.why(&contributor.plan, counted.pane_ms);
            let never = blocked == Some(Uncounted::BeforeFirst);
            if let Some(why) = blocked {
                self.draft.not_counted(release.clone(), why);
            }
            if never {
                continue;
            }
            for sum in counted.without_number {
                self.draft.not_counted(release.clone(), Uncounted::NoNumber(sum));
            }
            let (key, value) = (Some(&*counted.key), Some(&*counted.value));
            let parts = Parts { key, headers: Vec::new(), value, present: &counted.present };
            self.draft.copy(lot, treatment, parts);
        }
        Ok(())
    }
}

/// The token that stands for the key at home; else a digest of what does, since that may be the key itself.
fn key_of_stub(out: &Protected, topic: &str, digests: &Digests) -> Option<Vec<u8>> {
    let key = out.key()?;
    let is_token = out.tokens.iter().any(|token| token.as_bytes() == key);
    Some(match is_token {
        true => key.to_vec(),
        false => format!("stub_{}", RequestId(digests.stub(topic, key))).into_bytes(),
    })
}

/// Where the copies of an accepted record go; found once for each jurisdiction of a batch.
fn plan<'p>(
    planned: &'p mut BTreeMap<u16, Planned>,
    draft: &mut VerdictDraft,
    snapshot: &Snapshot,
    accepted: &Accepted<'_>,
    contributors: &[Arc<Contributor>],
    topic: &Arc<str>,
) -> &'p Planned {
    let Accepted { classified, route } = accepted;
    let vacant = match planned.entry(classified.jurisdiction.0) {
        btree_map::Entry::Occupied(known) => return known.into_mut(),
        btree_map::Entry::Vacant(vacant) => vacant,
    };
    let code = snapshot.table.jurisdiction_code(classified.jurisdiction);
    let deliveries = route.deliveries.iter().enumerate().map(|(n, delivery)| {
        let treatment = snapshot.treatments.delivery(code, route, (n, delivery));
        (draft.lot(&delivery.region, topic), draft.treatment(treatment))
    });
    let deliveries = deliveries.collect();
    let releases = contributors.iter().map(|contributor| {
        let (plan, topic) = (&contributor.plan, &contributor.topic);
        let held = route.deliveries.iter().find(|d| d.region == plan.region)?;
        let treatment = snapshot.treatments.release(code, route, held, (plan, topic));
        Some((draft.lot(&plan.region, topic), draft.treatment(treatment)))
    });
    let releases = releases.collect();
    vacant.insert(Planned { deliveries, releases })
}

/// INVARIANT: a snapshot has a program for each plan and a classifier for each dataset of its
/// table. Where it is broken, refuse.
pub(super) fn lost_plan() -> Refused {
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

fn refused_by_plan(refused: sluicegate_protect::Refused) -> Refused {
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
