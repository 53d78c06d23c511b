//! Names, kinds and labels of what is told of queues: dashboards and alerts of the reference's ask for these.

use std::collections::BTreeSet;
use std::sync::Arc;

use files::MemFiles;
use metrics::Registry;

use super::setup::{Around, SPOOL, TestClock, configured, open};

const EXPECTED: &str = "testdata/send_metrics.txt";

#[tokio::test(start_paused = true)]
async fn metrics_have_the_references_names() {
    let clock = TestClock::begin();
    let files = Arc::new(MemFiles::new());
    let registry = Registry::new();
    let around = Around {
        log: open(files.clone(), clock.clone(), 0),
        files,
        spool: SPOOL,
        clock,
        registry: registry.clone(),
        families: Arc::new(Vec::new),
        type_and_unit_labels: false,
    };
    let forwarder = around.forwarder();
    let (configs, external) =
        configured("remote_write: [{url: 'http://localhost:1/', name: r}]").expect("a queue");
    forwarder.apply(forwarder.prepare(&configs, &external).expect("a client"));
    forwarder.start();
    let mut lines = BTreeSet::new();
    registry.visit(|name, kind, _, samples| {
        if name.contains("remote") || name.contains("wal_watcher") {
            let labels = samples
                .first()
                .map(|(labels, _)| labels.iter().map(|(name, _)| name.as_str()));
            let labels: Vec<&str> = labels.into_iter().flatten().collect();
            lines.insert(format!("{name} {kind:?} {}\n", labels.join(",")));
        }
    });
    forwarder.stop().await;
    let found: String = lines.into_iter().collect();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(EXPECTED, &found).expect("writes");
    }
    let expected = std::fs::read_to_string(EXPECTED).expect("there");
    assert_eq!(found, expected);
}
