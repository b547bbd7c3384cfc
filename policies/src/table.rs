//! The compiled policy of one span of time. A decision is a few lookups and no more: everything
//! in here was decided when the bundle was compiled.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use crate::{
    intern::Index,
    network::Network,
    pattern::Pattern,
    plan::{
        BundleDigest, Dataset, JurisdictionId, Operation, Plan, Refusal, RefusalCode, Route,
        RuleName, TokenUse, Transform, UnixMillis,
    },
    release::ReleasePlan,
};

/// Spellings of a jurisdiction longer than this are not looked up.
const SPELLING_BYTES_MAX: usize = 128;

/// Immutable, content-addressed, valid between two moments.
#[derive(Debug)]
pub struct Table {
    pub(crate) digest: BundleDigest,
    pub(crate) valid_from: UnixMillis,
    pub(crate) valid_until: UnixMillis,
    pub(crate) principals: Index,
    pub(crate) principal_facts: Vec<PrincipalRow>,
    pub(crate) purposes: Index,
    pub(crate) topics: Index,
    /// The dataset of each topic.
    pub(crate) topic_datasets: Vec<usize>,
    pub(crate) datasets: Vec<Dataset>,
    pub(crate) spellings: Index,
    /// The jurisdiction of each spelling.
    pub(crate) spelled: Vec<JurisdictionId>,
    pub(crate) codes: Vec<Arc<str>>,
    pub(crate) regions: Vec<RegionRow>,
    pub(crate) plans: Vec<Arc<Plan>>,
    /// By principal, purpose, operation and dataset: an index into `outcomes`.
    pub(crate) cells: Vec<u32>,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) routes: Vec<Routes>,
    /// By principal, operation and dataset: the purpose of a request that names none.
    pub(crate) only_purpose: Vec<Only>,
    pub(crate) rules: BTreeMap<RuleName, RuleRow>,
    /// Those in force, by name.
    pub(crate) releases: Vec<Arc<ReleasePlan>>,
    /// By dataset and field: every form in which it can be stored.
    pub(crate) stored_forms: Vec<BTreeMap<Arc<str>, Vec<Transform>>>,
    pub(crate) misuse: Refusal,
    pub(crate) unknown_jurisdiction: Refusal,
}

#[derive(Clone, Debug)]
pub(crate) struct PrincipalRow {
    pub(crate) jurisdiction: Option<JurisdictionId>,
    pub(crate) teams: Vec<Arc<str>>,
    pub(crate) groups: Vec<Pattern>,
    pub(crate) transactional_ids: Vec<Pattern>,
    /// None: from anywhere.
    pub(crate) networks: Option<Vec<Network>>,
}

#[derive(Clone, Debug)]
pub(crate) struct RegionRow {
    pub(crate) name: Arc<str>,
    pub(crate) recipient: Arc<str>,
}

/// What people want to know of a rule.
#[derive(Clone, Debug)]
pub(crate) struct RuleRow {
    pub(crate) because: Arc<str>,
    /// The first moment at which it no longer counts; `i64::MAX` for never.
    pub(crate) until: i64,
    /// The same of its mechanism.
    pub(crate) mechanism_until: i64,
}

/// An end that the policy itself sets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry {
    pub rule: RuleName,
    /// `rule` or `mechanism`.
    pub what: &'static str,
    /// The first moment at which it no longer counts.
    pub at: UnixMillis,
}

/// By jurisdiction.
pub(crate) type Routes = Box<[Result<Route, Refusal>]>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Refuse(Refusal),
    Publish { rules: Box<[RuleName]>, routes: u32 },
    Read { rules: Box<[RuleName]>, plan: u32 },
}

/// The purpose of a request that names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Only {
    None,
    One(u32),
    Several,
}

impl Table {
    /// The bundle this table was compiled from.
    pub fn digest(&self) -> BundleDigest {
        self.digest
    }

    /// The first moment this table is right for. Before it, refuse: the clock is behind.
    pub fn valid_from(&self) -> UnixMillis {
        self.valid_from
    }

