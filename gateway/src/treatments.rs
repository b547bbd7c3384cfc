//! How copies are treated, as the ledger names it: the vocabulary of policies on one side, that of
//! the ledger on the other. Pure. A snapshot keeps the treatments of its table.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use sluicegate_audit as audit;
use sluicegate_audit::Digest32;
use sluicegate_policies::{
    Delivery, FieldPath, FieldPlan, Part, Plan, Route, RuleName, Spending, Transfer, Transform,
    Unlisted,
    release::{Keys, ReleasePlan, Unit, What},
};

/// One way to treat a copy: encoded, and named by its digest.
pub struct Treatment {
    pub digest: Digest32,
    pub bytes: Arc<[u8]>,
    /// The border that such copies cross, with all categories of the plan.
    terms: Option<audit::TransferTerms>,
    /// The category of each field; empty where it is not known.
    categories: Box<[String]>,
    /// Rules that are only tried, and would have decided otherwise.
    shadow: Box<[RuleName]>,
}

impl Treatment {
    fn of(treatment: &audit::Treatment, route: &Route) -> Arc<Self> {
        let (digest, bytes) = audit::detail_digest(treatment);
        Arc::new(Self {
            digest: Digest32(digest),
            bytes: Arc::from(bytes),
            terms: treatment.transfer.first().cloned(),
            categories: treatment.transforms.iter().map(|field| field.category.clone()).collect(),
            shadow: route.shadow.clone(),
        })
    }

    /// The transfer of copies that had these fields (a bitmap): it names the categories that were
    /// really there.
    pub fn transfer(&self, present: &[u8]) -> Option<audit::TransferTerms> {
        let mut terms = self.terms.clone()?;
        let is_there = |field: usize| {
            present.get(field / 8).is_some_and(|byte| byte & (1 << (field % 8)) != 0)
        };
        let categories = self.categories.iter().enumerate();
        let there: BTreeSet<&str> =
            categories.filter(|(n, _)| is_there(*n)).map(|(_, c)| c.as_str()).collect();
        if !there.contains("") {
            terms.categories.retain(|category| there.contains(category.as_str()));
        }
        Some(terms)
    }

    /// How many fields it lists.
    pub fn fields(&self) -> usize {
        self.categories.len()
    }

    pub fn crosses(&self) -> bool {
        self.terms.is_some()
    }

    pub fn shadow(&self) -> &[RuleName] {
        &self.shadow
    }
}

/// Why a copy exists: the number of a delivery in its route, or a release's name.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Via {
    Delivery(usize),
    /// A stub in this region.
    Stub(Arc<str>),
    Release(Arc<str>),
}

/// A route of the table, by its place in memory: a table does not move.
type Key = (usize, Via);

/// The treatments of one table, made when they are first used. The table bounds them.
#[derive(Default)]
pub struct Treatments(RwLock<HashMap<Key, Arc<Treatment>>>);

impl Treatments {
    fn get(
        &self,
        route: &Route,
        via: Via,
        make: impl FnOnce() -> audit::Treatment,
    ) -> Arc<Treatment> {
        let key = (std::ptr::from_ref(route) as usize, via);
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        known.unwrap_or_else(|| {
            let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
            all.entry(key).or_insert_with(|| Treatment::of(&make(), route)).clone()
        })
    }

    /// That of the n-th delivery of a route.
    pub fn delivery(
        &self,
        jurisdiction: &str,
        route: &Route,
        (n, delivery): (usize, &Delivery),
    ) -> Arc<Treatment> {
        self.get(route, Via::Delivery(n), || treatment(route, delivery, jurisdiction))
    }

    /// That of the stubs that records of a route leave in a region.
    pub fn stub(&self, jurisdiction: &str, route: &Route, region: &Arc<str>) -> Arc<Treatment> {
        self.get(route, Via::Stub(region.clone()), || audit::Treatment {
            region: region.to_string(),
            jurisdiction: jurisdiction.to_owned(),
            rules: vec![],
            transforms: vec![audit::FieldTransform::stub()],
            // Those of the record's own key, whose token the stub has.
            keys: route.deliveries.first().map_or_else(Vec::new, |delivery| {
                keys(delivery.plan.fields.iter().filter(|field| field.path.part == Part::Key))
            }),
            transfer: vec![],
            withheld: vec![],
            topic: None,
        })
    }

    /// That of contributions to a release. `held` is the delivery of the route that allows the
    /// record to be in the release's region: a contribution crosses the same border as a copy.
    pub fn release(
        &self,
        jurisdiction: &str,
        route: &Route,
        held: &Delivery,
        (plan, topic): (&ReleasePlan, &str),
    ) -> Arc<Treatment> {
        let make = || contributes(plan, topic, held, jurisdiction);
        self.get(route, Via::Release(plan.name.clone()), make)
    }
}

