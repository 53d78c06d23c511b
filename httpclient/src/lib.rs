//! HTTP clients configured the way the reference configures them: credentials, TLS, proxies, headers.
//!
//! Scrapes, discovery, remote write and notifications all carry the same section of settings. This crate owns that
//! section ([`HttpClientConfig`]: its fields, defaults, checks and messages) and turns it into a client
//! ([`HttpClient`]). It does not know what is sent or when.
//!
//! The one decision behind it: secrets are read from their files at each request, as in the reference, so that a
//! rotated token needs no reload; what cannot change without a new connection (certificates, roots) is read when the
//! client is built, and again when its files have changed.

mod client;
mod config;
mod tls;

pub use client::{HttpClient, HttpClientError};
pub use config::{
    Authorization, BasicAuth, HeaderValues, HttpClientConfig, OAuth2, ProxyConfig, TlsConfig, TlsVersion,
};
