//! A bundle: parse, look up, prove free of contradictions, and hand out tables.

use std::{fmt, sync::Arc};

use crate::{
    compile::{self, CELLS_MAX},
    diagnostic::{Findings, Report},
    digest::digest,
    document::{Document, Mode},
    lint,
    load::{Loaded, load},
    model::{self, Id, Model},
    plan::{BundleDigest, UnixMillis},
    release::{Expected, ReleasePlan},
    source::{Source, Span},
    table::Table,
};

/// A policy that compiles. Immutable; named by its digest.
pub struct Bundle {
    digest: BundleDigest,
    model: Model,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle").field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl Bundle {
    /// Compiles a bundle. Contradictions are looked for at all dates, so that a bundle that
    /// compiles today cannot fail tomorrow.
    ///
    /// # Errors
    ///
    /// All mistakes that were found.
    pub fn compile(sources: &[Source]) -> Result<Self, Report> {
        let mut findings = Findings::new(sources);
        match analyze(&mut findings) {
            Some((_, model)) if findings.errors() == 0 => {
                Ok(Self { digest: digest(&findings), model })
            }
            _ => Err(findings.into_report()),
        }
    }

    /// BLAKE3 over the bundle's documents, wherever their files are.
    pub fn digest(&self) -> BundleDigest {
        self.digest
    }

    /// The table of a time, with all dates resolved.
    ///
    /// # Errors
    ///
    /// None at present: a bundle that compiled has a table for every time. Callers must treat one
    /// as a policy that is not in force.
    pub fn table(&self, at: UnixMillis) -> Result<Arc<Table>, Report> {
        Ok(Arc::new(compile::build(&self.model, self.digest, at)))
    }

    /// The releases in force at a time, by name.
    pub fn releases(&self, at: UnixMillis) -> Vec<Arc<ReleasePlan>> {
        compile::releases(&self.model, at.0)
    }

    /// Every release of the bundle by name, whatever its mode and dates: for people who ask what
    /// it would mean. Only [`Bundle::releases`] are computed.
    pub fn all_releases(&self) -> impl Iterator<Item = &Arc<ReleasePlan>> {
        self.model.releases.iter().map(|r| &r.plan)
    }

    /// The other releases of a release's dataset that are charged or will be: a reader of one
    /// may be able to read all. Drafts are not.
    pub fn released_with(&self, release: &str) -> Vec<&ReleasePlan> {
        let all = &self.model.releases;
        let Some(own) = all.iter().find(|r| &*r.plan.name == release) else { return Vec::new() };
        let heads = &self.model.heads;
        let charged = |rule: Id| heads.get(rule).is_some_and(|h| h.mode != Mode::Draft);
        let others = all.iter().filter(|r| r.source == own.source && r.rule != own.rule);
        others.filter(|r| charged(r.rule)).map(|r| &*r.plan).collect()
    }

    /// The volumes that the author expects of a release, if it is in the bundle and says any.
    pub fn expected(&self, release: &str) -> Option<&Expected> {
        let known = self.model.releases.iter().find(|r| &*r.plan.name == release);
        known.and_then(|r| r.expected.as_ref())
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }
}

/// Everything there is to say about a bundle: mistakes, and what someone should look at.
pub fn check(sources: &[Source], at: UnixMillis) -> Report {
    let mut findings = Findings::new(sources);
    if let Some((documents, model)) = analyze(&mut findings)
        && findings.errors() == 0
    {
        lint::lint(&documents, &model, at, &mut findings);
    }
    findings.into_report()
}

/// Documents and model, as far as they make sense.
fn analyze(findings: &mut Findings<'_>) -> Option<(Vec<Document>, Model)> {
    let Loaded { documents, terms_missing } = load(findings);
    if terms_missing {
        return None;
    }
    let model = model::resolve(&documents, findings);
    if findings.errors() == 0 {
        check_size(&model, findings);
    }
    if findings.errors() == 0 {
        compile::report_conflicts(&model, findings);
    }
    Some((documents, model))
}

fn check_size(model: &Model, findings: &mut Findings<'_>) {
    let sizes = [model.principals.len(), model.purposes.len(), 2, model.datasets.len()];
    let cells = sizes.into_iter().fold(1_usize, usize::saturating_mul);
    if cells > CELLS_MAX {
        findings
            .error(
                Span::default(),
                format!("principals × purposes × datasets are more than {}", CELLS_MAX / 2),
            )
            .help("merge principals that may do the same, or split the bundle");
    }
}
