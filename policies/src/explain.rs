//! Answers in sentences: who may, where it goes, what happens to each field, and by which rule.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::Serialize;

use crate::{
    plan::{Delivery, FieldPlan, Operation, Plan, Refusal, Route, RuleName, Transform, Unlisted},
    table::{Grant, Table},
};

/// What someone wants to know.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Who.
    pub principal: String,
    /// For what; none: the principal's only purpose.
    pub purpose: Option<String>,
    /// About which dataset.
    pub dataset: String,
    /// Only about this field, as the dataset spells it.
    pub field: Option<String>,
    /// Only about this region.
    pub region: Option<String>,
    /// Only about subjects in this jurisdiction.
    pub jurisdiction: Option<String>,
}

/// The answer, for people ([`fmt::Display`]) and for programs ([`Serialize`]).
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The bundle that decides so.
    pub policy: String,
    /// Publishing, then reading.
    pub answers: Vec<Answer>,
}

/// About one operation.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// `publish` or `read`.
    pub operation: &'static str,
    /// Whether it may.
    pub allowed: bool,
    /// The rules that say so, or the one that says no.
    pub rules: Vec<String>,
    /// The code of the refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// The answer in words.
    pub sentences: Vec<String>,
    /// Each field in each place, as far as it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldAnswer>,
}

/// What happens to one field in one place.
#[derive(Clone, Debug, Serialize)]
pub struct FieldAnswer {
    /// The path as the dataset spells it.
    pub field: String,
    /// Its category.
    pub category: String,
    /// The region; none for a reader's view.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The jurisdictions of the subjects for which it is so; empty for a reader's view.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jurisdictions: Vec<String>,
    /// The transform in the words of the policy.
    pub transform: String,
    /// The rules that ask for it.
    pub rules: Vec<String>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentences = self.answers.iter().flat_map(|a| &a.sentences);
        sentences.into_iter().try_for_each(|s| writeln!(f, "{s}"))?;
        writeln!(f, "Policy {}", self.policy)
    }
}

/// Answers a question from the table, so that what is explained is what is enforced.
pub fn explain(table: &Table, q: &Question) -> Explanation {
    let answers = [Operation::Publish, Operation::Read].map(|op| answer(table, q, op));
    Explanation { policy: table.digest().to_string(), answers: answers.into() }
}

fn answer(table: &Table, q: &Question, op: Operation) -> Answer {
    let (operation, verb) = match op {
        Operation::Publish => ("publish", "publish to"),
        Operation::Read => ("read", "read"),
    };
    let dataset = table.datasets().iter().find(|d| *d.name == *q.dataset);
    let topic = dataset.and_then(|d| d.topics.first()).map_or(q.dataset.as_str(), |t| t);
    let head = format!("`{}` may", q.principal);
    match table.admit(&q.principal, q.purpose.as_deref(), op, topic) {
        Ok(grant) => {
            let by = by_rules(table, grant.rules());
            let first = format!("{head} {verb} `{}` for `{}`{by}.", q.dataset, grant.purpose());
            let mut a = Answer {
                operation,
                allowed: true,
                rules: grant.rules().iter().map(ToString::to_string).collect(),
                code: None,
                sentences: vec![first],
                fields: Vec::new(),
            };
            match op {
                Operation::Publish => explain_routes(table, q, &grant, &mut a),
                Operation::Read => explain_view(q, &grant, &mut a),
            }
            a
        }
        Err(refusal) => {
            let purpose = q.purpose.as_ref().map(|p| format!(" for `{p}`")).unwrap_or_default();
            let why = because(&refusal);
            Answer {
                operation,
                allowed: false,
                rules: refusal.rule.iter().map(ToString::to_string).collect(),
                code: Some(refusal.code.as_str()),
                sentences: vec![format!("{head} not {verb} `{}`{purpose}: {why}", q.dataset)],
                fields: Vec::new(),
            }
        }
    }
}

/// `, by the rule `x` (because …)`.
fn by_rules(table: &Table, rules: &[RuleName]) -> String {
    let told = rules.iter().map(|name| match table.rules.get(name) {
        Some(row) => format!("`{name}` ({})", row.because.trim_end_matches('.')),
        None => format!("`{name}`"),
    });
    let told: Vec<_> = told.collect();
    if told.is_empty() { String::new() } else { format!(", by {}", told.join(" and ")) }
}

fn because(refusal: &Refusal) -> String {
    let rule = refusal.rule.as_ref().map(|r| format!("`{r}` says: ")).unwrap_or_default();
    let help = refusal.help.as_ref().map(|h| format!(" ({h})")).unwrap_or_default();
    format!("{rule}{}{help}.", refusal.detail.trim_end_matches('.'))
}

/// Jurisdictions that fare alike are told together.
fn explain_routes(table: &Table, q: &Question, grant: &Grant<'_>, a: &mut Answer) {
    let only = q.jurisdiction.as_ref().map(|text| table.jurisdiction(text));
    if only == Some(None) {
        let text = q.jurisdiction.as_deref().unwrap_or_default();
        a.sentences.push(format!("The jurisdiction `{text}` is not in the policy."));
        return;
    }
    let mut alike: BTreeMap<String, (Vec<String>, &Result<Route, Refusal>)> = BTreeMap::new();
    for (code, (j, route)) in
        table.codes.iter().zip((0..).zip(grant.routes().into_iter().flatten()))
    {
        if only.flatten().is_none_or(|id| id.0 == j) {
            let key = outline(route, code);
            alike.entry(key).or_insert_with(|| (Vec::new(), route)).0.push(code.to_string());
        }
    }
    let mut groups: Vec<_> = alike.into_values().collect();
    groups.sort_by(|(x, _), (y, _)| x.cmp(y));
    for (codes, route) in groups {
        match route {
            Ok(route) => explain_route(q, &codes, route, a),
            Err(refusal) => {
                let why = because(refusal);
                a.sentences.push(format!("Subjects in {}: refused, {why}", among(&codes)));
            }
        }
    }
}

