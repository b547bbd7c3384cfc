//! Errors on the wire: RFC 9457 problem documents. Our words and the policy's, with a stable
//! `code`; never a value of a record, never why a login failed.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use sluicegate_policies::RefusalCode;
use utoipa::ToSchema;

use crate::record::Refused;

/// An RFC 9457 problem document.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// A URI reference for the kind of problem: `/problems/<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    pub status: u16,
    /// What is wrong here, and where; never a value of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// A stable, machine-readable code.
    pub code: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The rule that refused, by its name in the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// A JSON pointer to the field, or `key`, or `header:NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The decision, as the ledger names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision_id: Option<String>,
    #[serde(skip)]
    retry_after_s: Option<u64>,
}

impl Problem {
    pub fn new(status: StatusCode, code: &str, title: &str) -> Self {
        Self {
            kind: format!("/problems/{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: None,
            code: code.to_owned(),
            help: None,
            rule: None,
            pointer: None,
            decision_id: None,
            retry_after_s: None,
        }
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after_s = Some(wait.as_secs().max(1));
        self
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "The request is not valid").detail(detail)
    }

    /// Every failed login reads like this one.
    pub fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "No valid credential")
            .help("present a client certificate or a bearer token that this gateway accepts")
    }

    /// A known principal without the role of an endpoint.
    pub fn wrong_role(role: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "wrong-role", "The principal lacks the role")
            .detail(format!("this needs the role `{role}`"))
    }

    /// We are failing closed: something that a decision needs is unavailable.
    pub fn unavailable(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, "The gateway is failing closed")
            .detail(detail)
            .help("nothing was lost; send the request again after `Retry-After`")
            .retry_after(Duration::from_secs(2))
    }

    /// The caller's quota is used up.
    pub fn quota(wait: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "quota", "The principal's quota is used up")
            .retry_after(wait)
    }

    /// A refusal by policy.
    pub fn refused(refused: &Refused) -> Self {
        let (status, title) = match refused.code {
            RefusalCode::UnknownTopic => (StatusCode::NOT_FOUND, "No such topic"),
            RefusalCode::UnknownPrincipal
            | RefusalCode::UnknownPurpose
            | RefusalCode::NotPermitted
            | RefusalCode::Forbidden => (StatusCode::FORBIDDEN, "The policy does not permit this"),
            RefusalCode::PolicyNotInForce => {
                (StatusCode::SERVICE_UNAVAILABLE, "The gateway is failing closed")
            }
            _ => (StatusCode::UNPROCESSABLE_ENTITY, "The policy refuses this record"),
        };
        let mut problem = Self::new(status, refused.code.as_str(), title);
        problem.detail = Some(refused.detail.to_string());
        problem.help = refused.help.as_deref().map(str::to_owned);
        problem.rule = refused.rule.as_deref().map(str::to_owned);
        problem.pointer.clone_from(&refused.pointer);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            problem = problem.retry_after(Duration::from_secs(2));
        }
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after_s;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
