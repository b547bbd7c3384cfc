//! Checks a node against the JSON Schema of its kind, and reports every mistake at its place.
//!
//! The schema is the one that editors complete from (`policy schema`), so that what an editor
//! says and what the compiler says cannot drift apart. Only the part of JSON Schema that our own
//! types produce is understood.

use serde_json::Value;

use super::tree::{Content, Node};
use crate::{diagnostic::Findings, document::FORMER_SPELLINGS};

/// A schema with the definitions that its `$ref`s point into.
#[derive(Clone, Copy)]
pub(crate) struct Shape<'s> {
    schema: &'s Value,
    definitions: Option<&'s Value>,
}

/// Words that YAML 1.1 readers take for yes, no or nothing.
const YES_NO_WORDS: [&str; 12] =
    ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", "nan", ".nan"];

impl<'s> Shape<'s> {
    pub(crate) fn new(root: &'s Value) -> Self {
        Self { schema: root, definitions: root.get("$defs") }
    }

    fn of(self, schema: &'s Value) -> Self {
        Self { schema, ..self }.resolved()
    }

    /// Follows `$ref`; schemars never makes cycles of references alone.
    fn resolved(self) -> Self {
        let name = self.schema.get("$ref").and_then(Value::as_str);
        let name = name.and_then(|r| r.strip_prefix("#/$defs/"));
        match name.and_then(|n| self.definitions?.get(n)) {
            Some(schema) => Self { schema, ..self },
            None => self,
        }
    }

