//! Forwarding.

mod config;
mod kills;
mod message;
mod metrics;
mod queues;
mod receiver;
mod recorded;
mod setup;
