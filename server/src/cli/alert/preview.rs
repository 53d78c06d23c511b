//! `preview`: what a receiver of a server would send.

use serde_json::{Map, Value};

use super::client::Client;
use super::error::AlertError;
use super::line::Line;
use super::matchers::Words;
use super::print::Printer;
use crate::cli::render::out;

/// Shows what would be sent, or sends it.
pub(super) async fn run(line: &Line, words: &Words) -> Result<(), AlertError> {
    let matchers = words.with_alertname(line.args());
    let mut asked = Map::new();
    if !matchers.is_empty() {
        asked.insert("filter".to_owned(), matchers.into());
    }
    for flag in ["integration", "sample", "template"] {
        if let Some(text) = line.get(flag).filter(|text| !text.is_empty()) {
            asked.insert(flag.to_owned(), text.into());
        }
    }
    let (client, receiver, asked) = (
        Client::new(line).await?,
        line.text("receiver"),
        Value::Object(asked),
    );
    let printer = Printer::new(line);
    if line.is_on("send") {
        let trials = client.test_receiver(receiver, &asked).await?;
        if !printer.json_instead(&trials) {
            trials.iter().for_each(|trial| out(outcome(receiver, trial)));
        }
        let good = trials.iter().all(|trial| trial["error"].is_null());
        return if good { Ok(()) } else { Err(AlertError::Said) };
    }
    let preview = client.preview(receiver, &asked).await?;
    if !printer.json_instead(&preview) {
        out(shown(receiver, &preview));
    }
    if is_good(&preview) {
        Ok(())
    } else {
        Err(AlertError::Said)
    }
}

/// Whether all of it would be sent.
fn is_good(preview: &Value) -> bool {
    let integrations = preview["integrations"].as_array();
    let mut parts = integrations.into_iter().flatten().chain([preview]);
    parts.all(|part| part["error"].is_null())
}

/// What became of sending by an integration, on one line.
fn outcome(receiver: &str, trial: &Value) -> String {
    let text = |name: &str| trial[name].as_str().unwrap_or("");
    let (name, took_ms) = (format!("{receiver}/{}", text("integration")), &trial["tookMs"]);
    let defect = match trial["templateError"].as_str() {
        Some(error) => format!("; with the default text, since a template fails: {error}"),
        None => String::new(),
    };
    match (trial["error"].as_str(), trial["sent"].as_bool()) {
        (Some(error), _) if trial["retry"] == true => {
            format!("{name}: FAILED, {took_ms} ms (would be tried again): {error}")
        }
        (Some(error), _) => format!("{name}: FAILED, {took_ms} ms (would be given up): {error}"),
        (None, Some(true)) => format!("{name}: sent, {took_ms} ms{defect}"),
        (None, _) => format!("{name}: nothing sent, as it is not told of resolved alerts"),
    }
}

/// What would be sent, as a page.
fn shown(receiver: &str, preview: &Value) -> String {
    let mut lines = Vec::new();
    if let Some(text) = preview["text"].as_str() {
        lines.push(text.to_owned());
    } else if let Some(error) = preview["error"].as_str() {
        lines.push(format!("FAILED: {error}"));
    }
    for integration in preview["integrations"].as_array().into_iter().flatten() {
        let text = |name: &str| integration[name].as_str().unwrap_or("");
        lines.push(format!("{receiver}/{}:", text("integration")));
        for outgoing in integration["outgoing"].as_array().into_iter().flatten() {
            let text = |name: &str| outgoing[name].as_str().unwrap_or("");
            let (head, body) = match outgoing["kind"].as_str() {
                Some("mail") => (
                    format!("mail from {} to {}", text("from"), text("to")),
                    text("content"),
                ),
                _ => (
                    format!("{} {} {}", text("method"), text("url"), text("contentType")),
                    text("body"),
                ),
            };
            lines.push(format!("  {}", head.trim_end()));
            lines.extend(body.lines().map(|line| format!("    {line}")));
        }
        if let Some(error) = integration["templateError"].as_str() {
            lines.push(format!(
                "  a template fails, and the default text stands in its place: {error}"
            ));
        }
        if let Some(error) = integration["error"].as_str() {
            lines.push(format!("  FAILED: {error}"));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn previews_are_pages() {
        let preview = json!({"integrations": [
            {"integration": "slack[0]", "templateError": "no such template", "outgoing": [
                {"kind": "request", "method": "POST", "url": "<redacted>", "contentType": "application/json", "body": "{\n}"}]},
            {"integration": "email[0]", "error": "no address", "outgoing": [
                {"kind": "mail", "from": "a@x", "to": "b@x", "content": "Subject: c"}]},
        ]});
        let page = "team/slack[0]:\n  POST <redacted> application/json\n    {\n    }\n  a template fails, and the default text \
                    stands in its place: no such template\nteam/email[0]:\n  mail from a@x to b@x\n    Subject: c\n  \
                    FAILED: no address";
        assert_eq!(shown("team", &preview), page);
        assert_eq!(shown("team", &json!({"text": "a"})), "a");
        assert_eq!(shown("team", &json!({"error": "b"})), "FAILED: b");
        assert!(is_good(&json!({"text": "a"})) && !is_good(&json!({"error": "b"})) && !is_good(&preview));
        assert!(is_good(
            &json!({"integrations": [{"integration": "a[0]", "templateError": "c"}]})
        ));
    }

    #[test]
    fn outcomes_are_lines() {
        for (trial, line) in [
            (
                json!({"integration": "a[0]", "sent": true, "tookMs": 5}),
                "team/a[0]: sent, 5 ms",
            ),
            (
                json!({"integration": "a[0]", "sent": false, "tookMs": 0}),
                "team/a[0]: nothing sent, as it is not told of resolved alerts",
            ),
            (
                json!({"integration": "a[0]", "sent": false, "tookMs": 7, "error": "refused", "retry": true}),
                "team/a[0]: FAILED, 7 ms (would be tried again): refused",
            ),
        ] {
            assert_eq!(outcome("team", &trial), line);
        }
    }
}