    fn alternatives(self) -> Option<&'s Vec<Value>> {
        let list = |k| self.schema.get(k).and_then(Value::as_array);
        list("anyOf").or_else(|| list("oneOf"))
    }

    fn allows(self, kind: &str) -> bool {
        match self.schema.get("type") {
            Some(Value::String(t)) => t == kind,
            Some(Value::Array(ts)) => ts.iter().any(|t| t == kind),
            _ => false,
        }
    }

    /// Reports what does not fit; silent when all does.
    pub(crate) fn check(self, node: &Node, findings: &mut Findings<'_>) {
        let shape = self.resolved();
        if let Some(words) = shape.words() {
            return check_word(node, &words, findings);
        }
        if let Some(alternatives) = shape.alternatives() {
            return shape.check_alternatives(alternatives, node, findings);
        }
        match &node.content {
            Content::Mapping(entries) if shape.allows("object") => {
                shape.check_object(node, entries, findings);
            }
            Content::List(items) if shape.allows("array") => {
                if let Some(item) = shape.schema.get("items") {
                    items.iter().for_each(|n| shape.of(item).check(n, findings));
                }
                if items.is_empty() && shape.schema.get("minItems").is_some() {
                    findings.error(node.span, "this list is empty").help("name at least one");
                }
            }
            Content::Scalar { text, plain } => shape.check_scalar(node, text, *plain, findings),
            _ => shape.mismatch(node, findings),
        }
    }

    /// The closed list of words of an enumeration, if this is one.
    fn words(self) -> Option<Vec<&'s str>> {
        if let Some(list) = self.schema.get("enum").and_then(Value::as_array) {
            return list.iter().map(Value::as_str).collect();
        }
        if let Some(word) = self.schema.get("const").and_then(Value::as_str) {
            return Some(vec![word]);
        }
        let list = self.schema.get("oneOf").and_then(Value::as_array)?;
        let words: Option<Vec<_>> = list.iter().map(|s| self.of(s).words()).collect();
        words.map(|w| w.concat())
    }

    fn check_alternatives(self, list: &'s [Value], node: &Node, findings: &mut Findings<'_>) {
        let mut shapes = list.iter().map(|s| self.of(s));
        let fits = |s: &Shape<'_>| match &node.content {
            _ if node.is_null() => s.allows("null"),
            Content::Mapping(_) => s.allows("object"),
            Content::List(_) => s.allows("array"),
            Content::Scalar { .. } => {
                s.words().is_some()
                    || ["string", "number", "integer", "boolean"].iter().any(|t| s.allows(t))
            }
        };
        match shapes.clone().find(fits).or_else(|| shapes.find(|s| !s.allows("null"))) {
            Some(shape) => shape.check(node, findings),
            None => self.mismatch(node, findings),
        }
    }

    fn check_object(self, node: &Node, entries: &[(Node, Node)], findings: &mut Findings<'_>) {
        let properties = self.schema.get("properties").and_then(Value::as_object);
        let extra = self.schema.get("additionalProperties").filter(|s| s.is_object());
        for (key, value) in entries {
            let Some(written) = key.scalar() else { continue };
            let known = |word: &str| properties.is_some_and(|p| p.contains_key(word));
            let name = respelled(key, written, known, findings);
            if name != written && node.get(name).is_some() {
                findings
                    .error(key.span, format!("the key `{name}` is repeated here"))
                    .help(format!("`{written}` is a former spelling of it: remove one"));
            }
            match (properties.and_then(|p| p.get(name)), extra) {
                (Some(schema), _) => self.of(schema).check(value, findings),
                (None, Some(schema)) => {
                    check_plain_text(key, findings);
                    self.of(schema).check(value, findings);
                }
                (None, None) => {
                    let known = properties.into_iter().flat_map(|p| p.keys()).map(String::as_str);
                    let all: Vec<_> = known.clone().map(|k| format!("`{k}`")).collect();
                    let message = format!("the key `{name}` is not known here");
                    let otherwise = format!("known here: {}", all.join(", "));
                    findings.error(key.span, message).did_you_mean(name, known, &otherwise);
                }
            }
        }
        let required = self.schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            let former = FORMER_SPELLINGS.iter().find(|(_, new)| *new == name);
            let former = former.and_then(|(former, _)| node.get(former));
            if node.get(name).or(former).is_none() {
                let about = properties.and_then(|p| p.get(name)).and_then(description);
                let note = findings.error(node.span, format!("the key `{name}` is missing"));
                if let Some(about) = about {
                    note.help(format!("`{name}`: {about}"));
                }
            }
        }
    }

    fn check_scalar(self, node: &Node, text: &str, plain: bool, findings: &mut Findings<'_>) {
        if node.is_null() {
            if !self.allows("null") {
                findings.error(node.span, "a value is missing here").help(self.wanted());
            }
        } else if self.allows("number") {
            self.check_number(node, text, plain, findings);
        } else if self.allows("string") {
            if plain {
                check_plain_text(node, findings);
            }
        } else if self.allows("boolean") {
            if !plain || !matches!(text, "true" | "false") {
                findings
                    .error(node.span, format!("`{text}` is neither `true` nor `false`"))
                    .help("write `true` or `false`, without quotes");
            }
        } else if self.allows("integer") {
            self.check_integer(node, text, plain, findings);
        } else {
            self.mismatch(node, findings);
        }
    }

    /// A number of any size, whose reading is left to its owner; or a text beside it.
    fn check_number(self, node: &Node, text: &str, plain: bool, findings: &mut Findings<'_>) {
        if plain && number_trap(text) {
            refuse_number_trap(node, text, findings);
        } else if plain && self.allows("string") && text.parse::<f64>().is_err() {
            let boolean = self.allows("boolean") && matches!(text, "true" | "false");
            if !boolean {
                check_plain_text(node, findings);
            }
        } else if !plain && !self.allows("string") {
            findings
                .error(node.span, format!("`{text}` is a string, not a number"))
                .help("write the number without quotes");
        }
    }

    fn check_integer(self, node: &Node, text: &str, plain: bool, findings: &mut Findings<'_>) {
        if plain && number_trap(text) {
            return refuse_number_trap(node, text, findings);
        }
        let bound = |k| self.schema.get(k).and_then(Value::as_i64);
        let (low, high) = (bound("minimum"), bound("maximum"));
        match text.parse::<i64>() {
            Ok(n) if plain && low.is_none_or(|l| n >= l) && high.is_none_or(|h| n <= h) => {}
            _ => {
                let help = match (low, high) {
                    (Some(l), Some(h)) => format!("write a whole number from {l} to {h}"),
                    (Some(l), None) => format!("write a whole number, at least {l}"),
                    _ => "write a whole number, without quotes".to_owned(),
                };
                findings
                    .error(node.span, format!("`{text}` is not a valid number here"))
                    .help(help);
            }
        }
    }

    fn mismatch(self, node: &Node, findings: &mut Findings<'_>) {
        let found = match &node.content {
            Content::Scalar { text, .. } => format!("`{text}` is a single value"),
            Content::List(_) => "this is a list".to_owned(),
            Content::Mapping(_) => "this is a mapping".to_owned(),
        };
        findings.error(node.span, format!("{found}, which is not valid here")).help(self.wanted());
    }

    fn wanted(self) -> String {
        let kinds = [
            ("string", "a string"),
            ("number", "a number"),
            ("integer", "a whole number"),
            ("boolean", "`true` or `false`"),
            ("array", "a list: `[one, two]`"),
            ("object", "a mapping: `key: value`"),
        ];
        let fits = kinds.iter().filter(|(k, _)| self.allows(k)).map(|(_, w)| *w);
        format!("expected here: {}", fits.collect::<Vec<_>>().join(" or "))
    }
}

