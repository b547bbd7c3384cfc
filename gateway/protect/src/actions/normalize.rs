//! How a value is spelt before it becomes a token. Part of the key's identity: a rule here is
//! never edited, it gets a new version.
//!
//! Must never take a text for a value that it cannot tell: one with a second number or address in
//! it, or with a digit, sign or letter that the rule would have to guess about, is `None`.
//! Otherwise one person would get the token of another.

use std::borrow::Cow;

use sluicegate_policies::{Normalizer, number::Number};
use unicode_normalization::UnicodeNormalization;

/// How the ASCII form of a label of an international domain starts.
const ACE: &str = "xn--";
/// The longest name DNS knows.
const DOMAIN_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
/// ITU-T E.164: the longest telephone number.
const PHONE_DIGITS_MAX: usize = 15;
/// A trunk prefix that is not dialed from abroad, as ITU-T E.123 writes it.
const TRUNK: &str = "(0)";

/// The name under which a normalizer goes into the derivation of keys.
pub(crate) fn name(normalizer: Normalizer) -> &'static str {
    match normalizer {
        Normalizer::ExactV1 => "exact-v1",
        Normalizer::EmailV2 => "email-v2",
        Normalizer::PhoneV2 => "phone-v2",
        Normalizer::DigitsV2 => "digits-v2",
        Normalizer::CompactV2 => "compact-v2",
        Normalizer::NameV2 => "name-v2",
    }
}

/// White space is Unicode's `White_Space`, digits are `0` to `9` after NFKC. The tables are those
/// of Unicode 18 (normalization) and 17 (case); a test notices when they change.
pub fn normalize<'a>(
    normalizer: Normalizer,
    text: &'a str,
    scratch: &'a mut String,
) -> Option<&'a str> {
    scratch.clear();
    if text.is_empty() || normalizer == Normalizer::ExactV1 {
        return Some(text);
    }
    match normalizer {
        Normalizer::ExactV1 => {}
        Normalizer::EmailV2 => email(text.trim(), scratch)?,
        Normalizer::PhoneV2 => phone(compatible(text).trim(), scratch)?,
        Normalizer::DigitsV2 => digits(compatible(text).trim(), scratch)?,
        Normalizer::CompactV2 => compact(compatible(text).trim(), scratch)?,
        Normalizer::NameV2 => name_of_person(text, scratch),
    }
    (!scratch.is_empty()).then_some(scratch.as_str())
}

/// In NFKC, without what has no width.
fn compatible(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.nfkc().filter(|c| !is_invisible(*c)).collect())
}

/// The local part keeps its case, as RFC 5321 has it and PRECIS' UsernameCasePreserved
/// (RFC 8265); it is in NFC, as RFC 6532 asks. The domain is compared without case or width, and its ASCII form
/// (`xn--`) is the domain that it stands for.
fn email(text: &str, out: &mut String) -> Option<()> {
    let (local, domain) = address(text)?;
    let is_ace = |label: &str| label.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(ACE));
    if text.is_ascii() && !domain.split('.').any(is_ace) {
        out.push_str(local);
        out.push('@');
        out.extend(domain.chars().map(|c| c.to_ascii_lowercase()));
    } else {
        out.extend(local.nfc());
        let dot = |c| if c == '\u{3002}' { '.' } else { c };
        let domain: String = domain.nfkc().map(dot).flat_map(char::to_lowercase).nfkc().collect();
        for (place, label) in domain.split('.').enumerate() {
            out.push(if place == 0 { '@' } else { '.' });
            match label.strip_prefix(ACE) {
                Some(encoded) => {
                    let decoded = punycode(encoded)?;
                    out.extend(decoded.nfkc().flat_map(char::to_lowercase).nfkc());
                }
                None => out.push_str(label),
            }
        }
        // A compatible character may have had an `@`, a dot or a space in it.
        address(out)?;
    }
    Some(())
}

/// A label of a domain from its ASCII form: RFC 3492.
fn punycode(text: &str) -> Option<String> {
    let (basic, rest) = text.rsplit_once('-').unwrap_or(("", text));
    let mut label: Vec<char> = basic.chars().collect();
    let (mut next, mut place, mut bias) = (0x80_u32, 0_u32, 72);
    let mut digits = rest.chars().peekable();
    while digits.peek().is_some() {
        let (start, mut weight) = (place, 1_u32);
        for k in (36_u32..).step_by(36) {
            // Letters are 0 to 25, digits 26 to 35.
            let digit = (digits.next()?.to_digit(36)? + 26) % 36;
            place = place.checked_add(digit.checked_mul(weight)?)?;
            let threshold = k.saturating_sub(bias).clamp(1, 26);
            if digit < threshold {
                break;
            }
            weight = weight.checked_mul(36 - threshold)?;
        }
        let count = u32::try_from(label.len()).ok()?.checked_add(1)?;
        let mut delta = (place - start) / if start == 0 { 700 } else { 2 };
        delta += delta / count;
        bias = 0;
        while delta > 455 {
            (delta, bias) = (delta / 35, bias + 36);
        }
        bias += 36 * delta / (delta + 38);
        next = next.checked_add(place / count)?;
        place %= count;
        label.insert(usize::try_from(place).ok()?, char::from_u32(next)?);
        place += 1;
    }
    Some(label.into_iter().collect())
}

/// Exactly one address, without a name, a scheme or a second address around it.
pub(crate) fn address(text: &str) -> Option<(&str, &str)> {
    let (local, domain) = text.rsplit_once('@')?;
    (is_local(local) && is_domain(domain)).then_some((local, domain))
}

