//! The HTTP face for services: publish records, read them back. This is the only place, with
//! `admin`, that knows axum.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    accept::Peer,
    admission::{Admission, Admitted},
    body::{self, Format, Parsed, Unreadable},
    problem::Problem,
};
use crate::{
    ambient::Ambient,
    config::Limits,
    flow::{Flow, Keyed, Outcome, Report, Stopped, Target},
    identify::{Credentials, Failure, Identifier, Principal},
    record::{Received, Record, RequestId},
    telemetry::Metrics,
};

/// A failed login is answered after this time, however it failed.
const LOGIN_FAILURE_FLOOR: Duration = Duration::from_millis(100);
/// Records and bytes of one stretch of a streamed body: one ledger intent, one delivery.
const STRETCH_RECORDS: usize = 500;
const STRETCH_BYTES: usize = 1 << 20;
/// Report lines that may wait for a slow reader of a streamed answer.
const REPORTS_WAITING: usize = 16;
/// Records of one read.
const READ_RECORDS_MAX: usize = 1_000;
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// What the handlers share.
pub struct Face {
    pub flow: Flow,
    pub identifier: Arc<Identifier>,
    pub admission: Admission,
    pub limits: Limits,
    pub ambient: Ambient,
    pub metrics: Arc<Metrics>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sluicegate",
        description = "Publish and read event records through the privacy gateway. A record is \
            acknowledged when its region's pipeline has it and its ledger entry is durable. \
            Errors are RFC 9457 problem documents and never repeat a value of the request. \
            429 means that your quota is used up, 503 that the gateway is failing closed; both \
            carry Retry-After."
    ),
    components(schemas(RecordReport, DeliveryReport, ReportError, Problem, RecordIn)),
    security(("mutual-tls" = []), ("bearer" = [])),
    modifiers(&SecuritySchemes)
)]
struct Api;

struct SecuritySchemes;

impl utoipa::Modify for SecuritySchemes {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
        let components = api.components.get_or_insert_default();
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("bearer", bearer);
        let mutual =
            SecurityScheme::MutualTls { description: None, deprecated: None, extensions: None };
        components.add_security_scheme("mutual-tls", mutual);
    }
}

/// The router and its OpenAPI document, made from the same declarations.
pub fn router(face: Arc<Face>) -> (Router, utoipa::openapi::OpenApi) {
    let (router, mut api) = OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(publish))
        .routes(routes!(read))
        .routes(routes!(openapi))
        .split_for_parts();
    crate::admin::finish_document(&mut api);
    let document: Arc<str> = Arc::from(api.to_json().unwrap_or_default());
    let router = router
        .fallback(|| async { not_found() })
        .method_not_allowed_fallback(|| async { wrong_method() })
        .layer(Extension(Document(document)))
        .layer(middleware::from_fn_with_state(face.clone(), authenticate))
        .with_state(face);
    (router, api)
}

pub(crate) fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not-found", "No such endpoint")
        .help("`GET /openapi.json` lists the endpoints")
}

pub(crate) fn wrong_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", "The endpoint has other methods")
}

/// The OpenAPI document of a listener.
#[derive(Clone)]
pub(crate) struct Document(pub Arc<str>);

/// Every request but health passes here: a principal, or 401 in the same words and time.
async fn authenticate(
    State(face): State<Arc<Face>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (principal, request) = identify(&face, request).await?;
    let mut request = request;
    request.extensions_mut().insert(principal);
    face.metrics.in_flight.inc();
    let response = next.run(request).await;
    face.metrics.in_flight.dec();
    Ok(response)
}

/// Who sends this request? A failure is in the ledger, in the log by its code, and for the caller
/// it is like any other.
pub(crate) async fn identify(
    face: &Face,
    request: Request,
) -> Result<(Principal, Request), Problem> {
    let started = Instant::now();
    let peer = request.extensions().get::<Peer>().cloned();
    let authorization = match request.headers().get(header::AUTHORIZATION).map(|v| v.to_str()) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => Err(Failure::NotBearer),
    };
    let identified = authorization.and_then(|authorization| {
        face.identifier.identify(&Credentials {
            certificate: peer.as_ref().and_then(|p| p.certificate.as_deref()),
            authorization,
        })
    });
    match identified {
        Ok(principal) => Ok((principal, request)),
        Err(failure) => {
            face.flow.login_failed(failure, peer.map(|p| p.address.ip())).await;
            tokio::time::sleep_until(started + LOGIN_FAILURE_FLOOR).await;
            Err(Problem::unauthenticated())
        }
    }
}

