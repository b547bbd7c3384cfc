//! Looking up names: vocabularies first, then what refers to them. All mistakes are reported;
//! what could be looked up continues.

use std::sync::Arc;

use super::{
    DatasetFacts, DomainFacts, FieldFacts, Forest, Id, JurisdictionFacts, Membership, Model,
    PrincipalFacts, RegionFacts, Test, Window,
    domain::{check_name, moment, places, window},
    release, resolve_rules, resolve_tests,
};
use crate::{
    date,
    diagnostic::{Findings, nearest},
    document::{
        Category, DatasetSpec, Document, EvidenceWord, Group, IfElsewhere, JurisdictionFrom,
        MemberForm, NormalizerWord, OnInvalidWord, Principal, Purpose, RecordsWord, Region, Spec,
        TokenDomain, UnlistedWord, Vocabulary,
    },
    network::Network,
    path,
    pattern::Pattern,
    plan::{Evidence, FieldPath, Normalizer, OnInvalid, Part, Records, Unlisted},
    source::{Located, Text},
};

/// The word of `deliver-to` that means the subject's home.
const HOME: &str = "home";
/// Fields that one dataset lists.
const FIELDS_MAX: usize = 1_000;
/// Words of the format that one dataset lists.
const NAMES_MAX: usize = 1_000;

/// Builds the model. It is usable only when no error was found.
pub(crate) fn resolve(documents: &[Document], findings: &mut Findings<'_>) -> Model {
    let mut model = Model::default();
    let vocabularies: Vec<&Vocabulary> = documents
        .iter()
        .filter_map(|d| match &d.spec {
            Spec::Vocabulary(v) => Some(&**v),
            _ => None,
        })
        .collect();
    words(&mut model, &vocabularies, findings);
    purposes(&mut model, documents, findings);
    let all = documents.iter();
    for d in all.clone() {
        check_name(&d.envelope.metadata.name, findings);
        d.envelope.review_by.as_ref().map(|t| moment(t, findings));
        if let Spec::TokenDomain(t) = &d.spec {
            token_domain(&mut model, &d.envelope.metadata.name, t, findings);
        }
    }
    for d in all.clone() {
        if let Spec::Dataset(s) = &d.spec {
            dataset(&mut model, d, s, findings);
        }
    }
    for d in all.clone() {
        if let Spec::Release(r) = &d.spec {
            release::declare(&mut model, d, r, findings);
        }
    }
    all.clone().for_each(|d| resolve_rules::rule(&mut model, d, findings));
    release::resolve(&mut model, documents, findings);
    let mut names = super::Names::default();
    for d in all {
        if let Spec::Test(t) = &d.spec {
            let name = &d.envelope.metadata.name;
            names.declare(name, "test", findings);
            resolve_tests::check_test(&model, d.span, t, findings);
            let spec = Located { span: d.span, value: (**t).clone() };
            model.tests.push(Test { name: name.value.as_str().into(), span: d.span, spec });
        }
    }
    model
}

/// All vocabularies together, in the order in which words need each other.
fn words(model: &mut Model, all: &[&Vocabulary], findings: &mut Findings<'_>) {
    let categories: Vec<&Category> = all.iter().flat_map(|v| &v.categories).collect();
    let mut sensitivities = super::Names::default();
    for v in all {
        for (terms, names, what) in [
            (&v.sensitivities, &mut sensitivities, "sensitivity"),
            (&v.subjects, &mut model.subjects, "subject"),
            (&v.recipients, &mut model.recipients, "recipient"),
        ] {
            for term in terms {
                check_name(&term.id, findings);
                names.declare(&term.id, what, findings);
            }
        }
        for j in &v.jurisdictions {
            jurisdiction(model, j, findings);
        }
    }
    for c in &categories {
        c.sensitivity.as_ref().map(|s| sensitivities.find(s, "sensitivity", findings));
    }
    category_tree(model, &categories, findings);
    all.iter().flat_map(|v| &v.groups).for_each(|g| group(model, g, findings));
    all.iter().flat_map(|v| &v.regions).for_each(|r| region(model, r, findings));
    all.iter().flat_map(|v| &v.principals).for_each(|p| principal(model, p, findings));
}

