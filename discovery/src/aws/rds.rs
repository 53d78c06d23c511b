//! `rds_sd_configs`: instances of RDS, by their clusters.

use std::collections::{BTreeMap, HashMap};

use credentials::xml::Element;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use model::labels::Labels;
use serde::Serialize;
use yaml::{Section, YamlError};

use super::rds_labels::{CLUSTER, INSTANCE};
use super::table::copy;
use super::{AwsApiSettings, AwsFilter, Service, concurrency, members, pair, read_concurrency, tags, xml};
use crate::TargetGroup;
use crate::api::{Answer, Pages, Round, files_of, some_at_a_time};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, group};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

/// The version of the interface.
const VERSION: &str = "2014-10-31";
const PER_PAGE: &str = "100";
pub(super) const CONCURRENCY: i64 = 10;

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RdsConfig {
    /// What all of AWS have.
    #[serde(flatten)]
    pub settings: AwsApiSettings,
    /// Names (ARNs) of clusters; all if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<String>,
    /// Which instances of a cluster; all if empty.
    pub filters: Vec<AwsFilter>,
    /// Requests at the same time.
    pub request_concurrency: i64,
}

impl Discovery for RdsConfig {
    const KEY: &'static str = "rds_sd_configs";
    const NAME: &'static str = "rds";
    const HELP: &'static str = "database instances of AWS RDS";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        Ok(RdsConfig {
            clusters: section.get_or("clusters", Vec::new())?,
            filters: section.get_or("filters", Vec::new())?,
            request_concurrency: read_concurrency(section, CONCURRENCY)?,
            settings: AwsApiSettings::read(section)?,
        })
    }

    files_of!(settings);

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let poll = Rds {
            service: self.settings.service(context, "rds")?,
            config: self.clone(),
        };
        Ok(Runner::poll(self.settings.api.refresh_interval, poll).under_no_job())
    }
}

struct Rds {
    service: Service,
    config: RdsConfig,
}

impl Poll for Rds {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let region = self.service.region().await?;
            let round = self.service.round();
            let test = self.service.query(&round, VERSION, "DescribeDBClusters", &[]);
            self.service.test(test).await?;
            let rds: &Rds = self;
            let clusters = rds.clusters(&round).await?;
            let calls = clusters
                .iter()
                .map(|(arn, cluster)| rds.instances(&round, arn, cluster));
            let found = some_at_a_time(rds.many(), calls).await?;
            Ok(group(&region, found.concat()))
        }
        .boxed()
    }
}

/// What instances have of their cluster.
struct Cluster {
    labels: MetaLabels,
    /// By the names of its instances.
    writers: HashMap<String, bool>,
}

impl Rds {
    fn many(&self) -> usize {
        concurrency(self.config.request_concurrency)
    }

    /// Clusters by ARN.
    async fn clusters(&self, round: &Round<'_>) -> Result<BTreeMap<String, Cluster>, DiscoveryError> {
        if self.config.clusters.is_empty() {
            return self.described(round, None).await;
        }
        let each = self.config.clusters.iter().map(|arn| async move {
            let found = self.described(round, Some(arn)).await?;
            if found.is_empty() {
                return Err(DiscoveryError::content(arn, "no DB cluster found"));
            }
            Ok(found)
        });
        let all = some_at_a_time(self.many(), each).await?;
        Ok(all.into_iter().flatten().collect())
    }

    async fn described(
        &self,
        round: &Round<'_>,
        only: Option<&str>,
    ) -> Result<BTreeMap<String, Cluster>, DiscoveryError> {
        let parameters: Vec<_> = only
            .map(|arn| pair("DBClusterIdentifier", arn))
            .into_iter()
            .collect();
        let mut clusters = BTreeMap::new();
        self.each_page(round, "DescribeDBClusters", parameters, |page| {
            for cluster in page.list("DBClusters") {
                if let Some(arn) = cluster.text_of("DBClusterArn") {
                    clusters.insert(arn.to_owned(), Cluster::read(cluster)?);
                }
            }
            Ok(())
        })
        .await?;
        Ok(clusters)
    }

