//! `check service-discovery`: which targets a job finds now, and what relabelling makes of them.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use ::discovery::{Context, Groups, Manager, SCRAPE};
use clap::{Arg, ArgMatches, Command};
use metrics::Registry;
use scraper::ScrapeConfig;
use serde_json::{Map, Value, json};

use super::{FAILURE, text, word};
use crate::cli::render::{err, out};
use crate::config::{LoadOptions, load_file};

/// Which job of which file.
pub(crate) struct DiscoveryArgs {
    file: PathBuf,
    job: String,
    timeout: Duration,
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
                "How long to wait for mechanisms; sooner where all have told what there is",
            )
            .value_parser(duration)
            .default_value("30s"),
        )
}

impl DiscoveryArgs {
    pub(super) fn new(matches: &ArgMatches) -> Self {
        let file = matches.get_one::<PathBuf>("file").cloned().unwrap_or_default();
        DiscoveryArgs {
            file,
            job: word(matches, "job").to_owned(),
            timeout: matches.get_one("timeout").copied().unwrap_or_default(),
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let ms = model::duration::parse_duration(text).map_err(|error| error.to_string())?;
    Ok(Duration::from_millis(ms.max(0).cast_unsigned()))
}

/// Finds and prints; the exit code. What goes wrong meanwhile is logged on standard error.
pub(crate) async fn discovery(args: &DiscoveryArgs) -> u8 {
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
    match find(job, args.timeout).await {
        Ok(groups) => {
            out(format_args!("{:#}", Value::Array(report(job, &groups))));
            0
        }
        Err(error) => {
            err(format_args!("Could not create new discoverer {error}"));
            FAILURE
        }
    }
}

/// What the job's mechanisms find until all have told what there is, or the time is up.
async fn find(job: &ScrapeConfig, timeout: Duration) -> Result<Groups, String> {
    let metrics = ::discovery::Metrics::new(&Registry::new());
    let mut manager = Manager::new(SCRAPE, Context::new(crate::version::USER_AGENT, metrics));
    let jobs = BTreeMap::from([(job.job_name.clone(), job.discovery.clone())]);
    let prepared = manager.prepare(jobs).map_err(|error| error.to_string())?;
    if let Some(error) = prepared.unavailable().next() {
        return Err(error.to_owned());
    }
    manager.apply(prepared);
    let _ = tokio::time::timeout(timeout, manager.settled()).await;
    let found = manager.subscribe();
    let found = found.borrow();
    Ok(found.get(&job.job_name).cloned().unwrap_or_default())
}

/// Each target once, in the reference's shape.
fn report(job: &ScrapeConfig, groups: &Groups) -> Vec<Value> {
    let mut targets = Vec::new();
    let mut seen = HashSet::new();
    for preview in groups.iter().flat_map(|group| scraper::preview_group(group, job)) {
        let mut target = json!({ "discoveredLabels": labels(&preview.discovered), "labels": {} });
        match &preview.outcome {
            Ok(Some(kept)) => target["labels"] = labels(kept),
            Ok(None) => {}
            Err(error) => target["error"] = error.to_string().into(),
        }
        if seen.insert(target.to_string()) {
            targets.push(target);
        }
    }
    targets
}

fn labels(labels: &model::labels::Labels) -> Value {
    Value::Object(
        labels
            .iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect::<Map<_, _>>(),
    )
}