/// One record of a request, as `application/json` or `application/x-ndjson` carries it.
#[derive(ToSchema)]
#[schema(as = Record)]
#[expect(dead_code, reason = "documents the wire form; `body` reads it without this type")]
struct RecordIn {
    /// The record's key: a string, or any JSON.
    #[schema(required = false)]
    key: Option<serde_json::Value>,
    /// Header names and values.
    #[schema(required = false)]
    headers: Option<std::collections::BTreeMap<String, String>>,
    /// The record's value, any JSON; `null` is a tombstone.
    value: serde_json::Value,
}

/// What became of one record.
#[derive(Serialize, ToSchema)]
struct RecordReport {
    /// The record's number within the request.
    index: u32,
    /// `delivered`, `refused` or `failed`.
    status: &'static str,
    /// Names this decision in logs and in the ledger.
    decision_id: String,
    /// Where the ledger holds the decision: writer, row and leaf.
    ledger: Option<String>,
    /// The partition in the first region.
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u32>,
    /// The offset in the first region.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    /// Each region that has the record.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deliveries: Vec<DeliveryReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ReportError>,
}

/// Where one copy of a record stands.
#[derive(Serialize, ToSchema)]
struct DeliveryReport {
    region: String,
    partition: u32,
    offset: i64,
}

/// Why a record was not delivered.
#[derive(Serialize, ToSchema)]
struct ReportError {
    /// A stable word for programs.
    code: String,
    /// Whether the same record may succeed later.
    retriable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    /// A JSON pointer to the field, or `key`, or `header:NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

impl RecordReport {
    fn of(request: RequestId, report: &Report) -> Self {
        let mut out = Self {
            index: report.seq,
            status: "delivered",
            decision_id: format!("{request}-{}", report.seq),
            ledger: report.position.map(|position| position.to_string()),
            partition: None,
            offset: None,
            deliveries: Vec::new(),
            error: None,
        };
        let deliveries = |placed: &[(Arc<str>, crate::deliver::Placed)]| {
            let one = |(region, at): &(Arc<str>, crate::deliver::Placed)| DeliveryReport {
                region: region.to_string(),
                partition: at.partition,
                offset: at.offset,
            };
            placed.iter().map(one).collect::<Vec<_>>()
        };
        match &report.outcome {
            Outcome::Delivered(placed) => out.deliveries = deliveries(placed),
            Outcome::Failed { region, error, placed } => {
                out.status = "failed";
                out.deliveries = deliveries(placed);
                out.error = Some(ReportError {
                    code: error.code().to_owned(),
                    retriable: error.is_retriable(),
                    rule: None,
                    pointer: None,
                    detail: Some(format!("region `{region}`: {error}")),
                    help: None,
                });
            }
            Outcome::Refused(refused) => {
                out.status = "refused";
                out.error = Some(ReportError {
                    code: refused.code.as_str().to_owned(),
                    retriable: false,
                    rule: refused.rule.as_deref().map(str::to_owned),
                    pointer: refused.pointer.clone(),
                    detail: Some(refused.detail.to_string()),
                    help: refused.help.as_deref().map(str::to_owned),
                });
            }
        }
        out.partition = out.deliveries.first().map(|d| d.partition);
        out.offset = out.deliveries.first().map(|d| d.offset);
        out
    }
}

/// Publish records
///
/// One record (`application/json`), an array of them, a stream of them a line each
/// (`application/x-ndjson`, answered by a stream of reports in the same order), or CloudEvents 1.0
/// in binary, structured or batch form. With an `Idempotency-Key`, a repetition of the request
/// publishes nothing twice and gets the first answer.
#[utoipa::path(
    post,
    path = "/v1/topics/{topic}/records",
    params(
        ("topic" = String, Path, description = "The topic's name", max_length = 249),
        ("sluicegate-purpose" = Option<String>, Header,
            description = "The purpose of this processing; needed when the principal has several"),
        ("idempotency-key" = Option<String>, Header,
            description = "A quoted string, unique per principal and request, kept for a day",
            max_length = 255),
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
        (status = 200, description = "All records are delivered and recorded; for NDJSON: a \
            stream of reports, whatever each one says", content(
                (Vec<RecordReport> = "application/json"), (String = "application/x-ndjson"))),
        (status = 207, description = "Of several records, some were not delivered",
            body = Vec<RecordReport>),
        (status = 400, description = "The request cannot be read", body = Problem,
            content_type = "application/problem+json"),
        (status = 401, description = "No valid credential", body = Problem,
            content_type = "application/problem+json"),
        (status = 403, description = "The policy does not permit this", body = Problem,
            content_type = "application/problem+json"),
        (status = 404, description = "No such topic", body = Problem,
            content_type = "application/problem+json"),
        (status = 408, description = "The body stood still", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "A request with this idempotency key is still running",
            body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body or a record is too large", body = Problem,
            content_type = "application/problem+json"),
        (status = 415, description = "The content type is not known", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "The policy refuses the record, or the idempotency key was \
            used for another payload", body = Problem,
            content_type = "application/problem+json"),
        (status = 429, description = "The principal's quota is used up", body = Problem,
            content_type = "application/problem+json"),
        (status = 503, description = "The gateway is failing closed", body = Problem,
            content_type = "application/problem+json"),
    )
)]
async fn publish(
    State(face): State<Arc<Face>>,
    Extension(principal): Extension<Principal>,
    Extension(peer): Extension<Peer>,
    Path(topic): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let started = Instant::now();
    let format = Format::of(&headers).ok_or_else(unknown_format)?;
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(unknown_format().detail("compressed bodies are not accepted"));
    }
    let key = idempotency_key(&headers)?;
    let request = Publish {
        id: RequestId(face.ambient.id().map_err(|e| unavailable("random", e.to_string()))?),
        origin: face.flow.origin(peer.address.ip()),
        principal,
        target: Target { topic, purpose: purpose(&headers)? },
        face,
    };
    // Before the body is read: whoever may not publish here sends nothing into memory.
    request.face.flow.admit(&request.principal, &request.target).await.map_err(stopped)?;
    if format == Format::NdJson && key.is_none() {
        return Ok(request.stream(body));
    }
    let (bytes, _admitted) = request.whole(&headers, body).await?;
    let parsed = body::parse(format, &headers, &bytes).map_err(unreadable)?;
    request
        .face
        .admission
        .records(&request.principal.name, parsed.records.len(), started)
        .map_err(Problem::quota)?;
    let answer = request.batch(parsed, key, &headers, &bytes).await?;
    let elapsed = started.elapsed().as_secs_f64();
    request.face.metrics.publish_seconds.observe(elapsed);
    Ok(match format {
        Format::NdJson => as_ndjson(answer),
        _ => answer,
    })
}

