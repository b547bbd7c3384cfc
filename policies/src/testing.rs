//! The authors' own tests: golden cases against the compiled table, and properties that are
//! looked for in every grant of it.

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
};

use serde::Serialize;

use crate::{
    bundle::Bundle,
    date,
    document::{DecisionWord, Expect, FormWord, Given, Mode, Never, OperationWord},
    model::{Head, Test, transform_word},
    plan::{
        JurisdictionSource, Operation, Plan, Refusal, Route, RuleName, Transform, UnixMillis,
        Withheld,
    },
    source::{Source, Span},
    table::{Grant, Table},
};

/// What the tests of a bundle said.
#[derive(Clone, Debug, Serialize)]
pub struct TestReport {
    /// Every test, in the order of the bundle.
    pub cases: Vec<TestCase>,
    /// Rules in force that no golden case brought into play.
    pub unexercised: Vec<String>,
}

/// One test.
#[derive(Clone, Debug, Serialize)]
pub struct TestCase {
    /// Its name.
    pub name: String,
    /// The file that contains it.
    pub path: String,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// Why it failed; none when it passed.
    pub failure: Option<String>,
}

impl TestReport {
    /// Whether every test passed.
    pub fn passed(&self) -> bool {
        self.cases.iter().all(|c| c.failure.is_none())
    }

    /// How many tests failed.
    pub fn failures(&self) -> usize {
        self.cases.iter().filter(|c| c.failure.is_some()).count()
    }

    /// The report in the JUnit form that build servers read.
    pub fn junit(&self) -> String {
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let (tests, failures) = (self.cases.len(), self.failures());
        out += &format!(
            "<testsuite name=\"policy\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\">\n"
        );
        for case in &self.cases {
            let (name, path) = (xml(&case.name), xml(&case.path));
            let open = format!(
                "  <testcase name=\"{name}\" classname=\"{path}\" file=\"{path}\" line=\"{}\"",
                case.line
            );
            out += &match &case.failure {
                None => format!("{open}/>\n"),
                Some(why) => {
                    format!("{open}>\n    <failure message=\"{}\"/>\n  </testcase>\n", xml(why))
                }
            };
        }
        out + "</testsuite>\n"
    }
}

impl fmt::Display for TestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.cases {
            match &case.failure {
                None => writeln!(f, "ok      {}", case.name)?,
                Some(why) => {
                    writeln!(
                        f,
                        "FAILED  {}\n        {}:{}: {why}",
                        case.name, case.path, case.line
                    )?;
                }
            }
        }
        let passed = self.cases.len() - self.failures();
        writeln!(f, "{passed} passed, {} failed", self.failures())?;
        if !self.unexercised.is_empty() {
            let names: Vec<_> = self.unexercised.iter().map(|r| format!("`{r}`")).collect();
            writeln!(f, "rules that no test exercises: {}", names.join(", "))?;
        }
        Ok(())
    }
}

