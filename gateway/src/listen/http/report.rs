//! What a publisher is told of its records, and how a batch's reports become an answer.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problems::failed;
use crate::{
    deliver::Placed,
    flow::{Outcome, Report},
    listen::{body::Format, problem::Problem},
    record::{NotCounted, RequestId},
};

/// One record of a request, as `application/json` or `application/x-ndjson` carries it.
#[derive(ToSchema)]
#[schema(as = Record)]
#[expect(dead_code, reason = "documents the wire form; `body` reads it without this type")]
pub(super) struct RecordIn {
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
pub(super) struct RecordReport {
    /// The record's number within the request.
    index: u32,
    /// `delivered`, `aggregated` (for releases only), `refused` or `failed`.
    status: &'static str,
    /// Identifies this decision in logs and in the ledger.
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
    /// The releases that do not count the record, or leave it out of one of their sums. Depends only on this
    /// record, the release and the time of arrival.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_counted: Vec<NotCountedReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ReportError>,
}

/// Why a record does not count in any window of a release.
#[derive(Serialize, ToSchema)]
pub(super) struct NotCountedReport {
    release: String,
    /// `late`, `no-subject`, `no-key`, `key-not-listed`, `key-too-long`, `not-in-region`, or
    /// `not-a-number`, with which it counts except in one sum.
    code: &'static str,
    detail: String,
}

/// Where one copy of a record is stored.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryReport {
    region: String,
    partition: u32,
    offset: i64,
}

/// Why a record was not delivered.
#[derive(Serialize, ToSchema)]
pub(super) struct ReportError {
    /// A stable, machine-readable code.
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
    pub(super) fn of(request: RequestId, report: &Report) -> Self {
        let mut out = Self {
            index: report.seq,
            status: "delivered",
            decision_id: format!("{request}-{}", report.seq),
            ledger: report.position.map(|position| position.to_string()),
            partition: None,
            offset: None,
            deliveries: Vec::new(),
            not_counted: report.not_counted.iter().map(NotCountedReport::of).collect(),
            error: None,
        };
        let deliveries = |placed: &[(Arc<str>, Placed)]| {
            let one = |(region, at): &(Arc<str>, Placed)| DeliveryReport {
                region: region.to_string(),
                partition: at.partition,
                offset: at.offset,
            };
            placed.iter().map(one).collect::<Vec<_>>()
        };
        match &report.outcome {
            Outcome::Delivered(placed) => out.deliveries = deliveries(placed),
            Outcome::Aggregated => out.status = "aggregated",
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

impl NotCountedReport {
    fn of(NotCounted { release, why }: &NotCounted) -> Self {
        Self { release: release.to_string(), code: why.code(), detail: why.to_string() }
    }
}

/// The answer to a batch.
pub(super) fn answer(id: RequestId, reports: &[Report], format: Format, single: bool) -> Response {
    if let ([report], true) = (reports, single) {
        match &report.outcome {
            Outcome::Refused(refused) => {
                let mut problem = Problem::refused(refused);
                problem.decision_id = Some(format!("{id}-{}", report.seq));
                return problem.into_response();
            }
            Outcome::Failed { region, error, .. } => return failed(region, error).into_response(),
            Outcome::Delivered(_) | Outcome::Aggregated => {}
        }
    }
    rendered(&render(id, reports), format, single)
}

/// Reports as the bytes that an idempotency key remembers: a JSON array.
pub(super) fn render(id: RequestId, reports: &[Report]) -> Vec<u8> {
    let reports: Vec<RecordReport> = reports.iter().map(|r| RecordReport::of(id, r)).collect();
    serde_json::to_vec(&reports).unwrap_or_default()
}

/// Reports, one per line.
pub(super) fn lines(id: RequestId, reports: &[Report]) -> Vec<u8> {
    let mut lines = Vec::new();
    for report in reports {
        lines.extend(serde_json::to_vec(&RecordReport::of(id, report)).unwrap_or_default());
        lines.push(b'\n');
    }
    lines
}

/// An answer from its rendered reports: the same for the first request and its repetition.
pub(super) fn rendered(reports: &[u8], format: Format, single: bool) -> Response {
    if format == Format::NdJson {
        let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
        return (StatusCode::OK, kind, Body::from(as_lines(reports))).into_response();
    }
    let statuses: Vec<Remembered> = serde_json::from_slice(reports).unwrap_or_default();
    if let ([Remembered { decision_id, error: Some(error), .. }], true) = (&*statuses, single) {
        return error.problem(decision_id).into_response();
    }
    let taken = |report: &Remembered| matches!(&*report.status, "delivered" | "aggregated");
    let all = statuses.iter().all(taken);
    let status = if all { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (status, kind, Body::from(reports.to_vec())).into_response()
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
