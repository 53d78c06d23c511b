//! A reload puts all of a configuration in force, or nothing of it.

use serde_json::Value;

use crate::harness::{PATIENCE, Server, http_client, wait_until};

const BEFORE: &str = "
global: {external_labels: {region: before}}
rule_files: [before.yml]
scrape_configs:
- job_name: before
  static_configs: [{targets: ['127.0.0.1:1']}]
alerting:
  alertmanagers: [{static_configs: [{targets: ['127.0.0.1:2']}]}]
";

const AFTER: &str = "
global: {external_labels: {region: after}}
rule_files: [after.yml]
scrape_configs:
- job_name: after
  static_configs: [{targets: ['127.0.0.1:3']}]
alerting:
  alertmanagers: [{static_configs: [{targets: ['127.0.0.1:4']}]}]
";

async fn get(server: &Server, path: &str) -> Value {
    let answer = http_client()
        .get(format!("{}/api/v1/{path}", server.url))
        .timeout(PATIENCE)
        .send()
        .await
        .expect("an answer");
    let text = answer.text().await.expect("a body");
    serde_json::from_str::<Value>(&text).expect("JSON")["data"].take()
}

/// What each room has: the text of the configuration, names of rules, jobs of targets, addresses of Alertmanagers.
async fn in_force(server: &Server) -> [String; 4] {
    let config = get(server, "status/config").await["yaml"].to_string();
    let rules = get(server, "rules").await;
    let names = rules["groups"].as_array().expect("groups").iter();
    let names: Vec<String> = names.map(|group| group["name"].to_string()).collect();
    let targets = get(server, "targets").await;
    let jobs = targets["activeTargets"].as_array().expect("targets").iter();
    let jobs: Vec<String> = jobs.map(|target| target["labels"]["job"].to_string()).collect();
    let managers = get(server, "alertmanagers").await["activeAlertmanagers"].to_string();
    [config, names.join(","), jobs.join(","), managers]
}

async fn reload(server: &Server, config: &str) -> (u16, String) {
    std::fs::write(server.folder.join("narthex.yml"), config).expect("configuration");
    let answer = http_client()
        .post(format!("{}/-/reload", server.url))
        .send()
        .await
        .expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}

#[tokio::test]
async fn a_reload_is_all_or_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    for (name, expr) in [("before", "up"), ("after", "up"), ("broken", "up ==")] {
        let text = format!("groups: [{{name: {name}, rules: [{{record: r, expr: {expr}}}]}}]");
        std::fs::write(folder.path().join(format!("{name}.yml")), text).expect("rules");
    }
    let server = Server::start(folder.path(), BEFORE, &[]).await;
    wait_until("the first configuration is in force", async || {
        let [_, rules, jobs, managers] = in_force(&server).await;
        rules.contains("before") && jobs.contains("before") && managers.contains(":2/")
    })
    .await;
    let before = in_force(&server).await;
    let tls = "tls_config: {ca_file: nowhere.pem}";
    for (what, from, to) in [
        ("rules", "[after.yml]", "[after.yml, broken.yml]"),
        (
            "job_name",
            "- job_name: after",
            &format!("- job_name: after\n  {tls}"),
        ),
        (
            "failure log",
            "- job_name: after",
            "- job_name: after\n  scrape_failure_log_file: nowhere/log",
        ),
        (
            "alertmanagers",
            "alertmanagers: [{",
            &format!("alertmanagers: [{{{tls}, "),
        ),
        ("query log", "global: {", "global: {query_log_file: nowhere/log, "),
        ("configuration", "global: {", "global: {nonsense: 1, "),
    ] {
        let broken = AFTER.replace(from, to);
        assert_ne!(broken, AFTER, "{what}");
        let (status, text) = reload(&server, &broken).await;
        assert_eq!(status, 500, "{what}: {text}");
        assert_eq!(in_force(&server).await, before, "{what}: {text}");
    }
    assert_eq!(reload(&server, AFTER).await.0, 200, "{}", server.log());
    wait_until("the new configuration is in force", async || {
        let [config, rules, jobs, managers] = in_force(&server).await;
        config.contains("region: after")
            && rules == "\"after\""
            && jobs == "\"after\""
            && managers.contains(":4/")
            && !managers.contains(":2/")
    })
    .await;
}

#[tokio::test]
async fn what_discovery_cannot_do_is_shown_with_the_targets_while_it_lasts() {
    let folder = tempfile::tempdir().expect("folder");
    // A port that nobody listens on.
    let config = "scrape_configs:\n- job_name: cloud\n  ec2_sd_configs:\n  - {region: r, endpoint: 'http://127.0.0.1:1', access_key: a, secret_key: b}\n";
    let server = Server::start(folder.path(), config, &[]).await;
    wait_until("the error is shown", async || {
        get(&server, "targets").await["discoveryErrors"].is_array()
    })
    .await;
    let shown = get(&server, "targets").await["discoveryErrors"][0].take();
    assert_eq!(
        (&shown["scrapePool"], &shown["mechanism"]),
        (&"cloud".into(), &"ec2".into())
    );
    let error = shown["lastError"].as_str().expect("an error");
    assert!(
        error.contains("127.0.0.1:1: connect: connection refused"),
        "{error}"
    );
    assert!(
        shown["since"].as_str().is_some_and(|since| since.ends_with('Z')),
        "{shown}"
    );
    assert!(get(&server, "targets?scrapePool=other").await["discoveryErrors"].is_null());
    assert_eq!(reload(&server, "scrape_configs: []\n").await.0, 200);
    assert!(
        get(&server, "targets").await["discoveryErrors"].is_null(),
        "it is configured no more"
    );
}
