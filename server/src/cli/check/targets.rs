//! `check service-discovery`: which targets a job finds now, and what relabelling makes of them.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};
use scraper::ScrapeConfig;
use serde_json::{Map, Value, json};

use super::config::groups;
use super::{FAILURE, text, word};
use crate::cli::render::{err, out};
use crate::config::{LoadOptions, load_file};

/// Which job of which file.
pub(crate) struct DiscoveryArgs {
    file: PathBuf,
    job: String,
}

pub(super) fn command() -> Command {
    let file = Arg::new("file")
        .value_name("FILE")
        .help("Configuration file")
        .required(true);
    Command::new("service-discovery")
        .about("Show which targets a job finds, before and after relabelling")
        .arg(file.value_parser(clap::value_parser!(PathBuf)))
        .arg(
            Arg::new("job")
                .value_name("JOB")
                .help("Name of the job")
                .required(true),
        )
        .arg(
            text(
                "timeout",
                "DURATION",
                "Accepted; files and lists are read at once",
            )
            .default_value("30s"),
        )
}

impl DiscoveryArgs {
    pub(super) fn new(matches: &ArgMatches) -> Self {
        let file = matches.get_one::<PathBuf>("file").cloned().unwrap_or_default();
        DiscoveryArgs {
            file,
            job: word(matches, "job").to_owned(),
        }
    }
}

/// Finds and prints; the exit code.
pub(crate) fn discovery(args: &DiscoveryArgs) -> u8 {
    let loaded = match load_file(&args.file, &LoadOptions::default()) {
        Ok(loaded) => loaded,
        Err(error) => {
            err(format_args!("Cannot load config {error}"));
            return FAILURE;
        }
    };
    let Some(job) = loaded.jobs.iter().find(|job| job.job_name == args.job) else {
        err(format_args!("Job {} not found. Select one of:", args.job));
        loaded
            .jobs
            .iter()
            .for_each(|job| err(format_args!("\t{}", job.job_name)));
        return FAILURE;
    };
    match report(job) {
        Ok(targets) => {
            out(format_args!("{:#}", Value::Array(targets)));
            0
        }
        Err(error) => {
            err(error);
            FAILURE
        }
    }
}

/// Each target once, in the reference's shape.
fn report(job: &ScrapeConfig) -> Result<Vec<Value>, super::config::CheckError> {
    let mut targets = Vec::new();
    for group in groups(&job.discovery, false, &format!("scrape job {:?}", job.job_name))? {
        for preview in scraper::preview_group(&group, job) {
            let mut target = json!({ "discoveredLabels": labels(&preview.discovered), "labels": {} });
            match &preview.outcome {
                Ok(Some(kept)) => target["labels"] = labels(kept),
                Ok(None) => {}
                Err(error) => target["error"] = error.to_string().into(),
            }
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
    }
    Ok(targets)
}

fn labels(labels: &model::labels::Labels) -> Value {
    Value::Object(
        labels
            .iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect::<Map<_, _>>(),
    )
}
