//! The sample bundle: it compiles without a finding, its own tests pass, and it decides what its
//! authors meant.
#![expect(clippy::unwrap_used, reason = "a test may stop where something is not as it should be")]

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

#[test]
fn the_schema_covers_every_kind_and_explains_every_key() {
    let schema = sluicegate_policies::schema();
    let kinds = schema["oneOf"].as_array().unwrap();
    assert_eq!(kinds.len(), 9);
    for kind in kinds {
        assert_eq!(kind["additionalProperties"], false, "{}", kind["title"]);
        for (key, property) in kind["properties"].as_object().unwrap() {
            assert!(property["description"].is_string(), "{}: {key} has no words", kind["title"]);
        }
    }
}

#[test]
fn the_digest_is_about_what_files_say_not_where_they_stand() {
    let mut sources = shop();
    let digest = Bundle::compile(&sources).unwrap().digest();
    sources.reverse();
    sources[0].path = "elsewhere/x.yaml".into();
    sources[1].text = sources[1].text.replace('\n', "\r\n");
    assert_eq!(Bundle::compile(&sources).unwrap().digest(), digest);
    sources[0].text += "# reviewed\n";
    assert_ne!(Bundle::compile(&sources).unwrap().digest(), digest);
}

#[test]
fn a_request_without_a_purpose_means_the_only_one_and_a_misused_grant_gives_nothing() {
    let table = Bundle::compile(&shop()).unwrap().table(NOW).unwrap();
    let publish = table.admit("checkout", None, Operation::Publish, "orders").unwrap();
    assert_eq!(&**publish.purpose(), "service");
    let (id, view) = publish.view();
    assert!(id == 0 && view.fields.is_empty());
    let read = table.admit("analyst", None, Operation::Read, "orders").unwrap();
    assert!(read.route(table.jurisdiction("DE").unwrap()).is_err());
    let refused = |p, u, t| table.admit(p, u, Operation::Read, t).unwrap_err().code.as_str();
    assert_eq!(refused("nobody", None, "orders"), "unknown-principal");
    assert_eq!(refused("analyst", None, "nothing"), "unknown-topic");
    assert_eq!(refused("analyst", Some("fun"), "orders"), "unknown-purpose");
    assert_eq!(refused("checkout", None, "orders"), "not-permitted");
    assert_eq!(refused("ad-sync", Some("analytics"), "orders"), "forbidden");
    assert!(table.token_uses().map(|t| &*t.domain).eq([
        "customer-email",
        "customer-email",
        "customer-id"
    ]));
}

#[test]
fn a_rule_in_shadow_is_reported_and_does_not_bite() {
    let mut sources = shop();
    let rule = "apiVersion: sluicegate/v1\nkind: ProtectionRule\nmetadata: { name: no-phones, citations: [x] }\nbecause: trying\nmode: shadow\napplies-to: { categories: [user.contact.phone] }\n";
    sources.push(Source::new("shadow.yaml", rule));
    let table = Bundle::compile(&sources).unwrap().table(NOW).unwrap();
    let shadow = |topic| {
        let grant = table.admit("checkout", None, Operation::Publish, topic).unwrap();
        let route = grant.route(table.jurisdiction("DE").unwrap()).unwrap();
        route.shadow.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(shadow("customers"), ["no-phones"]);
    assert_eq!(shadow("orders"), [""; 0]);
}
