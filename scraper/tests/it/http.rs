//! What goes over the wire, and what each kind of answer leads to.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use discovery::TargetGroup;
use metrics::Registry;
use model::clock::SystemClock;
use model::labels::Labels;
use narthex_scraper::{ActiveTarget, Health, Manager, Options, ScrapeConfig, ScrapeDefaults};

use crate::server::{Answer, Store, Target};

const TEXT: &str = "# HELP a Text.\n# TYPE a gauge\na 1\nb{c=\"d\"} 2\n";

/// Scrapes `target` once by a job with these settings; gives the target's state afterwards. Patient enough for a machine
/// that is busy.
async fn scrape(target: &Target, settings: &str) -> (ActiveTarget, Arc<Store>) {
    scrape_within(target, "2s", settings).await
}

/// [`scrape`] with this interval and timeout.
async fn scrape_within(target: &Target, timeout: &str, settings: &str) -> (ActiveTarget, Arc<Store>) {
    let yaml = format!("{{job_name: j, scrape_interval: {timeout}, scrape_timeout: {timeout}{settings}}}");
    let document = yaml::parse("test.yml", &yaml).unwrap();
    let config = ScrapeConfig::read(document.root(), &ScrapeDefaults::default()).unwrap();
    let store = Store::new();
    let manager = Manager::new(
        Arc::clone(&store) as _,
        Arc::new(SystemClock),
        &Registry::new(),
        Options::default(),
    );
    let prepared = manager.prepare(vec![config], &Labels::empty()).unwrap();
    manager.apply(prepared).await;
    let group = TargetGroup {
        source: "0".into(),
        targets: vec![target.labels.clone()],
        labels: Labels::empty(),
    };
    let stored = store.next();
    let update = manager.update(Arc::new(BTreeMap::from([(
        "j".to_owned(),
        vec![Arc::new(group)].into(),
    )])));
    tokio::join!(stored, update);
    // The state is told after the samples are stored, in the same breath.
    let seen = loop {
        let seen = manager.targets().remove(0).active.remove(0);
        if seen.status.health != Health::Unknown {
            break seen;
        }
        tokio::task::yield_now().await;
    };
    manager.stop().await;
    (seen, store)
}

fn text(headers: &[(&'static str, &'static str)]) -> Answer {
    Answer {
        status: 200,
        headers: headers.to_vec(),
        body: TEXT.into(),
        hangs: false,
    }
}

const PLAIN: (&str, &str) = ("content-type", "text/plain; version=0.0.4; charset=utf-8");

#[tokio::test]
async fn the_request() {
    let target = Target::start(text(&[PLAIN])).await;
    let (seen, store) = scrape(&target, ", metrics_path: /m, params: {module: [x y]}").await;
    assert_eq!(seen.status.health, Health::Up, "{}", seen.status.last_error);
    let (uri, headers) = target.seen.lock().take().unwrap();
    assert_eq!(uri, "/m?module=x+y");
    let header = |name| headers.get(name).unwrap().to_str().unwrap();
    assert_eq!(
        header("accept"),
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
         application/openmetrics-text;version=0.0.1;q=0.5,\
         text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    );
    assert_eq!(header("accept-encoding"), "gzip");
    assert_eq!(header("user-agent"), "Prometheus/3.14.0");
    assert_eq!(header("x-prometheus-scrape-timeout-seconds"), "2");
    assert_eq!(
        (store.value("a"), store.value("b"), store.value("up")),
        (Some(1.0), Some(2.0), Some(1.0))
    );
    let metadata = seen.metadata();
    assert_eq!((metadata.len(), metadata[0].family.as_str()), (1, "a"));
    assert_eq!(seen.metadata_of("a").unwrap().help, "Text.");
}

/// Compat: a label of 3.14; the address is only what the target is told, and nobody need listen there.
#[tokio::test]
async fn a_target_behind_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.sock");
    let target = Target::start_at_socket(&path, text(&[PLAIN])).await;
    let (seen, store) = scrape(&target, "").await;
    assert_eq!(seen.status.last_error, "");
    assert_eq!((store.value("a"), store.value("up")), (Some(1.0), Some(1.0)));
    assert_eq!(seen.scrape_url, "http://nobody.invalid:1/metrics");
    let (_, headers) = target.seen.lock().take().unwrap();
    assert_eq!(headers["host"], "nobody.invalid:1");
    drop(target);
    std::fs::remove_file(&path).unwrap();
    let gone = Target::gone(&path);
    let (seen, _) = scrape(&gone, "").await;
    let error = seen.status.last_error;
    assert!(
        error.contains("metrics.sock") && error.contains("No such file"),
        "{error}"
    );
}

