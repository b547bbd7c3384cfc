//! What a publisher is told of its records, and how a batch's reports become an answer.

use std::{borrow::Cow, fmt};

use axum::{
    body::Body,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize, Serializer};
use sluicegate_audit::Position;
use utoipa::ToSchema;

use super::problems::failed;
use crate::{
    flow::{Answer, Outcome, Report},
    listen::{body::Format, problem::Problem},
    record::{DeliverError, NotCounted, Placed, Refused, RequestId},
};

/// One record of a request, as `application/json` or `application/x-ndjson` carries it.
#[derive(ToSchema)]
#[schema(as = Record)]
#[expect(dead_code, reason = "documents the wire form; `body` reads it without this type")]
pub(super) struct RecordIn {
    /// The record's key: a string, or any JSON.
    #[schema(required = false)]
    key: Option<serde_json::Value>,
    /// Header names and values; null is not empty.
    #[schema(required = false)]
    headers: Option<std::collections::BTreeMap<String, Option<String>>>,
    /// The record's value, any JSON; `null` is a tombstone.
    value: serde_json::Value,
}

/// What became of one record.
#[derive(Serialize, ToSchema)]
#[schema(as = RecordReport)]
pub(super) struct RecordReport<'a> {
    /// The record's number within the request.
    index: u32,
    /// `delivered`, `aggregated` (for releases only), `refused` or `failed`.
    status: &'static str,
    /// Identifies this decision in logs and in the ledger.
    #[schema(value_type = String)]
    decision_id: Shown<DecisionId>,
    /// Where the ledger holds the decision: writer, row and leaf.
    #[schema(value_type = Option<String>)]
    ledger: Shown<Position>,
    /// The partition in the first region.
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u32>,
    /// The offset in the first region.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    /// Each region that has the record.
    #[serde(skip_serializing_if = "Deliveries::is_empty")]
    #[schema(value_type = Vec<DeliveryReport>)]
    deliveries: Deliveries<'a>,
    /// The releases that do not count the record, or leave it out of one of their sums. Depends only
    /// on this record, the release, the time of arrival and the periods that are blocked.
    #[serde(skip_serializing_if = "Uncounted::is_empty")]
    #[schema(value_type = Vec<NotCountedReport>)]
    not_counted: Uncounted<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ReportError<'a>>,
}

/// What is written as it is shown to people.
struct Shown<T>(T);

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

/// A request's id and the number of a record in it.
struct DecisionId(RequestId, u32);

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// Why a record does not count in any window of a release.
#[derive(Serialize, ToSchema)]
pub(super) struct NotCountedReport<'a> {
    release: &'a str,
    /// `late`, `before-first-window`, `no-subject`, `no-key`, `key-not-listed`, `key-too-long`, `not-in-region`,
    /// `period-blocked`, or `not-a-number`, with which it counts except in one sum.
    code: &'static str,
    detail: String,
}

/// Where one copy of a record is stored.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryReport<'a> {
    region: &'a str,
    partition: u32,
    offset: i64,
}

struct Deliveries<'a>(&'a Report<'a>);

impl Deliveries<'_> {
    fn is_empty(&self) -> bool {
        self.0.placed().next().is_none()
    }
}

impl Serialize for Deliveries<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.placed().map(|(region, Placed { partition, offset })| {
            DeliveryReport { region, partition, offset }
        }))
    }
}

struct Uncounted<'a>(&'a Report<'a>);

impl Uncounted<'_> {
    fn is_empty(&self) -> bool {
        self.0.not_counted().next().is_none()
    }
}

impl Serialize for Uncounted<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.not_counted().map(|NotCounted { release, why }| NotCountedReport {
            release,
            code: why.code(),
            detail: why.to_string(),
        }))
    }
}

/// Why a record was not delivered.
#[derive(Serialize, ToSchema)]
pub(super) struct ReportError<'a> {
    /// A stable, machine-readable code.
    code: &'a str,
    /// Whether the same record may succeed later.
    retriable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    /// A JSON pointer to the field, or `key`, or `header:NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
}

impl<'a> RecordReport<'a> {
    pub(super) fn of(request: RequestId, report: &'a Report<'a>) -> Self {
        let (status, error) = match &report.outcome {
            Outcome::Delivered => ("delivered", None),
            Outcome::Aggregated => ("aggregated", None),
            Outcome::Failed { region, error } => {
                ("failed", Some(ReportError::failed(region, error)))
            }
            Outcome::Refused(refused) => ("refused", Some(ReportError::refused(refused))),
        };
        let first = report.placed().next().map(|(_, placed)| placed);
        Self {
            index: report.seq,
            status,
            decision_id: Shown(DecisionId(request, report.seq)),
            ledger: Shown(report.position),
            partition: first.map(|placed| placed.partition),
            offset: first.map(|placed| placed.offset),
            deliveries: Deliveries(report),
            not_counted: Uncounted(report),
            error,
        }
    }
}

