//! Reading records back.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use sluicegate_policies::Operation;
use sluicegate_protect::{Protected, json};

use super::{
    Desk,
    headers::purpose,
    problems::{full, stopped},
};
use crate::{
    identify::Principal,
    listen::{accept::Peer, problem::Problem},
    record::Stored,
    request::{Target, Wanted},
};

/// Records of one read.
const READ_RECORDS_MAX: usize = 1_000;
/// How many times the bytes of a read are in memory while it is worked on: as stored, as the
/// reader may see them, and as lines.
const READ_COPIES: usize = 3;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadQuery {
    /// The region to read from; needed when there are several.
    region: Option<String>,
    /// The first offset to read.
    #[serde(default)]
    #[param(minimum = 0)]
    offset: u64,
    /// How many records at most, 1 to 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

/// Read records back
///
/// Records of one partition from an offset on, one per line, as the reader's purpose may see them:
/// at most `limit`, and no more than fit in the gateway's bound for an answer. Continue after the
/// last offset. The read is recorded in the ledger before the first byte is sent.
#[utoipa::path(
    get,
    path = "/v1/topics/{topic}/partitions/{partition}/records",
    params(
        ("topic" = String, Path, description = "The topic's name", max_length = 249),
        ("partition" = u32, Path, description = "The partition's number"),
        ("sluicegate-purpose" = Option<String>, Header,
            description = "The purpose of this processing; needed when the principal has several",
            pattern = "^[A-Za-z0-9._-]+$", max_length = 256),
        ReadQuery,
    ),
    responses(
        (status = 200, description = "Records, one per line", content_type = "application/x-ndjson",
            body = String),
        (status = 400, description = "The request is not valid"),
        (status = 403, description = "The policy does not permit this"),
        (status = 404, description = "No such topic or partition"),
        (status = 429, description = "The principal's share of memory is used up"),
        (status = 503, description = "The gateway is failing closed"),
    )
)]
pub(super) async fn read(
    State(state): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Extension(peer): Extension<Peer>,
    path: Result<Path<(String, u32)>, PathRejection>,
    query: Result<Query<ReadQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path((topic, partition)) =
        path.map_err(|_| Problem::bad_request("the partition must be a number"))?;
    let Query(query) =
        query.map_err(|_| Problem::bad_request("`region`, `offset` or `limit` is not valid"))?;
    let limit = usize::from(query.limit.unwrap_or(100));
    if !(1..=READ_RECORDS_MAX).contains(&limit) {
        return Err(Problem::bad_request("`limit` must be 1 to 1000"));
    }
    let offset =
        i64::try_from(query.offset).map_err(|_| Problem::bad_request("`offset` is too large"))?;
    let target = Target { topic, purpose: purpose(&headers)? };
    let permitted =
        state.flow.permit(&principal, &target, Operation::Read).await.map_err(stopped)?;
    let wanted = Wanted {
        region: query.region,
        partition,
        offset,
        limit,
        bytes: state.limits.read_bytes,
        origin: state.flow.origin(peer.address.ip()),
    };
    let mut admitted = state.admission.enter(&principal.name);
    // A page has at least one record, however large.
    let page = state.limits.read_bytes.saturating_add(state.limits.record_bytes);
    admitted.grow_to(page.saturating_mul(READ_COPIES)).await.map_err(full)?;
    let render = |lines: &mut Vec<u8>, stored: &Stored, shown: &Protected| {
        line(lines, partition, stored, shown);
    };
    let lines = state.flow.read(&permitted, wanted, render).await.map_err(stopped)?;
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok(admitted.carry((StatusCode::OK, kind, lines).into_response()))
}

/// One line of a read: value and key as JSON where they are JSON, as text else.
fn line(lines: &mut Vec<u8>, partition: u32, stored: &Stored, shown: &Protected) {
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        serde_json::to_string(&text).unwrap_or_default()
    };
    let json = |bytes: &[u8]| match json::validate(bytes) {
        Ok(()) => String::from_utf8_lossy(bytes).into_owned(),
        Err(_) => text(bytes),
    };
    let key = shown.key().map_or_else(|| "null".to_owned(), json);
    let value = match stored.value {
        Some(_) => json(&shown.value),
        None => "null".to_owned(),
    };
    let headers: Vec<String> = shown
        .headers
        .iter()
        .map(|(name, value)| {
            let value = value.as_deref().map_or_else(|| "null".to_owned(), text);
            format!("[{},{value}]", text(name.as_bytes()))
        })
        .collect();
    let line = format!(
        "{{\"partition\":{partition},\"offset\":{},\"timestamp_ms\":{},\"key\":{key},\"headers\":[{}],\"value\":{value}}}\n",
        stored.offset,
        stored.timestamp_ms,
        headers.join(",")
    );
    lines.extend_from_slice(line.as_bytes());
}
