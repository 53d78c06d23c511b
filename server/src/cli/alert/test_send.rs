//! `test-send`: one notification by one receiver, and what becomes of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use credentials::Machine;
use jiff::Timestamp;
use model::labels::{ALERT_NAME, Labels};
use receivers::{
    Alert, Attempt, Integration, Memory, Notification, NotifyReason, ReceiverConfig, Setup, Templates,
    deliver,
};
use serde::Deserialize;
use serde_json::Value;
use template::Dialect;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::api::Pairs;
use super::check_config::read_config;
use super::error::AlertError;
use super::line::Line;
use super::matchers::Words;
use super::moment::Moment;
use crate::cli::render::out;
use crate::version::USER_AGENT;

/// How often groups are told of again where a route says nothing else; receivers may tell of it.
const REPEAT_INTERVAL: Duration = Duration::from_secs(4 * 3600);

/// An alert as it is posted.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PostedAlert {
    labels: Pairs,
    #[serde(default)]
    annotations: Pairs,
    starts_at: Option<Moment>,
    ends_at: Option<Moment>,
    #[serde(rename = "generatorURL", default)]
    generator_url: String,
}

/// Sends a notification, or shows what would be sent.
pub(super) async fn run(line: &Line, words: &Words) -> Result<(), AlertError> {
    let file = line.text("config.file");
    let config = read_config(file, words.syntax())?;
    let name = line.text("receiver");
    let receiver = config.receivers.iter().find(|receiver| receiver.name == name);
    let receiver = receiver.ok_or_else(|| AlertError::NoReceiver {
        name: name.to_owned(),
        file: PathBuf::from(file),
        known: config
            .receivers
            .iter()
            .map(|receiver| receiver.name.as_str())
            .collect::<Vec<_>>()
            .join(", "),
    })?;
    let templates = Templates::load(&config.templates, line.text("external-url"))?;
    let notification = notification(name, alerts(line)?);
    // Some receivers send what fails, as empty texts; here it shall be seen.
    let only_render = line.is_on("template-only");
    let mut good = show(&render(receiver, &templates, &notification), !only_render);
    if !only_render {
        let setup = Setup {
            templates,
            machine: Machine::new(USER_AGENT),
        };
        good &= send(receiver, &setup, &notification, line.duration("timeout")).await?;
    }
    if good { Ok(()) } else { Err(AlertError::Said) }
}

/// The alerts of the line's file, or a made-up one.
fn alerts(line: &Line) -> Result<Vec<Alert>, AlertError> {
    let now = Timestamp::now();
    let Some(path) = line.get("alerts") else {
        return Ok(vec![Alert {
            labels: Labels::from_pairs([(ALERT_NAME, "NarthexTest"), ("severity", "info")]),
            annotations: sample_annotations(),
            starts_at: now,
            ends_at: None,
            generator_url: String::new(),
        }]);
    };
    let path = Path::new(path);
    let bytes = std::fs::read(path).map_err(|source| AlertError::Read {
        path: path.to_owned(),
        source,
    })?;
    let posted: Vec<PostedAlert> = serde_json::from_slice(&bytes).map_err(AlertError::Data)?;
    if posted.is_empty() {
        return Err(AlertError::NoAlerts(path.to_owned()));
    }
    let alert = |posted: PostedAlert| {
        let ends_at = posted
            .ends_at
            .filter(|end| *end != Moment::none())
            .map(|end| end.at);
        Alert {
            labels: Labels::from_pairs(posted.labels),
            annotations: posted.annotations,
            starts_at: posted.starts_at.map_or(now, |start| start.at),
            ends_at: ends_at.filter(|end| *end <= now),
            generator_url: posted.generator_url,
        }
    };
    Ok(posted.into_iter().map(alert).collect())
}

fn sample_annotations() -> Pairs {
    let texts = [
        ("summary", "A test of this receiver"),
        (
            "description",
            "Somebody tries whether notifications arrive. Nothing is wrong.",
        ),
    ];
    texts
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .into()
}