    async fn instances(
        &self,
        round: &Round<'_>,
        arn: &str,
        cluster: &Cluster,
    ) -> Result<Vec<Labels>, DiscoveryError> {
        let of_cluster = AwsFilter {
            name: "db-cluster-id".to_owned(),
            values: vec![arn.to_owned()],
        };
        let filters = std::iter::once(&of_cluster).chain(&self.config.filters);
        let mut parameters = Vec::new();
        for (filter, number) in filters.zip(1..) {
            let name = format!("Filters.Filter.{number}");
            parameters.push(pair(format!("{name}.Name"), &filter.name));
            parameters.extend(members(&format!("{name}.Values.Value"), &filter.values));
        }
        let mut targets = Vec::new();
        self.each_page(round, "DescribeDBInstances", parameters, |page| {
            for instance in page.list("DBInstances") {
                targets.push(self.target(instance, cluster)?);
            }
            Ok(())
        })
        .await?;
        Ok(targets)
    }

    async fn each_page(
        &self,
        round: &Round<'_>,
        action: &str,
        mut parameters: Vec<(String, String)>,
        mut read: impl FnMut(&Element<'_>) -> Result<(), DiscoveryError>,
    ) -> Result<(), DiscoveryError> {
        let result = format!("{action}Result");
        parameters.push(pair("MaxRecords", PER_PAGE));
        let mut pages = Pages::default();
        let mut marker: Option<String> = None;
        loop {
            let mut form = parameters.clone();
            form.extend(marker.map(|marker| pair("Marker", marker)));
            let answer: Answer = self.service.query(round, VERSION, action, &form).await?;
            let root = xml(&answer)?;
            let Some(page) = root.child(&result) else {
                return Err(DiscoveryError::content(
                    &answer.url,
                    format_args!("no {result} in the answer"),
                ));
            };
            read(page)?;
            marker = pages.next(&answer.url, page.text_of("Marker"))?;
            if marker.is_none() {
                return Ok(());
            }
        }
    }

    fn target(&self, instance: &Element<'_>, cluster: &Cluster) -> Result<Labels, DiscoveryError> {
        let mut target = cluster.labels.clone();
        copy(&mut target, "instance_", instance, INSTANCE)?;
        let name = instance.text_of("DBInstanceIdentifier").unwrap_or("");
        if let Some(is_writer) = cluster.writers.get(name) {
            target.meta("instance_is_cluster_writer", is_writer);
        }
        tags(&mut target, "instance_tag_", instance, "TagList");
        // Compat: the host is the instance's, the port the configured one (conformance `discovery/rds/instances`).
        if let Some(endpoint) = instance.child("Endpoint")
            && let (Some(host), Some(_)) = (endpoint.text_of("Address"), endpoint.text_of("Port"))
        {
            target.address(host, self.config.settings.port);
        }
        target.build()
    }
}

impl Cluster {
    fn read(cluster: &Element<'_>) -> Result<Self, DiscoveryError> {
        let mut labels = MetaLabels::new("__meta_rds_");
        copy(&mut labels, "cluster_", cluster, CLUSTER)?;
        tags(&mut labels, "cluster_tag_", cluster, "TagList");
        let members = cluster.list("DBClusterMembers").filter_map(|member| {
            let name = member.text_of("DBInstanceIdentifier")?;
            Some((name.to_owned(), member.text_of("IsClusterWriter")? == "true"))
        });
        Ok(Cluster {
            labels,
            writers: members.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damage::try_damaged;

    #[test]
    fn damaged_answers_never_panic() {
        let good = b"<R><DBClusters><DBCluster><DBClusterArn>a</DBClusterArn><AllocatedStorage>1</AllocatedStorage><MultiAZ>true\
            </MultiAZ><ClusterCreateTime>2026-01-02T03:04:05Z</ClusterCreateTime><DBClusterMembers><DBClusterMember>\
            <DBInstanceIdentifier>i</DBInstanceIdentifier><IsClusterWriter>true</IsClusterWriter></DBClusterMember>\
            </DBClusterMembers><TagList><Tag><Key>k</Key><Value>v</Value></Tag></TagList></DBCluster></DBClusters></R>";
        let mut whole = 0;
        try_damaged(good, |bytes| {
            let Ok(page) = Element::parse(bytes) else { return };
            for cluster in page.list("DBClusters") {
                whole +=
                    usize::from(Cluster::read(cluster).is_ok_and(|cluster| cluster.labels.build().is_ok()));
            }
        });
        assert!(whole > 0, "the good one is read");
    }
}
