//! What the documents say of the sources, held to the sources: which crate and which room may know which, what
//! is pure, how long a file may be, and that paths, bounds and metrics that a document names are there.

use std::{collections::BTreeSet, fs, path::PathBuf};

use sluicegate_tests::components::root;

const FILE_LINES_MAX: usize = 800;

/// A crate of ours, and the only ones of ours that it may depend on.
const CRATES: [(&str, &[&str]); 7] = [
    ("policies", &[]),
    ("audit", &[]),
    ("gateway/protect", &["policies"]),
    ("gateway/releases", &["policies", "protect"]),
    ("gateway/wire", &[]),
    ("gateway", &["policies", "audit", "protect", "releases", "wire"]),
    ("tests", &["audit", "wire"]),
];

/// Crates without files, network, clock and randomness of their own: no source of theirs has one of these words,
/// its tests aside.
const PURE: [&str; 4] =
    ["policies/src/", "gateway/protect/src/", "gateway/releases/src/", "gateway/wire/src/"];
const IMPURE: &str = "\
    fs File TcpStream TcpListener UdpSocket ToSocketAddrs env process tokio SystemTime \
    Instant getrandom OsRng SystemRandom";

/// The rooms of the gateway. Each may import those before it, so that there are no circles.
const ORDER: &str = "\
    ambient digests files keys members treatments watch config record classify contribute identify \
    telemetry decide deliver lineage request account flow release listen health simulate admin \
    service cli";

/// A crate, and the only places of the sources that know it.
const ROOMS: [(&str, &[&str]); 18] = [
    ("axum", &["gateway/src/listen/", "gateway/src/admin.rs"]),
    ("utoipa", &["gateway/src/listen/", "gateway/src/admin.rs"]),
    (
        "krafka",
        &["gateway/src/deliver/kafka.rs", "gateway/src/deliver/kafka/", "gateway/src/cli/bench"],
    ),
    ("hdrhistogram", &["gateway/src/cli/bench/load.rs"]),
    (
        "sqlx",
        &["audit/src/store/", "gateway/src/deliver/embedded.rs", "gateway/src/deliver/embedded/"],
    ),
    ("opendp", &["gateway/releases/src/noise.rs", "gateway/releases/src/audit/"]),
    ("reqwest", &["gateway/src/identify/jwks.rs", "gateway/src/cli/demo/"]),
    ("jsonwebtoken", &["gateway/src/identify/"]),
    ("flate2", &["gateway/src/listen/http/encoding.rs", "gateway/wire/src/compress.rs"]),
    ("ruzstd", &["gateway/src/listen/http/encoding.rs", "gateway/wire/src/compress.rs"]),
    ("snap", &["gateway/wire/src/compress.rs"]),
    ("lz4_flex", &["gateway/wire/src/compress.rs"]),
    ("crc32c", &["gateway/wire/src/batch.rs", "gateway/wire/src/batch/"]),
    ("stringprep", &["gateway/wire/src/sasl.rs"]),
    ("plotters", &["gateway/src/cli/plot.rs"]),
    ("nexmark", &["gateway/src/cli/demo/"]),
    ("indicatif", &["gateway/src/cli/demo/"]),
    ("clap", &["gateway/src/cli/"]),
];

/// Folders in which a document's path may begin.
const BASES: [&str; 9] = [
    "",
    "gateway/src",
    "gateway/protect/src",
    "gateway/releases/src",
    "gateway/wire/src",
    "policies/src",
    "audit/src",
    "docs",
    "docs/adr",
];

fn files(below: &str, extension: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(below)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found
}

fn sources() -> impl Iterator<Item = (String, String)> {
    let crates = [
        "gateway/src",
        "gateway/protect/src",
        "gateway/releases/src",
        "gateway/wire/src",
        "policies/src",
        "audit/src",
    ];
    crates.into_iter().flat_map(|below| files(below, "rs")).map(|path| {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    })
}

fn documents() -> Vec<(String, String)> {
    let mut paths = files("docs", "md");
    paths.extend(["README.md", "CONTRIBUTING.md"].map(|name| root().join(name)));
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    };
    paths.into_iter().map(read).collect()
}

/// Whether a source names a crate: in a `use`, or as the begin of a path.
fn knows(source: &str, name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':' || c == '.';
    source.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| {
        line.match_indices(&format!("{name}::"))
            .any(|(at, _)| !line.get(..at).is_some_and(|before| before.ends_with(word)))
    })
}

