//! `/metrics` and `/api/v1/status/self_metrics`: what this server counts of itself.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use metrics::{Counter, Gauge, Kind, Value};

use super::answer::{ApiError, blocking, success_json};
use super::families::{ClassicHistogram, Encoding, Family, FamilyKind, Format, Metric, MetricValue, json};
use super::params::Params;
use super::state::PageState;

/// Our own metrics, in the form that the scraper asked for. Made off the network's threads: there may be many.
pub(super) async fn metrics(State(state): State<Arc<PageState>>, headers: HeaderMap) -> Response {
    let accept = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let format = Format::negotiate(accept);
    let registry = state.metrics.clone();
    let _asked = state.asked.begin();
    let body = blocking(move || {
        // Names are ours: none needs escaping.
        if format.encoding == Encoding::Text {
            return Ok::<_, ApiError>(registry.render(metrics::Format::Text).into_bytes());
        }
        let mut body = Vec::new();
        own(&registry)
            .iter()
            .for_each(|family| format.write(&mut body, family));
        Ok(body)
    });
    let answer = match body.await {
        Ok(body) => ([(CONTENT_TYPE, format.content_type())], body).into_response(),
        Err(error) => error.into_response(),
    };
    state.asked.ended(&answer);
    answer
}

/// `/api/v1/status/self_metrics`: the same as JSON, those whose whole names match a pattern.
pub(super) async fn self_metrics(State(state): State<Arc<PageState>>, params: Params) -> Response {
    let pattern = match params.get("metric_name_pattern") {
        "" => None,
        text => match model::regex::Regex::new(text) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                return ApiError::bad_data(format_args!("invalid metric_name_pattern: {error}"))
                    .into_response();
            }
        },
    };
    let registry = state.metrics.clone();
    let found = blocking(move || {
        let mut families = own(&registry);
        if let Some(pattern) = pattern {
            families.retain(|family| pattern.is_match(&family.name));
        }
        Ok::<_, ApiError>(families.iter().map(json).collect::<Vec<_>>())
    });
    match found.await {
        Ok(found) => success_json(&found),
        Err(error) => error.into_response(),
    }
}

/// Our own metrics, by name.
pub(super) fn own(registry: &metrics::Registry) -> Vec<Family> {
    let mut families = Vec::new();
    registry.visit(|name, kind, help, samples| {
        families.push(Family {
            name: name.to_owned(),
            help: Some(help.to_owned()),
            kind: family_kind(kind),
            metrics: samples.iter().map(metric).collect(),
        });
    });
    families
}

/// What is counted of these answers.
pub(crate) struct AskedMetrics {
    in_flight: Gauge,
    requests: metrics::Family<Counter>,
}

impl AskedMetrics {
    /// Registers them.
    pub(crate) fn new(registry: &metrics::Registry) -> Self {
        let requests = registry.counter_vec(
            "promhttp_metric_handler_requests_total",
            "Total number of scrapes by HTTP status code.",
            &["code"],
        );
        // Compat: these count from the start.
        for code in ["200", "500", "503"] {
            requests.with(&[code]);
        }
        AskedMetrics {
            in_flight: registry.gauge(
                "promhttp_metric_handler_requests_in_flight",
                "Current number of scrapes being served.",
            ),
            requests,
        }
    }

    /// An answer is being made, until what this gives is dropped.
    pub(super) fn begin(&self) -> InFlight {
        self.in_flight.add(1.0);
        InFlight(self.in_flight.clone())
    }

    /// An answer is there.
    pub(super) fn ended(&self, answer: &Response) {
        self.requests.with(&[answer.status().as_str()]).inc();
    }
}

/// An answer that is being made.
pub(super) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.add(-1.0);
    }
}

fn family_kind(kind: Kind) -> FamilyKind {
    match kind {
        Kind::Counter => FamilyKind::Counter,
        Kind::Gauge => FamilyKind::Gauge,
        Kind::Histogram => FamilyKind::Histogram,
        Kind::Summary => FamilyKind::Summary,
    }
}

fn metric((labels, value): &(Vec<(String, String)>, Value)) -> Metric {
    let value = match value {
        Value::Single(value) => MetricValue::Number(*value),
        Value::Histogram { buckets, sum } => MetricValue::Classic(ClassicHistogram {
            count: buckets.last().map_or(0, |(_, count)| *count) as f64,
            buckets: buckets
                .iter()
                .filter(|(bound, _)| bound.is_finite())
                .map(|(bound, count)| (*bound, *count as f64))
                .collect(),
            sum: *sum,
            whole: true,
        }),
        Value::Summary {
            quantiles,
            sum,
            count,
        } => MetricValue::Summary {
            quantiles: quantiles.clone(),
            sum: *sum,
            count: *count,
        },
    };
    Metric {
        labels: labels.clone(),
        value,
        timestamp_ms: None,
    }
}
