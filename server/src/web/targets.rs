//! `/api/v1/targets`, `/api/v1/scrape_pools`, `/api/v1/metadata` and their kin.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use model::labels::{Labels, LabelsBuilder};
use model::sample::Metadata;
use scraper::{ActiveTarget, PoolTargets, ScrapeConfig};
use serde_json::{Map, Value, json};

use super::answer::{ApiError, ErrorType, success_json};
use super::json::labels_value;
use super::params::{Params, Quoted};
use super::state::TargetState;
use super::status::{NEVER, rfc3339_nanos};

pub(crate) async fn scrape_pools(State(state): State<Arc<TargetState>>) -> Response {
    let names: Vec<String> = state.scraper.targets().into_iter().map(|pool| pool.job).collect();
    success_json(&json!({ "scrapePools": names }))
}

pub(crate) async fn targets(State(state): State<Arc<TargetState>>, params: Params) -> Response {
    let pools = state.scraper.targets();
    let wanted = params.get("scrapePool");
    let health = params.get("state").to_lowercase();
    let shown = |kind: &str| matches!(health.as_str(), "" | "any") || health == kind;
    let (mut active, mut dropped, mut counts) = (Vec::new(), Vec::new(), Map::new());
    for pool in &pools {
        // Compat: the counts are those of all pools, whichever was asked for.
        counts.insert(pool.job.clone(), pool.dropped_count.into());
        if !wanted.is_empty() && wanted != pool.job {
            continue;
        }
        if shown("active") {
            active.extend(pool.active.iter().map(|target| active_json(&state, pool, target)));
        }
        if shown("dropped") {
            dropped.extend(
                pool.dropped
                    .iter()
                    .map(|found| json!({ "discoveredLabels": labels_value(found), "scrapePool": pool.job })),
            );
        }
    }
    let counts = if shown("dropped") {
        Value::Object(counts)
    } else {
        Value::Null
    };
    let mut answer = json!({
        "activeTargets": active,
        "droppedTargets": dropped,
        "droppedTargetCounts": counts,
    });
    // Ours, and only there while discovery fails: targets found before stay, and nothing else would tell.
    let troubles = troubles_json(&state, wanted);
    if !troubles.is_empty() {
        answer["discoveryErrors"] = troubles.into();
    }
    success_json(&answer)
}

/// What discovery cannot do for the jobs that are shown.
fn troubles_json(state: &TargetState, wanted: &str) -> Vec<Value> {
    let troubles = state.troubles.now().into_iter();
    let of_jobs = troubles.filter(|trouble| trouble.manager == discovery::SCRAPE);
    let mut shown = Vec::new();
    for trouble in of_jobs {
        let since = trouble
            .since
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        for job in trouble
            .jobs
            .iter()
            .filter(|job| wanted.is_empty() || *job == wanted)
        {
            shown.push(json!({
                "scrapePool": job,
                "mechanism": trouble.mechanism,
                "lastError": trouble.error,
                "since": rfc3339_nanos(since.as_millis() as i64),
            }));
        }
    }
    shown
}

fn active_json(state: &TargetState, pool: &PoolTargets, target: &ActiveTarget) -> Value {
    let mut json = json!({
        "discoveredLabels": labels_value(&target.discovered),
        "labels": labels_value(&target.labels),
        "scrapePool": pool.job,
        "scrapeUrl": target.scrape_url,
        "globalUrl": global_url(&target.scrape_url, state.own_port, &state.external_url),
        "lastError": target.status.last_error,
        "lastScrape": target.status.last_scrape_ms.map_or_else(|| NEVER.to_owned(), rfc3339_nanos),
        "lastScrapeDuration": target.status.last_duration_s,
        "health": target.status.health.as_str(),
        "scrapeInterval": target.interval(),
        "scrapeTimeout": target.timeout(),
    });
    // Ours, and only there where the reference would have failed the scrape.
    if !target.status.last_warning.is_empty() {
        json["lastWarning"] = target.status.last_warning.as_str().into();
    }
    json
}

