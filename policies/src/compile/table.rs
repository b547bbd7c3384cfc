//! Filling the table: who may, by every purpose; then routes and views for what may.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    Moment,
    conflicts::sorted,
    read::{self, Stored},
    route::{Case, Planner, route},
    stable_window,
};
use crate::{
    document::Mode,
    model::{Access, DatasetFacts, Head, Id, JurisdictionFacts, Model, Names},
    plan::{
        BundleDigest, Dataset, JurisdictionId, JurisdictionSource, Operation, Refusal, RefusalCode,
        Route, RuleName, Transform, UnixMillis, Unlisted,
    },
    release::ReleasePlan,
    table::{Only, Outcome, PrincipalRow, RegionRow, Routes, RuleRow, Table, op_index},
};

/// Principals × purposes × operations × datasets; four bytes each.
pub(crate) const CELLS_MAX: usize = 1 << 24;

const OPERATIONS: [Operation; 2] = [Operation::Publish, Operation::Read];

/// The table of the time `at`. The model is free of errors and contradictions.
pub(crate) fn build(model: &Model, digest: BundleDigest, at: UnixMillis) -> Table {
    let window = stable_window(model, at.0);
    let mut build = Build::new(model, at.0);
    build.decide();
    let (spellings, spelled): (Vec<Arc<str>>, Vec<JurisdictionId>) = spellings(model);
    let topics: Vec<(&Arc<str>, Id)> = model.topics.iter().map(|(t, (d, _))| (t, *d)).collect();
    Table {
        digest,
        valid_from: UnixMillis(window.from),
        valid_until: UnixMillis(window.until),
        principals: model.principals.iter().cloned().collect(),
        principal_facts: principals(model),
        purposes: model.purposes.iter().cloned().collect(),
        topics: topics.iter().map(|(t, _)| (*t).clone()).collect(),
        topic_datasets: topics.iter().map(|(_, d)| *d).collect(),
        datasets: datasets(model),
        spellings: spellings.into_iter().collect(),
        spelled,
        codes: model.jurisdictions.iter().cloned().collect(),
        regions: regions(model),
        only_purpose: build.only_purposes(),
        stored_forms: build.stored_forms(),
        plans: build.planner.plans.list,
        cells: build.cells,
        outcomes: build.outcomes,
        routes: build.routes,
        rules: rules(model),
        releases: releases(model, at.0),
        misuse: refusal("the grant is for another operation"),
        unknown_jurisdiction: Refusal {
            code: RefusalCode::UnknownJurisdiction,
            ..refusal("the jurisdiction is not in the policy")
        },
    }
}

struct Build<'m> {
    model: &'m Model,
    planner: Planner<'m>,
    /// One planner for each rule in shadow mode, with that rule in force.
    shadows: Vec<(Id, Planner<'m>)>,
    cells: Vec<u32>,
    outcomes: Vec<Outcome>,
    outcome_ids: HashMap<Outcome, u32>,
    routes: Vec<Routes>,
    routes_of: HashMap<(Id, Id, Vec<RuleName>), u32>,
    /// By dataset.
    stored: Vec<Stored>,
    views: HashMap<(Id, Id, Vec<Id>), u32>,
}

/// Who asks what, by number.
#[derive(Clone, Copy)]
struct Ask {
    principal: Id,
    purpose: Id,
    operation: Operation,
    dataset: Id,
}

impl<'m> Build<'m> {
    fn new(model: &'m Model, at: i64) -> Self {
        let moment = Moment::new(model, at, None);
        let shadow = |rule| (rule, Planner::new(Moment::new(model, at, Some(rule))));
        let shadows = moment.shadows().into_iter().map(shadow).collect();
        Self {
            model,
            planner: Planner::new(moment),
            shadows,
            cells: Vec::new(),
            outcomes: Vec::new(),
            outcome_ids: HashMap::new(),
            routes: Vec::new(),
            routes_of: HashMap::new(),
            stored: Vec::new(),
            views: HashMap::new(),
        }
    }

    /// Publishing first: views depend on the forms in which records are stored.
    fn decide(&mut self) {
        let mut decided = BTreeMap::new();
        for operation in OPERATIONS {
            if operation == Operation::Read {
                self.stored = self.all_stored();
            }
            for (index, ask) in self.asks().enumerate() {
                if ask.operation == operation {
                    let outcome = self.outcome(ask);
                    let id = self.intern(outcome);
                    decided.insert(index, id);
                }
            }
        }
        self.cells = decided.into_values().collect();
    }

