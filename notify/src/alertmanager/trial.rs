//! Trying receivers: what would be sent, and sending it once, on its own account.
//!
//! A trial has nothing to do with groups: it is neither silenced nor in the log of notifications, and counts nowhere.

use std::time::Duration;

use jiff::Timestamp;
use receivers::rehearsal::{self, Rendered};
use receivers::{
    Alert, Attempt, BuildError, Delivered, Integration, Memory, Notification, Preview, Templates,
    Undelivered, deliver_despite_templates,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{AlertFilter, Alertmanager};
use crate::alert::{InvalidAlert, PostedAlert};
use crate::matcher::Matchers;

/// Most alerts of a trial.
const ALERTS_MAX: usize = 100;
/// How long sending may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Trials at the same time; further ones are refused.
pub(super) const TRIALS_MAX: usize = 4;

/// What a receiver is tried with.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Whose integrations.
    pub receiver: String,
    /// Only this one: `slack[0]`.
    pub integration: Option<String>,
    /// What it is told of.
    pub alerts: TrialAlerts,
}

/// What a trial tells of.
#[derive(Clone, Debug)]
pub enum TrialAlerts {
    /// Made-up alerts: number 0 to 3 of [`rehearsal::samples`].
    Sample(usize),
    /// These.
    Posted(Vec<PostedAlert>),
    /// Those that fire and are like this.
    Held(Matchers),
}

/// Why a trial cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrialError {
    /// There is no configuration.
    #[error("there is no configuration")]
    Unconfigured,
    /// The configuration has no such receiver.
    #[error("no receiver {name:?}; there are: {known}")]
    NoReceiver {
        /// Which.
        name: String,
        /// Those that there are, with commas.
        known: String,
    },
    /// The receiver has no such integration.
    #[error("receiver {receiver:?} has no integration {name:?}; it has: {known}")]
    NoIntegration {
        /// Whose.
        receiver: String,
        /// Which.
        name: String,
        /// Those that there are, with commas.
        known: String,
    },
    /// There is nothing to tell of.
    #[error("there are no alerts to tell of")]
    NoAlerts,
    /// There is too much to tell of.
    #[error("{count} alerts are too many: a trial tells of at most {ALERTS_MAX}")]
    TooManyAlerts {
        /// How many.
        count: usize,
    },
    /// An alert makes no sense.
    #[error(transparent)]
    Invalid(#[from] InvalidAlert),
    /// An integration cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Others are being made.
    #[error("{TRIALS_MAX} receivers are being tried already; try again later")]
    Busy,
}

/// A trial, ready to be made.
pub struct PreparedTrial {
    notification: Notification,
    integrations: Vec<Integration>,
    templates: Templates,
    /// The templates of the receiver, by their places.
    texts: Vec<Rendered>,
    /// One of [`TRIALS_MAX`] places, while it lives.
    _place: tokio::sync::OwnedSemaphorePermit,
}

/// What an integration would send.
#[derive(Debug)]
pub struct IntegrationPreview {
    /// Kind and place: `slack[0]`.
    pub integration: String,
    /// What leaves.
    pub preview: Preview,
}

/// What became of sending.
#[derive(Debug)]
pub struct IntegrationTrial {
    /// Kind and place: `slack[0]`.
    pub integration: String,
    /// How long it took.
    pub took: Duration,
    /// What became of it.
    pub outcome: Result<Delivered, Undelivered>,
}

impl Alertmanager {
    /// Finds and builds all that a trial needs. Reads files and renders templates: not for the network's threads.
    ///
    /// # Errors
    /// See [`TrialError`].
    pub fn prepare_trial(&self, trial: Trial) -> Result<PreparedTrial, TrialError> {
        let place = self
            .shared
            .trials
            .clone()
            .try_acquire_owned()
            .map_err(|_| TrialError::Busy)?;
        let running = self.running().ok_or(TrialError::Unconfigured)?;
        let receivers = &running.config.receivers;
        let config = receivers.iter().find(|receiver| receiver.name == trial.receiver);
        let config = config.ok_or_else(|| TrialError::NoReceiver {
            name: trial.receiver.clone(),
            known: listed(receivers.iter().map(|receiver| receiver.name.clone())),
        })?;
        let notification = self.notification(&trial)?;
        let templates = &running.dispatcher.pipeline.templates;
        // Others than those in use: a preview must leave no trace in what they remember.
        let mut integrations = (self.shared.options.build)(config, templates)?;
        if let Some(name) = &trial.integration {
            let known = listed(integrations.iter().map(Integration::name));
            integrations.retain(|integration| integration.name() == *name);
            if integrations.is_empty() {
                return Err(TrialError::NoIntegration {
                    receiver: trial.receiver,
                    name: name.clone(),
                    known,
                });
            }
        }
        Ok(PreparedTrial {
            texts: rehearsal::render(config, templates, &notification),
            notification,
            integrations,
            templates: templates.clone(),
            _place: place,
        })
    }