/// Text for an XML attribute; what XML cannot hold becomes a replacement character.
fn xml(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Runs the tests of a bundle. `sources` are the ones it was compiled from; they give the places.
pub fn run_tests(bundle: &Bundle, sources: &[Source], at: UnixMillis) -> TestReport {
    let model = bundle.model();
    let mut exercised = BTreeSet::new();
    let mut cases = Vec::new();
    for test in &model.tests {
        let failure = run(bundle, test, at, &mut exercised).err();
        let (path, line, column) = place(test.span, sources);
        cases.push(TestCase { name: test.name.to_string(), path, line, column, failure });
    }
    let in_force = model.heads.iter().filter(|h| h.mode == Mode::Enforce && h.in_force(at.0));
    // A release decides nothing that a case could ask about.
    let is_release = |h: &&Head| model.releases.iter().any(|r| r.plan.name == h.name);
    let names = in_force.filter(|h| !is_release(h)).map(|h| h.name.clone());
    let unexercised = names.filter(|n| !exercised.contains(n)).map(|n| n.to_string()).collect();
    TestReport { cases, unexercised }
}

fn place(span: Span, sources: &[Source]) -> (String, u32, u32) {
    let mut findings = crate::diagnostic::Findings::new(sources);
    findings.error(span, "");
    let found = findings.into_report().diagnostics.into_iter().next();
    found.map_or_else(|| (String::new(), 1, 1), |d| (d.path, d.line, d.column))
}

fn run(
    bundle: &Bundle,
    test: &Test,
    now: UnixMillis,
    exercised: &mut BTreeSet<RuleName>,
) -> Result<(), String> {
    let spec = &test.spec.value;
    let given_at = spec.given.as_ref().and_then(|g| g.value.at.as_ref());
    let at = given_at.and_then(|t| date::parse(&t.value)).unwrap_or(now);
    let table = bundle.table(at).map_err(|_| "there is no policy for this time".to_owned())?;
    match (&spec.given, &spec.expect, &spec.never) {
        (Some(given), Some(expect), None) => golden(&table, &given.value, &expect.value, exercised),
        (None, None, Some(never)) => self::never(bundle, &table, &never.value),
        _ => Err("the test has neither `given` and `expect` nor `never`".to_owned()),
    }
}

/// What came out of a case: the regions with their plans, or the view.
enum Came<'t> {
    Delivered(&'t Route),
    Viewed(&'t Plan),
}

fn golden(
    table: &Table,
    given: &Given,
    expect: &Expect,
    exercised: &mut BTreeSet<RuleName>,
) -> Result<(), String> {
    match (decide(table, given, exercised)?, expect.decision.value) {
        (Ok(came), DecisionWord::Allow) => compare(&came, expect),
        (Err(refusal), DecisionWord::Refuse) => compare_refusal(&refusal, expect),
        (Ok(_), DecisionWord::Refuse) => Err("it was allowed".to_owned()),
        (Err(r), DecisionWord::Allow) => {
            let rule = r.rule.as_ref().map(|n| format!(", by `{n}`")).unwrap_or_default();
            Err(format!("it was refused ({}{rule}): {}", r.code.as_str(), r.detail))
        }
    }
}

/// The decision of a case, noting the rules that spoke. The outer error is a case that asks
/// nothing.
fn decide<'t>(
    table: &'t Table,
    given: &Given,
    exercised: &mut BTreeSet<RuleName>,
) -> Result<Result<Came<'t>, Refusal>, String> {
    let named = given.dataset.as_ref();
    let dataset = named.and_then(|n| table.datasets().iter().find(|d| *d.name == *n.value));
    let topic = dataset.and_then(|d| d.topics.first()).map(|t| &**t);
    let topic = topic.or(given.topic.as_ref().map(|t| t.value.as_str())).unwrap_or_default();
    let operation = match given.operation {
        OperationWord::Publish => Operation::Publish,
        OperationWord::Read => Operation::Read,
    };
    let purpose = given.purpose.as_ref().map(|p| p.value.as_str());
    let grant = match table.admit(&given.principal.value, purpose, operation, topic) {
        Ok(grant) => grant,
        Err(refusal) => {
            exercised.extend(refusal.rule.clone());
            return Ok(Err(refusal));
        }
    };
    exercised.extend(grant.rules().iter().cloned());
    if operation == Operation::Read {
        let (_, plan) = grant.view();
        exercised.extend(plan.rules.iter().cloned());
        return Ok(Ok(Came::Viewed(plan)));
    }
    Ok(publish(table, given, &grant, exercised)?.map(Came::Delivered))
}

fn publish<'t>(
    table: &Table,
    given: &Given,
    grant: &Grant<'t>,
    exercised: &mut BTreeSet<RuleName>,
) -> Result<Result<&'t Route, Refusal>, String> {
    let jurisdiction = match (&given.jurisdiction, &grant.dataset().jurisdiction) {
        (Some(text), _) => table
            .jurisdiction(&text.value)
            .ok_or_else(|| format!("the jurisdiction `{}` is not in the policy", text.value))?,
        (None, JurisdictionSource::Fixed(j)) => *j,
        (None, JurisdictionSource::Principal) => {
            grant.principal_jurisdiction().ok_or("the principal has no jurisdiction")?
        }
        (None, JurisdictionSource::Field(_)) => {
            return Err("the case does not say where the subject is: add `jurisdiction`".to_owned());
        }
    };
    let route = match grant.route(jurisdiction) {
        Ok(route) => route,
        Err(refusal) => {
            exercised.extend(refusal.rule.clone());
            return Ok(Err(refusal.clone()));
        }
    };
    for delivery in &route.deliveries {
        exercised.extend(delivery.plan.rules.iter().cloned());
        exercised.extend(delivery.transfer.iter().map(|t| t.rule.clone()));
    }
    exercised.extend(route.withheld.iter().filter_map(|w| w.why.rule.clone()));
    Ok(Ok(route))
}

fn compare_refusal(refusal: &Refusal, expect: &Expect) -> Result<(), String> {
    let code = refusal.code.as_str();
    match &expect.code {
        Some(wanted) if wanted.value != code => {
            Err(format!("it was refused with `{code}`, expected `{}`", wanted.value))
        }
        _ => Ok(()),
    }
}

/// Why wanted regions get nothing.
fn withheld(came: &Came<'_>, wanted: &BTreeSet<String>) -> String {
    let Came::Delivered(route) = came else { return String::new() };
    let missed = route.withheld.iter().filter(|w| wanted.contains(&format!("`{}`", w.region)));
    let why = missed.map(|Withheld { region, why }| {
        let help = why.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        format!("; not to `{region}`: {}{help}", why.detail)
    });
    why.collect()
}

