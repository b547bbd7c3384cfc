//! Where a record of one jurisdiction goes, and in what form: home, across a border with a legal
//! ground, or nowhere.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    Moment,
    protect::{Context, carried, plan},
};
use crate::{
    document::{IfBlocked, Scope},
    model::{Id, Model, RegionFacts, Template, TransferFacts},
    plan::{Delivery, Plan, Refusal, RefusalCode, Route, RuleName, Transfer, Withheld},
};

/// Equal plans, once each.
#[derive(Debug)]
pub(crate) struct Plans {
    pub(crate) list: Vec<Arc<Plan>>,
    ids: HashMap<Arc<Plan>, u32>,
}

impl Plans {
    /// The first plan drops everything: it is what a misused grant gets.
    pub(crate) fn new() -> Self {
        let mut plans = Self { list: Vec::new(), ids: HashMap::new() };
        plans.intern(super::protect::nothing());
        plans
    }

    pub(crate) fn intern(&mut self, plan: Plan) -> (u32, Arc<Plan>) {
        let plan = Arc::new(plan);
        let next = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        let id = *self.ids.entry(plan.clone()).or_insert_with(|| {
            self.list.push(plan.clone());
            next
        });
        (id, self.list.get(id as usize).cloned().unwrap_or(plan))
    }
}

/// Makes plans, each case once. Jurisdictions that no rule tells apart are one case.
#[derive(Debug)]
pub(crate) struct Planner<'m> {
    pub(crate) moment: Moment<'m>,
    pub(crate) plans: Plans,
    made: HashMap<Context, Option<(u32, Arc<Plan>)>>,
    alike: Vec<Id>,
}

impl<'m> Planner<'m> {
    pub(crate) fn new(moment: Moment<'m>) -> Self {
        let alike = alike(&moment);
        Self { moment, plans: Plans::new(), made: HashMap::new(), alike }
    }

    /// The plan; none when rules contradict, which refuses.
    pub(crate) fn plan(&mut self, mut context: Context) -> Option<(u32, Arc<Plan>)> {
        let j = context.jurisdiction;
        context.jurisdiction = self.alike.get(j).copied().unwrap_or(j);
        if let Some(made) = self.made.get(&context) {
            return made.clone();
        }
        let made = plan(&self.moment, &context).ok().map(|p| self.plans.intern(p));
        self.made.insert(context, made.clone());
        made
    }
}

/// For each jurisdiction the first that all protection rules treat the same.
fn alike(moment: &Moment<'_>) -> Vec<Id> {
    let by_jurisdiction =
        |t: &Template| matches!(t, Template::Tokenize { scope: Scope::Jurisdiction, .. });
    let mut entries = moment.protection.iter().flat_map(|r| &r.entries);
    let all_differ = entries.any(|e| by_jurisdiction(&e.template));
    let mut first: BTreeMap<(Vec<bool>, Option<Id>), Id> = BTreeMap::new();
    let signature = |j: Id| -> Vec<bool> {
        let places = moment.protection.iter().filter_map(|r| r.subject_region.as_ref());
        places.map(|p| p.contains(j, moment.at)).collect()
    };
    let ids = moment.model.jurisdictions.ids();
    ids.map(|j| *first.entry((signature(j), all_differ.then_some(j))).or_insert(j)).collect()
}

/// Regions that are home to subjects of a jurisdiction.
pub(crate) fn home_regions(model: &Model, jurisdiction: Id, at: i64) -> Vec<Id> {
    model.regions.ids().filter(|r| is_home(model, *r, jurisdiction, at)).collect()
}

fn is_home(model: &Model, region: Id, jurisdiction: Id, at: i64) -> bool {
    let at_home =
        |f: &RegionFacts| f.jurisdiction == jurisdiction || f.home.contains(jurisdiction, at);
    model.region_facts.get(region).is_some_and(at_home)
}

/// One case to find a route for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) dataset: Id,
    pub(crate) purpose: Id,
    pub(crate) jurisdiction: Id,
}

