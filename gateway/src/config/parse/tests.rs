use super::*;

const GOOD: &str = include_str!("../../../../examples/starter/sluicegate.yaml");

fn mistakes(text: &str) -> Vec<String> {
    let found = parse(text, Path::new("sluicegate.yaml")).err().unwrap_or_default();
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn the_starter_is_right_and_its_paths_are_relative_to_it() {
    let config = parse(GOOD, Path::new("/etc/sluicegate/sluicegate.yaml")).unwrap();
    assert_eq!(config.policies, Path::new("/etc/sluicegate/policies"));
    assert_eq!(config.ledger.store.as_deref(), Some("sqlite:/etc/sluicegate/data/ledger.db"));
}

#[test]
fn passwords_alone_are_a_way_in_and_their_file_is_relative() {
    let (before, _) = GOOD.split_once("identify:").unwrap();
    let (_, after) = GOOD.split_once("# What releases keep").unwrap();
    let only = |passwords: &str| format!("{before}identify:\n  passwords: {passwords}\n\n#{after}");
    let config = parse(&only("{ file: keys/p.yaml }"), Path::new("/etc/s/s.yaml")).unwrap();
    let passwords = config.identify.passwords.unwrap();
    assert_eq!(passwords.file, Path::new("/etc/s/keys/p.yaml"));
    assert!(!passwords.lenient_scram_nonce);
    let found = mistakes(&only("{ file: p, lenient-scram-nonce: true, files: x }")).join("");
    assert!(found.contains("`files`"), "{found}");
}

#[test]
fn every_mistake_is_reported_at_once_with_its_place() {
    let text = GOOD
        .replace("tenant: my-company", "tenant: my company")
        .replace("client-auth: optional", "client-auth: sometimes")
        .replace("policies: policies", "polices: policies")
        .replace("partitions: 4", "partitons: 4");
    let found = mistakes(&text);
    let all = found.join("\n");
    for expected in [
        "unknown section `polices`\n  help: did you mean `policies`?",
        "the section `policies` is missing",
        "did you mean `partitions`?",
        "sometimes",
    ] {
        assert!(all.contains(expected), "{expected}\n--- in\n{all}");
    }
    let line = 1 + text.lines().position(|l| l.contains("partitons")).unwrap();
    assert!(all.contains(&format!("sluicegate.yaml:{line}:")), "{all}");
}

#[test]
fn semantic_mistakes_name_their_line() {
    let text = GOOD
        .replace("sqlite:data/ledger.db", "postgres://user:secret@host/db")
        .replace("auditor: [auditor]", "auditor: [auditr]")
        .replace("partitions: 4", "partitions: 0")
        + "limits: { stream-wait-ms: 1001 }\n";
    let found = mistakes(&text);
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(!found.join("").contains("secret"), "a password is never echoed");
    assert!(found.iter().any(|m| m.contains("did you mean `auditor`?")), "{found:#?}");
}

#[test]
fn production_refuses_conveniences() {
    let all = mistakes(&GOOD.replace("mode: development", "mode: production")).join("\n");
    assert!(all.contains("refuses a file keyring"), "{all}");
    assert!(all.contains("refuses region `eu`: embedded"), "{all}");
}

#[test]
fn arbitrary_text_never_panics() {
    for text in
        ["", ":", "- a", "mode: [", "\u{0}", "mode: &a [*a]", "regions:\n\t- x", "a: b\na: b"]
    {
        let _ = parse(text, Path::new("x.yaml"));
    }
}

#[test]
fn close_names_are_suggested_and_far_ones_are_not() {
    assert_eq!(nearest("polices", SECTIONS), Some("policies"));
    assert_eq!(nearest("zzz", SECTIONS), None);
}

#[test]
fn a_kafka_listener_is_of_a_region_and_tells_brokers_apart_in_one_way() {
    let (good, _) = GOOD.split_once("# Kafka clients").unwrap();
    let tls = "tls: { certificate: certs/server.pem, key: certs/server.key }";
    let of = |brokers: &str, advertised: &str| {
        let clusters = "kafka: { bootstrap: [\"k:9092\"], tls: { ca: certs/ca.pem } }";
        let good = good.replacen("embedded: { file: data/eu.db, partitions: 4 }", clusters, 1);
        let face = format!(
            "address: 127.0.0.1:9092, advertised: \"{advertised}\", brokers: {{ {brokers} }}"
        );
        mistakes(&format!("{good}\nkafka:\n  eu: {{ {face}, {tls} }}\n")).join("\n")
    };
    assert_eq!(of("ports: { first: 9093 }", "kafka.example:9092"), "");
    assert_eq!(of("names: \"b{node}.kafka.example\"", "kafka.example:9092"), "");
    for (brokers, advertised, expected) in [
        ("ports: { first: 9093 }", "kafka.example", "`advertised` is not `host:port`"),
        ("ports: { first: 9093 }, names: \"b{node}\"", "k:1", "exactly one of `names` and `ports`"),
        ("names: \"kafka.example\"", "k:1", "`names` needs `{node}` once"),
        ("ports: { first: 65530 }", "k:1", "no ports above 65535"),
        ("ports: { first: 9090 }", "k:1", "two listeners share `127.0.0.1:9092`"),
        ("ports: { first: 9093, count: 0 }", "k:1", "`count` is at least 1"),
    ] {
        let found = of(brokers, advertised);
        assert!(found.contains(expected), "{brokers}: {found}");
    }
    // Of an embedded region, and of one that is not there.
    let face = |region: &str| {
        let face =
            "address: 127.0.0.1:9092, advertised: \"k:1\", brokers: { ports: { first: 9093 } }";
        mistakes(&format!("{good}\nkafka:\n  {region}: {{ {face}, {tls} }}\n")).join("\n")
    };
    assert_eq!(face("eu"), "");
    assert!(face("eux").contains("`eux` is no region"), "{}", face("eux"));
}