    /// The first moment at which something changes: ask the bundle for a new table.
    pub fn valid_until(&self) -> UnixMillis {
        self.valid_until
    }

    /// Every plan of this table; a plan's id indexes it.
    pub fn plans(&self) -> &[Arc<Plan>] {
        &self.plans
    }

    /// Every token use of some plan, once each, sorted by domain and scope: what keys are needed.
    pub fn token_uses(&self) -> impl Iterator<Item = &TokenUse> {
        let fields = self.plans.iter().flat_map(|p| p.fields.iter());
        let uses = fields.filter_map(|f| match &f.transform {
            Transform::Tokenize(t) => Some(t),
            _ => None,
        });
        let once: BTreeMap<_, _> =
            uses.map(|t| ((&t.domain, &t.scope, t.epoch, t.normalizer, &t.key), t)).collect();
        once.into_values()
    }

    /// When rules and the mechanisms of transfers end, for those that do.
    pub fn expiries(&self) -> impl Iterator<Item = Expiry> {
        self.rules.iter().flat_map(|(rule, row)| {
            let ends = [("rule", row.until), ("mechanism", row.mechanism_until)];
            let ends = ends.into_iter().filter(|(_, at)| *at != i64::MAX);
            ends.map(|(what, at)| Expiry { rule: rule.clone(), what, at: UnixMillis(at) })
        })
    }

    /// The names of all regions.
    pub fn regions(&self) -> impl Iterator<Item = &str> {
        self.regions.iter().map(|r| &*r.name)
    }

    /// Whether a principal is in the vocabulary.
    pub fn knows_principal(&self, name: &str) -> bool {
        self.principals.get(name).is_some()
    }

    /// All datasets.
    pub fn datasets(&self) -> &[Dataset] {
        &self.datasets
    }

    /// The releases in force, by name.
    pub fn releases(&self) -> &[Arc<ReleasePlan>] {
        &self.releases
    }

    /// The releases in force that count a dataset's records, by name.
    pub fn releases_of(&self, dataset: &str) -> impl Iterator<Item = &Arc<ReleasePlan>> {
        self.releases.iter().filter(move |r| &*r.dataset == dataset)
    }

    /// The dataset a topic belongs to.
    pub fn dataset_of_topic(&self, topic: &str) -> Option<&Dataset> {
        self.datasets.get(*self.topic_datasets.get(self.topics.get(topic)?)?)
    }

    /// The jurisdiction that a text in a record means: code, name or alias, in any case.
    pub fn jurisdiction(&self, text: &str) -> Option<JurisdictionId> {
        if text.len() > SPELLING_BYTES_MAX {
            return None;
        }
        let known = self.spellings.get(text);
        let known = known.or_else(|| self.spellings.get(&text.trim().to_lowercase()));
        self.spelled.get(known?).copied()
    }

    /// The code of a jurisdiction of this table.
    pub fn jurisdiction_code(&self, id: JurisdictionId) -> &str {
        self.codes.get(usize::from(id.0)).map_or("", |c| c)
    }

