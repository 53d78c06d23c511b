//! The command line: what it is called as, and what it is told to do.

pub(crate) mod agent_options;
pub(crate) mod alert;
pub(crate) mod alertmanager;
pub(crate) mod backtest;
pub(crate) mod check;
mod client;
pub(crate) mod feature_flags;
pub(crate) mod flags;
pub(crate) mod lint;
mod metrics_lint;
pub(crate) mod options;
mod progress;
pub(crate) mod promql;
mod promtool;
mod push_options;
pub(crate) mod pushgateway;
pub(crate) mod query;
pub(crate) mod render;
pub(crate) mod serve_options;
pub(crate) mod test;
pub(crate) mod token;
pub(crate) mod tsdb;

use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::version;
use flags::{FLAGS, Flag, FlagValues, Mode};

/// What to do.
pub(crate) enum Action {
    /// Serve.
    Serve(FlagValues),
    /// Serve as an agent.
    Agent(FlagValues),
    /// Serve a self-contained demonstration.
    Demo(FlagValues),
    /// Try rules on stored data.
    Backtest(backtest::BacktestArgs),
    /// Serve as an Alertmanager alone.
    Alertmanager(FlagValues),
    /// Serve as a push gateway alone.
    Pushgateway(FlagValues),
    /// Check an Alertmanager's configuration files.
    CheckAlertmanager(check::AlertmanagerArgs),
    /// Check configuration files.
    CheckConfig(check::ConfigArgs),
    /// Check rule files; without any, standard input.
    CheckRules(check::RulesArgs),
    /// Check metrics on standard input.
    CheckMetrics(check::MetricsArgs),
    /// Show what a job's discovery finds.
    CheckDiscovery(check::DiscoveryArgs),
    /// Check files for `--web.config.file`.
    CheckWebConfig(check::WebConfigArgs),
    /// Ask a server whether it is alive or ready.
    CheckServer(check::ServerArgs),
    /// Ask an Alertmanager, or look at its files.
    Alert(alert::AlertArgs),
    /// Find what will not do what is wanted.
    Lint(lint::LintArgs),
    /// Ask a server.
    Query(query::QueryArgs),
    /// Format or edit a query.
    Promql(promql::PromqlArgs),
    /// Run unit tests of rules.
    Test(test::TestArgs),
    /// Make a bearer token.
    Token(token::TokenArgs),
    /// Work on a data folder.
    Tsdb(tsdb::TsdbArgs),
}

impl Action {
    /// Whether the log is for a machine to read.
    pub(crate) fn logs_json(&self) -> bool {
        match self {
            Action::Serve(flags)
            | Action::Agent(flags)
            | Action::Demo(flags)
            | Action::Alertmanager(flags)
            | Action::Pushgateway(flags) => flags.get("log.format") == "json",
            _ => false,
        }
    }
}

/// Reads the command line; clap prints help and errors, and ends the process then. Called by the name of one of the
/// reference's programs, it takes that program's command line.
pub(crate) fn parse() -> Action {
    let called = std::env::args_os().next().unwrap_or_default();
    match Path::new(&called).file_stem().and_then(|name| name.to_str()) {
        Some("amtool") => Action::Alert(alert::AlertArgs::amtool(std::env::args_os().skip(1))),
        Some("promtool") => promtool::parse(std::env::args_os()),
        // Compat: the reference's exit code for a command line that it does not understand.
        Some("prometheus") => action(&matches(FLAGS, flags::add_to(FLAGS, named("prometheus")), 1)),
        Some("alertmanager") => {
            alertmanager::action(&matches(alertmanager::FLAGS, alertmanager::program(), 1))
        }
        Some("pushgateway") => pushgateway::action(&matches(pushgateway::FLAGS, pushgateway::program(), 1)),
        _ => action(&matches(FLAGS, command(), 2)),
    }
}

/// Reads the command line of a program with the server's flags.
fn matches(flags: &'static [Flag], command: Command, usage_code: i32) -> ArgMatches {
    let read = command.try_get_matches();
    read.unwrap_or_else(|error| {
        let code = if error.use_stderr() { usage_code } else { 0 };
        // Nowhere to say it is no reason to go on.
        let _ = flags::suggest(flags, error).print();
        std::process::exit(code)
    })
}

/// A program, and what every program says of itself.
fn named(name: &'static str) -> Command {
    Command::new(name)
        // What stands in front of the version.
        .display_name(format!("{name},"))
        .about("Scrapes metrics, stores them, answers PromQL, evaluates rules and sends alerts.")
        .version(version::of_program(name))
        .max_term_width(110)
}

/// `--experimental`: nothing here needs it, and command lines that have it go on working.
fn experimental_arg() -> Arg {
    Arg::new("experimental")
        .long("experimental")
        .help("Accepted; nothing needs it")
        .action(ArgAction::SetTrue)
        .hide(true)
        .global(true)
}

/// Flags that the short help of the program shows; `narthex serve --help` has all.
const SHORT_HELP: [&str; 8] = [
    "config.file",
    "storage.tsdb.path",
    "storage.tsdb.retention.time",
    "web.listen-address",
    "web.external-url",
    "web.enable-lifecycle",
    "enable-feature",
    "log.level",
];