/// Declared categories, and those that their dots imply.
fn category_tree(model: &mut Model, all: &[&Category], findings: &mut Findings<'_>) {
    for c in all {
        check_name(&c.id, findings);
        model.categories.declare(&c.id, "category", findings);
    }
    let mut parents: Vec<Option<Id>> = vec![None; model.categories.len()];
    let declared = model.categories.len();
    for id in 0..declared {
        let (mut child, mut name) = (id, model.categories.name(id).to_string());
        while let Some((upper, _)) = name.clone().rsplit_once('.') {
            let known = model.categories.insert(upper, model.categories.span(id));
            let up = known.or_else(|_| model.categories.id(upper).ok_or(())).unwrap_or(child);
            parents.resize(model.categories.len(), None);
            if let Some(slot) = parents.get_mut(child) {
                *slot = Some(up);
            }
            (child, name) = (up, upper.to_owned());
        }
    }
    for c in all {
        let parent = c.parent.as_ref().and_then(|p| model.categories.find(p, "category", findings));
        let slot = model.categories.id(&c.id.value).and_then(|id| parents.get_mut(id));
        match (parent, slot) {
            (Some(p), Some(slot)) if slot.is_none() => *slot = Some(p),
            (Some(p), Some(slot)) if *slot != Some(p) => {
                let span = c.parent.as_ref().map_or(c.id.span, |t| t.span);
                findings
                    .error(
                        span,
                        format!("the dots of `{}` already imply another parent", c.id.value),
                    )
                    .help("leave `parent` out, or choose an id without dots");
            }
            _ => {}
        }
    }
    let (tree, circles) = Forest::new(&parents);
    for id in circles {
        let name = model.categories.name(id);
        findings
            .error(model.categories.span(id), format!("the category `{name}` is its own parent"));
    }
    model.category_tree = tree;
}

fn jurisdiction(model: &mut Model, j: &crate::document::Jurisdiction, findings: &mut Findings<'_>) {
    let code = &j.code;
    let capital = |c: char| c.is_ascii_uppercase();
    if code.value.len() != 2 || !code.value.chars().all(capital) {
        findings
            .error(code.span, format!("`{}` is not a country code", code.value))
            .help("use the two capital letters of ISO 3166, for example `DE`");
    }
    let Some(id) = model.jurisdictions.declare(code, "jurisdiction", findings) else { return };
    for spelling in std::iter::once(code).chain(&j.name).chain(&j.aliases) {
        let other = model.spellings.insert(spelling.value.to_lowercase(), id);
        if let Some(other) = other.filter(|o| *o != id) {
            let first = model.jurisdictions.span(other);
            findings
                .error(
                    spelling.span,
                    format!("`{}` already means another jurisdiction", spelling.value),
                )
                .related(first, format!("it means `{}`", model.jurisdictions.name(other)));
        }
    }
}

fn group(model: &mut Model, g: &Group, findings: &mut Findings<'_>) {
    check_name(&g.id, findings);
    g.last_reviewed.as_ref().map(|t| moment(t, findings));
    if model.jurisdictions.id(&g.id.value).is_some() {
        findings.error(g.id.span, format!("`{}` is a jurisdiction already", g.id.value));
    }
    let Some(_) = model.groups.declare(&g.id, "group", findings) else { return };
    let members = g.members.iter().filter_map(|m| member(model, m, findings));
    let members = members.collect();
    model.members.push(members);
}

fn member(
    model: &Model,
    m: &Located<MemberForm>,
    findings: &mut Findings<'_>,
) -> Option<Membership> {
    let m = match &m.value {
        MemberForm::Dated(m) => m,
        MemberForm::Code(code) => {
            let code = Text { span: m.span, value: code.clone() };
            let jurisdiction = model.jurisdictions.find(&code, "jurisdiction", findings)?;
            return Some(Membership { jurisdiction, window: Window::ALWAYS, source: None });
        }
    };
    let window = window(m.since.as_ref(), m.until.as_ref(), findings);
    let jurisdiction = model.jurisdictions.find(&m.code, "jurisdiction", findings)?;
    Some(Membership { jurisdiction, window, source: m.source.as_deref().map(Arc::from) })
}

