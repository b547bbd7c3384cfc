//! The sample bundle: it compiles without a finding, its own tests pass, and it decides what its
//! authors meant.

use std::path::Path;

use sluicegate_policies::{
    Bundle, Operation, Question, Source, UnixMillis, check, explain, run_tests,
};

const NOW: UnixMillis = UnixMillis(1_795_392_000_000); // 2026-11-23

fn shop() -> Vec<Source> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bundles/shop");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let read = |p: &std::path::PathBuf| {
        let name = p.file_name().unwrap().to_string_lossy().into_owned();
        Source::new(name, std::fs::read_to_string(p).unwrap())
    };
    files.iter().map(read).collect()
}

#[test]
fn it_compiles_without_a_finding_and_passes_its_own_tests() {
    let sources = shop();
    let report = check(&sources, NOW);
    assert!(report.diagnostics.is_empty(), "{}", report.render(&sources));
    let bundle = Bundle::compile(&sources).unwrap();
    let tests = run_tests(&bundle, &sources, NOW);
    assert!(tests.passed() && tests.unexercised.is_empty(), "{tests}");
    assert!(tests.junit().contains("tests=\"9\" failures=\"0\""));
}

#[test]
fn a_german_customer_crosses_to_virginia_by_the_framework_only() {
    let bundle = Bundle::compile(&shop()).unwrap();
    let table = bundle.table(NOW).unwrap();
    let grant = table.admit("checkout", Some("service"), Operation::Publish, "customers").unwrap();
    let germany = table.jurisdiction(" deutschland ").unwrap();
    let route = grant.route(germany).unwrap();
    let [home, abroad] = &*route.deliveries else { panic!("{route:?}") };
    assert_eq!((&*home.region, &home.transfer), ("eu-central", &None));
    let transfer = abroad.transfer.as_ref().unwrap();
    assert_eq!((&*transfer.rule, &*transfer.mechanism), ("eu-to-us-dpf", "dpf (Shop Inc.)"));
    assert_eq!((&*transfer.from, &*transfer.to, &*transfer.recipient), ("DE", "US", "shop-us"));
    assert!(
        transfer.categories.iter().any(|c| &**c == "user.contact.email"),
        "a token is still data"
    );
    assert!(!transfer.categories.iter().any(|c| &**c == "user.name"), "redacted names stay");
    let expiry = bundle.table(table.valid_until()).unwrap();
    assert!(table.valid_from() <= NOW && expiry.valid_from() == table.valid_until());
    let grant = expiry.admit("checkout", None, Operation::Publish, "customers").unwrap();
    let route = grant.route(germany).unwrap();
    assert_eq!(route.deliveries.len(), 1);
    assert_eq!(&*route.withheld[0].region, "us-east");
}

#[test]
fn an_explanation_names_rule_reason_and_field() {
    let bundle = Bundle::compile(&shop()).unwrap();
    let table = bundle.table(NOW).unwrap();
    let q = Question {
        principal: "analyst".into(),
        dataset: "customers".into(),
        field: Some("name".into()),
        ..Question::default()
    };
    let said = explain(&table, &q).to_string();
    assert!(said.contains("`analyst` may not publish to `customers`"), "{said}");
    assert!(
        said.contains(
            "`name` (user.name): not shown, by `name-for-service-only` and `name-stays-in-europe`."
        ),
        "{said}"
    );
    let q = Question { principal: "checkout".into(), dataset: "customers".into(), ..q };
    let said = explain(&table, &q).to_string();
    assert!(said.contains("Subjects in `DE`, `FR`, `NO`: goes to `us-east`, across the border to `US` (`shop-us`), by `eu-to-us-dpf`: dpf (Shop Inc.)."), "{said}");
}

#[test]
fn the_packs_compile() {
    let sources = sluicegate_policies::packs();
    let report = check(&sources, NOW);
    assert!(report.diagnostics.is_empty(), "{}", report.render(&sources));
}