/// What makes two routes the same to a reader of sentences: all but the subject's own country.
fn outline(route: &Result<Route, Refusal>, code: &str) -> String {
    let mine = format!("`{code}`");
    let told = |r: &Refusal| format!("{:?}{:?}{}", r.code, r.rule, r.detail.replace(&mine, "`·`"));
    match route {
        Err(refusal) => told(refusal),
        Ok(route) => {
            let to = route.deliveries.iter().map(|d| {
                let by = d.transfer.as_ref().map(|t| (&t.rule, &t.mechanism));
                format!("{} {} {by:?}", d.region, d.plan_id)
            });
            let withheld = route.withheld.iter().map(|w| format!("{} {}", w.region, told(&w.why)));
            to.chain(withheld).collect::<Vec<_>>().join("|")
        }
    }
}

/// Countries named in one sentence before it says "and n more".
const CODES_SHOWN: usize = 12;

fn among(codes: &[String]) -> String {
    let shown: Vec<_> = codes.iter().take(CODES_SHOWN).map(|c| format!("`{c}`")).collect();
    match codes.len().saturating_sub(CODES_SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn explain_route(q: &Question, codes: &[String], route: &Route, a: &mut Answer) {
    let wanted = |region: &str| q.region.as_ref().is_none_or(|r| r == region);
    let who = among(codes);
    for delivery in route.deliveries.iter().filter(|d| wanted(&d.region)) {
        a.sentences.push(format!(
            "Subjects in {who}: goes to `{}`{}.",
            delivery.region,
            ground(delivery)
        ));
        fields(q, &delivery.plan, Some((&delivery.region, codes)), a);
    }
    for withheld in route.withheld.iter().filter(|w| wanted(&w.region)) {
        let why = because(&withheld.why);
        a.sentences.push(format!("Subjects in {who}: does not go to `{}`, {why}", withheld.region));
    }
    if !route.deliveries.iter().any(|d| wanted(&d.region)) && route.withheld.is_empty() {
        let region = q.region.as_deref().unwrap_or_default();
        a.sentences.push(format!("Subjects in {who}: does not go to `{region}`."));
    }
    if !route.shadow.is_empty() {
        let names: Vec<_> = route.shadow.iter().map(|r| format!("`{r}`")).collect();
        a.sentences.push(format!("  In shadow, {} would decide otherwise.", names.join(", ")));
    }
}

fn ground(delivery: &Delivery) -> String {
    match &delivery.transfer {
        None => ", its home".to_owned(),
        Some(t) => format!(
            ", across the border to `{}` (`{}`), by `{}`: {}",
            t.to, t.recipient, t.rule, t.mechanism
        ),
    }
}

fn fields(q: &Question, plan: &Plan, place: Option<(&Arc<str>, &[String])>, a: &mut Answer) {
    let wanted = |f: &&FieldPlan| q.field.as_ref().is_none_or(|p| **p == *f.path.written);
    let before = a.fields.len();
    for f in plan.fields.iter().filter(wanted) {
        let transform = match (place, &f.transform) {
            (None, Transform::Keep) => "shown, as it was stored".to_owned(),
            (None, _) => "not shown".to_owned(),
            (Some(_), t) => t.to_string(),
        };
        let names: Vec<_> = f.rules.iter().map(|r| format!("`{r}`")).collect();
        let by = match names.as_slice() {
            [] => "no rule covers it".to_owned(),
            names => format!("by {}", names.join(" and ")),
        };
        a.sentences.push(format!("  `{}` ({}): {transform}, {by}.", f.path.written, f.category));
        if let Transform::Randomize(r) = &f.transform {
            a.sentences.push(format!("    {}", r.caveats()));
        }
        a.fields.push(FieldAnswer {
            field: f.path.written.to_string(),
            category: f.category.to_string(),
            region: place.map(|(r, _)| r.to_string()),
            jurisdictions: place.map(|(_, codes)| codes.to_vec()).unwrap_or_default(),
            transform,
            rules: f.rules.iter().map(ToString::to_string).collect(),
        });
    }
    if let Some(path) = q.field.as_ref().filter(|_| a.fields.len() == before) {
        a.sentences.push(format!("  `{path}` is not listed in the dataset: {}.", unlisted(plan)));
    } else if plan.unlisted == Unlisted::Untouched {
        a.sentences.push(format!("  {}.", unlisted(plan)));
    } else if q.field.is_none() {
        a.sentences.push(format!("  Fields that are not listed: {}.", unlisted(plan)));
    }
}

fn unlisted(plan: &Plan) -> &'static str {
    match plan.unlisted {
        Unlisted::Drop => "drop",
        Unlisted::Refuse => "the record is refused",
        Unlisted::Keep => "keep",
        Unlisted::Untouched => "the dataset protects nothing: records pass as they are, unread",
    }
}

fn explain_view(q: &Question, grant: &Grant<'_>, a: &mut Answer) {
    let (_, plan) = grant.view();
    fields(q, plan, None, a);
}