fn region(model: &mut Model, r: &Region, findings: &mut Findings<'_>) {
    check_name(&r.id, findings);
    if r.id.value == HOME {
        findings
            .error(r.id.span, "`home` cannot be the name of a region")
            .help("in `deliver-to`, `home` means the regions that are home to the subject");
    }
    let jurisdiction = country(model, &r.jurisdiction, findings);
    let recipient = model.recipients.find(&r.recipient, "recipient", findings);
    let home = places(model, &r.home_of, findings);
    if let (Some(jurisdiction), Some(recipient)) = (jurisdiction, recipient)
        && model.regions.declare(&r.id, "region", findings).is_some()
    {
        model.region_facts.push(RegionFacts { jurisdiction, recipient, home });
    }
}

/// A jurisdiction by its code; a name or an alias of one is told what its code is.
fn country(model: &Model, code: &Text, findings: &mut Findings<'_>) -> Option<Id> {
    let meant = model.spellings.get(&code.value.to_lowercase());
    if let (None, Some(meant)) = (model.jurisdictions.id(&code.value), meant) {
        findings
            .error(code.span, format!("`{}` is not the code of a jurisdiction", code.value))
            .help(format!("write `{}`", model.jurisdictions.name(*meant)));
        return None;
    }
    model.jurisdictions.find(code, "jurisdiction", findings)
}

fn principal(model: &mut Model, p: &Principal, findings: &mut Findings<'_>) {
    let member_of = model.recipients.find_all(&p.member_of, "recipient", findings);
    let code = p.jurisdiction.as_ref();
    let jurisdiction = code.and_then(|j| country(model, j, findings));
    if model.recipients.id(&p.id.value).is_some() {
        findings
            .error(p.id.span, format!("`{}` is a recipient already", p.id.value))
            .help("a rule's `who` would not know which of the two is meant: rename one");
    }
    if model.principals.declare(&p.id, "principal", findings).is_some() {
        let groups = patterns(&p.groups, findings);
        let transactional_ids = patterns(&p.transactional_ids, findings);
        let networks = p.networks.as_ref().map(|networks| self::networks(networks, findings));
        model.principal_facts.push(PrincipalFacts {
            member_of,
            jurisdiction,
            groups,
            transactional_ids,
            networks,
        });
    }
}

fn patterns(names: &[Text], findings: &mut Findings<'_>) -> Vec<Pattern> {
    let parsed = names.iter().filter_map(|name| {
        let pattern = Pattern::parse(&name.value);
        if pattern.is_none() {
            findings
                .error(name.span, "a `*` is only understood at the end, and a name is not empty")
                .help("write a whole name, such as `billing`, or a beginning, such as `billing-*`");
        }
        pattern
    });
    parsed.collect()
}

fn networks(texts: &[Text], findings: &mut Findings<'_>) -> Vec<Network> {
    let parsed = texts.iter().filter_map(|text| {
        let network = Network::parse(&text.value);
        if network.is_none() {
            findings.error(text.span, format!("`{}` is not a network", text.value)).help(
                "write an address, or its beginning with the number of bits that count, and zeros behind: `10.0.0.0/8`, `2001:db8::/32`",
            );
        }
        network
    });
    parsed.collect()
}

fn purposes(model: &mut Model, documents: &[Document], findings: &mut Findings<'_>) {
    let mut named: Vec<(Id, &Purpose)> = Vec::new();
    for d in documents {
        if let Spec::Purpose(p) = &d.spec
            && let Some(id) = model.purposes.declare(&d.envelope.metadata.name, "purpose", findings)
        {
            named.push((id, p));
            let kept = p.retention_max.as_ref();
            if let Some(text) = kept.filter(|text| !date::is_period(&text.value)) {
                findings
                    .error(text.span, format!("`{}` is not a period", text.value))
                    .help("write an ISO 8601 period: `P10Y`, `P6M`, `P90D`");
            }
        }
    }
    let mut parents = vec![None; model.purposes.len()];
    for (id, purpose) in named {
        let parent = match &purpose.parent {
            Some(p) => model.purposes.find(p, "purpose", findings),
            None => upper_purpose(model, id),
        };
        if let Some(slot) = parents.get_mut(id) {
            *slot = parent;
        }
    }
    let (tree, circles) = Forest::new(&parents);
    for id in circles {
        let name = model.purposes.name(id);
        findings.error(model.purposes.span(id), format!("the purpose `{name}` is its own parent"));
    }
    model.purpose_tree = tree;
}

