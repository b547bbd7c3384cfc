//! Who wrote a row, and where an event is in the ledger.
//!
//! A [`Position`] is the only name of an event that travels outside: 28 bytes in a delivered
//! record's header, a short text in answers and on the command line.

use std::{fmt, str::FromStr};

use minicbor::{Decode, Encode};

/// One life of one writing process. Given by the caller, never used twice; ids that grow with time
/// (UUIDv7) keep a store's pages in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct WriterId(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 16]);

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Where an event is: the writer, its row, and the event's leaf in that row's tree.
///
/// As text `WRITER-WSEQ-LEAF`: 32 hex digits and two decimal numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Position {
    /// The writer of the row.
    #[n(0)]
    pub writer: WriterId,
    /// The row's number within its writer's chain, from 0.
    #[n(1)]
    pub wseq: u64,
    /// The event's number within the row, from 0.
    #[n(2)]
    pub leaf: u32,
}

impl Position {
    /// Length of the binary form.
    pub const BYTES: usize = 28;

    /// Writer, wseq and leaf, big-endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        let parts = self.writer.0.into_iter().chain(self.wseq.to_be_bytes());
        let parts = parts.chain(self.leaf.to_be_bytes());
        out.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        out
    }

    /// The reverse of [`Self::to_bytes`]; `None` if the length is not 28.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (writer, rest) = bytes.split_first_chunk::<16>()?;
        let (wseq, rest) = rest.split_first_chunk::<8>()?;
        let leaf = <[u8; 4]>::try_from(rest).ok()?;
        let (wseq, leaf) = (u64::from_be_bytes(*wseq), u32::from_be_bytes(leaf));
        Some(Self { writer: WriterId(*writer), wseq, leaf })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.writer, self.wseq, self.leaf)
    }
}

/// A text that is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a ledger position is written `WRITER-WSEQ-LEAF`: 32 hex digits and two numbers")]
pub struct NotAPosition;

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let mut parts = text.split('-');
        let (Some(writer), Some(wseq), Some(leaf), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotAPosition);
        };
        let writer = unhex::<16>(writer).map(WriterId).ok_or(NotAPosition)?;
        let wseq = decimal(wseq).ok_or(NotAPosition)?;
        let leaf = decimal(leaf).and_then(|leaf| u32::try_from(leaf).ok()).ok_or(NotAPosition)?;
        Ok(Self { writer, wseq, leaf })
    }
}

/// Digits only: `u64::from_str` would take a plus sign, and then a position had two spellings.
fn decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    if canonical && digits { text.parse().ok() } else { None }
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('0');
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

/// Exactly `N` bytes from lower-case hexadecimal.
#[must_use]
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let nibble = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    if pairs.len() != N {
        return None;
    }
    let mut out = [0; N];
    for (to, [high, low]) in out.iter_mut().zip(pairs) {
        *to = (nibble(*high)? << 4) | nibble(*low)?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_both_forms() {
        let position = Position { writer: WriterId([0xab; 16]), wseq: u64::MAX, leaf: 7 };
        assert_eq!(position.to_string().parse(), Ok(position));
        assert_eq!(Position::from_bytes(&position.to_bytes()), Some(position));
        assert_eq!(Position::from_bytes(&[0; 27]), None);
    }

    #[test]
    fn a_position_has_one_spelling() {
        let w = "00112233445566778899aabbccddeeff";
        for text in ["", "1-2-3", &format!("{w}-+1-0"), &format!("{w}-01-0"), &format!("{w}-1-0-0")]
        {
            assert_eq!(text.parse::<Position>(), Err(NotAPosition), "{text}");
        }
        assert!(format!("{w}-0-0").parse::<Position>().is_ok());
        assert!(format!("{}-0-0", w.to_uppercase()).parse::<Position>().is_err());
        assert!(format!("{w}-0-4294967296").parse::<Position>().is_err());
    }
}
