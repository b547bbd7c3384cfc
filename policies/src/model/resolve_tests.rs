//! Looking up the names in tests, so that a test cannot pass because of a typo.

use super::Model;
use crate::{
    diagnostic::Findings,
    document::{Given, TestSpec},
    source::{Located, Span},
};

pub(crate) fn check_test(model: &Model, span: Span, t: &TestSpec, findings: &mut Findings<'_>) {
    match (&t.given, &t.expect, &t.never) {
        (Some(given), Some(_), None) => check_given(model, given, findings),
        (None, None, Some(never)) => {
            let n = &never.value;
            model.categories.find(&n.sees, "category", findings);
            match (&n.principal, &n.team) {
                (Some(p), None) => {
                    model.principals.find(p, "principal", findings);
                }
                (None, Some(t)) => {
                    model.recipients.find(t, "recipient", findings);
                }
                _ => {
                    findings.error(
                        never.span,
                        "`never` is about exactly one of `principal` and `team`",
                    );
                }
            }
        }
        _ => {
            findings.error(span, "a test has `given` and `expect`, or `never`").help(
                "`given` is the case, `expect` what must come out; `never` looks at all cases",
            );
        }
    }
}

fn check_given(model: &Model, given: &Located<Given>, findings: &mut Findings<'_>) {
    let g = &given.value;
    if g.dataset.is_some() == g.topic.is_some() {
        findings.error(given.span, "a case is about exactly one of `dataset` and `topic`");
    }
    if let Some(dataset) = &g.dataset {
        model.datasets.find(dataset, "dataset", findings);
    }
    if let Some(at) = &g.at {
        super::domain::moment(at, findings);
    }
}
