//! `/api/v1/features`: what newer clients ask before they offer something; `/api/v1/notifications`: what is to be told.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::answer::success_json;
use super::state::StatusState;
use super::status::rfc3339_nanos;
use crate::cli::flags::Mode;

/// Operators that every version of the language has.
const OPERATORS: [&str; 32] = [
    "!=",
    "!~",
    "%",
    "*",
    "+",
    "-",
    "/",
    "<",
    "</",
    "<=",
    "==",
    "=~",
    ">",
    ">/",
    ">=",
    "@",
    "^",
    "and",
    "atan2",
    "avg",
    "bottomk",
    "count",
    "count_values",
    "group",
    "max",
    "min",
    "or",
    "quantile",
    "stddev",
    "stdvar",
    "sum",
    "topk",
];
/// What the language has always, apart from functions and operators.
const PHRASES: [&str; 13] = [
    "at_modifier",
    "bool",
    "by",
    "duration_expr",
    "group_left",
    "group_right",
    "ignoring",
    "negative_offset",
    "offset",
    "on",
    "per_query_lookback_delta",
    "subqueries",
    "without",
];

/// What an agent has nothing of. Compat: as the reference's (`routes_of_an_agent_answer_as_the_references`).
const OF_SERVER: [&str; 5] = ["promql", "promql_functions", "promql_operators", "rules", "tsdb"];

pub(crate) async fn features(State(state): State<Arc<StatusState>>) -> Response {
    let flags = &state.features;
    let promql = flags.promql;
    let is_agent = state.flags.mode() == Mode::Agent;
    let mut operators: BTreeMap<&str, bool> = OPERATORS.iter().map(|name| (*name, true)).collect();
    operators.extend([
        ("unless", true),
        ("limitk", promql.experimental_functions),
        ("limit_ratio", promql.experimental_functions),
    ]);
    let functions: BTreeMap<&str, bool> = promql::signatures::FUNCTIONS
        .iter()
        .map(|function| {
            (
                function.name,
                !function.experimental || promql.experimental_functions,
            )
        })
        .collect();
    let mut phrases: BTreeMap<&str, bool> = PHRASES.iter().map(|name| (*name, true)).collect();
    phrases.extend([
        ("anchored", promql.extended_range_selectors),
        ("smoothed", promql.extended_range_selectors),
        ("delayed_name_removal", promql.delayed_name_removal),
        ("fill", promql.binop_fill_modifiers),
        ("fill_left", promql.binop_fill_modifiers),
        ("fill_right", promql.binop_fill_modifiers),
        ("per_step_stats", promql.per_step_stats),
        ("type_and_unit_labels", promql.type_and_unit_labels),
    ]);
    let mut features = json!({
        "api": {
            "admin": state.admin_enabled,
            "exclude_alerts": true,
            "label_values_match": true,
            "lifecycle": state.lifecycle_enabled,
            "otlp_write_receiver": state.flags.get("web.enable-otlp-receiver") == "true",
            "query_stats": true,
            "query_warnings": true,
            "remote_write_receiver": state.flags.get("web.enable-remote-write-receiver") == "true",
            "search": false,
            "time_range_labels": true,
            "time_range_series": true,
        },
        "otlp_receiver": {
            "delta_conversion": flags.otlp_delta_to_cumulative,
            "native_delta_ingestion": flags.otlp_native_delta,
        },
        "prometheus": {
            "agent_mode": is_agent,
            "auto_reload_config": state.flags.get("config.auto-reload") == "true",
            "server_mode": !is_agent,
            "stringlabels": true,
        },
        "promql": phrases,
        "promql_functions": functions,
        "promql_operators": operators,
        "rules": { "concurrent_rule_eval": flags.concurrent_rules, "keep_firing_for": true, "query_offset": true },
        "scrape": {
            "extra_scrape_metrics": true,
            "start_timestamp_zero_ingestion": false,
            "type_and_unit_labels": promql.type_and_unit_labels,
        },
        "service_discovery_providers": all(discovery::KINDS.iter().map(|kind| kind.name).chain(["static"])),
        "templating_functions": all(template::alert::FUNCTIONS.names()),
        "tsdb": {
            "delayed_compaction": false,
            "exemplar_storage": flags.exemplar_storage,
            "histograms_st_encoding": false,
            "isolation": true,
            "native_histograms": true,
            "st_storage": flags.start_timestamps,
            "use_uncached_io": false,
            "xor2_encoding": true,
        },
        "ui": { "ui_v2": false, "ui_v3": false },
    });
    if is_agent && let Some(sections) = features.as_object_mut() {
        sections.retain(|name, _| !OF_SERVER.contains(&name.as_str()));
    }
    success_json(&features)
}

/// Names of what is there whatever the flags say.
fn all<'n>(names: impl Iterator<Item = &'n str>) -> Value {
    Value::Object(names.map(|name| (name.to_owned(), true.into())).collect())
}

/// Compat: the notices that the reference's pages show, in its words.
pub(crate) async fn notifications(State(state): State<Arc<StatusState>>) -> Response {
    let failed = state.config.load().failed_ms.map(|failed_ms| {
        json!({ "text": "Configuration reload has failed.", "date": rfc3339_nanos(failed_ms), "active": true })
    });
    success_json(&failed.into_iter().collect::<Vec<Value>>())
}
