//! From text to located nodes. Everything of YAML that could surprise an author, or blow up in a
//! reader, ends here: anchors, aliases, tags, directives, duplicate keys, depth and size.

use std::collections::BTreeMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, options};

use crate::{
    diagnostic::Findings,
    source::{Source, Span},
};

/// A policy file larger than this is refused unread.
const FILE_BYTES_MAX: usize = 4 << 20;
/// Nodes (scalars, lists, mappings) in one file.
const NODES_MAX: usize = 200_000;
/// Lists and mappings inside each other.
const DEPTH_MAX: usize = 32;
/// What word processors make of quotation marks. To YAML they are text.
const TYPOGRAPHIC_QUOTES: [char; 12] = ['“', '”', '„', '‟', '‘', '’', '‚', '‛', '«', '»', '‹', '›'];

/// A YAML node and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) content: Content,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    /// The text after YAML's escapes; `plain` when it had no quotes.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

impl Node {
    pub(crate) fn scalar(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Nothing at all, `~` or `null`, without quotes.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    pub(crate) fn mapping(&self) -> Option<&[(Node, Node)]> {
        match &self.content {
            Content::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value under a key of a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.mapping()?.iter().find(|(k, _)| k.scalar() == Some(key)).map(|(_, v)| v)
    }
}

/// The documents of one file. What cannot be read is reported; what came before it is returned.
pub(crate) fn documents(file: u32, source: &Source, findings: &mut Findings<'_>) -> Vec<Node> {
    let top = Span { file, start: 0, end: 0 };
    if source.text.len() > FILE_BYTES_MAX {
        findings
            .error(top, format!("this file is larger than {} MiB", FILE_BYTES_MAX >> 20))
            .help("split it: a bundle may have many files");
        return Vec::new();
    }
    let mut builder = Builder {
        file,
        text: &source.text,
        open: Vec::new(),
        done: Vec::new(),
        nodes: 0,
        broken_by_alias: false,
    };
    builder.read(findings);
    builder.done
}

/// A list or mapping whose end has not been seen.
struct Open {
    node: Node,
    key: Option<Node>,
}

struct Builder<'s> {
    file: u32,
    text: &'s str,
    open: Vec<Open>,
    done: Vec<Node>,
    nodes: usize,
    /// What comes after is no mistake of its own.
    broken_by_alias: bool,
}

impl Builder<'_> {
    fn read(&mut self, findings: &mut Findings<'_>) {
        let options = options! {
            emit_unresolved_aliases: true,
            disallow_directives: true,
            emit_comments: false,
            flow_nesting_limit: 2 * DEPTH_MAX,
            block_nesting_limit: 2 * DEPTH_MAX,
        };
        for next in Parser::new_from_str_with_options(self.text, options) {
            let (event, span) = match next {
                Ok((event, span)) => (event, self.span(span.byte_range())),
                Err(_) if self.broken_by_alias => return,
                Err(e) => return self.unreadable(&e, findings),
            };
            self.event(event, span, findings);
            if self.open.len() > DEPTH_MAX {
                findings.error(span, format!("lists and mappings nest deeper than {DEPTH_MAX}"));
                return;
            }
            if self.nodes > NODES_MAX {
                findings
                    .error(span, format!("this file has more than {NODES_MAX} values"))
                    .help("split it: a bundle may have many files");
                return;
            }
        }
    }

    fn span(&self, range: Option<std::ops::Range<usize>>) -> Span {
        let bytes = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let range = range.unwrap_or(self.text.len()..self.text.len());
        Span { file: self.file, start: bytes(range.start), end: bytes(range.end) }
    }

