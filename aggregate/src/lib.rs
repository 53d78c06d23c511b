//! Samples thinned before they are stored: streaming aggregation, deduplication, election among replicas.
//!
//! [`Thinner`] is a decorator of [`model::storage::Appender`]: whoever scrapes or is pushed to appends to it as to the
//! store, and knows no difference. It looks at a series once, when its reference is asked for: which [`Rule`]s take it,
//! whether it is stored at all, whether a replica sends it. From then on the reference says everything, and a sample
//! costs a look into a table and a few numbers; nothing is allocated for it. Series that are not stored are never made in
//! the store.
//!
//! The room is synchronous and knows no network: [`Thinner::tick`] does what is due, [`run`] calls it as time goes by.
//! Rules are VictoriaMetrics' stream aggregation, whose names and results are kept; what differs stands in
//! `docs/aggregation.md`.
//!
//! The one decision behind it: a reference that was handed out before a reload is unknown after it, as one is whose series
//! the store has forgotten, and whoever holds it asks again. So a reload needs nobody's help. While nothing is configured,
//! references are the store's, and the decorator is a pointer that is looked at once a transaction.
//!
//! ```
//! let text = "- {match: http_requests_total, interval: 1m, by: [job], outputs: [total]}";
//! let config = narthex_aggregate::Config::parse_file("rules.yml", text)?;
//! let labels = model::labels::Labels::from_pairs([("__name__", "http_requests_total"), ("job", "a"), ("pod", "b")]);
//! let told = narthex_aggregate::explain(&config, &labels);
//! assert_eq!(told.taken[0].outputs[0].to_string(), r#"{__name__="http_requests_total:1m_by_job_total", job="a"}"#);
//! assert!(!told.is_stored);
//! # Ok::<(), yaml::YamlError>(())
//! ```

mod accumulator;
mod buckets;
mod config;
mod explain;
mod hold;
mod instrument;
mod keep;
mod output;
mod replicas;
mod reservoir;
mod rule;
mod runner;
mod schedule;
mod shown;
mod slab;
mod sorting;
mod state;
mod status;
mod table;
mod task;
mod thinner;

pub use accumulator::{UNIQUE_MAX, VALUES_MAX};
pub use config::{Config, RULES_MAX, ReplicasConfig};
pub use explain::{Explained, TakenBy, explain};
pub use instrument::register;
pub use output::{Output, OutputError};
pub use replicas::{CLUSTERS_MAX, REPLICAS_MAX};
pub use rule::{Grouping, Rule, Taken};
pub use state::SERIES_MAX;
pub use status::{ClusterStatus, RuleStatus, Status};
pub use task::run;
pub use thinner::{Prepared, Thinner};
