//! `narthex check …`: verdicts on files and servers. Exit codes are the reference's: 0 fine, 1 wrong, 3 only lints.

mod aggregation;
mod alertmanager;
mod config;
mod metrics;
mod rules;
mod server;
mod targets;
mod web_config;

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};
use promql::engine::Features;
use promql::parser::ParseOptions;

use super::Action;
use super::render::out;

pub(crate) use aggregation::{AggregationArgs, aggregation};
pub(crate) use alertmanager::{AlertmanagerArgs, alertmanager, tell as tell_of_alertmanager};
pub(crate) use config::{ConfigArgs, config};
pub(crate) use metrics::{MetricsArgs, metrics};
pub(crate) use rules::{RulesArgs, rules};
pub(crate) use server::{ServerArgs, server};
pub(crate) use targets::{DiscoveryArgs, discovery};
pub(crate) use web_config::{WebConfigArgs, web_config};

/// Something is wrong.
pub(super) const FAILURE: u8 = 1;
/// Nothing is wrong, but lints were found, and they count.
const LINT: u8 = 3;

/// The command and its subcommands.
pub(crate) fn command() -> Command {
    Command::new("check")
        .about("Check files and servers")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(
            text(
                "query.lookback-delta",
                "DURATION",
                "How far back queries look for a sample; for too-long-scrape-interval",
            )
            .default_value("5m")
            .global(true),
        )
        .arg(enable_feature_arg())
        .subcommand(aggregation::command())
        .subcommand(alertmanager::command())
        .subcommand(config::command())
        .subcommand(rules::command())
        .subcommand(metrics::command())
        .subcommands(server::commands())
        .subcommand(targets::command())
        .subcommand(web_config::command())
}

/// What a command line asks for.
pub(crate) fn action(matches: &ArgMatches) -> Action {
    match matches.subcommand() {
        Some(("stream-aggregation", matches)) => Action::CheckAggregation(AggregationArgs::new(matches)),
        Some(("alertmanager", matches)) => Action::CheckAlertmanager(AlertmanagerArgs::new(matches)),
        Some(("config", matches)) => Action::CheckConfig(ConfigArgs::new(matches)),
        Some(("rules", matches)) => Action::CheckRules(RulesArgs::new(matches)),
        Some(("metrics", matches)) => Action::CheckMetrics(MetricsArgs::new(matches)),
        Some(("service-discovery", matches)) => Action::CheckDiscovery(DiscoveryArgs::new(matches)),
        Some(("web-config", matches)) => Action::CheckWebConfig(WebConfigArgs::new(matches)),
        Some((name, matches)) => Action::CheckServer(ServerArgs::new(name, matches)),
        None => unreachable!("clap requires a subcommand"),
    }
}

fn text(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

pub(super) fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).help(help).action(ArgAction::SetTrue)
}

pub(super) fn files(matches: &ArgMatches) -> Vec<PathBuf> {
    matches.get_many("files").into_iter().flatten().cloned().collect()
}

pub(super) fn files_arg(help: &'static str) -> Arg {
    Arg::new("files")
        .value_name("FILE")
        .help(help)
        .action(ArgAction::Append)
        .value_parser(clap::value_parser!(PathBuf))
}

fn word<'m>(matches: &'m ArgMatches, name: &str) -> &'m str {
    matches.get_one::<String>(name).map_or("", String::as_str)
}

/// `--enable-feature`, for a command and what is below it.
pub(super) fn enable_feature_arg() -> Arg {
    let help = "Features of PromQL that rules may use, with commas";
    text("enable-feature", "NAMES", help)
        .action(ArgAction::Append)
        .global(true)
}

/// Names of the features that are turned on.
pub(super) fn features(matches: &ArgMatches) -> impl Iterator<Item = &str> {
    // Commands without the flag have it only where the whole program has it.
    let lists = matches.try_get_many::<String>("enable-feature").ok().flatten();
    let lists = lists.into_iter().flatten();
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

/// What the parser accepts by the features that are turned on; unknown ones are said.
pub(super) fn parse_options(matches: &ArgMatches) -> ParseOptions {
    let mut parse = ParseOptions::default();
    for name in features(matches) {
        match name {
            "promql-experimental-functions" => parse.experimental_functions = true,
            "promql-extended-range-selectors" => parse.extended_range_selectors = true,
            "promql-binop-fill-modifiers" => parse.binop_fill_modifiers = true,
            "" | "promql-delayed-name-removal" | "promql-duration-expr" => {}
            name => out(format_args!(
                "  WARNING: Unknown feature passed to --enable-feature: {name}"
            )),
        }
    }
    parse
}

/// What an engine does by the features that are turned on; unknown ones are said.
pub(super) fn query_features(matches: &ArgMatches) -> Features {
    let parse = parse_options(matches);
    Features {
        experimental_functions: parse.experimental_functions,
        extended_range_selectors: parse.extended_range_selectors,
        binop_fill_modifiers: parse.binop_fill_modifiers,
        delayed_name_removal: features(matches).any(|name| name == "promql-delayed-name-removal"),
        ..Features::default()
    }
}

/// How rule files are read, as the command line has it.
fn rule_format(matches: &ArgMatches) -> ::rules::format::FormatOptions {
    ::rules::format::FormatOptions {
        ignore_unknown_fields: matches.get_flag("ignore-unknown-fields"),
        parse: parse_options(matches),
        ..::rules::format::FormatOptions::default()
    }
}

/// How several checks together end.
#[derive(Clone, Copy, Default)]
struct Tally {
    errors: bool,
    lints: bool,
    /// Something is configured that is not served, and that counts.
    unserved: bool,
}

impl Tally {
    fn exit_code(self, lint_fatal: bool) -> u8 {
        match self {
            Tally { errors: true, .. } => FAILURE,
            Tally { unserved: true, .. } => LINT,
            Tally { lints: true, .. } if lint_fatal => LINT,
            _ => 0,
        }
    }
}