impl<'a> ReportError<'a> {
    fn failed(region: &str, error: &'a DeliverError) -> Self {
        Self {
            code: error.code(),
            retriable: error.is_retriable(),
            rule: None,
            pointer: None,
            detail: Some(format!("region `{region}`: {error}").into()),
            help: None,
        }
    }

    fn refused(refused: &'a Refused) -> Self {
        Self {
            code: refused.code.as_str(),
            retriable: false,
            rule: refused.rule.as_deref(),
            pointer: refused.pointer.as_deref(),
            detail: Some((*refused.detail).into()),
            help: refused.help.as_deref(),
        }
    }
}

/// The answer to a batch.
pub(super) fn answer(id: RequestId, answer: &Answer, format: Format, single: bool) -> Response {
    if let (Some(report), true) = (answer.reports().next(), single) {
        match &report.outcome {
            Outcome::Refused(refused) => {
                let mut problem = Problem::refused(refused);
                problem.decision_id = Some(DecisionId(id, report.seq).to_string());
                return problem.into_response();
            }
            Outcome::Failed { region, error } => return failed(region, error).into_response(),
            Outcome::Delivered | Outcome::Aggregated => {}
        }
    }
    if format == Format::NdJson {
        return nd_json(lines(id, answer));
    }
    let taken =
        |report: Report<'_>| matches!(report.outcome, Outcome::Delivered | Outcome::Aggregated);
    json(render(id, answer), answer.reports().all(taken))
}

fn nd_json(lines: Vec<u8>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (StatusCode::OK, kind, Body::from(lines)).into_response()
}

fn json(reports: Vec<u8>, all_taken: bool) -> Response {
    let status = if all_taken { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    (status, [(header::CONTENT_TYPE, "application/json")], Body::from(reports)).into_response()
}

/// What a report takes, about.
const REPORT_BYTES: usize = 256;

/// Reports as the bytes that an idempotency key remembers: a JSON array.
pub(super) fn render(id: RequestId, answer: &Answer) -> Vec<u8> {
    let mut array = Vec::with_capacity(answer.reports().len() * REPORT_BYTES);
    array.push(b'[');
    for report in answer.reports() {
        if array.len() > 1 {
            array.push(b',');
        }
        write(&mut array, id, &report);
    }
    array.push(b']');
    array
}

/// Reports, one per line.
pub(super) fn lines(id: RequestId, answer: &Answer) -> Vec<u8> {
    let mut lines = Vec::with_capacity(answer.reports().len() * REPORT_BYTES);
    for report in answer.reports() {
        write(&mut lines, id, &report);
        lines.push(b'\n');
    }
    lines
}

fn write(to: &mut Vec<u8>, id: RequestId, report: &Report<'_>) {
    // Writing to memory, and names that are text: it cannot fail.
    let _written = serde_json::to_writer(to, &RecordReport::of(id, report));
}

/// An answer from its rendered reports: the same for the first request and its repetition.
pub(super) fn rendered(reports: &[u8], format: Format, single: bool) -> Response {
    if format == Format::NdJson {
        return nd_json(as_lines(reports));
    }
    let statuses: Vec<Remembered> = serde_json::from_slice(reports).unwrap_or_default();
    if let ([Remembered { decision_id, error: Some(error), .. }], true) = (&*statuses, single) {
        return error.problem(decision_id).into_response();
    }
    let taken = |report: &Remembered| matches!(&*report.status, "delivered" | "aggregated");
    json(reports.to_vec(), statuses.iter().all(taken))
}

/// What is needed of a report that was rendered, perhaps yesterday.
#[derive(Deserialize)]
struct Remembered {
    status: String,
    decision_id: String,
    error: Option<RememberedError>,
}

#[derive(Deserialize)]
struct RememberedError {
    code: String,
    rule: Option<String>,
    pointer: Option<String>,
    detail: Option<String>,
    help: Option<String>,
}

impl RememberedError {
    fn problem(&self, decision_id: &str) -> Problem {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let mut problem = Problem::new(status, &self.code, "The policy refuses this record");
        problem.detail.clone_from(&self.detail);
        problem.help.clone_from(&self.help);
        problem.rule.clone_from(&self.rule);
        problem.pointer.clone_from(&self.pointer);
        problem.decision_id = Some(decision_id.to_owned());
        problem
    }
}

fn as_lines(reports: &[u8]) -> Vec<u8> {
    let reports: Vec<&serde_json::value::RawValue> =
        serde_json::from_slice(reports).unwrap_or_default();
    reports.iter().flat_map(|report| [report.get().as_bytes(), b"\n"].concat()).collect()
}