/// The URL under which others reach a target that we reach on this machine: with our own host in it.
fn global_url(scrape_url: &str, own_port: Option<u16>, external: &url::Url) -> String {
    let Ok(mut url) = url::Url::parse(scrape_url) else {
        return scrape_url.to_owned();
    };
    let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if !local || url.set_host(external.host_str()).is_err() {
        return scrape_url.to_owned();
    }
    // Our own listener may be reached by another scheme and port from outside.
    if own_port.is_some() && url.port_or_known_default() == own_port {
        // Both are HTTP: the one can take the other's place.
        let _ = url.set_scheme(external.scheme());
        let _ = url.set_port(external.port());
    }
    url.to_string()
}

/// `limit` and its like: any number, negative for none.
fn number(params: &Params, name: &str) -> Result<i64, ApiError> {
    match params.get(name) {
        "" => Ok(-1),
        text => text
            .parse()
            .map_err(|_| ApiError::bad_data(format_args!("{name} must be a number"))),
    }
}

fn metadata_json(metadata: &Metadata) -> Value {
    json!({ "type": metadata.metric_type.as_str(), "unit": metadata.unit, "help": metadata.help })
}

/// What a target says: of one family, or of all.
fn said_by(target: &ActiveTarget, family: &str) -> Vec<(String, Metadata)> {
    if family.is_empty() {
        return target
            .metadata()
            .into_iter()
            .map(|said| (said.family, said.metadata))
            .collect();
    }
    target
        .metadata_of(family)
        .map(|said| (family.to_owned(), said))
        .into_iter()
        .collect()
}

pub(crate) async fn metadata(State(state): State<Arc<TargetState>>, params: Params) -> Response {
    let (limit, per_metric) = match (number(&params, "limit"), number(&params, "limit_per_metric")) {
        (Ok(limit), Ok(per_metric)) => (limit, per_metric),
        (Err(error), _) | (_, Err(error)) => return error.into_response(),
    };
    let wanted = params.get("metric");
    // Different things may be said of one family; each counts once.
    let mut families: BTreeMap<String, Vec<Metadata>> = BTreeMap::new();
    for target in state.scraper.targets().iter().flat_map(|pool| &pool.active) {
        for (family, said) in said_by(target, wanted) {
            let known = families.entry(family).or_default();
            let room = per_metric <= 0 || (known.len() as i64) < per_metric;
            if room && !known.contains(&said) {
                known.push(said);
            }
        }
    }
    let shown = if limit < 0 { usize::MAX } else { limit as usize };
    let data: Map<String, Value> = families
        .into_iter()
        .take(shown)
        .map(|(family, said)| (family, said.iter().map(metadata_json).collect()))
        .collect();
    success_json(&data)
}

pub(crate) async fn target_metadata(State(state): State<Arc<TargetState>>, params: Params) -> Response {
    let limit = match number(&params, "limit") {
        Ok(limit) => limit,
        Err(error) => return error.into_response(),
    };
    let matchers = match params.get("match_target") {
        "" => Vec::new(),
        text => match promql::parser::parse_selector(text) {
            Ok(matchers) => matchers,
            Err(error) => return ApiError::parameter("match_target", error).into_response(),
        },
    };
    let wanted = params.get("metric");
    let mut found = Vec::new();
    for target in state.scraper.targets().iter().flat_map(|pool| &pool.active) {
        if limit >= 0 && found.len() as i64 >= limit {
            break;
        }
        if !matchers
            .iter()
            .all(|matcher| matcher.matches_labels(&target.labels))
        {
            continue;
        }
        for (family, said) in said_by(target, wanted) {
            let mut entry = metadata_json(&said);
            entry["target"] = labels_value(&target.labels);
            if wanted.is_empty() {
                entry["metric"] = family.into();
            }
            found.push(entry);
        }
    }
    success_json(&found)
}

pub(crate) async fn relabel_steps(State(state): State<Arc<TargetState>>, params: Params) -> Response {
    match relabel_each(&state, &params) {
        Ok(steps) => success_json(&json!({ "steps": steps })),
        Err(error) => error.into_response(),
    }
}

