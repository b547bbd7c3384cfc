//! Publishing records: one body that is in memory, or a stream.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use sluicegate_policies::Operation;
use tokio::time::Instant;

use super::{
    Desk,
    encoding::Encoding,
    headers::{idempotency_key, purpose},
    problems::{full, stopped, too_large, too_many, unavailable, unknown_format, unreadable},
    report::{self, RecordIn, RecordReport},
    stream::{self, Frames},
};
use crate::{
    ambient::heavy,
    flow::{Keyed, Once, Permitted},
    identify::Principal,
    listen::{
        accept::Peer,
        admission::{Admitted, cost},
        body::{self, Format, Parsed, Unparsed},
        problem::Problem,
    },
    record::{Batch, Record, Records, RequestId},
    request::Target,
};

/// Publish records
///
/// One record (`application/json`), an array of them, a stream of them, one per line
/// (`application/x-ndjson`, answered by a stream of reports in the same order), or CloudEvents 1.0
/// in binary, structured or batch form. With an `Idempotency-Key`, a repetition of the request
/// publishes nothing twice and gets the first answer.
#[utoipa::path(
    post,
    path = "/v1/topics/{topic}/records",
    params(
        ("topic" = String, Path, description = "The topic's name", max_length = 249),
        ("sluicegate-purpose" = Option<String>, Header,
            description = "The purpose of this processing; needed when the principal has several",
            pattern = "^[A-Za-z0-9._-]+$", max_length = 256),
        ("idempotency-key" = Option<String>, Header,
            description = "A quoted string, unique per principal and request, kept for a day",
            pattern = r#"^("[ !#-~]{1,255}"|[!#-~]([ !#-~]{0,253}[!#-~])?)$"#),
    ),
    request_body(
        description = "One record or an array of records; or NDJSON; or CloudEvents",
        content(
            (RecordIn = "application/json"),
            (String = "application/x-ndjson"),
            (Object = "application/cloudevents+json"),
            (Vec<Object> = "application/cloudevents-batch+json"),
        )
    ),
    responses(
        (status = 200, description = "All records were delivered and recorded; for NDJSON: a \
                                      stream of reports, whatever each of them says", content(
                (Vec<RecordReport> = "application/json"), (String = "application/x-ndjson"))),
        (status = 207, description = "Some of the records were not delivered",
            body = Vec<RecordReport>),
        (status = 400, description = "The request is not valid"),
        (status = 403, description = "The policy does not permit this"),
        (status = 404, description = "No such topic"),
        (status = 408, description = "Request body timed out"),
        (status = 409, description = "A request with this idempotency key is still running"),
        (status = 413, description = "The body or a record is too large, or there are too many \
            records"),
        (status = 415, description = "The content type or encoding is not known"),
        (status = 422, description = "The policy refuses the record, or the idempotency key was \
            used for another payload"),
        (status = 429, description = "The principal's quota, or its share of memory, is used up"),
        (status = 503, description = "The gateway is failing closed"),
    )
)]
pub(super) async fn publish(
    State(state): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Extension(peer): Extension<Peer>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let started = Instant::now();
    let Path(topic) = path.map_err(|_| Problem::bad_request("the topic is not valid UTF-8"))?;
    let format = Format::of(&headers).ok_or_else(unknown_format)?;
    let encoding = Encoding::of(&headers)?;
    let key = idempotency_key(&headers)?;
    let request = Publish {
        id: RequestId(state.ambient.id().map_err(|e| unavailable("random", e.to_string()))?),
        origin: state.flow.origin(peer.address.ip()),
        principal,
        target: Target { topic, purpose: purpose(&headers)? },
        state,
    };
    // Before the body is read: a principal without permission sends nothing into memory.
    let permitted = request.permit().await?;
    if format == Format::NdJson && key.is_none() && encoding.is_none() {
        return Ok(stream::relay(request, body));
    }
    let (mut bytes, mut admitted) = request.whole(&headers, body).await?;
    let records_max = request.state.limits.request_records;
    if let Some(encoding) = encoding {
        bytes = request.decoded(encoding, bytes, &mut admitted).await?;
    }
    // A kilobyte is parsed in the time of a record.
    let parsed = heavy(bytes.len() / 1_024, || {
        body::parse(format, &headers, &bytes, records_max).map_err(|unparsed| match unparsed {
            Unparsed::TooMany => too_many(records_max),
            Unparsed::Unreadable(why) => unreadable(why),
        })
    })?;
    admitted.shrink_to(cost(bytes.len(), parsed.records.len()));
    request
        .state
        .admission
        .records(&request.principal.name, parsed.records.len(), started)
        .map_err(Problem::quota)?;
    let keyed = key.map(|key| {
        let kind = headers.get(header::CONTENT_TYPE).map(|v| v.as_bytes()).unwrap_or_default();
        request.state.flow.keyed(&request.principal, &request.target, &key, &[kind, &bytes])
    });
    let state = request.state.clone();
    let work =
        async move { Ok(admitted.carry(request.batch(&permitted, parsed, format, keyed).await?)) };
    let answer = state.to_its_end(work).await?;
    state.metrics.publish_seconds.observe(started.elapsed().as_secs_f64());
    Ok(answer)
}

