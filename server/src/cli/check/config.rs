//! `check config`: configuration files and, unless `--syntax-only`, every file that they name.

use std::path::{Path, PathBuf};

use ::notify::AlertmanagerConfig;
use clap::{ArgMatches, Command};
use discovery::{FileConfig, TargetGroup};
use httpclient::HttpClientConfig;
use model::relabel;
use rules::LintOptions;
use rules::format::FormatOptions;
use scraper::ScrapeConfig;

use super::alertmanager::{check_templates, warn_of_templates};
use super::rules::{check_file, lint_options};
use super::{Tally, files, files_arg, rule_format, switch, text, word};
use crate::cli::render::{color, err, out};
use crate::config::{Config, ConfigError, LoadOptions, read_file};

/// What is checked, and how.
pub(crate) struct ConfigArgs {
    files: Vec<PathBuf>,
    syntax_only: bool,
    agent_mode: bool,
    /// Scrape intervals from here on are too long for queries; `None` where nobody asks.
    lookback_ms: Option<i64>,
    lint: LintOptions,
    /// Whether sections that are not served count as wrong.
    unserved_fatal: bool,
    format: FormatOptions,
}

pub(super) fn command() -> Command {
    let lints = "What to look for besides errors: all, duplicate-rules, too-long-scrape-interval or none";
    Command::new("config")
        .about("Check configuration files and the files that they name")
        .arg(switch("syntax-only", "Look at the configuration files alone"))
        .arg(switch("agent", "Check them as configurations of an agent"))
        .arg(text("lint", "LINTS", lints).default_value("duplicate-rules"))
        .arg(switch("lint-fatal", "End with exit code 3 when a lint is found"))
        .arg(switch(
            "unserved-fatal",
            "End with exit code 3 when a section is configured that this version does not serve",
        ))
        .arg(switch(
            "ignore-unknown-fields",
            "Skip fields that rule files do not have, as extensions add them",
        ))
        .arg(files_arg("Configuration files").required(true))
}

impl ConfigArgs {
    pub(super) fn new(matches: &ArgMatches) -> Self {
        let words = word(matches, "lint");
        let asked: Vec<&str> = words.split(',').collect();
        let none = asked.contains(&"none");
        let wants_intervals = !none
            && asked
                .iter()
                .any(|word| matches!(*word, "all" | "too-long-scrape-interval"));
        let lookback = model::duration::parse_duration(word(matches, "query.lookback-delta"));
        let rule_lints: Vec<&str> = asked
            .into_iter()
            .filter(|word| *word != "too-long-scrape-interval")
            .collect();
        let rule_lints = if none {
            "none".to_owned()
        } else {
            rule_lints.join(",")
        };
        ConfigArgs {
            files: files(matches),
            syntax_only: matches.get_flag("syntax-only"),
            agent_mode: matches.get_flag("agent"),
            lookback_ms: lookback.ok().filter(|_| wants_intervals),
            lint: lint_options(&rule_lints, matches.get_flag("lint-fatal")),
            unserved_fatal: matches.get_flag("unserved-fatal"),
            format: rule_format(matches),
        }
    }
}

