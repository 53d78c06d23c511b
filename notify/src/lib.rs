//! What becomes of alerts: delivery to Alertmanagers of others ([`outward`]), and an Alertmanager of our own.
//!
//! # The Alertmanager inside
//!
//! [`Alertmanager`] is the handle; it is cheap to share, and it is the rules' [`AlertSink`](model::alert::AlertSink), too.
//! [`Alertmanager::open`] reads silences and the log of notifications, [`Alertmanager::prepare`] builds a
//! [`config::Config`] aside, [`Alertmanager::apply`] puts it in force. From then on alerts go this way:
//!
//! [`Alertmanager::post`] → the store → [`route::Tree`]: groups at its nodes → when a group's time has come: inhibition,
//! time intervals, silences → for each integration of the receiver: what was it last told? → [`receivers::deliver`] → the
//! log of notifications.
//!
//! What somebody who asks is shown ([`Alertmanager::alerts`], [`Alertmanager::groups`], [`Alertmanager::silences`]) is found
//! when it is asked for. Every decision is told in one place ([`Observer`]), and remembered for a while ([`history`]).
//!
//! The one decision behind it: taking alerts in, and asking, wait for nothing but memory; what was answered about silences
//! and what was sent is on the disk.

mod alert;
mod alertmanager;
pub mod config;
mod dispatch;
pub mod history;
mod inhibit;
pub mod interval;
pub mod lease;
mod ledger;
mod log;
pub mod matcher;
mod observer;
pub mod outward;
pub mod route;
mod silence;
mod stats;
mod store;
mod wire;

pub use alert::{InvalidAlert, Offsets, PostError, PostedAlert, StoredAlert};
pub use alertmanager::{
    AlertFilter, AlertView, Alertmanager, Breadth, BuildReceiver, GroupView, IntegrationPreview,
    IntegrationTrial, Options, PrepareError, Prepared, PreparedTrial, PutSilence, ReceiverView, Rehearsal,
    RehearsalError, RehearsalReport, Rehearsed, Trial, TrialAlerts, TrialError,
};
pub use history::{HistoryLimits, HistoryPage, HistoryQuery};
pub use ledger::CommitError;
pub use observer::{Decision, Observer, Outcome, Suppressor};
pub use outward::{
    AlertingConfig, AlertmanagerConfig, AlertmanagerTargets, Notifier, NotifierOptions, QueueStats,
    WebhookConfig, discovery_key,
};
pub use silence::{
    PostedMatcher, PostedSilence, RECURRENCE, Silence, SilenceError, SilenceLimits, SilenceState,
    check_recurrence,
};
pub use stats::MetricLabels;
pub use wire::WireError;
