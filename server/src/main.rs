//! The binary `narthex`: a Prometheus-compatible time-series database and alerting engine.
//!
//! This crate is wiring: it reads the command line and the configuration, starts the rooms and connects their doors,
//! and answers HTTP. What a room does is decided in the room.

mod agent;
mod alertmanager;
mod allocator;
mod beginning;
mod cli;
mod clock_watch;
mod config;
mod demo;
mod explain;
mod forward;
mod gateway;
mod instrument;
mod logging;
mod memory;
mod process;
mod queries;
mod reload;
mod rooms;
mod serve;
mod storage;
mod threads;
mod traffic;
mod version;
mod web;

use std::process::ExitCode;

use anyhow::{Context, Result};

use cli::Action;
use cli::agent_options::AgentOptions;
use cli::alertmanager::AlertmanagerOptions;
use cli::pushgateway::PushgatewayOptions;
use cli::serve_options::ServeOptions;

fn main() -> ExitCode {
    let action = cli::parse();
    let json = action.logs_json();
    match run(action) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report(&error, json);
            ExitCode::from(code(&error))
        }
    }
}

fn run(action: Action) -> Result<u8> {
    // There is no other provider of cryptography in the process; a second call is harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match action {
        Action::Serve(flags) => {
            logging::init(flags.get("log.level"), flags.get("log.format"));
            let options = ServeOptions::new(flags)?;
            runtime()?.block_on(serve::run(options, |_| {}))?;
            Ok(0)
        }
        Action::Agent(flags) => {
            logging::init(flags.get("log.level"), flags.get("log.format"));
            let options = AgentOptions::new(flags)?;
            runtime()?.block_on(agent::run(options))?;
            Ok(0)
        }
        Action::Alertmanager(flags) => {
            logging::init(flags.get("log.level"), flags.get("log.format"));
            let options = AlertmanagerOptions::new(flags)?;
            runtime()?.block_on(alertmanager::alone::run(options))?;
            Ok(0)
        }
        Action::Pushgateway(flags) => {
            logging::init(flags.get("log.level"), flags.get("log.format"));
            let options = PushgatewayOptions::new(flags)?;
            runtime()?.block_on(gateway::alone::run(options))?;
            Ok(0)
        }
        Action::Demo(mut flags) => {
            runtime()?.block_on(async {
                let _demo = demo::prepare(&mut flags).await?;
                logging::init(flags.get("log.level"), flags.get("log.format"));
                let options = ServeOptions::new(flags)?;
                serve::run(options, demo::print_welcome).await?;
                Ok::<_, anyhow::Error>(())
            })?;
            Ok(0)
        }
        Action::Backtest(args) => Ok(cli::backtest::run(&args)),
        Action::CheckAlertmanager(args) => Ok(cli::check::alertmanager(&args)),
        Action::CheckConfig(args) => Ok(cli::check::config(&args)),
        Action::CheckRules(args) => Ok(cli::check::rules(&args)),
        Action::CheckMetrics(args) => Ok(cli::check::metrics(&args)),
        Action::CheckDiscovery(args) => {
            logging::init("info", "logfmt");
            Ok(runtime()?.block_on(cli::check::discovery(&args)))
        }
        Action::CheckWebConfig(args) => Ok(cli::check::web_config(&args)),
        Action::CheckServer(args) => Ok(runtime()?.block_on(cli::check::server(&args))),
        Action::Alert(args) => Ok(runtime()?.block_on(cli::alert::run(&args))),
        Action::Lint(args) => Ok(runtime()?.block_on(cli::lint::run(&args))),
        Action::Query(args) => runtime()?.block_on(cli::query::run(args)),
        Action::Tsdb(args) => Ok(runtime()?.block_on(cli::tsdb::run(&args))),
        Action::Promql(args) => Ok(cli::promql::run(&args)),
        Action::Token(args) => Ok(cli::token::token(&args)),
        Action::Test(args) => Ok(cli::test::run(&args)),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}

/// Exit code of whatever is wrong with what the user wrote: flags, the configuration, rules.
const INPUT_CODE: u8 = 2;
/// Exit code of flags that a server, or an agent, has no use for.
const MODE_CODE: u8 = 3;

/// Compat: what the user wrote and what the system refused have different codes, but not of an Alertmanager
/// (`fatal_errors_have_the_references_exit_codes`).
fn code(error: &anyhow::Error) -> u8 {
    let of_flags = error.downcast_ref::<cli::options::OptionErrors>();
    if of_flags.is_some_and(cli::options::OptionErrors::is_of_mode) {
        return MODE_CODE;
    }
    let of_input = error
        .downcast_ref::<serve::ServeError>()
        .is_some_and(serve::ServeError::is_of_input);
    if of_flags.is_some() || of_input {
        INPUT_CODE
    } else {
        1
    }
}

/// Says what ended the program: in a line that each cause adds its words to once, and the place in the file where there is
/// one; or as a log line, where those are JSON for a machine to read.
#[expect(
    clippy::print_stderr,
    reason = "what ends the program is said on the terminal"
)]
fn report(error: &anyhow::Error, json: bool) {
    let text = cli::render::with_causes(error.as_ref());
    let place = |color| {
        let of_server = error.downcast_ref::<serve::ServeError>();
        let of_alertmanager = error.downcast_ref::<alertmanager::alone::AloneError>();
        let of_gateway = error.downcast_ref::<gateway::alone::AloneError>();
        of_server
            .and_then(|error| error.render(color))
            .or_else(|| of_alertmanager?.render(color))
            .or_else(|| of_gateway?.render(color))
    };
    if json {
        match place(false) {
            Some(place) => tracing::error!(err = %text, place, "Narthex cannot go on"),
            None => tracing::error!(err = %text, "Narthex cannot go on"),
        }
        return;
    }
    eprintln!("narthex: {text}");
    if let Some(place) = place(cli::render::color()) {
        eprintln!("{place}");
    }
}