    /// In the order of the table's cells.
    fn asks(&self) -> impl Iterator<Item = Ask> + use<> {
        let m = self.model;
        let (ps, us, ds) = (m.principals.len(), m.purposes.len(), m.datasets.len());
        let all = (0..ps).flat_map(move |p| (0..us).map(move |u| (p, u)));
        let all = all.flat_map(|(p, u)| OPERATIONS.into_iter().map(move |o| (p, u, o)));
        all.flat_map(move |(principal, purpose, operation)| {
            (0..ds).map(move |dataset| Ask { principal, purpose, operation, dataset })
        })
    }

    fn intern(&mut self, outcome: Outcome) -> u32 {
        let next = u32::try_from(self.outcomes.len()).unwrap_or(u32::MAX);
        *self.outcome_ids.entry(outcome).or_insert_with_key(|outcome| {
            self.outcomes.push(outcome.clone());
            next
        })
    }

    fn outcome(&mut self, ask: Ask) -> Outcome {
        if ask.operation == Operation::Publish && is_release(self.model, ask.dataset) {
            return Outcome::Refuse(Refusal {
                help: Some("only the gateway writes to it".into()),
                ..refusal("the topic holds a release; no one may publish to it")
            });
        }
        let rules = match access(self.model, &self.planner.moment.access, ask) {
            Ok(rules) => rules,
            Err(refusal) => return Outcome::Refuse(refusal),
        };
        match ask.operation {
            Operation::Publish => {
                let routes = self.routes(ask);
                Outcome::Publish { rules, routes }
            }
            Operation::Read => {
                let plan = self.view(ask);
                Outcome::Read { rules, plan }
            }
        }
    }

    fn routes(&mut self, ask: Ask) -> u32 {
        let shadow = self.access_shadows(ask);
        let key = (ask.dataset, ask.purpose, shadow);
        if let Some(known) = self.routes_of.get(&key) {
            return *known;
        }
        let cases = self.model.jurisdictions.ids().map(|jurisdiction| Case {
            dataset: ask.dataset,
            purpose: ask.purpose,
            jurisdiction,
        });
        let routes = cases.map(|case| self.route(case, &key.2)).collect();
        let id = u32::try_from(self.routes.len()).unwrap_or(u32::MAX);
        self.routes.push(routes);
        self.routes_of.insert(key, id);
        id
    }

    /// Access rules in shadow mode that would have refused.
    fn access_shadows(&self, ask: Ask) -> Vec<RuleName> {
        let refuses = self
            .shadows
            .iter()
            .filter(|(_, planner)| access(self.model, &planner.moment.access, ask).is_err());
        refuses.map(|(rule, _)| self.model.rules.name(*rule)).collect()
    }

    fn route(&mut self, case: Case, access_shadows: &[RuleName]) -> Result<Route, Refusal> {
        let mut real = route(&mut self.planner, case)?;
        let mut shadow = access_shadows.to_vec();
        for (rule, planner) in &mut self.shadows {
            let other = route(planner, case);
            if !other.is_ok_and(|o| same_outline(&o, &real)) {
                shadow.push(self.model.rules.name(*rule));
            }
        }
        shadow.sort();
        shadow.dedup();
        real.shadow = shadow.into();
        Ok(real)
    }

    fn view(&mut self, ask: Ask) -> u32 {
        let teams = self.model.principal_facts.get(ask.principal);
        let teams = sorted(teams.map_or(&[], |f| &f.member_of));
        let key = (ask.dataset, ask.purpose, teams);
        if let Some(known) = self.views.get(&key) {
            return *known;
        }
        let none = Stored::new();
        let stored = self.stored.get(ask.dataset).unwrap_or(&none);
        let plan = read::view(&mut self.planner, ask.dataset, ask.purpose, &key.2, stored);
        let (id, _) = self.planner.plans.intern(plan);
        self.views.insert(key, id);
        id
    }

    fn all_stored(&self) -> Vec<Stored> {
        self.model.datasets.ids().map(|d| self.stored_of(d)).collect()
    }