    fn event(&mut self, event: Event<'_>, span: Span, findings: &mut Findings<'_>) {
        if event.anchor_id().is_some_and(|id| id != 0) && event.is_node() && !event.is_alias() {
            refuse_anchor(span, findings);
        }
        if event.tag().is_some() {
            findings.error(span, "YAML tags (`!`) are not part of the policy language");
        }
        match event {
            Event::Scalar(text, style, ..) => {
                let plain = style == ScalarStyle::Plain;
                if plain && text.starts_with(TYPOGRAPHIC_QUOTES) {
                    findings
                        .error(span, "typographic quotes are part of the text: they quote nothing")
                        .help("write straight ones: `\"` or `'`");
                }
                self.put(Node {
                    span,
                    content: Content::Scalar { text: text.into_owned(), plain },
                });
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => self.alias(span, findings),
            Event::SequenceStart(..) => self.start(span, Content::List(Vec::new())),
            Event::MappingStart(..) => self.start(span, Content::Mapping(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => self.end(findings),
            _ => {}
        }
    }

    fn alias(&mut self, mut span: Span, findings: &mut Findings<'_>) {
        let token = self.text.get(span.start as usize..span.end as usize).unwrap_or("*");
        // To YAML the colon after a key belongs to the alias, and the rest of the file breaks.
        let written = token.trim_end_matches(':');
        span.end -= u32::from(token.len() > written.len());
        self.broken_by_alias |= token.len() > written.len();
        findings
            .error(
                span,
                format!("`{written}` is a YAML alias, which the policy language does not support"),
            )
            .help(format!("a path that starts with `*` must be quoted: `\"{written}\"`"));
        let content = Content::Scalar { text: written.to_owned(), plain: false };
        self.put(Node { span, content });
    }

    fn start(&mut self, span: Span, content: Content) {
        self.open.push(Open { node: Node { span, content }, key: None });
    }

    fn end(&mut self, findings: &mut Findings<'_>) {
        let Some(Open { mut node, .. }) = self.open.pop() else { return };
        if let Content::Mapping(entries) = &mut node.content {
            refuse_duplicates(entries, findings);
        }
        // A block has no brackets to underline: its first word stands for it.
        let first = match &node.content {
            Content::Mapping(entries) => entries.first().map(|(k, _)| k.span),
            Content::List(items) => items.first().map(|n| n.span),
            Content::Scalar { .. } => None,
        };
        node.span = first.unwrap_or(node.span);
        self.put(node);
    }

    fn put(&mut self, node: Node) {
        self.nodes += 1;
        let Some(Open { node: parent, key }) = self.open.last_mut() else {
            self.done.push(node);
            return;
        };
        match &mut parent.content {
            Content::List(items) => items.push(node),
            Content::Mapping(entries) => match key.take() {
                Some(k) => entries.push((k, node)),
                None => *key = Some(node),
            },
            Content::Scalar { .. } => {}
        }
    }

    fn unreadable(&self, error: &ScanError, findings: &mut Findings<'_>) {
        let at = error.marker().byte_offset().unwrap_or(self.text.len()).min(self.text.len());
        let span = self.span(Some(at..at));
        let before = self.text.get(..at).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |n| n + 1);
        let lines = self.text.get(start..).unwrap_or_default();
        // A line may be continued by the next one, whose tab is then found at the first one's end.
        let mut starts =
            [Some(start), lines.find('\n').map(|n| start + n + 1)].into_iter().flatten();
        let tab = starts.find_map(|start| {
            let line = self.text.get(start..)?.lines().next()?;
            let indent = line.len() - line.trim_start().len();
            Some(start + line.get(..indent)?.find('\t')?)
        });
        if let Some(at) = tab {
            let message = "YAML cannot be indented with tabs";
            findings.error(self.span(Some(at..at + 1)), message).help("indent with spaces");
            return;
        }
        let what = error.info();
        let note = findings.error(span, format!("this is not YAML: {what}"));
        let line = lines.lines().next().unwrap_or_default().trim_start();
        let help = if line.starts_with('*') {
            "put a path that starts with `*` in quotes"
        } else if what.starts_with("mapping values") {
            "keys of one mapping start in the same column, and text with `: ` in it needs quotes"
        } else if what.contains("flow ") {
            "a `{` or `[` before this is not closed"
        } else {
            return;
        };
        note.help(help);
    }
}

fn refuse_anchor(span: Span, findings: &mut Findings<'_>) {
    findings
        .error(span, "YAML anchors (`&`) are not part of the policy language")
        .help("write the value out, or name it in a `Vocabulary`");
}

/// Reports repeated keys; the first is kept, so that one mistake is reported once.
fn refuse_duplicates(entries: &mut Vec<(Node, Node)>, findings: &mut Findings<'_>) {
    let mut seen: BTreeMap<String, Span> = BTreeMap::new();
    // What comes after is another document, and its keys are no mistakes.
    let mut merged = false;
    entries.retain(|(key, _)| {
        let Some(text) = key.scalar() else {
            findings.error(key.span, "a key must be a single word or text");
            return false;
        };
        if text == "<<" {
            findings.error(key.span, "merge keys (`<<`) are not part of the policy language");
            return false;
        }
        let first = seen.get(text).copied();
        if let (Some(first), "apiVersion") = (first, text) {
            findings
                .error(key.span, "another document begins here within this one")
                .help("separate the two with a line `---`")
                .related(first, "the other one begins here");
            merged = true;
        } else if let Some(first) = first.filter(|_| !merged) {
            findings
                .error(key.span, format!("the key `{text}` is repeated here"))
                .related(first, "it was already written here");
        }
        seen.entry(text.to_owned()).or_insert(key.span);
        first.is_none()
    });
}
