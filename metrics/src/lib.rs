//! What the program tells about itself: counters, gauges, histograms and summaries behind `/metrics`.
//!
//! A [`Registry`] hands out handles that are cheap to clone and, except for summaries, are updated without a lock; it
//! renders all of them as Go's client library does, because dashboards and alerts for the reference read our metrics.
//! This crate knows no HTTP: [`Format::negotiate`] takes the `Accept` header, [`Registry::render`] gives the body.
//!
//! The one decision behind it: nothing is computed on the hot path that can be computed at a scrape. Families keep
//! their children in a sorted list, names are quoted and sorted while rendering, and values that something else keeps
//! already ([`Registry::gauge_fn`], [`Registry::collect`]) are asked for only then.
//!
//! ```
//! let registry = narthex_metrics::Registry::new();
//! let sent = registry.counter_vec("mails_sent_total", "Mails sent.", &["kind"]);
//! let alerts = sent.with(&["alert"]); // keep this handle where the mails are sent
//! alerts.inc();
//! assert_eq!(
//!     registry.render(narthex_metrics::Format::Text),
//!     "# HELP mails_sent_total Mails sent.\n# TYPE mails_sent_total counter\nmails_sent_total{kind=\"alert\"} 1\n"
//! );
//! ```

mod family;
mod process;
mod registry;
mod summary;
mod text;
mod value;

pub use family::Family;
pub use registry::{Collected, FamilySamples, Kind, Labelled, Registry, Value};
pub use summary::Summary;
pub use text::Format;
pub use value::{Counter, Gauge, Histogram, exponential_buckets, linear_buckets};
