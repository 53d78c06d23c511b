//! The Alertmanager as users run it: inside a server, and alone.

use std::net::TcpListener;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::harness::{Server, narthex, wait_until};

/// A receiver that nobody listens for.
const NOBODY: &str = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n";

fn signal(server: &Server, signal: Signal) {
    let pid = Pid::from_raw(server.pid() as i32).expect("a process");
    kill_process(pid, signal).expect("kill");
}

async fn get(server: &Server, path: &str) -> Value {
    let (status, body) = server.get(path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).expect("JSON")
}

async fn post(server: &Server, path: &str, body: &Value) -> (u16, String) {
    let request = super::harness::http_client().post(format!("{}{path}", server.url));
    let request = request
        .header("Content-Type", "application/json")
        .body(body.to_string());
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}

fn names(alerts: &Value) -> Vec<&str> {
    let alerts = alerts.as_array().expect("alerts").iter();
    alerts
        .filter_map(|alert| alert["labels"]["alertname"].as_str())
        .collect()
}

/// Takes one notification.
fn inbox() -> (String, std::thread::JoinHandle<Value>) {
    use std::io::{Read as _, Write as _};
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    let url = format!("http://{}/", listener.local_addr().expect("address"));
    let taking = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut text = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let read = stream.read(&mut buffer).expect("a request");
            text.extend_from_slice(&buffer[..read]);
            let whole = String::from_utf8_lossy(&text);
            let body = whole.split_once("\r\n\r\n").map(|(_, body)| body.trim_end());
            if let Some(Ok(body)) = body.map(serde_json::from_str) {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .expect("an answer");
                return body;
            }
        }
    });
    (url, taking)
}

#[tokio::test]
async fn rules_feed_the_one_inside_and_a_reload_turns_it_on_and_off() {
    let folder = tempfile::tempdir().expect("folder");
    let (url, notified) = inbox();
    let rules = "groups: [{name: g, interval: 1s, rules: [{alert: Always, expr: vector(1)}]}]\n";
    std::fs::write(folder.path().join("rules.yml"), rules).expect("rules");
    let without = "global: {external_labels: {site: a}}\nrule_files: [rules.yml]\n";
    let with = format!(
        "{without}alertmanager:\n  route: {{receiver: hook, group_wait: 0s}}\n  receivers: [{{name: hook, \
         webhook_configs: [{{url: '{url}'}}]}}]\n"
    );
    let server = Server::start(folder.path(), &with, &[]).await;
    let told = tokio::task::spawn_blocking(|| notified.join().expect("told"))
        .await
        .expect("told");
    assert_eq!(
        told["alerts"][0]["labels"],
        json!({"alertname": "Always", "site": "a"})
    );
    assert_eq!(told["receiver"], "hook");
    for path in ["/api/v2/alerts", "/alertmanager/api/v2/alerts"] {
        assert_eq!(names(&get(&server, path).await), ["Always"]);
    }
    assert!(
        server.log().contains("receivers=\"hook (webhook)\""),
        "{}",
        server.log()
    );
    let (_, metrics) = server.get("/metrics").await;
    assert!(metrics.contains("alertmanager_receivers 1"), "{metrics}");
    assert!(folder.path().join("data/alertmanager").is_dir());

    std::fs::write(folder.path().join("narthex.yml"), format!("{with}  nosuch: 1\n")).expect("file");
    let (status, error) = post(&server, "/-/reload", &Value::Null).await;
    assert_eq!(status, 500);
    assert!(error.contains("field nosuch not found"), "{error}");
    assert_eq!(names(&get(&server, "/api/v2/alerts").await), ["Always"]);

    std::fs::write(folder.path().join("narthex.yml"), without).expect("file");
    assert_eq!(post(&server, "/-/reload", &Value::Null).await.0, 200);
    assert_eq!(server.get("/api/v2/alerts").await.0, 404);
    std::fs::write(folder.path().join("narthex.yml"), &with).expect("file");
    assert_eq!(post(&server, "/-/reload", &Value::Null).await.0, 200);
    wait_until("told again of the alert", async || {
        names(&get(&server, "/api/v2/alerts").await) == ["Always"]
    })
    .await;
}

