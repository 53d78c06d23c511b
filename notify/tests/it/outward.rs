//! Alerts that really go out, to receivers that really listen.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::routing::post;
use model::alert::{Alert, AlertSink};
use model::clock::ManualClock;
use model::labels::{Labels, NameScheme};
use narthex_notify::{AlertingConfig, Notifier, NotifierOptions, discovery_key};
use serde_json::{Value, json};
use tokio::sync::mpsc;

const NOW_MS: i64 = 1_795_406_431_560;

/// A server that hands on what is posted to it.
async fn receiver() -> (String, mpsc::UnboundedReceiver<Value>) {
    let (sender, received) = mpsc::unbounded_channel();
    let take = move |Json(body): Json<Value>| async move { drop(sender.send(body)) };
    let app = axum::Router::new()
        .route("/hook", post(take.clone()))
        .route("/am/api/v2/alerts", post(take));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = listener.local_addr().expect("address").to_string();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, received)
}

fn notifier(clock: &Arc<ManualClock>, queue_capacity: usize) -> Notifier {
    Notifier::new(NotifierOptions {
        queue_capacity,
        batch_size: 256,
        drain_on_shutdown: true,
        external_url: "http://narthex.example".into(),
        user_agent: "Narthex/test".into(),
        clock: clock.clone(),
        supervisor: supervise::Supervisor::new(&metrics::Registry::new()),
        inside: None,
    })
}

fn config(text: &str) -> AlertingConfig {
    let document = yaml::parse("alerting.yml", text).expect("YAML");
    AlertingConfig::read(document.root(), NameScheme::Utf8).expect("valid")
}

fn configure(notifier: &Notifier, text: &str) {
    let config = config(text);
    let labels = Labels::from_pairs([("region", "eu"), ("severity", "ignored")]);
    notifier.apply(notifier.prepare(&config, &labels).expect("clients"));
    let mut jobs = BTreeMap::new();
    for (index, am) in config.alertmanagers.iter().enumerate() {
        jobs.insert(discovery_key(index), am.discovery.clone());
    }
    let metrics = discovery::Metrics::new(&metrics::Registry::new());
    let context = discovery::Context::new("Narthex/test", metrics);
    let mut discovery = discovery::Manager::new(discovery::NOTIFY, context);
    let prepared = discovery.prepare(jobs).expect("prepared");
    discovery.apply(prepared);
    notifier.update(&discovery.subscribe().borrow());
}

fn alert(name: &str, ends_at_ms: i64) -> Alert {
    Alert {
        labels: Labels::from_pairs([("alertname", name), ("severity", "page")]),
        annotations: Labels::from_pairs([("summary", "it is slow")]),
        starts_at_ms: NOW_MS - 60_000,
        ends_at_ms,
        generator_url: "http://narthex.example/graph".into(),
    }
}

#[tokio::test]
async fn alertmanagers_get_the_alerts_with_external_labels() {
    let (address, mut received) = receiver().await;
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let notifier = notifier(&clock, 100);
    let text = format!(
        "alert_relabel_configs: [{{regex: noise, action: drop, source_labels: [alertname]}}]\n\
         alertmanagers:\n- path_prefix: /am/\n  static_configs: [{{targets: ['{address}', 'gone:1']}}]\n  \
         relabel_configs: [{{source_labels: [__address__], regex: 'gone:1', action: drop}}]\n"
    );
    configure(&notifier, &text);
    let targets = notifier.alertmanagers();
    assert_eq!(targets.active, [format!("http://{address}/am/api/v2/alerts")]);
    assert_eq!(targets.dropped, ["http://gone:1/am/api/v2/alerts"]);
    notifier.send(vec![alert("Slow", NOW_MS + 240_000), alert("noise", NOW_MS + 1)]);
    let expected = json!([{
        "labels": {"alertname": "Slow", "region": "eu", "severity": "page"},
        "annotations": {"summary": "it is slow"},
        "startsAt": "2026-11-23T03:59:31.560Z",
        "endsAt": "2026-11-23T04:04:31.560Z",
        "generatorURL": "http://narthex.example/graph",
    }]);
    let body = received.recv().await.expect("a request");
    assert_eq!(body, expected);
    notifier.stop().await;
}

