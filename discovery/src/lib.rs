//! Service discovery: where the targets are.
//!
//! Each mechanism is one file and yields [`TargetGroup`]s; [`Manager`] runs the mechanisms of all jobs and publishes
//! the whole picture. This room does not know what a target is scraped or notified for: relabelling and everything
//! behind it belong to the rooms that ask.
//!
//! The one decision behind it: an update is always a mechanism's word about single *sources* (a file's third group, a
//! node, a pod). The picture is kept per mechanism and source, so that a mechanism that fails says nothing and the
//! targets it found before stay; a job's list is built again only when something of the job has changed.
//!
//! # Adding a mechanism
//!
//! One file with a type that implements [`Discovery`], and one line in the table of `mechanism.rs`. [`Discovery::read`] takes
//! the keys of one entry; [`Discovery::prepare`] builds clients, which may fail, and gives a `Runner`:
//!
//! * `Runner::poll` for kinds that ask at an interval. `Poll::refresh` gives the whole picture or an error; the
//!   runner waits, spreads, times, counts (`prometheus_sd_refresh_*`) and logs, and keeps what was found when it fails.
//! * `Runner::watch` for kinds that hear of changes. `Watch::run` tells `Updates` what has changed.
//!
//! ```
//! # use narthex_discovery as discovery;
//! use discovery::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner, fetch};
//! use discovery::{Discovery, TargetGroup};
//! use futures_util::FutureExt as _;
//! use futures_util::future::BoxFuture;
//! use httpclient::{HttpClient, HttpClientConfig, Request};
//! use model::labels::Labels;
//!
//! /// One entry of `lighthouse_sd_configs`.
//! #[derive(Clone, Debug, PartialEq, serde::Serialize)]
//! struct LighthouseConfig {
//!     server: String,
//!     refresh_interval: yaml::Duration,
//!     #[serde(flatten)]
//!     http: HttpClientConfig,
//! }
//!
//! impl Discovery for LighthouseConfig {
//!     const KEY: &'static str = "lighthouse_sd_configs";
//!     const NAME: &'static str = "lighthouse";
//!     const HELP: &'static str = "lamps of a lighthouse";
//!
//!     fn read(section: &mut yaml::Section<'_>) -> Result<Self, yaml::YamlError> {
//!         let server: String = section.get_or("server", String::new())?;
//!         if server.is_empty() {
//!             return Err(section.error_at("server", "lighthouse SD configuration requires a server"));
//!         }
//!         Ok(LighthouseConfig {
//!             server,
//!             refresh_interval: section.get_or("refresh_interval", yaml::Duration::from_ms(60_000))?,
//!             http: HttpClientConfig::read(section)?,
//!         })
//!     }
//!
//!     fn resolve_paths(&mut self, folder: &std::path::Path) {
//!         self.http.resolve_paths(folder);
//!     }
//!
//!     fn files(&self) -> Vec<&std::path::Path> {
//!         self.http.files()
//!     }
//!
//!     fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
//!         let url = self.server.parse().map_err(|e: url::ParseError| PrepareError::Unavailable(e.into()))?;
//!         let request = Request::get(url).timeout(self.refresh_interval.as_std());
//!         let client = context.client(&self.http)?;
//!         Ok(Runner::poll(self.refresh_interval, Lighthouse { client, request }))
//!     }
//! }
//!
//! struct Lighthouse {
//!     client: HttpClient,
//!     request: Request,
//! }
//!
//! impl Poll for Lighthouse {
//!     fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
//!         async {
//!             let body = fetch(&self.client, &self.request).await?;
//!             let lamps: Vec<String> = serde_json::from_slice(&body)
//!                 .map_err(|error| DiscoveryError::content(self.request.url(), error))?;
//!             let targets = lamps.iter().map(|lamp| Labels::from_pairs([("__address__", lamp)])).collect();
//!             Ok(vec![TargetGroup {
//!                 source: "lighthouse".to_owned(),
//!                 targets,
//!                 labels: Labels::default(),
//!             }])
//!         }
//!         .boxed()
//!     }
//! }
//! ```
//!
//! What mechanisms within this room share: `api.rs` has settings, the calls of one refresh (bounded together) and what is
//! read of answers; `meta.rs` has the labels. The smallest that uses both is `vultr.rs`.
//!
//! Its replay test: the cases of `discovery/<name>` in the conformance data run once its folder stands in the list
//! `BUILT_IN` of `tests/it/replay.rs`; `cargo test -p narthex-discovery replay_<name>` runs them alone.

mod api;
mod aws;
mod azure;
mod consul;
#[cfg(test)]
mod damage;
mod digitalocean;
mod dns;
mod docker;
mod dockerswarm;
mod eureka;
mod file;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gce;
mod hetzner;
mod http;
mod ionos;
pub mod kubernetes;
mod kuma;
mod linode;
mod manager;
mod marathon;
mod mechanism;
mod meta;
mod metrics;
mod moby;
mod nomad;
mod oci;
mod openstack;
mod outscale;
mod ovhcloud;
mod pace;
pub mod prepare;
mod puppetdb;
mod runner;
mod scaleway;
mod stackit;
mod static_groups;
mod target_list;
mod triton;
mod trouble;
mod uyuni;
mod vultr;
mod zookeeper;

use std::sync::Arc;

use model::labels::Labels;

pub use consul::ConsulConfig;
pub use dns::DnsConfig;
pub use docker::DockerConfig;
pub use dockerswarm::{DockerSwarmConfig, SwarmRole};
pub use file::{FileConfig, FileError, read_groups};
pub use http::HttpConfig;
pub use kubernetes::KubernetesConfig;
pub use manager::{JobError, Manager, NOTIFY, Prepared, SCRAPE, Snapshot};
pub use mechanism::{Discovery, KINDS, Kind, Mechanism, Mechanisms};
pub use metrics::{Metrics, QUANTILES};
pub use moby::Filter;
pub use nomad::NomadConfig;
pub use pace::rest_after;
pub use prepare::Context;
pub use runner::Updates;
pub use static_groups::StaticConfig;
pub use trouble::{Trouble, Troubles};

/// Targets that were found together and share labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetGroup {
    /// What the group came from: unique within a job's mechanism. A group without targets takes back an earlier one.
    pub source: String,
    /// Labels of each target; `__address__` says where it is.
    pub targets: Vec<Labels>,
    /// Labels that all of them have, where they have none of their own.
    pub labels: Labels,
}

/// Groups as they are shared once found.
///
/// Cheap to clone, and the same allocation as long as nothing about the job has changed.
pub type Groups = Arc<[Arc<TargetGroup>]>;
