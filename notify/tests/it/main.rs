//! Tests of the room's doors.

mod config;
mod intervals;
mod outward;
mod routes;
mod sim;
mod timelines;
