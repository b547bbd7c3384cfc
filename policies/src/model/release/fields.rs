//! Fields that a release reads: each at one place, each classified.

use super::{Field, Making};
use crate::{
    diagnostic::Findings,
    path,
    plan::{FieldPath, Step, Unlisted},
    source::Text,
};

/// A path to exactly one place.
pub(crate) fn single(text: &Text, findings: &mut Findings<'_>) -> Option<FieldPath> {
    let read = path::parse(&text.value);
    match read {
        Err(why) => {
            findings.error(text.span, why).help(path::HELP);
            None
        }
        Ok(path) if path.steps.iter().all(|s| matches!(s, Step::Member(_))) => Some(path),
        Ok(_) => {
            findings
                .error(text.span, format!("`{}` can match several places", text.value))
                .help("name one place, without `*` and `[]`");
            None
        }
    }
}

/// A field of the dataset that is counted. What is not listed has no category, so that nobody
/// has said what it is.
pub(super) fn field(
    making: &Making<'_>,
    text: &Text,
    findings: &mut Findings<'_>,
) -> Option<Field> {
    let path = single(text, findings)?;
    let facts = making.model.dataset_facts.get(making.source)?;
    let listed = facts.fields.iter().filter(|f| path::overlap(&f.path, &path));
    let categories: Vec<_> = listed.map(|f| f.category).collect();
    if categories.is_empty() && facts.unlisted != Unlisted::Keep {
        let name = making.model.datasets.name(making.source);
        let known = facts.fields.iter().map(|f| &*f.path.written);
        findings
            .error(
                text.span,
                format!("the dataset `{name}` does not list the field `{}`", text.value),
            )
            .did_you_mean(
                &text.value,
                known,
                "add it to the `fields` of the dataset, with its category",
            );
        return None;
    }
    Some(Field { path, categories })
}
