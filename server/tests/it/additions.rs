//! What the API has besides the reference's: queries that run, health, limits, what is known of targets and metrics, profiles.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Server, http_client, wait_until};

/// Seconds of work, and little memory.
const LONG: &str = "deriv(vector(time())[10d:10s])";

/// A server that scrapes itself as `self`, and as `gone` a port where nobody listens.
async fn server(folder: &std::path::Path, flags: &[&str]) -> Server {
    let server = Server::start(folder, "", flags).await;
    let own = server.url.trim_start_matches("http://").to_owned();
    std::fs::write(
        folder.join("r.yml"),
        "groups: [{name: g, rules: [{record: 'j:up', expr: 'sum(up)'}]}]",
    )
    .expect("rules");
    let config = format!(
        "global: {{scrape_interval: 5s, scrape_timeout: 5s, evaluation_interval: 200ms}}\nrule_files: [r.yml]\n\
         scrape_configs:\n- job_name: self\n  static_configs: [{{targets: ['{own}']}}]\n\
         - job_name: gone\n  static_configs: [{{targets: ['127.0.0.1:1', '127.0.0.1:2']}}]\n"
    );
    std::fs::write(folder.join("narthex.yml"), config).expect("configuration");
    let reload = http_client()
        .post(format!("{}/-/reload", server.url))
        .send()
        .await;
    assert_eq!(reload.expect("an answer").status(), 200, "{}", server.log());
    server.wait_for("count(up) == 3", |found| !found.is_empty()).await;
    server
}