/// The first sentence of a schema's description.
fn description(schema: &Value) -> Option<String> {
    let text = schema.get("description")?.as_str()?;
    let first = text.split("\n\n").next().unwrap_or(text).replace('\n', " ");
    let first = first.split(". ").next().unwrap_or_default();
    Some(first.trim_end_matches('.').to_owned())
}

/// The word that is written now in place of a former spelling, where the schema knows it.
fn respelled<'w>(
    node: &Node,
    text: &'w str,
    known: impl Fn(&str) -> bool,
    findings: &mut Findings<'_>,
) -> &'w str {
    match FORMER_SPELLINGS.iter().find(|(former, new)| *former == text && known(new)) {
        Some((former, new)) => {
            findings.former_spelling(node.span, former, new);
            new
        }
        None => text,
    }
}

fn check_word(node: &Node, words: &[&str], findings: &mut Findings<'_>) {
    let all: Vec<_> = words.iter().map(|w| format!("`{w}`")).collect();
    let one_of = match all.as_slice() {
        [one] => format!("write {one}"),
        many => format!("write one of {}", many.join(", ")),
    };
    match node.scalar() {
        Some(text)
            if words.contains(&respelled(node, text, |w: &str| words.contains(&w), findings)) => {}
        Some(text) if node.is_null() || text.is_empty() => {
            findings.error(node.span, "a value is missing here").help(one_of);
        }
        Some(text) => {
            findings.error(node.span, format!("`{text}` is not valid here")).did_you_mean(
                text,
                words.iter().copied(),
                &one_of,
            );
        }
        None => {
            findings.error(node.span, "a single word is expected here").help(one_of);
        }
    }
}

fn refuse_number_trap(node: &Node, text: &str, findings: &mut Findings<'_>) {
    findings
        .error(node.span, format!("`{text}` is read as different numbers by different tools"))
        .help("write the number without leading zeros, underscores or colons");
}

/// A text without quotes that another YAML reader would not take for a text.
fn check_plain_text(node: &Node, findings: &mut Findings<'_>) {
    let Content::Scalar { text, plain: true } = &node.content else { return };
    let note = if YES_NO_WORDS.contains(&text.to_lowercase().as_str()) {
        findings.error(
            node.span,
            format!("`{text}` without quotes means yes, no or nothing to many YAML tools"),
        )
    } else if number_trap(text) || text.parse::<f64>().is_ok() {
        findings.error(node.span, format!("`{text}` without quotes is a number to many YAML tools"))
    } else {
        return;
    };
    note.help(format!("put it in quotes: `\"{text}\"`"));
}

/// Octal, hexadecimal, grouped and sexagesimal spellings, on which YAML readers disagree.
fn number_trap(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+']);
    let numeric =
        |t: &str| t.bytes().all(|b| b.is_ascii_digit() || b == b'_' || b == b':' || b == b'.');
    let starts = digits.bytes().next().is_some_and(|b| b.is_ascii_digit());
    let prefixed = ["0x", "0o", "0b"].iter().any(|p| digits.starts_with(p));
    let leading_zero = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    let grouped = digits.contains(['_', ':']);
    starts && (prefixed || (numeric(digits) && (leading_zero || grouped)))
}
