//! Lines of InfluxDB's protocol over HTTP, for Telegraf and its kin: `--web.enable-influx-receiver`.
//!
//! Beside writing there is what agents ask before they write: whether somebody is there (`/ping`), and for databases, of
//! which there are none to be made. Parameters, names and what becomes of bad lines are VictoriaMetrics'.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use http::header::{CONTENT_ENCODING, HeaderName};
use http::{Method, StatusCode};
use remote::influx::{Precision, Rules, read};
use remote::intake::Intake;
use serde_json::json;

use super::lines::{self, Parameters};
use super::{BODY_BYTES_MAX, Base, PushState, Routes, WRITE};
use crate::web::answer::json_response;
use crate::web::auth::scope::guarded;
use crate::web::form;
use crate::web::listener::query_of;

/// Where lines are written to, behind whatever prefix.
const WRITES: [&str; 4] = ["/write", "/api/v2/write", "/influx/write", "/influx/api/v2/write"];
/// Where agents ask for databases, beside the page of this name.
const QUERY: &str = "/influx/query";
/// Where they ask whether somebody is there.
const PINGS: [&str; 2] = ["/ping", "/influx/ping"];
/// Bad lines are left out, the others stored: a header, and its value.
const STREAM_MODE: HeaderName = HeaderName::from_static("stream-mode");
/// The version that agents take this server for.
const VERSION: [(&str, &str); 1] = [("x-influxdb-version", "1.8.0")];

/// Adds the routes to those of a server.
pub(super) fn add_to<S: Clone + Send + Sync + 'static>(mut routes: Routes<S>, base: Base<'_>) -> Routes<S> {
    let prefix = base.prefix;
    let on = base.push.ways.influx;
    for path in WRITES {
        let methods = match on {
            true => base.post(write),
            false => base.off("influx line protocol", "web.enable-influx-receiver"),
        };
        let pattern = format!("{prefix}{path}");
        routes = routes.map(|router| router.route(&pattern, guarded(WRITE, methods)));
        routes.patterns.extend(on.then_some(pattern));
    }
    if on {
        for path in PINGS {
            let pattern = format!("{prefix}{path}");
            let ping = || async { (StatusCode::NO_CONTENT, VERSION) };
            routes = routes.map(|router| router.route(&pattern, get(ping)));
            routes.patterns.push(pattern);
        }
        let pattern = format!("{prefix}{QUERY}");
        let methods = get(query).post(query);
        routes = routes.map(|router| router.route(&pattern, guarded(WRITE, methods)));
        routes.patterns.push(pattern);
    }
    routes
}

/// The page `/query`, where agents also ask for databases: by a parameter that the page does not have, or by POST.
pub(in crate::web) fn beside_page<S>(page: MethodRouter<S>) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    page.layer(middleware::from_fn(query_or_page))
}

async fn query_or_page(request: Request, next: Next) -> Response {
    let asks =
        query_of(request.uri(), request.extensions()).is_some_and(|query| parameter(query, "q").is_some());
    match asks || request.method() == Method::POST {
        true => query(request).await,
        false => next.run(request).await,
    }
}

fn parameter(query: &[u8], name: &str) -> Option<String> {
    let mut pairs = Vec::new();
    let _ = form::read_pairs(query, &mut pairs);
    pairs
        .into_iter()
        .find(|(found, _)| found == name)
        .map(|(_, value)| value)
}

/// What agents ask before they write: there are no databases, and making one is no work.
async fn query(request: Request) -> Response {
    let query = query_of(request.uri(), request.extensions()).unwrap_or_default();
    let asked = parameter(query, "q").unwrap_or_default().to_ascii_lowercase();
    let database = parameter(query, "db");
    let databases: Vec<[String; 1]> = database.into_iter().map(|name| [name]).collect();
    let result = match asked.contains("show databases") {
        true => json!({
            "statement_id": 0,
            "series": [{"name": "databases", "columns": ["name"], "values": databases}],
        }),
        false => json!({"statement_id": 0}),
    };
    let mut response = json_response(StatusCode::OK, json!({"results": [result]}).to_string());
    for (name, value) in VERSION {
        response.headers_mut().insert(
            HeaderName::from_static(name),
            http::HeaderValue::from_static(value),
        );
    }
    response
}

async fn write(State(state): State<Arc<PushState>>, request: Request) -> Response {
    let parameters = match Parameters::of(&request) {
        Ok(parameters) => parameters,
        Err(error) => return lines::refused(StatusCode::BAD_REQUEST, &error),
    };
    let rules = Rules {
        precision: Precision::from_parameter(parameters.first("precision")),
        database: parameters.first("db").to_owned(),
        skip_bad_lines: request
            .headers()
            .get(&STREAM_MODE)
            .is_some_and(|value| value == "1"),
        extra_labels: parameters.extra_labels,
    };
    let pushed = match state.read(request, BODY_BYTES_MAX).await {
        Ok(pushed) => pushed,
        Err(error) => return super::PushError::from(error).into_response(),
    };
    let (sender, shared) = (pushed.sender.clone(), state.clone());
    let work = move || {
        let encoding = lines::header(&pushed.parts.headers, &CONTENT_ENCODING);
        let body = lines::inflated(pushed.body, encoding)?;
        let body = lines::text(&body)?;
        let intake = Intake {
            appender: &*shared.appender,
            now_ms: shared.clock.now_ms(),
        };
        Ok(read(body, &rules, &intake))
    };
    match state.work(&sender, work).await {
        Ok(done) => lines::answer(done),
        Err(error) => error.into_response(),
    }
}
