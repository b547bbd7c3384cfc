//! Record batches: what comes back after reading and writing, and what is refused.

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use sluicegate_wire::{
    batch::{
        Attributes, Batch, Batches, Head, HeaderList, Headers, Limits, NotFromClient, Record,
        Unreadable, Writer,
    },
    compress::{Codec, Incompressible},
};

use crate::{common::Random, kafka::hex};

pub(crate) const LIMITS: Limits = Limits { inflated: 1 << 20, records: 10_000, headers: 100 };

pub(crate) const CODECS: [Codec; 6] =
    [Codec::None, Codec::Gzip, Codec::Snappy, Codec::SnappyXerial, Codec::Lz4, Codec::Zstd];

fn one(bytes: &[u8]) -> Batch<'_> {
    let mut batches = Batches::new(bytes);
    let batch = batches.next().unwrap().unwrap_or_else(|e| panic!("{e}"));
    assert!(batches.next().is_none() && batches.rest().is_empty());
    batch
}

/// Any of what brokers keep: keys, values and headers that are null, empty or twice, gaps, all flags and codecs.
pub(crate) fn random_batch(random: &mut Random) -> Vec<u8> {
    let codec = CODECS[random.below(6) as usize];
    let control = i16::from(random.below(10) == 0);
    let (log_append, horizon) = (random.below(2) as i16, random.below(2) as i16);
    let sequenced = random.below(2) == 0;
    let transactional = if sequenced { random.below(2) as i16 } else { 0 };
    let count = if control == 1 { 0 } else { random.below(8) as i32 };
    let head = Head {
        base_offset: random.below(1 << 40).cast_signed(),
        leader_epoch: random.below(100) as i32 - 1,
        attributes: Attributes(log_append << 3 | transactional << 4 | control << 5 | horizon << 6),
        last_offset_delta: count * 2 + random.below(3) as i32,
        base_timestamp: random.below(1 << 40).cast_signed(),
        max_timestamp: random.below(1 << 40).cast_signed(),
        producer_id: if sequenced { random.below(1 << 40).cast_signed() } else { -1 },
        producer_epoch: if sequenced { 3 } else { -1 },
        base_sequence: if sequenced { random.below(1 << 20) as i32 } else { -1 },
    };
    let (mut out, mut space) = (Vec::new(), Vec::new());
    let mut writer = Writer::new(head, codec, &mut out, &mut space);
    for at in 0..count {
        let mut bytes = || {
            // Now and then more than a codec's block.
            let most = if random.below(30) == 0 { 90_000 } else { 30 };
            random.bytes(most)
        };
        let (key, value, other) = (bytes(), bytes(), bytes());
        let mut headers = HeaderList::default();
        for _ in 0..random.below(4) {
            let name = [&b"h"[..], b"", "ä".as_bytes()][random.below(3) as usize];
            headers.push(name, (random.below(3) > 0).then_some(&other[..other.len().min(9)]));
        }
        writer.push(&Record {
            attributes: 0,
            timestamp_delta: random.below(2000).cast_signed() - 1000,
            offset_delta: at * 2 + random.below(2) as i32,
            key: (random.below(3) > 0).then_some(&key),
            value: (random.below(3) > 0).then_some(&value),
            headers: headers.headers(),
        });
    }
    writer.finish().unwrap();
    let attributes = head.attributes.with_codec(if count == 0 { Codec::None } else { codec });
    assert_eq!(one(&out).head, Head { attributes, ..head });
    out
}

