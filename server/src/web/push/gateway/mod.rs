//! The push gateway over HTTP: pushing and deleting under `/metrics/job/…`, what is kept as JSON, emptying it.
//!
//! It is served inside a server, where the groups are scraped without a request, and alone ([`alone`]), where `/metrics`
//! shows them. Codes, headers and words are the reference's (push/pushgateway); ours is the time to live of a push, by the
//! parameter `ttl` or the header `X-Push-TTL`.

pub(crate) mod alone;
mod expose;
mod json;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, put};
use http::header::{ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use metrics::{Counter, Family, Registry, Summary};
use remote::gateway::{BodyError, Gateway, GroupKey, KeyError, Push, PushError as Refused};

pub(crate) use expose::{GatewayBody, own_families};

use super::{Base, Intake, plain};
use crate::web::auth::scope::{Scope, guarded_methods};
use crate::web::cross_site;
use crate::web::listener::query_of;
use crate::web::{ADMIN, READ, Routes, form, methods, paths};

/// Where groups lie, behind whatever prefix.
const GROUPS: &str = "/metrics/";
/// Methods of a group. Compat: the list is the reference's (`other-methods`).
const METHODS: &str = "DELETE, OPTIONS, POST, PUT";
/// How long a group is to live, as a header.
const TTL_HEADER: HeaderName = HeaderName::from_static("x-push-ttl");
/// The same as a parameter, which goes before the header.
const TTL_PARAMETER: &str = "ttl";
/// Quantiles of what is measured of pushes, the reference's.
const QUANTILES: [f64; 3] = [0.1, 0.5, 0.9];

/// What the routes of the gateway answer from.
pub(crate) struct GatewayState {
    pub(crate) gateway: Arc<Gateway>,
    intake: Arc<Intake>,
    /// In front of everything, without a slash at its end.
    prefix: String,
    metrics: GatewayMetrics,
}

/// What is counted of requests.
struct GatewayMetrics {
    requests: Family<Counter>,
    push_bytes: Family<Summary>,
    push_seconds: Family<Summary>,
}

impl GatewayState {
    pub(crate) fn new(
        gateway: Arc<Gateway>,
        intake: Arc<Intake>,
        prefix: String,
        registry: &Registry,
    ) -> Self {
        count_groups(&gateway, registry);
        GatewayState {
            gateway,
            intake,
            prefix,
            metrics: GatewayMetrics {
                requests: registry.counter_vec(
                    "pushgateway_http_requests_total",
                    "Total HTTP requests processed by the Pushgateway, excluding scrapes.",
                    &["code", "handler", "method"],
                ),
                push_bytes: registry.summary_vec(
                    "pushgateway_http_push_size_bytes",
                    "HTTP request size for pushes to the Pushgateway.",
                    &["method"],
                    &QUANTILES,
                ),
                push_seconds: registry.summary_vec(
                    "pushgateway_http_push_duration_seconds",
                    "HTTP request duration for pushes to the Pushgateway.",
                    &["method"],
                    &QUANTILES,
                ),
            },
        }
    }

    /// Counts a request that `handler` has answered.
    fn count(&self, handler: &str, method: &Method, response: Response) -> Response {
        let (code, method) = (response.status(), method.as_str().to_ascii_lowercase());
        let requests = &self.metrics.requests;
        requests.with(&[code.as_str(), handler, &method]).inc();
        response
    }
}

fn count_groups(gateway: &Arc<Gateway>, registry: &Registry) {
    let gauge = |name: &str, help: &str, read: fn(remote::gateway::Statistics) -> f64| {
        let gateway = gateway.clone();
        registry.gauge_fn(name, help, move || read(gateway.statistics()));
    };
    gauge(
        "narthex_push_gateway_groups",
        "Groups that the push gateway keeps.",
        |now| now.groups as f64,
    );
    gauge(
        "narthex_push_gateway_bytes",
        "What the groups of the push gateway take in memory, about, as --push.max-bytes counts it.",
        |now| now.bytes as f64,
    );
    gauge(
        "narthex_push_gateway_journal_bytes",
        "Length of the file that keeps the push gateway's groups.",
        |now| now.journal_bytes as f64,
    );
    let gateway = gateway.clone();
    registry.counter_fn(
        "narthex_push_gateway_expired_groups_total",
        "Groups of the push gateway that have outlived their time to live.",
        move || gateway.statistics().expired as f64,
    );
}

/// Adds the gateway's routes to those of a server's API.
pub(super) fn add_to<S: Clone + Send + Sync + 'static>(api: Routes<S>, base: Base<'_>) -> Routes<S> {
    let below = format!("{}{GROUPS}{{*rest}}", base.prefix);
    let Some(state) = &base.push.gateway else {
        return api.map(|router| router.route(&below, MethodRouter::new().fallback(off)));
    };
    let own = middleware::from_fn_with_state(base.trust.clone(), cross_site::layer);
    let mut api = api.add("/metrics", READ, list(state.clone()));
    if base.admin {
        api = api.add("/admin/wipe", ADMIN, wiping(state.clone()).layer(own.clone()));
    }
    let mut api = api.map(|router| router.route(&below, groups(state.clone()).layer(own)));
    api.patterns.push(below);
    api
}

