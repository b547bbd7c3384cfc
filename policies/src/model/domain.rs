//! Small readings that several kinds share: dates, windows, places, envelopes.

use super::{Head, Id, Membership, Model, Places, Window};
use crate::{
    date,
    diagnostic::Findings,
    document::{Effective, Envelope},
    source::Text,
};

/// Characters that the name of a document may have.
fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    (1..=128).contains(&text.len()) && text.chars().all(fits)
}

/// Reports a name that could not be part of a ledger entry or a token scope.
pub(crate) fn check_name(name: &Text, findings: &mut Findings<'_>) {
    if !is_name(&name.value) {
        findings
            .error(name.span, format!("`{}` is not a valid name", name.value))
            .help("names have 1 to 128 letters, digits, `.`, `-` and `_`");
    }
}

/// A date, reported when it is not valid.
pub(crate) fn moment(text: &Text, findings: &mut Findings<'_>) -> Option<i64> {
    let read = date::parse(&text.value);
    if read.is_none() {
        findings.error(text.span, format!("`{}` is not a date", text.value)).help(date::HELP);
    }
    read.map(|m| m.0)
}

/// From and until; an empty span of time is a mistake.
pub(crate) fn window(
    from: Option<&Text>,
    until: Option<&Text>,
    findings: &mut Findings<'_>,
) -> Window {
    let start = from.and_then(|t| moment(t, findings));
    let end = until.and_then(|t| moment(t, findings));
    if let (Some(a), Some(b), Some(text)) = (start, end, until)
        && a >= b
    {
        findings
            .error(text.span, format!("`{}` is not after the start", text.value))
            .help("`until` is the first moment that no longer counts");
    }
    Window { from: start.unwrap_or(i64::MIN), until: end.unwrap_or(i64::MAX) }
}

/// The head of a rule, registered under its name.
pub(crate) fn head(
    model: &mut Model,
    envelope: &Envelope,
    findings: &mut Findings<'_>,
) -> Option<Id> {
    let name = &envelope.metadata.name;
    check_name(name, findings);
    let because = envelope.because.as_ref();
    if let Some(b) = because.filter(|b| b.value.trim().is_empty()) {
        findings.error(b.span, "`because` is empty").help("say why the rule exists, in a sentence");
    }
    let none = Effective { from: None, until: None };
    let effective = envelope.effective.as_ref().unwrap_or(&none);
    let window = window(effective.from.as_ref(), effective.until.as_ref(), findings);
    let id = model.rules.declare(name, "rule", findings)?;
    model.heads.push(Head {
        name: model.rules.name(id),
        span: name.span,
        because: because.map_or("", |b| b.value.trim()).into(),
        window,
        mode: envelope.mode.unwrap_or_default(),
        cited: !envelope.metadata.citations.is_empty(),
    });
    Some(id)
}

/// Codes and groups.
pub(crate) fn places(model: &Model, names: &[Text], findings: &mut Findings<'_>) -> Places {
    let mut all = Vec::new();
    for name in names {
        if let Some(group) = model.groups.id(&name.value) {
            let members = model.members.get(group).into_iter().flatten();
            all.extend(members.map(|m: &Membership| (m.jurisdiction, m.window)));
        } else if let Some(j) = model.jurisdictions.id(&name.value) {
            all.push((j, Window::ALWAYS));
        } else {
            let known = model.groups.iter().chain(model.jurisdictions.iter()).map(|n| &**n);
            let alias = model.spellings.get(&name.value.to_lowercase());
            let otherwise = match alias {
                Some(j) => format!("did you mean `{}`?", model.jurisdictions.name(*j)),
                None => {
                    "declare it in a `Vocabulary`, under `jurisdictions` or `groups`".to_owned()
                }
            };
            let note = findings.error(
                name.span,
                format!("`{}` is neither a jurisdiction nor a group", name.value),
            );
            if alias.is_some() {
                note.help(otherwise);
            } else {
                note.did_you_mean(&name.value, known, &otherwise);
            }
        }
    }
    Places(all)
}
