//! What the compiler says to an author: where, what is wrong, and what to do about it.
//!
//! Messages are part of the product: lower case, no full stop, the author's words in backticks,
//! never one of our type names. Their text is tested.

use std::fmt;

use serde::Serialize;

use crate::source::{Source, Span};

/// Names longer than this get no suggestion: comparing them costs more than it helps.
const SUGGESTION_CHARS_MAX: usize = 96;
/// Beyond this many findings of one bundle the rest is counted, not listed.
const DIAGNOSTICS_MAX: usize = 500;

/// Whether a finding stops the bundle from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The bundle does not compile.
    Error,
    /// The bundle compiles; someone should look.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One finding, with its place in the author's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Whether it stops the bundle.
    pub severity: Severity,
    /// The file, as the caller named it.
    pub path: String,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// The text that is underlined; only its first line.
    pub text: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Other places that belong to the finding: the second of two rules that contradict, say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Related>,
}

/// A second place of a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Related {
    /// The file, as the caller named it.
    pub path: String,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// The text that is underlined; only its first line.
    pub text: String,
    /// What is there.
    pub message: String,
}

impl Diagnostic {
    /// The finding as a person reads it in a terminal: place, message, the line with the text
    /// underlined, and the help line.
    pub fn render(&self, sources: &[Source]) -> String {
        let head = format!(
            "{}:{}:{}: {}: {}\n",
            self.path, self.line, self.column, self.severity, self.message
        );
        let mut out = head + &excerpt(sources, &self.path, self.line, self.column, &self.text);
        for r in &self.related {
            out += &format!("{}:{}:{}: note: {}\n", r.path, r.line, r.column, r.message);
            out += &excerpt(sources, &r.path, r.line, r.column, &r.text);
        }
        if let Some(help) = &self.help {
            out += &format!("help: {help}\n");
        }
        out
    }
}

/// The line with the text underlined; nothing when the caller gave other sources.
fn excerpt(sources: &[Source], path: &str, line: u32, column: u32, text: &str) -> String {
    let Some(shown) = sources
        .iter()
        .find(|s| s.path == path)
        .and_then(|s| s.text.lines().nth(line.saturating_sub(1) as usize))
    else {
        return String::new();
    };
    let gutter = " ".repeat(line.to_string().len());
    // Tabs count as one character in the column, so they must be as wide in the indentation.
    let indent: String = shown
        .chars()
        .take(column.saturating_sub(1) as usize)
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    let carets = "^".repeat(text.chars().count().max(1));
    format!("{gutter} |\n{line} | {shown}\n{gutter} | {indent}{carets}\n")
}

/// All findings of one bundle, in the order of files and lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Errors and warnings, sorted by place.
    pub diagnostics: Vec<Diagnostic>,
    /// Findings beyond the bound of 500, which are counted but not listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub omitted: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl Report {
    /// Whether the bundle cannot be used.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }

    /// Whether someone should look at something.
    pub fn has_warnings(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Warning)
    }

    /// Every finding as [`Diagnostic::render`] shows it, with a blank line between.
    pub fn render(&self, sources: &[Source]) -> String {
        let mut blocks: Vec<String> = self.diagnostics.iter().map(|d| d.render(sources)).collect();
        if self.omitted > 0 {
            blocks.push(format!("and {} more findings\n", self.omitted));
        }
        blocks.join("\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for d in &self.diagnostics {
            writeln!(f, "{}:{}:{}: {}: {}", d.path, d.line, d.column, d.severity, d.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

/// Collects findings while the compiler continues, so that an author sees all mistakes at once.
pub(crate) struct Findings<'s> {
    sources: &'s [Source],
    found: Vec<(Span, Diagnostic)>,
    errors: usize,
    omitted: usize,
    /// Words in a former spelling: where, and what is written now.
    respelled: Vec<(Span, &'static str, &'static str)>,
    /// Where findings beyond the bound go.
    spill: Diagnostic,
}

impl<'s> Findings<'s> {
    pub(crate) fn new(sources: &'s [Source]) -> Self {
        let spill = located(sources, Span::default(), Severity::Warning, String::new());
        Self { sources, found: Vec::new(), errors: 0, omitted: 0, respelled: Vec::new(), spill }
    }

    pub(crate) fn sources(&self) -> &'s [Source] {
        self.sources
    }

    pub(crate) fn error(&mut self, span: Span, message: impl Into<String>) -> Note<'_> {
        self.errors += 1;
        self.push(span, Severity::Error, message.into())
    }

    pub(crate) fn warning(&mut self, span: Span, message: impl Into<String>) -> Note<'_> {
        self.push(span, Severity::Warning, message.into())
    }

    pub(crate) fn former_spelling(&mut self, span: Span, former: &'static str, new: &'static str) {
        self.respelled.push((span, former, new));
        self.warning(span, format!("`{former}` is a former spelling"))
            .help(format!("write `{new}`"));
    }

    /// A source's text, with former spellings replaced: what the source says.
    pub(crate) fn text(&self, file: usize) -> String {
        let Some(source) = self.sources.get(file) else { return String::new() };
        let mut text = source.text.clone();
        let here = |(span, ..): &&(Span, _, _)| span.file as usize == file;
        let mut respelled: Vec<_> = self.respelled.iter().filter(here).collect();
        respelled.sort_by_key(|(span, ..)| span.start);
        // From behind, so that the places before stay where they are.
        for (span, former, new) in respelled.into_iter().rev() {
            let range = span.start as usize..span.end as usize;
            if let Some(word) = text.get(range.clone()) {
                let word = word.replacen(former, new, 1);
                text.replace_range(range, &word);
            }
        }
        text
    }

    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    fn push(&mut self, span: Span, severity: Severity, message: String) -> Note<'_> {
        let sources = self.sources;
        // Warnings never push errors out: a report with errors must say so.
        let full = self.found.len() >= DIAGNOSTICS_MAX
            && (severity == Severity::Warning || self.errors > DIAGNOSTICS_MAX);
        if full {
            self.omitted += 1;
            return Note { sources, diagnostic: &mut self.spill };
        }
        self.found.push((span, located(sources, span, severity, message)));
        let diagnostic = match self.found.last_mut() {
            Some((_, d)) => d,
            None => &mut self.spill,
        };
        Note { sources, diagnostic }
    }

    pub(crate) fn into_report(mut self) -> Report {
        self.found.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.message.cmp(&y.message)));
        self.found.dedup_by(|(_, x), (_, y)| x == y);
        let diagnostics = self.found.into_iter().map(|(_, d)| d).collect();
        Report { diagnostics, omitted: self.omitted }
    }
}

