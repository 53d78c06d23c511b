//! HTTP clients configured the way the reference configures them: credentials, TLS, proxies, headers.
//!
//! Scrapes, discovery, remote write and notifications all carry the same section of settings. This crate owns that
//! section ([`HttpClientConfig`]: its fields, defaults, checks and messages) and turns it into a client
//! ([`HttpClient`]) that has one door: [`HttpClient::send`] takes a [`Request`] and gives a [`Response`]. It does not
//! know what is sent or when.
//!
//! The one decision behind it: the client stands on hyper's connections, not on a client library. Which answers are
//! taken (heads of a megabyte, folded headers, odd versions), when a request may be sent again, which name a
//! certificate is checked for and what a redirect carries along are promises of the reference, and they are decided at
//! the connection: `connect` makes one, `wire` watches its bytes, `pool` keeps it, `transport` repeats and redirects,
//! `client` adds credentials.
//!
//! Secrets are read from their files at each request, as in the reference, so that a rotated token needs no reload;
//! certificates are read when the client is built and again when their files have changed.
//!
//! ```no_run
//! # async fn ask() -> Result<(), Box<dyn std::error::Error>> {
//! use narthex_httpclient::{HttpClient, HttpClientConfig, Request};
//!
//! let client = HttpClient::new(&HttpClientConfig::default(), "Narthex/1.0")?;
//! let request = Request::get("http://example.test/list".parse()?).timeout(std::time::Duration::from_secs(30));
//! let answer = client.send(&request).await?;
//! if answer.status().is_success() {
//!     let body = answer.bytes(1 << 20).await?;
//!     assert!(!body.is_empty());
//! }
//! # Ok(())
//! # }
//! ```

mod client;
mod config;
mod connect;
mod error;
mod files;
mod lines;
mod oauth2;
mod pool;
mod proxy;
mod reach;
pub mod renew;
mod request;
pub mod rsa;
mod tls;
mod transport;
mod wire;

pub use client::HttpClient;
pub use config::{
    Authorization, BasicAuth, HeaderValues, HttpClientConfig, JWT_BEARER, OAuth2, ProxyConfig, TlsConfig,
    TlsVersion,
};
pub use connect::{Resolve, Resolving, Surroundings, SystemResolver};
pub use error::HttpClientError;
pub use http::StatusCode;
pub use lines::{Dialer, TlsStream};
pub use request::{Request, Response};
pub use transport::REDIRECTS_MAX;

/// Longest head of an answer, in bytes: the reference's for the heads of requests.
pub const HEAD_BYTES_MAX: usize = 1 << 20;
/// Most headers of an answer; the table that holds them has room for 24,576.
pub const HEADERS_MAX: usize = 24_000;
/// Headers that an answer has at most as a rule. Whatever is allowed is set aside for each answer, so that allowing
/// [`HEADERS_MAX`] of everybody would cost more than reading the answer.
const HEADERS_USUAL: usize = 200;