    fn notification(&self, trial: &Trial) -> Result<Notification, TrialError> {
        let now = self.now();
        let alerts = match &trial.alerts {
            TrialAlerts::Sample(number) => {
                let samples = rehearsal::samples(&trial.receiver, now);
                let sample = samples.into_iter().nth(*number).ok_or(TrialError::NoAlerts)?;
                return Ok(sample.1);
            }
            TrialAlerts::Posted(posted) => self.posted(posted, now)?,
            TrialAlerts::Held(matchers) => {
                let filter = AlertFilter {
                    matchers: matchers.clone(),
                    ..AlertFilter::default()
                };
                let held = self.alerts(&filter);
                held.iter().map(|view| view.alert.told(now)).collect()
            }
        };
        match alerts.len() {
            0 => Err(TrialError::NoAlerts),
            1..=ALERTS_MAX => Ok(rehearsal::notification(&trial.receiver, alerts, now)),
            count => Err(TrialError::TooManyAlerts { count }),
        }
    }

    fn posted(&self, posted: &[PostedAlert], now: Timestamp) -> Result<Vec<Alert>, InvalidAlert> {
        let patience = super::RESOLVE_TIMEOUT;
        let alert = |posted: &PostedAlert| {
            let alert = posted.clone().stored(now, patience);
            alert.check(self.shared.options.syntax)?;
            Ok(alert.told(now))
        };
        posted.iter().map(alert).collect()
    }

    /// Sends a trial by all its integrations at the same time, once, where notifications are sent.
    pub async fn send_trial(&self, trial: PreparedTrial) -> Vec<IntegrationTrial> {
        let sending = async move {
            let sending = trial
                .integrations
                .iter()
                .map(|integration| send(integration, &trial.notification));
            futures_util::future::join_all(sending).await
        };
        let supervisor = &self.shared.options.supervisor;
        let runtime = self.shared.runtime.read().clone();
        let sent = match runtime {
            Some(runtime) => supervisor.joined("notification", runtime.spawn(sending).await),
            None => Ok(sending.await),
        };
        // A panic is counted and logged, and nobody knows what has been sent.
        sent.unwrap_or_default()
    }
}

impl PreparedTrial {
    /// What is told.
    pub fn notification(&self) -> &Notification {
        &self.notification
    }

    /// What the receiver's templates make of it, by their places.
    pub fn texts(&self) -> &[Rendered] {
        &self.texts
    }

    /// What the integrations would send. Renders templates: not for the network's threads.
    pub async fn preview(&self) -> Vec<IntegrationPreview> {
        let mut previews = Vec::with_capacity(self.integrations.len());
        for integration in &self.integrations {
            previews.push(IntegrationPreview {
                integration: integration.name(),
                preview: receivers::preview(integration, &self.notification).await,
            });
        }
        previews
    }

    /// What a text that stands in no configuration makes of it, for HTML or not. Not for the network's threads.
    pub fn render(&self, text: &str, html: bool) -> Rendered {
        let place = if html { "text.html" } else { "text" };
        Rendered {
            place: place.to_owned(),
            outcome: rehearsal::render_one(&self.templates, text, html, &self.notification),
        }
    }
}

async fn send(integration: &Integration, notification: &Notification) -> IntegrationTrial {
    let begun = Instant::now();
    // What failed once is not tried again: whoever waits wants to know.
    let stop = CancellationToken::new();
    let mut once = |_: Attempt<'_>| stop.cancel();
    let (mut memory, deadline) = (Memory::new(), begun + PATIENCE);
    let outcome =
        deliver_despite_templates(integration, notification, &mut memory, deadline, &stop, &mut once).await;
    IntegrationTrial {
        integration: integration.name(),
        took: begun.elapsed(),
        outcome,
    }
}

fn listed(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