/// A finding that was just recorded, to which help can be added.
pub(crate) struct Note<'f> {
    sources: &'f [Source],
    diagnostic: &'f mut Diagnostic,
}

impl Note<'_> {
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        self.diagnostic.help = Some(help.into());
        self
    }

    /// Suggests the nearest of `known`; without one, says what is known, or `otherwise`.
    pub(crate) fn did_you_mean<'a>(
        self,
        word: &str,
        known: impl Iterator<Item = &'a str>,
        otherwise: &str,
    ) -> Self {
        let help = match nearest(word, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => otherwise.to_owned(),
        };
        if help.is_empty() { self } else { self.help(help) }
    }

    pub(crate) fn related(self, span: Span, message: impl Into<String>) -> Self {
        let d = located(self.sources, span, Severity::Warning, message.into());
        self.diagnostic.related.push(Related {
            path: d.path,
            line: d.line,
            column: d.column,
            text: d.text,
            message: d.message,
        });
        self
    }
}

fn located(sources: &[Source], span: Span, severity: Severity, message: String) -> Diagnostic {
    let path = span.source(sources).map_or_else(String::new, |s| s.path.clone());
    let before = Span { start: 0, end: span.start, ..span };
    let (line, column) = before.text(sources).map_or((1, 1), line_and_column);
    let text = span.text(sources).and_then(|t| t.lines().next()).unwrap_or_default().trim_end();
    Diagnostic {
        severity,
        path,
        line,
        column,
        text: text.to_owned(),
        message,
        help: None,
        related: Vec::new(),
    }
}

fn line_and_column(before: &str) -> (u32, u32) {
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// The known word nearest to a mistyped one, if any is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = word.to_lowercase();
    let length = typed.chars().count();
    if length > SUGGESTION_CHARS_MAX {
        return None;
    }
    let limit = (length / 3).max(1);
    known
        .into_iter()
        .filter(|k| k.len() <= SUGGESTION_CHARS_MAX * 4)
        .map(|k| (strsim::osa_distance(&typed, &k.to_lowercase()), k))
        .filter(|(d, _)| *d <= limit)
        .min()
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word_and_a_stranger_finds_none() {
        let known = ["user.contact.email", "user.name", "product.sku"];
        let near = |w| nearest(w, known.iter().copied());
        assert_eq!(near("user.contact.emial"), Some("user.contact.email"));
        assert_eq!(near("User.Nmae"), Some("user.name"));
        assert_eq!(near("payment"), None);
    }

    #[test]
    fn a_finding_shows_place_line_underline_and_help() {
        let sources = [Source::new("a.yaml", "kind: Dataset\nünlisted: kepp\n")];
        let mut f = Findings::new(&sources);
        let at = Span { file: 0, start: 25, end: 29 };
        f.error(at, "`kepp` is not known").help("did you mean `keep`?");
        let r = f.into_report();
        assert_eq!(
            r.render(&sources),
            "a.yaml:2:11: error: `kepp` is not known\n  |\n2 | ünlisted: kepp\n  |           ^^^^\n\
             help: did you mean `keep`?\n"
        );
    }
}
