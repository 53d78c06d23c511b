//! `history`: what happened, and why.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::client::Client;
use super::error::AlertError;
use super::line::Line;
use super::matchers::Words;
use super::moment::Moment;
use super::print::Printer;
use crate::cli::render::err;

/// Events that are asked for at once.
const PAGE: usize = 1000;

/// Shows events, page by page until there are enough.
pub(super) async fn query(line: &Line, words: &Words) -> Result<(), AlertError> {
    let matchers = words.with_alertname(line.args());
    let mut params: Vec<(&str, String)> = matchers.into_iter().map(|matcher| ("filter", matcher)).collect();
    params.extend(line.all("kind").iter().map(|kind| ("kind", kind.clone())));
    if !line.text("receiver").is_empty() {
        params.push(("receiver", line.text("receiver").to_owned()));
    }
    params.extend(times(line)?);
    let client = Client::new(line).await?;
    let (mut events, mut cursor, limit) = (Vec::new(), None::<String>, line.number("limit"));
    while events.len() < limit {
        let count = (limit - events.len()).min(PAGE).to_string();
        let mut asked: Vec<(&str, &str)> = params
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        asked.push(("limit", &count));
        asked.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = client.history(&asked).await?;
        events.extend(page.events);
        for warning in page.warnings {
            err(format_args!(
                "Warning: a part of the history cannot be read: {warning}"
            ));
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    Printer::new(line).history(&events);
    Ok(())
}

/// From when to when.
fn times(line: &Line) -> Result<Vec<(&'static str, String)>, AlertError> {
    let mut times = Vec::new();
    if let Some(since) = line.get("since").and_then(receivers::GoDuration::parse) {
        let since = SignedDuration::try_from(since.0).unwrap_or(SignedDuration::MAX);
        let start = Timestamp::now().checked_sub(since).unwrap_or(Timestamp::MIN);
        times.push(("start", start.to_string()));
    }
    for name in ["start", "end"] {
        if !line.text(name).is_empty() {
            times.push((name, Moment::parse(line.text(name))?.at.to_string()));
        }
    }
    Ok(times)
}

/// An event on one line: what happened, to whom it was about, what it is about, and why.
pub(super) fn summary(event: &Value) -> [String; 4] {
    let text = |name: &str| event[name].as_str().unwrap_or("").to_owned();
    let receiver = || match event["integration"].as_str() {
        Some(integration) => format!("{}/{integration}", text("receiver")),
        None => text("receiver"),
    };
    match event["kind"].as_str() {
        Some("alert") => [
            text("state"),
            String::new(),
            pairs(&event["labels"]),
            String::new(),
        ],
        Some("notification") => {
            let alerts = match event["alertCount"].as_u64() {
                Some(1) => pairs(&event["alerts"][0]["labels"]),
                Some(count) => format!("{count} alerts of {}", pairs(&event["groupLabels"])),
                None => String::new(),
            };
            let why = match (event["error"].as_str(), event["result"].as_str()) {
                (Some(error), _) => format!("{}: {error}", text("reason")),
                (None, Some("sent")) if event["templateError"].is_string() => {
                    format!("{}; a template fails: {}", text("reason"), text("templateError"))
                }
                (None, Some("unchanged")) => "nothing new".to_owned(),
                (None, Some("left")) => format!("{}, left to who holds the lease", text("reason")),
                (None, Some("waiting")) => {
                    format!("{}, waits: nobody is known to hold the lease", text("reason"))
                }
                (None, _) => text("reason"),
            };
            [text("result"), receiver(), alerts, why]
        }
        Some("suppressed") => {
            let list = |name: &str| {
                let items = event[name].as_array().into_iter().flatten();
                let items: Vec<&str> = items.filter_map(Value::as_str).collect();
                items.join(", ")
            };
            let by = match event["source"].as_object() {
                Some(_) => pairs(&event["source"]),
                None => format!("{}{}", list("silences"), list("intervals")),
            };
            let why = format!("{} {by}", text("by"));
            ["suppressed".to_owned(), receiver(), pairs(&event["labels"]), why]
        }
        Some("silence") => {
            let matchers = event["matchers"].as_array().into_iter().flatten();
            let matchers: Vec<&str> = matchers.filter_map(Value::as_str).collect();
            let mut why = format!(
                "{} of {}: {}",
                text("silence"),
                text("createdBy"),
                text("comment")
            );
            if let Some(by) = event["by"].as_str() {
                why.push_str(&format!(" (by {by})"));
            }
            let what = format!("silence {}", text("change"));
            [what, String::new(), format!("{{{}}}", matchers.join(", ")), why]
        }
        _ => [text("kind"), String::new(), String::new(), String::new()],
    }
}

/// `{a="b", c="d"}`
fn pairs(labels: &Value) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    let pairs = pairs.map(|(name, value)| format!("{name}={value}"));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_told_on_one_line() {
        for (event, line) in [
            (
                json!({"kind": "alert", "state": "firing", "labels": {"a": "b"}}),
                "firing||{a=\"b\"}|",
            ),
            (
                json!({"kind": "notification", "result": "failed", "receiver": "team", "integration": "slack[0]",
                       "reason": "first notification", "error": "refused", "alertCount": 2,
                       "groupLabels": {"g": "1"}, "alerts": []}),
                "failed|team/slack[0]|2 alerts of {g=\"1\"}|first notification: refused",
            ),
            (
                json!({"kind": "notification", "result": "waiting", "receiver": "team", "integration": "slack[0]",
                       "reason": "first notification", "alertCount": 1, "alerts": [{"labels": {"a": "b"}}]}),
                "waiting|team/slack[0]|{a=\"b\"}|first notification, waits: nobody is known to hold the lease",
            ),
            (
                json!({"kind": "suppressed", "by": "silence", "silences": ["x", "y"], "receiver": "team",
                       "labels": {"a": "b"}}),
                "suppressed|team|{a=\"b\"}|silence x, y",
            ),
            (
                json!({"kind": "suppressed", "by": "inhibition", "source": {"s": "c"}, "receiver": "team",
                       "labels": {"a": "b"}}),
                "suppressed|team|{a=\"b\"}|inhibition {s=\"c\"}",
            ),
            (
                json!({"kind": "silence", "change": "expired", "silence": "x", "createdBy": "me", "comment": "why",
                       "matchers": ["a=\"b\""], "by": "ops"}),
                "silence expired||{a=\"b\"}|x of me: why (by ops)",
            ),
            (json!({"kind": "later"}), "later|||"),
        ] {
            assert_eq!(summary(&event).join("|"), line);
        }
    }
}
