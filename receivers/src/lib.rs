//! Receivers: how a notification goes out. One file a kind: its section of the configuration, its defaults, what it
//! sends, and how it reads the answer.
//!
//! This room knows what a notification is and nothing of why it is sent: grouping, silences and the log of what was sent
//! are [`notify`](../narthex_notify/index.html)'s.
//!
//! The one decision behind it: a receiver tells of a failure whether it may heal and why it is counted, and never tries
//! again by itself; waiting and repeating are the same for all kinds and stand in one place ([`deliver`]).
//!
//! From a configuration to a message: [`Global`] and [`ReceiverConfig`] read their sections, [`Templates`] the files of
//! templates, [`build`] makes [`Integration`]s of them, and [`deliver`] sends a [`Notification`] by one.

mod config;
mod deliver;
mod email;
mod global;
mod group_key;
mod http;
mod integration;
mod json;
mod loose;
mod message;
mod notification;
mod receiver;
mod settings;
mod shorten;
mod templates;
mod webhook;

pub use config::{KINDS, KindOfReceiver, ReceiverConfig};
pub use deliver::{Attempt, Undelivered, deliver};
pub use global::Global;
pub use integration::{BuildError, Integration, Setup, Unbuilt, build};
pub use notification::{Alert, Notification, NotifyReason, fingerprint};
pub use receiver::{Failure, FailureReason, Memory, MemoryValue, Receiver};
pub use templates::{Templates, TemplatesError};