fn compare(came: &Came<'_>, expect: &Expect) -> Result<(), String> {
    let plans: Vec<(String, &Plan)> = match came {
        Came::Viewed(plan) => vec![("the view".to_owned(), plan)],
        Came::Delivered(route) => {
            route.deliveries.iter().map(|d| (format!("`{}`", d.region), &*d.plan)).collect()
        }
    };
    if let Some(wanted) = &expect.regions {
        let wanted: BTreeSet<String> = wanted.iter().map(|r| format!("`{}`", r.value)).collect();
        let found: BTreeSet<String> = plans.iter().map(|(r, _)| r.clone()).collect();
        if wanted != found {
            let why = withheld(came, &wanted);
            return Err(format!("it goes to {}, expected {}{why}", list(&found), list(&wanted)));
        }
    }
    for (path, word) in &expect.fields {
        for (place, plan) in &plans {
            let field = plan.fields.iter().find(|f| *f.path.written == **path);
            let field = field.ok_or_else(|| format!("the dataset has no field `{path}`"))?;
            let wanted = transform_word(word.value);
            if field.transform.word() != wanted {
                let found = field.transform.word();
                return Err(format!(
                    "the field `{path}` is `{found}` in {place}, expected `{wanted}`"
                ));
            }
        }
    }
    Ok(())
}

fn list(names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        return "nowhere".to_owned();
    }
    names.iter().cloned().collect::<Vec<_>>().join(", ")
}

/// Looks for a counterexample in every grant.
fn never(bundle: &Bundle, table: &Table, never: &Never) -> Result<(), String> {
    let name = never.principal.as_ref().or(never.team.as_ref()).map_or("", |t| &t.value);
    for grant in table.grants() {
        let asks = match &never.principal {
            Some(_) => **grant.principal() == *name,
            None => grant.teams().iter().any(|t| **t == *name),
        };
        match grant.operation() {
            Operation::Read if asks => never_viewed(bundle, table, never, &grant)?,
            Operation::Publish if never.team.is_some() => {
                never_delivered(bundle, table, never, &grant, name)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn never_viewed(
    bundle: &Bundle,
    table: &Table,
    never: &Never,
    grant: &Grant<'_>,
) -> Result<(), String> {
    let (_, view) = grant.view();
    let shown = view.fields.iter().filter(|f| f.transform == Transform::Keep);
    let at = table.datasets().iter().position(|d| d.name == grant.dataset().name);
    let forms = at.and_then(|d| table.stored_forms.get(d));
    for field in shown.filter(|f| is_seen(bundle, never, &f.category)) {
        let forms = forms.and_then(|f| f.get(&field.path.written)).into_iter().flatten();
        if let Some(form) = forms.into_iter().find(|t| is_in_form(never, t)) {
            return Err(format!(
                "`{}` sees `{}` of `{}` for `{}`: {form}",
                grant.principal(),
                field.path.written,
                grant.dataset().name,
                grant.purpose()
            ));
        }
    }
    Ok(())
}

/// What the pipelines that a recipient operates are given.
fn never_delivered(
    bundle: &Bundle,
    table: &Table,
    never: &Never,
    grant: &Grant<'_>,
    recipient: &str,
) -> Result<(), String> {
    let operated: BTreeSet<&str> =
        table.regions.iter().filter(|r| *r.recipient == *recipient).map(|r| &*r.name).collect();
    let routes = grant.routes().into_iter().flatten().flatten();
    for delivery in routes.flat_map(|r| &r.deliveries).filter(|d| operated.contains(&*d.region)) {
        let seen = |f: &&crate::plan::FieldPlan| {
            is_seen(bundle, never, &f.category) && is_in_form(never, &f.transform)
        };
        if let Some(f) = delivery.plan.fields.iter().find(seen) {
            return Err(format!(
                "`{recipient}` is given `{}` of `{}` in `{}`: {}",
                f.path.written,
                grant.dataset().name,
                delivery.region,
                f.transform
            ));
        }
    }
    Ok(())
}

fn is_seen(bundle: &Bundle, never: &Never, category: &str) -> bool {
    let model = bundle.model();
    match (model.categories.id(&never.sees.value), model.categories.id(category)) {
        // Data declared more broadly may hold what must not be seen.
        (Some(sees), Some(c)) => {
            model.category_tree.covers(sees, c) || model.category_tree.covers(c, sees)
        }
        _ => true,
    }
}

fn is_in_form(never: &Never, transform: &Transform) -> bool {
    never.in_form.iter().any(|form| match form {
        FormWord::Clear | FormWord::Reversible => *transform == Transform::Keep,
        FormWord::Token => matches!(transform, Transform::Tokenize(_)),
        FormWord::Partial => {
            matches!(
                transform,
                Transform::Mask(_)
                    | Transform::Generalize(_)
                    | Transform::Geo(_)
                    | Transform::Randomize(_)
            )
        }
    })
}