fn texts(names: &[Arc<str>]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn terms(transfer: &Transfer) -> audit::TransferTerms {
    audit::TransferTerms {
        rule: transfer.rule.to_string(),
        from: transfer.from.to_string(),
        to: transfer.to.to_string(),
        recipient: transfer.recipient.to_string(),
        mechanism: transfer.mechanism.to_string(),
        categories: texts(&transfer.categories),
    }
}

fn treatment(route: &Route, delivery: &Delivery, jurisdiction: &str) -> audit::Treatment {
    let plan = &delivery.plan;
    let mut rules: BTreeSet<String> = plan.rules.iter().map(ToString::to_string).collect();
    rules.extend(delivery.transfer.iter().map(|t| t.rule.to_string()));
    rules.extend(route.shadow.iter().map(|rule| format!("shadow:{rule}")));
    let withheld = |w: &sluicegate_policies::Withheld| audit::Withheld {
        region: w.region.to_string(),
        code: w.why.code.as_str().to_owned(),
        rule: w.why.rule.as_deref().unwrap_or_default().to_owned(),
    };
    audit::Treatment {
        region: delivery.region.to_string(),
        jurisdiction: jurisdiction.to_owned(),
        rules: rules.into_iter().collect(),
        transforms: transforms(plan),
        keys: keys(plan.fields.iter()),
        transfer: delivery.transfer.iter().map(terms).collect(),
        withheld: route.withheld.iter().map(withheld).collect(),
        topic: None,
    }
}

/// The fields of a record that a release takes, and what for, in the order of
/// [`Contributor::present`](crate::contribute::Contributor::present).
pub fn taken(plan: &ReleasePlan) -> impl Iterator<Item = (&FieldPath, &'static str)> {
    let subject = match &plan.unit {
        Unit::Subject(unit) => Some((&unit.path, "subject digest")),
        Unit::Record => None,
    };
    let key = match &plan.keys {
        Keys::Public { path, .. } | Keys::Unknown { path, .. } => Some((path, "group")),
        Keys::Whole => None,
    };
    let sums = plan.outputs.iter().filter_map(|output| match &output.what {
        What::Sum { path, .. } => Some((path, "clamp and sum")),
        What::Subjects | What::Count => None,
    });
    subject.into_iter().chain(key).chain(sums)
}

fn contributes(
    plan: &ReleasePlan,
    topic: &str,
    held: &Delivery,
    jurisdiction: &str,
) -> audit::Treatment {
    let category = |path: &FieldPath| {
        let field = held.plan.fields.iter().find(|field| field.path == *path);
        field.map_or_else(String::new, |field| field.category.to_string())
    };
    let transforms = taken(plan).map(|(path, how)| audit::FieldTransform {
        field: path.written.to_string(),
        category: category(path),
        transform: format!("{how} (release {})", plan.name),
        rules: vec![plan.name.to_string()],
    });
    let subject = match &plan.unit {
        Unit::Subject(unit) => Some(audit::KeyUse {
            key: unit.key.to_string(),
            domain: unit.domain.to_string(),
            scope: format!("release={}", plan.name),
            epoch: 0,
        }),
        Unit::Record => None,
    };
    let transfer = held.transfer.as_ref();
    let rules = transfer.iter().map(|t| t.rule.to_string()).chain([plan.name.to_string()]);
    audit::Treatment {
        region: plan.region.to_string(),
        jurisdiction: jurisdiction.to_owned(),
        rules: rules.collect::<BTreeSet<_>>().into_iter().collect(),
        transforms: transforms.collect(),
        keys: subject.into_iter().collect(),
        transfer: transfer.into_iter().map(terms).collect(),
        withheld: vec![],
        topic: Some(topic.to_owned()),
    }
}

fn transforms(plan: &Plan) -> Vec<audit::FieldTransform> {
    if plan.unlisted == Unlisted::Untouched {
        return vec![audit::FieldTransform::untouched()];
    }
    plan.fields
        .iter()
        .map(|field| audit::FieldTransform {
            field: field.path.written.to_string(),
            category: field.category.to_string(),
            transform: field.transform.to_string(),
            rules: texts(&field.rules),
        })
        .collect()
}

fn keys<'p>(fields: impl Iterator<Item = &'p FieldPlan>) -> Vec<audit::KeyUse> {
    let mut keys: Vec<audit::KeyUse> = Vec::new();
    for field in fields {
        let used = match &field.transform {
            Transform::Tokenize(token) => audit::KeyUse {
                key: token.key.to_string(),
                domain: token.domain.to_string(),
                scope: token.scope.to_string(),
                epoch: token.epoch,
            },
            Transform::Randomize(randomize) => {
                // Fresh noise has no key.
                let Spending::Memoized { key, .. } = &randomize.spending else { continue };
                audit::KeyUse {
                    key: key.to_string(),
                    domain: String::new(),
                    scope: format!("permanent answers={}", field.path.written),
                    epoch: 0,
                }
            }
            _ => continue,
        };
        if !keys.contains(&used) {
            keys.push(used);
        }
    }
    keys
}
