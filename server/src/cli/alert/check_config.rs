//! `check-config`: verdicts on configuration files.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use notify::config::Config;
use notify::matcher::Syntax;

use super::error::AlertError;
use super::line::Line;
use super::matchers::Words;
use crate::alertmanager::in_the_references_words;
use crate::cli::check::tell_of_alertmanager;

/// Where a program finds its standard input.
const STDIN: &str = "/dev/stdin";

/// Checks files; without any, standard input.
pub(super) fn run(line: &Line, words: &Words) -> Result<(), AlertError> {
    let mut files = line.args().to_vec();
    if files.is_empty() {
        if is_typed() {
            return Err(AlertError::NoInput);
        }
        files.push(STDIN.to_owned());
    }
    let failed = files.iter().filter(|file| !check(file, words.syntax())).count();
    if failed > 0 {
        return Err(AlertError::Invalid(failed));
    }
    Ok(())
}

/// Whether standard input is a device, and not a file or another program's output.
fn is_typed() -> bool {
    let stdin = std::io::stdin();
    let metadata = stdin
        .as_fd()
        .try_clone_to_owned()
        .map(File::from)
        .and_then(|file| file.metadata());
    metadata.is_ok_and(|metadata| metadata.file_type().is_char_device())
}

/// Says what is to be said of a file; whether it is good.
fn check(file: &str, syntax: Syntax) -> bool {
    tell_of_alertmanager(&file, read_config(file, syntax).as_ref())
}

/// Reads a configuration file.
///
/// # Errors
/// When it cannot be read, or something in it is wrong.
pub(super) fn read_config(file: &str, syntax: Syntax) -> Result<Config, AlertError> {
    let text = std::fs::read(Path::new(file)).and_then(yaml::text_of);
    let text = text.map_err(|source| AlertError::Read {
        path: PathBuf::from(file),
        source,
    })?;
    Config::parse(file, &text, syntax).map_err(|error| AlertError::Config(in_the_references_words(&error)))
}
