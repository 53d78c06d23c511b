//! The HTTP side: the API, the pages, and what they share.

mod admin;
mod alerting;
pub(crate) mod alertmanager;
mod answer;
mod api;
mod assets;
mod auth;
mod backtest;
mod bundle;
mod cardinality;
mod chunks;
pub(crate) mod consoles;
mod cors;
mod cross_site;
mod exemplars;
mod export;
mod families;
mod features;
mod federate;
mod form;
pub(crate) mod guard;
mod health;
mod http_metrics;
mod json;
pub(crate) mod listener;
mod metric_info;
mod metrics_page;
mod notices;
mod pages;
mod params;
mod parse;
mod paths;
mod profile;
pub(crate) mod push;
mod query;
mod read;
mod readiness;
mod running;
mod search;
mod series;
pub(crate) mod state;
mod status;
mod summary;
mod targets;
mod why_empty;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use http::header::{ALLOW, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use tower_http::compression::CompressionLayer;

use api::{Description, Route, openapi, table};
use auth::scope::{Needs, Scope, guarded};
pub(crate) use cors::Cors;
pub(crate) use cross_site::Trust;
pub(crate) use federate::FederationMetrics;
use guard::Guard;
use http_metrics::HttpMetrics;
use listener::WholeQuery;
pub(crate) use metrics_page::AskedMetrics;
use paths::Paths;
pub(crate) use read::ReadState;
use state::Site;
pub(crate) use status::OWN_VERSION;

/// Where the API lies.
const API: &str = "/api/v1";

// What a route needs of whoever asks by a token: the tables below say it of each.
const ANY: Needs = Needs::Nothing;
const READ: Needs = Needs::One(Scope::Read);
const ADMIN: Needs = Needs::One(Scope::Admin);

/// Routes and their patterns, which tell what a path that is nearly one of them means, and label what is counted.
struct Routes {
    /// In front of all.
    prefix: String,
    router: Router<Site>,
    /// With the prefix.
    patterns: Vec<String>,
    /// Those of the API.
    described: Vec<Description>,
}

impl Routes {
    fn new(prefix: String) -> Self {
        Routes {
            prefix,
            router: Router::new(),
            patterns: Vec::new(),
            described: Vec::new(),
        }
    }

    /// Adds a route of the API.
    fn describe(self, route: Route) -> Self {
        let (about, methods) = route.into_parts();
        let mut routes = self.add(about.pattern, about.needs, methods);
        routes.described.push(about);
        routes
    }

    /// Adds several.
    fn describe_all(self, routes: impl IntoIterator<Item = Route>) -> Self {
        routes.into_iter().fold(self, Routes::describe)
    }

    fn add(mut self, pattern: &str, needs: Needs, methods: MethodRouter<Site>) -> Self {
        // Not nested: a nested "/" would stand for the prefix without its slash.
        let pattern = format!("{}{pattern}", self.prefix);
        self.router = self.router.route(&pattern, guarded(needs, methods));
        self.patterns.push(pattern);
        self
    }

    fn map(self, change: impl FnOnce(Router<Site>) -> Router<Site>) -> Self {
        Routes {
            router: change(self.router),
            ..self
        }
    }
}

/// The whole site. `cors` says whose pages may read the API, `trust` whose may change something, `guard` who has to say who
/// it is.
pub(crate) fn router(site: Site, cors: Cors, trust: Trust, guard: Option<Arc<Guard>>) -> Router {
    let trust = Arc::new(trust);
    let prefix = site.pages.prefix.clone();
    let api = api_routes(&site, cors.clone(), &trust);
    let pushed = push::routes(&site, &cors, &trust).describe(read::route(&site, &cors, &trust));
    let document = api_document(&site, &cors, [&api, &pushed]);
    let mut routes = page_routes(&site, &trust);
    if let Some(folder) = site.pages.user_assets.clone() {
        routes = routes.map(|router| assets::add_to(router, &prefix, folder));
        routes
            .patterns
            .extend(assets::PATTERNS.map(|pattern| format!("{prefix}{pattern}")));
    }
    for others in [&api, &pushed, &document] {
        routes.patterns.extend(others.patterns.iter().cloned());
    }
    let counted = HttpMetrics::new(&site.pages.metrics, &prefix, &routes.patterns);
    let paths = Arc::new(Paths {
        prefix: prefix.clone(),
        patterns: routes.patterns,
        tree: API,
    });
    let nowhere = {
        let paths = paths.clone();
        async move |method: Method, uri: Uri, WholeQuery(query): WholeQuery, headers: HeaderMap| {
            let api = uri
                .path()
                .strip_prefix(&*paths.prefix)
                .and_then(|path| path.strip_prefix(API));
            match method {
                // Compat: a browser may ask for leave whether or not there is something.
                Method::OPTIONS if api.is_some() => cors.preflight(&headers),
                _ => paths::nowhere(&paths, &method, &uri, query.as_deref()),
            }
        }
    };
    let inside = routes
        .router
        .merge(api.router)
        .merge(pushed.router)
        .merge(document.router)
        .layer(middleware::from_fn_with_state(counted, http_metrics::layer))
        .fallback(nowhere);
    let inside = alertmanager::add_to(inside, site.alertmanager.clone(), &prefix).with_state(site);
    // Before routes are looked for, paths are cleaned: a layer of routes would come too late.
    let cleaned = Router::new()
        .fallback_service(inside)
        .layer(middleware::from_fn_with_state(paths, paths::layer));
    match guard {
        Some(guard) => cleaned.layer(middleware::from_fn_with_state(guard, auth::layer)),
        None => cleaned,
    }
}

/// Answers OPTIONS, and refuses all methods but those of `methods`, which `allowed` names.
fn methods<S>(allowed: &'static str, methods: MethodRouter<S>) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    // Compat: header and text are the reference's (api-shapes/DELETE__api_v1_query_query_up).
    let refuse = move || async move {
        let headers = [(ALLOW, allowed), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
        (StatusCode::METHOD_NOT_ALLOWED, headers, "Method Not Allowed\n").into_response()
    };
    methods
        .options(move || async move { [(ALLOW, allowed)] })
        .fallback(refuse)
}

/// A route that answers GET, but not HEAD.
///
/// Compat: the reference refuses HEAD nearly everywhere (api: HEAD `/api/v1/query`).
fn get_only<H, T, S>(handler: H) -> MethodRouter<S>
where
    H: Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    const ALLOWED: &str = "GET, OPTIONS";
    methods(ALLOWED, get(handler).head(|| refuse_head(ALLOWED)))
}

/// A route that answers GET and HEAD.
fn get_and_head<H, T, S>(handler: H) -> MethodRouter<S>
where
    H: Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    methods("GET, HEAD, OPTIONS", get(handler))
}

