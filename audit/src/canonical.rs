//! The encoding of everything that is hashed, checked without knowing what it says: CBOR (RFC
//! 8949) of definite lengths and shortest numbers; integers, byte strings, UTF-8 texts, arrays and
//! booleans.

/// Arrays within arrays.
const DEPTH_MAX: u32 = 16;

/// The length of the array that bytes begin with, if it is canonical.
pub(crate) fn array(bytes: &[u8]) -> Option<usize> {
    (bytes.first()? >> 5 == 4).then(|| item(bytes, DEPTH_MAX))?
}

fn item(bytes: &[u8], depth: u32) -> Option<usize> {
    let (first, rest) = bytes.split_first()?;
    let (major, info) = (first >> 5, first & 31);
    if major == 7 {
        return matches!(info, 20 | 21).then_some(1);
    }
    let (number, size) = number(info, rest)?;
    let head = 1 + size;
    match major {
        0 | 1 => Some(head),
        2 | 3 => {
            let end = head.checked_add(usize::try_from(number).ok()?)?;
            let content = bytes.get(head..end)?;
            (major == 2 || std::str::from_utf8(content).is_ok()).then_some(end)
        }
        4 => {
            let mut end = head;
            for _ in 0..number {
                end += item(bytes.get(end..)?, depth.checked_sub(1)?)?;
            }
            Some(end)
        }
        _ => None,
    }
}

/// A number in its shortest form, and how many bytes follow the first.
fn number(info: u8, rest: &[u8]) -> Option<(u64, usize)> {
    let (size, least) = match info {
        0..24 => return Some((u64::from(info), 0)),
        24 => (1, 24),
        25 => (2, 1 << 8),
        26 => (4, 1 << 16),
        27 => (8, 1 << 32),
        _ => return None,
    };
    let number = rest.get(..size)?.iter().fold(0_u64, |number, b| number << 8 | u64::from(*b));
    (number >= least).then_some((number, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_of_what_the_format_has() {
        let table: &[(&[u8], Option<usize>)] = &[
            (&[0x80], Some(1)),
            (&[0x82, 0x01, 0x20, 0xff], Some(3)),
            (&[0x81, 0x18, 24], Some(3)),
            (&[0x81, 0x18, 23], None),
            (&[0x81, 0x19, 0, 255], None),
            (&[0x83, 0x61, b'a', 0x41, 0xff, 0xf5], Some(6)),
            (&[0x81, 0x61, 0xff], None),
            (&[0x81, 0x42, 0], None),
            (&[0x9f, 0xff], None),
            (&[0x81, 0xa0], None),
            (&[0x81, 0xf6], None),
            (&[0x81, 0xfa, 0, 0, 0, 0], None),
            (&[0x81, 0xc0, 0x00], None),
            (&[0x00], None),
            (&[0x82, 0x01], None),
            (&[0x81; 40], None),
            (&[], None),
        ];
        for (bytes, length) in table {
            assert_eq!(array(bytes), *length, "{bytes:02x?}");
        }
    }
}
