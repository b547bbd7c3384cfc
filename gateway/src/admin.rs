//! The admin listener: health for probes, metrics and reload for operators, lineage and
//! verification for auditors. Everything but health needs a principal with the role; each of an
//! auditor's reads is itself a ledger entry, durable before the answer.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Extension, Router,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    config::Roles,
    health::Health,
    identify::{Credentials, Principal},
    lineage::{Lineage, Question},
    listen::{
        Desk,
        accept::Peer,
        http::{self, Document},
        problem::Problem,
    },
    telemetry::{OPENMETRICS, PLAIN},
};

/// As the OpenAPI document says them.
const TOPIC_CHARS_MAX: usize = 249;
const TOKEN_CHARS_MAX: usize = 200;
const SOURCE_CHARS_MAX: usize = 300;

/// What the admin handlers share.
pub struct AdminState {
    pub http: Arc<Desk>,
    pub roles: Roles,
    pub health: Arc<Health>,
    pub lineage: Lineage,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sluicegate admin",
        description = "Health, metrics, reload, lineage and verification. Health alone is open."
    ),
    components(schemas(Problem)),
    security(("mutual-tls" = []), ("bearer" = [])),
)]
struct Api;

/// The router and its OpenAPI document.
pub fn router(state: Arc<AdminState>) -> (Router, utoipa::openapi::OpenApi) {
    let health =
        OpenApiRouter::with_openapi(Api::openapi()).routes(routes!(livez)).routes(routes!(readyz));
    let operator = OpenApiRouter::new()
        .routes(routes!(metrics))
        .routes(routes!(reload))
        .layer(middleware::from_fn_with_state(state.clone(), operator));
    let auditor = OpenApiRouter::new()
        .routes(routes!(lineage_record))
        .routes(routes!(lineage_token))
        .routes(routes!(lineage_affected))
        .routes(routes!(verify))
        .layer(middleware::from_fn_with_state(state.clone(), auditor));
    let anyone = OpenApiRouter::new()
        .routes(routes!(http::openapi))
        .layer(middleware::from_fn_with_state(state.clone(), known));
    let (router, mut api) = health.merge(operator).merge(auditor).merge(anyone).split_for_parts();
    http::finish_document(&mut api);
    let document: Arc<str> = Arc::from(api.to_json().unwrap_or_default());
    let router = router
        .fallback(|| async { http::not_found() })
        .method_not_allowed_fallback(|| async { http::wrong_method() })
        .layer(Extension(Document(document)))
        .with_state(state);
    (router, api)
}

async fn operator(
    State(state): State<Arc<AdminState>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    with_role(&state, request, next, Some(("operator", &state.roles.operator))).await
}

async fn auditor(
    State(state): State<Arc<AdminState>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    with_role(&state, request, next, Some(("auditor", &state.roles.auditor))).await
}

async fn known(
    State(state): State<Arc<AdminState>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    with_role(&state, request, next, None).await
}

async fn with_role(
    state: &AdminState,
    request: Request,
    next: Next,
    role: Option<(&str, &[String])>,
) -> Result<Response, Problem> {
    let (principal, mut request) = http::identify(&state.http, request).await?;
    if let Some((role, holders)) = role
        && !holders.iter().any(|holder| **holder == *principal.name)
    {
        state.http.flow.account.wrong_role(&principal, role);
        return Err(Problem::wrong_role(role));
    }
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

/// Alive
#[utoipa::path(get, path = "/livez", security(()),
    responses((status = 200, description = "The process runs", body = String, content_type = "text/plain")))]
async fn livez() -> &'static str {
    "ok\n"
}

/// Ready
///
/// 200 when policy, ledger and every region can take records, and somebody can log in; else 503 with
/// a word for each kind of part that cannot. The role `operator` reads the cause of each, also of
/// those that the gateway bears.
#[utoipa::path(get, path = "/readyz", security((), ("mutual-tls" = []), ("bearer" = [])),
    responses(
        (status = 200, description = "Ready", body = String, content_type = "text/plain"),
        (status = 503, description = "Not ready", body = String, content_type = "text/plain")))]