/// The nearest declared purpose that the dots of a name point to.
fn upper_purpose(model: &Model, id: Id) -> Option<Id> {
    let name = model.purposes.name(id);
    let mut upper = &*name;
    while let Some((above, _)) = upper.rsplit_once('.') {
        if let Some(id) = model.purposes.id(above) {
            return Some(id);
        }
        upper = above;
    }
    None
}

fn token_domain(model: &mut Model, name: &Text, t: &TokenDomain, findings: &mut Findings<'_>) {
    check_name(&t.key, findings);
    if model.domains.declare(name, "token domain", findings).is_none() {
        return;
    }
    let normalizer = match t.normalize {
        NormalizerWord::Exact => Normalizer::ExactV1,
        NormalizerWord::Email => Normalizer::EmailV2,
        NormalizerWord::Phone => Normalizer::PhoneV2,
        NormalizerWord::Digits => Normalizer::DigitsV2,
        NormalizerWord::Compact => Normalizer::CompactV2,
        NormalizerWord::Name => Normalizer::NameV2,
    };
    let key = t.key.value.as_str().into();
    let rotation = t.rotation.as_ref();
    let rotation = rotation.and_then(|r| Some((release::lasting(r, findings)?, r.0.span)));
    let facts = DomainFacts { normalizer, scope: t.scope, epoch: t.epoch, key, rotation };
    model.domain_facts.push(facts);
}

fn dataset(model: &mut Model, d: &Document, s: &DatasetSpec, findings: &mut Findings<'_>) {
    let name = &d.envelope.metadata.name;
    if s.unlisted == UnlistedWord::Keep && d.envelope.because.is_none() {
        findings
            .error(
                name.span,
                format!("the dataset `{}` keeps unlisted fields without saying why", name.value),
            )
            .help("add `because:`, or set `unlisted: drop`");
    }
    evidence(s, findings);
    stubs(d, s, findings);
    untouched(d, s, findings);
    if s.fields.len() > FIELDS_MAX {
        findings
            .error(
                name.span,
                format!("the dataset `{}` lists more than {FIELDS_MAX} fields", name.value),
            )
            .help("use paths with `*` and `**`");
    }
    if let Some(first) = s.names.get(NAMES_MAX) {
        findings.error(
            first.span,
            format!("the dataset `{}` lists more than {NAMES_MAX} names", name.value),
        );
    }
    let mut names: Vec<Arc<str>> = s.names.iter().map(|n| n.value.as_str().into()).collect();
    names.sort();
    names.dedup();
    let subjects = model.subjects.find_all(&s.subjects, "subject", findings);
    let fields = s.fields.iter().filter_map(|(path, category)| {
        let read = field_path(&path.0, findings);
        let category = model.categories.find(category, "category", findings);
        Some(FieldFacts { path: read?, category: category?, span: path.0.span })
    });
    let fields: Vec<FieldFacts> = fields.collect();
    let jurisdiction = jurisdiction_from(model, &s.jurisdiction, findings);
    if let (Some(JurisdictionFacts::Field(path)), Some(text)) =
        (&jurisdiction, &s.jurisdiction.value.field)
    {
        unlisted_jurisdiction(path, text, &fields, findings);
    }
    let deliver_to = s.deliver_to.iter().filter_map(|place| match place.value.as_str() {
        HOME => Some(None),
        _ => model.regions.find(place, "region", findings).map(Some),
    });
    let deliver_to = deliver_to.collect();
    let lineage = s.lineage.iter();
    let lineage =
        lineage.filter_map(|(n, p)| Some((n.as_str().into(), lineage_path(p, findings)?)));
    let lineage = lineage.collect();
    let event_time = s.event_time.as_ref().and_then(|e| release::event_time(e, s, findings));
    let privacy_budget = s.privacy_budget.as_ref();
    let privacy_budget = privacy_budget.and_then(|b| release::of_dataset(b, findings));
    let Some(id) = model.datasets.declare(name, "dataset", findings) else { return };
    let topics = topics(model, id, &s.topics, findings);
    model.dataset_facts.push(DatasetFacts {
        topics,
        subjects,
        fields,
        unlisted: match (&s.protect, s.unlisted) {
            (Some(_), _) => Unlisted::Untouched,
            (None, UnlistedWord::Drop) => Unlisted::Drop,
            (None, UnlistedWord::Refuse) => Unlisted::Refuse,
            (None, UnlistedWord::Keep) => Unlisted::Keep,
        },
        names: names.into(),
        // Without one there is an error already, and the model is not used.
        jurisdiction: jurisdiction.unwrap_or(JurisdictionFacts::Principal),
        deliver_to,
        if_blocked: s.if_blocked,
        lineage,
        on_invalid: match s.on_invalid {
            OnInvalidWord::Drop => OnInvalid::Drop,
            OnInvalidWord::Refuse => OnInvalid::Refuse,
        },
        event_time,
        records: match s.records {
            RecordsWord::Deliver => Records::Deliver,
            RecordsWord::ReleasesOnly => Records::ReleasesOnly,
        },
        stubs: s.if_elsewhere.as_ref().is_some_and(|word| word.value == IfElsewhere::Stub),
        evidence: match (&s.protect, s.evidence.as_ref().map(|word| word.value)) {
            (Some(_), _) | (None, Some(EvidenceWord::Batch)) => Evidence::Batch,
            (None, Some(EvidenceWord::Record) | None) => Evidence::Record,
        },
        privacy_budget,
        released: None,
    });
}

