//! What someone should look at, though it compiles.

mod borders;
mod gaps;
mod names;
mod releases;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    compile,
    date::{self, DAY_MS},
    diagnostic::Findings,
    document::{Document, Mode},
    model::{Head, Id, Model, RegionFacts},
    plan::{BundleDigest, Operation, Transform, UnixMillis},
    source::Span,
    table::{Grant, Table},
};

/// A mechanism that ends within this time is worth a warning.
const EXPIRY_NOTICE_MS: i64 = 30 * DAY_MS;

pub(crate) fn lint(documents: &[Document], model: &Model, at: UnixMillis, f: &mut Findings<'_>) {
    stale(documents, at, f);
    let heads = model.heads.iter().filter(|h| h.mode != Mode::Draft);
    for head in heads {
        uncited(head, f);
        if head.window.until <= at.0 {
            f.warning(head.span, format!("the rule `{}` has ended", head.name))
                .help("delete it, or move its `until`");
        }
    }
    dead(model, f);
    gaps::gaps(model, f);
    names::names(model, f);
    mechanisms(model, at, f);
    borders::borders(model, at, f);
    let table = compile::build(model, BundleDigest([0; 32]), at);
    oracles(model, &table, f);
    releases::releases(model, &table, f);
}

fn stale(documents: &[Document], at: UnixMillis, f: &mut Findings<'_>) {
    for d in documents {
        let Some(text) = &d.envelope.review_by else { continue };
        if date::parse(&text.value).is_some_and(|by| by <= at) {
            let name = &d.envelope.metadata.name.value;
            f.warning(text.span, format!("`{name}` was due for review by `{}`", text.value))
                .help("review it, and set a new `review-by`");
        }
    }
}

fn uncited(head: &Head, f: &mut Findings<'_>) {
    if !head.cited {
        f.warning(head.span, format!("the rule `{}` has no citations", head.name))
            .help("add `citations: […]` to its `metadata`, for example `gdpr:5(1)(c)`");
    }
}

/// Rules that no case can bring into play.
fn dead(model: &Model, f: &mut Findings<'_>) {
    let mut say = |rule: Id, why: &str, help: &str| {
        let name = model.rules.name(rule);
        f.warning(model.rules.span(rule), format!("the rule `{name}` can never apply: {why}"))
            .help(help);
    };
    for r in &model.access {
        if r.who.iter().next().is_none() {
            say(
                r.rule,
                "no principal belongs to its `who`",
                "add the team to a principal's `member-of`",
            );
        } else if r.datasets.iter().next().is_none() {
            let help = "allowing by category requires all categories of a dataset";
            say(r.rule, "it matches no dataset", help);
        }
    }
    for r in &model.protection {
        let touches = |d: Id| {
            let fields =
                model.dataset_facts.get(d).map(|x| x.fields.as_slice()).unwrap_or_default();
            let named = r.datasets.as_ref().is_none_or(|s| s.contains(d));
            named
                && fields
                    .iter()
                    .any(|x| r.categories.as_ref().is_none_or(|c| c.contains(x.category)))
        };
        if !model.datasets.ids().any(touches) {
            say(
                r.rule,
                "no dataset has a field of its categories",
                "delete it, or classify the fields",
            );
        }
    }
    for r in &model.transfer {
        let mut ends =
            model.region_facts.iter().flat_map(|g| r.to.0.iter().filter(|p| p.0 == g.jurisdiction));
        if ends.next().is_none() {
            say(r.rule, "no region is in its `to`", "delete it, or declare the region");
            continue;
        }
        let runs = |g: &RegionFacts| {
            let there = r.to.0.iter().any(|p| p.0 == g.jurisdiction);
            there && r.recipients.as_ref().is_none_or(|s| s.contains(g.recipient))
        };
        if !model.region_facts.iter().any(runs) {
            let help = "name the `recipient` of a region there, or delete it";
            say(r.rule, "none of its `recipients` runs a region in its `to`", help);
        }
    }
}

fn mechanisms(model: &Model, at: UnixMillis, f: &mut Findings<'_>) {
    for r in &model.transfer {
        let (Some(m), Some(head)) = (&r.mechanism, model.heads.get(r.rule)) else { continue };
        if head.mode == Mode::Draft {
            continue;
        }
        let (name, day) =
            (&head.name, date::day(UnixMillis(m.expires.clamp(0, 253_402_300_799_999))));
        if m.expires <= at.0 {
            f.warning(m.span, format!("the mechanism of `{name}` expired on {day}")).help(
                "records no longer cross under this rule; renew the mechanism, or delete the rule",
            );
        } else if m.expires.saturating_sub(at.0) <= EXPIRY_NOTICE_MS {
            f.warning(m.span, format!("the mechanism of `{name}` expires on {day}"))
                .help("from that day on, records under this rule stay home or are refused");
        } else if m.expires == i64::MAX && m.list.is_none() {
            f.warning(m.span, format!("the mechanism of `{name}` never expires"))
                .help("add `expires`: contracts and certificates end");
        }
    }
}

/// Anyone who may both turn values into tokens and read the tokens can find out whose they are, by
/// trying.
fn oracles(model: &Model, table: &Table, f: &mut Findings<'_>) {
    let mut makes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut reads: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for grant in table.grants() {
        let side = match grant.operation() {
            Operation::Publish => &mut makes,
            Operation::Read => &mut reads,
        };
        side.entry(grant.principal().to_string()).or_default().extend(domains(table, &grant));
    }
    for (principal, made) in makes {
        let Some(id) = model.principals.id(&principal) else { continue };
        let read = reads.get(&principal).into_iter().flatten();
        for domain in read.filter(|d| made.contains(*d)) {
            let span: Span = model.principals.span(id);
            f.warning(span, format!("`{principal}` can both make and read tokens of `{domain}`"))
                .help("it could find out whose a token is by publishing guesses: split it into two principals");
        }
    }
}

/// Token domains that a grant makes tokens of, or shows.
fn domains(table: &Table, grant: &Grant<'_>) -> BTreeSet<String> {
    let mut forms: Vec<&Transform> = Vec::new();
    match grant.operation() {
        Operation::Publish => {
            let routes = grant.routes().into_iter().flatten().flatten();
            let deliveries = routes.flat_map(|r| r.deliveries.iter());
            forms.extend(deliveries.flat_map(|d| d.plan.fields.iter()).map(|x| &x.transform));
        }
        Operation::Read => {
            let at = table.datasets().iter().position(|d| d.name == grant.dataset().name);
            let stored = at.and_then(|d| table.stored_forms.get(d));
            let (_, view) = grant.view();
            let shown = view.fields.iter().filter(|x| x.transform == Transform::Keep);
            let stored = shown.filter_map(|x| stored?.get(&x.path.written));
            forms.extend(stored.flatten());
        }
    }
    let tokens = forms.into_iter().filter_map(|t| match t {
        Transform::Tokenize(t) => Some(t.domain.to_string()),
        _ => None,
    });
    tokens.collect()
}
