//! Why a command fails.

use std::path::PathBuf;

use model::duration::DurationError;
use notify::matcher::MatcherError;

use super::client::ApiError;
use super::line::LineError;
use super::moment::MomentError;
use super::settings::SettingsError;

/// Why a command fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum AlertError {
    /// The line is not understood.
    #[error(transparent)]
    Line(#[from] LineError),
    /// A file of settings is wrong.
    #[error("could not load config file: {0}")]
    Settings(#[from] SettingsError),
    /// A feature that is not there, or two that exclude each other.
    #[error("error parsing the feature flag list: {0}")]
    Feature(String),
    /// The server cannot be asked, or refuses.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A word is no matcher.
    #[error(transparent)]
    Matcher(#[from] MatcherError),
    /// A word is no label of an alert to be routed.
    #[error("Failed to parse labels: {0}")]
    RouteLabel(MatcherError),
    /// A matcher stands where a value is to be given.
    #[error("{0} must be specified as key=value pairs")]
    NotPairs(&'static str),
    /// Not a time.
    #[error(transparent)]
    Moment(#[from] MomentError),
    /// Not a duration.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// What would be silenced is not said.
    #[error("no matchers specified")]
    NoMatchers,
    /// Which silences is not said.
    #[error("no silence IDs specified")]
    NoIds,
    /// A silence of no time.
    #[error("silence duration must be greater than 0")]
    NoDuration,
    /// A silence that ends before it starts.
    #[error("silence cannot start after it ends")]
    EndsFirst,
    /// A silence that nobody knows the reason of.
    #[error("comment required by config")]
    NoComment,
    /// A silence that does not say when it recurs.
    #[error("--recurring {text:?}: {what}")]
    Recurring { text: String, what: String },
    /// A time zone for nothing.
    #[error("--time-zone is for --recurring, which is missing")]
    NoRecurring,
    /// A file that cannot be read.
    #[error("open {}: {}", path.display(), model::go::system_words(.source))]
    Read { path: PathBuf, source: std::io::Error },
    /// Silences to be imported are no JSON.
    #[error("couldn't unmarshal input data, is it JSON?: {0}")]
    NotSilences(serde_json::Error),
    /// Silences were refused.
    #[error("couldn't import {failed} out of {all} silences")]
    Import { failed: usize, all: usize },
    /// Nobody types a configuration.
    #[error("Failed to read from standard input")]
    NoInput,
    /// Files are wrong.
    #[error("failed to validate {0} file(s)")]
    Invalid(usize),
    /// Where the configuration is, is not said.
    #[error("You have to specify one of --config.file or --alertmanager.url flags.")]
    NoConfig,
    /// The configuration is wrong.
    #[error("{0}")]
    Config(String),
    /// The same, where nothing but the tree is asked for.
    #[error("{0}")]
    ConfigOfTree(Box<AlertError>),
    /// Templates cannot be read.
    #[error(transparent)]
    Templates(#[from] receivers::TemplatesError),
    /// A template fails.
    #[error(transparent)]
    Template(#[from] template::Error),
    /// What a template would see is no JSON.
    #[error("{}", json_words(.0))]
    Data(serde_json::Error),
    /// A file of alerts has something else.
    #[error("{}: a list of alerts is wanted, as they are posted, `[{{\"labels\": {{…}}}}]`: {}", path.display(), json_words(source))]
    NotAlerts {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A receiver that the configuration does not have.
    #[error("no receiver {name:?} in {}; there are: {known}", file.display())]
    NoReceiver {
        name: String,
        file: PathBuf,
        known: String,
    },
    /// A receiver cannot be built.
    #[error(transparent)]
    Build(#[from] receivers::BuildError),
    /// There is nothing to tell of.
    #[error("{}: no alerts", .0.display())]
    NoAlerts(PathBuf),
    /// All has been said.
    #[error("")]
    Said,
}

impl AlertError {
    /// What is printed behind the message: Compat: for most of what goes wrong, an empty line (`misc`).
    pub(super) fn ending(&self) -> &'static str {
        match self {
            AlertError::Line(LineError::NoServer)
            | AlertError::Api(ApiError::Config(_) | ApiError::Client(_) | ApiError::TwoCredentials)
            | AlertError::NoInput
            | AlertError::NoConfig
            | AlertError::ConfigOfTree(_) => "\n",
            _ => "\n\n",
        }
    }
}

/// The reference's words for JSON that ends too early.
fn json_words(error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    error.to_string()
}
