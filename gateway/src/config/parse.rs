//! YAML text to [`Config`], with every mistake at once.
//!
//! A YAML reader stops at the first mistake. So the text is cut at its top-level keys and each
//! section is read alone, with blank lines before it to keep the positions: one bad section does
//! not hide the others, and the semantic checks still run over the good ones.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use sluicegate_policies::nearest;

use super::{
    Config, Identify, KafkaFace, Keys, LedgerConfig, Limits, Listener, Mode, Region, Releases,
    Roles, check,
};

/// A configuration larger than this is refused.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// One mistake in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub file: PathBuf,
    /// 1-based; 0 when the mistake is about the whole file.
    pub line: u64,
    pub column: u64,
    pub message: String,
    pub help: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

/// Reads and checks a configuration file.
pub fn load(file: &Path) -> Result<Config, Vec<Mistake>> {
    load_as(file, None)
}

/// Reads and checks a configuration file, for the node of this name if one is given.
pub fn load_as(file: &Path, node: Option<String>) -> Result<Config, Vec<Mistake>> {
    let whole = |message: String, help: &str| {
        vec![Mistake {
            file: file.to_owned(),
            line: 0,
            column: 0,
            message,
            help: Some(help.to_owned()),
        }]
    };
    let size = std::fs::metadata(file).map(|m| m.len()).unwrap_or(0);
    if size > CONFIG_BYTES_MAX {
        return Err(whole(
            format!("larger than {CONFIG_BYTES_MAX} bytes"),
            "is it the right file?",
        ));
    }
    let text = std::fs::read_to_string(file).map_err(|e| {
        whole(format!("couldn't read the file: {e}"), "`sluicegate init DIR` writes a starter")
    })?;
    parse_as(&text, file, node)
}

/// Parses and checks a configuration text; `file` gives the name in messages and the folder that
/// relative paths are relative to.
pub fn parse(text: &str, file: &Path) -> Result<Config, Vec<Mistake>> {
    parse_as(text, file, None)
}

fn parse_as(text: &str, file: &Path, node: Option<String>) -> Result<Config, Vec<Mistake>> {
    let mut sections = Sections { file, found: cut(text), mistakes: Vec::new() };
    let mut draft = Draft::read(&mut sections);
    draft.node = node.or(draft.node);
    sections.refuse_unknown();
    let mut mistakes = sections.mistakes;
    let config = draft.complete(file, text, &mut mistakes);
    if let Some(config) = &config {
        check::semantics(config, file, text, &mut mistakes);
    }
    mistakes.sort_by_key(|m| (m.line, m.column));
    match config {
        Some(config) if mistakes.is_empty() => Ok(config.relative_to(file)),
        _ => Err(mistakes),
    }
}

/// The known sections, each read or absent.
struct Draft {
    mode: Option<Mode>,
    node: Option<String>,
    tenant: Option<String>,
    policies: Option<PathBuf>,
    keys: Option<Keys>,
    ledger: Option<LedgerConfig>,
    listen: Option<Listener>,
    admin: Option<Listener>,
    regions: Option<BTreeMap<String, Region>>,
    kafka: Option<BTreeMap<String, KafkaFace>>,
    identify: Option<Identify>,
    roles: Option<Roles>,
    limits: Option<Limits>,
    releases: Option<Releases>,
}

const SECTIONS: [&str; 14] = [
    "mode", "node", "tenant", "policies", "keys", "ledger", "listen", "admin", "regions", "kafka",
    "identify", "roles", "limits", "releases",
];

impl Draft {
    fn read(from: &mut Sections<'_>) -> Self {
        Self {
            mode: from.read("mode"),
            node: from.read("node"),
            tenant: from.read("tenant"),
            policies: from.read("policies"),
            keys: from.read("keys"),
            ledger: from.read("ledger"),
            listen: from.read("listen"),
            admin: from.read("admin"),
            regions: from.read("regions"),
            kafka: from.read("kafka"),
            identify: from.read("identify"),
            roles: from.read("roles"),
            limits: from.read("limits"),
            releases: from.read("releases"),
        }
    }

