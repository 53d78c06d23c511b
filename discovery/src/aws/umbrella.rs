//! `aws_sd_configs`: any of AWS's kinds, by its role.

use httpclient::HttpClientConfig;
use serde::Serialize;
use yaml::{Section, YamlError};

use super::ec2::Ec2Config;
use super::ecs::{self, EcsConfig};
use super::elasticache::{self, ElastiCacheConfig};
use super::lightsail::LightsailConfig;
use super::msk::{self, MskConfig};
use super::rds::{self, RdsConfig};
use super::{AwsApiSettings, AwsFilter, PORT};
use crate::api::{MINUTE, files_of, read_role};
use crate::mechanism::Discovery;
use crate::prepare::{Context, PrepareError, Runner};

const ROLES: &[&str] = &["ec2", "ecs", "elasticache", "lightsail", "msk", "rds"];

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AwsConfig {
    /// Which kind.
    pub role: &'static str,
    /// What all of AWS have.
    #[serde(flatten)]
    pub settings: AwsApiSettings,
    /// Of instances, for ec2 and rds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<AwsFilter>,
    /// Names of clusters, for ecs, elasticache, msk and rds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<String>,
}

impl Discovery for AwsConfig {
    const KEY: &'static str = "aws_sd_configs";
    const NAME: &'static str = "aws";
    const HELP: &'static str = "any of ec2, ecs, elasticache, lightsail, msk and rds, by its role";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        let role = read_role(section, ROLES, None)?;
        // Compat: the reference checks the client's settings of each kind, and forgot the umbrella's. They are of no
        // account: requests are signed, and what signs them is set here.
        let mut settings = AwsApiSettings::read_with(section, HttpClientConfig::read_unchecked)?;
        // Compat: what is 0 counts as not set, as the reference copies what is set from here to there.
        if settings.port == 0 {
            settings.port = PORT;
        }
        if settings.api.refresh_interval == yaml::Duration::from_ms(0) {
            settings.api.refresh_interval = MINUTE;
        }
        Ok(AwsConfig {
            role,
            settings,
            filters: section.get_or("filters", Vec::new())?,
            clusters: section.get_or("clusters", Vec::new())?,
        })
    }

    files_of!(settings);

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let (settings, clusters) = (self.settings.clone(), self.clusters.clone());
        let filters = self.filters.clone();
        let runner = match self.role {
            "ec2" => Ec2Config { settings, filters }.prepare(context),
            "ecs" => EcsConfig {
                settings,
                clusters,
                request_concurrency: ecs::CONCURRENCY,
            }
            .prepare(context),
            "elasticache" => ElastiCacheConfig {
                settings,
                clusters,
                request_concurrency: elasticache::CONCURRENCY,
            }
            .prepare(context),
            "lightsail" => LightsailConfig { settings }.prepare(context),
            "msk" => MskConfig {
                settings,
                clusters,
                request_concurrency: msk::CONCURRENCY,
            }
            .prepare(context),
            _ => RdsConfig {
                settings,
                clusters,
                filters,
                request_concurrency: rds::CONCURRENCY,
            }
            .prepare(context),
        };
        // Compat: counted as the kind that it stands for (conformance `discovery/ec2/aws-role`).
        Ok(runner?.counted_as(self.role))
    }
}
