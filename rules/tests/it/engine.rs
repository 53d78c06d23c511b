//! Rules over the real engine and its store in memory.

use std::sync::Arc;
use std::time::Duration;

use metrics::Registry;
use model::labels::Labels;
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample};
use narthex_rules::{
    AlertOptions, EngineSource, Environment, Manager, QuerySource, RuleMetrics, Settings, Threads,
};
use promql::engine::{CancelHandle, Engine, EngineOptions};
use promql::script::MemoryStore;
use promql::value::SampleValue;

use crate::world::{RuntimeClock, START_MS, Sent};

const RULES: &str = "
groups:
- name: chain
  interval: 15s
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
  - record: job:up:sum_doubled
    expr: job:up:sum * 2
  - record: one
    expr: 1
  - alert: AllDown
    expr: job:up:sum == 0
    for: 1m
    annotations:
      summary: '{{ $labels.job }}: {{ with query \"count(up)\" }}{{ . | first | value }}{{ end }} targets'
";

/// Appends `up` of two instances of `job`, every 15 s for half an hour: up for ten minutes, down from then on.
fn fill(store: &MemoryStore, job: &str) {
    let mut batch = AppendBatch::default();
    for instance in ["1", "2"] {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", job), ("instance", instance)]);
        let series = store.resolve(&labels).unwrap();
        for step in -20..120 {
            batch.floats.push(FloatSample {
                series,
                timestamp_ms: START_MS + step * 15_000,
                value: if step < 40 { 1.0 } else { 0.0 },
            });
        }
    }
    store.append(&batch, &mut AppendOutcome::default()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn rules_build_on_each_other() {
    let store = Arc::new(MemoryStore::new());
    fill(&store, "api");
    let source = Arc::new(EngineSource {
        engine: Arc::new(Engine::new(EngineOptions::default())),
        storage: store.clone(),
        cancel: CancelHandle::new(),
    });
    let sent = Sent::default();
    let clock = Arc::new(RuntimeClock::new());
    let environment = Environment {
        source: source.clone(),
        appender: store.clone(),
        storage: store.clone(),
        sink: Arc::new(sent.clone()),
        clock: clock.clone(),
        metrics: Arc::new(RuleMetrics::new(&Registry::new())),
        options: AlertOptions::default(),
        recovery: None,
        concurrent_evaluations: None,
    };
    let manager = Manager::new(environment, Threads::current(), false);
    manager.start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yml");
    std::fs::write(&path, RULES).unwrap();
    let settings = Settings {
        patterns: vec![path.display().to_string()],
        interval_ms: 60_000,
        ..Settings::default()
    };
    manager.load(settings).await.unwrap();
    let query = |text: &str, at_ms| -> Vec<(String, f64)> {
        let asker = narthex_rules::Asker {
            file: "rules.yml",
            group: "g",
        };
        let samples = source.query_text(text, at_ms, asker).unwrap();
        let shown = samples.into_iter().map(|sample| match sample.value {
            SampleValue::Float(value) => (sample.labels.to_string(), value),
            SampleValue::Histogram(_) => panic!("a histogram"),
        });
        shown.collect()
    };

    tokio::time::sleep(Duration::from_secs(60)).await;
    let at_ms = START_MS + 60_000;
    assert_eq!(
        query("job:up:sum", at_ms),
        [(r#"{__name__="job:up:sum", job="api"}"#.to_owned(), 2.0)]
    );
    assert_eq!(query("one", at_ms), [(r#"{__name__="one"}"#.to_owned(), 1.0)]);
    // The second rule saw what the first had written just before, at the same time.
    let doubled = "timestamp(job:up:sum_doubled) == timestamp(job:up:sum) and job:up:sum_doubled == 4";
    assert_eq!(query(doubled, at_ms).len(), 1);
    assert!(manager.alerts().is_empty() && sent.take().is_empty());

    // Down since minute 10: pending, then firing a minute later.
    tokio::time::sleep(Duration::from_secs(570)).await;
    assert_eq!(manager.alerts().len(), 1);
    assert_eq!(
        query("ALERTS{alertstate=\"pending\"}", START_MS + 630_000).len(),
        1
    );
    tokio::time::sleep(Duration::from_secs(75)).await;
    let alert = sent.take().remove(0);
    assert_eq!(alert.annotations.value("summary"), "api: 2 targets");
    let firing = query("ALERTS", START_MS + 705_000);
    let labels = r#"{__name__="ALERTS", alertname="AllDown", alertstate="firing", job="api"}"#;
    assert_eq!(firing, [(labels.to_owned(), 1.0)]);
    manager.stop().await;
}