async fn listed(server: &Server) -> Vec<Value> {
    let answer = server.api("status/queries", &[("explain", "plan")]).await;
    answer["data"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"))
        .clone()
}

async fn delete(server: &Server, id: &str) -> u16 {
    let url = format!("{}/api/v1/status/queries/{id}", server.url);
    http_client()
        .delete(url)
        .send()
        .await
        .expect("an answer")
        .status()
        .as_u16()
}

#[tokio::test]
async fn queries_are_shown_and_stopped_while_they_run_and_while_they_wait() {
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start(folder.path(), "{}", &["--query.max-concurrency=1"]).await;
    let range = [
        ("query", LONG),
        ("start", "1000000"),
        ("end", "1660000"),
        ("step", "60"),
    ];
    let runs = server.api("query_range", &range);
    let waits = async {
        wait_until("a query runs", async || listed(&server).await.len() == 1).await;
        server.api("query", &[("query", "1 + 1")]).await
    };
    let stops = async {
        wait_until("a query waits", async || listed(&server).await.len() == 2).await;
        let queries = listed(&server).await;
        let (running, queued) = (&queries[0], &queries[1]);
        assert_eq!(
            (&running["kind"], &running["state"]),
            (&json!("range"), &json!("running"))
        );
        assert_eq!(
            (&running["query"], &running["from"]),
            (&json!(LONG), &json!("127.0.0.1"))
        );
        assert!(running["plan"]["operation"].is_string(), "{running}");
        assert_eq!(
            (&queued["kind"], &queued["state"]),
            (&json!("instant"), &json!("queued"))
        );
        for query in [queued, running] {
            assert_eq!(delete(&server, query["id"].as_str().expect("an id")).await, 204);
        }
    };
    let (ran, waited, ()) = tokio::join!(runs, waits, stops);
    assert_eq!(
        (&ran["errorType"], &waited["errorType"]),
        (&json!("canceled"), &json!("canceled"))
    );
    wait_until("it has ended", async || {
        listed(&server).await[0]["state"] == "failed"
    })
    .await;
    assert_eq!(delete(&server, "1").await, 404);
    assert_eq!(delete(&server, "x").await, 400);
}

#[tokio::test]
async fn slow_queries_are_told_of_with_their_plan() {
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start(folder.path(), "{}", &["--query.slow-log-threshold=1ms"]).await;
    let slow = "sum(count_over_time(vector(1)[1d:1s]))";
    server.query(slow).await;
    let log = server.log();
    let line = log
        .lines()
        .find(|line| line.contains("Slow query"))
        .unwrap_or_else(|| panic!("{log}"));
    assert!(
        line.contains(slow) && line.contains("operation") && line.contains("of 127.0.0.1"),
        "{line}"
    );
}

#[tokio::test]
async fn what_pages_ask_is_answered() {
    let folder = tempfile::tempdir().expect("folder");
    let server = server(folder.path(), &[]).await;
    let data = async |path: &str, params: &[(&str, &str)]| server.api(path, params).await["data"].clone();
    wait_until("two targets are down", async || {
        server
            .get("/api/v1/status/health")
            .await
            .1
            .contains("2 of 3 targets are down.")
    })
    .await;
    let health = data("status/health", &[]).await;
    let of = |name: &str| {
        health
            .as_array()
            .and_then(|list| list.iter().find(|one| one["name"] == name))
            .cloned()
    };
    assert_eq!(of("storage").expect("storage")["ok"], true);
    assert_eq!(
        of("targets").expect("targets")["text"],
        "2 of 3 targets are down."
    );
    let limits = data("status/limits", &[]).await;
    let queries = limits
        .as_array()
        .and_then(|list| list.iter().find(|one| one["name"] == "queries"));
    assert_eq!(queries.expect("queries")["max"], 20.0);
    let summary = data("targets/summary", &[]).await;
    assert_eq!(
        summary["pools"][0],
        json!({"name": "gone", "up": 0, "down": 2, "unknown": 0, "cells": "##"})
    );
    assert_eq!(
        (
            &summary["causes"][0]["count"],
            summary["causes"].as_array().map(Vec::len)
        ),
        (&json!(2), Some(1))
    );
    let info = data("metric_info", &[("metric", "up")]).await;
    assert_eq!(
        (&info["series"], &info["jobs"]),
        (&json!(3), &json!(["gone", "self"]))
    );
    assert_eq!(info["rules"][0]["name"], "j:up");
    let info = data(
        "metric_info",
        &[("metric", "prometheus_http_request_duration_seconds_bucket")],
    )
    .await;
    assert_eq!(info["type"], "histogram");
    let rows = data("status/cardinality", &[("match[]", "up"), ("limit", "1")]).await;
    assert_eq!(
        rows,
        json!([{"name": "up", "series": 3, "delta": 3, "churn": 0, "rules": 1}])
    );
    let rows = data("status/cardinality", &[("by", "job"), ("match[]", "up")]).await;
    assert_eq!(
        rows[0],
        json!({"name": "gone", "series": 2, "delta": 2, "churn": 0})
    );
    let rows = data("status/cardinality", &[("by", "label"), ("match[]", "up")]).await;
    assert_eq!(
        rows[1],
        json!({"name": "instance", "series": 3, "delta": 3, "churn": 0, "values": 3})
    );
}

#[tokio::test]
async fn what_gives_nothing_is_explained() {
    let folder = tempfile::tempdir().expect("folder");
    let server = server(folder.path(), &[]).await;
    for (query, kind, text, near) in [
        ("sum(upp)", "name", "upp", Some("up")),
        ("up{job=\"selff\"}", "matcher", "up{job=\"selff\"}", Some("self")),
        ("rate(up[1m] offset 1h)", "matcher", "up[1m] offset 1h", None),
        ("up > 5", "filter", "up > 5", None),
        (
            "1 + (up{job=\"self\"} * on (job) max by (job) (up{job=\"gone\"}))",
            "join",
            "up{job=\"self\"} * on (job) max by (job) (up{job=\"gone\"})",
            None,
        ),
    ] {
        let answer = server.api("query/why_empty", &[("query", query)]).await;
        let first = &answer["data"][0];
        assert_eq!(
            (&first["text"], first["near"].as_str()),
            (&json!(text), near),
            "{query}: {answer}"
        );
        // An hour ago there was nothing of the kind: which of both is told does not matter.
        assert!(
            first["kind"] == kind || query.contains("offset"),
            "{query}: {answer}"
        );
    }
    let answer = server
        .api("query/why_empty", &[("query", "up{job=\"selff\"}")])
        .await;
    assert_eq!(
        answer["data"][0]["without"],
        json!([{"matcher": "job=\"selff\"", "series": 3}])
    );
    let answer = server.api("query/why_empty", &[("query", "up")]).await;
    assert_eq!(answer["data"], json!([]));
}

#[tokio::test]
async fn profiles_are_taken_one_at_a_time_and_for_a_while() {
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start(folder.path(), "{}", &[]).await;
    let get = async |path: &str| {
        let answer = http_client()
            .get(format!("{}/debug/pprof/{path}", server.url))
            .send()
            .await
            .expect("an answer");
        (answer.status().as_u16(), answer.bytes().await.expect("a body"))
    };
    let (first, second) = tokio::join!(get("profile?seconds=2"), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        get("profile?seconds=2").await.0
    });
    assert_eq!((first.0, second), (200, 503));
    let (code, threads) = get("goroutine").await;
    assert_eq!(code, 200);
    for packed in [first.1, threads] {
        let mut message = Vec::new();
        let mut reader = flate2::read::GzDecoder::new(&*packed);
        std::io::Read::read_to_end(&mut reader, &mut message).expect("gzip");
        let mut fields = model::protobuf::Fields::new(&message);
        let mut numbers = std::collections::BTreeSet::new();
        while let Some(field) = fields.next_field().expect("a message") {
            numbers.insert(field.number);
        }
        // What is measured, and texts.
        assert!(numbers.contains(&1) && numbers.contains(&6), "{numbers:?}");
    }
    let (code, text) = get("goroutine?debug=1").await;
    assert!(code == 200 && text.starts_with(b"goroutine profile: total "));
    for (path, code) in [
        ("profile?seconds=0", 400),
        ("profile?seconds=121", 400),
        ("heap", 501),
        ("nope", 404),
        ("cmdline", 200),
    ] {
        assert_eq!(get(path).await.0, code, "{path}");
    }
}
