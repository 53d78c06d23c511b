//! An agent: what it refuses, what it answers, and that what it took arrives, whoever is killed meanwhile.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::harness::{Server, http_client, narthex, wait_until};

/// Kills of the agent or of its receiver while samples are pushed.
const KILLS: u64 = 6;
/// Pushes between two of them.
const PUSHES: u64 = 25;

fn refused(args: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("rules.yml"), "rule_files: [r.yml]\n").expect("writes");
    std::fs::write(folder.path().join("good.yml"), "{}\n").expect("writes");
    let output = narthex(args, folder.path(), b"");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn an_agent_refuses_what_it_has_no_use_for() {
    for (args, code, said) in [
        (
            ["--agent", "--query.timeout=1m", "--storage.tsdb.path=x"],
            3,
            "The following flag(s) can not be used in agent mode: [\"--storage.tsdb.path\" \"--query.timeout\"]",
        ),
        (
            ["--agent", "--alertmanager.config.file=am.yml", ""],
            3,
            "can not be used in agent mode: [\"--alertmanager.config.file\"]",
        ),
        (
            ["--storage.agent.path=x", "", ""],
            3,
            "The following flag(s) can only be used in agent mode: [\"--storage.agent.path\"]",
        ),
        (
            ["--agent", "--storage.agent.wal-segment-size=1MB", ""],
            2,
            "flag 'storage.agent.wal-segment-size' must be set between 10MB and 256MB",
        ),
        (
            ["--agent", "--storage.agent.checkpoint-batch-size=0", ""],
            2,
            "--storage.agent.checkpoint-batch-size must be greater than 0.",
        ),
        (
            ["--agent", "--config.file=rules.yml", ""],
            2,
            "field rule_files is not allowed in agent mode",
        ),
    ] {
        let args: Vec<&str> = args.into_iter().filter(|arg| !arg.is_empty()).collect();
        let (found, text) = refused(&args);
        assert_eq!(
            (found, text.contains(said)),
            (Some(code), true),
            "{args:?}: {text}"
        );
    }
}

async fn ask(agent: &Server, method: &str, path: &str) -> (u16, String) {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let method = method.parse().expect("a method");
    let request = client
        .build()
        .expect("a client")
        .request(method, format!("{}{path}", agent.url));
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}