async fn readyz(State(state): State<Arc<AdminState>>, request: Request) -> (StatusCode, String) {
    let troubles = state.health.troubles().await;
    let told: Vec<&str> = if is_operator(&state, request).await {
        troubles.iter().map(|trouble| trouble.detail.as_str()).collect()
    } else {
        let grave = troubles.iter().filter(|trouble| !trouble.is_borne);
        let words: BTreeSet<&str> = grave.map(|trouble| trouble.word).collect();
        words.into_iter().collect()
    };
    let lines: String = told.iter().map(|line| format!("{line}\n")).collect();
    match troubles.iter().all(|trouble| trouble.is_borne) {
        true => (StatusCode::OK, format!("ok\n{lines}")),
        false => (StatusCode::SERVICE_UNAVAILABLE, lines),
    }
}

/// A probe may have a certificate that says nothing to us, which is no failed login; a bad token is
/// one.
async fn is_operator(state: &AdminState, request: Request) -> bool {
    let principal = if request.headers().contains_key(header::AUTHORIZATION) {
        http::identify(&state.http, request).await.ok().map(|(principal, _)| principal)
    } else {
        let Some(peer) = request.extensions().get::<Peer>() else { return false };
        let given = Credentials { certificate: peer.certificate.as_deref(), authorization: None };
        let known = state.http.identifier.identify(&given).await;
        known.and_then(|who| state.http.flow.welcome(who, peer.address.ip())).ok()
    };
    let holders = &state.roles.operator;
    principal.is_some_and(|principal| holders.iter().any(|holder| **holder == *principal.name))
}

/// Metrics
///
/// In Prometheus' text format, or as OpenMetrics where `Accept` names it; for the role `operator`.
#[utoipa::path(get, path = "/metrics",
    responses(
        (status = 200, description = "All series", content(
            (String = "text/plain"), (String = "application/openmetrics-text"))),
        (status = 403, description = "The role is missing")))]
async fn metrics(State(state): State<Arc<AdminState>>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let open = accept
        .flat_map(|list| list.split(','))
        .any(|kind| kind.trim().to_ascii_lowercase().starts_with("application/openmetrics-text"));
    let kind = if open { OPENMETRICS } else { PLAIN };
    // States are looked at now, so that gauges tell the present.
    state.health.measure().await;
    let text = state.http.metrics.text(open);
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Reload
///
/// Reads policies, keyring, certificates and key sets again. A bad bundle changes nothing.
#[utoipa::path(post, path = "/v1/reload",
    responses(
        (status = 204, description = "Everything was reloaded"),
        (status = 403, description = "The role is missing"),
        (status = 422, description = "Something was rejected; the previous version stays in force")))]
async fn reload(
    State(state): State<Arc<AdminState>>,
    Extension(principal): Extension<Principal>,
) -> Result<StatusCode, Problem> {
    state.http.flow.account.admin(&principal, "reload").await.map_err(ledger_away)?;
    let errors = state.health.reload().await;
    if errors.is_empty() {
        return Ok(StatusCode::NO_CONTENT);
    }
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Err(Problem::new(status, "reload-refused", "Not everything was reloaded")
        .detail(errors.join("\n")))
}

fn ledger_away(error: crate::account::AccountError) -> Problem {
    Problem::unavailable("ledger-unavailable", error.to_string())
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RegionQuery {
    /// Only this region; all when absent.
    region: Option<String>,
}

type BadPath = axum::extract::rejection::PathRejection;
type BadQuery = axum::extract::rejection::QueryRejection;

/// Trace a record
///
/// Source, principal, policy, rules, keys, transforms, region and transfer of one record.
#[utoipa::path(get, path = "/v1/lineage/records/{topic}/{partition}/{offset}",
    params(
        ("topic" = String, Path, description = "The topic's name", max_length = 249),
        ("partition" = u32, Path, description = "The partition's number"),
        ("offset" = u64, Path, description = "The offset", maximum = 9_223_372_036_854_775_807_u64),
        RegionQuery),
    responses(
        (status = 200, description = "Deliveries of this record", body = Object),
        (status = 400, description = "The request is not valid"),
        (status = 403, description = "The role is missing"),
        (status = 503, description = "The ledger is unavailable")))]