    /// Whether a principal may do something with a topic for a purpose. What no rule allows is
    /// refused. Without a purpose, the principal's single permitted purpose counts.
    ///
    /// # Errors
    ///
    /// The refusal, with the rule that forbids, if one does.
    pub fn admit(
        &self,
        principal: &str,
        purpose: Option<&str>,
        op: Operation,
        topic: &str,
    ) -> Result<Grant<'_>, Refusal> {
        let Some(p) = self.principals.get(principal) else {
            return Err(unknown(RefusalCode::UnknownPrincipal, "the principal"));
        };
        let dataset = self.topics.get(topic).and_then(|t| self.topic_datasets.get(t).copied());
        let Some(d) = dataset else {
            return Err(unknown(RefusalCode::UnknownTopic, "the topic"));
        };
        let u = match purpose {
            Some(name) => self
                .purposes
                .get(name)
                .ok_or_else(|| unknown(RefusalCode::UnknownPurpose, "the purpose"))?,
            None => self.only_purpose(p, op, d)?,
        };
        self.grant(p, u, op, d)
    }

    /// Whether a principal may publish to, or read from, a topic for any purpose at all. Who may not
    /// is not told that the topic exists.
    pub fn sees(&self, principal: &str, topic: &str) -> bool {
        let p = self.principals.get(principal);
        let d = self.topics.get(topic).and_then(|t| self.topic_datasets.get(t).copied());
        let (Some(p), Some(d)) = (p, d) else { return false };
        let purposes = 0..self.purposes.len();
        let ops = [Operation::Publish, Operation::Read];
        purposes.flat_map(|u| ops.map(|op| (u, op))).any(|(u, op)| self.grant(p, u, op, d).is_ok())
    }

    /// Whether a principal may use a consumer group.
    pub fn may_use_group(&self, principal: &str, group: &str) -> bool {
        self.facts(principal).is_some_and(|facts| any_fits(&facts.groups, group))
    }

    /// Whether a principal may use a transactional id.
    pub fn may_use_transactional_id(&self, principal: &str, id: &str) -> bool {
        self.facts(principal).is_some_and(|facts| any_fits(&facts.transactional_ids, id))
    }

    /// Whether a principal may connect from an address. One that the policy does not know may: it may do nothing.
    pub fn may_come_from(&self, principal: &str, address: IpAddr) -> bool {
        let networks = self.facts(principal).and_then(|facts| facts.networks.as_ref());
        networks.is_none_or(|networks| networks.iter().any(|network| network.contains(address)))
    }

    fn facts(&self, principal: &str) -> Option<&PrincipalRow> {
        self.principal_facts.get(self.principals.get(principal)?)
    }

    fn grant(&self, p: usize, u: usize, op: Operation, d: usize) -> Result<Grant<'_>, Refusal> {
        let cell = self.cell(p, u, op, d);
        let outcome = self.cells.get(cell).and_then(|i| self.outcomes.get(*i as usize));
        match (outcome, self.datasets.get(d)) {
            (Some(Outcome::Refuse(refusal)), _) => Err(refusal.clone()),
            (Some(outcome), Some(dataset)) => {
                Ok(Grant { table: self, dataset, principal: p, purpose: u, outcome })
            }
            _ => Err(self.misuse.clone()),
        }
    }

    fn cell(&self, p: usize, u: usize, op: Operation, d: usize) -> usize {
        ((p * self.purposes.len() + u) * 2 + op_index(op)) * self.datasets.len() + d
    }

    fn only_purpose(&self, p: usize, op: Operation, d: usize) -> Result<usize, Refusal> {
        let at = (p * 2 + op_index(op)) * self.datasets.len() + d;
        let (detail, help) = match self.only_purpose.get(at) {
            Some(Only::One(purpose)) => return Ok(*purpose as usize),
            Some(Only::Several) => (
                "the principal has several purposes here, and the request names none",
                "name the purpose",
            ),
            _ => ("the principal has no purpose here", "an `AccessRule` must allow it"),
        };
        let code = RefusalCode::NotPermitted;
        Err(Refusal { code, rule: None, detail: detail.into(), help: Some(help.into()) })
    }

    /// The permissions to publish to a dataset, by principal and purpose.
    pub fn publishers(&self, dataset: &str) -> impl Iterator<Item = Grant<'_>> {
        self.grants()
            .filter(move |g| g.operation() == Operation::Publish && *g.dataset.name == *dataset)
    }

    /// Every grant of the table, with the names of principal and topic's dataset.
    pub(crate) fn grants(&self) -> impl Iterator<Item = Grant<'_>> {
        let (ps, us, ds) = (self.principals.len(), self.purposes.len(), self.datasets.len());
        let all = (0..ps).flat_map(move |p| (0..us).map(move |u| (p, u)));
        let all = all.flat_map(move |(p, u)| (0..ds).map(move |d| (p, u, d)));
        all.flat_map(move |(p, u, d)| {
            let ops = [Operation::Publish, Operation::Read];
            ops.into_iter().filter_map(move |op| self.grant(p, u, op, d).ok())
        })
    }
}