#[tokio::test]
async fn routes_of_an_agent_answer_as_the_references() {
    let folder = tempfile::tempdir().expect("folder");
    let config = "scrape_configs: [{job_name: none, static_configs: [{targets: ['127.0.0.1:1']}]}]";
    let agent = Server::start_agent(folder.path(), config, &["--web.enable-admin-api"]).await;
    let unavailable =
        r#"{"status":"error","errorType":"execution","error":"unavailable with Prometheus Agent"}"#;
    for (method, path, code, body) in [
        ("GET", "/-/healthy", 200, "Prometheus Agent is Healthy.\n"),
        ("GET", "/-/ready", 200, "Prometheus Agent is Ready.\n"),
        ("GET", "/", 302, "<a href=\"/agent\">Found</a>.\n\n"),
        ("GET", "/query", 404, "404 page not found\n"),
        ("GET", "/alerts", 404, "404 page not found\n"),
        (
            "GET",
            "/federate?match[]=up",
            500,
            "unsupported operation with WAL-only storage\n",
        ),
        ("GET", "/api/v1/query?query=up", 422, unavailable),
        ("POST", "/api/v1/query", 422, unavailable),
        ("GET", "/api/v1/query_range", 422, unavailable),
        ("GET", "/api/v1/query_exemplars", 422, unavailable),
        ("GET", "/api/v1/format_query?query=up", 422, unavailable),
        ("GET", "/api/v1/parse_query?query=up", 422, unavailable),
        ("GET", "/api/v1/labels", 422, unavailable),
        ("GET", "/api/v1/label/job/values", 422, unavailable),
        ("POST", "/api/v1/series", 422, unavailable),
        ("GET", "/api/v1/alertmanagers", 422, unavailable),
        ("GET", "/api/v1/alerts", 422, unavailable),
        ("GET", "/api/v1/rules", 422, unavailable),
        ("GET", "/api/v1/status/tsdb", 422, unavailable),
        ("GET", "/api/v1/status/tsdb/blocks", 422, unavailable),
        ("POST", "/api/v1/admin/tsdb/snapshot", 422, unavailable),
        ("PUT", "/api/v1/admin/tsdb/clean_tombstones", 422, unavailable),
        ("POST", "/api/v1/rules/backtest", 404, "404 page not found\n"),
        ("POST", "/-/reload", 200, ""),
    ] {
        let answer = ask(&agent, method, path).await;
        assert_eq!(answer, (code, body.to_owned()), "{method} {path}");
    }
    for (path, part) in [
        ("/agent", "Nothing is stored for queries here"),
        ("/targets", "Queues"),
        ("/metrics", "prometheus_agent_active_series "),
        ("/api/v1/targets", "\"scrapePool\":\"none\""),
        ("/api/v1/scrape_pools", "none"),
        ("/api/v1/metadata", "\"data\":{}"),
        ("/api/v1/status/config", "job_name: none"),
        ("/api/v1/status/flags", "\"agent\":\"true\""),
        ("/api/v1/status/runtimeinfo", "\"storageRetention\":\"15d\""),
        ("/api/v1/status/buildinfo", "3.14.0"),
        ("/api/v1/status/walreplay", "\"current\":0"),
        ("/api/v1/features", "\"agent_mode\":true"),
        ("/api/v1/notifications", "success"),
    ] {
        let (code, body) = agent.get(path).await;
        assert!(code == 200 && body.contains(part), "{path}: {code} {body}");
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a time").as_millis() as u64
}

/// Pushes one sample with a value that is used once, of a time that goes on with it from `base_ms`; true where the agent has
/// acknowledged it.
async fn push(agent: &Server, base_ms: u64, value: u64) -> bool {
    let body = format!(
        "oracle{{part=\"{}\"}} {value} {}\n",
        value % 3,
        base_ms + value * 1_000
    );
    let pushing = http_client()
        .post(format!("{}/api/v1/import/prometheus", agent.url))
        .body(body);
    let answer = pushing.timeout(Duration::from_secs(10)).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

/// Values that the receiver has.
async fn arrived(receiver: &Server) -> Vec<u64> {
    let time = (now_ms() / 1000 + 600).to_string();
    let params = [("query", "oracle{cluster=\"edge\"}[2h]"), ("time", &time)];
    let answer = receiver.api("query", &params).await;
    let series = answer["data"]["result"].as_array().cloned().unwrap_or_default();
    let samples = series
        .iter()
        .flat_map(|series| series["values"].as_array().cloned().unwrap_or_default());
    let value = |sample: &Value| sample[1].as_str().expect("a text").parse().expect("a number");
    let mut values: Vec<u64> = samples.map(|sample| value(&sample)).collect();
    values.sort_unstable();
    values
}

fn agent_config(url: &str, message: &str) -> String {
    format!(
        "global: {{external_labels: {{cluster: edge}}, scrape_interval: 1s}}\n\
         scrape_configs: [{{job_name: receiver, static_configs: [{{targets: ['{}']}}]}}]\n\
         remote_write: [{{name: r, url: '{url}/api/v1/write', protobuf_message: {message}, \
         queue_config: {{batch_send_deadline: 200ms, max_backoff: 200ms}}}}]\n",
        url.trim_start_matches("http://")
    )
}

async fn nothing_is_lost(message: &str) {
    let folders = (
        tempfile::tempdir().expect("folder"),
        tempfile::tempdir().expect("folder"),
    );
    let config = "storage: {tsdb: {out_of_order_time_window: 2h}}";
    let mut receiver = Server::start(folders.0.path(), config, &["--web.enable-remote-write-receiver"]).await;
    let config = agent_config(&receiver.url, message);
    let mut agent = Server::start_agent(folders.1.path(), &config, &["--web.enable-import"]).await;
    // What is older than a queue is none of its.
    let base_ms = now_ms();
    let (mut acknowledged, mut value) = (Vec::new(), 0);
    for kill in 0..KILLS {
        for _ in 0..PUSHES {
            value += 1;
            if push(&agent, base_ms, value).await {
                acknowledged.push(value);
            }
        }
        match kill % 3 {
            0 => {
                agent.kill();
                agent.restart().await;
            }
            1 => receiver.kill(),
            _ => {
                // It has gone on without its receiver, and dies before that is back.
                agent.kill();
                agent.restart().await;
                receiver.restart().await;
            }
        }
    }
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    wait_until("everything arrives", async || {
        let there = arrived(&receiver).await;
        acknowledged
            .iter()
            .all(|value| there.binary_search(value).is_ok())
    })
    .await;
    receiver
        .wait_for("up{job=\"receiver\", cluster=\"edge\"}", |found| found.len() == 1)
        .await;
}

#[tokio::test]
async fn nothing_is_lost_by_kills_of_either_side() {
    nothing_is_lost("prometheus.WriteRequest").await;
}

#[tokio::test]
async fn nothing_is_lost_by_kills_of_either_side_in_version_2() {
    nothing_is_lost("io.prometheus.write.v2.Request").await;
}

#[tokio::test]
async fn all_ways_in_are_those_of_a_server() {
    let folders = (
        tempfile::tempdir().expect("folder"),
        tempfile::tempdir().expect("folder"),
    );
    let receiver = Server::start(folders.0.path(), "{}", &["--web.enable-remote-write-receiver"]).await;
    let config = agent_config(&receiver.url, "io.prometheus.write.v2.Request");
    let flags = [
        "--web.enable-push-gateway",
        "--web.enable-influx-receiver",
        "--web.enable-otlp-receiver",
    ];
    let agent = Server::start_agent(folders.1.path(), &config, &flags).await;
    let pushes = [
        ("/metrics/job/batch", "text/plain", "pushed 1\n"),
        ("/write?db=d", "text/plain", "lines,host=a value=2\n"),
        (
            "/api/v1/otlp/v1/metrics",
            "application/json",
            r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"otel","gauge":{"dataPoints":[{"asInt":"3","timeUnixNano":"NOW"}]}}]}]}]}"#,
        ),
    ];
    for (path, content_type, body) in pushes {
        let body = body.replace("NOW", &format!("{}000000", now_ms()));
        let request = http_client()
            .post(format!("{}{path}", agent.url))
            .header("Content-Type", content_type);
        let answer = request.body(body).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }
    for name in ["pushed", "lines_value", "otel"] {
        receiver
            .wait_for(&format!("{name}{{cluster=\"edge\"}}"), |found| !found.is_empty())
            .await;
    }
}
