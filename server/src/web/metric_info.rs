//! `/api/v1/metric_info`: what there is to know about a metric, on one card. Ours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use model::labels::METRIC_NAME;
use model::matcher::{MatchOp, Matcher};
use model::storage::{SelectHints, SeriesSet, StorageError, TimeRange, WatchSelect};
use serde_json::{Value, json};

use super::answer::{ApiError, success_json};
use super::params::Params;
use super::series::search;
use super::state::{AlertingState, QueryState, TargetState};

/// How far back a series may lie and still count, in milliseconds.
const RECENT_MS: i64 = 5 * 60_000;
/// Values of a label that are shown, those with most series.
const TOP: usize = 5;
/// Rules that are named.
const RULES_MAX: usize = 100;
/// Series between two looks at whether the client still waits.
const LOOKED_UP_EVERY: usize = 512;

/// What the store knows of a metric.
struct Stored {
    series: usize,
    jobs: BTreeSet<String>,
    /// By label, how many series each value has.
    labels: BTreeMap<String, BTreeMap<String, u64>>,
}

pub(crate) async fn metric_info(
    State(state): State<Arc<QueryState>>,
    State(targets): State<Arc<TargetState>>,
    State(alerting): State<Arc<AlertingState>>,
    params: Params,
) -> Response {
    let metric = params.get("metric").to_owned();
    if metric.is_empty() {
        return ApiError::parameter("metric", "the name of a metric is missing").into_response();
    }
    let found = search(state.clone(), move |state, watch| {
        let stored = stored(state, &metric, watch)?;
        Ok(card(state, &targets, &alerting, &metric, &stored))
    });
    match found.await {
        Ok(kept) => success_json(&kept.found),
        Err(error) => error.into_response(),
    }
}

fn stored(state: &QueryState, metric: &str, watch: Arc<dyn WatchSelect>) -> Result<Stored, StorageError> {
    let now_ms = state.clock.now_ms();
    let hints = SelectHints {
        watch: Some(watch),
        ..SelectHints::default()
    };
    let querier = state
        .storage
        .querier(TimeRange::new(now_ms - RECENT_MS, now_ms))?;
    // An equality cannot fail to be one.
    let Ok(of_metric) = Matcher::new(MatchOp::Equal, METRIC_NAME, metric) else {
        return Ok(Stored::none());
    };
    let set = querier.select(&hints, &[of_metric])?;
    Stored::of(&*set, &hints)
}

impl Stored {
    fn none() -> Self {
        Stored {
            series: 0,
            jobs: BTreeSet::new(),
            labels: BTreeMap::new(),
        }
    }

    fn of(set: &dyn SeriesSet, hints: &SelectHints) -> Result<Self, StorageError> {
        let mut stored = Stored {
            series: set.len(),
            ..Stored::none()
        };
        for index in 0..set.len() {
            if index % LOOKED_UP_EVERY == 0 {
                hints.took(0)?;
            }
            for (name, value) in set.labels(index).iter() {
                match name {
                    METRIC_NAME => continue,
                    "job" => drop(stored.jobs.insert(value.to_owned())),
                    _ => {}
                }
                let values = match stored.labels.get_mut(name) {
                    Some(values) => values,
                    None => stored.labels.entry(name.to_owned()).or_default(),
                };
                match values.get_mut(value) {
                    Some(count) => *count += 1,
                    None => {
                        hints.took(size_of::<(String, u64)>() + value.len())?;
                        values.insert(value.to_owned(), 1);
                    }
                }
            }
        }
        Ok(stored)
    }
}

fn card(
    state: &QueryState,
    targets: &TargetState,
    alerting: &AlertingState,
    metric: &str,
    stored: &Stored,
) -> Value {
    let pools = targets.scraper.targets();
    let active = || pools.iter().flat_map(|pool| &pool.active);
    let said = families(metric).find_map(|family| active().find_map(|target| target.metadata_of(family)));
    let labels = stored.labels.iter().map(|(name, values)| {
        let mut counted: Vec<_> = values.iter().collect();
        counted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let top = counted.into_iter().take(TOP);
        let top: Vec<Value> = top
            .map(|(value, count)| json!({ "value": value, "series": count }))
            .collect();
        json!({ "name": name, "values": values.len(), "top": top })
    });
    json!({
        "metric": metric,
        "type": said.as_ref().map_or("unknown", |said| said.metric_type.as_str()),
        "unit": said.as_ref().map_or("", |said| &said.unit),
        "help": said.as_ref().map_or("", |said| &said.help),
        "series": stored.series,
        "jobs": stored.jobs,
        "labels": labels.collect::<Vec<Value>>(),
        "rules": rules_about(state, alerting, metric),
    })
}

/// The families that a metric may be of: itself, and what it is a part of.
fn families(metric: &str) -> impl Iterator<Item = &str> {
    let parts = ["_bucket", "_count", "_sum", "_total"];
    std::iter::once(metric).chain(
        parts
            .into_iter()
            .filter_map(move |part| metric.strip_suffix(part)),
    )
}

/// Rules whose expressions select the metric by its name.
fn rules_about(state: &QueryState, alerting: &AlertingState, metric: &str) -> Vec<Value> {
    let selects = |query: &str| {
        // Reading an expression takes longer than looking for a word in it.
        query.contains(metric)
            && state.engine.parse(query).is_ok_and(|expr| {
                let is_name = |matcher: &Matcher| {
                    matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal && matcher.value == metric
                };
                expr.selectors()
                    .iter()
                    .any(|selector| selector.matchers.iter().any(is_name))
            })
    };
    let groups = alerting.rules.snapshot();
    let all = groups
        .iter()
        .flat_map(|group| group.rules.iter().map(move |rule| (group, rule)));
    all.filter(|(_, rule)| selects(&rule.query))
        .take(RULES_MAX)
        .map(|(group, rule)| {
            json!({
                "file": group.file,
                "group": group.name,
                "name": rule.name,
                "type": if rule.alerting.is_some() { "alerting" } else { "recording" },
            })
        })
        .collect()
}