/// How many times as large an encoded body usually becomes, at most.
const EXPANSION: usize = 32;
/// The shortest record: `{"value":0}` and a comma.
const RECORD_BYTES_MIN: usize = 12;

/// The bounds within which an encoded body is decoded, one after the other: the likely one first.
fn attempts(bytes: usize, body_bytes: usize) -> impl Iterator<Item = usize> {
    let likely = bytes.saturating_mul(EXPANSION);
    (likely < body_bytes).then_some(likely).into_iter().chain([body_bytes])
}

/// What a body of so many bytes can cost at most.
pub(super) fn worst(bytes: usize, records_max: usize) -> usize {
    cost(bytes, bytes.div_ceil(RECORD_BYTES_MIN).min(records_max))
}

/// One request to publish.
pub(super) struct Publish {
    pub id: RequestId,
    pub origin: [u8; 16],
    pub principal: Principal,
    pub target: Target,
    pub state: Arc<Desk>,
}

impl Publish {
    pub(super) async fn permit(&self) -> Result<Permitted, Problem> {
        let permitted = self.state.flow.permit(&self.principal, &self.target, Operation::Publish);
        permitted.await.map_err(stopped)
    }

    /// The whole body in memory, within the bounds.
    async fn whole(&self, headers: &HeaderMap, body: Body) -> Result<(Bytes, Admitted), Problem> {
        let limit = self.state.limits.body_bytes;
        let declared = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.parse::<usize>().ok());
        if declared.is_some_and(|length| length > limit) {
            return Err(too_large(limit));
        }
        // A body that says its length has all the memory it will ever need before it is read.
        let records_max = self.state.limits.request_records;
        let mut admitted = self.state.admission.enter(&self.principal.name);
        let declared = declared.unwrap_or_default();
        admitted.grow_to(worst(declared, records_max)).await.map_err(full)?;
        let idle = Duration::from_millis(self.state.limits.body_idle_timeout_ms);
        let mut frames = Frames::new(body, idle);
        let mut whole = BytesMut::new();
        while let Some(frame) = frames.next().await? {
            let bytes = whole.len() + frame.len();
            if bytes > limit {
                return Err(too_large(limit));
            }
            admitted.grow_to(worst(bytes, records_max)).await.map_err(full)?;
            whole.extend_from_slice(&frame);
        }
        Ok((whole.freeze(), admitted))
    }

    /// A decoded body. It is charged what it is likely to become, and only if it becomes more, what
    /// it can be at most.
    async fn decoded(
        &self,
        encoding: Encoding,
        bytes: Bytes,
        admitted: &mut Admitted,
    ) -> Result<Bytes, Problem> {
        let limits = &self.state.limits;
        for limit in attempts(bytes.len(), limits.body_bytes) {
            let charge = bytes.len().saturating_add(worst(limit, limits.request_records));
            admitted.grow_to(charge).await.map_err(full)?;
            if let Some(decoded) = encoding.decoded(bytes.clone(), limit).await? {
                return Ok(decoded);
            }
        }
        Err(too_large(limits.body_bytes))
    }

    async fn batch(
        &self,
        permitted: &Permitted,
        parsed: Parsed,
        format: Format,
        keyed: Option<Keyed>,
    ) -> Result<Response, Problem> {
        let limit = self.state.limits.record_bytes;
        if parsed.records.iter().any(|record| record.bytes() > limit) {
            return Err(too_large(limit).detail(format!("a record is larger than {limit} bytes")));
        }
        let received = self.received(0, parsed.records);
        if let Some(keyed) = keyed {
            return self.once(permitted, received, keyed, format, parsed.single).await;
        }
        let published = self.state.flow.publish(permitted, received);
        Ok(report::answer(self.id, &published.await.map_err(stopped)?, format, parsed.single))
    }

    /// A request with an idempotency key: published once, answered always alike.
    async fn once(
        &self,
        permitted: &Permitted,
        received: Batch,
        keyed: Keyed,
        format: Format,
        single: bool,
    ) -> Result<Response, Problem> {
        let once = self.state.flow.publish_once(permitted, received, keyed, report::render);
        let Once { answer, replayed } = once.await.map_err(stopped)?;
        let mut response = report::rendered(&answer, format, single);
        if replayed {
            response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
        }
        Ok(response)
    }

    pub(super) fn received(&self, first: u32, records: Vec<Record>) -> Batch {
        let records = Records::Single(records);
        Batch { request: self.id, origin: self.origin, first, records, identity: None }
    }
}

#[cfg(test)]
mod tests {
    use super::attempts;

    #[test]
    fn a_body_is_decoded_once_where_both_bounds_are_one() {
        let of = |bytes| attempts(bytes, 3_200).collect::<Vec<_>>();
        assert_eq!(of(99), [3_168, 3_200]);
        assert_eq!(of(100), [3_200]);
        assert_eq!(of(usize::MAX), [3_200]);
    }
}
