//! The HTTP side: the API, the pages, and what they share.

mod admin;
mod alerting;
mod answer;
mod assets;
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
pub(crate) mod state;
mod status;
mod targets;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get, post};
use http::header::{ALLOW, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

pub(crate) use cors::Cors;
use state::Site;

/// Largest body of a request, in bytes: a query of ten thousand lines is long.
const BODY_BYTES_MAX: usize = 16 << 20;

/// The whole site.
pub(crate) fn router(site: Site, cors: Cors) -> Router {
    let prefix = site.pages.prefix.clone();
    let routes = Router::new()
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
        .nest("/api/v1", api_routes(&site, cors))
        .fallback(pages::not_found);
    let routes = assets::add_to(routes, site.pages.user_assets.clone());
    let routes = if prefix.is_empty() {
        routes
    } else {
        Router::new().nest(&prefix, routes)
    };
    routes
        .layer(CatchPanicLayer::new())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(site)
}

/// A route that answers GET.
fn get_only<H, T>(handler: H) -> MethodRouter<Site>
where
    H: axum::handler::Handler<T, Site>,
    T: 'static,
{
    get(handler).fallback(|| refuse_method("GET, OPTIONS"))
}

/// A route that answers GET and POST.
fn get_and_post<H, T>(handler: H) -> MethodRouter<Site>
where
    H: axum::handler::Handler<T, Site> + Clone,
    T: 'static,
{
    get(handler.clone())
        .post(handler)
        .fallback(|| refuse_method("GET, OPTIONS, POST"))
}

/// A route that answers POST and PUT.
fn post_and_put<H, T>(handler: H) -> MethodRouter<Site>
where
    H: axum::handler::Handler<T, Site> + Clone,
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

fn api_routes(site: &Site, cors: Cors) -> Router<Site> {
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
        .layer(middleware::from_fn_with_state(
            site.start.clone(),
            readiness::layer,
        ))
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
