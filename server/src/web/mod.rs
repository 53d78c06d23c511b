//! The HTTP side: the API, the pages, and what they share.

mod admin;
pub(crate) mod agent;
mod alerting;
pub(crate) mod alertmanager;
mod answer;
mod assets;
mod auth;
mod backtest;
mod bundle;
mod chunks;
mod cors;
mod cross_site;
mod exemplars;
mod families;
mod features;
mod federate;
mod form;
pub(crate) mod guard;
mod http_metrics;
mod json;
pub(crate) mod listener;
mod metrics_page;
mod pages;
mod params;
mod parse;
mod paths;
pub(crate) mod push;
mod query;
mod readiness;
mod series;
pub(crate) mod state;
mod status;
mod targets;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, Request};
use axum::handler::Handler;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use http::header::{ALLOW, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use tower_http::compression::CompressionLayer;

use auth::scope::{Needs, Scope, guarded};
pub(crate) use cors::Cors;
pub(crate) use cross_site::Trust;
pub(crate) use federate::FederationMetrics;
use guard::Guard;
use http_metrics::HttpMetrics;
use listener::WholeQuery;
pub(crate) use metrics_page::AskedMetrics;
use paths::Paths;
use state::{PageState, Site, StartState};
pub(crate) use status::OWN_VERSION;

/// Where the API lies.
const API: &str = "/api/v1";

// What a route needs of whoever asks by a token: the tables below say it of each.
const ANY: Needs = Needs::Nothing;
const READ: Needs = Needs::One(Scope::Read);
const ADMIN: Needs = Needs::One(Scope::Admin);

/// Routes and their patterns, which tell what a path that is nearly one of them means, and label what is counted.
struct Routes<S = Site> {
    /// In front of all.
    prefix: String,
    router: Router<S>,
    /// With the prefix.
    patterns: Vec<String>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    fn new(prefix: String) -> Self {
        Routes {
            prefix,
            router: Router::new(),
            patterns: Vec::new(),
        }
    }

    fn add(mut self, pattern: &str, needs: Needs, methods: MethodRouter<S>) -> Self {
        // Not nested: a nested "/" would stand for the prefix without its slash.
        let pattern = format!("{}{pattern}", self.prefix);
        self.router = self.router.route(&pattern, guarded(needs, methods));
        self.patterns.push(pattern);
        self
    }

    fn map(self, change: impl FnOnce(Router<S>) -> Router<S>) -> Self {
        Routes {
            router: change(self.router),
            ..self
        }
    }

    /// These and others.
    fn and(mut self, others: Routes<S>) -> Self {
        self.patterns.extend(others.patterns);
        self.router = self.router.merge(others.router);
        self
    }
}

/// The whole site. `cors` says whose pages may read the API, `trust` whose may change something, `guard` who has to say who
/// it is.
pub(crate) fn router(site: Site, cors: Cors, trust: Trust, guard: Option<Arc<Guard>>) -> Router {
    let trust = Arc::new(trust);
    let base = push::Base {
        push: &site.push,
        start: &site.start,
        prefix: &site.pages.prefix,
        admin: site.admin.enabled,
        cors: &cors,
        trust: &trust,
    };
    let routes = page_routes(&site, &trust)
        .and(api_routes(&site, cors.clone(), &trust))
        .and(push::routes(base));
    let pages = site.pages.clone();
    with_surroundings(routes, &pages, cors, guard, |inside| {
        alertmanager::add_to(inside, site.alertmanager.clone(), &pages.prefix).with_state(site)
    })
}

/// What every site with this API has around its routes: files of the user's, counting, answers where no route is, paths that
/// are nearly right. `finish` gives the routes what they answer from.
fn with_surroundings<S: Clone + Send + Sync + 'static>(
    mut routes: Routes<S>,
    pages: &PageState,
    cors: Cors,
    guard: Option<Arc<Guard>>,
    finish: impl FnOnce(Router<S>) -> Router,
) -> Router {
    let prefix = pages.prefix.clone();
    if let Some(folder) = pages.user_assets.clone() {
        routes = routes.map(|router| assets::add_to(router, &prefix, folder));
        routes
            .patterns
            .extend(assets::PATTERNS.map(|pattern| format!("{prefix}{pattern}")));
    }
    let counted = HttpMetrics::new(&pages.metrics, &prefix, &routes.patterns);
    let paths = Arc::new(Paths {
        prefix,
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
        .layer(middleware::from_fn_with_state(counted, http_metrics::layer))
        .fallback(nowhere);
    // Before routes are looked for, paths are cleaned: a layer of routes would come too late.
    let cleaned = Router::new()
        .fallback_service(finish(inside))
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
fn get_and_post<H, T, S>(handler: H) -> MethodRouter<S>
where
    H: Handler<T, S> + Clone,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    const ALLOWED: &str = "GET, OPTIONS, POST";
    let both = get(handler.clone()).post(handler);
    methods(ALLOWED, both.head(|| refuse_head(ALLOWED)))
}

/// A route that changes something: POST and PUT, from no foreign page.
fn post_and_put<H, T, S>(trust: &Arc<Trust>, handler: H) -> MethodRouter<S>
where
    H: Handler<T, S> + Clone,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    let both = post(handler.clone()).put(handler);
    let both = both.layer(middleware::from_fn_with_state(trust.clone(), cross_site::layer));
    methods("OPTIONS, POST, PUT", both)
}

/// A route that answers POST, from no foreign page.
fn post_only(trust: &Arc<Trust>, handler: MethodRouter<Site>) -> MethodRouter<Site> {
    let trusted = handler.layer(middleware::from_fn_with_state(trust.clone(), cross_site::layer));
    methods("OPTIONS, POST", trusted)
}

/// The same, with a text of its own for GET.
fn lifecycle<H, T, S>(trust: &Arc<Trust>, handler: H) -> MethodRouter<S>
where
    H: Handler<T, S> + Clone,
    T: 'static,
    S: Clone + Send + Sync + 'static,
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
        .add("/metrics", READ, own_metrics())
        .add(
            "/federate",
            READ,
            get_only(federate::federate)
                .layer(CompressionLayer::new())
                .layer(ready),
        )
        .add("/-/healthy", ANY, get_and_head(pages::healthy))
        .add("/-/ready", ANY, get_and_head(readiness::ready))
        .add("/-/reload", ADMIN, lifecycle(trust, pages::reload))
        .add("/-/quit", ADMIN, lifecycle(trust, pages::quit));
    for path in bundle::PAGES {
        let page = get_and_head(bundle::page);
        let page = match path {
            "/query" if site.push.ways.influx => push::influx::beside_page(page),
            _ => page,
        };
        routes = routes.add(path, READ, page);
    }
    // What is loaded says nothing of what is stored: whoever may come in may have it.
    let assets = get_and_head(bundle::asset).layer(CompressionLayer::new());
    routes.add(bundle::ASSETS, ANY, assets)
}

