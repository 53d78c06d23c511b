//! The site of an agent: what a server's has, without what would need stored samples, rules or alerts.
//!
//! Routes of those are there and say that they are unavailable, in the reference's words.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{Method, StatusCode};
use tower_http::compression::CompressionLayer;

use super::answer::{ApiError, ErrorType};
use super::guard::Guard;
use super::paths::{escape_html, redirect};
use super::push::{self, PushState};
use super::state::{LifecycleState, PageState, StartState, StatusState, TargetState};
use super::{
    ADMIN, ANY, API, Cors, READ, Routes, Trust, as_api, features, get_and_head, get_and_post, get_only,
    lifecycle, own_metrics, pages, post_and_put, readiness, status, targets, with_surroundings,
};

/// Where the reference's agent has its pages, ours is one page.
const FRONT: [&str; 6] = [
    "/agent",
    "/targets",
    "/config",
    "/flags",
    "/status",
    "/service-discovery",
];

/// What an agent's routes answer from.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) push: Arc<PushState>,
    pub(crate) targets: Arc<TargetState>,
    pub(crate) status: Arc<StatusState>,
    pub(crate) lifecycle: Arc<LifecycleState>,
    pub(crate) start: Arc<StartState>,
    pub(crate) pages: Arc<PageState>,
}

macro_rules! areas {
    ($($field:ident: $state:ty),+ $(,)?) => {
        $(impl FromRef<Site> for Arc<$state> {
            fn from_ref(site: &Site) -> Self {
                site.$field.clone()
            }
        })+
    };
}

areas! {
    targets: TargetState,
    status: StatusState,
    lifecycle: LifecycleState,
    start: StartState,
    pages: PageState,
}

/// The whole site. `cors` says whose pages may read the API, `trust` whose may change something, `guard` who has to say who
/// it is.
pub(crate) fn router(site: Site, cors: Cors, trust: Trust, guard: Option<Arc<Guard>>) -> Router {
    let trust = Arc::new(trust);
    let base = push::Base {
        push: &site.push,
        start: &site.start,
        prefix: &site.pages.prefix,
        admin: site.status.admin_enabled,
        cors: &cors,
        trust: &trust,
    };
    let routes = page_routes(&site, &trust)
        .and(api_routes(&site, cors.clone(), &trust))
        .and(push::routes(base));
    let pages = site.pages.clone();
    with_surroundings(routes, &pages, cors, guard, |inside| inside.with_state(site))
}

fn page_routes(site: &Site, trust: &Arc<Trust>) -> Routes<Site> {
    let ready = middleware::from_fn_with_state(site.start.clone(), readiness::layer);
    let routes = Routes::new(site.pages.prefix.clone())
        .add("/", READ, get_only(home))
        .add("/graph", READ, get_and_head(pages::graph))
        .add("/version", READ, get_only(status::version))
        .add("/metrics", READ, own_metrics())
        .add(
            "/federate",
            READ,
            get_only(federate).layer(CompressionLayer::new()).layer(ready),
        )
        .add("/-/healthy", ANY, get_and_head(healthy))
        .add("/-/ready", ANY, get_and_head(readiness::ready))
        .add("/-/reload", ADMIN, lifecycle(trust, pages::reload))
        .add("/-/quit", ADMIN, lifecycle(trust, pages::quit));
    FRONT
        .iter()
        .fold(routes, |routes, path| routes.add(path, READ, get_and_head(front)))
}

fn api_routes(site: &Site, cors: Cors, trust: &Arc<Trust>) -> Routes<Site> {
    let asked = || -> MethodRouter<Site> { get_and_post(unavailable) };
    let got = || -> MethodRouter<Site> { get_only(unavailable) };
    Routes::new(format!("{}{API}", site.pages.prefix))
        .add("/query", READ, asked())
        .add("/query_range", READ, asked())
        .add("/query_exemplars", READ, asked())
        .add("/format_query", READ, asked())
        .add("/parse_query", READ, asked())
        .add("/labels", READ, asked())
        .add("/label/{name}/values", READ, got())
        .add("/series", READ, asked())
        .add("/scrape_pools", READ, get_only(targets::scrape_pools))
        .add("/scrape_pools/config", READ, get_only(targets::scrape_pool_config))
        .add("/targets", READ, get_only(targets::targets))
        .add("/targets/metadata", READ, get_only(targets::target_metadata))
        .add("/targets/relabel_steps", READ, get_only(targets::relabel_steps))
        .add("/metadata", READ, get_only(targets::metadata))
        .add("/alertmanagers", READ, got())
        .add("/alerts", READ, got())
        .add("/rules", READ, got())
        .add("/status/config", READ, get_only(status::config))
        .add("/status/runtimeinfo", READ, get_only(status::runtime_info))
        .add("/status/buildinfo", READ, get_only(status::build_info))
        .add("/status/flags", READ, get_only(status::flags))
        .add("/status/tsdb", READ, got())
        .add("/status/tsdb/blocks", READ, got())
        .add("/features", READ, get_only(features::features))
        .add("/admin/tsdb/delete_series", ADMIN, post_and_put(trust, unavailable))
        .add("/admin/tsdb/clean_tombstones", ADMIN, post_and_put(trust, unavailable))
        .add("/admin/tsdb/snapshot", ADMIN, post_and_put(trust, unavailable))
        .map(|router| router.layer(CompressionLayer::new()))
        // Compat: these are never compressed.
        .add("/status/walreplay", READ, get_only(status::wal_replay))
        .add("/notifications", READ, get_only(features::notifications))
        .map(|router| as_api(router, &site.start, cors))
}

/// Compat: kind and words are the reference's (`routes_of_an_agent_answer_as_the_references`).
async fn unavailable() -> ApiError {
    ApiError::new(ErrorType::Execution, "unavailable with Prometheus Agent")
}

/// Compat: as above.
async fn federate() -> Response {
    let text = "unsupported operation with WAL-only storage\n";
    let headers = [(X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (StatusCode::INTERNAL_SERVER_ERROR, headers, text).into_response()
}

/// Compat: as above; probes that compare it exist.
async fn healthy() -> &'static str {
    "Prometheus Agent is Healthy.\n"
}

/// `/`: to the page, by the path under which the outside knows it.
async fn home(State(state): State<Arc<PageState>>, method: Method) -> Response {
    let page = format!("{}/agent", state.external_path);
    redirect(StatusCode::FOUND, &method, &page, None)
}

/// One page that says what is here. It asks the API for what it shows.
async fn front(State(state): State<Arc<PageState>>) -> Response {
    let page = include_str!("agent.html")
        .replace("{{title}}", &escape_html(&state.title))
        .replace("{{version}}", env!("CARGO_PKG_VERSION"));
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}
