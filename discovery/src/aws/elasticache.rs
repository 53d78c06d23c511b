//! `elasticache_sd_configs`: serverless caches and nodes of cache clusters of ElastiCache.

use std::collections::BTreeMap;

use credentials::xml::Element;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use model::labels::Labels;
use serde::Serialize;
use yaml::{Section, YamlError};

use super::elasticache_labels::{CLUSTER, NODE, SERVERLESS};
use super::table::{Kind, Row, copy};
use super::{AwsApiSettings, Service, concurrency, pair, read_concurrency, tags, xml};
use crate::TargetGroup;
use crate::api::{Answer, Pages, Round, files_of, some_at_a_time};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, group};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

/// The version of the interface.
const VERSION: &str = "2015-02-02";
const SERVERLESS_PER_PAGE: &str = "50";
const CLUSTERS_PER_PAGE: &str = "100";
pub(super) const CONCURRENCY: i64 = 10;
/// Labels of a way that logs go; each is numbered.
const LOGS: &[Row] = &[
    ("DestinationType", "destination_type", Kind::Text),
    ("LogFormat", "log_format", Kind::Text),
    ("LogType", "log_type", Kind::Text),
    ("Status", "status", Kind::Text),
    ("Message", "message", Kind::Text),
    (
        "DestinationDetails.CloudWatchLogsDetails.LogGroup",
        "log_group",
        Kind::Text,
    ),
    (
        "DestinationDetails.KinesisFirehoseDetails.DeliveryStream",
        "delivery_stream",
        Kind::Text,
    ),
];

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ElastiCacheConfig {
    /// What all of AWS have. The port is not used: caches name their own.
    #[serde(flatten)]
    pub settings: AwsApiSettings,
    /// Names (ARNs) of serverless caches and replication groups; of a kind that none is of, all are found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<String>,
    /// Requests at the same time.
    pub request_concurrency: i64,
}

impl Discovery for ElastiCacheConfig {
    const KEY: &'static str = "elasticache_sd_configs";
    const NAME: &'static str = "elasticache";
    const HELP: &'static str = "caches of AWS ElastiCache";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        Ok(ElastiCacheConfig {
            clusters: section.get_or("clusters", Vec::new())?,
            request_concurrency: read_concurrency(section, CONCURRENCY)?,
            settings: AwsApiSettings::read(section)?,
        })
    }

    files_of!(settings);

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let of_kind = |kind: &str| -> Vec<String> {
            let parts = self.clusters.iter().map(|arn| arn.split(':').collect::<Vec<_>>());
            let wanted = parts.filter(|parts| parts.len() >= 7 && parts[5] == kind);
            wanted.map(|parts| parts[6].to_owned()).collect()
        };
        for arn in &self.clusters {
            if !arn.is_empty() && arn.split(':').count() < 7 {
                tracing::warn!(arn, "Skipping invalid ElastiCache ARN");
            }
        }
        let poll = ElastiCache {
            service: self.settings.service(context, "elasticache")?,
            serverless: of_kind("serverlesscache"),
            clusters: of_kind("replicationgroup"),
            concurrency: concurrency(self.request_concurrency),
        };
        Ok(Runner::poll(self.settings.api.refresh_interval, poll).under_no_job())
    }
}

struct ElastiCache {
    service: Service,
    /// Names of those wanted; all if empty.
    serverless: Vec<String>,
    clusters: Vec<String>,
    concurrency: usize,
}

impl Poll for ElastiCache {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let region = self.service.region().await?;
            let round = self.service.round();
            let test = self.service.query(&round, VERSION, "DescribeCacheClusters", &[]);
            self.service.test(test).await?;
            let mut found = Vec::new();
            for list in self.lists() {
                self.read_list(&round, &list, &mut found).await?;
            }
            let caches: &ElastiCache = self;
            let calls = found.into_iter().map(|cache| caches.with_tags(&round, cache));
            let targets = some_at_a_time(caches.concurrency, calls).await?;
            Ok(group(&region, targets.concat()))
        }
        .boxed()
    }
}

