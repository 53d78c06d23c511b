//! Scraping: targets, pools of loops, and what becomes of a body.
//!
//! Configuration ([`ScrapeConfig`]) and target groups go in, transactions come out at [`model::storage::Appender`].
//! This crate knows how to ask targets and how to read their answers; it knows neither how targets are found nor how
//! samples are stored.
//!
//! The one decision behind it: a line of a body that was there last time costs a comparison, not parsing. Each target
//! keeps a table of the lines of its last scrape in order, with their series references; see `table`. The core
//! (`table`, `body`, `ingest`) is synchronous and knows no clock; the loops around it are async.
//!
//! ```
//! use narthex_scraper::{ScrapeConfig, ScrapeDefaults};
//! let document = yaml::parse("example.yml", "{job_name: api, static_configs: [{targets: ['db:9100']}]}")?;
//! let config = ScrapeConfig::read(document.root(), &ScrapeDefaults::default())?;
//! assert_eq!((config.metrics_path.as_str(), config.scrape_interval.as_ms()), ("/metrics", 60_000));
//! # Ok::<(), yaml::YamlError>(())
//! ```

mod body;
mod buffers;
mod config;
mod error;
mod failure_log;
mod fetch;
mod ingest;
mod inside;
mod labels;
mod manager;
mod metadata;
mod metrics;
mod network;
mod pool;
mod scrape_loop;
mod table;
mod target;
#[cfg(test)]
mod tests;
mod url;
mod workers;

pub use config::{SampleLimitAction, ScrapeConfig, ScrapeDefaults};
pub use error::{FetchError, SampleError, ScrapeError};
pub use inside::{Expose, ExposeError, Inside};
pub use manager::{ActiveTarget, Manager, Options, PoolTargets, PrepareError, Prepared};
pub use metadata::FamilyMetadata;
pub use target::{Health, Preview, TargetError, TargetStatus, preview_group};
