//! Batches out of records.

use super::{Attributes, BEFORE_LENGTH, CRC_COVERS, HEAD, Head, Headers, Record};
use crate::{
    compress::{Codec, Incompressible, patch},
    write::varlong,
};

/// A batch in the making, behind what is in `out`. Its head stays what it is given, but for the codec.
pub struct Writer<'o> {
    head: Head,
    codec: Codec,
    start: usize,
    count: i32,
    out: &'o mut Vec<u8>,
    space: &'o mut Vec<u8>,
}

impl<'o> Writer<'o> {
    /// `space` takes the records until they are compressed; it is emptied before.
    pub fn new(head: Head, codec: Codec, out: &'o mut Vec<u8>, space: &'o mut Vec<u8>) -> Self {
        space.clear();
        let start = out.len();
        out.extend([0; HEAD]);
        Self { head, codec, start, count: 0, out, space }
    }

    pub fn push(&mut self, record: &Record<'_>) {
        let out = if self.codec == Codec::None { &mut *self.out } else { &mut *self.space };
        let headers = record.headers;
        let length = 1
            + varlong_size(record.timestamp_delta)
            + varlong_size(record.offset_delta.into())
            + nullable_size(record.key)
            + nullable_size(record.value)
            + varlong_size(headers.count as i64)
            + headers.bytes.len();
        varlong(out, length as i64);
        out.push(record.attributes.cast_unsigned());
        varlong(out, record.timestamp_delta);
        varlong(out, record.offset_delta.into());
        nullable(out, record.key);
        nullable(out, record.value);
        varlong(out, headers.count as i64);
        out.extend(headers.bytes);
        self.count += 1;
    }

    /// The batch is complete. One without records is not compressed, as when a broker's compaction has taken all.
    pub fn finish(self) -> Result<(), Incompressible> {
        let Self { head, codec, start, count, out, space } = self;
        let codec = if count == 0 { Codec::None } else { codec };
        if codec != Codec::None {
            codec.deflate(space, out)?;
        }
        let Attributes(attributes) = head.attributes.with_codec(codec);
        let length = out.len() - start - BEFORE_LENGTH;
        let length = i32::try_from(length).map_err(|_| Incompressible::TooLarge)?;
        let batch = out.get_mut(start..).unwrap_or_default();
        patch(batch, 0, head.base_offset.to_be_bytes());
        patch(batch, 8, length.to_be_bytes());
        patch(batch, 12, head.leader_epoch.to_be_bytes());
        patch(batch, 16, [2]);
        patch(batch, 21, attributes.to_be_bytes());
        patch(batch, 23, head.last_offset_delta.to_be_bytes());
        patch(batch, 27, head.base_timestamp.to_be_bytes());
        patch(batch, 35, head.max_timestamp.to_be_bytes());
        patch(batch, 43, head.producer_id.to_be_bytes());
        patch(batch, 51, head.producer_epoch.to_be_bytes());
        patch(batch, 53, head.base_sequence.to_be_bytes());
        patch(batch, 57, count.to_be_bytes());
        let crc = crc32c::crc32c(batch.get(CRC_COVERS..).unwrap_or_default());
        patch(batch, 17, crc.to_be_bytes());
        Ok(())
    }
}

fn nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    varlong(out, bytes.map_or(-1, |bytes| bytes.len() as i64));
    out.extend(bytes.unwrap_or_default());
}

const fn varlong_size(value: i64) -> usize {
    let coded = (value << 1 ^ value >> 63).cast_unsigned();
    // Seven bits a byte, and one byte for zero.
    (70 - (coded | 1).leading_zeros() as usize) / 7
}

fn nullable_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varlong_size(bytes.len() as i64) + bytes.len())
}

/// Headers for a record that gets others than it had.
#[derive(Default)]
pub struct HeaderList {
    count: usize,
    bytes: Vec<u8>,
}

impl HeaderList {
    pub fn clear(&mut self) {
        self.count = 0;
        self.bytes.clear();
    }

    pub fn push(&mut self, name: &[u8], value: Option<&[u8]>) {
        nullable(&mut self.bytes, Some(name));
        nullable(&mut self.bytes, value);
        self.count += 1;
    }

    pub fn headers(&self) -> Headers<'_> {
        Headers { count: self.count, bytes: &self.bytes }
    }
}
