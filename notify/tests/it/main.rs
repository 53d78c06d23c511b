//! Tests of the room's doors.

mod intervals;
mod outward;
mod routes;
mod sim;
mod timelines;
