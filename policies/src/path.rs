//! Paths into records: reading them, and whether two of them can meet.

use crate::plan::{FieldPath, Part, Step};

/// Steps in one path.
const STEPS_MAX: usize = 32;

/// What to tell an author whose path cannot be read.
pub(crate) const HELP: &str = "paths look like `customer.email`, `items[].sku`, `*.id`, \
                               `**.login`, `key:`, `key:customer.id`, `header:x-user`, \
                               `name:readings.*`; an unusual name is quoted: `'first name'.value`";

/// Reads a path, or says in words what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<FieldPath, String> {
    let (part, rest) = if let Some(rest) = text.strip_prefix("key:") {
        (Part::Key, rest)
    } else if let Some(name) = text.strip_prefix("header:") {
        return header(text, name);
    } else if let Some(rest) = text.strip_prefix("name:") {
        (Part::Name, rest)
    } else {
        (Part::Value, text)
    };
    let whole_key = part == Part::Key && rest.is_empty();
    let steps = if whole_key { Vec::new() } else { steps(rest)? };
    if part == Part::Name && !steps.last().is_some_and(is_wildcard) {
        return Err(format!(
            "`{text}` does not end in `*` or `**`: a name written in the path is not a value"
        ));
    }
    Ok(FieldPath { part, steps: steps.into(), written: text.into() })
}

fn header(text: &str, name: &str) -> Result<FieldPath, String> {
    let visible = |c: char| c.is_ascii_graphic() && !"\"(),/:;<=>?@[\\]{}".contains(c);
    if name.is_empty() || !name.chars().all(visible) {
        return Err(format!("`{name}` is not the name of a header"));
    }
    let part = Part::Header(name.to_ascii_lowercase().into());
    Ok(FieldPath { part, steps: Box::default(), written: text.into() })
}

fn steps(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut rest = text;
    loop {
        rest = segment(rest, &mut steps)?;
        if steps.len() > STEPS_MAX {
            return Err(format!("a path has at most {STEPS_MAX} steps"));
        }
        if rest.is_empty() {
            return Ok(steps);
        }
        rest = rest.strip_prefix('.').ok_or_else(|| format!("a `.` is missing before `{rest}`"))?;
    }
}

/// One name with its `[]`s; returns what is left.
fn segment<'t>(text: &'t str, steps: &mut Vec<Step>) -> Result<&'t str, String> {
    let mut rest = text;
    if !rest.starts_with("[]") {
        let (step, after) = name(rest)?;
        let doubled = step == Step::AnyDepth && steps.last() == Some(&Step::AnyDepth);
        if doubled {
            return Err("`**.**` says the same as `**`".to_owned());
        }
        steps.push(step);
        rest = after;
    }
    while let Some(after) = rest.strip_prefix("[]") {
        steps.push(Step::Each);
        rest = after;
    }
    Ok(rest)
}

fn name(text: &str) -> Result<(Step, &str), String> {
    if let Some(quoted) = text.strip_prefix('\'') {
        return quoted_name(quoted);
    }
    let end = text.find(['.', '[', ']', '\'']).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    let step = match name {
        "" => return Err("a name is missing in the path".to_owned()),
        "*" => Step::AnyMember,
        "**" => Step::AnyDepth,
        n if n.contains('*') => {
            return Err(format!("`{n}` mixes `*` with a name; `*` stands for a whole name"));
        }
        n if n.chars().any(char::is_whitespace) => {
            return Err(format!("`{n}` contains white space"));
        }
        n => Step::Member(n.into()),
    };
    Ok((step, rest))
}

/// `'first name'`; a quote inside is doubled.
fn quoted_name(text: &str) -> Result<(Step, &str), String> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c != '\'' {
            name.push(c);
            continue;
        }
        let rest = text.get(at + 1..).unwrap_or_default();
        if !rest.starts_with('\'') {
            return Ok((Step::Member(name.into()), rest));
        }
        name.push('\'');
        chars.next();
    }
    Err("unclosed quote `'` in the path".to_owned())
}

/// Whether the step stands for members of any name.
pub(crate) fn is_wildcard(step: &Step) -> bool {
    matches!(step, Step::AnyMember | Step::AnyDepth)
}

