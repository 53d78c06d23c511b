//! `/api/v1/targets/summary`: how many targets are up, and what the others die of, a line a cause. Ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use scraper::{ActiveTarget, Health};
use serde_json::{Value, json};

use super::answer::{ApiError, blocking, success_json};
use super::state::TargetState;

/// Targets of a job that are drawn.
const CELLS_MAX: usize = 10_000;
/// Causes that are told; those with most targets come first.
const CAUSES_MAX: usize = 200;

/// What an error says, and what to look at then. The first that fits counts.
const HINTS: [(&str, &str); 9] = [
    (
        "connection refused",
        "Nothing listens there: does the exporter run, and is the port right?",
    ),
    (
        "deadline exceeded",
        "No answer within scrape_timeout: is the target overloaded, or a firewall in between?",
    ),
    (
        "no such host",
        "The name is not known: is it spelt right, and does DNS know it?",
    ),
    (
        "certificate",
        "The certificate is not trusted: look at tls_config of the job.",
    ),
    (
        "HTTP status 401",
        "The target wants credentials: look at basic_auth or authorization of the job.",
    ),
    (
        "HTTP status 403",
        "The credentials are known and not enough: look at what they may.",
    ),
    (
        "HTTP status 404",
        "There is no such path: look at metrics_path of the job.",
    ),
    (
        "limit exceeded",
        "The target says more than the job's limits allow: look at what is new in it.",
    ),
    (
        "line ",
        "The body is not in a known format: look at the line that is named.",
    ),
];

pub(crate) async fn summary(State(state): State<Arc<TargetState>>) -> Response {
    match blocking(move || Ok::<_, ApiError>(summed(&state))).await {
        Ok(summary) => success_json(&summary),
        Err(error) => error.into_response(),
    }
}

fn summed(state: &TargetState) -> Value {
    let mut causes: BTreeMap<(String, String), usize> = BTreeMap::new();
    let pools = state.scraper.targets().into_iter().map(|pool| {
        let (mut up, mut down, mut unknown) = (0, 0, 0);
        let mut cells = String::new();
        for target in &pool.active {
            let (count, cell) = match target.status.health {
                Health::Up => (&mut up, '.'),
                Health::Down => (&mut down, '#'),
                _ => (&mut unknown, '?'),
            };
            *count += 1;
            if cells.len() < CELLS_MAX {
                cells.push(cell);
            }
            if target.status.health == Health::Down {
                *causes.entry((pool.job.clone(), cause(target))).or_default() += 1;
            }
        }
        json!({ "name": pool.job, "up": up, "down": down, "unknown": unknown, "cells": cells })
    });
    let pools: Vec<Value> = pools.collect();
    let mut causes: Vec<_> = causes.into_iter().collect();
    causes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let causes = causes.into_iter().take(CAUSES_MAX).map(
        |((pool, text), count)| json!({ "pool": pool, "hint": hint(&text), "text": text, "count": count }),
    );
    json!({ "pools": pools, "causes": causes.collect::<Vec<Value>>() })
}

/// What a target's error says, without what is the target's own: its address.
fn cause(target: &ActiveTarget) -> String {
    let address = target.labels.value("instance");
    without_address(&target.status.last_error, &target.scrape_url, address)
}

fn without_address(error: &str, url: &str, address: &str) -> String {
    let quoted = format!("Get \"{url}\": ");
    let text = error.strip_prefix(quoted.as_str()).unwrap_or(error);
    match address {
        "" => text.to_owned(),
        address => text.replace(address, "…"),
    }
}

fn hint(text: &str) -> &'static str {
    let found = HINTS.iter().find(|(sign, _)| text.contains(sign));
    found.map_or("", |(_, hint)| hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_many_targets_are_one_cause() {
        let of = |address: &str| {
            let url = format!("http://{address}/metrics");
            let error = format!("Get \"{url}\": dial tcp {address}: connect: connection refused");
            without_address(&error, &url, address)
        };
        assert_eq!(of("10.0.0.1:9100"), "dial tcp …: connect: connection refused");
        assert_eq!(of("10.0.0.1:9100"), of("b:1"));
        assert!(hint(&of("b:1")).starts_with("Nothing listens"));
        assert_eq!(hint("something new"), "");
    }
}
