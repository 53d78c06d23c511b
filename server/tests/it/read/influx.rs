//! InfluxDB as a store beside ours: remote write to it, remote read from it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use testkit::Need;

use crate::harness::{Server, free_port, http_client, wait_until};

/// Samples, fifteen seconds apart: all of them lie within the ten minutes that samples may be ahead.
const SAMPLE_COUNT: i64 = 32;
const STEP_MS: i64 = 15_000;

/// A running InfluxDB; killed when dropped.
struct Influx {
    child: Child,
    url: String,
}

impl Drop for Influx {
    fn drop(&mut self) {
        // Gone already is fine too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Influx {
    /// One with a database, in `folder`; skips where there is no program.
    async fn start(folder: &Path) -> Option<Influx> {
        let program = testkit::program(Need::Influxd)?;
        let (http, inner) = (free_port(), free_port());
        let data = folder.display();
        let config = format!(
            "reporting-disabled = true\nbind-address = \"127.0.0.1:{inner}\"\n\
             [meta]\ndir = \"{data}/meta\"\n[data]\ndir = \"{data}/data\"\nwal-dir = \"{data}/wal\"\n\
             [http]\nbind-address = \"127.0.0.1:{http}\"\nlog-enabled = false\n[monitor]\nstore-enabled = false\n"
        );
        let path = folder.join("influxdb.conf");
        std::fs::write(&path, config).expect("configuration");
        let log = std::fs::File::create(folder.join("influx.log")).expect("log");
        let child = Command::new(program)
            .arg("-config")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("influxd starts");
        let influx = Influx {
            child,
            url: format!("http://127.0.0.1:{http}"),
        };
        let create = format!("{}/query?q=CREATE%20DATABASE%20narthex", influx.url);
        wait_until("InfluxDB has a database", async || {
            let answer = http_client().post(&create).send().await;
            answer.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
        Some(influx)
    }
}

/// Gives a server samples of two series.
async fn import(server: &Server, first_ms: i64, samples: std::ops::Range<i64>) {
    let mut text = String::new();
    for n in samples {
        let at_ms = first_ms + n * STEP_MS;
        text += &format!("influx_up{{job=\"a\",instance=\"ä b\"}} {} {at_ms}\n", n * 3);
        text += &format!("influx_up{{job=\"b\"}} {} {at_ms}\n", 1.5 - n as f64);
    }
    let answer = http_client()
        .post(format!("{}/api/v1/import/prometheus", server.url))
        .body(text)
        .send()
        .await
        .expect("an answer");
    assert!(
        answer.status().is_success(),
        "{}",
        answer.text().await.expect("a body")
    );
}

#[tokio::test]
async fn a_query_spans_what_is_here_and_what_influxdb_keeps() {
    let folder = tempfile::tempdir().expect("folder");
    let Some(influx) = Influx::start(folder.path()).await else {
        return;
    };
    let (whole_folder, recent_folder) = (folder.path().join("whole"), folder.path().join("recent"));
    for folder in [&whole_folder, &recent_folder] {
        std::fs::create_dir(folder).expect("folder");
    }
    let write = format!(
        "remote_write: [{{url: \"{}/api/v1/prom/write?db=narthex\", queue_config: {{batch_send_deadline: 100ms}}}}]\n",
        influx.url
    );
    let read = format!(
        "remote_read: [{{url: \"{}/api/v1/prom/read?db=narthex\"}}]\n",
        influx.url
    );
    let import_flag = ["--web.enable-import"];
    let whole = Server::start(&whole_folder, &write, &import_flag).await;
    let recent = Server::start(&recent_folder, &read, &import_flag).await;
    let now_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time")
        .as_millis() as i64;
    let first_ms = now_ms + 1000;
    // One server has everything and sends it on; the other one has only the newer half.
    import(&whole, first_ms, 0..SAMPLE_COUNT).await;
    import(&recent, first_ms, SAMPLE_COUNT / 2..SAMPLE_COUNT).await;
    let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
    let (start, end) = (
        seconds(first_ms),
        seconds(first_ms + (SAMPLE_COUNT - 1) * STEP_MS),
    );
    let range = async |server: &Server, query: &str| -> Value {
        let params = [
            ("query", query),
            ("start", start.as_str()),
            ("end", end.as_str()),
            ("step", "15"),
        ];
        server.api("query_range", &params).await
    };
    let expected = range(&whole, "influx_up").await;
    assert_eq!(
        expected["data"]["result"].as_array().expect("a matrix").len(),
        2,
        "{expected}"
    );
    wait_until("InfluxDB has been sent everything", async || {
        range(&recent, "influx_up").await["data"] == expected["data"]
    })
    .await;
    for query in [
        "sum by (job) (rate(influx_up[1m]))",
        "influx_up{instance=~\"ä.*\"} > 10",
        "max_over_time(influx_up[2m])",
        "count(influx_up)",
        "absent(influx_up{job=\"c\"})",
    ] {
        let (spanning, alone) = (range(&recent, query).await, range(&whole, query).await);
        assert_eq!(spanning["data"], alone["data"], "{query}");
        assert_eq!(spanning["warnings"], Value::Null, "{query}");
    }
}
