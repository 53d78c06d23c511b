//! `test-send`: one notification by one receiver, and what becomes of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use credentials::Machine;
use jiff::Timestamp;
use model::labels::{ALERT_NAME, Labels};
use receivers::rehearsal::{self, Rendered};
use receivers::{
    Alert, Attempt, FailureReason, Integration, Memory, Notification, ReceiverConfig, Setup, Templates,
    deliver_despite_templates,
};
use serde::Deserialize;
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
    let notification = rehearsal::notification(name, alerts(line)?, Timestamp::now());
    let rendered = rehearsal::render(receiver, &templates, &notification);
    let good = if line.is_on("template-only") {
        show(name, &rendered)
    } else {
        tell_of_failing(&rendered);
        let setup = Setup {
            templates,
            machine: Machine::new(USER_AGENT),
        };
        send(receiver, &setup, &notification, line.duration("timeout")).await?
    };
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
    let posted: Vec<PostedAlert> =
        serde_json::from_slice(&bytes).map_err(|source| AlertError::NotAlerts {
            path: path.to_owned(),
            source,
        })?;
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
    let outcome = deliver_despite_templates(
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
        Ok(delivered) if delivered.attempts == 0 => out(format_args!(
            "{name}: nothing sent, as it is not told of resolved alerts"
        )),
        Ok(delivered) => {
            let defect = match &delivered.template_error {
                Some(error) => format!("; with the default text, since a template fails: {error}"),
                None => String::new(),
            };
            out(format_args!("{name}: sent, {took_ms} ms{defect}"));
        }
        Err(error) => {
            let failure = &error.failure;
            let again = if failure.retry {
                "would be tried again"
            } else {
                "would be given up"
            };
            out(format_args!(
                "{name}: FAILED, {took_ms} ms, {} ({again}): {failure}",
                words_of(failure.reason)
            ));
        }
    }
    outcome.is_ok()
}

/// What a failure is counted under, for people.
fn words_of(reason: FailureReason) -> &'static str {
    match reason {
        FailureReason::Other => "not sent",
        FailureReason::ClientError => "the service refuses it",
        FailureReason::ServerError => "the service has failed",
        FailureReason::ContextCanceled => "given up",
        FailureReason::ContextDeadlineExceeded => "no answer in time",
        FailureReason::AuthError => "the service knows us not or does not let us",
        FailureReason::RateLimited => "too many requests",
    }
}

/// Says where templates fail, and by which: what is sent then is the receiver's business.
fn tell_of_failing(rendered: &[Rendered]) {
    for Rendered { place, outcome } in rendered {
        if let Err(error) = outcome {
            out(format_args!("{place}: the template fails: {error}"));
        }
    }
}

/// Shows what templates have made, or why they fail; whether none does.
fn show(receiver: &str, rendered: &[Rendered]) -> bool {
    if rendered.is_empty() {
        out(format_args!(
            "{receiver}: no templates; its integrations send what is built in"
        ));
    }
    for Rendered { place, outcome } in rendered {
        match outcome {
            Err(error) => out(format_args!("{place}: FAILED: {error}")),
            Ok(text) if text.is_empty() => out(format_args!("{place}: empty")),
            Ok(text) => out(format_args!("{place}:\n    {}", text.replace('\n', "\n    "))),
        }
    }
    rendered.iter().all(|rendered| rendered.outcome.is_ok())
}
