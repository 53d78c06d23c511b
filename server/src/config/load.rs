//! Reading a configuration from files.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use notify::matcher::Syntax;
use scraper::{ScrapeConfig, ScrapeDefaults};
use yaml::YamlError;

use super::Config;

/// What counts when there is no file: the server scrapes itself at `ADDRESS`.
const DEFAULT_CONFIG: &str = "\
global:
  scrape_interval: 15s
scrape_configs:
  - job_name: narthex
    static_configs:
      - targets: ['ADDRESS']
";

/// Gives the values of environment variables.
pub(crate) type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// How a configuration is read.
#[derive(Clone, Copy)]
pub(crate) struct LoadOptions<'e> {
    /// Refuse sections that an agent has no use for.
    pub(crate) agent_mode: bool,
    /// Where variables in external labels come from.
    pub(crate) environment: Environment<'e>,
    /// What `extra_scrape_metrics` is where the file does not say.
    pub(crate) extra_scrape_metrics: bool,
    /// Whether scrapes ask for protobuf first where the file does not say what they ask for.
    pub(crate) protobuf_first: bool,
    /// A file of its own for the Alertmanager inside.
    pub(crate) alertmanager_file: Option<&'e Path>,
    /// A file of its own for rules of stream aggregation.
    pub(crate) aggregation_file: Option<&'e Path>,
}

impl Default for LoadOptions<'_> {
    fn default() -> Self {
        LoadOptions {
            agent_mode: false,
            environment: &|name| std::env::var(name).ok(),
            extra_scrape_metrics: false,
            protobuf_first: false,
            alertmanager_file: None,
            aggregation_file: None,
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Something in a file is wrong; the text starts with the place.
    #[error(transparent)]
    Content(#[from] YamlError),
    /// A pattern of `scrape_config_files` is malformed.
    #[error("error retrieving scrape config files for {pattern:?}: {source}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why not.
        source: yaml::GlobError,
    },
}

impl ConfigError {
    /// The place in the file with a mark under it, where there is one; with colours if `color`.
    pub(crate) fn render(&self, color: bool) -> Option<String> {
        match self {
            ConfigError::Content(error) => Some(error.render(color)),
            _ => None,
        }
    }
}

/// Something strange that is no error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Warning {
    /// A variable that is not set, or empty, became nothing.
    #[error("Empty environment variable {variable} in external label {label}")]
    EmptyVariable {
        /// The label.
        label: String,
        /// The variable.
        variable: String,
    },
}

/// A configuration with everything that its files hold.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// The file itself, with paths resolved against its folder.
    pub(crate) config: Config,
    /// All scrape configurations: those of the file, then those of `scrape_config_files`.
    pub(crate) jobs: Vec<ScrapeConfig>,
    /// What the Alertmanager inside is to do, where there is to be one.
    pub(crate) alertmanager: Option<notify::config::Config>,
    /// How samples are thinned: what the section says, and the rules of the file.
    pub(crate) aggregation: aggregate::Config,
    /// What the log should say.
    pub(crate) warnings: Vec<Warning>,
}

/// Reads the configuration file `path` and the scrape configuration files that it names.
///
/// # Errors
/// When a file cannot be read, or something in it is wrong.
pub(crate) fn load_file(path: &Path, options: &LoadOptions<'_>) -> Result<Loaded, ConfigError> {
    let (config, warnings) = read_file(path, options)?;
    Ok(Loaded {
        jobs: config.load_jobs()?,
        alertmanager: load_alertmanager(&config, options)?,
        aggregation: load_aggregation(&config, options)?,
        config,
        warnings,
    })
}

/// Reads the configuration file `path` alone; relative paths become relative to its folder.
///
/// # Errors
/// When the file cannot be read, or something in it is wrong.
pub(crate) fn read_file(
    path: &Path,
    options: &LoadOptions<'_>,
) -> Result<(Config, Vec<Warning>), ConfigError> {
    let document = read_document(path)?;
    let (mut config, warnings) = Config::read(&document, options)?;
    config.resolve_paths(folder_of(path));
    Ok((config, warnings))
}

/// The built-in configuration: `own_address` is scraped.
///
/// # Errors
/// When the address is none that a target can have.
pub(crate) fn load_default(own_address: &str, options: &LoadOptions<'_>) -> Result<Loaded, ConfigError> {
    let text = DEFAULT_CONFIG.replace("ADDRESS", own_address);
    let document = yaml::parse("built-in configuration", &text)?;
    let (config, warnings) = Config::read(&document, options)?;
    Ok(Loaded {
        jobs: config.scrape_configs.clone(),
        alertmanager: load_alertmanager(&config, options)?,
        aggregation: load_aggregation(&config, options)?,
        config,
        warnings,
    })
}

/// What the Alertmanager inside is to do: its own file says it, or a section of the configuration.
fn load_alertmanager(
    config: &Config,
    options: &LoadOptions<'_>,
) -> Result<Option<notify::config::Config>, ConfigError> {
    match options.alertmanager_file {
        Some(path) => read_alertmanager(path, Syntax::default()).map(Some),
        None => Ok(config.alertmanager.as_ref().map(|section| section.0.clone())),
    }
}

