//! Clients against servers that speak byte by byte.

mod oauth2;
mod proxies;
mod redirects;
mod reuse;
mod server;
mod settings;
mod tls;
mod tolerance;
