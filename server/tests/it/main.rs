//! The server from outside: the real binary, real files, real HTTP.

mod commands;
mod end_to_end;
mod golden;
mod harness;
mod http;