/// A call that lists caches, by pages.
struct List {
    action: &'static str,
    /// Where in the answer the caches are.
    of: &'static str,
    /// What the token of a page is called: in the request, in the answer.
    token: (&'static str, &'static str),
    parameters: Vec<(String, String)>,
    read: fn(&Element<'_>) -> Result<Cache, DiscoveryError>,
}

/// A cache: its labels, and those of its nodes where it has some.
struct Cache {
    arn: String,
    labels: MetaLabels,
    /// `None` where the cache itself is the target.
    nodes: Option<Vec<MetaLabels>>,
    tag_prefix: &'static str,
}

impl ElastiCache {
    fn lists(&self) -> Vec<List> {
        let mut lists = Vec::new();
        // Nobody named is everybody.
        let each = |names: &[String]| -> Vec<Option<String>> {
            match names {
                [] => vec![None],
                names => names.iter().cloned().map(Some).collect(),
            }
        };
        for name in each(&self.serverless) {
            let mut parameters = vec![pair("MaxResults", SERVERLESS_PER_PAGE)];
            parameters.extend(name.map(|name| pair("ServerlessCacheName", name)));
            lists.push(List {
                action: "DescribeServerlessCaches",
                of: "ServerlessCaches",
                token: ("NextToken", "NextToken"),
                parameters,
                read: serverless,
            });
        }
        for name in each(&self.clusters) {
            for alone in ["false", "true"] {
                let mut parameters = vec![
                    pair("MaxRecords", CLUSTERS_PER_PAGE),
                    pair("ShowCacheClustersNotInReplicationGroups", alone),
                    pair("ShowCacheNodeInfo", "true"),
                ];
                parameters.extend(name.clone().map(|name| pair("CacheClusterId", name)));
                lists.push(List {
                    action: "DescribeCacheClusters",
                    of: "CacheClusters",
                    token: ("Marker", "Marker"),
                    parameters,
                    read: cluster,
                });
            }
        }
        lists
    }

    async fn read_list(
        &self,
        round: &Round<'_>,
        list: &List,
        found: &mut Vec<Cache>,
    ) -> Result<(), DiscoveryError> {
        let result = format!("{}Result", list.action);
        let mut pages = Pages::default();
        let mut token: Option<String> = None;
        loop {
            let mut form = list.parameters.clone();
            form.extend(token.map(|token| pair(list.token.0, token)));
            let answer: Answer = self.service.query(round, VERSION, list.action, &form).await?;
            let root = xml(&answer)?;
            let Some(page) = root.child(&result) else {
                return Err(DiscoveryError::content(
                    &answer.url,
                    format_args!("no {result} in the answer"),
                ));
            };
            for cache in page.list(list.of) {
                found.push((list.read)(cache)?);
            }
            token = pages.next(&answer.url, page.text_of(list.token.1))?;
            if token.is_none() {
                return Ok(());
            }
        }
    }

