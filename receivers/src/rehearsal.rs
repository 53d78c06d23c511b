//! Templates of a receiver, tried without sending anything: before an alert tries them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::labels::{ALERT_NAME, Labels};
use serde_json::Value;
use template::Dialect;

use crate::{Alert, KINDS, Notification, NotifyReason, ReceiverConfig, Templates};

/// How often groups are told of again where a route says nothing else; templates may tell of it.
const REPEAT_INTERVAL: Duration = Duration::from_secs(4 * 3600);
/// Longest texts that are told from each other by one another: what is longer is rendered each time.
const REMEMBERED_BYTES_MAX: usize = 64 << 10;
/// The section that has none.
const WITHOUT_TEMPLATES: &str = "http_config";
/// What is shown of a secret.
const HIDDEN: &str = "<secret>";
/// What is wrong with an address or a key that comes out as nothing.
const EMPTY: &str = "it is empty, and nothing could be sent";

/// A template of a receiver: where it stands, and what it makes of a notification.
#[derive(Debug)]
pub struct Rendered {
    /// Where it stands: `email_configs[0].html`.
    pub place: String,
    /// What it makes, or why it fails.
    pub outcome: Result<String, template::Error>,
}

/// A template that fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("receiver {receiver:?}: {place} fails with {sample}: {error}")]
pub struct FailingTemplate {
    /// Whose.
    pub receiver: String,
    /// Where it stands.
    pub place: String,
    /// With what.
    pub sample: &'static str,
    /// Why.
    pub error: String,
}

/// What templates are tried with: a name, and a notification of it.
pub fn samples(receiver: &str, now: Timestamp) -> [(&'static str, Notification); 4] {
    let alert = |instance: &str, minutes: i64, is_resolved: bool| Alert {
        labels: Labels::from_pairs([
            (ALERT_NAME, "NarthexSample"),
            ("instance", instance),
            ("job", "node"),
            ("severity", "warning"),
        ]),
        annotations: texts([
            ("summary", "A sample of an alert"),
            ("description", "Templates are tried with it. Nothing is wrong."),
        ]),
        starts_at: now - SignedDuration::from_mins(minutes),
        ends_at: is_resolved.then_some(now),
        generator_url: "http://prometheus.example.org/graph?g0.expr=up".to_owned(),
    };
    let bare = Alert {
        annotations: BTreeMap::new(),
        generator_url: String::new(),
        ..alert("a.example.org:9100", 5, false)
    };
    let several = vec![
        alert("a.example.org:9100", 5, false),
        alert("b.example.org:9100", 4, false),
        alert("c.example.org:9100", 90, true),
    ];
    [
        ("a firing alert", vec![alert("a.example.org:9100", 5, false)]),
        ("a resolved alert", vec![alert("a.example.org:9100", 65, true)]),
        ("several alerts", several),
        ("an alert without annotations", vec![bare]),
    ]
    .map(|(name, alerts)| (name, notification(receiver, alerts, now)))
}

fn texts<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .into()
}

/// Tells of alerts, of which there is one at least, as a group of one name, where they have one.
pub fn notification(receiver: &str, alerts: Vec<Alert>, now: Timestamp) -> Notification {
    let name = alerts
        .first()
        .map_or("", |alert| alert.labels.value(ALERT_NAME))
        .to_owned();
    let named = !name.is_empty() && alerts.iter().all(|alert| alert.labels.value(ALERT_NAME) == name);
    let group_labels = Labels::from_pairs(named.then_some((ALERT_NAME, name.as_str())));
    let reason = match alerts.iter().any(|alert| alert.ends_at.is_none()) {
        true => NotifyReason::First,
        false => NotifyReason::AllResolved,
    };
    Notification {
        receiver: receiver.to_owned(),
        group_key: format!("{{}}:{group_labels}"),
        group_labels,
        route_labels: BTreeMap::new(),
        alerts: Arc::new(alerts),
        reason,
        now,
        repeat_interval: REPEAT_INTERVAL,
    }
}

