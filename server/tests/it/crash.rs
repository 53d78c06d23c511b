//! A full disk, and kills while everything happens at once.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::routing::get;
use serde_json::Value;

use crate::harness::{PATIENCE, Server, http_client, own_program};

/// A service whose scrapes are counted and bring series that come and go. Its address.
async fn service() -> String {
    let scrapes = Arc::new(AtomicU64::new(0));
    let metrics = move || {
        let scrapes = scrapes.clone();
        async move {
            let count = scrapes.fetch_add(1, Ordering::SeqCst) + 1;
            let epoch = count / 20;
            let many: String = (0..200)
                .map(|i| format!("many{{i=\"{i}\"}} {}\n", (count * 7919 + i * 104_729) % 99_991))
                .collect();
            let body = format!("scrapes_total {count}\nshort_lived{{epoch=\"{epoch}\"}} 1\n{many}");
            ([(http::header::CONTENT_TYPE, "text/plain; version=0.0.4")], body)
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = listener.local_addr().expect("address").to_string();
    let app = axum::Router::new().route("/metrics", get(metrics));
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

fn config(address: &str) -> String {
    format!(
        "global: {{scrape_interval: 100ms, scrape_timeout: 100ms}}\n\
         scrape_configs:\n- job_name: tiny\n  static_configs: [{{targets: ['{address}']}}]\n"
    )
}

/// Every sample of the counter, as text.
async fn seen(server: &Server) -> BTreeSet<String> {
    let result = server.query("scrapes_total[1h]").await;
    let values = result.first().and_then(|series| series["values"].as_array());
    values.into_iter().flatten().map(Value::to_string).collect()
}

/// Waits until there are more than so many samples of the counter.
async fn wait_for_more(server: &Server, than: usize) {
    let begin = Instant::now();
    while seen(server).await.len() <= than {
        assert!(
            begin.elapsed() < PATIENCE,
            "no more samples come\n{}",
            server.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the page says that the server is ready, or that it is not; what it says.
async fn wait_ready(server: &Server, ready: bool) -> String {
    let begin = Instant::now();
    loop {
        let (status, body) = server.get("/-/ready").await;
        if (status == 200) == ready {
            return body;
        }
        assert!(begin.elapsed() < PATIENCE, "{status} {body}\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A program that is the server, but may write no file longer than so many units of 512 bytes, as if the disk were full;
/// or any with `unlimited`.
fn limited(folder: &Path, units: &str) -> PathBuf {
    let path = folder.join("limited.sh");
    let script = format!(
        "#!/bin/sh\nulimit -S -f {units}\nexec '{}' \"$@\"\n",
        own_program().display()
    );
    std::fs::write(&path, script).expect("script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("runs");
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_samples_and_nothing_else_until_there_is_room() {
    let address = service().await;
    let folder = tempfile::tempdir().expect("folder");
    // A file of 32 KiB is full after a few seconds of scrapes.
    let program = limited(folder.path(), "64");
    let mut server = Server::start_program(program, folder.path(), &config(&address), &[]).await;
    wait_for_more(&server, 0).await;
    let why = wait_ready(&server, false).await;
    assert!(why.contains("/wal/0000000"), "{why}");
    let before = seen(&server).await;
    assert!(!before.is_empty());
    // It is alive, answers, and does not claim what it cannot keep.
    assert_eq!(server.get("/-/healthy").await.0, 200);
    let Some(prlimit) = testkit::program(testkit::Need::Prlimit) else {
        return;
    };
    let lifted = Command::new(prlimit)
        .args(["--fsize=unlimited", "--pid", &server.pid().to_string()])
        .status();
    assert!(lifted.is_ok_and(|status| status.success()));
    limited(folder.path(), "unlimited");
    wait_ready(&server, true).await;
    wait_for_more(&server, before.len() + 5).await;
    let after = seen(&server).await;
    server.kill();
    server.restart().await;
    let found = seen(&server).await;
    let lost: Vec<_> = before.union(&after).filter(|s| !found.contains(*s)).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

/// The rest of the program, alone, under the same limit.
#[tokio::test]
async fn a_file_that_may_not_grow_is_an_error_of_the_gateway_and_of_the_alertmanager() {
    let long = "x".repeat(20_000);
    let silence = serde_json::json!({
        "matchers": [{"name": "a", "value": "b", "isRegex": false}],
        "startsAt": "2099-01-01T00:00:00Z", "endsAt": "2100-01-01T00:00:00Z", "createdBy": "me", "comment": long,
    });
    let nobody = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n";
    for (args, path, body) in [
        (
            ["pushgateway", "--persistence.file=pushed"],
            "/metrics/job/a",
            format!("a{{b=\"{long}\"}} 1\n"),
        ),
        (
            ["alertmanager", "--config.file=am.yml"],
            "/api/v2/silences",
            silence.to_string(),
        ),
    ] {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("am.yml"), nobody).expect("configuration");
        let program = limited(folder.path(), "32");
        let args = args.map(str::to_owned).to_vec();
        let server = Server::start_alone(program, folder.path(), args).await;
        let request = http_client().post(format!("{}{path}", server.url)).body(body);
        let request = request.header("Content-Type", "application/json");
        let answer = request.send().await.expect("an answer");
        let (status, text) = (answer.status(), answer.text().await.expect("a body"));
        assert_eq!(status, 500, "{path}: {text}");
        assert_eq!(server.get("/-/healthy").await.0, 200, "{path}");
    }
}

/// Rounds of the test below: a few, or as many as `NARTHEX_KILL_ROUNDS` says.
fn rounds() -> u64 {
    let given = std::env::var("NARTHEX_KILL_ROUNDS")
        .ok()
        .and_then(|v| v.parse().ok());
    given.unwrap_or(4)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_in_the_midst_of_cutting_merging_deleting_and_snapshots_lose_nothing() {
    let address = service().await;
    let folder = tempfile::tempdir().expect("folder");
    let flags = [
        "--storage.tsdb.min-block-duration=2s",
        "--storage.tsdb.max-block-duration=18s",
        "--storage.tsdb.head-snapshot-interval=200ms",
        "--storage.tsdb.wal-sync-interval=50ms",
        "--web.enable-admin-api",
    ];
    let mut server = Server::start(folder.path(), &config(&address), &flags).await;
    for round in 0..rounds() {
        let before = seen(&server).await.len();
        wait_for_more(&server, before + 15).await;
        let seen_before = seen(&server).await;
        let admin = |path: &str| {
            let url = format!("{}/api/v1/admin/tsdb/{path}", server.url);
            tokio::spawn(http_client().post(url).send())
        };
        // Not waited for: the kill comes while it is done.
        let requests = [
            admin("delete_series?match[]=short_lived"),
            admin("snapshot"),
            admin("clean_tombstones"),
        ];
        tokio::time::sleep(Duration::from_millis(round * 37 % 150)).await;
        server.kill();
        for request in requests {
            // Answered or cut off.
            let _ = request.await;
        }
        server.restart().await;
        let found = seen(&server).await;
        let lost: Vec<_> = seen_before.difference(&found).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?}\n{}", server.log());
        let torn = server
            .query("count by (n) (label_replace(count_over_time(many[1h]), \"n\", \"x\", \"\", \"\")) != 200")
            .await;
        assert!(torn.is_empty(), "round {round}: {torn:?}");
    }
}
