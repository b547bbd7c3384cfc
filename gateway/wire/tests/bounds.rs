//! No frame makes the process allocate more than a small multiple of its own size, and reading one allocates nothing.
//! Without the test runner, whose threads allocate meanwhile.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: a broken assumption ends the test"
)]

use std::alloc::System;

use sluicegate_wire::{
    APIS, Change, Direction, Versions,
    batch::{Batches, Limits},
    compress::{Codec, Incompressible},
    frame_length, request_header, rewrite,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes allocated meanwhile, those that were freed again included.
fn allocated(run: impl FnOnce()) -> usize {
    let region = Region::new(ALLOCATOR);
    run();
    region.change().bytes_allocated
}

/// Bodies that announce more than they have, in each of the ways in which a body can.
fn hostile() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = vec![
        // An array of 2^31 - 2 topics, and the other lengths that there are.
        vec![0x7f, 0xff, 0xff, 0xfe],
        vec![0x7f, 0xff],
        vec![0xff, 0xff, 0xff, 0xff, 0x0f],
        vec![0xff, 0xff, 0xff, 0xff, 0x07],
        vec![0x80, 0x80, 0x80, 0x80, 0x80],
    ];
    for byte in [0_u8, 1, 2, 0x7e, 0x7f, 0x80, 0xff] {
        bodies.extend([4, 50, 3000].map(|length| vec![byte; length]));
    }
    let starts: Vec<Vec<u8>> = bodies.iter().take(5).cloned().collect();
    for before in 1..12 {
        bodies.extend(starts.iter().map(|body| [&vec![0; before], body.as_slice()].concat()));
        bodies.extend(starts.iter().map(|body| [&vec![1; before], body.as_slice()].concat()));
    }
    bodies
}

fn main() {
    no_frame_allocates_more_than_it_is_long();
    headers();
    batches();
    codecs();
}

fn no_frame_allocates_more_than_it_is_long() {
    let bodies = hostile();
    for api in APIS {
        let Versions(first, last) = api.versions;
        for version in first..=last {
            for direction in [Direction::Request, Direction::Response] {
                let layout = api.layout(direction, version).unwrap();
                for body in &bodies {
                    let mut parsed = None;
                    let cost = allocated(|| parsed = layout.parse(body).ok());
                    assert_eq!(cost, 0, "{:?} {version}", api.key);
                    let Some(view) = parsed else { continue };
                    let cost = allocated(|| {
                        let mut visited = 0;
                        let result = rewrite(view, |_| {
                            visited += 1;
                            Ok(if visited % 2 == 0 { Change::Remove } else { Change::Keep })
                        });
                        drop(result);
                    });
                    assert!(cost <= 2 * body.len() + 200, "{:?} {version}: {cost}", api.key);
                }
            }
        }
    }
}

fn headers() {
    for frame in
        [&b""[..], b"\0", b"\0\x03\0\x01", b"\0\x12\0\x7f\0\0\0\0", b"\0\x03\0\x0c\0\0\0\0\x7f\xff"]
    {
        let cost = allocated(|| drop(request_header(frame)));
        assert_eq!(cost, 0);
    }
    let cost = allocated(|| {
        assert!(frame_length(&[0x7f, 0xff, 0xff, 0xff], 1 << 20).is_err());
        assert!(frame_length(&[0xff, 0xff, 0xff, 0xff], 1 << 20).is_err());
        assert_eq!(frame_length(&[0, 0x10, 0, 0], 1 << 20), Ok(Some(1 << 20)));
        assert_eq!(frame_length(&[0, 0x10, 0], 1 << 20), Ok(None));
    });
    assert_eq!(cost, 0);
}

const LIMITS: Limits = Limits { inflated: 1 << 20, records: 1 << 20, headers: 1 << 20 };

/// A batch with a right checksum around anything.
fn batch(codec: u8, count: i32, records: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 61];
    bytes.extend(records);
    let length = bytes.len() as i32 - 12;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16] = 2;
    bytes[22] = codec;
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn batches() {
    // A record that claims 2^31 - 1 headers.
    let headers = [20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f];
    for bytes in [
        batch(0, i32::MAX, &[]),
        batch(0, i32::MAX, &[0; 100]),
        batch(0, -1, &[]),
        batch(0, 1, &headers),
        batch(0, 1, &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
        batch(0, 1, &[0xff; 20]),
        batch(7, 1, &[0; 20]),
    ] {
        let cost = allocated(|| {
            let batch = Batches::new(&bytes).next().unwrap().ok().unwrap();
            let mut space = Vec::new();
            let refused = batch.records(LIMITS, &mut space);
            assert!(
                refused.is_err() || refused.is_ok_and(|mut records| records.any(|r| r.is_err()))
            );
        });
        assert_eq!(cost, 0);
    }
    // A count that the bytes cannot hold is refused before any record is asked for.
    for bytes in [batch(0, 15, &[0; 100]), batch(0, i32::MAX, &[0; 100])] {
        let batch = Batches::new(&bytes).next().unwrap().ok().unwrap();
        assert!(batch.records(LIMITS, &mut Vec::new()).is_err());
    }
    // Iterating takes nothing either.
    let many = batch(0, 1000, &[12, 0, 0, 0, 1, 1, 0].repeat(1000));
    let cost = allocated(|| {
        let batch = Batches::new(&many).next().unwrap().ok().unwrap();
        let mut space = Vec::new();
        assert_eq!(batch.records(LIMITS, &mut space).ok().unwrap().count(), 1000);
    });
    assert_eq!(cost, 0);
}

fn codecs() {
    let zeros = vec![0; 100 << 20];
    for codec in [Codec::Gzip, Codec::Snappy, Codec::SnappyXerial, Codec::Lz4, Codec::Zstd] {
        let mut bomb = Vec::new();
        codec.deflate(&zeros, &mut bomb).unwrap();
        let cost = allocated(|| {
            let mut out = Vec::new();
            assert!(codec.inflate(&bomb, LIMITS.inflated, &mut out).is_err(), "{codec:?}");
        });
        // What grows is counted at each size that it had; a decoder has tables and a window besides.
        assert!(cost <= 6 * LIMITS.inflated, "{codec:?}: {cost}");
    }
    // A window of 128 MiB, and blocks of 128 KiB of one byte each.
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x88];
    bomb.extend([0x02, 0x00, 0x10, b'x'].repeat(2000));
    let cost = allocated(|| {
        let mut out = Vec::new();
        assert_eq!(
            Codec::Zstd.inflate(&bomb, LIMITS.inflated, &mut out),
            Err(Incompressible::TooLarge)
        );
    });
    assert!(cost <= 8 * LIMITS.inflated, "{cost}");
    for (codec, claim) in [
        // Raw snappy of 2^32 - 1 bytes, and of as many as are allowed; a window of 128 MiB with nothing in it; a single segment of 2^62 bytes.
        (Codec::Snappy, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0][..]),
        (Codec::Snappy, &[0x80, 0x80, 0x40, 0]),
        (Codec::Zstd, &[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x88, 0x01, 0, 0]),
        (Codec::Zstd, &[0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x40, 1, 0, 0]),
        (
            Codec::Lz4,
            &[
                4, 0x22, 0x4d, 0x18, 0x68, 0x70, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0,
                5, 0, 0, 0,
            ],
        ),
    ] {
        let cost = allocated(|| {
            let mut out = Vec::new();
            // An empty window is no fault, however large.
            let _result = codec.inflate(claim, LIMITS.inflated, &mut out);
            assert!(out.is_empty());
        });
        assert!(cost <= 100_000, "{codec:?}: {cost}");
    }
}
