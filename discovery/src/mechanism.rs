//! The table of mechanisms, and what each of them is.

use std::fmt;
use std::path::Path;

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use yaml::{Section, Value, YamlError};

use crate::metrics::Metrics;
use crate::prepare::{Context, PrepareError, Runner};
use crate::static_groups::StaticConfig;
use crate::{
    aws, azure, consul, digitalocean, dns, docker, dockerswarm, eureka, file, gce, hetzner, http, ionos,
    kubernetes, kuma, linode, marathon, nomad, oci, openstack, outscale, ovhcloud, puppetdb, scaleway,
    stackit, triton, uyuni, vultr, zookeeper,
};

/// A kind of discovery: one entry of its list in the configuration, and how it is run.
///
/// An implementation is one file. What it has to say about itself stands here; reading the list, resolving paths,
/// printing, preparing, running and the metrics that all have come from the table.
pub trait Discovery: Clone + fmt::Debug + PartialEq + Serialize + Send + Sync + 'static {
    /// The list's key: `http_sd_configs`.
    const KEY: &'static str;
    /// The name in metrics and logs: `http`.
    const NAME: &'static str;
    /// What it finds, in half a sentence, for documentation and error messages.
    const HELP: &'static str;

    /// Takes the keys of one entry. Unknown keys are refused afterwards by whoever calls.
    ///
    /// # Errors
    /// When a value is malformed or missing, or settings contradict each other.
    fn read(section: &mut Section<'_>) -> Result<Self, YamlError>;

    /// Makes relative file names relative to `folder`, that of the configuration file.
    fn resolve_paths(&mut self, folder: &Path) {
        let _ = folder;
    }

    /// Files that the entry names: what a configuration check looks for.
    fn files(&self) -> Vec<&Path> {
        Vec::new()
    }

    /// Registers metrics of this kind's own; those that all have are there already.
    fn register(metrics: &Metrics) {
        let _ = metrics;
    }

    /// Builds all that can fail (clients, certificates) and starts nothing. Runs within a reload that can still be
    /// refused; must not wait for a network.
    ///
    /// # Errors
    /// See [`PrepareError`].
    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError>;
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The list's key.
    pub key: &'static str,
    /// The name in metrics and logs.
    pub name: &'static str,
    /// What it finds.
    pub help: &'static str,
    read: fn(&mut Section<'_>) -> Result<Mechanism, YamlError>,
    register: fn(&Metrics),
}

/// Makes the enum of all kinds and the table. Boxed, because some have many settings and most jobs have few entries.
macro_rules! mechanisms {
    ($($(#[$doc:meta])* $variant:ident($config:ty),)*) => {
        /// One configured mechanism.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Mechanism {
            $($(#[$doc])* $variant(Box<$config>),)*
        }

        /// All kinds, sorted by key.
        pub const KINDS: &[Kind] = &[$(Kind {
            key: <$config as Discovery>::KEY,
            name: <$config as Discovery>::NAME,
            help: <$config as Discovery>::HELP,
            read: |section| Ok(Mechanism::$variant(Box::new(<$config as Discovery>::read(section)?))),
            register: <$config as Discovery>::register,
        },)*];

        impl Mechanism {
            /// The key of the list that it stands in.
            pub fn key(&self) -> &'static str {
                match self { $(Mechanism::$variant(_) => <$config as Discovery>::KEY,)* }
            }

            /// The name in metrics and logs.
            pub fn name(&self) -> &'static str {
                match self { $(Mechanism::$variant(_) => <$config as Discovery>::NAME,)* }
            }

            /// Files that it names.
            pub fn files(&self) -> Vec<&Path> {
                match self { $(Mechanism::$variant(config) => config.files(),)* }
            }

            fn resolve_paths(&mut self, folder: &Path) {
                match self { $(Mechanism::$variant(config) => config.resolve_paths(folder),)* }
            }

            pub(crate) fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
                match self { $(Mechanism::$variant(config) => config.prepare(context),)* }
            }
        }

        impl Serialize for Mechanism {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self { $(Mechanism::$variant(config) => config.serialize(serializer),)* }
            }
        }
    };
}