/// The configuration of a job as the server has it, defaults included.
pub(crate) async fn scrape_pool_config(State(state): State<Arc<TargetState>>, params: Params) -> Response {
    let found = pool_config(&state, &params).and_then(|config| {
        yaml::to_string(&*config)
            .map_err(|error| ApiError::new(ErrorType::Internal, format_args!("cannot be shown: {error}")))
    });
    match found {
        Ok(yaml) => success_json(&json!({ "yaml": yaml })),
        Err(error) => error.into_response(),
    }
}

/// The configuration of the job that `scrapePool` names.
fn pool_config(state: &TargetState, params: &Params) -> Result<Arc<ScrapeConfig>, ApiError> {
    let job = params.get("scrapePool");
    if job.is_empty() {
        return Err(ApiError::bad_data("no scrapePool parameter provided"));
    }
    let pools = state.scraper.targets();
    let pool = pools.into_iter().find(|pool| pool.job == job);
    pool.map(|pool| pool.config).ok_or_else(|| {
        let what = format_args!("scrape pool {} not found", Quoted(job));
        ApiError::bad_data(format_args!("error retrieving scrape config: {what}"))
    })
}

/// What each relabelling rule of a job makes of a label set.
fn relabel_each(state: &TargetState, params: &Params) -> Result<Vec<Value>, ApiError> {
    if !params.get("scrapePool").is_empty() && params.get("labels").is_empty() {
        return Err(ApiError::bad_data("no labels parameter provided"));
    }
    // Null is an empty set, as for Go's decoder.
    let given: Option<BTreeMap<String, String>> = match params.get("labels") {
        "" => None,
        text => serde_json::from_str(text)
            .map_err(|error| ApiError::bad_data(format_args!("error parsing labels: {error}")))?,
    };
    let config = pool_config(state, params)?;
    let given = Labels::try_from_pairs(given.unwrap_or_default()).map_err(ApiError::bad_data)?;
    let mut labels: LabelsBuilder = given.to_builder();
    let mut keep = true;
    let steps = config.relabel_configs.iter().map(|rule| {
        keep = keep && rule.apply(&mut labels);
        let output = match keep {
            true => labels.try_build().map_err(ApiError::bad_data)?,
            false => Labels::empty(),
        };
        Ok(json!({ "rule": rule_json(rule.config()), "output": labels_value(&output), "keep": keep }))
    });
    steps.collect()
}

fn rule_json(rule: &model::relabel::RelabelConfig) -> Value {
    let mut map = Map::new();
    let mut set = |key: &str, value: Value, there: bool| {
        if there {
            map.insert(key.to_owned(), value);
        }
    };
    set(
        "source_labels",
        rule.source_labels.clone().into(),
        !rule.source_labels.is_empty(),
    );
    set(
        "separator",
        rule.separator.clone().into(),
        !rule.separator.is_empty(),
    );
    set("regex", rule.regex.as_deref().unwrap_or("(.*)").into(), true);
    set("modulus", rule.modulus.into(), rule.modulus != 0);
    set(
        "target_label",
        rule.target_label.clone().into(),
        !rule.target_label.is_empty(),
    );
    set(
        "replacement",
        rule.replacement.clone().into(),
        !rule.replacement.is_empty(),
    );
    set("action", rule.action.as_str().into(), true);
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_targets_are_named_as_others_reach_them() {
        let external = url::Url::parse("https://metrics.example/narthex").expect("URL");
        for (scrape, global) in [
            (
                "http://127.0.0.1:9100/metrics",
                "http://metrics.example:9100/metrics",
            ),
            ("http://localhost:9090/metrics", "https://metrics.example/metrics"),
            (
                "http://localhost:443/metrics",
                "http://metrics.example:443/metrics",
            ),
            ("http://10.0.0.1:9100/metrics", "http://10.0.0.1:9100/metrics"),
        ] {
            assert_eq!(global_url(scrape, Some(9090), &external), global);
        }
    }
}