/// What a dataset cannot have whose batches are recorded as one.
fn evidence(s: &DatasetSpec, findings: &mut Findings<'_>) {
    let batch = s.evidence.as_ref().filter(|e| e.value == EvidenceWord::Batch);
    if let Some(evidence) = batch.filter(|_| !s.lineage.is_empty()) {
        findings
            .error(
                evidence.span,
                "`evidence: batch` records no sources, so `lineage` finds nothing",
            )
            .help("leave out `lineage`, or set `evidence: record`");
    }
}

/// What a dataset cannot have whose records leave stubs.
fn stubs(d: &Document, s: &DatasetSpec, findings: &mut Findings<'_>) {
    let stub = s.if_elsewhere.as_ref().filter(|word| word.value == IfElsewhere::Stub);
    let Some(span) = stub.map(|word| word.span) else { return };
    let given = [
        ("evidence: batch", is_evidence(s, EvidenceWord::Batch)),
        ("protect: nothing", s.protect.is_some()),
        ("records: releases-only", s.records == RecordsWord::ReleasesOnly),
    ];
    for what in those(&given) {
        findings
            .error(span, format!("`if-elsewhere: stub` does not go with `{what}`"))
            .help("records that leave are read, and recorded singly: leave one of the two out");
    }
    if d.envelope.because.is_none() {
        let name = &d.envelope.metadata.name.value;
        findings
            .error(span, format!("the dataset `{name}` leaves stubs without saying why"))
            .help("add `because:`; a stub says that there was a record, when, and under which protected key");
    }
}

/// What a dataset cannot have of which nothing is read.
fn untouched(d: &Document, s: &DatasetSpec, findings: &mut Findings<'_>) {
    let Some(span) = s.protect.as_ref().map(|word| word.span) else { return };
    if d.envelope.because.is_none() {
        let name = &d.envelope.metadata.name.value;
        findings
            .error(span, format!("the dataset `{name}` protects nothing without saying why"))
            .help("add `because:`");
    }
    let from = &s.jurisdiction.value;
    let given = [
        ("fields", !s.fields.is_empty()),
        ("names", !s.names.is_empty()),
        ("subjects", !s.subjects.is_empty()),
        ("unlisted", s.unlisted != UnlistedWord::Drop),
        ("on-invalid", s.on_invalid != OnInvalidWord::Drop),
        ("lineage", !s.lineage.is_empty()),
        ("event-time", s.event_time.is_some()),
        ("records: releases-only", s.records == RecordsWord::ReleasesOnly),
        ("privacy-budget", s.privacy_budget.is_some()),
        ("evidence: record", is_evidence(s, EvidenceWord::Record)),
        ("jurisdiction: { field }", from.field.is_some()),
        ("jurisdiction: { header }", from.header.is_some()),
    ];
    for what in those(&given) {
        findings
            .error(
                span,
                format!("with `protect: nothing` no record is read, so `{what}` has no meaning"),
            )
            .help("leave one of the two out; `jurisdiction` is `fixed` or `principal` here");
    }
}

fn is_evidence(s: &DatasetSpec, word: EvidenceWord) -> bool {
    s.evidence.as_ref().is_some_and(|evidence| evidence.value == word)
}