/// Whoever pushes is told how that is switched on; for others there is nothing.
async fn off(method: Method) -> Response {
    match method {
        Method::PUT | Method::POST | Method::DELETE => {
            let text = "push gateway needs to be enabled with --web.enable-push-gateway\n";
            plain(StatusCode::NOT_FOUND, text)
        }
        _ => paths::not_found(),
    }
}

/// Pushing to groups and deleting them; each method needs the scope that its handler needs.
fn groups<S: Clone + Send + Sync + 'static>(state: Arc<GatewayState>) -> MethodRouter<S> {
    let change = put(change).post(change).delete(change);
    guarded_methods(Scope::Write, change)
        .fallback(other)
        .with_state(state)
}

/// All groups as JSON.
fn list<S: Clone + Send + Sync + 'static>(state: Arc<GatewayState>) -> MethodRouter<S> {
    let routes = get(list_groups).head(|| crate::web::refuse_head("GET, OPTIONS"));
    methods("GET, OPTIONS", routes.with_state(state))
}

/// Deleting all groups.
fn wiping<S: Clone + Send + Sync + 'static>(state: Arc<GatewayState>) -> MethodRouter<S> {
    methods("OPTIONS, PUT", put(wipe).with_state(state))
}

/// Why a path names no group.
#[derive(Debug, thiserror::Error)]
enum PathError {
    /// A percent sign that stands for nothing.
    #[error("400 Bad Request")]
    Escape,
    /// It is read and means nothing.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl PathError {
    fn is_nowhere(&self) -> bool {
        matches!(self, PathError::Key(KeyError::NotFound))
    }
}

impl IntoResponse for PathError {
    fn into_response(self) -> Response {
        match self {
            PathError::Key(KeyError::NotFound) => paths::not_found(),
            PathError::Key(error) => plain(StatusCode::BAD_REQUEST, format!("{error}\n")),
            // Compat: Go's server refuses it before anybody looks at it (`percent-encoding`).
            PathError::Escape => {
                let mut response = plain(StatusCode::BAD_REQUEST, self.to_string());
                let headers = response.headers_mut();
                headers.remove(X_CONTENT_TYPE_OPTIONS);
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
                response
            }
        }
    }
}

/// The key of the group that a path names.
fn key_of(state: &GatewayState, path: &str) -> Result<GroupKey, PathError> {
    let rest = path
        .strip_prefix(&state.prefix)
        .and_then(|path| path.strip_prefix(GROUPS));
    let decoded = decoded(rest.unwrap_or("")).ok_or(PathError::Escape)?;
    Ok(GroupKey::from_path(&decoded, state.gateway.options().names)?)
}

/// Percent signs resolved; nothing where one is not followed by two digits.
fn decoded(path: &str) -> Option<Vec<u8>> {
    let (mut out, mut rest) = (Vec::with_capacity(path.len()), path.as_bytes());
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = rest else { return None };
        let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
        out.push(digit(high)? << 4 | digit(low)?);
        rest = tail;
    }
    Some(out)
}

/// Whatever else is asked of a group.
async fn other(State(state): State<Arc<GatewayState>>, request: Request) -> Response {
    let path = request.uri().path();
    // Compat: a path that names no group has no methods (`empty-values-in-path`).
    let names_group = !key_of(&state, path).is_err_and(|error| error.is_nowhere());
    match *request.method() {
        _ if !names_group => paths::not_found(),
        Method::OPTIONS => [(ALLOW, METHODS)].into_response(),
        _ => crate::web::refuse_head(METHODS).await,
    }
}

async fn change(State(state): State<Arc<GatewayState>>, request: Request) -> Response {
    let (began, method) = (Instant::now(), request.method().clone());
    let key = match key_of(&state, request.uri().path()) {
        Ok(key) => key,
        Err(error) if error.is_nowhere() => {
            return nearly(&state, &request).unwrap_or_else(|| error.into_response());
        }
        Err(error) => return state.count(handler_of(&method), &method, error.into_response()),
    };
    if method == Method::DELETE {
        let sender = super::Sender::of(&request);
        let response = done(&state, &sender, move |gateway| gateway.delete(&key)).await;
        return state.count("delete", &method, response);
    }
    let told = method.as_str().to_ascii_lowercase();
    let (bytes, response) = match push(&state, key, request).await {
        Ok(done) => done,
        Err(response) => (0, response),
    };
    let metrics = &state.metrics;
    metrics.push_bytes.with(&[&told]).observe(bytes as f64);
    metrics
        .push_seconds
        .with(&[&told])
        .observe(began.elapsed().as_secs_f64());
    state.count("push", &method, response)
}

fn handler_of(method: &Method) -> &'static str {
    match *method {
        Method::DELETE => "delete",
        _ => "push",
    }
}

/// Compat: `/metrics/job/` leads to `/metrics/job`, where nothing is (`empty-values-in-path`).
fn nearly(state: &GatewayState, request: &Request) -> Option<Response> {
    let path = request.uri().path();
    let nearly = path.strip_suffix("/metrics/job/")? == state.prefix;
    let query = query_of(request.uri(), request.extensions());
    let to = path.trim_end_matches('/');
    nearly.then(|| paths::redirect(StatusCode::TEMPORARY_REDIRECT, request.method(), to, query))
}