/// One request to publish.
struct Publish {
    id: RequestId,
    origin: [u8; 16],
    principal: Principal,
    target: Target,
    face: Arc<Face>,
}

impl Publish {
    /// The whole body in memory, within the bounds.
    async fn whole(&self, headers: &HeaderMap, body: Body) -> Result<(Bytes, Admitted), Problem> {
        let limit = self.face.limits.body_bytes;
        let declared = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.parse::<usize>().ok());
        if declared.is_some_and(|length| length > limit) {
            return Err(too_large(limit));
        }
        let admitted = self.face.admission.bytes(declared.unwrap_or(limit)).await;
        let admitted = admitted.ok_or_else(|| unavailable("full", "too much is in flight"))?;
        let idle = Duration::from_millis(self.face.limits.body_idle_timeout_ms);
        let mut frames = body.into_data_stream();
        let mut whole = BytesMut::with_capacity(declared.unwrap_or_default());
        while let Some(frame) = next(&mut frames, idle).await? {
            if whole.len() + frame.len() > limit {
                return Err(too_large(limit));
            }
            whole.extend_from_slice(&frame);
        }
        Ok((whole.freeze(), admitted))
    }

    async fn batch(
        &self,
        parsed: Parsed,
        key: Option<String>,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Response, Problem> {
        let limit = self.face.limits.record_bytes;
        if parsed.records.iter().any(|record| record.bytes() > limit) {
            return Err(too_large(limit).detail(format!("a record is larger than {limit} bytes")));
        }
        let single = parsed.single;
        let keyed = key.map(|key| {
            let kind = headers.get(header::CONTENT_TYPE).map(|v| v.as_bytes()).unwrap_or_default();
            self.face.flow.keyed(&self.principal, &self.target, &key, &[kind, body])
        });
        let received = self.received(0, parsed.records);
        match keyed {
            None => {
                let reports = self
                    .face
                    .flow
                    .publish(&self.principal, &self.target, received)
                    .await
                    .map_err(stopped)?;
                Ok(answer(self.id, &reports, single))
            }
            Some(keyed) => self.once(received, keyed, single).await,
        }
    }

    /// A request with an idempotency key: published once, answered always alike.
    async fn once(
        &self,
        received: Received,
        keyed: Keyed,
        single: bool,
    ) -> Result<Response, Problem> {
        let render = |id: RequestId, reports: &[Report]| {
            serde_json::to_vec(&reports.iter().map(|r| RecordReport::of(id, r)).collect::<Vec<_>>())
                .unwrap_or_default()
        };
        let body = self
            .face
            .flow
            .publish_once(&self.principal, &self.target, received, keyed, render)
            .await
            .map_err(stopped)?;
        Ok(rendered(&body, single))
    }

    fn received(&self, first: u32, records: Vec<Record>) -> Received {
        Received { request: self.id, origin: self.origin, first, records }
    }

    /// NDJSON in, NDJSON out: stretches of what has arrived are published one after the other,
    /// and their reports are sent on before the next is read. A reader that is slow slows the
    /// whole stream; nothing piles up.
    fn stream(self, body: Body) -> Response {
        let (reports, waiting) =
            tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(REPORTS_WAITING);
        tokio::spawn(async move {
            let mut stream = Stream { request: self, reports, seq: 0 };
            stream.run(body).await;
        });
        let lines = futures_util::stream::unfold(waiting, |mut waiting| async move {
            waiting.recv().await.map(|line| (line, waiting))
        });
        let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
        (StatusCode::OK, kind, Body::from_stream(lines)).into_response()
    }
}

