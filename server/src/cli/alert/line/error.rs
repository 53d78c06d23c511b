//! What is wrong with a line, in words that scripts may know.

use model::go::{Quoted, system_words};

/// Why a line is not understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(in crate::cli::alert) enum LineError {
    /// A flag that is not there.
    #[error("unknown {} flag '{flag}'", if .flag.starts_with("--") { "long" } else { "short" })]
    UnknownFlag { flag: String },
    /// A flag without its value.
    #[error("expected argument for flag '{0}'")]
    NoValue(String),
    /// A flag that stands twice.
    #[error("flag '{0}' cannot be repeated")]
    Repeated(&'static str),
    /// A word where a command should be.
    #[error("expected command but got {}", Quoted(.0))]
    UnknownCommand(String),
    /// A word too many.
    #[error("unexpected {0}")]
    TooMany(String),
    /// A command that does nothing by itself.
    #[error("must select a subcommand of '{0}'")]
    NoCommand(String),
    /// Flags that must be there.
    #[error("required flag(s) {0} not provided")]
    Required(String),
    /// Nobody said which server.
    #[error("required flag --alertmanager.url not provided")]
    NoServer,
    /// A word that is none of the flag's.
    #[error("enum value must be one of {}, got '{word}'", .words.join(","))]
    Word {
        words: &'static [&'static str],
        word: String,
    },
    /// No duration.
    #[error("time: {0}")]
    Duration(String),
    /// No number.
    #[error("strconv.ParseFloat: parsing {}: invalid syntax", Quoted(.0))]
    Number(String),
    /// Neither yes nor no.
    #[error("strconv.ParseBool: parsing {}: invalid syntax", Quoted(.0))]
    Switch(String),
    /// No URL.
    #[error("parse {}: {source}", Quoted(.text))]
    Url { text: String, source: url::ParseError },
    /// No file of that name.
    #[error("path '{0}' does not exist")]
    NoFile(String),
    /// A folder.
    #[error("'{0}' is a directory")]
    Folder(String),
    /// A file that cannot be looked at.
    #[error("stat {path}: {}", system_words(.source))]
    File { path: String, source: std::io::Error },
    /// A file that cannot be opened, that of a flag or one of words (`@name`).
    #[error("open {path}: {}", system_words(.source))]
    Open { path: String, source: std::io::Error },
}
