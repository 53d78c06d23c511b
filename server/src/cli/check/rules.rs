//! `check rules`: rule files, or one on standard input.

use std::io::Read;
use std::path::{Path, PathBuf};

use ::rules::format::FormatOptions;
use ::rules::{CheckReport, LintOptions};
use clap::{ArgMatches, Command};

use super::{FAILURE, Tally, files, files_arg, rule_format, switch, text, word};
use crate::cli::render::{color, err, err_text, out, out_text};

/// What is checked, and how.
pub(crate) struct RulesArgs {
    files: Vec<PathBuf>,
    lint: LintOptions,
    format: FormatOptions,
}

pub(super) fn command() -> Command {
    Command::new("rules")
        .about("Check rule files; without any, standard input")
        .arg(
            text(
                "lint",
                "LINTS",
                "What to look for besides errors: all, duplicate-rules or none",
            )
            .default_value("duplicate-rules"),
        )
        .arg(switch("lint-fatal", "End with exit code 3 when a lint is found"))
        .arg(switch(
            "ignore-unknown-fields",
            "Skip fields that rule files do not have, as extensions add them",
        ))
        .arg(files_arg("Rule files"))
}

impl RulesArgs {
    pub(super) fn new(matches: &ArgMatches) -> Self {
        RulesArgs {
            files: files(matches),
            lint: lint_options(word(matches, "lint"), matches.get_flag("lint-fatal")),
            format: rule_format(matches),
        }
    }
}

/// Reads `--lint`; words that nobody knows are said and skipped, as in the reference.
pub(super) fn lint_options(words: &str, fatal: bool) -> LintOptions {
    let mut options = LintOptions {
        duplicate_rules: false,
        fatal,
    };
    for word in words.split(',') {
        match LintOptions::parse(word, fatal) {
            Ok(lint) => options.duplicate_rules |= lint.duplicate_rules,
            Err(_) => out(format_args!("WARNING: unknown lint option: {word:?}")),
        }
    }
    options
}

/// Checks; the exit code.
pub(crate) fn rules(args: &RulesArgs) -> u8 {
    if args.files.is_empty() {
        return check_stdin(args);
    }
    let mut tally = Tally::default();
    for file in &args.files {
        check_file(file, &args.format, &args.lint, &mut tally);
    }
    tally.exit_code(args.lint.fatal)
}

fn check_stdin(args: &RulesArgs) -> u8 {
    let mut bytes = Vec::new();
    let read = std::io::stdin().read_to_end(&mut bytes);
    let text = match read.and_then(|_| yaml::text_of(bytes)) {
        Ok(text) => text,
        Err(error) => {
            out("Checking standard input");
            err(format_args!("  FAILED: {error}"));
            return FAILURE;
        }
    };
    let mut tally = Tally::default();
    report(
        &::rules::check(&text, "standard input", &args.format, &args.lint),
        &mut tally,
    );
    tally.exit_code(args.lint.fatal)
}

/// Checks one file and says what was found.
pub(super) fn check_file(file: &Path, format: &FormatOptions, lint: &LintOptions, tally: &mut Tally) {
    let name = file.to_string_lossy();
    match std::fs::read(file).and_then(yaml::text_of) {
        Ok(text) => report(&::rules::check(&text, &name, format, lint), tally),
        Err(error) => {
            out(format_args!("Checking {name}"));
            err(format_args!("  FAILED:\n{name}: {error}"));
            tally.errors = true;
        }
    }
}

fn report(report: &CheckReport, tally: &mut Tally) {
    out_text(&report.stdout());
    for warning in &report.warnings {
        err(format_args!("{}: {warning}", report.path));
    }
    err_text(&report.stderr_with_marks(color()));
    tally.errors |= !report.errors.is_empty();
    tally.lints |= !report.duplicates.is_empty();
}
