//! The Alertmanager's HTTP API, version 2, as Alertmanager 0.34 answers it: for `amtool`, for Grafana's Alertmanager data
//! source, for whoever sends alerts.
//!
//! It is served by an Alertmanager alone ([`alone`]), and by a server that has one inside, below `/api/v2` and
//! `/alertmanager/api/v2`. Errors have the reference's three shapes ([`answer`]), bodies its strictness and its words
//! ([`decode`]).

mod alerts;
pub(crate) mod alone;
mod answer;
mod cors;
mod counted;
mod decode;
mod groups;
mod history;
mod limits;
mod receivers;
mod request;
mod silences;
pub(crate) mod state;
mod status;
mod syntax;
mod time;
mod trial;
mod uri;

use std::sync::Arc;

use axum::Router;
use axum::extract::{OriginalUri, Request, State};
use axum::handler::Handler;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post};
use http::{Method, StatusCode};

use super::auth::scope::{Scope, guarded_methods};
use super::paths;
use answer::Fault;
use state::AlertmanagerState;

/// Where the API lies, behind whatever prefix.
pub(super) const API: &str = "/api/v2";
/// A server that has an Alertmanager inside shows its API here, too: where a proxy gives its own `/api` to somebody else.
pub(super) const INSIDE: &str = "/alertmanager";

/// The API, to be nested at [`API`] behind `prefix`, with no state left open.
pub(super) fn api(state: Arc<AlertmanagerState>, prefix: &str) -> Router {
    let alerts = read("GET,POST", alerts::list).merge(write(Scope::Write, post(alerts::post)));
    let silences = read("GET,POST", silences::list).merge(write(Scope::Admin, post(silences::post)));
    let silence = read("DELETE,GET", silences::get).merge(write(Scope::Admin, delete(silences::expire)));
    let prefix = prefix.to_owned();
    let nowhere = move |OriginalUri(uri): OriginalUri| {
        let path = uri.path().strip_prefix(&*prefix).unwrap_or(uri.path()).to_owned();
        async move { Fault::Request(StatusCode::NOT_FOUND, format!("path {path} was not found")) }
    };
    let mut router = Router::new();
    for (path, methods) in [
        ("/alerts", alerts),
        ("/alerts/groups", read("GET", groups::list)),
        ("/silences", silences),
        ("/silence/{id}", silence),
        // Of ours.
        ("/history", read("GET", history::list)),
        ("/receivers", read("GET", receivers::list)),
        // Of ours.
        (
            "/receivers/{name}/preview",
            only_post(Scope::Read, post(trial::preview)),
        ),
        (
            "/receivers/{name}/test",
            only_post(Scope::Admin, post(trial::send)),
        ),
        ("/status", read("GET", status::get)),
    ] {
        // Compat: a slash at the end does no harm (`general`: GET `/api/v2/status/`).
        router = router
            .route(&format!("{path}/"), methods.clone())
            .route(path, methods);
    }
    router
        .fallback(nowhere)
        .layer(middleware::from_fn(cors::layer))
        .layer(middleware::from_fn_with_state(state.clone(), limits::layer))
        .layer(middleware::from_fn_with_state(state.clone(), counted::api_layer))
        .with_state(state)
}

/// Adds the API to a server's routes, in both of its places. While there is no Alertmanager, nothing is there.
pub(super) fn add_to<S>(router: Router<S>, state: Arc<AlertmanagerState>, prefix: &str) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    [API.to_owned(), format!("{INSIDE}{API}")]
        .iter()
        .fold(router, |router, place| {
            let base = format!("{prefix}{}", place.trim_end_matches(API));
            let api =
                api(state.clone(), &base).layer(middleware::from_fn_with_state(state.clone(), only_while_on));
            router.nest_service(&format!("{prefix}{place}"), api)
        })
}

async fn only_while_on(
    State(state): State<Arc<AlertmanagerState>>,
    request: Request,
    next: Next,
) -> Response {
    match state.slot.current() {
        Some(_) => next.run(request).await,
        None => paths::not_found(),
    }
}

/// A route that answers GET; `allowed` are all methods of its path. Compat: HEAD is none (`alerts-post`: HEAD).
fn read<H, T>(allowed: &'static str, handler: H) -> MethodRouter<Arc<AlertmanagerState>>
where
    H: Handler<T, Arc<AlertmanagerState>>,
    T: 'static,
{
    let refuse = move |method: Method| async move { Fault::Method(method.to_string(), allowed) };
    guarded_methods(Scope::Read, get(handler))
        .head(refuse)
        .fallback(refuse)
}

/// A route that answers POST alone.
fn only_post(
    scope: Scope,
    methods: MethodRouter<Arc<AlertmanagerState>>,
) -> MethodRouter<Arc<AlertmanagerState>> {
    let refuse = move |method: Method| async move { Fault::Method(method.to_string(), "POST") };
    guarded_methods(scope, methods).fallback(refuse)
}

fn write(
    scope: Scope,
    methods: MethodRouter<Arc<AlertmanagerState>>,
) -> MethodRouter<Arc<AlertmanagerState>> {
    guarded_methods(scope, methods)
}
