//! What someone should look at, though it compiles.

use crate::{diagnostic::Findings, document::Document, model::Model, plan::UnixMillis};

pub(crate) fn lint(
    _documents: &[Document],
    _model: &Model,
    _at: UnixMillis,
    _f: &mut Findings<'_>,
) {
}
