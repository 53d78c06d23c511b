//! Restarts: with the snapshot of the head in play, answers while the log is read, and what is said when the disk fails.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use files::DiskFiles;
use model::clock::{Clock, SystemClock};
use model::labels::Labels;
use model::storage::{AppendBatch, AppendOutcome, Appender, FloatSample};
use tsdb::db::{Db, Options};

use crate::harness::{PATIENCE, Server, http_client, own_program};

const HOUR_MS: i64 = 3_600_000;
const SERIES: usize = 50;
/// Scrapes itself, so that there is something to store.
const CONFIG: &str = "
global: {scrape_interval: 100ms, scrape_timeout: 100ms}
scrape_configs:
- job_name: self
  static_configs: [{targets: ['SELF']}]
";

/// A folder with blocks of some hours ago, and a head up to now. Returns the newest timestamp.
fn fill(data: &Path) -> i64 {
    let now_ms = SystemClock.now_ms();
    let options = Options {
        background: false,
        ..Options::default()
    };
    let db = Db::open(Arc::new(DiskFiles), data, options, Arc::new(SystemClock)).expect("opens");
    let name = |i: usize| Labels::from_pairs([("__name__", "m".to_owned()), ("i", i.to_string())]);
    let series: Vec<_> = (0..SERIES)
        .map(|i| db.resolve(&name(i)).expect("no limit"))
        .collect();
    let mut timestamp_ms = now_ms - 8 * HOUR_MS;
    while timestamp_ms <= now_ms {
        let floats = series.iter().map(|series| FloatSample {
            series: *series,
            timestamp_ms,
            value: 1.0,
        });
        let batch = AppendBatch {
            floats: floats.collect(),
            ..AppendBatch::default()
        };
        db.append(&batch, &mut AppendOutcome::default()).expect("appends");
        timestamp_ms += 60_000;
    }
    db.compact().expect("compacts");
    assert!(!db.blocks().is_empty());
    db.close().expect("closes");
    timestamp_ms - 60_000
}

/// A pipe in the place of the snapshot holds the start up until somebody writes to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_reads_its_log_answers_from_blocks_and_lets_others_wait() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let newest_ms = fill(&data);
    let snapshot = data.join("head_snapshot");
    std::fs::remove_file(&snapshot).expect("written at the stop");
    let made = Command::new("mkfifo").arg(&snapshot).status().expect("mkfifo");
    assert!(made.success());

    let server = Server::start_unready(folder.path(), "{}").await;
    assert_eq!(server.get("/-/healthy").await.0, 200);
    let ready = http_client()
        .get(format!("{}/-/ready", server.url))
        .send()
        .await
        .expect("an answer");
    assert_eq!(ready.status(), 503);
    assert_eq!(ready.headers()["x-prometheus-stopping"], "false");
    assert_eq!(ready.text().await.expect("a body"), "Service Unavailable");
    assert_eq!(
        server.get("/api/v1/status/tsdb").await,
        (503, "Service Unavailable".to_owned())
    );
    let replay = server.api("status/walreplay", &[]).await;
    assert_eq!(replay["status"], "success", "{replay}");

    let count = |at_ms: i64| {
        vec![
            ("query", "count(m)".to_owned()),
            ("time", (at_ms / 1000).to_string()),
        ]
    };
    async fn ask(server: &Server, params: Vec<(&str, String)>) -> serde_json::Value {
        let params: Vec<(&str, &str)> = params.iter().map(|(k, v)| (*k, v.as_str())).collect();
        server.api("query", &params).await["data"]["result"][0]["value"][1].clone()
    }
    // Blocks hold the old samples, and this answer is there while the log still waits to be read.
    assert_eq!(ask(&server, count(newest_ms - 6 * HOUR_MS)).await, "50");
    assert_eq!(server.get("/-/ready").await.0, 503);

    // The newest ones are waited for; nobody gets an answer without them.
    let asked = ask(&server, count(newest_ms));
    let begin = async {
        assert_eq!(server.get("/-/ready").await.0, 503);
        // Opened for reading too, or it would wait for a reader that may have gone.
        tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().read(true).write(true).open(snapshot))
            .await
            .expect("runs")
            .expect("the pipe")
    };
    let (answer, _pipe) = tokio::join!(asked, begin);
    assert_eq!(answer, "50");
    assert_eq!(
        server.get("/-/ready").await,
        (200, "Prometheus Server is Ready.\n".to_owned())
    );
    assert!(
        server.log().contains("of no use"),
        "a pipe is no snapshot:\n{}",
        server.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_through_the_snapshot() {
    let folder = tempfile::tempdir().expect("a folder");
    let newest_ms = fill(&folder.path().join("data"));
    let at = (newest_ms / 1000).to_string();
    let params = [("query", "count_over_time(m[4h])"), ("time", at.as_str())];
    let used = |server: &Server| server.log().matches("snapshot=used").count();

    let mut server = Server::start(folder.path(), "{}", &["--storage.tsdb.head-snapshot-interval=1s"]).await;
    assert_eq!(used(&server), 1, "{}", server.log());
    let want = server.api("query", &params).await["data"]["result"].take();
    assert_eq!(want.as_array().map(Vec::len), Some(SERIES), "{want}");
    server.kill();
    server.restart().await;
    assert_eq!(server.api("query", &params).await["data"]["result"].take(), want);
    server.stop().await;
    server.restart().await;
    assert_eq!(server.api("query", &params).await["data"]["result"].take(), want);
    assert_eq!(used(&server), 3, "{}", server.log());
}

/// The folder's disk "fails": no file may grow beyond a limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_turns_readiness_red_and_queries_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("limited");
    // Without the signal that goes with the limit, writes beyond it fail.
    let own = own_program();
    let text = format!(
        "#!/bin/sh\ntrap '' XFSZ\nulimit -f 400\nexec {} \"$@\"\n",
        own.display()
    );
    std::fs::write(&script, text).expect("a script");
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).expect("permissions");
    let server = Server::start_program(script, folder.path(), CONFIG, &[]).await;
    server.wait_for("count(up)", |found| !found.is_empty()).await;
    let begin = std::time::Instant::now();
    let (status, text) = loop {
        let (status, text) = server.get("/-/ready").await;
        if status != 200 || begin.elapsed() > PATIENCE {
            break (status, text);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(status, 503, "{}", server.log());
    assert!(text.contains("nothing can be stored"), "{text}");
    assert_eq!(server.get("/-/healthy").await.0, 200);
    assert!(!server.query("count_over_time(up[1h])").await.is_empty());
}