/// Renders the templates of a receiver. What becomes of secrets is not shown.
pub fn render(
    receiver: &ReceiverConfig,
    templates: &Templates,
    notification: &Notification,
) -> Vec<Rendered> {
    let rendered = texts_of(receiver).into_iter().map(|text| {
        let outcome = render_one(templates, &text.template, text.is_html, notification);
        Rendered {
            place: text.place,
            outcome: match text.is_secret {
                true => outcome.map(|_| HIDDEN.to_owned()),
                false => outcome,
            },
        }
    });
    rendered.collect()
}

/// Renders a text as a field of a receiver is rendered, for HTML or not.
///
/// # Errors
/// When it is no template, or fails.
pub fn render_one(
    templates: &Templates,
    text: &str,
    is_html: bool,
    notification: &Notification,
) -> Result<String, template::Error> {
    let dialect = if is_html { Dialect::Html } else { Dialect::Text };
    let data = template::Value::object(templates.data(notification));
    templates.render(dialect, text, data, notification.now)
}

/// Tries the templates of receivers with samples; gives those that fail, each once, and addresses and keys that are empty.
pub fn rehearse(receivers: &[ReceiverConfig], templates: &Templates, now: Timestamp) -> Vec<FailingTemplate> {
    let mut failing = Vec::new();
    // Many receivers have the default texts.
    let mut known: Known = HashMap::new();
    for receiver in receivers {
        let samples = samples(&receiver.name, now);
        for text in texts_of(receiver) {
            let fails = || {
                samples.iter().find_map(|(name, sample)| {
                    match render_one(templates, &text.template, text.is_html, sample) {
                        Err(error) => Some((*name, error.to_string())),
                        // Keys and addresses without which nothing can be sent.
                        Ok(made) if text.is_secret && made.trim().is_empty() => {
                            Some((*name, EMPTY.to_owned()))
                        }
                        Ok(_) => None,
                    }
                })
            };
            let outcome = match text.template.len() <= REMEMBERED_BYTES_MAX {
                true => known
                    .entry((text.is_html, text.is_secret, text.template.clone()))
                    .or_insert_with(fails)
                    .clone(),
                false => fails(),
            };
            failing.extend(outcome.map(|(sample, error)| FailingTemplate {
                receiver: receiver.name.clone(),
                place: text.place,
                sample,
                error,
            }));
        }
    }
    failing
}

/// What has become of a text, for HTML or not, secret or not: with which sample it fails, and why.
type Known = HashMap<(bool, bool, String), Option<(&'static str, String)>>;

/// A text of a receiver that is a template.
struct Text {
    place: String,
    template: String,
    is_html: bool,
    /// An address or a key: not to be shown, and useless when it is empty.
    is_secret: bool,
}

/// The texts of a receiver that are templates, in the order of the table of kinds.
fn texts_of(receiver: &ReceiverConfig) -> Vec<Text> {
    let mut texts = Vec::new();
    for kind in KINDS {
        let entries = receiver
            .entries()
            .iter()
            .filter(|entry| entry.name() == kind.name);
        for (index, entry) in entries.enumerate() {
            let place = format!("{}[{index}]", kind.key);
            let mut found = Vec::new();
            let mut settings = serde_json::to_value(entry).unwrap_or_default();
            if let Value::Object(members) = &mut settings {
                members.remove(WITHOUT_TEMPLATES);
            }
            collect(&settings, place.clone(), &mut found);
            let html = entry.html_key().map(|key| format!("{place}.{key}"));
            texts.extend(found.into_iter().map(|(place, template)| Text {
                is_html: html.as_ref() == Some(&place),
                is_secret: false,
                place,
                template,
            }));
            let secrets = entry.secret_templates().into_iter();
            let secrets = secrets.filter(|(_, secret)| secret.reveal().contains("{{"));
            texts.extend(secrets.map(|(key, secret)| Text {
                place: format!("{place}.{key}"),
                template: secret.reveal().to_owned(),
                is_html: false,
                is_secret: true,
            }));
        }
    }
    texts
}

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
                // Names of attributes and members of payloads are templates, too.
                if name.contains("{{") {
                    found.push((format!("{place}, the name {name:?}"), name.clone()));
                }
                collect(member, format!("{place}.{name}"), found);
            }
        }
        _ => {}
    }
}
