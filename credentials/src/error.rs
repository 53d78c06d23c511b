//! Why there are no credentials.

use std::path::PathBuf;

use httpclient::HttpClientError;
use httpclient::rsa::KeyError;

/// Why there are no credentials. Each text names which ones it is about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// Nobody answers.
    #[error("{of}: {source}")]
    Ask {
        /// Which credentials.
        of: String,
        /// Why not.
        source: HttpClientError,
    },
    /// Who gives them out does not.
    #[error("{of}: {status}: {detail}")]
    Refused {
        /// Which credentials.
        of: String,
        /// The answer's status.
        status: http::StatusCode,
        /// What it says.
        detail: String,
    },
    /// What was found cannot be used.
    #[error("{of}: {detail}")]
    Unusable {
        /// Which credentials.
        of: String,
        /// Why not.
        detail: String,
    },
    /// A file cannot be read.
    #[error("{of}: unable to read {}: {source}", path.display())]
    File {
        /// Which credentials.
        of: String,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A key that signs cannot be used.
    #[error("{of}: {source}")]
    Key {
        /// Which credentials.
        of: String,
        /// Why not.
        source: KeyError,
    },
    /// A request that no signature can be made for.
    #[error(transparent)]
    Request(#[from] HttpClientError),
    /// What fetched them came to an untimely end.
    #[error("fetching credentials ended early: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl CredentialsError {
    pub(crate) fn unusable(of: impl ToString, detail: impl ToString) -> Self {
        CredentialsError::Unusable {
            of: of.to_string(),
            detail: detail.to_string(),
        }
    }
}