/// A streamed publish under way.
struct Stream {
    request: Publish,
    reports: tokio::sync::mpsc::Sender<Result<Bytes, std::io::Error>>,
    seq: u32,
}

impl Stream {
    async fn run(&mut self, body: Body) {
        if let Err(problem) = self.relay(body).await {
            // The status line is long gone: the stream ends with the problem as its last line.
            let line = serde_json::to_vec(&problem).unwrap_or_default();
            self.send(line).await;
        }
    }

    async fn relay(&mut self, body: Body) -> Result<(), Problem> {
        let face = self.request.face.clone();
        let idle = Duration::from_millis(face.limits.body_idle_timeout_ms);
        let reserve = STRETCH_BYTES + face.limits.record_bytes;
        let _admitted = face
            .admission
            .bytes(reserve)
            .await
            .ok_or_else(|| unavailable("full", "too much is in flight"))?;
        let mut frames = body.into_data_stream();
        let mut buffer = BytesMut::new();
        loop {
            let Some(frame) = next(&mut frames, idle).await? else { break };
            buffer.extend_from_slice(&frame);
            // Take along what has arrived already, up to one stretch.
            while buffer.len() < STRETCH_BYTES {
                match futures_util::FutureExt::now_or_never(frames.next()) {
                    Some(Some(Ok(more))) => buffer.extend_from_slice(&more),
                    Some(Some(Err(_))) => return Err(cut_off()),
                    Some(None) | None => break,
                }
            }
            self.lines(&mut buffer, false).await?;
            if buffer.len() > face.limits.record_bytes {
                return Err(too_large(face.limits.record_bytes));
            }
        }
        self.lines(&mut buffer, true).await
    }

