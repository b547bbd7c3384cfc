//! How a value is spelt before it becomes a token. Part of the key's identity: a rule here is
//! never edited, it gets a new version.
//!
//! Must never make different identifiers of nothing: a phone number without a digit is no phone
//! number, and is `None`.

use sluicegate_policies::Normaliser;

/// The name under which a normaliser goes into the derivation of keys.
pub(super) fn name(normaliser: Normaliser) -> &'static str {
    match normaliser {
        Normaliser::ExactV1 => "exact-v1",
        Normaliser::EmailV1 => "email-v1",
        Normaliser::PhoneV1 => "phone-v1",
        Normaliser::DigitsV1 => "digits-v1",
        Normaliser::CompactV1 => "compact-v1",
        Normaliser::NameV1 => "name-v1",
    }
}

/// White space is Unicode's `White_Space`; lower case is each character's own full mapping,
/// without context; digits are `0` to `9`.
pub(crate) fn normalise<'a>(
    normaliser: Normaliser,
    text: &'a str,
    scratch: &'a mut String,
) -> Option<&'a str> {
    scratch.clear();
    match normaliser {
        Normaliser::ExactV1 => return Some(text),
        Normaliser::EmailV1 => email(text.trim(), scratch),
        Normaliser::PhoneV1 => phone(text, scratch),
        Normaliser::DigitsV1 => scratch.extend(text.chars().filter(char::is_ascii_digit)),
        Normaliser::CompactV1 => scratch.extend(
            text.chars()
                .filter(|c| !c.is_whitespace() && !is_dash(*c))
                .map(|c| c.to_ascii_uppercase()),
        ),
        Normaliser::NameV1 => {
            for word in text.split_whitespace() {
                if !scratch.is_empty() {
                    scratch.push(' ');
                }
                scratch.extend(word.chars().flat_map(char::to_lowercase));
            }
        }
    }
    let nothing_left = scratch.is_empty() && !text.is_empty();
    (!nothing_left).then_some(scratch.as_str())
}

fn email(text: &str, out: &mut String) {
    match text.rsplit_once('@') {
        Some((local, domain)) => {
            out.push_str(local);
            out.push('@');
            out.extend(domain.chars().flat_map(char::to_lowercase));
        }
        None => out.push_str(text),
    }
}

/// A `+` counts if no digit stands before it: `(+49) 30` is `+4930`.
fn phone(text: &str, out: &mut String) {
    let digits = text.chars().filter(char::is_ascii_digit);
    let before_digits = text.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default();
    out.extend(digits);
    if out.is_empty() {
        return;
    }
    if before_digits.contains('+') {
        out.insert(0, '+');
    } else if let Some(rest) = out.strip_prefix("00") {
        *out = format!("+{rest}");
    }
}

fn is_dash(c: char) -> bool {
    matches!(c, '-' | '\u{2010}'..='\u{2015}')
}
