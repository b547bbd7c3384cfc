//! Looking up the names in rules.

use super::{
    Access, Entry, MechanismFacts, Model, Protection, Set, TransferFacts,
    domain::{head, moment, places},
    resolve_transform::{otherwise, template},
};
use crate::{
    diagnostic::Findings,
    document::{
        AccessRule, Document, Mechanism, MechanismWord, OperationWord, Protect, ProtectionRule,
        Spec, TransferRule,
    },
    plan::Unlisted,
    source::{Located, Span, Text},
};

/// Adds the rule, if the document is one.
pub(crate) fn rule(model: &mut Model, d: &Document, findings: &mut Findings<'_>) {
    match &d.spec {
        Spec::AccessRule(r) => access(model, d, r, findings),
        Spec::ProtectionRule(r) => protection(model, d, r, findings),
        Spec::TransferRule(r) => transfer(model, d, r, findings),
        _ => {}
    }
}

fn access(model: &mut Model, d: &Document, r: &AccessRule, findings: &mut Findings<'_>) {
    let (allows, operations) = match (&r.may, &r.may_not) {
        (Some(may), None) => (true, may),
        (None, Some(may_not)) => (false, may_not),
        _ => {
            let message = "an access rule has exactly one of `may` and `may-not`";
            findings.error(d.span, message).help("split it into two rules");
            return;
        }
    };
    check_scope(d.span, r, allows, findings);
    if allows && operations.contains(&OperationWord::Publish) {
        refuse_publishing(model, r, findings);
    }
    let who = who(model, &r.who, findings);
    let datasets = datasets(model, r, allows, findings);
    let purposes = match &r.purposes {
        Some(names) => {
            model.purpose_tree.under(&model.purposes.find_all(names, "purpose", findings))
        }
        None => Set::of(model.purposes.ids()),
    };
    let Some(rule) = head(model, &d.envelope, findings) else { return };
    let publish = operations.contains(&OperationWord::Publish);
    let read = operations.contains(&OperationWord::Read);
    model.access.push(Access { rule, allows, who, publish, read, datasets, purposes });
}

/// An allowance says for which data and which purposes; only a ban may leave that open.
fn check_scope(span: Span, r: &AccessRule, allows: bool, findings: &mut Findings<'_>) {
    if allows && r.datasets.is_none() && r.categories.is_none() {
        findings
            .error(span, "the rule does not say which data it allows")
            .help("add `datasets: […]` or `categories: […]`");
    }
    if allows && r.purposes.is_none() {
        findings
            .error(span, "the rule does not say for which purposes it allows")
            .help("add `purposes: […]`");
    }
}

/// The topic of a release is the gateway's alone.
fn refuse_publishing(model: &Model, r: &AccessRule, findings: &mut Findings<'_>) {
    for name in r.datasets.iter().flatten() {
        let id = model.datasets.id(&name.value);
        let facts = id.and_then(|id| model.dataset_facts.get(id));
        if facts.is_some_and(|f| f.released.is_some()) {
            findings
                .error(
                    name.span,
                    format!("`{}` is a release: nobody may publish to it", name.value),
                )
                .help("only the gateway writes to it: leave it out, or make the rule about `read`");
        }
    }
}

/// Principals by name, and by the teams they belong to.
fn who(model: &Model, names: &[Text], findings: &mut Findings<'_>) -> Set {
    let mut set = Set::default();
    for name in names {
        if let Some(p) = model.principals.id(&name.value) {
            set.insert(p);
        } else if let Some(team) = model.recipients.id(&name.value) {
            let facts = model.principal_facts.iter().enumerate();
            facts.filter(|(_, f)| f.member_of.contains(&team)).for_each(|(p, _)| set.insert(p));
        } else {
            let known = model.principals.iter().chain(model.recipients.iter()).map(|n| &**n);
            findings
                .error(name.span, format!("`{}` is neither a principal nor a team", name.value))
                .did_you_mean(&name.value, known, "declare it in a `Vocabulary`");
        }
    }
    set
}

