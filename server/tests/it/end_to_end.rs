//! The main job: scrape, store, query, alert, and nothing lost in between.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Json;
use axum::routing::{get, post};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::harness::{PATIENCE, Server, free_port};

/// A real exporter, if this machine has it; killed when dropped.
struct NodeExporter {
    child: Child,
    address: String,
}

impl NodeExporter {
    fn start() -> Option<Self> {
        let address = format!("127.0.0.1:{}", free_port());
        let child = Command::new(testkit::program(testkit::Need::NodeExporter)?)
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the exporter starts");
        Some(NodeExporter { child, address })
    }
}

impl Drop for NodeExporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A tiny service: a counter that goes up with every scrape, and a switch.
#[derive(Default)]
struct Service {
    scrapes: AtomicU64,
    broken: AtomicBool,
}

async fn serve(service: Arc<Service>) -> String {
    let metrics = move || {
        let service = service.clone();
        async move {
            let count = service.scrapes.fetch_add(1, Ordering::SeqCst) + 1;
            let broken = u8::from(service.broken.load(Ordering::SeqCst));
            // Many series, so that a kill is likely to come in the middle of something.
            let many: String = (0..500).map(|i| format!("many{{i=\"{i}\"}} {count}\n")).collect();
            let body =
                format!("# TYPE scrapes_total counter\nscrapes_total {count}\nbroken {broken}\n{many}");
            ([(http::header::CONTENT_TYPE, "text/plain; version=0.0.4")], body)
        }
    };
    listen(axum::Router::new().route("/metrics", get(metrics))).await
}

async fn listen(app: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = listener.local_addr().expect("address").to_string();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Timestamps and values of a range selector's first series.
fn samples(result: &[Value]) -> BTreeSet<String> {
    let values = result.first().and_then(|series| series["values"].as_array());
    values.into_iter().flatten().map(Value::to_string).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_committed_is_lost_by_a_kill() {
    let exporter = NodeExporter::start();
    let service = Arc::new(Service::default());
    let address = serve(service.clone()).await;
    let mut config = format!(
        "global: {{scrape_interval: 100ms, scrape_timeout: 100ms}}\n\
         scrape_configs:\n- job_name: tiny\n  static_configs: [{{targets: ['{address}']}}]\n"
    );
    if let Some(exporter) = &exporter {
        config += &format!(
            "- job_name: node\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  \
             static_configs: [{{targets: ['{}']}}]\n",
            exporter.address
        );
    }
    let folder = tempfile::tempdir().expect("folder");
    let mut server = Server::start(folder.path(), &config, &[]).await;
    server.wait_for("scrapes_total", |r| !r.is_empty()).await;
    if exporter.is_some() {
        server
            .wait_for("node_memory_MemTotal_bytes > 0", |r| !r.is_empty())
            .await;
        server
            .wait_for("count({job=\"node\"}) > 100", |r| !r.is_empty())
            .await;
    }
    for round in 0..4_u64 {
        let until = service.scrapes.load(Ordering::SeqCst) + 6;
        server
            .wait_for(&format!("scrapes_total >= {until}"), |r| !r.is_empty())
            .await;
        // What a query has seen is committed; what comes behind it may be cut.
        let seen = samples(&server.query("scrapes_total[5m]").await);
        let seen_many = server.query("sum(count_over_time(many[5m]))").await;
        tokio::time::sleep(Duration::from_millis(17 * round)).await;
        server.kill();
        server.restart().await;
        let found = samples(&server.query("scrapes_total[5m]").await);
        let lost: Vec<_> = seen.difference(&found).collect();
        assert!(
            lost.is_empty(),
            "round {round}: {} samples are lost: {lost:?}\n{}",
            lost.len(),
            server.log()
        );
        let found_many = server.query("sum(count_over_time(many[5m]))").await;
        let count = |result: &[Value]| {
            result[0]["value"][1]
                .as_str()
                .and_then(|v| v.parse::<f64>().ok())
                .expect("number")
        };
        assert!(
            count(&found_many) >= count(&seen_many),
            "round {round}: {found_many:?} after {seen_many:?}"
        );
        // A scrape is there whole or not at all.
        let torn = server
            .query("count by (n) (label_replace(count_over_time(many[5m]), \"n\", \"x\", \"\", \"\")) != 500")
            .await;
        assert!(torn.is_empty(), "round {round}: {torn:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_goes_from_pending_to_firing_to_resolved_at_a_webhook() {
    let service = Arc::new(Service::default());
    let address = serve(service.clone()).await;
    let (sender, mut received) = mpsc::unbounded_channel::<Value>();
    let hook = listen(axum::Router::new().route(
        "/hook",
        post(move |Json(body): Json<Value>| async move { drop(sender.send(body)) }),
    ))
    .await;
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(
        folder.path().join("rules.yml"),
        "groups:\n- name: test\n  rules:\n  - record: job:broken:max\n    expr: max by (job) (broken)\n\
         \x20 - alert: Broken\n    expr: job:broken:max == 1\n    for: 1s\n    labels: {severity: page}\n\
         \x20   annotations: {summary: '{{ $labels.job }} is at {{ $value }}'}\n",
    )
    .expect("rules");
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}\n\
         rule_files: [rules.yml]\nalerting: {{webhooks: [{{url: 'http://{hook}/hook'}}]}}\n\
         scrape_configs:\n- job_name: tiny\n  static_configs: [{{targets: ['{address}']}}]\n"
    );
    let server = Server::start(folder.path(), &config, &[]).await;
    server.wait_for("job:broken:max == 0", |r| !r.is_empty()).await;
    let state = async || {
        let answer = server.api("rules", &[("type", "alert")]).await;
        answer["data"]["groups"][0]["rules"][0]["state"]
            .as_str()
            .unwrap_or("")
            .to_owned()
    };
    assert_eq!(state().await, "inactive");
    service.broken.store(true, Ordering::SeqCst);
    wait_until(async || state().await == "pending").await;
    server
        .wait_for("ALERTS{alertstate=\"pending\"}", |r| !r.is_empty())
        .await;
    let firing = received.recv().await.expect("firing");
    assert_eq!(firing["alerts"][0]["labels"]["alertname"], "Broken");
    assert_eq!(firing["alerts"][0]["annotations"]["summary"], "tiny is at 1");
    assert_eq!(firing["status"], "firing");
    let link = firing["alerts"][0]["generatorURL"].as_str().expect("a link");
    let (_, path) = link
        .trim_start_matches("http://")
        .split_once('/')
        .expect("a path");
    assert_eq!(path, "graph?g0.expr=job%3Abroken%3Amax+%3D%3D+1&g0.tab=1");
    assert_eq!(state().await, "firing");
    service.broken.store(false, Ordering::SeqCst);
    let resolved = received.recv().await.expect("resolved");
    assert_eq!(resolved["status"], "resolved");
    wait_until(async || state().await == "inactive").await;
}

async fn wait_until(mut condition: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !condition().await {
        assert!(begin.elapsed() < PATIENCE, "the condition does not come true");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
