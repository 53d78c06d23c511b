//! The site of a push gateway that serves alone.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use http::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, CONTENT_TYPE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;

use super::{GatewayState, expose, groups, list, plain, wiping};
use crate::cli::flags::FlagValues;
use crate::version::{OWN, PUSHGATEWAY, REVISION};
use crate::web::answer::{ApiError, blocking, success_json};
use crate::web::auth::{self, scope::Needs, scope::guarded};
use crate::web::cross_site::{self, Trust};
use crate::web::families::Format;
use crate::web::guard::Guard;
use crate::web::listener::WholeQuery;
use crate::web::paths::{self, Paths};
use crate::web::state::PageState;
use crate::web::{ADMIN, API, READ, get_only, methods, metrics_page};

/// What the site answers from.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) gateway: Arc<GatewayState>,
    pub(crate) pages: Arc<PageState>,
    pub(crate) told: Arc<Told>,
}

/// What the gateway was told at its start.
pub(crate) struct Told {
    pub(crate) flags: FlagValues,
    pub(crate) start: jiff::Timestamp,
    /// Where metrics are shown.
    pub(crate) telemetry_path: String,
    /// Whether a request may end it.
    pub(crate) lifecycle: bool,
    /// Whether a request may delete everything.
    pub(crate) admin: bool,
    pub(crate) stop: CancellationToken,
}

macro_rules! parts {
    ($($field:ident: $part:ty),+) => {
        $(impl FromRef<Site> for Arc<$part> {
            fn from_ref(site: &Site) -> Self {
                site.$field.clone()
            }
        })+
    };
}

parts! { gateway: GatewayState, pages: PageState, told: Told }

/// The whole site. `trust` says whose pages may change something, `guard` who has to say who it is.
pub(crate) fn router(site: Site, trust: Trust, guard: Option<Arc<Guard>>) -> Router {
    let prefix = site.pages.prefix.clone();
    let routes = routes(&site, &Arc::new(trust));
    let mut router = Router::new();
    let mut patterns = Vec::new();
    for (path, methods) in routes {
        // Not nested: a nested "/" would stand for the prefix without its slash.
        let pattern = format!("{prefix}{path}");
        router = router.route(&pattern, methods);
        patterns.push(pattern);
    }
    // A path below the groups' is nobody else's, however near it is.
    patterns.retain(|pattern| !pattern.ends_with("{*rest}"));
    let paths = Arc::new(Paths {
        prefix: prefix.clone(),
        patterns,
        tree: API,
    });
    let nowhere = {
        let paths = paths.clone();
        async move |method: Method, uri: Uri, WholeQuery(query): WholeQuery| {
            let api = uri
                .path()
                .strip_prefix(&*prefix)
                .is_some_and(|path| path.starts_with(API));
            match method {
                // Compat: a browser may ask for leave whether or not there is something.
                Method::OPTIONS if api => StatusCode::OK.into_response(),
                _ => paths::nowhere(&paths, &method, &uri, query.as_deref()),
            }
        }
    };
    let inside = router.fallback(nowhere).with_state(site);
    // Before routes are looked for, paths are cleaned: a layer of routes would come too late.
    let cleaned = Router::new()
        .fallback_service(inside)
        .layer(middleware::from_fn_with_state(paths, paths::layer));
    match guard {
        Some(guard) => cleaned.layer(middleware::from_fn_with_state(guard, auth::layer)),
        None => cleaned,
    }
}

fn routes(site: &Site, trust: &Arc<Trust>) -> Vec<(String, MethodRouter<Site>)> {
    let own = || middleware::from_fn_with_state(trust.clone(), cross_site::layer);
    let state = &site.gateway;
    let quit = post(quit).put(quit).layer(own()).get(only_post_or_put);
    let api = |methods: MethodRouter<Site>| {
        // Compat: OPTIONS has these headers and no `Allow` (`api-metrics`).
        methods.layer(middleware::map_response(open_to_all))
    };
    let mut routes: Vec<(String, MethodRouter<Site>)> = [
        ("/", guarded(READ, get_only(front))),
        ("/status", guarded(READ, get_only(front))),
        ("/-/healthy", get_only(healthy)),
        ("/-/ready", get_only(ready)),
        ("/-/quit", guarded(ADMIN, quit)),
        (
            "/metrics/{*rest}",
            guarded(Needs::Nothing, groups(state.clone()).layer(own())),
        ),
        ("/api/v1/status", api(guarded(READ, list_only(status)))),
        ("/api/v1/metrics", api(guarded(READ, list(state.clone())))),
    ]
    .map(|(path, methods)| (path.to_owned(), methods))
    .into();
    if site.told.admin {
        let wipe = guarded(ADMIN, wiping(state.clone()).layer(own()));
        routes.push(("/api/v1/admin/wipe".to_owned(), wipe));
    }
    let shown = get_only(metrics).layer(CompressionLayer::new().no_deflate());
    let path = format!("/{}", site.told.telemetry_path.trim_matches('/'));
    routes.push((path, guarded(READ, shown)));
    routes
}

