//! What is counted of requests: how many, how long, how large, by route.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use metrics::{Counter, Family, Histogram, Registry};

/// Upper bounds of durations in seconds, the reference's.
const SECONDS: [f64; 9] = [0.1, 0.2, 0.4, 1.0, 3.0, 8.0, 20.0, 60.0, 120.0];
/// Upper bounds of sizes in bytes, the reference's.
const BYTES: [f64; 8] = [1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// Metrics of all routes.
#[derive(Clone)]
pub(super) struct HttpMetrics {
    requests: Family<Counter>,
    /// By the path as the router has it.
    routes: Arc<HashMap<String, RouteMetrics>>,
}

#[derive(Clone)]
struct RouteMetrics {
    handler: Arc<str>,
    seconds: Histogram,
    bytes: Histogram,
}

impl HttpMetrics {
    /// Registers the metrics of routes, which lie behind `prefix`.
    pub(super) fn new(registry: &Registry, prefix: &str, patterns: &[String]) -> Self {
        let requests = registry.counter_vec(
            "prometheus_http_requests_total",
            "Counter of HTTP requests.",
            &["code", "handler"],
        );
        let seconds = registry.histogram_vec(
            "prometheus_http_request_duration_seconds",
            "Histogram of latencies for HTTP requests.",
            &["handler"],
            &SECONDS,
        );
        let bytes = registry.histogram_vec(
            "prometheus_http_response_size_bytes",
            "Histogram of response size for HTTP requests.",
            &["handler"],
            &BYTES,
        );
        let routes = patterns.iter().map(|pattern| -> (String, RouteMetrics) {
            let handler = label(pattern.strip_prefix(prefix).unwrap_or(pattern));
            // Compat: every route counts from the start.
            requests.with(&["200", &handler]);
            let metrics = RouteMetrics {
                seconds: seconds.with(&[&handler]),
                bytes: bytes.with(&[&handler]),
                handler: handler.into(),
            };
            (pattern.clone(), metrics)
        });
        let routes = Arc::new(routes.collect());
        HttpMetrics { requests, routes }
    }
}

/// A route's pattern as the reference writes it: `/label/:name/values`, `/user/*filepath`.
fn label(pattern: &str) -> String {
    pattern
        .replace("{*rest}", "*filepath")
        .replace('{', ":")
        .replace('}', "")
}

/// Counts a request once its answer has been sent, or dropped.
pub(super) async fn layer(State(metrics): State<HttpMetrics>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let Some(route) = path.and_then(|path| metrics.routes.get(path.as_str())).cloned() else {
        return next.run(request).await;
    };
    let began = Instant::now();
    let response = next.run(request).await;
    metrics
        .requests
        .with(&[response.status().as_str(), &route.handler])
        .inc();
    let (parts, inner) = response.into_parts();
    let counted = Counted {
        inner,
        bytes: 0,
        began,
        route,
    };
    Response::from_parts(parts, Body::new(counted))
}

/// A body that tells its metrics how large it was.
struct Counted {
    inner: Body,
    bytes: u64,
    began: Instant,
    route: RouteMetrics,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.route.seconds.observe(self.began.elapsed().as_secs_f64());
        self.route.bytes.observe(self.bytes as f64);
    }
}
