//! `check metrics`: a scrape body on standard input.

use std::io::Read;

use clap::{ArgMatches, Command};

use super::{FAILURE, LINT, switch, text, word};
use crate::cli::metrics_lint::{cardinality, lint};
use crate::cli::render::{err, out};

/// What is looked for.
pub(crate) struct MetricsArgs {
    lint: bool,
    extended: bool,
}

pub(super) fn command() -> Command {
    Command::new("metrics")
        .about("Check metrics on standard input: their form, names and types")
        .after_help("curl -s http://localhost:9090/metrics | narthex check metrics")
        .arg(switch("extended", "Show how many series each metric has"))
        .arg(text("lint", "LINTS", "What to look for besides errors: all or none").default_value("all"))
}

impl MetricsArgs {
    pub(super) fn new(matches: &ArgMatches) -> Self {
        MetricsArgs {
            lint: word(matches, "lint") != "none",
            extended: matches.get_flag("extended"),
        }
    }
}

/// Checks; the exit code.
pub(crate) fn metrics(args: &MetricsArgs) -> u8 {
    if !args.lint && !args.extended {
        err("error: at least one of --extended or linting must be enabled");
        err("Use --extended for cardinality analysis, or remove --lint=none to enable linting");
        return FAILURE;
    }
    let mut body = Vec::new();
    if let Err(error) = std::io::stdin().read_to_end(&mut body) {
        err(format_args!("error while linting: {error}"));
        return FAILURE;
    }
    let mut problems = Vec::new();
    if args.lint {
        match lint(&body) {
            Ok(found) => problems = found,
            Err(error) => {
                err(format_args!("error while linting: {error}"));
                return FAILURE;
            }
        }
    }
    for problem in &problems {
        err(format_args!("{} {}", problem.metric, problem.text));
    }
    if args.extended {
        match cardinality(&body) {
            Ok(families) => print_cardinality(families),
            Err(error) => {
                err(format_args!(
                    "error while parsing text to metric families: {error}"
                ));
                return FAILURE;
            }
        }
    }
    if problems.is_empty() { 0 } else { LINT }
}

/// A table in the reference's layout, largest first.
fn print_cardinality(mut families: Vec<(String, usize)>) {
    families.sort_by(|(a, x), (b, y)| (y, a).cmp(&(x, b)));
    let total: usize = families.iter().map(|(_, series)| series).sum();
    let mut rows = vec![[
        "Metric".to_owned(),
        "Cardinality".to_owned(),
        "Percentage".to_owned(),
    ]];
    for (name, series) in families {
        let share = series as f64 * 100.0 / total as f64;
        rows.push([name, series.to_string(), format!("{share:.2}%")]);
    }
    rows.push(["Total".to_owned(), total.to_string(), "100%".to_owned()]);
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
            + 4
    };
    let widths = [width(0), width(1), width(2)];
    for row in &rows {
        out(format_args!(
            "{:w0$}{:w1$}{:w2$}",
            row[0],
            row[1],
            row[2],
            w0 = widths[0],
            w1 = widths[1],
            w2 = widths[2]
        ));
    }
}
