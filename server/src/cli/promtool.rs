//! The command line of the reference's tool, for a program that is called `promtool`.

use std::ffi::OsString;

use clap::Command;

use super::{Action, action, check, experimental_arg, named, promql, query, test, tsdb};

/// Compat: the reference's exit code for a command line that it does not understand
/// (`the_tools_go_by_the_references_name`).
const USAGE_CODE: i32 = 1;

fn command() -> Command {
    named("promtool")
        .about("Tooling for the Prometheus monitoring system, by Narthex.")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(experimental_arg())
        // Its place is anywhere on the line, not only behind the commands that heed it.
        .arg(check::enable_feature_arg())
        .subcommand(check::command())
        .subcommand(query::command())
        .subcommand(test::command())
        .subcommand(tsdb::command())
        .subcommand(promql::command())
}

/// Reads the command line; prints help and errors, and ends the process then.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Action {
    match command().try_get_matches_from(args) {
        Ok(matches) => action(&matches),
        Err(error) => {
            let code = if error.use_stderr() { USAGE_CODE } else { 0 };
            // Nowhere to say it is no reason to go on.
            let _ = error.print();
            std::process::exit(code);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_takes_flags_anywhere() {
        command().debug_assert();
        for line in [
            "promtool --experimental promql format up",
            "promtool promql format --experimental up",
            "promtool promql label-matchers set -t =~ up job a",
            "promtool --enable-feature=promql-experimental-functions check rules a.yml",
            "promtool check --enable-feature=a --query.lookback-delta=5m rules --lint=all a.yml",
            "promtool test rules --run=a --run=b --debug --diff --ignore-unknown-fields a.yml b.yml",
            "promtool test --junit=a.xml rules a.yml",
            "promtool check web-config a.yml b.yml",
            "promtool query -o json instant http://a up",
            "promtool tsdb list -r data",
            "promtool tsdb analyze --limit=3 --extended --match=up data BLOCK",
            "promtool tsdb dump --min-time=-1 --max-time=5 --match=up --match=x --sandbox-dir-root=/tmp --format=seriesjson d",
            "promtool tsdb dump-openmetrics --min-time=-1 --match=up d",
        ] {
            let parsed = command().try_get_matches_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.expect_err("failed"));
        }
        let line = "promtool --enable-feature=promql-experimental-functions test rules a.yml";
        let matches = command().try_get_matches_from(line.split(' ')).expect(line);
        let below = matches
            .subcommand_matches("test")
            .and_then(|m| m.subcommand_matches("rules"));
        let names: Vec<&str> = check::features(below.expect("rules")).collect();
        assert_eq!(names, ["promql-experimental-functions"]);
    }
}