/// Gives how many bytes came, and the answer.
async fn push(
    state: &Arc<GatewayState>,
    key: GroupKey,
    request: Request,
) -> Result<(usize, Response), Response> {
    let ttl_ms = ttl_of(&request).map_err(|error| plain(StatusCode::BAD_REQUEST, format!("{error}\n")))?;
    let replace = *request.method() == Method::PUT;
    let bytes_max = state.gateway.options().body_bytes_max;
    let pushed = state.intake.read(request, bytes_max).await;
    let pushed = pushed.map_err(|error| super::PushError::from(error).into_response())?;
    let (bytes, sender) = (pushed.body.len(), pushed.sender.clone());
    let gateway = state.gateway.clone();
    let work = move || {
        let header = |name: &HeaderName| text_of(&pushed.parts.headers, name).to_owned();
        let push = Push {
            body: &pushed.body,
            content_type: &header(&CONTENT_TYPE),
            content_encoding: &header(&CONTENT_ENCODING),
            replace,
            ttl_ms,
        };
        gateway.push(&key, &push)
    };
    let done = state
        .intake
        .work(&sender, work)
        .await
        .map_err(IntoResponse::into_response)?;
    Ok((bytes, answer(state, done)))
}

fn text_of<'h>(headers: &'h HeaderMap, name: &HeaderName) -> &'h str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("")
}

fn answer(state: &GatewayState, done: Result<(), Refused>) -> Response {
    let error = match done {
        // Compat: who does not look cannot say that all is well (`unchecked/ok`).
        Ok(()) if state.gateway.options().check => return StatusCode::OK.into_response(),
        Ok(()) => return StatusCode::ACCEPTED.into_response(),
        Err(error) => error,
    };
    let status = match &error {
        Refused::Body(error) if error.is_too_much() => StatusCode::PAYLOAD_TOO_LARGE,
        Refused::Body(BodyError::Encoding(_) | _) | Refused::Invalid(_) => StatusCode::BAD_REQUEST,
        Refused::Full(_) => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    tracing::debug!(%error, status = status.as_u16(), "Push refused");
    plain(status, format!("{error}\n"))
}

/// What is wrong with a time to live.
#[derive(Debug, thiserror::Error)]
#[error(
    "invalid time to live {given:?} in {place}: {source}; write a duration like 30m or 2h, or 0 for none"
)]
struct TtlError {
    given: String,
    place: &'static str,
    source: model::duration::DurationError,
}

/// How long the group is to live, if the request says so.
fn ttl_of(request: &Request) -> Result<Option<i64>, TtlError> {
    let query = query_of(request.uri(), request.extensions()).unwrap_or_default();
    let mut pairs = Vec::new();
    // What is not escaped as it should be is passed over, as everywhere.
    let _ = form::read_pairs(query, &mut pairs);
    let parameter = pairs.into_iter().rfind(|(name, _)| name == TTL_PARAMETER);
    let (given, place) = match parameter {
        Some((_, value)) => (value, "the parameter ttl"),
        None => (
            text_of(request.headers(), &TTL_HEADER).to_owned(),
            "the header X-Push-TTL",
        ),
    };
    if given.is_empty() {
        return Ok(None);
    }
    match model::duration::parse_duration(&given) {
        Ok(ms) => Ok(Some(ms.max(0))),
        Err(source) => Err(TtlError { given, place, source }),
    }
}

/// Does what changes groups and waits for the disk; the answer is the reference's once it is done.
async fn done(
    state: &Arc<GatewayState>,
    sender: &super::Sender,
    work: impl FnOnce(&Gateway) -> Result<(), model::storage::StorageError> + Send + 'static,
) -> Response {
    let gateway = state.gateway.clone();
    match state.intake.work(sender, move || work(&gateway)).await {
        Ok(Ok(())) => StatusCode::ACCEPTED.into_response(),
        Ok(Err(error)) => {
            let text = format!("what was deleted may be there again after a restart; try again: {error}\n");
            plain(StatusCode::INTERNAL_SERVER_ERROR, text)
        }
        Err(error) => error.into_response(),
    }
}

async fn wipe(State(state): State<Arc<GatewayState>>, request: Request) -> Response {
    let sender = super::Sender::of(&request);
    drop(request);
    let response = done(&state, &sender, Gateway::wipe).await;
    tracing::info!("All groups of the push gateway were deleted");
    state.count("wipe", &Method::PUT, response)
}

async fn list_groups(State(state): State<Arc<GatewayState>>) -> Response {
    let gateway = state.gateway.clone();
    let body =
        crate::web::answer::blocking(move || Ok::<_, crate::web::answer::ApiError>(json::groups(&gateway)));
    let response = match body.await {
        Ok(body) => crate::web::answer::json_response(StatusCode::OK, body),
        Err(error) => error.into_response(),
    };
    state.count("api/v1/metrics", &Method::GET, response)
}
