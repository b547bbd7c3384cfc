//! Names of members that only wildcards match: values that nobody declared.

use crate::{
    diagnostic::Findings,
    model::{DatasetFacts, FieldFacts, Model},
    path,
    plan::{FieldPath, Part, Unlisted},
};

pub(super) fn names(model: &Model, f: &mut Findings<'_>) {
    for dataset in &model.dataset_facts {
        if matches!(dataset.unlisted, Unlisted::Keep | Unlisted::Untouched)
            || !dataset.names.is_empty()
        {
            continue;
        }
        let Some((field, name)) = dataset.fields.iter().find_map(|x| undeclared(dataset, x)) else {
            continue;
        };
        let (written, becomes) = (
            &field.path.written,
            match dataset.unlisted {
                Unlisted::Refuse => "refuses the record",
                Unlisted::Drop | Unlisted::Keep | Unlisted::Untouched => {
                    "is dropped with everything below it"
                }
            },
        );
        let how = match field.path.part {
            Part::Value => format!(", or give them a category in `fields`: `\"name:{name}\": …`"),
            Part::Key | Part::Header(_) | Part::Name => String::new(),
        };
        f.warning(
            field.span,
            format!("`{written}` matches members of any name: one that is not declared {becomes}"),
        )
        .help(format!(
            "names can be personal data: list the words of the format under `names`{how}"
        ));
    }
}

/// The field, and a path to the names on its way, if a wildcard matches some that have no category.
fn undeclared<'d>(
    dataset: &DatasetFacts,
    field: &'d FieldFacts,
) -> Option<(&'d FieldFacts, String)> {
    let FieldPath { part, steps, written } = &field.path;
    if !matches!(part, Part::Value | Part::Key) {
        return None;
    }
    let last = steps.iter().rposition(path::is_wildcard)?;
    let names = FieldPath {
        part: Part::Name,
        steps: steps.get(..=last).unwrap_or_default().into(),
        written: written.clone(),
    };
    let declared = |x: &FieldFacts| path::overlap(&x.path, &names);
    let declared = *part == Part::Value && dataset.fields.iter().any(declared);
    let shown = written.rfind('*').and_then(|end| written.get(..=end)).unwrap_or_default();
    (!declared).then(|| (field, shown.to_owned()))
}
