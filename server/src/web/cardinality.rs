//! `/api/v1/status/cardinality`: which metrics, labels or values have most series, and where series came or went. Ours.

use std::collections::{BTreeMap, HashMap, HashSet};
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
use super::state::{AlertingState, QueryState};

/// How far back a series may lie and still be there, in milliseconds.
const RECENT_MS: i64 = 5 * 60_000;
/// What went within this time is churn.
const CHURN_MS: i64 = 3_600_000;
/// With how long ago the numbers are compared where nothing is said.
const WINDOW_DEFAULT_MS: i64 = 24 * 3_600_000;
const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 1_000;
/// Series between two looks at whether the client still waits.
const LOOKED_UP_EVERY: usize = 512;

/// What is counted by.
enum By {
    /// Names of labels: series that have one, and how many values it has.
    LabelNames,
    /// Values of a label.
    Values(String),
}

struct Asked {
    by: By,
    selectors: Vec<Vec<Matcher>>,
    window_ms: i64,
    limit: usize,
}

/// Series and distinct values, by name.
type Counts = HashMap<String, (u64, u64)>;

pub(crate) async fn cardinality(
    State(state): State<Arc<QueryState>>,
    State(alerting): State<Arc<AlertingState>>,
    params: Params,
) -> Response {
    let asked = match asked(&params) {
        Ok(asked) => asked,
        Err(error) => return error.into_response(),
    };
    match search(state, move |state, watch| {
        counted(state, &alerting, &asked, watch)
    })
    .await
    {
        Ok(kept) => success_json(&kept.found),
        Err(error) => error.into_response(),
    }
}

fn asked(params: &Params) -> Result<Asked, ApiError> {
    let by = match params.get("by") {
        "" | "metric" => By::Values(METRIC_NAME.to_owned()),
        "label" => By::LabelNames,
        label => By::Values(label.to_owned()),
    };
    let limit = match params.limit()? {
        0 => LIMIT_DEFAULT,
        limit if limit <= LIMIT_MAX => limit,
        _ => return Err(ApiError::parameter("limit", format_args!("at most {LIMIT_MAX}"))),
    };
    let window_ms = params.duration_ms("window")?.unwrap_or(WINDOW_DEFAULT_MS);
    if window_ms <= 0 {
        return Err(ApiError::parameter("window", "not a positive duration"));
    }
    Ok(Asked {
        by,
        selectors: params.selectors().map_err(ApiError::bad_data)?,
        window_ms,
        limit,
    })
}

fn counted(
    state: &QueryState,
    alerting: &AlertingState,
    asked: &Asked,
    watch: Arc<dyn WatchSelect>,
) -> Result<Value, StorageError> {
    let hints = SelectHints {
        watch: Some(watch),
        ..SelectHints::default()
    };
    let now_ms = state.clock.now_ms();
    let count = |from_ms: i64, to_ms: i64| count(state, asked, &hints, TimeRange::new(from_ms, to_ms));
    let now = count(now_ms - RECENT_MS, now_ms)?;
    let then_ms = now_ms.saturating_sub(asked.window_ms);
    let before = count(then_ms.saturating_sub(RECENT_MS), then_ms)?;
    let lately = count(now_ms - CHURN_MS, now_ms)?;
    let by_metric = matches!(&asked.by, By::Values(label) if label == METRIC_NAME);
    let rules = if by_metric {
        rules_by_metric(state, alerting)
    } else {
        BTreeMap::new()
    };
    // What has gone altogether is worth telling, too.
    let names: HashSet<&String> = now.keys().chain(before.keys()).chain(lately.keys()).collect();
    let series = |counts: &Counts, name: &String| counts.get(name).map_or(0, |(series, _)| *series);
    let mut rows: Vec<_> = names.into_iter().map(|name| (series(&now, name), name)).collect();
    rows.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let rows = rows.into_iter().take(asked.limit).map(|(there, name)| {
        let mut row = json!({
            "name": name,
            "series": there,
            "delta": there as i64 - series(&before, name) as i64,
            "churn": series(&lately, name).saturating_sub(there),
        });
        match &asked.by {
            By::LabelNames => row["values"] = now.get(name).map_or(0, |(_, values)| *values).into(),
            By::Values(_) if by_metric => row["rules"] = rules.get(name).copied().unwrap_or(0).into(),
            By::Values(_) => {}
        }
        row
    });
    Ok(rows.collect())
}