    /// The plans under which someone may publish to a dataset, by jurisdiction.
    fn stored_of(&self, dataset: Id) -> Stored {
        let possible = possible_jurisdictions(self.model, dataset);
        let sets = self.routes_of.iter().filter(|((d, ..), _)| *d == dataset);
        let sets: Vec<&Routes> = sets.filter_map(|(_, id)| self.routes.get(*id as usize)).collect();
        let by_jurisdiction = possible.into_iter().map(|j| {
            let routes = sets.iter().filter_map(|s| s.get(j)?.as_ref().ok());
            let deliveries = routes.flat_map(|r| r.deliveries.iter());
            let plans: BTreeMap<u32, _> = deliveries.map(|d| (d.plan_id, d.plan.clone())).collect();
            (j, plans.into_values().collect::<Vec<_>>())
        });
        by_jurisdiction.filter(|(_, plans)| !plans.is_empty()).collect()
    }

    fn stored_forms(&self) -> Vec<BTreeMap<Arc<str>, Vec<Transform>>> {
        let mut all = Vec::new();
        for stored in &self.stored {
            let mut forms: BTreeMap<Arc<str>, Vec<Transform>> = BTreeMap::new();
            for field in stored.iter().flat_map(|(_, ps)| ps).flat_map(|p| p.fields.iter()) {
                let known = forms.entry(field.path.written.clone()).or_default();
                if !known.contains(&field.transform) {
                    known.push(field.transform.clone());
                }
            }
            all.push(forms);
        }
        all
    }

    fn only_purposes(&self) -> Vec<Only> {
        let m = self.model;
        let (us, ds) = (m.purposes.len(), m.datasets.len());
        let permitted = |p: Id, u: Id, op: Operation, d: Id| {
            let cell = self.cells.get(((p * us + u) * 2 + op_index(op)) * ds + d);
            let outcome = cell.and_then(|c| self.outcomes.get(*c as usize));
            outcome.is_some_and(|o| !matches!(o, Outcome::Refuse(_)))
        };
        let mut all = Vec::new();
        for p in m.principals.ids() {
            for op in OPERATIONS {
                for d in m.datasets.ids() {
                    let open = m.purposes.ids().filter(|u| permitted(p, *u, op, d)).collect();
                    all.push(only(m, open));
                }
            }
        }
        all
    }
}

/// A purpose that covers all the others that are permitted is meant when none is named.
fn only(model: &Model, open: Vec<Id>) -> Only {
    let covers = |u: &Id| open.iter().all(|o| model.purpose_tree.covers(*u, *o));
    match open.iter().find(|u| covers(u)) {
        Some(u) => Only::One(u32::try_from(*u).unwrap_or(u32::MAX)),
        None if open.is_empty() => Only::None,
        None => Only::Several,
    }
}

/// Deny overrides allow, and what nobody allows is refused. No order, no priorities.
fn access(model: &Model, rules: &[&Access], ask: Ask) -> Result<Box<[RuleName]>, Refusal> {
    let matching = rules.iter().filter(|r| {
        let operation = match ask.operation {
            Operation::Publish => r.publish,
            Operation::Read => r.read,
        };
        operation
            && r.who.contains(ask.principal)
            && r.datasets.contains(ask.dataset)
            && r.purposes.contains(ask.purpose)
    });
    let bans = matching.clone().filter(|r| !r.allows);
    if let Some(ban) = bans.min_by_key(|r| model.rules.name(r.rule)) {
        return Err(Refusal {
            code: RefusalCode::Forbidden,
            rule: Some(model.rules.name(ban.rule)),
            detail: model.heads.get(ban.rule).map_or_else(|| "".into(), |h| h.because.clone()),
            help: None,
        });
    }
    let mut names: Vec<RuleName> = matching.map(|r| model.rules.name(r.rule)).collect();
    names.sort();
    if names.is_empty() {
        let help = Some("an `AccessRule` must allow it".into());
        return Err(Refusal { help, ..refusal("no access rule in force allows it") });
    }
    Ok(names.into())
}

fn refusal(detail: &str) -> Refusal {
    Refusal { code: RefusalCode::NotPermitted, rule: None, detail: detail.into(), help: None }
}

fn is_release(model: &Model, dataset: Id) -> bool {
    model.dataset_facts.get(dataset).is_some_and(|f| f.released.is_some())
}

/// Whether two routes do the same to a record. Rule names alone make no difference.
fn same_outline(a: &Route, b: &Route) -> bool {
    a.deliveries.len() == b.deliveries.len()
        && a.deliveries.iter().zip(&b.deliveries).all(|(x, y)| {
            let fields = x.plan.fields.iter().zip(&y.plan.fields);
            let same_fields = x.plan.fields.len() == y.plan.fields.len()
                && fields.into_iter().all(|(f, g)| f.path == g.path && f.transform == g.transform);
            x.region == y.region && x.transfer == y.transfer && same_fields
        })
}

