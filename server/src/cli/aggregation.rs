//! `narthex aggregation explain`: what rules of aggregation make of series.

use std::path::{Path, PathBuf};

use aggregate::{Config, Explained, Grouping};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use model::labels::Labels;
use promql::parser::parse_metric;

use super::check::FAILURE;
use super::render::{color, err, out};
use crate::config::{LoadOptions, read_aggregation, read_file};

pub(crate) fn command() -> Command {
    Command::new("aggregation")
        .about("Look into rules of stream aggregation")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("explain")
                .about("Say which rules take a series, and what comes out")
                .arg(
                    Arg::new("file")
                        .value_name("FILE")
                        .help("A file of rules, or a configuration file with the section aggregation")
                        .required(true)
                        .value_parser(value_parser!(PathBuf)),
                )
                .arg(
                    Arg::new("series")
                        .value_name("SERIES")
                        .help("Series, as in http_requests_total{job=\"api\"}")
                        .required(true)
                        .num_args(1..)
                        .action(ArgAction::Append),
                ),
        )
}

/// What is asked.
pub(crate) struct ExplainArgs {
    file: PathBuf,
    series: Vec<String>,
}

impl ExplainArgs {
    pub(crate) fn new(matches: &ArgMatches) -> Self {
        let Some(("explain", matches)) = matches.subcommand() else {
            unreachable!("clap requires a subcommand")
        };
        ExplainArgs {
            file: matches.get_one::<PathBuf>("file").cloned().unwrap_or_default(),
            series: matches
                .get_many::<String>("series")
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
        }
    }
}

/// Explains; the exit code.
pub(crate) fn explain(args: &ExplainArgs) -> u8 {
    let config = match read(&args.file) {
        Ok(config) => config,
        Err(message) => {
            err(message);
            return FAILURE;
        }
    };
    let mut code = 0;
    for series in &args.series {
        match parse_metric(series) {
            Ok(labels) => tell(&config, &labels),
            Err(error) => {
                err(format_args!("{series}: {error}"));
                code = FAILURE;
            }
        }
    }
    code
}

/// A list is a file of rules, a mapping a configuration file.
fn read(file: &Path) -> Result<Config, String> {
    let whole = read_file(file, &LoadOptions::default());
    let is_list = || {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        yaml::parse("", &text).is_ok_and(|document| document.root().sequence().is_ok())
    };
    let config = match whole {
        Err(_) if is_list() => read_aggregation(file),
        whole => whole.map(|(config, _)| config.aggregation),
    };
    config.map_err(|error| error.render(color()).unwrap_or_else(|| error.to_string()))
}

fn tell(config: &Config, labels: &Labels) {
    let told: Explained = aggregate::explain(config, labels);
    out(format_args!("{labels}"));
    if told.is_elected {
        out("  counts while its replica is elected");
    }
    match (told.is_stored, config.dedup_ms) {
        (false, _) => out("  is not stored"),
        (true, 0) => out(format_args!("  is stored as {}", told.stored)),
        (true, ms) => {
            let interval = model::duration::format_duration(ms);
            out(format_args!(
                "  is stored as {}, the newest sample of each {interval}",
                told.stored
            ));
        }
    }
    if told.taken.is_empty() {
        out("  no rule takes it");
    }
    for taken in &told.taken {
        let rule = &config.rules[taken.rule];
        let grouping = match &rule.grouping {
            Grouping::Each => String::new(),
            Grouping::By(names) => format!(", by {}", names.join(", ")),
            Grouping::Without(names) => format!(", without {}", names.join(", ")),
        };
        let name = if rule.name.is_empty() {
            String::new()
        } else {
            format!(" ({})", rule.name)
        };
        out(format_args!(
            "  rule {}{name} takes it: every {}{grouping}",
            taken.rule, rule.interval_text
        ));
        match &taken.taken {
            None => out("    relabelling drops it: nothing comes out"),
            Some(seen) if seen.input != told.stored => out(format_args!("    it sees {}", seen.input)),
            Some(_) => {}
        }
        for output in &taken.outputs {
            out(format_args!("    gives {output}"));
        }
    }
}
