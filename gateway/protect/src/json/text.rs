//! The inside of JSON strings: finding their end, taking escapes off, putting them on.
//!
//! Must never let a quote, a backslash or a control character through unescaped, and never
//! unescape what the scanner has not accepted.

use super::What;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// How many bytes from the start stand for themselves: neither quote, backslash nor control.
/// Eight bytes a step; the lowest marked byte of a word is exact, which is all we ask.
#[inline]
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let zero = |w: u64| w.wrapping_sub(ONES) & !w & HIGHS;
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let marked = control | zero(word ^ (ONES * 0x22)) | zero(word ^ (ONES * 0x5c));
        if marked != 0 {
            return i * 8 + (marked.trailing_zeros() / 8) as usize;
        }
    }
    let tail = rest.iter().take_while(|b| !matches!(b, b'"' | b'\\' | 0..0x20)).count();
    words.len() * 8 + tail
}

/// How many bytes the escape at the start takes; both halves of a surrogate pair are one escape.
pub(super) fn escape_len(bytes: &[u8]) -> Result<usize, What> {
    match bytes.get(1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
        Some(b'u') => match hex4(bytes.get(2..))? {
            0xd800..=0xdbff => match bytes.get(6..8) {
                Some(b"\\u") => match hex4(bytes.get(8..))? {
                    0xdc00..=0xdfff => Ok(12),
                    _ => Err(What::Surrogate),
                },
                _ => Err(What::Surrogate),
            },
            0xdc00..=0xdfff => Err(What::Surrogate),
            _ => Ok(6),
        },
        Some(_) => Err(What::Escape),
        None => Err(What::End),
    }
}

fn hex4(bytes: Option<&[u8]>) -> Result<u32, What> {
    let digits = bytes.and_then(|b| b.get(..4)).ok_or(What::End)?;
    digits.iter().try_fold(0, |n, b| {
        let digit = char::from(*b).to_digit(16).ok_or(What::Escape)?;
        Ok(n * 16 + digit)
    })
}

/// Appends the meaning of what is between the quotes of an accepted string.
pub fn unescape(raw: &str, out: &mut String) {
    let mut rest = raw;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.push_str(plain);
        let (meaning, used) = match escape.as_bytes().first() {
            Some(b'b') => ('\u{8}', 1),
            Some(b'f') => ('\u{c}', 1),
            Some(b'n') => ('\n', 1),
            Some(b'r') => ('\r', 1),
            Some(b't') => ('\t', 1),
            Some(b'u') => code_point(escape.as_bytes()),
            Some(b) => (char::from(*b), 1),
            None => return,
        };
        out.push(meaning);
        rest = escape.get(used..).unwrap_or_default();
    }
    out.push_str(rest);
}

/// `escape` starts with the `u`.
fn code_point(escape: &[u8]) -> (char, usize) {
    let first = hex4(escape.get(1..)).unwrap_or_default();
    if let Some(meaning) = char::from_u32(first) {
        return (meaning, 5);
    }
    let second = hex4(escape.get(7..)).unwrap_or_default();
    let joined = 0x1_0000 + ((first & 0x3ff) << 10) + (second & 0x3ff);
    (char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER), 11)
}

/// Appends `text` as a JSON string, quotes included.
#[inline]
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, special) = rest.split_at_checked(plain_len(rest)).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else { break };
        match byte {
            b'"' => out.extend_from_slice(br#"\""#),
            b'\\' => out.extend_from_slice(br"\\"),
            b'\n' => out.extend_from_slice(br"\n"),
            b'\r' => out.extend_from_slice(br"\r"),
            b'\t' => out.extend_from_slice(br"\t"),
            control => {
                let digit = |n: u8| if n < 10 { b'0' + n } else { b'a' + n - 10 };
                out.extend_from_slice(br"\u00");
                out.extend([digit(control >> 4), digit(control & 15)]);
            }
        }
        rest = after;
    }
    out.push(b'"');
}