const EXAMPLES: &str = "Examples:
  narthex --config.file=prometheus.yml       serve, as Prometheus does
  narthex demo                               look around
  narthex --agent                            scrape and send on, as Prometheus' agent does
  narthex alertmanager                       an Alertmanager alone
  narthex pushgateway                        a push gateway alone
  narthex check config prometheus.yml        before a reload
  narthex lint rules rules/*.yml             valid, and wrong all the same?
  narthex query instant http://localhost:9090 up
  narthex tsdb verify /var/lib/prometheus    is every file whole?
  narthex test rules tests/*.yml             unit tests of rules
  narthex alert query                        an Alertmanager's alerts

Called as prometheus, promtool, alertmanager, amtool or pushgateway (by a link), it takes that program's command line.";

fn command() -> Command {
    let serve =
        Command::new("serve").about("Scrape, store, answer and alert (what happens without a command, too)");
    let demo = Command::new("demo")
        .about("Serve three small services and rules about them, to look around")
        .long_about(
            "Starts the server with three small services inside. It scrapes them and itself, evaluates rules about \
             them, and prints each alert as it fires and resolves. Data goes to a temporary folder.",
        )
        .arg(listen_arg());
    flags::add_to(FLAGS, named("narthex"))
        .mut_args(|arg| {
            let shown = SHORT_HELP.contains(&arg.get_id().as_str());
            arg.hide_short_help(!shown)
        })
        // The commands stand where one looks after a long list of flags: at its end.
        .help_template("{about-with-newline}\n{usage-heading} {usage}\n\nOptions:\n{options}\n\nCommands:\n{subcommands}{after-help}")
        .after_help(EXAMPLES)
        .args_conflicts_with_subcommands(true)
        .subcommand(flags::add_to(FLAGS, serve))
        .subcommand(demo)
        .subcommand(alert::command())
        .subcommand(alertmanager::command())
        .subcommand(pushgateway::command())
        .subcommand(check::command())
        .subcommand(lint::command())
        .subcommand(query::command())
        .subcommand(test::command())
        .subcommand(backtest::command())
        .subcommand(tsdb::command())
        .subcommand(promql::command())
        .subcommand(token::command())
}

fn listen_arg() -> Arg {
    Arg::new("listen")
        .long("web.listen-address")
        .value_name("ADDRESS")
        .default_value("127.0.0.1:9090")
        .help("Address to listen on")
        .action(ArgAction::Set)
}

fn action(matches: &ArgMatches) -> Action {
    match matches.subcommand() {
        Some(("serve", matches)) => serving(matches),
        Some(("demo", matches)) => {
            let mut values = FlagValues::default_values(FLAGS);
            values.set(
                "web.listen-address",
                matches.get_one::<String>("listen").map_or("", String::as_str),
            );
            Action::Demo(values)
        }
        Some(("alert", matches)) => Action::Alert(alert::AlertArgs::narthex(matches)),
        Some(("alertmanager", matches)) => alertmanager::action(matches),
        Some(("pushgateway", matches)) => pushgateway::action(matches),
        Some(("check", matches)) => check::action(matches),
        Some(("lint", matches)) => Action::Lint(lint::args(matches)),
        Some(("rules", matches)) => Action::Backtest(backtest::args(matches)),
        Some(("query", matches)) => Action::Query(query::args(matches)),
        Some(("tsdb", matches)) => Action::Tsdb(tsdb::args(matches)),
        Some(("promql", matches)) => Action::Promql(promql::args(matches)),
        Some(("token", matches)) => Action::Token(token::TokenArgs::new(matches)),
        Some(("test", matches)) => Action::Test(test::args(matches)),
        _ => serving(matches),
    }
}

fn serving(matches: &ArgMatches) -> Action {
    let flags = FlagValues::from_matches(FLAGS, matches);
    match flags.mode() {
        Mode::Server => Action::Serve(flags),
        Mode::Agent => Action::Agent(flags),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags_of(words: &[&str]) -> FlagValues {
        match action(&command().try_get_matches_from(words).expect("valid")) {
            Action::Serve(values) => values,
            _ => panic!("serves"),
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn flags_are_read_as_the_reference_reads_them() {
        let values = flags_of(&["narthex"]);
        assert_eq!(values.get("storage.tsdb.path"), "data/");
        assert_eq!(values.get("scrape.adjust-timestamps"), "true");
        assert!(!values.is_given("config.file"));
        let values = flags_of(&[
            "narthex",
            "--config.file=a.yml",
            "--web.enable-lifecycle",
            "--no-scrape.adjust-timestamps",
            "--web.listen-address=:1",
            "--web.listen-address=:2",
            "--enable-feature=a,b",
        ]);
        assert_eq!(values.get("web.listen-address"), ":1,:2");
        assert_eq!(values.get("web.enable-lifecycle"), "true");
        assert_eq!(values.get("scrape.adjust-timestamps"), "false");
        assert!(values.is_given("config.file"));
        let values = flags_of(&[
            "narthex",
            "serve",
            "--no-web.enable-lifecycle",
            "--web.enable-lifecycle",
        ]);
        assert_eq!(values.get("web.enable-lifecycle"), "true");
    }
}