#[test]
fn it_is_configured_in_one_place() {
    let folder = tempfile::tempdir().expect("folder");
    let config = format!("alertmanager: {{{}}}\n", NOBODY.trim().replace('\n', ", "));
    std::fs::write(folder.path().join("p.yml"), config).expect("file");
    std::fs::write(folder.path().join("am.yml"), NOBODY).expect("file");
    let args = ["--config.file=p.yml", "--alertmanager.config.file=am.yml"];
    let output = narthex(&args, folder.path(), b"");
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        error.contains("p.yml:1:15: the Alertmanager is configured here and in a file of its own"),
        "{error}"
    );
}

#[tokio::test]
async fn alone_it_follows_signals_and_forgets_no_silence() {
    let folder = tempfile::tempdir().expect("folder");
    let mut server = Server::start_alertmanager(folder.path(), NOBODY, &[]).await;
    let silence = json!({
        "matchers": [{"name": "alertname", "value": "A", "isRegex": false}],
        "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2096-01-01T00:00:00Z", "createdBy": "me", "comment": "c",
    });
    let (status, made) = post(&server, "/api/v2/silences", &silence).await;
    assert_eq!(status, 200, "{made}");
    // What was answered survives a crash.
    server.kill();
    server.restart().await;
    assert_eq!(
        get(&server, "/api/v2/silences").await[0]["status"]["state"],
        "active"
    );

    std::fs::write(folder.path().join("am.yml"), NOBODY.replace("nobody", "other")).expect("file");
    signal(&server, Signal::HUP);
    wait_until("configured anew", async || {
        get(&server, "/api/v2/receivers").await[0]["name"] == "other"
    })
    .await;

    signal(&server, Signal::TERM);
    server.wait_for_end().await;
    // Only the reference's own files are left, as when it is swapped for ours.
    std::fs::remove_file(folder.path().join("data/silences.journal")).expect("journal");
    server.restart().await;
    assert_eq!(get(&server, "/api/v2/silences").await[0]["comment"], "c");
    let second = narthex(
        &[
            "alertmanager",
            "--config.file=am.yml",
            "--storage.path=data",
            "--web.listen-address=127.0.0.1:0",
        ],
        folder.path(),
        b"",
    );
    assert_eq!(second.status.code(), Some(1), "a second one on the same folder");
}