/// The route of a case under the planner's rules. `shadow` is left empty.
pub(crate) fn route(planner: &mut Planner<'_>, case: Case) -> Result<Route, Refusal> {
    let model = planner.moment.model;
    let facts = model.dataset_facts.get(case.dataset);
    let homes = home_regions(model, case.jurisdiction, planner.moment.at);
    let (mut wanted, mut wants_home) = (BTreeSet::new(), false);
    for place in facts.into_iter().flat_map(|f| &f.deliver_to) {
        match place {
            Some(region) => drop(wanted.insert(*region)),
            None => wants_home = true,
        }
    }
    if wants_home {
        if homes.is_empty() {
            return Err(no_home(model, case.jurisdiction));
        }
        wanted.extend(&homes);
    }
    let (mut deliveries, mut withheld) = deliver(planner, case, &wanted);
    if let Some(first) = withheld.first() {
        if facts.is_none_or(|f| f.if_blocked == IfBlocked::Refuse) {
            return Err(first.why.clone());
        }
        let more: BTreeSet<Id> = homes.into_iter().filter(|h| !wanted.contains(h)).collect();
        let (home, blocked) = deliver(planner, case, &more);
        deliveries.extend(home);
        withheld.extend(blocked);
    }
    if deliveries.is_empty() {
        let no_region = || no_home(model, case.jurisdiction);
        return Err(withheld.into_iter().next().map_or_else(no_region, |w| w.why));
    }
    deliveries.sort_by(|a, b| a.region.cmp(&b.region));
    withheld.sort_by(|a, b| a.region.cmp(&b.region));
    Ok(Route { deliveries: deliveries.into(), withheld: withheld.into(), shadow: Box::default() })
}

fn no_home(model: &Model, jurisdiction: Id) -> Refusal {
    let code = model.jurisdictions.name(jurisdiction);
    Refusal {
        code: RefusalCode::NoRegion,
        rule: None,
        detail: format!("no region is home to subjects of `{code}`").into(),
        help: Some(format!("add `{code}`, or a group with it, to a region's `home-of`").into()),
    }
}

fn deliver(
    planner: &mut Planner<'_>,
    case: Case,
    regions: &BTreeSet<Id>,
) -> (Vec<Delivery>, Vec<Withheld>) {
    let (mut deliveries, mut withheld) = (Vec::new(), Vec::new());
    for region in regions {
        let name = planner.moment.model.regions.name(*region);
        match delivery(planner, case, *region) {
            Ok(delivery) => deliveries.push(delivery),
            Err(why) => withheld.push(Withheld { region: name, why }),
        }
    }
    (deliveries, withheld)
}

fn delivery(planner: &mut Planner<'_>, case: Case, region: Id) -> Result<Delivery, Refusal> {
    let model = planner.moment.model;
    let Some(facts) = model.region_facts.get(region) else {
        return Err(no_home(model, case.jurisdiction));
    };
    let Case { dataset, purpose, jurisdiction } = case;
    let recipients = vec![facts.recipient];
    let made = planner.plan(Context { dataset, purpose, recipients, jurisdiction });
    let (plan_id, plan) = made.ok_or_else(contradiction)?;
    let transfer = if is_home(model, region, jurisdiction, planner.moment.at) {
        None
    } else {
        Some(transfer(&planner.moment, jurisdiction, facts, &plan)?)
    };
    Ok(Delivery { region: model.regions.name(region), plan_id, plan, transfer })
}

fn contradiction() -> Refusal {
    Refusal {
        code: RefusalCode::NotPermitted,
        rule: None,
        detail: "protection rules contradict each other".into(),
        help: None,
    }
}

/// The legal ground of a transfer: no ban, and one rule in force that covers all the record
/// still carries. Of several the first by name is taken, so that the choice does not depend on
/// the order of files.
fn transfer(
    moment: &Moment<'_>,
    jurisdiction: Id,
    to: &RegionFacts,
    plan: &Plan,
) -> Result<Transfer, Refusal> {
    let model = moment.model;
    let categories = carried(plan);
    let ids: Vec<Id> = categories.iter().filter_map(|c| model.categories.id(c)).collect();
    let corridor = corridor(moment, jurisdiction, to);
    let names = |r: &TransferFacts, id: &Id| r.categories.as_ref().is_none_or(|c| c.contains(*id));
    let bans = corridor.clone().filter(|r| r.mechanism.is_none());
    let ban = bans.filter(|r| r.categories.is_none() || ids.iter().any(|id| names(r, id)));
    if let Some(rule) = ban.min_by_key(|r| model.rules.name(r.rule)) {
        return Err(banned(model, rule, jurisdiction, to));
    }
    let grounds = corridor.filter(|r| ids.iter().all(|id| names(r, id)));
    let grounds = grounds.filter_map(|r| Some((model.rules.name(r.rule), ground(moment, r, to)?)));
    let Some((rule, mechanism)) = grounds.min() else {
        return Err(no_ground(moment, jurisdiction, to, plan));
    };
    Ok(Transfer {
        rule,
        from: model.jurisdictions.name(jurisdiction),
        to: model.jurisdictions.name(to.jurisdiction),
        recipient: model.recipients.name(to.recipient),
        mechanism,
        categories: categories.into(),
    })
}

/// The rules about a transfer.
fn corridor<'m>(
    moment: &Moment<'m>,
    from: Id,
    to: &RegionFacts,
) -> impl Iterator<Item = &'m TransferFacts> + Clone {
    moment.transfer.iter().copied().filter(move |r| {
        r.from.contains(from, moment.at)
            && r.to.contains(to.jurisdiction, moment.at)
            && r.recipients.as_ref().is_none_or(|s| s.contains(to.recipient))
    })
}

