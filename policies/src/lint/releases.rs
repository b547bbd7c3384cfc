//! What someone should look at in a release, though it is affordable.

use crate::{
    diagnostic::Findings,
    document::{IfBlocked, Mode},
    model::{Id, Model, ReleaseFacts},
    plan::{Operation, Plan, Records, Transform, Unlisted},
    source::Span,
    table::Table,
};

/// Names that one finding lists.
const NAMES_MAX: usize = 3;

pub(super) fn releases(model: &Model, table: &Table, f: &mut Findings<'_>) {
    let live = |r: &&ReleaseFacts| model.heads.get(r.rule).is_some_and(|h| h.mode != Mode::Draft);
    for release in model.releases.iter().filter(live) {
        readers(model, table, release, f);
        never_held(model, release, f);
    }
}

/// Who reads the release, and who of them the records as well.
fn readers(model: &Model, table: &Table, release: &ReleaseFacts, f: &mut Findings<'_>) {
    let name = &release.plan.name;
    let span = model.rules.span(release.rule);
    let of_release = readers_of(table, &model.datasets.name(release.own), |_| true);
    if of_release.is_empty() {
        f.warning(span, format!("no one may read the release `{name}`"))
            .help(format!("add an `AccessRule` with `may: [read]` and `datasets: [{name}]`"));
        return;
    }
    let facts = model.dataset_facts.get(release.source);
    if facts.is_none_or(|d| d.records == Records::ReleasesOnly) {
        return;
    }
    let stored = table.stored_forms.get(release.source);
    let shows = |view: &Plan| {
        let kept = view.fields.iter().filter(|x| x.transform == Transform::Keep);
        let mut forms = kept.filter_map(|x| stored?.get(&x.path.written)).flatten();
        view.unlisted == Unlisted::Keep || forms.any(says_something)
    };
    let mut both = readers_of(table, &release.plan.dataset, shows);
    both.retain(|p| of_release.contains(p));
    let Some(first) = both.first() else { return };
    let others = match both.len() - 1 {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let shown: Vec<_> = both.iter().take(NAMES_MAX).map(|p| format!("`{p}`")).collect();
    let who = if both.len() > NAMES_MAX { format!("`{first}`{others}") } else { shown.join(", ") };
    let message = format!("{who} may read the release `{name}` and the records it counts");
    f.warning(span, message).help(
        "the noise hides nothing from anyone who sees the records: publish them only as releases (`records: releases-only`), or let no one read both",
    );
}

fn readers_of(table: &Table, dataset: &str, counts: impl Fn(&Plan) -> bool) -> Vec<String> {
    let grants = table.grants().filter(|g| g.operation() == Operation::Read);
    let grants = grants.filter(|g| &*g.dataset().name == dataset && counts(g.view().1));
    let mut names: Vec<String> = grants.map(|g| g.principal().to_string()).collect();
    names.sort();
    names.dedup();
    names
}

fn says_something(stored: &Transform) -> bool {
    !matches!(stored, Transform::Drop | Transform::Redact | Transform::Constant(_))
}

/// A release in a region that no record may be held in.
fn never_held(model: &Model, release: &ReleaseFacts, f: &mut Findings<'_>) {
    let Some(facts) = model.dataset_facts.get(release.source) else { return };
    let region: Option<Id> = model.regions.id(&release.plan.region);
    let reached = facts.deliver_to.iter().any(|place| place.is_none() || *place == region);
    if reached || facts.if_blocked == IfBlocked::StayHome {
        return;
    }
    let span: Span = model.rules.span(release.rule);
    let (name, dataset, region) = (&release.plan.name, &release.plan.dataset, &release.plan.region);
    f.warning(
        span,
        format!(
            "the release `{name}` counts nothing: records of `{dataset}` are not held in `{region}`"
        ),
    )
    .help(format!(
        "add `{region}` to the `deliver-to` of `{dataset}`, or make the release in another region"
    ));
}