/// Whether some place in some record is matched by both paths.
pub(crate) fn overlap(a: &FieldPath, b: &FieldPath) -> bool {
    a.part == b.part && meet(&a.steps, &b.steps)
}

/// `**` matches zero or more steps, so this is the classic match of two wildcard patterns, by
/// dynamic programming over suffixes. A trailing `**` needs no special case: it matches the rest.
fn meet(a: &[Step], b: &[Step]) -> bool {
    let empty_after = |s: &[Step]| s.iter().all(|x| *x == Step::AnyDepth);
    let mut below: Vec<bool> = (0..=b.len()).map(|j| b.get(j..).is_some_and(empty_after)).collect();
    for (i, x) in a.iter().enumerate().rev() {
        let mut row = vec![a.get(i..).is_some_and(empty_after)];
        for (j, y) in b.iter().enumerate().rev() {
            let right = row.last().copied().unwrap_or(false);
            let down = below.get(j).copied().unwrap_or(false);
            let diagonal = below.get(j + 1).copied().unwrap_or(false);
            row.push(match (x, y) {
                (Step::AnyDepth, _) | (_, Step::AnyDepth) => right || down,
                _ => diagonal && same_place(x, y),
            });
        }
        row.reverse();
        below = row;
    }
    below.first().copied().unwrap_or(false)
}

fn same_place(a: &Step, b: &Step) -> bool {
    match (a, b) {
        (Step::Each, Step::Each) => true,
        (Step::Each, _) | (_, Step::Each) => false,
        (Step::Member(x), Step::Member(y)) => x == y,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meets(a: &str, b: &str) -> bool {
        let (a, b) = (parse(a).unwrap(), parse(b).unwrap());
        assert_eq!(overlap(&a, &b), overlap(&b, &a));
        overlap(&a, &b)
    }

    #[test]
    fn paths_are_read() {
        let steps = |t| parse(t).unwrap().steps.to_vec();
        let m = |t: &str| Step::Member(t.into());
        assert_eq!(steps("a.b"), [m("a"), m("b")]);
        assert_eq!(steps("items[][].sku"), [m("items"), Step::Each, Step::Each, m("sku")]);
        assert_eq!(steps("[].x"), [Step::Each, m("x")]);
        assert_eq!(steps("**.'it''s, odd'"), [Step::AnyDepth, m("it's, odd")]);
        assert_eq!(steps("key:"), []);
        assert_eq!(parse("header:X-User").unwrap().part, Part::Header("x-user".into()));
        assert_eq!(steps("name:a.*"), [m("a"), Step::AnyMember]);
        assert_eq!(parse("name:**").unwrap().part, Part::Name);
    }

    #[test]
    fn what_is_no_path_says_why() {
        let why = |t| parse(t).unwrap_err();
        assert_eq!(why(""), "a name is missing in the path");
        assert_eq!(why("a..b"), "a name is missing in the path");
        assert_eq!(why("a.b*"), "`b*` mixes `*` with a name; `*` stands for a whole name");
        assert_eq!(why("'open"), "unclosed quote `'` in the path");
        assert_eq!(why("a'b"), "a `.` is missing before `'b`");
        assert_eq!(why("header:a b"), "`a b` is not the name of a header");
        assert_eq!(
            why("name:*.b"),
            "`name:*.b` does not end in `*` or `**`: a name written in the path is not a value"
        );
        assert_eq!(why("**.**.x"), "`**.**` says the same as `**`");
    }

    #[test]
    fn two_paths_meet_when_one_place_fits_both() {
        assert!(meets("**.login", "user.login"));
        assert!(meets("**.login", "login"));
        assert!(meets("*.x", "y.x"));
        assert!(meets("a.**", "a"));
        assert!(meets("**.a.**", "x[].a.b"));
        assert!(meets("**.a.b", "a.**"));
        assert!(!meets("**.login", "user.name"));
        assert!(!meets("a", "a.b"));
        assert!(!meets("items[].sku", "items.*.sku"));
        assert!(!meets("key:a", "a"));
        assert!(!meets("name:a.*", "a.*"));
    }
}
