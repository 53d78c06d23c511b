//! Metrics against the reference's: names, types, labels.

use std::collections::{BTreeMap, BTreeSet};

use metrics::{Kind, Registry};
use model::labels::Labels;
use narthex_notify::matcher::MatchOp;
use narthex_notify::{PostedAlert, PostedMatcher, PostedSilence};
use serde_json::Value;

use crate::sim::{Sim, files};

/// Families that are about the server around it.
const OF_THE_SERVER: [&str; 3] = [
    "alertmanager_http_",
    "alertmanager_build_info",
    "alertmanager_config_hash",
];

#[tokio::test(start_paused = true)]
async fn metrics_have_the_references_names() {
    let Some(path) = testkit::conformance("notify/api/metrics.json") else {
        return;
    };
    let sequence: Value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("sequence")).expect("JSON");
    let steps = sequence["steps"].as_array().expect("steps");
    let expected = steps
        .iter()
        .find_map(|step| step["metric_names"].as_object())
        .expect("names");
    let (sim, registry) = (Sim::new(), Registry::new());
    let server = sim.open(&files(), &registry);
    sim.configure(&server, "route: {receiver: a}\nreceivers: [{name: a}]\n")
        .expect("good");
    let alert = PostedAlert {
        labels: Labels::from_pairs([("a", "b")]),
        ..PostedAlert::default()
    };
    let silence = PostedSilence {
        matchers: vec![PostedMatcher {
            name: "a".to_owned(),
            op: MatchOp::Equal,
            value: "b".to_owned(),
        }],
        ends_at: Some(jiff::Timestamp::MAX),
        ..PostedSilence::default()
    };
    server.put_silence(silence, None).await.expect("good");
    server.post(vec![alert]).expect("good");
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let mut found: BTreeMap<String, (&str, BTreeMap<String, BTreeSet<String>>)> = BTreeMap::new();
    registry.visit(|name, kind, _, samples| {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
        };
        let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (label, value) in samples.iter().flat_map(|(labels, _)| labels) {
            labels.entry(label.clone()).or_default().insert(value.clone());
        }
        found.insert(name.to_owned(), (kind, labels));
    });
    let mut wrong = Vec::new();
    for (name, what) in expected {
        if !name.starts_with("alertmanager_") || OF_THE_SERVER.iter().any(|other| name.starts_with(other)) {
            continue;
        }
        let Some((kind, labels)) = found.get(name) else {
            wrong.push(format!("{name} is missing"));
            continue;
        };
        if what["type"] != *kind {
            wrong.push(format!("{name} is a {kind}"));
        }
        let theirs: BTreeSet<&String> = what["labels"]
            .as_object()
            .into_iter()
            .flat_map(|l| l.keys())
            .collect();
        let ours: BTreeSet<&String> = labels.keys().collect();
        if theirs != ours {
            wrong.push(format!("{name} has labels {ours:?}, reference {theirs:?}"));
        }
    }
    let ours = found.keys().filter(|name| name.starts_with("alertmanager_"));
    wrong.extend(
        ours.filter(|name| !expected.contains_key(*name))
            .map(|name| format!("{name} is not the reference's")),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