/// The datasets of a rule. By category, an allowance needs all of a dataset's categories; a ban
/// needs one that is named, or that could hold a named one.
fn datasets(model: &Model, r: &AccessRule, allows: bool, findings: &mut Findings<'_>) -> Set {
    let named = r.datasets.as_ref();
    let named = named.map(|n| Set::of(model.datasets.find_all(n, "dataset", findings)));
    let categories = r.categories.as_ref();
    let categories = categories.map(|names| {
        let found = model.categories.find_all(names, "category", findings);
        if allows { model.category_tree.under(&found) } else { model.category_tree.around(&found) }
    });
    let fits = |id: usize| {
        if let Some(shown) = model.dataset_facts.get(id).and_then(|d| d.released.as_ref()) {
            return release_fits(
                shown,
                allows,
                named.as_ref().map(|n| n.contains(id)),
                &categories,
            );
        }
        let facts = model.dataset_facts.get(id);
        if allows
            && categories.is_some()
            && facts.is_some_and(|d| d.unlisted == Unlisted::Untouched)
        {
            // It has no categories, and so not all of them are named.
            return false;
        }
        let fields = facts.map(|d| d.fields.as_slice()).unwrap_or_default();
        let mut inside =
            fields.iter().map(|f| categories.as_ref().is_none_or(|c| c.contains(f.category)));
        let by_category = match (&categories, allows) {
            (None, _) => true,
            (_, true) => inside.all(|i| i),
            (_, false) => inside.any(|i| i),
        };
        by_category && named.as_ref().is_none_or(|n| n.contains(id))
    };
    Set::of(model.datasets.ids().filter(|id| fits(*id)))
}

/// A release is allowed by its name only; it is forbidden as the data that it shows something of.
fn release_fits(
    shown: &[usize],
    allows: bool,
    named: Option<bool>,
    categories: &Option<Set>,
) -> bool {
    let mut inside = shown.iter().map(|c| categories.as_ref().is_none_or(|s| s.contains(*c)));
    if allows {
        named == Some(true) && inside.all(|i| i)
    } else {
        named.unwrap_or(true) && (categories.is_none() || inside.any(|i| i))
    }
}

fn protection(model: &mut Model, d: &Document, r: &ProtectionRule, findings: &mut Findings<'_>) {
    let a = &r.applies_to.value;
    if a.categories.is_none() && a.datasets.is_none() {
        findings
            .error(r.applies_to.span, "the rule does not say which fields it is about")
            .help("add `categories: […]` or `datasets: […]`");
    }
    let categories = a.categories.as_ref().map(|names| {
        model.category_tree.under(&model.categories.find_all(names, "category", findings))
    });
    let datasets = a.datasets.as_ref();
    let datasets = datasets.map(|n| Set::of(model.datasets.find_all(n, "dataset", findings)));
    let subjects = a.subjects.as_ref();
    let subjects = subjects.map(|n| Set::of(model.subjects.find_all(n, "subject", findings)));
    check_subjects(model, a.subjects.as_deref(), datasets.as_ref(), findings);
    let subject_region = a.subject_region.as_ref().map(|names| places(model, names, findings));
    let entries = r.protect.iter().filter_map(|p| entry(model, p, findings)).collect();
    let otherwise = otherwise(r.otherwise);
    let Some(rule) = head(model, &d.envelope, findings) else { return };
    model.protection.push(Protection {
        rule,
        categories,
        datasets,
        subjects,
        subject_region,
        entries,
        otherwise,
    });
}

/// A rule by subject cannot know about datasets that do not say whose data they hold.
fn check_subjects(
    model: &Model,
    named: Option<&[Text]>,
    datasets: Option<&Set>,
    findings: &mut Findings<'_>,
) {
    let Some(first) = named.and_then(<[Text]>::first) else { return };
    for (id, facts) in model.dataset_facts.iter().enumerate() {
        let release = facts.released.is_some();
        if facts.subjects.is_empty() && !release && datasets.is_none_or(|d| d.contains(id)) {
            let name = model.datasets.name(id);
            findings
                .error(
                    model.datasets.span(id),
                    format!("the dataset `{name}` does not say whose data it holds"),
                )
                .help("add `subjects: […]`: a rule depends on it")
                .related(first.span, "this rule applies by subject");
        }
    }
}

