//! How many records a body has, before they are made.

use serde::{
    Deserializer as _,
    de::{IgnoredAny, SeqAccess, Visitor},
};

use super::{Format, content, first_byte};

/// Whether a body that is in memory holds more records than `max`. A body that cannot be read has
/// as many as the reader will see before it stops.
pub fn exceeds(format: Format, body: &[u8], max: usize) -> bool {
    match format {
        Format::CloudEvent | Format::CloudEventBinary => max < 1,
        Format::NdJson => {
            let lines = body.split(|byte| *byte == b'\n').filter_map(content);
            lines.take(max.saturating_add(1)).count() > max
        }
        Format::Json | Format::CloudEventBatch => {
            first_byte(body) == Some(b'[') && has_separators(body, max) && items(body, max) > max
        }
    }
}

/// An array of more than `max` items has `max` commas; most bodies have fewer in all.
fn has_separators(body: &[u8], max: usize) -> bool {
    body.iter().filter(|byte| **byte == b',').count() >= max
}

/// The items of an array, at most one more than `max`.
fn items(body: &[u8], max: usize) -> usize {
    struct Count<'a>(&'a mut usize, usize);
    impl<'de> Visitor<'de> for Count<'_> {
        type Value = ();
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an array")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
            while *self.0 <= self.1 && items.next_element::<IgnoredAny>()?.is_some() {
                *self.0 += 1;
            }
            Ok(())
        }
    }
    let mut counted = 0;
    // That it is not JSON, or continues after the last item counted, is for the reader to say.
    let _read =
        serde_json::Deserializer::from_slice(body).deserialize_seq(Count(&mut counted, max));
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_as_the_reader_will_see_them() {
        let array = |n: usize| format!("[{}]", vec![r#"{"value":{"a":[1,2,{}]}}"#; n].join(","));
        for format in [Format::Json, Format::CloudEventBatch] {
            for (n, exceeds_three) in [(0, false), (3, false), (4, true), (1_000, true)] {
                assert_eq!(exceeds(format, array(n).as_bytes(), 3), exceeds_three, "{n}");
            }
            assert!(exceeds(format, b" [1,1,1,1 ", 3), "cut off behind");
            assert!(exceeds(format, b"[[],[],[],[],", 3), "no records, but as many texts");
            assert!(!exceeds(format, b"[1,,,,,1", 3), "the reader stops at once");
            assert!(!exceeds(format, br#"{"value":[1,2,3,4,5]}"#, 3), "one record");
        }
        assert!(!exceeds(Format::NdJson, b"{}\n\r\n{}\n \n{}", 3));
        assert!(exceeds(Format::NdJson, b"{}\n{}\n{}\nx", 3));
        assert!(!exceeds(Format::CloudEvent, b"[1,1,1,1,1]", 3));
    }
}
