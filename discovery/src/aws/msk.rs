//! `msk_sd_configs`: brokers and controllers of provisioned MSK clusters.

use std::collections::BTreeMap;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use model::labels::Labels;
use serde::Serialize;
use yaml::{Section, YamlError};

use super::{AwsApiSettings, Service, concurrency, read_concurrency};
use crate::TargetGroup;
use crate::api::{Pages, Round, answers, files_of, some_at_a_time};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, group};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

const PER_PAGE: &str = "100";
const PROVISIONED: &str = "PROVISIONED";
pub(super) const CONCURRENCY: i64 = 10;

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MskConfig {
    /// What all of AWS have.
    #[serde(flatten)]
    pub settings: AwsApiSettings,
    /// Names (ARNs) of clusters; all if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<String>,
    /// Requests at the same time.
    pub request_concurrency: i64,
}

impl Discovery for MskConfig {
    const KEY: &'static str = "msk_sd_configs";
    const NAME: &'static str = "msk";
    const HELP: &'static str = "nodes of AWS MSK clusters (Kafka)";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        Ok(MskConfig {
            clusters: section.get_or("clusters", Vec::new())?,
            request_concurrency: read_concurrency(section, CONCURRENCY)?,
            settings: AwsApiSettings::read(section)?,
        })
    }

    files_of!(settings);

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let poll = Msk {
            service: self.settings.service(context, "kafka")?,
            config: self.clone(),
        };
        Ok(Runner::poll(self.settings.api.refresh_interval, poll).under_no_job())
    }
}

struct Msk {
    service: Service,
    config: MskConfig,
}

answers! {
    #[serde(rename_all = "camelCase")]
    struct Clusters {
        cluster_info_list: Vec<Cluster>,
        next_token: Option<String>,
    }
    #[serde(rename_all = "camelCase")]
    struct Described {
        cluster_info: Cluster,
    }
    #[serde(rename_all = "camelCase")]
    struct Cluster {
        cluster_name: String,
        cluster_arn: String,
        cluster_type: String,
        state: String,
        current_version: String,
        tags: BTreeMap<String, String>,
        provisioned: Provisioned,
    }
    #[serde(rename_all = "camelCase")]
    struct Provisioned {
        current_broker_software_info: Software,
        open_monitoring: Monitoring,
    }
    #[serde(rename_all = "camelCase")]
    struct Software {
        kafka_version: String,
        configuration_arn: String,
        configuration_revision: Option<i64>,
    }
    struct Monitoring {
        prometheus: Exporters,
    }
    #[serde(rename_all = "camelCase")]
    struct Exporters {
        jmx_exporter: Option<Exporter>,
        node_exporter: Option<Exporter>,
    }
    #[serde(rename_all = "camelCase")]
    struct Exporter {
        enabled_in_broker: bool,
    }
    #[serde(rename_all = "camelCase")]
    struct Nodes {
        node_info_list: Vec<Node>,
        next_token: Option<String>,
    }
    #[serde(rename_all = "camelCase")]
    struct Node {
        #[serde(rename = "nodeARN")]
        node_arn: String,
        added_to_cluster_time: String,
        instance_type: String,
        broker_node_info: Option<Broker>,
        controller_node_info: Option<Controller>,
    }
    #[serde(rename_all = "camelCase")]
    struct Broker {
        #[serde(rename = "attachedENIId")]
        attached_eni_id: String,
        broker_id: f64,
        client_subnet: String,
        client_vpc_ip_address: String,
        endpoints: Vec<String>,
    }
    struct Controller {
        endpoints: Vec<String>,
    }
}

impl Poll for Msk {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let region = self.service.region().await?;
            let round = self.service.round();
            let test = self
                .service
                .get::<Clusters>(&round, &["api", "v2", "clusters"], &[]);
            self.service.test(test).await?;
            let msk: &Msk = self;
            let clusters = if msk.config.clusters.is_empty() {
                msk.list(&round).await?
            } else {
                msk.describe(&round).await?
            };
            let calls = clusters.iter().map(|cluster| msk.nodes(&round, cluster));
            let targets = some_at_a_time(msk.many(), calls).await?;
            Ok(group(&region, targets.concat()))
        }
        .boxed()
    }
}

impl Msk {
    fn many(&self) -> usize {
        concurrency(self.config.request_concurrency)
    }

    async fn list(&self, round: &Round<'_>) -> Result<Vec<Cluster>, DiscoveryError> {
        let mut clusters = Vec::new();
        let (mut pages, mut token) = (Pages::default(), None::<String>);
        loop {
            let mut parameters = vec![("clusterTypeFilter", PROVISIONED), ("maxResults", PER_PAGE)];
            parameters.extend(token.as_deref().map(|token| ("nextToken", token)));
            let page: Clusters = self
                .service
                .get(round, &["api", "v2", "clusters"], &parameters)
                .await?;
            clusters.extend(page.cluster_info_list);
            token = pages.next("the clusters", page.next_token.as_deref())?;
            if token.is_none() {
                return Ok(clusters);
            }
        }
    }