/// Every answer of the API that is none to a wrong method may be read by every page.
async fn open_to_all(mut response: Response) -> Response {
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    let headers = response.headers_mut();
    headers.remove(http::header::ALLOW);
    for (name, value) in [
        (
            ACCESS_CONTROL_ALLOW_HEADERS,
            "Accept, Authorization, Content-Type, Origin",
        ),
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE, OPTIONS"),
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
        (CACHE_CONTROL, "no-cache, no-store, must-revalidate"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

// Compat: probes may compare the text (`health`).
async fn healthy(State(state): State<Arc<GatewayState>>) -> Response {
    state.count("healthy", &Method::GET, "OK".into_response())
}

async fn ready(State(state): State<Arc<GatewayState>>) -> Response {
    state.count("ready", &Method::GET, "OK".into_response())
}

async fn quit(State(told): State<Arc<Told>>) -> Response {
    if !told.lifecycle {
        return (StatusCode::FORBIDDEN, "Lifecycle API is not enabled.").into_response();
    }
    tracing::warn!("Received termination request via web service, exiting gracefully...");
    told.stop.cancel();
    "Requesting termination... Goodbye!".into_response()
}

async fn only_post_or_put() -> Response {
    (
        StatusCode::METHOD_NOT_ALLOWED,
        "Only POST or PUT requests allowed.",
    )
        .into_response()
}

/// One page that says what is here. It asks the API for what it shows.
async fn front(State(pages): State<Arc<PageState>>, State(state): State<Arc<GatewayState>>) -> Response {
    let page = include_str!("alone.html").replace("{{version}}", OWN);
    let page = page.replace("{{path}}", &paths::escape_html(&pages.external_path));
    let response = ([(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response();
    state.count("status", &Method::GET, response)
}

/// Flags, age and version.
async fn status(State(told): State<Arc<Told>>, State(state): State<Arc<GatewayState>>) -> Response {
    let flags: serde_json::Map<String, serde_json::Value> = told
        .flags
        .iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let response = success_json(&serde_json::json!({
        "flags": flags,
        "start_time": told.start.to_string(),
        "build_information": {
            "version": PUSHGATEWAY,
            "revision": REVISION,
            "branch": format!("narthex {OWN}"),
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
        },
    }));
    state.count("api/v1/status", &Method::GET, response)
}

/// The groups' metrics, and the gateway's own among them.
async fn metrics(
    State(pages): State<Arc<PageState>>,
    State(state): State<Arc<GatewayState>>,
    headers: HeaderMap,
) -> Response {
    let _asked = pages.asked.begin();
    let accept = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let format = Format::negotiate(accept);
    let (gateway, registry) = (state.gateway.clone(), pages.metrics.clone());
    let made = blocking(move || {
        let families = match expose::families(&gateway, metrics_page::own(&registry)) {
            Ok(families) => families,
            Err(faults) => return Ok::<_, ApiError>(Err(faults)),
        };
        let mut body = Vec::new();
        families.iter().for_each(|family| format.write(&mut body, family));
        Ok(Ok(body))
    });
    let answer = match made.await {
        Ok(Ok(body)) => ([(CONTENT_TYPE, format.content_type())], body).into_response(),
        Ok(Err(faults)) => {
            tracing::error!(error = %faults, "Metrics do not fit together");
            // Compat: the words are the reference's (`unchecked/duplicates`).
            let text = format!("An error has occurred while serving metrics:\n\n{faults}\n");
            plain(StatusCode::INTERNAL_SERVER_ERROR, text)
        }
        Err(error) => error.into_response(),
    };
    pages.asked.ended(&answer);
    answer
}

/// A route of the API that answers GET.
fn list_only<H, T>(handler: H) -> MethodRouter<Site>
where
    H: axum::handler::Handler<T, Site>,
    T: 'static,
{
    const ALLOWED: &str = "GET, OPTIONS";
    let get = axum::routing::get(handler).head(|| crate::web::refuse_head(ALLOWED));
    methods(ALLOWED, get)
}
