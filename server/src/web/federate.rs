//! `/federate`: the newest values of the selected series, for another server to scrape.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, StatusCode};
use metrics::Counter;
use model::columns::Columns;
use model::histogram::{CounterResetHint, FloatHistogram};
use model::labels::{Labels, METRIC_NAME};
use model::matcher::Matcher;
use model::sample::is_stale_nan;
use model::storage::{Queryable, SelectHints, StorageError, TimeRange};
use promql::engine::CancelHandle;

use super::answer::{ApiError, CancelOnDrop, blocking};
use super::families::{
    ClassicHistogram, Encoding, Family, FamilyKind, Format, Metric, MetricValue, NativeHistogram,
};
use super::listener::WholeQuery;
use super::params::Params;
use super::readiness;
use super::series::WhileWanted;
use super::state::FederateState;

/// What is counted of federation.
pub(crate) struct FederationMetrics {
    errors: Counter,
}

impl FederationMetrics {
    /// Registers them.
    pub(crate) fn new(registry: &metrics::Registry) -> Self {
        registry.counter(
            "prometheus_web_federation_warnings_total",
            "Total number of warnings that occurred while sending federation responses.",
        );
        FederationMetrics {
            errors: registry.counter(
                "prometheus_web_federation_errors_total",
                "Total number of errors that occurred while sending federation responses.",
            ),
        }
    }
}

/// A refusal in plain text, as Go's server writes it.
fn refuse(status: StatusCode, what: impl std::fmt::Display) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (VARY, "Accept-Encoding"),
    ];
    (status, headers, format!("{what}\n")).into_response()
}

pub(super) async fn federate(
    State(state): State<Arc<FederateState>>,
    WholeQuery(query): WholeQuery,
    headers: HeaderMap,
) -> Response {
    let params = match Params::from_url(&query.unwrap_or_default()) {
        Ok(params) => params,
        Err(error) => {
            return refuse(
                StatusCode::BAD_REQUEST,
                format_args!("error parsing form values: {error}"),
            );
        }
    };
    if let Err(error) = params.whole() {
        return refuse(
            StatusCode::BAD_REQUEST,
            format_args!("error parsing form values: {error}"),
        );
    }
    let selectors = match params.any_selectors() {
        Ok(selectors) => selectors,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error),
    };
    let accept = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let format = Format::negotiate(accept);
    let cancel = CancelHandle::new();
    let _hung_up = CancelOnDrop(cancel.clone());
    let errors = state.metrics.errors.clone();
    let body = blocking(move || {
        let hints = SelectHints {
            sorted: true,
            limit: 0,
            watch: Some(Arc::new(WhileWanted(cancel))),
            purpose: None,
        };
        let now_ms = state.clock.now_ms();
        let range = TimeRange::new(now_ms - state.lookback_ms, now_ms);
        let external = state.config.load().external_labels.clone();
        let families = families(
            &*state.storage,
            &hints,
            range,
            &selectors,
            &external,
            format.encoding,
        );
        let mut body = Vec::new();
        for family in &families.map_err(ApiError::from)? {
            format.write(&mut body, family);
        }
        Ok::<_, ApiError>(body)
    });
    match body.await {
        Ok(body) => {
            let content_type = format.content_type();
            (
                [(CONTENT_TYPE, content_type.as_str()), (VARY, "Accept-Encoding")],
                body,
            )
                .into_response()
        }
        Err(error) => {
            errors.inc();
            match error.kind {
                super::answer::ErrorType::NotReady => readiness::not_yet(),
                _ => refuse(StatusCode::INTERNAL_SERVER_ERROR, error.message),
            }
        }
    }
}

/// A series' newest value.
enum Newest {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

impl Newest {
    fn kind(&self) -> FamilyKind {
        match self {
            Newest::Float(_) => FamilyKind::Untyped,
            Newest::Histogram(histogram) if histogram.counter_reset_hint == CounterResetHint::Gauge => {
                FamilyKind::GaugeHistogram
            }
            Newest::Histogram(_) => FamilyKind::Histogram,
        }
    }

