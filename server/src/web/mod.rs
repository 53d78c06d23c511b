//! The HTTP side: the API, the pages, and what they share.

mod admin;
mod alerting;
mod answer;
mod chunks;
mod cors;
mod exemplars;
mod features;
mod json;
pub(crate) mod listener;
mod pages;
mod params;
mod parse;
mod query;
mod readiness;
mod series;
mod status;
mod targets;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get, post};
use http::header::{ALLOW, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use model::clock::Clock;
use model::storage::Queryable;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use crate::cli::flags::FlagValues;
use crate::queries::Queries;
use crate::reload::ReloadError;
pub(crate) use cors::Cors;

/// Largest body of a request, in bytes: a query of ten thousand lines is long.
const BODY_BYTES_MAX: usize = 16 << 20;

/// A request to reload, and where to say how it went.
pub(crate) type ReloadRequest = oneshot::Sender<Result<(), ReloadError>>;

/// What the configuration in force looks like from outside.
#[derive(Clone, Debug)]
pub(crate) struct ConfigStatus {
    /// The configuration as text.
    pub(crate) config_yaml: Arc<str>,
    /// Whether the last attempt at a reload succeeded.
    pub(crate) reload_success: bool,
    /// When a configuration was last put in force, in milliseconds since the epoch.
    pub(crate) last_reload_ms: i64,
    /// How long and how much is kept, in words.
    pub(crate) retention_text: Arc<str>,
}

/// All that answers are made from.
pub(crate) struct Api {
    pub(crate) db: Arc<tsdb::db::Db>,
    pub(crate) storage: Arc<dyn Queryable>,
    pub(crate) engine: Arc<promql::engine::Engine>,
    pub(crate) queries: Arc<Queries>,
    pub(crate) scraper: Arc<scraper::Manager>,
    pub(crate) rules: Arc<rules::Manager>,
    pub(crate) notifier: Arc<notify::Notifier>,
    pub(crate) metrics: metrics::Registry,
    pub(crate) status: ArcSwap<ConfigStatus>,
    pub(crate) flags: FlagValues,
    pub(crate) features: promql::engine::Features,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) start_ms: i64,
    /// Whether the logs are read.
    pub(crate) ready: watch::Sender<bool>,
    /// How far reading them has come.
    pub(crate) progress: Arc<tsdb::head::ReplayProgress>,
    /// How long a query waits for that, where it needs what is in them.
    pub(crate) start_patience: Duration,
    pub(crate) lifecycle_enabled: bool,
    pub(crate) admin_enabled: bool,
    pub(crate) page_title: String,
    /// Path in front of everything, without a slash at its end; empty for none.
    pub(crate) prefix: String,
    /// Where this server is reached from outside.
    pub(crate) external_url: url::Url,
    pub(crate) reload: mpsc::Sender<ReloadRequest>,
    pub(crate) stop: CancellationToken,
}

/// The whole site.
pub(crate) fn router(api: Arc<Api>, cors: Cors) -> Router {
    let site = Router::new()
        .route("/", get(pages::front))
        .route("/graph", get(pages::to_front))
        .route("/query", get(pages::to_front))
        .route("/alerts", get(pages::to_front))
        .route("/targets", get(pages::to_front))
        .route("/metrics", get(pages::metrics))
        .route("/-/healthy", get(pages::healthy))
        .route("/-/ready", get(readiness::ready))
        .route("/-/reload", any(pages::reload))
        .route("/-/quit", any(pages::quit))
        .nest("/api/v1", api_routes(&api, cors))
        .fallback(pages::not_found);
    let site = if api.prefix.is_empty() {
        site
    } else {
        Router::new().nest(&api.prefix, site)
    };
    site.layer(CatchPanicLayer::new())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}

/// A route that answers GET.
fn get_only<H, T>(handler: H) -> MethodRouter<Arc<Api>>
where
    H: axum::handler::Handler<T, Arc<Api>>,
    T: 'static,
{
    get(handler).fallback(|| refuse_method("GET, OPTIONS"))
}

/// A route that answers GET and POST.
fn get_and_post<H, T>(handler: H) -> MethodRouter<Arc<Api>>
where
    H: axum::handler::Handler<T, Arc<Api>> + Clone,
    T: 'static,
{
    get(handler.clone())
        .post(handler)
        .fallback(|| refuse_method("GET, OPTIONS, POST"))
}

/// A route that answers POST and PUT.
fn post_and_put<H, T>(handler: H) -> MethodRouter<Arc<Api>>
where
    H: axum::handler::Handler<T, Arc<Api>> + Clone,
    T: 'static,
{
    post(handler.clone())
        .put(handler)
        .fallback(|| refuse_method("OPTIONS, POST, PUT"))
}

/// Compat: header and text are the reference's (api-shapes/DELETE__api_v1_query_query_up).
async fn refuse_method(allowed: &'static str) -> impl IntoResponse {
    let headers = [(ALLOW, allowed), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (StatusCode::METHOD_NOT_ALLOWED, headers, "Method Not Allowed\n")
}

fn api_routes(api: &Arc<Api>, cors: Cors) -> Router<Arc<Api>> {
    Router::new()
        .route("/query", get_and_post(query::instant))
        .route("/query_range", get_and_post(query::range))
        .route("/query_exemplars", get_and_post(exemplars::query))
        .route("/format_query", get_and_post(parse::format_query))
        .route("/parse_query", get_and_post(parse::parse_query))
        .route("/labels", get_and_post(series::label_names))
        .route("/label/{name}/values", get_only(series::label_values))
        .route("/series", get_and_post(series::series))
        .route("/scrape_pools", get_only(targets::scrape_pools))
        .route("/targets", get_only(targets::targets))
        .route("/targets/metadata", get_only(targets::target_metadata))
        .route("/targets/relabel_steps", get_only(targets::relabel_steps))
        .route("/metadata", get_only(targets::metadata))
        .route("/alertmanagers", get_only(alerting::alertmanagers))
        .route("/alerts", get_only(alerting::alerts))
        .route("/rules", get_only(alerting::rules))
        .route("/status/config", get_only(status::config))
        .route("/status/runtimeinfo", get_only(status::runtime_info))
        .route("/status/buildinfo", get_only(status::build_info))
        .route("/status/flags", get_only(status::flags))
        .route("/status/tsdb", get_only(status::tsdb))
        .route("/status/tsdb/blocks", get_only(status::blocks))
        .route("/status/walreplay", get_only(status::wal_replay))
        .route("/features", get_only(features::features))
        .route("/notifications", get_only(features::notifications))
        .route("/admin/tsdb/delete_series", post_and_put(admin::delete_series))
        .route(
            "/admin/tsdb/clean_tombstones",
            post_and_put(admin::clean_tombstones),
        )
        .route("/admin/tsdb/snapshot", post_and_put(admin::snapshot))
        .fallback(pages::not_found)
        .layer(CompressionLayer::new())
        .layer(middleware::from_fn(options_and_vary))
        .layer(middleware::from_fn_with_state(api.clone(), readiness::layer))
        .layer(middleware::from_fn_with_state(cors, cors::layer))
}

/// Answers OPTIONS for every path, and adds `Vary`.
async fn options_and_vary(request: Request, next: Next) -> Response {
    if request.method() == http::Method::OPTIONS {
        return (StatusCode::NO_CONTENT, [(VARY, "Accept-Encoding")]).into_response();
    }
    let mut response = next.run(request).await;
    response
        .headers_mut()
        .entry(VARY)
        .or_insert(HeaderValue::from_static("Accept-Encoding"));
    response
}
