//! Service discovery: where the targets are.
//!
//! Each mechanism is one file and yields [`TargetGroup`]s; [`Manager`] runs the mechanisms of all jobs and publishes
//! the whole picture. This room does not know what a target is scraped or notified for: relabelling and everything
//! behind it belong to the rooms that ask.
//!
//! The one decision behind it: an update is always a mechanism's word about single *sources* (a file's third group, a
//! node, a pod). The picture is kept per source, so that a mechanism that fails says nothing and the targets it found
//! before stay.

mod file;
mod manager;
mod static_groups;

use std::path::Path;
use std::sync::Arc;

use model::labels::Labels;
use serde::Serialize;
use yaml::{NodeKind, Section, Value, YamlError};

pub use file::{FileConfig, FileError, read_groups};
pub use manager::{Manager, Snapshot};
pub use static_groups::StaticConfig;

/// Registers what is counted of all mechanisms, and how many targets are found for each job. `found` are the pictures of
/// the managers, by what they are for: `scrape`, `notify`.
pub fn register_metrics(
    registry: &metrics::Registry,
    found: Vec<(&'static str, tokio::sync::watch::Receiver<Snapshot>)>,
) {
    file::register_metrics(registry);
    registry.collect(move |collected| {
        let family = collected.family(
            "prometheus_sd_discovered_targets",
            metrics::Kind::Gauge,
            "Current number of discovered targets.",
        );
        for (name, snapshot) in &found {
            let snapshot = snapshot.borrow().clone();
            for (job, groups) in snapshot.iter() {
                let targets: usize = groups.iter().map(|group| group.targets.len()).sum();
                family.sample(&[("config", job), ("name", name)], targets as f64);
            }
        }
    });
}

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

/// One configured mechanism.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Mechanism {
    /// `static_configs`
    Static(Vec<StaticConfig>),
    /// One entry of `file_sd_configs`
    File(FileConfig),
}

/// The mechanisms of one job, as its section of the configuration has them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Mechanisms {
    /// `static_configs`
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub static_configs: Vec<StaticConfig>,
    /// `file_sd_configs`
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub file_sd_configs: Vec<FileConfig>,
}

/// Mechanisms of the reference that are not built in yet. Naming one is an error: a job that silently finds nothing
/// would be worse.
const NOT_BUILT_IN: [&str; 32] = [
    "aws_sd_configs",
    "azure_sd_configs",
    "consul_sd_configs",
    "digitalocean_sd_configs",
    "dns_sd_configs",
    "docker_sd_configs",
    "dockerswarm_sd_configs",
    "ec2_sd_configs",
    "ecs_sd_configs",
    "eureka_sd_configs",
    "gce_sd_configs",
    "hetzner_sd_configs",
    "http_sd_configs",
    "ionos_sd_configs",
    "kubernetes_sd_configs",
    "kuma_sd_configs",
    "lightsail_sd_configs",
    "linode_sd_configs",
    "marathon_sd_configs",
    "nerve_sd_configs",
    "nomad_sd_configs",
    "oci_sd_configs",
    "openstack_sd_configs",
    "outscale_sd_configs",
    "ovhcloud_sd_configs",
    "puppetdb_sd_configs",
    "scaleway_sd_configs",
    "serverset_sd_configs",
    "stackit_sd_configs",
    "triton_sd_configs",
    "uyuni_sd_configs",
    "vultr_sd_configs",
];

impl Mechanisms {
    /// Takes the discovery keys out of the section that carries them.
    ///
    /// # Errors
    /// When an entry is malformed, or names a mechanism that is not built in.
    pub fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        for key in NOT_BUILT_IN {
            if let Some(value) = section.value(key) {
                return Err(not_built_in(key, value));
            }
        }
        Ok(Mechanisms {
            static_configs: section.list("static_configs", |value| {
                not_null(value, "static_configs")?;
                StaticConfig::read(value)
            })?,
            file_sd_configs: section.list("file_sd_configs", |value| {
                not_null(value, "file_sd_configs")?;
                FileConfig::read(value)
            })?,
        })
    }

    /// Every mechanism of a section that is not built in, as the error that [`Mechanisms::read`] gives of the first: so that
    /// all of a file can be told at once.
    pub fn not_built_in(section: Value<'_>) -> Vec<YamlError> {
        let NodeKind::Mapping(pairs) = &section.node.kind else {
            return Vec::new();
        };
        let document = section.document;
        let named = pairs.iter().filter_map(|(key, node)| {
            let NodeKind::Scalar(key) = &key.kind else {
                return None;
            };
            let key = NOT_BUILT_IN.into_iter().find(|known| *known == key.text)?;
            let value = Value { document, node };
            (!value.is_null()).then(|| not_built_in(key, value))
        });
        named.collect()
    }

    /// Makes relative file names relative to `folder`, that of the configuration file.
    pub fn resolve_paths(&mut self, folder: &Path) {
        for file in &mut self.file_sd_configs {
            file.resolve_paths(folder);
        }
    }

    /// Each mechanism by itself: what the manager runs.
    pub fn list(&self) -> Vec<Mechanism> {
        let statics =
            (!self.static_configs.is_empty()).then(|| Mechanism::Static(self.static_configs.clone()));
        statics
            .into_iter()
            .chain(self.file_sd_configs.iter().cloned().map(Mechanism::File))
            .collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.static_configs.is_empty() && self.file_sd_configs.is_empty()
    }
}

fn not_built_in(key: &str, value: Value<'_>) -> YamlError {
    let message = format_args!("{key}: this discovery mechanism is not built into this version");
    value
        .error(message)
        .with_help("use static_configs or file_sd_configs")
}

fn not_null(value: Value<'_>, key: &str) -> Result<(), YamlError> {
    if value.is_null() {
        Err(value.error(format_args!("empty or null section in {key}")))
    } else {
        Ok(())
    }
}

/// Groups as they are shared once found.
///
/// Cheap to clone, and the same allocation as long as nothing about the job has changed.
pub type Groups = Arc<[Arc<TargetGroup>]>;
