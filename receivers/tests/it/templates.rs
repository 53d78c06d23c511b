//! Files of templates, and labels of routes that refer to each other.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use model::labels::Labels;
use narthex_receivers::{Alert, Notification, NotifyReason, Templates};

fn notification() -> Notification {
    Notification {
        receiver: "a.b".to_owned(),
        group_key: "{}:{}".to_owned(),
        group_labels: Labels::from_pairs([("team", "db")]),
        route_labels: BTreeMap::new(),
        alerts: Arc::new(vec![Alert {
            labels: Labels::from_pairs([("alertname", "A"), ("team", "db")]),
            annotations: BTreeMap::new(),
            starts_at: Timestamp::UNIX_EPOCH,
            ends_at: None,
            generator_url: String::new(),
        }]),
        reason: NotifyReason::First,
        now: Timestamp::UNIX_EPOCH,
        repeat_interval: Duration::from_secs(3600),
    }
}

#[test]
fn files_are_found_by_patterns_and_what_is_wrong_with_one_is_said() {
    let folder = tempfile::tempdir().expect("folder");
    let pattern = folder.path().join("*.tmpl");
    let load = |pattern: &PathBuf| Templates::load(std::slice::from_ref(pattern), "http://am.example.org");
    // A pattern that names nothing yet may name something later.
    assert!(load(&pattern).expect("no file").files().is_empty());
    std::fs::write(folder.path().join("own.tmpl"), "{{ define \"own\" }}x{{ end }}").expect("file");
    assert_eq!(load(&pattern).expect("a file").files().len(), 1);
    std::fs::write(folder.path().join("zbad.tmpl"), "\n{{ nope }}").expect("file");
    let error = load(&pattern).err().expect("no template");
    assert_eq!(
        error.to_string(),
        "template: zbad.tmpl:2: function \"nope\" not defined"
    );
    let malformed = folder.path().join("[");
    let error = load(&malformed).err().expect("no pattern");
    assert!(error.to_string().ends_with("syntax error in pattern"), "{error}");
}

#[test]
fn labels_of_a_route_may_refer_to_each_other_but_not_in_a_circle() {
    let raw: BTreeMap<String, String> = [
        ("plain", "ops"),
        ("empty", ""),
        ("of", "{{ routeLabels \"plain\" }}-{{ .GroupLabels.team }}"),
        ("of_of", "<{{ routeLabels \"of\" }}>{{ routeLabels \"nobody\" }}"),
        ("a", "{{ routeLabels \"b\" }}"),
        ("b", "{{ routeLabels \"a\" }}"),
        ("broken", "{{ .Nope }}"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    let templates = Templates::new("http://am.example.org");
    let data = templates.data(&notification());
    let (rendered, failed) = templates.route_labels(&raw, data, Timestamp::UNIX_EPOCH);
    let rendered: Vec<(&str, &str)> = rendered
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        rendered,
        [
            ("empty", ""),
            ("of", "ops-db"),
            ("of_of", "<ops-db>"),
            ("plain", "ops")
        ]
    );
    let names: Vec<&str> = failed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "b", "broken"]);
    assert!(
        failed[0].1.contains("route label cycle detected: a -> b -> a"),
        "{}",
        failed[0].1
    );
    assert!(
        failed[2].1.contains("can't evaluate field Nope"),
        "{}",
        failed[2].1
    );
}

#[test]
fn templates_see_the_receiver_as_a_pattern() {
    let templates = Templates::new("http://am.example.org");
    assert_eq!(templates.data(&notification()).receiver, r"a\.b");
}