fn those<'w>(given: &[(&'w str, bool)]) -> impl Iterator<Item = &'w str> {
    given.iter().filter(|(_, is_given)| *is_given).map(|(what, _)| *what)
}

pub(super) fn topics(
    model: &mut Model,
    id: Id,
    names: &[Text],
    findings: &mut Findings<'_>,
) -> Vec<Arc<str>> {
    for topic in names {
        if !is_topic(&topic.value) {
            findings
                .error(topic.span, format!("`{}` is not a valid topic name", topic.value))
                .help(
                    "1 to 249 letters, digits, `.`, `_` and `-`, as in Kafka, and not `.` or `..`",
                );
        }
        let first = model.topics.insert(topic.value.as_str().into(), (id, topic.span));
        if let Some((other, span)) = first {
            let owner = model.datasets.name(other);
            findings
                .error(topic.span, format!("the topic `{}` belongs to two datasets", topic.value))
                .help("a topic belongs to one dataset: what its fields are must not be ambiguous")
                .related(span, format!("it belongs to `{owner}` already"));
        }
    }
    names.iter().map(|t| t.value.as_str().into()).collect()
}

/// As Kafka's `Topic.validate` has it.
fn is_topic(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name.bytes().all(plain) && name != "." && name != ".."
}

fn field_path(text: &Text, findings: &mut Findings<'_>) -> Option<FieldPath> {
    let read = path::parse(&text.value);
    if let Err(why) = &read {
        findings.error(text.span, why.clone()).help(path::HELP);
    }
    read.ok()
}

/// A path to exactly one place.
fn single_path(text: &Text, findings: &mut Findings<'_>) -> Option<FieldPath> {
    let read = field_path(text, findings)?;
    let single = read.steps.iter().all(|s| matches!(s, crate::plan::Step::Member(_)));
    if !single {
        findings
            .error(text.span, format!("`{}` can match several places", text.value))
            .help("the jurisdiction needs a path to one place, without `*` and `[]`");
    }
    single.then_some(read)
}

/// A jurisdiction may be read from a field that is not listed, and then does not go out. One that is
/// spelled nearly like a listed one is a typo, and would refuse every record.
fn unlisted_jurisdiction(
    path: &FieldPath,
    text: &Text,
    fields: &[FieldFacts],
    findings: &mut Findings<'_>,
) {
    if fields.iter().any(|f| path::overlap(&f.path, path)) {
        return;
    }
    let known = fields.iter().map(|f| &*f.path.written);
    if let Some(near) = nearest(&text.value, known) {
        findings
            .warning(
                text.span,
                format!(
                    "the jurisdiction is read from `{}`, which `fields` do not list",
                    text.value
                ),
            )
            .help(format!("did you mean `{near}`?"));
    }
}

fn lineage_path(text: &Text, findings: &mut Findings<'_>) -> Option<FieldPath> {
    let read = field_path(text, findings)?;
    if read.part == Part::Name {
        findings
            .error(text.span, format!("`{}` is a name, not a place in the record", text.value))
            .help("`name:` is for `fields` only");
        return None;
    }
    Some(read)
}

fn jurisdiction_from(
    model: &Model,
    from: &Located<JurisdictionFrom>,
    findings: &mut Findings<'_>,
) -> Option<JurisdictionFacts> {
    let f = &from.value;
    match (&f.field, &f.header, &f.principal, &f.fixed) {
        (Some(path), None, None, None) => single_path(path, findings).map(JurisdictionFacts::Field),
        (None, Some(name), None, None) => {
            let path = Text { span: name.span, value: format!("header:{}", name.value) };
            let read = field_path(&path, findings)?;
            debug_assert!(matches!(read.part, Part::Header(_)), "the prefix makes it one");
            Some(JurisdictionFacts::Field(read))
        }
        (None, None, Some(yes), None) if yes.value => Some(JurisdictionFacts::Principal),
        (None, None, None, Some(code)) => {
            model.jurisdictions.find(code, "jurisdiction", findings).map(JurisdictionFacts::Fixed)
        }
        _ => {
            findings
                .error(from.span, "the jurisdiction comes from exactly one place")
                .help("write one of `field: path`, `header: name`, `principal: true`, `fixed: DE`");
            None
        }
    }
}
