//! Looks for protected strings in whatever the gateway wrote: in clear and in the disguises in which a
//! string survives a careless encoder. A search that finds nothing proves something only because the same
//! search finds a canary that was planted; the tests below plant one in every form.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use aho_corasick::{AhoCorasick, MatchKind};
use base64::{
    Engine as _,
    alphabet::{Alphabet, STANDARD, URL_SAFE},
    engine::{GeneralPurpose, GeneralPurposeConfig},
};

/// Below this a base64 fragment turns up in random data by chance.
const SHORTEST_BASE64: usize = 7;

/// How the string was disguised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    Clear,
    Hex,
    UrlEscaped,
    JsonEscaped,
    Base64,
}

/// One place where a protected string shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub place: String,
    pub at: usize,
    pub form: Form,
    pub string: String,
}

/// A set of protected strings, ready to search for.
pub struct Search {
    strings: Vec<String>,
    /// Clear text, hex and escapes: upper and lower case are the same leak.
    folded: Automaton,
    /// Base64, where case is meaning.
    exact: Automaton,
}

struct Automaton {
    automaton: AhoCorasick,
    /// What each pattern stands for: the string's index and its form.
    means: Vec<(usize, Form)>,
}

impl Search {
    /// # Panics
    /// On an empty string, which is everywhere.
    pub fn new(strings: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let strings: Vec<String> = strings.into_iter().map(Into::into).collect();
        assert!(strings.iter().all(|string| !string.is_empty()), "an empty string is everywhere");
        let (mut folded, mut exact) = (Vec::new(), Vec::new());
        for (index, string) in strings.iter().enumerate() {
            folded.extend(escapes(string).into_iter().map(|(form, text)| (text, index, form)));
            exact.extend(base64_forms(string).into_iter().map(|text| (text, index, Form::Base64)));
        }
        Self { folded: automaton(folded, true), exact: automaton(exact, false), strings }
    }

    /// Every place in these bytes where one of the strings shows; `place` names them in the findings.
    pub fn bytes(&self, place: &str, bytes: &[u8]) -> Vec<Finding> {
        let mut found = BTreeSet::new();
        for Automaton { automaton, means } in [&self.folded, &self.exact] {
            for hit in automaton.find_overlapping_iter(bytes) {
                let (string, form) = means[hit.pattern().as_usize()];
                let string = self.strings[string].clone();
                found.insert(Finding { place: place.into(), at: hit.start(), form, string });
            }
        }
        found.into_iter().collect()
    }

    pub fn file(&self, path: &Path) -> Vec<Finding> {
        let bytes =
            fs::read(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
        self.bytes(&path.display().to_string(), &bytes)
    }

    /// Every file below a folder, names of files and folders included; `skip` says which to leave out, like
    /// the input itself.
    pub fn dir(&self, dir: &Path, skip: &dyn Fn(&Path) -> bool) -> Vec<Finding> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            if skip(&path) {
                continue;
            }
            let name = entry.file_name();
            found.extend(
                self.bytes(&format!("name of {}", path.display()), name.as_encoded_bytes()),
            );
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => found.extend(self.dir(&path, skip)),
                kind if kind.is_file() => found.extend(self.file(&path)),
                _other => {}
            }
        }
        found
    }
}

/// Fails with the first findings if there are any.
pub fn assert_none(findings: &[Finding]) {
    let mut text = String::new();
    for Finding { place, at, form, string } in findings.iter().take(20) {
        writeln!(text, "  `{string}` ({form:?}) at byte {at} of {place}").unwrap();
    }
    assert!(findings.is_empty(), "{} protected strings show:\n{text}", findings.len());
}

fn automaton(patterns: Vec<(String, usize, Form)>, fold: bool) -> Automaton {
    let means = patterns.iter().map(|(_, index, form)| (*index, *form)).collect();
    let automaton = AhoCorasick::builder()
        .ascii_case_insensitive(fold)
        .match_kind(MatchKind::Standard)
        .build(patterns.iter().map(|(text, _, _)| text))
        .unwrap();
    Automaton { automaton, means }
}