    /// All required sections, or none; sections that are absent (and not merely broken, which is
    /// said already) are named.
    fn complete(self, file: &Path, text: &str, mistakes: &mut Vec<Mistake>) -> Option<Config> {
        let present = cut(text);
        let named = self.node.is_some();
        let mut absent = |name: &str| {
            let given = name == "node" && named;
            if !given && !present.iter().any(|s| s.name == name) {
                mistakes.push(Mistake {
                    file: file.to_owned(),
                    line: 0,
                    column: 0,
                    message: format!("the section `{name}` is missing"),
                    help: Some("`sluicegate init DIR` writes a commented starter".to_owned()),
                });
            }
        };
        for name in ["node", "tenant", "policies", "keys", "ledger", "listen", "admin", "regions"] {
            absent(name);
        }
        Some(Config {
            digest: blake3::hash(text.as_bytes()).to_hex().to_string(),
            mode: self.mode.unwrap_or_default(),
            node: self.node?,
            tenant: self.tenant?,
            policies: self.policies?,
            keys: self.keys?,
            ledger: self.ledger?,
            listen: self.listen?,
            admin: self.admin?,
            regions: self.regions?,
            kafka: self.kafka.unwrap_or_default(),
            identify: self.identify.unwrap_or_default(),
            roles: self.roles.unwrap_or_default(),
            limits: self.limits.unwrap_or_default(),
            releases: self.releases.unwrap_or_default(),
        })
    }
}

/// A top-level key and the text from its line to the next top-level key.
struct Section<'t> {
    name: &'t str,
    line: usize,
    text: String,
}

struct Sections<'t> {
    file: &'t Path,
    found: Vec<Section<'t>>,
    mistakes: Vec<Mistake>,
}

/// A document of exactly one key.
struct Only<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Only<T> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<String, T>::deserialize(d)?;
        let mut values = map.into_values();
        match (values.next(), values.next()) {
            (Some(only), None) => Ok(Self(only)),
            _ => Err(serde::de::Error::custom("expected a single section")),
        }
    }
}

impl Sections<'_> {
    fn read<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let mut of_name = self.found.iter().filter(|s| s.name == name);
        let section = of_name.next()?;
        if let Some(second) = of_name.next() {
            let message = format!("`{name}` is repeated");
            let mistake = self.mistake(second.line, 1, message, None);
            self.mistakes.push(mistake);
        }
        match serde_saphyr::from_str::<Only<T>>(&section.text) {
            Ok(Only(value)) => Some(value),
            Err(error) => {
                let (line, column) = error
                    .location()
                    .map_or((section.line, 1), |at| (at.line() as usize, at.column()));
                let (message, help) = say(&error.without_snippet().to_string());
                let mistake = self.mistake(line, column, message, help);
                self.mistakes.push(mistake);
                None
            }
        }
    }

    fn refuse_unknown(&mut self) {
        let unknown: Vec<Mistake> = self
            .found
            .iter()
            .filter(|s| !SECTIONS.contains(&s.name))
            .map(|s| {
                let help = nearest(s.name, SECTIONS).map(|n| format!("did you mean `{n}`?"));
                self.mistake(s.line, 1, format!("unknown section `{}`", s.name), help)
            })
            .collect();
        self.mistakes.extend(unknown);
    }

    fn mistake(&self, line: usize, column: u64, message: String, help: Option<String>) -> Mistake {
        Mistake { file: self.file.to_owned(), line: line as u64, column, message, help }
    }
}

/// Cuts a text at its top-level keys. A section's text starts with as many blank lines as stand
/// before it in the file.
fn cut(text: &str) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let name = line
            .split_once(':')
            .map(|(name, _)| name)
            .filter(|name| !name.starts_with([' ', '\t', '#', '-']) && !name.is_empty());
        if let Some(name) = name {
            let text = "\n".repeat(index);
            sections.push(Section { name: name.trim(), line: index + 1, text });
        }
        if let Some(section) = sections.last_mut() {
            section.text.push_str(line);
            section.text.push('\n');
        }
    }
    sections
}

/// The reader's message without its position (given separately), and a help from it: serde lists
/// the expected names behind an unknown one.
fn say(message: &str) -> (String, Option<String>) {
    let message = message.split(" at line ").next().unwrap_or(message);
    let message = message.split("\n").next().unwrap_or(message).trim().to_owned();
    let unknown = message.split('`').nth(1);
    let expected = message.split_once("expected one of ").map(|(_, names)| names);
    let help = unknown.zip(expected).and_then(|(unknown, expected)| {
        let names = expected.split(", ").map(|name| name.trim_matches('`'));
        nearest(unknown, names).map(|name| format!("did you mean `{name}`?"))
    });
    (message, help)
}

#[cfg(test)]
mod tests;