/// Tells of alerts as a group of one name, where they have one.
fn notification(receiver: &str, alerts: Vec<Alert>) -> Notification {
    let name = alerts[0].labels.value(ALERT_NAME).to_owned();
    let named = !name.is_empty() && alerts.iter().all(|alert| alert.labels.value(ALERT_NAME) == name);
    let group_labels = Labels::from_pairs(named.then_some((ALERT_NAME, name.as_str())));
    let pairs = group_labels
        .iter()
        .map(|(name, value)| format!("{name}={}", model::go::Quoted(value)));
    let pairs: Vec<String> = pairs.collect();
    Notification {
        receiver: receiver.to_owned(),
        group_key: format!("{{}}:{{{}}}", pairs.join(", ")),
        group_labels,
        route_labels: Pairs::new(),
        alerts: Arc::new(alerts),
        reason: NotifyReason::First,
        now: Timestamp::now(),
        repeat_interval: REPEAT_INTERVAL,
    }
}

/// Sends by every integration; whether all went well.
async fn send(
    receiver: &ReceiverConfig,
    setup: &Setup,
    notification: &Notification,
    timeout: Duration,
) -> Result<bool, AlertError> {
    let integrations = receivers::build(receiver, setup)?;
    if integrations.is_empty() {
        out(format_args!(
            "{}: the receiver has no integrations, nobody is told",
            receiver.name
        ));
    }
    let mut good = true;
    for integration in &integrations {
        good &= send_by(integration, notification, timeout).await;
    }
    Ok(good)
}

/// Sends by one integration, once; whether it went well.
async fn send_by(integration: &Integration, notification: &Notification, timeout: Duration) -> bool {
    let begun = Instant::now();
    // What failed once is not tried again: whoever waits wants to know.
    let stop = CancellationToken::new();
    let mut seen = |_: Attempt<'_>| stop.cancel();
    let mut memory = Memory::new();
    let outcome = deliver(
        integration,
        notification,
        &mut memory,
        begun + timeout,
        &stop,
        &mut seen,
    )
    .await;
    let took_ms = begun.elapsed().as_millis();
    let name = format!("{}/{}", integration.receiver(), integration.name());
    match &outcome {
        Ok(0) => out(format_args!(
            "{name}: nothing sent, as it is not told of resolved alerts"
        )),
        Ok(_) => out(format_args!("{name}: sent, {took_ms} ms")),
        Err(error) => {
            let failure = &error.failure;
            let again = if failure.retry {
                "would be tried again"
            } else {
                "would be given up"
            };
            out(format_args!(
                "{name}: FAILED, {took_ms} ms, {} ({again}): {failure}",
                failure.reason
            ));
        }
    }
    outcome.is_ok()
}

/// A template of a receiver: where it stands, and what it makes of a notification.
struct Rendered {
    place: String,
    outcome: Result<String, template::Error>,
}

/// Renders the templates of a receiver.
fn render(receiver: &ReceiverConfig, templates: &Templates, notification: &Notification) -> Vec<Rendered> {
    let settings = serde_json::to_value(receiver).unwrap_or_default();
    let mut texts = Vec::new();
    collect(&settings, String::new(), &mut texts);
    let rendered = texts.into_iter().map(|(place, text)| {
        let dialect = match place.ends_with(".html") {
            true => Dialect::Html,
            false => Dialect::Text,
        };
        let data = template::Value::object(templates.data(notification));
        let outcome = templates.render(dialect, &text, data, notification.now);
        Rendered { place, outcome }
    });
    rendered.collect()
}

/// Shows what templates have made, or of those that fail alone, why; whether none does.
fn show(rendered: &[Rendered], only_failures: bool) -> bool {
    for Rendered { place, outcome } in rendered {
        match outcome {
            Err(error) => out(format_args!("{place}: FAILED: {error}")),
            Ok(_) if only_failures => {}
            Ok(text) if text.is_empty() => out(format_args!("{place}: empty")),
            Ok(text) => out(format_args!("{place}:\n    {}", text.replace('\n', "\n    "))),
        }
    }
    rendered.iter().all(|rendered| rendered.outcome.is_ok())
}

/// Finds the texts that are templates, with where they stand: `email_configs[0].html`.
fn collect(value: &Value, place: String, found: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) if text.contains("{{") => found.push((place, text.clone())),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{place}[{index}]"), found);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let dot = if place.is_empty() { "" } else { "." };
                collect(member, format!("{place}{dot}{name}"), found);
            }
        }
        _ => {}
    }
}
