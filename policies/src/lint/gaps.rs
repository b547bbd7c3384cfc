//! What an author may have forgotten.

use crate::{
    diagnostic::Findings,
    document::Mode,
    model::{DatasetFacts, FieldFacts, Id, Model, Protection},
    plan::Records,
};

/// Fields whose category no rule covers, where rules do cover others of the dataset: they are
/// dropped, and nobody said so.
pub(super) fn gaps(model: &Model, f: &mut Findings<'_>) {
    let live = |r: &&Protection| model.heads.get(r.rule).is_some_and(|h| h.mode != Mode::Draft);
    let rules: Vec<&Protection> = model.protection.iter().filter(live).collect();
    let delivered =
        |d: &&(Id, &DatasetFacts)| d.1.records == Records::Deliver && d.1.released.is_none();
    let datasets: Vec<(Id, &DatasetFacts)> = model.dataset_facts.iter().enumerate().collect();
    for (id, dataset) in datasets.iter().filter(delivered) {
        let covered = |field: &&FieldFacts| rules.iter().any(|r| covers(r, *id, field));
        if !dataset.fields.iter().any(|field| covered(&field)) {
            continue;
        }
        for field in dataset.fields.iter().filter(|field| !covered(field)) {
            let (path, category) = (&field.path.written, model.categories.name(field.category));
            f.warning(
                field.span,
                format!("`{path}` is always dropped: no rule covers its category `{category}`"),
            )
            .help("add a `ProtectionRule` for it (with `as: drop`, if that is meant)");
        }
    }
}

fn covers(rule: &Protection, dataset: Id, field: &FieldFacts) -> bool {
    rule.categories.as_ref().is_none_or(|c| c.contains(field.category))
        && rule.datasets.as_ref().is_none_or(|d| d.contains(dataset))
}
