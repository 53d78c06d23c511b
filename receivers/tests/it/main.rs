//! Tests of the room as its users see it.

mod capture;
mod cases;
mod certificates;
mod compare;
mod config;
mod deliver;
mod despite;
mod groups;
mod mailbox;
mod purposes;
mod retry;
mod surroundings;
mod templates;
