//! `narthex test rules`: unit tests of rules, as the reference's tool runs them.

mod junit;

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};
use model::regex::Regex;
use promql::engine::Features;
use rules::unit::{UnitOptions, UnitReport, test_file};

use super::check::{FAILURE, enable_feature_arg, files, files_arg, query_features, switch};
use super::render::{color, err, err_text, out_text};

/// Which tests, and how.
pub(crate) struct TestArgs {
    files: Vec<PathBuf>,
    run: Vec<String>,
    debug: bool,
    diff: bool,
    ignore_unknown_fields: bool,
    junit: Option<PathBuf>,
    features: Features,
}

/// The command and its subcommand.
pub(crate) fn command() -> Command {
    Command::new("test")
        .about("Run unit tests")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(enable_feature_arg())
        .arg(
            Arg::new("junit")
                .long("junit")
                .value_name("FILE")
                .help("Write the results as JUnit XML, too")
                .global(true)
                .value_parser(clap::value_parser!(PathBuf)),
        )
        .subcommand(
            Command::new("rules")
                .about("Run unit tests of rules")
                .after_help(
                    "Examples:\n  narthex test rules alerts.test.yml\n  \
                     narthex test rules --run='^Instance' --diff tests/*.yml\n  \
                     narthex test --junit=results.xml rules tests/*.yml",
                )
                .arg(
                    Arg::new("run")
                        .long("run")
                        .value_name("REGEX")
                        .help("Only tests whose name matches; may be given several times")
                        .action(ArgAction::Append),
                )
                .arg(switch(
                    "debug",
                    "Say when tests begin and end, and print all samples of each",
                ))
                .arg(switch("diff", "Show differences line by line"))
                .arg(switch(
                    "ignore-unknown-fields",
                    "Skip fields that rule files do not have, as extensions add them",
                ))
                .arg(files_arg("Files of tests").required(true)),
        )
}

/// What a command line asks for.
pub(crate) fn args(matches: &ArgMatches) -> TestArgs {
    let (_, matches) = matches.subcommand().unwrap_or(("", matches));
    TestArgs {
        files: files(matches),
        run: matches.get_many("run").into_iter().flatten().cloned().collect(),
        debug: matches.get_flag("debug"),
        diff: matches.get_flag("diff"),
        ignore_unknown_fields: matches.get_flag("ignore-unknown-fields"),
        junit: matches.get_one("junit").cloned(),
        features: query_features(matches),
    }
}

/// Runs them; the exit code.
pub(crate) fn run(args: &TestArgs) -> u8 {
    let run = match args.run.as_slice() {
        [] => None,
        patterns => match Regex::unanchored(&patterns.join("|")) {
            Ok(run) => Some(run),
            Err(error) => {
                err(format_args!("--run: {error}"));
                return FAILURE;
            }
        },
    };
    let mut options = UnitOptions {
        features: args.features,
        run,
        dump: args.debug,
        ..UnitOptions::default()
    };
    options.format.ignore_unknown_fields = args.ignore_unknown_fields;
    options.format.parse = args.features.parse_options();
    let mut suites = junit::Suites::default();
    let (mut failed, mut ran) = (false, 0);
    for file in &args.files {
        let text = match std::fs::read(file).and_then(yaml::text_of) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("{}: {error}", file.display());
                err(format_args!("  FAILED:\n{message}"));
                out_text("\n\n");
                suites.abort(file, &message);
                failed = true;
                continue;
            }
        };
        let report = test_file(file, &text, &options);
        say_debug(&report);
        let is_success = report.is_success();
        if args.files.len() > 1 && !is_success {
            err(format_args!("{}:", file.display()));
        }
        err_text(&report.stderr_with(args.diff.then(color)));
        if !is_success && !report.unmatched.is_empty() {
            // Behind the failures, which may be many: most likely it is their reason.
            err(format_args!(
                "{}: no rules were loaded from {}: there is no such file. What failed above may need them",
                file.display(),
                report.unmatched.join(", ")
            ));
        }
        ran += report.tests.len();
        out_text(&report.stdout());
        suites.add(file, &report);
        failed |= !is_success;
    }
    // Compat: no failure, as in the reference's tool.
    if options.run.is_some() && ran == 0 && !failed {
        err("--run matches the name of no test: nothing was run");
    }
    if let Some(path) = &args.junit
        && let Err(error) = std::fs::write(path, suites.xml())
    {
        err(format_args!(
            "failed to write JUnit XML: {}: {error}",
            path.display()
        ));
        return FAILURE;
    }
    u8::from(failed)
}

/// When tests began and ended, and what was stored then; nothing unless that was kept.
fn say_debug(report: &UnitReport) {
    for test in &report.tests {
        let Some(dump) = &test.dump else { continue };
        err(format_args!("DEBUG: Starting test {}", test.name));
        let until = template::Value::Duration(dump.until_ms.saturating_mul(1_000_000));
        err(format_args!(
            "DEBUG: Dump of all data (input_series and rules) at {until}:"
        ));
        err(&dump.text);
        err(format_args!(
            "DEBUG: Test {} finished, took {:?}",
            test.name, test.elapsed
        ));
    }
}
