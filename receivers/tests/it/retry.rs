//! What is tried again, what it is counted under, and how it is told: the reference's rows, one attempt each. How often
//! and when is tried again is the same for all (see `deliver`).

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;
use model::labels::Labels;
use narthex_receivers::{
    Alert, Failure, Global, Integration, Memory, Notification, NotifyReason, ReceiverConfig, Templates,
    build, deliver,
};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::capture::{Answer, Capture};
use crate::certificates::Certificates;
use crate::compare::is_alike;
use crate::mailbox::Silent;
use crate::surroundings::setup;

/// How long an attempt may take, and how long where nothing will come.
const PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE_WITH_THE_SILENT: Duration = Duration::from_millis(100);
/// A receiver's own limit, where a row has one.
const LIMIT: &str = "150ms";

/// Rows whose words are not ours: the name of what is no HTTP, what a proxy's failure is called, and Telegram's token,
/// which we do not tell.
fn is_told_otherwise(kind: &str, scenario: &str) -> bool {
    let by_proxy = matches!(kind, "pagerduty-v1" | "pushover");
    scenario == "answer is no HTTP"
        || (by_proxy && scenario == "connection refused")
        || (kind == "telegram" && scenario.starts_with("connection"))
        || (kind == "sns" && scenario.starts_with("connection"))
        || (kind == "pagerduty-v1" && scenario.contains("timeout"))
        || (kind == "pagerduty" && scenario.contains("timeout"))
}

/// The receiver's section; `server` is where it is.
fn section(kind: &str, server: &str) -> String {
    let proxied =
        format!("http_config: {{proxy_url: 'http://{server}', tls_config: {{insecure_skip_verify: true}}}}");
    match kind {
        "webhook" => format!("webhook_configs: [{{url: 'http://{server}/hook'}}]"),
        "slack" => format!("slack_configs: [{{api_url: 'http://{server}/slack', channel: c}}]"),
        "pagerduty" => format!("pagerduty_configs: [{{url: 'http://{server}/pagerduty', routing_key: k}}]"),
        "pagerduty-v1" => format!("pagerduty_configs: [{{service_key: k, {proxied}}}]"),
        "incidentio" => format!("incidentio_configs: [{{url: 'http://{server}/i', alert_source_token: t}}]"),
        "opsgenie" => format!("opsgenie_configs: [{{api_url: 'http://{server}/opsgenie', api_key: k}}]"),
        "victorops" => {
            format!("victorops_configs: [{{api_url: 'http://{server}/v', api_key: k, routing_key: r}}]")
        }
        "pushover" => format!("pushover_configs: [{{user_key: u, token: t, {proxied}}}]"),
        "telegram" => {
            format!("telegram_configs: [{{api_url: 'http://{server}/telegram', bot_token: t, chat_id: 1}}]")
        }
        "discord" | "msteams" | "msteamsv2" | "mattermost" => {
            format!("{kind}_configs: [{{webhook_url: 'http://{server}/w'}}]")
        }
        "webex" => format!(
            "webex_configs: [{{api_url: 'http://{server}/w', room_id: r, http_config: {{authorization: {{credentials: c}}}}}}]"
        ),
        "sns" => format!(
            "sns_configs: [{{api_url: 'http://{server}/sns', topic_arn: t, sigv4: {{region: r, access_key: a, secret_key: s}}}}]"
        ),
        "jira" => format!("jira_configs: [{{api_url: 'http://{server}/jira', project: P, issue_type: Bug}}]"),
        "wechat" => format!("wechat_configs: [{{api_url: 'http://{server}/w', api_secret: s, corp_id: c}}]"),
        "rocketchat" => {
            format!("rocketchat_configs: [{{api_url: 'http://{server}/r', token: t, token_id: i}}]")
        }
        "email" => {
            format!(
                "email_configs: [{{to: a@example.org, from: b@example.org, smarthost: '{server}', require_tls: false}}]"
            )
        }
        other => panic!("no section for {other}"),
    }
}

fn integration(kind: &str, server: &str, limit: Option<&str>) -> Integration {
    let mut section = section(kind, server);
    if let Some(limit) = limit {
        section = section.replacen("[{", &format!("[{{timeout: {limit}, "), 1);
    }
    let text = format!("{{name: {kind}, {section}}}");
    let document = yaml::parse("receiver.yml", &text).expect("YAML");
    let config = ReceiverConfig::read(document.root(), &Global::default()).expect("a receiver");
    static TEMPLATES: LazyLock<Templates> = LazyLock::new(|| Templates::new("http://am.example.org"));
    let built = build(&config, &setup(TEMPLATES.clone()));
    built.expect("an integration").remove(0)
}

fn notification(receiver: &str) -> Notification {
    Notification {
        receiver: receiver.to_owned(),
        group_key: "{}:{alertname=\"A\"}".to_owned(),
        group_labels: Labels::from_pairs([("alertname", "A")]),
        route_labels: BTreeMap::new(),
        alerts: Arc::new(vec![Alert {
            labels: Labels::from_pairs([("alertname", "A")]),
            annotations: BTreeMap::new(),
            starts_at: Timestamp::UNIX_EPOCH,
            ends_at: None,
            generator_url: String::new(),
        }]),
        reason: NotifyReason::First,
        now: Timestamp::now(),
        repeat_interval: Duration::from_secs(3600),
    }
}

/// One attempt, as told by whoever gives up after it.
async fn attempt(integration: &Integration, patience: Duration) -> (Failure, String) {
    let stop = CancellationToken::new();
    let after_the_first = stop.clone();
    let mut memory = Memory::new();
    let undelivered = deliver(
        integration,
        &notification(integration.receiver()),
        &mut memory,
        Instant::now() + patience,
        &stop,
        &mut |_| after_the_first.cancel(),
    )
    .await
    .expect_err("a failure");
    let told = undelivered.to_string();
    (undelivered.failure, told)
}