/// How samples are thinned: the section says it, and the rules of the file are added.
fn load_aggregation(config: &Config, options: &LoadOptions<'_>) -> Result<aggregate::Config, ConfigError> {
    let section = config.aggregation.clone();
    match options.aggregation_file {
        Some(path) => Ok(section.with_file(read_aggregation(path)?)),
        None => Ok(section),
    }
}

/// Reads a file of rules of stream aggregation.
///
/// # Errors
/// When it cannot be read, or something in it is wrong.
pub(crate) fn read_aggregation(path: &Path) -> Result<aggregate::Config, ConfigError> {
    Ok(aggregate::Config::parse_file(
        &path.to_string_lossy(),
        &read_text(path)?,
    )?)
}

/// Reads an Alertmanager's configuration file.
///
/// # Errors
/// When it cannot be read, or something in it is wrong.
pub(crate) fn read_alertmanager(path: &Path, syntax: Syntax) -> Result<notify::config::Config, ConfigError> {
    Ok(notify::config::Config::parse(
        &path.to_string_lossy(),
        &read_text(path)?,
        syntax,
    )?)
}

fn read_document(path: &Path) -> Result<yaml::Document, ConfigError> {
    Ok(yaml::parse(&path.to_string_lossy(), &read_text(path)?)?)
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    let text = std::fs::read(path).and_then(yaml::text_of);
    text.map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })
}

pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

impl Config {
    /// Makes relative paths relative to `folder`.
    fn resolve_paths(&mut self, folder: &Path) {
        self.global.resolve_paths(folder);
        self.alerting.resolve_paths(folder);
        for pattern in self.rule_files.iter_mut().chain(&mut self.scrape_config_files) {
            *pattern = join(folder, pattern);
        }
        for job in &mut self.scrape_configs {
            job.resolve_paths(folder);
        }
        self.unserved.resolve_paths(folder);
        if let Some(section) = &mut self.alertmanager {
            section.0.resolve_paths(folder);
        }
    }

    /// All scrape configurations: those of the file, then those that `scrape_config_files` name now.
    ///
    /// # Errors
    /// When such a file cannot be read, something in it is wrong, or a job's name is taken.
    pub(crate) fn load_jobs(&self) -> Result<Vec<ScrapeConfig>, ConfigError> {
        let mut jobs = self.scrape_configs.clone();
        let mut origins: BTreeMap<String, String> = jobs
            .iter()
            .map(|job| (job.job_name.clone(), "main config file".to_owned()))
            .collect();
        for pattern in &self.scrape_config_files {
            let paths = yaml::glob(pattern).map_err(|source| ConfigError::Pattern {
                pattern: pattern.clone(),
                source,
            })?;
            for path in paths {
                let document = read_document(&path)?;
                jobs.extend(load_jobs_of(&path, &document, &self.global.scrape, &mut origins)?);
            }
        }
        Ok(jobs)
    }
}

/// The jobs of one scrape configuration file; `origins` says where each name was first found.
fn load_jobs_of(
    path: &Path,
    document: &yaml::Document,
    defaults: &ScrapeDefaults,
    origins: &mut BTreeMap<String, String>,
) -> Result<Vec<ScrapeConfig>, ConfigError> {
    let mut section = document.root().section("a scrape configuration file")?;
    let folder = folder_of(path);
    let found = section.list("scrape_configs", |value| {
        let mut job = ScrapeConfig::read(value, defaults)?;
        if let Some(origin) = origins.get(&job.job_name) {
            let name = &job.job_name;
            let message =
                format!("found multiple scrape configs with job name {name:?}, first found in {origin}");
            return Err(value.error(message));
        }
        origins.insert(job.job_name.clone(), format!("{path:?}"));
        job.resolve_paths(folder);
        Ok(job)
    })?;
    section.finish()?;
    Ok(found)
}

/// `path` relative to `folder`, without `.` and without `..` where that can be told from the text.
pub(super) fn join(folder: &Path, path: &str) -> String {
    if path.is_empty() || Path::new(path).is_absolute() {
        return path.to_owned();
    }
    let mut joined = PathBuf::new();
    for part in folder.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if joined.file_name().is_some() => {
                joined.pop();
            }
            part => joined.push(part),
        }
    }
    joined.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_as_text() {
        for (folder, path, joined) in [
            ("", "rules.yml", "rules.yml"),
            ("etc", "./rules/*.yml", "etc/rules/*.yml"),
            ("etc/x", "../rules.yml", "etc/rules.yml"),
            ("", "../rules.yml", "../rules.yml"),
            ("..", "../rules.yml", "../../rules.yml"),
            (".", "a", "a"),
            ("/etc", "/x/y", "/x/y"),
        ] {
            assert_eq!(join(Path::new(folder), path), joined);
        }
    }
}