fn is_local(text: &str) -> bool {
    let atom = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => {
            !quoted.is_empty()
                && !quoted.contains(['"', '\\'])
                && !quoted.contains(char::is_control)
        }
        None => !text.is_empty() && text.chars().all(|c| atom(c) || is_international(c)),
    }
}

/// It is shown by a mask, so that it has to be a domain and not a sentence.
fn is_domain(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || is_international(c);
    let label =
        |label: &str| (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.chars().all(fits);
    text.len() <= DOMAIN_BYTES_MAX && text.split('.').all(label)
}

/// What an address may have beyond ASCII.
fn is_international(c: char) -> bool {
    let parts_values = is_list_mark(c) || matches!(c, '\u{ff20}' | '\u{fe6b}');
    !c.is_ascii() && !c.is_whitespace() && !c.is_control() && !is_invisible(c) && !parts_values
}

/// A `+` counts where no digit is before it: `(+49) 30` is `+4930`. An extension follows as
/// RFC 3966 writes it.
fn phone(text: &str, out: &mut String) -> Option<()> {
    if is_fraction(text) {
        return None;
    }
    let marks = |c: char| c.is_ascii_alphabetic() || matches!(c, '#' | ';');
    let (number, extension) = match text.find(marks).and_then(|at| text.split_at_checked(at)) {
        Some((number, rest)) => (number.trim_end(), Some(rest)),
        None => (text, None),
    };
    if !number.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '(')) {
        return None;
    }
    for c in number.chars() {
        match c {
            '0'..='9' | '+' | '(' | ')' => out.push(c),
            c if joins(c) => {}
            _ => return None,
        }
    }
    let prefix = out.trim_start_matches('(');
    let abroad = prefix.starts_with('+') || prefix.starts_with("00");
    if abroad && let Some((head, tail)) = out.split_once(TRUNK) {
        if tail.contains(TRUNK) {
            return None;
        }
        *out = [head, tail].concat();
    }
    out.retain(|c| !matches!(c, '(' | ')'));
    if let Some(rest) = out.strip_prefix("00") {
        *out = format!("+{rest}");
    }
    let digits = out.strip_prefix('+').unwrap_or(out);
    let all_digits = digits.bytes().all(|b| b.is_ascii_digit());
    if !all_digits || !(1..=PHONE_DIGITS_MAX).contains(&digits.len()) {
        return None;
    }
    if let Some(extension) = extension {
        out.push_str(";ext=");
        out.push_str(extension_digits(extension)?);
    }
    Some(())
}

fn extension_digits(text: &str) -> Option<&str> {
    let at = text.find(|c: char| c.is_ascii_digit())?;
    let (mark, digits) = text.split_at_checked(at)?;
    let known = ["x", "ext", "ext.", "extension", ";ext=", "#"];
    let known = known.iter().any(|known| known.eq_ignore_ascii_case(mark.trim()));
    (known && digits.len() <= PHONE_DIGITS_MAX && digits.bytes().all(|b| b.is_ascii_digit()))
        .then_some(digits)
}

/// A sign, a letter or a comma would be guessed about; so would the point of a number.
fn digits(text: &str, out: &mut String) -> Option<()> {
    let is_digit = |c: char| c.is_ascii_digit();
    if is_fraction(text) || !text.starts_with(is_digit) || !text.ends_with(is_digit) {
        return None;
    }
    for c in text.chars() {
        match c {
            '0'..='9' => out.push(c),
            c if joins(c) => {}
            _ => return None,
        }
    }
    Some(())
}

/// A dash in front would be a sign.
fn compact(text: &str, out: &mut String) -> Option<()> {
    if text.starts_with(is_dash) {
        return None;
    }
    for c in text.chars() {
        if c.is_control() || is_list_mark(c) {
            return None;
        }
        if !c.is_whitespace() && !is_dash(c) {
            out.extend(c.to_uppercase());
        }
    }
    if !out.is_ascii() {
        *out = out.nfkc().collect();
    }
    Some(())
}

/// Like Unicode's compatibility caseless match, and RFC 8266 (nicknames) with a case folding:
/// each character in lower, upper and again lower case, so that `ß` is `ss` and `ς` is `σ`.
fn name_of_person(text: &str, out: &mut String) {
    let mut folded = compatible(text);
    if !folded.is_ascii() {
        let lower = folded.chars().flat_map(char::to_lowercase);
        let folds = lower.flat_map(char::to_uppercase).flat_map(char::to_lowercase);
        folded = Cow::Owned(folds.nfkc().collect());
    }
    for word in folded.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.extend(word.chars().map(|c| c.to_ascii_lowercase()));
    }
}

/// `100.0` is a hundred, or a thousand with its digits in groups.
fn is_fraction(text: &str) -> bool {
    text.contains('.') && Number::parse(text).is_some()
}

/// What may stand between the digits of one number.
fn joins(c: char) -> bool {
    is_dash(c) || matches!(c, '.' | '/') || (c.is_whitespace() && !c.is_control())
}

/// What is between two values. (Others become one of these by NFKC.)
fn is_list_mark(c: char) -> bool {
    matches!(c, ',' | ';' | '|' | '\u{3001}' | '\u{060c}' | '\u{061b}' | '\u{ff0c}' | '\u{ff1b}')
}

fn is_dash(c: char) -> bool {
    matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// Characters without a width, which come along when a number or a name is copied.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
    )
}
