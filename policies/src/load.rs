//! From sources to documents: YAML, envelope, shape, types. Reports all mistakes it can see.

use std::sync::LazyLock;

use serde::de::DeserializeOwned;

use crate::{
    diagnostic::Findings,
    document::{API_VERSION, Document, Schemas, Spec},
    source::Span,
    yaml::{self, Content, Node, Shape},
};

/// Files in one bundle.
const SOURCES_MAX: usize = 4_096;
/// The keys that every document may have; the others belong to its kind.
const ENVELOPE_KEYS: [&str; 7] =
    ["apiVersion", "kind", "metadata", "because", "effective", "mode", "review-by"];

static SCHEMAS: LazyLock<Schemas> = LazyLock::new(Schemas::new);

/// The documents of a bundle, as far as they could be read.
pub(crate) struct Loaded {
    pub(crate) documents: Vec<Document>,
    /// A document that others refer to could not be read: looking up names would only repeat that.
    pub(crate) terms_missing: bool,
}

pub(crate) fn load(findings: &mut Findings<'_>) -> Loaded {
    let mut loaded = Loaded { documents: Vec::new(), terms_missing: false };
    let sources = findings.sources();
    if sources.len() > SOURCES_MAX {
        findings.error(Span::default(), format!("a bundle has at most {SOURCES_MAX} files"));
        return loaded;
    }
    for (file, source) in (0..).zip(sources) {
        let before = findings.errors();
        let nodes = yaml::documents(file, source, findings);
        loaded.terms_missing |= findings.errors() > before;
        if nodes.is_empty() && findings.errors() == before {
            let top = Span { file, start: 0, end: 0 };
            findings.warning(top, "this file contains no document");
        }
        for node in &nodes {
            match document(node, findings) {
                Ok(d) => loaded.documents.push(d),
                Err(kind) => loaded.terms_missing |= !matches!(kind, Kind::Rule),
            }
        }
    }
    loaded
}

/// What could not be read.
enum Kind {
    /// A rule or a test, which nothing refers to.
    Rule,
    /// Something that others may refer to.
    Term,
}

fn document(node: &Node, findings: &mut Findings<'_>) -> Result<Document, Kind> {
    let kind = kind(node, findings).ok_or(Kind::Term)?;
    let failed = if kind.ends_with("Rule") || kind == "Test" { Kind::Rule } else { Kind::Term };
    let before = findings.errors();
    if let Some(schema) = SCHEMAS.of(kind) {
        Shape::new(schema).check(node, findings);
    }
    if findings.errors() > before {
        return Err(failed);
    }
    let read = split(node).and_then(|(envelope, spec)| {
        let span = node.get("metadata").and_then(|m| m.get("name")).map_or(node.span, |n| n.span);
        Ok(Document { envelope: read(&envelope)?, span, spec: spec_of(kind, &spec)? })
    });
    read.map_err(|(message, span)| {
        findings.error(span, message);
        failed
    })
}

type Unfit = (String, Span);

fn read<T: DeserializeOwned>(node: &Node) -> Result<T, Unfit> {
    yaml::decode(node).map_err(|e| (e.message, e.span.unwrap_or(node.span)))
}

fn spec_of(kind: &str, node: &Node) -> Result<Spec, Unfit> {
    Ok(match kind {
        "Vocabulary" => Spec::Vocabulary(read(node)?),
        "Purpose" => Spec::Purpose(read(node)?),
        "Dataset" => Spec::Dataset(read(node)?),
        "TokenDomain" => Spec::TokenDomain(read(node)?),
        "AccessRule" => Spec::AccessRule(read(node)?),
        "ProtectionRule" => Spec::ProtectionRule(read(node)?),
        "TransferRule" => Spec::TransferRule(read(node)?),
        "Release" => Spec::Release(read(node)?),
        _ => Spec::Test(read(node)?),
    })
}

/// Checks version and kind, without which nothing else can be said.
fn kind(node: &Node, findings: &mut Findings<'_>) -> Option<&'static str> {
    if node.is_null() {
        findings.error(node.span, "this document is empty").help("remove the extra `---`");
        return None;
    }
    if node.mapping().is_none() {
        findings
            .error(node.span, "a document is a mapping that starts with `apiVersion` and `kind`")
            .help(format!("start with `apiVersion: {API_VERSION}`"));
        return None;
    }
    let version = node.get("apiVersion").and_then(|n| Some((n.span, n.scalar()?)));
    match version {
        Some((_, API_VERSION)) => {}
        Some((span, other)) => {
            findings
                .error(span, format!("`{other}` is not a supported version of the language"))
                .help(format!("write `apiVersion: {API_VERSION}`"));
            return None;
        }
        None => {
            findings
                .error(node.span, "the key `apiVersion` is missing")
                .help(format!("start with `apiVersion: {API_VERSION}`"));
            return None;
        }
    }
    let Some((span, word)) = node.get("kind").and_then(|n| Some((n.span, n.scalar()?))) else {
        findings.error(node.span, "the key `kind` is missing").help(all_kinds());
        return None;
    };
    let known = SCHEMAS.kinds().find(|k| *k == word);
    if known.is_none() {
        findings.error(span, format!("`{word}` is not a kind of document")).did_you_mean(
            word,
            SCHEMAS.kinds(),
            &all_kinds(),
        );
    }
    known
}

fn all_kinds() -> String {
    let kinds: Vec<_> = SCHEMAS.kinds().map(|k| format!("`{k}`")).collect();
    format!("kinds are {}", kinds.join(", "))
}

/// Envelope and contents of one document.
fn split(node: &Node) -> Result<(Node, Node), Unfit> {
    let entries = node.mapping().unwrap_or_default().iter().cloned();
    let (envelope, spec) =
        entries.partition(|(k, _)| k.scalar().is_some_and(|k| ENVELOPE_KEYS.contains(&k)));
    let part = |entries| Node { span: node.span, content: Content::Mapping(entries) };
    Ok((part(envelope), part(spec)))
}