#[tokio::test]
async fn gzip_in_one_member_or_more() {
    let pack = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let (one, two) = TEXT.as_bytes().split_at(TEXT.len() / 2);
    for body in [pack(TEXT.as_bytes()), [pack(one), pack(two)].concat()] {
        let answer = Answer {
            body,
            ..text(&[PLAIN, ("content-encoding", "gzip")])
        };
        let target = Target::start(answer).await;
        let (seen, store) = scrape(&target, "").await;
        assert_eq!(seen.status.last_error, "");
        assert_eq!((store.value("a"), store.value("b")), (Some(1.0), Some(2.0)));
    }
    let target = Target::start(text(&[PLAIN, ("content-encoding", "gzip")])).await;
    let (seen, _) = scrape(&target, "").await;
    assert!(
        seen.status.last_error.starts_with("gzip: "),
        "{}",
        seen.status.last_error
    );
    let target = Target::start(text(&[PLAIN])).await;
    scrape(&target, ", enable_compression: false").await;
    let (_, headers) = target.seen.lock().take().unwrap();
    assert_eq!(headers["accept-encoding"], "identity");
}

#[tokio::test]
async fn answers_that_fail() {
    let limit = TEXT.len();
    let packed = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&[b'\n'; 100_000]).unwrap();
        encoder.finish().unwrap()
    };
    for (answer, settings, message) in [
        (
            Answer { status: 404, ..text(&[PLAIN]) },
            String::new(),
            "server returned HTTP status 404 Not Found".to_owned(),
        ),
        (text(&[PLAIN]), format!(", body_size_limit: {limit}B"), "body size limit exceeded".to_owned()),
        (
            Answer { body: packed, ..text(&[PLAIN, ("content-encoding", "gzip")]) },
            ", body_size_limit: 100000B".to_owned(),
            "body size limit exceeded".to_owned(),
        ),
        (
            text(&[]),
            String::new(),
            "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target"
                .to_owned(),
        ),
        (
            text(&[("content-type", "text/html")]),
            String::new(),
            r#"received unsupported Content-Type "text/html" and no fallback_scrape_protocol specified for target"#.to_owned(),
        ),
        (
            text(&[("content-type", "application/openmetrics-text")]),
            String::new(),
            r##"line 5, column 1: expected "# EOF" at the end of the data, got """##.to_owned(),
        ),
    ] {
        let target = Target::start(answer).await;
        let (seen, store) = scrape(&target, &settings).await;
        assert_eq!(seen.status.last_error, message);
        assert_eq!(seen.status.health, Health::Down);
        assert_eq!((store.value("up"), store.value("a")), (Some(0.0), None));
    }
    let target = Target::start(text(&[("content-type", "text/html")])).await;
    let (seen, store) = scrape(&target, ", fallback_scrape_protocol: PrometheusText0.0.4").await;
    assert_eq!(
        (seen.status.last_error.as_str(), store.value("a")),
        ("", Some(1.0))
    );
    let target = Target::start(text(&[PLAIN])).await;
    let (seen, _) = scrape(&target, &format!(", body_size_limit: {}B", limit + 1)).await;
    assert_eq!(seen.status.last_error, "");
}

#[tokio::test]
async fn a_target_that_does_not_answer() {
    let target = Target::start(Answer {
        hangs: true,
        ..Answer::default()
    })
    .await;
    let (seen, store) = scrape_within(&target, "300ms", ", extra_scrape_metrics: true").await;
    let url = format!("http://{}/metrics", target.labels.value("__address__"));
    assert_eq!(
        seen.status.last_error,
        format!("Get {url:?}: context deadline exceeded")
    );
    assert_eq!(
        (store.value("up"), store.value("scrape_body_size_bytes")),
        (Some(0.0), Some(0.0))
    );
    assert_eq!(store.value("scrape_timeout_seconds"), Some(0.3));
}

#[tokio::test]
async fn a_target_that_is_not_there_is_logged_to_the_failure_log() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut target = Target::start(text(&[PLAIN])).await;
    let address = listener.local_addr().unwrap().to_string();
    target.labels = Labels::from_pairs([("__address__", address)]);
    drop(listener);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("failures.log");
    let (seen, _) = scrape(
        &target,
        &format!(", scrape_failure_log_file: {:?}", log.display().to_string()),
    )
    .await;
    let url = format!("http://{}/metrics", target.labels.value("__address__"));
    assert!(
        seen.status.last_error.starts_with(&format!("Get {url:?}: ")),
        "{}",
        seen.status.last_error
    );
    let logged = std::fs::read_to_string(log).unwrap();
    let line: serde_json::Value = serde_json::from_str(logged.lines().next().unwrap()).unwrap();
    assert_eq!(
        (line["msg"].as_str(), line["job_name"].as_str()),
        (Some(seen.status.last_error.as_str()), Some("j"))
    );
}