    /// Publishes the complete lines of the buffer; at the end, also one without line end.
    async fn lines(&mut self, buffer: &mut BytesMut, end: bool) -> Result<(), Problem> {
        loop {
            let (records, more) = self.stretch(buffer, end)?;
            if !records.is_empty() {
                self.publish(records).await?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    fn stretch(&self, buffer: &mut BytesMut, end: bool) -> Result<(Vec<Record>, bool), Problem> {
        let limit = self.request.face.limits.record_bytes;
        let mut records = Vec::new();
        while records.len() < STRETCH_RECORDS {
            let line = match buffer.iter().position(|byte| *byte == b'\n') {
                Some(newline) => buffer.split_to(newline + 1).freeze(),
                None if end && !buffer.is_empty() => buffer.split().freeze(),
                None => return Ok((records, false)),
            };
            let Some(parsed) = body::line(&line) else { continue };
            let n = self.seq as usize + records.len();
            let record = parsed.map_err(|e| unreadable(Unreadable { record: Some(n), ..e }))?;
            if record.bytes() > limit {
                return Err(
                    too_large(limit).detail(format!("record {n} is larger than {limit} bytes"))
                );
            }
            records.push(record);
        }
        Ok((records, true))
    }

    async fn publish(&mut self, records: Vec<Record>) -> Result<(), Problem> {
        let started = Instant::now();
        let count = u32::try_from(records.len()).unwrap_or(u32::MAX);
        let face = self.request.face.clone();
        while let Err(wait) =
            face.admission.records(&self.request.principal.name, records.len(), Instant::now())
        {
            // A stream is slowed to its quota instead of being cut.
            tokio::time::sleep(wait).await;
        }
        let received = self.request.received(self.seq, records);
        let published = face.flow.publish(&self.request.principal, &self.request.target, received);
        let reports = published.await.map_err(stopped)?;
        self.seq = self.seq.saturating_add(count);
        let mut lines = Vec::new();
        for report in &reports {
            let report = RecordReport::of(self.request.id, report);
            lines.extend(serde_json::to_vec(&report).unwrap_or_default());
            lines.push(b'\n');
        }
        face.metrics.publish_seconds.observe(started.elapsed().as_secs_f64());
        self.send(lines).await;
        Ok(())
    }

    async fn send(&self, lines: Vec<u8>) {
        // A publisher that hung up gets no reports; what it sent is published all the same.
        let _hung_up = self.reports.send(Ok(Bytes::from(lines))).await;
    }
}

type Frames = axum::body::BodyDataStream;

async fn next(frames: &mut Frames, idle: Duration) -> Result<Option<Bytes>, Problem> {
    match tokio::time::timeout(idle, frames.next()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(frame))) => Ok(Some(frame)),
        Ok(Some(Err(_))) => Err(cut_off()),
        Err(_) => {
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", "The body stood still"))
        }
    }
}

fn answer(id: RequestId, reports: &[Report], single: bool) -> Response {
    if let ([report], true) = (reports, single) {
        match &report.outcome {
            Outcome::Refused(refused) => {
                let mut problem = Problem::refused(refused);
                problem.decision_id = Some(format!("{id}-{}", report.seq));
                return problem.into_response();
            }
            Outcome::Failed { region, error, .. } => return failed(region, error).into_response(),
            Outcome::Delivered(_) => {}
        }
    }
    let out: Vec<RecordReport> = reports.iter().map(|r| RecordReport::of(id, r)).collect();
    rendered(&serde_json::to_vec(&out).unwrap_or_default(), single)
}

fn failed(region: &str, error: &crate::deliver::DeliverError) -> Problem {
    let detail = format!("region `{region}`: {error}");
    if error.is_retriable() {
        return unavailable(error.code(), detail);
    }
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Problem::new(status, error.code(), "The region's pipeline refuses this record").detail(detail)
}

/// An answer from its rendered reports: the same bytes for the first request and its repetition.
fn rendered(reports: &[u8], single: bool) -> Response {
    #[derive(Deserialize)]
    struct Status {
        status: String,
    }
    let statuses: Vec<Status> = serde_json::from_slice(reports).unwrap_or_default();
    let all = statuses.iter().all(|s| s.status == "delivered");
    let status = match (all, single) {
        (true, _) => StatusCode::OK,
        (false, true) => StatusCode::UNPROCESSABLE_ENTITY,
        (false, false) => StatusCode::MULTI_STATUS,
    };
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (status, kind, Body::from(reports.to_vec())).into_response()
}

/// A keyed NDJSON request is answered by reports a line each, like a streamed one.
fn as_ndjson(response: Response) -> Response {
    response
}

fn unavailable(code: &str, detail: impl Into<String>) -> Problem {
    Problem::unavailable(code, detail)
}

fn too_large(limit: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body or a record is too large")
        .detail(format!("the limit is {limit} bytes"))
        .help("send fewer records a request, or stream them as `application/x-ndjson`")
}

fn cut_off() -> Problem {
    Problem::bad_request("the body ended early")
}

fn unknown_format() -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unknown-format", "Not a known content type")
        .help(
            "send `application/json`, `application/x-ndjson`, `application/cloudevents+json`, \
             `application/cloudevents-batch+json`, or `ce-` headers with any type",
        )
}

