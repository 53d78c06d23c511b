//! What clouds do that the recording does not have: credentials that expire, pages without an end, haste, links elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use httpclient::Surroundings;
use metrics::Registry;
use narthex_discovery::{Context, Manager, Mechanisms, Metrics, SCRAPE, Snapshot, Troubles};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::replay::Lead;
use crate::replay_server::ReplayServer;

const PATIENCE: Duration = Duration::from_secs(30);

/// A job that finds its targets in a cloud that is a server of ours.
struct Cloud {
    server: ReplayServer,
    found: watch::Receiver<Snapshot>,
    troubles: Troubles,
    _manager: Manager,
}

impl Cloud {
    async fn start(job: &str, hosts: &[&str], exchanges: Value) -> Self {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let exchanges = exchanges.as_array().cloned().unwrap_or_default();
        let server = ReplayServer::start(exchanges, &hosts).await;
        let mut context = Context::new("test", Metrics::new(&Registry::new()));
        context.surroundings = Surroundings {
            resolver: Arc::new(Lead {
                to: hosts,
                http: server.http,
                https: server.https,
            }),
            roots: Some(server.roots.clone()),
        };
        context.env = Some(Arc::new(HashMap::new()));
        let troubles = context.troubles.clone();
        let text = job.replace("@PORT@", &server.http.port().to_string());
        let document = yaml::parse("job", &text).expect("YAML");
        let mut section = document.root().section("job").expect("mapping");
        let mechanisms = Mechanisms::read(&mut section).expect("settings");
        let mut manager = Manager::new(SCRAPE, context);
        let found = manager.subscribe();
        let jobs = BTreeMap::from([("cloud".to_owned(), mechanisms)]);
        let prepared = manager.prepare(jobs).expect("prepared");
        manager.apply(prepared);
        Cloud {
            server,
            found,
            troubles,
            _manager: manager,
        }
    }

    async fn wait_for_targets(&mut self, count: usize) {
        let has = |snapshot: &Snapshot| {
            let groups = snapshot.get("cloud").into_iter().flat_map(|groups| groups.iter());
            groups.map(|group| group.targets.len()).sum::<usize>() == count
        };
        timeout(PATIENCE, self.found.wait_for(has))
            .await
            .expect("in time")
            .expect("runs");
    }

