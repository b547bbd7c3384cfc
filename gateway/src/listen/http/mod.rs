//! The HTTP interface for services: publish records, read them back. This folder is the only place,
//! with `admin`, that knows axum.

mod encoding;
mod headers;
mod problems;
mod publish;
mod read;
mod report;
mod stream;

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tokio::time::Instant;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Desk, LOGIN_FAILURE_FLOOR, accept::Peer, problem::Problem};
use crate::{
    identify::{Credentials, Failure, Principal},
    telemetry::Metrics,
};
use report::{DeliveryReport, NotCountedReport, RecordIn, RecordReport, ReportError};

impl Desk {
    /// Runs work to its end even when the caller hangs up, so that no request stops between its
    /// intent and its outcome; a graceful stop waits for it.
    async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        let under_way = self.under_way.clone().read_owned().await;
        let done = tokio::spawn(async move {
            let _under_way = under_way;
            work.await
        });
        let broken = |_| Problem::unavailable("interrupted", "the request was interrupted");
        done.await.map_err(broken)?
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sluicegate",
        description = "Publish and read event records through the privacy gateway. A record is \
                       acknowledged when its region's pipeline has it and its ledger entry is \
                       durable. Errors are RFC 9457 problem documents and never repeat a value of \
                       the request. 429 means that your quota is used up, 503 that the gateway is \
                       failing closed; both carry Retry-After."
    ),
    components(schemas(RecordReport, DeliveryReport, NotCountedReport, ReportError, Problem, RecordIn)),
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

/// What both documents have in common: without a credential only what says so answers, and an error
/// is a problem document unless it says otherwise.
pub(crate) fn finish_document(api: &mut utoipa::openapi::OpenApi) {
    use utoipa::openapi::{Content, Ref, RefOr, Response};
    api.info.version = env!("CARGO_PKG_VERSION").to_owned();
    api.info.license = None;
    api.info.contact = None;
    let problem = RefOr::T(Content::new(Some(Ref::from_schema_name("Problem"))));
    let methods = api.paths.paths.values_mut();
    let methods = methods.flat_map(|item| [&mut item.get, &mut item.put, &mut item.post]);
    for operation in methods.flatten() {
        let responses = &mut operation.responses.responses;
        if operation.security.is_none() {
            responses.insert("401".to_owned(), Response::new("No valid credential").into());
        }
        for (status, response) in responses {
            if let RefOr::T(Response { content, .. }) = response
                && status.as_str() >= "400"
                && content.is_empty()
            {
                content.insert("application/problem+json".to_owned(), problem.clone());
            }
        }
    }
}

/// The router and its OpenAPI document, made from the same declarations.
pub fn router(state: Arc<Desk>) -> (Router, utoipa::openapi::OpenApi) {
    let (router, mut api) = OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(publish::publish))
        .routes(routes!(read::read))
        .routes(routes!(openapi))
        .split_for_parts();
    finish_document(&mut api);
    let document: Arc<str> = Arc::from(api.to_json().unwrap_or_default());
    let router = router
        .fallback(|| async { not_found() })
        .method_not_allowed_fallback(|| async { wrong_method() })
        .layer(Extension(Document(document)))
        .layer(middleware::from_fn_with_state(state.clone(), authenticate))
        .with_state(state);
    (router, api)
}

pub(crate) fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not-found", "No such endpoint")
        .help("`GET /openapi.json` lists the endpoints")
}

pub(crate) fn wrong_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", "Method not allowed")
}

/// The OpenAPI document of a listener.
#[derive(Clone)]
pub(crate) struct Document(pub Arc<str>);

/// Every request but health passes here: a principal, or 401 in the same words and time.
async fn authenticate(
    State(state): State<Arc<Desk>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (principal, request) = identify(&state, request).await?;
    let mut request = request;
    request.extensions_mut().insert(principal);
    let _in_flight = InFlight::of(&state.metrics);
    Ok(next.run(request).await)
}

/// Counts a request while it runs, also one whose caller hangs up.
struct InFlight(prometheus_client::metrics::gauge::Gauge);

impl InFlight {
    fn of(metrics: &Metrics) -> Self {
        metrics.in_flight.inc();
        Self(metrics.in_flight.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Who sends this request? A failure is in the ledger, in the log by its code, and for the caller
/// it is like any other.
pub(crate) async fn identify(
    state: &Desk,
    request: Request,
) -> Result<(Principal, Request), Problem> {
    let started = Instant::now();
    let peer = request.extensions().get::<Peer>().cloned();
    let authorization = match request.headers().get(header::AUTHORIZATION).map(|v| v.to_str()) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => Err(Failure::NotBearer),
    };
    let identified = match authorization {
        Ok(authorization) => {
            let certificate = peer.as_ref().and_then(|p| p.certificate.as_deref());
            state.identifier.identify(&Credentials { certificate, authorization }).await
        }
        Err(failure) => Err(failure),
    };
    let address = peer.as_ref().map(|peer| peer.address.ip());
    let identified = identified.and_then(|who| match address {
        Some(address) => state.flow.welcome(who, address),
        None => Err(Failure::NetworkNotAllowed),
    });
    match identified {
        Ok(principal) => Ok((principal, request)),
        Err(failure) => {
            // A stranger's headers and body are not kept while it waits for its answer.
            drop(request);
            state.flow.login_failed(failure, address).await;
            tokio::time::sleep_until(started + LOGIN_FAILURE_FLOOR).await;
            Err(Problem::unauthenticated())
        }
    }
}

/// This document
#[utoipa::path(
    get,
    path = "/openapi.json",
    responses(
        (status = 200, description = "The OpenAPI 3.1 document", content_type = "application/json",
            body = Object),
    )
)]
pub(crate) async fn openapi(Extension(Document(document)): Extension<Document>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::OK, kind, document.to_string()).into_response()
}
