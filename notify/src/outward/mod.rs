//! Alerts on their way out, to Alertmanagers of others (API v2) and to plain webhooks.
//!
//! [`Notifier`] adds the external labels, relabels, and hands every alert to each destination's own bounded queue, so
//! that one that hangs delays no other and never an evaluation.
//!
//! The one decision behind it: Alertmanagers are told everything again and again, because they forget what is not
//! repeated; a plain webhook is told each change once, because a person reads it.

mod alertmanager;
mod config;
mod notifier;
mod queue;
mod webhook;

pub use config::{AlertingConfig, AlertmanagerConfig, WebhookConfig};
pub use notifier::{AlertmanagerTargets, Notifier, NotifierOptions, Prepared, discovery_key};
pub use queue::QueueStats;
