//! `check stream-aggregation`: files of rules that thin samples.

use std::path::PathBuf;

use clap::{ArgMatches, Command};

use super::{FAILURE, files, files_arg};
use crate::cli::render::{color, err, out};
use crate::config::read_aggregation;

pub(super) fn command() -> Command {
    Command::new("stream-aggregation")
        .about("Check files of rules of stream aggregation, as --storage.aggregation.config.file takes them")
        .arg(files_arg("Files of rules").required(true))
}

/// Which files.
pub(crate) struct AggregationArgs {
    files: Vec<PathBuf>,
}

impl AggregationArgs {
    pub(super) fn new(matches: &ArgMatches) -> Self {
        AggregationArgs {
            files: files(matches),
        }
    }
}

/// Checks; the exit code. Places of what is wrong go to standard error.
pub(crate) fn aggregation(args: &AggregationArgs) -> u8 {
    let mut code = 0;
    for file in &args.files {
        out(format_args!("Checking {}", file.display()));
        match read_aggregation(file) {
            Ok(config) => out(format_args!("  SUCCESS: {} rules found\n", config.rules.len())),
            Err(error) => {
                let rendered = error.render(color()).unwrap_or_else(|| error.to_string());
                err(format_args!("  FAILED:\n{rendered}\n"));
                code = FAILURE;
            }
        }
    }
    code
}