/// What is wrong with a configuration or with a file that it names.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckError {
    /// The configuration itself.
    #[error("{}", parsing(.0))]
    Config(ConfigError),
    /// A file of `scrape_config_files`.
    #[error("error loading scrape configs: {0}")]
    Jobs(ConfigError),
    #[error("{0:?}: {1}")]
    Pattern(String, yaml::GlobError),
    #[error("{0:?} does not point to an existing file")]
    NoRuleFile(String),
    #[error("error checking {what} {path:?}: {source}")]
    File {
        what: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("checking SD file {0}")]
    Discovery(discovery::FileError),
    #[error(transparent)]
    Target(#[from] Box<TargetFault>),
    #[error("{0:?} is not a valid hostname")]
    Alertmanager(String),
    #[error("alertmanager: failed to parse templates: {0}")]
    Templates(#[from] receivers::TemplatesError),
}

/// A target that cannot be scraped.
#[derive(Debug, thiserror::Error)]
#[error("job {job:?}: instance {instance} in group {group}: {source}")]
pub(super) struct TargetFault {
    job: String,
    instance: usize,
    group: String,
    source: scraper::TargetError,
}

/// The reference's words; the place is shown behind them.
fn parsing(error: &ConfigError) -> String {
    match error {
        ConfigError::Content(error) => format!("parsing YAML file {}: {}", error.path(), error.message()),
        error => error.to_string(),
    }
}

impl CheckError {
    fn render(&self, color: bool) -> Option<String> {
        match self {
            CheckError::Config(error) | CheckError::Jobs(error) => error.render(color),
            CheckError::Discovery(discovery::FileError::Content(error)) => Some(error.render(color)),
            _ => None,
        }
    }
}

/// Checks; the exit code.
pub(crate) fn config(args: &ConfigArgs) -> u8 {
    let mut tally = Tally::default();
    for file in &args.files {
        out(format_args!("Checking {}", file.display()));
        let found = check(file, args);
        match &found {
            Ok(found) => {
                if !found.rule_files.is_empty() {
                    out(format_args!(
                        "  SUCCESS: {} rule files found",
                        found.rule_files.len()
                    ));
                }
                out(format_args!(
                    " SUCCESS: {} is valid prometheus config file syntax",
                    file.display()
                ));
            }
            Err(error) => {
                err(format_args!("  FAILED: {error}"));
                if let Some(place) = error.render(color()) {
                    err(place);
                }
                tally.errors = true;
            }
        }
        out("");
        if let Ok(found) = found {
            tally.unserved |= args.unserved_fatal && !found.is_served;
            tally.lints |= args
                .lookback_ms
                .is_some_and(|ms| !args.syntax_only && lint_intervals(&found.jobs, ms));
            for path in &found.rule_files {
                check_file(path, &args.format, &args.lint, &mut tally);
            }
        }
    }
    tally.exit_code(args.lint.fatal)
}

/// What a configuration names.
#[derive(Default)]
struct Found {
    rule_files: Vec<PathBuf>,
    jobs: Vec<ScrapeConfig>,
    /// Whether this version serves all that is configured.
    is_served: bool,
}

fn check(file: &Path, args: &ConfigArgs) -> Result<Found, CheckError> {
    let options = LoadOptions {
        agent_mode: args.agent_mode,
        ..LoadOptions::default()
    };
    let (config, warnings) = read_file(file, &options).map_err(CheckError::Config)?;
    for warning in warnings {
        err(format_args!("  WARNING: {warning}"));
    }
    let unserved = config.unserved();
    for section in &unserved {
        err(format_args!(
            "  WARNING: {section} is configured, but this version does not serve it"
        ));
    }
    let found = if args.syntax_only {
        Found {
            rule_files: Vec::new(),
            jobs: config.scrape_configs.clone(),
            is_served: unserved.is_empty(),
        }
    } else {
        Found {
            rule_files: rule_files(&config)?,
            jobs: config.load_jobs().map_err(CheckError::Jobs)?,
            is_served: unserved.is_empty(),
        }
    };
    if let Some(section) = config.alertmanager.as_ref().filter(|_| !args.syntax_only) {
        check_templates(&section.0)?;
        warn_of_templates(&file.display(), &section.0);
    }
    for job in &found.jobs {
        let context = format!("scrape job {:?}", job.job_name);
        if !args.syntax_only {
            check_files(&job.http_client, &context)?;
        }
        let groups = groups(&job.discovery, args.syntax_only, &context)?;
        groups.iter().try_for_each(|group| check_targets(group, job))?;
    }
    for alertmanager in &config.alerting.alertmanagers {
        let groups = groups(&alertmanager.discovery, args.syntax_only, "alertmanager config")?;
        groups
            .iter()
            .try_for_each(|group| check_alertmanagers(group, alertmanager))?;
    }
    Ok(found)
}

fn rule_files(config: &Config) -> Result<Vec<PathBuf>, CheckError> {
    let mut all = Vec::new();
    for pattern in &config.rule_files {
        let paths = yaml::glob(pattern).map_err(|error| CheckError::Pattern(pattern.clone(), error))?;
        if paths.is_empty() && !pattern.contains('*') {
            return Err(CheckError::NoRuleFile(pattern.clone()));
        }
        all.extend(paths);
    }
    Ok(all)
}

/// Looks for the files of an HTTP client. Compat: only those fail the check that fail the reference's; others that
/// are missing bring a warning (`files_that_a_configuration_names_are_looked_at`).
fn check_files(http: &HttpClientConfig, context: &str) -> Result<(), CheckError> {
    let tls = &http.tls_config;
    let credentials = http
        .authorization
        .as_ref()
        .map_or(Path::new(""), |auth| &auth.credentials_file);
    let fatal = [
        (credentials, "authorization credentials or bearer token file"),
        (&tls.cert_file, "client cert file"),
        (&tls.key_file, "client key file"),
    ];
    for path in http.files() {
        let Err(source) = path.metadata() else { continue };
        match fatal.iter().find(|(fatal, _)| *fatal == path) {
            Some((_, what)) => {
                return Err(CheckError::File {
                    what,
                    path: path.to_owned(),
                    source,
                });
            }
            None => out(format_args!("  WARNING: file {path:?} of {context}: {source}")),
        }
    }
    Ok(())
}

/// Groups that a configuration lists, and those of the files that it names.
fn groups(
    mechanisms: &discovery::Mechanisms,
    syntax_only: bool,
    context: &str,
) -> Result<Vec<TargetGroup>, CheckError> {
    let listed = mechanisms.static_configs.iter().enumerate();
    let mut groups: Vec<TargetGroup> = listed
        .map(|(index, group)| group.group(index.to_string()))
        .collect();
    for file_sd in mechanisms.file_configs().filter(|_| !syntax_only) {
        for pattern in &file_sd.files {
            let one = FileConfig {
                files: vec![pattern.clone()],
                refresh_interval: file_sd.refresh_interval,
            };
            let (paths, mut errors) = one.paths();
            if let Some(error) = errors.pop() {
                return Err(CheckError::Discovery(error));
            }
            if paths.is_empty() {
                out(format_args!(
                    "  WARNING: file {pattern:?} for file_sd in {context} does not exist"
                ));
            }
            for path in paths {
                groups.extend(discovery::read_groups(&path).map_err(CheckError::Discovery)?);
            }
        }
    }
    Ok(groups)
}

fn check_targets(group: &TargetGroup, job: &ScrapeConfig) -> Result<(), CheckError> {
    let previews = scraper::preview_group(group, job).into_iter().enumerate();
    for (instance, preview) in previews {
        if let Err(source) = preview.outcome {
            let (job, group) = (job.job_name.clone(), group.source.clone());
            return Err(CheckError::Target(Box::new(TargetFault {
                job,
                instance,
                group,
                source,
            })));
        }
    }
    Ok(())
}

fn check_alertmanagers(group: &TargetGroup, config: &AlertmanagerConfig) -> Result<(), CheckError> {
    for target in &group.targets {
        let mut labels = group.labels.to_builder();
        for (name, value) in target {
            labels.set(name, value);
        }
        labels.set("__scheme__", &config.scheme);
        labels.set(
            "__alerts_path__",
            &format!("{}/api/v2/alerts", config.path_prefix.trim_end_matches('/')),
        );
        if relabel::apply(&config.relabel_configs, &mut labels) && labels.value("__address__").contains('/') {
            return Err(CheckError::Alertmanager(labels.value("__address__").to_owned()));
        }
    }
    Ok(())
}

/// Whether a job is scraped so rarely that queries would not see its samples in between.
fn lint_intervals(jobs: &[ScrapeConfig], lookback_ms: i64) -> bool {
    let too_long = jobs.iter().find(|job| job.scrape_interval.as_ms() >= lookback_ms);
    if let Some(job) = too_long {
        err(format_args!(
            "  FAILED: too long scrape interval found, data point will be marked as stale - job: {}, interval: {}",
            job.job_name, job.scrape_interval
        ));
    }
    too_long.is_some()
}