    /// The error that is shown once there is one.
    async fn trouble(&self) -> String {
        let start = tokio::time::Instant::now();
        loop {
            if let Some(trouble) = self.troubles.now().pop() {
                assert_eq!(
                    (trouble.manager, trouble.jobs),
                    (SCRAPE, vec!["cloud".to_owned()])
                );
                return trouble.error;
            }
            assert!(start.elapsed() < PATIENCE, "no trouble");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn wait_for_no_trouble(&self) {
        let start = tokio::time::Instant::now();
        while !self.troubles.now().is_empty() {
            assert!(start.elapsed() < PATIENCE, "trouble stays");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

const EC2: &str = "ec2_sd_configs: [{region: r, endpoint: 'http://127.0.0.1:@PORT@', access_key: AKID, secret_key: s, \
                   refresh_interval: 200ms}]";

/// An answer of EC2 to one action, in some phases.
fn ec2(action: &str, phases: [Option<u64>; 2], status: u16, body: &str) -> Value {
    json!({
        "phases": phases,
        "request": {"method": "POST", "path": "/", "form": {"Action": action}},
        "response": {"status": status, "body": body},
    })
}

fn instances(more: &str) -> String {
    format!(
        "<R><reservationSet><item><instancesSet><item><instanceId>i</instanceId>\
         <privateIpAddress>192.0.2.1</privateIpAddress></item></instancesSet></item></reservationSet>{more}</R>"
    )
}

#[tokio::test]
async fn credentials_that_expire_are_named_and_targets_stay() {
    let zones = ec2("DescribeAvailabilityZones", [Some(0), None], 200, "<R/>");
    let fault = "<Response><Errors><Error><Code>RequestExpired</Code><Message>Request has expired.</Message></Error></Errors></Response>";
    let exchanges = json!([
        zones,
        ec2("DescribeInstances", [Some(1), Some(1)], 400, fault),
        ec2("DescribeInstances", [Some(0), None], 200, &instances("")),
    ]);
    let mut cloud = Cloud::start(EC2, &[], exchanges).await;
    cloud.wait_for_targets(1).await;
    assert!(cloud.troubles.now().is_empty());
    cloud.server.advance(1);
    assert_eq!(
        cloud.trouble().await,
        "ec2: DescribeInstances: 400 Bad Request: RequestExpired: Request has expired.; asked with credentials from the \
         configuration (key AKID)"
    );
    cloud.wait_for_targets(1).await;
    cloud.server.advance(2);
    cloud.wait_for_no_trouble().await;
    // No secret is ever shown.
    assert!(
        cloud
            .server
            .asked()
            .iter()
            .all(|asked| !format!("{asked:?}").contains("secret_key"))
    );
}

#[tokio::test]
async fn pages_that_lead_round_in_a_circle_end_in_an_error() {
    let exchanges = json!([
        ec2("DescribeAvailabilityZones", [Some(0), None], 200, "<R/>"),
        ec2(
            "DescribeInstances",
            [Some(0), None],
            200,
            &instances("<nextToken>again</nextToken>")
        ),
    ]);
    let cloud = Cloud::start(EC2, &[], exchanges).await;
    let error = cloud.trouble().await;
    assert!(error.contains("its pages lead round in a circle"), "{error}");
}

#[tokio::test]
async fn who_is_asked_too_often_is_asked_again() {
    let exchanges = json!([
        ec2("DescribeAvailabilityZones", [Some(0), None], 200, "<R/>"),
        ec2(
            "DescribeInstances",
            [Some(0), Some(0)],
            503,
            "<Response><Errors><Error><Code>RequestLimitExceeded</Code></Error></Errors></Response>"
        ),
        ec2("DescribeInstances", [Some(1), None], 200, &instances("")),
    ]);
    let text = EC2.replace("200ms", "1h");
    let mut cloud = Cloud::start(&text, &[], exchanges).await;
    let start = tokio::time::Instant::now();
    while !cloud
        .server
        .asked()
        .iter()
        .any(|asked| asked.body.contains("DescribeInstances"))
    {
        assert!(start.elapsed() < PATIENCE, "not asked");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cloud.server.advance(1);
    cloud.wait_for_targets(1).await;
}

#[tokio::test]
async fn a_next_page_elsewhere_gets_no_token() {
    let page = "/subscriptions/s/providers/Microsoft.Compute/virtualMachines";
    let exchanges = json!([
        {
            "request": {"method": "POST", "path": "/t/oauth2/v2.0/token"},
            "response": {"json": {"access_token": "az", "expires_in": 3600}},
        },
        {
            "request": {"path": page},
            "response": {"json": {"value": [], "nextLink": "https://elsewhere.example/more"}},
        },
    ]);
    let hosts = [
        "login.microsoftonline.com",
        "management.azure.com",
        "elsewhere.example",
    ];
    let job = "azure_sd_configs: [{subscription_id: s, tenant_id: t, client_id: c, client_secret: x, refresh_interval: 200ms}]";
    let cloud = Cloud::start(job, &hosts, exchanges).await;
    let error = cloud.trouble().await;
    assert!(
        error.contains("the next page is at https://elsewhere.example, which gets no token"),
        "{error}"
    );
    assert!(
        cloud
            .server
            .asked()
            .iter()
            .all(|asked| asked.host != "elsewhere.example")
    );
}

#[tokio::test]
async fn what_cannot_be_made_is_a_trouble_too() {
    let cloud = Cloud::start("gce_sd_configs: [{project: p, zone: z}]", &[], json!([])).await;
    let error = cloud.trouble().await;
    assert!(error.contains("could not find default credentials"), "{error}");
}
