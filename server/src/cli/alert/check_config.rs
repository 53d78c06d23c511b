//! `check-config`: verdicts on configuration files.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use notify::config::Config;
use notify::matcher::Syntax;
use receivers::Templates;
use yaml::YamlError;

use super::error::AlertError;
use super::line::Line;
use super::matchers::Words;
use crate::cli::render::out;

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
    let config = match read_config(file, syntax) {
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
    let templates = Templates::load(&config.templates, "");
    match &templates {
        Ok(_) if config.templates.is_empty() => {}
        Ok(_) => out("  SUCCESS"),
        Err(error) => out(format_args!("  FAILED: {error}")),
    }
    out("");
    templates.is_ok()
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
    Config::parse(file, &text, syntax).map_err(|error| AlertError::Config(config_words(&error)))
}

/// What the reference's reader of YAML calls otherwise than ours, by how ours begins.
const SYNTAX_WORDS: [(&str, &str); 3] = [
    ("unclosed bracket '{'", "did not find expected ',' or '}'"),
    ("unclosed bracket '['", "did not find expected ',' or ']'"),
    ("tabs disallowed", "found character that cannot start any token"),
];

/// What is wrong with a configuration, as the reference says it: without the place, but for what its reader of YAML finds
/// by itself.
pub(super) fn config_words(error: &YamlError) -> String {
    let (message, line) = (error.message(), error.position().line);
    if let Some((_, words)) = SYNTAX_WORDS.iter().find(|(ours, _)| message.starts_with(ours)) {
        return format!("yaml: line {line}: {words}");
    }
    let of_types = |words: &str| format!("yaml: unmarshal errors:\n  line {line}: {words}");
    let list = message.strip_prefix("expected a mapping (type ");
    if let Some(expected) = list.and_then(|rest| rest.strip_suffix("), found a list")) {
        return of_types(&format!("cannot unmarshal !!seq into {expected}"));
    }
    let is_unknown_field = message.starts_with("field ") && message.contains(" not found in type ");
    if is_unknown_field || message.starts_with("cannot unmarshal ") {
        return of_types(message);
    }
    message.to_owned()
}