/// The code of a source: without comments, and without the tests at its end.
fn code(source: &str) -> String {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The product's sources, as code.
fn product() -> impl Iterator<Item = (String, String)> {
    let of_tests = ["/tests/", "/tests.rs", "releases/src/testing.rs", "releases/src/audit/"];
    sources()
        .filter(move |(file, _)| !of_tests.iter().any(|part| file.contains(part)))
        .map(|(file, source)| (file, code(&source)))
}

/// Our own crates that a manifest names.
fn ours(manifest: &str) -> BTreeSet<&str> {
    let named = manifest.lines().filter_map(|line| line.strip_prefix("sluicegate-"));
    named.map(|rest| rest.split(['.', ' ', '=']).next().unwrap()).collect()
}

/// The rooms that code of the gateway names behind `crate::`.
fn imports(code: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut rooms = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            rooms.insert(word(rest));
            continue;
        };
        let mut depth = 0;
        rooms.insert(word(group));
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => drop(rooms.insert(word(group.get(at + 1..).unwrap()))),
                _ => {}
            }
        }
    }
    rooms.remove("");
    rooms
}

/// Texts between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.starts_with("```"))
        .flat_map(|line| line.split('`').skip(1).step_by(2).filter(|quoted| !quoted.is_empty()))
}

#[test]
fn crates_stay_in_their_rooms() {
    let outside: Vec<String> = sources()
        .flat_map(|(file, source)| {
            let strays = ROOMS.into_iter().filter(|(name, rooms)| {
                !rooms.iter().any(|room| file.starts_with(room)) && knows(&source, name)
            });
            strays.map(|(name, _)| format!("{file} knows {name}")).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(outside, Vec::<String>::new());
    for (name, _) in ROOMS {
        assert!(sources().any(|(_, source)| knows(&source, name)), "nothing knows {name} any more");
    }
}

#[test]
fn a_planted_crate_is_seen() {
    assert!(knows("use axum::Router;", "axum"));
    assert!(knows("    let a = axum::Router::new();", "axum"));
    assert!(!knows("// axum::Router", "axum"));
    assert!(!knows("use my_axum::Router;", "axum"));
    assert!(!knows("use crate::axum::Router;", "axum"));
}

#[test]
fn crates_depend_on_what_they_may() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    for (folder, may) in CRATES {
        let manifest = read(&format!("{folder}/Cargo.toml"));
        let unwanted = ours(&manifest).into_iter().find(|found| !may.contains(found));
        assert_eq!(unwanted, None, "{folder}");
    }
    let workspace = read("Cargo.toml");
    let members = workspace.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    let members: BTreeSet<&str> = members.split('"').skip(1).step_by(2).collect();
    assert_eq!(members, CRATES.map(|(folder, _)| folder).into());
    assert!(ours("[dependencies]\nsluicegate-audit = { path = \"x\" }").contains("audit"));
    assert!(ours("sluicegate-gateway.workspace = true").contains("gateway"));
}

#[test]
fn pure_crates_are_pure() {
    let impure = |code: &str| {
        let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        words
            .find(|word| IMPURE.split_whitespace().any(|impure| impure == *word))
            .map(str::to_owned)
    };
    let mut looked = BTreeSet::new();
    for (file, code) in product() {
        let Some(pure) = PURE.into_iter().find(|folder| file.starts_with(folder)) else { continue };
        looked.insert(pure);
        assert_eq!(impure(&code), None, "{file}");
    }
    assert_eq!(looked, PURE.into());
    assert_eq!(impure(&code("let now = std::time::Instant::now();")), Some("Instant".to_owned()));
    assert_eq!(impure(&code("// std::fs\n#[cfg(test)]\nmod tests {\nuse std::fs;")), None);
}

#[test]
fn rooms_import_only_what_is_before_them() {
    let mut against = BTreeSet::new();
    let mut rooms = BTreeSet::new();
    let place = |room: &str| ORDER.split_whitespace().position(|known| known == room);
    for (file, code) in product() {
        let Some(room) = file.strip_prefix("gateway/src/") else { continue };
        let room = room.split('/').next().unwrap().trim_end_matches(".rs");
        if ["lib", "main"].contains(&room) {
            continue;
        }
        rooms.insert(room.to_owned());
        for import in imports(&code).into_iter().filter(|import| import != room) {
            assert!(place(&import).is_some(), "{file}: {import} is no room of ORDER");
            if place(&import) > place(room) {
                against.insert((room.to_owned(), import));
            }
        }
    }
    assert_eq!(rooms, ORDER.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>());
    assert_eq!(against, BTreeSet::new());
    let found = imports("use crate::{\n a::{b, c::d},\n e,\n};\nlet x = crate::f::g();");
    assert_eq!(found, ["a", "e", "f"].map(str::to_owned).into());
}

#[test]
fn files_are_short() {
    let long: Vec<String> = sources()
        .filter(|(_, source)| source.lines().count() > FILE_LINES_MAX)
        .map(|(file, source)| format!("{file}: {} lines", source.lines().count()))
        .collect();
    assert_eq!(long, Vec::<String>::new());
}

/// A text in backticks that looks like a file or folder of the sources.
fn is_path(text: &str) -> bool {
    let begins = ["gateway/", "policies/", "audit/", "migrations/", "tests/", "examples/", "docs/"];
    let source = text.contains('/') && text.ends_with(".rs");
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
    plain && (source || begins.iter().any(|begin| text.starts_with(begin)))
}

#[test]
fn paths_in_documents_are_there() {
    let mut missing = Vec::new();
    for (document, text) in documents() {
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|l| l.0));
        let links = links.filter(|link| !link.contains(':')).map(|l| l.split('#').next().unwrap());
        let beside = root().join(&document);
        let beside = beside.parent().unwrap();
        missing.extend(
            links
                .filter(|link| !beside.join(link).exists())
                .map(|link| format!("{document}: {link}")),
        );
        let paths = quoted(&text).filter(|text| is_path(text));
        let exists = |path: &&str| BASES.iter().any(|base| root().join(base).join(path).exists());
        missing
            .extend(paths.filter(|path| !exists(path)).map(|path| format!("{document}: `{path}`")));
    }
    assert_eq!(missing, Vec::<String>::new());
}