    async fn with_tags(&self, round: &Round<'_>, mut cache: Cache) -> Result<Vec<Labels>, DiscoveryError> {
        if !cache.arn.is_empty() {
            let form = [pair("ResourceName", &cache.arn)];
            let answer = self
                .service
                .query(round, VERSION, "ListTagsForResource", &form)
                .await?;
            if let Some(result) = xml(&answer)?.child("ListTagsForResourceResult") {
                tags(&mut cache.labels, cache.tag_prefix, result, "TagList");
            }
        }
        let Some(nodes) = &cache.nodes else {
            return Ok(vec![cache.labels.build()?]);
        };
        let targets = nodes.iter().map(|node| cache.labels.clone().add(node).build());
        targets.collect()
    }
}

fn serverless(cache: &Element<'_>) -> Result<Cache, DiscoveryError> {
    let mut labels = MetaLabels::new("__meta_elasticache_");
    labels.meta("deployment_option", "serverless");
    copy(&mut labels, "serverless_cache_", cache, SERVERLESS)?;
    for (list, name) in [
        ("SecurityGroupIds", "security_group_id"),
        ("SubnetIds", "subnet_id"),
    ] {
        for (number, member) in cache.list(list).enumerate() {
            labels.meta(&format!("serverless_cache_{name}_{number}"), member.text());
        }
    }
    address(&mut labels, cache);
    Ok(Cache {
        arn: cache.text_of("ARN").unwrap_or("").to_owned(),
        labels,
        nodes: None,
        tag_prefix: "serverless_cache_tag_",
    })
}

fn cluster(cluster: &Element<'_>) -> Result<Cache, DiscoveryError> {
    let mut labels = MetaLabels::new("__meta_elasticache_");
    labels.meta("deployment_option", "node");
    copy(&mut labels, "cache_cluster_", cluster, CLUSTER)?;
    for (number, way) in cluster.list("LogDeliveryConfigurations").enumerate() {
        let mut numbered = BTreeMap::new();
        for (path, label, _) in LOGS {
            let found = path.split('.').try_fold(way, |element, name| element.child(name));
            numbered.extend(found.map(|found| (label, found.text())));
        }
        for (label, text) in numbered {
            let name = format!("cache_cluster_log_delivery_configuration_{label}_{number}");
            labels.meta(&name, text);
        }
    }
    if let Some(pending) = cluster.child("PendingModifiedValues") {
        let ids: Vec<&str> = pending.list("CacheNodeIdsToRemove").map(Element::text).collect();
        labels.meta(
            "cache_cluster_pending_modified_values_cache_node_ids_to_remove",
            ids.join(","),
        );
    }
    for (number, member) in cluster.list("SecurityGroups").enumerate() {
        let mut set = |name: &str, element: &str| {
            let name = format!("cache_cluster_security_group_membership_{name}_{number}");
            labels.meta(&name, member.text_of(element).unwrap_or(""));
        };
        set("id", "SecurityGroupId");
        set("status", "Status");
    }
    let nodes = cluster.list("CacheNodes").map(|node| {
        let mut labels = MetaLabels::new("__meta_elasticache_");
        copy(&mut labels, "cache_cluster_node_", node, NODE)?;
        address(&mut labels, node);
        Ok(labels)
    });
    Ok(Cache {
        nodes: Some(nodes.collect::<Result<_, DiscoveryError>>()?),
        arn: cluster.text_of("ARN").unwrap_or("").to_owned(),
        labels,
        tag_prefix: "cache_cluster_tag_",
    })
}

/// Host and port of an endpoint that has both.
fn address(labels: &mut MetaLabels, of: &Element<'_>) {
    if let Some(endpoint) = of.child("Endpoint")
        && let (Some(host), Some(port)) = (endpoint.text_of("Address"), endpoint.text_of("Port"))
    {
        labels.address(host, port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damage::try_damaged;

    #[test]
    fn damaged_answers_never_panic() {
        let good = b"<R><L><C><ARN>a</ARN><CreateTime>2026-01-02T03:04:05Z</CreateTime><Endpoint><Address>h</Address><Port>1</Port>\
            </Endpoint><SubnetIds><SubnetId>s</SubnetId></SubnetIds><CacheNodes><CacheNode><CacheNodeId>1</CacheNodeId><Endpoint>\
            <Address>h</Address><Port>2</Port></Endpoint></CacheNode></CacheNodes><LogDeliveryConfigurations><L><Status>s</Status></L>\
            </LogDeliveryConfigurations><SecurityGroups><G><Status>s</Status></G></SecurityGroups></C></L></R>";
        let mut whole = 0;
        try_damaged(good, |bytes| {
            let Ok(page) = Element::parse(bytes) else { return };
            for cache in page.list("L") {
                whole += usize::from(serverless(cache).is_ok()) + usize::from(cluster(cache).is_ok());
            }
        });
        assert!(whole >= 2, "the good one is read");
    }
}
