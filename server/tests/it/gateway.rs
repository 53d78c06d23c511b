//! The push gateway inside a server, from outside: pushed over HTTP, scraped without it, kept over a kill.

use serde_json::Value;

use crate::harness::{Server, http_client, wait_until};

const CONFIG: &str = "
global: {scrape_interval: 100ms, scrape_timeout: 100ms}
";
const ON: &str = "--web.enable-push-gateway";

/// Pushes a text; gives status and body of the answer.
async fn push(server: &Server, method: &str, path: &str, body: &str) -> (u16, String) {
    let method = method.parse().expect("a method");
    let request = http_client().request(method, format!("{}{path}", server.url));
    let answer = request.body(body.to_owned()).send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}

fn labels(result: &[Value]) -> &Value {
    &result[0]["metric"]
}

#[tokio::test]
async fn what_is_pushed_is_stored_as_a_scrape_with_honor_labels_stores_it() {
    let folder = tempfile::tempdir().expect("folder");
    let mut server = Server::start(folder.path(), CONFIG, &[ON, "--web.enable-admin-api"]).await;
    let body = "# TYPE backup_seconds gauge\nbackup_seconds{disk=\"a\"} 17\n";
    let (code, text) = push(&server, "PUT", "/metrics/job/backup/zone/eu", body).await;
    assert_eq!(code, 200, "{text}");
    let (code, text) = push(&server, "PUT", "/metrics/job/probe/instance/db-1", "probe 1\n").await;
    assert_eq!(code, 200, "{text}");
    let found = server.wait_for("backup_seconds", |found| !found.is_empty()).await;
    // The empty label that the gateway adds is no label, and keeps the target's away.
    let expected =
        serde_json::json!({"__name__": "backup_seconds", "disk": "a", "job": "backup", "zone": "eu"});
    assert_eq!(*labels(&found), expected);
    let found = server.wait_for("probe", |found| !found.is_empty()).await;
    assert_eq!(labels(&found)["instance"], "db-1");
    let found = server
        .wait_for("up{job=\"pushgateway\"}", |found| !found.is_empty())
        .await;
    assert_eq!(
        (&labels(&found)["instance"], &found[0]["value"][1]),
        (&"push-gateway".into(), &"1".into())
    );
    assert!(!server.query("push_time_seconds{job=\"backup\"}").await.is_empty());
    // It is a target like others, and its metrics are not those of `/metrics`.
    let (_, targets) = server.get("/api/v1/targets").await;
    assert!(targets.contains("push-gateway"), "{targets}");
    let (_, own) = server.get("/metrics").await;
    assert!(
        own.contains("narthex_push_gateway_groups 2") && !own.contains("backup_seconds"),
        "{own}"
    );
    let (_, kept) = server.get("/api/v1/metrics").await;
    assert!(kept.contains("\"backup_seconds\""), "{kept}");

    server.kill();
    server.restart().await;
    let (_, kept) = server.get("/api/v1/metrics").await;
    assert!(
        kept.contains("\"backup_seconds\"") && kept.contains("\"probe\""),
        "{kept}"
    );
    // What is deleted ends at once.
    let (code, _) = push(&server, "DELETE", "/metrics/job/backup/zone/eu", "").await;
    assert_eq!(code, 202);
    server.wait_for("backup_seconds", <[Value]>::is_empty).await;
    let (code, _) = push(&server, "PUT", "/api/v1/admin/wipe", "").await;
    assert_eq!(code, 202);
    server.wait_for("probe", <[Value]>::is_empty).await;
}

#[tokio::test]
async fn a_push_says_how_long_it_is_to_live() {
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start(folder.path(), CONFIG, &[ON, "--push.max-groups=2"]).await;
    let (code, text) = push(&server, "POST", "/metrics/job/short?ttl=1s", "short 1\n").await;
    assert_eq!(code, 200, "{text}");
    let (code, text) = push(&server, "POST", "/metrics/job/bad?ttl=soon", "bad 1\n").await;
    assert_eq!(code, 400, "{text}");
    assert!(
        text.contains("invalid time to live \"soon\" in the parameter ttl"),
        "{text}"
    );
    let request = http_client().put(format!("{}/metrics/job/long", server.url));
    let answer = request
        .header("X-Push-TTL", "1h")
        .body("long 1\n")
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    let (code, text) = push(&server, "POST", "/metrics/job/third", "third 1\n").await;
    assert_eq!((code, text.contains("--push.max-groups")), (429, true), "{text}");
    wait_until("one group", async || {
        let (_, kept) = server.get("/api/v1/metrics").await;
        kept.contains("\"time_to_live\":\"1h\"") && !kept.contains("\"short\"")
    })
    .await;
}

#[tokio::test]
async fn a_job_of_the_configuration_may_scrape_the_gateway() {
    let config = "
global: {scrape_interval: 1h}
scrape_configs:
- job_name: pushed
  push_gateway: true
  scrape_interval: 100ms
  scrape_timeout: 100ms
  metric_relabel_configs: [{target_label: way, replacement: pushed}]
";
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start(folder.path(), config, &[ON]).await;
    push(&server, "PUT", "/metrics/job/a", "a 1\n").await;
    let found = server.wait_for("a", |found| !found.is_empty()).await;
    assert_eq!(labels(&found)["way"], "pushed");
    assert!(server.query("up{job=\"pushgateway\"}").await.is_empty());
}

#[tokio::test]
async fn a_gateway_that_is_off_says_how_it_is_switched_on() {
    let config = "
global: {scrape_interval: 100ms, scrape_timeout: 100ms}
scrape_configs: [{job_name: pushed, push_gateway: true}]
";
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start(folder.path(), config, &[]).await;
    let (code, text) = push(&server, "PUT", "/metrics/job/a", "a 1\n").await;
    assert_eq!((code, text.contains(ON)), (404, true), "{text}");
    let (code, _) = server.get("/metrics/job/a").await;
    assert_eq!(code, 404);
    let found = server
        .wait_for("up{job=\"pushed\"}", |found| !found.is_empty())
        .await;
    assert_eq!(found[0]["value"][1], "0");
    let (_, targets) = server.get("/api/v1/targets").await;
    assert!(
        targets.contains("start the server with --web.enable-push-gateway"),
        "{targets}"
    );
}