/// Every test that the table of kinds names is there.
#[test]
fn kinds_of_faults_have_their_tests() {
    let table = fs::read_to_string(root().join("tests/KINDS.md")).unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 20);
    let folders = ["tests/tests", "tests/src", "gateway", "policies", "audit"];
    let all: String = folders
        .into_iter()
        .flat_map(|below| files(below, "rs"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    for row in rows {
        let tests: Vec<&str> = quoted(row.split('|').nth(2).unwrap()).collect();
        assert!(!tests.is_empty(), "{row}");
        for test in tests {
            assert!(all.contains(&format!("fn {test}(")), "no test {test}");
        }
    }
}

/// The bounds of OPERATING are constants of the sources, by name.
#[test]
fn bounds_in_documents_are_constants() {
    let text = fs::read_to_string(root().join("docs/OPERATING.md")).unwrap();
    let all: String = sources().map(|(_, source)| source).collect();
    let constant = |text: &&str| {
        text.len() > 3
            && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
            && text.contains('_')
            && !text.starts_with("SLUICEGATE_")
    };
    let table = text.split("\n## Bounds").nth(1).unwrap();
    let named: BTreeSet<&str> = quoted(table).filter(constant).collect();
    assert!(named.len() > 20);
    let missing: Vec<&&str> =
        named.iter().filter(|name| !all.contains(&format!("const {name}:"))).collect();
    assert_eq!(missing, Vec::<&&str>::new());
}

/// Every metric is documented, and every documented one is registered.
#[test]
fn metrics_in_documents_are_registered() {
    let text = fs::read_to_string(root().join("docs/OPERATING.md")).unwrap();
    let documented: BTreeSet<String> = quoted(&text)
        .filter_map(|text| text.strip_prefix("sluicegate_"))
        .map(|name| name.split('{').next().unwrap())
        .map(|name| name.strip_suffix("_total").or(name.strip_suffix("_info")).unwrap_or(name))
        .filter(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        .filter(|name| !["audit", "app", "owner"].contains(name))
        .map(str::to_owned)
        .collect();
    let telemetry = fs::read_to_string(root().join("gateway/src/telemetry.rs")).unwrap();
    let registered: BTreeSet<String> = telemetry
        .split("r.register(")
        .skip(1)
        .map(|call| call.split('"').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(documented, registered);
}