/// Where the subjects of a dataset can be.
fn possible_jurisdictions(model: &Model, dataset: Id) -> BTreeSet<Id> {
    match model.dataset_facts.get(dataset).map(|f| &f.jurisdiction) {
        Some(JurisdictionFacts::Fixed(j)) => BTreeSet::from([*j]),
        Some(JurisdictionFacts::Principal) => {
            model.principal_facts.iter().filter_map(|p| p.jurisdiction).collect()
        }
        _ => model.jurisdictions.ids().collect(),
    }
}

fn jurisdiction_id(id: Id) -> JurisdictionId {
    // INVARIANT: codes have two capital letters, so there are at most 676.
    JurisdictionId(u16::try_from(id).unwrap_or(u16::MAX))
}

fn spellings(model: &Model) -> (Vec<Arc<str>>, Vec<JurisdictionId>) {
    let codes = model.jurisdictions.iter().cloned().zip(0..);
    let lower = model.spellings.iter().map(|(s, id)| (Arc::from(s.as_str()), *id));
    codes.chain(lower).map(|(s, id)| (s, jurisdiction_id(id))).unzip()
}

fn names(names: &Names, ids: &[Id]) -> Vec<Arc<str>> {
    ids.iter().map(|id| names.name(*id)).collect()
}

fn principals(model: &Model) -> Vec<PrincipalRow> {
    let row = |f: &crate::model::PrincipalFacts| PrincipalRow {
        jurisdiction: f.jurisdiction.map(jurisdiction_id),
        teams: names(&model.recipients, &f.member_of),
        groups: f.groups.clone(),
        transactional_ids: f.transactional_ids.clone(),
        networks: f.networks.clone(),
    };
    model.principal_facts.iter().map(row).collect()
}

fn regions(model: &Model) -> Vec<RegionRow> {
    let facts = model.regions.iter().zip(&model.region_facts);
    let row = |(name, f): (&Arc<str>, &crate::model::RegionFacts)| RegionRow {
        name: name.clone(),
        recipient: model.recipients.name(f.recipient),
    };
    facts.map(row).collect()
}

fn datasets(model: &Model) -> Vec<Dataset> {
    let row = |(name, f): (&Arc<str>, &DatasetFacts)| Dataset {
        name: name.clone(),
        topics: f.topics.clone().into(),
        jurisdiction: match &f.jurisdiction {
            JurisdictionFacts::Field(path) => JurisdictionSource::Field(path.clone()),
            JurisdictionFacts::Principal => JurisdictionSource::Principal,
            JurisdictionFacts::Fixed(j) => JurisdictionSource::Fixed(jurisdiction_id(*j)),
        },
        lineage: f.lineage.clone().into(),
        event_time: f.event_time.clone(),
        records: f.records,
        untouched: f.unlisted == Unlisted::Untouched,
        evidence: f.evidence,
        stubs: f.stubs,
        released: f.released.is_some(),
    };
    model.datasets.iter().zip(&model.dataset_facts).map(row).collect()
}

/// The releases in force, by name.
pub(crate) fn releases(model: &Model, at: i64) -> Vec<Arc<ReleasePlan>> {
    let in_force =
        model.releases.iter().filter(|r| model.heads.get(r.rule).is_some_and(|h| h.in_force(at)));
    in_force.map(|r| r.plan.clone()).collect()
}

fn rules(model: &Model) -> BTreeMap<RuleName, RuleRow> {
    let mechanisms = model.transfer.iter().filter_map(|t| Some((t.rule, t.mechanism.as_ref()?)));
    let mechanisms: HashMap<Id, i64> = mechanisms.map(|(rule, m)| (rule, m.expires)).collect();
    // A draft ends nothing.
    let heads = model.heads.iter().enumerate();
    let end = |h: &Head, at: i64| if h.mode == Mode::Draft { i64::MAX } else { at };
    let row = |id: Id, h: &Head| RuleRow {
        because: h.because.clone(),
        until: end(h, h.window.until),
        mechanism_until: end(h, mechanisms.get(&id).copied().unwrap_or(i64::MAX)),
    };
    heads.map(|(id, h)| (h.name.clone(), row(id, h))).collect()
}
