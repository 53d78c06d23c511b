//! A ZooKeeper that is lost and found: targets stay, the session is continued, what changed meanwhile is seen.

use std::collections::BTreeMap;
use std::time::Duration;

use metrics::Registry;
use narthex_discovery::{Context, Manager, Mechanisms, Metrics, SCRAPE, Snapshot};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::zookeeper_server::ZooKeeperServer;

const PATIENCE: Duration = Duration::from_secs(20);

fn member(port: u16) -> String {
    json!({"host": "h", "port": port, "name": "n"}).to_string()
}

fn start(server: &ZooKeeperServer, timeout_ms: u64) -> (Manager, watch::Receiver<Snapshot>) {
    let text = format!(
        "nerve_sd_configs: [{{servers: ['{}'], paths: [/s], timeout: {timeout_ms}ms}}]",
        server.address
    );
    let document = yaml::parse("f.yml", &text).expect("YAML");
    let mut section = document.root().section("a job").expect("mapping");
    let mechanisms = Mechanisms::read(&mut section).expect("valid");
    let mut manager = Manager::new(SCRAPE, Context::new("test", Metrics::new(&Registry::new())));
    let found = manager.subscribe();
    let jobs = BTreeMap::from([("job".to_owned(), mechanisms)]);
    let prepared = manager.prepare(jobs).expect("prepared");
    manager.apply(prepared);
    (manager, found)
}

fn addresses(snapshot: &Snapshot) -> Vec<String> {
    let mut all: Vec<String> = snapshot["job"]
        .iter()
        .flat_map(|group| &group.targets)
        .map(|target| target.get("__address__").unwrap_or("").to_owned())
        .collect();
    all.sort();
    all
}

async fn wait_for(found: &mut watch::Receiver<Snapshot>, wanted: &[&str]) {
    let became = timeout(PATIENCE, found.wait_for(|now| addresses(now) == wanted))
        .await
        .is_ok();
    assert!(became, "{:?}, not {wanted:?}", addresses(&found.borrow()));
}

#[tokio::test]
async fn a_lost_connection_costs_no_target_and_changes_meanwhile_are_seen() {
    let phase = watch::Sender::new(0);
    let exchanges = vec![
        json!({"phases": [0, 0], "zookeeper": {"/s": "", "/s/a": member(1), "/s/b": member(2)}}),
        json!({"phases": [1, 1], "zookeeper": {"/s": "", "/s/b": member(2), "/s/c": member(3)}}),
        json!({"zookeeper": {"/s": "", "/s/c": member(4)}}),
    ];
    let server = ZooKeeperServer::start(exchanges, phase.subscribe()).await;
    let (_manager, mut found) = start(&server, 5_000);
    wait_for(&mut found, &["h:1", "h:2"]).await;
    server.cut();
    phase.send_replace(1);
    wait_for(&mut found, &["h:2", "h:3"]).await;
    assert_eq!(server.sessions(), [0, 77], "the session was continued");
    // Watches hold on the new connection.
    phase.send_replace(2);
    wait_for(&mut found, &["h:4"]).await;
    server.expire();
    server.cut();
    let renewed = async {
        while server.sessions().last() != Some(&0) || server.sessions().len() < 4 {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, renewed).await.expect("a new session");
    assert_eq!(server.sessions(), [0, 77, 77, 0]);
    assert_eq!(addresses(&found.borrow()), ["h:4"]);
}

#[tokio::test]
async fn a_session_without_changes_is_kept_alive() {
    let phase = watch::Sender::new(0);
    let exchanges = vec![
        json!({"phases": [0, 0], "zookeeper": {"/s": "", "/s/a": member(1)}}),
        json!({"zookeeper": {"/s": ""}}),
    ];
    let server = ZooKeeperServer::start(exchanges, phase.subscribe()).await;
    let (_manager, mut found) = start(&server, 300);
    wait_for(&mut found, &["h:1"]).await;
    // Several times the session's timeout.
    let ended = timeout(Duration::from_millis(1_000), found.changed()).await;
    assert!(ended.is_err(), "nothing has changed");
    assert_eq!(server.sessions(), [0], "one connection");
    phase.send_replace(1);
    wait_for(&mut found, &[]).await;
}
