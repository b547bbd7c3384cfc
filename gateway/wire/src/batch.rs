//! Record batches of version 2: their headers, their records without copying them, and batches with other records in
//! place of those that came. What is not changed is kept as it was: whatever a broker or a client can see of a batch.

mod write;

pub use write::{HeaderList, Writer};

use crate::{
    compress::{Codec, Incompressible},
    read::{Malformed, Reader, What},
};

/// From the first offset to the count of records.
const HEAD: usize = 61;
/// Before the length counts: first offset and length.
const BEFORE_LENGTH: usize = 12;
const MAGIC_AT: usize = 16;
/// What the checksum covers begins here.
const CRC_COVERS: usize = 21;
/// A record without key, value and headers.
const RECORD_LEAST: usize = 7;
const HEADER_LEAST: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Incompressible(#[from] Incompressible),
    #[error(
        "a message set of format {0}; only record batches of format 2 are read: use a client of Kafka 0.11 or newer"
    )]
    Magic(i8),
    #[error("an unknown codec")]
    Codec,
    #[error("the checksum of the batch is not that of its bytes")]
    Checksum,
    #[error("the batch has more records than are allowed")]
    TooManyRecords,
    #[error("a record has more headers than are allowed")]
    TooManyHeaders,
}

impl From<What> for Unreadable {
    fn from(what: What) -> Self {
        Self::Malformed(what.into())
    }
}

/// What a stranger's batch may cost at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that the records of one batch take uncompressed.
    pub inflated: usize,
    pub records: usize,
    /// Headers of one record.
    pub headers: usize,
}

/// The header of a batch, but for what follows from its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub base_offset: i64,
    pub leader_epoch: i32,
    pub attributes: Attributes,
    /// From the first offset to the last that the batch ever had; records may have gone since.
    pub last_offset_delta: i32,
    /// What the records' timestamps count from, or the delete horizon.
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    const CODEC: i16 = 0b111;

    const fn has(self, bit: u8) -> bool {
        self.0 >> bit & 1 != 0
    }

    /// Timestamps are the broker's, of when it appended; else the producer's.
    pub const fn log_append_time(self) -> bool {
        self.has(3)
    }

    pub const fn transactional(self) -> bool {
        self.has(4)
    }

    /// Marks the end of a transaction and the like; clients send none.
    pub const fn control(self) -> bool {
        self.has(5)
    }

    /// The base timestamp is when tombstones may go.
    pub const fn delete_horizon(self) -> bool {
        self.has(6)
    }

    pub const fn with_codec(self, codec: Codec) -> Self {
        Self(self.0 & !Self::CODEC | codec.number())
    }
}

/// A batch where it is.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    pub head: Head,
    pub crc: u32,
    /// How many records it has; held to them when they are read.
    pub count: i32,
    bytes: &'a [u8],
}

/// The batches of a partition, one after the other. A fetch may cut off the last one: it is in `rest`.
pub struct Batches<'a> {
    reader: Reader<'a>,
}

impl<'a> Batches<'a> {
    pub const fn new(records: &'a [u8]) -> Self {
        Self { reader: Reader::new(records) }
    }

    /// What has not been handed out: after the last batch, the beginning of one that was cut off.
    pub fn rest(&self) -> &'a [u8] {
        self.reader.rest()
    }

    fn read(&mut self) -> Result<Option<Batch<'a>>, Unreadable> {
        let Some(head) = self.rest().get(..=MAGIC_AT) else { return Ok(None) };
        let mut reader = Reader { bytes: head, at: 8 };
        let length = usize::try_from(reader.i32()?).map_err(|_| What::Length)?;
        reader.at = MAGIC_AT;
        // Older sets of messages have their length and format at the same places.
        let magic = reader.i8()?;
        if magic != 2 {
            return Err(Unreadable::Magic(magic));
        }
        if length < HEAD - BEFORE_LENGTH {
            return Err(What::Length.into());
        }
        let Some(bytes) = self.rest().get(..length.saturating_add(BEFORE_LENGTH)) else {
            return Ok(None);
        };
        self.reader.at += bytes.len();
        let mut reader = Reader::new(bytes);
        let base_offset = reader.i64()?;
        reader.at = BEFORE_LENGTH;
        let leader_epoch = reader.i32()?;
        reader.at = MAGIC_AT + 1;
        let crc = reader.i32()?.cast_unsigned();
        let head = Head {
            base_offset,
            leader_epoch,
            attributes: Attributes(reader.i16()?),
            last_offset_delta: reader.i32()?,
            base_timestamp: reader.i64()?,
            max_timestamp: reader.i64()?,
            producer_id: reader.i64()?,
            producer_epoch: reader.i16()?,
            base_sequence: reader.i32()?,
        };
        Ok(Some(Batch { head, crc, count: reader.i32()?, bytes }))
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.read().transpose();
        if let Some(Err(_)) = batch {
            // Nobody can tell where the next one would begin.
            self.reader.bytes = &[];
        }
        batch
    }
}