/// The rule that is no ground of a transfer for want of the fewest categories, and those.
fn nearly(
    moment: &Moment<'_>,
    from: Id,
    to: &RegionFacts,
    plan: &Plan,
) -> Option<(RuleName, Vec<Arc<str>>)> {
    let model = moment.model;
    let carried = carried(plan);
    let lacks = |r: &TransferFacts| -> Vec<Arc<str>> {
        let Some(named) = &r.categories else { return Vec::new() };
        let lacks = |c: &&Arc<str>| !model.categories.id(c).is_some_and(|id| named.contains(id));
        carried.iter().filter(lacks).cloned().collect()
    };
    let grounds = corridor(moment, from, to).filter(|r| ground(moment, r, to).is_some());
    let near = grounds.map(|r| (lacks(r), model.rules.name(r.rule)));
    let near = near.filter(|(lacks, _)| (1..carried.len()).contains(&lacks.len()));
    near.min_by_key(|(lacks, name)| (lacks.len(), name.clone())).map(|(lacks, name)| (name, lacks))
}

/// What becomes of a case at a border.
pub(crate) enum Ground {
    /// By this rule.
    Rule(RuleName),
    /// This rule would be the ground, but for these categories.
    Lacks(RuleName, Vec<Arc<str>>),
    Otherwise,
}

pub(crate) fn ground_of(planner: &mut Planner<'_>, case: Case, region: Id) -> Ground {
    match delivery(planner, case, region) {
        Ok(Delivery { transfer: Some(transfer), .. }) => Ground::Rule(transfer.rule),
        Err(Refusal { code: RefusalCode::TransferNotAllowed, rule: None, .. }) => {
            let Case { dataset, purpose, jurisdiction } = case;
            let to = planner.moment.model.region_facts.get(region);
            let near = to.and_then(|to| {
                let recipients = vec![to.recipient];
                let made = planner.plan(Context { dataset, purpose, recipients, jurisdiction });
                nearly(&planner.moment, jurisdiction, to, &made?.1)
            });
            near.map_or(Ground::Otherwise, |(rule, lacks)| Ground::Lacks(rule, lacks))
        }
        _ => Ground::Otherwise,
    }
}

/// The mechanism's text, if it holds at this time and for this destination.
fn ground(moment: &Moment<'_>, rule: &TransferFacts, to: &RegionFacts) -> Option<Arc<str>> {
    let mechanism = rule.mechanism.as_ref().filter(|m| moment.at < m.expires)?;
    let Some(list) = mechanism.list else { return Some(mechanism.text.clone()) };
    let members = moment.model.members.get(list)?;
    let listed = |m: &&crate::model::Membership| {
        m.jurisdiction == to.jurisdiction && m.window.contains(moment.at)
    };
    let member = members.iter().find(listed)?;
    let text = match &member.source {
        Some(source) => format!("{}: {source})", mechanism.text.trim_end_matches(')')).into(),
        None => mechanism.text.clone(),
    };
    Some(text)
}

fn banned(model: &Model, rule: &TransferFacts, from: Id, to: &RegionFacts) -> Refusal {
    let because = model.heads.get(rule.rule).map_or_else(|| "".into(), |h| h.because.clone());
    let help = format!(
        "the rule forbids this for `{}` to `{}`",
        model.jurisdictions.name(from),
        model.jurisdictions.name(to.jurisdiction)
    );
    Refusal {
        code: RefusalCode::TransferNotAllowed,
        rule: Some(model.rules.name(rule.rule)),
        detail: because,
        help: Some(help.into()),
    }
}

fn no_ground(moment: &Moment<'_>, from: Id, to: &RegionFacts, plan: &Plan) -> Refusal {
    let model = moment.model;
    let help = match nearly(moment, from, to, plan) {
        Some((rule, lacks)) => format!("the rule `{rule}` would, but it lacks {}", quoted(&lacks)),
        None => {
            "one `TransferRule` has to cover all categories that the record still carries".into()
        }
    };
    let (from, code) = (model.jurisdictions.name(from), model.jurisdictions.name(to.jurisdiction));
    let recipient = model.recipients.name(to.recipient);
    let categories = carried(plan);
    let what = if categories.is_empty() { "records".to_owned() } else { quoted(&categories) };
    Refusal {
        code: RefusalCode::TransferNotAllowed,
        rule: None,
        detail: format!(
            "no transfer rule in force lets {what} of `{from}` go to `{recipient}` in `{code}`"
        )
        .into(),
        help: Some(help.into()),
    }
}

pub(crate) fn quoted(names: &[Arc<str>]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