async fn lineage_record(
    State(state): State<Arc<AdminState>>,
    Extension(principal): Extension<Principal>,
    path: Result<Path<(String, u32, u64)>, BadPath>,
    query: Result<Query<RegionQuery>, BadQuery>,
) -> Result<Response, Problem> {
    let bad =
        || Problem::bad_request("the path is not TOPIC/PARTITION/OFFSET, or the query is unknown");
    let Path((topic, partition, offset)) = path.map_err(|_| bad())?;
    let Query(query) = query.map_err(|_| bad())?;
    let offset = i64::try_from(offset).map_err(|_| bad())?;
    if topic.chars().count() > TOPIC_CHARS_MAX || i32::try_from(partition).is_err() {
        return Err(bad());
    }
    let question = Question::Record { region: query.region, topic, partition, offset };
    answer(&state, &principal, question).await
}

/// Find records by token
#[utoipa::path(get, path = "/v1/lineage/tokens/{token}",
    params(("token" = String, Path, description = "A token, as a record holds it",
        max_length = 200)),
    responses(
        (status = 200, description = "Deliveries of records with this token", body = Object),
        (status = 400, description = "The request is not valid"),
        (status = 403, description = "The role is missing"),
        (status = 503, description = "The ledger is unavailable")))]
async fn lineage_token(
    State(state): State<Arc<AdminState>>,
    Extension(principal): Extension<Principal>,
    path: Result<Path<String>, BadPath>,
) -> Result<Response, Problem> {
    let bad = || Problem::bad_request("the token is not valid UTF-8");
    let Path(token) = path.map_err(|_| bad())?;
    if token.chars().count() > TOKEN_CHARS_MAX {
        return Err(bad());
    }
    answer(&state, &principal, Question::Token(token)).await
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AffectedQuery {
    /// A declared source as `KEY=VALUE`, such as `device=7f3a`.
    #[param(pattern = "^[^=]+=", max_length = 300)]
    source: String,
    /// Start of the time range, inclusive (RFC 3339); the beginning when absent.
    #[param(format = DateTime)]
    from: Option<String>,
    /// End of the time range, exclusive (RFC 3339); now when absent.
    #[param(format = DateTime)]
    to: Option<String>,
}

/// Find records by source
///
/// Which deliveries came from, for example, one device in a time range.
#[utoipa::path(get, path = "/v1/lineage/affected", params(AffectedQuery),
    responses(
        (status = 200, description = "Deliveries of records with this source", body = Object),
        (status = 400, description = "The request is not valid"),
        (status = 403, description = "The role is missing"),
        (status = 503, description = "The ledger is unavailable")))]
async fn lineage_affected(
    State(state): State<Arc<AdminState>>,
    Extension(principal): Extension<Principal>,
    query: Result<Query<AffectedQuery>, BadQuery>,
) -> Result<Response, Problem> {
    let bad = |what: &str| Problem::bad_request(what.to_owned());
    let Query(query) = query.map_err(|_| bad("`source` is missing, or a parameter is unknown"))?;
    if query.source.chars().count() > SOURCE_CHARS_MAX {
        return Err(bad("`source` is too long"));
    }
    let question = Question::affected(&query.source, query.from.as_deref(), query.to.as_deref())
        .map_err(|e| bad(&e.to_string()))?;
    answer(&state, &principal, question).await
}

/// The entry that says who asked is durable before the answer is given.
async fn answer(
    state: &AdminState,
    principal: &Principal,
    question: Question,
) -> Result<Response, Problem> {
    let account = &state.http.flow.account;
    account.asked(principal, &question).await.map_err(ledger_away)?;
    let found = state
        .lineage
        .ask(&question)
        .await
        .map_err(|error| Problem::unavailable("ledger-unavailable", error.to_string()))?;
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok((kind, found.json()).into_response())
}

/// Verify the ledger
///
/// Rehashes every row and reports the first divergence.
#[utoipa::path(get, path = "/v1/ledger/verify",
    responses(
        (status = 200, description = "The verdict", body = Object),
        (status = 403, description = "The role is missing"),
        (status = 503, description = "The ledger is unavailable")))]
async fn verify(
    State(state): State<Arc<AdminState>>,
    Extension(principal): Extension<Principal>,
) -> Result<Response, Problem> {
    state.http.flow.account.asked(&principal, &Question::Verify).await.map_err(ledger_away)?;
    let verdict = state.lineage.verify().await;
    let verdict = verdict.map_err(|e| Problem::unavailable("ledger-unavailable", e.to_string()))?;
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok((kind, verdict.json()).into_response())
}