    /// `None` where the encoding has no room for it.
    fn value(self, encoding: Encoding) -> Option<MetricValue> {
        match self {
            Newest::Float(value) => Some(MetricValue::Number(value)),
            Newest::Histogram(histogram) if histogram.uses_custom_buckets() => {
                Some(MetricValue::Classic(classic(&histogram)))
            }
            Newest::Histogram(_) if encoding == Encoding::Text => None,
            Newest::Histogram(histogram) => Some(MetricValue::Native(native(&histogram))),
        }
    }
}

/// The newest values in `range`, by name; stale series are left out.
fn families(
    storage: &dyn Queryable,
    hints: &SelectHints,
    range: TimeRange,
    selectors: &[Vec<Matcher>],
    external: &Labels,
    encoding: Encoding,
) -> Result<Vec<Family>, StorageError> {
    let mut found: Vec<(Labels, i64, Newest)> = Vec::new();
    let querier = storage.querier(range)?;
    let mut columns = Columns::default();
    for matchers in selectors.iter().filter(|matchers| !matchers.is_empty()) {
        let set = querier.select(hints, matchers)?;
        for index in 0..set.len() {
            // Told now and then, it ends the search of a client that has gone.
            hints.took(0)?;
            set.read(index, range, &mut columns)?;
            if let Some((timestamp_ms, value)) = newest(&columns) {
                found.push((set.labels(index), timestamp_ms, value));
            }
        }
    }
    if selectors.len() > 1 {
        found.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        found.dedup_by(|(a, ..), (b, ..)| a == b);
    }
    found.sort_by(|(a, ..), (b, ..)| a.metric_name().cmp(b.metric_name()));
    let mut outer: BTreeMap<&str, &str> = external.iter().collect();
    // Compat: says that a series without an instance has none, so that the scraper does not add its own.
    outer.entry("instance").or_insert("");
    let mut families: Vec<Family> = Vec::new();
    for (labels, timestamp_ms, newest) in found {
        let kind = newest.kind();
        let Some(value) = newest.value(encoding) else {
            continue;
        };
        if labels.metric_name().is_empty() {
            continue;
        }
        let own = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        let added = outer.iter().filter(|(name, _)| labels.get(name).is_none());
        let all = own.chain(added.map(|(name, value)| (*name, *value)));
        let metric = Metric {
            labels: all
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            value,
            timestamp_ms: Some(timestamp_ms),
        };
        // Compat: kinds that take turns under one name begin a family each time (push/federate `match/mixed`).
        match families.last_mut() {
            Some(last) if last.name == labels.metric_name() && last.kind == kind => last.metrics.push(metric),
            _ => families.push(Family {
                name: labels.metric_name().to_owned(),
                help: None,
                kind,
                metrics: vec![metric],
            }),
        }
    }
    Ok(families)
}

/// The last row, unless it says that the series has ended.
fn newest(columns: &Columns) -> Option<(i64, Newest)> {
    let last = columns.len().checked_sub(1)?;
    let timestamp_ms = columns.timestamps_ms[last];
    let histogram = columns.histograms.last().filter(|(row, _)| *row as usize == last);
    if let Some((_, histogram)) = histogram {
        return (!is_stale_nan(histogram.sum()))
            .then(|| (timestamp_ms, Newest::Histogram(histogram.to_float())));
    }
    let value = columns.values[last];
    (!is_stale_nan(value)).then_some((timestamp_ms, Newest::Float(value)))
}

fn classic(histogram: &FloatHistogram) -> ClassicHistogram {
    let mut counts = vec![0.0; histogram.bounds().len()];
    let mut at = 0_usize;
    let mut buckets = histogram.positive_buckets.iter();
    for span in &histogram.positive_spans {
        at += usize::try_from(span.offset).unwrap_or(0);
        for _ in 0..span.length {
            if let (Some(count), Some(own)) = (buckets.next(), counts.get_mut(at)) {
                *own = *count;
            }
            at += 1;
        }
    }
    let mut sum = 0.0;
    let cumulative = counts.into_iter().map(|count| {
        sum += count;
        sum
    });
    ClassicHistogram {
        buckets: histogram.bounds().iter().copied().zip(cumulative).collect(),
        sum: histogram.sum,
        count: histogram.count,
        whole: false,
    }
}

fn native(histogram: &FloatHistogram) -> NativeHistogram {
    NativeHistogram {
        sum: histogram.sum,
        count: histogram.count,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        zero_count: histogram.zero_count,
        negative_spans: histogram.negative_spans.clone(),
        negative_counts: histogram.negative_buckets.clone(),
        positive_spans: histogram.positive_spans.clone(),
        positive_counts: histogram.positive_buckets.clone(),
    }
}

#[cfg(test)]
mod tests;
