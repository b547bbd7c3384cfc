//! Record batches of clients: records out of them, and others into their places.

use bytes::Bytes;
use sluicegate_audit::Recorded;
use sluicegate_wire::{
    batch::{self, HeaderList, Writer},
    codes,
    compress::{Codec, Incompressible},
};

use super::produce::Refusal;
use crate::{
    config::Limits,
    deliver::{POSITION_HEADER, RESERVED_HEADER_PREFIX},
    record::{Record, Sending, Verdict, lot},
};

/// Headers of one record.
const HEADERS_MAX: usize = 1_000;
/// What of a record is not the policy's business and stays as it was.
pub(super) struct Kept {
    attributes: i8,
    timestamp_delta: i64,
}

pub(super) fn unreadable(why: &batch::Unreadable) -> Refusal {
    let code = match why {
        batch::Unreadable::Checksum | batch::Unreadable::Malformed(_) => codes::CORRUPT_MESSAGE,
        batch::Unreadable::Codec => codes::UNSUPPORTED_COMPRESSION_TYPE,
        batch::Unreadable::TooManyRecords
        | batch::Unreadable::Incompressible(Incompressible::TooLarge) => codes::MESSAGE_TOO_LARGE,
        _ => codes::INVALID_RECORD,
    };
    Refusal::saying(code, why.to_string())
}

pub(super) fn decode(
    limits: &Limits,
    bytes: &Bytes,
    batch: &batch::Batch<'_>,
) -> Result<(Vec<Record>, Vec<Kept>), Refusal> {
    let bounds = batch::Limits {
        inflated: limits.body_bytes,
        records: limits.request_records,
        headers: HEADERS_MAX,
    };
    let mut space = Vec::new();
    let payload = batch.inflated(bounds, &mut space).map_err(|why| unreadable(&why))?;
    let source = match batch.codec() {
        Ok(Codec::None) => bytes.slice_ref(payload),
        _ => Bytes::from(space),
    };
    let read = batch.records_in(bounds, &source).map_err(|why| unreadable(&why))?;
    let (mut records, mut kept) = (Vec::new(), Vec::new());
    each(limits.record_bytes, read, &source, &mut records, &mut kept)?;
    Ok((records, kept))
}

fn each(
    record_bytes: usize,
    read: batch::Records<'_>,
    source: &Bytes,
    records: &mut Vec<Record>,
    kept: &mut Vec<Kept>,
) -> Result<(), Refusal> {
    for (n, record) in (0_i32..).zip(read) {
        let record = record.map_err(|why| unreadable(&why))?;
        if record.offset_delta != n {
            return Err(Refusal::of(codes::INVALID_RECORD));
        }
        let mut headers = Vec::new();
        for (name, value) in record.headers.iter() {
            let Ok(name) = str::from_utf8(name) else {
                let message = "a header's name is not UTF-8".to_owned();
                let records = vec![(n, message.clone())];
                return Err(Refusal {
                    code: codes::INVALID_RECORD,
                    message: Some(message),
                    records,
                });
            };
            // A client that passes on what it read passes on our headers too; they say where that record was.
            if !name.starts_with(RESERVED_HEADER_PREFIX) {
                headers.push((name.to_owned(), value.map(<[u8]>::to_vec)));
            }
        }
        kept.push(Kept { attributes: record.attributes, timestamp_delta: record.timestamp_delta });
        let part = |part: Option<&[u8]>| part.map(|part| source.slice_ref(part));
        let record = Record { key: part(record.key), headers, value: part(record.value) };
        if record.bytes() > record_bytes {
            let message = "the record is larger than `limits.record-bytes`".to_owned();
            let (code, records) = (codes::MESSAGE_TOO_LARGE, vec![(n, message.clone())]);
            return Err(Refusal { code, message: Some(message), records });
        }
        records.push(record);
    }
    Ok(())
}

/// The batch as it goes on: as it came.
pub(super) fn whole(recorded: &Recorded<Verdict>, number: usize) -> Result<Bytes, Refusal> {
    let sending = lot(recorded, number).map(Sending::new);
    let batch = sending.as_ref().and_then(Sending::whole).cloned();
    batch.ok_or(Refusal::of(codes::UNKNOWN_SERVER_ERROR))
}

/// The batch as it goes on: other records in the same places.
pub(super) fn encode(
    recorded: &Recorded<Verdict>,
    number: usize,
    head: batch::Head,
    codec: Codec,
    kept: &[Kept],
) -> Result<Vec<u8>, Refusal> {
    let lot = lot(recorded, number).ok_or(Refusal::of(codes::UNKNOWN_SERVER_ERROR))?;
    let sending = Sending::new(lot);
    if sending.len() != kept.len() {
        return Err(Refusal::of(codes::UNKNOWN_SERVER_ERROR));
    }
    let (mut out, mut space, mut headers) = (Vec::new(), Vec::new(), HeaderList::default());
    let mut writer = Writer::new(head, codec, &mut out, &mut space);
    let mut named = None;
    for (n, (outbound, kept)) in (0..).zip(sending.copies().zip(kept)) {
        headers.clear();
        for (name, value) in outbound.headers {
            headers.push(name.as_bytes(), value.as_deref());
        }
        // The first record of a run names it for all.
        let position = outbound.position.to_bytes();
        if named.replace(outbound.position) != Some(outbound.position) {
            headers.push(POSITION_HEADER.as_bytes(), Some(&position));
        }
        writer.push(&batch::Record {
            attributes: kept.attributes,
            timestamp_delta: kept.timestamp_delta,
            offset_delta: n,
            key: outbound.key.as_deref(),
            value: outbound.value.as_deref(),
            headers: headers.headers(),
        });
    }
    writer.finish().map_err(|_| Refusal::of(codes::MESSAGE_TOO_LARGE))?;
    Ok(out)
}