/// As `Oracle.java` says it.
pub(crate) fn seen(bytes: &[u8]) -> Json {
    let batch = one(bytes);
    let Head { base_offset, attributes, base_timestamp, max_timestamp, .. } = batch.head;
    let mut space = Vec::new();
    let records = batch.records(LIMITS, &mut space).unwrap();
    let records = records.map(|record| {
        let record = record.unwrap();
        let headers = record.headers.iter().map(|(name, value)| {
            use base64::{Engine as _, engine::general_purpose::STANDARD};
            json!([str::from_utf8(name).unwrap(), value.map(|value| STANDARD.encode(value))])
        });
        let some = |bytes: Option<&[u8]>| bytes.map(|b| hex(b).trim_matches('-').to_owned());
        let append = attributes.log_append_time();
        let delta = base_timestamp + record.timestamp_delta;
        json!({
            "offset": base_offset + i64::from(record.offset_delta),
            "timestamp": if append { max_timestamp } else { delta },
            "key": some(record.key),
            "value": some(record.value),
            "headers": headers.collect::<Vec<_>>(),
        })
    });
    json!([{
        "baseOffset": base_offset,
        "lastOffset": base_offset + i64::from(batch.head.last_offset_delta),
        "leaderEpoch": batch.head.leader_epoch,
        "codec": attributes.0 & 7,
        "logAppendTime": attributes.log_append_time(),
        "transactional": attributes.transactional(),
        "control": attributes.control(),
        "deleteHorizon": if attributes.delete_horizon() { base_timestamp } else { -1 },
        "maxTimestamp": max_timestamp,
        "baseTimestamp": base_timestamp,
        "producerId": batch.head.producer_id,
        "producerEpoch": batch.head.producer_epoch,
        "baseSequence": batch.head.base_sequence,
        "count": batch.count,
        "records": records.collect::<Vec<_>>(),
    }])
}

/// Kafka's builder makes its own choices about the head; the records are the same.
pub(crate) fn same_content(ours: &[u8], kafkas: &[u8]) {
    let (ours, kafkas) = (seen(ours), seen(kafkas));
    for field in ["baseOffset", "codec", "producerId", "baseSequence", "count", "records"] {
        assert_eq!(ours[0][field], kafkas[0][field], "{field}");
    }
}

fn copy(bytes: &[u8]) -> Vec<u8> {
    let batch = one(bytes);
    let (mut inflated, mut out, mut space) = (Vec::new(), Vec::new(), Vec::new());
    let mut writer = Writer::new(batch.head, batch.codec().unwrap(), &mut out, &mut space);
    for record in batch.records(LIMITS, &mut inflated).unwrap() {
        writer.push(&record.unwrap());
    }
    writer.finish().unwrap();
    out
}

#[test]
fn a_batch_is_the_same_after_it_was_taken_apart() {
    let mut random = Random(1);
    for _ in 0..500 {
        let bytes = random_batch(&mut random);
        assert_eq!(seen(&bytes), seen(&copy(&bytes)));
        assert_eq!(bytes, copy(&bytes));
    }
}

