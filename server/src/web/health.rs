//! `/api/v1/status/health` and `/api/v1/status/limits`: whether all is well, in sentences, and what is used of what there
//! may be. Ours.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use metrics::{Registry, Value};
use serde_json::json;

use super::answer::{ApiError, blocking, success_json};
use super::state::{AlertingState, PageState, StartState, StatusState, TargetState};

/// Panics of tasks.
const PANICS: &str = "narthex_task_panics_total";

/// One thing that may be well or not.
struct Finding {
    name: &'static str,
    /// What is wrong, in a sentence.
    trouble: Option<String>,
    /// What is said where nothing is.
    well: &'static str,
}

pub(crate) async fn health(
    State(start): State<Arc<StartState>>,
    State(status): State<Arc<StatusState>>,
    State(targets): State<Arc<TargetState>>,
    State(alerting): State<Arc<AlertingState>>,
    State(pages): State<Arc<PageState>>,
) -> Response {
    let found = blocking(move || {
        let findings = [
            storage(&start),
            configuration(&status),
            discovery(&targets),
            scrapes(&targets),
            rules(&alerting),
            tasks(&pages.metrics),
        ];
        let findings = findings.into_iter().map(|finding| {
            json!({
                "name": finding.name,
                "ok": finding.trouble.is_none(),
                "text": finding.trouble.as_deref().unwrap_or(finding.well),
            })
        });
        Ok::<_, ApiError>(findings.collect::<Vec<_>>())
    });
    match found.await {
        Ok(found) => success_json(&found),
        Err(error) => error.into_response(),
    }
}

fn storage(start: &StartState) -> Finding {
    let failure = start.db.head().write_failure();
    Finding {
        name: "storage",
        trouble: failure.map(|why| format!("Nothing can be stored: {why}.")),
        well: "Samples are stored.",
    }
}

fn configuration(status: &StatusState) -> Finding {
    let in_force = status.config.load().reload_success;
    Finding {
        name: "configuration",
        trouble: (!in_force).then(|| {
            "The last reload failed; what was in force before still is. The log says what is wrong."
                .to_owned()
        }),
        well: "The files' configuration is in force.",
    }
}

fn discovery(targets: &TargetState) -> Finding {
    let troubles = targets.troubles.now();
    let first = troubles.first();
    Finding {
        name: "discovery",
        trouble: first.map(|trouble| {
            format!(
                "{} of discovery's mechanisms fail, {} of {} among them: {}.",
                troubles.len(),
                trouble.mechanism,
                trouble.jobs.join(", "),
                trouble.error
            )
        }),
        well: "Discovery works.",
    }
}

fn scrapes(targets: &TargetState) -> Finding {
    let pools = targets.scraper.targets();
    let all = pools.iter().map(|pool| pool.active.len()).sum::<usize>();
    let is_down = |target: &&scraper::ActiveTarget| target.status.health == scraper::Health::Down;
    let down = pools.iter().flat_map(|pool| &pool.active).filter(is_down).count();
    Finding {
        name: "targets",
        trouble: (down > 0).then(|| format!("{down} of {all} targets are down.")),
        well: "No target is down.",
    }
}

fn rules(alerting: &AlertingState) -> Finding {
    let groups = alerting.rules.snapshot();
    let rules = groups.iter().flat_map(|group| &group.rules);
    let failing: Vec<_> = rules.filter(|rule| rule.last_error.is_some()).collect();
    Finding {
        name: "rules",
        trouble: failing.first().map(|first| {
            let error = first
                .last_error
                .as_ref()
                .map_or_else(String::new, ToString::to_string);
            format!(
                "{} rules fail, {:?} among them: {error}.",
                failing.len(),
                first.name
            )
        }),
        well: "No rule fails.",
    }
}

fn tasks(registry: &Registry) -> Finding {
    let panics = sums(registry).get(PANICS).copied().unwrap_or(0.0);
    Finding {
        name: "tasks",
        trouble: (panics > 0.0).then(|| {
            format!(
                "{panics} rounds of tasks have panicked since the start: please report what the log says."
            )
        }),
        well: "Nothing has panicked.",
    }
}

/// How many there may be.
enum Most {
    /// As this metric says.
    Metric(&'static str),
    /// As this flag says; 0 for any number.
    Flag(&'static str),
    /// The memory there is.
    Memory,
}

/// Name, unit, the metric of what is used, and the most.
const LIMITS: [(&str, &str, &str, Most); 8] = [
    ("memory", "bytes", "process_resident_memory_bytes", Most::Memory),
    (
        "query_memory",
        "bytes",
        "narthex_query_memory_bytes",
        Most::Metric("narthex_query_memory_max_bytes"),
    ),
    (
        "queries",
        "",
        "prometheus_engine_queries",
        Most::Metric("prometheus_engine_queries_concurrent_max"),
    ),
    (
        "connections",
        "",
        "narthex_http_connections",
        Most::Flag("web.max-connections"),
    ),
    ("files", "", "process_open_fds", Most::Metric("process_max_fds")),
    (
        "series",
        "",
        "prometheus_tsdb_head_series",
        Most::Flag("storage.tsdb.max-series"),
    ),
    (
        "notifications_waiting",
        "",
        "prometheus_notifications_queue_length",
        Most::Metric("prometheus_notifications_queue_capacity"),
    ),
    (
        "notice_subscribers",
        "",
        "prometheus_api_notification_active_subscribers",
        Most::Flag("web.max-notifications-subscribers"),
    ),
];

pub(crate) async fn limits(
    State(status): State<Arc<StatusState>>,
    State(pages): State<Arc<PageState>>,
) -> Response {
    let found = blocking(move || {
        let sums = sums(&pages.metrics);
        let now = |metric: &str| sums.get(metric).copied();
        let limits = LIMITS.iter().map(|(name, unit, used, most)| {
            let most = match most {
                Most::Metric(metric) => now(metric),
                Most::Flag(flag) => status.flags.get(flag).parse().ok().filter(|most| *most > 0.0),
                Most::Memory => crate::memory::memory_bytes().map(|bytes| bytes as f64),
            };
            // What is as large as numbers go is no limit.
            let most = most.filter(|most| *most < u64::MAX as f64 / 2.0);
            json!({ "name": name, "unit": unit, "used": now(used).unwrap_or(0.0), "max": most })
        });
        Ok::<_, ApiError>(limits.collect::<Vec<_>>())
    });
    match found.await {
        Ok(found) => success_json(&found),
        Err(error) => error.into_response(),
    }
}

/// Counters and gauges, each summed over its labels.
fn sums(registry: &Registry) -> HashMap<String, f64> {
    let mut sums = HashMap::new();
    registry.visit(|name, _, _, samples| {
        let singles = samples.iter().filter_map(|(_, value)| match value {
            Value::Single(value) => Some(*value),
            _ => None,
        });
        sums.insert(name.to_owned(), singles.sum());
    });
    sums
}