fn entry(model: &Model, p: &Located<Protect>, findings: &mut Findings<'_>) -> Option<Entry> {
    let whom = p.value.for_whom.as_ref();
    let purposes = whom.and_then(|w| w.purposes.as_ref()).map(|names| {
        model.purpose_tree.under(&model.purposes.find_all(names, "purpose", findings))
    });
    let recipients = whom.and_then(|w| w.recipients.as_ref());
    let recipients =
        recipients.map(|n| Set::of(model.recipients.find_all(n, "recipient", findings)));
    let template = template(model, &p.value, findings)?;
    Some(Entry { purposes, recipients, template, span: p.value.transform.span })
}

fn transfer(model: &mut Model, d: &Document, r: &TransferRule, findings: &mut Findings<'_>) {
    let from = places(model, &r.from, findings);
    let to = places(model, &r.to, findings);
    let (categories, recipients, mechanism) = match (&r.allow, &r.deny) {
        (Some(a), None) => {
            let categories = model.categories.find_all(&a.categories, "category", findings);
            let mechanism = mechanism(model, &a.mechanism, findings);
            let set = model.category_tree.under(&categories);
            (Some(set), Some(a.recipients.as_slice()), mechanism)
        }
        (None, Some(deny)) => {
            let names = deny.categories.as_ref();
            let found = names.map(|n| model.categories.find_all(n, "category", findings));
            let set = found.map(|f| model.category_tree.around(&f));
            (set, deny.recipients.as_deref(), None)
        }
        _ => {
            let message = "a transfer rule has exactly one of `allow` and `deny`";
            findings.error(d.span, message).help("split it into two rules");
            return;
        }
    };
    let recipients =
        recipients.map(|n| Set::of(model.recipients.find_all(n, "recipient", findings)));
    // An allowance whose mechanism could not be read must not become a rule without one.
    if r.allow.is_some() && mechanism.is_none() {
        return;
    }
    let Some(rule) = head(model, &d.envelope, findings) else { return };
    model.transfer.push(TransferFacts { rule, from, to, categories, recipients, mechanism });
}

fn mechanism(
    model: &Model,
    located: &Located<Mechanism>,
    findings: &mut Findings<'_>,
) -> Option<MechanismFacts> {
    let m = &located.value;
    m.verified.as_ref().map(|t| moment(t, findings));
    let expires = m.expires.as_ref();
    let expires = expires.map_or(Some(i64::MAX), |t| moment(t, findings))?;
    let list = match &m.list {
        Some(name) => Some(model.groups.find(name, "group", findings)?),
        None => None,
    };
    let text = mechanism_text(m).map_err(|missing| {
        findings
            .error(located.span, format!("this mechanism lacks {missing}"))
            .help("a transfer needs what an auditor would ask for");
    });
    Some(MechanismFacts { text: text.ok()?.into(), list, expires, span: located.span })
}

/// The mechanism for people and for the ledger, or what it lacks.
fn mechanism_text(m: &Mechanism) -> Result<String, &'static str> {
    let tia = m.tia.as_deref();
    let reference = m.reference.as_deref();
    Ok(match m.kind {
        MechanismWord::Adequacy => {
            format!(
                "adequacy ({})",
                m.list.as_ref().ok_or("its `list`: a group of adequate countries")?.value
            )
        }
        MechanismWord::Dpf => {
            format!("dpf ({})", m.importer.as_deref().ok_or("the certified `importer`")?)
        }
        MechanismWord::Scc => format!(
            "scc module {}, {}",
            m.module.ok_or("its `module`, 1 to 4")?,
            tia.ok_or("its transfer impact assessment, `tia`")?
        ),
        MechanismWord::Idta => {
            format!("idta, {}", tia.ok_or("its transfer impact assessment, `tia`")?)
        }
        MechanismWord::Bcr => format!("bcr, {}", reference.ok_or("its approval, `reference`")?),
        MechanismWord::Derogation => {
            format!("derogation, {}", reference.ok_or("its article and facts, `reference`")?)
        }
    })
}
