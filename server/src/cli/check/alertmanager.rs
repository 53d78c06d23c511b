//! `check alertmanager`: an Alertmanager's configuration files, and the templates that they name.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use ::notify::config::Config;
use ::notify::matcher::Syntax;
use clap::{ArgMatches, Command};
use jiff::Timestamp;
use receivers::{Templates, rehearsal};

use super::{FAILURE, files, files_arg};
use crate::alertmanager::in_the_references_words;
use crate::cli::render::{color, err, out};
use crate::config::{ConfigError, read_alertmanager};

pub(super) fn command() -> Command {
    Command::new("alertmanager")
        .about("Check configuration files of an Alertmanager, and the templates that they name")
        .arg(files_arg("Configuration files").required(true))
}

/// Which files.
pub(crate) struct AlertmanagerArgs {
    files: Vec<PathBuf>,
}

impl AlertmanagerArgs {
    pub(super) fn new(matches: &ArgMatches) -> Self {
        AlertmanagerArgs {
            files: files(matches),
        }
    }
}

/// Checks; the exit code. Output is that of `amtool check-config`; places of what is wrong go to standard error.
pub(crate) fn alertmanager(args: &AlertmanagerArgs) -> u8 {
    let failed = args
        .files
        .iter()
        .filter(|file| !check(file, Syntax::default()))
        .count();
    if failed > 0 {
        err(format_args!(
            "narthex: error: failed to validate {failed} file(s)"
        ));
        return FAILURE;
    }
    0
}

/// Says what is to be said of a file; whether it is good.
fn check(file: &Path, syntax: Syntax) -> bool {
    let config = read_alertmanager(file, syntax);
    let is_good = tell(&file.display(), config.as_ref().map_err(words));
    match config {
        Ok(config) => warn_of_templates(&file.display(), &config),
        Err(error) => error.render(color()).into_iter().for_each(err),
    }
    is_good
}

/// Says which templates fail when they are tried; the reference takes them.
pub(super) fn warn_of_templates(file: &dyn Display, config: &Config) {
    let Ok(templates) = Templates::load(&config.templates, "") else {
        return;
    };
    for failing in rehearsal::rehearse(&config.receivers, &templates, Timestamp::now()) {
        err(format_args!("narthex: warning: {file}: {failing}"));
    }
}

/// Says of `file` what was read, or why nothing was, as `amtool check-config` does; whether it is good, its templates
/// included.
pub(crate) fn tell(file: &dyn Display, config: Result<&Config, impl Display>) -> bool {
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            out(format_args!("Checking '{file}'  FAILED: {error}\n"));
            return false;
        }
    };
    out(format_args!(
        "Checking '{file}'  SUCCESS\nFound:\n - global config\n - route"
    ));
    out(format_args!(" - {} inhibit rules", config.inhibit_rules.len()));
    out(format_args!(" - {} receivers", config.receivers.len()));
    out(format_args!(" - {} templates", config.templates.len()));
    let templates = check_templates(config);
    match &templates {
        Ok(()) if config.templates.is_empty() => {}
        Ok(()) => out("  SUCCESS"),
        Err(error) => out(format_args!("  FAILED: {error}")),
    }
    out("");
    templates.is_ok()
}

/// Reads the templates that a configuration names.
///
/// # Errors
/// Why they cannot be used.
pub(super) fn check_templates(config: &Config) -> Result<(), receivers::TemplatesError> {
    Templates::load(&config.templates, "").map(drop)
}

fn words(error: &ConfigError) -> String {
    match error {
        ConfigError::Content(error) => in_the_references_words(error),
        other => other.to_string(),
    }
}
