//! Receivers: how a notification goes out. One file a kind: its section of the configuration, its defaults, what it
//! sends, and how it reads the answer.
//!
//! This room knows what a notification is and nothing of why it is sent: grouping, silences and the log of what was sent
//! are [`notify`](../narthex_notify/index.html)'s.
//!
//! The one decision behind it: a receiver tells of a failure whether it may heal and why it is counted, and never tries
//! again by itself; waiting and repeating are the same for all kinds and stand in one place.

mod notification;
mod receiver;

pub use notification::{Alert, Notification, NotifyReason};
pub use receiver::{Failure, FailureReason, Memory, MemoryValue, Receiver};
