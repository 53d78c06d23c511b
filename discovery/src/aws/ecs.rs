//! `ecs_sd_configs`: tasks of ECS.
//!
//! A refresh fails when clusters, services or tasks cannot be listed; a cluster whose details cannot be read loses its
//! targets until they can, and this is logged, as in the reference.

use std::collections::{BTreeMap, HashMap};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, try_join};
use model::labels::Labels;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use yaml::{Section, YamlError};

use super::ec2::each_page;
use super::{AwsApiSettings, Service, Tag, concurrency, json_tags, members, read_concurrency};
use crate::TargetGroup;
use crate::api::{Pages, Round, Skipped, answers, files_of, some_at_a_time};
use crate::mechanism::Discovery;
use crate::meta::{MetaLabels, group};
use crate::prepare::{Context, DiscoveryError, Poll, PrepareError, Runner};

/// The interface.
const TARGET: &str = "AmazonEC2ContainerServiceV20141113";
const PER_PAGE: u32 = 100;
/// Most things that one call describes, as ECS allows.
const DESCRIBED_MAX: usize = 100;
const SERVICES_DESCRIBED_MAX: usize = 10;
pub(super) const CONCURRENCY: i64 = 20;
/// The kind of an attachment that gives a task an address of its own.
const INTERFACE: &str = "ElasticNetworkInterface";

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EcsConfig {
    /// What all of AWS have.
    #[serde(flatten)]
    pub settings: AwsApiSettings,
    /// Names (ARNs) of clusters; all if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<String>,
    /// Requests at the same time.
    pub request_concurrency: i64,
}

impl Discovery for EcsConfig {
    const KEY: &'static str = "ecs_sd_configs";
    const NAME: &'static str = "ecs";
    const HELP: &'static str = "tasks of AWS ECS";

    fn read(section: &mut Section<'_>) -> Result<Self, YamlError> {
        Ok(EcsConfig {
            clusters: section.get_or("clusters", Vec::new())?,
            request_concurrency: read_concurrency(section, CONCURRENCY)?,
            settings: AwsApiSettings::read(section)?,
        })
    }

    files_of!(settings);

    fn prepare(&self, context: &Context) -> Result<Runner, PrepareError> {
        let ecs = self.settings.service(context, "ecs")?;
        let poll = Ecs {
            ec2: ecs.sibling("ec2"),
            ecs,
            config: self.clone(),
            skipped: Skipped::new(EcsConfig::NAME),
        };
        Ok(Runner::poll(self.settings.api.refresh_interval, poll).under_no_job())
    }
}

struct Ecs {
    ecs: Service,
    /// Compat: asked at its own address, whatever `endpoint` says (conformance `discovery/ecs/tasks`).
    ec2: Service,
    config: EcsConfig,
    /// Clusters whose details could not be read.
    skipped: Skipped,
}

answers! {
    #[serde(rename_all = "camelCase")]
    struct Listed {
        cluster_arns: Vec<String>,
        service_arns: Vec<String>,
        task_arns: Vec<String>,
        next_token: Option<String>,
    }
    #[serde(rename_all = "camelCase")]
    struct Described {
        clusters: Vec<Cluster>,
        services: Vec<EcsService>,
        tasks: Vec<Task>,
        container_instances: Vec<ContainerInstance>,
    }
    #[serde(rename_all = "camelCase")]
    struct Cluster {
        cluster_arn: String,
        cluster_name: String,
        tags: Vec<Tag>,
    }
    #[serde(rename_all = "camelCase")]
    struct EcsService {
        service_arn: String,
        service_name: String,
        status: String,
        tags: Vec<Tag>,
    }
    #[serde(rename_all = "camelCase")]
    struct Task {
        task_arn: String,
        task_definition_arn: String,
        group: String,
        launch_type: String,
        last_status: String,
        desired_status: String,
        health_status: String,
        availability_zone: String,
        container_instance_arn: Option<String>,
        platform_family: String,
        platform_version: String,
        attachments: Vec<Attachment>,
        tags: Vec<Tag>,
    }
    struct Attachment {
        #[serde(rename = "type")]
        kind: String,
        details: Vec<Detail>,
    }
    struct Detail {
        name: Option<String>,
        value: Option<String>,
    }
    #[serde(rename_all = "camelCase")]
    struct ContainerInstance {
        container_instance_arn: Option<String>,
        ec2_instance_id: Option<String>,
    }
}

