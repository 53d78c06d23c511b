//! A store and what forwards it, on a clock that stands still until everybody waits.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use credentials::Machine;
use files::Files;
use metrics::Registry;
use model::clock::Clock;
use model::labels::{Labels, NameScheme};
use model::log::Log;
use model::storage::{AppendBatch, AppendOutcome, Appender};
use narthex_remote::send::{Families, Forwarder, Options, RemoteWriteConfig, SPOOL_AGE, SPOOL_BYTES};
use tokio::time::Instant;
use tsdb::db::Db;

/// When tests begin.
pub(super) const BASE_MS: i64 = 1_760_000_000_000;
pub(super) const DATA: &str = "data";
/// What is kept of the log where nothing is said.
pub(super) const SPOOL: (u64, Duration) = (SPOOL_BYTES, SPOOL_AGE);

/// The runtime's time, beginning at [`BASE_MS`].
pub(super) struct TestClock(Instant);

impl TestClock {
    pub(super) fn begin() -> Arc<Self> {
        Arc::new(TestClock(Instant::now()))
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        BASE_MS + self.elapsed().as_millis() as i64
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

pub(super) fn open(files: Arc<dyn Files>, clock: Arc<dyn Clock>, segment_bytes: u64) -> Arc<Db> {
    let mut options = tsdb::db::Options {
        background: false,
        lock: false,
        ..tsdb::db::Options::default()
    };
    options.head.start_timestamps = true;
    options.head.xor2_floats = true;
    options.head.exemplars_max = 10_000;
    if segment_bytes > 0 {
        options.head.wal_segment_bytes = segment_bytes;
    }
    Arc::new(Db::open(files, Path::new(DATA), options, clock).expect("a store"))
}

pub(super) fn append(db: &Db, batch: &AppendBatch) {
    let mut outcome = AppendOutcome::default();
    db.append(batch, &mut outcome).expect("appended");
    assert_eq!(outcome.refused, [], "the store takes everything");
}

pub(super) struct Around {
    pub(super) files: Arc<dyn Files>,
    pub(super) log: Arc<dyn Log>,
    /// Most bytes of the log that are kept, and for how long.
    pub(super) spool: (u64, Duration),
    pub(super) clock: Arc<dyn Clock>,
    pub(super) registry: Registry,
    pub(super) families: Families,
    pub(super) type_and_unit_labels: bool,
}

impl Around {
    pub(super) fn forwarder(&self) -> Forwarder {
        let mut machine = Machine::new("Prometheus/");
        machine.clock = self.clock.clone();
        Forwarder::new(Options {
            files: self.files.clone(),
            dir: DATA.into(),
            log: self.log.clone(),
            clock: self.clock.clone(),
            registry: self.registry.clone(),
            machine,
            flush_deadline: Duration::from_secs(60),
            spool_bytes: self.spool.0,
            spool_age: self.spool.1,
            families: self.families.clone(),
            type_and_unit_labels: self.type_and_unit_labels,
        })
    }
}

/// The entries of `remote_write`, and the external labels.
pub(super) fn configured(text: &str) -> Result<(Vec<RemoteWriteConfig>, Labels), yaml::YamlError> {
    let document = yaml::parse("prometheus.yml", text)?;
    let external = document
        .root()
        .entry("global")
        .and_then(|global| global.entry("external_labels"));
    let external: std::collections::BTreeMap<String, String> = match external {
        Some(labels) => yaml::FromYaml::from_yaml(labels)?,
        None => Default::default(),
    };
    let list = document
        .root()
        .entry("remote_write")
        .filter(|list| !list.is_null());
    let list = list.map(|list| list.sequence()).transpose()?.unwrap_or_default();
    let configs: Result<Vec<RemoteWriteConfig>, _> = list
        .into_iter()
        .map(|entry| RemoteWriteConfig::read(entry, NameScheme::Utf8))
        .collect();
    Ok((configs?, Labels::from_pairs(&external)))
}

/// The value of a counter or gauge of the first queue; nothing where it is not there.
pub(super) fn metric(registry: &Registry, name: &str, reason: Option<&str>) -> Option<f64> {
    let mut found = None;
    registry.visit(|family, _, _, samples| {
        for (labels, value) in samples {
            let is_meant =
                reason.is_none_or(|reason| labels.iter().any(|(n, v)| n == "reason" && v == reason));
            if family == name
                && is_meant
                && let metrics::Value::Single(value) = value
            {
                found = Some(found.unwrap_or(0.0) + value);
            }
        }
    });
    found
}