fn unreadable(error: Unreadable) -> Problem {
    match error.record {
        Some(n) => Problem::bad_request(format!("record {n}: {}", error.what)),
        None => Problem::bad_request(error.what),
    }
}

/// A flow that stopped before any record had a fate of its own.
fn stopped(stopped: Stopped) -> Problem {
    match stopped {
        Stopped::Refused(refused) => Problem::refused(&refused),
        Stopped::Unavailable { code, detail } => unavailable(code, detail),
        Stopped::KeyRunning => Problem::new(
            StatusCode::CONFLICT,
            "idempotency-key-running",
            "A request with this idempotency key is still running",
        )
        .retry_after(Duration::from_secs(1)),
        Stopped::KeyReused => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency-key-reused",
            "The idempotency key was used for another payload",
        )
        .help("use a new key for a new request"),
        Stopped::NoPartition => {
            Problem::new(StatusCode::NOT_FOUND, "no-partition", "No such topic or partition here")
        }
    }
}

fn purpose(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("sluicegate-purpose") else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| !text.is_empty() && text.len() <= 256);
    let text = text.ok_or_else(|| Problem::bad_request("`sluicegate-purpose` is not a name"))?;
    Ok(Some(text.to_owned()))
}

/// draft-ietf-httpapi-idempotency-key-header-07: an RFC 8941 string. Unquoted keys are accepted,
/// because most clients send them so.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let key = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX || key.contains('"') {
        return Err(Problem::bad_request(
            "`idempotency-key` is not a string of 1 to 255 characters",
        ));
    }
    Ok(Some(key.to_owned()))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReadQuery {
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
/// Records of one partition from an offset on, one a line, as the reader's purpose may see them.
/// The read is in the ledger before the first byte is sent.
#[utoipa::path(
    get,
    path = "/v1/topics/{topic}/partitions/{partition}/records",
    params(
        ("topic" = String, Path, description = "The topic's name", max_length = 249),
        ("partition" = u32, Path, description = "The partition's number"),
        ("sluicegate-purpose" = Option<String>, Header,
            description = "The purpose of this processing; needed when the principal has several"),
        ReadQuery,
    ),
    responses(
        (status = 200, description = "Records, one a line", content_type = "application/x-ndjson",
            body = String),
        (status = 400, description = "The request cannot be read", body = Problem,
            content_type = "application/problem+json"),
        (status = 401, description = "No valid credential", body = Problem,
            content_type = "application/problem+json"),
        (status = 403, description = "The policy does not permit this", body = Problem,
            content_type = "application/problem+json"),
        (status = 404, description = "No such topic or partition", body = Problem,
            content_type = "application/problem+json"),
        (status = 503, description = "The gateway is failing closed", body = Problem,
            content_type = "application/problem+json"),
    )
)]
async fn read(
    State(face): State<Arc<Face>>,
    Extension(principal): Extension<Principal>,
    Extension(peer): Extension<Peer>,
    path: Result<Path<(String, u32)>, axum::extract::rejection::PathRejection>,
    query: Result<Query<ReadQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path((topic, partition)) =
        path.map_err(|_| Problem::bad_request("the partition is not a number"))?;
    let Query(query) =
        query.map_err(|_| Problem::bad_request("`region`, `offset` or `limit` is not readable"))?;
    let limit = usize::from(query.limit.unwrap_or(100));
    if !(1..=READ_RECORDS_MAX).contains(&limit) {
        return Err(Problem::bad_request("`limit` is not 1 to 1000"));
    }
    let offset =
        i64::try_from(query.offset).map_err(|_| Problem::bad_request("`offset` is too large"))?;
    let wanted = crate::flow::Wanted {
        target: Target { topic, purpose: purpose(&headers)? },
        region: query.region,
        partition,
        offset,
        limit,
        origin: face.flow.origin(peer.address.ip()),
    };
    let lines = face.flow.read(&principal, wanted).await.map_err(stopped)?;
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((StatusCode::OK, kind, lines).into_response())
}

/// This document
#[utoipa::path(
    get,
    path = "/openapi.json",
    responses(
        (status = 200, description = "The OpenAPI 3.1 document", content_type = "application/json",
            body = Object),
        (status = 401, description = "No valid credential", body = Problem,
            content_type = "application/problem+json"),
    )
)]
pub(crate) async fn openapi(Extension(Document(document)): Extension<Document>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::OK, kind, document.to_string()).into_response()
}
