//! Samples from and to other servers: what is pushed in, what is forwarded, and what is read across.
//!
//! * [`mod@write`]: what senders of remote write push, versions 1.0 and 2.0;
//! * [`otlp`]: what OpenTelemetry's SDKs and collectors push;
//! * [`influx`]: lines of InfluxDB's protocol, as transactions by way of [`intake`];
//! * [`import`]: dumps of other servers, of any age and length, as blocks where transactions do not take them;
//! * [`gateway`]: the push gateway for jobs that do not live long enough to be scraped;
//! * [`read`]: what others read of our store, and what our queries read of stores elsewhere;
//! * [`send`]: what is forwarded to receivers of remote write.
//!
//! All but the last, and the asking in `read`, are synchronous and know no sockets: a request's bytes go in, and an answer
//! (status, headers, text) comes out; `server` listens. What they take goes through the [`Appender`](model::storage::Appender),
//! one transaction a request but for imports.

mod budget;
mod excerpt;
pub mod gateway;
mod histogram;
pub mod import;
pub mod inflate;
pub mod influx;
pub mod intake;
pub mod otlp;
pub mod read;
mod reason;
pub mod section;
pub mod send;
mod wire;
pub mod write;
