//! Why a client could not be built, or a request not be answered.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a client could not be built, or a request not be answered. Each text says the whole of it once.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpClientError {
    /// A file that the settings name cannot be read.
    #[error("unable to read {what} {}: {source}", path.display())]
    File {
        /// What it should hold.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A certificate or key is not what it should be.
    #[error("unable to use specified {what}: {detail}")]
    Certificate {
        /// Which.
        what: &'static str,
        /// Why not.
        detail: String,
    },
    /// The TLS library refused the settings.
    #[error("unable to use {what}: {source}")]
    Tls {
        /// Which.
        what: &'static str,
        /// Why not.
        source: rustls::Error,
    },
    /// `server_name`, or the host of a URL, is neither a host name nor an address.
    #[error("server_name {0:?} is not a host name")]
    ServerName(String),
    /// A header's name or value cannot be sent.
    #[error("header {0:?} cannot be sent")]
    Header(String),
    /// A proxy that cannot be used.
    #[error("proxy {url}: {detail}")]
    Proxy {
        /// The proxy, without its password.
        url: String,
        /// What is wrong.
        detail: String,
    },
    /// The token endpoint did not give a token.
    #[error("oauth2: cannot fetch token from {url}: {detail}")]
    Token {
        /// The endpoint.
        url: String,
        /// What happened.
        detail: String,
    },
    /// What fetched a token came to an untimely end.
    #[error("fetching a token ended early: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
    /// A key that signs requests for tokens cannot be used.
    #[error("oauth2: {what}: {source}")]
    Key {
        /// Which.
        what: &'static str,
        /// Why not.
        source: crate::rsa::KeyError,
    },
    /// Waiting for the token that another request had asked for ended in this.
    #[error(transparent)]
    SharedToken(Arc<HttpClientError>),
    /// A URL that no request can be sent to.
    #[error("{detail}")]
    Url {
        /// What is wrong with it.
        detail: String,
    },
    /// A name without an address.
    #[error("lookup {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// No connection.
    #[error("dial tcp {address}: connect: {}", plain(.source))]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Nobody answers at a Unix socket.
    #[error("dial unix {}: {source}", path.display())]
    Socket {
        /// Where.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The TLS handshake failed.
    #[error("tls: {host}: {source}")]
    Handshake {
        /// With whom.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// The exchange of request and answer broke off.
    #[error("{}", innermost(.0))]
    Exchange(#[source] hyper::Error),
    /// The answer's head is longer than [`crate::HEAD_BYTES_MAX`], or has more than [`crate::HEADERS_MAX`] headers.
    #[error(
        "server response headers exceeded {} bytes or {} headers; aborted",
        crate::HEAD_BYTES_MAX,
        crate::HEADERS_MAX
    )]
    HeadTooLong,
    /// The answer's body is longer than the caller takes.
    #[error("the answer has more than {bytes_max} bytes")]
    BodyTooLong {
        /// The limit.
        bytes_max: usize,
    },
    /// The request took longer than its time limit.
    #[error("context deadline exceeded")]
    Timeout,
    /// Redirected too often.
    #[error("stopped after {} redirects", crate::REDIRECTS_MAX)]
    Redirects,
    /// Redirected to an address that only the machine itself is meant to ask.
    #[error(
        "redirect to {host} refused: link-local addresses and metadata services are asked only where the configuration \
         names them (or with allow_link_local_redirects)"
    )]
    LinkLocal {
        /// Where to.
        host: String,
    },
    /// Redirected to something that is no place.
    #[error("failed to parse Location header {location:?}: {source}")]
    Location {
        /// Where to.
        location: String,
        /// What is wrong with it.
        source: url::ParseError,
    },
}

impl HttpClientError {
    /// Whether the time limit of the request is what ended it.
    pub fn is_timeout(&self) -> bool {
        matches!(self, HttpClientError::Timeout)
    }
}

/// The last cause is the operating system's or the protocol's; the layers above it only say that something failed.
fn innermost(error: &hyper::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// An operating system's error in lower case and without its number, which says nothing more.
fn plain(error: &std::io::Error) -> impl fmt::Display + use<> {
    let text = error.to_string();
    let text = match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    };
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
