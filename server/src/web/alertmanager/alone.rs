//! The site of an Alertmanager that serves alone.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{Method, StatusCode, Uri};
use tokio::sync::{mpsc, oneshot};
use tower_http::compression::CompressionLayer;

use super::state::AlertmanagerState;
use super::{API, counted, limits};
use crate::alertmanager::alone::{ReloadRequest, ReloadResult};
use crate::web::auth::{self, scope::guarded};
use crate::web::cross_site::{self, Trust};
use crate::web::guard::Guard;
use crate::web::listener::WholeQuery;
use crate::web::paths::{self, Paths};
use crate::web::state::PageState;
use crate::web::{ADMIN, ANY, READ, get_and_head, get_only, methods, metrics_page};

/// What the site answers from.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) alertmanager: Arc<AlertmanagerState>,
    pub(crate) pages: Arc<PageState>,
    /// Where requests to reload go.
    pub(crate) reload: mpsc::Sender<ReloadRequest>,
}

impl FromRef<Site> for Arc<PageState> {
    fn from_ref(site: &Site) -> Self {
        site.pages.clone()
    }
}

impl FromRef<Site> for mpsc::Sender<ReloadRequest> {
    fn from_ref(site: &Site) -> Self {
        site.reload.clone()
    }
}

/// The whole site. `trust` says whose pages may reload, `guard` who has to say who it is.
pub(crate) fn router(site: Site, trust: Trust, guard: Option<Arc<Guard>>) -> Router {
    let prefix = site.pages.prefix.clone();
    let reload = post(reload).layer(middleware::from_fn_with_state(Arc::new(trust), cross_site::layer));
    let mut routes: Vec<(&str, MethodRouter<Site>)> = vec![
        ("/", guarded(READ, get_only(front))),
        ("/-/healthy", guarded(ANY, get_and_head(well))),
        ("/-/ready", guarded(ANY, get_and_head(well))),
        ("/-/reload", guarded(ADMIN, methods("OPTIONS, POST", reload))),
        (
            "/metrics",
            guarded(
                READ,
                get_only(metrics_page::metrics).layer(CompressionLayer::new().no_deflate()),
            ),
        ),
    ];
    routes.extend(removed_api());
    let mut router = Router::new();
    let mut patterns = Vec::new();
    for (path, methods) in routes {
        // Not nested: a nested "/" would stand for the prefix without its slash.
        let pattern = format!("{prefix}{path}");
        router = router.route(&pattern, methods);
        patterns.push(pattern);
    }
    let paths = Arc::new(Paths {
        prefix: prefix.clone(),
        patterns,
        tree: API,
    });
    let nowhere = {
        let paths = paths.clone();
        async move |method: Method, uri: Uri, WholeQuery(query): WholeQuery| {
            paths::nowhere(&paths, &method, &uri, query.as_deref())
        }
    };
    let state = site.alertmanager.clone();
    let inside = router
        .layer(middleware::from_fn_with_state(state.clone(), counted::site_layer))
        .fallback(nowhere)
        .layer(middleware::from_fn_with_state(state.clone(), limits::layer))
        .nest_service(&format!("{prefix}{API}"), super::api(state, &prefix))
        .with_state(site);
    // Before routes are looked for, paths are cleaned: a layer of routes would come too late.
    let cleaned = Router::new()
        .fallback_service(inside)
        .layer(middleware::from_fn_with_state(paths, paths::layer));
    match guard {
        Some(guard) => cleaned.layer(middleware::from_fn_with_state(guard, auth::layer)),
        None => cleaned,
    }
}

// Compat: probes may compare the text (`general`: GET `/-/healthy`).
async fn well() -> &'static str {
    "OK"
}

/// One page that says what is here. It asks the API for what it shows.
async fn front(State(state): State<Arc<PageState>>) -> Response {
    let page = include_str!("alone.html").replace("{{version}}", env!("CARGO_PKG_VERSION"));
    let page = page.replace("{{path}}", &paths::escape_html(&state.external_path));
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

/// Answers when the new configuration is in force, or says why the old one still is.
async fn reload(State(reload): State<mpsc::Sender<ReloadRequest>>) -> Response {
    let (answer, answered) = oneshot::channel::<ReloadResult>();
    let why = match reload.send(answer).await {
        Ok(()) => match answered.await {
            Ok(Ok(())) => return StatusCode::OK.into_response(),
            Ok(Err(error)) => error.in_the_references_words(),
            Err(_) => "server is stopping".to_owned(),
        },
        Err(_) => "server is stopping".to_owned(),
    };
    let headers = [(X_CONTENT_TYPE_OPTIONS, "nosniff")];
    let text = format!("failed to reload config: {why}\n");
    (StatusCode::INTERNAL_SERVER_ERROR, headers, text).into_response()
}

/// Routes of the API's first version, which the reference has removed and still answers.
fn removed_api() -> Vec<(&'static str, MethodRouter<Site>)> {
    let read = || get_only(removed);
    let read_and_write = || {
        let both = get(removed).post(removed);
        methods(
            "GET, OPTIONS, POST",
            both.head(|| crate::web::refuse_head("GET, OPTIONS, POST")),
        )
    };
    let one = methods(
        "DELETE, GET, OPTIONS",
        delete(removed)
            .get(removed)
            .head(|| crate::web::refuse_head("DELETE, GET, OPTIONS")),
    );
    vec![
        ("/api/v1/status", read()),
        ("/api/v1/receivers", read()),
        ("/api/v1/alerts", read_and_write()),
        ("/api/v1/silences", read_and_write()),
        ("/api/v1/silence/{id}", one),
    ]
}

async fn removed(method: Method, uri: Uri) -> Response {
    tracing::warn!(path = uri.path(), %method, "Somebody asks the API of version 1, which is gone");
    // Compat: the text is the reference's (`general`: the removed version).
    let body = "{\"status\":\"deprecated\",\"error\":\"The Alertmanager v1 API was deprecated in version 0.16.0 and is \
                removed as of version 0.27.0 - please use the equivalent route in the v2 API\"}\n";
    (StatusCode::GONE, [(CONTENT_TYPE, "application/json")], body).into_response()
}
