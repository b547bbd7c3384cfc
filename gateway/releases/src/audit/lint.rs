//! No floating point between totals and published bytes, looked for in the sources themselves.

use std::{fs, path::Path};

/// Lines that say `// float: …` are the allowed ones, and only `noise.rs` has them: where opendp
/// takes a scale, and where its privacy map is compared.
const ALLOWED: usize = 10;

/// The code of a file: without comments, without what follows `#[cfg(test)]` on a module.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let lines = code.lines().enumerate();
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Whether a line uses floating point: its types, a literal, or a conversion to it.
fn floats(line: &str) -> bool {
    let line = line.split("// float").next().unwrap_or(line);
    let unquoted: String = line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"");
    let literal = unquoted
        .as_bytes()
        .windows(3)
        .any(|w| w[0].is_ascii_digit() && w[1] == b'.' && w[2].is_ascii_digit());
    literal || unquoted.contains("f64") || unquoted.contains("f32")
}

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match () {
            () if path.is_dir() && name != "audit" && name != "tests" => sources(&path, found),
            () if name.ends_with(".rs") && name != "tests.rs" && name != "testing.rs" => {
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
            () => {}
        }
    }
}

/// What the check finds in these files, and how many lines are allowed by their mark.
fn check(files: &[(String, String)]) -> (Vec<String>, usize) {
    let (mut found, mut allowed) = (Vec::new(), 0);
    for (name, text) in files {
        for (at, line) in code(text).filter(|(_, line)| floats(line)) {
            if name == "noise.rs" && line.contains("// float: ") {
                allowed += 1;
            } else {
                found.push(format!("{name}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    (found, allowed)
}

#[test]
fn no_floating_point_between_totals_and_bytes() {
    let mut files = Vec::new();
    sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut files);
    assert!(files.len() >= 5, "the sources are where they were");
    let (found, allowed) = check(&files);
    assert!(found.is_empty(), "floating point in the crate:\n{}", found.join("\n"));
    assert_eq!(allowed, ALLOWED, "the allowed lines are counted; this number only goes down");
}

#[test]
fn the_check_sees_what_it_should() {
    let of = |text: &str| check(&[("select.rs".to_owned(), text.to_owned())]).0.len();
    assert_eq!(of("let x = total as f64;"), 1);
    assert_eq!(of("let x = total as f64; // float: no such right here"), 1);
    assert_eq!(of("let x = 0.5;"), 1);
    assert_eq!(of("scale.as_f64()"), 1);
    assert_eq!(of("// an f64 in words, and 0.5\nlet s = \"0.5 f64\";"), 0);
    assert_eq!(of("let x = pair.0.1;"), 1, "strict: such a line is written otherwise");
    assert_eq!(of("#[cfg(test)]\nmod tests { let x = 0.5; }"), 0);
    let noise = |text: &str| check(&[("noise.rs".to_owned(), text.to_owned())]);
    assert_eq!(noise("let x = 0.5; // float: why"), (vec![], 1));
    assert_eq!(noise("let x = 0.5;").0.len(), 1);
}
