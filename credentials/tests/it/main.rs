//! Credentials as clouds give them out, from servers of our own in their places.

mod aws;
mod azure;
mod google;
mod server;
