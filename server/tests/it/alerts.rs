//! Alerts and kills: what fires is never told as resolved, and never forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Json;
use axum::routing::{get, post};
use parking_lot::Mutex;
use serde_json::Value;

use crate::harness::{Server, wait_until};

/// Kills, and for how many milliseconds the server is gone then.
const ROUNDS: [u64; 6] = [0, 2_500, 100, 0, 1_500, 700];

/// What was told of each alert, in order: whether it is resolved, and its start.
type Told = Arc<Mutex<BTreeMap<String, Vec<(bool, String)>>>>;

async fn listen(app: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = listener.local_addr().expect("address").to_string();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn service(broken: Arc<AtomicBool>) -> String {
    let scrapes = Arc::new(AtomicU64::new(0));
    let metrics = move || {
        let count = scrapes.fetch_add(1, Ordering::SeqCst) + 1;
        let broken = u8::from(broken.load(Ordering::SeqCst));
        let body = format!("scrapes_total {count}\nbroken {broken}\n");
        async move { ([(http::header::CONTENT_TYPE, "text/plain; version=0.0.4")], body) }
    };
    listen(axum::Router::new().route("/metrics", get(metrics))).await
}

/// Takes what an Alertmanager would.
async fn alertmanager(told: Told) -> String {
    let hear = move |Json(alerts): Json<Vec<Value>>| {
        for alert in alerts {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let ends_at: jiff::Timestamp = text(&alert["endsAt"]).parse().expect("a time");
            let is_resolved = ends_at <= jiff::Timestamp::now();
            let name = text(&alert["labels"]["alertname"]);
            let heard = (is_resolved, text(&alert["startsAt"]));
            told.lock().entry(name).or_default().push(heard);
        }
        async {}
    };
    listen(axum::Router::new().route("/api/v2/alerts", post(hear))).await
}

/// Rates need two samples, which there are not at first after a start: `Busy` would be resolved by that.
const RULES: &str = "groups:\n- name: test\n  rules:\n  - {alert: Broken, expr: broken == 1, for: 1s}\n  \
                     - {alert: Busy, expr: 'rate(scrapes_total[2s]) > 0', for: 1s}\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_resolve_no_alert_and_forget_none() {
    let (broken, told) = (Arc::new(AtomicBool::new(true)), Told::default());
    let (address, alertmanager) = (service(broken.clone()).await, alertmanager(told.clone()).await);
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("rules.yml"), RULES).expect("rules");
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}\n\
         rule_files: [rules.yml]\nalerting: {{alertmanagers: [{{static_configs: [{{targets: ['{alertmanager}']}}]}}]}}\n\
         scrape_configs:\n- job_name: tiny\n  static_configs: [{{targets: ['{address}']}}]\n"
    );
    let flags = ["--rules.alert.resend-delay=300ms"];
    let mut server = Server::start(folder.path(), &config, &flags).await;
    let times_told = |alert: &str| told.lock().get(alert).map_or(0, Vec::len);
    for (round, gone_ms) in ROUNDS.into_iter().enumerate() {
        for alert in ["Broken", "Busy"] {
            let before = times_told(alert);
            wait_until("it is told again", async || times_told(alert) > before).await;
        }
        tokio::time::sleep(Duration::from_millis(round as u64 * 67 % 200)).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(gone_ms)).await;
        server.restart().await;
    }
    broken.store(false, Ordering::SeqCst);
    let is_resolved = || {
        told.lock()["Broken"]
            .last()
            .is_some_and(|(is_resolved, _)| *is_resolved)
    };
    wait_until("it is resolved", async || is_resolved()).await;
    for (alert, told) in told.lock().clone() {
        let starts: BTreeSet<&String> = told.iter().map(|(_, since)| since).collect();
        assert_eq!(starts.len(), 1, "{alert} has begun several times: {told:?}");
        let firing = told.iter().take_while(|(is_resolved, _)| !is_resolved).count();
        let rest = &told[firing..];
        assert!(alert == "Broken" || rest.is_empty(), "{alert}: {told:?}");
        assert!(
            rest.iter().all(|(is_resolved, _)| *is_resolved),
            "{alert}: {told:?}"
        );
    }
    let (_, metrics) = server.get("/metrics").await;
    assert!(
        metrics.contains("\nnarthex_rules_restored_alerts_total 2\n"),
        "{metrics}"
    );
}
