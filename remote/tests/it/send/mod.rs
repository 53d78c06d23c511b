//! Forwarding.

mod config;
mod kills;
mod message;
mod receiver;
mod recorded;
mod setup;