fn count(
    state: &QueryState,
    asked: &Asked,
    hints: &SelectHints,
    range: TimeRange,
) -> Result<Counts, StorageError> {
    let querier = state.storage.querier(range)?;
    let all = match &asked.by {
        // Without the label a series is in none of the rows.
        By::Values(label) => exists(label),
        By::LabelNames => exists(METRIC_NAME),
    };
    let all = [all.into_iter().collect::<Vec<Matcher>>()];
    let selectors = match asked.selectors.as_slice() {
        [] => &all[..],
        selectors => selectors,
    };
    let mut counts = Counts::new();
    for matchers in selectors {
        let set = querier.select(hints, matchers)?;
        match &asked.by {
            By::LabelNames => add_names(&*set, hints, &mut counts)?,
            By::Values(label) => add_values(&*set, label, hints, &mut counts)?,
        }
    }
    let bytes = counts
        .keys()
        .map(|name| size_of::<(String, u64, u64)>() + name.len());
    hints.took(bytes.sum())?;
    Ok(counts)
}

/// Series that have the label.
fn exists(label: &str) -> Option<Matcher> {
    Matcher::new(MatchOp::NotEqual, label, "").ok()
}

fn add_values(
    set: &dyn SeriesSet,
    label: &str,
    hints: &SelectHints,
    counts: &mut Counts,
) -> Result<(), StorageError> {
    let mut add = |value: &str, series: u64| match counts.get_mut(value) {
        Some((sum, _)) => *sum += series,
        None => drop(counts.insert(value.to_owned(), (series, 1))),
    };
    if let Some(by_pair) = series_by_pair(set, hints)? {
        for (name, value, series) in by_pair {
            if name == label {
                add(value, series);
            }
        }
        return Ok(());
    }
    for index in 0..set.len() {
        if index % LOOKED_UP_EVERY == 0 {
            hints.took(0)?;
        }
        match set.labels(index).value(label) {
            "" => {}
            value => add(value, 1),
        }
    }
    Ok(())
}

fn add_names(set: &dyn SeriesSet, hints: &SelectHints, counts: &mut Counts) -> Result<(), StorageError> {
    if let Some(by_pair) = series_by_pair(set, hints)? {
        for (name, _, series) in by_pair {
            let (sum, values) = counts.entry(name.to_owned()).or_default();
            *sum += series;
            *values += 1;
        }
        return Ok(());
    }
    let mut seen = HashSet::new();
    for index in 0..set.len() {
        if index % LOOKED_UP_EVERY == 0 {
            hints.took(0)?;
        }
        for (name, value) in set.labels(index).iter() {
            let (sum, values) = counts.entry(name.to_owned()).or_default();
            *sum += 1;
            *values += u64::from(seen.insert((name.to_owned(), value.to_owned())));
        }
    }
    Ok(())
}

/// How many series have each pair of name and value, where the store has labels as numbers.
fn series_by_pair<'s>(
    set: &'s dyn SeriesSet,
    hints: &SelectHints,
) -> Result<Option<impl Iterator<Item = (&'s str, &'s str, u64)>>, StorageError> {
    let Some(table) = set.label_table() else {
        return Ok(None);
    };
    let mut series = vec![0u64; table.pairs().len()];
    hints.took(size_of_val(&*series))?;
    for index in 0..set.len() {
        if index % LOOKED_UP_EVERY == 0 {
            hints.took(0)?;
        }
        table
            .set(index)
            .iter()
            .for_each(|number| series[*number as usize] += 1);
    }
    let pairs = series.into_iter().enumerate().filter(|(_, series)| *series > 0);
    Ok(Some(pairs.map(|(number, series)| {
        let (name, value) = table.pairs().get(number as u32);
        (name, value, series)
    })))
}

/// How many rules select each metric by its name.
fn rules_by_metric(state: &QueryState, alerting: &AlertingState) -> BTreeMap<String, u64> {
    let mut rules = BTreeMap::new();
    for rule in alerting.rules.snapshot().iter().flat_map(|group| &group.rules) {
        let Ok(expr) = state.engine.parse(&rule.query) else {
            continue;
        };
        let matchers = expr
            .selectors()
            .into_iter()
            .flat_map(|selector| &selector.matchers);
        let names = matchers.filter(|matcher| matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal);
        let names: HashSet<&str> = names.map(|matcher| matcher.value.as_str()).collect();
        names
            .into_iter()
            .for_each(|name| *rules.entry(name.to_owned()).or_default() += 1);
    }
    rules
}