// Adding a kind is one line here (sorted by key) and one file.
mechanisms! {
    /// `aws_sd_configs`
    Aws(aws::umbrella::AwsConfig),
    /// `azure_sd_configs`
    Azure(azure::AzureConfig),
    /// `consul_sd_configs`
    Consul(consul::ConsulConfig),
    /// `digitalocean_sd_configs`
    DigitalOcean(digitalocean::DigitalOceanConfig),
    /// `dns_sd_configs`
    Dns(dns::DnsConfig),
    /// `docker_sd_configs`
    Docker(docker::DockerConfig),
    /// `dockerswarm_sd_configs`
    DockerSwarm(dockerswarm::DockerSwarmConfig),
    /// `ec2_sd_configs`
    Ec2(aws::ec2::Ec2Config),
    /// `ecs_sd_configs`
    Ecs(aws::ecs::EcsConfig),
    /// `elasticache_sd_configs`
    ElastiCache(aws::elasticache::ElastiCacheConfig),
    /// `eureka_sd_configs`
    Eureka(eureka::EurekaConfig),
    /// `file_sd_configs`
    File(file::FileConfig),
    /// `gce_sd_configs`
    Gce(gce::GceConfig),
    /// `hetzner_sd_configs`
    Hetzner(hetzner::HetznerConfig),
    /// `http_sd_configs`
    Http(http::HttpConfig),
    /// `ionos_sd_configs`
    Ionos(ionos::IonosConfig),
    /// `kubernetes_sd_configs`
    Kubernetes(kubernetes::KubernetesConfig),
    /// `kuma_sd_configs`
    Kuma(kuma::KumaConfig),
    /// `lightsail_sd_configs`
    Lightsail(aws::lightsail::LightsailConfig),
    /// `linode_sd_configs`
    Linode(linode::LinodeConfig),
    /// `marathon_sd_configs`
    Marathon(marathon::MarathonConfig),
    /// `msk_sd_configs`
    Msk(aws::msk::MskConfig),
    /// `nerve_sd_configs`
    Nerve(zookeeper::NerveConfig),
    /// `nomad_sd_configs`
    Nomad(nomad::NomadConfig),
    /// `oci_sd_configs`
    Oci(oci::OciConfig),
    /// `openstack_sd_configs`
    OpenStack(openstack::OpenStackConfig),
    /// `outscale_sd_configs`
    Outscale(outscale::OutscaleConfig),
    /// `ovhcloud_sd_configs`
    OvhCloud(ovhcloud::OvhCloudConfig),
    /// `puppetdb_sd_configs`
    PuppetDb(puppetdb::PuppetDbConfig),
    /// `rds_sd_configs`
    Rds(aws::rds::RdsConfig),
    /// `scaleway_sd_configs`
    Scaleway(scaleway::ScalewayConfig),
    /// `serverset_sd_configs`
    Serverset(zookeeper::ServersetConfig),
    /// `stackit_sd_configs`
    Stackit(stackit::StackitConfig),
    /// `triton_sd_configs`
    Triton(triton::TritonConfig),
    /// `uyuni_sd_configs`
    Uyuni(uyuni::UyuniConfig),
    /// `vultr_sd_configs`
    Vultr(vultr::VultrConfig),
}

/// The mechanisms of one job, as its section of the configuration has them. Printed, they are the section's keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mechanisms {
    /// `static_configs`
    pub static_configs: Vec<StaticConfig>,
    /// All others, by kind in the table's order.
    pub others: Vec<Mechanism>,
}

impl Mechanisms {
    /// Takes the discovery keys out of the section that carries them.
    ///
    /// # Errors
    /// When an entry is malformed, or no mapping.
    pub fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let static_configs = section.list("static_configs", |value| {
            not_null(value, "static_configs")?;
            StaticConfig::read(value)
        })?;
        let mut others = Vec::new();
        for kind in KINDS {
            others.extend(section.list(kind.key, |value| {
                not_null(value, kind.key)?;
                let mut entry = value.section(kind.key)?;
                let mechanism = (kind.read)(&mut entry)?;
                entry.finish()?;
                Ok(mechanism)
            })?);
        }
        Ok(Mechanisms {
            static_configs,
            others,
        })
    }

    /// Makes relative file names relative to `folder`, that of the configuration file.
    pub fn resolve_paths(&mut self, folder: &Path) {
        for mechanism in &mut self.others {
            mechanism.resolve_paths(folder);
        }
    }

    /// Looks for listed targets that are no addresses; for sections without rules that could repair them. To be called
    /// before the section is finished.
    ///
    /// # Errors
    /// At the target.
    pub fn check_addresses(section: &Section<'_>) -> Result<(), YamlError> {
        let groups = section
            .peek("static_configs")
            .map(|groups| groups.sequence())
            .transpose()?;
        for group in groups.into_iter().flatten() {
            let targets = group
                .entry("targets")
                .map(|targets| targets.sequence())
                .transpose()?;
            for target in targets.into_iter().flatten() {
                let Some(scalar) = target.scalar().filter(|scalar| scalar.text.contains('/')) else {
                    continue;
                };
                return Err(target
                    .error(format_args!("{:?} is not a valid hostname", scalar.text))
                    .with_help("write host:port; scheme and path have settings of their own"));
            }
        }
        Ok(())
    }

    /// Entries of `file_sd_configs`.
    pub fn file_configs(&self) -> impl Iterator<Item = &file::FileConfig> {
        self.others.iter().filter_map(|mechanism| match mechanism {
            Mechanism::File(config) => Some(&**config),
            _ => None,
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.static_configs.is_empty() && self.others.is_empty()
    }
}

/// As the reference prints them: one key a kind, sorted.
impl Serialize for Mechanisms {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut lists: std::collections::BTreeMap<&str, Vec<&Mechanism>> = std::collections::BTreeMap::new();
        for mechanism in &self.others {
            lists.entry(mechanism.key()).or_default().push(mechanism);
        }
        let mut map = serializer.serialize_map(None)?;
        let (before, after): (Vec<_>, Vec<_>) = lists.iter().partition(|(key, _)| **key < "static_configs");
        for (key, list) in before {
            map.serialize_entry(key, list)?;
        }
        if !self.static_configs.is_empty() {
            map.serialize_entry("static_configs", &self.static_configs)?;
        }
        for (key, list) in after {
            map.serialize_entry(key, list)?;
        }
        map.end()
    }
}

pub(crate) fn register_all(metrics: &Metrics) {
    for kind in KINDS {
        (kind.register)(metrics);
    }
}

fn not_null(value: Value<'_>, key: &str) -> Result<(), YamlError> {
    if value.is_null() {
        Err(value.error(format_args!("empty or null section in {key}")))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(KINDS.is_sorted_by(|a, b| a.key < b.key));
        assert!(KINDS.iter().all(|kind| kind.key.ends_with("_sd_configs")));
    }
}
