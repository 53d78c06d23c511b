//! Taking the reference's place on its own folder, and giving the place back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::routing::get;
use serde_json::Value;

use crate::golden::{self, copy_folder};
use crate::harness::{Server, own_program};

/// Counters, a gauge that comes and goes, and a classic histogram.
async fn serve(scrapes: Arc<AtomicU64>) -> String {
    let metrics = move || {
        let count = scrapes.fetch_add(1, Ordering::SeqCst) + 1;
        let many: String = (0..40)
            .map(|i| format!("many_total{{i=\"{i}\"}} {}\n", count * i))
            .collect();
        let now_and_then = if count.is_multiple_of(4) {
            ""
        } else {
            "flickering 1\n"
        };
        let buckets = format!(
            "# TYPE took_seconds histogram\ntook_seconds_bucket{{le=\"0.1\"}} {count}\n\
             took_seconds_bucket{{le=\"+Inf\"}} {}\ntook_seconds_sum {count}.5\ntook_seconds_count {}\n",
            count * 2,
            count * 2
        );
        let body =
            format!("# TYPE scrapes_total counter\nscrapes_total {count}\n{now_and_then}{many}{buckets}");
        async move { ([(http::header::CONTENT_TYPE, "text/plain; version=0.0.4")], body) }
    };
    let app = axum::Router::new().route("/metrics", get(metrics));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = listener.local_addr().expect("address").to_string();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Everything that the target has given up to `until`, by labels.
async fn everything(server: &Server, until: &str) -> Vec<String> {
    let params = [("query", "{job=\"tiny\"}[1h]"), ("time", until)];
    let answer = server.api("query", &params).await;
    let result = answer["data"]["result"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}\n{}", server.log()));
    let mut series: Vec<String> = result.iter().map(Value::to_string).collect();
    series.sort();
    series
}

/// Time of the newest scrape of which a query sees everything.
async fn newest(server: &Server) -> String {
    let result = server.query("timestamp(scrapes_total)").await;
    result[0]["value"][1].as_str().expect("a number").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reference_and_we_take_turns_on_one_folder() {
    let Some(reference) = testkit::prometheus() else {
        return;
    };
    let scrapes = Arc::new(AtomicU64::new(0));
    let address = serve(scrapes.clone()).await;
    let config = format!(
        "global: {{scrape_interval: 100ms, scrape_timeout: 100ms}}\n\
         scrape_configs:\n- job_name: tiny\n  static_configs: [{{targets: ['{address}']}}]\n"
    );
    let folder = tempfile::tempdir().expect("folder");
    let mut server = Server::start_program(reference.clone(), folder.path(), &config, &[]).await;
    for (round, next) in [own_program(), reference.clone(), own_program(), reference]
        .into_iter()
        .enumerate()
    {
        let until = scrapes.load(Ordering::SeqCst) + 8;
        server
            .wait_for(&format!("scrapes_total >= {until}"), |r| !r.is_empty())
            .await;
        let at = newest(&server).await;
        let before = everything(&server, &at).await;
        assert!(before.len() > 40, "round {round}: {before:?}");
        // Both ways of ending, by turns.
        if round % 2 == 0 {
            server.stop().await;
        } else {
            server.kill();
        }
        server.restart_as(next).await;
        let after = everything(&server, &at).await;
        let lost: Vec<_> = before.iter().zip(&after).filter(|(b, a)| b != a).collect();
        assert!(
            lost.is_empty() && before.len() == after.len(),
            "round {round}: {} series before, {} after, different: {lost:#?}\n{}",
            before.len(),
            after.len(),
            server.log()
        );
    }
}

/// Our own starting, writing and stopping changes nothing that the reference can see. The recorded answers are those of
/// its version 3; older ones do not know everything that was recorded.
#[tokio::test]
async fn the_reference_answers_as_recorded_from_a_folder_that_we_have_used() {
    let (Some(conformance), Some(reference)) = (testkit::conformance("tsdb"), testkit::prometheus_3()) else {
        return;
    };
    for (name, args) in [
        ("scraped", &["--enable-feature=exemplar-storage"][..]),
        ("plain", golden::EXPERIMENTAL),
    ] {
        let source = conformance.join(name);
        let folder = tempfile::tempdir().expect("folder");
        copy_folder(&source.join("data"), &folder.path().join("data"));
        let args = [args, &["--storage.tsdb.retention.time=100y"]].concat();
        let mut server = Server::start(folder.path(), golden::CONFIG, &args).await;
        server.stop().await;
        server.restart_as(reference.clone()).await;
        golden::compare(&server, &source).await;
    }
}