    async fn describe(&self, round: &Round<'_>) -> Result<Vec<Cluster>, DiscoveryError> {
        let each = self.config.clusters.iter().map(|arn| async move {
            let described: Described = self
                .service
                .get(round, &["api", "v2", "clusters", arn], &[])
                .await?;
            Ok(described.cluster_info)
        });
        let all = some_at_a_time(self.many(), each).await?;
        let is_provisioned = |cluster: &Cluster| {
            let is = cluster.cluster_type == PROVISIONED;
            if !is {
                tracing::warn!(
                    cluster = cluster.cluster_arn,
                    kind = cluster.cluster_type,
                    "Skipping non-provisioned MSK cluster, only provisioned clusters are supported"
                );
            }
            is
        };
        Ok(all.into_iter().filter(is_provisioned).collect())
    }

    async fn nodes(&self, round: &Round<'_>, cluster: &Cluster) -> Result<Vec<Labels>, DiscoveryError> {
        let mut targets = Vec::new();
        let (mut pages, mut token) = (Pages::default(), None::<String>);
        loop {
            let mut parameters = vec![("maxResults", PER_PAGE)];
            parameters.extend(token.as_deref().map(|token| ("nextToken", token)));
            let path = ["v1", "clusters", &cluster.cluster_arn, "nodes"];
            let page: Nodes = self.service.get(round, &path, &parameters).await?;
            for node in &page.node_info_list {
                targets.extend(of_node(cluster, node, self.config.settings.port)?);
            }
            token = pages.next(&cluster.cluster_arn, page.next_token.as_deref())?;
            if token.is_none() {
                return Ok(targets);
            }
        }
    }
}

/// A target for each endpoint of a broker or controller.
fn of_node(cluster: &Cluster, node: &Node, port: i64) -> Result<Vec<Labels>, DiscoveryError> {
    let software = &cluster.provisioned.current_broker_software_info;
    let exporters = &cluster.provisioned.open_monitoring.prometheus;
    let mut target = MetaLabels::new("__meta_msk_");
    target
        .meta("cluster_name", &cluster.cluster_name)
        .meta("cluster_arn", &cluster.cluster_arn)
        .meta("cluster_state", &cluster.state)
        .meta("cluster_type", &cluster.cluster_type)
        .meta("cluster_version", &cluster.current_version)
        .meta("cluster_kafka_version", &software.kafka_version)
        .meta("cluster_configuration_arn", &software.configuration_arn)
        .meta("node_arn", &node.node_arn)
        .meta("node_added_time", &node.added_to_cluster_time)
        .meta("node_instance_type", &node.instance_type)
        .all("cluster_tag_", &cluster.tags);
    if let Some(revision) = software.configuration_revision {
        target.meta("cluster_configuration_revision", revision);
    }
    if let Some(exporter) = &exporters.jmx_exporter {
        target.meta("cluster_jmx_exporter_enabled", exporter.enabled_in_broker);
    }
    let (endpoints, index) = if let Some(broker) = &node.broker_node_info {
        target
            .meta("node_type", "BROKER")
            .meta("node_attached_eni", &broker.attached_eni_id)
            .meta("broker_id", format_args!("{:.0}", broker.broker_id))
            .meta("broker_client_subnet", &broker.client_subnet)
            .meta("broker_client_vpc_ip", &broker.client_vpc_ip_address);
        if let Some(exporter) = &exporters.node_exporter {
            target.meta("broker_node_exporter_enabled", exporter.enabled_in_broker);
        }
        (&broker.endpoints, "broker_endpoint_index")
    } else if let Some(controller) = &node.controller_node_info {
        target.meta("node_type", "CONTROLLER");
        (&controller.endpoints, "controller_endpoint_index")
    } else {
        return Ok(Vec::new());
    };
    let targets = endpoints.iter().enumerate().map(|(number, endpoint)| {
        target.meta(index, number).address(endpoint, port);
        target.build()
    });
    targets.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damage::try_damaged;

    #[test]
    fn damaged_answers_never_panic() {
        let good = br#"{"nodeInfoList": [{"nodeARN": "n", "brokerNodeInfo": {"brokerId": 1.0, "endpoints": ["b-1", "b-2"]}},
            {"nodeARN": "c", "controllerNodeInfo": {"endpoints": ["c-1"]}}], "nextToken": "t"}"#;
        let mut whole = 0;
        try_damaged(good, |bytes| {
            let nodes: Nodes = serde_json::from_slice(bytes).unwrap_or_default();
            for node in &nodes.node_info_list {
                whole += of_node(&Cluster::default(), node, 80).map_or(0, |found| found.len());
            }
        });
        assert!(whole >= 3, "the good one is read");
    }
}
