//! Any bytes as the records of a batch, as they are or as what a codec would have left of them: nothing grows beyond
//! its limit, and what is read is the same after it was written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate_wire::{
    batch::{Batch, Batches, Limits, Writer},
    compress::Codec,
};

const LIMITS: Limits = Limits { inflated: 1 << 16, records: 1000, headers: 50 };
const CODECS: [Codec; 6] =
    [Codec::None, Codec::Gzip, Codec::Snappy, Codec::SnappyXerial, Codec::Lz4, Codec::Zstd];

fn patch(bytes: &mut [u8], at: usize, with: &[u8]) {
    bytes[at..at + with.len()].copy_from_slice(with);
}

fn read(batch: Batch<'_>) -> Option<Vec<u8>> {
    let mut space = Vec::new();
    let records = batch.records(LIMITS, &mut space).ok()?;
    let (mut out, mut other) = (Vec::new(), Vec::new());
    let mut writer = Writer::new(batch.head, batch.codec().ok()?, &mut out, &mut other);
    for record in records {
        let record = record.ok()?;
        assert_eq!(record.headers.iter().count(), record.headers.len());
        writer.push(&record);
    }
    writer.finish().expect("smaller than the limit");
    Some(out)
}

fuzz_target!(|data: &[u8]| {
    let Some(([choice, count], records)) = data.split_first_chunk() else { return };
    let codec = CODECS[usize::from(choice % 6)];
    let mut bytes = vec![0; 61];
    if choice & 0x80 == 0 {
        bytes.extend(records);
    } else {
        codec.deflate(records, &mut bytes).expect("anything deflates");
    }
    let length = (bytes.len() - 12) as i32;
    patch(&mut bytes, 8, &length.to_be_bytes());
    bytes[16] = 2;
    bytes[22] = [0, 1, 2, 2, 3, 4][usize::from(choice % 6)];
    bytes[60] = *count;
    let crc = crc32c::crc32c(&bytes[21..]);
    patch(&mut bytes, 17, &crc.to_be_bytes());
    let mut inflated = Vec::new();
    let _refused = codec.inflate(records, LIMITS.inflated, &mut inflated);
    assert!(inflated.len() <= LIMITS.inflated + 1);

    let batch = Batches::new(&bytes).next().expect("all of it is there").expect("a head");
    let Some(written) = read(batch) else { return };
    let again = Batches::new(&written).next().expect("all of it").expect("a head");
    assert_eq!(read(again).expect("what we wrote"), written);
    // Also when the bytes begin anywhere else.
    for batch in Batches::new(records).map_while(Result::ok) {
        let _copy = read(batch);
    }
});