#[tokio::test]
async fn a_template_that_fails_is_told_of_and_keeps_nothing_back() {
    let folder = tempfile::tempdir().expect("folder");
    let (url, notified) = inbox();
    let config = format!(
        "route: {{receiver: team, group_wait: 0s}}\nreceivers:\n- name: team\n  webhook_configs:\n  - url: '{url}'\n    \
         payload: {{text: '{{{{ index .Alerts 7 }}}}'}}\n"
    );
    std::fs::write(folder.path().join("am.yml"), &config).expect("file");
    let checked = narthex(&["check", "alertmanager", "am.yml"], folder.path(), b"");
    assert_eq!(checked.status.code(), Some(0));
    let warned = String::from_utf8_lossy(&checked.stderr).into_owned();
    let said = "narthex: warning: am.yml: receiver \"team\": webhook_configs[0].payload.text fails with a firing alert: ";
    assert!(warned.starts_with(said), "{warned}");
    let server = Server::start_alertmanager(folder.path(), &config, &[]).await;
    assert!(
        server.log().contains("field=webhook_configs[0].payload.text"),
        "{}",
        server.log()
    );
    let alerts = json!([{"labels": {"alertname": "Down"}}]);
    assert_eq!(post(&server, "/api/v2/alerts", &alerts).await.0, 200);
    let told = tokio::task::spawn_blocking(|| notified.join().expect("told"))
        .await
        .expect("told");
    let text = told["text"].as_str().expect("a text");
    assert!(text.starts_with("(FIRING:1)"), "{text}");
    assert!(
        text.contains("index out of range: 7") && text.contains("alertname = Down"),
        "{text}"
    );
    let asked = "/api/v2/history?kind=notification&limit=1";
    wait_until("it is in the history", async || {
        let history = get(&server, asked).await;
        let error = history["events"][0]["templateError"]
            .as_str()
            .unwrap_or("")
            .to_owned();
        error.contains("index out of range: 7") && history["events"][0]["result"] == "sent"
    })
    .await;
    let (_, metrics) = server.get("/metrics").await;
    let counted = "narthex_alertmanager_notification_template_failures_total{integration=\"webhook\",receiver=\"team\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn a_receiver_is_tried_by_the_server_that_has_it() {
    let folder = tempfile::tempdir().expect("folder");
    let (url, notified) = inbox();
    let config = format!(
        "route: {{receiver: nobody}}\nreceivers:\n- name: nobody\n- name: team\n  webhook_configs: [{{url: '{url}'}}]\n- name: gone\n  \
         webhook_configs: [{{url: 'http://127.0.0.1:1/'}}]\n"
    );
    let server = Server::start_alertmanager(folder.path(), &config, &[]).await;
    let url = format!("--alertmanager.url={}", server.url);
    let run = |args: &[&str]| {
        let all = [&["alert", url.as_str(), "preview"], args].concat();
        let output = narthex(&all, folder.path(), b"");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let (code, page) = run(&["--receiver=team"]);
    assert_eq!(code, Some(0), "{page}");
    assert!(
        page.starts_with("team/webhook[0]:\n  POST <redacted> application/json\n    {\"receiver\":\"team\""),
        "{page}"
    );
    let (code, sent) = run(&["--receiver=team", "--sample=several", "--send"]);
    assert_eq!(code, Some(0), "{sent}");
    assert!(sent.starts_with("team/webhook[0]: sent, "), "{sent}");
    let told = tokio::task::spawn_blocking(|| notified.join().expect("told"))
        .await
        .expect("told");
    assert_eq!(told["alerts"].as_array().map(Vec::len), Some(3));
    let (code, failed) = run(&["--receiver=gone", "--send"]);
    assert_eq!(code, Some(1));
    assert!(
        failed.contains("gone/webhook[0]: FAILED, ") && failed.contains("(would be tried again)"),
        "{failed}"
    );
    let history = get(&server, "/api/v2/history?kind=notification").await;
    assert_eq!(history["events"], json!([]), "a trial is no notification");
}

#[test]
fn configuration_files_get_the_references_verdict() {
    let Some(folder) = testkit::conformance("") else {
        return;
    };
    let verdicts = std::fs::read_to_string(folder.join("verdicts.jsonl")).expect("verdicts");
    let mut checked = 0;
    for line in verdicts.lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        if case["check"] != "amtool check-config" {
            continue;
        }
        checked += 1;
        let want = |key: &str| case[key].as_str().expect("a text");
        check_one(&folder, want("file"), want("stdout"), case["exit"] == 0);
    }
    assert!(checked >= 40, "{checked}");
}

#[test]
fn files_of_a_transcript_get_the_same_verdict() {
    let Some(file) = testkit::conformance("notify/amtool/check-config.json") else {
        return;
    };
    let text = std::fs::read_to_string(file).expect("transcript");
    let transcript: Value = serde_json::from_str(&text).expect("JSON");
    let folder = tempfile::tempdir().expect("folder");
    for (name, text) in transcript["files"].as_object().expect("files") {
        std::fs::write(folder.path().join(name), text.as_str().expect("a text")).expect("file");
    }
    let mut checked = 0;
    for step in transcript["steps"].as_array().expect("steps") {
        let argv: Vec<&str> = step["argv"]
            .as_array()
            .expect("words")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let ["check-config", file] = argv[..] else {
            continue;
        };
        if transcript["files"][file].is_null() {
            continue;
        }
        checked += 1;
        check_one(
            folder.path(),
            file,
            step["stdout"].as_str().expect("a text"),
            step["exit"] == 0,
        );
    }
    assert!(checked >= 60, "{checked}");
}

fn check_one(folder: &Path, file: &str, stdout: &str, good: bool) {
    let output = narthex(&["check", "alertmanager", file], folder, b"");
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.success(), good, "{file}: {out}");
    // What is no YAML, or not of its type, is told in the words of our reader.
    if !stdout.contains("FAILED: yaml: ") {
        assert_eq!(out, stdout, "{file}");
    }
}