#[tokio::test]
async fn webhooks_are_told_each_change_once() {
    let (address, mut received) = receiver().await;
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let notifier = notifier(&clock, 100);
    configure(
        &notifier,
        &format!("webhooks: [{{url: 'http://{address}/hook'}}]"),
    );
    notifier.send(vec![alert("Slow", NOW_MS + 240_000)]);
    let body = received.recv().await.expect("firing");
    assert_eq!(
        (&body["status"], &body["version"]),
        (&json!("firing"), &json!("4"))
    );
    assert_eq!(body["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");
    assert_eq!(body["commonLabels"]["region"], "eu");
    // Said again while nothing changed, then resolved, then said again.
    notifier.send(vec![alert("Slow", NOW_MS + 300_000)]);
    clock.set(NOW_MS + 10_000);
    notifier.send(vec![alert("Slow", NOW_MS + 5_000)]);
    let body = received.recv().await.expect("resolved");
    assert_eq!(body["status"], "resolved");
    assert_eq!(body["alerts"][0]["endsAt"], "2026-11-23T04:00:36.560Z");
    notifier.send(vec![alert("Slow", NOW_MS + 5_000)]);
    notifier.stop().await;
    assert!(received.try_recv().is_err(), "a change must be told once");
}

#[tokio::test]
async fn a_full_queue_keeps_the_newest() {
    let (address, mut received) = receiver().await;
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let notifier = notifier(&clock, 1);
    let targets = format!("{{targets: ['127.0.0.1:1', '{address}']}}");
    configure(
        &notifier,
        &format!("alertmanagers: [{{path_prefix: am, static_configs: [{targets}]}}]"),
    );
    notifier.send(vec![alert("Slow", NOW_MS + 1), alert("Slower", NOW_MS + 1)]);
    let body = received.recv().await.expect("a request");
    assert_eq!(body[0]["labels"]["alertname"], "Slower");
    notifier.stop().await;
}

#[test]
fn broken_sections_are_refused() {
    for (text, message) in [
        (
            "alertmanagers: [{api_version: v1}]",
            "expected Alertmanager api version to be one of [v2] but got v1",
        ),
        (
            "alert_relabel_configs: [null]",
            "empty or null alert relabeling rule",
        ),
        (
            "alertmanagers: [{relabel_configs: [null]}]",
            "empty or null Alertmanager target relabeling rule",
        ),
        (
            "alertmanagers: [{static_configs: [{targets: ['http://bad']}]}]",
            "\"http://bad\" is not a valid hostname",
        ),
        (
            "webhooks: [{url: 'ftp://x'}]",
            "URL scheme must be 'http' or 'https'",
        ),
        ("webhooks: [{timeout: 5s}]", "url of the webhook is missing"),
    ] {
        let document = yaml::parse("alerting.yml", text).expect("YAML");
        let error = AlertingConfig::read(document.root(), NameScheme::Utf8).expect_err(text);
        assert_eq!(error.message(), message);
    }
}

/// A webhook that is not told what is resolved still learns that an alert fires anew.
#[tokio::test]
async fn webhooks_without_resolved_are_told_each_firing() {
    let (address, mut received) = receiver().await;
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let notifier = notifier(&clock, 100);
    configure(
        &notifier,
        &format!("webhooks: [{{url: 'http://{address}/hook', send_resolved: false}}]"),
    );
    for next in ["One", "Two"] {
        notifier.send(vec![alert("Slow", NOW_MS + 240_000)]);
        let body = received.recv().await.expect("firing");
        assert_eq!(body["commonLabels"]["alertname"], "Slow");
        notifier.send(vec![alert("Slow", NOW_MS - 5_000), alert(next, NOW_MS + 240_000)]);
        let body = received.recv().await.expect("firing");
        assert_eq!(body["commonLabels"]["alertname"], next);
    }
    notifier.stop().await;
    assert!(received.try_recv().is_err());
}
