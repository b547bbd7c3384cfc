//! The little JSON that answers and verdicts are printed in.

/// A JSON string (RFC 8259 section 7).
pub(crate) fn text(plain: &str) -> String {
    let mut quoted = String::with_capacity(plain.len() + 2);
    quoted.push('"');
    for c in plain.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if (c as u32) < 0x20 => quoted.push_str(&format!("\\u{:04x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_texts_are_escaped() {
        assert_eq!(text("a\"b\\\n"), "\"a\\\"b\\\\\\u000a\"");
    }
}