/// `/metrics`: what is counted here.
fn own_metrics<S>() -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<PageState>: FromRef<S>,
{
    get_only(metrics_page::metrics).layer(CompressionLayer::new().no_deflate())
}

fn api_routes(site: &Site, cors: Cors, trust: &Arc<Trust>) -> Routes {
    Routes::new(format!("{}{API}", site.pages.prefix))
        .add("/query", READ, get_and_post(query::instant))
        .add("/query_range", READ, get_and_post(query::range))
        .add("/query_exemplars", READ, get_and_post(exemplars::query))
        .add("/format_query", READ, get_and_post(parse::format_query))
        .add("/parse_query", READ, get_and_post(parse::parse_query))
        .add("/labels", READ, get_and_post(series::label_names))
        .add("/label/{name}/values", READ, get_only(series::label_values))
        .add("/series", READ, get_and_post(series::series))
        .add("/scrape_pools", READ, get_only(targets::scrape_pools))
        .add("/scrape_pools/config", READ, get_only(targets::scrape_pool_config))
        .add("/targets", READ, get_only(targets::targets))
        .add("/targets/metadata", READ, get_only(targets::target_metadata))
        .add("/targets/relabel_steps", READ, get_only(targets::relabel_steps))
        .add("/metadata", READ, get_only(targets::metadata))
        .add("/alertmanagers", READ, get_only(alerting::alertmanagers))
        .add("/alerts", READ, get_only(alerting::alerts))
        .add("/rules", READ, get_only(alerting::rules))
        .add("/rules/backtest", READ, post_only(trust, backtest::handler()))
        .add("/status/config", READ, get_only(status::config))
        .add("/status/runtimeinfo", READ, get_only(status::runtime_info))
        .add("/status/buildinfo", READ, get_only(status::build_info))
        .add("/status/flags", READ, get_only(status::flags))
        .add("/status/tsdb", READ, get_only(status::tsdb))
        .add("/status/tsdb/blocks", READ, get_only(status::blocks))
        .add("/features", READ, get_only(features::features))
        .add("/admin/tsdb/delete_series", ADMIN, post_and_put(trust, admin::delete_series))
        .add("/admin/tsdb/clean_tombstones", ADMIN, post_and_put(trust, admin::clean_tombstones))
        .add("/admin/tsdb/snapshot", ADMIN, post_and_put(trust, admin::snapshot))
        .map(|router| router.layer(CompressionLayer::new()))
        // Compat: these are never compressed.
        .add("/status/walreplay", READ, get_only(status::wal_replay))
        .add("/notifications", READ, get_only(features::notifications))
        .map(|router| as_api(router, &site.start, cors))
}

/// Routes of the API: they wait for the log, and pages of others may read them.
fn as_api<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    start: &Arc<StartState>,
    cors: Cors,
) -> Router<S> {
    router
        .layer(middleware::from_fn(options_and_vary))
        .layer(middleware::from_fn_with_state(start.clone(), readiness::layer))
        .layer(middleware::from_fn_with_state(cors, cors::layer))
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