impl Poll for Ecs {
    fn refresh(&mut self) -> BoxFuture<'_, Result<Vec<TargetGroup>, DiscoveryError>> {
        async {
            let region = self.ecs.region().await?;
            let round = self.ecs.round();
            let nothing = json!({});
            let test = self
                .ecs
                .json::<Described>(&round, TARGET, "DescribeClusters", &nothing);
            self.ecs.test(test).await?;
            let mut skipped = std::mem::replace(&mut self.skipped, Skipped::new(EcsConfig::NAME));
            let refresh = Refresh {
                ecs: self,
                round: &round,
                region: &region,
                concurrency: concurrency(self.config.request_concurrency),
            };
            let targets = refresh.targets(&mut skipped).await;
            self.skipped = skipped;
            Ok(group(&region, targets?))
        }
        .boxed()
    }
}

/// One refresh.
struct Refresh<'r> {
    ecs: &'r Ecs,
    round: &'r Round<'r>,
    region: &'r str,
    concurrency: usize,
}

/// An instance of EC2 that tasks run on.
#[derive(Default)]
struct Host {
    private_ip: String,
    public_ip: String,
    subnet: String,
    kind: String,
    tags: Vec<(String, String)>,
}

/// What is known of a cluster besides its tasks.
struct Known<'k> {
    cluster: &'k Cluster,
    services: HashMap<String, EcsService>,
    /// Container instance → instance of EC2.
    containers: HashMap<String, String>,
    /// By the interface's ID.
    public_ips: HashMap<String, String>,
    hosts: HashMap<String, Host>,
}

