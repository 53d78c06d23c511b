//! Receivers: how a notification goes out. One file a kind: its section of the configuration, its defaults, what it
//! sends, and how it reads the answer.
//!
//! This room knows what a notification is and nothing of why it is sent: grouping, silences and the log of what was sent
//! are [`notify`](../narthex_notify/index.html)'s.
//!
//! The one decision behind it: a receiver tells of a failure whether it may heal and why it is counted, and never tries
//! again by itself; waiting and repeating are the same for all kinds and stand in one place ([`deliver`]), and so does what is
//! sent when a template fails ([`deliver_despite_templates`]).
//!
//! From a configuration to a message: [`Global`] and [`ReceiverConfig`] read their sections, [`Templates`] the files of
//! templates, [`build`] makes [`Integration`]s of them, and [`deliver`] sends a [`Notification`] by one.

mod address;
mod config;
mod deliver;
mod despite;
mod discord;
mod email;
mod global;
mod group_key;
mod http;
mod incidentio;
mod integration;
mod jira;
pub mod json;
mod loose;
mod mattermost;
mod message;
mod msteams;
mod msteamsv2;
mod notification;
mod opsgenie;
mod pagerduty;
mod preview;
mod pushover;
mod receiver;
pub mod rehearsal;
mod rendering;
mod rocketchat;
mod settings;
mod shorten;
mod slack;
mod sns;
mod telegram;
mod templates;
mod victorops;
mod webex;
mod webhook;
mod wechat;

pub use config::{KINDS, KindOfReceiver, ReceiverConfig};
pub use deliver::{Attempt, Undelivered, deliver};
pub use despite::{Delivered, deliver_despite_templates};
pub use global::Global;
pub use integration::{BuildError, Integration, Setup, Unbuilt, build};
pub use notification::{Alert, Notification, NotifyReason, fingerprint};
pub use preview::{Outgoing, Preview, preview};
pub use receiver::{Failure, FailureReason, Memory, MemoryValue, Receiver};
pub use settings::GoDuration;
pub use templates::{Templates, TemplatesError};
