//! Remote read, both ways: <https://prometheus.io/docs/prometheus/latest/querying/remote_read_api/>: what others read of our store, and what
//! our queries read of stores elsewhere.
//!
//! * [`ReadRequest`] is what is asked, by them or by us;
//! * [`Answering`] answers it from a store, as samples in one message or as chunks in frames, a series at a time;
//! * [`FanIn`] is our store and those of the section `remote_read` ([`RemoteReadConfig`]) behind one read door.
//!
//! The one decision behind the second half: a query tells its view what it will select before it selects
//! ([`Querier::announce`](model::storage::Querier::announce)), so all stores are asked for all of it at once, and a store that
//! fails in one answer gives nothing at all. Whoever queries waits on a thread of its own; the waiting ends with the query.
//! Where no store is configured there is no fan-in: a view is the store's own.

mod answer;
mod client;
mod config;
mod fanin;
mod fetched;
mod frames;
mod merge;
mod message;
mod metrics;
mod sampled;

pub use answer::{AnswerError, Answering, Options, Stream};
pub use config::RemoteReadConfig;
pub use fanin::{FanIn, FanInOptions, PrepareError, Prepared};
pub use message::{
    Hints, MatcherError, MatcherKind, Query, QueryMatcher, ReadRequest, RequestError, ResponseType,
};

/// Longest request, as it is sent and inflated, in bytes.
pub const REQUEST_BYTES_MAX: usize = 32 << 20;

#[cfg(test)]
mod tests;