/// The server of a scenario; the address of one that is not there for `None`.
fn answer(row: &Value, rows: &Value) -> Option<Answer> {
    let scenario = row["scenario"].as_str().expect("a scenario");
    if let Ok(status) = scenario.parse::<u64>() {
        let body = if row["type"] == "telegram" {
            json!({
                "ok": false,
                "error_code": status,
                "description": "Bad Request: why",
                "parameters": if status == 429 { json!({"retry_after": 7}) } else { Value::Null },
            })
            .to_string()
        } else {
            rows["answer_body"].as_str().map_or_else(
                || r#"{"error": "why", "message": "because", "errors": ["e1", "e2"]}"#.to_owned(),
                str::to_owned,
            )
        };
        // An answer of this status has no body.
        let body = if status == 304 { String::new() } else { body };
        return Some(Answer::rules(&json!([
            // The message is what is refused, not the token before it.
            {"path": "gettoken", "json": {"access_token": "t"}},
            {"status": status, "body": body},
        ])));
    }
    match scenario {
        "no answer" | "no answer, timeout: 1s" => Some(Answer::Silence),
        "connection closed" => Some(Answer::Close),
        "answer is no HTTP" => Some(Answer::Nonsense),
        "connection refused" => None,
        other => panic!("no server for {other}"),
    }
}

async fn check(row: Value, rows: Arc<Value>, certificates: Arc<Certificates>) -> Option<String> {
    let kind = row["type"].as_str().expect("a type");
    let scenario = row["scenario"].as_str().expect("a scenario");
    let is_mail = kind == "email";
    let (_capture, _silent, server) = match answer(&row, &rows) {
        None => (None, None, "127.0.0.1:1".to_owned()),
        Some(_) if is_mail => {
            let silent = Silent::start().await;
            let server = format!("127.0.0.1:{}", silent.port);
            (None, Some(silent), server)
        }
        Some(answer) => {
            let capture = Capture::start(answer, certificates.acceptor.clone()).await;
            let server = capture.address.clone();
            (Some(capture), None, server)
        }
    };
    let limit = scenario.contains("timeout").then_some(LIMIT);
    // What hangs is not seen to be tried again: its one attempt lasts to the end.
    let hangs = scenario == "no answer";
    let patience = if hangs { PATIENCE_WITH_THE_SILENT } else { PATIENCE };
    let (failure, told) = attempt(&integration(kind, &server, limit), patience).await;
    let at = format!("{kind}, {scenario}: {told}");
    let again = if hangs {
        row["gave_up_at_once"] == false
    } else {
        row["tried_again"] == true
    };
    let is_final_at_the_end = hangs && kind == "jira";
    if failure.retry != (again && !is_final_at_the_end) {
        return Some(format!("{at}\n  tried again: {}", failure.retry));
    }
    // Two kinds hang for ever in the reference; ours end with the deadline.
    let reasons = row["reason"].as_array().expect("reasons");
    let reason = reasons
        .first()
        .and_then(Value::as_str)
        .unwrap_or("contextDeadlineExceeded");
    if failure.reason.to_string() != reason {
        return Some(format!("{at}\n  counted as {}, not {reason}", failure.reason));
    }
    let expected = row["error"].as_str()?;
    if is_told_otherwise(kind, scenario) {
        return None;
    }
    let expected = expected
        .replace("${RECEIVER}", kind)
        .replace("after N attempts", "after 1 attempts")
        .replace("${HTTP}", &server)
        .replace("(1s)", &format!("({LIMIT})"));

    (!is_alike(&expected, &told))
        .then(|| format!("{kind}, {scenario}\n  expected {expected}\n  told     {told}"))
}

#[tokio::test]
async fn what_is_tried_again_is_what_the_reference_tries_again() {
    let Some(file) = testkit::conformance("notify/receivers/retry.json") else {
        return;
    };
    let rows: Value = serde_json::from_slice(&std::fs::read(file).expect("file")).expect("JSON");
    let rows = Arc::new(rows);
    let certificates = Arc::new(Certificates::new());
    let each = rows["rows"].as_array().expect("rows").iter();
    let checks = each.map(|row| check(row.clone(), rows.clone(), certificates.clone()));
    let checks: Vec<_> = checks.map(tokio::spawn).collect();
    let count = checks.len();
    let mut differences = Vec::new();
    for check in checks {
        differences.extend(check.await.expect("a check"));
    }
    println!("{count} rows");
    assert!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_counts_by_its_status() {
    let certificates = Certificates::new();
    let capture = Capture::start(Answer::Torn("ok"), certificates.acceptor.clone()).await;
    let mut memory = Memory::new();
    let outcome = deliver(
        &integration("webhook", &capture.address, None),
        &notification("webhook"),
        &mut memory,
        Instant::now() + PATIENCE,
        &CancellationToken::new(),
        &mut |_| {},
    )
    .await;
    assert_eq!(outcome, Ok(1));
    assert_eq!(capture.count(), 1);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_read_again_by_who_reads_it() {
    let certificates = Certificates::new();
    for body in ["", "ok", "abc", "{\"ok\": true, \"success\": true"] {
        for kind in ["slack", "rocketchat", "telegram", "jira", "wechat"] {
            let capture = Capture::start(Answer::Torn(body), certificates.acceptor.clone()).await;
            let (failure, told) = attempt(&integration(kind, &capture.address, None), PATIENCE).await;
            assert!(failure.retry, "{kind}, {body:?}: {told}");
            assert!(
                told.contains("could not read response body: unexpected EOF"),
                "{kind}, {body:?}: {told}"
            );
        }
    }
}