#[test]
fn changed_bytes_are_read_or_refused() {
    let mut random = Random(2);
    for _ in 0..2000 {
        let mut bytes = random_batch(&mut random);
        for _ in 0..1 + random.below(6) {
            let at = 17 + random.below(bytes.len() as u64 - 17) as usize;
            bytes[at] = if random.below(3) == 0 { 0xff } else { random.next() as u8 };
        }
        if random.below(10) > 0 {
            let crc = crc32c::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        let batch = one(&bytes);
        let mut space = Vec::new();
        if let Ok(records) = batch.records(LIMITS, &mut space) {
            for record in records.map_while(Result::ok) {
                assert_eq!(record.headers.iter().count(), record.headers.len());
            }
        }
        assert!(space.len() <= LIMITS.inflated + 1);
    }
}

#[test]
fn hidden_records_leave_their_offsets() {
    let mut random = Random(3);
    let (mut inflated, mut out, mut space) = (Vec::new(), Vec::new(), Vec::new());
    for codec in CODECS {
        let bytes = recompressed(&random_batch(&mut random), codec);
        let batch = one(&bytes);
        out.clear();
        let writer = Writer::new(batch.head, codec, &mut out, &mut space);
        writer.finish().unwrap();
        let empty = one(&out);
        assert_eq!((empty.count, empty.codec()), (0, Ok(Codec::None)));
        let attributes = empty.head.attributes;
        assert_eq!(Head { attributes, ..batch.head }, empty.head);
        assert_eq!(attributes, batch.head.attributes.with_codec(Codec::None));
        assert_eq!(empty.records(LIMITS, &mut inflated).unwrap().count(), 0);
    }
}

fn recompressed(bytes: &[u8], codec: Codec) -> Vec<u8> {
    let batch = one(bytes);
    let (mut inflated, mut out, mut space) = (Vec::new(), Vec::new(), Vec::new());
    let mut writer = Writer::new(batch.head, codec, &mut out, &mut space);
    for record in batch.records(LIMITS, &mut inflated).unwrap() {
        writer.push(&record.unwrap());
    }
    writer.finish().unwrap();
    out
}

fn with_value(codec: Codec, value: &[u8]) -> Vec<u8> {
    let head = one(&random_batch(&mut Random(4))).head;
    let (mut out, mut space) = (Vec::new(), Vec::new());
    let mut writer = Writer::new(head, codec, &mut out, &mut space);
    writer.push(&Record {
        attributes: 0,
        timestamp_delta: 0,
        offset_delta: 0,
        key: None,
        value: Some(value),
        headers: Headers::NONE,
    });
    writer.finish().unwrap();
    out
}

#[test]
fn what_inflates_too_far_is_refused_with_each_codec() {
    let large = vec![b'x'; LIMITS.inflated * 2];
    let fits = vec![b'x'; LIMITS.inflated - 100];
    for codec in CODECS {
        let mut space = Vec::new();
        let bytes = with_value(codec, &fits);
        assert_eq!(one(&bytes).records(LIMITS, &mut space).unwrap().count(), 1, "{codec:?}");
        let bytes = with_value(codec, &large);
        let refused = one(&bytes).records(LIMITS, &mut space).err();
        let expected = Unreadable::Incompressible(Incompressible::TooLarge);
        assert_eq!(refused, Some(expected), "{codec:?}");
        assert!(space.len() <= LIMITS.inflated + 1, "{codec:?}");
    }
}

#[test]
fn older_formats_are_named() {
    for magic in [0, 1] {
        let mut bytes = with_value(Codec::None, b"v");
        bytes[16] = magic;
        let refused = Batches::new(&bytes).next().unwrap().err();
        assert_eq!(refused, Some(Unreadable::Magic(magic as i8)));
    }
}

#[test]
fn a_batch_that_was_cut_off_is_the_rest() {
    let whole = with_value(Codec::None, b"v");
    for end in 0..whole.len() {
        let bytes = [&whole, &whole[..end]].concat();
        let mut batches = Batches::new(&bytes);
        assert!(batches.next().unwrap().is_ok());
        assert!(batches.next().is_none());
        assert_eq!(batches.rest(), &whole[..end]);
    }
}

#[test]
fn a_wrong_checksum_is_refused() {
    let mut bytes = with_value(Codec::None, b"v");
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(one(&bytes).records(LIMITS, &mut Vec::new()).err(), Some(Unreadable::Checksum));
}

#[test]
fn what_a_broker_refuses_before_the_records() {
    let mut head = one(&with_value(Codec::None, b"v")).head;
    head.attributes = Attributes(0);
    (head.producer_id, head.base_sequence, head.last_offset_delta) = (-1, -1, 2);
    assert_eq!(head.check_produced(3), Ok(()));
    assert_eq!(head.check_produced(2), Err(NotFromClient::Count));
    head.attributes = Attributes(1 << 5);
    assert_eq!(head.check_produced(3), Err(NotFromClient::Control));
    (head.attributes, head.producer_id) = (Attributes(0), 5);
    assert_eq!(head.check_produced(3), Err(NotFromClient::Sequence));
    head.last_offset_delta = -1;
    assert_eq!(head.check_produced(0), Err(NotFromClient::Count));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_deflated_inflates(bytes in prop::collection::vec(0_u8..4, 0..100_000)) {
        for codec in CODECS {
            let (mut deflated, mut back) = (Vec::new(), Vec::new());
            codec.deflate(&bytes, &mut deflated).unwrap();
            codec.inflate(&deflated, bytes.len(), &mut back).unwrap();
            prop_assert_eq!(&back, &bytes);
        }
    }

    #[test]
    fn nothing_that_inflates_exceeds_its_limit(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let starts: [&[u8]; 6] =
            [b"", b"\x1f\x8b\x08\0\0\0\0\0\0\xff", b"", b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01",
             b"\x04\x22\x4d\x18\x60\x40\x82", b"\x28\xb5\x2f\xfd\x00\x58"];
        for (codec, start) in CODECS.into_iter().zip(starts) {
            let mut out = Vec::new();
            let _refused = codec.inflate(&[start, &bytes].concat(), 1000, &mut out);
            prop_assert!(out.len() <= 1001);
        }
    }
}
