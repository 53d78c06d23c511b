//! Tests of the room's doors.

mod config;
mod dispatching;
mod expiry;
mod history;
mod intervals;
mod lease;
mod lease_stores;
mod metric_names;
mod outward;
mod routes;
mod schema;
mod sim;
mod timelines;
