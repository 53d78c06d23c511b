//! The binary `narthex`: a Prometheus-compatible time-series database and alerting engine.
//!
//! This crate is wiring: it reads the command line and the configuration, starts the rooms and connects their doors,
//! and answers HTTP. What a room does is decided in the room.

mod cli;
mod config;
mod demo;
mod explain;
mod instrument;
mod logging;
mod memory;
mod queries;
mod reload;
mod serve;
mod storage;
mod web;

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::{Context, Result};

use cli::Action;
use cli::serve_options::ServeOptions;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match run(cli::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(action: Action) -> Result<u8> {
    // There is no other provider of cryptography in the process; a second call is harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match action {
        Action::Serve(flags) => {
            let options = ServeOptions::new(flags)?;
            logging::init(&options.log_level, &options.log_format)?;
            runtime()?.block_on(serve::run(options, |_| {}))?;
            Ok(0)
        }
        Action::Demo(mut flags) => {
            runtime()?.block_on(async {
                let _demo = demo::prepare(&mut flags).await?;
                let options = ServeOptions::new(flags)?;
                logging::init(&options.log_level, &options.log_format)?;
                serve::run(options, demo::print_welcome).await?;
                Ok::<_, anyhow::Error>(())
            })?;
            Ok(0)
        }
        Action::CheckConfig(args) => Ok(cli::check::config(&args)),
        Action::CheckRules(args) => Ok(cli::check::rules(&args)),
        Action::CheckMetrics(args) => Ok(cli::check::metrics(&args)),
        Action::CheckDiscovery(args) => Ok(cli::check::discovery(&args)),
        Action::CheckServer(args) => Ok(runtime()?.block_on(cli::check::server(&args))),
        Action::Query(args) => runtime()?.block_on(cli::query::run(args)),
        Action::Tsdb(args) => Ok(runtime()?.block_on(cli::tsdb::run(&args))),
        Action::Promql(args) => Ok(cli::promql::run(&args)),
        Action::Test(args) => Ok(cli::test::run(&args)),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}

/// One line that says what is wrong, and the place in the file where there is one.
#[expect(
    clippy::print_stderr,
    reason = "what ends the program is said on the terminal"
)]
fn report(error: &anyhow::Error) {
    let color = std::io::stderr().is_terminal();
    let place = error
        .downcast_ref::<serve::ServeError>()
        .and_then(|error| error.render(color));
    eprintln!("narthex: {error:#}");
    if let Some(place) = place {
        eprintln!("{place}");
    }
}