impl Refresh<'_> {
    async fn targets(&self, skipped: &mut Skipped) -> Result<Vec<Labels>, DiscoveryError> {
        let clusters = if self.ecs.config.clusters.is_empty() {
            self.list("ListClusters", None, |page| page.cluster_arns).await?
        } else {
            self.ecs.config.clusters.clone()
        };
        if clusters.is_empty() {
            return Ok(Vec::new());
        }
        let described = self.describe(
            "DescribeClusters",
            &clusters,
            DESCRIBED_MAX,
            |arns| json!({"clusters": arns, "include": ["TAGS"]}),
            |page| page.clusters,
        );
        let described = described.await?.into_iter();
        let described: HashMap<String, Cluster> = described
            .map(|cluster| (cluster.cluster_arn.clone(), cluster))
            .collect();
        let services = self
            .of_each(&clusters, "ListServices", |page| page.service_arns)
            .await?;
        let tasks = self
            .of_each(&clusters, "ListTasks", |page| page.task_arns)
            .await?;
        let busy = clusters.iter().zip(services).zip(tasks);
        let busy: Vec<_> = busy.filter(|(_, tasks)| !tasks.is_empty()).collect();
        let unknown = Cluster::default();
        let calls = busy.iter().map(|((arn, services), tasks)| {
            let cluster = described.get(*arn).unwrap_or(&unknown);
            async move { Ok((arn, self.of_cluster(arn, cluster, services, tasks).await)) }
        });
        let mut targets = Vec::new();
        skipped.begin();
        for (arn, found) in some_at_a_time(self.concurrency, calls).await? {
            match found {
                Ok(found) => targets.extend(found),
                Err(error) => skipped.skip(self.round, arn, error)?,
            }
        }
        Ok(targets)
    }

    async fn call<T: Default + DeserializeOwned>(
        &self,
        action: &str,
        parameters: &Value,
    ) -> Result<T, DiscoveryError> {
        self.ecs.ecs.json(self.round, TARGET, action, parameters).await
    }

    /// All pages of a list of names.
    async fn list(
        &self,
        action: &str,
        cluster: Option<&str>,
        of: fn(Listed) -> Vec<String>,
    ) -> Result<Vec<String>, DiscoveryError> {
        let mut names = Vec::new();
        let (mut pages, mut token) = (Pages::default(), None::<String>);
        loop {
            let mut parameters = json!({"maxResults": PER_PAGE});
            if let Some(cluster) = cluster {
                parameters["cluster"] = cluster.into();
            }
            if let Some(token) = token {
                parameters["nextToken"] = token.into();
            }
            let mut page: Listed = self.call(action, &parameters).await?;
            token = pages.next(action, page.next_token.take().as_deref())?;
            names.extend(of(page));
            if token.is_none() {
                return Ok(names);
            }
        }
    }

    /// A list of each cluster, in their order.
    async fn of_each(
        &self,
        clusters: &[String],
        action: &str,
        of: fn(Listed) -> Vec<String>,
    ) -> Result<Vec<Vec<String>>, DiscoveryError> {
        let calls = clusters
            .iter()
            .map(|cluster| self.list(action, Some(cluster), of));
        some_at_a_time(self.concurrency, calls).await
    }

    /// What a list of names stands for, asked for some at a time.
    async fn describe<T>(
        &self,
        action: &str,
        names: &[String],
        at_a_time: usize,
        parameters: impl Fn(&[String]) -> Value,
        of: fn(Described) -> Vec<T>,
    ) -> Result<Vec<T>, DiscoveryError> {
        let calls: Vec<Value> = names.chunks(at_a_time).map(parameters).collect();
        let calls = calls.iter().map(|call| self.call::<Described>(action, call));
        let pages = some_at_a_time(self.concurrency, calls).await?;
        Ok(pages.into_iter().flat_map(of).collect())
    }

    async fn of_cluster(
        &self,
        arn: &str,
        cluster: &Cluster,
        services: &[String],
        tasks: &[String],
    ) -> Result<Vec<Labels>, DiscoveryError> {
        let services = self.describe(
            "DescribeServices",
            services,
            SERVICES_DESCRIBED_MAX,
            |arns| json!({"cluster": arn, "services": arns, "include": ["TAGS"]}),
            |page| page.services,
        );
        let tasks = self.describe(
            "DescribeTasks",
            tasks,
            DESCRIBED_MAX,
            |arns| json!({"cluster": arn, "tasks": arns, "include": ["TAGS"]}),
            |page| page.tasks,
        );
        let (services, tasks) = try_join(services, tasks).await?;
        let on: Vec<String> = tasks
            .iter()
            .filter_map(|task| task.container_instance_arn.clone())
            .collect();
        let containers = self.describe(
            "DescribeContainerInstances",
            &on,
            DESCRIBED_MAX,
            |arns| json!({"cluster": arn, "containerInstances": arns}),
            |page| page.container_instances,
        );
        let (containers, public_ips) = try_join(containers, self.public_ips(&tasks)).await?;
        let containers: HashMap<String, String> = containers
            .into_iter()
            .filter_map(|one| one.container_instance_arn.zip(one.ec2_instance_id))
            .collect();
        let known = Known {
            cluster,
            services: services
                .into_iter()
                .map(|service| (service.service_name.clone(), service))
                .collect(),
            hosts: self.hosts(containers.values()).await?,
            containers,
            public_ips,
        };
        let port = self.ecs.config.settings.port;
        let targets = tasks
            .iter()
            .filter_map(|task| of_task(task, &known, self.region, port).transpose());
        targets.collect()
    }

    /// Public addresses of the tasks' own interfaces.
    async fn public_ips(&self, tasks: &[Task]) -> Result<HashMap<String, String>, DiscoveryError> {
        let ids: Vec<String> = tasks
            .iter()
            .filter_map(|task| task.interface()?.detail("networkInterfaceId"))
            .map(str::to_owned)
            .collect();
        let mut found = HashMap::new();
        if ids.is_empty() {
            return Ok(found);
        }
        let parameters: Vec<_> = members("NetworkInterfaceId", &ids).collect();
        each_page(
            &self.ecs.ec2,
            self.round,
            "DescribeNetworkInterfaces",
            &parameters,
            |page| {
                for interface in page.list("networkInterfaceSet") {
                    if let Some(id) = interface.text_of("networkInterfaceId")
                        && let Some(ip) = interface.at(&["association", "publicIp"])
                    {
                        found.insert(id.to_owned(), ip.text().to_owned());
                    }
                }
                Ok(())
            },
        )
        .await?;
        Ok(found)
    }

    async fn hosts(
        &self,
        ids: impl Iterator<Item = &String>,
    ) -> Result<HashMap<String, Host>, DiscoveryError> {
        let mut ids: Vec<&String> = ids.collect();
        ids.sort();
        ids.dedup();
        let mut found = HashMap::new();
        if ids.is_empty() {
            return Ok(found);
        }
        let parameters: Vec<_> = members("InstanceId", ids).collect();
        each_page(
            &self.ecs.ec2,
            self.round,
            "DescribeInstances",
            &parameters,
            |page| {
                for reservation in page.list("reservationSet") {
                    for instance in reservation.list("instancesSet") {
                        let text = |name: &str| instance.text_of(name).unwrap_or("").to_owned();
                        let (Some(id), Some(_)) = (
                            instance.text_of("instanceId"),
                            instance.text_of("privateIpAddress"),
                        ) else {
                            continue;
                        };
                        let tags = instance.list("tagSet").filter_map(|tag| {
                            Some((tag.text_of("key")?.to_owned(), tag.text_of("value")?.to_owned()))
                        });
                        let host = Host {
                            private_ip: text("privateIpAddress"),
                            public_ip: text("ipAddress"),
                            subnet: text("subnetId"),
                            kind: text("instanceType"),
                            tags: tags.collect(),
                        };
                        found.insert(id.to_owned(), host);
                    }
                }
                Ok(())
            },
        )
        .await?;
        Ok(found)
    }
}

