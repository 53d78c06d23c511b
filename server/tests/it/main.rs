//! The server from outside: the real binary, real files, real HTTP.

#![expect(clippy::print_stdout, reason = "tests say how much agrees")]

mod agent;
mod alertmanager;
mod alerts;
mod amtool;
mod api;
mod backtest;
mod browser;
mod checks;
mod clients;
mod commands;
mod crash;
mod discovery_check;
mod end_to_end;
mod flags;
mod gateway;
mod golden;
mod guard;
mod harness;
mod http;
mod limits;
mod lines;
mod lint;
mod memory;
mod otlp;
mod pages;
mod push;
mod reload;
mod restart;
mod swap;
mod tools;
mod transport;