fn any_fits(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.fits(name))
}

pub(crate) fn op_index(op: Operation) -> usize {
    match op {
        Operation::Publish => 0,
        Operation::Read => 1,
    }
}

/// The name is not repeated: it is a stranger's word, perhaps a person's, and refusals travel.
fn unknown(code: RefusalCode, what: &str) -> Refusal {
    let detail = format!("{what} is not in the policy").into();
    Refusal { code, rule: None, detail, help: None }
}

/// A permission: one principal, one purpose, one operation, one dataset.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'t> {
    table: &'t Table,
    dataset: &'t Dataset,
    principal: usize,
    purpose: usize,
    outcome: &'t Outcome,
}

impl<'t> Grant<'t> {
    /// The dataset of the topic.
    pub fn dataset(&self) -> &'t Dataset {
        self.dataset
    }

    /// The purpose: the one asserted, or the principal's only one.
    pub fn purpose(&self) -> &'t Arc<str> {
        self.table.purposes.name(self.purpose)
    }

    /// What is permitted.
    pub fn operation(&self) -> Operation {
        match self.outcome {
            Outcome::Read { .. } => Operation::Read,
            _ => Operation::Publish,
        }
    }

    /// The access rules that allow it, sorted.
    pub fn rules(&self) -> &'t [RuleName] {
        match self.outcome {
            Outcome::Publish { rules, .. } | Outcome::Read { rules, .. } => rules,
            Outcome::Refuse(_) => &[],
        }
    }

    /// Where the principal is, for datasets whose jurisdiction is the principal's.
    pub fn principal_jurisdiction(&self) -> Option<JurisdictionId> {
        self.table.principal_facts.get(self.principal)?.jurisdiction
    }

    /// Publishing: where a record goes whose subject is in a jurisdiction.
    ///
    /// # Errors
    ///
    /// Why it goes nowhere. A grant to read has no routes.
    pub fn route(&self, jurisdiction: JurisdictionId) -> Result<&'t Route, &'t Refusal> {
        let Outcome::Publish { routes, .. } = self.outcome else { return Err(&self.table.misuse) };
        let routes = self.table.routes.get(*routes as usize);
        match routes.and_then(|r| r.get(usize::from(jurisdiction.0))) {
            Some(route) => route.as_ref(),
            None => Err(&self.table.unknown_jurisdiction),
        }
    }

    /// Reading: which fields are shown. A grant to publish shows nothing: its view is the plan
    /// that drops everything.
    pub fn view(&self) -> (u32, &'t Arc<Plan>) {
        let id = match self.outcome {
            Outcome::Read { plan, .. } => *plan,
            _ => 0,
        };
        // INVARIANT: plan 0 exists and drops everything; see `compile::route::Plans::new`.
        static NOTHING: std::sync::LazyLock<Arc<Plan>> = std::sync::LazyLock::new(|| {
            let (fields, rules) = (Box::default(), Box::default());
            let (unlisted, names) = (crate::plan::Unlisted::Drop, Box::default());
            Arc::new(Plan { fields, unlisted, names, rules })
        });
        self.table.plans.get(id as usize).map_or((0, &*NOTHING), |p| (id, p))
    }

    /// Whose permission it is.
    pub fn principal(&self) -> &'t Arc<str> {
        self.table.principals.name(self.principal)
    }

    pub(crate) fn teams(&self) -> &'t [Arc<str>] {
        self.table.principal_facts.get(self.principal).map_or(&[], |f| &f.teams)
    }

    pub(crate) fn routes(&self) -> Option<&'t Routes> {
        match self.outcome {
            Outcome::Publish { routes, .. } => self.table.routes.get(*routes as usize),
            _ => None,
        }
    }
}
