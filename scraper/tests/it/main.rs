//! The manager against real servers in this process.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod examples;
mod http;
mod server;