/// The string in clear and in each escape that changes it.
fn escapes(string: &str) -> BTreeSet<(Form, String)> {
    let mut forms = BTreeSet::from([(Form::Clear, string.to_owned()), (Form::Hex, hex(string))]);
    let reserved = |byte: u8| !(byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    let lenient = |byte: u8| reserved(byte) && !b"@:!$&'()*+,;=/?".contains(&byte);
    let urls = [
        percent(string, &reserved),
        percent(string, &lenient),
        percent(string, &|_| true),
        percent(string, &reserved).replace("%20", "+"),
    ];
    forms.extend(urls.map(|text| (Form::UrlEscaped, text)));
    let short = json(string, false);
    let slashed = short.replace('/', "\\/");
    forms.extend(
        [short, slashed, json(string, true), every_unit(string)]
            .map(|text| (Form::JsonEscaped, text)),
    );
    // What an escape left as it was is clear text already.
    forms.retain(|(form, text)| *form == Form::Clear || text != string);
    forms
}

fn hex(string: &str) -> String {
    string.bytes().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn percent(string: &str, escape: &dyn Fn(u8) -> bool) -> String {
    let mut bytes = Vec::new();
    for byte in string.bytes() {
        if escape(byte) {
            bytes.extend(format!("%{byte:02X}").bytes());
        } else {
            bytes.push(byte);
        }
    }
    // Only a lenient escape could leave a byte of a longer character alone, and none does.
    String::from_utf8(bytes).unwrap()
}

/// As a JSON writer puts it between quotes; `ascii`: with everything beyond ASCII as `\uXXXX`.
fn json(string: &str, ascii: bool) -> String {
    let quoted = serde_json::to_string(string).unwrap();
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap();
    inner.chars().map(|c| if ascii && !c.is_ascii() { units(c) } else { c.to_string() }).collect()
}

fn every_unit(string: &str) -> String {
    string.chars().map(units).collect()
}

fn units(c: char) -> String {
    c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
}

/// What is the same in the base64 of every text around the string: at each of the three alignments the
/// characters that depend on the string alone.
fn base64_forms(string: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    for alphabet in [&STANDARD, &URL_SAFE] {
        for before in 0..3 {
            forms.extend(base64_at(alphabet, string, before));
        }
    }
    forms
}

fn base64_at(alphabet: &Alphabet, string: &str, before: usize) -> Option<String> {
    let engine =
        GeneralPurpose::new(alphabet, GeneralPurposeConfig::new().with_encode_padding(false));
    let text = engine.encode([vec![0; before], string.as_bytes().to_vec()].concat());
    // A character holds six bits; it counts if all six come from the string.
    let first = (before * 8).div_ceil(6);
    let last = (before + string.len()) * 8 / 6;
    let inner = text.get(first..last)?;
    (inner.len() >= SHORTEST_BASE64).then(|| inner.to_owned())
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};

    use super::*;

    const CANARY: &str = "mona.lisa+1@example.com";

    fn forms_in(text: impl AsRef<[u8]>, canary: &str) -> Vec<Form> {
        let findings = Search::new([canary]).bytes("here", text.as_ref());
        findings.into_iter().map(|finding| finding.form).collect()
    }

    #[test]
    fn finds_a_canary_in_every_form() {
        for (text, form) in [
            (CANARY.to_owned(), Form::Clear),
            (CANARY.to_uppercase(), Form::Clear),
            (hex(CANARY), Form::Hex),
            (hex(CANARY).to_uppercase(), Form::Hex),
            ("mona.lisa%2B1%40example.com".into(), Form::UrlEscaped),
            ("mona.lisa%2b1%40example.com".into(), Form::UrlEscaped),
            (percent(CANARY, &|_| true), Form::UrlEscaped),
            (every_unit(CANARY), Form::JsonEscaped),
        ] {
            assert_eq!(forms_in(format!("before {text} after"), CANARY), [form], "{text}");
        }
    }

    #[test]
    fn finds_it_in_base64_wherever_it_starts() {
        for before in ["", "a", "ab", "abc", "abcd"] {
            let around = format!("{before}{CANARY} and more");
            for text in [BASE64.encode(&around), URL_SAFE_NO_PAD.encode(&around)] {
                assert_eq!(forms_in(&text, CANARY), [Form::Base64], "{text}");
            }
        }
    }

    #[test]
    fn finds_what_json_escapes() {
        let canary = "Zoë \"Z\" Müller/Ødegård";
        for text in [
            r#"Zoë \"Z\" Müller/Ødegård"#,
            r#"Zoë \"Z\" Müller\/Ødegård"#,
            r#"Zo\u00eb \"Z\" M\u00FCller/\u00d8deg\u00e5rd"#,
        ] {
            assert_eq!(forms_in(text, canary), [Form::JsonEscaped], "{text}");
        }
    }

    #[test]
    fn finds_nothing_where_nothing_is() {
        let text = "tok.v1.mona.lisa at example dot com, bW9uYS5s".repeat(100);
        assert_eq!(forms_in(text, CANARY), []);
    }

    #[test]
    fn searches_folders_and_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("below");
        fs::create_dir(&below).unwrap();
        fs::write(
            below.join("plain.db"),
            [b"\0\x01 octocat-9000 \xff".as_slice(), &[0; 99]].concat(),
        )
        .unwrap();
        fs::write(below.join("octocat-9000.log"), "nothing").unwrap();
        fs::write(below.join("input.json"), "octocat-9000").unwrap();
        let search = Search::new(["octocat-9000", "absent-canary"]);
        let findings = search.dir(dir.path(), &|path| path.ends_with("input.json"));
        let mut places: Vec<&str> =
            findings.iter().map(|f| f.place.rsplit('/').next().unwrap()).collect();
        places.sort_unstable();
        assert_eq!(places, ["octocat-9000.log", "plain.db"]);
        assert_eq!(findings.iter().map(|f| f.at).max(), Some(3));
    }
}