/// A route that answers GET and POST.
fn get_and_post<H, T>(handler: H) -> MethodRouter<Site>
where
    H: Handler<T, Site> + Clone,
    T: 'static,
{
    const ALLOWED: &str = "GET, OPTIONS, POST";
    let both = get(handler.clone()).post(handler);
    methods(ALLOWED, both.head(|| refuse_head(ALLOWED)))
}

/// A route that answers POST, from no foreign page.
fn post_only(trust: &Arc<Trust>, handler: MethodRouter<Site>) -> MethodRouter<Site> {
    let trusted = handler.layer(middleware::from_fn_with_state(trust.clone(), cross_site::layer));
    methods("OPTIONS, POST", trusted)
}

/// The same, with a text of its own for GET.
fn lifecycle<H, T>(trust: &Arc<Trust>, handler: H) -> MethodRouter<Site>
where
    H: Handler<T, Site> + Clone,
    T: 'static,
{
    const ALLOWED: &str = "GET, OPTIONS, POST, PUT";
    let both = post(handler.clone()).put(handler);
    let both = both.layer(middleware::from_fn_with_state(trust.clone(), cross_site::layer));
    methods(
        ALLOWED,
        both.get(pages::only_post_or_put).head(|| refuse_head(ALLOWED)),
    )
}

async fn refuse_head(allowed: &'static str) -> Response {
    let headers = [(ALLOW, allowed), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (StatusCode::METHOD_NOT_ALLOWED, headers, "Method Not Allowed\n").into_response()
}

fn page_routes(site: &Site, trust: &Arc<Trust>) -> Routes {
    let ready = middleware::from_fn_with_state(site.start.clone(), readiness::layer);
    let mut routes = Routes::new(site.pages.prefix.clone())
        .add("/", READ, get_only(pages::home))
        .add("/graph", READ, get_and_head(pages::graph))
        .add("/version", READ, get_only(status::version))
        .add(
            "/metrics",
            READ,
            get_only(metrics_page::metrics).layer(CompressionLayer::new().no_deflate()),
        )
        .add(
            "/federate",
            READ,
            get_only(federate::federate)
                .layer(CompressionLayer::new())
                .layer(ready.clone()),
        )
        .add(
            "/consoles/",
            READ,
            get_only(consoles::folder).layer(ready.clone()),
        )
        .add("/consoles/{*rest}", READ, get_only(consoles::page).layer(ready))
        .add("/debug/{*rest}", ADMIN, profile::routes())
        .add("/-/healthy", ANY, get_and_head(pages::healthy))
        .add("/-/ready", ANY, get_and_head(readiness::ready))
        .add("/-/reload", ADMIN, lifecycle(trust, pages::reload))
        .add("/-/quit", ADMIN, lifecycle(trust, pages::quit));
    for path in bundle::PAGES {
        let page = get_and_head(bundle::page);
        let page = match path {
            "/query" => push::influx::beside_page(site, page),
            _ => page,
        };
        routes = routes.add(path, READ, page);
    }
    // What is loaded says nothing of what is stored: whoever may come in may have it.
    let assets = get_and_head(bundle::asset).layer(CompressionLayer::new());
    routes.add(bundle::ASSETS, ANY, assets)
}

fn api_routes(site: &Site, cors: Cors, trust: &Arc<Trust>) -> Routes {
    Routes::new(format!("{}{API}", site.pages.prefix))
        .describe_all(table::compressed(trust))
        .map(|router| router.layer(CompressionLayer::new()))
        .describe_all(table::plain())
        .map(|router| {
            router
                .layer(middleware::from_fn(options_and_vary))
                .layer(middleware::from_fn_with_state(
                    site.start.clone(),
                    readiness::layer,
                ))
                .layer(middleware::from_fn_with_state(cors, cors::layer))
        })
}

/// The document that describes `routes`. Compat: its headers are its own alone (api: `openapi.yaml` with an `Origin`).
fn api_document(site: &Site, cors: &Cors, routes: [&Routes; 2]) -> Routes {
    let place = format!("{}{API}", site.pages.external_path);
    let described = routes.iter().flat_map(|routes| routes.described.iter().cloned());
    let route = openapi::route(place, described.collect());
    let cors = cors.clone();
    Routes::new(format!("{}{API}", site.pages.prefix))
        .describe(route)
        .map(|router| router.layer(middleware::from_fn_with_state(cors, cors::preflight_layer)))
}

/// Answers OPTIONS, and says in `Vary` what answers depend on.
async fn options_and_vary(request: Request, next: Next) -> Response {
    let mut response = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    // In place of what compression says in its own letters.
    response
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}