impl<'a> Batch<'a> {
    /// All of it, to be passed on as it is.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    fn payload(&self) -> &'a [u8] {
        self.bytes.get(HEAD..).unwrap_or_default()
    }

    pub fn codec(&self) -> Result<Codec, Unreadable> {
        let number = self.head.attributes.0 & Attributes::CODEC;
        Codec::of(number, self.payload()).ok_or(Unreadable::Codec)
    }

    pub fn verify(&self) -> Result<(), Unreadable> {
        let covered = self.bytes.get(CRC_COVERS..).unwrap_or_default();
        if crc32c::crc32c(covered) == self.crc { Ok(()) } else { Err(Unreadable::Checksum) }
    }

    /// Its records, after its checksum. What is compressed is inflated into `space`, which is emptied before.
    pub fn records<'s>(
        &self,
        limits: Limits,
        space: &'s mut Vec<u8>,
    ) -> Result<Records<'s>, Unreadable>
    where
        'a: 's,
    {
        let bytes = self.inflated(limits, space)?;
        self.records_in(limits, bytes)
    }

    /// Its records as bytes, after its checksum: a part of the batch, or of `space` if they were compressed.
    pub fn inflated<'s>(
        &self,
        limits: Limits,
        space: &'s mut Vec<u8>,
    ) -> Result<&'s [u8], Unreadable>
    where
        'a: 's,
    {
        self.verify()?;
        let bytes = match self.codec()? {
            // An empty batch says none, whatever it was when it had records.
            Codec::None => self.payload(),
            _ if self.count == 0 && self.payload().is_empty() => &[],
            codec => {
                space.clear();
                codec.inflate(self.payload(), limits.inflated, space)?;
                &*space
            }
        };
        match bytes.len() > limits.inflated {
            true => Err(Incompressible::TooLarge.into()),
            false => Ok(bytes),
        }
    }

    /// The records in what [`Batch::inflated`] gave.
    pub fn records_in<'s>(
        &self,
        limits: Limits,
        bytes: &'s [u8],
    ) -> Result<Records<'s>, Unreadable> {
        let count = usize::try_from(self.count).map_err(|_| What::Length)?;
        if count > bytes.len() / RECORD_LEAST {
            return Err(What::Length.into());
        }
        if count > limits.records {
            return Err(Unreadable::TooManyRecords);
        }
        Ok(Records { reader: Reader::new(bytes), left: count, headers: limits.headers })
    }
}

/// The records of a batch. That nothing is behind the last one is found when it has been asked for what comes after.
pub struct Records<'a> {
    reader: Reader<'a>,
    left: usize,
    headers: usize,
}

/// A record where it is in its batch. Any of it may be changed before it is written into another one.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub attributes: i8,
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    /// Null is not empty, here and below.
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = if self.left > 0 {
            self.left -= 1;
            self.read()
        } else if self.reader.left() > 0 {
            Err(What::Trailing.into())
        } else {
            return None;
        };
        if record.is_err() {
            self.left = 0;
            self.reader = Reader::new(&[]);
        }
        Some(record)
    }
}

impl<'a> Records<'a> {
    fn read(&mut self) -> Result<Record<'a>, Unreadable> {
        let length = usize::try_from(self.reader.varint()?).map_err(|_| What::Length)?;
        let mut reader = Reader::new(self.reader.take(length)?);
        let attributes = reader.i8()?;
        let timestamp_delta = reader.varlong()?;
        let offset_delta = reader.varint()?;
        let key = nullable(&mut reader)?;
        let value = nullable(&mut reader)?;
        let count = usize::try_from(reader.varint()?).map_err(|_| What::Length)?;
        if count > reader.left() / HEADER_LEAST {
            return Err(What::Length.into());
        }
        if count > self.headers {
            return Err(Unreadable::TooManyHeaders);
        }
        let headers = Headers { count, bytes: reader.rest() };
        for _ in 0..count {
            header(&mut reader)?;
        }
        if reader.left() > 0 {
            return Err(What::Trailing.into());
        }
        Ok(Record { attributes, timestamp_delta, offset_delta, key, value, headers })
    }
}

/// Bytes behind their length, of which -1 is null.
fn nullable<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Malformed> {
    match reader.varint()? {
        -1 => Ok(None),
        length => {
            let length = usize::try_from(length).map_err(|_| What::Length)?;
            reader.take(length).map(Some)
        }
    }
}

/// A header's name, which is UTF-8 by agreement only, and its value.
pub type Pair<'a> = (&'a [u8], Option<&'a [u8]>);

fn header<'a>(reader: &mut Reader<'a>) -> Result<Pair<'a>, Malformed> {
    let name = nullable(reader)?.ok_or(What::Null)?;
    Ok((name, nullable(reader)?))
}

/// The headers of a record in their order; a name may be there more than once.
#[derive(Clone, Copy)]
pub struct Headers<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    pub const NONE: Self = Self { count: 0, bytes: &[] };

    pub const fn len(&self) -> usize {
        self.count
    }

    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = Pair<'a>> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        // They were read once, so that none of them is malformed.
        (0..self.count).map_while(move |_| header(&mut reader).ok())
    }
}

/// Why a broker refuses a batch from a client whatever is in its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFromClient {
    #[error("a client may not write control batches")]
    Control,
    #[error("the batch has no records, or as many as its offsets do not allow")]
    Count,
    #[error("a producer id without a sequence")]
    Sequence,
}

impl Head {
    /// What a broker asks of a batch that a client has just made, and asks before it looks at records.
    pub fn check_produced(&self, count: i32) -> Result<(), NotFromClient> {
        if count <= 0 || i64::from(count) != i64::from(self.last_offset_delta) + 1 {
            return Err(NotFromClient::Count);
        }
        if self.attributes.control() {
            return Err(NotFromClient::Control);
        }
        if self.producer_id >= 0 && self.base_sequence < 0 {
            return Err(NotFromClient::Sequence);
        }
        Ok(())
    }
}