impl Task {
    /// The attachment that gives it an address of its own.
    fn interface(&self) -> Option<&Attachment> {
        self.attachments
            .iter()
            .find(|attachment| attachment.kind == INTERFACE)
    }
}

impl Attachment {
    fn detail(&self, name: &str) -> Option<&str> {
        let mut named = self
            .details
            .iter()
            .filter(|detail| detail.name.as_deref() == Some(name));
        named.find_map(|detail| detail.value.as_deref())
    }
}

/// Nothing for a task without an address.
fn of_task(
    task: &Task,
    known: &Known<'_>,
    region: &str,
    port: i64,
) -> Result<Option<Labels>, DiscoveryError> {
    let id = task
        .container_instance_arn
        .as_ref()
        .and_then(|arn| known.containers.get(arn));
    let host = id.and_then(|id| known.hosts.get(id));
    let of_host = |part: fn(&Host) -> &String| host.map_or("", |host| part(host));
    let (mode, ip, subnet, public) = match task.interface() {
        Some(own) => {
            let public = own
                .detail("networkInterfaceId")
                .and_then(|id| known.public_ips.get(id));
            (
                "awsvpc",
                own.detail("privateIPv4Address").unwrap_or(""),
                own.detail("subnetId").unwrap_or(""),
                public.map_or("", String::as_str),
            )
        }
        None => (
            if task.container_instance_arn.is_some() {
                "bridge"
            } else {
                ""
            },
            of_host(|host| &host.private_ip),
            of_host(|host| &host.subnet),
            of_host(|host| &host.public_ip),
        ),
    };
    if ip.is_empty() {
        return Ok(None);
    }
    let mut target = MetaLabels::new("__meta_ecs_");
    target
        .address(ip, port)
        .meta("ip_address", ip)
        .meta("region", region)
        .meta("launch_type", &task.launch_type)
        .meta("health_status", &task.health_status)
        .meta("network_mode", mode)
        .meta("cluster", &known.cluster.cluster_name)
        .meta("cluster_arn", &known.cluster.cluster_arn)
        .meta("task_group", &task.group)
        .meta("task_arn", &task.task_arn)
        .meta("task_definition", &task.task_definition_arn)
        .meta("availability_zone", &task.availability_zone)
        .meta("desired_status", &task.desired_status)
        .meta("last_status", &task.last_status)
        .meta("subnet_id", subnet)
        .meta(
            "container_instance_arn",
            task.container_instance_arn.as_deref().unwrap_or(""),
        )
        .meta("ec2_instance_id", id.map_or("", String::as_str))
        .meta("ec2_instance_type", of_host(|host| &host.kind))
        .meta("ec2_instance_private_ip", of_host(|host| &host.private_ip))
        .meta("ec2_instance_public_ip", of_host(|host| &host.public_ip))
        .meta("public_ip", public)
        .meta("platform_family", &task.platform_family)
        .meta("platform_version", &task.platform_version);
    json_tags(&mut target, "tag_cluster_", &known.cluster.tags);
    let service = task.group.strip_prefix("service:");
    if let Some(service) = service.and_then(|name| known.services.get(name)) {
        target
            .meta("service", &service.service_name)
            .meta("service_arn", &service.service_arn)
            .meta("service_status", &service.status);
        json_tags(&mut target, "tag_service_", &service.tags);
    }
    json_tags(&mut target, "tag_task_", &task.tags);
    let host_tags: BTreeMap<String, String> = host.into_iter().flat_map(|host| host.tags.clone()).collect();
    target.all("tag_ec2_", &host_tags);
    target.build().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damage::try_damaged;

    #[test]
    fn damaged_answers_never_panic() {
        let good = br#"{"tasks": [{"taskArn": "t", "group": "service:s", "containerInstanceArn": "c", "attachments": [{"type":
            "ElasticNetworkInterface", "details": [{"name": "privateIPv4Address", "value": "192.0.2.1"}, {"name": "mac"}]}],
            "tags": [{"key": "k", "value": "v"}, {"key": "w"}]}], "services": [{"serviceName": "s", "tags": null}]}"#;
        let mut whole = 0;
        try_damaged(good, |bytes| {
            let described: Described = serde_json::from_slice(bytes).unwrap_or_default();
            let known = Known {
                cluster: &Cluster::default(),
                services: described
                    .services
                    .into_iter()
                    .map(|service| (service.service_name.clone(), service))
                    .collect(),
                containers: HashMap::new(),
                public_ips: HashMap::new(),
                hosts: HashMap::new(),
            };
            for task in &described.tasks {
                whole += usize::from(of_task(task, &known, "r", 80).is_ok_and(|found| found.is_some()));
            }
        });
        assert!(whole > 0, "the good one is read");
    }
}
